//! Specs and the JSON that the engine is sent for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::object::container::{
    BindOptions, ContainerSpec, Device, DnsConfig, Driver, Extra, HealthCheck, Mount, MountKind, Privileges,
    Seccomp, Selinux, TmpfsOptions, Ulimit, VolumeOptions,
};
use common::object::ports::{Port, Protocol, PublishMode};
use common::object::resources::{GenericGrant, GenericStock, Limits, Requirements, Reservations};
use common::object::service::NetworkAttachment;
use common::object::{NodeId, ServiceId, Slot, TaskId, TaskSpec};
use serde_json::{Value, json};

use super::container::container;
use crate::runtime::files::FileMount;
use crate::runtime::{RunError, TaskSetup};

fn setup(spec: TaskSpec) -> TaskSetup {
    TaskSetup {
        task: TaskId(7),
        service: ServiceId(5),
        service_name: "web".into(),
        service_labels: BTreeMap::new(),
        slot: Slot::Number(1),
        name: format!("web.1.{}", TaskId(7)),
        node: NodeId(3),
        node_hostname: "n1".into(),
        spec: Arc::new(spec),
        ports: Vec::new(),
        granted: Vec::new(),
        files: Vec::new(),
    }
}

fn of(container: ContainerSpec) -> TaskSetup {
    setup(TaskSpec { container, ..TaskSpec::default() })
}

fn sent(setup: &TaskSetup) -> Value {
    serde_json::to_value(container(setup, &[], None).unwrap()).unwrap()
}

