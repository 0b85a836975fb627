//! What a task may use, and as whom it runs. What this machine does not let the tests do is said, not passed over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use common::object::container::{Privileges, Ulimit};
use worker::runtime::TaskSetup;

use crate::world::{World, shell, shell_with};

#[tokio::test]
async fn ulimits_bind_the_task_and_not_its_supervisor() {
    let world = World::new();
    let ulimit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    let job = shell_with("ulimit -n; ulimit -c; ulimit -f; echo $(seq 1 1000) > big", |spec| {
        spec.ulimits = vec![ulimit("nofile", 40, 50), ulimit("core", 0, 0), ulimit("fsize", 512, 512)];
    });
    world.start(&job).await;
    world.exit(&job).await;
    assert!(world.output(&job).await.starts_with("40\n0\n1\n"), "{}", world.output(&job).await);
    assert_eq!(fs::metadata(world.work(&job).join("big")).unwrap().len(), 512);
    world.end().await;
}

#[tokio::test]
async fn privileges_can_be_given_up_for_good() {
    let world = World::new();
    for (given_up, expected) in [(false, "NoNewPrivs:\t0\n"), (true, "NoNewPrivs:\t1\n")] {
        let job = shell_with("grep NoNewPrivs /proc/self/status", |spec| {
            spec.privileges = Some(Privileges { no_new_privileges: given_up, ..Privileges::default() });
        });
        world.start(&job).await;
        assert_eq!(world.output(&job).await, expected);
    }
    world.end().await;
}

#[tokio::test]
async fn a_task_runs_as_its_user_in_a_folder_of_its_own() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: only root can run tasks as other users");
        return;
    }
    let world = World::new();
    let job = shell_with("id -u; id -g; id -G; umask; touch mine && stat -c %u:%g mine", |spec| {
        spec.user = "12345:12346".into();
        spec.groups = vec!["12347".into()];
    });
    world.start(&job).await;
    assert_eq!(world.output(&job).await, "12345\n12346\n12346 12347\n0022\n12345:12346\n");
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let kept_out = shell_with("true", |spec| {
        spec.user = "12345:12346".into();
        spec.dir = closed.path().display().to_string();
    });
    let error = world.try_start(&kept_out).await.unwrap_err().to_string();
    assert!(error.contains("enter folder"), "{error}");
    world.end().await;
}

#[tokio::test]
async fn memory_and_processes_are_bound_where_control_groups_are() {
    let world = World::new();
    let hog = limited("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}", 32 << 20, 0);
    if !world_has_groups(&world, &hog, "memory").await {
        eprintln!("SKIPPED: memory control groups may not be written here");
    } else {
        world.start(&hog).await;
        let exit = world.exit(&hog).await;
        assert!(exit.reason.starts_with("out of memory"), "{exit:?}");
        assert_ne!(exit.code, 0);
    }
    let many = limited("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait", 0, 4);
    if !world_has_groups(&world, &many, "pids").await {
        eprintln!("SKIPPED: process control groups may not be written here");
    } else {
        world.start(&many).await;
        assert_ne!(world.exit(&many).await.code, 0);
        assert!(world.output(&many).await.contains("fork"), "{}", world.output(&many).await);
    }
    // A group may be left to the removal of its task, if a command was in it at the end.
    world.end().await;
    assert_eq!([groups_of(&hog), groups_of(&many)].concat(), [""; 0]);
}

fn limited(line: &str, memory_bytes: i64, pids: i64) -> TaskSetup {
    let mut setup = shell(line);
    let limits = &mut Arc::make_mut(&mut setup.spec).resources.limits;
    (limits.memory_bytes, limits.pids) = (memory_bytes, pids);
    setup
}

/// Whether the runtime planned a group for the task: it does where it may.
async fn world_has_groups(world: &World, setup: &TaskSetup, controller: &str) -> bool {
    world.prepare(setup).await.unwrap();
    let record = fs::read_to_string(world.folder(setup).join("setup")).unwrap();
    record.contains(&format!("{controller}.max")) || record.contains(&format!("{controller}.limit_in_bytes"))
}

/// The control groups that a task has, below our own.
fn groups_of(setup: &TaskSetup) -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let paths = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        Some(format!("/sys/fs/cgroup/{controllers}{path}/swarm/{}", setup.task))
    });
    paths.filter(|path| std::path::Path::new(path).exists()).collect()
}
