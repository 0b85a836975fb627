//! The API over a node's socket, as bare requests: so that tests see what is on the wire.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use common::engine_api::ErrorBody;
use common::engine_api::node::{Node, NodeSpec};
use common::engine_api::swarm::{InitRequest, JoinRequest, Swarm};
use common::engine_api::system::{RaftStatus, SwarmInfo};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// Above what the API promises for any request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    deadline: Duration,
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there was no answer. Only `NotSent` says that nothing can have happened.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("connect to {}", .0.display())]
    NotSent(PathBuf, #[source] std::io::Error),
    #[error("{method} {path}: no answer within {deadline:?}")]
    Late { method: Method, path: String, deadline: Duration },
    #[error("{method} {path}: the connection broke")]
    Broken {
        method: Method,
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The API's words for what went wrong, or the body where it is not such.
    pub fn message(&self) -> String {
        serde_json::from_slice::<ErrorBody>(&self.body)
            .map_or_else(|_| String::from_utf8_lossy(&self.body).into_owned(), |error| error.message)
    }

    pub fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        anyhow::ensure!(self.is_ok(), "status {}: {}", self.status, self.message());
        serde_json::from_slice(&self.body).with_context(|| String::from_utf8_lossy(&self.body).into_owned())
    }

    pub fn ok(self) -> anyhow::Result<Answer> {
        anyhow::ensure!(self.is_ok(), "status {}: {}", self.status, self.message());
        Ok(self)
    }
}

impl Client {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, deadline: ANSWER_DEADLINE }
    }

    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::DELETE, path, Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, NoAnswer> {
        let body = serde_json::to_vec(body).expect("request types are plain data");
        self.send(Method::POST, path, body.into()).await
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, NoAnswer> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| NoAnswer::NotSent(self.socket.clone(), source))?;
        let answer = exchange(stream, method.clone(), path, body);
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(NoAnswer::Broken { method, path: path.into(), source }),
            Err(_) => Err(NoAnswer::Late { method, path: path.into(), deadline: self.deadline }),
        }
    }

    // What many tests ask for.

    pub async fn init(&self, request: &InitRequest) -> anyhow::Result<String> {
        self.post("/swarm/init", request).await?.json()
    }

    pub async fn join(&self, request: &JoinRequest) -> anyhow::Result<()> {
        self.post("/swarm/join", request).await?.ok().map(drop)
    }

    pub async fn leave(&self, force: bool) -> anyhow::Result<()> {
        self.post(&format!("/swarm/leave?force={force}"), &()).await?.ok().map(drop)
    }

    pub async fn swarm(&self) -> anyhow::Result<Swarm> {
        self.get("/swarm").await?.json()
    }

    pub async fn info(&self) -> anyhow::Result<SwarmInfo> {
        let info: serde_json::Value = self.get("/info").await?.json()?;
        Ok(serde_json::from_value(info["Swarm"].clone())?)
    }

    pub async fn raft(&self) -> anyhow::Result<RaftStatus> {
        self.get("/swarm/x/raft").await?.json()
    }

    pub async fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        self.get("/nodes").await?.json()
    }

    /// What this manager has, current or not.
    pub async fn nodes_local(&self) -> anyhow::Result<Vec<Node>> {
        self.get("/nodes?consistency=local").await?.json()
    }

    pub async fn node(&self, id: &str) -> anyhow::Result<Node> {
        self.get(&format!("/nodes/{id}")).await?.json()
    }

    pub async fn update_node(&self, id: &str, version: u64, spec: &NodeSpec) -> Result<Answer, NoAnswer> {
        self.post(&format!("/nodes/{id}/update?version={version}"), spec).await
    }

    /// Reads a node, changes what people want of it, and writes it back, until nobody else wrote in between.
    pub async fn change_node(&self, id: &str, change: impl Fn(&mut NodeSpec)) -> anyhow::Result<()> {
        loop {
            let mut node = self.node(id).await?;
            change(&mut node.spec);
            let answer = self.update_node(id, node.version.index, &node.spec).await?;
            if answer.is_ok() || !answer.message().contains("update out of sequence") {
                return answer.ok().map(drop);
            }
        }
    }

    pub async fn set_role(&self, id: &str, role: &str) -> anyhow::Result<()> {
        self.change_node(id, |spec| spec.role = role.into()).await
    }

    pub async fn labels(&self, id: &str) -> anyhow::Result<BTreeMap<String, String>> {
        Ok(self.node(id).await?.spec.labels)
    }
}

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One request on a connection that somebody has made, which it ends.
pub async fn exchange<S>(stream: S, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Host", "swarm")
        .header("Content-Type", "application/json")
        .body(Full::new(body))?;
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    });
    tokio::select! {
        answer = &mut answer => return answer,
        // The connection ends before the answer is read where the server closes it.
        _ = connection => {}
    }
    answer.await
}
