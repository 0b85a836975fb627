//! What the control loop has to look at, and when.

use std::collections::{BTreeMap, BTreeSet};

use common::object::NodeId;
use common::time::Monotonic;

/// Nodes to look at now, and nodes to look at later. One later moment per node: the earliest asked for.
#[derive(Debug, Default)]
pub struct Wake {
    dirty: BTreeSet<NodeId>,
    roles: bool,
    later: BTreeSet<(Monotonic, NodeId)>,
    moment: BTreeMap<NodeId, Monotonic>,
    roles_at: Option<Monotonic>,
}

/// What one pass looks at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub nodes: BTreeSet<NodeId>,
    pub roles: bool,
}

impl Wake {
    pub fn node(&mut self, node: NodeId) {
        self.dirty.insert(node);
    }

    pub fn roles(&mut self) {
        self.roles = true;
    }

    /// Looks at a node again at `at`, instead of whenever it was to be looked at before.
    pub fn node_at(&mut self, at: Monotonic, node: NodeId) {
        if let Some(before) = self.moment.insert(node, at) {
            self.later.remove(&(before, node));
        }
        self.later.insert((at, node));
    }

    pub fn roles_at(&mut self, at: Monotonic) {
        self.roles_at = Some(self.roles_at.map_or(at, |before| before.min(at)));
    }

    /// The next moment there is something to do; none while only events can bring work.
    pub fn next_at(&self, now: Monotonic) -> Option<Monotonic> {
        if self.roles || !self.dirty.is_empty() {
            return Some(now);
        }
        let node = self.later.first().map(|(at, _)| *at);
        node.into_iter().chain(self.roles_at).min()
    }

    /// Takes what is due.
    pub fn take(&mut self, now: Monotonic) -> Work {
        while let Some((at, node)) = self.later.first().copied()
            && at <= now
        {
            self.later.pop_first();
            self.moment.remove(&node);
            self.dirty.insert(node);
        }
        if self.roles_at.is_some_and(|at| at <= now) {
            self.roles_at = None;
            self.roles = true;
        }
        Work { nodes: std::mem::take(&mut self.dirty), roles: std::mem::take(&mut self.roles) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn a_node_is_due_once_at_its_latest_moment() {
        let mut wake = Wake::default();
        wake.node_at(at(1), NodeId(1));
        wake.node_at(at(3), NodeId(1));
        wake.node_at(at(2), NodeId(2));
        assert_eq!(wake.next_at(at(0)), Some(at(2)));
        assert_eq!(wake.take(at(2)).nodes, BTreeSet::from([NodeId(2)]));
        assert_eq!(wake.next_at(at(2)), Some(at(3)));
        assert_eq!(wake.take(at(9)).nodes, BTreeSet::from([NodeId(1)]));
        assert_eq!(wake.next_at(at(9)), None);
    }

    #[test]
    fn roles_wait_for_their_moment_or_for_an_event() {
        let mut wake = Wake::default();
        wake.roles_at(at(5));
        assert!(!wake.take(at(4)).roles);
        wake.roles();
        assert_eq!(wake.next_at(at(4)), Some(at(4)));
        assert!(wake.take(at(4)).roles);
        assert!(wake.take(at(5)).roles);
        assert_eq!(wake.take(at(9)), Work::default());
    }
}
