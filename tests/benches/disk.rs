//! The limits that the disk sets: how often it can be told to keep something, and what the plainest log makes of that.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::run;
use tokio::sync::{mpsc, oneshot};

use crate::machine::now;

/// One page of a file.
const PAGE_BYTES: usize = 4096;
/// About what one write to a node takes in the raft log.
const RECORD_BYTES: usize = 512;
const WAITING_MAX: usize = 1024;

/// Appends of a page, each kept before the next: per second.
pub async fn syncs_per_second(duration: Duration) -> anyhow::Result<f64> {
    let folder = run::folder();
    let count = move || -> std::io::Result<f64> {
        let mut file = File::create(folder.join("pages"))?;
        let page = [7; PAGE_BYTES];
        let start = now();
        let mut syncs = 0_u64;
        while now().since(start) < duration {
            file.write_all(&page)?;
            file.sync_data()?;
            syncs += 1;
        }
        let rate = syncs as f64 / now().since(start).as_secs_f64();
        std::fs::remove_dir_all(&folder)?;
        Ok(rate)
    };
    Ok(tokio::task::spawn_blocking(count).await??)
}

/// A log and nothing else: one thread takes what waits, writes it, syncs once, and answers.
#[derive(Clone)]
pub struct BareLog {
    records: mpsc::Sender<(Arc<[u8]>, oneshot::Sender<()>)>,
    record: Arc<[u8]>,
}

impl BareLog {
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        let mut file = File::create(folder.join("log"))?;
        let (records, mut waiting) = mpsc::channel::<(Arc<[u8]>, oneshot::Sender<()>)>(WAITING_MAX);
        std::thread::spawn(move || {
            let mut batch = Vec::new();
            let mut done = Vec::new();
            while let Some(first) = waiting.blocking_recv() {
                batch.extend_from_slice(&first.0);
                done.push(first.1);
                while let Ok(next) = waiting.try_recv() {
                    batch.extend_from_slice(&next.0);
                    done.push(next.1);
                }
                if file.write_all(&batch).and_then(|()| file.sync_data()).is_err() {
                    return; // nobody is answered, which the clients notice
                }
                batch.clear();
                for client in done.drain(..) {
                    let _ = client.send(());
                }
            }
        });
        Ok(Self { records, record: vec![7; RECORD_BYTES].into() })
    }

    /// Writes one record; it is on disk when this returns.
    pub async fn append(&self) -> anyhow::Result<()> {
        let (done, written) = oneshot::channel();
        self.records.send((self.record.clone(), done)).await?;
        Ok(written.await?)
    }
}
