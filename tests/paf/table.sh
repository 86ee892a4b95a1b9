#!/bin/sh
# The table of all forms in docs/results/paf.md is what `rfhe paf list` prints, on any machine.
# usage: table.sh RFHE SOURCE
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" paf list >"$work/list"
awk 'NR > 1 && !NF { exit }
  NR > 1 { printf "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 }' "$work/list" >"$work/now"
sed -n '/^## All forms/,/^## Minimax/{/^| `/p}' "$2/docs/results/paf.md" >"$work/written"
[ -s "$work/now" ]
if ! diff "$work/written" "$work/now"; then
  echo "table: < is in docs/results/paf.md, > is what rfhe paf list prints"
  exit 1
fi
