//! Tasks as objects: a service that fits no node gets all of its tasks and runs none, and they are listed.

use anyhow::Context;
use bytes::Bytes;
use harness::cluster::SOON;
use harness::figures::{Figures, Limit, Row, Table, Take};
use harness::services::{Runtime, filters};
use hyper::Method;
use serde_json::{Value, json};

use super::scene::{Scene, times_row};
use crate::api::Api;
use crate::machine::{Usage, milliseconds, now};
use crate::options::Options;

const TASKS: usize = 50_000;
const TASKS_SHORT: usize = 2_000;
const CREATED_MAX: f64 = 500.0;
const LISTED_MAX: f64 = 200.0;
const KIB_PER_TASK_MAX: f64 = 1.0;
const LISTS: usize = 5;

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let count = if options.is_short() { TASKS_SHORT } else { TASKS };
    let mut rows = Vec::new();
    for managers in [1, 3] {
        let (mut created, mut listed, mut memory, mut after_lists) = (vec![], vec![], vec![], vec![]);
        for _ in 0..if options.is_short() { 1 } else { options.times(3) } {
            let mut scene = Scene::new(Runtime::Fake, managers, 0).await?;
            let leader = leader_process(&scene).await?;
            let before = Usage::of(leader)?.memory;
            let spec = scene.runtime.service("big", count as u64);
            let spec = spec.with("TaskTemplate.Placement.Constraints", json!(["node.labels.no == such"]));
            let start = now();
            scene.create(&spec).await?;
            // By its last task alone, as the leader has it: a list of all would be what is measured, and a read that
            // waits for all that is being written would wait for the same.
            let last = filters(json!({ "service": ["big"], "name": [format!("big.{count}")] }));
            let done = scene
                .until(&format!("/tasks?consistency=local&{last}"), async |tasks: &Value| {
                    if tasks[0].is_object() { Ok(()) } else { Err("not yet".into()) }
                })
                .await?;
            // They are written in groups of their own, of which the last need not be the latest.
            let whole = format!("/tasks?consistency=local&{}", filters(json!({ "service": ["big"] })));
            let complete = |tasks: &Value| tasks.as_array().is_some_and(|tasks| tasks.len() == count);
            let memory_then = Usage::of(leader)?.memory;
            let looked = now();
            let (first, mut looks) = (done, 0);
            let found = scene
                .until(&whole, async |tasks: &Value| {
                    looks += 1;
                    if complete(tasks) { Ok(()) } else { Err("not all yet".into()) }
                })
                .await?;
            let took = if looks == 1 { first.since(start) } else { found.since(start) };
            let listed_first = milliseconds(found.since(looked));
            created.push(took);
            eprintln!(
                "objects, managers: {managers}: {count} created in {:.0} ms, found in {listed_first:.0} ms",
                milliseconds(took)
            );
            memory.push(1024.0 * (memory_then - before) / count as f64);
            let socket = scene.cluster.nodes[scene.cluster.leader(SOON).await?].socket();
            let mut api = Api::new(socket);
            for _ in 0..options.times(LISTS) {
                let start = now();
                let answer = api.send(Method::GET, "/tasks", Bytes::new()).await?;
                listed.push(now().since(start));
                let tasks: Vec<Value> = serde_json::from_slice(&answer.body)?;
                anyhow::ensure!(tasks.len() == count, "{} tasks are listed", tasks.len());
            }
            after_lists.push(1024.0 * (Usage::of(leader)?.memory - before) / count as f64);
        }
        let most = |max| vec![Limit::at_most(Take::Median, max)];
        let memory_row = |what: &str, values, limits| {
            let figures = Figures::of(values).context("there is a round")?;
            anyhow::Ok(Row { what: format!("managers: {managers}, {what}"), unit: "KiB", figures, limits })
        };
        let what = |what: &str| format!("managers: {managers}, {count} tasks {what}");
        rows.push(times_row(what("created"), &created, if_whole(options, most(CREATED_MAX)))?);
        rows.push(times_row(what("listed"), &listed, if_whole(options, most(LISTED_MAX)))?);
        let limits = if_whole(options, most(KIB_PER_TASK_MAX));
        rows.push(memory_row("the leader's memory per task", memory, limits)?);
        rows.push(memory_row("… after the lists", after_lists, vec![])?);
    }
    Ok(Table(rows))
}

/// The limits are for all of the tasks: of a few, what else there is outweighs them.
fn if_whole(options: &Options, limits: Vec<Limit>) -> Vec<Limit> {
    if options.is_short() { vec![] } else { limits }
}

async fn leader_process(scene: &Scene) -> anyhow::Result<u32> {
    let leader = scene.cluster.leader(SOON).await?;
    scene.cluster.nodes[leader].id().context("the leader runs")
}
