//! What changed after a version. A reader that falls behind is told to take a new snapshot instead.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use common::limits::FEED_CHANGES_MAX;
use common::object::{Cluster, Network, Node, Payload, Service, Task, Version};
use tokio::sync::watch;

/// One object before and after: created without `before`, removed without `after`.
#[derive(Clone, Debug)]
pub enum Changed {
    Cluster { before: Option<Arc<Cluster>>, after: Option<Arc<Cluster>> },
    Node { before: Option<Arc<Node>>, after: Option<Arc<Node>> },
    Service { before: Option<Arc<Service>>, after: Option<Arc<Service>> },
    Task { before: Option<Arc<Task>>, after: Option<Arc<Task>> },
    Payload { before: Option<Arc<Payload>>, after: Option<Arc<Payload>> },
    Network { before: Option<Arc<Network>>, after: Option<Arc<Network>> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Some changes are gone from the feed: look at everything, as of this version.
    #[error("the reader is behind; the feed now starts after version {resume_at}")]
    Behind { resume_at: Version },
}

/// The latest changes, oldest first, and the version reached.
pub struct Feed {
    recent: Mutex<Recent>,
    reached: watch::Sender<Version>,
}

#[derive(Default)]
struct Recent {
    /// Everything after this version is in `changes`.
    start: Version,
    changes: VecDeque<(Version, Changed)>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { recent: Mutex::default(), reached: watch::Sender::new(Version::default()) }
    }
}

impl Feed {
    pub fn reached(&self) -> Version {
        *self.reached.borrow()
    }

    /// The version after which nothing is missing from the feed.
    pub fn start(&self) -> Version {
        self.recent.lock().expect("no holder panics").start
    }

    /// Waits until `version` is applied here.
    pub async fn wait_for(&self, version: Version) {
        let mut reached = self.reached.subscribe();
        // The sender lives as long as we do.
        let _ = reached.wait_for(|now| *now >= version).await;
    }

    /// What changed after `version`, at least one change, waiting for it; and the version to ask from next.
    pub async fn after(&self, version: Version) -> Result<(Vec<Changed>, Version), FeedError> {
        let mut reached = self.reached.subscribe();
        loop {
            let now = *reached.borrow_and_update();
            {
                let recent = self.recent.lock().expect("no holder panics");
                if version < recent.start {
                    return Err(FeedError::Behind { resume_at: now });
                }
                let first = recent.changes.partition_point(|(at, _)| *at <= version);
                let changes: Vec<_> =
                    recent.changes.range(first..).map(|(_, change)| change.clone()).collect();
                if let Some((last, _)) = recent.changes.back()
                    && !changes.is_empty()
                {
                    return Ok((changes, *last));
                }
            }
            // The sender lives as long as we do.
            let _ = reached.changed().await;
        }
    }

    pub(super) fn publish(&self, version: Version, changed: Vec<Changed>) {
        {
            let mut recent = self.recent.lock().expect("no holder panics");
            recent.changes.extend(changed.into_iter().map(|change| (version, change)));
            while recent.changes.len() > FEED_CHANGES_MAX {
                // A version is dropped whole, so that nobody sees half a group.
                let Some((dropped, _)) = recent.changes.pop_front() else { break };
                recent.start = dropped;
                while recent.changes.front().is_some_and(|(at, _)| *at == dropped) {
                    recent.changes.pop_front();
                }
            }
        }
        self.reached.send_replace(version);
    }

    pub(super) fn reset(&self, version: Version) {
        {
            let mut recent = self.recent.lock().expect("no holder panics");
            recent.changes.clear();
            recent.start = version;
        }
        self.reached.send_replace(version);
    }
}
