//! The UDP socket under QUIC, with a switch that pulls its cable: nothing goes out, nothing comes in, no error says so.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// Reads thrown away in one go before others get their turn.
const DISCARDS_MAX: usize = 32;

/// A handle to the faults of one transport, for tests and for `swarm lab cut`.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Cuts>);

#[derive(Debug, Default)]
struct Cuts {
    incoming: AtomicBool,
    outgoing: AtomicBool,
}

impl Faults {
    /// Drops all packets in both directions until it is called with false.
    pub fn cut_all(&self, cut: bool) {
        self.cut_incoming(cut);
        self.cut_outgoing(cut);
    }

    pub fn cut_incoming(&self, cut: bool) {
        self.0.incoming.store(cut, Ordering::Relaxed);
    }

    pub fn cut_outgoing(&self, cut: bool) {
        self.0.outgoing.store(cut, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct FaultySocket {
    pub socket: Arc<dyn AsyncUdpSocket>,
    pub faults: Faults,
}

impl AsyncUdpSocket for FaultySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        if self.faults.0.outgoing.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..DISCARDS_MAX {
            let received = ready!(self.socket.poll_recv(context, buffers, meta))?;
            if !self.faults.0.incoming.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(received));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
