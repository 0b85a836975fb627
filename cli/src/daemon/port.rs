//! Whether this node can listen where it is to listen.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use common::limits::{PORT_LOOK_AGAIN, PORT_RELEASE_WAIT};

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on udp address {address}")]
pub struct NotFree {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Whether this node could listen there now. Waits a moment for a port that is in use: the one of a cluster that
/// this node has just left is kept until the last goodbyes are out.
pub async fn check_free(address: SocketAddr) -> Result<(), NotFree> {
    let listen = || UdpSocket::bind(address).map(drop);
    let released = async {
        loop {
            match listen() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    tokio::time::sleep(PORT_LOOK_AGAIN).await;
                }
                other => return other,
            }
        }
    };
    let waited = tokio::time::timeout(PORT_RELEASE_WAIT, released).await;
    waited.unwrap_or_else(|_| listen()).map_err(|source| NotFree { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_waited_for_and_then_named() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let refused = check_free(address).await.unwrap_err();
        assert!(refused.to_string().contains(&address.to_string()), "{refused}");
        let (free, ()) = tokio::join!(check_free(address), async {
            tokio::time::sleep(PORT_LOOK_AGAIN).await;
            drop(held);
        });
        free.unwrap();
    }
}
