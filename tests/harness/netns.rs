//! Hosts on one machine: network namespaces joined by a switch, whose cables can be pulled.
//!
//! The switch is a namespace with bridges. Each host has `eth0`, whose other end is a port of the first bridge;
//! a partition moves ports to bridges of their own, so that packets vanish without anybody being told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use crate::node::NodeOptions;
use crate::run::{self, NODE_PORT};
use crate::skip::skipped;

/// Hosts joined by a switch. Dropping it removes all of it; their daemons have to be gone by then.
pub struct Hosts {
    prefix: String,
    count: usize,
    bridges: usize,
}

/// Why this machine cannot make network namespaces; none where it can.
pub fn available() -> Result<(), String> {
    static AVAILABLE: OnceLock<Result<(), String>> = OnceLock::new();
    AVAILABLE
        .get_or_init(|| {
            let trial = || -> anyhow::Result<()> {
                remove_leftovers();
                Hosts::new(1).map(drop)
            };
            trial().map_err(|error| format!("{error:#}"))
        })
        .clone()
}

/// Hosts for a test; none, and a loud line, where this machine cannot make them.
pub fn hosts(count: usize, test: &str) -> Option<Hosts> {
    if let Err(reason) = available() {
        skipped(test, "namespaces", &reason);
        return None;
    }
    Some(Hosts::new(count).expect("this machine made namespaces a moment ago"))
}

impl Hosts {
    pub fn new(count: usize) -> anyhow::Result<Hosts> {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        anyhow::ensure!(count < 250, "the switch has 250 ports");
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        // The guard of this run removes what starts with this, should we be killed.
        let _guarded = run::folder();
        let hosts = Hosts { prefix: format!("{}-{serial}", run::namespace_prefix()), count, bridges: 1 };
        let switch = hosts.switch();
        ip(&["netns", "add", &switch])?;
        hosts.add_bridge(0)?;
        for index in 0..count {
            let (name, port) = (hosts.namespace(index), port(index));
            ip(&["netns", "add", &name])?;
            ip(&[
                "link", "add", &port, "netns", &switch, "type", "veth", "peer", "name", "eth0", "netns",
                &name,
            ])?;
            ip(&["-n", &switch, "link", "set", &port, "master", &bridge(0), "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "address", "add", &format!("{}/24", v4(index)), "dev", "eth0"])?;
            // Refused where the kernel has no IPv6; the tests that need it say so themselves.
            let _ =
                ip(&["-n", &name, "address", "add", &format!("{}/64", v6(index)), "dev", "eth0", "nodad"]);
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(hosts)
    }

    pub fn namespace(&self, index: usize) -> String {
        format!("{}-{}", self.prefix, index + 1)
    }

    /// Where a node on this host listens.
    pub fn addr(&self, index: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(v4(index)), NODE_PORT)
    }

    pub fn addr_v6(&self, index: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(v6(index)), NODE_PORT)
    }

    /// A daemon on each host.
    pub fn options(&self) -> Vec<NodeOptions> {
        (0..self.count)
            .map(|index| {
                let options = NodeOptions::named(&format!("h{}", index + 1));
                options.at(self.addr(index)).in_namespace(&self.namespace(index))
            })
            .collect()
    }

    /// Pulls a host's cable: it sees that its link is down.
    pub fn cut(&self, index: usize) -> anyhow::Result<()> {
        ip(&["-n", &self.switch(), "link", "set", &port(index), "down"])
    }

    pub fn plug(&self, index: usize) -> anyhow::Result<()> {
        ip(&["-n", &self.switch(), "link", "set", &port(index), "up"])
    }

    /// Splits the hosts into groups that hear only themselves; a host in no group hears nobody.
    pub fn partition(&mut self, groups: &[&[usize]]) -> anyhow::Result<()> {
        let alone = (0..self.count).filter(|index| !groups.iter().any(|group| group.contains(index)));
        let alone: Vec<[usize; 1]> = alone.map(|index| [index]).collect();
        let all = groups.iter().copied().chain(alone.iter().map(|group| group.as_slice()));
        for (number, group) in all.enumerate() {
            if number >= self.bridges {
                self.add_bridge(number)?;
                self.bridges = number + 1;
            }
            for index in group {
                ip(&["-n", &self.switch(), "link", "set", &port(*index), "master", &bridge(number)])?;
            }
        }
        Ok(())
    }

    /// Ends a partition and plugs every cable.
    pub fn heal(&self) -> anyhow::Result<()> {
        for index in 0..self.count {
            ip(&["-n", &self.switch(), "link", "set", &port(index), "master", &bridge(0), "up"])?;
        }
        Ok(())
    }

    /// Gives a host another address, and takes the one it had.
    pub fn move_to(&self, index: usize, addr: Ipv4Addr) -> anyhow::Result<SocketAddr> {
        let name = self.namespace(index);
        ip(&["-n", &name, "-4", "address", "flush", "dev", "eth0"])?;
        ip(&["-n", &name, "address", "add", &format!("{addr}/24"), "dev", "eth0"])?;
        Ok(SocketAddr::new(IpAddr::V4(addr), NODE_PORT))
    }

    /// A program on a host, for tests that do more than run daemons there.
    pub fn command(&self, index: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(index), program]);
        command
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    fn add_bridge(&self, number: usize) -> anyhow::Result<()> {
        let (switch, bridge) = (self.switch(), bridge(number));
        ip(&["-n", &switch, "link", "add", &bridge, "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", &bridge, "up"])
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // Removing a namespace removes the links that end in it.
        for name in (0..self.count).map(|index| self.namespace(index)).chain([self.switch()]) {
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn port(index: usize) -> String {
    format!("port{}", index + 1)
}

fn bridge(number: usize) -> String {
    format!("bridge{number}")
}

fn v4(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(index + 1).expect("at most 250 hosts"))
}

fn v6(index: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::try_from(index + 1).expect("at most 250 hosts"))
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("the ip command")?;
    let words = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), words.trim());
    Ok(())
}

