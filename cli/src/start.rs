//! Starts a daemon in the background when none answers, for `swarm init` and `swarm join`.
//!
//! The daemon gets a session of its own (it asks for one itself: `daemon --new-session`), so that closing the
//! terminal does not end it, and writes to a log beside its state. Here only: spawn, wait until it answers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use common::limits::{DAEMON_LOG_BYTES_MAX, DAEMON_LOG_TAIL_BYTES, DAEMON_START_POLL, DAEMON_START_TIME_MAX};

use crate::client::{Client, ClientError};
use crate::exit::{Exit, Failure};
use crate::output::progress::Waiting;
use crate::paths::{self, Host};

/// What is started, and where.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub state_dir: PathBuf,
}

/// Why no daemon could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("find the program to start as daemon")]
    Program(#[source] io::Error),
    #[error("prepare the daemon's folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error("open the daemon's log {}", .0.display())]
    Log(PathBuf, #[source] io::Error),
    #[error("start {}", .0.display())]
    Spawn(PathBuf, #[source] io::Error),
}

impl Launch {
    /// This program as daemon for `host`, with its state in `state_dir`.
    pub fn this_program(host: &Host, state_dir: &Path) -> Result<Self, StartError> {
        let program = std::env::current_exe().map_err(StartError::Program)?;
        let arguments = ["--host", &host.to_string(), "daemon", "--new-session", "--state-dir"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(state_dir.display().to_string());
        Ok(Self { program, arguments, state_dir: state_dir.into() })
    }

    fn log(&self) -> PathBuf {
        self.state_dir.join("daemon.log")
    }

    fn spawn(&self) -> Result<Child, StartError> {
        let folder = |error| StartError::Folder(self.state_dir.clone(), error);
        paths::ensure_private_dir(&self.state_dir).map_err(folder)?;
        let log = self.log();
        let opened = || -> io::Result<(File, File)> {
            put_aside_when_large(&log)?;
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&log)?;
            Ok((file.try_clone()?, file))
        };
        let (stdout, stderr) = opened().map_err(|error| StartError::Log(log.clone(), error))?;
        Command::new(&self.program)
            .args(&self.arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|error| StartError::Spawn(self.program.clone(), error))
    }
}

/// Returns at once when a daemon answers; else starts one, says so on standard error, and waits until it answers.
pub async fn ensure_daemon(client: &Client, launch: &Launch) -> anyhow::Result<()> {
    match client.ping().await {
        Ok(()) => return Ok(()),
        Err(error) if !error.is_unreachable() => return Err(error.into()),
        Err(_) => {}
    }
    crate::output::note(&format!("No swarm daemon answers at {}: starting one.", client.host()));
    crate::output::note(&format!(
        "Its state is in {}, its log in {}.",
        launch.state_dir.display(),
        launch.log().display()
    ));
    let log_start = std::fs::metadata(launch.log()).map(|metadata| metadata.len()).unwrap_or(0);
    let mut child = launch.spawn()?;
    let waiting = Waiting::begin("waiting for the daemon to answer");
    let answered = tokio::time::timeout(DAEMON_START_TIME_MAX, answer_or_end(client, &mut child)).await;
    drop(waiting);
    match answered {
        Ok(Ok(Outcome::Answers)) => {
            crate::output::note(&format!("Daemon started (process {}).", child.id()));
            Ok(())
        }
        Ok(Ok(Outcome::Ended(status))) => {
            let why = format!("the daemon ended before it answered ({status})");
            Err(Failure::new(Exit::Failed, with_log_tail(why, &launch.log(), log_start)).into())
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            // Left running: it may still come up, and a person can look at it.
            let seconds = DAEMON_START_TIME_MAX.as_secs();
            let why = format!(
                "the daemon (process {}) does not answer at {} after {seconds} s",
                child.id(),
                client.host()
            );
            Err(Failure::new(Exit::TimedOut, with_log_tail(why, &launch.log(), log_start)).into())
        }
    }
}

enum Outcome {
    Answers,
    Ended(ExitStatus),
}

async fn answer_or_end(client: &Client, child: &mut Child) -> Result<Outcome, ClientError> {
    loop {
        match client.ping().await {
            Ok(()) => return Ok(Outcome::Answers),
            Err(error) if !error.is_unreachable() => return Err(error),
            Err(_) => {}
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(Outcome::Ended(status));
        }
        tokio::time::sleep(DAEMON_START_POLL).await;
    }
}

fn put_aside_when_large(log: &Path) -> io::Result<()> {
    match std::fs::metadata(log) {
        Ok(metadata) if metadata.len() > DAEMON_LOG_BYTES_MAX => {
            std::fs::rename(log, log.with_extension("log.1"))
        }
        _ => Ok(()),
    }
}

/// Adds the end of what the daemon wrote since byte `start`.
fn with_log_tail(why: String, log: &Path, start: u64) -> String {
    let tail = read_tail(log, start).unwrap_or_default();
    match tail.trim_end() {
        "" => format!("{why}; its log {} says nothing", log.display()),
        tail => format!("{why}; the end of its log {}:\n{tail}", log.display()),
    }
}

fn read_tail(log: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    // A shorter file than before was put aside: all of it is new.
    let start = if start > length { 0 } else { start };
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(DAEMON_LOG_TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(DAEMON_LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn shell(folder: &Path, script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            state_dir: folder.join("state"),
        }
    }

    #[tokio::test]
    async fn a_daemon_that_ends_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let client = Client::new(Host::from_socket(folder.path().join("swarm.sock")));
        let launch = shell(folder.path(), "echo address in use >&2; exit 7");
        for _ in 0..2 {
            let error = ensure_daemon(&client, &launch).await.unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("the daemon ended before it answered (exit status: 7)"), "{text}");
            assert_eq!(text.matches("address in use").count(), 1, "only this start's lines: {text}");
            assert_eq!(Exit::of(&error), Exit::Failed);
        }
        let mode = std::fs::metadata(launch.log()).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let client = Client::new(Host::from_socket(folder.path().join("swarm.sock")));
        let launch = Launch { program: "/does/not/exist".into(), ..shell(folder.path(), "") };
        let error = ensure_daemon(&client, &launch).await.unwrap_err();
        assert_eq!(error.to_string(), "start /does/not/exist");
    }

    #[tokio::test]
    async fn nothing_is_started_when_a_daemon_answers() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let socket = folder.path().join("swarm.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("listen");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.expect("a request");
            assert!(request[..length].starts_with(b"GET /_ping "));
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK";
            stream.write_all(answer).await.expect("write");
        };
        let client = Client::new(Host::from_socket(&socket));
        let launch = Launch { program: "/does/not/exist".into(), ..shell(folder.path(), "") };
        let (result, ()) = tokio::join!(ensure_daemon(&client, &launch), serve);
        result.expect("the one that answers is enough");
    }

    #[test]
    fn a_large_log_is_put_aside() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = folder.path().join("daemon.log");
        let file = File::create(&log).expect("create");
        file.set_len(DAEMON_LOG_BYTES_MAX).expect("sparse");
        put_aside_when_large(&log).expect("small enough");
        assert!(log.exists());
        file.set_len(DAEMON_LOG_BYTES_MAX + 1).expect("sparse");
        put_aside_when_large(&log).expect("renamed");
        assert!(!log.exists() && folder.path().join("daemon.log.1").exists());
    }
}
