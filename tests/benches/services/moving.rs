//! Tasks that have to begin anew: one was killed, its node was drained, its node was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use harness::cluster::SOON;
use harness::figures::{Limit, Row, Table, Take};
use harness::services::{Runtime, Task};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::engine::{Engine, PARALLEL};
use super::scene::{Scene, median, name, times_row};
use crate::machine::{milliseconds, now};
use crate::options::Options;

/// What replacing a task may take beyond what its runtime does.
const ABOVE_MAX: f64 = 50.0;
/// From the moment a node is said to be down.
const ELSEWHERE_MAX: f64 = 1_000.0;
/// Docker's with twelve tasks on such a machine, and how much of that we want to take.
const DRAIN_MAX: f64 = 2_200.0 * 0.7;
/// Tasks of a node that is drained or lost.
const EACH: usize = 12;
const WORKERS: usize = 2;
const TIMES: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    CutOff,
}

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let engine = Engine::find("measure moving").await?;
    let mut rows = Vec::new();
    rows.push(killed(Runtime::Process, None, options).await?);
    if let Some(engine) = &engine {
        rows.push(killed(Runtime::Docker, Some(engine), options).await?);
    }
    for runtime in [Runtime::Fake, Runtime::Process] {
        rows.extend(lost(runtime, options).await?);
    }
    rows.push(drained(Runtime::Fake, None, options).await?);
    rows.push(drained(Runtime::Process, None, options).await?);
    if let Some(engine) = &engine {
        rows.push(drained(Runtime::Docker, Some(engine), options).await?);
    }
    Ok(Table(rows))
}

/// Kills what a task runs, behind its node's back, and waits for the next one in its place.
async fn killed(runtime: Runtime, engine: Option<&Engine>, options: &Options) -> anyhow::Result<Row> {
    let mut scene = Scene::new(runtime, 1, 0).await?;
    let (mut times, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..options.times(TIMES) {
        // A service of its own each time: one whose tasks fail again and again is started later and later, on purpose.
        scene.create(&runtime.service("web", 1)).await?;
        scene.until_running("web", 1).await?;
        if let Some(engine) = engine {
            let (ids, took) = engine.run(1, 1).await?;
            engine.remove(&ids).await?;
            starts.push(took);
        }
        let victim = scene.tasks("web").await?.into_iter().find(Task::runs).context("a task runs")?;
        let start = now();
        match engine {
            Some(engine) => engine.kill(&victim.container).await?,
            None => kill(Pid::from_raw(i32::try_from(victim.pid)?), Signal::SIGKILL)?,
        }
        let next = |task: &Task| task.runs() && task.id != victim.id;
        times.push(scene.until_tasks("web", |tasks| tasks.iter().any(next)).await?.since(start));
        scene.clear("web").await?;
    }
    let limit = match median(&starts) {
        Some(start) => Limit::multiple_of(1.0, "(engine's start + 50 ms)", start + ABOVE_MAX),
        None => Limit::at_most(Take::Median, ABOVE_MAX),
    };
    times_row(format!("{}: task killed → next one runs", name(runtime)), &times, vec![limit])
}

/// A worker's daemon is killed, or hears and says nothing any more.
async fn lost(runtime: Runtime, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut scene = Scene::new(runtime, 1, WORKERS).await?;
    scene.create(&scene.on_workers("web", EACH as u64)).await?;
    scene.until_running("web", EACH).await?;
    let mut rows = Vec::new();
    for (fault, what) in [(Fault::Killed, "killed"), (Fault::CutOff, "cut off")] {
        let (mut elsewhere, mut in_all) = (Vec::new(), Vec::new());
        for _ in 0..if options.is_short() { 1 } else { options.times(TIMES) } {
            let (down, ran) = lose(&mut scene, fault).await?;
            let (down_ms, ran_ms) = (milliseconds(down), milliseconds(ran));
            eprintln!(
                "{}: worker {what}: down {down_ms:.0} ms, running elsewhere {ran_ms:.0} ms",
                scene.name()
            );
            elsewhere.push(ran.saturating_sub(down));
            in_all.push(ran);
        }
        let what = format!("{}: worker {what}", name(runtime));
        let limit = Limit::at_most(Take::Median, ELSEWHERE_MAX);
        rows.push(times_row(format!("{what}: down → its tasks run elsewhere"), &elsewhere, vec![limit])?);
        rows.push(times_row(format!("{what} → its tasks run elsewhere"), &in_all, vec![])?);
    }
    scene.clear("web").await?;
    Ok(rows)
}

/// How long until the node is down, and until all tasks run elsewhere.
async fn lose(scene: &mut Scene, fault: Fault) -> anyhow::Result<(Duration, Duration)> {
    let id = fullest(&scene.tasks("web").await?)?;
    let victim = scene.cluster.index_of(&id).context("it is one of ours")?;
    let start = now();
    match fault {
        Fault::Killed => scene.cluster.nodes[victim].kill(),
        Fault::CutOff => {
            scene.cluster.client(victim).post("/swarm/x/lab/cut", &json!({})).await?.ok().map(drop)?;
        }
    }
    let down = scene.until_node(&id, "down").await?.since(start);
    let ran = scene
        .until_tasks("web", |tasks| {
            tasks.iter().filter(|task| task.runs() && task.node != id).count() == EACH
        })
        .await?
        .since(start);
    match fault {
        Fault::Killed => scene.cluster.nodes[victim].launch().await?,
        Fault::CutOff => {
            scene.cluster.client(victim).post("/swarm/x/lab/heal", &json!({})).await?.ok().map(drop)?;
        }
    }
    scene.cluster.all_ready(SOON).await?;
    scene.until_tasks("web", |tasks| tasks.iter().filter(|task| task.is_alive()).count() == EACH).await?;
    Ok((down, ran))
}

/// The node with the most running tasks.
fn fullest(tasks: &[Task]) -> anyhow::Result<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    tasks.iter().filter(|task| task.runs()).for_each(|task| *counts.entry(&task.node).or_default() += 1);
    let fullest = counts.into_iter().max_by_key(|(_, count)| *count);
    Ok(fullest.context("a node runs tasks")?.0.to_owned())
}

