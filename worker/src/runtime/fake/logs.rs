//! What fake tasks have written: nothing is kept, each line is worked out when somebody reads it.

use std::time::Duration;

use common::object::TaskId;
use common::time::Monotonic;
use common::wire::logs::{LogLine, LogStream};

use super::{FakeRuntime, FakeTask, Plan};
use crate::runtime::{LogOptions, RunError};

/// Reads lines that nobody keeps: the first says that it started, then one per period, the last that it ended.
pub struct LogReader {
    runtime: FakeRuntime,
    task: TaskId,
    options: LogOptions,
    next: u64,
}

impl LogReader {
    pub fn new(runtime: FakeRuntime, task: TaskId, options: LogOptions) -> Self {
        Self { runtime, task, options, next: 0 }.at_its_beginning()
    }

    /// Skips to the last lines, where only those are asked for.
    fn at_its_beginning(mut self) -> Self {
        if let Some(tail) = self.options.tail {
            let now = self.runtime.now();
            let mut written = 0u64;
            if let Some(task) = self.runtime.state().tasks.get(&self.task)
                && let Some((started, over)) = task.life(now)
            {
                let ran = over.map_or(now.since(started.at), |(ran, _)| ran);
                written = 1 + lines_until(&task.plan, ran) + u64::from(over.is_some());
            }
            self.next = written.saturating_sub(tail);
        }
        self
    }

    pub async fn next(mut self) -> Option<(Result<LogLine, RunError>, Self)> {
        loop {
            let now = self.runtime.now();
            let waits = {
                let state = self.runtime.ask().ok()?; // a stream ends with its engine
                let task = state.tasks.get(&self.task)?;
                match self.line(task, now) {
                    Line::There(line) => {
                        drop(state);
                        self.next += 1;
                        if self.options.until.is_some_and(|until| line.at > until) {
                            return None;
                        }
                        let asked = match line.stream {
                            LogStream::Stdout => self.options.stdout,
                            LogStream::Stderr => self.options.stderr,
                        };
                        if asked && self.options.since.is_none_or(|since| line.at >= since) {
                            return Some((Ok(line), self));
                        }
                        continue;
                    }
                    Line::Later(_) if !self.options.follow => return None,
                    Line::Later(wait) => (task.changed.clone().notified_owned(), wait),
                    Line::Never => return None,
                }
            };
            match waits {
                (changed, Some(wait)) => drop(tokio::time::timeout(wait, changed).await),
                (changed, None) => changed.await,
            }
        }
    }

    fn line(&self, task: &FakeTask, now: Monotonic) -> Line {
        let Some((started, over)) = task.life(now) else { return Line::Later(None) };
        let ran = over.map_or(now.since(started.at), |(ran, _)| ran);
        let periodic = lines_until(&task.plan, ran);
        let line = |after: Duration, stream, text: String| {
            Line::There(LogLine {
                task: self.task,
                at: started.wall.plus(after),
                stream,
                data: text.into_bytes(),
            })
        };
        let period = task.plan.log_period.unwrap_or_default();
        if self.next == 0 {
            line(Duration::ZERO, LogStream::Stdout, format!("{} started\n", task.plan.name))
        } else if self.next <= periodic {
            let after = period.saturating_mul(u32::try_from(self.next).unwrap_or(u32::MAX));
            line(after, LogStream::Stdout, format!("line {}\n", self.next))
        } else if let Some((after, code)) = over {
            if self.next == periodic + 1 {
                line(after, LogStream::Stderr, format!("{} ended with {code}\n", task.plan.name))
            } else {
                Line::Never
            }
        } else {
            let nth = u32::try_from(self.next).unwrap_or(u32::MAX);
            let next_line = task.plan.log_period.map(|period| period.saturating_mul(nth));
            let end = task.plan.run;
            let soonest = [next_line, end].into_iter().flatten().min();
            Line::Later(soonest.map(|at| at.saturating_sub(ran).max(Duration::from_millis(1))))
        }
    }
}

enum Line {
    There(LogLine),
    /// After this time at the latest, or when something changes.
    Later(Option<Duration>),
    Never,
}

/// Periodic lines written in that time.
fn lines_until(plan: &Plan, ran: Duration) -> u64 {
    plan.log_period.map_or(0, |period| (ran.as_nanos() / period.as_nanos()).min(u128::from(u32::MAX)) as u64)
}
