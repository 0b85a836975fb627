//! What survives: power cuts, failing disks, lost folders, lost majorities; and what a thief of the disk sees.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};

use common::object::{Cluster, ClusterId, NodeId};
use common::report::Report;
use common::time::Timestamp;

use super::disk::{Faults, FaultyDisk, VolatileDisk};
use super::group::{Group, data_keys, settled, until};
use super::{SECRET, create_cluster, create_node};
use crate::raft::folder::FolderError;
use crate::raft::{
    ForceError, ProposeError, RaftStartError, SnapshotPolicy, force_new_cluster, has_state, wipe,
};
use crate::store::{Change, Proposal, Tables, Write};

/// Starts member 1 with its log on `disk`.
async fn start_on(group: &mut Group, disk: &VolatileDisk) {
    let log = disk.clone();
    // The folder is looked at to see whether there was a log.
    fs::create_dir_all(group.path(1)).unwrap();
    fs::write(group.path(1).join("log"), b"elsewhere").unwrap();
    group.start_on(1, 1, move |_| Ok(log)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_in_a_power_cut() {
    let disk = VolatileDisk::default();
    let mut group = Group::new();
    start_on(&mut group, &disk).await;
    group.members[&1].raft.initialize(NodeId(1), "127.0.0.1:1001").await.unwrap();
    for round in 0..5u64 {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (raft, acknowledged, stop) =
                (group.members[&1].raft.clone(), acknowledged.clone(), stop.clone());
            group.tasks.spawn(async move {
                for number in 0..u64::MAX {
                    if stop.load(SeqCst)
                        || raft.propose(&create_node(round << 32 | number, 10)).await.is_err()
                    {
                        return;
                    }
                    acknowledged.store(number + 1, SeqCst);
                }
            })
        };
        until("some writes", || acknowledged.load(SeqCst) > 20 * (round + 1)).await;
        // First what was promised, then the disk as it is: the other way round would test nothing.
        let promised = acknowledged.load(SeqCst);
        let after = disk.cut_power();
        stop.store(true, SeqCst);
        writer.await.unwrap();
        group.stop(1).await;
        let mut restarted = Group::new();
        start_on(&mut restarted, &after).await;
        let version = restarted.write(&create_node(u64::MAX - 1, 0)).await;
        restarted.all_reach(version).await;
        let tables = restarted.members[&1].store.snapshot();
        for number in 0..promised {
            let node = NodeId((round << 32 | number).into());
            assert!(tables.nodes.get(node).is_some(), "round {round}: write {number} of {promised} is lost");
        }
        restarted.stop(1).await;
        start_on(&mut group, &disk).await;
        group.leader().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_stops_the_manager_and_says_which_file() {
    let faults = Arc::new(Faults::default());
    let mut group = Group::new();
    let disk_faults = faults.clone();
    group.start_on(1, 1, move |path: &Path| FaultyDisk::open(path, disk_faults)).await.unwrap();
    group.members[&1].raft.initialize(NodeId(1), "127.0.0.1:1001").await.unwrap();
    group.write(&create_node(1, 0)).await;
    faults.fail_syncs.store(true, SeqCst);
    let raft = group.members[&1].raft.clone();
    let lost = raft.propose(&create_node(2, 0)).await;
    // Not `Stopped`, which says that nothing was written: nobody knows what is on this disk.
    assert!(matches!(lost, Err(ProposeError::StoppedMeanwhile(_) | ProposeError::Uncertain)), "{lost:?}");
    let mut failure = raft.failure();
    let reason = failure.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    let file = group.path(1).join("log").display().to_string();
    assert!(reason.contains(&file) && reason.contains("the disk did not take it"), "{reason}");
    faults.fail_syncs.store(false, SeqCst);
    match raft.propose(&create_node(3, 0)).await {
        Err(ProposeError::Stopped(said)) => assert_eq!(said, reason),
        other => panic!("{other:?}"),
    }
    until("it no longer leads", || !raft.watch().borrow().is_me).await;
    // Restarted on a disk that works, it has what it acknowledged.
    group.stop(1).await;
    group.start(1).await.unwrap();
    let version = group.write(&create_node(4, 0)).await;
    group.all_reach(version).await;
    let nodes = group.members[&1].store.snapshot().nodes;
    assert!(nodes.get(NodeId(1)).is_some() && nodes.get(NodeId(3)).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_when_the_leader_s_disk_is_full() {
    let faults = Arc::new(Faults::default());
    let mut group = Group::new();
    let disk_faults = faults.clone();
    group.start_on(1, 1, move |path: &Path| FaultyDisk::open(path, disk_faults)).await.unwrap();
    group.members[&1].raft.initialize(NodeId(1), "127.0.0.1:1001").await.unwrap();
    for raft_id in [2, 3] {
        group.start(raft_id).await.unwrap();
        group.join(raft_id).await;
    }
    if group.leader().await != 1 {
        let leader = group.leader().await;
        group.members[&leader].raft.transfer_leadership(1).await.unwrap();
    }
    group.write(&create_node(1, 0)).await;
    faults.full.store(true, SeqCst);
    let version = group.write(&create_node(2, 1 << 20)).await;
    let reason = group.members[&1].raft.failure().wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(reason.contains("no space left on device"), "{reason}");
    group.stop(1).await;
    group.all_reach(version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_on_disk_nowhere_in_clear() {
    let mut group = Group::new();
    group.policy = SnapshotPolicy { interval: 5, log_entries_kept: 100 };
    group.grow_to(1).await;
    group.write(&create_cluster(1)).await;
    for number in 0..20 {
        group.write(&create_node(number, 0)).await;
    }
    until("a snapshot", || group.members[&1].raft.status().snapshot.is_some()).await;
    group.stop(1).await;
    let mut files = 0;
    let mut folders = vec![group.path(1).parent().unwrap().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = fs::read(&path).unwrap();
            let readable = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!readable, "{}", path.display());
        }
    }
    assert!(files >= 3, "log, snapshot and note");
    group.start(1).await.unwrap();
    let tables = group.members[&1].store.snapshot();
    assert_eq!(tables.cluster().unwrap().authority.key_pem.reveal(), SECRET);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_named_and_not_replaced_by_an_older_one() {
    let mut group = Group::new();
    group.policy = SnapshotPolicy { interval: 5, log_entries_kept: 1 };
    group.grow_to(1).await;
    for number in 0..20 {
        group.write(&create_node(number, 0)).await;
    }
    until("a snapshot", || group.members[&1].raft.status().purged.is_some()).await;
    group.stop(1).await;
    let snapshots: Vec<_> = fs::read_dir(group.path(1))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.display().to_string().contains("snapshot-"))
        .collect();
    assert_eq!(snapshots.len(), 1, "only the newest is kept: {snapshots:?}");
    let intact = fs::read(&snapshots[0]).unwrap();
    for at in [0, 8, 9, 25, 30, 100, intact.len() - 1] {
        let mut damaged = intact.clone();
        damaged[at] ^= 1;
        fs::write(&snapshots[0], &damaged).unwrap();
        let error = group.start(1).await.expect_err("damage is noticed");
        let text = Report(&error).to_string();
        assert!(text.contains(&snapshots[0].display().to_string()), "byte {at}: {text}");
    }
    for length in [0, 10, 25, intact.len() - 1] {
        fs::write(&snapshots[0], &intact[..length]).unwrap();
        let error = group.start(1).await.expect_err("a cut file is noticed");
        assert!(Report(&error).to_string().contains(&snapshots[0].display().to_string()));
    }
    fs::write(&snapshots[0], &intact).unwrap();
    fs::write(group.path(1).join("unfinished-0123"), b"half").unwrap();
    group.start(1).await.unwrap();
    assert!(!group.path(1).join("unfinished-0123").exists());
    group.write(&create_node(99, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_data_does_not_come_back_under_its_old_id() {
    let mut group = Group::of(3).await;
    let leader = group.leader().await;
    let lost = group.members.keys().copied().find(|raft_id| *raft_id != leader).unwrap();
    group.stop(lost).await;
    fs::remove_dir_all(group.path(lost)).unwrap();
    assert!(!has_state(&group.path(lost)));
    let error = group.start(lost).await.expect_err("its votes and entries are gone");
    assert!(matches!(error, RaftStartError::Folder(FolderError::Lost { .. })), "{error}");
    assert!(!has_state(&group.path(lost)), "refusing leaves nothing that looks like state");
    // An empty file, and a database with nothing in it, are no log either.
    let log = group.path(lost).join("log");
    fs::create_dir_all(group.path(lost)).unwrap();
    fs::write(&log, []).unwrap();
    let error = group.start(lost).await.expect_err("the file is empty");
    assert!(matches!(error, RaftStartError::Folder(FolderError::Lost { .. })), "{error}");
    assert_eq!(fs::metadata(&log).unwrap().len(), 0, "it is left as it is");
    fs::remove_file(&log).unwrap();
    drop(redb::Database::create(&log).unwrap());
    let error = group.start(lost).await.expect_err("the database is empty");
    assert!(matches!(error, RaftStartError::Folder(FolderError::Lost { .. })), "{error}");
    // The same node under a new id is a new member.
    let node = lost;
    group.start_on(9, node, crate::raft::log_file::file_backend).await.unwrap();
    let raft = group.members[&leader].raft.clone();
    settled(|| raft.remove(lost)).await.unwrap();
    settled(|| raft.add_learner(9, NodeId(node.into()), "127.0.0.1:1")).await.unwrap();
    settled(|| raft.add_voter(9)).await.unwrap();
    let version = group.write(&create_node(1, 0)).await;
    group.all_reach(version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_another_member_is_refused_and_wiped_ids_stay_used() {
    let mut group = Group::of(1).await;
    group.write(&create_node(1, 0)).await;
    group.stop(1).await;
    let error = group.start_on(2, 1, crate::raft::log_file::file_backend).await.unwrap_err();
    assert!(matches!(error, RaftStartError::Folder(FolderError::OtherOwner { .. })), "{error}");
    wipe(&group.path(1)).unwrap();
    assert!(!has_state(&group.path(1)));
    let error = group.start(1).await.unwrap_err();
    assert!(matches!(error, RaftStartError::Folder(FolderError::Lost { raft_id: 1, .. })), "{error}");
    group.start_on(2, 1, crate::raft::log_file::file_backend).await.unwrap();
}

/// Gives the cluster's next raft id, as the daemon does.
fn note_raft_id(raft_id: u64, tables: &Tables) -> Option<Proposal> {
    let mut cluster = Cluster::clone(tables.cluster()?);
    cluster.next_raft_id = raft_id + 1;
    let changes = vec![Change::Cluster(Write::update(cluster))];
    Some(Proposal { id: 77, at: Timestamp(1), changes })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_alone_with_everything_it_held() {
    let mut group = Group::new();
    group.policy = SnapshotPolicy { interval: 20, log_entries_kept: 3 };
    group.grow_to(3).await;
    group.write(&create_cluster(1)).await;
    let mut version = Default::default();
    for number in 0..50 {
        version = group.write(&create_node(number, 10)).await;
    }
    group.all_reach(version).await;
    let survivor = 2;
    let before = group.members[&survivor].store.snapshot();
    for raft_id in [1, 2, 3] {
        group.stop(raft_id).await;
    }
    let path = group.path(survivor);
    let force =
        || force_new_cluster(&path, ClusterId(5), &data_keys(), NodeId(2), "127.0.0.1:1002", note_raft_id);
    let forced = force().unwrap();
    assert_eq!(forced.raft_id, 4, "an id nobody had, nor was about to get");
    assert!(group.start(survivor).await.is_err(), "the old id is of the past");
    group.start_on(forced.raft_id, survivor, crate::raft::log_file::file_backend).await.unwrap();
    let restored = group.members[&forced.raft_id].store.snapshot();
    assert_eq!(restored.nodes, before.nodes);
    assert_eq!(restored.cluster().unwrap().next_raft_id, 5);
    let after = group.write(&create_node(100, 0)).await;
    assert!(after > version && after > forced.version, "versions go on");
    let status = group.members[&forced.raft_id].raft.status();
    assert_eq!(status.members.len(), 1);
    assert_eq!(status.raft_id_of(NodeId(2)), Some(4));
    // It grows again, and what it held reaches the new members.
    fs::remove_dir_all(group.path(3).parent().unwrap()).unwrap();
    group.start_on(5, 3, crate::raft::log_file::file_backend).await.unwrap();
    let raft = group.members[&forced.raft_id].raft.clone();
    settled(|| raft.add_learner(5, NodeId(3), "127.0.0.1:1003")).await.unwrap();
    settled(|| raft.add_voter(5)).await.unwrap();
    let version = group.write(&create_node(101, 0)).await;
    group.all_reach(version).await;
    assert_eq!(group.members[&5].store.snapshot().nodes.len(), 52);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_on_alone_twice_or_after_an_interruption_works() {
    let mut group = Group::of(1).await;
    group.write(&create_cluster(1)).await;
    group.stop(1).await;
    let path = group.path(1);
    let force =
        || force_new_cluster(&path, ClusterId(5), &data_keys(), NodeId(1), "127.0.0.1:1001", |_, _| None);
    assert_eq!(force().unwrap().raft_id, 4, "the cluster had given ids up to 3");
    assert_eq!(force().unwrap().raft_id, 5);
    // Interrupted while the next state was being built: the present one counts.
    fs::create_dir(path.with_extension("next")).unwrap();
    assert_eq!(force().unwrap().raft_id, 6);
    // Interrupted between the two renames: the next one counts.
    fs::rename(&path, path.with_extension("next")).unwrap();
    fs::create_dir(path.with_extension("old")).unwrap();
    fs::write(path.with_extension("old").join("log"), b"what was").unwrap();
    assert!(has_state(&path));
    group.start_on(6, 1, crate::raft::log_file::file_backend).await.unwrap();
    assert!(!path.with_extension("old").exists());
    assert!(group.members[&6].store.snapshot().cluster().is_some());

    let nowhere = group.path(7);
    let error =
        force_new_cluster(&nowhere, ClusterId(5), &data_keys(), NodeId(7), "x", |_, _| None).unwrap_err();
    assert!(matches!(error, ForceError::Nothing(_)), "{error}");
}
