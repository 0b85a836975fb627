//! Roots that people bring: whether a certificate, and its key where there is one, can be a cluster's root.
//!
//! Pure. The texts are Docker's where Docker has one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;

use super::authority::{AuthorityError, RootAuthority, only_certificate};
use super::certificate::{CertificateError, certificates_from_pem, parse, timestamp};
use super::key::{KeyError, NodeKey};
use super::node::NodeIdentity;
use crate::limits::ROOT_LEFT_MIN;
use crate::object::{ClusterId, NodeId, Role};
use crate::report::Report;
use crate::time::Timestamp;

/// Why a given root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenRootError {
    #[error("could not parse the desired CA certificate")]
    NotReadable,
    #[error("the desired CA certificate cannot contain multiple certificates")]
    Several,
    #[error("CA certificate expires too soon")]
    ExpiresTooSoon,
    #[error("CA certificate is not valid yet")]
    NotYetValid,
    #[error("the desired CA certificate may not sign other certificates")]
    NotAnAuthority,
    #[error("the desired CA certificate is not signed by its own key: give the root, not an intermediate")]
    NotARoot,
    #[error("certificate key mismatch")]
    Mismatch,
    #[error(
        "could not read the CA's signing key: expected an unencrypted RSA, ECDSA or Ed25519 key as PEM text"
    )]
    Key(#[source] KeyError),
    #[error("nodes would not believe certificates of this CA: {reason}")]
    Useless { reason: String },
}

/// Makes the text the same whatever stood around the certificate, since digests are taken of it.
pub fn normalized(der: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}

/// The certificate of a root that is used from `now` on, as normalized text.
pub fn check_certificate(certificate_pem: &str, now: Timestamp) -> Result<String, GivenRootError> {
    let der = match only_certificate(certificate_pem) {
        Ok(der) => der,
        Err(CertificateError::NotOne { .. }) => return Err(GivenRootError::Several),
        Err(_) => return Err(GivenRootError::NotReadable),
    };
    let certificate = parse(&der).map_err(|_| GivenRootError::NotReadable)?;
    let validity = certificate.validity();
    if timestamp(validity.not_after.timestamp()) < now.plus(ROOT_LEFT_MIN) {
        return Err(GivenRootError::ExpiresTooSoon);
    }
    if timestamp(validity.not_before.timestamp()) > now {
        return Err(GivenRootError::NotYetValid);
    }
    if !certificate.is_ca() {
        return Err(GivenRootError::NotAnAuthority);
    }
    if certificate.verify_signature(None).is_err() {
        return Err(GivenRootError::NotARoot);
    }
    Ok(normalized(&der))
}

/// A given root with its key. Signs a certificate to try whether a node would believe it.
pub fn check_pair(
    certificate_pem: &str,
    key_pem: &str,
    now: Timestamp,
) -> Result<RootAuthority, GivenRootError> {
    let certificate_pem = check_certificate(certificate_pem, now)?;
    let root = RootAuthority::from_pem(&certificate_pem, key_pem).map_err(|error| match error {
        AuthorityError::Mismatch => GivenRootError::Mismatch,
        AuthorityError::Key(error) => GivenRootError::Key(error),
        other => GivenRootError::Useless { reason: Report(&other).to_string() },
    })?;
    let trial = || {
        let useless = |error: &dyn std::error::Error| Report(error).to_string();
        let key = NodeKey::generate().map_err(|error| useless(&error))?;
        let csr = key.signing_request().map_err(|error| useless(&error))?;
        let hour = Duration::from_secs(3600);
        let leaf = root
            .sign(&csr, NodeId(1), ClusterId(1), Role::Manager, hour, now)
            .map_err(|error| useless(&error))?;
        NodeIdentity::new(&leaf, key, &certificate_pem).map_err(|error| useless(&error))
    };
    trial().map_err(|reason| GivenRootError::Useless { reason })?;
    Ok(root)
}

/// The public key of a root in the form in which certificates name their issuer's; empty where it cannot be read.
pub fn public_key(certificate_pem: &str) -> Vec<u8> {
    let certificates = certificates_from_pem(certificate_pem).unwrap_or_default();
    let certificate = certificates.first().and_then(|der| parse(der).ok());
    certificate.map(|certificate| certificate.public_key().raw.to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn root() -> RootAuthority {
        RootAuthority::generate(NOW).unwrap()
    }

    #[test]
    fn a_root_is_taken_with_text_around_it_and_normalized() {
        let root = root();
        let text = format!("subject: mine\r\n{}\r\n\r\n", root.certificate_pem().replace('\n', "\r\n"));
        let taken = check_certificate(&text, NOW).unwrap();
        assert_eq!(taken, check_certificate(root.certificate_pem(), NOW).unwrap());
        assert_eq!(check_certificate(&taken, NOW).unwrap(), taken);
        let pair = check_pair(&text, root.key_pem().reveal(), NOW).unwrap();
        assert_eq!(pair.certificate_pem(), taken);
        assert!(!public_key(&taken).is_empty() && public_key("none").is_empty());
    }

    #[test]
    fn what_cannot_be_a_root_is_refused_by_name() {
        let (root, other) = (root(), root());
        let both = format!("{}{}", root.certificate_pem(), other.certificate_pem());
        let key = NodeKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        let year = 366 * DAY;
        let leaf = root.sign(&request, NodeId(1), ClusterId(1), Role::Manager, 2 * year, NOW).unwrap();
        let introduced = root.introduce(other.certificate_pem(), NOW, 2 * year).unwrap();
        let late = NOW.plus(19 * year);
        #[rustfmt::skip]
        let cases = [ // certificate, key, when, what is said
            ("",                                  &root,  NOW,            "could not parse the desired CA certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &root, NOW, "could not parse the desired CA certificate"),
            (both.as_str(),                       &root,  NOW,            "the desired CA certificate cannot contain multiple certificates"),
            (root.certificate_pem(),              &root,  late,           "CA certificate expires too soon"),
            (root.certificate_pem(),              &root,  Timestamp(0),   "CA certificate is not valid yet"),
            (root.certificate_pem(),              &other, NOW,            "certificate key mismatch"),
            (leaf.as_str(),                       &root,  NOW,            "the desired CA certificate may not sign other certificates"),
            (introduced.as_str(),                 &other, NOW,            "the desired CA certificate is not signed by its own key: give the root, not an intermediate"),
        ];
        for (certificate, key, at, said) in cases {
            let error = check_pair(certificate, key.key_pem().reveal(), at).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
        let error = check_pair(root.certificate_pem(), "secret words", NOW).unwrap_err();
        assert!(
            matches!(error, GivenRootError::Key(_)) && !Report(&error).to_string().contains("secret words")
        );
    }

    #[test]
    fn a_certificate_of_the_next_root_is_believed_by_who_knows_either() {
        let (old, new) = (root(), root());
        let key = NodeKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        let leaf = new.sign(&request, NodeId(1), ClusterId(1), Role::Worker, DAY, NOW).unwrap();
        let introduced = old.introduce(new.certificate_pem(), NOW, 30 * DAY).unwrap();
        let chain = format!("{leaf}{introduced}");
        for trusted in [old.certificate_pem(), new.certificate_pem()] {
            let identity = NodeIdentity::new(&chain, key.clone(), trusted).unwrap();
            assert_eq!(identity.tls_info().issuer_public_key, public_key(new.certificate_pem()));
        }
        assert!(NodeIdentity::new(&leaf, key, old.certificate_pem()).is_err());
    }
}
