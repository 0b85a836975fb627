//! The mesh: names, and connections to published ports, from any node to a task that serves, here or elsewhere.
//!
//! ```text
//! client ── port of any node ── listen ── connect ──┬── serve::dial ──▶ task here
//!                                                   └── stream ──▶ serve on the task's node ── dial ──▶ task
//! ```
//!
//! - `table`: PURE: what this node knows of services and their tasks; which task is next.
//! - `listen`: the published ports. `holder`: who else has one. `connect`: finds a task that takes the connection.
//! - `serve`: the task's own node: whether it may be dialled, and its word before the first byte.
//! - `proxy`: tells the task whose connection it is, where its service asks for that.
//! - `carry`, `udp`: bytes and datagrams both ways. `gate`: tasks that are to stop get no more, and finish what they have.
//! - `names`: PURE: what a task is told when it asks for a name. `dns`: the server that tells it.
//!
//! A task's node says yes or no before anything is sent, so whoever has old news only tries once more. Nothing here
//! asks a manager: what is known stays, and gossip tells which nodes are dead.

mod carry;
mod connect;
pub mod dns;
pub mod gate;
mod holder;
mod listen;
pub mod names;
mod proxy;
mod serve;
pub mod table;
mod udp;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use common::limits::{MESH_CONNECTIONS_MAX, MESH_DIALS_MAX, MESH_SERVED_MAX};
use common::object::ports::Protocol;
use common::object::{NodeId, TaskId};
use common::random::Random;
use common::shutdown::Tasks;
use common::transport::{Peer, Stream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use self::table::Table;
use crate::agent::AgentHandle;
use crate::session::Opener;

/// Where another node is, and whether it is said to be alive; none where nobody knows it.
pub type Finder = Arc<dyn Fn(NodeId) -> Option<(Peer, bool)> + Send + Sync>;

/// What a mesh is started with.
pub struct MeshSettings {
    pub node: NodeId,
    pub agent: AgentHandle,
    pub open: Opener,
    pub find: Finder,
    /// Told of a node that did not answer in time.
    pub suspect: Arc<dyn Fn(NodeId) + Send + Sync>,
    /// Where published ports are listened on; none: everywhere.
    pub listen: Option<IpAddr>,
    pub random: Box<dyn Random>,
    pub tasks: Tasks,
}

/// This node's part of the mesh. Clones are the same.
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    node: NodeId,
    agent: AgentHandle,
    open: Opener,
    find: Finder,
    suspect: Arc<dyn Fn(NodeId) + Send + Sync>,
    listen: Option<IpAddr>,
    random: Mutex<Box<dyn Random>>,
    tasks: Tasks,
    table: watch::Receiver<Arc<Table>>,
    /// Connections to each task that began here.
    busy: Mutex<BTreeMap<TaskId, usize>>,
    /// Nodes that did not answer a moment ago, and until when that counts.
    doubts: Mutex<BTreeMap<NodeId, Instant>>,
    carried: Arc<Semaphore>,
    dials: Semaphore,
    served: Semaphore,
    /// Published ports that this node does not listen on, and why.
    problems: Mutex<BTreeMap<(Protocol, u16), String>>,
}

impl Mesh {
    pub fn start(settings: MeshSettings) -> Self {
        let MeshSettings { node, agent, open, find, suspect, listen, random, tasks } = settings;
        let table = agent.mesh();
        let inner = Arc::new(Inner {
            node,
            agent,
            open,
            find,
            suspect,
            listen,
            random: Mutex::new(random),
            tasks: tasks.child(),
            table,
            busy: Mutex::default(),
            doubts: Mutex::default(),
            carried: Arc::new(Semaphore::new(MESH_CONNECTIONS_MAX)),
            dials: Semaphore::new(MESH_DIALS_MAX),
            served: Semaphore::new(MESH_SERVED_MAX),
            problems: Mutex::default(),
        });
        inner.tasks.spawn_until_stopped(listen::keep(inner.clone()));
        Self(inner)
    }

    /// Serves a connection that another node brings, to its end.
    pub async fn serve(&self, stream: Stream) {
        serve::serve(&self.0, stream).await;
    }

    /// What people should know: published ports that lead nowhere on this node.
    pub fn problems(&self) -> Vec<String> {
        self.0.problems.lock().expect("no holder panics").values().cloned().collect()
    }

    /// Closes all ports, and all connections.
    pub async fn stop(&self) {
        self.0.tasks.stop().await;
    }
}

impl Inner {
    fn set_problem(&self, (protocol, port): (Protocol, u16), problem: Option<String>) {
        let mut problems = self.problems.lock().expect("no holder panics");
        let before = problems.remove(&(protocol, port));
        match problem {
            Some(problem) => {
                if before.as_ref() != Some(&problem) {
                    warn!(port, %protocol, problem, "cannot listen on a published port");
                }
                problems.insert((protocol, port), problem);
            }
            None if before.is_some() => info!(port, %protocol, "listening on a published port again"),
            None => {}
        }
    }
}

#[cfg(test)]
#[path = "mesh_test.rs"]
mod tests;
