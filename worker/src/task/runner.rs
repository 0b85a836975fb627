//! One task's steps, one after the other, on its runtime.
//!
//! A new wish ends a step that may be dropped, and lets others come to their end, so that nothing is left half-done.
//! A failure of one task costs others nothing but a slot for a moment. What to do is `next_step`'s.

use std::sync::Arc;
use std::time::Duration;

use common::limits::{
    LOOK_TIME_MAX, PROGRESS_PERIOD, REMOVE_TIME_MAX, START_TIME_MAX, STATUS_TEXT_BYTES_MAX,
    STOP_GRACE_DEFAULT, STOP_TIME_EXTRA_MAX,
};
use common::object::container::ReadyCheck;
use common::object::ports::PublishMode;
use common::object::{TaskId, TaskState, TaskStatus};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::next_step::{
    Facts, Failure, News, Step, Stopping, after_failure, after_success, next_step, retry_pause,
};
use super::order::{Order, other_intent, other_wish};
use super::slots::{Slots, begun_within, within};
use crate::agent::Shared;
use crate::payloads::{Given, Problem, has_files, has_refreshing_files};
use crate::ready;
use crate::runtime::{RunError, Runtime, Seen, TaskSetup};
use crate::setup::task_setup;

pub struct Runner {
    shared: Arc<Shared>,
    task: TaskId,
    runtime: Option<Arc<dyn Runtime>>,
    slots: Arc<Slots>,
    orders: watch::Receiver<Order>,
    order: Order,
    setup: Result<Arc<TaskSetup>, String>,
    /// Why it cannot have its secrets and configs.
    problem: Option<Problem>,
    /// Its files are as the setup says, as far as is known.
    is_fresh: bool,
    /// Its secrets and configs are not needed any more, and were taken away.
    is_released: bool,
    status: TaskStatus,
    stopping: Option<Stopping>,
    seen: Option<Seen>,
    drained: bool,
    pre_stop_done: bool,
    /// What fails, and how often it did in a row.
    failing: Option<(Kind, u32)>,
    /// What was carried out without anything to show for it so far.
    done: Option<Kind>,
    /// The journal has the status from this number on.
    written_at: u64,
    next_check: Instant,
}

/// Steps that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Look,
    Prepare,
    Start,
    Refresh,
    Stop,
    Remove,
}

/// How carrying out a step ended.
enum Done {
    Success,
    /// Something else is wanted, or there is something new to think about.
    Dropped,
}

impl Runner {
    pub fn new(
        shared: Arc<Shared>,
        orders: watch::Receiver<Order>,
        status: TaskStatus,
        stopping: Option<Stopping>,
    ) -> Self {
        let order = orders.borrow().clone();
        let kind = order.spec.task.runtime;
        let mut runner = Self {
            task: order.assigned.id,
            runtime: shared.runtime(kind),
            slots: shared.slots(kind),
            setup: Err(String::new()),
            problem: None,
            is_fresh: false,
            is_released: false,
            orders,
            order,
            status,
            stopping,
            seen: None,
            drained: false,
            pre_stop_done: false,
            failing: None,
            done: None,
            written_at: 0,
            next_check: Instant::now(),
            shared,
        };
        runner.set_up();
        runner
    }

