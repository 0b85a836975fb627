//! Who may use the API from afar, and the record of what they did: every role and every wrong certificate at every
//! endpoint and every kind of stream, Docker's command over TCP, contexts, what the audit record holds, and what each
//! certificate is worth (`isolation`).

#[path = "access/isolation.rs"]
mod isolation;
#[path = "access/record.rs"]
mod record;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::engine_api::access::{AuditAnswer, AuditRecord, ClientCert, ClientCertIssued, ClientCertRequest};
use common::identity::client::request_to_pem;
use common::identity::{NodeIdentity, NodeKey, RootAuthority};
use common::object::{AccessRole, ClientRecord, ClientSerial, ClusterId};
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock};
use common::transport::quic::{QuicSettings, QuicTransport};
use common::transport::tls::TlsClient;
use common::transport::{Peer, StreamKind, Transport};
use harness::client::{Answer, exchange};
use harness::cluster::{Cluster, SOON, options};
use harness::docker::{Docker, Output};
use harness::node::NodeOptions;
use harness::services::Runtime;
use harness::wait::wait_until;
use harness::{binary, run};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const API_PORT: u16 = 2376;
const DAY: Duration = Duration::from_secs(24 * 3600);

fn serving(managers: usize, workers: usize) -> Vec<NodeOptions> {
    let serve = |node: NodeOptions| {
        let argument = format!("--api-addr={}:{API_PORT}", node.addr.ip());
        node.with_argument(&argument).with_argument("--engine=none")
    };
    options(managers, workers).into_iter().map(serve).collect()
}

fn api_addr(cluster: &Cluster, index: usize) -> SocketAddr {
    SocketAddr::new(cluster.nodes[index].addr().ip(), API_PORT)
}

/// A certificate with its key, and the authority's.
#[derive(Clone)]
struct Papers {
    serial: String,
    certificate: String,
    key: String,
    ca: String,
}

impl Papers {
    async fn of(cluster: &Cluster, name: &str, role: &str, valid_for: Duration) -> Papers {
        let key = NodeKey::generate().unwrap();
        let request = ClientCertRequest {
            name: name.into(),
            role: role.into(),
            valid_for: i64::try_from(valid_for.as_nanos()).unwrap(),
            csr: request_to_pem(&key).unwrap(),
        };
        let answer = cluster.client(0).post("/swarm/x/client-certs", &request).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.message());
        let issued: ClientCertIssued = answer.json().unwrap();
        Papers {
            serial: issued.serial,
            certificate: issued.certificate,
            key: key.to_pem().reveal().into(),
            ca: issued.ca,
        }
    }

    fn with(&self, certificate: &str, key: &str) -> Papers {
        Papers { certificate: certificate.into(), key: key.into(), ..self.clone() }
    }

    fn tls(&self) -> TlsClient {
        TlsClient::new(&self.ca, Some((&self.certificate, &self.key))).unwrap()
    }

    async fn ask(&self, addr: SocketAddr, method: Method, path: &str, body: &str) -> Result<Answer, String> {
        ask(&self.tls(), addr, method, path, body).await
    }

    async fn get(&self, addr: SocketAddr, path: &str) -> Result<Answer, String> {
        self.ask(addr, Method::GET, path, "").await
    }
}

