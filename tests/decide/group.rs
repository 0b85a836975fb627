//! A raft group as those feel it who change it: members, one change at a time, a majority for everything.
//!
//! A change counts from the moment the leader has it in its log; it is sure once a majority of the old and of the
//! new voters have it. A leader that is lost before may take it along.

use std::collections::BTreeMap;

use common::object::NodeId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub node: NodeId,
    pub addr: String,
    pub voter: bool,
}

pub type Seats = BTreeMap<u64, Seat>;

#[derive(Clone, Debug)]
pub struct Group {
    pub committed: Seats,
    /// In the leader's log, and not yet sure.
    pub pending: Option<Seats>,
    pub leader: Option<u64>,
    pub term: u64,
}

#[derive(Clone, Debug)]
pub enum Ask {
    Learner { raft_id: u64, node: NodeId, addr: String },
    Voter { raft_id: u64 },
    Remove { raft_id: u64 },
    Move { raft_id: u64, addr: String },
}

impl Group {
    /// The members as the leader's log has them: while a change is under way, the voters of before and after.
    pub fn seats(&self) -> Seats {
        let mut seats = self.pending.clone().unwrap_or_default();
        for (raft_id, seat) in &self.committed {
            let present = seats.entry(*raft_id).or_insert_with(|| seat.clone());
            present.voter |= seat.voter;
        }
        seats
    }

    /// Whether those who are up can take a decision, in the group of before and in the group of after.
    pub fn has_majority(&self, up: &dyn Fn(u64) -> bool) -> bool {
        let majority = |seats: &Seats| {
            let voters = || seats.iter().filter(|(_, seat)| seat.voter);
            voters().filter(|(raft_id, _)| up(**raft_id)).count() > voters().count() / 2
        };
        majority(&self.committed) && self.pending.as_ref().is_none_or(majority)
    }

    /// Puts a change into the leader's log. False when it is so already.
    pub fn ask(&mut self, ask: &Ask) -> Result<bool, &'static str> {
        if self.pending.is_some() {
            return Err("another change is under way");
        }
        let mut next = self.committed.clone();
        match ask {
            Ask::Learner { raft_id, node, addr } => match next.get(raft_id) {
                Some(seat) if seat.node == *node => return Ok(false),
                Some(_) => return Err("the raft id is another node's"),
                None => {
                    next.insert(*raft_id, Seat { node: *node, addr: addr.clone(), voter: false });
                }
            },
            Ask::Voter { raft_id } => next.get_mut(raft_id).ok_or("not a member")?.voter = true,
            Ask::Move { raft_id, addr } => next.get_mut(raft_id).ok_or("not a member")?.addr = addr.clone(),
            Ask::Remove { raft_id } => {
                if next.remove(raft_id).is_none() {
                    return Ok(false);
                }
                if !next.values().any(|seat| seat.voter) {
                    return Err("it is the last voter");
                }
            }
        }
        if next == self.committed {
            return Ok(false);
        }
        self.pending = Some(next);
        Ok(true)
    }
}
