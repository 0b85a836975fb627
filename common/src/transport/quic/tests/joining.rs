//! Callers without certificate: what they may do, and how little of it.

use super::super::{join, tls};
use super::*;
use crate::identity::JoinToken;
use crate::limits::{
    JOIN_CONNECTIONS_MAX, JOIN_CONNECTIONS_PER_ADDRESS_MAX, JOIN_FRAME_BYTES_MAX, JOIN_STREAMS_MAX,
};
use crate::object::Availability;
use crate::random::SystemRandom;
use crate::wire::frame;
use crate::wire::join::{CertificateRequest, IssuedCertificate, JoinRequest, JoinResponse};

/// A manager that answers join requests as the real one does, without asking for the token.
struct Manager {
    transport: Arc<QuicTransport>,
    root: Arc<RootAuthority>,
    tasks: Tasks,
}

impl Manager {
    fn start(listen: SocketAddr, role: Role) -> Self {
        let root = Arc::new(authority());
        let tasks = Tasks::new();
        let (transport, arrivals) = QuicTransport::start(
            QuicSettings::new(listen),
            identity(&root, 10, role),
            &tasks,
            Arc::new(SystemClock),
        )
        .unwrap();
        let (answering, answer_root) = (tasks.clone(), root.clone());
        let mut streams = arrivals.streams;
        tasks.spawn_until_stopped(async move {
            while let Some(incoming) = streams.recv().await {
                if incoming.kind != StreamKind::Join {
                    continue;
                }
                assert_eq!(incoming.from, None);
                let root = answer_root.clone();
                answering.spawn_until_stopped(async move {
                    let mut stream = incoming.stream;
                    let request = frame::expect_message(&mut stream.recv, JOIN_FRAME_BYTES_MAX).await;
                    let Ok(request) = request else { return };
                    let response = match request {
                        JoinRequest::RootCertificate => {
                            JoinResponse::RootCertificate { pem: root.certificate_pem().into() }
                        }
                        JoinRequest::Certificate(request) => issue(&root, &request),
                    };
                    let _ = frame::write_message(&mut stream.send, &response).await;
                    let _ = stream.send.shutdown().await;
                });
            }
        });
        Self { transport, root, tasks }
    }

