//! A task's log as a stream: what there is, and with `follow` what comes, until the task has ended.

use std::collections::VecDeque;
use std::sync::Arc;

use common::object::TaskId;
use common::time::Timestamp;
use common::wire::logs::LogLine;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;

use super::Inner;
use super::log::format::Line;
use super::log::read::{Filter, LogReader};
use super::look::{self, Found};
use crate::runtime::{LogOptions, RunError, blocking};

pub type Lines = BoxStream<'static, Result<LogLine, RunError>>;

/// Opens the log of a task that is there.
pub async fn open(inner: Arc<Inner>, task: TaskId, options: LogOptions) -> Result<Lines, RunError> {
    let folder = inner.folder(task);
    let launch = {
        let folder = folder.clone();
        blocking(move || folder.launch().map_err(look::failed)).await?
    };
    let launch = launch.ok_or_else(|| RunError::Fatal(format!("this node has nothing of task {task}")))?;
    if launch.log.is_none() {
        return Err(RunError::Fatal("what this task writes is not kept: its log driver is 'none'".into()));
    }
    // Before the first look into the files, so that nothing written after it goes unnoticed.
    let follow = match options.follow {
        false => None,
        true => {
            let grown = inner.logs.follow(&folder.log(), &inner.tasks);
            let grown =
                grown.map_err(|error| RunError::Temporary(format!("follow a task's log: {error}")))?;
            Some(Follow { grown, news: inner.live(task).news(), until: options.until, ended: false })
        }
    };
    let LogOptions { stdout, stderr, follow: _, since, until, tail } = options;
    let filter = Filter { stdout, stderr, since, until };
    let reader = blocking(move || LogReader::open(folder.log(), filter, tail).map_err(unreadable)).await?;
    let source = Source { inner, task, reader: Some(reader), lines: VecDeque::new(), follow };
    Ok(stream::try_unfold(source, |mut source| async move {
        let Some(line) = source.next().await? else { return Ok(None) };
        let line = LogLine { task: source.task, at: line.at, stream: line.stream, data: line.data };
        Ok(Some((line, source)))
    })
    .boxed())
}

struct Source {
    inner: Arc<Inner>,
    task: TaskId,
    /// Away while a thread reads with it.
    reader: Option<LogReader>,
    lines: VecDeque<Line>,
    follow: Option<Follow>,
}

struct Follow {
    grown: watch::Receiver<u64>,
    news: watch::Receiver<u64>,
    until: Option<Timestamp>,
    /// The task has: what is read from now on is all there will be.
    ended: bool,
}

impl Source {
    async fn next(&mut self) -> Result<Option<Line>, RunError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            if let Some(follow) = &mut self.follow {
                follow.grown.borrow_and_update();
                follow.news.borrow_and_update();
            }
            let Some(mut reader) = self.reader.take() else { return Ok(None) };
            let (reader, lines) = blocking(move || {
                let lines = reader.read().map_err(unreadable)?;
                Ok((reader, lines))
            })
            .await?;
            self.lines = lines.into();
            let over = reader.is_over();
            self.reader = Some(reader);
            if self.lines.is_empty() && (over || !self.wait().await?) {
                return Ok(None);
            }
        }
    }

    /// Waits until there may be more; false when there will not be.
    async fn wait(&mut self) -> Result<bool, RunError> {
        let Some(follow) = &mut self.follow else { return Ok(false) };
        if follow.ended {
            return Ok(false);
        }
        let clock = &self.inner.clock;
        let left = follow.until.map(|until| until.since(clock.now()));
        let ended = match self.inner.look(self.task).await? {
            Found::Absent | Found::Ended(_) => true,
            Found::Prepared => false,
            Found::Running(running, launch) => {
                super::live::watch(&self.inner, self.task, &running, &launch); // it tells of the end
                false
            }
        };
        if ended || left.is_some_and(|left| left.is_zero()) {
            follow.ended = true;
            return Ok(true);
        }
        let too_late = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            grown = follow.grown.changed() => if grown.is_err() { follow.ended = true },
            news = follow.news.changed() => if news.is_err() { follow.ended = true },
            () = too_late => {}
        }
        Ok(true)
    }
}

fn unreadable(error: std::io::Error) -> RunError {
    RunError::Temporary(format!("read a task's log: {error}"))
}
