//! Leader, store, links and machines, one moment after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::limits::{CONTROL_RETRY, FULL_PASS_PERIOD, RESYNC_PAUSE};
use common::object::{Availability, LivenessPreset, Node, NodeId, NodeState, Role};
use common::random::{Random, SeededRandom};
use common::time::{Monotonic, Timestamp};
use manager::decide::Ctx;
use manager::decide::liveness::{Gossip, Heard, Patience, judge};
use manager::dispatch::assignments::Told;
use manager::preset::Pace;
use manager::store::{Change, Proposal, Store, Write};
use worker::mesh::table::Table as MeshTable;

use super::leader::{Flight, Leader};
use super::link::{Down, Link, Up};
use super::machine::Machine;
use super::planted::Tamper;
use super::rules::Rules;
use crate::invariants::nothing_is_lost::Truth;
use crate::invariants::payloads_stay_close::Holding;

pub const NODES: u128 = 5;
/// The simulation goes from one such moment to the next.
const TICK: Duration = Duration::from_millis(50);
const EPOCH: Timestamp = Timestamp(1_800_000_000_000_000_000);
/// How long gossip takes to know of a silent node.
const GOSSIP_LAG: Duration = Duration::from_millis(1_200);
/// Decisions at one moment: more is a circle.
const PASSES_PER_MOMENT_MAX: usize = 100;

/// How unkind the world is now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unkind {
    /// One of so many proposals is lost, or its answer is. 0: none.
    pub proposals: u64,
    /// One of so many messages comes twice. 0: none.
    pub doubled: u64,
}

pub struct Cluster {
    pub store: Store,
    pub now: Duration,
    pub machines: BTreeMap<NodeId, Machine>,
    pub links: BTreeMap<NodeId, Link>,
    pub unkind: Unkind,
    /// What happened, for people and for comparing runs.
    pub trace: Vec<String>,
    /// The first rule that was broken.
    pub broken: Option<String>,
    leader: Option<Leader>,
    next_leader_at: Duration,
    random: SeededRandom,
    ids: SeededRandom,
    rules: Rules,
    tamper: Tamper,
    index: u64,
    sessions: u64,
    patience: Patience,
}

impl Cluster {
    pub fn new(seed: u64, tamper: Tamper) -> Self {
        let mut random = SeededRandom::new(seed, "cluster");
        let mut cluster = Self {
            store: Store::new(),
            now: Duration::ZERO,
            machines: BTreeMap::new(),
            links: BTreeMap::new(),
            unkind: Unkind::default(),
            trace: Vec::new(),
            broken: None,
            leader: None,
            next_leader_at: Duration::ZERO,
            ids: SeededRandom::new(seed, "ids"),
            rules: Rules::default(),
            tamper,
            index: 0,
            sessions: 0,
            patience: Pace::of(LivenessPreset::Local).patience,
            random: SeededRandom::new(random.next_u64(), "network"),
        };
        for number in 1..=NODES {
            let id = NodeId(number);
            let skew = Duration::from_millis(random.next_u64() % 60_000);
            cluster.machines.insert(id, Machine::new(id, seed, EPOCH.plus(skew)));
            cluster.links.insert(id, Link::default());
            cluster.write(vec![Change::Node(Write::Create(node(id)))]);
        }
        cluster
    }

