//! Whom to call: to find a cluster when alone, to meet those believed dead, to compare notes.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};

use crate::limits::GOSSIP_CONTACTS_MAX;
use crate::object::NodeId;
use crate::time::Monotonic;
use crate::transport::Peer;

use super::identity::Identity;
use super::roster::{Member, MemberState, Roster};

/// The dead of longer ago are called at every third turn only.
const LONG_DOWN: Duration = Duration::from_secs(300);
/// How many nodes in all call one dead node per turn, about, however large the cluster is.
const CALLERS_WANTED: usize = 8;

/// Managers met or given, kept though they are gone: whoever returns can be found through them.
#[derive(Debug)]
pub(super) struct Contacts {
    me: NodeId,
    known: BTreeMap<NodeId, Peer>,
    turn: usize,
}

impl Contacts {
    pub fn new(me: NodeId, first: impl IntoIterator<Item = Peer>) -> Self {
        let mut contacts = Self { me, known: BTreeMap::new(), turn: 0 };
        first.into_iter().for_each(|peer| contacts.learn(peer));
        contacts
    }

    pub fn learn(&mut self, peer: Peer) {
        let room = self.known.len() < GOSSIP_CONTACTS_MAX || self.known.contains_key(&peer.node);
        if peer.node != self.me && room {
            self.known.insert(peer.node, peer);
        }
    }

    pub fn remove(&mut self, node: NodeId) {
        self.known.remove(&node);
    }

    /// The next to call when nobody answers: contacts and known members by turns.
    pub fn whom_to_join(&mut self, roster: &Roster, rng: &mut StdRng) -> Option<Identity> {
        self.turn += 1;
        let mut member = || roster.all().map(|member| member.id).choose(&mut *rng);
        let contact = self.known.values().nth((self.turn / 2) % self.known.len().max(1));
        let contact = contact.map(|peer| self.latest(*peer, roster));
        match self.turn % 2 {
            0 => member().or(contact),
            _ => contact.or_else(member),
        }
    }

    /// One of those who are down, so that the sides of a healed partition find each other; often none, when there
    /// are many others who may be the ones to call.
    pub fn whom_to_merge(&mut self, roster: &Roster, now: Monotonic, rng: &mut StdRng) -> Option<Identity> {
        self.turn += 1;
        let patient_turn = self.turn.is_multiple_of(3);
        let worth_a_call = |member: &Member| {
            let recently = now.since(member.since) < LONG_DOWN;
            member.state == MemberState::Down && (recently || patient_turn)
        };
        let down: Vec<Identity> =
            roster.all().filter(|member| worth_a_call(member)).map(|member| member.id).collect();
        let gone = self.absent(roster).filter(|_| patient_turn).map(|peer| self.latest(peer, roster));
        let everybody = roster.all().count();
        let wanted = (down.len() * CALLERS_WANTED) as f64 / everybody.max(1) as f64;
        let called = (fraction(rng) < wanted).then(|| down.choose(&mut *rng).copied()).flatten();
        called.or_else(|| gone.choose(rng))
    }

    /// Whether there is anybody for `whom_to_merge` to call, now or later.
    pub fn misses_somebody(&self, roster: &Roster) -> bool {
        roster.all().any(|member| member.state == MemberState::Down) || self.absent(roster).next().is_some()
    }

    /// An active member to compare notes with; every second time a manager, who knows who is refused.
    pub fn whom_to_compare(&mut self, roster: &Roster, rng: &mut StdRng) -> Option<Identity> {
        self.turn += 1;
        let manager = self.turn.is_multiple_of(2);
        let ids = roster.active().map(|member| member.id);
        ids.clone().filter(|id| manager && id.manager).choose(&mut *rng).or_else(|| ids.choose(rng))
    }

    fn absent<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = Peer> + 'a {
        self.known.values().copied().filter(|peer| !roster.is_active(peer.node))
    }

    /// A contact that is a member is called where the member was seen last.
    fn latest(&self, peer: Peer, roster: &Roster) -> Identity {
        roster.get(peer.node).map_or(Identity::of_peer(peer), |member| member.id)
    }
}

/// Evenly spread in `[0, 1)`.
pub(super) fn fraction(rng: &mut StdRng) -> f64 {
    use rand::RngExt;
    rng.random::<f64>()
}
