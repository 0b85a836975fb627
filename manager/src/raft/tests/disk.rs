//! Raft logs on real files, and a disk that counts, delays and fails.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::object::ClusterId;
use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::raft::failure::Failure;
use crate::raft::log::LogStore;
use crate::raft::log_file::{LogFile, LogFileError, Owner, file_backend};
use crate::raft::seal::Sealer;

pub const OWNER: Owner = Owner { cluster: ClusterId(5), raft_id: 1 };
pub const KEY: [u8; 32] = [1; 32];

pub fn open_log(folder: &Path, failure: Failure) -> Result<LogStore, LogFileError> {
    let path = folder.join("log");
    let backend = file_backend(&path)?;
    LogStore::new(LogFile::open(&path, backend, Arc::new(Sealer::new(&KEY)))?, failure)
}

/// A log on a disk whose faults the test decides.
pub fn open_faulty_log(folder: &Path, failure: Failure) -> (LogStore, Arc<Faults>) {
    let path = folder.join("log");
    let faults = Arc::new(Faults::default());
    let backend = FaultyDisk::open(&path, faults.clone()).unwrap();
    let file = LogFile::open(&path, backend, Arc::new(Sealer::new(&KEY))).unwrap();
    (LogStore::new(file, failure).unwrap(), faults)
}

#[derive(Debug, Default)]
pub struct Faults {
    /// Syncs fail as they do when the disk does.
    pub fail_syncs: AtomicBool,
    /// Writes fail as they do when the disk is full.
    pub full: AtomicBool,
    pub sync_takes_ms: AtomicU64,
    pub syncs: AtomicU64,
}

#[derive(Debug)]
pub struct FaultyDisk {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl FaultyDisk {
    pub fn open(path: &Path, faults: Arc<Faults>) -> Result<Self, LogFileError> {
        Ok(Self { file: file_backend(path)?, faults })
    }

    fn check_space(&self) -> io::Result<()> {
        match self.faults.full.load(Ordering::SeqCst) {
            true => Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_space()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.faults.sync_takes_ms.load(Ordering::SeqCst)));
        if self.faults.fail_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk did not take it"));
        }
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_space()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// A disk in memory that forgets what was not synced, as a power cut does.
#[derive(Clone, Debug, Default)]
pub struct VolatileDisk(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    synced: Vec<u8>,
    written: Vec<u8>,
}

impl VolatileDisk {
    /// The disk after power came back.
    pub fn cut_power(&self) -> Self {
        let synced = self.0.lock().unwrap().synced.clone();
        VolatileDisk(Arc::new(Mutex::new(Pages { written: synced.clone(), synced })))
    }

    pub fn open_log(&self, failure: Failure) -> LogStore {
        let path = Path::new("volatile/log");
        let file = LogFile::open(path, self.clone(), Arc::new(Sealer::new(&KEY))).unwrap();
        LogStore::new(file, failure).unwrap()
    }
}

impl StorageBackend for VolatileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let pages = self.0.lock().unwrap();
        let start = offset as usize;
        let bytes = pages.written.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().written.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut pages = self.0.lock().unwrap();
        pages.synced = pages.written.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        self.0.lock().unwrap().written[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}
