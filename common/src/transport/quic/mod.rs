//! The transport over QUIC: one UDP port per node, per peer one connection for control and one for bulk.
//!
//! - `tls`: who is let in; `close`: why connections end; `socket`: the port, with a switch for faults.
//! - `dial`, `accept`: the two ways to a connection; `link`: one connection; `peers`: which one is used.
//! - `proof`: who the far end is, and how a connection outlives the certificates it was made with.
//! - `join`: what a node says before it has a certificate.
//!
//! Nothing is sent on a connection that nobody uses: it ends by itself after `idle_time_max`. While a stream is open
//! and nothing comes in, a probe goes out every second or two, so a quiet stream lives as long as the peer does, and
//! not much longer.

mod accept;
mod close;
mod dial;
pub mod join;
mod link;
mod peers;
mod proof;
mod socket;
pub(super) mod tls;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use quinn::{Runtime, TokioRuntime};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

pub use proof::Vouch;
pub use socket::Faults;
pub use tls::TlsError;

use self::close::Close;
use self::link::Link;
use self::peers::{News, Peers, Step, unreachable};
use self::socket::FaultySocket;
use self::tls::{Configs, Voucher};
use super::{Arrivals, Datagram, Incoming, Lane, Peer, Stream, StreamKind, Transport, TransportError};
use crate::identity::NodeIdentity;
use crate::limits::{DATAGRAM_ARRIVALS_MAX, GOSSIP_DATAGRAM_BYTES_MAX, STREAM_ARRIVALS_MAX};
use crate::object::{ClusterId, NodeId};
use crate::random::{Random, SystemRandom};
use crate::shutdown::Tasks;
use crate::time::Clock;

/// How often all connections are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a stop waits for its goodbyes to be sent.
const GOODBYE: Duration = Duration::from_millis(200);
/// Between two answers to packets of connections that a restart has forgotten.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// How patient the transport is.
#[derive(Clone, Debug)]
pub struct QuicSettings {
    pub listen: SocketAddr,
    /// From the first packet to a connection that can be used.
    pub handshake_time_max: Duration,
    /// A peer that somebody suspects has this long for any sign of life.
    pub suspect_silence: Duration,
    /// A connection that nobody uses goes away after this time; the smaller of both ends' counts.
    pub idle_time_max: Duration,
}

