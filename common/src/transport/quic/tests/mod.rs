//! Real sockets on loopback: what is promised to users of the transport, and what strangers cannot do to it.

mod admission;
mod garbage;
mod joining;
mod proofs;
mod recovery;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::identity::{NodeKey, RootAuthority};
use crate::object::Role;
use crate::time::{Monotonic, SystemClock, Timestamp};
use crate::transport::PeerIdentity;

/// The machine is busy: a wait ends long before this when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CLUSTER: ClusterId = ClusterId(1);

/// The machine's clock, with a wall clock that can be moved.
#[derive(Default)]
struct MovableClock(Mutex<Duration>);

impl MovableClock {
    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(*self.0.lock().unwrap())
    }

    fn monotonic(&self) -> Monotonic {
        SystemClock.monotonic()
    }
}

fn authority() -> RootAuthority {
    RootAuthority::generate(SystemClock.now()).unwrap()
}

fn identity(root: &RootAuthority, node: u128, role: Role) -> NodeIdentity {
    identity_in(root, CLUSTER, node, role, DAY)
}

fn identity_in(
    root: &RootAuthority,
    cluster: ClusterId,
    node: u128,
    role: Role,
    valid_for: Duration,
) -> NodeIdentity {
    let key = NodeKey::generate().unwrap();
    let request = key.signing_request().unwrap();
    let pem = root.sign(&request, NodeId(node), cluster, role, valid_for, SystemClock.now()).unwrap();
    NodeIdentity::new(&pem, key, root.certificate_pem()).unwrap()
}

/// A node that answers what it reads on every stream, and keeps what it has seen.
struct Node {
    transport: Arc<QuicTransport>,
    peer: Peer,
    seen: Arc<Mutex<Seen>>,
    datagrams: tokio::sync::Mutex<mpsc::Receiver<Datagram>>,
    tasks: Tasks,
}

#[derive(Default)]
struct Seen {
    streams: Vec<(StreamKind, Option<PeerIdentity>)>,
}

impl Node {
    fn start(identity: NodeIdentity) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), identity, Arc::new(SystemClock))
    }

    fn start_at(listen: SocketAddr, identity: NodeIdentity, clock: Arc<dyn Clock>) -> Self {
        // Handshakes have time: other tests run on the same processors.
        let settings =
            QuicSettings { handshake_time_max: Duration::from_secs(5), ..QuicSettings::new(listen) };
        Self::start_with(settings, identity, clock)
    }

    fn start_with(settings: QuicSettings, identity: NodeIdentity, clock: Arc<dyn Clock>) -> Self {
        let tasks = Tasks::new();
        let node = identity.node;
        let (transport, arrivals) = QuicTransport::start(settings, identity, &tasks, clock).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        tasks.spawn_until_stopped(echo(arrivals.streams, seen.clone(), tasks.clone()));
        Self {
            peer: Peer { node, addr: transport.local_addr() },
            transport,
            seen,
            datagrams: tokio::sync::Mutex::new(arrivals.datagrams),
            tasks,
        }
    }

    /// One question and its answer on a fresh stream.
    async fn ask(&self, to: &Node) -> Result<(), String> {
        ask(&self.transport, to.peer, StreamKind::Session).await
    }

    /// Asks until it is answered, as callers above do, and says how long that took.
    async fn reach(&self, to: &Node) -> Duration {
        let start = Instant::now();
        let attempt = async {
            loop {
                match timeout(Duration::from_millis(500), self.ask(to)).await {
                    Ok(Ok(())) => return,
                    Ok(Err(_)) => sleep(Duration::from_millis(5)).await,
                    Err(_) => self.transport.suspect(to.peer.node),
                }
            }
        };
        timeout(PATIENCE, attempt).await.expect("the peer is reached");
        start.elapsed()
    }

    /// Connections to a peer on the control lane that are open, as this node has them.
    fn connections(&self, to: &Node) -> usize {
        let peers = self.transport.shared.peers();
        peers.of(to.peer.node).filter(|link| link.is_open() && link.lane == Lane::Control).count()
    }

    /// What the one connection to a peer is, to see whether it is still the same.
    fn connection(&self, to: &Node) -> Option<quinn::Connection> {
        let peers = self.transport.shared.peers();
        peers.used(to.peer.node, Lane::Control).map(|link| link.connection.clone())
    }

    async fn next_datagram(&self) -> Datagram {
        let mut datagrams = self.datagrams.lock().await;
        timeout(PATIENCE, datagrams.recv()).await.expect("a datagram comes").expect("the node runs")
    }

    async fn stop(self) {
        self.transport.stop().await;
        self.tasks.stop().await;
    }
}

