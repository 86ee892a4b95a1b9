/* What the machine can do at most: see kernels.h. */
#include "arith/avx2/vec.h"

enum { CHAINS = 10 };

unsigned rfhe_probe_multiply_avx2(uint64_t *sink, size_t count)
{
    const __m256d b = _mm256_set1_pd(1.0 + (double)(*sink & 1)), c = _mm256_set1_pd(0.5);
    __m256d a[CHAINS], sum = _mm256_setzero_pd();

    for (int k = 0; k < CHAINS; k++) { a[k] = _mm256_set1_pd(1.0 + k); }
    for (size_t i = 0; i < count; i += CHAINS) {
        for (int k = 0; k < CHAINS; k++) { a[k] = _mm256_fmadd_pd(a[k], c, b); }
    }
    for (int k = 0; k < CHAINS; k++) { sum = _mm256_add_pd(sum, a[k]); }
    *sink ^= (uint64_t)_mm256_cvtsd_f64(sum);
    return 4;
}

unsigned rfhe_probe_add_avx2(uint64_t *sink, size_t count)
{
    const __m256d b = _mm256_set1_pd(1.0 + (double)(*sink & 1)), c = _mm256_set1_pd(3.0);
    __m256d a[CHAINS], sum = _mm256_setzero_pd();

    for (int k = 0; k < CHAINS; k++) { a[k] = _mm256_set1_pd(1.0 + k); }
    for (size_t i = 0; i < count; i += 2 * CHAINS) {
        for (int k = 0; k < CHAINS; k++) { a[k] = _mm256_xor_pd(_mm256_add_pd(a[k], b), c); }
    }
    for (int k = 0; k < CHAINS; k++) { sum = _mm256_xor_pd(sum, a[k]); }
    *sink ^= (uint64_t)_mm256_movemask_pd(sum);
    return 4;
}
