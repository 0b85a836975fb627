//! Writes and reads from any manager: asked of the leader, wherever it is.
//!
//! A write keeps its proposal id over every try, so that it is applied once however often its answer is lost.
//! A read asks the leader how far the log is committed and waits until this manager has applied that far.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::engine_api::access::AuditAnswer;
use common::limits::{
    AUDIT_MANAGER_WAIT, FRAME_BYTES_MAX, LEADER_WAIT, MANAGER_CALL_WAIT, PROPOSAL_BYTES_MAX,
};
use common::object::{NodeId, Version};
use common::random::{Random, SystemRandom};
use common::report::Report;
use common::time::{Clock, Monotonic};
use common::transport::{Peer, Stream, StreamKind, Transport};
use common::wire::frame::{FrameError, expect_message, write_message};
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::audit::select::Selection;
use crate::raft::{Lead, ProposeError, RaftHandle, ReadError};
use crate::store::{Change, Proposal, Rejection, Store, format};

/// What managers ask of each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Request {
    Propose(Proposal),
    ReadIndex,
    /// The part of the audit record that is on this manager.
    Audit(Selection),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Response {
    Written(Version),
    Rejected(Rejection),
    /// Not the leader, or not any more; nothing was written.
    NotLeader,
    /// It may have been written.
    Uncertain,
    ReadIndex(Version),
    /// `AuditAnswer` as JSON: its members come and go.
    Audit(Vec<u8>),
}

/// Why a write or a read at the leader did not come about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("no leader answered in time")]
    NoLeader,
    /// Nothing was written.
    #[error("the lead has ended")]
    LeadEnded,
    #[error("the write may or may not have taken place: meanwhile leadership changed or a manager stopped")]
    Uncertain,
    #[error(transparent)]
    Rejected(Rejection),
    #[error("{bytes} bytes are too many for one write, {PROPOSAL_BYTES_MAX} are allowed")]
    TooLarge { bytes: usize },
    #[error("this manager has stopped: {0}")]
    Stopped(String),
}

/// The way to the leader. Clones are handles to the same.
#[derive(Clone)]
pub struct Forward {
    pub me: NodeId,
    /// Where other nodes reach this manager.
    pub address: SocketAddr,
    pub raft: RaftHandle,
    pub store: Store,
    pub transport: Arc<dyn Transport>,
    pub clock: Arc<dyn Clock>,
    /// What was done through this node.
    pub audit: Arc<OnceLock<Audit>>,
}

/// What one try came to.
enum Try<T> {
    Done(T),
    /// Nothing happened: try again when there may be a leader.
    Again,
    /// It may have happened: try again, and be careful with the answer.
    Unknown,
}

impl Forward {
    /// Writes a group of changes, all or none, and waits until this manager has applied it too.
    pub async fn propose(&self, changes: Vec<Change>) -> Result<Version, ForwardError> {
        self.propose_in(None, changes).await
    }

    /// The same; with a lead, only if that stands when raft takes the proposal, and `LeadEnded` otherwise. One that
    /// raft has taken and then not answered for is sent again to whoever leads, like any other.
    pub async fn propose_in(
        &self,
        lead: Option<Lead>,
        changes: Vec<Change>,
    ) -> Result<Version, ForwardError> {
        let id = SystemRandom.next_u64().max(1);
        let proposal = Proposal { id, at: self.clock.now(), changes };
        let bytes = format::encode_proposal(&proposal).len();
        if bytes > PROPOSAL_BYTES_MAX {
            return Err(ForwardError::TooLarge { bytes });
        }
        let deadline = self.clock.monotonic().plus(LEADER_WAIT);
        let mut maybe_written = false;
        loop {
            let within = lead.filter(|_| !maybe_written);
            let tried = match self.try_propose(within, &proposal, deadline).await {
                Err(ForwardError::Stopped(_)) if maybe_written => return Err(ForwardError::Uncertain),
                tried => tried?,
            };
            match tried {
                Try::Done(Ok(version)) => {
                    self.store.feed().wait_for(version).await;
                    return Ok(version);
                }
                // An earlier try may have been applied and then overwritten by somebody else: the
                // rejection of a later try does not tell.
                Try::Done(Err(_)) if maybe_written => return Err(ForwardError::Uncertain),
                Try::Done(Err(rejection)) => return Err(ForwardError::Rejected(rejection)),
                Try::Again => {}
                Try::Unknown => maybe_written = true,
            }
            if !self.wait_for_change(deadline).await {
                return Err(if maybe_written { ForwardError::Uncertain } else { ForwardError::NoLeader });
            }
        }
    }

