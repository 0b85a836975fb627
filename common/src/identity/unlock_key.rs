//! The key that people hold to unlock managers: one for the whole cluster, never on a disk of it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use zeroize::Zeroizing;

use crate::object::sensitive::Sensitive;
use crate::random::Random;

const PREFIX: &str = "SWMKEY-1-";
const BYTES: usize = 32;

/// The text is none of Docker's unlock keys. It is not repeated: it may be one with a slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid key string")]
pub struct InvalidUnlockKey;

/// 32 random bytes, cleared from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct UnlockKey(Zeroizing<[u8; BYTES]>);

impl UnlockKey {
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; BYTES]);
        random.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Reads `SWMKEY-1-` and base64 without padding; white space around it does no harm.
    pub fn parse(text: &str) -> Result<Self, InvalidUnlockKey> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(InvalidUnlockKey)?;
        let mut bytes = Zeroizing::new([0; BYTES]);
        // Room for what a longer text would give, so that decoding tells its length and needs no other buffer.
        let mut room = Zeroizing::new([0; BYTES + 3]);
        match BASE64.decode_slice(encoded, room.as_mut_slice()) {
            Ok(BYTES) => bytes.copy_from_slice(&room[..BYTES]),
            _ => return Err(InvalidUnlockKey),
        }
        Ok(Self(bytes))
    }

    /// As people keep it.
    pub fn to_text(&self) -> Sensitive {
        let mut text = String::with_capacity(PREFIX.len() + BYTES * 2);
        text.push_str(PREFIX);
        BASE64.encode_string(self.0.as_slice(), &mut text);
        Sensitive::new(text)
    }

    /// The key itself. Every caller is a place to look at when asking where keys go.
    pub fn reveal(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = UnlockKey::generate(&mut SystemRandom);
        let text = key.to_text();
        assert_eq!(text.reveal().len(), PREFIX.len() + 43);
        assert!(UnlockKey::parse(text.reveal()).unwrap() == key);
        assert!(UnlockKey::parse(&format!(" {}\n", text.reveal())).unwrap() == key);
        assert!(UnlockKey::generate(&mut SystemRandom) != key);
        assert_eq!(format!("{key:?}"), "UnlockKey(..)");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let text = UnlockKey::generate(&mut SystemRandom).to_text();
        let text = text.reveal();
        let cases = [
            "".to_owned(),
            "SWMKEY-1-".to_owned(),
            text.replace("-1-", "-2-"),
            text[..text.len() - 1].to_owned(),
            format!("{text}A"),
            format!("{text}="),
            format!("{text}{text}"),
            text.replace(PREFIX, "swmkey-1-"),
        ];
        for case in cases {
            assert!(UnlockKey::parse(&case).is_err(), "{case}");
        }
    }
}
