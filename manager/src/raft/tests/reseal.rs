//! A change of the data key: old and new lie side by side until nothing needs the old one, whenever the process dies.

use std::fs;
use std::path::Path;

use common::identity::DataKeys;
use common::object::{ClusterId, NodeId};

use super::group::{Group, data_key, data_keys, until};
use super::{SECRET, create_cluster, create_node};
use crate::raft::log_file::file_backend;
use crate::raft::{SnapshotPolicy, force_new_cluster};
use crate::store::Tables;

const PADDING: usize = 40_000;

fn both() -> DataKeys {
    DataKeys { current: data_key(2), version: 2, previous: Some(data_key(1)) }
}

fn second() -> DataKeys {
    DataKeys { previous: None, ..both() }
}

/// A manager of its own on a copy of what is on disk, as it is found after a kill.
async fn found_after_a_kill(folder: &Path, keys: DataKeys) -> Result<Tables, String> {
    let mut group = Group::new();
    group.data_keys = keys;
    copy(folder, &group.path(1));
    group.start(1).await.map_err(|error| common::report::Report(&error).to_string())?;
    let version = group.write(&create_node(u64::MAX - 1, 0)).await;
    group.all_reach(version).await;
    let tables = group.members[&1].store.snapshot();
    group.stop(1).await;
    Ok(tables)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    fs::copy(from.with_extension("id"), to.with_extension("id")).unwrap();
}

async fn a_manager_with_a_log_and_snapshots() -> Group {
    let mut group = Group::new();
    group.policy = SnapshotPolicy { interval: 10_000, log_entries_kept: 200 };
    group.grow_to(1).await;
    group.write(&create_cluster(1)).await;
    for number in 10..100 {
        group.write(&create_node(number, PADDING)).await;
    }
    let raft = group.members[&1].raft.clone();
    raft.snapshot_now().await.unwrap();
    until("a snapshot", || raft.status().snapshot.is_some()).await;
    for number in 100..130 {
        group.write(&create_node(number, PADDING)).await;
    }
    group
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_step_leaves_data_that_opens() {
    let group = a_manager_with_a_log_and_snapshots().await;
    let (folder, member) = (group.path(1), &group.members[&1]);
    let expected = member.store.snapshot().nodes;
    // Only the keys are changed: what was written is under the old one, what will be is under the new.
    let shared = &member.raft.shared;
    shared.sealer.change(&both());
    group.write(&create_node(500, 10)).await;
    let mut steps = 0;
    let check = async |step: &str| {
        let tables =
            found_after_a_kill(&folder, both()).await.unwrap_or_else(|error| panic!("{step}: {error}"));
        assert_eq!(tables.nodes.len(), expected.len() + 2, "{step}");
        assert!(expected.iter().all(|node| tables.nodes.get(node.id) == Some(node)), "{step}");
    };
    check("the keys are changed").await;
    // Piece by piece, as the log does it itself.
    let mut from = Some(0);
    while let Some(start) = from {
        from = shared.log.reseal_piece(start).await.unwrap();
        steps += 1;
        if steps < 4 || from.is_none() {
            check(&format!("the log up to {from:?}")).await;
        }
    }
    assert!(steps > 1, "a log of one piece shows nothing");
    let early = found_after_a_kill(&folder, second()).await;
    assert!(early.is_err_and(|error| error.contains("snapshot")), "snapshots are under the old key still");
    shared.snapshots.reseal().unwrap();
    check("the snapshots").await;
    let tables = found_after_a_kill(&folder, second()).await.expect("nothing needs the old key");
    assert_eq!(tables.nodes.len(), expected.len() + 2);
    let early = found_after_a_kill(&folder, data_keys()).await;
    assert!(early.is_err(), "the old key opens nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_written_to_changes_its_key_and_starts_with_the_new_one_alone() {
    let mut group = a_manager_with_a_log_and_snapshots().await;
    let member = &group.members[&1];
    let (raft, keys) = (member.raft.clone(), both());
    assert_eq!(raft.data_key_version(), 1);
    let resealing = async {
        raft.reseal(&keys).await.unwrap();
        raft.forget_key_before(&keys);
    };
    let writing = async {
        for number in 200..260 {
            group.write(&create_node(number, 1_000)).await;
        }
    };
    tokio::join!(resealing, writing);
    assert_eq!(raft.data_key_version(), 2);
    raft.snapshot_now().await.unwrap();
    let version = group.write(&create_node(300, 0)).await;
    group.all_reach(version).await;
    let before = member.store.snapshot();
    group.stop(1).await;
    let error = group.start(1).await.unwrap_err();
    assert!(common::report::Report(&error).to_string().contains("another data key"), "{error}");
    group.data_keys = second();
    group.start(1).await.unwrap();
    let version = group.write(&create_node(301, 0)).await;
    group.all_reach(version).await;
    let after = group.members[&1].store.snapshot();
    assert_eq!(after.nodes.len(), before.nodes.len() + 1);
    assert_eq!(after.cluster().unwrap().authority.key_pem.reveal(), SECRET);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_arrives_across_a_change_is_kept_under_the_new_key() {
    let group = a_manager_with_a_log_and_snapshots().await;
    let shared = &group.members[&1].raft.shared;
    let newest = shared.snapshots.newest().unwrap().unwrap();
    // Received under the old key, and taken over when that is forgotten.
    let mut reader = shared.snapshots.read(&newest.snapshot).unwrap();
    let (unfinished, mut writer) = shared.snapshots.receive(&newest.meta).unwrap();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        std::io::Write::write_all(&mut writer, &chunk).unwrap();
    }
    writer.finish().unwrap();
    let received = shared.snapshots.received(unfinished).unwrap();
    group.members[&1].raft.reseal(&both()).await.unwrap();
    group.members[&1].raft.forget_key_before(&both());
    shared.snapshots.install(&received).unwrap();
    assert!(shared.snapshots.newest().unwrap().is_some(), "it opens with the new key alone");
    // One that was opened before is read to its end.
    let mut reader = shared.snapshots.read(&newest.snapshot).unwrap();
    while reader.next_chunk().unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_on_alone_in_the_middle_of_a_change_works() {
    let mut group = a_manager_with_a_log_and_snapshots().await;
    group.members[&1].raft.shared.sealer.change(&both());
    group.write(&create_node(500, 10)).await;
    group.stop(1).await;
    let (path, keys) = (group.path(1), both());
    let forced =
        force_new_cluster(&path, ClusterId(5), &keys, NodeId(1), "127.0.0.1:1001", |_, _| None).unwrap();
    group.data_keys = second();
    group.start_on(forced.raft_id, 1, file_backend).await.unwrap();
    assert!(group.members[&forced.raft_id].store.snapshot().nodes.get(NodeId(500)).is_some());
}
