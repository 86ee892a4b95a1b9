/* The negacyclic transform with AVX-512 IFMA.
 *
 * Shape. The 2^12-coefficient blocks at the bottom fit the first-level cache, so the transform is done depth first: one
 * pass over the whole array takes the top levels (up to four at once), then each block is finished before the next is
 * touched. A pass takes 2^k coefficients `gap` apart into registers, does k levels on them and stores them. The last six
 * levels work on 64 contiguous coefficients in eight registers: three levels between registers, three inside, where pairs
 * of registers exchange halves, quarters and neighbours.
 *
 * Butterfly (forward): with T = y*w in [0, 2q), x' = x + T and y' = x - T + 2q. The multiply-adds accumulate onto x, so
 * that x' costs two instructions beyond the quotient; y' = 2x + 2q - x' costs two more. Everything is mod 2^52 with rubbish
 * above (see vec.h); nothing is masked until the end.
 *
 * Ranges. A value must stay below 2^52 = H*q to be a factor. Each level adds 2q to the bound. The bounds are followed at
 * compile time (int bound[], in units of q): a value is brought back to [0, 2q) exactly where it would pass H. There are
 * three instances: H = 4 (q < 2^50, every x of every level is reduced), H = 8 (q < 2^49, a third of them), H = 64
 * (q < 2^46, none in the forward transform: 4q + 17 levels * 2q < 64q). */
#include "arith/avx512ifma/vec.h"

typedef struct ntt_constants {
    vec_modulus m;
    __m512i two;
    __m512i offset[7]; /* 2^k * q, k = 0 .. 6 */
} ntt_constants;

RFHE_INLINE ntt_constants constants_of(const rfhe_modulus *m)
{
    ntt_constants c = {.m = vec_modulus_of(m), .two = vec_set(2)};

    for (int k = 0; k < 7; k++) { c.offset[k] = vec_set(m->q << k); }
    return c;
}

/* Brings v to [0, 2q) if its bound is over `limit`. */
RFHE_INLINE void reduce_over(__m512i *v, int *bound, int limit, const ntt_constants *c)
{
    if (*bound > limit) {
        *v = vec_reduce_lazy(*v, &c->m);
        *bound = 2;
    }
}

RFHE_INLINE void forward_butterfly(__m512i *x, __m512i *y, int *bx, int *by, __m512i w, __m512i wp, int h,
                                   const ntt_constants *c)
{
    reduce_over(x, bx, h - 2, c);
    const __m512i sum = vec_shoup_lazy(*x, *y, w, wp, &c->m);
    *y = vec_lo(_mm512_sub_epi64(c->m.two_q, sum), *x, c->two);
    *x = sum;
    *bx += 2;
    *by = *bx;
}

/* Blocks of 64 between the fetch of a block's twiddles into the cache and their use; words between the fetch of data and
 * their use in a pass over an array larger than the first-level cache. In a chain of limbs neither the tables of the next
 * prime nor its data are in the second-level cache. */
enum { AHEAD = 8, AHEAD_WORDS = 128 };

RFHE_INLINE void prefetch(const uint64_t *p, int lines)
{
    RFHE_UNROLL
    for (int e = 0; e < lines; e++) { _mm_prefetch((const char *)(p + 8 * e), _MM_HINT_T0); }
}

/* `levels` levels from stage m (m blocks) on block i: 2^levels values `gap` apart, gap a multiple of 8. */
RFHE_INLINE void forward_pass(uint64_t *x, size_t gap, size_t m, size_t i, int levels, int h, int start,
                              const rfhe_ntt_table *t, const ntt_constants *c)
{
    for (size_t j = 0; j < gap; j += 8) {
        __m512i v[16];
        int bound[16];
        RFHE_UNROLL
        for (int e = 0; e < 1 << levels; e++) {
            v[e] = vec_load(x + (size_t)e * gap + j);
            if (gap >= 4096 && j + AHEAD_WORDS < gap) { prefetch(x + (size_t)e * gap + j + AHEAD_WORDS, 1); }
            bound[e] = start;
        }
        RFHE_UNROLL
        for (int lv = 0; lv < levels; lv++) {
            const int half = 1 << (levels - 1 - lv);
            RFHE_UNROLL
            for (int e = 0; e < 1 << levels; e++) {
                if ((e & half) != 0) { continue; }
                const size_t k = ((m + i) << lv) + (size_t)(e >> (levels - lv));
                forward_butterfly(&v[e], &v[e + half], &bound[e], &bound[e + half], vec_set(t->w[k]),
                                  vec_set(t->wp[k]), h, c);
            }
        }
        RFHE_UNROLL
        for (int e = 0; e < 1 << levels; e++) { vec_store(x + (size_t)e * gap + j, v[e]); }
    }
}

