//! `swarm lab up`: several daemons, made one cluster, left running. Whole, or not at all.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use common::engine_api::node::Node;
use common::engine_api::swarm::{InitRequest, JoinRequest, JoinTokens, Swarm};
use common::engine_api::system::SwarmInfo;
use common::limits::{DAEMON_LOG_TAIL_BYTES, DAEMON_START_POLL, LAB_NODES_MAX, LAB_START_TIME_MAX};
use common::time::{Clock, SystemClock};
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::process::{ProcessId, ProcessState, daemons_within};
use super::record::{self, Lab, LabNode, Record, command};
use super::{Which, down, hello, network};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::paths::{self, Host};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Nodes that keep the cluster's state; an odd number, so that a majority is left when one fails
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    managers: u16,

    /// Further nodes
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    workers: u16,

    /// Without the service hello, which shows that the lab works
    #[arg(long)]
    bare: bool,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let name = &args.which.name;
    let (managers, count) =
        (usize::from(args.managers), usize::from(args.managers) + usize::from(args.workers));
    if count > LAB_NODES_MAX {
        return Err(Failure::usage(format!("a lab has at most {LAB_NODES_MAX} nodes, not {count}")).into());
    }
    remove_what_a_crash_left(&args.which).await?;
    let lab = Lab::create(name)?;
    let made = tokio::select! {
        made = make_with_service(&lab, managers, count, args.bare) => made,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match made {
        Ok((record, answers_at)) => Ok(output::print(&how_to_talk(&args, &record, answers_at.as_deref()))?),
        Err(error) => {
            output::note("Removing the half-made lab.");
            let removed = down::remove(lab).await;
            // What went wrong first is what the person needs to know.
            if let Err(left) = removed {
                output::note(&format!("Something of it is left: {left:#}. Run {}.", command("down", name)));
            }
            Err(error.context(format!("lab {name} could not be made")))
        }
    }
}

/// A lab none of whose daemons runs is left from a crash or a restart of the machine. One that runs is left alone.
async fn remove_what_a_crash_left(which: &Which) -> anyhow::Result<()> {
    let name = &which.name;
    let Some(old) = Lab::open(name)? else { return Ok(()) };
    let running = daemons_within(&old.folder).context("look at the machine's processes")?.len();
    if running == 0 {
        output::note(&format!("Removing what is left of an earlier lab {name}, none of whose nodes runs."));
        return down::remove(old).await;
    }
    let text = format!(
        "lab {name} runs already ({}): see {}, or remove it with {}",
        plural(running, "node"),
        command("status", name),
        command("down", name)
    );
    Err(Failure::new(Exit::Conflict, text).into())
}

/// The lab, and where its service answers.
async fn make_with_service(
    lab: &Lab,
    managers: usize,
    count: usize,
    bare: bool,
) -> anyhow::Result<(Record, Option<String>)> {
    let record = make(lab, managers, count).await?;
    if bare {
        return Ok((record, None));
    }
    let answers_at = hello::make(&record, count).await?;
    Ok((record, Some(answers_at)))
}

async fn make(lab: &Lab, managers: usize, count: usize) -> anyhow::Result<Record> {
    let network =
        network::free_network(&lab.folder, count).context("no loopback network is free for this lab")?;
    let nodes = (0..count).map(|index| {
        let manager = index < managers;
        let name =
            if manager { format!("manager{}", index + 1) } else { format!("worker{}", index + 1 - managers) };
        let folder = lab.folder.join(&name);
        LabNode {
            name,
            id: String::new(),
            manager,
            addr: network.addr(index),
            folder,
            process: None,
            cut: None,
        }
    });
    let mut record = Record { nodes: nodes.collect() };
    lab.save(&record)?;

    output::note(&format!("Starting {} in {}.", plural(count, "daemon"), lab.folder.display()));
    for index in 0..count {
        record.nodes[index].process = Some(spawn(&record.nodes[index]).await?);
        lab.save(&record)?;
    }
    try_join_all(record.nodes.iter().map(answers)).await?;

    let first = &record.nodes[0];
    let addr = first.addr.to_string();
    let request = InitRequest { listen_addr: addr.clone(), advertise_addr: addr, ..InitRequest::default() };
    let id: String = first.client().post_for("/swarm/init", &request).await.context("make the cluster")?;
    record.nodes[0].id = id;
    output::note(&format!("{} has made the cluster.", record.nodes[0].name));
    let swarm: Swarm = record.nodes[0].client().get("/swarm").await.context("read the join tokens")?;
    let tokens = swarm.join_tokens.context("the first manager shows no join tokens")?;
    // Managers one after the other: each changes who has to agree on the next.
    for index in 1..managers {
        record.nodes[index].id = join(&record.nodes[index], &record.nodes[0], &tokens).await?;
        output::note(&format!("{} has joined.", record.nodes[index].name));
    }
    let workers = record.nodes[managers..].iter().map(|worker| join(worker, &record.nodes[0], &tokens));
    let ids = try_join_all(workers).await?;
    for (node, id) in record.nodes[managers..].iter_mut().zip(ids) {
        node.id = id;
    }
    lab.save(&record)?;
    output::note(&format!("All {count} are in; waiting until all are ready."));
    ready(&record).await?;
    Ok(record)
}