    /// Waits until this manager has applied everything that was committed when it was called.
    pub async fn catch_up(&self) -> Result<Version, ForwardError> {
        let deadline = self.clock.monotonic().plus(LEADER_WAIT);
        loop {
            if let Try::Done(version) = self.try_read_index(deadline).await? {
                let left = deadline.since(self.clock.monotonic());
                return match tokio::time::timeout(left, self.store.feed().wait_for(version)).await {
                    Ok(()) => Ok(version),
                    Err(_) => Err(ForwardError::NoLeader),
                };
            }
            if !self.wait_for_change(deadline).await {
                return Err(ForwardError::NoLeader);
            }
        }
    }

    /// Answers another manager.
    pub async fn serve(&self, mut stream: Stream) -> Result<(), FrameError> {
        let request: Request = expect_message(&mut stream.recv, FRAME_BYTES_MAX).await?;
        let response = match request {
            Request::Propose(proposal) => match self.raft.propose(&proposal).await {
                Ok(version) => Response::Written(version),
                Err(ProposeError::Rejected(rejection)) => Response::Rejected(rejection),
                Err(ProposeError::NotLeader { .. }) => Response::NotLeader,
                Err(
                    ProposeError::Uncertain | ProposeError::Stopped(_) | ProposeError::StoppedMeanwhile(_),
                ) => Response::Uncertain,
            },
            Request::ReadIndex => match self.raft.read_index().await {
                Ok(version) => Response::ReadIndex(version),
                Err(_) => Response::NotLeader,
            },
            Request::Audit(selection) => {
                let audit = self.audit.get().cloned().unwrap_or_default();
                Response::Audit(within_a_frame(audit.read(selection.bounded()).await))
            }
        };
        write_message(&mut stream.send, &response).await
    }

    async fn try_propose(
        &self,
        lead: Option<Lead>,
        proposal: &Proposal,
        deadline: Monotonic,
    ) -> Result<Try<Result<Version, Rejection>>, ForwardError> {
        // A leader that has lost its majority would wait for it without end.
        let here = tokio::time::timeout(self.call_wait(deadline), self.raft.propose_in(lead, proposal));
        let leader = match here.await.unwrap_or(Err(ProposeError::Uncertain)) {
            Ok(version) => return Ok(Try::Done(Ok(version))),
            Err(ProposeError::Rejected(rejection)) => return Ok(Try::Done(Err(rejection))),
            Err(ProposeError::Uncertain) => return Ok(Try::Unknown),
            Err(ProposeError::Stopped(reason)) => return Err(ForwardError::Stopped(reason)),
            Err(ProposeError::StoppedMeanwhile(_)) => return Err(ForwardError::Uncertain),
            Err(ProposeError::NotLeader { .. }) if lead.is_some() => return Err(ForwardError::LeadEnded),
            Err(ProposeError::NotLeader { leader }) => leader,
        };
        let Some(leader) = self.elsewhere(leader) else { return Ok(Try::Again) };
        Ok(match self.ask(leader, &Request::Propose(proposal.clone()), deadline).await {
            Ok(Response::Written(version)) => Try::Done(Ok(version)),
            Ok(Response::Rejected(rejection)) => Try::Done(Err(rejection)),
            Ok(Response::NotLeader) | Err(AskError::NotSent) => Try::Again,
            Ok(Response::Uncertain | Response::ReadIndex(_) | Response::Audit(_))
            | Err(AskError::NoAnswer) => Try::Unknown,
        })
    }

