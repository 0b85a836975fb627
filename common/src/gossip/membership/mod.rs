//! One node's part in gossip: datagrams, time and commands in; datagrams, a deadline and events out.
//!
//! No clock, no socket, no task: whoever drives it brings the time and carries the datagrams. All waiting datagrams
//! are to be handed in before `tick`, so that answers which came while this node was stalled count.
//!
//! Foca does SWIM: random probes, suspicion, spreading. Added here: a watcher for every node, doubt about oneself
//! (`health`), asking a suspect directly until the verdict, telling managers a verdict at once, calling the dead so
//! that partitions merge, goodbyes, and facts.
//!
//! Here: what comes in and goes out. In `react`: what foca and the facts say, and what follows. In `due`: what timers do.
//! In `watch`: questions and verdicts. In `tell`: what one certain node is told. Elsewhere: the task that drives all this (`shell`), whom to call
//! (`contacts`), what changed (`roster`).

mod due;
mod react;
mod tell;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use bytes::Bytes;
use foca::{Foca, Incarnation, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::limits::GOSSIP_MEMBERS_MAX;
use crate::object::cluster::LivenessPreset;
use crate::object::{NodeId, Role};
use crate::time::Monotonic;
use crate::transport::Peer;

use super::contacts::Contacts;
use super::facts::{Denied, Fact, LeaderHint, SharedBook, Source};
use super::health::Health;
use super::identity::Identity;
use super::outbox::Outbox;
use super::packet::{self, PacketCodec};
use super::presets::{Preset, transmissions};
use super::roster::{Event, Member, Roster};
use super::timers::TimerQueue;

use due::{COMPARE_PERIOD_MIN, Chore, Due, GOODBYE_ROUNDS, JOIN_PERIOD_MIN, PUSH_ROUNDS};
use tell::TOLD_DIRECTLY_MAX;

/// No member takes less than this in a packet.
const MEMBER_BYTES_MIN: usize = 8;

/// What a node starts with.
#[derive(Clone, Debug)]
pub struct Start {
    pub me: Identity,
    pub preset: LivenessPreset,
    /// Managers to call first.
    pub contacts: Vec<Peer>,
    pub seed: u64,
}

/// Numbers for people who wonder what is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: u64,
    /// Not a gossip datagram, damaged, or of an unknown format.
    pub malformed: u64,
    /// Claims to come from another node than it does.
    pub foreign: u64,
    pub from_denied: u64,
    /// Would have made the list of members longer than it may get.
    pub over_full: u64,
    /// Facts of an unknown kind, too long, or not believed.
    pub facts_passed_over: u64,
    /// How often this node woke late.
    pub stalls: u64,
    /// Foca said that we drive it wrongly.
    pub misuse: u64,
}

pub struct Membership {
    foca: Foca<Identity, PacketCodec, StdRng, SharedBook>,
    outbox: Outbox,
    book: SharedBook,
    preset: Preset,
    timers: TimerQueue<Due>,
    chores: [Option<Monotonic>; Chore::COUNT],
    health: Health,
    roster: Roster,
    contacts: Contacts,
    rng: StdRng,
    phase: Phase,
    /// Foca takes part: somebody has heard of our present identity.
    connected: bool,
    /// Who sent the datagram that is being read.
    speaker: Option<Identity>,
    /// Watched members that have not answered yet, by generation.
    asked: BTreeMap<NodeId, u64>,
    /// Members that we ourselves suspect, by generation and incarnation.
    suspicions: BTreeMap<NodeId, (u64, Incarnation)>,
    leading: Option<u64>,
    push: Push,
    join_period: Duration,
    compare_period: Duration,
    members_at_compare: usize,
    transmissions: NonZeroU8,
    spread_facts_until: Monotonic,
    /// Until when the lists sent so far use up what may be sent.
    lists_paid_until: Monotonic,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Member,
    Leaving { rounds_left: u32 },
    Gone,
}

/// How far the present refusals have been sent to everybody.
#[derive(Debug, Default)]
struct Push {
    rounds_left: u32,
    after: NodeId,
}

