//! What this node remembers across restarts, beside its identity and the raft log.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::disk::{self, DiskError};
use common::object::LivenessPreset;
use common::wire::join::KnownManager;
use serde::{Deserialize, Serialize};

use super::address::Addresses;

const KIND: &str = "node";
const FORMAT: u32 = 1;

/// Where this node's files are.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn node_file(&self) -> PathBuf {
        self.0.join("node.json")
    }

    pub fn identity_file(&self) -> PathBuf {
        self.0.join("identity.pem")
    }

    pub fn raft_folder(&self) -> PathBuf {
        self.0.join("raft")
    }

    /// Where providers of secrets listen, each at a socket of its own. People make it.
    pub fn secret_drivers_folder(&self) -> PathBuf {
        self.0.join("secret-drivers")
    }

    /// What this node's tasks are and how far they are.
    pub fn tasks_folder(&self) -> PathBuf {
        self.0.join("tasks")
    }

    /// Where processes that are tasks have their folders.
    pub fn processes_folder(&self) -> PathBuf {
        self.0.join("processes")
    }

    /// Who did what through this node. It stays when the node leaves its cluster.
    pub fn audit_folder(&self) -> PathBuf {
        self.0.join("audit")
    }

    pub fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }
}

/// This node's place in a cluster. No file: it has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    pub listen: SocketAddr,
    pub advertise: SocketAddr,
    /// Whether this machine had the advertised address itself. One behind a NAT stays as a person gave it; one of
    /// our own may change, and is then chosen anew.
    pub advertise_is_ours: bool,
    /// The last gossip generation used; the next start uses a higher one.
    pub generation: u64,
    /// Set while this node has a place in the raft group.
    pub raft_id: Option<u64>,
    /// Managers heard of last: where to knock after a restart.
    pub managers: Vec<KnownManager>,
    pub liveness: LivenessPreset,
    /// An init that was begun and has not ended: there is no cluster yet, and what is here is to be cleared away.
    pub founding: bool,
}

impl NodeFile {
    pub fn new(addresses: Addresses, liveness: LivenessPreset) -> Self {
        let Addresses { listen, advertise, advertise_is_ours } = addresses;
        Self {
            listen,
            advertise,
            advertise_is_ours,
            generation: 0,
            raft_id: None,
            managers: Vec::new(),
            liveness,
            founding: false,
        }
    }

    pub fn addresses(&self) -> Addresses {
        Addresses {
            listen: self.listen,
            advertise: self.advertise,
            advertise_is_ours: self.advertise_is_ours,
        }
    }

    pub fn set_addresses(&mut self, addresses: Addresses) {
        let Addresses { listen, advertise, advertise_is_ours } = addresses;
        (self.listen, self.advertise, self.advertise_is_ours) = (listen, advertise, advertise_is_ours);
    }

    pub fn load(folder: &Folder) -> Result<Option<Self>, DiskError> {
        let path = folder.node_file();
        let Some((format, content)) = disk::load(&path, KIND)? else { return Ok(None) };
        if format != FORMAT {
            let reason =
                format!("format {format} is not known to this version of swarm, which reads {FORMAT}");
            return Err(DiskError::Damaged { path, reason });
        }
        match serde_json::from_slice(&content) {
            Ok(file) => Ok(Some(file)),
            Err(error) => Err(DiskError::Damaged { path, reason: error.to_string() }),
        }
    }

    pub fn save(&self, folder: &Folder) -> Result<(), DiskError> {
        let content = serde_json::to_vec_pretty(self).expect("plain fields encode");
        disk::save(&folder.node_file(), KIND, FORMAT, &content)
    }
}
