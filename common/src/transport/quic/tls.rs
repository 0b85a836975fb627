//! TLS 1.3 under QUIC: who is let in, whom we trust, and the limits of a connection.
//!
//! Nothing is resumed: a resumed session would not be asked for its certificate again, and a node that was removed
//! or changed its role would live on in it.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::close::{Close, wrong_node};
use super::proof::Vouch;
use crate::identity::certificate::{MANAGER_UNIT, role_unit};
use crate::identity::{NodeCertificate, NodeIdentity};
use crate::limits::{
    CONNECTION_WINDOW_BYTES, DATAGRAM_RECEIVE_BUFFER_BYTES, DATAGRAM_SEND_BUFFER_BYTES, JOIN_STREAMS_MAX,
    JOIN_WINDOW_BYTES, SEND_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_PER_CONNECTION_MAX,
};
use crate::object::{ClusterId, NodeId, Role};
use crate::time::{Clock, Timestamp};
use crate::transport::Lane;

const CONTROL: &[u8] = b"swarm-node/1";
const BULK: &[u8] = b"swarm-bulk/1";
const JOIN: &[u8] = b"swarm-join/1";
const PROOF: &[u8] = b"swarm-proof/1";

/// What stands after the node's id in the name that is asked for. A name of digits alone would not be one.
const NAME_SUFFIX: &str = ".swarm";

/// How long a connection to a manager may be silent while a new node waits for its certificate.
const JOIN_CLIENT_IDLE: Duration = Duration::from_secs(30);
/// Assumed until measured; three times this is when a lost first packet is sent again.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(50);

/// Why TLS could not be set up with an identity.
#[derive(Debug, thiserror::Error)]
#[error("set up TLS with the certificate of {node}: {reason}")]
pub struct TlsError {
    pub node: NodeId,
    pub reason: String,
}

/// What a connection was opened for, as agreed in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Member(Lane),
    Join,
    /// Nothing but to be seen with one's present certificate.
    Proof,
}

/// The two ways a node dials members, and the one way it lets others in.
#[derive(Clone)]
pub(super) struct Configs {
    pub server: quinn::ServerConfig,
    control: quinn::ClientConfig,
    bulk: quinn::ClientConfig,
    proof: quinn::ClientConfig,
    /// What a certificate has to pass to be good now.
    strict: Arc<dyn ClientCertVerifier>,
}

/// Who may vouch for a key, when there is anybody.
#[derive(Clone, Default)]
pub(super) struct Voucher(Arc<RwLock<Option<Vouch>>>);

impl Voucher {
    pub fn set(&self, vouch: Option<Vouch>) {
        *self.0.write().expect("no holder panics") = vouch;
    }

    pub fn ask(&self, facts: &NodeCertificate) -> Option<Role> {
        let vouch = self.0.read().expect("no holder panics").clone();
        vouch.and_then(|vouch| vouch(facts))
    }

    fn knows(&self, leaf: &CertificateDer<'_>) -> bool {
        NodeCertificate::from_der(leaf).is_ok_and(|facts| self.ask(&facts).is_some())
    }
}

impl std::fmt::Debug for Voucher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Voucher")
    }
}