    async fn try_read_index(&self, deadline: Monotonic) -> Result<Try<Version>, ForwardError> {
        // A leader that has lost its majority asks it in vain for a while, one that is only busy gets its answer.
        let mut here = std::pin::pin!(self.raft.read_index());
        let left = deadline.since(self.clock.monotonic());
        let here = match tokio::time::timeout(left, &mut here).await {
            Ok(said) => said,
            Err(_) if self.raft.has_majority() => here.await,
            Err(_) => return Ok(Try::Again),
        };
        let leader = match here {
            Ok(version) => return Ok(Try::Done(version)),
            Err(ReadError::Stopped(reason)) => return Err(ForwardError::Stopped(reason)),
            Err(ReadError::NotLeader { leader }) => leader,
        };
        let Some(leader) = self.elsewhere(leader) else { return Ok(Try::Again) };
        Ok(match self.ask(leader, &Request::ReadIndex, deadline).await {
            Ok(Response::ReadIndex(version)) => Try::Done(version),
            _ => Try::Again,
        })
    }

    /// What another manager has on record, or why not.
    pub async fn audit_of(&self, peer: Peer, selection: Selection) -> Result<AuditAnswer, String> {
        let exchange = async {
            let mut stream = self
                .transport
                .open(peer, StreamKind::Manager)
                .await
                .map_err(|error| Report(&error).to_string())?;
            let said = |error: FrameError| Report(&error).to_string();
            write_message(&mut stream.send, &Request::Audit(selection)).await.map_err(said)?;
            match expect_message::<Response>(&mut stream.recv, FRAME_BYTES_MAX).await.map_err(said)? {
                Response::Audit(json) => serde_json::from_slice(&json).map_err(|error| error.to_string()),
                _ => Err("it answered something else".into()),
            }
        };
        let answered = tokio::time::timeout(AUDIT_MANAGER_WAIT, exchange).await;
        answered.unwrap_or_else(|_| Err(format!("no answer within {} s", AUDIT_MANAGER_WAIT.as_secs())))
    }

    fn elsewhere(&self, leader: Option<Peer>) -> Option<Peer> {
        leader.filter(|leader| leader.node != self.me)
    }

    async fn ask(&self, leader: Peer, request: &Request, deadline: Monotonic) -> Result<Response, AskError> {
        let open =
            tokio::time::timeout(self.call_wait(deadline), self.transport.open(leader, StreamKind::Manager));
        let Ok(Ok(mut stream)) = open.await else { return Err(AskError::NotSent) };
        let exchange = async {
            write_message(&mut stream.send, request).await?;
            expect_message::<Response>(&mut stream.recv, FRAME_BYTES_MAX).await
        };
        match tokio::time::timeout(self.call_wait(deadline), exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) | Err(_) => Err(AskError::NoAnswer),
        }
    }

    /// How long one step of a try may take: no longer than the whole may, so that whoever asks hears in time.
    fn call_wait(&self, deadline: Monotonic) -> Duration {
        MANAGER_CALL_WAIT.min(deadline.since(self.clock.monotonic()))
    }

    /// Waits until leadership may have changed; false once the deadline has passed.
    async fn wait_for_change(&self, deadline: Monotonic) -> bool {
        // A leader may be known and not yet able to answer: so look again soon in any case.
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let mut leadership = self.raft.watch();
        leadership.mark_unchanged();
        let _ = tokio::time::timeout(LOOK_AGAIN, leadership.changed()).await;
        self.clock.monotonic() < deadline
    }
}

/// JSON that fits into a message; the oldest records give way.
fn within_a_frame(mut answer: AuditAnswer) -> Vec<u8> {
    loop {
        let json = serde_json::to_vec(&answer).unwrap_or_default();
        if json.len() <= FRAME_BYTES_MAX / 2 {
            return json;
        }
        let half = answer.records.len().div_ceil(2);
        answer.records.drain(..half);
        answer
            .missing
            .push(format!("{half} older records are too many for one answer: ask for a shorter time"));
    }
}

enum AskError {
    NotSent,
    NoAnswer,
}

/// Reads what a manager asks or answers, for `manager/fuzz`.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    use common::wire::codec::{decode, encode};

    if let Ok(request) = decode::<Request>(bytes) {
        let again: Request = decode(&encode(&request)).expect("what is encoded decodes");
        assert_eq!(encode(&again), encode(&request));
    }
    if let Ok(response) = decode::<Response>(bytes) {
        let again: Response = decode(&encode(&response)).expect("what is encoded decodes");
        assert_eq!(encode(&again), encode(&response));
    }
}

#[cfg(fuzzing)]
pub fn fuzz_seed(proposal: Proposal) -> Vec<u8> {
    [vec![0xff], common::wire::codec::encode(&Request::Propose(proposal))].concat()
}
