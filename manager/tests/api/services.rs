//! `/services`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::object::service::{UpdateState, UpdateStatus};
use common::object::{NodeState, Role, ServiceMode, Slot, TaskState};
use http_body_util::Full;
use hyper::Request;
use serde_json::json;

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost, NOW};
use crate::work::{created, encoded, spec, update};

fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Worker, "host-2", NodeState::Ready);
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

#[tokio::test]
async fn a_service_looks_as_docker_shows_it() {
    let (api, cluster) = served();
    let sent = json!({
        "Name": "web", "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "nginx:1", "Init": false, "DNSConfig": {}},
            "Placement": {"Platforms": [{"Architecture": "amd64", "OS": "linux"}]}, "ForceUpdate": 0, "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 2}},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"}]},
    });
    let id = created(&api, &sent).await;
    let answer = api.get("/v1.41/services/web").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(
        answer.json(),
        json!({
            "ID": id, "Version": {"Index": 4}, "CreatedAt": "2026-11-20T08:00:00Z", "UpdatedAt": "2026-11-20T08:00:00Z",
            "Spec": sent, "Endpoint": {"Spec": sent["EndpointSpec"]}, "SpecNumber": 1,
        })
    );
    let with_defaults = api.get("/services/web?insertDefaults=true").await.json();
    assert_eq!(with_defaults["Spec"]["UpdateConfig"]["Monitor"], 5_000_000_000u64);
    assert_eq!(with_defaults["Spec"]["TaskTemplate"]["RestartPolicy"]["Condition"], "any");
    assert_eq!(cluster.service("WEB").name(), "web", "names are one in any case");
}

#[tokio::test]
async fn a_service_is_found_by_id_by_name_and_by_the_start_of_its_id() {
    let (api, _) = served();
    let id = created(&api, &spec("web", "nginx")).await;
    for name in [id.as_str(), "web", "WEB", &id[..12]] {
        assert_eq!(api.get(&format!("/services/{name}")).await.json()["ID"], id, "{name}");
    }
    for name in ["nobody", "we", "zzzzz", "UPPER-1"] {
        assert_eq!(
            api.get(&format!("/services/{name}")).await.error(),
            (404, format!("service {name} not found"))
        );
    }
}

#[tokio::test]
async fn a_service_without_a_name_gets_one() {
    let (api, _) = served();
    let first = created(&api, &spec("", "nginx")).await;
    let second = created(&api, &json!({"TaskTemplate": {"ContainerSpec": {"Image": "nginx"}}})).await;
    let mut names = Vec::new();
    for id in [first, second] {
        let service = api.get(&format!("/services/{id}")).await.json();
        names.push(service["Spec"]["Name"].as_str().expect("a name").to_string());
    }
    assert!(names.iter().all(|name| name.contains('_')), "{names:?}");
}

#[tokio::test]
async fn names_and_ports_are_taken_once() {
    let (api, _) = served();
    let mut web = spec("web", "nginx");
    web["EndpointSpec"] = json!({"Ports": [{"TargetPort": 80, "PublishedPort": 80}]});
    let answer = api.post("/services/create", &web.to_string()).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["Warnings"], json!(null));
    let id = answer.json()["ID"].as_str().expect("an id").to_string();
    let again = api.post("/services/create", &spec("Web", "nginx").to_string()).await.error();
    assert_eq!(again, (409, "name conflicts with an existing object: service Web already exists".into()));
    let mut other = web.clone();
    other["Name"] = json!("other");
    let taken = api.post("/services/create", &other.to_string()).await.error();
    assert_eq!(
        taken,
        (400, format!("port '80' is already in use by service 'web' ({id}) as an ingress port"))
    );
    // The ports stay one's own through an update, and another may have them once the service is gone.
    assert_eq!(update(&api, "web", "", |spec| spec["Labels"] = json!({"a": "b"})).await.status, 200);
    assert_eq!(api.send("DELETE", "/services/web", "").await.status, 200);
    created(&api, &other).await;
}

