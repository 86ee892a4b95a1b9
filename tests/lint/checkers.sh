#!/bin/sh
# The checkers of tools/ must find what they are there for: each planted mistake is reported, and the clean tree passes.
# usage: checkers.sh SOURCE
set -eu
tools=$1/tools
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

plant() { # PATH TEXT
  mkdir -p "$tree/$(dirname "$1")"
  printf '%b\n' "$2" >"$tree/$1"
}

expect() { # CODE PATTERN COMMAND...
  want=$1 pattern=$2
  shift 2
  code=0
  out=$("$@" 2>&1) || code=$?
  if [ "$code" != "$want" ] || ! printf '%s\n' "$out" | grep -q -- "$pattern"; then
    echo "expected exit code $want and '$pattern', got $code from: $*"
    printf '%s\n' "$out"
    failures=$((failures + 1))
  fi
}

fresh() {
  rm -rf "$tree/src" "$tree/include"
  plant include/rfhe/status.h '/* s */'
  plant include/rfhe/ckks.h '#include "rfhe/status.h"'
  plant include/rfhe/rfhe.h '#include "rfhe/ckks.h"'
  plant src/ckks/a.c '#include "ring/ntt.h"\n#include "base/mem.h"\n#include "rfhe/ckks.h"\n#include "made.pb-c.h"'
  plant src/ring/avx2/b.c '#include "ring/ntt.h"\n#include <immintrin.h>\nint f(void); /* free(p) printf("x") */'
  plant src/cli/main.c '#include "rfhe/rfhe.h"\n#include "search/s.h"\nint g(void) { printf("free(p)"); exit(1); }'
  plant src/base/mem.c 'void h(void *p) { free(p); }'
}

arrows() { expect "$1" "$2" python3 "$tools/check_arrows.py" "$tree"; }
banned() { expect "$1" "$2" "$tools/check_banned.sh" "$tree"; }

fresh
arrows 0 '9 includes, 0 not allowed'
banned 0 '0 findings'
plant src/ckks/bad.h '#include "nn/graph.h"'
arrows 1 'src/ckks/bad.h:1: ckks must not know of nn'
fresh; plant src/ckks/bad.h '#  include "cli/cli.h"'; arrows 1 'ckks must not know of cli'
fresh; plant src/infer/bad.c '#include "data/loader.h"'; arrows 1 'infer must not know of data'
fresh; plant src/ring/portable/bad.c '#include "ckks/keys.h"'; arrows 1 'ring must not know of ckks'
fresh; plant src/ckks/bad.c '#include "rfhe/rfhe.h"'; arrows 1 'umbrella'
fresh; plant src/ckks/bad.c '#include "bad.h"'; plant src/ckks/bad.h ''; arrows 1 'write the path from src/'
fresh; plant include/rfhe/ckks.h '#include "ckks/keys.h"'; arrows 1 'public headers only'
fresh; plant include/rfhe/odd.h '#include "rfhe/status.h"'; arrows 1 'belongs to no module'
fresh; plant src/odd/a.c '#include "base/mem.h"'; arrows 1 'belongs to no module'

for call in 'strcpy(a, b)' 'sprintf (a, b)' 'x = atoi(s)' 'rand()' 'malloc(3)' 'free(p)' 'exit(1)' 'abort()' \
  'printf("x")' 'fprintf(stderr, "x")'; do
  fresh; plant src/ring/bad.c "void f(void)\n{\n    /* a */ $call;\n}"
  banned 1 'src/ring/bad.c:3: '
done
fresh; plant src/cli/bad.c 'void f(void *p) { free(p); }'; banned 1 'src/cli/bad.c:1: free'
fresh; plant src/ring/bad.c '#include <immintrin.h>'; banned 1 'intrinsics'
fresh; plant src/ring/good.c 'void f(struct s *p) { p->free(p); my_free(p); x = "free(p)"; // free(p)\n}'; banned 0 '0 findings'

expect 77 'skipped' "$tools/check_paths.sh" "$tree"
git -C "$tree" init -q
fresh; plant src/base/a.c 'see https://example.org/home/x and a/work/b'
git -C "$tree" add -A
expect 0 'none found' "$tools/check_paths.sh" "$tree"
plant src/base/a.c 'data = "/home/me/data";'
expect 1 'src/base/a.c:1:' "$tools/check_paths.sh" "$tree"
plant src/base/a.c '<<<<<<< HEAD'
expect 1 'unfinished merge' "$tools/check_paths.sh" "$tree"

[ $failures -eq 0 ] && echo "the checkers find what they should"
exit $failures
