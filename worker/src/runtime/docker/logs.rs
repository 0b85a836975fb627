//! What a container wrote, from the engine's log.
//!
//! Asked for by hand: the client library keeps a terminal's line whole however long it is, and a program that never
//! ends its line would fill our memory. One connection per stream, read no faster than the reader takes, closed when
//! the stream is dropped.

use std::pin::Pin;

use bytes::Bytes;
use common::limits::{ENGINE_CALL_TIME_MAX, ENGINE_DOCUMENT_BYTES_MAX};
use common::object::TaskId;
use common::time::Timestamp;
use common::wire::logs::LogLine;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::engine::{Engine, EngineError};
use super::frames::{FrameError, Frames, Message};
use crate::runtime::{LogOptions, RunError};

/// What is read, and how.
pub struct Wanted {
    pub task: TaskId,
    pub container: String,
    /// Whether the container has a terminal, which changes the format.
    pub terminal: bool,
    pub options: LogOptions,
}

/// Opens the log; an error here is the engine's refusal, one in the stream its end half-way.
pub async fn open(
    engine: &Engine,
    wanted: Wanted,
) -> Result<BoxStream<'static, Result<LogLine, RunError>>, RunError> {
    let version = engine.client().await?.client_version();
    let source = Source {
        socket: engine.socket().into(),
        container: format!("/v{version}/containers/{}", wanted.container),
        options: wanted.options,
    };
    let reader = Reader {
        task: wanted.task,
        terminal: wanted.terminal,
        exchange: source.open().await?,
        source,
        frames: Frames::new(wanted.terminal),
        told: Told::default(),
    };
    Ok(lines(reader).boxed())
}

/// A container's log in the engine, and what of it is wanted.
struct Source {
    socket: String,
    container: String,
    options: LogOptions,
}

impl Source {
    async fn open(&self) -> Result<Exchange, RunError> {
        let path = path(&self.container, &self.options);
        let opened = timeout(ENGINE_CALL_TIME_MAX, Exchange::open(&self.socket, &path)).await;
        opened.map_err(|_| broken("did not answer with a log in time"))?
    }
}

fn path(container: &str, options: &LogOptions) -> String {
    let mut path = format!(
        "{container}/logs?timestamps=1&stdout={}&stderr={}&follow={}",
        u8::from(options.stdout),
        u8::from(options.stderr),
        u8::from(options.follow),
    );
    let tail = options.tail.map_or_else(|| "all".into(), |lines| lines.to_string());
    path.push_str(&format!("&tail={tail}"));
    for (name, moment) in [("since", options.since), ("until", options.until)] {
        path.extend(moment.map(|moment| format!("&{name}={}", seconds(moment))));
    }
    path
}

/// `1795161600.123456789`, as the engine reads moments.
fn seconds(moment: Timestamp) -> String {
    format!("{}.{:09}", moment.0 / 1_000_000_000, moment.0 % 1_000_000_000)
}

struct Reader {
    task: TaskId,
    terminal: bool,
    source: Source,
    exchange: Exchange,
    frames: Frames,
    told: Told,
}

/// How far a log has been told: what a second reading of its end leaves out.
#[derive(Default)]
struct Told {
    newest: Option<Timestamp>,
    /// Messages of that very time.
    of_newest: usize,
    /// Of these, the ones that are still to come again.
    again: usize,
}

impl Told {
    fn note(&mut self, message: &Message) {
        if self.newest == Some(message.at) {
            self.of_newest += 1;
        } else if self.newest < Some(message.at) {
            (self.newest, self.of_newest) = (Some(message.at), 1);
        }
    }

    /// Whether a message of the second reading is new.
    fn is_new(&mut self, message: &Message) -> bool {
        if self.newest == Some(message.at) && self.again > 0 {
            self.again -= 1;
            return false;
        }
        self.newest <= Some(message.at)
    }
}

enum Next {
    Messages(Vec<Message>),
    Last(Vec<Message>),
}

fn lines(reader: Reader) -> impl futures_util::Stream<Item = Result<LogLine, RunError>> {
    let task = reader.task;
    // One batch at a time: nothing is read while the reader of the lines is busy.
    let batches = stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        Some(match reader.next().await {
            Ok(Next::Messages(messages)) => (Ok(messages), Some(reader)),
            Ok(Next::Last(messages)) => (Ok(messages), None),
            Err(error) => (Err(error), None),
        })
    });
    batches.flat_map(move |batch| {
        let items: Vec<Result<LogLine, RunError>> = match batch {
            Ok(messages) => messages.into_iter().map(|message| Ok(line(task, message))).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(items)
    })
}

fn line(task: TaskId, message: Message) -> LogLine {
    LogLine { task, at: message.at, stream: message.stream, data: message.data }
}

