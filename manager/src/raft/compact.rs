//! When to make a snapshot, and how much of the log to keep behind it.
//!
//! Ours rather than openraft's, because people change both while the cluster runs.

use std::sync::Mutex;

use tokio::sync::Notify;
use tracing::warn;

use super::types::Raft;

/// How often a snapshot is made and what is kept behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Log entries from one snapshot to the next.
    pub interval: u64,
    /// Log entries kept behind a snapshot, for followers that are not far behind.
    pub log_entries_kept: u64,
}

pub struct Compaction {
    state: Mutex<State>,
    /// A snapshot is due.
    due: Notify,
}

struct State {
    policy: SnapshotPolicy,
    /// The last entry that a snapshot, made or asked for, covers.
    covered: u64,
}

impl Compaction {
    pub fn new(policy: SnapshotPolicy) -> Self {
        Self { state: Mutex::new(State { policy, covered: 0 }), due: Notify::new() }
    }

    pub fn set_policy(&self, policy: SnapshotPolicy) {
        self.state.lock().expect("no holder panics").policy = policy;
        self.due.notify_one();
    }

    /// Entries up to `applied` are applied. Says whether a snapshot is due because of it, at once if `large`.
    pub fn applied(&self, applied: u64, large: bool) -> bool {
        let mut state = self.state.lock().expect("no holder panics");
        let due = large || applied >= state.covered.saturating_add(state.policy.interval);
        if due {
            state.covered = applied;
            self.due.notify_one();
        }
        due
    }

    /// A snapshot from elsewhere covers entries up to `index`.
    pub fn covered(&self, index: u64) {
        let mut state = self.state.lock().expect("no holder panics");
        state.covered = state.covered.max(index);
    }

    fn log_entries_kept(&self) -> u64 {
        self.state.lock().expect("no holder panics").policy.log_entries_kept
    }

    /// Asks for snapshots when they are due, and drops the log behind those that are there. Runs until dropped.
    pub async fn run(&self, raft: Raft) {
        let mut snapshots = raft.watch_snapshot_progress();
        loop {
            tokio::select! {
                () = self.due.notified() => {
                    if let Err(error) = raft.trigger().snapshot().await {
                        warn!(%error, "no snapshot was made");
                        return;
                    }
                }
                covered = snapshots.next() => {
                    let Ok(covered) = covered else { return };
                    let up_to = covered.and_then(|last| last.index().checked_sub(self.log_entries_kept()));
                    if let Some(up_to) = up_to
                        && raft.trigger().purge_log(up_to).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    }
}
