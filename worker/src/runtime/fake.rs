//! The runtime that runs nothing and answers like a real one: for tests, and for scale.
//!
//! What a task does is in its env: `FAKE_PREPARE_MS`, `FAKE_START_MS`, `FAKE_RUN_MS`, `FAKE_EXIT`, `FAKE_STOP_MS`,
//! `FAKE_REJECT`, `FAKE_START_FAIL`, `FAKE_HEALTHY_AFTER_MS`, `FAKE_UNHEALTHY_AFTER_MS`, `FAKE_READY_AFTER_MS`,
//! `FAKE_LOG_MS`.
//! The engine outlives the agent, as a real one would: give the same one to the next agent. A task that just runs
//! costs no timer and no thread: what has become of it is worked out when somebody asks.

mod logs;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::limits::STOP_GRACE_DEFAULT;
use common::object::TaskId;
use common::object::ports::Port;
use common::object::service::RuntimeKind;
use common::object::task::ContainerStatus;
use common::time::{Clock, Monotonic, Timestamp};
use common::wire::logs::LogLine;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Notify;

use self::logs::LogReader;
use super::{
    CommandResult, Exit, Health, LogOptions, Progress, RunError, Runtime, Seen, TaskFile, TaskSetup,
};

/// First port given to a task that asks for any.
const PORT_FIRST: u16 = 30_000;

/// A handle to the engine: what an agent is given.
#[derive(Clone)]
pub struct FakeRuntime {
    engine: Arc<Engine>,
}

struct Engine {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The engine does not answer.
    is_away: bool,
    tasks: BTreeMap<TaskId, FakeTask>,
    /// How often each step was carried out to its end, over all tasks and for ever.
    counts: Counts,
    busy: usize,
    ports_given: u16,
}

/// What an engine has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub prepared: u64,
    pub started: u64,
    pub stopped: u64,
    pub removed: u64,
    /// Most tasks that were being prepared or started at the same time.
    pub busy_max: usize,
}

struct FakeTask {
    plan: Plan,
    phase: Phase,
    container: ContainerStatus,
    ports: Vec<Port>,
    /// The secrets and configs it has now.
    files: Vec<TaskFile>,
    /// Sent to it by refreshes.
    signals: Vec<String>,
    /// Told at every change that time alone does not bring.
    changed: Arc<Notify>,
}

#[derive(Clone)]
enum Phase {
    Preparing {
        since: Monotonic,
    },
    Prepared,
    Started(Started),
    /// Ended from outside; one that ends by itself is worked out from `Started`.
    Ended {
        started: Started,
        after: Duration,
        code: i64,
        reason: String,
    },
}

#[derive(Clone, Copy)]
struct Started {
    at: Monotonic,
    wall: Timestamp,
}

/// What a task's env says.
#[derive(Clone, Debug, Default)]
struct Plan {
    name: String,
    prepare: Duration,
    start: Duration,
    run: Option<Duration>,
    exit: i64,
    stop: Duration,
    grace: Duration,
    reject: Option<String>,
    start_fail: Option<String>,
    healthy_after: Option<Duration>,
    unhealthy_after: Option<Duration>,
    ready_after: Duration,
    log_period: Option<Duration>,
}

