//! Rules of `roles`: a table of steps, and random histories in which quorum is never lost.

use super::*;
use common::object::Availability;
use common::object::node::ManagerRecord;
use proptest::prelude::*;

use crate::store::{Change, Proposal, Store, Write};

fn addr(node: u128) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 2377))
}

fn node(id: u128, wanted: Role, raft_id: Option<u64>) -> Node {
    let mut node = Node::new(NodeId(id), wanted, Availability::Active);
    node.role = if raft_id.is_some() { Role::Manager } else { Role::Worker };
    node.manager = raft_id.map(|raft_id| ManagerRecord { raft_id, addr: addr(id).to_string() });
    node
}

fn member(id: u128, raft_id: u64, voter: bool) -> Member {
    let addr = addr(id).to_string();
    Member { raft_id, node: NodeId(id), addr, voter, reachable: true, lag: Some(0) }
}

fn tables(nodes: Vec<Node>) -> Tables {
    let store = Store::new();
    let changes = nodes.into_iter().map(|node| Change::Node(Write::Create(node))).collect();
    store.apply(1, &Proposal { id: 1, at: Default::default(), changes }).unwrap();
    store.snapshot()
}

fn step(nodes: Vec<Node>, members: Vec<Member>) -> Option<Step> {
    decide_roles(&tables(nodes), &Group { me: 1, members }, &|node| Some(addr(node.0))).step
}

#[test]
fn promotion_goes_step_by_step() {
    use Role::*;
    let leader = || node(1, Manager, Some(1));
    assert_eq!(step(vec![leader(), node(2, Worker, None)], vec![member(1, 1, true)]), None);
    assert_eq!(
        step(vec![leader(), node(2, Manager, None)], vec![member(1, 1, true)]),
        Some(Step::Admit { node: NodeId(2), addr: addr(2) })
    );
    assert_eq!(
        step(vec![leader(), node(2, Manager, Some(7))], vec![member(1, 1, true)]),
        Some(Step::AddLearner { raft_id: 7, node: NodeId(2), addr: addr(2).to_string() })
    );
    assert_eq!(
        step(vec![leader(), node(2, Manager, Some(7))], vec![member(1, 1, true), member(2, 7, false)]),
        Some(Step::AddVoter { raft_id: 7 })
    );
    let mut behind = member(2, 7, false);
    behind.lag = Some(CAUGHT_UP_ENTRIES + 1);
    assert_eq!(step(vec![leader(), node(2, Manager, Some(7))], vec![member(1, 1, true), behind]), None);
    assert_eq!(
        step(vec![leader(), node(2, Manager, Some(7))], vec![member(1, 1, true), member(2, 7, true)]),
        None
    );
}

#[test]
fn demotion_never_loses_quorum() {
    use Role::*;
    let three = || vec![member(1, 1, true), member(2, 2, true), member(3, 3, true)];
    let nodes = |wanted: [Role; 3]| {
        (1..=3).zip(wanted).map(|(id, role)| node(id, role, Some(id as u64))).collect::<Vec<_>>()
    };
    assert_eq!(step(nodes([Manager, Worker, Manager]), three()), Some(Step::Remove { raft_id: 2 }));
    // The leader hands over first, to the member that lags least.
    let mut uneven = three();
    uneven[1].lag = Some(5);
    assert_eq!(step(nodes([Worker, Manager, Manager]), uneven), Some(Step::HandOver { to: 3 }));
    // With one of the two that would be left unreachable there would be no majority.
    let mut cut = three();
    cut[2].reachable = false;
    assert_eq!(step(nodes([Manager, Worker, Manager]), cut.clone()), None);
    // Removing the unreachable one itself is what helps.
    assert_eq!(step(nodes([Manager, Manager, Worker]), cut), Some(Step::Remove { raft_id: 3 }));
    // Out of the group: the certificate follows.
    assert_eq!(
        step(nodes([Manager, Worker, Manager]), vec![member(1, 1, true), member(3, 3, true)]),
        Some(Step::Dismiss { node: NodeId(2) })
    );
    // The last manager stays.
    assert_eq!(step(vec![node(1, Worker, Some(1))], vec![member(1, 1, true)]), None);
}

