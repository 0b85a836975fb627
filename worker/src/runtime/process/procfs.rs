//! Which processes there are, as `/proc` says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A process, told apart from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks since the machine's start.
    pub started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: Stat::of(pid)?.started })
    }

    /// Whether it is still there; one that has ended and waits to be noticed is not.
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }
}

/// Names the machine's boot: another one after each restart.
pub fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub parent: i32,
    pub session: i32,
    pub started: u64,
    /// Only its exit code is left of it.
    pub ended: bool,
}

impl Stat {
    pub fn of(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `pid (name) state parent group session …`; the name may hold anything, so what counts is its last `)`.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let name_end = bytes.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&bytes[name_end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
        Some(Self {
            ended: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// All processes that this one may see.
pub fn all() -> Vec<(i32, Stat)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, Stat::of(pid)?))).collect()
}

/// Children of `root`, their children, and so on.
pub fn descendants(root: i32, all: &[(i32, Stat)]) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(
            all.iter()
                .filter(|(_, stat)| found.contains(&stat.parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    found.remove(&root);
    found
}

/// Whether the process was started with this variable, or by one that was.
pub fn has_variable(pid: i32, variable: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: i32) -> Stat {
        Stat { parent, session: 1, started: 1, ended: false }
    }

    #[test]
    fn a_name_cannot_hide_what_follows_it() {
        let line = b"12 (evil) Z 1 1 (x) S 7 12 11 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4242 99";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 7, session: 11, started: 4242, ended: false }));
        for odd in [&b""[..], b"12", b"12 (a", b"12 (a)", b"12 (a) S 7", b"12 (a) S x 12 11 0 -1"] {
            assert_eq!(Stat::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn this_process_is_found_and_another_start_of_its_pid_is_not() {
        let own = Process::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
        assert!(!boot().is_empty());
    }

    #[test]
    fn descendants_are_all_below_and_none_beside() {
        let all = [(2, stat(1)), (9, stat(3)), (3, stat(2)), (4, stat(1)), (5, stat(9))];
        assert_eq!(descendants(2, &all), BTreeSet::from([3, 5, 9]));
        assert_eq!(descendants(5, &all), BTreeSet::new());
    }
}
