//! What can be written: groups of changes that apply whole or not at all.

use common::object::{Cluster, Network, Node, ObjectKind, Payload, Service, Task, Version};
use common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::table::Object;

/// One atomic group of changes; one raft log entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Random, never 0. A proposal sent again after a lost answer keeps its id, and is not applied twice.
    pub id: u64,
    /// The proposer's time: what `created_at` and `updated_at` become.
    pub at: Timestamp,
    pub changes: Vec<Change>,
}

/// A write to one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    Cluster(Write<Cluster>),
    Node(Write<Node>),
    Service(Write<Service>),
    Task(Write<Task>),
    Payload(Write<Payload>),
    Network(Write<Network>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: Serialize, T::Id: Serialize",
    deserialize = "T: Deserialize<'de>, T::Id: Deserialize<'de>"
))]
pub enum Write<T: Object> {
    Create(T),
    /// Replaces the object if it is still at `read_at`.
    Update {
        value: T,
        read_at: Version,
    },
    Remove {
        id: T::Id,
        read_at: Version,
    },
}

impl<T: Object> Write<T> {
    /// The update that replaces an object by what was made of it.
    pub fn update(value: T) -> Self {
        let read_at = value.meta().version;
        Write::Update { value, read_at }
    }
}

/// Why a proposal was not applied. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    #[error("{kind} {id} already exists")]
    Exists { kind: ObjectKind, id: String },
    #[error("{kind} {id} not found")]
    Missing { kind: ObjectKind, id: String },
    #[error("name conflicts with an existing object: {kind} {name} already exists")]
    NameTaken { kind: ObjectKind, name: String },
    #[error("update out of sequence")]
    Conflict { kind: ObjectKind, id: String, read_at: Version, found: Version },
    #[error("invalid proposal: {reason}")]
    Invalid { reason: String },
}
