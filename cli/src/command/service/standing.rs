//! Waits until a service stands: asks, shows, sleeps, and says how it ended. What it means is `progress`' to say.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

use common::engine_api::node::Node;
use common::engine_api::service::Service;
use common::engine_api::task::Task;
use common::limits::{
    CONVERGE_BLOCKED_MAX, CONVERGE_POLL_MAX, CONVERGE_POLL_MIN, CONVERGE_STALLED_MAX,
    CONVERGE_UNREACHABLE_MAX, FAILED_TASK_LOG_LINES_MAX, FAILED_TASK_LOG_WAIT,
};
use common::time::{Clock, Monotonic, SystemClock};

use super::flags::wait::WaitFlags;
use crate::client::{Client, ClientError, escape};
use crate::exit::{Exit, Failure};
use crate::output::note;
use crate::parse::filter::{Filter, with_filters};
use crate::progress::assess::assess;
use crate::progress::show::{Display, Line, lines, remark};
use crate::progress::watch::{View, Watch};
use crate::progress::{Intent, Progress, Verdict};

/// Waits as the flags say, for the service with this id.
///
/// Progress goes to standard error: what a script takes from standard output is the result alone.
pub async fn wait(client: &Client, flags: &WaitFlags, id: &str, intent: Intent) -> anyhow::Result<()> {
    if !flags.waits() {
        return Ok(());
    }
    let mut waiting = Waiting::new(client, flags, id, intent);
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        outcome = waiting.run() => outcome,
        _ = interrupted => {
            waiting.interrupted();
            Ok(())
        }
    }
}

struct Waiting<'a> {
    client: &'a Client,
    flags: &'a WaitFlags,
    id: &'a str,
    intent: Intent,
    watch: Watch,
    display: Display<std::io::Stderr>,
    began: Monotonic,
    heard: Monotonic,
    blocked_since: Option<Monotonic>,
    verifying: bool,
    said_rollback: bool,
}

/// One look at everything.
struct Look {
    service: Service,
    tasks: Vec<Task>,
    down: BTreeSet<String>,
}

impl<'a> Waiting<'a> {
    fn new(client: &'a Client, flags: &'a WaitFlags, id: &'a str, intent: Intent) -> Self {
        let stderr = std::io::stderr();
        let width = stderr.is_terminal().then(|| {
            let size = terminal_size::terminal_size_of(&stderr);
            size.map_or(80, |(width, _)| usize::from(width.0))
        });
        let now = SystemClock.monotonic();
        Self {
            client,
            flags,
            id,
            intent,
            watch: Watch::default(),
            display: Display::new(stderr, width),
            began: now,
            heard: now,
            blocked_since: None,
            verifying: false,
            said_rollback: false,
        }
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let mut pause = CONVERGE_POLL_MIN;
        loop {
            match self.look().await {
                Ok(look) => {
                    self.heard = SystemClock.monotonic();
                    let view = View {
                        service: &look.service,
                        tasks: &look.tasks,
                        down: &look.down,
                        now: SystemClock.now(),
                    };
                    self.watch.note(&view);
                    let progress = assess(&view, &self.watch, self.intent).map_err(failed)?;
                    self.show(&look.service, &progress);
                    if let Some(end) = self.end(&progress, &look).await {
                        return end;
                    }
                    if let Verdict::Verifying { left } = progress.verdict {
                        pause = pause.min(left.max(CONVERGE_POLL_MIN));
                    }
                }
                Err(error) if error.is_passing() && self.silent_for() < CONVERGE_UNREACHABLE_MAX => {
                    self.say(vec![Line::new("waiting", "no manager answers at the moment")]);
                }
                Err(error) => return Err(error.into()),
            }
            if let Some(timeout) = self.flags.timeout() {
                let left = timeout.saturating_sub(SystemClock.monotonic().since(self.began));
                if left.is_zero() {
                    let text = format!("service {} did not converge within {timeout:?}", self.id);
                    return Err(Failure::new(Exit::TimedOut, text).into());
                }
                pause = pause.min(left);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).clamp(CONVERGE_POLL_MIN, CONVERGE_POLL_MAX);
        }
    }

