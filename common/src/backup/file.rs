//! The sealed pieces of a backup, one after the other: neither side holds more than one of them.
//!
//! ```text
//! header, then pieces: last u8, length u32, sealed bytes
//! ```
//!
//! The first piece is what the backup says of itself, the others are the state. Each is sealed with AES-256-GCM under
//! the file's own key; its number and whether it is the last are its nonce. So none can be changed, swapped, left out
//! or cut off unnoticed, nor come from another backup.

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::header::{FORMAT, HEADER_BYTES, Header};
use super::key::BackupKey;
use super::meta::BackupMeta;
use crate::limits::BACKUP_PIECE_BYTES;
use crate::wire::codec::{self, DecodeError};

const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("this is not a backup of a cluster")]
    NotABackup,
    #[error("the backup is of format {found}, this version of swarm reads format {FORMAT}")]
    Format { found: u8 },
    #[error("the backup is damaged: its header makes no sense")]
    Header,
    #[error(
        "the backup does not open: it was sealed with another key or passphrase, or its start is damaged"
    )]
    WrongKey,
    #[error("the backup is damaged: piece {number} was changed or is out of its place")]
    Damaged { number: u64 },
    #[error("the backup is cut off in piece {number}")]
    Cut { number: u64 },
    #[error("the backup is damaged: there is more after its end")]
    Trailing,
    #[error("the backup does not say what it is of")]
    Meta(#[source] DecodeError),
    #[error("read the backup")]
    Io(#[source] io::Error),
}

/// Seals what is written to it.
pub struct BackupWriter<W> {
    out: W,
    key: LessSafeKey,
    number: u64,
    pending: Zeroizing<Vec<u8>>,
}

impl<W: Write> BackupWriter<W> {
    pub fn new(mut out: W, header: Header, key: &BackupKey, meta: &BackupMeta) -> io::Result<Self> {
        let header = header.to_bytes();
        out.write_all(&header)?;
        let mut writer = Self { out, key: usable(key, &header), number: 0, pending: piece() };
        writer.put(&codec::encode(meta), false)?;
        Ok(writer)
    }

    /// Writes the last piece, and gives back what all of it went to.
    pub fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.pending);
        self.put(&last, true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, plain: &[u8], last: bool) -> io::Result<()> {
        let mut sealed = Zeroizing::new(plain.to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(self.number, last), Aad::empty(), sealed.as_mut_slice())
            .map_err(|_| io::Error::other("a piece could not be sealed"))?;
        let length = u32::try_from(sealed.len() + TAG_BYTES).map_err(io::Error::other)?;
        self.number += 1;
        self.out.write_all(&[last.into()])?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&sealed)?;
        self.out.write_all(tag.as_ref())
    }
}

impl<W: Write> Write for BackupWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() == BACKUP_PIECE_BYTES {
            let full = std::mem::replace(&mut self.pending, piece());
            self.put(&full, false)?;
        }
        let taken = bytes.len().min(BACKUP_PIECE_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a piece is written when it is full, and the last one by `finish`
    }
}

/// A backup whose key is not known yet.
pub struct SealedBackup<R> {
    input: R,
    header: Header,
}

impl<R: Read> SealedBackup<R> {
    pub fn read(mut input: R) -> Result<Self, BackupError> {
        let mut bytes = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BackupError::Io(error)),
            }
        }
        match Header::from_bytes(&bytes) {
            Ok(_) | Err(BackupError::Header) if filled < HEADER_BYTES => Err(BackupError::Cut { number: 0 }),
            header => Ok(Self { input, header: header? }),
        }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn open(self, key: &BackupKey) -> Result<BackupReader<R>, BackupError> {
        let mut reader = BackupReader {
            input: self.input,
            key: usable(key, &self.header.to_bytes()),
            number: 0,
            ended: false,
            meta: BackupMeta::default(),
            current: Zeroizing::default(),
            taken: 0,
        };
        let first = match reader.next_piece() {
            Err(BackupError::Damaged { number: 0 }) => return Err(BackupError::WrongKey),
            Ok(None) => return Err(BackupError::Cut { number: 0 }),
            first => first?.unwrap_or_default(),
        };
        reader.meta = codec::decode(&first).map_err(BackupError::Meta)?;
        Ok(reader)
    }
}

