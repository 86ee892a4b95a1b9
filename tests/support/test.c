/* See test.h. */
#include "test.h"

#include "base/mem.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

size_t test_rounds(size_t n)
{
    const char *factor = getenv("RFHE_TEST_FACTOR");
    const double f = factor != NULL ? strtod(factor, NULL) : 1.0;
    const double rounds = (double)n * f;

    return rounds < 1 ? 1 : (size_t)rounds;
}

uint64_t test_seed(void)
{
    static uint64_t seed;

    if (seed == 0) {
        const char *wish = getenv("RFHE_TEST_SEED");
        seed = wish != NULL ? strtoull(wish, NULL, 10) : UINT64_C(20261122);
        print_message("seed %" PRIu64 " (RFHE_TEST_SEED replays it)\n", seed);
    }
    return seed;
}

static char folder[64];

static int remove_entry(const char *path, const struct stat *s, int flag, struct FTW *f)
{
    (void)s, (void)flag, (void)f;
    return remove(path);
}

static void remove_folder(void)
{
    (void)nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_folder(void)
{
    if (folder[0] == '\0') {
        (void)snprintf(folder, sizeof folder, "rfhe-test-XXXXXX");
        assert_non_null(mkdtemp(folder));
        (void)atexit(remove_folder);
    }
    return folder;
}

int test_nothing_is_left(void **state)
{
    (void)state;
    return rfhe_mem_get_stats().current == 0 ? 0 : -1;
}
