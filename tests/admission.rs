//! Bad input and strangers: each is told what is wrong, and nobody else notices.

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;
use common::engine_api::swarm::JoinRequest;
use harness::client::Answer;
use harness::cluster::{Cluster, SOON, options};
use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Asks the last node, a stranger, to join through the first with this token.
async fn join_with(cluster: &Cluster, token: &str, remote: String) -> Answer {
    let stranger = cluster.nodes.len() - 1;
    let addr = cluster.nodes[stranger].addr().to_string();
    let request = JoinRequest {
        listen_addr: addr.clone(),
        advertise_addr: addr,
        remote_addrs: vec![remote],
        join_token: token.into(),
        ..JoinRequest::default()
    };
    cluster.client(stranger).post("/swarm/join", &request).await.unwrap()
}

/// One manager, and a daemon that belongs to nothing.
async fn manager_and_stranger() -> Cluster {
    let mut cluster = Cluster::of_strangers(options(1, 1)).await.unwrap();
    cluster.init(0).await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    cluster
}

async fn worker_token(cluster: &Cluster) -> String {
    cluster.client(0).swarm().await.unwrap().join_tokens.unwrap().worker
}

#[tokio::test]
async fn a_wrong_token_lets_nobody_in() {
    let cluster = manager_and_stranger().await;
    let right = worker_token(&cluster).await;
    let manager = cluster.nodes[0].addr().to_string();
    let mut other = cluster.beside(options(1, 0)).await.unwrap();
    other.init(0).await.unwrap();
    let foreign = worker_token(&other).await;

    let last = right.chars().last().unwrap();
    let wrong_secret = format!("{}{}", &right[..right.len() - 1], if last == '0' { '1' } else { '0' });
    let parts: Vec<&str> = right.split('-').collect();
    let wrong_digest =
        [parts[0], parts[1], &parts[2].replace(|c: char| c.is_ascii_digit(), "z"), parts[3]].join("-");
    #[rustfmt::skip]
    let bad = [
        ("a changed secret", wrong_secret.as_str()),
        ("a changed digest of the root", wrong_digest.as_str()),
        ("a token of another cluster", foreign.as_str()),
        ("no token", ""),
        ("no token at all", "hello"),
        ("a token of another version", "SWMTKN-9-abc-def"),
    ];
    for (what, token) in bad {
        let answer = join_with(&cluster, token, manager.clone()).await;
        assert!(!answer.is_ok(), "{what}");
        assert!(!answer.message().is_empty(), "{what}");
        assert!(
            !answer.message().contains(parts[3]),
            "{what}: the secret is not repeated: {}",
            answer.message()
        );
        assert_eq!(cluster.client(1).info().await.unwrap().local_node_state, "inactive", "{what}");
        assert_eq!(cluster.client(0).nodes().await.unwrap().len(), 1, "{what}");
    }
    assert!(join_with(&cluster, &right, manager).await.is_ok(), "and the right one still does");
}

#[tokio::test]
async fn a_rotated_token_is_worth_nothing() {
    let cluster = manager_and_stranger().await;
    let old = worker_token(&cluster).await;
    let swarm = cluster.client(0).swarm().await.unwrap();
    let path = format!("/swarm/update?version={}&rotateWorkerToken=true", swarm.version.index);
    cluster.client(0).post(&path, &swarm.spec).await.unwrap().ok().unwrap();
    let new = worker_token(&cluster).await;
    assert_ne!(old, new);
    let manager = cluster.nodes[0].addr().to_string();
    assert!(!join_with(&cluster, &old, manager.clone()).await.is_ok());
    assert!(join_with(&cluster, &new, manager).await.is_ok());
}

#[tokio::test]
async fn joins_that_make_no_sense_are_refused() {
    let cluster = manager_and_stranger().await;
    let token = worker_token(&cluster).await;
    let own = cluster.nodes[1].addr().to_string();
    let nobody = harness::run::address().to_string();
    for (what, remote) in
        [("itself", own), ("nobody", nobody), ("no address", "hello".into()), ("nothing", String::new())]
    {
        let answer = join_with(&cluster, &token, remote).await;
        assert!(!answer.is_ok(), "{what}");
        assert!(!answer.message().is_empty(), "{what}");
    }
    // A join that goes on in the background would be one too many.
    cluster.client(1).leave(true).await.ok();
    let manager = cluster.nodes[0].addr().to_string();
    assert!(join_with(&cluster, &token, manager.clone()).await.is_ok());
    let again = join_with(&cluster, &token, manager).await;
    assert_eq!(again.status, 503);
    assert!(again.message().contains("already part of a swarm"), "{}", again.message());
}

