//! Which connection leads to which node: reuse, one dial for all who ask, a pause after failure, and what happens
//! when two connections to the same node meet.
//!
//! Both ends may dial at the same moment. Neither connection is refused then: each end uses the one that the smaller
//! id dialled, keeps serving the other, and closes it when nothing has used it for a while. Outside such a moment the
//! newer connection is used, because the peer has made it knowing that the older one was gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::close::Close;
use super::link::{Health, Link, Standing};
use crate::limits::{CONNECTIONS_PER_PEER_MAX, DATAGRAMS_WAITING_MAX, PROOF_RETRY, PROOFS_MAX};
use crate::object::NodeId;
use crate::time::{Monotonic, Timestamp};
use crate::transport::{Lane, Peer, TransportError};

/// Connections made within this time of each other were dialled at the same moment.
const SIMULTANEOUS: Duration = Duration::from_secs(2);
/// How long a surplus connection must be without stream before it is closed: longer than what is under way on it.
const SURPLUS_UNUSED: Duration = Duration::from_secs(1);
/// Pause after a failed dial: short enough not to delay a peer that is back, long enough not to cost a handshake
/// per heartbeat.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(300);
/// A link that was sent to and is silent this long is closed even when nobody suspects it.
const SILENCE_MAX: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Peers {
    slots: BTreeMap<(NodeId, Lane), Slot>,
    denied: BTreeSet<NodeId>,
    /// When a proof was last tried for with whom.
    proofs: BTreeMap<NodeId, Monotonic>,
    /// Raised when our own certificate says something else: what was begun before does not count any more.
    epoch: u64,
}

struct Slot {
    /// The first one is used; the others are served until they are unused.
    links: Vec<Arc<Link>>,
    dialling: bool,
    failure: Option<Failure>,
    waiting: VecDeque<Bytes>,
    news: watch::Sender<News>,
}

struct Failure {
    addr: SocketAddr,
    error: TransportError,
    at: Monotonic,
    pause: Duration,
}

/// What those who wait for a connection hear.
#[derive(Clone, Debug)]
pub(super) enum News {
    Nothing,
    Connected,
    Failed(TransportError),
}

/// What who wants a connection has to do.
pub(super) enum Step {
    Use(Arc<Link>),
    Wait(watch::Receiver<News>),
    /// Start a dial for all, and wait like the others. The number is for `add`.
    Dial(watch::Receiver<News>, u64),
    Fail(TransportError),
}

impl Default for Slot {
    fn default() -> Self {
        let (news, _) = watch::channel(News::Nothing);
        Self { links: Vec::new(), dialling: false, failure: None, waiting: VecDeque::new(), news }
    }
}

impl Slot {
    fn used(&self) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| link.is_open())
    }
}

impl Peers {
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How a connection to a peer is to be had now.
    pub fn step(&mut self, peer: Peer, lane: Lane, now: Monotonic) -> Step {
        if self.denied.contains(&peer.node) {
            return Step::Fail(unreachable(peer, Close::Removed.text()));
        }
        let slot = self.slots.entry((peer.node, lane)).or_default();
        if let Some(link) = slot.used() {
            return Step::Use(link.clone());
        }
        if slot.dialling {
            return Step::Wait(slot.news.subscribe());
        }
        if let Some(failure) = &slot.failure
            && failure.addr == peer.addr
            && now.since(failure.at) < failure.pause
        {
            return Step::Fail(failure.error.clone());
        }
        slot.dialling = true;
        Step::Dial(slot.news.subscribe(), self.epoch)
    }

    /// Keeps a datagram until there is a connection; the oldest goes when there are too many.
    pub fn queue(&mut self, node: NodeId, payload: Bytes) {
        if let Some(slot) = self.slots.get_mut(&(node, Lane::Control)) {
            if slot.waiting.len() == DATAGRAMS_WAITING_MAX {
                slot.waiting.pop_front();
            }
            slot.waiting.push_back(payload);
        }
    }

