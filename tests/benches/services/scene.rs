//! A cluster that runs services of one runtime, and a kept connection on which it is asked and looked at.

use std::time::Duration;

use anyhow::Context;
use common::time::Monotonic;
use harness::cluster::{Cluster, options};
use harness::figures::{Figures, Limit, Row};
use harness::services::{Runtime, Spec, Task, filters, summary};
use hyper::Method;
use serde_json::{Value, json};

use crate::api::{Api, CONFLICT};
use crate::machine::{milliseconds, now};

/// Between two looks at what is waited for, at least.
const LOOK: Duration = Duration::from_millis(2);
/// And at least so many times as long as a look takes.
const PAUSE_PER_LOOK: u32 = 3;
/// And a two-hundredth of what has passed: what takes long is not looked at so often that the looks slow it down.
const PASSED_PER_PAUSE: u32 = 200;
/// After this nothing is measured any more: it does not work.
const DEADLINE: Duration = Duration::from_secs(300);

pub struct Scene {
    pub cluster: Cluster,
    pub runtime: Runtime,
    api: Api,
}

impl Scene {
    /// Daemons that play faults where asked to. Tasks run on workers only, where there are any.
    pub async fn new(runtime: Runtime, managers: usize, workers: usize) -> anyhow::Result<Self> {
        let nodes = options(managers, workers).into_iter().map(|node| {
            let node = node.with_argument("--lab");
            match runtime {
                Runtime::Fake => node.with_argument("--engine=none").with_argument("--runtime=fake"),
                Runtime::Process => node.with_argument("--engine=none"),
                Runtime::Docker => node,
            }
        });
        let cluster = Cluster::with_options(managers, nodes.collect()).await?;
        let leader = cluster.leader(DEADLINE).await?;
        let api = Api::new(cluster.nodes[leader].socket());
        Ok(Self { cluster, runtime, api })
    }

    pub fn name(&self) -> &'static str {
        name(self.runtime)
    }

    /// A service on the workers alone.
    pub fn on_workers(&self, name: &str, replicas: u64) -> Spec {
        let constraints = json!(["node.role == worker"]);
        self.runtime.service(name, replicas).with("TaskTemplate.Placement.Constraints", constraints)
    }

    pub async fn create(&mut self, spec: &Spec) -> anyhow::Result<()> {
        self.api.ask(Method::POST, "/services/create", &spec.0).await.map(drop)
    }

    /// Reads a service, changes its spec, writes it back; gives the moment at which the last write was sent.
    pub async fn change(&mut self, name: &str, change: impl Fn(Spec) -> Spec) -> anyhow::Result<Monotonic> {
        loop {
            let service = self.api.ask(Method::GET, &format!("/services/{name}"), &Value::Null).await?;
            let version = service["Version"]["Index"].as_u64().context("a version")?;
            let spec = change(Spec(service["Spec"].clone()));
            let path = format!("/services/{name}/update?version={version}");
            let start = now();
            match self.api.ask(Method::POST, &path, &spec.0).await {
                Ok(_) => return Ok(start),
                Err(error) if format!("{error:#}").contains(CONFLICT) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub async fn scale(&mut self, name: &str, replicas: usize) -> anyhow::Result<Monotonic> {
        self.change(name, |spec| spec.with("Mode.Replicated.Replicas", json!(replicas))).await
    }

    pub async fn availability(&self, node: &str, availability: &str) -> anyhow::Result<()> {
        self.cluster.client(0).change_node(node, |spec| spec.availability = availability.into()).await
    }

    /// Waits until this many tasks of a service run, by their count alone, which costs the leader little.
    pub async fn until_running(&mut self, name: &str, count: usize) -> anyhow::Result<Monotonic> {
        let path = format!("/services?status=true&{}", filters(json!({ "name": [name] })));
        self.until(&path, async |services: &Value| {
            let running = &services[0]["ServiceStatus"]["RunningTasks"];
            if running.as_u64() == Some(count as u64) { Ok(()) } else { Err(format!("{running} run")) }
        })
        .await
    }

    /// Waits until the tasks of a service are as wanted.
    pub async fn until_tasks(
        &mut self,
        name: &str,
        wanted: impl Fn(&[Task]) -> bool,
    ) -> anyhow::Result<Monotonic> {
        let path = format!("/tasks?{}", filters(json!({ "service": [name] })));
        self.until(&path, async |tasks: &Value| {
            let tasks: Vec<Task> = tasks.as_array().into_iter().flatten().map(Task::of).collect();
            if wanted(&tasks) { Ok(()) } else { Err(summary(&tasks)) }
        })
        .await
    }

    /// Asks again and again until the answer is as wanted.
    pub async fn until(
        &mut self,
        path: &str,
        mut wanted: impl AsyncFnMut(&Value) -> Result<(), String>,
    ) -> anyhow::Result<Monotonic> {
        let start = now();
        loop {
            let asked = now();
            let answer = self.api.ask(Method::GET, path, &Value::Null).await?;
            let at = now();
            let Err(seen) = wanted(&answer).await else { return Ok(at) };
            anyhow::ensure!(at.since(start) < DEADLINE, "{}, {path}: {seen}", self.name());
            // A look that costs the manager much is not to become what is measured.
            let pause = LOOK.max(PAUSE_PER_LOOK * at.since(asked));
            tokio::time::sleep(pause.max(at.since(start) / PASSED_PER_PAUSE)).await;
        }
    }

    /// Waits until a node is in this state.
    pub async fn until_node(&mut self, node: &str, state: &str) -> anyhow::Result<Monotonic> {
        self.until(&format!("/nodes/{node}"), async |node: &Value| match &node["Status"]["State"] {
            Value::String(now) if now == state => Ok(()),
            now => Err(now.to_string()),
        })
        .await
    }

    pub async fn tasks(&mut self, name: &str) -> anyhow::Result<Vec<Task>> {
        let path = format!("/tasks?{}", filters(json!({ "service": [name] })));
        let tasks = self.api.ask(Method::GET, &path, &Value::Null).await?;
        Ok(tasks.as_array().context("a list")?.iter().map(Task::of).collect())
    }

    /// Ends a service's tasks, and removes it once they have ended.
    pub async fn clear(&mut self, name: &str) -> anyhow::Result<()> {
        self.scale(name, 0).await?;
        self.until_tasks(name, |tasks| !tasks.iter().any(Task::is_alive)).await?;
        self.api.ask(Method::DELETE, &format!("/services/{name}"), &Value::Null).await.map(drop)
    }
}

pub fn name(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Fake => "fake",
        Runtime::Process => "process",
        Runtime::Docker => "docker",
    }
}

pub fn times_row(what: String, times: &[Duration], limits: Vec<Limit>) -> anyhow::Result<Row> {
    let figures =
        Figures::of(times.iter().copied().map(milliseconds).collect()).context("there is a time")?;
    Ok(Row { what, unit: "ms", figures, limits })
}

/// In milliseconds.
pub fn median(times: &[Duration]) -> Option<f64> {
    Figures::of(times.iter().copied().map(milliseconds).collect()).map(|figures| figures.median())
}
