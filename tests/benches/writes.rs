//! Writes per second, beside the syncs that the disk does and a log that does nothing else.
//!
//! In rounds, so that each round meets the same machine: all of ours and all of the limits once per round.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::shutdown::Tasks;
use futures_util::future::try_join_all;
use harness::cluster::SOON;
use harness::figures::{Figures, Limit, Row, Table, Take};
use harness::run;
use manager::raft::RaftHandle;

use crate::api::{Api, CONFLICT};
use crate::disk::{self, BareLog};
use crate::group::{Group, Writer};
use crate::machine::{self, now};
use crate::options::Options;
use crate::spare;

const MANY: usize = 64;
/// Docker's with 1 and with 32 clients on such a machine, and how many times that we want.
const DOCKER_ONE: f64 = 372.0 * 3.0;
const DOCKER_MANY: f64 = 462.0 * 20.0;
/// What shall be left of a bare log once three managers agree on it.
const SHARE_OF_LOG: f64 = 0.3;

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let (rounds, time) = (options.times(5), options.seconds(2.0));
    let folder = run::folder();
    let log = BareLog::create(&folder)?;
    let (one, three) = (Group::of(1).await?, Group::of(3).await?);
    let cluster = machine::cluster(3, 0).await?;
    let leader = cluster.leader(SOON).await?;
    let spares = spare::nodes(&cluster, leader, MANY).await?;
    let socket = cluster.nodes[leader].socket();

    let mut columns: [Vec<f64>; 9] = Default::default();
    for round in 1..=rounds {
        eprintln!("writes: round {round} of {rounds}");
        let (alone, leads) = (one.leader().await?, three.leader().await?);
        let rates = [
            disk::syncs_per_second(time).await?,
            rate(vec![log.clone()], time).await?,
            rate(vec![log.clone(); MANY], time).await?,
            rate(writers(&alone, 1).await?, time).await?,
            rate(writers(&alone, MANY).await?, time).await?,
            rate(writers(&leads, 1).await?, time).await?,
            rate(writers(&leads, MANY).await?, time).await?,
            rate(labellers(&socket, &spares[..1]), time).await?,
            rate(labellers(&socket, &spares), time).await?,
        ];
        columns.iter_mut().zip(rates).for_each(|(column, rate)| column.push(rate));
    }
    one.stop().await;
    three.stop().await;
    drop(cluster);
    std::fs::remove_dir_all(folder)?;

    let figures = columns.map(|column| Figures::of(column).expect("there is a round"));
    let (log_one, log_many) = (figures[1].median(), figures[2].median());
    let share = |of| Limit::share_of(SHARE_OF_LOG, "bare log", of);
    let docker = |wanted| Limit::at_least(Take::Median, wanted);
    let lines: [(&str, Vec<Limit>); 9] = [
        ("disk: append 4 KiB and fdatasync", vec![]),
        ("bare group-commit log, 1 client", vec![]),
        ("bare group-commit log, 64 clients", vec![]),
        ("raft of 1 manager, 1 client", vec![]),
        ("raft of 1 manager, 64 clients", vec![]),
        ("raft of 3 managers, 1 client", vec![share(log_one)]),
        ("raft of 3 managers, 64 clients", vec![share(log_many)]),
        ("API of 3 managers, 1 client", vec![docker(DOCKER_ONE), share(log_one)]),
        ("API of 3 managers, 64 clients", vec![docker(DOCKER_MANY), share(log_many)]),
    ];
    let rows = lines.into_iter().zip(figures);
    Ok(Table(
        rows.map(|((what, limits), figures)| Row { what: what.into(), unit: "1/s", figures, limits })
            .collect(),
    ))
}

async fn writers(raft: &RaftHandle, count: usize) -> anyhow::Result<Vec<Writer>> {
    try_join_all((0..count).map(|_| Writer::new(raft.clone()))).await
}

/// Somebody who writes one thing after the other.
pub trait Client: Send + 'static {
    fn write(&mut self, value: u64) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl Client for BareLog {
    async fn write(&mut self, _value: u64) -> anyhow::Result<()> {
        self.append().await
    }
}

impl Client for Writer {
    async fn write(&mut self, value: u64) -> anyhow::Result<()> {
        self.update(value).await
    }
}

/// A client of the API and the node whose label it writes.
struct Labeller {
    api: Api,
    node: String,
}

fn labellers(socket: &Path, nodes: &[String]) -> Vec<Labeller> {
    let client = |node: &String| Labeller { api: Api::new(socket.into()), node: node.clone() };
    nodes.iter().map(client).collect()
}

impl Client for Labeller {
    /// Reads what the leader has, and writes it back with another label: what people's tools do.
    async fn write(&mut self, value: u64) -> anyhow::Result<()> {
        loop {
            let node = self.api.node(&self.node).await?;
            let answer = self.api.label(node, value).await?;
            if answer.ok {
                return Ok(());
            }
            // Once in its life a node that never came is found to be down.
            anyhow::ensure!(answer.message().contains(CONFLICT), "{}", answer.message());
        }
    }
}

/// How many times a second all these clients together write.
pub async fn rate<C: Client>(clients: Vec<C>, time: Duration) -> anyhow::Result<f64> {
    let tasks = Tasks::new();
    let values = Arc::new(AtomicU64::new(1));
    let start = now();
    let mut counts = Vec::new();
    for mut client in clients {
        let values = values.clone();
        counts.push(tasks.spawn(async move {
            let mut count = 0_u64;
            while now().since(start) < time {
                client.write(values.fetch_add(1, Ordering::Relaxed)).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }));
    }
    let mut sum = 0;
    for count in counts {
        sum += count.await??;
    }
    Ok(sum as f64 / now().since(start).as_secs_f64())
}
