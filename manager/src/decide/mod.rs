//! PURE: what should change, given the state and what was heard. No clock, no I/O, no logging.
//!
//! Nodes:
//! - `liveness`: which nodes are ready, unknown or down.
//! - `nodes`: what to write about nodes that something was heard of.
//! - `roles`: who should be in the raft group, and the one next step towards it.
//! - `rotate_root`: who is told to get a certificate of a new root, and when it has taken over.
//!
//! Services and tasks, in the order of `planner`, which knows what is to be looked at:
//! - `reports`: what workers say of their tasks.
//! - `enforce`: what a node's change means for the tasks on it.
//! - `allocate`: ports for services that ask for any, and addresses on the cluster's networks.
//! - `replicated`, `global`, `jobs`: which tasks a service should have; `slot`: what one slot of it needs.
//! - `restart`: a finished task: replace it now, later, or not.
//! - `update`: which slots to replace next; pause, roll back, finish. `roll`: how far its slots are.
//! - `rebalance`: which tasks to move to emptier nodes.
//! - `reap`: what to forget.
//! - `place`: which node a task goes to.
//!
//! `draft` and `pass` are what these steps write into; `up_to_date` tells which tasks are as the spec says.

pub mod allocate;
mod draft;
mod enforce;
mod global;
mod jobs;
pub mod liveness;
pub mod nodes;
mod pass;
pub mod place;
mod planner;
mod reap;
mod rebalance;
mod replicated;
mod reports;
mod restart;
pub mod roles;
mod roll;
pub mod rotate_root;
mod slot;
mod up_to_date;
mod update;

pub use pass::{Ctx, Why};
pub use planner::{Decision, Planner};
pub use up_to_date::is_up_to_date;

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
