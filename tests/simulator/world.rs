//! Nodes that gossip, and the queue of what happens next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::gossip::{Event, Identity, Membership, Start};
use common::object::cluster::LivenessPreset;
use common::object::{NodeId, Role};
use common::random::{Random, SeededRandom};
use common::time::Monotonic;
use common::transport::Peer;

use super::network::Network;

/// Managers of every simulated cluster: the first nodes.
pub const MANAGERS: usize = 3;

pub struct World {
    pub now: Monotonic,
    pub network: Network,
    pub nodes: Vec<Node>,
    /// All that nodes noticed, but not the many first meetings.
    pub log: Vec<Noticed>,
    /// Every node stops running now and then: mean time between, and the longest stop.
    pub stalls: Option<(Duration, Duration)>,
    random: SeededRandom,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    by_addr: BTreeMap<SocketAddr, usize>,
}

pub struct Node {
    pub id: NodeId,
    pub addr: SocketAddr,
    pub generation: u64,
    pub manager: bool,
    /// None while it is not started.
    pub membership: Option<Membership>,
    /// Since when it does not answer, for what is measured from there.
    pub ended_at: Monotonic,
    wake_at: Option<Monotonic>,
    paused_until: Option<Monotonic>,
    /// What came while it did not run.
    inbox: Vec<(usize, Bytes)>,
}

/// One event as one node noticed it.
#[derive(Clone, Copy, Debug)]
pub struct Noticed {
    pub at: Monotonic,
    pub by: usize,
    pub event: Event,
    /// A node was taken for dead that ran.
    pub false_alarm: bool,
}

struct Scheduled {
    at: Monotonic,
    sequence: u64,
    what: What,
}