async fn ask(
    tls: &TlsClient,
    addr: SocketAddr,
    method: Method,
    path: &str,
    body: &str,
) -> Result<Answer, String> {
    let asked = async {
        let stream = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
        let stream = tls.connect(&addr.ip().to_string(), stream).await.map_err(|error| error.to_string())?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        exchange(stream, method, path, body).await.map_err(|error| format!("{error}: {:?}", error.source()))
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.map_err(|_| "no answer".to_owned())?
}

fn identity_of(cluster: &Cluster, index: usize) -> NodeIdentity {
    cluster.nodes[index].identity().unwrap()
}

async fn audit(cluster: &Cluster, index: usize, query: &str) -> AuditAnswer {
    cluster.client(index).get(&format!("/swarm/x/audit?{query}")).await.unwrap().json().unwrap()
}

/// Every endpoint, and the least role that gets through to it. Admins get an answer that changes nothing.
#[rustfmt::skip]
const ENDPOINTS: &[(&str, &str, &str, &str)] = &[
    // method, path, body, least role
    ("GET",    "/_ping",                              "",   "viewer"),
    ("HEAD",   "/_ping",                              "",   "viewer"),
    ("GET",    "/version",                            "",   "viewer"),
    ("GET",    "/info",                               "",   "viewer"),
    ("GET",    "/events?since=0&until=1",             "",   "viewer"),
    ("GET",    "/swarm",                              "",   "viewer"),
    ("POST",   "/swarm/init",                         "{}", "admin"),
    ("POST",   "/swarm/join",                         "{}", "admin"),
    ("POST",   "/swarm/leave",                        "",   "admin"),
    ("POST",   "/swarm/update",                       "{}", "admin"),
    ("POST",   "/swarm/update?version=1&rotateManagerToken=true", "{", "admin"),
    ("GET",    "/swarm/unlockkey",                    "",   "admin"),
    ("POST",   "/swarm/unlock",                       "{}", "admin"),
    ("GET",    "/nodes",                              "",   "viewer"),
    ("GET",    "/nodes/nobody",                       "",   "viewer"),
    ("POST",   "/nodes/nobody/update",                "{}", "operator"),
    ("DELETE", "/nodes/nobody",                       "",   "admin"),
    ("GET",    "/services",                           "",   "viewer"),
    ("GET",    "/services/none",                      "",   "viewer"),
    ("GET",    "/services/none/logs?stdout=1",        "",   "viewer"),
    ("POST",   "/services/create",                    "{",  "operator"),
    ("POST",   "/services/none/update",               "{}", "operator"),
    ("DELETE", "/services/none",                      "",   "operator"),
    ("GET",    "/tasks",                              "",   "viewer"),
    ("GET",    "/tasks/none",                         "",   "viewer"),
    ("GET",    "/tasks/none/logs?stdout=1",           "",   "viewer"),
    ("GET",    "/secrets",                            "",   "viewer"),
    ("GET",    "/secrets/none",                       "",   "viewer"),
    ("POST",   "/secrets/create",                     "{",  "operator"),
    ("POST",   "/secrets/none/update",                "{}", "operator"),
    ("DELETE", "/secrets/none",                       "",   "operator"),
    ("GET",    "/configs",                            "",   "viewer"),
    ("GET",    "/configs/none",                       "",   "viewer"),
    ("POST",   "/configs/create",                     "{",  "operator"),
    ("POST",   "/configs/none/update",                "{}", "operator"),
    ("DELETE", "/configs/none",                       "",   "operator"),
    ("GET",    "/networks",                           "",   "viewer"),
    ("GET",    "/networks/none?scope=swarm",          "",   "viewer"),
    ("GET",    "/networks/none",                      "",   "operator"),
    ("POST",   "/networks/create",                    r#"{"Name":"-","Driver":"overlay"}"#, "operator"),
    ("POST",   "/networks/none/connect",              "{}", "admin"),
    ("DELETE", "/networks/nobody",                    "",   "operator"),
    ("GET",    "/distribution/none/json",             "",   "operator"),
    ("GET",    "/swarm/x/raft",                       "",   "viewer"),
    ("GET",    "/swarm/x/gossip",                     "",   "viewer"),
    ("POST",   "/swarm/x/lab/cut",                    "",   "admin"),
    ("POST",   "/swarm/x/lab/heal",                   "",   "admin"),
    ("GET",    "/swarm/x/services/none/history",      "",   "viewer"),
    ("GET",    "/swarm/x/services/none/explain",      "",   "viewer"),
    ("POST",   "/swarm/x/services/none/rebalance",    "",   "operator"),
    ("POST",   "/swarm/x/secrets/none/rotate",        "{",  "operator"),
    ("GET",    "/swarm/x/secrets/none/history",       "",   "viewer"),
    ("POST",   "/swarm/x/configs/none/rotate",        "{",  "operator"),
    ("GET",    "/swarm/x/configs/none/history",       "",   "viewer"),
    ("POST",   "/swarm/x/restore",                    "",   "admin"),
    ("POST",   "/swarm/x/rotate-data-keys",           "",   "admin"),
    ("GET",    "/swarm/x/client-certs",               "",   "admin"),
    ("POST",   "/swarm/x/client-certs",               "{",  "admin"),
    ("DELETE", "/swarm/x/client-certs/nobody",        "",   "admin"),
    ("GET",    "/swarm/x/audit?limit=1",              "",   "admin"),
    ("GET",    "/swarm/x/backup",                     "",   "admin"),
    ("GET",    "/swarm/x/something/new",              "",   "admin"),
    ("PUT",    "/services/none",                      "",   "admin"),
    ("GET",    "/containers/json",                    "",   "admin"),
    ("POST",   "/containers/create",                  "{}", "admin"),
    ("POST",   "/v1.41/containers/x/exec",            "{}", "admin"),
    ("POST",   "/build",                              "",   "admin"),
    ("GET",    "/images/json",                        "",   "admin"),
    ("GET",    "/volumes",                            "",   "admin"),
    ("GET",    "/system/df",                          "",   "admin"),
    ("POST",   "/auth",                               "{}", "admin"),
    ("GET",    "/nothing/like/it",                    "",   "admin"),
];

#[tokio::test]
async fn every_endpoint_needs_its_role_and_no_other_certificate_opens_any() {
    let cluster = Cluster::with_options(1, serving(1, 1)).await.unwrap();
    let addr = api_addr(&cluster, 0);
    let mut of_role = Vec::new();
    for role in AccessRole::ALL {
        of_role.push((role, Papers::of(&cluster, role.as_str(), role.as_str(), DAY).await));
    }
    let admin = of_role[2].1.clone();

    for (method, path, body, least) in ENDPOINTS {
        let least: AccessRole = least.parse().unwrap();
        for (role, papers) in &of_role {
            let method: Method = method.parse().unwrap();
            let answer = papers.ask(addr, method.clone(), path, body).await;
            let answer = answer.unwrap_or_else(|error| panic!("{role} {method} {path}: {error}"));
            let message = answer.message();
            if *role >= least {
                assert_ne!(answer.status, 403, "{role} {method} {path}: {message}");
            } else {
                assert_eq!(answer.status, 403, "{role} {method} {path}: {message}");
                assert!(message.contains(&format!("needs the role {least}")), "{message}");
            }
        }
    }
    assert_eq!(cluster.client(0).nodes().await.unwrap().len(), 2, "nothing of it had an effect");

    // What lets nodes in is shown to admins alone.
    for (role, papers) in &of_role {
        let answer = papers.get(addr, "/swarm").await.unwrap();
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(shown.contains("SWMTKN"), *role == AccessRole::Admin, "{role}: {shown}");
        assert!(!shown.contains("PRIVATE KEY"), "{role}");
        let info = papers.get(addr, "/info").await.unwrap();
        assert!(!String::from_utf8_lossy(&info.body).contains("SWMTKN"), "{role}");
    }

    // An operator says how a node is used, and not what it is.
    let operator = &of_role[1].1;
    let node = cluster.client(0).node(cluster.id(1)).await.unwrap();
    let update = |role: &str, version: u64| {
        let spec = json!({"Role": role, "Availability": "drain", "Labels": {"tier": "front"}}).to_string();
        (format!("/nodes/{}/update?version={version}", node.id), spec)
    };
    let (path, spec) = update("manager", node.version.index);
    let refused = operator.ask(addr, Method::POST, &path, &spec).await.unwrap();
    assert_eq!(refused.status, 403, "{}", refused.message());
    let (path, spec) = update("worker", node.version.index);
    let done = operator.ask(addr, Method::POST, &path, &spec).await.unwrap();
    assert_eq!(done.status, 200, "{}", done.message());
    assert_eq!(cluster.client(0).labels(cluster.id(1)).await.unwrap()["tier"], "front");

    // Nor does it make networks of the engine, which is root on the machine.
    let local = r#"{"Name":"local","Driver":"bridge"}"#;
    let refused = operator.ask(addr, Method::POST, "/networks/create", local).await.unwrap();
    assert_eq!(refused.status, 403, "{}", refused.message());
    assert!(refused.message().contains("needs the role admin"), "{}", refused.message());

    // A certificate of a node, of either role, is a certificate of this cluster and opens no endpoint.
    for index in [0, 1] {
        let identity = identity_of(&cluster, index);
        let papers = admin.with(identity.certificate_pem(), identity.key().to_pem().reveal());
        for (method, path, body, _) in ENDPOINTS {
            let answer = papers.ask(addr, method.parse().unwrap(), path, body).await.unwrap();
            assert_eq!(answer.status, 403, "node {index}: {method} {path}: {}", answer.message());
        }
    }

    // These do not get as far as HTTP.
    let now = SystemClock.now();
    let foreign = RootAuthority::generate(now).unwrap();
    let key = NodeKey::generate().unwrap();
    let record = ClientRecord {
        name: "admin".into(),
        role: AccessRole::Admin,
        issued: now,
        expires: now.plus(DAY),
        revoked: None,
    };
    let cluster_id: ClusterId = identity_of(&cluster, 0).cluster;
    let serial: ClientSerial = admin.serial.parse().unwrap();
    let forged = foreign.sign_client(&key.signing_request().unwrap(), cluster_id, serial, &record).unwrap();
    let expired = Papers::of(&cluster, "short", "admin", Duration::from_secs(1)).await;
    wait_until("the short certificate is over", SOON, async || {
        let all: Vec<ClientCert> =
            cluster.client(0).get("/swarm/x/client-certs").await.unwrap().json().unwrap();
        let short = all.into_iter().find(|one| one.name == "short").unwrap();
        if short.state == "expired" { Ok(()) } else { Err(short.state) }
    })
    .await
    .unwrap();
    let strangers = [
        ("no certificate", TlsClient::new(&admin.ca, None).unwrap()),
        ("another cluster's, with a serial of ours", admin.with(&forged, key.to_pem().reveal()).tls()),
        ("self-signed", admin.with(foreign.certificate_pem(), foreign.key_pem().reveal()).tls()),
        ("expired", expired.tls()),
    ];
    for (what, tls) in &strangers {
        for path in ["/_ping", "/nodes", "/swarm", "/containers/json"] {
            let answer = ask(tls, addr, Method::GET, path, "").await;
            // Certificates end with a whole second, and records do not: for less than one the record alone knows.
            let told = answer.map_or(0, |answer| answer.status);
            assert!(told == 0 || (told == 403 && *what == "expired"), "{what} {path}: {told}");
        }
    }

    // A revoked one is told so, at every endpoint.
    let gone = Papers::of(&cluster, "gone", "admin", DAY).await;
    assert_eq!(gone.get(addr, "/nodes").await.unwrap().status, 200);
    cluster.client(0).delete("/swarm/x/client-certs/gone").await.unwrap().ok().unwrap();
    for (method, path, body, _) in ENDPOINTS {
        let answer = gone.ask(addr, method.parse().unwrap(), path, body).await.unwrap();
        assert_eq!(answer.status, 403, "{method} {path}");
        if *method != "HEAD" {
            assert!(answer.message().contains("was revoked at"), "{}", answer.message());
        }
    }

    // The record has the refusals, by name.
    let refused = audit(&cluster, 0, "outcome=refused").await;
    assert_eq!(refused.missing, Vec::<String>::new());
    let of = |kind: &str, name: &str| {
        refused.records.iter().filter(|one| one.who.kind == kind && one.who.name == name).count()
    };
    assert!(of("client", "viewer") > 10 && of("client", "gone") > 10 && of("stranger", "") > 4);
    assert!(of("node", cluster.id(0)) > 10);
}

#[tokio::test]
async fn who_speaks_no_tls_or_asks_no_manager_is_told() {
    let cluster = Cluster::with_options(1, serving(1, 1)).await.unwrap();
    let plain = async |index: usize| {
        let mut stream = TcpStream::connect(api_addr(&cluster, index)).await.unwrap();
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let manager = plain(0).await;
    assert!(manager.starts_with("HTTP/1.1 400 ") && manager.contains("under TLS"), "{manager}");
    let worker = plain(1).await;
    assert!(worker.starts_with("HTTP/1.1 503 ") && worker.contains("not a manager"), "{worker}");
    // Somebody who says nothing is not waited for, and harms nobody.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(api_addr(&cluster, 0)).await.unwrap());
    }
    let papers = Papers::of(&cluster, "alice", "viewer", DAY).await;
    assert_eq!(papers.get(api_addr(&cluster, 0), "/nodes").await.unwrap().status, 200);
    let mut end = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(60), silent[0].read_to_end(&mut end)).await;
    assert!(closed.is_ok(), "it is closed");
    assert_eq!(papers.get(api_addr(&cluster, 0), "/nodes").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_revoked_client_is_cut_off_on_every_manager() {
    let cluster = Cluster::with_options(3, serving(3, 0)).await.unwrap();
    let papers = Papers::of(&cluster, "alice", "operator", DAY).await;
    let other = Papers::of(&cluster, "bob", "operator", DAY).await;
    let mut streams = Vec::new();
    for (papers, index) in [(&papers, 0), (&papers, 1), (&papers, 2), (&other, 1)] {
        let addr = api_addr(&cluster, index);
        wait_until("the certificate is known", SOON, async || {
            let answer = papers.get(addr, "/nodes").await?;
            if answer.is_ok() { Ok(()) } else { Err(answer.message()) }
        })
        .await
        .unwrap();
        let tcp = TcpStream::connect(addr).await.unwrap();
        let mut stream = papers.tls().connect(&addr.ip().to_string(), tcp).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let before = SystemClock.monotonic();
    cluster
        .client(2)
        .delete(&format!("/swarm/x/client-certs/{}", papers.serial))
        .await
        .unwrap()
        .ok()
        .unwrap();
    let mut last = streams.pop().unwrap();
    for mut stream in streams {
        let mut rest = Vec::new();
        // It ends, in whichever way a connection that is cut off ends.
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is cut off");
    }
    eprintln!("revoked, cut off on three managers: {:?}", SystemClock.monotonic().since(before));
    for index in 0..3 {
        let answer = papers.get(api_addr(&cluster, index), "/nodes").await.unwrap();
        assert!(answer.status == 403 && answer.message().contains("was revoked"), "{}", answer.message());
        assert_eq!(other.get(api_addr(&cluster, index), "/nodes").await.unwrap().status, 200);
    }
    // The other one's stream goes on.
    let mut byte = [0; 4096];
    let woken = async {
        cluster
            .client(0)
            .change_node(cluster.id(0), |spec| spec.labels = [("a".into(), "b".into())].into())
            .await
            .unwrap();
        let mut seen = String::new();
        while !seen.contains("\"node\"") {
            let count = last.read(&mut byte).await.unwrap();
            assert!(count > 0, "the other stream ended");
            seen.push_str(&String::from_utf8_lossy(&byte[..count]));
        }
    };
    tokio::time::timeout(SOON, woken).await.expect("an event comes");
}

async fn swarm(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary::swarm());
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    for name in ["SWARM_HOST", "SWARM_CONTEXT", "SWARM_CERT_PATH", "DOCKER_CERT_PATH"] {
        command.env_remove(name);
    }
    command.env("SWARM_CONFIG", folder.join("config")).env("DOCKER_CONFIG", folder.join("docker"));
    command.envs(environment.iter().copied());
    let output =
        tokio::time::timeout(Duration::from_secs(60), command.output()).await.expect("it ends").unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into(),
        stderr: String::from_utf8_lossy(&output.stderr).into(),
    }
}

#[tokio::test]
async fn commands_reach_a_daemon_far_away_by_flags_environment_and_contexts() {
    let cluster = Cluster::with_options(1, serving(1, 0)).await.unwrap();
    let folder = run::folder();
    std::fs::create_dir_all(&folder).unwrap();
    let socket = format!("unix://{}", cluster.nodes[0].socket().display());
    let far = format!("tcp://{}", api_addr(&cluster, 0));
    let none: &[(&str, &str)] = &[];

    let made = swarm(
        &folder,
        none,
        &["-H", &socket, "client-cert", "create", "--role", "operator", "--expires", "30d", "alice"],
    )
    .await;
    assert_eq!(made.code, Some(0), "{made:?}");
    for (file, mode) in [("ca.pem", 0o600), ("cert.pem", 0o600), ("key.pem", 0o600)] {
        use std::os::unix::fs::PermissionsExt;
        let found = std::fs::metadata(folder.join("alice").join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
    let again =
        swarm(&folder, none, &["-H", &socket, "client-cert", "create", "--role", "viewer", "alice"]).await;
    assert!(again.code == Some(5) || again.code != Some(0), "{again:?}");
    assert!(again.stderr.contains("is there already"), "{again:?}");

    let flags = [
        "-H",
        &far,
        "--tlsverify",
        "--tlscacert",
        "alice/ca.pem",
        "--tlscert",
        "alice/cert.pem",
        "--tlskey",
        "alice/key.pem",
    ];
    let listed = swarm(&folder, none, &[&flags[..], &["node", "ls", "-q"]].concat()).await;
    assert_eq!((listed.code, listed.stdout.trim()), (Some(0), cluster.id(0)), "{listed:?}");
    let refused = swarm(&folder, none, &[&flags[..], &["join-token", "--rotate", "worker"]].concat()).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("needs the role admin"), "{refused:?}");

    let papers = folder.join("alice");
    let papers = papers.to_str().unwrap();
    for name in ["SWARM_CERT_PATH", "DOCKER_CERT_PATH"] {
        let listed = swarm(&folder, &[("SWARM_HOST", &far), (name, papers)], &["node", "ls", "-q"]).await;
        assert_eq!(listed.stdout.trim(), cluster.id(0), "{name}: {listed:?}");
    }
    let nothing = swarm(&folder, &[("SWARM_HOST", &far)], &["node", "ls"]).await;
    assert!(nothing.code != Some(0) && nothing.stderr.contains("client-cert create"), "{nothing:?}");

    let docker = format!("host={far},ca=alice/ca.pem,cert=alice/cert.pem,key=alice/key.pem");
    let made = swarm(&folder, none, &["context", "create", "prod", "--docker", &docker]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let used = swarm(&folder, none, &["context", "use", "prod"]).await;
    assert_eq!((used.code, used.stdout.as_str()), (Some(0), "prod\n"), "{used:?}");
    let listed = swarm(&folder, none, &["node", "ls", "-q"]).await;
    assert_eq!(listed.stdout.trim(), cluster.id(0), "{listed:?}");
    let shown = swarm(&folder, none, &["context", "ls"]).await;
    assert!(shown.stdout.contains("prod *") && shown.stdout.contains(&far), "{shown:?}");
    let both = swarm(&folder, none, &["-H", &far, "-c", "prod", "node", "ls"]).await;
    assert_eq!(both.code, Some(125), "{both:?}");
    let unknown = swarm(&folder, none, &["-c", "nowhere", "node", "ls"]).await;
    assert!(
        unknown.code != Some(0) && unknown.stderr.contains("context \"nowhere\" not found"),
        "{unknown:?}"
    );

    // Docker's own contexts are contexts too, and Docker's client uses them against us.
    if let Some(command) = Docker::at(&cluster.nodes[0].socket(), "commands_reach_a_daemon_far_away") {
        let in_docker = |arguments: &[&str]| {
            let mut docker = tokio::process::Command::new("docker");
            docker.args(arguments).current_dir(&folder).env("DOCKER_CONFIG", folder.join("docker"));
            for name in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
                docker.env_remove(name);
            }
            async move {
                let output = docker.stdin(Stdio::null()).output().await.unwrap();
                (
                    output.status.code(),
                    String::from_utf8_lossy(&output.stdout).into_owned()
                        + &String::from_utf8_lossy(&output.stderr),
                )
            }
        };
        let (code, said) = in_docker(&["context", "create", "theirs", "--docker", &docker]).await;
        assert_eq!(code, Some(0), "{said}");
        let listed = swarm(&folder, none, &["--context", "theirs", "node", "ls", "-q"]).await;
        assert_eq!(listed.stdout.trim(), cluster.id(0), "{listed:?}");
        let (code, said) = in_docker(&["--context", "theirs", "node", "ls", "-q"]).await;
        assert_eq!((code, said.trim()), (Some(0), cluster.id(0)));

        let folder_of = folder.join("alice");
        let papers = |file: &str| folder_of.join(file).display().to_string();
        let (ca, cert, key) = (papers("ca.pem"), papers("cert.pem"), papers("key.pem"));
        let tls = ["--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key, "-H", &far];
        let docker = |arguments: &[&str]| in_docker(&[&tls[..], arguments].concat());
        let (code, said) = docker(&["node", "ls", "--format", "{{.ID}} {{.Status}}"]).await;
        assert!(code == Some(0) && said.contains(&format!("{} Ready", cluster.id(0))), "{said}");
        let (code, said) = docker(&["node", "update", "--label-add", "a=b", cluster.id(0)]).await;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = docker(&["swarm", "join-token", "worker"]).await;
        // It asks for the cluster, and finds no token in it.
        assert!(code.is_some() && !said.contains("SWMTKN"), "{said}");
        let (code, said) = docker(&["ps"]).await;
        assert!(code == Some(1) && said.contains("needs the role admin"), "{said}");
        drop(command);
    }

    let revoked = swarm(&folder, none, &["-H", &socket, "client-cert", "revoke", "alice"]).await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let shown = swarm(&folder, none, &["-H", &socket, "client-cert", "ls"]).await;
    assert!(shown.stdout.contains("alice") && shown.stdout.contains("revoked"), "{shown:?}");
    let refused = swarm(&folder, none, &["node", "ls"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("was revoked"), "{refused:?}");
    let removed = swarm(&folder, none, &["context", "rm", "--force", "prod"]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What is said nowhere.
const SECRET: &str = "hunter2hunter2";

#[tokio::test]
async fn a_worker_s_certificate_opens_its_own_streams_and_no_other() {
    let mut cluster = Cluster::with_options(1, serving(1, 2)).await.unwrap();
    let identity = identity_of(&cluster, 1);
    cluster.nodes[1].kill();
    let tasks = Tasks::new();
    let settings = QuicSettings::new(run::address());
    let (transport, _arrivals) =
        QuicTransport::start(settings, identity, &tasks, Arc::new(SystemClock)).unwrap();
    for index in [0, 2] {
        let peer = Peer { node: cluster.id(index).parse().unwrap(), addr: cluster.nodes[index].addr() };
        for kind in StreamKind::ALL {
            let mut stream = transport.open(peer, kind).await.unwrap();
            // A message of the right form, of no content.
            let _ = stream.send.write_all(&[0, 0, 0, 2, 1, 0]).await;
            let mut answer = Vec::new();
            let read =
                tokio::time::timeout(Duration::from_secs(5), stream.recv.read_to_end(&mut answer)).await;
            let is_open = matches!(kind, StreamKind::Session | StreamKind::Renew);
            match read {
                Ok(Err(_)) => {}
                Ok(Ok(_)) => assert!(is_open, "{kind:?} at {index} ended in peace"),
                Err(_) => assert!(is_open, "{kind:?} at {index} was left open"),
            }
            assert!(answer.is_empty() || is_open, "{kind:?} at {index} answered {answer:?}");
        }
    }
    transport.stop().await;
    tasks.stop().await;
}
