#!/bin/sh
# profile, replace and ablate from the outside, with a tiny network on Fashion-MNIST: the contract of their JSON, that an
# exported network is standard and measures the same, interruption, the store of ablate, refusals.
# usage: method.sh RFHE
# shellcheck disable=SC2015 # complaining after a failed conjunction is what is meant
set -u
rfhe=$1
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/../support/cli.sh"
on_fashion_mnist
tiny_network 0.25
few="--data fashion-mnist --limit 640 --calibrate 320"

# profile: every activation, with maxima as comparisons too
works profile profile relu.onnx --data fashion-mnist --limit 200 --channels --svg profile.svg
holds profile '.schema == "rfhe.profile/1" and .images == 200 and (.activations | length) == 3'
holds profile '.activations[0] | .range_over_sigma > 1 and .max > 0 and (.by_channel | length) == .channels'
grep -q '</svg>' profile.svg || complain "the plot is no SVG"
works tree profile relu.onnx --data fashion-mnist --limit 50 --pool max
holds tree '(.activations | length) == 7 and ([.activations[] | select(.is_difference)] | length) == 4'

# replace without training: the required keys; the exported file gives the same accuracy, as a chain and fused
# shellcheck disable=SC2086 # $few is words
works ct replace relu.onnx --form even8 --recipe ct $few -q -o ct.onnx
holds ct '.schema == "rfhe.replace/1" and .form == "even8" and .recipe == "ct" and .scale == "static" and .seed == 1'
holds ct '.relu_depth == 3 and .top1_before > 0.5 and .image_passes == 320 and .seconds > 0 and (.layers | length) == 3'
holds ct '.images == 640 and .stderr > 0 and ([.layers[] | .fit_error_after < .fit_error_before] | all)'
works again eval ct.onnx --data fashion-mnist --limit 640
holds again ".top1 == $(jq .top1_after ct.json)"
works beyond eval ct.onnx --data fashion-mnist --limit 640 --overflow
holds beyond ".images_beyond_range == $(jq .images_beyond_range_before ct.json) and (.overflow | length) == 3"
holds beyond '[.overflow[] | .worst > 0 and .images_beyond <= 1 and (.node | length) > 0] | all'
works seen inspect ct.onnx
holds seen '[.layers[].op] | (index("Relu") == null) and (index("MaxPool") == null) and (index("Custom") == null)'
holds seen '.metadata["rfhe.paf.0"] != null and .metadata["rfhe.paf.2"] != null'
# shellcheck disable=SC2086
works direct replace relu.onnx --form f1g2,alpha7,even4 --recipe direct --pool average --scale dynamic $few -q -o d.onnx
holds direct '[.layers[].form] == ["f1g2", "alpha7", "even4"] and .relu_depth == 6 and .scale == "dynamic"'
# shellcheck disable=SC2086
works maxima replace relu.onnx --form alpha10 --recipe ct --pool max $few -q -o max.onnx
holds maxima '.activations == 7 and .top1_after > .top1_before - 0.05'

# lines: named exceptions; merged where two convolutions meet, with nothing but convolutions left in the file
# shellcheck disable=SC2086
works lines replace relu.onnx --form "even4,$(jq -r '.layers[1].node' ct.json)=linear" --recipe ct $few -q -o l.onnx
holds lines '[.layers[].form] == ["even4", "linear", "even4"] and .merged == 0 and .layers[1].depth == 0'
works small train resnet20 --width 0.125 --data fashion-mnist --limit 128 --batch 32 --epochs 1 --augment none \
  --test-split none -q -o small.onnx
works merged replace small.onnx --form even2,layer1.1.relu1=linear,layer2.0.relu1=linear,relu=linear --batch 32 \
  --epochs 1 --data fashion-mnist --limit 64 --calibrate 64 --augment none -q -o merged.onnx
