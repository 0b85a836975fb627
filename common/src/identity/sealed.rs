//! Values sealed on their way to one node, inside a connection that is encrypted already.
//!
//! Libraries keep what they have received in buffers that nobody overwrites. With this they hold sealed bytes alone: a
//! secret's value is in a node's memory where it is held on purpose, and can be cleared from there. The key to open
//! them is made anew for each session and never leaves the node.
//!
//! A seal is a public key made for it alone, then the value under AES-256-GCM with a key that follows from both public
//! keys and what they have in common (X25519, HKDF-SHA256).

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::random::Random;

const KEY_BYTES: usize = 32;

/// Why something cannot be sealed or opened: there is nothing more to say than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value or its key is damaged")]
pub struct SealError;

/// What others seal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey([u8; KEY_BYTES]);

/// What opens it.
pub struct OpeningKey {
    private: PrivateKey,
    public: SealKey,
}

impl OpeningKey {
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random.fill(bytes.as_mut_slice());
        let private = PrivateKey::from_private_key(&X25519, bytes.as_slice())
            .expect("any 32 bytes are a private key of X25519");
        let public = public_of(&private).expect("every private key has a public one");
        Self { private, public }
    }

    pub fn public(&self) -> SealKey {
        self.public
    }

    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (theirs, content) = sealed.split_first_chunk::<KEY_BYTES>().ok_or(SealError)?;
        let key = common_key(&self.private, SealKey(*theirs), [SealKey(*theirs), self.public])?;
        let mut value = content.to_vec();
        let length = key.open_in_place(once(), Aad::empty(), &mut value).map_err(|_| SealError)?.len();
        value.truncate(length);
        Ok(value)
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpeningKey(..)")
    }
}

impl SealKey {
    pub fn seal(self, value: &[u8], random: &mut dyn Random) -> Result<Vec<u8>, SealError> {
        let ours = OpeningKey::generate(random);
        let key = common_key(&ours.private, self, [ours.public, self])?;
        // Never moved to a larger place, which would leave the value behind.
        let mut sealed = Vec::with_capacity(KEY_BYTES + value.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&ours.public.0);
        sealed.extend_from_slice(value);
        let tag = key.seal_in_place_separate_tag(once(), Aad::empty(), &mut sealed[KEY_BYTES..]);
        sealed.extend_from_slice(tag.map_err(|_| SealError)?.as_ref());
        Ok(sealed)
    }
}

fn public_of(private: &PrivateKey) -> Result<SealKey, SealError> {
    let public = private.compute_public_key().map_err(|_| SealError)?;
    public.as_ref().try_into().map(SealKey).map_err(|_| SealError)
}

fn common_key(ours: &PrivateKey, theirs: SealKey, both: [SealKey; 2]) -> Result<LessSafeKey, SealError> {
    let derive = |shared: &[u8]| {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"swarm sealed value 1")
            .extract(shared)
            .expand(&[&both[0].0, &both[1].0], &AES_256_GCM)
            .and_then(|material| material.fill(key.as_mut_slice()))?;
        UnboundKey::new(&AES_256_GCM, key.as_slice()).map(LessSafeKey::new)
    };
    agree(ours, UnparsedPublicKey::new(&X25519, theirs.0), Unspecified, derive).map_err(|_| SealError)
}

/// Each key seals one value.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;
    use proptest::prelude::*;

    #[test]
    fn the_holder_of_the_key_opens_it_and_nobody_else() {
        let (mine, other) =
            (OpeningKey::generate(&mut SystemRandom), OpeningKey::generate(&mut SystemRandom));
        for value in [&b""[..], b"hunter2"] {
            let sealed = mine.public().seal(value, &mut SystemRandom).unwrap();
            assert_eq!(mine.open(&sealed).as_deref(), Ok(value));
            assert_eq!(other.open(&sealed), Err(SealError));
            assert!(value.is_empty() || !sealed.windows(value.len()).any(|part| part == value));
            assert_ne!(sealed, mine.public().seal(value, &mut SystemRandom).unwrap());
            for place in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[place] ^= 1;
                assert_eq!(mine.open(&damaged), Err(SealError), "bit of byte {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(sealed in prop::collection::vec(any::<u8>(), 0..80), key: [u8; 32]) {
            let _ = OpeningKey::generate(&mut SystemRandom).open(&sealed);
            let _ = SealKey(key).seal(&sealed, &mut SystemRandom);
        }
    }
}
