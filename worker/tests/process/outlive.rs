//! What outlives what: tasks outlive the daemon, and nothing of a task outlives its supervisor for long.

use std::fs;

use common::disk;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use worker::runtime::{Runtime, Seen};

use crate::world::{World, command_line, eventually, processes, shell, shell_with, supervisors};

/// Waits for a word, and exits with it.
const WAITS: &str = "mkfifo word; echo ready; read code < word; exit $code";

#[tokio::test]
async fn a_daemon_that_comes_back_finds_its_tasks_untouched() {
    let mut world = World::new();
    let (stays, ends, waits) = (shell("exec sleep 1000"), shell(WAITS), shell("true"));
    for setup in [&stays, &ends] {
        world.start(setup).await;
    }
    world.prepare(&waits).await.unwrap();
    let word = world.work(&ends).join("word");
    eventually("it waits for its word", || word.exists()).await;
    let before = world.look(&stays).await;
    world.restart().await;
    assert_eq!(world.look(&stays).await, before);
    assert_eq!(world.look(&waits).await, Seen::Prepared);
    let mut expected = vec![stays.task, ends.task, waits.task];
    expected.sort();
    assert_eq!(world.runtime.present().await.unwrap(), expected);
    // Its end is learnt by an event, from a supervisor that an earlier daemon started.
    let running = world.look(&ends).await;
    let (changed, ()) = tokio::join!(world.runtime.changed(ends.task, &running), async {
        fs::write(&word, "42\n").unwrap();
    });
    let Ok(Seen::Ended(exit)) = changed else { panic!("{changed:?}") };
    assert_eq!((exit.code, exit.reason.as_str()), (42, ""));
    world.restart().await;
    world.start(&waits).await;
    assert_eq!(world.exit(&waits).await.code, 0);
    world.stop(&stays).await;
    assert_eq!(world.exit(&stays).await.code, 143);
    world.end().await;
}

#[tokio::test]
async fn an_end_while_the_daemon_is_away_is_learnt_later() {
    let mut world = World::new();
    let ends = shell(WAITS);
    world.start(&ends).await;
    let folder = world.folder(&ends);
    eventually("it waits for its word", || folder.join("work/word").exists()).await;
    world.restart().await; // nobody looks at it in between
    fs::write(folder.join("work/word"), "9\n").unwrap();
    eventually("its supervisor ends", || supervisors(&ends).is_empty()).await;
    world.restart().await;
    assert_eq!(world.exit(&ends).await.code, 9);
    world.end().await;
}

#[tokio::test]
async fn a_task_whose_supervisor_is_killed_is_ended_and_says_so() {
    let world = World::new();
    let web = shell("setsid sleep 1000 & exec sleep 1001");
    world.start(&web).await;
    eventually("its processes are there", || processes(&web).len() == 2).await;
    let [supervisor] = supervisors(&web)[..] else { panic!("one supervisor") };
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    let exit = world.exit(&web).await;
    assert_eq!(exit.code, 137);
    assert_eq!(exit.reason, "its supervisor was killed, and the rest of the task after it");
    assert_eq!(processes(&web), [0; 0]);
    world.end().await;
}

#[tokio::test]
async fn a_supervisor_that_is_told_to_end_stops_its_task_first() {
    let world = World::new();
    let web = shell("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    world.start(&web).await;
    let log = world.folder(&web).join("log/00000001");
    eventually("it is ready", || fs::read(&log).is_ok_and(|log| !log.is_empty())).await;
    let [supervisor] = supervisors(&web)[..] else { panic!("one supervisor") };
    kill(Pid::from_raw(supervisor), Signal::SIGTERM).unwrap();
    assert_eq!(world.exit(&web).await.code, 3);
    world.end().await;
}

#[tokio::test]
async fn a_restart_of_the_machine_ends_all_tasks() {
    let mut world = World::new();
    let web = shell("exec sleep 1000");
    world.start(&web).await;
    let [supervisor] = supervisors(&web)[..] else { panic!("one supervisor") };
    let first = world.pid(&web).await;
    world.restart().await; // nobody watches it now
    for pid in [supervisor, first] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    eventually("they are gone", || supervisors(&web).is_empty() && processes(&web).is_empty()).await;
    // The same record, of an earlier boot, with a pid that somebody else has now.
    let path = world.folder(&web).join("running");
    let (format, content) = disk::load(&path, "process-running").unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&content).unwrap();
    record["boot"] = "an earlier one".into();
    record["process"]["pid"] = std::process::id().into();
    disk::save(&path, "process-running", format, record.to_string().as_bytes()).unwrap();
    let exit = world.exit(&web).await;
    assert_eq!((exit.code, exit.reason.as_str()), (255, "the machine was restarted"));
    world.end().await;
}

#[tokio::test]
async fn damaged_records_are_named() {
    let world = World::new();
    let job = shell("exit 3");
    world.start(&job).await;
    world.exit(&job).await;
    let path = world.folder(&job).join("exit");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let exit = world.exit(&job).await;
    assert_eq!(exit.code, 255);
    assert!(exit.reason.contains(&path.display().to_string()), "{}", exit.reason);
    assert!(exit.reason.contains("is damaged"), "{}", exit.reason);

    let other = shell("exec sleep 1000");
    world.start(&other).await;
    let path = world.folder(&other).join("setup");
    fs::write(&path, "nonsense").unwrap();
    let error = world.runtime.look(other.task).await.unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    world.stop(&other).await;
    assert_eq!(processes(&other), [0; 0]);
    world.end().await;
}

#[tokio::test]
async fn nobody_sees_the_environment_of_a_task_from_outside() {
    let world = World::new();
    let web = shell_with("exec sleep 1000", |spec| spec.env = vec!["PASSWORD=hunter2".into()]);
    world.start(&web).await;
    let [supervisor] = supervisors(&web)[..] else { panic!("one supervisor") };
    assert!(!command_line(supervisor).contains("hunter2"));
    let environment = fs::read(format!("/proc/{supervisor}/environ")).unwrap();
    assert_eq!(environment, b"");
    use std::os::unix::fs::PermissionsExt;
    for name in ["setup", "running", "lock", "control", "alive"] {
        let mode = fs::metadata(world.folder(&web).join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_task_whose_folder_is_deleted_under_it_ends() {
    let world = World::new();
    let [stays, gone, replaced] = [(); 3].map(|()| shell("exec sleep 1000"));
    for setup in [&stays, &gone, &replaced] {
        world.start(setup).await;
    }
    let before = supervisors(&replaced);
    for setup in [&gone, &replaced] {
        fs::remove_dir_all(world.folder(setup)).unwrap();
        assert_eq!(world.look(setup).await, Seen::Absent);
    }
    // Another life of the task has the folder that the first one had.
    world.start(&replaced).await;
    let after = world.pid(&replaced).await;
    let ended = || {
        let left = supervisors(&replaced).iter().filter(|pid| before.contains(pid)).count();
        left == 0 && supervisors(&gone).is_empty() && processes(&gone).is_empty()
    };
    eventually("nobody runs a task that nobody can reach", ended).await;
    assert_eq!(processes(&replaced), [after]);
    assert!(matches!(world.look(&stays).await, Seen::Running { .. }), "it has its folder");
    for setup in [&stays, &replaced] {
        world.stop(setup).await;
    }
    world.end().await;
}
