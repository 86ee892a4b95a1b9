/* A small, fast, seeded generator (xoshiro256++) for training, data order and tests. NOT for cryptography: keys and
 * noise come from ckks/. A plain value: copy it to fork a stream, store it in a checkpoint to continue one. */
#ifndef RFHE_BASE_RANDOM_H
#define RFHE_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct rfhe_rng {
    uint64_t s[4];
} rfhe_rng;

/* The stream of (seed, stream): different streams of one seed are independent for our purposes, so that work item i
 * may use rfhe_rng_seed(seed, i) and give the same result under any number of threads. */
rfhe_rng rfhe_rng_seed(uint64_t seed, uint64_t stream);
uint64_t rfhe_rng_u64(rfhe_rng *r);
/* Uniform in [0, n), n > 0, without modulo bias. */
uint64_t rfhe_rng_below(rfhe_rng *r, uint64_t n);
/* Uniform in [0, 1) with 53 bits. */
double rfhe_rng_uniform(rfhe_rng *r);
/* Standard normal (Box-Muller, one value per call). */
double rfhe_rng_normal(rfhe_rng *r);
/* Random permutation of 0 .. n-1 (Fisher-Yates). */
void rfhe_rng_permutation(rfhe_rng *r, uint32_t *out, size_t n);

#endif
