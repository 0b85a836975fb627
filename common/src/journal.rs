//! A journal: a file that grows by records, each of which is there whole or not at all.
//!
//! For state that changes often in small parts, where `disk` would write everything for each. What a crash leaves
//! half-written at the end is dropped; anything else that is wrong names the file, which is set aside, and what
//! stood before the damage holds. Blocks: not for async code.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::disk::{DiskError, create_private_dir, sync_dir};
use crate::limits::{JOURNAL_OUTDATED_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX};

/// Length and checksum in front of each record.
const HEAD_BYTES: usize = 4 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 8;

/// An open journal. One process has it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    header: String,
    file: File,
    /// Bytes in the file, and of those the ones it began with when it was last written anew.
    bytes: u64,
    bytes_whole: u64,
    /// The file is new, and its folder may not have it after a power cut.
    is_new: bool,
}

/// What was found in a journal.
#[derive(Debug, Default)]
pub struct Found {
    /// Oldest first.
    pub records: Vec<Vec<u8>>,
    /// Set where not all could be read: what is wrong, and where the file is now.
    pub damage: Option<Damage>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    pub reason: String,
    pub set_aside: PathBuf,
}

impl Journal {
    /// Opens the file, or begins one, and reads what is in it.
    pub fn open(path: &Path, kind: &str, format: u32) -> Result<(Self, Found), DiskError> {
        create_private_dir(path.parent().expect("state files lie in the state folder"))?;
        let header = format!("swarm {kind} {format}\n");
        let mut found = Found::default();
        let mut keep = 0; // bytes at the start of the file that are fine
        match fs::read(path) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => match read(&bytes, &header, &mut found.records) {
                Ok(whole) => keep = whole as u64,
                Err(reason) => {
                    let set_aside = aside_of(path);
                    fs::rename(path, &set_aside).map_err(at("set aside", path))?;
                    found.damage = Some(Damage { reason, set_aside });
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at("read", path)(error)),
        }
        let file = open_to_append(path)?;
        let is_new = keep == 0;
        let mut journal = Self { path: path.into(), header, file, bytes: keep, bytes_whole: keep, is_new };
        if !is_new {
            journal.file.set_len(keep).map_err(at("cut", path))?;
        } else if found.records.is_empty() {
            // Not worth a wait for the disk: an empty journal is as good as none.
            journal.file.set_len(0).map_err(at("cut", path))?;
            journal.file.write_all(journal.header.as_bytes()).map_err(at("write", path))?;
            journal.bytes = journal.header.len() as u64;
        } else {
            journal.replace(&found.records)?;
        }
        Ok((journal, found))
    }

    /// Adds records at the end; on disk when this returns. After an error none of them counts.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<(), DiskError> {
        let bytes = frames(records);
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                if std::mem::take(&mut self.is_new) { self.sync_folder() } else { Ok(()) }
            }
            Err(error) => {
                // The next record must not come after half of one.
                let _ = self.file.set_len(self.bytes);
                Err(at("append to", &self.path)(error))
            }
        }
    }

    /// Whether most of the file is outdated by now, as far as its size tells.
    pub fn is_worth_replacing(&self) -> bool {
        self.bytes > self.bytes_whole.saturating_mul(2).saturating_add(JOURNAL_OUTDATED_BYTES_MAX)
    }

    /// Puts these records in place of all that is there, in one step.
    pub fn replace(&mut self, records: &[Vec<u8>]) -> Result<(), DiskError> {
        let next = suffixed(&self.path, ".next");
        let written = self.replace_through(&next, records);
        if written.is_err() {
            let _ = fs::remove_file(&next);
        }
        written
    }

    fn replace_through(&mut self, next: &Path, records: &[Vec<u8>]) -> Result<(), DiskError> {
        match fs::remove_file(next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove", next)(error)),
            _ => {}
        }
        let mut file = open_to_append(next)?;
        let bytes = [self.header.as_bytes(), &frames(records)].concat();
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(at("write", next))?;
        fs::rename(next, &self.path).map_err(at("replace", &self.path))?;
        // From here on this is the journal, whatever becomes of the next line.
        self.file = file;
        self.bytes = bytes.len() as u64;
        self.bytes_whole = self.bytes;
        self.is_new = false;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), DiskError> {
        sync_dir(self.path.parent().expect("state files lie in the state folder"))
    }
}

