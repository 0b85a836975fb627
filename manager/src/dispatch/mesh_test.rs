//! Rules of the mesh's news: a node that applies every update knows what the tables say, looked at whole or in parts.

use super::*;
use std::sync::Arc;

use common::object::{ServiceSpec, Slot};
use proptest::prelude::*;

const NODE: NodeId = NodeId(7);

/// A node that believes what it is told.
#[derive(Default, Debug, PartialEq)]
struct Listener {
    services: BTreeMap<ServiceId, MeshService>,
    endpoints: BTreeMap<TaskId, MeshEndpoint>,
}

impl Listener {
    fn hear(&mut self, update: MeshUpdate) {
        for part in in_parts(update) {
            assert!(!part.is_empty() && items(&part) <= ASSIGNMENT_MESH_MAX);
            for id in part.services_removed {
                assert!(self.services.remove(&id).is_some());
                self.endpoints.retain(|_, endpoint| endpoint.service != id);
            }
            self.services.extend(part.services.into_iter().map(|service| (service.id, service)));
            for task in part.endpoints_removed {
                assert!(self.endpoints.remove(&task).is_some());
            }
            for endpoint in part.endpoints {
                assert!(self.services.contains_key(&endpoint.service), "its service came before");
                self.endpoints.insert(endpoint.task, endpoint);
            }
        }
    }

    fn digest(&self) -> u64 {
        let services = self.services.values().map(service_digest);
        let endpoints = self.endpoints.values().map(endpoint_digest);
        services.chain(endpoints).fold(0, u64::wrapping_add)
    }

    fn told(tables: &Tables) -> Self {
        let mut fresh = Listener::default();
        fresh.hear(Told::default().update(tables, NODE, &Look::at_everything()));
        fresh
    }
}

fn put_service(tables: &mut Tables, id: u128, published: u16, mode: PublishMode, removed: bool) {
    let spec = ServiceSpec { name: format!("s{id}"), ..ServiceSpec::default() };
    let mut service = Service::new(ServiceId(id), spec, Default::default());
    service.ports = vec![Port { target: 80, published, mode, ..Port::default() }];
    service.removed = removed;
    tables.set_service(service.id, Some(Arc::new(service)));
}

fn task(id: u128, service: u128, state: TaskState, desired: TaskState, ready: bool) -> Task {
    let mut task = Task::new(TaskId(id), ServiceId(service), Slot::Number(1), 1, desired);
    task.node = Some(NodeId(id % 3));
    task.status.state = state;
    task.status.ready = ready;
    task
}

#[test]
fn which_tasks_may_get_connections() {
    use TaskState::*;
    #[rustfmt::skip]
    let cases = [ // seen, wanted, ready, told as leaving
        (Running,  Running,  true,  Some(false)),
        (Running,  Complete, true,  Some(false)), // of a job
        (Running,  Running,  false, None),
        (Running,  Shutdown, true,  Some(true)),
        (Running,  Shutdown, false, Some(true)),
        (Running,  Remove,   true,  Some(true)),
        (Starting, Running,  true,  None),
        (Shutdown, Shutdown, true,  None),
        (Failed,   Running,  true,  None),
        (Orphaned, Running,  true,  None),
    ];
    for (state, desired, ready, leaving) in cases {
        let told = endpoint(&task(1, 1, state, desired, ready)).map(|endpoint| endpoint.leaving);
        assert_eq!(told, leaving, "{state} {desired} {ready}");
    }
    let unplaced = Task { node: None, ..task(1, 1, Running, Running, true) };
    assert_eq!(endpoint(&unplaced), None);
}

#[test]
fn which_services_are_told() {
    #[rustfmt::skip]
    let cases = [ // published, mode, removed, told
        (8080, PublishMode::Ingress, false, true),
        (8080, PublishMode::Ingress, true,  false),
        (8080, PublishMode::Host,    false, false),
        (0,    PublishMode::Ingress, false, false), // no number was given out yet
    ];
    for (published, mode, removed, told) in cases {
        let mut tables = Tables::default();
        put_service(&mut tables, 1, published, mode, removed);
        tables.set_task(TaskId(1), Some(Arc::new(task(1, 1, TaskState::Running, TaskState::Running, true))));
        let update = Told::default().update(&tables, NODE, &Look::at_everything());
        assert_eq!(
            (update.services.len(), update.endpoints.len()),
            (told.into(), told.into()),
            "{published}"
        );
        assert_eq!(is_in_mesh(&tables, ServiceId(1)), told);
    }
}

