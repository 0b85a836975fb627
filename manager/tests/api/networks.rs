//! `/networks`: the cluster's.

use std::sync::Arc;

use common::object::{Task, TaskId, TaskState};
use manager::store::{Change, Write};
use serde_json::{Value, json};

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost};
use crate::work::{created, encoded, spec};

fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

async fn made(api: &Api, name: &str, more: Value) -> String {
    let mut body = json!({"Name": name, "Driver": "overlay"});
    for (member, value) in more.as_object().expect("members") {
        body[member] = value.clone();
    }
    let answer = api.post("/v1.41/networks/create", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.json()["Warning"], "");
    answer.json()["Id"].as_str().expect("an id").into()
}

#[tokio::test]
async fn a_network_looks_as_docker_shows_it() {
    let (api, _) = served();
    let more = json!({"Attachable": true, "Labels": {"a": "1"}, "Options": {"encrypted": ""}});
    let id = made(&api, "front", more).await;
    let mut document = json!({
        "Name": "front", "Id": id, "Created": "2026-11-20T08:00:00Z", "Scope": "swarm", "Driver": "overlay",
        "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": {}, "Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"}]},
        "Internal": false, "Attachable": true, "Ingress": false, "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": {}, "Options": {"encrypted": ""}, "Labels": {"a": "1"},
    });
    assert_eq!(api.get("/networks").await.json(), json!([document]));
    document["Addresses"] = json!({"Total": 253, "Used": 0});
    for name in [id.as_str(), "front", "FRONT", &id[..10]] {
        for query in ["", "?scope=swarm", "?verbose=true"] {
            let answer = api.get(&format!("/v1.41/networks/{name}{query}")).await;
            assert_eq!((answer.status, answer.json()), (200, document.clone()), "{name}{query}");
        }
    }
    let config = json!([{"Subnet": "10.9.0.0/16", "IPRange": "10.9.1.0/24", "Gateway": "10.9.0.9", "AuxiliaryAddresses": {"r": "10.9.1.1"}}]);
    made(&api, "back", json!({"EnableIPv6": true, "IPAM": {"Config": config}})).await;
    let back = api.get("/networks/back").await.json();
    assert_eq!(back["IPAM"]["Config"][0], config[0]);
    assert!(back["IPAM"]["Config"][1]["Subnet"].as_str().expect("one of IPv6").starts_with("fd"), "{back}");
    assert_eq!(back["Addresses"]["Total"], 255, "the gateway is elsewhere");

    assert_eq!(api.send("DELETE", "/networks/back", "").await.status, 204);
    assert_eq!(api.get("/networks/back").await.error(), (404, "network back not found".into()));
    assert_eq!(
        api.send("DELETE", "/networks/back", "").await.error(),
        (404, "network back not found".into())
    );
}

