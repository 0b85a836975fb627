//! The engine's log bytes as lines.
//!
//! Pure. Without a terminal the engine frames each message: stream, length, text. With one it sends what the
//! terminal was sent. Both put the time in front of each message, because they are asked to. A message ends with
//! its line, or where the log driver cut a long line.

use common::limits::{ENGINE_LOG_FRAME_BYTES_MAX, ENGINE_LOG_LINE_BYTES_MAX};
use common::time::Timestamp;
use common::wire::logs::LogStream;

/// The longest time that is looked for in front of a message, with the space behind it.
const TIME_BYTES_MAX: usize = 40;
const HEADER_BYTES: usize = 8;

/// One message of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub stream: LogStream,
    pub at: Timestamp,
    pub data: Vec<u8>,
}

/// Why the bytes are not a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the engine's log stream has a frame of kind {0}")]
    Kind(u8),
    #[error("the engine's log stream has a frame of {0} bytes")]
    TooLong(usize),
    /// The engine's own words.
    #[error("{0}")]
    Told(String),
}

pub struct Frames {
    terminal: bool,
    bytes: Vec<u8>,
    /// Time of the message before: a part of a line that has none is as old.
    at: Timestamp,
    /// Within a terminal's line, after its time.
    within: bool,
}

impl Frames {
    pub fn new(terminal: bool) -> Self {
        Self { terminal, bytes: Vec::new(), at: Timestamp::default(), within: false }
    }

