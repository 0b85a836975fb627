//! One machine: the real agent in a tokio runtime of its own with paused time, an engine that runs nothing, and a
//! folder.
//!
//! Each machine has its own runtime, so that it can be stopped anywhere, and so that no two of them race: what happens
//! within one moment on one machine is seen by others only after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::identity::DataKey;
use common::object::service::RuntimeKind;
use common::object::{NodeId, TaskId};
use common::random::SeededRandom;
use common::shutdown::Tasks;
use common::time::{Clock, Monotonic, Timestamp};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use worker::agent::{Agent, AgentHandle, AgentSettings};
use worker::runtime::fake::FakeRuntime;
use worker::runtime::{Runtime as _, Seen};

use crate::invariants::payloads_stay_close::Holding;

/// Files in memory, where the machine has that: nothing here is about real disks.
const MEMORY: &str = "/dev/shm";

/// Virtual time: goes on with the tokio runtime of the agent, and stands still while there is none.
struct MachineClock {
    epoch: Timestamp,
    now: Mutex<(Duration, Option<Instant>)>,
}

impl MachineClock {
    fn elapsed(&self) -> Duration {
        let (at, anchor) = *self.now.lock().expect("no holder panics");
        at + anchor.map_or(Duration::ZERO, |anchor| anchor.elapsed())
    }

    fn set(&self, at: Duration, anchor: Option<Instant>) {
        *self.now.lock().expect("no holder panics") = (at, anchor);
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        self.epoch.plus(self.elapsed())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.elapsed())
    }
}

pub struct Machine {
    pub id: NodeId,
    pub engine: FakeRuntime,
    clock: Arc<MachineClock>,
    folder: TempDir,
    seed: u64,
    lives: u64,
    life: Option<Life>,
}

/// From one start of the daemon to its end.
struct Life {
    runtime: Runtime,
    agent: AgentHandle,
    began_at: Duration,
    anchor: Instant,
}

impl Machine {
    /// Its clock may show another time than the others'.
    pub fn new(id: NodeId, seed: u64, epoch: Timestamp) -> Self {
        let clock = Arc::new(MachineClock { epoch, now: Mutex::new((Duration::ZERO, None)) });
        let engine = FakeRuntime::new(clock.clone());
        let place = std::path::Path::new(MEMORY);
        let folder = if place.is_dir() { tempfile::tempdir_in(place) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        let mut machine = Self { id, engine, clock, folder, seed, lives: 0, life: None };
        machine.start(Duration::ZERO);
        machine
    }

    pub fn is_up(&self) -> bool {
        self.life.is_some()
    }

    pub fn start(&mut self, now: Duration) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let guard = runtime.enter();
        let anchor = Instant::now();
        self.clock.set(now, Some(anchor));
        self.lives += 1;
        let engine: Arc<dyn worker::runtime::Runtime> = Arc::new(self.engine.clone());
        let name = format!("{} {}", self.id.0, self.lives);
        let agent = Agent::start(AgentSettings {
            node: self.id,
            hostname: format!("n{}", self.id.0),
            folder: self.folder.path().join("agent"),
            local_key: DataKey::generate(&mut SeededRandom::new(self.seed, "local key")),
            runtimes: BTreeMap::from([(RuntimeKind::Fake, engine)]),
            random: Box::new(SeededRandom::new(self.seed, &name)),
            clock: self.clock.clone(),
            tasks: Tasks::new(),
        });
        let agent = agent.expect("its folder can be used");
        drop(guard);
        self.life = Some(Life { runtime, agent, began_at: now, anchor });
    }

    /// The daemon ends in the middle of whatever it does. Its tasks go on.
    pub fn kill_daemon(&mut self, now: Duration) {
        self.life = None;
        self.clock.set(now, None);
    }

    /// The power fails: tasks end too, and the last write may be torn.
    pub fn crash(&mut self, now: Duration, torn_bytes: u64) {
        self.present().into_iter().for_each(|task| self.end(task, 137));
        self.kill_daemon(now);
        let path = self.folder.path().join("agent").join(worker::disk::FILE);
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(path) {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            let _ = file.set_len(length.saturating_sub(torn_bytes)); // a file that is not there is torn enough
        }
    }

    /// The disk is replaced by an empty one, while the daemon is down.
    pub fn lose_disk(&mut self) {
        let _ = std::fs::remove_dir_all(self.folder.path().join("agent")); // it may not be there yet
    }

    /// Lets everything on this machine happen until `now`.
    pub fn advance(&mut self, now: Duration) {
        if let Some(life) = &self.life {
            let until = life.anchor + (now - life.began_at);
            life.runtime.block_on(async { tokio::time::sleep_until(until).await });
        } else {
            self.clock.set(now, None);
        }
    }

    /// Speaks with the agent; none while there is none.
    pub fn with_agent<T>(&self, speak: impl FnOnce(&AgentHandle) -> T) -> Option<T> {
        let life = self.life.as_ref()?;
        let _guard = life.runtime.enter();
        Some(speak(&life.agent))
    }

    pub fn end(&self, task: TaskId, code: i64) {
        let _guard = self.life.as_ref().map(|life| life.runtime.enter());
        self.engine.end(task, code);
    }

    /// What it has of secrets and configs; none while the daemon is down.
    pub fn holding(&self) -> Option<Holding> {
        let payloads = self.with_agent(|agent| agent.payloads().into_iter().collect())?;
        let content = |task: TaskId| {
            let (files, _) = self.engine.files(task);
            files.iter().map(|file| file.data.reveal().to_vec()).collect()
        };
        let files = self.present().into_iter().map(|task| (task, content(task))).collect();
        Some(Holding { node: self.id, payloads, files })
    }

    pub fn running(&self) -> usize {
        let _guard = self.life.as_ref().map(|life| life.runtime.enter());
        self.engine.running()
    }

    /// The tasks of which the engine has anything. A pull that was dropped is nothing yet: the engine keeps how far
    /// it came, and lets go of it with the next whole set of assignments.
    pub fn present(&self) -> Vec<TaskId> {
        let Some(life) = &self.life else { return Vec::new() };
        life.runtime.block_on(async {
            let mut present = self.engine.present().await.unwrap_or_default();
            let mut seen = Vec::new();
            for task in &present {
                seen.push(!matches!(self.engine.look(*task).await, Ok(Seen::Absent)));
            }
            let mut seen = seen.into_iter();
            present.retain(|_| seen.next().unwrap_or_default());
            present
        })
    }
}
