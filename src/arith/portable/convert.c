/* Base conversion and the way from numbers to residues. */
#include "arith/kernels.h"

#include <math.h>

void rfhe_convert_scale_portable(uint64_t *y, uint64_t *v, const uint64_t *const *x, const rfhe_shoup *c,
                                 const rfhe_modulus *const *m, size_t count, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < count; j++) {
            const uint64_t s = rfhe_shoup_mul(x[j][i], c[j], m[j]->q);
            y[j * n + i] = s;
            sum += (double)s * m[j]->inverse;
        }
        v[i] = (uint64_t)(sum + 0.5);
    }
}

void rfhe_convert_out_portable(uint64_t *r, const uint64_t *y, const uint64_t *v, const uint64_t *h, uint64_t neg,
                               size_t count, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        rfhe_u128 sum = (rfhe_u128)v[i] * neg;
        for (size_t j = 0; j < count; j++) { sum += (rfhe_u128)y[j * n + i] * h[j]; }
        /* Montgomery: subtract the multiple of q that clears the low 52 bits, then drop them. */
        const uint64_t k = ((uint64_t)sum & RFHE_MASK52) * m->q_inv & RFHE_MASK52;
        const uint64_t t = (uint64_t)((rfhe_u128)k * m->q >> 52); /* < q                       */
        const uint64_t s = (uint64_t)(sum >> 52) + m->q - t;      /* < 49 * 2^48 + 2q < 2^54   */
        r[i] = s % m->q;
    }
}

/* high 2^52 + low modulo q, negated where `sign` is all ones; high, low < 2^52 are secret where messages are. */
static inline uint64_t residue(uint64_t high, uint64_t low, uint64_t sign, const rfhe_modulus *m)
{
    const uint64_t s = rfhe_shoup_mul_lazy(high, m->r52, m->q) + rfhe_shoup_mul_lazy(low, m->one, m->q);
    const uint64_t t = rfhe_mod_once(rfhe_mod_once(s, 2 * m->q), m->q);

    return rfhe_mod_once((t ^ sign) - sign + (m->q & sign), m->q); /* q - t when negative, and q is 0 */
}

void rfhe_from_i64_portable(uint64_t *r, const int64_t *x, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t sign = UINT64_C(0) - (uint64_t)(x[i] < 0); /* all ones when negative */
        const uint64_t a = ((uint64_t)x[i] ^ sign) - sign;
        r[i] = residue(a >> 52, a & RFHE_MASK52, sign, m);
    }
}

void rfhe_from_f64_portable(uint64_t *r, const double *x, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        const double whole = nearbyint(fabs(x[i]));
        /* Both exact, whole being below 2^103. Signed: a conversion to unsigned branches on most processors. */
        const int64_t high = (int64_t)(whole * 0x1p-52), low = (int64_t)(whole - (double)high * 0x1p52);
        const uint64_t sign = UINT64_C(0) - (uint64_t)(x[i] < 0.0);
        r[i] = residue((uint64_t)high, (uint64_t)low, sign, m);
    }
}
