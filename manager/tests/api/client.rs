//! The API on a socket of its own, and a client that says what it got.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::shutdown::Tasks;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use manager::api::{EngineSettings, Host, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Ends with the test that made it.
pub struct Api {
    folder: TempDir,
    tasks: Tasks,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// As text, where it is some.
    pub text: String,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Status and sentence of an error.
    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        (self.status, json["message"].as_str().unwrap_or_else(|| panic!("no message: {json}")).into())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

impl Api {
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self::with_engine(host, EngineSettings::default())
    }

    pub fn with_engine(host: Arc<dyn Host>, engine: EngineSettings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tasks = Tasks::new();
        let listener = UnixListener::bind(folder.path().join("api.sock")).expect("a socket");
        tasks.spawn(serve(listener, host, engine, tasks.clone()));
        Self { folder, tasks }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "").await
    }

    pub async fn post(&self, target: &str, body: &str) -> Answer {
        self.send("POST", target, body).await
    }

    pub async fn send(&self, method: &str, target: &str, body: impl AsRef<[u8]>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "x")
            .body(Full::new(Bytes::copy_from_slice(body.as_ref())))
            .expect("a request");
        self.exchange(request).await
    }

    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = UnixStream::connect(self.socket()).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let connection = self.tasks.spawn_until_stopped(async move { drop(connection.await) });
        let response = sender.send_request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        connection.abort();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
        }
    }

    /// Sends bytes as they are and reads until the server closes or has said `enough`.
    pub async fn raw(&self, bytes: &[u8], enough: &str) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has read all, and that is fine.
        let _ = stream.write_all(bytes).await;
        read_until(&mut stream, enough).await
    }

    pub async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.expect("a connection")
    }

    pub async fn stop(self) {
        self.tasks.stop().await;
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

/// What arrives until `enough` is in it or the other side closes.
pub async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), enough: &str) -> String {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    let reading = async {
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            read.extend_from_slice(&chunk[..count]);
            if !enough.is_empty() && String::from_utf8_lossy(&read).contains(enough) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), reading).await.expect("an end in time");
    String::from_utf8_lossy(&read).into_owned()
}
