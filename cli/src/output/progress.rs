//! One line that says what is being waited for: on a terminal it goes away again, elsewhere it stays.

use std::io::{self, IsTerminal, Write};

/// Shows its line until dropped. Standard error only, so that results stay clean.
pub struct Waiting {
    erase: bool,
}

impl Waiting {
    pub fn begin(what: &str) -> Self {
        let mut stderr = io::stderr();
        let erase = stderr.is_terminal();
        // A line nobody can see is no reason to fail.
        let _ = if erase { write!(stderr, "{what} …") } else { writeln!(stderr, "{what} …") };
        let _ = stderr.flush();
        Self { erase }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.erase {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
