//! The edge without a socket, for `manager/fuzz`.

use std::sync::Arc;

use common::shutdown::Tasks;
use http_body_util::BodyExt;
use hyper::Request;
use tokio::sync::Semaphore;

use super::engine::EngineSettings;
use super::exchange::full_body;
use super::host::Host;
use super::patience::Endless;
use super::route::Edge;
use super::serve::Slot;

/// Answers one request of somebody new: status and body.
pub async fn answer(host: Arc<dyn Host>, request: Request<Vec<u8>>) -> (u16, Vec<u8>) {
    let tasks = Tasks::new();
    let edge = Edge::new(host, EngineSettings::default(), tasks.clone());
    let slot = Slot::take(&Arc::new(Semaphore::new(1)), Endless::default()).expect("nobody else is here");
    let response = edge.answer(request.map(full_body), slot).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("our own bodies do not break");
    tasks.stop().await;
    (status, body.to_bytes().into())
}
