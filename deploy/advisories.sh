#!/usr/bin/env bash
# Known weaknesses of what we depend on, checked without a network.
#
#   deploy/advisories.sh check            compares Cargo.lock with deploy/advisories.txt, by cargo-deny
#   deploy/advisories.sh refresh [REPO]   writes that file anew from a clone of the RustSec database, by default from
#                                         https://github.com/RustSec/advisory-db
#
# The file holds of each advisory for a crate in one of our lock files what a check needs, and says of which commit of
# the database it is and which crates were looked up. It is as good as it is new: refresh it before a release, and
# when Cargo.lock has got another crate.
set -euo pipefail
cd "$(dirname "$0")/.."
snapshot=deploy/advisories.txt
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

locked() {
  git ls-files '*Cargo.lock' | xargs sed -n 's/^name = "\(.*\)"$/\1/p' | sort -u
}

refresh() {
  local database=$folder/database crate file
  git clone --quiet --depth 1 "${1:-https://github.com/RustSec/advisory-db}" "$database"
  {
    echo "# Advisories of the RustSec database (https://rustsec.org; CC0, and CC-BY-4.0 where taken from GitHub) for the"
    echo "# crates in our lock files, without their prose. Written by deploy/advisories.sh; not to be edited."
    echo "commit: $(git -C "$database" log -1 --format='%H %cs')"
    echo "crates: $(locked | tr '\n' ' ')"
    for crate in $(locked); do
      for file in "$database/crates/$crate"/*.md; do
        [[ -e $file ]] || continue
        echo "== crates/$crate/$(basename "$file")"
        # The block of data, and the title under it.
        awk '/^```toml/ { data = 1 } data && !done { print } /^```$/ { done = 1; data = 0 } done && /^# / { print; exit }' "$file"
      done
    done
  } >"$folder/new"
  mv "$folder/new" "$snapshot"
  chmod 644 "$snapshot"
  echo "$snapshot: $(grep -c '^== ' "$snapshot") advisories, $(sed -n 's/^commit: //p' "$snapshot")"
}

check() {
  local database=$folder/database crate new
  echo "advisories as of $(sed -n 's/^commit: [0-9a-f]* //p' "$snapshot")"
  new=$(comm -23 <(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.lock | sort -u) \
    <(sed -n 's/^crates: //p' "$snapshot" | tr ' ' '\n' | sort -u) | tr '\n' ' ')
  [[ -z $new ]] || echo "SKIPPED: advisories for ${new% }: deploy/advisories.txt is older than their place in Cargo.lock"
  mkdir -p "$database"
  awk -v to="$database" '
    /^== / { close(file); file = to "/" $2; folder = file; sub("/[^/]*$", "", folder); system("mkdir -p \"" folder "\""); next }
    file { print > file }' "$snapshot"
  git -C "$database" init --quiet --initial-branch=main
  git -C "$database" add --all
  git -C "$database" -c user.name=check -c user.email=check@localhost commit --quiet --message=snapshot
  # The same rules as for people; where the database is asked for, git takes the one that is here.
  awk -v clones="$folder/clones" '
    { print } /^\[advisories\]/ {
      print "db-path = \"" clones "\""
      print "git-fetch-with-cli = true"
    }' deny.toml >"$folder/deny.toml"
  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$database.insteadOf" \
    GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db \
    cargo deny --locked --config "$folder/deny.toml" check --hide-inclusion-graph advisories
}

case ${1:-} in
check) check ;;
refresh) refresh "${2:-}" ;;
*)
  sed -n '2,8p' "$0" >&2
  exit 2
  ;;
esac
