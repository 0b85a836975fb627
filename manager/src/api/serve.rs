//! The doors of the API: accept clients, bound how many and how slow they may be, and stop in good order. `tcp` is
//! the door for those who come from afar.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use common::identity::ApiServerNames;
use common::limits::{
    API_CONNECTIONS_MAX, API_HEAD_BYTES_MAX, API_HEAD_TIME_MAX, API_REFUSALS_MAX, API_STOP_TIME_MAX,
    API_WRITE_STALL_MAX,
};
use common::report::Report;
use common::shutdown::Tasks;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::caller::Caller;
use super::engine::EngineSettings;
use super::error::ApiError;
use super::exchange::{self, Body};
use super::host::Host;
use super::patience::{Endless, Patient};
use super::route::Edge;
use super::tcp::{Door, Held};
use crate::audit::Audit;

/// A place among the connections served at a time, and who has it. An upgraded connection keeps it until it ends.
#[derive(Clone)]
pub(super) struct Slot {
    place: Arc<dyn Send + Sync>,
    /// Set when an answer of the engine's goes out here.
    pub endless: Endless,
    pub caller: Arc<Caller>,
    /// Ends the connection, whatever is going on on it.
    pub cut: CancellationToken,
}

impl Slot {
    /// None where all places are taken.
    pub fn take(places: &Arc<Semaphore>, endless: Endless, caller: Caller) -> Option<Self> {
        let place = places.clone().try_acquire_owned().ok()?;
        Some(Self::with(Arc::new(place), endless, caller))
    }

    pub fn with(place: Arc<dyn Send + Sync>, endless: Endless, caller: Caller) -> Self {
        Self { place, endless, caller: Arc::new(caller), cut: CancellationToken::new() }
    }

    /// What somebody who watches it needs, and does not keep it by.
    pub fn held(self) -> Held {
        Held { place: Arc::downgrade(&self.place), cut: self.cut, caller: self.caller }
    }
}

/// The API of one node, for all its doors.
#[derive(Clone)]
pub struct Api {
    edge: Arc<Edge>,
    tasks: Tasks,
}

impl Api {
    pub fn new(host: Arc<dyn Host>, engine: EngineSettings, audit: Audit, tasks: Tasks) -> Self {
        Self { edge: Arc::new(Edge::new(host, engine, audit, tasks.clone())), tasks }
    }

    /// Serves a local socket until the API stops. One that cannot accept for a moment is tried again.
    pub async fn serve_socket(self, listener: UnixListener) {
        let Self { edge, tasks } = self;
        tokio::select! {
            () = tasks.stopping() => return,
            () = edge.meet_engine() => {}
        }
        accept(listener, edge, tasks).await;
    }

    /// Serves clients with certificates on TCP until the API stops.
    pub async fn serve_tcp(self, listener: TcpListener, names: ApiServerNames) {
        Door::new(self.edge, self.tasks, names).serve(listener).await;
    }
}

/// Serves the API on a local socket alone, without an audit record, until `tasks` stops.
pub async fn serve(listener: UnixListener, host: Arc<dyn Host>, engine: EngineSettings, tasks: Tasks) {
    Api::new(host, engine, Audit::default(), tasks).serve_socket(listener).await;
}

async fn accept(listener: UnixListener, edge: Arc<Edge>, tasks: Tasks) {
    let path =
        listener.local_addr().ok().and_then(|addr| addr.as_pathname().map(|path| path.display().to_string()));
    let path = path.map_or_else(|| "unix".into(), |path| format!("unix://{path}"));
    let slots = Arc::new(Semaphore::new(API_CONNECTIONS_MAX));
    let refusals = Arc::new(Semaphore::new(API_REFUSALS_MAX));
    loop {
        let stream = tokio::select! {
            () = tasks.stopping() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(error = %Report(&error), "API connection not accepted");
                    // Most likely out of file descriptors: those in use end by themselves.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let caller = Caller::of_socket(&path, &stream);
        if let Some(slot) = Slot::take(&slots, Endless::default(), caller) {
            tasks.spawn(connection(stream, edge.clone(), slot, tasks.clone()));
        } else if let Ok(permit) = refusals.clone().try_acquire_owned() {
            warn!(connections = API_CONNECTIONS_MAX, "API connection refused");
            tasks.spawn_until_stopped(refuse(stream, permit));
        }
    }
}

pub(super) async fn connection<S>(stream: S, edge: Arc<Edge>, slot: Slot, tasks: Tasks)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let cut = slot.cut.clone();
    let stream = Patient::new(stream, API_WRITE_STALL_MAX, slot.endless.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (edge, slot) = (edge.clone(), slot.clone());
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed());
            Ok::<_, Infallible>(edge.answer(request, slot).await)
        }
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = cut.cancelled() => return,
        () = tasks.stopping() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(API_STOP_TIME_MAX, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        debug!(error = %Report(&error), "API connection broke off");
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(API_HEAD_TIME_MAX).max_buf_size(API_HEAD_BYTES_MAX);
    builder
}

/// Tells one client too many why it is not served, rather than letting it hang.
async fn refuse(stream: UnixStream, permit: OwnedSemaphorePermit) {
    let service = service_fn(|_| async { Ok::<_, Infallible>(refusal()) });
    let refusing = builder().serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(Duration::from_secs(1), refusing).await;
    drop(permit);
}

fn refusal() -> Response<Body> {
    let mut response = exchange::error(ApiError::unavailable(format!(
        "this node serves {API_CONNECTIONS_MAX} connections already"
    )));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
