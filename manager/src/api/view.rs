//! What a read sees: the leader's state, or this manager's own when the client asks for that.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::Response;
use hyper::header::HeaderValue;

use super::error::{
    ApiError, CERTIFICATES_EXPIRED, LOCKED, MANAGER_NOT_READY, MANAGER_STOPPED, NOT_A_MANAGER, NOT_IN_A_SWARM,
};
use super::exchange::Body;
use super::host::{Control, Host, HostStatus, LocalState};
use super::target::{Query, shortened};
use crate::store::Tables;
use common::object::Role;

pub(super) struct View {
    pub tables: Tables,
    pub control: Arc<dyn Control>,
    consistency: Consistency,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Consistency {
    Linearizable,
    Local,
}

impl View {
    /// `?consistency=local` answers at once and without a leader; anything else is as of now, or an error.
    pub async fn of(host: &dyn Host, query: &Query) -> Result<Self, ApiError> {
        let consistency = match query.get("consistency") {
            "" | "linearizable" => Consistency::Linearizable,
            "local" => Consistency::Local,
            other => {
                return Err(ApiError::invalid(format!(
                    "invalid consistency '{}': use linearizable or local",
                    shortened(other)
                )));
            }
        };
        let control = control(host)?;
        let tables = match consistency {
            Consistency::Linearizable => control.read().await?,
            Consistency::Local => control.local(),
        };
        Ok(Self { tables, control, consistency })
    }

    /// Says in headers that an answer may be old.
    pub fn mark(&self, mut response: Response<Body>) -> Response<Body> {
        if self.consistency == Consistency::Local {
            let headers = response.headers_mut();
            headers.insert("Swarm-Consistency", HeaderValue::from_static("local"));
            if self.control.leader().is_none() {
                headers.insert("Swarm-Stale", HeaderValue::from_static("true"));
            }
        }
        response
    }
}

/// The cluster, or why this node cannot speak for one.
pub(super) fn control(host: &dyn Host) -> Result<Arc<dyn Control>, ApiError> {
    host.manager().ok_or_else(|| ApiError::unavailable(why_no_control(&host.status())))
}

fn why_no_control(status: &HostStatus) -> Cow<'static, str> {
    let sentence = match (&status.state, status.role) {
        (LocalState::Locked, _) => LOCKED,
        (LocalState::Error(reason), _) if reason == CERTIFICATES_EXPIRED => CERTIFICATES_EXPIRED,
        // Docker says here that the manager is being prepared; it is not.
        (LocalState::Error(reason), _) => return format!("{MANAGER_STOPPED} {reason}").into(),
        (LocalState::Inactive, _) | (_, None) => NOT_IN_A_SWARM,
        (_, Some(Role::Manager)) => MANAGER_NOT_READY,
        (_, Some(Role::Worker)) => NOT_A_MANAGER,
    };
    sentence.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_sentence() {
        let expired = LocalState::Error(CERTIFICATES_EXPIRED.into());
        let broken = || LocalState::Error("a disk is full".into());
        #[rustfmt::skip]
        let cases = [ // state, role, sentence
            (LocalState::Inactive, None,                NOT_IN_A_SWARM),
            (LocalState::Pending,  None,                NOT_IN_A_SWARM),
            (LocalState::Pending,  Some(Role::Manager), MANAGER_NOT_READY),
            (LocalState::Active,   Some(Role::Manager), MANAGER_NOT_READY),
            (LocalState::Active,   Some(Role::Worker),  NOT_A_MANAGER),
            (LocalState::Locked,   Some(Role::Manager), LOCKED),
            (expired,              Some(Role::Worker),  CERTIFICATES_EXPIRED),
            (broken(),             Some(Role::Manager), "This node is not a swarm manager. It cannot go on: a disk is full"),
            (broken(),             None,                "This node is not a swarm manager. It cannot go on: a disk is full"),
        ];
        for (state, role, sentence) in cases {
            let status = HostStatus { state, role, ..HostStatus::default() };
            assert_eq!(why_no_control(&status), sentence, "{status:?}");
        }
    }
}
