/* The rows of `rfhe bench ckks` about work on coefficients: convolutions and packings at level 1, N = 2^15. */
#ifndef RFHE_CLI_BENCH_COEFFICIENTS_H
#define RFHE_CLI_BENCH_COEFFICIENTS_H

#include "cli/bench.h"

/* Adds the rows that --op, log2_n and limbs (0 = any) ask for. */
RFHE_MUST_USE rfhe_status rfhe_bench_coefficients(rfhe_bench *b, uint32_t log2_n, uint32_t limbs, rfhe_error *err);

#endif
