//! The engine restarts under its containers: one of our own, so that nobody else's stop.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::object::TaskSpec;
use common::object::container::ContainerSpec;
use common::object::service::NetworkAttachment;
use tokio::time::timeout;
use worker::runtime::Seen;

use crate::support::{Node, SOON, image, skipped, try_docker};

/// An engine with folders of its own, and no network.
///
/// In a network namespace: without a bridge of its own an engine removes the one named `docker0`, whoever made it.
struct OwnEngine {
    socket: PathBuf,
    folder: tempfile::TempDir,
    keeps_containers: bool,
    process: Option<Child>,
}

impl OwnEngine {
    /// None, and a loud line, where we may not run one.
    fn start(test: &str, keeps_containers: bool) -> Option<OwnEngine> {
        for program in ["dockerd", "unshare"] {
            if let Err(error) = Command::new(program).arg("--version").stdout(Stdio::null()).status() {
                skipped(test, program, &error.to_string());
                return None;
            }
        }
        if !nix::unistd::geteuid().is_root() {
            skipped(test, "dockerd", "only root may run one");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let mut engine = OwnEngine { socket, folder, keeps_containers, process: None };
        if let Err(said) = engine.begin() {
            skipped(test, "dockerd", &said);
            return None;
        }
        image(&engine.socket).unwrap();
        Some(engine)
    }

    fn begin(&mut self) -> Result<(), String> {
        let at = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(at("settings.json"), "{}").unwrap();
        let log = std::fs::File::options().create(true).append(true).open(at("log")).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "dockerd"])
            .args([
                "--config-file",
                &at("settings.json"),
                "--host",
                &format!("unix://{}", self.socket.display()),
            ])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--bridge", "none", "--iptables=false", "--storage-driver", "vfs"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if self.keeps_containers {
            command.arg("--live-restore");
        }
        self.process = Some(command.spawn().map_err(|error| error.to_string())?);
        for _ in 0..3000 {
            if try_docker(&self.socket, &["version"]).is_ok() {
                return Ok(());
            }
            if self.process.as_mut().is_some_and(|process| !matches!(process.try_wait(), Ok(None))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(std::fs::read_to_string(at("log")).unwrap_or_default())
    }

    fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = process.wait();
    }

    fn restart(&mut self) {
        self.end();
        self.begin().unwrap();
    }

    fn node(&self) -> Node {
        Node::on(Path::new(&self.socket), Path::new(&self.socket))
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        self.end();
        // An engine that keeps its containers keeps its folder mounted too.
        let data = self.folder.path().join("data");
        let _ = Command::new("umount").arg(data).stderr(Stdio::null()).status();
    }
}

fn alone(container: ContainerSpec) -> TaskSpec {
    let none = NetworkAttachment { target: "none".into(), ..NetworkAttachment::default() };
    TaskSpec { container, networks: vec![none], ..TaskSpec::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_the_engine_stopped_are_seen_as_ended() {
    let Some(mut engine) = OwnEngine::start("containers_that_the_engine_stopped_are_seen_as_ended", false)
    else {
        return;
    };
    let node = engine.node();
    let quick = ContainerSpec { stop_grace_period: Some(Duration::from_secs(1)), ..ContainerSpec::default() };
    let (task, waits) = (node.task_of(alone(quick)), node.task_of(alone(ContainerSpec::default())));
    let running = node.run(&task).await;
    node.prepare(&waits).await.unwrap();
    let restarted = tokio::task::spawn_blocking(move || {
        engine.restart();
        engine
    });
    let changed = timeout(SOON, node.runtime.changed(task.task, &running)).await.unwrap();
    assert!(matches!(changed, Ok(Seen::Ended(_))), "{changed:?}");
    let _engine = restarted.await.unwrap();
    assert!(matches!(node.look(&task).await, Seen::Ended(_)));
    // What was only prepared goes on from there.
    assert_eq!(node.look(&waits).await, Seen::Prepared);
    assert!(matches!(node.run(&waits).await, Seen::Running { .. }));
    drop(node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_outlive_the_engine_go_on() {
    let Some(mut engine) = OwnEngine::start("containers_that_outlive_the_engine_go_on", true) else { return };
    let node = engine.node();
    let task = node.task_of(alone(ContainerSpec::default()));
    let running = node.run(&task).await;
    let Seen::Running { container, .. } = &running else { panic!("it runs") };
    let follow = async {
        let changed = node.runtime.changed(task.task, &running).await;
        assert!(matches!(changed, Ok(Seen::Ended(_))), "{changed:?}");
    };
    let restart = async {
        let engine = tokio::task::spawn_blocking(move || {
            engine.restart();
            engine
        });
        let engine = engine.await.unwrap();
        assert_eq!(node.look(&task).await, running, "the same process goes on");
        node.docker(&["kill", &container.id]);
        engine
    };
    let (_, _engine) = timeout(SOON, async { tokio::join!(follow, restart) }).await.unwrap();
    drop(node);
}
