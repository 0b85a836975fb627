//! Rotation under traffic: clients that come once each, and a value that must not be lost sight of for one request.
//!
//! What spreads the clients is a stand-in for a load balancer: it sends them to tasks that are ready, to the next one
//! where a connection is refused, and never twice where one was made. A task that is to stop says so first (its
//! pre-stop command), and goes on until all who were sent to it are through.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use harness::client::Client;
use harness::cluster::{Cluster, SOON, options};
use harness::commands::swarm;
use harness::docker::Output;
use harness::run;
use harness::services::{Runtime, Spec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{RwLock, watch};

use crate::{create, nowhere_else, path, secret, value};

/// Clients at a time.
const CLIENTS: usize = 6;
/// Between two looks for tasks that want to leave, and between two clients of one kind.
const PAUSE: Duration = Duration::from_millis(10);

/// Three servers that give their secret to whoever asks for it, and take their time: whenever one stops, somebody is
/// there. With a bad secret they run, and are never ready.
fn servers(key: &str, door: &Path, order: &str) -> Spec {
    let serve = "mkdir -p www/cgi-bin
        printf '#!/bin/sh\\nsleep 0.2\\necho Content-Type: text/plain\\necho\\ncat %s/key' $SWARM_SECRETS_DIR >www/cgi-bin/key
        chmod 755 www/cgi-bin/key
        exec busybox httpd -f -p 127.0.0.1:$SWARM_PORT_80 -h www";
    let ready = "! grep -q bad $SWARM_SECRETS_DIR/key && \
                 busybox wget -q -O /dev/null http://127.0.0.1:$SWARM_PORT_80/cgi-bin/key";
    let leave = "touch $DOOR/$TASK.leaves; until [ -e $DOOR/$TASK.through ]; do sleep 0.02; done";
    let shell = |line: &str| json!(["/bin/sh", "-c", line]);
    Runtime::Process
        .service("web", 3)
        .shell(serve)
        .env(&[&format!("DOOR={}", door.display()), "TASK={{.Task.ID}}"])
        .with("TaskTemplate.ContainerSpec.Secrets", json!([secret(key, "key", "key", (0, 0), 0o444)]))
        .with(
            "TaskTemplate.ContainerSpec.ReadyCheck",
            json!({ "Test": shell(ready), "Interval": 100_000_000, "Timeout": 10_000_000_000_u64 }),
        )
        .with("TaskTemplate.ContainerSpec.PreStop", shell(leave))
        .with("TaskTemplate.ContainerSpec.StopGracePeriod", json!(60_000_000_000_u64))
        .with(
            "EndpointSpec",
            json!({ "Ports": [{ "Protocol": "tcp", "TargetPort": 80, "PublishMode": "host" }] }),
        )
        .update(json!({
            "Parallelism": 1, "Order": order, "Monitor": 500_000_000,
            "ProgressDeadline": 20_000_000_000_u64,
        }))
}

/// Who sends clients to tasks.
struct Door {
    folder: PathBuf,
    client: Client,
    /// Tasks that nobody is sent to any more. Whoever sends a client holds it until the client is through.
    closed: RwLock<BTreeSet<String>>,
}

impl Door {
    fn new(client: Client) -> Self {
        Self { folder: run::folder(), client, closed: RwLock::default() }
    }

    /// One request. A connection that was made has to bring the answer.
    async fn pass(&self, turn: usize) -> Result<String, String> {
        let closed = self.closed.read().await;
        let tasks = self.client.get("/tasks").await.map_err(|error| error.to_string())?;
        let tasks: Vec<Value> = tasks.json().map_err(|error| error.to_string())?;
        let port = |task: &Value| {
            let serves = task["Status"]["State"] == "running" && task["Status"]["Ready"] == true;
            let stays = task["ID"].as_str().is_some_and(|id| !closed.contains(id));
            task["Status"]["PortStatus"]["Ports"][0]["PublishedPort"].as_u64().filter(|_| serves && stays)
        };
        let ports: Vec<u64> = tasks.iter().filter_map(port).collect();
        for index in 0..ports.len() {
            let port = ports[(turn + index) % ports.len()];
            match TcpStream::connect(("127.0.0.1", port as u16)).await {
                Ok(stream) => return answer(stream).await.map_err(|error| format!("port {port}: {error}")),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(format!("port {port}: {error}")),
            }
        }
        Err(format!("nobody of {ports:?} took the connection"))
    }

    /// Sends clients until told to stop; gives what each of them got.
    async fn traffic(&self, stop: watch::Receiver<bool>) -> Vec<Result<String, String>> {
        let clients = (0..CLIENTS).map(async |number| {
            let mut answers = Vec::new();
            while !*stop.borrow() {
                answers.push(self.pass(number + answers.len()).await);
                tokio::time::sleep(PAUSE).await;
            }
            answers
        });
        join_all(clients).await.into_iter().flatten().collect()
    }

    /// Lets tasks go that want to, once those who were sent to them are through.
    async fn see_off(&self) {
        loop {
            for entry in std::fs::read_dir(&self.folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let Some(task) = name.strip_suffix(".leaves") else { continue };
                if !self.closed.read().await.contains(task) {
                    self.closed.write().await.insert(task.to_owned());
                    std::fs::write(self.folder.join(format!("{task}.through")), "").unwrap();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn left(&self) -> usize {
        self.closed.read().await.len()
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /cgi-bin/key HTTP/1.0\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    match text.split_once("\n\n") {
        Some((head, body)) if head.contains(" 200 ") && !body.is_empty() => Ok(body.into()),
        _ => Err(std::io::Error::other(format!("{text:?}"))),
    }
}

async fn rotate(cluster: &Cluster, data: &str) -> Output {
    swarm(&cluster.nodes[0], &["secret", "rotate", "key", "-"], data).await.unwrap()
}

async fn values_are(cluster: &Cluster, value: &str) {
    for task in &cluster.running("web", 3, SOON).await.unwrap() {
        assert_eq!(std::fs::read_to_string(path(cluster, task, "secrets/key")).unwrap(), value);
    }
}

async fn loses_no_request(order: &str) {
    let cluster = Cluster::with_options(1, options(1, 2)).await.unwrap();
    let client = cluster.client(0);
    let (first, second) = (value(), value());
    let key = create(&client, "secret", "key", &first, json!({})).await;
    let door = Door::new(cluster.client(0));
    client.create_service(&servers(&key, &door.folder, order)).await.unwrap();
    let tasks = cluster.running("web", 3, SOON).await.unwrap();
    let nodes: BTreeSet<&String> = tasks.iter().map(|task| &task.node).collect();
    assert_eq!(nodes.len(), 3, "one on each node");
    cluster.wait_until("it answers", SOON, async || door.pass(0).await.map(drop)).await.unwrap();

    let (stop, stopped) = watch::channel(false);
    let rotations = async {
        let good = rotate(&cluster, &second).await;
        assert_eq!(good.code, Some(0), "{good:?}");
        cluster.update_state("web", &["completed"], SOON).await.unwrap();
        values_are(&cluster, &second).await;
        assert_eq!(door.left().await, 3, "each of the first three said that it leaves");
        let bad = rotate(&cluster, "bad").await;
        assert_eq!(bad.code, Some(2), "{bad:?}");
        cluster.update_state("web", &["rollback_completed"], SOON).await.unwrap();
        values_are(&cluster, &second).await;
        assert!(door.left().await > 3, "one tried the bad value");
        stop.send_replace(true);
    };
    let all = async { tokio::join!(door.traffic(stopped), rotations).0 };
    let answers = tokio::select! {
        answers = all => answers,
        () = door.see_off() => unreachable!("it sees off for ever"),
    };
    let failed: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} requests failed: {failed:#?}", failed.len(), answers.len());
    let got = |value: &String| answers.iter().flatten().filter(|answer| *answer == value).count();
    assert!(got(&first) > 0 && got(&second) > 0, "there was traffic before and after");
    assert_eq!(got(&first) + got(&second), answers.len(), "nobody got the bad value");
    for turn in 0..3 {
        assert_eq!(door.pass(turn).await.as_ref(), Ok(&second));
    }
    nowhere_else(&cluster, &second).await;
}

#[tokio::test]
async fn a_rotation_that_starts_first_loses_no_request_and_a_bad_value_goes_back() {
    loses_no_request("start-first").await;
}

#[tokio::test]
async fn a_rotation_that_stops_first_loses_no_request_and_a_bad_value_goes_back() {
    loses_no_request("stop-first").await;
}
