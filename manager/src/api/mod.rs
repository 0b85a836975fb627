//! The HTTP edge: Docker's Engine API on a Unix socket of every node, in a cluster or not.
//!
//! Parses, asks the cluster through `Control` or this node through `Host`, converts, answers. Decides nothing
//! about the cluster but what a request may ask for. What is not the cluster's goes to the node's Docker Engine.
//!
//! - `host`: what the daemon implements. `serve`, `patience`: sockets and their bounds. `route`: which path is whose.
//! - `swarm`, `nodes`, `lists`, `system`, `extras`: answers. `rules`, `requests`: what may be asked, pure.
//! - `engine`: the Docker Engine behind us, streamed through.
//! - `target`, `filter`, `exchange`, `error`: reading requests, writing answers.

mod describe;
mod engine;
pub mod error;
mod exchange;
mod extras;
mod filter;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod host;
mod lists;
mod nodes;
mod patience;
mod requests;
mod route;
pub mod rules;
mod serve;
mod swarm;
mod system;
mod target;
mod view;

pub use describe::describe_engine;
pub use engine::EngineSettings;
pub use error::ApiError;
pub use host::{Control, ControlError, Fault, Host, HostStatus, Init, Join, LocalState};
pub use serve::serve;