/// Starts the daemon of a node in a session of its own.
pub async fn spawn(node: &LabNode) -> anyhow::Result<ProcessId> {
    let what = || format!("start {}", node.name);
    // Said now and in words, not later by a daemon that cannot listen.
    let host: Host = node.host().to_string().parse().map_err(|error: paths::HostError| {
        Failure::usage(format!("{}: {error}; SWARM_LAB_DIR names a shorter folder", node.socket().display()))
    })?;
    paths::ensure_private_dir(&node.folder).with_context(what)?;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(node.log()).with_context(what)?;
    let child = Command::new(std::env::current_exe().with_context(what)?)
        .args(["--host", &host.to_string(), "daemon", "--new-session", "--lab", "--node-name", &node.name])
        .arg("--state-dir")
        .arg(node.state_dir())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().with_context(what)?)
        .stderr(log)
        .spawn()
        .with_context(what)?;
    // It is our child and we have not waited for it, so its id is still its own.
    ProcessId::of_new(child.id()).await.with_context(what)
}

/// Waits until a daemon's socket answers.
pub async fn answers(node: &LabNode) -> anyhow::Result<()> {
    let start = SystemClock.monotonic();
    let client = node.client();
    loop {
        let error = match client.ping().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if node.process_state() == ProcessState::Gone {
            anyhow::bail!("the daemon of {} ended before it answered{}", node.name, log_tail(&node.log()));
        }
        if SystemClock.monotonic().since(start) > LAB_START_TIME_MAX {
            let text =
                format!("the daemon of {} does not answer: {error}{}", node.name, log_tail(&node.log()));
            return Err(Failure::new(Exit::TimedOut, text).into());
        }
        tokio::time::sleep(DAEMON_START_POLL).await;
    }
}

/// Makes a daemon a node of the cluster; gives its id.
async fn join(node: &LabNode, via: &LabNode, tokens: &JoinTokens) -> anyhow::Result<String> {
    let addr = node.addr.to_string();
    let request = JoinRequest {
        listen_addr: addr.clone(),
        advertise_addr: addr,
        remote_addrs: vec![via.addr.to_string()],
        join_token: if node.manager { tokens.manager.clone() } else { tokens.worker.clone() },
        ..JoinRequest::default()
    };
    let joined = async {
        node.client().post("/swarm/join", &request).await?;
        /// The part of `/info` that is asked for.
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            swarm: SwarmInfo,
        }
        let info: Info = node.client().get("/info").await?;
        Ok::<_, crate::client::ClientError>(info.swarm.node_id)
    };
    let joined = joined.await;
    if joined.is_err() {
        // The log goes away with the lab.
        output::note(&format!("{} did not join{}", node.name, log_tail(&node.log())));
    }
    joined.with_context(|| format!("join {} as {}", node.name, node.role()))
}

/// Waits until the cluster says that every node is ready and every manager is reachable.
async fn ready(record: &Record) -> anyhow::Result<()> {
    let start = SystemClock.monotonic();
    let client = record.nodes[0].client();
    loop {
        let nodes: Vec<Node> = client.get("/nodes").await.context("ask the first manager for its nodes")?;
        let nodes: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let waiting: Vec<&str> = record
            .nodes
            .iter()
            .filter(|expected| !nodes.get(expected.id.as_str()).is_some_and(|node| is_well(expected, node)))
            .map(|node| node.name.as_str())
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        if SystemClock.monotonic().since(start) > LAB_START_TIME_MAX {
            let text = format!("not ready in time: {}", waiting.join(", "));
            return Err(Failure::new(Exit::TimedOut, text).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_well(expected: &LabNode, found: &Node) -> bool {
    let reachable = found.manager_status.as_ref().is_some_and(|manager| manager.reachability == "reachable");
    found.status.state == "ready" && (reachable || !expected.manager)
}

/// The end of a daemon's log as the end of an error.
fn log_tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(DAEMON_LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(DAEMON_LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    match read().unwrap_or_default().as_str() {
        "" => "; its log says nothing".into(),
        tail => format!("; the end of its log:\n{tail}"),
    }
}

fn how_to_talk(args: &Args, record: &Record, answers_at: Option<&str>) -> String {
    let (name, program) = (&args.which.name, record::program());
    let host = record.nodes[0].host();
    let service = answers_at
        .map_or_else(String::new, |url| format!("  {program} service ps {}\n  curl {url}\n", hello::NAME));
    format!(
        "Lab {name} is up: {} and {}.\n\n  export SWARM_HOST={host}\n  {program} node ls\n  docker -H {host} node ls\n{service}\n\
         {} shows its nodes and their sockets; {} removes all of it.\n",
        plural(args.managers.into(), "manager"),
        plural(args.workers.into(), "worker"),
        command("status", name),
        command("down", name),
    )
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
