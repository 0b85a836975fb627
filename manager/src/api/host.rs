//! What the edge needs: this node (`Host`) and, on a manager, the cluster (`Control`).
//!
//! The daemon implements both. Nothing here knows HTTP, but for what an error looks like.

use std::net::IpAddr;
use std::sync::Arc;

use common::backup::BackupMeta;
use common::engine_api::access::AuditAnswer;
use common::engine_api::system::{GossipMember, RaftStatus};
use common::identity::UnlockKey;
use common::object::cluster::{Authority, ExternalAuthority};
use common::object::sensitive::Sensitive;
use common::object::{Availability, ClusterSpec, NodeId, Role, Version};
use common::time::Timestamp;
use common::transport::Stream;
use common::wire::join::KnownManager;
use common::wire::logs::LogRequest;
use futures_util::future::BoxFuture;

use super::error::{ApiError, MANAGER_NOT_READY, NO_LEADER};
use crate::audit::select::Selection;
use crate::raft::Lead;
use crate::store::{Change, Rejection, Store, Tables};

/// This node, in a cluster or not.
///
/// `init`, `join`, `unlock` and `leave` run to their end even when the client that asked has gone; the edge gives up
/// waiting after 20 s. They may be called at any time and at once: it is the host that puts them in order.
pub trait Host: Send + Sync + 'static {
    /// What this node is right now. Never waits.
    fn status(&self) -> HostStatus;

    /// The cluster, while this node is an active manager. Never waits.
    fn manager(&self) -> Option<Arc<dyn Control>>;

    /// Makes a cluster, or with `force_new_cluster` makes one of what this manager holds. Answers this node's id.
    fn init(&self, init: Init) -> BoxFuture<'_, Result<NodeId, ApiError>>;

    /// Enters a cluster. Ends when this node has its certificate and, as a manager, its place.
    fn join(&self, join: Join) -> BoxFuture<'_, Result<(), ApiError>>;

    /// Makes a cluster of what a backup holds, with this node as its only manager. Answers this node's id.
    fn restore(&self, restore: Restore) -> BoxFuture<'_, Result<NodeId, ApiError>>;

    /// Leaves the cluster and forgets it. The edge has refused what `force` is needed for.
    fn leave(&self, force: bool) -> BoxFuture<'_, Result<(), ApiError>>;

    /// Opens what this manager has on disk and takes up its place. 401 where the key is another.
    fn unlock(&self, key: UnlockKey) -> BoxFuture<'_, Result<(), ApiError>>;

    /// How this node sees the others, itself included. Never waits.
    fn gossip(&self) -> Vec<GossipMember>;

    /// Plays a fault on this node; refused outside a lab.
    fn fault(&self, fault: Fault) -> Result<(), ApiError>;
}

/// The cluster, from one of its managers.
pub trait Control: Send + Sync + 'static {
    /// What this manager has applied, however old. Never waits.
    fn local(&self) -> Tables;

    /// The state as of now on the leader. Fails with `NoLeader` within `limits::LEADER_WAIT`.
    fn read(&self) -> BoxFuture<'_, Result<Tables, ControlError>>;

    /// The state here, when this manager leads as far as it knows: without asking the others, so that only a write
    /// in this lead proves it to have been the newest. Never waits.
    fn leading(&self) -> Option<(Tables, Lead)>;

    /// As `propose`, but only in this lead; none, and nothing written, when that has ended.
    fn propose_in(
        &self,
        lead: Lead,
        changes: Vec<Change>,
    ) -> BoxFuture<'_, Result<Option<Version>, ControlError>>;

    /// Writes all of `changes` or none, through the leader. Fails with `NoLeader` within `limits::LEADER_WAIT` when
    /// nothing was sent. What it answers is also in `read` afterwards.
    fn propose(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Version, ControlError>>;

    /// This manager's view of the raft group. Never waits.
    fn raft_status(&self) -> RaftStatus;

    /// The leader this manager follows, or is. None means that nothing can be written now. Never waits.
    fn leader(&self) -> Option<NodeId>;

    /// Whether gossip says that the node is alive. True for this node itself.
    fn reachable(&self, node: NodeId) -> bool;

    /// The time to put into objects.
    fn now(&self) -> Timestamp;

    /// The state on this manager, to follow what changes in it. Never waits.
    fn store(&self) -> &Store;

    /// Asks a node for what its tasks wrote: `LogMessage`s follow on the stream. Bounded in time.
    fn open_logs(&self, node: NodeId, request: LogRequest) -> BoxFuture<'_, Result<Stream, LogsError>>;

    /// Whether one of these signs a certificate of this root for this node; why not, otherwise. Bounded in time.
    fn try_external<'a>(
        &'a self,
        _external: Vec<&'a ExternalAuthority>,
        _root_pem: &'a str,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("nobody here asks external authorities".into())))
    }

    /// What the other managers have on record. Bounded in time.
    fn audit_elsewhere(&self, _: Selection) -> BoxFuture<'_, Vec<AuditAnswer>> {
        Box::pin(async { Vec::new() })
    }

    /// A fresh join token for the cluster of this authority.
    fn new_join_token(&self, authority: &Authority) -> Result<Sensitive, ControlError>;
}

/// What this node is, as `/info` and the `Swarm` header tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostStatus {
    pub state: LocalState,
    /// None outside a cluster.
    pub node: Option<NodeId>,
    /// What the certificate says; none without one.
    pub role: Option<Role>,
    /// Where other nodes reach this one.
    pub advertise_ip: Option<IpAddr>,
    pub hostname: String,
    /// Managers this node would ask, itself included when it is one.
    pub managers: Vec<KnownManager>,
    /// In words for people, one sentence each.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocalState {
    #[default]
    Inactive,
    /// Joining, or starting from disk.
    Pending,
    Active,
    /// In a cluster, but unable to take part: why, in words.
    Error(String),
    Locked,
}

/// `POST /swarm/init`, checked. Empty addresses mean "choose".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    pub data_path_port: u32,
    pub address_pools: Vec<String>,
    pub subnet_size: u32,
    pub force_new_cluster: bool,
    pub spec: ClusterSpec,
    pub availability: Availability,
}

/// `POST /swarm/x/restore`, read to its end and checked. Empty addresses mean "choose".
pub struct Restore {
    pub listen_addr: String,
    pub advertise_addr: String,
    /// None: what the node of the record has that this one becomes, or the default.
    pub availability: Option<Availability>,
    pub meta: BackupMeta,
    pub tables: Tables,
}

/// `POST /swarm/join`, checked. Empty addresses mean "choose".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    /// At least one.
    pub remote_addrs: Vec<String>,
    pub token: Sensitive,
    pub availability: Availability,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No packet leaves or enters.
    Cut,
    Heal,
}

/// Why a node does not say what its tasks wrote.
#[derive(Debug, thiserror::Error)]
#[error("ask node {node} for logs: {reason}")]
pub struct LogsError {
    pub node: NodeId,
    pub reason: String,
}

/// Why the cluster could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{NO_LEADER}")]
    NoLeader,
    /// This node is starting or stopping to be a manager.
    #[error("{MANAGER_NOT_READY}")]
    NotReady,
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It was sent, and whether it was written cannot be told.
    #[error("the outcome of the write is not known: {reason}")]
    Unknown { reason: String },
    #[error("{action}")]
    Failed {
        action: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
