//! Control groups: limits on processor, memory and processes that hold for a task as a whole.
//!
//! A task with limits gets a group of its own below the daemon's, in each hierarchy of version 1 or in the one of
//! version 2, as far as the daemon may write there. What cannot be enforced is said, never passed over.
//!
//! Not here: limits of a single process (`ulimit`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::object::resources::Requirements;
use serde::{Deserialize, Serialize};

/// Folder below the daemon's own group in which tasks have theirs.
const PARENT: &str = "swarm";
/// The daemon's own group in version 2, where one was handed over to it.
const LEAF: &str = "daemon";
/// Controllers of use to us.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Microseconds over which the share of a processor is measured.
const PERIOD: i64 = 100_000;

/// A task's group in one hierarchy, to be made before the task starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub folder: PathBuf,
    pub settings: Vec<Setting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub file: String,
    pub value: String,
}

impl Group {
    pub fn create(&self) -> io::Result<()> {
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.settings
            .iter()
            .try_for_each(|setting| fs::write(self.folder.join(&setting.file), &setting.value))
    }

    /// The file in which a process writes itself to enter.
    pub fn door(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Processes in it now.
    pub fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.door()).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Whether a process in it was killed because its memory was used up.
    pub fn ran_out_of_memory(&self) -> bool {
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
            text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
        })
    }

    /// Nothing happens where it is not there, or not empty.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// What of control groups this daemon may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// A folder per controller, each maybe absent.
    One {
        cpu: Option<PathBuf>,
        memory: Option<PathBuf>,
        pids: Option<PathBuf>,
    },
    /// One folder for all.
    Two(PathBuf),
    None {
        reason: String,
    },
}

/// The groups of a task, and limits of it that nothing enforces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub groups: Vec<Group>,
    pub not_enforced: Vec<&'static str>,
}

impl Hierarchy {
    /// Looks at the machine, and makes the folder that tasks' groups lie in.
    pub fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let found = places(&mounts, &own);
        let usable = |name: &str| {
            let (_, folder) = found.iter().find(|(controller, _)| controller == name)?;
            let parent = folder.join(PARENT);
            make(&parent).ok().map(|()| parent)
        };
        let [cpu, memory, pids] = CONTROLLERS.map(usable);
        if cpu.is_some() || memory.is_some() || pids.is_some() {
            return Hierarchy::One { cpu, memory, pids };
        }
        let own = found.iter().find(|(controller, _)| controller.is_empty());
        let top = mounts.lines().filter_map(Mount::parse).find(|mount| mount.two);
        match own.zip(top) {
            Some(((_, own), top)) => match unified(own, &top.point) {
                Ok(parent) => Hierarchy::Two(parent),
                Err(reason) => Hierarchy::None { reason },
            },
            None => Hierarchy::None { reason: "there are no control groups that may be written to".into() },
        }
    }

    /// What `task` needs for its limits.
    pub fn plan(&self, task: &str, wanted: &Requirements) -> Plan {
        let mut plan = Plan::default();
        match self {
            Hierarchy::One { cpu, memory, pids } => {
                let parts = [
                    ("cpu", cpu, processor_1(wanted)),
                    ("memory", memory, memory_1(wanted)),
                    ("pids", pids, processes(wanted)),
                ];
                for (name, parent, settings) in parts {
                    match (settings.is_empty(), parent) {
                        (true, _) => {}
                        (false, Some(parent)) => {
                            plan.groups.push(Group { folder: parent.join(task), settings });
                        }
                        (false, None) => plan.not_enforced.push(name),
                    }
                }
            }
            Hierarchy::Two(parent) => {
                let settings = [processor_2(wanted), memory_2(wanted), processes(wanted)].concat();
                if !settings.is_empty() {
                    plan.groups.push(Group { folder: parent.join(task), settings });
                }
                if wanted.memory_swappiness.is_some() {
                    plan.not_enforced.push("memory swappiness");
                }
            }
            Hierarchy::None { .. } => {
                let parts =
                    [("cpu", processor_1(wanted)), ("memory", memory_1(wanted)), ("pids", processes(wanted))];
                let asked = parts.into_iter().filter(|(_, settings)| !settings.is_empty());
                plan.not_enforced.extend(asked.map(|(name, _)| name));
            }
        }
        plan
    }
}

fn setting(file: &str, value: impl ToString) -> Setting {
    Setting { file: file.into(), value: value.to_string() }
}

/// Microseconds of processor time per period.
fn quota(nano_cpus: i64) -> i64 {
    (nano_cpus / (1_000_000_000 / PERIOD)).max(1_000) // the kernel takes no less
}

