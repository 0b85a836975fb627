//! The socket: accepts clients, bounds how many and how slow they may be, and stops in good order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

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
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::engine::EngineSettings;
use super::error::ApiError;
use super::exchange::{self, Body};
use super::host::Host;
use super::patience::{Endless, Patient};
use super::route::Edge;

/// A place among the connections served at a time. An upgraded connection keeps it until it ends.
#[derive(Clone)]
pub(super) struct Slot {
    _place: Arc<OwnedSemaphorePermit>,
    /// Set when an answer of the engine's goes out here.
    pub endless: Endless,
}

impl Slot {
    /// None where all places are taken.
    pub fn take(places: &Arc<Semaphore>, endless: Endless) -> Option<Self> {
        let place = places.clone().try_acquire_owned().ok()?;
        Some(Self { _place: Arc::new(place), endless })
    }
}

/// Serves the API until `tasks` stops. A socket that cannot accept for a moment is tried again.
pub async fn serve(listener: UnixListener, host: Arc<dyn Host>, engine: EngineSettings, tasks: Tasks) {
    let edge = Arc::new(Edge::new(host, engine, tasks.clone()));
    tokio::select! {
        () = tasks.stopping() => return,
        () = edge.meet_engine() => {}
    }
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
        if let Some(slot) = Slot::take(&slots, Endless::default()) {
            tasks.spawn(connection(stream, edge.clone(), slot, tasks.clone()));
        } else if let Ok(permit) = refusals.clone().try_acquire_owned() {
            warn!(connections = API_CONNECTIONS_MAX, "API connection refused");
            tasks.spawn_until_stopped(refuse(stream, permit));
        }
    }
}

async fn connection(stream: UnixStream, edge: Arc<Edge>, slot: Slot, tasks: Tasks) {
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
