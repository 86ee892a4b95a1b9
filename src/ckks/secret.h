/* Telling memcheck what is public. The constant-time test (tests/ckks/constant_time.c) marks secrets as undefined, so
 * that a branch, an index or a division that depends on them is reported; what is derived from them and meant to be
 * published has to be marked as defined again where it is made. Outside valgrind this costs a few instructions. */
#ifndef RFHE_CKKS_SECRET_H
#define RFHE_CKKS_SECRET_H

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define RFHE_SECRET(p, n) ((void)VALGRIND_MAKE_MEM_UNDEFINED(p, n))
#define RFHE_PUBLIC(p, n) ((void)VALGRIND_MAKE_MEM_DEFINED(p, n))
#define RFHE_HAS_MEMCHECK 1
#endif
#endif

#ifndef RFHE_HAS_MEMCHECK
#define RFHE_SECRET(p, n) ((void)(p), (void)(n))
#define RFHE_PUBLIC(p, n) ((void)(p), (void)(n))
#define RFHE_HAS_MEMCHECK 0
#endif

#endif