/// Reads a backup; as `Read` it is the state's stream, whose errors are `BackupError` inside.
pub struct BackupReader<R> {
    input: R,
    key: LessSafeKey,
    number: u64,
    ended: bool,
    meta: BackupMeta,
    current: Zeroizing<Vec<u8>>,
    taken: usize,
}

impl<R: Read> BackupReader<R> {
    pub fn meta(&self) -> &BackupMeta {
        &self.meta
    }

    /// Reads to the end, and says how many bytes of state there were. All of the backup is what was written then.
    pub fn check(mut self) -> Result<u64, BackupError> {
        let mut bytes = 0;
        while let Some(piece) = self.next_piece()? {
            bytes += piece.len() as u64;
        }
        Ok(bytes)
    }

    fn next_piece(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let number = self.number;
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Cut { number },
            _ => BackupError::Io(error),
        };
        let mut head = [0; HEAD_BYTES];
        self.input.read_exact(&mut head).map_err(cut)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(TAG_BYTES..=BACKUP_PIECE_BYTES + TAG_BYTES).contains(&length) || head[0] > 1 {
            return Err(BackupError::Damaged { number });
        }
        let mut sealed = Zeroizing::new(vec![0; length]);
        self.input.read_exact(&mut sealed).map_err(cut)?;
        let last = head[0] == 1;
        let opened = self
            .key
            .open_in_place(nonce(number, last), Aad::empty(), &mut sealed)
            .map_err(|_| BackupError::Damaged { number })?
            .len();
        sealed.truncate(opened);
        self.number += 1;
        self.ended = last;
        if last && self.input.read(&mut [0]).map_err(BackupError::Io)? > 0 {
            return Err(BackupError::Trailing);
        }
        Ok(Some(sealed))
    }
}

