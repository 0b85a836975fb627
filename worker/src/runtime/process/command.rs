//! Commands inside a task: its environment, folder, user and limits, for as long as somebody waits for them.
//!
//! A process of ours stands between here too: when the daemon lets go of the command, or dies, the command ends with
//! everything it started.

use std::io::{self, BufRead};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use common::limits::{PROCESS_COMMAND_OUTPUT_BYTES_MAX, PROCESS_KILL_WAIT};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::program::{self, Program, SpawnError, humantime};
use super::{ENTRY, family};
use crate::runtime::{CommandResult, RunError};

/// Exit code of a command that could not be run, as shells have it.
const NOT_RUN: u8 = 126;

/// Runs a program to its end and gives its exit code and the end of what it wrote.
pub async fn run(supervisor: &Path, program: &Program, limit: Duration) -> Result<CommandResult, RunError> {
    let busy = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| RunError::Temporary(format!("{what}: {error}"))
    };
    let mut child = tokio::process::Command::new(supervisor)
        .arg0("swarm")
        .args([ENTRY, "command"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(busy("make a process for the command"))?;
    // Dropped with this future, it tells the process between to end.
    let mut input = child.stdin.take().expect("it was asked for");
    let mut output = child.stdout.take().expect("it was asked for");
    let mut text = serde_json::to_vec(program).expect("a program has text keys and no failing parts");
    text.push(b'\n');
    input.write_all(&text).await.map_err(busy("tell the command what to run"))?;
    let mut kept = Vec::new();
    match tokio::time::timeout(limit, read_end(&mut output, &mut kept)).await {
        Ok(read) => read.map_err(busy("read what the command wrote"))?,
        Err(_) => {
            drop(input);
            let _ = tokio::time::timeout(PROCESS_KILL_WAIT * 2, child.wait()).await;
            return Err(RunError::Temporary(format!("it did not end within {}", humantime(limit))));
        }
    }
    let status = child.wait().await.map_err(busy("wait for the command"))?;
    let code = status.code().map_or(137, i64::from); // the process between was killed
    Ok(CommandResult { code, output: String::from_utf8_lossy(&kept).into_owned() })
}

/// Reads to the end and keeps the last bytes.
async fn read_end(output: &mut (impl AsyncReadExt + Unpin), kept: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; PROCESS_COMMAND_OUTPUT_BYTES_MAX];
    loop {
        let length = output.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(PROCESS_COMMAND_OUTPUT_BYTES_MAX);
        kept.drain(..surplus);
    }
}

/// The process between: runs what it is told on its standard input until that ends, or the command does.
pub fn between() -> ExitCode {
    match supervise() {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            let _ = io::Write::write_all(&mut io::stdout(), reason.as_bytes());
            ExitCode::from(NOT_RUN)
        }
    }
}

fn supervise() -> Result<u8, String> {
    let mut line = Vec::new();
    let input = io::stdin();
    input.lock().read_until(b'\n', &mut line).map_err(|error| format!("read what to run: {error}"))?;
    let program: Program =
        serde_json::from_slice(&line).map_err(|error| format!("read what to run: {error}"))?;
    drop(line);
    let signals = family::adopt(c"swarm-command")?;
    let both = || io::stdout().as_fd().try_clone_to_owned().map(Stdio::from);
    let output = both().and_then(|stdout| Ok((stdout, both()?)));
    let (stdout, stderr) = output.map_err(|error| format!("hand the output down: {error}"))?;
    let child = program::spawn(&program, stdout, stderr).map_err(|error| match error {
        SpawnError::Busy(_) => error.to_string(),
        SpawnError::Refused(reason) => reason,
    })?;
    let first = Pid::from_raw(i32::try_from(child.id()).map_err(|_| "its pid is out of range")?);
    let wait = |timeout: PollTimeout| {
        let mut polled =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut polled, timeout);
        let let_go = polled[1].any().unwrap_or(true); // nothing more is ever said, so this is its end
        family::asked_to_end(&signals) || let_go
    };
    let mut ending = None;
    let mut over = false;
    while ending.is_none() && !over {
        let reaped = family::reap(first);
        ending = reaped.first;
        if ending.is_some() || reaped.empty {
            break;
        }
        over = wait(PollTimeout::NONE);
    }
    family::end_all(first, |pause| {
        let pause = PollTimeout::try_from(pause).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], pause);
        family::asked_to_end(&signals);
    });
    let code = ending.map_or(137, family::Ending::code);
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}
