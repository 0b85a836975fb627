//! From a task as the cluster describes it to what its supervisor is told: checked, looked up, complete.
//!
//! Nothing a task asks for is passed over: what a process cannot have is refused by name.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use common::limits::{PROCESS_LOG_FILE_BYTES, PROCESS_LOG_FILES, PROCESS_STOP_GRACE};
use common::object::TaskSpec;
use common::object::container::{ContainerSpec, Driver, Extra, HealthCheck, Privileges};
use common::object::ports::Port;
use common::object::resources::GenericStock;

use super::cgroup::Plan;
use super::folder::{Launch, TaskFolder};
use super::log::Bounds;
use super::program::Program;
use super::user::Owner;
use super::{signal, ulimit, user};
use crate::runtime::TaskSetup;

/// Where programs are looked for when a task does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A variable that all processes of a task have, wherever they put themselves.
pub fn marker(task: &str) -> (String, String) {
    ("SWARM_TASK_ID".into(), task.into())
}

/// A variable with the address that a task's published ports are looked for at: its own, so that several tasks on a
/// node can listen on the same port.
pub const ADDRESS: &str = "SWARM_TASK_ADDRESS";

/// Checks a task and says how to run it. `ports` and `address` are given out, `plan` is made, `files` are the folders of its secrets
/// and configs.
pub fn launch(
    setup: &TaskSetup,
    folder: &TaskFolder,
    (ports, address): (Vec<Port>, Ipv4Addr),
    plan: Plan,
    files: &[(&'static str, PathBuf)],
) -> Result<Launch, String> {
    let spec = &setup.spec.container;
    let refused = refused(&setup.spec);
    if !refused.is_empty() {
        return Err(format!("a process task has no {}", refused.join(", ")));
    }
    let command = [spec.command.as_slice(), &spec.args].concat();
    if command.first().is_none_or(String::is_empty) {
        return Err("a process task needs a command: the program to run".into());
    }
    if !spec.dir.is_empty() && !Path::new(&spec.dir).is_absolute() {
        return Err(format!("the working folder '{}' is not an absolute path", spec.dir));
    }
    let owner = user::find(&spec.user, &spec.groups)?;
    Ok(Launch {
        program: Program {
            command,
            env: environment(setup, &owner, (&ports, address), files),
            folder: (!spec.dir.is_empty()).then(|| spec.dir.clone().into()),
            work: folder.work(),
            identity: owner.identity,
            ulimits: spec.ulimits.iter().map(ulimit::checked).collect::<Result<_, _>>()?,
            groups: plan.groups.iter().map(super::cgroup::Group::door).collect(),
            oom_score_adj: spec.oom_score_adj,
            no_new_privileges: spec.privileges.as_ref().is_some_and(|wanted| wanted.no_new_privileges),
        },
        groups: plan.groups,
        log: log_bounds(setup.spec.log_driver.as_ref())?,
        stop_signal: signal::parse(&spec.stop_signal)? as i32,
        stop_grace: spec.stop_grace_period.unwrap_or(PROCESS_STOP_GRACE),
        ports,
        health: health(spec.health.as_ref())?,
    })
}

/// What a task asks for and a process cannot have. Names every member, so that a new one has to be decided on.
fn refused(spec: &TaskSpec) -> Vec<&'static str> {
    let ContainerSpec {
        image,
        labels: _, // for people
        command: _,
        args: _,
        hostname,
        env: _,
        dir: _,
        user: _,
        groups: _,
        privileges,
        init: _, // the supervisor is one, always
        tty,
        open_stdin,
        read_only,
        mounts,
        stop_signal: _,
        stop_grace_period: _,
        health: _,
        hosts,
        dns,
        secrets: _, // files in folders of its own
        configs: _,
        isolation,
        sysctls,
        capabilities_add,
        capabilities_drop,
        ulimits: _,
        oom_score_adj: _,
        extra,
    } = &spec.container;
    let Extra {
        privileged,
        devices,
        gpus,
        shm_bytes,
        security_options,
        cgroup_parent,
        cpuset_cpus,
        ready: _,    // asked from outside
        pre_stop: _, // run from outside
    } = extra;
    let Privileges { no_new_privileges: _, selinux, seccomp, apparmor_mode, credential_spec } =
        &privileges.clone().unwrap_or_default();
    // No confinement is what a process has.
    let confined = |mode: &str| !matches!(mode, "unconfined" | "disabled");
    let asked = [
        (!image.is_empty(), "image"),
        (!hostname.is_empty(), "hostname of its own"),
        (*tty, "terminal"),
        (*open_stdin, "standard input"),
        (*read_only, "read-only root"),
        (!mounts.is_empty(), "mounts"),
        (!hosts.is_empty(), "hosts file of its own"),
        (dns.is_some(), "DNS settings of its own"),
        (!matches!(isolation.as_str(), "" | "default"), "isolation"),
        (!sysctls.is_empty(), "sysctls of its own"),
        (!capabilities_add.is_empty(), "added capabilities"),
        (!capabilities_drop.is_empty(), "dropped capabilities"),
        (*privileged, "privileged mode"),
        (!devices.is_empty(), "devices"),
        (!gpus.is_empty(), "GPUs"),
        (*shm_bytes != 0, "size of /dev/shm"),
        (!security_options.is_empty(), "security options"),
        (!cgroup_parent.is_empty(), "cgroup parent"),
        (!cpuset_cpus.is_empty(), "set of CPUs"),
        (selinux.as_ref().is_some_and(|selinux| !selinux.disable), "SELinux label"),
        (seccomp.as_ref().is_some_and(|seccomp| confined(&seccomp.mode)), "seccomp profile"),
        (apparmor_mode.as_deref().is_some_and(confined), "AppArmor profile"),
        (credential_spec.is_some(), "credential spec"),
        (spec.networks.iter().any(|network| network.network().is_none()), "networks"),
    ];
    asked.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name).collect()
}

