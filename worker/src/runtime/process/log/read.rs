//! Reading a task's log: all of it, its last lines, and on from there while it grows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::limits::PROCESS_LOG_READ_BYTES;
use common::time::Timestamp;
use common::wire::logs::LogStream;

use super::format::{self, Line};
use super::{name, numbers};

/// Which lines are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    pub stdout: bool,
    pub stderr: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Filter {
    pub fn passes(&self, line: &Line) -> bool {
        let stream = match line.stream {
            LogStream::Stdout => self.stdout,
            LogStream::Stderr => self.stderr,
        };
        stream && self.since.is_none_or(|since| line.at >= since) && !self.is_over(line)
    }

    /// Whether the line, and so all after it, is too late.
    pub fn is_over(&self, line: &Line) -> bool {
        self.until.is_some_and(|until| line.at > until)
    }
}

/// A place in a log, moving forward.
pub struct LogReader {
    folder: PathBuf,
    filter: Filter,
    /// Number and content of the file being read.
    file: Option<(u64, File)>,
    offset: u64,
    over: bool,
}

impl LogReader {
    /// At the first line, or so that the last `tail` lines asked for follow.
    pub fn open(folder: PathBuf, filter: Filter, tail: Option<u64>) -> io::Result<Self> {
        let mut reader = Self { folder, filter, file: None, offset: 0, over: false };
        if let Some(tail) = tail {
            reader.go_back(tail)?;
        }
        Ok(reader)
    }

