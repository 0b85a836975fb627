//! Whether this manager's raft data can still be trusted to be on disk.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::error;

/// Set once, by the first thing that goes wrong for good: a write or sync that failed, damaged data, a
/// panic. From then on nothing is acknowledged, and the daemon stops the manager. Clones are handles.
#[derive(Clone, Default)]
pub struct Failure {
    reason: Arc<watch::Sender<Option<String>>>,
}

impl Failure {
    /// Keeps the first reason: what follows is its consequence.
    pub fn set(&self, reason: impl Display) {
        self.reason.send_if_modified(|present| {
            if present.is_some() {
                return false;
            }
            let reason = reason.to_string();
            error!(reason, "raft failed; this manager stops");
            *present = Some(reason);
            true
        });
    }

    pub fn get(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.reason.subscribe()
    }
}
