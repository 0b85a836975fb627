//! Committed entries become state: each goes to the store in log order, and its proposer is answered.
//!
//! The state is in memory. On disk are the snapshots; at a start openraft brings back the newest one and
//! applies the log behind it again.

use std::io;
use std::sync::Arc;

use common::limits::LOG_BYTES_BETWEEN_SNAPSHOTS_MAX;
use common::report::Report;
use futures_util::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use super::compact::Compaction;
use super::failure::Failure;
use super::snapshot::{SnapshotFile, Snapshots};
use super::snapshot_file::SnapshotError;
use super::types::{Answer, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, entry_bytes};
use crate::store::{Store, Tables};

pub struct StateMachine {
    store: Store,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Arc<Snapshots>,
    compaction: Arc<Compaction>,
    /// Bytes of log applied since a snapshot was last asked for.
    bytes: usize,
    failure: Failure,
}

/// The state at one moment, to be written down while the next entries are applied.
pub struct Builder {
    meta: SnapshotMeta,
    tables: Tables,
    snapshots: Arc<Snapshots>,
    failure: Failure,
}

impl StateMachine {
    pub fn new(
        store: Store,
        snapshots: Arc<Snapshots>,
        compaction: Arc<Compaction>,
        failure: Failure,
    ) -> Self {
        let membership = StoredMembership::default();
        Self { store, applied: None, membership, snapshots, compaction, bytes: 0, failure }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            // Entries come without waiting for anything, thousands at once: let others run in between.
            tokio::task::coop::consume_budget().await;
            let index = entry.log_id.index();
            self.bytes += entry_bytes(&entry);
            let answer = match entry.payload {
                EntryPayload::Normal(command) => {
                    let proposal = command.proposal().map_err(|error| {
                        // Not something to skip: the managers that can read it have applied it.
                        let error = format!("cannot apply log entry {index}: {error}");
                        self.failure.set(&error);
                        io::Error::other(error)
                    })?;
                    Answer(Some(self.store.apply(index, &proposal)))
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    self.store.pass(index);
                    Answer(None)
                }
                EntryPayload::Blank => {
                    self.store.pass(index);
                    Answer(None)
                }
            };
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        let applied = self.applied.map_or(0, |applied| applied.index());
        if self.compaction.applied(applied, self.bytes > LOG_BYTES_BETWEEN_SNAPSHOTS_MAX) {
            self.bytes = 0;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            meta: SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() },
            tables: self.store.snapshot(),
            snapshots: self.snapshots.clone(),
            failure: self.failure.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let snapshots = self.snapshots.clone();
        let tables = blocking(&self.failure, move || snapshots.install(&snapshot)).await?;
        self.store.restore(tables);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.compaction.covered(meta.last_log_id.map_or(0, |last| last.index()));
        self.bytes = 0;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshots = self.snapshots.clone();
        blocking(&self.failure, move || snapshots.newest()).await
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (meta, tables, snapshots) = (self.meta.clone(), self.tables.clone(), self.snapshots.clone());
        blocking(&self.failure, move || snapshots.build(&meta, &tables)).await
    }
}

/// Runs disk work where it may block. What goes wrong there is for good, except that we are closing.
async fn blocking<T: Send + 'static>(
    failure: &Failure,
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            if !matches!(error, SnapshotError::Closed) {
                failure.set(Report(&error));
            }
            Err(io::Error::other(Report(&error).to_string()))
        }
        Err(error) => {
            failure.set(&error);
            Err(io::Error::other(error))
        }
    }
}
