//! Small facts that travel with gossip: who leads, who said goodbye, who is refused.
//!
//! A fact is a format version and a value, at most `GOSSIP_FACT_BYTES_MAX` long. What is not understood is passed
//! over: a newer node may know more kinds. Leader hints and goodbyes spread from node to node, each new one once.
//! A refusal is believed only from a manager, so managers send it to every node themselves.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foca::{BroadcastHandler, Invalidates};
use serde::{Deserialize, Serialize};

use crate::limits::{GOSSIP_DENIED_MAX, GOSSIP_FACT_BYTES_MAX, GOSSIP_LEFT_MAX};
use crate::object::NodeId;
use crate::time::{Monotonic, Timestamp};
use crate::wire::codec;

use super::digest::Digest;
use super::identity::{GENERATION_MAX, Identity};

/// A hint not refreshed for this long is replaced by any other, whatever its term: terms start over when a
/// cluster is rebuilt from one survivor.
const HINT_LIFETIME: Duration = Duration::from_secs(15);

/// Who says that it leads. A hint, nothing more: raft decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderHint {
    pub term: u64,
    pub node: NodeId,
    pub addr: SocketAddr,
}

/// A removed node, refused until its last certificate has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    pub node: NodeId,
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fact {
    /// `sequence` grows while the same leader repeats its hint.
    Leader {
        hint: LeaderHint,
        sequence: u64,
    },
    Left {
        node: NodeId,
        generation: u64,
    },
    Denied(Denied),
    /// To one node: you were known in a higher generation than you use.
    Outlived {
        node: NodeId,
        generation: u64,
    },
    /// To one node: this is the sum of the members I see as active; tell me what you know that I do not.
    Compare(Digest),
    /// To one node: members as I see them, where we differ. Old news to all others, so not passed on.
    Members(Vec<Listed>),
}

/// A member in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub id: Identity,
    pub incarnation: u16,
    pub active: bool,
}

impl Fact {
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }
}

/// Who brings a fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    Ourselves,
    Manager,
    #[default]
    Worker,
}

/// What is known, and what of it is news.
#[derive(Debug, Default)]
pub(super) struct FactBook {
    pub now: Monotonic,
    pub source: Source,
    leader: Option<(LeaderHint, u64)>,
    leader_heard: Monotonic,
    left: BTreeMap<NodeId, u64>,
    left_order: VecDeque<NodeId>,
    denied: BTreeMap<NodeId, Timestamp>,
    /// In the order they came; whoever drives foca takes them after each call.
    pub news: Vec<Fact>,
    pub passed_over: u64,
}

impl FactBook {
    pub fn leader(&self) -> Option<LeaderHint> {
        self.leader.map(|(hint, _)| hint)
    }

    pub fn is_denied(&self, node: NodeId) -> bool {
        self.denied.contains_key(&node)
    }

    pub fn denied(&self) -> impl Iterator<Item = Denied> {
        self.denied.iter().map(|(node, until)| Denied { node: *node, until: *until })
    }

    /// The goodbye of a node, where one is remembered.
    pub fn goodbye(&self, node: NodeId) -> Option<Fact> {
        self.left.get(&node).map(|generation| Fact::Left { node, generation: *generation })
    }

    /// Whether this life of the node ended with a goodbye.
    pub fn has_left(&self, id: &Identity) -> bool {
        self.left.get(&id.node).is_some_and(|generation| *generation >= id.generation)
    }

    /// What a node that asks should know from us. Only a manager would be believed about refusals.
    pub fn to_tell(&self, manager: bool) -> Vec<Vec<u8>> {
        let leader = self.leader.map(|(hint, sequence)| Fact::Leader { hint, sequence });
        let denied = self.denied().filter(|_| manager).map(Fact::Denied);
        leader.into_iter().chain(denied).map(|fact| fact.encode()).collect()
    }

    /// The fact with which a leader repeats its hint, or gives it for the first time.
    pub fn next_hint(&self, hint: LeaderHint) -> Fact {
        let sequence = match self.leader {
            Some((known, sequence)) if known.term == hint.term => sequence.saturating_add(1),
            _ => 1,
        };
        Fact::Leader { hint, sequence }
    }

