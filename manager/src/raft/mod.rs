//! How managers agree on the state: openraft behind a plain facade.
//!
//! - `handle`: start, serve, stop; `propose`: writes and reads; `membership`: who belongs; `status`: what is so.
//! - `folder`: what lies where, and whose it is; `force`: go on alone after the others are lost; `restore`: begin with
//!   what a backup holds.
//! - `log`, `log_writer`, `log_file`: the log; `snapshot`, `snapshot_file`, `compact`: what replaces its start.
//! - `state_machine`: committed entries become state; `seal`: nothing lies on disk in clear.
//! - `network`, `serve`, `message`: the way to other managers and back.
//!
//! The only code that knows openraft and redb. No policy: who should be a member and when to hand over is
//! decided elsewhere.

mod compact;
mod failure;
mod folder;
mod force;
#[cfg(fuzzing)]
pub mod fuzz;
mod handle;
mod log;
mod log_file;
mod log_writer;
mod membership;
mod message;
mod network;
mod propose;
mod restore;
mod seal;
mod serve;
mod snapshot;
mod snapshot_file;
mod state_machine;
mod status;
#[cfg(test)]
mod tests;
mod timing;
mod types;

pub use compact::SnapshotPolicy;
pub use folder::{has_state, wipe};
pub use force::{ForceError, Forced, force_new_cluster};
pub use handle::{RaftHandle, RaftSettings, RaftStartError, ResealError};
pub use membership::ChangeError;
pub use network::Resolve;
pub use propose::{Lead, ProposeError, ReadError};
pub use restore::{Founder, fresh_raft_id, restore};
pub use status::{Leadership, MemberStatus, RaftRole, RaftStatus};
pub use timing::Timing;
