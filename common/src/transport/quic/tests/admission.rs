//! Who is let in, who is not, and what they are told.

use super::*;

#[tokio::test]
async fn a_worker_cannot_open_what_is_for_managers() {
    let root = authority();
    let worker = Node::start(identity(&root, 10, Role::Worker));
    let manager = Node::start(identity(&root, 20, Role::Manager));
    for kind in [StreamKind::Raft, StreamKind::RaftAppend, StreamKind::Manager, StreamKind::RaftSnapshot] {
        let error = ask(&worker.transport, manager.peer, kind).await.unwrap_err();
        assert!(error.contains("stream") || error.contains("reset"), "{kind:?}: {error}");
    }
    // The connection is not what is punished.
    let before = worker.connection(&manager).unwrap().stable_id();
    worker.ask(&manager).await.unwrap();
    assert_eq!(worker.connection(&manager).unwrap().stable_id(), before);
    let kinds: Vec<_> = manager.seen.lock().unwrap().streams.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [StreamKind::Session]);
    worker.stop().await;
    manager.stop().await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_with_the_reason() {
    let root = authority();
    let other_root = authority();
    let ours = Node::start(identity(&root, 10, Role::Manager));
    // The same root, another organization: each end notices.
    let stranger = Node::start(identity_in(&root, ClusterId(2), 20, Role::Manager, DAY));
    let error = stranger.ask(&ours).await.unwrap_err();
    assert!(error.contains("the certificate is of another cluster"), "{error}");
    // Another root: the caller notices first.
    let foreign = Node::start(identity(&other_root, 30, Role::Manager));
    let error = foreign.ask(&ours).await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert!(ours.seen.lock().unwrap().streams.is_empty());
    for node in [ours, stranger, foreign] {
        node.stop().await;
    }
}

/// A caller that does not check whom it calls, so that the other end has to.
async fn call_unchecked(identity: &NodeIdentity, lenient: &NodeIdentity, to: Peer) -> Lost {
    call_with(tls::tests::configs_trusting(identity, lenient), to).await
}

async fn call_with(configs: quinn::ClientConfig, to: Peer) -> Lost {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(configs);
    let connection = match endpoint.connect(to.addr, &tls::server_name(to.node)).unwrap().await {
        Ok(connection) => connection,
        Err(error) => return close::explain(&error),
    };
    let error = match timeout(PATIENCE, connection.accept_uni()).await.unwrap() {
        Ok(_) => panic!("it was let in"),
        Err(error) => error,
    };
    close::explain(&error)
}

use super::super::close::{self, Lost};
use super::super::tls;

#[tokio::test]
async fn a_caller_with_a_bad_certificate_is_told_why() {
    let root = authority();
    let ours_identity = identity(&root, 10, Role::Manager);
    let ours = Node::start(ours_identity.clone());
    let cases = [
        (identity_in(&root, ClusterId(2), 20, Role::Manager, DAY), "the certificate is of another cluster"),
        (identity(&authority(), 20, Role::Manager), "the certificate is of another cluster"),
        (identity_in(&root, CLUSTER, 20, Role::Manager, Duration::ZERO), "the certificate has expired"),
        (identity(&root, 10, Role::Manager), "another node has the same id"),
    ];
    for (identity, reason) in cases {
        let lost = call_unchecked(&identity, &ours_identity, ours.peer).await;
        assert_eq!(lost, Lost::Refused(reason.into()));
    }
    ours.stop().await;
}

