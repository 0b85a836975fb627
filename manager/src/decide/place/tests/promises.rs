//! What holds whatever happens: nothing is given twice, equal nodes get equal shares, the same state gives the same
//! answer, and a board that kept up is one that was made anew.

use std::collections::BTreeSet;

use common::object::ports::PublishMode;
use proptest::prelude::*;

use super::filters::ports;
use super::keeping_up::state;
use super::*;

/// Something that happens in a cluster; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Event {
    Node(u128, NodeState, Availability),
    Label(u128, u8),
    Grow(u128, i64),
    RemoveNode(u128),
    NewSpec(u128),
    Tasks(u128, u64),
    Pinned(u128, u128),
    Ends(usize, TaskState),
    Stops(usize),
    Forget(usize),
    Place,
    PlaceInVain,
    Later(u16),
}

const NODES: u128 = 6;
const SERVICES: u128 = 5;

fn any_event() -> impl Strategy<Value = Event> {
    let node = 1..=NODES;
    let service = 1..=SERVICES;
    let states = prop::sample::select(vec![NodeState::Ready, NodeState::Ready, NodeState::Down]);
    let availabilities =
        prop::sample::select(vec![Availability::Active, Availability::Active, Availability::Drain]);
    let ends = prop::sample::select(vec![
        TaskState::Running,
        TaskState::Complete,
        TaskState::Failed,
        TaskState::Failed,
        TaskState::Orphaned,
    ]);
    prop_oneof![
        2 => (node.clone(), states, availabilities).prop_map(|(id, state, availability)| Event::Node(id, state, availability)),
        1 => (node.clone(), 0u8..3).prop_map(|(id, zone)| Event::Label(id, zone)),
        1 => (node.clone(), 0i64..4).prop_map(|(id, cpus)| Event::Grow(id, cpus)),
        1 => node.clone().prop_map(Event::RemoveNode),
        1 => service.clone().prop_map(Event::NewSpec),
        4 => (service.clone(), 1u64..8).prop_map(|(id, count)| Event::Tasks(id, count)),
        1 => (service, node).prop_map(|(service, node)| Event::Pinned(service, node)),
        4 => (any::<usize>(), ends).prop_map(|(at, state)| Event::Ends(at, state)),
        2 => any::<usize>().prop_map(Event::Stops),
        2 => any::<usize>().prop_map(Event::Forget),
        5 => Just(Event::Place),
        2 => Just(Event::PlaceInVain),
        1 => any::<u16>().prop_map(Event::Later),
    ]
}

/// Services that reserve, that publish, that have constraints, that spread, that are limited.
fn cluster() -> World {
    let mut world = World::with_nodes(NODES);
    for id in 1..=NODES {
        world.node(id, |node| {
            let stock = if id % 2 == 0 { GenericStock::Count(2) } else { names(&["a", "b"]) };
            described(node).resources.generic.insert("gpu".into(), stock);
        });
    }
    world.service(1, |_| {});
    world.service(2, |spec| {
        spec.task.resources.reservations.nano_cpus = CPU;
        spec.task.resources.reservations.generic.insert("gpu".into(), 1);
    });
    world.service(3, |spec| spec.endpoint = Some(ports(&[(80, PublishMode::Host)])));
    world.service(4, |spec| {
        spec.task.placement.spread_over = vec!["node.labels.zone".into()];
        spec.task.placement.replicas_max_per_node = 2;
    });
    world.service(5, |spec| {
        spec.task.placement.constraints = vec!["node.labels.zone != 1".into()];
        spec.task.resources.reservations.memory_bytes = 200 * MIB;
        spec.endpoint = Some(ports(&[(80, PublishMode::Host)]));
    });
    world
}

fn happen(world: &mut World, event: Event) {
    let known = |world: &World, id: u128| world.tables.nodes.get(NodeId(id)).is_some();
    let pick = |world: &World, at: usize| {
        let count = world.tables.tasks.len();
        (count > 0).then(|| world.tables.tasks.iter().nth(at % count).expect("within").id)
    };
    match event {
        Event::Node(id, state, availability) => world.node(id, |node| {
            node.status.state = state;
            node.spec.availability = availability;
        }),
        Event::Label(id, zone) => {
            world.node(id, |node| drop(node.spec.labels.insert("zone".into(), zone.to_string())));
        }
        Event::Grow(id, cpus) => world.node(id, |node| described(node).resources.nano_cpus = cpus * CPU),
        Event::RemoveNode(id) if known(world, id) => world.remove_node(id),
        Event::RemoveNode(_) => {}
        Event::NewSpec(id) => world.service(id, |spec| spec.task.force_update += 1),
        Event::Tasks(service, count) => drop(world.tasks(service, count)),
        Event::Pinned(service, node) => drop(world.task_in(service, Slot::Node(NodeId(node)))),
        Event::Ends(at, state) => {
            let task = pick(world, at).and_then(|id| world.tables.tasks.get(id).cloned());
            if let Some(task) = task.filter(|task| task.is_on_node()) {
                world.ends(task.id, state);
            }
        }
        Event::Stops(at) => {
            if let Some(id) = pick(world, at) {
                world.change_task(id, |task| task.desired = TaskState::Shutdown);
            }
        }
        Event::Forget(at) => {
            let task = pick(world, at).and_then(|id| world.tables.tasks.get(id).cloned());
            if let Some(task) = task.filter(|task| !task.is_on_node()) {
                world.remove_task(task.id);
            }
        }
        Event::Place => drop(world.place()),
        Event::PlaceInVain => {
            let placed = place(&world.tables, &mut world.board, world.now);
            let told = placed.waiting.iter().map(|(task, _)| *task);
            for task in placed.assigned.iter().map(|assigned| assigned.task).chain(told) {
                world.board.sync_task(&world.tables, task);
            }
        }
        Event::Later(seconds) => world.later(Duration::from_secs(u64::from(seconds % 400))),
    }
}

