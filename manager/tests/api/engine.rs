//! What is handed to the Docker Engine, seen from an engine that is a few lines of test.

use std::path::PathBuf;
use std::time::Duration;

use manager::api::EngineSettings;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::client::{Api, read_until};
use crate::fake::{FakeCluster, FakeHost};

const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nBuilder-Version: 2\r\nDocker-Experimental: true\r\nServer: Docker/x\r\nContent-Length: 2\r\n\r\nOK";

/// A socket that a test answers by hand.
struct Engine {
    _folder: TempDir,
    path: PathBuf,
    listener: UnixListener,
}

/// One connection that the engine got, and its request's head.
struct Asked {
    stream: UnixStream,
    head: String,
}

impl Engine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        Self { _folder: folder, path, listener }
    }

    fn settings(&self) -> EngineSettings {
        EngineSettings { socket: Some(self.path.clone()) }
    }

    async fn next(&self) -> Asked {
        let waiting = tokio::time::timeout(Duration::from_secs(60), self.listener.accept());
        let (mut stream, _) = waiting.await.expect("asked in time").expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        Asked { stream, head: String::from_utf8(head).expect("text").to_ascii_lowercase() }
    }

    /// The next request that is not a `_ping`; those are answered.
    async fn asked(&self) -> Asked {
        loop {
            let mut asked = self.next().await;
            if !asked.head.starts_with("get /_ping ") {
                return asked;
            }
            asked.answer(PING).await;
        }
    }
}

impl Asked {
    async fn answer(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("sent");
    }

    fn line(&self) -> &str {
        self.head.lines().next().expect("a line")
    }
}

fn served(engine: &Engine) -> Api {
    Api::with_engine(FakeHost::manager(&FakeCluster::new()), engine.settings())
}

async fn send(api: &Api, text: &str) -> UnixStream {
    let mut stream = api.connect().await;
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream
}

async fn closed(stream: &mut UnixStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut byte)).await;
    let read = read.expect("the end comes in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn the_version_in_the_path_is_lowered_to_the_engine_s() {
    let engine = Engine::new();
    let api = served(&engine);
    #[rustfmt::skip]
    let cases = [ // asked of us, asked of the engine
        ("/v1.50/containers/json?all=1&filters=%7B%7D", "get /v1.41/containers/json?all=1&filters=%7b%7d http/1.1"),
        ("/v1.30/containers/json",                      "get /v1.30/containers/json http/1.1"),
        ("/images/a%2fb/json",                          "get /images/a%2fb/json http/1.1"),
    ];
    for (ours, theirs) in cases {
        let mut client =
            send(&api, &format!("GET {ours} HTTP/1.1\r\nHost: x\r\nX-Registry-Auth: abc\r\n\r\n")).await;
        let mut asked = engine.asked().await;
        assert_eq!(asked.line(), theirs);
        assert!(asked.head.contains("x-registry-auth: abc\r\n"), "{}", asked.head);
        asked.answer("HTTP/1.1 409 Conflict\r\nApi-Version: 1.41\r\nServer: Docker/x\r\nX-Own: kept\r\nContent-Length: 3\r\n\r\nabc").await;
        let answer = read_until(&mut client, "abc").await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 409 ") && answer.ends_with("\r\n\r\nabc"), "{answer}");
        assert!(answer.contains("x-own: kept\r\n") && answer.contains("api-version: 1.41\r\n"), "{answer}");
        assert!(answer.contains("server: swarm/") && !answer.contains("docker/x"), "{answer}");
    }
}

