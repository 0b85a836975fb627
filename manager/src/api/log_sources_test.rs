//! Logs of several tasks as one stream: in order of time where there is order, and nothing lost where a reader is slow.

use common::wire::frame::write_message;
use common::wire::logs::LogStream;
use proptest::prelude::*;

use super::*;

fn line(task: u128, at: u64) -> LogLine {
    LogLine { task: TaskId(task), at: Timestamp(at), stream: LogStream::Stdout, data: b"x\n".to_vec() }
}

/// A source that a test fills by hand.
fn source(sources: &mut Sources, node: u128) -> mpsc::Sender<Item> {
    let (sender, items) = mpsc::channel(1_000);
    sources.sources.push(Source { node: NodeId(node), items, head: None, late: false, ended: false });
    sender
}

async fn drain(sources: &mut Sources) -> Vec<u64> {
    let mut times = Vec::new();
    while let Next::Line(_, line) = sources.next().await {
        times.push(line.at.0);
    }
    times
}

proptest! {
    #[test]
    fn what_is_in_order_at_each_node_is_in_order_in_all(mut logs in prop::collection::vec(prop::collection::vec(0u64..100, 0..20), 0..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut sources = Sources::new(false);
            let mut all: Vec<u64> = logs.iter().flatten().copied().collect();
            for (node, log) in logs.iter_mut().enumerate() {
                log.sort_unstable();
                let sender = source(&mut sources, node as u128);
                for at in log {
                    sender.send(Item::Line(line(node as u128, *at))).await.expect("room");
                }
            }
            all.sort_unstable();
            assert_eq!(drain(&mut sources).await, all);
            assert!(sources.missing.is_empty());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_nothing_is_given_up_and_named() {
    let mut sources = Sources::new(false);
    let silent = source(&mut sources, 1);
    let speaks = source(&mut sources, 2);
    speaks.send(Item::Line(line(2, 1))).await.expect("room");
    speaks.send(Item::Line(line(2, 2))).await.expect("room");
    drop(speaks);
    assert_eq!(drain(&mut sources).await, [1, 2]);
    assert_eq!(sources.missing, [format!("node {} did not answer in time", NodeId(1))]);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn with_follow_a_silent_node_delays_a_line_by_a_moment_and_may_speak_later() {
    let mut sources = Sources::new(true);
    let silent = source(&mut sources, 1);
    let speaks = source(&mut sources, 2);
    speaks.send(Item::Line(line(2, 5))).await.expect("room");
    let before = tokio::time::Instant::now();
    assert!(matches!(sources.next().await, Next::Line(_, line) if line.at.0 == 5));
    assert!(before.elapsed() >= LOG_MERGE_WAIT);
    // Others get ahead of nobody who speaks: the older line of the two comes first.
    speaks.send(Item::Line(line(2, 9))).await.expect("room");
    silent.send(Item::Line(line(1, 7))).await.expect("room");
    assert!(matches!(sources.next().await, Next::Line(_, line) if line.at.0 == 7));
    // What else happens meanwhile makes nobody wait longer than that.
    for _ in 0..100 {
        let next = tokio::time::timeout(LOG_MERGE_WAIT / 10, sources.next()).await;
        if let Ok(Next::Line(_, line)) = next {
            assert_eq!(line.at.0, 9);
            return;
        }
    }
    panic!("the line never came");
}

#[tokio::test]
async fn bytes_that_are_no_message_end_a_stream_and_nothing_else() {
    let (mut near, mut far) = tokio::io::duplex(1 << 16);
    write_message(&mut far, &LogMessage::Line(line(1, 1))).await.expect("sent");
    tokio::io::AsyncWriteExt::write_all(&mut far, &[0xff; 64]).await.expect("sent");
    drop(far);
    let first = read_message::<LogMessage>(&mut near, LOG_FRAME_BYTES_MAX).await;
    assert!(matches!(first, Ok(Some(LogMessage::Line(_)))));
    assert!(read_message::<LogMessage>(&mut near, LOG_FRAME_BYTES_MAX).await.is_err());
}
