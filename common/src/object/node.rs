//! A machine of the cluster: what people want of it, what it says of itself, what managers see of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resources::GenericStock;
use super::words::words;
use super::{Meta, NodeId};
use crate::time::Timestamp;

/// One node. Created when a certificate is first issued with a join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub meta: Meta,
    pub spec: NodeSpec,
    /// The role its certificate may carry now. Follows `spec.role` by the steps of `decide::roles`.
    pub role: Role,
    /// What the node last said of itself; none until its first session.
    pub description: Option<NodeDescription>,
    pub status: NodeStatus,
    /// Set while the node is, or is about to become, a member of the raft group.
    pub manager: Option<ManagerRecord>,
}

impl Node {
    /// A node as it begins, when its first certificate is issued. A manager gets its place in the raft group
    /// later, once it is alive.
    pub fn new(id: NodeId, role: Role, availability: Availability) -> Self {
        Self {
            id,
            meta: Meta::default(),
            spec: NodeSpec { role, availability, ..NodeSpec::default() },
            role,
            description: None,
            status: NodeStatus::default(),
            manager: None,
        }
    }
}

/// What people set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub role: Role,
    pub availability: Availability,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    #[default]
    Worker,
    Manager,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Availability {
    /// May receive tasks.
    #[default]
    Active,
    /// Keeps its tasks, receives none.
    Pause,
    /// Its tasks move away, it receives none.
    Drain,
}

/// Whether managers hear of a node.
///
/// ```text
/// Unknown ──session──▶ Ready ──session lost, gossip alive──▶ Unknown
///    ▲                   │ ▲                                    │
///    └──── new node      │ └────────────── session ─────────────┤
///                        └──silent in both──▶ Down ◀──grace over┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeState {
    #[default]
    Unknown,
    Down,
    Ready,
    Disconnected,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub state: NodeState,
    pub message: String,
    /// Host part of the node's address, as Docker shows it.
    pub addr: String,
    /// When `state` was last changed.
    pub since: Timestamp,
    /// What its newest certificate was issued for.
    pub issued: Option<Issued>,
}

/// A certificate as it was issued: enough to know its holder again when it has run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The point on the curve.
    pub public_key: Vec<u8>,
    pub until: Timestamp,
}

/// A place in the raft group. The raft id is given once and never used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerRecord {
    pub raft_id: u64,
    /// Where other nodes reach it: `ip:port`.
    pub addr: String,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    pub hostname: String,
    pub platform: Platform,
    pub resources: Resources,
    pub engine: EngineDescription,
    pub tls: TlsInfo,
    /// What can run tasks here: `docker`, `process`, `fake`.
    pub runtimes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    /// What else tasks may reserve here, by kind.
    pub generic: BTreeMap<String, GenericStock>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineDescription {
    pub version: String,
    pub labels: BTreeMap<String, String>,
    /// (type, name), sorted.
    pub plugins: Vec<(String, String)>,
}

/// Who issued this node's certificate; raw DER, base64 only in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsInfo {
    pub trust_root_pem: String,
    pub issuer_subject: Vec<u8>,
    pub issuer_public_key: Vec<u8>,
    /// The node's own, as the point on the curve: the API does not show it.
    pub public_key: Vec<u8>,
}

words!(Role, "role", "worker or manager", Worker = "worker", Manager = "manager");
words!(
    Availability,
    "availability",
    "active, pause or drain",
    Active = "active",
    Pause = "pause",
    Drain = "drain"
);
words!(
    NodeState,
    "node state",
    "unknown, down, ready or disconnected",
    Unknown = "unknown",
    Down = "down",
    Ready = "ready",
    Disconnected = "disconnected"
);
