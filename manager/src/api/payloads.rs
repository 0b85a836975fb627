//! `/secrets` and `/configs`: list, make, look at, label and remove what tasks get as files. One code for both.

use std::sync::Arc;

use common::engine_api::convert::{payload_data_from_api, payload_spec_from_api, payload_to_api};
use common::engine_api::payload::{
    PayloadCreated, PayloadSpec as ApiPayloadSpec, RotateRequest, Rotated, RotatedService,
};
use common::object::{Payload, PayloadId, PayloadKind};
use common::random::SystemRandom;

use super::change::change;
use super::error::{ApiError, PAGE_NOT_FOUND};
use super::exchange::{self, Answer, Call};
use super::filter::Filters;
use super::rotation_rules::{self, Rotation};
use super::route::Edge;
use super::view::{View, control};
use super::{lookup, payload_rules, rules};

const FILTER_KEYS: [&str; 4] = ["id", "label", "name", "names"];

/// The kind whose paths begin with that word.
pub(super) fn kind_of(path: &str) -> Result<PayloadKind, ApiError> {
    match path {
        "secrets" => Ok(PayloadKind::Secret),
        "configs" => Ok(PayloadKind::Config),
        _ => Err(ApiError::not_found(PAGE_NOT_FOUND)),
    }
}

pub(super) async fn list(edge: &Edge, call: &Call, kind: PayloadKind) -> Answer {
    let filters = Filters::parse(call.query.get("filters"), &FILTER_KEYS)?;
    let view = View::of(&*edge.host, &call.query).await?;
    let payloads = view.tables.payloads.iter();
    let wanted = payloads.filter(|payload| payload.kind == kind && matches(&filters, payload));
    Ok(view.mark(exchange::json_list(wanted.cloned().collect(), payload_to_api)))
}

pub(super) async fn inspect(edge: &Edge, call: &Call, kind: PayloadKind, name: &str) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    let payload: Arc<Payload> = lookup::payload(&view.tables, kind, name)?;
    Ok(view.mark(exchange::json(&payload_to_api(&payload))?))
}

pub(super) async fn create(edge: &Edge, call: &mut Call, kind: PayloadKind) -> Answer {
    let spec: ApiPayloadSpec = call.json(&edge.large_bodies).await?;
    let asked = payload_spec_from_api(kind, spec)?;
    let control = control(&*edge.host)?;
    let id = PayloadId::generate(&mut SystemRandom);
    change(&*control, |tables| {
        Ok((vec![payload_rules::create(tables, id, kind, asked.clone(), control.now())?], ()))
    })
    .await
    .map_err(|error| if error.is_conflict() { payload_rules::taken(kind, &asked.0.name) } else { error })?;
    exchange::created(&PayloadCreated { id: id.to_string() })
}

pub(super) async fn update(edge: &Edge, call: &mut Call, kind: PayloadKind, name: &str) -> Answer {
    let read_at = rules::version(&kind.to_string(), call.query.get("version"))?;
    let spec: ApiPayloadSpec = call.json(&edge.large_bodies).await?;
    let asked = payload_spec_from_api(kind, spec)?;
    let control = control(&*edge.host)?;
    change(&*control, |tables| {
        let payload = lookup::payload(tables, kind, name)?;
        Ok((vec![payload_rules::update(&payload, read_at, asked.clone())?], ()))
    })
    .await?;
    Ok(exchange::done())
}

pub(super) async fn remove(edge: &Edge, kind: PayloadKind, name: &str) -> Answer {
    let control = control(&*edge.host)?;
    change(&*control, |tables| {
        Ok((vec![payload_rules::remove(tables, &*lookup::payload(tables, kind, name)?)?], ()))
    })
    .await?;
    Ok(exchange::nothing())
}

/// `POST /swarm/x/{secrets,configs}/{name}/rotate`.
pub(super) async fn rotate(edge: &Edge, call: &mut Call, kind: PayloadKind, name: &str) -> Answer {
    let request: RotateRequest = call.json(&edge.large_bodies).await?;
    let data = payload_data_from_api(kind, request)?;
    let control = control(&*edge.host)?;
    let mut rotation = Rotation::default();
    let mut id = None::<String>;
    while !rotation.whole {
        let next = change(&*control, |tables| {
            let payload = lookup::payload(tables, kind, id.as_deref().unwrap_or(name))?;
            let (changes, next) = rotation_rules::step(tables, &payload, &data, &rotation, control.now())?;
            Ok((changes, (payload.id, next)))
        });
        let (found, next) = next.await?;
        id = Some(found.to_string());
        rotation = next;
    }
    let services = rotation.rolled.into_iter().map(|(id, name)| RotatedService { id: id.to_string(), name });
    exchange::json(&Rotated { version: rotation.number, services: services.collect() })
}

/// `GET /swarm/x/{secrets,configs}/{name}/history`.
pub(super) async fn history(edge: &Edge, call: &Call, kind: PayloadKind, name: &str) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    let payload = lookup::payload(&view.tables, kind, name)?;
    Ok(view.mark(exchange::json(&rotation_rules::history(&view.tables, &payload))?))
}

fn matches(filters: &Filters, payload: &Payload) -> bool {
    filters.prefix("id", &payload.id.to_string())
        && filters.prefix("name", &payload.spec.name)
        && filters.any("names", |name| name == payload.spec.name)
        && filters.labels("label", &payload.spec.labels)
}
