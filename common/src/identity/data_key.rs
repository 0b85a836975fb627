//! The key that a manager's raft log and snapshots are encrypted with, and how it rests on disk.
//!
//! It is wrapped under a key that follows from the node's private key and, with autolock, from a key that only
//! people hold. The node's key changes with its certificate, so both are replaced in one file (`file`).

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::key::{self, NodeKey};
use super::unlock_key::UnlockKey;
use crate::random::Random;

const FORMAT: u8 = 2;
/// Format, whether an unlock key is needed, and the key's version.
const HEADER_BYTES: usize = 2 + 8;
const NONCE_BYTES: usize = 12;
const WRAPPED_BYTES: usize = HEADER_BYTES + NONCE_BYTES + 32 + 16;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataKeyError {
    #[error("the wrapped data key is not one of swarm's")]
    Format,
    #[error("the data key is locked: the unlock key is needed")]
    Locked,
    #[error("the data key does not open with this node's key and the unlock key given")]
    WrongKey,
}

/// 32 random bytes, cleared from memory when dropped.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

/// The data keys of a manager. What is written is sealed with `current`; while records of before are sealed anew,
/// `previous` opens them.
#[derive(Clone, Debug)]
pub struct DataKeys {
    pub current: DataKey,
    /// Counts with the cluster's wish for new keys: this manager has followed it up to here.
    pub version: u64,
    pub previous: Option<DataKey>,
}

/// A data key as it may lie on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedDataKey(Vec<u8>);

impl DataKey {
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The key itself. Every caller is a place to look at when asking where keys go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// `unlock_key` is what people hold when the cluster locks its managers.
    pub fn wrap(
        &self,
        version: u64,
        node_key: &NodeKey,
        unlock_key: Option<&UnlockKey>,
        random: &mut dyn Random,
    ) -> WrappedDataKey {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let mut header = [0; HEADER_BYTES];
        header[..2].copy_from_slice(&[FORMAT, u8::from(unlock_key.is_some())]);
        header[2..].copy_from_slice(&version.to_be_bytes());
        let mut sealed = Zeroizing::new(self.0.to_vec());
        let tag = wrapping_key(node_key, unlock_key)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(header),
                sealed.as_mut_slice(),
            )
            .expect("32 bytes are within what AES-GCM seals");
        WrappedDataKey([&header[..], &nonce, &sealed, tag.as_ref()].concat())
    }
}

impl WrappedDataKey {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataKeyError> {
        match bytes {
            [FORMAT, 0 | 1, ..] if bytes.len() == WRAPPED_BYTES => Ok(Self(bytes.to_vec())),
            _ => Err(DataKeyError::Format),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn needs_unlock_key(&self) -> bool {
        self.0[1] == 1
    }

    /// The version of the key in it, which is believed once it opens.
    pub fn version(&self) -> u64 {
        u64::from_be_bytes(self.0[2..HEADER_BYTES].try_into().expect("its length was checked"))
    }

    pub fn unwrap(
        &self,
        node_key: &NodeKey,
        unlock_key: Option<&UnlockKey>,
    ) -> Result<DataKey, DataKeyError> {
        if self.needs_unlock_key() && unlock_key.is_none() {
            return Err(DataKeyError::Locked);
        }
        let unlock_key = unlock_key.filter(|_| self.needs_unlock_key());
        let (header, rest) = self.0.split_at(HEADER_BYTES);
        let (nonce, sealed) = rest.split_at(NONCE_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DataKeyError::Format)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let opened = wrapping_key(node_key, unlock_key)
            .open_in_place(nonce, Aad::from(header), sealed.as_mut_slice())
            .map_err(|_| DataKeyError::WrongKey)?;
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(opened);
        Ok(DataKey(bytes))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

fn wrapping_key(node_key: &NodeKey, unlock_key: Option<&UnlockKey>) -> LessSafeKey {
    let bytes = match unlock_key {
        None => key::derive(&[node_key.secret_bytes()], "data key"),
        Some(unlock_key) => key::derive(&[node_key.secret_bytes(), unlock_key.reveal()], "locked data key"),
    };
    let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).expect("AES-256 takes 32 bytes");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_data_key_opens_with_its_keys_and_no_others() {
        let (node, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let key = DataKey::generate(&mut SystemRandom);
        let [people, others] = [(); 2].map(|()| UnlockKey::generate(&mut SystemRandom));
        let plain = key.wrap(7, &node, None, &mut SystemRandom);
        let locked = key.wrap(7, &node, Some(&people), &mut SystemRandom);
        #[rustfmt::skip]
        let cases = [ // wrapped, node key, unlock key, error
            (&plain,  &node,  None,                None),
            (&plain,  &node,  Some(&people), None), // not needed, so not used
            (&plain,  &other, None,                Some(DataKeyError::WrongKey)),
            (&locked, &node,  Some(&people), None),
            (&locked, &node,  None,                Some(DataKeyError::Locked)),
            (&locked, &node,  Some(&others), Some(DataKeyError::WrongKey)),
            (&locked, &other, Some(&people), Some(DataKeyError::WrongKey)),
        ];
        for (wrapped, node, unlock, error) in cases {
            let again = WrappedDataKey::from_bytes(wrapped.as_bytes()).unwrap();
            let opened = again.unwrap(node, unlock);
            assert_eq!(opened.as_ref().err(), error.as_ref());
            assert_eq!(again.version(), 7);
            if let Ok(opened) = opened {
                assert_eq!(opened.reveal(), key.reveal());
            }
        }
        assert_ne!(plain, key.wrap(7, &node, None, &mut SystemRandom));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let node = NodeKey::generate().unwrap();
        let wrapped = DataKey::generate(&mut SystemRandom).wrap(1, &node, None, &mut SystemRandom);
        for at in 0..wrapped.as_bytes().len() {
            let mut bytes = wrapped.as_bytes().to_vec();
            bytes[at] ^= 1;
            let opened = WrappedDataKey::from_bytes(&bytes).and_then(|key| key.unwrap(&node, None));
            assert!(opened.is_err(), "byte {at}");
            assert!(WrappedDataKey::from_bytes(&bytes[..at]).is_err());
        }
    }
}
