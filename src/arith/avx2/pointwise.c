/* Sums and products, four coefficients at a time (products as doubles, see vec.h); the last n mod 4 go to portable. */
#include "arith/avx2/vec.h"

static inline size_t whole(size_t n)
{
    return n & ~(size_t)3;
}

RFHE_INLINE __m256i get(const uint64_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

RFHE_INLINE void put(uint64_t *p, __m256i x)
{
    _mm256_storeu_si256((void *)p, x);
}

/* x in [-q, q) as a signed integer: adds q when negative. */
RFHE_INLINE __m256i wrap(__m256i x, __m256i q)
{
    return _mm256_add_epi64(x, _mm256_and_si256(_mm256_cmpgt_epi64(_mm256_setzero_si256(), x), q));
}

RFHE_INLINE __m256d product(__m256d a, __m256d b, const vec_modulus *k)
{
    return vec_positive(vec_product(a, b, k), k);
}

/* a in [0, 2^52): the quotient may be 2^52 and one off, so a is reduced first. */
RFHE_INLINE __m256d product_wide(__m256d a, __m256d b, const vec_modulus *k)
{
    return product(vec_reduce(a, k), b, k);
}

/* [0, q) + [0, q) in doubles. */
RFHE_INLINE __m256d sum(__m256d a, __m256d b, const vec_modulus *k)
{
    return vec_positive(_mm256_sub_pd(_mm256_add_pd(a, b), k->q), k);
}

void rfhe_add_avx2(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const __m256i q = _mm256_set1_epi64x((long long)m->q);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) {
        put(r + i, wrap(_mm256_sub_epi64(_mm256_add_epi64(get(a + i), get(b + i)), q), q));
    }
    rfhe_add_portable(r + end, a + end, b + end, n - end, m);
}

void rfhe_sub_avx2(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const __m256i q = _mm256_set1_epi64x((long long)m->q);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) { put(r + i, wrap(_mm256_sub_epi64(get(a + i), get(b + i)), q)); }
    rfhe_sub_portable(r + end, a + end, b + end, n - end, m);
}

void rfhe_neg_avx2(uint64_t *r, const uint64_t *a, size_t n, const rfhe_modulus *m)
{
    const __m256i q = _mm256_set1_epi64x((long long)m->q);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) {
        put(r + i, wrap(_mm256_sub_epi64(_mm256_setzero_si256(), get(a + i)), q));
    }
    rfhe_neg_portable(r + end, a + end, n - end, m);
}

void rfhe_mul_avx2(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) { vec_store(r + i, product(vec_load(a + i), vec_load(b + i), &k)); }
    rfhe_mul_portable(r + end, a + end, b + end, n - end, m);
}

void rfhe_mul_add_avx2(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) {
        vec_store(r + i, sum(vec_load(r + i), product(vec_load(a + i), vec_load(b + i), &k), &k));
    }
    rfhe_mul_add_portable(r + end, a + end, b + end, n - end, m);
}

void rfhe_mul_const_avx2(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m256d w = _mm256_set1_pd((double)c.w);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) { vec_store(r + i, product_wide(vec_load(a + i), w, &k)); }
    rfhe_mul_const_portable(r + end, a + end, c, n - end, m);
}

void rfhe_mul_add_const_avx2(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m256d w = _mm256_set1_pd((double)c.w);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) {
        vec_store(r + i, sum(vec_load(r + i), product_wide(vec_load(a + i), w, &k), &k));
    }
    rfhe_mul_add_const_portable(r + end, a + end, c, n - end, m);
}

void rfhe_add_const_avx2(uint64_t *r, const uint64_t *a, uint64_t c, size_t n, const rfhe_modulus *m)
{
    const __m256i q = _mm256_set1_epi64x((long long)m->q);
    const __m256i shift = _mm256_set1_epi64x((long long)c - (long long)m->q);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) { put(r + i, wrap(_mm256_add_epi64(get(a + i), shift), q)); }
    rfhe_add_const_portable(r + end, a + end, c, n - end, m);
}