    /// Takes in a connection that was just made, by either side, unless it must not be.
    pub fn add(&mut self, link: Arc<Link>, own: NodeId, epoch: u64) -> Result<(), Close> {
        if self.denied.contains(&link.peer.node) {
            return Err(Close::Removed);
        }
        if epoch != self.epoch {
            return Err(Close::Renewed);
        }
        let slot = self.slots.entry((link.peer.node, link.lane)).or_default();
        slot.links.retain(|old| old.is_open());
        for old in &slot.links {
            // The peer dials again only when it has given up what it had.
            if old.dialled == link.dialled && link.since.since(old.since) > SIMULTANEOUS {
                old.close(Close::Replaced);
            }
        }
        slot.links.retain(|old| old.is_open());
        if slot.links.len() >= CONNECTIONS_PER_PEER_MAX
            && let Some(oldest) = slot.links.pop()
        {
            oldest.close(Close::Replaced);
        }
        let newer_first = match slot.links.first() {
            None => true,
            Some(used) => prefer_newer(
                Made { dialled: used.dialled, at: used.since },
                Made { dialled: link.dialled, at: link.since },
                own < link.peer.node,
            ),
        };
        for payload in slot.waiting.drain(..) {
            link.send_datagram(&payload);
        }
        slot.failure = None;
        slot.links.insert(if newer_first { 0 } else { slot.links.len() }, link);
        slot.news.send_replace(News::Connected);
        Ok(())
    }

    /// The end of the dial that `step` asked for.
    pub fn dialled(&mut self, peer: Peer, lane: Lane, result: Result<(), TransportError>, now: Monotonic) {
        let Some(slot) = self.slots.get_mut(&(peer.node, lane)) else { return };
        slot.dialling = false;
        let Err(error) = result else { return };
        if slot.used().is_some() {
            return; // the peer came to us meanwhile
        }
        let pause = slot.failure.as_ref().map_or(PAUSE_MIN, |last| (last.pause * 2).min(PAUSE_MAX));
        slot.failure = Some(Failure { addr: peer.addr, error: error.clone(), at: now, pause });
        slot.waiting.clear();
        slot.news.send_replace(News::Failed(error));
    }

    pub fn remove(&mut self, link: &Arc<Link>) {
        if let Some(slot) = self.slots.get_mut(&(link.peer.node, link.lane)) {
            slot.links.retain(|other| !Arc::ptr_eq(other, link));
        }
        self.forget_unused(None);
    }

    pub fn deny(&mut self, nodes: BTreeSet<NodeId>) {
        for link in self.links() {
            if nodes.contains(&link.peer.node) {
                link.close(Close::Removed);
            }
        }
        self.denied = nodes;
    }

    /// Our own certificate says something else: every connection is made anew with it.
    pub fn start_over(&mut self) {
        self.epoch += 1;
        for link in self.links() {
            link.close(Close::Renewed);
        }
        for slot in self.slots.values_mut() {
            slot.failure = None;
        }
    }

    pub fn is_denied(&self, node: NodeId) -> bool {
        self.denied.contains(&node)
    }

    /// Has every peer prove itself anew; with `needed`, what it proved before counts for nothing.
    pub fn ask_for_proofs(&mut self, needed: bool) {
        self.links().for_each(|link| link.ask_for_proof(needed));
        self.proofs.clear();
    }

