//! `service inspect --pretty`: a service as text, line by line as Docker shows it, and below what Docker has not.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use common::engine_api::container::ContainerSpec;
use common::engine_api::service::{Service, UpdateConfig};
use common::engine_api::task::TaskSpec;
use common::time::Timestamp;

use crate::output::human;
use crate::parse::duration::Nanoseconds;
use crate::parse::size;

/// `networks` has names of networks by their ids.
pub fn pretty(service: &Service, networks: &BTreeMap<String, String>, now: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write_service(&mut text, service, networks, now);
    text
}

fn write_service(
    out: &mut String,
    service: &Service,
    networks: &BTreeMap<String, String>,
    now: Timestamp,
) -> fmt::Result {
    let spec = &service.spec;
    writeln!(out, "\nID:\t\t{}\nName:\t\t{}", service.id, spec.name)?;
    if !spec.labels.is_empty() {
        writeln!(out, "Labels:")?;
    }
    for (key, value) in &spec.labels {
        writeln!(out, " {key}{}{value}", if value.is_empty() { "" } else { "=" })?;
    }
    write_mode(out, service)?;
    write_update_status(out, service, now)?;
    write_placement(out, &spec.task_template)?;
    write_update_config(out, "UpdateConfig", "Update order:     ", spec.update_config.as_ref())?;
    write_update_config(out, "RollbackConfig", "Rollback order:   ", spec.rollback_config.as_ref())?;
    let container = spec.task_template.container_spec.clone().unwrap_or_default();
    write_container(out, &container)?;
    write_files(out, &container)?;
    write_log_driver(out, &spec.task_template)?;
    write_resources(out, &spec.task_template)?;
    let names = spec.task_template.networks.iter();
    let names: Vec<&str> =
        names.map(|network| networks.get(&network.target).unwrap_or(&network.target).as_str()).collect();
    if !names.is_empty() {
        writeln!(out, "Networks: {} ", names.join(" "))?;
    }
    write_endpoint(out, service)?;
    write_health(out, &container)?;
    write_extra(out, &spec.task_template, &container)?;
    writeln!(out)
}

fn write_mode(out: &mut String, service: &Service) -> fmt::Result {
    let mode = &service.spec.mode;
    match (&mode.global, &mode.replicated, &mode.replicated_job, &mode.global_job) {
        (Some(_), ..) => writeln!(out, "Service Mode:\tGlobal"),
        (_, Some(replicated), ..) => {
            writeln!(out, "Service Mode:\tReplicated")?;
            replicated.replicas.map_or(Ok(()), |replicas| writeln!(out, " Replicas:\t{replicas}"))
        }
        (_, _, Some(job), _) => {
            writeln!(out, "Service Mode:\tReplicated Job")?;
            writeln!(out, " Max Concurrent:\t{}", job.max_concurrent.unwrap_or(1))?;
            writeln!(out, " Total Completions:\t{}", job.total_completions.unwrap_or(1))
        }
        (_, _, _, Some(_)) => writeln!(out, "Service Mode:\tGlobal Job"),
        _ => writeln!(out, "Service Mode:"),
    }
}

fn write_update_status(out: &mut String, service: &Service, now: Timestamp) -> fmt::Result {
    let Some(status) = service.update_status.as_ref().filter(|status| !status.state.is_empty()) else {
        return Ok(());
    };
    let ago = |at: &Option<String>| {
        let at = at.as_deref().and_then(Timestamp::from_rfc3339);
        at.map(|at| format!("{} ago", human::duration(now.since(at))))
    };
    writeln!(out, "UpdateStatus:\n State:\t\t{}", status.state)?;
    if let Some(started) = ago(&status.started_at) {
        writeln!(out, " Started:\t{started}")?;
    }
    if let Some(completed) = ago(&status.completed_at).filter(|_| status.state == "completed") {
        writeln!(out, " Completed:\t{completed}")?;
    }
    writeln!(out, " Message:\t{}", status.message)
}

fn write_placement(out: &mut String, template: &TaskSpec) -> fmt::Result {
    writeln!(out, "Placement:")?;
    let Some(placement) = &template.placement else { return Ok(()) };
    if !placement.constraints.is_empty() {
        writeln!(out, " Constraints:\t[{}]", placement.constraints.join(" "))?;
    }
    let preferences: Vec<String> = placement
        .preferences
        .iter()
        .filter_map(|preference| preference.spread.as_ref())
        .map(|spread| format!("spread={}", spread.spread_descriptor))
        .collect();
    if !preferences.is_empty() {
        writeln!(out, " Preferences:   [{}]", preferences.join(" "))?;
    }
    if placement.max_replicas > 0 {
        writeln!(out, " Max Replicas Per Node:   {}", placement.max_replicas)?;
    }
    Ok(())
}

