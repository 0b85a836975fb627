//! What belongs to this run of a test program: a folder, loopback addresses, and a guard that clears up after it.
//!
//! Tests clear up themselves when they end or panic. The guard is for when the whole program is killed: a shell
//! that waits for its standard input to close, which happens however this process ends, and then kills every
//! daemon whose state lies in the folder, ends its tasks, removes its network namespaces, small disks, and the folder.
//! Where the guard was killed too, the next run does its work.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// Port of the nodes' traffic; every node of a test has an address of its own.
pub const NODE_PORT: u16 = 2377;

/// Whoever listens here holds the network `127.x.y.0/24`.
const CLAIM_PORT: u16 = 2370;
/// Second parts of the addresses that tests take; labs take others.
const NETWORKS: std::ops::Range<u16> = 100..180;

const GUARD: &str = r#"
cat >/dev/null
for process in /proc/[0-9]*; do
  if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF -- "--state-dir $1/"; then
    kill -KILL "${process#/proc/}" 2>/dev/null
  fi
done
# Engines of tests, and with each its containers.
for process in /proc/[0-9]*; do
  if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF -- "--data-root $1/"; then
    kill -KILL "${process#/proc/}" 2>/dev/null
  fi
done
# Tasks outlive their daemon: their supervisors end them when asked to.
for process in /proc/[0-9]*; do
  if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF -- "task-supervisor task $1/"; then
    kill -TERM "${process#/proc/}" 2>/dev/null
  fi
done
if command -v docker >/dev/null 2>&1; then
  docker ps -aq --filter "label=swarm-test=$3" 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1
fi
for namespace in $(ip netns list 2>/dev/null | awk '{print $1}' | grep -- "^$2-"); do
  ip netns delete "$namespace"
done
for disk in $(awk '{print $2}' /proc/mounts | grep -F -- "$1/"); do
  umount -l "$disk"
done
rm -rf "$1"
"#;

struct Run {
    folder: PathBuf,
    /// Its standard input is open as long as this process lives.
    _guard: Child,
    serial: AtomicU64,
    addresses: Mutex<Addresses>,
}

#[derive(Default)]
struct Addresses {
    free: VecDeque<Ipv4Addr>,
    claims: Vec<TcpListener>,
}

fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let (base, id) = (std::env::temp_dir(), std::process::id());
        // One of this id that is no more may have left its folder too.
        for dead in left_by_the_dead(&base, id) {
            let _ = guard(&base, dead, Stdio::null()).status();
        }
        let folder = folder_of(&base, id);
        std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        let guard = guard(&base, id, Stdio::piped()).spawn().expect("sh starts");
        Run { folder, _guard: guard, serial: AtomicU64::new(1), addresses: Mutex::default() }
    })
}

fn folder_of(base: &Path, id: u32) -> PathBuf {
    base.join(format!("swarm-test-{id}"))
}

/// The guard of the run that this process was or is; it begins when its standard input ends.
fn guard(base: &Path, id: u32, input: Stdio) -> Command {
    let mut guard = Command::new("sh");
    guard
        .args(["-c", GUARD, "guard"])
        .arg(folder_of(base, id))
        .arg(namespaces_of(id))
        .arg(id.to_string())
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0); // so that an interrupt from the keyboard does not end it with us
    guard
}

/// The runs whose folders are there and whose processes are not; under our own id only an earlier one can be.
fn left_by_the_dead(base: &Path, us: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| {
        entry.file_name().to_str().and_then(|name| name.strip_prefix("swarm-test-")?.parse::<u32>().ok())
    });
    ids.filter(|id| *id == us || !Path::new(&format!("/proc/{id}")).exists()).collect()
}

/// What marks the containers of this run.
pub fn label() -> String {
    std::process::id().to_string()
}

/// A new folder, removed with this run at the latest. Short, because the path of a socket has to be.
pub fn folder() -> PathBuf {
    let run = run();
    let folder = run.folder.join(run.serial.fetch_add(1, Ordering::Relaxed).to_string());
    std::fs::create_dir(&folder).expect("serial numbers are used once");
    folder
}

/// What the names of this run's network namespaces start with.
pub fn namespace_prefix() -> String {
    namespaces_of(std::process::id())
}

fn namespaces_of(id: u32) -> String {
    format!("swt{id}")
}

/// A loopback address that no other node of any running test program has.
pub fn address() -> SocketAddr {
    let mut addresses = run().addresses.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if addresses.free.is_empty() {
        let (network, claim) = claim_network().expect("a loopback network is free");
        addresses.claims.push(claim);
        addresses.free.extend((1..=250).map(|host| Ipv4Addr::new(127, network.0, network.1, host)));
    }
    let address = addresses.free.pop_front().expect("filled above");
    SocketAddr::new(IpAddr::V4(address), NODE_PORT)
}

fn claim_network() -> Option<((u8, u8), TcpListener)> {
    let count = NETWORKS.len() as u32 * 256;
    (0..count).map(|step| (std::process::id().wrapping_mul(7) + step) % count).find_map(|index| {
        let second = u8::try_from(u32::from(NETWORKS.start) + index / 256).ok()?;
        let third = u8::try_from(index % 256).ok()?;
        let claim = TcpListener::bind((Ipv4Addr::new(127, second, third, 254), CLAIM_PORT)).ok()?;
        Some(((second, third), claim))
    })
}

/// Whether a path lies in this run's folder: only what does is ever killed or removed.
pub fn owns(path: &Path) -> bool {
    path.starts_with(&run().folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn folders_and_addresses_are_used_once() {
        let folders: Vec<_> = (0..3).map(|_| folder()).collect();
        assert!(folders.iter().all(|folder| folder.is_dir() && owns(folder)));
        assert!(folders[0] != folders[1] && folders[1] != folders[2]);
        let mut addresses: Vec<_> = (0..300).map(|_| address()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 300);
    }

    #[test]
    fn a_network_is_claimed_once() {
        let (first, _claim) = claim_network().unwrap();
        let (second, _other) = claim_network().unwrap();
        assert_ne!(first, second);
    }

    /// A process whose command line ends with these words, until it is killed.
    fn looks_like(words: &[&str]) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "read line", "swarm"]).args(words).stdin(Stdio::piped());
        command.spawn().unwrap()
    }

    /// With processes that look like a daemon of the run and the supervisor of a task: what happens after SIGKILL.
    #[test]
    fn the_guard_ends_what_a_killed_run_left() {
        let base = tempfile::tempdir().unwrap();
        // No process has such an id.
        let dead = u32::MAX - 7;
        let folder = folder_of(base.path(), dead);
        std::fs::create_dir(&folder).unwrap();
        let own = folder_of(base.path(), std::process::id());
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(base.path().join("swarm-test-x")).unwrap();
        assert_eq!(left_by_the_dead(base.path(), 1), [dead], "who runs is left alone");

        let state = format!("{}/m1", folder.display());
        let mut daemon = looks_like(&["--state-dir", &state]);
        let mut supervisor = looks_like(&["task-supervisor", "task", &format!("{state}/processes/x")]);
        let mut other = looks_like(&["--state-dir", &format!("{}-other/m1", folder.display())]);
        let _open = (daemon.stdin.take(), supervisor.stdin.take(), other.stdin.take());
        guard(base.path(), dead, Stdio::null()).status().unwrap();
        assert_eq!(daemon.wait().unwrap().signal(), Some(9));
        assert_eq!(supervisor.wait().unwrap().signal(), Some(15), "it ends its task");
        assert!(other.try_wait().unwrap().is_none(), "another run's process lives");
        assert!(!folder.exists() && own.exists());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
