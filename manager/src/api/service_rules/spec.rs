//! What can be judged of a spec alone, in the order in which Docker looks at it.

use std::collections::BTreeSet;

use common::limits::{SERVICE_SPEC_BYTES_MAX, SERVICE_TASKS_MAX};
use common::object::container::{ContainerSpec, Mount, MountKind};
use common::object::placement::Constraint;
use common::object::ports::{PROXY_PROTOCOL_LABEL, Port, ProxyProtocol, PublishMode};
use common::object::service::RuntimeKind;
use common::object::template::check_templates;
use common::object::{NetworkId, ServiceMode, ServiceSpec, TaskSpec};
use common::wire::codec::encode;

use super::super::error::ApiError;
use super::super::lookup;
use super::{image, name, ports, references};
use crate::store::Tables;

const NANO_CPUS_MIN: i64 = 1_000_000;
const MEMORY_BYTES_MIN: i64 = 4 << 20;

/// Whether this can be a service's spec.
pub fn check(spec: &ServiceSpec) -> Result<(), ApiError> {
    name::check(&spec.name)?;
    check_task(&spec.task)?;
    check_mode(spec)?;
    ports::check(spec.endpoint.as_ref())?;
    references::check(&spec.task)?;
    let bytes = encode(spec).len();
    if bytes > SERVICE_SPEC_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "the service spec takes {bytes} bytes, and {SERVICE_SPEC_BYTES_MAX} are allowed"
        )));
    }
    Ok(())
}

/// What is accepted and does not do what one might expect.
pub fn warnings(spec: &ServiceSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    // Containers have addresses of their own; processes share those of their node.
    let is_same = |port: &&Port| {
        spec.task.runtime == RuntimeKind::Process
            && port.mode == PublishMode::Ingress
            && port.published == port.target
    };
    for port in ports.filter(is_same) {
        warnings.push(format!(
            "port {}/{} is published under its own number: each node listens on it for the cluster, so a process that listens on all addresses of its node finds it taken: publish it under another number",
            port.target, port.protocol
        ));
    }
    let proxied = spec.labels.iter().filter(|(name, _)| name.starts_with(PROXY_PROTOCOL_LABEL));
    for (name, value) in proxied.filter(|(_, value)| value.parse::<ProxyProtocol>().is_err()) {
        warnings.push(format!("label {name}={value} has no effect: it takes v1 or v2"));
    }
    let known = |over: &&String| over.starts_with("node.labels.") || over.starts_with("engine.labels.");
    for over in spec.task.placement.spread_over.iter().filter(|over| !known(over)) {
        warnings.push(format!(
            "placement preference spread={over} has no effect: it is neither node.labels.<name> nor engine.labels.<name>"
        ));
    }
    warnings
}

/// Of the cluster's networks that a service comes to be on: what these do not do yet. Says their names, whatever the
/// request calls them by; `before` is the spec that is replaced.
pub fn network_warning(tables: &Tables, task: &TaskSpec, before: Option<&TaskSpec>) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    let targets = task.networks.iter().map(|network| network.target.as_str());
    for target in targets.filter(|target| !references::NODE_NETWORKS.contains(target)) {
        let is_new =
            |id: NetworkId| !before.is_some_and(|before| before.cluster_networks().any(|it| it == id));
        let network = lookup::network(tables, target).ok().filter(|network| is_new(network.id));
        names.extend(network.map(|network| network.spec.name.clone()));
    }
    (!names.is_empty()).then(|| {
        format!(
            "network {}: services and tasks have addresses there, and this version does not carry connections to these addresses yet: use published ports to reach the tasks",
            names.join(", ")
        )
    })
}

fn check_task(task: &TaskSpec) -> Result<(), ApiError> {
    let resources = &task.resources;
    check_amounts(resources.limits.nano_cpus, resources.limits.memory_bytes)?;
    check_amounts(resources.reservations.nano_cpus, resources.reservations.memory_bytes)?;
    for constraint in &task.placement.constraints {
        Constraint::parse(constraint).map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    check_templates(task).map_err(|error| ApiError::invalid(error.to_string()))?;
    match task.runtime {
        RuntimeKind::Container => image::check(&task.container.image)?,
        RuntimeKind::Process if task.container.command.is_empty() => {
            return Err(ApiError::invalid("ContainerSpec: a task of runtime process needs a command"));
        }
        RuntimeKind::Process | RuntimeKind::Fake => {}
    }
    check_mounts(&task.container)
}

fn check_amounts(nano_cpus: i64, memory_bytes: i64) -> Result<(), ApiError> {
    if nano_cpus != 0 && nano_cpus < NANO_CPUS_MIN {
        return Err(ApiError::invalid(format!(
            "invalid cpu value {}: Must be at least 0.001",
            as_go_writes(nano_cpus as f64 / 1e9)
        )));
    }
    if memory_bytes != 0 && memory_bytes < MEMORY_BYTES_MIN {
        return Err(ApiError::invalid(format!("invalid memory value {memory_bytes}: Must be at least 4MiB")));
    }
    Ok(())
}

/// Go's `%g`.
fn as_go_writes(value: f64) -> String {
    if value == 0.0 || value.abs() >= 1e-4 {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

fn check_mounts(container: &ContainerSpec) -> Result<(), ApiError> {
    let mut targets = BTreeSet::new();
    for Mount { kind, target, .. } in &container.mounts {
        if target.is_empty() {
            return Err(ApiError::invalid(format!(
                "invalid mount config for type {:?}: field Target must not be empty",
                kind.to_string()
            )));
        }
        if *kind == MountKind::Cluster {
            return Err(ApiError::not_implemented("cluster volumes are not supported in this version yet"));
        }
        if !targets.insert(target) {
            return Err(ApiError::invalid(format!("ContainerSpec: duplicate mount point: {target}")));
        }
    }
    Ok(())
}

fn check_mode(spec: &ServiceSpec) -> Result<(), ApiError> {
    if spec.mode.is_job() && spec.update.is_some() {
        return Err(ApiError::invalid("Jobs may not have an update config"));
    }
    let tasks = match spec.mode {
        ServiceMode::Replicated { replicas } => replicas,
        ServiceMode::ReplicatedJob { concurrent_max, completions } => concurrent_max.max(completions),
        ServiceMode::Global | ServiceMode::GlobalJob => 0,
    };
    if tasks > SERVICE_TASKS_MAX {
        return Err(ApiError::invalid(format!(
            "{tasks} tasks are too many for one service, {SERVICE_TASKS_MAX} are allowed"
        )));
    }
    Ok(())
}
