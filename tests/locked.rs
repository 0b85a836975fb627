//! What lies on a manager's disk: locked with a key that people hold, sealed with data keys that change, and noticed
//! when a bit of it is another.

#[path = "locked/unlocked.rs"]
mod unlocked;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::random::{Random, SeededRandom};
use harness::binary;
use harness::cluster::{Cluster, SOON, options};
use harness::commands::{Shell, row, soon};
use harness::docker::Docker;
use harness::node::Node;
use harness::services::Runtime;
use serde_json::{Value, json};

const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";

/// What a `swarm` command prints on both, and whether it succeeded; `input` is what is piped into it.
fn swarm(node: &Node, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(binary::swarm())
        .args(["--host", &format!("unix://{}", node.socket().display())])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that asks for nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn succeeds(node: &Node, arguments: &[&str], input: &str) -> String {
    let (ok, said) = swarm(node, arguments, input);
    assert!(ok, "swarm {arguments:?}: {said}");
    said
}

async fn state(cluster: &Cluster, index: usize) -> String {
    cluster.client(index).info().await.unwrap().local_node_state
}

async fn reaches(cluster: &Cluster, index: usize, wanted: &str) {
    let what = format!("{} is {wanted}", cluster.nodes[index].name());
    let seen = async || match state(cluster, index).await {
        state if state == wanted => Ok(()),
        state => Err(state),
    };
    cluster.wait_until(&what, SOON, seen).await.unwrap();
}

/// Waits until these managers keep their data with these keys, or later ones.
async fn kept_with(cluster: &Cluster, managers: &[usize], data_key: u64, unlock_key: u64) {
    for index in managers {
        let what =
            format!("{} has data key {data_key}, unlock key {unlock_key}", cluster.nodes[*index].name());
        let seen = async || {
            let raft = cluster.client(*index).raft().await.map_err(|error| format!("{error:#}"))?;
            let found = (raft.data_key_version, raft.unlock_key_version);
            if found.0 >= data_key && found.1 >= unlock_key { Ok(()) } else { Err(format!("{found:?}")) }
        };
        cluster.wait_until(&what, SOON, seen).await.unwrap();
    }
}

fn identity(node: &Node) -> String {
    String::from_utf8(fs::read(node.state_folder().join("identity.pem")).unwrap()).unwrap()
}

async fn unlock(cluster: &Cluster, index: usize, key: &str) -> (u16, String) {
    let answer = cluster.client(index).post("/swarm/unlock", &json!({"UnlockKey": key})).await.unwrap();
    (answer.status, answer.message())
}

async fn key(cluster: &Cluster, index: usize) -> String {
    let answer: Value = cluster.client(index).get("/swarm/unlockkey").await.unwrap().json().unwrap();
    answer["UnlockKey"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn managers_lock_and_are_unlocked_in_place() {
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    let ids: Vec<String> = (0..4).map(|index| cluster.id(index).to_owned()).collect();
    let certificate = |cluster: &Cluster, index: usize| {
        let text = identity(&cluster.nodes[index]);
        text.split("# root certificate").next().unwrap_or_default().split_once('\n').unwrap().1.to_owned()
    };
    let before: Vec<String> = (0..3).map(|index| certificate(&cluster, index)).collect();
    let said = succeeds(&cluster.nodes[0], &["update", "--autolock=true"], "");
    let first = key(&cluster, 1).await;
    assert!(
        said.starts_with("Swarm updated.\nTo unlock a swarm manager after it restarts")
            && said.contains(&first)
    );
    assert!(first.starts_with("SWMKEY-1-"), "{first}");
    assert_eq!(succeeds(&cluster.nodes[2], &["unlock-key", "-q"], "").trim(), first, "one key for all");
    kept_with(&cluster, &[0, 1, 2], 1, 1).await;
    for (index, before) in before.iter().enumerate() {
        let renewed = async || match certificate(&cluster, index) {
            now if now != *before => Ok(()),
            _ => Err("the one that lay there in clear".into()),
        };
        cluster.wait_until("a key that was never on this disk in clear", SOON, renewed).await.unwrap();
        assert!(!identity(&cluster.nodes[index]).contains("PRIVATE KEY"));
    }

    cluster.nodes[1].restart().await.unwrap();
    reaches(&cluster, 1, "locked").await;
    for path in ["/swarm", "/nodes", "/services", "/tasks", "/swarm/unlockkey", "/swarm/x/raft"] {
        let answer = cluster.client(1).get(path).await.unwrap();
        assert_eq!((answer.status, answer.message()), (503, LOCKED.into()), "{path}");
    }
    let (ok, said) = swarm(&cluster.nodes[1], &["node", "ls"], "");
    assert!(!ok && said.contains("Please use \"swarm unlock\" to unlock it."), "{said}");
    assert!(succeeds(&cluster.nodes[1], &["info"], "").starts_with("Swarm: locked\n"));
    let (ok, said) = swarm(&cluster.nodes[1], &["leave"], "");
    assert!(!ok && said.contains("Swarm is encrypted and locked."), "{said}");
    let other = "SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let wrong = (401, "swarm could not be unlocked: invalid key provided".to_owned());
    assert_eq!(unlock(&cluster, 1, other).await, wrong);
    assert_eq!(unlock(&cluster, 1, "open, please").await, (400, "invalid key string".into()));
    assert_eq!(state(&cluster, 1).await, "locked");
    succeeds(&cluster.nodes[1], &["unlock"], &format!("{first}\n"));
    reaches(&cluster, 1, "active").await;
    cluster.all_ready(SOON).await.unwrap();
    assert_eq!(cluster.client(1).info().await.unwrap().node_id, ids[1], "it goes on as itself");
    assert_eq!(unlock(&cluster, 1, &first).await, (409, "swarm is not locked".into()));
    let (ok, said) = swarm(&cluster.nodes[1], &["unlock"], "");
    assert!(!ok && said.contains("error: swarm is not locked"), "{said}");

    // Workers never lock, and have nothing that locks.
    cluster.nodes[3].restart().await.unwrap();
    reaches(&cluster, 3, "active").await;
    let (ok, said) = swarm(&cluster.nodes[3], &["unlock"], "");
    assert!(!ok && said.contains("error: swarm is not locked"), "{said}");

    // A manager that is off while the key changes opens with the one it had, and then takes up the new one.
    cluster.nodes[2].kill();
    let said = succeeds(&cluster.nodes[0], &["unlock-key", "--rotate"], "");
    let second = key(&cluster, 0).await;
    assert!(
        said.starts_with("Successfully rotated manager unlock key.\n\nTo unlock") && said.contains(&second)
    );
    kept_with(&cluster, &[0, 1], 1, 2).await;
    cluster.nodes[2].launch().await.unwrap();
    assert_eq!(unlock(&cluster, 2, &second).await, wrong);
    assert_eq!(unlock(&cluster, 2, &first).await.0, 200);
    kept_with(&cluster, &[2], 1, 2).await;
    for index in [0, 2] {
        cluster.nodes[index].restart().await.unwrap();
        assert_eq!(unlock(&cluster, index, &first).await, wrong, "the old key is of the past");
        assert_eq!(unlock(&cluster, index, &second).await.0, 200);
    }
    cluster.all_ready(SOON).await.unwrap();

    // A demoted manager drops lock and data key, and those who stay make new data keys.
    cluster.client(0).set_role(&ids[2], "worker").await.unwrap();
    kept_with(&cluster, &[0, 1], 2, 2).await;
    let dropped = async || {
        let text = identity(&cluster.nodes[2]);
        let open = text.contains("PRIVATE KEY") && !text.contains("data key") && !text.contains("locked");
        if open && !cluster.nodes[2].state_folder().join("raft").exists() {
            Ok(())
        } else {
            Err("not yet".into())
        }
    };
    cluster.wait_until("the demoted manager has nothing of it left", SOON, dropped).await.unwrap();
    cluster.nodes[2].restart().await.unwrap();
    reaches(&cluster, 2, "active").await;

    // A quorum that is lost for good: unlocked first, then made anew of what one manager holds.
    cluster.nodes[1].kill();
    cluster.nodes[0].restart().await.unwrap();
    let (listen, advertise) = cluster.nodes[0].listen_and_advertise();
    let force = json!({"ForceNewCluster": true, "ListenAddr": listen, "AdvertiseAddr": advertise});
    let refused = cluster.client(0).post("/swarm/init", &force).await.unwrap();
    assert_eq!((refused.status, refused.message()), (503, LOCKED.into()));
    assert_eq!(unlock(&cluster, 0, &second).await.0, 200);
    cluster.client(0).post("/swarm/init", &force).await.unwrap().ok().unwrap();
    assert_eq!(key(&cluster, 0).await, second);

    // Turned off, the next start asks for nothing.
    assert_eq!(succeeds(&cluster.nodes[0], &["update", "--autolock=false"], ""), "Swarm updated.\n");
    kept_with(&cluster, &[0], 2, 3).await;
    let (ok, said) = swarm(&cluster.nodes[0], &["unlock-key"], "");
    assert!(!ok && said.contains("no unlock key is set"), "{said}");
    let (ok, said) = swarm(&cluster.nodes[0], &["unlock-key", "--rotate"], "");
    assert!(!ok && said.contains("cannot rotate because autolock is not turned on"), "{said}");
    cluster.nodes[0].restart().await.unwrap();
    reaches(&cluster, 0, "active").await;
}

#[tokio::test]
async fn a_cluster_may_begin_locked_and_a_locked_manager_may_be_given_up() {
    let mut cluster = Cluster::of_strangers(options(1, 0)).await.unwrap();
    let (listen, advertise) = cluster.nodes[0].listen_and_advertise();
    let init = ["init", "--autolock", "--listen-addr", &listen, "--advertise-addr", &advertise];
    let said = succeeds(&cluster.nodes[0], &init, "");
    let key = key(&cluster, 0).await;
    assert!(said.contains("command and provide the following key:") && said.contains(&key), "{said}");
    assert!(!identity(&cluster.nodes[0]).contains("PRIVATE KEY"), "locked from the start");
    cluster.nodes[0].kill();
    cluster.nodes[0].launch().await.unwrap();
    reaches(&cluster, 0, "locked").await;
    assert_eq!(unlock(&cluster, 0, &key).await.0, 200);
    cluster.nodes[0].restart().await.unwrap();
    assert_eq!(succeeds(&cluster.nodes[0], &["leave", "--force"], ""), "Node left the swarm.\n");
    assert_eq!(state(&cluster, 0).await, "inactive");
    let (ok, said) = swarm(&cluster.nodes[0], &["unlock"], "");
    assert!(!ok && said.contains("error: this node is not part of a swarm"), "{said}");
}

#[tokio::test]
async fn docker_s_own_command_locks_and_unlocks() {
    let test = "docker_s_own_command_locks_and_unlocks";
    let mut cluster = Cluster::new(1, 0).await.unwrap();
    let socket = cluster.nodes[0].socket();
    let Some(docker) = Docker::at(&socket, test) else { return };
    let mut shell = Shell::new(docker, &socket);
    shell.set("docker", &format!("docker -H unix://{}", socket.display()));
    shell
        .table([
            row("docker swarm unlock-key", 1, "no unlock key is set"),
            row("docker swarm unlock-key --rotate", 1, "cannot rotate because autolock is not turned on"),
            row("docker swarm unlock", 1, "*swarm is not locked"),
            row(
                "docker swarm update --autolock",
                0,
                "Swarm updated.\nTo unlock a swarm manager after it restarts*SWMKEY-1-*",
            ),
            row("docker swarm unlock-key -q", 0, "SWMKEY-1-*"),
            row("docker swarm unlock-key --rotate", 0, "Successfully rotated manager unlock key.*SWMKEY-1-*"),
            soon(
                "docker info --format '{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}}'",
                0,
                "true",
            ),
        ])
        .await;
    shell.set("key", &key(&cluster, 0).await);
    kept_with(&cluster, &[0], 1, 2).await;
    cluster.nodes[0].restart().await.unwrap();
    shell
        .table([
            row("docker info --format '{{.Swarm.LocalNodeState}}'", 0, "locked"),
            row("docker node ls", 1, "*Swarm is encrypted and needs to be unlocked before it can be used.*"),
            row("docker swarm leave", 1, "*Swarm is encrypted and locked.*"),
            row(
                "sh echo SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA | $docker swarm unlock",
                1,
                "*swarm could not be unlocked: invalid key provided",
            ),
            row("sh echo $key | $docker swarm unlock", 0, "*"),
            soon("docker node ls --format '{{.Status}}'", 0, "Ready"),
            row("docker swarm update --autolock=false", 0, "Swarm updated."),
        ])
        .await;
}

/// Everything that is visible of a cluster, but for what time and elections change.
async fn visible(node: &Node) -> Result<Value, String> {
    let client = node.client();
    let get = async |path: &str| -> Result<Value, String> {
        let answer = client.get(path).await.map_err(|error| format!("{error:#}"))?;
        answer.json().map_err(|error| format!("{error:#}"))
    };
    let swarm = get("/swarm").await?;
    let specs = |list: Value| -> BTreeMap<String, Value> {
        let items = list.as_array().cloned().unwrap_or_default().into_iter();
        items.map(|item| (item["ID"].to_string(), item["Spec"].clone())).collect()
    };
    let (nodes, services) = (specs(get("/nodes").await?), specs(get("/services").await?));
    Ok(
        json!({"id": swarm["ID"], "spec": swarm["Spec"], "tokens": swarm["JoinTokens"], "nodes": nodes, "services": services}),
    )
}

async fn is_as_before(node: &Node, before: &Value) {
    harness::wait::wait_until("the state is as before", SOON, async || {
        let now = visible(node).await?;
        if now == *before { Ok(()) } else { Err(format!("{now:#}")) }
    })
    .await
    .unwrap();
}

async fn create(cluster: &Cluster, index: usize, name: &str, label: &str) {
    create_with(cluster, index, name, label, 0).await;
}

async fn create_with(cluster: &Cluster, index: usize, name: &str, label: &str, replicas: u64) {
    let spec = json!({
        "Name": name, "Labels": {"note": label}, "Mode": {"Replicated": {"Replicas": replicas}},
        "TaskTemplate": {"ContainerSpec": {"Image": "none:1", "Env": [format!("TOKEN={label}")]}},
    });
    cluster.client(index).post("/services/create", &spec).await.unwrap().ok().unwrap();
}

#[tokio::test]
async fn a_data_key_changes_whenever_the_process_is_killed() {
    let mut cluster = Cluster::new(1, 0).await.unwrap();
    let pad = "x".repeat(60_000);
    for number in 0..40 {
        create(&cluster, 0, &format!("s{number}"), &pad).await;
    }
    let before = visible(&cluster.nodes[0]).await.unwrap();
    let mut random = SeededRandom::new(7, "moments");
    let mut version = 0;
    let mut interrupted = 0;
    for _ in 0..12 {
        succeeds(&cluster.nodes[0], &["raft", "rotate-data-keys"], "");
        version += 1;
        tokio::time::sleep(Duration::from_micros(random.next_u64() % 60_000)).await;
        cluster.nodes[0].kill();
        interrupted += usize::from(identity(&cluster.nodes[0]).contains("data key of before"));
        cluster.nodes[0].launch().await.unwrap();
        is_as_before(&cluster.nodes[0], &before).await;
        kept_with(&cluster, &[0], version, 0).await;
        // The new key seals first; the old one goes when nothing is under it any more.
        let gone = async || match identity(&cluster.nodes[0]).contains("data key of before") {
            true => Err("it is there".to_owned()),
            false => Ok(()),
        };
        cluster.wait_until("the old key is gone", SOON, gone).await.unwrap();
    }
    eprintln!("killed in the middle: {interrupted} of 12");
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

#[tokio::test]
async fn a_copied_state_folder_reveals_nothing() {
    let mut cluster = Cluster::new(2, 0).await.unwrap();
    let secret = "a-label-that-nobody-may-read";
    create(&cluster, 0, "web", secret).await;
    cluster
        .client(0)
        .change_node(cluster.id(1), |spec| drop(spec.labels.insert("note".into(), secret.into())))
        .await
        .unwrap();
    let value = "a-value-that-nobody-may-read";
    let payload = json!({"Name": "s", "Labels": {"note": secret}, "Data": BASE64.encode(value)});
    cluster.client(0).post("/secrets/create", &payload).await.unwrap().ok().unwrap();
    // A task that a node has to remember, though it has no such image.
    create_with(&cluster, 0, "env", secret, 1).await;
    let remembered = async || {
        let journal = |node: &Node| node.state_folder().join("tasks/tasks.journal");
        let bytes = |node: &Node| fs::metadata(journal(node)).map_or(0, |file| file.len());
        if cluster.nodes.iter().any(|node| bytes(node) > 200) { Ok(()) } else { Err("nobody has it".into()) }
    };
    if Runtime::Docker.is_here("a_copied_state_folder_reveals_nothing") {
        cluster.wait_until("a node remembers a task", SOON, remembered).await.unwrap();
    }
    let tokens = cluster.client(0).swarm().await.unwrap().join_tokens.unwrap();
    let mut words = vec![secret.into(), value.into(), BASE64.encode(value), tokens.worker, tokens.manager];
    let search = |cluster: &Cluster, words: &[String], skipped: &str| {
        for node in &cluster.nodes {
            let found = files(&node.state_folder());
            assert!(found.iter().any(|file| file.ends_with("raft/log")), "{found:?}");
            for file in found.iter().filter(|file| !file.ends_with(skipped)) {
                let bytes = fs::read(file).unwrap();
                for word in words {
                    let is_there = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                    assert!(!is_there, "{} shows {word}", file.display());
                }
            }
        }
    };
    // Without autolock the keys lie beside: what is sealed with them still shows nothing by itself.
    words.push("PRIVATE KEY".into());
    search(&cluster, &words, "identity.pem");
    let unlock_key = {
        succeeds(&cluster.nodes[0], &["update", "--autolock"], "");
        key(&cluster, 0).await
    };
    kept_with(&cluster, &[0, 1], 1, 1).await;
    words.push(unlock_key.clone());
    words.push(unlock_key.replace("SWMKEY-1-", ""));
    search(&cluster, &words, "");
    for index in [0, 1] {
        cluster.nodes[index].stop().await.unwrap();
    }
    search(&cluster, &words, "");
}

/// Places to flip a bit at: some of each part of a file.
fn places(length: u64, count: u64) -> Vec<u64> {
    let mut places: Vec<u64> = (0..count).map(|number| number * length / count).collect();
    places.extend([1, 9, 64, 70, length.saturating_sub(1)]);
    places.retain(|place| *place < length);
    places.sort_unstable();
    places.dedup();
    places
}

/// Flips bits all over the state folder of a stopped node. Each time it refuses and names the file, or what it has is
/// as before.
async fn flip_everywhere(node: &mut Node, settled: impl AsyncFn(&Node) -> Result<(), String>) {
    node.stop().await.unwrap();
    let folder = node.state_folder();
    let pristine = tempfile::tempdir().unwrap();
    copy(&folder, pristine.path());
    let (mut refused, mut unused) = (0, 0);
    for file in files(&folder) {
        let bytes = fs::read(&file).unwrap();
        let count = if file.ends_with("raft/log") { 24 } else { 6 };
        for (number, at) in places(bytes.len() as u64, count).into_iter().enumerate() {
            let mut changed = bytes.clone();
            changed[at as usize] ^= 1 << (number % 8);
            fs::write(&file, &changed).unwrap();
            node.launch().await.unwrap();
            let what = format!("{} with another bit at {at} of {}", file.display(), bytes.len());
            let named = file.display().to_string();
            let raft = folder.join("raft").display().to_string();
            let outcome = harness::wait::wait_until(&what, SOON, async || {
                let info = node.client().info().await.map_err(|error| format!("{error:#}"))?;
                match info.local_node_state.as_str() {
                    "error" if info.error.contains(&named) || info.error.contains(&raft) => Ok("refused"),
                    "error" if !info.error.contains("does not have a leader") => {
                        panic!("{what}: it should be named: {}", info.error)
                    }
                    "active" | "error" => settled(node).await.map(|()| "unused"),
                    "inactive" => panic!("{what}: the node forgot its cluster"),
                    state => Err(state.into()),
                }
            });
            match outcome.await.unwrap() {
                "refused" => refused += 1,
                _ => unused += 1,
            }
            node.kill();
            fs::remove_dir_all(&folder).unwrap();
            copy(pristine.path(), &folder);
        }
    }
    eprintln!("{}: refused {refused}, unused {unused}", node.name());
    assert!(refused > 10, "the test flips what matters");
    node.launch().await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_manager_s_folder_is_noticed() {
    let mut cluster = Cluster::new(1, 0).await.unwrap();
    for number in 0..10 {
        create(&cluster, 0, &format!("s{number}"), "a label").await;
    }
    // Two snapshots and a log behind them.
    let version = async |cluster: &Cluster| cluster.client(0).swarm().await.unwrap().version.index;
    let mut spec: Value = cluster.client(0).get("/swarm").await.unwrap().json().unwrap();
    spec["Spec"]["Raft"]["SnapshotInterval"] = 20.into();
    spec["Spec"]["Raft"]["KeepOldSnapshots"] = 1.into();
    let target = format!("/swarm/update?version={}", version(&cluster).await);
    cluster.client(0).post(&target, &spec["Spec"]).await.unwrap().ok().unwrap();
    for number in 10..60 {
        create(&cluster, 0, &format!("s{number}"), "a label").await;
    }
    let before = visible(&cluster.nodes[0]).await.unwrap();
    let same = async |node: &Node| match visible(node).await? {
        now if now == before => Ok(()),
        now => Err(format!("other state: {now:#}")),
    };
    flip_everywhere(&mut cluster.nodes[0], same).await;
    is_as_before(&cluster.nodes[0], &before).await;
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_worker_s_folder_is_noticed() {
    let mut cluster = Cluster::new(1, 1).await.unwrap();
    let id = cluster.id(1).to_owned();
    let manager = cluster.client(0);
    let worker = cluster.nodes[1].addr().to_string();
    let same = async |node: &Node| {
        let info = node.client().info().await.map_err(|error| format!("{error:#}"))?;
        assert_eq!(info.node_id, id);
        assert!(worker.starts_with(&info.node_addr), "{}", info.node_addr);
        let seen = manager.node(&id).await.map_err(|error| format!("{error:#}"))?;
        if seen.status.state == "ready" { Ok(()) } else { Err(seen.status.state) }
    };
    flip_everywhere(&mut cluster.nodes[1], same).await;
}
