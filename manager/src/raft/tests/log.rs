//! What the raft log promises: order, durability, nothing silently lost, nothing acknowledged after a failure.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::limits::LOG_MEMORY_BYTES_MAX;
use common::report::Report;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::disk::{KEY, OWNER, VolatileDisk, open_faulty_log, open_log};
use super::{SECRET, create_cluster, create_node};
use crate::raft::failure::Failure;
use crate::raft::log::LogStore;
use crate::raft::log_file::{LogFile, Marks, Write, file_backend};
use crate::raft::seal::Sealer;
use crate::raft::types::{Command, Entry, LogId, TypeConfig, Vote};
use crate::store::Proposal;

fn id(index: u64) -> LogId {
    LogId::new(openraft::impls::leader_id_adv::LeaderId { term: 1, node_id: 1 }, index)
}

fn entry(index: u64, proposal: &Proposal) -> Entry {
    Entry { log_id: id(index), payload: EntryPayload::Normal(Command::new(proposal)) }
}

fn entries(range: std::ops::Range<u64>, padding: usize) -> Vec<Entry> {
    range.map(|index| entry(index, &create_node(index, padding))).collect()
}

/// Hands entries over; the receiver says when they are on disk.
async fn hand_over(log: &mut LogStore, entries: Vec<Entry>) -> OneshotReceiverOf<TypeConfig, io::Result<()>> {
    let (done, written) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(done)).await.unwrap();
    written
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    hand_over(log, entries).await.await.unwrap()
}

async fn indexes(log: &mut LogStore) -> Vec<u64> {
    log.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index()).collect()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut() {
    let disk = VolatileDisk::default();
    let mut log = disk.open_log(Failure::default());
    append(&mut log, entries(0..5, 100)).await.unwrap();
    log.save_vote(&Vote::new_committed(3, 2)).await.unwrap();
    log.save_committed(Some(id(7))).await.unwrap();
    append(&mut log, entries(5..8, 100)).await.unwrap();
    log.purge(id(1)).await.unwrap();
    append(&mut log, entries(8..9, 100)).await.unwrap();
    log.truncate_after(Some(id(7))).await.unwrap();
    let after = disk.cut_power();
    drop(log);

    let mut log = after.open_log(Failure::default());
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1)), Some(id(7))));
    assert_eq!(indexes(&mut log).await, [2, 3, 4, 5, 6, 7]);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 2)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(7)));
    assert_eq!(log.try_get_log_entries(4..5).await.unwrap(), entries(4..5, 100));
}

#[tokio::test]
async fn a_commit_mark_never_points_past_the_entries_on_disk() {
    let disk = VolatileDisk::default();
    let mut log = disk.open_log(Failure::default());
    append(&mut log, entries(0..2, 0)).await.unwrap();
    // A follower may hear of a commit before it has the entry.
    log.save_committed(Some(id(9))).await.unwrap();
    append(&mut log, entries(2..3, 0)).await.unwrap();
    let mut after = disk.cut_power().open_log(Failure::default());
    assert!(after.read_committed().await.unwrap().is_none_or(|committed| committed.index() <= 2));
    append(&mut log, entries(3..10, 0)).await.unwrap();
    let mut after = disk.cut_power().open_log(Failure::default());
    assert_eq!(after.read_committed().await.unwrap(), Some(id(9)));
}

#[tokio::test]
async fn entries_are_readable_before_they_are_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, faults) = open_faulty_log(folder.path(), Failure::default());
    faults.sync_takes_ms.store(300, SeqCst);
    let mut written = hand_over(&mut log, entries(0..3, 0)).await;
    assert_eq!(indexes(&mut log).await, [0, 1, 2]);
    assert!(written.try_recv().is_err(), "acknowledged before the sync ended");
    written.await.unwrap().unwrap();
}

