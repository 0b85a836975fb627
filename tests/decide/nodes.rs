//! A cluster as its leader sees it: nodes that gossip, their sessions, and a leader that writes their states.
//!
//! Gossip is the simulator's own world, moved on in steps of a millisecond. Here is what follows from what; `faults`
//! is what befalls the nodes, `raft` what the decisions feel of raft.

mod faults;
mod raft;

use std::time::Duration;

use common::gossip::Event;
use common::limits::{CONTROL_RETRY, LEADER_WAIT, PROPOSAL_CHANGES_MAX, SESSION_CONNECT_WAIT};
use common::object::{LivenessPreset, Node, NodeId, NodeState, Role};
use common::random::{Random, SeededRandom};
use common::time::{Monotonic, Timestamp};
use common::wire::session::Parting;
use manager::preset::Pace;
use manager::store::{Change, Outcome, Proposal, Store, Write};

use super::leader::{Lead, News, Open};
use super::schedule::Schedule;
use super::sessions::{Line, Session};
use crate::invariants::{heard_is_never_down, silent_is_down_soon, time_goes_forward::TimeGoesForward};
use crate::simulator::world::{MANAGERS, World};
use crate::simulator::{ms, seconds};

/// How long a connection that brings nothing is kept.
const IDLE: Duration = seconds(10);
const RAFT_LOOKS: Duration = ms(25);
const WALL: u64 = 1_800_000_000_000_000_000;

pub struct Cluster {
    pub world: World,
    pub store: Store,
    pub moves: Vec<Move>,
    /// The longest that anything silent may stay undetected while one leader leads.
    pub silence_bound: Duration,
    pub pace: Pace,
    /// How far each manager's wall clock is off.
    pub skew: Vec<i64>,
    sessions: Vec<Session>,
    leads: Vec<Option<Lead>>,
    raft: Raft,
    well_since: Vec<Option<Monotonic>>,
    paused_until: Vec<Option<Monotonic>>,
    /// Has said goodbye and is about to end.
    stopping: Vec<bool>,
    /// The goodbye it said when it last ran.
    parted: Vec<Option<Parting>>,
    stalls: Option<(Duration, Duration)>,
    time: TimeGoesForward,
    random: SeededRandom,
    schedule: Schedule<What>,
}

/// One change of a node's state, as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub at: Monotonic,
    pub node: usize,
    pub to: NodeState,
}

struct Raft {
    term: u64,
    leader: Option<usize>,
    followed_at: Monotonic,
    /// Since when it has been so at every look.
    followed_since: Monotonic,
    patience: Duration,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Knock { node: usize, number: u64 },
    Hello { node: usize, to: usize, number: u64 },
    Welcome { node: usize, to: usize, number: u64 },
    Refused { node: usize, number: u64, leader: Option<usize> },
    Lost { node: usize, number: u64 },
    GiveUp { node: usize, number: u64 },
    Beat { node: usize, number: u64 },
    Arrive { node: usize, to: usize, number: u64 },
    Ended { node: usize, to: usize, number: u64, goodbye: Option<Parting> },
    Idle { node: usize, to: usize, number: u64 },
    Turn { manager: usize, term: u64 },
    Written { manager: usize, term: u64 },
    Elected { manager: usize, term: u64 },
    Raft,
    Resume(usize),
    Stall(usize),
    Exit(usize),
}

