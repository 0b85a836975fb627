//! A secret line from a person: asked for without showing it, or read from a pipe.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use common::object::sensitive::Sensitive;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// No key or passphrase is longer.
const LINE_BYTES_MAX: u64 = 4096;

/// Asks on standard error, so that standard output stays what the command prints.
pub fn secret(question: &str) -> io::Result<Sensitive> {
    let stdin = io::stdin();
    let asked = stdin.is_terminal();
    if asked {
        let mut stderr = io::stderr();
        write!(stderr, "{question}").and_then(|()| stderr.flush())?;
    }
    let shown = if asked { Some(Hidden::begin()?) } else { None };
    let line = read_line(&mut stdin.lock());
    drop(shown);
    line
}

/// The first line of a file.
pub fn first_line(file: &Path) -> io::Result<Sensitive> {
    read_line(&mut BufReader::new(File::open(file)?))
}

/// The first line, without its end.
fn read_line(input: &mut impl BufRead) -> io::Result<Sensitive> {
    // Room for all of it, so that no copy of it stays behind when it grows.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX as usize + 1));
    input.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
    if line.len() as u64 > LINE_BYTES_MAX {
        return Err(io::Error::other(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("the line is not text"))?;
    Ok(Sensitive::new(text.trim_end_matches(['\n', '\r']).into()))
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0); // a terminal that has gone shows nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_ends() {
        let huge = "x".repeat(LINE_BYTES_MAX as usize + 1);
        #[rustfmt::skip]
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"key\n", Some("key")), (b"key\r\nmore\n", Some("key")), (b"key", Some("key")), (b"", Some("")),
            (b"\xff\n", None), (huge.as_bytes(), None),
        ];
        for (input, expected) in cases {
            let line = read_line(&mut &input[..]).ok();
            assert_eq!(line.as_ref().map(Sensitive::reveal), expected);
        }
    }
}
