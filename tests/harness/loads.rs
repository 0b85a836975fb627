//! Clients that write through any manager while the cluster is hurt, and what has to be true of what they saw.
//!
//! A register is a label of a node. A client reads the node, which gives value and version, and writes the node
//! back with a value of its own under that version: a swap, because the API refuses a version that is not the
//! newest. So an acknowledged write that is lost, one that is applied twice, and a read of an old state are all
//! histories that no register could give.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::random::{Random, SeededRandom};
use common::shutdown::Tasks;
use common::time::{Clock, Monotonic, SystemClock};

use crate::client::{Answer, Client, NoAnswer};
use crate::history::{Call, History, NOTHING, Operation, Outcome, Value, versions_go_back};
use crate::linearizability;

/// What a client does after a request that failed, instead of asking as fast as it can.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);
/// The API's words that promise that nothing was written: the version is not the newest, there was nobody to write
/// it, this node cannot write. Where it cannot tell, it says so in other words.
const REFUSED: [&str; 3] =
    ["update out of sequence", "The swarm does not have a leader", "This node is not a swarm manager"];

#[derive(Clone, Debug)]
pub struct LoadOptions {
    pub clients: usize,
    /// Of the managers; a client takes one at random for each request.
    pub sockets: Vec<PathBuf>,
    /// The ids of the nodes whose labels are the registers.
    pub registers: Vec<String>,
    pub seed: u64,
    /// When a client gives up on an answer.
    pub answer_deadline: Duration,
}

impl LoadOptions {
    pub fn new(sockets: Vec<PathBuf>, registers: Vec<String>, seed: u64) -> Self {
        Self { clients: 16, sockets, registers, seed, answer_deadline: Duration::from_secs(5) }
    }
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    tasks: Tasks,
}

struct Shared {
    options: LoadOptions,
    /// The label that is the register; another one for each load, so that all begin with nothing.
    label: String,
    history: History,
    next_value: AtomicU64,
    acknowledged: Mutex<Vec<Monotonic>>,
    /// The newest thing that went wrong, for people who wonder why nothing goes right.
    last_failure: Mutex<String>,
}

/// What the clients saw.
pub struct Report {
    pub operations: Vec<Operation>,
    /// When each acknowledgement came, in order.
    pub acknowledged: Vec<Monotonic>,
    pub last_failure: String,
}

impl Load {
    pub fn start(options: LoadOptions) -> Load {
        assert!(!options.sockets.is_empty() && !options.registers.is_empty());
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let shared = Arc::new(Shared {
            label: format!("register{}", SERIAL.fetch_add(1, Ordering::Relaxed)),
            history: History::new(),
            next_value: AtomicU64::new(NOTHING + 1),
            acknowledged: Mutex::default(),
            last_failure: Mutex::default(),
            options,
        });
        let tasks = Tasks::new();
        for number in 0..shared.options.clients {
            tasks.spawn_until_stopped(write_for_ever(shared.clone(), number));
        }
        Load { shared, tasks }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().expect("no holder panics").len()
    }

    /// The first acknowledgement after a moment, where there was one.
    pub fn first_after(&self, moment: Monotonic) -> Option<Monotonic> {
        let acknowledged = self.shared.acknowledged.lock().expect("no holder panics");
        acknowledged.get(acknowledged.partition_point(|at| *at <= moment)).copied()
    }

    pub fn last_failure(&self) -> String {
        self.shared.last_failure.lock().expect("no holder panics").clone()
    }

    /// Ends the clients, where they are, and reads every register a last time through `reader`.
    pub async fn finish(self, reader: &Client) -> anyhow::Result<Report> {
        self.tasks.stop().await;
        let shared = self.shared;
        for register in &shared.options.registers {
            let started = shared.history.start(usize::MAX, register, Call::Read);
            let (value, version, _) = parse(&reader.get(&path(register)).await?, &shared.label)?;
            shared.history.end(started, Outcome::Value { value, version });
        }
        let acknowledged = shared.acknowledged.lock().expect("no holder panics").clone();
        let last_failure = shared.last_failure.lock().expect("no holder panics").clone();
        Ok(Report { operations: shared.history.operations(), acknowledged, last_failure })
    }
}

impl Report {
    /// Every promise at once: no acknowledged write lost, none applied twice, no read that goes back.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(back) = versions_go_back(&self.operations) {
            anyhow::bail!("{back}\n{self}");
        }
        linearizability::check(&self.operations).map_err(|violation| anyhow::anyhow!("{violation}\n{self}"))
    }

    /// The longest time in which no write was acknowledged, between the first and the last.
    pub fn longest_silence(&self) -> Duration {
        self.acknowledged.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or_default()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |outcome: fn(Outcome) -> bool| {
            self.operations.iter().filter(|operation| outcome(operation.outcome)).count()
        };
        write!(
            f,
            "{} operations: {} reads, {} writes acknowledged, {} refused, {} left open; longest silence {:?}; \
             last failure: {}",
            self.operations.len(),
            count(|outcome| matches!(outcome, Outcome::Value { .. })),
            count(|outcome| outcome == Outcome::Done),
            count(|outcome| outcome == Outcome::Refused),
            count(|outcome| outcome == Outcome::Unknown),
            self.longest_silence(),
            self.last_failure,
        )
    }
}

