//! Who should be in the raft group, and the one next step towards it.
//!
//! Pure. Reads the nodes' wanted and present roles and the raft group as the leader sees it. Progress is
//! `Node::role` and `Node::manager` in the store and the group itself, so a new leader goes on.
//!
//! ```text
//! worker ──Admit──▶ manager on paper ──AddLearner──▶ learner ──AddVoter──▶ voter
//! voter (leader) ──HandOver──▶ voter ──Remove──▶ out of the group ──Dismiss──▶ worker
//! ```
//!
//! One step at a time: a change of the group has to be finished before the next begins.

use std::net::SocketAddr;

use common::object::{Node, NodeId, Role};

use super::Reason;
use crate::store::Tables;

/// One member of the raft group, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub raft_id: u64,
    pub node: NodeId,
    pub addr: String,
    pub voter: bool,
    /// It answers the leader now.
    pub reachable: bool,
    /// Log entries it has yet to acknowledge; none when unknown.
    pub lag: Option<u64>,
}

/// The raft group. `me` is the leader: only a leader decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub me: u64,
    pub members: Vec<Member>,
}

/// The next step. Steps of the store are proposed; steps of the group are asked of raft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give the node a raft id and let its next certificate be a manager's.
    Admit {
        node: NodeId,
        addr: SocketAddr,
    },
    AddLearner {
        raft_id: u64,
        node: NodeId,
        addr: String,
    },
    AddVoter {
        raft_id: u64,
    },
    /// The member is reached elsewhere now.
    Move {
        raft_id: u64,
        node: NodeId,
        addr: String,
    },
    /// The leader itself is to go: somebody else leads first.
    HandOver {
        to: u64,
    },
    Remove {
        raft_id: u64,
    },
    /// The node is out of the group: its next certificate is a worker's.
    Dismiss {
        node: NodeId,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleDecision {
    pub step: Option<Step>,
    /// Why a wanted change cannot go on at the moment.
    pub waiting: Vec<Reason>,
}

/// A learner this close to the leader's log may vote.
const CAUGHT_UP_ENTRIES: u64 = 500;

/// Decides the next step. `address` is where a node is reached now, if it is alive.
pub fn decide_roles(
    snapshot: &Tables,
    group: &Group,
    address: &dyn Fn(NodeId) -> Option<SocketAddr>,
) -> RoleDecision {
    let mut waiting = Vec::new();
    let step = removal(snapshot, group, &mut waiting)
        .or_else(|| snapshot.nodes.iter().find_map(|node| node_step(node, group, address, &mut waiting)));
    RoleDecision { step, waiting }
}

/// A member without a node, or of an earlier life of its node, has to go; so has a demoted one.
fn removal(snapshot: &Tables, group: &Group, waiting: &mut Vec<Reason>) -> Option<Step> {
    let leaver = |member: &&Member| {
        let node = snapshot.nodes.get(member.node);
        let record = node.and_then(|node| node.manager.as_ref());
        let wanted = node.is_some_and(|node| node.spec.role == Role::Manager);
        !wanted || record.is_none_or(|record| record.raft_id != member.raft_id)
    };
    let mut leavers: Vec<&Member> = group.members.iter().filter(leaver).collect();
    // The leader goes last: handing over again and again would help nobody.
    leavers.sort_by_key(|member| (member.raft_id == group.me, member.raft_id));
    for member in leavers {
        match remove(member, group) {
            Ok(step) => return Some(step),
            Err(text) => waiting.push(Reason { node: member.node, text }),
        }
    }
    None
}

fn remove(member: &Member, group: &Group) -> Result<Step, String> {
    if !member.voter {
        return Ok(Step::Remove { raft_id: member.raft_id });
    }
    let others = || group.members.iter().filter(|other| other.voter && other.raft_id != member.raft_id);
    let (left, reachable) = (others().count(), others().filter(|other| other.reachable).count());
    if left == 0 {
        return Err("it is the last manager, and a cluster needs one".into());
    }
    if reachable < left / 2 + 1 {
        return Err(format!(
            "without it only {reachable} of {left} managers would answer, which is no majority"
        ));
    }
    if member.raft_id != group.me {
        return Ok(Step::Remove { raft_id: member.raft_id });
    }
    others()
        .filter(|other| other.reachable)
        .min_by_key(|other| (other.lag.unwrap_or(u64::MAX), other.raft_id))
        .map(|other| Step::HandOver { to: other.raft_id })
        .ok_or_else(|| "no other manager can take over the lead".into())
}

fn node_step(
    node: &Node,
    group: &Group,
    address: &dyn Fn(NodeId) -> Option<SocketAddr>,
    waiting: &mut Vec<Reason>,
) -> Option<Step> {
    let mut wait = |text: &str| {
        waiting.push(Reason { node: node.id, text: text.into() });
        None
    };
    let in_group = |raft_id: u64| group.members.iter().find(|member| member.raft_id == raft_id);
    match (node.spec.role, &node.manager) {
        (Role::Worker, None) if node.role == Role::Worker => None,
        (Role::Worker, Some(record)) if in_group(record.raft_id).is_some() => None, // `removal` is at it
        (Role::Worker, _) => Some(Step::Dismiss { node: node.id }),
        (Role::Manager, None) => match address(node.id) {
            Some(addr) => Some(Step::Admit { node: node.id, addr }),
            None => wait("it is to become a manager, but is not alive"),
        },
        (Role::Manager, Some(record)) => {
            let here = address(node.id).map(|addr| addr.to_string());
            let addr = here.clone().unwrap_or_else(|| record.addr.clone());
            match in_group(record.raft_id) {
                None if here.is_none() => wait("it is to become a manager, but is not alive"),
                None => Some(Step::AddLearner { raft_id: record.raft_id, node: node.id, addr }),
                Some(member) if member.addr != addr || record.addr != addr => {
                    Some(Step::Move { raft_id: record.raft_id, node: node.id, addr })
                }
                Some(member) if member.voter => None,
                Some(member)
                    if member.reachable && member.lag.is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES) =>
                {
                    Some(Step::AddVoter { raft_id: member.raft_id })
                }
                Some(_) => wait("it is catching up with the log"),
            }
        }
    }
}

#[cfg(test)]
#[path = "roles_test.rs"]
mod tests;
