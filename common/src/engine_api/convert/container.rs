//! What a task runs: `ContainerSpec`.

use std::time::Duration;

use base64::Engine as _;

use super::mount::{mount_from_api, mount_to_api};
use super::{BASE64, ConvertError, duration, nanoseconds, optional_duration, shortened, word_error};
use crate::engine_api::container as api;
use crate::object::container::{
    ContainerSpec, CredentialSpec, Device, DnsConfig, Driver, Extra, FileReference, HealthCheck, Privileges,
    ReadyCheck, ReadyProbe, Seccomp, Selinux, Ulimit,
};

/// The shortest duration of a health check that is said at all.
const HEALTH_DURATION_MIN: Duration = Duration::from_millis(1);

pub fn container_to_api(spec: &ContainerSpec) -> api::ContainerSpec {
    let Extra {
        privileged,
        devices,
        gpus,
        shm_bytes,
        security_options,
        cgroup_parent,
        cpuset_cpus,
        ready,
        pre_stop,
    } = spec.extra.clone();
    api::ContainerSpec {
        image: spec.image.clone(),
        labels: spec.labels.clone(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        hostname: spec.hostname.clone(),
        env: spec.env.clone(),
        dir: spec.dir.clone(),
        user: spec.user.clone(),
        groups: spec.groups.clone(),
        privileges: spec.privileges.as_ref().map(privileges_to_api),
        init: spec.init,
        stop_signal: spec.stop_signal.clone(),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        mounts: spec.mounts.iter().map(mount_to_api).collect(),
        stop_grace_period: spec.stop_grace_period.map(nanoseconds),
        health_check: spec.health.as_ref().map(health_to_api),
        hosts: spec.hosts.clone(),
        dns_config: spec.dns.clone().map(|DnsConfig { nameservers, search, options }| api::DnsConfig {
            nameservers,
            search,
            options,
        }),
        secrets: spec.secrets.iter().map(secret_to_api).collect(),
        configs: spec.configs.iter().map(config_to_api).collect(),
        isolation: spec.isolation.clone(),
        sysctls: spec.sysctls.clone(),
        capability_add: spec.capabilities_add.clone(),
        capability_drop: spec.capabilities_drop.clone(),
        ulimits: spec
            .ulimits
            .iter()
            .map(|limit| api::Ulimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft })
            .collect(),
        oom_score_adj: spec.oom_score_adj,
        privileged,
        devices: devices.into_iter().map(device_to_api).collect(),
        gpus,
        shm_size: shm_bytes,
        security_opt: security_options,
        cgroup_parent,
        cpuset_cpus,
        ready_check: ready.as_ref().map(ready_to_api),
        pre_stop,
    }
}

pub fn container_from_api(spec: api::ContainerSpec) -> Result<ContainerSpec, ConvertError> {
    Ok(ContainerSpec {
        privileges: spec.privileges.map(privileges_from_api).transpose()?,
        mounts: spec.mounts.into_iter().map(mount_from_api).collect::<Result<_, _>>()?,
        stop_grace_period: optional_duration("ContainerSpec: stop-grace-period", spec.stop_grace_period)?,
        health: spec.health_check.map(health_from_api).transpose()?,
        secrets: spec.secrets.into_iter().map(secret_from_api).collect::<Result<_, _>>()?,
        configs: spec.configs.into_iter().map(config_from_api).collect::<Result<_, _>>()?,
        extra: Extra {
            privileged: spec.privileged,
            devices: spec.devices.into_iter().map(device_from_api).collect(),
            gpus: spec.gpus,
            shm_bytes: spec.shm_size,
            security_options: spec.security_opt,
            cgroup_parent: spec.cgroup_parent,
            cpuset_cpus: spec.cpuset_cpus,
            ready: spec.ready_check.map(ready_from_api).transpose()?,
            pre_stop: spec.pre_stop,
        },
        image: spec.image,
        labels: spec.labels,
        command: spec.command,
        args: spec.args,
        hostname: spec.hostname,
        env: spec.env,
        dir: spec.dir,
        user: spec.user,
        groups: spec.groups,
        init: spec.init,
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        stop_signal: spec.stop_signal,
        hosts: spec.hosts,
        dns: spec.dns_config.map(|dns| DnsConfig {
            nameservers: dns.nameservers,
            search: dns.search,
            options: dns.options,
        }),
        isolation: spec.isolation,
        sysctls: spec.sysctls,
        capabilities_add: spec.capability_add,
        capabilities_drop: spec.capability_drop,
        ulimits: spec
            .ulimits
            .into_iter()
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        oom_score_adj: spec.oom_score_adj,
    })
}