impl<R: Read> Read for BackupReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.current.len() {
            match self.next_piece().map_err(io::Error::other)? {
                Some(piece) => (self.current, self.taken) = (piece, 0),
                None => return Ok(0),
            }
        }
        let length = out.len().min(self.current.len() - self.taken);
        out[..length].copy_from_slice(&self.current[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

fn piece() -> Zeroizing<Vec<u8>> {
    // Room for all a piece can hold, so that no copy of it stays behind when it grows.
    Zeroizing::new(Vec::with_capacity(BACKUP_PIECE_BYTES))
}

fn usable(key: &BackupKey, header: &[u8]) -> LessSafeKey {
    let bytes = key.of_file(header);
    let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).expect("AES-256 takes 32 bytes");
    LessSafeKey::new(key)
}

/// No number comes twice under one key, for each file has its own.
fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[NONCE_LEN - 1] = last.into();
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::header::KeySource;
    use super::*;
    use crate::object::ClusterId;
    use crate::random::{SeededRandom, SystemRandom};
    use proptest::prelude::*;

    fn key() -> BackupKey {
        BackupKey::generate(&mut SeededRandom::new(3, "backup"))
    }

    fn meta() -> BackupMeta {
        BackupMeta { cluster: ClusterId(7), term: 3, program: "0.1.0".into(), ..BackupMeta::default() }
    }

    fn backup(state: &[u8]) -> Vec<u8> {
        let header = Header::new(KeySource::Made, &mut SystemRandom);
        let mut writer = BackupWriter::new(Vec::new(), header, &key(), &meta()).unwrap();
        writer.write_all(state).unwrap();
        writer.finish().unwrap()
    }

    fn opened(bytes: &[u8]) -> Result<Vec<u8>, BackupError> {
        let mut reader = SealedBackup::read(bytes)?.open(&key())?;
        assert_eq!(*reader.meta(), meta());
        let mut state = Vec::new();
        reader.read_to_end(&mut state).map_err(|error| match error.downcast::<BackupError>() {
            Ok(error) => error,
            Err(error) => BackupError::Io(error),
        })?;
        Ok(state)
    }

    #[test]
    fn what_was_written_is_read() {
        for length in [0, 1, BACKUP_PIECE_BYTES, BACKUP_PIECE_BYTES + 1, 3 * BACKUP_PIECE_BYTES] {
            let state: Vec<u8> = (0..length).map(|number| number as u8).collect();
            let bytes = backup(&state);
            assert!(opened(&bytes).unwrap() == state, "{length}");
            let checked = SealedBackup::read(&bytes[..]).unwrap().open(&key()).unwrap().check().unwrap();
            assert_eq!(checked, length as u64);
        }
        let state = b"a secret of more than eight bytes";
        assert!(!backup(state).windows(8).any(|window| state.windows(8).any(|secret| secret == window)));
    }

    #[test]
    fn every_cut_and_every_changed_bit_is_noticed() {
        let bytes = backup(&vec![5; BACKUP_PIECE_BYTES + 100]);
        // All of what is not the same for pages, and some of that.
        let places = (0..400).chain((400..bytes.len()).step_by(4001)).chain(bytes.len() - 150..bytes.len());
        for at in places {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(opened(&changed).is_err(), "byte {at}");
            let cut = opened(&bytes[..at]).unwrap_err();
            let named =
                matches!(cut, BackupError::Cut { .. } | BackupError::NotABackup | BackupError::Format { .. });
            assert!(named, "cut at {at}: {cut}");
        }
        assert!(matches!(opened(&[&bytes[..], b"x"].concat()), Err(BackupError::Trailing)));
    }

    #[test]
    fn pieces_of_other_backups_and_places_are_refused() {
        let (first, second) =
            (backup(&vec![5; 3 * BACKUP_PIECE_BYTES]), backup(&vec![5; 3 * BACKUP_PIECE_BYTES]));
        let start = HEADER_BYTES + HEAD_BYTES + codec::encode(&meta()).len() + TAG_BYTES;
        let piece = HEAD_BYTES + BACKUP_PIECE_BYTES + TAG_BYTES;
        assert_eq!(first[start + 1..start + 5], ((BACKUP_PIECE_BYTES + TAG_BYTES) as u32).to_be_bytes());
        let mut swapped = first.clone();
        swapped[start..start + 2 * piece].rotate_left(piece);
        assert!(matches!(opened(&swapped), Err(BackupError::Damaged { number: 1 })));
        let left_out = [&first[..start], &first[start + piece..]].concat();
        assert!(matches!(opened(&left_out), Err(BackupError::Damaged { number: 1 })));
        let foreign = [&first[..start], &second[start..start + piece], &first[start + piece..]].concat();
        assert!(matches!(opened(&foreign), Err(BackupError::Damaged { number: 1 })));
    }

    #[test]
    fn another_key_and_another_file_are_told_in_words() {
        let bytes = backup(b"state");
        let other = BackupKey::generate(&mut SystemRandom);
        let error = SealedBackup::read(&bytes[..]).unwrap().open(&other).err().unwrap();
        assert!(matches!(error, BackupError::WrongKey), "{error}");
        assert!(matches!(SealedBackup::read(&b"PK\x03\x04"[..]).err(), Some(BackupError::NotABackup)));
        assert!(matches!(SealedBackup::read(&b""[..]).err(), Some(BackupError::NotABackup)));
        let mut newer = bytes.clone();
        newer[8] = 9;
        assert!(matches!(SealedBackup::read(&newer[..]).err(), Some(BackupError::Format { found: 9 })));
    }

    #[test]
    fn a_header_s_rounds_are_bounded() {
        let header = |rounds| {
            let source = KeySource::Passphrase { salt: [3; 16], rounds: NonZeroU32::new(rounds).unwrap() };
            Header::new(source, &mut SystemRandom)
        };
        let good = header(crate::limits::BACKUP_ROUNDS);
        assert_eq!(Header::from_bytes(&good.to_bytes()).unwrap(), good);
        for rounds in [1, u32::MAX] {
            assert!(matches!(Header::from_bytes(&header(rounds).to_bytes()), Err(BackupError::Header)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let header = Header::new(KeySource::Made, &mut SystemRandom).to_bytes();
            let _ = SealedBackup::read(&bytes[..]);
            let all = [&header[..], &bytes].concat();
            prop_assert!(SealedBackup::read(&all[..]).unwrap().open(&key()).is_err());
        }
    }
}
