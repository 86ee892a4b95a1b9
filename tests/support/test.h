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
#include "rfhe/status.h"

/* The call is RFHE_OK; otherwise the test fails with its sentence. In `call` the name err is a place for that. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        rfhe_error err_ = {0};                                                                     \
        rfhe_error *err = &err_;                                                                   \
        const rfhe_status st_ = (call);                                                            \
        if (st_ != RFHE_OK) { fail_msg("%s: %s (%s)", #call, rfhe_status_name(st_), err_.text); }  \
    } while (0)

/* Property tests repeat `n` times this factor, from RFHE_TEST_FACTOR in the environment (default 1). */
size_t test_rounds(size_t n);
/* The seed of this run, from RFHE_TEST_SEED (default fixed); printed once so that a failure can be replayed. */
uint64_t test_seed(void);
/* The teardown of a group after which no memory of the library may be in use. */
int test_nothing_is_left(void **state);
/* A fresh folder for this test program's files, removed at exit; no trailing slash. */
const char *test_folder(void);

#endif
