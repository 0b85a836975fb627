//! The raft log as openraft uses it: readable at once, acknowledged when on disk.
//!
//! Recent entries are in memory up to a number of bytes, older ones are read back from the file. All writes
//! go through `log_writer` in the order they were made.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, RwLock};

use common::limits::{LOG_MEMORY_BYTES_MAX, LOG_QUEUE_OPERATIONS_MAX, LOG_READ_BYTES_MAX};
use common::report::Report;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::log_file::{LogFile, LogFileError, Marks};
use super::log_writer::{Operation, SharedFile, Writer, closed};
use super::types::{Entry, LogId, TypeConfig, Vote, entry_bytes};

/// A handle to the log; clones are handles to the same one.
#[derive(Clone)]
pub struct LogStore {
    index: Arc<Mutex<Index>>,
    file: SharedFile,
    operations: mpsc::Sender<Operation>,
    failure: Failure,
}

/// What of the log is in memory.
#[derive(Default)]
pub struct Index {
    purged: Option<LogId>,
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// Nothing before this index is in the log. Equal to the next index while the log is empty.
    first: u64,
    /// The end of the log, in order. What comes before it is in the file alone.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    /// Entries before this index are in the file.
    flushed_next: u64,
}

impl LogStore {
    /// Checks every record of the log and starts its writer. May block on the disk.
    pub fn new(file: LogFile, failure: Failure) -> Result<Self, LogFileError> {
        let marks = file.marks();
        let committed = marks.committed;
        let index = Index::load(&file, marks)?;
        let durable_next = index.flushed_next;
        let (operations, receiver) = mpsc::channel(LOG_QUEUE_OPERATIONS_MAX);
        let index = Arc::new(Mutex::new(index));
        let file = Arc::new(RwLock::new(Some(file)));
        let writer = Writer {
            file: file.clone(),
            operations: receiver,
            index: index.clone(),
            failure: failure.clone(),
            durable_next,
            committed,
        };
        std::thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || writer.run())
            .expect("the system has a thread for the raft log");
        Ok(Self { index, file, operations, failure })
    }

    /// Seals all of the file anew that is not under the present key, in pieces between which others write.
    pub async fn reseal(&self) -> io::Result<()> {
        let mut from = Some(0);
        while let Some(start) = from {
            from = self.reseal_piece(start).await?;
        }
        Ok(())
    }

    /// One piece of that; answers where to go on.
    pub async fn reseal_piece(&self, from: u64) -> io::Result<Option<u64>> {
        let (done, resealed) = oneshot::channel();
        self.hand_over(Operation::Reseal { from, done }).await?;
        resealed.await.map_err(|_| closed())?
    }

    /// Writes what is waiting and closes the file. Every handle is of no use afterwards.
    pub async fn close(&self) -> io::Result<()> {
        let (done, closed) = oneshot::channel();
        if self.operations.send(Operation::Close { done }).await.is_err() {
            return Ok(());
        }
        closed.await.unwrap_or(Ok(()))
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (mut recent, older) = self.index.lock().expect("no holder panics").read(range, bytes_max);
        let Some(older) = older else { return Ok(recent) };
        let file = self.file.clone();
        let wanted = older.clone();
        let read = tokio::task::spawn_blocking(move || {
            let file = file.read().expect("no holder panics");
            let file = file.as_ref().ok_or_else(closed)?;
            file.entries(wanted, bytes_max).map_err(|error| io::Error::other(Report(&error).to_string()))
        });
        let mut entries = match read.await {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                self.failure.set(&error);
                return Err(error);
            }
            Err(error) => return Err(io::Error::other(error)),
        };
        let gap_from = entries.last().map_or(older.start, |last| last.log_id.index() + 1);
        let starts_late = entries.first().is_none_or(|first| first.log_id.index() > older.start);
        // What is gone from the start must have been purged while we read; anything else is a loss.
        let first = self.index.lock().expect("no holder panics").first;
        let due = first.clamp(older.start, older.end);
        if starts_late && entries.first().map_or(older.end, |first| first.log_id.index()) > due {
            let error = format!("the raft log lacks its entry {due}");
            self.failure.set(&error);
            return Err(io::Error::other(error));
        }
        if entries.is_empty() || gap_from == older.end {
            entries.append(&mut recent);
        }
        Ok(entries)
    }

    async fn hand_over(&self, operation: Operation) -> io::Result<()> {
        self.operations.send(operation).await.map_err(|_| closed())
    }

    async fn write_through(
        &self,
        make: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Operation,
    ) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.hand_over(make(done)).await?;
        written.await.map_err(|_| closed())?
    }
}

