//! A connection that gives up on a client which does not read its answer.
//!
//! Without this, such a client would keep its place among the connections for ever. What comes from the engine is
//! exempt: somebody may well look at the first page of a log for an hour.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Set while a connection carries something of the engine's.
#[derive(Clone, Debug, Default)]
pub(super) struct Endless(Arc<AtomicBool>);

impl Endless {
    pub fn set(&self, endless: bool) {
        self.0.store(endless, Ordering::Relaxed);
    }
}

pub(super) struct Patient<S> {
    stream: S,
    limit: Duration,
    endless: Endless,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, limit: Duration, endless: Endless) -> Self {
        Self { stream, limit, endless, stalled: None }
    }

    /// Passes progress on, and turns a wait that is too long into an error.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() || self.endless.0.load(Ordering::Relaxed) {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up() {
        let (near, far) = tokio::io::duplex(10);
        let mut patient = Patient::new(near, LIMIT, Endless::default());
        let error = patient.write_all(&[0; 100]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut patient = Patient::new(near, LIMIT, Endless::default());
        let reading = async {
            let mut byte = [0; 5];
            for _ in 0..20 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                far.read_exact(&mut byte).await.expect("it comes");
            }
        };
        let (written, ()) = tokio::join!(patient.write_all(&[0; 100]), reading);
        written.expect("all was read");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_answer_may_wait() {
        let (near, mut far) = tokio::io::duplex(10);
        let endless = Endless::default();
        endless.set(true);
        let mut patient = Patient::new(near, LIMIT, endless);
        let reading = async {
            tokio::time::sleep(LIMIT * 100).await;
            far.read_exact(&mut [0; 100]).await.expect("it comes");
        };
        let (written, _) = tokio::join!(patient.write_all(&[0; 100]), reading);
        written.expect("all was read");
    }
}
