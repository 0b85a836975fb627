//! The file under the raft log: entries, vote and marks in one redb database, each record sealed.
//!
//! Every call may block on the disk. A record that is damaged, moved or missing is an error that names the
//! file and the place; it is never taken for the end of the log. For that, one record says where the log ends, and is
//! written with whatever changes it: a table that has lost a row does not pass for one that never had it.
//!
//! Not here: what is in memory and who waits for what (`log`, `log_writer`).

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::limits::LOG_FILE_CACHE_BYTES_MAX;
use common::object::ClusterId;
use common::wire::codec::{self, DecodeError};
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, StorageBackend, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::{Place, Sealer, UnsealError};
use super::types::{Entry, LogId, Vote, entry_bytes};

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");

/// The one row of its table.
const ALL_MARKS: &str = "marks";

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

/// What the file holds beside its entries; one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    pub owner: Option<Owner>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// The index after the last entry.
    pub next: u64,
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
    /// As they are on disk.
    marks: Mutex<Marks>,
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
        let file = Self { database, path: path.to_path_buf(), sealer, marks: Mutex::default() };
        // Makes the tables, so that reading need not ask whether there are any.
        file.transact("prepare", |_, _| Ok(()))?;
        *file.marks.lock().expect("no holder panics") = file.read_marks()?;
        Ok(file)
    }

    /// Whose log it is; `owner`'s from now on where it was nobody's.
    pub fn owner_or(&self, owner: Owner) -> Result<Owner, LogFileError> {
        match self.marks().owner {
            Some(found) => Ok(found),
            None => self.commit(&[Write::Owner(owner)]).map(|()| owner),
        }
    }

    /// Does all of `writes` or none. When it returns, they are on disk.
    pub fn commit(&self, writes: &[Write]) -> Result<(), LogFileError> {
        let mut present = self.marks.lock().expect("no holder panics");
        let mut next = present.clone();
        self.transact("write", |entries, marks| {
            for write in writes {
                match write {
                    Write::Owner(owner) => next.owner = Some(*owner),
                    Write::Vote(vote) => next.vote = Some(*vote),
                    Write::Committed(log_id) => next.committed = Some(*log_id),
                    Write::Entry(entry) => {
                        let index = entry.log_id.index();
                        next.next = index + 1;
                        entries.insert(index, self.sealed(Place::Entry { index }, entry).as_slice())?;
                    }
                    Write::TruncateFrom(index) => {
                        next.next = next.next.min(*index);
                        entries.retain_in(*index.., |_, _| false)?;
                    }
                    Write::PurgeUpTo(log_id) => {
                        next.purged = Some(*log_id);
                        next.next = next.next.max(log_id.index() + 1);
                        entries.retain_in(..=log_id.index(), |_, _| false)?;
                    }
                }
            }
            marks.insert(ALL_MARKS, self.sealed(Place::Marks, &next).as_slice())?;
            Ok(())
        })?;
        *present = next;
        Ok(())
    }

    /// Seals the entries from `from` on anew that are not under the present key, and the marks, until it has read
    /// `bytes_max`. All of that or nothing; gives the index to go on from, and none at the end of the log.
    pub fn reseal(&self, from: u64, bytes_max: usize) -> Result<Option<u64>, LogFileError> {
        let present = self.marks.lock().expect("no holder panics").clone();
        let (mut bytes, mut old, mut next) = (0, Vec::new(), None);
        guard(&self.path, || {
            let table = self.read(|transaction| Ok(transaction.open_table(ENTRIES)?))?;
            for item in table.range(from..).map_err(|source| self.database_error("read", source))? {
                let (key, record) = item.map_err(|source| self.database_error("read", source))?;
                let (index, record) = (key.value(), record.value());
                if bytes >= bytes_max {
                    next = Some(index);
                    break;
                }
                bytes += record.len();
                if !self.sealer.is_current(Place::Entry { index }, record) {
                    old.push((index, record.to_vec()));
                }
            }
            Ok(())
        })?;
        let mut sealed = Vec::with_capacity(old.len());
        for (index, record) in old {
            let place = Place::Entry { index };
            let plain = self.unsealed(place, &record, || format!("entry {index}"))?;
            sealed.push((index, self.sealer.seal(place, &plain)));
        }
        self.transact("seal", |entries, marks| {
            for (index, record) in &sealed {
                entries.insert(index, record.as_slice())?;
            }
            marks.insert(ALL_MARKS, self.sealed(Place::Marks, &present).as_slice())?;
            Ok(())
        })?;
        Ok(next)
    }

    pub fn marks(&self) -> Marks {
        self.marks.lock().expect("no holder panics").clone()
    }

    fn read_marks(&self) -> Result<Marks, LogFileError> {
        guard(&self.path, || {
            let table = self.read(|transaction| Ok(transaction.open_table(MARKS)?))?;
            if let Some(record) = self.read_from(&table, ALL_MARKS)? {
                return self.open_record(Place::Marks, &record, || "its marks".into());
            }
            let entries = self.read(|transaction| Ok(transaction.open_table(ENTRIES)?))?;
            let is_empty = |table: Result<bool, redb::StorageError>| {
                table.map_err(|source| self.database_error("read", source))
            };
            match is_empty(table.is_empty())? && is_empty(entries.is_empty())? {
                true => Ok(Marks::default()),
                false => Err(self.inconsistent("its marks are gone".into())),
            }
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
        // What is read may be older than the keys of the moment at which it is opened.
        let before = self.sealer.fixed();
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
                let (place, what) = (Place::Entry { index }, || format!("entry {index}"));
                let entry: Entry = match before.open(place, record.value()) {
                    Ok(plain) => self.decoded(&plain, what)?,
                    Err(_) => self.open_record(place, record.value(), what)?,
                };
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
        let plain = Zeroizing::new(codec::encode(value));
        self.sealer.seal(place, &plain)
    }

    fn open_record<T: DeserializeOwned>(
        &self,
        place: Place,
        record: &[u8],
        what: impl Fn() -> String,
    ) -> Result<T, LogFileError> {
        self.decoded(&self.unsealed(place, record, &what)?, what)
    }

    fn decoded<T: DeserializeOwned>(
        &self,
        plain: &[u8],
        what: impl Fn() -> String,
    ) -> Result<T, LogFileError> {
        codec::decode(plain).map_err(|source| LogFileError::Decode {
            path: self.path.clone(),
            what: what(),
            source,
        })
    }

    fn unsealed(
        &self,
        place: Place,
        record: &[u8],
        what: impl Fn() -> String,
    ) -> Result<Zeroizing<Vec<u8>>, LogFileError> {
        self.sealer.open(place, record).map_err(|source| LogFileError::Unseal {
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
