#!/bin/sh
# What the scripts that test the command from the outside share. A script sets rfhe to the command and reads this file in:
# from then on it is in an empty folder of its own, which is removed at its end, and closes with `finish NAME`.
# shellcheck disable=SC2154 # rfhe comes from the script
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0
checks=0
unset RFHE_THREADS RFHE_ISA RFHE_MEMORY
: >out
: >err

# complain TEXT: one more failure, with what the last command said
complain() {
  failures=$((failures + 1))
  printf '%s\n' "$1"
  head -40 out | sed 's/^/    stdout: /'
  head -40 err | sed 's/^/    stderr: /'
}

# works NAME ARGUMENTS...: exit code 0; one JSON document goes to NAME.json
works() {
  name=$1
  shift
  checks=$((checks + 1))
  : >out
  "$rfhe" "$@" --json >"$name.json" 2>err || complain "rfhe $*: exit code $?"
}

# holds NAME FILTER: the jq filter is true of NAME.json
holds() {
  checks=$((checks + 1))
  jq -e "$2" "$1.json" >/dev/null 2>>err || complain "$1.json: not $2: $(jq -c 'del(.history, .layers)' "$1.json")"
}

# refuses CODE PATTERN ARGUMENTS...: the exit code, one line on standard error that matches, nothing on standard output
refuses() {
  code=$1 pattern=$2 got=0
  shift 2
  checks=$((checks + 1))
  "$rfhe" "$@" >out 2>err || got=$?
  [ "$got" = "$code" ] || complain "rfhe $*: exit code $got instead of $code"
  grep -q -e "$pattern" err || complain "rfhe $*: no '$pattern' on standard error"
  [ "$(wc -l <err)" = 1 ] || complain "rfhe $*: not exactly one line on standard error"
  if [ -s out ]; then complain "rfhe $*: standard output is not empty"; fi
}

# says FILE PATTERN: some line of the file matches
says() {
  checks=$((checks + 1))
  grep -q -e "$2" "$1" || complain "$1: no '$2'"
}

# on_fashion_mnist: the script needs the images, without which it is skipped; one thread, for networks too small for a team
on_fashion_mnist() {
  RFHE_THREADS=1
  export RFHE_THREADS
  "$rfhe" data check fashion-mnist >/dev/null 2>&1 || exit 77
}

# tiny_network WIDTH: trains relu.onnx, a narrow fashion-cnn, on 1,600 images
tiny_network() {
  works trained train fashion-cnn --width "$1" --data fashion-mnist --limit 1600 --batch 32 --epochs 2 --lr 0.05 \
    --augment none --test-split none -q -o relu.onnx
}

# finish NAME: the counts, and the exit status of the script
finish() {
  echo "$1: $checks checks, $failures failures"
  [ $failures = 0 ]
}