fn processor_1(wanted: &Requirements) -> Vec<Setting> {
    match wanted.limits.nano_cpus {
        ..=0 => Vec::new(),
        cpus => vec![setting("cpu.cfs_period_us", PERIOD), setting("cpu.cfs_quota_us", quota(cpus))],
    }
}

fn processor_2(wanted: &Requirements) -> Vec<Setting> {
    match wanted.limits.nano_cpus {
        ..=0 => Vec::new(),
        cpus => vec![setting("cpu.max", format_args!("{} {PERIOD}", quota(cpus)))],
    }
}

fn memory_1(wanted: &Requirements) -> Vec<Setting> {
    let mut settings = Vec::new();
    let limit = wanted.limits.memory_bytes;
    if limit > 0 {
        settings.push(setting("memory.limit_in_bytes", limit));
        match wanted.swap_bytes {
            Some(swap) if swap >= 0 => {
                settings.push(setting("memory.memsw.limit_in_bytes", limit.saturating_add(swap)));
            }
            _ => {}
        }
    }
    settings.extend(wanted.memory_swappiness.map(|amount| setting("memory.swappiness", amount)));
    settings
}

fn memory_2(wanted: &Requirements) -> Vec<Setting> {
    let limit = wanted.limits.memory_bytes;
    if limit <= 0 {
        return Vec::new();
    }
    let mut settings = vec![setting("memory.max", limit)];
    match wanted.swap_bytes {
        Some(swap) if swap >= 0 => settings.push(setting("memory.swap.max", swap)),
        _ => {}
    }
    settings
}

fn processes(wanted: &Requirements) -> Vec<Setting> {
    match wanted.limits.pids {
        ..=0 => Vec::new(),
        pids => vec![setting("pids.max", pids)],
    }
}

/// Where our own group lies, by controller; of version 2 the controller has no name.
fn places(mounts: &str, own: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let below = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
            let folder = mount.point.join(below);
            if mount.two && controllers.is_empty() {
                found.push((String::new(), folder));
            } else if !mount.two {
                let ours = CONTROLLERS.into_iter().filter(|name| {
                    let has = |list: &str| list.split(',').any(|controller| controller == *name);
                    has(controllers) && has(mount.options)
                });
                found.extend(ours.map(|name| (name.to_owned(), folder.clone())));
            }
        }
    }
    found
}

/// A mounted hierarchy.
struct Mount<'a> {
    root: &'a str,
    point: PathBuf,
    two: bool,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of `mountinfo`: `id parent device root point options [tags] - type source options`.
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let two = match kind {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        Some(Self { root, point: PathBuf::from(point), two, options })
    }
}

/// Makes the folder for tasks' groups in version 2. It lies beside the daemon's own group and not below it, because a
/// group with processes of its own hands no controllers down. `top` is where the hierarchy is mounted.
fn unified(own: &Path, top: &Path) -> Result<PathBuf, String> {
    // A service manager that hands a group over puts the daemon into this one; so do we, below.
    let beside = own.parent().filter(|_| own.file_name().is_some_and(|name| name == LEAF));
    let mut reason = String::new();
    for base in [beside, Some(own), Some(top)].into_iter().flatten() {
        match hand_over(base) {
            Ok(parent) => return Ok(parent),
            Err(error) => reason = format!("{}: {error}", base.display()),
        }
    }
    // A group that holds nobody else may be arranged as we like: that of a container, say.
    let only_us = fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
    if only_us.trim() != std::process::id().to_string() {
        return Err(reason);
    }
    let leaf = own.join(LEAF);
    make(&leaf)
        .and_then(|()| fs::write(leaf.join("cgroup.procs"), only_us))
        .and_then(|()| hand_over(own))
        .map_err(|error| format!("{}: {error}", own.display()))
}

