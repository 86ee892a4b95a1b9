#!/bin/sh
# Every public header compiles alone, as C11 and as C++17, without a warning; rfhe.h includes them all.
# usage: headers.sh SOURCE CC
set -eu
include=$1/include
cc=$2
flags="-fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
for path in "$include"/rfhe/*.h; do
  header=rfhe/$(basename "$path")
  # shellcheck disable=SC2086 # words
  printf '#include <%s>\n#include <%s>\ntypedef int not_empty;\n' "$header" "$header" | $cc -std=c11 $flags -I"$include" -x c -
  if command -v g++ >/dev/null; then
    # shellcheck disable=SC2086 # words
    printf '#include <%s>\n' "$header" | g++ -std=c++17 $flags -I"$include" -x c++ -
  fi
  [ "$header" = rfhe/rfhe.h ] || grep -q "^#include \"$header\"" "$include/rfhe/rfhe.h" ||
    { echo "headers: rfhe/rfhe.h does not include $header"; exit 1; }
done
command -v g++ >/dev/null || { echo "headers: no g++, not tried as C++"; exit 77; }
echo "headers: $(find "$include/rfhe" -name '*.h' | wc -l) headers compile alone as C11 and C++17"
