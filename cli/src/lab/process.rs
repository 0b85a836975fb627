//! Which process is whose, and signals to exactly that one.
//!
//! A process id alone is not enough: it is given again. With the time the process started it is one process on
//! this machine until it restarts; after a restart of the machine the start times are small again, and the
//! process has to have the arguments of our daemon as well.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::time::{Clock, SystemClock};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Time between two looks at whether a process is gone.
pub(super) const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// Time between two looks at whether a new process has its arguments, which takes microseconds.
const START_LOOK_PERIOD: Duration = Duration::from_millis(1);

/// One process, and never another that got its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Clock ticks from the start of the machine to that of the process.
    pub started: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    Running,
    /// Stopped by a signal.
    Paused,
    /// Not there, or dead and waiting for its parent to notice.
    Gone,
}

impl ProcessId {
    /// The process that has this id now.
    pub fn of(pid: u32) -> Option<Self> {
        let (started, _) = read_stat(pid)?;
        Some(Self { pid, started })
    }

    /// A process that was started just now, as soon as it can be recognised: for a moment it has no arguments.
    pub async fn of_new(pid: u32) -> Option<Self> {
        while arguments_of(pid).is_empty() {
            match read_stat(pid)? {
                (_, ProcessState::Gone) => break, // ended already, and has none again
                (_, ProcessState::Running | ProcessState::Paused) => {
                    tokio::time::sleep(START_LOOK_PERIOD).await
                }
            }
        }
        Self::of(pid)
    }

    /// What this process does, as daemon of the node with this state folder.
    pub fn state(self, state_dir: &Path) -> ProcessState {
        match read_stat(self.pid) {
            Some((started, state)) if started == self.started && is_daemon_of(self.pid, state_dir) => state,
            _ => ProcessState::Gone,
        }
    }

    /// Sends a signal if the process is still the one meant.
    pub fn signal(self, state_dir: &Path, signal: Signal) -> io::Result<()> {
        if self.state(state_dir) == ProcessState::Gone {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).map_err(io::Error::other)?;
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process is gone; false where it is not within `time_max`.
    pub async fn gone_within(self, state_dir: &Path, time_max: Duration) -> bool {
        let start = SystemClock.monotonic();
        while self.state(state_dir) != ProcessState::Gone {
            if SystemClock.monotonic().since(start) > time_max {
                return false;
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        true
    }
}

/// Every process of this user whose arguments name a state folder within `folder`: also those that were started
/// and not recorded, because the command that started them was killed in between.
pub fn daemons_within(folder: &Path) -> io::Result<Vec<(ProcessId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let arguments = arguments_of(pid);
        let Some(state_dir) = state_dir_in(&arguments) else { continue };
        let state_dir = Path::new(OsStr::from_bytes(state_dir));
        if state_dir.starts_with(folder)
            && let Some(process) = ProcessId::of(pid)
        {
            found.push((process, state_dir.to_path_buf()));
        }
    }
    Ok(found)
}

fn is_daemon_of(pid: u32, state_dir: &Path) -> bool {
    state_dir_in(&arguments_of(pid)) == Some(state_dir.as_os_str().as_bytes())
}

/// The arguments of a process, each with a zero byte behind it; empty where there is no such process.
fn arguments_of(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// What follows `--state-dir` in arguments.
fn state_dir_in(arguments: &[u8]) -> Option<&[u8]> {
    let mut arguments = arguments.split(|byte| *byte == 0);
    arguments.find(|argument| *argument == b"--state-dir")?;
    arguments.next()
}

/// When a process started, and what it does.
fn read_stat(pid: u32) -> Option<(u64, ProcessState)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<(u64, ProcessState)> {
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = match *fields.first()? {
        "T" | "t" => ProcessState::Paused,
        "Z" | "X" | "x" => ProcessState::Gone,
        _ => ProcessState::Running,
    };
    // Field 22 of all; the list starts with field 3.
    Some((fields.get(19)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process whose arguments look like a daemon's; it ends when its input is closed.
    fn stand_in(state_dir: &Path) -> Child {
        Command::new("sh")
            .args(["-c", "read line", "swarm", "--state-dir"])
            .arg(state_dir)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh starts")
    }

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn signals_reach_the_process_that_is_meant() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let state_dir = folder.path().join("manager1/state");
        let mut child = stand_in(&state_dir);
        let process = ProcessId::of_new(child.id()).await.expect("it runs");
        assert_eq!(process.state(&state_dir), ProcessState::Running);
        process.signal(&state_dir, Signal::SIGSTOP).expect("ours");
        while process.state(&state_dir) != ProcessState::Paused {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        assert!(!process.gone_within(&state_dir, Duration::ZERO).await);
        assert_eq!(daemons_within(folder.path()).expect("proc"), [(process, state_dir.clone())]);
        assert_eq!(daemons_within(&folder.path().join("manager")).expect("proc"), []);

        process.signal(&state_dir, Signal::SIGKILL).expect("ours");
        assert!(
            process.gone_within(&state_dir, SOON).await,
            "a dead process that waits for its parent is gone"
        );
        child.wait().expect("it ended");
        process.signal(&state_dir, Signal::SIGKILL).expect("nothing to do");
    }

    #[tokio::test]
    async fn another_process_with_the_same_id_is_left_alone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut child = stand_in(folder.path());
        let process = ProcessId::of_new(child.id()).await.expect("it runs");
        let earlier = ProcessId { started: process.started - 1, ..process };
        assert_eq!(earlier.state(folder.path()), ProcessState::Gone);
        assert_eq!(process.state(Path::new("/other")), ProcessState::Gone);
        earlier.signal(folder.path(), Signal::SIGKILL).expect("nothing to do");
        process.signal(Path::new("/other"), Signal::SIGKILL).expect("nothing to do");
        assert_eq!(child.try_wait().expect("ours"), None, "it lives");
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }

    #[test]
    fn names_of_programs_may_hold_anything() {
        let tail = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987 0 0";
        for name in ["swarm", "a b", "a) S 1 (b", ")"] {
            for (letter, state) in
                [("S", ProcessState::Running), ("T", ProcessState::Paused), ("Z", ProcessState::Gone)]
            {
                assert_eq!(parse_stat(&format!("42 ({name}) {letter} {tail}")), Some((987, state)), "{name}");
            }
        }
        for torn in ["", "42", "42 (swarm", "42 (swarm) S 1"] {
            assert_eq!(parse_stat(torn), None);
        }
    }
}
