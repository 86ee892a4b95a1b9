/* See convert.h. */
#include "arith/convert.h"

uint64_t rfhe_mod_product(const rfhe_modulus *const *m, size_t count, size_t skip, uint64_t q)
{
    uint64_t r = 1;

    for (size_t j = 0; j < count; j++) {
        if (j != skip) { r = rfhe_mod_mul(r, m[j]->q % q, q); }
    }
    return r;
}

rfhe_shoup rfhe_convert_factor(const rfhe_modulus *const *m, size_t count, size_t j)
{
    const uint64_t q = m[j]->q;

    return rfhe_shoup_make(rfhe_mod_inverse(rfhe_mod_product(m, count, j, q), q), q);
}

uint64_t rfhe_convert_row(uint64_t *h, const rfhe_modulus *const *m, size_t count, const rfhe_modulus *p)
{
    for (size_t j = 0; j < count; j++) {
        h[j] = rfhe_mod_mul(rfhe_mod_product(m, count, j, p->q), p->r52.w, p->q);
    }
    return rfhe_mod_neg(rfhe_mod_mul(rfhe_mod_product(m, count, count, p->q), p->r52.w, p->q), p->q);
}
