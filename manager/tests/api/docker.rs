//! The real `docker` client on our socket. What runs containers needs a Docker Engine on this machine as well.
//!
//! Where there is none a test says so on the terminal, loudly, and checks nothing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use common::object::{Availability, NodeId, NodeState, Role};
use manager::api::EngineSettings;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost, id_of};

pub const ENGINE: &str = "/var/run/docker.sock";

pub fn skip(test: &str, reason: &str) {
    // Past the test harness, which keeps what a passing test prints to itself.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {reason}\n");
}

/// The client, without this machine's own settings for it.
pub fn docker(api: &Api) -> Command {
    let mut command = Command::new("docker");
    command
        .arg("-H")
        .arg(format!("unix://{}", api.socket().display()))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", api.socket().parent().expect("a folder"))
        .env("DOCKER_BUILDKIT", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub struct Ran {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

pub async fn run(mut command: Command) -> Ran {
    let running = tokio::time::timeout(Duration::from_secs(120), command.output());
    let output = running.await.expect("docker ends in time").expect("docker runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ran { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
}

pub async fn ran(api: &Api, words: &[&str]) -> Ran {
    let mut command = docker(api);
    command.args(words);
    run(command).await
}

/// What docker printed; it has to succeed.
pub async fn printed(api: &Api, words: &[&str]) -> String {
    let ran = ran(api, words).await;
    assert!(ran.ok, "docker {words:?}: {}{}", ran.out, ran.err);
    ran.out
}

pub async fn has_client(test: &str) -> bool {
    let found =
        Command::new("docker").arg("--version").output().await.is_ok_and(|output| output.status.success());
    if !found {
        skip(test, "there is no docker client");
    }
    found
}

fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Manager, "host-2", NodeState::Ready);
    cluster.add(3, Role::Worker, "host-3", NodeState::Down);
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

#[tokio::test]
async fn node_commands() {
    if !has_client("node_commands").await {
        return;
    }
    let (api, cluster) = served();
    let ls = printed(&api, &["node", "ls"]).await;
    let rows: Vec<Vec<&str>> = ls.lines().map(|line| line.split_whitespace().collect()).collect();
    let ids = [1, 2, 3].map(|number| NodeId(id_of(number)).to_string());
    #[rustfmt::skip]
    assert_eq!(rows, [
        vec!["ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER", "STATUS", "ENGINE", "VERSION"],
        vec![&ids[0], "*", "host-1", "Ready", "Active", "Leader", "20.10"],
        vec![&ids[1], "host-2", "Ready", "Active", "Reachable", "20.10"],
        vec![&ids[2], "host-3", "Down", "Active", "20.10"],
    ]);
    assert_eq!(printed(&api, &["node", "ls", "-q", "--filter", "role=worker"]).await.trim(), ids[2]);
    assert_eq!(printed(&api, &["node", "ls", "--format", "{{.TLSStatus}}"]).await, "Ready\nReady\nReady\n");

    let pretty = printed(&api, &["node", "inspect", "--pretty", "self"]).await;
    for line in [
        "Hostname:",
        "host-1",
        "Raft Status:",
        "Reachable",
        "Leader:",
        "Yes",
        "CPUs:",
        "1GiB",
        "-----BEGIN CERTIFICATE-----",
    ] {
        assert!(pretty.contains(line), "{line}: {pretty}");
    }
    let missing = ran(&api, &["node", "inspect", "nobody"]).await;
    assert!(!missing.ok && missing.err.contains("node nobody not found"), "{}", missing.err);

    assert_eq!(
        printed(&api, &["node", "update", "--availability", "drain", "--label-add", "zone=a", "host-3"])
            .await,
        "host-3\n"
    );
    let node = cluster.node(NodeId(id_of(3))).expect("node 3");
    assert_eq!((node.spec.availability, node.spec.labels["zone"].as_str()), (Availability::Drain, "a"));
    assert_eq!(
        printed(&api, &["node", "promote", "host-3"]).await,
        "Node host-3 promoted to a manager in the swarm.\n"
    );
    assert_eq!(printed(&api, &["node", "demote", "host-3"]).await, "Manager host-3 demoted in the swarm.\n");
    assert_eq!(printed(&api, &["node", "ps", "self", "host-3"]).await.lines().count(), 1);
    assert_eq!(printed(&api, &["node", "rm", "host-3"]).await, "host-3\n");
    let up = ran(&api, &["node", "rm", "--force", "host-2"]).await;
    assert!(!up.ok && up.err.contains("It must be demoted to worker before removal"), "{}", up.err);
}

#[tokio::test]
async fn swarm_commands() {
    if !has_client("swarm_commands").await {
        return;
    }
    let host = FakeHost::outside();
    let api = Api::new(host.clone());
    let outside = ran(&api, &["node", "ls"]).await;
    assert!(
        !outside.ok && outside.err.contains("This node is not a swarm manager. Use \"docker swarm init\""),
        "{}",
        outside.err
    );

    let init =
        printed(&api, &["swarm", "init", "--advertise-addr", "10.0.0.1", "--task-history-limit", "3"]).await;
    let id = NodeId(id_of(1));
    assert!(init.contains(&format!("Swarm initialized: current node ({id}) is now a manager.")), "{init}");
    assert!(init.contains("docker swarm join --token SWMTKN-1-worker 10.0.0.1:2377"), "{init}");
    let join = printed(&api, &["swarm", "join-token", "manager"]).await;
    assert!(join.contains("docker swarm join --token SWMTKN-1-manager 10.0.0.1:2377"), "{join}");
    let rotated = printed(&api, &["swarm", "join-token", "--rotate", "-q", "worker"]).await;
    assert_eq!(rotated, "SWMTKN-1-new-1\n");
    assert_eq!(printed(&api, &["swarm", "update", "--cert-expiry", "2h"]).await, "Swarm updated.\n");
    let cluster = host.cluster.lock().unwrap().clone().expect("made by init");
    let spec = &cluster.settings().spec;
    assert_eq!((spec.node_certificate_expiry, spec.task_history_limit), (Duration::from_secs(7200), 3));
    let short = ran(&api, &["swarm", "update", "--cert-expiry", "2m"]).await;
    assert!(!short.ok && short.err.contains("minimum certificate expiry time is: 1h0m0s"), "{}", short.err);
    let refused = ran(&api, &["swarm", "unlock-key", "--rotate"]).await;
    assert!(!refused.ok && refused.err.contains("autolock is not turned on"), "{}", refused.err);
    let locked = printed(&api, &["swarm", "update", "--autolock"]).await;
    let key = printed(&api, &["swarm", "unlock-key", "-q"]).await;
    assert!(
        locked.contains("command and provide the following key:") && locked.contains(key.trim()),
        "{locked}"
    );
    let rotated = printed(&api, &["swarm", "unlock-key", "--rotate"]).await;
    assert!(rotated.starts_with("Successfully rotated manager unlock key."), "{rotated}");
    assert!(rotated.contains("SWMKEY-1-") && !rotated.contains(key.trim()), "{rotated}");
    assert_eq!(printed(&api, &["swarm", "update", "--autolock=false"]).await, "Swarm updated.\n");
    assert!(printed(&api, &["swarm", "ca"]).await.starts_with("-----BEGIN CERTIFICATE-----"));

    let refused = ran(&api, &["swarm", "leave"]).await;
    assert!(
        !refused.ok && refused.err.contains("Removing the last manager erases all current state"),
        "{}",
        refused.err
    );
    assert_eq!(printed(&api, &["swarm", "leave", "--force"]).await, "Node left the swarm.\n");
    let joined = printed(&api, &["swarm", "join", "--token", "SWMTKN-1-x", "10.0.0.2:2377"]).await;
    assert_eq!(joined, "This node joined a swarm as a worker.\n");
}

#[tokio::test]
async fn info_and_version() {
    if !has_client("info_and_version").await {
        return;
    }
    let (api, cluster) = served();
    let info = printed(&api, &["info"]).await;
    for line in [
        "Swarm: active",
        "Is Manager: true",
        "Managers: 2",
        "Nodes: 3",
        "Default Address Pool: 10.0.0.0/8",
        "SubnetSize: 24",
        "Data Path Port: 4789",
        "Task History Retention Limit: 5",
        "Snapshot Interval: 10000",
        "Number of Old Snapshots to Retain: 0",
        "Heartbeat Tick: 1",
        "Election Tick: 10",
        "Heartbeat Period: 5 seconds",
        "Expiry Duration: 3 months",
        "Autolock Managers: false",
        "Root Rotation In Progress: false",
        "Node Address: 10.0.0.1",
        "10.0.0.1:2377",
        "Name: host-1",
    ] {
        assert!(info.contains(line), "{line}: {info}");
    }
    cluster.lose_leader();
    let info = printed(&api, &["info"]).await;
    assert!(info.contains("Error: The swarm does not have a leader."), "{info}");
    let version = printed(&api, &["version"]).await;
    let version = version.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "API version: 1.50 Go",
        "Server: Swarm 0.1.0 Swarm: Version: 0.1.0 ApiVersion: 1.50",
        "MinAPIVersion: 1.24",
    ] {
        assert!(version.contains(words), "{words}: {version}");
    }
}

/// Our socket in front of this machine's engine, with an image made here; gone with the test.
struct Containers {
    api: Api,
    image: String,
}

impl Containers {
    async fn start(test: &str) -> Option<Self> {
        if !has_client(test).await {
            return None;
        }
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
        let Some(busybox) = busybox else {
            skip(test, "there is no busybox to make an image of");
            return None;
        };
        let engine = EngineSettings { socket: Some(PathBuf::from(ENGINE)) };
        let api = Api::with_engine(FakeHost::manager(&FakeCluster::new()), engine);
        if !ran(&api, &["ps"]).await.ok {
            skip(test, "no Docker Engine answers on this machine");
            return None;
        }
        let image = format!("swarm-api-test-{}-{test}:latest", std::process::id());
        let containers = Self { api, image };
        containers.import(busybox).await;
        if !containers.docker(&["run", "--rm", &containers.image, "true"]).await.ok {
            containers.end().await;
            skip(test, "the engine cannot run a container of a static busybox");
            return None;
        }
        Some(containers)
    }

    /// `docker import` reads the archive from its input: a body of unknown length.
    async fn import(&self, busybox: &Path) {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        std::fs::copy(busybox, bin.join("busybox")).expect("a copy");
        for name in ["sh", "cat", "echo", "true", "sleep", "wc", "seq"] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).expect("a link");
        }
        let archive = folder.path().join("image.tar");
        let tar =
            Command::new("tar").args(["-cf"]).arg(&archive).arg("-C").arg(folder.path()).arg("bin").output();
        assert!(tar.await.expect("tar runs").status.success());
        let mut command = docker(&self.api);
        command.args(["import", "-", &self.image]).stdin(std::fs::File::open(&archive).expect("an archive"));
        let ran = run(command).await;
        assert!(ran.ok && ran.out.starts_with("sha256:"), "{}{}", ran.out, ran.err);
    }

    async fn docker(&self, words: &[&str]) -> Ran {
        ran(&self.api, words).await
    }

    async fn with_input(&self, words: &[&str], input: Vec<u8>) -> Ran {
        let mut command = docker(&self.api);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("docker runs");
        let mut stdin = child.stdin.take().expect("an input");
        let (_, output) = tokio::join!(
            async move {
                let _ = stdin.write_all(&input).await;
                drop(stdin);
            },
            tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()),
        );
        let output = output.expect("docker ends in time").expect("docker runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ran { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    async fn end(&self) {
        self.docker(&["rmi", "--force", &self.image]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_run_through_our_socket() {
    let Some(containers) = Containers::start("containers_run_through_our_socket").await else { return };
    let (image, docker) = (containers.image.as_str(), async |words: &[&str]| containers.docker(words).await);

    let hello = docker(&["run", "--rm", image, "echo", "hello"]).await;
    assert_eq!((hello.ok, hello.out.as_str()), (true, "hello\n"), "{}", hello.err);
    let failing = docker(&["run", "--rm", image, "sh", "-c", "echo no >&2; exit 7"]).await;
    assert_eq!((failing.ok, failing.err.as_str()), (false, "no\n"));

    // The input's end goes through and the output after it comes back: three megabytes counted on the far side.
    let input = vec![b'x'; 3_000_000];
    let counted = containers.with_input(&["run", "-i", "--rm", image, "wc", "-c"], input.clone()).await;
    assert_eq!(counted.out.trim(), "3000000", "{}", counted.err);
    let echoed = containers.with_input(&["run", "-i", "--rm", image, "cat"], input.clone()).await;
    assert_eq!((echoed.out.len(), echoed.ok), (input.len(), true), "{}", echoed.err);

    let name = format!("swarm-api-test-{}", std::process::id());
    let started = docker(&[
        "run",
        "-d",
        "--name",
        &name,
        image,
        "sh",
        "-c",
        "echo first; while ! [ -e /go ]; do sleep 0.1; done; echo second; sleep 1000",
    ])
    .await;
    assert!(started.ok, "{}", started.err);
    let listed =
        docker(&["ps", "--filter", &format!("name={name}"), "--format", "{{.Names}} {{.State}}"]).await;
    assert_eq!(listed.out, format!("{name} running\n"), "{}", listed.err);

    let mut follow = self::docker(&containers.api);
    follow.args(["logs", "-f", &name]).stdout(Stdio::piped());
    let mut follow = follow.spawn().expect("docker runs");
    let mut lines = BufReader::new(follow.stdout.take().expect("an output")).lines();
    let mut line = async || {
        let next = tokio::time::timeout(Duration::from_secs(60), lines.next_line());
        next.await.expect("a line in time").expect("a line").expect("not the end")
    };
    assert_eq!(line().await, "first");
    let told =
        containers.with_input(&["exec", "-i", &name, "sh"], b"echo > /go; echo from exec\n".to_vec()).await;
    assert_eq!((told.ok, told.out.as_str()), (true, "from exec\n"), "{}", told.err);
    assert_eq!(line().await, "second");
    follow.kill().await.expect("killed");

    // A terminal: the far side sees one, and its output comes back through it.
    if Path::new("/usr/bin/script").exists() {
        let socket = containers.api.socket();
        let line = format!(
            "docker -H unix://{} exec -it {name} sh -c 'test -t 0 && test -t 1 && echo on a terminal'",
            socket.display()
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).kill_on_drop(true);
        let terminal = run(command).await;
        assert!(terminal.ok && terminal.out.contains("on a terminal"), "{}{}", terminal.out, terminal.err);
    } else {
        skip("exec -it", "there is no `script` to make a terminal with");
    }

    // Files travel as archives, with a header of the engine's own about them.
    let folder = tempfile::tempdir().expect("a folder");
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    std::fs::write(&there, vec![3; 2_000_000]).expect("a file");
    let copied = docker(&["cp", &there.display().to_string(), &format!("{name}:/copied")]).await;
    assert!(copied.ok, "{}", copied.err);
    let copied = docker(&["cp", &format!("{name}:/copied"), &back.display().to_string()]).await;
    assert!(copied.ok && std::fs::read(&back).expect("a file") == vec![3; 2_000_000], "{}", copied.err);

    let inspected = docker(&["inspect", "--format", "{{.State.Status}}", &name]).await;
    assert_eq!(inspected.out, "running\n");
    assert!(docker(&["rm", "--force", &name]).await.ok);
    containers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_build_through_our_socket() {
    let Some(containers) = Containers::start("images_build_through_our_socket").await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let recipe =
        format!("FROM {}\nCOPY big /big\nRUN [\"sh\", \"-c\", \"echo built > /made\"]\n", containers.image);
    std::fs::write(folder.path().join("Dockerfile"), recipe).expect("a file");
    std::fs::write(folder.path().join("big"), vec![7; 5_000_000]).expect("a file");
    let tag = containers.image.replace(":latest", ":built");
    let built = containers.docker(&["build", "-t", &tag, &folder.path().display().to_string()]).await;
    assert!(built.ok && built.out.contains("Successfully built"), "{}{}", built.out, built.err);
    let shown = containers.docker(&["run", "--rm", &tag, "sh", "-c", "cat /made; wc -c < /big"]).await;
    assert_eq!(shown.out, "built\n5000000\n", "{}", shown.err);
    containers.docker(&["rmi", "--force", &tag]).await;
    containers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn info_and_version_name_the_engine_too() {
    let Some(containers) = Containers::start("info_and_version_name_the_engine_too").await else { return };
    let info = printed(&containers.api, &["info"]).await;
    for line in ["Storage Driver:", "Swarm: active", "Is Manager: true", "Logging Driver:"] {
        assert!(info.contains(line), "{line}: {info}");
    }
    let version = printed(&containers.api, &["version", "--format", "{{json .Server}}"]).await;
    let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
    let names: Vec<&str> = version["Components"]
        .as_array()
        .expect("parts")
        .iter()
        .filter_map(|part| part["Name"].as_str())
        .collect();
    assert_eq!(names[..2], ["Swarm", "Engine"]);
    containers.end().await;
}
