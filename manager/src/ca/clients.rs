//! Certificates for the API: which roots its two sides trust, and who signs. While the cluster's root is being
//! replaced this is the one place that knows of both.

use common::identity::authority::{AuthorityError, RootAuthority};
use common::identity::{ApiServerNames, NodeKey};
use common::limits::API_SERVER_CERTIFICATE_TIME;
use common::object::{ClientRecord, ClientSerial, Cluster};
use common::time::Timestamp;

/// The roots that a client's certificate may lead to, and that clients know managers by; PEM.
pub fn trusted_roots(cluster: &Cluster) -> String {
    cluster.authority.trust_pem()
}

/// The root that signs now, where the cluster holds its key.
fn issuer(cluster: &Cluster) -> Result<RootAuthority, AuthorityError> {
    let signer = cluster.authority.signer();
    RootAuthority::from_pem(signer.certificate_pem, signer.key_pem.map_or("", |key| key.reveal()))
}

/// What follows a certificate of `issuer` in the chain, for those who know an older root alone; PEM, may be nothing.
fn chain_after_leaf(cluster: &Cluster) -> String {
    cluster.authority.intermediates_pem(Timestamp::default())
}

/// A client's certificate and what follows it.
pub fn issue_client(
    cluster: &Cluster,
    csr_der: &[u8],
    serial: ClientSerial,
    record: &ClientRecord,
) -> Result<String, AuthorityError> {
    let leaf = issuer(cluster)?.sign_client(csr_der, cluster.id, serial, record)?;
    Ok(leaf + &chain_after_leaf(cluster))
}

/// A new key, and a certificate with which this manager answers clients.
pub fn issue_server(
    cluster: &Cluster,
    names: &ApiServerNames,
    now: Timestamp,
) -> Result<(String, NodeKey), AuthorityError> {
    let key = NodeKey::generate()?;
    let csr = key.signing_request()?;
    let leaf = issuer(cluster)?.sign_api_server(&csr, cluster.id, names, API_SERVER_CERTIFICATE_TIME, now)?;
    Ok((leaf + &chain_after_leaf(cluster), key))
}
