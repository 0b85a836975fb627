//! Faults to play on a lab: `cut`, `heal`, `kill`, `pause`, `resume`, `restart`.
//!
//! A cut is made by the node's own transport, which then neither sends nor takes anything: it needs no rights on
//! the machine, and the node's socket still answers, so that one can ask how it sees the world.

use anyhow::Context;
use common::limits::LAB_STOP_TIME_MAX;
use nix::sys::signal::Signal;

use super::process::ProcessState;
use super::record::{self, Lab, LabNode, Record};
use super::{Which, up};
use crate::exit::{Exit, Failure};
use crate::output;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Names of nodes, such as manager1, or their ids or unambiguous beginnings of these
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
}

pub async fn cut(args: Args) -> anyhow::Result<()> {
    each(args, async |node| {
        needs(node, ProcessState::Running)?;
        // Noted first: should the answer get lost, `heal` still knows what to do.
        node.cut = node.process;
        node.client().post("/swarm/x/lab/cut", &serde_json::json!({})).await?;
        Ok("is cut off")
    })
    .await
}

pub async fn heal(args: Args) -> anyhow::Result<()> {
    each(args, async |node| {
        needs(node, ProcessState::Running)?;
        node.client().post("/swarm/x/lab/heal", &serde_json::json!({})).await?;
        node.cut = None;
        Ok("is connected")
    })
    .await
}

pub async fn kill(args: Args) -> anyhow::Result<()> {
    each(args, async |node| {
        end(node, Signal::SIGKILL).await?;
        Ok("is killed")
    })
    .await
}

pub async fn pause(args: Args) -> anyhow::Result<()> {
    each(args, async |node| {
        signal(node, Signal::SIGSTOP)?;
        Ok("is paused")
    })
    .await
}

pub async fn resume(args: Args) -> anyhow::Result<()> {
    each(args, async |node| {
        signal(node, Signal::SIGCONT)?;
        Ok("goes on")
    })
    .await
}

pub async fn restart(args: Args) -> anyhow::Result<()> {
    each(args, async |node| {
        if end(node, Signal::SIGTERM).await.is_err() {
            output::note(&format!("{} does not stop: killing it.", node.name));
            end(node, Signal::SIGKILL).await?;
        }
        node.cut = None;
        node.process = Some(up::spawn(node).await?);
        up::answers(node).await?;
        Ok("runs again")
    })
    .await
}

/// Does something to each node that is named, and records what came of it even where it failed.
async fn each(
    args: Args,
    act: impl AsyncFn(&mut LabNode) -> anyhow::Result<&'static str>,
) -> anyhow::Result<()> {
    let name = &args.which.name;
    let lab = Lab::open(name)?.ok_or_else(|| record::no_such_lab(name))?;
    let mut record = lab.load()?.ok_or_else(|| record::no_such_lab(name))?;
    let indexes = args.nodes.iter().map(|node| find(&record, node)).collect::<Result<Vec<_>, _>>()?;
    for index in indexes {
        let node = &mut record.nodes[index];
        let done = act(node).await;
        let node_name = node.name.clone();
        lab.save(&record)?;
        let done = done.with_context(|| node_name.clone())?;
        output::note(&format!("{node_name} {done}."));
    }
    Ok(())
}

fn find(record: &Record, text: &str) -> anyhow::Result<usize> {
    // A node that has not joined has an empty id.
    let is_it = |node: &LabNode| node.name == text || (node.id == text && !text.is_empty());
    if let Some(index) = record.nodes.iter().position(is_it) {
        return Ok(index);
    }
    let begins = |node: &LabNode| node.id.starts_with(text) && !text.is_empty();
    let mut found = record.nodes.iter().enumerate().filter(|(_, node)| begins(node)).map(|(index, _)| index);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("more than one node's id begins with {text}")).into())
        }
        (None, _) => {
            let names: Vec<&str> = record.nodes.iter().map(|node| node.name.as_str()).collect();
            Err(Failure::new(
                Exit::NotFound,
                format!("no node {text} in this lab: it has {}", names.join(", ")),
            )
            .into())
        }
    }
}

fn needs(node: &LabNode, needed: ProcessState) -> anyhow::Result<()> {
    let text = match node.process_state() {
        state if state == needed => return Ok(()),
        ProcessState::Gone => "does not run: `restart` starts it",
        ProcessState::Paused => "is paused: `resume` lets it go on",
        ProcessState::Running => "runs",
    };
    Err(Failure::new(Exit::Conflict, text).into())
}

fn signal(node: &LabNode, signal: Signal) -> anyhow::Result<()> {
    let process = node.process.filter(|_| node.process_state() != ProcessState::Gone);
    let Some(process) = process else { return needs(node, ProcessState::Running) };
    Ok(process.signal(&node.state_dir(), signal)?)
}

/// Ends a node's process and waits until it has; nothing to do where none runs.
async fn end(node: &LabNode, signal: Signal) -> anyhow::Result<()> {
    let (Some(process), state_dir) = (node.process, node.state_dir()) else { return Ok(()) };
    process.signal(&state_dir, signal)?;
    // A paused process takes notice of a request to stop only when it goes on.
    process.signal(&state_dir, Signal::SIGCONT)?;
    if process.gone_within(&state_dir, LAB_STOP_TIME_MAX).await {
        return Ok(());
    }
    Err(Failure::new(Exit::TimedOut, format!("process {} does not end", process.pid)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::process::ProcessId;
    use std::process::{Command, Stdio};

    fn record() -> Record {
        let node = |name: &str, id: &str| LabNode {
            name: name.into(),
            id: id.into(),
            manager: true,
            addr: "127.0.0.1:1".parse().expect("address"),
            folder: std::path::Path::new("/labs/lab").join(name),
            process: None,
            cut: None,
        };
        Record { nodes: vec![node("manager1", "abc"), node("manager2", "abd"), node("worker1", "")] }
    }

    #[test]
    fn nodes_are_found_by_name_and_by_the_beginning_of_their_id() {
        #[rustfmt::skip]
        let cases = [
            ("manager2", Ok(1)), ("abc", Ok(0)), ("abd", Ok(1)), ("worker1", Ok(2)),
            ("ab", Err(Exit::Usage)), ("manager", Err(Exit::NotFound)), ("", Err(Exit::NotFound)), ("x", Err(Exit::NotFound)),
        ];
        for (text, expected) in cases {
            assert_eq!(find(&record(), text).map_err(|error| Exit::of(&error)), expected, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_paused_daemon_is_stopped_in_good_order() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut node = record().nodes.remove(0);
        node.folder = folder.path().to_path_buf();
        let mut child = Command::new("sh")
            .args(["-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done", "swarm", "--state-dir"])
            .arg(node.state_dir())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut said)
            .expect("it says that it is up");
        node.process = ProcessId::of_new(child.id()).await;
        signal(&node, Signal::SIGSTOP).expect("it runs");
        end(&node, Signal::SIGTERM).await.expect("it ends");
        assert_eq!(child.wait().expect("ours").code(), Some(7));
        let error = signal(&node, Signal::SIGSTOP).expect_err("there is nothing to pause");
        assert_eq!(Exit::of(&error), Exit::Conflict);
        end(&node, Signal::SIGKILL).await.expect("there is nothing to do");
    }
}
