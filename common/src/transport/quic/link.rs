//! One live connection to a known node: its streams, its datagrams, and whether it still answers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::close::{Close, Lost, explain};
use crate::limits::{GOSSIP_DATAGRAM_BYTES_MAX, STREAM_OPEN_WAIT};
use crate::time::{Clock, Monotonic, Timestamp};
use crate::transport::{Lane, PeerIdentity, Stream, StreamKind};

/// First byte of a datagram.
const PAYLOAD: u8 = 1;
/// Asks for nothing but an acknowledgement, which QUIC sends by itself.
const PROBE: u8 = 2;

pub(super) struct Link {
    pub connection: quinn::Connection,
    pub peer: PeerIdentity,
    pub lane: Lane,
    /// Whether we called them.
    pub dialled: bool,
    pub since: Monotonic,
    /// When the peer's certificate ends, and with it this connection.
    pub expires: Timestamp,
    clock: Arc<dyn Clock>,
    streams: AtomicUsize,
    probing: AtomicBool,
    marks: Mutex<Marks>,
}

/// What is noted of a link's traffic, in counts of received packets.
#[derive(Default)]
struct Marks {
    /// The first time we sent after packet number `.1` came in, if nothing has come in since.
    unanswered: Option<(Monotonic, u64)>,
    /// Packets received at the last tick.
    at_tick: u64,
    /// Since when no stream was open.
    unused: Option<Monotonic>,
}

/// What a look at a link once a second finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Well,
    /// Streams are open and nothing came in: ask.
    Quiet,
    Silent,
}

impl Link {
    pub fn new(
        connection: quinn::Connection,
        peer: PeerIdentity,
        lane: Lane,
        dialled: bool,
        expires: Timestamp,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            connection,
            peer,
            lane,
            dialled,
            since: clock.monotonic(),
            expires,
            clock,
            streams: AtomicUsize::new(0),
            probing: AtomicBool::new(false),
            marks: Mutex::new(Marks::default()),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        let addr = self.connection.remote_address();
        SocketAddr::new(addr.ip().to_canonical(), addr.port())
    }

    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    pub fn close(&self, close: Close) {
        close.apply(&self.connection);
    }

    /// Opens a stream and says what it is for.
    pub async fn open(self: &Arc<Self>, kind: StreamKind) -> Result<Stream, Lost> {
        let opened = timeout(STREAM_OPEN_WAIT, async {
            let (mut send, recv) = self.connection.open_bi().await?;
            // Neither fails on a stream that was opened this moment, unless the connection is gone.
            let _ = send.set_priority(kind.priority());
            send.write_all(&[kind as u8]).await.map_err(|error| match error {
                quinn::WriteError::ConnectionLost(error) => error,
                _ => quinn::ConnectionError::LocallyClosed,
            })?;
            Ok::<_, quinn::ConnectionError>((send, recv))
        });
        match opened.await {
            Ok(Ok((send, recv))) => {
                self.note_sent();
                Ok(self.stream(send, recv))
            }
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err(Lost::Unreachable("it allows no further stream now".into())),
        }
    }

    /// Wraps a stream of either side, so that the link knows that it is in use.
    pub fn stream(self: &Arc<Self>, send: quinn::SendStream, recv: quinn::RecvStream) -> Stream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Arc::new(InUse(Some(self.clone()))).stream(send, recv)
    }

    /// Sends now or drops: the oldest waiting one goes when there are too many.
    pub fn send_datagram(&self, payload: &[u8]) {
        debug_assert!(payload.len() <= GOSSIP_DATAGRAM_BYTES_MAX);
        let mut bytes = BytesMut::with_capacity(1 + payload.len());
        bytes.put_u8(PAYLOAD);
        bytes.put_slice(payload);
        let _ = self.connection.send_datagram(bytes.freeze());
        self.note_sent();
    }

    pub fn send_probe(&self) {
        let _ = self.connection.send_datagram(Bytes::from_static(&[PROBE]));
        self.note_sent();
    }

    /// The payload of a datagram that came in; none for a probe and for what is not ours.
    pub fn payload(mut datagram: Bytes) -> Option<Bytes> {
        match datagram.first() {
            Some(&PAYLOAD) => Some(datagram.split_off(1)),
            _ => None,
        }
    }

    /// Whether we have sent, and nothing came in for at least `silence`.
    pub fn is_silent(&self, silence: Duration) -> bool {
        let received = self.received();
        let marks = self.marks.lock().expect("no holder panics");
        matches!(marks.unanswered, Some((since, count))
            if count == received && self.clock.monotonic().since(since) >= silence)
    }

    /// Asks the peer for a sign of life and closes the connection when none comes in time.
    pub async fn probe(&self, silence: Duration) {
        if self.probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let received = self.received();
        self.send_probe();
        tokio::time::sleep(silence.max(3 * self.connection.rtt())).await;
        if received == self.received() {
            self.close(Close::Unresponsive);
        }
        self.probing.store(false, Ordering::Relaxed);
    }

    /// Packets that came in so far.
    pub fn received(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    pub fn check(&self, silence: Duration) -> Health {
        if self.is_silent(silence) {
            return Health::Silent;
        }
        let received = self.received();
        let mut marks = self.marks.lock().expect("no holder panics");
        let quiet = received == std::mem::replace(&mut marks.at_tick, received);
        if quiet && self.streams.load(Ordering::Relaxed) > 0 { Health::Quiet } else { Health::Well }
    }

    /// For how long no stream has been open, as far as the calls to this function can tell.
    pub fn unused_for(&self) -> Duration {
        let now = self.clock.monotonic();
        let mut marks = self.marks.lock().expect("no holder panics");
        if self.streams.load(Ordering::Relaxed) > 0 {
            marks.unused = None;
            return Duration::ZERO;
        }
        now.since(*marks.unused.get_or_insert(now))
    }

    fn note_sent(&self) {
        let received = self.received();
        let mut marks = self.marks.lock().expect("no holder panics");
        match marks.unanswered {
            Some((_, count)) if count == received => {}
            _ => marks.unanswered = Some((self.clock.monotonic(), received)),
        }
    }
}

/// What both halves of a stream hold while it is in use.
pub(super) struct InUse(Option<Arc<Link>>);

impl InUse {
    /// For streams of callers that are no members; how many there are is how many hold this.
    pub fn by_stranger() -> Arc<Self> {
        Arc::new(Self(None))
    }

    pub fn stream(self: Arc<Self>, send: quinn::SendStream, recv: quinn::RecvStream) -> Stream {
        Stream {
            send: Box::new(SendHalf { stream: send, in_use: self.clone() }),
            recv: Box::new(RecvHalf { stream: recv, _in_use: self }),
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct SendHalf {
    stream: quinn::SendStream,
    in_use: Arc<InUse>,
}

impl AsyncWrite for SendHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = AsyncWrite::poll_write(Pin::new(&mut self.stream), context, bytes);
        if let Some(link) = &self.in_use.0 {
            link.note_sent();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

struct RecvHalf {
    stream: quinn::RecvStream,
    _in_use: Arc<InUse>,
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.stream), context, buffer)
    }
}