    /// A look at everything, once a second. Gives the peers to meet for a new proof.
    pub fn tick(&mut self, now: Monotonic, wall: Timestamp) -> Vec<Peer> {
        let mut unproved = BTreeMap::new();
        for slot in self.slots.values() {
            for surplus in slot.links.iter().filter(|link| link.is_open()).skip(1) {
                if surplus.unused_for() >= SURPLUS_UNUSED {
                    surplus.close(Close::Replaced);
                }
            }
            for link in &slot.links {
                match link.standing(now, wall) {
                    Standing::Good => {}
                    Standing::Renew if link.is_open() => {
                        unproved.insert(link.peer.node, link.addr());
                    }
                    Standing::Renew => {}
                    Standing::Lapsed => link.close(Close::Expired),
                }
                match link.check(SILENCE_MAX) {
                    Health::Well => {}
                    Health::Quiet => link.send_probe(),
                    Health::Silent => link.close(Close::Unresponsive),
                }
            }
        }
        self.forget_unused(Some(now));
        self.proofs.retain(|_, at| now.since(*at) < PROOF_RETRY);
        let mut due = Vec::new();
        for (node, addr) in unproved {
            if due.len() < PROOFS_MAX && !self.proofs.contains_key(&node) {
                self.proofs.insert(node, now);
                due.push(Peer { node, addr });
            }
        }
        due
    }

    pub fn of(&self, node: NodeId) -> impl Iterator<Item = &Arc<Link>> {
        [Lane::Control, Lane::Bulk]
            .into_iter()
            .filter_map(move |lane| self.slots.get(&(node, lane)))
            .flat_map(|slot| slot.links.iter())
    }

    pub fn used(&self, node: NodeId, lane: Lane) -> Option<&Arc<Link>> {
        self.slots.get(&(node, lane)).and_then(Slot::used)
    }

    fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.slots.values().flat_map(|slot| slot.links.iter())
    }

    /// Slots that say nothing go, so that nodes which come and go leave nothing behind.
    fn forget_unused(&mut self, now: Option<Monotonic>) {
        self.slots.retain(|_, slot| {
            let paused = match (&slot.failure, now) {
                (Some(failure), Some(now)) => now.since(failure.at) < 10 * PAUSE_MAX,
                (Some(_), None) => true,
                (None, _) => false,
            };
            !slot.links.is_empty() || slot.dialling || paused
        });
    }
}

pub(super) fn unreachable(peer: Peer, reason: &str) -> TransportError {
    TransportError::Unreachable { node: peer.node, addr: peer.addr, reason: reason.into() }
}

/// Who made a connection, and when.
#[derive(Clone, Copy)]
struct Made {
    dialled: bool,
    at: Monotonic,
}

/// Which of two live connections to a peer carries what we open. Both ends come to the same answer.
fn prefer_newer(older: Made, newer: Made, own_is_smaller: bool) -> bool {
    let met = older.dialled != newer.dialled && newer.at.since(older.at) <= SIMULTANEOUS;
    !met || newer.dialled == own_is_smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_choose_the_same_of_two_connections() {
        let at = |milliseconds| Monotonic(Duration::from_millis(milliseconds));
        // Two connections between a small and a large id, each seen by each end at its own time.
        for small_sees_its_own_first in [true, false] {
            for large_sees_its_own_first in [true, false] {
                let chosen_is_smalls = |own_first: bool, own_is_smaller: bool| {
                    let (older, newer) = (own_first, !own_first); // dialled by us?
                    let newer_wins = prefer_newer(
                        Made { dialled: older, at: at(0) },
                        Made { dialled: newer, at: at(5) },
                        own_is_smaller,
                    );
                    let dialled_by_us = if newer_wins { newer } else { older };
                    dialled_by_us == own_is_smaller
                };
                assert!(chosen_is_smalls(small_sees_its_own_first, true));
                assert!(chosen_is_smalls(large_sees_its_own_first, false));
            }
        }
    }

    #[test]
    fn outside_such_a_moment_the_newer_is_used() {
        let made = |dialled, seconds| Made { dialled, at: Monotonic(Duration::from_secs(seconds)) };
        for own_is_smaller in [true, false] {
            assert!(prefer_newer(made(true, 0), made(false, 9), own_is_smaller));
            assert!(prefer_newer(made(false, 0), made(true, 9), own_is_smaller));
            assert!(prefer_newer(made(false, 0), made(false, 1), own_is_smaller));
        }
    }
}