    /// Takes a fact in. The key says that it should be passed on.
    pub fn learn(&mut self, bytes: &[u8]) -> Option<Key> {
        let fact = match codec::decode::<Fact>(bytes) {
            Ok(fact @ Fact::Members(_)) => fact,
            Ok(fact) if bytes.len() <= GOSSIP_FACT_BYTES_MAX => fact,
            Ok(_) | Err(_) => {
                self.passed_over += 1;
                return None;
            }
        };
        match fact {
            Fact::Leader { hint, sequence } => self.learn_leader(hint, sequence),
            Fact::Left { node, generation } => self.learn_left(node, generation),
            Fact::Denied(denied) => {
                self.learn_denied(denied);
                None
            }
            Fact::Compare(_) => {
                self.news.push(fact);
                None
            }
            Fact::Members(mut members) => {
                members.retain(|member| member.id.generation <= GENERATION_MAX);
                self.news.push(Fact::Members(members));
                None
            }
            Fact::Outlived { generation, .. } => {
                match generation < GENERATION_MAX {
                    true => self.news.push(fact),
                    false => self.passed_over += 1,
                }
                None
            }
        }
    }

    fn learn_leader(&mut self, hint: LeaderHint, sequence: u64) -> Option<Key> {
        let fresh = self.now.since(self.leader_heard) < HINT_LIFETIME;
        if let Some((known, known_sequence)) = self.leader {
            let newer = (hint.term, sequence) > (known.term, known_sequence);
            if !newer && (fresh || hint.term == known.term) {
                return None;
            }
        }
        let changed = self.leader() != Some(hint);
        self.leader = Some((hint, sequence));
        self.leader_heard = self.now;
        if changed {
            self.news.push(Fact::Leader { hint, sequence });
        }
        Some(Key::Leader)
    }

    fn learn_left(&mut self, node: NodeId, generation: u64) -> Option<Key> {
        match self.left.get_mut(&node) {
            Some(known) if *known >= generation => return None,
            Some(known) => *known = generation,
            None => {
                self.left.insert(node, generation);
                self.left_order.push_back(node);
                if self.left.len() > GOSSIP_LEFT_MAX
                    && let Some(oldest) = self.left_order.pop_front()
                {
                    self.left.remove(&oldest);
                }
            }
        }
        self.news.push(Fact::Left { node, generation });
        Some(Key::Left(node))
    }

    fn learn_denied(&mut self, denied: Denied) {
        if self.source == Source::Worker {
            self.passed_over += 1;
            return;
        }
        if self.denied.get(&denied.node).is_some_and(|until| *until >= denied.until) {
            return;
        }
        self.denied.insert(denied.node, denied.until);
        self.news.push(Fact::Denied(denied));
        if self.denied.len() > GOSSIP_DENIED_MAX {
            let soonest = self.denied.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node);
            soonest.map(|node| self.denied.remove(&node));
        }
    }
}

/// What a queued fact is about: a newer one about the same replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Leader,
    Left(NodeId),
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self == other
    }
}

/// The book as foca and its driver share it: foca owns its handler and does not lend it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedBook(Arc<Mutex<FactBook>>);

impl SharedBook {
    pub fn open(&self) -> MutexGuard<'_, FactBook> {
        self.0.lock().expect("no holder panics")
    }
}

impl BroadcastHandler<Identity> for SharedBook {
    type Key = Key;
    type Error = Infallible;