impl Configs {
    pub fn new(
        identity: &NodeIdentity,
        clock: Arc<dyn Clock>,
        idle: Duration,
        voucher: &Voucher,
    ) -> Result<Self, TlsError> {
        let failed = |reason: String| TlsError { node: identity.node, reason };
        let strict = WebPkiClientVerifier::builder_with_provider(Arc::new(identity.roots()), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let client = |protocol| {
            member_client(identity, protocol, clock.clone(), idle, voucher.clone()).map_err(failed)
        };
        Ok(Self {
            server: server(identity, clock.clone(), idle, strict.clone(), voucher.clone()).map_err(failed)?,
            control: client(CONTROL)?,
            bulk: client(BULK)?,
            proof: client(PROOF)?,
            strict,
        })
    }

    pub fn proof(&self) -> quinn::ClientConfig {
        self.proof.clone()
    }

    /// Whether the certificate that the far end showed leads to our roots and is good at this time.
    pub fn is_good(&self, connection: &quinn::Connection, now: Timestamp) -> bool {
        let Some(chain) = peer_chain(connection) else { return false };
        let now = UnixTime::since_unix_epoch(now.since(Timestamp(0)));
        match chain.split_first() {
            Some((leaf, intermediates)) => self.strict.verify_client_cert(leaf, intermediates, now).is_ok(),
            None => false,
        }
    }

    pub fn client(&self, lane: Lane) -> quinn::ClientConfig {
        match lane {
            Lane::Control => self.control.clone(),
            Lane::Bulk => self.bulk.clone(),
        }
    }
}

pub(super) fn server_name(node: NodeId) -> String {
    format!("{node}{NAME_SUFFIX}")
}

/// What was agreed; none for a connection that named no protocol of ours.
pub(super) fn protocol(connection: &quinn::Connection) -> Option<Protocol> {
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    match data.protocol.as_deref() {
        Some(CONTROL) => Some(Protocol::Member(Lane::Control)),
        Some(BULK) => Some(Protocol::Member(Lane::Bulk)),
        Some(JOIN) => Some(Protocol::Join),
        Some(PROOF) => Some(Protocol::Proof),
        _ => None,
    }
}

/// What the far end's certificate says. TLS has checked that it is of our root; of which cluster is checked by the caller.
pub(super) fn peer_certificate(connection: &quinn::Connection) -> Result<NodeCertificate, Close> {
    let chain = peer_chain(connection).ok_or(Close::CertificateNeeded)?;
    let leaf = chain.first().ok_or(Close::CertificateNeeded)?;
    NodeCertificate::from_der(leaf).map_err(|_| Close::WrongCluster)
}

fn peer_chain(connection: &quinn::Connection) -> Option<Vec<CertificateDer<'static>>> {
    connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok().map(|chain| *chain)
}

/// Lets a connection of a member do what members do; it began with the limits of a stranger.
pub(super) fn lift_limits(connection: &quinn::Connection) {
    connection.set_max_concurrent_bi_streams(STREAMS_PER_CONNECTION_MAX.into());
    connection.set_receive_window(CONNECTION_WINDOW_BYTES.into());
}

/// For a new node: trusts nobody when `roots` is none, which is for fetching the root that is then checked.
pub(super) fn join_client(roots: Option<RootCertStore>) -> Result<quinn::ClientConfig, String> {
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Some(roots) => WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| error.to_string())?,
        None => Arc::new(Unchecked(provider())),
    };
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client(&mut tls, JOIN, JOIN_CLIENT_IDLE)
}

/// The name under which managers answer a new node.
pub(super) const MANAGER_NAME: &str = MANAGER_UNIT;

fn server(
    identity: &NodeIdentity,
    clock: Arc<dyn Clock>,
    idle: Duration,
    strict: Arc<dyn ClientCertVerifier>,
    voucher: Voucher,
) -> Result<quinn::ServerConfig, String> {
    let verifier = Arc::new(MemberVerifier { strict, voucher });
    let mut tls = rustls::ServerConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain().to_vec(), identity.key().to_tls())
        .map_err(|error| error.to_string())?;
    tls.alpn_protocols = vec![CONTROL.to_vec(), BULK.to_vec(), JOIN.to_vec(), PROOF.to_vec()];
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    // Until the handshake is over nobody knows who is calling, so everybody begins with the limits of a stranger.
    let mut limits = limits(idle)?;
    limits.max_concurrent_bidi_streams(JOIN_STREAMS_MAX.into());
    limits.max_concurrent_uni_streams(VarInt::from_u32(0));
    limits.receive_window(JOIN_WINDOW_BYTES.into());
    config.transport_config(Arc::new(limits));
    config.max_incoming(crate::limits::HANDSHAKES_MAX);
    config.incoming_buffer_size(16 << 10);
    config.incoming_buffer_size_total(2 << 20);
    Ok(config)
}

fn member_client(
    identity: &NodeIdentity,
    protocol: &[u8],
    clock: Arc<dyn Clock>,
    idle: Duration,
    voucher: Voucher,
) -> Result<quinn::ClientConfig, String> {
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(identity.roots()), provider())
        .build()
        .map_err(|error| error.to_string())?;
    let mut tls = rustls::ClientConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeVerifier {
            chain,
            cluster: identity.cluster,
            voucher,
        }))
        .with_client_auth_cert(identity.chain().to_vec(), identity.key().to_tls())
        .map_err(|error| error.to_string())?;
    client(&mut tls, protocol, idle)
}

