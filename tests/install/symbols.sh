#!/bin/sh
# The shared library exports exactly the functions that the public headers mark RFHE_API; the static one takes no names
# from its user but those that begin with rfhe_ (and onnx__, which protobuf-c generates). clang makes the locks of critical
# sections public; nothing can be done about that, and no program can be in their way.
# usage: symbols.sh SOURCE LIBRFHE.so LIBRFHE.a
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A declaration runs from RFHE_API to its semicolon; the name is the last word before the first parenthesis that is not
# of an attribute macro.
cat "$1"/include/rfhe/*.h | awk '
/^#/ { next }
/RFHE_API/ { open = 1; text = "" }
open { text = text " " $0 }
open && /;/ {
  sub(/;.*/, "", text)
  if (match(text, /[a-z_0-9]+ *(\(|\[|$)/)) { name = substr(text, RSTART, RLENGTH); gsub(/[^a-z_0-9]/, "", name); print name }
  open = 0
}' | LC_ALL=C sort -u >"$work/declared"
nm -D --defined-only "$2" | awk '$2 != "A" && $3 !~ /^\.gomp_critical_/ { print $3 }' | LC_ALL=C sort -u >"$work/exported"
if ! diff "$work/declared" "$work/exported"; then
  echo "symbols: < is declared RFHE_API and not exported, > is exported and not declared"
  exit 1
fi
[ -s "$work/exported" ]
if nm -g --defined-only "$3" 2>/dev/null | awk 'NF == 3 && $3 !~ /^(rfhe_|onnx__|\.gomp_critical_)/ { print $3; bad = 1 } END { exit !bad }'; then
  echo "symbols: the static library defines names that are not ours"
  exit 1
fi
echo "symbols: $(wc -l <"$work/exported") exported, as declared"
