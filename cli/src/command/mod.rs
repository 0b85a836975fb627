//! What each command does: arguments to API calls to text. One file per noun or verb.

pub mod audit;
pub mod backup;
pub mod ca;
pub mod client_cert;
pub mod cluster_flags;
pub mod context;
pub mod documents;
pub mod edit;
pub mod events;
pub mod gossip;
pub mod info;
pub mod init;
pub mod inspected;
pub mod join;
pub mod join_token;
pub mod leave;
pub mod network;
pub mod node;
pub mod payload;
pub mod raft;
pub mod restore;
pub mod service;
pub mod task;
pub mod task_list;
pub mod unlock;
pub mod unlock_key;
pub mod update;
pub mod version;

/// The availability of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Availability {
    /// Takes tasks
    Active,
    /// Keeps its tasks, takes no new ones
    Pause,
    /// Its tasks move to other nodes, and it takes no new ones
    Drain,
}

impl Availability {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    Worker,
    Manager,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}
