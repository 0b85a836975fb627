//! What a container may use of its node, and how it is reached.
//!
//! Pure, as `container`.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{
    DeviceMapping, DeviceRequest, HostConfig, HostConfigIsolationEnum, HostConfigLogConfig, PortBinding,
    PortMap, ResourcesUlimits,
};
use common::object::container::{ContainerSpec, Device, Privileges};
use common::object::ports::Port;
use common::object::resources::Requirements;
use common::object::service::NetworkAttachment;

use super::container::{some_list, some_text};
use super::mounts::mounts;
use crate::mesh::dns::given;
use crate::runtime::files::FileMount;
use crate::runtime::{RunError, TaskSetup};

/// The least that engines take as reservation: a smaller one, which may be asked for, would be refused.
const MEMORY_RESERVATION_BYTES_MIN: i64 = 6 << 20;

pub fn host(setup: &TaskSetup, files: &[FileMount], names: Option<IpAddr>) -> Result<HostConfig, RunError> {
    let spec = &setup.spec.container;
    let extra = &spec.extra;
    let mode = network_mode(&setup.spec.networks)?;
    // In the machine's own network it has the machine's resolvers, and in none nobody to ask.
    let is_on_bridge = matches!(mode.as_str(), "default" | "bridge");
    let dns = given::container(spec.dns.as_ref(), names.filter(|_| is_on_bridge));
    let mut config = HostConfig {
        port_bindings: (mode != HOST_NETWORK)
            .then(|| bindings(&setup.ports))
            .filter(|ports| !ports.is_empty()),
        network_mode: Some(mode),
        mounts: Some(mounts(&spec.mounts, files)?).filter(|mounts| !mounts.is_empty()),
        log_config: setup.spec.log_driver.as_ref().map(|driver| HostConfigLogConfig {
            typ: some_text(&driver.name),
            config: Some(driver.options.clone().into_iter().collect()),
        }),
        init: spec.init,
        readonly_rootfs: Some(spec.read_only),
        group_add: some_list(&spec.groups),
        cap_add: some_list(&spec.capabilities_add),
        cap_drop: some_list(&spec.capabilities_drop),
        sysctls: some_map(&spec.sysctls),
        dns: some_list(&dns.nameservers),
        dns_search: some_list(&dns.search),
        dns_options: some_list(&dns.options),
        extra_hosts: some_list(&extra_hosts(&spec.hosts)),
        isolation: isolation(&spec.isolation)?,
        security_opt: some_list(&security_options(spec)?),
        oom_score_adj: (spec.oom_score_adj != 0).then_some(spec.oom_score_adj),
        privileged: Some(extra.privileged),
        devices: Some(extra.devices.iter().map(device).collect::<Vec<_>>())
            .filter(|devices| !devices.is_empty()),
        device_requests: gpus(&extra.gpus)?.map(|request| vec![request]),
        shm_size: (extra.shm_bytes > 0).then_some(extra.shm_bytes),
        cgroup_parent: some_text(&extra.cgroup_parent),
        cpuset_cpus: some_text(&extra.cpuset_cpus),
        ulimits: ulimits(spec),
        ..HostConfig::default()
    };
    set_resources(&mut config, &setup.spec.resources);
    Ok(config)
}

const HOST_NETWORK: &str = "host";

/// Which of the engine's own networks the container is in. The cluster's networks are not the engine's: a container of
/// such a network is in the engine's usual one.
fn network_mode(networks: &[NetworkAttachment]) -> Result<String, RunError> {
    let refused = |name: &str| {
        RunError::Fatal(format!("network {name}: containers of this node join bridge, host or none alone"))
    };
    let own = networks.iter().filter(|network| network.network().is_none());
    let mut modes = own.map(|network| network.target.as_str());
    let first = modes.next().unwrap_or("default");
    let unknown = std::iter::once(first)
        .chain(modes.clone())
        .find(|mode| !["default", "bridge", "none", HOST_NETWORK].contains(mode));
    match (unknown, modes.find(|mode| *mode != first)) {
        (Some(name), _) => Err(refused(name)),
        (None, Some(other)) => {
            Err(RunError::Fatal(format!("a container is in network {first} or {other}, not both")))
        }
        (None, None) => Ok(first.into()),
    }
}

/// `80/tcp`, as the engine names a container's port.
pub fn port_name(port: &Port) -> String {
    format!("{}/{}", port.target, port.protocol)
}

