//! What the nodes of a lab have running beside themselves: tasks outlive their daemon, but not their lab.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use common::limits::LAB_STOP_TIME_MAX;
use common::time::{Clock, SystemClock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use super::process::LOOK_PERIOD;
use super::record::Lab;
use crate::client::{Client, escape};
use crate::output;
use crate::paths::Host;

/// Where the daemons of a lab find an engine, when there is one.
const ENGINE: &str = "unix:///var/run/docker.sock";

/// Ends everything that runs for the nodes of a lab, whose daemons run no more.
pub async fn end_all(lab: &Lab) -> anyhow::Result<()> {
    end_processes(&lab.folder).await?;
    // A damaged record does not keep the rest of a lab from being removed.
    let nodes = lab.load().ok().flatten().map(|record| record.nodes).unwrap_or_default();
    for node in nodes.iter().filter(|node| !node.id.is_empty()) {
        if let Err(error) = remove_containers(&node.id).await {
            output::note(&format!("Containers of {} may be left: {error:#}", node.name));
        }
    }
    Ok(())
}

/// Asks the supervisors of process tasks to end them, and waits until they have.
async fn end_processes(folder: &Path) -> anyhow::Result<()> {
    let start = SystemClock.monotonic();
    let mut signal = Signal::SIGTERM;
    loop {
        let supervisors = supervisors_within(folder).context("look at the machine's processes")?;
        if supervisors.is_empty() {
            return Ok(());
        }
        for pid in supervisors {
            let _ = kill(Pid::from_raw(pid), signal); // it may just have ended
        }
        if SystemClock.monotonic().since(start) > LAB_STOP_TIME_MAX {
            anyhow::ensure!(signal == Signal::SIGTERM, "tasks of the lab do not end");
            signal = Signal::SIGKILL;
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// Processes that look after a task whose folder lies within `folder`.
fn supervisors_within(folder: &Path) -> std::io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if task_folder_in(&arguments).is_some_and(|task| task.starts_with(folder)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// `swarm task-supervisor task FOLDER`
fn task_folder_in(arguments: &[u8]) -> Option<PathBuf> {
    let mut arguments = arguments.split(|byte| *byte == 0).skip(1);
    let is_supervisor = arguments.next()? == b"task-supervisor" && arguments.next()? == b"task";
    let folder = arguments.next()?;
    is_supervisor.then(|| PathBuf::from(OsStr::from_bytes(folder)))
}

/// Removes the containers of a node from the machine's engine; fine where there is none.
async fn remove_containers(node: &str) -> anyhow::Result<()> {
    /// The part of a container's description that is asked for.
    #[derive(Deserialize)]
    struct Container {
        #[serde(rename = "Id")]
        id: String,
    }
    let engine: Host = ENGINE.parse().context("the engine's address")?;
    if !engine.socket().exists() {
        return Ok(());
    }
    let client = Client::new(engine);
    let filters = serde_json::json!({ "label": [format!("com.docker.swarm.node.id={node}")] });
    let path = format!("/containers/json?all=1&filters={}", escape(&filters.to_string()));
    let containers: Vec<Container> = client.get(&path).await?;
    for container in containers {
        client.delete(&format!("/containers/{}?force=1&v=1", container.id)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_supervisors_of_tasks_are_found() {
        #[rustfmt::skip]
        let cases: [(&[u8], Option<&str>); 4] = [
            (b"swarm\0task-supervisor\0task\0/lab/n/processes/x\0", Some("/lab/n/processes/x")),
            (b"swarm\0task-supervisor\0program\0",                  None),
            (b"swarm\0daemon\0--state-dir\0/lab/n\0",               None),
            (b"",                                                   None),
        ];
        for (arguments, expected) in cases {
            assert_eq!(task_folder_in(arguments).as_deref(), expected.map(Path::new));
        }
    }
}