#[tokio::test]
async fn bad_requests_get_a_sentence() {
    let cluster = manager_and_stranger().await;
    let client = cluster.client(0);
    let id = cluster.id(0);
    let node = client.node(id).await.unwrap();
    let version = node.version.index;
    let large = Bytes::from(vec![b' '; 5 << 20]);
    #[rustfmt::skip]
    let bad: [(&str, Method, String, Bytes, u16); 11] = [
        ("no such path", Method::GET, "/no/such/path/of/ours".into(), Bytes::new(), 404),
        ("no such node", Method::GET, "/nodes/nobody".into(), Bytes::new(), 404),
        ("filters that are no JSON", Method::GET, "/nodes?filters=%7B".into(), Bytes::new(), 400),
        ("a filter that is none", Method::GET, "/nodes?filters=%7B%22colour%22%3A%7B%22red%22%3Atrue%7D%7D".into(), Bytes::new(), 400),
        ("no version", Method::POST, format!("/nodes/{id}/update"), "{}".into(), 400),
        ("a version that is no number", Method::POST, format!("/nodes/{id}/update?version=x"), "{}".into(), 400),
        ("an old version", Method::POST, format!("/nodes/{id}/update?version=1"), r#"{"Role":"manager","Availability":"active"}"#.into(), 500),
        ("no JSON", Method::POST, format!("/nodes/{id}/update?version={version}"), "{".into(), 400),
        ("a role that is none", Method::POST, format!("/nodes/{id}/update?version={version}"), r#"{"Role":"king"}"#.into(), 400),
        ("a body that is too large", Method::POST, format!("/nodes/{id}/update?version={version}"), large, 413),
        ("an API version of the far future", Method::GET, "/v99.0/nodes".into(), Bytes::new(), 400),
    ];
    for (what, method, path, body, status) in bad {
        let answer = client.send(method, &path, body).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, status, "{what}: {}", answer.message());
        assert!(!answer.message().is_empty(), "{what}");
    }
    assert_eq!(client.node(id).await.unwrap().spec, node.spec, "nothing of it had an effect");
}

#[tokio::test]
async fn garbage_on_the_port_harms_nobody() {
    let cluster = Cluster::new(1, 1).await.unwrap();
    let target = cluster.nodes[0].addr();
    let socket = UdpSocket::bind((target.ip(), 0)).unwrap();
    for length in (0..1_500).step_by(7).chain([9_000, 60_000]) {
        for fill in [0x00, 0x45, 0xc3, 0xff] {
            // What does not fit into a packet here is not sent, and is no less harmless.
            let _ = socket.send_to(&vec![fill; length], target);
        }
    }
    assert_eq!(cluster.client(0).nodes().await.unwrap().len(), 2);
    cluster.all_ready(SOON).await.unwrap();
    assert!(cluster.nodes[0].is_running());
}

#[tokio::test]
async fn clients_that_stall_do_not_stop_others() {
    let cluster = manager_and_stranger().await;
    let socket = cluster.nodes[0].socket();
    let mut stalled = Vec::new();
    for index in 0..64 {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let begin: &[u8] = match index % 3 {
            0 => b"",
            1 => b"GET /nodes HT",
            _ => b"POST /swarm/update?version=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
        };
        stream.write_all(begin).await.unwrap();
        stalled.push(stream);
    }
    for _ in 0..10 {
        cluster.client(0).within(Duration::from_secs(20)).nodes().await.unwrap();
    }
    // Nonsense is answered or closed, and does not hang.
    let mut nonsense = UnixStream::connect(&socket).await.unwrap();
    nonsense.write_all(&[0xff; 4_096]).await.unwrap();
    nonsense.shutdown().await.ok();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), nonsense.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is closed");
    drop(stalled);
    cluster.client(0).nodes().await.unwrap();
}
