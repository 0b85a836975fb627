//! Clients that are broken, hostile or slow: an error for them, nothing for the others.

use std::time::Duration;

use common::limits::{API_BODY_BYTES_MAX, API_CONNECTIONS_MAX, API_LARGE_BODIES_MAX, API_WRITE_STALL_MAX};
use common::object::{NodeState, Role};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use crate::client::{Api, read_until};
use crate::fake::{FakeCluster, FakeHost};

fn served() -> Api {
    Api::new(FakeHost::manager(&FakeCluster::new()))
}

#[tokio::test]
async fn bodies_that_are_not_the_request_are_named() {
    let api = served();
    #[rustfmt::skip]
    let cases: [(&[u8], &str); 10] = [ // body, start of the sentence
        (b"",                                     "invalid JSON: got EOF while reading request body"),
        (b"{",                                    "invalid JSON: EOF while parsing"),
        (b"[]",                                   "invalid JSON: invalid type: sequence, expected an object"),
        (b"null",                                 "invalid JSON: invalid type: null, expected an object"),
        (b"{} x",                                 "invalid JSON: trailing characters"),
        (b"{\"Role\":1}",                         "invalid JSON: invalid type: integer"),
        (b"{\"Labels\":{\"a\":1}}",               "invalid JSON: invalid type: integer"),
        (b"{\"Role\":\"\xff\"}",                  "invalid JSON: invalid unicode"),
        (b"{\"Role\":\"\\ud800\"}",               "invalid JSON: "),
        (b"\x00\x01\x02",                         "invalid JSON: "),
    ];
    for (body, start) in cases {
        let (status, sentence) = api.send("POST", "/nodes/host-1/update?version=2", body).await.error();
        assert!(status == 400 && sentence.starts_with(start), "{body:?}: {status} {sentence}");
    }
    for body in [
        r#"{"Raft":{"SnapshotInterval":-1}}"#.to_string(),
        r#"{"Raft":{"SnapshotInterval":1e300}}"#.into(),
        r#"{"Raft":[500]}"#.into(),
        r#"{"Raft":{"SnapshotInterval":99999999999999999999999}}"#.into(),
        format!("{}1{}", r#"{"Labels":"#.repeat(500), "}".repeat(500)),
    ] {
        let (status, sentence) = api.post("/swarm/update?version=1", &body).await.error();
        assert!(status == 400 && sentence.starts_with("invalid JSON: "), "{sentence}");
    }
}

#[tokio::test]
async fn an_oversized_body_is_refused_declared_or_not() {
    let api = served();
    let sentence = format!("the request body is larger than {API_BODY_BYTES_MAX} bytes");
    let declared = format!(
        "POST /swarm/update?version=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        API_BODY_BYTES_MAX + 1
    );
    let answer = api.raw(declared.as_bytes(), &sentence).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(&sentence), "{answer}");

    let mut stream = api.connect().await;
    let head = "POST /swarm/update?version=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..5 {
        // The server may have had enough already.
        let _ = stream.write_all(&chunk).await;
    }
    let answer = read_until(&mut stream, &sentence).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(&sentence), "{answer}");
}

#[tokio::test]
async fn a_body_of_the_largest_size_is_read() {
    let body = format!("{{{}}}", " ".repeat(API_BODY_BYTES_MAX - 2));
    let (status, sentence) = served().post("/swarm/update?version=99", &body).await.error();
    assert_eq!((status, sentence.as_str()), (500, "update out of sequence"));
}

#[tokio::test]
async fn what_is_not_http_is_closed() {
    let api = served();
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    let many_headers = format!("GET /nodes HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    let garbage: [&[u8]; 7] = [
        b"\x00\xff\x00\xff\r\n\r\n",
        b"GET /nodes HTTP/9.9\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /swarm/join HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /swarm/join HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        long_line.as_bytes(),
        many_headers.as_bytes(),
    ];
    for bytes in garbage {
        let answer = api.raw(bytes, "\r\n\r\n").await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown}: {answer}");
    }
    assert_eq!(api.get("/nodes").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_is_let_go() {
    let api = served();
    let head = api.raw(b"GET /nodes HTTP/1.1\r\nHost:", "").await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408 "), "{head}");
    let body = b"POST /swarm/update?version=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    let answer = api.raw(body, "within").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("the request body did not arrive within 10 s"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_let_go() {
    let cluster = FakeCluster::new();
    for number in 2..=127 {
        cluster.add(number, Role::Worker, &"long-name".repeat(2_000), NodeState::Ready);
    }
    let api = Api::new(FakeHost::manager(&cluster));
    let mut stream = api.connect().await;
    stream.write_all(b"GET /nodes HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    tokio::time::sleep(API_WRITE_STALL_MAX + Duration::from_secs(5)).await;
    // What fitted into the socket is there, the end is not.
    assert!(!read_until(&mut stream, "").await.contains("0\r\n\r\n"));
    assert_eq!(api.get("/nodes").await.json().as_array().map(Vec::len), Some(127));
}

#[tokio::test]
async fn large_bodies_that_stall_do_not_stop_small_ones() {
    let api = served();
    let mut stalled = Vec::new();
    for _ in 0..API_LARGE_BODIES_MAX + 4 {
        let mut stream = api.connect().await;
        let head = b"POST /swarm/update?version=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n";
        stream.write_all(head).await.expect("sent");
        stream.write_all(&[b' '; 200_000]).await.expect("sent");
        stalled.push(stream);
    }
    assert_eq!(api.post("/swarm/update?version=99", "{}").await.status, 500);
    assert_eq!(api.get("/nodes").await.status, 200);
}

#[tokio::test]
async fn one_connection_too_many_is_told_and_the_others_go_on() {
    let api = served();
    let mut held = Vec::new();
    for _ in 0..API_CONNECTIONS_MAX {
        held.push(api.connect().await);
    }
    let first = held.first_mut().expect("many");
    let request = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = api.raw(request, "already").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("this node serves 1024 connections already"), "{answer}");
    first.write_all(request).await.expect("sent");
    assert!(read_until(first, "OK").await.starts_with("HTTP/1.1 200 "));
    drop(held);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !api.raw(request, "\r\n\r\n").await.starts_with("HTTP/1.1 200 ") {
        assert!(tokio::time::Instant::now() < deadline, "closed connections give their place back");
    }
}

#[tokio::test]
async fn stopping_does_not_wait_for_idle_clients() {
    let api = served();
    let mut idle = api.connect().await;
    idle.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    read_until(&mut idle, "OK").await;
    let stalled = api.connect().await;
    tokio::time::timeout(Duration::from_secs(60), api.stop()).await.expect("stopped");
    assert_eq!(read_until(&mut idle, "").await, "");
    drop(stalled);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_target_and_no_body_makes_it_fail(
        method in prop_oneof![Just("GET"), Just("POST"), Just("DELETE"), Just("PUT")],
        first in prop_oneof![Just("nodes"), Just("swarm"), Just("services"), Just("tasks"), Just("v1.41"), Just("%2e")],
        rest in "[a-z0-9/%.?&=:-]{0,30}",
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let api = served();
            let head = format!("{method} /{first}/{rest} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
            let answer = api.raw(&[head.as_bytes(), &body].concat(), "\r\n\r\n").await;
            prop_assert!(answer.starts_with("HTTP/1.1 "), "{}", answer);
            Ok(())
        })?;
    }
}
