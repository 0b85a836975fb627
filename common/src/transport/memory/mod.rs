//! The transport in one process: nodes on a `Network` that delays, loses and cuts as it is told.
//!
//! Repeatable from a seed and from tokio's clock, paused or not. What it promises is what `quic` promises; what it
//! leaves out is what callers cannot see: handshakes, windows, packets.

mod pipe;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::pipe::Pipe;
use super::{
    Arrivals, Datagram, Incoming, Peer, PeerIdentity, Stream, StreamKind, Transport, TransportError,
};
use crate::limits::{DATAGRAM_ARRIVALS_MAX, GOSSIP_DATAGRAM_BYTES_MAX, STREAM_ARRIVALS_MAX};
use crate::object::{NodeId, Role};
use crate::random::{Random, SeededRandom};
use crate::shutdown::Tasks;

/// How long an open waits for a node that does not answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// What a lost piece of a stream costs on top of the round trip: the time until it is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(50);
const RESENDS_MAX: u32 = 8;
/// Datagrams under way in the whole network; further ones are lost.
const DATAGRAMS_UNDER_WAY_MAX: usize = 65_536;

/// What happens to packets from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkQuality {
    pub delay: Duration,
    /// Up to this much more, evenly spread.
    pub jitter: Duration,
    /// Part of the packets that are lost, 0 to 1. Streams repeat what is lost, and take longer.
    pub loss: f64,
}

/// The wires between all nodes. Clones are handles to the same network.
#[derive(Clone)]
pub struct Network(Arc<Wires>);

struct Wires {
    state: Mutex<State>,
    /// Tells those who wait for a connection that something changed.
    changes: watch::Sender<u64>,
}

struct State {
    random: SeededRandom,
    nodes: BTreeMap<SocketAddr, Plugged>,
    quality: LinkQuality,
    qualities: BTreeMap<(NodeId, NodeId), LinkQuality>,
    cut: BTreeSet<(NodeId, NodeId)>,
    isolated: BTreeSet<NodeId>,
    pipes: Vec<PipeEntry>,
    under_way: usize,
    instances: u64,
}

/// A node that is on the network.
#[derive(Clone)]
struct Plugged {
    instance: u64,
    identity: PeerIdentity,
    denied: BTreeSet<NodeId>,
    streams: mpsc::Sender<Incoming>,
    datagrams: mpsc::Sender<Datagram>,
}

struct PipeEntry {
    from: NodeId,
    to: NodeId,
    pipe: Weak<Pipe>,
}