async fn echo(mut streams: mpsc::Receiver<Incoming>, seen: Arc<Mutex<Seen>>, tasks: Tasks) {
    while let Some(mut incoming) = streams.recv().await {
        seen.lock().unwrap().streams.push((incoming.kind, incoming.from.clone()));
        tasks.spawn_until_stopped(async move {
            let _ = tokio::io::copy(&mut incoming.stream.recv, &mut incoming.stream.send).await;
            let _ = incoming.stream.send.shutdown().await;
        });
    }
}

async fn ask(transport: &QuicTransport, peer: Peer, kind: StreamKind) -> Result<(), String> {
    let mut stream = transport.open(peer, kind).await.map_err(|error| error.to_string())?;
    say(&mut stream, b"hello").await.map_err(|error| error.to_string())
}

async fn say(stream: &mut Stream, words: &[u8]) -> io::Result<()> {
    stream.send.write_all(words).await?;
    let mut answer = vec![0; words.len()];
    stream.recv.read_exact(&mut answer).await?;
    assert_eq!(answer, words);
    Ok(())
}

async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// Loopback addresses of this machine: one, or two where it speaks IPv6.
fn loopbacks() -> Vec<SocketAddr> {
    let mut found = vec!["127.0.0.1:0".parse().unwrap()];
    match UdpSocket::bind("[::1]:0") {
        Ok(_) => found.push("[::1]:0".parse().unwrap()),
        Err(error) => eprintln!("SKIPPED: this machine has no IPv6 loopback address: {error}"),
    }
    found
}

fn trio() -> (RootAuthority, Node, Node) {
    let root = authority();
    let a = Node::start(identity(&root, 10, Role::Manager));
    let b = Node::start(identity(&root, 20, Role::Manager));
    (root, a, b)
}

