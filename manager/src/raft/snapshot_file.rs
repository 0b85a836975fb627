//! One snapshot file: sealed chunks, written once, read from the start.
//!
//! ```text
//! "SWARMSNP", format u8, id u128, then chunks: last u8, length u32, sealed bytes
//! ```
//!
//! The first chunk is what raft has to know of the snapshot, the others are the tables' stream. Each chunk is
//! sealed to its file, its number and whether it is the last: none can be changed, swapped or cut off unnoticed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::limits::SNAPSHOT_CHUNK_BYTES;
use common::random::{Random, SystemRandom};
use common::wire::codec::{self, DecodeError};
use zeroize::Zeroizing;

use super::seal::{OVERHEAD_BYTES, Place, Sealer, UnsealError};
use super::types::SnapshotMeta;
use crate::store::format::FormatError;

const MAGIC: &[u8; 8] = b"SWARMSNP";
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = MAGIC.len() + 1 + 16;
/// The first chunk may be larger than others by no more than a membership needs.
const CHUNK_BYTES_MAX: usize = 2 * SNAPSHOT_CHUNK_BYTES + OVERHEAD_BYTES;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{action} the snapshot {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the snapshot {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("the snapshot {} is damaged: chunk {number}", path.display())]
    Unseal {
        path: PathBuf,
        number: u64,
        #[source]
        source: UnsealError,
    },
    #[error("the snapshot {} is damaged: its first chunk", path.display())]
    Meta {
        path: PathBuf,
        #[source]
        source: DecodeError,
    },
    #[error("the snapshot {} does not hold tables", path.display())]
    Tables {
        path: PathBuf,
        #[source]
        source: FormatError,
    },
    #[error("this manager is stopping")]
    Closed,
}

impl SnapshotError {
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = path.to_path_buf();
        move |source| SnapshotError::Io { action, path, source }
    }
}

/// Writes the tables' stream into a new file, chunk by chunk.
pub struct ChunkWriter {
    file: BufWriter<File>,
    path: PathBuf,
    sealer: Arc<Sealer>,
    id: u128,
    number: u64,
    pending: Zeroizing<Vec<u8>>,
}

impl ChunkWriter {
    pub fn new(
        file: File,
        path: &Path,
        sealer: Arc<Sealer>,
        meta: &SnapshotMeta,
    ) -> Result<Self, SnapshotError> {
        let mut id = [0; 16];
        SystemRandom.fill(&mut id);
        let mut writer = Self {
            file: BufWriter::new(file),
            path: path.to_path_buf(),
            sealer,
            id: u128::from_be_bytes(id),
            number: 0,
            // Room for all a chunk can hold, so that no copy of it stays behind when it grows.
            pending: Zeroizing::new(Vec::with_capacity(SNAPSHOT_CHUNK_BYTES)),
        };
        let header = [&MAGIC[..], &[FORMAT], &id].concat();
        writer.file.write_all(&header).map_err(SnapshotError::io("write", path))?;
        writer.put(&codec::encode(meta), false).map_err(SnapshotError::io("write", path))?;
        Ok(writer)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the last chunk; when it returns, all of the file is on disk.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        let last = std::mem::take(&mut self.pending);
        self.put(&last, true)
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(SnapshotError::io("write", &self.path))
    }

