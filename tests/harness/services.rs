//! Services in tests: their specs for each runtime, and what is seen of their tasks.
//!
//! Bare JSON on purpose: what is asked and what is read is what any client of the API sees.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::client::{Answer, Client, NoAnswer};
use crate::cluster::Cluster;
use crate::run;
use crate::skip::skipped;

/// Who runs the tasks of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Fake,
    Process,
    Docker,
}

/// The image that tests run: a shell and its tools, made here and pulled from nowhere.
pub const IMAGE: &str = "swarm-test-shell:1";

impl Runtime {
    /// False, and a loud line, where this machine cannot run such tasks.
    pub fn is_here(self, test: &str) -> bool {
        match self {
            Runtime::Fake | Runtime::Process => true,
            Runtime::Docker => match make_image() {
                Ok(()) => true,
                Err(error) => {
                    skipped(test, "docker", &format!("an engine with a shell image: {error:#}"));
                    false
                }
            },
        }
    }

    /// A service of this runtime whose tasks run until they are stopped.
    pub fn service(self, name: &str, replicas: u64) -> Spec {
        let container = match self {
            Runtime::Fake => json!({ "Command": ["fake"] }),
            Runtime::Process => {
                json!({ "Command": ["sleep", "100000"], "StopGracePeriod": 5_000_000_000_u64 })
            }
            // As first process of a container it would not hear the polite signal.
            Runtime::Docker => json!({
                "Image": IMAGE, "Command": ["sleep", "100000"], "StopSignal": "KILL", "Init": false,
                "Labels": { LABEL: run::label() },
            }),
        };
        let word = match self {
            Runtime::Fake => "fake",
            Runtime::Process => "process",
            Runtime::Docker => "container",
        };
        Spec(json!({
            "Name": name,
            "TaskTemplate": { "Runtime": word, "ContainerSpec": container, "RestartPolicy": { "Delay": 0 } },
            "Mode": { "Replicated": { "Replicas": replicas } },
        }))
    }
}

/// Containers of tests carry this label; whoever clears up after a run finds them by it.
pub const LABEL: &str = "swarm-test";

/// A service's spec as JSON, with the changes that tests make.
#[derive(Clone, Debug)]
pub struct Spec(pub Value);

impl Spec {
    /// Sets a member by its path: `TaskTemplate.ContainerSpec.Env`.
    pub fn with(mut self, path: &str, value: Value) -> Self {
        let mut place = &mut self.0;
        for name in path.split('.') {
            place = &mut place[name];
        }
        *place = value;
        self
    }

    /// What its tasks run, in a shell.
    pub fn shell(self, script: &str) -> Self {
        self.with("TaskTemplate.ContainerSpec.Command", json!(["/bin/sh", "-c", script]))
    }

    pub fn env(self, variables: &[&str]) -> Self {
        self.with("TaskTemplate.ContainerSpec.Env", json!(variables))
    }

    pub fn update(self, config: Value) -> Self {
        self.with("UpdateConfig", config)
    }
}

/// One task as the API shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub id: String,
    pub slot: u64,
    pub node: String,
    pub state: String,
    pub desired: String,
    pub error: String,
    pub container: String,
    pub pid: i64,
    pub env: Vec<String>,
}

impl Task {
    pub fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = &value["Status"];
        Self {
            id: text(&value["ID"]),
            slot: value["Slot"].as_u64().unwrap_or_default(),
            node: text(&value["NodeID"]),
            state: text(&status["State"]),
            desired: text(&value["DesiredState"]),
            error: text(&status["Err"]),
            container: text(&status["ContainerStatus"]["ContainerID"]),
            pid: status["ContainerStatus"]["PID"].as_i64().unwrap_or_default(),
            env: value["Spec"]["ContainerSpec"]["Env"]
                .as_array()
                .map(|env| env.iter().map(text).collect())
                .unwrap_or_default(),
        }
    }

    pub fn runs(&self) -> bool {
        self.state == "running" && self.desired == "running"
    }

    /// It is on a node and has not ended.
    pub fn is_alive(&self) -> bool {
        matches!(
            self.state.as_str(),
            "assigned" | "accepted" | "preparing" | "ready" | "starting" | "running"
        )
    }
}

/// What tests ask of services.
impl Client {
    pub async fn create_service(&self, spec: &Spec) -> anyhow::Result<String> {
        let answer: Value = self.post("/services/create", &spec.0).await?.json()?;
        Ok(answer["ID"].as_str().context("an ID")?.to_owned())
    }

    pub async fn service(&self, name: &str) -> anyhow::Result<Value> {
        self.get(&format!("/services/{name}")).await?.json()
    }

    pub async fn try_update_service(
        &self,
        name: &str,
        version: u64,
        spec: &Value,
    ) -> Result<Answer, NoAnswer> {
        self.post(&format!("/services/{name}/update?version={version}"), spec).await
    }

