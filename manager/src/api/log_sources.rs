//! Log streams from several nodes, made one: each line in the order of its time, as well as can be told.
//!
//! A line waits for the other nodes' next ones, for a while: a node that says nothing for longer is not waited for
//! until it speaks. Nothing is held back but one line and a small queue per node, so a client that reads slowly
//! slows the nodes down and fills nobody's memory.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::limits::{
    LOG_LINES_WAITING_MAX, LOG_MERGE_WAIT, LOG_MESSAGE_BYTES_MAX, LOG_OPEN_WAIT, LOG_RETRY, LOG_SILENCE_MAX,
};
use common::object::{NodeId, TaskId};
use common::report::Report;
use common::shutdown::Tasks;
use common::time::Timestamp;
use common::wire::frame::read_message;
use common::wire::logs::{LogLine, LogMessage, LogRequest};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tracing::debug;

use super::host::Control;

/// A message, and what is around its bytes.
const LOG_FRAME_BYTES_MAX: usize = LOG_MESSAGE_BYTES_MAX + (1 << 10);

/// What comes of one node.
enum Item {
    Line(LogLine),
    /// Some of what was asked for does not come.
    Missing(String),
}

struct Source {
    node: NodeId,
    items: mpsc::Receiver<Item>,
    head: Option<LogLine>,
    /// It has not spoken for so long that nobody waits for it.
    late: bool,
    ended: bool,
}

/// What the merged streams have next.
pub(super) enum Next {
    Line(NodeId, LogLine),
    /// Everything asked for so far was sent.
    Ended,
}

pub(super) struct Sources {
    sources: Vec<Source>,
    follow: bool,
    /// Ends when nobody who is silent now is to be waited for any longer.
    patience: Option<Pin<Box<Sleep>>>,
    /// Why the log is not whole.
    pub missing: Vec<String>,
}

impl Sources {
    pub fn new(follow: bool) -> Self {
        Self { sources: Vec::new(), follow, patience: None, missing: Vec::new() }
    }

    /// Asks one more node.
    pub fn add(&mut self, node: NodeId, request: LogRequest, control: Arc<dyn Control>, tasks: &Tasks) {
        let (sender, items) = mpsc::channel(LOG_LINES_WAITING_MAX);
        tasks.spawn_until_stopped(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = read(node, request, &*control, &sender) => {}
            }
        });
        self.sources.push(Source { node, items, head: None, late: false, ended: false });
    }

    /// Whether a line can be had without waiting.
    pub fn has_line(&mut self) -> bool {
        self.refill();
        self.sources.iter().all(|source| source.head.is_some() || source.ended || source.late)
            && self.earliest().is_some()
    }

    /// The next line. May be dropped while it waits: nothing is lost by that.
    pub async fn next(&mut self) -> Next {
        loop {
            self.refill();
            let waits_for = |source: &Source| source.head.is_none() && !source.ended && !source.late;
            if !self.sources.iter().any(waits_for)
                && let Some(index) = self.earliest()
            {
                let source = &mut self.sources[index];
                let line = source.head.take().expect("it is the earliest");
                self.patience = None;
                return Next::Line(source.node, line);
            }
            self.sources.retain(|source| !source.ended);
            if self.sources.is_empty() {
                return Next::Ended;
            }
            let has_lines = self.earliest().is_some();
            if !self.follow || has_lines {
                let wait = if self.follow { LOG_MERGE_WAIT } else { LOG_SILENCE_MAX };
                // Kept over calls: what else happens meanwhile makes nobody wait longer.
                self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            }
            if !self.arrived().await {
                self.lose_patience(has_lines);
            }
        }
    }

    /// Nobody who is silent now is waited for; those who have kept all of us waiting are given up.
    fn lose_patience(&mut self, has_lines: bool) {
        for source in self.sources.iter_mut().filter(|source| source.head.is_none()) {
            if !has_lines && !self.follow {
                self.missing.push(format!("node {} did not answer in time", source.node));
                source.ended = true;
            }
            source.late = true;
        }
    }

    /// Takes what has arrived.
    fn refill(&mut self) {
        for source in self.sources.iter_mut() {
            while source.head.is_none() && !source.ended {
                match source.items.try_recv() {
                    Ok(item) => source.take(item, &mut self.missing),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => source.ended = true,
                }
            }
        }
    }

    /// Waits until one of those without a line has one, or ends; false when that took too long.
    async fn arrived(&mut self) -> bool {
        let Self { sources, missing, patience, .. } = self;
        let arrived = poll_fn(|context| {
            let mut arrived = false;
            for source in sources.iter_mut().filter(|source| source.head.is_none() && !source.ended) {
                match source.items.poll_recv(context) {
                    Poll::Ready(Some(item)) => source.take(item, missing),
                    Poll::Ready(None) => source.ended = true,
                    Poll::Pending => continue,
                }
                arrived = true;
            }
            let impatient =
                patience.as_mut().is_some_and(|patience| patience.as_mut().poll(context).is_ready());
            if arrived || impatient { Poll::Ready(arrived) } else { Poll::Pending }
        })
        .await;
        self.patience = None;
        arrived
    }

    fn earliest(&self) -> Option<usize> {
        let heads = self.sources.iter().enumerate();
        let heads = heads.filter_map(|(index, source)| Some((source.head.as_ref()?.at, index)));
        heads.min().map(|(_, index)| index)
    }
}

