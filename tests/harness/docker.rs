//! Docker's own clients against a node's socket: the `docker` command and an SDK.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::run;
use crate::skip::skipped;

/// The `docker` command, talking to one socket, with no settings of the person who runs the tests.
#[derive(Clone, Debug)]
pub struct Docker {
    socket: PathBuf,
    settings: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Docker {
    /// None, and a loud line, where this machine has no `docker` command.
    pub fn at(socket: &Path, test: &str) -> Option<Docker> {
        if let Err(error) = Command::new("docker").arg("--version").stdout(Stdio::null()).status() {
            skipped(test, "docker", &format!("the docker command: {error}"));
            return None;
        }
        Some(Docker { socket: socket.into(), settings: run::folder() })
    }

    /// The same command against another socket.
    pub fn on(&self, socket: &Path) -> Docker {
        Docker { socket: socket.into(), settings: self.settings.clone() }
    }

    /// A command with these arguments, for tests that do more with it than run it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix://{}", self.socket.display())).args(arguments);
        for name in
            ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"]
        {
            command.env_remove(name);
        }
        command.env("DOCKER_CONFIG", &self.settings).stdin(Stdio::null());
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let output = tokio::time::timeout(Duration::from_secs(60), command.kill_on_drop(true).output())
            .await
            .with_context(|| format!("docker {arguments:?} did not end"))??;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).trim_end().into(),
            stderr: String::from_utf8_lossy(&output.stderr).trim_end().into(),
        })
    }

    /// What the command prints; an error with its words where it fails.
    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments).await?;
        anyhow::ensure!(output.code == Some(0), "docker {arguments:?}: {output:?}");
        Ok(output.stdout)
    }
}

/// An SDK's client on a node's socket, with the API version agreed on.
pub async fn sdk(socket: &Path) -> anyhow::Result<bollard::Docker> {
    let socket = socket.to_str().context("our socket paths are UTF-8")?;
    let docker = bollard::Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION)?;
    Ok(docker.negotiate_version().await?)
}
