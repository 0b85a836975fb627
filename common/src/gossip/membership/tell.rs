//! What one certain node is told, in packets of our own.

use std::time::Duration;

use foca::{Header, Member as Update, Message, State};
use rand::RngExt;
use rand::seq::IteratorRandom;

use crate::gossip::digest::Digest;
use crate::gossip::facts::{Fact, Listed};
use crate::gossip::identity::Identity;
use crate::gossip::packet;
use crate::time::Monotonic;

use super::Membership;

/// Members that are told a verdict or a goodbye at once, managers first.
pub(super) const TOLD_DIRECTLY_MAX: usize = 8;

/// Buckets listed in one answer.
const BUCKETS_TOLD_MAX: usize = 16;
/// Members of the longest form in one packet.
const MEMBERS_PER_PACKET: usize = 18;
/// Lists take at most this share of what a node sends: a packet per so long,
const LIST_PACKET_COST: Duration = Duration::from_millis(1);
/// and so much in one go.
const LISTS_AHEAD_MAX: Duration = Duration::from_millis(100);

impl Membership {
    pub(super) fn tell(
        &mut self,
        dst: Identity,
        message: Message<Identity>,
        updates: &[Update<Identity>],
        facts: &[Vec<u8>],
    ) -> usize {
        // Our incarnation is foca's secret. Zero is never news, and being heard at all is enough.
        let header = Header { src: *self.me(), src_incarnation: 0, dst, message };
        let (datagram, taken) = packet::compose(&header, updates, facts);
        self.outbox.sends.push_back((dst.peer(), datagram));
        taken
    }

    /// All facts worth knowing.
    pub(super) fn tell_facts(&mut self, dst: Identity) {
        let facts = self.book.open().to_tell(self.me().manager);
        self.tell_all(dst, &facts);
    }

    /// Sends facts in as many packets as they take; returns how many these were.
    fn tell_all(&mut self, dst: Identity, mut facts: &[Vec<u8>]) -> u32 {
        let mut packets = 0;
        while !facts.is_empty() {
            match self.tell(dst, Message::Broadcast, &[], facts) {
                0 => break,
                taken => facts = &facts[taken..],
            }
            packets += 1;
        }
        packets
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.foca.iter_members().map(|member| member.id()).chain([self.me()]))
    }

    /// Lists members where the other's digest differs. Beyond what may be sent there is nothing: it will ask again.
    pub(super) fn tell_members(&mut self, dst: Identity, theirs: &Digest, now: Monotonic) {
        let buckets = self.digest().differing(theirs).some(BUCKETS_TOLD_MAX, self.rng.random());
        if buckets.is_empty() || self.lists_paid_until > now.plus(LISTS_AHEAD_MAX) {
            return;
        }
        let (me, book) = (self.me().node, self.book.open());
        let told = self.foca.iter_membership_state().filter(|member| {
            let node = member.id().node;
            buckets.contains(node) && node != dst.node && node != me
        });
        let (mut goodbyes, mut members) = (Vec::new(), Vec::new());
        for member in told {
            let active = member.state() != State::Down;
            goodbyes.extend(book.goodbye(member.id().node).filter(|_| !active));
            members.push(Listed { id: *member.id(), incarnation: member.incarnation(), active });
        }
        drop(book);
        // Goodbyes first: they explain who is listed as gone.
        let goodbyes = goodbyes.into_iter().map(|goodbye| goodbye.encode());
        let lists = members.chunks(MEMBERS_PER_PACKET).map(|part| Fact::Members(part.to_vec()).encode());
        let packets = self.tell_all(dst, &goodbyes.chain(lists).collect::<Vec<_>>());
        self.lists_paid_until = self.lists_paid_until.max(now).plus(LIST_PACKET_COST * packets);
    }

    pub(super) fn tell_managers(&mut self, update: &Update<Identity>) {
        for target in self.told_directly() {
            if target.manager && target.node != update.id().node {
                self.tell(target, Message::Gossip, std::slice::from_ref(update), &[]);
            }
        }
    }

    /// The leader, managers, and in a small cluster everybody.
    pub(super) fn told_directly(&mut self) -> Vec<Identity> {
        let leader = self.leader().and_then(|hint| self.roster.get(hint.node)).copied();
        let leader = leader.filter(|member| member.state.is_active()).map(|member| member.id);
        let others = self.roster.active().map(|member| member.id).filter(|id| Some(*id) != leader);
        let managers = others.clone().filter(|id| id.manager).take(TOLD_DIRECTLY_MAX);
        let workers = others.filter(|id| !id.manager);
        let mut told: Vec<Identity> = leader.into_iter().chain(managers).collect();
        let room = TOLD_DIRECTLY_MAX.saturating_sub(told.len());
        told.extend(workers.sample(&mut self.rng, room));
        told
    }

    /// A node that lost its generation (an old backup, a clock that went back) would knock in vain: it learns here
    /// above which one it has to start.
    pub(super) fn tell_if_outlived(&mut self, src: &Identity) {
        let Some(known) = self.roster.get(src.node).map(|member| member.id) else { return };
        if known.generation > src.generation {
            let fact = Fact::Outlived { node: known.node, generation: known.generation };
            self.tell(*src, Message::Broadcast, &[], &[fact.encode()]);
        }
    }
}
