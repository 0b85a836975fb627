//! A manager: keeps the cluster's state with the other managers, decides what should change, answers people.
//!
//! - `store`: the state; `raft`: how managers agree on it.
//! - `decide`: what should change, pure; `control`: the leader's loop around it.
//! - `dispatch`: sessions with nodes; `ca`: certificates and tokens.
//! - `api`: the HTTP edge.

pub mod api;
pub mod decide;
pub mod dispatch;
pub mod raft;
pub mod store;
