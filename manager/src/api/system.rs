//! `/_ping`, `/version`, `/info`: what this node is. None of them waits for the cluster.
//!
//! With an engine, `/info` is the engine's document with our `Swarm` in it: programs read containers, drivers and
//! plugins there. Without one it is a smaller document of this machine.

use std::fs;

use common::engine_api::convert::cluster_to_api;
use common::engine_api::system::{Component, Info, PlatformName, RemoteManager, SwarmInfo, VersionInfo};
use common::engine_api::{API_VERSION_MIN, swarm::Swarm};
use common::object::NodeId;
use common::report::Report;
use common::time::{Clock, SystemClock};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use serde_json::{Map, Value};

use super::error::NO_LEADER;
use super::exchange::{self, Answer, Body};
use super::host::{Host, HostStatus, LocalState};
use super::route::Edge;
use crate::store::Tables;

const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(super) const SERVER_NAME: &str = concat!("Swarm/", env!("CARGO_PKG_VERSION"), " (linux)");
const TWO_MANAGERS: &str = "Running Swarm in a two-manager configuration. This configuration provides no fault tolerance, and poses a high risk to lose control over the cluster. Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the Swarm for fault-tolerance.";

pub(super) fn ping(edge: &Edge) -> Response<Body> {
    let mut response = exchange::plain("OK");
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Swarm", HeaderValue::from_static(swarm_header(&*edge.host)));
    if let Some(facts) = edge.engine.facts_so_far() {
        headers.extend(facts.headers);
    }
    response
}

/// Docker's client hides commands by this.
fn swarm_header(host: &dyn Host) -> &'static str {
    match host.status().state {
        LocalState::Inactive => "inactive",
        LocalState::Pending => "pending",
        LocalState::Locked => "locked",
        LocalState::Error(_) => "error",
        LocalState::Active if host.manager().is_some() => "active/manager",
        LocalState::Active => "active/worker",
    }
}

pub(super) async fn version(edge: &Edge) -> Answer {
    let engine: VersionInfo = edge.engine.document("/version").await.unwrap_or_default();
    let api_version = edge.engine.spoken_version().to_string();
    let ours = Component {
        name: "Swarm".into(),
        version: VERSION.into(),
        details: [
            ("ApiVersion", api_version.as_str()),
            ("MinAPIVersion", API_VERSION_MIN),
            ("Os", std::env::consts::OS),
            ("Arch", arch()),
            ("Experimental", "false"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into(),
    };
    let mut components = vec![ours];
    components.extend(engine.components);
    exchange::json(&VersionInfo {
        platform: PlatformName { name: format!("Swarm {VERSION}") },
        components,
        version: VERSION.into(),
        api_version,
        min_api_version: API_VERSION_MIN.into(),
        os: std::env::consts::OS.into(),
        arch: arch().into(),
        kernel_version: kernel_version(),
    })
}

pub(super) async fn info(edge: &Edge) -> Answer {
    let status = edge.host.status();
    let swarm = swarm_info(&*edge.host, &status);
    let mut warnings: Vec<String> =
        swarm.warnings.iter().map(|warning| format!("WARNING: {warning}")).collect();
    if edge.engine.is_configured() {
        match edge.engine.document::<Map<String, Value>>("/info").await {
            Ok(document) => return exchange::json(&with_swarm(document, &swarm, warnings)),
            Err(error) => warnings.push(format!("WARNING: {}", Report(&error))),
        }
    }
    exchange::json(&Info { warnings, ..machine(&status, swarm) })
}

/// The engine's document, with our cluster in the place of its own.
fn with_swarm(
    mut document: Map<String, Value>,
    swarm: &SwarmInfo,
    warnings: Vec<String>,
) -> Map<String, Value> {
    document.insert("Swarm".into(), serde_json::to_value(swarm).unwrap_or_default());
    if !warnings.is_empty() {
        let mut all = match document.remove("Warnings") {
            Some(Value::Array(theirs)) => theirs,
            _ => Vec::new(),
        };
        all.extend(warnings.into_iter().map(Value::String));
        document.insert("Warnings".into(), Value::Array(all));
    }
    document
}

fn swarm_info(host: &dyn Host, status: &HostStatus) -> SwarmInfo {
    let control = host.manager();
    let cluster = control.as_ref().map(|control| (control.local(), control.leader()));
    let mut info = SwarmInfo {
        node_id: status.node.map(|node| node.to_string()).unwrap_or_default(),
        node_addr: status.advertise_ip.map(|addr| addr.to_string()).unwrap_or_default(),
        local_node_state: match &status.state {
            LocalState::Inactive => "inactive",
            LocalState::Pending => "pending",
            LocalState::Active => "active",
            LocalState::Error(_) => "error",
            LocalState::Locked => "locked",
        }
        .into(),
        control_available: control.is_some(),
        error: match &status.state {
            LocalState::Error(reason) => reason.clone(),
            LocalState::Inactive | LocalState::Pending | LocalState::Active | LocalState::Locked => {
                String::new()
            }
        },
        remote_managers: status
            .managers
            .iter()
            .map(|manager| RemoteManager { node_id: manager.node.to_string(), addr: manager.addr.clone() })
            .collect(),
        warnings: status.warnings.clone(),
        ..SwarmInfo::default()
    };
    if let Some((tables, leader)) = cluster {
        add_cluster(&mut info, &tables, leader);
    }
    info
}

/// What only a manager knows, from its own store: with no leader it is what was last known, and says so.
fn add_cluster(info: &mut SwarmInfo, tables: &Tables, leader: Option<NodeId>) {
    info.nodes = tables.nodes.len() as u64;
    info.managers = tables.nodes.iter().filter(|node| node.manager.is_some()).count() as u64;
    if info.managers == 2 {
        info.warnings.push(TWO_MANAGERS.into());
    }
    if leader.is_none() {
        info.warnings.push(NO_LEADER.into());
        if info.error.is_empty() {
            info.error = NO_LEADER.into();
        }
    }
    let shown: Option<Result<Swarm, _>> = tables.cluster().map(|cluster| cluster_to_api(cluster, false));
    match shown {
        Some(Ok(cluster)) => info.cluster = Some(cluster),
        Some(Err(error)) => info.warnings.push(Report(&error).to_string()),
        None => {}
    }
}

/// This machine in the members that Docker's client prints.
fn machine(status: &HostStatus, swarm: SwarmInfo) -> Info {
    Info {
        id: status.node.map(|node| node.to_string()).unwrap_or_else(|| status.hostname.clone()),
        name: status.hostname.clone(),
        server_version: VERSION.into(),
        os_type: std::env::consts::OS.into(),
        architecture: std::env::consts::ARCH.into(),
        kernel_version: kernel_version(),
        operating_system: operating_system(),
        ncpu: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
        mem_total: memory_total(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        system_time: SystemClock.now().to_rfc3339(),
        swarm,
        ..Info::default()
    }
}

/// Docker's word for it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn kernel_version() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().into()
}

fn operating_system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or(std::env::consts::OS, |name| name.trim_matches('"')).into()
}

/// In bytes; 0 when it is not said.
fn memory_total(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}
