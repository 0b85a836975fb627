//! A node for one test: a runtime with a folder of its own, tasks to run in it, and waits with a deadline.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::object::container::ContainerSpec;
use common::object::service::RuntimeKind;
use common::object::{NodeId, ServiceId, Slot, TaskId, TaskSpec};
use common::random::SystemRandom;
use common::shutdown::Tasks;
use common::time::SystemClock;
use futures_util::StreamExt;
use worker::runtime::files::TaskFiles;
use worker::runtime::process::ProcessRuntime;
use worker::runtime::{Exit, LogOptions, RunError, Runtime, Seen, TaskSetup};

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub struct World {
    folder: tempfile::TempDir,
    pub files: Arc<TaskFiles>,
    pub runtime: ProcessRuntime,
    background: Tasks,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (runtime, background) = runtime(folder.path().join("tasks"));
        let files = files(&folder.path().join("tasks"));
        Self { folder, files, runtime, background }
    }

    pub fn tasks(&self) -> PathBuf {
        self.folder.path().join("tasks")
    }

    pub fn folder(&self, setup: &TaskSetup) -> PathBuf {
        self.tasks().join(setup.task.to_string())
    }

    pub fn work(&self, setup: &TaskSetup) -> PathBuf {
        self.folder(setup).join("work")
    }

    /// The daemon goes without a word and another one comes.
    pub async fn restart(&mut self) {
        self.background.stop().await;
        (self.runtime, self.background) = runtime(self.tasks());
    }

    pub async fn prepare(&self, setup: &TaskSetup) -> Result<(), RunError> {
        within(self.runtime.prepare(setup, &|_| {})).await
    }

    pub async fn start(&self, setup: &TaskSetup) {
        self.prepare(setup).await.expect("prepared");
        within(self.runtime.start(setup)).await.expect("started");
    }

    pub async fn try_start(&self, setup: &TaskSetup) -> Result<(), RunError> {
        self.prepare(setup).await.expect("prepared");
        within(self.runtime.start(setup)).await
    }

    pub async fn look(&self, setup: &TaskSetup) -> Seen {
        within(self.runtime.look(setup.task)).await.expect("looked at")
    }

    pub async fn stop(&self, setup: &TaskSetup) {
        within(self.runtime.stop(setup)).await.expect("stopped");
    }

    /// Waits until what is seen of the task is as asked.
    pub async fn until(&self, setup: &TaskSetup, asked: impl Fn(&Seen) -> bool) -> Seen {
        within(async {
            let mut seen = self.runtime.look(setup.task).await.expect("looked at");
            while !asked(&seen) {
                seen = self.runtime.changed(setup.task, &seen).await.expect("changed");
            }
            seen
        })
        .await
    }

    pub async fn exit(&self, setup: &TaskSetup) -> Exit {
        match self.until(setup, |seen| matches!(seen, Seen::Ended(_))).await {
            Seen::Ended(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    pub async fn pid(&self, setup: &TaskSetup) -> i32 {
        match self.look(setup).await {
            Seen::Running { container, .. } => i32::try_from(container.pid).expect("a pid"),
            other => panic!("it does not run: {other:?}"),
        }
    }

    pub async fn logs(&self, setup: &TaskSetup, options: LogOptions) -> Vec<String> {
        let lines = self.runtime.logs(setup.task, options).await.expect("a log");
        let lines = within(lines.collect::<Vec<_>>()).await;
        lines.into_iter().map(|line| String::from_utf8(line.expect("a line").data).expect("text")).collect()
    }

    /// What the task wrote in all, waiting for its end.
    pub async fn output(&self, setup: &TaskSetup) -> String {
        self.logs(setup, LogOptions { follow: true, ..everything() }).await.concat()
    }

    /// Waits until the task has written its first line.
    pub async fn ready(&self, setup: &TaskSetup) {
        let options = LogOptions { follow: true, ..everything() };
        let mut lines = self.runtime.logs(setup.task, options).await.expect("a log");
        assert_eq!(within(lines.next()).await.expect("a line").expect("read").data, b"ready\n");
    }

    /// Removes all that is left.
    pub async fn end(self) {
        for task in within(self.runtime.present()).await.expect("listed") {
            within(self.runtime.remove(task)).await.expect("removed");
        }
        let left = fs::read_dir(self.tasks()).expect("listed").count();
        assert_eq!(left, 0, "nothing is left in the folder of tasks");
        self.background.stop().await;
    }
}

impl Drop for World {
    /// A test that failed leaves no processes either.
    fn drop(&mut self) {
        self.files.close();
        for entry in fs::read_dir(self.tasks()).into_iter().flatten().flatten() {
            let nonblock = nix::fcntl::OFlag::O_NONBLOCK.bits();
            let path = entry.path().join("control");
            if let Ok(mut pipe) = fs::OpenOptions::new().write(true).custom_flags(nonblock).open(path) {
                let _ = pipe.write_all(b"stop 9 0\n");
            }
        }
    }
}

/// In memory, where other users get through to their own folders.
fn files(root: &Path) -> Arc<TaskFiles> {
    let name = root.parent().and_then(Path::file_name).expect("a folder of its own").to_string_lossy();
    TaskFiles::new(Path::new("/dev/shm").join(format!("swarm-test-{name}")))
}

fn runtime(root: PathBuf) -> (ProcessRuntime, Tasks) {
    let background = Tasks::new();
    let supervisor = env!("CARGO_BIN_EXE_task-supervisor").into();
    let runtime = ProcessRuntime::open_with(
        root.clone(),
        files(&root),
        background.clone(),
        Arc::new(SystemClock),
        supervisor,
    );
    (runtime.expect("a runtime"), background)
}

pub async fn within<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, step).await.expect("it takes too long")
}