impl Source {
    fn take(&mut self, item: Item, missing: &mut Vec<String>) {
        self.late = false;
        match item {
            Item::Line(line) => self.head = Some(line),
            Item::Missing(reason) => missing.push(reason),
        }
    }
}

/// Reads one node's stream to its end; one that breaks off while it is followed is opened again, as long as there
/// is somebody there who may write.
async fn read(node: NodeId, mut request: LogRequest, control: &dyn Control, items: &mpsc::Sender<Item>) {
    loop {
        let broken = match read_once(node, &mut request, control, items).await {
            Ok(()) => return,
            Err(reason) => reason,
        };
        let tables = control.store().snapshot();
        let may_write =
            |task: &TaskId| tables.tasks.get(*task).is_some_and(|task| !task.status.state.is_final());
        request.tasks.retain(may_write);
        if !request.follow || request.tasks.is_empty() {
            let _ = items.send(Item::Missing(broken)).await;
            return;
        }
        tokio::time::sleep(LOG_RETRY).await;
    }
}

/// Why it ended before it was over, in words; `request` becomes what is left to ask for.
async fn read_once(
    node: NodeId,
    request: &mut LogRequest,
    control: &dyn Control,
    items: &mpsc::Sender<Item>,
) -> Result<(), String> {
    let not_there = || format!("node {node} is not available");
    let opening = tokio::time::timeout(LOG_OPEN_WAIT, control.open_logs(node, request.clone()));
    let mut stream = match opening.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(error = %Report(&error), "log stream not opened");
            return Err(not_there());
        }
        Err(_) => return Err(not_there()),
    };
    loop {
        match read_message::<LogMessage>(&mut stream.recv, LOG_FRAME_BYTES_MAX).await {
            Ok(Some(LogMessage::Line(line))) => {
                // Asked again, only what is newer is wanted.
                request.since = Some(line.at.plus(Duration::from_nanos(1)).max(since(request)));
                request.tail = None;
                if items.send(Item::Line(line)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(Some(LogMessage::Ended { task, error })) => {
                request.tasks.retain(|asked| *asked != task);
                let Some(error) = error else { continue };
                if items.send(Item::Missing(format!("task {task}: {error}"))).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) if request.tasks.is_empty() => return Ok(()),
            // It ends before it has said of each task that it has.
            Ok(None) => return Err(format!("node {node} disconnected unexpectedly")),
            Err(error) => {
                debug!(%node, error = %Report(&error), "log stream broke off");
                return Err(format!("node {node} disconnected unexpectedly"));
            }
        }
    }
}

fn since(request: &LogRequest) -> Timestamp {
    request.since.unwrap_or_default()
}

#[cfg(test)]
#[path = "log_sources_test.rs"]
mod tests;
