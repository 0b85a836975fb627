//! The key of what a node alone needs to remember, such as the journal of its tasks: it outlives every certificate, and
//! lies in the identity file as the private key does, locked where managers lock.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::data_key::DataKey;
use super::key::derive;
use crate::random::{Random, SystemRandom};

/// The record was changed, or sealed by another node or for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was changed, or sealed with another node's key")]
pub struct NotOurs;

/// Seals and opens records of one kind.
pub struct LocalSealer(LessSafeKey);

impl LocalSealer {
    /// `kind` keeps the records of one file apart from those of another.
    pub fn new(key: &DataKey, kind: &str) -> Self {
        let bytes = derive(&[key.reveal()], kind);
        let key = UnboundKey::new(&AES_256_GCM_SIV, bytes.as_slice()).expect("AES-256 takes 32 bytes");
        Self(LessSafeKey::new(key))
    }

    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom.fill(&mut nonce);
        let mut record = [&nonce[..], plain].concat();
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut record[NONCE_LEN..],
            )
            .expect("records are far shorter than what one nonce may seal");
        record.extend_from_slice(tag.as_ref());
        record
    }

    pub fn open(&self, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        let (nonce, sealed) = record.split_at_checked(NONCE_LEN).ok_or(NotOurs)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOurs)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let length = self.0.open_in_place(nonce, Aad::empty(), &mut plain).map_err(|_| NotOurs)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl fmt::Debug for LocalSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalSealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_with_its_key_and_for_its_kind_alone() {
        let key = DataKey::generate(&mut SystemRandom);
        let sealer = LocalSealer::new(&key, "tasks");
        let record = sealer.seal(b"a plain record");
        assert_eq!(&**sealer.open(&record).unwrap(), b"a plain record");
        assert!(!record.windows(5).any(|window| window == b"plain"));
        assert_eq!(LocalSealer::new(&key, "other").open(&record), Err(NotOurs));
        let other = DataKey::generate(&mut SystemRandom);
        assert_eq!(LocalSealer::new(&other, "tasks").open(&record), Err(NotOurs));
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(&changed), Err(NotOurs));
            assert_eq!(sealer.open(&record[..at]), Err(NotOurs));
        }
    }
}
