//! The root of trust: signs node certificates from signing requests.
//!
//! Who may have one is the manager's decision; here is only how it is made.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::x509::X509Name;
use zeroize::Zeroize;

use super::certificate::{AUTHORITY_NAME, CertificateError, certificates_from_pem, parse, role_unit};
use super::key::{KeyError, NodeKey};
use crate::object::sensitive::Sensitive;
use crate::object::{ClusterId, NodeId, Role};
use crate::time::Timestamp;

/// How long a root lasts: 20 years of 365 days.
pub const ROOT_VALIDITY: Duration = Duration::from_secs(630_720_000);
/// How far certificates reach back, for nodes whose clocks are behind.
pub const BACKDATE: Duration = Duration::from_secs(3600);
/// What a signing request may have; ours have about 200.
const REQUEST_BYTES_MAX: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("make the root certificate")]
    Root(#[source] rcgen::Error),
    #[error("read the root certificate")]
    Certificate(#[from] CertificateError),
    #[error("read the root key")]
    Key(#[from] KeyError),
    #[error("the root certificate may not sign other certificates")]
    NotAnAuthority,
    #[error("the root certificate and the root key do not belong together")]
    Mismatch,
    #[error("the certificate signing request is damaged, or not signed by the key it names")]
    Request,
    #[error("the root certificate has a name that cannot be repeated in another certificate")]
    Name,
    #[error("sign the certificate that introduces the new root")]
    CrossSign(#[source] rcgen::Error),
    #[error("sign the certificate of {node}")]
    Sign {
        node: NodeId,
        #[source]
        source: rcgen::Error,
    },
    #[error("sign the certificate of {holder}")]
    SignOther {
        holder: String,
        #[source]
        source: rcgen::Error,
    },
}

/// A root certificate with its key.
#[derive(Clone)]
pub struct RootAuthority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    /// PEM. The form that signs is made for each use, so that its copy of the key can be cleared.
    key: Sensitive,
}

impl RootAuthority {
    pub fn generate(now: Timestamp) -> Result<Self, AuthorityError> {
        let key = NodeKey::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&[(DnType::CommonName, AUTHORITY_NAME.into())]);
        // No limit on the length of the chain: a later root is introduced by a certificate that this one signs.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(now, ROOT_VALIDITY);
        let mut pair = key.pair();
        let certificate = params.self_signed(&pair);
        pair.zeroize();
        let certificate = certificate.map_err(AuthorityError::Root)?;
        let (certificate_pem, certificate) = (certificate.pem(), certificate.der().clone());
        Ok(Self { certificate_pem, certificate, key: key.to_pem() })
    }

    /// The text is kept but for white space around it: the digest in join tokens is over its bytes.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificate = only_certificate(certificate_pem)?;
        let mut pair = key_pair(key_pem)?;
        let public_key = pair.der_bytes().to_vec();
        pair.zeroize();
        let parsed = parse(&certificate)?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NotAnAuthority);
        }
        if parsed.public_key().subject_public_key.data != public_key {
            return Err(AuthorityError::Mismatch);
        }
        distinguished_name(parsed.subject())?;
        let key = Sensitive::new(key_pem.into());
        Ok(Self { certificate_pem: format!("{}\n", certificate_pem.trim()), certificate, key })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn key_pem(&self) -> Sensitive {
        self.key.clone()
    }

    /// A certificate, PEM, for the key in a signing request. Nothing else of the request is used.
    pub fn sign(
        &self,
        csr_der: &[u8],
        node: NodeId,
        cluster: ClusterId,
        role: Role,
        valid_for: Duration,
        now: Timestamp,
    ) -> Result<String, AuthorityError> {
        let failed = |source| AuthorityError::Sign { node, source };
        if csr_der.len() > REQUEST_BYTES_MAX {
            return Err(AuthorityError::Request);
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der))
            .map_err(|_| AuthorityError::Request)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&[
            (DnType::OrganizationName, cluster.to_string()),
            (DnType::OrganizationalUnitName, role_unit(role).into()),
            (DnType::CommonName, node.to_string()),
        ]);
        let mut names = vec![role_unit(role).to_string(), node.to_string()];
        if role == Role::Manager {
            names.push(AUTHORITY_NAME.into());
        }
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(failed)?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(now, valid_for);
        self.signed(&params, &request.public_key)?.map_err(failed)
    }

    /// The name and key of another root in a certificate of this one: who trusts this root then trusts that one.
    pub fn introduce(
        &self,
        other_pem: &str,
        now: Timestamp,
        valid_for: Duration,
    ) -> Result<String, AuthorityError> {
        let other = only_certificate(other_pem)?;
        let other = parse(&other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(other.subject())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(now, valid_for);
        let key =
            SubjectPublicKeyInfo::from_der(other.public_key().raw).map_err(AuthorityError::CrossSign)?;
        self.signed(&params, &key)?.map_err(AuthorityError::CrossSign)
    }

    /// A certificate, PEM, for the key in a signing request, that says what `params` say.
    pub(super) fn sign_params(
        &self,
        csr_der: &[u8],
        params: &CertificateParams,
        holder: &str,
    ) -> Result<String, AuthorityError> {
        if csr_der.len() > REQUEST_BYTES_MAX {
            return Err(AuthorityError::Request);
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der))
            .map_err(|_| AuthorityError::Request)?;
        let failed = |source| AuthorityError::SignOther { holder: holder.into(), source };
        self.signed(params, &request.public_key)?.map_err(failed)
    }

    fn signed(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Result<String, rcgen::Error>, AuthorityError> {
        let mut pair = key_pair(self.key.reveal())?;
        let signed = Issuer::from_ca_cert_der(&self.certificate, &pair)
            .and_then(|issuer| params.clone().signed_by(key, &issuer));
        pair.zeroize();
        Ok(signed.map(|certificate| certificate.pem()))
    }
}

