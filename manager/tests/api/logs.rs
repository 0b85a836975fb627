//! `/services/{name}/logs` and `/tasks/{name}/logs`; the tests answer in the place of nodes.

use std::sync::Arc;
use std::time::Duration;

use common::object::{NodeId, NodeState, Role, Slot, TaskId, TaskState};
use common::time::Timestamp;
use common::wire::frame::write_message;
use common::wire::logs::{LogLine, LogMessage, LogStream};
use serde_json::json;

use crate::client::{Api, read_until};
use crate::fake::{FakeCluster, FakeHost, LogCall, NOW, id_of};
use crate::work::{created, spec, update};

/// `web` with a task on each of two nodes.
async fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Worker, "host-2", NodeState::Ready);
    let api = Api::new(FakeHost::manager(&cluster));
    created(&api, &spec("web", "nginx:1")).await;
    cluster.task("web", 1, Slot::Number(1), Some(1), TaskState::Running);
    cluster.task("web", 2, Slot::Number(2), Some(2), TaskState::Running);
    (api, cluster)
}

async fn asked(cluster: &FakeCluster) -> LogCall {
    let mut calls = cluster.log_asked.lock().await;
    let call = tokio::time::timeout(Duration::from_secs(60), calls.recv()).await;
    call.expect("a node is asked in time").expect("the cluster is there")
}

fn line(task: u8, seconds: u64, text: &str) -> LogMessage {
    let at = NOW.plus(Duration::from_secs(seconds));
    let data = format!("{text}\n").into_bytes();
    LogMessage::Line(LogLine { task: TaskId(id_of(task)), at, stream: LogStream::Stdout, data })
}

fn ended(task: u8, error: Option<&str>) -> LogMessage {
    LogMessage::Ended { task: TaskId(id_of(task)), error: error.map(Into::into) }
}

async fn say(call: &mut LogCall, messages: &[LogMessage]) {
    for message in messages {
        write_message(&mut call.stream, message).await.expect("somebody listens");
    }
}

/// A log without its frames.
fn text(framed: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = framed;
    while let Some((head, body)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (piece, after) = body.split_at(length);
        text.push_str(std::str::from_utf8(piece).expect("text"));
        rest = after;
    }
    text
}

#[tokio::test]
async fn logs_of_several_nodes_are_one_in_order_of_time() {
    let (api, cluster) = served().await;
    let nodes = async {
        let mut calls = [asked(&cluster).await, asked(&cluster).await];
        calls.sort_by_key(|call| call.node);
        let [one, two] = &mut calls;
        assert_eq!((one.node, two.node), (NodeId(id_of(1)), NodeId(id_of(2))));
        assert_eq!((one.request.tail, one.request.stderr, one.request.follow), (Some(5), false, false));
        assert_eq!(one.request.since, Some(Timestamp(1_795_161_600_500_000_000)));
        assert_eq!(two.request.tasks, [TaskId(id_of(2))]);
        // The later node answers first.
        say(two, &[line(2, 2, "b"), line(2, 3, "c"), ended(2, None)]).await;
        say(one, &[line(1, 1, "a"), line(1, 4, "d"), ended(1, None)]).await;
    };
    let target = "/v1.41/services/web/logs?stdout=1&tail=5&since=1795161600.5";
    let (answer, ()) = tokio::join!(api.get(target), nodes);
    assert_eq!(answer.header("content-type"), "application/vnd.docker.multiplexed-stream");
    assert!(answer.bytes.starts_with(b"\x01\0\0\0\0\0\0\x02a\n"), "{:?}", answer.text);
    assert_eq!(text(&answer.bytes), "a\nb\nc\nd\n");
}

#[tokio::test]
async fn details_and_timestamps_stand_before_each_line() {
    let (api, cluster) = served().await;
    let service = cluster.service("web").id;
    let node = async { say(&mut asked(&cluster).await, &[line(1, 1, "a"), ended(1, None)]).await };
    let task = TaskId(id_of(1));
    let target = format!("/tasks/{task}/logs?stdout=1&stderr=1&details=1&timestamps=true");
    let (answer, ()) = tokio::join!(api.get(&target), node);
    let node = NodeId(id_of(1));
    assert_eq!(
        text(&answer.bytes),
        format!(
            "2026-11-20T08:00:01.000000000Z com.docker.swarm.node.id={node},com.docker.swarm.service.id={service},com.docker.swarm.task.id={task} a\n"
        )
    );
}

#[tokio::test]
async fn what_is_missing_is_said_and_the_rest_is_shown() {
    let (api, cluster) = served().await;
    cluster.add(3, Role::Worker, "host-3", NodeState::Down);
    cluster.dead.lock().unwrap().insert(NodeId(id_of(3)));
    cluster.task("web", 3, Slot::Number(3), Some(3), TaskState::Running);
    let waiting = cluster.task("web", 4, Slot::Number(4), None, TaskState::Pending);
    let nodes = async {
        let mut calls = [asked(&cluster).await, asked(&cluster).await];
        calls.sort_by_key(|call| call.node);
        let [one, mut two] = calls;
        say(&mut two, &[line(2, 1, "whole"), ended(2, Some("the log driver cannot be read"))]).await;
        drop(one);
    };
    let (answer, ()) = tokio::join!(api.get("/services/web/logs?stdout=1"), nodes);
    let text = text(&answer.bytes);
    let (first, warning) = text.split_once('\n').expect("two lines");
    assert_eq!(first, "whole");
    let start =
        "warning: incomplete log stream. some logs could not be retrieved for the following reasons: ";
    assert!(warning.starts_with(start), "{warning}");
    let reasons = [
        format!("node {} is not available", NodeId(id_of(3))),
        format!("node {} disconnected unexpectedly", NodeId(id_of(1))),
        format!("task {} has not been scheduled", waiting.id),
        format!("task {}: the log driver cannot be read", TaskId(id_of(2))),
    ];
    for reason in reasons {
        assert!(warning.contains(&reason), "{reason}: {warning}");
    }
}

