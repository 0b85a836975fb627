//! Rules of `apply`: all or none, versions checked, a repeated proposal applied once.

use super::*;
use common::object::payload::PayloadSpec;
use common::object::sensitive::SensitiveBytes;
use common::object::{Availability, Node, NodeId, PayloadId, PayloadKind, Role, ServiceId, ServiceSpec};
use common::time::Timestamp;
use proptest::prelude::*;

fn node(id: u128) -> Node {
    Node::new(NodeId(id), Role::Worker, Availability::Active)
}

fn proposal(id: u64, changes: Vec<Write<Node>>) -> Proposal {
    Proposal { id, at: Timestamp(id), changes: changes.into_iter().map(Change::Node).collect() }
}

fn named(tables: &Tables, id: u128, name: &str) -> Node {
    let mut node = Node::clone(tables.nodes.get(NodeId(id)).expect("the test made it"));
    node.spec.name = name.into();
    node
}

#[test]
fn a_group_applies_whole_or_not_at_all() {
    let mut tables = Tables::default();
    apply(&mut tables, Version(1), &proposal(1, vec![Write::Create(node(1))])).0.unwrap();
    let half_good = proposal(2, vec![Write::Create(node(2)), Write::Create(node(1))]);
    let (outcome, changed) = apply(&mut tables, Version(2), &half_good);
    assert!(matches!(outcome, Err(Rejection::Exists { .. })));
    assert!(changed.is_empty());
    assert_eq!(tables.nodes.len(), 1);
    assert_eq!(tables.version, Version(2), "a rejected entry is passed all the same");
}

#[test]
fn only_the_version_that_was_read_can_be_replaced() {
    let mut tables = Tables::default();
    apply(&mut tables, Version(5), &proposal(1, vec![Write::Create(node(1))])).0.unwrap();
    let first = Write::update(named(&tables, 1, "first"));
    let second = Write::update(named(&tables, 1, "second"));
    assert_eq!(apply(&mut tables, Version(6), &proposal(2, vec![first])).0, Ok(Version(6)));
    let late = apply(&mut tables, Version(7), &proposal(3, vec![second])).0;
    assert_eq!(late.unwrap_err().to_string(), "update out of sequence");
    let stored = tables.nodes.get(NodeId(1)).unwrap();
    assert_eq!((stored.spec.name.as_str(), stored.meta.version), ("first", Version(6)));
    assert_eq!((stored.meta.created_at, stored.meta.updated_at), (Timestamp(1), Timestamp(2)));
}

#[test]
fn a_repeated_proposal_is_answered_as_before() {
    let mut tables = Tables::default();
    let create = proposal(1, vec![Write::Create(node(1)), Write::Create(node(2))]);
    assert_eq!(apply(&mut tables, Version(1), &create).0, Ok(Version(1)));
    let (again, changed) = apply(&mut tables, Version(2), &create);
    assert_eq!(again, Ok(Version(1)));
    assert!(changed.is_empty());
}

#[test]
fn time_in_the_store_never_runs_backwards() {
    let mut tables = Tables::default();
    let mut early = proposal(2, vec![Write::Create(node(2))]);
    early.at = Timestamp(1);
    let mut late = proposal(1, vec![Write::Create(node(1))]);
    late.at = Timestamp(1_000);
    apply(&mut tables, Version(1), &late).0.unwrap();
    apply(&mut tables, Version(2), &early).0.unwrap();
    assert_eq!(tables.nodes.get(NodeId(2)).unwrap().meta.created_at, Timestamp(1_000));
}

#[test]
fn bad_proposals_are_rejected_with_the_reason() {
    let mut tables = Tables::default();
    let too_many = (0..=PROPOSAL_CHANGES_MAX as u128).map(|id| Write::Create(node(id))).collect();
    for bad in [proposal(1, vec![]), proposal(0, vec![Write::Create(node(1))]), proposal(1, too_many)] {
        let rejection = apply(&mut tables, Version(1), &bad).0.unwrap_err();
        assert!(matches!(rejection, Rejection::Invalid { .. }), "{rejection}");
    }
}

