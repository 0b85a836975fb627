//! `swarm service logs`: what the tasks of a service wrote, each line under the name of its task.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use common::engine_api::service::Service;
use common::engine_api::task::Task;
use common::limits::{STREAM_RETRY_MAX, STREAM_RETRY_MIN, STREAM_RETRY_TIME_MAX};
use common::time::{Clock, SystemClock};
use serde_json::Value;

use super::frames::{Frames, Line, Output};
use crate::client::{Client, ClientError, escape};
use crate::command::edit::text;
use crate::exit::{Exit, Failure};
use crate::parse::moment;

/// Show what the tasks of a service, or one task, wrote
///
/// Each line stands behind the name of its task and node. With --follow it goes on, through new tasks, lost
/// connections and new leaders, until it is interrupted.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm service logs -f --tail 10 web
  swarm service logs --since 10m --timestamps web
  swarm service logs --raw web | grep error")]
pub struct Args {
    /// Service or task by name, id, or start of an id
    #[arg(value_name = "SERVICE|TASK")]
    pub target: String,

    /// Show further details that the log has
    #[arg(long)]
    pub details: bool,

    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,

    /// Show IDs in place of names
    #[arg(long)]
    pub no_resolve: bool,

    /// Leave the IDs of tasks out
    #[arg(long)]
    pub no_task_ids: bool,

    /// Show IDs of tasks in full
    #[arg(long)]
    pub no_trunc: bool,

    /// Only what was written, without a name in front of it
    #[arg(long)]
    pub raw: bool,

    /// Only what was written since then: 42m, 2026-11-20T08:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// Only the last lines of each task: a number, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    pub tail: String,

    /// Show when each line was written
    #[arg(short, long)]
    pub timestamps: bool,
}

