//! How soon a peer is reached again after a crash, a cut cable, or a move.

use super::*;

/// A node in a runtime of its own, which can be killed without any last word.
struct Victim {
    node: Option<Node>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Victim {
    /// The address may be taken for a moment by one that is just dying.
    async fn start(listen: SocketAddr, identity: NodeIdentity) -> Self {
        let start = async {
            loop {
                match UdpSocket::bind(listen) {
                    Ok(_) => return,
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(PATIENCE, start).await.expect("the address becomes free");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let node = {
            let _inside = runtime.enter();
            Node::start_at(listen, identity, Arc::new(SystemClock))
        };
        Self { node: Some(node), runtime: Some(runtime) }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    fn kill(&mut self) {
        if let (Some(node), Some(runtime)) = (self.node.take(), self.runtime.take()) {
            node.transport.faults().cut_all(true);
            runtime.shutdown_background();
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_and_restarted_peer_is_reached_at_once() {
    let root = authority();
    let a = Node::start(identity(&root, 10, Role::Manager));
    let victim_identity = identity(&root, 20, Role::Manager);
    let mut victim = Victim::start("127.0.0.1:0".parse().unwrap(), victim_identity.clone()).await;
    let listen = victim.node().peer.addr;
    let mut times = Vec::new();
    for _ in 0..5 {
        a.reach(victim.node()).await;
        let old = a.connection(victim.node()).unwrap();
        assert!(a.transport.shared.peers().used(NodeId(20), Lane::Control).unwrap().dialled);
        victim.kill();
        victim = Victim::start(listen, victim_identity.clone()).await;
        times.push(a.reach(victim.node()).await);
        // It was the reset that told us, and no timeout.
        assert_eq!(old.close_reason(), Some(quinn::ConnectionError::Reset));
    }
    println!("restarted peer reached after {times:?}");
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_that_had_called_us_is_reached_after_a_suspicion() {
    let root = authority();
    let a = Node::start(identity(&root, 10, Role::Manager));
    let victim_identity = identity(&root, 20, Role::Manager);
    let mut victim = Victim::start("127.0.0.1:0".parse().unwrap(), victim_identity.clone()).await;
    let listen = victim.node().peer.addr;
    victim.node().reach(&a).await;
    assert!(!a.transport.shared.peers().used(NodeId(20), Lane::Control).unwrap().dialled);
    victim.kill();
    victim = Victim::start(listen, victim_identity).await;
    let time = a.reach(victim.node()).await;
    println!("restarted peer that had called us reached after {time:?}");
    // And the other way round, at once: the new connection replaces the old one.
    victim.node().reach(&a).await;
    a.stop().await;
}

#[tokio::test]
async fn a_peer_that_calls_again_replaces_what_it_had() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let old = b.connection(&a).unwrap();
    // The caller loses its side without a word, and later calls again.
    a.transport.faults().cut_all(true);
    a.connection(&b).unwrap().close(Close::Unresponsive.code(), b"");
    sleep(Duration::from_millis(2_100)).await; // longer than two calls count as simultaneous
    a.transport.faults().cut_all(false);
    a.reach(&b).await;
    until("the old connection to go", || async { old.close_reason().is_some() }).await;
    b.ask(&a).await.unwrap();
    assert_eq!((a.connections(&b), b.connections(&a)), (1, 1));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_cut_is_noticed_on_suspicion_and_healed_soon() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let old = a.connection(&b).unwrap();
    b.transport.faults().cut_all(true);
    assert!(timeout(Duration::from_millis(300), a.ask(&b)).await.is_err());
    a.transport.suspect(b.peer.node);
    timeout(PATIENCE, old.closed()).await.expect("the silent connection is closed");
    let mut dialled = 0;
    let cut = Instant::now();
    while cut.elapsed() < Duration::from_secs(3) {
        dialled += u32::from(a.transport.open(b.peer, StreamKind::Session).await.is_err());
        sleep(Duration::from_millis(20)).await;
    }
    assert!(dialled > 0);
    b.transport.faults().cut_all(false);
    let time = a.reach(&b).await;
    println!("healed peer reached after {time:?}");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn suspicion_does_not_hurt_a_peer_that_answers() {
    let (_root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let before = a.connection(&b).unwrap().stable_id();
    for _ in 0..3 {
        sleep(Duration::from_millis(400)).await; // longer than the silence that would be fatal
        a.transport.suspect(b.peer.node);
        b.transport.suspect(a.peer.node);
    }
    sleep(Duration::from_millis(400)).await;
    a.ask(&b).await.unwrap();
    assert_eq!(a.connection(&b).unwrap().stable_id(), before);
    a.transport.suspect(NodeId(99)); // nobody we know
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_dead_peer_costs_few_handshakes() {
    let (_root, a, b) = trio();
    b.transport.faults().cut_all(true);
    let start = Instant::now();
    let mut tries = 0;
    while start.elapsed() < Duration::from_secs(3) {
        assert!(a.ask(&b).await.is_err());
        tries += 1;
        sleep(Duration::from_millis(5)).await;
    }
    let handshakes = a.transport.shared.endpoint.stats().outgoing_handshakes;
    assert!(handshakes <= 12, "{handshakes} handshakes for {tries} tries");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_quiet_stream_keeps_its_connection_and_an_unused_one_goes() {
    let root = authority();
    let idle_time_max = Duration::from_secs(4);
    let node = |id| {
        let settings = QuicSettings { idle_time_max, ..QuicSettings::new(loopbacks()[0]) };
        Node::start_with(settings, identity(&root, id, Role::Manager), Arc::new(SystemClock))
    };
    let (a, b) = (node(10), node(20));
    let mut stream = a.transport.open(b.peer, StreamKind::Session).await.unwrap();
    say(&mut stream, b"first").await.unwrap();
    let connection = a.connection(&b).unwrap();
    let start = Instant::now();
    until("more time than an unused connection has", || async { start.elapsed() > idle_time_max * 3 / 2 })
        .await;
    assert_eq!(connection.close_reason(), None);
    say(&mut stream, b"second").await.unwrap();
    drop(stream);
    until("the unused connection to go", || async { a.connections(&b) == 0 && b.connections(&a) == 0 }).await;
    assert_eq!(connection.close_reason(), Some(quinn::ConnectionError::TimedOut));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_silent_peer_is_given_up_even_when_nobody_suspects_it() {
    let (_root, a, b) = trio();
    let mut stream = a.transport.open(b.peer, StreamKind::Session).await.unwrap();
    say(&mut stream, b"hello").await.unwrap();
    b.transport.faults().cut_all(true);
    let start = Instant::now();
    // Reading alone: what goes out is the transport's own question.
    let ended = timeout(PATIENCE, stream.recv.read_u8()).await.expect("the stream ends");
    assert!(ended.is_err());
    println!("silence noticed after {:?}", start.elapsed());
    assert_eq!(a.connections(&b), 0);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_peer_that_moved_is_found_at_its_new_address() {
    let root = authority();
    let a = Node::start(identity(&root, 10, Role::Manager));
    let b = Node::start(identity(&root, 20, Role::Manager));
    a.ask(&b).await.unwrap();
    // While it answers at the old address, what it is said to be reachable at makes no difference.
    let elsewhere = Peer { node: b.peer.node, addr: "127.0.0.1:9".parse().unwrap() };
    ask(&a.transport, elsewhere, StreamKind::Session).await.unwrap();
    let b_identity = identity(&root, 20, Role::Manager);
    b.stop().await;
    let b = Node::start(b_identity);
    a.reach(&b).await;
    a.stop().await;
    b.stop().await;
}
