//! TLS on TCP, for the API: both sides show a certificate, and nothing is resumed.
//!
//! 1.3, and 1.2 for clients that know nothing newer. What a certificate allows is for the caller to say; here only its
//! chain, its times and the name are checked.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::quic::tls::provider;
use crate::identity::certificate::certificates_from_pem;
use crate::identity::{NodeKey, root_store};

const HTTP: &[u8] = b"http/1.1";

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("set up TLS: {0}")]
pub struct TlsSetupError(String);

impl TlsSetupError {
    fn of(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

/// Both directions of an encrypted connection.
pub trait TlsIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> TlsIo for S {}

/// A client whose certificate leads to one of our roots.
pub struct TlsCaller {
    pub stream: Box<dyn TlsIo>,
    pub chain: ShownChain,
}

/// What a caller has shown: its own certificate, and those between it and a root. Never empty.
#[derive(Clone, Debug)]
pub struct ShownChain(Vec<CertificateDer<'static>>);

impl ShownChain {
    /// The caller's own, DER.
    pub fn leaf(&self) -> &[u8] {
        &self.0[0]
    }

    /// Whether it leads to one of these roots now: others may be trusted than at the handshake.
    pub fn leads_to(&self, roots_pem: &str) -> bool {
        verifier(roots_pem).is_ok_and(|verifier| {
            verifier.verify_client_cert(&self.0[0], &self.0[1..], UnixTime::now()).is_ok()
        })
    }
}

/// The side that clients call.
#[derive(Clone)]
pub struct TlsServer(TlsAcceptor);

impl TlsServer {
    /// Shows `chain`, and takes clients whose certificate leads to one of `roots`.
    pub fn new(chain_pem: &str, key: &NodeKey, roots_pem: &str) -> Result<Self, TlsSetupError> {
        let chain = certificates_from_pem(chain_pem).map_err(TlsSetupError::of)?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsSetupError::of)?
            .with_client_cert_verifier(verifier(roots_pem)?)
            .with_single_cert(chain, key.to_tls())
            .map_err(TlsSetupError::of)?;
        config.alpn_protocols = vec![HTTP.to_vec()];
        // A resumed session would not be asked for its certificate again.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The caller bounds the time.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsCaller> {
        let stream = self.0.accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(io::ErrorKind::PermissionDenied)?;
        let chain = ShownChain(chain.iter().map(|certificate| certificate.clone().into_owned()).collect());
        Ok(TlsCaller { stream: Box::new(stream), chain })
    }
}

/// The side that calls.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient(..)")
    }
}

impl TlsClient {
    /// Trusts servers whose certificate leads to one of `roots`, and shows certificate and key where they are given.
    pub fn new(roots_pem: &str, identity: Option<(&str, &str)>) -> Result<Self, TlsSetupError> {
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsSetupError::of)?
            .with_root_certificates(roots(roots_pem)?);
        let mut config = match identity {
            Some((chain_pem, key_pem)) => {
                let chain = certificates_from_pem(chain_pem)
                    .map_err(|_| TlsSetupError("the client's certificate is not PEM text".into()))?;
                let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
                    .map_err(|_| TlsSetupError("the client's key is not PEM text, or encrypted".into()))?;
                builder.with_client_auth_cert(chain, key).map_err(TlsSetupError::of)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// `host` is a name or an address that the server's certificate has to have. The caller bounds the time.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Box<dyn TlsIo>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(self.0.connect(name, stream).await?))
    }
}

fn verifier(roots_pem: &str) -> Result<Arc<dyn ClientCertVerifier>, TlsSetupError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(roots_pem)?), provider())
        .build()
        .map_err(TlsSetupError::of)
}

fn roots(pem: &str) -> Result<RootCertStore, TlsSetupError> {
    let certificates = certificates_from_pem(pem)
        .map_err(|_| TlsSetupError("the certificates of the authority are not PEM text".into()))?;
    let store = root_store(&certificates);
    if store.is_empty() {
        return Err(TlsSetupError("none of the certificates of the authority can be used".into()));
    }
    Ok(store)
}
