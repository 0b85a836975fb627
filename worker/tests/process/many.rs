//! Many tasks at a time.

use std::time::Duration;

use futures_util::future::join_all;
use worker::runtime::{Runtime, Seen};

use crate::world::{World, eventually, processes, shell, supervisors, task, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_start_and_stop_at_once() {
    let world = World::new();
    let sleeper = || task(|spec| spec.container.command = vec!["sleep".into(), "1000".into()]);
    let tasks: Vec<_> = (0..100).map(|_| sleeper()).collect();
    let begun = tokio::time::Instant::now();
    join_all(tasks.iter().map(|setup| world.start(setup))).await;
    let started = begun.elapsed();
    let memory = private_kib(supervisors(&tasks[0])[0]);
    for setup in &tasks {
        assert!(matches!(world.look(setup).await, Seen::Running { .. }));
    }
    let begun = tokio::time::Instant::now();
    join_all(tasks.iter().map(|setup| world.stop(setup))).await;
    let stopped = begun.elapsed();
    eprintln!(
        "100 tasks started in {started:?}, stopped in {stopped:?}; {memory} KiB private per supervisor"
    );
    for setup in &tasks {
        assert_eq!(world.exit(setup).await.code, 143);
        assert_eq!(processes(setup), [0; 0]);
    }
    world.end().await;
}

/// A start may be given up at any point and tried again: there is one task all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_given_up_half_way_is_one_start() {
    let world = World::new();
    for delay in 0..20 {
        let web = shell("echo ready; exec sleep 1000");
        world.prepare(&web).await.unwrap();
        let patience = Duration::from_micros(delay * 300);
        let _ = tokio::time::timeout(patience, world.runtime.start(&web)).await;
        within(world.runtime.start(&web)).await.unwrap();
        // Another one, that found the task in good hands, is on its way out.
        eventually("one supervisor is left", || supervisors(&web).len() == 1).await;
        assert_eq!(processes(&web), [world.pid(&web).await], "after {patience:?}");
        world.ready(&web).await;
        world.stop(&web).await;
        assert_eq!(world.output(&web).await, "ready\n");
    }
    world.end().await;
}

fn private_kib(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}