enum What {
    Deliver { from: usize, to: usize, payload: Bytes },
    Wake(usize),
    Stall(usize),
    Resume(usize),
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Monotonic(Duration::from_secs(1)),
            network: Network::new(seed),
            nodes: Vec::new(),
            log: Vec::new(),
            stalls: None,
            random: SeededRandom::new(seed, "world"),
            queue: BinaryHeap::new(),
            sequence: 0,
            by_addr: BTreeMap::new(),
        }
    }

    /// A cluster of `count` nodes that start within half a second and know the managers' addresses.
    pub fn with_nodes(seed: u64, count: usize) -> Self {
        let mut world = Self::new(seed);
        for index in 0..count {
            world.add(index < MANAGERS);
        }
        for index in 0..count {
            world.start(index);
            world.run(Duration::from_micros(500_000 / count as u64));
        }
        world
    }

    /// The same, when all know each other.
    pub fn converged(seed: u64, count: usize) -> Self {
        let mut world = Self::with_nodes(seed, count);
        world.settle(Duration::from_secs(60)).expect("nodes find each other within a minute");
        world.log.clear();
        world
    }

    pub fn add(&mut self, manager: bool) -> usize {
        let index = self.nodes.len();
        let addr = SocketAddr::from(([10, 0, (index >> 8) as u8, index as u8], 2377));
        let id = NodeId::generate(&mut self.random);
        self.by_addr.insert(addr, index);
        self.nodes.push(Node {
            id,
            addr,
            generation: 1_000,
            manager,
            membership: None,
            ended_at: Monotonic::default(),
            wake_at: None,
            paused_until: None,
            inbox: Vec::new(),
        });
        if let Some((mean, _)) = self.stalls {
            self.stall_later(index, mean, Duration::ZERO);
        }
        index
    }

    /// Lets every node stop running at random: about every `mean`, for up to `longest`.
    pub fn stall_at_random(&mut self, mean: Duration, longest: Duration) {
        self.stalls = Some((mean, longest));
        for index in 0..self.nodes.len() {
            self.stall_later(index, mean, Duration::ZERO);
        }
    }

    /// Starts a node as its disk remembers it.
    pub fn start(&mut self, index: usize) {
        let seed = self.random.next_u64();
        let contacts = self.nodes.iter().filter(|node| node.manager);
        let contacts = contacts.map(|node| Peer { node: node.id, addr: node.addr }).collect();
        let node = &mut self.nodes[index];
        let me = Identity::new(node.id, node.addr, node.generation, node.manager);
        let start = Start { me, preset: LivenessPreset::Lan, contacts, seed };
        node.membership = Some(Membership::new(start, self.now));
        node.inbox.clear();
        node.paused_until = None;
        self.after(index);
    }

    /// The node ends without a word.
    pub fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.membership = None;
        node.ended_at = self.now;
        node.wake_at = None;
    }

    /// Starts a crashed node again, in its next generation.
    pub fn restart(&mut self, index: usize) {
        self.nodes[index].generation += 1;
        self.start(index);
    }

    /// The node's address is another from now on; what is sent to the old one is lost.
    pub fn move_to(&mut self, index: usize, addr: SocketAddr) {
        self.by_addr.remove(&self.nodes[index].addr);
        self.by_addr.insert(addr, index);
        self.nodes[index].addr = addr;
    }

    /// The node does not run for so long; datagrams wait for it.
    pub fn pause(&mut self, index: usize, duration: Duration) {
        let until = self.now.plus(duration).max(self.nodes[index].paused_until.unwrap_or_default());
        self.nodes[index].paused_until = Some(until);
        self.schedule(until, What::Resume(index));
    }

    /// Asks something of a node's membership, which must be running.
    pub fn tell<T>(&mut self, index: usize, command: impl FnOnce(&mut Membership, Monotonic) -> T) -> T {
        let membership = self.nodes[index].membership.as_mut().expect("the node runs");
        let answer = command(membership, self.now);
        self.after(index);
        answer
    }

    pub fn membership(&self, index: usize) -> &Membership {
        self.nodes[index].membership.as_ref().expect("the node runs")
    }

    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].membership.is_some())
    }

    pub fn index_of(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("a node of this world")
    }

    pub fn random_below(&mut self, bound: usize) -> usize {
        (self.random.fraction() * bound as f64) as usize
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= end) {
            let Reverse(next) = self.queue.pop().expect("just seen");
            self.now = next.at;
            self.happen(next.what);
        }
        self.now = end;
    }

    /// Runs until `done`, looking every 20 ms. How long it took; none when it did not happen in time.
    pub fn run_until(&mut self, longest: Duration, done: impl Fn(&World) -> bool) -> Option<Duration> {
        let begin = self.now;
        while self.now.since(begin) <= longest {
            if done(self) {
                return Some(self.now.since(begin));
            }
            self.run(Duration::from_millis(20));
        }
        None
    }

    /// Runs until every running node sees exactly the running nodes as active, each in its present life.
    pub fn settle(&mut self, longest: Duration) -> Option<Duration> {
        // Whoever was last to miss somebody is asked first: looking at all of a thousand each time takes long.
        let last = std::cell::Cell::new(0);
        self.run_until(longest, |world| {
            let misses = |index: &usize| {
                let runs = world.nodes[*index].membership.is_some();
                runs && !world.sees_all_running(*index)
            };
            match Some(last.get()).filter(misses).or_else(|| world.running().find(misses)) {
                Some(index) => last.set(index),
                None => return true,
            }
            false
        })
    }

    pub fn sees_all_running(&self, index: usize) -> bool {
        let membership = self.membership(index);
        let active = membership.members().filter(|member| member.state.is_active()).count();
        let running = self.running().count();
        active + 1 == running
            && self.running().filter(|other| *other != index).all(|other| {
                let node = &self.nodes[other];
                let me = self.membership(other).me();
                membership
                    .member(node.id)
                    .is_some_and(|seen| seen.state.is_active() && seen.id == *me && seen.id.addr == node.addr)
            })
    }

    /// When `by` first noticed such an event about `node`, since the log was cleared.
    pub fn noticed(&self, by: usize, which: impl Fn(&Event) -> bool) -> Option<Monotonic> {
        self.log.iter().find(|noticed| noticed.by == by && which(&noticed.event)).map(|noticed| noticed.at)
    }

    /// Who took a running node for dead.
    pub fn false_alarms(&self) -> Vec<Noticed> {
        self.log.iter().filter(|noticed| noticed.false_alarm).copied().collect()
    }

    fn is_false_alarm(&self, event: &Event) -> bool {
        let Event::Down(member) = event else { return false };
        let node = &self.nodes[self.index_of(member.id.node)];
        node.membership.as_ref().is_some_and(|membership| membership.me().generation <= member.id.generation)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Deliver { from, to, payload } => self.deliver(from, to, payload),
            What::Wake(index) => {
                if self.nodes[index].wake_at == Some(self.now) && self.nodes[index].paused_until.is_none() {
                    self.wake(index);
                }
            }
            What::Stall(index) => {
                let Some((mean, longest)) = self.stalls else { return };
                let duration = longest.mul_f64(self.random.fraction());
                self.pause(index, duration);
                // From the end, so that stalls do not run together into one that is longer.
                self.stall_later(index, mean, duration);
            }
            What::Resume(index) => {
                if self.nodes[index].paused_until == Some(self.now) {
                    self.nodes[index].paused_until = None;
                    for (from, payload) in std::mem::take(&mut self.nodes[index].inbox) {
                        self.hand_in(from, index, &payload);
                    }
                    self.wake(index);
                }
            }
        }
    }

    fn wake(&mut self, index: usize) {
        let now = self.now;
        if let Some(membership) = &mut self.nodes[index].membership {
            membership.tick(now);
            self.after(index);
        }
    }

    fn deliver(&mut self, from: usize, to: usize, payload: Bytes) {
        // A cut also loses what is on its way.
        if !self.network.connects(from, to) {
            return;
        }
        if self.nodes[to].paused_until.is_some() {
            self.nodes[to].inbox.push((from, payload));
        } else {
            self.hand_in(from, to, &payload);
        }
    }

    fn hand_in(&mut self, from: usize, to: usize, payload: &Bytes) {
        let (now, sender) = (self.now, self.nodes[from].id);
        let role = if self.nodes[from].manager { Role::Manager } else { Role::Worker };
        if let Some(membership) = &mut self.nodes[to].membership {
            membership.datagram(now, sender, role, payload);
            self.after(to);
        }
    }

    /// Carries out what a node wants after it was asked or told something.
    fn after(&mut self, index: usize) {
        let Some(mut membership) = self.nodes[index].membership.take() else { return };
        while let Some((peer, payload)) = membership.next_send() {
            // As the real transport does: to that address, if that node is there.
            let Some(&to) = self.by_addr.get(&peer.addr) else { continue };
            if self.nodes[to].id != peer.node {
                continue;
            }
            if let Some(delay) = self.network.carry(index, to, payload.len()) {
                self.schedule(self.now.plus(delay), What::Deliver { from: index, to, payload });
            }
        }
        while let Some(event) = membership.next_event() {
            match event {
                Event::Up(_) => {}
                Event::Renewed { generation } => self.nodes[index].generation = generation,
                _ => {
                    let false_alarm = self.is_false_alarm(&event);
                    self.log.push(Noticed { at: self.now, by: index, event, false_alarm });
                }
            }
        }
        while membership.next_touched().is_some() {}
        let deadline = membership.deadline();
        self.nodes[index].membership = Some(membership);
        if let Some(deadline) = deadline {
            // Machines wake a little late.
            let uneven = Duration::from_micros((self.random.fraction() * 1_500.0) as u64);
            let at = deadline.max(self.now).plus(uneven);
            let node = &mut self.nodes[index];
            if node.wake_at.is_none_or(|wake_at| wake_at <= self.now || at < wake_at) {
                node.wake_at = Some(at);
                self.schedule(at, What::Wake(index));
            }
        }
    }

    fn stall_later(&mut self, index: usize, mean: Duration, busy: Duration) {
        let wait = busy + mean.mul_f64(-(1.0 - self.random.fraction()).ln());
        self.schedule(self.now.plus(wait), What::Stall(index));
    }

    fn schedule(&mut self, at: Monotonic, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.sequence, what }));
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}