/// The one certificate of a PEM text.
pub(super) fn only_certificate(pem: &str) -> Result<CertificateDer<'static>, CertificateError> {
    let mut certificates = certificates_from_pem(pem)?;
    match (certificates.pop(), certificates.len()) {
        (Some(certificate), 0) => Ok(certificate),
        (_, others) => Err(CertificateError::NotOne { found: others + 1 }),
    }
}

/// Any key that signs: roots that people bring need not be of our own kind.
pub(super) fn key_pair(pem: &str) -> Result<KeyPair, KeyError> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NotAKey)?;
    KeyPair::try_from(&der).map_err(KeyError::Unusable)
}

/// A name as it stands in a certificate, to be written again byte for byte.
fn distinguished_name(name: &X509Name<'_>) -> Result<DistinguishedName, AuthorityError> {
    use x509_parser::der_parser::asn1_rs::Tag;
    let mut copy = DistinguishedName::new();
    for part in name.iter() {
        let mut attributes = part.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return Err(AuthorityError::Name);
        };
        let oid: Vec<u64> =
            attribute.attr_type().iter().map(Iterator::collect).ok_or(AuthorityError::Name)?;
        let kind = DnType::from_oid(&oid);
        let text = std::str::from_utf8(attribute.attr_value().data).map_err(|_| AuthorityError::Name)?;
        let value = match attribute.attr_value().header.tag() {
            Tag::Utf8String => DnValue::Utf8String(text.into()),
            Tag::PrintableString => {
                DnValue::PrintableString(text.try_into().map_err(|_| AuthorityError::Name)?)
            }
            Tag::Ia5String => DnValue::Ia5String(text.try_into().map_err(|_| AuthorityError::Name)?),
            _ => return Err(AuthorityError::Name),
        };
        if copy.get(&kind).is_some() {
            return Err(AuthorityError::Name); // a second value would replace the first
        }
        copy.push(kind, value);
    }
    Ok(copy)
}

impl fmt::Debug for RootAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootAuthority(..)")
    }
}

pub(super) fn name(parts: &[(DnType, String)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind.clone(), value.as_str());
    }
    name
}

