//! Finds a task that takes a connection: one after the other, until one does or the time is up.
//!
//! Of two tasks taken by chance the less busy one is tried first, those on nodes that are said to be dead last. When
//! all were tried, it begins anew after a moment or with the next news: an update may be between two tasks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use common::limits::{
    MESH_ANSWER_BYTES_MAX, MESH_ANSWER_WAIT, MESH_DOUBT_TIME, MESH_ENDPOINT_WAIT, MESH_ROUND_PAUSE_MAX,
    MESH_ROUND_PAUSE_MIN,
};
use common::object::{NodeId, TaskId};
use common::report::Report;
use common::transport::{Stream, StreamKind};
use common::wire::frame::{FrameError, expect_message, write_message};
use common::wire::mesh::{MeshAnswer, MeshEndpoint, MeshRequest};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::Inner;
use super::serve::{self, Dialled};
use super::table::{Chance, Way};

/// A task that took the connection.
pub struct Outlet {
    pub end: End,
    /// Held while the connection lasts.
    pub busy: Busy,
}

pub enum End {
    Here(Dialled),
    /// On another node, through this stream.
    There(Stream),
}

/// One connection to a task, as far as this node's choice among tasks is concerned.
pub struct Busy {
    inner: Arc<Inner>,
    task: TaskId,
}

impl Busy {
    fn new(inner: &Arc<Inner>, task: TaskId) -> Self {
        *inner.busy.lock().expect("no holder panics").entry(task).or_default() += 1;
        Self { inner: inner.clone(), task }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.inner.busy.lock().expect("no holder panics");
        if let Some(count) = busy.get_mut(&self.task) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.task);
            }
        }
    }
}

impl Inner {
    /// None when nobody took it in time, or the service is not published any more.
    pub(super) async fn connect(self: &Arc<Self>, way: Way, client: SocketAddr) -> Option<Outlet> {
        let deadline = Instant::now() + MESH_ENDPOINT_WAIT;
        let mut news = self.table.clone();
        let mut pause = MESH_ROUND_PAUSE_MIN;
        loop {
            let mut tried = BTreeSet::new();
            news.mark_unchanged();
            {
                let _turn = timeout_at(deadline, self.dials.acquire()).await.ok()?;
                while let Some(endpoint) = self.next(way, &tried) {
                    tried.insert(endpoint.task);
                    let busy = Busy::new(self, endpoint.task);
                    match self.ask(&endpoint, way, client).await {
                        Ok(end) => return Some(Outlet { end, busy }),
                        Err(reason) => {
                            debug!(task.id = %endpoint.task, node.id = %endpoint.node, reason, "a task took no connection")
                        }
                    }
                    if Instant::now() >= deadline {
                        return None;
                    }
                }
            }
            self.table.borrow().service(way.service)?;
            let next_round = (Instant::now() + pause).min(deadline);
            pause = (pause * 2).min(MESH_ROUND_PAUSE_MAX);
            if let Ok(Err(_)) = timeout_at(next_round, news.changed()).await {
                return None; // the agent has stopped
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }

    fn next(&self, way: Way, tried: &BTreeSet<TaskId>) -> Option<MeshEndpoint> {
        let table = self.table.borrow().clone();
        let busy = self.busy.lock().expect("no holder panics");
        let mut random = self.random.lock().expect("no holder panics");
        let busy = |task: TaskId| busy.get(&task).copied().unwrap_or_default();
        let chance = |node: NodeId| self.chance(node);
        table.pick(way.service, tried, chance, busy, || random.next_u64()).cloned()
    }

    fn chance(&self, node: NodeId) -> Chance {
        let is_good = node == self.node
            || (!self.is_doubted(node) && (self.find)(node).is_some_and(|(_, is_alive)| is_alive));
        if is_good { Chance::Good } else { Chance::Slim }
    }

    fn is_doubted(&self, node: NodeId) -> bool {
        let doubts = self.doubts.lock().expect("no holder panics");
        doubts.get(&node).is_some_and(|until| Instant::now() < *until)
    }

    async fn ask(&self, endpoint: &MeshEndpoint, way: Way, client: SocketAddr) -> Result<End, String> {
        let Way { service, target, protocol } = way;
        let request = MeshRequest { service, task: endpoint.task, target, protocol, client };
        if endpoint.node == self.node {
            return serve::dial(&self.agent, &request).await.map(End::Here);
        }
        let (peer, _) = (self.find)(endpoint.node).ok_or("nobody knows where its node is")?;
        let asking = async {
            let stream = (self.open)(peer, StreamKind::Mesh).await.map_err(|error| error.to_string())?;
            exchange(stream, &request).await.map_err(|error| Report(&error).to_string())?
        };
        let asked = timeout(MESH_ANSWER_WAIT, asking).await;
        let mut doubts = self.doubts.lock().expect("no holder panics");
        match asked {
            Ok(answer) => {
                doubts.remove(&endpoint.node);
                answer.map(End::There)
            }
            Err(_) => {
                doubts.insert(endpoint.node, Instant::now() + MESH_DOUBT_TIME);
                drop(doubts);
                (self.suspect)(endpoint.node);
                Err("its node did not answer in time".into())
            }
        }
    }
}

/// Asks for the task, and hears whether it takes the connection.
async fn exchange(mut stream: Stream, request: &MeshRequest) -> Result<Result<Stream, String>, FrameError> {
    write_message(&mut stream.send, request).await?;
    Ok(match expect_message(&mut stream.recv, MESH_ANSWER_BYTES_MAX).await? {
        MeshAnswer::Open => Ok(stream),
        MeshAnswer::Refused { reason } => Err(reason),
    })
}
