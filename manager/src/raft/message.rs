//! What managers say to each other for raft. Raft's own messages travel as openraft defines them, behind the
//! codec's format version; a new version of openraft has to read these bytes or raise that version.
//!
//! - `Raft`: one `Request`, one `Reply`.
//! - `RaftAppend`: `Hello`, then append requests; for each, in order, one `Reply`.
//! - `RaftSnapshot`: `SnapshotOffer`, then chunks as bare frames, an empty one at the end; then one `Reply`.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::types::{SnapshotMeta, TypeConfig, Vote};

/// Who speaks, and whom it believes to speak to. Raft ids are never used twice, so a manager that lost its
/// data and came back under a new id is not taken for the one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub hello: Hello,
    pub body: Body,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Body {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotOffer {
    pub hello: Hello,
    pub vote: Vote,
    pub meta: SnapshotMeta,
}

pub type Reply<T> = Result<T, Refusal>;

pub type AppendReply = Reply<AppendEntriesResponse<TypeConfig>>;
pub type StreamAppendReply = Reply<StreamAppendResult<TypeConfig>>;
pub type VoteReply = Reply<VoteResponse<TypeConfig>>;
pub type TransferLeaderReply = Reply<TransferLeaderResponse<TypeConfig>>;
pub type SnapshotReply = Reply<SnapshotResponse<TypeConfig>>;

/// Why a manager did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("it has raft id {ours}, not {asked}")]
    OtherMember { asked: u64, ours: u64 },
    #[error("it knows raft id {claimed} as another node's")]
    NotYours { claimed: u64 },
    #[error("it has no log yet and does not vote")]
    Empty,
    #[error("it receives other snapshots")]
    Busy,
    #[error("{0}")]
    Failed(String),
}
