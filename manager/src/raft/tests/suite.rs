//! openraft's own tests of a log store and a state machine, on ours as it ships.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::disk::open_log;
use crate::raft::compact::{Compaction, SnapshotPolicy};
use crate::raft::failure::Failure;
use crate::raft::log::LogStore;
use crate::raft::seal::Sealer;
use crate::raft::snapshot::Snapshots;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::TypeConfig;
use crate::store::Store;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let failure = Failure::default();
        let log = open_log(folder.path(), failure.clone()).unwrap();
        let sealer = Arc::new(Sealer::new(&[1; 32]));
        let snapshots = Arc::new(Snapshots::open(folder.path(), sealer, 0).unwrap());
        let policy = SnapshotPolicy { interval: 10_000, log_entries_kept: 0 };
        let compaction = Arc::new(Compaction::new(policy));
        let machine = StateMachine::new(Store::new(), snapshots, compaction, failure);
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_s_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