#[tokio::test]
async fn an_update_replaces_the_spec_at_the_version_that_was_read() {
    let (api, cluster) = served();
    created(&api, &spec("web", "nginx:1")).await;
    let answer = update(&api, "web", "&registryAuthFrom=spec", |spec| {
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("nginx:2");
        spec["Mode"]["Replicated"]["Replicas"] = json!(5);
    })
    .await;
    assert_eq!((answer.status, answer.json()), (200, json!({"Warnings": []})));
    let shown = api.get("/services/web").await.json();
    assert_eq!(shown["Spec"]["Mode"], json!({"Replicated": {"Replicas": 5}}));
    assert_eq!(shown["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]["Image"], "nginx:1");
    assert_eq!((&shown["SpecNumber"], shown.get("UpdateStatus")), (&json!(2), None));

    let body = shown["Spec"].to_string();
    let post = async |query: &str| api.post(&format!("/services/web/update{query}"), &body).await.error();
    assert_eq!(post("?version=1").await, (500, "update out of sequence".into()));
    let (status, sentence) = post("").await;
    assert!(status == 400 && sentence.starts_with("invalid service version '': "), "{sentence}");
    let refused = update(&api, "web", "", |spec| spec["Name"] = json!("other")).await.error();
    assert_eq!(refused, (501, "renaming services is not supported".into()));
    let refused = update(&api, "web", "", |spec| spec["Mode"] = json!({"Global": {}})).await.error();
    assert_eq!(refused, (501, "service mode change is not allowed".into()));
    let refused = update(&api, "web", "&rollback=x", |_| ()).await.error();
    assert_eq!(refused, (400, "unrecognized rollback option x".into()));
    let refused = update(&api, "web", "&registryAuthFrom=x", |_| ()).await.error();
    assert_eq!(refused, (400, "unsupported registryAuthFrom value".into()));
    // An equal spec is an update too.
    assert_eq!(update(&api, "web", "", |_| ()).await.status, 200);
    assert_eq!(cluster.service("web").current.number, 3);
    assert_eq!(
        api.post("/services/nobody/update?version=1", &body).await.error(),
        (404, "service nobody not found".into())
    );
}

#[tokio::test]
async fn a_manager_that_is_behind_and_does_not_know_it_answers_by_what_is_so() {
    let (api, cluster) = served();
    let nothing = cluster.store.snapshot();
    created(&api, &spec("web", "nginx")).await;
    let first = cluster.store.snapshot();
    update(&api, "web", "", |spec| spec["Labels"] = json!({"a": "b"})).await;

    *cluster.outdated.lock().unwrap() = Some(nothing.clone());
    let status = update(&api, "web", "", |spec| spec["Labels"] = json!({"a": "c"})).await.status;
    assert_eq!((status, cluster.service("web").current.number), (200, 3), "it is there");
    let again = api.post("/services/create", &spec("web", "nginx").to_string()).await.error();
    assert_eq!(again.0, 409, "{}", again.1);
    assert_eq!(api.post("/services/create", &spec("db", "redis").to_string()).await.status, 201);

    // The version that it holds is not the newest.
    let version = first.version.0;
    *cluster.outdated.lock().unwrap() = Some(first);
    let stale = {
        let target = format!("/services/web/update?version={version}");
        api.post(&target, &spec("web", "nginx").to_string()).await
    };
    assert_eq!(stale.error(), (500, "update out of sequence".into()));
    assert_eq!(api.send("DELETE", "/services/db", "").await.status, 200);
    *cluster.outdated.lock().unwrap() = None;
    assert_eq!(api.get("/services/db").await.status, 404);
}

#[tokio::test]
async fn what_managers_write_meanwhile_is_in_nobody_s_way() {
    let (api, cluster) = served();
    created(&api, &spec("web", "nginx")).await;
    cluster.conflicts.store(2, Ordering::Relaxed);
    let status = update(&api, "web", "", |spec| spec["Labels"] = json!({"a": "b"})).await.status;
    assert_eq!((status, cluster.service("web").current.number), (200, 2));
}

#[tokio::test]
async fn a_rollback_goes_to_any_spec_that_is_kept() {
    let (api, cluster) = served();
    let id = created(&api, &spec("web", "nginx:1")).await;
    let none = update(&api, "web", "&rollback=previous", |_| ()).await.error();
    assert_eq!(none, (400, format!("service {id} does not have a previous spec")));
    for image in ["nginx:2", "nginx:3"] {
        update(&api, "web", "", |spec| spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!(image)).await;
    }
    let image = || cluster.service("web").spec().task.container.image.clone();
    assert_eq!(update(&api, "web", "&rollback=previous", |_| ()).await.status, 200);
    assert_eq!(image(), "nginx:2");
    let shown = api.get("/services/web").await.json();
    assert_eq!(shown["UpdateStatus"]["State"], "rollback_started");
    assert_eq!(shown["UpdateStatus"]["Message"], "manually requested rollback");
    // A second one returns to where the first came from.
    update(&api, "web", "&rollback=previous", |_| ()).await;
    assert_eq!(image(), "nginx:3");
    assert_eq!(update(&api, "web", "&rollback=1", |_| ()).await.status, 200);
    assert_eq!((image().as_str(), cluster.service("web").current.number), ("nginx:1", 1));
    let missing = update(&api, "web", "&rollback=7", |_| ()).await.error();
    assert_eq!(missing, (400, format!("service {id} does not keep spec 7; earlier specs kept: 2, 3")));
    let same = update(&api, "web", "&rollback=1", |_| ()).await.error();
    assert_eq!(same, (400, format!("service {id} has spec 1 already")));

    let history = api.get("/swarm/x/services/web/history").await.json();
    let rows: Vec<_> = history
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            (
                row["Number"].as_u64(),
                row["Current"].as_bool(),
                row["Previous"].as_bool(),
                row["Changes"][0].as_str(),
            )
        })
        .collect();
    #[rustfmt::skip]
    assert_eq!(rows, [
        (Some(3), Some(false), Some(true),  Some("Image nginx:2 -> nginx:3")),
        (Some(2), Some(false), Some(false), Some("Image nginx:1 -> nginx:2")),
        (Some(1), Some(true),  Some(false), None),
    ]);
}

