//! Secrets and configs on real daemons, in processes and in containers: what the tasks find, and that the value is
//! nowhere else: not on a disk, in a log, in what anybody is shown, nor on a node that has no use for it. `drivers`: where
//! somebody outside has the value; `traffic`: a new value while clients ask for it.

mod secrets {
    mod drivers;
    pub mod provider;
    pub mod search;
    mod traffic;
}

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::time::{Clock, SystemClock};
use harness::client::{Answer, Client};
use harness::cluster::{Cluster, SOON, options};
use harness::services::{Runtime, Spec, Task};
use harness::wait::wait_until;
use nix::sys::signal::Signal;
use secrets::search::{in_files, in_memory};
use serde_json::{Value, json};

/// A value that nobody else has.
fn value() -> String {
    let id = common::object::TaskId::generate(&mut common::random::SystemRandom);
    format!("hunter2-{id}")
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { letter as char } else { '=' });
        }
    }
    out
}

/// Makes a secret or config, and gives its id.
async fn create(client: &Client, kind: &str, name: &str, data: &str, more: Value) -> String {
    let mut body = json!({ "Name": name, "Data": base64(data) });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    let answer: Value = client.post(&format!("/{kind}s/create"), &body).await.unwrap().json().unwrap();
    answer["ID"].as_str().expect("an ID").to_owned()
}

fn secret(id: &str, name: &str, target: &str, owner: (u32, u32), mode: u32) -> Value {
    let (uid, gid) = (owner.0.to_string(), owner.1.to_string());
    json!({ "SecretID": id, "SecretName": name, "File": { "Name": target, "UID": uid, "GID": gid, "Mode": mode } })
}

fn config(id: &str, name: &str, target: &str) -> Value {
    json!({ "ConfigID": id, "ConfigName": name, "File": { "Name": target, "UID": "0", "GID": "0", "Mode": 0o444 } })
}

fn on(spec: Spec, node: &str) -> Spec {
    spec.with("TaskTemplate.Placement", json!({ "Constraints": [format!("node.id=={node}")] }))
}

/// The host's path of a task's secret.
fn path(cluster: &Cluster, task: &Task, name: &str) -> PathBuf {
    let node = cluster.index_of(&task.node).expect("a node of ours");
    cluster.nodes[node].secrets_folder().join(&task.id).join(name)
}

/// What a task sees at a path, by its process: the whole file, and its owner and mode.
fn seen(task: &Task, inside: &str) -> (String, (u32, u32, u32)) {
    let path =
        Path::new("/proc").join(task.pid.to_string()).join("root").join(inside.trim_start_matches('/'));
    let found = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (std::fs::read_to_string(&path).unwrap(), (found.uid(), found.gid(), found.mode() & 0o7777))
}

/// Where the task finds its secrets and its configs.
fn places(runtime: Runtime, task: &Task) -> [String; 2] {
    if runtime == Runtime::Docker {
        return ["/run/secrets".into(), String::new()];
    }
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", task.pid)).unwrap();
    ["SWARM_SECRETS_DIR=", "SWARM_CONFIGS_DIR="].map(|name| {
        let entry = environment.split('\0').find_map(|entry| entry.strip_prefix(name));
        entry.expect("the variable is there").to_owned()
    })
}

