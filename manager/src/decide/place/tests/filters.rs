//! Every filter: which nodes it leaves, and its words.

use common::object::container::{Driver, Mount, MountKind, VolumeOptions};
use common::object::node::Platform;
use common::object::ports::{EndpointSpec, Port, Protocol, PublishMode};

use super::*;

/// Places one task of a service with this spec on n1, which `change` makes unfit, and n2, which is as nodes are.
fn with_unfit_node(spec: impl FnOnce(&mut ServiceSpec), change: impl FnOnce(&mut Node)) -> World {
    let mut world = World::with_nodes(2);
    world.node(1, change);
    world.service(1, spec);
    world
}

type SpecChange = fn(&mut ServiceSpec);
type NodeChange = fn(&mut Node);

#[rustfmt::skip]
const CASES: [(&str, SpecChange, NodeChange, &str); 21] = [
    ("a node that is down", |_| {}, |node| node.status.state = NodeState::Down, "1 node not available for new tasks"),
    ("a node not heard of", |_| {}, |node| node.status.state = NodeState::Unknown, "1 node not available for new tasks"),
    ("a drained node", |_| {}, |node| node.spec.availability = Availability::Drain, "1 node not available for new tasks"),
    ("a paused node", |_| {}, |node| node.spec.availability = Availability::Pause, "1 node not available for new tasks"),
    ("a node that said nothing yet", |_| {}, |node| node.description = None, "no runtime for it on 1 node"),
    ("no runtime", |_| {}, |node| described(node).runtimes = vec!["docker".into()], "no runtime for it on 1 node"),
    ("too few processors", |spec| spec.task.resources.reservations.nano_cpus = 2 * CPU,
        |node| described(node).resources.nano_cpus = CPU, "insufficient resources on 1 node"),
    ("too little memory", |spec| spec.task.resources.reservations.memory_bytes = 512 * MIB,
        |node| described(node).resources.memory_bytes = 511 * MIB, "insufficient resources on 1 node"),
    ("a volume plugin", |spec| { spec.task.runtime = RuntimeKind::Container; spec.task.container.mounts = vec![volume("flocker")]; },
        |node| described(node).engine.plugins = vec![plugin("Volume", "flocker2")], "missing plugin on 1 node"),
    ("a volume plugin of another kind", |spec| { spec.task.runtime = RuntimeKind::Container; spec.task.container.mounts = vec![volume("flocker")]; },
        |node| described(node).engine.plugins = vec![plugin("Network", "flocker")], "missing plugin on 1 node"),
    ("a log driver", |spec| { spec.task.runtime = RuntimeKind::Container; spec.task.log_driver = Some(driver("gelf")); },
        |node| described(node).engine.plugins = vec![plugin("Log", "json-file")], "missing plugin on 1 node"),
    ("a constraint", |spec| spec.task.placement.constraints = vec!["node.labels.zone != a".into()],
        |node| { node.spec.labels.insert("zone".into(), "a".into()); }, "scheduling constraints not satisfied on 1 node"),
    ("one constraint of two", |spec| spec.task.placement.constraints = vec!["node.id != x".into(), "node.hostname == n2".into()],
        |_| {}, "scheduling constraints not satisfied on 1 node"),
    ("an architecture", |spec| spec.task.placement.platforms = vec![platform("linux", "amd64")],
        |node| described(node).platform.architecture = "aarch64".into(), "unsupported platform on 1 node"),
    ("an operating system", |spec| spec.task.placement.platforms = vec![platform("linux", "")],
        |node| described(node).platform.os = "windows".into(), "unsupported platform on 1 node"),
    ("the earlier of two filters", |spec| { spec.task.resources.reservations.nano_cpus = CPU; spec.task.placement.platforms = vec![platform("linux", "")]; },
        |node| { described(node).resources.nano_cpus = 0; described(node).platform.os = "windows".into(); }, "insufficient resources on 1 node"),
    ("ready before all", |spec| spec.task.resources.reservations.nano_cpus = CPU,
        |node| { described(node).resources.nano_cpus = 0; node.spec.availability = Availability::Pause; }, "1 node not available for new tasks"),
    ("plugin before constraint", |spec| { spec.task.runtime = RuntimeKind::Container; spec.task.container.mounts = vec![volume("x")];
            spec.task.placement.constraints = vec!["node.hostname == n2".into()]; },
        |_| {}, "missing plugin on 1 node"),
    ("no generic resource of that kind", |spec| { spec.task.resources.reservations.generic.insert("gpu".into(), 1); },
        |_| {}, "insufficient resources on 1 node"),
    ("too few of a generic resource", |spec| { spec.task.resources.reservations.generic.insert("gpu".into(), 2); },
        |node| { described(node).resources.generic.insert("gpu".into(), names(&["a"])); }, "insufficient resources on 1 node"),
    ("a limit is no reservation", |spec| { spec.task.resources.limits.nano_cpus = 64 * CPU; spec.task.placement.constraints = vec!["node.hostname == n2".into()]; },
        |_| {}, "scheduling constraints not satisfied on 1 node"),
];

