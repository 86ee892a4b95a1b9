#!/bin/sh
# Runs every test of a build folder and closes with one line of counts: "N passed, N failed, N skipped", counted
# test by test from cmocka's own reports.
set -u
build=${1:-build/release}
log=$build/tests.log
(cd "$build" && ctest --output-on-failure -V --timeout 900) >"$log" 2>&1
status=$?
if [ $status -ne 0 ]; then
  grep -E '\[  FAILED  \]|\*\*\*|Failed|error' "$log" | head -60
  echo "full log: $log"
fi
passed=$(grep -cE '^[0-9]+: \[       OK \] ' "$log")
failed=$(grep -cE '^[0-9]+: \[  FAILED  \] [A-Za-z_]+$' "$log")
skipped=$(grep -cE '^[0-9]+: \[  SKIPPED \] ' "$log")
grep -E '^ *[0-9]+% tests passed|^Total Test time' "$log"
[ $status -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "$passed passed, $failed failed, $skipped skipped"
exit $status
