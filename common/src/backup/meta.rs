//! What a backup says of itself, sealed as its first piece.

use serde::{Deserialize, Serialize};

use crate::object::{ClusterId, NodeId, Version};
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMeta {
    pub cluster: ClusterId,
    /// The place in the raft log that the state is of.
    pub version: Version,
    /// The term of the managers' agreement at that time.
    pub term: u64,
    pub taken_at: Timestamp,
    /// The manager that gave it.
    pub node: NodeId,
    /// The version of the program there.
    pub program: String,
    pub counts: Counts,
}

/// How many of each there are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub nodes: u64,
    pub services: u64,
    pub tasks: u64,
    pub secrets: u64,
    pub configs: u64,
}
