//! What becomes of a rotation, table by table.

use std::sync::LazyLock;

use common::identity::RootAuthority;
use common::object::cluster::{Authority, Intermediate, Rotation};
use common::object::sensitive::Sensitive;
use common::object::{Availability, Cluster, ClusterId, NodeDescription, Role};
use proptest::prelude::*;

use super::*;
use crate::store::{Change, Proposal, Store, Write};

const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);

static ROOTS: LazyLock<[String; 2]> =
    LazyLock::new(|| [0, 1].map(|_| RootAuthority::generate(NOW).unwrap().certificate_pem().to_string()));

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// Has never said anything.
    New,
    /// Trusts the old root alone.
    Old,
    /// Trusts both.
    Both,
    /// Has a certificate of the new root.
    Done,
}
use At::*;

fn authority() -> Authority {
    let none = || Sensitive::new(String::new());
    Authority::new(ROOTS[0].clone(), none(), none(), none())
}

fn rotating(asked: &[u128]) -> Authority {
    let rotation = Rotation {
        certificate_pem: ROOTS[1].clone(),
        key_pem: Sensitive::new("key".into()),
        cross_signed_pem: String::new(),
        started_at: NOW,
        asked: asked.iter().map(|id| NodeId(*id)).collect(),
    };
    Authority { rotation: Some(Box::new(rotation)), ..authority() }
}

fn tables(authority: Authority, nodes: &[(At, NodeState)]) -> Tables {
    let (one, both) = (authority.certificate_pem.clone(), authority.trust_pem());
    let cluster = Cluster::new(ClusterId(1), authority);
    let mut changes = vec![Change::Cluster(Write::Create(cluster))];
    for (number, (at, state)) in (1..).zip(nodes) {
        let mut node = Node::new(NodeId(number), Role::Worker, Availability::Active);
        node.status.state = *state;
        let mut description = NodeDescription::default();
        description.tls.trust_root_pem = if *at == Old { one.clone() } else { both.clone() };
        description.tls.issuer_public_key = public_key(&ROOTS[usize::from(*at == Done)]);
        node.description = (*at != New).then_some(description);
        changes.push(Change::Node(Write::Create(node)));
    }
    let store = Store::new();
    store.apply(1, &Proposal { id: 1, at: NOW, changes }).unwrap();
    store.snapshot()
}

