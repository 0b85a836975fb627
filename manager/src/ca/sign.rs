//! Makes a certificate: with the root's key where the cluster holds it, or at an external authority.

use common::identity::certificate::certificates_from_pem;
use common::identity::external::{self, ExternalError, Request};
use common::identity::{AuthorityError, CertificateError, NodeCertificate, NodeIdentity, RootAuthority};
use common::object::cluster::ExternalAuthority;
use common::object::node::Issued;
use common::object::{Cluster, ClusterId, NodeId, Role};
use common::report::Report;
use common::time::Timestamp;
use tokio::sync::watch;
use tracing::warn;

use super::rotate::signs_for;

/// As whom this manager asks external authorities.
pub type External = watch::Receiver<NodeIdentity>;

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub role: Role,
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the cluster does not hold its root's key, and no external authority that signs for it is set")]
    NobodySigns,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("read the new certificate")]
    Read(#[from] CertificateError),
    #[error("the new certificate is for something else than was asked for")]
    WrongSubject,
    #[error(transparent)]
    External(#[from] ExternalError),
}

impl SignError {
    /// Whether asking again later may bring another answer.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::External(_) | Self::NobodySigns => true,
            Self::Authority(_) | Self::Read(_) | Self::WrongSubject => false,
        }
    }
}

/// The certificate with all that is shipped with it, and what is to be remembered of it.
pub async fn sign(
    me: &External,
    cluster: &Cluster,
    subject: Subject,
    csr: &[u8],
    now: Timestamp,
) -> Result<(String, Issued), SignError> {
    let authority = &cluster.authority;
    let signer = authority.signer();
    let outside: Vec<&ExternalAuthority> =
        signs_for(&cluster.spec.external_authorities, signer.certificate_pem, &authority.certificate_pem)
            .collect();
    let leaf = match (outside.is_empty(), signer.key_pem) {
        (false, _) => ask(me, &outside, signer.certificate_pem, subject, csr).await?,
        (true, Some(key)) => RootAuthority::from_pem(signer.certificate_pem, key.reveal())?.sign(
            csr,
            subject.node,
            subject.cluster,
            subject.role,
            cluster.spec.node_certificate_expiry,
            now,
        )?,
        (true, None) => return Err(SignError::NobodySigns),
    };
    let certificates = certificates_from_pem(&leaf)?;
    let facts = NodeCertificate::from_der(&certificates[0])?;
    if (facts.node, facts.cluster, facts.role) != (subject.node, subject.cluster, subject.role) {
        return Err(SignError::WrongSubject);
    }
    let issued = Issued { public_key: facts.public_key, until: facts.not_after };
    Ok((leaf + &authority.intermediates_pem(now), issued))
}

/// Asks external authorities in turn, until one gives a certificate that this root's nodes believe.
pub async fn ask(
    me: &External,
    outside: &[&ExternalAuthority],
    root_pem: &str,
    subject: Subject,
    csr: &[u8],
) -> Result<String, SignError> {
    let mut last = SignError::NobodySigns;
    for authority in outside {
        let request = Request {
            url: authority.url.clone(),
            options: authority.options.clone(),
            root_pem: root_pem.into(),
            csr: csr.to_vec(),
            node: subject.node,
            cluster: subject.cluster,
            role: subject.role,
        };
        let identity = me.borrow().clone();
        match external::sign(&identity, request).await {
            Ok(leaf) => return Ok(leaf),
            Err(error) => {
                warn!(url = authority.url, error = %Report(&error), "the external authority did not sign");
                last = error.into();
            }
        }
    }
    Err(last)
}