impl Cluster {
    /// A cluster in which all know each other, somebody leads and every node is ready.
    pub fn ready(seed: u64, count: usize) -> Self {
        let world = World::converged(seed, count);
        let now = world.now;
        let mut cluster = Self {
            store: Store::new(),
            moves: Vec::new(),
            silence_bound: silent_is_down_soon::WORST,
            pace: Pace::of(LivenessPreset::Lan),
            skew: vec![0; count],
            sessions: vec![Session::new(); count],
            leads: (0..count).map(|_| None).collect(),
            raft: Raft { term: 1, leader: Some(0), followed_at: now, followed_since: now, patience: ms(400) },
            well_since: vec![Some(now); count],
            paused_until: vec![None; count],
            stopping: vec![false; count],
            parted: vec![None; count],
            stalls: None,
            time: TimeGoesForward::default(),
            random: SeededRandom::new(seed, "cluster"),
            schedule: Schedule::new(),
            world,
        };
        for index in 0..count {
            let role = if index < MANAGERS { Role::Manager } else { Role::Worker };
            let node = Node::new(cluster.world.nodes[index].id, role, Default::default());
            cluster.apply(0, vec![Change::Node(Write::Create(node))]).expect("the first of its id");
            cluster.sessions[index].reset(Line::Waiting);
            cluster.wait(index);
        }
        cluster.schedule.at(now, What::Elected { manager: 0, term: 1 });
        cluster.schedule.at(now, What::Raft);
        assert!(cluster.settle(seconds(10)).is_some(), "everybody is ready within 10 s");
        cluster.run(seconds(5));
        cluster.moves.clear();
        cluster
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.world.now.plus(duration);
        while self.world.now < end {
            let next = self.schedule.next_at().unwrap_or(end).min(end).min(self.world.now.plus(ms(1)));
            self.world.run(next.since(self.world.now));
            self.hear_gossip();
            while let Some((_, what)) = self.schedule.pop(self.world.now) {
                self.happen(what);
            }
        }
    }

    pub fn run_until(&mut self, longest: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let begin = self.world.now;
        while self.world.now.since(begin) <= longest {
            if done(self) {
                return Some(self.world.now.since(begin));
            }
            self.run(ms(5));
        }
        None
    }

    /// Runs until the store says ready of exactly the running nodes, and down of the others.
    pub fn settle(&mut self, longest: Duration) -> Option<Duration> {
        self.run_until(longest, |cluster| {
            (0..cluster.world.nodes.len()).all(|index| {
                let runs = cluster.runs(index);
                cluster.state(index) == if runs { NodeState::Ready } else { NodeState::Down }
            })
        })
    }

    pub fn state(&self, index: usize) -> NodeState {
        let id = self.world.nodes[index].id;
        self.store.snapshot().nodes.get(id).map(|node| node.status.state).unwrap_or_default()
    }

    pub fn leader(&self) -> Option<usize> {
        self.raft.leader.filter(|leader| self.leads[*leader].is_some())
    }

    pub fn runs(&self, index: usize) -> bool {
        self.world.nodes[index].membership.is_some()
    }

    pub fn is_paused(&self, index: usize) -> bool {
        self.paused_until[index].is_some()
    }

    pub fn random_below(&mut self, bound: usize) -> usize {
        (self.random.fraction() * bound as f64) as usize
    }

    /// How sessions stand, for a failing check.
    pub fn describe(&self) -> String {
        let leads = self.leads.iter().map(|lead| lead.as_ref().map(|lead| lead.term));
        let leads: Vec<_> = leads.take(MANAGERS).collect();
        let runs: Vec<bool> = (0..self.world.nodes.len()).map(|index| self.runs(index)).collect();
        format!("leader {:?} of {leads:?}, running {runs:?}, {:?}", self.raft.leader, self.sessions)
    }

    /// Looks at everything once more and says what the leader would write.
    pub fn would_write(&mut self) -> Vec<Change> {
        let leader = self.leader().expect("somebody leads");
        let (now, wall, tables) = (self.world.now, self.wall(leader), self.store.snapshot());
        let lead = self.leads[leader].as_mut().expect("just seen");
        lead.look_at_all(&tables);
        let pass = lead.turn(&tables, self.world.membership(leader), now, wall);
        self.turn_soon(leader, Duration::ZERO);
        pass.map(|pass| pass.changes).unwrap_or_default()
    }

    fn hear_gossip(&mut self) {
        for noticed in std::mem::take(&mut self.world.log) {
            let node = match noticed.event {
                Event::LeaderHint(hint) => {
                    let leader = self.world.index_of(hint.node);
                    self.hint(noticed.by, leader);
                    continue;
                }
                Event::Up(member)
                | Event::Rejoined(member)
                | Event::Changed { member, .. }
                | Event::Down(member)
                | Event::Left(member) => member.id.node,
                Event::Forgotten(node) => node,
                Event::Denied(_) | Event::Renewed { .. } => continue,
            };
            self.tell(noticed.by, News::Gossip(node));
        }
    }

    fn tell(&mut self, manager: usize, news: News) {
        if let Some(lead) = &mut self.leads[manager] {
            lead.inbox.push_back(news);
            self.turn_soon(manager, Duration::ZERO);
        }
    }

