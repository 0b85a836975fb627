//! The state of the cluster on this manager: tables, versions, change feed.
//!
//! Written by raft alone, through `apply` and `restore`; read by everybody through cheap snapshots.

pub mod addresses;
pub mod apply;
pub mod change;
pub mod feed;
pub mod format;
pub mod indexes;
pub mod table;
pub mod tables;
#[cfg(test)]
pub mod testing;

use std::sync::{Arc, RwLock};

pub use change::{Change, Proposal, Rejection, Write};
pub use feed::{Changed, Feed, FeedError};
pub use table::{Object, Table};
pub use tables::Tables;

use common::object::Version;

/// What applying a proposal came to: the version all of it was written at, or why none of it was.
pub type Outcome = Result<Version, Rejection>;

/// A handle to the state. Clones are handles to the same state.
#[derive(Clone, Default)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tables: RwLock<Tables>,
    feed: Feed,
}

impl Store {
    pub fn new() -> Self {
        Self::default()
    }

    /// The state as it is now, unmoved by what follows. Costs a few reference counts, whatever its size.
    pub fn snapshot(&self) -> Tables {
        self.shared.tables.read().expect("no holder panics").clone()
    }

    /// Changes as they are applied.
    pub fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    /// Applies the log entry at `index`. Called by raft, in log order.
    pub fn apply(&self, index: u64, proposal: &Proposal) -> Outcome {
        let mut tables = self.shared.tables.write().expect("no holder panics");
        let (outcome, changed) = apply::apply(&mut tables, Version(index), proposal);
        drop(tables);
        self.shared.feed.publish(Version(index), changed);
        outcome
    }

    /// Notes an entry that changes no object, so that waiting for its index ends.
    pub fn pass(&self, index: u64) {
        self.shared.tables.write().expect("no holder panics").version = Version(index);
        self.shared.feed.publish(Version(index), Vec::new());
    }

    /// Replaces everything by a snapshot. Readers of the feed are told to look at everything again.
    pub fn restore(&self, tables: Tables) {
        let version = tables.version;
        *self.shared.tables.write().expect("no holder panics") = tables;
        self.shared.feed.reset(version);
    }
}