async fn are_given_and_nowhere_else(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) || !nix::unistd::geteuid().is_root() {
        return;
    }
    let cluster = Cluster::with_options(1, options(1, 2)).await.unwrap();
    let (client, value, setting) = (cluster.client(0), value(), value());
    let key = create(&client, "secret", "key", &value, json!({})).await;
    let template = format!("{{{{.Service.Name}}}}/{{{{.Task.Slot}}}} {{{{env \"COLOUR\"}}}} {setting}\n");
    let golang = json!({ "Templating": { "Name": "golang" } });
    let app = create(&client, "config", "app", &template, golang).await;
    let user = (1234, 5678);
    let spec = on(runtime.service("web", 1), cluster.id(1))
        .env(&["COLOUR=blue"])
        .with("TaskTemplate.ContainerSpec.User", json!("1234:5678"))
        .with("TaskTemplate.ContainerSpec.Secrets", json!([secret(&key, "key", "a/key", user, 0o400)]))
        .with("TaskTemplate.ContainerSpec.Configs", json!([config(&app, "app", "app.conf")]));
    let spec = if runtime == Runtime::Docker {
        spec.with("TaskTemplate.ContainerSpec.ReadOnly", json!(true))
    } else {
        spec
    };
    client.create_service(&spec).await.unwrap();
    let tasks = cluster.running("web", 1, SOON).await.unwrap();
    let task = &tasks[0];
    let [secrets, configs] = places(runtime, task);
    assert_eq!(seen(task, &format!("{secrets}/a/key")), (value.clone(), (1234, 5678, 0o400)));
    let app = format!("web/1 blue {setting}\n");
    assert_eq!(seen(task, &format!("{configs}/app.conf")), (app, (0, 0, 0o444)));
    if runtime == Runtime::Docker {
        let read = |user: &str| {
            let arguments = ["exec", "-u", user, &task.container, "cat", "/run/secrets/a/key"];
            Command::new("docker").args(arguments).output().unwrap()
        };
        assert_eq!(read("1234:5678").stdout, value.as_bytes());
        assert!(!read("4321").status.success(), "it is not another user's");
        let inspected = Command::new("docker").args(["inspect", &task.container]).output().unwrap();
        assert!(inspected.status.success() && !contains(&inspected.stdout, &value));
        let root = Command::new("docker").args(["info", "-f", "{{.DockerRootDir}}"]).output().unwrap();
        let root = String::from_utf8(root.stdout).unwrap();
        for folder in [root.trim(), "/var/lib/containerd"] {
            for value in [&value, &setting] {
                assert_eq!(in_files(Path::new(folder), value), Vec::<PathBuf>::new());
            }
        }
    } else {
        let stranger =
            Command::new("cat").arg(format!("{secrets}/a/key")).uid(4321).gid(4321).output().unwrap();
        assert!(!stranger.status.success(), "it is not another user's");
        assert!(!in_memory(parent(task.pid), &value).unwrap(), "its supervisor never has it");
    }

    // Its node has it, and that this can be seen is what makes the rest mean something; a manager has all there are.
    let pid = |index: usize| cluster.nodes[index].id().expect("it runs");
    assert!(in_memory(pid(0), &value).unwrap(), "the store is in a manager's memory");
    assert!(in_memory(pid(1), &value).unwrap(), "the node that runs the task has the value");
    assert!(!in_memory(pid(2), &value).unwrap(), "the node that does not has never had it");
    refusals_are_silent(&client, &value).await;
    nowhere_else(&cluster, &value).await;
    in_no_file(&cluster, &setting);

    client.remove_service("web").await.unwrap();
    let (folder, gone) = (path(&cluster, task, ""), "the files go with the task");
    let is_gone = async || if folder.exists() { Err(folder.display().to_string()) } else { Ok(()) };
    wait_until(gone, SOON, is_gone).await.unwrap();
    for value in [&value, &setting] {
        let forgotten = async || match in_memory(pid(1), value) {
            Ok(false) => Ok(()),
            found => Err(format!("{found:?}")),
        };
        wait_until("the node's memory is free of it", SOON, forgotten).await.unwrap();
    }
    assert!(!in_memory(pid(2), &value).unwrap(), "nor has it come by now to the node that had no task");
    nowhere_else(&cluster, &value).await;
    in_no_file(&cluster, &setting);
}

/// The process that has started this one.
fn parent(pid: i64) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").expect("the name stands in brackets");
    rest.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("the second after the name")
}

fn contains(bytes: &[u8], value: &str) -> bool {
    bytes.windows(value.len()).any(|part| part == value.as_bytes())
}

/// Requests with the value in them that are refused: the answer does not repeat it.
async fn refusals_are_silent(client: &Client, value: &str) {
    let data = base64(value);
    #[rustfmt::skip]
    let refused = [ // path, body
        ("/secrets/create", json!({ "Name": "key", "Data": data })),
        ("/secrets/create", json!({ "Name": "not a name", "Data": data })),
        ("/secrets/create", json!({ "Name": "raw", "Data": value })),
        ("/secrets/create", json!({ "Name": "wrong", "Data": [value] })),
        ("/secrets/create", json!({ "Name": "wrong", "Data": data, "Driver": { "Name": "none" } })),
        ("/secrets/key/update?version=1", json!({ "Name": "key", "Data": data })),
        ("/swarm/x/secrets/none/rotate", json!({ "Data": data })),
        ("/swarm/x/secrets/key/rotate", json!({ "Data": value })),
        ("/services/create", json!({ "Name": "x", "Secrets": value })),
    ];
    for (path, body) in refused {
        let answer = client.post(path, &body).await.unwrap();
        assert!(!answer.is_ok(), "{path} {}", answer.status);
        let said = answer.message();
        assert!(!said.contains(value) && !said.contains(&data), "{path}: {said}");
    }
}