/// What the logs are of.
struct Target {
    path: String,
    tty: bool,
    /// Digits of the largest slot, to which the others are filled up.
    digits: usize,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let since = match &args.since {
        None => None,
        Some(since) => Some(moment::parse(since, SystemClock.now()).map_err(Failure::usage)?),
    };
    let target = target(client, &args.target).await?;
    if target.tty && !args.raw {
        return Err(Failure::new(Exit::Failed, "tty service logs only supported with --raw").into());
    }
    let mut showing =
        Showing { args: &args, client, target, since, names: BTreeMap::new(), last: Resume::default() };
    tokio::select! {
        outcome = showing.run() => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn target(client: &Client, reference: &str) -> anyhow::Result<Target> {
    let digits = |number: u64| number.to_string().len();
    match client.get::<Service>(&format!("/services/{}", escape(reference))).await {
        Ok(service) => {
            let replicas = service.spec.mode.replicated.as_ref().and_then(|mode| mode.replicas);
            let container = service.spec.task_template.container_spec.as_ref();
            Ok(Target {
                path: format!("/services/{}/logs", escape(&service.id)),
                tty: container.is_some_and(|container| container.tty),
                digits: replicas.map_or(1, digits),
            })
        }
        Err(error) if error.exit() == Exit::NotFound => {
            let task = client.get::<Task>(&format!("/tasks/{}", escape(reference))).await;
            let task = task.map_err(|error| match error.exit() {
                Exit::NotFound => {
                    Failure::new(Exit::NotFound, format!("no such task or service: {reference}")).into()
                }
                _ => anyhow::Error::from(error),
            })?;
            let container = task.spec.container_spec.as_ref();
            Ok(Target {
                path: format!("/tasks/{}/logs", escape(&task.id)),
                tty: container.is_some_and(|container| container.tty),
                digits: digits(task.slot),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Where a stream that broke is taken up again: the last moment, and what was shown of it.
#[derive(Debug, Default)]
struct Resume {
    at: String,
    lines_at: Vec<(String, Vec<u8>)>,
}

impl Resume {
    /// Was this line shown before the stream broke? Takes note of it in any case.
    fn was_shown(&mut self, known: &[(String, Vec<u8>)], line: &Line) -> bool {
        let Some(at) = line.timestamp() else { return false };
        let key = (line.task().unwrap_or_default().to_owned(), line.text().to_vec());
        if at == self.at {
            self.lines_at.push(key.clone());
        } else if at > self.at.as_str() {
            self.at = at.to_owned();
            self.lines_at = vec![key.clone()];
        }
        known.contains(&key)
    }
}

struct Showing<'a> {
    args: &'a Args,
    client: &'a Client,
    target: Target,
    since: Option<String>,
    names: BTreeMap<String, String>,
    last: Resume,
}

impl Showing<'_> {
    /// With `--follow` a broken stream is asked for again from where it broke; what its first moment repeats is
    /// left out.
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut pause = STREAM_RETRY_MIN;
        let mut heard = SystemClock.monotonic();
        loop {
            let before = self.last.at.clone();
            let outcome = self.stream().await;
            if self.last.at != before {
                heard = SystemClock.monotonic();
                pause = STREAM_RETRY_MIN;
            }
            match outcome {
                Ok(()) if !self.args.follow => return Ok(()),
                // The tasks are gone, or the connection is: asking says which.
                Ok(()) => {
                    if let Err(error) =
                        self.client.get_bytes(self.target.path.trim_end_matches("/logs")).await
                        && !error.is_passing()
                    {
                        return Ok(());
                    }
                }
                Err(StreamError::Client(error)) if self.args.follow && error.is_passing() => {
                    if SystemClock.monotonic().since(heard) >= STREAM_RETRY_TIME_MAX {
                        return Err(error.into());
                    }
                }
                Err(StreamError::Client(error)) => return Err(error.into()),
                Err(StreamError::ReaderGone) => return Ok(()),
                Err(StreamError::Write(error)) => return Err(error.into()),
                Err(StreamError::Nonsense(text)) => return Err(Failure::new(Exit::Failed, text).into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STREAM_RETRY_MAX);
        }
    }

    async fn stream(&mut self) -> Result<(), StreamError> {
        let resumed = !self.last.at.is_empty();
        let known = std::mem::take(&mut self.last.lines_at);
        self.last.lines_at.clone_from(&known);
        let (since, tail) = match resumed {
            true => (moment_of(&self.last.at).unwrap_or_default(), "all".to_owned()),
            false => (self.since.clone().unwrap_or_default(), self.args.tail.clone()),
        };
        // Timestamps and details say where to go on and whose a line is, even when they are not shown.
        let framed = !self.target.tty;
        let mut path = format!("{}?details={}", self.target.path, u8::from(framed || self.args.details));
        if self.args.follow {
            path.push_str("&follow=1");
        }
        if !since.is_empty() {
            path.push_str(&format!("&since={since}"));
        }
        path.push_str(&format!("&stderr=1&stdout=1&tail={}", escape(&tail)));
        if framed || self.args.timestamps {
            path.push_str("&timestamps=1");
        }
        let mut stream = self.client.stream(&path).await?;
        let mut frames = Frames::default();
        while let Some(chunk) = stream.chunk().await? {
            if !framed {
                write(Output::Stdout, &chunk)?;
                continue;
            }
            frames.push(&chunk);
            while let Some(line) = frames.next_line().map_err(StreamError::Nonsense)? {
                if !(self.last.was_shown(&known, &line) && resumed) {
                    let shown = self.shown(&line).await?;
                    write(line.output, &shown)?;
                }
            }
        }
        Ok(())
    }

    async fn shown(&mut self, line: &Line) -> Result<Vec<u8>, ClientError> {
        let mut shown = Vec::with_capacity(line.text().len() + 64);
        if self.args.timestamps {
            shown.extend_from_slice(line.timestamp().unwrap_or_default().as_bytes());
            shown.push(b' ');
        }
        if !self.args.raw
            && let Some(task) = line.task()
        {
            let key = format!("{task} {}", line.node().unwrap_or_default());
            let name = match self.names.get(&key) {
                Some(name) => name.clone(),
                None => {
                    let name = self.name(line, task).await?;
                    self.names.insert(key, name.clone());
                    name
                }
            };
            shown.extend_from_slice(name.as_bytes());
            shown.extend_from_slice(b"    | ");
        }
        if self.args.details {
            shown.extend_from_slice(line.own_details().as_bytes());
            shown.push(b' ');
        }
        shown.extend_from_slice(line.text());
        Ok(shown)
    }

    /// `web.1.4xabc…@node1`, filled up so that one-digit and two-digit slots end alike.
    async fn name(&self, line: &Line, task: &str) -> Result<String, ClientError> {
        let node =
            self.resolve("nodes", line.node().unwrap_or_default(), &["Description", "Hostname"]).await?;
        let service = self.resolve("services", line.service().unwrap_or_default(), &["Spec", "Name"]).await?;
        let found: Option<Task> = match self.client.get(&format!("/tasks/{}", escape(task))).await {
            Ok(task) => Some(task),
            // Forgotten meanwhile: its lines are still worth showing.
            Err(error) if error.exit() == Exit::NotFound => None,
            Err(error) => return Err(error),
        };
        let slot = found.as_ref().map_or(0, |task| task.slot);
        let id = match (self.args.no_task_ids, self.args.no_trunc) {
            (true, _) => String::new(),
            (false, true) => format!(".{task}"),
            (false, false) => format!(".{}", task.chars().take(12).collect::<String>()),
        };
        let padding = " ".repeat(self.target.digits.saturating_sub(slot.to_string().len()));
        Ok(format!("{service}.{slot}{id}@{node}{padding}"))
    }

    async fn resolve(&self, kind: &str, id: &str, name: &[&str]) -> Result<String, ClientError> {
        if self.args.no_resolve || id.is_empty() {
            return Ok(id.into());
        }
        match self.client.get::<Value>(&format!("/{kind}/{}", escape(id))).await {
            Ok(object) if !text(&object, name).is_empty() => Ok(text(&object, name).into()),
            Ok(_) => Ok(id.into()),
            Err(error) if error.exit() == Exit::NotFound => Ok(id.into()),
            Err(error) => Err(error),
        }
    }
}

/// A line's own time, as the API takes it.
fn moment_of(timestamp: &str) -> Option<String> {
    common::time::Timestamp::from_rfc3339(timestamp).map(moment::seconds)
}

enum StreamError {
    Client(ClientError),
    /// `… | head -1` has seen what it wanted.
    ReaderGone,
    Write(std::io::Error),
    Nonsense(String),
}

impl From<ClientError> for StreamError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

fn write(output: Output, bytes: &[u8]) -> Result<(), StreamError> {
    let result = match output {
        Output::Stdout => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        }
        Output::Stderr => std::io::stderr().write_all(bytes),
    };
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => StreamError::ReaderGone,
        _ => StreamError::Write(error),
    })
}

/// All that a log request without end condition of its own gives: texts alone, in order.
pub async fn read_all(client: &Client, path: &str, tty: bool) -> anyhow::Result<Vec<u8>> {
    let body: Bytes = client.get_bytes(path).await?;
    if tty {
        return Ok(body.to_vec());
    }
    let mut frames = Frames::default();
    frames.push(&body);
    let mut text = Vec::new();
    while let Some(line) = frames.next_raw().map_err(|text| Failure::new(Exit::Failed, text))? {
        text.extend_from_slice(&line.1);
    }
    Ok(text)
}
