//! Clients that write while nobody may be there to accept it.

use std::path::PathBuf;
use std::time::Duration;

use common::shutdown::Tasks;
use common::time::Monotonic;
use tokio::sync::mpsc;

use crate::api::Api;
use crate::machine::now;

/// From one client to the next.
const PERIOD: Duration = Duration::from_millis(10);
/// When it is plain that nothing works.
const DEADLINE: Duration = Duration::from_secs(60);
/// More than `DEADLINE` and `PERIOD` make.
const ANSWERS_MAX: usize = 8_192;

/// What one client was told, and when.
pub struct Told {
    pub ok: bool,
    pub message: String,
    pub after: Duration,
}

/// Time from `start` until the first write is accepted, where a new client asks every `PERIOD`, each another manager.
pub async fn first_accepted(
    managers: &[PathBuf],
    nodes: &[String],
    start: Monotonic,
) -> anyhow::Result<Duration> {
    Ok(first_told(managers, nodes, start, |told| told.ok).await?.after)
}

/// What the first client was told that was told what is waited for.
pub async fn first_told(
    managers: &[PathBuf],
    nodes: &[String],
    start: Monotonic,
    is_it: impl Fn(&Told) -> bool,
) -> anyhow::Result<Told> {
    let tasks = Tasks::new();
    let (answers, mut told) = mpsc::channel(ANSWERS_MAX);
    let mut period = tokio::time::interval(PERIOD);
    let mut last = String::from("nothing");
    for turn in 0_usize.. {
        tokio::select! {
            biased;
            Some(told) = told.recv() => {
                if is_it(&told) {
                    tasks.token().cancel();
                    return Ok(told);
                }
                last = told.message;
            }
            _ = period.tick() => {
                anyhow::ensure!(now().since(start) < DEADLINE, "not in {DEADLINE:?}; told last: {last}");
                let (socket, node) = (managers[turn % managers.len()].clone(), nodes[turn % nodes.len()].clone());
                let answers = answers.clone();
                tasks.spawn_until_stopped(async move {
                    let answer = write(&mut Api::new(socket), &node).await;
                    let (ok, message) = answer.unwrap_or_else(|error| (false, format!("{error:#}")));
                    let _ = answers.send(Told { ok, message, after: now().since(start) }).await;
                });
            }
        }
    }
    unreachable!("turns do not end")
}

/// Time from `start` until one client that asks again after each refusal is accepted.
pub async fn until_accepted(manager: PathBuf, node: String, start: Monotonic) -> anyhow::Result<Duration> {
    let mut api = Api::new(manager);
    loop {
        match write(&mut api, &node).await {
            Ok((true, _)) => return Ok(now().since(start)),
            _ if now().since(start) > DEADLINE => anyhow::bail!("not accepted in {DEADLINE:?}"),
            _ => tokio::time::sleep(PERIOD).await,
        }
    }
}

/// Writes a label on what this manager believes the node to be.
async fn write(api: &mut Api, node: &str) -> anyhow::Result<(bool, String)> {
    let node = api.node(node).await?;
    let value = node.version.index;
    let answer = api.label(node, value).await?;
    Ok((answer.ok, answer.message()))
}