    /// Some more lines; none when there are no more now.
    pub fn read(&mut self) -> io::Result<Vec<Line>> {
        let mut buffer = Vec::new();
        while !self.over {
            let Some(newest) = self.enter()? else { return Ok(Vec::new()) };
            let found = self.read_at(self.offset, &mut buffer)?;
            let Some(end) = buffer[..found].iter().rposition(|byte| *byte == b'\n') else {
                // No whole line: a damaged one longer than all that is ever written, or the end of the file.
                if found == PROCESS_LOG_READ_BYTES {
                    self.offset += found as u64;
                } else if newest || !self.go_on(found as u64)? {
                    return Ok(Vec::new());
                }
                continue;
            };
            self.offset += end as u64 + 1;
            let lines = buffer[..end].split(|byte| *byte == b'\n').filter_map(format::parse);
            let lines: Vec<Line> = lines.collect();
            self.over = lines.last().is_some_and(|line| self.filter.is_over(line));
            let lines: Vec<Line> = lines.into_iter().filter(|line| self.filter.passes(line)).collect();
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
        Ok(Vec::new())
    }

    /// Everything asked for was read: what comes now is too late.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Opens the oldest file if none is open. Says whether the open one is the newest; none when there is none.
    fn enter(&mut self) -> io::Result<Option<bool>> {
        let numbers = match numbers(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if self.file.is_none() && !self.open_first(numbers.iter().copied())? {
            return Ok(None);
        }
        let open = self.file.as_ref().map(|(number, _)| *number);
        Ok(Some(numbers.last().copied() <= open))
    }

    /// Goes on with the next file, once this one is read to its end; false when there is none yet. `torn` bytes at
    /// its end are no line.
    fn go_on(&mut self, torn: u64) -> io::Result<bool> {
        let Some((current, file)) = &self.file else { return Ok(false) };
        if file.metadata()?.len() > self.offset + torn {
            return Ok(true); // it grew between the last read and the rotation
        }
        let current = *current;
        let next: Vec<u64> = numbers(&self.folder)?.into_iter().filter(|number| *number > current).collect();
        let opened = self.open_first(next.into_iter())?;
        if opened {
            self.offset = 0;
        }
        Ok(opened)
    }

    /// Opens the first that is still there.
    fn open_first(&mut self, numbers: impl Iterator<Item = u64>) -> io::Result<bool> {
        for number in numbers {
            match File::open(self.folder.join(name(number))) {
                Ok(file) => {
                    self.file = Some((number, file));
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn read_at(&self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
        buffer.resize(PROCESS_LOG_READ_BYTES, 0);
        match &self.file {
            Some((_, file)) => file.read_at(buffer, offset),
            None => Ok(0),
        }
    }

    /// Moves to where the last `tail` lines asked for begin, looking from the end backwards.
    fn go_back(&mut self, tail: u64) -> io::Result<()> {
        let all = match numbers(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let mut wanted = tail;
        for number in all.into_iter().rev() {
            if !self.open_first(std::iter::once(number))? {
                break; // older ones are gone
            }
            let Some((_, file)) = &self.file else { break };
            self.offset = file.metadata()?.len();
            if wanted == 0 {
                return Ok(());
            }
            if let Some(offset) = last_lines(file, self.offset, self.filter, &mut wanted)? {
                self.offset = offset;
                return Ok(());
            }
            self.offset = 0;
        }
        Ok(())
    }
}

/// Where the last `wanted` lines of a file begin; none, and fewer wanted, when it has not so many.
fn last_lines(file: &File, end: u64, filter: Filter, wanted: &mut u64) -> io::Result<Option<u64>> {
    let mut from = end;
    // What is read and not counted yet: the end of a line whose beginning lies before `from`.
    let mut rest: Vec<u8> = Vec::new();
    while from > 0 {
        let step = from.min(PROCESS_LOG_READ_BYTES as u64);
        from -= step;
        let mut bytes = vec![0; usize::try_from(step).unwrap_or(PROCESS_LOG_READ_BYTES)];
        file.read_exact_at(&mut bytes, from)?;
        bytes.append(&mut rest);
        // Every line but the first one here begins after a line end that is here too.
        let mut line_end = bytes.len();
        while let Some(before) = bytes[..line_end.saturating_sub(1)].iter().rposition(|byte| *byte == b'\n') {
            if counts(&bytes[before + 1..line_end], filter) {
                *wanted -= 1;
            }
            if *wanted == 0 {
                return Ok(Some(from + before as u64 + 1));
            }
            line_end = before + 1;
        }
        bytes.truncate(line_end);
        rest = bytes;
    }
    if counts(&rest, filter) {
        *wanted -= 1;
    }
    Ok((*wanted == 0).then_some(0))
}

fn counts(line: &[u8], filter: Filter) -> bool {
    let whole = line.strip_suffix(b"\n");
    whole.and_then(format::parse).is_some_and(|line| filter.passes(&line))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Bounds;
    use super::super::write::LogWriter;
    use super::*;

    const ALL: Filter = Filter { stdout: true, stderr: true, since: None, until: None };

    fn writer(folder: &Path, file_bytes: u64, files: u32) -> LogWriter {
        LogWriter::open(folder.into(), Bounds { file_bytes, files }).unwrap()
    }

    fn rest(reader: &mut LogReader) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let lines = reader.read().unwrap();
            if lines.is_empty() {
                return found;
            }
            found.extend(lines.into_iter().map(|line| String::from_utf8(line.data).unwrap()));
        }
    }

    fn read(folder: &Path, filter: Filter, tail: Option<u64>) -> Vec<String> {
        rest(&mut LogReader::open(folder.into(), filter, tail).unwrap())
    }

    /// Writes `line 0`, `line 1`, … at 1 s, 2 s, …, every third one to stderr.
    fn number_lines(writer: &mut LogWriter, lines: std::ops::Range<u64>) {
        for number in lines {
            let stream = if number % 3 == 2 { LogStream::Stderr } else { LogStream::Stdout };
            let at = Timestamp((number + 1) * 1_000_000_000);
            writer.append(stream, format!("line {number}\n").as_bytes(), at);
        }
    }

    fn expected(numbers: impl Iterator<Item = u64>) -> Vec<String> {
        numbers.map(|number| format!("line {number}\n")).collect()
    }

    #[test]
    fn lines_come_back_whole_by_stream_time_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(read(path, ALL, None), [""; 0]);
        assert_eq!(read(&path.join("nowhere"), ALL, Some(3)), [""; 0]);
        number_lines(&mut writer(path, 200, 100), 0..50);
        let at = |second: u64| Some(Timestamp(second * 1_000_000_000));
        assert_eq!(read(path, ALL, None), expected(0..50));
        let errors = Filter { stdout: false, ..ALL };
        assert_eq!(read(path, errors, None), expected((0..50).filter(|number| number % 3 == 2)));
        assert_eq!(read(path, Filter { since: at(41), ..ALL }, None), expected(40..50));
        assert_eq!(read(path, Filter { until: at(3), ..ALL }, None), expected(0..3));
        assert_eq!(read(path, errors, Some(2)), expected([44, 47].into_iter()));
        assert_eq!(read(path, Filter { until: at(10), ..ALL }, Some(4)), expected(6..10));
        for tail in 0..=51 {
            assert_eq!(read(path, ALL, Some(tail)), expected(50_u64.saturating_sub(tail)..50), "tail {tail}");
        }
    }

    #[test]
    fn tails_are_found_across_the_pieces_that_are_read() {
        let folder = tempfile::tempdir().unwrap();
        number_lines(&mut writer(folder.path(), 10 << 20, 2), 0..10_000);
        assert!(folder.path().join(name(1)).metadata().unwrap().len() > 4 * PROCESS_LOG_READ_BYTES as u64);
        for tail in [1, 1_000, 1_600, 3_333, 9_999, 10_000, 10_001, u64::MAX] {
            let found = read(folder.path(), ALL, Some(tail));
            assert_eq!(found, expected(10_000_u64.saturating_sub(tail)..10_000), "tail {tail}");
        }
    }

    #[test]
    fn a_log_stays_within_its_bounds_and_keeps_the_newest_lines() {
        let folder = tempfile::tempdir().unwrap();
        number_lines(&mut writer(folder.path(), 500, 3), 0..1_000);
        let sizes: Vec<u64> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 3);
        assert!(sizes.iter().all(|size| *size <= 500), "{sizes:?}");
        let kept = read(folder.path(), ALL, None);
        assert!(kept.len() > 10, "{kept:?}");
        assert_eq!(kept, expected(1_000 - kept.len() as u64..1_000));
    }

    #[test]
    fn a_reader_goes_on_through_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path(), 300, 2);
        number_lines(&mut writer, 0..3);
        let mut reader = LogReader::open(folder.path().into(), ALL, None).unwrap();
        assert_eq!(rest(&mut reader), expected(0..3));
        assert_eq!(rest(&mut reader), [""; 0]);
        for from in (3..60).step_by(3) {
            number_lines(&mut writer, from..from + 3);
            assert_eq!(rest(&mut reader), expected(from..from + 3));
        }
    }

    #[test]
    fn begun_and_endless_lines_are_kept_in_pieces() {
        use common::limits::PROCESS_LOG_LINE_BYTES_MAX as MAX;
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path(), 10 << 20, 2);
        let out = LogStream::Stdout;
        writer.append(out, b"be", Timestamp(1));
        writer.append(LogStream::Stderr, b"between\n", Timestamp(1));
        writer.append(out, b"gun\n\nnext", Timestamp(2));
        assert_eq!(read(folder.path(), ALL, None), ["between\n", "begun\n", "\n"]);
        writer.append(out, &vec![b'x'; 2 * MAX], Timestamp(3));
        writer.append(out, b"\nlast", Timestamp(4));
        writer.finish(Timestamp(5));
        writer.finish(Timestamp(5));
        let found = read(folder.path(), ALL, None);
        assert_eq!(found[3..].concat(), format!("next{}\nlast", "x".repeat(2 * MAX)));
        assert!(found.iter().all(|line| line.len() <= MAX + 1));
    }

    #[test]
    fn times_never_run_backwards_and_damage_is_stepped_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path(), 10 << 20, 2);
        writer.append(LogStream::Stdout, b"later\n", Timestamp(9));
        writer.append(LogStream::Stdout, b"clock set back\n", Timestamp(5));
        let file = folder.path().join(name(1));
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.splice(0..0, b"\0\xff garbage\n\n1970 stdout F x\n".to_vec());
        bytes.extend_from_slice(b"1970-01-01T00:00:00Z stdo");
        std::fs::write(&file, bytes).unwrap();
        let lines = LogReader::open(folder.path().into(), ALL, None).unwrap().read().unwrap();
        assert_eq!(lines.iter().map(|line| line.at).collect::<Vec<_>>(), [Timestamp(9), Timestamp(9)]);
        assert_eq!(read(folder.path(), ALL, Some(1)), ["clock set back\n"]);
    }
}
