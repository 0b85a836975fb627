//! What of a locked manager's key may lie on its disk unlocked: nothing where the lock was there first, and nothing for
//! long where it came later, whenever the process is killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::engine_api::swarm::{InitRequest, JoinRequest};
use common::identity::{Stored, UnlockKey, file as identity_file};
use common::random::{Random, SeededRandom};
use harness::cluster::{Cluster, SOON, options};
use harness::node::Node;
use serde_json::Value;

use super::{identity, kept_with, key, reaches, state, unlock};

/// Reads these nodes' identity files all the time, until the test has what it wants; gives what of a manager was seen
/// there with its key unlocked.
async fn watched<T>(cluster: &Cluster, nodes: &[usize], story: impl Future<Output = T>) -> (T, Vec<String>) {
    let paths: Vec<PathBuf> =
        nodes.iter().map(|index| cluster.nodes[*index].state_folder().join("identity.pem")).collect();
    let done = Arc::new(AtomicBool::new(false));
    let until = done.clone();
    let watch = std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        let mut looks = 0;
        while !until.load(Ordering::Relaxed) {
            looks += 1;
            for path in &paths {
                let text = fs::read_to_string(path).unwrap_or_default();
                // What only a manager's file has.
                if text.contains("# version of the unlock key") && text.contains("PRIVATE KEY") {
                    seen.insert(path.display().to_string());
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(looks > 10, "somebody looked");
        seen.into_iter().collect()
    });
    let outcome = story.await;
    done.store(true, Ordering::Relaxed);
    (outcome, watch.join().unwrap())
}

#[tokio::test]
async fn who_becomes_a_manager_of_a_locked_cluster_never_lies_there_unlocked() {
    let mut cluster = Cluster::of_strangers(options(1, 2)).await.unwrap();
    let (listen_addr, advertise_addr) = cluster.nodes[0].listen_and_advertise();
    let request = InitRequest { listen_addr, advertise_addr, auto_lock_managers: true, ..Default::default() };
    cluster.init_with(0, &request).await.unwrap();
    let unlock_key = key(&cluster, 0).await;
    let tokens = cluster.client(0).swarm().await.unwrap().join_tokens.unwrap();
    let dropped = async |cluster: &Cluster, index: usize| {
        let gone = async || match cluster.nodes[index].state_folder().join("raft").exists() {
            true => Err("it has its log".into()),
            false => Ok(()),
        };
        cluster.wait_until("it is no manager any more", SOON, gone).await.unwrap();
    };
    cluster.join_with(2, 0, &tokens.worker).await.unwrap();
    // By token, by promotion, and once more after a demotion.
    let joins = [cluster.nodes[1].listen_and_advertise(), cluster.nodes[0].listen_and_advertise()];
    let [(listen_addr, advertise_addr), (_, remote)] = joins;
    let join = JoinRequest {
        listen_addr,
        advertise_addr,
        remote_addrs: vec![remote],
        join_token: tokens.manager.clone(),
        ..Default::default()
    };
    let worker = cluster.id(2).to_owned();
    let story = async {
        cluster.client(1).join(&join).await.unwrap();
        kept_with(&cluster, &[1], 0, 1).await;
        for _ in 0..2 {
            cluster.client(0).set_role(&worker, "manager").await.unwrap();
            kept_with(&cluster, &[2], 0, 1).await;
            cluster.client(0).set_role(&worker, "worker").await.unwrap();
            dropped(&cluster, 2).await;
        }
        cluster.client(0).set_role(&worker, "manager").await.unwrap();
        kept_with(&cluster, &[2], 0, 1).await;
    };
    let ((), seen) = watched(&cluster, &[1, 2], story).await;
    assert_eq!(seen, Vec::<String>::new());
    for index in [1, 2] {
        let late = cluster.nodes[index].log().contains("this manager's unlock key changed");
        assert!(!late, "{} was locked only once it knew the cluster", cluster.nodes[index].name());
        cluster.nodes[index].restart().await.unwrap();
        reaches(&cluster, index, "locked").await;
        assert_eq!(unlock(&cluster, index, &unlock_key).await.0, 200);
        reaches(&cluster, index, "active").await;
    }
    for index in [1, 2] {
        kept_with(&cluster, &[index], 0, 1).await;
    }
}

/// The node's certificate, which is another one after each renewal.
fn certificate(node: &Node) -> String {
    let text = identity(node);
    let (_, rest) = text.split_once("# node certificate").unwrap();
    rest.split_once("# root certificate").unwrap().0.to_owned()
}

async fn renewed(cluster: &Cluster, before: &str) {
    let is_new = async || {
        let (now, text) = (certificate(&cluster.nodes[0]), identity(&cluster.nodes[0]));
        match now != before && !text.contains("PRIVATE KEY") && !text.contains("was here unlocked") {
            true => Ok(()),
            false => Err("the key that lay there before".into()),
        }
    };
    cluster.wait_until("a key that was never on this disk in clear", SOON, is_new).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_a_crash_interrupted_is_finished_by_the_next_start() {
    let mut cluster = Cluster::new(1, 0).await.unwrap();
    let set = async |cluster: &Cluster, locks: bool| {
        let swarm: Value = cluster.client(0).get("/swarm").await.unwrap().json().unwrap();
        let mut spec = swarm["Spec"].clone();
        spec["EncryptionConfig"]["AutoLockManagers"] = locks.into();
        let path = format!("/swarm/update?version={}", swarm["Version"]["Index"]);
        cluster.client(0).post(&path, &spec).await.unwrap().ok().unwrap();
    };
    let mut random = SeededRandom::new(11, "moments");
    let mut interrupted = 0;
    for round in 1..=8 {
        let before = certificate(&cluster.nodes[0]);
        set(&cluster, true).await;
        let unlock_key = key(&cluster, 0).await;
        tokio::time::sleep(Duration::from_micros(random.next_u64() % 20_000)).await;
        cluster.nodes[0].kill();
        interrupted += usize::from(certificate(&cluster.nodes[0]) == before);
        cluster.nodes[0].launch().await.unwrap();
        let started = async || match state(&cluster, 0).await {
            state if state == "locked" || state == "active" => Ok(state),
            state => Err(state),
        };
        if cluster.wait_until("it has looked at its disk", SOON, started).await.unwrap() == "locked" {
            assert_eq!(unlock(&cluster, 0, &unlock_key).await.0, 200);
        }
        kept_with(&cluster, &[0], round, 2 * round - 1).await;
        renewed(&cluster, &before).await;
        set(&cluster, false).await;
        kept_with(&cluster, &[0], round, 2 * round).await;
    }
    eprintln!("killed in the middle: {interrupted} of 8");

    // The same without chance: as a crash right after the lock leaves it.
    set(&cluster, true).await;
    let unlock_key = key(&cluster, 0).await;
    kept_with(&cluster, &[0], 9, 17).await;
    cluster.nodes[0].stop().await.unwrap();
    let path = cluster.nodes[0].state_folder().join("identity.pem");
    let Some(Stored::Locked(locked)) = identity_file::load(&path).unwrap() else {
        panic!("it is not locked")
    };
    let mut stored = locked.unlock(&UnlockKey::parse(&unlock_key).unwrap()).unwrap();
    stored.exposed = true;
    identity_file::save(&path, &stored).unwrap();
    let before = certificate(&cluster.nodes[0]);
    cluster.nodes[0].launch().await.unwrap();
    reaches(&cluster, 0, "locked").await;
    assert_eq!(certificate(&cluster.nodes[0]), before, "not without the key that people hold");
    assert_eq!(unlock(&cluster, 0, &unlock_key).await.0, 200);
    renewed(&cluster, &before).await;
}