pub(super) fn validity(now: Timestamp, valid_for: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let from = Timestamp(now.0.saturating_sub(BACKDATE.as_nanos() as u64));
    (date(from), date(now.plus(valid_for)))
}

fn date(time: Timestamp) -> OffsetDateTime {
    // Nanoseconds in 64 bits end in the year 2554, which dates reach.
    OffsetDateTime::from_unix_timestamp((time.0 / 1_000_000_000) as i64).expect("the year is before 2555")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::NodeCertificate;

    const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);

    fn signed(role: Role) -> (RootAuthority, String) {
        let root = RootAuthority::generate(NOW).unwrap();
        let request = NodeKey::generate().unwrap().signing_request().unwrap();
        let pem = root.sign(&request, NodeId(7), ClusterId(9), role, Duration::from_secs(7200), NOW).unwrap();
        (root, pem)
    }

    #[test]
    fn a_certificate_says_what_the_authority_was_told() {
        #[rustfmt::skip]
        let cases = [
            (Role::Manager, vec!["swarm-manager", "0000000000000000000000007", "swarm-ca"]),
            (Role::Worker,  vec!["swarm-worker",  "0000000000000000000000007"]),
        ];
        for (role, names) in cases {
            let (_, pem) = signed(role);
            let der = certificates_from_pem(&pem).unwrap().remove(0);
            let facts = NodeCertificate::from_der(&der).unwrap();
            assert_eq!((facts.node, facts.cluster, facts.role), (NodeId(7), ClusterId(9), role));
            assert_eq!(facts.not_before.plus(BACKDATE), NOW);
            assert_eq!(facts.not_after, NOW.plus(Duration::from_secs(7200)));
            let parsed = parse(&der).unwrap();
            let san = parsed.subject_alternative_name().unwrap().unwrap();
            let found: Vec<String> = san.value.general_names.iter().map(|name| name.to_string()).collect();
            let expected: Vec<String> = names.iter().map(|name| format!("DNSName({name})")).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_root_may_sign_other_roots_and_lasts_twenty_years() {
        let (root, _) = signed(Role::Worker);
        let parsed = parse(&root.certificate).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=swarm-ca");
        assert_eq!(parsed.basic_constraints().unwrap().unwrap().value.path_len_constraint, None);
        let end = parsed.validity().not_after.timestamp() as u64;
        assert_eq!(end, NOW.plus(ROOT_VALIDITY).0 / 1_000_000_000);
    }

    #[test]
    fn a_pair_that_does_not_belong_together_is_refused() {
        let (root, leaf) = signed(Role::Manager);
        let other = RootAuthority::generate(NOW).unwrap();
        let again = RootAuthority::from_pem(root.certificate_pem(), root.key_pem().reveal()).unwrap();
        assert_eq!(again.certificate_pem(), root.certificate_pem());
        let from = |certificate: &str, key: &RootAuthority| {
            RootAuthority::from_pem(certificate, key.key_pem().reveal()).unwrap_err().to_string()
        };
        let both = format!("{}{}", root.certificate_pem(), other.certificate_pem());
        assert!(from(root.certificate_pem(), &other).contains("do not belong together"));
        assert!(from(&leaf, &root).contains("may not sign"));
        assert_eq!(from(&both, &root), "read the root certificate");
        assert_eq!(from("", &root), "read the root certificate");
    }

    #[test]
    fn damaged_requests_are_refused() {
        let root = RootAuthority::generate(NOW).unwrap();
        let request = NodeKey::generate().unwrap().signing_request().unwrap();
        let sign = |request: &[u8]| {
            root.sign(request, NodeId(7), ClusterId(9), Role::Worker, Duration::from_secs(7200), NOW)
        };
        for at in (0..request.len()).step_by(5) {
            let mut damaged = request.clone();
            damaged[at] ^= 0x01;
            assert!(matches!(sign(&damaged), Err(AuthorityError::Request)), "byte {at}");
        }
        assert!(matches!(sign(&[]), Err(AuthorityError::Request)));
        assert!(matches!(sign(&vec![0x30; 1 << 20]), Err(AuthorityError::Request)));
    }
}