fn client(
    tls: &mut rustls::ClientConfig,
    protocol: &[u8],
    idle: Duration,
) -> Result<quinn::ClientConfig, String> {
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls.resumption = Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls.clone()).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut limits = limits(idle)?;
    limits.max_concurrent_bidi_streams(STREAMS_PER_CONNECTION_MAX.into());
    limits.max_concurrent_uni_streams(VarInt::from_u32(1)); // the word that we are let in
    limits.receive_window(CONNECTION_WINDOW_BYTES.into());
    config.transport_config(Arc::new(limits));
    Ok(config)
}

fn limits(idle: Duration) -> Result<TransportConfig, String> {
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(idle).map_err(|_| format!("{idle:?} is no time to be idle"))?;
    config.max_idle_timeout(Some(idle));
    config.initial_rtt(INITIAL_ROUND_TRIP);
    config.stream_receive_window(STREAM_WINDOW_BYTES.into());
    config.send_window(SEND_WINDOW_BYTES);
    config.datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER_BYTES));
    config.datagram_send_buffer_size(DATAGRAM_SEND_BUFFER_BYTES);
    Ok(config)
}

/// One provider, named everywhere: rustls' idea of a process-wide default panics when two are compiled in.
pub(in crate::transport) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Certificates are judged by the clock of the program.
struct ClockTime(Arc<dyn Clock>);

impl std::fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now().since(Timestamp(0))))
    }
}

/// Takes one node of one cluster: the chain leads to our root, and the common name is the node we called.
#[derive(Debug)]
struct NodeVerifier {
    chain: Arc<WebPkiServerVerifier>,
    cluster: ClusterId,
    voucher: Voucher,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let other = |text: &str| rustls::Error::General(text.into());
        let facts = NodeCertificate::from_der(leaf).map_err(|error| other(&error.to_string()))?;
        // The library checks chain, times and use with a name that every such certificate has; the id is our check.
        let role = ServerName::try_from(role_unit(facts.role)).map_err(|error| other(&error.to_string()))?;
        let verified = match self.chain.verify_server_cert(leaf, intermediates, &role, ocsp, now) {
            Ok(verified) => verified,
            Err(_) if self.voucher.knows(leaf) => ServerCertVerified::assertion(),
            Err(error) => return Err(error),
        };
        if facts.cluster != self.cluster {
            return Err(other(Close::WrongCluster.text()));
        }
        match called_node(name) {
            Some(called) if called == facts.node => Ok(verified),
            _ => Err(other(&wrong_node(facts.node))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Takes whoever has a certificate of our roots, and whoever holds a key that is vouched for.
#[derive(Debug)]
struct MemberVerifier {
    strict: Arc<dyn ClientCertVerifier>,
    voucher: Voucher,
}

impl ClientCertVerifier for MemberVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.strict.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.strict.verify_client_cert(leaf, intermediates, now) {
            Err(_) if self.voucher.knows(leaf) => Ok(ClientCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

fn called_node(name: &ServerName<'_>) -> Option<NodeId> {
    match name {
        ServerName::DnsName(name) => name.as_ref().strip_suffix(NAME_SUFFIX)?.parse().ok(),
        _ => None,
    }
}

/// Takes anybody who holds the key of the certificate shown. Only for fetching a root that is then compared with
/// the digest in a token.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A member that shows `identity` but trusts whom `trusting` trusts.
    pub fn configs_trusting(identity: &NodeIdentity, trusting: &NodeIdentity) -> quinn::ClientConfig {
        configs_showing(identity.chain().to_vec(), identity.key(), trusting)
    }

    /// Somebody who shows any certificate, and asks for a member's protocol.
    pub fn configs_showing(
        shown: Vec<CertificateDer<'static>>,
        key: &crate::identity::NodeKey,
        trusting: &NodeIdentity,
    ) -> quinn::ClientConfig {
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(trusting.roots()), provider());
        let verifier = NodeVerifier {
            chain: chain.build().unwrap(),
            cluster: trusting.cluster,
            voucher: Voucher::default(),
        };
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(shown, key.to_tls())
            .unwrap();
        client(&mut tls, CONTROL, JOIN_CLIENT_IDLE).unwrap()
    }

    /// Somebody who asks for a member's protocol and has no certificate.
    pub fn anonymous_member() -> quinn::ClientConfig {
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(provider())))
            .with_no_client_auth();
        client(&mut tls, BULK, JOIN_CLIENT_IDLE).unwrap()
    }
}