    fn put(&mut self, chunk: &[u8], last: bool) -> io::Result<()> {
        let place = Place::SnapshotChunk { snapshot: self.id, number: self.number, last };
        let sealed = self.sealer.seal(place, chunk);
        let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        self.number += 1;
        self.file.write_all(&[last.into()])?;
        self.file.write_all(&length.to_be_bytes())?;
        self.file.write_all(&sealed)
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() == SNAPSHOT_CHUNK_BYTES {
            let full = std::mem::replace(
                &mut self.pending,
                Zeroizing::new(Vec::with_capacity(SNAPSHOT_CHUNK_BYTES)),
            );
            self.put(&full, false)?;
        }
        let taken = bytes.len().min(SNAPSHOT_CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // A chunk is written when it is full, and the last one by `finish`.
    }
}

/// Reads a snapshot file. As `Read` it is the tables' stream.
pub struct ChunkReader {
    file: BufReader<FromStart>,
    path: PathBuf,
    sealer: Arc<Sealer>,
    id: u128,
    number: u64,
    ended: bool,
    meta: SnapshotMeta,
    current: Zeroizing<Vec<u8>>,
    taken: usize,
}

impl ChunkReader {
    /// Reads from the start of `file`, whoever else reads it, and even if it has lost its name.
    pub fn new(file: Arc<File>, path: &Path, sealer: Arc<Sealer>) -> Result<Self, SnapshotError> {
        let mut file = BufReader::new(FromStart { file, position: 0 });
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(SnapshotError::io("read", path))?;
        let damaged = |what: String| SnapshotError::Damaged { path: path.to_path_buf(), what };
        if &header[..8] != MAGIC {
            return Err(damaged("it does not start like one".into()));
        }
        if header[8] != FORMAT {
            return Err(damaged(format!("its format {} is not known to this version of swarm", header[8])));
        }
        let mut reader = Self {
            file,
            path: path.to_path_buf(),
            sealer,
            id: u128::from_be_bytes(header[9..].try_into().expect("16 bytes are left")),
            number: 0,
            ended: false,
            meta: SnapshotMeta::default(),
            current: Zeroizing::default(),
            taken: 0,
        };
        let first = reader.next_chunk()?.ok_or_else(|| damaged("it has no chunks".into()))?;
        reader.meta = codec::decode(&first)
            .map_err(|source| SnapshotError::Meta { path: path.to_path_buf(), source })?;
        Ok(reader)
    }

    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Whether a file is sealed under the key that seals now: all of it is, or nothing.
    pub fn is_current(file: Arc<File>, path: &Path, sealer: &Sealer) -> Result<bool, SnapshotError> {
        let mut file = FromStart { file, position: HEADER_BYTES as u64 - 16 };
        let (mut id, mut head) = ([0; 16], [0; 5]);
        file.read_exact(&mut id).map_err(SnapshotError::io("read", path))?;
        file.read_exact(&mut head).map_err(SnapshotError::io("read", path))?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut sealed = vec![0; length.min(CHUNK_BYTES_MAX)];
        file.read_exact(&mut sealed).map_err(SnapshotError::io("read", path))?;
        let place = Place::SnapshotChunk { snapshot: u128::from_be_bytes(id), number: 0, last: head[0] == 1 };
        Ok(sealer.is_current(place, &sealed))
    }

    /// The next chunk of the tables' stream; none after the last.
    pub fn next_chunk(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let mut head = [0; 5];
        self.file.read_exact(&mut head).map_err(SnapshotError::io("read", &self.path))?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > CHUNK_BYTES_MAX || head[0] > 1 {
            return Err(SnapshotError::Damaged {
                path: self.path.clone(),
                what: format!("chunk {}", self.number),
            });
        }
        let mut sealed = vec![0; length];
        self.file.read_exact(&mut sealed).map_err(SnapshotError::io("read", &self.path))?;
        let last = head[0] == 1;
        let place = Place::SnapshotChunk { snapshot: self.id, number: self.number, last };
        let chunk = self.sealer.open(place, &sealed).map_err(|source| SnapshotError::Unseal {
            path: self.path.clone(),
            number: self.number,
            source,
        })?;
        self.number += 1;
        self.ended = last;
        Ok(Some(chunk))
    }
}

/// A position of its own in a shared file.
struct FromStart {
    file: Arc<File>,
    position: u64,
}

impl Read for FromStart {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(out, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.current.len() {
            match self.next_chunk().map_err(io::Error::other)? {
                Some(chunk) => (self.current, self.taken) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let length = out.len().min(self.current.len() - self.taken);
        out[..length].copy_from_slice(&self.current[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}
