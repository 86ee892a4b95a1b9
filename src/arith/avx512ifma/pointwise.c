/* Sums and products, eight coefficients at a time; tails through masks. */
#include "arith/avx512ifma/vec.h"

/* Runs BODY for i = 0, 8, ... with the lanes in `lanes`: all of them except in the last, partial step. The compiler sees
 * a constant mask in the main loop. */
#define FOR_LANES(n, BODY)                                                                                            \
    do {                                                                                                              \
        size_t i = 0;                                                                                                 \
        for (; i + 8 <= (n); i += 8) {                                                                                \
            const __mmask8 lanes = 0xff;                                                                              \
            BODY                                                                                                      \
        }                                                                                                             \
        if (i < (n)) {                                                                                                \
            const __mmask8 lanes = vec_tail((n) - i);                                                                 \
            BODY                                                                                                      \
        }                                                                                                             \
    } while (0)

#define GET(p) _mm512_maskz_loadu_epi64(lanes, (p) + i)
#define PUT(p, x) _mm512_mask_storeu_epi64((p) + i, lanes, x)

/* a*b mod q: see product() in portable/pointwise.c. */
typedef struct barrett {
    vec_modulus m;
    __m512i mu;
    __m128i shift; /* 51 - bits */
} barrett;

RFHE_INLINE barrett barrett_of(const rfhe_modulus *m)
{
    return (barrett){
        .m = vec_modulus_of(m), .mu = vec_set(m->mu), .shift = _mm_cvtsi64_si128(51 - (long long)m->bits)};
}

RFHE_INLINE __m512i product(__m512i a, __m512i b, const barrett *k)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512i high = vec_hi(zero, _mm512_sll_epi64(a, k->shift), _mm512_slli_epi64(b, 2));
    const __m512i r = vec_mask52(vec_lo(vec_lo(zero, a, b), vec_hi(zero, high, k->mu), k->m.neg));

    return vec_once(vec_once(r, k->m.two_q), k->m.q);
}

void rfhe_add_avx512ifma(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const __m512i q = vec_set(m->q);

    FOR_LANES(n, PUT(r, vec_once(_mm512_add_epi64(GET(a), GET(b)), q)););
}

void rfhe_sub_avx512ifma(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const __m512i q = vec_set(m->q);

    /* a - b wraps to a huge number when negative; the minimum then takes a - b + q */
    FOR_LANES(n, {
        const __m512i d = _mm512_sub_epi64(GET(a), GET(b));
        PUT(r, _mm512_min_epu64(d, _mm512_add_epi64(d, q)));
    });
}

void rfhe_neg_avx512ifma(uint64_t *r, const uint64_t *a, size_t n, const rfhe_modulus *m)
{
    const __m512i q = vec_set(m->q);

    FOR_LANES(n, {
        const __m512i x = GET(a);
        PUT(r, _mm512_maskz_sub_epi64(_mm512_test_epi64_mask(x, x), q, x));
    });
}

void rfhe_mul_avx512ifma(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const barrett k = barrett_of(m);

    FOR_LANES(n, PUT(r, product(GET(a), GET(b), &k)););
}

void rfhe_mul_add_avx512ifma(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const barrett k = barrett_of(m);

    FOR_LANES(n, PUT(r, vec_once(_mm512_add_epi64(GET(r), product(GET(a), GET(b), &k)), k.m.q)););
}

void rfhe_mul_const_avx512ifma(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i w = vec_set(c.w), wp = vec_set(c.wp);

    FOR_LANES(n, PUT(r, vec_shoup(GET(a), w, wp, &k)););
}

void rfhe_mul_add_const_avx512ifma(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i w = vec_set(c.w), wp = vec_set(c.wp);

    /* [0, q) + [0, 2q) */
    FOR_LANES(n, {
        const __m512i s = vec_mask52(vec_shoup_lazy(GET(r), GET(a), w, wp, &k));
        PUT(r, vec_once(vec_once(s, k.two_q), k.q));
    });
}

void rfhe_add_const_avx512ifma(uint64_t *r, const uint64_t *a, uint64_t c, size_t n, const rfhe_modulus *m)
{
    const __m512i q = vec_set(m->q), b = vec_set(c);

    FOR_LANES(n, PUT(r, vec_once(_mm512_add_epi64(GET(a), b), q)););
}

void rfhe_mul_shoup_avx512ifma(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                               const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);

    FOR_LANES(n, PUT(r, vec_shoup(GET(a), GET(w), GET(wp), &k)););
}

void rfhe_mul_add_shoup_avx512ifma(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                                   const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);

    FOR_LANES(n, {
        const __m512i s = vec_mask52(vec_shoup_lazy(GET(r), GET(a), GET(w), GET(wp), &k));
        PUT(r, vec_once(vec_once(s, k.two_q), k.q));
    });
}

