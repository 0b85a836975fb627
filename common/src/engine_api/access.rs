//! Our own paths about who may use the API and what they did: `/swarm/x/client-certs`, `/swarm/x/audit`.

use serde::{Deserialize, Serialize};

/// `POST /swarm/x/client-certs`. The key stays with whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClientCertRequest {
    pub name: String,
    pub role: String,
    /// For how long, in nanoseconds as everywhere in this API; 0 means 30 days.
    pub valid_for: i64,
    /// A signing request, PEM.
    #[serde(rename = "CSR")]
    pub csr: String,
}

/// What comes back: the certificate, and by which authorities to know managers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClientCertIssued {
    pub serial: String,
    pub expires: String,
    pub certificate: String,
    #[serde(rename = "CA")]
    pub ca: String,
}

/// One of `GET /swarm/x/client-certs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClientCert {
    pub serial: String,
    pub name: String,
    pub role: String,
    pub issued: String,
    pub expires: String,
    /// Empty unless it was.
    pub revoked: String,
    /// `valid`, `revoked` or `expired`.
    pub state: String,
}

/// `DELETE /swarm/x/client-certs/{name or serial}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClientCertsRevoked {
    pub serials: Vec<String>,
}

/// One line of the audit record. It never holds a body, a token or a secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuditRecord {
    /// When it began.
    pub time: String,
    /// The request's own number, which its answer has in `Swarm-Request-Id`.
    #[serde(rename = "ID")]
    pub id: String,
    /// The node that was asked.
    pub node: String,
    pub who: AuditWho,
    /// The socket or address it came from.
    pub from: String,
    /// In words: `service create`, `node join`.
    pub action: String,
    pub method: String,
    /// Without its query, in which secrets may be.
    pub path: String,
    /// The members of the query that say what was asked for, and hold no secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    pub object: AuditObject,
    /// `done`, `refused`, `failed`, or `abandoned` where the caller went away before the answer.
    pub outcome: String,
    /// What was answered; 0 where nothing was.
    pub status: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// In milliseconds.
    pub duration: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuditWho {
    /// `user` of the local socket, `client` with a certificate, `node`, or `stranger`.
    pub kind: String,
    /// The user's or the certificate's name, or the node's id.
    pub name: String,
    pub role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serial: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuditObject {
    pub kind: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
}

/// `GET /swarm/x/audit`: the newest records that match, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuditAnswer {
    pub records: Vec<AuditRecord>,
    /// What is not there and should be, in words: damaged lines, managers that did not answer.
    pub missing: Vec<String>,
}
