/* What the machine can do at most: see kernels.h. */
#include "arith/kernels.h"

enum { CHAINS = 8 };

unsigned rfhe_probe_multiply_portable(uint64_t *sink, size_t count)
{
    uint64_t a[CHAINS] = {*sink, 1, 2, 3, 4, 5, 6, 7};
    const uint64_t b = *sink | 1;

    for (size_t i = 0; i < count; i += CHAINS) {
        for (size_t k = 0; k < CHAINS; k++) { a[k] = (uint64_t)((rfhe_u128)a[k] * b >> 52); }
    }
    for (size_t k = 0; k < CHAINS; k++) { *sink ^= a[k]; }
    return 1;
}

unsigned rfhe_probe_add_portable(uint64_t *sink, size_t count)
{
    uint64_t a[CHAINS] = {*sink, 1, 2, 3, 4, 5, 6, 7};
    const uint64_t b = *sink | 1;

    for (size_t i = 0; i < count; i += 2 * CHAINS) {
        for (size_t k = 0; k < CHAINS; k++) {
            a[k] += b;
            a[k] ^= i;
        }
    }
    for (size_t k = 0; k < CHAINS; k++) { *sink ^= a[k]; }
    return 1;
}
