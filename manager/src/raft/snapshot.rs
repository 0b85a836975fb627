//! The folder of snapshots: which is the newest, how one is made, received and taken over.
//!
//! A snapshot is complete and on disk before it has its name, and it has its name before anybody hears of
//! it: raft drops the log behind a snapshot as soon as it is told. All calls may block on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::disk::sync_dir;
use common::random::{Random, SystemRandom};
use tracing::warn;

use super::seal::Sealer;
use super::snapshot_file::{ChunkReader, ChunkWriter, SnapshotError};
use super::types::{Snapshot, SnapshotMeta};
use crate::store::{Tables, format};

const NAME: &str = "snapshot-";
const UNFINISHED: &str = "unfinished-";

/// The snapshots of one manager.
pub struct Snapshots {
    folder: PathBuf,
    sealer: Arc<Sealer>,
    /// How many to keep beside the newest.
    keep_old: AtomicUsize,
    /// Held by whoever changes the folder; set when nobody may any more.
    closed: Mutex<bool>,
}

/// A snapshot's file, held open: it can be read to its end even after a newer one took its place.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    file: Arc<File>,
    /// What opens it, though the keys may change meanwhile.
    sealer: Arc<Sealer>,
    /// Removes a received file that nobody took over.
    unfinished: Option<Arc<Unfinished>>,
}

/// A file under a name of its own until it is whole. Dropped before that, it is removed.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    /// What it is sealed with.
    sealer: Arc<Sealer>,
}

impl Snapshots {
    /// Opens the folder and clears away what was never finished.
    pub fn open(folder: &Path, sealer: Arc<Sealer>, keep_old: usize) -> Result<Self, SnapshotError> {
        let snapshots = Self {
            folder: folder.to_path_buf(),
            sealer,
            keep_old: AtomicUsize::new(keep_old),
            closed: Mutex::new(false),
        };
        for name in snapshots.names()? {
            if name.starts_with(UNFINISHED) {
                let path = snapshots.folder.join(name);
                fs::remove_file(&path).map_err(SnapshotError::io("remove", &path))?;
            }
        }
        Ok(snapshots)
    }

    pub fn set_keep_old(&self, keep_old: usize) {
        self.keep_old.store(keep_old, Ordering::Relaxed);
    }

    /// The newest snapshot. A damaged one is an error: an older one would be a step back in time.
    pub fn newest(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let (path, file) = loop {
            let Some(name) = self.finished()?.pop() else { return Ok(None) };
            let path = self.folder.join(name);
            match File::open(&path) {
                Ok(file) => break (path, file),
                // Removed since we looked, which happens only after a newer one got its name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SnapshotError::io("open", &path)(error)),
            }
        };
        let sealer = Arc::new(self.sealer.fixed());
        let snapshot = SnapshotFile { path, file: Arc::new(file), sealer, unfinished: None };
        let meta = self.read(&snapshot)?.meta().clone();
        Ok(Some(Snapshot { meta, snapshot }))
    }

    /// Writes the tables as a snapshot and makes it the newest, unless a newer one came in meanwhile.
    pub fn build(&self, meta: &SnapshotMeta, tables: &Tables) -> Result<Snapshot, SnapshotError> {
        let closed = self.closed.lock().expect("no holder panics");
        if *closed {
            return Err(SnapshotError::Closed);
        }
        if let Some(newest) = self.newest()?
            && newest.meta.last_log_id > meta.last_log_id
        {
            return Ok(newest);
        }
        let (unfinished, mut writer) = self.receive(meta)?;
        format::write_tables(tables, &mut writer).map_err(SnapshotError::io("write", &unfinished.path))?;
        writer.finish()?;
        let path = self.name(&unfinished, meta)?;
        let file = File::open(&path).map_err(SnapshotError::io("open", &path))?;
        let sealer = Arc::new(self.sealer.fixed());
        let snapshot = SnapshotFile { path, file: Arc::new(file), sealer, unfinished: None };
        Ok(Snapshot { meta: meta.clone(), snapshot })
    }

