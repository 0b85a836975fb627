//! The mesh of a node: names and connections.
//!
//! - `names`: PURE, what a task is told when it asks for a name. `dns`: the server that tells it.

pub mod dns;
pub mod names;
