//! A cluster of real daemons: made, watched and asked as one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use common::engine_api::swarm::{InitRequest, JoinRequest};
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::Client;
use crate::node::{Node, NodeOptions};
use crate::wait::wait_until;

/// Clusters at work at once in one test program: more would measure the machine, not the program.
const CLUSTERS_MAX: usize = 2;
/// For what takes a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub nodes: Vec<Node>,
    /// `None` for a node that has not joined.
    ids: Vec<Option<String>>,
    /// Those that made the cluster or joined as managers.
    managers: std::collections::BTreeSet<usize>,
    turn: Arc<OwnedSemaphorePermit>,
}

impl Cluster {
    /// Managers first, then workers; all are ready when this returns.
    pub async fn new(managers: usize, workers: usize) -> anyhow::Result<Cluster> {
        Self::with_options(managers, options(managers, workers)).await
    }

    /// The first `managers` of these nodes become managers.
    pub async fn with_options(managers: usize, options: Vec<NodeOptions>) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::of_strangers(options).await?;
        cluster.init(0).await?;
        for index in 1..cluster.nodes.len() {
            cluster.join(index, if index < managers { "manager" } else { "worker" }).await?;
        }
        cluster.all_ready(SOON).await?;
        Ok(cluster)
    }

    /// Daemons that run, and belong to no cluster yet. Waits for its turn on this machine.
    pub async fn of_strangers(options: Vec<NodeOptions>) -> anyhow::Result<Cluster> {
        static TURNS: OnceLock<Arc<Semaphore>> = OnceLock::new();
        let turns = TURNS.get_or_init(|| Arc::new(Semaphore::new(CLUSTERS_MAX))).clone();
        let turn = Arc::new(turns.acquire_owned().await.expect("it is never closed"));
        Self::start(options, turn).await
    }

    /// A second cluster of the same test, in the same turn.
    pub async fn beside(&self, options: Vec<NodeOptions>) -> anyhow::Result<Cluster> {
        Self::start(options, self.turn.clone()).await
    }

    async fn start(options: Vec<NodeOptions>, turn: Arc<OwnedSemaphorePermit>) -> anyhow::Result<Cluster> {
        let ids = vec![None; options.len()];
        let nodes =
            join_all(options.into_iter().map(Node::start)).await.into_iter().collect::<Result<_, _>>()?;
        Ok(Cluster { nodes, ids, managers: Default::default(), turn })
    }

    /// Starts one more daemon, which belongs to no cluster yet; gives its index.
    pub async fn add(&mut self, options: NodeOptions) -> anyhow::Result<usize> {
        self.nodes.push(Node::start(options).await?);
        self.ids.push(None);
        Ok(self.nodes.len() - 1)
    }

    pub async fn init(&mut self, index: usize) -> anyhow::Result<()> {
        let (listen_addr, advertise_addr) = self.nodes[index].listen_and_advertise();
        let request = InitRequest { listen_addr, advertise_addr, ..InitRequest::default() };
        self.init_with(index, &request).await
    }

    pub async fn init_with(&mut self, index: usize, request: &InitRequest) -> anyhow::Result<()> {
        let id = self.client(index).init(request).await.context("init")?;
        self.ids[index] = Some(id);
        self.managers.insert(index);
        Ok(())
    }

    /// Whether a node came as a manager.
    pub fn is_manager(&self, index: usize) -> bool {
        self.managers.contains(&index)
    }

    /// Joins a node as `manager` or `worker` through the first manager that is a member.
    pub async fn join(&mut self, index: usize, role: &str) -> anyhow::Result<()> {
        let via = self.first_member()?;
        let tokens = self.client(via).swarm().await?.join_tokens.context("a manager shows tokens")?;
        let token = if role == "manager" { tokens.manager } else { tokens.worker };
        self.join_with(index, via, &token).await.with_context(|| format!("join as {role}"))?;
        if role == "manager" {
            self.managers.insert(index);
        }
        Ok(())
    }

    /// Joins a node through another one with this token.
    pub async fn join_with(&mut self, index: usize, via: usize, token: &str) -> anyhow::Result<()> {
        let (listen_addr, advertise_addr) = self.nodes[index].listen_and_advertise();
        let request = JoinRequest {
            listen_addr,
            advertise_addr,
            remote_addrs: vec![self.nodes[via].addr().to_string()],
            join_token: token.into(),
            ..JoinRequest::default()
        };
        self.client(index).join(&request).await?;
        self.ids[index] = Some(self.client(index).info().await?.node_id);
        Ok(())
    }

    fn first_member(&self) -> anyhow::Result<usize> {
        let members =
            self.ids.iter().zip(&self.nodes).position(|(id, node)| id.is_some() && node.is_running());
        members.context("no running node is a member")
    }

    pub fn client(&self, index: usize) -> Client {
        self.nodes[index].client()
    }

    pub fn id(&self, index: usize) -> &str {
        self.ids[index].as_deref().unwrap_or("(not joined)")
    }

    /// Forgets a node that left, so that it can join again as another.
    pub fn forget(&mut self, index: usize) {
        self.ids[index] = None;
    }

    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|own| own.as_deref() == Some(id))
    }

    /// Waits until every member whose process runs is ready and some manager leads, as all running managers see it.
    pub async fn all_ready(&self, deadline: Duration) -> anyhow::Result<()> {
        let expected = self.running_members();
        self.wait_until(&format!("{} ready nodes", expected.len()), deadline, async || {
            let leader = self.leader_seen().await?;
            let nodes = self.client(leader).nodes().await.map_err(|error| format!("{error:#}"))?;
            let waiting: Vec<&str> = expected
                .iter()
                .map(|index| self.id(*index))
                .filter(|id| !nodes.iter().any(|node| node.id == *id && node.status.state == "ready"))
                .collect();
            if waiting.is_empty() { Ok(()) } else { Err(format!("not ready: {waiting:?}")) }
        })
        .await
    }

    /// Waits until a node is in this state, as the first manager that answers sees it.
    pub async fn node_state(&self, index: usize, state: &str, deadline: Duration) -> anyhow::Result<()> {
        let what = format!("{} is {state}", self.nodes[index].name());
        self.wait_until(&what, deadline, async || {
            let leader = self.leader_seen().await?;
            let node =
                self.client(leader).node(self.id(index)).await.map_err(|error| format!("{error:#}"))?;
            if node.status.state == state { Ok(()) } else { Err(node.status.state) }
        })
        .await
    }

    /// The manager that leads, as soon as there is one that says so and is running.
    pub async fn leader(&self, deadline: Duration) -> anyhow::Result<usize> {
        self.wait_until("a leader", deadline, async || self.leader_seen().await).await
    }

    /// Who leads, as the managers that answer see it now.
    async fn leader_seen(&self) -> Result<usize, String> {
        let mut seen = Vec::new();
        for index in self.running_members() {
            let client = self.client(index).within(Duration::from_secs(3));
            match client.nodes().await {
                Ok(nodes) => {
                    let leader =
                        nodes.iter().find(|node| node.manager_status.as_ref().is_some_and(|m| m.leader));
                    let found = leader.and_then(|node| self.index_of(&node.id));
                    match found.filter(|index| self.nodes[*index].is_running()) {
                        Some(index) => return Ok(index),
                        None => {
                            seen.push(format!("{}: {:?}", self.nodes[index].name(), leader.map(|n| &n.id)))
                        }
                    }
                }
                Err(error) => seen.push(format!("{}: {error:#}", self.nodes[index].name())),
            }
        }
        Err(format!("nobody who runs leads: {seen:?}"))
    }

    fn running_members(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|index| self.ids[*index].is_some() && self.nodes[*index].is_running())
            .collect()
    }

    /// As `wait::wait_until`; where the deadline passes, every node's own view is in the error.
    pub async fn wait_until<T>(
        &self,
        what: &str,
        deadline: Duration,
        probe: impl AsyncFnMut() -> Result<T, String>,
    ) -> anyhow::Result<T> {
        match wait_until(what, deadline, probe).await {
            Ok(value) => Ok(value),
            Err(error) => Err(error.context(self.describe().await)),
        }
    }

    /// What every node says of itself and the others, for the error of a test.
    pub async fn describe(&self) -> String {
        let mut lines = vec![String::from("the cluster as its nodes see it:")];
        for (index, node) in self.nodes.iter().enumerate() {
            let client = node.client().within(Duration::from_secs(3));
            let process = node.id().map_or("not running".into(), |id| format!("process {id}"));
            lines.push(format!("{} {} {} {process}", node.name(), self.id(index), node.addr()));
            if !node.is_running() {
                continue;
            }
            match client.info().await {
                Ok(info) => lines.push(format!(
                    "  itself: {}, manager: {}, {}",
                    info.local_node_state, info.control_available, info.error
                )),
                Err(error) => lines.push(format!("  itself: {error:#}")),
            }
            match client.nodes_local().await {
                Ok(nodes) => lines.extend(nodes.iter().map(|other| {
                    let manager = other.manager_status.as_ref();
                    let leads = if manager.is_some_and(|manager| manager.leader) { " leads" } else { "" };
                    let reachability = manager.map_or("worker", |manager| manager.reachability.as_str());
                    format!("  {} {} {reachability}{leads}", other.id, other.status.state)
                })),
                Err(error) => lines.push(format!("  others: {error:#}")),
            }
        }
        lines.join("\n")
    }
}

/// `m1`, `m2`, …, `w1`, `w2`, … on addresses of their own.
pub fn options(managers: usize, workers: usize) -> Vec<NodeOptions> {
    let managers = (1..=managers).map(|number| NodeOptions::named(&format!("m{number}")));
    let workers = (1..=workers).map(|number| NodeOptions::named(&format!("w{number}")));
    managers.chain(workers).collect()
}
