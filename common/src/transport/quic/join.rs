//! The first words of a new node, which has no certificate: fetch the root and check it, then ask to be let in.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::close::{Close, Lost, explain};
use super::tls;
use crate::identity::certificate::certificates_from_pem;
use crate::identity::token::{root_digest, to_hex};
use crate::limits::{JOIN_ANSWER_TIME_MAX, JOIN_CONNECT_TIME_MAX, JOIN_FRAME_BYTES_MAX};
use crate::transport::StreamKind;
use crate::wire::frame::{self, FrameError};
use crate::wire::join::{CertificateRequest, JoinRequest, JoinResponse};

/// Pause before knocking again where too many others do.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("cannot reach a manager at {addr}: {reason}")]
    Unreachable { addr: SocketAddr, reason: String },
    #[error("the node at {addr} is no manager of this cluster: {reason}")]
    NotTrusted { addr: SocketAddr, reason: String },
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    Fingerprint { expected: String },
    #[error("the manager at {addr} gave no answer in {seconds} s")]
    NoAnswer { addr: SocketAddr, seconds: u64 },
    #[error("the manager at {addr} cannot answer now: {reason}")]
    TryAgain { addr: SocketAddr, reason: String },
    #[error("talk to the manager at {addr}")]
    Talk {
        addr: SocketAddr,
        #[source]
        source: FrameError,
    },
    #[error("the manager at {addr} gave an answer to another question")]
    Unexpected { addr: SocketAddr },
    #[error("set up TLS to join: {reason}")]
    Setup { reason: String },
}

/// The root certificate of the cluster at `addr`, when its digest is the one in the token.
pub async fn fetch_root(addr: SocketAddr, expected: [u8; 32]) -> Result<String, JoinError> {
    let config = tls::join_client(None).map_err(|reason| JoinError::Setup { reason })?;
    match ask(addr, config, &JoinRequest::RootCertificate, JOIN_CONNECT_TIME_MAX).await? {
        JoinResponse::RootCertificate { pem } if root_digest(&pem) == expected => Ok(pem),
        JoinResponse::RootCertificate { .. } => Err(JoinError::Fingerprint { expected: to_hex(&expected) }),
        JoinResponse::TryAgain { reason } => Err(JoinError::TryAgain { addr, reason }),
        JoinResponse::Certificate(_) | JoinResponse::Refused { .. } => Err(JoinError::Unexpected { addr }),
    }
}

/// Hands in a signing request with a token, to a manager that has proved to hold a certificate of that root.
pub async fn request(
    addr: SocketAddr,
    root_pem: &str,
    request: CertificateRequest,
) -> Result<JoinResponse, JoinError> {
    let setup = |reason: String| JoinError::Setup { reason };
    let roots = certificates_from_pem(root_pem).map_err(|error| setup(error.to_string()))?;
    let config = tls::join_client(Some(crate::identity::root_store(&roots))).map_err(setup)?;
    match ask(addr, config, &JoinRequest::Certificate(request), JOIN_ANSWER_TIME_MAX).await? {
        JoinResponse::RootCertificate { .. } => Err(JoinError::Unexpected { addr }),
        answer => Ok(answer),
    }
}

/// One question, one answer, one connection from a port of its own.
async fn ask(
    addr: SocketAddr,
    config: quinn::ClientConfig,
    question: &JoinRequest,
    answer_time: Duration,
) -> Result<JoinResponse, JoinError> {
    let unreachable = |reason: String| JoinError::Unreachable { addr, reason };
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = quinn::Endpoint::client(any).map_err(|error| unreachable(error.to_string()))?;
    let patience_ends = Instant::now() + JOIN_CONNECT_TIME_MAX;
    loop {
        let connection = timeout_at(patience_ends, connect(&endpoint, addr, config.clone())).await;
        let connection = connection.map_err(|_| unreachable("no answer".into()))??;
        let answer = timeout(answer_time, converse(&connection, question)).await;
        let turned_away = is_busy(&connection) && Instant::now() < patience_ends;
        Close::GoingAway.apply(&connection);
        match answer {
            // The goodbye is sent all the same: an endpoint that nobody holds ends once its connections have.
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) if turned_away => sleep(BUSY_PAUSE).await,
            Ok(Err(source)) => return Err(JoinError::Talk { addr, source }),
            Err(_) => return Err(JoinError::NoAnswer { addr, seconds: answer_time.as_secs() }),
        }
    }
}

async fn converse(
    connection: &quinn::Connection,
    question: &JoinRequest,
) -> Result<JoinResponse, FrameError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(std::io::Error::from)?;
    send.write_u8(StreamKind::Join as u8).await?;
    frame::write_message(&mut send, question).await?;
    // Ending our side may fail only where reading fails too.
    let _ = send.shutdown().await;
    frame::expect_message(&mut recv, JOIN_FRAME_BYTES_MAX).await
}

fn is_busy(connection: &quinn::Connection) -> bool {
    match connection.close_reason() {
        Some(quinn::ConnectionError::ApplicationClosed(frame)) => frame.error_code == Close::Busy.code(),
        _ => false,
    }
}

/// Knocks until somebody answers; the caller bounds how long.
async fn connect(
    endpoint: &quinn::Endpoint,
    addr: SocketAddr,
    config: quinn::ClientConfig,
) -> Result<quinn::Connection, JoinError> {
    loop {
        let connecting = endpoint
            .connect_with(config.clone(), addr, tls::MANAGER_NAME)
            .map_err(|error| JoinError::Unreachable { addr, reason: error.to_string() })?;
        match connecting.await {
            Ok(connection) => return Ok(connection),
            Err(quinn::ConnectionError::TransportError(error)) => {
                return Err(JoinError::NotTrusted { addr, reason: error.reason });
            }
            Err(error) => match explain(&error) {
                Lost::Unreachable(_) => sleep(BUSY_PAUSE).await,
                Lost::Refused(reason) | Lost::NotTrusted(reason) => {
                    return Err(JoinError::NotTrusted { addr, reason });
                }
                Lost::Removed => {
                    return Err(JoinError::NotTrusted { addr, reason: Close::Removed.text().into() });
                }
                Lost::WrongNode(node) => {
                    return Err(JoinError::NotTrusted { addr, reason: format!("it is {node}") });
                }
            },
        }
    }
}