/// Reads records until the end or the torn last one; says how many bytes are fine.
fn read(bytes: &[u8], header: &str, records: &mut Vec<Vec<u8>>) -> Result<usize, String> {
    if !bytes.starts_with(header.as_bytes()) {
        let found: String = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        return Err(format!("it begins with {found:?} and not with {header:?}"));
    }
    let mut at = header.len();
    loop {
        let rest = &bytes[at..];
        if rest.len() < HEAD_BYTES {
            return Ok(at);
        }
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let Some(record) = rest.get(HEAD_BYTES..HEAD_BYTES.saturating_add(length)) else {
            // Nothing can follow a record that goes beyond the end, unless its length is wrong.
            return if length > JOURNAL_RECORD_BYTES_MAX {
                Err(format!("the record at byte {at} is {length} bytes long"))
            } else {
                Ok(at)
            };
        };
        if rest[4..HEAD_BYTES] != checksum(record) {
            // A power cut may leave the last one with its length and without its bytes.
            let is_last = at + HEAD_BYTES + length == bytes.len();
            return if is_last {
                Ok(at)
            } else {
                Err(format!("the record at byte {at} is not what was written"))
            };
        }
        records.push(record.to_vec());
        at += HEAD_BYTES + length;
    }
}

fn frames(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.iter().map(|record| HEAD_BYTES + record.len()).sum());
    for record in records {
        let length = u32::try_from(record.len()).expect("a record has a bound");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&checksum(record));
        bytes.extend_from_slice(record);
    }
    bytes
}

/// Also of an empty record this is not zero: a run of zeros, which some crashes leave, is no record.
fn checksum(record: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest(&SHA256, record).as_ref()[..CHECKSUM_BYTES]);
    sum
}

fn open_to_append(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(at("open", path))
}

fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |source| DiskError::Io { action, path: path.to_path_buf(), source }
}

/// A name that is free, so that an earlier damaged file is not lost to a later one.
fn aside_of(path: &Path) -> PathBuf {
    let numbered = (1..100).map(|number| suffixed(path, &format!(".damaged.{number}")));
    std::iter::once(suffixed(path, ".damaged"))
        .chain(numbered)
        .find(|name| !name.exists())
        .unwrap_or_else(|| suffixed(path, ".damaged"))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn texts(found: &Found) -> Vec<&str> {
        found.records.iter().map(|record| std::str::from_utf8(record).unwrap()).collect()
    }

    fn records(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn records_come_back_in_order_and_a_journal_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/journal");
        let (mut journal, found) = Journal::open(&path, "test", 1).unwrap();
        assert!(found.records.is_empty() && found.damage.is_none());
        journal.append(&records(&["one", ""])).unwrap();
        drop(journal);
        let (mut journal, found) = Journal::open(&path, "test", 1).unwrap();
        assert_eq!(texts(&found), ["one", ""]);
        journal.append(&records(&["three"])).unwrap();
        journal.replace(&records(&["only"])).unwrap();
        journal.append(&records(&["and this"])).unwrap();
        drop(journal);
        let (_, found) = Journal::open(&path, "test", 1).unwrap();
        assert_eq!(texts(&found), ["only", "and this"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn cut_anywhere_it_keeps_what_was_whole_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path, "test", 1).unwrap();
        journal.append(&records(&["first", "second"])).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for end in "swarm test 1\n".len()..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let (mut journal, found) = Journal::open(&path, "test", 1).unwrap();
            assert!(found.damage.is_none(), "cut at {end}");
            let kept = texts(&found).len();
            journal.append(&records(&["next"])).unwrap();
            drop(journal);
            let (_, found) = Journal::open(&path, "test", 1).unwrap();
            assert_eq!(found.records.len(), kept + 1, "cut at {end}");
            assert_eq!(texts(&found).last(), Some(&"next"));
        }
    }

    #[test]
    fn a_changed_byte_sets_the_file_aside_and_keeps_what_stood_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path, "test", 1).unwrap();
        journal.append(&records(&["first", "second", "third"])).unwrap();
        drop(journal);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(6).position(|window| window == b"second").unwrap();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (_, found) = Journal::open(&path, "test", 1).unwrap();
        assert_eq!(texts(&found), ["first"]);
        let damage = found.damage.unwrap();
        assert_eq!(damage.set_aside, folder.path().join("journal.damaged"));
        assert_eq!(fs::read(&damage.set_aside).unwrap(), bytes);
        // What was kept is in the new file, and nothing is wrong with that one.
        let (_, found) = Journal::open(&path, "test", 1).unwrap();
        assert!(texts(&found) == ["first"] && found.damage.is_none());
        // Of another kind or format: the same.
        let (_, found) = Journal::open(&path, "test", 2).unwrap();
        assert!(found.records.is_empty() && found.damage.is_some());
    }

    #[test]
    fn it_grows_no_further_than_its_content_asks() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&folder.path().join("journal"), "test", 1).unwrap();
        let record = vec![vec![7; 64 << 10]];
        let appended = (0..).take_while(|_| {
            journal.append(&record).unwrap();
            !journal.is_worth_replacing()
        });
        assert!(appended.count() < 20);
        journal.replace(&record).unwrap();
        assert!(!journal.is_worth_replacing());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let whole = [b"swarm test 1\n", &bytes[..]].concat();
            let _ = read(&whole, "swarm test 1\n", &mut Vec::new());
        }
    }
}
