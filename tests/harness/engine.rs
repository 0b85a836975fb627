//! An engine of a test's own, to be killed, stopped and started again while nobody else's containers notice.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::docker::Docker;
use crate::run;
use crate::services;
use crate::skip::skipped;
use crate::wait::wait_until;

const START_DEADLINE: Duration = Duration::from_secs(60);

pub struct Engine {
    folder: PathBuf,
    docker: Docker,
    process: Option<Child>,
}

impl Engine {
    /// An engine with the image of the tests. None, and a loud line, where we may not run one.
    pub async fn start(test: &str) -> Option<Engine> {
        for program in ["dockerd", "unshare"] {
            if let Err(error) = Command::new(program).arg("--version").stdout(Stdio::null()).status() {
                skipped(test, "dockerd", &format!("{program}: {error}"));
                return None;
            }
        }
        if !nix::unistd::geteuid().is_root() {
            skipped(test, "dockerd", "only root may run one");
            return None;
        }
        let folder = run::folder();
        let docker = Docker::at(&folder.join("engine.sock"), test)?;
        let mut engine = Engine { folder, docker, process: None };
        if let Err(error) = engine.launch().await {
            skipped(test, "dockerd", &format!("{error:#}"));
            return None;
        }
        services::give_image(&engine.socket()).expect("a new engine takes an image");
        Some(engine)
    }

    /// Starts it with the folders it had, and waits until it answers.
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        let at = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        std::fs::write(at("settings.json"), "{}")?;
        // After a kill they name numbers that are others' among the new processes.
        for stale in [at("pid"), at("exec/containerd/containerd.pid")] {
            let _ = std::fs::remove_file(stale); // there is none at the first start
        }
        let log = std::fs::File::options().create(true).append(true).open(at("log"))?;
        let host = format!("unix://{}", self.socket().display());
        // A network of its own: without a bridge of its own an engine removes the one named `docker0`, whoever
        // made it. Processes of its own: what it started ends with it, however it ends, and nothing is left.
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child", "dockerd"])
            .args(["--config-file", &at("settings.json"), "--host", &host])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--bridge", "none", "--iptables=false", "--storage-driver", "vfs"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(command.spawn()?);
        let answered = wait_until("the engine answers", START_DEADLINE, async || {
            if let Some(Ok(Some(status))) = self.process.as_mut().map(Child::try_wait) {
                return Ok(Err(status));
            }
            self.docker.ok(&["version"]).await.map(|_| Ok(())).map_err(|error| format!("{error:#}"))
        })
        .await?;
        let log = || std::fs::read_to_string(at("log")).unwrap_or_default();
        answered.map_err(|status| anyhow::anyhow!("the engine ended with {status}: {}", log()))
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("engine.sock")
    }

    /// The `docker` command on this engine.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// To the engine itself: `unshare` only waits for it.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let parent = self.process.as_ref().map(Child::id).context("no engine runs")?;
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let id = children.split_whitespace().next().context("the engine has ended")?;
        Ok(kill(Pid::from_raw(id.parse()?), signal)?)
    }

    /// Without a word, and all its containers with it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
