#!/usr/bin/env bash
# Builds the fuzz programs of all crates and runs their targets, one after the other.
#
#   deploy/fuzz.sh [SECONDS_PER_TARGET] [TARGET...]      60 seconds and all targets, unless said otherwise
#   deploy/fuzz.sh reproduce TARGET FILE                 one input again
#
# What was found before lies in common/fuzz/corpus/ and is gone on from; an input that broke something is kept in
# common/fuzz/artifacts/. Coverage comes from flags that the stable compiler has, so no other toolchain is needed;
# libFuzzer itself is C++ and wants g++. FUZZ_JOBS targets run at a time (as many as there are processors).
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
fuzz=$top/common/fuzz
programs=(common-fuzz manager-fuzz worker-fuzz cli-fuzz)
target_folder=${CARGO_TARGET_DIR:-$top/target}

# An input may take this long, and all together this much memory.
input_seconds=10 memory_mb=2048

(
  cd "$fuzz"
  RUSTC_WRAPPER="$top/deploy/fuzz-rustc.sh" CARGO_TARGET_DIR="$target_folder" CARGO_INCREMENTAL=0 \
    cargo build --quiet --workspace --bins
)

# "target program" on each line. A program says by itself what it holds; libFuzzer's own words go to stderr.
targets_known=$(
  for program in "${programs[@]}"; do
    for target in $("$target_folder/debug/$program" 2>/dev/null); do echo "$target $target_folder/debug/$program"; done
  done
)

# program_of TARGET
program_of() {
  local target program
  while read -r target program; do
    if [ "$target" = "$1" ]; then
      echo "$program"
      return
    fi
  done <<<"$targets_known"
  echo "no fuzz target is called $1; there are: $(cut -d' ' -f1 <<<"$targets_known" | xargs)" >&2
  return 1
}

# fuzz_one SECONDS TARGET: prints one line when all is well, and how to go on when it is not.
fuzz_one() {
  local seconds=$1 target=$2 program corpus artifacts log first covered runs
  program=$(program_of "$target")
  corpus=$fuzz/corpus/$target artifacts=$fuzz/artifacts/$target log=$fuzz/artifacts/$target.log
  mkdir -p "$corpus" "$artifacts"
  export SWARM_FUZZ_TARGET=$target
  SWARM_FUZZ_SEEDS=$corpus "$program" 2>/dev/null
  if "$program" -max_total_time="$seconds" -timeout="$input_seconds" -rss_limit_mb="$memory_mb" -max_len=8192 \
    -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$artifacts/" "$corpus" >"$log" 2>&1; then
    covered=$(grep -aoE 'cov: [0-9]+' "$log" | tail -1 | grep -oE '[0-9]+')
    first=$(grep -aoE 'INITED cov: [0-9]+' "$log" | grep -oE '[0-9]+')
    runs=$(grep -aoE 'average_exec_per_sec: +[0-9]+' "$log" | grep -oE '[0-9]+$')
    printf '%-16s %8s runs/s, coverage %s -> %s\n' "$target" "$runs" "$first" "$covered"
  else
    printf '\n%s FAILED; the end of its log:\n' "$target"
    tail -60 "$log"
    printf '\nto see it again: deploy/fuzz.sh reproduce %s FILE, with the FILE that the log names\n' "$target"
    return 1
  fi
}

if [ "${1:-}" = reproduce ]; then
  target=$2 file=$(realpath "$3")
  program=$(program_of "$target")
  SWARM_FUZZ_TARGET=$target exec "$program" -timeout="$input_seconds" "$file"
fi

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then mapfile -t targets < <(cut -d' ' -f1 <<<"$targets_known"); fi
for target in "${targets[@]}"; do program_of "$target" >/dev/null; done

export -f fuzz_one program_of
export fuzz targets_known input_seconds memory_mb
printf '%s\0' "${targets[@]}" |
  xargs -0 -n1 -P "${FUZZ_JOBS:-$(nproc)}" bash -c 'set -euo pipefail; fuzz_one "$0" "$1"' "$seconds"
