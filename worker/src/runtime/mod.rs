//! What runs tasks: one trait, and its makers.
//!
//! - `docker`: containers of the node's Docker Engine. `process`: processes of this node. `fake`: nothing at all.
//!
//! - `files`: secrets and configs as files in memory, for those that give tasks real ones.
//!
//! A runtime does single steps and remembers nothing that it could not find again: after a restart of the daemon
//! `look` and `present` say what is there. When to do which step is `task::next_step`'s.

pub mod docker;
pub mod fake;
pub mod files;
pub mod process;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::object::ports::Port;
use common::object::resources::GenericGrant;
use common::object::sensitive::SensitiveBytes;
use common::object::service::RuntimeKind;
use common::object::task::ContainerStatus;
use common::object::{NodeId, PayloadKind, ServiceId, Slot, TaskId, TaskSpec};
use common::wire::logs::LogLine;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// A task as a runtime is given it: templates are filled in, names are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSetup {
    pub task: TaskId,
    pub service: ServiceId,
    pub service_name: String,
    pub service_labels: BTreeMap<String, String>,
    pub slot: Slot,
    /// `web.1.<task id>`; a container has it too.
    pub name: String,
    pub node: NodeId,
    pub node_hostname: String,
    pub spec: Arc<TaskSpec>,
    /// Ports published in host mode; the others are the mesh's.
    pub ports: Vec<Port>,
    pub granted: Vec<GenericGrant>,
    /// Its secrets and configs. Empty once it has ended.
    pub files: Vec<TaskFile>,
}

/// A secret or config as a file of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFile {
    pub kind: PayloadKind,
    /// Of the secret or config, for people.
    pub name: String,
    /// Where the task finds it, as its spec says.
    pub target: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// It may get newer content while the task runs, and then this signal; empty: none.
    pub refresh: Option<String>,
    pub data: SensitiveBytes,
}

/// What is there of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Absent,
    /// Prepared, and never started.
    Prepared,
    Running {
        container: ContainerStatus,
        /// Where host-mode ports came out.
        ports: Vec<Port>,
        health: Health,
    },
    Ended(Exit),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing checks it.
    Unchecked,
    /// Checked, and not yet well.
    Starting,
    Healthy,
    Unhealthy {
        reason: String,
    },
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub container: ContainerStatus,
    /// Of a process killed by signal N: 128 + N.
    pub code: i64,
    /// What is known beside the code: out of memory, say.
    pub reason: String,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It may work soon: the engine is away or busy.
    #[error("{0}")]
    Temporary(String),
    /// It will not work, however often it is tried.
    #[error("{0}")]
    Fatal(String),
}

/// How a command inside a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResult {
    pub code: i64,
    /// The end of what it wrote.
    pub output: String,
}

pub struct LogOptions {
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
    pub since: Option<common::time::Timestamp>,
    pub until: Option<common::time::Timestamp>,
    /// The last lines; none means all.
    pub tail: Option<u64>,
}

/// Told what a long step is doing: "pulling 12 of 40 MB".
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Runs tasks. Every step may be repeated, and dropped at any point: a repeated one goes on where it was left.
pub trait Runtime: Send + Sync + 'static {
    fn kind(&self) -> RuntimeKind;

    /// Gets everything ready without starting it: image, volumes, container.
    fn prepare<'a>(
        &'a self,
        setup: &'a TaskSetup,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), RunError>>;

    /// Starts what was prepared. Done when it runs, well or not.
    fn start<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>>;

    /// What is there now.
    fn look(&self, task: TaskId) -> BoxFuture<'_, Result<Seen, RunError>>;

    /// Waits until something else than `before` is there, by events and not by polling where there are any.
    fn changed<'a>(&'a self, task: TaskId, before: &'a Seen) -> BoxFuture<'a, Result<Seen, RunError>>;

    /// Stops it: signal, grace period, kill. Done when it has ended; fine when there is nothing.
    fn stop<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>>;

    /// Removes all traces, running or not.
    fn remove(&self, task: TaskId) -> BoxFuture<'_, Result<(), RunError>>;

    /// Puts newer content in place of a running task's files that may change, whole or not at all, and sends it the
    /// signals they name. Nothing happens where all is as it should be.
    fn refresh<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>>;

    /// The task has ended, or will not start: its secrets and configs go.
    fn release(&self, task: TaskId) -> BoxFuture<'_, Result<(), RunError>>;

    /// The tasks of this node that have traces here.
    fn present(&self) -> BoxFuture<'_, Result<Vec<TaskId>, RunError>>;

    /// Runs a command inside a running task.
    fn run_inside<'a>(
        &'a self,
        task: TaskId,
        command: &'a [String],
        limit: Duration,
    ) -> BoxFuture<'a, Result<CommandResult, RunError>>;

    /// Where its ports may be reached from this node, likeliest first; empty when nowhere.
    fn addresses(&self, task: TaskId) -> BoxFuture<'_, Result<Vec<IpAddr>, RunError>>;

    /// What it wrote, oldest first. Ends with the task, or where everything asked for was given.
    fn logs(
        &self,
        task: TaskId,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<LogLine, RunError>>, RunError>>;
}

/// Runs what waits for the disk on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RunError::Temporary(format!("a step was cut off: {error}"))),
    }
}
