//! Looking for a value where it must not be: in files, and in the memory of a process.
//!
//! `grep` does the looking, which is quick also in a build without optimizations. It is told the value by a pipe: an
//! argument could be seen by everybody.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Read at a time from another process's memory.
const PIECE_BYTES: usize = 1 << 20;

/// Files below a folder that hold the value. Not where a node has its tasks' secrets, which is in memory.
pub fn in_files(folder: &Path, value: &str) -> Vec<PathBuf> {
    let pattern = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file in memory");
    std::fs::write(pattern.path(), value).expect("written");
    let output = Command::new("find")
        .arg(folder)
        .args([
            "-xdev",
            "-path",
            "*/secrets",
            "-prune",
            "-o",
            "-type",
            "f",
            "-size",
            "+0",
            "-exec",
            "grep",
            "-laF",
            "-f",
        ])
        .arg(pattern.path())
        .args(["{}", "+"])
        .stderr(Stdio::null())
        .output()
        .expect("find and grep are everywhere");
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

/// Whether the value is anywhere in a process's memory, as far as that can be read.
pub fn in_memory(pid: u32, value: &str) -> std::io::Result<bool> {
    let pattern = tempfile::NamedTempFile::new_in("/dev/shm")?;
    std::fs::write(pattern.path(), value)?;
    let mut grep =
        Command::new("grep").args(["-qaF", "-f"]).arg(pattern.path()).stdin(Stdio::piped()).spawn()?;
    let mut input = grep.stdin.take().expect("it was asked for");
    let mut memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut piece = vec![0; PIECE_BYTES];
    'all: for (begin, end) in regions(pid)? {
        if memory.seek(SeekFrom::Start(begin)).is_err() {
            continue;
        }
        let mut left = (end - begin) as usize;
        while left > 0 {
            let wanted = left.min(PIECE_BYTES);
            // What is not to be read is not there for anybody.
            let Ok(length @ 1..) = memory.read(&mut piece[..wanted]) else { break };
            left -= length;
            if input.write_all(&piece[..length]).is_err() {
                break 'all; // it was found
            }
        }
        // A value does not go on in another region.
        let _ = input.write_all(b"\n");
    }
    drop(input);
    Ok(grep.wait()?.success())
}

fn regions(pid: u32) -> std::io::Result<Vec<(u64, u64)>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let region = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (begin, end) = range.split_once('-')?;
        let is_data = rest.starts_with("rw");
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(begin)?, number(end)?)).filter(|_| is_data)
    };
    Ok(maps.lines().filter_map(region).collect())
}
