//! Tasks, and what each task of a service is: `/tasks` and `TaskTemplate`.

use std::collections::BTreeMap;

use super::container::{container_from_api, container_to_api, driver_from_api, driver_to_api};
use super::policy::{restart_from_api, restart_to_api};
use super::service::port_to_api;
use super::{ConvertError, version_to_api};
use crate::engine_api::ObjectVersion;
use crate::engine_api::node::Platform as ApiPlatform;
use crate::engine_api::task as api;
use crate::object::node::Platform;
use crate::object::placement::Placement;
use crate::object::resources::{GenericStock, Limits, Requirements, Reservations};
use crate::object::service::{NetworkAttachment, RuntimeKind};
use crate::object::{Service, Task, TaskSpec, TaskState, TaskStatus};

/// A task as the API shows it; `service` is none where it is not known any more.
pub fn task_to_api(task: &Task, service: Option<&Service>) -> api::Task {
    let spec = service.and_then(|service| service.spec_at(task.spec));
    api::Task {
        id: task.id.to_string(),
        version: version_to_api(&task.meta),
        created_at: task.meta.created_at.to_rfc3339(),
        updated_at: task.meta.updated_at.to_rfc3339(),
        name: service.map(|service| task_name(service.name(), task)).unwrap_or_default(),
        labels: spec.map(|spec| spec.labels.clone()).unwrap_or_default(),
        spec: spec.map(|spec| task_spec_to_api(&spec.task)).unwrap_or_default(),
        service_id: task.service.to_string(),
        slot: task.slot.number(),
        node_id: task.node.map(|node| node.to_string()).unwrap_or_default(),
        status: status_to_api(task),
        desired_state: task.desired.to_string(),
        networks_attachments: Vec::new(),
        generic_resources: task
            .granted
            .iter()
            .flatten()
            .flat_map(|grant| stock_to_api(&grant.kind, &grant.stock))
            .collect(),
        job_iteration: task.iteration.map(|index| ObjectVersion { index }),
        spec_number: task.spec,
    }
}

/// `web.1.<id>`; of a global service the node's id stands for the number.
pub fn task_name(service: &str, task: &Task) -> String {
    format!("{service}.{}.{}", task.slot, task.id)
}

fn status_to_api(task: &Task) -> api::TaskStatus {
    let TaskStatus { state, at, message, error, ready, container, ports, .. } = &task.status;
    // Nothing was seen of it yet: then it is as old as the task.
    let at = if at.0 == 0 { task.meta.created_at } else { *at };
    api::TaskStatus {
        timestamp: at.to_rfc3339(),
        state: state.to_string(),
        message: if message.is_empty() { state.default_message() } else { message }.into(),
        err: error.to_string(),
        container_status: container.as_ref().map(|container| api::ContainerStatus {
            container_id: container.id.clone(),
            pid: container.pid,
            exit_code: container.exit_code.unwrap_or_default(),
        }),
        port_status: api::PortStatus { ports: ports.iter().flatten().map(port_to_api).collect() },
        ready: *ready && *state == TaskState::Running,
    }
}

/// Docker spells one entry per amount or name.
pub(super) fn stock_to_api(kind: &str, stock: &GenericStock) -> Vec<api::GenericResource> {
    let named = |name: &String| api::GenericResource {
        named_resource_spec: Some(api::NamedResource { kind: kind.into(), value: name.clone() }),
        discrete_resource_spec: None,
    };
    match stock {
        GenericStock::Count(count) => vec![discrete(kind, *count)],
        GenericStock::Named(names) => names.iter().map(named).collect(),
    }
}

fn discrete(kind: &str, amount: u64) -> api::GenericResource {
    let value = i64::try_from(amount).unwrap_or(i64::MAX);
    api::GenericResource {
        named_resource_spec: None,
        discrete_resource_spec: Some(api::DiscreteResource { kind: kind.into(), value }),
    }
}

/// What tasks are made from; without the registry's credentials, which no one is shown.
pub fn task_spec_to_api(spec: &TaskSpec) -> api::TaskSpec {
    api::TaskSpec {
        force_update: spec.force_update,
        container_spec: Some(container_to_api(&spec.container)),
        plugin_spec: None,
        network_attachment_spec: None,
        resources: Some(requirements_to_api(&spec.resources))
            .filter(|_| spec.resources != Default::default()),
        restart_policy: spec.restart.as_ref().map(restart_to_api),
        placement: Some(placement_to_api(&spec.placement)).filter(|_| spec.placement != Default::default()),
        networks: spec.networks.iter().map(attachment_to_api).collect(),
        log_driver: spec.log_driver.as_ref().map(driver_to_api),
        runtime: spec.runtime.to_string(),
    }
}