/// Twelve tasks on each of two nodes, of which one is drained.
async fn drained(runtime: Runtime, engine: Option<&Engine>, options: &Options) -> anyhow::Result<Row> {
    let each = if options.is_short() && engine.is_some() { EACH / 4 } else { EACH };
    let mut scene = Scene::new(runtime, 1, WORKERS).await?;
    let (mut times, mut replacements) = (Vec::new(), Vec::new());
    for _ in 0..if options.is_short() { 1 } else { options.times(TIMES / 2) } {
        if let Some(engine) = engine {
            let (ids, _) = engine.run(each, PARALLEL).await?;
            let (ids, took) = engine.replace(ids, PARALLEL).await?;
            replacements.push(took);
            engine.remove(&ids).await?;
        }
        scene.create(&scene.on_workers("web", (WORKERS * each) as u64)).await?;
        scene.until_running("web", WORKERS * each).await?;
        let id = fullest(&scene.tasks("web").await?)?;
        let start = now();
        scene.availability(&id, "drain").await?;
        let ran = scene
            .until_tasks("web", |tasks| {
                tasks.iter().filter(|task| task.runs() && task.node != id).count() == WORKERS * each
            })
            .await?;
        times.push(ran.since(start));
        scene.availability(&id, "active").await?;
        scene.clear("web").await?;
    }
    if let Some(engine) = engine {
        engine.until_empty().await?;
    }
    let mut limits = vec![Limit::at_most(Take::Median, DRAIN_MAX)];
    limits.extend(median(&replacements).map(|engine| Limit::multiple_of(1.1, "engine", engine)));
    times_row(format!("{}: node of {each} drained → running elsewhere", name(runtime)), &times, limits)
}