/// One node's end of the network. Dropping it unplugs the node; its streams end.
pub struct MemoryTransport {
    network: Network,
    addr: SocketAddr,
    instance: u64,
    tasks: Tasks,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Wires {
            state: Mutex::new(State {
                random: SeededRandom::new(seed, "network"),
                nodes: BTreeMap::new(),
                quality: LinkQuality::default(),
                qualities: BTreeMap::new(),
                cut: BTreeSet::new(),
                isolated: BTreeSet::new(),
                pipes: Vec::new(),
                under_way: 0,
                instances: 0,
            }),
            changes: watch::channel(0).0,
        }))
    }

    /// Plugs a node in. One that was at this address before is gone, and what was open to it breaks.
    pub fn join(
        &self,
        identity: PeerIdentity,
        addr: SocketAddr,
        tasks: &Tasks,
    ) -> (Arc<MemoryTransport>, Arrivals) {
        let (streams, stream_arrivals) = mpsc::channel(STREAM_ARRIVALS_MAX);
        let (datagrams, datagram_arrivals) = mpsc::channel(DATAGRAM_ARRIVALS_MAX);
        let mut state = self.state();
        state.break_pipes(io::ErrorKind::ConnectionReset, |from, to| {
            from == identity.node || to == identity.node
        });
        state.instances += 1;
        let instance = state.instances;
        let plugged = Plugged { instance, identity, denied: BTreeSet::new(), streams, datagrams };
        state.nodes.insert(addr, plugged);
        drop(state);
        self.changed();
        let transport = MemoryTransport { network: self.clone(), addr, instance, tasks: tasks.child() };
        (Arc::new(transport), Arrivals { streams: stream_arrivals, datagrams: datagram_arrivals })
    }

    /// Takes a node off without a word, as SIGKILL does: its peers find out by silence, or when it is back.
    pub fn kill(&self, node: NodeId) {
        let mut state = self.state();
        state.nodes.retain(|_, plugged| plugged.identity.node != node);
        state.each_pipe(|from, to, pipe| {
            if from == node || to == node {
                pipe.kill();
            }
        });
    }

    /// For all links that have no quality of their own.
    pub fn set_quality(&self, quality: LinkQuality) {
        self.state().quality = quality;
    }

    /// For one link, in one direction.
    pub fn set_link_quality(&self, from: NodeId, to: NodeId, quality: LinkQuality) {
        self.state().qualities.insert((from, to), quality);
    }

    /// Nodes of different groups do not hear each other; a node in no group hears all.
    pub fn partition(&self, groups: &[&[NodeId]]) {
        self.change(|state| {
            for (index, group) in groups.iter().enumerate() {
                for other in groups.iter().skip(index + 1) {
                    for near in *group {
                        for far in *other {
                            state.cut.insert((*near, *far));
                            state.cut.insert((*far, *near));
                        }
                    }
                }
            }
        });
    }

    /// Nothing gets from one node to another; the other direction stays as it is.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.change(|state| {
            state.cut.insert((from, to));
        });
    }

    /// Pulls a node's cable, or plugs it in again.
    pub fn isolate(&self, node: NodeId, isolated: bool) {
        self.change(|state| {
            if isolated {
                state.isolated.insert(node);
            } else {
                state.isolated.remove(&node);
            }
        });
    }

    /// Ends all partitions, cuts and isolations. Quality stays.
    pub fn heal(&self) {
        self.change(|state| {
            state.cut.clear();
            state.isolated.clear();
        });
    }

    /// Opens a join stream as a caller without certificate.
    pub async fn open_join(&self, addr: SocketAddr) -> io::Result<Stream> {
        let Some(target) = self.state().nodes.get(&addr).cloned() else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        // Strangers have no id; nobody is called this, so no fault is ever theirs.
        let stranger = NodeId::default();
        let (near, far, _) = self.stream(stranger, target.identity.node);
        let incoming = Incoming { from: None, addr, kind: StreamKind::Join, stream: far };
        target.streams.send(incoming).await.map_err(|_| io::ErrorKind::ConnectionReset)?;
        Ok(near)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder panics")
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let mut blocks = Vec::new();
        state.each_pipe(|from, to, pipe| blocks.push((from, to, pipe)));
        for (from, to, pipe) in blocks {
            pipe.set_blocked(state.is_cut(from, to));
        }
        drop(state);
        self.changed();
    }

    /// Both ends of a new stream, and its two directions for faults.
    fn stream(&self, near: NodeId, far: NodeId) -> (Stream, Stream, [Arc<Pipe>; 2]) {
        let (near_send, far_recv, there) = self.pipe(near, far);
        let (far_send, near_recv, back) = self.pipe(far, near);
        let near = Stream { send: Box::new(near_send), recv: Box::new(near_recv) };
        let far = Stream { send: Box::new(far_send), recv: Box::new(far_recv) };
        (near, far, [there, back])
    }

    fn pipe(&self, from: NodeId, to: NodeId) -> (pipe::Writer, pipe::Reader, Arc<Pipe>) {
        let wires = Arc::downgrade(&self.0);
        let arrival = Box::new(move || {
            let now = Instant::now();
            match wires.upgrade() {
                Some(wires) => now + wires.state.lock().expect("no holder panics").stream_delay(from, to),
                None => now,
            }
        });
        let (writer, reader, pipe) = Pipe::create(arrival);
        let mut state = self.state();
        pipe.set_blocked(state.is_cut(from, to));
        if state.pipes.len() == state.pipes.capacity() {
            state.pipes.retain(|entry| entry.pipe.strong_count() > 0);
        }
        state.pipes.push(PipeEntry { from, to, pipe: Arc::downgrade(&pipe) });
        (writer, reader, pipe)
    }
}