impl QuicSettings {
    /// For nodes that are near each other.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            handshake_time_max: Duration::from_secs(1),
            suspect_silence: Duration::from_millis(300),
            idle_time_max: Duration::from_secs(10),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    #[error("udp address {addr} is already in use")]
    AddressInUse { addr: SocketAddr },
    #[error("listen on udp address {addr}")]
    Listen {
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// See `Transport`. Dropping it ends everything without goodbye; `stop` is the orderly way.
pub struct QuicTransport {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    faults: Faults,
}

/// What all tasks of one transport use.
struct Shared {
    settings: QuicSettings,
    endpoint: quinn::Endpoint,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    current: RwLock<Current>,
    vouch: Voucher,
    /// Has all connections looked at now.
    look: Notify,
    peers: Mutex<Peers>,
    streams: mpsc::Sender<Incoming>,
    datagrams: mpsc::Sender<Datagram>,
}

/// Who we are at the moment.
struct Current {
    identity: NodeIdentity,
    configs: Configs,
}

impl QuicTransport {
    /// Listens at once. Its tasks end when `tasks` stops; `stop` ends them earlier and says goodbye.
    pub fn start(
        settings: QuicSettings,
        identity: NodeIdentity,
        tasks: &Tasks,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, Arrivals), QuicError> {
        let vouch = Voucher::default();
        let configs = Configs::new(&identity, clock.clone(), settings.idle_time_max, &vouch)?;
        let faults = Faults::default();
        let endpoint = endpoint(settings.listen, &identity, configs.server.clone(), faults.clone())?;
        let listen = |source| QuicError::Listen { addr: settings.listen, source };
        let local_addr = endpoint.local_addr().map_err(listen)?;
        let (streams, stream_arrivals) = mpsc::channel(STREAM_ARRIVALS_MAX);
        let (datagrams, datagram_arrivals) = mpsc::channel(DATAGRAM_ARRIVALS_MAX);
        let shared = Arc::new(Shared {
            settings,
            endpoint,
            clock,
            tasks: tasks.child(),
            current: RwLock::new(Current { identity, configs }),
            vouch,
            look: Notify::new(),
            peers: Mutex::default(),
            streams,
            datagrams,
        });
        shared.tasks.spawn_until_stopped(accept::accept(shared.clone()));
        shared.tasks.spawn_until_stopped(tick(shared.clone()));
        let arrivals = Arrivals { streams: stream_arrivals, datagrams: datagram_arrivals };
        Ok((Arc::new(Self { shared, local_addr, faults }), arrivals))
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The cable, for tests and `swarm lab cut`.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// From now on, and until told otherwise, lets in whom somebody vouches for who knows all nodes' keys.
    pub fn vouch(&self, vouch: Option<Vouch>) {
        self.shared.vouch.set(vouch);
    }

    /// From now on shows this certificate and trusts its roots. Connections stay, and both ends prove themselves
    /// anew, unless the certificate says something else of who we are.
    pub fn set_identity(&self, identity: NodeIdentity) -> Result<(), QuicError> {
        let idle = self.shared.settings.idle_time_max;
        let configs = Configs::new(&identity, self.shared.clock.clone(), idle, &self.shared.vouch)?;
        let who = |identity: &NodeIdentity| (identity.node, identity.cluster, identity.role);
        let (changed, distrusts) = {
            let mut current = self.shared.current.write().expect("no holder panics");
            let changed = who(&current.identity) != who(&identity);
            let distrusts = !identity.trusts_all_of(&current.identity);
            self.shared.endpoint.set_server_config(Some(configs.server.clone()));
            *current = Current { identity, configs };
            (changed, distrusts)
        };
        if changed {
            self.shared.peers().start_over();
        } else {
            self.shared.peers().ask_for_proofs(distrusts);
            self.shared.look.notify_one();
        }
        Ok(())
    }

    /// Says goodbye on all connections and ends all tasks.
    pub async fn stop(&self) {
        self.shared.tasks.token().cancel();
        self.shared.endpoint.close(Close::GoingAway.code(), Close::GoingAway.text().as_bytes());
        let _ = timeout(GOODBYE, self.shared.endpoint.wait_idle()).await;
        self.shared.tasks.stop().await;
        *self.shared.peers() = Peers::default();
        self.release_port();
    }

    /// Lets go of the port at once. Connections to peers that are gone linger for seconds, and the endpoint with
    /// them; they get another socket to end on. Twice, because the one before is kept until the new one is used.
    fn release_port(&self) {
        let elsewhere: SocketAddr = match self.local_addr {
            SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
        };
        for _ in 0..2 {
            let rebound = UdpSocket::bind(elsewhere).and_then(|socket| self.shared.endpoint.rebind(socket));
            if let Err(error) = rebound {
                debug!(%error, "the port is kept until the last connection has ended");
                return;
            }
        }
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.shared.tasks.token().cancel();
    }
}

impl Transport for QuicTransport {
    fn open(&self, peer: Peer, kind: StreamKind) -> BoxFuture<'_, Result<Stream, TransportError>> {
        Box::pin(async move {
            let link = self.shared.link(peer, kind.lane()).await?;
            match link.open(kind).await {
                Ok(stream) => Ok(stream),
                Err(lost) if link.is_open() => Err(lost.into_error(peer)),
                // It ended between being chosen and being used: one more try, on another.
                Err(_) => {
                    let link = self.shared.link(peer, kind.lane()).await?;
                    link.open(kind).await.map_err(|lost| lost.into_error(peer))
                }
            }
        })
    }

    fn datagram(&self, peer: Peer, payload: Bytes) {
        if payload.len() > GOSSIP_DATAGRAM_BYTES_MAX {
            debug!(node.id = %peer.node, bytes = payload.len(), "datagram too large, dropped");
            return;
        }
        if peer.node == self.shared.own().0 {
            return;
        }
        let mut peers = self.shared.peers();
        match peers.step(peer, Lane::Control, self.shared.clock.monotonic()) {
            Step::Use(link) => link.send_datagram(&payload),
            Step::Wait(_) => peers.queue(peer.node, payload),
            Step::Dial(_, epoch) => {
                peers.queue(peer.node, payload);
                drop(peers);
                self.shared.start_dial(peer, Lane::Control, epoch);
            }
            Step::Fail(_) => {}
        }
    }

    fn round_trip(&self, node: NodeId) -> Option<Duration> {
        self.shared.peers().used(node, Lane::Control).map(|link| link.connection.rtt())
    }

    fn deny(&self, nodes: BTreeSet<NodeId>) {
        self.shared.peers().deny(nodes);
    }

    fn suspect(&self, node: NodeId) {
        let links: Vec<Arc<Link>> = self.shared.peers().of(node).cloned().collect();
        let silence = self.shared.settings.suspect_silence;
        for link in links {
            if link.is_silent(silence) {
                link.close(Close::Unresponsive);
            } else {
                self.shared.tasks.spawn_until_stopped(async move { link.probe(silence).await });
            }
        }
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().expect("no holder panics")
    }

    fn own(&self) -> (NodeId, ClusterId) {
        let current = self.current.read().expect("no holder panics");
        (current.identity.node, current.identity.cluster)
    }

    /// The connection to use, made where there is none. All who want the same one wait for one dial.
    async fn link(self: &Arc<Self>, peer: Peer, lane: Lane) -> Result<Arc<Link>, TransportError> {
        loop {
            if self.tasks.is_stopping() {
                return Err(TransportError::Closed);
            }
            if peer.node == self.own().0 {
                return Err(unreachable(peer, "this is the node itself"));
            }
            let step = self.peers().step(peer, lane, self.clock.monotonic());
            let mut news = match step {
                Step::Use(link) => return Ok(link),
                Step::Fail(error) => return Err(error),
                Step::Wait(news) => news,
                Step::Dial(news, epoch) => {
                    self.start_dial(peer, lane, epoch);
                    news
                }
            };
            tokio::select! {
                () = self.tasks.stopping() => return Err(TransportError::Closed),
                changed = news.changed() => if changed.is_ok()
                    && let News::Failed(error) = &*news.borrow() {
                    return Err(error.clone());
                }
            }
        }
    }

    fn start_dial(self: &Arc<Self>, peer: Peer, lane: Lane, epoch: u64) {
        let shared = self.clone();
        self.tasks.spawn_until_stopped(async move {
            let mut result = dial::dial(&shared, peer, lane).await;
            let (own, _) = shared.own();
            let link = {
                let mut peers = shared.peers();
                if let Ok(link) = &result
                    && let Err(close) = peers.add(link.clone(), own, epoch)
                {
                    link.close(close);
                    result = Err(unreachable(peer, close.text()));
                }
                let (link, outcome) = match result {
                    Ok(link) => (Some(link), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                peers.dialled(peer, lane, outcome, shared.clock.monotonic());
                link
            };
            if let Some(link) = link {
                serve(shared, link).await;
            }
        });
    }
}

/// Takes what comes on a connection until it ends.
async fn serve(shared: Arc<Shared>, link: Arc<Link>) {
    let ended = loop {
        tokio::select! {
            stream = link.connection.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let caller = accept::Caller::Member(link.clone());
                    let addr = link.addr();
                    shared.tasks.spawn_until_stopped(accept::arrive(shared.clone(), caller, addr, send, recv));
                }
                Err(error) => break error,
            },
            datagram = link.connection.read_datagram() => match datagram {
                Ok(datagram) => if let Some(payload) = Link::payload(datagram).filter(|_| !link.is_late()) {
                    // Full: the owner is behind, and the newest is as good to lose as any.
                    let _ = shared.datagrams.try_send(Datagram {
                        from: link.peer.clone(),
                        addr: link.addr(),
                        payload,
                    });
                },
                Err(error) => break error,
            },
        }
    };
    debug!(node.id = %link.peer.node, lane = ?link.lane, reason = %ended, "connection ended");
    shared.peers().remove(&link);
}

async fn tick(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.look.notified() => {}
        }
        let unproved = shared.peers().tick(shared.clock.monotonic(), shared.clock.now());
        for peer in unproved {
            shared.tasks.spawn_until_stopped(proof::renew(shared.clone(), peer));
        }
    }
}

