//! One daemon as a process of its own: start, stop, kill, pause, restart; its log when a test fails.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use common::identity::{NodeIdentity, Stored, file as identity_file};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::disk::SmallDisk;
use crate::wait::wait_until;
use crate::{binary, run};

/// How long a daemon may take until its socket answers, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a daemon may take to stop in good order.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How much of a log is shown when a test fails.
const LOG_SHOWN_BYTES: u64 = 16 << 10;

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Shown in messages; the daemon does not know it.
    pub name: String,
    /// Where it listens for other nodes, and what it tells them.
    pub addr: SocketAddr,
    /// The network namespace it runs in.
    pub namespace: Option<String>,
    /// It listens on every address of its host and chooses itself what to tell others, as without any flag.
    pub chooses_address: bool,
    /// The state folder lies on a disk of its own, this large.
    pub disk_bytes: Option<u64>,
    /// After `daemon --state-dir …`.
    pub arguments: Vec<String>,
    /// Beside what this process has.
    pub environment: Vec<(String, String)>,
    pub program: PathBuf,
}

impl NodeOptions {
    /// On an address of its own on this machine.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            addr: run::address(),
            namespace: None,
            chooses_address: false,
            disk_bytes: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            program: binary::swarm().into(),
        }
    }

    pub fn at(self, addr: SocketAddr) -> Self {
        Self { addr, ..self }
    }

    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    pub fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn choosing_its_address(self) -> Self {
        Self { chooses_address: true, ..self }
    }

    /// Only where `disk::available`.
    pub fn on_a_disk_of(self, bytes: u64) -> Self {
        Self { disk_bytes: Some(bytes), ..self }
    }
}

/// A daemon and its folder. Dropping it kills the one and removes the other.
pub struct Node {
    options: NodeOptions,
    folder: PathBuf,
    process: Option<Child>,
    disk: Option<SmallDisk>,
}

impl Node {
    /// Starts a daemon in a new folder, and waits until its socket answers.
    pub async fn start(options: NodeOptions) -> anyhow::Result<Node> {
        let mut node = Node { options, folder: run::folder(), process: None, disk: None };
        if let Some(bytes) = node.options.disk_bytes {
            node.disk = Some(SmallDisk::mount(&node.state_folder(), bytes)?);
        }
        node.launch().await?;
        Ok(node)
    }

