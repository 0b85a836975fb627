//! What commands ask the daemon.

use serde_json::{Value, json};

use crate::fake_api::{FakeApi, Ran, Routes};
use crate::fixtures::{MANAGER, WORKER, cluster, healthy, worker};

/// Runs a command that succeeds; returns its request number `index`, head and body.
#[track_caller]
fn request(api: &FakeApi, arguments: &[&str], index: usize) -> (String, Value) {
    let before = api.requests().len();
    let ran = api.run(arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    let request = api.requests()[before..][index].clone();
    match request.split_once(" {") {
        Some((head, body)) => (head.into(), serde_json::from_str(&format!("{{{body}")).expect("JSON")),
        None => (request, Value::Null),
    }
}

#[test]
fn init_and_join_send_dockers_bodies() {
    let api = healthy().serve();
    let arguments = ["init", "--cert-expiry", "3h", "--listen-addr", "eth0", "--liveness", "wan"];
    let (head, body) = request(&api, &arguments, 1);
    assert_eq!(head, "POST /swarm/init");
    assert_eq!(
        body,
        json!({
            "ListenAddr": "eth0:2377", "AdvertiseAddr": "", "DataPathAddr": "", "DataPathPort": 0, "DefaultAddrPool": [],
            "SubnetSize": 24, "ForceNewCluster": false, "AutoLockManagers": false, "Availability": "",
            "Spec": {
                "Labels": null, "Orchestration": {}, "Raft": {"ElectionTick": 0, "HeartbeatTick": 0}, "Dispatcher": {},
                "CAConfig": {"NodeCertExpiry": 10_800_000_000_000_i64}, "TaskDefaults": {},
                "EncryptionConfig": {"AutoLockManagers": false}, "Liveness": "wan",
            },
        })
    );
    let (head, body) = request(&api, &["join", "--token", "T", "--availability", "drain", "m:2377"], 1);
    assert_eq!(head, "POST /swarm/join");
    assert_eq!(
        body,
        json!({
            "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "", "DataPathAddr": "", "RemoteAddrs": ["m:2377"],
            "JoinToken": "T", "Availability": "drain",
        })
    );
    assert_eq!(request(&api, &["leave", "--force"], 0).0, "POST /swarm/leave?force=1");
}

/// What this program does not know of a spec survives.
#[test]
fn updates_send_the_whole_spec() {
    let api = healthy().serve();
    let (head, body) = request(&api, &["update", "--task-history-limit", "2"], 1);
    let query = "rotateManagerToken=false&rotateManagerUnlockKey=false&rotateWorkerToken=false&version=10";
    assert_eq!(head, format!("POST /swarm/update?{query}"));
    let mut expected = cluster()["Spec"].clone();
    expected["Orchestration"]["TaskHistoryRetentionLimit"] = 2.into();
    assert_eq!(body, expected);

    let (head, body) = request(&api, &["join-token", "--rotate", "manager"], 1);
    assert!(head.contains("rotateManagerToken=true") && head.contains("rotateWorkerToken=false"), "{head}");
    assert_eq!(body, cluster()["Spec"]);

    let arguments =
        ["node", "update", "--label-rm", "disk", "--label-add", "a=b", "--availability", "active", "node10"];
    let (head, body) = request(&api, &arguments, 1);
    assert_eq!(head, format!("POST /nodes/{WORKER}/update?version=11"));
    let labels = json!({"a": "b", "bare": ""});
    assert_eq!(
        body,
        json!({"Labels": labels, "Role": "worker", "Availability": "active", "FromTheFuture": 1})
    );
}

#[test]
fn filters_are_sent_as_docker_sends_them() {
    let api = healthy().serve();
    let escaped = |json: &str| {
        let escapes = [('{', "%7B"), ('}', "%7D"), ('"', "%22"), (':', "%3A"), (',', "%2C")];
        escapes.iter().fold(json.to_owned(), |text, (from, to)| text.replace(*from, to))
    };
    let (head, _) =
        request(&api, &["node", "ls", "-f", "role=worker", "--filter", "role=manager", "-f", "name=x"], 0);
    let filters = r#"{"name":{"x":true},"role":{"manager":true,"worker":true}}"#;
    assert_eq!(head, format!("GET /nodes?filters={}", escaped(filters)));

    let (head, _) = request(&api, &["node", "ps", "self"], 2);
    let filters = format!(r#"{{"node":{{"{MANAGER}":true}}}}"#);
    assert_eq!(head, format!("GET /tasks?filters={}", escaped(&filters)));
}

#[test]
fn all_arguments_are_worked_on() {
    let api = healthy()
        .on("DELETE /nodes/a", 200, "")
        .error("DELETE /nodes/b", 400, "node b is not down and can't be removed")
        .on("DELETE /nodes/c", 200, "")
        .error("DELETE /nodes/gone", 404, "node gone not found")
        .serve();
    let ran = api.run(&["node", "rm", "gone", "a", "b", "c"]);
    let stderr = "\
Error response from daemon: node gone not found
Error response from daemon: node b is not down and can't be removed
";
    assert_eq!(ran, Ran { code: 1, stdout: "a\nc\n".into(), stderr: stderr.into() });
    assert_eq!(request(&api, &["node", "rm", "--force", "a"], 0).0, "DELETE /nodes/a?force=1");

    let ran = api.run(&["node", "promote", "gone", "node10"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, "Node node10 promoted to a manager in the swarm.\n"));
    let ran = api.run(&["node", "update", "--label-rm", "nope", "node10"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "key nope doesn't exist in node's labels\n"));
}

#[test]
fn an_edit_is_made_again_on_what_is_there_now() {
    let mut newer = worker();
    newer["Version"]["Index"] = 20.into();
    newer["Spec"]["Availability"] = "active".into();
    let update = "POST /nodes/aaaaaaaaaaaaaaaaaaaaaaaa1/update";
    let arguments = ["node", "update", "--role", "manager", "node10"];
    let api = Routes::default()
        .on("GET /nodes/node10", 200, worker())
        .on("GET /nodes/node10", 200, newer)
        .error(update, 500, "update out of sequence")
        .on(update, 200, "")
        .serve();
    let (head, body) = request(&api, &arguments, 3);
    assert_eq!(head, format!("{update}?version=20"));
    assert_eq!((&body["Availability"], &body["Role"]), (&json!("active"), &json!("manager")));

    let api = Routes::default()
        .on("GET /nodes/node10", 200, worker())
        .error(update, 500, "update out of sequence")
        .serve();
    let ran = api.run(&arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (6, "Error response from daemon: update out of sequence\n"));
    assert_eq!(api.requests().len(), 8, "bounded attempts: {:?}", api.requests());
}