impl Plan {
    fn of(setup: &TaskSetup) -> Self {
        let container = &setup.spec.container;
        let text = |name: &str| {
            let value = |entry: &String| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_string());
            container.env.iter().rev().find_map(value)
        };
        let time = |name| Some(Duration::from_millis(text(name)?.parse().ok()?));
        Self {
            name: setup.name.clone(),
            prepare: time("FAKE_PREPARE_MS").unwrap_or_default(),
            start: time("FAKE_START_MS").unwrap_or_default(),
            run: time("FAKE_RUN_MS"),
            exit: text("FAKE_EXIT").and_then(|code| code.parse().ok()).unwrap_or_default(),
            stop: time("FAKE_STOP_MS").unwrap_or_default(),
            grace: container.stop_grace_period.unwrap_or(STOP_GRACE_DEFAULT),
            reject: text("FAKE_REJECT"),
            start_fail: text("FAKE_START_FAIL"),
            healthy_after: time("FAKE_HEALTHY_AFTER_MS"),
            unhealthy_after: time("FAKE_UNHEALTHY_AFTER_MS"),
            ready_after: time("FAKE_READY_AFTER_MS").unwrap_or_default(),
            log_period: time("FAKE_LOG_MS").map(|period| period.max(Duration::from_millis(1))),
        }
    }

    /// How it stands after running so long, when nobody interferes.
    fn health(&self, ran: Duration) -> Health {
        match (self.unhealthy_after, self.healthy_after) {
            (Some(after), _) if ran >= after => Health::Unhealthy { reason: "so it was planned".into() },
            (_, Some(after)) if ran < after => Health::Starting,
            (None, None) => Health::Unchecked,
            (Some(_), _) | (_, Some(_)) => Health::Healthy,
        }
    }

    /// When, counted from its start, it will be seen differently next.
    fn next_change(&self, ran: Duration) -> Option<Duration> {
        let times = [self.run, self.healthy_after, self.unhealthy_after];
        times.into_iter().flatten().filter(|after| *after > ran).min()
    }
}

impl FakeTask {
    fn seen(&self, now: Monotonic) -> Seen {
        let ended = |code, reason: &str| {
            let container = ContainerStatus { exit_code: Some(code), pid: 0, ..self.container.clone() };
            Seen::Ended(Exit { container, code, reason: reason.into() })
        };
        match &self.phase {
            Phase::Preparing { .. } => Seen::Absent,
            Phase::Prepared => Seen::Prepared,
            Phase::Started(started) => {
                let ran = now.since(started.at);
                match self.plan.run {
                    Some(run) if ran >= run => ended(self.plan.exit, ""),
                    _ => Seen::Running {
                        container: self.container.clone(),
                        ports: self.ports.clone(),
                        health: self.plan.health(ran),
                    },
                }
            }
            Phase::Ended { code, reason, .. } => ended(*code, reason),
        }
    }

    /// Ends it now, unless it has ended.
    fn end(&mut self, now: Monotonic, code: i64, reason: &str) {
        if let (Phase::Started(started), Seen::Running { .. }) = (self.phase.clone(), self.seen(now)) {
            let after = now.since(started.at);
            self.phase = Phase::Ended { started, after, code, reason: reason.into() };
            self.changed.notify_waiters();
        }
    }

    /// Its start, and how long it ran if it has ended.
    fn life(&self, now: Monotonic) -> Option<(Started, Option<(Duration, i64)>)> {
        match &self.phase {
            Phase::Preparing { .. } | Phase::Prepared => None,
            Phase::Started(started) => {
                let over = self.plan.run.filter(|run| now.since(started.at) >= *run);
                Some((*started, over.map(|run| (run, self.plan.exit))))
            }
            Phase::Ended { started, after, code, .. } => Some((*started, Some((*after, *code)))),
        }
    }
}

