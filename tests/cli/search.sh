#!/bin/sh
# search and report from the outside, with a tiny network on Fashion-MNIST: the contract of their JSON, kill -9 at random
# moments and going on, extension by other forms, targets, the files of a report, refusals.
# usage: search.sh RFHE
# shellcheck disable=SC2015,SC2086 # complaining after a failed conjunction is what is meant; $few is words
set -u
rfhe=$1
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/../support/cli.sh"
on_fashion_mnist
tiny_network 0.125
few="--data fashion-mnist --limit 640 --select 160 --calibrate 160 --sense 24 --probes 3 --points 5 --candidates 3 --batch 32 --augment none"
search="search relu.onnx $few --forms linear,even2,even4,even14 --budget 1500"

# the keys that must be there, and what they say
began=$(date +%s%N)
works whole $search -o whole
took=$((($(date +%s%N) - began) / 1000000))
holds whole '.schema == "rfhe.search/1" and .trials > 8 and (.frontier | length) > 0 and .images == 160'
holds whole '[.frontier[] | (.assignment | split(",") | length == 3) and .top1 > 0 and .predicted_seconds > 0 and
  .relu_depth_max > 0 and .memory_mib > 0] | all'
holds whole '[.frontier[].predicted_seconds] == ([.frontier[].predicted_seconds] | sort)'
holds whole '[.frontier[].top1] == ([.frontier[].top1] | sort)'
holds whole '.recommended.assignment != null and .rank_correlation.trials >= 3 and .image_passes > 500 and .image_passes <= 1500'
holds whole '.attempts == .trials'
# the network with averages learns first: a quarter of the budget, and it helps
holds whole '.pools_image_passes == 352 and .pools_trained_top1 > .pools_top1'
# recommended and best uniform, trained alike; the bill is what was predicted
holds whole '.best_uniform.rung == .recommended.rung and .best_uniform.rung > 0 and .best_uniform.image_passes == .recommended.image_passes and
  .recommended.top1 >= .best_uniform.top1 and .recommended.predicted_seconds <= .best_uniform.predicted_seconds'
holds whole '(.bill.predicted_seconds / .recommended.predicted_seconds - 1) | fabs < 0.03'
holds whole '.prices | startswith("planned, 2 threads; times built in for B15-2")'
[ -s whole/recommended.onnx ] || complain "no recommended network"
works planned plan whole/recommended.onnx --data fashion-mnist --limit 20
holds planned '.ranges.images == 20 and .ranges.values > 1000 and .ranges.outside <= .ranges.values and .ranges.largest > 0 and .ranges.layer != ""'
works evaluated eval whole/recommended.onnx --data fashion-mnist --split test --limit 200

# killed at five random moments: the same search in the end
seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
echo "seconds of kills from seed $seed, of $took ms"
for i in 1 2 3 4 5; do
  moment=$(awk -v s="$seed" -v i=$i -v t="$took" 'BEGIN { srand(s + i); printf "%.3f", (0.1 + 0.8 * rand()) * t / 1000 }')
  timeout -s KILL "$moment" "$rfhe" $search -o pieces --json >/dev/null 2>&1
done
works pieces $search -o pieces
checks=$((checks + 1))
for f in whole pieces; do jq -S '[.trials, .frontier, .recommended, .relu_top1, .image_passes]' $f.json >$f.text; done
cmp -s whole.text pieces.text || complain "a search that was killed ended otherwise: $(diff whole.text pieces.text | head -5)"
works pieces_report report pieces
holds pieces_report '.integrity == "ok" and ([.trials[] | .status == "done"] | all)'
holds pieces_report '[.trials[] | [.recipe, .assignment, .rung]] | length == (unique | length)'
works whole_report report whole
for f in whole pieces; do jq -S '[.trials[] | del(.seconds, .attempts)]' ${f}_report.json >$f.text; done
cmp -s whole.text pieces.text || complain "its trials are others"

# run again: nothing is done twice
works again $search -o whole
holds again '.attempts == .trials'
[ "$(jq .trials again.json)" = "$(jq .trials whole.json)" ] || complain "a second run made new trials"

# without a budget the trained network with averages stays what forms go into
works without search relu.onnx $few --forms linear,even2,even4,even14 -o whole
[ "$(jq .frontier without.json)" = "$(jq .frontier whole.json)" ] || complain "without a budget the search is another one"

# a released clamp makes other networks, hence another study
works released search relu.onnx $few --forms even2 --release 0.5 -o whole
holds released '.settings | contains("--release 0.5 ")'
# another calibration, other seconds
jq -n '{schema: "rfhe.calibration/1", machine: "a snail", set: "B15-2", log2_n: 15, threads: 2} + ([("mod_raise", "to_slots", "reduce",
  "to_coeffs", "to_coeffs_both", "multiply_high", "multiply_low", "scale_high", "scale_low", "product", "merge", "finish") | {(.): 0.5}] | add)' >snail.json
works slow search relu.onnx $few --forms linear,even2,even4,even14 -o whole --calibration snail.json
holds slow '.prices | contains("a snail for B15-2") and contains("built in for B15-3")'

# other forms extend it; a larger budget too
works more search relu.onnx $few --forms even8 -o whole
works more_report report whole
holds more_report "$(printf '(.trials | length) > %s and ([.trials[].assignment] | index("even8,even8,even8") != null)' "$(jq .trials whole.json)")"

# targets, test images
works wanted search relu.onnx $few --forms linear,even2,even4,even14,even8 -o whole --max-latency 1000s --test
holds wanted '.recommended.top1 == ([.frontier[].top1] | max) and .relu_test_top1 > 0 and ([.frontier[].test_top1 > 0] | all)'
checks=$((checks + 1))
"$rfhe" search relu.onnx $few --forms linear,even2,even4,even14,even8 -o whole --max-latency 1ms --json >out 2>err && complain "1 ms was possible"
grep -q "nothing satisfies this; the nearest is trial" err || complain "no nearest point"
jq -e '.recommended == null and .nearest.predicted_seconds > 0' out >/dev/null || complain "the document names no nearest point"

# the page: whole, without scripts, nothing fetched
works page report whole -o .
says report.html '</html>'
says report.html 'prefers-color-scheme:dark'
says report.html 'Which form where'
checks=$((checks + 1))
grep -q -e '<script' -e '<link' -e 'src=' report.html && complain "the page is not self-contained"
[ "$(wc -l <report.csv)" = "$(($(jq '.trials | length' report.json) + 1))" ] || complain "report.csv has other trials than report.json"
jq -e '.schema == "rfhe.report/1"' report.json >/dev/null || complain "report.json is no report"

refuses 2 '--data is missing' search relu.onnx -o x
refuses 2 '--output is missing' search relu.onnx --data fashion-mnist
refuses 2 "10 apples" search relu.onnx --data fashion-mnist -o x --budget '10 apples'
refuses 2 "no form called" search relu.onnx --data fashion-mnist -o x --forms nonsense
refuses 2 'want --test' search relu.onnx --data fashion-mnist -o x --test-split val
refuses 2 "no option '--ramp'" search relu.onnx --data fashion-mnist -o x --ramp 3
refuses 1 'no search in' report nowhere

finish search