#[test]
fn payloads_have_names_of_their_own_by_kind_and_at_least_one_version() {
    use PayloadKind::{Config, Secret};
    let payload = |id, kind, name: &str| {
        let spec = PayloadSpec { name: name.into(), ..PayloadSpec::default() };
        Payload::new(PayloadId(id), kind, spec, SensitiveBytes::new(b"value".to_vec()), Timestamp(1))
    };
    let mut tables = Tables::default();
    let mut write = |id: u64, write| {
        let proposal = Proposal { id, at: Timestamp(id), changes: vec![Change::Payload(write)] };
        apply(&mut tables, Version(id), &proposal).0.map_err(|rejection| rejection.to_string())
    };
    assert!(write(1, Write::Create(payload(1, Secret, "key"))).is_ok());
    assert!(write(2, Write::Create(payload(2, Config, "key"))).is_ok(), "a config is no secret");
    let taken = write(3, Write::Create(payload(3, Secret, "key"))).unwrap_err();
    assert!(taken.ends_with("secret or config key already exists"), "{taken}");
    let none = Payload { versions: Vec::new(), ..payload(4, Secret, "none") };
    assert_eq!(write(4, Write::Create(none)), Err("invalid proposal: secret none has no version".into()));
    assert!(write(5, Write::Remove { id: PayloadId(1), read_at: Version(1) }).is_ok());
    assert!(write(6, Write::Create(payload(5, Secret, "key"))).is_ok(), "the name is free again");
    assert_eq!(tables.payload_by_name(Config, "key").unwrap().id, PayloadId(2));
    assert_eq!(tables.payload_by_name(Secret, "key").unwrap().id, PayloadId(5));
}

#[test]
fn a_spec_uses_what_is_there_and_what_is_used_stays() {
    use common::object::container::FileReference;
    let key = Payload::new(
        PayloadId(1),
        PayloadKind::Secret,
        PayloadSpec { name: "key".into(), ..PayloadSpec::default() },
        SensitiveBytes::new(b"value".to_vec()),
        Timestamp(1),
    );
    let using = |version| {
        let mut spec = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
        let id = PayloadId(1).to_string();
        spec.task.container.secrets = vec![FileReference { id, version, ..FileReference::default() }];
        Service::new(ServiceId(1), spec, Timestamp(1))
    };
    let mut tables = Tables::default();
    let mut write = |id: u64, change| {
        let proposal = Proposal { id, at: Timestamp(id), changes: vec![change] };
        apply(&mut tables, Version(id), &proposal).0.map(drop)
    };
    let remove = |read_at| Change::Payload(Write::Remove { id: PayloadId(1), read_at: Version(read_at) });
    let is_conflict = |outcome| matches!(outcome, Err(Rejection::Conflict { kind: ObjectKind::Payload, .. }));
    assert!(is_conflict(write(1, Change::Service(Write::Create(using(1))))), "there is no such secret");
    assert_eq!(write(2, Change::Payload(Write::Create(key.clone()))), Ok(()));
    assert!(is_conflict(write(3, Change::Service(Write::Create(using(2))))), "it has no such version");
    assert_eq!(write(4, Change::Service(Write::Create(using(1)))), Ok(()));
    assert!(is_conflict(write(5, remove(2))), "it is used");
    let mut other = using(1);
    other.meta.version = Version(4);
    other.replace_spec(ServiceSpec { name: "web".into(), ..ServiceSpec::default() }.into(), Timestamp(6));
    assert_eq!(write(6, Change::Service(Write::update(other.clone()))), Ok(()));
    assert_eq!(write(7, remove(2)), Ok(()));
    // Who decides may go back to what it has, whatever has become of it: it must not be in its own way for ever.
    other.meta.version = Version(6);
    assert!(other.return_to(1, Timestamp(8)));
    assert_eq!(write(8, Change::Service(Write::update(other))), Ok(()));
}

