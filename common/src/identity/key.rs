//! A node's private key. It is made on the node and never leaves it; what travels is a signing request.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hkdf;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use crate::object::sensitive::Sensitive;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("generate a private key")]
    Generate(#[source] rcgen::Error),
    #[error("read a private key: expected one PKCS#8 block of PEM text")]
    NotPem,
    #[error("read a private key: it is not an ECDSA P-256 key")]
    NotP256(#[source] rcgen::Error),
    #[error("read a private key: expected PEM text")]
    NotAKey,
    #[error("read a private key: it is none of the kinds that can sign (RSA, ECDSA, Ed25519)")]
    Unusable(#[source] rcgen::Error),
    #[error("make a certificate signing request")]
    Request(#[source] rcgen::Error),
}

/// An ECDSA P-256 key. Clones share the one copy in memory, which is cleared when the last of them goes.
#[derive(Clone)]
pub struct NodeKey {
    pkcs8: Arc<Zeroizing<Vec<u8>>>,
    public: Vec<u8>,
}

impl NodeKey {
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate().map_err(KeyError::Generate)?;
        Ok(Self::keep(pair))
    }

    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NotPem)?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256);
        pair.map(Self::keep).map_err(KeyError::NotP256)
    }

    pub fn to_pem(&self) -> Sensitive {
        let mut pair = self.pair();
        let pem = pair.serialize_pem();
        pair.zeroize();
        Sensitive::new(pem)
    }

    /// A request for a certificate of this key, DER. It asks for nothing: the authority decides what it says.
    pub fn signing_request(&self) -> Result<Vec<u8>, KeyError> {
        let mut pair = self.pair();
        let request = CertificateParams::default().serialize_request(&pair);
        pair.zeroize();
        Ok(request.map_err(KeyError::Request)?.der().to_vec())
    }

    /// The point on the curve, as it stands in a certificate.
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// A secret that follows from this key and the label, the same at every start.
    pub fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        derive(&[&self.pkcs8], label)
    }

    pub(crate) fn secret_bytes(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn to_tls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pkcs8.to_vec().into())
    }

    /// The form that signs. It is made for each use, so that its copy of the key can be cleared.
    pub(super) fn pair(&self) -> KeyPair {
        let der = PrivatePkcs8KeyDer::from(self.pkcs8.as_slice());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256)
            .expect("these bytes were a key when they came in")
    }

    fn keep(mut pair: KeyPair) -> Self {
        let key = Self {
            pkcs8: Arc::new(Zeroizing::new(pair.serialized_der().to_vec())),
            public: pair.der_bytes().to_vec(),
        };
        pair.zeroize();
        key
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

/// HKDF-SHA256 over the parts, each with its length in front so that no two lists of parts are the same input.
pub(crate) fn derive(parts: &[&[u8]], label: &str) -> Zeroizing<[u8; 32]> {
    let mut input = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum()));
    for part in parts {
        input.extend_from_slice(&(part.len() as u64).to_be_bytes());
        input.extend_from_slice(part);
    }
    let mut output = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"swarm 1")
        .extract(&input)
        .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|material| material.fill(output.as_mut_slice()))
        .expect("32 bytes are within what HKDF-SHA256 gives");
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = NodeKey::generate().unwrap();
        let again = NodeKey::from_pem(key.to_pem().reveal()).unwrap();
        assert_eq!(key.public_key(), again.public_key());
        assert_eq!(*key.derive("reset"), *again.derive("reset"));
        assert_ne!(*key.derive("reset"), *key.derive("other"));
        assert_ne!(*key.derive("reset"), *NodeKey::generate().unwrap().derive("reset"));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "secret words", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"]
        {
            let error = NodeKey::from_pem(text).unwrap_err();
            assert!(!crate::report::Report(&error).to_string().contains("c2VjcmV0"), "{error}");
        }
        assert_eq!(format!("{:?}", NodeKey::generate().unwrap()), "NodeKey(..)");
    }
}