#[tokio::test]
async fn many_appends_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, faults) = open_faulty_log(folder.path(), Failure::default());
    faults.sync_takes_ms.store(50, SeqCst);
    let before = faults.syncs.load(SeqCst);
    let mut waiting = Vec::new();
    for index in 0..100 {
        waiting.push(hand_over(&mut log, entries(index..index + 1, 100)).await);
    }
    for written in waiting {
        written.await.unwrap().unwrap();
    }
    let syncs = faults.syncs.load(SeqCst) - before;
    assert!(syncs <= 10, "{syncs} syncs for 100 appends");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_again() {
    let folder = tempfile::tempdir().unwrap();
    let failure = Failure::default();
    let (mut log, faults) = open_faulty_log(folder.path(), failure.clone());
    append(&mut log, entries(0..1, 0)).await.unwrap();
    faults.fail_syncs.store(true, SeqCst);
    let error = append(&mut log, entries(1..2, 0)).await.unwrap_err();
    assert!(error.to_string().contains("the disk did not take it"), "{error}");
    faults.fail_syncs.store(false, SeqCst);
    append(&mut log, entries(2..3, 0)).await.unwrap_err();
    log.save_vote(&Vote::new(9, 9)).await.unwrap_err();
    assert_eq!(log.read_vote().await.unwrap(), None);
    let reason = failure.get().expect("the failure is latched");
    assert!(reason.contains(&folder.path().join("log").display().to_string()), "{reason}");
    assert!(reason.contains("the disk did not take it"), "{reason}");
}

#[tokio::test]
async fn a_full_disk_is_a_failure_and_what_was_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let failure = Failure::default();
    let (mut log, faults) = open_faulty_log(folder.path(), failure.clone());
    append(&mut log, entries(0..3, 0)).await.unwrap();
    faults.full.store(true, SeqCst);
    append(&mut log, entries(3..4, 1 << 20)).await.unwrap_err();
    assert!(failure.get().unwrap().contains("no space left on device"));
    let _ = log.close().await;
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    assert_eq!(indexes(&mut log).await, [0, 1, 2]);
}

#[tokio::test]
async fn old_entries_leave_memory_and_are_read_back() {
    const PADDING: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    let count = 2 * (LOG_MEMORY_BYTES_MAX / PADDING) as u64;
    for index in 0..count {
        append(&mut log, entries(index..index + 1, PADDING)).await.unwrap();
    }
    let all: Vec<u64> = (0..count).collect();
    assert_eq!(indexes(&mut log).await, all);
    assert_eq!(log.try_get_log_entries(0..1).await.unwrap(), entries(0..1, PADDING));
    let limited = log.limited_get_log_entries(0, count).await.unwrap();
    assert!((1..4).contains(&limited.len()), "{} entries", limited.len());
    assert_eq!(limited[0].log_id.index(), 0);
    // And what was truncated there is not.
    log.truncate_after(Some(id(3))).await.unwrap();
    append(&mut log, entries(4..6, 0)).await.unwrap();
    log.purge(id(1)).await.unwrap();
    assert_eq!(indexes(&mut log).await, [2, 3, 4, 5]);
    log.close().await.unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    assert_eq!(indexes(&mut log).await, [2, 3, 4, 5]);
}

#[tokio::test]
async fn truncating_behind_the_end_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    append(&mut log, entries(0..3, 0)).await.unwrap();
    log.truncate_after(Some(id(2))).await.unwrap();
    log.truncate_after(Some(id(20))).await.unwrap();
    assert_eq!(indexes(&mut log).await, [0, 1, 2]);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(id(2)));
}

#[tokio::test]
async fn a_closed_log_takes_nothing_and_can_be_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    let _written = hand_over(&mut log, entries(0..3, 0)).await;
    log.close().await.unwrap();
    log.save_vote(&Vote::new(1, 1)).await.unwrap_err();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    assert_eq!(indexes(&mut log).await, [0, 1, 2]);
}

#[tokio::test]
async fn secrets_are_not_readable_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    append(&mut log, vec![entry(0, &create_cluster(1))]).await.unwrap();
    log.close().await.unwrap();
    let bytes = std::fs::read(folder.path().join("log")).unwrap();
    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), [entry(0, &create_cluster(1))]);
}

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");

/// A log of entries 0 to 9 whose file `change` then changed; what opening it says.
async fn error_after(change: impl FnOnce(&mut redb::Table<u64, &'static [u8]>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    append(&mut log, entries(0..10, 50)).await.unwrap();
    log.purge(id(1)).await.unwrap();
    log.close().await.unwrap();
    let path = folder.path().join("log");
    {
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&mut transaction.open_table(ENTRIES).unwrap());
        transaction.commit().unwrap();
    }
    let error = open_log(folder.path(), Failure::default()).err().expect("damage is noticed");
    let error = Report(&error).to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    error
}

