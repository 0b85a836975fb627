//! One request and its answer: bodies read with bounds, answers built one way.

use std::sync::Arc;

use bytes::Bytes;
use common::engine_api::{ErrorBody, Object};
use common::limits::{
    API_BODY_BYTES_MAX, API_BODY_TIME_MAX, API_PASS_OVER_TIME_MAX, API_PIECES_WAITING_MAX,
    API_SMALL_BODY_BYTES_MAX,
};
use common::object::AccessRole;
use futures_util::stream::{self, StreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc};
use zeroize::Zeroizing;

use super::error::ApiError;
use super::note::Made;
use super::target::Query;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body in either direction, read as it comes.
pub type Body = BoxBody<Bytes, BoxError>;
pub type Answer = Result<Response<Body>, ApiError>;

/// Items of a list that are written at once.
const LIST_PIECE_ITEMS: usize = 64;

/// A request for an object of the cluster.
pub(super) struct Call {
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Body,
    /// What the caller may do.
    pub role: AccessRole,
}

impl Call {
    /// The body as JSON, bounded in size and time. `large` bounds how many big ones are held at once.
    pub async fn json<T: DeserializeOwned>(&mut self, large: &Semaphore) -> Result<T, ApiError> {
        let body = std::mem::replace(&mut self.body, empty_body());
        from_json(&whole(body, large).await?)
    }
}

/// A body, bounded in size and time.
pub(super) async fn whole(body: Body, large: &Semaphore) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    tokio::time::timeout(API_BODY_TIME_MAX, read_body(body, large)).await.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request body did not arrive within {} s", API_BODY_TIME_MAX.as_secs()),
        )
    })?
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
    }
    serde_json::from_slice::<Object<T>>(bytes)
        .map(|object| object.0)
        .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))
}

/// What was read leaves memory with its last use: it may hold a secret.
async fn read_body(mut body: Body, large: &Semaphore) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request body is larger than {API_BODY_BYTES_MAX} bytes"),
        )
    };
    if body.size_hint().lower() > API_BODY_BYTES_MAX as u64 {
        pass_over(&mut body).await;
        return Err(too_large());
    }
    let mut read = Zeroizing::new(Vec::new());
    let mut slot = None;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| ApiError::invalid(format!("the request body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > API_BODY_BYTES_MAX {
            pass_over(&mut body).await;
            return Err(too_large());
        }
        if slot.is_none() && read.len() + data.len() > API_SMALL_BODY_BYTES_MAX {
            slot = Some(large.acquire().await.expect("never closed"));
        }
        append(&mut read, &data);
    }
    Ok(read)
}

/// As `extend_from_slice`, which would leave a copy behind where it has to move what is there.
fn append(read: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if read.capacity() - read.len() < data.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((read.len() + data.len()) * 2));
        larger.extend_from_slice(read);
        *read = larger;
    }
    read.extend_from_slice(data);
}

/// Reads on for a moment and keeps nothing: who is still sending when the answer comes would not hear it.
async fn pass_over(body: &mut Body) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(API_PASS_OVER_TIME_MAX, all).await; // what comes later is its sender's matter
}

pub(super) fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(super) fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// 200 without content, as Docker answers what succeeded.
pub(super) fn done() -> Response<Body> {
    Response::new(empty_body())
}

/// 204, as Docker answers some of what succeeded.
pub(super) fn nothing() -> Response<Body> {
    let mut response = done();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub(super) fn json<T: Serialize>(value: &T) -> Answer {
    json_with_status(StatusCode::OK, value)
}

/// 201 with what was made.
pub(super) fn created<T: Serialize>(value: &T) -> Answer {
    let mut response = json_with_status(StatusCode::CREATED, value)?;
    let id = serde_json::to_value(value).ok().and_then(|value| {
        // Of networks Docker spells it otherwise.
        value.get("ID").or_else(|| value.get("Id"))?.as_str().map(str::to_owned)
    });
    if let Some(id) = id {
        response.extensions_mut().insert(Made(id));
    }
    Ok(response)
}

/// A part of an endless answer. An error cuts the answer short, so that nobody takes it for its end.
pub(super) type Piece = Result<Bytes, BoxError>;

/// An answer that goes on for as long as pieces come. The sender is closed when the client has gone.
pub(super) fn endless(content_type: &'static str) -> (mpsc::Sender<Piece>, Response<Body>) {
    let (sender, mut pieces) = mpsc::channel::<Piece>(API_PIECES_WAITING_MAX);
    let body = stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    (sender, response)
}

fn json_with_status<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let mut bytes = serde_json::to_vec(value)
        .map_err(|error| ApiError::internal(format!("write the answer as JSON: {error}")))?;
    bytes.push(b'\n');
    let mut response = Response::new(full_body(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A list, written as the client reads it: a client that does not read holds ids, not megabytes of JSON.
pub(super) fn json_list<T, U>(
    items: Vec<Arc<T>>,
    shown: impl Fn(&T) -> U + Send + Sync + 'static,
) -> Response<Body>
where
    T: Send + Sync + 'static,
    U: Serialize,
{
    // One piece more than there are items: the end.
    let pieces = items.len().div_ceil(LIST_PIECE_ITEMS) + 1;
    let body = stream::iter(0..pieces).map(move |piece| -> Result<_, BoxError> {
        let start = piece * LIST_PIECE_ITEMS;
        let mut bytes = Vec::new();
        for (offset, item) in items.iter().skip(start).take(LIST_PIECE_ITEMS).enumerate() {
            bytes.push(if start + offset == 0 { b'[' } else { b',' });
            serde_json::to_writer(&mut bytes, &shown(item))?;
        }
        if start >= items.len() {
            bytes.extend_from_slice(if items.is_empty() { b"[]\n" } else { b"]\n" });
        }
        Ok(Frame::data(Bytes::from(bytes)))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn plain(text: &'static str) -> Response<Body> {
    let mut response = Response::new(full_body(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Every answer that is not a success looks like this.
pub(super) fn error(error: ApiError) -> Response<Body> {
    let ApiError { status, message } = error;
    let mut response = json_with_status(status, &ErrorBody { message }).unwrap_or_else(|_| done());
    *response.status_mut() = status;
    if matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
        // What is left of the body is not worth reading.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_in_pieces_is_one_document() {
        for count in [0, 1, 63, 64, 65, 1_000] {
            let items: Vec<Arc<u32>> = (0..count).map(Arc::new).collect();
            let body = json_list(items, |item| item * 2).into_body().collect().await.expect("a body");
            let read: Vec<u32> = serde_json::from_slice(&body.to_bytes()).expect("JSON");
            assert_eq!(read, (0..count).map(|item| item * 2).collect::<Vec<_>>(), "{count}");
        }
    }
}
