//! Names outside of the cluster: asked at the resolvers of the asker's service or of the host, one after the other.
//!
//! A resolver that is silent, or cannot say, is passed over for the next one. Each question has an id and a port of
//! its own, so that nobody answers in a resolver's place who does not see the question.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::limits::{
    DNS_ANSWER_BYTES_MAX, DNS_FORWARD_TIME_MAX, DNS_FORWARDS_MAX, DNS_FORWARDS_PER_SOURCE_MAX,
    DNS_QUERY_BYTES_MAX, DNS_RESOLV_CONF_BYTES_MAX, DNS_RESOLVER_TIME_MAX,
};
use common::places::{Place, Places};
use common::random::Random;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

use super::message::Question;
use super::resolv;
use super::serve;
use crate::mesh::names::Asker;

pub struct Forwarder {
    resolv_conf: PathBuf,
    port: u16,
    /// Never asked.
    ourselves: SocketAddr,
    host: Mutex<Host>,
    places: Arc<Places<IpAddr>>,
    random: Mutex<Box<dyn Random>>,
}

/// The host's resolvers, and which file said so.
#[derive(Default)]
struct Host {
    file: Option<(u64, i64, i64, u64)>,
    resolvers: Vec<IpAddr>,
}

impl Forwarder {
    pub fn new(resolv_conf: PathBuf, port: u16, ourselves: SocketAddr, random: Box<dyn Random>) -> Self {
        Self {
            resolv_conf,
            port,
            ourselves,
            host: Mutex::default(),
            places: Places::new(DNS_FORWARDS_MAX, DNS_FORWARDS_PER_SOURCE_MAX),
            random: Mutex::new(random),
        }
    }

    /// Held while a question of that source is under way; none where there are too many.
    pub fn place(&self, source: IpAddr) -> Option<Place<IpAddr>> {
        self.places.take(&source)
    }

    /// The answer as the asker is given it; none where no resolver gave one.
    pub async fn ask_by_udp(&self, question: &Question, asker: &Asker) -> Option<Vec<u8>> {
        let bytes_max = question.udp_bytes();
        self.ask(asker, |resolver, id| async move {
            let answer = udp(resolver, &question.forwarded(id)).await?;
            Ok(question.relayed(id, answer, bytes_max))
        })
        .await
    }

    pub async fn ask_by_tcp(&self, question: &Question, asker: &Asker) -> Option<Vec<u8>> {
        self.ask(asker, |resolver, id| async move {
            let answer = tcp(resolver, &question.forwarded(id)).await?;
            Ok(question.relayed(id, answer, DNS_ANSWER_BYTES_MAX))
        })
        .await
    }

    async fn ask<Asked>(&self, asker: &Asker, ask: impl Fn(SocketAddr, u16) -> Asked) -> Option<Vec<u8>>
    where
        Asked: Future<Output = io::Result<Option<Vec<u8>>>>,
    {
        let resolvers = self.resolvers(asker);
        let one_after_the_other = async {
            for (number, resolver) in resolvers.iter().enumerate() {
                // The last one has all the time that is left.
                let is_last = number + 1 == resolvers.len();
                let limit = if is_last { Duration::MAX } else { DNS_RESOLVER_TIME_MAX };
                let id = self.random.lock().expect("no holder panics").next_u64() as u16;
                match timeout(limit, ask(*resolver, id)).await {
                    Ok(Ok(Some(answer))) => return Some(answer),
                    Ok(Ok(None)) => debug!(%resolver, "a resolver cannot say"),
                    Ok(Err(error)) => debug!(%resolver, %error, "a resolver was not reached"),
                    Err(_) => debug!(%resolver, "a resolver did not answer in time"),
                }
            }
            None
        };
        timeout(DNS_FORWARD_TIME_MAX, one_after_the_other).await.ok().flatten()
    }

    fn resolvers(&self, asker: &Asker) -> Vec<SocketAddr> {
        let mut host = self.host.lock().expect("no holder panics");
        if asker.resolvers.is_empty() {
            host.follow(&self.resolv_conf);
        }
        resolv::choose(&asker.resolvers, &host.resolvers, self.port, self.ourselves)
    }
}

impl Host {
    /// Looks whether the file is another one now, as C libraries do for each question.
    fn follow(&mut self, path: &Path) {
        let file = fs::metadata(path).ok();
        let file = file.map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.size()));
        if file == self.file && file.is_some() {
            return;
        }
        let mut text = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(DNS_RESOLV_CONF_BYTES_MAX).read_to_end(&mut text));
        match read {
            Ok(_) => self.resolvers = resolv::resolvers(&String::from_utf8_lossy(&text)),
            // Whoever replaces it may have taken it away for a moment: what it said last holds.
            Err(error) => debug!(path = %path.display(), %error, "cannot read the host's resolvers"),
        }
        self.file = file;
    }
}

/// Sends a question and takes the first datagram that has its id; others are somebody's guesses.
async fn udp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let from: IpAddr =
        if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).await?;
    // Connected: the kernel drops what comes from elsewhere, and says when nobody listens there.
    socket.connect(resolver).await?;
    socket.send(question).await?;
    // More than we asked for; what is cut is too long for the asker anyway.
    let mut bytes = vec![0; DNS_QUERY_BYTES_MAX];
    loop {
        let length = socket.recv(&mut bytes).await?;
        if bytes[..length].get(..2) == question.get(..2) {
            bytes.truncate(length);
            return Ok(bytes);
        }
    }
}

async fn tcp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    serve::write_message(&mut stream, question).await?;
    let answer = serve::read_message(&mut stream, DNS_ANSWER_BYTES_MAX).await?;
    Ok(answer.unwrap_or_default())
}
