//! A manager: keeps the cluster's state with the other managers, decides what should change, answers people.
//!
//! - `manager`: build, run and stop of one.
//! - `store`: the state; `raft`: how managers agree on it; `forward`: writes and reads from any manager.
//! - `decide`: what should change, pure; `control`: the leader's loop around it; `preset`: how fast it beats.
//! - `dispatch`: sessions with nodes; `secret_driver`: values that somebody else has; `ca`: certificates and tokens.
//! - `api`: the HTTP edge. `audit`: the record of what was done through it.

pub mod api;
pub mod audit;
pub mod ca;
pub mod control;
pub mod decide;
pub mod dispatch;
pub mod forward;
pub mod manager;
pub mod preset;
pub mod raft;
pub mod secret_driver;
pub mod store;
