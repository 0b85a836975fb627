//! An engine with an image, tasks for it, and an end of every test that leaves nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::object::container::ContainerSpec;
use common::object::{NodeId, ServiceId, Slot, TaskId, TaskSpec};
use common::random::SystemRandom;
use common::shutdown::Tasks;
use common::wire::logs::{LogLine, LogStream};
use futures_util::StreamExt;
use tokio::time::timeout;
use worker::mesh::dns::Door;
use worker::runtime::docker::{Docker, DockerSettings};
use worker::runtime::files::TaskFiles;
use worker::runtime::{LogOptions, RunError, Runtime, Seen, TaskSetup};

/// Long enough for an engine on a busy machine; every wait ends when what it waits for is there.
pub const SOON: Duration = Duration::from_secs(60);

/// A static busybox and nothing else. Made once per engine, and left there for the next run.
pub const IMAGE: &str = "swarm-tests-busybox:1";

/// Names of what must not be missing, separated by commas: there a skipped test is a failed one.
const REQUIRE: &str = "SWARM_TESTS_REQUIRE";

/// Says that `test` was skipped because `what` is not here; panics where `what` was promised to be.
pub fn skipped(test: &str, what: &str, reason: &str) {
    let required = std::env::var(REQUIRE).unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == what),
        "{test} needs {what}, which {REQUIRE} says is here: {reason}"
    );
    // Not `eprintln`, which the test runner keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: no {what}: {reason}");
}

/// A node of its own on the engine; its containers go with it.
pub struct Node {
    pub id: NodeId,
    pub runtime: Arc<dyn Runtime>,
    /// Where the engine itself listens, whatever the runtime was told.
    engine: PathBuf,
    pub files: Arc<TaskFiles>,
    pub names: Arc<Door>,
    pub tasks: Tasks,
}

impl Node {
    /// None, and a loud line, where this machine has no engine.
    pub fn of(test: &str) -> Option<Node> {
        let engine = engine(test)?;
        Some(Self::on(&engine, &engine))
    }

    /// A node that reaches the engine at `engine` through `socket`.
    pub fn on(engine: &Path, socket: &Path) -> Node {
        let id = NodeId::generate(&mut SystemRandom);
        Self::with_id(id, engine, socket)
    }

    /// As after a restart of its daemon.
    pub fn again(&self) -> Node {
        Self::with_id(self.id, &self.engine, &self.engine)
    }

    fn with_id(id: NodeId, engine: &Path, socket: &Path) -> Node {
        let tasks = Tasks::new();
        let files = TaskFiles::new(Path::new("/dev/shm").join(format!("swarm-test-{id}")));
        let names = Arc::new(Door::default());
        let settings = DockerSettings {
            socket: socket.into(),
            node: id,
            prefer_offline: false,
            files: files.clone(),
            names: names.clone(),
        };
        let runtime = Arc::new(Docker::new(settings, &tasks));
        Node { id, runtime, engine: engine.into(), files, names, tasks }
    }

    pub fn task(&self, container: ContainerSpec) -> TaskSetup {
        self.task_of(TaskSpec { container, ..TaskSpec::default() })
    }

    pub fn task_of(&self, mut spec: TaskSpec) -> TaskSetup {
        if spec.container.image.is_empty() {
            spec.container.image = IMAGE.into();
        }
        let task = TaskId::generate(&mut SystemRandom);
        TaskSetup {
            task,
            service: ServiceId::generate(&mut SystemRandom),
            service_name: "web".into(),
            service_labels: BTreeMap::new(),
            slot: Slot::Number(1),
            name: format!("web.1.{task}"),
            node: self.id,
            node_hostname: "n1".into(),
            spec: Arc::new(spec),
            ports: Vec::new(),
            granted: Vec::new(),
            files: Vec::new(),
        }
    }

    pub async fn prepare(&self, setup: &TaskSetup) -> Result<(), RunError> {
        self.runtime.prepare(setup, &|_| ()).await
    }

    /// Prepares and starts, and says what is there then.
    pub async fn run(&self, setup: &TaskSetup) -> Seen {
        self.prepare(setup).await.unwrap();
        self.runtime.start(setup).await.unwrap();
        self.look(setup).await
    }

    pub async fn look(&self, setup: &TaskSetup) -> Seen {
        self.runtime.look(setup.task).await.unwrap()
    }

    /// Follows changes until one is as wanted.
    pub async fn until(&self, setup: &TaskSetup, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let follow = async {
            let mut seen = self.look(setup).await;
            while !wanted(&seen) {
                seen = self.runtime.changed(setup.task, &seen).await.unwrap();
            }
            seen
        };
        timeout(SOON, follow).await.unwrap_or_else(|_| panic!("{} does not become as wanted", setup.name))
    }

