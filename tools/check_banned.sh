#!/bin/sh
# Fails on functions that the house does not use: unbounded string functions and rand anywhere, the C allocator
# outside src/base/mem.c, exit and output outside src/cli, intrinsics outside the folders of an instruction set.
# Comments and string literals do not count.
# usage: check_banned.sh [ROOT]
set -eu
root=${1:-$(dirname "$0")/..}
cd "$root"
files=$(find src include tests examples fuzz -name '*.[ch]' 2>/dev/null | LC_ALL=C sort)
# shellcheck disable=SC2016,SC2086 # the program is awk's; file names of ours hold no spaces
awk '
function ban(names, why,   n, list, i) {
  n = split(names, list, " ")
  for (i = 1; i <= n; i++)
    if (code ~ ("(^|[^A-Za-z0-9_.>])" list[i] "[ \t]*\\(")) complain(list[i] ": " why)
}
function complain(text) { print FILENAME ":" FNR ": " text; wrong++ }
FNR == 1 { files++; in_comment = 0 }
{
  # Drop what is no code: a comment may run over several lines, a string may not.
  code = ""; rest = $0
  while (rest != "") {
    if (in_comment) {
      at = index(rest, "*/")
      if (at == 0) break
      rest = substr(rest, at + 2); in_comment = 0
    } else if (match(rest, /^\/\*/)) { in_comment = 1; rest = substr(rest, 3); code = code " " }
    else if (match(rest, /^\/\//)) break
    else if (match(rest, /^"([^"\\]|\\.)*"/) || match(rest, /^\047([^\047\\]|\\.)*\047/)) {
      code = code "\"\""; rest = substr(rest, RLENGTH + 1)
    } else { code = code substr(rest, 1, 1); rest = substr(rest, 2) }
  }
  in_library = FILENAME ~ /^src\// && FILENAME !~ /^src\/cli\//
  ban("strcpy strcat sprintf vsprintf gets strtok atoi atol atof rand srand", "banned everywhere")
  if (FILENAME ~ /^src\// && FILENAME != "src/base/mem.c")
    ban("malloc calloc realloc free aligned_alloc posix_memalign strdup strndup", "allocate through base/mem.h")
  if (in_library) {
    ban("exit _exit _Exit quick_exit abort", "the library never ends the process")
    ban("printf vprintf fprintf vfprintf puts fputs putchar putc fputc perror", "the library never prints")
  }
  if ($0 ~ /^[ \t]*#[ \t]*include[ \t]*<([a-z0-9]*mmintrin|x86intrin|x86gprintrin|arm_neon)\.h>/ &&
      FILENAME !~ /^src\/[a-z]+\/(avx2|avx512ifma)\//)
    complain("intrinsics belong into the folder of their instruction set")
}
END { printf "check_banned: %d files, %d findings\n", files, wrong; exit wrong > 0 || files == 0 }' $files
