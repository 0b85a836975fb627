//! PURE: what should change, given the state and what was heard. No clock, no I/O, no logging.
//!
//! - `liveness`: which nodes are ready, unknown or down.
//! - `nodes`: what to write about nodes that something was heard of.
//! - `roles`: who should be in the raft group, and the one next step towards it.

pub mod liveness;
pub mod nodes;
pub mod roles;

use std::fmt;

use common::object::NodeId;

/// Why something was decided, for the log and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub node: NodeId,
    pub text: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}: {}", self.node, self.text)
    }
}
