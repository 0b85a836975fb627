//! What a node's certificate says: node, role, cluster, from when until when.
//!
//! Reading is not trusting: the chain to the root is checked by TLS, or by `NodeIdentity` for our own.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::AttributeTypeAndValue;

use crate::object::{ClusterId, NodeId, Role};
use crate::time::Timestamp;

/// Organizational units, which double as names a server answers to.
pub const MANAGER_UNIT: &str = "swarm-manager";
pub const WORKER_UNIT: &str = "swarm-worker";
/// The root's common name, and one more name that managers answer to.
pub const AUTHORITY_NAME: &str = "swarm-ca";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("expected certificates as PEM text")]
    NotPem,
    #[error("expected exactly one certificate, found {found}")]
    NotOne { found: usize },
    #[error("not a certificate")]
    NotX509,
    #[error("the certificate has no {field} that names a {meaning}")]
    Field { field: &'static str, meaning: &'static str },
}

/// The facts in a node's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    pub node: NodeId,
    pub role: Role,
    pub cluster: ClusterId,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The point on the curve.
    pub public_key: Vec<u8>,
}

impl NodeCertificate {
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse(der)?;
        let subject = certificate.subject();
        let field = |field, meaning| CertificateError::Field { field, meaning };
        let node = only(subject.iter_common_name())
            .and_then(|name| name.parse().ok())
            .ok_or(field("common name", "node"))?;
        let role = only(subject.iter_organizational_unit())
            .and_then(unit_role)
            .ok_or(field("organizational unit", "role"))?;
        let cluster = only(subject.iter_organization())
            .and_then(|name| name.parse().ok())
            .ok_or(field("organization", "cluster"))?;
        Ok(Self {
            node,
            role,
            cluster,
            not_before: timestamp(certificate.validity().not_before.timestamp()),
            not_after: timestamp(certificate.validity().not_after.timestamp()),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }
}

pub fn role_unit(role: Role) -> &'static str {
    match role {
        Role::Manager => MANAGER_UNIT,
        Role::Worker => WORKER_UNIT,
    }
}

fn unit_role(unit: &str) -> Option<Role> {
    match unit {
        MANAGER_UNIT => Some(Role::Manager),
        WORKER_UNIT => Some(Role::Worker),
        _ => None,
    }
}

/// All certificates of a PEM text, at least one.
pub fn certificates_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(CertificateError::NotPem),
    }
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::NotX509),
    }
}

/// The one value of an attribute. Two would leave it to the reader which one counts.
pub(super) fn only<'a>(mut values: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Option<&'a str> {
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_str().ok(),
        _ => None,
    }
}

pub(super) fn timestamp(unix_seconds: i64) -> Timestamp {
    Timestamp(u64::try_from(unix_seconds).unwrap_or(0).saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(NodeCertificate::from_der(&bytes).is_err());
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = certificates_from_pem(&format!("-----BEGIN CERTIFICATE-----\n{text}"));
        }
    }
}
