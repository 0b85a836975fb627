//! `_ping`, `/version`, `/info` and path versions, on a node without Docker Engine.

use serde_json::json;

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost};

#[tokio::test]
async fn every_answer_carries_what_clients_look_at() {
    let api = Api::new(FakeHost::manager(&FakeCluster::new()));
    for target in ["/_ping", "/v1.41/nodes", "/v1.41/nodes/x", "/v1.10/nodes", "/containers/json", "/x/.."] {
        let answer = api.get(target).await;
        let headers = ["api-version", "ostype", "docker-experimental"].map(|name| answer.header(name));
        assert_eq!(headers, ["1.50", "linux", "false"], "{target}");
        assert!(answer.header("server").starts_with("Swarm/"), "{target}");
    }
}

#[tokio::test]
async fn ping_answers_get_and_head() {
    let api = Api::new(FakeHost::manager(&FakeCluster::new()));
    for (method, body) in [("GET", "OK"), ("HEAD", "")] {
        let answer = api.send(method, "/_ping", "").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, body));
        assert_eq!(answer.header("swarm"), "active/manager");
        assert_eq!(answer.header("cache-control"), "no-cache, no-store, must-revalidate");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    assert_eq!(api.get("/v1.41/_ping").await.status, 200);
}

#[tokio::test]
async fn path_versions_are_docker_s() {
    let api = Api::new(FakeHost::manager(&FakeCluster::new()));
    for version in ["/v1.24", "/v1.41", "/v1.56", ""] {
        assert_eq!(api.get(&format!("{version}/nodes")).await.status, 200, "{version}");
    }
    let old = "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version";
    assert_eq!(api.get("/v1.10/nodes").await.error(), (400, old.into()));
    let new = "client version 1.57 is too new. Maximum supported API version is 1.56";
    assert_eq!(api.get("/v1.57/nodes").await.error(), (400, new.into()));
    for target in ["/v1/nodes", "/vx/nodes", "/nodes/", "/swarm/nothing", "/_ping/x", "/version/x"] {
        let (status, _) = api.get(target).await.error();
        assert!(matches!(status, 404 | 501), "{target}: {status}");
    }
}

#[tokio::test]
async fn without_an_engine_this_machine_is_described() {
    let api = Api::new(FakeHost::worker());
    let info = api.get("/v1.41/info").await.json();
    assert_eq!((&info["Name"], &info["OSType"]), (&json!("host-1"), &json!("linux")));
    assert!(info["NCPU"].as_u64() > Some(0) && info["MemTotal"].as_u64() > Some(1 << 20), "{info}");
    assert_eq!(info["Swarm"]["LocalNodeState"], "active");
    assert_eq!(info["Swarm"]["ControlAvailable"], false);
    assert_eq!(info["Swarm"]["RemoteManagers"][0]["Addr"], "10.0.0.1:2377");
    let version = api.get("/version").await.json();
    assert_eq!((&version["ApiVersion"], &version["MinAPIVersion"]), (&json!("1.50"), &json!("1.24")));
    assert_eq!(version["Components"][0]["Name"], "Swarm");
    let containers = api.get("/v1.41/containers/json").await;
    assert_eq!(
        containers.error(),
        (501, "this node has no Docker Engine to answer GET /containers/json".into())
    );
}

#[tokio::test]
async fn two_managers_are_warned_of() {
    let cluster = FakeCluster::new();
    cluster.add(2, common::object::Role::Manager, "host-2", common::object::NodeState::Ready);
    let info = Api::new(FakeHost::manager(&cluster)).get("/info").await.json();
    let warning = info["Warnings"][0].as_str().expect("a warning");
    assert!(warning.starts_with("WARNING: Running Swarm in a two-manager configuration."), "{warning}");
}
