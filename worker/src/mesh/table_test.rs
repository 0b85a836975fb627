//! Rules of the table: it is what it was told, and tasks are picked fairly among those that serve.

use super::*;
use common::object::Slot;
use common::object::ports::{EndpointMode, Port};
use common::random::{Random, SeededRandom};
use proptest::prelude::*;

pub fn service(id: u128, published: u16) -> MeshService {
    MeshService {
        id: ServiceId(id),
        name: format!("s{id}"),
        mode: EndpointMode::Vip,
        ports: vec![Port { target: 80, published, ..Port::default() }],
        networks: Vec::new(),
    }
}

pub fn endpoint(task: u128, service: u128, node: u128, leaving: bool) -> MeshEndpoint {
    MeshEndpoint {
        task: TaskId(task),
        service: ServiceId(service),
        slot: Slot::Number(1),
        node: NodeId(node),
        addresses: Vec::new(),
        leaving,
    }
}

pub fn table(services: &[MeshService], endpoints: &[MeshEndpoint]) -> Table {
    let mut change = Change::default();
    change.add(MeshUpdate {
        services: services.to_vec(),
        endpoints: endpoints.to_vec(),
        ..MeshUpdate::default()
    });
    Table::default().with(&change, true)
}

fn all_good(_: NodeId) -> Chance {
    Chance::Good
}

#[test]
fn ports_lead_to_their_service() {
    let table = table(&[service(1, 8080), service(2, 9090)], &[]);
    assert_eq!(table.published(), [(Protocol::Tcp, 8080), (Protocol::Tcp, 9090)].into());
    let way = Way { service: ServiceId(2), target: 80, protocol: Protocol::Tcp };
    assert_eq!(table.way(Protocol::Tcp, 9090), Some(way));
    assert_eq!(table.way(Protocol::Udp, 9090), None);
    assert_eq!(table.way(Protocol::Tcp, 80), None);
    assert!(table.publishes(way));
    assert!(!table.publishes(Way { target: 22, ..way }));
    assert!(!table.publishes(Way { protocol: Protocol::Udp, ..way }));
    assert!(!table.publishes(Way { service: ServiceId(3), ..way }));
}

#[test]
fn only_those_that_serve_are_picked_and_the_dead_last() {
    let endpoints = [endpoint(1, 1, 1, false), endpoint(2, 1, 2, false), endpoint(3, 1, 3, true)];
    let table = table(&[service(1, 8080)], &endpoints);
    let dead = |node: NodeId| if node == NodeId(2) { Chance::Slim } else { Chance::Good };
    let mut tried = BTreeSet::new();
    let mut order = Vec::new();
    while let Some(found) = table.pick(ServiceId(1), &tried, dead, |_| 0, || 1) {
        tried.insert(found.task);
        order.push(found.task.0);
    }
    assert_eq!(order, [1, 2]);
    assert!(table.pick(ServiceId(9), &BTreeSet::new(), dead, |_| 0, || 1).is_none());
}

#[test]
fn the_less_busy_of_two_is_picked_and_load_evens_out() {
    let endpoints: Vec<MeshEndpoint> = (0..10).map(|id| endpoint(id, 1, id, false)).collect();
    let table = table(&[service(1, 8080)], &endpoints);
    let mut random = SeededRandom::new(1, "pick");
    let mut open = [0usize; 10];
    for _ in 0..1000 {
        let busy = |task: TaskId| open[task.0 as usize];
        let found = table.pick(ServiceId(1), &BTreeSet::new(), all_good, busy, || random.next_u64());
        let task = found.unwrap().task.0 as usize;
        open[task] += 1;
    }
    let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
    assert!(most - least <= 6, "{open:?}");
}

fn updates() -> impl Strategy<Value = Vec<(MeshUpdate, bool)>> {
    let services = prop::collection::vec((1..4u128, 1..9u16), 0..3);
    let endpoints = prop::collection::vec((1..9u128, 1..4u128, any::<bool>()), 0..5);
    let removed = prop::collection::vec(1..4u128, 0..2);
    let gone = prop::collection::vec(1..9u128, 0..3);
    let update = (services, removed, endpoints, gone, prop::bool::weighted(0.1)).prop_map(
        |(services, removed, endpoints, gone, is_whole)| {
            let update = MeshUpdate {
                services: services.into_iter().map(|(id, port)| service(id, port)).collect(),
                services_removed: removed.into_iter().map(ServiceId).collect(),
                // A task is of one service for good.
                endpoints: endpoints
                    .into_iter()
                    .map(|(task, _, leaving)| endpoint(task, task % 3 + 1, task, leaving))
                    .collect(),
                endpoints_removed: gone.into_iter().map(TaskId).collect(),
            };
            (update, is_whole)
        },
    );
    prop::collection::vec(update, 0..12)
}

proptest! {
    /// Against the plainest table there is.
    #[test]
    fn it_is_what_it_was_told(updates in updates()) {
        let mut table = Table::default();
        let mut services: BTreeMap<ServiceId, MeshService> = BTreeMap::new();
        let mut endpoints: BTreeMap<TaskId, MeshEndpoint> = BTreeMap::new();
        for (update, is_whole) in updates {
            let before = table.clone();
            let mut change = Change::default();
            change.add(update.clone());
            table = table.with(&change, is_whole);
            if is_whole {
                services.clear();
                endpoints.clear();
            }
            let renewed: BTreeSet<ServiceId> = update.services.iter().map(|service| service.id).collect();
            for id in update.services_removed.iter().filter(|id| !renewed.contains(id)) {
                services.remove(id);
                endpoints.retain(|_, endpoint| endpoint.service != *id);
            }
            services.extend(update.services.into_iter().map(|service| (service.id, service)));
            let renewed: BTreeSet<TaskId> = update.endpoints.iter().map(|endpoint| endpoint.task).collect();
            for task in update.endpoints_removed.iter().filter(|task| !renewed.contains(task)) {
                endpoints.remove(task);
            }
            let known = update.endpoints.into_iter().filter(|one| services.contains_key(&one.service));
            let known: Vec<MeshEndpoint> = known.collect();
            endpoints.extend(known.into_iter().map(|endpoint| (endpoint.task, endpoint)));

            let told: Vec<MeshService> = table.services().map(|known| known.service.clone()).collect();
            prop_assert_eq!(told, services.values().cloned().collect::<Vec<_>>());
            let mut told: Vec<MeshEndpoint> =
                table.services().flat_map(|known| known.endpoints.clone()).collect();
            told.sort_by_key(|endpoint| endpoint.task);
            prop_assert_eq!(told, endpoints.values().cloned().collect::<Vec<_>>());
            let shares = services.values().map(service_digest).chain(endpoints.values().map(endpoint_digest));
            prop_assert_eq!(table.digest(), shares.fold(0, u64::wrapping_add));
            prop_assert_eq!(table.items(), services.len() + endpoints.len());
            drop(before);
        }
    }
}
