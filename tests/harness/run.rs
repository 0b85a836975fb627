//! What belongs to this run of a test program: a folder, loopback addresses, and a guard that clears up after it.
//!
//! Tests clear up themselves when they end or panic. The guard is for when the whole program is killed: a shell
//! that waits for its standard input to close, which happens however this process ends, and then kills every
//! daemon whose state lies in the folder, removes its network namespaces, small disks, and the folder.

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
        let folder = std::env::temp_dir().join(format!("swarm-test-{}", std::process::id()));
        // A process of this id that is no more left it: the guard of that run was killed too.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            .arg(namespace_prefix())
            .arg(label())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // so that an interrupt from the keyboard does not end it with us
            .spawn()
            .expect("sh starts");
        Run { folder, _guard: guard, serial: AtomicU64::new(1), addresses: Mutex::default() }
    })
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
    format!("swt{}", std::process::id())
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

    /// The guard alone, with a process that looks like a daemon of the run: what happens after SIGKILL.
    #[test]
    fn the_guard_kills_what_a_killed_run_left() {
        let folder = tempfile::tempdir().unwrap().keep();
        let guard = |folder: &Path| {
            Command::new("sh")
                .args(["-c", GUARD, "guard"])
                .arg(folder)
                .arg("swt-no-such-run")
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let sleeper = |state: String| {
            Command::new("sh")
                .args(["-c", "read line", "swarm", "--state-dir", &state])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut guard = guard(&folder);
        let mut ours = sleeper(format!("{}/m1", folder.display()));
        let mut other = sleeper(format!("{}-other/m1", folder.display()));
        let _open = ours.stdin.take();
        drop(guard.stdin.take());
        guard.wait().unwrap();
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none(), "another run's process lives");
        assert!(!folder.exists());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
