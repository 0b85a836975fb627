//! Raft, as far as the decisions feel it: who leads in which term, and whether a majority takes a write.

use std::time::Duration;

use common::limits::STOPPED_NODE_WAIT;
use common::random::Random;
use common::wire::session::Parting;

use super::{Cluster, RAFT_LOOKS, What};
use crate::invariants::silent_is_down_soon;
use crate::simulator::ms;
use crate::simulator::world::MANAGERS;

impl Cluster {
    pub(super) fn has_quorum(&self, manager: usize) -> bool {
        let network = &self.world.network;
        let with = |other: usize| {
            self.runs(other)
                && !self.is_paused(other)
                && network.connects(manager, other)
                && network.connects(other, manager)
        };
        (0..MANAGERS).filter(|other| with(*other)).count() > MANAGERS / 2 && with(manager)
    }

    pub(super) fn elect(&mut self, manager: usize) {
        self.raft.term += 1;
        self.raft.leader = Some(manager);
        self.raft.followed_at = self.world.now;
        self.raft.followed_since = self.world.now;
        let fraction = self.random.fraction();
        self.raft.patience = ms(250) + ms(650).mul_f64(fraction);
        let begins = self.world.now.plus(ms(5) + ms(25).mul_f64(fraction));
        self.schedule.at(begins, What::Elected { manager, term: self.raft.term });
    }

    pub(super) fn end_lead(&mut self, manager: usize) {
        let Some(lead) = self.leads[manager].take() else { return };
        self.world.tell(manager, |membership, _| membership.stop_leading());
        let leader = self.raft.leader;
        for (id, open) in lead.sessions {
            let node = self.world.index_of(id);
            self.send(manager, node, What::Refused { node, number: open.number, leader });
        }
    }

    pub(super) fn look_at_raft(&mut self) {
        let now = self.world.now;
        self.schedule.at(now.plus(RAFT_LOOKS), What::Raft);
        if self.raft.leader.is_some_and(|leader| self.has_quorum(leader)) {
            if now.since(self.raft.followed_at) > RAFT_LOOKS {
                self.raft.followed_since = now;
            }
            self.raft.followed_at = now;
        } else if now.since(self.raft.followed_at) >= self.raft.patience {
            let able: Vec<usize> = (0..MANAGERS).filter(|manager| self.has_quorum(*manager)).collect();
            if !able.is_empty() {
                let manager = able[self.random_below(able.len())];
                self.elect(manager);
            }
        }
        for manager in 0..MANAGERS {
            let term = self.leads[manager].as_ref().map(|lead| lead.term);
            let outdated = term.is_some_and(|term| term < self.raft.term);
            let told = outdated && !self.is_paused(manager) && self.has_quorum(manager);
            if told {
                self.end_lead(manager);
            }
        }
        self.check_silent();
    }

    pub(super) fn check_silent(&self) {
        let Some(leader) = self.leader().filter(|leader| self.has_quorum(*leader)) else { return };
        let Some(well_since) = self.well_since[leader] else { return };
        let led_since = self.leads[leader].as_ref().expect("it leads").since.max(well_since);
        // Whatever falls due while nothing can be written is written afterwards.
        let led_since = led_since.max(self.raft.followed_since);
        let tables = self.store.snapshot();
        for (index, node) in self.world.nodes.iter().enumerate().filter(|(index, _)| !self.runs(*index)) {
            let object = tables.nodes.get(node.id).expect("nobody removes nodes");
            let grace = match self.parted[index] {
                Some(Parting::Stops) => STOPPED_NODE_WAIT,
                Some(Parting::Leaves) | None => Duration::ZERO,
            };
            silent_is_down_soon::check(
                object,
                self.world.nodes[index].ended_at,
                led_since,
                self.world.now,
                self.silence_bound + grace,
            );
        }
    }
}
