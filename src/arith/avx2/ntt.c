/* The negacyclic transform in doubles (see vec.h): the words of x hold doubles between the first and the last pass.
 *
 * Two levels per pass. Ranges: let every value be at most B*q at the start of a pass, q < 2^50. The first level reduces its
 * x to about q/2; with a product of at most q*(1/2 + 0.375*B) it leaves 1.01 + 0.375*B; the second level, without reduction,
 * leaves 1.375 times that plus 1/2. B = 3.9 is stationary, and 3.9*q < 2^52. */
#include "arith/avx2/vec.h"

/* Twiddle number k of the table, in all lanes. */
RFHE_INLINE __m256d twiddle(const rfhe_ntt_table *t, size_t k)
{
    return _mm256_set1_pd((double)(int64_t)t->w[k]);
}

RFHE_INLINE void forward_butterfly(__m256d *x, __m256d *y, __m256d w, bool is_reduced, const vec_modulus *m)
{
    const __m256d a = is_reduced ? vec_reduce(*x, m) : *x, b = vec_product(*y, w, m);

    *x = _mm256_add_pd(a, b);
    *y = _mm256_sub_pd(a, b);
}

RFHE_INLINE __m256d get(const uint64_t *p)
{
    return _mm256_loadu_pd((const double *)(const void *)p);
}

RFHE_INLINE void put(uint64_t *p, __m256d x)
{
    _mm256_storeu_pd((double *)(void *)p, x);
}

void rfhe_ntt_forward_avx2(uint64_t *x, const rfhe_ntt_table *t)
{
    const vec_modulus m = vec_modulus_of(&t->m);
    const size_t n = (size_t)1 << t->log2_n;
    size_t blocks = 1;

    for (size_t i = 0; i < n; i += 4) { put(x + i, vec_load(x + i)); }
    if (t->log2_n % 2 == 1) { /* one level alone, so that pairs remain */
        const __m256d w = twiddle(t, 1);
        for (size_t j = 0; j < n / 2; j += 4) {
            __m256d a = get(x + j), b = get(x + j + n / 2);
            forward_butterfly(&a, &b, w, true, &m);
            put(x + j, a);
            put(x + j + n / 2, b);
        }
        blocks = 2;
    }
    for (; 4 * blocks < n; blocks *= 4) {
        const size_t gap = n / (4 * blocks); /* 4 or more: n / blocks is a power of four */
        for (size_t i = 0; i < blocks; i++) {
            const __m256d w1 = twiddle(t, blocks + i);
            const __m256d w2 = twiddle(t, 2 * (blocks + i)), w3 = twiddle(t, 2 * (blocks + i) + 1);
            uint64_t *p = x + 4 * i * gap;
            for (size_t j = 0; j < gap; j += 4) {
                __m256d a = get(p + j), b = get(p + j + gap), c = get(p + j + 2 * gap), d = get(p + j + 3 * gap);
                forward_butterfly(&a, &c, w1, true, &m);
                forward_butterfly(&b, &d, w1, true, &m);
                forward_butterfly(&a, &b, w2, false, &m);
                forward_butterfly(&c, &d, w3, false, &m);
                put(p + j, a);
                put(p + j + gap, b);
                put(p + j + 2 * gap, c);
                put(p + j + 3 * gap, d);
            }
        }
    }
    /* gaps 2 and 1 of sixteen values: transposed, four blocks of four side by side */
    for (size_t i = 0; i < n / 4; i += 4) {
        const size_t k = n / 4 + i;
        const __m256d w1 = vec_load(t->w + k);
        const __m256d even = vec_load(t->w + 2 * k), odd = vec_load(t->w + 2 * k + 4);
        /* even = 0 1 2 3, odd = 4 5 6 7: wanted 0 2 4 6 and 1 3 5 7 */
        const __m256d w2 = _mm256_permute4x64_pd(_mm256_unpacklo_pd(even, odd), 0xd8);
        const __m256d w3 = _mm256_permute4x64_pd(_mm256_unpackhi_pd(even, odd), 0xd8);
        uint64_t *p = x + 4 * i;
        __m256d v[4], s[4];
        for (int r = 0; r < 4; r++) { v[r] = get(p + 4 * r); }
        s[0] = _mm256_unpacklo_pd(v[0], v[1]);
        s[1] = _mm256_unpackhi_pd(v[0], v[1]);
        s[2] = _mm256_unpacklo_pd(v[2], v[3]);
        s[3] = _mm256_unpackhi_pd(v[2], v[3]);
        v[0] = _mm256_permute2f128_pd(s[0], s[2], 0x20);
        v[1] = _mm256_permute2f128_pd(s[1], s[3], 0x20);
        v[2] = _mm256_permute2f128_pd(s[0], s[2], 0x31);
        v[3] = _mm256_permute2f128_pd(s[1], s[3], 0x31);
        forward_butterfly(&v[0], &v[2], w1, true, &m);
        forward_butterfly(&v[1], &v[3], w1, true, &m);
        forward_butterfly(&v[0], &v[1], w2, false, &m);
        forward_butterfly(&v[2], &v[3], w3, false, &m);
        for (int r = 0; r < 4; r++) { v[r] = vec_positive(vec_reduce(v[r], &m), &m); }
        s[0] = _mm256_unpacklo_pd(v[0], v[1]);
        s[1] = _mm256_unpackhi_pd(v[0], v[1]);
        s[2] = _mm256_unpacklo_pd(v[2], v[3]);
        s[3] = _mm256_unpackhi_pd(v[2], v[3]);
        vec_store(p, _mm256_permute2f128_pd(s[0], s[2], 0x20));
        vec_store(p + 4, _mm256_permute2f128_pd(s[1], s[3], 0x20));
        vec_store(p + 8, _mm256_permute2f128_pd(s[0], s[2], 0x31));
        vec_store(p + 12, _mm256_permute2f128_pd(s[1], s[3], 0x31));
    }
}

