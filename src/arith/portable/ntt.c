/* The negacyclic transform, radix 2, lazily reduced: the readable specification. Levels and twiddles are those of
 * Cooley-Tukey (forward) and Gentleman-Sande (inverse) with the twist by psi merged [LN16]; ranges as in [Har14]. */
#include "arith/kernels.h"

void rfhe_ntt_forward_portable(uint64_t *x, const rfhe_ntt_table *t)
{
    const uint64_t q = t->m.q, two_q = 2 * q;
    const size_t n = (size_t)1 << t->log2_n;

    for (size_t m = 1, gap = n / 2; m < n; m *= 2, gap /= 2) {
        for (size_t i = 0; i < m; i++) {
            const rfhe_shoup c = {.w = t->w[m + i], .wp = t->wp[m + i]};
            uint64_t *lo = x + 2 * i * gap, *hi = lo + gap;
            for (size_t j = 0; j < gap; j++) {
                const uint64_t a = rfhe_mod_once(lo[j], two_q);      /* [0, 2q) */
                const uint64_t b = rfhe_shoup_mul_lazy(hi[j], c, q); /* [0, 2q) */
                lo[j] = a + b;
                hi[j] = a + two_q - b;
            }
        }
    }
    for (size_t j = 0; j < n; j++) { x[j] = rfhe_mod_once(rfhe_mod_once(x[j], two_q), q); }
}

void rfhe_ntt_inverse_portable(uint64_t *x, const rfhe_ntt_table *t)
{
    const uint64_t q = t->m.q, two_q = 2 * q;
    const size_t n = (size_t)1 << t->log2_n;

    for (size_t m = n / 2, gap = 1; m > 1; m /= 2, gap *= 2) {
        for (size_t i = 0; i < m; i++) {
            const size_t k = m + (m - 1 - i); /* 1/w[m+i] = -w[k] */
            const rfhe_shoup c = {.w = t->w[k], .wp = t->wp[k]};
            uint64_t *lo = x + 2 * i * gap, *hi = lo + gap;
            for (size_t j = 0; j < gap; j++) {
                const uint64_t sum = lo[j] + hi[j], difference = hi[j] + two_q - lo[j];
                lo[j] = rfhe_mod_once(sum, two_q);
                hi[j] = rfhe_shoup_mul_lazy(difference, c, q);
            }
        }
    }
    for (size_t j = 0; j < n / 2; j++) {
        const uint64_t a = x[j], b = x[j + n / 2];
        x[j] = rfhe_shoup_mul(a + b, t->n_inv, q);
        x[j + n / 2] = rfhe_shoup_mul(a + two_q - b, t->n_inv_w, q);
    }
}
