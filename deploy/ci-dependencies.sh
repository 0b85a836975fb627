#!/usr/bin/env bash
# Installs what the checks and the tests use beside the Rust toolchain; what is there already is skipped.
#
# iproute2   network namespaces for the partition tests
# faketime   wall clocks that jump
# mount      small disks that are full
# procps     ps and pgrep, to see that nothing was left running
# busybox    the image that container tests run
# docker-registry  a registry on loopback for them to pull from
# gcc, g++   the cryptography library is partly C; libFuzzer (deploy/fuzz.sh) is C++
# cargo-deny licences, bans and sources of the dependencies
#
# The docker command and an engine (dockerd) are used by tests where they are present, and are not installed here: those
# tests say loudly that they were skipped.
set -euo pipefail

# The newest that is known to read our deny.toml.
cargo_deny_version=0.20.2

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need ip iproute2
need faketime faketime
need mount mount
need ps procps
need gcc gcc
need g++ g++
need git git
need busybox busybox-static
need docker-registry docker-registry

if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
  echo "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get -qq update
  # RUNLEVEL=1: what is installed starts no service of its own; tests start what they need on ports of their own.
  "${as_root[@]}" env RUNLEVEL=1 apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo-deny >/dev/null 2>&1; then
  echo "building cargo-deny $cargo_deny_version (a few minutes, once)"
  # Built to be done soon, not to run fast: it reads one lock file.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --quiet --locked --no-default-features "cargo-deny@$cargo_deny_version"
fi

for tool in ip ps mount faketime gcc g++ git cargo-deny busybox docker dockerd docker-registry; do
  printf '%-11s %s\n' "$tool" "$(command -v "$tool" || echo 'absent')"
done
