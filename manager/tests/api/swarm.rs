//! `/swarm`, and what each node says when it cannot answer for a cluster.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::object::{Availability, NodeState, Role};
use manager::api::{Fault, LocalState};
use serde_json::json;

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost, UNLOCK_KEY};

const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
const NOT_IN_A_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
const ALREADY_MEMBER: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";

#[tokio::test]
async fn the_cluster_shows_its_tokens_and_never_its_key() {
    let cluster = FakeCluster::new();
    let api = Api::new(FakeHost::manager(&cluster));
    let answer = api.get("/v1.41/swarm").await;
    assert!(!answer.text.contains("PRIVATE-KEY"));
    let swarm = answer.json();
    assert_eq!(swarm["JoinTokens"], json!({"Worker": "SWMTKN-1-worker", "Manager": "SWMTKN-1-manager"}));
    assert_eq!(swarm["Spec"]["CAConfig"]["NodeCertExpiry"], 7_776_000_000_000_000_u64);
    assert_eq!(swarm["DefaultAddrPool"], json!(["10.0.0.0/8"]));
    let info = api.get("/v1.41/info").await;
    assert!(!info.text.contains("SWMTKN") && !info.text.contains("PRIVATE-KEY"));
    assert_eq!(info.json()["Swarm"]["Cluster"]["TLSInfo"], swarm["TLSInfo"]);
}

