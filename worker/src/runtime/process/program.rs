//! Becoming the task's program: limits, user, folder, environment, and then another program in this process.
//!
//! A process of our own does this between the supervisor and the program, because what is set here cannot be taken
//! back: done in the supervisor it would bind the supervisor too. It is told what to become on its standard input,
//! where nobody else can read it, and says on the same way why it could not. Silence means that the program runs.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use common::limits::PROCESS_START_TIME_MAX;
use nix::sys::resource::{RLIM_INFINITY, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::ulimit;

/// A program with everything it runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name or path, and its arguments.
    pub command: Vec<String>,
    /// Complete: nothing of our own environment is added.
    pub env: Vec<(String, String)>,
    /// Where it runs: entered as its user, who has to be allowed to.
    pub folder: Option<PathBuf>,
    /// Where it runs when it has no such folder: its own one, made for it.
    pub work: PathBuf,
    /// None: whoever we are.
    pub identity: Option<Identity>,
    pub ulimits: Vec<Ulimit>,
    /// Files of control groups in which it writes itself.
    pub groups: Vec<PathBuf>,
    pub oom_score_adj: i64,
    pub no_new_privileges: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub user: u32,
    pub group: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// None means unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Ours to mend: no process could be made.
    #[error("make a process for the task: {0}")]
    Busy(io::Error),
    /// The task's: what it asks for cannot be done.
    #[error("{0}")]
    Refused(String),
}

/// Starts `program` as the leader of a session of its own. Done when it runs, or could not.
pub fn spawn(program: &Program, stdout: Stdio, stderr: Stdio) -> Result<Child, SpawnError> {
    let (ours, theirs) = UnixStream::pair().map_err(SpawnError::Busy)?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("swarm")
        .args([super::ENTRY, "program"])
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(SpawnError::Busy)?;
    let answer = tell(&ours, program);
    let reason = match answer {
        Ok(reason) if reason.is_empty() => return Ok(child),
        Ok(reason) => reason,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            format!("it did not start within {}", humantime(PROCESS_START_TIME_MAX))
        }
        // It ended before it said anything: that is the end of the task, with the exit code it has.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(child),
        Err(error) => error.to_string(),
    };
    let _ = child.kill();
    let _ = child.wait();
    Err(SpawnError::Refused(reason))
}

/// A duration as people write it.
pub fn humantime(duration: std::time::Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

fn tell(mut stream: &UnixStream, program: &Program) -> io::Result<String> {
    stream.set_write_timeout(Some(PROCESS_START_TIME_MAX))?;
    stream.set_read_timeout(Some(PROCESS_START_TIME_MAX))?;
    let text = serde_json::to_vec(program).expect("a program has text keys and no failing parts");
    // The program's own end of this stream closes when it begins to run, even where it never read all of it.
    match stream.write_all(&text).and_then(|()| stream.shutdown(Shutdown::Write)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let mut reason = String::new();
    io::Read::read_to_string(&mut stream, &mut reason)?;
    Ok(reason)
}

/// The process between: becomes what it is told on its standard input.
pub fn run() -> ExitCode {
    // A copy that closes when the program begins, and nothing to read for the program itself.
    let Ok(stream) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let stream = UnixStream::from(stream);
    let reason = match become_told(&stream) {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    let _ = (&stream).write_all(reason.as_bytes());
    ExitCode::FAILURE
}

fn become_told(stream: &UnixStream) -> Result<std::convert::Infallible, String> {
    let nothing = std::fs::File::open("/dev/null").map_err(|error| format!("open /dev/null: {error}"))?;
    nix::unistd::dup2_stdin(&nothing).map_err(|error| format!("close standard input: {error}"))?;
    let mut text = Vec::new();
    BufReader::new(stream).read_until(0, &mut text).map_err(|error| format!("read what to run: {error}"))?;
    let program: Program =
        serde_json::from_slice(&text).map_err(|error| format!("read what to run: {error}"))?;
    drop(text);
    nix::unistd::setsid().map_err(|error| format!("start a session of its own: {error}"))?;
    prepare(&program)?;
    let (name, arguments) = program.command.split_first().ok_or("there is no program to run")?;
    let environment = program.env.iter().map(|(name, value)| (name, value));
    let error = Command::new(name).args(arguments).env_clear().envs(environment).exec();
    Err(why_not(name, &error))
}

/// Everything that stays with the process when it becomes the program.
fn prepare(program: &Program) -> Result<(), String> {
    for group in &program.groups {
        std::fs::write(group, "0").map_err(|error| format!("enter {}: {error}", group.display()))?;
    }
    adjust_oom_score(program.oom_score_adj)?;
    for ulimit in &program.ulimits {
        let resource =
            ulimit::resource(&ulimit.name).ok_or_else(|| format!("no ulimit is named '{}'", ulimit.name))?;
        let value = |amount: Option<u64>| amount.unwrap_or(RLIM_INFINITY);
        setrlimit(resource, value(ulimit.soft), value(ulimit.hard))
            .map_err(|error| format!("set ulimit {}: {error}", ulimit.name))?;
    }
    // The supervisor holds signals back; the program must not.
    SigSet::empty().thread_set_mask().map_err(|error| format!("let signals through: {error}"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Its own folder is entered before we become its user, who may have no way to it from the top.
    enter(&program.work)?;
    if let Some(identity) = &program.identity {
        become_user(identity)?;
    }
    if let Some(folder) = &program.folder {
        enter(folder)?;
    }
    if program.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(|error| format!("give up new privileges: {error}"))?;
    }
    Ok(())
}

/// The daemon's own protection is not passed on.
fn adjust_oom_score(wanted: i64) -> Result<(), String> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i64>().ok());
    if wanted == 0 && now.is_none_or(|now| now >= 0) {
        return Ok(());
    }
    std::fs::write(FILE, wanted.to_string())
        .map_err(|error| format!("set oom score adjustment {wanted}: {error}"))
}

fn enter(folder: &Path) -> Result<(), String> {
    std::env::set_current_dir(folder).map_err(|error| format!("enter folder {}: {error}", folder.display()))
}

fn become_user(identity: &Identity) -> Result<(), String> {
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    nix::unistd::setgroups(&groups).map_err(|error| format!("become a member of its groups: {error}"))?;
    nix::unistd::setgid(Gid::from_raw(identity.group))
        .map_err(|error| format!("become group {}: {error}", identity.group))?;
    nix::unistd::setuid(Uid::from_raw(identity.user))
        .map_err(|error| format!("become user {}: {error}", identity.user))
}

/// Why a program could not be run, in words that tell its file from what its file needs.
fn why_not(name: &str, error: &io::Error) -> String {
    let is_path = name.contains('/');
    match error.kind() {
        io::ErrorKind::NotFound if is_path && Path::new(name).exists() => {
            format!("exec: \"{name}\": the interpreter it names is not there")
        }
        io::ErrorKind::NotFound if is_path => format!("exec: \"{name}\": no such file"),
        io::ErrorKind::NotFound => format!("exec: \"{name}\": executable file not found in $PATH"),
        io::ErrorKind::PermissionDenied if is_path && Path::new(name).is_dir() => {
            format!("exec: \"{name}\": it is a folder")
        }
        io::ErrorKind::PermissionDenied => format!("exec: \"{name}\": permission denied"),
        _ => format!("exec: \"{name}\": {error}"),
    }
}