    pub async fn ended(&self, setup: &TaskSetup) -> worker::runtime::Exit {
        match self.until(setup, |seen| matches!(seen, Seen::Ended(_))).await {
            Seen::Ended(exit) => exit,
            other => panic!("it has ended: {other:?}"),
        }
    }

    pub async fn inside(&self, setup: &TaskSetup, line: &str) -> String {
        let command = ["sh", "-c", line].map(String::from);
        let result = self.runtime.run_inside(setup.task, &command, SOON).await.unwrap();
        assert_eq!(result.code, 0, "{line}: {}", result.output);
        result.output.trim_end().into()
    }

    pub async fn logs(&self, setup: &TaskSetup, options: LogOptions) -> Vec<LogLine> {
        let read = async {
            let lines = self.runtime.logs(setup.task, options).await.unwrap();
            lines.map(|line| line.unwrap()).collect().await
        };
        timeout(SOON, read).await.expect("the log ends")
    }

    pub fn engine(&self) -> &Path {
        &self.engine
    }

    /// The engine's own view, by the `docker` command.
    pub fn docker(&self, arguments: &[&str]) -> String {
        docker(&self.engine, arguments)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.token().cancel();
        self.files.close();
        let label = format!("label=com.docker.swarm.node.id={}", self.id);
        // Not `docker`, which panics: a test that fails has its own words.
        let left = try_docker(&self.engine, &["ps", "-aq", "--filter", &label]).unwrap_or_default();
        let mut remove = vec!["rm", "-fv"];
        remove.extend(left.split_whitespace());
        if remove.len() > 2 {
            let _ = try_docker(&self.engine, &remove);
        }
    }
}

pub fn shell(line: &str) -> ContainerSpec {
    ContainerSpec { command: ["sh", "-c", line].map(String::from).into(), ..ContainerSpec::default() }
}

pub fn everything() -> LogOptions {
    LogOptions { stdout: true, stderr: true, follow: false, since: None, until: None, tail: None }
}

pub fn texts(lines: &[LogLine]) -> Vec<(LogStream, String)> {
    lines.iter().map(|line| (line.stream, String::from_utf8_lossy(&line.data).into_owned())).collect()
}

/// The socket of an engine that has our image.
pub fn engine(test: &str) -> Option<PathBuf> {
    let named = std::env::var("DOCKER_HOST").ok();
    let socket = named.as_deref().and_then(|host| host.strip_prefix("unix://"));
    let socket = PathBuf::from(socket.unwrap_or("/var/run/docker.sock"));
    match try_docker(&socket, &["version"]) {
        Err(error) => skipped(test, "docker", &error),
        Ok(_) => match image(&socket) {
            Ok(()) => return Some(socket),
            Err(error) => skipped(test, "busybox", &error),
        },
    }
    None
}

pub fn docker(socket: &Path, arguments: &[&str]) -> String {
    try_docker(socket, arguments).unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"))
}

pub fn try_docker(socket: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .arg("-H")
        .arg(format!("unix://{}", socket.display()))
        .args(arguments)
        .env("DOCKER_CONFIG", std::env::temp_dir().join("no-such-folder"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("the docker command: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Gives an engine our image, unless it has it.
pub fn image(socket: &Path) -> Result<(), String> {
    // Several tests may come here at once; an image imported twice is the same to all of them.
    if try_docker(socket, &["image", "inspect", IMAGE]).is_ok() {
        return Ok(());
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists());
    let busybox = busybox.ok_or("a static busybox in /bin")?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let bin = folder.path().join("bin");
    let fail = |error: std::io::Error| error.to_string();
    for name in ["bin", "etc", "tmp"] {
        std::fs::create_dir(folder.path().join(name)).map_err(fail)?;
    }
    std::fs::copy(busybox, bin.join("busybox")).map_err(fail)?;
    let applets = Command::new(busybox).arg("--list").output().map_err(fail)?;
    for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).map_err(fail)?;
    }
    std::fs::write(folder.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").map_err(fail)?;
    let tar = folder.path().with_extension("tar");
    let packed = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(folder.path()).arg(".").status();
    let imported = match packed.map_err(fail)?.success() {
        true => {
            try_docker(socket, &["import", "-c", "CMD [\"sleep\", \"1000\"]", &tar.to_string_lossy(), IMAGE])
        }
        false => Err("tar failed".into()),
    };
    let _ = std::fs::remove_file(&tar);
    imported.map(drop)
}

impl Node {
    /// The same task, stopped with another patience.
    pub fn task_like(&self, setup: &TaskSetup, grace: Duration) -> TaskSetup {
        let mut spec = (*setup.spec).clone();
        spec.container.stop_grace_period = Some(grace);
        TaskSetup { spec: Arc::new(spec), ..setup.clone() }
    }
}
