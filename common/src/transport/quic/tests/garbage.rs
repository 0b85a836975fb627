//! What comes from nodes and strangers that do not follow the rules, and that it hurts nobody else.

use super::super::socket::FaultySocket;
use super::super::tls;
use super::*;
use crate::limits::{HANDSHAKES_PER_ADDRESS_MAX, JOIN_CONNECTIONS_MAX};
use crate::random::{Random, SeededRandom};

#[tokio::test]
async fn random_packets_disturb_nobody() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let before = a.connection(&b).unwrap().stable_id();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut random = SeededRandom::new(1, "garbage");
    for round in 0..2000 {
        let mut packet = vec![0; (random.next_u64() % 1400) as usize + 1];
        random.fill(&mut packet);
        if round % 3 == 0 {
            // What looks like the start of a connection gets further.
            packet.resize(1200, 0);
            packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        socket.send_to(&packet, b.peer.addr).await.unwrap();
        if round % 100 == 0 {
            a.ask(&b).await.unwrap();
        }
    }
    a.ask(&b).await.unwrap();
    assert_eq!(a.connection(&b).unwrap().stable_id(), before);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn unknown_kinds_end_their_stream_and_nothing_else() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let connection = a.connection(&b).unwrap();
    for byte in [0, 8, 99, 255, StreamKind::Join as u8, StreamKind::RaftSnapshot as u8] {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&[byte; 100]).await.unwrap();
        let answer = timeout(PATIENCE, recv.read_to_end(10)).await.expect("an answer comes");
        assert!(matches!(answer, Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))), "{byte}");
    }
    // A stream that ends before it says what it is for.
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.finish().unwrap();
    assert!(timeout(PATIENCE, recv.read_to_end(10)).await.expect("an answer comes").is_err());
    a.ask(&b).await.unwrap();
    assert_eq!(b.seen.lock().unwrap().streams.len(), 2);
    assert!(connection.close_reason().is_none());
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_stream_that_does_not_say_what_it_is_for_is_dropped() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let connection = a.connection(&b).unwrap();
    let (send, mut recv) = connection.open_bi().await.unwrap();
    // Only a priority is set: a stream is announced by its first frame, which is an empty one.
    let _ = send.set_priority(1);
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[]).await.unwrap();
        stalled.push((send, recv));
    }
    // The last one speaks, which shows the far end all those before it.
    let (mut last, mut answer) = connection.open_bi().await.unwrap();
    last.write_all(&[StreamKind::Session as u8, 42]).await.unwrap();
    let mut byte = [0];
    timeout(PATIENCE, answer.read_exact(&mut byte)).await.unwrap().unwrap();
    assert_eq!(byte, [42]);
    let ended = timeout(PATIENCE, recv.read_to_end(1)).await.expect("the stalled stream is ended");
    assert!(ended.is_err());
    for (_send, mut recv) in stalled {
        assert!(timeout(PATIENCE, recv.read_to_end(1)).await.expect("all of them").is_err());
    }
    a.ask(&b).await.unwrap();
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_not_read_is_held_up_and_others_are_not() {
    let root = authority();
    let a = Node::start(identity(&root, 10, Role::Manager));
    let c = Node::start(identity(&root, 30, Role::Manager));
    let tasks = Tasks::new();
    let settings = QuicSettings::new("127.0.0.1:0".parse().unwrap());
    let (b, mut arrivals) =
        QuicTransport::start(settings, identity(&root, 20, Role::Manager), &tasks, Arc::new(SystemClock))
            .unwrap();
    let b_peer = Peer { node: NodeId(20), addr: b.local_addr() };
    // A stream that is never read takes what the windows allow, and no more.
    let mut flood = a.transport.open(b_peer, StreamKind::Session).await.unwrap();
    let block = vec![0; 1 << 20];
    let mut written = 0;
    while let Ok(Ok(())) = timeout(Duration::from_millis(500), flood.send.write_all(&block)).await {
        written += block.len();
        assert!(written < 64 << 20, "nobody stopped the flood");
    }
    let unread = arrivals.streams.recv().await.unwrap();
    let mut other = c.transport.open(b_peer, StreamKind::Session).await.unwrap();
    other.send.write_all(b"hi").await.unwrap();
    let mut incoming = timeout(PATIENCE, arrivals.streams.recv()).await.unwrap().unwrap();
    let mut words = [0; 2];
    incoming.stream.recv.read_exact(&mut words).await.unwrap();
    assert_eq!(&words, b"hi");
    drop(unread);
    b.stop().await;
    a.stop().await;
    c.stop().await;
}

#[tokio::test]
async fn datagrams_that_nobody_takes_are_dropped() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    for round in 0..(DATAGRAM_ARRIVALS_MAX as u32 * 2) {
        a.transport.datagram(b.peer, Bytes::copy_from_slice(&round.to_be_bytes()));
        if round % 64 == 0 {
            a.ask(&b).await.unwrap();
        }
    }
    assert!(b.datagrams.lock().await.len() <= DATAGRAM_ARRIVALS_MAX);
    a.ask(&b).await.unwrap();
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn handshakes_that_are_never_finished_keep_nobody_out_for_long() {
    let root = authority();
    let at = |addr: &str| addr.parse::<SocketAddr>().unwrap();
    let manager = Node::start(identity(&root, 10, Role::Manager));
    // Somebody who begins and never listens for the answer.
    let socket = TokioRuntime.wrap_udp_socket(UdpSocket::bind("127.0.0.3:0").unwrap()).unwrap();
    let faults = Faults::default();
    let deaf = Arc::new(FaultySocket { socket, faults: faults.clone() });
    let config = quinn::EndpointConfig::default();
    let endpoint =
        quinn::Endpoint::new_with_abstract_socket(config, None, deaf, Arc::new(TokioRuntime)).unwrap();
    faults.cut_incoming(true);
    let begun: Vec<_> = (0..HANDSHAKES_PER_ADDRESS_MAX * 2)
        .map(|_| {
            let config = tls::join_client(None).unwrap();
            endpoint.connect_with(config, manager.peer.addr, tls::MANAGER_NAME).unwrap()
        })
        .collect();
    let stats = || manager.transport.shared.endpoint.stats();
    until("all places of that address to be taken", || async { stats().ignored_handshakes > 0 }).await;
    assert!(stats().accepted_handshakes <= HANDSHAKES_PER_ADDRESS_MAX as u64);
    const { assert!(HANDSHAKES_PER_ADDRESS_MAX > JOIN_CONNECTIONS_MAX) };
    // Others come in; and from the same address too, when the unfinished ones have had their time.
    let elsewhere =
        Node::start_at(at("127.0.0.2:0"), identity(&root, 20, Role::Worker), Arc::new(SystemClock));
    elsewhere.ask(&manager).await.unwrap();
    drop(begun);
    let neighbour =
        Node::start_at(at("127.0.0.3:0"), identity(&root, 30, Role::Worker), Arc::new(SystemClock));
    neighbour.reach(&manager).await;
    for node in [manager, elsewhere, neighbour] {
        node.stop().await;
    }
}
