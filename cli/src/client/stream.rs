//! Answers without an end: events, logs. Chunk by chunk, for as long as they come.

use std::pin::Pin;

use bytes::Bytes;
use common::transport::tls::TlsIo;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;

use super::{Client, ClientError, answer_error, drive, request};

type Connection = http1::Connection<TokioIo<Box<dyn TlsIo>>, Full<Bytes>>;

/// The body of an answer while it arrives.
pub struct Stream {
    path: String,
    body: Incoming,
    /// None once it has ended: what it had read is still in `body`.
    connection: Option<Pin<Box<Connection>>>,
}

impl Client {
    /// Waits for the answer's head as for any answer, and leaves the body to the caller.
    pub async fn stream(&self, path: &str) -> Result<Stream, ClientError> {
        match tokio::time::timeout(self.patience, self.open_stream(path, &[])).await {
            Ok(stream) => stream,
            Err(_) => {
                Err(ClientError::TimedOut { method: Method::GET, path: path.into(), waited: self.patience })
            }
        }
    }

    pub(super) async fn open_stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Stream, ClientError> {
        let mut request = request(&Method::GET, path, None, None).map_err(|error| broken(path, error))?;
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).map_err(|error| broken(path, error))?;
            let value = HeaderValue::try_from(*value).map_err(|error| broken(path, error))?;
            request.headers_mut().insert(name, value);
        }
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(path, error))?;
        let mut connection = Box::pin(connection);
        let response = drive(sender.send_request(request), connection.as_mut()).await;
        let response = response.map_err(|error| broken(path, error))?;
        if !response.status().is_success() {
            let status = response.status();
            let body = drive(response.into_body().collect(), connection).await;
            return Err(answer_error(status, &body.map_err(|error| broken(path, error))?.to_bytes()));
        }
        Ok(Stream { path: path.into(), body: response.into_body(), connection: Some(connection) })
    }
}

impl Stream {
    /// The next bytes; none at the end. May be dropped while it waits, nothing is lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = match self.connection.as_mut() {
                None => self.body.frame().await,
                Some(connection) => {
                    tokio::select! {
                        frame = self.body.frame() => frame,
                        _ = connection => {
                            self.connection = None;
                            continue;
                        }
                    }
                }
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&self.path, error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

fn broken(path: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Broken { method: Method::GET, path: path.into(), source: error.into() }
}
