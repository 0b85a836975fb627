//! `/events`: what happens in the cluster, told by every manager, with the engine's own events among it.
//!
//! The store's feed is the memory: it holds the latest changes, so `since` replays them and goes on with what
//! follows, without a gap. A client that reads too slowly for that is cut off rather than told half.

use bytes::Bytes;
use common::engine_api::event::Event;
use common::limits::EVENT_LINE_BYTES_MAX;
use common::object::{AccessRole, Version};
use common::report::Report;
use common::time::Timestamp;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;
use tracing::debug;

use super::error::ApiError;
use super::event_rules::{event_of, time_of};
use super::exchange::{self, Answer, Piece};
use super::filter::Filters;
use super::host::Control;
use super::moment::{self, parse_moment};
use super::route::Edge;
use super::target::Target;
use super::view::control;

/// All that Docker knows; those that no event of ours has match nothing of ours.
const FILTER_KEYS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];
const TASK_KEY: &str = "task";

/// What a client wants to hear.
struct Wanted {
    filters: Filters,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// What the engine tells is for those who may use the engine.
pub(super) async fn stream(edge: &Edge, target: &Target, role: AccessRole) -> Answer {
    let keys: Vec<&str> = FILTER_KEYS.into_iter().chain([TASK_KEY]).collect();
    let wanted = Wanted {
        filters: Filters::parse(target.query.get("filters"), &keys)?,
        since: parse_moment("since", target.query.get("since"))?,
        until: parse_moment("until", target.query.get("until"))?,
    };
    let control = control(&*edge.host)?;
    // From here on nothing is missed, however long the engine takes to answer.
    let feed = control.store().feed();
    let from = if wanted.since.is_some() { feed.start() } else { feed.reached() };
    let engine = match role {
        AccessRole::Admin => engine_events(edge, target, &wanted).await?,
        AccessRole::Viewer | AccessRole::Operator => Engine::Silent { until: wanted.until.is_some() },
    };
    let (sender, response) = exchange::endless("application/json");
    let (lines, merged) = (sender.clone(), sender.clone());
    edge.tasks.spawn_until_stopped(async move {
        let ours = tell(&*control, &wanted, from, &lines);
        let theirs = pass_on(engine, merged);
        let both = async {
            if wanted.until.is_some() {
                tokio::join!(ours, theirs);
            } else {
                // Either ending ends the answer: a client that comes again hears everything.
                tokio::select! {
                    () = ours => {}
                    () = theirs => {}
                }
            }
        };
        tokio::select! {
            () = sender.closed() => {}
            () = both => {}
        }
    });
    Ok(response)
}

/// Tells of changes after `version`, until the time is over, nobody listens, or some of them are lost.
async fn tell(control: &dyn Control, wanted: &Wanted, mut version: Version, lines: &mpsc::Sender<Piece>) {
    let store = control.store();
    let known = store.feed().reached();
    let mut newest = Timestamp::default();
    loop {
        let over = async {
            if version >= known {
                moment::reached(wanted.until).await;
            } else {
                // What was there when the client came is told even if its time is over.
                std::future::pending::<()>().await;
            }
        };
        let (changes, next) = tokio::select! {
            biased;
            () = over => return,
            changes = store.feed().after(version) => match changes {
                Ok(changes) => changes,
                Err(error) => return debug!(%error, "events ended: their reader is behind"),
            },
        };
        version = next;
        let tables = store.snapshot();
        for changed in &changes {
            newest = time_of(changed).unwrap_or(newest).max(newest);
            // What is removed does not say when; no earlier than what was written before it.
            let at = if newest.0 == 0 { control.now() } else { newest };
            let Some(event) = event_of(changed, &tables, at) else { continue };
            if wanted.includes(&event) && lines.send(Ok(line(&event))).await.is_err() {
                return;
            }
        }
    }
}

impl Wanted {
    fn includes(&self, event: &Event) -> bool {
        let at = Timestamp(u64::try_from(event.time_nano).unwrap_or_default());
        let filters = &self.filters;
        let Event { kind, action, actor, scope, .. } = event;
        let name = actor.attributes.get("name").map_or("", String::as_str);
        // As in Docker: an object's key takes the start of its id or name, and other kinds of event have none.
        let is = |key: &str| {
            filters.any(key, |start| kind == key && (actor.id.starts_with(start) || name.starts_with(start)))
        };
        let attribute = |name: &str| actor.attributes.get(name).map_or("", String::as_str);
        // A task is its service's and its node's.
        let of = |key: &str, named: &str| {
            let is_its = |start: &str| attribute(key).starts_with(start) || named.starts_with(start);
            kind == TASK_KEY && filters.any(key, is_its)
        };
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
            && filters.any("type", |wanted| wanted == kind)
            && filters.any("event", |wanted| wanted == action)
            && filters.any("scope", |wanted| wanted == scope)
            && filters.labels("label", &actor.attributes)
            && (is("service") || of("service", name))
            && (is("node") || of("node", attribute("hostname")))
            && ["config", "container", "daemon", "image", "network", "plugin", "secret", "volume", TASK_KEY]
                .into_iter()
                .all(is)
    }
}

fn line(event: &Event) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

enum Engine {
    Answers(Response<Incoming>),
    /// There is none, or none that answers; the client waits for events of ours, `until` then or for ever.
    Silent {
        until: bool,
    },
}

/// The engine's events, asked for as the client asked.
async fn engine_events(edge: &Edge, target: &Target, wanted: &Wanted) -> Result<Engine, ApiError> {
    let silent = Engine::Silent { until: wanted.until.is_some() };
    if !edge.engine.is_configured() {
        return Ok(silent);
    }
    match edge.engine.open(&target.raw).await {
        Ok(response) if response.status() == StatusCode::OK => Ok(Engine::Answers(response)),
        // It says what is wrong with the question.
        Ok(response) if response.status().is_client_error() => {
            Err(ApiError::invalid(format!("the Docker Engine of this node refused: {}", response.status())))
        }
        Ok(response) => {
            debug!(status = %response.status(), "engine gave no events");
            Ok(silent)
        }
        Err(error) => {
            debug!(error = %Report(&error), "engine gave no events");
            Ok(silent)
        }
    }
}

/// Hands the engine's events on, line by line, so that ours come between them and not into them.
async fn pass_on(engine: Engine, lines: mpsc::Sender<Piece>) {
    let mut body = match engine {
        Engine::Answers(response) => response.into_body(),
        Engine::Silent { until: false } => return std::future::pending().await,
        Engine::Silent { until: true } => return,
    };
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                let _ = lines.send(Err(error.into())).await;
                return;
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
            let whole: Vec<u8> = rest.drain(..=end).collect();
            if lines.send(Ok(whole.into())).await.is_err() {
                return;
            }
        }
        if rest.len() > EVENT_LINE_BYTES_MAX {
            return debug!("engine's event is too long to be one");
        }
    }
}
