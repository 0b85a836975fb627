//! The frames of a log stream: which output, how long, and then a line with its time and details before it.

use std::collections::BTreeMap;

use common::limits::LOG_STREAM_LINE_BYTES_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// Puts frames together from whatever pieces they come in.
#[derive(Debug, Default)]
pub struct Frames {
    waiting: Vec<u8>,
    read: usize,
}

const HEAD_BYTES: usize = 8;
const TASK: &str = "com.docker.swarm.task.id";
const NODE: &str = "com.docker.swarm.node.id";
const SERVICE: &str = "com.docker.swarm.service.id";

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.drain(..self.read);
        self.read = 0;
        self.waiting.extend_from_slice(bytes);
    }

    /// The next frame as it came; none until more bytes are there.
    pub fn next_raw(&mut self) -> Result<Option<(Output, Vec<u8>)>, String> {
        let rest = &self.waiting[self.read..];
        let Some((head, rest)) = rest.split_at_checked(HEAD_BYTES) else { return Ok(None) };
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if length > LOG_STREAM_LINE_BYTES_MAX {
            return Err(format!("a line of the log is longer than {LOG_STREAM_LINE_BYTES_MAX} bytes"));
        }
        let Some(line) = rest.get(..length) else { return Ok(None) };
        let line = line.to_vec();
        self.read += HEAD_BYTES + length;
        match head[0] {
            0 | 1 => Ok(Some((Output::Stdout, line))),
            2 => Ok(Some((Output::Stderr, line))),
            // What the daemon says of the stream itself, after the last line.
            3 => Err(String::from_utf8_lossy(&line).trim_end().to_owned()),
            other => Err(format!("unrecognized stream of a log: {other}")),
        }
    }

    /// The next line, with the time and the details that were asked for.
    pub fn next_line(&mut self) -> Result<Option<Line>, String> {
        Ok(self.next_raw()?.map(|(output, bytes)| Line::new(output, bytes)))
    }
}

/// `TIMESTAMP DETAILS TEXT`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub output: Output,
    bytes: Vec<u8>,
    text_at: usize,
    timestamp: Option<String>,
    details: BTreeMap<String, String>,
}

impl Line {
    fn new(output: Output, bytes: Vec<u8>) -> Self {
        let parts: Vec<&[u8]> = bytes.splitn(3, |byte| *byte == b' ').collect();
        let known = match parts[..] {
            [timestamp, details, _] => {
                std::str::from_utf8(timestamp).ok().zip(std::str::from_utf8(details).ok())
            }
            _ => None,
        };
        match known {
            Some((timestamp, details)) => {
                let text_at = timestamp.len() + details.len() + 2;
                let (timestamp, details) = (Some(timestamp.to_owned()), parse_details(details));
                Self { output, bytes, text_at, timestamp, details }
            }
            // Not as it should be: shown as it is.
            None => Self { output, bytes, text_at: 0, timestamp: None, details: BTreeMap::new() },
        }
    }

    /// With its line end, if it had one.
    pub fn text(&self) -> &[u8] {
        &self.bytes[self.text_at..]
    }

    pub fn timestamp(&self) -> Option<&str> {
        self.timestamp.as_deref()
    }

    pub fn task(&self) -> Option<&str> {
        self.details.get(TASK).map(String::as_str)
    }

    pub fn node(&self) -> Option<&str> {
        self.details.get(NODE).map(String::as_str)
    }

    pub fn service(&self) -> Option<&str> {
        self.details.get(SERVICE).map(String::as_str)
    }

    /// Those that are not the cluster's: `a=1,b=2`.
    pub fn own_details(&self) -> String {
        let own = self.details.iter().filter(|(key, _)| ![TASK, NODE, SERVICE].contains(&key.as_str()));
        own.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }
}

fn parse_details(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (unescape(key), unescape(value))).collect()
}

/// `%2C` and the like; what is no escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &after[2..];
            }
            (b'+', ..) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("short").to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text].concat()
    }

    #[test]
    fn lines_come_out_whole_however_they_come_in() {
        let details = "a=1%2C2,com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,com.docker.swarm.task.id=t,b=x+y";
        let first = format!("2026-11-20T08:00:00Z {details} hello  world\n");
        let bytes = [frame(1, first.as_bytes()), frame(2, b"2026-11-20T08:00:01Z  \xff\n"), frame(1, b"odd")]
            .concat();
        for piece in [1, 3, 8, 1_000] {
            let mut frames = Frames::default();
            let mut lines = Vec::new();
            for chunk in bytes.chunks(piece) {
                frames.push(chunk);
                while let Some(line) = frames.next_line().expect("valid") {
                    lines.push(line);
                }
            }
            let [first, second, third] = lines.as_slice() else { panic!("{lines:?}") };
            assert_eq!((first.task(), first.node(), first.service()), (Some("t"), Some("n"), Some("s")));
            assert_eq!((first.text(), first.own_details().as_str()), (&b"hello  world\n"[..], "a=1,2,b=x y"));
            assert_eq!((second.output, second.text(), second.task()), (Output::Stderr, &b"\xff\n"[..], None));
            assert_eq!((third.text(), third.timestamp()), (&b"odd"[..], None));
        }
    }

    #[test]
    fn what_the_daemon_says_of_the_stream_is_an_error() {
        let mut frames = Frames::default();
        frames.push(&frame(3, b"warning: incomplete log stream\n"));
        assert_eq!(frames.next_line(), Err("warning: incomplete log stream".into()));
        let mut frames = Frames::default();
        frames.push(&[1, 0, 0, 0, 255, 255, 255, 255]);
        assert!(frames.next_raw().is_err());
        let mut frames = Frames::default();
        frames.push(&frame(9, b""));
        assert_eq!(frames.next_raw(), Err("unrecognized stream of a log: 9".into()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            while let Ok(Some(_)) = frames.next_line() {}
        }

        #[test]
        fn no_line_panics(text in "[ =,%+a-c0-9]{0,30}") {
            let line = Line::new(Output::Stdout, text.into_bytes());
            let _ = (line.text(), line.own_details());
        }
    }
}