pub(super) fn driver_to_api(driver: &Driver) -> api::Driver {
    api::Driver { name: driver.name.clone(), options: driver.options.clone() }
}

pub(super) fn driver_from_api(driver: api::Driver) -> Driver {
    Driver { name: driver.name, options: driver.options }
}

fn privileges_to_api(privileges: &Privileges) -> api::Privileges {
    let Privileges { no_new_privileges, selinux, seccomp, apparmor_mode, credential_spec } =
        privileges.clone();
    api::Privileges {
        credential_spec: credential_spec
            .map(|CredentialSpec { config, file, registry }| api::CredentialSpec { config, file, registry }),
        selinux_context: selinux.map(|Selinux { disable, user, role, kind, level }| api::SelinuxContext {
            disable,
            user,
            role,
            kind,
            level,
        }),
        seccomp: seccomp
            .map(|seccomp| api::Seccomp { mode: seccomp.mode, profile: BASE64.encode(seccomp.profile) }),
        app_armor: apparmor_mode.map(|mode| api::AppArmor { mode }),
        no_new_privileges,
    }
}

fn privileges_from_api(privileges: api::Privileges) -> Result<Privileges, ConvertError> {
    Ok(Privileges {
        no_new_privileges: privileges.no_new_privileges,
        selinux: privileges.selinux_context.map(|context| Selinux {
            disable: context.disable,
            user: context.user,
            role: context.role,
            kind: context.kind,
            level: context.level,
        }),
        seccomp: privileges.seccomp.map(seccomp_from_api).transpose()?,
        apparmor_mode: match privileges.app_armor {
            Some(armor) if !matches!(armor.mode.as_str(), "" | "default" | "disabled") => {
                return Err(word_error("AppArmorMode", &armor.mode));
            }
            armor => armor.map(|armor| armor.mode),
        },
        credential_spec: privileges.credential_spec.map(credential_from_api).transpose()?,
    })
}

fn seccomp_from_api(seccomp: api::Seccomp) -> Result<Seccomp, ConvertError> {
    if !matches!(seccomp.mode.as_str(), "" | "default" | "unconfined" | "custom") {
        return Err(word_error("SeccompMode", &seccomp.mode));
    }
    let profile =
        BASE64.decode(&seccomp.profile).map_err(|_| word_error("Seccomp.Profile", &seccomp.profile))?;
    Ok(Seccomp { mode: seccomp.mode, profile })
}

fn credential_from_api(credential: api::CredentialSpec) -> Result<CredentialSpec, ConvertError> {
    let api::CredentialSpec { config, file, registry } = credential;
    let said: Vec<&str> = [("config", &config), ("file", &file), ("registry", &registry)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name)
        .collect();
    match said.as_slice() {
        [_] => Ok(CredentialSpec { config, file, registry }),
        [] => Err(ConvertError::CredentialSpec(
            r#"must either provide "file", "registry", or "config" for credential spec"#.into(),
        )),
        [first, second] => Err(ConvertError::CredentialSpec(format!(
            "cannot specify both {first:?} and {second:?} credential specs"
        ))),
        [first, second, third, ..] => Err(ConvertError::CredentialSpec(format!(
            "cannot specify both {first:?}, {second:?}, and {third:?} credential specs"
        ))),
    }
}

fn health_to_api(health: &HealthCheck) -> api::HealthCheck {
    api::HealthCheck {
        test: health.test.clone(),
        interval: nanoseconds(health.interval),
        timeout: nanoseconds(health.timeout),
        start_period: nanoseconds(health.start_period),
        start_interval: nanoseconds(health.start_interval),
        retries: health.retries.into(),
    }
}

fn health_from_api(health: api::HealthCheck) -> Result<HealthCheck, ConvertError> {
    let read = |member, value: i64| match u64::try_from(value).map(Duration::from_nanos) {
        Ok(duration) if duration.is_zero() || duration >= HEALTH_DURATION_MIN => Ok(duration),
        _ => Err(ConvertError::HealthDuration { member }),
    };
    Ok(HealthCheck {
        interval: read("Interval", health.interval)?,
        timeout: read("Timeout", health.timeout)?,
        start_period: read("StartPeriod", health.start_period)?,
        start_interval: read("StartInterval", health.start_interval)?,
        retries: match u32::try_from(health.retries) {
            Ok(retries) => retries,
            Err(_) if health.retries < 0 => return Err(ConvertError::HealthRetries),
            Err(_) => {
                return Err(ConvertError::Range { member: "Healthcheck.Retries", value: health.retries });
            }
        },
        test: health.test,
    })
}

