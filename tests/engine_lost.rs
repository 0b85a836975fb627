//! An engine that ends or hangs under its node: tasks that ended with it are replaced, and nothing is wedged.
//!
//! One of each test's own, because others use this machine's.

use std::time::Duration;

use harness::cluster::{Cluster, SOON, options};
use harness::docker::Docker;
use harness::engine::Engine;
use harness::services::{Runtime, Spec};
use nix::sys::signal::Signal;
use serde_json::json;

/// For engines that start on a busy machine.
const LATER: Duration = Duration::from_secs(120);

/// One node on an engine of its own, with a service of two tasks.
async fn two_tasks(test: &str) -> Option<(Cluster, Engine)> {
    if !Runtime::Docker.is_here(test) {
        return None;
    }
    let engine = Engine::start(test).await?;
    let argument = format!("--engine=unix://{}", engine.socket().display());
    let nodes = options(1, 0).into_iter().map(|node| node.with_argument(&argument)).collect();
    let cluster = Cluster::with_options(1, nodes).await.unwrap();
    cluster.client(0).create_service(&service()).await.unwrap();
    cluster.running("web", 2, LATER).await.unwrap();
    Some((cluster, engine))
}

fn service() -> Spec {
    Runtime::Docker.service("web", 2)
}

#[tokio::test]
async fn tasks_of_a_killed_engine_are_replaced() {
    let Some((cluster, mut engine)) = two_tasks("tasks_of_a_killed_engine_are_replaced").await else {
        return;
    };
    for _ in 0..2 {
        let before = cluster.running("web", 2, SOON).await.unwrap();
        engine.kill();
        engine.launch().await.unwrap();
        let after = cluster
            .tasks_until("two tasks whose containers run", "web", LATER, |tasks| {
                tasks.iter().filter(|task| task.runs() && before.iter().all(|old| old.id != task.id)).count()
                    == 2
            })
            .await
            .unwrap();
        let ended = after.iter().filter(|task| before.iter().any(|old| old.id == task.id));
        assert!(ended.clone().all(|task| task.state == "failed" && !task.error.is_empty()), "{after:?}");
        let running = engine.docker().ok(&["ps", "-q"]).await.unwrap();
        assert_eq!(running.lines().count(), 2, "{running}");
    }
    let client = cluster.client(0);
    client.scale("web", 3).await.unwrap();
    cluster.running("web", 3, LATER).await.unwrap();
    client.remove_service("web").await.unwrap();
    cluster
        .wait_until("no container is left", LATER, async || match engine.docker().ok(&["ps", "-aq"]).await {
            Ok(left) if left.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn an_engine_that_hangs_is_told_of_and_goes_on() {
    const TEST: &str = "an_engine_that_hangs_is_told_of_and_goes_on";
    let Some((cluster, engine)) = two_tasks(TEST).await else { return };
    let before = cluster.running("web", 2, SOON).await.unwrap();
    let client = cluster.client(0);
    engine.signal(Signal::SIGSTOP).unwrap();
    client.scale("web", 3).await.unwrap();
    let docker = Docker::at(&cluster.nodes[0].socket(), TEST).expect("it was here before");
    cluster
        .wait_until("`service ps` says what is waited for", LATER, async || {
            let arguments =
                ["service", "ps", "--no-trunc", "--format", "{{.Name}} {{.CurrentState}} {{.Error}}", "web"];
            let said = docker.ok(&arguments).await.map_err(|error| format!("{error:#}"))?;
            let new = said.lines().find(|line| line.starts_with("web.3")).unwrap_or_default();
            if new.contains("Docker Engine of this node") { Ok(()) } else { Err(said) }
        })
        .await
        .unwrap();
    engine.signal(Signal::SIGCONT).unwrap();
    let after = cluster.running("web", 3, LATER).await.unwrap();
    assert!(before.iter().all(|task| after.contains(task)), "what ran goes on: {before:?} {after:?}");
    client.change_service("web", |spec| spec.with("TaskTemplate.ForceUpdate", json!(1))).await.unwrap();
    cluster.update_state("web", &["completed"], LATER).await.unwrap();
    client.remove_service("web").await.unwrap();
}