#[test]
fn members_of_an_earlier_life_go_and_moved_ones_are_followed() {
    use Role::*;
    let nodes = || vec![node(1, Manager, Some(1)), node(2, Manager, Some(9))];
    let group = vec![member(1, 1, true), member(2, 2, true)];
    assert_eq!(step(nodes(), group), Some(Step::Remove { raft_id: 2 }));
    let mut moved = member(2, 9, true);
    moved.addr = "10.0.0.77:2377".into();
    assert_eq!(
        step(nodes(), vec![member(1, 1, true), moved]),
        Some(Step::Move { raft_id: 9, node: NodeId(2), addr: addr(2).to_string() })
    );
    // A node that was removed from the store altogether.
    let gone = vec![member(1, 1, true), member(3, 3, true), member(2, 9, true)];
    assert_eq!(step(nodes(), gone), Some(Step::Remove { raft_id: 3 }));
}

proptest! {
    /// From any group of reachable members and any wishes, the steps end, in the roles that were wanted, through
    /// groups that always have a voter; raft ids are never given twice.
    #[test]
    fn wishes_come_true_without_losing_quorum(
        wanted in prop::collection::vec(any::<bool>(), 1..7),
        members in 1usize..7,
        leader in 0usize..7,
    ) {
        let count = wanted.len();
        let members = members.min(count);
        prop_assume!(wanted.iter().any(|manager| *manager));
        let mut nodes: Vec<Node> = wanted.iter().enumerate().map(|(index, manager)| {
            let id = index as u128 + 1;
            let role = if *manager { Role::Manager } else { Role::Worker };
            node(id, role, (index < members).then_some(id as u64))
        }).collect();
        let mut group = Group {
            me: (leader % members) as u64 + 1,
            members: (1..=members as u128).map(|id| member(id, id as u64, true)).collect(),
        };
        let mut next_raft_id = count as u64 + 1;
        for _ in 0..count * 6 {
            let decision = decide_roles(&tables(nodes.clone()), &group, &|node| Some(addr(node.0)));
            let Some(step) = decision.step else { break };
            match step {
                Step::Admit { node, addr } => {
                    let node = &mut nodes[node.0 as usize - 1];
                    node.role = Role::Manager;
                    node.manager = Some(ManagerRecord { raft_id: next_raft_id, addr: addr.to_string() });
                    next_raft_id += 1;
                }
                Step::AddLearner { raft_id, node, .. } => {
                    prop_assert!(group.members.iter().all(|member| member.raft_id != raft_id));
                    group.members.push(member(node.0, raft_id, false));
                }
                Step::AddVoter { raft_id } => {
                    group.members.iter_mut().find(|member| member.raft_id == raft_id).unwrap().voter = true;
                }
                Step::Move { .. } => prop_assert!(false, "nobody moved"),
                Step::HandOver { to } => {
                    prop_assert!(group.members.iter().any(|member| member.raft_id == to && member.voter));
                    group.me = to;
                }
                Step::Remove { raft_id } => {
                    prop_assert_ne!(raft_id, group.me, "the leader hands over before it goes");
                    group.members.retain(|member| member.raft_id != raft_id);
                }
                Step::Dismiss { node } => {
                    let node = &mut nodes[node.0 as usize - 1];
                    node.role = Role::Worker;
                    node.manager = None;
                }
            }
            prop_assert!(group.members.iter().any(|member| member.voter));
        }
        for (node, manager) in nodes.iter().zip(wanted) {
            let voter = group.members.iter().any(|member| member.node == node.id && member.voter);
            prop_assert_eq!(voter, manager, "node {}", node.id.0);
            prop_assert_eq!(node.role == Role::Manager, manager);
        }
    }
}
