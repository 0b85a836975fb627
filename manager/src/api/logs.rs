//! `/services/{name}/logs` and `/tasks/{name}/logs`: what tasks wrote, from all their nodes, as one stream.
//!
//! The manager that is asked asks the nodes itself. With `follow`, tasks that are placed later join in, and what
//! replaces a task is followed like it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::object::{NodeId, ServiceId, Task, TaskId, Version};
use common::shutdown::Tasks;
use common::wire::logs::LogRequest;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::exchange::{self, Answer, Call, Piece};
use super::host::Control;
use super::log_lines::{Origin, Style, tail, write_incomplete, write_line};
use super::log_sources::{Next, Sources};
use super::lookup;
use super::moment::{parse_log_end, parse_moment};
use super::route::Edge;
use super::target::Query;
use super::view::View;
use crate::store::{Changed, Tables};

/// Sent at once, where lines come fast.
const PIECE_BYTES: usize = 16 << 10;

pub(super) async fn of_service(edge: &Edge, call: &Call, name: &str) -> Answer {
    let request = request(&call.query)?;
    let view = View::of(&*edge.host, &call.query).await?;
    let service = lookup::service(&view.tables, name)?;
    let raw = service.spec().task.container.tty;
    answer(edge, call, view, Subject { service: service.id, task: None }, request, raw)
}

pub(super) async fn of_task(edge: &Edge, call: &Call, name: &str) -> Answer {
    let request = request(&call.query)?;
    let view = View::of(&*edge.host, &call.query).await?;
    let task = lookup::task(&view.tables, name)?;
    let service = view.tables.services.get(task.service);
    let raw =
        service.and_then(|service| service.spec_at(task.spec)).is_some_and(|spec| spec.task.container.tty);
    answer(edge, call, view, Subject { service: task.service, task: Some(task.id) }, request, raw)
}

/// Whose logs are asked for: one task's, or those of all tasks of a service.
#[derive(Clone, Copy)]
struct Subject {
    service: ServiceId,
    task: Option<TaskId>,
}

impl Subject {
    fn includes(&self, task: &Task) -> bool {
        task.service == self.service && self.task.is_none_or(|id| task.id == id)
    }
}

/// What is asked of each node, but for its tasks.
fn request(query: &Query) -> Result<LogRequest, ApiError> {
    let request = LogRequest {
        tasks: Vec::new(),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        follow: query.flag("follow"),
        since: parse_moment("since", query.get("since"))?,
        until: parse_log_end(query.get("until"))?,
        tail: tail(query)?,
    };
    if !request.stdout && !request.stderr {
        return Err(ApiError::invalid("must specify at least one of 'stdout' or 'stderr'"));
    }
    Ok(request)
}

fn answer(edge: &Edge, call: &Call, view: View, subject: Subject, request: LogRequest, raw: bool) -> Answer {
    let style = Style { timestamps: call.query.flag("timestamps"), details: call.query.flag("details"), raw };
    let content_type =
        if raw { "application/vnd.docker.raw-stream" } else { "application/vnd.docker.multiplexed-stream" };
    let (pieces, response) = exchange::endless(content_type);
    let log = Log {
        subject,
        style,
        version: view.tables.version,
        sources: Sources::new(request.follow),
        request,
        asked: BTreeSet::new(),
        gone: false,
        control: view.control.clone(),
        tasks: edge.tasks.clone(),
    };
    let tables = view.tables.clone();
    edge.tasks.spawn_until_stopped(async move {
        tokio::select! {
            () = pieces.closed() => {}
            () = log.run(&tables, &pieces) => {}
        }
    });
    Ok(view.mark(response))
}

struct Log {
    subject: Subject,
    style: Style,
    request: LogRequest,
    sources: Sources,
    /// Tasks whose nodes were asked.
    asked: BTreeSet<TaskId>,
    /// The service was removed: no task follows.
    gone: bool,
    /// How far the feed was read.
    version: Version,
    control: Arc<dyn Control>,
    tasks: Tasks,
}

