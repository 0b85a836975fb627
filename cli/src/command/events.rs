//! `swarm events`

use common::engine_api::event::Event;
use common::limits::{EVENT_BYTES_MAX, STREAM_RETRY_MAX, STREAM_RETRY_MIN, STREAM_RETRY_TIME_MAX};
use common::time::{Clock, SystemClock, Timestamp};
use serde_json::Value;

use crate::client::{Client, ClientError};
use crate::exit::{Exit, Failure};
use crate::output::inspect::{self, Format};
use crate::output::print_line;
use crate::parse::filter::{Filter, with_filters};
use crate::parse::moment;

/// Show what happens in the cluster, as it happens
///
/// It goes on until it is interrupted, or until --until; through lost connections and new leaders, with no event
/// left out or shown twice.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Filters:
  type (node|service|task|…), event (create|update|remove|…), scope (swarm|local), service, node, …

Examples:
  swarm events --filter type=service
  swarm events --since 1h --until 0s
  swarm events --format '{{.Type}} {{.Action}} {{.Actor.ID}}'")]
pub struct Args {
    /// Show only events that match; same key: any of the values, different keys: all of them
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,

    /// `json`, or a Go template for each event
    #[arg(long)]
    pub format: Option<Format>,

    /// Begin there: 42m, 2026-11-20T08:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// End there
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let read = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => moment::parse(text, now).map(Some).map_err(Failure::usage),
    };
    let mut following = Following {
        client,
        since: read(&args.since)?,
        until: read(&args.until)?,
        last: 0,
        at_last: Vec::new(),
        args,
    };
    tokio::select! {
        outcome = following.run() => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

struct Following<'a> {
    args: Args,
    client: &'a Client,
    since: Option<String>,
    until: Option<String>,
    /// Time of the last event shown, and the events of that very time: where a new stream begins.
    last: i64,
    at_last: Vec<Vec<u8>>,
}

impl Following<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut pause = STREAM_RETRY_MIN;
        // Where nothing has been seen yet, a new stream still begins where the first one did.
        if self.since.is_none() {
            self.since = Some(moment::seconds(SystemClock.now()));
        }
        let mut heard = SystemClock.monotonic();
        loop {
            let before = self.last;
            let outcome = self.stream().await;
            if self.last != before {
                heard = SystemClock.monotonic();
                pause = STREAM_RETRY_MIN;
            }
            match outcome {
                Ok(()) if self.is_over() => return Ok(()),
                Ok(()) => {}
                Err(error) => match error.downcast_ref::<ClientError>() {
                    Some(client) if client.is_passing() => {
                        if SystemClock.monotonic().since(heard) >= STREAM_RETRY_TIME_MAX {
                            return Err(error);
                        }
                    }
                    _ => return Err(error),
                },
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STREAM_RETRY_MAX);
        }
    }

    fn is_over(&self) -> bool {
        let until = self.until.as_deref().and_then(|until| until.split('.').next()?.parse::<u64>().ok());
        until.is_some_and(|until| SystemClock.now() >= Timestamp(until.saturating_mul(1_000_000_000)))
    }

    async fn stream(&mut self) -> anyhow::Result<()> {
        let mut path = with_filters("/events", &self.args.filters);
        let mut put = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                let separator = if path.contains('?') { '&' } else { '?' };
                path.push_str(&format!("{separator}{key}={value}"));
            }
        };
        let resumed = u64::try_from(self.last).ok().filter(|last| *last > 0);
        put("since", &resumed.map(|last| moment::seconds(Timestamp(last))).or_else(|| self.since.clone()));
        put("until", &self.until);
        let mut stream = self.client.stream(&path).await?;
        let known = self.at_last.clone();
        let mut waiting: Vec<u8> = Vec::new();
        while let Some(chunk) = stream.chunk().await? {
            waiting.extend_from_slice(&chunk);
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                self.event(line.trim_ascii(), &known)?;
            }
            if waiting.len() > EVENT_BYTES_MAX {
                let text = format!("an event is longer than {EVENT_BYTES_MAX} bytes");
                return Err(Failure::new(Exit::Failed, text).into());
            }
        }
        self.event(waiting.trim_ascii(), &known)
    }

    fn event(&mut self, line: &[u8], known: &[Vec<u8>]) -> anyhow::Result<()> {
        if line.is_empty() || known.iter().any(|known| known == line) {
            return Ok(());
        }
        let event: Event = serde_json::from_slice(line)?;
        if event.time_nano > self.last {
            self.at_last.clear();
            self.last = event.time_nano;
        }
        if event.time_nano == self.last {
            self.at_last.push(line.to_vec());
        }
        match &self.args.format {
            None => print_line(&in_words(&event))?,
            Some(Format::Json) => print_line(&String::from_utf8_lossy(line))?,
            Some(format) => {
                let value: Value = serde_json::from_slice(line)?;
                crate::output::print(&inspect::show(format, &value)?)?;
            }
        }
        Ok(())
    }
}

/// `2026-11-20T08:00:00.000000000Z service update 4xab… (name=web, updatestate.new=completed)`
fn in_words(event: &Event) -> String {
    let nanoseconds = match u64::try_from(event.time_nano) {
        Ok(time) if time > 0 => time,
        _ => u64::try_from(event.time).unwrap_or_default().saturating_mul(1_000_000_000),
    };
    let at = Timestamp(nanoseconds).to_rfc3339();
    // All nine digits, so that lines stand below each other.
    let (seconds, rest) = at.trim_end_matches('Z').split_once('.').unwrap_or((at.trim_end_matches('Z'), ""));
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{seconds}.{rest:0<9}Z {} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_words() {
        let event = |json: &str| serde_json::from_str::<Event>(json).expect("an event");
        #[rustfmt::skip]
        let cases = [
            (r#"{"Type":"service","Action":"update","Actor":{"ID":"s1","Attributes":{"name":"web","replicas.new":"2"}},"scope":"swarm","time":1795161600,"timeNano":1795161600500000000}"#,
             "2026-11-20T08:00:00.500000000Z service update s1 (name=web, replicas.new=2)"),
            (r#"{"Type":"node","Action":"remove","Actor":{"ID":"n"},"time":1795161600}"#, "2026-11-20T08:00:00.000000000Z node remove n"),
            ("{}", "1970-01-01T00:00:00.000000000Z   "),
        ];
        for (json, expected) in cases {
            assert_eq!(in_words(&event(json)), expected);
        }
    }
}