fn ids(ids: &[u128]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

#[test]
fn trust_first_then_certificates_then_the_end() {
    let ask = |nodes: &[u128]| Some(RotationStep::Ask(ids(nodes).into_iter().collect()));
    let finish = |missing| Some(RotationStep::Finish { missing });
    let (up, down, unknown) = (NodeState::Ready, NodeState::Down, NodeState::Unknown);
    #[rustfmt::skip]
    let cases = [ // nodes, who was asked, step, who is waited for
        (vec![(Old, up), (Old, up)],                  vec![],     None,          vec![1, 2]),
        (vec![(Both, up), (Old, up)],                 vec![],     None,          vec![2]),
        (vec![(Both, up), (New, unknown)],            vec![],     None,          vec![2]),
        (vec![(Both, up), (Both, up)],                vec![],     ask(&[1, 2]),  vec![1, 2]),
        (vec![(Both, up), (Both, unknown)],           vec![],     ask(&[1, 2]),  vec![1, 2]),
        (vec![(Both, up), (Both, up)],                vec![1],    ask(&[2]),     vec![1, 2]),
        (vec![(Both, up), (Both, up)],                vec![1, 2], None,          vec![1, 2]),
        (vec![(Done, up), (Both, up)],                vec![1, 2], None,          vec![2]),
        (vec![(Done, up), (Done, up)],                vec![1, 2], finish(false), vec![]),
        // A node that is down holds up nothing, wherever it stopped, and is told when it is back.
        (vec![(Both, up), (Old, down)],               vec![],     ask(&[1]),     vec![1]),
        (vec![(Done, up), (Old, down)],               vec![1],    finish(true),  vec![]),
        (vec![(Done, up), (Both, down)],              vec![1, 2], finish(true),  vec![]),
        (vec![(Done, up), (Done, down)],              vec![1, 2], finish(false), vec![]),
        (vec![(Done, up), (Old, unknown)],            vec![1],    None,          vec![2]),
    ];
    for (nodes, asked, step, waiting_for) in cases {
        let decision = decide_rotation(&tables(rotating(&asked), &nodes), NOW);
        let expected = RotationDecision { step, waiting_for: ids(&waiting_for) };
        assert_eq!(decision, expected, "{nodes:?}, asked {asked:?}");
    }
}

#[test]
fn the_way_from_an_old_root_is_kept_while_somebody_needs_it_and_not_for_ever() {
    let later = NOW.plus(std::time::Duration::from_secs(1));
    let (up, down) = (NodeState::Ready, NodeState::Down);
    let gone = Some(RotationStep::DropIntermediates);
    #[rustfmt::skip]
    let cases = [ // nodes by the issuer they have, until when it is kept, step
        (vec![(Both, up), (Both, down)], vec![later],      gone.clone()), // all have the present root's
        (vec![(Both, up), (Done, down)], vec![later],      None),
        (vec![(Both, up), (Done, down)], vec![NOW],        gone.clone()),
        (vec![(Both, up), (Done, down)], vec![NOW, later], None),
        (vec![(Both, up), (Done, up)],   vec![],           None),
    ];
    for (nodes, until, step) in cases {
        let intermediate = |until: &Timestamp| Intermediate { certificate_pem: String::new(), until: *until };
        let authority = Authority { intermediates: until.iter().map(intermediate).collect(), ..authority() };
        assert_eq!(decide_rotation(&tables(authority, &nodes), NOW).step, step, "{nodes:?} {until:?}");
    }
    assert_eq!(decide_rotation(&tables(authority(), &[(Old, up)]), NOW), RotationDecision::default());
}

proptest! {
    /// Whoever dies and comes back meanwhile: never more are under way than the bound allows, nobody is asked twice,
    /// and it ends once all who live have what they should.
    #[test]
    fn a_rotation_is_bounded_and_ends(
        count in 1usize..80,
        events in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
    ) {
        let mut nodes = vec![(Both, NodeState::Ready); count];
        let mut asked: Vec<u128> = Vec::new();
        let mut events = events.into_iter();
        for _ in 0..1000 {
            if let Some((which, alive)) = events.next() {
                nodes[which.index(count)].1 = if alive { NodeState::Ready } else { NodeState::Down };
            }
            match decide_rotation(&tables(rotating(&asked), &nodes), NOW).step {
                Some(RotationStep::Ask(next)) => {
                    prop_assert!(next.iter().all(|node| !asked.contains(&node.0)));
                    asked.extend(next.iter().map(|node| node.0));
                    let busy = asked.iter().map(|id| nodes[*id as usize - 1]);
                    let busy = busy.filter(|node| *node == (Both, NodeState::Ready)).count();
                    let came_back = count; // who was asked, died and is back counts above the bound
                    prop_assert!(busy <= ROTATED_AT_A_TIME_MAX + came_back);
                    prop_assert!(next.len() <= ROTATED_AT_A_TIME_MAX);
                }
                Some(RotationStep::Finish { missing }) => {
                    let living = nodes.iter().filter(|node| node.1 == NodeState::Ready);
                    prop_assert!(living.clone().all(|node| node.0 == Done));
                    prop_assert_eq!(missing, nodes.iter().any(|node| node.0 != Done));
                    return Ok(());
                }
                Some(RotationStep::DropIntermediates) => prop_assert!(false, "there are none"),
                None => {
                    // One of those who were told has its certificate.
                    let next = asked.iter().map(|id| *id as usize - 1);
                    let mut next = next.filter(|index| nodes[*index] == (Both, NodeState::Ready));
                    match next.next() {
                        Some(index) => nodes[index].0 = Done,
                        None => prop_assert!(false, "nobody is waited for, and it does not end"),
                    }
                }
            }
        }
        prop_assert!(false, "it does not end");
    }
}
