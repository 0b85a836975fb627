//! A node that the leader hears is never written down, nor one that was well all along: work would be moved away
//! from a machine that does it.

use common::object::{Node, NodeState};
use common::time::Monotonic;
use std::time::Duration;

/// What is so about a node, whatever anybody believes.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// Since when it has run and nothing was between it and the others; none while that is not so.
    pub well_since: Option<Monotonic>,
    /// When the leader last heard it when it decided; none without a session.
    pub heard_at: Option<Monotonic>,
}

/// The longest that a verdict may lag behind the truth: a fault has ended, and its end is not known yet.
const WELL_FOR: Duration = Duration::from_secs(5);

/// `node` was just written down by a decision of `decided_at`.
pub fn check(node: &Node, truth: Truth, session_silence: Duration, decided_at: Monotonic) {
    assert_eq!(node.status.state, NodeState::Down);
    if let Some(heard_at) = truth.heard_at {
        let silent = decided_at.since(heard_at);
        assert!(
            silent >= session_silence,
            "node {} was heard {silent:?} before it was written down",
            node.id
        );
    }
    if let Some(well_since) = truth.well_since {
        let well = decided_at.since(well_since);
        assert!(well < WELL_FOR, "node {} was written down after it was well for {well:?}", node.id);
    }
}