/* Lane orders of the exchanges inside a pair of registers A, B; 8 .. 15 name lanes of the second operand. */
#define LANES(a, b, c, d, e, f, g, h) _mm512_setr_epi64(a, b, c, d, e, f, g, h)

/* Two or four twiddles from memory, each in several lanes. */
RFHE_INLINE __m512i spread_pair(const uint64_t *w, __m512i order)
{
    return _mm512_permutexvar_epi64(order, _mm512_castsi128_si512(_mm_loadu_si128((const void *)w)));
}

RFHE_INLINE __m512i spread_four(const uint64_t *w, __m512i order)
{
    return _mm512_permutexvar_epi64(order, _mm512_castsi256_si512(_mm256_loadu_si256((const void *)w)));
}

/* The last six levels of the 64 coefficients of block i, stage m = n/64, and the full reduction. */
RFHE_INLINE void forward_64(uint64_t *x, size_t m, size_t i, int h, int start, const rfhe_ntt_table *t,
                            const ntt_constants *c)
{
    const __m512i spread4 = LANES(0, 0, 0, 0, 1, 1, 1, 1), spread2 = LANES(0, 0, 1, 1, 2, 2, 3, 3);
    const __m512i low2 = LANES(0, 1, 8, 9, 4, 5, 12, 13), high2 = LANES(2, 3, 10, 11, 6, 7, 14, 15);
    const __m512i first = LANES(0, 8, 1, 9, 2, 10, 3, 11), second = LANES(4, 12, 5, 13, 6, 14, 7, 15);
    __m512i v[8];
    int bound[8];

    RFHE_UNROLL
    for (int e = 0; e < 8; e++) {
        v[e] = vec_load(x + 8 * e);
        bound[e] = start;
    }
    RFHE_UNROLL
    for (int lv = 0; lv < 3; lv++) {
        const int half = 4 >> lv;
        RFHE_UNROLL
        for (int e = 0; e < 8; e++) {
            if ((e & half) != 0) { continue; }
            const size_t k = ((m + i) << lv) + (size_t)(e >> (3 - lv));
            forward_butterfly(&v[e], &v[e + half], &bound[e], &bound[e + half], vec_set(t->w[k]), vec_set(t->wp[k]),
                              h, c);
        }
    }
    const uint64_t *w4 = t->w + 8 * (m + i), *wp4 = t->wp + 8 * (m + i);
    const uint64_t *w2 = t->w + 16 * (m + i), *wp2 = t->wp + 16 * (m + i);
    const uint64_t *w1 = t->w + 32 * (m + i), *wp1 = t->wp + 32 * (m + i);
    if (i + AHEAD < m) {
        prefetch(w1 + 32 * AHEAD, 4);
        prefetch(wp1 + 32 * AHEAD, 4);
        prefetch(w2 + 16 * AHEAD, 2);
        prefetch(wp2 + 16 * AHEAD, 2);
        prefetch(w4 + 8 * AHEAD, 1);
        prefetch(wp4 + 8 * AHEAD, 1);
    }
    /* Level by level for all four pairs: independent chains side by side keep the ports busy. */
    __m512i a[4], b[4];
    RFHE_UNROLL
    for (int p = 0; p < 4; p++) { /* gap 4: a = A0..3 B0..3, b = A4..7 B4..7 */
        a[p] = _mm512_shuffle_i64x2(v[2 * p], v[2 * p + 1], 0x44);
        b[p] = _mm512_shuffle_i64x2(v[2 * p], v[2 * p + 1], 0xee);
        forward_butterfly(&a[p], &b[p], &bound[2 * p], &bound[2 * p + 1], spread_pair(w4 + 2 * p, spread4),
                          spread_pair(wp4 + 2 * p, spread4), h, c);
    }
    RFHE_UNROLL
    for (int p = 0; p < 4; p++) { /* gap 2: a = A01 A45 B01 B45, b = A23 A67 B23 B67 */
        const __m512i u = a[p];
        a[p] = _mm512_permutex2var_epi64(u, low2, b[p]);
        b[p] = _mm512_permutex2var_epi64(u, high2, b[p]);
        forward_butterfly(&a[p], &b[p], &bound[2 * p], &bound[2 * p + 1], spread_four(w2 + 4 * p, spread2),
                          spread_four(wp2 + 4 * p, spread2), h, c);
    }
    RFHE_UNROLL
    for (int p = 0; p < 4; p++) { /* gap 1: a = A0 A2 A4 A6 B0 B2 B4 B6, b the odd ones */
        const __m512i u = a[p];
        a[p] = _mm512_unpacklo_epi64(u, b[p]);
        b[p] = _mm512_unpackhi_epi64(u, b[p]);
        forward_butterfly(&a[p], &b[p], &bound[2 * p], &bound[2 * p + 1], vec_load(w1 + 8 * p), vec_load(wp1 + 8 * p),
                          h, c);
    }
    RFHE_UNROLL
    for (int p = 0; p < 4; p++) {
        if (h == 4) {
            a[p] = vec_once(vec_once(vec_mask52(a[p]), c->m.two_q), c->m.q);
            b[p] = vec_once(vec_once(vec_mask52(b[p]), c->m.two_q), c->m.q);
        } else {
            a[p] = vec_finish(vec_reduce_lazy(a[p], &c->m), &c->m);
            b[p] = vec_finish(vec_reduce_lazy(b[p], &c->m), &c->m);
        }
        vec_store(x + 16 * p, _mm512_permutex2var_epi64(a[p], first, b[p]));
        vec_store(x + 16 * p + 8, _mm512_permutex2var_epi64(a[p], second, b[p]));
    }
}