fn secret_to_api(secret: &FileReference) -> api::SecretReference {
    api::SecretReference {
        file: target_to_api(secret),
        secret_id: secret.id.clone(),
        secret_name: secret.name.clone(),
        version: secret.version,
        refresh: secret.refresh.clone(),
    }
}

fn secret_from_api(secret: api::SecretReference) -> Result<FileReference, ConvertError> {
    if secret.secret_id.is_empty() || secret.secret_name.is_empty() {
        return Err(ConvertError::Reference { kind: "secret" });
    }
    let file = secret.file.ok_or(ConvertError::ReferenceTarget { kind: "secret" })?;
    Ok(FileReference {
        version: secret.version,
        refresh: secret.refresh,
        ..file_reference(secret.secret_id, secret.secret_name, Some(file))
    })
}

fn config_to_api(config: &FileReference) -> api::ConfigReference {
    let file = target_to_api(config);
    api::ConfigReference {
        config_id: config.id.clone(),
        config_name: config.name.clone(),
        version: config.version,
        refresh: config.refresh.clone(),
        runtime: file.is_none().then_some(api::RuntimeTarget {}),
        file,
    }
}

fn config_from_api(config: api::ConfigReference) -> Result<FileReference, ConvertError> {
    if config.config_id.is_empty() || config.config_name.is_empty() {
        return Err(ConvertError::Reference { kind: "config" });
    }
    if config.file.is_none() && config.runtime.is_none() {
        return Err(ConvertError::ReferenceTarget { kind: "config" });
    }
    Ok(FileReference {
        version: config.version,
        refresh: config.refresh,
        ..file_reference(config.config_id, config.config_name, config.file)
    })
}

fn target_to_api(reference: &FileReference) -> Option<api::FileTarget> {
    reference.target.as_ref().map(|name| api::FileTarget {
        name: name.clone(),
        uid: reference.uid.clone(),
        gid: reference.gid.clone(),
        mode: reference.mode,
    })
}

fn file_reference(id: String, name: String, file: Option<api::FileTarget>) -> FileReference {
    match file {
        Some(api::FileTarget { name: target, uid, gid, mode }) => {
            FileReference { id, name, target: Some(target), uid, gid, mode, ..FileReference::default() }
        }
        None => FileReference { id, name, ..FileReference::default() },
    }
}

fn device_to_api(device: Device) -> api::Device {
    api::Device {
        path_on_host: device.host,
        path_in_container: device.container,
        cgroup_permissions: device.permissions,
    }
}

fn device_from_api(device: api::Device) -> Device {
    Device {
        host: device.path_on_host,
        container: device.path_in_container,
        permissions: device.cgroup_permissions,
    }
}

fn ready_to_api(ready: &ReadyCheck) -> api::ReadyCheck {
    let check = api::ReadyCheck {
        interval: nanoseconds(ready.interval),
        timeout: nanoseconds(ready.timeout),
        ..api::ReadyCheck::default()
    };
    match &ready.probe {
        ReadyProbe::Command(test) => api::ReadyCheck { test: test.clone(), ..check },
        ReadyProbe::Http { port, path } => api::ReadyCheck {
            http: Some(api::HttpProbe { port: (*port).into(), path: path.clone() }),
            ..check
        },
        ReadyProbe::Tcp { port } => {
            api::ReadyCheck { tcp: Some(api::TcpProbe { port: (*port).into() }), ..check }
        }
    }
}

fn ready_from_api(ready: api::ReadyCheck) -> Result<ReadyCheck, ConvertError> {
    let port = |value: i64| match u16::try_from(value) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(ConvertError::Range { member: "ReadyCheck.Port", value }),
    };
    let probe = match (ready.test, ready.http, ready.tcp) {
        (test, None, None) if !test.is_empty() => ReadyProbe::Command(test),
        (test, Some(http), None) if test.is_empty() => {
            if !http.path.is_empty() && !http.path.starts_with('/') {
                return Err(ConvertError::Word {
                    member: "ReadyCheck.Http.Path",
                    word: shortened(&http.path),
                });
            }
            ReadyProbe::Http { port: port(http.port)?, path: http.path }
        }
        (test, None, Some(tcp)) if test.is_empty() => ReadyProbe::Tcp { port: port(tcp.port)? },
        _ => return Err(ConvertError::ReadyProbe),
    };
    Ok(ReadyCheck {
        probe,
        interval: duration("ContainerSpec: ready-interval", ready.interval)?,
        timeout: duration("ContainerSpec: ready-timeout", ready.timeout)?,
    })
}
