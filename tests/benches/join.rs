//! A node joins: how long until the command returns, and until the leader has it as ready.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use common::engine_api::node::Node;
use common::engine_api::swarm::JoinRequest;
use common::time::Monotonic;
use harness::cluster::{Cluster, SOON};
use harness::figures::{Figures, Limit, Row, Table, Take};
use harness::node::NodeOptions;

use crate::api::Api;
use crate::machine::{self, milliseconds, now};
use crate::options::Options;

const TIMES: usize = 10;
const WORKER_MAX: f64 = 100.0;
const MANAGER_MAX: f64 = 300.0;
const LOOK: Duration = Duration::from_millis(2);
const DEADLINE: Duration = Duration::from_secs(60);

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let mut cluster = machine::cluster(3, 0).await?;
    let joiner = cluster.add(machine::plain(NodeOptions::named("joiner"))).await?;
    let mut rows = Vec::new();
    for (role, max) in [("worker", WORKER_MAX), ("manager", MANAGER_MAX)] {
        let (mut ready, mut returned) = (Vec::new(), Vec::new());
        let times = options.times(TIMES);
        for time in 1..=times {
            let (at_return, at_ready) = once(&mut cluster, joiner, role).await?;
            let (at_return, at_ready) = (milliseconds(at_return), milliseconds(at_ready));
            eprintln!("{role} joins, {time} of {times}: returns {at_return:.0} ms, ready {at_ready:.0} ms");
            returned.push(at_return);
            ready.push(at_ready);
        }
        let row = |what: &str, values, limits| {
            let figures = Figures::of(values).context("there is a time")?;
            anyhow::Ok(Row { what: format!("{role} joins → {what}"), unit: "ms", figures, limits })
        };
        rows.push(row("ready on the leader", ready, vec![Limit::at_most(Take::Median, max)])?);
        rows.push(row("the command returns", returned, vec![])?);
    }
    Ok(Table(rows))
}

/// When the command returned, and when the leader had the new node as ready. The node is gone again afterwards.
async fn once(cluster: &mut Cluster, joiner: usize, role: &str) -> anyhow::Result<(Duration, Duration)> {
    let leader = cluster.leader(SOON).await?;
    let tokens = cluster.client(leader).swarm().await?.join_tokens.context("a manager shows tokens")?;
    let addr = cluster.nodes[joiner].addr().to_string();
    let request = JoinRequest {
        listen_addr: addr.clone(),
        advertise_addr: addr,
        remote_addrs: vec![cluster.nodes[leader].addr().to_string()],
        join_token: if role == "manager" { tokens.manager } else { tokens.worker },
        ..JoinRequest::default()
    };
    let mut api = Api::new(cluster.nodes[leader].socket());
    let before = api.nodes().await?.into_iter().map(|node| node.id).collect();
    let client = cluster.client(joiner);
    let start = now();
    let join = async {
        client.join(&request).await?;
        anyhow::Ok(now().since(start))
    };
    let (returned, (id, ready)) = tokio::try_join!(join, seen(&mut api, &before, role, start))?;

    client.leave(true).await?;
    let gone = cluster.client(leader);
    cluster
        .wait_until("the node is removed", SOON, async || {
            let answer = gone.delete(&format!("/nodes/{id}?force=true")).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.is_ok() { Ok(()) } else { Err(answer.message()) }
        })
        .await?;
    Ok((returned, ready))
}

/// Waits until the leader has a new node that is ready, and as a manager one that can be reached.
async fn seen(
    api: &mut Api,
    before: &BTreeSet<String>,
    role: &str,
    start: Monotonic,
) -> anyhow::Result<(String, Duration)> {
    let complete = |node: &Node| {
        let manager = node.manager_status.as_ref().is_some_and(|manager| manager.reachability == "reachable");
        node.status.state == "ready" && (manager || role != "manager")
    };
    loop {
        let nodes = api.nodes().await?;
        let took = now().since(start);
        if let Some(node) = nodes.into_iter().find(|node| !before.contains(&node.id) && complete(node)) {
            return Ok((node.id, took));
        }
        anyhow::ensure!(took < DEADLINE, "no new node is ready after {took:?}");
        tokio::time::sleep(LOOK).await;
    }
}