holds merged '.merged == 2 and .activations == 19 and ([.layers[] | select(.merged) | .node] == ["layer1.1.relu1", "layer2.0.relu1"])'
holds merged '[.layers[] | has("overflow_after") != .merged] | all'
works convs inspect merged.onnx
holds convs '([.layers[] | select(.op == "Conv")] | length) == 19 - 2 and .metadata["rfhe.paf.16"] != null and .metadata["rfhe.paf.17"] == null'

# oneshot: better than before training, continued after an interruption to the same file
shot="replace relu.onnx --form even2 $few --epochs 3 --batch 32 --augment none --test-split test"
# shellcheck disable=SC2086
works shot $shot -q -o shot.onnx
holds shot '.recipe == "oneshot" and .relu_depth == 1 and .epochs == 3 and .image_passes == 2 * 320 + 3 * 640'
holds shot '.top1_after > .top1_tuned - 0.02 and .select_top1 > 0.4'
holds shot '.images_beyond_range <= .images_beyond_trained_range and .images_beyond_range < 0.2'
# shellcheck disable=SC2086
"$rfhe" $shot -q -o cut.onnx >out 2>err &
pid=$!
while [ ! -e cut.onnx.checkpoint ] && kill -0 $pid 2>/dev/null; do :; done
kill -INT $pid 2>/dev/null
wait $pid
checks=$((checks + 1))
# shellcheck disable=SC2086
"$rfhe" $shot -q -o cut.onnx >out 2>err || complain "a continued run ends with exit code $?"
cmp -s shot.onnx cut.onnx || complain "an interrupted run ends in another file"

# a published recipe with a dynamic scale, and what a static one makes of it
# shellcheck disable=SC2086
works pa replace relu.onnx --form f1g2 --recipe ct+pa+at --scale dynamic $few --batch 32 --group-epochs 2 \
  --passes 5760 --augment none -q -o pa.onnx
holds pa '.groups >= 3 and .image_passes <= 5760 + 320 and .top1_static <= 1 and .select_top1 > 0.5'

# ablate: a second run takes everything from the store
cells="ablate relu.onnx --forms f1g2,even4 --recipes direct,ct $few --store cells.sqlite"
# shellcheck disable=SC2086
works cells $cells -q --csv cells.csv --svg cells.svg
holds cells '(.rows | length) == 4 and ([.rows[] | .stderr > 0 and .image_passes == 320 and .scale == "static"] | all)'
holds cells '.rows[2].recipe == "ct" and .rows[2].form == "f1g2" and .rows[2].top1 >= .rows[0].top1'
[ "$(wc -l <cells.csv)" = 5 ] || complain "the CSV has not five lines"
mv relu.onnx hidden.onnx # not needed any more
# shellcheck disable=SC2086
works stored $cells -q
[ "$(jq -c .rows cells.json)" = "$(jq -c .rows stored.json)" ] || complain "the store tells another story"
mv hidden.onnx relu.onnx

refuses 2 'data is missing' replace relu.onnx -o x.onnx
refuses 2 'output is missing' replace relu.onnx --data fashion-mnist
# shellcheck disable=SC2086
refuses 2 'nothing' replace relu.onnx --form nothing $few -o x.onnx -q
# shellcheck disable=SC2086
refuses 2 'forms are given, the network has 3' replace relu.onnx --form even4,even2 --recipe ct $few -o x.onnx -q
# shellcheck disable=SC2086
refuses 2 'no activation .relu9' replace relu.onnx --form even4,relu9=linear --recipe ct $few -o x.onnx -q
# shellcheck disable=SC2086
refuses 2 'one and exceptions' replace relu.onnx --form even4,even2,relu1=linear --recipe ct $few -o x.onnx -q
# shellcheck disable=SC2086
refuses 2 'static scale it is deployed with' replace relu.onnx --scale dynamic $few -o x.onnx -q
# shellcheck disable=SC2086
refuses 2 'is no recipe' ablate relu.onnx --recipes magic $few -q
[ -e x.onnx ] && complain "a refused run leaves a file"

finish method
