//! A service gets another spec, and all its tasks are replaced: one at a time, and ten.
//!
//! With containers in turns with the bare engine, which stops, creates and starts as many, as many at a time.

use std::time::Duration;

use harness::figures::{Limit, Table};
use harness::services::Runtime;
use serde_json::{Value, json};

use super::engine::{Engine, PARALLEL};
use super::scene::{Scene, median, name, times_row};
use crate::machine::milliseconds;
use crate::options::Options;

const TASKS: usize = 50;
const TASKS_SHORT: usize = 4;
/// How long each new task is watched: hardly, so that what is measured is the replacing.
const MONITOR_NANOSECONDS: u64 = 1_000_000;
const SHARE_OF_ENGINE: f64 = 1.1;

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let count = if options.is_short() { TASKS_SHORT } else { TASKS };
    let mut rows = Vec::new();
    for runtime in [Runtime::Fake, Runtime::Process, Runtime::Docker] {
        let engine = match runtime {
            Runtime::Fake | Runtime::Process => None,
            Runtime::Docker => match Engine::find("measure rolling").await? {
                None => continue,
                engine => engine,
            },
        };
        let mut scene = Scene::new(runtime, 1, 0).await?;
        scene.create(&scene.runtime.service("web", count as u64).env(&["VERSION=0"])).await?;
        scene.until_running("web", count).await?;
        let mut version = 0;
        for parallel in [1, 10] {
            let (mut ours, mut bare) = (Vec::new(), Vec::new());
            for _ in 0..if options.is_short() { 1 } else { options.times(3) } {
                if let Some(engine) = &engine {
                    let (ids, _) = engine.run(count, PARALLEL).await?;
                    let (ids, took) = engine.replace(ids, parallel).await?;
                    bare.push(took);
                    engine.remove(&ids).await?;
                }
                version += 1;
                ours.push(update(&mut scene, version, parallel).await?);
            }
            let limits = median(&bare).map(|engine| Limit::multiple_of(SHARE_OF_ENGINE, "engine", engine));
            let what = format!("{}: update of {count}, {parallel} at a time", name(runtime));
            rows.push(times_row(what.clone(), &ours, limits.into_iter().collect())?);
            if !bare.is_empty() {
                rows.push(times_row(format!("{what}: bare engine"), &bare, vec![])?);
            }
        }
        scene.clear("web").await?;
        if let Some(engine) = &engine {
            engine.until_empty().await?;
        }
    }
    Ok(Table(rows))
}

async fn update(scene: &mut Scene, version: u64, parallel: usize) -> anyhow::Result<Duration> {
    let config = json!({ "Parallelism": parallel, "Delay": 0, "Monitor": MONITOR_NANOSECONDS });
    let variable = format!("VERSION={version}");
    let start = scene.change("web", |spec| spec.env(&[&variable]).update(config.clone())).await?;
    let done = scene
        .until("/services/web", async |service: &Value| {
            let newest = service["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == json!([variable]);
            match &service["UpdateStatus"]["State"] {
                Value::String(state) if newest && state == "completed" => Ok(()),
                state => Err(format!("{state}, {}", service["UpdateStatus"]["Message"])),
            }
        })
        .await?;
    let took = done.since(start);
    let tasks = scene.tasks("web").await?;
    let stale = tasks.iter().filter(|task| task.is_alive() && task.env != [variable.as_str()]).count();
    anyhow::ensure!(stale == 0, "{stale} tasks were not updated");
    eprintln!("{}: update {parallel} at a time: {:.0} ms", scene.name(), milliseconds(took));
    Ok(took)
}
