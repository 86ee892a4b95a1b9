#!/bin/sh
# The contract with scripts: exit codes, what goes to which stream, one JSON document, full disks, closed pipes, signals.
# usage: contract.sh RFHE
# shellcheck disable=SC2015 # complaining after a failed conjunction is what is meant
set -u
here=$(cd "$(dirname "$0")" && pwd)
rfhe=$1
# shellcheck source=tests/support/cli.sh
. "$(dirname "$0")/../support/cli.sh"

# expect CODE PATTERN ARGUMENTS...: the exit code, and standard error matching PATTERN in exactly one line, with nothing
# on standard output; for code 0, PATTERN must be on standard output and nothing on standard error.
expect() {
  code=$1 pattern=$2 got=0
  shift 2
  checks=$((checks + 1))
  "$rfhe" "$@" >out 2>err || got=$?
  [ "$got" = "$code" ] || complain "rfhe $*: exit code $got instead of $code"
  if [ "$code" = 0 ]; then
    grep -q -e "$pattern" out || complain "rfhe $*: no '$pattern' on standard output"
    [ -s err ] && complain "rfhe $*: standard error is not empty"
  else
    grep -q -e "$pattern" err || complain "rfhe $*: no '$pattern' on standard error"
    [ "$(wc -l <err)" = 1 ] || complain "rfhe $*: not exactly one line on standard error"
    [ -s out ] && complain "rfhe $*: standard output is not empty"
  fi
}

# 0
expect 0 '^rfhe [0-9.]*$' version
expect 0 '^rfhe [0-9.]*$' --version
expect 0 'in the order of the work' --help
expect 0 'in the order of the work' -h
expect 0 'in the order of the work' help
expect 0 '^usage: rfhe bench' help bench
expect 0 '^usage: rfhe bench' bench --help
expect 0 '^usage: rfhe bench' bench -h too many arguments
expect 0 'isa  *portable' version -v --isa portable
expect 0 'isa  *portable' version -v --isa=portable
expect 0 ', 3 threads' version --threads 3 --verbose
expect 0 ', 3 threads' version -t3 --verbose
expect 0 'faster' bench compare "$here/data/before.json" "$here/data/after.json"

# 2
expect 2 "there is no command 'nonsense'" nonsense
expect 2 "there is no command 'nonsense'" help nonsense
expect 2 'one command at a time' help bench version
expect 2 "there is no option '--nonsense'" version --nonsense
expect 2 "there is no option '-Z'" version -Z
expect 2 '--threads wants a whole number' version --threads many
expect 2 '--threads wants a whole number' version --threads -1
expect 2 '--threads wants a whole number' version --threads 99999999999999999999
expect 2 'at most 1024' version --threads 1025
expect 2 '--threads wants a value' version --threads
expect 2 '--seconds wants a number' bench list --seconds long
expect 2 '--seconds wants a number' bench list --seconds nan
expect 2 '--isa wants one of' version --isa mmx
expect 2 '--isa wants one of' version --isa ''
expect 2 '--json takes no value' version --json=yes
expect 2 '--json is given twice' version --json --json
expect 2 'one argument too many' version extra
expect 2 'wants at least 1 argument' bench
expect 2 "there is no suite 'nonsense'" bench nonsense
expect 2 'two files' bench compare only-one
RFHE_THREADS=many expect 2 'RFHE_THREADS wants a whole number' version
RFHE_ISA=mmx expect 2 'RFHE_ISA names no instruction set' version
checks=$((checks + 1))
"$rfhe" >out 2>err
[ $? = 2 ] && [ ! -s out ] && grep -q '^usage: rfhe COMMAND' err || complain "rfhe without arguments"

# 1, 3, 4
expect 1 "cannot read 'no/such': No such file or directory" bench compare no/such no/such
expect 1 "cannot read '\.': it is a folder" bench compare . .
expect 1 "cannot write 'no/such/rfhe.1'" document man no/such
printf '{"schema": "rfhe.bench/1", "rows": [' >torn.json
expect 3 "'torn.json' is not JSON" bench compare torn.json torn.json
echo '[]' >other.json
expect 3 "'other.json' is not a document of rfhe bench --json" bench compare other.json other.json
printf 'x\033]0;evil\007\nrfhe: all is well' >"$(printf 'bad\nname')"
expect 3 'is not JSON' bench compare "$(printf 'bad\nname')" torn.json # control characters do not reach the terminal
truncate -s 30M large.json
RFHE_MEMORY=8 expect 4 "no memory to read 'large.json'" bench compare large.json large.json
truncate -s 30G huge.json
expect 3 'larger than the limit' bench compare huge.json huge.json

# Output that cannot be written is a failure, not silence.
for arguments in version '--help' 'bench --help' 'version --json'; do
  checks=$((checks + 1))
  # shellcheck disable=SC2086 # words
  "$rfhe" $arguments >/dev/full 2>err
  [ $? = 1 ] && grep -q 'cannot write the result: No space left on device' err || complain "rfhe $arguments >/dev/full"
  rm -f closed
  # shellcheck disable=SC2086 # words
  { while [ ! -e closed ]; do :; done; "$rfhe" $arguments 2>err; echo $? >code; } | { exec 0<&-; : >closed; }
  [ "$(cat code)" = 1 ] && grep -q 'cannot write the result: Broken pipe' err || complain "rfhe $arguments | closed"
done

# Colour only where it is wanted: no escape sequence in a pipe, nor on a terminal with NO_COLOR.
for arguments in --help 'version -v' "bench compare $here/data/before.json $here/data/after.json"; do
  checks=$((checks + 1))
  # shellcheck disable=SC2086 # words
  "$rfhe" $arguments >out 2>err
  LC_ALL=C grep -q "$(printf '\033')" out err && complain "rfhe $arguments: escape sequences in a pipe"
  if command -v script >/dev/null; then
    NO_COLOR=1 script -qec "$rfhe $arguments" /dev/null >out 2>err </dev/null
    LC_ALL=C grep -q "$(printf '\033')" out err && complain "rfhe $arguments: NO_COLOR is not heeded"
  fi
done

# With --json: exactly one document, whatever else is asked for.
for arguments in 'version' 'version -v -q' 'bench list'; do
  checks=$((checks + 1))
  # shellcheck disable=SC2086 # words
  "$rfhe" $arguments --json >out 2>err
  [ "$(jq -s 'length' out)" = 1 ] && [ "$(jq -r '.schema | test("^rfhe[.][a-z-]+/1$")' out)" = true ] ||
    complain "rfhe $arguments --json: not exactly one document with a schema"
done

# 130: the first SIGINT or SIGTERM (signals 2 and 15) stops a long command in order. Waits until the handler of that very
# signal is there, so it cannot hit too early.
suite=$("$rfhe" bench list | awk 'NR == 1 { print $1 }')
if [ -n "$suite" ]; then
  for signal in INT TERM; do
    checks=$((checks + 1))
    "$rfhe" bench "$suite" --seconds 100 >out 2>err &
    pid=$!
    case $signal in INT) caught='[2367abef]' ;; *) caught='[4567cdef]...' ;; esac
    while kill -0 $pid 2>/dev/null && ! grep -q "^SigCgt:.*$caught\$" /proc/$pid/status 2>/dev/null; do :; done
    kill -$signal $pid
    wait $pid
    code=$?
    [ $code = 130 ] && [ ! -s out ] && grep -q 'interrupted' err || complain "rfhe bench $suite, SIG$signal: exit code $code"
  done
else
  echo "contract: no long command in this build, signals not tested"
fi

finish contract