/// Namespaces of test programs that are no more, and whose guard was killed as well.
fn remove_leftovers() {
    let Ok(output) = Command::new("ip").args(["netns", "list"]).output() else { return };
    let listed = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for name in names {
        let owner = name.strip_prefix("swt").and_then(|rest| rest.split_once('-')).map(|(owner, _)| owner);
        let gone = owner
            .and_then(|owner| owner.parse::<u32>().ok())
            .is_some_and(|owner| !std::path::Path::new(&format!("/proc/{owner}")).exists());
        if gone {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(hosts: &Hosts, from: usize, to: usize) -> bool {
        // The shell's own /dev/udp and the like are not everywhere; a neighbour entry needs no other program.
        let to = v4(to).to_string();
        let name = hosts.namespace(from);
        let _ = ip(&["-n", &name, "neighbour", "flush", "dev", "eth0"]);
        let probe = "exec 3<>\"/dev/tcp/$0/9\"";
        let _ = hosts.command(from, "timeout").args(["0.7", "bash", "-c", probe, &to]).output();
        let output = Command::new("ip").args(["-n", &name, "neighbour", "show", &to]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("lladdr")
    }

    #[test]
    fn cables_are_pulled_and_hosts_are_parted() {
        let Some(mut hosts) = hosts(4, "cables_are_pulled_and_hosts_are_parted") else { return };
        assert!(reaches(&hosts, 0, 3) && reaches(&hosts, 2, 1));
        hosts.cut(3).unwrap();
        assert!(!reaches(&hosts, 0, 3) && reaches(&hosts, 0, 1));
        hosts.plug(3).unwrap();
        hosts.partition(&[&[0, 1], &[2]]).unwrap();
        assert!(
            reaches(&hosts, 0, 1)
                && !reaches(&hosts, 0, 2)
                && !reaches(&hosts, 2, 3)
                && !reaches(&hosts, 3, 1)
        );
        hosts.heal().unwrap();
        assert!(reaches(&hosts, 0, 2) && reaches(&hosts, 3, 1));
        let name = hosts.namespace(0);
        drop(hosts);
        assert!(ip(&["-n", &name, "link", "show"]).is_err(), "it is gone");
    }
}
