//! The HTTP edge: Docker's Engine API on a Unix socket of every node, in a cluster or not.
//!
//! Parses, asks the cluster through `Control` or this node through `Host`, converts, answers. Decides nothing
//! about the cluster but what a request may ask for. What is not the cluster's goes to the node's Docker Engine.
//!
//! - `host`: what the daemon implements. `serve`, `patience`: sockets and their bounds. `route`: which path is whose.
//! - `swarm`, `nodes`, `services`, `tasks`, `logs`, `events`, `networks`, `payloads`, `system`, `extras`: answers.
//! - `rules`, `service_rules`, `payload_rules`, `rotation_rules`, `requests`: what may be asked, pure. `lookup`: which object is meant. `change`: writing.
//! - `engine`: the Docker Engine behind us, streamed through.
//! - `target`, `filter`, `exchange`, `error`: reading requests, writing answers.

mod backup;
mod change;
mod describe;
mod engine;
pub mod error;
mod event_rules;
mod events;
mod exchange;
mod explain;
mod extras;
mod filter;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod host;
mod log_lines;
mod log_sources;
mod logs;
mod lookup;
mod moment;
mod networks;
mod nodes;
mod patience;
mod payload_rules;
mod payloads;
mod requests;
pub mod rotation_rules;
mod route;
pub mod rules;
mod serve;
pub mod service_rules;
mod services;
mod swarm;
mod system;
mod target;
mod tasks;
mod view;

pub use describe::describe_engine;
pub use engine::EngineSettings;
pub use error::ApiError;
pub use host::{Control, ControlError, Fault, Host, HostStatus, Init, Join, LocalState, LogsError, Restore};
pub use serve::serve;
