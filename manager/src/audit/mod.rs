//! The audit record: who did what to the cluster through this node, from where, when, and with which outcome.
//!
//! - `chain`: a line of the record, and how a damaged or missing one shows. Pure.
//! - `file`: the files it lies in, bounded and rotated; writing and reading them.
//! - `redact`: what must not get into it. Pure. `select`: which records somebody asks for. Pure.
//!
//! Records are handed to one writer, so that an answer waits for a place in its queue and never for the disk. Not
//! here: what is worth a record (`api::note`).

mod chain;
mod file;
pub mod redact;
pub mod select;

use std::path::PathBuf;
use std::sync::Arc;

use common::engine_api::access::{AuditAnswer, AuditRecord};
use common::limits::{AUDIT_BATCH_RECORDS_MAX, AUDIT_QUEUE_RECORDS_MAX};
use common::report::Report;
use common::shutdown::Tasks;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use self::file::Files;
use self::select::Selection;

/// The way to the record of this node. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Audit {
    /// None for a node that keeps no record, as in tests.
    writer: Option<mpsc::Sender<Job>>,
    folder: Arc<PathBuf>,
}

enum Job {
    Write(Box<AuditRecord>),
    /// Answers when all before it is on disk.
    Flush(oneshot::Sender<()>),
    /// The same, and nothing comes after it.
    End(oneshot::Sender<()>),
}

/// Why the record cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{action} the audit record {}", path.display())]
pub struct AuditError {
    pub action: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

impl Audit {
    /// Opens the record in `folder` and starts its writer, which ends when the last handle is gone.
    pub fn start(folder: PathBuf, tasks: &Tasks) -> Result<Self, AuditError> {
        let files = Files::open(&folder)?;
        let (writer, jobs) = mpsc::channel(AUDIT_QUEUE_RECORDS_MAX);
        tasks.spawn(tokio::task::spawn_blocking(move || write(files, jobs)));
        Ok(Self { writer: Some(writer), folder: folder.into() })
    }

    /// Hands a record to the writer. Waits only while the queue is full.
    pub async fn write(&self, record: AuditRecord) {
        if let Some(writer) = &self.writer
            && writer.send(Job::Write(Box::new(record))).await.is_err()
        {
            error!("a change of the cluster is not in the audit record: its writer has ended");
        }
    }

    /// The same from where nothing can wait.
    pub fn write_now(&self, record: AuditRecord) {
        if let Some(writer) = &self.writer
            && writer.try_send(Job::Write(Box::new(record))).is_err()
        {
            error!("a change of the cluster is not in the audit record: its writer is behind or has ended");
        }
    }

    /// Waits until everything written so far is on disk.
    pub async fn flush(&self) {
        let Some(writer) = &self.writer else { return };
        let (done, flushed) = oneshot::channel();
        if writer.send(Job::Flush(done)).await.is_ok() {
            let _ = flushed.await; // a writer that has ended has nothing more to write
        }
    }

    /// Waits until everything is on disk, and ends the writer.
    pub async fn close(&self) {
        let Some(writer) = &self.writer else { return };
        let (done, ended) = oneshot::channel();
        if writer.send(Job::End(done)).await.is_ok() {
            let _ = ended.await; // it has ended
        }
    }

    /// The newest records that somebody asks for, oldest first.
    pub async fn read(&self, selection: Selection) -> AuditAnswer {
        if self.writer.is_none() {
            return AuditAnswer {
                missing: vec!["this node keeps no audit record".into()],
                ..AuditAnswer::default()
            };
        }
        self.flush().await;
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || file::read(&folder, &selection));
        reading.await.unwrap_or_else(|_| AuditAnswer {
            missing: vec!["the audit record of this node could not be read".into()],
            ..AuditAnswer::default()
        })
    }
}

/// Takes what there is, writes it, and makes it last before it takes more.
fn write(mut files: Files, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    let mut ended = false;
    while !ended && jobs.blocking_recv_many(&mut batch, AUDIT_BATCH_RECORDS_MAX) > 0 {
        let mut flushed = Vec::new();
        let mut lost = 0;
        let mut failure = None;
        for job in batch.drain(..) {
            match job {
                Job::Write(record) => {
                    if let Err(error) = files.append(*record) {
                        lost += 1;
                        failure = Some(error);
                    }
                }
                Job::Flush(done) => flushed.push(done),
                Job::End(done) => {
                    ended = true;
                    flushed.push(done);
                }
            }
        }
        if let Err(error) = files.sync() {
            failure = Some(error);
        }
        if let Some(failure) = failure {
            error!(lost, error = %Report(&failure), "the audit record is not whole");
        }
        for done in flushed {
            let _ = done.send(()); // who asked may have gone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn what_was_handed_over_is_there_after_a_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let tasks = Tasks::new();
        let audit = Audit::start(folder.path().join("audit"), &tasks).expect("started");
        for number in 0..3_000 {
            audit.write(AuditRecord { id: number.to_string(), ..AuditRecord::default() }).await;
        }
        audit.close().await;
        tasks.stop().await;
        let audit = Audit::start(folder.path().join("audit"), &Tasks::new()).expect("started");
        let answer = audit.read(Selection { limit: 5_000, ..Selection::default() }).await;
        assert_eq!(answer.missing, Vec::<String>::new());
        let ids: Vec<_> =
            answer.records.iter().map(|record| record.id.parse::<u32>().expect("a number")).collect();
        assert_eq!(ids, (0..3_000).collect::<Vec<_>>());
        let file = folder.path().join("audit/audit.jsonl");
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn without_a_record_it_says_so() {
        let audit = Audit::default();
        audit.write(AuditRecord::default()).await;
        audit.flush().await;
        assert_eq!(audit.read(Selection::default()).await.missing.len(), 1);
    }
}