#[test]
fn an_unfit_node_is_passed_over_and_a_fit_one_taken() {
    for (what, spec, change, words) in CASES {
        let mut world = with_unfit_node(spec, change);
        // What n2 has that a node does not have by itself.
        world.node(2, |node| {
            described(node).engine.plugins =
                vec![plugin("Volume", "flocker:latest"), plugin("Volume", "x"), plugin("Log", "gelf")];
            described(node).resources.generic.insert("gpu".into(), GenericStock::Count(2));
        });
        let task = world.task(1, 1);
        world.place();
        assert_eq!(world.node_of(task), Some(2), "{what}");

        let mut world = with_unfit_node(spec, change);
        world.remove_node(2);
        let task = world.task(1, 1);
        let placed = world.place();
        assert_eq!(placed.assigned, [], "{what}");
        assert_eq!(world.error(task), format!("no suitable node ({words})"), "{what}");

        let pinned = world.task_in(1, Slot::Node(NodeId(1)));
        world.place();
        assert_eq!(world.error(pinned), words, "{what}: a task for this node alone says it bare");
    }
}

#[test]
fn what_is_not_asked_for_is_not_in_the_way() {
    #[rustfmt::skip]
    let cases: [(&str, SpecChange, NodeChange); 8] = [
        ("local volumes", |spec| { spec.task.runtime = RuntimeKind::Container; spec.task.container.mounts = vec![volume("local"), volume("")]; }, |_| {}),
        ("a driver on what is no volume", |spec| { spec.task.runtime = RuntimeKind::Container;
            spec.task.container.mounts = vec![Mount { kind: MountKind::Bind, ..volume("x") }]; }, |_| {}),
        ("no logging", |spec| { spec.task.runtime = RuntimeKind::Container; spec.task.log_driver = Some(driver("none")); },
            |node| described(node).engine.plugins = vec![plugin("Log", "json-file")]),
        ("an engine that lists no log drivers", |spec| { spec.task.runtime = RuntimeKind::Container; spec.task.log_driver = Some(driver("gelf")); }, |_| {}),
        ("plugins for processes", |spec| spec.task.log_driver = Some(driver("gelf")),
            |node| described(node).engine.plugins = vec![plugin("Log", "json-file")]),
        ("a node without resources", |_| {}, |node| described(node).resources = Default::default()),
        ("names of one architecture", |spec| spec.task.placement.platforms = vec![platform("", "arm64"), platform("linux", "x86_64")],
            |node| described(node).platform.architecture = "amd64".into()),
        ("a dynamic host port", |spec| spec.endpoint = Some(ports(&[(0, PublishMode::Host)])), |_| {}),
    ];
    for (what, spec, change) in cases {
        let mut world = World::with_nodes(1);
        world.node(1, change);
        world.service(1, spec);
        let tasks = world.tasks(1, 2);
        world.place();
        assert_eq!(tasks.map_nodes(&world), [Some(1), Some(1)], "{what}");
    }
}