fn any_write() -> impl Strategy<Value = Write<Node>> {
    let id = 1u128..4;
    let version = 0u64..12;
    prop_oneof![
        id.clone().prop_map(|id| Write::Create(node(id))),
        (id.clone(), version.clone())
            .prop_map(|(id, at)| Write::Update { value: node(id), read_at: Version(at) }),
        (id, version).prop_map(|(id, at)| Write::Remove { id: NodeId(id), read_at: Version(at) }),
    ]
}

proptest! {
    /// Two managers that apply the same log end in the same state; a rejected entry leaves no trace in the objects;
    /// versions only grow.
    #[test]
    fn the_same_log_gives_the_same_state(log in prop::collection::vec(prop::collection::vec(any_write(), 0..4), 0..12)) {
        let (mut one, mut other) = (Tables::default(), Tables::default());
        for (index, writes) in log.into_iter().enumerate() {
            let entry = proposal(index as u64 + 1, writes);
            let version = Version(index as u64 + 1);
            let before = one.clone();
            let (outcome, changed) = apply(&mut one, version, &entry);
            prop_assert_eq!(&apply(&mut other, version, &entry).0, &outcome);
            prop_assert_eq!(&one, &other);
            if outcome.is_err() {
                prop_assert!(changed.is_empty());
                prop_assert_eq!(&one.nodes, &before.nodes);
            }
            for node in one.nodes.iter() {
                let old = before.nodes.get(node.id).map(|node| node.meta.version);
                prop_assert!(Some(node.meta.version) >= old);
            }
        }
    }
}

mod networks {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use common::object::network::Subnet;
    use common::object::service::NetworkAttachment;
    use common::object::{Network, NetworkId, NetworkSpec, Slot, Task, TaskId, TaskState};

    use super::super::*;
    use super::{Timestamp, *};
    use crate::store::addresses::Holder;

    fn network(id: u128, name: &str, subnet: &str) -> Network {
        let subnet = Subnet {
            subnet: subnet.parse().unwrap(),
            range: None,
            gateway: [10, 0, 0, 1].into(),
            reserved: BTreeMap::new(),
        };
        let spec = NetworkSpec { name: name.into(), ingress: name == "ingress", ..NetworkSpec::default() };
        Network::new(NetworkId(id), spec, vec![subnet])
    }

    fn service(id: u128, networks: &[u128]) -> Service {
        let mut spec = ServiceSpec { name: format!("s{id}"), ..ServiceSpec::default() };
        let attachment = |id: &u128| NetworkAttachment {
            target: NetworkId(*id).to_string(),
            ..NetworkAttachment::default()
        };
        spec.task.networks = networks.iter().map(attachment).collect();
        Service::new(ServiceId(id), spec, Timestamp(1))
    }

    fn task(id: u128, last: u8) -> Task {
        let mut task = Task::new(TaskId(id), ServiceId(1), Slot::Number(id as u64), 1, TaskState::Running);
        task.addresses = Some([address(last)].into());
        task
    }

    fn address(last: u8) -> (NetworkId, IpAddr) {
        (NetworkId(1), [10, 0, 1, last].into())
    }

    fn writer(tables: &mut Tables) -> impl FnMut(u64, Change) -> Result<Version, Rejection> {
        move |id, change| {
            let proposal = Proposal { id, at: Timestamp(id), changes: vec![change] };
            apply(tables, Version(id), &proposal).0
        }
    }

    fn is_conflict(outcome: Result<Version, Rejection>) -> bool {
        matches!(outcome, Err(Rejection::Conflict { kind: ObjectKind::Network, .. }))
    }

