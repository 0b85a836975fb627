//! Sessions with nodes: each node's one long conversation with the leader.
//!
//! - `session`: one conversation, and the list of those that stand.
//! - `assignments`: PURE: what a node should run, as the difference to what it was told.
//! - `payloads`: PURE: which secrets and configs a node has to have.
//! - `mesh`: PURE: which services a node can connect to, and where their tasks are.
//! - `follow`: wakes the sessions of nodes that something has changed for.

pub mod assignments;
pub mod follow;
pub mod mesh;
pub mod payloads;
pub mod session;

pub use session::{SessionEvent, Sessions};
