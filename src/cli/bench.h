/* `rfhe bench SUITE`: what a suite needs to time things and to report them. A suite lives in cli/bench_NAME.c and is
 * listed in RFHE_BENCH_LIST; its rows become the array `rows` of the JSON document, or a table. */
#ifndef RFHE_CLI_BENCH_H
#define RFHE_CLI_BENCH_H

#include "cli/cli.h"

#define RFHE_BENCH_LIST(X)

typedef struct rfhe_bench rfhe_bench;

/* One suite. Parameters beyond the common ones come through `args` (cmd_bench.c has the table of options). */
typedef struct rfhe_bench_suite {
    const char *name, *summary;
    rfhe_status (*run)(rfhe_bench *b, const rfhe_args *args, rfhe_error *err);
} rfhe_bench_suite;

typedef struct rfhe_timing {
    double median_ms, min_ms, max_ms; /* of one call */
    unsigned runs;                    /* samples taken */
} rfhe_timing;

/* Calls fn(user) for warm-up, then at least `min_runs` times (0 = 9) and until about `seconds` (0 = 0.5) have passed;
 * calls shorter than 20 us are timed in batches. Stops at once with RFHE_E_INTERRUPTED on SIGINT, or with fn's status. */
RFHE_MUST_USE rfhe_status rfhe_bench_time(rfhe_timing *out, rfhe_bench *b,
                                          rfhe_status (*fn)(void *user), void *user,
                                          unsigned min_runs, double seconds);

/* A row: begin with the op's name, add fields in the order people should read them, add the timing, end. Threads and
 * ISA are added by rfhe_bench_row_end. */
void rfhe_bench_row_begin(rfhe_bench *b, const char *op);
void rfhe_bench_text(rfhe_bench *b, const char *key, const char *value);
void rfhe_bench_integer(rfhe_bench *b, const char *key, int64_t value);
void rfhe_bench_number(rfhe_bench *b, const char *key, double value);
void rfhe_bench_timing(rfhe_bench *b, const rfhe_timing *t);
void rfhe_bench_row_end(rfhe_bench *b);

/* The progress callback and seed of this run. */
rfhe_cli *rfhe_bench_cli(rfhe_bench *b);

#endif
