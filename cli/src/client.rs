//! The daemon's API as commands use it: one HTTP request over its socket or TLS, one typed answer or one error.
//!
//! A connection per request: nothing is left to clean up. Every wait and every size is
//! bounded. Not here: what a command makes of an answer (`command/`), the JSON types (`common::engine_api`).

mod stream;
pub mod transfer;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use common::engine_api::ErrorBody;
use common::limits::{CLIENT_BODY_BYTES_MAX, CLIENT_REQUEST_TIME_MAX};
use common::transport::tls::TlsIo;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};

use crate::context::endpoint::Endpoint;
use crate::exit::Exit;
use crate::paths::{self, Host};

/// A client of one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    at: Endpoint,
    patience: Duration,
}

/// Why a request had no success.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "cannot connect to the swarm daemon at {host}: {}. Is the daemon running? Start it with: swarm daemon",
        os_text(cause)
    )]
    Unreachable { host: String, cause: io::Error },
    #[error("no secure connection with the swarm daemon at {host}: {cause}")]
    Insecure { host: String, cause: io::Error },
    #[error(
        "may not use the socket of the swarm daemon at {host}: {}. Ask as its owner, or as a member of the group `swarm`",
        os_text(cause)
    )]
    Denied { host: String, cause: io::Error },
    #[error("Error response from daemon: {message}")]
    Answer { status: StatusCode, message: String },
    #[error("{method} {path}: no answer from the daemon within {waited:?}")]
    TimedOut { method: Method, path: String, waited: Duration },
    #[error("{method} {path}: the answer is larger than {CLIENT_BODY_BYTES_MAX} bytes")]
    TooLarge { method: Method, path: String },
    #[error("{method} {path}: talk to the daemon")]
    Broken { method: Method, path: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{method} {path}: make sense of the daemon's answer")]
    Nonsense { method: Method, path: String, source: serde_json::Error },
}

/// The system's words without its number, which the text around them has no use for.
fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

impl ClientError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Answer { status, message } => exit_of_answer(*status, message),
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Unreachable { .. }
            | Self::Insecure { .. }
            | Self::Denied { .. }
            | Self::TooLarge { .. }
            | Self::Broken { .. }
            | Self::Nonsense { .. } => Exit::Failed,
        }
    }

    /// Is there no daemon at this address at all, so that one may be started?
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// May the same request succeed soon, without anybody doing anything?
    ///
    /// Managers elect a leader, a daemon is started anew: what is waited for goes on meanwhile.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Answer { .. } => self.exit() == Exit::NoManager,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::Denied { .. } | Self::Insecure { .. } | Self::TooLarge { .. } | Self::Nonsense { .. } => {
                false
            }
        }
    }

    pub fn is_conflict(&self) -> bool {
        self.exit() == Exit::Conflict
    }
}

/// Docker answers several of these with plain 500 or 503, so the text must help.
fn exit_of_answer(status: StatusCode, message: &str) -> Exit {
    let says = |text: &str| message.contains(text);
    match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::CONFLICT => Exit::Conflict,
        _ if says("update out of sequence") => Exit::Conflict,
        _ if says("Timeout was reached before node joined") => Exit::TimedOut,
        StatusCode::GATEWAY_TIMEOUT => Exit::TimedOut,
        _ if says("does not have a leader") || says("This node is not a swarm manager") => Exit::NoManager,
        _ if says("already part of a swarm") => Exit::Conflict,
        _ => Exit::Failed,
    }
}

impl Client {
    pub fn new(host: Host) -> Self {
        Self::at(Endpoint::Socket(host))
    }

    pub fn at(at: Endpoint) -> Self {
        Self { at, patience: CLIENT_REQUEST_TIME_MAX }
    }

    pub fn host(&self) -> &Endpoint {
        &self.at
    }

