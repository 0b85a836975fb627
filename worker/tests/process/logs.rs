//! What a task writes, read back.

use common::object::container::Driver;
use common::time::Timestamp;
use common::wire::logs::LogStream;
use futures_util::StreamExt;
use std::io::Write;
use std::sync::Arc;
use worker::runtime::{LogOptions, RunError, Runtime};

use crate::world::{World, everything, shell, task, within};

#[tokio::test]
async fn both_streams_are_kept_with_their_times() {
    let world = World::new();
    let job = shell("echo out; echo err >&2; printf 'no end'");
    world.start(&job).await;
    world.exit(&job).await;
    let lines = world.runtime.logs(job.task, everything()).await.unwrap();
    let lines: Vec<_> = within(lines.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
    assert!(lines.iter().all(|line| line.task == job.task && line.at > Timestamp(0)));
    assert!(lines.is_sorted_by_key(|line| line.at));
    let of = |stream| {
        let of = lines.iter().filter(|line| line.stream == stream).map(|line| line.data.as_slice());
        of.collect::<Vec<_>>()
    };
    assert_eq!(of(LogStream::Stdout), [&b"out\n"[..], b"no end"]);
    assert_eq!(of(LogStream::Stderr), [&b"err\n"[..]]);
    let first = lines[0].at;
    assert_eq!(world.logs(&job, LogOptions { stdout: false, ..everything() }).await, ["err\n"]);
    assert_eq!(world.logs(&job, LogOptions { since: Some(first), ..everything() }).await.len(), 3);
    let before = Some(Timestamp(first.0 - 1));
    assert_eq!(world.logs(&job, LogOptions { until: before, ..everything() }).await, [""; 0]);
    assert_eq!(world.logs(&job, LogOptions { tail: Some(1), ..everything() }).await, ["no end"]);
    assert_eq!(world.logs(&job, LogOptions { tail: Some(0), ..everything() }).await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn a_follower_gets_each_line_as_it_comes_and_ends_with_the_task() {
    let world = World::new();
    let line = "mkfifo in; while read word; do echo got $word; done < in";
    let echo = shell(line);
    world.prepare(&echo).await.unwrap();
    let options = LogOptions { follow: true, ..everything() };
    let mut lines = world.runtime.logs(echo.task, options).await.unwrap();
    within(world.runtime.start(&echo)).await.unwrap();
    let input = world.work(&echo).join("in");
    crate::world::eventually("it listens", || input.exists()).await;
    // Opened once, by both sides: a reader that opens it anew may find the writer of the line before, and its end.
    let opened = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(input));
    let mut input = within(opened).await.unwrap().unwrap();
    for word in ["one", "two", "three"] {
        writeln!(input, "{word}").unwrap();
        let line = within(lines.next()).await.unwrap().unwrap();
        assert_eq!(line.data, format!("got {word}\n").as_bytes());
    }
    drop(input);
    assert!(within(lines.next()).await.is_none());
    world.end().await;
}

#[tokio::test]
async fn a_follower_stops_at_its_time_and_with_a_removed_task() {
    let world = World::new();
    let silent = shell("echo ready; exec sleep 1000");
    world.start(&silent).await;
    use common::time::Clock;
    let soon = common::time::SystemClock.now().plus(std::time::Duration::from_millis(200));
    let options = LogOptions { follow: true, until: Some(soon), ..everything() };
    assert_eq!(world.logs(&silent, options).await, ["ready\n"]);
    let options = LogOptions { follow: true, tail: Some(0), ..everything() };
    let mut lines = world.runtime.logs(silent.task, options).await.unwrap();
    let (next, removed) = tokio::join!(within(lines.next()), within(world.runtime.remove(silent.task)));
    removed.unwrap();
    assert!(next.is_none());
    assert!(matches!(world.runtime.logs(silent.task, everything()).await, Err(RunError::Fatal(_))));
    world.end().await;
}

#[tokio::test]
async fn a_chatty_task_keeps_within_its_bounds_and_the_newest_lines() {
    let world = World::new();
    let chatty = task(|spec| {
        spec.container.command = ["/bin/sh", "-c", "seq 1 100000"].map(str::to_owned).to_vec();
        let options = [("max-size", "64k"), ("max-file", "4")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        spec.log_driver = Some(Driver { name: "local".into(), options });
    });
    world.start(&chatty).await;
    assert_eq!(world.exit(&chatty).await.code, 0);
    let files = std::fs::read_dir(world.folder(&chatty).join("log")).unwrap();
    let sizes: Vec<u64> = files.map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 4);
    let kept = world.logs(&chatty, everything()).await;
    let expected: Vec<String> = (100_001 - kept.len()..100_001).map(|number| format!("{number}\n")).collect();
    assert!(kept.len() > 1_000);
    assert_eq!(kept, expected);
    assert_eq!(
        world.logs(&chatty, LogOptions { tail: Some(3), ..everything() }).await,
        ["99998\n", "99999\n", "100000\n"]
    );
    world.end().await;
}

#[tokio::test]
async fn a_task_may_keep_no_log_at_all() {
    let world = World::new();
    let mut quiet = shell("echo unheard");
    Arc::make_mut(&mut quiet.spec).log_driver = Some(Driver { name: "none".into(), ..Driver::default() });
    world.start(&quiet).await;
    assert_eq!(world.exit(&quiet).await.code, 0);
    assert!(matches!(world.runtime.logs(quiet.task, everything()).await, Err(RunError::Fatal(_))));
    world.end().await;
}
