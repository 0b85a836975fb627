//! Services created per second over the API of three managers, beside a log on the same disk that does nothing else.
//!
//! Services without tasks: what is measured is the way of a write. In rounds, so that each meets the same machine.

use std::path::Path;

use harness::cluster::SOON;
use harness::figures::{Figures, Limit, Row, Table, Take};
use harness::run;
use harness::services::{Runtime, Spec};
use hyper::Method;
use serde_json::json;

use crate::api::Api;
use crate::disk::BareLog;
use crate::machine;
use crate::options::Options;
use crate::writes::{Client, rate};

const MANY: usize = 32;
/// Docker's with 1 and with 32 clients on such a machine, and how many times that we want.
const DOCKER_ONE: f64 = 372.0 * 3.0;
const DOCKER_MANY: f64 = 462.0 * 20.0;
/// What shall be left of a bare log once three managers agree on it.
const SHARE_OF_LOG: f64 = 0.3;

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let (rounds, time) = (options.times(5), options.seconds(2.0));
    let folder = run::folder();
    let log = BareLog::create(&folder)?;
    let cluster = machine::cluster(3, 0).await?;
    let leader = cluster.leader(SOON).await?;
    let socket = cluster.nodes[leader].socket();

    let mut columns: [Vec<f64>; 4] = Default::default();
    for round in 1..=rounds {
        eprintln!("creates: round {round} of {rounds}");
        let rates = [
            rate(vec![log.clone()], time).await?,
            rate(vec![log.clone(); MANY], time).await?,
            rate(creators(&socket, 1, round), time).await?,
            rate(creators(&socket, MANY, round), time).await?,
        ];
        columns.iter_mut().zip(rates).for_each(|(column, rate)| column.push(rate));
    }
    drop(cluster);
    std::fs::remove_dir_all(folder)?;

    let figures = columns.map(|column| Figures::of(column).expect("there is a round"));
    let (log_one, log_many) = (figures[0].median(), figures[1].median());
    let limits = |docker, log| {
        vec![Limit::at_least(Take::Median, docker), Limit::share_of(SHARE_OF_LOG, "bare log", log)]
    };
    let lines: [(&str, Vec<Limit>); 4] = [
        ("bare group-commit log, 1 client", vec![]),
        ("bare group-commit log, 32 clients", vec![]),
        ("service create, 3 managers, 1 client", limits(DOCKER_ONE, log_one)),
        ("service create, 3 managers, 32 clients", limits(DOCKER_MANY, log_many)),
    ];
    let rows = lines.into_iter().zip(figures);
    Ok(Table(
        rows.map(|((what, limits), figures)| Row { what: what.into(), unit: "1/s", figures, limits })
            .collect(),
    ))
}

/// A client of the API who makes one service after the other.
struct Creator {
    api: Api,
    names: String,
    spec: Spec,
}

fn creators(socket: &Path, count: usize, round: usize) -> Vec<Creator> {
    let creator = |number| Creator {
        api: Api::new(socket.into()),
        names: format!("s{round}-{count}-{number}"),
        spec: Runtime::Docker.service("", 0),
    };
    (0..count).map(creator).collect()
}

impl Client for Creator {
    async fn write(&mut self, value: u64) -> anyhow::Result<()> {
        let spec = self.spec.clone().with("Name", json!(format!("{}-{value}", self.names)));
        self.api.ask(Method::POST, "/services/create", &spec.0).await.map(drop)
    }
}