    fn addr(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    fn token(&self) -> JoinToken {
        JoinToken::generate(self.root.certificate_pem(), &mut SystemRandom)
    }

    async fn stop(self) {
        self.transport.stop().await;
        self.tasks.stop().await;
    }
}

fn issue(root: &RootAuthority, request: &CertificateRequest) -> JoinResponse {
    let (node, role) = (NodeId(20), Role::Worker);
    match root.sign(&request.csr, node, CLUSTER, role, DAY, SystemClock.now()) {
        Ok(certificate_pem) => JoinResponse::Certificate(IssuedCertificate {
            certificate_pem,
            root_pem: root.certificate_pem().into(),
            node,
            cluster: CLUSTER,
            role,
            managers: Vec::new(),
            at_rest: None,
            liveness: Default::default(),
        }),
        Err(error) => JoinResponse::Refused { reason: error.to_string() },
    }
}

fn certificate_request(key: &NodeKey) -> CertificateRequest {
    CertificateRequest {
        csr: key.signing_request().unwrap(),
        token: String::new(),
        availability: Availability::Active,
    }
}

#[tokio::test]
async fn a_new_node_gets_its_certificate_and_becomes_a_member() {
    for listen in loopbacks() {
        let manager = Manager::start(listen, Role::Manager);
        let root_pem = join::fetch_root(manager.addr(), manager.token().digest()).await.unwrap();
        assert_eq!(root_pem, manager.root.certificate_pem());
        let key = NodeKey::generate().unwrap();
        let answer = join::request(manager.addr(), &root_pem, certificate_request(&key)).await.unwrap();
        let JoinResponse::Certificate(issued) = answer else { panic!("{answer:?}") };
        let identity = NodeIdentity::new(&issued.certificate_pem, key, &issued.root_pem).unwrap();
        assert_eq!((identity.node, identity.role), (NodeId(20), Role::Worker));
        manager.stop().await;
    }
}

#[tokio::test]
async fn the_root_of_another_cluster_is_noticed_before_anything_is_sent() {
    let (manager, other) =
        (Manager::start(loopbacks()[0], Role::Manager), Manager::start(loopbacks()[0], Role::Manager));
    let error = join::fetch_root(manager.addr(), other.token().digest()).await.unwrap_err();
    let hex = crate::identity::token::to_hex(&other.token().digest());
    assert_eq!(error.to_string(), format!("remote CA does not match fingerprint. Expected: {hex}"));
    let request = certificate_request(&NodeKey::generate().unwrap());
    let error = join::request(manager.addr(), other.root.certificate_pem(), request).await.unwrap_err();
    assert!(matches!(error, join::JoinError::NotTrusted { .. }), "{error}");
    manager.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_worker_cannot_pass_for_a_manager() {
    let worker = Manager::start(loopbacks()[0], Role::Worker);
    let request = certificate_request(&NodeKey::generate().unwrap());
    let error = join::request(worker.addr(), worker.root.certificate_pem(), request).await.unwrap_err();
    assert!(matches!(error, join::JoinError::NotTrusted { .. }), "{error}");
    worker.stop().await;
}

#[tokio::test]
async fn nobody_there_is_said_in_bounded_time() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let error = timeout(PATIENCE, join::fetch_root(addr, [0; 32])).await.expect("in time").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach a manager at {addr}: no answer"));
}

async fn stranger(manager: &Manager) -> (quinn::Endpoint, quinn::Connection) {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = tls::join_client(None).unwrap();
    let connection = endpoint.connect_with(config, manager.addr(), tls::MANAGER_NAME).unwrap().await.unwrap();
    (endpoint, connection)
}

#[tokio::test]
async fn a_stranger_opens_nothing_but_join_streams_and_few_of_them() {
    let manager = Manager::start(loopbacks()[0], Role::Manager);
    let (_endpoint, connection) = stranger(&manager).await;
    for kind in StreamKind::ALL.into_iter().filter(|kind| *kind != StreamKind::Join).take(3) {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&[kind as u8]).await.unwrap();
        let answer = timeout(PATIENCE, recv.read_to_end(10)).await.expect("an answer comes");
        assert!(answer.is_err(), "{kind:?}");
    }
    let (_endpoint, connection) = stranger(&manager).await;
    let mut open = Vec::new();
    for _ in 0..JOIN_STREAMS_MAX {
        open.push(timeout(PATIENCE, connection.open_bi()).await.expect("it is allowed").unwrap());
    }
    assert!(timeout(Duration::from_millis(300), connection.open_bi()).await.is_err(), "one too many");
    // What it sends beyond the window stays with it.
    let (send, _recv) = &mut open[0];
    send.write_all(&[StreamKind::Join as u8]).await.unwrap();
    send.write_all(&u32::MAX.to_be_bytes()).await.unwrap(); // a frame that nobody will read
    let flood = async {
        let mut written = 0;
        while let Ok(()) = send.write_all(&[0; 64 << 10]).await {
            written += 64 << 10;
            assert!(written < 16 << 20, "nobody stopped the flood");
        }
    };
    let _ = timeout(Duration::from_secs(1), flood).await;
    // It is silent now, and is shown the door.
    let reason = timeout(PATIENCE, connection.closed()).await.expect("it is closed");
    assert!(reason.to_string().contains("idle"), "{reason}");
    manager.stop().await;
}

#[tokio::test]
async fn strangers_are_few_and_members_come_in_all_the_same() {
    let manager = Manager::start(loopbacks()[0], Role::Manager);
    const { assert!(JOIN_CONNECTIONS_PER_ADDRESS_MAX < JOIN_CONNECTIONS_MAX) };
    let mut held = Vec::new();
    for _ in 0..JOIN_CONNECTIONS_PER_ADDRESS_MAX {
        held.push(stranger(&manager).await);
    }
    let (_endpoint, one_more) = stranger(&manager).await;
    let reason = timeout(PATIENCE, one_more.closed()).await.expect("it is turned away");
    assert!(reason.to_string().contains("too many connections"), "{reason}");
    // A member has nothing to do with that.
    let member = Node::start(identity(&manager.root, 30, Role::Manager));
    let peer = Peer { node: NodeId(10), addr: manager.addr() };
    member.transport.open(peer, StreamKind::Raft).await.unwrap();
    // Who wants to join waits until there is room.
    let joining = join::fetch_root(manager.addr(), manager.token().digest());
    let (joined, ()) = tokio::join!(joining, async {
        sleep(Duration::from_millis(300)).await;
        drop(held.split_off(held.len() - 4));
    });
    assert_eq!(joined.unwrap(), manager.root.certificate_pem());
    member.stop().await;
    manager.stop().await;
}

#[tokio::test]
async fn a_certificate_is_needed_to_speak_as_a_member() {
    let manager = Manager::start(loopbacks()[0], Role::Manager);
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = tls::tests::anonymous_member();
    let connection = endpoint.connect_with(config, manager.addr(), tls::MANAGER_NAME).unwrap().await.unwrap();
    let reason = timeout(PATIENCE, connection.closed()).await.expect("it is closed");
    assert!(reason.to_string().contains("a certificate is needed"), "{reason}");
    manager.stop().await;
}