fn refused(setup: &TaskSetup) -> String {
    match container(setup, &[], None) {
        Err(RunError::Fatal(words)) => words,
        other => panic!("refused for good: {other:?}"),
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).into()).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// One field of a spec set, and what of the JSON that changes.
#[test]
fn each_field_has_its_place() {
    let default = ContainerSpec::default;
    let mount = |mount: Mount| ContainerSpec { mounts: vec![mount], ..default() };
    let extra = |extra: Extra| ContainerSpec { extra, ..default() };
    let privileges = |privileges: Privileges| ContainerSpec { privileges: Some(privileges), ..default() };
    #[rustfmt::skip]
    let cases = [ // spec, where in the JSON, what is there
        (ContainerSpec { image: "nginx:1".into(), ..default() }, "/Image", json!("nginx:1")),
        (ContainerSpec { command: texts(&["a", "b"]), ..default() }, "/Entrypoint", json!(["a", "b"])),
        (ContainerSpec { args: texts(&["a", "b"]), ..default() }, "/Cmd", json!(["a", "b"])),
        (default(), "/Entrypoint", Value::Null),
        (default(), "/Cmd", Value::Null),
        (ContainerSpec { env: texts(&["A=1", "B"]), ..default() }, "/Env", json!(["A=1", "B"])),
        (ContainerSpec { hostname: "h".into(), ..default() }, "/Hostname", json!("h")),
        (ContainerSpec { dir: "/srv".into(), ..default() }, "/WorkingDir", json!("/srv")),
        (ContainerSpec { user: "1:2".into(), ..default() }, "/User", json!("1:2")),
        (ContainerSpec { groups: texts(&["10"]), ..default() }, "/HostConfig/GroupAdd", json!(["10"])),
        (ContainerSpec { tty: true, ..default() }, "/Tty", json!(true)),
        (ContainerSpec { open_stdin: true, ..default() }, "/OpenStdin", json!(true)),
        (ContainerSpec { read_only: true, ..default() }, "/HostConfig/ReadonlyRootfs", json!(true)),
        (ContainerSpec { init: Some(false), ..default() }, "/HostConfig/Init", json!(false)),
        (default(), "/HostConfig/Init", Value::Null),
        (ContainerSpec { stop_signal: "SIGINT".into(), ..default() }, "/StopSignal", json!("SIGINT")),
        (ContainerSpec { stop_grace_period: Some(Duration::from_millis(1500)), ..default() }, "/StopTimeout", json!(2)),
        (ContainerSpec { stop_grace_period: Some(Duration::MAX), ..default() }, "/StopTimeout", json!(i64::MAX)),
        (ContainerSpec { hosts: texts(&["10.0.0.1 a b", "10.0.0.2", ""]), ..default() }, "/HostConfig/ExtraHosts", json!(["a:10.0.0.1", "b:10.0.0.1"])),
        (ContainerSpec { dns: Some(DnsConfig { nameservers: texts(&["1.1.1.1"]), search: texts(&["x"]), options: texts(&["ndots:1"]) }), ..default() }, "/HostConfig/DnsSearch", json!(["x"])),
        (ContainerSpec { sysctls: map(&[("net.a", "1")]), ..default() }, "/HostConfig/Sysctls", json!({"net.a": "1"})),
        (ContainerSpec { capabilities_add: texts(&["CAP_NET_ADMIN"]), ..default() }, "/HostConfig/CapAdd", json!(["CAP_NET_ADMIN"])),
        (ContainerSpec { capabilities_drop: texts(&["ALL"]), ..default() }, "/HostConfig/CapDrop", json!(["ALL"])),
        (ContainerSpec { ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: 2 }], ..default() }, "/HostConfig/Ulimits", json!([{"Name": "nofile", "Soft": 1, "Hard": 2}])),
        (ContainerSpec { oom_score_adj: -5, ..default() }, "/HostConfig/OomScoreAdj", json!(-5)),
        (ContainerSpec { isolation: "default".into(), ..default() }, "/HostConfig/Isolation", json!("default")),
        (ContainerSpec { health: Some(HealthCheck { test: texts(&["CMD", "x"]), interval: Duration::from_secs(1), retries: 3, ..HealthCheck::default() }), ..default() },
            "/Healthcheck", json!({"Test": ["CMD", "x"], "Interval": 1_000_000_000_u64, "Retries": 3})),
        (mount(Mount { kind: MountKind::Bind, source: "/a".into(), target: "/b".into(), read_only: true, bind: Some(BindOptions { propagation: "rslave".into(), non_recursive: true, ..BindOptions::default() }), ..Mount::default() }),
            "/HostConfig/Mounts/0", json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "BindOptions": {"Propagation": "rslave", "NonRecursive": true}})),
        (mount(Mount { source: "data".into(), target: "/d".into(), volume: Some(VolumeOptions { labels: map(&[("l", "1")]), driver: Some(Driver { name: "local".into(), options: map(&[("type", "tmpfs")]) }), no_copy: true, ..VolumeOptions::default() }), ..Mount::default() }),
            "/HostConfig/Mounts/0", json!({"Type": "volume", "Source": "data", "Target": "/d", "ReadOnly": false, "VolumeOptions": {"NoCopy": true, "Labels": {"l": "1"}, "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}}}})),
        (mount(Mount { target: "/anonymous".into(), ..Mount::default() }), "/HostConfig/Mounts/0", json!({"Type": "volume", "Target": "/anonymous", "ReadOnly": false})),
        (mount(Mount { kind: MountKind::Tmpfs, target: "/t".into(), tmpfs: Some(TmpfsOptions { size_bytes: 4096, mode: 0o700, ..TmpfsOptions::default() }), ..Mount::default() }),
            "/HostConfig/Mounts/0", json!({"Type": "tmpfs", "Target": "/t", "ReadOnly": false, "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o700}})),
        (mount(Mount { kind: MountKind::Image, source: "i".into(), target: "/i".into(), image_subpath: Some("x".into()), ..Mount::default() }),
            "/HostConfig/Mounts/0/ImageOptions", json!({"Subpath": "x"})),
        (extra(Extra { privileged: true, ..Extra::default() }), "/HostConfig/Privileged", json!(true)),
        (extra(Extra { devices: vec![Device { host: "/dev/fuse".into(), ..Device::default() }], ..Extra::default() }), "/HostConfig/Devices", json!([{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}])),
        (extra(Extra { devices: vec![Device { host: "/a".into(), container: "/b".into(), permissions: "r".into() }], ..Extra::default() }), "/HostConfig/Devices/0/PathInContainer", json!("/b")),
        (extra(Extra { shm_bytes: 64, ..Extra::default() }), "/HostConfig/ShmSize", json!(64)),
        (extra(Extra { cgroup_parent: "/p".into(), ..Extra::default() }), "/HostConfig/CgroupParent", json!("/p")),
        (extra(Extra { cpuset_cpus: "0-1".into(), ..Extra::default() }), "/HostConfig/CpusetCpus", json!("0-1")),
        (extra(Extra { security_options: texts(&["label=disable"]), ..Extra::default() }), "/HostConfig/SecurityOpt", json!(["label=disable"])),
        (extra(Extra { gpus: "all".into(), ..Extra::default() }), "/HostConfig/DeviceRequests", json!([{"Count": -1, "Capabilities": [["gpu"]]}])),
        (extra(Extra { gpus: "2".into(), ..Extra::default() }), "/HostConfig/DeviceRequests/0/Count", json!(2)),
        (extra(Extra { gpus: "\"device=0,GPU-1\",capabilities=utility".into(), ..Extra::default() }), "/HostConfig/DeviceRequests", json!([{"DeviceIDs": ["0", "GPU-1"], "Capabilities": [["gpu", "utility"]]}])),
        (extra(Extra { gpus: "driver=nvidia".into(), ..Extra::default() }), "/HostConfig/DeviceRequests", json!([{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}])),
        (privileges(Privileges { no_new_privileges: true, apparmor_mode: Some("disabled".into()), ..Privileges::default() }), "/HostConfig/SecurityOpt", json!(["no-new-privileges=true", "apparmor=unconfined"])),
        (privileges(Privileges { seccomp: Some(Seccomp { mode: "custom".into(), profile: b"{}".to_vec() }), ..Privileges::default() }), "/HostConfig/SecurityOpt", json!(["seccomp={}"])),
        (privileges(Privileges { seccomp: Some(Seccomp { mode: "unconfined".into(), ..Seccomp::default() }), ..Privileges::default() }), "/HostConfig/SecurityOpt", json!(["seccomp=unconfined"])),
        (privileges(Privileges { seccomp: Some(Seccomp { mode: "default".into(), ..Seccomp::default() }), apparmor_mode: Some("default".into()), ..Privileges::default() }), "/HostConfig/SecurityOpt", Value::Null),
        (privileges(Privileges { selinux: Some(Selinux { disable: true, kind: "t".into(), ..Selinux::default() }), ..Privileges::default() }), "/HostConfig/SecurityOpt", json!(["label=disable", "label=type:t"])),
    ];
    for (spec, place, wanted) in cases {
        let sent = sent(&of(spec.clone()));
        assert_eq!(sent.pointer(place).unwrap_or(&Value::Null), &wanted, "{place} of {spec:?}");
    }
}

#[test]
fn secrets_and_configs_are_mounted_and_said_nowhere_else() {
    let setup = of(ContainerSpec {
        mounts: vec![Mount { target: "/data".into(), ..Mount::default() }],
        ..ContainerSpec::default()
    });
    let file =
        FileMount { source: "/run/swarm/tasks/t/secrets/key".into(), target: "/run/secrets/key".into() };
    let sent = serde_json::to_value(container(&setup, &[file], None).unwrap()).unwrap();
    let mount = json!({
        "Type": "bind", "Source": "/run/swarm/tasks/t/secrets/key", "Target": "/run/secrets/key", "ReadOnly": true,
    });
    assert_eq!(sent.pointer("/HostConfig/Mounts/1"), Some(&mount));
}

#[test]
fn what_a_node_cannot_do_is_refused_by_name() {
    let default = ContainerSpec::default;
    let extra =
        |gpus: &str| ContainerSpec { extra: Extra { gpus: gpus.into(), ..Extra::default() }, ..default() };
    let mode = |mode: &str| {
        let seccomp = Some(Seccomp { mode: mode.into(), ..Seccomp::default() });
        ContainerSpec { privileges: Some(Privileges { seccomp, ..Privileges::default() }), ..default() }
    };
    let mount = |mount: Mount| ContainerSpec { mounts: vec![mount], ..default() };
    #[rustfmt::skip]
    let cases = [
        (mount(Mount { kind: MountKind::Cluster, target: "/c".into(), ..Mount::default() }), "mount /c: this node has no cluster volumes"),
        (mount(Mount { kind: MountKind::Bind, bind: Some(BindOptions { propagation: "wide".into(), ..BindOptions::default() }), ..Mount::default() }), "bind propagation wide: unknown"),
        (extra("some"), "gpus some: not all, a count, or device=…"),
        (extra("count=-1"), "gpus count=-1: not all, a count, or device=…"),
        (extra("size=1"), "gpus size=1: not all, a count, or device=…"),
        (mode("odd"), "seccomp mode odd: not default, unconfined or custom"),
        (ContainerSpec { isolation: "odd".into(), ..default() }, "isolation odd: not default, process or hyperv"),
    ];
    for (spec, words) in cases {
        assert_eq!(refused(&of(spec)), words);
    }
}

#[test]
fn networks_are_the_engines_own() {
    let networks = |names: &[&str]| {
        let attach =
            |name: &&str| NetworkAttachment { target: (*name).into(), ..NetworkAttachment::default() };
        setup(TaskSpec { networks: names.iter().map(attach).collect(), ..TaskSpec::default() })
    };
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 4] = [(&[], "default"), (&["bridge"], "bridge"), (&["host"], "host"), (&["none", "none"], "none")];
    for (names, mode) in cases {
        assert_eq!(sent(&networks(names))["HostConfig"]["NetworkMode"], mode, "{names:?}");
    }
    // The cluster's networks are not the engine's.
    let of_cluster = common::object::NetworkId(1 << 127).to_string();
    for (names, mode) in [(vec![of_cluster.as_str()], "default"), (vec![&of_cluster, "host"], "host")] {
        assert_eq!(sent(&networks(&names))["HostConfig"]["NetworkMode"], mode, "{names:?}");
    }
    let only =
        |name: &str| format!("network {name}: containers of this node join bridge, host or none alone");
    assert_eq!(refused(&networks(&["mine"])), only("mine"));
    assert_eq!(refused(&networks(&["host", "mine"])), only("mine"));
    assert_eq!(refused(&networks(&["host", "bridge"])), "a container is in network host or bridge, not both");
}

#[test]
fn names_are_asked_at_the_node() {
    let networks = |names: &[&str]| {
        let attach =
            |name: &&str| NetworkAttachment { target: (*name).into(), ..NetworkAttachment::default() };
        setup(TaskSpec { networks: names.iter().map(attach).collect(), ..TaskSpec::default() })
    };
    let dns = |names: &[&str], server: Option<&str>| {
        let server = server.map(|text| text.parse().unwrap());
        let sent = serde_json::to_value(container(&networks(names), &[], server).unwrap()).unwrap();
        [sent["HostConfig"]["Dns"].clone(), sent["HostConfig"]["DnsOptions"].clone()]
    };
    let given = [json!(["172.17.0.1"]), json!(["ndots:0"])];
    assert_eq!(dns(&[], Some("172.17.0.1")), given);
    assert_eq!(dns(&["bridge"], Some("172.17.0.1")), given);
    for (networks, server) in
        [(&["host"][..], Some("172.17.0.1")), (&["none"], Some("172.17.0.1")), (&[], None)]
    {
        assert_eq!(dns(networks, server), [Value::Null, Value::Null], "{networks:?}");
    }
}

#[test]
fn ports_are_bound_unless_the_network_is_the_hosts() {
    let port = |target, published, protocol| Port {
        target,
        published,
        protocol,
        mode: PublishMode::Host,
        ..Port::default()
    };
    let mut setup = of(ContainerSpec::default());
    setup.ports =
        vec![port(80, 8080, Protocol::Tcp), port(80, 8081, Protocol::Tcp), port(53, 0, Protocol::Udp)];
    let json = sent(&setup);
    assert_eq!(json["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));
    let bound = json!({"80/tcp": [{"HostPort": "8080"}, {"HostPort": "8081"}], "53/udp": [{"HostPort": ""}]});
    assert_eq!(json["HostConfig"]["PortBindings"], bound);

    let host = NetworkAttachment { target: "host".into(), ..NetworkAttachment::default() };
    setup.spec = Arc::new(TaskSpec { networks: vec![host], ..TaskSpec::default() });
    assert_eq!(sent(&setup)["HostConfig"].get("PortBindings"), None);
}

#[test]
fn resources_are_what_the_engine_takes() {
    const MIB: i64 = 1 << 20;
    let resources = |limit: i64, reserved: i64, swap: Option<i64>| Requirements {
        limits: Limits { nano_cpus: 500_000_000, memory_bytes: limit, pids: 9 },
        reservations: Reservations { memory_bytes: reserved, nano_cpus: 1, ..Reservations::default() },
        swap_bytes: swap,
        memory_swappiness: Some(0),
    };
    #[rustfmt::skip]
    let cases = [ // limit, reserved, swap: memory, reservation, memory and swap
        ((0, 0, None),                       (json!(null), json!(null), json!(null))),
        ((64 * MIB, 32 * MIB, None),         (json!(64 * MIB), json!(32 * MIB), json!(null))),
        ((64 * MIB, 99 * MIB, Some(0)),      (json!(64 * MIB), json!(64 * MIB), json!(64 * MIB))),
        ((64 * MIB, 4 * MIB, Some(8 * MIB)), (json!(64 * MIB), json!(null), json!(72 * MIB))),
        ((0, 32 * MIB, Some(-1)),            (json!(null), json!(32 * MIB), json!(-1))),
        ((i64::MAX, 0, Some(1)),             (json!(i64::MAX), json!(null), json!(i64::MAX))),
    ];
    for ((limit, reserved, swap), wanted) in cases {
        let spec = TaskSpec { resources: resources(limit, reserved, swap), ..TaskSpec::default() };
        let host = sent(&setup(spec))["HostConfig"].take();
        let got = |name: &str| host.get(name).cloned().unwrap_or_default();
        assert_eq!(
            (got("Memory"), got("MemoryReservation"), got("MemorySwap")),
            wanted,
            "{limit} {reserved} {swap:?}"
        );
        assert_eq!(
            (got("NanoCpus"), got("PidsLimit"), got("MemorySwappiness")),
            (json!(500_000_000), json!(9), json!(0))
        );
    }
}

#[test]
fn labels_say_whose_it_is_and_users_cannot() {
    let labels = map(&[("mine", "1"), ("com.docker.swarm.node.id", "other"), ("com.docker.swarm.task", "x")]);
    let setup = of(ContainerSpec { labels, ..ContainerSpec::default() });
    let wanted = json!({
        "mine": "1",
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": setup.task.to_string(),
        "com.docker.swarm.task.name": setup.name,
        "com.docker.swarm.node.id": setup.node.to_string(),
        "com.docker.swarm.service.id": setup.service.to_string(),
        "com.docker.swarm.service.name": "web",
    });
    assert_eq!(sent(&setup)["Labels"], wanted);
}

#[test]
fn grants_and_the_log_driver_are_handed_on() {
    let driver = Driver { name: "json-file".into(), options: map(&[("max-size", "1m")]) };
    let mut setup = setup(TaskSpec { log_driver: Some(driver), ..TaskSpec::default() });
    let named = GenericStock::Named(["b".to_string(), "a".to_string()].into());
    setup.granted = vec![
        GenericGrant { kind: "gpu".into(), stock: named },
        GenericGrant { kind: "ssd".into(), stock: GenericStock::Count(2) },
    ];
    let json = sent(&setup);
    assert_eq!(json["Env"], json!(["DOCKER_RESOURCE_GPU=a,b", "DOCKER_RESOURCE_SSD=2"]));
    assert_eq!(json["HostConfig"]["LogConfig"], json!({"Type": "json-file", "Config": {"max-size": "1m"}}));
}
