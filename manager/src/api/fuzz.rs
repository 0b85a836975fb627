//! The edge without a socket, for `manager/fuzz`.

use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Tasks;
use http_body_util::BodyExt;
use hyper::Request;
use tokio::sync::Semaphore;

use super::caller::{Caller, Who};
use super::engine::EngineSettings;
use super::exchange::full_body;
use super::host::Host;
use super::patience::Endless;
use super::route::Edge;
use super::serve::Slot;
use crate::audit::Audit;

/// Answers one request of somebody new: status and body.
pub async fn answer(host: Arc<dyn Host>, request: Request<Vec<u8>>) -> (u16, Vec<u8>) {
    let tasks = Tasks::new();
    let edge = Edge::new(host, EngineSettings::default(), Audit::default(), tasks.clone());
    let who = Who::User { uid: None, gid: None, pid: None };
    let caller = Caller { from: "unix".into(), who };
    let slot =
        Slot::take(&Arc::new(Semaphore::new(1)), Endless::default(), caller).expect("nobody else is here");
    let response = edge.answer(request.map(full_body), slot).await;
    let status = response.status().as_u16();
    // Logs and events go on for ever: a moment of them will do.
    let collected = tokio::time::timeout(Duration::from_millis(20), response.into_body().collect()).await;
    let body = collected.map(|body| body.expect("our own bodies do not break").to_bytes());
    tasks.stop().await;
    (status, body.unwrap_or_default().into())
}

/// Reads what claims to be a backup.
pub fn backup(bytes: &[u8]) {
    super::backup::fuzzing::run(bytes);
}

pub fn backup_seeds(tables: &crate::store::Tables) -> Vec<Vec<u8>> {
    super::backup::fuzzing::seeds(tables)
}

/// Reads a service's spec as the edge does, and shows it again: what was kept has to read back the same.
pub fn service_spec(bytes: &[u8]) {
    use common::engine_api::convert::{insert_defaults, service_spec_from_api, service_spec_to_api};
    use common::engine_api::service::ServiceSpec;

    let Ok(document) = serde_json::from_slice::<ServiceSpec>(bytes) else { return };
    let Ok(spec) = service_spec_from_api(document) else { return };
    let _ = super::service_rules::check(&spec);
    let _ = super::service_rules::warnings(&spec);
    let mut shown = service_spec_to_api(&spec);
    let again = service_spec_from_api(shown.clone()).expect("what we show we read");
    assert_eq!(again, spec);
    insert_defaults(&mut shown);
    service_spec_from_api(shown).expect("defaults are what may be said");
}
