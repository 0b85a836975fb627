//! What people and scripts get to see: tables, JSON, templates, a line while waiting.

pub mod human;
pub mod inspect;
pub mod json;
pub mod listing;
pub mod natural;
pub mod progress;
pub mod table;
pub mod template;

use std::io::{self, ErrorKind, Write};

/// Writes results. A reader that has gone (`… | head -1`) has seen what it wanted.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes one line of results.
pub fn print_line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

/// Writes a line for people, beside the results. When standard error is gone there is nobody to tell.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
