//! `/nodes`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::object::{Availability, NodeId, NodeState, Role};
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::fake::{FakeCluster, FakeHost, id_of};

/// Managers host-1 and host-2, workers twin and twin (the second one down), worker other.
fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Manager, "host-2", NodeState::Ready);
    cluster.add(3, Role::Worker, "twin", NodeState::Ready);
    cluster.add(4, Role::Worker, "twin", NodeState::Down);
    cluster.add(5, Role::Worker, "other", NodeState::Down);
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

fn id(number: u8) -> String {
    NodeId(id_of(number)).to_string()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

async fn update(api: &Api, name: &str, change: impl FnOnce(&mut Value)) -> Answer {
    let node = api.get(&format!("/nodes/{name}")).await.json();
    let mut spec = node["Spec"].clone();
    change(&mut spec);
    let target = format!("/v1.41/nodes/{name}/update?version={}", node["Version"]["Index"]);
    api.post(&target, &spec.to_string()).await
}

#[tokio::test]
async fn a_node_looks_as_docker_shows_it() {
    let (api, _) = served();
    let answer = api.get("/v1.41/nodes/host-1").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let node = answer.json();
    let tls = &node["Description"]["TLSInfo"];
    assert!(tls["TrustRoot"].as_str().expect("a root").starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(
        node,
        json!({
            "ID": id(1), "Version": {"Index": 2},
            "CreatedAt": "2026-11-20T08:00:00Z", "UpdatedAt": "2026-11-20T08:00:00Z",
            "Spec": {"Labels": {}, "Role": "manager", "Availability": "active"},
            "Description": {
                "Hostname": "host-1",
                "Platform": {"Architecture": "x86_64", "OS": "linux"},
                "Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 1_073_741_824},
                "Engine": {"EngineVersion": "20.10", "Labels": {"disk": "ssd"}, "Plugins": [{"Type": "Volume", "Name": "local"}]},
                "TLSInfo": tls,
                "Runtimes": ["process"],
            },
            "Status": {"State": "ready", "Addr": "10.0.0.1"},
            "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "10.0.0.1:2377"},
        })
    );
    assert_eq!(api.get("/nodes/other").await.json().get("ManagerStatus"), None);
}

#[tokio::test]
async fn a_dead_manager_is_unreachable() {
    let (api, cluster) = served();
    cluster.dead.lock().unwrap().insert(NodeId(id_of(2)));
    let status = api.get("/nodes/host-2").await.json()["ManagerStatus"].clone();
    assert_eq!(status, json!({"Reachability": "unreachable", "Addr": "10.0.0.2:2377"}));
}

#[tokio::test]
async fn lists_are_filtered_by_what_docker_filters_by() {
    let (api, _) = served();
    update(&api, "other", |spec| spec["Labels"] = json!({"zone": "a"})).await;
    #[rustfmt::skip]
    let cases = [ // filters, host names
        ("{}".to_string(),                                "host-1 host-2 twin twin other"),
        (r#"{"role":["manager"]}"#.into(),                "host-1 host-2"),
        (r#"{"role":{"manager":true}}"#.into(),           "host-1 host-2"),
        (r#"{"role":["worker"],"name":["t"]}"#.into(),    "twin twin"),
        (r#"{"name":["other","host"]}"#.into(),           "host-1 host-2 other"),
        (r#"{"node.label":["zone"]}"#.into(),             "other"),
        (r#"{"node.label":["zone=b"]}"#.into(),           ""),
        (r#"{"label":["disk=ssd"]}"#.into(),              "host-1 host-2 twin twin other"),
        (r#"{"label":["zone"]}"#.into(),                  ""),
        (r#"{"membership":["accepted"]}"#.into(),         "host-1 host-2 twin twin other"),
        (r#"{"membership":["pending"]}"#.into(),          ""),
        (format!(r#"{{"id":["{}"]}}"#, &id(5)[..4]),      "other"),
    ];
    for (filters, expected) in cases {
        let nodes = api.get(&format!("/nodes?filters={}", encoded(&filters))).await.json();
        let names: Vec<&str> = nodes
            .as_array()
            .expect("a list")
            .iter()
            .map(|node| node["Description"]["Hostname"].as_str().expect("a name"))
            .collect();
        assert_eq!(names.join(" "), expected, "{filters}");
    }
    #[rustfmt::skip]
    let refusals = [
        (r#"{"x":["a"]}"#,               "invalid filter 'x'"),
        (r#"{"role":["boss"]}"#,         "Invalid role filter: 'boss'"),
        (r#"{"membership":["x"]}"#,      "Invalid membership filter: 'x'"),
    ];
    for (filters, sentence) in refusals {
        let answer = api.get(&format!("/nodes?filters={}", encoded(filters))).await;
        assert_eq!(answer.error(), (400, sentence.into()));
    }
}

#[tokio::test]
async fn a_node_is_found_by_id_by_name_and_by_the_start_of_its_id() {
    let (api, _) = served();
    for name in [&id(5), "other", &id(5)[..5]] {
        assert_eq!(api.get(&format!("/nodes/{name}")).await.json()["ID"], id(5), "{name}");
    }
    assert_eq!(api.get("/nodes/nobody").await.error(), (404, "node nobody not found".into()));
    assert_eq!(
        api.get("/nodes/twin").await.error(),
        (400, "node twin is ambiguous (2 matches found)".into())
    );
    let ambiguous = api.send("DELETE", "/nodes/twin", "").await;
    assert_eq!(ambiguous.error(), (400, "node twin is ambiguous (2 matches found)".into()));
}

#[tokio::test]
async fn an_update_replaces_the_spec_at_the_version_that_was_read() {
    let (api, cluster) = served();
    let answer = update(&api, "other", |spec| {
        spec["Availability"] = json!("drain");
        spec["Labels"] = json!({"a": "b"});
    })
    .await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    let node = cluster.node(NodeId(id_of(5))).expect("node 5");
    assert_eq!((node.spec.availability, node.spec.labels["a"].as_str()), (Availability::Drain, "b"));

    let spec = r#"{"Role":"worker","Availability":"active"}"#;
    let post =
        async |query: &str, body: &str| api.post(&format!("/nodes/other/update{query}"), body).await.error();
    assert_eq!(post("?version=1", spec).await, (500, "update out of sequence".into()));
    for (query, shown) in [("", ""), ("?version=x", "x"), ("?version=-1", "-1")] {
        let (status, sentence) = post(query, spec).await;
        assert_eq!(status, 400);
        assert!(sentence.starts_with(&format!("invalid node version '{shown}': ")), "{sentence}");
    }
    assert_eq!(post("?version=1", r#"{"Availability":"active"}"#).await, (400, r#"invalid Role: """#.into()));
    assert_eq!(
        post("?version=1", r#"{"Role":"worker","Availability":"x"}"#).await,
        (400, r#"invalid Availability: "x""#.into())
    );
}

#[tokio::test]
async fn promotion_and_demotion_change_what_is_wanted_and_nothing_else() {
    let (api, cluster) = served();
    assert_eq!(update(&api, "other", |spec| spec["Role"] = json!("manager")).await.status, 200);
    let node = cluster.node(NodeId(id_of(5))).expect("node 5");
    assert_eq!((node.spec.role, node.role, &node.manager), (Role::Manager, Role::Worker, &None));
    assert_eq!(update(&api, "other", |spec| spec["Role"] = json!("worker")).await.status, 200);

    assert_eq!(update(&api, "host-2", |spec| spec["Role"] = json!("worker")).await.status, 200);
    let last = update(&api, "host-1", |spec| spec["Role"] = json!("worker")).await;
    assert_eq!(last.error(), (400, "attempting to demote the last manager of the swarm".into()));
}

#[tokio::test]
async fn a_demotion_that_loses_the_quorum_is_refused() {
    let (api, cluster) = served();
    cluster.dead.lock().unwrap().insert(NodeId(id_of(2)));
    let answer = update(&api, "host-1", |spec| spec["Role"] = json!("worker")).await;
    let sentence = "can't remove member from the raft: this would result in a loss of quorum";
    assert_eq!(answer.error(), (400, sentence.into()));
}

#[tokio::test]
async fn a_removed_node_is_gone_and_denied() {
    let (api, cluster) = served();
    let remove = async |target: &str| api.send("DELETE", &format!("/v1.41/nodes/{target}"), "").await;
    assert_eq!(remove(&id(4)).await.status, 200);
    assert_eq!(cluster.node(NodeId(id_of(4))), None);
    assert!(cluster.settings().denied.contains_key(&NodeId(id_of(4))));
    assert_eq!(remove(&id(4)).await.status, 404);

    let up = id(3);
    assert_eq!(remove("twin").await.error(), (400, format!("node {up} is not down and can't be removed")));
    assert_eq!(remove("twin?force=1").await.status, 200);
    let member = "is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal";
    assert_eq!(remove("host-2?force=true").await.error(), (400, format!("node {} {member}", id(2))));
}

#[tokio::test]
async fn somebody_else_s_write_is_no_reason_to_fail() {
    let (api, cluster) = served();
    cluster.conflicts.store(2, Ordering::Relaxed);
    assert_eq!(api.send("DELETE", "/nodes/other", "").await.status, 200);
    assert!(cluster.settings().denied.contains_key(&NodeId(id_of(5))));
    cluster.conflicts.store(100, Ordering::Relaxed);
    let tired = api.send("DELETE", "/nodes/twin?force=1", "").await;
    assert_eq!(tired.error(), (400, "node twin is ambiguous (2 matches found)".into()));
    let tired = api.send("DELETE", &format!("/nodes/{}", id(4)), "").await;
    assert_eq!(tired.error(), (500, "update out of sequence".into()));
}

#[tokio::test]
async fn lists_of_nothing_are_empty() {
    let (api, _) = served();
    for path in ["services?status=true", "tasks", "secrets", "configs"] {
        let answer = api.get(&format!("/v1.41/{path}")).await;
        assert_eq!((answer.status, answer.json()), (200, json!([])), "{path}");
    }
    assert_eq!(
        api.get("/tasks?filters=%7B%22x%22%3A%5B%5D%7D").await.error(),
        (400, "invalid filter 'x'".into())
    );
}
