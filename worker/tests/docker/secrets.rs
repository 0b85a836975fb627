//! Secrets and configs of containers: files in memory, mounted one by one, with the content nowhere else.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use common::object::PayloadKind;
use common::object::container::ContainerSpec;
use common::object::sensitive::SensitiveBytes;
use tokio::time::timeout;
use worker::runtime::{RunError, Seen, TaskFile, TaskSetup};

use crate::support::{Node, SOON, shell};

fn file(kind: PayloadKind, target: &str, data: &str) -> TaskFile {
    TaskFile {
        kind,
        name: "key".into(),
        target: target.into(),
        uid: 0,
        gid: 0,
        mode: 0o444,
        refresh: None,
        data: SensitiveBytes::new(data.into()),
    }
}

fn with(node: &Node, container: ContainerSpec, files: Vec<TaskFile>) -> TaskSetup {
    TaskSetup { files, ..node.task(container) }
}

/// What a container wrote, once it has ended.
async fn output(node: &Node, task: &TaskSetup) -> String {
    let exit = node.ended(task).await;
    let written = node.docker(&["logs", &task.name]);
    assert_eq!(exit.code, 0, "{written}");
    written
}

#[tokio::test]
async fn a_container_finds_its_files_as_they_were_asked_for() {
    let Some(node) = Node::of("a_container_finds_its_files_as_they_were_asked_for") else { return };
    if !nix::unistd::geteuid().is_root() {
        return; // only root gives files away
    }
    let owned =
        TaskFile { uid: 1000, gid: 2000, mode: 0o400, ..file(PayloadKind::Secret, "a/key", "hunter2") };
    let files = vec![
        owned,
        file(PayloadKind::Secret, "/srv/app/token", "token"),
        file(PayloadKind::Config, "app.conf", "conf"),
    ];
    let look = "cat /run/secrets/a/key /srv/app/token /app.conf; echo; \
                stat -c '%u:%g %a' /run/secrets/a/key /app.conf; \
                grep -c ' /run/secrets/a/key tmpfs ro' /proc/mounts; \
                (echo x > /run/secrets/a/key) 2>/dev/null || echo unwritable";
    let container = ContainerSpec { user: "1000:2000".into(), read_only: true, ..shell(look) };
    let task = with(&node, container, files);
    node.run(&task).await;
    assert_eq!(output(&node, &task).await, "hunter2tokenconf\n1000:2000 400\n0:0 444\n1\nunwritable");
    let inspected = node.docker(&["inspect", &task.name]);
    assert!(inspected.contains("/run/secrets/a/key") && !inspected.contains("hunter2"));
    let folder = node.files.folder(task.task);
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
    node.runtime.release(task.task).await.unwrap();
    assert!(!folder.exists());
    node.runtime.remove(task.task).await.unwrap();
}

#[tokio::test]
async fn a_refresh_is_seen_inside_and_told() {
    let Some(node) = Node::of("a_refresh_is_seen_inside_and_told") else { return };
    let line =
        "trap 'cat /run/secrets/key /run/secrets/fixed; exit 0' HUP; echo up; while :; do sleep 0.1; done";
    let key =
        |data: &str| TaskFile { refresh: Some("SIGHUP".into()), ..file(PayloadKind::Secret, "key", data) };
    let task = with(&node, shell(line), vec![key("one"), file(PayloadKind::Secret, "fixed", "-fixed")]);
    node.run(&task).await;
    node.runtime.refresh(&task).await.unwrap();
    assert!(matches!(node.look(&task).await, Seen::Running { .. }), "nothing was new");
    let up = async {
        while !node.docker(&["logs", &task.name]).contains("up") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, up).await.expect("the trap is set");
    let newer = TaskSetup { files: vec![key("two"), task.files[1].clone()], ..task.clone() };
    node.runtime.refresh(&newer).await.unwrap();
    assert_eq!(output(&node, &task).await, "up\ntwo-fixed");
}

#[tokio::test]
async fn files_are_there_again_before_a_container_starts_and_strays_are_known() {
    let Some(node) = Node::of("files_are_there_again_before_a_container_starts_and_strays_are_known") else {
        return;
    };
    let task = with(&node, shell("cat /run/secrets/key"), vec![file(PayloadKind::Secret, "key", "value")]);
    node.prepare(&task).await.unwrap();
    node.files.close(); // as a restart of the machine
    node.runtime.start(&task).await.unwrap();
    assert_eq!(output(&node, &task).await, "value");
    node.docker(&["rm", "-f", &task.name]);
    assert_eq!(node.runtime.present().await.unwrap(), [task.task], "its files are left");
    node.runtime.remove(task.task).await.unwrap();
    assert_eq!(node.runtime.present().await.unwrap(), []);
}

#[tokio::test]
async fn a_file_that_cannot_be_is_refused_by_name() {
    let Some(node) = Node::of("a_file_that_cannot_be_is_refused_by_name") else { return };
    let refreshing = TaskFile { refresh: Some(String::new()), ..file(PayloadKind::Config, "app.conf", "x") };
    for (file, word) in [
        (refreshing, "a folder of its own"),
        (file(PayloadKind::Secret, "../../etc/passwd", "x"), "leads out of its folder"),
    ] {
        let task = with(&node, shell("true"), vec![file]);
        let refused = node.prepare(&task).await;
        assert!(matches!(&refused, Err(RunError::Fatal(reason)) if reason.contains(word)), "{refused:?}");
        assert_eq!(node.look(&task).await, Seen::Absent);
    }
}
