/* Sums and products, coefficient by coefficient. */
#include "arith/kernels.h"

/* a, b in [0, q): floor(a*b/q) - 2 <= estimate <= floor(a*b/q), so the remainder is in [0, 3q). The shifts by bits
 * bring the product to 50 bits above the word border, whatever the size of q. */
static inline uint64_t product(uint64_t a, uint64_t b, const rfhe_modulus *m)
{
    const uint64_t high = (uint64_t)((rfhe_u128)(a << (51 - m->bits)) * (b << 2) >> 52);
    const uint64_t estimate = (uint64_t)((rfhe_u128)high * m->mu >> 52);

    return rfhe_mod_once(rfhe_mod_once(a * b - estimate * m->q, 2 * m->q), m->q);
}

void rfhe_add_portable(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_mod_add(a[i], b[i], m->q); }
}

void rfhe_sub_portable(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_mod_sub(a[i], b[i], m->q); }
}

void rfhe_neg_portable(uint64_t *r, const uint64_t *a, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_mod_neg(a[i], m->q); }
}

void rfhe_mul_portable(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = product(a[i], b[i], m); }
}

void rfhe_mul_add_portable(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_mod_add(r[i], product(a[i], b[i], m), m->q); }
}

void rfhe_mul_const_portable(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_shoup_mul(a[i], c, m->q); }
}

void rfhe_mul_add_const_portable(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_mod_add(r[i], rfhe_shoup_mul(a[i], c, m->q), m->q); }
}

void rfhe_add_const_portable(uint64_t *r, const uint64_t *a, uint64_t c, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_mod_add(a[i], c, m->q); }
}

void rfhe_mul_shoup_portable(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                             const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_shoup_mul(a[i], (rfhe_shoup){w[i], wp[i]}, m->q); }
}

void rfhe_mul_add_shoup_portable(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                                 const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        r[i] = rfhe_mod_add(r[i], rfhe_shoup_mul(a[i], (rfhe_shoup){w[i], wp[i]}, m->q), m->q);
    }
}

void rfhe_sub_scale_portable(uint64_t *r, const uint64_t *a, const uint64_t *b, rfhe_shoup c, size_t n,
                             const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) { r[i] = rfhe_shoup_mul(a[i] + m->q - b[i], c, m->q); }
}

/* One sum of products at coefficient i, plus `start`: wide integers, reduced once (and whenever they might overflow). */
static uint64_t dot(const uint64_t *const *d, const uint64_t *const *k, size_t count, size_t i, uint64_t start,
                    uint64_t q)
{
    rfhe_u128 sum = start;

    for (size_t j = 0; j < count; j++) {
        sum += (rfhe_u128)d[j][i] * k[j][i]; /* below 2^100 each */
        if (j % 16 == 15) { sum %= q; }
    }
    return (uint64_t)(sum % q);
}

void rfhe_inner_portable(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                         const uint64_t *const *k1, size_t count, size_t n, bool accumulate, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        r0[i] = dot(d, k0, count, i, accumulate ? r0[i] : 0, m->q);
        if (r1 != NULL) { r1[i] = dot(d, k1, count, i, accumulate ? r1[i] : 0, m->q); }
    }
}

void rfhe_inner_runs_portable(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                              const uint64_t *const *k1, size_t count, size_t n, uint32_t log2_run,
                              const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        rfhe_u128 s0 = 0, s1 = 0;
        for (size_t j = 0; j < count; j++) {
            const uint64_t x = d[j][i >> log2_run];
            s0 += (rfhe_u128)x * k0[j][i];
            s1 += (rfhe_u128)x * k1[j][i];
            if (j % 16 == 15) { s0 %= m->q, s1 %= m->q; }
        }
        r0[i] = (uint64_t)(s0 % m->q);
        r1[i] = (uint64_t)(s1 % m->q);
    }
}
