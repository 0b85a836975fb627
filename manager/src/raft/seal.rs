//! Encryption at rest: every record of this manager's raft data is sealed under its own data key.
//!
//! AES-256-GCM-SIV with a random nonce: a nonce drawn twice tells at most that two equal records are equal.
//! A record is bound to what it is and where it lies, so that nobody can pass one off as another.
//!
//! The key changes while the manager runs (`rotate`): new records are sealed under the new one at once, and until those
//! of before are sealed anew, the one before opens them.

use std::fmt;
use std::sync::{Arc, RwLock};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use common::identity::DataKeys;
use common::random::{Random, SystemRandom};
use zeroize::Zeroizing;

/// Bytes of a data key.
pub const KEY_BYTES: usize = 32;
/// Bytes a record grows by when it is sealed.
pub const OVERHEAD_BYTES: usize = 1 + NONCE_LEN + 16;

const FORMAT: u8 = 1;

/// Seals and opens records. Cheap to share behind an `Arc`; the keys cannot be had back.
pub struct Sealer {
    keys: RwLock<Arc<Keys>>,
}

struct Keys {
    current: LessSafeKey,
    version: u64,
    previous: Option<LessSafeKey>,
}

/// What a record is. Its number and its place are part of what the seal covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Marks,
    Entry { index: u64 },
    SnapshotChunk { snapshot: u128, number: u64, last: bool },
}

/// The record was changed, was moved, or was sealed under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    #[error("its format {0} is not known to this version of swarm")]
    Format(u8),
    #[error("it is too short to be a sealed record")]
    Short,
    #[error("it was changed or sealed with another data key")]
    Forged,
}

impl Sealer {
    #[cfg(any(test, fuzzing))]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self::with(Keys { current: usable(key), version: 0, previous: None })
    }

    pub fn of(keys: &DataKeys) -> Self {
        Self::with(Keys::of(keys))
    }

    fn with(keys: Keys) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)) }
    }

    /// Seals and opens with these from now on, for all who share this.
    pub fn change(&self, keys: &DataKeys) {
        *self.keys.write().expect("no holder panics") = Arc::new(Keys::of(keys));
    }

    /// The keys of now, for a file that is written or read in one go: no change of them goes through its middle.
    pub fn fixed(&self) -> Self {
        Self { keys: RwLock::new(self.keys()) }
    }

    /// The version of the key that seals.
    pub fn version(&self) -> u64 {
        self.keys().version
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().expect("no holder panics").clone()
    }

    pub fn seal(&self, place: Place, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom.fill(&mut nonce);
        let mut record = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        record.push(FORMAT);
        record.extend_from_slice(&nonce);
        record.extend_from_slice(plain);
        let tag = self
            .keys()
            .current
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.bytes()),
                &mut record[1 + NONCE_LEN..],
            )
            .expect("records are far shorter than what one nonce may seal");
        record.extend_from_slice(tag.as_ref());
        record
    }

    pub fn open(&self, place: Place, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let keys = self.keys();
        match (open(&keys.current, place, record), &keys.previous) {
            (Err(UnsealError::Forged), Some(previous)) => open(previous, place, record),
            (opened, _) => opened,
        }
    }

    /// Whether a record is under the key that seals now.
    pub fn is_current(&self, place: Place, record: &[u8]) -> bool {
        open(&self.keys().current, place, record).is_ok()
    }
}