    fn receive_item(&mut self, data: &[u8], _sender: Option<&Identity>) -> Result<Option<Key>, Infallible> {
        Ok(self.open().learn(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hint(term: u64, node: u128) -> LeaderHint {
        LeaderHint { term, node: NodeId(node), addr: "10.0.0.1:2377".parse().unwrap() }
    }

    fn leader(term: u64, node: u128, sequence: u64) -> Vec<u8> {
        Fact::Leader { hint: hint(term, node), sequence }.encode()
    }

    fn denied(node: u128, until: u64) -> Vec<u8> {
        Fact::Denied(Denied { node: NodeId(node), until: Timestamp(until) }).encode()
    }

    #[test]
    fn a_higher_term_replaces_and_a_repeat_is_passed_on_without_being_news() {
        let mut book = FactBook::default();
        #[rustfmt::skip]
        let steps = [ // seconds, term, node, sequence, passed on, known afterwards, news so far
            ( 0, 3, 1, 1, true,  (3, 1), 1),
            ( 0, 3, 1, 1, false, (3, 1), 1),
            ( 1, 3, 1, 2, true,  (3, 1), 1),
            ( 1, 2, 9, 9, false, (3, 1), 1),
            ( 2, 4, 2, 1, true,  (4, 2), 2),
            ( 3, 3, 1, 3, false, (4, 2), 2),
            (16, 3, 1, 4, false, (4, 2), 2), // the known one is still fresh
            (17, 1, 5, 1, true,  (1, 5), 3), // not refreshed for 15 s: a rebuilt cluster starts over
            (40, 1, 5, 1, false, (1, 5), 3), // an old repeat of the same term stays old
        ];
        for (seconds, term, node, sequence, passed_on, known, news) in steps {
            book.now = Monotonic(Duration::from_secs(seconds));
            assert_eq!(
                book.learn(&leader(term, node, sequence)).is_some(),
                passed_on,
                "{seconds} s, term {term}"
            );
            assert_eq!(book.leader(), Some(hint(known.0, known.1)), "{seconds} s, term {term}");
            assert_eq!(book.news.len(), news, "{seconds} s, term {term}");
        }
    }

    #[test]
    fn only_managers_refuse_nodes() {
        let mut book = FactBook::default();
        for (source, believed) in
            [(Source::Worker, false), (Source::Manager, true), (Source::Ourselves, true)]
        {
            book.source = source;
            let node = 10 + source as u128;
            assert_eq!(book.learn(&denied(node, 5)), None, "managers send it themselves");
            assert_eq!(book.is_denied(NodeId(node)), believed, "{source:?}");
        }
    }

    #[test]
    fn a_goodbye_counts_for_that_life_and_earlier_ones() {
        let mut book = FactBook::default();
        let left = |generation| Fact::Left { node: NodeId(1), generation }.encode();
        assert!(book.learn(&left(5)).is_some());
        assert!(book.learn(&left(5)).is_none());
        assert!(book.learn(&left(4)).is_none());
        let life = |generation| Identity::new(NodeId(1), "10.0.0.1:1".parse().unwrap(), generation, false);
        assert_eq!([4, 5, 6].map(|generation| book.has_left(&life(generation))), [true, true, false]);
    }

    #[test]
    fn the_book_is_bounded() {
        let mut book = FactBook { source: Source::Manager, ..Default::default() };
        for node in 0..3_000 {
            book.learn(&denied(node, 1_000 + node as u64));
            book.learn(&Fact::Left { node: NodeId(node), generation: 1 }.encode());
        }
        assert_eq!(
            (book.denied.len(), book.left.len(), book.left_order.len()),
            (GOSSIP_DENIED_MAX, GOSSIP_LEFT_MAX, GOSSIP_LEFT_MAX)
        );
        assert!(book.is_denied(NodeId(2_999)) && !book.is_denied(NodeId(0)), "the longest refusals stay");
    }

    #[test]
    fn facts_are_small() {
        let addr = "[2001:db8:1:2:3:4:5:6]:65535".parse().unwrap();
        let node = NodeId(u128::MAX);
        let hint = LeaderHint { term: u64::MAX, node, addr };
        let id = Identity::new(node, addr, u64::MAX, true);
        let digest = Digest::of([id].iter());
        for fact in [
            Fact::Leader { hint, sequence: u64::MAX },
            Fact::Left { node, generation: u64::MAX },
            Fact::Compare(digest),
        ] {
            assert!(fact.encode().len() <= GOSSIP_FACT_BYTES_MAX, "{fact:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_the_unknown_is_passed_over(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut book = FactBook::default();
            let key = book.learn(&bytes);
            prop_assert!(book.passed_over == 1 || key.is_some() || !book.news.is_empty());
        }
    }
}
