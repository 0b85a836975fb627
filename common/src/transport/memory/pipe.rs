//! One direction of a stream in memory: bytes arrive in order, each when its time has come.
//!
//! A blocked pipe holds what is in it, as a cut cable does; when it stays blocked too long it breaks. There are no
//! tasks: readers wait on tokio's clock, so everything works in paused time.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::STREAM_WINDOW_BYTES;

/// How long a pipe may be blocked before both ends are told.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// One piece of what is written.
const CHUNK_BYTES: usize = 64 << 10;

/// When something that is sent now arrives.
pub(super) type Arrival = Box<dyn Fn() -> Instant + Send + Sync>;

#[derive(Default)]
pub(super) struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// When the end arrives.
    ended: Option<Instant>,
    last_arrival: Option<Instant>,
    broken: Option<io::ErrorKind>,
    blocked: Option<Instant>,
    /// One end is a process that was killed: it says nothing more, not even goodbye.
    dead: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn break_with(&mut self, kind: io::ErrorKind) {
        self.broken.get_or_insert(kind);
        self.chunks.clear();
        self.wake();
    }

    /// The error of a broken pipe; also breaks one that was blocked for too long.
    fn check(&mut self) -> io::Result<()> {
        if self.blocked.is_some_and(|since| since.elapsed() >= SILENCE_MAX) {
            self.break_with(io::ErrorKind::TimedOut);
        }
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Pipe {
    /// Both ends of a new pipe, and a handle for faults.
    pub fn create(arrival: Arrival) -> (Writer, Reader, Arc<Pipe>) {
        let pipe = Arc::new(Pipe::default());
        let writer = Writer { pipe: pipe.clone(), arrival, timer: None };
        (writer, Reader { pipe: pipe.clone(), timer: None }, pipe)
    }

    pub fn set_blocked(&self, blocked: bool) {
        let mut state = self.state();
        if state.dead {
            return;
        }
        match (blocked, state.blocked) {
            (true, None) => state.blocked = Some(Instant::now()),
            (false, Some(_)) => state.blocked = None,
            (true, Some(_)) | (false, None) => return,
        }
        state.wake();
    }

    pub fn kill(&self) {
        let mut state = self.state();
        state.dead = true;
        state.blocked.get_or_insert_with(Instant::now);
        state.wake();
    }

    pub fn break_with(&self, kind: io::ErrorKind) {
        self.state().break_with(kind);
    }

    pub fn is_blocked(&self) -> bool {
        self.state().blocked.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }
}

pub(super) struct Writer {
    pipe: Arc<Pipe>,
    arrival: Arrival,
    timer: Option<Pin<Box<Sleep>>>,
}

pub(super) struct Reader {
    pipe: Arc<Pipe>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let arrival = (self.arrival)();
        let this = &mut *self;
        loop {
            let mut state = this.pipe.state();
            state.check()?;
            if state.ended.is_some() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if state.bytes < STREAM_WINDOW_BYTES as usize {
                let chunk = Bytes::copy_from_slice(&bytes[..bytes.len().min(CHUNK_BYTES)]);
                let arrival = state.last_arrival.map_or(arrival, |last| last.max(arrival));
                let written = chunk.len();
                state.last_arrival = Some(arrival);
                state.bytes += written;
                state.chunks.push_back((arrival, chunk));
                state.reader.take().map(Waker::wake).unwrap_or_default();
                return Poll::Ready(Ok(written));
            }
            state.writer = Some(context.waker().clone());
            let until = state.blocked.map(|since| since + SILENCE_MAX);
            drop(state);
            std::task::ready!(wait(&mut this.timer, until, context));
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Writer {
    fn end(&self) {
        let arrival = (self.arrival)();
        let mut state = self.pipe.state();
        if !state.dead && state.ended.is_none() {
            state.ended = Some(state.last_arrival.map_or(arrival, |last| last.max(arrival)));
            state.wake();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let mut state = this.pipe.state();
            state.check()?;
            let next = match (state.blocked, state.chunks.front().map(|(arrival, _)| *arrival), state.ended) {
                (Some(since), _, _) => Some(since + SILENCE_MAX),
                (None, Some(arrival), _) if arrival <= Instant::now() => {
                    let (_, chunk) = state.chunks.front_mut().expect("it was just looked at");
                    let taken = chunk.len().min(buffer.remaining());
                    buffer.put_slice(&chunk[..taken]);
                    chunk.advance(taken);
                    if chunk.is_empty() {
                        state.chunks.pop_front();
                    }
                    state.bytes -= taken;
                    state.writer.take().map(Waker::wake).unwrap_or_default();
                    return Poll::Ready(Ok(()));
                }
                (None, None, Some(end)) if end <= Instant::now() => return Poll::Ready(Ok(())),
                (None, arrival, end) => arrival.or(end),
            };
            state.reader = Some(context.waker().clone());
            drop(state);
            std::task::ready!(wait(&mut this.timer, next, context));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.pipe.state();
        // What was read to its end is not broken off.
        if !state.dead && state.ended.is_none_or(|_| state.bytes > 0) {
            state.break_with(io::ErrorKind::ConnectionReset);
        }
    }
}

/// Ready when `until` has passed; pending with the waker kept otherwise.
fn wait(timer: &mut Option<Pin<Box<Sleep>>>, until: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
    let Some(until) = until else { return Poll::Pending };
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
    if timer.deadline() != until {
        timer.as_mut().reset(until);
    }
    timer.as_mut().poll(context)
}
