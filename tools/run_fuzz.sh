#!/bin/sh
# Runs every fuzz target of a build folder for some seconds each, starting from fuzz/corpus/TARGET where that exists; new
# inputs and findings stay in the build folder. Closes with one line and fails on any finding.
# usage: run_fuzz.sh [BUILD] [SECONDS]
set -eu
build=${1:-build/fuzz}
seconds=${2:-60}
source=$(cd "$(dirname "$0")/.." && pwd)
targets=0 findings=0
for target in "$build"/fuzz/fuzz_*; do
  if [ ! -x "$target" ] || [ -d "$target" ]; then continue; fi
  name=$(basename "$target")
  work=$build/fuzz/$name.work
  mkdir -p "$work/corpus"
  saved=$source/fuzz/corpus/$name
  [ -d "$saved" ] || saved=
  targets=$((targets + 1))
  echo "$name: $seconds s"
  # shellcheck disable=SC2086 # an absent corpus is no argument
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$work/" -print_final_stats=1 \
    "$work/corpus" $saved >"$work/log" 2>&1 || { findings=$((findings + 1)); tail -30 "$work/log"; }
  grep -E '^stat::number_of_executed_units' "$work/log" || true
done
echo "fuzz: $targets targets, $findings with findings"
[ "$findings" = 0 ] && [ "$targets" -gt 0 ]
