//! The processes of a task as its supervisor sees them: all that descend from it, wherever they put themselves.
//!
//! A supervisor is the reaper of its descendants: one whose parent has ended becomes the supervisor's own child, so
//! nobody gets away by becoming a daemon, and there is nobody left exactly when there is no child left.

use std::time::Duration;

use common::limits::{PROCESS_KILL_AGAIN, PROCESS_KILL_WAIT};
use common::time::{Clock, SystemClock};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::procfs;

/// Signals that a supervisor takes as events. They stay blocked here, and not in the program it starts.
const EVENTS: [Signal; 5] =
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

/// Makes this process a supervisor, before it starts anything.
pub fn adopt(name: &std::ffi::CStr) -> Result<SignalFd, String> {
    let tried = |what: &str, error: Errno| format!("{what}: {error}");
    let _ = nix::unistd::setsid(); // fails where it leads a session already, which is as good
    let _ = nix::sys::prctl::set_name(name); // for people who list processes
    std::env::set_current_dir("/").map_err(|error| format!("leave the current folder: {error}"))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| tried("become a reaper", error))?;
    let mut events = SigSet::empty();
    EVENTS.into_iter().for_each(|signal| events.add(signal));
    events.thread_block().map_err(|error| tried("hold signals back", error))?;
    SignalFd::with_flags(&events, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| tried("receive signals", error))
}

/// Reads the signals that have come; true when one of them asks us to end.
pub fn asked_to_end(signals: &SignalFd) -> bool {
    let mut asked = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        asked |= signal.ssi_signo != Signal::SIGCHLD as u32;
    }
    asked
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Code(i32),
    Signal(Signal),
}

impl Ending {
    pub fn code(self) -> i64 {
        match self {
            Ending::Code(code) => code.into(),
            Ending::Signal(signal) => 128 + i64::from(signal as i32),
        }
    }
}

/// What reaping found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// How the first process of the task ended, if it did just now.
    pub first: Option<Ending>,
    /// Nobody is left.
    pub empty: bool,
}

/// Takes notice of all processes that have ended.
pub fn reap(first: Pid) -> Reaped {
    let mut reaped = Reaped { first: None, empty: false };
    loop {
        let (pid, ending) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Ending::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ending::Signal(signal)),
            Ok(WaitStatus::StillAlive) => return reaped,
            Ok(_) | Err(Errno::EINTR) => continue,
            // A real-time signal, which has no name here, ended it. Which child it was is lost with that, but that
            // it was the first one shows: it is not there any more.
            Err(Errno::EINVAL) => {
                if procfs::Stat::of(first.as_raw()).is_none() {
                    reaped.first = Some(Ending::Signal(Signal::SIGKILL));
                }
                continue;
            }
            Err(_) => {
                reaped.empty = true;
                return reaped;
            }
        };
        if pid == first {
            reaped.first = Some(ending);
        }
    }
}

/// Kills the group of `first` and everybody who descends from us.
pub fn kill_all(first: Pid) {
    let _ = killpg(first, Signal::SIGKILL);
    let us = i32::try_from(std::process::id()).unwrap_or_default();
    for pid in procfs::descendants(us, &procfs::all()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Kills everybody and takes notice, calling `meanwhile` to wait a little each time. False when some could not be
/// killed in time.
pub fn end_all(first: Pid, mut meanwhile: impl FnMut(Duration)) -> bool {
    let begun = SystemClock.monotonic();
    loop {
        if reap(first).empty {
            return true;
        }
        if SystemClock.monotonic().since(begun) >= PROCESS_KILL_WAIT {
            return false;
        }
        kill_all(first);
        meanwhile(PROCESS_KILL_AGAIN);
    }
}
