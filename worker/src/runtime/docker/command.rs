//! Commands inside a container: readiness checks, what runs before the stop signal.
//!
//! The engine has no limit for such a command and no way to end it. One that takes too long is killed by its
//! process id, where this process may and can see that it belongs to the container.

use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use common::limits::{ENGINE_CALL_TIME_MAX, ENGINE_OUTPUT_BYTES_MAX, ENGINE_RETRY_MIN};
use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::engine::{Engine, Work};
use crate::runtime::{CommandResult, RunError};

pub async fn run(
    engine: &Engine,
    container: &str,
    command: &[String],
    limit: Duration,
) -> Result<CommandResult, RunError> {
    let config = ExecConfig {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let made = engine
        .ask(Work::Look, ENGINE_CALL_TIME_MAX, async |client: bollard::Docker| {
            client.create_exec(container, config).await
        })
        .await?;
    let carried_out = engine
        .ask(Work::Command, limit + ENGINE_CALL_TIME_MAX, async |client: bollard::Docker| {
            let result = timeout(limit, carry_out(&client, &made.id)).await;
            if result.is_err() {
                end(&client, container, &made.id).await?;
            }
            result.ok().transpose()
        })
        .await?;
    carried_out.ok_or_else(|| RunError::Temporary(format!("the command did not end within {limit:?}")))
}

async fn carry_out(client: &bollard::Docker, id: &str) -> Result<CommandResult, bollard::errors::Error> {
    let options = StartExecOptions::default();
    let mut end = Vec::new();
    // The input is held open, as people's own `docker exec` does, and closed with the output.
    if let StartExecResults::Attached { mut output, input } = client.start_exec(id, Some(options)).await? {
        while let Some(part) = output.next().await {
            keep_end(&mut end, &part?.into_bytes());
        }
        drop(input);
    }
    loop {
        let found = client.inspect_exec(id).await?;
        if let (Some(false), Some(code)) = (found.running, found.exit_code) {
            return Ok(CommandResult { code, output: String::from_utf8_lossy(&end).into_owned() });
        }
        // Output may end before the engine has heard of the exit.
        sleep(ENGINE_RETRY_MIN / 10).await;
    }
}

/// The last bytes alone.
fn keep_end(kept: &mut Vec<u8>, part: &[u8]) {
    kept.extend_from_slice(part);
    let too_many = kept.len().saturating_sub(ENGINE_OUTPUT_BYTES_MAX);
    kept.drain(..too_many);
}

async fn end(client: &bollard::Docker, container: &str, id: &str) -> Result<(), bollard::errors::Error> {
    let found = timeout(ENGINE_CALL_TIME_MAX / 2, client.inspect_exec(id)).await;
    let Ok(found) = found else { return Ok(()) };
    let found = found?;
    let pid = found.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
    let Some(pid) = pid.filter(|_| found.running == Some(true)) else { return Ok(()) };
    // A process of that number that is not the container's is somebody else's.
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if groups.contains(container) {
        let killed = kill(Pid::from_raw(pid), Signal::SIGKILL);
        debug!(container, pid, ?killed, "command took too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let mut kept = Vec::new();
        keep_end(&mut kept, &vec![b'a'; ENGINE_OUTPUT_BYTES_MAX + 5]);
        keep_end(&mut kept, b"end");
        assert_eq!(kept.len(), ENGINE_OUTPUT_BYTES_MAX);
        assert!(kept.ends_with(b"aend"));
    }
}
