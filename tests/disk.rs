//! Disks that are full, and files that are torn: said by name, nothing acknowledged that is not kept, nothing thrown
//! away, and a node that is itself again once its disk is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::time::{Clock, SystemClock};
use harness::cluster::{Cluster, SOON, options};
use harness::disk;
use harness::loads::{Load, LoadOptions};

/// Enough for a raft log that is written to for a while.
const DISK_BYTES: u64 = 24 << 20;
const FULL: &str = "No space left on device";

/// Waits until a node says that it cannot go on; gives its words.
async fn stops_with_an_error(cluster: &Cluster, index: usize) -> String {
    let what = format!("{} says that it cannot go on", cluster.nodes[index].name());
    cluster
        .wait_until(&what, SOON, async || {
            let info = cluster.client(index).info().await.map_err(|error| format!("{error:#}"))?;
            if info.local_node_state == "error" { Ok(info.error) } else { Err(info.local_node_state) }
        })
        .await
        .unwrap()
}

/// An error in a node's log with all these words.
fn has_logged(cluster: &Cluster, index: usize, words: &[&str]) {
    let log = cluster.nodes[index].log();
    let found =
        log.lines().any(|line| line.contains("ERROR") && words.iter().all(|word| line.contains(word)));
    assert!(found, "no error with {words:?}");
}

/// It says so in `info` and in its log, with the file and the cause.
async fn says_what_is_full(cluster: &Cluster, index: usize, file: &Path) {
    let words = stops_with_an_error(cluster, index).await;
    let file = file.display().to_string();
    assert!(words.contains(FULL) && words.contains(&file), "'{words}' should name {file} and the cause");
    has_logged(cluster, index, &[FULL, &file]);
}

fn load(cluster: &Cluster, managers: usize, seed: u64) -> Load {
    let sockets = cluster.nodes[..managers].iter().map(|node| node.socket()).collect();
    let registers = (0..cluster.nodes.len()).map(|index| cluster.id(index).to_owned()).collect();
    Load::start(LoadOptions::new(sockets, registers, seed))
}

async fn enough_written(cluster: &Cluster, load: &Load, more: usize) {
    let since = SystemClock.monotonic();
    let wanted = load.acknowledged() + more;
    let written = async || match load.acknowledged() {
        acknowledged if acknowledged >= wanted && load.first_after(since).is_some() => Ok(()),
        acknowledged => Err(format!("{acknowledged} of {wanted}; {}", load.last_failure())),
    };
    cluster.wait_until("writes are acknowledged", SOON, written).await.unwrap();
}

/// A node whose disk was full has space again, and is started again.
async fn starts_again_with_space(cluster: &mut Cluster, index: usize) {
    let id = cluster.id(index).to_owned();
    cluster.nodes[index].disk().unwrap().free().unwrap();
    cluster.nodes[index].restart().await.unwrap();
    is_itself(cluster, index, &id).await;
    cluster.all_ready(SOON).await.unwrap();
}

/// Waits until a node has taken up its place, which is the one it had.
async fn is_itself(cluster: &Cluster, index: usize, id: &str) {
    let what = format!("{} is itself again", cluster.nodes[index].name());
    let taken_up = async || {
        let info = cluster.client(index).info().await.map_err(|error| format!("{error:#}"))?;
        if info.local_node_state == "active" { Ok(info.node_id) } else { Err(info.local_node_state) }
    };
    assert_eq!(cluster.wait_until(&what, SOON, taken_up).await.unwrap(), id);
}

/// The disks of a leader and of a follower fill up under load, one after the other.
#[tokio::test]
async fn a_manager_of_three_whose_disk_is_full_stops_and_the_others_go_on() {
    if !disk::available("a_manager_of_three_whose_disk_is_full_stops_and_the_others_go_on") {
        return;
    }
    let options = options(3, 0).into_iter().map(|options| options.on_a_disk_of(DISK_BYTES)).collect();
    let mut cluster = Cluster::with_options(3, options).await.unwrap();
    let load = load(&cluster, 3, 11);
    for round in 0..2 {
        enough_written(&cluster, &load, 50).await;
        let leader = cluster.leader(SOON).await.unwrap();
        let index = if round == 0 { leader } else { (leader + 1) % 3 };
        let raft = cluster.nodes[index].state_folder().join("raft");
        cluster.nodes[index].disk().unwrap().fill(0).unwrap();
        let filled = SystemClock.monotonic();
        says_what_is_full(&cluster, index, &raft).await;
        eprintln!("disk full, said: {:?}", SystemClock.monotonic().since(filled));
        enough_written(&cluster, &load, 50).await;
        let refused = cluster.client(index).get("/nodes").await.unwrap();
        assert!(!refused.is_ok(), "it is no manager any more: {}", refused.message());
        starts_again_with_space(&mut cluster, index).await;
    }
    enough_written(&cluster, &load, 50).await;
    let leader = cluster.leader(SOON).await.unwrap();
    let report = load.finish(&cluster.client(leader)).await.unwrap();
    eprintln!("{report}");
    report.check().unwrap();
}