/* x' = x + y, y' = (y - x) * w'. Values at most 2q at the start of a pass: sums 4q, differences 4q, products 2q at most;
 * the second level's sums are brought back to q/2, so that every pass begins with at most 2q. */
RFHE_INLINE void inverse_butterfly(__m256d *x, __m256d *y, __m256d w, const vec_modulus *m)
{
    const __m256d a = *x, b = *y;

    *x = _mm256_add_pd(a, b);
    *y = vec_product(_mm256_sub_pd(b, a), w, m);
}

void rfhe_ntt_inverse_avx2(uint64_t *x, const rfhe_ntt_table *t)
{
    const vec_modulus m = vec_modulus_of(&t->m);
    const size_t n = (size_t)1 << t->log2_n;
    size_t blocks = n / 4;

    /* gaps 1 and 2: block i of stage n/4 uses entry n/2 - 1 - i, its halves n - 1 - 2i and n - 2 - 2i of stage n/2 */
    for (size_t i = 0; i < n / 4; i += 4) {
        const __m256d w1 = _mm256_permute4x64_pd(vec_load(t->w + n / 2 - 4 - i), 0x1b);
        const __m256d lo = vec_load(t->w + n - 8 - 2 * i), hi = vec_load(t->w + n - 4 - 2 * i);
        /* lo = e7 e6 e5 e4, hi = e3 e2 e1 e0 by distance from the end: wanted e0 e2 e4 e6 and e1 e3 e5 e7 */
        const __m256d w2 = _mm256_permute4x64_pd(_mm256_unpackhi_pd(hi, lo), 0x72);
        const __m256d w3 = _mm256_permute4x64_pd(_mm256_unpacklo_pd(hi, lo), 0x72);
        uint64_t *p = x + 4 * i;
        __m256d v[4], s[4];
        for (int r = 0; r < 4; r++) { v[r] = vec_load(p + 4 * r); }
        s[0] = _mm256_unpacklo_pd(v[0], v[1]);
        s[1] = _mm256_unpackhi_pd(v[0], v[1]);
        s[2] = _mm256_unpacklo_pd(v[2], v[3]);
        s[3] = _mm256_unpackhi_pd(v[2], v[3]);
        v[0] = _mm256_permute2f128_pd(s[0], s[2], 0x20);
        v[1] = _mm256_permute2f128_pd(s[1], s[3], 0x20);
        v[2] = _mm256_permute2f128_pd(s[0], s[2], 0x31);
        v[3] = _mm256_permute2f128_pd(s[1], s[3], 0x31);
        inverse_butterfly(&v[0], &v[1], w2, &m);
        inverse_butterfly(&v[2], &v[3], w3, &m);
        v[0] = vec_reduce(v[0], &m);
        v[2] = vec_reduce(v[2], &m);
        inverse_butterfly(&v[0], &v[2], w1, &m);
        inverse_butterfly(&v[1], &v[3], w1, &m);
        v[0] = vec_reduce(v[0], &m);
        v[1] = vec_reduce(v[1], &m);
        s[0] = _mm256_unpacklo_pd(v[0], v[1]);
        s[1] = _mm256_unpackhi_pd(v[0], v[1]);
        s[2] = _mm256_unpacklo_pd(v[2], v[3]);
        s[3] = _mm256_unpackhi_pd(v[2], v[3]);
        put(p, _mm256_permute2f128_pd(s[0], s[2], 0x20));
        put(p + 4, _mm256_permute2f128_pd(s[1], s[3], 0x20));
        put(p + 8, _mm256_permute2f128_pd(s[0], s[2], 0x31));
        put(p + 12, _mm256_permute2f128_pd(s[1], s[3], 0x31));
    }
    for (; blocks >= 4; blocks /= 4) {
        const size_t gap = n / blocks, groups = blocks / 4; /* four runs of `gap` become one */
        for (size_t i = 0; i < groups; i++) {
            const size_t far = 2 * groups - 1 - i;
            const __m256d w1 = twiddle(t, far), w2 = twiddle(t, 2 * far + 1), w3 = twiddle(t, 2 * far);
            uint64_t *p = x + 4 * i * gap;
            for (size_t j = 0; j < gap; j += 4) {
                __m256d a = get(p + j), b = get(p + j + gap), c = get(p + j + 2 * gap), d = get(p + j + 3 * gap);
                inverse_butterfly(&a, &b, w2, &m);
                inverse_butterfly(&c, &d, w3, &m);
                a = vec_reduce(a, &m);
                c = vec_reduce(c, &m);
                inverse_butterfly(&a, &c, w1, &m);
                inverse_butterfly(&b, &d, w1, &m);
                put(p + j, vec_reduce(a, &m));
                put(p + j + gap, vec_reduce(b, &m));
                put(p + j + 2 * gap, c);
                put(p + j + 3 * gap, d);
            }
        }
    }
    if (blocks == 2) {
        const __m256d w = twiddle(t, 1);
        for (size_t j = 0; j < n / 2; j += 4) {
            __m256d a = get(x + j), b = get(x + j + n / 2);
            inverse_butterfly(&a, &b, w, &m);
            put(x + j, vec_reduce(a, &m));
            put(x + j + n / 2, b);
        }
    }
    const __m256d scale = _mm256_set1_pd((double)(int64_t)t->n_inv.w);
    for (size_t j = 0; j < n; j += 4) { vec_store(x + j, vec_positive(vec_product(get(x + j), scale, &m), &m)); }
}
