#!/bin/sh
# constant_time.sh BINARY: runs it under memcheck, where secrets are undefined memory, with the best kernels that valgrind
# knows and with the portable ones. 77 = no valgrind here.
set -eu
command -v valgrind >/dev/null 2>&1 || exit 77
export OMP_NUM_THREADS=1
check() { valgrind --quiet --error-exitcode=9 --track-origins=no "$@"; }
check "$1"
RFHE_ISA=portable check "$1"
# The check itself must be able to fail.
if check "$1" leak >/dev/null 2>&1; then
    echo "a branch on a secret was not reported" >&2
    exit 1
fi
