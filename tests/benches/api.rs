//! The API on a connection that is kept, so that what is measured is the program and not the connecting.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use common::engine_api::ErrorBody;
use common::engine_api::node::Node;
use common::shutdown::Tasks;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Above what the API promises for any request.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the API refuses a version that is not the newest.
pub const CONFLICT: &str = "update out of sequence";

pub struct Api {
    socket: PathBuf,
    tasks: Tasks,
    connection: Option<SendRequest<Full<Bytes>>>,
}

pub struct Answer {
    pub ok: bool,
    pub body: Bytes,
}

impl Answer {
    pub fn message(&self) -> String {
        serde_json::from_slice::<ErrorBody>(&self.body)
            .map_or_else(|_| String::from_utf8_lossy(&self.body).into_owned(), |error| error.message)
    }
}

impl Api {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, tasks: Tasks::new(), connection: None }
    }

    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Answer> {
        let exchange = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("Host", "swarm")
                .header("Content-Type", "application/json")
                .body(Full::new(body))?;
            let response = connection.send_request(request).await?;
            let ok = response.status().is_success();
            let body = response.into_body().collect().await?.to_bytes();
            connection.ready().await?;
            self.connection = Some(connection);
            anyhow::Ok(Answer { ok, body })
        };
        tokio::time::timeout(DEADLINE, exchange).await.with_context(|| format!("{path}: no answer"))?
    }

    /// An answer as bare JSON; an error with the API's words where it is a refusal.
    pub async fn ask(&mut self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() { Bytes::new() } else { serde_json::to_vec(body)?.into() };
        let answer = self.send(method, path, body).await?;
        anyhow::ensure!(answer.ok, "{path}: {}", answer.message());
        Ok(if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(&answer.body)? })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn_until_stopped(async move {
            let _ = connection.await; // how it ends, the sender hears
        });
        Ok(sender)
    }

    /// A node as this manager has it, current or not.
    pub async fn node(&mut self, id: &str) -> anyhow::Result<Node> {
        let answer = self.send(Method::GET, &format!("/nodes/{id}?consistency=local"), Bytes::new()).await?;
        anyhow::ensure!(answer.ok, "{}", answer.message());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    pub async fn nodes(&mut self) -> anyhow::Result<Vec<Node>> {
        let answer = self.send(Method::GET, "/nodes?consistency=local", Bytes::new()).await?;
        anyhow::ensure!(answer.ok, "{}", answer.message());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Writes a node back with another label than it had.
    pub async fn label(&mut self, mut node: Node, value: u64) -> anyhow::Result<Answer> {
        node.spec.labels.insert("measured".into(), value.to_string());
        let path = format!("/nodes/{}/update?version={}", node.id, node.version.index);
        self.send(Method::POST, &path, serde_json::to_vec(&node.spec)?.into()).await
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}
