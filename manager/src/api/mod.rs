//! The HTTP edge: Docker's Engine API on a Unix socket of every node, in a cluster or not, and on TCP where asked.
//!
//! Parses, asks the cluster through `Control` or this node through `Host`, converts, answers. Decides nothing
//! about the cluster but what a request may ask for. What is not the cluster's goes to the node's Docker Engine.
//!
//! - `host`: what the daemon implements. `serve`, `tcp`, `patience`: doors and their bounds.
//! - `caller`, `access`: who asks, and what that takes. `note`: what of it is recorded. `route`: which path is whose.
//! - `clients`: client certificates, and the audit record. `backup`: all of it, to take away.
//! - `swarm`, `nodes`, `services`, `tasks`, `logs`, `events`, `networks`, `payloads`, `system`, `extras`: answers.
//! - `rules`, `service_rules`, `payload_rules`, `network_rules`, `rotation_rules`, `requests`: what may be asked, pure.
//!   `lookup`: which object is meant. `change`: writing.
//! - `engine`: the Docker Engine behind us, streamed through.
//! - `target`, `filter`, `exchange`, `error`: reading requests, writing answers.

mod access;
mod backup;
mod caller;
mod change;
mod clients;
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
mod network_rules;
mod networks;
mod nodes;
mod note;
mod patience;
pub(crate) mod payload_rules;
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
mod tcp;
mod view;

pub use describe::describe_engine;
pub use engine::EngineSettings;
pub use error::ApiError;
pub use host::{Control, ControlError, Fault, Host, HostStatus, Init, Join, LocalState, LogsError, Restore};
pub use serve::{Api, serve};