impl State {
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from, to)) || self.isolated.contains(&from) || self.isolated.contains(&to)
    }

    fn quality(&self, from: NodeId, to: NodeId) -> LinkQuality {
        self.qualities.get(&(from, to)).copied().unwrap_or(self.quality)
    }

    fn is_lost(&mut self, quality: LinkQuality) -> bool {
        quality.loss > 0.0 && self.random.fraction() < quality.loss
    }

    fn delay(&mut self, quality: LinkQuality) -> Duration {
        match quality.jitter {
            Duration::ZERO => quality.delay,
            jitter => quality.delay + jitter.mul_f64(self.random.fraction()),
        }
    }

    fn stream_delay(&mut self, from: NodeId, to: NodeId) -> Duration {
        let quality = self.quality(from, to);
        let mut delay = self.delay(quality);
        for _ in 0..RESENDS_MAX {
            if !self.is_lost(quality) {
                break;
            }
            delay += 2 * quality.delay + RESEND_AFTER;
        }
        delay
    }

    fn each_pipe(&mut self, mut each: impl FnMut(NodeId, NodeId, Arc<Pipe>)) {
        self.pipes.retain(|entry| match entry.pipe.upgrade() {
            Some(pipe) => {
                each(entry.from, entry.to, pipe);
                true
            }
            None => false,
        });
    }

    fn break_pipes(&mut self, kind: io::ErrorKind, chosen: impl Fn(NodeId, NodeId) -> bool) {
        self.each_pipe(|from, to, pipe| {
            if chosen(from, to) {
                pipe.break_with(kind);
            }
        });
    }

    fn find(&self, node: NodeId) -> Option<&Plugged> {
        self.nodes.values().find(|plugged| plugged.identity.node == node)
    }
}

impl MemoryTransport {
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Shows another role from now on; what is open breaks, as every connection does that showed the old one.
    pub fn set_role(&self, role: Role) {
        let mut state = self.network.state();
        let Some(plugged) =
            state.nodes.get_mut(&self.addr).filter(|plugged| plugged.instance == self.instance)
        else {
            return;
        };
        plugged.identity.role = role;
        let node = plugged.identity.node;
        state.break_pipes(io::ErrorKind::ConnectionAborted, |from, to| from == node || to == node);
    }

    /// Who we are, while we are plugged in.
    fn own(&self, state: &State) -> Option<Plugged> {
        state.nodes.get(&self.addr).filter(|plugged| plugged.instance == self.instance).cloned()
    }

    /// The node at an address when it can be talked to now, in both directions.
    fn target(&self, peer: Peer) -> Result<Option<(Plugged, Plugged)>, TransportError> {
        let Peer { node, addr } = peer;
        let state = self.network.state();
        let own = self.own(&state).filter(|_| !self.tasks.is_stopping()).ok_or(TransportError::Closed)?;
        let unreachable = |reason: &str| TransportError::Unreachable { node, addr, reason: reason.into() };
        if own.denied.contains(&node) {
            return Err(unreachable("the node was removed from the cluster"));
        }
        if node == own.identity.node {
            return Err(unreachable("this is the node itself"));
        }
        let Some(target) = state.nodes.get(&addr) else { return Ok(None) };
        let (near, far) = (own.identity.node, target.identity.node);
        if state.is_cut(near, far) || state.is_cut(far, near) {
            return Ok(None);
        }
        if far != node {
            return Err(TransportError::WrongNode { expected: node, found: far, addr });
        }
        let refused = |reason: &str| TransportError::Refused { node, addr, reason: reason.into() };
        if target.denied.contains(&near) {
            return Err(TransportError::Removed { node, addr });
        }
        if target.identity.cluster != own.identity.cluster {
            return Err(refused("the certificate is of another cluster"));
        }
        Ok(Some((own, target.clone())))
    }
}