    /// Starts the daemon again where it was left, and waits until its socket answers.
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.answers().await
    }

    /// Starts the daemon again without waiting for anything.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "{} runs already", self.name());
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut command = match &self.options.namespace {
            None => Command::new(&self.options.program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.options.program);
                command
            }
        };
        let host = format!("unix://{}", self.socket().display());
        command
            .args(["--host", &host, "daemon", "--state-dir"])
            .arg(self.state_folder())
            .arg("--secrets-dir")
            .arg(self.secrets_folder())
            .args(&self.options.arguments)
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let process = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until the daemon's socket answers.
    pub async fn answers(&mut self) -> anyhow::Result<()> {
        let client = self.client();
        let what = format!("{} answers on its socket", self.name());
        let answered = wait_until(&what, START_DEADLINE, async || {
            if let Some(status) = self.exited() {
                // An early end is an answer too: waiting for the deadline would hide it.
                return Ok(Err(status));
            }
            client.get("/_ping").await.map(Ok).map_err(|error| format!("{error:#}"))
        })
        .await;
        match answered {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => anyhow::bail!("{} ended with {status}:\n{}", self.name(), self.log_tail()),
            Err(error) => Err(error.context(self.log_tail())),
        }
    }

    /// Stops the daemon as a service manager would, and gives its exit status.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let what = format!("{} stops", self.name());
        let status = wait_until(&what, STOP_DEADLINE, async || self.exited().ok_or("it runs".into()))
            .await
            .context(self.log_tail())?;
        self.process = None;
        Ok(status)
    }

    /// Kills the daemon without a word, as a power cut would. Nothing happens where none runs.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Also ends a paused process. It fails where the process has ended, and then there is nothing to do.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// The daemon gets no time: to other nodes it is silent, though its sockets are there.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Stops in good order and starts again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.launch().await
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.id().with_context(|| format!("{} does not run", self.name()))?;
        kill(Pid::from_raw(i32::try_from(id)?), signal)
            .with_context(|| format!("{signal} to {}", self.name()))
    }

    /// The process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// How the process ended, where it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.try_wait().ok().flatten()
    }

    pub fn name(&self) -> &str {
        &self.options.name
    }

    pub fn addr(&self) -> SocketAddr {
        self.options.addr
    }

    /// Moves the node to another address; the daemon hears of it by what it is told next.
    pub fn set_addr(&mut self, addr: SocketAddr) {
        self.options.addr = addr;
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("swarm.sock")
    }

    pub fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What the node proves itself with, read from its disk; not of a manager that locks.
    pub fn identity(&self) -> anyhow::Result<NodeIdentity> {
        match identity_file::load(&self.state_folder().join("identity.pem"))?.context("it has no identity")? {
            Stored::Open(stored) => Ok(stored.identity),
            Stored::Locked(_) => anyhow::bail!("its identity is locked"),
        }
    }

    /// Where its tasks' secrets and configs lie: on a machine whose temporary files are on a disk the daemon mounts
    /// memory there, once a task needs it.
    pub fn secrets_folder(&self) -> PathBuf {
        self.folder.join("secrets")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The disk of its own that it was started with.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// What to say at init and join: where to listen, and what to tell others.
    pub fn listen_and_advertise(&self) -> (String, String) {
        let addr = self.addr();
        if self.options.chooses_address {
            (format!("0.0.0.0:{}", addr.port()), String::new())
        } else {
            (addr.to_string(), addr.to_string())
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// All that the daemon has written, over all its starts.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn log_tail(&self) -> String {
        let tail = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.log_path())?;
            let from = file.metadata()?.len().saturating_sub(LOG_SHOWN_BYTES);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(LOG_SHOWN_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let text =
            tail().map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into());
        format!("--- log of {} ({})\n{text}---", self.name(), self.addr())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        drop(self.disk.take());
        let _ = nix::mount::umount(&self.secrets_folder()); // most nodes have none
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for the daemon, so that this file is tested by itself.
    fn script(folder: &Path, body: &str) -> NodeOptions {
        let program = folder.join("stand-in");
        // By another process: a file that this one has open to write cannot be run as long as a child of another
        // thread still has it open too.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
        let written = Command::new("sh").args(["-c", write]).arg(&program).arg(body).status().unwrap();
        assert!(written.success());
        NodeOptions {
            name: "stand-in".into(),
            addr: "127.0.0.1:1".parse().unwrap(),
            namespace: None,
            chooses_address: false,
            disk_bytes: None,
            arguments: vec!["--lab".into()],
            environment: Vec::new(),
            program,
        }
    }

    fn state_of(id: u32) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").map_or("gone", |(_, rest)| &rest[..1]).into()
    }

    async fn in_state(id: u32, state: &str) {
        wait_until(state, Duration::from_secs(20), async || {
            let found = state_of(id);
            if found == state { Ok(()) } else { Err(found) }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_ends_early_is_told_with_its_log() {
        let folder = run::folder();
        let options = script(&folder, "echo \"cannot start: $*\"; exit 3");
        let error = format!("{:#}", Node::start(options).await.err().expect("it ended"));
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("cannot start: --host unix://"), "{error}");
        assert!(error.contains("--lab"), "{error}");
    }

    #[tokio::test]
    async fn it_is_paused_resumed_stopped_and_killed() {
        let folder = run::folder();
        let options = script(&folder, "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done");
        let mut node = Node { options, folder: run::folder(), process: None, disk: None };
        node.spawn().unwrap();
        assert!(node.spawn().is_err(), "a second start is refused");
        let up = async || if node.log().contains("up") { Ok(()) } else { Err(String::new()) };
        wait_until("it is up", START_DEADLINE, up).await.unwrap();
        let id = node.id().unwrap();
        node.pause().unwrap();
        in_state(id, "T").await;
        node.resume().unwrap();
        in_state(id, "S").await;
        assert_eq!(node.stop().await.unwrap().code(), Some(7));
        assert!(node.signal(Signal::SIGTERM).is_err());

        node.spawn().unwrap();
        let id = node.id().unwrap();
        node.pause().unwrap();
        node.kill();
        in_state(id, "gone").await;

        node.spawn().unwrap();
        let id = node.id().unwrap();
        let home = node.folder().to_path_buf();
        drop(node);
        in_state(id, "gone").await;
        assert!(!home.exists());
    }
}
