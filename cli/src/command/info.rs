//! `swarm info`: this node and its cluster.

use std::fmt::Write;
use std::time::Duration;

use common::engine_api::swarm::Swarm;
use common::engine_api::system::SwarmInfo;
use serde_json::{Value, json};

use super::cluster_flags::look;
use super::edit::text;
use crate::client::Client;
use crate::output::inspect::{self, Format};
use crate::output::{human, note, print};
use crate::parse::size;

/// Show this node and its cluster
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm info
  swarm info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}'
  swarm info --format '{{json .Swarm.RemoteManagers}}'")]
pub struct Args {
    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut info: Value = client.get("/info").await?;
    if let Some(format) = &args.format {
        if let Format::Template(_) = format {
            fill(&mut info)?;
        }
        print(&inspect::show(format, &info)?)?;
        return Ok(());
    }
    let swarm: SwarmInfo = serde_json::from_value(look(&info, &["Swarm"]).clone()).unwrap_or_default();
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = write_swarm(&mut out, &swarm).and_then(|()| write_node(&mut out, &info));
    print(&out)?;
    for warning in swarm.warnings.iter().filter(|warning| !warning.is_empty()) {
        note(&format!("WARNING: {warning}"));
    }
    Ok(())
}

fn fill(info: &mut Value) -> Result<(), serde_json::Error> {
    let mut defaults = serde_json::to_value(SwarmInfo::default())?;
    defaults["Nodes"] = 0.into();
    defaults["Managers"] = 0.into();
    defaults["Warnings"] = Value::Null;
    defaults["Cluster"] = match info.pointer("/Swarm/Cluster") {
        Some(Value::Object(_)) => serde_json::to_value(Swarm::default())?,
        _ => Value::Null,
    };
    inspect::fill(info, &json!({ "Swarm": defaults }));
    Ok(())
}

/// The block of `docker info`, line by line in its order.
fn write_swarm(out: &mut String, swarm: &SwarmInfo) -> std::fmt::Result {
    writeln!(out, "Swarm: {}", swarm.local_node_state)?;
    if matches!(swarm.local_node_state.as_str(), "inactive" | "locked") {
        return Ok(());
    }
    writeln!(out, " NodeID: {}", swarm.node_id)?;
    if !swarm.error.is_empty() {
        writeln!(out, " Error: {}", swarm.error)?;
    }
    writeln!(out, " Is Manager: {}", swarm.control_available)?;
    let healthy = swarm.control_available && swarm.error.is_empty() && swarm.local_node_state != "error";
    if let Some(cluster) = swarm.cluster.as_ref().filter(|_| healthy) {
        write_cluster(out, swarm, cluster)?;
    }
    writeln!(out, " Node Address: {}", swarm.node_addr)?;
    let mut managers: Vec<&str> = swarm.remote_managers.iter().map(|manager| manager.addr.as_str()).collect();
    managers.sort_unstable();
    if !managers.is_empty() {
        writeln!(out, " Manager Addresses:")?;
    }
    for manager in managers {
        writeln!(out, "  {manager}")?;
    }
    Ok(())
}

fn write_cluster(out: &mut String, swarm: &SwarmInfo, cluster: &Swarm) -> std::fmt::Result {
    writeln!(out, " ClusterID: {}", cluster.id)?;
    writeln!(out, " Managers: {}", swarm.managers)?;
    writeln!(out, " Nodes: {}", swarm.nodes)?;
    if !cluster.default_addr_pool.is_empty() {
        writeln!(out, " Default Address Pool: {}", cluster.default_addr_pool.join("  "))?;
        writeln!(out, " SubnetSize: {}", cluster.subnet_size)?;
    }
    if cluster.data_path_port > 0 {
        writeln!(out, " Data Path Port: {}", cluster.data_path_port)?;
    }
    let spec = &cluster.spec;
    let task_history = spec.orchestration.task_history_retention_limit.unwrap_or_default();
    writeln!(out, " Orchestration:\n  Task History Retention Limit: {task_history}")?;
    writeln!(out, " Raft:\n  Snapshot Interval: {}", spec.raft.snapshot_interval)?;
    if let Some(count) = spec.raft.keep_old_snapshots {
        writeln!(out, "  Number of Old Snapshots to Retain: {count}")?;
    }
    writeln!(out, "  Heartbeat Tick: {}", spec.raft.heartbeat_tick)?;
    writeln!(out, "  Election Tick: {}", spec.raft.election_tick)?;
    writeln!(out, " Dispatcher:\n  Heartbeat Period: {}", in_words(spec.dispatcher.heartbeat_period))?;
    if !spec.liveness.is_empty() {
        writeln!(out, " Liveness: {}", spec.liveness)?;
    }
    writeln!(out, " CA Configuration:\n  Expiry Duration: {}", in_words(spec.ca_config.node_cert_expiry))?;
    writeln!(out, "  Force Rotate: {}", spec.ca_config.force_rotate)?;
    let certificate = spec.ca_config.signing_ca_cert.trim();
    if !certificate.is_empty() {
        writeln!(out, "  Signing CA Certificate: \n{certificate}\n")?;
    }
    if !spec.ca_config.external_cas.is_empty() {
        writeln!(out, "  External CAs:")?;
    }
    for authority in &spec.ca_config.external_cas {
        writeln!(out, "    {}: {}", text(authority, &["Protocol"]), text(authority, &["URL"]))?;
    }
    writeln!(out, " Autolock Managers: {}", spec.encryption_config.auto_lock_managers)?;
    writeln!(out, " Root Rotation In Progress: {}", cluster.root_rotation_in_progress)
}

fn in_words(nanoseconds: i64) -> String {
    human::duration(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default()))
}

fn write_node(out: &mut String, info: &Value) -> std::fmt::Result {
    let lines = [
        ("Name", "Name"),
        ("Server Version", "ServerVersion"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
    ];
    for (title, key) in lines {
        match text(info, &[key]) {
            "" => {}
            value => writeln!(out, "{title}: {value}")?,
        }
    }
    if let Some(count) = look(info, &["NCPU"]).as_u64().filter(|count| *count > 0) {
        writeln!(out, "CPUs: {count}")?;
    }
    if let Some(bytes) = look(info, &["MemTotal"]).as_i64().filter(|bytes| *bytes > 0) {
        writeln!(out, "Total Memory: {}", size::show(bytes))?;
    }
    Ok(())
}