#[tokio::test]
async fn an_expired_node_hears_so_from_its_peer() {
    let root = authority();
    let a = Node::start(identity_in(&root, CLUSTER, 10, Role::Manager, Duration::from_secs(3600)));
    let clock = Arc::new(MovableClock::default());
    let listen = "127.0.0.1:0".parse().unwrap();
    let b = Node::start_at(listen, identity(&root, 20, Role::Manager), clock.clone());
    a.ask(&b).await.unwrap();
    let live = a.connection(&b).unwrap();
    clock.advance(Duration::from_secs(2 * 3600));
    // The live connection ends too, and the next one is not made.
    let reason = timeout(PATIENCE, live.closed()).await.expect("it is closed");
    assert!(reason.to_string().contains("the certificate has expired"), "{reason}");
    let error = a.transport.open(b.peer, StreamKind::Session).await.err().unwrap();
    let TransportError::Refused { reason, .. } = &error else { panic!("{error}") };
    assert_eq!(reason, "the certificate has expired");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_removed_node_is_cut_off_at_once_and_stays_out() {
    let (root, a, b) = trio();
    let c = Node::start(identity(&root, 30, Role::Manager));
    a.ask(&b).await.unwrap();
    a.ask(&c).await.unwrap();
    let (live, other) = (a.connection(&b).unwrap(), a.connection(&c).unwrap());
    b.transport.deny([a.peer.node].into());
    let reason = timeout(PATIENCE, live.closed()).await.expect("it is closed");
    assert!(reason.to_string().contains("was removed from the cluster"), "{reason}");
    let error = a.transport.open(b.peer, StreamKind::Session).await.err().unwrap();
    assert!(matches!(&error, TransportError::Removed { .. }), "{error}");
    // Neither does the other side call.
    let error = b.ask(&a).await.unwrap_err();
    assert!(error.contains("removed"), "{error}");
    assert!(other.close_reason().is_none());
    // Only those in the newest list are refused.
    b.transport.deny(BTreeSet::new());
    a.reach(&b).await;
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_is_not_taken_for_another() {
    let (_root, a, b) = trio();
    let wrong = Peer { node: NodeId(77), addr: b.peer.addr };
    let error = a.transport.open(wrong, StreamKind::Session).await.err().unwrap();
    let TransportError::WrongNode { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((expected, found), (NodeId(77), b.peer.node));
    let own = a.transport.open(a.peer, StreamKind::Session).await.err().unwrap();
    assert!(own.to_string().contains("the node itself"), "{own}");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_used_without_losing_connections() {
    let (root, a, b) = trio();
    a.ask(&b).await.unwrap();
    let live = a.connection(&b).unwrap();
    let mut stream = a.transport.open(b.peer, StreamKind::Session).await.unwrap();
    a.transport.set_identity(identity(&root, 10, Role::Manager)).unwrap();
    b.transport.set_identity(identity(&root, 20, Role::Manager)).unwrap();
    say(&mut stream, b"still here").await.unwrap();
    a.ask(&b).await.unwrap();
    assert_eq!(a.connection(&b).unwrap().stable_id(), live.stable_id());
    let c = Node::start(identity(&root, 30, Role::Manager));
    for (from, to) in [(&c, &a), (&b, &c)] {
        from.ask(to).await.unwrap();
    }
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_new_role_shows_on_new_connections_at_once() {
    let root = authority();
    let a = Node::start(identity(&root, 10, Role::Worker));
    let b = Node::start(identity(&root, 20, Role::Manager));
    a.ask(&b).await.unwrap();
    assert!(ask(&a.transport, b.peer, StreamKind::Raft).await.is_err());
    a.transport.set_identity(identity(&root, 10, Role::Manager)).unwrap();
    ask(&a.transport, b.peer, StreamKind::Raft).await.unwrap();
    a.transport.set_identity(identity(&root, 10, Role::Worker)).unwrap();
    assert!(ask(&a.transport, b.peer, StreamKind::Raft).await.is_err());
    let last = b.seen.lock().unwrap().streams.last().cloned().unwrap();
    assert_eq!((last.0, last.1.unwrap().role), (StreamKind::Raft, Role::Manager));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_certificate_of_the_api_opens_nothing_between_nodes() {
    use crate::identity::ApiServerNames;
    use crate::identity::certificate::certificates_from_pem;
    use crate::object::{AccessRole, ClientRecord, ClientSerial};

    let root = authority();
    let ours_identity = identity(&root, 10, Role::Manager);
    let ours = Node::start(ours_identity.clone());
    let now = SystemClock.now();
    let key = NodeKey::generate().unwrap();
    let csr = key.signing_request().unwrap();
    let client = |role| {
        let record =
            ClientRecord { name: "alice".into(), role, issued: now, expires: now.plus(DAY), revoked: None };
        root.sign_client(&csr, CLUSTER, ClientSerial(1 << 126), &record).unwrap()
    };
    for pem in AccessRole::ALL.map(client) {
        let chain = certificates_from_pem(&pem).unwrap();
        let lost = call_with(tls::tests::configs_showing(chain, &key, &ours_identity), ours.peer).await;
        assert_eq!(lost, Lost::Refused("the certificate is of another cluster".into()));
    }
    // What managers show to clients is no certificate to come with at all.
    let pem = root.sign_api_server(&csr, CLUSTER, &ApiServerNames::default(), DAY, now).unwrap();
    let chain = certificates_from_pem(&pem).unwrap();
    let lost = call_with(tls::tests::configs_showing(chain, &key, &ours_identity), ours.peer).await;
    assert!(!matches!(&lost, Lost::Refused(reason) if reason.is_empty()), "{lost:?}");
    assert!(ours.seen.lock().unwrap().streams.is_empty());
    ours.stop().await;
}