    /// Until nothing is left of the task.
    pub async fn run(mut self) {
        while self.orders.has_changed().is_ok() {
            self.take_orders();
            if self.status.state.is_final() && !self.is_released {
                self.release().await;
            }
            let step = next_step(&self.facts());
            match &step {
                Step::Forget => {
                    self.release().await;
                    return self.shared.forget(self.task);
                }
                Step::Wait => {
                    if self.orders.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Step::Report(news) => {
                    self.report(news);
                    continue;
                }
                Step::BeginStop(why) => {
                    // Before anybody hears of it: whoever still comes goes to another task.
                    self.shared.gates().close(self.task, self.grace());
                    self.stopping = Some(why.clone());
                    self.status.ready = false;
                    self.publish();
                    continue;
                }
                Step::Watch => {
                    self.watch().await;
                    continue;
                }
                Step::Drain => {
                    self.drain().await;
                    continue;
                }
                Step::PreStop => {
                    self.run_pre_stop().await;
                    continue;
                }
                Step::Look | Step::Prepare | Step::Start | Step::Refresh | Step::Stop | Step::Remove => {}
            }
            let kind = Kind::of(&step);
            let result = match kind {
                // Carried out before, and still due: not in a tight circle.
                Some(kind) if self.done.take() == Some(kind) => {
                    Err(RunError::Temporary(format!("{} had no effect", kind.word())))
                }
                _ => self.carry_out(&step).await,
            };
            match result {
                Ok(Done::Success) => self.succeeded(&step, kind),
                Ok(Done::Dropped) => self.seen = None,
                Err(error) => self.failed(&step, kind, error).await,
            }
        }
    }

    fn facts(&self) -> Facts<'_> {
        let container = &self.order.spec.task.container;
        let refusal = match (&self.runtime, &self.setup, &self.problem) {
            (None, ..) => Some("this node runs no tasks of this kind"),
            (Some(_), Err(reason), _) => Some(reason.as_str()),
            // One that was taken on goes on with what it has, and fails where it needs them.
            (Some(_), Ok(_), Some(Problem::Refused(reason))) if self.status.state < TaskState::Accepted => {
                Some(reason.as_str())
            }
            (Some(_), Ok(_), _) => None,
        };
        let missing = match &self.problem {
            Some(Problem::Missing(reason)) => Some(reason.as_str()),
            Some(Problem::Refused(_)) | None => None,
        };
        Facts {
            desired: self.order.assigned.desired,
            leaving: self.order.is_leaving,
            status: &self.status,
            seen: self.seen.as_ref(),
            stopping: self.stopping.as_ref(),
            drain: !self.drained
                && self.order.spec.ports.iter().any(|port| port.mode == PublishMode::Ingress),
            pre_stop: !container.extra.pre_stop.is_empty() && !self.pre_stop_done && self.setup.is_ok(),
            refusal,
            no_runtime: self.runtime.is_none(),
            incomplete: self.order.is_incomplete,
            missing,
            refresh_due: !self.is_fresh && missing.is_none() && has_refreshing_files(container),
            has_ready_check: container.extra.ready.is_some(),
        }
    }

    fn take_orders(&mut self) {
        // Compared, and not asked whether it changed: whoever waited for another wish has seen it already.
        let order = self.orders.borrow_and_update().clone();
        if order.is_same(&self.order) {
            return;
        }
        let is_renewed = !Arc::ptr_eq(&order.spec, &self.order.spec) || order.given != self.order.given;
        if order.intent() != self.order.intent() {
            self.failing = None;
            self.done = None;
        }
        self.order = order;
        if is_renewed {
            self.set_up();
        }
    }

    fn set_up(&mut self) {
        self.is_fresh = false;
        let nothing = Given::default();
        let is_over = self.is_released || self.status.state.is_final();
        let given = if is_over { &nothing } else { &self.order.given };
        match task_setup(&self.order.assigned, &self.order.spec, given, self.shared.place()) {
            Ok((setup, problem)) => (self.setup, self.problem) = (Ok(Arc::new(setup)), problem),
            Err(error) => (self.setup, self.problem) = (Err(error.to_string()), None),
        }
    }

    /// Its secrets and configs go from the machine, and from here. What is left behind by a runtime that is away goes
    /// with the task's removal.
    async fn release(&mut self) {
        self.is_released = true;
        self.set_up();
        let Some(runtime) = &self.runtime else { return };
        if !has_files(&self.order.spec.task.container) {
            return;
        }
        let released = in_time(LOOK_TIME_MAX, "release", runtime.release(self.task)).await;
        if let Err(error) = released {
            warn!(task.id = %self.task, %error, "secrets and configs of a task stay until it is removed");
        }
    }

