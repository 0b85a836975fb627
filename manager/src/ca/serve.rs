//! Answers callers who want a certificate: with a token on the join endpoint, or with the one they have.

use common::limits::{FRAME_BYTES_MAX, ISSUE_ATTEMPTS_MAX, JOIN_FRAME_BYTES_MAX, JOIN_REQUEST_WAIT};
use common::object::node::Issued;
use common::object::{Cluster, Node, NodeId, Role};
use common::random::SystemRandom;
use common::report::Report;
use common::transport::{PeerIdentity, Stream};
use common::wire::frame::{FrameError, expect_message, write_message};
use common::wire::join::{CertificateRequest, IssuedCertificate, JoinRequest, JoinResponse, RenewRequest};
use tracing::{info, warn};

use super::admit::role_of_token;
use super::sign::{self, External};
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
pub async fn serve_join(
    forward: &Forward,
    external: &External,
    stream: &mut Stream,
) -> Result<Told, FrameError> {
    let request =
        tokio::time::timeout(JOIN_REQUEST_WAIT, expect_message(&mut stream.recv, JOIN_FRAME_BYTES_MAX));
    let response = match request.await.map_err(|_| FrameError::Ended)?? {
        JoinRequest::RootCertificate => root_certificate(forward),
        JoinRequest::Certificate(request) => join(forward, external, request).await,
    };
    let told = Told::of(&response);
    write_message(&mut stream.send, &response).await.map(|()| told)
}

/// Answers a node that wants its next certificate.
pub async fn serve_renew(
    forward: &Forward,
    external: &External,
    from: &PeerIdentity,
    stream: &mut Stream,
) -> Result<Told, FrameError> {
    let RenewRequest { csr } = expect_message(&mut stream.recv, FRAME_BYTES_MAX).await?;
    let response = renew(forward, external, from, &csr).await;
    let told = Told::of(&response);
    write_message(&mut stream.send, &response).await.map(|()| told)
}

fn root_certificate(forward: &Forward) -> JoinResponse {
    match forward.store.snapshot().cluster() {
        Some(cluster) => JoinResponse::RootCertificate { pem: cluster.authority.certificate_pem.clone() },
        None => JoinResponse::TryAgain { reason: "this manager has yet to learn of its cluster".into() },
    }
}

async fn join(forward: &Forward, external: &External, request: CertificateRequest) -> JoinResponse {
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
    let (certificate, issued) = match issue(forward, external, &cluster, node, role, &request.csr).await {
        Ok(issued) => issued,
        Err(refused) => return refused,
    };
    let mut created = Node::new(node, role, request.availability);
    created.status.issued = Some(issued);
    match forward.propose(vec![Change::Node(Write::Create(created))]).await {
        Ok(_) => {
            info!(node.id = %node, %role, "node admitted");
            JoinResponse::Certificate(certificate)
        }
        Err(error) => no_leader(&error),
    }
}

async fn renew(forward: &Forward, external: &External, from: &PeerIdentity, csr: &[u8]) -> JoinResponse {
    let mut conflict = None;
    // What is written beside it changes all the time; the certificate is made anew for what is there then.
    for _ in 0..ISSUE_ATTEMPTS_MAX {
        if let Err(error) = forward.catch_up().await {
            return no_leader(&error);
        }
        let tables = forward.store.snapshot();
        let (Some(cluster), Some(node)) = (tables.cluster(), tables.nodes.get(from.node)) else {
            return JoinResponse::Refused {
                reason: format!("node {} is not part of this cluster", from.node),
            };
        };
        let (mut certificate, issued) = match issue(forward, external, cluster, node.id, node.role, csr).await
        {
            Ok(issued) => issued,
            Err(refused) => return refused,
        };
        certificate.root_pem = cluster.authority.trust_pem();
        // On record before it is out: whoever shows it once it has ended has to be known by it.
        let mut next = Node::clone(node);
        next.status.issued = Some(issued);
        match forward.propose(vec![Change::Node(Write::update(next))]).await {
            Ok(_) => return JoinResponse::Certificate(certificate),
            Err(error @ ForwardError::Rejected(_)) => conflict = Some(error),
            Err(error) => return no_leader(&error),
        }
    }
    let reason = conflict.map(|error| error.to_string()).unwrap_or_default();
    JoinResponse::TryAgain { reason }
}

async fn issue(
    forward: &Forward,
    external: &External,
    cluster: &Cluster,
    node: NodeId,
    role: Role,
    csr: &[u8],
) -> Result<(IssuedCertificate, Issued), JoinResponse> {
    let subject = sign::Subject { node, cluster: cluster.id, role };
    match sign::sign(external, cluster, subject, csr, forward.clock.now()).await {
        Ok((certificate_pem, issued)) => {
            let certificate = IssuedCertificate {
                certificate_pem,
                root_pem: cluster.authority.certificate_pem.clone(),
                node,
                cluster: cluster.id,
                role,
                managers: known_managers(&forward.store.snapshot()),
                liveness: cluster.spec.liveness,
                at_rest: (role == Role::Manager).then(|| cluster.at_rest.clone()),
            };
            Ok((certificate, issued))
        }
        Err(error) => {
            warn!(node.id = %node, error = %Report(&error), "certificate not issued");
            let reason = format!("cannot issue a certificate: {}", Report(&error));
            Err(match error.may_pass() {
                true => JoinResponse::TryAgain { reason },
                false => JoinResponse::Refused { reason },
            })
        }
    }
}

fn no_leader(error: &ForwardError) -> JoinResponse {
    JoinResponse::TryAgain { reason: error.to_string() }
}
