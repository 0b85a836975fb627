//! A node's identity, checked whole when it is made: whoever holds one may use it without further questions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::{CertificateError, NodeCertificate, certificates_from_pem, parse, role_unit};
use super::key::{KeyError, NodeKey};
use crate::object::node::TlsInfo;
use crate::object::{ClusterId, NodeId, Role};
use crate::random::Random;
use crate::time::Timestamp;

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("read the node's certificate")]
    Certificate(#[source] CertificateError),
    #[error("read the root certificate")]
    Root(#[source] CertificateError),
    #[error("read the node's key")]
    Key(#[from] KeyError),
    #[error("the certificate of {node} is for another key")]
    Mismatch { node: NodeId },
    #[error("the certificate of {node} was not issued by this root: {reason}")]
    Untrusted { node: NodeId, reason: String },
}

/// Certificate, key and root of one node, which belong together.
#[derive(Clone)]
pub struct NodeIdentity {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub role: Role,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    parts: Arc<Parts>,
}

struct Parts {
    certificate_pem: String,
    root_pem: String,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    key: NodeKey,
}

impl NodeIdentity {
    /// Refuses what does not fit together. An expired certificate fits: ask `is_expired`.
    pub fn new(certificate_pem: &str, key: NodeKey, root_pem: &str) -> Result<Self, IdentityError> {
        let chain = certificates_from_pem(certificate_pem).map_err(IdentityError::Certificate)?;
        let roots = certificates_from_pem(root_pem).map_err(IdentityError::Root)?;
        let facts = NodeCertificate::from_der(&chain[0]).map_err(IdentityError::Certificate)?;
        if facts.public_key != key.public_key() {
            return Err(IdentityError::Mismatch { node: facts.node });
        }
        check_chain(&facts, &chain, &roots)
            .map_err(|reason| IdentityError::Untrusted { node: facts.node, reason })?;
        Ok(Self {
            node: facts.node,
            cluster: facts.cluster,
            role: facts.role,
            not_before: facts.not_before,
            not_after: facts.not_after,
            parts: Arc::new(Parts {
                certificate_pem: certificate_pem.into(),
                root_pem: root_pem.into(),
                chain,
                roots,
                key,
            }),
        })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.parts.certificate_pem
    }

    pub fn root_pem(&self) -> &str {
        &self.parts.root_pem
    }

    pub fn key(&self) -> &NodeKey {
        &self.parts.key
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.parts.chain
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        root_store(&self.parts.roots)
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.not_after
    }

    /// When to ask for the next certificate: somewhere in 50 to 80 % of the lifetime, so that nodes which
    /// joined together do not come back together.
    pub fn renew_at(&self, random: &mut dyn Random) -> Timestamp {
        let part: Duration = self.not_after.since(self.issued_at()).mul_f64(0.5 + 0.3 * random.fraction());
        self.issued_at().plus(part)
    }

    /// Certificates reach back a while before the moment at which they are made.
    fn issued_at(&self) -> Timestamp {
        let made = self.not_before.plus(super::authority::BACKDATE);
        if made < self.not_after { made } else { self.not_before }
    }

    /// What this node tells managers of its certificate.
    pub fn tls_info(&self) -> TlsInfo {
        // The issuer is the next in the chain, or the root that has the name the leaf says it was issued by.
        let leaf = parse(&self.parts.chain[0]).expect("it was parsed when this was made");
        let candidates = self.parts.chain[1..].iter().chain(&self.parts.roots);
        let issuer = candidates
            .filter_map(|der| parse(der).ok())
            .find(|issuer| {
                issuer.subject().as_raw() == leaf.issuer().as_raw()
                    && leaf.verify_signature(Some(issuer.public_key())).is_ok()
            })
            .map(|issuer| (issuer.subject().as_raw().to_vec(), issuer.public_key().raw.to_vec()));
        let (issuer_subject, issuer_public_key) =
            issuer.unwrap_or_else(|| (leaf.issuer().as_raw().to_vec(), Vec::new()));
        TlsInfo {
            trust_root_pem: self.parts.root_pem.clone(),
            issuer_subject,
            issuer_public_key,
            public_key: self.parts.key.public_key().to_vec(),
        }
    }

    /// Whether every root that the other one trusts is trusted here too.
    pub(crate) fn trusts_all_of(&self, other: &Self) -> bool {
        other.parts.roots.iter().all(|root| self.parts.roots.contains(root))
    }

    /// The same certificate, believed by other roots. Refuses roots that it does not lead to.
    pub fn trusting(&self, root_pem: &str) -> Result<Self, IdentityError> {
        Self::new(&self.parts.certificate_pem, self.parts.key.clone(), root_pem)
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("node", &self.node)
            .field("cluster", &self.cluster)
            .field("role", &self.role)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

pub(crate) fn root_store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    store
}

/// The check that a peer will make in its handshake, at a moment at which the certificate was good.
pub(super) fn check_chain(
    facts: &NodeCertificate,
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(root_store(roots)), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from(role_unit(facts.role)).map_err(|error| error.to_string())?;
    let at = UnixTime::since_unix_epoch(facts.not_before.since(Timestamp(0)));
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], at)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::identity::RootAuthority;
    use crate::random::SeededRandom;
    use crate::time::{Clock, SystemClock};

    pub(crate) const HOUR: Duration = Duration::from_secs(3600);

    /// An identity made by the same steps as in life.
    pub(crate) fn issue(root: &RootAuthority, cluster: u128, node: u128, role: Role) -> NodeIdentity {
        issue_at(root, cluster, node, role, SystemClock.now())
    }

    pub(crate) fn issue_at(
        root: &RootAuthority,
        cluster: u128,
        node: u128,
        role: Role,
        now: Timestamp,
    ) -> NodeIdentity {
        let key = NodeKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        let pem = root.sign(&request, NodeId(node), ClusterId(cluster), role, 24 * HOUR, now).unwrap();
        NodeIdentity::new(&pem, key, root.certificate_pem()).unwrap()
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let now = SystemClock.now();
        let root = RootAuthority::generate(now).unwrap();
        let other_root = RootAuthority::generate(now).unwrap();
        let identity = issue(&root, 1, 2, Role::Manager);
        let other = issue(&root, 1, 3, Role::Manager);
        let make = |pem: &str, key: &NodeKey, root: &str| {
            NodeIdentity::new(pem, key.clone(), root).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(make(identity.certificate_pem(), identity.key(), root.certificate_pem()), Ok(()));
        let errors = [
            make(identity.certificate_pem(), other.key(), root.certificate_pem()),
            make(identity.certificate_pem(), identity.key(), other_root.certificate_pem()),
            make(root.certificate_pem(), identity.key(), root.certificate_pem()),
            make("", identity.key(), root.certificate_pem()),
            make(identity.certificate_pem(), identity.key(), "no root"),
        ];
        let parts =
            ["is for another key", "was not issued by this root", "node's certificate", "node's", "root"];
        for (error, part) in errors.into_iter().zip(parts) {
            let text = error.unwrap_err();
            assert!(text.contains(part), "{text} should say {part}");
        }
    }

    #[test]
    fn a_bundle_of_roots_is_trusted_and_the_issuer_is_told_apart() {
        let now = SystemClock.now();
        let (old, new) = (RootAuthority::generate(now).unwrap(), RootAuthority::generate(now).unwrap());
        let key = NodeKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        let pem = new.sign(&request, NodeId(2), ClusterId(1), Role::Worker, HOUR, now).unwrap();
        let bundle = format!("{}{}", old.certificate_pem(), new.certificate_pem());
        let info = NodeIdentity::new(&pem, key, &bundle).unwrap().tls_info();
        let der = certificates_from_pem(new.certificate_pem()).unwrap().remove(0);
        let expected = parse(&der).unwrap();
        assert_eq!(info.issuer_public_key, expected.public_key().raw);
        assert_eq!(info.issuer_subject, expected.subject().as_raw());
        assert_eq!(info.trust_root_pem, bundle);
    }

    #[test]
    fn renewal_falls_between_half_and_four_fifths_of_the_lifetime() {
        let identity = issue(&RootAuthority::generate(SystemClock.now()).unwrap(), 1, 2, Role::Worker);
        let from = identity.issued_at();
        assert_eq!(from, identity.not_before.plus(HOUR));
        let lifetime = identity.not_after.since(from);
        let mut random = SeededRandom::new(1, "renewal");
        let times: Vec<_> = (0..200).map(|_| identity.renew_at(&mut random)).collect();
        let part = |time: Timestamp| time.since(from).as_secs_f64() / lifetime.as_secs_f64();
        assert!(times.iter().all(|time| (0.5..=0.8).contains(&part(*time))));
        assert!(times.iter().any(|time| part(*time) < 0.55) && times.iter().any(|time| part(*time) > 0.75));
    }

    #[test]
    fn an_expired_identity_is_made_but_says_so() {
        let root = RootAuthority::generate(Timestamp(1_700_000_000_000_000_000)).unwrap();
        let identity = issue_at(&root, 1, 2, Role::Worker, Timestamp(1_700_000_000_000_000_000));
        assert!(identity.is_expired(SystemClock.now()));
        assert!(!identity.is_expired(identity.not_after));
    }
}