pub fn task_spec_from_api(spec: api::TaskSpec) -> Result<TaskSpec, ConvertError> {
    let runtime = runtime_from_api(&spec)?;
    Ok(TaskSpec {
        runtime,
        container: container_from_api(spec.container_spec.ok_or(ConvertError::MissingRuntime)?)?,
        resources: spec.resources.map(requirements_from_api).transpose()?.unwrap_or_default(),
        restart: spec.restart_policy.map(restart_from_api).transpose()?,
        placement: spec.placement.map(placement_from_api).transpose()?.unwrap_or_default(),
        networks: spec.networks.into_iter().map(attachment_from_api).collect(),
        log_driver: spec.log_driver.map(driver_from_api),
        force_update: spec.force_update,
        registry_auth: None,
    })
}

fn runtime_from_api(spec: &api::TaskSpec) -> Result<RuntimeKind, ConvertError> {
    match spec.runtime.as_str() {
        "plugin" => return Err(ConvertError::Unsupported { what: "a plugin as a service" }),
        _ if spec.plugin_spec.is_some() => {
            return Err(ConvertError::Unsupported { what: "a plugin as a service" });
        }
        "attachment" => return Err(ConvertError::Unsupported { what: "a network attachment as a service" }),
        _ if spec.network_attachment_spec.is_some() => {
            return Err(ConvertError::Unsupported { what: "a network attachment as a service" });
        }
        "" => return Ok(RuntimeKind::default()),
        _ => {}
    }
    spec.runtime.parse().map_err(|_| super::word_error("Runtime", &spec.runtime))
}

fn requirements_to_api(requirements: &Requirements) -> api::Resources {
    let Requirements { limits, reservations, swap_bytes, memory_swappiness } = requirements;
    let generic = reservations.generic.iter().map(|(kind, amount)| discrete(kind, *amount));
    let limits =
        api::Limits { nano_cpus: limits.nano_cpus, memory_bytes: limits.memory_bytes, pids: limits.pids };
    let reservations = api::Reservations {
        nano_cpus: reservations.nano_cpus,
        memory_bytes: reservations.memory_bytes,
        generic_resources: generic.collect(),
    };
    api::Resources {
        limits: Some(limits).filter(|limits| *limits != Default::default()),
        reservations: Some(reservations).filter(|reservations| *reservations != Default::default()),
        swap_bytes: *swap_bytes,
        memory_swappiness: *memory_swappiness,
    }
}

fn requirements_from_api(resources: api::Resources) -> Result<Requirements, ConvertError> {
    let limits = resources.limits.unwrap_or_default();
    let reservations = resources.reservations.unwrap_or_default();
    let mut generic = BTreeMap::new();
    for resource in reservations.generic_resources {
        let api::GenericResource { named_resource_spec: None, discrete_resource_spec: Some(resource) } =
            resource
        else {
            return Err(ConvertError::NamedResource);
        };
        let amount = u64::try_from(resource.value)
            .map_err(|_| ConvertError::Range { member: "GenericResources", value: resource.value })?;
        let known: &mut u64 = generic.entry(resource.kind).or_default();
        *known = known.saturating_add(amount);
    }
    Ok(Requirements {
        limits: Limits { nano_cpus: limits.nano_cpus, memory_bytes: limits.memory_bytes, pids: limits.pids },
        reservations: Reservations {
            nano_cpus: reservations.nano_cpus,
            memory_bytes: reservations.memory_bytes,
            generic,
        },
        swap_bytes: resources.swap_bytes,
        memory_swappiness: resources.memory_swappiness,
    })
}

fn placement_to_api(placement: &Placement) -> api::Placement {
    let spread =
        |over: &String| api::Preference { spread: Some(api::Spread { spread_descriptor: over.clone() }) };
    let platform = |platform: &Platform| ApiPlatform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
    };
    api::Placement {
        constraints: placement.constraints.clone(),
        preferences: placement.spread_over.iter().map(spread).collect(),
        max_replicas: placement.replicas_max_per_node,
        platforms: placement.platforms.iter().map(platform).collect(),
    }
}

fn placement_from_api(placement: api::Placement) -> Result<Placement, ConvertError> {
    let spread = |preference: api::Preference| {
        preference.spread.map(|spread| spread.spread_descriptor).ok_or(ConvertError::NotSpread)
    };
    let platform = |platform: ApiPlatform| Platform { architecture: platform.architecture, os: platform.os };
    Ok(Placement {
        constraints: placement.constraints,
        spread_over: placement.preferences.into_iter().map(spread).collect::<Result<_, _>>()?,
        replicas_max_per_node: placement.max_replicas,
        platforms: placement.platforms.into_iter().map(platform).collect(),
    })
}

pub(super) fn attachment_to_api(attachment: &NetworkAttachment) -> api::NetworkAttachment {
    api::NetworkAttachment {
        target: attachment.target.clone(),
        aliases: attachment.aliases.clone(),
        driver_opts: attachment.driver_options.clone(),
    }
}

pub(super) fn attachment_from_api(attachment: api::NetworkAttachment) -> NetworkAttachment {
    NetworkAttachment {
        target: attachment.target,
        aliases: attachment.aliases,
        driver_options: attachment.driver_opts,
    }
}