#[test]
fn a_look_has_a_bound() {
    let mut look = Look::default();
    assert!(look.is_empty());
    (0..MESH_LOOKS_MAX as u128).for_each(|id| look.at_task(ServiceId(1), TaskId(id)));
    assert!(!look.everything && !look.is_empty());
    look.at_service(ServiceId(2));
    assert_eq!(look, Look::at_everything());
}

#[test]
fn much_news_comes_in_parts() {
    let mut tables = Tables::default();
    put_service(&mut tables, 1, 8080, PublishMode::Ingress, false);
    for id in 0..2500 {
        let serving = task(id, 1, TaskState::Running, TaskState::Running, true);
        tables.set_task(TaskId(id), Some(Arc::new(serving)));
    }
    let update = Told::default().update(&tables, NODE, &Look::at_everything());
    assert_eq!(in_parts(update.clone()).len(), 4, "the service, and its tasks by the thousand");
    let mut listener = Listener::default();
    listener.hear(update);
    assert_eq!((listener.services.len(), listener.endpoints.len()), (1, 2500));
    assert!(in_parts(MeshUpdate::default()).is_empty());
}

/// One thing that happens: to a service, or to a task.
#[derive(Clone, Debug)]
enum Event {
    Service { id: u128, published: u16, mode: PublishMode, removed: bool },
    ServiceGone(u128),
    Task { id: u128, state: TaskState, desired: TaskState, ready: bool },
    TaskGone(u128),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use TaskState::*;
    let mode = prop::sample::select(vec![PublishMode::Ingress, PublishMode::Ingress, PublishMode::Host]);
    let service = (1..4u128, 1..3u16, mode, prop::bool::weighted(0.2))
        .prop_map(|(id, published, mode, removed)| Event::Service { id, published, mode, removed });
    let states = prop::sample::select(vec![Starting, Running, Running, Running, Shutdown, Failed]);
    let desired = prop::sample::select(vec![Running, Running, Shutdown]);
    let task = (1..9u128, states, desired, any::<bool>())
        .prop_map(|(id, state, desired, ready)| Event::Task { id, state, desired, ready });
    let event = prop_oneof![
        2 => service,
        1 => (1..4u128).prop_map(Event::ServiceGone),
        6 => task,
        1 => (1..9u128).prop_map(Event::TaskGone),
    ];
    prop::collection::vec(event, 0..40)
}

/// Changes the tables, and notes what follows from it as `follow` does.
fn happen(tables: &mut Tables, look: &mut Look, event: Event) {
    match event {
        Event::Service { id, published, mode, removed } => {
            put_service(tables, id, published, mode, removed);
            look.at_service(ServiceId(id));
        }
        Event::ServiceGone(id) => {
            tables.set_service(ServiceId(id), None);
            look.at_service(ServiceId(id));
        }
        Event::Task { id, state, desired, ready } => {
            // Of one service for good.
            let task = task(id, id % 3 + 1, state, desired, ready);
            look.at_task(task.service, task.id);
            tables.set_task(task.id, Some(Arc::new(task)));
        }
        Event::TaskGone(id) => {
            tables.set_task(TaskId(id), None);
            look.at_task(ServiceId(id % 3 + 1), TaskId(id));
        }
    }
}

proptest! {
    #[test]
    fn a_node_that_hears_all_knows_what_the_tables_say(steps in prop::collection::vec((events(), prop::bool::weighted(0.1)), 1..8)) {
        let mut tables = Tables::default();
        let (mut told, mut listener) = (Told::default(), Listener::default());
        for (events, whole) in steps {
            let mut look = if whole { Look::at_everything() } else { Look::default() };
            events.into_iter().for_each(|event| happen(&mut tables, &mut look, event));
            listener.hear(told.update(&tables, NODE, &look));
            prop_assert_eq!(&listener, &Listener::told(&tables));
            prop_assert_eq!(listener.digest(), told.digest());
            let again = told.update(&tables, NODE, &Look::at_everything());
            prop_assert!(again.is_empty(), "said twice: {:?}", again);
        }
    }
}