#[tokio::test]
async fn a_terminal_s_log_has_no_frames() {
    let (api, cluster) = served().await;
    update(&api, "web", "", |spec| spec["TaskTemplate"]["ContainerSpec"]["TTY"] = json!(true)).await;
    let nodes = async {
        for _ in 0..2 {
            let mut call = asked(&cluster).await;
            let task = if call.node == NodeId(id_of(1)) { 1 } else { 2 };
            say(&mut call, &[line(task, 1, "x"), ended(task, None)]).await;
        }
    };
    let (answer, ()) = tokio::join!(api.get("/services/web/logs?stdout=1"), nodes);
    assert_eq!(answer.header("content-type"), "application/vnd.docker.raw-stream");
    assert_eq!(answer.text, "x\nx\n");
}

#[tokio::test]
async fn what_replaces_a_task_is_followed_too() {
    let (api, cluster) = served().await;
    let request = "GET /services/web/logs?stdout=1&follow=1&tail=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut client = api.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.expect("sent");
    let mut calls = [asked(&cluster).await, asked(&cluster).await];
    calls.sort_by_key(|call| call.node);
    let [mut one, two] = calls;
    say(&mut one, &[line(1, 1, "from the first")]).await;
    // The second node says nothing for long, and nobody waits for it.
    read_until(&mut client, "from the first").await;

    say(&mut one, &[ended(1, None)]).await;
    drop(one);
    cluster.change_task(TaskId(id_of(1)), |task| task.status.state = TaskState::Failed);
    let next = cluster.task("web", 3, Slot::Number(1), None, TaskState::Pending);
    cluster.change_task(next.id, |task| task.node = Some(NodeId(id_of(2))));
    let mut three = asked(&cluster).await;
    assert_eq!((three.node, three.request.tail), (NodeId(id_of(2)), None));
    assert_eq!(three.request.tasks, [next.id]);
    say(&mut three, &[line(3, 2, "from its successor")]).await;
    read_until(&mut client, "from its successor").await;

    // A stream that breaks off is taken up after the last line.
    drop(three);
    let mut again = asked(&cluster).await;
    assert_eq!(again.request.since, Some(NOW.plus(Duration::from_secs(2)).plus(Duration::from_nanos(1))));
    say(&mut again, &[line(3, 3, "and goes on")]).await;
    read_until(&mut client, "and goes on").await;

    // It ends with the service, once its tasks have said all.
    api.send("DELETE", "/services/web", "").await;
    say(&mut again, &[ended(3, None)]).await;
    let mut two = two;
    say(&mut two, &[ended(2, None)]).await;
    drop((again, two));
    assert!(read_until(&mut client, "").await.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn nodes_are_left_alone_when_the_client_has_gone() {
    let (api, cluster) = served().await;
    let mut client = api.connect().await;
    let request = "GET /services/web/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.expect("sent");
    let mut calls = [asked(&cluster).await, asked(&cluster).await];
    drop(client);
    for call in &mut calls {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut call.stream, &mut byte);
        let read = tokio::time::timeout(Duration::from_secs(60), read).await.expect("the end in time");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_nodes() {
    let (api, cluster) = served().await;
    let mut client = api.connect().await;
    let request = "GET /tasks/web.1.{id}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"
        .replace("{id}", &TaskId(id_of(1)).to_string());
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.expect("sent");
    let mut call = asked(&cluster).await;
    let long = line(1, 1, &"x".repeat(64 << 10));
    let mut sent = 0;
    // Sockets and queues take some of it, and then no more.
    while sent < 10_000
        && tokio::time::timeout(Duration::from_millis(500), write_message(&mut call.stream, &long))
            .await
            .is_ok()
    {
        sent += 1;
    }
    assert!(sent < 1_000, "{sent} lines of 64 KiB were taken of a client that reads nothing");
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let (api, _) = served().await;
    #[rustfmt::skip]
    let cases = [
        ("/services/web/logs",                         400, "must specify at least one of 'stdout' or 'stderr'"),
        ("/services/web/logs?stdout=0&stderr=false",   400, "must specify at least one of 'stdout' or 'stderr'"),
        ("/services/web/logs?stdout=1&tail=-1",        400, "tail value must be a positive integer or \"all\", not \"-1\""),
        ("/services/web/logs?stdout=1&since=x",        400, "invalid value for since: \"x\" is not a time"),
        ("/services/nobody/logs?stdout=1",             404, "service nobody not found"),
        ("/tasks/nobody/logs?stderr=1",                404, "task nobody not found"),
    ];
    for (target, status, sentence) in cases {
        assert_eq!(api.get(target).await.error(), (status, sentence.into()), "{target}");
    }
}
