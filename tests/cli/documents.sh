#!/bin/sh
# The generated documents: man pages are clean under mandoc, completions are accepted by their shells, and bash completes
# what it should.
# usage: documents.sh FOLDER (with man/ and completions/)
set -eu
folder=$1
command -v mandoc >/dev/null || { echo "documents: mandoc is not installed, skipped"; exit 77; }

# "Referenced manual not found" is about the machine, not about the page.
if mandoc -T lint "$folder"/man/*.1 | grep -v 'referenced manual not found'; then exit 1; fi
grep -q '^\.Nm rfhe-bench$' "$folder/man/rfhe-bench.1"
for page in "$folder"/man/rfhe-*.1; do
  name=$(basename "$page" .1)
  grep -q "^\.It Xr $name 1$" "$folder/man/rfhe.1" || { echo "documents: rfhe.1 does not name $name"; exit 1; }
done
[ ! -e "$folder/man/rfhe-document.1" ] || { echo "documents: a hidden command has a page"; exit 1; }

for shell in zsh fish; do
  if command -v $shell >/dev/null; then
    case $shell in zsh) file=_rfhe ;; *) file=rfhe.fish ;; esac
    $shell -n "$folder/completions/$file"
  fi
done
command -v bash >/dev/null || exit 0
bash -eu -c '
  . "$1/completions/rfhe"
  complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rfhe; echo "${COMPREPLY[*]-}"; }
  check() { want=$1; shift; got=$(complete_line "$@"); [ "$got" = "$want" ] ||
    { echo "documents: \"$*\" completes to \"$got\", not \"$want\""; exit 1; }; }
  check version rfhe vers
  check "--json" rfhe version --j
  check "--seconds --set --seed" rfhe bench --se
  check "f32" rfhe bench --dtype f
  check "avx2 avx512ifma" rfhe version --isa a
  check "" rfhe docum
' bash "$folder"
echo "documents: $(find "$folder"/man -name '*.1' | wc -l) man pages and three completions are sound"
