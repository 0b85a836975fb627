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
