//! `/swarm`: make, join, leave, look at and set up a cluster.

use std::future::Future;
use std::sync::Arc;

use common::engine_api::convert::{cluster_spec_from_api, cluster_to_api};
use common::engine_api::swarm::{InitRequest, JoinRequest, SwarmSpec, UnlockKey as UnlockKeyBody};
use common::identity::UnlockKey;
use common::limits::API_REQUEST_TIME_MAX;
use common::object::cluster::Authority;
use common::object::sensitive::Sensitive;
use common::object::{AccessRole, Cluster, ClusterSpec, Role};
use common::random::SystemRandom;
use common::report::Report;

use super::change::change;
use super::error::{
    ALREADY_MEMBER, ApiError, JOIN_TIMEOUT, LEAVE_TIMEOUT, LOCKED, NOT_A_MEMBER, NOT_LOCKED, UNLOCK_TIMEOUT,
};
use super::exchange::{self, Answer, Call};
use super::host::{Control, Host, LocalState};
use super::nodes::reachable;
use super::route::Edge;
use super::view::{View, control};
use super::{requests, rules};
use crate::ca::rotate::{self, Plan, RotateError, Wish};
use crate::store::Tables;

pub(super) async fn inspect(edge: &Edge, call: &Call) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    // The tokens let nodes in, and managers at that.
    let cluster = cluster_to_api(cluster(&view.tables)?, call.role >= AccessRole::Admin)?;
    Ok(view.mark(exchange::json(&cluster)?))
}

pub(super) async fn init(edge: &Edge, call: &mut Call) -> Answer {
    let request: InitRequest = call.json(&edge.large_bodies).await?;
    let init = requests::init(request)?;
    match edge.host.status().state {
        // What is pending may come to nothing: the host puts one after the other, and knows then.
        LocalState::Inactive | LocalState::Pending => {}
        LocalState::Locked if init.force_new_cluster => return Err(ApiError::unavailable(LOCKED)),
        LocalState::Active | LocalState::Error(_) if init.force_new_cluster => {}
        LocalState::Active | LocalState::Error(_) | LocalState::Locked => {
            return Err(ApiError::unavailable(ALREADY_MEMBER));
        }
    }
    let host = edge.host.clone();
    let node = to_the_end(edge, JOIN_TIMEOUT, async move { host.init(init).await }).await?;
    exchange::json(&node.to_string())
}

pub(super) async fn join(edge: &Edge, call: &mut Call) -> Answer {
    let request: JoinRequest = call.json(&edge.large_bodies).await?;
    match edge.host.status().state {
        LocalState::Inactive | LocalState::Pending => {}
        LocalState::Active | LocalState::Error(_) | LocalState::Locked => {
            return Err(ApiError::unavailable(ALREADY_MEMBER));
        }
    }
    let join = requests::join(request)?;
    let host = edge.host.clone();
    to_the_end(edge, JOIN_TIMEOUT, async move { host.join(join).await }).await?;
    Ok(exchange::done())
}

pub(super) async fn leave(edge: &Edge, call: &Call) -> Answer {
    let force = call.query.flag("force");
    let status = edge.host.status();
    if status.state == LocalState::Inactive {
        return Err(ApiError::unavailable(NOT_A_MEMBER));
    }
    if !force {
        if status.state == LocalState::Locked {
            return Err(ApiError::unavailable(
                "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.",
            ));
        }
        may_leave(&*edge.host, status.role)?;
    }
    let host = edge.host.clone();
    to_the_end(edge, LEAVE_TIMEOUT, async move { host.leave(force).await }).await?;
    Ok(exchange::done())
}

fn may_leave(host: &dyn Host, role: Option<Role>) -> Result<(), ApiError> {
    match (host.manager(), role) {
        (Some(control), _) => {
            // What this manager has is enough to warn by, and there where nothing else answers.
            let tables = control.local();
            let reachable = reachable(&tables, &*control);
            Err(ApiError::unavailable(rules::refuse_leave(Some((&tables, &reachable)))))
        }
        (None, Some(Role::Manager)) => Err(ApiError::unavailable(rules::refuse_leave(None))),
        (None, Some(Role::Worker) | None) => Ok(()),
    }
}