/* Block i of m, of 2^log2_size = 64 * 8^k coefficients. */
#define FORWARD_BLOCK(name, h, start)                                                                                 \
    static void name(uint64_t *x, uint32_t log2_size, size_t m, size_t i, const rfhe_ntt_table *t)                    \
    {                                                                                                                 \
        const ntt_constants c = constants_of(&t->m);                                                                  \
        if (log2_size == 6) {                                                                                         \
            forward_64(x, m, i, h, start, t, &c);                                                                     \
            return;                                                                                                   \
        }                                                                                                             \
        const size_t gap = (size_t)1 << (log2_size - 3);                                                              \
        forward_pass(x, gap, m, i, 3, h, start, t, &c);                                                               \
        if (log2_size == 9) {                                                                                         \
            for (size_t e = 0; e < 8; e++) { forward_64(x + 64 * e, 8 * m, 8 * i + e, h, start, t, &c); }             \
            return;                                                                                                   \
        }                                                                                                             \
        for (size_t e = 0; e < 8; e++) { name(x + e * gap, log2_size - 3, 8 * m, 8 * i + e, t); }                     \
    }                                                                                                                 \
    static void name##_all(uint64_t *x, const rfhe_ntt_table *t)                                                      \
    {                                                                                                                 \
        const ntt_constants c = constants_of(&t->m);                                                                  \
        const uint32_t above = t->log2_n - 6;                                                                         \
        uint32_t top = above % 3 == 1 && above > 1 ? 4 : above % 3;                                                   \
        const size_t gap = ((size_t)1 << t->log2_n) >> top;                                                           \
        if (top == 1) { forward_pass(x, gap, 1, 0, 1, h, start, t, &c); }                                             \
        if (top == 2) { forward_pass(x, gap, 1, 0, 2, h, start, t, &c); }                                             \
        if (top == 4) { forward_pass(x, gap, 1, 0, 4, h, start, t, &c); }                                             \
        for (size_t e = 0; e < (size_t)1 << top; e++) { name(x + e * gap, t->log2_n - top, (size_t)1 << top, e, t); } \
    }

