//! The file under the raft log: entries, vote and marks in one redb database, each record sealed.
//!
//! Every call may block on the disk. A record that is damaged, moved or missing is an error that names the
//! file and the place; it is never taken for the end of the log.
//!
//! Not here: what is in memory and who waits for what (`log`, `log_writer`).

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::limits::LOG_FILE_CACHE_BYTES_MAX;
use common::object::ClusterId;
use common::wire::codec::{self, DecodeError};
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::seal::{Place, Sealer, UnsealError};
use super::types::{Entry, LogId, Vote, entry_bytes};

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");

const OWNER: &str = "owner";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    #[error("{action} the raft log {}", path.display())]
    Database {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
    #[error("the raft log {} is damaged: {what}", path.display())]
    Unseal {
        path: PathBuf,
        what: String,
        #[source]
        source: UnsealError,
    },
    #[error("the raft log {} is damaged: {what}", path.display())]
    Decode {
        path: PathBuf,
        what: String,
        #[source]
        source: DecodeError,
    },
    #[error("the raft log {} is damaged: {what}", path.display())]
    Inconsistent { path: PathBuf, what: String },
    #[error("the raft log {} is damaged: reading it panicked", path.display())]
    Panicked { path: PathBuf },
}

/// Whose log this is. Written with the first record, checked at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub cluster: ClusterId,
    pub raft_id: u64,
}

/// What the file holds beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub owner: Option<Owner>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
}

/// One step of a transaction; steps happen in the order given.
#[derive(Debug)]
pub enum Write {
    Owner(Owner),
    Vote(Vote),
    Committed(LogId),
    Entry(Entry),
    /// Removes this entry and all after it.
    TruncateFrom(u64),
    /// Removes this entry and all before it.
    PurgeUpTo(LogId),
}

pub struct LogFile {
    database: Database,
    path: PathBuf,
    sealer: Arc<Sealer>,
}

/// Opens or makes the file itself.
pub fn file_backend(path: &Path) -> Result<FileBackend, LogFileError> {
    let error = |source: redb::Error| LogFileError::Database {
        action: "open",
        path: path.to_path_buf(),
        source: Box::new(source),
    };
    let open = |path| -> std::io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
    };
    let file = open(path).map_err(|source| error(redb::Error::Io(source)))?;
    FileBackend::new(file).map_err(|source| error(source.into()))
}

impl LogFile {
    /// Opens the log; `backend` is where its bytes go, which tests replace.
    pub fn open(
        path: &Path,
        backend: impl StorageBackend,
        sealer: Arc<Sealer>,
    ) -> Result<Self, LogFileError> {
        let database = guard(path, || {
            Database::builder().set_cache_size(LOG_FILE_CACHE_BYTES_MAX).create_with_backend(backend).map_err(
                |source| LogFileError::Database {
                    action: "open",
                    path: path.to_path_buf(),
                    source: Box::new(source.into()),
                },
            )
        })?;
        let file = Self { database, path: path.to_path_buf(), sealer };
        // Makes the tables, so that reading need not ask whether there are any.
        file.transact("prepare", |_, _| Ok(()))?;
        Ok(file)
    }

    /// Whose log it is; `owner`'s from now on where it was nobody's.
    pub fn owner_or(&self, owner: Owner) -> Result<Owner, LogFileError> {
        match self.marks()?.owner {
            Some(found) => Ok(found),
            None => self.commit(&[Write::Owner(owner)]).map(|()| owner),
        }
    }

    /// Does all of `writes` or none. When it returns, they are on disk.
    pub fn commit(&self, writes: &[Write]) -> Result<(), LogFileError> {
        self.transact("write", |entries, marks| {
            for write in writes {
                match write {
                    Write::Owner(owner) => {
                        marks.insert(OWNER, self.sealed(Place::Owner, owner).as_slice())?;
                    }
                    Write::Vote(vote) => {
                        marks.insert(VOTE, self.sealed(Place::Vote, vote).as_slice())?;
                    }
                    Write::Committed(log_id) => {
                        marks.insert(COMMITTED, self.sealed(Place::Committed, log_id).as_slice())?;
                    }
                    Write::Entry(entry) => {
                        let index = entry.log_id.index();
                        entries.insert(index, self.sealed(Place::Entry { index }, entry).as_slice())?;
                    }
                    Write::TruncateFrom(index) => entries.retain_in(*index.., |_, _| false)?,
                    Write::PurgeUpTo(log_id) => {
                        marks.insert(PURGED, self.sealed(Place::Purged, log_id).as_slice())?;
                        entries.retain_in(..=log_id.index(), |_, _| false)?;
                    }
                }
            }
            Ok(())
        })
    }

