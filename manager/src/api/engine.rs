//! The Docker Engine of this node, behind our socket: what is not the cluster's is handed to it as it comes.
//!
//! One connection to the engine per request, so that a client that goes away ends its request there too.
//! Nothing is buffered: bodies stream both ways, and an upgraded connection (`docker run -it`, `exec`, the
//! builder's session) becomes a tunnel in which either side may finish first.
//!
//! The engine speaks an older API than some clients, so the version in the path is lowered to what it speaks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::engine_api::{API_VERSION, API_VERSION_MIN};
use common::limits::{
    ENGINE_CONNECT_TIME_MAX, ENGINE_DOCUMENT_BYTES_MAX, ENGINE_DOCUMENT_TIME_MAX, ENGINE_FACTS_TIME_MAX,
};
use common::report::Report;
use common::shutdown::Tasks;
use common::time::{Clock, Monotonic, SystemClock};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tracing::debug;

use super::error::ApiError;
use super::exchange::{Body, BoxError, empty_body};
use super::serve::Slot;
use super::target::{ApiVersion, Target};

/// Where this node's Docker Engine listens, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineSettings {
    pub socket: Option<PathBuf>,
}

/// What the engine says of itself in `_ping`.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub api_version: ApiVersion,
    /// What our `_ping` repeats: the client chooses its builder by these.
    pub headers: HeaderMap,
}

/// Why the engine did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error("this node has no Docker Engine")]
    None,
    #[error("connect to the Docker Engine of this node at {}", socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("ask the Docker Engine of this node for {what}")]
    Exchange {
        what: String,
        #[source]
        source: BoxError,
    },
    #[error("the Docker Engine of this node did not answer {what} in time")]
    TooLate { what: String },
    #[error("the Docker Engine of this node answered {what} with {status}")]
    Refused { what: String, status: StatusCode },
}

const REPEATED: [HeaderName; 2] =
    [HeaderName::from_static("builder-version"), HeaderName::from_static("docker-experimental")];

/// Marks what we hand on, so that a socket that leads back to us is noticed instead of followed for ever.
const HANDED_ON: HeaderName = HeaderName::from_static("swarm-handed-on");

pub(super) fn came_from_us(headers: &HeaderMap) -> bool {
    headers.contains_key(HANDED_ON)
}

pub(super) struct Engine {
    socket: Option<PathBuf>,
    tasks: Tasks,
    facts: Mutex<Heard>,
    /// Held by the one who asks behind everybody's back.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// The latest facts, kept when the engine stops answering: a client has arranged itself with that version.
#[derive(Default)]
struct Heard {
    facts: Option<Facts>,
    /// When they were last asked for, answered or not.
    asked: Option<Monotonic>,
}

impl Heard {
    fn is_stale(&self, now: Monotonic) -> bool {
        self.asked.is_none_or(|asked| now.since(asked) >= ENGINE_FACTS_TIME_MAX)
    }
}

impl Engine {
    pub fn new(settings: EngineSettings, tasks: Tasks) -> Self {
        Self { socket: settings.socket, tasks, facts: Mutex::default(), asking: Arc::default() }
    }

    pub fn is_configured(&self) -> bool {
        self.socket.is_some()
    }

    /// What clients are told that we speak. Never waits.
    ///
    /// With an engine, what the engine speaks: Docker's client arranges containers, images and builds by this one
    /// number, and what it believes an old engine to understand the engine drops in silence (`--mac-address`,
    /// `--annotation`). The cluster's parts need no more than 1.41; and a client that names a newer version in
    /// its path is served all the same.
    pub fn spoken_version(&self) -> ApiVersion {
        let ours = ApiVersion::known(API_VERSION);
        self.known().map_or(ours, |facts| facts.api_version.min(ours))
    }

    fn known(&self) -> Option<Facts> {
        self.facts.lock().expect("no holder panics").facts.clone()
    }

