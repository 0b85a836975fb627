//! Both ends of the connections that the mesh is tested with: a plain web server as a task, and clients that count.
//!
//! `mesh-peer serve PORT` answers each request with its task's id and `$VERSION`, over HTTP and over UDP. It knows no
//! good manners: its stop signal ends it in the middle of whatever it does. With `$DEAF` it accepts and never answers.
//!
//! `mesh-peer load ONE-SHOTS KEEP-ALIVES ADDRESS…` asks for pages until its input ends, and prints what it got.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use common::shutdown::Tasks;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// How long one request may take, a wait for the next task included.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Failures that are told in words.
const FAILURES_TOLD_MAX: usize = 20;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", port] => serve(port).await,
        ["load", one_shots, keep_alives, ref addresses @ ..] => load(one_shots, keep_alives, addresses).await,
        _ => Err(anyhow::anyhow!("serve PORT | load ONE-SHOTS KEEP-ALIVES ADDRESS…")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(port: &str) -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let host = std::env::var("SWARM_TASK_ADDRESS").unwrap_or_else(|_| "0.0.0.0".into());
    let address = format!("{host}:{port}");
    let name: Arc<str> = format!("{} {}", variable("SWARM_TASK_ID"), variable("VERSION")).into();
    let is_deaf = std::env::var("DEAF").is_ok();
    let tasks = Tasks::new();
    let socket = UdpSocket::bind(&address).await.with_context(|| address.clone())?;
    let told = name.clone();
    tasks.spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            let answer = [told.as_bytes(), b": ", &buffer[..count]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    let listener = TcpListener::bind(&address).await.with_context(|| address.clone())?;
    loop {
        let (stream, _) = listener.accept().await?;
        let name = name.clone();
        tasks.spawn(async move {
            if is_deaf {
                std::future::pending::<()>().await;
            }
            let _ = answer_all(stream, &name).await; // a client that breaks off has its reasons
        });
    }
}

/// Answers the requests of one connection.
async fn answer_all(stream: TcpStream, name: &str) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await? {
        let mut body = vec![0; head.length];
        stream.read_exact(&mut body).await?;
        if let Some(pause) = head.path.strip_prefix("/slow/") {
            tokio::time::sleep(Duration::from_millis(pause.parse()?)).await;
        }
        let page = if head.path == "/echo" { body } else { name.as_bytes().to_vec() };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
        stream.write_all(&[answer.as_bytes(), &page].concat()).await?;
        stream.flush().await?;
        if head.closes {
            break;
        }
    }
    stream.shutdown().await?;
    Ok(())
}

struct Head {
    path: String,
    length: usize,
    closes: bool,
}

/// The head of a request, or of an answer; none where the connection ends instead.
async fn read_head(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Head>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return Ok(None),
            Err(error) => return Err(error).context("in the middle of a head"),
        }
        anyhow::ensure!(head.len() < 1 << 16, "a head without an end");
    }
    let head = String::from_utf8(head)?.to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Ok(Some(Head {
        path: head.split_whitespace().nth(1).unwrap_or_default().into(),
        length: field("content-length:").map_or(Ok(0), str::parse)?,
        closes: field("connection:") == Some("close"),
    }))
}

/// What all clients got.
#[derive(Default)]
struct Results {
    requests: u64,
    /// Connections that were found closed when the next request was sent on them: asked again on a new one, as every
    /// client that keeps connections does.
    stale: u64,
    failures: Vec<String>,
    failed: u64,
    answers: BTreeMap<String, u64>,
    longest: Duration,
}

impl Results {
    fn note(&mut self, outcome: anyhow::Result<String>, took: Duration, keeps: bool, addr: SocketAddr) {
        self.requests += 1;
        self.longest = self.longest.max(took);
        match outcome {
            Ok(page) => *self.answers.entry(page).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < FAILURES_TOLD_MAX {
                    let kind = if keeps { "kept" } else { "one-shot" };
                    self.failures.push(format!("{kind}, through {addr}: {error:#}"));
                }
            }
        }
    }
}

async fn load(one_shots: &str, keep_alives: &str, addresses: &[&str]) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> =
        addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
    let results = Arc::new(Mutex::new(Results::default()));
    let tasks = Tasks::new();
    let (one_shots, keep_alives): (usize, usize) = (one_shots.parse()?, keep_alives.parse()?);
    for number in 0..one_shots + keep_alives {
        let (results, addresses, owner) = (results.clone(), addresses.clone(), tasks.clone());
        tasks.spawn(async move {
            let mut kept = None;
            let mut turn = number;
            // Each finishes what it has begun.
            while !owner.is_stopping() {
                turn += 1;
                let addr = addresses[turn % addresses.len()];
                let started = tokio::time::Instant::now();
                let keeps = number >= one_shots;
                let asked = tokio::time::timeout(ANSWER_DEADLINE, ask(&mut kept, addr, keeps, &results));
                let outcome = asked.await.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
                if outcome.is_err() {
                    kept = None;
                }
                results.lock().expect("no holder panics").note(outcome, started.elapsed(), keeps, addr);
                // Uneven, so that some are between two requests and some in one at every moment.
                tokio::time::sleep(Duration::from_millis(5 + (turn as u64 * 7 + number as u64 * 13) % 40))
                    .await;
            }
        });
    }
    let wait_for_end = || std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
    tokio::task::spawn_blocking(wait_for_end).await??;
    tasks.stop().await;
    let results = results.lock().expect("no holder panics");
    let told = json!({
        "requests": results.requests,
        "stale": results.stale,
        "failed": results.failed,
        "failures": results.failures,
        "answers": results.answers,
        "longest_ms": results.longest.as_millis() as u64,
    });
    println!("{told}");
    Ok(())
}

/// One request, on the kept connection where there is one.
async fn ask(
    kept: &mut Option<BufReader<TcpStream>>,
    addr: SocketAddr,
    keeps: bool,
    results: &Mutex<Results>,
) -> anyhow::Result<String> {
    if let Some(mut stream) = kept.take() {
        match request(&mut stream, keeps).await {
            Ok(Some(page)) => {
                *kept = Some(stream);
                return Ok(page);
            }
            // Not a byte of an answer: it was closed before it heard us.
            Ok(None) => results.lock().expect("no holder panics").stale += 1,
            Err(error) => return Err(error.context("on a connection that was kept")),
        }
    }
    let mut stream = BufReader::new(TcpStream::connect(addr).await.context("connect")?);
    let page = request(&mut stream, keeps).await?.context("it ended without an answer")?;
    if keeps {
        *kept = Some(stream);
    }
    Ok(page)
}

/// None where the connection ended before any answer.
async fn request(stream: &mut BufReader<TcpStream>, keeps: bool) -> anyhow::Result<Option<String>> {
    let connection = if keeps { "keep-alive" } else { "close" };
    let request = format!("GET / HTTP/1.1\r\nHost: mesh\r\nConnection: {connection}\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Ok(None);
    }
    let Some(head) = read_head(stream).await? else { return Ok(None) };
    let mut page = vec![0; head.length];
    stream.read_exact(&mut page).await.context("in the middle of a page")?;
    if !keeps {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.context("at the end of a page")?;
        anyhow::ensure!(rest.is_empty(), "more than a page");
    }
    Ok(Some(String::from_utf8(page)?))
}