    pub fn wall(&self) -> Timestamp {
        EPOCH.plus(self.now)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// Lets everything happen for so long, or until a rule is broken.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until && self.broken.is_none() {
            self.now += TICK;
            self.tick();
        }
    }

    fn tick(&mut self) {
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        self.machines.values_mut().for_each(|machine| machine.advance(self.now));
        if self.leader.is_none() && self.now >= self.next_leader_at {
            self.note("a leader begins");
            self.leader = Some(Leader::new(&self.store.snapshot(), self.now));
        }
        for node in &nodes {
            self.connect(*node);
            self.listen(*node);
            self.judge(*node);
        }
        self.lead();
        for node in nodes {
            self.tell(node);
            let payloads = self.machines[&node].with_agent(|agent| agent.payloads()).unwrap_or_default();
            if let Err(error) = self.rules.payloads.check(node, &payloads) {
                self.broken.get_or_insert(error);
            }
        }
    }

    pub fn note(&mut self, what: impl std::fmt::Display) {
        self.trace.push(format!("{:>7} {what}", self.now.as_millis()));
    }

    /// Writes to the store, as a log entry does.
    pub fn write(&mut self, changes: Vec<Change>) -> bool {
        self.index += 1;
        let before = self.store.snapshot();
        let proposal = Proposal { id: self.index, at: self.wall(), changes };
        let outcome = self.store.apply(self.index, &proposal);
        for change in &proposal.changes {
            self.note(format_args!(
                "{} {}",
                if outcome.is_ok() { "written" } else { "refused" },
                brief(change)
            ));
        }
        if outcome.is_ok() && self.broken.is_none() {
            let after = self.store.snapshot();
            self.broken = self.rules.check(&before, &after, &proposal.changes).err();
        }
        outcome.is_ok()
    }

    /// The leader is gone. What it had proposed is in the log by now, or never will be.
    pub fn lose_leader(&mut self, gap: Duration) {
        let Some(leader) = self.leader.take() else { return };
        self.note("the leader is gone");
        for flight in leader.flights {
            if flight.is_written && self.below(2) == 0 {
                self.write(flight.changes);
            }
        }
        self.next_leader_at = self.now + gap;
        let nodes: Vec<NodeId> = self.links.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.break_link(node));
    }

    /// The session of a node breaks; some of what was on its way still arrives.
    pub fn break_link(&mut self, node: NodeId) {
        let pause = Duration::from_millis(100 + self.below(900));
        let link = self.links.get_mut(&node).expect("every node has one");
        let session = link.session.as_ref().map(|session| session.number);
        let (up, down) = link.close(self.now, pause, &mut self.random);
        for message in up {
            self.hear(node, session.unwrap_or_default(), message);
        }
        for message in down {
            self.deliver(node, message);
        }
    }

    fn connect(&mut self, node: NodeId) {
        let (leads, is_up) = (self.leader.is_some(), self.machines[&node].is_up());
        let link = self.links.get_mut(&node).expect("every node has one");
        let may = leads && is_up && !link.is_cut;
        if link.session.is_some() && !may {
            return self.break_link(node);
        }
        if may && link.session.is_none() && self.now >= link.retry_at {
            self.sessions += 1;
            link.open(self.sessions);
            self.machines[&node].with_agent(|agent| agent.session_opened());
            self.note(format_args!("node {} has a session", node.0));
        }
        let link = self.links.get_mut(&node).expect("every node has one");
        if may && link.session.is_some() {
            link.heard_at = Some(self.now);
        }
    }

    /// Takes what the agent has to say, and brings the leader what has arrived.
    fn listen(&mut self, node: NodeId) {
        let link = self.links.get_mut(&node).expect("every node has one");
        let Some(session) = &mut link.session else { return };
        let machine = &self.machines[&node];
        if let Some((number, reports)) = machine.with_agent(|agent| agent.take_reports()).flatten() {
            session.up.send(self.now, Up::Reports { number, reports }, &mut self.random, self.unkind.doubled);
        }
        if session.is_lost && self.now >= session.may_ask_at {
            (session.is_lost, session.may_ask_at) = (false, self.now + RESYNC_PAUSE);
            session.up.send(self.now, Up::Resync, &mut self.random, 0);
        }
        let number = session.number;
        let mut arrived = Vec::new();
        while let Some(message) = session.up.arrived(self.now) {
            arrived.push(message);
        }
        for message in arrived {
            self.hear(node, number, message);
        }
    }

    fn hear(&mut self, node: NodeId, session: u64, message: Up) {
        let said = match &message {
            Up::Reports { number, reports } => {
                let states: Vec<String> =
                    reports.iter().map(|report| format!("{} {}", report.task, report.status.state)).collect();
                format!("node {} says {number}: {}", node.0, states.join(", "))
            }
            Up::Resync => format!("node {} asks for everything", node.0),
        };
        self.note(said);
        match (message, &mut self.leader) {
            (Up::Reports { number, reports }, Some(leader)) => {
                let ended = reports.iter().filter(|report| report.status.state.is_final());
                self.rules.ended.extend(ended.map(|report| report.task));
                reports.into_iter().for_each(|report| leader.planner.report(node, report));
                leader.unwritten.push((node, session, number));
            }
            (Up::Resync, Some(_)) => {
                if let Some(open) = self.links.get_mut(&node).and_then(|link| link.session.as_mut()) {
                    open.resync = true;
                }
            }
            (_, None) => {}
        }
    }

    /// Has `liveness` judge a node, and writes what is new. The control loop does that in turn with decisions about
    /// services, so never while those are being written.
    fn judge(&mut self, id: NodeId) {
        let Some(leader) = self.leader.as_ref().filter(|leader| leader.flights.is_empty()) else { return };
        let (link, at) = (&self.links[&id], |at: Duration| Monotonic(at));
        let reachable = self.machines[&id].is_up() && !link.is_cut;
        let silent = link.heard_at.is_none_or(|heard| self.now > heard + GOSSIP_LAG);
        let gossip = if !reachable && silent { Gossip::Dead } else { Gossip::Alive };
        let heard = Heard { session: link.session.as_ref().and(link.heard_at).map(at), gossip };
        let tables = self.store.snapshot();
        let Some(node) = tables.nodes.get(id) else { return };
        let lost = link.lost_at.map(at);
        let verdict = judge(node, heard, at(leader.since), lost, &self.patience, at(self.now));
        if verdict.state != node.status.state {
            let mut node = Node::clone(node);
            node.status.state = verdict.state;
            node.status.message = verdict.message.into();
            node.status.since = self.wall();
            self.write(vec![Change::Node(Write::update(node))]);
        }
    }

    /// One turn of the control loop: answers of proposals, then the next decision.
    fn lead(&mut self) {
        for _ in 0..PASSES_PER_MOMENT_MAX {
            let Some(mut leader) = self.leader.take() else { return };
            self.land(&mut leader);
            leader.follow(&self.store);
            let decided = self.decide(&mut leader);
            self.leader = Some(leader);
            if !decided {
                return;
            }
        }
        self.broken.get_or_insert("decisions go in a circle".into());
    }

    /// Proposals whose time has come are written, or turn out lost.
    fn land(&mut self, leader: &mut Leader) {
        if leader.flights.is_empty() {
            return;
        }
        let (due, rest) =
            std::mem::take(&mut leader.flights).into_iter().partition(|flight| flight.at <= self.now);
        leader.flights = rest;
        let due: Vec<Flight> = due;
        for flight in due {
            let changes = (self.tamper)(&self.store.snapshot(), flight.changes.clone());
            let written = flight.is_written && (changes.is_empty() || self.write(changes));
            if !written || !flight.is_answered {
                leader.planner.failed(&flight.changes);
                leader.failed = true;
                leader.retry_at = self.now + CONTROL_RETRY;
            }
        }
        if leader.flights.is_empty() && !leader.failed {
            self.acknowledge(leader);
        }
    }

    fn acknowledge(&mut self, leader: &mut Leader) {
        for (node, number, reported) in leader.unwritten.drain(..) {
            let session = self.links.get_mut(&node).and_then(|link| link.session.as_mut());
            if let Some(session) = session.filter(|session| session.number == number) {
                let doubled = self.unkind.doubled;
                session.down.send(self.now, Down::Reported(reported), &mut self.random, doubled);
            }
        }
    }

    /// Decides if anything is due; true when that was all within this moment.
    fn decide(&mut self, leader: &mut Leader) -> bool {
        if !leader.flights.is_empty() || (leader.failed && self.now < leader.retry_at) {
            return false;
        }
        if self.now >= leader.full_pass_at {
            leader.full_pass_at = self.now + FULL_PASS_PERIOD;
            leader.planner.look_at_all();
        }
        let tables = self.store.snapshot();
        let now = self.wall().max(tables.newest);
        if leader.unwritten.is_empty() && leader.planner.next_at().is_none_or(|at| at > now) {
            return false;
        }
        leader.failed = false;
        let decision = leader.planner.decide(&tables, &mut Ctx { now, random: &mut self.ids });
        for why in &decision.reasons {
            self.trace.push(format!("{:>7} because {why}", self.now.as_millis()));
        }
        if decision.proposals.is_empty() {
            self.acknowledge(leader);
            return true;
        }
        // One log: what was proposed first is written first.
        let mut at = self.now;
        for changes in decision.proposals {
            at += Duration::from_millis([0, 0, 20, 150][self.below(4) as usize]);
            let unlucky = self.unkind.proposals > 0 && self.below(self.unkind.proposals) == 0;
            let is_written = !unlucky || self.below(2) == 0;
            leader.flights.push(Flight { at, changes, is_written, is_answered: !unlucky });
        }
        true
    }

    /// Sends a node what has changed for it, and brings it what has arrived.
    fn tell(&mut self, node: NodeId) {
        let link = self.links.get_mut(&node).expect("every node has one");
        let Some(session) = &mut link.session else { return };
        let tables = self.store.snapshot();
        let look = if std::mem::take(&mut session.resync) { Told::everything } else { Told::update };
        for update in look(&mut session.told, &tables, node) {
            session.down.send(
                self.now,
                Down::Assignments(Box::new(update)),
                &mut self.random,
                self.unkind.doubled,
            );
        }
        let mut arrived = Vec::new();
        while let Some(message) = session.down.arrived(self.now) {
            arrived.push(message);
        }
        for message in arrived {
            self.deliver(node, message);
        }
    }

    fn deliver(&mut self, node: NodeId, message: Down) {
        let machine = &self.machines[&node];
        match message {
            Down::Reported(number) => drop(machine.with_agent(|agent| agent.reported(number))),
            Down::Assignments(update) => {
                let gap = machine.with_agent(|agent| agent.update(*update).err()).flatten();
                if let Some(gap) = gap {
                    if let Some(session) = self.links.get_mut(&node).and_then(|link| link.session.as_mut()) {
                        session.is_lost = true;
                    }
                    self.note(format_args!("node {} has a gap: {gap}", node.0));
                }
            }
        }
    }

    /// What each machine that is up knows of the mesh.
    pub fn meshes(&self) -> Vec<(NodeId, Arc<MeshTable>)> {
        let mesh = |machine: &Machine| {
            let table = machine.with_agent(|agent| agent.mesh().borrow().clone())?;
            Some((machine.id, table))
        };
        self.machines.values().filter_map(mesh).collect()
    }

    /// Of the machines that are up.
    pub fn holdings(&self) -> Vec<Holding> {
        self.machines.values().filter_map(Machine::holding).collect()
    }

    pub fn truths(&self) -> Vec<Truth> {
        let truth = |machine: &Machine| Truth {
            node: machine.id,
            running: machine.running(),
            present: machine.present(),
        };
        self.machines.values().map(truth).collect()
    }
}

