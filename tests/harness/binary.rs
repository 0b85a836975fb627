//! The `swarm` program under test: built from this workspace, as the tests were.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Takes this program instead of building one.
const OVERRIDE: &str = "SWARM_BIN";

/// The path of `swarm`, up to date with its sources. Builds it at the first call where needed.
pub fn swarm() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os(OVERRIDE) {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// `cargo test` builds test programs, not the program they test; asking cargo again is the one way that is
/// right in a fresh clone and after any edit, and costs a moment when there is nothing to do.
fn build() -> PathBuf {
    let profile_folder = profile_folder(&std::env::current_exe().expect("this program has a path"));
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace, so that dependencies get the features that they already were built with.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "swarm", "--manifest-path"]).arg(manifest);
    if let Some(target) = profile_folder.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => drop(cargo.args(["--profile", profile])),
    }
    // What cargo tells a test about its package would look like a change to build scripts.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "LD_LIBRARY_PATH"
        {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "cargo build: {}", String::from_utf8_lossy(&output.stderr));
    profile_folder.join("swarm")
}

/// `…/target/debug` of `…/target/debug/deps/cluster-0123456789abcdef`.
fn profile_folder(test: &Path) -> PathBuf {
    let folder = test.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder).into() } else { folder.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_lies_beside_the_tests() {
        for (test, folder) in [
            ("/a/target/debug/deps/cluster-01", "/a/target/debug"),
            ("/a/target/release/deps/failover-01", "/a/target/release"),
            ("/a/target/debug/x", "/a/target/debug"),
        ] {
            assert_eq!(profile_folder(Path::new(test)), Path::new(folder));
        }
    }
}