#[tokio::test]
async fn what_we_say_we_speak_is_what_the_engine_speaks() {
    let engine = Engine::new();
    let api = served(&engine);
    engine.next().await.answer(PING).await;
    let mut client = send(&api, "HEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = read_until(&mut client, "\r\n\r\n").await;
    let answer = answer.to_ascii_lowercase();
    for header in
        ["api-version: 1.41", "builder-version: 2", "docker-experimental: true", "swarm: active/manager"]
    {
        assert!(answer.contains(&format!("{header}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_while_they_come() {
    let engine = Engine::new();
    let api = served(&engine);
    let head = "POST /v1.41/build?t=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-tar\r\n\r\n";
    let mut client = send(&api, head).await;
    client.write_all(b"5\r\nfirst\r\n").await.expect("sent");
    let mut asked = engine.asked().await;
    assert!(asked.head.contains("transfer-encoding: chunked"), "{}", asked.head);
    assert!(read_until(&mut asked.stream, "first").await.contains("first"));
    // The answer starts while the request still comes.
    asked.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nstep 1\r\n").await;
    assert!(read_until(&mut client, "step 1").await.contains("step 1"));
    client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.expect("sent");
    assert!(read_until(&mut asked.stream, "second\r\n0\r\n\r\n").await.contains("second"));
    asked.answer("6\r\nstep 2\r\n0\r\n\r\n").await;
    assert!(read_until(&mut client, "0\r\n\r\n").await.contains("step 2"));
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel_with_two_ends() {
    let engine = Engine::new();
    let api = served(&engine);
    let request = "POST /v1.41/containers/x/attach?stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
    let mut client = send(&api, request).await;
    let mut asked = engine.asked().await;
    assert!(
        asked.head.contains("connection: upgrade\r\n") && asked.head.contains("upgrade: tcp\r\n"),
        "{}",
        asked.head
    );
    asked.answer("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello").await;
    let answer = read_until(&mut client, "hello").await;
    assert!(
        answer.starts_with("HTTP/1.1 101 ") && answer.contains("application/vnd.docker.raw-stream"),
        "{answer}"
    );
    // The client has no more to say and still listens.
    client.write_all(b"typed").await.expect("sent");
    client.shutdown().await.expect("half closed");
    assert_eq!(read_until(&mut asked.stream, "").await, "typed");
    asked.answer("last words").await;
    drop(asked);
    assert_eq!(read_until(&mut client, "").await, "last words");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer() {
    let engine = Engine::new();
    let api = served(&engine);
    let request = "POST /session HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let mut client = send(&api, request).await;
    let mut asked = engine.asked().await;
    asked.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").await;
    assert!(read_until(&mut client, "\r\n\r\nno").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_at_the_engine() {
    let engine = Engine::new();
    let api = served(&engine);
    // Before the engine has answered.
    let client =
        send(&api, "POST /v1.41/containers/x/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    let mut asked = engine.asked().await;
    drop(client);
    closed(&mut asked.stream).await;
    // In the middle of an answer that says nothing for long.
    let mut client = send(&api, "GET /v1.41/containers/x/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut asked = engine.asked().await;
    asked.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nline\r\n").await;
    read_until(&mut client, "line").await;
    drop(client);
    closed(&mut asked.stream).await;
}

#[tokio::test]
async fn an_engine_that_dies_in_the_middle_cuts_the_answer_short() {
    let engine = Engine::new();
    let api = served(&engine);
    for path in ["containers/x/logs", "events"] {
        let mut client = send(&api, &format!("GET /v1.41/{path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let mut asked = engine.asked().await;
        asked.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n").await;
        read_until(&mut client, "line").await;
        drop(asked);
        // No last chunk: the client sees that this is not the end.
        assert!(!read_until(&mut client, "").await.contains("0\r\n\r\n"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_engine_s_own_swarm_is_out_of_reach() {
    let engine = Engine::new();
    let api = served(&engine);
    for target in [
        "/swarm/init2",
        "/v1.41/swarm/anything",
        "/%73warm",
        "/nodes/a/b/c",
        "/v1.41/services/x/y/z",
        "/tasks/x/y",
        "//swarm",
        "/x/../swarm",
        "/x%2f..%2fswarm",
        "/secrets/a/b",
        "/configs/a/b",
        "/info/x",
        "/v1.41/%6eodes/x/y",
    ] {
        for method in ["GET", "POST", "DELETE", "PUT"] {
            let answer = api
                .raw(
                    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").as_bytes(),
                    "\r\n\r\n",
                )
                .await;
            assert!(answer.starts_with("HTTP/1.1 "), "{method} {target}: {answer}");
        }
    }
    // Whatever reached the engine by now waits in its queue: only the question for its version may.
    let mut asked = Vec::new();
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(1), engine.next()).await {
        asked.push(next.line().to_owned());
    }
    assert!(asked.iter().all(|line| line == "get /_ping http/1.1"), "{asked:?}");
}

#[tokio::test]
async fn info_is_the_engine_s_with_our_swarm_in_it() {
    let engine = Engine::new();
    let api = served(&engine);
    let answering = async {
        let mut asked = engine.asked().await;
        assert_eq!(asked.line(), "get /v1.41/info http/1.1");
        let body = r#"{"ID":"E","Containers":3,"Swarm":{"NodeID":"theirs","LocalNodeState":"active"},"Warnings":["WARNING: x"],"Odd":{"kept":[1]}}"#;
        asked.answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    };
    let (info, ()) = tokio::join!(api.get("/v1.41/info"), answering);
    let info = info.json();
    assert_eq!(
        (&info["ID"], &info["Containers"], &info["Odd"]),
        (&json!("E"), &json!(3), &json!({"kept": [1]}))
    );
    assert_ne!(info["Swarm"]["NodeID"], "theirs");
    assert_eq!(info["Swarm"]["ControlAvailable"], true);
    assert_eq!(info["Warnings"], json!(["WARNING: x"]));
}

#[tokio::test]
async fn an_engine_that_is_down_is_named_and_the_rest_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("nobody.sock");
    let engine = EngineSettings { socket: Some(socket.clone()) };
    let api = Api::with_engine(FakeHost::manager(&FakeCluster::new()), engine);
    let (status, sentence) = api.get("/v1.41/containers/json").await.error();
    assert_eq!(status, 503);
    let start = format!("connect to the Docker Engine of this node at {}: No such file", socket.display());
    assert!(sentence.starts_with(&start), "{sentence}");
    assert_eq!(api.get("/nodes").await.status, 200);
    assert_eq!(api.get("/_ping").await.header("api-version"), "1.50");
    let info = api.get("/info").await.json();
    assert_eq!(info["Swarm"]["LocalNodeState"], "active");
    assert!(info["Warnings"][0].as_str().expect("a warning").contains("nobody.sock"), "{info}");
    assert_eq!(api.get("/version").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_does_not_hang_us() {
    let engine = Engine::new();
    let api = served(&engine);
    for target in ["/_ping", "/version", "/info", "/nodes"] {
        assert_eq!(api.get(target).await.status, 200, "{target}");
    }
    let (status, sentence) = api.get("/containers/json").await.error();
    assert_eq!(
        (status, sentence.as_str()),
        (503, "the Docker Engine of this node did not answer /_ping in time")
    );
}

#[tokio::test]
async fn a_socket_that_leads_back_to_us_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("engine.sock");
    let engine = EngineSettings { socket: Some(link.clone()) };
    let api = Api::with_engine(FakeHost::manager(&FakeCluster::new()), engine);
    std::os::unix::fs::symlink(api.socket(), &link).expect("a link");
    let (status, sentence) = api.get("/containers/json").await.error();
    assert_eq!(
        (status, sentence.as_str()),
        (503, "the Docker Engine of this node answered /_ping with 508 Loop Detected")
    );
    assert_eq!(api.get("/nodes").await.status, 200);
}
