//! Appending to a task's log: lines with their time, in files of bounded size.
//!
//! A disk that is full costs lines and never holds up the task; how many were lost is in the log as soon as there
//! is room again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use common::limits::PROCESS_LOG_LINE_BYTES_MAX;
use common::time::Timestamp;
use common::wire::logs::LogStream;

use super::{Bounds, format, name, numbers};

pub struct LogWriter {
    folder: PathBuf,
    bounds: Bounds,
    file: File,
    number: u64,
    bytes: u64,
    /// Begun lines of stdout and stderr.
    begun: [Vec<u8>; 2],
    /// Times never run backwards within a log, so that readers may trust their order.
    last: Timestamp,
    lost: u64,
}

impl LogWriter {
    /// Goes on with the newest file.
    pub fn open(folder: PathBuf, bounds: Bounds) -> io::Result<Self> {
        let number = numbers(&folder)?.last().copied().unwrap_or(1);
        let file = open(&folder, number)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            folder,
            bounds,
            file,
            number,
            bytes,
            begun: [Vec::new(), Vec::new()],
            last: Timestamp::default(),
            lost: 0,
        })
    }

    /// Takes what the task wrote. Whole lines are in the file when this returns, the rest waits for its end.
    pub fn append(&mut self, stream: LogStream, bytes: &[u8], now: Timestamp) {
        self.last = self.last.max(now);
        let at = self.last.to_rfc3339();
        let begun = &mut self.begun[index(stream)];
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let mut lines = 0;
        for mut piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            loop {
                let room = PROCESS_LOG_LINE_BYTES_MAX - begun.len();
                if let Some(line) = piece.strip_suffix(b"\n")
                    && line.len() <= room
                {
                    format::write(&mut out, &at, stream, true, [begun, line]);
                } else if piece.len() <= room {
                    begun.extend_from_slice(piece);
                    break;
                } else {
                    format::write(&mut out, &at, stream, false, [begun, &piece[..room]]);
                    piece = &piece[room..];
                    begun.clear();
                    lines += 1;
                    continue;
                }
                begun.clear();
                lines += 1;
                break;
            }
        }
        self.write(out, lines);
    }

    /// The task has ended: begun lines are written as they are.
    pub fn finish(&mut self, now: Timestamp) {
        self.last = self.last.max(now);
        let at = self.last.to_rfc3339();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let begun = std::mem::take(&mut self.begun[index(stream)]);
            if !begun.is_empty() {
                let mut out = Vec::new();
                format::write(&mut out, &at, stream, false, [&begun, b""]);
                self.write(out, 1);
            }
        }
    }

    fn write(&mut self, mut out: Vec<u8>, lines: u64) {
        if lines == 0 {
            return;
        }
        if self.lost > 0 {
            let mut note = Vec::new();
            let text = format!(
                "[swarm] {} lines before this one were lost: the log could not be written",
                self.lost
            );
            format::write(
                &mut note,
                &self.last.to_rfc3339(),
                LogStream::Stderr,
                true,
                [text.as_bytes(), b""],
            );
            note.append(&mut out);
            out = note;
        }
        let length = out.len() as u64;
        let full = self.bytes > 0 && self.bytes.saturating_add(length) > self.bounds.file_bytes;
        let written = if full { self.rotate() } else { Ok(()) }.and_then(|()| self.file.write_all(&out));
        match written {
            Ok(()) => {
                self.bytes += length;
                self.lost = 0;
            }
            Err(_) => {
                self.lost += lines;
                let _ = self.file.set_len(self.bytes); // half a line is no line
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = open(&self.folder, self.number + 1)?;
        self.number += 1;
        self.bytes = 0;
        let kept_from = (self.number + 1).saturating_sub(self.bounds.files.into());
        for number in numbers(&self.folder)?.into_iter().filter(|number| *number < kept_from) {
            fs::remove_file(self.folder.join(name(number)))?;
        }
        Ok(())
    }
}

fn open(folder: &std::path::Path, number: u64) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join(name(number)))
}

fn index(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    }
}
