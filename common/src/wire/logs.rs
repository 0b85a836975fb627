//! Messages of a log stream: a manager asks a node for what its tasks wrote, and gets it line by line.
//!
//! Each message is one frame. The node ends the stream when everything asked for was sent; with `follow`, when the
//! tasks have ended. Whoever follows keeps its own side open as long as it wants more, and ends it to stop.

use serde::{Deserialize, Serialize};

use crate::object::TaskId;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    pub tasks: Vec<TaskId>,
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// The last lines of each task; none means all.
    pub tail: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogMessage {
    Line(LogLine),
    /// Nothing more comes of this task; with the reason when that is not because all was sent.
    Ended {
        task: TaskId,
        error: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub task: TaskId,
    pub at: Timestamp,
    pub stream: LogStream,
    /// With its line end, if it had one.
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LogStream {
    Stdout,
    Stderr,
}
