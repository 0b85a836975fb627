//! `/swarm/x/client-certs`: who may use the API from afar. And `/swarm/x/audit`: what was done through it.

use std::time::Duration;

use common::engine_api::access::{ClientCert, ClientCertIssued, ClientCertRequest, ClientCertsRevoked};
use common::identity::client::request_from_pem;
use common::limits::{CLIENT_EXPIRY_MAX, CLIENT_EXPIRY_MIN};
use common::object::client::{check_client_name, find_clients, with_client};
use common::object::{AccessRole, ClientRecord, ClientSerial, Cluster};
use common::random::SystemRandom;
use common::report::Report;
use common::time::Timestamp;

use super::change::change;
use super::error::ApiError;
use super::exchange::{self, Answer, Call};
use super::moment::parse_moment;
use super::note::Made;
use super::route::Edge;
use super::target::shortened;
use super::view::{View, control};
use crate::audit::select::{OUTCOMES, Selection, merged};
use crate::ca::clients::{issue_client, trusted_roots};
use crate::store::{Change, Write};

const VALID_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn create(edge: &Edge, call: &mut Call) -> Answer {
    let request: ClientCertRequest = call.json(&edge.large_bodies).await?;
    let role: AccessRole = request
        .role
        .parse()
        .map_err(|error: common::object::UnknownWord| ApiError::invalid(error.to_string()))?;
    let valid_for = valid_for(request.valid_for)?;
    check_client_name(&request.name).map_err(|error| ApiError::invalid(error.to_string()))?;
    let csr = request_from_pem(&request.csr).map_err(|error| ApiError::invalid(error.to_string()))?;
    let control = control(&*edge.host)?;
    let serial = ClientSerial::generate(&mut SystemRandom);
    let (certificate, ca, expires) = change(&*control, |tables| {
        let cluster = tables.cluster().ok_or_else(no_cluster)?;
        let now = control.now().max(tables.newest);
        let record = ClientRecord {
            name: request.name.clone(),
            role,
            issued: now,
            expires: now.plus(valid_for),
            revoked: None,
        };
        let certificate = issue_client(cluster, &csr, serial, &record).map_err(|error| {
            ApiError::internal(format!("cannot issue a client certificate: {}", Report(&error)))
        })?;
        let expires = record.expires;
        let clients = with_client(&cluster.clients, serial, record, now)
            .map_err(|error| ApiError::conflict(error.to_string()))?;
        let next = Cluster { clients, ..Cluster::clone(cluster) };
        Ok((vec![Change::Cluster(Write::update(next))], (certificate, trusted_roots(cluster), expires)))
    })
    .await?;
    let issued =
        ClientCertIssued { serial: serial.to_string(), expires: expires.to_rfc3339(), certificate, ca };
    let mut response = exchange::created(&issued)?;
    response.extensions_mut().insert(Made(issued.serial));
    Ok(response)
}

fn valid_for(nanoseconds: i64) -> Result<Duration, ApiError> {
    let asked = match u64::try_from(nanoseconds) {
        Ok(0) => VALID_FOR,
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        Err(_) => Duration::ZERO,
    };
    if (CLIENT_EXPIRY_MIN..=CLIENT_EXPIRY_MAX).contains(&asked) {
        return Ok(asked);
    }
    Err(ApiError::invalid(format!(
        "a client certificate lasts from {} s to {} days",
        CLIENT_EXPIRY_MIN.as_secs(),
        CLIENT_EXPIRY_MAX.as_secs() / 86_400
    )))
}

pub(super) async fn list(edge: &Edge, call: &Call) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    let now = view.control.now();
    let cluster = view.tables.cluster().ok_or_else(no_cluster)?;
    let shown = |(serial, record): (&ClientSerial, &ClientRecord)| ClientCert {
        serial: serial.to_string(),
        name: record.name.clone(),
        role: record.role.to_string(),
        issued: record.issued.to_rfc3339(),
        expires: record.expires.to_rfc3339(),
        revoked: record.revoked.map(Timestamp::to_rfc3339).unwrap_or_default(),
        state: record.state(now).as_str().into(),
    };
    let certs: Vec<ClientCert> = cluster.clients.iter().map(shown).collect();
    Ok(view.mark(exchange::json(&certs)?))
}

pub(super) async fn revoke(edge: &Edge, text: &str) -> Answer {
    let control = control(&*edge.host)?;
    let serials = change(&*control, |tables| {
        let cluster = tables.cluster().ok_or_else(no_cluster)?;
        let found = find_clients(&cluster.clients, text);
        if found.is_empty() {
            return Err(ApiError::not_found(format!(
                "no client certificate {} that is not revoked already",
                shortened(text)
            )));
        }
        let mut next = Cluster::clone(cluster);
        let now = control.now().max(tables.newest);
        for serial in &found {
            if let Some(record) = next.clients.get_mut(serial) {
                record.revoked.get_or_insert(now);
            }
        }
        Ok((vec![Change::Cluster(Write::update(next))], found))
    })
    .await?;
    exchange::json(&ClientCertsRevoked { serials: serials.iter().map(ToString::to_string).collect() })
}

fn no_cluster() -> ApiError {
    ApiError::not_found("the cluster has no settings yet")
}

pub(super) async fn audit(edge: &Edge, call: &Call) -> Answer {
    let query = &call.query;
    let number = |text: &str| {
        text.parse().map_err(|_| ApiError::invalid(format!("invalid limit '{}'", shortened(text))))
    };
    let outcome = query.get("outcome");
    if !outcome.is_empty() && !OUTCOMES.contains(&outcome) {
        return Err(ApiError::invalid(format!(
            "invalid outcome '{}': use {}",
            shortened(outcome),
            OUTCOMES.join(", ")
        )));
    }
    let selection = Selection {
        since: parse_moment("since", query.get("since"))?,
        until: parse_moment("until", query.get("until"))?,
        user: query.get("user").into(),
        object: query.get("object").into(),
        outcome: outcome.into(),
        limit: match query.get("limit") {
            "" => Selection::default().limit,
            text => number(text)?,
        },
    }
    .bounded();
    let here = edge.audit.read(selection.clone()).await;
    let only_here = query.flag("local");
    let elsewhere = match edge.host.manager().filter(|_| !only_here) {
        Some(control) => control.audit_elsewhere(selection.clone()).await,
        None => Vec::new(),
    };
    let limit = selection.limit;
    exchange::json(&merged(std::iter::once(here).chain(elsewhere).collect(), limit))
}
