//! A task's spec as the engine's container.
//!
//! Pure. What an engine does not know it refuses by itself, in its own words; refused here is only what would
//! otherwise be left out in silence.
//!
//! Not here: what the container may use and reach (`host`), its mounts (`mounts`).

use std::net::IpAddr;

use bollard::models::{ContainerCreateBody, HealthConfig};
use common::object::container::HealthCheck;
use common::object::resources::{GenericGrant, GenericStock};

use super::host::{host, port_name};
use super::names::labels;
use crate::runtime::files::FileMount;
use crate::runtime::{RunError, TaskSetup};

/// What the engine is asked to create. `files` are its secrets and configs, in place; `names` is where it finds the
/// names of services.
pub fn container(
    setup: &TaskSetup,
    files: &[FileMount],
    names: Option<IpAddr>,
) -> Result<ContainerCreateBody, RunError> {
    let spec = &setup.spec.container;
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        // With a command the image's own arguments are dropped too; the engine sees to that.
        entrypoint: some_list(&spec.command),
        cmd: some_list(&spec.args),
        env: some_list(&environment(&spec.env, &setup.granted)),
        labels: Some(labels(setup)),
        hostname: some_text(&spec.hostname),
        working_dir: some_text(&spec.dir),
        user: some_text(&spec.user),
        tty: Some(spec.tty),
        open_stdin: Some(spec.open_stdin),
        stop_signal: some_text(&spec.stop_signal),
        // For when the engine stops by itself; our own stop says it again.
        stop_timeout: spec
            .stop_grace_period
            .map(|grace| i64::try_from(whole_seconds(grace)).unwrap_or(i64::MAX)),
        healthcheck: spec.health.as_ref().map(health),
        exposed_ports: some_list(&setup.ports.iter().map(port_name).collect::<Vec<_>>()),
        host_config: Some(host(setup, files, names)?),
        ..ContainerCreateBody::default()
    })
}

/// Grace periods are whole seconds to the engine; nobody gets less than was asked for.
pub fn whole_seconds(time: std::time::Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// The spec's environment, and what was granted to the task: `DOCKER_RESOURCE_GPU=gpu-1,gpu-2`.
fn environment(own: &[String], granted: &[GenericGrant]) -> Vec<String> {
    let of_grants = granted.iter().map(|grant| {
        let value = match &grant.stock {
            GenericStock::Count(amount) => amount.to_string(),
            GenericStock::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(","),
        };
        format!("DOCKER_RESOURCE_{}={value}", grant.kind.to_uppercase())
    });
    own.iter().cloned().chain(of_grants).collect()
}

fn health(check: &HealthCheck) -> HealthConfig {
    let nanoseconds = |time: std::time::Duration| {
        (!time.is_zero()).then(|| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    };
    HealthConfig {
        test: some_list(&check.test),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: (check.retries > 0).then(|| check.retries.into()),
    }
}

/// An empty text or list means: as the image or the engine has it.
pub fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.into())
}

pub fn some_list(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}
