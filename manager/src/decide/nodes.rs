//! What should change in the node objects: descriptions that nodes sent, and liveness.
//!
//! Pure. Looks only at the nodes it is given, so that a pass costs what changed.

use std::collections::{BTreeMap, BTreeSet};

use common::object::{Node, NodeDescription, NodeId};
use common::time::{Monotonic, Timestamp};

use super::Reason;
use super::liveness::{Heard, Patience, judge};
use crate::store::{Change, Tables, Write};

/// What a node said of itself when it opened its session, or since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub description: NodeDescription,
    /// `ip:port`.
    pub addr: String,
}

/// What the leader knows beside the store.
pub struct NodesView<'a> {
    pub heard: &'a dyn Fn(NodeId) -> Heard,
    /// When a node's session was first missed in this term; none while it has one.
    pub lost_since: &'a BTreeMap<NodeId, Monotonic>,
    pub described: &'a BTreeMap<NodeId, Described>,
    pub leading_since: Monotonic,
    pub patience: Patience,
    pub now: Monotonic,
    pub wall: Timestamp,
}

#[derive(Debug, Default)]
pub struct NodesDecision {
    /// One independent update each.
    pub changes: Vec<Change>,
    /// When to look at which node again.
    pub wakes: Vec<(Monotonic, NodeId)>,
    pub reasons: Vec<Reason>,
}

pub fn decide_nodes(snapshot: &Tables, dirty: &BTreeSet<NodeId>, view: &NodesView<'_>) -> NodesDecision {
    let mut decision = NodesDecision::default();
    for node in dirty.iter().filter_map(|id| snapshot.nodes.get(*id)) {
        let lost_since = view.lost_since.get(&node.id).copied();
        let heard = (view.heard)(node.id);
        let verdict = judge(node, heard, view.leading_since, lost_since, &view.patience, view.now);
        decision.wakes.extend(verdict.look_again_at.map(|at| (at, node.id)));
        let mut next = Node::clone(node);
        if let Some(described) = view.described.get(&node.id) {
            next.description = Some(described.description.clone());
            next.status.addr = host_of(&described.addr);
        }
        if next.status.state != verdict.state {
            decision.reasons.push(Reason {
                node: node.id,
                text: format!("{} -> {}: {}", node.status.state, verdict.state, verdict.message),
            });
            next.status.state = verdict.state;
            // Wall clocks jump, and a new leader's may be behind: shown times never run backwards.
            next.status.since = view.wall.max(snapshot.newest).max(node.status.since);
        }
        next.status.message = verdict.message.into();
        if next != **node {
            decision.changes.push(Change::Node(Write::update(next)));
        }
    }
    decision
}

/// The host part of `ip:port`, as Docker shows a node's address.
fn host_of(addr: &str) -> String {
    match addr.parse::<std::net::SocketAddr>() {
        Ok(addr) => addr.ip().to_string(),
        Err(_) => addr.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::liveness::Gossip;
    use crate::store::{Proposal, Store};
    use common::object::node::NodeStatus;
    use common::object::{Availability, NodeState, Role};
    use std::time::Duration;

    const PATIENCE: Patience = Patience {
        session_silence: Duration::from_secs(1),
        reconnect: Duration::from_secs(2),
        unknown: Duration::from_secs(10),
        stopped: Duration::from_secs(10),
    };

    fn node() -> Node {
        Node::new(NodeId(1), Role::Worker, Availability::Active)
    }

    #[test]
    fn a_state_never_begins_before_the_one_it_follows() {
        let second = |seconds: u64| Timestamp(seconds * 1_000_000_000);
        #[rustfmt::skip]
        let cases = [ // newest in the store, state before since, leader's wall clock, new state since
            (100, 100, 101, 101),
            (100, 100,  40, 100), // the clock jumped back, or this leader's is behind the last one's
            (100,  90,  95, 100),
            (100, 120, 110, 120), // it jumped between a decision and its write
        ];
        for (newest, before, wall, after) in cases {
            let mut node = node();
            node.status =
                NodeStatus { state: NodeState::Ready, since: second(before), ..NodeStatus::default() };
            let store = Store::new();
            let create = vec![Change::Node(Write::Create(node))];
            store.apply(1, &Proposal { id: 1, at: second(newest), changes: create }).unwrap();
            let heard = |_| Heard { session: None, gossip: Gossip::Dead };
            let view = NodesView {
                heard: &heard,
                lost_since: &BTreeMap::new(),
                described: &BTreeMap::new(),
                leading_since: Monotonic::default(),
                patience: PATIENCE,
                now: Monotonic(Duration::from_secs(60)),
                wall: second(wall),
            };
            let decision = decide_nodes(&store.snapshot(), &BTreeSet::from([NodeId(1)]), &view);
            let [Change::Node(Write::Update { value, .. })] = decision.changes.as_slice() else {
                panic!("{decision:?}")
            };
            assert_eq!(value.status.state, NodeState::Down);
            assert_eq!(value.status.since, second(after), "{newest} {before} {wall}");
        }
    }

    #[test]
    fn an_unchanged_node_costs_no_write() {
        let store = Store::new();
        let create = vec![Change::Node(Write::Create(node()))];
        store.apply(1, &Proposal { id: 1, at: Timestamp(1), changes: create }).unwrap();
        let now = Monotonic(Duration::from_secs(60));
        let heard = |_| Heard { session: Some(now), gossip: Gossip::Alive };
        let addr = "[fd00::7]:2377".to_string();
        let described =
            BTreeMap::from([(NodeId(1), Described { description: NodeDescription::default(), addr })]);
        let view = NodesView {
            heard: &heard,
            lost_since: &BTreeMap::new(),
            described: &described,
            leading_since: Monotonic::default(),
            patience: PATIENCE,
            now,
            wall: Timestamp(5),
        };
        let dirty = BTreeSet::from([NodeId(1), NodeId(404)]);
        let first = decide_nodes(&store.snapshot(), &dirty, &view);
        assert_eq!(first.changes.len(), 1);
        store.apply(2, &Proposal { id: 2, at: Timestamp(2), changes: first.changes }).unwrap();
        let stored = store.snapshot().nodes.get(NodeId(1)).unwrap().clone();
        assert_eq!((stored.status.state, stored.status.addr.as_str()), (NodeState::Ready, "fd00::7"));
        let second = decide_nodes(&store.snapshot(), &dirty, &view);
        assert!(second.changes.is_empty(), "{:?}", second.changes);
        assert_eq!(second.wakes, vec![(now.plus(Duration::from_secs(1)), NodeId(1))]);
    }
}
