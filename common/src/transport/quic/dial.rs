//! Calling a peer: a connection counts once the far end has proved who it is and has said that it lets us in.
//!
//! With TLS 1.3 the caller's handshake is over before the other side has looked at the caller's certificate. So the
//! other side opens a stream with one byte when it is content, and closes with a reason when it is not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::close::{Close, Lost, explain};
use super::link::Link;
use super::peers::unreachable;
use super::proof::{self, Seen};
use super::tls;
use crate::transport::{Lane, Peer, TransportError};

/// The byte that says "come in".
pub(super) const WELCOME: u8 = 1;

/// A peer that was cut off may be back at any moment, while the packets of one attempt come ever more rarely.
/// So after this time a fresh attempt joins those under way.
const NEXT_ATTEMPT: Duration = Duration::from_millis(350);
const ATTEMPTS_MAX: u32 = 3;

pub(super) async fn dial(shared: &Arc<Shared>, peer: Peer, lane: Lane) -> Result<Arc<Link>, TransportError> {
    let start = Instant::now();
    let give_up = start + shared.settings.handshake_time_max;
    let mut attempts = FuturesUnordered::new();
    let mut begun = 0;
    loop {
        if begun == 0 {
            attempts.push(attempt(shared, peer, lane));
            begun += 1;
        }
        let next = start + NEXT_ATTEMPT * begun;
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(link) => return Ok(Arc::new(link)),
                Err(lost) => return Err(lost.into_error(peer)),
            },
            () = sleep_until(next), if begun < ATTEMPTS_MAX && next < give_up => {
                attempts.push(attempt(shared, peer, lane));
                begun += 1;
            }
            () = sleep_until(give_up) => return Err(unreachable(peer, "no answer")),
        }
    }
}

async fn attempt(shared: &Arc<Shared>, peer: Peer, lane: Lane) -> Result<Link, Lost> {
    let config = shared.current.read().expect("no holder panics").configs.client(lane);
    let (connection, Seen { identity, proved }) = call(shared, peer, config).await?;
    Ok(Link::new(connection, identity, lane, true, proved, shared.clock.clone()))
}

/// One connection to a peer that has proved who it is and has let us in.
pub(super) async fn call(
    shared: &Arc<Shared>,
    peer: Peer,
    config: quinn::ClientConfig,
) -> Result<(quinn::Connection, Seen), Lost> {
    let unreachable = |error: &dyn std::fmt::Display| Lost::Unreachable(error.to_string());
    let connection = shared
        .endpoint
        .connect_with(config, peer.addr, &tls::server_name(peer.node))
        .map_err(|error| unreachable(&error))?
        .await
        .map_err(|error| explain(&error))?;
    let seen = match proof::seen(shared, &connection) {
        Ok(seen) => seen,
        Err(close) => {
            close.apply(&connection);
            return Err(unreachable(&close.text()));
        }
    };
    // TLS has compared these already; what stands here is what everything above relies on.
    if seen.identity.node != peer.node {
        return Err(Lost::WrongNode(seen.identity.node));
    }
    let mut welcome = connection.accept_uni().await.map_err(|error| explain(&error))?;
    match welcome.read_u8().await {
        Ok(WELCOME) => Ok((connection, seen)),
        Ok(_) => {
            Close::Protocol.apply(&connection);
            Err(unreachable(&Close::Protocol.text()))
        }
        Err(error) => Err(match connection.close_reason() {
            Some(reason) => explain(&reason),
            None => unreachable(&error),
        }),
    }
}