#[tokio::test]
async fn damage_is_named_and_never_skipped() {
    let flipped = error_after(|table| {
        let mut record = table.get(4).unwrap().unwrap().value().to_vec();
        record[30] ^= 1;
        table.insert(4, record.as_slice()).unwrap();
    });
    assert!(flipped.await.contains("entry 4"));
    let swapped = error_after(|table| {
        let record = table.get(4).unwrap().unwrap().value().to_vec();
        table.insert(5, record.as_slice()).unwrap();
    });
    assert!(swapped.await.contains("entry 5"));
    let cut = error_after(|table| {
        table.insert(9, &[1u8, 2, 3][..]).unwrap();
    });
    assert!(cut.await.contains("entry 9"));
    let missing = error_after(|table| drop(table.remove(6).unwrap()));
    assert!(missing.await.contains("after entry 5 comes 7"));
    let beheaded = error_after(|table| drop(table.remove(2).unwrap()));
    assert!(beheaded.await.contains("its first entry is 3, 2 was due"));
}

#[tokio::test]
async fn a_changed_byte_anywhere_loses_no_entry_silently() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    append(&mut log, entries(0..10, 50)).await.unwrap();
    log.close().await.unwrap();
    let path = folder.path().join("log");
    let intact = std::fs::read(&path).unwrap();
    let used: Vec<usize> = (0..intact.len()).filter(|at| intact[*at] != 0).collect();
    for at in used.iter().step_by(used.len() / 150 + 1) {
        let mut changed = intact.clone();
        changed[*at] ^= 0x10;
        std::fs::write(&path, &changed).unwrap();
        if let Ok(mut log) = open_log(folder.path(), Failure::default()) {
            let found = log.try_get_log_entries(..).await.unwrap();
            assert_eq!(found, entries(0..10, 50), "byte {at} of {}", intact.len());
            log.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_log(folder.path(), Failure::default()).unwrap();
    append(&mut log, entries(0..1, 0)).await.unwrap();
    log.close().await.unwrap();
    let path = folder.path().join("log");
    let sealer = Arc::new(Sealer::new(&[9; 32]));
    let opened = LogFile::open(&path, file_backend(&path).unwrap(), sealer);
    let error = Report(&opened.err().expect("the key is wrong")).to_string();
    assert!(error.contains("changed or sealed with another data key"), "{error}");
}

/// Logs that managers in the field have on disk must stay readable: these bytes may never change meaning.
#[test]
fn records_of_format_1_stay_readable() {
    use common::wire::codec;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let vote = Vote::new_committed(3, 2);
    assert_eq!(hex(&codec::encode(&vote)), "01030201");
    assert_eq!(hex(&codec::encode(&id(300))), "010101fb2c01");
    let blank = Entry { log_id: id(7), payload: EntryPayload::Blank };
    assert_eq!(hex(&codec::encode(&blank)), "0101010700");
    let proposal = Proposal { id: 5, at: common::time::Timestamp(6), changes: vec![] };
    let normal = entry(8, &proposal);
    assert_eq!(hex(&codec::encode(&normal)), "01010108010401050600");
    for record in [blank, normal] {
        assert_eq!(codec::decode::<Entry>(&codec::encode(&record)).unwrap(), record);
    }
}

#[test]
fn marks_and_entries_are_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let sealer = Arc::new(Sealer::new(&KEY));
    let file = LogFile::open(&path, file_backend(&path).unwrap(), sealer).unwrap();
    file.commit(&[
        Write::Owner(OWNER),
        Write::Vote(Vote::new(2, 1)),
        Write::Entry(entries(0..1, 0).remove(0)),
        Write::Committed(id(0)),
        Write::PurgeUpTo(id(0)),
    ])
    .unwrap();
    let marks = file.marks();
    let expected = Marks {
        owner: Some(OWNER),
        vote: Some(Vote::new(2, 1)),
        committed: Some(id(0)),
        purged: Some(id(0)),
        next: 1,
    };
    assert_eq!(marks, expected);
    assert!(file.entries(0..9, usize::MAX).unwrap().is_empty());
    drop(file);
    let database = Database::open(&path).unwrap();
    assert!(database.begin_read().unwrap().open_table(ENTRIES).is_ok());
}
