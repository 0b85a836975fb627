//! Files in place: what they are, who gets to them, and how they change.

use std::os::unix::fs::MetadataExt;

use common::object::PayloadKind;
use common::object::sensitive::SensitiveBytes;

use super::*;

/// Folders of these tests lie in memory, where the machine has that, so that nothing is mounted.
fn files() -> (tempfile::TempDir, Arc<TaskFiles>) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is there on every Linux");
    let files = TaskFiles::new(folder.path().join("node"));
    (folder, files)
}

fn file(target: &str, data: &str) -> TaskFile {
    TaskFile {
        kind: PayloadKind::Secret,
        name: "key".into(),
        target: target.into(),
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        mode: 0o440,
        refresh: None,
        data: SensitiveBytes::new(data.into()),
    }
}

fn refreshing(target: &str, data: &str, signal: &str) -> TaskFile {
    TaskFile { refresh: Some(signal.into()), ..file(target, data) }
}

const TASK: TaskId = TaskId(5);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn files_are_as_asked_for_and_nobody_else_gets_to_them() {
    let (_folder, files) = files();
    let mut owned = file("a/b", "deep");
    if nix::unistd::geteuid().is_root() {
        (owned.uid, owned.gid, owned.mode) = (1234, 5678, 0o400);
    }
    files.place_now(TASK, &[file("key", "value"), owned.clone()], Reader::Engine).unwrap();
    let task = files.folder(TASK);
    assert_eq!(fs::read(task.join("secrets/key")).unwrap(), b"value");
    assert_eq!((mode(&task), mode(&task.join("secrets/key"))), (0o700, 0o440));
    let found = fs::metadata(task.join("secrets/a/b")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (owned.uid, owned.gid, owned.mode));
    assert_eq!(fs::read_dir(task.join("new")).unwrap().count(), 0);
    assert_eq!(files.tasks(), [TASK]);
    files.close();
    assert!(files.tasks().is_empty() && !task.exists());
}

#[test]
fn a_process_has_folders_of_its_own() {
    let (_folder, files) = files();
    let owner = nix::unistd::geteuid().is_root().then_some(Owner { user: 1234, group: 5678 });
    let mut config = file("app.conf", "config");
    config.kind = PayloadKind::Config;
    files.place_now(TASK, &[file("key", "value"), config], Reader::Process(owner)).unwrap();
    let task = files.folder(TASK);
    for folder in ["secrets", "configs"] {
        let found = fs::metadata(task.join(folder)).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o700);
        assert!(owner.is_none_or(|owner| (found.uid(), found.gid()) == (owner.user, owner.group)));
    }
    assert_eq!(mode(&task), 0o711);
}

#[test]
fn what_is_not_to_change_stays_and_what_refreshes_is_replaced_whole() {
    let (_folder, files) = files();
    let first = [file("fixed", "one"), refreshing("live", "one", "SIGHUP"), refreshing("quiet", "one", "")];
    files.place_now(TASK, &first, Reader::Engine).unwrap();
    let secrets = files.folder(TASK).join("secrets");
    let inode = |name: &str| fs::metadata(secrets.join(name)).unwrap().ino();
    let before = [inode("fixed"), inode("live")];
    files.place_now(TASK, &first, Reader::Engine).unwrap();
    assert_eq!([inode("fixed"), inode("live")], before, "nothing was new");
    assert!(files.refresh_now(TASK, &first).unwrap().is_empty());

    let mut reader = File::open(secrets.join("live")).unwrap();
    let second =
        [file("fixed", "two"), refreshing("live", "longer", "SIGHUP"), refreshing("quiet", "two", "")];
    assert_eq!(files.refresh_now(TASK, &second).unwrap(), ["SIGHUP"]);
    let read = |name: &str| fs::read_to_string(secrets.join(name)).unwrap();
    assert_eq!([read("fixed"), read("live"), read("quiet")], ["one", "longer", "two"]);
    let mut old = String::new();
    reader.read_to_string(&mut old).unwrap();
    assert_eq!(old, "one", "who has it open reads on");

    assert_eq!(files.refresh_now(TASK, &second).unwrap(), ["SIGHUP"], "not sent yet, as far as is known");
    files.signalled(TASK);
    assert!(files.refresh_now(TASK, &second).unwrap().is_empty());
}

#[test]
fn a_link_leads_nowhere() {
    let (folder, files) = files();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    files.place_now(TASK, &[refreshing("a/b", "one", "")], Reader::Process(None)).unwrap();
    let secrets = files.folder(TASK).join("secrets");
    fs::rename(secrets.join("a"), secrets.join("away")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, secrets.join("a")).unwrap();
    assert!(files.refresh_now(TASK, &[refreshing("a/b", "two", "")]).is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_somebody_elses_is_not_used() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (folder, files) = files();
    let root = folder.path().join("node");
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::chown(&root, Some(1234), Some(1234)).unwrap();
    let refused = files.place_now(TASK, &[file("key", "value")], Reader::Engine);
    assert!(matches!(refused, Err(RunError::Fatal(reason)) if reason.contains("belongs to somebody else")));
}

#[test]
fn where_there_is_a_disk_memory_is_mounted_or_the_task_refused() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let root = folder.path().join("node");
    let files = TaskFiles::new(root.clone());
    match files.place_now(TASK, &[file("key", "value")], Reader::Engine) {
        Ok(()) => {
            let kind = nix::sys::statfs::statfs(&root).unwrap().filesystem_type();
            assert_eq!(kind, nix::sys::statfs::TMPFS_MAGIC);
            let again = TaskFiles::new(root.clone());
            again.place_now(TaskId(6), &[file("key", "value")], Reader::Engine).unwrap();
            assert_eq!(again.tasks(), [TASK, TaskId(6)], "the next life of the daemon finds it");
            again.close();
            assert!(!root.exists(), "it is mounted no more");
        }
        Err(RunError::Fatal(reason)) => assert!(reason.contains("--secrets-dir"), "{reason}"),
        Err(other) => panic!("{other}"),
    }
}