impl Membership {
    pub fn new(start: Start, now: Monotonic) -> Self {
        let preset = Preset::of(start.preset);
        let me = Identity::new(start.me.node, start.me.addr, start.me.generation, start.me.manager);
        let book = SharedBook::default();
        let mut rng = StdRng::seed_from_u64(start.seed);
        let foca_rng = StdRng::from_rng(&mut rng);
        let foca = Foca::with_custom_broadcast(
            me,
            preset.config(transmissions(1, 0)),
            foca_rng,
            PacketCodec::default(),
            book.clone(),
        );
        let mut membership = Self {
            foca,
            outbox: Outbox::default(),
            book,
            preset,
            timers: TimerQueue::new(),
            chores: Default::default(),
            health: Health::default(),
            roster: Roster::default(),
            contacts: Contacts::new(me.node, start.contacts),
            rng,
            phase: Phase::Member,
            connected: false,
            speaker: None,
            asked: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            leading: None,
            push: Push::default(),
            join_period: JOIN_PERIOD_MIN,
            compare_period: COMPARE_PERIOD_MIN,
            members_at_compare: 0,
            transmissions: transmissions(1, 0),
            spread_facts_until: now,
            lists_paid_until: now,
            counters: Counters::default(),
        };
        membership.arm(Chore::Join, Duration::ZERO, now);
        membership
    }

    /// A datagram from a node that has proved to be `from`. Bad ones are counted and dropped.
    pub fn datagram(&mut self, now: Monotonic, from: NodeId, role: Role, datagram: &[u8]) {
        self.observe(now);
        if self.phase != Phase::Member {
            return; // whoever hears from us now would call us back into the cluster
        }
        self.counters.received += 1;
        let Ok((header, packet)) = packet::open(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        if header.src.node != from || from == self.me().node {
            self.counters.foreign += 1;
            return;
        }
        if self.book.open().is_denied(from) {
            self.counters.from_denied += 1;
            return;
        }
        // Only near the bound is it worth looking at each member that a packet brings.
        let known = self.foca.iter_membership_state().len();
        let crowded = known + packet.len() / MEMBER_BYTES_MIN > GOSSIP_MEMBERS_MAX;
        if crowded && !self.has_room_for(packet::updates(packet).iter().chain([&header.src])) {
            self.counters.over_full += 1;
            return;
        }
        self.tell_if_outlived(&header.src);
        let source = if role == Role::Manager { Source::Manager } else { Source::Worker };
        self.note_context(now, source);
        self.speaker = Some(header.src);
        match self.foca.handle_data(packet, &mut self.outbox) {
            Ok(()) => {
                self.health.heard();
                if matches!(header.message, Message::Ack(_)) {
                    self.answered(from);
                }
            }
            Err(error) => self.count(&error),
        }
        self.settle(now);
        self.speaker = None;
        if header.message == Message::Announce && self.roster.is_active(from) {
            self.tell_facts(header.src);
        }
    }

    /// Fires what is due. Hand in all waiting datagrams first.
    pub fn tick(&mut self, now: Monotonic) {
        self.observe(now);
        while let Some(due) = self.timers.pop_due(self.health.awake(now)) {
            self.health.fired();
            self.note_context(now, Source::Ourselves);
            self.fire(due, now);
            self.settle(now);
        }
    }

    /// When `tick` has something to do.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.timers.next_at().map(|at| self.health.machine_time(at))
    }

    pub fn next_send(&mut self) -> Option<(Peer, Bytes)> {
        self.outbox.sends.pop_front()
    }

    pub fn next_event(&mut self) -> Option<Event> {
        self.roster.events.pop_front()
    }

    /// A node whose entry in `members` has changed since it was last named here.
    pub fn next_touched(&mut self) -> Option<NodeId> {
        self.roster.touched.pop_first()
    }

    /// Gives more nodes to call when this one is alone.
    pub fn meet(&mut self, now: Monotonic, peers: impl IntoIterator<Item = Peer>) {
        peers.into_iter().for_each(|peer| self.contacts.learn(peer));
        if self.phase != Phase::Member {
            return;
        }
        if self.connected {
            self.arm(Chore::Merge, Duration::ZERO, now);
        } else {
            self.join_period = JOIN_PERIOD_MIN;
            self.arm(Chore::Join, Duration::ZERO, now);
        }
    }

