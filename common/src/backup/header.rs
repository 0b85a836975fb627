//! What stands in front of a backup in clear: that it is one, and where its key comes from. Nothing of the cluster.
//!
//! ```text
//! "SWARMBAK", format u8, source of the key u8, salt 16 bytes, rounds u32, id 16 bytes
//! ```

use std::num::NonZeroU32;

use super::file::BackupError;
use crate::limits::{BACKUP_ROUNDS_MAX, BACKUP_ROUNDS_MIN};
use crate::random::Random;

const MAGIC: &[u8; 8] = b"SWARMBAK";
pub const FORMAT: u8 = 1;
pub const HEADER_BYTES: usize = MAGIC.len() + 2 + 16 + 4 + 16;

const MADE: u8 = 0;
const PASSPHRASE: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub source: KeySource,
    /// Another for each backup, so that no two are sealed alike.
    id: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A key that was made for backups, which people keep.
    Made,
    Passphrase {
        salt: [u8; 16],
        rounds: NonZeroU32,
    },
}

impl Header {
    pub const BYTES: usize = HEADER_BYTES;

    pub fn new(source: KeySource, random: &mut dyn Random) -> Self {
        let mut id = [0; 16];
        random.fill(&mut id);
        Self { source, id }
    }

    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let (kind, salt, rounds) = match self.source {
            KeySource::Made => (MADE, [0; 16], 0),
            KeySource::Passphrase { salt, rounds } => (PASSPHRASE, salt, rounds.get()),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&[FORMAT, kind]);
        bytes[10..26].copy_from_slice(&salt);
        bytes[26..30].copy_from_slice(&rounds.to_be_bytes());
        bytes[30..].copy_from_slice(&self.id);
        bytes
    }

    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BackupError> {
        if &bytes[..8] != MAGIC {
            return Err(BackupError::NotABackup);
        }
        if bytes[8] != FORMAT {
            return Err(BackupError::Format { found: bytes[8] });
        }
        let salt: [u8; 16] = bytes[10..26].try_into().expect("16 bytes");
        let rounds = u32::from_be_bytes(bytes[26..30].try_into().expect("4 bytes"));
        let source = match (bytes[9], NonZeroU32::new(rounds)) {
            (MADE, None) if salt == [0; 16] => KeySource::Made,
            // Who wrote the file decides how long opening it takes, within bounds.
            (PASSPHRASE, Some(rounds)) if (BACKUP_ROUNDS_MIN..=BACKUP_ROUNDS_MAX).contains(&rounds.get()) => {
                KeySource::Passphrase { salt, rounds }
            }
            _ => return Err(BackupError::Header),
        };
        Ok(Self { source, id: bytes[30..].try_into().expect("16 bytes are left") })
    }
}
