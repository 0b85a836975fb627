//! A worker falls silent: how long until the leader has written that it is down; and how often that is said of one that
//! is not.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use harness::cluster::{Cluster, SOON};
use harness::figures::{Figures, Limit, Row, Table, Take};
use serde_json::json;

use crate::api::Api;
use crate::machine::{self, Busy, milliseconds, now};
use crate::options::Options;

const TIMES: usize = 20;
const MINUTES: f64 = 3.0;
const WORKERS: usize = 2;
const MEDIAN_MAX: f64 = 1_500.0;
const WORST_MAX: f64 = 3_000.0;
/// Between two looks at the leader.
const LOOK: Duration = Duration::from_millis(5);
/// Between two looks for false alarms, which last longer.
const WATCH: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(60);

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let mut rows = Vec::new();
    for managers in [1, 3] {
        let mut cluster = machine::cluster(managers, WORKERS).await?;
        let name = format!("{managers}+{WORKERS}");
        rows.push(
            times(&mut cluster, managers, false, &format!("{name} idle: worker cut off"), options).await?,
        );
        rows.push(
            times(&mut cluster, managers, true, &format!("{name} idle: worker killed"), options).await?,
        );
        let busy = Busy::start(options.busy_threads);
        rows.push(
            times(&mut cluster, managers, false, &format!("{name} busy: worker cut off"), options).await?,
        );
        rows.extend(alarms(&cluster, managers, &name, options.minutes(MINUTES)).await?);
        drop(busy);
    }
    Ok(Table(rows))
}

async fn times(
    cluster: &mut Cluster,
    managers: usize,
    kill: bool,
    what: &str,
    options: &Options,
) -> anyhow::Result<Row> {
    let count = options.times(TIMES);
    let mut values = Vec::new();
    for time in 0..count {
        let took = milliseconds(once(cluster, managers + time % WORKERS, kill).await?);
        eprintln!("{what}, {} of {count}: {took:.0} ms", time + 1);
        values.push(took);
    }
    let limits = vec![Limit::at_most(Take::Median, MEDIAN_MAX), Limit::at_most(Take::Max, WORST_MAX)];
    let figures = Figures::of(values).context("there is a time")?;
    Ok(Row { what: format!("{what} → down"), unit: "ms", figures, limits })
}

async fn once(cluster: &mut Cluster, worker: usize, kill: bool) -> anyhow::Result<Duration> {
    let leader = cluster.leader(SOON).await?;
    let mut api = Api::new(cluster.nodes[leader].socket());
    let id = cluster.id(worker).to_owned();
    api.node(&id).await?; // connects
    let start = now();
    if kill {
        cluster.nodes[worker].kill();
    } else {
        cluster.client(worker).post("/swarm/x/lab/cut", &json!({})).await?.ok()?;
    }
    let took = loop {
        let state = api.node(&id).await?.status.state;
        let took = now().since(start);
        if state == "down" {
            break took;
        }
        anyhow::ensure!(took < DEADLINE, "{state} after {took:?}\n{}", cluster.describe().await);
        tokio::time::sleep(LOOK).await;
    };
    if kill {
        cluster.nodes[worker].launch().await?;
    } else {
        cluster.client(worker).post("/swarm/x/lab/heal", &json!({})).await?.ok()?;
    }
    cluster.all_ready(SOON).await?;
    Ok(took)
}

/// Watches a cluster that nothing happens to: nodes that were ready and are said not to be, and new terms.
async fn alarms(
    cluster: &Cluster,
    managers: usize,
    name: &str,
    duration: Duration,
) -> anyhow::Result<Vec<Row>> {
    let mut api = Api::new(cluster.nodes[0].socket());
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    let term = cluster.client(0).raft().await?.term;
    let mut alarms = 0;
    let start = now();
    while now().since(start) < duration {
        for node in api.nodes().await? {
            let state = node.status.state;
            let before = states.insert(node.id.clone(), state.clone());
            if before.as_deref() == Some("ready") && state != "ready" {
                alarms += 1;
                eprintln!(
                    "{name}: {} is {state} after {:.1?}: {}",
                    node.id,
                    now().since(start),
                    node.status.message
                );
            }
        }
        tokio::time::sleep(WATCH).await;
    }
    let terms = cluster.client(0).raft().await?.term - term;
    let what = |what: &str| format!("{name} busy: {what} in {:.1} min", duration.as_secs_f64() / 60.0);
    let none = vec![Limit::at_most(Take::Max, 0.0)];
    let row = |what, count: u64| Row {
        what,
        unit: "times",
        figures: Figures::one(count as f64),
        limits: none.clone(),
    };
    let mut rows = vec![row(what("false alarms"), alarms)];
    if managers > 1 {
        rows.push(row(what("needless elections"), terms));
    }
    Ok(rows)
}
