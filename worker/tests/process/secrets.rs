//! Secrets and configs of processes: folders of their own, in memory, that nobody else gets into.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::{fs, io};

use common::object::PayloadKind;
use common::object::sensitive::SensitiveBytes;
use worker::runtime::{RunError, Runtime, TaskFile, TaskSetup};

use crate::world::{DEADLINE, World, everything, shell, within};

fn file(kind: PayloadKind, target: &str, data: &str) -> TaskFile {
    TaskFile {
        kind,
        name: target.into(),
        target: target.into(),
        uid: 0,
        gid: 0,
        mode: 0o444,
        refresh: None,
        data: SensitiveBytes::new(data.into()),
    }
}

/// What a task has written so far.
async fn written(world: &World, setup: &TaskSetup) -> String {
    world.logs(setup, everything()).await.concat()
}

/// Waits until a task has written that.
async fn wrote(world: &World, setup: &TaskSetup, text: &str) {
    let wait = async {
        while !written(world, setup).await.contains(text) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, wait).await.is_err() {
        panic!("never {text:?}: {}", written(world, setup).await);
    }
}

fn with(setup: TaskSetup, files: Vec<TaskFile>) -> TaskSetup {
    TaskSetup { files, ..setup }
}

#[tokio::test]
async fn a_process_finds_its_files_and_they_go_with_it() {
    let world = World::new();
    let line = "cat $SWARM_SECRETS_DIR/a/key $SWARM_CONFIGS_DIR/app.conf; stat -c ' %a %F' $SWARM_SECRETS_DIR; exec sleep 1000";
    let files =
        vec![file(PayloadKind::Secret, "a/key", "hunter2 "), file(PayloadKind::Config, "app.conf", "conf")];
    let web = with(shell(line), files);
    world.start(&web).await;
    wrote(&world, &web, "conf 700 directory").await;
    assert!(written(&world, &web).await.starts_with("hunter2 conf"));
    let pid = world.pid(&web).await;
    let folder = world.files.folder(web.task);
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.contains(&format!("SWARM_SECRETS_DIR={}/secrets", folder.display())));
    assert!(!environment.contains("hunter2"));
    // On the disk is only where they are.
    assert!(fs::metadata(world.folder(&web).join("setup")).is_ok());
    for entry in fs::read_dir(world.folder(&web)).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let content = fs::read(entry.path()).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains("hunter2"), "{:?}", entry.path());
    }
    world.stop(&web).await;
    within(world.runtime.release(web.task)).await.unwrap();
    assert!(!folder.exists());
    within(world.runtime.remove(web.task)).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn another_user_gets_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return; // there is no other user to be
    }
    let world = World::new();
    let mut web = with(
        shell("cat $SWARM_SECRETS_DIR/key; echo; exec sleep 1000"),
        vec![file(PayloadKind::Secret, "key", "hunter2")],
    );
    std::sync::Arc::make_mut(&mut web.spec).container.user = "65533:65533".into();
    world.start(&web).await;
    wrote(&world, &web, "hunter2").await;
    let path = world.files.folder(web.task).join("secrets/key");
    let as_user = |user: u32| {
        let mut command = Command::new("cat");
        let command = std::os::unix::process::CommandExt::gid(command.arg(&path).stderr(Stdio::null()), user);
        std::os::unix::process::CommandExt::uid(command, user).output().unwrap().stdout
    };
    assert_eq!((as_user(65_533), as_user(65_532)), (b"hunter2".to_vec(), Vec::new()));
    within(world.runtime.remove(web.task)).await.unwrap();
    assert!(!path.exists());
    world.end().await;
}

#[tokio::test]
async fn a_refresh_replaces_a_file_whole_and_tells_the_process() {
    let mut world = World::new();
    let line =
        "trap 'echo told $(wc -c < $SWARM_SECRETS_DIR/key)' HUP; echo ready; while :; do sleep 0.05; done";
    let key =
        |data: &str| TaskFile { refresh: Some("SIGHUP".into()), ..file(PayloadKind::Secret, "key", data) };
    let web = with(shell(line), vec![key("one")]);
    world.start(&web).await;
    wrote(&world, &web, "ready").await;
    within(world.runtime.refresh(&web)).await.unwrap();
    let path = world.files.folder(web.task).join("secrets/key");
    let long = ["two".repeat(100_000), "three".repeat(60_000)];
    // Whoever reads all the while gets one value or the other.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let values =
        [b"one".to_vec(), long[0].clone().into_bytes(), long[1].clone().into_bytes(), b"last".to_vec()];
    let reader = std::thread::spawn({
        let path = path.clone();
        move || -> io::Result<usize> {
            let mut reads = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let value = fs::read(&path)?;
                assert!(values.contains(&value), "{} bytes", value.len());
                reads += 1;
            }
            Ok(reads)
        }
    });
    world.restart().await;
    for data in long.iter().cycle().take(40) {
        within(world.runtime.refresh(&with(web.clone(), vec![key(data)]))).await.unwrap();
    }
    within(world.runtime.refresh(&with(web.clone(), vec![key("last")]))).await.unwrap();
    drop(stop);
    let _ = reader.join().expect("never half a value");
    wrote(&world, &web, "told 4").await;
    within(world.runtime.remove(web.task)).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn what_a_process_cannot_have_is_refused_with_a_way_out() {
    let world = World::new();
    let web = with(shell("true"), vec![file(PayloadKind::Config, "/etc/app/app.conf", "conf")]);
    let refused = world.prepare(&web).await;
    assert!(
        matches!(&refused, Err(RunError::Fatal(reason)) if reason.contains("$SWARM_CONFIGS_DIR")),
        "{refused:?}"
    );
    assert!(!world.files.folder(web.task).exists());
    assert_eq!(fs::metadata("/dev/shm").unwrap().permissions().mode() & 0o7777, 0o1777, "left as it was");
    world.end().await;
}