    async fn look(&self) -> Result<Look, ClientError> {
        let service: Service = self.client.get(&format!("/services/{}", escape(self.id))).await?;
        let filter = |key: &str, value: &str| Filter { key: key.into(), value: value.into() };
        let filters = [filter("_up-to-date", "true"), filter("service", &service.id)];
        let tasks = self.client.get(&with_filters("/tasks", &filters)).await?;
        let nodes: Vec<Node> = self.client.get("/nodes").await?;
        let down = nodes.into_iter().filter(|node| node.status.state == "down").map(|node| node.id);
        Ok(Look { service, tasks, down: down.collect() })
    }

    fn silent_for(&self) -> Duration {
        SystemClock.monotonic().since(self.heard)
    }

    fn show(&mut self, service: &Service, progress: &Progress) {
        let status = service.update_status.as_ref().filter(|status| status.state == "rollback_started");
        if let Some(status) = status
            && !self.said_rollback
        {
            self.said_rollback = true;
            self.say(vec![Line::new("rollback", status.message.clone())]);
            self.display.close("rollback");
        }
        self.say(lines(progress));
        match progress.verdict {
            Verdict::Verifying { .. } => self.verifying = true,
            Verdict::Working | Verdict::Blocked { .. } | Verdict::Failed { .. } if self.verifying => {
                self.verifying = false;
                self.say(vec![Line::new("verify", "Detected task failure")]);
            }
            _ => {}
        }
        self.say(remark(&progress.verdict, self.id));
    }

    fn say(&mut self, lines: Vec<Line>) {
        if !self.flags.quiet {
            self.display.show(lines);
        }
    }

    /// How the wait ends, when this look ends it.
    async fn end(&mut self, progress: &Progress, look: &Look) -> Option<anyhow::Result<()>> {
        let now = SystemClock.monotonic();
        match &progress.verdict {
            Verdict::Converged { .. } | Verdict::JobComplete => Some(Ok(())),
            Verdict::RolledBack { message } => {
                let text = format!("service rolled back: {message}");
                Some(Err(Failure::new(Exit::RolledBack, text).into()))
            }
            Verdict::Failed { reason, task } => {
                if let Some(task) = task {
                    self.show_log(task, look).await;
                }
                Some(Err(failed(reason.clone())))
            }
            Verdict::Blocked { reason } => {
                let since = *self.blocked_since.get_or_insert(now);
                // Somebody who says how long to wait knows that something will come.
                let patient = self.flags.timeout.is_some();
                let hopeless = !patient && now.since(since) >= CONVERGE_BLOCKED_MAX;
                hopeless.then(|| {
                    Err(failed(format!("service {} cannot converge: {reason}", look.service.spec.name)))
                })
            }
            Verdict::Working | Verdict::Verifying { .. } => {
                self.blocked_since = None;
                let delay =
                    look.service.spec.update_config.as_ref().map_or(0, |config| config.delay.unsigned_abs());
                let stalled_max = CONVERGE_STALLED_MAX.saturating_add(Duration::from_nanos(delay));
                let stalled = self.watch.unchanged_for(SystemClock.now()) >= stalled_max;
                let stalled = stalled && self.flags.timeout.is_none();
                stalled.then(|| {
                    let text =
                        format!("service {} made no progress for {stalled_max:?}", look.service.spec.name);
                    Err(Failure::new(Exit::TimedOut, text).into())
                })
            }
        }
    }

    /// The last lines that a failed task wrote, where they can still be had.
    async fn show_log(&self, task: &str, look: &Look) {
        let path = format!(
            "/tasks/{}/logs?details=0&stdout=1&stderr=1&tail={FAILED_TASK_LOG_LINES_MAX}&timestamps=0",
            escape(task)
        );
        let tty =
            look.service.spec.task_template.container_spec.as_ref().is_some_and(|container| container.tty);
        let read = super::logs::read_all(self.client, &path, tty);
        let Ok(Ok(written)) = tokio::time::timeout(FAILED_TASK_LOG_WAIT, read).await else { return };
        let text = String::from_utf8_lossy(&written);
        if text.trim().is_empty() {
            return;
        }
        note(&format!("Last lines of task {task}:"));
        for line in text.lines() {
            note(&format!("    {line}"));
        }
    }

    fn interrupted(&mut self) {
        if !self.verifying {
            note("Operation continuing in background.");
            note(&format!("Use `swarm service ps {}` to check progress.", self.id));
        }
    }
}

fn failed(text: String) -> anyhow::Error {
    Failure::new(Exit::Failed, text).into()
}
