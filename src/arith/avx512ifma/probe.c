/* What the machine can do at most: see kernels.h. */
#include "arith/avx512ifma/vec.h"

enum { CHAINS = 12 };

unsigned rfhe_probe_multiply_avx512ifma(uint64_t *sink, size_t count)
{
    const __m512i b = vec_set(*sink | 1), c = vec_set(*sink | 3);
    __m512i a[CHAINS], sum = _mm512_setzero_si512();

    RFHE_UNROLL
    for (int k = 0; k < CHAINS; k++) { a[k] = vec_set((uint64_t)k); }
    for (size_t i = 0; i < count; i += CHAINS) {
        RFHE_UNROLL
        for (int k = 0; k < CHAINS; k++) { a[k] = vec_lo(a[k], b, c); }
    }
    RFHE_UNROLL
    for (int k = 0; k < CHAINS; k++) { sum = _mm512_xor_si512(sum, a[k]); }
    *sink ^= (uint64_t)_mm512_reduce_add_epi64(sum);
    return 8;
}

unsigned rfhe_probe_add_avx512ifma(uint64_t *sink, size_t count)
{
    const __m512i b = vec_set(*sink | 1), c = vec_set(*sink | 3);
    __m512i a[CHAINS], sum = _mm512_setzero_si512();

    RFHE_UNROLL
    for (int k = 0; k < CHAINS; k++) { a[k] = vec_set((uint64_t)k); }
    for (size_t i = 0; i < count; i += 2 * CHAINS) {
        RFHE_UNROLL
        for (int k = 0; k < CHAINS; k++) { a[k] = _mm512_min_epu64(_mm512_add_epi64(a[k], b), c); }
    }
    RFHE_UNROLL
    for (int k = 0; k < CHAINS; k++) { sum = _mm512_xor_si512(sum, a[k]); }
    *sink ^= (uint64_t)_mm512_reduce_add_epi64(sum);
    return 8;
}
