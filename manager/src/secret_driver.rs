//! Secret drivers: providers beside a manager that have the values of secrets which the store does not have.
//!
//! A provider listens at a Unix socket of its driver's name in one folder, and answers one request of Docker's plugin
//! protocol: see `design/secret-drivers.md`. Whoever leads asks, for each task by itself, and again after a pause where
//! no value comes. Nothing is kept here; what a provider gave goes to the session that needs it.
//!
//! Not here: what is to be asked and who is told of it (`dispatch::assignments`, `dispatch::payloads`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use common::engine_api::convert::secret_value_from_api;
use common::engine_api::secret_provider::{GET_SECRET, PLUGIN_MEDIA_TYPE, SecretAnswer, SecretRequest};
use common::limits::{
    SECRET_DRIVER_ANSWER_BYTES_MAX, SECRET_DRIVER_ASKS_MAX, SECRET_DRIVER_RETRY_MAX, SECRET_DRIVER_RETRY_MIN,
    SECRET_DRIVER_WAIT, WITHHELD_REASON_CHARS_MAX,
};
use common::object::PayloadKind;
use common::object::sensitive::SensitiveBytes;
use common::wire::assignment::PayloadKey;
use futures_util::future::{AbortHandle, abortable, pending};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::api::payload_rules::check_data;
use crate::dispatch::assignments::Questions;
use crate::dispatch::payloads::Question;

/// A value, or in words why there is none for now.
pub type Answer = (PayloadKey, Result<SensitiveBytes, String>);

/// All providers of this manager. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct SecretDrivers {
    folder: PathBuf,
    /// Of each driver that is asked, whose turn it is.
    turns: Arc<Mutex<BTreeMap<String, Arc<Semaphore>>>>,
}

/// Why a provider gave no value.
#[derive(Debug, thiserror::Error)]
enum DriverError {
    #[error("no provider listens at {}: {source}", socket.display())]
    Connect { socket: PathBuf, source: std::io::Error },
    #[error("its provider did not answer in {} s", SECRET_DRIVER_WAIT.as_secs())]
    TooLate,
    #[error("its provider broke off: {0}")]
    Exchange(String),
    #[error("its provider's answer is larger than {SECRET_DRIVER_ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    /// What it said is not repeated: it may hold the value.
    #[error("its provider's answer is not one to SecretProvider.GetSecret (HTTP {0})")]
    Content(StatusCode),
    #[error("{0}")]
    Refused(String),
    #[error("its provider's value is refused: {0}")]
    Value(String),
}

