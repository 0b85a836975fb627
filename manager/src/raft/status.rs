//! What is going on in the raft group, in plain types.

use std::time::Duration;

use common::object::NodeId;
use common::transport::Peer;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
use openraft::{Instant, ServerState};

use super::handle::RaftHandle;
use super::network::{Resolve, peer_of};
use super::types::TypeConfig;

/// Who leads, as this manager sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    /// Where the leader is reached, if there is one and its address is known.
    pub leader: Option<Peer>,
    pub leader_raft_id: Option<u64>,
    pub is_me: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftRole {
    Learner,
    Follower,
    Candidate,
    Leader,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStatus {
    pub raft_id: u64,
    pub term: u64,
    pub role: RaftRole,
    pub leader: Option<u64>,
    /// Indexes into the log; none where there is nothing yet.
    pub last_log: Option<u64>,
    pub committed: Option<u64>,
    pub applied: Option<u64>,
    pub snapshot: Option<u64>,
    pub purged: Option<u64>,
    /// On a leader: since a majority was last known to follow it.
    pub quorum_heard: Option<Duration>,
    /// A change of membership is under way.
    pub changing: bool,
    pub members: Vec<MemberStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    pub raft_id: u64,
    pub node: NodeId,
    /// Where it was when it became a member or was last moved.
    pub addr: String,
    pub voter: bool,
    /// The last log entry it is known to have; only a leader knows.
    pub matched: Option<u64>,
    /// Log entries it lacks; only a leader knows.
    pub lag: Option<u64>,
    /// Since it last answered; only a leader knows.
    pub heard: Option<Duration>,
}

impl RaftStatus {
    /// The raft id under which a node is a member.
    pub fn raft_id_of(&self, node: NodeId) -> Option<u64> {
        self.members.iter().rev().find(|member| member.node == node).map(|member| member.raft_id)
    }

    pub fn member(&self, raft_id: u64) -> Option<&MemberStatus> {
        self.members.iter().find(|member| member.raft_id == raft_id)
    }
}

impl RaftHandle {
    pub fn status(&self) -> RaftStatus {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched().clone();
        status(&metrics)
    }
}

fn status(metrics: &RaftMetrics<TypeConfig>) -> RaftStatus {
    let membership = &metrics.membership_config;
    let voters: Vec<u64> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(raft_id, member)| {
        let progress = metrics.replication.as_ref().and_then(|replication| replication.get(raft_id));
        let matched = progress.map(|matched| matched.map(|matched| matched.index()));
        let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(raft_id)).copied().flatten();
        MemberStatus {
            raft_id: *raft_id,
            node: member.node,
            addr: member.addr.clone(),
            voter: voters.contains(raft_id),
            matched: matched.flatten(),
            lag: matched.map(|matched| next(metrics.last_log_index).saturating_sub(next(matched))),
            heard: heard.map(|heard| heard.elapsed()),
        }
    });
    RaftStatus {
        raft_id: metrics.id,
        term: metrics.current_term,
        role: role(metrics.state),
        leader: metrics.current_leader,
        last_log: metrics.last_log_index,
        committed: metrics.local_committed.map(|last| last.index()),
        applied: metrics.last_applied.map(|last| last.index()),
        snapshot: metrics.snapshot.map(|last| last.index()),
        purged: metrics.purged.map(|last| last.index()),
        quorum_heard: metrics.last_quorum_acked.map(|heard| heard.elapsed()),
        changing: *metrics.membership_config != *metrics.committed_membership_config
            || membership.get_joint_config().len() > 1,
        members: members.collect(),
    }
}

fn role(state: ServerState) -> RaftRole {
    match state {
        ServerState::Learner => RaftRole::Learner,
        ServerState::Follower => RaftRole::Follower,
        ServerState::Candidate => RaftRole::Candidate,
        ServerState::Leader => RaftRole::Leader,
        ServerState::Shutdown => RaftRole::Stopped,
    }
}

pub(super) fn leadership(metrics: &RaftServerMetrics<TypeConfig>, resolve: &Resolve) -> Leadership {
    let leader = metrics.current_leader;
    Leadership {
        term: metrics.vote.leader_id.term,
        leader: leader
            .and_then(|leader| metrics.membership_config.get_node(&leader))
            .and_then(|member| peer_of(member, resolve)),
        leader_raft_id: leader,
        is_me: metrics.state == ServerState::Leader && leader == Some(metrics.id),
    }
}
