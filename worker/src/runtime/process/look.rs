//! What there is of a task, from its folder and the machine alone: the same before and after a restart of the daemon.

use std::time::Duration;

use common::disk::DiskError;
use common::limits::{PROCESS_KILL_AGAIN, PROCESS_KILL_WAIT};
use common::object::task::ContainerStatus;
use common::report::Report;
use common::time::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::folder::{ExitRecord, Launch, RunningRecord, TaskFolder};
use super::{procfs, setup};
use crate::runtime::RunError;

/// Exit code of a task whose own is not known, because the machine stopped or a record is damaged.
const CODE_UNKNOWN: i64 = 255;
/// Exit code of a task that we had to kill: that of a process that got SIGKILL.
const CODE_KILLED: i64 = 137;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Absent,
    Prepared,
    Running(RunningRecord, Box<Launch>),
    Ended(ExitRecord),
}

/// Looks into a task's folder. Where the supervisor is gone without a word, what is left of the task is ended.
pub fn look(folder: &TaskFolder, task: &str, now: Timestamp) -> Result<Found, RunError> {
    if !folder.path().is_dir() {
        return Ok(Found::Absent);
    }
    if let Some(ended) = exit(folder)? {
        return Ok(Found::Ended(ended));
    }
    // Asked before its records, of which it writes the last one before it goes.
    let alive = folder.watch_alive().map_err(failed)?.is_some();
    let running = folder.running();
    if alive {
        let Some(running) = running.map_err(failed)? else { return Ok(Found::Prepared) };
        let Some(launch) = folder.launch().map_err(failed)? else { return Ok(Found::Absent) };
        return Ok(Found::Running(running, Box::new(launch)));
    }
    if let Some(ended) = exit(folder)? {
        return Ok(Found::Ended(ended)); // written since we looked first
    }
    match running {
        Ok(None) if folder.launch().map_err(failed)?.is_some() => Ok(Found::Prepared),
        Ok(None) => Ok(Found::Absent),
        Ok(Some(running)) => end(folder, task, Some(&running), now).map(Found::Ended),
        Err(_) => end(folder, task, None, now).map(Found::Ended),
    }
}

/// The exit record; a damaged one is an end of which only that is known.
fn exit(folder: &TaskFolder) -> Result<Option<ExitRecord>, RunError> {
    match folder.exit() {
        Ok(record) => Ok(record),
        Err(error @ DiskError::Damaged { .. }) => Ok(Some(ExitRecord {
            pid: folder.running().ok().flatten().map_or(0, |running| running.process.pid),
            code: CODE_UNKNOWN,
            reason: format!("how it ended is not known: {}", Report(&error)),
            at: Timestamp::default(),
        })),
        Err(error) => Err(failed(error)),
    }
}

/// Writes the exit record that the supervisor did not write.
fn end(
    folder: &TaskFolder,
    task: &str,
    running: Option<&RunningRecord>,
    now: Timestamp,
) -> Result<ExitRecord, RunError> {
    let pid = running.map_or(0, |running| running.process.pid);
    let record = |code, reason: &str| ExitRecord { pid, code, reason: reason.into(), at: now };
    let record = if running.is_some_and(|running| running.boot != procfs::boot()) {
        record(CODE_UNKNOWN, "the machine was restarted")
    } else if kill_strays(folder, task, running) {
        record(CODE_KILLED, "its supervisor was killed, and the rest of the task after it")
    } else {
        record(CODE_KILLED, "its supervisor was killed, and processes of the task are left that cannot be")
    };
    if let Ok(Some(launch)) = folder.launch() {
        launch.groups.iter().for_each(|group| group.remove());
    }
    folder.save_exit(&record).map_err(failed)?;
    Ok(record)
}

/// Kills what a task has left behind without a supervisor: what is in its control groups, in its session, or has its
/// variable. False when some of it is still there.
fn kill_strays(folder: &TaskFolder, task: &str, running: Option<&RunningRecord>) -> bool {
    let groups = folder.launch().ok().flatten().map(|launch| launch.groups).unwrap_or_default();
    let (name, value) = setup::marker(task);
    let variable = format!("{name}={value}");
    let pauses = PROCESS_KILL_WAIT.as_millis() / PROCESS_KILL_AGAIN.as_millis().max(1);
    for _ in 0..pauses {
        // A session's number belongs to it as long as its first process is the one we know.
        let session = running.map(|running| running.process).filter(|process| process.is_alive());
        let members: Vec<i32> = groups.iter().flat_map(|group| group.members()).collect();
        let is_ours = |pid: i32, stat: &procfs::Stat| {
            session.is_some_and(|session| session.pid == stat.session)
                || members.contains(&pid)
                || procfs::has_variable(pid, &variable)
        };
        let strays = procfs::all().into_iter().filter(|(pid, stat)| !stat.ended && is_ours(*pid, stat));
        let strays: Vec<i32> = strays.map(|(pid, _)| pid).collect();
        if strays.is_empty() {
            return true;
        }
        for pid in strays {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(PROCESS_KILL_AGAIN);
    }
    false
}

/// A task as the cluster sees it.
pub fn container(pid: i32, exit_code: Option<i64>) -> ContainerStatus {
    ContainerStatus { id: format!("process-{pid}"), pid: pid.into(), exit_code }
}

/// Damage stays as it is; anything else may pass.
pub fn failed(error: DiskError) -> RunError {
    let text = Report(&error).to_string();
    match error {
        DiskError::Damaged { .. } => RunError::Fatal(text),
        DiskError::Io { .. } => RunError::Temporary(text),
    }
}

/// How long a task has run.
pub fn age(running: &RunningRecord, now: Timestamp) -> Duration {
    now.since(running.at)
}
