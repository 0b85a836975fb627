//! A manager's private key as it lies on disk while managers lock: sealed with the unlock key alone.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::data_key::DataKeyError;
use super::key::{self, NodeKey};
use super::unlock_key::UnlockKey;
use crate::random::Random;

const FORMAT: u8 = 1;
/// Format, and the version of the unlock key.
const HEADER_BYTES: usize = 1 + 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Ours have about 300.
const BYTES_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedKey(Vec<u8>);

impl LockedKey {
    pub fn lock(node_key: &NodeKey, unlock_key: &UnlockKey, version: u64, random: &mut dyn Random) -> Self {
        let mut header = [0; HEADER_BYTES];
        header[0] = FORMAT;
        header[1..].copy_from_slice(&version.to_be_bytes());
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let pem = node_key.to_pem();
        let mut sealed = Zeroizing::new(pem.reveal().as_bytes().to_vec());
        let tag = locking_key(unlock_key)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(header),
                sealed.as_mut_slice(),
            )
            .expect("a key is within what AES-GCM seals");
        Self([&header[..], &nonce, &sealed, tag.as_ref()].concat())
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataKeyError> {
        match bytes {
            [FORMAT, ..]
                if bytes.len() > HEADER_BYTES + NONCE_BYTES + TAG_BYTES && bytes.len() <= BYTES_MAX =>
            {
                Ok(Self(bytes.to_vec()))
            }
            _ => Err(DataKeyError::Format),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The version of the unlock key, which is believed once this opens.
    pub fn version(&self) -> u64 {
        u64::from_be_bytes(self.0[1..HEADER_BYTES].try_into().expect("its length was checked"))
    }

    pub fn unlock(&self, unlock_key: &UnlockKey) -> Result<NodeKey, DataKeyError> {
        let (header, rest) = self.0.split_at(HEADER_BYTES);
        let (nonce, sealed) = rest.split_at(NONCE_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DataKeyError::Format)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let opened = locking_key(unlock_key)
            .open_in_place(nonce, Aad::from(header), sealed.as_mut_slice())
            .map_err(|_| DataKeyError::WrongKey)?;
        let pem = std::str::from_utf8(opened).map_err(|_| DataKeyError::Format)?;
        NodeKey::from_pem(pem).map_err(|_| DataKeyError::Format)
    }
}

fn locking_key(unlock_key: &UnlockKey) -> LessSafeKey {
    let bytes = key::derive(&[unlock_key.reveal()], "locked private key");
    let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).expect("AES-256 takes 32 bytes");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_locked_key_opens_with_its_unlock_key_alone() {
        let node = NodeKey::generate().unwrap();
        let [people, others] = [(); 2].map(|()| UnlockKey::generate(&mut SystemRandom));
        let locked = LockedKey::lock(&node, &people, 3, &mut SystemRandom);
        let again = LockedKey::from_bytes(locked.as_bytes()).unwrap();
        assert_eq!(again.version(), 3);
        assert_eq!(again.unlock(&people).unwrap().public_key(), node.public_key());
        assert_eq!(again.unlock(&others).unwrap_err(), DataKeyError::WrongKey);
        for at in 0..locked.as_bytes().len() {
            let mut bytes = locked.as_bytes().to_vec();
            bytes[at] ^= 1;
            let opened = LockedKey::from_bytes(&bytes).and_then(|key| key.unlock(&people));
            assert!(opened.is_err(), "byte {at}");
            let cut = LockedKey::from_bytes(&locked.as_bytes()[..at]).and_then(|key| key.unlock(&people));
            assert!(cut.is_err(), "cut at {at}");
        }
    }
}
