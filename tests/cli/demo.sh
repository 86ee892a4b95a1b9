#!/bin/sh
# rfhe demo --quick from the outside, with a tiny network: what its document, its text and its page must say, and what is
# refused. The security stays 128 bits.
# usage: demo.sh RFHE
# shellcheck disable=SC2015 # complaining after a failed conjunction is what is meant
set -u
rfhe=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0
checks=0
unset RFHE_ISA RFHE_MEMORY
RFHE_THREADS=1
export RFHE_THREADS
"$rfhe" data check fashion-mnist >/dev/null 2>&1 || exit 77

complain() {
  failures=$((failures + 1))
  printf '%s\n' "$1"
  sed 's/^/    stderr: /' err
}

# holds FILTER: the jq filter is true of demo.json
holds() {
  checks=$((checks + 1))
  jq -e "$1" demo.json >/dev/null 2>>err || complain "demo.json: not $1: $(jq -c . demo.json)"
}

# says FILE PATTERN
says() {
  checks=$((checks + 1))
  grep -q -e "$2" "$1" || complain "$1: no '$2'"
}

# refuses CODE PATTERN ARGUMENTS...: the exit code, and one line on standard error that matches
refuses() {
  code=$1 pattern=$2 got=0
  shift 2
  checks=$((checks + 1))
  "$rfhe" demo --quick --calibrate 10 --limit 10 "$@" >out 2>err || got=$?
  [ "$got" = "$code" ] || complain "rfhe demo $*: exit code $got instead of $code"
  grep -q -e "$pattern" err || complain "rfhe demo $*: no '$pattern' on standard error"
  [ "$(wc -l <err)" = 1 ] || complain "rfhe demo $*: not exactly one line on standard error"
}

"$rfhe" train fashion-cnn --width 0.25 --data fashion-mnist --limit 1600 --batch 32 --epochs 2 --augment none --lr 0.05 \
  --test-split none -q -o tiny.onnx >out 2>err || complain "cannot train the tiny network"

"$rfhe" demo --quick --model tiny.onnx --calibrate 64 --limit 100 --image 3 --seed 5 -o page.html --json >demo.json \
  2>err || complain "rfhe demo: exit code $?"
holds '.schema == "rfhe.demo/1" and .images == 100 and .seed == 5 and .image == 3 and .label == "Trouser"'
holds '.activations == 3 and .maxpools == 2 and .replaced == 7 and .calibration_images == 64 and .relu_depth == 3'
holds '.top1_before > 0.3 and .top1_after > 0.1 and .top1_after <= 1'
holds '.values == 6272 and .values_of_layer == 6272' # 8 channels of 28 x 28
holds '[.tuned, .published] | all(.security_bits >= 128 and .min_ms > 0 and .log2_n >= 13 and .key_mib > 0)'
holds '.tuned.form == "even8" and .tuned.levels == 3 and .tuned.precision_bits > 15'
holds '.published.form == "alpha10" and .published.levels == 10 and .published.precision_bits > 10'
holds '.refresh.done == false and (.refresh.why_not | test("quick"))'
"$rfhe" eval tiny.onnx --data fashion-mnist --limit 100 --json >eval.json 2>err
holds ".top1_before == $(jq .top1 eval.json)"

# the page stands alone
says page.html '^<!DOCTYPE html>'
says page.html '</html>'
says page.html 'alpha10, as published'
says page.html '128-bit security'
says page.html 'prefers-color-scheme:dark'
checks=$((checks + 1))
grep -qi -e '<script' -e '<link' -e 'src=' -e 'href=' page.html && complain "the page has scripts or fetches something"
checks=$((checks + 1))
[ "$(grep -o '<svg' page.html | wc -l)" = 2 ] || complain "the page does not have one image and one plot"

# people are told where the page is and what is not there yet
"$rfhe" demo --quick --model tiny.onnx --calibrate 64 --limit 100 --form even4 >text 2>err || complain "exit code $?"
says text '^1\. The network'
says text 'even4 .*128-bit security'
says text '^   not run: '
says text 'The page: rfhe-demo.html'
says text '^Not there yet: whole networks'
checks=$((checks + 1))
[ -s rfhe-demo.html ] || complain "no rfhe-demo.html"

refuses 1 'nothing.onnx.*--model' --model nothing.onnx
refuses 2 'image must be less' --model tiny.onnx --image 10000
refuses 2 'nonsense' --model tiny.onnx --form nonsense
refuses 1 'no-such-folder' --model tiny.onnx -o no-such-folder/page.html
echo 'this is no network' >broken.onnx
refuses 3 'broken.onnx' --model broken.onnx

echo "demo: $checks checks, $failures failures"
[ $failures = 0 ]
