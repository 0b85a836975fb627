//! Faults on demand, and the same rules as over QUIC.

use super::*;
use crate::object::ClusterId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

struct Node {
    transport: Arc<MemoryTransport>,
    arrivals: Arrivals,
    peer: Peer,
}

fn plug(network: &Network, node: u128, role: Role) -> Node {
    let addr = SocketAddr::from(([10, 0, 0, node as u8], 4000));
    let identity = PeerIdentity { node: NodeId(node), role, cluster: ClusterId(1) };
    let (transport, arrivals) = network.join(identity, addr, &Tasks::new());
    Node { transport, arrivals, peer: Peer { node: NodeId(node), addr } }
}

fn pair(network: &Network) -> (Node, Node) {
    (plug(network, 1, Role::Manager), plug(network, 2, Role::Manager))
}

fn seconds(quality_delay: u64) -> LinkQuality {
    LinkQuality { delay: Duration::from_secs(quality_delay), ..LinkQuality::default() }
}

#[tokio::test(start_paused = true)]
async fn bytes_arrive_in_order_after_the_delay() {
    let network = Network::new(1);
    let (a, mut b) = pair(&network);
    network.set_quality(LinkQuality { jitter: Duration::from_secs(1), loss: 0.2, ..seconds(3) });
    let mut near = a.transport.open(b.peer, StreamKind::Raft).await.unwrap();
    let incoming = b.arrivals.streams.recv().await.unwrap();
    assert_eq!((incoming.kind, incoming.from.unwrap().node), (StreamKind::Raft, NodeId(1)));
    let mut far = incoming.stream;
    let start = Instant::now();
    let sent: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
    for part in sent.chunks(1000) {
        near.send.write_all(part).await.unwrap();
    }
    near.send.shutdown().await.unwrap();
    let mut received = Vec::new();
    far.recv.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, sent);
    assert!(start.elapsed() >= Duration::from_secs(3));
    far.send.write_all(b"bye").await.unwrap();
    drop(far);
    let mut answer = Vec::new();
    near.recv.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"bye");
}

#[tokio::test(start_paused = true)]
async fn datagrams_are_delayed_lost_and_cut_the_same_way_for_a_seed() {
    let run = |seed| async move {
        let network = Network::new(seed);
        let (a, mut b) = pair(&network);
        network.set_quality(LinkQuality { loss: 0.5, jitter: Duration::from_secs(1), ..seconds(1) });
        for number in 0..100u8 {
            a.transport.datagram(b.peer, Bytes::copy_from_slice(&[number]));
        }
        let mut seen = Vec::new();
        while let Ok(Some(datagram)) = timeout(Duration::from_secs(5), b.arrivals.datagrams.recv()).await {
            seen.push(datagram.payload[0]);
        }
        network.partition(&[&[NodeId(1)], &[NodeId(2)]]);
        a.transport.datagram(b.peer, Bytes::from_static(b"cut"));
        assert!(timeout(Duration::from_secs(5), b.arrivals.datagrams.recv()).await.is_err());
        seen
    };
    let first = run(7).await;
    assert!(first.len() > 20 && first.len() < 80, "{first:?}");
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_partition_holds_streams_until_it_heals_or_lasts_too_long() {
    let network = Network::new(1);
    let (a, mut b) = pair(&network);
    let mut near = a.transport.open(b.peer, StreamKind::Session).await.unwrap();
    let mut far = b.arrivals.streams.recv().await.unwrap().stream;
    network.partition(&[&[NodeId(1)], &[NodeId(2)]]);
    near.send.write_all(b"x").await.unwrap();
    assert!(timeout(Duration::from_secs(4), far.recv.read_u8()).await.is_err());
    let error = a.transport.open(b.peer, StreamKind::Session).await.err().unwrap();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert_eq!(a.transport.round_trip(NodeId(2)), None);
    network.isolate(NodeId(2), true); // in the middle of a wait: makes no difference
    network.isolate(NodeId(2), false);
    network.heal();
    assert_eq!(far.recv.read_u8().await.unwrap(), b'x');
    network.isolate(NodeId(2), true);
    let error = far.recv.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // Who waits for a connection gets it when the network heals.
    let healing = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        network.heal();
    };
    let (opened, ()) = tokio::join!(a.transport.open(b.peer, StreamKind::Session), healing);
    opened.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_silent_until_suspected_or_back() {
    for suspect in [true, false] {
        let network = Network::new(1);
        let (a, mut b) = pair(&network);
        let mut near = a.transport.open(b.peer, StreamKind::Session).await.unwrap();
        let far = b.arrivals.streams.recv().await.unwrap();
        network.kill(NodeId(2));
        drop((far, b));
        assert!(timeout(Duration::from_secs(1), near.recv.read_u8()).await.is_err(), "silence");
        let start = Instant::now();
        let mut back = None;
        if suspect {
            a.transport.suspect(NodeId(2));
        } else {
            back = Some(plug(&network, 2, Role::Manager));
        }
        near.recv.read_u8().await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::ZERO);
        if let Some(mut back) = back {
            let _near = a.transport.open(back.peer, StreamKind::Session).await.unwrap();
            back.arrivals.streams.recv().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rules_are_those_of_the_real_one() {
    let network = Network::new(1);
    let worker = plug(&network, 1, Role::Worker);
    let mut manager = plug(&network, 2, Role::Manager);
    let open = |kind| worker.transport.open(manager.peer, kind);
    let mut forbidden = open(StreamKind::Raft).await.unwrap();
    forbidden.recv.read_u8().await.unwrap_err();
    assert!(forbidden.send.write_all(b"x").await.is_err());
    let _session = open(StreamKind::Session).await.unwrap();
    assert_eq!(manager.arrivals.streams.recv().await.unwrap().kind, StreamKind::Session);
    worker.transport.set_role(Role::Manager);
    let mut raft = open(StreamKind::Raft).await.unwrap();
    let incoming = manager.arrivals.streams.recv().await.unwrap();
    assert_eq!(incoming.from.unwrap().role, Role::Manager);
    manager.transport.deny([NodeId(1)].into());
    raft.recv.read_u8().await.unwrap_err();
    assert!(matches!(open(StreamKind::Raft).await, Err(TransportError::Removed { .. })));
    let wrong = Peer { node: NodeId(3), addr: manager.peer.addr };
    let result = worker.transport.open(wrong, StreamKind::Raft).await;
    assert!(matches!(result, Err(TransportError::WrongNode { found: NodeId(2), .. })));
    let mut join = network.open_join(manager.peer.addr).await.unwrap();
    let incoming = manager.arrivals.streams.recv().await.unwrap();
    assert_eq!((incoming.kind, incoming.from), (StreamKind::Join, None));
    drop(manager);
    join.recv.read_u8().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_when_nobody_reads() {
    let network = Network::new(1);
    let (a, mut b) = pair(&network);
    let mut near = a.transport.open(b.peer, StreamKind::Raft).await.unwrap();
    let mut far = b.arrivals.streams.recv().await.unwrap().stream;
    let block = vec![0; 32 << 20];
    assert!(timeout(Duration::from_secs(60), near.send.write_all(&block)).await.is_err());
    let mut read = vec![0; 1 << 20];
    far.recv.read_exact(&mut read).await.unwrap();
    near.send.write_all(b"more").await.unwrap();
    drop(far);
    assert!(near.send.write_all(&block).await.is_err());
}
