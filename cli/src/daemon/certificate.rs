//! This node's certificates: the first by token, the next by the one it has. The key is made here and stays here.

use std::net::SocketAddr;
use std::time::Duration;

use common::identity::{IdentityError, InvalidUnlockKey, JoinToken, KeyError, Lock, NodeIdentity, NodeKey};
use common::limits::{FRAME_BYTES_MAX, JOIN_RETRY, RENEW_WAIT};
use common::object::Availability;
use common::object::sensitive::Sensitive;
use common::report::Report;
use common::transport::quic::join::{self, JoinError};
use common::transport::{Peer, StreamKind};
use common::wire::frame::{FrameError, expect_message, write_message};
use common::wire::join::{CertificateRequest, IssuedCertificate, JoinResponse, RenewRequest};
use tracing::debug;
use worker::session::Opener;

/// Why there is no certificate. What was there before stays.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    Token(#[from] common::identity::InvalidToken),
    #[error("cannot resolve {text}: {reason}")]
    Resolve { text: String, reason: String },
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("{0}")]
    Refused(String),
    #[error("no manager could answer: {0}")]
    NoAnswer(String),
    #[error("make a key")]
    Key(#[from] KeyError),
    #[error("use the new certificate")]
    Unusable(#[from] IdentityError),
    #[error("use the unlock key that came with the new certificate")]
    Lock(#[from] InvalidUnlockKey),
    #[error("talk to a manager")]
    Talk(#[from] FrameError),
}

/// Asks the managers at `remotes`, in turn, until one lets this node in or says no. Ends with the caller.
pub async fn first(
    remotes: &[String],
    token: &Sensitive,
    availability: Availability,
) -> Result<(NodeIdentity, IssuedCertificate, SocketAddr), CertificateError> {
    let digest = JoinToken::parse(token.reveal())?.digest();
    let mut addresses = Vec::new();
    for remote in remotes {
        addresses.extend(resolve(remote).await?);
    }
    let mut passing = CertificateError::NoAnswer("no address was given".into());
    for round in 0..JOIN_ROUNDS {
        if round > 0 {
            tokio::time::sleep(JOIN_RETRY).await;
        }
        for addr in &addresses {
            match ask(*addr, digest, token, availability).await {
                Ok((identity, issued)) => return Ok((identity, issued, *addr)),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    debug!(%addr, error = %Report(&error), "not let in yet");
                    passing = error;
                }
            }
        }
    }
    Err(passing)
}

const JOIN_ROUNDS: usize = 4;

impl CertificateError {
    /// Whether asking again would bring the same answer.
    fn is_final(&self) -> bool {
        match self {
            Self::Token(_)
            | Self::Resolve { .. }
            | Self::Refused(_)
            | Self::Key(_)
            | Self::Unusable(_)
            | Self::Lock(_) => true,
            Self::Join(error) => matches!(error, JoinError::Fingerprint { .. } | JoinError::Setup { .. }),
            Self::NoAnswer(_) | Self::Talk(_) => false,
        }
    }
}

async fn ask(
    addr: SocketAddr,
    digest: [u8; 32],
    token: &Sensitive,
    availability: Availability,
) -> Result<(NodeIdentity, IssuedCertificate), CertificateError> {
    let root_pem = join::fetch_root(addr, digest).await?;
    let key = NodeKey::generate()?;
    let csr = key.signing_request()?;
    let request = CertificateRequest { csr, token: token.reveal().into(), availability };
    let issued = accept(join::request(addr, &root_pem, request).await?)?;
    // The root that was checked against the token, not whatever came with the certificate.
    Ok((NodeIdentity::new(&issued.certificate_pem, key, &root_pem)?, issued))
}

/// What a manager is to lock its files with; none for a worker.
pub fn lock_of(issued: &IssuedCertificate) -> Result<Option<Lock>, CertificateError> {
    Ok(issued.at_rest.as_ref().map(Lock::wanted).transpose()?)
}

/// Asks a manager for the next certificate, with whatever role the cluster grants now.
pub async fn next(
    open: &Opener,
    manager: Peer,
    present: &NodeIdentity,
) -> Result<(NodeIdentity, Option<Lock>), CertificateError> {
    let key = NodeKey::generate()?;
    let csr = key.signing_request()?;
    let exchange = async {
        let stream = open(manager, StreamKind::Renew).await;
        let mut stream = stream.map_err(|error| CertificateError::NoAnswer(error.to_string()))?;
        write_message(&mut stream.send, &RenewRequest { csr }).await?;
        accept(expect_message(&mut stream.recv, FRAME_BYTES_MAX).await?)
    };
    let in_time = tokio::time::timeout(RENEW_WAIT, exchange).await;
    let issued = in_time.map_err(|_| CertificateError::NoAnswer("it took too long".into()))??;
    let identity = NodeIdentity::new(&issued.certificate_pem, key, &issued.root_pem)?;
    if (identity.node, identity.cluster) != (present.node, present.cluster) {
        return Err(CertificateError::Refused("the certificate is for another node".into()));
    }
    Ok((identity, lock_of(&issued)?))
}

fn accept(response: JoinResponse) -> Result<IssuedCertificate, CertificateError> {
    match response {
        JoinResponse::Certificate(issued) => Ok(issued),
        JoinResponse::Refused { reason } => Err(CertificateError::Refused(reason)),
        JoinResponse::TryAgain { reason } => Err(CertificateError::NoAnswer(reason)),
        JoinResponse::RootCertificate { .. } => {
            Err(CertificateError::NoAnswer("an answer out of turn".into()))
        }
    }
}

async fn resolve(text: &str) -> Result<Vec<SocketAddr>, CertificateError> {
    let whole = super::address::with_default_port(text);
    let failed = |reason: String| CertificateError::Resolve { text: text.into(), reason };
    let lookup = tokio::time::timeout(Duration::from_secs(5), tokio::net::lookup_host(whole));
    let found: Vec<SocketAddr> = match lookup.await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("the name server gave no answer".into())),
    };
    if found.is_empty() { Err(failed("the name has no address".into())) } else { Ok(found) }
}
