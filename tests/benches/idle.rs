//! What a daemon takes that has nothing to do.

use std::time::Duration;

use anyhow::Context;
use common::time::Monotonic;
use harness::cluster::{Cluster, SOON};
use harness::figures::{Figures, Limit, Row, Table, Take};

use crate::machine::{self, Usage, now};
use crate::options::Options;

const MEMORY_MAX: f64 = 12.0;
const PROCESSOR_MAX: f64 = 0.2;
/// How long what was just begun may take to be over.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let time = options.seconds(30.0);
    // Alone, so that it shares the program's own pages with nobody.
    let single = machine::cluster(1, 0).await?;
    let mut rows = watched(&single, time, &[("only node", vec![0])]).await?;
    drop(single);
    let cluster = machine::cluster(3, 2).await?;
    let leader = cluster.leader(SOON).await?;
    let others = (0..3).filter(|index| *index != leader).collect();
    let groups =
        [("leader of 3+2", vec![leader]), ("other manager of 3+2", others), ("worker of 3+2", vec![3, 4])];
    rows.extend(watched(&cluster, time, &groups).await?);
    Ok(Table(rows))
}

async fn watched(
    cluster: &Cluster,
    time: Duration,
    groups: &[(&str, Vec<usize>)],
) -> anyhow::Result<Vec<Row>> {
    tokio::time::sleep(SETTLE.min(time)).await;
    let before = usages(cluster)?;
    tokio::time::sleep(time).await;
    let after = usages(cluster)?;
    let mut rows = Vec::new();
    for (name, nodes) in groups {
        let row = |what: &str, unit, of: &dyn Fn(usize) -> f64, max: Option<f64>| {
            let figures =
                Figures::of(nodes.iter().map(|node| of(*node)).collect()).context("a group has a node")?;
            let limits = max.map(|max| Limit::at_most(Take::Max, max)).into_iter().collect();
            anyhow::Ok(Row { what: format!("{name}, idle: {what}"), unit, figures, limits })
        };
        let processor = |node: usize| {
            let time = after[node].0.time.saturating_sub(before[node].0.time);
            100.0 * time.as_secs_f64() / after[node].1.since(before[node].1).as_secs_f64()
        };
        rows.push(row("memory (PSS)", "MiB", &|node| after[node].0.memory, Some(MEMORY_MAX))?);
        rows.push(row("… of it anonymous", "MiB", &|node| after[node].0.anonymous, None)?);
        rows.push(row("processor", "% of a core", &processor, Some(PROCESSOR_MAX))?);
    }
    Ok(rows)
}

fn usages(cluster: &Cluster) -> anyhow::Result<Vec<(Usage, Monotonic)>> {
    let usage = |node: &harness::node::Node| {
        let process = node.id().with_context(|| format!("{} does not run", node.name()))?;
        Ok((Usage::of(process)?, now()))
    };
    cluster.nodes.iter().map(usage).collect()
}
