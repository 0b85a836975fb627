//! What comes to the server: datagrams, and connections that may ask one thing after the other.
//!
//! An answer that is known is given in place; only names outside of the cluster are waited for beside it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::limits::{DNS_ANSWER_BYTES_MAX, DNS_ERROR_PAUSE, DNS_IDLE_TIME_MAX, DNS_QUERY_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Server, Step};
use crate::mesh::names::Asker;

pub async fn udp(server: Arc<Server>, socket: Arc<UdpSocket>) {
    let mut bytes = vec![0; DNS_QUERY_BYTES_MAX];
    loop {
        match socket.recv_from(&mut bytes).await {
            Ok((length, from)) => datagram(&server, &socket, &bytes[..length], from).await,
            Err(error) => {
                // Of the machine (no memory), not of a peer: it passes, or it does not.
                warn!(%error, "cannot hear questions for names");
                tokio::time::sleep(DNS_ERROR_PAUSE).await;
            }
        }
    }
}

async fn datagram(server: &Arc<Server>, socket: &Arc<UdpSocket>, bytes: &[u8], from: SocketAddr) {
    let asker = (server.askers.find)(from.ip());
    let place = if asker.is_none() { server.strangers.take(&from.ip()) } else { None };
    let Some(place) = place else { return answer(server, socket, bytes, from, asker).await };
    let (server, socket, bytes) = (server.clone(), socket.clone(), bytes.to_vec());
    let tasks = server.tasks.clone();
    tasks.spawn_until_stopped(async move {
        let asker = server.askers.wait_for(from.ip()).await;
        drop(place);
        answer(&server, &socket, &bytes, from, asker).await;
    });
}

async fn answer(
    server: &Arc<Server>,
    socket: &Arc<UdpSocket>,
    bytes: &[u8],
    from: SocketAddr,
    asker: Option<Asker>,
) {
    match server.step(bytes, from.ip(), asker, None) {
        Step::Answer(answer) => send(socket, &answer, from).await,
        Step::Forward(question, asker) => {
            let Some(place) = server.forwarder.place(from.ip()) else {
                return send(socket, &question.failure(), from).await;
            };
            let (server, socket) = (server.clone(), socket.clone());
            let tasks = server.tasks.clone();
            tasks.spawn_until_stopped(async move {
                let answer = server.forwarder.ask_by_udp(&question, &asker).await;
                send(&socket, &answer.unwrap_or_else(|| question.failure()), from).await;
                drop(place);
            });
        }
        Step::Drop => {}
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(answer, to).await {
        debug!(%error, %to, "an answer for a name was not sent");
    }
}

pub async fn tcp(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(place) = server.connections.take(&from.ip()) else { continue };
                let (server, tasks) = (server.clone(), server.tasks.clone());
                tasks.spawn_until_stopped(async move {
                    if let Err(error) = connection(&server, stream, from.ip()).await {
                        debug!(%error, %from, "a connection for names ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot take connections for names");
                tokio::time::sleep(DNS_ERROR_PAUSE).await;
            }
        }
    }
}

/// One question after the other, until the asker closes, stops or asks too much.
async fn connection(server: &Server, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Strangers hear nothing: there is nothing here for them.
    if server.askers.wait_for(from).await.is_none() {
        return Ok(());
    }
    loop {
        let message = timeout(DNS_IDLE_TIME_MAX, read_message(&mut stream, DNS_QUERY_BYTES_MAX)).await??;
        let Some(message) = message else { return Ok(()) };
        let asker = (server.askers.find)(from);
        let answer = match server.step(&message, from, asker, Some(DNS_ANSWER_BYTES_MAX)) {
            Step::Answer(answer) => answer,
            Step::Forward(question, asker) => match server.forwarder.place(from) {
                Some(_place) => {
                    let answer = server.forwarder.ask_by_tcp(&question, &asker).await;
                    answer.unwrap_or_else(|| question.failure())
                }
                None => question.failure(),
            },
            Step::Drop => return Ok(()),
        };
        timeout(DNS_IDLE_TIME_MAX, write_message(&mut stream, &answer)).await??;
    }
}

/// Reads one message with its length before it; none where the stream has ended.
pub async fn read_message(stream: &mut TcpStream, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > bytes_max {
        return Err(io::Error::other(format!("a message of {length} bytes, where {bytes_max} are taken")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(Some(bytes))
}

/// Writes one message with its length before it, at once.
pub async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
