//! The supervisor of a task: a small process that starts it, keeps what it writes, waits for its end and writes down
//! how it ended. It outlives the daemon, so that the task does.
//!
//! One thread, one loop, no runtime: it waits for its signals, for orders, for output and for the end of a grace
//! period. Now and then it looks whether its folder is still there: without one nobody can reach it any more, and the
//! task counts as gone, so it ends the task. It says once, on its standard output, whether the program runs.
//!
//! Not here: what the program needs before it begins (`program`), what the daemon makes of all this (the module).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use common::limits::{
    PROCESS_FOLDER_LOOK, PROCESS_FOLDER_MISSED_MAX, PROCESS_KILL_AGAIN, PROCESS_LOG_LINE_BYTES_MAX,
};
use common::report::Report;
use common::time::{Clock, Monotonic, SystemClock};
use common::wire::logs::LogStream;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::family::{self, Ending};
use super::folder::{ExitRecord, Launch, RunningRecord, TaskFolder};
use super::log::write::LogWriter;
use super::procfs::{self, Process};
use super::program::{self, SpawnError, humantime};

/// What a supervisor says of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Started,
    /// Another supervisor has the task in hand.
    Taken,
    /// It was told to stop before it began.
    Forbidden,
    /// It will not start, however often it is tried.
    Failed(String),
    /// It may start soon.
    Busy(String),
}

/// Asks the supervisor to end the task: with a signal, and by force once the grace period is over.
pub fn stop_order(signal: Signal, grace: Duration) -> String {
    format!("stop {} {}\n", signal as i32, grace.as_millis())
}

/// Asks the supervisor to send the task's first process a signal.
pub fn signal_order(signal: Signal) -> String {
    format!("signal {}\n", signal as i32)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Stop(Signal, Duration),
    Signal(Signal),
}

fn read_order(line: &str) -> Option<Order> {
    let words: Vec<&str> = line.split(' ').collect();
    let signal = |word: &str| Signal::try_from(word.parse::<i32>().ok()?).ok();
    match words[..] {
        ["stop", number, grace] => {
            Some(Order::Stop(signal(number)?, Duration::from_millis(grace.parse().ok()?)))
        }
        ["signal", number] => Some(Order::Signal(signal(number)?)),
        _ => None,
    }
}

/// Supervises the task of that folder, from its start to its end.
pub fn run(folder: PathBuf) -> ExitCode {
    let folder = TaskFolder::new(folder);
    match Supervisor::begin(folder) {
        Ok(supervisor) => {
            say(&Answer::Started);
            supervisor.until_the_end()
        }
        Err(answer) => {
            say(&answer);
            ExitCode::FAILURE
        }
    }
}

/// Nobody may listen any more, which changes nothing for the task.
fn say(answer: &Answer) {
    if let Ok(text) = serde_json::to_string(answer) {
        let _ = io::Write::write_all(&mut io::stdout(), text.as_bytes());
        let _ = io::Write::flush(&mut io::stdout());
    }
    if let Ok(nothing) = File::options().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&nothing);
    }
}

struct Supervisor {
    folder: TaskFolder,
    launch: Launch,
    first: Pid,
    signals: SignalFd,
    control: File,
    streams: Vec<(LogStream, OwnedFd)>,
    log: Option<LogWriter>,
    stop: Option<Stop>,
    /// When to look for the folder next, and how often in a row it was not there.
    next_look: Monotonic,
    missed: u32,
    /// Held to its end: others see by them that there is a supervisor.
    _alive: File,
    lock: File,
}

/// The task was told to end.
struct Stop {
    signal: Signal,
    grace: Duration,
    kill_at: Monotonic,
    killed: bool,
}

impl Supervisor {
    fn begin(folder: TaskFolder) -> Result<Self, Answer> {
        let ours = |error: common::disk::DiskError| Answer::Busy(Report(&error).to_string());
        let Some(lock) = folder.lock().map_err(ours)? else { return Err(Answer::Taken) };
        let alive = folder.hold("alive").map_err(ours)?;
        let control = folder.hold("control").map_err(ours)?;
        // Whoever forbids the start looks for us after that, so one of the two sees the other.
        if !folder.may_start() {
            return Err(Answer::Forbidden);
        }
        let launch = folder.launch().map_err(|error| Answer::Failed(Report(&error).to_string()))?;
        let launch = launch.ok_or_else(|| Answer::Failed("the task was not prepared".into()))?;
        let signals = family::adopt(c"swarm-task").map_err(Answer::Busy)?;
        let log = launch.log.map(|bounds| LogWriter::open(folder.log(), bounds)).transpose();
        let log = log.map_err(|error| Answer::Busy(format!("open the task's log: {error}")))?;
        let (first, streams) =
            start(&launch).inspect_err(|_| launch.groups.iter().for_each(|group| group.remove()))?;
        let supervisor = Self {
            folder,
            launch,
            first,
            signals,
            control,
            streams,
            log,
            stop: None,
            next_look: SystemClock.monotonic().plus(PROCESS_FOLDER_LOOK),
            missed: 0,
            _alive: alive,
            lock,
        };
        if let Err(error) = supervisor.write_down() {
            family::end_all(first, std::thread::sleep);
            supervisor.launch.groups.iter().for_each(|group| group.remove());
            return Err(ours(error));
        }
        Ok(supervisor)
    }

