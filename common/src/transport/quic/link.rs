//! One live connection to a known node: its streams, its datagrams, and whether it still answers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::close::{Close, Lost, explain};
use crate::limits::{GOSSIP_DATAGRAM_BYTES_MAX, PROOF_LEAD, PROOF_WAIT, STREAM_OPEN_WAIT};
use crate::time::{Clock, Monotonic, Timestamp};
use crate::transport::{Lane, PeerIdentity, Stream, StreamKind};

/// First byte of a datagram.
const PAYLOAD: u8 = 1;
/// Asks for nothing but an acknowledgement, which QUIC sends by itself.
const PROBE: u8 = 2;
/// Why a stream ends that was cut, as its far end is told.
const BROKEN_OFF: quinn::VarInt = quinn::VarInt::from_u32(1);

pub(super) struct Link {
    pub connection: quinn::Connection,
    pub peer: PeerIdentity,
    pub lane: Lane,
    /// Whether we called them.
    pub dialled: bool,
    pub since: Monotonic,
    /// When what the peer has proved ends, and with it this connection, unless it proves itself again.
    expires: AtomicU64,
    /// The peer has only proved to hold the key of a certificate that is not good any more.
    late: AtomicBool,
    proof: Mutex<Proof>,
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

/// Whether the peer has to prove itself anew.
#[derive(Default)]
struct Proof {
    /// Since our certificate or the roots we trust have changed.
    wanted: bool,
    /// The roots have changed: what was proved before counts for nothing.
    needed: bool,
    /// Since when the connection lives on without a proof that counts.
    missed: Option<Monotonic>,
    /// The far end was met and was not who it has to be.
    refused: bool,
}

/// What a link's proof asks for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// A new proof is to be had.
    Renew,
    /// It is missing for too long.
    Lapsed,
}

/// What was proved when a connection was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proved {
    pub until: Timestamp,
    pub late: bool,
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
        proved: Proved,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            connection,
            peer,
            lane,
            dialled,
            since: clock.monotonic(),
            expires: AtomicU64::new(proved.until.0),
            late: AtomicBool::new(proved.late),
            proof: Mutex::default(),
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

    /// Whether the peer may open this kind of stream here.
    pub fn allows(&self, kind: StreamKind) -> bool {
        kind.allowed(Some(self.peer.role))
            && kind.lane() == self.lane
            && (!self.is_late() || is_for_late(kind))
    }

    /// Whether the peer has no certificate that is good now, only the key of one that was.
    pub fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// The peer has shown a good certificate on another connection.
    pub fn prove(&self, until: Timestamp) {
        self.expires.store(until.0, Ordering::Relaxed);
        self.late.store(false, Ordering::Relaxed);
        *self.proof.lock().expect("no holder panics") = Proof::default();
    }

    /// From now on a new proof is wanted; with `needed`, the old one counts for nothing.
    pub fn ask_for_proof(&self, needed: bool) {
        let mut proof = self.proof.lock().expect("no holder panics");
        proof.wanted = true;
        proof.needed |= needed;
    }

    /// A proof was tried for and could not be had.
    pub fn note_unproved(&self, refused: bool) {
        let now = self.clock.monotonic();
        let mut proof = self.proof.lock().expect("no holder panics");
        if proof.needed {
            proof.missed.get_or_insert(now);
        }
        proof.refused |= refused && proof.missed.is_some();
    }

    pub fn standing(&self, now: Monotonic, wall: Timestamp) -> Standing {
        let expires = Timestamp(self.expires.load(Ordering::Relaxed));
        let mut proof = self.proof.lock().expect("no holder panics");
        if wall > expires {
            proof.missed.get_or_insert(now);
        }
        match proof.missed {
            Some(since) if proof.refused || now.since(since) >= PROOF_WAIT => Standing::Lapsed,
            Some(_) => Standing::Renew,
            None if proof.wanted || wall.plus(PROOF_LEAD) > expires => Standing::Renew,
            None => Standing::Good,
        }
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
                Ok(self.stream(send, recv, kind))
            }
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err(Lost::Unreachable("it allows no further stream now".into())),
        }
    }

    /// Wraps a stream of either side, so that the link knows that it is in use.
    pub fn stream(
        self: &Arc<Self>,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
        kind: StreamKind,
    ) -> Stream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Arc::new(InUse(Some(self.clone()))).stream(send, recv, kind)
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

/// What a node with an old certificate may do: get a new one; and managers keep the log, without which nobody could
/// give it one.
fn is_for_late(kind: StreamKind) -> bool {
    match kind {
        StreamKind::Renew
        | StreamKind::Raft
        | StreamKind::RaftAppend
        | StreamKind::RaftSnapshot
        | StreamKind::Manager => true,
        StreamKind::Join | StreamKind::Session | StreamKind::Logs | StreamKind::Mesh => false,
    }
}

/// What both halves of a stream hold while it is in use.
pub(super) struct InUse(Option<Arc<Link>>);

impl InUse {
    /// For streams of callers that are no members; how many there are is how many hold this.
    pub fn by_stranger() -> Arc<Self> {
        Arc::new(Self(None))
    }

    pub fn stream(
        self: Arc<Self>,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
        kind: StreamKind,
    ) -> Stream {
        Stream {
            send: Box::new(SendHalf { stream: send, in_use: self.clone(), breaks_off: kind.breaks_off() }),
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
    /// Dropped as it is now, the far end is told that it was cut.
    breaks_off: bool,
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.breaks_off {
            let _ = self.stream.reset(BROKEN_OFF); // it may be over already
        }
    }
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
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        if matches!(ended, Poll::Ready(Ok(()))) {
            self.breaks_off = false;
        }
        ended
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