#[tokio::test]
async fn a_job_runs_anew_with_every_update() {
    let (api, cluster) = served();
    let mut job = spec("job", "alpine");
    job["Mode"] = json!({"ReplicatedJob": {"MaxConcurrent": 2}});
    created(&api, &job).await;
    let shown = api.get("/services/job").await.json();
    assert_eq!(shown["Spec"]["Mode"]["ReplicatedJob"], json!({"MaxConcurrent": 2, "TotalCompletions": 2}));
    assert_eq!(shown["JobStatus"]["JobIteration"]["Index"], 0);
    update(&api, "job", "", |_| ()).await;
    assert_eq!(cluster.service("job").job.expect("a job").iteration, 1);
    update(&api, "job", "&rollback=previous", |_| ()).await;
    assert_eq!(cluster.service("job").job.expect("a job").iteration, 2);
}

#[tokio::test]
async fn a_removed_service_is_out_of_sight_and_its_name_is_free() {
    let (api, cluster) = served();
    let id = created(&api, &spec("web", "nginx")).await;
    cluster.task("web", 1, Slot::Number(1), Some(2), TaskState::Running);
    let answer = api.send("DELETE", "/services/web", "").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert!(cluster.service_by_id(&id).expect("there until its tasks are gone").removed);
    for target in [format!("/services/{id}"), "/services/web".into(), format!("/services/{}", &id[..10])] {
        assert_eq!(api.get(&target).await.status, 404, "{target}");
    }
    assert_eq!(api.get("/services").await.json(), json!([]));
    assert_eq!(api.send("DELETE", "/services/web", "").await.error(), (404, "service web not found".into()));
    // Its tasks are still asked for by its id, while they stop.
    let tasks =
        api.get(&format!("/tasks?filters={}", encoded(&format!(r#"{{"service":["{id}"]}}"#)))).await.json();
    assert_eq!(tasks.as_array().expect("a list").len(), 1);
    created(&api, &spec("web", "nginx")).await;
}

#[tokio::test]
async fn lists_are_filtered_by_what_docker_filters_by() {
    let (api, cluster) = served();
    let mut web = spec("web", "nginx");
    web["Labels"] = json!({"zone": "a"});
    let id = created(&api, &web).await;
    let mut all = spec("all", "nginx");
    all["Mode"] = json!({"Global": {}});
    created(&api, &all).await;
    let mut worker = spec("worker", "");
    worker["TaskTemplate"] = json!({"ContainerSpec": {"Command": ["/bin/true"]}, "Runtime": "process"});
    created(&api, &worker).await;
    #[rustfmt::skip]
    let cases = [ // filters, names
        ("{}".to_string(),                             "all web worker"),
        (r#"{"name":["w"]}"#.into(),                   "web worker"),
        (r#"{"name":{"web":true}}"#.into(),            "web"),
        (r#"{"mode":["global"]}"#.into(),              "all"),
        (r#"{"mode":["replicated-job"]}"#.into(),      ""),
        (r#"{"label":["zone=a"]}"#.into(),             "web"),
        (r#"{"label":["zone=b"]}"#.into(),             ""),
        (r#"{"runtime":["process"]}"#.into(),          "worker"),
        (format!(r#"{{"id":["{}"]}}"#, &id[..20]),     "web"),
    ];
    for (filters, expected) in cases {
        let services = api.get(&format!("/services?filters={}", encoded(&filters))).await.json();
        let mut names: Vec<&str> = services
            .as_array()
            .expect("a list")
            .iter()
            .map(|service| service["Spec"]["Name"].as_str().expect("a name"))
            .collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), expected, "{filters}");
    }
    for (filters, sentence) in
        [(r#"{"x":["a"]}"#, "invalid filter 'x'"), (r#"{"mode":["x"]}"#, "Invalid mode filter: 'x'")]
    {
        let answer = api.get(&format!("/services?filters={}", encoded(filters))).await;
        assert_eq!(answer.error(), (400, sentence.into()));
    }
    cluster.task("web", 1, Slot::Number(1), Some(2), TaskState::Running);
    cluster.task("web", 2, Slot::Number(2), Some(2), TaskState::Failed);
    let services =
        api.get(&format!("/services?status=true&filters={}", encoded(r#"{"name":["web"]}"#))).await.json();
    assert_eq!(
        services[0]["ServiceStatus"],
        json!({"RunningTasks": 1, "DesiredTasks": 1, "CompletedTasks": 0})
    );
}

#[tokio::test]
async fn credentials_are_kept_and_shown_to_nobody() {
    let (api, cluster) = served();
    let post = async |target: &str, body: String, auth: &str| {
        let request = Request::builder()
            .method("POST")
            .uri(target)
            .header("host", "x")
            .header("X-Registry-Auth", auth)
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        api.exchange(request).await
    };
    let auth = |name: &str| {
        cluster.service(name).spec().task.registry_auth.as_ref().map(|secret| secret.reveal().to_string())
    };
    assert_eq!(post("/services/create", spec("web", "nginx").to_string(), "c2VjcmV0").await.status, 201);
    assert_eq!(auth("web").as_deref(), Some("c2VjcmV0"));
    assert!(!api.get("/services/web").await.text.contains("c2VjcmV0"));
    // Kept by an update that brings none, and that of the spec before where asked for.
    update(&api, "web", "", |_| ()).await;
    assert_eq!(auth("web").as_deref(), Some("c2VjcmV0"));
    let version = cluster.service("web").meta.version;
    let body = spec("web", "nginx").to_string();
    post(&format!("/services/web/update?version={version}"), body, "bmV3").await;
    assert_eq!(auth("web").as_deref(), Some("bmV3"));
    update(&api, "web", "&registryAuthFrom=previous-spec", |_| ()).await;
    assert_eq!(auth("web").as_deref(), Some("c2VjcmV0"));
    assert_eq!(post("/services/create", spec("other", "nginx").to_string(), "e30=").await.status, 201);
    assert_eq!(auth("other"), None);
}

#[tokio::test]
async fn an_update_clears_what_is_said_of_the_one_before() {
    let (api, cluster) = served();
    created(&api, &spec("web", "nginx")).await;
    cluster.change_service("web", |service| {
        service.update = Some(UpdateStatus {
            state: UpdateState::Paused,
            started_at: NOW,
            completed_at: None,
            message: "update paused due to failure or early termination of task x".into(),
            slots: 1,
            failed: 1,
            progress_at: NOW,
            rotation: false,
        });
    });
    assert_eq!(api.get("/services/web").await.json()["UpdateStatus"]["State"], "paused");
    let explained = api.get("/swarm/x/services/web/explain").await.json();
    assert!(explained["Summary"][0].as_str().is_some_and(|text| text.contains("paused")), "{explained}");
    update(&api, "web", "", |_| ()).await;
    assert_eq!(cluster.service("web").update, None);
}

#[tokio::test]
async fn rebalance_counts_and_explain_says_where_and_why() {
    let (api, cluster) = served();
    let mut web = spec("web", "nginx");
    web["TaskTemplate"]["Placement"] = json!({"Constraints": ["node.hostname==host-2"]});
    created(&api, &web).await;
    let task = cluster.task("web", 1, Slot::Number(1), None, TaskState::Pending);
    cluster.change_task(task.id, |task| task.status.error = "no suitable node (x)".into());
    assert_eq!(api.post("/swarm/x/services/web/rebalance", "").await.status, 200);
    assert_eq!(cluster.service("web").rebalance, 1);
    let explained = api.get("/swarm/x/services/web/explain").await.json();
    assert_eq!(explained["Waiting"][0]["Reason"], "no suitable node (x)");
    let nodes = explained["Nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 2, "{explained}");
    let host_1 = nodes.iter().find(|node| node["Hostname"] == "host-1").expect("host-1");
    assert_eq!(host_1["Suitable"], false, "{explained}");
}

#[tokio::test]
async fn the_networks_every_node_has_are_known() {
    let (api, _) = served();
    for name in ["host", "none", "bridge"] {
        let network = api.get(&format!("/v1.41/networks/{name}?scope=swarm")).await.json();
        assert_eq!((&network["Name"], &network["Scope"]), (&json!(name), &json!("swarm")));
        let mut web = spec(&format!("web-{name}"), "nginx");
        web["TaskTemplate"]["Networks"] = json!([{"Target": network["Id"]}]);
        created(&api, &web).await;
    }
    let missing = api.get("/networks/mine?scope=swarm").await.error();
    assert_eq!(missing, (404, "network mine not found".into()));
    // Any other scope is the engine's to answer, and there is none.
    assert_eq!(api.get("/networks/host").await.status, 501);
    assert_eq!(api.get("/distribution/nginx/json").await.status, 501);
}

#[tokio::test]
async fn outside_a_cluster_there_are_no_services() {
    let api = Api::new(FakeHost::outside());
    let create = api.post("/services/create", &spec("web", "nginx").to_string()).await;
    for answer in [
        create,
        api.get("/services").await,
        api.get("/tasks").await,
        api.get("/services/x/logs?stdout=1").await,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
}

#[tokio::test]
async fn modes_are_read_as_docker_reads_them() {
    let (api, cluster) = served();
    #[rustfmt::skip]
    let cases = [
        (json!(null),                                             ServiceMode::Replicated { replicas: 1 }),
        (json!({"Replicated": {}}),                               ServiceMode::Replicated { replicas: 1 }),
        (json!({"Replicated": {"Replicas": 0}}),                  ServiceMode::Replicated { replicas: 0 }),
        (json!({"Global": {}}),                                   ServiceMode::Global),
        (json!({"ReplicatedJob": {}}),                            ServiceMode::ReplicatedJob { concurrent_max: 1, completions: 1 }),
        (json!({"ReplicatedJob": {"TotalCompletions": 5}}),       ServiceMode::ReplicatedJob { concurrent_max: 1, completions: 5 }),
        (json!({"GlobalJob": {}}),                                ServiceMode::GlobalJob),
    ];
    for (index, (mode, expected)) in cases.into_iter().enumerate() {
        let mut spec = spec(&format!("s{index}"), "nginx");
        spec["Mode"] = mode.clone();
        created(&api, &spec).await;
        assert_eq!(cluster.service(&format!("s{index}")).spec().mode, expected, "{mode}");
    }
}
