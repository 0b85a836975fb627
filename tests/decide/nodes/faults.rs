//! What befalls nodes, links and clocks, and what is so about a node afterwards.

use std::time::Duration;

use common::object::Node;
use common::random::Random;
use common::wire::session::Parting;
use manager::store::{Change, Write};

use super::{Cluster, What};
use crate::decide::sessions::{Line, Session};
use crate::simulator::ms;
use crate::simulator::world::MANAGERS;

impl Cluster {
    pub fn crash(&mut self, index: usize) {
        self.world.crash(index);
        self.stopping[index] = false;
        self.sessions[index].reset(Line::Off);
        self.leads[index] = None;
        self.well_since[index] = None;
        self.paused_until[index] = None;
    }

    pub fn restart(&mut self, index: usize) {
        self.world.restart(index);
        self.parted[index] = None;
        self.sessions[index].reset(Line::Waiting);
        self.look_whether_well(index);
        self.wait(index);
    }

    /// The node says goodbye and is gone a moment later.
    pub fn stop(&mut self, index: usize, parting: Parting) {
        if std::mem::replace(&mut self.stopping[index], true) {
            return;
        }
        self.parted[index] = Some(parting);
        if self.raft.leader == Some(index) {
            self.hand_over();
        }
        self.world.tell(index, |membership, now| membership.leave(now));
        let Session { line, number, .. } = self.sessions[index];
        if let Line::Open(to) = line {
            self.send(index, to, What::Ended { node: index, to, number, goodbye: Some(parting) });
        }
        self.sessions[index].reset(Line::Off);
        self.well_since[index] = None;
        self.schedule.at(self.world.now.plus(ms(300)), What::Exit(index));
    }

    pub fn pause(&mut self, index: usize, duration: Duration) {
        if self.is_paused(index) || !self.runs(index) {
            return;
        }
        let until = self.world.now.plus(duration);
        self.world.pause(index, duration);
        self.paused_until[index] = Some(until);
        if duration > ms(400) {
            self.well_since[index] = None;
        }
        self.schedule.at(until, What::Resume(index));
    }

    /// Every node stops running now and then: mean time between, and the longest stop.
    pub fn stall_at_random(&mut self, mean: Duration, longest: Duration) {
        self.stalls = Some((mean, longest));
        for index in 0..self.world.nodes.len() {
            self.stall_later(index, mean);
        }
    }

    /// Nothing passes between two nodes; all others reach both.
    pub fn cut_link(&mut self, one: usize, other: usize) {
        self.world.network.cut_links.extend([(one, other), (other, one)]);
        self.well_since[one] = None;
        self.well_since[other] = None;
    }

    pub fn heal_link(&mut self, one: usize, other: usize) {
        for link in [(one, other), (other, one)] {
            self.world.network.cut_links.remove(&link);
        }
        [one, other].into_iter().for_each(|index| self.look_whether_well(index));
    }

    /// A fault of a node has ended; there may be another.
    pub(super) fn look_whether_well(&mut self, index: usize) {
        let cut = self.world.network.cut_links.iter().any(|link| link.0 == index);
        let well = self.runs(index) && !self.stopping[index] && !self.is_paused(index) && !cut;
        if well && self.well_since[index].is_none() {
            self.well_since[index] = Some(self.world.now);
        }
    }

    /// The connection breaks for both ends, as when a NAT forgets it.
    pub fn break_session(&mut self, index: usize) {
        let Session { line, number, .. } = self.sessions[index];
        if let Line::Open(to) = line {
            self.schedule.at(self.world.now, What::Lost { node: index, number });
            self.schedule.at(self.world.now, What::Ended { node: index, to, number, goodbye: None });
        }
    }

    /// The leader hands over to another manager that runs.
    pub fn hand_over(&mut self) {
        let Some(leader) = self.leader() else { return };
        let heirs: Vec<usize> =
            (0..MANAGERS).filter(|heir| *heir != leader && self.has_quorum(*heir)).collect();
        if !heirs.is_empty() && !self.is_paused(leader) {
            let heir = heirs[self.random_below(heirs.len())];
            self.elect(heir);
            self.end_lead(leader);
        }
    }

    /// A person changes a label, which the leader may not have seen when it writes.
    pub fn edit(&mut self, index: usize) {
        let id = self.world.nodes[index].id;
        let Some(leader) = self.leader() else { return };
        if self.is_paused(leader) || !self.has_quorum(leader) {
            return;
        }
        let mut node = Node::clone(self.store.snapshot().nodes.get(id).expect("nobody removes nodes"));
        node.spec.labels.insert("rack".into(), self.world.now.0.as_micros().to_string());
        self.apply(leader, vec![Change::Node(Write::update(node))]).expect("read just now");
    }

    pub(super) fn stall_later(&mut self, index: usize, mean: Duration) {
        let wait = mean.mul_f64(-(1.0 - self.random.fraction()).ln());
        self.schedule.at(self.world.now.plus(wait), What::Stall(index));
    }
}
