//! Answers callers who want a certificate: with a token on the join endpoint, or with the one they have.

use common::identity::authority::RootAuthority;
use common::limits::{FRAME_BYTES_MAX, JOIN_FRAME_BYTES_MAX, JOIN_REQUEST_WAIT};
use common::object::{Cluster, Node, NodeId, Role};
use common::random::SystemRandom;
use common::report::Report;
use common::transport::{PeerIdentity, Stream};
use common::wire::frame::{FrameError, expect_message, write_message};
use common::wire::join::{CertificateRequest, IssuedCertificate, JoinRequest, JoinResponse, RenewRequest};
use tracing::{info, warn};

use super::admit::role_of_token;
use crate::dispatch::session::known_managers;
use crate::forward::{Forward, ForwardError};
use crate::store::{Change, Write};

/// What an answer came to, for the audit record.
pub struct Told {
    /// None where nothing was decided.
    pub outcome: Option<&'static str>,
    /// The node it is about, where there is one.
    pub node: String,
    pub error: String,
}

impl Told {
    fn of(response: &JoinResponse) -> Self {
        let (outcome, node, error) = match response {
            JoinResponse::Certificate(issued) => (Some("done"), issued.node.to_string(), String::new()),
            JoinResponse::Refused { reason } => (Some("refused"), String::new(), reason.clone()),
            _ => (None, String::new(), String::new()),
        };
        Self { outcome, node, error }
    }
}

/// Answers one caller without certificate.
pub async fn serve_join(forward: &Forward, stream: &mut Stream) -> Result<Told, FrameError> {
    let request =
        tokio::time::timeout(JOIN_REQUEST_WAIT, expect_message(&mut stream.recv, JOIN_FRAME_BYTES_MAX));
    let response = match request.await.map_err(|_| FrameError::Ended)?? {
        JoinRequest::RootCertificate => root_certificate(forward),
        JoinRequest::Certificate(request) => join(forward, request).await,
    };
    let told = Told::of(&response);
    write_message(&mut stream.send, &response).await.map(|()| told)
}

/// Answers a node that wants its next certificate.
pub async fn serve_renew(
    forward: &Forward,
    from: &PeerIdentity,
    stream: &mut Stream,
) -> Result<Told, FrameError> {
    let RenewRequest { csr } = expect_message(&mut stream.recv, FRAME_BYTES_MAX).await?;
    let response = renew(forward, from, &csr).await;
    let told = Told::of(&response);
    write_message(&mut stream.send, &response).await.map(|()| told)
}

fn root_certificate(forward: &Forward) -> JoinResponse {
    match forward.store.snapshot().cluster() {
        Some(cluster) => JoinResponse::RootCertificate { pem: cluster.authority.certificate_pem.clone() },
        None => JoinResponse::TryAgain { reason: "this manager has yet to learn of its cluster".into() },
    }
}

async fn join(forward: &Forward, request: CertificateRequest) -> JoinResponse {
    // As of now on the leader: a token that was rotated a moment ago lets nobody in.
    if let Err(error) = forward.catch_up().await {
        return no_leader(&error);
    }
    let Some(cluster) = forward.store.snapshot().cluster().cloned() else { return root_certificate(forward) };
    let role = match role_of_token(&cluster, &request.token) {
        Ok(role) => role,
        Err(refusal) => {
            warn!(reason = %refusal, "join refused");
            return JoinResponse::Refused { reason: refusal.to_string() };
        }
    };
    let node = NodeId::generate(&mut SystemRandom);
    let issued = match issue(forward, &cluster, node, role, &request.csr) {
        Ok(issued) => issued,
        Err(refused) => return refused,
    };
    let create = Change::Node(Write::Create(Node::new(node, role, request.availability)));
    match forward.propose(vec![create]).await {
        Ok(_) => {
            info!(node.id = %node, %role, "node admitted");
            JoinResponse::Certificate(issued)
        }
        Err(error) => no_leader(&error),
    }
}

async fn renew(forward: &Forward, from: &PeerIdentity, csr: &[u8]) -> JoinResponse {
    if let Err(error) = forward.catch_up().await {
        return no_leader(&error);
    }
    let tables = forward.store.snapshot();
    let (Some(cluster), Some(node)) = (tables.cluster(), tables.nodes.get(from.node)) else {
        return JoinResponse::Refused { reason: format!("node {} is not part of this cluster", from.node) };
    };
    match issue(forward, cluster, node.id, node.role, csr) {
        Ok(issued) => JoinResponse::Certificate(issued),
        Err(refused) => refused,
    }
}

fn issue(
    forward: &Forward,
    cluster: &Cluster,
    node: NodeId,
    role: Role,
    csr: &[u8],
) -> Result<IssuedCertificate, JoinResponse> {
    let authority = &cluster.authority;
    let valid_for = cluster.spec.node_certificate_expiry;
    let signed = RootAuthority::from_pem(&authority.certificate_pem, authority.key_pem.reveal())
        .and_then(|root| root.sign(csr, node, cluster.id, role, valid_for, forward.clock.now()));
    match signed {
        Ok(certificate_pem) => Ok(IssuedCertificate {
            certificate_pem,
            root_pem: authority.certificate_pem.clone(),
            node,
            cluster: cluster.id,
            role,
            managers: known_managers(&forward.store.snapshot()),
            liveness: cluster.spec.liveness,
        }),
        Err(error) => {
            warn!(node.id = %node, error = %Report(&error), "certificate not issued");
            Err(JoinResponse::Refused { reason: format!("cannot issue a certificate: {}", Report(&error)) })
        }
    }
}

fn no_leader(error: &ForwardError) -> JoinResponse {
    JoinResponse::TryAgain { reason: error.to_string() }
}