impl Index {
    fn load(file: &LogFile, marks: Marks) -> Result<Self, LogFileError> {
        let mut index = Index {
            purged: marks.purged,
            last: marks.purged,
            vote: marks.vote,
            committed: marks.committed,
            first: marks.purged.map_or(0, |purged| purged.index() + 1),
            flushed_next: u64::MAX,
            ..Index::default()
        };
        let due = index.first;
        file.each_entry(0..u64::MAX, |entry| {
            index.push(entry);
            index.evict();
            true
        })?;
        index.flushed_next = index.next();
        if index.first != due {
            return Err(file.inconsistent(format!("its first entry is {}, {due} was due", index.first)));
        }
        if index.next() != marks.next {
            let (found, due) = (index.next(), marks.next);
            return Err(file.inconsistent(format!("it ends before entry {found}, {due} was due")));
        }
        Ok(index)
    }

    pub fn committed(&self) -> Option<LogId> {
        self.committed
    }

    /// Entries before `next` have reached the disk.
    pub fn flushed(&mut self, next: u64) {
        self.flushed_next = next;
        self.evict();
    }

    /// The entries of `range` in memory, and the part of it that has to be read from the file before them.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> (Vec<Entry>, Option<Range<u64>>) {
        let recent_start = self.recent.front().map_or(self.next(), |first| first.log_id.index());
        let older = range.start.max(self.first)..range.end.min(recent_start);
        let start = self.position(range.start);
        let end = self.position(range.end).max(start);
        let mut bytes = 0;
        let enough = |entry: &&Entry| {
            let enough = bytes >= bytes_max;
            bytes += entry_bytes(entry);
            !enough
        };
        let recent = self.recent.range(start..end).take_while(enough).cloned().collect();
        (recent, (!older.is_empty()).then_some(older))
    }

    fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.index() + 1)
    }

    fn position(&self, index: u64) -> usize {
        self.recent.partition_point(|entry| entry.log_id.index() < index)
    }

    fn push(&mut self, entry: Entry) {
        if self.first == self.next() {
            self.first = entry.log_id.index();
        }
        self.last = Some(entry.log_id);
        self.recent_bytes += entry_bytes(&entry);
        self.recent.push_back(entry);
    }

    /// Drops the oldest entries from memory while they take too much of it and are on disk.
    fn evict(&mut self) {
        while self.recent_bytes > LOG_MEMORY_BYTES_MAX {
            match self.recent.front() {
                Some(first) if first.log_id.index() < self.flushed_next => self.pop_front(),
                _ => break,
            }
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.recent.pop_front() {
            self.recent_bytes -= entry_bytes(&entry);
        }
    }

    fn truncate(&mut self, last: Option<LogId>) {
        let keep = self.position(last.map_or(0, |last| last.index() + 1));
        for entry in self.recent.drain(keep..) {
            self.recent_bytes -= entry_bytes(&entry);
        }
        self.last = last;
        self.first = self.first.min(self.next());
    }

    fn purge(&mut self, log_id: LogId) {
        while self.recent.front().is_some_and(|first| first.log_id.index() <= log_id.index()) {
            self.pop_front();
        }
        self.purged = Some(log_id);
        self.last = self.last.max(self.purged);
        self.first = log_id.index() + 1;
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start..end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, LOG_READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.index.lock().expect("no holder panics").vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let index = self.index.lock().expect("no holder panics");
        Ok(LogState { last_purged_log_id: index.purged, last_log_id: index.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write_through(|done| Operation::Vote { vote: *vote, done }).await?;
        self.index.lock().expect("no holder panics").vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.index.lock().expect("no holder panics").committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.index.lock().expect("no holder panics").committed)
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut index = self.index.lock().expect("no holder panics");
            entries.iter().cloned().for_each(|entry| index.push(entry));
        }
        self.hand_over(Operation::Append { entries, done }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index() + 1);
        {
            let mut index = self.index.lock().expect("no holder panics");
            if index.last.is_none_or(|present| present.index() < from) {
                return Ok(());
            }
            index.truncate(last);
        }
        self.write_through(|done| Operation::TruncateFrom { index: from, done }).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.index.lock().expect("no holder panics").purge(log_id);
        self.hand_over(Operation::PurgeUpTo { log_id }).await
    }
}