#[tokio::test]
async fn the_only_manager_whose_disk_is_full_acknowledges_nothing() {
    if !disk::available("the_only_manager_whose_disk_is_full_acknowledges_nothing") {
        return;
    }
    let options = options(1, 0).into_iter().map(|options| options.on_a_disk_of(DISK_BYTES)).collect();
    let mut cluster = Cluster::with_options(1, options).await.unwrap();
    let load = load(&cluster, 1, 12);
    enough_written(&cluster, &load, 50).await;
    let node = cluster.client(0).node(cluster.id(0)).await.unwrap();
    let raft = cluster.nodes[0].state_folder().join("raft");
    cluster.nodes[0].disk().unwrap().fill(0).unwrap();
    says_what_is_full(&cluster, 0, &raft).await;
    let said = SystemClock.monotonic();
    let answer = cluster.client(0).update_node(&node.id, node.version.index, &node.spec).await.unwrap();
    assert!(
        answer.status == 503 && answer.message().contains(FULL),
        "{} {}",
        answer.status,
        answer.message()
    );
    assert_eq!(load.first_after(said), None, "nothing was acknowledged meanwhile");
    starts_again_with_space(&mut cluster, 0).await;
    enough_written(&cluster, &load, 50).await;
    let report = load.finish(&cluster.client(0)).await.unwrap();
    eprintln!("{report}");
    report.check().unwrap();
}

/// The small files of a node are written while there is no space: the ones before stay whole.
#[tokio::test]
async fn a_node_whose_place_changes_on_a_full_disk_keeps_the_one_it_had() {
    if !disk::available("a_node_whose_place_changes_on_a_full_disk_keeps_the_one_it_had") {
        return;
    }
    let mut options = options(1, 1);
    options[1].disk_bytes = Some(DISK_BYTES);
    let mut cluster = Cluster::with_options(1, options).await.unwrap();
    let folder = cluster.nodes[1].state_folder();
    let files = ["node.json", "identity.pem"].map(|name| folder.join(name));
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    cluster.nodes[1].disk().unwrap().fill(0).unwrap();

    // A new certificate and a new place have to be kept; it says that it cannot, and tries again.
    cluster.client(0).set_role(cluster.id(1), "manager").await.unwrap();
    let complains = async || {
        let log = cluster.nodes[1].log();
        log.lines().find(|line| line.contains(FULL)).map(str::to_owned).ok_or("it says nothing".into())
    };
    let words = cluster.wait_until("it says that its disk is full", SOON, complains).await.unwrap();
    assert!(words.contains(&folder.display().to_string()), "{words}");
    assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), before);
    cluster.node_state(1, "ready", SOON).await.unwrap();

    // No start without a generation of its own; it is not half a node either.
    cluster.nodes[1].kill();
    cluster.nodes[1].launch().await.unwrap();
    says_what_is_full(&cluster, 1, &folder).await;
    assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), before);
    assert!(!folder.join("node.json.next").exists(), "a full disk is not made fuller");

    starts_again_with_space(&mut cluster, 1).await;
    let promoted = async || {
        let node = cluster.client(0).node(cluster.id(1)).await.map_err(|error| format!("{error:#}"))?;
        let manager = node.manager_status.ok_or("no manager")?;
        if manager.reachability == "reachable" { Ok(()) } else { Err(manager.reachability) }
    };
    cluster.wait_until("the promotion comes to its end", SOON, promoted).await.unwrap();
}

/// Every file of a folder with what is in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => found.extend(contents(&path)),
            path => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

/// Makes a folder what it was: newer snapshots would do for a damaged one.
fn put_back(folder: &Path, whole: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in contents(folder).into_keys().filter(|path| !whole.contains_key(path)) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in whole {
        fs::write(path, bytes).unwrap();
    }
}

/// What can happen to a file.
fn damaged(name: &str, whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let turned = |range: std::ops::Range<usize>| {
        let mut bytes = whole.to_vec();
        bytes[range].iter_mut().for_each(|byte| *byte ^= 0x55);
        bytes
    };
    let half = whole.len() / 2;
    let mut damages = vec![("cut to half", whole[..half].to_vec()), ("emptied", Vec::new())];
    if name == "log" {
        // Not every page of a database is in use: what it begins with is, and so is something of its second half.
        damages.extend([
            ("a bad beginning", turned(0..64)),
            ("all bad but its first page", turned(4096..whole.len())),
        ]);
    } else {
        damages.extend([("a bad byte", turned(half..half + 1)), ("a bad beginning", turned(0..8))]);
    }
    damages
}

