//! `/secrets` and `/configs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost};
use crate::work::{created, encoded, spec, update};

fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

/// Makes a secret or config with the data `hunter2`; its id.
async fn made(api: &Api, kinds: &str, name: &str) -> String {
    let body = json!({"Name": name, "Labels": {"a": "1"}, "Data": "aHVudGVyMg=="}).to_string();
    let answer = api.post(&format!("/v1.41/{kinds}/create"), &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["ID"].as_str().expect("an id").into()
}

#[tokio::test]
async fn they_look_as_docker_shows_them_and_a_secret_s_data_stays() {
    let (api, _) = served();
    for (kinds, shown) in [("secrets", None), ("configs", Some("aHVudGVyMg=="))] {
        let id = made(&api, kinds, "key").await;
        let mut document = json!({
            "ID": id, "Version": {"Index": 3 + u64::from(shown.is_some())},
            "CreatedAt": "2026-11-20T08:00:00Z", "UpdatedAt": "2026-11-20T08:00:00Z",
            "Spec": {"Name": "key", "Labels": {"a": "1"}}, "VersionNumber": 1,
        });
        if let Some(data) = shown {
            document["Spec"]["Data"] = json!(data);
        }
        for name in [id.as_str(), "key", &id[..10]] {
            let answer = api.get(&format!("/v1.41/{kinds}/{name}")).await;
            assert_eq!((answer.status, answer.json()), (200, document.clone()), "{name}");
        }
        assert_eq!(api.get(&format!("/{kinds}")).await.json(), json!([document]));
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let (api, _) = served();
    let id = made(&api, "secrets", "web.key").await;
    made(&api, "secrets", "web.cert").await;
    made(&api, "configs", "web.conf").await;
    let other = json!({"Name": "db", "Data": "eA=="}).to_string();
    assert_eq!(api.post("/secrets/create", &other).await.status, 201);
    #[rustfmt::skip]
    let cases = [ // filters, names
        (json!({}),                            vec!["db", "web.cert", "web.key"]),
        (json!({"name": ["web"]}),             vec!["web.cert", "web.key"]),
        (json!({"name": {"db": true, "web.k": true}}), vec!["db", "web.key"]),
        (json!({"names": ["web"]}),            vec![]),
        (json!({"names": ["web.key", "db"]}),  vec!["db", "web.key"]),
        (json!({"id": [&id[..12]]}),           vec!["web.key"]),
        (json!({"label": ["a"]}),              vec!["web.cert", "web.key"]),
        (json!({"label": ["a=2"]}),            vec![]),
    ];
    for (filters, names) in cases {
        let list = api.get(&format!("/secrets?filters={}", encoded(&filters.to_string()))).await.json();
        let mut found: Vec<&str> =
            list.as_array().expect("a list").iter().filter_map(|one| one["Spec"]["Name"].as_str()).collect();
        found.sort();
        assert_eq!(found, names, "{filters}");
    }
    let unknown = api.get("/secrets?filters=%7B%22driver%22%3A%5B%5D%7D").await.error();
    assert_eq!(unknown, (400, "invalid filter 'driver'".into()));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_docker_s_words() {
    let (api, cluster) = served();
    made(&api, "secrets", "key").await;
    let post = async |path: &str, body: serde_json::Value| api.post(path, &body.to_string()).await.error();
    let again = post("/secrets/create", json!({"Name": "key", "Data": "eA=="})).await;
    assert_eq!(again, (409, "secret key already exists".into()));
    let empty = post("/configs/create", json!({"Name": "c"})).await;
    assert_eq!(empty, (400, "config data must be larger than 0 and less than 1024000 bytes".into()));
    let text = post("/secrets/create", json!({"Name": "s", "Data": "hunter2!"})).await;
    assert_eq!(text, (400, "the data of a secret must be base64".into()));
    assert_eq!(api.get("/configs/key").await.error(), (404, "config key not found".into()));
    assert_eq!(
        api.send("DELETE", "/secrets/nobody", "").await.error(),
        (404, "secret nobody not found".into())
    );

    let version = api.get("/secrets/key").await.json()["Version"]["Index"].clone();
    let change = async |query: &str, body: serde_json::Value| {
        api.post(&format!("/secrets/key/update{query}"), &body.to_string()).await
    };
    let only = (400, "only updates to Labels are allowed".to_string());
    let at = format!("?version={version}");
    assert_eq!(change(&at, json!({"Name": "key", "Data": "eA=="})).await.error(), only);
    assert_eq!(change(&at, json!({"Name": "other"})).await.error(), only);
    let (status, sentence) = change("", json!({"Name": "key"})).await.error();
    assert!(status == 400 && sentence.starts_with("invalid secret version '': "), "{sentence}");
    let labels = json!({"Name": "key", "Labels": {"b": "2"}, "Data": "aHVudGVyMg=="});
    // Somebody else's writes are in nobody's way.
    cluster.conflicts.store(2, Ordering::Relaxed);
    assert_eq!(change(&at, labels.clone()).await.status, 200);
    assert_eq!(change(&at, labels).await.error(), (500, "update out of sequence".into()));
    assert_eq!(api.get("/secrets/key").await.json()["Spec"], json!({"Name": "key", "Labels": {"b": "2"}}));
}

#[tokio::test]
async fn services_name_the_version_they_get_and_hold_on_to_what_they_use() {
    let (api, cluster) = served();
    let id = made(&api, "secrets", "key").await;
    let reference = json!({"SecretID": id, "SecretName": "key", "File": {"Name": "key", "UID": "0", "GID": "0", "Mode": 292}});
    let mut web = spec("web", "nginx");
    web["TaskTemplate"]["ContainerSpec"]["Secrets"] = json!([reference]);
    created(&api, &web).await;
    let path = "/TaskTemplate/ContainerSpec/Secrets/0";
    let shown = async || {
        let shown = api.get("/services/web").await.json();
        shown["Spec"].pointer(path).expect("a reference").clone()
    };
    assert_eq!(shown().await["Version"], 1);
    let changed = update(&api, "web", "", |spec| {
        spec.pointer_mut(path).expect("there")["Refresh"] = json!("SIGHUP");
    })
    .await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    // As Docker's clients send a spec back: without what is ours.
    let sent_back = update(&api, "web", "", |spec| {
        spec["Labels"] = json!({"a": "b"});
        *spec.pointer_mut(path).expect("there") = reference.clone();
    })
    .await;
    assert_eq!(sent_back.status, 200, "{}", sent_back.text);
    assert_eq!((&shown().await["Version"], &shown().await["Refresh"]), (&json!(1), &json!("SIGHUP")));

    let used = api.send("DELETE", "/secrets/key", "").await.error();
    assert_eq!(used, (400, "secret 'key' is in use by the following service: web".into()));
    assert_eq!(
        update(&api, "web", "", |spec| *spec
            .pointer_mut("/TaskTemplate/ContainerSpec/Secrets")
            .expect("there") = json!([]))
        .await
        .status,
        200
    );
    let removed = api.send("DELETE", "/secrets/key", "").await;
    assert_eq!((removed.status, removed.text.as_str()), (204, ""));
    assert_eq!(cluster.store.snapshot().payloads.len(), 0);
    let back = update(&api, "web", "&rollback=previous", |_| ()).await.error();
    assert_eq!(back, (400, "secret not found: key".into()), "the spec before still names it");
    web["Name"] = json!("other");
    let missing = api.post("/services/create", &web.to_string()).await.error();
    assert_eq!(missing, (400, "secret not found: key".into()));
}

#[tokio::test]
async fn what_happens_to_them_is_an_event() {
    let (api, _) = served();
    made(&api, "secrets", "key").await;
    let version = api.get("/secrets/key").await.json()["Version"]["Index"].clone();
    let labels = json!({"Name": "key", "Labels": {}}).to_string();
    assert_eq!(api.post(&format!("/secrets/key/update?version={version}"), &labels).await.status, 200);
    made(&api, "configs", "conf").await;
    assert_eq!(api.send("DELETE", "/secrets/key", "").await.status, 204);
    let told = api.get("/events?since=1&until=1795161600").await;
    let filter = encoded(r#"{"type":["config"]}"#);
    let configs = api.get(&format!("/events?since=1&until=1795161600&filters={filter}")).await;
    let words = |text: &str| -> Vec<String> {
        let events =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an event"));
        let ours = events.filter(|event| event["Type"] == "secret" || event["Type"] == "config");
        ours.map(|event| format!("{} {} {}", event["Type"], event["Action"], event["Actor"]["Attributes"]))
            .collect()
    };
    assert_eq!(
        words(&told.text),
        [
            r#""secret" "create" {"name":"key"}"#,
            r#""secret" "update" {"name":"key"}"#,
            r#""config" "create" {"name":"conf"}"#,
            r#""secret" "remove" {"name":"key"}"#,
        ]
    );
    assert_eq!(words(&configs.text), [r#""config" "create" {"name":"conf"}"#]);
}

#[tokio::test]
async fn a_rotation_rolls_services_and_is_told_in_the_history() {
    let (api, cluster) = served();
    let id = made(&api, "secrets", "key").await;
    let mut web = spec("web", "nginx");
    web["TaskTemplate"]["ContainerSpec"]["Secrets"] = json!([{"SecretID": id, "SecretName": "key", "File": {"Name": "key", "UID": "0", "GID": "0", "Mode": 292}}]);
    let service = created(&api, &web).await;
    cluster.conflicts.store(1, Ordering::Relaxed);
    let rotated = api.post("/swarm/x/secrets/key/rotate", r#"{"Data":"aHVudGVyMw=="}"#).await;
    assert_eq!(rotated.json(), json!({"Version": 2, "Services": [{"ID": service, "Name": "web"}]}));
    let shown = api.get("/services/web").await.json();
    assert_eq!(shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"][0]["Version"], 2);
    assert_eq!(shown["UpdateStatus"]["State"], "updating");
    assert_eq!(cluster.payload("key").newest().data.reveal(), b"hunter3");
    assert_eq!(api.get("/secrets/key").await.json()["VersionNumber"], 2);
    let history = api.get("/v1.41/swarm/x/secrets/key/history").await.json();
    let at = "2026-11-20T08:00:00Z";
    assert_eq!(
        history,
        json!([
            {"Number": 2, "CreatedAt": at, "Newest": true, "Bytes": 7, "Services": ["web"], "Tasks": 0},
            {"Number": 1, "CreatedAt": at, "Newest": false, "Bytes": 7, "Services": [], "Tasks": 0},
        ])
    );
    let told = api.get("/events?since=1&until=1795161600").await.text;
    assert!(told.contains(r#""version.new":"2""#) && !told.contains("aHVudGVy"), "{told}");
    let nobody = api.post("/swarm/x/configs/key/rotate", r#"{"Data":"eA=="}"#).await.error();
    assert_eq!(nobody, (404, "config key not found".into()));
    let empty = api.post("/swarm/x/secrets/key/rotate", "{}").await.error();
    assert_eq!(empty, (400, "secret data must be larger than 0 and less than 512000 bytes".into()));
}
