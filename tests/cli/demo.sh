#!/bin/sh
# rfhe demo --quick from the outside, with a tiny network: what its document, its text and its page must say, and what is
# refused. The security stays 128 bits.
# usage: demo.sh RFHE
# shellcheck disable=SC2015,SC2086 # complaining after a failed conjunction is what is meant; $few is words
set -u
rfhe=$1
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/../support/cli.sh"
RFHE_THREADS=1
export RFHE_THREADS
"$rfhe" data check fashion-mnist >/dev/null 2>&1 || exit 77

"$rfhe" train fashion-cnn --width 0.25 --data fashion-mnist --limit 1600 --batch 32 --epochs 2 --augment none --lr 0.05 \
  --test-split none -q -o tiny.onnx >out 2>err || complain "cannot train the tiny network"

"$rfhe" demo --quick --model tiny.onnx --calibrate 64 --limit 100 --images 5 --seed 5 -o page.html --json >demo.json \
  2>err || complain "rfhe demo: exit code $?"
holds demo '.schema == "rfhe.demo/2" and .images == 100 and .seed == 5 and .replaced == null and .form == "even8"'
holds demo '.activations == 3 and .maxpools == 2 and .polynomials == 7 and .relu_depth == 3 and .refreshes >= 7'
holds demo '.top1_before > 0.3 and .top1_after > 0.1 and .top1_after <= 1'
holds demo '.encrypted == false and (.why_not | test("quick")) and .twin_agree >= 0.6'
holds demo '.results | length == 5 and all(has("encrypted") | not) and .[3].label == "Trouser"'
"$rfhe" eval tiny.onnx --data fashion-mnist --limit 100 --json >eval.json 2>err
holds demo ".top1_before == $(jq .top1 eval.json)"

# the page stands alone
says page.html '^<!DOCTYPE html>'
says page.html '</html>'
says page.html 'Nothing was encrypted: --quick'
says page.html 'prefers-color-scheme:dark'
checks=$((checks + 1))
grep -qi -e '<script' -e '<link' -e 'src=' -e 'href=' page.html && complain "the page has scripts or fetches something"
checks=$((checks + 1))
[ "$(grep -o '<svg' page.html | wc -l)" = 5 ] || complain "the page does not have five images"

# a network that was replaced before, and what people are told
"$rfhe" replace tiny.onnx --form even4 --recipe direct --pool max --data fashion-mnist --limit 64 -o even4.onnx >out 2>err ||
  complain "cannot replace the tiny network"
"$rfhe" demo --quick --model tiny.onnx --replaced even4.onnx --limit 100 >text 2>err || complain "exit code $?"
says text '^1\. The network'
says text 'made by `rfhe replace`: 7 activations as even4'
says text '^   nothing was encrypted: --quick'
says text 'The page: rfhe-demo.html'
checks=$((checks + 1))
[ -s rfhe-demo.html ] || complain "no rfhe-demo.html"

# in the source tree, its own network is found and named plainly
root=$(cd "$(dirname "$rfhe")/../.." && pwd)
if [ -e "$root/models/fashion-cnn.onnx" ]; then
  (cd "$root" && "$rfhe" demo --quick --calibrate 10 --limit 10 -o "$work/own.html") >text 2>err || complain "exit code $?"
  says text '^   models/fashion-cnn.onnx: '
fi

echo 'this is no network' >broken.onnx
few="demo --quick --calibrate 10 --limit 10"
refuses 1 'nothing.onnx.*--model' $few --model nothing.onnx
refuses 3 'broken' $few --model tiny.onnx --replaced broken.onnx
refuses 2 'images must be at least 1' $few --model tiny.onnx --images 0
refuses 2 'nonsense' $few --model tiny.onnx --form nonsense
refuses 1 'no-such-folder' $few --model tiny.onnx -o no-such-folder/page.html
refuses 3 'broken.onnx' $few --model broken.onnx

finish demo