/// The whole environment of a task; what its service says comes last and wins, the marker, its address and the way
/// to its files apart.
fn environment(
    setup: &TaskSetup,
    owner: &Owner,
    (ports, address): (&[Port], Ipv4Addr),
    files: &[(&'static str, PathBuf)],
) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    env.insert("PATH".into(), PATH.into());
    env.insert("HOME".into(), owner.home.clone());
    env.insert("USER".into(), owner.name.clone());
    env.insert("HOSTNAME".into(), setup.node_hostname.clone());
    for port in ports {
        env.insert(format!("SWARM_PORT_{}", port.target), port.published.to_string());
    }
    for grant in &setup.granted {
        let amount = match &grant.stock {
            GenericStock::Count(amount) => amount.to_string(),
            GenericStock::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(","),
        };
        env.insert(format!("DOCKER_RESOURCE_{}", grant.kind.to_uppercase()), amount);
    }
    for entry in &setup.spec.container.env {
        match entry.split_once('=') {
            Some((name, value)) => env.insert(name.into(), value.into()),
            None => env.remove(entry),
        };
    }
    for (name, folder) in files {
        env.insert(name.to_string(), folder.to_string_lossy().into_owned());
    }
    env.insert(ADDRESS.into(), address.to_string());
    let (name, value) = marker(&setup.task.to_string());
    env.insert(name, value);
    env.into_iter().collect()
}

/// The log is ours: of other drivers only the names of the plain ones are taken, with their two bounds.
fn log_bounds(driver: Option<&Driver>) -> Result<Option<Bounds>, String> {
    let mut bounds = Bounds { file_bytes: PROCESS_LOG_FILE_BYTES, files: PROCESS_LOG_FILES };
    let Some(driver) = driver else { return Ok(Some(bounds)) };
    match driver.name.as_str() {
        "" | "local" | "json-file" => {}
        "none" => return Ok(None),
        other => return Err(format!("a process task has no log driver '{other}'")),
    }
    for (name, value) in &driver.options {
        let wrong = || format!("log option {name}: '{value}' is not what it takes");
        match name.as_str() {
            "max-size" => bounds.file_bytes = size(value).filter(|size| *size > 0).ok_or_else(wrong)?,
            "max-file" => {
                bounds.files = value.parse().ok().filter(|files| *files > 0).ok_or_else(wrong)?;
            }
            other => return Err(format!("a process task has no log option '{other}'")),
        }
    }
    Ok(Some(bounds))
}

/// `10m`, `512k`, `1g` or bytes.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (number, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn health(check: Option<&HealthCheck>) -> Result<Option<HealthCheck>, String> {
    let Some(check) = check else { return Ok(None) };
    match check.test.first().map(String::as_str) {
        None | Some("NONE") => Ok(None),
        Some("CMD") if check.test.len() > 1 => Ok(Some(check.clone())),
        Some("CMD-SHELL") if check.test.len() == 2 => Ok(Some(check.clone())),
        Some(_) => {
            Err(format!("a health check is [CMD, program, …] or [CMD-SHELL, line], not {:?}", check.test))
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use common::object::container::{Mount, Ulimit};
    use common::object::ports::{Protocol, PublishMode};
    use common::object::resources::GenericGrant;
    use common::object::{NodeId, ServiceId, Slot, TaskId};

    use super::*;

    fn task(container: ContainerSpec) -> TaskSetup {
        TaskSetup {
            task: TaskId(7),
            service: ServiceId(1),
            service_name: "web".into(),
            service_labels: BTreeMap::new(),
            slot: Slot::Number(1),
            name: "web.1.x".into(),
            node: NodeId(1),
            node_hostname: "here".into(),
            spec: Arc::new(TaskSpec { container, ..TaskSpec::default() }),
            ports: Vec::new(),
            granted: Vec::new(),
            files: Vec::new(),
        }
    }

    fn launched(setup: &TaskSetup) -> Result<Launch, String> {
        let files = [("SWARM_SECRETS_DIR", "/run/x/secrets".into())];
        let given = (setup.ports.clone(), Ipv4Addr::new(127, 128, 0, 1));
        launch(setup, &TaskFolder::new("/tasks/x".into()), given, Plan::default(), &files)
    }

    fn runs(change: impl FnOnce(&mut ContainerSpec)) -> Result<Launch, String> {
        let mut container = ContainerSpec { command: vec!["run".into()], ..ContainerSpec::default() };
        change(&mut container);
        launched(&task(container))
    }

    #[test]
    fn what_a_process_cannot_have_is_refused_by_name() {
        let error = runs(|spec| {
            spec.mounts.push(Mount::default());
            spec.image = "nginx".into();
            spec.sysctls.insert("a".into(), "b".into());
            spec.extra.gpus = "all".into();
        });
        assert_eq!(error.unwrap_err(), "a process task has no image, mounts, sysctls of its own, GPUs");
        assert!(runs(|spec| drop(spec.labels.insert("a".into(), "b".into()))).is_ok());
    }

    #[test]
    fn what_cannot_work_is_said_before_anything_starts() {
        let ulimit = Ulimit { name: "wishes".into(), soft: 1, hard: 1 };
        let cases: [(&str, Result<Launch, String>); 6] = [
            ("needs a command", runs(|spec| spec.command.clear())),
            ("not an absolute path", runs(|spec| spec.dir = "here".into())),
            ("no user is named 'nosuchuser'", runs(|spec| spec.user = "nosuchuser".into())),
            ("not a signal", runs(|spec| spec.stop_signal = "SIGWISH".into())),
            ("no ulimit is named", runs(|spec| spec.ulimits.push(ulimit))),
            (
                "health check is",
                runs(|spec| {
                    spec.health = Some(HealthCheck { test: vec!["true".into()], ..HealthCheck::default() })
                }),
            ),
        ];
        for (part, result) in cases {
            let error = result.unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_tasks_environment_is_complete_and_its_own() {
        let mut setup = task(ContainerSpec {
            command: vec!["run".into()],
            env: vec![
                "HOME=/elsewhere".into(),
                "EMPTY=".into(),
                "USER".into(),
                "SWARM_TASK_ID=forged".into(),
                "SWARM_TASK_ADDRESS=0.0.0.0".into(),
            ],
            ..ContainerSpec::default()
        });
        setup.granted = vec![
            GenericGrant { kind: "gpu".into(), stock: GenericStock::Named(["a".into(), "b".into()].into()) },
            GenericGrant { kind: "ssd".into(), stock: GenericStock::Count(2) },
        ];
        setup.ports = vec![Port {
            name: String::new(),
            protocol: Protocol::Tcp,
            target: 80,
            published: 8080,
            mode: PublishMode::Host,
        }];
        let env = launched(&setup).unwrap().program.env;
        let lines: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "DOCKER_RESOURCE_GPU=a,b",
            "DOCKER_RESOURCE_SSD=2",
            "EMPTY=",
            "HOME=/elsewhere",
            "HOSTNAME=here",
            &format!("PATH={PATH}"),
            "SWARM_PORT_80=8080",
            "SWARM_SECRETS_DIR=/run/x/secrets",
            "SWARM_TASK_ADDRESS=127.128.0.1",
            "SWARM_TASK_ID=0000000000000000000000007",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_log_has_bounds() {
        let driver = |name: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            log_bounds(Some(&Driver { name: name.into(), options }))
        };
        let bounds = |file_bytes, files| Ok(Some(Bounds { file_bytes, files }));
        assert_eq!(log_bounds(None), bounds(PROCESS_LOG_FILE_BYTES, PROCESS_LOG_FILES));
        assert_eq!(driver("none", &[]), Ok(None));
        assert_eq!(driver("json-file", &[("max-size", "64k"), ("max-file", "5")]), bounds(64 << 10, 5));
        for (name, options) in [
            ("syslog", &[][..]),
            ("local", &[("max-size", "0")]),
            ("local", &[("max-size", "99999999999999g")]),
            ("local", &[("max-size", "é")]),
            ("local", &[("max-file", "many")]),
            ("local", &[("tag", "x")]),
        ] {
            assert!(driver(name, options).is_err(), "{name} {options:?}");
        }
    }
}
