//! Lines of logs as Docker's clients read them. Pure.
//!
//! Each is a frame: one byte says which stream, three are zero, four are the length. The log of a terminal has no
//! frames.

use common::object::{NodeId, ServiceId};
use common::time::Timestamp;
use common::wire::logs::{LogLine, LogStream};

use super::error::ApiError;
use super::target::{Query, shortened};

/// Shown of what could not be had.
const REASONS_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub timestamps: bool,
    /// Says where each line is from.
    pub details: bool,
    /// A terminal wrote it: no frames.
    pub raw: bool,
}

/// Where a line is from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub node: NodeId,
    pub service: ServiceId,
}

/// Appends a line to what is sent.
pub(super) fn write_line(into: &mut Vec<u8>, style: Style, origin: Origin, line: &LogLine) {
    let mut text = Vec::new();
    if style.timestamps {
        text.extend_from_slice(fixed(line.at).as_bytes());
        text.push(b' ');
    }
    if style.details {
        let (node, service, task) = (origin.node, origin.service, line.task);
        let attributes = format!(
            "com.docker.swarm.node.id={node},com.docker.swarm.service.id={service},com.docker.swarm.task.id={task} "
        );
        text.extend_from_slice(attributes.as_bytes());
    }
    text.extend_from_slice(&line.data);
    let stream = match line.stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    };
    frame(into, style, stream, &text);
}

/// The last words of a log that is not whole; nothing where it is.
pub(super) fn write_incomplete(into: &mut Vec<u8>, style: Style, reasons: &[String]) {
    if reasons.is_empty() {
        return;
    }
    let mut shown = reasons.iter().take(REASONS_MAX).cloned().collect::<Vec<_>>().join(", ");
    if let Some(more) = reasons.len().checked_sub(REASONS_MAX).filter(|more| *more > 0) {
        shown.push_str(&format!(" and {more} more"));
    }
    let text = format!(
        "warning: incomplete log stream. some logs could not be retrieved for the following reasons: {shown}\n"
    );
    // The daemon's own stream: Docker's client says so, and ends with an error.
    frame(into, style, 3, text.as_bytes());
}

fn frame(into: &mut Vec<u8>, style: Style, stream: u8, text: &[u8]) {
    if !style.raw {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        into.extend_from_slice(&[stream, 0, 0, 0]);
        into.extend_from_slice(&length.to_be_bytes());
    }
    into.extend_from_slice(text);
}

/// With nine decimals always, so that lines stand one below the other.
fn fixed(at: Timestamp) -> String {
    let (seconds, nanoseconds) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
    let whole = Timestamp(seconds * 1_000_000_000).to_rfc3339();
    format!("{}.{nanoseconds:09}Z", whole.trim_end_matches('Z'))
}

/// `tail`: how many of the last lines of each task; none means all.
pub(super) fn tail(query: &Query) -> Result<Option<u64>, ApiError> {
    match query.get("tail") {
        "" | "all" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            ApiError::invalid(format!(
                "tail value must be a positive integer or \"all\", not {:?}",
                shortened(text)
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::TaskId;

    const NOTHING: Style = Style { timestamps: false, details: false, raw: false };

    fn shown(style: Style) -> Vec<u8> {
        let line = LogLine {
            task: TaskId(1),
            at: Timestamp(1_795_161_600_500_000_000),
            stream: LogStream::Stderr,
            data: b"hello\n".to_vec(),
        };
        let mut into = Vec::new();
        write_line(&mut into, style, Origin { node: NodeId(2), service: ServiceId(3) }, &line);
        into
    }

    #[test]
    fn a_line_is_a_frame_of_its_stream() {
        assert_eq!(shown(NOTHING), b"\x02\0\0\0\0\0\0\x06hello\n");
        assert_eq!(shown(Style { raw: true, ..NOTHING }), b"hello\n");
        let all = shown(Style { timestamps: true, details: true, raw: true });
        let expected = "2026-11-20T08:00:00.500000000Z com.docker.swarm.node.id=0000000000000000000000002,com.docker.swarm.service.id=0000000000000000000000003,com.docker.swarm.task.id=0000000000000000000000001 hello\n";
        assert_eq!(String::from_utf8(all).expect("text"), expected);
    }

    #[test]
    fn what_is_missing_is_said_at_the_end() {
        let mut into = Vec::new();
        write_incomplete(&mut into, NOTHING, &[]);
        assert!(into.is_empty());
        write_incomplete(
            &mut into,
            Style { raw: true, ..NOTHING },
            &["node a is not available".into(), "b".into()],
        );
        assert_eq!(
            String::from_utf8(into).expect("text"),
            "warning: incomplete log stream. some logs could not be retrieved for the following reasons: node a is not available, b\n"
        );
    }
}