    pub fn push(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    /// The messages that are whole by now.
    pub fn take(&mut self) -> Result<Vec<Message>, FrameError> {
        let mut messages = Vec::new();
        while let Some(message) = if self.terminal { self.terminal_line(false) } else { self.frame()? } {
            messages.push(message);
        }
        Ok(messages)
    }

    /// What is left when the stream has ended: of a terminal the last line, which need not be whole.
    pub fn finish(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while self.terminal
            && let Some(message) = self.terminal_line(true)
        {
            messages.push(message);
        }
        messages
    }

    fn frame(&mut self) -> Result<Option<Message>, FrameError> {
        let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [kind, _, _, _, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > ENGINE_LOG_FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let stream = match kind {
            0 | 1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            3 => return Err(FrameError::Told(String::from_utf8_lossy(payload).trim().into())),
            other => return Err(FrameError::Kind(other)),
        };
        let (at, text) = split_time(payload).unwrap_or((self.at, payload));
        let message = Message { stream, at, data: text.to_vec() };
        self.at = at;
        self.bytes.drain(..HEADER_BYTES + length);
        Ok(Some(message))
    }

    fn terminal_line(&mut self, last: bool) -> Option<Message> {
        if !self.within {
            let start = &self.bytes[..self.bytes.len().min(TIME_BYTES_MAX)];
            if !last && start.len() < TIME_BYTES_MAX && !start.iter().any(|byte| b" \n".contains(byte)) {
                return None; // the time may still be on its way
            }
            if let Some((at, text)) = split_time(&self.bytes) {
                self.at = at;
                self.bytes.drain(..self.bytes.len() - text.len());
            }
            self.within = true;
        }
        let part = &self.bytes[..self.bytes.len().min(ENGINE_LOG_LINE_BYTES_MAX)];
        let end = match part.iter().position(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if part.len() == ENGINE_LOG_LINE_BYTES_MAX || last && !part.is_empty() => part.len(),
            None => return None,
        };
        // After a part of a line too: log drivers cut long ones, and each part has its own time.
        self.within = false;
        Some(Message { stream: LogStream::Stdout, at: self.at, data: self.bytes.drain(..end).collect() })
    }
}

/// The time in front of a message, and the message.
fn split_time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let space = bytes.iter().take(TIME_BYTES_MAX).position(|byte| *byte == b' ')?;
    let text = std::str::from_utf8(&bytes[..space]).ok()?;
    Some((Timestamp::from_rfc3339(text)?, &bytes[space + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: [&str; 2] = ["2026-11-20T08:00:00.123456789Z", "2026-11-20T08:00:01.000000000Z"];

    fn at(index: usize) -> Timestamp {
        Timestamp::from_rfc3339(AT[index]).unwrap()
    }

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    fn message(stream: LogStream, at: Timestamp, text: &str) -> Message {
        Message { stream, at, data: text.into() }
    }

    fn all(terminal: bool, bytes: &[u8], part: usize) -> Vec<Message> {
        let mut frames = Frames::new(terminal);
        let mut messages = Vec::new();
        for part in bytes.chunks(part.max(1)) {
            frames.push(part);
            messages.extend(frames.take().unwrap());
        }
        messages.extend(frames.finish());
        messages
    }

    #[test]
    fn frames_keep_streams_times_and_parts_of_lines() {
        let bytes = [
            frame(1, &format!("{} hello\n", AT[0])),
            frame(2, &format!("{} wor", AT[1])),
            frame(1, "no time\n"),
            frame(1, &format!("{} ", AT[0])),
        ]
        .concat();
        let wanted = [
            message(LogStream::Stdout, at(0), "hello\n"),
            message(LogStream::Stderr, at(1), "wor"),
            message(LogStream::Stdout, at(1), "no time\n"),
            message(LogStream::Stdout, at(0), ""),
        ];
        for part in [1, 7, 1000] {
            assert_eq!(all(false, &bytes, part), wanted, "in parts of {part}");
        }
    }

    #[test]
    fn a_terminals_bytes_are_cut_into_lines() {
        let long = "x".repeat(ENGINE_LOG_LINE_BYTES_MAX);
        let bytes = format!("{} one\r\n{} {long}{} two\n{} $ ", AT[0], AT[0], AT[1], AT[1]);
        let wanted = [
            message(LogStream::Stdout, at(0), "one\r\n"),
            message(LogStream::Stdout, at(0), &long),
            message(LogStream::Stdout, at(1), "two\n"),
            message(LogStream::Stdout, at(1), "$ "),
        ];
        for part in [1, 7, 100_000] {
            assert_eq!(all(true, bytes.as_bytes(), part), wanted, "in parts of {part}");
        }
    }

    #[test]
    fn what_is_no_log_is_an_error() {
        let mut frames = Frames::new(false);
        frames.push(&frame(3, "error from daemon in stream: gone\n"));
        assert_eq!(frames.take(), Err(FrameError::Told("error from daemon in stream: gone".into())));
        let mut frames = Frames::new(false);
        frames.push(&frame(9, ""));
        assert_eq!(frames.take(), Err(FrameError::Kind(9)));
        let mut frames = Frames::new(false);
        frames.push(&[1, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(frames.take(), Err(FrameError::TooLong(u32::MAX as usize)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_within_bounds(
            terminal: bool,
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let mut frames = Frames::new(terminal);
            for part in parts {
                frames.push(&part);
                let Ok(messages) = frames.take() else { return Ok(()) };
                prop_assert!(messages.iter().all(|message| message.data.len() <= ENGINE_LOG_FRAME_BYTES_MAX));
                prop_assert!(!terminal || frames.bytes.len() < ENGINE_LOG_LINE_BYTES_MAX + TIME_BYTES_MAX);
            }
            frames.finish();
        }

        #[test]
        fn a_terminals_text_comes_out_whole(lines in prop::collection::vec("[a-z ]{0,40}", 1..20), part in 1usize..64) {
            let bytes: String = lines.iter().map(|line| format!("{} {line}\n", AT[0])).collect();
            let wanted: Vec<Message> =
                lines.iter().map(|line| message(LogStream::Stdout, at(0), &format!("{line}\n"))).collect();
            prop_assert_eq!(all(true, bytes.as_bytes(), part), wanted);
        }
    }
}