    /// The engine's facts as last heard. Never waits: old ones are asked for again behind the caller's back.
    pub fn facts_so_far(self: &Arc<Self>) -> Option<Facts> {
        let stale = self.facts.lock().expect("no holder panics").is_stale(SystemClock.monotonic());
        if self.is_configured()
            && stale
            && let Ok(turn) = self.asking.clone().try_lock_owned()
        {
            let engine = self.clone();
            self.tasks.spawn_until_stopped(async move {
                if let Err(error) = engine.ask_facts().await {
                    debug!(error = %Report(&error), "engine did not say what it speaks");
                }
                drop(turn);
            });
        }
        self.known()
    }

    /// The engine's facts, asked for when there are none or old ones.
    pub async fn facts(&self) -> Result<Facts, EngineError> {
        let now = SystemClock.monotonic();
        let fresh = {
            let heard = self.facts.lock().expect("no holder panics");
            if heard.is_stale(now) { None } else { heard.facts.clone() }
        };
        match fresh {
            Some(facts) => Ok(facts),
            None => self.ask_facts().await,
        }
    }

    async fn ask_facts(&self) -> Result<Facts, EngineError> {
        let asked = self.ask("/_ping").await;
        let mut heard = self.facts.lock().expect("no holder panics");
        heard.asked = Some(SystemClock.monotonic());
        let headers = asked?.headers().clone();
        let version = headers.get("api-version").and_then(|value| value.to_str().ok()?.parse().ok());
        let facts = Facts {
            // An engine that does not say speaks the oldest, as Docker's client assumes.
            api_version: version.unwrap_or(ApiVersion::known(API_VERSION_MIN)),
            headers: REPEATED
                .into_iter()
                .filter_map(|name| Some((name.clone(), headers.get(name)?.clone())))
                .collect(),
        };
        heard.facts = Some(facts.clone());
        Ok(facts)
    }

    /// A document of the engine's, read whole.
    pub async fn document<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let exchange = |source| EngineError::Exchange { what: path.into(), source };
        let reading = async {
            let version = self.facts().await?.api_version;
            let response = self.ask(&format!("/v{version}{path}")).await?;
            let body = Limited::new(response.into_body(), ENGINE_DOCUMENT_BYTES_MAX);
            let bytes = body.collect().await.map_err(exchange)?.to_bytes();
            serde_json::from_slice(&bytes).map_err(|error| exchange(error.into()))
        };
        tokio::time::timeout(ENGINE_DOCUMENT_TIME_MAX, reading)
            .await
            .unwrap_or_else(|_| Err(EngineError::TooLate { what: path.into() }))
    }

    /// An answer of the engine's that may go on for long; bounded in time until it begins.
    pub async fn open(&self, path: &str) -> Result<Response<Incoming>, EngineError> {
        let version = self.facts().await?.api_version;
        let mut request = Request::new(empty_body());
        let invalid = |error: hyper::http::uri::InvalidUri| EngineError::Exchange {
            what: path.into(),
            source: error.into(),
        };
        *request.uri_mut() = format!("/v{version}{path}").parse().map_err(invalid)?;
        mark(request.headers_mut());
        let asking = async {
            let exchange =
                |source: hyper::Error| EngineError::Exchange { what: path.into(), source: source.into() };
            self.connect().await?.send_request(request).await.map_err(exchange)
        };
        tokio::time::timeout(ENGINE_DOCUMENT_TIME_MAX, asking)
            .await
            .unwrap_or_else(|_| Err(EngineError::TooLate { what: path.into() }))
    }