fn write_update_config(
    out: &mut String,
    title: &str,
    order: &str,
    config: Option<&UpdateConfig>,
) -> fmt::Result {
    let Some(config) = config else { return Ok(()) };
    writeln!(out, "{title}:\n Parallelism:\t{}", config.parallelism)?;
    if config.delay > 0 {
        writeln!(out, " Delay:\t\t{}", Nanoseconds(config.delay))?;
    }
    writeln!(out, " On failure:\t{}", config.failure_action)?;
    if let Some(monitor) = config.monitor.filter(|monitor| *monitor > 0) {
        writeln!(out, " Monitoring Period: {}", Nanoseconds(monitor))?;
    }
    writeln!(out, " Max failure ratio: {}", config.max_failure_ratio)?;
    writeln!(out, " {order} {}", config.order)?;
    if let Some(deadline) = config.progress_deadline.filter(|deadline| *deadline > 0) {
        writeln!(out, " Progress deadline: {}", Nanoseconds(deadline))?;
    }
    if let Some(healthy) = config.min_healthy.filter(|healthy| *healthy > 0) {
        writeln!(out, " Minimum healthy:   {}", Nanoseconds(healthy))?;
    }
    Ok(())
}

fn write_container(out: &mut String, container: &ContainerSpec) -> fmt::Result {
    writeln!(out, "ContainerSpec:\n Image:\t\t{}", container.image)?;
    // A space follows each of them, as in Docker.
    let words = |words: &[String]| words.iter().map(|word| format!("{word} ")).collect::<String>();
    if !container.args.is_empty() {
        writeln!(out, " Args:\t\t{}", words(&container.args))?;
    }
    if !container.env.is_empty() {
        writeln!(out, " Env:\t\t{}", words(&container.env))?;
    }
    if !container.dir.is_empty() {
        writeln!(out, " Dir:\t\t{}", container.dir)?;
    }
    if let Some(init) = container.init {
        writeln!(out, " Init:\t\t{init}")?;
    }
    if !container.user.is_empty() {
        writeln!(out, " User: {}", container.user)?;
    }
    let (added, dropped) = (&container.capability_add, &container.capability_drop);
    if !added.is_empty() || !dropped.is_empty() {
        writeln!(out, "Capabilities:")?;
    }
    for (title, list) in [("Add", added), ("Drop", dropped)] {
        if !list.is_empty() {
            writeln!(out, " {title}: {}", list.join(", "))?;
        }
    }
    if !container.sysctls.is_empty() {
        writeln!(out, "SysCtls:")?;
    }
    for (key, value) in &container.sysctls {
        writeln!(out, " {key}{}{value}", if value.is_empty() { "" } else { ": " })?;
    }
    if !container.ulimits.is_empty() {
        writeln!(out, "Ulimits:")?;
    }
    let mut ulimits: Vec<_> = container.ulimits.iter().collect();
    ulimits.sort_by(|left, right| left.name.cmp(&right.name));
    for limit in ulimits {
        writeln!(out, " {}: {}:{}", limit.name, limit.soft, limit.hard)?;
    }
    Ok(())
}

fn write_files(out: &mut String, container: &ContainerSpec) -> fmt::Result {
    if !container.mounts.is_empty() {
        writeln!(out, "Mounts:")?;
    }
    for mount in &container.mounts {
        writeln!(out, " Target:\t{}\n  Source:\t{}", mount.target, mount.source)?;
        writeln!(out, "  ReadOnly:\t{}\n  Type:\t\t{}", mount.read_only, mount.kind)?;
    }
    if !container.configs.is_empty() {
        writeln!(out, "Configs:")?;
    }
    for config in &container.configs {
        let target = config.file.as_ref().map(|file| file.name.as_str()).unwrap_or_default();
        writeln!(out, " Target:\t{target}\n  Source:\t{}", config.config_name)?;
    }
    if !container.secrets.is_empty() {
        writeln!(out, "Secrets:")?;
    }
    for secret in &container.secrets {
        let target = secret.file.as_ref().map(|file| file.name.as_str()).unwrap_or_default();
        writeln!(out, " Target:\t{target}\n  Source:\t{}", secret.secret_name)?;
    }
    Ok(())
}

fn write_log_driver(out: &mut String, template: &TaskSpec) -> fmt::Result {
    let Some(driver) = &template.log_driver else { return Ok(()) };
    writeln!(out, "Log Driver:")?;
    if !driver.name.is_empty() {
        writeln!(out, " Name:\t\t{}", driver.name)?;
    }
    if !driver.options.is_empty() {
        writeln!(out, " LogOpts:")?;
    }
    for (key, value) in &driver.options {
        writeln!(out, "  {key}{}{value}", if value.is_empty() { "" } else { ":       " })?;
    }
    writeln!(out)
}