    /// Does a daemon answer?
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.request(Method::GET, "/_ping", None, None).await.map(drop)
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.get_bytes(path).await?;
        parse(Method::GET, path, &body)
    }

    /// The body as it came, for what is shown as it came.
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.request(Method::GET, path, None, None).await
    }

    /// `get` with credentials for a registry.
    pub async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        registry_auth: Option<&str>,
    ) -> Result<T, ClientError> {
        let body = self.request(Method::GET, path, None, registry_auth).await?;
        parse(Method::GET, path, &body)
    }

    /// For requests whose answer has nothing to read.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.post_bytes(path, body, None).await.map(drop)
    }

    pub async fn post_for<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.post_with(path, body, None).await
    }

    /// `post_for` with credentials for a registry.
    pub async fn post_with<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        registry_auth: Option<&str>,
    ) -> Result<T, ClientError> {
        let answer = self.post_bytes(path, body, registry_auth).await?;
        parse(Method::POST, path, &answer)
    }

    pub async fn post_nothing(&self, path: &str) -> Result<(), ClientError> {
        self.request(Method::POST, path, None, None).await.map(drop)
    }

    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.request(Method::DELETE, path, None, None).await.map(drop)
    }

    pub async fn delete_for<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.request(Method::DELETE, path, None, None).await?;
        parse(Method::DELETE, path, &answer)
    }

    async fn post_bytes(
        &self,
        path: &str,
        body: &impl Serialize,
        registry_auth: Option<&str>,
    ) -> Result<Bytes, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Nonsense {
            method: Method::POST,
            path: path.into(),
            source,
        })?;
        self.request(Method::POST, path, Some(body), registry_auth).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        registry_auth: Option<&str>,
    ) -> Result<Bytes, ClientError> {
        let exchange = self.exchange(method.clone(), path, body, registry_auth);
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::TimedOut { method, path: path.into(), waited: self.patience }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        registry_auth: Option<&str>,
    ) -> Result<Bytes, ClientError> {
        let broken = |source| ClientError::Broken { method: method.clone(), path: path.into(), source };
        let request = request(&method, path, body, registry_auth).map_err(|error| broken(error.into()))?;

        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.into()))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
            let status = response.status();
            if response.body().size_hint().lower() > CLIENT_BODY_BYTES_MAX as u64 {
                return Err(ClientError::TooLarge { method: method.clone(), path: path.into() });
            }
            match Limited::new(response.into_body(), CLIENT_BODY_BYTES_MAX).collect().await {
                Ok(body) => Ok((status, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => {
                    Err(ClientError::TooLarge { method: method.clone(), path: path.into() })
                }
                Err(error) => Err(broken(error)),
            }
        };
        // The connection only moves bytes between the socket and `answer`; its own end or error shows there.
        let (status, body) = drive(answer, connection).await?;
        if status.is_success() { Ok(body) } else { Err(answer_error(status, &body)) }
    }

    async fn connect(&self) -> Result<Box<dyn TlsIo>, ClientError> {
        let text = self.at.to_string();
        let unreachable = |cause| ClientError::Unreachable { host: text.clone(), cause };
        match &self.at {
            Endpoint::Socket(host) => {
                let denied = |cause| ClientError::Denied { host: text.clone(), cause };
                paths::check_fallback(host.socket()).map_err(denied)?;
                let stream = UnixStream::connect(host.socket()).await;
                let stream = stream.map_err(|cause| match cause.kind() {
                    ErrorKind::PermissionDenied => denied(cause),
                    _ => unreachable(cause),
                })?;
                Ok(Box::new(stream))
            }
            Endpoint::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                // Small requests and answers, one after the other.
                let _ = stream.set_nodelay(true);
                let secured = tls.connect(host, stream).await;
                secured.map_err(|cause| ClientError::Insecure { host: text, cause })
            }
        }
    }
}

fn request(
    method: &Method,
    path: &str,
    body: Option<Vec<u8>>,
    registry_auth: Option<&str>,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(header::HOST, "swarm")
        .header(header::USER_AGENT, concat!("swarm/", env!("CARGO_PKG_VERSION")));
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(auth) = registry_auth {
        request = request.header("X-Registry-Auth", auth);
    }
    request.body(Full::new(Bytes::from(body.unwrap_or_default())))
}

/// Runs what a command does: one thread, for it only ever waits for one answer.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// Runs `connection` beside `answer` until `answer` is there.
async fn drive<T>(answer: impl Future<Output = T>, connection: impl Future) -> T {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        _ = connection => {}
    }
    answer.await
}

fn parse<T: DeserializeOwned>(method: Method, path: &str, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|source| ClientError::Nonsense { method, path: path.into(), source })
}

/// The message of an answer that is not a success; plain text and no text at all happen too.
fn answer_error(status: StatusCode, body: &[u8]) -> ClientError {
    const TEXT_CHARS_MAX: usize = 2_000;
    let message = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.message,
        Err(_) => String::from_utf8_lossy(body).trim().chars().take(TEXT_CHARS_MAX).collect(),
    };
    let message = if message.is_empty() { status.to_string() } else { in_our_words(&message) };
    ClientError::Answer { status, message }
}

