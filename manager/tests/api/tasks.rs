//! `/tasks`.

use std::sync::Arc;

use common::object::{NodeId, NodeState, Role, Slot, TaskState};
use serde_json::json;

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost, id_of};
use crate::work::{created, encoded, spec, update};

/// `web` with two slots, the first with a failed task before it; `all` on each of two nodes.
async fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Worker, "host-2", NodeState::Ready);
    let api = Api::new(FakeHost::manager(&cluster));
    let mut web = spec("web", "nginx:1");
    web["Labels"] = json!({"tier": "front"});
    created(&api, &web).await;
    let mut all = spec("all", "nginx:1");
    all["Mode"] = json!({"Global": {}});
    created(&api, &all).await;
    let failed = cluster.task("web", 1, Slot::Number(1), Some(2), TaskState::Failed);
    cluster.change_task(failed.id, |task| {
        task.desired = TaskState::Shutdown;
        task.status.error = "task: non-zero exit (1)".into();
        task.status.container.as_mut().expect("it ran").exit_code = Some(1);
    });
    cluster.task("web", 2, Slot::Number(1), Some(1), TaskState::Running);
    cluster.task("web", 3, Slot::Number(2), None, TaskState::Pending);
    cluster.task("all", 4, Slot::Node(NodeId(id_of(1))), Some(1), TaskState::Running);
    cluster.task("all", 5, Slot::Node(NodeId(id_of(2))), Some(2), TaskState::Running);
    (api, cluster)
}

fn id(number: u8) -> String {
    common::object::TaskId(id_of(number)).to_string()
}

#[tokio::test]
async fn a_task_looks_as_docker_shows_it() {
    let (api, cluster) = served().await;
    let service = cluster.service("web");
    let task = api.get(&format!("/v1.41/tasks/{}", id(1))).await.json();
    assert_eq!(
        task,
        json!({
            "ID": id(1), "Version": {"Index": 7}, "CreatedAt": "2026-11-20T08:00:00Z", "UpdatedAt": "2026-11-20T08:00:00Z",
            "Name": format!("web.1.{}", id(1)), "Labels": {"tier": "front"},
            "Spec": {"ContainerSpec": {"Image": "nginx:1"}, "ForceUpdate": 0, "Runtime": "container"},
            "ServiceID": service.id.to_string(), "Slot": 1, "NodeID": NodeId(id_of(2)).to_string(),
            "Status": {
                "Timestamp": "2026-11-20T08:00:00Z", "State": "failed", "Message": "failed", "Err": "task: non-zero exit (1)",
                "ContainerStatus": {"ContainerID": "container1", "PID": 42, "ExitCode": 1},
            },
            "DesiredState": "shutdown", "SpecNumber": 1,
        })
    );
    for name in [format!("web.1.{}", id(2)), id(2)[..6].to_string()] {
        assert_eq!(api.get(&format!("/tasks/{name}")).await.json()["ID"], id(2), "{name}");
    }
    let global = api.get(&format!("/tasks/{}", id(5))).await.json();
    assert_eq!(global["Name"], format!("all.{}.{}", NodeId(id_of(2)), id(5)));
    assert_eq!(global.get("Slot"), None);
    assert_eq!(api.get("/tasks/nobody").await.error(), (404, "task nobody not found".into()));
    assert_eq!(api.get("/tasks/4").await.status, 404);
    assert_eq!(api.post("/tasks/create", "{}").await.status, 404);
}

#[tokio::test]
async fn lists_are_filtered_by_what_docker_filters_by() {
    let (api, cluster) = served().await;
    let service = cluster.service("web").id.to_string();
    #[rustfmt::skip]
    let cases = [ // filters, tasks
        ("{}".to_string(),                                        vec![1, 2, 3, 4, 5]),
        (r#"{"service":["web"]}"#.into(),                         vec![1, 2, 3]),
        (format!(r#"{{"service":{{"{service}":true}}}}"#),        vec![1, 2, 3]),
        (r#"{"service":["web","all"],"node":["host-2"]}"#.into(), vec![1, 5]),
        (r#"{"node":["host-1"]}"#.into(),                         vec![2, 4]),
        (r#"{"desired-state":["running"]}"#.into(),               vec![2, 3, 4, 5]),
        (r#"{"desired-state":["shutdown"]}"#.into(),              vec![1]),
        (r#"{"desired-state":["shutdown","running"]}"#.into(),    vec![1, 2, 3, 4, 5]),
        (r#"{"label":["tier=front"]}"#.into(),                    vec![1, 2, 3]),
        (r#"{"name":["web.2"]}"#.into(),                          vec![3]),
        (r#"{"runtime":["container"]}"#.into(),                   vec![1, 2, 3, 4, 5]),
        (r#"{"runtime":["plugin"]}"#.into(),                      vec![]),
        (format!(r#"{{"id":["{}"]}}"#, &id(4)[..8]),              vec![4]),
        (r#"{"_up-to-date":{"true":true},"service":["web"]}"#.into(), vec![1, 2, 3]),
    ];
    let list = async |filters: &str| {
        let tasks = api.get(&format!("/tasks?filters={}", encoded(filters))).await.json();
        let ids = tasks
            .as_array()
            .expect("a list")
            .iter()
            .map(|task| task["ID"].as_str().expect("an id").to_string());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids
    };
    for (filters, expected) in cases {
        assert_eq!(list(&filters).await, expected.into_iter().map(id).collect::<Vec<_>>(), "{filters}");
    }
    // A task of the spec before is not up to date; one of which only the number differs is.
    update(&api, "web", "", |spec| spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("nginx:2")).await;
    update(&api, "all", "", |spec| spec["Labels"] = json!({"a": "b"})).await;
    cluster.task("web", 6, Slot::Number(2), Some(1), TaskState::Starting);
    assert_eq!(list(r#"{"_up-to-date":["true"]}"#).await, [4, 5, 6].map(id));
    assert_eq!(list(r#"{"_up-to-date":["false"]}"#).await, [1, 2, 3].map(id));
    #[rustfmt::skip]
    let refusals = [
        (r#"{"x":["a"]}"#,               400, "invalid filter 'x'"),
        (r#"{"desired-state":["x"]}"#,   400, "Invalid desired-state filter: 'x'"),
        (r#"{"_up-to-date":["x"]}"#,     400, "Invalid _up-to-date filter: 'x'"),
        (r#"{"service":["x"]}"#,         404, "service x not found"),
        (r#"{"node":["x"]}"#,            404, "node x not found"),
    ];
    for (filters, status, sentence) in refusals {
        let answer = api.get(&format!("/tasks?filters={}", encoded(filters))).await;
        assert_eq!(answer.error(), (status, sentence.into()));
    }
}
