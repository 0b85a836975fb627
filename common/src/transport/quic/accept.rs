//! Letting others in: how many may knock, who is a member, and what a caller without certificate may do.
//!
//! Everything an unknown caller can make us hold is counted, in all and per address: handshakes, connections,
//! streams, bytes and time. Members are never counted among them once their handshake is over.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::Shared;
use super::close::Close;
use super::dial::WELCOME;
use super::link::{InUse, Link};
use super::proof::{self, Seen};
use super::tls::{self, Protocol};
use crate::limits::{
    HANDSHAKE_ACCEPT_TIME_MAX, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, JOIN_CONNECTION_TIME_MAX,
    JOIN_CONNECTIONS_MAX, JOIN_CONNECTIONS_PER_ADDRESS_MAX, JOIN_IDLE_TIME_MAX, JOIN_STREAMS_TOTAL_MAX,
    STREAM_ARRIVALS_MAX, STREAM_KIND_WAIT,
};
use crate::transport::{Incoming, Lane, StreamKind};

/// Takes what knocks until the endpoint is closed.
pub(super) async fn accept(shared: Arc<Shared>) {
    let handshakes = Arc::new(Places::new(HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX));
    let strangers = Arc::new(Places::new(JOIN_CONNECTIONS_MAX, JOIN_CONNECTIONS_PER_ADDRESS_MAX));
    while let Some(incoming) = shared.endpoint.accept().await {
        let ip = incoming.remote_address().ip().to_canonical();
        let Some(place) = handshakes.take(ip) else {
            incoming.ignore(); // an honest caller knocks again
            continue;
        };
        if handshakes.taken() > HANDSHAKES_MAX / 2 && !incoming.remote_address_validated() {
            // Many at once: from here on only those who prove that they are where they say.
            let _ = incoming.retry();
            continue;
        }
        let (task, strangers) = (shared.clone(), strangers.clone());
        shared.tasks.spawn_until_stopped(async move {
            // From here on the caller is shown the certificate of this moment.
            let epoch = task.peers().epoch();
            let Ok(connecting) = incoming.accept() else { return };
            let handshake = timeout(HANDSHAKE_ACCEPT_TIME_MAX, connecting).await;
            drop(place);
            match handshake {
                Ok(Ok(connection)) => admit(task, connection, epoch, &strangers, ip).await,
                Ok(Err(error)) => debug!(%ip, %error, "handshake failed"),
                Err(_) => debug!(%ip, "handshake took too long"),
            }
        });
    }
}

async fn admit(
    shared: Arc<Shared>,
    connection: quinn::Connection,
    epoch: u64,
    strangers: &Arc<Places>,
    ip: IpAddr,
) {
    match tls::protocol(&connection) {
        Some(Protocol::Member(lane)) => match admit_member(&shared, &connection, lane, epoch).await {
            Ok(link) => super::serve(shared, link).await,
            Err(close) => {
                debug!(%ip, reason = close.text(), "connection refused");
                close.apply(&connection);
            }
        },
        Some(Protocol::Proof) => proof::answer(&shared, &connection).await.apply(&connection),
        Some(Protocol::Join) => match strangers.take(ip) {
            Some(_place) => serve_stranger(&shared, &connection).await.apply(&connection),
            None => Close::Busy.apply(&connection),
        },
        None => Close::Protocol.apply(&connection),
    }
}

async fn admit_member(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    lane: Lane,
    epoch: u64,
) -> Result<Arc<Link>, Close> {
    let (own, _) = shared.own();
    let Seen { identity, proved } = proof::seen(shared, connection)?;
    let link = Arc::new(Link::new(connection.clone(), identity, lane, false, proved, shared.clock.clone()));
    shared.peers().add(link.clone(), own, epoch)?;
    tls::lift_limits(connection);
    if welcome(connection).await.is_none() {
        shared.peers().remove(&link);
        return Err(Close::Protocol);
    }
    Ok(link)
}

/// Says "come in". The caller's limits always have room for this stream and this byte: neither waits.
pub(super) async fn welcome(connection: &quinn::Connection) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(&[WELCOME]).await.ok()
}

