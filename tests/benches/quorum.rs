//! Two of three managers are gone: how long until the last one says so, and until all is well once they are back.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use common::time::Monotonic;
use harness::cluster::{Cluster, SOON};
use harness::figures::{Figures, Limit, Row, Table, Take};
use hyper::Method;

use crate::api::Api;
use crate::machine::{self, milliseconds, now};
use crate::options::Options;
use crate::{ask, spare};

const TIMES: usize = 10;
const SAID_MAX: f64 = 2_000.0;
const BACK_MAX: f64 = 3_000.0;
const SPARES: usize = 8;
const NO_LEADER: &str = "The swarm does not have a leader";
const LOOK: Duration = Duration::from_millis(10);
const DEADLINE: Duration = Duration::from_secs(60);

/// One time of all that is measured.
struct Once {
    write_refused: Duration,
    read_refused: Duration,
    written: Duration,
    well: Duration,
}

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let mut cluster = machine::cluster(3, 1).await?;
    let spares = spare::nodes(&cluster, 0, SPARES).await?;
    let times = options.times(TIMES);
    let mut all = Vec::new();
    for time in 0..times {
        // In turn the one that is left had led, and had not.
        let had_led = time % 2 == 0;
        let once = once(&mut cluster, had_led, &spares).await?;
        eprintln!(
            "quorum lost, {} of {times}, leader left: {had_led}: write refused {:.0} ms, read refused {:.0} ms; \
             back: written {:.0} ms, all well {:.0} ms",
            time + 1,
            milliseconds(once.write_refused),
            milliseconds(once.read_refused),
            milliseconds(once.written),
            milliseconds(once.well)
        );
        all.push(once);
    }
    let row = |what: &str, of: &dyn Fn(&Once) -> Duration, max: f64| {
        let figures = Figures::of(all.iter().map(|once| milliseconds(of(once))).collect());
        let figures = figures.context("there is a time")?;
        anyhow::Ok(Row {
            what: what.into(),
            unit: "ms",
            figures,
            limits: vec![Limit::at_most(Take::Max, max)],
        })
    };
    Ok(Table(vec![
        row("quorum lost → a write is told so", &|once| once.write_refused, SAID_MAX)?,
        row("quorum lost → a read is told so", &|once| once.read_refused, SAID_MAX)?,
        row("daemons started again → write accepted", &|once| once.written, BACK_MAX)?,
        row("daemons started again → all nodes ready", &|once| once.well, BACK_MAX)?,
    ]))
}

async fn once(cluster: &mut Cluster, had_led: bool, spares: &[String]) -> anyhow::Result<Once> {
    let leader = cluster.leader(SOON).await?;
    let left = if had_led { leader } else { (leader + 1) % 3 };
    let lost: Vec<usize> = (0..3).filter(|index| *index != left).collect();
    let socket = [cluster.nodes[left].socket()];
    let start = now();
    for index in &lost {
        cluster.nodes[*index].kill();
    }
    let refused = async {
        let told = ask::first_told(&socket, spares, start, |told| told.message.contains(NO_LEADER)).await?;
        anyhow::Ok(told.after)
    };
    let (write_refused, read_refused) =
        tokio::try_join!(refused, read_refused(Api::new(socket[0].clone()), start))?;

    let start = now();
    for index in &lost {
        cluster.nodes[*index].spawn()?;
    }
    let written = ask::first_accepted(&socket, spares, start).await?;
    let well = well(cluster, left, start).await?;
    for index in &lost {
        cluster.nodes[*index].answers().await?;
    }
    cluster.all_ready(SOON).await?;
    Ok(Once { write_refused, read_refused, written, well })
}

/// One reader that asks again after each answer that is not the truth any more.
async fn read_refused(mut api: Api, start: Monotonic) -> anyhow::Result<Duration> {
    loop {
        let answer = api.send(Method::GET, "/nodes", Bytes::new()).await?;
        let took = now().since(start);
        if !answer.ok && answer.message().contains(NO_LEADER) {
            return Ok(took);
        }
        anyhow::ensure!(took < DEADLINE, "told after {took:?}: {}", answer.message());
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the one that was left reads with a majority again and has all members as ready.
async fn well(cluster: &Cluster, left: usize, start: Monotonic) -> anyhow::Result<Duration> {
    let client = cluster.client(left);
    loop {
        let nodes = client.nodes().await.unwrap_or_default();
        let took = now().since(start);
        let ready = |index: &usize| {
            nodes.iter().any(|node| node.id == cluster.id(*index) && node.status.state == "ready")
        };
        if (0..cluster.nodes.len()).all(|index| ready(&index)) {
            return Ok(took);
        }
        anyhow::ensure!(took < DEADLINE, "not well after {took:?}\n{}", cluster.describe().await);
        tokio::time::sleep(LOOK).await;
    }
}
