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