impl Keys {
    fn of(keys: &DataKeys) -> Self {
        Self {
            current: usable(keys.current.reveal()),
            version: keys.version,
            previous: keys.previous.as_ref().map(|key| usable(key.reveal())),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

fn usable(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM_SIV, key).expect("a key of this type has the right length");
    LessSafeKey::new(key)
}

fn open(key: &LessSafeKey, place: Place, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
    match record.first() {
        Some(&FORMAT) if record.len() >= OVERHEAD_BYTES => {}
        Some(&FORMAT) | None => return Err(UnsealError::Short),
        Some(&format) => return Err(UnsealError::Format(format)),
    }
    let (nonce, sealed) = record[1..].split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| UnsealError::Short)?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let length = key
        .open_in_place(nonce, Aad::from(place.bytes()), &mut plain)
        .map_err(|_| UnsealError::Forged)?
        .len();
    plain.truncate(length);
    Ok(plain)
}

impl Place {
    fn bytes(self) -> [u8; 26] {
        let (kind, snapshot, number, last) = match self {
            Place::Marks => (1, 0, 0, false),
            Place::Entry { index } => (2, 0, index, false),
            Place::SnapshotChunk { snapshot, number, last } => (3, snapshot, number, last),
        };
        let mut bytes = [0; 26];
        bytes[0] = kind;
        bytes[1..17].copy_from_slice(&snapshot.to_be_bytes());
        bytes[17..25].copy_from_slice(&u64::to_be_bytes(number));
        bytes[25] = last.into();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::identity::DataKey;
    use common::random::SeededRandom;
    use proptest::prelude::*;

    const ENTRY: Place = Place::Entry { index: 7 };

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_cannot_be_read(plain: Vec<u8>) {
            let sealer = Sealer::new(&[3; KEY_BYTES]);
            let record = sealer.seal(ENTRY, &plain);
            prop_assert_eq!(record.len(), plain.len() + OVERHEAD_BYTES);
            prop_assert_eq!(&**sealer.open(ENTRY, &record).unwrap(), &plain[..]);
            if plain.len() >= 8 {
                prop_assert!(!record.windows(plain.len()).any(|window| window == plain));
            }
        }

        #[test]
        fn a_changed_bit_is_noticed(plain: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let sealer = Sealer::new(&[3; KEY_BYTES]);
            let mut record = sealer.seal(ENTRY, &plain);
            let at = at.index(record.len());
            record[at] ^= 1u8 << bit;
            prop_assert!(sealer.open(ENTRY, &record).is_err());
        }

        #[test]
        fn no_bytes_panic(record: Vec<u8>) {
            prop_assert!(Sealer::new(&[3; KEY_BYTES]).open(ENTRY, &record).is_err());
        }
    }

    #[test]
    fn a_record_opens_only_where_it_belongs() {
        let sealer = Sealer::new(&[3; KEY_BYTES]);
        let record = sealer.seal(ENTRY, b"content");
        let chunk = |number, last| Place::SnapshotChunk { snapshot: 1, number, last };
        for elsewhere in [Place::Entry { index: 8 }, Place::Marks, chunk(7, false)] {
            assert_eq!(sealer.open(elsewhere, &record).unwrap_err(), UnsealError::Forged, "{elsewhere:?}");
        }
        let record = sealer.seal(chunk(0, false), b"content");
        let foreign = Place::SnapshotChunk { snapshot: 2, number: 0, last: false };
        for elsewhere in [chunk(1, false), chunk(0, true), foreign] {
            assert_eq!(sealer.open(elsewhere, &record).unwrap_err(), UnsealError::Forged, "{elsewhere:?}");
        }
        assert!(Sealer::new(&[4; KEY_BYTES]).open(chunk(0, false), &record).is_err());
    }

    #[test]
    fn a_change_of_keys_reaches_all_who_share_them_and_nothing_that_is_under_way() {
        let key = |seed| DataKey::generate(&mut SeededRandom::new(seed, "data key"));
        let first = DataKeys { current: key(1), version: 1, previous: None };
        let both = DataKeys { current: key(2), version: 2, previous: Some(key(1)) };
        let second = DataKeys { previous: None, ..both.clone() };
        let sealer = Sealer::of(&first);
        let old = sealer.seal(ENTRY, b"old");
        let under_way = sealer.fixed();
        sealer.change(&both);
        let new = sealer.seal(ENTRY, b"new");
        assert_eq!((sealer.version(), under_way.version()), (2, 1));
        assert!(sealer.open(ENTRY, &old).is_ok() && sealer.open(ENTRY, &new).is_ok());
        assert!(sealer.is_current(ENTRY, &new) && !sealer.is_current(ENTRY, &old));
        sealer.change(&second);
        assert_eq!(sealer.open(ENTRY, &old).unwrap_err(), UnsealError::Forged);
        assert!(under_way.open(ENTRY, &old).is_ok() && under_way.open(ENTRY, &new).is_err());
    }
}