    #[test]
    fn no_two_have_one_name_or_one_subnet() {
        let mut tables = Tables::default();
        let mut write = writer(&mut tables);
        let create = |network| Change::Network(Write::Create(network));
        assert!(write(1, create(network(1, "front", "10.0.1.0/24"))).is_ok());
        let taken = write(2, create(network(2, "Front", "10.0.2.0/24")));
        assert!(matches!(taken, Err(Rejection::NameTaken { kind: ObjectKind::Network, .. })), "{taken:?}");
        assert!(is_conflict(write(3, create(network(2, "back", "10.0.0.0/16")))));
        assert!(write(4, create(network(2, "ingress", "10.0.2.0/24"))).is_ok());
        let second = Network {
            spec: NetworkSpec { name: "other".into(), ..NetworkSpec::ingress() },
            ..network(3, "", "10.0.3.0/24")
        };
        assert!(is_conflict(write(5, create(second))));
        assert!(write(6, Change::Network(Write::Remove { id: NetworkId(1), read_at: Version(1) })).is_ok());
        assert!(
            write(7, create(network(4, "front", "10.0.1.128/25"))).is_ok(),
            "name and subnet are free again"
        );
        drop(write);
        assert_eq!(tables.network_by_name("FRONT").map(|network| network.id), Some(NetworkId(4)));
    }

    #[test]
    fn services_are_on_networks_that_are_there_and_these_stay() {
        let mut tables = Tables::default();
        let mut write = writer(&mut tables);
        assert!(is_conflict(write(1, Change::Service(Write::Create(service(1, &[1]))))));
        assert!(write(2, Change::Network(Write::Create(network(1, "front", "10.0.1.0/24")))).is_ok());
        assert!(write(3, Change::Service(Write::Create(service(1, &[1])))).is_ok());
        let remove = |read_at| Change::Network(Write::Remove { id: NetworkId(1), read_at: Version(read_at) });
        assert!(is_conflict(write(4, remove(2))));
        let mut gone = service(1, &[1]);
        (gone.meta.version, gone.removed) = (Version(3), true);
        assert!(write(5, Change::Service(Write::update(gone))).is_ok());
        assert!(write(6, remove(2)).is_ok());
    }

    #[test]
    fn no_address_is_given_twice_and_those_of_the_ended_are_free() {
        let mut tables = Tables::default();
        let mut write = writer(&mut tables);
        assert!(write(1, Change::Network(Write::Create(network(1, "front", "10.0.1.0/24")))).is_ok());
        let mut web = service(1, &[1]);
        web.virtual_ips = vec![address(2)];
        assert!(write(2, Change::Service(Write::Create(web.clone()))).is_ok());
        assert!(is_conflict(write(3, Change::Task(Write::Create(task(1, 2))))), "the service's");
        assert!(write(4, Change::Task(Write::Create(task(1, 3)))).is_ok());
        assert!(is_conflict(write(5, Change::Task(Write::Create(task(2, 3))))));
        let mut other = service(2, &[1]);
        other.virtual_ips = vec![address(3)];
        assert!(is_conflict(write(6, Change::Service(Write::Create(other)))));
        let mut ended = task(1, 3);
        (ended.meta.version, ended.status.state) = (Version(4), TaskState::Failed);
        assert!(write(7, Change::Task(Write::update(ended.clone()))).is_ok());
        assert!(write(8, Change::Task(Write::Create(task(2, 3)))).is_ok());
        // What has ended is written once more, and takes nothing back.
        (ended.meta.version, ended.desired) = (Version(7), TaskState::Shutdown);
        assert!(write(9, Change::Task(Write::update(ended))).is_ok());
        drop(write);
        assert_eq!(tables.addresses().holder(address(3)), Some(Holder::Task(TaskId(2))));
        assert_eq!(
            (tables.addresses().count(NetworkId(1)), tables.addresses().last(NetworkId(1))),
            (2, Some(address(3).1))
        );

        let mut write = writer(&mut tables);
        assert!(write(10, Change::Task(Write::Remove { id: TaskId(2), read_at: Version(8) })).is_ok());
        (web.meta.version, web.removed) = (Version(2), true);
        assert!(write(11, Change::Service(Write::update(web))).is_ok());
        drop(write);
        assert_eq!(
            (tables.addresses().count(NetworkId(1)), tables.addresses().last(NetworkId(1))),
            (0, None)
        );
    }
}
