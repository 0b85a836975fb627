//! Services: `/services` and `object::Service`.

use super::policy::{update_from_api, update_to_api};
use super::task::{attachment_from_api, task_spec_from_api, task_spec_to_api};
use super::{ConvertError, parse_word, version_to_api};
use crate::engine_api::ObjectVersion;
use crate::engine_api::service as api;
use crate::limits::STOP_GRACE_DEFAULT;
use crate::object::policy::{RESTART_DELAY_DEFAULT, UPDATE_MONITOR_DEFAULT};
use crate::object::ports::{EndpointMode, EndpointSpec, Port, Protocol, PublishMode};
use crate::object::service::{JobStatus, UpdateStatus};
use crate::object::{Service, ServiceMode, ServiceSpec};
use crate::time::Timestamp;

/// A service as the API shows it.
pub fn service_to_api(service: &Service) -> api::Service {
    let spec = service_spec_to_api(service.spec());
    let previous = service.previous.and_then(|number| service.spec_at(number));
    api::Service {
        id: service.id.to_string(),
        version: version_to_api(&service.meta),
        created_at: service.meta.created_at.to_rfc3339(),
        updated_at: service.meta.updated_at.to_rfc3339(),
        endpoint: api::Endpoint {
            spec: spec.endpoint_spec.clone().unwrap_or_default(),
            ports: service.ports.iter().map(port_to_api).collect(),
            virtual_ips: Vec::new(),
        },
        spec,
        previous_spec: previous.map(|spec| service_spec_to_api(spec)),
        update_status: service.update.as_ref().map(update_status_to_api),
        service_status: None,
        job_status: service.job.as_ref().map(job_status_to_api),
        spec_number: service.current.number,
    }
}

pub fn service_spec_to_api(spec: &ServiceSpec) -> api::ServiceSpec {
    api::ServiceSpec {
        name: spec.name.clone(),
        labels: spec.labels.clone(),
        task_template: task_spec_to_api(&spec.task),
        mode: mode_to_api(spec.mode),
        update_config: spec.update.as_ref().map(update_to_api),
        rollback_config: spec.rollback.as_ref().map(update_to_api),
        networks: Vec::new(),
        endpoint_spec: spec.endpoint.as_ref().map(|endpoint| api::EndpointSpec {
            mode: endpoint.mode.map(|mode| mode.to_string()).unwrap_or_default(),
            ports: endpoint.ports.iter().map(port_to_api).collect(),
        }),
    }
}

/// The networks of the service itself, which is their old place, become the task's.
pub fn service_spec_from_api(spec: api::ServiceSpec) -> Result<ServiceSpec, ConvertError> {
    let mut task = task_spec_from_api(spec.task_template)?;
    if task.networks.is_empty() {
        task.networks = spec.networks.into_iter().map(attachment_from_api).collect();
    }
    Ok(ServiceSpec {
        name: spec.name,
        labels: spec.labels,
        task,
        mode: mode_from_api(spec.mode)?,
        update: spec.update_config.map(update_from_api).transpose()?,
        rollback: spec.rollback_config.map(update_from_api).transpose()?,
        endpoint: spec.endpoint_spec.map(endpoint_from_api).transpose()?,
    })
}

/// Fills in what holds where a spec says nothing.
pub fn insert_defaults(spec: &mut api::ServiceSpec) {
    let task = &mut spec.task_template;
    if let Some(container) = &mut task.container_spec {
        container.stop_grace_period.get_or_insert(super::nanoseconds(STOP_GRACE_DEFAULT));
        container.dns_config.get_or_insert_default();
    }
    task.resources.get_or_insert_default();
    task.placement.get_or_insert_default();
    let restart = task.restart_policy.get_or_insert_default();
    or(&mut restart.condition, "any");
    restart.delay.get_or_insert(super::nanoseconds(RESTART_DELAY_DEFAULT));
    restart.max_attempts.get_or_insert(0);
    let is_job = spec.mode.replicated_job.is_some() || spec.mode.global_job.is_some();
    if !is_job {
        insert_update_defaults(&mut spec.update_config);
        insert_update_defaults(&mut spec.rollback_config);
    }
    or(&mut spec.endpoint_spec.get_or_insert_default().mode, "vip");
}

fn insert_update_defaults(config: &mut Option<api::UpdateConfig>) {
    // One at a time holds for a service without any settings; in settings, 0 means all at once.
    let config = config.get_or_insert(api::UpdateConfig { parallelism: 1, ..Default::default() });
    or(&mut config.failure_action, "pause");
    config.monitor.get_or_insert(super::nanoseconds(UPDATE_MONITOR_DEFAULT));
    or(&mut config.order, "stop-first");
}

fn or(word: &mut String, default: &str) {
    if word.is_empty() {
        *word = default.into();
    }
}

fn mode_to_api(mode: ServiceMode) -> api::Mode {
    let none = api::Mode::default();
    match mode {
        ServiceMode::Replicated { replicas } => {
            api::Mode { replicated: Some(api::Replicated { replicas: Some(replicas) }), ..none }
        }
        ServiceMode::Global => api::Mode { global: Some(api::Nothing {}), ..none },
        ServiceMode::ReplicatedJob { concurrent_max, completions } => api::Mode {
            replicated_job: Some(api::ReplicatedJob {
                max_concurrent: Some(concurrent_max),
                total_completions: Some(completions),
            }),
            ..none
        },
        ServiceMode::GlobalJob => api::Mode { global_job: Some(api::Nothing {}), ..none },
    }
}