    async fn ask(&self, path: &str) -> Result<Response<Incoming>, EngineError> {
        let mut request = Request::new(empty_body());
        *request.uri_mut() = path.parse().expect("our own paths are paths");
        mark(request.headers_mut());
        let asking = async {
            let mut sender = self.connect().await?;
            let exchange =
                |source: hyper::Error| EngineError::Exchange { what: path.into(), source: source.into() };
            sender.send_request(request).await.map_err(exchange)
        };
        let response = tokio::time::timeout(ENGINE_DOCUMENT_TIME_MAX, asking)
            .await
            .unwrap_or_else(|_| Err(EngineError::TooLate { what: path.into() }))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(EngineError::Refused { what: path.into(), status }),
        }
    }

    async fn connect(&self) -> Result<http1::SendRequest<Body>, EngineError> {
        let socket = self.socket.as_deref().ok_or(EngineError::None)?;
        let stream = tokio::time::timeout(ENGINE_CONNECT_TIME_MAX, UnixStream::connect(socket))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|source| EngineError::Connect { socket: socket.into(), source })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| EngineError::Exchange { what: "a connection".into(), source: error.into() })?;
        self.tasks.spawn_until_stopped(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(error = %Report(&error), "connection to the engine ended");
            }
        });
        Ok(sender)
    }

    /// Hands a request to the engine and its answer back, as both come.
    pub async fn hand_on(
        &self,
        target: &Target,
        request: Request<Body>,
        slot: Slot,
    ) -> Result<Response<Body>, ApiError> {
        if !self.is_configured() {
            return Err(ApiError::not_implemented(format!(
                "this node has no Docker Engine to answer {} {}",
                request.method(),
                Path::new("/").join(target.segments.join("/")).display()
            )));
        }
        let spoken = self.facts().await.map_err(unavailable)?.api_version;
        let uri = match target.version {
            Some(version) => format!("/v{}{}", version.min(spoken), target.raw),
            None => target.raw.clone(),
        };
        let (mut request, client) = to_engine(request, &uri)?;
        mark(request.headers_mut());
        let mut sender = self.connect().await.map_err(unavailable)?;
        let mut response = sender.send_request(request).await.map_err(|error| {
            let source = EngineError::Exchange { what: uri, source: error.into() };
            ApiError::new(StatusCode::BAD_GATEWAY, Report(&source).to_string())
        })?;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded && let Some(client) = client {
            let engine = hyper::upgrade::on(&mut response);
            self.tasks.spawn_until_stopped(tunnel(client, engine, slot));
        }
        remove_hop_by_hop(response.headers_mut(), upgraded);
        Ok(response.map(|body| body.map_err(Into::into).boxed()))
    }
}

fn unavailable(error: EngineError) -> ApiError {
    ApiError::unavailable(Report(&error).to_string())
}

fn mark(headers: &mut HeaderMap) {
    headers.insert(header::HOST, HeaderValue::from_static("docker"));
    headers.insert(HANDED_ON, HeaderValue::from_static("1"));
}

/// The request as the engine gets it, and the client's end where it asks to leave HTTP.
fn to_engine(mut request: Request<Body>, uri: &str) -> Result<(Request<Body>, Option<OnUpgrade>), ApiError> {
    let upgrade = asks_for_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
    *request.uri_mut() =
        uri.parse().map_err(|error| ApiError::invalid(format!("the path cannot be handed on: {error}")))?;
    request.extensions_mut().clear();
    remove_hop_by_hop(request.headers_mut(), upgrade.is_some());
    // Answered here already: the engine would only say it a second time.
    request.headers_mut().remove(header::EXPECT);
    Ok((request, upgrade))
}

fn asks_for_upgrade(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let named = |value: &HeaderValue| {
        let words = value.to_str().unwrap_or_default().split(',');
        words.into_iter().any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
    };
    request.method() != Method::CONNECT
        && headers.contains_key(header::UPGRADE)
        && headers.get_all(header::CONNECTION).iter().any(named)
}

/// These speak of one connection, and ours are two.
fn remove_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    const ALWAYS: [HeaderName; 5] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
    ];
    for name in ALWAYS {
        headers.remove(name);
    }
    if !keep_upgrade {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
}

/// Carries bytes both ways; the end of one direction is passed on and leaves the other open.
async fn tunnel(client: OnUpgrade, engine: OnUpgrade, slot: Slot) {
    let carried = async {
        let (client, engine) = tokio::try_join!(client, engine)?;
        let (mut client, mut engine) = (TokioIo::new(client), TokioIo::new(engine));
        tokio::io::copy_bidirectional(&mut client, &mut engine).await.map_err(BoxError::from)
    };
    let cut = slot.cut.clone();
    let carried = tokio::select! {
        carried = carried => carried,
        () = cut.cancelled() => return debug!("tunnel to the engine cut off"),
    };
    match carried {
        Ok((sent, received)) => debug!(sent, received, "tunnel to the engine ended"),
        Err(error) => debug!(error = %Report(&*error), "tunnel to the engine broke off"),
    }
    drop(slot);
}
