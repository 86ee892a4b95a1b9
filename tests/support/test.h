/* The one header tests include first: cmocka behind the headers it needs, and helpers for seeded random tests. */
#ifndef RFHE_TEST_H
#define RFHE_TEST_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <inttypes.h>
#include <string.h>

#include "base/random.h"

/* Property tests repeat `n` times this factor, from RFHE_TEST_FACTOR in the environment (default 1). */
size_t test_rounds(size_t n);
/* The seed of this run, from RFHE_TEST_SEED (default fixed); printed once so that a failure can be replayed. */
uint64_t test_seed(void);
/* A fresh folder for this test program's files, removed at exit; no trailing slash. */
const char *test_folder(void);

#endif
