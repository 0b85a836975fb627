//! Services and tasks as the API shows them.

use serde_json::{Value, json};

use crate::fake_api::Routes;
use crate::fixtures::{MANAGER, healthy};

pub const SERVICE: &str = "sssssssssssssssssssssssss";
pub const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// Small, and without any word about updates.
pub fn spec() -> Value {
    json!({
        "Name": "web", "Labels": {}, "FromTheFuture": 1,
        "TaskTemplate": {"ContainerSpec": {"Image": "nginx:1", "Env": ["A=1"]}, "ForceUpdate": 0},
        "Mode": {"Replicated": {"Replicas": 2}},
    })
}

pub fn service() -> Value {
    json!({
        "ID": SERVICE, "Version": {"Index": 31}, "CreatedAt": "2026-11-20T08:00:00Z",
        "UpdatedAt": "2026-11-20T08:00:00Z", "Spec": spec(), "Endpoint": {"Spec": {}},
    })
}

/// With everything that `--pretty` shows.
pub fn rich_service() -> Value {
    let image = format!("nginx:1@{DIGEST}");
    json!({
        "ID": SERVICE, "Version": {"Index": 31}, "CreatedAt": "2026-11-20T08:00:00Z", "UpdatedAt": "2026-11-20T08:00:00Z",
        "Spec": {
            "Name": "web", "Labels": {"a": "1", "bare": ""},
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": image, "Args": ["a", "b c"], "Env": ["A=1", "B"], "Dir": "/w", "Init": true, "User": "me",
                    "Sysctls": {"net.x": "1", "k": ""}, "CapabilityAdd": ["CAP_A", "CAP_B"], "CapabilityDrop": ["ALL"],
                    "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}, {"Name": "core", "Soft": -1, "Hard": -1}],
                    "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true}, {"Type": "tmpfs", "Target": "/t"}],
                    "Configs": [{"File": {"Name": "/c", "UID": "0", "GID": "0", "Mode": 292}, "ConfigID": "c", "ConfigName": "conf"}],
                    "Secrets": [{"File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 292}, "SecretID": "c", "SecretName": "sec"}],
                    "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000, "Timeout": 2_000_000_000, "Retries": 3, "StartPeriod": 60_000_000_000_i64},
                },
                "Resources": {
                    "Limits": {"NanoCPUs": 1_500_000_000, "MemoryBytes": 1_073_741_824, "Pids": 5},
                    "Reservations": {"NanoCPUs": 500_000_000, "MemoryBytes": 52_428_800},
                },
                "Placement": {
                    "Constraints": ["node.role==worker", "node.labels.a!=b"],
                    "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.r"}}], "MaxReplicas": 2,
                },
                "Networks": [{"Target": "n7"}, {"Target": "n8"}],
                "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m", "e": ""}}, "ForceUpdate": 0,
            },
            "Mode": {"Replicated": {"Replicas": 3}},
            "UpdateConfig": {"Parallelism": 2, "Delay": 10_000_000_000_i64, "FailureAction": "rollback", "Monitor": 5_000_000_000_i64, "MaxFailureRatio": 0.25, "Order": "start-first"},
            "RollbackConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_i64, "MaxFailureRatio": 0, "Order": "stop-first"},
            "EndpointSpec": {"Mode": "vip"},
        },
        "Endpoint": {"Spec": {"Mode": "vip"}, "Ports": [
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"},
            {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "host"},
        ]},
        "UpdateStatus": {"State": "completed", "StartedAt": "2016-11-10T08:00:00Z", "CompletedAt": "2016-11-10T09:00:00Z", "Message": "update completed"},
        "ServiceStatus": {"RunningTasks": 2, "DesiredTasks": 3, "CompletedTasks": 0},
    })
}

/// Long ago, so that it needs no watching.
pub fn task(id: &str, slot: u64, state: &str, error: &str) -> Value {
    let desired = if state == "failed" { "shutdown" } else { "running" };
    json!({
        "ID": format!("{id:0<25}"), "Version": {"Index": 5}, "CreatedAt": "2016-11-10T08:00:00Z",
        "UpdatedAt": "2016-11-10T08:00:00Z", "Spec": {"ContainerSpec": {"Image": format!("nginx:1@{DIGEST}")}},
        "ServiceID": SERVICE, "Slot": slot, "NodeID": MANAGER, "DesiredState": desired,
        "Status": {"Timestamp": "2016-11-10T08:00:00Z", "State": state, "Message": state, "Err": error},
    })
}

/// A cluster with one service, which stands.
pub fn with_service() -> Routes {
    let found = json!({
        "Descriptor": {"digest": DIGEST},
        "Platforms": [{"architecture": "amd64", "os": "linux"}, {"architecture": "unknown", "os": "unknown"}],
    });
    healthy_without_tasks()
        .on("GET /services/web", 200, service())
        .on("GET /services/sssssssssssssssssssssssss", 200, service())
        .error("GET /services/gone", 404, "service gone not found")
        .on("GET /services", 200, json!([service()]))
        .on("POST /services/create", 201, json!({"ID": SERVICE, "Warnings": ["be careful"]}))
        .on("POST /services/sssssssssssssssssssssssss/update", 200, json!({"Warnings": null}))
        .on("DELETE /services/web", 200, "")
        .error("DELETE /services/gone", 404, "service gone not found")
        .on("GET /distribution/nginx%3A2/json", 200, found)
        .on("GET /networks/net", 200, json!({"Id": "netid", "Name": "net"}))
        .on(
            "GET /secrets",
            200,
            json!([{"ID": "secretid", "Spec": {"Name": "key"}}, {"ID": "x", "Spec": {"Name": "key2"}}]),
        )
        .on("GET /configs", 200, "[]")
        .on("GET /tasks", 200, json!([task("t1", 1, "running", ""), task("t2", 2, "running", "")]))
}

fn healthy_without_tasks() -> Routes {
    healthy().without("GET /tasks")
}
