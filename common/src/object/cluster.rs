//! The cluster itself: settings, authority, join tokens. There is exactly one, named `default`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::Clients;
use super::sensitive::Sensitive;
use super::{ClusterId, Meta, NodeId};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub meta: Meta,
    pub spec: ClusterSpec,
    pub authority: Authority,
    /// Removed nodes: their certificates are refused until these times.
    pub denied: BTreeMap<NodeId, Timestamp>,
    /// The next raft id to give. Ids are never used twice, so this only grows.
    pub next_raft_id: u64,
    pub address_pools: Vec<String>,
    pub subnet_size: u32,
    pub data_path_port: u32,
    /// Client certificates that were issued; one that is not here opens nothing.
    pub clients: Clients,
    pub at_rest: AtRest,
}

/// How managers keep their data on disk. The counts only grow: a manager that reads its log again takes up nothing
/// that it has gone beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRest {
    /// What people hold to unlock a manager after a restart; none while managers do not lock.
    pub unlock_key: Option<Sensitive>,
    /// Counts changes of the unlock key, its coming and its going.
    pub unlock_key_version: u64,
    /// A manager whose data key is older than this makes a new one.
    pub data_key_version: u64,
}

/// What people set with `swarm init` and `swarm update`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub task_history_limit: i64,
    pub snapshot_interval: u64,
    pub snapshots_kept: u64,
    pub log_entries_for_slow_followers: u64,
    pub election_tick: u32,
    pub heartbeat_tick: u32,
    /// Docker's dispatcher heartbeat. Stored and shown; how a silent node is noticed is `liveness`.
    pub dispatcher_heartbeat: Duration,
    pub node_certificate_expiry: Duration,
    pub autolock_managers: bool,
    pub liveness: LivenessPreset,
}

/// How patient the cluster is with silent nodes. The numbers are in `gossip::presets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LivenessPreset {
    /// One machine: everything is near, everything is fast.
    Local,
    #[default]
    Lan,
    Wan,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        ClusterSpec {
            name: "default".into(),
            labels: BTreeMap::new(),
            task_history_limit: 5,
            snapshot_interval: 10_000,
            snapshots_kept: 0,
            log_entries_for_slow_followers: 500,
            election_tick: 10,
            heartbeat_tick: 1,
            dispatcher_heartbeat: Duration::from_secs(5),
            node_certificate_expiry: Duration::from_secs(2160 * 3600),
            autolock_managers: false,
            liveness: LivenessPreset::default(),
        }
    }
}

/// The root of trust and what lets new nodes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    pub certificate_pem: String,
    pub key_pem: Sensitive,
    pub worker_token: Sensitive,
    pub manager_token: Sensitive,
}
