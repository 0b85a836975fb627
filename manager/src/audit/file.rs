//! The files of the audit record: `audit.jsonl` is written, `audit.1.jsonl` is the one before, and so on.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::engine_api::access::{AuditAnswer, AuditRecord};
use common::limits::{AUDIT_FILE_BYTES_MAX, AUDIT_FILES_MAX, AUDIT_LINE_BYTES_MAX, AUDIT_NOTES_MAX};
use common::report::Report;

use super::AuditError;
use super::chain::{self, Check, Fault};
use super::select::Selection;

pub struct Files {
    folder: PathBuf,
    file: File,
    bytes: u64,
    last: Check,
    names: BTreeMap<u32, String>,
    file_bytes_max: u64,
}

fn path(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join("audit.jsonl"),
        number => folder.join(format!("audit.{number}.jsonl")),
    }
}

impl Files {
    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        Self::open_with(folder, AUDIT_FILE_BYTES_MAX)
    }

    fn open_with(folder: &Path, file_bytes_max: u64) -> Result<Self, AuditError> {
        let failed = |source| AuditError { action: "open", path: path(folder, 0), source };
        std::fs::DirBuilder::new()
            .recursive(true)
            .create(folder)
            .and_then(|()| {
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
            })
            .map_err(failed)?;
        let (mut file, bytes) = create(&path(folder, 0)).map_err(failed)?;
        let end = end_of(&mut file, bytes).map_err(failed)?;
        let mut files = Self {
            folder: folder.into(),
            file,
            bytes,
            last: end.check,
            names: BTreeMap::new(),
            file_bytes_max,
        };
        if bytes == 0 {
            files.last = last_check(&path(folder, 1));
        }
        if end.is_cut {
            // The power went while a line was written. It stays as it is, and the next one begins a line of its own.
            files.put("\n").map_err(failed)?;
        }
        Ok(files)
    }

    pub fn append(&mut self, mut record: AuditRecord) -> Result<(), AuditError> {
        let failed = |action, folder: &Path, source| AuditError { action, path: path(folder, 0), source };
        self.name(&mut record);
        let (mut line, check) = chain::line(&record, &self.last);
        line.push('\n');
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.file_bytes_max {
            self.rotate().map_err(|source| failed("rotate", &self.folder, source))?;
        }
        let before = self.bytes;
        if let Err(source) = self.put(&line) {
            // What stands there of the line is taken away, so that the next one is whole; if that fails too it shows.
            let _ = self.file.set_len(before).map(|()| self.bytes = before);
            return Err(failed("write", &self.folder, source));
        }
        self.last = check;
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), AuditError> {
        let failed = |source| AuditError { action: "write", path: path(&self.folder, 0), source };
        self.file.sync_data().map_err(failed)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        for number in (0..AUDIT_FILES_MAX - 1).rev() {
            match std::fs::rename(path(&self.folder, number), path(&self.folder, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        (self.file, self.bytes) = create(&path(&self.folder, 0))?;
        Ok(())
    }

    /// The name of a user of the local socket, which may take the system a moment to say.
    fn name(&mut self, record: &mut AuditRecord) {
        const NAMES_MAX: usize = 1_024;
        let Some(uid) = record.who.uid.filter(|_| record.who.name.is_empty()) else { return };
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let name = self.names.entry(uid).or_insert_with(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
            user.map_or_else(|| uid.to_string(), |user| user.name)
        });
        record.who.name.clone_from(name);
    }
}

fn create(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

struct End {
    check: Check,
    /// The file does not end with the end of a line.
    is_cut: bool,
}

fn end_of(file: &mut File, bytes: u64) -> io::Result<End> {
    let tail = bytes.min(2 * AUDIT_LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(bytes - tail))?;
    let mut text = Vec::new();
    file.take(tail).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let whole = text.lines().rev().find_map(chain::check_of);
    Ok(End { check: whole.unwrap_or_default(), is_cut: bytes > 0 && !text.ends_with('\n') })
}

fn last_check(path: &Path) -> Check {
    let end = || {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        end_of(&mut file, bytes)
    };
    end().map(|end| end.check).unwrap_or_default()
}

/// Reads what is selected, the newest of it where there is more than its limit, oldest first.
pub fn read(folder: &Path, selection: &Selection) -> AuditAnswer {
    let mut records = VecDeque::new();
    let mut missing = Vec::new();
    // None before the oldest file: what stood before it is gone by intent.
    let mut before: Option<Check> = None;
    for number in (0..AUDIT_FILES_MAX).rev() {
        let path = path(folder, number);
        let lines = match File::open(&path) {
            Ok(file) => Lines(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                missing.push(format!("{}: {}", path.display(), Report(&error)));
                continue;
            }
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (mut damaged, mut gaps) = (Vec::new(), Vec::new());
        for (index, line) in lines.enumerate() {
            let Ok(line) = line else {
                damaged.push(index + 1);
                break;
            };
            if line.is_empty() {
                continue;
            }
            let (read, fault) = chain::read(&line, before.as_ref().unwrap_or(&Check::default()));
            match fault {
                Some(Fault::Damaged) => damaged.push(index + 1),
                Some(Fault::Gap) if before.is_some() => gaps.push(index + 1),
                Some(Fault::Gap) | None => {}
            }
            let Some((record, check)) = read else { continue };
            before = Some(check);
            if selection.takes(&record) {
                records.push_back(record);
                if records.len() > selection.limit {
                    records.pop_front();
                }
            }
        }
        note(&mut missing, &name, "is cut or damaged", &damaged);
        note(
            &mut missing,
            &name,
            "does not follow what stands before it: lines were changed or taken out",
            &gaps,
        );
    }
    AuditAnswer { records: records.into(), missing }
}

fn note(missing: &mut Vec<String>, file: &str, what: &str, lines: &[usize]) {
    for line in lines.iter().take(AUDIT_NOTES_MAX) {
        missing.push(format!("{file} line {line} {what}"));
    }
    if lines.len() > AUDIT_NOTES_MAX {
        missing.push(format!("{file}: {} more lines like these", lines.len() - AUDIT_NOTES_MAX));
    }
}

/// Lines of bounded length; what is longer comes in pieces, which are no records.
struct Lines(BufReader<File>);

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match (&mut self.0).take(2 * AUDIT_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                Some(Ok(text.strip_suffix('\n').unwrap_or(&text).into()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: usize) -> AuditRecord {
        AuditRecord { id: id.to_string(), path: "x".repeat(100), ..AuditRecord::default() }
    }

    fn all() -> Selection {
        Selection { limit: 10_000, ..Selection::default() }
    }

    fn ids(answer: &AuditAnswer) -> Vec<usize> {
        answer.records.iter().map(|record| record.id.parse().expect("a number")).collect()
    }

    fn filled(count: usize) -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = Files::open_with(folder.path(), 4_000).expect("opened");
        for id in 0..count {
            files.append(record(id)).expect("written");
        }
        (folder, files)
    }

    #[test]
    fn it_is_bounded_and_the_oldest_goes() {
        let (folder, _files) = filled(1_000);
        let count = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(count, AUDIT_FILES_MAX);
        let answer = read(folder.path(), &all());
        assert_eq!(answer.missing, Vec::<String>::new());
        let ids = ids(&answer);
        assert!(ids.len() > 20 && ids.last() == Some(&999) && ids.is_sorted(), "{ids:?}");
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ids:?}");
    }

    #[test]
    fn a_cut_last_line_is_said_and_the_next_one_is_whole() {
        let (folder, files) = filled(3);
        drop(files);
        let file = OpenOptions::new().write(true).open(path(folder.path(), 0)).expect("there");
        let length = file.metadata().expect("there").len();
        file.set_len(length - 30).expect("cut");
        let mut files = Files::open_with(folder.path(), 4_000).expect("opened");
        files.append(record(3)).expect("written");
        let answer = read(folder.path(), &all());
        assert_eq!(ids(&answer), [0, 1, 3]);
        assert_eq!(answer.missing, ["audit.jsonl line 3 is cut or damaged"]);
    }

    #[test]
    fn a_line_taken_out_is_said() {
        let (folder, files) = filled(5);
        drop(files);
        let path = path(folder.path(), 0);
        let text = std::fs::read_to_string(&path).expect("there");
        let without: Vec<&str> =
            text.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line).collect();
        std::fs::write(&path, without.join("\n") + "\n").expect("written");
        let answer = read(folder.path(), &all());
        assert_eq!(ids(&answer), [0, 1, 3, 4]);
        assert_eq!(answer.missing.len(), 1, "{:?}", answer.missing);
        assert!(answer.missing[0].starts_with("audit.jsonl line 3 does not follow"), "{:?}", answer.missing);
    }

    #[test]
    fn it_goes_on_after_a_start_and_over_files() {
        let (folder, files) = filled(30);
        drop(files);
        let mut files = Files::open_with(folder.path(), 4_000).expect("opened");
        for id in 30..60 {
            files.append(record(id)).expect("written");
        }
        let answer = read(folder.path(), &all());
        assert_eq!((ids(&answer), answer.missing), ((0..60).collect(), Vec::new()));
        let newest = read(folder.path(), &Selection { limit: 2, ..Selection::default() });
        assert_eq!(ids(&newest), [58, 59]);
    }

    #[test]
    fn what_is_no_record_at_all_is_survived() {
        let (folder, files) = filled(1);
        drop(files);
        let path = path(folder.path(), 0);
        let mut bytes = std::fs::read(&path).expect("there");
        bytes.extend_from_slice(&[0xff; 200_000]);
        bytes.extend_from_slice(b"\n\n{}\nhello\n");
        std::fs::write(&path, bytes).expect("written");
        let mut files = Files::open_with(folder.path(), 1 << 20).expect("opened");
        files.append(record(1)).expect("written");
        let answer = read(folder.path(), &all());
        assert_eq!(ids(&answer), [0, 1]);
        assert!(!answer.missing.is_empty());
    }
}