FORWARD_BLOCK(forward_50, 4, 4)
FORWARD_BLOCK(forward_49, 8, 8)
FORWARD_BLOCK(forward_46, 64, 40)

void rfhe_ntt_forward_avx512ifma(uint64_t *x, const rfhe_ntt_table *t)
{
    if (t->log2_n < 6) {
        rfhe_ntt_forward_portable(x, t);
    } else if (t->m.bits <= 46) {
        forward_46_all(x, t);
    } else if (t->m.bits <= 49) {
        forward_49_all(x, t);
    } else {
        forward_50_all(x, t);
    }
}

/* Inverse: x' = x + y, y' = (y - x) * w', where w' = -1/w is the table's entry from the other end. */
RFHE_INLINE void inverse_butterfly(__m512i *x, __m512i *y, int *bx, int *by, __m512i w, __m512i wp, int h,
                                   const ntt_constants *c)
{
    if (*bx + *by > h) {
        reduce_over(x, bx, 2, c);
        reduce_over(y, by, 2, c);
    }
    const int log2_offset = *bx <= 2 ? 1 : *bx <= 4 ? 2 : *bx <= 8 ? 3 : *bx <= 16 ? 4 : 5;
    const __m512i difference = _mm512_sub_epi64(_mm512_add_epi64(*y, c->offset[log2_offset]), *x);
    *x = _mm512_add_epi64(*x, *y);
    *y = vec_shoup_lazy(_mm512_setzero_si512(), difference, w, wp, &c->m);
    *bx += *by;
    *by = 2;
}

/* The opposite of forward_pass: the deepest of the levels first. Bounds at entry are `start`, at exit too, unless
 * `is_last`: then the top level is the last of all, 1/n is multiplied in, and the results are fully reduced. */
RFHE_INLINE void inverse_pass(uint64_t *x, size_t gap, size_t m, size_t i, int levels, bool is_last, int h, int start,
                              const rfhe_ntt_table *t, const ntt_constants *c)
{
    for (size_t j = 0; j < gap; j += 8) {
        __m512i v[16];
        int bound[16];
        RFHE_UNROLL
        for (int e = 0; e < 1 << levels; e++) {
            v[e] = vec_load(x + (size_t)e * gap + j);
            bound[e] = start;
        }
        RFHE_UNROLL
        for (int lv = levels - 1; lv >= 0; lv--) {
            const int half = 1 << (levels - 1 - lv);
            RFHE_UNROLL
            for (int e = 0; e < 1 << levels; e++) {
                if ((e & half) != 0 || (is_last && lv == 0)) { continue; }
                /* entry of block (i << lv) + (e >> ..) from the far end of stage m << lv */
                const size_t k = ((m << 1) << lv) - 1 - ((i << lv) + (size_t)(e >> (levels - lv)));
                inverse_butterfly(&v[e], &v[e + half], &bound[e], &bound[e + half], vec_set(t->w[k]),
                                  vec_set(t->wp[k]), h, c);
            }
        }
        if (is_last) {
            const int half = 1 << (levels - 1);
            RFHE_UNROLL
            for (int e = 0; e < half; e++) {
                if (bound[e] + bound[e + half] > h) {
                    reduce_over(&v[e], &bound[e], 2, c);
                    reduce_over(&v[e + half], &bound[e + half], 2, c);
                }
                const int by = bound[e + half];
                const int log2_offset = by <= 2 ? 1 : by <= 4 ? 2 : by <= 8 ? 3 : by <= 16 ? 4 : 5;
                const __m512i sum = _mm512_add_epi64(v[e], v[e + half]);
                const __m512i difference =
                    _mm512_sub_epi64(_mm512_add_epi64(v[e], c->offset[log2_offset]), v[e + half]);
                v[e] = vec_shoup(sum, vec_set(t->n_inv.w), vec_set(t->n_inv.wp), &c->m);
                v[e + half] = vec_shoup(difference, vec_set(t->n_inv_w.w), vec_set(t->n_inv_w.wp), &c->m);
            }
        }
        RFHE_UNROLL
        for (int e = 0; e < 1 << levels; e++) {
            if (!is_last) { reduce_over(&v[e], &bound[e], start, c); }
            vec_store(x + (size_t)e * gap + j, v[e]);
        }
    }
}