fn write_resources(out: &mut String, template: &TaskSpec) -> fmt::Result {
    let Some(resources) = &template.resources else { return Ok(()) };
    writeln!(out, "Resources:")?;
    let mut amounts = |title: &str, cpus: i64, memory: i64, any: bool| -> fmt::Result {
        if any {
            writeln!(out, " {title}:")?;
        }
        if cpus > 0 {
            writeln!(out, "  CPU:\t\t{}", cpus as f64 / 1e9)?;
        }
        if memory > 0 {
            writeln!(out, "  Memory:\t{}", size::show(memory))?;
        }
        Ok(())
    };
    if let Some(kept) = &resources.reservations {
        let any = kept.nano_cpus > 0 || kept.memory_bytes > 0;
        amounts("Reservations", kept.nano_cpus, kept.memory_bytes, any)?;
    }
    if let Some(limits) = &resources.limits {
        let any = limits.nano_cpus > 0 || limits.memory_bytes > 0 || limits.pids > 0;
        amounts("Limits", limits.nano_cpus, limits.memory_bytes, any)?;
        if limits.pids > 0 {
            writeln!(out, "  PIDs:\t\t{}", limits.pids)?;
        }
    }
    Ok(())
}

fn write_endpoint(out: &mut String, service: &Service) -> fmt::Result {
    let mode = service.spec.endpoint_spec.as_ref().map(|endpoint| endpoint.mode.as_str());
    writeln!(out, "Endpoint Mode:\t{}", mode.unwrap_or_default())?;
    let ports = &service.endpoint.ports;
    if !ports.is_empty() {
        writeln!(out, "Ports:")?;
    }
    for (index, port) in ports.iter().enumerate() {
        // Docker's template leaves a space behind the last one.
        let end = if index + 1 == ports.len() { " " } else { "" };
        writeln!(out, " PublishedPort = {}\n  Protocol = {}", port.published_port, port.protocol)?;
        writeln!(out, "  TargetPort = {}\n  PublishMode = {}{end}", port.target_port, port.publish_mode)?;
    }
    Ok(())
}

fn write_health(out: &mut String, container: &ContainerSpec) -> fmt::Result {
    let Some(check) = &container.health_check else { return Ok(()) };
    writeln!(
        out,
        " Healthcheck:\n  Interval = {}\n  Retries = {}",
        Nanoseconds(check.interval),
        check.retries
    )?;
    writeln!(
        out,
        "  StartPeriod =\t{}\n  Timeout =\t{}",
        Nanoseconds(check.start_period),
        Nanoseconds(check.timeout)
    )?;
    if !check.test.is_empty() {
        writeln!(out, "  Tests:")?;
    }
    for (index, test) in check.test.iter().enumerate() {
        let end = if index + 1 == check.test.len() { " " } else { "" };
        writeln!(out, "\t Test = {test}{end}")?;
    }
    Ok(())
}

/// What services of Docker do not have.
fn write_extra(out: &mut String, template: &TaskSpec, container: &ContainerSpec) -> fmt::Result {
    if !matches!(template.runtime.as_str(), "" | "container") {
        writeln!(out, "Runtime:\t{}", template.runtime)?;
    }
    if !container.command.is_empty() && template.runtime == "process" {
        writeln!(out, "Command:\t{}", container.command.join(" "))?;
    }
    if container.privileged {
        writeln!(out, "Privileged:\ttrue")?;
    }
    for device in &container.devices {
        let (host, task) = (&device.path_on_host, &device.path_in_container);
        writeln!(out, "Device:\t\t{host}:{task}:{}", device.cgroup_permissions)?;
    }
    if container.shm_size > 0 {
        writeln!(out, "Shm Size:\t{}", size::show(container.shm_size))?;
    }
    let texts = [
        ("GPUs:\t\t", container.gpus.clone()),
        ("Security:\t", container.security_opt.join(" ")),
        ("Cgroup Parent:\t", container.cgroup_parent.clone()),
        ("CPU Set:\t", container.cpuset_cpus.clone()),
        ("Pre-stop:\t", container.pre_stop.join(" ")),
    ];
    for (title, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(out, "{title}{text}")?;
    }
    let Some(check) = &container.ready_check else { return Ok(()) };
    match (&check.http, &check.tcp) {
        (Some(http), _) => writeln!(out, "Ready Check:\tGET :{}{}", http.port, http.path),
        (None, Some(tcp)) => writeln!(out, "Ready Check:\tconnect to :{}", tcp.port),
        (None, None) => writeln!(out, "Ready Check:\t{}", check.test.join(" ")),
    }
}