fn bindings(ports: &[Port]) -> PortMap {
    let mut bindings = PortMap::new();
    for port in ports {
        // No number: the engine finds a free one.
        let number = (port.published != 0).then(|| port.published.to_string());
        let binding = PortBinding { host_ip: None, host_port: Some(number.unwrap_or_default()) };
        bindings.entry(port_name(port)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

/// From `IP name name…` to the engine's `name:IP`.
fn extra_hosts(lines: &[String]) -> Vec<String> {
    let of_line = |line: &String| {
        let mut words = line.split_whitespace().map(String::from);
        let address = words.next().unwrap_or_default();
        words.map(move |name| format!("{name}:{address}")).collect::<Vec<_>>()
    };
    lines.iter().flat_map(of_line).collect()
}

fn isolation(word: &str) -> Result<Option<HostConfigIsolationEnum>, RunError> {
    if word.is_empty() {
        return Ok(None);
    }
    word.parse()
        .map(Some)
        .map_err(|_| RunError::Fatal(format!("isolation {word}: not default, process or hyperv")))
}

fn security_options(spec: &ContainerSpec) -> Result<Vec<String>, RunError> {
    let mut options = match &spec.privileges {
        Some(privileges) => of_privileges(privileges)?,
        None => Vec::new(),
    };
    options.extend(spec.extra.security_options.iter().cloned());
    Ok(options)
}

fn of_privileges(privileges: &Privileges) -> Result<Vec<String>, RunError> {
    let mut options = Vec::new();
    if privileges.no_new_privileges {
        options.push("no-new-privileges=true".into());
    }
    if let Some(selinux) = &privileges.selinux {
        if selinux.disable {
            options.push("label=disable".into());
        }
        let parts = [
            ("user", &selinux.user),
            ("role", &selinux.role),
            ("type", &selinux.kind),
            ("level", &selinux.level),
        ];
        let said = parts.iter().filter(|(_, value)| !value.is_empty());
        options.extend(said.map(|(name, value)| format!("label={name}:{value}")));
    }
    if let Some(seccomp) = &privileges.seccomp {
        match seccomp.mode.as_str() {
            "" | "default" => {}
            "unconfined" => options.push("seccomp=unconfined".into()),
            "custom" => options.push(format!("seccomp={}", String::from_utf8_lossy(&seccomp.profile))),
            other => {
                return Err(RunError::Fatal(format!(
                    "seccomp mode {other}: not default, unconfined or custom"
                )));
            }
        }
    }
    match privileges.apparmor_mode.as_deref() {
        None | Some("" | "default") => {}
        Some("disabled") => options.push("apparmor=unconfined".into()),
        Some(other) => {
            return Err(RunError::Fatal(format!("AppArmor mode {other}: not default or disabled")));
        }
    }
    Ok(options)
}

fn device(device: &Device) -> DeviceMapping {
    let container = if device.container.is_empty() { &device.host } else { &device.container };
    let permissions = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
    DeviceMapping {
        path_on_host: Some(device.host.clone()),
        path_in_container: Some(container.clone()),
        cgroup_permissions: Some(permissions.into()),
    }
}

/// As `docker run --gpus`: `all`, `2`, `device=0,1`, `count=1,driver=nvidia`, `"device=0,1",capabilities=utility`.
fn gpus(text: &str) -> Result<Option<DeviceRequest>, RunError> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || RunError::Fatal(format!("gpus {text}: not all, a count, or device=…"));
    let count = |value: &str| match value {
        "all" => Ok(-1),
        number => number.parse::<u32>().map(i64::from).map_err(|_| invalid()),
    };
    let mut request = DeviceRequest::default();
    let mut capabilities = vec!["gpu".to_string()];
    let mut key = "";
    for field in text.split(',').map(|field| field.trim().trim_matches('"')) {
        // A field without a name goes on with the list before it.
        let value = match field.split_once('=') {
            Some((name, value)) => {
                key = name;
                value
            }
            None => field,
        };
        match key {
            "" | "count" => request.count = Some(count(value)?),
            "device" => request.device_ids.get_or_insert_default().push(value.into()),
            "driver" => request.driver = Some(value.into()),
            "capabilities" => capabilities.push(value.into()),
            _ => return Err(invalid()),
        }
    }
    if request.device_ids.is_none() {
        request.count = request.count.or(Some(-1));
    }
    request.capabilities = Some(vec![capabilities]);
    Ok(Some(request))
}

fn ulimits(spec: &ContainerSpec) -> Option<Vec<ResourcesUlimits>> {
    let limit = |limit: &common::object::container::Ulimit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    };
    Some(spec.ulimits.iter().map(limit).collect::<Vec<_>>()).filter(|limits| !limits.is_empty())
}

fn set_resources(config: &mut HostConfig, resources: &Requirements) {
    let said = |amount: i64| (amount > 0).then_some(amount);
    let (limits, kept) = (&resources.limits, &resources.reservations);
    config.nano_cpus = said(limits.nano_cpus);
    config.memory = said(limits.memory_bytes);
    config.pids_limit = said(limits.pids);
    // What placing keeps free is also what the kernel takes back last; never above the limit, which engines refuse.
    let below_limit = config.memory.map_or(kept.memory_bytes, |limit| kept.memory_bytes.min(limit));
    config.memory_reservation = said(below_limit).filter(|bytes| *bytes >= MEMORY_RESERVATION_BYTES_MIN);
    // The engine counts memory and swap together.
    config.memory_swap = resources.swap_bytes.map(|swap| match swap {
        -1 => -1,
        swap => limits.memory_bytes.saturating_add(swap),
    });
    config.memory_swappiness = resources.memory_swappiness;
}

fn some_map(map: &std::collections::BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then(|| map.clone().into_iter().collect())
}
