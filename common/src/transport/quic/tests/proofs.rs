//! Connections that outlive the certificates they were made with, and nodes that are let in by their key.

use super::*;
use crate::identity::NodeCertificate;

fn renewed(root: &RootAuthority, present: &NodeIdentity, trusting: &str) -> NodeIdentity {
    let key = NodeKey::generate().unwrap();
    let request = key.signing_request().unwrap();
    let pem = root.sign(&request, present.node, CLUSTER, present.role, DAY, SystemClock.now()).unwrap();
    NodeIdentity::new(&pem, key, trusting).unwrap()
}

/// Waits until something holds.
async fn until(what: impl Fn() -> bool) {
    let look = async {
        while !what() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, look).await.expect("it comes about");
}

#[tokio::test]
async fn a_connection_outlives_the_certificates_it_was_made_with() {
    let root = authority();
    let hour = Duration::from_secs(3600);
    let clock = Arc::new(MovableClock::default());
    let [first, second] = [10, 20].map(|node| identity_in(&root, CLUSTER, node, Role::Manager, hour));
    let listen = "127.0.0.1:0".parse().unwrap();
    let a = Node::start_at(listen, first.clone(), clock.clone());
    let b = Node::start_at(listen, second.clone(), clock.clone());
    let mut stream = a.transport.open(b.peer, StreamKind::Session).await.unwrap();
    let live = a.connection(&b).unwrap();
    for (node, identity) in [(&a, &first), (&b, &second)] {
        node.transport.set_identity(renewed(&root, identity, root.certificate_pem())).unwrap();
    }
    let proved = |node: &Node, other: &Node| {
        let peers = node.transport.shared.peers();
        let late = SystemClock.now().plus(hour * 2);
        peers
            .of(other.peer.node)
            .all(|link| link.standing(SystemClock.monotonic(), late) == link::Standing::Good)
    };
    until(|| proved(&a, &b) && proved(&b, &a)).await;
    clock.advance(hour * 2);
    sleep(3 * TICK).await; // each end looks at its connections meanwhile
    assert!(live.close_reason().is_none(), "{:?}", live.close_reason());
    stream.send.write_all(b"still").await.unwrap();
    let mut answer = [0; 5];
    timeout(PATIENCE, stream.recv.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"still");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn new_roots_cut_nobody_but_who_does_not_stand_on_them() {
    let (old, new) = (authority(), authority());
    let identities = [10, 20, 30].map(|node| identity(&old, node, Role::Manager));
    let [a, b, c] = identities.clone().map(Node::start);
    a.ask(&b).await.unwrap();
    a.ask(&c).await.unwrap();
    let (with_b, with_c) = (a.connection(&b).unwrap(), a.connection(&c).unwrap());
    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    for (node, identity) in [&a, &b, &c].into_iter().zip(&identities) {
        node.transport.set_identity(identity.trusting(&both).unwrap()).unwrap();
    }
    let next = [&identities[0], &identities[1]].map(|identity| renewed(&new, identity, &both));
    a.transport.set_identity(next[0].clone()).unwrap();
    b.transport.set_identity(next[1].clone()).unwrap();
    a.transport.set_identity(next[0].trusting(new.certificate_pem()).unwrap()).unwrap();
    b.transport.set_identity(next[1].trusting(new.certificate_pem()).unwrap()).unwrap();
    // The third has missed it all.
    let reason = timeout(PATIENCE, with_c.closed()).await.expect("it is closed");
    assert!(
        reason.to_string().contains("expired") || reason == quinn::ConnectionError::LocallyClosed,
        "{reason}"
    );
    assert!(with_b.close_reason().is_none(), "{:?}", with_b.close_reason());
    a.ask(&b).await.unwrap();
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test]
async fn who_is_known_by_its_key_may_get_a_certificate_and_nothing_else() {
    let root = authority();
    let expired = identity_in(&root, CLUSTER, 20, Role::Manager, Duration::ZERO);
    let worker = identity_in(&root, CLUSTER, 21, Role::Worker, Duration::ZERO);
    let a = Node::start(identity(&root, 10, Role::Manager));
    let (late, other) = (Node::start(expired.clone()), Node::start(worker.clone()));
    let open = async |node: &Node, kind| ask(&node.transport, a.peer, kind).await;
    assert!(open(&late, StreamKind::Renew).await.unwrap_err().contains("expired"));
    let known = [expired.key().public_key().to_vec(), worker.key().public_key().to_vec()];
    let vouch: Vouch =
        Arc::new(move |facts: &NodeCertificate| known.contains(&facts.public_key).then_some(facts.role));
    a.transport.vouch(Some(vouch));
    sleep(Duration::from_millis(400)).await; // refused nodes wait a moment before they knock again
    for kind in StreamKind::ALL {
        use StreamKind::{Manager, Raft, RaftAppend, RaftSnapshot, Renew};
        let for_late = [Manager, Raft, RaftAppend, RaftSnapshot, Renew];
        assert_eq!(open(&late, kind).await.is_ok(), for_late.contains(&kind), "{kind:?}");
        assert_eq!(open(&other, kind).await.is_ok(), kind == Renew, "{kind:?}");
    }
    // And it is the other way round: a node that is known is called by who knows it.
    ask(&a.transport, late.peer, StreamKind::Raft).await.unwrap();
    // With its next certificate it is a member like any other, on the connection that it has.
    late.transport.set_identity(renewed(&root, &expired, root.certificate_pem())).unwrap();
    let all = async {
        while open(&late, StreamKind::Session).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("it is let in");
    for node in [a, late, other] {
        node.stop().await;
    }
}