void rfhe_sub_scale_avx512ifma(uint64_t *r, const uint64_t *a, const uint64_t *b, rfhe_shoup c, size_t n,
                               const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i w = vec_set(c.w), wp = vec_set(c.wp);

    FOR_LANES(n, {
        const __m512i d = _mm512_sub_epi64(_mm512_add_epi64(GET(a), k.q), GET(b));
        PUT(r, vec_shoup(d, w, wp, &k));
    });
}

/* A sum of at most 16 products of numbers below 2^50, as low and high halves: the halves of one product are below 2^52
 * and 2^48, so low < 2^56 and high + carries < 2^52. Congruent to high * 2^52 + low. */
RFHE_INLINE __m512i fold(__m512i low, __m512i high, const vec_modulus *k, __m512i r52, __m512i r52p)
{
    const __m512i carried = _mm512_add_epi64(high, _mm512_srli_epi64(low, 52));
    const __m512i s = vec_mask52(vec_shoup_lazy(vec_reduce_lazy(low, k), carried, r52, r52p, k));

    return vec_once(vec_once(s, k->two_q), k->q);
}

enum { INNER_AT_ONCE = 16 };

RFHE_INLINE void inner_step(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                            const uint64_t *const *k1, size_t count, size_t i, __mmask8 lanes, bool accumulate,
                            bool both, const vec_modulus *k, __m512i r52, __m512i r52p)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i low0 = zero, high0 = zero, low1 = zero, high1 = zero;

    for (size_t j = 0; j < count; j++) {
        const __m512i x = GET(d[j]), y0 = GET(k0[j]);
        low0 = vec_lo(low0, x, y0);
        high0 = vec_hi(high0, x, y0);
        if (both) {
            const __m512i y1 = GET(k1[j]);
            low1 = vec_lo(low1, x, y1);
            high1 = vec_hi(high1, x, y1);
        }
    }
    __m512i s0 = fold(low0, high0, k, r52, r52p);
    if (accumulate) { s0 = vec_once(_mm512_add_epi64(s0, GET(r0)), k->q); }
    PUT(r0, s0);
    if (both) {
        __m512i s1 = fold(low1, high1, k, r52, r52p);
        if (accumulate) { s1 = vec_once(_mm512_add_epi64(s1, GET(r1)), k->q); }
        PUT(r1, s1);
    }
}

void rfhe_inner_avx512ifma(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                           const uint64_t *const *k1, size_t count, size_t n, bool accumulate, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i r52 = vec_set(m->r52.w), r52p = vec_set(m->r52.wp);
    size_t done = 0;

    do {
        const size_t now = count - done < INNER_AT_ONCE ? count - done : INNER_AT_ONCE;
        if (r1 != NULL) {
            FOR_LANES(n, inner_step(r0, r1, d + done, k0 + done, k1 + done, now, i, lanes, accumulate, true, &k, r52,
                                    r52p););
        } else {
            FOR_LANES(n, inner_step(r0, NULL, d + done, k0 + done, NULL, now, i, lanes, accumulate, false, &k, r52,
                                    r52p););
        }
        accumulate = true;
        done += now;
    } while (done < count);
}

void rfhe_inner_runs_avx512ifma(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                                const uint64_t *const *k1, size_t count, size_t n, uint32_t log2_run,
                                const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i r52 = vec_set(m->r52.w), r52p = vec_set(m->r52.wp), zero = _mm512_setzero_si512();

    for (size_t i = 0; i < n; i += 8) {
        __m512i s0 = zero, s1 = zero;
        for (size_t done = 0; done < count; done += INNER_AT_ONCE) {
            const size_t end = count - done < INNER_AT_ONCE ? count : done + INNER_AT_ONCE;
            __m512i low0 = zero, high0 = zero, low1 = zero, high1 = zero;
            for (size_t j = done; j < end; j++) {
                const __m512i x = vec_set(d[j][i >> log2_run]), y0 = vec_load(k0[j] + i), y1 = vec_load(k1[j] + i);
                low0 = vec_lo(low0, x, y0);
                high0 = vec_hi(high0, x, y0);
                low1 = vec_lo(low1, x, y1);
                high1 = vec_hi(high1, x, y1);
            }
            s0 = vec_once(_mm512_add_epi64(s0, fold(low0, high0, &k, r52, r52p)), k.q);
            s1 = vec_once(_mm512_add_epi64(s1, fold(low1, high1, &k, r52, r52p)), k.q);
        }
        vec_store(r0 + i, s0);
        vec_store(r1 + i, s1);
    }
}