impl Reader {
    async fn next(&mut self) -> Result<Next, RunError> {
        loop {
            let follow = self.source.options.follow;
            let part = if follow {
                self.exchange.part().await
            } else {
                // Everything is there already: a pause is not the task's.
                timeout(ENGINE_CALL_TIME_MAX, self.exchange.part())
                    .await
                    .map_err(|_| broken("stopped in the middle of a log"))?
            };
            let Some(part) = part else {
                let messages = self.frames.finish();
                let messages = self.new_ones(messages);
                if follow && self.read_end().await? {
                    return Ok(Next::Messages(messages));
                }
                return Ok(Next::Last(messages));
            };
            self.frames.push(&part.map_err(|error| broken(&format!("broke off a log: {error}")))?);
            let messages = self.frames.take().map_err(|error| match error {
                FrameError::Told(words) => RunError::Fatal(words),
                FrameError::Kind(_) | FrameError::TooLong(_) => RunError::Temporary(error.to_string()),
            })?;
            let messages = self.new_ones(messages);
            if !messages.is_empty() {
                return Ok(Next::Messages(messages));
            }
        }
    }

    fn new_ones(&mut self, mut messages: Vec<Message>) -> Vec<Message> {
        if self.source.options.follow {
            messages.iter().for_each(|message| self.told.note(message));
        } else {
            messages.retain(|message| self.told.is_new(message));
        }
        messages
    }

    /// Begins to read what came after the last message told; false when there is nothing to read any more.
    ///
    /// An engine that is busy ends a followed log with the container, before what it wrote last is in it: a crash's
    /// own words, most likely.
    async fn read_end(&mut self) -> Result<bool, RunError> {
        self.source.options.follow = false;
        if self.told.newest.is_some() {
            self.source.options.since = self.told.newest;
            self.source.options.tail = None;
        }
        self.told.again = self.told.of_newest;
        self.frames = Frames::new(self.terminal);
        match self.source.open().await {
            Ok(exchange) => self.exchange = exchange,
            // Removed meanwhile, with its log.
            Err(RunError::Fatal(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

fn broken(what: &str) -> RunError {
    EngineError::Away(what.into()).into()
}

/// One request to the engine, whose answer goes on. Its connection moves only while it is read.
struct Exchange {
    body: Incoming,
    /// None once the engine closed it; what it sent before is still to be read.
    connection: Option<Moving>,
}

type Moving = Pin<Box<Connection<TokioIo<UnixStream>, Empty<Bytes>>>>;

impl Exchange {
    async fn open(socket: &str, path: &str) -> Result<Self, RunError> {
        let away = |error: &dyn std::fmt::Display| broken(&format!("gave no log: {error}"));
        let stream = UnixStream::connect(socket).await.map_err(|error| away(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(&error))?;
        let mut connection = Some(Box::pin(connection));
        let request = Request::get(path)
            .header("host", "docker")
            .body(Empty::<Bytes>::new())
            .map_err(|error| RunError::Fatal(format!("ask for a log: {error}")))?;
        let answer =
            drive(&mut connection, sender.send_request(request)).await.map_err(|error| away(&error))?;
        let status = answer.status();
        if !status.is_success() {
            let message = drive(&mut connection, refusal(answer)).await;
            return Err(EngineError::Refused { status: status.as_u16(), message }.into());
        }
        Ok(Self { body: answer.into_body(), connection })
    }

    async fn part(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match drive(&mut self.connection, self.body.frame()).await? {
                Ok(frame) => {
                    if let Ok(part) = frame.into_data() {
                        return Some(Ok(part));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Moves the connection on while something of it is waited for.
async fn drive<T>(connection: &mut Option<Moving>, wanted: impl Future<Output = T>) -> T {
    let mut wanted = std::pin::pin!(wanted);
    while let Some(moving) = connection {
        tokio::select! {
            biased;
            done = &mut wanted => return done,
            _ = moving => *connection = None,
        }
    }
    wanted.await
}

async fn refusal(answer: Response<Incoming>) -> String {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ENGINE_DOCUMENT_BYTES_MAX).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    message.map_or_else(|| status.to_string(), |message| message.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_reading_tells_what_is_new() {
        let message = |at: u64| Message {
            stream: common::wire::logs::LogStream::Stdout,
            at: Timestamp(at),
            data: Vec::new(),
        };
        #[rustfmt::skip]
        let cases: [(&[u64], &[u64], &[u64]); 5] = [ // told, read again, new of it
            (&[], &[1, 2], &[1, 2]),
            (&[1, 2], &[2], &[]),
            (&[1, 2, 2], &[2, 2, 2, 3], &[2, 3]),
            (&[1, 3, 2], &[3, 4], &[4]),
            (&[5], &[4, 5, 6], &[6]),
        ];
        for (told, again, new) in cases {
            let mut state = Told::default();
            told.iter().for_each(|at| state.note(&message(*at)));
            state.again = state.of_newest;
            let found: Vec<u64> = again.iter().copied().filter(|at| state.is_new(&message(*at))).collect();
            assert_eq!(found, new, "{told:?}, then {again:?}");
        }
    }

    #[test]
    fn options_become_the_engines_words() {
        let options =
            |since, until, tail| LogOptions { stdout: true, stderr: false, follow: true, since, until, tail };
        assert_eq!(
            path("/containers/c", &options(None, None, None)),
            "/containers/c/logs?timestamps=1&stdout=1&stderr=0&follow=1&tail=all"
        );
        let (since, until) = (Timestamp(1_500_000_000), Timestamp(2_000_000_007));
        assert_eq!(
            path("/containers/c", &options(Some(since), Some(until), Some(0))),
            "/containers/c/logs?timestamps=1&stdout=1&stderr=0&follow=1&tail=0&since=1.500000000&until=2.000000007"
        );
    }
}
