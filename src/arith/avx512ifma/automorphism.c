/* X -> X^g on values: one load, one permutation and one store per eight values (see portable/automorphism.c). The lane
 * order depends on three bits of the block's exponent only: eight vectors made beforehand. */
#include "arith/avx512ifma/vec.h"

void rfhe_automorphism_ntt_avx512ifma(uint64_t *r, const uint64_t *a, uint32_t log2_n, uint32_t g,
                                      const uint32_t *rev)
{
    static const uint32_t rev3[8] = {0, 4, 2, 6, 1, 5, 3, 7};
    const uint32_t blocks = UINT32_C(1) << (log2_n - 3), quarter_bits = log2_n - 2;
    uint64_t order[8][8] __attribute__((aligned(64)));

    for (uint32_t c = 0; c < 8; c++) {
        for (uint32_t j = 0; j < 8; j++) { order[c][j] = rev3[(c + rev3[j] * g) & 7]; }
    }
    for (uint32_t b = 0; b < blocks; b++) {
        const uint32_t e = (2 * rev[b] + 1) * g & (16 * blocks - 1);
        const uint64_t *from = a + 8 * (size_t)rev[(e & ((UINT32_C(1) << quarter_bits) - 1)) >> 1];
        vec_store(r + 8 * (size_t)b, _mm512_permutexvar_epi64(vec_load(order[e >> quarter_bits]), vec_load(from)));
    }
}

/* The other way round: coefficient k is gathered from j = k/g mod 2n, or minus that of j - n when j >= n. */
void rfhe_automorphism_coef_avx512ifma(uint64_t *r, const uint64_t *a, uint32_t log2_n, uint32_t g,
                                       const rfhe_modulus *m)
{
    const uint32_t n = UINT32_C(1) << log2_n;
    const __m512i q = vec_set(m->q);
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i within = _mm256_set1_epi32((int)(n - 1)), sign = _mm256_set1_epi32((int)n);
    uint32_t inverse = g; /* correct to three bits; each step doubles them */

    for (int i = 0; i < 4; i++) { inverse *= 2 - g * inverse; }
    const __m256i step = _mm256_set1_epi32((int)inverse);
    for (uint32_t k = 0; k < n; k += 8) {
        const __m256i j = _mm256_mullo_epi32(_mm256_add_epi32(lane, _mm256_set1_epi32((int)k)), step);
        const __m512i x = _mm512_i32gather_epi64(_mm256_and_si256(j, within), a, 8);
        const __mmask8 minus = _mm256_test_epi32_mask(j, sign);
        vec_store(r + k, _mm512_mask_sub_epi64(x, _mm512_mask_test_epi64_mask(minus, x, x), q, x));
    }
}