    fn write_down(&self) -> Result<(), common::disk::DiskError> {
        let us = i32::try_from(std::process::id()).unwrap_or_default();
        let known = |pid| Process::of(pid).unwrap_or(Process { pid, started: 0 });
        self.folder.save_running(&RunningRecord {
            process: known(self.first.as_raw()),
            supervisor: known(us),
            boot: procfs::boot(),
            at: SystemClock.now(),
        })
    }

    fn until_the_end(mut self) -> ExitCode {
        let ending = loop {
            let reaped = family::reap(self.first);
            if let Some(ending) = reaped.first {
                break ending;
            }
            if reaped.empty {
                // Somebody else took notice of its end, which only a fault of ours makes possible.
                break Ending::Signal(Signal::SIGKILL);
            }
            let look = self.look_for_folder();
            let pause = self.enforce_stop().map_or(look, |pause| pause.min(look));
            self.wait(Some(pause));
        };
        let first = self.first;
        let all_ended = family::end_all(first, |pause| self.wait(Some(pause)));
        self.read_rest();
        let record = ExitRecord {
            pid: first.as_raw(),
            code: ending.code(),
            reason: self.reason(ending, all_ended),
            at: SystemClock.now(),
        };
        self.launch.groups.iter().for_each(|group| group.remove());
        match self.folder.save_exit(&record) {
            Ok(()) => ExitCode::SUCCESS,
            // The daemon will find that we ended without a word.
            Err(_) => ExitCode::FAILURE,
        }
    }

    fn reason(&self, ending: Ending, all_ended: bool) -> String {
        let mut reasons = Vec::new();
        if self.launch.groups.iter().any(|group| group.ran_out_of_memory()) {
            reasons.push("out of memory: a process of the task was killed at its memory limit".to_owned());
        }
        match (&self.stop, ending) {
            (Some(stop), Ending::Signal(Signal::SIGKILL))
                if stop.killed && stop.signal != Signal::SIGKILL =>
            {
                reasons.push(format!(
                    "it did not end within {} of {} and was killed",
                    humantime(stop.grace),
                    stop.signal
                ));
            }
            (None, Ending::Signal(signal)) if reasons.is_empty() => {
                reasons.push(format!("ended by {signal}"))
            }
            _ => {}
        }
        if !all_ended {
            reasons.push("processes of the task are left that could not be killed".to_owned());
        }
        reasons.join("; ")
    }

    /// Gives up the task of a folder that was deleted under it, or that another one lies in the place of. Not at the
    /// first look: somebody may be moving things. Gives the time until the next one.
    fn look_for_folder(&mut self) -> Duration {
        let now = SystemClock.monotonic();
        if now >= self.next_look {
            self.next_look = now.plus(PROCESS_FOLDER_LOOK);
            self.missed = if self.folder.holds(&self.lock) { 0 } else { self.missed + 1 };
            if self.missed >= PROCESS_FOLDER_MISSED_MAX && self.stop.is_none() {
                self.stop_as_agreed();
            }
        }
        self.next_look.since(now)
    }

    /// With the signal and the grace period that the task was given.
    fn stop_as_agreed(&mut self) {
        let signal = Signal::try_from(self.launch.stop_signal).unwrap_or(Signal::SIGTERM);
        self.begin_stop(signal, self.launch.stop_grace);
    }

    /// Kills what has not ended in its grace period. Gives the time until something is to be done.
    fn enforce_stop(&mut self) -> Option<Duration> {
        let stop = self.stop.as_mut()?;
        let left = stop.kill_at.since(SystemClock.monotonic());
        if !left.is_zero() {
            return Some(left);
        }
        stop.killed = true;
        family::kill_all(self.first);
        Some(PROCESS_KILL_AGAIN)
    }