fn node(id: NodeId) -> Node {
    let mut node = Node::new(id, Role::Worker, Availability::Active);
    node.status.state = NodeState::Ready;
    let description = node.description.get_or_insert_default();
    description.hostname = format!("n{}", id.0);
    description.runtimes = vec!["fake".into()];
    description.resources.nano_cpus = 8_000_000_000;
    description.resources.memory_bytes = 16 << 30;
    node
}

/// One change in a line.
fn brief(change: &Change) -> String {
    fn write<T: manager::store::Object>(write: &Write<T>, value: impl Fn(&T) -> String) -> String {
        match write {
            Write::Create(object) => format!("new {}", value(object)),
            Write::Update { value: object, .. } => value(object),
            Write::Remove { id, .. } => format!("no more {id}"),
        }
    }
    match change {
        Change::Cluster(_) => "cluster".into(),
        Change::Payload(_) => "secret or config".into(),
        Change::Network(_) => "network".into(),
        Change::Node(change) => write(change, |node| {
            format!("node {} {} {}", node.id.0, node.status.state, node.spec.availability)
        }),
        Change::Service(change) => write(change, |service| {
            let update = service.update.as_ref().map(|update| update.state.to_string());
            format!(
                "service {} {} spec {} {}",
                service.id.short(),
                service.name(),
                service.current.number,
                update.unwrap_or_default()
            )
        }),
        Change::Task(change) => write(change, |task| {
            let node = task.node.map_or(0, |node| node.0);
            let (state, desired) = (task.status.state, task.desired);
            format!(
                "task {} of {} slot {} spec {} on {node}: {state}, wanted {desired}",
                task.id,
                task.service.short(),
                task.slot,
                task.spec
            )
        }),
    }
}
