//! The leader's loop as the simulation runs it: the same steps as `manager::control::services`, with proposals that
//! take their time and may be lost, or be written while their answer is lost.

use std::time::Duration;

use common::object::{NodeId, Version};
use manager::decide::Planner;
use manager::store::{Change, FeedError, Store, Tables};

/// A proposal on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    pub at: Duration,
    pub changes: Vec<Change>,
    /// Written, and answered; a lost proposal is neither.
    pub is_written: bool,
    pub is_answered: bool,
}

pub struct Leader {
    pub planner: Planner,
    pub since: Duration,
    seen: Version,
    pub flights: Vec<Flight>,
    /// A proposal of this pass could not be written.
    pub failed: bool,
    pub retry_at: Duration,
    pub full_pass_at: Duration,
    /// Reports that are with the planner: node, session, number.
    pub unwritten: Vec<(NodeId, u64, u64)>,
}

impl Leader {
    pub fn new(tables: &Tables, now: Duration) -> Self {
        Self {
            planner: Planner::new(tables),
            since: now,
            seen: tables.version,
            flights: Vec::new(),
            failed: false,
            retry_at: now,
            full_pass_at: now + common::limits::FULL_PASS_PERIOD,
            unwritten: Vec::new(),
        }
    }

    /// Tells the planner what was written.
    pub fn follow(&mut self, store: &Store) {
        if store.feed().reached() == self.seen {
            return;
        }
        let after = store.feed().after(self.seen);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(after).poll(&mut context) {
            std::task::Poll::Ready(Ok((changes, version))) => {
                changes.iter().for_each(|change| self.planner.noted(change));
                self.seen = version;
            }
            std::task::Poll::Ready(Err(FeedError::Behind { resume_at })) => {
                self.planner.missed(&store.snapshot());
                self.seen = resume_at;
            }
            std::task::Poll::Pending => {} // entries that changed nothing
        }
    }
}
