//! Who is asking: a user of the local socket, or the holder of a client certificate; and whether it may still ask.

use std::net::SocketAddr;

use common::engine_api::access::AuditWho;
use common::identity::{ClientCertificate, NodeCertificate};
use common::object::client::ClientState;
use common::object::{AccessRole, ClientSerial};
use common::time::Timestamp;
use hyper::StatusCode;

use super::error::ApiError;
use crate::store::Tables;

/// One end of a connection, for as long as it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The socket or the address.
    pub from: String,
    pub who: Who,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// By the socket, whose mode says who may open it. What the kernel says of the process.
    User {
        uid: Option<u32>,
        gid: Option<u32>,
        pid: Option<i32>,
    },
    Client {
        serial: ClientSerial,
        name: String,
        role: AccessRole,
    },
    /// A certificate of this cluster that is nobody's to use the API with: whose, in words.
    Other {
        name: String,
    },
}

impl Caller {
    pub fn of_socket(path: &str, stream: &tokio::net::UnixStream) -> Self {
        let peer = stream.peer_cred().ok();
        let who = Who::User {
            uid: peer.map(|peer| peer.uid()),
            gid: peer.map(|peer| peer.gid()),
            pid: peer.and_then(|peer| peer.pid()),
        };
        Self { from: path.into(), who }
    }

    /// Reads a certificate whose chain TLS has checked.
    pub fn of_certificate(addr: SocketAddr, der: &[u8]) -> Self {
        let who = match (ClientCertificate::from_der(der), NodeCertificate::from_der(der)) {
            (Ok(facts), _) => Who::Client { serial: facts.serial, name: facts.name, role: facts.role },
            (Err(_), Ok(facts)) => Who::Other { name: format!("node {}", facts.node) },
            (Err(_), Err(_)) => Who::Other { name: "nobody".into() },
        };
        Self { from: SocketAddr::new(addr.ip().to_canonical(), addr.port()).to_string(), who }
    }

    pub fn role(&self) -> Option<AccessRole> {
        match &self.who {
            Who::User { .. } => Some(AccessRole::Admin),
            Who::Client { role, .. } => Some(*role),
            Who::Other { .. } => None,
        }
    }

    pub fn serial(&self) -> Option<ClientSerial> {
        match &self.who {
            Who::Client { serial, .. } => Some(*serial),
            Who::User { .. } | Who::Other { .. } => None,
        }
    }

    /// Whether the record says that this caller may ask at all. Users of the socket always may.
    pub fn check(&self, tables: Option<&Tables>, now: Timestamp) -> Result<(), ApiError> {
        let refused = |reason: String| Err(ApiError::new(StatusCode::FORBIDDEN, reason));
        let (serial, name, role) = match &self.who {
            Who::User { .. } => return Ok(()),
            Who::Other { name } => {
                return refused(format!(
                    "the certificate of {name} is not a client certificate: use one made by `swarm client-cert create`"
                ));
            }
            Who::Client { serial, name, role } => (serial, name, role),
        };
        let Some(cluster) = tables.and_then(|tables| tables.cluster()) else {
            return Err(ApiError::unavailable(
                "this node is not a manager (any more), so it cannot tell which client certificates are good: ask a manager",
            ));
        };
        let record =
            cluster.clients.get(serial).filter(|record| record.name == *name && record.role == *role);
        match record.map(|record| (record.state(now), record.revoked)) {
            Some((ClientState::Valid, _)) => Ok(()),
            Some((ClientState::Revoked, at)) => refused(format!(
                "the client certificate {serial} of {name} was revoked at {}",
                at.unwrap_or_default()
            )),
            Some((ClientState::Expired, _)) => {
                refused(format!("the client certificate {serial} of {name} has expired"))
            }
            None => {
                refused(format!("the client certificate {serial} of {name} is not on this cluster's record"))
            }
        }
    }