/// Makes a folder below `base` whose groups have the controllers of use to us.
fn hand_over(base: &Path) -> io::Result<PathBuf> {
    let available = fs::read_to_string(base.join("cgroup.controllers"))?;
    let ours = available.split_ascii_whitespace().filter(|name| CONTROLLERS.contains(name));
    let words: Vec<String> = ours.map(|name| format!("+{name}")).collect();
    if words.len() < CONTROLLERS.len() {
        return Err(io::Error::other("it has not all of the controllers cpu, memory and pids"));
    }
    let hand_down = |group: &Path| fs::write(group.join("cgroup.subtree_control"), words.join(" "));
    hand_down(base)?;
    let parent = base.join(PARENT);
    make(&parent)?;
    hand_down(&parent)?;
    Ok(parent)
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Somebody's folder is of use only when ours can be made in it.
            nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK).map_err(io::Error::from)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use common::object::resources::Limits;

    use super::*;

    fn all() -> Requirements {
        Requirements {
            limits: Limits { nano_cpus: 1_500_000_000, memory_bytes: 64 << 20, pids: 20 },
            swap_bytes: Some(1 << 20),
            ..Requirements::default()
        }
    }

    fn flat(plan: &Plan) -> Vec<String> {
        let lines = |group: &Group| {
            let folder = group.folder.display().to_string();
            let line = move |setting: &Setting| format!("{folder}/{}={}", setting.file, setting.value);
            group.settings.iter().map(line).collect::<Vec<_>>()
        };
        plan.groups.iter().flat_map(lines).collect()
    }

    #[test]
    fn limits_become_files_of_either_version() {
        let one =
            Hierarchy::One { cpu: Some("/c".into()), memory: Some("/m".into()), pids: Some("/p".into()) };
        let expected = [
            "/c/t/cpu.cfs_period_us=100000",
            "/c/t/cpu.cfs_quota_us=150000",
            "/m/t/memory.limit_in_bytes=67108864",
            "/m/t/memory.memsw.limit_in_bytes=68157440",
            "/p/t/pids.max=20",
        ];
        assert_eq!(flat(&one.plan("t", &all())), expected);
        let expected = [
            "/g/t/cpu.max=150000 100000",
            "/g/t/memory.max=67108864",
            "/g/t/memory.swap.max=1048576",
            "/g/t/pids.max=20",
        ];
        assert_eq!(flat(&Hierarchy::Two("/g".into()).plan("t", &all())), expected);
    }

    #[test]
    fn what_nothing_enforces_is_named_and_a_task_without_limits_has_no_group() {
        let none = Hierarchy::None { reason: String::new() };
        let some = Hierarchy::One { cpu: None, memory: None, pids: Some("/p".into()) };
        assert_eq!(none.plan("t", &all()).not_enforced, ["cpu", "memory", "pids"]);
        assert_eq!(some.plan("t", &all()).not_enforced, ["cpu", "memory"]);
        for hierarchy in [none, some, Hierarchy::Two("/g".into())] {
            assert_eq!(hierarchy.plan("t", &Requirements::default()), Plan::default());
        }
    }

    #[test]
    fn our_own_group_is_found_below_each_mount() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            31 29 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n33 29 8:1 / / rw - ext4 /dev/sda rw";
        let own = "4:memory:/docker/x/y\n2:cpu,cpuacct:/a\n0::/b\n";
        let expected = [
            ("cpu".to_owned(), PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/a")),
            ("memory".into(), "/sys/fs/cgroup/memory/y".into()),
            (String::new(), "/sys/fs/cgroup/unified/b".into()),
        ];
        assert_eq!(places(mounts, own), expected);
        assert_eq!(places("garbage\n1 2 3 - cgroup", "x\n1:2"), []);
    }

    #[test]
    fn version_two_has_tasks_beside_the_daemon_and_moves_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let group = |path: &str, controllers: &str| {
            let group = folder.path().join(path);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cgroup.controllers"), controllers).unwrap();
            group
        };
        let all = "cpuset cpu io memory pids\n";
        let (service, bare) = (group("service", all), group("bare", "io\n"));
        let expected = service.join("swarm");
        assert_eq!(unified(&group("service/daemon", "io\n"), &bare), Ok(expected.clone()));
        assert_eq!(unified(&service, &bare), Ok(expected.clone()));
        assert_eq!(unified(&bare, &service), Ok(expected.clone()));
        let handed_down = fs::read_to_string(expected.join("cgroup.subtree_control")).unwrap();
        assert_eq!(handed_down, "+cpu +memory +pids");
        fs::write(bare.join("cgroup.procs"), "1\n2\n").unwrap();
        assert!(unified(&bare, &bare).unwrap_err().contains("not all of the controllers"));
        assert!(!bare.join(LEAF).exists());
    }

    #[test]
    fn a_groups_files_say_whether_memory_ran_out() {
        let folder = tempfile::tempdir().unwrap();
        let group = Group { folder: folder.path().join("t"), settings: vec![setting("pids.max", 3)] };
        group.create().unwrap();
        assert_eq!(fs::read_to_string(group.folder.join("pids.max")).unwrap(), "3");
        assert!(!group.ran_out_of_memory());
        fs::write(group.folder.join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
            .unwrap();
        assert!(!group.ran_out_of_memory());
        fs::write(group.folder.join("memory.events"), "low 0\noom 3\noom_kill 1\n").unwrap();
        assert!(group.ran_out_of_memory());
        fs::write(group.door(), "12\n40\n").unwrap();
        assert_eq!(group.members(), [12, 40]);
    }
}
