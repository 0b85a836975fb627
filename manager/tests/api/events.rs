//! `/events`.

use std::sync::Arc;

use common::object::{NodeState, Role, Slot, TaskState};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::client::{Api, read_until};
use crate::fake::{FakeCluster, FakeHost};
use crate::work::{created, encoded, spec, update};

fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Worker, "host-2", NodeState::Ready);
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

/// What happened so far, as `type action name` with the attributes that changed.
async fn told(api: &Api, filters: &str) -> Vec<String> {
    let answer = api.get(&format!("/v1.41/events?since=0&until=1&filters={}", encoded(filters))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // Everything of these tests happens later than a second after 1970.
    assert_eq!(answer.text, "");
    let answer =
        api.get(&format!("/v1.41/events?since=0&until=1795161601&filters={}", encoded(filters))).await;
    answer.text.lines().map(shown).collect()
}

fn shown(line: &str) -> String {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((&event["scope"], &event["time"]), (&json!("swarm"), &json!(1_795_161_600)));
    let attributes = event["Actor"]["Attributes"].as_object().expect("attributes");
    let changed = attributes.iter().filter(|(name, _)| name.contains('.'));
    let changed: Vec<String> =
        changed.map(|(name, value)| format!("{name}={}", value.as_str().expect("text"))).collect();
    let name = attributes.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = name.rsplit_once('.').map_or(name, |(name, _)| name);
    let kind = |member: &str| event[member].as_str().expect("text").to_string();
    [kind("Type"), kind("Action"), name.into()].into_iter().chain(changed).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_happens_is_told_as_docker_tells_it() {
    let (api, cluster) = served();
    created(&api, &spec("web", "nginx:1")).await;
    update(&api, "web", "", |spec| {
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("nginx:2");
        spec["Mode"]["Replicated"]["Replicas"] = json!(3);
    })
    .await;
    update(&api, "web", "&rollback=previous", |_| ()).await;
    cluster.change_service("web", |service| service.update.as_mut().expect("it began").failed = 1);
    let task = cluster.task("web", 1, Slot::Number(1), Some(2), TaskState::Starting);
    cluster.change_task(task.id, |task| {
        task.status.state = TaskState::Running;
        task.status.ready = true;
    });
    let node = api.get("/nodes/host-2").await.json();
    let mut drained = node["Spec"].clone();
    drained["Availability"] = json!("drain");
    let target = format!("/nodes/host-2/update?version={}", node["Version"]["Index"]);
    assert_eq!(api.post(&target, &drained.to_string()).await.status, 200);
    api.send("DELETE", "/services/web", "").await;

    let all = [
        "node create host-1",
        "node create host-2",
        "service create web",
        "service update web image.new=nginx:2 image.old=nginx:1 replicas.new=3 replicas.old=1",
        "service update web image.new=nginx:1 image.old=nginx:2 replicas.new=1 replicas.old=3 updatestate.new=rollback_started",
        "task create web.1",
        "task update web.1 ready.new=true ready.old=false state.new=running state.old=starting",
        "node update host-2 availability.new=drain availability.old=active",
        "service remove web",
    ];
    let some = |start: &str| {
        all.iter().filter(|line| line.starts_with(start)).map(|line| line.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(&api, "{}").await, all);
    assert_eq!(told(&api, r#"{"type":["service"]}"#).await, some("service"));
    assert_eq!(told(&api, r#"{"type":{"node":true},"event":{"update":true}}"#).await, some("node update"));
    assert_eq!(told(&api, r#"{"node":["host-2"]}"#).await, [all[1], all[5], all[6], all[7]]);
    assert_eq!(told(&api, r#"{"task":["web.1"]}"#).await, some("task"));
    assert_eq!(told(&api, r#"{"scope":["local"]}"#).await, Vec::<String>::new());
    assert_eq!(told(&api, r#"{"container":["x"]}"#).await, Vec::<String>::new());
    let refused = api.get(&format!("/events?filters={}", encoded(r#"{"x":["y"]}"#))).await;
    assert_eq!(refused.error(), (400, "invalid filter 'x'".into()));
}

#[tokio::test]
async fn events_come_as_they_happen_and_none_is_missed() {
    let (api, cluster) = served();
    let mut client = api.connect().await;
    client.write_all(b"GET /v1.41/events?since=1795161600 HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    read_until(&mut client, "host-2").await;
    created(&api, &spec("web", "nginx:1")).await;
    let read = read_until(&mut client, "\"web\"").await;
    assert!(read.contains(r#""Action":"create""#), "{read}");
    // Without `since` the past is not told.
    let mut late = api.connect().await;
    late.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    read_until(&mut late, "\r\n\r\n").await;
    cluster.task("web", 1, Slot::Number(1), Some(2), TaskState::Running);
    let read = read_until(&mut late, "web.1").await;
    assert!(!read.contains(r#""service""#) || read.contains(r#""Type":"task""#), "{read}");
    // Whoever falls behind is cut off instead of told half.
    let mut later = cluster.store.snapshot();
    later.version.0 += 10;
    cluster.store.restore(later);
    read_until(&mut late, "").await;
}
