//! What openraft is told our types are.
//!
//! A log entry carries a proposal as bytes, encoded once by the proposer: log, wire and memory pass them on
//! untouched, and only `apply` decodes them. So an entry costs its size and nothing more, wherever it waits.

use std::fmt;
use std::sync::Arc;

use common::object::NodeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::snapshot::SnapshotFile;
use super::state_machine::StateMachine;
use crate::store::{Outcome, Proposal, format};
use common::wire::codec::DecodeError;

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Command,
        R = Answer,
        NodeId = u64,
        Node = RaftMember,
);

pub type Raft = openraft::Raft<TypeConfig, StateMachine>;
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub type LeadId = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// A manager as the raft group knows it. Its raft id is the key it is stored under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftMember {
    pub node: NodeId,
    /// Where it was when it became a member, `ip:port`; where it is now, gossip knows better.
    pub addr: String,
}

/// A proposal as it travels: encoded, and erased from memory with its last copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(Arc<Zeroizing<Vec<u8>>>);

impl Command {
    pub fn new(proposal: &Proposal) -> Self {
        Self(Arc::new(Zeroizing::new(format::encode_proposal(proposal))))
    }

    pub fn proposal(&self) -> Result<Proposal, DecodeError> {
        format::decode_proposal(&self.0)
    }

    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Says only how long it is: openraft logs its entries, and these may hold secrets.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal of {} bytes", self.bytes())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.bytes())
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl serde::de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an encoded proposal")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }

        let bytes = deserializer.deserialize_byte_buf(Bytes)?;
        Ok(Self(Arc::new(Zeroizing::new(bytes))))
    }
}

/// What applying an entry came to; nothing for entries that are raft's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer(pub Option<Outcome>);

/// Bytes of memory that an entry takes, near enough for bounds.
pub fn entry_bytes(entry: &Entry) -> usize {
    /// Ids, lengths and the place in the index.
    const OVERHEAD: usize = 96;
    OVERHEAD
        + match &entry.payload {
            openraft::EntryPayload::Normal(command) => command.bytes(),
            openraft::EntryPayload::Membership(membership) => 96 * membership.nodes().count(),
            openraft::EntryPayload::Blank => 0,
        }
}
