//! Join tokens and unlock keys that change while nodes are away, in a cluster of five whose tasks notice nothing of it.
//!
//! Not here: roots and certificates that take each other's place (`certificates`), values of secrets (`secrets`).

use std::collections::BTreeMap;

use harness::client::Client;
use harness::cluster::{Cluster, SOON};
use harness::commands::swarm;
use harness::node::NodeOptions;
use harness::services::Runtime;
use serde_json::{Value, json};

/// What `swarm` prints on one manager, where it succeeds.
async fn ok(cluster: &Cluster, index: usize, arguments: &[&str]) -> String {
    let output = swarm(&cluster.nodes[index], arguments, "").await.unwrap();
    assert_eq!(output.code, Some(0), "swarm {arguments:?}: {output:?}");
    output.stdout
}

/// The tasks of the service, and the processes they are.
async fn tasks(cluster: &Cluster) -> BTreeMap<String, i64> {
    let tasks = cluster.running("web", 3, SOON).await.unwrap();
    tasks.into_iter().map(|task| (task.id, task.pid)).collect()
}

async fn unlock_key(client: &Client) -> String {
    let answer: Value = client.get("/swarm/unlockkey").await.unwrap().json().unwrap();
    answer["UnlockKey"].as_str().unwrap().to_owned()
}

/// The status of the answer.
async fn unlock(client: &Client, key: &str) -> u16 {
    client.post("/swarm/unlock", &json!({"UnlockKey": key})).await.unwrap().status
}

async fn is_locked(cluster: &Cluster, index: usize) {
    let state = async || match cluster.client(index).info().await.map_err(|error| error.to_string())? {
        info if info.local_node_state == "locked" => Ok(()),
        info => Err(info.local_node_state),
    };
    cluster.wait_until("it waits for its key", SOON, state).await.unwrap();
}

/// Waits until these managers keep their data under the unlock key of this version.
async fn locked_with(cluster: &Cluster, managers: &[usize], version: u64) {
    for index in managers {
        let what = format!("{} has unlock key {version}", cluster.nodes[*index].name());
        let seen = async || {
            let raft = cluster.client(*index).raft().await.map_err(|error| format!("{error:#}"))?;
            let found = raft.unlock_key_version;
            if found == version { Ok(()) } else { Err(found.to_string()) }
        };
        cluster.wait_until(&what, SOON, seen).await.unwrap();
    }
}

#[tokio::test]
async fn tokens_and_unlock_keys_change_while_nodes_are_away() {
    let mut cluster = Cluster::new(3, 2).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    let (worker, manager, other) = (4, (leader + 1) % 3, (leader + 2) % 3);
    let client = cluster.client(leader);
    let elsewhere = [worker, manager].map(|index| format!("node.id!={}", cluster.id(index)));
    let service = Runtime::Process
        .service("web", 3)
        .with("TaskTemplate.Placement", json!({ "Constraints": elsewhere }));
    client.create_service(&service).await.unwrap();
    let before = tasks(&cluster).await;

    // Tokens, while a worker is away.
    cluster.nodes[worker].kill();
    cluster.node_state(worker, "down", SOON).await.unwrap();
    let old = client.swarm().await.unwrap().join_tokens.unwrap();
    let said = ok(&cluster, other, &["join-token", "--rotate", "worker"]).await;
    let first = client.swarm().await.unwrap().join_tokens.unwrap();
    assert!(said.starts_with("Successfully rotated worker join token.") && said.contains(&first.worker));
    assert!(first.worker != old.worker && first.manager == old.manager, "each has its own");
    ok(&cluster, leader, &["join-token", "--rotate", "manager"]).await;
    let new = client.swarm().await.unwrap().join_tokens.unwrap();
    assert!(new.worker == first.worker && new.manager != old.manager);
    let added = [cluster.add(NodeOptions::named("w3")).await, cluster.add(NodeOptions::named("m4")).await];
    let [third, fourth] = added.map(Result::unwrap);
    for token in [&old.worker, &old.manager] {
        let refused = cluster.join_with(third, leader, token).await.unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.contains("A valid join token is necessary to join this cluster"), "{refused}");
    }
    assert_eq!(cluster.client(third).info().await.unwrap().local_node_state, "inactive");
    assert_eq!(client.nodes().await.unwrap().len(), 5, "a refused node leaves no trace");
    cluster.join_with(third, leader, &new.worker).await.unwrap();
    cluster.join_with(fourth, leader, &new.manager).await.unwrap();
    // Who is a member needs no token.
    cluster.nodes[worker].launch().await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    assert_eq!(cluster.client(worker).info().await.unwrap().node_id, cluster.id(worker));
    assert!(client.node(cluster.id(fourth)).await.unwrap().manager_status.is_some());
    assert_eq!(client.nodes().await.unwrap().len(), 7);

    // Unlock keys, while a manager is away for two of them.
    ok(&cluster, leader, &["update", "--autolock=true"]).await;
    let here = [leader, other, fourth];
    locked_with(&cluster, &[manager, leader, other, fourth], 1).await;
    let mut keys = vec![unlock_key(&client).await];
    cluster.nodes[manager].kill();
    cluster.node_state(manager, "down", SOON).await.unwrap();
    for version in [2, 3] {
        ok(&cluster, other, &["unlock-key", "--rotate"]).await;
        keys.push(unlock_key(&client).await);
        locked_with(&cluster, &here, version).await;
    }
    // Its disk is under the key that it went with; with the first look at the cluster it takes up the newest.
    cluster.nodes[manager].launch().await.unwrap();
    is_locked(&cluster, manager).await;
    let back = cluster.client(manager);
    for (key, status) in [(&keys[1], 401), (&keys[2], 401), (&keys[0], 200)] {
        assert_eq!(unlock(&back, key).await, status);
    }
    locked_with(&cluster, &[manager], 3).await;
    cluster.all_ready(SOON).await.unwrap();
    assert_eq!(back.info().await.unwrap().node_id, cluster.id(manager), "it is back as itself");
    // From here on that one alone counts, on whoever was away and on whoever was not.
    for index in [manager, fourth] {
        cluster.nodes[index].restart().await.unwrap();
        is_locked(&cluster, index).await;
        for (key, status) in [(&keys[0], 401), (&keys[1], 401), (&keys[2], 200)] {
            assert_eq!(unlock(&cluster.client(index), key).await, status);
        }
    }
    cluster.all_ready(SOON).await.unwrap();
    assert_eq!(tasks(&cluster).await, before, "the same processes all the while");
}
