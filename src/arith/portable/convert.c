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

void rfhe_from_i64_portable(uint64_t *r, const int64_t *x, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t sign = UINT64_C(0) - (uint64_t)(x[i] < 0); /* all ones when negative */
        const uint64_t a = ((uint64_t)x[i] ^ sign) - sign;
        uint64_t s = rfhe_shoup_mul_lazy(a >> 52, m->r52, m->q) + rfhe_shoup_mul_lazy(a & RFHE_MASK52, m->one, m->q);
        s = s >= 2 * m->q ? s - 2 * m->q : s;
        s = s >= m->q ? s - m->q : s;
        s = (s ^ sign) - sign + (m->q & sign); /* q - s when negative */
        r[i] = s == m->q ? 0 : s;
    }
}

void rfhe_from_f64_portable(uint64_t *r, const double *x, size_t n, const rfhe_modulus *m)
{
    for (size_t i = 0; i < n; i++) {
        const double whole = nearbyint(fabs(x[i]));
        const double high = trunc(whole * 0x1p-52), low = whole - high * 0x1p52; /* both exact */
        const uint64_t sign = UINT64_C(0) - (uint64_t)(x[i] < 0.0);
        uint64_t s = rfhe_shoup_mul_lazy((uint64_t)high, m->r52, m->q) +
                     rfhe_shoup_mul_lazy((uint64_t)low, m->one, m->q);
        s = s >= 2 * m->q ? s - 2 * m->q : s;
        s = s >= m->q ? s - m->q : s;
        s = (s ^ sign) - sign + (m->q & sign);
        r[i] = s == m->q ? 0 : s;
    }
}
