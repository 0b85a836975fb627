//! Log streams: what tasks of this node wrote, in order of time, to the manager that asks.
//!
//! At most one line per task waits in memory, however slowly the reader reads. Tasks that have not started are waited
//! for where the reader follows.

use std::collections::BTreeMap;
use std::pin::pin;

use common::limits::{LOG_MESSAGE_BYTES_MAX, LOG_REQUEST_BYTES_MAX, LOG_REQUEST_WAIT};
use common::object::{TaskId, TaskState};
use common::time::Timestamp;
use common::transport::Stream;
use common::wire::frame::{FrameError, read_message, write_message};
use common::wire::logs::{LogLine, LogMessage, LogRequest};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::debug;

use crate::agent::AgentHandle;
use crate::runtime::{LogOptions, RunError};

type Lines = BoxStream<'static, Result<LogLine, RunError>>;

/// What came next of one task.
enum Next {
    Line(LogLine, Lines),
    Ended(Option<String>),
}

/// Reads one request from the stream and answers it to its end.
pub(crate) async fn serve(agent: &AgentHandle, stream: Stream) {
    let Ok(_slot) = agent.shared.log_streams.try_acquire() else {
        return debug!("too many log streams"); // the stream ends at once; the asker says so
    };
    let Stream { mut send, mut recv } = stream;
    let request = read_message::<LogRequest>(&mut recv, LOG_REQUEST_BYTES_MAX);
    let request = match tokio::time::timeout(LOG_REQUEST_WAIT, request).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) | Err(_) => return debug!("no request on a log stream"),
        Ok(Err(error)) => return debug!(%error, "no request on a log stream"),
    };
    let follow = request.follow;
    let sent = async {
        answer(agent, request, &mut send).await?;
        send.shutdown().await?;
        Ok::<(), FrameError>(())
    };
    tokio::select! {
        sent = sent => {
            if let Err(error) = sent {
                debug!(%error, "a log stream ended early");
            }
        }
        () = closed(&mut recv), if follow => debug!("whoever followed logs has gone"),
    }
}

/// Returns when the far end has ended its side.
async fn closed(recv: &mut (impl AsyncRead + Unpin)) {
    let mut ignored = [0; 64];
    while matches!(recv.read(&mut ignored).await, Ok(read) if read > 0) {}
}

async fn answer(
    agent: &AgentHandle,
    request: LogRequest,
    send: &mut (impl AsyncWrite + Unpin),
) -> Result<(), FrameError> {
    let mut tasks = request.tasks.clone();
    tasks.sort_unstable();
    tasks.dedup();
    let mut waiting: FuturesUnordered<BoxFuture<'_, (TaskId, Next)>> = FuturesUnordered::new();
    for task in tasks {
        let request = &request;
        waiting.push(Box::pin(async move { (task, first(agent, task, request).await) }));
    }
    // The next line of each task that has one, oldest first.
    let mut heads: BTreeMap<(Timestamp, TaskId), (LogLine, Lines)> = BTreeMap::new();
    loop {
        // Without follow, each task shows its next line before the oldest of all goes. With it, whoever is silent
        // holds up nobody.
        let next = if !waiting.is_empty() && (heads.is_empty() || !request.follow) {
            waiting.next().await
        } else {
            let mut ready = pin!(waiting.next());
            futures_util::future::poll_immediate(&mut ready).await.flatten()
        };
        match next {
            Some((task, Next::Ended(error))) => {
                write_message(send, &LogMessage::Ended { task, error }).await?;
            }
            Some((task, Next::Line(line, lines))) => drop(heads.insert((line.at, task), (line, lines))),
            None => match heads.pop_first() {
                None => return Ok(()),
                Some(((_, task), (line, lines))) => {
                    write_line(send, line).await?;
                    waiting.push(Box::pin(async move { (task, follow_up(lines).await) }));
                }
            },
        }
    }
}

async fn first(agent: &AgentHandle, task: TaskId, request: &LogRequest) -> Next {
    let (Some(mut status), Some(runtime)) = (agent.watch(task), agent.runtime_of(task)) else {
        return Next::Ended(Some(format!("task {task} is not on this node")));
    };
    if status.borrow().state < TaskState::Starting {
        if !request.follow {
            return Next::Ended(None);
        }
        let started = status.wait_for(|status| status.state >= TaskState::Starting).await;
        match started.map(|status| (status.state, status.container.is_some())) {
            // It never came to run, and has written nothing.
            Ok((state, false)) if state.is_final() => return Next::Ended(None),
            Ok(_) => {}
            Err(_) => return Next::Ended(Some(format!("task {task} was removed from this node"))),
        }
    }
    let options = LogOptions {
        stdout: request.stdout,
        stderr: request.stderr,
        follow: request.follow,
        since: request.since,
        until: request.until,
        tail: request.tail,
    };
    match runtime.logs(task, options).await {
        Ok(lines) => follow_up(lines).await,
        Err(error) => Next::Ended(Some(error.to_string())),
    }
}

async fn follow_up(mut lines: Lines) -> Next {
    match lines.next().await {
        Some(Ok(line)) => Next::Line(line, lines),
        Some(Err(error)) => Next::Ended(Some(error.to_string())),
        None => Next::Ended(None),
    }
}

/// Writes a line, in several messages where it is long.
async fn write_line(send: &mut (impl AsyncWrite + Unpin), line: LogLine) -> Result<(), FrameError> {
    let LogLine { task, at, stream, data } = line;
    if data.len() <= LOG_MESSAGE_BYTES_MAX {
        return write_message(send, &LogMessage::Line(LogLine { task, at, stream, data })).await;
    }
    for part in data.chunks(LOG_MESSAGE_BYTES_MAX) {
        let part = LogLine { task, at, stream, data: part.to_vec() };
        write_message(send, &LogMessage::Line(part)).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "logs_test.rs"]
mod tests;
