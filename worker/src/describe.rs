//! What this machine is: name, platform, resources. What the engine adds comes from whoever asks the engine.

use std::collections::BTreeMap;

use common::object::NodeDescription;
use common::object::node::{EngineDescription, Platform, Resources, TlsInfo};
use common::object::resources::GenericStock;

/// What a node tells of itself beside what it can see alone.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Instead of the machine's own name.
    pub hostname: Option<String>,
    pub engine: EngineDescription,
    pub tls: TlsInfo,
    pub runtimes: Vec<String>,
    /// What else tasks may reserve here, by kind.
    pub generic: BTreeMap<String, GenericStock>,
}

/// Describes this machine as it is now.
pub fn describe(given: Given) -> NodeDescription {
    NodeDescription {
        hostname: given.hostname.unwrap_or_else(hostname),
        platform: Platform { architecture: std::env::consts::ARCH.into(), os: std::env::consts::OS.into() },
        resources: Resources { nano_cpus: nano_cpus(), memory_bytes: memory_bytes(), generic: given.generic },
        engine: given.engine,
        tls: given.tls,
        runtimes: given.runtimes,
    }
}

/// The machine's name.
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

fn nano_cpus() -> i64 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    i64::try_from(cpus).unwrap_or(1).saturating_mul(1_000_000_000)
}

fn memory_bytes() -> i64 {
    std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_total(&text)).unwrap_or_default()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn memory_total(text: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_describes_itself() {
        let description = describe(Given::default());
        assert!(!description.hostname.is_empty());
        assert!(description.resources.nano_cpus >= 1_000_000_000);
        assert!(description.resources.memory_bytes > 1 << 20);
        let named = describe(Given { hostname: Some("lab-1".into()), ..Given::default() });
        assert_eq!(named.hostname, "lab-1");
    }

    #[test]
    fn memory_is_read_from_the_kernels_words() {
        assert_eq!(memory_total("MemTotal:       24654292 kB\nMemFree: 1 kB\n"), Some(24_654_292 * 1024));
        for odd in ["", "MemTotal: lots", "MemTotal: 9223372036854775807 kB"] {
            assert_eq!(memory_total(odd), None, "{odd}");
        }
    }
}