    fn turn_soon(&mut self, manager: usize, wait: Duration) {
        let at = self.world.now.plus(wait);
        let Some(lead) = &mut self.leads[manager] else { return };
        if lead.writing.is_none() && lead.turn_at.is_none_or(|before| at < before) {
            lead.turn_at = Some(at);
            self.schedule.at(at, What::Turn { manager, term: lead.term });
        }
    }

    /// Gossip names a leader to a node.
    fn hint(&mut self, node: usize, leader: usize) {
        if self.sessions[node].gossip == Some(leader) {
            return;
        }
        let session = &mut self.sessions[node];
        session.gossip = Some(leader);
        session.gossip_changed = true;
        match session.line {
            Line::Waiting => self.wait(node),
            Line::Open(to) => self.follow_hint(node, to),
            Line::Off | Line::Knocking(_) => {}
        }
    }

    fn follow_hint(&mut self, node: usize, to: usize) {
        let session = &mut self.sessions[node];
        if !std::mem::take(&mut session.gossip_changed) || session.gossip == Some(to) {
            return;
        }
        session.hint = session.gossip;
        let number = session.number;
        self.send(node, to, What::Ended { node, to, number, goodbye: None });
        self.wait(node);
    }

    fn wait(&mut self, node: usize) {
        let fraction = self.random.fraction();
        let session = &mut self.sessions[node];
        let number = session.begin(Line::Waiting);
        let pause = session.next_pause(fraction);
        let pause = if session.gossip_changed { Duration::ZERO } else { pause };
        self.schedule.at(self.world.now.plus(pause), What::Knock { node, number });
    }

    /// Sends something over the network, if it gets through at all; a lost packet is sent again.
    fn send(&mut self, from: usize, to: usize, what: What) -> bool {
        let reached = self.runs(to) && self.world.network.connects(from, to);
        if reached {
            let at = self.world.now.plus(self.travel());
            self.schedule.at(at, what);
        }
        reached
    }

    fn travel(&mut self) -> Duration {
        let mut delay = self.world.network.delay + self.world.network.jitter.mul_f64(self.random.fraction());
        let mut again = ms(40);
        while self.random.fraction() * 100.0 < self.world.network.loss_percent {
            delay += again;
            again *= 2;
        }
        delay
    }

    /// Who has to run for this to happen.
    fn owner(what: What) -> Option<usize> {
        match what {
            What::Knock { node, .. }
            | What::Welcome { node, .. }
            | What::Refused { node, .. }
            | What::Lost { node, .. }
            | What::GiveUp { node, .. }
            | What::Beat { node, .. }
            | What::Exit(node) => Some(node),
            What::Hello { to, .. }
            | What::Arrive { to, .. }
            | What::Ended { to, .. }
            | What::Idle { to, .. } => Some(to),
            What::Turn { manager, .. } | What::Written { manager, .. } | What::Elected { manager, .. } => {
                Some(manager)
            }
            What::Raft | What::Resume(_) | What::Stall(_) => None,
        }
    }

