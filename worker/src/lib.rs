//! A worker: every node runs one, managers too.
//!
//! - `session`: finds the leader, registers, follows it wherever it goes.
//! - `describe`: resources and platform of this machine.

pub mod describe;
pub mod session;
