//! People promote, demote, add and remove nodes while managers come and go, and a leader makes their wishes true.
//!
//! The leader runs the steps of `manager::control` without waiting: what is due, `decide_roles`, one step at a time.
//! Gossip is reduced to who is seen alive, which lags behind the truth.

mod people;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::limits::{FULL_PASS_PERIOD, LEADER_WAIT, ROLE_STEP_WAIT, ROLES_LOOK_AGAIN};
use common::object::cluster::Authority;
use common::object::node::ManagerRecord;
use common::object::sensitive::Sensitive;
use common::object::{Cluster, ClusterId, Node, NodeId, Role};
use common::random::{Random, SeededRandom};
use common::time::{Monotonic, Timestamp};
use manager::control::wake::Wake;
use manager::decide::roles::{Group as Seen, Member, Step, decide_roles};
use manager::store::{Change, Outcome, Proposal, Store, Tables, Write};

use super::group::{Ask, Group, Seat};
use super::schedule::Schedule;
use crate::invariants::raft_ids_are_given_once::RaftIds;
use crate::invariants::{group_is_never_lost, time_goes_forward::TimeGoesForward};
use crate::simulator::ms;

const TICK: Duration = ms(50);

pub struct Roles {
    pub now: Monotonic,
    pub machines: Vec<Machine>,
    pub group: Group,
    pub store: Store,
    /// Of a hundred group changes, how many fail at once, and how many take seconds.
    pub refused_percent: f64,
    pub late_percent: f64,
    /// Steps begun, and those that did not end well.
    pub steps: (usize, usize),
    lead: Option<Lead>,
    /// Log entries each member lacks; none before it has answered the present leader.
    lag: std::collections::BTreeMap<u64, Option<u64>>,
    ids: RaftIds,
    time: TimeGoesForward,
    random: SeededRandom,
    schedule: Schedule<What>,
}

pub struct Machine {
    pub id: NodeId,
    pub addr: SocketAddr,
    pub up: bool,
    /// What gossip says.
    pub seen: bool,
    /// Whose log is on its disk.
    pub raft_id: Option<u64>,
}

struct Lead {
    term: u64,
    machine: usize,
    wake: Wake,
    next_full_pass: Monotonic,
    step: Option<Running>,
}

struct Running {
    number: u64,
    began: Monotonic,
    /// What is written once the group has changed.
    then: Vec<Change>,
}

#[derive(Clone, Debug)]
enum What {
    Turn,
    Tick,
    Elect,
    Commit { term: u64 },
    Write { term: u64, number: u64, changes: Vec<Change> },
    HandOver { term: u64, number: u64, to: u64 },
    StepTimeout { term: u64, number: u64 },
    Notice { machine: usize },
    Follow { machine: usize },
}

impl Roles {
    /// `managers` voters and some workers, and a leader.
    pub fn new(seed: u64, managers: usize, workers: usize) -> Self {
        let group = Group { committed: Default::default(), pending: None, leader: Some(1), term: 1 };
        let mut roles = Self {
            now: Monotonic(Duration::from_secs(1)),
            machines: Vec::new(),
            group,
            store: Store::new(),
            refused_percent: 0.0,
            late_percent: 0.0,
            steps: (0, 0),
            lead: None,
            lag: Default::default(),
            ids: RaftIds::default(),
            time: TimeGoesForward::default(),
            random: SeededRandom::new(seed, "roles"),
            schedule: Schedule::new(),
        };
        let secret = || Sensitive::new(String::new());
        let cluster = Cluster {
            next_raft_id: managers as u64 + 1,
            ..Cluster::new(ClusterId(1), Authority::new(String::new(), secret(), secret(), secret()))
        };
        let mut changes = vec![Change::Cluster(Write::Create(cluster))];
        for index in 0..managers + workers {
            let role = if index < managers { Role::Manager } else { Role::Worker };
            let mut node = roles.new_machine(role);
            if index < managers {
                let (raft_id, addr) = (index as u64 + 1, roles.machines[index].addr.to_string());
                roles.machines[index].raft_id = Some(raft_id);
                roles
                    .group
                    .committed
                    .insert(raft_id, Seat { node: node.id, addr: addr.clone(), voter: true });
                node.manager = Some(ManagerRecord { raft_id, addr });
            }
            changes.push(Change::Node(Write::Create(node)));
        }
        roles.apply(changes).expect("a fresh store takes it");
        roles.begin_lead();
        roles.schedule.at(roles.now, What::Tick);
        roles
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while let Some((at, what)) = self.schedule.pop(end) {
            self.now = at;
            self.happen(what);
            group_is_never_lost::check(&self.group);
            self.ids.check(&self.store.snapshot(), &self.group);
        }
        self.now = end;
    }