#[tokio::test]
async fn init_makes_a_cluster_once() {
    let host = FakeHost::outside();
    let api = Api::new(host.clone());
    assert_eq!(api.get("/_ping").await.header("swarm"), "inactive");
    let request = r#"{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"10.0.0.1","SubnetSize":24,"Availability":"drain",
        "Spec":{"Labels":null,"Orchestration":{"TaskHistoryRetentionLimit":9},"Raft":{"ElectionTick":0},"Dispatcher":{},"CAConfig":{}}}"#;
    let answer = api.post("/v1.41/swarm/init", request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json().as_str().map(str::len), Some(25));
    let init = host.inits.lock().unwrap()[0].clone();
    assert_eq!((init.availability, init.spec.task_history_limit), (Availability::Drain, 9));
    assert_eq!(api.get("/_ping").await.header("swarm"), "active/manager");

    assert_eq!(api.post("/swarm/init", "{}").await.error(), (503, ALREADY_MEMBER.into()));
    assert_eq!(api.post("/swarm/init", r#"{"ForceNewCluster":true}"#).await.status, 200);
    let join = api.post("/swarm/join", r#"{"RemoteAddrs":["a:1"],"JoinToken":"t"}"#).await;
    assert_eq!(join.error(), (503, ALREADY_MEMBER.into()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_join_goes_on_behind_its_answer() {
    let host = FakeHost::outside();
    host.slow_join.store(true, Ordering::Relaxed);
    let api = Api::new(host.clone());
    let answer = api.post("/swarm/join", r#"{"RemoteAddrs":["a:1"],"JoinToken":"t"}"#).await;
    let (status, sentence) = answer.error();
    assert_eq!(status, 503);
    assert!(sentence.starts_with("Timeout was reached before node joined."), "{sentence}");
    assert_eq!(api.get("/_ping").await.header("swarm"), "pending");
    host.end_join.notify_one();
    while !host.joined.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(api.get("/_ping").await.header("swarm"), "active/worker");
}

#[tokio::test]
async fn a_join_ends_when_its_client_goes_away() {
    let host = FakeHost::outside();
    host.slow_join.store(true, Ordering::Relaxed);
    let api = Api::new(host.clone());
    let body = r#"{"RemoteAddrs":["a:1"],"JoinToken":"t"}"#;
    let request =
        format!("POST /swarm/join HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = api.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("sent");
    while host.joins.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stream);
    host.end_join.notify_one();
    while !host.joined.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_manager_does_not_leave_by_accident() {
    let cluster = FakeCluster::new();
    let host = FakeHost::manager(&cluster);
    let api = Api::new(host.clone());
    let (status, sentence) = api.post("/swarm/leave", "").await.error();
    assert_eq!(status, 503);
    assert!(sentence.contains("Removing the last manager erases all current state"), "{sentence}");
    cluster.add(2, Role::Manager, "host-2", NodeState::Ready);
    cluster.lose_leader();
    let (_, sentence) = api.post("/swarm/leave", "").await.error();
    assert!(sentence.contains("Removing this node leaves 1 managers out of 2."), "{sentence}");
    assert!(host.left.lock().unwrap().is_empty());
    assert_eq!(api.post("/v1.41/swarm/leave?force=1", "").await.status, 200);
    assert_eq!(*host.left.lock().unwrap(), [true]);
    assert_eq!(api.post("/swarm/leave", "").await.error(), (503, "This node is not part of a swarm".into()));
}

#[tokio::test]
async fn a_worker_leaves_when_asked() {
    let host = FakeHost::worker();
    let api = Api::new(host.clone());
    assert_eq!(api.post("/swarm/leave", "").await.status, 200);
    assert_eq!(*host.left.lock().unwrap(), [false]);
}

#[tokio::test]
async fn an_update_replaces_settings_and_rotates_the_tokens_asked_for() {
    let cluster = FakeCluster::new();
    let api = Api::new(FakeHost::manager(&cluster));
    let swarm = api.get("/swarm").await.json();
    let version = &swarm["Version"]["Index"];
    let mut spec = swarm["Spec"].clone();
    spec["Orchestration"]["TaskHistoryRetentionLimit"] = json!(2);
    spec["Liveness"] = json!("wan");
    let target = format!(
        "/v1.41/swarm/update?rotateManagerToken=false&rotateManagerUnlockKey=false&rotateWorkerToken=true&version={version}"
    );
    assert_eq!(api.post(&target, &spec.to_string()).await.status, 200);
    let settings = cluster.settings();
    assert_eq!(settings.spec.task_history_limit, 2);
    let tokens = [&settings.authority.worker_token, &settings.authority.manager_token];
    assert_eq!(tokens.map(|token| token.reveal()), ["SWMTKN-1-new-1", "SWMTKN-1-manager"]);
    assert_eq!(api.post(&target, &spec.to_string()).await.error(), (500, "update out of sequence".into()));

    // A client that does not know our members sends a spec without them; what it leaves out of Docker's is default.
    let target = format!("/swarm/update?version={}", cluster.settings().meta.version);
    assert_eq!(api.post(&target, "{}").await.status, 200);
    let spec = serde_json::to_value(&cluster.settings().spec).expect("JSON");
    assert_eq!((&spec["task_history_limit"], &spec["liveness"]), (&json!(5), &json!("Wan")));

    #[rustfmt::skip]
    let refusals = [ // query, body, status, start of the sentence
        ("",                                    "{}", 400, "invalid swarm version '': "),
        ("version=x",                           "{}", 400, "invalid swarm version 'x': "),
        ("version=1&rotateWorkerToken=maybe",   "{}", 400, "invalid value for rotateWorkerToken: "),
        ("version=1&rotateManagerUnlockKey=1",  "{}", 400, "cannot rotate because autolock is not turned on"),
        ("version=1", r#"{"Name":"x"}"#,              400, r#"swarm spec must be named "default""#),
        ("version=1", r#"{"CAConfig":{"NodeCertExpiry":1}}"#, 400, "minimum certificate expiry time is: 1h0m0s"),
    ];
    for (query, body, status, start) in refusals {
        let (found, sentence) = api.post(&format!("/swarm/update?{query}"), body).await.error();
        assert!(found == status && sentence.starts_with(start), "{query} {body}: {found} {sentence}");
    }
}

#[tokio::test]
async fn managers_lock_with_a_key_that_changes_on_demand() {
    let cluster = FakeCluster::new();
    let api = Api::new(FakeHost::manager(&cluster));
    let key = async || api.get("/swarm/unlockkey").await.json()["UnlockKey"].as_str().unwrap().to_owned();
    let update = async |query: &str, locks: bool| {
        let target = format!("/swarm/update?version={}{query}", cluster.settings().meta.version);
        let body = json!({"EncryptionConfig": {"AutoLockManagers": locks}});
        assert_eq!(api.post(&target, &body.to_string()).await.status, 200, "{query} {locks}");
        key().await
    };
    let first = update("", true).await;
    assert!(first.starts_with("SWMKEY-1-") && first.len() == 52, "{first}");
    assert_eq!(update("", true).await, first, "only a rotation changes it");
    let second = update("&rotateManagerUnlockKey=true", true).await;
    assert_ne!(second, first);
    assert_eq!(api.get("/swarm").await.json()["Spec"]["EncryptionConfig"]["AutoLockManagers"], true);
    assert!(!api.get("/swarm").await.text.contains("SWMKEY"), "it is shown where it is asked for alone");
    assert_eq!(update("", false).await, "");
    let before = cluster.settings().at_rest.data_key_version;
    assert_eq!(api.post("/swarm/x/rotate-data-keys", "").await.status, 200);
    assert_eq!(cluster.settings().at_rest.data_key_version, before + 1);
}

#[tokio::test]
async fn a_locked_manager_is_opened_by_its_key_alone() {
    let host = FakeHost::outside();
    host.set_state(LocalState::Locked);
    let api = Api::new(host.clone());
    let unlock = async |key: &str| {
        let body = json!({"UnlockKey": key}).to_string();
        api.post("/swarm/unlock", &body).await
    };
    assert_eq!(unlock("x").await.error(), (400, "invalid key string".into()));
    let wrong = UNLOCK_KEY.replace("AAAA", "AAAB");
    assert_eq!(
        unlock(&wrong).await.error(),
        (401, "swarm could not be unlocked: invalid key provided".into())
    );
    let leave = api.post("/swarm/leave", "").await;
    assert_eq!(
        leave.error(),
        (
            503,
            "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."
                .into()
        )
    );
    assert_eq!(api.get("/info").await.json()["Swarm"]["LocalNodeState"], "locked");
    assert_eq!(unlock(UNLOCK_KEY).await.status, 200);
    assert_eq!(api.get("/nodes").await.status, 200);
    assert_eq!(unlock(UNLOCK_KEY).await.error(), (409, "swarm is not locked".into()));
}

#[tokio::test]
async fn there_is_no_unlock_key_and_nothing_to_unlock() {
    let api = Api::new(FakeHost::manager(&FakeCluster::new()));
    assert_eq!(api.get("/swarm/unlockkey").await.json(), json!({"UnlockKey": ""}));
    let answer = api.post("/swarm/unlock", r#"{"UnlockKey":"x"}"#).await;
    assert_eq!(answer.error(), (409, "swarm is not locked".into()));
}

#[tokio::test]
async fn a_node_that_cannot_speak_for_a_cluster_says_why() {
    let outside = Api::new(FakeHost::outside());
    let worker = Api::new(FakeHost::worker());
    let locked = FakeHost::worker();
    locked.set_state(LocalState::Locked);
    let locked = Api::new(locked);
    let asked = ["/swarm", "/nodes", "/nodes/x", "/tasks", "/services", "/swarm/unlockkey", "/swarm/x/raft"];
    for path in asked {
        assert_eq!(outside.get(path).await.error(), (503, NOT_IN_A_SWARM.into()), "{path}");
        let (status, sentence) = worker.get(path).await.error();
        assert_eq!(status, 503);
        assert!(
            sentence.contains("Worker nodes can't be used to view or modify cluster state."),
            "{sentence}"
        );
        let (status, sentence) = locked.get(path).await.error();
        assert_eq!(status, 503);
        assert!(sentence.starts_with("Swarm is encrypted and needs to be unlocked"), "{sentence}");
    }
    assert_eq!(locked.get("/_ping").await.header("swarm"), "locked");
}

#[tokio::test]
async fn without_a_leader_reads_fail_unless_an_old_answer_will_do() {
    let cluster = FakeCluster::new();
    let api = Api::new(FakeHost::manager(&cluster));
    let fresh = api.get("/nodes?consistency=local").await;
    assert_eq!((fresh.header("swarm-consistency"), fresh.header("swarm-stale")), ("local", ""));
    cluster.lose_leader();
    for path in ["/nodes", "/nodes/host-1", "/swarm", "/tasks", "/services"] {
        assert_eq!(api.get(path).await.error(), (500, NO_LEADER.into()), "{path}");
    }
    let update = api.post("/swarm/update?version=1", "{}").await;
    assert_eq!(update.error(), (500, NO_LEADER.into()));
    for path in ["/nodes", "/nodes/host-1", "/swarm", "/tasks"] {
        let answer = api.get(&format!("{path}?consistency=local")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!((answer.header("swarm-consistency"), answer.header("swarm-stale")), ("local", "true"));
    }
    assert_eq!(api.get("/nodes?consistency=x").await.status, 400);
    let info = api.get("/info").await.json();
    assert_eq!(info["Swarm"]["Error"], NO_LEADER);
    assert_eq!(info["Swarm"]["Nodes"], 1);
    assert_eq!(info["Warnings"], json!([format!("WARNING: {NO_LEADER}")]));
}

#[tokio::test]
async fn our_own_paths_answer() {
    let host = FakeHost::manager(&FakeCluster::new());
    let api = Api::new(host.clone());
    assert_eq!(api.get("/swarm/x/raft").await.json()["Term"], 3);
    assert_eq!(api.get("/swarm/x/gossip").await.json()[0]["State"], "alive");
    assert_eq!(api.post("/swarm/x/lab/cut", "").await.status, 200);
    assert_eq!(api.post("/swarm/x/lab/heal", "").await.status, 200);
    assert_eq!(*host.faults.lock().unwrap(), [Fault::Cut, Fault::Heal]);
    assert_eq!(api.post("/swarm/x/lab/cut", "").await.error(), (403, "this node is not in a lab".into()));
    assert_eq!(api.get("/swarm/x/lab/cut").await.error(), (404, "page not found".into()));
    assert_eq!(Api::new(FakeHost::outside()).get("/swarm/x/gossip").await.status, 200);
}
