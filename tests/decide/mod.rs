//! Worlds in which managers decide, in one thread and in virtual time.
//!
//! - `nodes`: gossip (the simulator's), sessions and a leader that writes who is ready, unknown or down;
//!   `sessions`: the node's side of a session; `leader`: one lead.
//! - `roles`: people promote and demote while managers come and go; `group`: the raft group they are in.
//! - `schedule`: what happens next.

pub mod group;
pub mod leader;
pub mod nodes;
pub mod roles;
pub mod schedule;
pub mod sessions;
