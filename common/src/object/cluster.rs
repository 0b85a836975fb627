//! The cluster itself: settings, authority, join tokens. There is exactly one, named `default`.

use std::collections::{BTreeMap, BTreeSet};
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

impl Cluster {
    /// A cluster as it begins, with the settings that nobody has to give.
    pub fn new(id: ClusterId, authority: Authority) -> Self {
        Self {
            id,
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            authority,
            denied: BTreeMap::new(),
            // The first manager has raft id 1.
            next_raft_id: 2,
            address_pools: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            clients: Clients::default(),
            at_rest: AtRest::default(),
        }
    }
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
    /// Who signs where the cluster does not hold the root's key; asked in this order.
    pub external_authorities: Vec<ExternalAuthority>,
    /// A number that people raise to have a new root made.
    pub force_rotate: u64,
}

/// A signing service outside of the cluster, which speaks the protocol of CFSSL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAuthority {
    pub url: String,
    /// Sent along with every request as they are: `profile`, `label`, …
    pub options: BTreeMap<String, String>,
    /// The root that its certificates stand on, PEM. Empty: the cluster's own.
    pub certificate_pem: String,
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
            external_authorities: Vec::new(),
            force_rotate: 0,
        }
    }
}

/// The root of trust and what lets new nodes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    pub certificate_pem: String,
    /// Empty where somebody outside of the cluster signs.
    pub key_pem: Sensitive,
    pub worker_token: Sensitive,
    pub manager_token: Sensitive,
    /// The root that is to take over, while it is not everywhere yet.
    pub rotation: Option<Box<Rotation>>,
    /// Shipped with every certificate, so that nodes which only know an earlier root believe it.
    pub intermediates: Vec<Intermediate>,
}

/// A root on its way in. Until it is everywhere both roots are trusted, and the new one's key signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    pub certificate_pem: String,
    /// Empty where somebody outside of the cluster signs.
    pub key_pem: Sensitive,
    /// The new root's name and key, signed by the present root.
    pub cross_signed_pem: String,
    pub started_at: Timestamp,
    /// Nodes that were told to get a certificate of the new root.
    pub asked: BTreeSet<NodeId>,
}

/// A root's name and key, signed by the root before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intermediate {
    pub certificate_pem: String,
    pub until: Timestamp,
}

/// Who signs certificates now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer<'a> {
    pub certificate_pem: &'a str,
    /// None where somebody outside of the cluster signs.
    pub key_pem: Option<&'a Sensitive>,
}

impl Authority {
    /// A root that nothing is replacing.
    pub fn new(
        certificate_pem: String,
        key_pem: Sensitive,
        worker_token: Sensitive,
        manager_token: Sensitive,
    ) -> Self {
        let (rotation, intermediates) = (None, Vec::new());
        Self { certificate_pem, key_pem, worker_token, manager_token, rotation, intermediates }
    }

    pub fn signer(&self) -> Signer<'_> {
        let (certificate_pem, key) = match &self.rotation {
            Some(rotation) => (&rotation.certificate_pem, &rotation.key_pem),
            None => (&self.certificate_pem, &self.key_pem),
        };
        Signer { certificate_pem, key_pem: Some(key).filter(|key| !key.reveal().is_empty()) }
    }

    /// What every node is to trust now: one root, or two while one takes over.
    pub fn trust_pem(&self) -> String {
        match &self.rotation {
            Some(rotation) => format!("{}{}", self.certificate_pem, rotation.certificate_pem),
            None => self.certificate_pem.clone(),
        }
    }

    /// What goes with a certificate, from the one that its issuer is found in to the oldest root's.
    pub fn intermediates_pem(&self, now: Timestamp) -> String {
        let rotation = self.rotation.iter().map(|rotation| rotation.cross_signed_pem.as_str());
        let earlier = self.intermediates.iter().filter(|intermediate| intermediate.until > now);
        rotation.chain(earlier.map(|intermediate| intermediate.certificate_pem.as_str())).collect()
    }
}
