//! A service is created, and all its tasks run; none, many, and none again.
//!
//! With containers in turns with the bare engine, which makes the same ones as many at a time: both see the same
//! machine.

use std::time::Duration;

use harness::figures::{Limit, Row, Table, Take};
use harness::services::{Runtime, Task};

use super::engine::{Engine, PARALLEL};
use super::scene::{Scene, median, name, times_row};
use crate::machine::{milliseconds, now};
use crate::options::Options;

/// What a service of one task may take beyond what its runtime does.
const ABOVE_MAX: f64 = 50.0;
const PROCESSES_MAX: f64 = 1_000.0;
const FAKES_MAX: f64 = 100.0;
/// The limits above are for this many tasks.
const HUNDRED: usize = 100;
/// One task is quickly made: more often, for a median that means something.
const ONES: usize = 5;

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let mut rows = Vec::new();
    for runtime in [Runtime::Fake, Runtime::Process, Runtime::Docker] {
        let engine = match runtime {
            Runtime::Fake | Runtime::Process => None,
            Runtime::Docker => match Engine::find("measure replicas").await? {
                None => continue,
                engine => engine,
            },
        };
        let (counts, many): (&[usize], usize) = match options.is_short() {
            true => (&[1, 4], 6),
            false => (&[1, 10, HUNDRED], 150),
        };
        let mut scene = Scene::new(runtime, 1, 0).await?;
        let mut created: Vec<Pair> = counts.iter().map(|_| Pair::default()).collect();
        let (mut up, mut down) = (Pair::default(), Pair::default());
        let rounds = if options.is_short() { 1 } else { options.times(3) };
        for round in 1..=rounds {
            eprintln!("replicas, {}: round {round} of {rounds}", name(runtime));
            for (count, pair) in counts.iter().zip(&mut created) {
                for _ in 0..if *count == 1 && !options.is_short() { ONES } else { 1 } {
                    pair.engine.extend(bare(engine.as_ref(), *count).await?.map(|(up, _)| up));
                    pair.ours.push(create(&mut scene, engine.as_ref(), *count).await?);
                }
            }
            if let Some((engine_up, engine_down)) = bare(engine.as_ref(), many).await? {
                up.engine.push(engine_up);
                down.engine.push(engine_down);
            }
            let (ours_up, ours_down) = up_and_down(&mut scene, engine.as_ref(), many).await?;
            up.ours.push(ours_up);
            down.ours.push(ours_down);
        }
        for (count, pair) in counts.iter().zip(created) {
            let limits = limits(runtime, *count, median(&pair.engine));
            rows.extend(pair.rows(&format!("{}: create {count} → running", name(runtime)), limits)?);
        }
        let all = |pair: &Pair| {
            let engine = median(&pair.engine);
            engine.map(|engine| Limit::multiple_of(1.0, "engine", engine)).into_iter().collect()
        };
        let limits = [all(&up), all(&down)];
        for ((pair, what), limits) in
            [(up, format!("0 → {many}")), (down, format!("{many} → 0"))].into_iter().zip(limits)
        {
            rows.extend(pair.rows(&format!("{}: scale {what}", name(runtime)), limits)?);
        }
    }
    Ok(Table(rows))
}

/// Times of the same thing, ours and the bare engine's.
#[derive(Default)]
struct Pair {
    ours: Vec<Duration>,
    engine: Vec<Duration>,
}

impl Pair {
    fn rows(self, what: &str, limits: Vec<Limit>) -> anyhow::Result<Vec<Row>> {
        let mut rows = vec![times_row(what.into(), &self.ours, limits)?];
        if !self.engine.is_empty() {
            rows.push(times_row(format!("{what}: bare engine, {PARALLEL} at a time"), &self.engine, vec![])?);
        }
        Ok(rows)
    }
}

fn limits(runtime: Runtime, count: usize, engine: Option<f64>) -> Vec<Limit> {
    match (runtime, count, engine) {
        (_, 1, Some(engine)) => vec![Limit::multiple_of(1.0, "(engine + 50 ms)", engine + ABOVE_MAX)],
        (_, 1, None) => vec![Limit::at_most(Take::Median, ABOVE_MAX)],
        (_, _, Some(engine)) => vec![Limit::multiple_of(1.0, "engine", engine)],
        (Runtime::Process, HUNDRED, None) => vec![Limit::at_most(Take::Median, PROCESSES_MAX)],
        (Runtime::Fake, HUNDRED, None) => vec![Limit::at_most(Take::Median, FAKES_MAX)],
        (_, _, None) => vec![],
    }
}

/// How long the engine takes to run so many containers, and to be rid of them.
async fn bare(engine: Option<&Engine>, count: usize) -> anyhow::Result<Option<(Duration, Duration)>> {
    let Some(engine) = engine else { return Ok(None) };
    let (ids, up) = engine.run(count, PARALLEL).await?;
    let down = engine.remove(&ids).await?;
    Ok(Some((up, down)))
}

async fn create(scene: &mut Scene, engine: Option<&Engine>, count: usize) -> anyhow::Result<Duration> {
    let spec = scene.runtime.service("web", count as u64);
    let start = now();
    scene.create(&spec).await?;
    let took = scene.until_running("web", count).await?.since(start);
    eprintln!("{}: create {count}: {:.0} ms", scene.name(), milliseconds(took));
    scene.clear("web").await?;
    if let Some(engine) = engine {
        engine.until_empty().await?;
    }
    Ok(took)
}

/// From nothing to many tasks that run, and back to where nothing of them is left.
async fn up_and_down(
    scene: &mut Scene,
    engine: Option<&Engine>,
    count: usize,
) -> anyhow::Result<(Duration, Duration)> {
    let spec = scene.runtime.service("web", 0);
    scene.create(&spec).await?;
    let start = scene.scale("web", count).await?;
    let up = scene.until_running("web", count).await?.since(start);
    let start = scene.scale("web", 0).await?;
    let mut ended = scene.until_running("web", 0).await?;
    ended = ended.max(scene.until_tasks("web", |tasks| !tasks.iter().any(Task::is_alive)).await?);
    if let Some(engine) = engine {
        ended = ended.max(engine.until_empty().await?);
    }
    scene.clear("web").await?;
    Ok((up, ended.since(start)))
}