    async fn carry_out(&mut self, step: &Step) -> Result<Done, RunError> {
        let Some(runtime) = self.runtime.clone() else {
            return Err(RunError::Temporary("this node runs no tasks of this kind".into()));
        };
        if let (Step::Refresh, Some(Problem::Refused(reason))) = (step, &self.problem) {
            // What runs keeps what it has, until yet another version comes.
            self.status.error = bounded(reason.clone());
            self.failing = Some((Kind::Refresh, 1));
            self.is_fresh = true;
            self.publish();
            return Ok(Done::Dropped);
        }
        if let (Step::Prepare | Step::Start, Some(Problem::Refused(reason))) = (step, &self.problem) {
            return Err(RunError::Fatal(reason.clone()));
        }
        match (step, self.setup.clone()) {
            (Step::Look, _) => self.look(&*runtime).await,
            (Step::Prepare, Ok(setup)) => self.prepare(&*runtime, &setup).await,
            (Step::Start, Ok(setup)) => {
                // A start that nobody remembers could be a second one.
                self.shared.written(self.written_at).await.map_err(RunError::Temporary)?;
                let slots = self.slots.clone();
                let start = in_time(START_TIME_MAX, "start", runtime.start(&setup));
                within(&slots.start, start).await.map(|()| self.seen = None)?;
                Ok(Done::Success)
            }
            (Step::Refresh, Ok(setup)) => {
                let slots = self.slots.clone();
                let refresh = in_time(START_TIME_MAX, "refresh", runtime.refresh(&setup));
                within(&slots.look, refresh).await?;
                self.is_fresh = true;
                Ok(Done::Success)
            }
            (Step::Stop, Ok(setup)) => {
                let slots = self.slots.clone();
                let limit = grace(&setup).saturating_add(STOP_TIME_EXTRA_MAX);
                let stop = in_time(limit, "stop", runtime.stop(&setup));
                begun_within(&slots.stop, stop).await.map(|()| self.seen = None)?;
                Ok(Done::Success)
            }
            // How it would be stopped is not known; nothing may stay of it all the same.
            (Step::Remove, _) | (Step::Stop, Err(_)) => {
                let slots = self.slots.clone();
                let remove = in_time(REMOVE_TIME_MAX, "remove", runtime.remove(self.task));
                begun_within(&slots.stop, remove).await?;
                self.seen = Some(Seen::Absent);
                Ok(Done::Success)
            }
            (Step::Prepare | Step::Start | Step::Refresh, Err(reason)) => Err(RunError::Fatal(reason)),
            (
                Step::Report(_)
                | Step::Watch
                | Step::BeginStop(_)
                | Step::Drain
                | Step::PreStop
                | Step::Forget
                | Step::Wait,
                _,
            ) => Ok(Done::Dropped),
        }
    }

    async fn look(&mut self, runtime: &dyn Runtime) -> Result<Done, RunError> {
        let slots = self.slots.clone();
        let intent = self.order.intent();
        let looking = within(&slots.look, in_time(LOOK_TIME_MAX, "look", runtime.look(self.task)));
        tokio::select! {
            seen = looking => {
                self.seen = Some(seen?);
                Ok(Done::Success)
            }
            () = other_intent(&mut self.orders, intent) => Ok(Done::Dropped),
        }
    }

