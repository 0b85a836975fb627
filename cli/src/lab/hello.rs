//! The service a new lab starts with: its tasks are this program, and answer who they are and where.
//!
//! So a lab shows at once what it is for, with nothing to download. `make` is the API's client, `serve` the task.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context;
use common::limits::LAB_START_TIME_MAX;
use common::time::{Clock, SystemClock};
use serde_json::{Value, json};

use super::record::Record;
use crate::exit::{Exit, Failure};

pub const NAME: &str = "hello";
/// The port it speaks of; which one of the machine leads there is found when a task starts.
const TARGET_PORT: u16 = 80;
/// How long a caller may take, and how much of its request is read.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);
const CALL_BYTES_MAX: usize = 4096;

/// Makes the service on a lab that is ready, and gives an address that answers.
pub async fn make(record: &Record, replicas: usize) -> anyhow::Result<String> {
    let client = record.nodes[0].client();
    let program = std::env::current_exe().context("find this program")?;
    let spec = json!({
        "Name": NAME,
        "TaskTemplate": {
            "Runtime": "process",
            "ContainerSpec": {
                "Command": [program, "lab", "hello"],
                "Env": ["TASK={{.Task.Name}}", "NODE={{.Node.Hostname}}"],
            },
            "RestartPolicy": { "Delay": 1_000_000_000 },
        },
        "Mode": { "Replicated": { "Replicas": replicas } },
        "EndpointSpec": {
            "Ports": [{ "TargetPort": TARGET_PORT, "Protocol": "tcp", "PublishMode": "host" }],
        },
    });
    let _: Value = client.post_for("/services/create", &spec).await.context("make the service hello")?;
    let start = SystemClock.monotonic();
    loop {
        let tasks: Vec<Value> = client.get("/tasks").await.context("ask for the tasks of hello")?;
        let ports: Vec<u64> = tasks.iter().filter_map(published).collect();
        if let Some(port) = ports.first().filter(|_| ports.len() >= replicas) {
            return Ok(format!("http://127.0.0.1:{port}"));
        }
        if SystemClock.monotonic().since(start) > LAB_START_TIME_MAX {
            let reasons: Vec<&str> = tasks.iter().filter_map(|task| task["Status"]["Err"].as_str()).collect();
            let text = format!("{} of {replicas} tasks of hello run: {}", ports.len(), reasons.join("; "));
            return Err(Failure::new(Exit::TimedOut, text).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The machine's port of a running task.
fn published(task: &Value) -> Option<u64> {
    let status = &task["Status"];
    (status["State"] == "running").then_some(())?;
    status["PortStatus"]["Ports"].as_array()?.first()?["PublishedPort"].as_u64()
}

/// What a task of the service does: answers HTTP until it is ended.
pub fn serve() -> anyhow::Result<()> {
    let name = format!("SWARM_PORT_{TARGET_PORT}");
    let port: u16 = std::env::var(&name)
        .with_context(|| format!("{name} says which port to answer on, and is set for tasks alone"))?
        .parse()
        .with_context(|| format!("read {name}"))?;
    let [task, node] = ["TASK", "NODE"].map(|name| std::env::var(name).unwrap_or_default());
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listen")?;
    println!("{task} on {node} answers on port {port}");
    for caller in listener.incoming() {
        // Whoever hangs up or stalls has nobody's attention any more.
        let _ = caller.and_then(|caller| answer(caller, &format!("Hello from {task} on {node}\n")));
    }
    Ok(())
}

fn answer(mut caller: TcpStream, text: &str) -> io::Result<()> {
    caller.set_read_timeout(Some(CALL_TIME_MAX))?;
    caller.set_write_timeout(Some(CALL_TIME_MAX))?;
    let mut request = Vec::new();
    let mut part = [0; 512];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < CALL_BYTES_MAX {
        match caller.read(&mut part)? {
            0 => break,
            read => request.extend_from_slice(&part[..read]),
        }
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
    write!(caller, "{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}