    fn happen(&mut self, what: What) {
        let now = self.world.now;
        if let Some(until) = Self::owner(what).and_then(|owner| self.paused_until[owner]) {
            // Whatever waits for a machine to go on comes in any order.
            let uneven = Duration::from_micros((self.random.fraction() * 900.0) as u64 + 1);
            let at = until.plus(uneven);
            if let What::Turn { manager, term } = what
                && let Some(lead) = self.leads[manager].as_mut().filter(|lead| lead.term == term)
                && lead.turn_at.is_some()
            {
                lead.turn_at = Some(at);
            }
            self.schedule.at(at, what);
            return;
        }
        match what {
            What::Knock { node, number } => self.knock(node, number),
            What::Hello { node, to, number } => self.hello(node, to, number),
            What::Welcome { node, to, number } => {
                let session = &mut self.sessions[node];
                if session.number == number && session.line == Line::Knocking(to) {
                    session.open(to, now);
                    self.schedule.at(now, What::Beat { node, number });
                    self.follow_hint(node, to);
                }
            }
            What::Refused { node, number, leader } => {
                if self.sessions[node].number == number {
                    self.sessions[node].hint = leader;
                    self.wait(node);
                }
            }
            What::Lost { node, number } => {
                if self.sessions[node].number == number {
                    self.wait(node);
                }
            }
            What::GiveUp { node, number } => {
                let session = &self.sessions[node];
                if session.number == number && matches!(session.line, Line::Knocking(_)) {
                    self.wait(node);
                }
            }
            What::Beat { node, number } => self.beat(node, number),
            What::Arrive { node, to, number } => self.arrive(node, to, number),
            What::Ended { node, to, number, goodbye } => {
                let id = self.world.nodes[node].id;
                if self.session_at(to, id).is_some_and(|open| open.number == number) {
                    if let Some(parting) = goodbye {
                        self.tell(to, News::Goodbye(id, parting));
                    }
                    self.leads[to].as_mut().expect("just seen").sessions.remove(&id);
                    self.tell(to, News::Closed(id));
                }
            }
            What::Idle { node, to, number } => {
                let id = self.world.nodes[node].id;
                let Some(open) = self.session_at(to, id).filter(|open| open.number == number) else { return };
                let end = open.heard_at.plus(IDLE);
                match end <= now {
                    true => self.happen(What::Ended { node, to, number, goodbye: None }),
                    false => self.schedule.at(end, what),
                }
            }
            What::Turn { manager, term } => self.turn(manager, term),
            What::Written { manager, term } => self.written(manager, term),
            What::Elected { manager, term } => {
                if self.raft.leader == Some(manager) && self.raft.term == term && self.runs(manager) {
                    let me = self.world.nodes[manager].id;
                    self.leads[manager] = Some(Lead::new(me, term, self.pace.patience, now));
                    self.world.tell(manager, |membership, now| membership.lead(now, term));
                    self.hint(manager, manager);
                    self.turn_soon(manager, Duration::ZERO);
                }
            }
            What::Raft => self.look_at_raft(),
            What::Resume(index) => {
                if self.paused_until[index].is_some_and(|until| until <= now) {
                    self.paused_until[index] = None;
                    self.look_whether_well(index);
                }
            }
            What::Stall(index) => {
                let Some((mean, longest)) = self.stalls else { return };
                let length = longest.mul_f64(self.random.fraction());
                self.pause(index, length);
                self.stall_later(index, mean + length);
            }
            // Unless it crashed and was started anew meanwhile.
            What::Exit(index) if self.stopping[index] => self.crash(index),
            What::Exit(_) => {}
        }
    }

    fn session_at(&self, manager: usize, node: NodeId) -> Option<Open> {
        self.leads[manager].as_ref()?.sessions.get(&node).copied()
    }

    fn knock(&mut self, node: usize, number: u64) {
        if self.sessions[node].number != number || self.sessions[node].line != Line::Waiting {
            return;
        }
        let session = &mut self.sessions[node];
        session.gossip_changed = false;
        let to = session.target(MANAGERS);
        let number = session.begin(Line::Knocking(to));
        // A handshake goes to and fro before anything is said.
        if self.runs(to) && self.world.network.connects(node, to) {
            let at = self.world.now.plus(self.travel() + self.travel() + self.travel());
            self.schedule.at(at, What::Hello { node, to, number });
        }
        self.schedule.at(self.world.now.plus(SESSION_CONNECT_WAIT), What::GiveUp { node, number });
    }

    fn hello(&mut self, node: usize, to: usize, number: u64) {
        let (now, id) = (self.world.now, self.world.nodes[node].id);
        if !self.runs(to) || self.sessions[node].number != number {
            return;
        }
        let Some(lead) = &mut self.leads[to] else {
            let leader = self.raft.leader.filter(|leader| *leader != to);
            self.send(to, node, What::Refused { node, number, leader });
            return;
        };
        lead.sessions.insert(id, Open { number, heard_at: now });
        self.tell(to, News::Opened(id));
        self.schedule.at(now.plus(IDLE), What::Idle { node, to, number });
        self.send(to, node, What::Welcome { node, to, number });
    }

    fn beat(&mut self, node: usize, number: u64) {
        let now = self.world.now;
        let Session { line: Line::Open(to), number: present, .. } = self.sessions[node] else { return };
        if present != number {
            return;
        }
        if now.since(self.sessions[node].acknowledged_at) >= IDLE {
            self.wait(node);
            return;
        }
        if self.runs(to) && self.world.network.connects(node, to) {
            let at = now.plus(self.travel()).max(self.sessions[node].arrived_at);
            self.sessions[node].arrived_at = at;
            self.schedule.at(at, What::Arrive { node, to, number });
        }
        self.schedule.at(now.plus(self.pace.heartbeat_period), What::Beat { node, number });
    }