    pub fn marks(&self) -> Result<Marks, LogFileError> {
        guard(&self.path, || {
            let table = self.read(|transaction| Ok(transaction.open_table(MARKS)?))?;
            let record = |name| self.read_from(&table, name);
            let mut marks = Marks::default();
            if let Some(record) = record(OWNER)? {
                marks.owner = Some(self.open_record(Place::Owner, &record, || "its owner".into())?);
            }
            if let Some(record) = record(VOTE)? {
                marks.vote = Some(self.open_record(Place::Vote, &record, || "the vote".into())?);
            }
            if let Some(record) = record(COMMITTED)? {
                marks.committed =
                    Some(self.open_record(Place::Committed, &record, || "the commit mark".into())?);
            }
            if let Some(record) = record(PURGED)? {
                marks.purged = Some(self.open_record(Place::Purged, &record, || "the purge mark".into())?);
            }
            Ok(marks)
        })
    }

    /// The entries of `range` that there are, in order and without a gap; stops after `bytes_max`.
    pub fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, LogFileError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        self.each_entry(range, |entry| {
            bytes += entry_bytes(&entry);
            entries.push(entry);
            bytes < bytes_max
        })?;
        Ok(entries)
    }

    /// Hands the entries of `range` to `take`, until it says that it has enough.
    pub fn each_entry(
        &self,
        range: Range<u64>,
        mut take: impl FnMut(Entry) -> bool,
    ) -> Result<(), LogFileError> {
        guard(&self.path, || {
            let table = self.read(|transaction| Ok(transaction.open_table(ENTRIES)?))?;
            let mut expected = None;
            let found = table.range(range).map_err(|source| self.database_error("read", source))?;
            for item in found {
                let (key, record) = item.map_err(|source| self.database_error("read", source))?;
                let index = key.value();
                if let Some(expected) = expected
                    && expected != index
                {
                    return Err(self.inconsistent(format!("after entry {} comes {index}", expected - 1)));
                }
                let entry: Entry =
                    self.open_record(Place::Entry { index }, record.value(), || format!("entry {index}"))?;
                if entry.log_id.index() != index {
                    return Err(
                        self.inconsistent(format!("entry {index} says it is {}", entry.log_id.index()))
                    );
                }
                expected = Some(index + 1);
                if !take(entry) {
                    break;
                }
            }
            Ok(())
        })
    }

    pub fn inconsistent(&self, what: String) -> LogFileError {
        LogFileError::Inconsistent { path: self.path.clone(), what }
    }

    fn transact(
        &self,
        action: &'static str,
        steps: impl FnOnce(
            &mut redb::Table<'_, u64, &'static [u8]>,
            &mut redb::Table<'_, &'static str, &'static [u8]>,
        ) -> Result<(), redb::Error>,
    ) -> Result<(), LogFileError> {
        let run = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut entries = transaction.open_table(ENTRIES)?;
                let mut marks = transaction.open_table(MARKS)?;
                steps(&mut entries, &mut marks)?;
            }
            Ok(transaction.commit()?)
        };
        guard(&self.path, || run().map_err(|source| self.database_error(action, source)))
    }

    fn read<T>(
        &self,
        step: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, LogFileError> {
        self.database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|transaction| step(&transaction))
            .map_err(|source| self.database_error("read", source))
    }

    fn read_from(
        &self,
        table: &redb::ReadOnlyTable<&'static str, &'static [u8]>,
        name: &'static str,
    ) -> Result<Option<Vec<u8>>, LogFileError> {
        let record = table.get(name).map_err(|source| self.database_error("read", source))?;
        Ok(record.map(|record| record.value().to_vec()))
    }

    fn sealed<T: Serialize>(&self, place: Place, value: &T) -> Vec<u8> {
        let plain = zeroize::Zeroizing::new(codec::encode(value));
        self.sealer.seal(place, &plain)
    }

    fn open_record<T: DeserializeOwned>(
        &self,
        place: Place,
        record: &[u8],
        what: impl Fn() -> String,
    ) -> Result<T, LogFileError> {
        let plain = self.sealer.open(place, record).map_err(|source| LogFileError::Unseal {
            path: self.path.clone(),
            what: what(),
            source,
        })?;
        codec::decode(&plain).map_err(|source| LogFileError::Decode {
            path: self.path.clone(),
            what: what(),
            source,
        })
    }

    fn database_error(&self, action: &'static str, source: impl Into<redb::Error>) -> LogFileError {
        LogFileError::Database { action, path: self.path.clone(), source: Box::new(source.into()) }
    }
}

/// The database is written by others and meets arbitrary bytes: its panic on a damaged file is our error.
fn guard<T>(path: &Path, work: impl FnOnce() -> Result<T, LogFileError>) -> Result<T, LogFileError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(LogFileError::Panicked { path: path.to_path_buf() }))
}
