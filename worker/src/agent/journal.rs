//! Keeps the agent's journal up to date, in as few writes as the disk asks for.
//!
//! What cannot be written is kept and tried again; no task that is new starts meanwhile, and its status says why.

use std::sync::Arc;

use tracing::warn;

use super::{Shared, Written};
use crate::disk::Disk;
use crate::task::next_step::retry_pause;

/// Keeps the journal up to date: what happens while it writes goes in one piece with the next write.
pub async fn write(shared: Arc<Shared>, mut disk: Disk) {
    let mut failures = 0;
    loop {
        // At the end once more for what the last moment brought.
        let stopping = shared.tasks.is_stopping();
        let (number, records) = {
            let mut table = shared.table();
            // What was lost with a write that failed is in everything.
            if failures > 0 || disk.is_worth_replacing() { table.take_all() } else { table.take_unwritten() }
        };
        if !records.is_empty() || failures > 0 {
            let write = move || {
                let written = if failures > 0 || disk.is_worth_replacing() {
                    disk.replace(&records)
                } else {
                    disk.append(&records)
                };
                (disk, written)
            };
            let Ok((returned, written)) = tokio::task::spawn_blocking(write).await else {
                return warn!("the writer of this node's tasks is gone"); // the whole program is ending
            };
            disk = returned;
            if let Err(error) = written {
                failures += 1;
                let error = common::report::Report(&error).to_string();
                if failures == 1 {
                    warn!(error, "what this node knows of its tasks is not written");
                }
                shared.written.send_modify(|written| written.error = Some(error));
            } else {
                failures = 0;
            }
        }
        if failures == 0 {
            shared.written.send_replace(Written { number, error: None });
        }
        if stopping {
            return;
        }
        let retry = async {
            match failures {
                0 => std::future::pending().await,
                failures => tokio::time::sleep(retry_pause(failures)).await,
            }
        };
        tokio::select! {
            () = shared.unwritten.notified(), if failures == 0 => {}
            () = retry => {}
            () = shared.tasks.stopping() => {}
        }
    }
}
