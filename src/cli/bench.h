/* `rfhe bench SUITE`: what a suite needs to time things and to report them. A suite lives in cli/bench_NAME.c and is
 * listed in benches.inc; its rows become the array `rows` of the JSON document, or a table. */
#ifndef RFHE_CLI_BENCH_H
#define RFHE_CLI_BENCH_H

#include "cli/cli.h"

typedef struct rfhe_bench rfhe_bench;

/* One suite. Parameters beyond the common ones come through `args` (cmd_bench.c has the table of options). */
typedef struct rfhe_bench_suite {
    const char *name, *summary;
    rfhe_status (*run)(rfhe_bench *b, const rfhe_args *args, rfhe_error *err);
    const char *
        options; /* those it reads, "log2-n|limbs": others are refused; NULL = not checked. Never listed:
                          * --op, --runs, --seconds, which serve every suite */
} rfhe_bench_suite;

#define X(name) extern const rfhe_bench_suite rfhe_bench_suite_##name;
#include "cli/benches.inc"
#undef X

typedef struct rfhe_timing {
    double median_ms, min_ms, max_ms; /* of one call */
    double q1_ms, q3_ms;              /* quartiles; both 0 = not known */
    unsigned runs;                    /* samples taken */
} rfhe_timing;

/* Calls fn(user) for warm-up, then at least `min_runs` times (0 = 9) and until about `seconds` (0 = 0.5) have passed;
 * calls shorter than 20 us are timed in batches. --runs and --seconds on the command line replace both numbers. Stops
 * at once with RFHE_E_INTERRUPTED on SIGINT, or with fn's status. */
RFHE_MUST_USE rfhe_status rfhe_bench_time(rfhe_timing *out, rfhe_bench *b,
                                          rfhe_status (*fn)(void *user), void *user,
                                          unsigned min_runs, double seconds);

/* Median, quartiles and extremes of `n` > 0 samples in milliseconds (sorted in place), for a suite that takes its own
 * times, such as the stages of one long call. Even counts take the mean of the middle two. */
rfhe_timing rfhe_bench_summary(double *samples_ms, unsigned n);

/* Whether --op asks for this row (it names one op, or a prefix ending in '*'; without it, every row). Ask before
 * costly work; rows that are not wanted are dropped in any case. */
bool rfhe_bench_wants(const rfhe_bench *b, const char *op);

/* A row: begin with the op's name, add parameters in the order people should read them, add the timing, then what was
 * measured beside it, end. Fields before the timing identify the row in `rfhe bench compare`. Threads and ISA in force
 * are added in front of the timing unless the row has its own. A key given twice keeps the last value. Memory that
 * runs out is reported once, at the end of the suite. */
void rfhe_bench_row_begin(rfhe_bench *b, const char *op);
void rfhe_bench_text(rfhe_bench *b, const char *key, const char *value);
void rfhe_bench_integer(rfhe_bench *b, const char *key, int64_t value);
void rfhe_bench_number(rfhe_bench *b, const char *key, double value);
void rfhe_bench_timing(rfhe_bench *b, const rfhe_timing *t);
void rfhe_bench_row_end(rfhe_bench *b);

/* The progress callback and seed of this run. */
rfhe_cli *rfhe_bench_cli(rfhe_bench *b);

/* For cmd_bench.c: runs one suite and adds its document (cli->json) or its table to cli->out. */
RFHE_MUST_USE rfhe_status rfhe_bench_run(rfhe_cli *cli, const rfhe_bench_suite *suite,
                                         const rfhe_args *args, rfhe_error *err);

/* Compares the documents of two runs row by row and adds a table (or, with cli->json, a document of schema
 * rfhe.bench-compare/1) to cli->out. A row is called faster or slower only when its medians differ by more than 2 %
 * and by more than the wider of the two interquartile ranges. RFHE_E_FORMAT: a file is no bench document. */
RFHE_MUST_USE rfhe_status rfhe_bench_compare(rfhe_cli *cli, const char *path_a, const char *path_b,
                                             rfhe_error *err);

#endif
