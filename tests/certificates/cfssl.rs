//! An authority outside of the cluster, as much of CFSSL as it takes: `sign` over HTTPS with certificates on both ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::identity::RootAuthority;
use common::identity::certificate::certificates_from_pem;
use common::object::Role;
use common::time::{Clock, SystemClock};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub struct Cfssl {
    addr: SocketAddr,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    signed: AtomicUsize,
    strangers: AtomicUsize,
    stop: AtomicBool,
}

impl Cfssl {
    /// Signs with this root, for whoever shows a certificate of it or of the cluster's.
    pub fn start(root: &RootAuthority, cluster_root_pem: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Arc::new(config(root, cluster_root_pem));
        let counts = Arc::new(Counts::default());
        let (root, shared) = (root.clone(), counts.clone());
        let serve = move || {
            for socket in listener.incoming().flatten() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                match answer(&root, config.clone(), socket) {
                    Ok(()) => shared.signed.fetch_add(1, Ordering::Relaxed),
                    Err(_) => shared.strangers.fetch_add(1, Ordering::Relaxed),
                };
            }
        };
        let thread = Some(std::thread::spawn(serve));
        Self { addr, counts, thread }
    }

    pub fn url(&self) -> String {
        format!("https://{}/api/v1/cfssl/sign", self.addr)
    }

    pub fn signed(&self) -> usize {
        self.counts.signed.load(Ordering::Relaxed)
    }

    /// Callers who had no certificate that counts, or nothing to say.
    pub fn strangers(&self) -> usize {
        self.counts.strangers.load(Ordering::Relaxed)
    }
}

impl Drop for Cfssl {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr); // wakes it up
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn config(root: &RootAuthority, cluster_root_pem: &str) -> ServerConfig {
    let key = KeyPair::from_pem(root.key_pem().reveal()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(root.certificate_pem(), key).unwrap();
    let own = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&own, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for pem in [root.certificate_pem(), cluster_root_pem] {
        roots.add_parsable_certificates(certificates_from_pem(pem).unwrap());
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der())),
        )
        .unwrap()
}

fn answer(root: &RootAuthority, config: Arc<ServerConfig>, socket: TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let request = read(&mut stream)?;
    let answer = match sign(root, &request) {
        Some(pem) => json!({"success": true, "result": {"certificate": pem}, "errors": [], "messages": []}),
        None => json!({"success": false, "result": null, "errors": [{"code": 1, "message": "bad request"}]}),
    };
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{answer}")?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// The body of one request.
fn read(stream: &mut impl Read) -> io::Result<Value> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..count]);
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let length = length.unwrap_or_default();
        if bytes.len() >= head + 4 + length {
            return serde_json::from_slice(&bytes[head + 4..head + 4 + length]).map_err(io::Error::other);
        }
    }
}

fn sign(root: &RootAuthority, request: &Value) -> Option<String> {
    let text = |path: &str| request.pointer(path).and_then(Value::as_str);
    let pem: String = text("/request")?.lines().filter(|line| !line.starts_with("-----")).collect();
    let csr = BASE64.decode(pem).ok()?;
    let role = match text("/subject/names/0/OU")? {
        "swarm-manager" => Role::Manager,
        "swarm-worker" => Role::Worker,
        _ => return None,
    };
    let (node, cluster) = (text("/subject/CN")?.parse().ok()?, text("/subject/names/0/O")?.parse().ok()?);
    root.sign(&csr, node, cluster, role, Duration::from_secs(24 * 3600), SystemClock.now()).ok()
}
