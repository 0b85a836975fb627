//! One line of a log file: `<time> <stream> <F or P> <what was written>`, as container runtimes write theirs.
//!
//! F ends with a line end that the task wrote; P does not: more of the same line follows, or the task ended there.

use common::time::Timestamp;
use common::wire::logs::LogStream;

/// A line as it was written, without the task it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: Timestamp,
    pub stream: LogStream,
    pub data: Vec<u8>,
}

/// Appends a line made of `parts` to `out`.
pub fn write(out: &mut Vec<u8>, at: &str, stream: LogStream, whole: bool, parts: [&[u8]; 2]) {
    let stream = match stream {
        LogStream::Stdout => " stdout ",
        LogStream::Stderr => " stderr ",
    };
    out.extend_from_slice(at.as_bytes());
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(if whole { b"F " } else { b"P " });
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'\n');
}

/// Reads a line that has no line end any more; none where it is damaged.
pub fn parse(line: &[u8]) -> Option<Line> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let at = Timestamp::from_rfc3339(std::str::from_utf8(fields.next()?).ok()?)?;
    let stream = match fields.next()? {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        _ => return None,
    };
    let whole = match fields.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let mut data = fields.next()?.to_vec();
    if whole {
        data.push(b'\n');
    }
    Some(Line { at, stream, data })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            at: u32,
            error: bool,
            whole: bool,
            data in proptest::collection::vec(any::<u8>().prop_filter("no line end", |byte| *byte != b'\n'), 0..80),
            cut in 0..80_usize,
        ) {
            let at = Timestamp(u64::from(at) * 1_000_000_007);
            let stream = if error { LogStream::Stderr } else { LogStream::Stdout };
            let mut out = Vec::new();
            let (left, right) = data.split_at(cut.min(data.len()));
            write(&mut out, &at.to_rfc3339(), stream, whole, [left, right]);
            prop_assert_eq!(out.pop(), Some(b'\n'));
            let expected = [data.as_slice(), if whole { b"\n" } else { b"" }].concat();
            prop_assert_eq!(parse(&out), Some(Line { at, stream, data: expected }));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