/// A caller without certificate: a few streams of one kind, for a short time.
async fn serve_stranger(shared: &Arc<Shared>, connection: &quinn::Connection) -> Close {
    let serve = async {
        let in_use = InUse::by_stranger();
        let mut opened = 0;
        loop {
            tokio::select! {
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) if opened < JOIN_STREAMS_TOTAL_MAX => {
                        opened += 1;
                        let from = Caller::Stranger(in_use.clone());
                        let addr = connection.remote_address();
                        shared.tasks.spawn_until_stopped(arrive(shared.clone(), from, addr, send, recv));
                    }
                    Ok(_) => return Close::Busy,
                    Err(_) => return Close::Idle, // it is closed already
                },
                () = sleep(JOIN_IDLE_TIME_MAX) => if Arc::strong_count(&in_use) == 1 {
                    return Close::Idle;
                }
            }
        }
    };
    timeout(JOIN_CONNECTION_TIME_MAX, serve).await.unwrap_or(Close::Idle)
}

/// Who opened a stream.
pub(super) enum Caller {
    Member(Arc<Link>),
    Stranger(Arc<InUse>),
}

/// Reads what a stream is for, and hands it on when its opener may have it.
pub(super) async fn arrive(
    shared: Arc<Shared>,
    caller: Caller,
    addr: SocketAddr,
    mut send: quinn::SendStream,
    mut recv: quinn::RecvStream,
) {
    match admit_stream(&shared, &caller, &mut recv).await {
        Ok((place, kind)) => {
            let _ = send.set_priority(kind.priority());
            let (from, stream) = match caller {
                Caller::Member(link) => (Some(link.peer.clone()), link.stream(send, recv, kind)),
                Caller::Stranger(in_use) => (None, in_use.stream(send, recv, kind)),
            };
            let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
            place.send(Incoming { from, addr, kind, stream });
        }
        Err(close) => {
            // A stream that its opener has ended already cannot be reset, and need not be.
            let _ = send.reset(close.code());
            let _ = recv.stop(close.code());
        }
    }
}

async fn admit_stream<'a>(
    shared: &'a Shared,
    caller: &Caller,
    recv: &mut quinn::RecvStream,
) -> Result<(mpsc::Permit<'a, Incoming>, StreamKind), Close> {
    let byte = match timeout(STREAM_KIND_WAIT, recv.read_u8()).await {
        Ok(Ok(byte)) => byte,
        Ok(Err(_)) | Err(_) => return Err(Close::Protocol),
    };
    let kind = StreamKind::from_byte(byte).ok_or(Close::Protocol)?;
    let allowed = match caller {
        Caller::Member(link) => link.allows(kind),
        Caller::Stranger(_) => kind.allowed(None),
    };
    if !allowed {
        return Err(Close::Protocol);
    }
    // Strangers get what is left of the queue when members have their half.
    if matches!(caller, Caller::Stranger(_)) && shared.streams.capacity() < STREAM_ARRIVALS_MAX / 2 {
        return Err(Close::Busy);
    }
    match timeout(STREAM_KIND_WAIT, shared.streams.reserve()).await {
        Ok(Ok(place)) => Ok((place, kind)),
        Ok(Err(_)) | Err(_) => Err(Close::Busy),
    }
}

/// A bounded number of places, in all and per address.
struct Places {
    taken: Mutex<(usize, BTreeMap<IpAddr, usize>)>,
    max: usize,
    per_address_max: usize,
}

struct Place {
    places: Arc<Places>,
    ip: IpAddr,
}

impl Places {
    fn new(max: usize, per_address_max: usize) -> Self {
        Self { taken: Mutex::default(), max, per_address_max }
    }

    fn taken(&self) -> usize {
        self.taken.lock().expect("no holder panics").0
    }

    fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock().expect("no holder panics");
        let (all, by_address) = &mut *taken;
        let here = by_address.get(&ip).copied().unwrap_or(0);
        if *all >= self.max || here >= self.per_address_max {
            return None;
        }
        *all += 1;
        by_address.insert(ip, here + 1);
        Some(Place { places: self.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().expect("no holder panics");
        taken.0 -= 1;
        match taken.1.get_mut(&self.ip) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(taken.1.remove(&self.ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_per_address() {
        let places = Arc::new(Places::new(3, 2));
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let first = places.take(ip(1)).unwrap();
        let _second = places.take(ip(1)).unwrap();
        assert!(places.take(ip(1)).is_none());
        let _third = places.take(ip(2)).unwrap();
        assert!(places.take(ip(3)).is_none());
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(ip(3)).is_some());
        assert_eq!(places.taken(), 2);
        assert_eq!(places.taken.lock().unwrap().1.len(), 2);
    }
}