/// Looks for the value in all that a node writes, and in the machine's journal.
fn in_no_file(cluster: &Cluster, value: &str) {
    for form in [value, &base64(value)] {
        for node in &cluster.nodes {
            assert_eq!(in_files(node.folder(), form), Vec::<PathBuf>::new(), "{}", node.name());
            assert!(!node.log().contains(form), "the log of {}", node.name());
        }
        for journal in ["/var/log/journal", "/run/log/journal"] {
            assert_eq!(in_files(Path::new(journal), form), Vec::<PathBuf>::new());
        }
    }
}

/// Looks for the value in all that a node writes and says.
async fn nowhere_else(cluster: &Cluster, value: &str) {
    in_no_file(cluster, value);
    let client = cluster.client(0);
    let until = SystemClock.now().0 as f64 / 1e9;
    let events = format!("/events?since=1&until={until}");
    for path in [
        "/secrets",
        "/secrets/key",
        "/swarm/x/secrets/key/history",
        "/services",
        "/services/web",
        "/services/web/logs?stdout=1&stderr=1",
        "/swarm/x/services/web/history",
        "/swarm/x/services/web/explain",
        "/tasks",
        "/nodes",
        "/swarm",
        "/info",
        "/swarm/x/raft",
        "/swarm/x/audit?limit=1000",
        &events,
    ] {
        let answer = client.get(path).await.unwrap();
        assert!(!contains(&answer.body, value) && !contains(&answer.body, &base64(value)), "{path}");
    }
    let said = client.get("/swarm/x/audit").await.unwrap().ok().unwrap();
    assert!(contains(&said.body, "secret create"), "what was done is on record");
    assert!(contains(&client.get(&events).await.unwrap().body, "secret"), "and among the events");
}

#[tokio::test]
async fn processes_are_given_secrets_that_are_nowhere_else() {
    are_given_and_nowhere_else(Runtime::Process, "processes_are_given_secrets_that_are_nowhere_else").await;
}

#[tokio::test]
async fn containers_are_given_secrets_that_are_nowhere_else() {
    are_given_and_nowhere_else(Runtime::Docker, "containers_are_given_secrets_that_are_nowhere_else").await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_made_is_a_rejection_that_does_not_show_it() {
    let cluster = Cluster::with_options(1, options(1, 0)).await.unwrap();
    let (client, value) = (cluster.client(0), value());
    let template = json!({ "Templating": { "Name": "golang" } });
    let data = format!("{value} {{{{secret \"none\"}}}}");
    let key = create(&client, "secret", "key", &data, template).await;
    let spec = Runtime::Process.service("web", 1);
    let spec =
        spec.with("TaskTemplate.ContainerSpec.Secrets", json!([secret(&key, "key", "key", (0, 0), 0o444)]));
    client.create_service(&spec).await.unwrap();
    let is_rejected = |tasks: &[Task]| tasks.iter().any(|task| task.state == "rejected");
    let tasks = cluster.tasks_until("a task is rejected", "web", SOON, is_rejected).await.unwrap();
    let error = &tasks.iter().find(|task| task.state == "rejected").expect("one is").error;
    assert!(error.starts_with("secret key: expanding it failed: "), "{error}");
    assert!(!error.contains(&value) && !cluster.nodes[0].log().contains(&value));
}

#[tokio::test]
async fn tasks_go_on_with_their_files_while_their_daemon_is_away() {
    let mut cluster = Cluster::with_options(1, options(1, 1)).await.unwrap();
    let (client, value) = (cluster.client(0), value());
    let key = create(&client, "secret", "key", &value, json!({})).await;
    let spec = on(Runtime::Process.service("web", 1), cluster.id(1));
    let spec =
        spec.with("TaskTemplate.ContainerSpec.Secrets", json!([secret(&key, "key", "key", (0, 0), 0o444)]));
    client.create_service(&spec).await.unwrap();
    let before = cluster.running("web", 1, SOON).await.unwrap();
    let file = path(&cluster, &before[0], "secrets/key");
    cluster.nodes[1].kill();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), value);
    cluster.nodes[1].launch().await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    assert_eq!(cluster.running("web", 1, SOON).await.unwrap()[0].id, before[0].id, "it was left alone");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), value);
    // And a new one on that node gets it again.
    client.scale("web", 2).await.unwrap();
    let tasks = cluster.running("web", 2, SOON).await.unwrap();
    for task in &tasks {
        assert_eq!(std::fs::read_to_string(path(&cluster, task, "secrets/key")).unwrap(), value);
    }
    // Who leaves leaves nothing behind.
    let folder = cluster.nodes[1].secrets_folder();
    cluster.nodes[1].client().leave(true).await.unwrap();
    assert!(!folder.exists(), "{}", folder.display());
}