pub(super) async fn update(edge: &Edge, call: &mut Call) -> Answer {
    let read_at = rules::version("swarm", call.query.get("version"))?;
    let worker = call.query.strict_flag("rotateWorkerToken")?;
    let manager = call.query.strict_flag("rotateManagerToken")?;
    let unlock_key = call.query.strict_flag("rotateManagerUnlockKey")?;
    let mut spec: SwarmSpec = call.json(&edge.large_bodies).await?;
    let control = control(&*edge.host)?;
    let tables = control.read().await?;
    let cluster = cluster(&tables)?;
    // As in Docker the document is the whole spec, and what it leaves out is the default. Docker's clients do not
    // know our members, so those stay.
    let base = ClusterSpec { liveness: cluster.spec.liveness, ..ClusterSpec::default() };
    let certificate_pem = spec.ca_config.signing_ca_cert.clone();
    let key_pem = Sensitive::new(std::mem::take(&mut spec.ca_config.signing_ca_key));
    let spec = cluster_spec_from_api(spec, base)?;
    if unlock_key && !spec.autolock_managers {
        return Err(ApiError::invalid("cannot rotate because autolock is not turned on"));
    }
    let locks = spec.autolock_managers && (unlock_key || cluster.at_rest.unlock_key.is_none());
    let force = spec.force_rotate != cluster.spec.force_rotate;
    let wish = Wish { certificate_pem: &certificate_pem, key_pem: &key_pem, force };
    let authority = next_authority(&*control, cluster, &spec, &wish).await?;
    let of = authority.as_ref().unwrap_or(&cluster.authority);
    let token = || control.new_join_token(of);
    let rotation = rules::Rotation {
        worker_token: worker.then(token).transpose()?,
        manager_token: manager.then(token).transpose()?,
        unlock_key: locks.then(|| UnlockKey::generate(&mut SystemRandom).to_text()),
        authority,
    };
    control.propose(vec![rules::update_cluster(cluster, read_at, spec, rotation)?]).await?;
    Ok(exchange::done())
}

/// What becomes of the root of trust; none when it stays as it is.
async fn next_authority(
    control: &dyn Control,
    cluster: &Cluster,
    spec: &ClusterSpec,
    wish: &Wish<'_>,
) -> Result<Option<Authority>, ApiError> {
    let present = &cluster.authority;
    let external = &spec.external_authorities;
    match rotate::plan(present, wish, external, control.now()) {
        Ok(Plan::Keep) => Ok(None),
        Ok(Plan::Become(authority)) => Ok(Some(authority)),
        Ok(Plan::BecomeExternal { authority, root_pem }) => {
            let outside = rotate::signs_for(external, &root_pem, &present.certificate_pem).collect();
            match control.try_external(outside, &root_pem).await {
                Ok(()) => Ok(Some(authority)),
                Err(reason) => Err(ApiError::invalid(format!("{}: {reason}", RotateError::NobodySigns))),
            }
        }
        Err(error @ RotateError::Make(_)) => Err(ApiError::internal(Report(&error).to_string())),
        Err(error) => Err(ApiError::invalid(Report(&error).to_string())),
    }
}

/// The key as of now: an older one would not open what is locked next. Empty where managers do not lock.
pub(super) async fn unlock_key(edge: &Edge) -> Answer {
    let tables = control(&*edge.host)?.read().await?;
    let key = cluster(&tables)?.at_rest.unlock_key.as_ref();
    exchange::json(&UnlockKeyBody { unlock_key: key.map(|key| key.reveal().into()).unwrap_or_default() })
}

pub(super) async fn unlock(edge: &Edge, call: &mut Call) -> Answer {
    if edge.host.status().state != LocalState::Locked {
        control(&*edge.host)?;
        return Err(ApiError::conflict(NOT_LOCKED));
    }
    let body: UnlockKeyBody = call.json(&edge.large_bodies).await?;
    let key = UnlockKey::parse(&body.unlock_key).map_err(|error| ApiError::invalid(error.to_string()))?;
    let host = edge.host.clone();
    to_the_end(edge, UNLOCK_TIMEOUT, async move { host.unlock(key).await }).await?;
    Ok(exchange::done())
}

/// Has every manager make a new data key; each does so in its own time, and says in `/swarm/x/raft` when it has.
pub(super) async fn rotate_data_keys(edge: &Edge) -> Answer {
    let control = control(&*edge.host)?;
    change(&*control, |tables| Ok((vec![rules::rotate_data_keys(cluster(tables)?)], ()))).await?;
    Ok(exchange::done())
}

/// Carries out `change` to its end, whether or not somebody waits for it, and waits a while.
async fn to_the_end<T: Send + 'static>(
    edge: &Edge,
    too_late: &'static str,
    change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let running = edge.tasks.spawn(change);
    match tokio::time::timeout(API_REQUEST_TIME_MAX, running).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(ApiError::internal("the node stopped meanwhile")),
        Err(_) => Err(ApiError::unavailable(too_late)),
    }
}

fn cluster(tables: &Tables) -> Result<&Arc<Cluster>, ApiError> {
    tables.cluster().ok_or_else(|| ApiError::not_found("the cluster has no settings yet"))
}