    /// This node leads in `term`, from now until told otherwise.
    pub fn lead(&mut self, now: Monotonic, term: u64) {
        if self.phase != Phase::Member {
            return;
        }
        self.leading = Some(term);
        self.arm(Chore::Hint, Duration::ZERO, now);
    }

    pub fn stop_leading(&mut self) {
        self.leading = None;
    }

    /// Whom to refuse.
    pub fn denied(&self) -> BTreeSet<NodeId> {
        self.book.open().denied().map(|denied| denied.node).collect()
    }

    /// Tells every node to refuse one. Only managers are believed.
    pub fn deny(&mut self, now: Monotonic, denied: Denied) {
        if self.phase != Phase::Member {
            return;
        }
        self.note_context(now, Source::Ourselves);
        self.book.open().learn(&Fact::Denied(denied).encode());
        self.push = Push { rounds_left: PUSH_ROUNDS, after: NodeId::default() };
        self.settle(now);
        self.arm(Chore::Push, Duration::ZERO, now);
    }

    /// Tells the others about another role or address of this node, under a new generation.
    pub fn change(&mut self, now: Monotonic, manager: bool, addr: SocketAddr) {
        let me = *self.me();
        let changed = Identity::new(me.node, addr, me.generation + 1, manager);
        if (changed.manager, changed.addr) != (me.manager, me.addr) && self.phase == Phase::Member {
            self.become_identity(changed, now);
            self.settle(now);
        }
    }

    /// Says goodbye, so that nobody takes the silence for a death. Nothing is listened to from here on.
    pub fn leave(&mut self, now: Monotonic) {
        if self.phase != Phase::Member {
            return;
        }
        self.phase = Phase::Leaving { rounds_left: GOODBYE_ROUNDS };
        self.leading = None;
        let goodbye = self.goodbye();
        self.note_context(now, Source::Ourselves);
        let mut config = self.preset.config(self.transmissions);
        config.num_indirect_probes = TOLD_DIRECTLY_MAX.try_into().expect("not zero");
        self.misuse(|membership| membership.foca.set_config(config));
        self.misuse(|membership| membership.foca.add_broadcast(&goodbye.encode()).map(|_| ()));
        self.book.open().news.clear();
        self.timers.clear();
        self.chores = Default::default();
        self.arm(Chore::Goodbye, Duration::ZERO, now);
        self.tick(now);
    }

    /// The goodbye is said: this node may stop.
    pub fn has_left(&self) -> bool {
        self.phase == Phase::Gone
    }

    pub fn me(&self) -> &Identity {
        self.foca.identity()
    }

    /// All other nodes, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.roster.all()
    }

    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.roster.get(node)
    }

    pub fn leader(&self) -> Option<LeaderHint> {
        self.book.open().leader()
    }

    pub fn counters(&self) -> Counters {
        let facts_passed_over = self.book.open().passed_over;
        Counters { facts_passed_over, stalls: self.health.stalls(), ..self.counters }
    }

    fn observe(&mut self, now: Monotonic) {
        self.health.observe(now, self.timers.next_at());
    }

    fn note_context(&mut self, now: Monotonic, source: Source) {
        let mut book = self.book.open();
        book.now = now;
        book.source = source;
    }

    /// Foca reports what is wrong with a packet, and what is wrong with us.
    fn count(&mut self, error: &foca::Error) {
        use foca::Error::*;
        match error {
            DataTooBig | MalformedPacket | Decode(_) | CustomBroadcast(_) | IndirectForOurselves => {
                self.counters.malformed += 1;
            }
            DataFromOurselves => self.counters.foreign += 1,
            NotUndead | SameIdentity | NotConnected | IncompleteProbeCycle | Encode(_) | InvalidConfig => {
                self.counters.misuse += 1;
            }
        }
    }

    fn misuse(&mut self, call: impl FnOnce(&mut Self) -> Result<(), foca::Error>) {
        if let Err(error) = call(self) {
            self.count(&error);
        }
    }

    /// Whether all of these may become members.
    fn has_room_for<'a>(&self, ids: impl Iterator<Item = &'a Identity>) -> bool {
        let new = ids.filter(|id| self.roster.get(id.node).is_none()).count();
        new == 0 || self.foca.iter_membership_state().len() + new <= GOSSIP_MEMBERS_MAX
    }
}

#[cfg(test)]
#[path = "hostile_test.rs"]
mod hostile_test;
