/* Base conversion in doubles, four coefficients at a time. */
#include "arith/avx2/vec.h"

void rfhe_convert_scale_avx2(uint64_t *y, uint64_t *v, const uint64_t *const *x, const rfhe_shoup *c,
                             const rfhe_modulus *const *m, size_t count, size_t n)
{
    const size_t end = n & ~(size_t)3;

    for (size_t i = 0; i < end; i += 4) {
        __m256d sum = _mm256_setzero_pd();
        for (size_t j = 0; j < count; j++) {
            const vec_modulus k = vec_modulus_of(m[j]);
            const __m256d s = vec_positive(vec_product(vec_load(x[j] + i), _mm256_set1_pd((double)c[j].w), &k), &k);
            vec_store(y + j * n + i, s);
            sum = _mm256_add_pd(sum, _mm256_mul_pd(s, k.inverse));
        }
        const __m256d whole = _mm256_round_pd(_mm256_add_pd(sum, _mm256_set1_pd(0.5)),
                                              _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
        vec_store(v + i, whole);
    }
    /* the tail: rows of y are n apart, which the portable body cannot be told, so coefficient by coefficient */
    for (size_t i = end; i < n; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < count; j++) {
            y[j * n + i] = rfhe_shoup_mul(x[j][i], c[j], m[j]->q);
            sum += (double)y[j * n + i] * m[j]->inverse;
        }
        v[i] = (uint64_t)(sum + 0.5);
    }
}

/* a / 2^52 modulo q: the constants come in Montgomery form. */
static uint64_t plain(uint64_t a, const rfhe_modulus *m)
{
    const uint64_t k = a * m->q_inv & RFHE_MASK52, t = (uint64_t)((rfhe_u128)k * m->q >> 52);

    return t == 0 ? 0 : m->q - t; /* a < 2^52, so that its high part is zero */
}

void rfhe_convert_out_avx2(uint64_t *r, const uint64_t *y, const uint64_t *v, const uint64_t *h, uint64_t neg,
                           size_t count, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const size_t end = n & ~(size_t)3;
    const __m256d minus = _mm256_set1_pd((double)plain(neg, m));
    double w[RFHE_CONVERT_MAX];

    for (size_t j = 0; j < count; j++) { w[j] = (double)plain(h[j], m); }
    for (size_t i = 0; i < end; i += 4) {
        __m256d sum = vec_product(vec_load(v + i), minus, &k);
        for (size_t j = 0; j < count; j++) {
            /* y < 2^50 whatever q: the product is at most q*(1/2 + 2^50 * 3 * 2^-53) < q */
            sum = _mm256_add_pd(sum, vec_product(vec_load(y + j * n + i), _mm256_set1_pd(w[j]), &k));
            if (j % 4 == 3) { sum = vec_reduce(sum, &k); }
        }
        vec_store(r + i, vec_positive(vec_reduce(sum, &k), &k));
    }
    for (size_t i = end; i < n; i++) {
        rfhe_u128 sum = (rfhe_u128)v[i] * (uint64_t)plain(neg, m);
        for (size_t j = 0; j < count; j++) { sum += (rfhe_u128)y[j * n + i] * (uint64_t)w[j]; }
        r[i] = (uint64_t)(sum % m->q);
    }
}
