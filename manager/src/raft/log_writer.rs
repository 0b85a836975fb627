//! Group commit: one thread writes everything raft has to remember.
//!
//! It takes all that waits, writes it in one transaction with one sync, then tells everybody. While the disk
//! is busy, more gathers; so a slow disk makes batches larger, not waits longer. The order in which things
//! were handed over is the order in which they become true on disk.
//!
//! After an error nothing is written and nothing is acknowledged again.

use std::io;
use std::sync::{Arc, Mutex, RwLock};

use common::limits::{LOG_BATCH_BYTES_MAX, LOG_BATCH_OPERATIONS_MAX, LOG_RESEAL_BYTES_MAX};
use common::report::Report;
use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::log::Index;
use super::log_file::{LogFile, Write};
use super::types::{Entry, LogId, TypeConfig, Vote, entry_bytes};

/// Something to make durable, and who wants to know.
pub enum Operation {
    Append {
        entries: Vec<Entry>,
        done: IOFlushed<TypeConfig>,
    },
    Vote {
        vote: Vote,
        done: Done,
    },
    TruncateFrom {
        index: u64,
        done: Done,
    },
    PurgeUpTo {
        log_id: LogId,
    },
    /// Answers where to go on.
    Reseal {
        from: u64,
        done: oneshot::Sender<io::Result<Option<u64>>>,
    },
    Close {
        done: Done,
    },
}

pub type Done = oneshot::Sender<io::Result<()>>;

/// The file while it is open. Readers share it with the writer; closing takes it away from all of them.
pub type SharedFile = Arc<RwLock<Option<LogFile>>>;

pub struct Writer {
    pub file: SharedFile,
    pub operations: mpsc::Receiver<Operation>,
    pub index: Arc<Mutex<Index>>,
    pub failure: Failure,
    /// The index after the last entry on disk.
    pub durable_next: u64,
    /// The commit mark on disk.
    pub committed: Option<LogId>,
}

impl Writer {
    /// Runs until it is told to close or every handle is gone.
    pub fn run(mut self) {
        while let Some(first) = self.operations.blocking_recv() {
            let batch = self.gather(first);
            let outcome = self.write(&batch);
            let mut closing = Vec::new();
            for operation in batch {
                let outcome = copy(&outcome);
                match operation {
                    Operation::Append { done, .. } => done.io_completed(outcome),
                    // Whoever waited may have gone; what was written stays.
                    Operation::Vote { done, .. } | Operation::TruncateFrom { done, .. } => {
                        let _ = done.send(outcome);
                    }
                    Operation::PurgeUpTo { .. } => {}
                    Operation::Reseal { from, done } => {
                        let _ = done.send(outcome.and_then(|()| self.reseal(from)));
                    }
                    Operation::Close { done } => closing.push((done, outcome)),
                }
            }
            if !closing.is_empty() {
                drop(self.file.write().expect("no holder panics").take());
                for (done, outcome) in closing {
                    let _ = done.send(outcome);
                }
                return;
            }
        }
    }

    fn gather(&mut self, first: Operation) -> Vec<Operation> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < LOG_BATCH_OPERATIONS_MAX && bytes < LOG_BATCH_BYTES_MAX {
            let Ok(next) = self.operations.try_recv() else { break };
            bytes += next.bytes();
            batch.push(next);
        }
        batch
    }

    fn write(&mut self, batch: &[Operation]) -> io::Result<()> {
        if let Some(reason) = self.failure.get() {
            return Err(io::Error::other(reason));
        }
        let mut writes = Vec::new();
        let mut durable_next = self.durable_next;
        for operation in batch {
            match operation {
                Operation::Append { entries, .. } => {
                    writes.extend(entries.iter().cloned().map(Write::Entry));
                    durable_next = entries.last().map_or(durable_next, |last| last.log_id.index() + 1);
                }
                Operation::Vote { vote, .. } => writes.push(Write::Vote(*vote)),
                Operation::TruncateFrom { index, .. } => {
                    writes.push(Write::TruncateFrom(*index));
                    durable_next = durable_next.min(*index);
                }
                Operation::PurgeUpTo { log_id } => {
                    writes.push(Write::PurgeUpTo(*log_id));
                    durable_next = durable_next.max(log_id.index() + 1);
                }
                Operation::Reseal { .. } | Operation::Close { .. } => {}
            }
        }
        let committed = self.committed_to_write(durable_next);
        writes.extend(committed.map(Write::Committed));
        if !writes.is_empty() {
            let file = self.file.read().expect("no holder panics");
            let file = file.as_ref().ok_or_else(closed)?;
            if let Err(error) = file.commit(&writes) {
                self.failure.set(Report(&error));
                return Err(io::Error::other(Report(&error).to_string()));
            }
        }
        self.durable_next = durable_next;
        self.committed = committed.or(self.committed);
        self.index.lock().expect("no holder panics").flushed(durable_next);
        Ok(())
    }

    fn reseal(&self, from: u64) -> io::Result<Option<u64>> {
        let file = self.file.read().expect("no holder panics");
        let file = file.as_ref().ok_or_else(closed)?;
        file.reseal(from, LOG_RESEAL_BYTES_MAX).map_err(|error| {
            self.failure.set(Report(&error));
            io::Error::other(Report(&error).to_string())
        })
    }

    /// The commit mark rides along with other writes and costs no sync of its own. It must never point past
    /// the entries on disk: a restart would look for them.
    fn committed_to_write(&self, durable_next: u64) -> Option<LogId> {
        let committed = self.index.lock().expect("no holder panics").committed()?;
        (Some(committed) != self.committed && committed.index() < durable_next).then_some(committed)
    }
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Operation::Append { entries, .. } => entries.iter().map(entry_bytes).sum(),
            Operation::Vote { .. }
            | Operation::TruncateFrom { .. }
            | Operation::PurgeUpTo { .. }
            | Operation::Reseal { .. }
            | Operation::Close { .. } => 0,
        }
    }
}

pub fn closed() -> io::Error {
    io::Error::other("the raft log is closed")
}

fn copy(outcome: &io::Result<()>) -> io::Result<()> {
    outcome.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}
