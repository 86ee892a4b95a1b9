#!/bin/sh
# rfhe data check: what it says about good, damaged and missing sets, and its exit codes.
# usage: check.sh RFHE
set -u
rfhe=$1
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/../support/cli.sh"

# expect CODE OUT ERR ARGUMENTS...: exit code, patterns on standard output and standard error ('' = must be empty).
expect() {
  code=$1 out=$2 err=$3 got=0
  shift 3
  checks=$((checks + 1))
  "$rfhe" data "$@" >out 2>err || got=$?
  bad=""
  [ "$got" = "$code" ] || bad="exit code $got instead of $code"
  if [ -n "$out" ]; then grep -q -e "$out" out || bad="$bad; no '$out' on standard output"
  else [ ! -s out ] || bad="$bad; standard output is not empty"; fi
  if [ -n "$err" ]; then grep -q -e "$err" err || bad="$bad; no '$err' on standard error"
  else [ ! -s err ] || bad="$bad; standard error is not empty"; fi
  [ "$(wc -l <err)" -le 1 ] || bad="$bad; more than one line on standard error"
  if [ -n "$bad" ]; then complain "rfhe data $*: $bad"; fi
}

mkdir c
for file in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do
  head -c 30730 /dev/zero >c/$file.bin
done
expect 0 '^train  *50 images, 32 x 32 pixels, colour' '' check cifar10:c
expect 0 '^test  *10 images' '' check cifar10:c
expect 0 '^select:5  *5 images' '' check cifar10:c --split select:5
expect 0 '^train  *3 images' '' check cifar10:c --limit 3
expect 0 '"schema": "rfhe.data/1"' '' check cifar10:c --json
checks=$((checks + 1))
[ "$(jq -r '[.ok, .splits[0].images, .splits[1].per_class[0].name, .problem] | join(" ")' out)" = 'true 50 airplane ' ] || complain "rfhe data check --json: unexpected values"
printf '\377' | dd of=c/data_batch_3.bin bs=1 seek=6146 conv=notrunc 2>/dev/null
expect 3 'not usable' "data_batch_3.bin' has label 255 at offset 6146 (record 2)" check cifar10:c
expect 0 '^test ' '' check cifar10:c --split test
head -c 100 /dev/zero >>c/test_batch.bin
expect 3 'not usable' 'is cut short: 100 bytes are left behind offset 30730' check cifar10:c --split test
expect 3 '"ok": false' 'is cut short' check cifar10:c --split test --json
rm c/test_batch.bin
expect 3 'CIFAR-10 binary version' "cannot read 'c/test_batch.bin': No such file" check cifar10:c --split test

mkdir -p f/a f/b
printf '\377\330\377\331' >f/a/x.jpg
printf 'GIF89a' >f/b/y.png
expect 3 '^all  *2 images, 2 classes of 1 images' "f/a/x.jpg' ends at offset 4" check folder:f
expect 3 '2 cannot be decoded; the first: ' 'x.jpg' check folder:f
expect 3 'train-images-idx3-ubyte' "there is no folder 'nowhere'" check mnist:nowhere
expect 2 '' 'is no data set' check nonsense:c
expect 2 '' "there is no split 'nonsense'" check cifar10:c --split nonsense
expect 2 '' "there is only 'rfhe data check'" repair cifar10:c
expect 2 '' 'wants a folder' check cifar10

finish "data check"
