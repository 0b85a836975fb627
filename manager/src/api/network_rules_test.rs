//! What may be made, and what is in use.

use std::net::IpAddr;

use common::object::ports::{EndpointSpec, Port};
use common::object::service::NetworkAttachment;
use common::object::{ServiceId, ServiceSpec, Slot, Task, TaskId, TaskState};
use common::time::Timestamp;

use super::*;
use crate::store::{Proposal, Store};

struct World {
    store: Store,
    at: u64,
}

impl World {
    fn new() -> Self {
        Self { store: Store::new(), at: 0 }
    }

    fn write(&mut self, change: Change) {
        self.at += 1;
        let proposal = Proposal { id: self.at, at: Timestamp(self.at), changes: vec![change] };
        self.store.apply(self.at, &proposal).expect("nothing against it");
    }

    fn make(&mut self, id: u128, spec: NetworkSpec) -> Result<(), (u16, String)> {
        let change = create(&self.store.snapshot(), NetworkId(id), spec)
            .map_err(|error| (error.status.as_u16(), error.message))?;
        self.write(change);
        Ok(())
    }

    fn remove(&self, id: u128) -> Result<(), String> {
        let tables = self.store.snapshot();
        let network = tables.networks.get(NetworkId(id)).expect("the test made it");
        remove(&tables, network).map(drop).map_err(|error| error.message)
    }
}

fn named(name: &str) -> NetworkSpec {
    NetworkSpec { name: name.into(), ..NetworkSpec::default() }
}

fn attached(name: &str, networks: &[u128]) -> ServiceSpec {
    let mut spec = ServiceSpec { name: name.into(), ..ServiceSpec::default() };
    let attachment =
        |id: &u128| NetworkAttachment { target: NetworkId(*id).to_string(), ..NetworkAttachment::default() };
    spec.task.networks = networks.iter().map(attachment).collect();
    spec
}

#[test]
fn what_may_not_be_made() {
    let mut world = World::new();
    world.make(1, named("front")).expect("a network");
    world.make(2, NetworkSpec::ingress()).expect("the first of its kind");
    let labelled = NetworkSpec { labels: [(PREDEFINED_LABEL.into(), "true".into())].into(), ..named("mine") };
    let ingress = |attachable| NetworkSpec { name: "other".into(), attachable, ..NetworkSpec::ingress() };
    let large =
        NetworkSpec { labels: [("a".into(), "x".repeat(NETWORK_SPEC_BYTES_MAX))].into(), ..named("mine") };
    let present = format!("ingress network ({}) is already present", NetworkId(2));
    let label = "label com.docker.swarm.predefined is for internally created predefined networks and cannot be applied by users";
    #[rustfmt::skip]
    let cases = [
        (named(""),       400, "meta: name must be provided"),
        (named("a b"),    400, "name must be valid as a DNS name component"),
        (named("bridge"), 403, "operation is not permitted on predefined bridge network"),
        (named("FRONT"),  409, "network with name FRONT already exists"),
        (labelled,        403, label),
        (ingress(true),   400, "ingress network cannot be attachable"),
        (ingress(false),  409, present.as_str()),
    ];
    for (spec, status, sentence) in cases {
        assert_eq!(world.make(9, spec.clone()), Err((status, sentence.to_owned())), "{spec:?}");
    }
    let (status, sentence) = world.make(9, large).expect_err("too large");
    assert!(status == 400 && sentence.ends_with("bytes, and 65536 are allowed"), "{sentence}");
}

#[test]
fn what_is_used_stays() {
    let mut world = World::new();
    world.make(1, named("front")).expect("a network");
    world.make(2, named("back")).expect("a network");
    world.make(3, NetworkSpec::ingress()).expect("a network");
    assert_eq!(world.remove(1), Ok(()));

    let mut web = Service::new(ServiceId(1), attached("web", &[1]), Timestamp(1));
    world.write(Change::Service(Write::Create(web.clone())));
    assert_eq!(world.remove(1), Err("network front is in use by service web".into()));
    assert_eq!(world.remove(2), Ok(()));

    // Its tasks are still on the network that the service has left.
    let mut task = Task::new(TaskId(7), web.id, Slot::Number(1), 1, TaskState::Running);
    task.status.state = TaskState::Running;
    task.addresses = Some([(NetworkId(1), IpAddr::from([10, 0, 0, 2]))].into());
    world.write(Change::Task(Write::Create(task)));
    web = Service::clone(world.store.snapshot().services.get(web.id).expect("it is there"));
    web.replace_spec(attached("web", &[2]).into(), Timestamp(2));
    world.write(Change::Service(Write::update(web.clone())));
    let task = format!("network front is in use by task web.1.{}", TaskId(7));
    assert_eq!(world.remove(1), Err(task));
    assert_eq!(world.remove(2), Err("network back is in use by service web".into()));

    // A removed service is in nobody's way, though its tasks are still being stopped.
    let mut gone = Service::clone(world.store.snapshot().services.get(web.id).expect("it is there"));
    gone.removed = true;
    world.write(Change::Service(Write::update(gone)));
    assert_eq!((world.remove(1), world.remove(2)), (Ok(()), Ok(())));

    assert_eq!(world.remove(3), Ok(()));
    let mut published = attached("shop", &[]);
    published.endpoint =
        Some(EndpointSpec { mode: None, ports: vec![Port { target: 80, ..Port::default() }] });
    world.write(Change::Service(Write::Create(Service::new(ServiceId(2), published, Timestamp(1)))));
    let depends = "ingress network cannot be removed because service shop depends on it";
    assert_eq!(world.remove(3), Err(depends.into()));
}