    fn arrive(&mut self, node: usize, to: usize, number: u64) {
        let (now, id) = (self.world.now, self.world.nodes[node].id);
        if !self.runs(to) || !self.world.network.connects(node, to) {
            return;
        }
        let open = self.leads[to].as_mut().and_then(|lead| lead.sessions.get_mut(&id));
        match open.filter(|open| open.number == number) {
            Some(open) => {
                open.heard_at = now;
                if self.world.network.connects(to, node) && self.sessions[node].number == number {
                    self.sessions[node].acknowledged_at = now;
                }
            }
            None => drop(self.send(to, node, What::Lost { node, number })),
        }
    }

    fn turn(&mut self, manager: usize, term: u64) {
        let (now, wall, tables) = (self.world.now, self.wall(manager), self.store.snapshot());
        let Some(lead) = self.leads[manager].as_mut() else { return };
        if lead.term != term || lead.writing.is_some() || lead.turn_at.is_none_or(|at| at > now) {
            return;
        }
        lead.turn_at = None;
        match lead.turn(&tables, self.world.membership(manager), now, wall) {
            Some(pass) => {
                lead.writing = Some(pass);
                let commit = ms(1) + ms(7).mul_f64(self.random.fraction());
                self.schedule.at(now.plus(commit), What::Written { manager, term });
            }
            None => self.turn_at_next(manager),
        }
    }

    fn turn_at_next(&mut self, manager: usize) {
        let now = self.world.now;
        let Some(lead) = &self.leads[manager] else { return };
        let wait = if lead.inbox.is_empty() { lead.next_at(now).since(now) } else { Duration::ZERO };
        self.turn_soon(manager, wait);
    }

    /// A majority has the write, or never will.
    fn written(&mut self, manager: usize, term: u64) {
        let now = self.world.now;
        let is_leader = self.raft.leader == Some(manager) && self.raft.term == term;
        let Some(lead) = self.leads[manager].as_mut().filter(|lead| lead.term == term) else { return };
        let Some(pass) = lead.writing.take() else { return };
        let mut all = false;
        if is_leader && self.has_quorum(manager) {
            all = true;
            for group in pass.changes.chunks(PROPOSAL_CHANGES_MAX) {
                let before = self.store.snapshot();
                if self.apply(manager, group.to_vec()).is_err() {
                    all = false;
                    continue;
                }
                for change in group {
                    let Change::Node(Write::Update { value, .. }) = change else { continue };
                    let from = before.nodes.get(value.id).expect("it was updated").status.state;
                    self.moved(value, from, &pass);
                }
            }
        } else if now.since(pass.begun) < LEADER_WAIT {
            self.leads[manager].as_mut().expect("just seen").writing = Some(pass);
            self.schedule.at(now.plus(ms(20)), What::Written { manager, term });
            return;
        }
        self.leads[manager].as_mut().expect("just seen").written(&pass.dirty, all);
        match all {
            true => self.turn_at_next(manager),
            false => self.turn_soon(manager, CONTROL_RETRY),
        }
    }

    fn moved(&mut self, node: &Node, from: NodeState, pass: &super::leader::Pass) {
        let index = self.world.index_of(node.id);
        let to = node.status.state;
        if from != to {
            self.moves.push(Move { at: self.world.now, node: index, to });
        }
        if from != to && to == NodeState::Down {
            let truth = heard_is_never_down::Truth {
                well_since: self.well_since[index],
                heard_at: pass.heard.get(&node.id).copied(),
            };
            heard_is_never_down::check(node, truth, self.pace.patience.session_silence, pass.begun);
        }
    }

    fn apply(&mut self, manager: usize, changes: Vec<Change>) -> Outcome {
        let at = self.wall(manager);
        let index = self.store.snapshot().version.0 + 1;
        let outcome = self.store.apply(index, &Proposal { id: self.random.next_u64().max(1), at, changes });
        self.time.check(&self.store.snapshot());
        outcome
    }

    fn wall(&self, manager: usize) -> Timestamp {
        let true_time = WALL + u64::try_from(self.world.now.0.as_nanos()).expect("a short simulation");
        Timestamp(true_time.saturating_add_signed(self.skew[manager]))
    }
}
