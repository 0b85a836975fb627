//! The leader is gone: how long until a manager that is left accepts a write.
//!
//! From the moment before it is killed or cut off, one more client asks every few milliseconds; what counts is the
//! first that is told yes. Beside it, how long the clients had to wait that asked at once and did not give up.

use std::time::Duration;

use anyhow::Context;
use common::shutdown::Tasks;
use harness::cluster::{Cluster, SOON};
use harness::figures::{Figures, Limit, Row, Table, Take};
use serde_json::json;

use crate::machine::{self, milliseconds};
use crate::options::Options;
use crate::{ask, spare};

const TIMES: usize = 20;
const MEDIAN_MAX: f64 = 1_000.0;
const WORST_MAX: f64 = 2_000.0;
const SPARES: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    CutOff,
}

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let mut cluster = machine::cluster(3, 0).await?;
    let spares = spare::nodes(&cluster, 0, SPARES).await?;
    let mut rows = Vec::new();
    for (fault, name) in [(Fault::Killed, "killed"), (Fault::CutOff, "cut off")] {
        let (mut accepted, mut patient) = (Vec::new(), Vec::new());
        let times = options.times(TIMES);
        for time in 1..=times {
            let (first, waited) = once(&mut cluster, fault, &spares).await?;
            let (first, waited) =
                (milliseconds(first), waited.into_iter().map(milliseconds).collect::<Vec<_>>());
            eprintln!("leader {name}, {time} of {times}: {first:.0} ms; who asked at once: {waited:.0?} ms");
            accepted.push(first);
            patient.extend(waited);
        }
        let limits = vec![Limit::at_most(Take::Median, MEDIAN_MAX), Limit::at_most(Take::Max, WORST_MAX)];
        let row = |what: String, values, limits| {
            let figures = Figures::of(values).context("there is a time")?;
            anyhow::Ok(Row { what, unit: "ms", figures, limits })
        };
        rows.push(row(format!("leader {name} → next write accepted"), accepted, limits)?);
        rows.push(row(format!("leader {name} → answer to who asked at once"), patient, vec![])?);
    }
    Ok(Table(rows))
}

/// The time to the first accepted write, and to the answers of those who asked first.
async fn once(
    cluster: &mut Cluster,
    fault: Fault,
    spares: &[String],
) -> anyhow::Result<(Duration, Vec<Duration>)> {
    let leader = cluster.leader(SOON).await?;
    let survivors: Vec<_> = (0..cluster.nodes.len())
        .filter(|index| *index != leader)
        .map(|index| cluster.nodes[index].socket())
        .collect();
    let tasks = Tasks::new();
    let start = machine::now();
    match fault {
        Fault::Killed => cluster.nodes[leader].kill(),
        Fault::CutOff => cluster.client(leader).post("/swarm/x/lab/cut", &json!({})).await?.ok().map(drop)?,
    }
    let patient: Vec<_> = survivors
        .iter()
        .zip(spares)
        .map(|(socket, node)| tasks.spawn(ask::until_accepted(socket.clone(), node.clone(), start)))
        .collect();
    let first = ask::first_accepted(&survivors, &spares[survivors.len()..], start).await?;
    let mut waited = Vec::new();
    for client in patient {
        waited.push(client.await??);
    }
    match fault {
        Fault::Killed => cluster.nodes[leader].launch().await?,
        Fault::CutOff => {
            cluster.client(leader).post("/swarm/x/lab/heal", &json!({})).await?.ok().map(drop)?
        }
    }
    cluster.all_ready(SOON).await?;
    Ok((first, waited))
}
