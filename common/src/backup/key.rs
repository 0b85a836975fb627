//! What a backup is sealed under: 32 bytes that only people hold.
//!
//! Best is a key made for it, which nobody can guess. A passphrase is stretched with PBKDF2-HMAC-SHA256, which the one
//! crypto provider of this program has; a memory-hard function would cost whoever guesses more, and every build of this
//! program one more piece of cryptography to trust. The number of rounds is in the header, so that it may grow.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use zeroize::Zeroizing;

use super::header::{Header, KeySource};
use crate::identity::key::derive;
use crate::object::sensitive::Sensitive;
use crate::random::Random;

pub const BYTES: usize = 32;
const PREFIX: &str = "SWMBACKUP-1-";

/// The text is none of our backup keys. It is not repeated: it may be one with a slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is not a backup key: one starts with {PREFIX} and has 43 letters more")]
pub struct InvalidBackupKey;

/// Cleared from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct BackupKey(Zeroizing<[u8; BYTES]>);

impl BackupKey {
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; BYTES]);
        random.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// What a passphrase gives with this salt. Takes as long as `rounds` take, about a second.
    pub fn from_passphrase(passphrase: &Sensitive, salt: &[u8; 16], rounds: NonZeroU32) -> Self {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, rounds, salt, passphrase.reveal().as_bytes(), bytes.as_mut_slice());
        Self(bytes)
    }

    /// The key for a backup with this header: from a text that people gave, which is what its header says.
    pub fn from_text(text: &Sensitive, header: &Header) -> Result<Self, InvalidBackupKey> {
        match header.source {
            KeySource::Made => Self::parse(text.reveal()),
            KeySource::Passphrase { salt, rounds } => Ok(Self::from_passphrase(text, &salt, rounds)),
        }
    }

    /// Reads what `to_text` wrote; white space around it does no harm.
    pub fn parse(text: &str) -> Result<Self, InvalidBackupKey> {
        Self::from_base64(text.trim().strip_prefix(PREFIX).ok_or(InvalidBackupKey)?)
    }

    pub fn from_base64(text: &str) -> Result<Self, InvalidBackupKey> {
        let mut room = Zeroizing::new([0; BYTES + 3]);
        let mut bytes = Zeroizing::new([0; BYTES]);
        match BASE64.decode_slice(text, room.as_mut_slice()) {
            Ok(BYTES) => bytes.copy_from_slice(&room[..BYTES]),
            _ => return Err(InvalidBackupKey),
        }
        Ok(Self(bytes))
    }

    /// As people keep it.
    pub fn to_text(&self) -> Sensitive {
        Sensitive::new(format!("{PREFIX}{}", self.to_base64().reveal()))
    }

    pub fn to_base64(&self) -> Sensitive {
        Sensitive::new(BASE64.encode(self.0.as_slice()))
    }

    /// The key of one file: a key that seals two files seals each under another.
    pub(super) fn of_file(&self, header: &[u8]) -> Zeroizing<[u8; 32]> {
        derive(&[self.0.as_slice(), header], "backup")
    }
}

impl fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_key_survives_its_text_form_and_nothing_else_is_one() {
        let key = BackupKey::generate(&mut SystemRandom);
        let text = key.to_text();
        assert!(BackupKey::parse(&format!("{}\n", text.reveal())).unwrap() == key);
        assert!(BackupKey::from_base64(key.to_base64().reveal()).unwrap() == key);
        let text = text.reveal();
        for wrong in ["", PREFIX, &text[..text.len() - 1], &format!("{text}A"), &text.replace("-1-", "-2-")] {
            assert!(BackupKey::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "BackupKey(..)");
    }

    #[test]
    fn a_passphrase_gives_one_key_per_salt() {
        let rounds = NonZeroU32::new(10).unwrap();
        let of =
            |text: &str, salt| BackupKey::from_passphrase(&Sensitive::new(text.into()), &[salt; 16], rounds);
        assert!(of("correct horse", 1) == of("correct horse", 1));
        assert!(of("correct horse", 1) != of("correct horse", 2));
        assert!(of("correct horse", 1) != of("battery staple", 1));
    }
}
