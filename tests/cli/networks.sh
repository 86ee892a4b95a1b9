#!/bin/sh
# inspect, train and eval from the outside, with a tiny network on Fashion-MNIST: the contract of their JSON, the way back
# from an interruption, and what is refused with which exit code.
# usage: networks.sh RFHE
# shellcheck disable=SC2015 # complaining after a failed conjunction is what is meant
set -u
rfhe=$1
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/../support/cli.sh"
on_fashion_mnist

# inspect: an architecture by name; ResNet-20 has 19 ReLUs and 40.55 million products per image
works named inspect resnet20
holds named '.schema == "rfhe.inspect/1" and .to_replace == 19 and .relu == 19 and .macs == 40551040'
holds named '[.layers[] | select(.encrypted == "replace") | .elements] | add == 188416'

# train: the required keys; the file holds its normalisation; no checkpoint is left
tiny="train fashion-cnn --width 0.25 --data fashion-mnist --limit 1600 --batch 32 --epochs 2 --augment flip --lr 0.05"
# shellcheck disable=SC2086 # $tiny is words
works trained $tiny --seed 7 -q -o whole.onnx
holds trained '.schema == "rfhe.train/1" and .epochs == 2 and .seed == 7 and .images_per_second > 0 and .seconds > 0'
holds trained '.top1 > 0.3 and .top1 <= 1 and .top1_split == "test" and .top1_images == 1600 and .select_top1 > 0.3'
holds trained '(.history | length) == 2 and .stored_epoch >= 1 and .image_passes == 3200 and .continued_at_step == 0'
[ -s err ] && complain "train -q: standard error is not empty"
[ -e whole.onnx.checkpoint ] && complain "the checkpoint is still there"
works seen inspect whole.onnx
holds seen '.metadata["rfhe.mean"] == "0.286" and .metadata["rfhe.std"] == "0.353"'
holds seen '.input == "1x1x28x28" and .to_replace == 5'

# eval: the same images give the same number; options override the metadata
works judged eval whole.onnx --data fashion-mnist --limit 1600
holds judged '.schema == "rfhe.eval/1" and .images == 1600 and .threads == 1 and .seconds > 0 and .top5 >= .top1'
holds judged ".top1 == $(jq .top1 trained.json)"
works odd eval whole.onnx --data fashion-mnist --limit 1600 --batch 77
holds odd ".top1 == $(jq .top1 trained.json)"
works shifted eval whole.onnx --data fashion-mnist --limit 1600 --mean 0.9 --std 0.05
holds shifted ".loss > 1.5 * $(jq .loss judged.json)"

# an interrupted run says how to go on, a killed one leaves its last checkpoint; both end in the same file
for signal in INT KILL; do
  checks=$((checks + 1))
  rm -f again.onnx*
  # shellcheck disable=SC2086 # $tiny is words
  "$rfhe" $tiny --seed 7 --checkpoint-every 0.001 -q -o again.onnx >out 2>err &
  pid=$!
  while [ ! -e again.onnx.checkpoint ] && kill -0 $pid 2>/dev/null; do :; done
  kill -$signal $pid 2>/dev/null
  wait $pid
  code=$?
  if [ $signal = INT ]; then
    [ $code = 130 ] || complain "an interrupted run ends with exit code $code"
    grep -q 'run again to continue' err || complain "an interrupted run does not say how to go on"
  else
    [ $code = 137 ] || complain "a killed run ends with exit code $code"
  fi
  # shellcheck disable=SC2086 # $tiny is words
  refuses 2 'was begun with seed=7, not seed=8' $tiny --seed 8 -q -o again.onnx
  # shellcheck disable=SC2086 # $tiny is words
  works again $tiny --seed 7 -q -o again.onnx
  holds again ".continued_at_step > 0 and .top1 == $(jq .top1 trained.json)"
  cmp -s whole.onnx again.onnx || complain "a run stopped by SIG$signal ends in another file"
done

# names that would forge lines or speak to a terminal become spaces
LC_ALL=C sed 's/relu1/\x1b[31m/g; s/relu2/a\nb\nc/g' whole.onnx >hostile.onnx
for verb in inspect 'profile --data fashion-mnist --limit 32'; do
  checks=$((checks + 1))
  # shellcheck disable=SC2086 # words
  "$rfhe" $verb whole.onnx >plain 2>err && "$rfhe" $verb hostile.onnx >out 2>err || complain "$verb of odd names: exit code $?"
  LC_ALL=C grep -q "$(printf '\033')" out && complain "$verb shows escape sequences"
  [ "$(wc -l <out)" = "$(wc -l <plain)" ] || complain "$verb shows forged lines"
done

# what is refused
refuses 2 'data is missing' eval whole.onnx
refuses 2 'output is missing' train lenet --data fashion-mnist
refuses 2 "no architecture 'resnet21', only resnet20" train resnet21 --data fashion-mnist -o x.onnx
refuses 2 'not .flop' train lenet --data fashion-mnist --augment crop:2,flop -o x.onnx
refuses 2 'mean wants one or three numbers' eval whole.onnx --data fashion-mnist --mean 1,2
refuses 2 'needs a --teacher' train lenet --data fashion-mnist --distill 0.5 -o x.onnx
refuses 2 'do not fill a batch' train lenet --data fashion-mnist --limit 10 -o x.onnx
refuses 1 'nothing.onnx' eval nothing.onnx --data fashion-mnist
refuses 1 'no-such-folder' eval whole.onnx --data cifar10:no-such-folder
echo 'this is no network' >broken.onnx
refuses 3 'broken.onnx' inspect broken.onnx
refuses 3 'broken.onnx' eval broken.onnx --data fashion-mnist
[ -e x.onnx ] && complain "a refused run leaves a file"

finish networks
