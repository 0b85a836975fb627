#!/bin/sh
# Stands between cargo and rustc while fuzz programs are built: our crates report to libFuzzer which code ran and
# what was compared. Other people's crates are built as always.
crate=
previous=
for argument in "$@"; do
  [ "$previous" = --crate-name ] && crate=$argument
  previous=$argument
done
case $crate in
  common | manager | worker | common_fuzz | manager_fuzz | worker_fuzz | cli_fuzz)
    exec "$@" --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
      -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
      -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
