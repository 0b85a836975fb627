//! What the daemon keeps in memory of a task: who waits for news of it, and how its checks go.
//!
//! All of it is found again after a restart: one watcher per running task waits for its supervisor's end, and runs its
//! health checks meanwhile.

use std::sync::{Arc, Mutex};

use common::object::TaskId;
use common::object::container::HealthCheck;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;

use super::folder::{HealthRecord, Launch, RunningRecord, TaskFolder};
use super::health::{self, Checks, Outcome};
use super::{Inner, command, look};
use crate::runtime::{CommandResult, Health, RunError, blocking};

pub struct Live {
    /// Counts what has happened to the task.
    news: watch::Sender<u64>,
    /// Set while a watcher is at work.
    watched: Mutex<Option<Health>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { news: watch::channel(0).0, watched: Mutex::new(None) }
    }
}

impl Live {
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub fn tell(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn set_health(&self, health: Health) {
        *self.watched.lock().expect("no holder panics") = Some(health);
        self.tell();
    }
}

/// The health of a running task, which from now on is watched.
pub fn watch(inner: &Arc<Inner>, task: TaskId, running: &RunningRecord, launch: &Launch) -> Health {
    let live = inner.live(task);
    let mut watched = live.watched.lock().expect("no holder panics");
    if let Some(health) = &*watched {
        return health.clone();
    }
    let folder = inner.folder(task);
    let health = match &launch.health {
        None => Health::Unchecked,
        Some(_) => match folder.health() {
            Ok(Some(HealthRecord { unhealthy: None })) => Health::Healthy,
            Ok(Some(HealthRecord { unhealthy: Some(reason) })) => Health::Unhealthy { reason },
            // A damaged one is made anew by the next check.
            Ok(None) | Err(_) => Health::Starting,
        },
    };
    *watched = Some(health.clone());
    drop(watched);
    let watcher = Watcher { inner: inner.clone(), live, folder, known: health.clone() };
    inner.tasks.spawn_until_stopped(watcher.run(running.clone(), launch.clone()));
    health
}

/// Done when the supervisor has ended.
pub async fn wait_for_end(folder: &TaskFolder) -> Result<(), RunError> {
    let Some(pipe) = folder.watch_alive().map_err(look::failed)? else { return Ok(()) };
    let broken = |error| RunError::Temporary(format!("wait for the supervisor of a task: {error}"));
    let pipe = Receiver::from_file(pipe).map_err(broken)?;
    loop {
        pipe.readable().await.map_err(broken)?;
        match pipe.try_read(&mut [0; 16]) {
            Ok(0) => return Ok(()),
            Ok(_) => {} // nobody of ours writes there
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

struct Watcher {
    inner: Arc<Inner>,
    live: Arc<Live>,
    folder: TaskFolder,
    known: Health,
}

impl Watcher {
    async fn run(self, running: RunningRecord, launch: Launch) {
        let ended = async {
            if let Err(error) = wait_for_end(&self.folder).await {
                tracing::warn!(folder = %self.folder.path().display(), %error, "a task is not watched any more");
            }
        };
        match &launch.health {
            None => ended.await,
            Some(check) => tokio::select! {
                () = ended => {}
                () = self.check(check, &running, &launch) => {}
            },
        }
        *self.live.watched.lock().expect("no holder panics") = None;
        self.live.tell();
    }

    /// Checks for ever.
    async fn check(&self, check: &HealthCheck, running: &RunningRecord, launch: &Launch) {
        let Some(line) = health::command(check) else { return std::future::pending().await };
        let mut program = launch.program.clone();
        program.command = line;
        let clock = &self.inner.clock;
        let (age_at_first, first) = (look::age(running, clock.now()), clock.monotonic());
        let age = || age_at_first.saturating_add(clock.monotonic().since(first));
        let mut checks = Checks::new(check, self.known.clone());
        let mut told = self.known.clone();
        loop {
            let begun = age();
            let result = command::run(&self.inner.supervisor, &program, checks.timeout()).await;
            checks.note(begun, outcome(result));
            if *checks.health() != told {
                told = checks.health().clone();
                self.remember(&told).await;
                self.live.set_health(told.clone());
            }
            tokio::time::sleep(checks.pause(age())).await;
        }
    }

    async fn remember(&self, health: &Health) {
        let record = match health {
            Health::Unchecked | Health::Starting => return,
            Health::Healthy => HealthRecord { unhealthy: None },
            Health::Unhealthy { reason } => HealthRecord { unhealthy: Some(reason.clone()) },
        };
        let folder = self.folder.clone();
        let saved = blocking(move || folder.save_health(&record).map_err(look::failed)).await;
        if let Err(error) = saved {
            tracing::warn!(%error, "the health of a task was not written down");
        }
    }
}

fn outcome(result: Result<CommandResult, RunError>) -> Outcome {
    match result {
        Ok(CommandResult { code: 0, .. }) => Ok(()),
        Ok(CommandResult { code, output }) => match output.trim() {
            "" => Err(format!("exit code {code}")),
            output => Err(format!("exit code {code}: {output}")),
        },
        Err(error) => Err(error.to_string()),
    }
}