    /// A new file to write a snapshot into. It is nobody's until it is installed.
    pub fn receive(&self, meta: &SnapshotMeta) -> Result<(Unfinished, ChunkWriter), SnapshotError> {
        let path = self.folder.join(format!("{UNFINISHED}{:016x}", SystemRandom.next_u64()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(SnapshotError::io("create", &path))?;
        let unfinished = Unfinished { path, sealer: Arc::new(self.sealer.fixed()) };
        let writer = ChunkWriter::new(file, &unfinished.path, unfinished.sealer.clone(), meta)?;
        Ok((unfinished, writer))
    }

    /// A received file that is complete, ready to install.
    pub fn received(&self, unfinished: Unfinished) -> Result<SnapshotFile, SnapshotError> {
        let path = unfinished.path.clone();
        let file = File::open(&path).map_err(SnapshotError::io("open", &path))?;
        let sealer = unfinished.sealer.clone();
        Ok(SnapshotFile { path, file: Arc::new(file), sealer, unfinished: Some(Arc::new(unfinished)) })
    }

    /// Reads all of a snapshot, makes it the newest one on disk, and gives the tables it holds.
    pub fn install(&self, snapshot: &SnapshotFile) -> Result<Tables, SnapshotError> {
        let closed = self.closed.lock().expect("no holder panics");
        if *closed {
            return Err(SnapshotError::Closed);
        }
        let mut reader = self.read(snapshot)?;
        let meta = reader.meta().clone();
        let tables = format::read_tables(&mut reader)
            .map_err(|source| SnapshotError::Tables { path: snapshot.path.clone(), source })?;
        if let Some(unfinished) = &snapshot.unfinished {
            self.name(unfinished, &meta)?;
        } else if snapshot.path.parent() != Some(&self.folder) {
            let (unfinished, mut writer) = self.receive(&meta)?;
            format::write_tables(&tables, &mut writer)
                .map_err(SnapshotError::io("write", &unfinished.path))?;
            writer.finish()?;
            self.name(&unfinished, &meta)?;
        }
        Ok(tables)
    }

    /// Opens a snapshot at its start.
    pub fn read(&self, snapshot: &SnapshotFile) -> Result<ChunkReader, SnapshotError> {
        ChunkReader::new(snapshot.file.clone(), &snapshot.path, snapshot.sealer.clone())
    }

    /// Seals all snapshots anew that are not under the present key, each in one step.
    pub fn reseal(&self) -> Result<(), SnapshotError> {
        let closed = self.closed.lock().expect("no holder panics");
        if *closed {
            return Err(SnapshotError::Closed);
        }
        for name in self.finished()? {
            let path = self.folder.join(name);
            let file = Arc::new(File::open(&path).map_err(SnapshotError::io("open", &path))?);
            let sealer = Arc::new(self.sealer.fixed());
            if !ChunkReader::is_current(file.clone(), &path, &sealer)? {
                let snapshot = SnapshotFile { path: path.clone(), file, sealer, unfinished: None };
                self.replace(&self.copy(&snapshot)?, &path)?;
            }
        }
        Ok(())
    }

    /// The same snapshot in a file of its own, under the present key.
    fn copy(&self, snapshot: &SnapshotFile) -> Result<Unfinished, SnapshotError> {
        let mut reader = self.read(snapshot)?;
        let (unfinished, mut writer) = self.receive(&reader.meta().clone())?;
        while let Some(chunk) = reader.next_chunk()? {
            writer.write_all(&chunk).map_err(SnapshotError::io("write", &unfinished.path))?;
        }
        writer.finish()?;
        Ok(unfinished)
    }

    fn replace(&self, unfinished: &Unfinished, path: &Path) -> Result<(), SnapshotError> {
        fs::rename(&unfinished.path, path).map_err(SnapshotError::io("name", path))?;
        sync_dir(&self.folder)
            .map_err(|error| SnapshotError::io("name", path)(io::Error::other(error.to_string())))
    }

    /// Waits for whoever writes, and lets nobody begin.
    pub fn close(&self) {
        *self.closed.lock().expect("no holder panics") = true;
    }

    /// Gives a whole file its name and drops those it makes superfluous.
    fn name(&self, unfinished: &Unfinished, meta: &SnapshotMeta) -> Result<PathBuf, SnapshotError> {
        let entries = meta.last_log_id.map_or(0, |last| last.index() + 1);
        let path = self.folder.join(format!("{NAME}{entries:020}"));
        if unfinished.sealer.version() == self.sealer.version() {
            self.replace(unfinished, &path)?;
        } else {
            // The keys changed while it was written, and the one it is under may be gone before it is read.
            let file = File::open(&unfinished.path).map_err(SnapshotError::io("open", &unfinished.path))?;
            let (file, sealer) = (Arc::new(file), unfinished.sealer.clone());
            let old = SnapshotFile { path: unfinished.path.clone(), file, sealer, unfinished: None };
            self.replace(&self.copy(&old)?, &path)?;
        }
        self.prune();
        Ok(path)
    }

    fn prune(&self) {
        let Ok(mut names) = self.finished() else { return };
        names.truncate(names.len().saturating_sub(1 + self.keep_old.load(Ordering::Relaxed)));
        for name in names {
            let path = self.folder.join(name);
            if let Err(error) = fs::remove_file(&path) {
                warn!(path = %path.display(), %error, "an old snapshot stays");
            }
        }
    }

    /// Names of whole snapshots, oldest first.
    fn finished(&self) -> Result<Vec<String>, SnapshotError> {
        let mut names = self.names()?;
        names.retain(|name| name.starts_with(NAME));
        names.sort();
        Ok(names)
    }

    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        let read = || -> io::Result<Vec<String>> {
            fs::read_dir(&self.folder)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        };
        read().map_err(SnapshotError::io("look for", &self.folder))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already if it got its name.
        let _ = fs::remove_file(&self.path);
    }
}
