//! What people ask for, under the API's own rules, and what befalls their machines.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use common::object::{Node, NodeId, NodeSpec, Role};
use common::random::Random;
use manager::api::rules;
use manager::store::{Change, Write};

use super::{Machine, Roles, What};
use crate::simulator::ms;

impl Roles {
    /// Asks for a role as the API does. False when it is refused, or nobody leads.
    pub fn wish(&mut self, machine: usize, role: Role) -> bool {
        let tables = self.store.snapshot();
        let Some(node) = tables.nodes.get(self.machines[machine].id) else { return false };
        let seen = |id: NodeId| self.machines.iter().any(|machine| machine.id == id && machine.seen);
        let managers = tables.nodes.iter().filter(|node| node.manager.is_some()).map(|node| node.id);
        let reachable: BTreeSet<NodeId> = managers.filter(|id| seen(*id)).collect();
        let spec = NodeSpec { role, ..node.spec.clone() };
        match rules::update_node(&tables, node, node.meta.version, spec, &reachable) {
            Ok(changes) => self.person_writes(changes),
            Err(_) => false,
        }
    }

    pub fn remove(&mut self, machine: usize) -> bool {
        let tables = self.store.snapshot();
        let Some(node) = tables.nodes.get(self.machines[machine].id) else { return false };
        match rules::remove_node(&tables, node, true, self.wall()) {
            Ok(changes) => self.person_writes(changes),
            Err(_) => false,
        }
    }

    pub fn join(&mut self, role: Role) {
        let node = self.new_machine(role);
        if !self.person_writes(vec![Change::Node(Write::Create(node))]) {
            self.machines.pop();
        }
    }

    pub fn crash(&mut self, machine: usize) {
        self.machines[machine].up = false;
        self.notice_later(machine, ms(700), ms(1_600));
        if self.lead.as_ref().is_some_and(|lead| lead.machine == machine) {
            self.lose_leader();
        }
    }

    /// Starts it again, perhaps at another address.
    pub fn restart(&mut self, machine: usize, moved: bool) {
        if moved {
            let [a, b, c, d] = (0x0a80_0000 + self.random.next_u64() as u32 % 0xffff).to_be_bytes();
            self.machines[machine].addr = SocketAddr::from(([a, b, c, d], 2377));
        }
        self.machines[machine].up = true;
        self.notice_later(machine, ms(50), ms(500));
        self.follow_later(machine);
    }

    /// The leader is lost to the others without ending; what it had not yet agreed on may be lost with it.
    pub fn lose_leader(&mut self) {
        self.lead = None;
        self.group.leader = None;
        if self.random.fraction() < 0.5 {
            self.group.pending = None;
        }
        let patience = ms(300) + ms(600).mul_f64(self.random.fraction());
        self.schedule.at(self.now.plus(patience), What::Elect);
    }

    pub fn random_below(&mut self, bound: usize) -> usize {
        (self.random.fraction() * bound as f64) as usize
    }

    pub fn is_leader(&self, machine: usize) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.machine == machine)
    }

    pub(super) fn new_machine(&mut self, role: Role) -> Node {
        let id = NodeId::generate(&mut self.random);
        let index = self.machines.len();
        let addr = SocketAddr::from(([10, 0, (index >> 8) as u8, index as u8], 2377));
        self.machines.push(Machine { id, addr, up: true, seen: true, raft_id: None });
        Node::new(id, role, Default::default())
    }

    pub(super) fn person_writes(&mut self, changes: Vec<Change>) -> bool {
        self.lead.is_some() && self.has_majority() && self.apply(changes).is_ok()
    }
}