impl Transport for MemoryTransport {
    fn open(&self, peer: Peer, kind: StreamKind) -> BoxFuture<'_, Result<Stream, TransportError>> {
        Box::pin(async move {
            let give_up = Instant::now() + CONNECT_TIME_MAX;
            let no_answer = || TransportError::Unreachable {
                node: peer.node,
                addr: peer.addr,
                reason: "no answer".into(),
            };
            let mut changes = self.network.0.changes.subscribe();
            let (own, target) = loop {
                if let Some(found) = self.target(peer)? {
                    break found;
                }
                // A network that is gone changes no more, and this handle keeps it alive.
                tokio::select! {
                    _ = changes.changed() => {}
                    () = self.tasks.stopping() => return Err(TransportError::Closed),
                    () = sleep_until(give_up) => return Err(no_answer()),
                }
            };
            let (near, far, pipes) = self.network.stream(own.identity.node, target.identity.node);
            if kind.allowed(Some(own.identity.role)) {
                let place = timeout_at(give_up, target.streams.reserve()).await;
                let place = place.ok().and_then(Result::ok).ok_or_else(no_answer)?;
                place.send(Incoming { from: Some(own.identity), addr: self.addr, kind, stream: far });
            } else {
                pipes.iter().for_each(|pipe| pipe.break_with(io::ErrorKind::ConnectionReset));
            }
            Ok(near)
        })
    }

    fn datagram(&self, peer: Peer, payload: Bytes) {
        let Ok(Some((own, target))) = self.target(peer) else { return };
        let (near, far) = (own.identity.node, target.identity.node);
        let mut state = self.network.state();
        let quality = state.quality(near, far);
        if payload.len() > GOSSIP_DATAGRAM_BYTES_MAX
            || state.is_lost(quality)
            || state.under_way >= DATAGRAMS_UNDER_WAY_MAX
        {
            return;
        }
        let delay = state.delay(quality);
        let datagram = Datagram { from: own.identity, addr: self.addr, payload };
        if delay.is_zero() {
            // A full queue loses the datagram, as promised.
            let _ = target.datagrams.try_send(datagram);
            return;
        }
        state.under_way += 1;
        drop(state);
        let (network, addr, due) = (self.network.clone(), peer.addr, Instant::now() + delay);
        // Not tied to the sender's tasks: what is on the wire arrives even when the sender has stopped.
        Tasks::new().spawn(async move {
            sleep_until(due).await;
            let mut state = network.state();
            state.under_way -= 1;
            let arrived = state.nodes.get(&addr).filter(|now| now.instance == target.instance);
            if let Some(target) = arrived.filter(|_| !state.is_cut(near, far)) {
                let _ = target.datagrams.try_send(datagram);
            }
        });
    }

    fn round_trip(&self, node: NodeId) -> Option<Duration> {
        let state = self.network.state();
        let (near, far) = (self.own(&state)?.identity.node, state.find(node)?.identity.node);
        let cut = state.is_cut(near, far) || state.is_cut(far, near);
        (!cut).then(|| state.quality(near, far).delay + state.quality(far, near).delay)
    }

    fn deny(&self, nodes: BTreeSet<NodeId>) {
        let mut state = self.network.state();
        let Some(own) = self.own(&state).map(|own| own.identity.node) else { return };
        state.break_pipes(io::ErrorKind::ConnectionAborted, |from, to| {
            (from == own && nodes.contains(&to)) || (to == own && nodes.contains(&from))
        });
        if let Some(plugged) = state.nodes.get_mut(&self.addr) {
            plugged.denied = nodes;
        }
    }

    fn suspect(&self, node: NodeId) {
        let mut state = self.network.state();
        let Some(own) = self.own(&state).map(|own| own.identity.node) else { return };
        state.each_pipe(|from, to, pipe| {
            let between = (from == own && to == node) || (from == node && to == own);
            if between && pipe.is_blocked() {
                pipe.break_with(io::ErrorKind::TimedOut);
            }
        });
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.tasks.token().cancel();
        let mut state = self.network.state();
        if let Some(own) = self.own(&state).map(|own| own.identity.node) {
            state.nodes.remove(&self.addr);
            state.break_pipes(io::ErrorKind::ConnectionAborted, |from, to| from == own || to == own);
        }
    }
}
