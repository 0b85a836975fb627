//! Who belongs to the raft group: one change at a time, on the leader.

use std::collections::{BTreeMap, BTreeSet};

use common::object::NodeId;
use common::transport::Peer;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::sync::MutexGuard;
use tracing::info;

use super::handle::{RaftHandle, Shared};
use super::types::{RaftMember, TypeConfig};

/// Why the group did not change. Every change may be asked for again: what is so already is no error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("this manager does not lead the cluster")]
    NotLeader { leader: Option<Peer> },
    #[error("another change of the raft group is under way")]
    InProgress,
    #[error("raft id {raft_id} is not a member of the raft group")]
    Unknown { raft_id: u64 },
    #[error("raft id {raft_id} is the last manager that votes")]
    LastVoter { raft_id: u64 },
    #[error("raft id {raft_id} is another node's")]
    Taken { raft_id: u64 },
    #[error("no other manager is near enough to lead")]
    NoSuccessor,
    #[error("it is not known whether the raft group changed")]
    Uncertain,
    #[error("the raft group cannot change so: {0}")]
    Refused(String),
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

type Changes = ChangeMembers<u64, RaftMember>;

impl RaftHandle {
    /// Adds a member that receives the log and does not vote. Does not wait until it has caught up.
    pub async fn add_learner(&self, raft_id: u64, node: NodeId, addr: &str) -> Result<(), ChangeError> {
        let _only = self.begin()?;
        match self.status().member(raft_id) {
            Some(member) if member.node == node => return Ok(()),
            Some(_) => return Err(ChangeError::Taken { raft_id }),
            None => {}
        }
        let member = RaftMember { node, addr: addr.into() };
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(raft_id, member)])), true).await
    }

    /// Lets a learner vote.
    pub async fn add_voter(&self, raft_id: u64) -> Result<(), ChangeError> {
        let _only = self.begin()?;
        self.known(raft_id)?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([raft_id])), true).await
    }

    /// Makes exactly these members the voters; others stay as learners.
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), ChangeError> {
        let _only = self.begin()?;
        voters.iter().try_for_each(|raft_id| self.known(*raft_id))?;
        self.change(ChangeMembers::ReplaceAllVoters(voters), true).await
    }

    /// Takes a member out of the group, voter or not. Its raft id may never be used again.
    pub async fn remove(&self, raft_id: u64) -> Result<(), ChangeError> {
        let _only = self.begin()?;
        let status = self.status();
        let ids = BTreeSet::from([raft_id]);
        match status.member(raft_id) {
            None => Ok(()),
            Some(member) if !member.voter => self.change(ChangeMembers::RemoveNodes(ids), false).await,
            Some(_) if status.members.iter().filter(|member| member.voter).count() == 1 => {
                Err(ChangeError::LastVoter { raft_id })
            }
            Some(_) => self.change(ChangeMembers::RemoveVoters(ids), false).await,
        }
    }

    /// Notes that a member is reached elsewhere now.
    pub async fn update_address(&self, raft_id: u64, addr: &str) -> Result<(), ChangeError> {
        let _only = self.begin()?;
        let status = self.status();
        let member = status.member(raft_id).ok_or(ChangeError::Unknown { raft_id })?;
        if member.addr == addr {
            return Ok(());
        }
        let member = RaftMember { node: member.node, addr: addr.into() };
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(raft_id, member)])), true).await
    }

    /// Hands the lead to a voter and waits until it has it.
    pub async fn transfer_leadership(&self, to: u64) -> Result<(), ChangeError> {
        let _only = self.begin()?;
        match self.status().member(to) {
            Some(member) if member.voter => self.transfer(to).await,
            _ => Err(ChangeError::Unknown { raft_id: to }),
        }
    }

    /// Hands the lead to whoever is nearest to having the whole log. Nothing to do where we do not lead.
    pub async fn step_down(&self) -> Result<(), ChangeError> {
        if !self.watch().borrow().is_me {
            return Ok(());
        }
        let _only = self.begin()?;
        let status = self.status();
        let near = self.shared.timing.election_max * 2;
        let successor = status
            .members
            .iter()
            .filter(|member| member.voter && member.raft_id != status.raft_id)
            .filter(|member| member.heard.is_some_and(|heard| heard < near))
            .min_by_key(|member| (member.lag.unwrap_or(u64::MAX), member.raft_id))
            .ok_or(ChangeError::NoSuccessor)?;
        self.transfer(successor.raft_id).await
    }

    fn begin(&self) -> Result<MutexGuard<'_, ()>, ChangeError> {
        let leadership = *self.watch().borrow();
        if !leadership.is_me {
            return Err(ChangeError::NotLeader { leader: leadership.leader });
        }
        self.shared.changing.try_lock().map_err(|_| ChangeError::InProgress)
    }

    fn known(&self, raft_id: u64) -> Result<(), ChangeError> {
        self.status().member(raft_id).map(drop).ok_or(ChangeError::Unknown { raft_id })
    }

    /// Does one change, after finishing one that a leader before us left half done.
    async fn change(&self, changes: Changes, retain: bool) -> Result<(), ChangeError> {
        let half_done = {
            let metrics = self.shared.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.get_joint_config().len() > 1
        };
        if half_done {
            self.apply(ChangeMembers::AddVoterIds(BTreeSet::new()), true).await?;
        }
        info!(%changes, "raft group changes");
        self.apply(changes, retain).await
    }

    async fn apply(&self, changes: Changes, retain: bool) -> Result<(), ChangeError> {
        let shared = &self.shared;
        match shared.while_it_makes_sense(shared.raft.change_membership(changes, retain)).await {
            None => Err(ChangeError::Uncertain),
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(shared.change_error(error)),
        }
    }

    async fn transfer(&self, to: u64) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let mut leadership = self.watch();
        info!(to, "handing over the lead");
        let triggered = shared.raft.trigger().transfer_leader(to).await;
        triggered.map_err(|_| ChangeError::Stopped(shared.stopped()))?;
        let handed_over = leadership.wait_for(|now| !now.is_me && now.leader_raft_id.is_some());
        // A transfer that fails ends in an election: nobody leads on without heartbeats.
        match tokio::time::timeout(shared.timing.election_max * 4, handed_over).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ChangeError::Stopped(shared.stopped())),
            Err(_) => Err(ChangeError::Uncertain),
        }
    }
}

impl Shared {
    fn change_error(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ChangeError::NotLeader { leader: self.leader(&forward) }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ChangeError::Uncertain,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_) => ChangeError::InProgress,
                ChangeMembershipError::LearnerNotFound(missing) => {
                    ChangeError::Unknown { raft_id: missing.node_id }
                }
                // What `status` counts may lag behind: whoever leads alone is the last one.
                ChangeMembershipError::EmptyMembership(_) => ChangeError::LastVoter { raft_id: self.raft_id },
                ChangeMembershipError::UnsupportedMembershipTransition(_)
                | ChangeMembershipError::UncommittedLeaderLog(_)
                | ChangeMembershipError::NodeMetadataChanged(_) => ChangeError::Refused(error.to_string()),
            },
            RaftError::APIError(ClientWriteError::PreconditionFailed(error)) => {
                ChangeError::Refused(error.to_string())
            }
            RaftError::Fatal(_) => ChangeError::Stopped(self.stopped()),
        }
    }
}