/// What was given stays within what there was when it was given: what is on a node that did not shrink fits it.
fn nothing_is_given_twice(world: &World, assigned: &[Assigned]) -> Result<(), TestCaseError> {
    let touched: BTreeSet<NodeId> = assigned.iter().map(|assigned| assigned.node).collect();
    for id in touched {
        let node = world.tables.nodes.get(id).expect("assigned to a node that is there");
        prop_assert_eq!(
            (node.status.state, node.spec.availability),
            (NodeState::Ready, Availability::Active)
        );
        let (mut cpus, mut memory, mut published) = (0, 0, BTreeSet::new());
        let (mut count, mut named) = (0, BTreeSet::new());
        for task in world.tables.tasks_on_node(id).filter(|task| task.is_on_node()) {
            let spec = world.tables.services.get(task.service).and_then(|service| service.spec_at(task.spec));
            let spec = spec.expect("a spec is kept");
            cpus += spec.task.resources.reservations.nano_cpus;
            memory += spec.task.resources.reservations.memory_bytes;
            for port in spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
                prop_assert!(published.insert(port.published), "one host port for two tasks on {}", id);
            }
            for grant in task.granted.iter().flatten() {
                match &grant.stock {
                    GenericStock::Count(amount) => count += amount,
                    GenericStock::Named(names) => {
                        for name in names {
                            prop_assert!(named.insert(name.clone()), "{} given twice on {}", name, id);
                        }
                    }
                }
            }
        }
        let resources = &node.description.as_ref().expect("described").resources;
        let reserves = |task: &TaskId| {
            let task = world.tables.tasks.get(*task).expect("it is there");
            task.service == ServiceId(2)
        };
        // A node may have shrunk below what it holds: then it gets nothing more of that.
        if assigned.iter().any(|assigned| assigned.node == id && reserves(&assigned.task)) {
            prop_assert!(cpus <= resources.nano_cpus, "processors of {} reserved beyond what it has", id);
        }
        prop_assert!(memory <= resources.memory_bytes, "memory of {} reserved beyond what it has", id);
        prop_assert!(count <= 2 && named.len() <= 2);
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_given_twice_and_a_board_that_kept_up_is_as_good_as_new(
        events in prop::collection::vec(any_event(), 1..60),
    ) {
        let mut world = cluster();
        for event in events {
            happen(&mut world, event);
            prop_assert_eq!(state(&world.board, &world), state(&Board::new(&world.tables), &world));
        }
        let mut again = world.clone();
        let placed = world.place();
        nothing_is_given_twice(&world, &placed.assigned)?;
        prop_assert_eq!(again.place(), placed, "the same state gives the same answer");
        // A pass leaves nothing undone: what waits now, a new leader would leave waiting too.
        let anew = place(&world.tables, &mut Board::new(&world.tables), world.now);
        prop_assert_eq!(anew, Placed::default());
    }

    #[test]
    fn equal_nodes_have_equal_shares(
        nodes in 1u128..12,
        batches in prop::collection::vec((1u128..4, 1u64..20), 1..6),
    ) {
        let mut world = World::with_nodes(nodes);
        (1..4).for_each(|id| world.service(id, |_| {}));
        for (service, count) in batches {
            world.tasks(service, count);
            world.place();
            let counts = world.counts();
            for id in 1..4 {
                let of_service: Vec<usize> = (1..=nodes).map(|node| {
                    let tasks = world.tables.tasks_on_node(NodeId(node));
                    tasks.filter(|task| task.service == ServiceId(id)).count()
                }).collect();
                prop_assert!(of_service.iter().max().unwrap() - of_service.iter().min().unwrap() <= 1);
            }
            prop_assert_eq!(world.tables.tasks.iter().filter(|task| task.node.is_none()).count(), 0);
            prop_assert!(!counts.is_empty());
        }
    }

    /// Every task goes where looking at all nodes one by one would send it.
    #[test]
    fn an_index_finds_what_looking_at_every_node_finds(
        before in prop::collection::vec((1u128..4, 1u128..8), 0..40),
        wanted in prop::collection::vec(1u128..4, 1..20),
    ) {
        let mut world = World::with_nodes(7);
        (1..4).for_each(|id| world.service(id, |_| {}));
        for (service, node) in before {
            world.task_in(service, Slot::Node(NodeId(node)));
        }
        world.place();
        for service in wanted {
            let best = (1..=7u128).min_by_key(|node| {
                let tasks: Vec<_> = world.tables.tasks_on_node(NodeId(*node)).collect();
                (tasks.iter().filter(|task| task.service == ServiceId(service)).count(), tasks.len(), *node)
            });
            let task = world.task(service, 1);
            world.place();
            prop_assert_eq!(world.node_of(task), best);
        }
    }
}
