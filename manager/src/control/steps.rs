//! Carries out one step of `decide::roles` at a time, beside the control loop: a step may take as long as a
//! learner takes to answer, and nobody else waits for it.

use std::future::pending;

use common::limits::ROLE_STEP_WAIT;
use common::object::node::ManagerRecord;
use common::object::{Cluster, Node, NodeId, Role};
use common::shutdown::Tasks;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::decide::roles::Step;
use crate::forward::Forward;
use crate::store::{Change, Tables, Write};

pub struct Steps {
    forward: Forward,
    tasks: Tasks,
    running: Option<JoinHandle<bool>>,
}

impl Steps {
    pub fn new(forward: Forward, tasks: Tasks) -> Self {
        Self { forward, tasks, running: None }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins a step, decided on `snapshot`.
    pub fn begin(&mut self, step: Step, snapshot: Tables) {
        let forward = self.forward.clone();
        let token = self.tasks.token();
        self.running = Some(self.tasks.spawn(async move {
            let name = format!("{step:?}");
            let carry_out = tokio::time::timeout(ROLE_STEP_WAIT, carry_out(&forward, step, snapshot));
            let result = tokio::select! {
                result = carry_out => result.unwrap_or_else(|_| Err("not done in time".into())),
                () = token.cancelled() => Err("the lead has ended".into()),
            };
            match &result {
                Ok(()) => info!(step = name, "role step done"),
                Err(reason) => warn!(step = name, reason, "role step not done"),
            }
            result.is_ok()
        }));
    }

    /// Waits for the end of the step under way; for ever while there is none.
    pub async fn finished(&mut self) -> bool {
        match &mut self.running {
            None => pending().await,
            Some(running) => {
                let outcome = running.await.unwrap_or(false);
                self.running = None;
                outcome
            }
        }
    }

    pub async fn stop(&mut self) {
        self.tasks.stop().await;
        self.running = None;
    }
}

async fn carry_out(forward: &Forward, step: Step, snapshot: Tables) -> Result<(), String> {
    let raft = &forward.raft;
    match step {
        Step::Admit { node, addr } => {
            let cluster = snapshot.cluster().ok_or("there is no cluster yet")?;
            let mut cluster = Cluster::clone(cluster);
            let raft_id = cluster.next_raft_id;
            cluster.next_raft_id += 1;
            let mut node = stored(&snapshot, node)?;
            node.role = Role::Manager;
            node.manager = Some(ManagerRecord { raft_id, addr: addr.to_string() });
            propose(forward, vec![Change::Node(Write::update(node)), Change::Cluster(Write::update(cluster))])
                .await
        }
        Step::Dismiss { node } => {
            let mut node = stored(&snapshot, node)?;
            node.role = Role::Worker;
            let was_member = node.manager.take().is_some();
            let mut changes = vec![Change::Node(Write::update(node))];
            // Who remains seals with new keys: what a manager had, it may have kept.
            if let Some(cluster) = snapshot.cluster().filter(|_| was_member) {
                let mut cluster = Cluster::clone(cluster);
                cluster.at_rest.data_key_version += 1;
                changes.push(Change::Cluster(Write::update(cluster)));
            }
            propose(forward, changes).await
        }
        Step::Move { raft_id, node, addr } => {
            raft.update_address(raft_id, &addr).await.map_err(|error| error.to_string())?;
            let mut node = stored(&snapshot, node)?;
            node.manager = Some(ManagerRecord { raft_id, addr });
            propose(forward, vec![Change::Node(Write::update(node))]).await
        }
        Step::AddLearner { raft_id, node, addr } => {
            raft.add_learner(raft_id, node, &addr).await.map_err(|error| error.to_string())
        }
        Step::AddVoter { raft_id } => raft.add_voter(raft_id).await.map_err(|error| error.to_string()),
        Step::Remove { raft_id } => raft.remove(raft_id).await.map_err(|error| error.to_string()),
        Step::HandOver { to } => raft.transfer_leadership(to).await.map_err(|error| error.to_string()),
    }
}

fn stored(snapshot: &Tables, node: NodeId) -> Result<Node, String> {
    snapshot.nodes.get(node).map(|node| Node::clone(node)).ok_or_else(|| format!("node {node} is gone"))
}

async fn propose(forward: &Forward, changes: Vec<Change>) -> Result<(), String> {
    forward.propose(changes).await.map(drop).map_err(|error| error.to_string())
}
