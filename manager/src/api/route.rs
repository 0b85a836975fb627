//! Which path is whose, and what every answer carries.
//!
//! The first segment decides: the cluster's own words are answered here, and never reach the engine; all the
//! rest is the engine's. Two things are both's: events, which are merged, and networks, of which services know some.

use std::sync::{Arc, Mutex};

use common::limits::{
    API_LARGE_BODIES_MAX, API_REQUEST_TIME_MAX, API_REQUESTS_AT_ONCE_MAX, API_REQUESTS_PER_SECOND_MAX,
    AUDIT_REFUSALS_PER_MINUTE_MAX, BACKUPS_AT_ONCE_MAX, CLIENT_CERTIFICATES_MAX,
};
use common::object::{AccessRole, ClientSerial};
use common::pace::Pace;
use common::random::{Random, SystemRandom};
use common::report::Report;
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock};
use hyper::header::{HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::caller::{Caller, Who, need};
use super::engine::{Engine, EngineSettings, came_from_us};
use super::error::{ApiError, PAGE_NOT_FOUND};
use super::exchange::{self, Answer, Body, Call};
use super::host::{Fault, Host};
use super::note::{Made, Note};
use super::payloads::kind_of;
use super::serve::Slot;
use super::target::{Target, shortened};
use super::{
    access, backup, clients, events, explain, extras, logs, networks, nodes, payloads, services, swarm,
    system, tasks,
};
use crate::audit::Audit;
use crate::store::Tables;

/// What all connections share.
pub(super) struct Edge {
    pub host: Arc<dyn Host>,
    pub engine: Arc<Engine>,
    pub tasks: Tasks,
    /// Slots for request bodies that are not small.
    pub large_bodies: Semaphore,
    /// Backups and restores under way.
    pub backups: Arc<Semaphore>,
    pub audit: Audit,
    /// How quickly each client asks.
    pace: Mutex<Pace<ClientSerial>>,
    /// How many refusals of each caller have been recorded; none is for strangers.
    refusals: Mutex<Pace<Option<ClientSerial>>>,
}

impl Edge {
    pub fn new(host: Arc<dyn Host>, engine: EngineSettings, audit: Audit, tasks: Tasks) -> Self {
        let engine = Arc::new(Engine::new(engine, tasks.clone()));
        let rate = f64::from(API_REQUESTS_PER_SECOND_MAX);
        let refusals = AUDIT_REFUSALS_PER_MINUTE_MAX;
        let clients = CLIENT_CERTIFICATES_MAX + 1;
        Self {
            host,
            engine,
            tasks,
            large_bodies: Semaphore::new(API_LARGE_BODIES_MAX),
            backups: Arc::new(Semaphore::new(BACKUPS_AT_ONCE_MAX)),
            audit,
            pace: Mutex::new(Pace::new(rate, API_REQUESTS_AT_ONCE_MAX, clients)),
            refusals: Mutex::new(Pace::new(f64::from(refusals) / 60.0, refusals, clients)),
        }
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
        let id = format!("{:016x}", SystemRandom.next_u64());
        let caller = slot.caller.clone();
        let target = Target::parse(request.uri());
        let known = target.as_ref().ok().cloned();
        let segments: Vec<&str> =
            known.iter().flat_map(|target| target.segments.iter().map(String::as_str)).collect();
        let begin = || {
            let node = self.host.status().node.map(|node| node.to_string()).unwrap_or_default();
            let mut note = Note::begin(&self.audit, &caller, &id, node, method.as_str(), &path);
            if let Some(target) = &known {
                note.tell(target, self.tables().as_ref());
            }
            note
        };
        let mut note = access::is_recorded(method.as_str(), &segments).then(begin);
        let answered = match (self.admit(method.as_str(), &segments, &caller), target) {
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(target)) => self.route(target, request, slot).await,
        };
        let (mut response, error) = match answered {
            Ok(response) => (response, String::new()),
            Err(error) => (exchange::error(error.clone()), error.message),
        };
        let status = response.status();
        debug!(%method, %path, status = status.as_u16(), "API request answered");
        let is_refusal = is_refusal(status);
        if note.is_none() && is_refusal {
            note = Some(begin());
        }
        match note {
            Some(note) if is_refusal && !self.may_record_refusal(caller.serial()) => note.forget(),
            Some(mut note) => {
                let made = response.extensions_mut().remove::<Made>();
                note.outcome(status, &error, made.as_ref(), self.tables().as_ref());
                note.write().await;
            }
            None => {}
        }
        self.sign(&mut response);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("Swarm-Request-Id", id);
        }
        response
    }

    /// Whether a caller may ask this: it is on record, not too quick, and of a role that is enough.
    fn admit(&self, method: &str, path: &[&str], caller: &Caller) -> Result<(), ApiError> {
        self.check(caller)?;
        if let Some(serial) = caller.serial()
            && !self.pace.lock().expect("no holder panics").take(&serial, SystemClock.monotonic())
        {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "more than {API_REQUESTS_PER_SECOND_MAX} requests a second with one client certificate"
                ),
            ));
        }
        need(caller, access::least_role(method, path), &format!("{method} /{}", shortened(&path.join("/"))))
    }

    /// Whether a caller may ask at all.
    pub fn check(&self, caller: &Caller) -> Result<(), ApiError> {
        if matches!(caller.who, Who::User { .. }) {
            return Ok(());
        }
        let control = self.host.manager();
        let now = control.as_ref().map_or_else(|| SystemClock.now(), |control| control.now());
        caller.check(control.map(|control| control.local()).as_ref(), now)
    }

    /// Refusals of one caller are recorded so far as they do not push out what others did.
    pub fn may_record_refusal(&self, of: Option<ClientSerial>) -> bool {
        self.refusals.lock().expect("no holder panics").take(&of, SystemClock.monotonic())
    }

    fn tables(&self) -> Option<Tables> {
        self.host.manager().map(|control| control.local())
    }

    async fn route(&self, target: Target, request: Request<Body>, slot: Slot) -> Answer {
        if came_from_us(request.headers()) {
            let reason = "the socket given as this node's Docker Engine leads back to this node";
            return Err(ApiError::new(StatusCode::LOOP_DETECTED, reason));
        }
        let role = slot.caller.role().unwrap_or(AccessRole::Viewer);
        let first = target.segments[0].as_str();
        let ours = matches!(first, "_ping" | "info" | "nodes" | "services" | "swarm" | "tasks" | "version")
            || kind_of(first).is_ok();
        // Somebody may well look at the first page of a log for an hour.
        let is_log = matches!(target.segments.as_slice(), [_, _, last] if last == "logs");
        slot.endless.set(!ours || is_log);
        if ours {
            return self.ours(target, request, role).await;
        }
        let get = request.method() == Method::GET;
        match target.segments.as_slice() {
            [events] if get && events == "events" && self.host.manager().is_some() => {
                events::stream(self, &target, role).await
            }
            [networks, ..] if networks == "networks" => self.networks(target, request, slot).await,
            _ => self.engine.hand_on(&target, request, slot).await,
        }
    }

    /// The cluster's networks, and the engine's where it is not one of those that is meant.
    async fn networks(&self, target: Target, request: Request<Body>, slot: Slot) -> Answer {
        let path: Vec<String> = target.segments.clone();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let method = request.method().clone();
        let asked = networks::Asked { target, request, slot };
        let answering = async {
            match (method.as_str(), path.as_slice()) {
                _ if self.host.manager().is_none() => networks::hand_on(self, asked).await,
                ("GET", ["networks"]) => networks::list(self, asked).await,
                ("POST", ["networks", "create"]) => networks::create(self, asked).await,
                ("GET", ["networks", name]) => networks::inspect(self, asked, name).await,
                ("DELETE", ["networks", name]) => networks::remove(self, asked, name).await,
                _ => networks::hand_on(self, asked).await,
            }
        };
        bounded_in_time(answering).await
    }

    async fn ours(&self, target: Target, request: Request<Body>, role: AccessRole) -> Answer {
        let (head, body) = request.into_parts();
        let mut call = Call { query: target.query, headers: head.headers, body, role };
        let path: Vec<&str> = target.segments.iter().map(String::as_str).collect();
        match (head.method.as_str(), path.as_slice()) {
            // Making, joining and leaving a cluster go on when nobody waits, and keep their own time.
            ("POST", ["swarm", "init"]) => swarm::init(self, &mut call).await,
            ("POST", ["swarm", "join"]) => swarm::join(self, &mut call).await,
            ("POST", ["swarm", "leave"]) => swarm::leave(self, &call).await,
            ("POST", ["swarm", "unlock"]) => swarm::unlock(self, &mut call).await,
            ("POST", ["swarm", "x", "restore"]) => backup::restore(self, &mut call).await,
            (method, path) => bounded_in_time(self.bounded(method, path, &mut call)).await,
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
            ("GET", ["swarm", "x", "client-certs"]) => clients::list(self, call).await,
            ("POST", ["swarm", "x", "client-certs"]) => clients::create(self, call).await,
            ("DELETE", ["swarm", "x", "client-certs", name]) => clients::revoke(self, name).await,
            ("GET", ["swarm", "x", "audit"]) => clients::audit(self, call).await,
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
            ("GET", [kinds @ ("secrets" | "configs")]) => payloads::list(self, call, kind_of(kinds)?).await,
            ("POST", [kinds @ ("secrets" | "configs"), "create"]) => {
                payloads::create(self, call, kind_of(kinds)?).await
            }
            ("GET", [kinds @ ("secrets" | "configs"), name]) => {
                payloads::inspect(self, call, kind_of(kinds)?, name).await
            }
            ("DELETE", [kinds @ ("secrets" | "configs"), name]) => {
                payloads::remove(self, kind_of(kinds)?, name).await
            }
            ("POST", [kinds @ ("secrets" | "configs"), name, "update"]) => {
                payloads::update(self, call, kind_of(kinds)?, name).await
            }
            _ => Err(ApiError::not_found(PAGE_NOT_FOUND)),
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

async fn bounded_in_time(answering: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(API_REQUEST_TIME_MAX, answering).await.unwrap_or_else(|_| {
        let seconds = API_REQUEST_TIME_MAX.as_secs();
        Err(ApiError::internal(format!("the request took longer than {seconds} s")))
    })
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
}
