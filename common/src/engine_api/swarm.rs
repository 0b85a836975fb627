//! `/swarm`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ObjectVersion, null_as_default, object_or_default};

/// `GET /swarm`; without `join_tokens` it is the `Cluster` of `/info`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    #[serde(rename = "ID")]
    pub id: String,
    pub version: ObjectVersion,
    pub created_at: String,
    pub updated_at: String,
    pub spec: SwarmSpec,
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
    pub root_rotation_in_progress: bool,
    pub data_path_port: u32,
    pub default_addr_pool: Vec<String>,
    pub subnet_size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_tokens: Option<JoinTokens>,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinTokens {
    pub worker: String,
    pub manager: String,
}

impl std::fmt::Debug for JoinTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinTokens(..)")
    }
}

/// Who issued a certificate; subject and key are base64 of DER.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TlsInfo {
    #[serde(deserialize_with = "null_as_default")]
    pub trust_root: String,
    #[serde(deserialize_with = "null_as_default")]
    pub cert_issuer_subject: String,
    #[serde(deserialize_with = "null_as_default")]
    pub cert_issuer_public_key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmSpec {
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "object_or_default")]
    pub orchestration: Orchestration,
    #[serde(deserialize_with = "object_or_default")]
    pub raft: Raft,
    #[serde(deserialize_with = "object_or_default")]
    pub dispatcher: Dispatcher,
    #[serde(rename = "CAConfig", deserialize_with = "object_or_default")]
    pub ca_config: CaConfig,
    #[serde(deserialize_with = "object_or_default")]
    pub task_defaults: TaskDefaults,
    #[serde(deserialize_with = "object_or_default")]
    pub encryption_config: EncryptionConfig,
    /// Ours: `local`, `lan` or `wan`, how patient the cluster is with silent nodes. Empty means unchanged.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub liveness: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Orchestration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_history_retention_limit: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Raft {
    #[serde(deserialize_with = "null_as_default")]
    pub snapshot_interval: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_old_snapshots: Option<u64>,
    #[serde(deserialize_with = "null_as_default")]
    pub log_entries_for_slow_followers: u64,
    #[serde(deserialize_with = "null_as_default")]
    pub election_tick: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub heartbeat_tick: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Dispatcher {
    /// Nanoseconds.
    #[serde(deserialize_with = "null_as_default")]
    pub heartbeat_period: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CaConfig {
    /// Nanoseconds.
    #[serde(deserialize_with = "null_as_default")]
    pub node_cert_expiry: i64,
    #[serde(
        rename = "ExternalCAs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub external_cas: Vec<serde_json::Value>,
    #[serde(
        rename = "SigningCACert",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub signing_ca_cert: String,
    #[serde(
        rename = "SigningCAKey",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub signing_ca_key: String,
    #[serde(deserialize_with = "null_as_default")]
    pub force_rotate: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskDefaults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EncryptionConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub auto_lock_managers: bool,
}

/// `POST /swarm/init`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InitRequest {
    #[serde(deserialize_with = "null_as_default")]
    pub listen_addr: String,
    #[serde(deserialize_with = "null_as_default")]
    pub advertise_addr: String,
    #[serde(deserialize_with = "null_as_default")]
    pub data_path_addr: String,
    #[serde(deserialize_with = "null_as_default")]
    pub data_path_port: u32,
    #[serde(deserialize_with = "null_as_default")]
    pub default_addr_pool: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub subnet_size: u32,
    #[serde(deserialize_with = "null_as_default")]
    pub force_new_cluster: bool,
    #[serde(deserialize_with = "object_or_default")]
    pub spec: SwarmSpec,
    #[serde(deserialize_with = "null_as_default")]
    pub auto_lock_managers: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub availability: String,
}

/// `POST /swarm/join`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinRequest {
    #[serde(deserialize_with = "null_as_default")]
    pub listen_addr: String,
    #[serde(deserialize_with = "null_as_default")]
    pub advertise_addr: String,
    #[serde(deserialize_with = "null_as_default")]
    pub data_path_addr: String,
    #[serde(deserialize_with = "null_as_default")]
    pub remote_addrs: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub join_token: String,
    #[serde(deserialize_with = "null_as_default")]
    pub availability: String,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("remote_addrs", &self.remote_addrs).finish_non_exhaustive()
    }
}

/// `GET /swarm/unlockkey`, and the body of `POST /swarm/unlock`. Empty where managers are not locked.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UnlockKey {
    #[serde(deserialize_with = "null_as_default")]
    pub unlock_key: String,
}

impl std::fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnlockKey(..)")
    }
}