    /// Reads a service, changes its spec and writes it back, until nobody else wrote in between.
    pub async fn change_service(&self, name: &str, change: impl Fn(Spec) -> Spec) -> anyhow::Result<()> {
        loop {
            let service = self.service(name).await?;
            let version = service["Version"]["Index"].as_u64().context("a version")?;
            let spec = change(Spec(service["Spec"].clone()));
            let answer = self.try_update_service(name, version, &spec.0).await?;
            if answer.is_ok() || !answer.message().contains("update out of sequence") {
                return answer.ok().map(drop);
            }
        }
    }

    pub async fn scale(&self, name: &str, replicas: u64) -> anyhow::Result<()> {
        self.change_service(name, |spec| spec.with("Mode.Replicated.Replicas", json!(replicas))).await
    }

    /// All tasks of a service, those that ended too.
    pub async fn tasks(&self, service: &str) -> anyhow::Result<Vec<Task>> {
        let filters = filters(json!({ "service": { service: true } }));
        let tasks: Vec<Value> = self.get(&format!("/tasks?{filters}")).await?.json()?;
        Ok(tasks.iter().map(Task::of).collect())
    }

    pub async fn remove_service(&self, name: &str) -> anyhow::Result<()> {
        self.delete(&format!("/services/{name}")).await?.ok().map(drop)
    }
}

impl Cluster {
    /// Waits until exactly `count` tasks of a service run and are wanted, and no other is alive; gives them.
    pub async fn running(
        &self,
        service: &str,
        count: usize,
        deadline: Duration,
    ) -> anyhow::Result<Vec<Task>> {
        self.tasks_until(&format!("{count} running tasks of {service}"), service, deadline, |tasks| {
            let alive = tasks.iter().filter(|task| task.is_alive()).count();
            tasks.iter().filter(|task| task.runs()).count() == count && alive == count
        })
        .await
        .map(|tasks| tasks.into_iter().filter(Task::runs).collect())
    }

    /// Waits until the tasks of a service are as wanted; gives all of them.
    pub async fn tasks_until(
        &self,
        what: &str,
        service: &str,
        deadline: Duration,
        wanted: impl Fn(&[Task]) -> bool,
    ) -> anyhow::Result<Vec<Task>> {
        self.wait_until(what, deadline, async || {
            let client = self.client(self.any_manager()?);
            let tasks = client.tasks(service).await.map_err(|error| format!("{error:#}"))?;
            if wanted(&tasks) { Ok(tasks) } else { Err(summary(&tasks)) }
        })
        .await
    }

    /// Waits until a service's update is in one of these states; gives the one it is in.
    pub async fn update_state(
        &self,
        service: &str,
        states: &[&str],
        deadline: Duration,
    ) -> anyhow::Result<String> {
        self.wait_until(&format!("the update of {service} is {states:?}"), deadline, async || {
            let client = self.client(self.any_manager()?);
            let service = client.service(service).await.map_err(|error| format!("{error:#}"))?;
            let state = service["UpdateStatus"]["State"].as_str().unwrap_or("none").to_owned();
            if states.contains(&state.as_str()) {
                Ok(state)
            } else {
                Err(service["UpdateStatus"].to_string())
            }
        })
        .await
    }

    /// A manager whose process runs.
    fn any_manager(&self) -> Result<usize, String> {
        (0..self.nodes.len())
            .find(|index| self.nodes[*index].is_running() && self.is_manager(*index))
            .ok_or_else(|| "no manager runs".into())
    }
}

/// The filters of a list, as they stand in its path.
pub fn filters(filters: Value) -> String {
    let encoded: String = filters.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("filters={encoded}")
}

/// Counts of tasks by state, and the errors among them.
pub fn summary(tasks: &[Task]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks {
        *counts.entry(format!("{}/{}", task.state, task.desired)).or_default() += 1;
    }
    let errors: BTreeSet<&str> = tasks.iter().map(|task| task.error.as_str()).collect();
    format!("{counts:?} {errors:?}")
}

/// Makes the image of the tests where there is none: a static shell, and nothing else.
fn make_image() -> anyhow::Result<()> {
    give_image(Path::new("/var/run/docker.sock"))
}

/// The same for the engine on this socket.
pub fn give_image(socket: &Path) -> anyhow::Result<()> {
    let host = format!("unix://{}", socket.display());
    let has = Command::new("docker")
        .args(["-H", &host, "image", "inspect", IMAGE])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("the docker command")?;
    if has.success() {
        return Ok(());
    }
    let folder = run::folder();
    let script = r#"
set -e
mkdir -p "$1/bin" "$1/tmp" "$1/etc"
cp "$(command -v busybox)" "$1/bin/busybox"
for tool in $("$1/bin/busybox" --list); do [ -e "$1/bin/$tool" ] || ln -s busybox "$1/bin/$tool"; done
tar -C "$1" -c . | docker -H "$3" import - "$2" >/dev/null
"#;
    let output =
        Command::new("sh").args(["-c", script, "make-image"]).arg(&folder).args([IMAGE, &host]).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