/// Binds the port. What the keys of stateless resets follow from is on disk, so that after a crash this node can tell
/// its peers at once that their connections are gone. Renewal changes that key, and the next start with it: after
/// that one start peers find out by the silence instead.
fn endpoint(
    listen: SocketAddr,
    identity: &NodeIdentity,
    server: quinn::ServerConfig,
    faults: Faults,
) -> Result<quinn::Endpoint, QuicError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => QuicError::AddressInUse { addr: listen },
        _ => QuicError::Listen { addr: listen, source },
    };
    let reset_key = identity.key().derive("stateless reset");
    let mut config =
        quinn::EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key.as_slice())));
    config.cid_generator(|| Box::new(ConnectionIds));
    config.min_reset_interval(RESET_INTERVAL);
    let socket = UdpSocket::bind(listen).map_err(failed)?;
    let socket = TokioRuntime.wrap_udp_socket(socket).map_err(failed)?;
    let socket = Arc::new(FaultySocket { socket, faults });
    quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))
        .map_err(failed)
}

/// Plain random ids. QUIC's own marks its ids with a key of the process, and after a restart drops packets with older
/// marks instead of answering them with a reset.
struct ConnectionIds;

impl quinn::ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        quinn::ConnectionId::new(&SystemRandom.next_u64().to_le_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