/// The API speaks Docker's exact texts, which name commands of `docker`; people of this program have `swarm`.
fn in_our_words(message: &str) -> String {
    message.replace("\"docker swarm ", "\"swarm ").replace("\"docker info\"", "\"swarm info\"")
}

/// One segment of a path, or one value of a query.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    // `.` and `..` alone would be taken for steps through folders.
    if !escaped.is_empty() && escaped.bytes().all(|byte| byte == b'.') {
        return escaped.replace('.', "%2E");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_exit_codes() {
        #[rustfmt::skip]
        let cases = [
            (404, "node n9 not found", Exit::NotFound),
            (409, "name conflicts with an existing object", Exit::Conflict),
            (500, "update out of sequence", Exit::Conflict),
            (500, "The swarm does not have a leader. It's possible that too few managers are online.", Exit::NoManager),
            (503, "This node is not a swarm manager. Use \"swarm init\"", Exit::NoManager),
            (503, "This node is already part of a swarm. Use", Exit::Conflict),
            (503, "This node is not part of a swarm", Exit::Failed),
            (503, "Timeout was reached before node joined. The attempt", Exit::TimedOut),
            (400, "can't remove member from the raft: this would result in a loss of quorum", Exit::Failed),
            (400, "attempting to demote the last manager of the swarm", Exit::Failed),
            (504, "", Exit::TimedOut),
            (500, "", Exit::Failed),
        ];
        for (status, message, expected) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(exit_of_answer(status, message), expected, "{status} {message}");
        }
    }

    #[test]
    fn error_bodies_of_any_kind_give_a_text() {
        #[rustfmt::skip]
        let cases: [(&[u8], &str); 5] = [
            (br#"{"message":"node n9 not found"}"#, "Error response from daemon: node n9 not found"),
            (br#"{"message":"Use \"docker swarm init\" or \"docker info\""}"#, r#"Error response from daemon: Use "swarm init" or "swarm info""#),
            (b"plain text\n", "Error response from daemon: plain text"),
            (b"", "Error response from daemon: 500 Internal Server Error"),
            (b"\xff\xfe", "Error response from daemon: \u{fffd}\u{fffd}"),
        ];
        for (body, expected) in cases {
            assert_eq!(answer_error(StatusCode::INTERNAL_SERVER_ERROR, body).to_string(), expected);
        }
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        let cases = [("n1", "n1"), ("a/b?c", "a%2Fb%3Fc"), ("ü", "%C3%BC"), ("..", "%2E%2E"), ("a.b", "a.b")];
        for (text, expected) in cases {
            assert_eq!(escape(text), expected);
        }
    }

    /// A daemon that says `answer`, whatever it is asked, and what the client makes of it.
    async fn ask(answer: &'static [u8], stays_open: bool) -> Result<serde_json::Value, ClientError> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let folder = tempfile::tempdir().expect("temporary folder");
        let socket = folder.path().join("swarm.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("listen");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            if stays_open {
                std::future::pending::<()>().await;
            }
            drop(stream);
            std::future::pending::<()>().await;
        };
        let client =
            Client { at: Endpoint::Socket(Host::from_socket(&socket)), patience: Duration::from_millis(300) };
        tokio::select! {
            answer = client.get("/swarm") => answer,
            () = serve => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn no_answer_hangs_or_breaks_the_client() {
        #[rustfmt::skip]
        let cases: [(&[u8], bool, &str); 8] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", true, "answer"),
            (b"HTTP/1.1 200 OK\r\n\r\n{}", false, "answer"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{x", true, "GET /swarm: make sense of the daemon's answer"),
            (b"", true, "GET /swarm: no answer from the daemon within 300ms"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", true, "GET /swarm: no answer from the daemon within 300ms"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", false, "GET /swarm: talk to the daemon"),
            (b"", false, "GET /swarm: talk to the daemon"),
            (b"SSH-2.0-OpenSSH\r\n", true, "GET /swarm: talk to the daemon"),
        ];
        for (answer, stays_open, expected) in cases {
            let seen = match ask(answer, stays_open).await {
                Ok(_) => "answer".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(seen, expected, "{}", String::from_utf8_lossy(answer));
        }
        let too_long = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{";
        assert!(matches!(ask(too_long, true).await, Err(ClientError::TooLarge { .. })));
        assert_eq!(ask(b"", true).await.unwrap_err().exit(), Exit::TimedOut);
    }
}
