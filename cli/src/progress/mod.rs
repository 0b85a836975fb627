//! How far a service is from standing, and how that looks.
//!
//! `assess` is pure: the service, its tasks, the nodes that are down, what was seen before, and the time, to one
//! `Progress`. `watch` keeps what one look does not show. `show` makes lines of it.
//!
//! Not here: asking the daemon, sleeping, signals (`command::service::standing`).

pub mod assess;
pub mod hopeless;
pub mod jobs;
pub mod show;
pub mod watch;

#[cfg(test)]
mod assess_test;
#[cfg(test)]
mod fixture;

use std::time::Duration;

/// What the command that waits has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A spec is to be put into effect: an update that was rolled back has not done that.
    Apply,
    /// An earlier spec is to be put back: a rollback that is complete has done that.
    RollBack,
}

/// One look at a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub overall: Overall,
    /// One for each slot or node; none when there are too many to show.
    pub rows: Vec<Row>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overall {
    Tasks {
        running: u64,
        wanted: u64,
        rolling_back: bool,
    },
    /// Of a global service that has no task yet.
    WaitingForTasks,
    Job {
        complete: u64,
        total: u64,
        active: Option<(u64, u64)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `2/3`, or a node's id.
    pub label: String,
    pub shown: Shown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    State { state: String, step: u32, steps: u32 },
    Error(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Something is still to be done.
    Working,
    /// All that is missing waits for something that no manager can bring about.
    Blocked {
        reason: String,
    },
    /// All tasks run, and are watched for that long yet.
    Verifying {
        left: Duration,
    },
    /// With what an update's status says, when that tells more.
    Converged {
        note: Option<String>,
    },
    JobComplete,
    RolledBack {
        message: String,
    },
    /// It cannot stand as it is.
    Failed {
        reason: String,
        task: Option<String>,
    },
}