    /// What is written down of it.
    pub fn recorded(&self) -> AuditWho {
        match &self.who {
            Who::User { uid, gid, pid } => AuditWho {
                kind: "user".into(),
                role: AccessRole::Admin.to_string(),
                uid: *uid,
                gid: *gid,
                pid: *pid,
                ..AuditWho::default()
            },
            Who::Client { serial, name, role } => AuditWho {
                kind: "client".into(),
                name: name.clone(),
                role: role.to_string(),
                serial: serial.to_string(),
                ..AuditWho::default()
            },
            Who::Other { name } => match name.strip_prefix("node ") {
                Some(node) => AuditWho { kind: "node".into(), name: node.into(), ..AuditWho::default() },
                None => AuditWho { kind: "stranger".into(), name: name.clone(), ..AuditWho::default() },
            },
        }
    }
}

/// Refuses a caller whose role is not enough.
pub(super) fn need(caller: &Caller, least: AccessRole, what: &str) -> Result<(), ApiError> {
    match caller.role() {
        Some(role) if role >= least => Ok(()),
        role => {
            let role = role.map_or("none", AccessRole::as_str);
            Err(ApiError::new(
                StatusCode::FORBIDDEN,
                format!(
                    "{what} needs the role {least}, and this certificate has {role}: ask an admin of the cluster"
                ),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Proposal, Store, Write};
    use common::object::cluster::Authority;
    use common::object::sensitive::Sensitive;
    use common::object::{ClientRecord, Cluster, ClusterId};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);

    fn tables() -> Tables {
        let secret = || Sensitive::new(String::new());
        let record = |name: &str, expires: u64, revoked: Option<Timestamp>| ClientRecord {
            name: name.into(),
            role: AccessRole::Operator,
            issued: NOW,
            expires: NOW.plus(Duration::from_secs(expires)),
            revoked,
        };
        let cluster = Cluster {
            clients: [
                (ClientSerial(1), record("alice", 100, None)),
                (ClientSerial(2), record("alice", 100, Some(NOW))),
                (ClientSerial(3), record("alice", 5, None)),
            ]
            .into(),
            ..Cluster::new(ClusterId(1), Authority::new(String::new(), secret(), secret(), secret()))
        };
        let store = Store::new();
        let changes = vec![Change::Cluster(Write::Create(cluster))];
        store.apply(1, &Proposal { id: 1, at: NOW, changes }).expect("an empty store");
        store.snapshot()
    }

    fn client(serial: u128, name: &str, role: AccessRole) -> Caller {
        Caller {
            from: String::new(),
            who: Who::Client { serial: ClientSerial(serial), name: name.into(), role },
        }
    }

    #[test]
    fn who_is_not_on_record_as_it_says_is_refused() {
        let (tables, now) = (tables(), NOW.plus(Duration::from_secs(10)));
        use AccessRole::{Admin, Operator};
        #[rustfmt::skip]
        let cases = [
            (client(1, "alice", Operator), ""),
            (client(1, "alice", Admin),    "is not on this cluster's record"), // the record's role counts
            (client(1, "bob", Operator),   "is not on this cluster's record"),
            (client(9, "alice", Operator), "is not on this cluster's record"),
            (client(2, "alice", Operator), "was revoked at"),
            (client(3, "alice", Operator), "has expired"),
            (Caller { from: String::new(), who: Who::Other { name: "node x".into() } }, "is not a client certificate"),
            (Caller { from: String::new(), who: Who::User { uid: None, gid: None, pid: None } }, ""),
        ];
        for (caller, expected) in cases {
            match caller.check(Some(&tables), now) {
                Ok(()) => assert_eq!(expected, "", "{caller:?}"),
                Err(error) => {
                    assert!(!expected.is_empty() && error.message.contains(expected), "{caller:?}: {error}");
                    assert_eq!(error.status, StatusCode::FORBIDDEN);
                }
            }
        }
        let nowhere = client(1, "alice", Operator).check(None, now).expect_err("no manager");
        assert_eq!(nowhere.status, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_role_that_is_not_enough_is_told_which_is() {
        for (role, least, enough) in [
            (AccessRole::Viewer, AccessRole::Viewer, true),
            (AccessRole::Viewer, AccessRole::Operator, false),
            (AccessRole::Operator, AccessRole::Admin, false),
            (AccessRole::Admin, AccessRole::Operator, true),
        ] {
            let told = need(&client(1, "alice", role), least, "GET /x");
            assert_eq!(told.is_ok(), enough);
            assert!(
                told.err().is_none_or(|error| error.message.contains(&format!("needs the role {least}")))
            );
        }
    }
}