fn mode_from_api(mode: api::Mode) -> Result<ServiceMode, ConvertError> {
    let api::Mode { replicated, global, replicated_job, global_job } = mode;
    match (replicated, global, replicated_job, global_job) {
        (None, None, None, None) => Ok(ServiceMode::default()),
        (Some(replicated), None, None, None) => {
            Ok(ServiceMode::Replicated { replicas: replicated.replicas.unwrap_or(1) })
        }
        (None, Some(api::Nothing {}), None, None) => Ok(ServiceMode::Global),
        (None, None, Some(job), None) => {
            let concurrent_max = job.max_concurrent.unwrap_or(1);
            let completions = job.total_completions.unwrap_or(concurrent_max);
            Ok(ServiceMode::ReplicatedJob { concurrent_max, completions })
        }
        (None, None, None, Some(api::Nothing {})) => Ok(ServiceMode::GlobalJob),
        _ => Err(ConvertError::SeveralModes),
    }
}

fn endpoint_from_api(endpoint: api::EndpointSpec) -> Result<EndpointSpec, ConvertError> {
    let mode = &endpoint.mode;
    Ok(EndpointSpec {
        mode: if mode.is_empty() {
            None
        } else {
            Some(parse_word::<EndpointMode>("EndpointSpec.Mode", mode)?)
        },
        ports: endpoint.ports.into_iter().map(port_from_api).collect::<Result<_, _>>()?,
    })
}

pub(super) fn port_to_api(port: &Port) -> api::Port {
    api::Port {
        name: port.name.clone(),
        protocol: port.protocol.to_string(),
        target_port: port.target.into(),
        published_port: port.published.into(),
        publish_mode: port.mode.to_string(),
    }
}

fn port_from_api(port: api::Port) -> Result<Port, ConvertError> {
    let number = |member, value: u32| {
        u16::try_from(value).map_err(|_| ConvertError::Range { member, value: value.into() })
    };
    let target = number("TargetPort", port.target_port)?;
    if target == 0 {
        return Err(ConvertError::Range { member: "TargetPort", value: 0 });
    }
    let (protocol, mode) = (port.protocol.as_str(), port.publish_mode.as_str());
    Ok(Port {
        name: port.name.clone(),
        protocol: if protocol.is_empty() { Protocol::default() } else { parse_word("Protocol", protocol)? },
        target,
        published: number("PublishedPort", port.published_port)?,
        mode: if mode.is_empty() { PublishMode::default() } else { parse_word("PublishMode", mode)? },
    })
}

fn update_status_to_api(status: &UpdateStatus) -> api::UpdateStatus {
    api::UpdateStatus {
        state: status.state.to_string(),
        started_at: Some(status.started_at.to_rfc3339()),
        completed_at: status.completed_at.map(Timestamp::to_rfc3339),
        message: status.message.clone(),
    }
}

fn job_status_to_api(job: &JobStatus) -> api::JobStatus {
    api::JobStatus {
        job_iteration: ObjectVersion { index: job.iteration },
        last_execution: job.last_execution.to_rfc3339(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_in_their_old_place_are_the_task_s() {
        let spec: api::ServiceSpec =
            serde_json::from_str(r#"{"Networks":[{"Target":"host"}],"TaskTemplate":{"ContainerSpec":{}}}"#)
                .expect("a spec");
        let shown = service_spec_to_api(&service_spec_from_api(spec).expect("convertible"));
        assert_eq!(shown.networks, []);
        assert_eq!(shown.task_template.networks[0].target, "host");
    }

    #[test]
    fn defaults_are_what_holds_where_nothing_is_said() {
        let mut spec = api::ServiceSpec::default();
        spec.task_template.container_spec = Some(Default::default());
        insert_defaults(&mut spec);
        let expected = serde_json::json!({
            "Name": "", "Labels": {}, "Mode": {},
            "TaskTemplate": {
                "ContainerSpec": {"StopGracePeriod": 10_000_000_000i64, "DNSConfig": {}},
                "Resources": {}, "Placement": {}, "ForceUpdate": 0,
                "RestartPolicy": {"Condition": "any", "Delay": 5_000_000_000i64, "MaxAttempts": 0},
            },
            "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000i64, "MaxFailureRatio": 0.0, "Order": "stop-first"},
            "RollbackConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000i64, "MaxFailureRatio": 0.0, "Order": "stop-first"},
            "EndpointSpec": {"Mode": "vip"},
        });
        assert_eq!(serde_json::to_value(&spec).expect("JSON"), expected);

        // What is said stays.
        let mut said: api::ServiceSpec = serde_json::from_str(
            r#"{"UpdateConfig":{"Parallelism":0,"Order":"start-first"},"TaskTemplate":{"RestartPolicy":{"Condition":"none"}},"Mode":{"Global":{}}}"#,
        )
        .expect("a spec");
        insert_defaults(&mut said);
        let update = said.update_config.expect("there");
        assert_eq!((update.parallelism, update.order.as_str()), (0, "start-first"));
        assert_eq!(update.monitor, Some(5_000_000_000));
        let restart = said.task_template.restart_policy.expect("there");
        assert_eq!((restart.condition.as_str(), restart.delay), ("none", Some(5_000_000_000)));
    }
}