impl FakeRuntime {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { engine: Arc::new(Engine { clock, state: Mutex::default() }) }
    }

    /// The engine stops answering, or answers again. Its tasks go on.
    pub fn set_away(&self, is_away: bool) {
        let mut state = self.state();
        state.is_away = is_away;
        state.tasks.values().for_each(|task| task.changed.notify_waiters());
    }

    /// A task ends by itself, now.
    pub fn end(&self, task: TaskId, code: i64) {
        let now = self.now();
        if let Some(task) = self.state().tasks.get_mut(&task) {
            task.end(now, code, "");
        }
    }

    /// Somebody removes a task behind the agent's back.
    pub fn vanish(&self, task: TaskId) {
        if let Some(task) = self.state().tasks.remove(&task) {
            task.changed.notify_waiters();
        }
    }

    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// The secrets and configs that a task has, and the signals that told it of new ones.
    pub fn files(&self, task: TaskId) -> (Vec<TaskFile>, Vec<String>) {
        let state = self.state();
        state.tasks.get(&task).map(|task| (task.files.clone(), task.signals.clone())).unwrap_or_default()
    }

    /// Tasks that run now.
    pub fn running(&self) -> usize {
        let now = self.now();
        let is_running = |task: &&FakeTask| matches!(task.seen(now), Seen::Running { .. });
        self.state().tasks.values().filter(is_running).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.engine.state.lock().expect("no holder panics")
    }

    /// The state, where the engine answers.
    fn ask(&self) -> Result<MutexGuard<'_, State>, RunError> {
        let state = self.state();
        if state.is_away { Err(RunError::Temporary("the fake engine is away".into())) } else { Ok(state) }
    }

    fn now(&self) -> Monotonic {
        self.engine.clock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            tokio::time::sleep(duration).await;
        }
    }

    fn seen(&self, task: TaskId) -> Result<Seen, RunError> {
        let now = self.now();
        Ok(self.ask()?.tasks.get(&task).map_or(Seen::Absent, |task| task.seen(now)))
    }

    async fn wait_for_change(&self, task: TaskId, before: &Seen) -> Result<Seen, RunError> {
        loop {
            let now = self.now();
            let (changed, next) = {
                let state = self.ask()?;
                let Some(task) = state.tasks.get(&task) else { return Ok(Seen::Absent) };
                let seen = task.seen(now);
                if seen != *before {
                    return Ok(seen);
                }
                let next = match &task.phase {
                    Phase::Started(started) => {
                        let ran = now.since(started.at);
                        task.plan.next_change(ran).map(|after| after.saturating_sub(ran))
                    }
                    Phase::Preparing { .. } | Phase::Prepared | Phase::Ended { .. } => None,
                };
                // Listens from here on, still under the lock: nothing is missed.
                (task.changed.clone().notified_owned(), next)
            };
            match next {
                None => changed.await,
                Some(next) => drop(tokio::time::timeout(next, changed).await),
            }
        }
    }
}

/// Counts who is being prepared or started; one that is dropped counts no more.
struct Busy<'a>(&'a FakeRuntime);

impl<'a> Busy<'a> {
    fn new(runtime: &'a FakeRuntime) -> Self {
        let mut state = runtime.state();
        state.busy += 1;
        state.counts.busy_max = state.counts.busy_max.max(state.busy);
        Self(runtime)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
    }
}

impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Fake
    }

    fn prepare<'a>(
        &'a self,
        setup: &'a TaskSetup,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            let _busy = Busy::new(self);
            let now = self.now();
            let wait = {
                let mut state = self.ask()?;
                let task = state.tasks.entry(setup.task).or_insert_with(|| FakeTask {
                    plan: Plan::of(setup),
                    phase: Phase::Preparing { since: now },
                    container: ContainerStatus {
                        id: format!("fake-{}", setup.task),
                        pid: 1,
                        exit_code: None,
                    },
                    ports: Vec::new(),
                    files: setup.files.clone(),
                    signals: Vec::new(),
                    changed: Arc::default(),
                });
                match task.phase {
                    Phase::Preparing { since } => task.plan.prepare.saturating_sub(now.since(since)),
                    Phase::Prepared | Phase::Started(_) | Phase::Ended { .. } => return Ok(()),
                }
            };
            if !wait.is_zero() {
                progress(format!("pretending to pull for {} ms", wait.as_millis()));
            }
            self.sleep(wait).await;
            let mut state = self.ask()?;
            let Some(task) = state.tasks.get_mut(&setup.task) else {
                return Err(RunError::Temporary("somebody removed it meanwhile".into()));
            };
            if let Some(reason) = &task.plan.reject {
                let reason = reason.clone();
                state.tasks.remove(&setup.task);
                return Err(RunError::Fatal(reason));
            }
            task.phase = Phase::Prepared;
            state.counts.prepared += 1;
            Ok(())
        })
    }

    fn start<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            let _busy = Busy::new(self);
            let plan = self.ask()?.tasks.get(&setup.task).map(|task| task.plan.clone());
            let Some(plan) = plan else { return Err(RunError::Fatal("no such task".into())) };
            self.sleep(plan.start).await;
            if let Some(reason) = plan.start_fail {
                return Err(RunError::Fatal(reason));
            }
            let started = Started { at: self.now(), wall: self.engine.clock.now() };
            let mut state = self.ask()?;
            let first_port = state.ports_given;
            let Some(task) = state.tasks.get_mut(&setup.task) else {
                return Err(RunError::Fatal("no such task".into()));
            };
            if !matches!(task.phase, Phase::Prepared) {
                return Ok(()); // it was started before
            }
            task.phase = Phase::Started(started);
            task.ports = given_out(&setup.ports, first_port);
            task.changed.notify_waiters();
            state.ports_given = first_port.wrapping_add(setup.ports.len() as u16) % 10_000;
            state.counts.started += 1;
            Ok(())
        })
    }

    fn look(&self, task: TaskId) -> BoxFuture<'_, Result<Seen, RunError>> {
        Box::pin(async move { self.seen(task) })
    }

    fn changed<'a>(&'a self, task: TaskId, before: &'a Seen) -> BoxFuture<'a, Result<Seen, RunError>> {
        Box::pin(self.wait_for_change(task, before))
    }

    fn stop<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            let now = self.now();
            let plan = match self.ask()?.tasks.get(&setup.task) {
                Some(task) if matches!(task.seen(now), Seen::Running { .. }) => task.plan.clone(),
                Some(_) | None => return Ok(()),
            };
            self.sleep(plan.stop.min(plan.grace)).await;
            let (code, now) = (if plan.stop > plan.grace { 137 } else { 143 }, self.now());
            let mut state = self.ask()?;
            if let Some(task) = state.tasks.get_mut(&setup.task) {
                task.end(now, code, "");
            }
            state.counts.stopped += 1;
            Ok(())
        })
    }

    fn remove(&self, task: TaskId) -> BoxFuture<'_, Result<(), RunError>> {
        Box::pin(async move {
            let mut state = self.ask()?;
            if let Some(task) = state.tasks.remove(&task) {
                task.changed.notify_waiters();
                state.counts.removed += 1;
            }
            Ok(())
        })
    }

    fn refresh<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            let mut state = self.ask()?;
            let Some(task) = state.tasks.get_mut(&setup.task) else { return Ok(()) };
            for (old, new) in task.files.iter_mut().zip(&setup.files) {
                if let Some(signal) = new.refresh.as_ref().filter(|_| old.data != new.data) {
                    task.signals.push(signal.clone());
                    *old = new.clone();
                }
            }
            Ok(())
        })
    }

    fn release(&self, task: TaskId) -> BoxFuture<'_, Result<(), RunError>> {
        Box::pin(async move {
            if let Some(task) = self.ask()?.tasks.get_mut(&task) {
                task.files.clear();
            }
            Ok(())
        })
    }

    fn present(&self) -> BoxFuture<'_, Result<Vec<TaskId>, RunError>> {
        Box::pin(async move { Ok(self.ask()?.tasks.keys().copied().collect()) })
    }

    fn run_inside<'a>(
        &'a self,
        task: TaskId,
        _command: &'a [String],
        _limit: Duration,
    ) -> BoxFuture<'a, Result<CommandResult, RunError>> {
        Box::pin(async move {
            let now = self.now();
            let state = self.ask()?;
            let task = state.tasks.get(&task).ok_or(RunError::Fatal("no such task".into()))?;
            let Phase::Started(started) = task.phase else {
                return Err(RunError::Fatal("it does not run".into()));
            };
            let is_ready = now.since(started.at) >= task.plan.ready_after;
            Ok(CommandResult { code: if is_ready { 0 } else { 1 }, output: String::new() })
        })
    }

    fn addresses(&self, _task: TaskId) -> BoxFuture<'_, Result<Vec<IpAddr>, RunError>> {
        // Nothing runs, so nothing listens.
        Box::pin(async move { self.ask().map(|_| Vec::new()) })
    }

    fn logs(
        &self,
        task: TaskId,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<LogLine, RunError>>, RunError>> {
        let reader = LogReader::new(self.clone(), task, options);
        Box::pin(async move {
            drop(self.ask()?);
            Ok(stream::unfold(reader, LogReader::next).boxed())
        })
    }
}

/// The ports as asked for, with a number where any will do.
fn given_out(ports: &[Port], first: u16) -> Vec<Port> {
    let number = |(index, port): (usize, &Port)| Port {
        published: match port.published {
            0 => PORT_FIRST + (first + index as u16 % 10_000) % 10_000,
            published => published,
        },
        ..port.clone()
    };
    ports.iter().enumerate().map(number).collect()
}
