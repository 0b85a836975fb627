//! Messages of the join protocol, the only one that callers without a certificate may speak,
//! and of certificate renewal, which is the same request by a node that has one.

use serde::{Deserialize, Serialize};

use crate::object::cluster::AtRest;
use crate::object::{Availability, ClusterId, LivenessPreset, NodeId, Role};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum JoinRequest {
    /// "Who are you?": the answer is checked against the digest in the token before anything secret is sent.
    RootCertificate,
    /// "Let me in": sent over a connection whose far end has proved to hold that root.
    Certificate(CertificateRequest),
}

#[derive(Clone, Serialize, Deserialize)]
pub struct CertificateRequest {
    /// Certificate signing request, DER. Only its public key is used.
    pub csr: Vec<u8>,
    pub token: String,
    pub availability: Availability,
}

impl std::fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateRequest").field("availability", &self.availability).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum JoinResponse {
    RootCertificate {
        pem: String,
    },
    Certificate(IssuedCertificate),
    /// In words for the person who typed `swarm join`.
    Refused {
        reason: String,
    },
    /// This manager cannot answer now: no leader. Worth asking again.
    TryAgain {
        reason: String,
    },
}

/// A certificate and what the node needs to know to use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssuedCertificate {
    pub certificate_pem: String,
    pub root_pem: String,
    pub node: NodeId,
    pub cluster: ClusterId,
    pub role: Role,
    /// Managers known at this moment: where to knock first.
    pub managers: Vec<KnownManager>,
    /// How patient the cluster is: the same everywhere.
    pub liveness: LivenessPreset,
    /// Of managers: how they keep their data. It comes before they have any, so that nothing of it lies there unlocked.
    pub at_rest: Option<AtRest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownManager {
    pub node: NodeId,
    pub addr: String,
}

/// A node with a certificate asks for its next one. The role in the answer is the one the store grants now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    pub csr: Vec<u8>,
}
