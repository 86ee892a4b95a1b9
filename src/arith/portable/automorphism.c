/* X -> X^g in both domains.
 *
 * On values: position i holds the value at psi^e, e = 2*rev(i) + 1, and the image's value there is the source's at
 * psi^(e*g). Take positions in blocks of eight, i = 8b + j: e = E_b + (n/4)*rev3(j) with E_b < n/4, so e*g mod n/4 is
 * the same for the whole block: a block of the image is one block of the source, permuted inside. With e' = E_b*g mod
 * 2n, low part e' mod n/4 names the source block, and lane j comes from lane rev3((e' / (n/4) + rev3(j)*g) mod 8). */
#include "arith/kernels.h"

void rfhe_automorphism_ntt_portable(uint64_t *r, const uint64_t *a, uint32_t log2_n, uint32_t g, const uint32_t *rev)
{
    static const uint32_t rev3[8] = {0, 4, 2, 6, 1, 5, 3, 7};
    const uint32_t blocks = UINT32_C(1) << (log2_n - 3), quarter_bits = log2_n - 2;

    for (uint32_t b = 0; b < blocks; b++) {
        const uint32_t e = (2 * rev[b] + 1) * g & (16 * blocks - 1);
        const uint64_t *from = a + 8 * (size_t)rev[(e & ((UINT32_C(1) << quarter_bits) - 1)) >> 1];
        for (uint32_t j = 0; j < 8; j++) {
            r[8 * (size_t)b + j] = from[rev3[((e >> quarter_bits) + rev3[j] * g) & 7]];
        }
    }
}

void rfhe_automorphism_coef_portable(uint64_t *r, const uint64_t *a, uint32_t log2_n, uint32_t g,
                                     const rfhe_modulus *m)
{
    const uint32_t n = UINT32_C(1) << log2_n;
    uint32_t to = 0;

    for (uint32_t j = 0; j < n; j++) {
        r[to & (n - 1)] = (to & n) != 0 ? rfhe_mod_neg(a[j], m->q) : a[j];
        to = (to + g) & (2 * n - 1);
    }
}
