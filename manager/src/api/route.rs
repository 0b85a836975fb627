//! Which path is whose, and what every answer carries.
//!
//! The first segment decides: the cluster's own words are answered here, and never reach the engine; all the
//! rest is the engine's. Two things are both's: events, which are merged, and networks, of which services know some.

use std::sync::Arc;

use common::limits::{API_LARGE_BODIES_MAX, API_REQUEST_TIME_MAX, BACKUPS_AT_ONCE_MAX};
use common::report::Report;
use common::shutdown::Tasks;
use hyper::header::{HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::engine::{Engine, EngineSettings, came_from_us};
use super::error::{ApiError, PAGE_NOT_FOUND};
use super::exchange::{self, Answer, Body, Call};
use super::host::{Fault, Host};
use super::payloads::kind_of;
use super::serve::Slot;
use super::target::Target;
use super::{
    backup, events, explain, extras, logs, networks, nodes, payloads, services, swarm, system, tasks,
};

/// What all connections share.
pub(super) struct Edge {
    pub host: Arc<dyn Host>,
    pub engine: Arc<Engine>,
    pub tasks: Tasks,
    /// Slots for request bodies that are not small.
    pub large_bodies: Semaphore,
    /// Backups and restores under way.
    pub backups: Arc<Semaphore>,
}

impl Edge {
    pub fn new(host: Arc<dyn Host>, engine: EngineSettings, tasks: Tasks) -> Self {
        let engine = Arc::new(Engine::new(engine, tasks.clone()));
        let large_bodies = Semaphore::new(API_LARGE_BODIES_MAX);
        let backups = Arc::new(Semaphore::new(BACKUPS_AT_ONCE_MAX));
        Self { host, engine, tasks, large_bodies, backups }
    }

    /// Learns what the engine speaks, so that the first client already hears it.
    pub async fn meet_engine(&self) {
        if self.engine.is_configured()
            && let Err(error) = self.engine.facts().await
        {
            warn!(error = %Report(&error), "Docker Engine not met");
        }
    }

    pub async fn answer(&self, request: Request<Body>, slot: Slot) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut response = self.route(request, slot).await.unwrap_or_else(exchange::error);
        debug!(%method, path, status = response.status().as_u16(), "API request answered");
        self.sign(&mut response);
        response
    }

    async fn route(&self, request: Request<Body>, slot: Slot) -> Answer {
        if came_from_us(request.headers()) {
            let reason = "the socket given as this node's Docker Engine leads back to this node";
            return Err(ApiError::new(StatusCode::LOOP_DETECTED, reason));
        }
        let target = Target::parse(request.uri())?;
        let first = target.segments[0].as_str();
        let ours = matches!(first, "_ping" | "info" | "nodes" | "services" | "swarm" | "tasks" | "version")
            || kind_of(first).is_ok();
        // Somebody may well look at the first page of a log for an hour.
        let is_log = matches!(target.segments.as_slice(), [_, _, last] if last == "logs");
        slot.endless.set(!ours || is_log);
        if ours {
            return self.ours(target, request).await;
        }
        let get = request.method() == Method::GET;
        match target.segments.as_slice() {
            [events] if get && events == "events" && self.host.manager().is_some() => {
                events::stream(self, &target).await
            }
            [networks, name] if get && networks == "networks" && networks::is_ours(self, &target.query) => {
                networks::inspect(name)
            }
            _ => self.engine.hand_on(&target, request, slot).await,
        }
    }

    async fn ours(&self, target: Target, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let mut call = Call { query: target.query, headers: head.headers, body };
        let path: Vec<&str> = target.segments.iter().map(String::as_str).collect();
        match (head.method.as_str(), path.as_slice()) {
            // Making, joining and leaving a cluster go on when nobody waits, and keep their own time.
            ("POST", ["swarm", "init"]) => swarm::init(self, &mut call).await,
            ("POST", ["swarm", "join"]) => swarm::join(self, &mut call).await,
            ("POST", ["swarm", "leave"]) => swarm::leave(self, &call).await,
            ("POST", ["swarm", "unlock"]) => swarm::unlock(self, &mut call).await,
            ("POST", ["swarm", "x", "restore"]) => backup::restore(self, &mut call).await,
            (method, path) => {
                let answering = self.bounded(method, path, &mut call);
                tokio::time::timeout(API_REQUEST_TIME_MAX, answering).await.unwrap_or_else(|_| {
                    let seconds = API_REQUEST_TIME_MAX.as_secs();
                    Err(ApiError::internal(format!("the request took longer than {seconds} s")))
                })
            }
        }
    }

    /// Answers that take `API_REQUEST_TIME_MAX` at most.
    async fn bounded(&self, method: &str, path: &[&str], call: &mut Call) -> Answer {
        match (method, path) {
            ("GET" | "HEAD", ["_ping"]) => Ok(system::ping(self)),
            ("GET", ["version"]) => system::version(self).await,
            ("GET", ["info"]) => system::info(self).await,
            ("GET", ["swarm"]) => swarm::inspect(self, call).await,
            ("POST", ["swarm", "update"]) => swarm::update(self, call).await,
            ("GET", ["swarm", "unlockkey"]) => swarm::unlock_key(self).await,
            ("GET", ["swarm", "x", "backup"]) => backup::take(self, call).await,
            ("POST", ["swarm", "x", "rotate-data-keys"]) => swarm::rotate_data_keys(self).await,
            ("GET", ["swarm", "x", "raft"]) => extras::raft(self),
            ("GET", ["swarm", "x", "gossip"]) => extras::gossip(self),
            ("POST", ["swarm", "x", "lab", "cut"]) => extras::fault(self, Fault::Cut),
            ("POST", ["swarm", "x", "lab", "heal"]) => extras::fault(self, Fault::Heal),
            ("GET", ["swarm", "x", "services", name, "history"]) => services::history(self, call, name).await,
            ("GET", ["swarm", "x", "services", name, "explain"]) => explain::explain(self, call, name).await,
            ("POST", ["swarm", "x", "services", name, "rebalance"]) => services::rebalance(self, name).await,
            ("POST", ["swarm", "x", kinds @ ("secrets" | "configs"), name, "rotate"]) => {
                payloads::rotate(self, call, kind_of(kinds)?, name).await
            }
            ("GET", ["swarm", "x", kinds @ ("secrets" | "configs"), name, "history"]) => {
                payloads::history(self, call, kind_of(kinds)?, name).await
            }
            ("GET", ["services"]) => services::list(self, call).await,
            ("POST", ["services", "create"]) => services::create(self, call).await,
            ("GET", ["services", name]) => services::inspect(self, call, name).await,
            ("DELETE", ["services", name]) => services::remove(self, name).await,
            ("POST", ["services", name, "update"]) => services::update(self, call, name).await,
            ("GET", ["services", name, "logs"]) => logs::of_service(self, call, name).await,
            ("GET", ["tasks"]) => tasks::list(self, call).await,
            ("GET", ["tasks", name]) => tasks::inspect(self, call, name).await,
            ("GET", ["tasks", name, "logs"]) => logs::of_task(self, call, name).await,
            ("GET", ["nodes"]) => nodes::list(self, call).await,
            ("GET", ["nodes", name]) => nodes::inspect(self, call, name).await,
            ("DELETE", ["nodes", name]) => nodes::remove(self, call, name).await,
            ("POST", ["nodes", name, "update"]) => nodes::update(self, call, name).await,
            (method, [first, rest @ ..]) => {
                let kind = kind_of(first)?;
                match (method, rest) {
                    ("GET", []) => payloads::list(self, call, kind).await,
                    ("POST", ["create"]) => payloads::create(self, call, kind).await,
                    ("GET", [name]) => payloads::inspect(self, call, kind, name).await,
                    ("DELETE", [name]) => payloads::remove(self, kind, name).await,
                    ("POST", [name, "update"]) => payloads::update(self, call, kind, name).await,
                    _ => Err(ApiError::not_found(PAGE_NOT_FOUND)),
                }
            }
            (_, []) => Err(ApiError::not_found(PAGE_NOT_FOUND)),
        }
    }

    /// What Docker's clients look at in every answer.
    fn sign(&self, response: &mut Response<Body>) {
        let version = self.engine.spoken_version().to_string();
        let headers = response.headers_mut();
        headers.insert("Api-Version", HeaderValue::from_str(&version).expect("digits and a dot"));
        headers.insert("Ostype", HeaderValue::from_static(std::env::consts::OS));
        headers.insert(SERVER, HeaderValue::from_static(system::SERVER_NAME));
        if !headers.contains_key("Docker-Experimental") {
            headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
        }
    }
}
