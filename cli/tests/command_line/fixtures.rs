//! A cluster of one manager and one worker, as the API shows it.

use serde_json::{Value, json};

use crate::fake_api::{Ran, Routes};

pub const WORKER: &str = "aaaaaaaaaaaaaaaaaaaaaaaa1";
pub const MANAGER: &str = "bbbbbbbbbbbbbbbbbbbbbbbb2";

fn tls() -> Value {
    json!({"TrustRoot": "PEM", "CertIssuerSubject": "MBMx", "CertIssuerPublicKey": "MFkw"})
}

pub fn worker() -> Value {
    json!({
        "ID": WORKER,
        "Version": {"Index": 11},
        "CreatedAt": "2026-11-20T08:00:00.123456789Z",
        "UpdatedAt": "2026-11-20T08:00:01Z",
        "Spec": {"Labels": {"disk": "ssd", "bare": ""}, "Role": "worker", "Availability": "drain", "FromTheFuture": 1},
        "Description": {
            "Hostname": "node10",
            "Platform": {"Architecture": "x86_64", "OS": "linux"},
            "Resources": {"NanoCPUs": 2_000_000_000_i64, "MemoryBytes": 25_275_691_008_i64},
            "Engine": {"EngineVersion": "0.1.0", "Labels": {"os": "debian"}, "Plugins": [
                {"Type": "Volume", "Name": "local"}, {"Type": "Network", "Name": "mesh"},
            ]},
            "TLSInfo": tls(),
        },
        "Status": {"State": "down", "Message": "heartbeat failure", "Addr": "10.0.0.1"},
    })
}

pub fn manager() -> Value {
    json!({
        "ID": MANAGER,
        "Version": {"Index": 12},
        "CreatedAt": "2026-11-20T08:00:00Z",
        "UpdatedAt": "2026-11-20T08:00:00Z",
        "Spec": {"Labels": {}, "Role": "manager", "Availability": "active"},
        "Description": {
            "Hostname": "node2",
            "Platform": {"Architecture": "x86_64", "OS": "linux"},
            "Resources": {"NanoCPUs": 2_000_000_000_i64, "MemoryBytes": 1_073_741_824},
            "Engine": {"EngineVersion": "0.1.0"},
            "TLSInfo": tls(),
        },
        "Status": {"State": "ready", "Addr": "10.0.0.2"},
        "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "10.0.0.2:2377"},
    })
}

pub fn cluster() -> Value {
    json!({
        "ID": "clusterid",
        "Version": {"Index": 10},
        "CreatedAt": "2026-11-20T08:00:00Z",
        "UpdatedAt": "2026-11-20T08:00:00Z",
        "Spec": {
            "Name": "default",
            "Labels": {},
            "FromTheFuture": {"a": 1},
            "Orchestration": {"TaskHistoryRetentionLimit": 5},
            "Raft": {
                "SnapshotInterval": 10000, "KeepOldSnapshots": 0, "LogEntriesForSlowFollowers": 500,
                "ElectionTick": 10, "HeartbeatTick": 1,
            },
            "Dispatcher": {"HeartbeatPeriod": 5_000_000_000_i64},
            "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000_i64},
            "EncryptionConfig": {"AutoLockManagers": false},
        },
        "TLSInfo": tls(),
        "RootRotationInProgress": false,
        "DataPathPort": 4789,
        "DefaultAddrPool": ["10.0.0.0/8"],
        "SubnetSize": 24,
        "JoinTokens": {"Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m"},
    })
}

pub fn info() -> Value {
    let mut cluster = cluster();
    cluster.as_object_mut().expect("an object").remove("JoinTokens");
    json!({
        "ID": "X",
        "Name": "node2",
        "ServerVersion": "0.1.0",
        "KernelVersion": "6.1",
        "OperatingSystem": "Debian",
        "OSType": "linux",
        "Architecture": "x86_64",
        "NCPU": 2,
        "MemTotal": 25_275_691_008_i64,
        "Swarm": {
            "NodeID": MANAGER,
            "NodeAddr": "10.0.0.2",
            "LocalNodeState": "active",
            "ControlAvailable": true,
            "Error": "",
            "RemoteManagers": [{"NodeID": "c", "Addr": "10.0.0.3:2377"}, {"NodeID": MANAGER, "Addr": "10.0.0.2:2377"}],
            "Nodes": 2,
            "Managers": 1,
            "Cluster": cluster,
        },
    })
}

/// Everything works.
pub fn healthy() -> Routes {
    Routes::default()
        .on("GET /_ping", 200, "OK")
        .on("GET /info", 200, info())
        .on("GET /swarm", 200, cluster())
        .on("POST /swarm/x/rotate-data-keys", 200, "")
        .on("GET /swarm/unlockkey", 200, json!({"UnlockKey": "SWMKEY-1-x"}))
        .on("POST /swarm/init", 200, json!(MANAGER))
        .on("POST /swarm/join", 200, "")
        .on("POST /swarm/leave", 200, "")
        .on("POST /swarm/update", 200, "")
        .on("GET /nodes", 200, json!([worker(), manager()]))
        .on("GET /nodes/node10", 200, worker())
        .on("GET /nodes/node2", 200, manager())
        .on("GET /nodes/aaaaaaaaaaaaaaaaaaaaaaaa1", 200, worker())
        .on("GET /nodes/bbbbbbbbbbbbbbbbbbbbbbbb2", 200, manager())
        .error("GET /nodes/gone", 404, "node gone not found")
        .on("POST /nodes/aaaaaaaaaaaaaaaaaaaaaaaa1/update", 200, "")
        .on("POST /nodes/bbbbbbbbbbbbbbbbbbbbbbbb2/update", 200, "")
        .on("GET /tasks", 200, "[]")
}

/// The command succeeds and prints this, and nothing beside it.
#[track_caller]
pub fn prints(arguments: &[&str], expected: &str) {
    let ran = healthy().serve().run(arguments);
    assert_eq!(ran, Ran { code: 0, stdout: expected.into(), stderr: String::new() }, "{arguments:?}");
}
