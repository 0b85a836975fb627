//! Messages of a session: a node's one long conversation with the leader.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::assignment::{AssignmentUpdate, TaskReport};
use super::join::KnownManager;
use crate::identity::SealKey;
use crate::object::{LivenessPreset, NodeDescription, Role};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum NodeMessage {
    /// First message; also sent again when the description changes.
    Describe {
        description: Box<NodeDescription>,
        addr: String,
        /// What the values of secrets and configs are sealed with in this session.
        seal: SealKey,
    },
    /// "I am here." The answer, if any, comes on its own.
    Heartbeat,
    /// This node ends on purpose. It is not a failure.
    Goodbye(Parting),
    /// What was seen of tasks, the newest of each. Kept and sent again until it is acknowledged.
    Reports { number: u64, reports: Vec<TaskReport> },
    /// An update did not fit what this node has: send everything again.
    Resync,
}

/// Why a node says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Parting {
    /// Its daemon stops, and may be back in a moment: what it runs goes on without it.
    Stops,
    /// It is no part of the cluster any more, and nothing runs there.
    Leaves,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ManagerMessage {
    /// The session stands. Send a heartbeat this often.
    Welcome { heartbeat_period: Duration },
    /// Not the leader: ask there, when known.
    NotLeader { leader: Option<KnownManager> },
    /// What the store wants this node to be, sent at the start and at every change.
    Membership(Membership),
    /// This node is no longer part of the cluster: stop, and forget what is on disk.
    Removed,
    /// The goodbye was heard.
    Goodbye,
    /// What this node should run.
    Assignments(AssignmentUpdate),
    /// Reports up to this number are in the store.
    Reported { number: u64 },
}

/// A node's place in the cluster as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role the next certificate will carry; different from the present one: renew now.
    pub role: Role,
    /// Set while the node has a place in the raft group.
    pub raft_id: Option<u64>,
    pub managers: Vec<KnownManager>,
    /// How patient the cluster is; a node takes it up when it starts.
    pub liveness: LivenessPreset,
    /// The roots to trust, PEM.
    pub trust_pem: String,
    /// Whose key is to have signed this node's certificate, as the issuer's public key in DER; a certificate of
    /// another one is to be renewed now. Empty: any root that is trusted.
    pub issuer_public_key: Vec<u8>,
}
