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

"$rfhe" demo --quick --model tiny.onnx --calibrate 64 --limit 100 --image 3 --seed 5 -o page.html --json >demo.json \
  2>err || complain "rfhe demo: exit code $?"
holds demo '.schema == "rfhe.demo/1" and .images == 100 and .seed == 5 and .image == 3 and .label == "Trouser"'
holds demo '.activations == 3 and .maxpools == 2 and .replaced == 7 and .calibration_images == 64 and .relu_depth == 3'
holds demo '.top1_before > 0.3 and .top1_after > 0.1 and .top1_after <= 1'
holds demo '.values == 6272 and .values_of_layer == 6272' # 8 channels of 28 x 28
holds demo '[.tuned, .published] | all(.security_bits >= 128 and .min_ms > 0 and .log2_n >= 13 and .key_mib > 0)'
holds demo '.tuned.form == "even8" and .tuned.levels == 3 and .tuned.precision_bits > 15'
holds demo '.published.form == "alpha10" and .published.levels == 10 and .published.precision_bits > 10'
holds demo '.refresh.done == false and (.refresh.why_not | test("quick"))'
"$rfhe" eval tiny.onnx --data fashion-mnist --limit 100 --json >eval.json 2>err
holds demo ".top1_before == $(jq .top1 eval.json)"

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

# in the source tree, its own network is found and named plainly
root=$(cd "$(dirname "$rfhe")/../.." && pwd)
if [ -e "$root/models/fashion-cnn.onnx" ]; then
  (cd "$root" && "$rfhe" demo --quick --calibrate 10 --limit 10 -o "$work/own.html") >text 2>err || complain "exit code $?"
  says text '^   models/fashion-cnn.onnx$'
fi

few="demo --quick --calibrate 10 --limit 10"
refuses 1 'nothing.onnx.*--model' $few --model nothing.onnx
refuses 2 'image must be less' $few --model tiny.onnx --image 10000
refuses 2 'nonsense' $few --model tiny.onnx --form nonsense
refuses 1 'no-such-folder' $few --model tiny.onnx -o no-such-folder/page.html
echo 'this is no network' >broken.onnx
refuses 3 'broken.onnx' $few --model broken.onnx

finish demo
