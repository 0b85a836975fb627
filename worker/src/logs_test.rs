//! Log streams of fake tasks, in virtual time.

use std::time::Duration;

use common::object::TaskState::*;
use common::wire::frame::expect_message;
use common::wire::logs::LogStream;
use tokio::io::DuplexStream;

use super::*;
use crate::world_test::World;

/// The asker's end of a stream that the agent answers.
fn ask(world: &World, request: LogRequest) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 10);
    let (recv, send) = tokio::io::split(far);
    let agent = world.agent.clone();
    common::shutdown::Tasks::new().spawn(async move {
        agent.serve_logs(Stream { send: Box::new(send), recv: Box::new(recv) }).await;
    });
    let mut near = near;
    let body = common::wire::codec::encode(&request);
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    // Fits into the stream's buffer, so this is done at once.
    futures_util::FutureExt::now_or_never(near.write_all(&frame)).expect("no wait").unwrap();
    near
}

fn request(tasks: &[u128]) -> LogRequest {
    LogRequest {
        tasks: tasks.iter().map(|task| TaskId(*task)).collect(),
        stdout: true,
        stderr: true,
        ..LogRequest::default()
    }
}

/// Everything until the end: lines with their task and second, ends with their error.
async fn read_all(stream: &mut DuplexStream) -> Vec<String> {
    let mut got = Vec::new();
    while let Some(message) = read_message::<LogMessage>(stream, 1 << 20).await.unwrap() {
        got.push(shown(message));
    }
    got
}

fn shown(message: LogMessage) -> String {
    match message {
        LogMessage::Line(line) => {
            let text = String::from_utf8(line.data).unwrap();
            let stream = if line.stream == LogStream::Stderr { "!" } else { "" };
            let last = text.split_once(' ').map_or("", |(_, rest)| rest).trim_end().to_string();
            format!("{}{stream} {last}", line.task.0)
        }
        LogMessage::Ended { task, error } => format!("{} ends: {}", task.0, error.unwrap_or_default()),
    }
}

#[tokio::test(start_paused = true)]
async fn lines_of_several_tasks_come_in_order_of_time() {
    let mut world = World::new(&["FAKE_LOG_MS=1000"]);
    world.tell(1, Running);
    world.until_state(1, Running).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.tell(2, Running);
    world.until_state(2, Running).await;
    tokio::time::sleep(Duration::from_millis(1700)).await;
    world.tell(3, Ready);
    world.until_state(3, Ready).await;
    let got = read_all(&mut ask(&world, request(&[2, 1, 3, 9, 1]))).await;
    let (ends, lines): (Vec<String>, Vec<String>) = got.into_iter().partition(|text| text.contains("ends:"));
    assert_eq!(lines, ["1 started", "2 started", "1 1", "2 1", "1 2"]);
    let unknown = format!("9 ends: task {} is not on this node", TaskId(9));
    assert_eq!(ends.iter().filter(|end| **end == unknown).count(), 1);
    assert_eq!(ends.len(), 4);
    let tail = LogRequest { tail: Some(1), ..request(&[1]) };
    assert_eq!(read_all(&mut ask(&world, tail)).await, ["1 2", "1 ends: "]);
}

#[tokio::test(start_paused = true)]
async fn who_follows_gets_lines_as_they_come_until_the_end() {
    let mut world =
        World::new(&["FAKE_PREPARE_MS=5000", "FAKE_LOG_MS=1000", "FAKE_RUN_MS=2500", "FAKE_EXIT=2"]);
    world.tell(1, Running);
    let follow = LogRequest { follow: true, ..request(&[1]) };
    let mut stream = ask(&world, follow);
    let begin = tokio::time::Instant::now();
    let first: LogMessage = expect_message(&mut stream, 1 << 20).await.unwrap();
    assert_eq!((shown(first), begin.elapsed().as_secs()), ("1 started".into(), 5));
    let got = read_all(&mut stream).await;
    assert_eq!(got, ["1 1", "1 2", "1! ended with 2", "1 ends: "]);
    assert_eq!(begin.elapsed().as_millis(), 7500);
    // One that never comes to run has nothing to say.
    let mut world = World::new(&["FAKE_PREPARE_MS=5000", "FAKE_REJECT=no"]);
    world.tell(1, Running);
    let follow = LogRequest { follow: true, ..request(&[1]) };
    assert_eq!(read_all(&mut ask(&world, follow)).await, ["1 ends: "]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_and_one_that_goes_hold_up_nothing() {
    let mut world = World::new(&["FAKE_LOG_MS=1"]);
    world.tell(1, Running);
    world.until_state(1, Running).await;
    let follow = LogRequest { follow: true, ..request(&[1]) };
    let slow = ask(&world, follow.clone());
    tokio::time::sleep(Duration::from_secs(100)).await;
    world.tell(1, Shutdown);
    world.until_state(1, Shutdown).await;
    drop(slow);
    let gone = ask(&world, follow);
    drop(gone);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let free = world.agent.shared.log_streams.available_permits();
    assert_eq!(free, common::limits::LOG_STREAMS_MAX, "both streams are done with");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_request_end_the_stream() {
    let world = World::new(&[]);
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02\x01\xff", b""] {
        let (mut near, far) = tokio::io::duplex(64);
        let (recv, send) = tokio::io::split(far);
        near.write_all(bytes).await.unwrap();
        world.agent.serve_logs(Stream { send: Box::new(send), recv: Box::new(recv) }).await;
        assert_eq!(read_all(&mut near).await, Vec::<String>::new());
    }
}