    pub fn run_until(&mut self, longest: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let begin = self.now;
        while self.now.since(begin) <= longest {
            if done(self) {
                return Some(self.now.since(begin));
            }
            self.run(TICK);
        }
        None
    }

    /// What is not as people want it; empty when everything is.
    pub fn unfulfilled(&self) -> Vec<String> {
        let tables = self.store.snapshot();
        let seats = self.group.seats();
        let mut wrong = Vec::new();
        for node in tables.nodes.iter() {
            let raft_id = node.manager.as_ref().map(|record| record.raft_id);
            let voter = raft_id.and_then(|raft_id| seats.get(&raft_id)).is_some_and(|seat| seat.voter);
            let wanted = node.spec.role == Role::Manager;
            let machine = self.machines.iter().find(|machine| machine.id == node.id);
            let machine = machine.expect("a node has a machine");
            let moved = node.manager.as_ref().is_some_and(|record| record.addr != machine.addr.to_string());
            if voter != wanted || node.role != node.spec.role || raft_id != machine.raft_id || moved {
                wrong.push(format!("{node:?} on {:?}", machine.raft_id));
            }
        }
        for (raft_id, seat) in &seats {
            let record = tables.nodes.get(seat.node).and_then(|node| node.manager.as_ref());
            if record.is_none_or(|record| record.raft_id != *raft_id || record.addr != seat.addr) {
                wrong.push(format!("member {raft_id}: {seat:?}"));
            }
        }
        if self.group.pending.is_some() || self.lead.is_none() {
            wrong.push("the group is not at rest".into());
        }
        wrong
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Turn => self.turn(),
            What::Tick => {
                self.schedule.at(self.now.plus(TICK), What::Tick);
                self.replicate();
                self.turn();
            }
            What::Elect => self.elect(),
            What::Commit { term } => self.commit(term),
            What::Write { term, number, changes } => self.write(term, number, changes),
            What::HandOver { term, number, to } => {
                if self.running(term, number).is_none() {
                    return;
                }
                if self.is_up(to) && self.has_majority() {
                    self.lead = None;
                    self.group.leader = Some(to);
                    self.group.term += 1;
                    self.begin_lead();
                } else {
                    // A transfer that fails ends in an election.
                    self.lose_leader();
                }
            }
            What::StepTimeout { term, number } => {
                if self.running(term, number).is_some() {
                    self.end_step(false);
                }
            }
            What::Notice { machine } => {
                let machine = &mut self.machines[machine];
                if machine.seen != machine.up {
                    machine.seen = machine.up;
                    self.wake();
                }
            }
            What::Follow { machine } => self.follow(machine),
        }
    }

    fn turn(&mut self) {
        let now = self.now;
        let Some(lead) = &mut self.lead else { return };
        if now >= lead.next_full_pass {
            lead.next_full_pass = now.plus(FULL_PASS_PERIOD);
            lead.wake.roles();
        }
        if !lead.wake.take(now).roles || lead.step.is_some() {
            return;
        }
        let leader = lead.machine;
        let leader_id = self.machines[leader].id;
        let seats = self.group.seats();
        let Some(me) = seats.iter().rev().find(|(_, seat)| seat.node == leader_id).map(|(id, _)| *id) else {
            return;
        };
        let seen = |node: NodeId| {
            let machine = self.machines.iter().find(|machine| machine.id == node)?;
            (node == leader_id || machine.seen).then_some(machine.addr)
        };
        let members: Vec<Member> = seats
            .iter()
            .map(|(raft_id, seat)| Member {
                raft_id: *raft_id,
                node: seat.node,
                addr: seat.addr.clone(),
                voter: seat.voter,
                reachable: seen(seat.node).is_some(),
                lag: if *raft_id == me { Some(0) } else { self.lag.get(raft_id).copied().flatten() },
            })
            .collect();
        let reachable: BTreeSet<u64> =
            members.iter().filter(|member| member.reachable).map(|member| member.raft_id).collect();
        let tables = self.store.snapshot();
        let decision = decide_roles(&tables, &Seen { me, members }, &seen);
        match decision.step {
            Some(step) => {
                group_is_never_lost::check_step(&step, &self.group, &|raft_id| reachable.contains(&raft_id));
                self.begin_step(step, &tables);
            }
            None if !decision.waiting.is_empty() => {
                self.lead.as_mut().expect("it leads").wake.roles_at(now.plus(ROLES_LOOK_AGAIN));
            }
            None => {}
        }
    }

    fn begin_step(&mut self, step: Step, tables: &Tables) {
        self.steps.0 += 1;
        let (number, term, now) = (self.steps.0 as u64, self.group.term, self.now);
        let lead = self.lead.as_mut().expect("it decided");
        assert!(lead.step.is_none(), "two steps at a time");
        lead.step = Some(Running { number, began: now, then: Vec::new() });
        self.schedule.at(now.plus(ROLE_STEP_WAIT), What::StepTimeout { term, number });
        let stored = |node: NodeId| tables.nodes.get(node).map(|node| Node::clone(node));
        let ask = match step {
            Step::Admit { node, addr } => {
                let mut cluster = Cluster::clone(tables.cluster().expect("there is a cluster"));
                let mut node = stored(node).expect("it was decided about");
                node.role = Role::Manager;
                node.manager = Some(ManagerRecord { raft_id: cluster.next_raft_id, addr: addr.to_string() });
                cluster.next_raft_id += 1;
                return self.write_later(vec![
                    Change::Node(Write::update(node)),
                    Change::Cluster(Write::update(cluster)),
                ]);
            }
            Step::Dismiss { node } => {
                let mut node = stored(node).expect("it was decided about");
                node.role = Role::Worker;
                node.manager = None;
                return self.write_later(vec![Change::Node(Write::update(node))]);
            }
            Step::HandOver { to } => {
                let at = now.plus(ms(50) + ms(350).mul_f64(self.random.fraction()));
                return self.schedule.at(at, What::HandOver { term, number, to });
            }
            Step::Move { raft_id, node, addr } => {
                let mut node = stored(node).expect("it was decided about");
                node.manager = Some(ManagerRecord { raft_id, addr: addr.clone() });
                lead.step.as_mut().expect("just begun").then = vec![Change::Node(Write::update(node))];
                Ask::Move { raft_id, addr }
            }
            Step::AddLearner { raft_id, node, addr } => Ask::Learner { raft_id, node, addr },
            Step::AddVoter { raft_id } => Ask::Voter { raft_id },
            Step::Remove { raft_id } => Ask::Remove { raft_id },
        };
        if self.random.fraction() * 100.0 < self.refused_percent {
            return self.end_step(false);
        }
        match self.group.ask(&ask) {
            Err(_) => self.end_step(false),
            Ok(false) => self.group_changed(),
            Ok(true) => {
                let late = self.random.fraction() * 100.0 < self.late_percent;
                let wait = if late { ms(15_000) } else { ms(40) }.mul_f64(self.random.fraction());
                self.schedule.at(now.plus(wait), What::Commit { term });
            }
        }
    }

    fn commit(&mut self, term: u64) {
        if self.group.term != term || self.group.leader.is_none() || self.group.pending.is_none() {
            return;
        }
        if !self.has_majority() {
            self.schedule.at(self.now.plus(ms(100)), What::Commit { term });
            return;
        }
        self.group.committed = self.group.pending.take().expect("just seen");
        let leader = self.group.leader.expect("just seen");
        if self.group.committed.get(&leader).is_some_and(|seat| seat.voter) {
            self.group_changed();
        } else {
            // Asked for before it was given the lead: it steps down, as raft has it.
            self.lose_leader();
        }
    }

    /// What the step under way waited for is so; nobody may wait any more.
    fn group_changed(&mut self) {
        let step = self.lead.as_mut().and_then(|lead| lead.step.as_mut());
        let Some(step) = step else { return };
        let then = std::mem::take(&mut step.then);
        if then.is_empty() { self.end_step(true) } else { self.write_later(then) }
    }

    fn write_later(&mut self, changes: Vec<Change>) {
        let number = self.lead.as_ref().and_then(|lead| lead.step.as_ref()).expect("a step writes").number;
        let at = self.now.plus(ms(1) + ms(9).mul_f64(self.random.fraction()));
        self.schedule.at(at, What::Write { term: self.group.term, number, changes });
    }

    fn write(&mut self, term: u64, number: u64, changes: Vec<Change>) {
        if self.group.term != term || self.lead.is_none() {
            return; // lost with its leader
        }
        if self.has_majority() {
            let written = self.apply(changes).is_ok();
            if self.running(term, number).is_some() {
                self.end_step(written);
            }
            return;
        }
        // The step gives up; its entry is in the log and may come through when there is a majority again.
        if self.running(term, number).is_some_and(|step| self.now.since(step.began) > LEADER_WAIT) {
            self.end_step(false);
        }
        self.schedule.at(self.now.plus(ms(50)), What::Write { term, number, changes });
    }

    fn running(&self, term: u64, number: u64) -> Option<&Running> {
        let lead = self.lead.as_ref().filter(|lead| lead.term == term)?;
        lead.step.as_ref().filter(|step| step.number == number)
    }

    fn end_step(&mut self, well: bool) {
        let now = self.now;
        self.steps.1 += usize::from(!well);
        let lead = self.lead.as_mut().expect("a step has a leader");
        lead.step = None;
        match well {
            true => lead.wake.roles(),
            false => lead.wake.roles_at(now.plus(ROLES_LOOK_AGAIN)),
        }
        self.schedule.at(now, What::Turn);
    }

    fn wake(&mut self) {
        if let Some(lead) = &mut self.lead {
            lead.wake.roles();
            self.schedule.at(self.now, What::Turn);
        }
    }

    fn apply(&mut self, changes: Vec<Change>) -> Outcome {
        let before = self.store.snapshot();
        let (id, at) = (self.random.next_u64().max(1), self.wall());
        let outcome = self.store.apply(before.version.0 + 1, &Proposal { id, at, changes });
        let after = self.store.snapshot();
        self.time.check(&after);
        for index in 0..self.machines.len() {
            let place = |tables: &Tables| {
                let node = tables.nodes.get(self.machines[index].id)?;
                Some((node.spec.role, node.role, node.manager.clone()))
            };
            if place(&before) != place(&after) {
                self.follow_later(index);
                self.wake();
            }
        }
        outcome
    }

    /// The node takes up the place that the store has for it.
    fn follow(&mut self, machine: usize) {
        if !self.machines[machine].up {
            return;
        }
        if self.lead.is_none() {
            self.schedule.at(self.now.plus(ms(200)), What::Follow { machine });
            return;
        }
        let tables = self.store.snapshot();
        let node = tables.nodes.get(self.machines[machine].id);
        let wanted = match node {
            Some(node) if node.role == Role::Manager => {
                node.manager.as_ref().map(|record| record.raft_id).or(self.machines[machine].raft_id)
            }
            _ => None,
        };
        let before = std::mem::replace(&mut self.machines[machine].raft_id, wanted);
        if let Some(before) = before.filter(|before| Some(*before) != wanted) {
            self.ids.give_up(before);
        }
    }

    fn follow_later(&mut self, machine: usize) {
        let at = self.now.plus(ms(20) + ms(280).mul_f64(self.random.fraction()));
        self.schedule.at(at, What::Follow { machine });
    }

    fn notice_later(&mut self, machine: usize, soonest: Duration, more: Duration) {
        let at = self.now.plus(soonest + more.mul_f64(self.random.fraction()));
        self.schedule.at(at, What::Notice { machine });
    }

    // Raft, as far as it is felt.

    fn is_up(&self, raft_id: u64) -> bool {
        self.machines.iter().any(|machine| machine.up && machine.raft_id == Some(raft_id))
    }

    fn has_majority(&self) -> bool {
        self.group.has_majority(&|raft_id| self.is_up(raft_id))
    }

    fn elect(&mut self) {
        if self.group.leader.is_some() {
            return;
        }
        let seats = self.group.pending.as_ref().unwrap_or(&self.group.committed);
        let able: Vec<u64> =
            seats.iter().filter(|(id, seat)| seat.voter && self.is_up(**id)).map(|(id, _)| *id).collect();
        if able.is_empty() || !self.has_majority() {
            self.schedule.at(self.now.plus(ms(100)), What::Elect);
            return;
        }
        self.group.leader = Some(able[self.random_below(able.len())]);
        self.group.term += 1;
        self.begin_lead();
    }

    fn begin_lead(&mut self) {
        let leader = self.group.leader.expect("somebody was elected");
        let machine = self.machines.iter().position(|machine| machine.raft_id == Some(leader));
        let (machine, term) = (machine.expect("a leader runs"), self.group.term);
        self.lag.clear();
        let next_full_pass = self.now;
        self.lead = Some(Lead { term, machine, wake: Wake::default(), next_full_pass, step: None });
        // What the leader before began is finished with the first entry of this one.
        self.schedule.at(self.now.plus(ms(20)), What::Commit { term });
        self.schedule.at(self.now.plus(ms(20)), What::Turn);
    }

    /// Members that are up get nearer to the leader's log.
    fn replicate(&mut self) {
        for raft_id in self.group.seats().into_keys() {
            let caught_up = (self.random.fraction() * 600.0) as u64;
            let up = self.is_up(raft_id);
            let lag = self.lag.entry(raft_id).or_default();
            *lag = match *lag {
                None if up => Some(3_000),
                Some(lag) if up => Some(lag.saturating_sub(caught_up)),
                other => other.map(|lag| lag + 1),
            };
        }
    }

    fn wall(&self) -> Timestamp {
        Timestamp(
            1_800_000_000_000_000_000 + u64::try_from(self.now.0.as_nanos()).expect("a short simulation"),
        )
    }
}
