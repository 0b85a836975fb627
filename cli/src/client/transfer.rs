//! Files to and from the daemon: as long as they are, and never more than a piece of one in memory.

use std::fs::File;
use std::io::Read;

use bytes::Bytes;
use common::limits::CLIENT_BODY_BYTES_MAX;
use futures_util::stream;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use super::stream::Stream;
use super::{Client, ClientError, answer_error, drive, parse};

const PIECE_BYTES: usize = 64 << 10;

/// Names and values. What they say may be secret: they are not in errors.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

impl Client {
    /// The body of an answer while it arrives.
    pub async fn download(&self, path: &str, headers: Headers<'_>) -> Result<Stream, ClientError> {
        match tokio::time::timeout(self.patience, self.open_stream(path, headers)).await {
            Ok(stream) => stream,
            Err(_) => {
                Err(ClientError::TimedOut { method: Method::GET, path: path.into(), waited: self.patience })
            }
        }
    }

    /// Sends a file, and waits for the answer for as long as that takes.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: Headers<'_>,
        file: Box<dyn Read + Send + Sync>,
    ) -> Result<T, ClientError> {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Broken {
            method: Method::POST,
            path: path.into(),
            source,
        };
        let pieces = stream::unfold(Some(file), |file| async move {
            let mut file = file?;
            let mut piece = vec![0; PIECE_BYTES];
            match file.read(&mut piece) {
                Ok(0) => None,
                Ok(length) => {
                    piece.truncate(length);
                    Some((Ok(Frame::data(Bytes::from(piece))), Some(file)))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        let mut request = Request::post(path)
            .header(header::HOST, "swarm")
            .header(header::CONTENT_TYPE, "application/octet-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.body(Box::pin(StreamBody::new(pieces))).map_err(|error| broken(error.into()))?;
        let connection = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(connection)).await.map_err(|error| broken(error.into()))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), CLIENT_BODY_BYTES_MAX).collect().await;
            Ok::<_, ClientError>((status, body.map_err(broken)?.to_bytes()))
        };
        let (status, body) = drive(answer, connection).await?;
        if status.is_success() { parse(Method::POST, path, &body) } else { Err(answer_error(status, &body)) }
    }
}

/// Opens a file to send; `-` is standard input.
pub fn source(path: &std::path::Path) -> std::io::Result<Box<dyn Read + Send + Sync>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    Ok(Box::new(File::open(path)?))
}
