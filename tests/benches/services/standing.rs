//! Tasks that just run: what they cost the leader while nothing changes.
//!
//! Watched for longer than the time in which a leader looks at everything once. The tasks run on another node, so
//! that what is seen is the managing of them.

use std::time::Duration;

use anyhow::Context;
use harness::figures::{Figures, Limit, Row, Table};
use harness::services::Runtime;

use super::scene::Scene;
use crate::machine::{Usage, now};
use crate::options::Options;

const TASKS: usize = 10_000;
const TASKS_SHORT: usize = 500;
/// Longer than the longest rest of a leader.
const SECONDS: f64 = 65.0;
/// How long what was just begun may take to be over.
const SETTLE: Duration = Duration::from_secs(5);
/// Nothing, as well as a processor's time can be measured: percent of a core.
const NOTHING: f64 = 0.1;

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let count = if options.is_short() { TASKS_SHORT } else { TASKS };
    let mut scene = Scene::new(Runtime::Fake, 1, 1).await?;
    let none = watched(&scene, options).await?;
    scene.create(&scene.on_workers("still", count as u64)).await?;
    scene.until_running("still", count).await?;
    let many = watched(&scene, options).await?;
    let [leader, worker] = none;
    let limit = Limit::multiple_of(1.0, "(no tasks + 0.1)", leader + NOTHING);
    let row =
        |what: String, value, limits| Row { what, unit: "% of a core", figures: Figures::one(value), limits };
    Ok(Table(vec![
        row("leader, no tasks".into(), leader, vec![]),
        row(format!("leader, {count} tasks stand still"), many[0], vec![limit]),
        row("worker, no tasks".into(), worker, vec![]),
        row(format!("worker, {count} tasks stand still"), many[1], vec![]),
    ]))
}

/// What the leader and the worker take of a processor, in percent.
async fn watched(scene: &Scene, options: &Options) -> anyhow::Result<[f64; 2]> {
    let time = options.seconds(SECONDS);
    tokio::time::sleep(SETTLE.min(time)).await;
    let look = || {
        let of = |index: usize| {
            let process = scene.cluster.nodes[index].id().context("it runs")?;
            anyhow::Ok((Usage::of(process)?.time, now()))
        };
        anyhow::Ok([of(0)?, of(1)?])
    };
    let before = look()?;
    tokio::time::sleep(time).await;
    let after = look()?;
    let share = |index: usize| {
        let ((used_before, start), (used_after, end)) = (before[index], after[index]);
        100.0 * used_after.saturating_sub(used_before).as_secs_f64() / end.since(start).as_secs_f64()
    };
    Ok([share(0), share(1)])
}
