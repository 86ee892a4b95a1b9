#!/bin/sh
# Fails on absolute paths of a particular machine (home folders and the like) and on the marks of an unfinished merge in
# files that git tracks.
# usage: check_paths.sh [ROOT]; exit code 77 (skipped) when ROOT is no git checkout.
set -eu
root=${1:-$(dirname "$0")/..}
cd "$root"
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { echo "check_paths: no git checkout, skipped"; exit 77; }
pattern='(^|[^A-Za-z0-9_.~/})-])/(work|home|root|Users|srv|scratch)/'
if git grep -nIE "$pattern" -- . ':!tools/check_paths.sh' ':!tests/lint/*'; then
  echo "check_paths: paths of one machine found"
  exit 1
fi
if git grep -nIE '^(<<<<<<<|>>>>>>>)( |$)' -- . ':!tests/lint/*'; then
  echo "check_paths: an unfinished merge"
  exit 1
fi
echo "check_paths: none found in $(git ls-files | wc -l) files"