#[tokio::test]
async fn every_damaged_file_is_named_and_kept_and_restoring_it_is_enough() {
    let mut cluster = Cluster::new(1, 0).await.unwrap();
    let label = |number: usize| format!("value{number}");
    make_snapshots_often(&cluster).await;
    for number in 0..40 {
        let change = |spec: &mut common::engine_api::node::NodeSpec| {
            spec.labels.insert("newest".into(), label(number));
        };
        cluster.client(0).change_node(cluster.id(0), change).await.unwrap();
    }
    let id = cluster.id(0).to_owned();
    let folder = cluster.nodes[0].state_folder();
    let snapshots =
        || contents(&folder).into_keys().filter(|path| name_of(path).starts_with("snapshot-")).count();
    let made = async || if snapshots() > 0 { Ok(()) } else { Err("none".into()) };
    cluster.wait_until("a snapshot", SOON, made).await.unwrap();
    cluster.nodes[0].stop().await.unwrap();

    let whole = contents(&folder);
    eprintln!(
        "files: {:?}",
        whole.iter().map(|(path, bytes)| (name_of(path), bytes.len())).collect::<Vec<_>>()
    );
    // The journal of tasks is another matter: see below. A damaged audit record is said by whoever reads it, and keeps
    // nobody from working.
    let is_vital = |path: &Path| !matches!(name_of(path), "lock" | "audit.jsonl" | JOURNAL);
    for (path, bytes) in whole.iter().filter(|(path, _)| is_vital(path)) {
        for (damage, bad) in damaged(name_of(path), bytes) {
            let what = format!("{}, {damage}", name_of(path));
            put_back(&folder, &whole);
            fs::write(path, &bad).unwrap();
            cluster.nodes[0].launch().await.unwrap();
            let words = stops_with_an_error(&cluster, 0).await;
            eprintln!("{what}: {words}");
            // A log that is not there has no name of its own; its folder has.
            let lost = name_of(path) == "log" && bad.is_empty();
            let file = if lost { path.parent().unwrap() } else { path.as_path() }.display().to_string();
            assert!(words.contains(&file), "{what}: '{words}' should name {file}");
            has_logged(&cluster, 0, &[&file]);
            cluster.nodes[0].kill();
            let left = contents(&folder);
            assert!(whole.keys().all(|path| left.contains_key(path)), "{what}: {:?}", left.keys());
            assert!(left[path] == bad, "{what}: it is as it was");

            fs::write(path, bytes).unwrap();
            cluster.nodes[0].launch().await.unwrap();
            is_itself(&cluster, 0, &id).await;
            cluster.all_ready(SOON).await.unwrap();
            let labels = cluster.client(0).labels(&id).await.unwrap();
            assert_eq!(labels.get("newest"), Some(&label(39)), "{what}");
            cluster.nodes[0].stop().await.unwrap();
        }
    }
}

const JOURNAL: &str = "tasks.journal";

/// What a node knew of its tasks, its leader tells it again: a damaged journal is named and put aside, and the node
/// goes on.
#[tokio::test]
async fn a_damaged_journal_of_tasks_is_named_and_put_aside() {
    let mut cluster = Cluster::new(1, 0).await.unwrap();
    let id = cluster.id(0).to_owned();
    cluster.nodes[0].stop().await.unwrap();
    let whole = contents(&cluster.nodes[0].state_folder());
    let (path, bytes) = whole.iter().find(|(path, _)| name_of(path) == JOURNAL).expect("a journal");
    let bad: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x55).collect();
    fs::write(path, &bad).unwrap();
    cluster.nodes[0].launch().await.unwrap();
    is_itself(&cluster, 0, &id).await;
    cluster.all_ready(SOON).await.unwrap();
    let aside = path.with_file_name(format!("{JOURNAL}.damaged"));
    let words = aside.display().to_string();
    assert!(cluster.nodes[0].log().lines().any(|line| line.contains(&words)), "it says where it is");
    assert_eq!(fs::read(&aside).unwrap(), bad, "it is as it was");
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

async fn make_snapshots_often(cluster: &Cluster) {
    let swarm = cluster.client(0).swarm().await.unwrap();
    let mut spec = swarm.spec;
    spec.raft.snapshot_interval = 10;
    let path = format!("/swarm/update?version={}", swarm.version.index);
    cluster.client(0).post(&path, &spec).await.unwrap().ok().unwrap();
}