#[test]
fn a_host_port_is_used_once_per_node_and_free_when_the_task_has_ended() {
    let mut world = World::with_nodes(2);
    world.service(1, |spec| {
        spec.endpoint = Some(ports(&[(80, PublishMode::Host), (9, PublishMode::Ingress)]))
    });
    world.service(2, |spec| spec.endpoint = Some(ports(&[(80, PublishMode::Host)])));
    world.service(3, |spec| {
        spec.endpoint = Some(ports(&[(80, PublishMode::Host)]));
        spec.endpoint.as_mut().expect("just set").ports[0].protocol = Protocol::Udp;
    });
    let first = world.task(1, 1);
    let second = world.task(2, 1);
    let third = world.task(2, 2);
    let other_protocol = world.tasks(3, 2);
    world.place();
    assert_eq!([first, second].to_vec().map_nodes(&world), [Some(1), Some(2)]);
    assert_eq!(other_protocol.map_nodes(&world), [Some(1), Some(2)]);
    assert_eq!(world.error(third), "no suitable node (host-mode port already in use on 2 nodes)");

    world.change_task(first, |task| task.desired = TaskState::Shutdown);
    assert_eq!(world.place(), Placed::default(), "still there until it has ended");
    world.ends(first, TaskState::Shutdown);
    world.place();
    assert_eq!(world.node_of(third), Some(1));
    assert_eq!(world.error(third), "");
}

#[test]
fn no_more_than_so_many_of_a_service_per_node() {
    let mut world = World::with_nodes(3);
    world.node(3, |node| node.spec.availability = Availability::Drain);
    world.service(1, |spec| spec.task.placement.replicas_max_per_node = 2);
    let tasks = world.tasks(1, 6);
    world.place();
    assert_eq!(world.counts(), [2, 2, 0]);
    let reason = "no suitable node (max replicas per node limit exceed; 1 node not available for new tasks)";
    assert_eq!(world.error(tasks[5]), reason);
    world.ends(tasks[1], TaskState::Failed);
    world.place();
    assert_eq!(world.node_of(tasks[4]), Some(2), "the place that became free, to the first that waits");
    assert_eq!(world.error(tasks[5]), reason);
}

#[test]
fn reasons_are_counted_and_the_most_frequent_comes_first() {
    let mut world = World::with_nodes(6);
    world.node(1, |node| node.status.state = NodeState::Down);
    (2..=4).for_each(|id| world.node(id, |node| described(node).resources.nano_cpus = 0));
    (5..=6).for_each(|id| world.node(id, |node| described(node).platform.os = "windows".into()));
    world.service(1, |spec| {
        spec.task.resources.reservations.nano_cpus = CPU;
        spec.task.placement.platforms = vec![platform("linux", "")];
    });
    let task = world.task(1, 1);
    world.place();
    assert_eq!(
        world.error(task),
        "no suitable node (insufficient resources on 3 nodes; unsupported platform on 2 nodes; \
         1 node not available for new tasks)"
    );
}

#[test]
fn without_nodes_there_is_nothing_to_count() {
    let mut world = World::with_nodes(0);
    world.service(1, |_| {});
    let task = world.task(1, 1);
    world.place();
    assert_eq!(world.error(task), "no suitable node");
}

#[test]
fn what_nobody_can_satisfy_waits() {
    let mut world = World::with_nodes(1);
    world.service(1, |spec| spec.task.placement.constraints = vec!["nonsense".into()]);
    world.service(2, |spec| {
        spec.task.container.mounts = vec![Mount { kind: MountKind::Cluster, ..Mount::default() }];
    });
    let tasks = [world.task(1, 1), world.task(2, 1)];
    world.place();
    assert_eq!(world.error(tasks[0]), "no suitable node (scheduling constraints not satisfied on 1 node)");
    assert_eq!(
        world.error(tasks[1]),
        "no suitable node (cannot fulfill requested CSI volume mounts on 1 node)"
    );
}

