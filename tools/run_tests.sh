#!/bin/sh
# Runs every test of a build folder and closes with one line: "N passed, N failed, N skipped". Tests written with
# cmocka are counted one by one, from their own reports; any other test of ctest counts as one.
# usage: run_tests.sh [BUILD] [further options of ctest]
set -u
build=${1:-build/release}
[ $# -gt 0 ] && shift
log=$build/tests.log
(cd "$build" && ctest --output-on-failure -V --timeout 1800 -j "$(nproc)" "$@") >"$log" 2>&1
status=$?
counts=$(awk '
function number(   n) { n = $0; sub(/^[0-9]+: \[[^]]*\] +/, "", n); return n + 0 }
/^[0-9]+: \[==========\] Running / { is_cmocka[$1 + 0] = 1 }
/^[0-9]+: \[       OK \] / { ok[$1 + 0]++ }
/^[0-9]+: \[  FAILED  \] [0-9]+ test\(s\), listed/ { bad[$1 + 0] += number() }
/^[0-9]+: \[  SKIPPED \] [0-9]+ test\(s\), listed/ { left[$1 + 0] += number() }
/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
  id = $0; sub(/^[^#]*#/, "", id); id += 0
  if ($0 ~ /\*\*\*Skipped/) { if (!is_cmocka[id]) left[id] = 1 }
  else if ($0 ~ / Passed +[0-9.]+ sec/) { if (!is_cmocka[id]) ok[id] = 1 }
  else if (bad[id] == 0) { bad[id] = 1 } # crashed, ran too long, leaked, or is no cmocka test
  seen[id] = 1
}
END {
  for (id in seen) { p += ok[id]; f += bad[id]; s += left[id] }
  printf "%d passed, %d failed, %d skipped\n", p, f, s
}' "$log")
if [ $status -ne 0 ]; then
  grep -E '^[0-9]+: (\[  FAILED  \] [A-Za-z_]|\[  ERROR   \]|\[   LINE   \])|\*\*\*|ERROR: |runtime error:' "$log" | head -60
  echo "full log: $log"
fi
grep -E '^Total Test time' "$log"
case $counts in # no test at all, or a failure of ctest itself, is no success
  "0 passed, 0 failed"*) status=1 ;;
esac
echo "$counts"
exit $status
