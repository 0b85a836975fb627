//! Clients beside a test: started, ended, and what they got.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde::Deserialize;

/// The program that serves and asks.
pub const PEER: &str = env!("CARGO_BIN_EXE_mesh-peer");

/// What clients got.
#[derive(Debug, Deserialize)]
pub struct Results {
    pub requests: u64,
    pub stale: u64,
    pub failed: u64,
    pub failures: Vec<String>,
    /// By task and version.
    pub answers: std::collections::BTreeMap<String, u64>,
    pub longest_ms: u64,
}

/// Clients at work. Dropping it kills them.
pub struct Load(Child);

impl Load {
    /// Clients that ask these addresses in turn; `command` runs `PEER`, wherever that is to be.
    pub fn start(
        mut command: Command,
        (one_shots, keep_alives): (u32, u32),
        addresses: &[SocketAddr],
    ) -> Self {
        command.args(["load", &one_shots.to_string(), &keep_alives.to_string()]);
        command.args(addresses.iter().map(SocketAddr::to_string));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().expect("the test's own program starts"))
    }

    /// Lets them finish what they are at.
    pub async fn finish(mut self) -> anyhow::Result<Results> {
        drop(self.0.stdin.take());
        let mut output = self.0.stdout.take().context("it was asked for")?;
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let text = reading.await??;
        let results: Results =
            serde_json::from_str(&text).with_context(|| format!("clients said {text:?}"))?;
        eprintln!(
            "{} requests, {} failed, {} on stale connections, {} tasks, longest {} ms",
            results.requests,
            results.failed,
            results.stale,
            results.answers.len(),
            results.longest_ms
        );
        Ok(results)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Results {
    pub fn expect_no_failure(&self) {
        assert_eq!(self.failed, 0, "{:#?}", self.failures);
        assert!(self.requests > 20, "only {} requests", self.requests);
    }
}