#[test]
fn generic_resources_are_granted_by_name_or_by_count() {
    let mut world = World::with_nodes(2);
    world.node(1, |node| {
        described(node).resources.generic.insert("gpu".into(), names(&["a", "b", "c"]));
    });
    world.node(2, |node| {
        described(node).resources.generic.insert("gpu".into(), GenericStock::Count(3));
    });
    world.service(1, |spec| {
        spec.task.resources.reservations.generic.insert("gpu".into(), 2);
        spec.task.resources.reservations.generic.insert("none".into(), 0);
    });
    world.service(2, |spec| {
        spec.task.resources.reservations.generic.insert("gpu".into(), 1);
    });
    let pairs = world.tasks(1, 3);
    let singles = world.tasks(2, 2);
    world.place();
    let granted = |world: &World, task| {
        let granted = world.tables.tasks.get(task).expect("it is there").granted.clone();
        granted.into_iter().flatten().map(|grant| (grant.kind, grant.stock)).collect::<Vec<_>>()
    };
    assert_eq!(granted(&world, pairs[0]), [("gpu".into(), names(&["a", "b"]))]);
    assert_eq!(granted(&world, pairs[1]), [("gpu".into(), GenericStock::Count(2))]);
    assert_eq!(world.error(pairs[2]), "no suitable node (insufficient resources on 2 nodes)");
    assert_eq!(granted(&world, singles[0]), [("gpu".into(), names(&["c"]))]);
    assert_eq!(granted(&world, singles[1]), [("gpu".into(), GenericStock::Count(1))]);

    world.ends(pairs[0], TaskState::Complete);
    world.place();
    assert_eq!(
        granted(&world, pairs[2]),
        [("gpu".into(), names(&["a", "b"]))],
        "free again when it has ended"
    );
}

#[test]
fn explaining_says_of_each_node_what_exactly_is_in_the_way() {
    let mut world = World::with_nodes(8);
    world.service(9, |spec| spec.endpoint = Some(ports(&[(80, PublishMode::Host)])));
    world.task_in(9, Slot::Node(NodeId(7)));
    world.place();
    world.node(1, |node| node.spec.availability = Availability::Drain);
    world.node(2, |node| node.status.state = NodeState::Down);
    world.node(3, |node| described(node).runtimes.clear());
    world.node(4, |node| described(node).resources.nano_cpus = CPU);
    world.node(5, |node| drop(node.spec.labels.insert("zone".into(), "a".into())));
    world.node(6, |node| described(node).platform.os = "plan9".into());
    world.service(1, |spec| {
        spec.task.resources.reservations.nano_cpus = 2 * CPU;
        spec.task.placement.constraints = vec!["node.labels.zone != a".into()];
        spec.task.placement.platforms = vec![platform("linux", "")];
        spec.endpoint = Some(ports(&[(80, PublishMode::Host)]));
    });
    let service = world.tables.services.get(ServiceId(1)).expect("just made").clone();
    let explained = explain(&world.tables, Some(&world.board), &service, 1);
    assert_eq!(explained, explain(&world.tables, None, &service, 1), "with a board or without");
    let texts: Vec<(u128, String)> = explained
        .into_iter()
        .map(|(node, refusal)| (node.0, refusal.map_or("yes".into(), |refusal| refusal.to_string())))
        .collect();
    #[rustfmt::skip]
    let expected = [
        "not available for new tasks: its availability is drain",
        "not available for new tasks: it is down",
        "no runtime for it: fake",
        "insufficient resources: billionths of a CPU: 2000000000 asked, 1000000000 free",
        "scheduling constraints not satisfied: node.labels.zone != a",
        "unsupported platform: plan9/x86_64",
        "host-mode port already in use: 80/tcp",
        "yes",
    ];
    assert_eq!(
        texts,
        expected.into_iter().zip(1..).map(|(text, id)| (id, text.to_owned())).collect::<Vec<_>>()
    );
    assert_eq!(explain(&world.tables, None, &service, 7), [], "no such spec");
}

trait MapNodes {
    fn map_nodes(&self, world: &World) -> Vec<Option<u128>>;
}

impl MapNodes for Vec<TaskId> {
    fn map_nodes(&self, world: &World) -> Vec<Option<u128>> {
        self.iter().map(|task| world.node_of(*task)).collect()
    }
}

fn plugin(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

fn driver(name: &str) -> Driver {
    Driver { name: name.into(), ..Driver::default() }
}

fn volume(name: &str) -> Mount {
    let options = VolumeOptions { driver: Some(driver(name)), ..VolumeOptions::default() };
    Mount { kind: MountKind::Volume, volume: Some(options), ..Mount::default() }
}

fn platform(os: &str, architecture: &str) -> Platform {
    Platform { os: os.into(), architecture: architecture.into() }
}

pub(super) fn ports(published: &[(u16, PublishMode)]) -> EndpointSpec {
    let port = |(published, mode): &(u16, PublishMode)| Port {
        target: 80,
        published: *published,
        mode: *mode,
        ..Port::default()
    };
    EndpointSpec { mode: None, ports: published.iter().map(port).collect() }
}