#[tokio::test]
async fn a_daemon_leaves_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = "ulimit -c unlimited; kill -ABRT $$";
    let shell = Command::new("sh").args(["-c", dumps]).current_dir(folder.path()).status().unwrap();
    if !shell.core_dumped() {
        return; // this machine makes none of anybody
    }
    let mut cluster = Cluster::with_options(1, options(1, 0)).await.unwrap();
    let pid = cluster.nodes[0].id().expect("it runs").to_string();
    let unlimited =
        Command::new("prlimit").args(["--pid", &pid, "--core=unlimited:unlimited"]).status().unwrap();
    assert!(unlimited.success());
    cluster.nodes[0].signal(Signal::SIGABRT).unwrap();
    let node = &mut cluster.nodes[0];
    let ended = wait_until("it ends", Duration::from_secs(20), async || node.exited().ok_or(String::new()));
    assert!(!ended.await.unwrap().core_dumped());
}

/// A new version of a secret, for all that use it.
async fn rotate(client: &Client, name: &str, data: &str) {
    rotate_answer(client, name, data).await.ok().unwrap();
}

async fn rotate_answer(client: &Client, name: &str, data: &str) -> Answer {
    client.post(&format!("/swarm/x/secrets/{name}/rotate"), &json!({ "Data": base64(data) })).await.unwrap()
}

async fn are_refreshed_in_place(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let cluster = Cluster::with_options(1, options(1, 1)).await.unwrap();
    let client = cluster.client(0);
    let (first, second) = (value(), value());
    let key = create(&client, "secret", "key", &first, json!({})).await;
    let mut reference = secret(&key, "key", "key", (0, 0), 0o444);
    reference["Refresh"] = json!("SIGHUP");
    // The length alone: what a task writes is in its log.
    let line = "F=${SWARM_SECRETS_DIR:-/run/secrets}/key; trap 'echo told $(wc -c < $F)' HUP; echo ready; \
                while :; do sleep 0.1; done";
    let spec = on(runtime.service("web", 1), cluster.id(1)).shell(line);
    let spec = spec.with("TaskTemplate.ContainerSpec.Secrets", json!([reference]));
    client.create_service(&spec).await.unwrap();
    let before = cluster.running("web", 1, SOON).await.unwrap();
    let logged = async |text: &str| {
        wait_until(text, SOON, async || {
            let log = client.get("/services/web/logs?stdout=1").await.map_err(|error| error.to_string())?;
            let log = String::from_utf8_lossy(&log.body).into_owned();
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await
        .unwrap();
    };
    logged("ready").await;
    let longer = format!("{second}{second}");
    rotate(&client, "key", &longer).await;
    logged(&format!("told {}", longer.len())).await;
    let after = cluster.running("web", 1, SOON).await.unwrap();
    assert_eq!((&after[0].id, after[0].pid), (&before[0].id, before[0].pid), "it was not replaced");
    let [secrets, _] = if runtime == Runtime::Docker {
        places(runtime, &after[0])
    } else {
        [path(&cluster, &after[0], "secrets").to_string_lossy().into_owned(), String::new()]
    };
    assert_eq!(seen(&after[0], &format!("{secrets}/key")).0, longer);
    nowhere_else(&cluster, &second).await;
}

#[tokio::test]
async fn processes_are_told_of_a_new_value_in_place() {
    are_refreshed_in_place(Runtime::Process, "processes_are_told_of_a_new_value_in_place").await;
}

#[tokio::test]
async fn containers_are_told_of_a_new_value_in_place() {
    are_refreshed_in_place(Runtime::Docker, "containers_are_told_of_a_new_value_in_place").await;
}
