//! A wall clock that a test can set while a daemon runs: libfaketime before the C library, its offset in a file.
//!
//! Only the wall clock: what measures how long something takes goes on undisturbed, as on a machine whose clock is set.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::node::NodeOptions;
use crate::run;
use crate::skip::skipped;

pub struct WallClock {
    file: PathBuf,
    library: &'static Path,
}

/// A clock that is right; none, and a loud line, where this machine has no libfaketime.
pub fn wall_clock(test: &str) -> Option<WallClock> {
    let Some(library) = library() else {
        skipped(test, "faketime", "libfaketimeMT.so.1 is not in /usr/lib (Debian: apt install faketime)");
        return None;
    };
    let clock = WallClock { file: run::folder().join("offset"), library };
    clock.set(0).expect("the folder of this run can be written");
    Some(clock)
}

impl WallClock {
    /// The daemon lives by this clock.
    pub fn of(&self, options: NodeOptions) -> NodeOptions {
        options
            .with_environment("LD_PRELOAD", &self.library.to_string_lossy())
            .with_environment("FAKETIME_TIMESTAMP_FILE", &self.file.to_string_lossy())
            .with_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with_environment("FAKETIME_DONT_RESET", "1")
            .with_environment("FAKETIME_NO_CACHE", "1")
            .with_environment("NO_FAKE_STAT", "1")
    }

    /// How far it is ahead of the machine's, or behind.
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        // Put in place whole, because it is read at every look at the clock.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(&next, &self.file)?)
    }
}

fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            let places = std::fs::read_dir("/usr/lib").ok()?.flatten();
            let mut found = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
            found.find(|path| path.exists())
        })
        .as_deref()
}