    /// Prepares, and shows how far it is. A new wish ends it wherever it is.
    async fn prepare(&mut self, runtime: &dyn Runtime, setup: &TaskSetup) -> Result<Done, RunError> {
        let (said, mut progress) = watch::channel(String::new());
        let say = |text: String| drop(said.send_replace(text));
        let slots = self.slots.clone();
        let intent = self.order.intent();
        let preparing = within(&slots.prepare, begun_within(&slots.start, runtime.prepare(setup, &say)));
        let mut preparing = std::pin::pin!(preparing);
        let mut not_before = Instant::now();
        loop {
            let text = async {
                tokio::time::sleep_until(not_before).await;
                match progress.changed().await {
                    Ok(()) => progress.borrow_and_update().clone(),
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = other_intent(&mut self.orders, intent) => return Ok(Done::Dropped),
                prepared = &mut preparing => {
                    prepared?;
                    self.seen = Some(Seen::Prepared);
                    return Ok(Done::Success);
                }
                text = text => {
                    not_before = Instant::now() + PROGRESS_PERIOD;
                    self.status.message = bounded(text);
                    self.publish();
                }
            }
        }
    }

    /// Waits until something else is there, and checks meanwhile whether it is ready.
    async fn watch(&mut self) {
        let (Some(runtime), Some(seen)) = (self.runtime.clone(), self.seen.clone()) else { return };
        let check = self.order.spec.task.container.extra.ready.clone();
        let check = check.filter(|_| self.status.state == TaskState::Running);
        let (intent, given) = (self.order.intent(), self.order.given.clone());
        let mut changed = runtime.changed(self.task, &seen);
        loop {
            tokio::select! {
                biased;
                () = other_wish(&mut self.orders, intent, &given) => return,
                found = &mut changed => {
                    match found {
                        Ok(found) => self.seen = Some(found),
                        // Looking tells whether the runtime is there at all.
                        Err(error) => self.failed(&Step::Look, Some(Kind::Look), error).await,
                    }
                    return;
                }
                verdict = checked(&*runtime, self.task, check.as_ref(), self.next_check) => {
                    self.next_check = Instant::now() + check.as_ref().map(ready::period).unwrap_or_default();
                    self.set_ready(verdict);
                }
            }
        }
    }

    fn set_ready(&mut self, verdict: Result<(), String>) {
        let ready = verdict.is_ok();
        let error = verdict.err().map(|reason| format!("not ready: {reason}")).unwrap_or_default();
        let error = bounded(error);
        if ready != self.status.ready || error != self.status.error {
            self.status.ready = ready;
            self.status.error = error;
            self.publish();
        }
    }

    /// The connections it has through the mesh finish what they are at, for as long as its grace period.
    async fn drain(&mut self) {
        self.drained = true;
        self.seen = None;
        let open = self.shared.gates().drain(self.task, self.grace()).await;
        if open > 0 {
            info!(task.id = %self.task, open, "stopping a task that still has connections");
        }
    }

    fn grace(&self) -> Duration {
        self.setup.as_ref().map_or(STOP_GRACE_DEFAULT, |setup| grace(setup))
    }

    /// The command before the stop signal. It may fail, and may end the task itself.
    async fn run_pre_stop(&mut self) {
        self.pre_stop_done = true;
        self.seen = None;
        let (Some(runtime), Ok(setup)) = (&self.runtime, &self.setup) else { return };
        let limit = grace(setup);
        let command = &setup.spec.container.extra.pre_stop;
        let ran = tokio::time::timeout(limit, runtime.run_inside(self.task, command, limit)).await;
        match ran {
            Ok(Ok(result)) => {
                debug!(task.id = %self.task, code = result.code, "ran the command before its stop")
            }
            Ok(Err(error)) => info!(task.id = %self.task, %error, "the command before its stop failed"),
            Err(_) => info!(task.id = %self.task, "the command before its stop took too long"),
        }
    }

    fn succeeded(&mut self, step: &Step, kind: Option<Kind>) {
        self.done = kind.filter(|kind| *kind != Kind::Look);
        if let Some(news) = after_success(step, self.status.state) {
            self.report(&news);
        }
        if let (Some((failing, _)), Some(kind)) = (self.failing, kind)
            && failing == kind
        {
            self.failing = None;
            if !self.status.error.is_empty() && !self.status.state.is_final() {
                self.status.error = Box::default();
                self.publish();
            }
        }
    }

    /// Shows what is wrong, and waits before the next try; or gives up.
    async fn failed(&mut self, step: &Step, kind: Option<Kind>, error: RunError) {
        let failure = after_failure(step, error, &self.facts());
        self.seen = None;
        let error = match failure {
            Failure::Report(news) => return self.report(&news),
            Failure::Retry { error } => error,
        };
        let before = self.failing.filter(|(failing, _)| Some(*failing) == kind).map_or(0, |(_, times)| times);
        let times = before.saturating_add(1);
        self.failing = kind.map(|kind| (kind, times));
        debug!(task.id = %self.task, error, times, "a step failed for now");
        let error = bounded(error);
        if error != self.status.error {
            self.status.error = error;
            self.publish();
        }
        let pause = self.shared.uneven(retry_pause(times));
        let _ = tokio::time::timeout(pause, other_intent(&mut self.orders, self.order.intent())).await;
    }

    fn report(&mut self, news: &News) {
        let before = self.status.state;
        // What is there may say less than what was said: then what was said holds.
        if before.advance(news.state).is_err() {
            return debug!(task.id = %self.task, from = %before, to = %news.state, "kept the state");
        }
        self.done = None;
        let status = &mut self.status;
        status.state = news.state;
        status.message = bounded(news.message.clone());
        status.error = bounded(news.error.clone());
        status.ready = news.ready;
        if let Some(container) = &news.container {
            status.container = Some(Box::new(container.clone()));
        }
        if let Some(ports) = &news.ports {
            status.ports = (!ports.is_empty()).then(|| ports.clone().into_boxed_slice());
        }
        if status.state == TaskState::Running && before != TaskState::Running {
            self.next_check = Instant::now();
        }
        let error = &*self.status.error;
        info!(task.id = %self.task, from = %before, to = %news.state, error, "task");
        self.publish();
    }

    fn publish(&mut self) {
        self.status.at = self.shared.now();
        self.written_at = self.shared.note(self.task, &self.status, self.stopping.as_ref());
    }
}

impl Kind {
    fn of(step: &Step) -> Option<Self> {
        match step {
            Step::Look => Some(Kind::Look),
            Step::Prepare => Some(Kind::Prepare),
            Step::Start => Some(Kind::Start),
            Step::Refresh => Some(Kind::Refresh),
            Step::Stop => Some(Kind::Stop),
            Step::Remove => Some(Kind::Remove),
            Step::Report(_)
            | Step::Watch
            | Step::BeginStop(_)
            | Step::Drain
            | Step::PreStop
            | Step::Forget
            | Step::Wait => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Look => "looking",
            Kind::Prepare => "preparing",
            Kind::Start => "starting",
            Kind::Refresh => "refreshing",
            Kind::Stop => "stopping",
            Kind::Remove => "removing",
        }
    }
}

/// The next verdict on a task's readiness; none comes where nothing checks it.
async fn checked(
    runtime: &dyn Runtime,
    task: TaskId,
    check: Option<&ReadyCheck>,
    not_before: Instant,
) -> Result<(), String> {
    let Some(check) = check else { return std::future::pending().await };
    tokio::time::sleep_until(not_before).await;
    ready::check(runtime, task, check).await
}

async fn in_time<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            Err(RunError::Temporary(format!("{what}: the runtime did not answer in {} s", limit.as_secs())))
        }
    }
}

fn grace(setup: &TaskSetup) -> Duration {
    setup.spec.container.stop_grace_period.unwrap_or(STOP_GRACE_DEFAULT)
}

/// A text of a status, cut where it is too long.
fn bounded(mut text: String) -> Box<str> {
    if text.len() > STATUS_TEXT_BYTES_MAX {
        let mut end = STATUS_TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text.into()
}