impl SecretDrivers {
    /// Providers that listen in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, turns: Arc::default() }
    }

    /// Asks all that is in `questions`, as long as it is in there and has no value.
    pub async fn answer(
        &self,
        mut questions: watch::Receiver<Questions>,
        answers: mpsc::Sender<Answer>,
    ) -> Infallible {
        let mut asks = FuturesUnordered::new();
        let mut begun: BTreeMap<(u64, PayloadKey), AbortHandle> = BTreeMap::new();
        loop {
            let now = questions.borrow_and_update().clone();
            begun.retain(|key, ask| {
                let stays = now.contains_key(key);
                if !stays {
                    ask.abort();
                }
                stays
            });
            for (key, question) in now {
                // Once each, also where it has its value already: its session has yet to take it up.
                begun.entry(key).or_insert_with(|| {
                    let (ask, handle) = abortable(self.keep_asking(key.1, question, answers.clone()));
                    asks.push(ask);
                    handle
                });
            }
            loop {
                tokio::select! {
                    changed = questions.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return pending().await, // the session ends, and this with it
                    },
                    Some(_) = asks.next() => {}
                }
            }
        }
    }

    /// Until there is a value.
    async fn keep_asking(&self, key: PayloadKey, question: Question, answers: mpsc::Sender<Answer>) {
        let Question { driver, request } = &question;
        let (secret, task) = (&request.secret_name, &request.task_id);
        let mut pause = SECRET_DRIVER_RETRY_MIN;
        loop {
            let failed = match self.ask(driver, request).await {
                Ok(value) => {
                    debug!(secret, driver, task.id = task, "a driver gave a secret's value");
                    let _ = answers.send((key, Ok(value))).await; // without a session nobody wants it
                    return;
                }
                Err(error) => error,
            };
            if pause == SECRET_DRIVER_RETRY_MIN {
                warn!(secret, driver, task.id = task, error = %failed, "a driver gave no value, and is asked again");
            }
            let why = shown(&format!("secret {secret}: driver {driver}: {failed}"));
            if answers.send((key, Err(why))).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(SECRET_DRIVER_RETRY_MAX);
        }
    }

    async fn ask(&self, driver: &str, request: &SecretRequest) -> Result<SensitiveBytes, DriverError> {
        let turn = self.turn(driver);
        let Ok(_turn) = turn.acquire().await else { return Err(DriverError::TooLate) }; // never closed
        // The name was checked where the secret was made; what is in the store all the same leads nowhere else.
        let file = Path::new(driver).file_name().unwrap_or_default().to_string_lossy();
        let socket = self.folder.join(format!("{file}.sock"));
        let answer = tokio::time::timeout(SECRET_DRIVER_WAIT, exchange(&socket, request));
        let (status, body) = answer.await.map_err(|_| DriverError::TooLate)??;
        value(status, &body)
    }

    /// One driver's callers wait for each other, and for nobody else's.
    fn turn(&self, driver: &str) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().expect("no holder panics");
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(driver.into()).or_insert_with(|| Arc::new(Semaphore::new(SECRET_DRIVER_ASKS_MAX))).clone()
    }
}

/// One request on a connection of its own.
async fn exchange(
    socket: &Path,
    request: &SecretRequest,
) -> Result<(StatusCode, Zeroizing<Vec<u8>>), DriverError> {
    let broke_off = |error: &dyn std::fmt::Display| DriverError::Exchange(error.to_string());
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| DriverError::Connect { socket: socket.to_path_buf(), source })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broke_off(&error))?;
    let body = serde_json::to_vec(request).map_err(|error| broke_off(&error))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(GET_SECRET)
        .header(header::HOST, "swarm")
        .header(header::ACCEPT, PLUGIN_MEDIA_TYPE)
        .header(header::CONTENT_TYPE, PLUGIN_MEDIA_TYPE)
        .body(Full::new(bytes::Bytes::from(body)))
        .map_err(|error| broke_off(&error))?;
    let mut answered = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| broke_off(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), SECRET_DRIVER_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => DriverError::TooLarge,
            None => broke_off(&error),
        })?;
        Ok((status, Zeroizing::new(Vec::from(body.to_bytes()))))
    });
    tokio::select! {
        answer = &mut answered => return answer,
        // It may end before the answer is read, where the provider closes it.
        _ = connection => {}
    }
    answered.await
}

/// The value in an answer, if there is one that a secret can have.
fn value(status: StatusCode, body: &[u8]) -> Result<SensitiveBytes, DriverError> {
    let Ok(answer) = serde_json::from_slice::<SecretAnswer>(body) else {
        return Err(DriverError::Content(status));
    };
    if !answer.err.is_empty() {
        return Err(DriverError::Refused(answer.err));
    }
    if !status.is_success() {
        return Err(DriverError::Content(status));
    }
    let refused = |error: &dyn std::fmt::Display| DriverError::Value(error.to_string());
    let value =
        answer.value.as_ref().map(secret_value_from_api).transpose().map_err(|error| refused(&error))?;
    let value = value.unwrap_or_else(|| SensitiveBytes::new(Vec::new()));
    check_data(PayloadKind::Secret, &value).map_err(|error| refused(&error))?;
    Ok(value)
}

/// A text on one line, and no longer than people read.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(WITHHELD_REASON_CHARS_MAX).collect()
}

#[cfg(test)]
#[path = "secret_driver_test.rs"]
mod tests;
