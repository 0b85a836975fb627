//! `swarm lab`: a cluster in one command, faults on demand, and nothing left.

use std::path::PathBuf;
use std::process::Command;

use harness::cluster::SOON;
use harness::wait::wait_until;
use harness::{binary, run};
use serde_json::Value;

/// Labs in a folder of this test. Dropping it removes what a failed test left running.
struct Labs(PathBuf);

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Labs {
    fn new() -> Self {
        Self(run::folder())
    }

    fn lab(&self, arguments: &[&str]) -> Said {
        let output = Command::new(binary::swarm())
            .arg("lab")
            .args(arguments)
            .env("SWARM_LAB_DIR", self.0.join("labs"))
            .env_remove("SWARM_HOST")
            .output()
            .expect("swarm starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let said = self.lab(arguments);
        assert_eq!(said.code, Some(0), "lab {arguments:?}: {}{}", said.stdout, said.stderr);
        said.stdout
    }

    fn status(&self) -> Vec<Value> {
        serde_json::from_str(&self.ok(&["status", "--format", "json"])).expect("an array")
    }

    fn state(&self, name: &str) -> String {
        let nodes = self.status();
        let node = nodes.iter().find(|node| node["name"] == name).expect("the lab has it");
        node["state"].as_str().expect("text").to_owned()
    }

    /// Processes whose arguments name the folder.
    fn processes(&self) -> Vec<String> {
        let folder = self.0.join("labs").display().to_string();
        let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&folder))
            .collect()
    }
}

impl Drop for Labs {
    fn drop(&mut self) {
        self.lab(&["down", "--all"]);
    }
}

#[tokio::test]
async fn a_lab_comes_up_takes_faults_and_leaves_nothing() {
    let labs = Labs::new();
    let said = labs.ok(&["up"]);
    assert!(said.contains("export SWARM_HOST=unix://"), "{said}");
    let nodes = labs.status();
    let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!(names, ["manager1", "manager2", "manager3", "worker1", "worker2"]);
    assert_eq!(nodes.iter().filter(|node| node["leader"] == true).count(), 1, "{nodes:?}");
    assert_eq!(nodes.iter().filter(|node| node["role"] == "manager").count(), 3, "{nodes:?}");
    for node in &nodes {
        assert_eq!(node["state"], "running");
        assert_eq!(node["id"].as_str().map(str::len), Some(25));
        for path in ["socket", "state_folder"] {
            assert!(PathBuf::from(node[path].as_str().unwrap()).exists(), "{node}");
        }
    }

    let twice = labs.lab(&["up"]);
    assert_eq!(twice.code, Some(6));
    assert!(twice.stderr.contains("runs already"), "{}", twice.stderr);
    assert_eq!(labs.lab(&["kill", "manager9"]).code, Some(4));

    for (verb, state) in [
        ("pause", "paused"),
        ("resume", "running"),
        ("cut", "cut"),
        ("heal", "running"),
        ("kill", "killed"),
        ("restart", "running"),
    ] {
        labs.ok(&[verb, "worker2"]);
        assert_eq!(labs.state("worker2"), state, "{verb}");
    }
    // A cut leader is outvoted by the others.
    let leader = |nodes: &[Value]| {
        nodes.iter().find(|node| node["leader"] == true).map(|node| node["name"].to_string())
    };
    let first = leader(&nodes).unwrap();
    let name = first.trim_matches('"').to_owned();
    labs.ok(&["cut", &name]);
    wait_until("another leader", SOON, async || match leader(&labs.status()) {
        Some(leader) if leader != first => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await
    .unwrap();
    labs.ok(&["heal", &name]);

    labs.ok(&["up", "--name", "other", "--managers", "1", "--workers", "0"]);
    labs.ok(&["down"]);
    assert_eq!(labs.lab(&["status"]).code, Some(4));
    labs.ok(&["status", "--name", "other"]);
    labs.ok(&["down"]);
    labs.ok(&["down", "--all"]);
    assert_eq!(labs.processes(), Vec::<String>::new());
    assert!(!labs.0.join("labs").exists(), "no file is left");
}

#[tokio::test]
async fn a_lab_goes_away_whatever_was_killed() {
    let labs = Labs::new();
    labs.ok(&["up", "--managers", "1", "--workers", "1"]);
    labs.ok(&["kill", "manager1"]);
    labs.ok(&["pause", "worker1"]);
    std::fs::write(labs.0.join("labs/lab/lab.json"), "torn").unwrap();
    assert_eq!(labs.lab(&["status"]).code, Some(1));
    labs.ok(&["down"]);
    assert_eq!(labs.processes(), Vec::<String>::new());

    let mut up = Command::new(binary::swarm())
        .args(["lab", "up"])
        .env("SWARM_LAB_DIR", labs.0.join("labs"))
        .spawn()
        .unwrap();
    wait_until("the first daemons run", SOON, async || {
        let daemons = labs.processes();
        if daemons.len() >= 2 { Ok(()) } else { Err(format!("{daemons:?}")) }
    })
    .await
    .unwrap();
    up.kill().unwrap();
    up.wait().unwrap();
    labs.ok(&["down"]);
    assert_eq!(labs.processes(), Vec::<String>::new());
    assert!(!labs.0.join("labs").exists());
}
