/* Base conversion and numbers to residues, eight coefficients at a time. The doubles follow the contract's order of
 * operations, without fused multiply-adds, so that the rounding is that of the portable body. */
#include "arith/avx512ifma/vec.h"

void rfhe_convert_scale_avx512ifma(uint64_t *y, uint64_t *v, const uint64_t *const *x, const rfhe_shoup *c,
                                   const rfhe_modulus *const *m, size_t count, size_t n)
{
    size_t i = 0;

    for (; i < n; i += 8) {
        const __mmask8 lanes = n - i >= 8 ? 0xff : vec_tail(n - i);
        __m512d sum = _mm512_setzero_pd();
        for (size_t j = 0; j < count; j++) {
            const vec_modulus k = vec_modulus_of(m[j]);
            const __m512i s =
                vec_shoup(_mm512_maskz_loadu_epi64(lanes, x[j] + i), vec_set(c[j].w), vec_set(c[j].wp), &k);
            _mm512_mask_storeu_epi64(y + j * n + i, lanes, s);
            sum = _mm512_add_pd(sum, _mm512_mul_pd(_mm512_cvtepu64_pd(s), _mm512_set1_pd(m[j]->inverse)));
        }
        _mm512_mask_storeu_epi64(v + i, lanes, _mm512_cvttpd_epu64(_mm512_add_pd(sum, _mm512_set1_pd(0.5))));
    }
}

/* Montgomery's step on the low 52 bits: the result is congruent to (high * 2^52 + low) / 2^52 and at most high + carry + q.
 * With at most CHUNK products on top of a reduced `high` that is below 2^50 + 7*2^48 + 7 + 2^50 < 2^52. */
enum { CHUNK = 7 };

RFHE_INLINE __m512i montgomery(__m512i low, __m512i high, __m512i q_inv, const vec_modulus *k)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512i t = vec_hi(zero, vec_lo(zero, low, q_inv), k->q);
    const __m512i s = _mm512_add_epi64(high, _mm512_srli_epi64(low, 52));

    return _mm512_sub_epi64(_mm512_add_epi64(s, k->q), t);
}

/* Four vectors at a time, so that each constant is broadcast once for 32 coefficients and eight sums hide the latency of
 * the multiply-adds. */
void rfhe_convert_out_avx512ifma(uint64_t *r, const uint64_t *y, const uint64_t *v, const uint64_t *h, uint64_t neg,
                                 size_t count, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i q_inv = vec_set(m->q_inv), zero = _mm512_setzero_si512(), minus = vec_set(neg);
    size_t i = 0;

    for (; i + 32 <= n; i += 32) {
        __m512i low[4], high[4];
        RFHE_UNROLL
        for (size_t u = 0; u < 4; u++) {
            const __m512i a = vec_load(v + i + 8 * u);
            low[u] = vec_lo(zero, a, minus);
            high[u] = vec_hi(zero, a, minus);
        }
        for (size_t j0 = 0; j0 < count; j0 += CHUNK) {
            const size_t end = count - j0 < CHUNK ? count : j0 + CHUNK;
            for (size_t j = j0; j < end; j++) {
                const __m512i w = vec_set(h[j]);
                RFHE_UNROLL
                for (size_t u = 0; u < 4; u++) {
                    const __m512i a = vec_load(y + j * n + i + 8 * u);
                    low[u] = vec_lo(low[u], a, w);
                    high[u] = vec_hi(high[u], a, w);
                }
            }
            if (end == count) { break; }
            RFHE_UNROLL
            for (size_t u = 0; u < 4; u++) { high[u] = vec_finish(vec_reduce_lazy(high[u], &k), &k); }
        }
        RFHE_UNROLL
        for (size_t u = 0; u < 4; u++) {
            const __m512i s = montgomery(low[u], high[u], q_inv, &k);
            vec_store(r + i + 8 * u, vec_finish(vec_reduce_lazy(s, &k), &k));
        }
    }
    for (; i < n; i += 8) {
        const __mmask8 lanes = n - i >= 8 ? 0xff : vec_tail(n - i);
        const __m512i a = _mm512_maskz_loadu_epi64(lanes, v + i);
        __m512i low = vec_lo(zero, a, minus), high = vec_hi(zero, a, minus);
        for (size_t j = 0; j < count; j++) {
            const __m512i b = _mm512_maskz_loadu_epi64(lanes, y + j * n + i), w = vec_set(h[j]);
            low = vec_lo(low, b, w);
            high = vec_hi(high, b, w);
            if (j % CHUNK == CHUNK - 1) { high = vec_finish(vec_reduce_lazy(high, &k), &k); }
        }
        const __m512i s = montgomery(low, high, q_inv, &k);
        _mm512_mask_storeu_epi64(r + i, lanes, vec_finish(vec_reduce_lazy(s, &k), &k));
    }
}

/* The residue of (high * 2^52 + low), negated in the lanes of `minus`; high < 2^52, low mod 2^52. */
RFHE_INLINE __m512i residue(__m512i high, __m512i low, __mmask8 minus, const vec_modulus *k, __m512i r52, __m512i r52p)
{
    __m512i s = vec_mask52(vec_shoup_lazy(vec_reduce_lazy(low, k), high, r52, r52p, k));

    s = vec_once(vec_once(s, k->two_q), k->q);
    return _mm512_mask_sub_epi64(s, _mm512_mask_test_epi64_mask(minus, s, s), k->q, s);
}

void rfhe_from_i64_avx512ifma(uint64_t *r, const int64_t *x, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i r52 = vec_set(m->r52.w), r52p = vec_set(m->r52.wp);

    for (size_t i = 0; i < n; i += 8) {
        const __mmask8 lanes = n - i >= 8 ? 0xff : vec_tail(n - i);
        const __m512i a = _mm512_maskz_loadu_epi64(lanes, x + i), size = _mm512_abs_epi64(a);
        _mm512_mask_storeu_epi64(r + i, lanes,
                                 residue(_mm512_srli_epi64(size, 52), size, _mm512_movepi64_mask(a), &k, r52, r52p));
    }
}

void rfhe_from_f64_avx512ifma(uint64_t *r, const double *x, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i r52 = vec_set(m->r52.w), r52p = vec_set(m->r52.wp);

    for (size_t i = 0; i < n; i += 8) {
        const __mmask8 lanes = n - i >= 8 ? 0xff : vec_tail(n - i);
        const __m512d a = _mm512_maskz_loadu_pd(lanes, x + i);
        const __m512d whole = _mm512_roundscale_pd(_mm512_abs_pd(a), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const __m512d high = _mm512_roundscale_pd(_mm512_mul_pd(whole, _mm512_set1_pd(0x1p-52)),
                                                  _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
        const __m512d low = _mm512_sub_pd(whole, _mm512_mul_pd(high, _mm512_set1_pd(0x1p52)));
        const __mmask8 minus = _mm512_cmp_pd_mask(a, _mm512_setzero_pd(), _CMP_LT_OQ);
        _mm512_mask_storeu_epi64(
            r + i, lanes, residue(_mm512_cvttpd_epu64(high), _mm512_cvttpd_epu64(low), minus, &k, r52, r52p));
    }
}