async fn write_for_ever(shared: Arc<Shared>, number: usize) {
    let options = &shared.options;
    let mut random = SeededRandom::new(options.seed, &format!("client {number}"));
    let mut pick = move |count: usize| random.next_u64() as usize % count;
    loop {
        let register = &options.registers[pick(options.registers.len())];
        let mut client = || {
            Client::new(options.sockets[pick(options.sockets.len())].clone()).within(options.answer_deadline)
        };
        if let Err(failure) = swap_once(&shared, number, register, &client(), &client()).await {
            *shared.last_failure.lock().expect("no holder panics") = failure;
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

/// Reads through one manager and writes through another.
async fn swap_once(
    shared: &Shared,
    number: usize,
    register: &str,
    reader: &Client,
    writer: &Client,
) -> Result<(), String> {
    let started = shared.history.start(number, register, Call::Read);
    let answer = reader.get(&path(register)).await.map_err(|error| words(&error))?;
    let (expected, version, mut node) =
        parse(&answer, &shared.label).map_err(|error| format!("{error:#}"))?;
    shared.history.end(started, Outcome::Value { value: expected, version });

    let new = shared.next_value.fetch_add(1, Ordering::Relaxed);
    node.spec.labels.insert(shared.label.clone(), new.to_string());
    let started = shared.history.start(number, register, Call::Swap { expected, new });
    let answer = writer.update_node(register, version, &node.spec).await;
    let outcome = outcome(&answer);
    shared.history.end(started, outcome);
    if outcome == Outcome::Done {
        // Under one lock, so that the moments are in order.
        let mut acknowledged = shared.acknowledged.lock().expect("no holder panics");
        acknowledged.push(SystemClock.monotonic());
    }
    match answer {
        Ok(answer) if answer.is_ok() || answer.message().contains(REFUSED[0]) => Ok(()),
        Ok(answer) => Err(format!("status {}: {}", answer.status, answer.message())),
        Err(error) => Err(words(&error)),
    }
}

/// What the answer to a write says about it. In doubt it is left open.
fn outcome(answer: &Result<Answer, NoAnswer>) -> Outcome {
    match answer {
        Ok(answer) if answer.is_ok() => Outcome::Done,
        Ok(answer) if REFUSED.iter().any(|words| answer.message().contains(words)) => Outcome::Refused,
        Err(NoAnswer::NotSent(..)) => Outcome::Refused,
        Ok(_) | Err(NoAnswer::Late { .. } | NoAnswer::Broken { .. }) => Outcome::Unknown,
    }
}

fn parse(answer: &Answer, label: &str) -> anyhow::Result<(Value, u64, common::engine_api::node::Node)> {
    let node: common::engine_api::node::Node = answer.json()?;
    let value = node.spec.labels.get(label).map_or(Ok(NOTHING), |label| label.parse())?;
    Ok((value, node.version.index, node))
}

fn path(register: &str) -> String {
    format!("/nodes/{register}")
}

fn words(error: &NoAnswer) -> String {
    common::report::Report(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    use bytes::Bytes;
    use common::engine_api::node::{Node, NodeSpec};
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Method, Request, Response};
    use hyper_util::rt::TokioIo;

    use crate::run;
    use crate::wait::wait_until;

    /// One node behind an API that may be broken on purpose.
    struct Server {
        node: Mutex<Node>,
        /// Acknowledges every so many writes without keeping them.
        loses_every: Option<u64>,
        writes: AtomicU64,
    }

    impl Server {
        fn answer(&self, method: &Method, query: &str, body: &[u8]) -> Response<Full<Bytes>> {
            let mut node = self.node.lock().unwrap();
            let said = |status: u16, body: Vec<u8>| {
                Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap()
            };
            if method == Method::GET {
                return said(200, serde_json::to_vec(&*node).unwrap());
            }
            if query != format!("version={}", node.version.index) {
                return said(500, br#"{"message":"rpc error: update out of sequence"}"#.to_vec());
            }
            let spec: NodeSpec = serde_json::from_slice(body).unwrap();
            let count = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
            if self.loses_every.is_none_or(|every| !count.is_multiple_of(every)) {
                node.spec = spec;
                node.version.index += 3;
            }
            // An answer that is no answer: the write was done, and the client cannot know.
            if count.is_multiple_of(10) {
                said(500, br#"{"message":"context canceled"}"#.to_vec())
            } else {
                said(200, vec![])
            }
        }
    }

    async fn report_against(loses_every: Option<u64>) -> Report {
        let socket = run::folder().join("api.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let server = Arc::new(Server { node: Mutex::default(), loses_every, writes: AtomicU64::new(0) });
        let tasks = Tasks::new();
        let all = tasks.clone();
        tasks.spawn_until_stopped(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let server = server.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                        Ok::<_, Infallible>(server.answer(
                            &head.method,
                            head.uri.query().unwrap_or(""),
                            &body,
                        ))
                    }
                });
                all.spawn_until_stopped(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let load = Load::start(LoadOptions::new(vec![socket.clone()], vec!["n1".into()], 7));
        wait_until("300 writes", Duration::from_secs(60), async || match load.acknowledged() {
            0..300 => Err(load.last_failure()),
            _ => Ok(()),
        })
        .await
        .unwrap();
        let report = load.finish(&Client::new(socket)).await.unwrap();
        tasks.stop().await;
        report
    }

    #[tokio::test]
    async fn a_register_passes_and_the_summary_counts() {
        let report = report_against(None).await;
        report.check().unwrap();
        assert!(report.acknowledged.len() >= 300);
        let open = report.operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
        assert!(open >= 20, "the server left every tenth write open: {report}");
    }

    #[tokio::test]
    async fn a_store_that_loses_acknowledged_writes_is_found() {
        let report = report_against(Some(101)).await;
        let error = report.check().unwrap_err().to_string();
        assert!(error.contains("no register did this"), "{error}");
    }
}
