//! Calls to the Docker Engine: so many at a time, each with a bound, and what its refusals mean.
//!
//! The API version is agreed on with the first call, and again after the engine was away: it may be another one then.

use std::future::Future;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bollard::errors::Error as ClientError;
use common::limits::{
    ENGINE_CALL_TIME_MAX, ENGINE_CALLS_MAX, ENGINE_COMMANDS_MAX, ENGINE_CREATES_MAX, ENGINE_STEPS_MAX,
    ENGINE_STOPS_MAX, ENGINE_TURN_WAIT,
};
use common::report::Report;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::runtime::RunError;

/// The node's engine, and who may ask it something now.
pub struct Engine {
    socket: String,
    client: Mutex<Option<bollard::Docker>>,
    calls: Semaphore,
    creates: Semaphore,
    steps: Semaphore,
    stops: Semaphore,
    commands: Semaphore,
}

/// What a call costs the engine; each kind has its own turns, so that looking never waits for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Answered from the engine's memory.
    Look,
    /// Apart from starts: with one queue for both, the first of many containers would start after the last is made.
    Create,
    /// Starts or removes.
    Step,
    Stop,
    /// Runs a command inside a container.
    Command,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Not there, silent, or gone half-way.
    #[error("the Docker Engine of this node {0}")]
    Away(String),
    /// The engine's own words.
    #[error("{message}")]
    Refused { status: u16, message: String },
}

/// The status of what is not there.
pub const NOT_FOUND: u16 = 404;
/// The status of a name that is taken, and of a step that is under way already.
pub const CONFLICT: u16 = 409;

impl Engine {
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_string_lossy().into_owned(),
            client: Mutex::default(),
            calls: Semaphore::new(ENGINE_CALLS_MAX),
            creates: Semaphore::new(ENGINE_CREATES_MAX),
            steps: Semaphore::new(ENGINE_STEPS_MAX),
            stops: Semaphore::new(ENGINE_STOPS_MAX),
            commands: Semaphore::new(ENGINE_COMMANDS_MAX),
        }
    }

    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Asks when it is this work's turn, and takes no longer than `limit` from then on.
    pub async fn ask<T, Asked>(
        &self,
        work: Work,
        limit: Duration,
        ask: impl FnOnce(bollard::Docker) -> Asked,
    ) -> Result<T, EngineError>
    where
        Asked: Future<Output = Result<T, ClientError>>,
    {
        let turn = timeout(ENGINE_TURN_WAIT, self.turns(work).acquire()).await;
        let _turn = turn.map_err(|_| EngineError::Away("is too busy".into()))?.expect("it is never closed");
        let asked = async {
            let client = self.client().await?;
            Ok(ask(client).await?)
        };
        let answer = timeout(limit, asked).await.unwrap_or_else(|_| Err(silent(limit)));
        if let Err(EngineError::Away(_)) = &answer {
            self.forget();
        }
        answer
    }

    /// A client that speaks what the engine speaks. Its own time limit is none: whoever uses it brings one.
    pub async fn client(&self) -> Result<bollard::Docker, EngineError> {
        let known = self.client.lock().expect("no holder panics").clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let unlimited = u64::from(u32::MAX);
        let client =
            bollard::Docker::connect_with_unix(&self.socket, unlimited, bollard::API_DEFAULT_VERSION)?;
        let client = timeout(ENGINE_CALL_TIME_MAX, client.negotiate_version())
            .await
            .map_err(|_| silent(ENGINE_CALL_TIME_MAX))??;
        *self.client.lock().expect("no holder panics") = Some(client.clone());
        Ok(client)
    }

    /// The next call agrees on the version anew.
    pub fn forget(&self) {
        *self.client.lock().expect("no holder panics") = None;
    }

    fn turns(&self, work: Work) -> &Semaphore {
        match work {
            Work::Look => &self.calls,
            Work::Create => &self.creates,
            Work::Step => &self.steps,
            Work::Stop => &self.stops,
            Work::Command => &self.commands,
        }
    }
}

impl EngineError {
    pub fn is(&self, wanted: u16) -> bool {
        matches!(self, EngineError::Refused { status, .. } if *status == wanted)
    }
}

impl From<ClientError> for EngineError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::DockerResponseServerError { status_code, message } => {
                let message = message.trim();
                let message =
                    if message.is_empty() { format!("status {status_code}") } else { message.into() };
                EngineError::Refused { status: status_code, message }
            }
            // Comes in the middle of an answer that began well; only pulls have such.
            ClientError::DockerStreamError { error } => {
                EngineError::Refused { status: 500, message: error.trim().into() }
            }
            ClientError::SocketNotFoundError(path) => EngineError::Away(format!("is away: no socket {path}")),
            ClientError::JsonDataError { message, .. } => {
                EngineError::Away(format!("gave an answer that is not understood: {message}"))
            }
            other => EngineError::Away(format!("did not answer: {}", Report(&other))),
        }
    }
}

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Refused { status, message } if is_final(*status, message) => {
                RunError::Fatal(error.to_string())
            }
            EngineError::Refused { .. } | EngineError::Away(_) => RunError::Temporary(error.to_string()),
        }
    }
}

fn silent(limit: Duration) -> EngineError {
    EngineError::Away(format!("did not answer within {limit:?}"))
}

/// Refusals that the engine sends as its own fault (status 5xx) and that are the task's.
///
/// Another node, or a changed service, may do better; the same call again will not. A task that fails is replaced
/// under its restart policy, one that is tried for ever here is not.
const FINAL_WORDS: [&str; 12] = [
    "OCI runtime",
    "port is already allocated",
    "address already in use",
    "failed programming external connectivity",
    "could not select device driver",
    "error gathering device information",
    "error while creating mount source path",
    "error while mounting volume",
    "failed to mount local volume",
    "exec format error",
    "linux spec",
    "logging driver",
];

/// Whether asking again cannot help.
fn is_final(status: u16, message: &str) -> bool {
    match status {
        400..=499 => true,
        _ => FINAL_WORDS.iter().any(|words| message.contains(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_task_is_to_blame_for_is_final() {
        #[rustfmt::skip]
        let cases = [ // status, the engine's words, whether it is of no use to try again
            (400, "invalid mount config for type \"bind\": bind source path does not exist: /x", true),
            (400, "OCI runtime create failed: exec: \"nope\": executable file not found in $PATH: unknown", true),
            (404, "No such image: nope:latest", true),
            (500, "driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:80 failed: port is already allocated", true),
            (500, "could not select device driver \"\" with capabilities: [[gpu]]", true),
            (500, "error while creating mount source path '/x': mkdir /x: read-only file system", true),
            (500, "failed to create shim: context deadline exceeded", false),
            (500, "mkdir /var/lib/docker/overlay2/1: no space left on device", false),
            (503, "", false),
        ];
        for (status, message, is_final) in cases {
            let error = RunError::from(EngineError::Refused { status, message: message.into() });
            assert_eq!(matches!(error, RunError::Fatal(_)), is_final, "{status} {message}");
        }
        let away = RunError::from(EngineError::Away("is away".into()));
        assert_eq!(away, RunError::Temporary("the Docker Engine of this node is away".into()));
    }
}