#[tokio::test]
async fn lists_are_filtered() {
    let (api, _) = served();
    let id = made(&api, "web_front", json!({"Labels": {"a": "1"}})).await;
    made(&api, "web_back", json!({"Labels": {"a": "2"}})).await;
    made(&api, "ingress", json!({"Ingress": true})).await;
    let mut web = spec("web", "nginx");
    web["TaskTemplate"]["Networks"] = json!([{"Target": "web_back"}]);
    created(&api, &web).await;
    #[rustfmt::skip]
    let cases = [ // filters, names
        (json!({}),                            vec!["ingress", "web_back", "web_front"]),
        (json!({"name": ["front"]}),           vec!["web_front"]),
        (json!({"name": {"web": true}}),       vec!["web_back", "web_front"]),
        (json!({"id": [&id[..12]]}),           vec!["web_front"]),
        (json!({"label": ["a=2"]}),            vec!["web_back"]),
        (json!({"driver": ["bridge"]}),        vec![]),
        (json!({"driver": ["overlay"], "scope": ["swarm"], "type": ["custom"]}), vec!["ingress", "web_back", "web_front"]),
        (json!({"scope": ["local"]}),          vec![]),
        (json!({"type": ["builtin"]}),         vec![]),
        (json!({"dangling": ["true"]}),        vec!["web_front"]),
        (json!({"dangling": ["0"]}),           vec!["ingress", "web_back"]),
    ];
    for (filters, names) in cases {
        let list = api.get(&format!("/networks?filters={}", encoded(&filters.to_string()))).await.json();
        let mut found: Vec<&str> =
            list.as_array().expect("a list").iter().filter_map(|one| one["Name"].as_str()).collect();
        found.sort();
        assert_eq!(found, names, "{filters}");
    }
    for (filters, sentence) in [
        (json!({"size": ["1"]}), "invalid filter 'size'"),
        (json!({"type": ["big"]}), "invalid filter: 'type'='big'"),
        (json!({"dangling": ["maybe"]}), "invalid filter 'dangling=maybe'"),
    ] {
        let answer = api.get(&format!("/networks?filters={}", encoded(&filters.to_string()))).await;
        assert_eq!(answer.error(), (400, sentence.into()));
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_docker_s_words() {
    let (api, _) = served();
    made(&api, "front", json!({})).await;
    let config = |config: Value| json!({"Name": "n", "Driver": "overlay", "IPAM": {"Config": [config]}});
    #[rustfmt::skip]
    let cases = [
        (json!({"Name": "front", "Driver": "overlay"}), 409, "network with name front already exists"),
        (json!({"Name": "front", "Driver": "bridge"}),  409, "network with name front already exists"),
        (json!({"Name": "x", "Driver": "macvlan", "Scope": "swarm"}), 501, "driver \"macvlan\" is not supported for a network of the cluster: use overlay"),
        (json!({"Name": "x", "Driver": "bridge", "Ingress": true}),   501, "only overlay driver is currently supported for ingress network"),
        (config(json!({"Subnet": "10.0.0.300/24"})),   400, "ipam configuration: invalid subnet 10.0.0.300/24"),
        (config(json!({"Subnet": "10.0.0.1/24"})),     400, "ipam configuration: invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
        (config(json!({"Subnet": "10.0.0.0/16"})),     403, "Pool overlaps with other one on this address space: 10.0.0.0/16 and 10.0.0.0/24 of network front"),
        (config(json!({"Subnet": "10.7.0.0/24", "Gateway": "10.8.0.1"})), 400, "ipam configuration: subnet 10.7.0.0/24 does not contain gateway 10.8.0.1"),
        (config(json!({"Subnet": "fd00::/64"})),       400, "subnet fd00::/64 is of a family that is not enabled for the network"),
    ];
    for (body, status, sentence) in cases {
        let answer = api.post("/networks/create", &body.to_string()).await;
        assert_eq!(answer.error(), (status, sentence.into()), "{body}");
    }
    assert_eq!(api.post("/networks/create", "").await.error().0, 400);
    let engine = api.post("/networks/create", r#"{"Name":"mine","Driver":"bridge"}"#).await.error();
    assert_eq!(engine, (501, "this node has no Docker Engine to answer POST /networks/create".into()));
}

#[tokio::test]
async fn services_are_on_networks_by_their_ids() {
    let (api, cluster) = served();
    let id = made(&api, "front", json!({})).await;
    made(&api, "ingress", json!({"Ingress": true})).await;
    let on = |target: &str| {
        let mut web = spec("web", "nginx");
        web["TaskTemplate"]["Networks"] = json!([{"Target": target, "Aliases": ["www"]}]);
        web.to_string()
    };
    let refused = async |target: &str| api.post("/services/create", &on(target)).await.error();
    assert_eq!(refused("mine").await, (404, "network mine not found".into()));
    let ingress = "Service cannot be explicitly attached to the ingress network \"ingress\"";
    assert_eq!(refused("ingress").await, (400, ingress.into()));

    let answer = api.post("/services/create", &on("front")).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let warning = answer.json()["Warnings"][0].as_str().expect("a warning").to_owned();
    assert!(warning.starts_with("network front: ") && warning.contains("does not carry"), "{warning}");
    let service = api.get("/services/web").await.json();
    assert_eq!(service["Spec"]["TaskTemplate"]["Networks"], json!([{"Target": id, "Aliases": ["www"]}]));
    let in_use = (400, "network front is in use by service web".to_string());
    assert_eq!(api.send("DELETE", "/networks/front", "").await.error(), in_use);

    // What the leader gives out is shown as Docker shows it.
    let stored = cluster.service("web");
    let network = id.parse().expect("an id");
    let mut with_address = common::object::Service::clone(&stored);
    with_address.virtual_ips = vec![(network, [10, 0, 0, 2].into())];
    let mut task =
        Task::new(TaskId(1 << 127), stored.id, common::object::Slot::Number(1), 1, TaskState::Running);
    task.status.state = TaskState::Running;
    task.addresses = Some([(network, [10, 0, 0, 3].into())].into());
    let mut waiting =
        Task::new(TaskId((1 << 127) + 1), stored.id, common::object::Slot::Number(2), 1, TaskState::Running);
    waiting.status.error = "network front has no free address: all 253 are given out".into();
    let changes = vec![
        Change::Service(Write::update(with_address)),
        Change::Task(Write::Create(task)),
        Change::Task(Write::Create(waiting)),
    ];
    cluster.apply(changes).expect("nothing against it");
    let service = api.get("/services/web").await.json();
    assert_eq!(service["Endpoint"]["VirtualIPs"], json!([{"NetworkID": id, "Addr": "10.0.0.2/24"}]));
    let task = api.get(&format!("/tasks/{}", TaskId(1 << 127))).await.json();
    let attachment = &task["NetworksAttachments"][0];
    assert_eq!(attachment["Addresses"], json!(["10.0.0.3/24"]));
    assert_eq!(
        (&attachment["Network"]["ID"], &attachment["Network"]["Spec"]["Name"]),
        (&json!(id), &json!("front"))
    );
    let shown = api.get("/networks/front?verbose=true").await.json();
    let reason = "network front has no free address: all 253 are given out";
    assert_eq!(shown["Addresses"], json!({"Total": 253, "Used": 2, "Waiting": [reason]}));
    let web = &shown["Services"]["web"];
    assert_eq!((&web["VIP"], &web["Tasks"][0]["EndpointIP"]), (&json!("10.0.0.2"), &json!("10.0.0.3")));
}
