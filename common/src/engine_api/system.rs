//! `/version`, `/info` and its swarm part, and our own paths under `/swarm/x/`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_as_default;
use super::swarm::Swarm;

/// `GET /version`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VersionInfo {
    pub platform: PlatformName,
    pub components: Vec<Component>,
    pub version: String,
    pub api_version: String,
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    pub os: String,
    pub arch: String,
    pub kernel_version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PlatformName {
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Component {
    pub name: String,
    pub version: String,
    /// Docker's client reads all of these as text.
    #[serde(deserialize_with = "null_as_default")]
    pub details: BTreeMap<String, String>,
}

/// `GET /info` of a node without Docker Engine. With one, the engine's own document is the frame and
/// holds many members more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub server_version: String,
    #[serde(rename = "OSType")]
    pub os_type: String,
    pub architecture: String,
    pub kernel_version: String,
    pub operating_system: String,
    #[serde(rename = "NCPU")]
    pub ncpu: u64,
    pub mem_total: u64,
    pub system_time: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
    pub swarm: SwarmInfo,
}

/// `Swarm` in `/info`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub node_addr: String,
    /// `inactive`, `pending`, `active`, `error` or `locked`.
    pub local_node_state: String,
    pub control_available: bool,
    pub error: String,
    #[serde(deserialize_with = "null_as_default")]
    pub remote_managers: Vec<RemoteManager>,
    #[serde(skip_serializing_if = "is_zero")]
    pub nodes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub managers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Swarm>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RemoteManager {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub addr: String,
}

/// `GET /swarm/x/raft`: this manager's view of the raft group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftStatus {
    pub term: u64,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub state: String,
    #[serde(rename = "LeaderID")]
    pub leader_id: String,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    /// What this manager's data is sealed with.
    pub data_key_version: u64,
    /// The unlock key that this manager asks for after a restart; counted on while managers do not lock.
    pub unlock_key_version: u64,
    pub members: Vec<RaftMemberStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftMemberStatus {
    pub raft_id: u64,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub hostname: String,
    pub addr: String,
    pub voter: bool,
    pub leader: bool,
    /// How far this member has acknowledged; only the leader knows.
    pub matched_index: Option<u64>,
    /// Entries behind the leader's last; only the leader knows.
    pub lag: Option<u64>,
    /// Milliseconds since a majority check last heard this member; only the leader knows.
    pub heard_ms_ago: Option<u64>,
}

/// One row of `GET /swarm/x/gossip`: how this node sees another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GossipMember {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub hostname: String,
    pub addr: String,
    /// `alive`, `suspect`, `down` or `left`.
    pub state: String,
    pub generation: u64,
    pub manager: bool,
    /// The node whose view this row is.
    #[serde(rename = "SeenBy")]
    pub seen_by: String,
    /// Milliseconds; none without a connection at the moment.
    #[serde(rename = "RoundTripMs")]
    pub round_trip_ms: Option<f64>,
}
