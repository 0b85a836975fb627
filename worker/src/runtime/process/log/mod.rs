//! What a task writes: kept line by line in a few files of bounded size, and read back.
//!
//! - `format`: a line in a file. `write`: appending and rotation, by the supervisor. `read`: from the beginning, the
//!   last lines, or as they come, by the daemon. `follow`: being told that there is more.
//!
//! Files are numbered upwards, and the oldest is deleted when there are too many: no file is ever renamed, so a
//! reader goes on where it is.

pub mod follow;
pub mod format;
pub mod read;
pub mod write;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    pub file_bytes: u64,
    pub files: u32,
}

/// The numbers of the files in a log's folder, oldest first.
fn numbers(folder: &std::path::Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn name(number: u64) -> String {
    format!("{number:08}")
}