impl Log {
    async fn run(mut self, tables: &Tables, pieces: &mpsc::Sender<Piece>) {
        let subject = self.subject;
        let tasks: Vec<Arc<Task>> =
            tables.tasks_of_service(subject.service).filter(|task| subject.includes(task)).cloned().collect();
        if !self.request.follow {
            for task in tasks.iter().filter(|task| task.node.is_none() && task.is_wanted()) {
                self.sources.missing.push(format!("task {} has not been scheduled", task.id));
            }
        }
        self.ask(tasks);
        // What was asked for at first is asked for as it was; of tasks that come later everything is new.
        self.request.tail = None;
        let control = self.control.clone();
        let mut piece = Vec::new();
        loop {
            let waits = !self.sources.has_line() || piece.len() >= PIECE_BYTES;
            if waits && !piece.is_empty() && pieces.send(Ok(std::mem::take(&mut piece).into())).await.is_err()
            {
                return;
            }
            let follows = self.request.follow && self.may_go_on();
            let version = self.version;
            tokio::select! {
                biased;
                next = self.sources.next() => match next {
                    Next::Line(node, line) => {
                        let origin = Origin { node, service: subject.service };
                        write_line(&mut piece, self.style, origin, &line);
                    }
                    Next::Ended if follows => match control.store().feed().after(version).await {
                        Ok((changes, next)) => self.follow(changes, next),
                        Err(_) => self.look_anew(),
                    },
                    Next::Ended => break,
                },
                changes = control.store().feed().after(version), if follows => match changes {
                    Ok((changes, next)) => self.follow(changes, next),
                    Err(_) => self.look_anew(),
                },
            }
        }
        write_incomplete(&mut piece, self.style, &self.sources.missing);
        if !piece.is_empty() {
            let _ = pieces.send(Ok(piece.into())).await;
        }
    }

    /// Whether more may come of tasks that were not asked yet.
    fn may_go_on(&self) -> bool {
        match self.subject.task {
            Some(task) => !self.asked.contains(&task) && !self.gone,
            None => !self.gone,
        }
    }

    fn follow(&mut self, changes: Vec<Changed>, next: Version) {
        self.version = next;
        let mut placed = Vec::new();
        for changed in changes {
            match changed {
                Changed::Task { after: Some(task), .. } if self.subject.includes(&task) => placed.push(task),
                Changed::Task { before: Some(task), after: None } if self.subject.task == Some(task.id) => {
                    self.gone = true;
                }
                Changed::Service { before: Some(service), after } if service.id == self.subject.service => {
                    self.gone |= after.is_none_or(|service| service.removed);
                }
                Changed::Cluster { .. }
                | Changed::Node { .. }
                | Changed::Service { .. }
                | Changed::Task { .. }
                | Changed::Payload { .. }
                | Changed::Network { .. } => {}
            }
        }
        self.ask(placed);
    }

    /// Changes were missed: looks at everything.
    fn look_anew(&mut self) {
        let tables = self.control.store().snapshot();
        self.version = tables.version;
        self.gone = tables.services.get(self.subject.service).is_none_or(|service| service.removed);
        let subject = self.subject;
        let tasks = tables.tasks_of_service(subject.service).filter(|task| subject.includes(task));
        self.ask(tasks.cloned().collect());
    }

    /// Asks each node for its tasks among these, those that were not asked for yet.
    fn ask(&mut self, tasks: Vec<Arc<Task>>) {
        let mut by_node: BTreeMap<NodeId, Vec<TaskId>> = BTreeMap::new();
        for task in tasks {
            if let Some(node) = task.node
                && self.asked.insert(task.id)
            {
                by_node.entry(node).or_default().push(task.id);
            }
        }
        for (node, tasks) in by_node {
            let request = LogRequest { tasks, ..self.request.clone() };
            self.sources.add(node, request, self.control.clone(), &self.tasks);
        }
    }
}