    /// Waits for an event or the pause's end, and takes what has come.
    fn wait(&mut self, pause: Option<Duration>) {
        let mut polled = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
        ];
        polled.extend(self.streams.iter().map(|(_, pipe)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        if poll(&mut polled, timeout(pause)).is_err() {
            return; // interrupted: the caller looks at everything again
        }
        let ready: Vec<bool> = polled.iter().map(|one| one.any().unwrap_or(true)).collect();
        if ready[0] && family::asked_to_end(&self.signals) {
            // Whoever ends us means the task.
            self.stop_as_agreed();
        }
        if ready[1] {
            self.take_orders();
        }
        let mut ready = ready[2..].iter();
        let mut streams = std::mem::take(&mut self.streams);
        streams.retain(|(stream, pipe)| {
            !ready.next().is_some_and(|ready| *ready) || self.take_output(*stream, pipe)
        });
        self.streams = streams;
    }

    /// An order is written in one piece, so none comes in parts.
    fn take_orders(&mut self) {
        let mut buffer = [0; 512];
        let Ok(length) = self.control.read(&mut buffer) else { return };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        for order in text.lines().filter_map(read_order) {
            match order {
                Order::Stop(signal, grace) => self.begin_stop(signal, grace),
                // It may have ended meanwhile; until it is reaped, which is our doing, its number is nobody else's.
                Order::Signal(signal) => drop(kill(self.first, signal)),
            }
        }
    }

    /// Another order may shorten the grace period and never makes it longer.
    fn begin_stop(&mut self, signal: Signal, grace: Duration) {
        let kill_at = SystemClock.monotonic().plus(grace);
        match &mut self.stop {
            Some(stop) if stop.kill_at <= kill_at => return,
            Some(stop) => {
                stop.kill_at = kill_at;
                stop.signal = signal;
                stop.grace = grace;
            }
            None => self.stop = Some(Stop { signal, grace, kill_at, killed: false }),
        }
        let _ = killpg(self.first, signal); // it may have ended meanwhile
        let _ = killpg(self.first, Signal::SIGCONT); // one that is halted hears nothing
    }

    /// Takes a piece of what the task wrote; false when nothing more will come.
    fn take_output(&mut self, stream: LogStream, pipe: &OwnedFd) -> bool {
        let mut buffer = [0; PROCESS_LOG_LINE_BYTES_MAX];
        match nix::unistd::read(pipe, &mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                if let Some(log) = &mut self.log {
                    log.append(stream, &buffer[..length], SystemClock.now());
                }
                true
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => true,
            Err(_) => false,
        }
    }

    /// What is left in the pipes. Nobody of the task writes any more, so it ends.
    fn read_rest(&mut self) {
        for (stream, pipe) in std::mem::take(&mut self.streams) {
            while is_ready(pipe.as_fd()) && self.take_output(stream, &pipe) {}
        }
        if let Some(log) = &mut self.log {
            log.finish(SystemClock.now());
        }
    }
}

/// Makes the task's control groups and starts its program.
fn start(launch: &Launch) -> Result<(Pid, Vec<(LogStream, OwnedFd)>), Answer> {
    for group in &launch.groups {
        group.create().map_err(|error| {
            Answer::Failed(format!("set its limits in {}: {error}", group.folder.display()))
        })?;
    }
    let kept = || if launch.log.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = program::spawn(&launch.program, kept(), kept()).map_err(|error| match error {
        SpawnError::Busy(_) => Answer::Busy(error.to_string()),
        SpawnError::Refused(reason) => Answer::Failed(reason),
    })?;
    let pipes = [
        (LogStream::Stdout, child.stdout.take().map(OwnedFd::from)),
        (LogStream::Stderr, child.stderr.take().map(OwnedFd::from)),
    ];
    let mut streams = Vec::new();
    for (stream, pipe) in pipes {
        let Some(pipe) = pipe else { continue };
        let _ = fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)); // what poll says holds in any case
        streams.push((stream, pipe));
    }
    let first = i32::try_from(child.id()).map_err(|_| Answer::Failed("its pid is out of range".into()))?;
    Ok((Pid::from_raw(first), streams))
}

fn is_ready(pipe: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(pipe, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Rounded up, so that what is waited for is due when the wait is over.
fn timeout(pause: Option<Duration>) -> PollTimeout {
    let Some(pause) = pause else { return PollTimeout::NONE };
    PollTimeout::try_from(pause.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let (signal, grace) = (Signal::SIGINT, Duration::from_millis(1_500));
        assert_eq!(read_order(stop_order(signal, grace).trim_end()), Some(Order::Stop(signal, grace)));
        assert_eq!(read_order(signal_order(signal).trim_end()), Some(Order::Signal(signal)));
        for odd in [
            "",
            "stop",
            "stop x 1",
            "stop 15",
            "stop 15 -1",
            "stop 1500 1",
            "go 15 1",
            "signal",
            "signal x",
            "signal 1 1",
        ] {
            assert_eq!(read_order(odd), None, "{odd}");
        }
    }
}