RFHE_INLINE void inverse_64(uint64_t *x, size_t m, size_t i, int h, int start, const rfhe_ntt_table *t,
                            const ntt_constants *c)
{
    /* twiddles come from the far end of the table: the lane orders are those of forward_64, turned round */
    const __m512i spread4 = LANES(1, 1, 1, 1, 0, 0, 0, 0), spread2 = LANES(3, 3, 2, 2, 1, 1, 0, 0);
    const __m512i turned = LANES(7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i even = LANES(0, 2, 4, 6, 8, 10, 12, 14), odd = LANES(1, 3, 5, 7, 9, 11, 13, 15);
    const __m512i low2 = LANES(0, 1, 8, 9, 4, 5, 12, 13), high2 = LANES(2, 3, 10, 11, 6, 7, 14, 15);
    __m512i v[8];
    int bound[8];
    const size_t far = 2 * m - 1 - i; /* block i's entry in stage m; its descendants in deeper stages follow */
    const uint64_t *w4 = t->w + 8 * far, *wp4 = t->wp + 8 * far;
    const uint64_t *w2 = t->w + 16 * far, *wp2 = t->wp + 16 * far;
    const uint64_t *w1 = t->w + 32 * far, *wp1 = t->wp + 32 * far;

    if (i + AHEAD < m) { /* the inverse reads the table backwards */
        prefetch(w1 - 32 * AHEAD, 4);
        prefetch(wp1 - 32 * AHEAD, 4);
        prefetch(w2 - 16 * AHEAD, 2);
        prefetch(wp2 - 16 * AHEAD, 2);
        prefetch(w4 - 8 * AHEAD, 1);
        prefetch(wp4 - 8 * AHEAD, 1);
    }
    __m512i a[4], b[4];
    RFHE_UNROLL
    for (int p = 0; p < 4; p++) { /* gap 1: a = A0 A2 A4 A6 B0 B2 B4 B6, b the odd ones */
        const __m512i one = vec_load(x + 16 * p), two = vec_load(x + 16 * p + 8);
        bound[2 * p] = bound[2 * p + 1] = 2; /* the contract's range */
        a[p] = _mm512_permutex2var_epi64(one, even, two);
        b[p] = _mm512_permutex2var_epi64(one, odd, two);
        inverse_butterfly(&a[p], &b[p], &bound[2 * p], &bound[2 * p + 1],
                          _mm512_permutexvar_epi64(turned, vec_load(w1 + 24 - 8 * p)),
                          _mm512_permutexvar_epi64(turned, vec_load(wp1 + 24 - 8 * p)), h, c);
        bound[2 * p + 1] = bound[2 * p]; /* the lanes are mixed from here on */
    }
    RFHE_UNROLL
    for (int p = 0; p < 4; p++) { /* gap 2: a = A01 A45 B01 B45, b = A23 A67 B23 B67 */
        const __m512i u = a[p];
        a[p] = _mm512_unpacklo_epi64(u, b[p]);
        b[p] = _mm512_unpackhi_epi64(u, b[p]);
        inverse_butterfly(&a[p], &b[p], &bound[2 * p], &bound[2 * p + 1], spread_four(w2 + 12 - 4 * p, spread2),
                          spread_four(wp2 + 12 - 4 * p, spread2), h, c);
        bound[2 * p + 1] = bound[2 * p];
    }
    RFHE_UNROLL
    for (int p = 0; p < 4; p++) { /* gap 4: a = A0..3 B0..3, b = A4..7 B4..7 */
        const __m512i u = a[p];
        a[p] = _mm512_permutex2var_epi64(u, low2, b[p]);
        b[p] = _mm512_permutex2var_epi64(u, high2, b[p]);
        inverse_butterfly(&a[p], &b[p], &bound[2 * p], &bound[2 * p + 1], spread_pair(w4 + 6 - 2 * p, spread4),
                          spread_pair(wp4 + 6 - 2 * p, spread4), h, c);
        bound[2 * p + 1] = bound[2 * p];
        v[2 * p] = _mm512_shuffle_i64x2(a[p], b[p], 0x44);
        v[2 * p + 1] = _mm512_shuffle_i64x2(a[p], b[p], 0xee);
    }
    RFHE_UNROLL
    for (int lv = 2; lv >= 0; lv--) {
        const int half = 4 >> lv;
        RFHE_UNROLL
        for (int e = 0; e < 8; e++) {
            if ((e & half) != 0) { continue; }
            const size_t k = ((m << 1) << lv) - 1 - ((i << lv) + (size_t)(e >> (3 - lv)));
            inverse_butterfly(&v[e], &v[e + half], &bound[e], &bound[e + half], vec_set(t->w[k]), vec_set(t->wp[k]),
                              h, c);
        }
    }
    RFHE_UNROLL
    for (int e = 0; e < 8; e++) {
        reduce_over(&v[e], &bound[e], start, c);
        vec_store(x + 8 * e, v[e]);
    }
}

/* Of the levels above the 64-blocks, the last pass takes 1 to 3 or 4, so that 1/n is always in a pass of its own kind. */
#define INVERSE_BLOCK(name, h, start)                                                                                 \
    static void name(uint64_t *x, uint32_t log2_size, size_t m, size_t i, const rfhe_ntt_table *t)                    \
    {                                                                                                                 \
        const ntt_constants c = constants_of(&t->m);                                                                  \
        if (log2_size == 6) {                                                                                         \
            inverse_64(x, m, i, h, start, t, &c);                                                                     \
            return;                                                                                                   \
        }                                                                                                             \
        const size_t gap = (size_t)1 << (log2_size - 3);                                                              \
        if (log2_size == 9) {                                                                                         \
            for (size_t e = 0; e < 8; e++) { inverse_64(x + 64 * e, 8 * m, 8 * i + e, h, start, t, &c); }             \
        } else {                                                                                                      \
            for (size_t e = 0; e < 8; e++) { name(x + e * gap, log2_size - 3, 8 * m, 8 * i + e, t); }                 \
        }                                                                                                             \
        inverse_pass(x, gap, m, i, 3, false, h, start, t, &c);                                                        \
    }                                                                                                                 \
    static void name##_all(uint64_t *x, const rfhe_ntt_table *t)                                                      \
    {                                                                                                                 \
        const ntt_constants c = constants_of(&t->m);                                                                  \
        const uint32_t above = t->log2_n - 6;                                                                         \
        const uint32_t top = above == 1 ? 1 : above % 3 == 1 ? 4 : above % 3 == 2 ? 2 : 3;                            \
        const size_t gap = ((size_t)1 << t->log2_n) >> top;                                                           \
        for (size_t e = 0; e < (size_t)1 << top; e++) { name(x + e * gap, t->log2_n - top, (size_t)1 << top, e, t); } \
        if (top == 1) { inverse_pass(x, gap, 1, 0, 1, true, h, start, t, &c); }                                       \
        if (top == 2) { inverse_pass(x, gap, 1, 0, 2, true, h, start, t, &c); }                                       \
        if (top == 3) { inverse_pass(x, gap, 1, 0, 3, true, h, start, t, &c); }                                       \
        if (top == 4) { inverse_pass(x, gap, 1, 0, 4, true, h, start, t, &c); }                                       \
    }

INVERSE_BLOCK(inverse_50, 4, 2)
INVERSE_BLOCK(inverse_49, 8, 4)
INVERSE_BLOCK(inverse_46, 64, 8)

void rfhe_ntt_inverse_avx512ifma(uint64_t *x, const rfhe_ntt_table *t)
{
    if (t->log2_n < 7) {
        rfhe_ntt_inverse_portable(x, t);
    } else if (t->m.bits <= 46) {
        inverse_46_all(x, t);
    } else if (t->m.bits <= 49) {
        inverse_49_all(x, t);
    } else {
        inverse_50_all(x, t);
    }
}
