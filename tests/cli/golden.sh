#!/bin/sh
# What the command prints for people (help of every command) and the shape of what it prints for scripts (--json), compared
# with the files in tests/cli/golden. With --update the files are written anew: look at the difference, then commit it.
# usage: golden.sh RFHE [--update]
#
# golden/json.txt lists the JSON cases, one per line: NAME, a tab, the arguments; @ stands for tests/cli/data. The shape
# of a document is the document with each value replaced by its type and each array by its first element.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
rfhe=$1
update=${2:-}
golden=$here/golden
got=$(mktemp -d)
trap 'rm -rf "$got"' EXIT

shape='def shape: if type == "object" then map_values(shape)
  elif type == "array" then .[:1] | map(shape) else type end;
  if length == 1 then .[0] | shape else error("\(length) documents instead of one") end'

"$rfhe" --help >"$got/help.txt"
# shellcheck disable=SC2013 # names of commands are words
for verb in $(sed -n '/^commands/,/^$/s/^  \([a-z]*\) .*/\1/p' "$got/help.txt"); do
  "$rfhe" "$verb" --help >"$got/help-$verb.txt"
done
tab=$(printf '\t')
while IFS=$tab read -r name arguments; do
  # shellcheck disable=SC2046 # the arguments are words
  "$rfhe" $(printf '%s' "$arguments" | sed "s|@|$here/data|g") --json | jq -S -s "$shape" >"$got/$name.json" || {
    echo "golden: rfhe $arguments --json failed"
    exit 1
  }
done <"$golden/json.txt"

if [ "$update" = --update ]; then
  rm -f "$golden"/help*.txt "$golden"/*.json
  cp "$got"/* "$golden"
  exit 0
fi
cp "$golden/json.txt" "$got"
if diff -ru "$golden" "$got"; then
  echo "golden: $(find "$got" -type f | wc -l) files agree"
else
  echo "golden: if the new output is right, run tests/cli/golden.sh $rfhe --update and commit the difference"
  exit 1
fi
