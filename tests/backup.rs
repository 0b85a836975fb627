//! Backups: taken while clients write, put back as one moment of what they wrote, and refused when they are not whole.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::shutdown::Tasks;
use harness::binary;
use harness::client::Client;
use harness::cluster::{Cluster, SOON, options};
use harness::node::{Node, NodeOptions};
use serde_json::{Value, json};

/// What a `swarm` command ended with: whether well, standard output, standard error.
fn swarm(node: &Node, arguments: &[&str], input: &[u8]) -> (bool, Vec<u8>, String) {
    let mut child = Command::new(binary::swarm())
        .args(["--host", &format!("unix://{}", node.socket().display())])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (output.status.success(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn succeeds(node: &Node, arguments: &[&str], input: &[u8]) -> String {
    let (ok, out, err) = swarm(node, arguments, input);
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(ok, "swarm {arguments:?}: {out}{err}");
    out
}

fn refused(node: &Node, arguments: &[&str], input: &[u8]) -> String {
    let (ok, out, err) = swarm(node, arguments, input);
    assert!(!ok, "swarm {arguments:?}: {}{err}", String::from_utf8_lossy(&out));
    err
}

/// The key in what `swarm backup` printed.
fn key_in(said: &str) -> String {
    let key = said.split_whitespace().find(|word| word.starts_with("SWMBACKUP-1-"));
    key.unwrap_or_else(|| panic!("no key in {said}")).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Restores onto a node, at its own address.
fn restore(node: &Node, file: &Path, flags: &[&str], input: &[u8]) -> String {
    let (listen, advertise) = node.listen_and_advertise();
    let place = ["--listen-addr", &listen, "--advertise-addr", &advertise];
    let arguments = [&["restore"], &place[..], flags, &[text(file)]].concat();
    succeeds(node, &arguments, input)
}

async fn stays_out(node: &Node) {
    assert_eq!(node.client().info().await.unwrap().local_node_state, "inactive");
    for name in ["node.json", "identity.pem", "raft"] {
        assert!(!node.state_folder().join(name).exists(), "{name}");
    }
}

fn name(pair: usize, side: char) -> String {
    format!("pair{pair}{side}")
}

async fn service(client: &Client, name: &str) -> Result<Value, String> {
    let answer = client.get(&format!("/services/{name}")).await.map_err(|error| format!("{error:#}"))?;
    answer.json().map_err(|error| format!("{error:#}"))
}

async fn create(client: &Client, name: &str) {
    let spec = json!({
        "Name": name, "Labels": {"first": "0", "second": "0"}, "Mode": {"Replicated": {"Replicas": 0}},
        "TaskTemplate": {"ContainerSpec": {"Image": "none:1"}},
    });
    client.post("/services/create", &spec).await.unwrap().ok().unwrap();
}

/// Writes a number into both labels of a service, in one update; tries until it is acknowledged.
async fn write(clients: &[Client], name: &str, number: u64) {
    for turn in 0.. {
        let client = &clients[(number as usize + turn) % clients.len()];
        let Ok(service) = service(client, name).await else { continue };
        let mut spec = service["Spec"].clone();
        let number = json!(number.to_string());
        if spec["Labels"]["first"] == number {
            return; // an answer was lost
        }
        spec["Labels"] = json!({"first": number, "second": number});
        let target = format!("/services/{name}/update?version={}", service["Version"]["Index"]);
        if client.post(&target, &spec).await.is_ok_and(|answer| answer.is_ok()) {
            return;
        }
    }
}

const PAIRS: usize = 8;

/// Clients that each write 1, 2, 3, … into a pair of services: first the one, then the other.
struct Writers {
    acknowledged: Arc<[AtomicU64; PAIRS]>,
    stop: Arc<AtomicBool>,
    tasks: Tasks,
}

impl Writers {
    async fn start(cluster: &Cluster, managers: usize) -> Writers {
        let clients: Vec<Client> = (0..managers).map(|index| cluster.client(index)).collect();
        for pair in 0..PAIRS {
            create(&clients[0], &name(pair, 'a')).await;
            create(&clients[0], &name(pair, 'b')).await;
        }
        let acknowledged: Arc<[AtomicU64; PAIRS]> = Arc::default();
        let (stop, tasks) = (Arc::new(AtomicBool::new(false)), Tasks::new());
        for pair in 0..PAIRS {
            let (clients, acknowledged, stop) = (clients.clone(), acknowledged.clone(), stop.clone());
            tasks.spawn(async move {
                for number in 1.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    write(&clients, &name(pair, 'a'), number).await;
                    write(&clients, &name(pair, 'b'), number).await;
                    acknowledged[pair].store(number, Ordering::SeqCst);
                }
            });
        }
        Writers { acknowledged, stop, tasks }
    }

    fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).collect()
    }

    /// Waits until each has got on by as much.
    async fn get_on(&self, cluster: &Cluster, by: u64) {
        let before = self.acknowledged();
        cluster
            .wait_until("the clients write", SOON, async || {
                let now = self.acknowledged();
                let got_on = now.iter().zip(&before).all(|(now, before)| *now >= before + by);
                if got_on { Ok(()) } else { Err(format!("{now:?}")) }
            })
            .await
            .unwrap();
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.tasks.stop().await;
    }
}

/// A backup, and what had been acknowledged before it was asked for and after it was there.
struct Taken {
    file: PathBuf,
    flags: Vec<String>,
    input: String,
    before: Vec<u64>,
    after: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_load_is_one_moment_of_what_was_written() {
    let cluster = Cluster::new(3, 0).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let writers = Writers::start(&cluster, 3).await;
    writers.get_on(&cluster, 2).await;
    fs::write(at("passphrase"), "correct horse battery staple\n").unwrap();
    let mut all = Vec::new();
    let flag = |flag: &str, file: &str| vec![flag.to_owned(), text(&at(file)).to_owned()];
    for (index, name) in ["made", "kept", "words", "piped"].into_iter().enumerate() {
        let (node, file, before) = (&cluster.nodes[index % 3], at(name), writers.acknowledged());
        let (flags, input) = match name {
            "made" => {
                let said = succeeds(node, &["backup", text(&file)], b"");
                assert!(said.contains("Remember to store it in a password manager"), "{said}");
                fs::write(at("key"), key_in(&said)).unwrap();
                (Vec::new(), key_in(&said))
            }
            "kept" => {
                let said = succeeds(node, &["backup", "--key-file", text(&at("key")), text(&file)], b"");
                assert!(!said.contains("SWMBACKUP"), "it is known already: {said}");
                (flag("--key-file", "key"), String::new())
            }
            "words" => {
                succeeds(node, &["backup", "--passphrase-file", text(&at("passphrase")), text(&file)], b"");
                (flag("--passphrase-file", "passphrase"), String::new())
            }
            _ => {
                let (ok, bytes, said) = swarm(node, &["backup", "-"], b"");
                assert!(ok, "{said}");
                fs::write(&file, bytes).unwrap();
                (Vec::new(), key_in(&said))
            }
        };
        let after = writers.acknowledged();
        all.push(Taken { file, flags, input, before, after });
        writers.get_on(&cluster, 2).await;
    }
    writers.finish().await;
    let (id, tokens) = {
        let swarm = cluster.client(0).swarm().await.unwrap();
        (swarm.id, swarm.join_tokens.unwrap())
    };
    for name in ["made", "kept", "words"] {
        assert_eq!(fs::metadata(at(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "nothing unfinished stays: {left:?}");

    for taken in all {
        let Taken { file, flags, input, before, after } = taken;
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        // What is in it is told without any node's state.
        let inspect = [&["backup", "inspect"], &flags[..], &[text(&file)]].concat();
        let said = succeeds(&cluster.nodes[0], &inspect, input.as_bytes());
        assert!(said.contains(&format!("Cluster:   {id}")) && said.contains("Services:  16"), "{said}");
        let node = Node::start(NodeOptions::named("restored")).await.unwrap();
        let said = restore(&node, &file, &flags, input.as_bytes());
        assert!(said.starts_with("Swarm restored: current node ("), "{said}");
        let client = node.client();
        let swarm = client.swarm().await.unwrap();
        assert_eq!(swarm.id, id);
        assert_eq!(swarm.join_tokens.unwrap().worker, tokens.worker);
        for pair in 0..PAIRS {
            let mut numbers = Vec::new();
            for side in ['a', 'b'] {
                let labels = service(&client, &name(pair, side)).await.unwrap()["Spec"]["Labels"].clone();
                assert_eq!(labels["first"], labels["second"], "one update is there whole or not at all");
                numbers.push(labels["first"].as_str().unwrap().parse::<u64>().unwrap());
            }
            let [first, second] = numbers[..] else { unreachable!() };
            let shown = format!("{}: {first} {second}, {:?} to {:?}", file.display(), before, after);
            assert!(
                second == first || second + 1 == first,
                "{shown}: the second was written after the first"
            );
            assert!(second >= before[pair], "{shown}: what was acknowledged before is in it");
            assert!(first <= after[pair] + 1, "{shown}: what was written later is not");
        }
        // It goes on: as a cluster of one, whose other nodes are down and whose raft id nobody had.
        let nodes = client.nodes().await.unwrap();
        assert_eq!(nodes.iter().filter(|node| node.status.state == "down").count(), 3, "{nodes:?}");
        assert!(nodes.iter().filter(|node| node.manager_status.is_some()).count() == 1, "{nodes:?}");
        assert!(client.raft().await.unwrap().members[0].raft_id > u64::from(u32::MAX));
        write(std::slice::from_ref(&client), &name(0, 'a'), 1_000_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_cluster_gets_its_worker_back_and_stays_locked() {
    let mut cluster = Cluster::new(1, 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    succeeds(&cluster.nodes[0], &["update", "--autolock"], b"");
    let unlock_key = succeeds(&cluster.nodes[0], &["unlock-key", "-q"], b"");
    create(&cluster.client(0), "web").await;
    let secret = json!({"Name": "word", "Labels": {}, "Data": "c2VjcmV0IHdvcmQ="});
    cluster.client(0).post("/secrets/create", &secret).await.unwrap().ok().unwrap();
    let worker = cluster.id(1).to_owned();
    let key = key_in(&succeeds(&cluster.nodes[0], &["backup", text(&file)], b""));
    let said = refused(&cluster.nodes[0], &["restore", text(&file)], key.as_bytes());
    assert!(said.contains("already part of a swarm"), "{said}");
    let said = refused(&cluster.nodes[1], &["backup", text(&folder.path().join("none"))], b"");
    assert!(said.contains("Worker nodes can't be used"), "{said}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["backup"], "a backup that failed leaves nothing");

    // The same machine at the same address; the worker never stopped.
    succeeds(&cluster.nodes[0], &["leave", "--force"], b"");
    restore(&cluster.nodes[0], &file, &[], key.as_bytes());
    assert_eq!(cluster.client(0).info().await.unwrap().node_id, cluster.id(0), "the manager of that address");
    let client = cluster.client(0);
    let back = async || {
        let node = client.node(&worker).await.map_err(|error| format!("{error:#}"))?;
        if node.status.state == "ready" { Ok(()) } else { Err(node.status.state) }
    };
    cluster.wait_until("the worker takes up its place", SOON, back).await.unwrap();
    service(&cluster.client(0), "web").await.unwrap();
    // The secret's value is there too: only one that is the same may be written over it.
    for (data, is_same) in [("b3RoZXIgd29yZA==", false), ("c2VjcmV0IHdvcmQ=", true)] {
        let found: Value = cluster.client(0).get("/secrets/word").await.unwrap().json().unwrap();
        let target = format!("/secrets/word/update?version={}", found["Version"]["Index"]);
        let spec = json!({"Name": "word", "Labels": {}, "Data": data});
        let answer = cluster.client(0).post(&target, &spec).await.unwrap();
        assert_eq!(answer.is_ok(), is_same, "{}", answer.message());
    }
    assert_eq!(succeeds(&cluster.nodes[0], &["unlock-key", "-q"], b""), unlock_key);
    cluster.nodes[0].kill();
    cluster.nodes[0].launch().await.unwrap();
    assert_eq!(cluster.client(0).info().await.unwrap().local_node_state, "locked");
    succeeds(&cluster.nodes[0], &["unlock"], unlock_key.as_bytes());
    cluster.wait_until("the worker is there again", SOON, back).await.unwrap();
    // And it takes others in.
    let index = cluster.add(NodeOptions::named("m2")).await.unwrap();
    let token = cluster.client(0).swarm().await.unwrap().join_tokens.unwrap().manager;
    cluster.join_with(index, 0, &token).await.unwrap();
    let members = async || match cluster.client(0).raft().await.map_err(|error| format!("{error:#}"))?.members
    {
        members if members.iter().filter(|member| member.voter).count() == 2 => Ok(()),
        members => Err(format!("{members:?}")),
    };
    cluster.wait_until("a second manager", SOON, members).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_whole_backup_is_refused_in_words() {
    let mut cluster = Cluster::of_strangers(options(2, 0)).await.unwrap();
    cluster.init(0).await.unwrap();
    for number in 0..30 {
        let spec = json!({
            "Name": format!("s{number}"), "Labels": {"pad": "x".repeat(30_000)},
            "Mode": {"Replicated": {"Replicas": 0}}, "TaskTemplate": {"ContainerSpec": {"Image": "none:1"}},
        });
        cluster.client(0).post("/services/create", &spec).await.unwrap().ok().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    let key = key_in(&succeeds(&cluster.nodes[0], &["backup", text(&good)], b""));
    let bytes = fs::read(&good).unwrap();
    let node = &cluster.nodes[1];
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        bytes
    };
    let middle = bytes.len() / 2;
    let other = "SWMBACKUP-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    #[rustfmt::skip]
    let cases = [ // what, file, key, words
        ("another key",      bytes.clone(),                     other, "another key or passphrase"),
        ("no key",           bytes.clone(),                     "moo", "that is not a backup key"),
        ("another file",     b"PK\x03\x04 something".to_vec(),  &*key, "not a backup of a cluster"),
        ("nothing",          Vec::new(),                        &*key, "not a backup of a cluster"),
        ("a header alone",   bytes[..46].to_vec(),              &*key, "cut off"),
        ("half of it",       bytes[..middle].to_vec(),          &*key, "cut off"),
        ("all but the end",  bytes[..bytes.len() - 1].to_vec(), &*key, "cut off"),
        ("more than it",     [&bytes[..], b"x"].concat(),       &*key, "more after its end"),
        ("a newer one",      changed(8),                        &*key, "of format"),
        ("a changed header", changed(40),                       &*key, "another key or passphrase"),
        ("a changed piece",  changed(middle),                   &*key, "was changed or is out of its place"),
        ("a changed end",    changed(bytes.len() - 3),          &*key, "was changed or is out of its place"),
    ];
    let (listen, advertise) = node.listen_and_advertise();
    for (what, content, key, words) in cases {
        fs::write(&bad, content).unwrap();
        let flags = ["restore", "--listen-addr", &listen, "--advertise-addr", &advertise, text(&bad)];
        let said = refused(node, &flags, key.as_bytes());
        assert!(said.contains(words), "{what}: {said}");
        assert!(!said.contains(key.trim_start_matches("SWMBACKUP-1-")) || key == "moo", "{what}: {said}");
        let said = refused(node, &["backup", "inspect", text(&bad)], key.as_bytes());
        assert!(said.contains(words), "inspect {what}: {said}");
        stays_out(node).await;
    }
    // The API itself, without our client's care.
    let answer = node.client().post("/swarm/x/restore", &json!({})).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.message());
    let answer = cluster.client(0).get("/swarm/x/backup").await.unwrap();
    assert!(answer.status == 400 && answer.message().contains("swarm-backup-key"), "{}", answer.message());
    // After all of that the good one is as good as before.
    restore(node, &good, &[], key.as_bytes());
    assert!(service(&node.client(), "s29").await.is_ok());
}