void rfhe_mul_shoup_avx2(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                         const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) { vec_store(r + i, product_wide(vec_load(a + i), vec_load(w + i), &k)); }
    rfhe_mul_shoup_portable(r + end, a + end, w + end, wp + end, n - end, m);
}

void rfhe_mul_add_shoup_avx2(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                             const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) {
        vec_store(r + i, sum(vec_load(r + i), product_wide(vec_load(a + i), vec_load(w + i), &k), &k));
    }
    rfhe_mul_add_shoup_portable(r + end, a + end, w + end, wp + end, n - end, m);
}

void rfhe_sub_scale_avx2(uint64_t *r, const uint64_t *a, const uint64_t *b, rfhe_shoup c, size_t n,
                         const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m256d w = _mm256_set1_pd((double)c.w);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) {
        vec_store(r + i, product(_mm256_sub_pd(vec_load(a + i), vec_load(b + i)), w, &k));
    }
    rfhe_sub_scale_portable(r + end, a + end, b + end, c, n - end, m);
}

/* Products of up to q*(1/2 + 0.19): four of them and a reduced sum stay below 2^52 < 2^53. */
enum { INNER_AT_ONCE = 4 };

void rfhe_inner_avx2(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                     const uint64_t *const *k1, size_t count, size_t n, bool accumulate, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const size_t end = whole(n);

    for (size_t i = 0; i < end; i += 4) {
        __m256d s0 = _mm256_setzero_pd(), s1 = s0;
        if (accumulate) {
            s0 = vec_load(r0 + i);
            if (r1 != NULL) { s1 = vec_load(r1 + i); }
        }
        for (size_t j = 0; j < count; j++) {
            const __m256d x = vec_load(d[j] + i);
            s0 = _mm256_add_pd(s0, vec_product(x, vec_load(k0[j] + i), &k));
            if (r1 != NULL) { s1 = _mm256_add_pd(s1, vec_product(x, vec_load(k1[j] + i), &k)); }
            if (j % INNER_AT_ONCE == INNER_AT_ONCE - 1) {
                s0 = vec_reduce(s0, &k);
                s1 = vec_reduce(s1, &k);
            }
        }
        vec_store(r0 + i, vec_positive(vec_reduce(s0, &k), &k));
        if (r1 != NULL) { vec_store(r1 + i, vec_positive(vec_reduce(s1, &k), &k)); }
    }
    if (end < n) {
        const uint64_t *rest[3][64];
        /* the tail in groups of at most 64 operands, each added to what is there */
        size_t done = 0;
        do {
            const size_t now = count - done < 64 ? count - done : 64;
            for (size_t j = 0; j < now; j++) {
                rest[0][j] = d[done + j] + end;
                rest[1][j] = k0[done + j] + end;
                rest[2][j] = r1 == NULL ? NULL : k1[done + j] + end;
            }
            rfhe_inner_portable(r0 + end, r1 == NULL ? NULL : r1 + end, rest[0], rest[1], rest[2], now, n - end,
                                accumulate || done > 0, m);
            done += now;
        } while (done < count);
    }
}

void rfhe_inner_runs_avx2(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                          const uint64_t *const *k1, size_t count, size_t n, uint32_t log2_run, const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);

    for (size_t i = 0; i < n; i += 4) {
        __m256d s0 = _mm256_setzero_pd(), s1 = s0;
        for (size_t j = 0; j < count; j++) {
            const __m256d x = _mm256_set1_pd((double)d[j][i >> log2_run]);
            s0 = _mm256_add_pd(s0, vec_product(x, vec_load(k0[j] + i), &k));
            s1 = _mm256_add_pd(s1, vec_product(x, vec_load(k1[j] + i), &k));
            if (j % INNER_AT_ONCE == INNER_AT_ONCE - 1) {
                s0 = vec_reduce(s0, &k);
                s1 = vec_reduce(s1, &k);
            }
        }
        vec_store(r0 + i, vec_positive(vec_reduce(s0, &k), &k));
        vec_store(r1 + i, vec_positive(vec_reduce(s1, &k), &k));
    }
}
