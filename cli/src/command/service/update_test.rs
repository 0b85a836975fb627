//! What flags make of a spec: the flags as typed, the spec before and after.

use clap::{CommandFactory, FromArgMatches, Parser};
use serde_json::{Value, json};

use super::*;
use crate::command::service::flags::merge::{Found, Resolved};
use crate::parse::secret_reference::Reference;

#[derive(Parser)]
#[command(name = "update")]
struct Typed {
    #[command(flatten)]
    args: Args,
}

fn typed(line: &str) -> Args {
    let words: Words = line.parse().expect("words");
    let words = [vec!["update".to_owned()], words.0, vec!["web".to_owned()]].concat();
    let matches =
        Typed::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    Typed::from_arg_matches(&matches).expect("they fit").args
}

fn edited(line: &str, mut spec: Value, resolved: &Resolved) -> Result<Value, String> {
    change(&mut spec, &typed(line), resolved).map(|()| spec).map_err(|error| error.to_string())
}

fn container(members: Value) -> Value {
    json!({"TaskTemplate": {"ContainerSpec": members}})
}

#[test]
fn flags_change_what_they_name_and_nothing_else() {
    let mode = |mode: Value| json!({"Mode": mode, "Unknown": 1});
    let port = |published: u64, target: u64, mode: &str| json!({"Protocol": "tcp", "TargetPort": target, "PublishMode": mode, "PublishedPort": published});
    let ports = |ports: &[Value]| json!({"EndpointSpec": {"Mode": "vip", "Ports": ports}});
    #[rustfmt::skip]
    let cases = [ // flags, spec before, spec after
        ("", json!({"Name": "web", "Unknown": 1}), json!({"Name": "web", "Unknown": 1})),
        ("--replicas 3", mode(json!({"Replicated": {"Replicas": 1}})), mode(json!({"Replicated": {"Replicas": 3}}))),
        ("--replicas 3 --max-concurrent 2", mode(json!({"ReplicatedJob": {}})), mode(json!({"ReplicatedJob": {"TotalCompletions": 3, "MaxConcurrent": 2}}))),
        ("--label-add a=2 --label-add c --label-rm b --label-rm gone", json!({"Labels": {"a": "1", "b": "1"}}), json!({"Labels": {"a": "2", "c": ""}})),
        ("--container-label-add a=1", container(json!({})), container(json!({"Labels": {"a": "1"}}))),
        ("--env-add B=2 --env-add D=4 --env-rm C", container(json!({"Env": ["A=1", "B=1", "C=1"]})), container(json!({"Env": ["A=1", "B=2", "D=4"]}))),
        ("--env-rm A", container(json!({"Env": ["A"]})), container(json!({}))),
        ("--args 'a \"b c\"' --entrypoint ''", container(json!({"Command": ["x"]})), container(json!({"Args": ["a", "b c"]}))),
        ("--user me --workdir '' --hostname h --init --tty=false --read-only=true", container(json!({"Dir": "/x", "TTY": true})),
         container(json!({"User": "me", "Hostname": "h", "Init": true, "TTY": false, "ReadOnly": true}))),
        ("--stop-signal SIGINT --stop-grace-period 1m", container(json!({})), container(json!({"StopSignal": "SIGINT", "StopGracePeriod": 60_000_000_000_i64}))),
        ("--mount-add type=tmpfs,target=/a --mount-rm /b", container(json!({"Mounts": [{"Type": "bind", "Source": "/x", "Target": "/a"}, {"Target": "/b"}, {"Target": "/c"}]})),
         container(json!({"Mounts": [{"Target": "/c"}, {"Type": "tmpfs", "Target": "/a"}]}))),
        ("--group-add b --group-rm c", container(json!({"Groups": ["c", "d"]})), container(json!({"Groups": ["b", "d"]}))),
        ("--dns-add 10.0.0.1 --dns-rm 10.0.0.9 --dns-search-add a.b --dns-option-add x", container(json!({"DNSConfig": {"Nameservers": ["10.0.0.9"]}})),
         container(json!({"DNSConfig": {"Nameservers": ["10.0.0.1"], "Search": ["a.b"], "Options": ["x"]}}))),
        ("--host-add d:10.0.0.4 --host-rm a --host-rm b:10.0.0.2", container(json!({"Hosts": ["10.0.0.1 a", "10.0.0.2 a b c", "10.0.0.3 b"]})),
         container(json!({"Hosts": ["10.0.0.2 c", "10.0.0.3 b", "10.0.0.4 d"]}))),
        ("--sysctl-add a=1 --sysctl-rm b", container(json!({"Sysctls": {"b": "1"}})), container(json!({"Sysctls": {"a": "1"}}))),
        ("--ulimit-add nofile=1:2 --ulimit-rm core", container(json!({"Ulimits": [{"Name": "core", "Soft": 1, "Hard": 1}, {"Name": "nofile", "Soft": 9, "Hard": 9}]})),
         container(json!({"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}]}))),
        ("--device-add /dev/a --device-rm /dev/b --security-opt-add x=y --privileged --gpus all --shm-size 1k --cgroup-parent /c --cpuset-cpus 0-1 --pre-stop 'a b'",
         container(json!({"Devices": [{"PathOnHost": "/dev/b", "PathInContainer": "/x"}]})),
         container(json!({"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "rwm"}], "SecurityOpt": ["x=y"],
             "Privileged": true, "Gpus": "all", "ShmSize": 1024, "CgroupParent": "/c", "CpusetCpus": "0-1", "PreStop": ["a", "b"]}))),
        ("--health-cmd 'curl x' --health-interval 1s --health-retries 2 --health-start-interval 3s", container(json!({"Healthcheck": {"Test": ["NONE"]}})),
         container(json!({"Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 1_000_000_000, "Retries": 2, "StartInterval": 3_000_000_000_i64}}))),
        ("--no-healthcheck", container(json!({"Healthcheck": {"Retries": 1}})), container(json!({"Healthcheck": {"Test": ["NONE"]}}))),
        ("--ready-http 80/ok --ready-timeout 2s", container(json!({"ReadyCheck": {"Tcp": {"Port": 1}, "Interval": 1}})),
         container(json!({"ReadyCheck": {"Http": {"Port": 80, "Path": "/ok"}, "Interval": 1, "Timeout": 2_000_000_000}}))),
        ("--ready-cmd ''", container(json!({"ReadyCheck": {"Tcp": {"Port": 1}}})), container(json!({}))),
        ("--cap-add net_admin --cap-drop kill", container(json!({"CapabilityDrop": ["CAP_NET_ADMIN"]})), container(json!({"CapabilityDrop": ["CAP_KILL"]}))),
        ("--cap-add kill", container(json!({"CapabilityAdd": ["CAP_CHOWN"]})), container(json!({"CapabilityAdd": ["CAP_CHOWN", "CAP_KILL"]}))),
        ("--cap-drop all --cap-add kill", container(json!({})), container(json!({"CapabilityAdd": ["CAP_KILL"], "CapabilityDrop": ["ALL"]}))),
        ("--cap-add reset", container(json!({"CapabilityAdd": ["CAP_CHOWN"]})), container(json!({}))),
        ("--limit-cpu 0.5 --limit-memory 1k --limit-pids 9 --reserve-cpu 1 --memory-swap -1 --memory-swappiness 5", json!({"TaskTemplate": {}}),
         json!({"TaskTemplate": {"ContainerSpec": {}, "Resources": {"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 1024, "Pids": 9},
             "Reservations": {"NanoCPUs": 1_000_000_000}, "SwapBytes": -1, "MemorySwappiness": 5}}})),
        ("--generic-resource-add gpu=2 --generic-resource-rm ssd", json!({"TaskTemplate": {"ContainerSpec": {}, "Resources": {"Reservations": {"GenericResources": [
             {"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}, {"DiscreteResourceSpec": {"Kind": "ssd", "Value": 1}}]}}}}),
         json!({"TaskTemplate": {"ContainerSpec": {}, "Resources": {"Reservations": {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 2}}]}}}})),
        ("--constraint-add b==1 --constraint-rm c==1", json!({"TaskTemplate": {"ContainerSpec": {}, "Placement": {"Constraints": ["d==1", "c==1"]}}}),
         json!({"TaskTemplate": {"ContainerSpec": {}, "Placement": {"Constraints": ["b==1", "d==1"]}}})),
        ("--placement-pref-add spread=b --placement-pref-rm spread=a --replicas-max-per-node 2",
         json!({"TaskTemplate": {"ContainerSpec": {}, "Placement": {"Preferences": [{"Spread": {"SpreadDescriptor": "a"}}]}}}),
         json!({"TaskTemplate": {"ContainerSpec": {}, "Placement": {"Preferences": [{"Spread": {"SpreadDescriptor": "b"}}], "MaxReplicas": 2}}})),
        ("--restart-condition none --restart-delay 1s --restart-max-delay 2s --restart-max-attempts 3 --restart-window 4s", json!({"TaskTemplate": {"ContainerSpec": {}}}),
         json!({"TaskTemplate": {"ContainerSpec": {}, "RestartPolicy": {"Condition": "none", "Delay": 1_000_000_000, "MaxDelay": 2_000_000_000, "MaxAttempts": 3, "Window": 4_000_000_000_i64}}})),
        ("--update-delay 1s --update-progress-deadline 1m --update-min-healthy 2s", json!({}),
         json!({"UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "MaxFailureRatio": 0.0, "Order": "stop-first", "Delay": 1_000_000_000,
             "ProgressDeadline": 60_000_000_000_i64, "MinHealthy": 2_000_000_000}})),
        ("--rollback-parallelism 0 --rollback-order start-first", json!({"RollbackConfig": {"Delay": 7}}),
         json!({"RollbackConfig": {"Delay": 7, "Parallelism": 0, "Order": "start-first"}})),
        ("--endpoint-mode dnsrr", json!({}), json!({"EndpointSpec": {"Mode": "dnsrr"}})),
        ("--publish-add 81:80", ports(&[port(80, 80, "ingress")]), ports(&[port(80, 80, "ingress"), port(81, 80, "ingress")])),
        ("--publish-add 80:80", ports(&[port(80, 80, "ingress")]), ports(&[port(80, 80, "ingress")])),
        ("--publish-rm 80 --publish-add 79:80", ports(&[port(80, 80, "host"), port(90, 90, "host")]), ports(&[port(79, 80, "ingress"), port(90, 90, "host")])),
        ("--publish-rm target=80,mode=host", ports(&[port(80, 80, "ingress")]), ports(&[port(80, 80, "ingress")])),
        ("--log-driver none --log-opt a=b", json!({"TaskTemplate": {"ContainerSpec": {}}}), json!({"TaskTemplate": {"ContainerSpec": {}, "LogDriver": {"Name": "none", "Options": {"a": "b"}}}})),
        ("--force", json!({"TaskTemplate": {"ContainerSpec": {}, "ForceUpdate": 4}}), json!({"TaskTemplate": {"ContainerSpec": {}, "ForceUpdate": 5}})),
        ("--runtime process", json!({}), json!({"TaskTemplate": {"Runtime": "process"}})),
    ];
    for (line, before, after) in cases {
        let edited =
            edited(line, before, &Resolved::default()).unwrap_or_else(|error| panic!("{line}: {error}"));
        // An object that was only looked into may have become one.
        let without_empty = |mut spec: Value| {
            for path in [&["TaskTemplate", "ContainerSpec"][..], &["TaskTemplate"]] {
                let (last, before) = path.split_last().expect("not empty");
                let parent = member(&mut spec, before);
                if parent.get(*last).is_some_and(|value| value.is_null() || *value == json!({})) {
                    super::super::flags::put(parent, last, Value::Null);
                }
            }
            spec
        };
        assert_eq!(without_empty(edited), without_empty(after), "{line}");
    }
}

#[test]
fn ids_that_were_found_go_into_the_spec() {
    let found = |name: &str, target: &str, id: &str| Found {
        reference: Reference {
            name: name.into(),
            target: target.into(),
            uid: "0".into(),
            gid: "0".into(),
            mode: 0o444,
            version: 0,
            refresh: None,
        },
        id: id.into(),
    };
    let secret = |name: &str, target: &str, id: &str| json!({"File": {"Name": target, "UID": "0", "GID": "0", "Mode": 0o444}, "SecretID": id, "SecretName": name});
    let resolved = Resolved {
        secrets: vec![found("new", "key", "id2")],
        networks: vec!["net2".into()],
        networks_removed: vec!["net1".into()],
        ..Resolved::default()
    };
    let before = json!({"TaskTemplate": {
        "ContainerSpec": {"Secrets": [secret("old", "key", "id1"), secret("other", "x", "id3")]},
        "Networks": [{"Target": "net1"}, {"Target": "net3"}],
    }});
    let line =
        "--secret-rm old --secret-add source=new,target=key --network-rm one --network-add name=two,alias=a";
    let after = json!({"TaskTemplate": {
        "ContainerSpec": {"Secrets": [secret("other", "x", "id3"), secret("new", "key", "id2")]},
        "Networks": [{"Target": "net2", "Aliases": ["a"]}, {"Target": "net3"}],
    }});
    assert_eq!(edited(line, before, &resolved), Ok(after));
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let of = |mode: &str| json!({"Mode": {mode: {}}, "TaskTemplate": {"ContainerSpec": {}}});
    #[rustfmt::skip]
    let cases = [
        ("--replicas 2", of("Global"), "replicas can only be used with replicated mode"),
        ("--max-concurrent 2", of("Replicated"), "max-concurrent can only be used with replicated-job mode"),
        ("--replicas-max-per-node 2", of("Global"), "replicas-max-per-node can only be used with replicated or replicated-job mode"),
        ("--no-healthcheck --health-retries 1", of("Replicated"), "--no-healthcheck conflicts with --health-* options"),
        ("--ready-interval 1s", of("Replicated"), "--ready-interval and --ready-timeout need one of --ready-cmd, --ready-http and --ready-tcp"),
        ("--update-delay 1s", of("ReplicatedJob"), "update and rollback configuration is not supported for jobs"),
        ("--generic-resource-rm gpu", of("Replicated"), "could not find generic-resource `gpu` to remove it"),
        ("--mount-add target=/a --mount-add type=tmpfs,target=/a", of("Replicated"), "duplicate mount target"),
    ];
    for (line, spec, expected) in cases {
        assert_eq!(edited(line, spec, &Resolved::default()), Err(expected.into()), "{line}");
    }
    let resolved = Resolved { networks: vec!["n".into()], ..Resolved::default() };
    let spec = json!({"TaskTemplate": {"Networks": [{"Target": "n"}]}});
    let expected = "service is already attached to network net";
    assert_eq!(edited("--network-add net", spec, &resolved), Err(expected.into()));
}

#[test]
fn only_waiting_goes_with_a_rollback() {
    for line in ["", "-d", "--quiet --timeout 1s", "--wait"] {
        assert!(!typed(line).changes_anything(), "{line}");
    }
    for line in [
        "--image x",
        "--env-rm A",
        "--label-add a",
        "--force",
        "--limit-cpu 1",
        "--no-resolve-image",
        "--update-delay 1s",
    ] {
        assert!(typed(line).changes_anything(), "{line}");
    }
}