#[tokio::test]
async fn each_end_knows_the_other_by_its_certificate() {
    for listen in loopbacks() {
        let root = authority();
        let a = Node::start_at(listen, identity(&root, 10, Role::Worker), Arc::new(SystemClock));
        let b = Node::start_at(listen, identity(&root, 20, Role::Manager), Arc::new(SystemClock));
        a.ask(&b).await.unwrap();
        // The other side answers on the same connection.
        b.ask(&a).await.unwrap();
        assert_eq!((a.connections(&b), b.connections(&a)), (1, 1));
        assert_eq!(a.transport.shared.endpoint.open_connections(), 1);
        let worker = PeerIdentity { node: NodeId(10), role: Role::Worker, cluster: CLUSTER };
        assert_eq!(b.seen.lock().unwrap().streams, vec![(StreamKind::Session, Some(worker.clone()))]);
        a.transport.datagram(b.peer, Bytes::from_static(b"ping"));
        let datagram = b.next_datagram().await;
        assert_eq!((datagram.from, datagram.addr), (worker, a.peer.addr));
        assert!(a.transport.round_trip(b.peer.node).unwrap() < Duration::from_secs(5));
        assert!(a.transport.round_trip(NodeId(99)).is_none());
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test]
async fn one_port_serves_both_families() {
    if loopbacks().len() < 2 {
        return; // said above
    }
    let root = authority();
    let both =
        Node::start_at("[::]:0".parse().unwrap(), identity(&root, 10, Role::Manager), Arc::new(SystemClock));
    let port = both.peer.addr.port();
    for (index, listen) in loopbacks().into_iter().enumerate() {
        let other =
            Node::start_at(listen, identity(&root, 20 + index as u128, Role::Manager), Arc::new(SystemClock));
        let peer = Peer { node: both.peer.node, addr: SocketAddr::new(listen.ip(), port) };
        both.ask(&other).await.unwrap();
        ask(&other.transport, peer, StreamKind::Session).await.unwrap();
        other.transport.datagram(peer, Bytes::from_static(b"from"));
        // An IPv4 address is shown as one, not as IPv6's way to write it.
        assert_eq!(both.next_datagram().await.addr, other.peer.addr);
        other.stop().await;
    }
    both.stop().await;
}

#[tokio::test]
async fn every_kind_travels_on_its_lane() {
    let (_root, a, b) = trio();
    for kind in StreamKind::ALL.into_iter().filter(|kind| *kind != StreamKind::Join) {
        ask(&a.transport, b.peer, kind).await.unwrap();
    }
    assert_eq!(a.transport.shared.endpoint.open_connections(), 2);
    assert_eq!(a.connections(&b), 1);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_connection_of_the_mesh_that_is_dropped_is_a_break_and_one_that_is_shut_down_an_end() {
    let (root, a, b) = trio();
    let (identity, listen) = (identity(&root, 12, Role::Worker), loopbacks()[0]);
    let tasks = Tasks::new();
    let settings = QuicSettings::new(listen);
    let (near, mut arrivals) =
        QuicTransport::start(settings, identity, &tasks, Arc::new(SystemClock)).unwrap();
    let peer = Peer { node: NodeId(12), addr: near.local_addr() };
    for (kind, shut, ends_well) in
        [(StreamKind::Mesh, false, false), (StreamKind::Mesh, true, true), (StreamKind::Session, false, true)]
    {
        let mut stream = a.transport.open(peer, kind).await.unwrap();
        stream.send.write_all(b"half a word").await.unwrap();
        let mut incoming = arrivals.streams.recv().await.unwrap();
        let mut word = [0; 11];
        incoming.stream.recv.read_exact(&mut word).await.unwrap();
        if shut {
            stream.send.shutdown().await.unwrap();
        }
        drop(stream);
        let end = incoming.stream.recv.read(&mut word).await;
        assert_eq!(end.is_ok(), ends_well, "{kind:?} {shut}: {end:?}");
    }
    near.stop().await;
    tasks.stop().await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_datagram_of_the_full_size_passes_on_a_fresh_connection() {
    let (_root, a, b) = trio();
    let full = Bytes::from(vec![7; GOSSIP_DATAGRAM_BYTES_MAX]);
    a.transport.datagram(b.peer, full.clone()); // before there is a connection: it waits for one
    assert_eq!(b.next_datagram().await.payload, full);
    a.transport.datagram(b.peer, vec![8; GOSSIP_DATAGRAM_BYTES_MAX + 1].into());
    a.transport.datagram(b.peer, Bytes::from_static(b"after"));
    assert_eq!(b.next_datagram().await.payload, Bytes::from_static(b"after"));
    b.transport.datagram(a.peer, full.clone());
    assert_eq!(a.next_datagram().await.payload, full);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn many_who_want_a_connection_share_one() {
    let (_root, a, b) = trio();
    let asks = (0..50).map(|_| a.ask(&b));
    for result in futures_util::future::join_all(asks).await {
        result.unwrap();
    }
    assert_eq!(a.connections(&b), 1);
    assert_eq!(b.transport.shared.endpoint.stats().accepted_handshakes, 1);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn two_who_dial_each_other_at_once_end_with_one_connection() {
    for _ in 0..5 {
        let (_root, a, b) = trio();
        let (one, other) = tokio::join!(a.ask(&b), b.ask(&a));
        one.unwrap();
        other.unwrap();
        // While the surplus one goes, nothing that is asked fails.
        until("one connection", || async {
            a.ask(&b).await.unwrap();
            b.ask(&a).await.unwrap();
            a.connections(&b) == 1 && b.connections(&a) == 1
        })
        .await;
        let id =
            |node: &Node, other: &Node| node.connection(other).map(|connection| connection.close_reason());
        assert_eq!((id(&a, &b), id(&b, &a)), (Some(None), Some(None)));
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test]
async fn bulk_does_not_delay_control() {
    let (_root, a, b) = trio();
    let mut bulk = a.transport.open(b.peer, StreamKind::RaftSnapshot).await.unwrap();
    let pump = async {
        let block = vec![1; 64 << 10];
        let mut back = vec![0; 64 << 10];
        for _ in 0..64 {
            bulk.send.write_all(&block).await.unwrap();
            bulk.recv.read_exact(&mut back).await.unwrap();
        }
    };
    let talk = async {
        for _ in 0..50 {
            a.ask(&b).await.unwrap();
        }
    };
    timeout(PATIENCE, async { tokio::join!(pump, talk) }).await.unwrap();
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let (root, a, b) = trio();
    let tasks = Tasks::new();
    let started = QuicTransport::start(
        QuicSettings::new(a.peer.addr),
        identity(&root, 30, Role::Worker),
        &tasks,
        Arc::new(SystemClock),
    );
    let error = started.err().expect("the port is taken").to_string();
    assert_eq!(error, format!("udp address {} is already in use", a.peer.addr));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_stopped_node_says_goodbye_and_opens_nothing() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let connection = a.connection(&b).unwrap();
    b.transport.stop().await;
    let reason = timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(reason.to_string().contains("the node is stopping"), "{reason}");
    let error = b.transport.open(a.peer, StreamKind::Session).await.err().unwrap();
    assert!(matches!(error, TransportError::Closed));
    a.stop().await;
}