/// Waits for what no event tells of.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let polled = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polled).await.unwrap_or_else(|_| panic!("{what}: it takes too long"));
}

pub fn everything() -> LogOptions {
    LogOptions { stdout: true, stderr: true, follow: false, since: None, until: None, tail: None }
}

/// A task that runs a line of shell.
pub fn shell(line: &str) -> TaskSetup {
    task(|spec| {
        spec.container.command = vec!["/bin/sh".into(), "-c".into()];
        spec.container.args = vec![line.into()];
    })
}

pub fn shell_with(line: &str, change: impl FnOnce(&mut ContainerSpec)) -> TaskSetup {
    let mut setup = shell(line);
    change(&mut Arc::make_mut(&mut setup.spec).container);
    setup
}

pub fn task(change: impl FnOnce(&mut TaskSpec)) -> TaskSetup {
    let mut spec = TaskSpec { runtime: RuntimeKind::Process, ..TaskSpec::default() };
    change(&mut spec);
    let task = TaskId::generate(&mut SystemRandom);
    TaskSetup {
        task,
        service: ServiceId(1),
        service_name: "web".into(),
        service_labels: BTreeMap::new(),
        slot: Slot::Number(1),
        name: format!("web.1.{task}"),
        node: NodeId(1),
        node_hostname: "here".into(),
        spec: Arc::new(spec),
        ports: Vec::new(),
        granted: Vec::new(),
        files: Vec::new(),
    }
}

/// The processes of a task, wherever they put themselves.
pub fn processes(setup: &TaskSetup) -> Vec<i32> {
    let marker = format!("SWARM_TASK_ID={}", setup.task);
    let pids = fs::read_dir("/proc").expect("listed").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes())
    })
    .collect()
}

/// Pids of the task's supervisor.
pub fn supervisors(setup: &TaskSetup) -> Vec<i32> {
    let pids = fs::read_dir("/proc").expect("listed").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| command_line(*pid).ends_with(&format!("/{}", setup.task))).collect()
}

pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}
