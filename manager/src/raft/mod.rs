//! How managers agree on the state: openraft behind a plain facade.

pub mod seal;

pub mod compact;
pub mod failure;
pub mod log;
pub mod log_file;
pub mod log_writer;
pub mod snapshot;
pub mod snapshot_file;
pub mod state_machine;
#[cfg(test)]
mod tests;
pub mod types;

pub use compact::SnapshotPolicy;
pub use types::RaftMember;
