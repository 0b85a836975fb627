//! Certificates of the API on TCP: those of its clients, and the one that a manager shows them.
//!
//! None of them is a node's: their organizational units are others, so that neither opens the door of the other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType, SerialNumber};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;

use super::authority::{AuthorityError, RootAuthority, name, validity};
use super::certificate::{CertificateError, only, parse, timestamp};
use super::key::{KeyError, NodeKey};
use crate::object::{AccessRole, ClientRecord, ClientSerial, ClusterId};
use crate::time::Timestamp;

/// The organizational unit of the certificate that a manager shows to clients.
pub const API_SERVER_UNIT: &str = "swarm-api";
/// What stands before the role in the organizational unit of a client.
const CLIENT_UNIT_PREFIX: &str = "swarm-client-";
/// PEM of a signing request; ours have about 400.
const REQUEST_PEM_BYTES_MAX: usize = 8192;

/// The facts in a client's certificate. Reading is not trusting: TLS checks the chain, the record the serial number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub serial: ClientSerial,
    pub name: String,
    pub role: AccessRole,
    pub cluster: ClusterId,
    pub not_after: Timestamp,
}

impl ClientCertificate {
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse(der)?;
        let subject = certificate.subject();
        let field = |field, meaning| CertificateError::Field { field, meaning };
        let name = only(subject.iter_common_name()).ok_or(field("common name", "client"))?;
        let role = only(subject.iter_organizational_unit())
            .and_then(|unit| unit.strip_prefix(CLIENT_UNIT_PREFIX)?.parse().ok())
            .ok_or(field("organizational unit", "role of a client"))?;
        let cluster = only(subject.iter_organization())
            .and_then(|name| name.parse().ok())
            .ok_or(field("organization", "cluster"))?;
        let serial: [u8; 16] =
            certificate.raw_serial().try_into().map_err(|_| field("serial number", "client"))?;
        Ok(Self {
            serial: ClientSerial(u128::from_be_bytes(serial)),
            name: name.into(),
            role,
            cluster,
            not_after: timestamp(certificate.validity().not_after.timestamp()),
        })
    }
}

/// A signing request as PEM text, which is how it travels over the API.
pub fn request_to_pem(key: &NodeKey) -> Result<String, KeyError> {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(key.signing_request()?);
    let mut pem = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
    for at in (0..text.len()).step_by(64) {
        pem.push_str(&text[at..text.len().min(at + 64)]);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE REQUEST-----\n");
    Ok(pem)
}

/// The bytes of one signing request; what they ask for does not matter.
pub fn request_from_pem(pem: &str) -> Result<Vec<u8>, AuthorityError> {
    if pem.len() > REQUEST_PEM_BYTES_MAX {
        return Err(AuthorityError::Request);
    }
    let request =
        CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::Request)?;
    Ok(request.to_vec())
}

/// Under which names and addresses a manager's API is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiServerNames {
    pub names: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
}

impl RootAuthority {
    /// A certificate, PEM, with which a client uses the API, and does nothing else.
    pub fn sign_client(
        &self,
        csr_der: &[u8],
        cluster: ClusterId,
        serial: ClientSerial,
        record: &ClientRecord,
    ) -> Result<String, AuthorityError> {
        let mut params = leaf(cluster, &format!("{CLIENT_UNIT_PREFIX}{}", record.role), &record.name);
        params.serial_number = Some(SerialNumber::from_slice(&serial.0.to_be_bytes()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = validity(record.issued, record.expires.since(record.issued));
        self.sign_params(csr_der, &params, &record.name)
    }

    /// A certificate, PEM, that a manager shows to clients of the API. A name that cannot stand in one is left out.
    pub fn sign_api_server(
        &self,
        csr_der: &[u8],
        cluster: ClusterId,
        names: &ApiServerNames,
        valid_for: Duration,
        now: Timestamp,
    ) -> Result<String, AuthorityError> {
        let mut params = leaf(cluster, API_SERVER_UNIT, API_SERVER_UNIT);
        let dns = names.names.iter().filter(|name| is_dns_name(name));
        let dns = dns.filter_map(|name| name.as_str().try_into().ok().map(SanType::DnsName));
        params.subject_alt_names =
            dns.chain(names.addresses.iter().copied().map(SanType::IpAddress)).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = validity(now, valid_for);
        self.sign_params(csr_der, &params, API_SERVER_UNIT)
    }
}

fn leaf(cluster: ClusterId, unit: &str, common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&[
        (DnType::OrganizationName, cluster.to_string()),
        (DnType::OrganizationalUnitName, unit.into()),
        (DnType::CommonName, common_name.into()),
    ]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::NodeCertificate;
    use crate::identity::certificate::certificates_from_pem;
    use crate::object::{NodeId, Role};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn root() -> RootAuthority {
        RootAuthority::generate(NOW).expect("a root")
    }

    fn der(pem: &str) -> Vec<u8> {
        certificates_from_pem(pem).expect("PEM").remove(0).to_vec()
    }

    fn client(role: AccessRole) -> Vec<u8> {
        let key = NodeKey::generate().expect("a key");
        let csr = request_from_pem(&request_to_pem(&key).expect("a request")).expect("our own");
        let record =
            ClientRecord { name: "alice".into(), role, issued: NOW, expires: NOW.plus(HOUR), revoked: None };
        der(&root().sign_client(&csr, ClusterId(9), ClientSerial(7 | 1 << 126), &record).expect("signed"))
    }

    #[test]
    fn a_client_s_certificate_says_what_is_on_record() {
        for role in AccessRole::ALL {
            let facts = ClientCertificate::from_der(&client(role)).expect("a client's");
            let expected = ClientCertificate {
                serial: ClientSerial(7 | 1 << 126),
                name: "alice".into(),
                role,
                cluster: ClusterId(9),
                not_after: NOW.plus(HOUR),
            };
            assert_eq!(facts, expected);
        }
    }

    #[test]
    fn no_certificate_of_one_kind_is_of_another() {
        let key = NodeKey::generate().expect("a key");
        let csr = key.signing_request().expect("a request");
        let names = ApiServerNames {
            names: ["host-1".into(), "not a name".into()].into(),
            addresses: [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()].into(),
        };
        let server = der(&root().sign_api_server(&csr, ClusterId(9), &names, HOUR, NOW).expect("signed"));
        let node = |role| der(&root().sign(&csr, NodeId(7), ClusterId(9), role, HOUR, NOW).expect("signed"));
        for other in [server.clone(), node(Role::Manager), node(Role::Worker)] {
            assert!(ClientCertificate::from_der(&other).is_err());
        }
        for other in AccessRole::ALL.map(client).into_iter().chain([server.clone()]) {
            assert!(NodeCertificate::from_der(&other).is_err());
        }
        let parsed = parse(&server).expect("a certificate");
        let shown = parsed.subject_alternative_name().expect("one").expect("one").value.general_names.len();
        assert_eq!(shown, 3, "the name that is none is left out");
        let usage = parsed.extended_key_usage().expect("one").expect("one").value.clone();
        assert!(usage.server_auth && !usage.client_auth);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, text in ".{0,200}") {
            prop_assert!(ClientCertificate::from_der(&bytes).is_err());
            let _ = request_from_pem(&format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}"));
            let _ = is_dns_name(&text);
        }
    }
}
