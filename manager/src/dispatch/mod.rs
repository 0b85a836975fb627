//! Sessions with nodes: each node's one long conversation with the leader.
//!
//! - `session`: one conversation, and the list of those that stand.

pub mod session;

pub use session::{SessionEvent, Sessions};
