//! Writes and reads on the leader.

use std::future::Future;
use std::time::Duration;

use common::limits::{API_REQUEST_TIME_MAX, LEADER_WAIT, PROPOSAL_BYTES_MAX};
use common::object::Version;
use common::transport::Peer;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::vote::RaftLeaderId;
use openraft::{Instant, ReadPolicy};

use super::handle::{RaftHandle, Shared};
use super::network::peer_of;
use super::types::{Command, LeadId, TypeConfig};
use crate::store::{Proposal, Rejection};

/// Why a proposal was not written here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written. A leader that has just begun, or cannot reach a majority, says this too.
    #[error("this manager does not lead the cluster")]
    NotLeader { leader: Option<Peer> },
    #[error(transparent)]
    Rejected(Rejection),
    /// Sent again with the same id it is written once at most.
    #[error("it is not known whether the write took place")]
    Uncertain,
    /// Nothing was written.
    #[error("raft has stopped: {0}")]
    Stopped(String),
    /// It was under way when raft stopped, and may be on disk here or elsewhere.
    #[error("it is not known whether the write took place: raft has stopped meanwhile: {0}")]
    StoppedMeanwhile(String),
}

/// Why this manager cannot say what is committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("this manager does not lead the cluster")]
    NotLeader { leader: Option<Peer> },
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

/// One lead of this manager: another one of it, or of somebody else, is not equal to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    pub term: u64,
    pub raft_id: u64,
}

impl RaftHandle {
    /// The lead of this manager, when a majority followed it a moment ago and everything that was acknowledged
    /// before the lead is applied here. It may have ended all the same; a write by `propose_in` tells.
    pub fn lead(&self) -> Option<Lead> {
        let shared = &self.shared;
        let lead = shared.raft.as_leader().ok()?.to_committed_leader_id();
        let metrics = shared.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        // A write into a majority that has just been lost hangs, and then nobody can say whether it took place.
        let followed = metrics.last_quorum_acked?.elapsed() < shared.timing.heartbeat * 3 / 2;
        // Its first entry stands behind all that went before.
        let caught_up = *metrics.last_applied?.committed_leader_id() == lead;
        (followed && caught_up).then_some(Lead { term: lead.term, raft_id: lead.node_id })
    }

    /// Whether this is a leader whom a majority followed just now.
    pub fn has_majority(&self) -> bool {
        self.shared.has_majority()
    }

    /// Writes a proposal: when this returns, a majority has it on disk and it is applied here.
    pub async fn propose(&self, proposal: &Proposal) -> Result<Version, ProposeError> {
        self.propose_in(None, proposal).await
    }

    /// The same, if this lead still stands; else `NotLeader`. A write that comes about shows that until then nobody
    /// else had led: whatever was acknowledged before it was in the tables here.
    pub async fn propose_in(&self, lead: Option<Lead>, proposal: &Proposal) -> Result<Version, ProposeError> {
        let shared = &self.shared;
        if shared.failure.get().is_some() {
            return Err(ProposeError::Stopped(shared.stopped()));
        }
        let command = Command::new(proposal);
        if command.bytes() > PROPOSAL_BYTES_MAX {
            let reason = format!("{} bytes are more than {PROPOSAL_BYTES_MAX}", command.bytes());
            return Err(ProposeError::Rejected(Rejection::Invalid { reason }));
        }
        let kibibytes = u32::try_from(command.bytes() / 1024 + 1).unwrap_or(u32::MAX);
        let _place = shared.pending.acquire_many(kibibytes).await.expect("never closed");
        let write = async {
            let Some(Lead { term, raft_id }) = lead else { return shared.raft.client_write(command).await };
            let (responder, answer) = ProgressResponder::complete_only();
            shared.raft.write(command).responder(responder).with_leader(LeadId::new(term, raft_id)).await?;
            match answer.await {
                Ok(answer) => Ok(answer.map_err(RaftError::APIError)?),
                // Raft has ended before it could say.
                Err(_) => Err(RaftError::Fatal(Fatal::Stopped)),
            }
        };
        match shared.while_it_makes_sense(write).await {
            None => Err(ProposeError::Uncertain),
            Some(Ok(written)) => match written.data.0 {
                Some(outcome) => outcome.map_err(ProposeError::Rejected),
                None => Err(ProposeError::Uncertain),
            },
            Some(Err(error)) => Err(shared.propose_error(error)),
        }
    }

    /// How far the log was committed at some moment during this call. Once the store has applied that much,
    /// it shows every write that was acknowledged before the call.
    ///
    /// Asks a majority each time, together with whoever asks at the same moment. A lease would save the round
    /// trip, but rests on clocks that go on while a virtual machine is paused, and on followers that remember
    /// across a restart whom they heard.
    pub async fn read_index(&self) -> Result<Version, ReadError> {
        let shared = &self.shared;
        match shared.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(Version(linearizer.read_log_id().log_id().index())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadError::NotLeader { leader: shared.leader(&forward) })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(_)) => Err(ReadError::Stopped(shared.stopped())),
        }
    }
}

impl Shared {
    /// Waits for raft's answer, but not for a majority that is not there: none then.
    pub async fn while_it_makes_sense<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        let started = self.clock.monotonic();
        let mut answer = std::pin::pin!(answer);
        let mut patience = LEADER_WAIT;
        loop {
            if let Ok(answer) = tokio::time::timeout(patience, &mut answer).await {
                return Some(answer);
            }
            let waited = self.clock.monotonic().since(started);
            if waited >= API_REQUEST_TIME_MAX || !self.has_majority() {
                return None;
            }
            patience = LOOK_AGAIN;
        }
    }

    fn has_majority(&self) -> bool {
        let metrics = self.raft.data_metrics();
        let heard = metrics.borrow_watched().last_quorum_acked;
        heard.is_some_and(|heard| heard.elapsed() < self.timing.election_max * 2)
    }

    pub fn leader(&self, forward: &ForwardToLeader<TypeConfig>) -> Option<Peer> {
        forward.leader_node.as_ref().and_then(|member| peer_of(member, &self.resolve))
    }

    fn propose_error(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ProposeError::NotLeader { leader: self.leader(&forward) }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ProposeError::Uncertain,
            // Not for writes: they neither change members nor have conditions.
            RaftError::APIError(
                ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
            ) => ProposeError::Uncertain,
            RaftError::Fatal(_) => ProposeError::StoppedMeanwhile(self.stopped()),
        }
    }
}
