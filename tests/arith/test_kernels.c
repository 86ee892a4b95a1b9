/* arith/: every kernel of every instruction set of this CPU against the portable body, bit for bit, and the portable body
 * against wide arithmetic: moduli at the edges of the range, all tails, bytes past the end untouched. */
#include "test.h"

#include "arith/kernels.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

static rfhe_rng rng;

/* Tiny, around 2^30 and 2^32, both sides of the limits of the transforms' variants (2^46, 2^49), the largest. */
static const uint64_t moduli[] = {3,
                                  5,
                                  257,
                                  65537,
                                  (UINT64_C(1) << 30) - 35,
                                  (UINT64_C(1) << 32) - 5,
                                  (UINT64_C(1) << 46) - 21,
                                  (UINT64_C(1) << 46) + 15,
                                  (UINT64_C(1) << 49) - 81,
                                  (UINT64_C(1) << 49) + 69,
                                  (UINT64_C(1) << 50) - 27};
enum { N_MODULI = sizeof moduli / sizeof *moduli, MAX_N = 80, CANARY = 4 };

#define CANARY_WORD UINT64_C(0xa5a5a5a5a5a5a5a5)

static rfhe_modulus modulus(uint64_t q)
{
    rfhe_modulus m;
    rfhe_error err = {0};

    if (rfhe_modulus_init(&m, q, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    return m;
}

/* A residue, with the extremes more often than chance would have them. */
static uint64_t residue(uint64_t q)
{
    const uint64_t dice = rfhe_rng_below(&rng, 16);

    return dice == 0 ? 0 : dice == 1 ? q - 1 : dice == 2 ? q / 2 : dice == 3 ? 1 : rfhe_rng_below(&rng, q);
}

static void fill(uint64_t *x, size_t n, uint64_t q)
{
    for (size_t i = 0; i < n; i++) { x[i] = residue(q); }
}

static void fill_canary(uint64_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++) { x[i] = CANARY_WORD; }
}

static void same(const char *what, rfhe_isa isa, uint64_t q, size_t n, const uint64_t *got, const uint64_t *want)
{
    for (size_t i = 0; i < n; i++) {
        if (got[i] != want[i]) {
            fail_msg("%s %s: q=%" PRIu64 " n=%zu i=%zu got %" PRIu64 " want %" PRIu64, what, rfhe_isa_name(isa), q, n, i,
                     got[i], want[i]);
        }
    }
    for (size_t i = n; i < n + CANARY; i++) {
        if (got[i] != CANARY_WORD) { fail_msg("%s %s: wrote past the end, n=%zu", what, rfhe_isa_name(isa), n); }
    }
}

/* Calls body(kernels, isa, q) for every set and modulus. */
static void for_all(void (*body)(const rfhe_kernels *k, rfhe_isa isa, const rfhe_modulus *m))
{
    for (int isa = 0; isa <= (int)rfhe_cpu_best_isa(); isa++) {
        for (size_t i = 0; i < N_MODULI; i++) {
            const rfhe_modulus m = modulus(moduli[i]);
            body(rfhe_kernels_of((rfhe_isa)isa), (rfhe_isa)isa, &m);
        }
    }
}

static void pointwise(const rfhe_kernels *k, rfhe_isa isa, const rfhe_modulus *m)
{
    uint64_t a[MAX_N], b[MAX_N], s[MAX_N], wide[MAX_N], wp[MAX_N], got[MAX_N + CANARY], want[MAX_N];
    const uint64_t q = m->q;

    for (size_t n = 0; n <= 41; n++) {
        const rfhe_shoup c = rfhe_shoup_make(residue(q), q);
        fill(a, n, q);
        fill(b, n, q);
        fill(s, n, q);
        for (size_t i = 0; i < n; i++) {
            wide[i] = i % 3 == 0 ? RFHE_MASK52 : rfhe_rng_u64(&rng) & RFHE_MASK52;
            wp[i] = rfhe_shoup_make(b[i], q).wp;
        }
#define CHECK(name, CALL, EXPRESSION)                                                                                 \
    do {                                                                                                              \
        for (size_t i = 0; i < n; i++) { want[i] = (uint64_t)((EXPRESSION) % q); }                                    \
        fill_canary(got, MAX_N + CANARY);                                                                             \
        memcpy(got, s, n * sizeof *got);                                                                              \
        CALL;                                                                                                         \
        same(#name, isa, q, n, got, want);                                                                            \
    } while (0)
        CHECK(add, k->add(got, a, b, n, m), a[i] + b[i]);
        CHECK(sub, k->sub(got, a, b, n, m), a[i] + q - b[i]);
        CHECK(neg, k->neg(got, a, n, m), q - a[i]);
        CHECK(mul, k->mul(got, a, b, n, m), (rfhe_u128)a[i] * b[i]);
        CHECK(mul_add, k->mul_add(got, a, b, n, m), (rfhe_u128)a[i] * b[i] + s[i]);
        CHECK(mul_const, k->mul_const(got, wide, c, n, m), (rfhe_u128)wide[i] * c.w);
        CHECK(mul_add_const, k->mul_add_const(got, wide, c, n, m), (rfhe_u128)wide[i] * c.w + s[i]);
        CHECK(add_const, k->add_const(got, a, c.w, n, m), a[i] + c.w);
        CHECK(mul_shoup, k->mul_shoup(got, wide, b, wp, n, m), (rfhe_u128)wide[i] * b[i]);
        CHECK(mul_add_shoup, k->mul_add_shoup(got, wide, b, wp, n, m), (rfhe_u128)wide[i] * b[i] + s[i]);
        CHECK(sub_scale, k->sub_scale(got, a, b, c, n, m), (rfhe_u128)(a[i] + q - b[i]) * c.w);
        /* the result may be an operand */
        CHECK(add in place, k->add(got, got, b, n, m), s[i] + b[i]);
        CHECK(sub in place, k->sub(got, a, got, n, m), a[i] + q - s[i]);
        CHECK(neg in place, k->neg(got, got, n, m), q - s[i]);
        CHECK(mul in place, k->mul(got, got, got, n, m), (rfhe_u128)s[i] * s[i]);
        CHECK(mul_add in place, k->mul_add(got, got, b, n, m), (rfhe_u128)s[i] * b[i] + s[i]);
        CHECK(mul_const in place, k->mul_const(got, got, c, n, m), (rfhe_u128)s[i] * c.w);
        CHECK(mul_shoup in place, k->mul_shoup(got, got, b, wp, n, m), (rfhe_u128)s[i] * b[i]);
        CHECK(sub_scale in place, k->sub_scale(got, a, got, c, n, m), (rfhe_u128)(a[i] + q - s[i]) * c.w);
#undef CHECK
    }
}

static void pointwise_agrees_with_wide_arithmetic(void **state)
{
    (void)state;
    for_all(pointwise);
}

static void inner(const rfhe_kernels *k, rfhe_isa isa, const rfhe_modulus *m)
{
    enum { MOST = 70 };
    static const size_t counts[] = {0, 1, 2, 3, 5, 15, 16, 17, 33, MOST};
    uint64_t(*d)[MAX_N] = malloc(3 * MOST * sizeof *d);
    const uint64_t *p[3][MOST];
    uint64_t got0[MAX_N + CANARY], got1[MAX_N + CANARY], want0[MAX_N], want1[MAX_N];

    assert_non_null(d);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (size_t n = 0; n < 28; n += n < 17 ? 1 : 5) {
            for (size_t j = 0; j < 3 * counts[c]; j++) {
                p[j % 3][j / 3] = d[j];
                fill(d[j], n, m->q);
                if (c % 2 == 1) { /* the largest sums */
                    for (size_t i = 0; i < n; i++) { d[j][i] = m->q - 1; }
                }
            }
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                fill_canary(got0, MAX_N + CANARY);
                fill_canary(got1, MAX_N + CANARY);
                for (size_t i = 0; i < n; i++) {
                    got0[i] = got1[i] = m->q - 1;
                    want0[i] = want1[i] = accumulate ? m->q - 1 : 0;
                    for (size_t j = 0; j < counts[c]; j++) {
                        want0[i] = (uint64_t)(((rfhe_u128)p[0][j][i] * p[1][j][i] + want0[i]) % m->q);
                        want1[i] = (uint64_t)(((rfhe_u128)p[0][j][i] * p[2][j][i] + want1[i]) % m->q);
                    }
                }
                k->inner(got0, got1, p[0], p[1], p[2], counts[c], n, accumulate, m);
                same("inner, first", isa, m->q, n, got0, want0);
                same("inner, second", isa, m->q, n, got1, want1);
                fill_canary(got0, n);
                for (size_t i = 0; i < n; i++) { got0[i] = m->q - 1; }
                k->inner(got0, NULL, p[0], p[1], NULL, counts[c], n, accumulate, m);
                same("inner, alone", isa, m->q, n, got0, want0);
            }
        }
    }
    free(d);
}

static void inner_products_agree_with_wide_arithmetic(void **state)
{
    (void)state;
    for_all(inner);
}

static void inner_runs(const rfhe_kernels *k, rfhe_isa isa, const rfhe_modulus *m)
{
    enum { MOST = 33, LENGTH = 64 };
    static const size_t counts[] = {0, 1, 4, 7, 16, 17, MOST};
    uint64_t(*d)[LENGTH] = malloc(3 * MOST * sizeof *d);
    const uint64_t *p[3][MOST];
    uint64_t got0[LENGTH + CANARY], got1[LENGTH + CANARY], want0[LENGTH], want1[LENGTH];

    assert_non_null(d);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (uint32_t log2_run = 3; log2_run < 8; log2_run++) { /* a run may be longer than the piece */
            for (size_t j = 0; j < 3 * counts[c]; j++) {
                p[j % 3][j / 3] = d[j];
                fill(d[j], LENGTH, m->q);
                if (c % 2 == 1) {
                    for (size_t i = 0; i < LENGTH; i++) { d[j][i] = m->q - 1; }
                }
            }
            fill_canary(got0, LENGTH + CANARY);
            fill_canary(got1, LENGTH + CANARY);
            for (size_t i = 0; i < LENGTH; i++) {
                want0[i] = want1[i] = 0;
                for (size_t j = 0; j < counts[c]; j++) {
                    const rfhe_u128 x = p[0][j][i >> log2_run];
                    want0[i] = (uint64_t)((x * p[1][j][i] + want0[i]) % m->q);
                    want1[i] = (uint64_t)((x * p[2][j][i] + want1[i]) % m->q);
                }
            }
            k->inner_runs(got0, got1, p[0], p[1], p[2], counts[c], LENGTH, log2_run, m);
            same("inner_runs, first", isa, m->q, LENGTH, got0, want0);
            same("inner_runs, second", isa, m->q, LENGTH, got1, want1);
        }
    }
    free(d);
}

static void inner_products_over_runs_agree_with_wide_arithmetic(void **state)
{
    (void)state;
    for_all(inner_runs);
}

static void converts(const rfhe_kernels *k, rfhe_isa isa, const rfhe_modulus *target)
{
    static const size_t counts[] = {1, 2, 3, 6, 7, 8, 14, 15, RFHE_CONVERT_MAX};
    static uint64_t x[RFHE_CONVERT_MAX][MAX_N], y[RFHE_CONVERT_MAX * MAX_N + CANARY], y0[RFHE_CONVERT_MAX * MAX_N];
    uint64_t v[MAX_N + CANARY], v0[MAX_N], r[MAX_N + CANARY], want[MAX_N], h[RFHE_CONVERT_MAX];
    const uint64_t *px[RFHE_CONVERT_MAX];
    rfhe_shoup c[RFHE_CONVERT_MAX];
    rfhe_modulus m[RFHE_CONVERT_MAX];
    const rfhe_modulus *pm[RFHE_CONVERT_MAX];

    for (size_t t = 0; t < sizeof counts / sizeof *counts; t++) {
        const size_t count = counts[t];
        for (size_t n = 0; n <= MAX_N; n += n < 41 ? 1 : 13) {
            const uint64_t neg = residue(target->q);
            for (size_t j = 0; j < count; j++) {
                m[j] = modulus(moduli[t % 2 == 0 ? N_MODULI - 1 : (j + 4) % N_MODULI]);
                pm[j] = &m[j];
                px[j] = x[j];
                c[j] = rfhe_shoup_make(residue(m[j].q), m[j].q);
                h[j] = t % 3 == 0 ? target->q - 1 : residue(target->q);
                fill(x[j], n, m[j].q);
            }
            fill_canary(y, sizeof y / sizeof *y);
            fill_canary(v, MAX_N + CANARY);
            k->convert_scale(y, v, px, c, pm, count, n);
            for (size_t i = 0; i < n; i++) {
                double sum = 0.0;
                for (size_t j = 0; j < count; j++) {
                    y0[j * n + i] = rfhe_mod_mul(x[j][i], c[j].w, m[j].q);
                    sum += (double)y0[j * n + i] * m[j].inverse;
                }
                v0[i] = (uint64_t)floor(sum + 0.5);
            }
            same("convert_scale", isa, 0, count * n, y, y0);
            same("convert_scale, v", isa, 0, n, v, v0);
            if (t % 2 == 0) { /* the largest words the contract allows */
                for (size_t i = 0; i < count * n; i++) { y[i] = (UINT64_C(1) << 50) - 1; }
            }
            fill_canary(r, MAX_N + CANARY);
            k->convert_out(r, y, v, h, neg, count, n, target);
            const uint64_t back = rfhe_mod_inverse(target->r52.w, target->q);
            for (size_t i = 0; i < n; i++) {
                uint64_t sum = (uint64_t)((rfhe_u128)v[i] * neg % target->q);
                for (size_t j = 0; j < count; j++) {
                    sum = (uint64_t)(((rfhe_u128)y[j * n + i] * h[j] + sum) % target->q);
                }
                want[i] = rfhe_mod_mul(sum, back, target->q);
            }
            same("convert_out", isa, target->q, n, r, want);
        }
    }
}

static void conversion_agrees_with_wide_arithmetic(void **state)
{
    (void)state;
    for_all(converts);
}

static void numbers(const rfhe_kernels *k, rfhe_isa isa, const rfhe_modulus *m)
{
    static const double edge[] = {0.0, -0.0, 0.5, 1.5, -0.5, -1.5, 2.5, 0x1p52, 0x1p52 + 1, -0x1p53, 0x1.fffffffffffffp102,
                                  -0x1.fffffffffffffp102, 0x1p52 - 0.5, 0x1p51 - 0.5, 1e-300, -1e-300};
    int64_t a[MAX_N];
    double x[MAX_N];
    uint64_t got[MAX_N + CANARY], want[MAX_N];

    for (size_t n = 0; n <= MAX_N; n += n < 41 ? 1 : 13) {
        for (size_t i = 0; i < n; i++) {
            a[i] = i == 0 ? INT64_MIN : i == 1 ? INT64_MAX : i == 2 ? -(int64_t)m->q
                 : (int64_t)rfhe_rng_u64(&rng) >> rfhe_rng_below(&rng, 64);
            x[i] = i < 16 ? edge[i]
                          : ldexp(rfhe_rng_uniform(&rng) - 0.5, (int)rfhe_rng_below(&rng, 105) - 1);
            want[i] = a[i] < 0 ? rfhe_mod_neg((UINT64_C(0) - (uint64_t)a[i]) % m->q, m->q) : (uint64_t)a[i] % m->q;
        }
        fill_canary(got, MAX_N + CANARY);
        k->from_i64(got, a, n, m);
        same("from_i64", isa, m->q, n, got, want);
        for (size_t i = 0; i < n; i++) {
            const rfhe_i128 whole = (rfhe_i128)rint(x[i]), rest = whole % (rfhe_i128)m->q;
            want[i] = (uint64_t)(rest < 0 ? rest + (rfhe_i128)m->q : rest);
        }
        fill_canary(got, MAX_N + CANARY);
        k->from_f64(got, x, n, m);
        same("from_f64", isa, m->q, n, got, want);
    }
}

static void numbers_become_residues(void **state)
{
    (void)state;
    for_all(numbers);
}

static void samples(const rfhe_kernels *k, rfhe_isa isa, const rfhe_modulus *m)
{
    uint8_t bytes[8 * MAX_N + 1];
    uint64_t got[MAX_N + CANARY], want[MAX_N];
    const rfhe_kernels *p = rfhe_kernels_of(RFHE_ISA_PORTABLE);
    int64_t small[MAX_N + 1], twin[MAX_N + 1];

    for (size_t words = 0; words <= MAX_N - 2; words++) {
        for (size_t n = 0; n <= MAX_N - 2; n += 7) {
            size_t used = 0, want_used = 0, made = 0;
            for (size_t i = 0; i < sizeof bytes; i++) { bytes[i] = (uint8_t)rfhe_rng_u64(&rng); }
            for (size_t i = 0; i + 3 < words; i += 5) { memset(bytes + 1 + 8 * i, 0xff, 8); } /* rejected unless q | 2^64 */
            for (size_t i = 0; i < words && made < n; i++) {
                uint64_t w;
                memcpy(&w, bytes + 1 + 8 * i, 8);
                want_used = i + 1;
                if (w <= m->limit64) { want[made++] = w % m->q; }
            }
            fill_canary(got, MAX_N + CANARY);
            assert_int_equal(k->sample_uniform(got, n, bytes + 1, words, &used, m), made);
            assert_int_equal(used, want_used);
            same("sample_uniform", isa, m->q, made, got, want);
        }
        small[words] = twin[words] = 99;
        k->sample_ternary(small, words, bytes + 1);
        p->sample_ternary(twin, words, bytes + 1);
        assert_memory_equal(small, twin, (words + 1) * sizeof *small);
        k->sample_noise(small, words, bytes + 1);
        p->sample_noise(twin, words, bytes + 1);
        assert_memory_equal(small, twin, (words + 1) * sizeof *small);
    }
}

static void samplers_agree_and_reject_alike(void **state)
{
    (void)state;
    for_all(samples);
}

/* 2^16 draws each: mean, variance and single frequencies within five standard deviations of what they should be. */
static void samplers_have_the_stated_distributions(void **state)
{
    enum { N = 1 << 16 };
    uint8_t *bytes = malloc(8 * N);
    int64_t *x = malloc(N * sizeof *x);
    uint64_t *u = malloc(N * sizeof *u);

    (void)state;
    assert_true(bytes != NULL && x != NULL && u != NULL);
    for (int isa = 0; isa <= (int)rfhe_cpu_best_isa(); isa++) {
        const rfhe_kernels *k = rfhe_kernels_of((rfhe_isa)isa);
        for (size_t i = 0; i < 8 * N; i++) { bytes[i] = (uint8_t)(rfhe_rng_u64(&rng) >> 56); }
        double count[3] = {0}, mean = 0.0, square = 0.0, fourth = 0.0;
        k->sample_ternary(x, N, bytes);
        for (size_t i = 0; i < N; i++) {
            assert_in_range(x[i] + 1, 0, 2);
            count[x[i] + 1] += 1.0;
        }
        for (int v = 0; v < 3; v++) { assert_true(fabs(count[v] - N / 3.0) < 5.0 * sqrt(N * 2.0 / 9.0)); }
        k->sample_noise(x, N, bytes);
        for (size_t i = 0; i < N; i++) {
            const double e = (double)x[i];
            assert_true(fabs(e) <= 21.0);
            mean += e / N;
            square += e * e / N;
            fourth += e * e * e * e / N;
        }
        /* centred binomial of 42 fair bits: variance 10.5, fourth moment 3*10.5^2 - 10.5/2 */
        assert_true(fabs(mean) < 5.0 * sqrt(10.5 / N));
        assert_true(fabs(square - 10.5) < 5.0 * sqrt((325.5 - 110.25) / N));
        assert_true(fabs(fourth - 325.5) < 25.0);
        for (size_t i = 0; i < N_MODULI; i++) {
            const rfhe_modulus m = modulus(moduli[i]);
            size_t used = 0;
            double chi = 0.0, bin[16] = {0};
            const size_t made = k->sample_uniform(u, N, bytes, N, &used, &m), bins = m.q < 16 ? m.q : 16;
            assert_true(made > N - 64);
            for (size_t j = 0; j < made; j++) {
                assert_true(u[j] < m.q);
                bin[(rfhe_u128)u[j] * bins / m.q] += 1.0;
            }
            for (size_t b = 0; b < bins; b++) {
                /* numbers r with floor(r * bins / q) = b */
                const uint64_t lo = (uint64_t)(((rfhe_u128)b * m.q + bins - 1) / bins);
                const uint64_t hi = (uint64_t)(((rfhe_u128)(b + 1) * m.q + bins - 1) / bins);
                const double want = (double)made * (double)(hi - lo) / (double)m.q;
                chi += (bin[b] - want) * (bin[b] - want) / want;
            }
            assert_true(chi < 60.0); /* 15 degrees of freedom: chance below 10^-6 */
        }
    }
    free(bytes);
    free(x);
    free(u);
}

/* Transforms and automorphisms: bit for bit the portable result, every length, primes of every variant, extreme inputs. */
static void transforms_agree(void **state)
{
    static const uint32_t bits[] = {28, 32, 45, 46, 47, 48, 49, 50};

    (void)state;
    for (uint32_t log2_n = 4; log2_n <= 17; log2_n++) {
        const size_t n = (size_t)1 << log2_n;
        uint64_t *w = rfhe_alloc(6 * n, sizeof *w), *wp = w + n, *in = w + 2 * n, *x = w + 3 * n, *y = w + 4 * n,
                 *z = w + 5 * n;
        uint32_t *rev = malloc((n / 8) * sizeof *rev);
        assert_true(w != NULL && rev != NULL);
        for (uint32_t i = 0; i < n / 8; i++) { rev[i] = rfhe_reverse_bits(i, log2_n - 3); }
        for (size_t b = 0; b < sizeof bits / sizeof *bits; b++) {
            uint64_t found[4];
            rfhe_error err = {0};
            /* both sides of 2^bits */
            assert_int_equal(rfhe_primes_find(found, 4, bits[b], log2_n, NULL, 0, &err), RFHE_OK);
            for (int which = 0; which < (log2_n > 13 ? 2 : 4); which++) {
                rfhe_ntt_table t;
                const rfhe_modulus m = modulus(found[which]);
                assert_int_equal(rfhe_ntt_table_init(&t, w, wp, log2_n, &m, &err), RFHE_OK);
                for (int kind = 0; kind < 3; kind++) {
                    for (size_t i = 0; i < n; i++) {
                        in[i] = kind == 0 ? rfhe_rng_below(&rng, m.q) : kind == 1 ? 2 * m.q - 1 : residue(2 * m.q);
                    }
                    for (int isa = 1; isa <= (int)rfhe_cpu_best_isa(); isa++) {
                        const rfhe_kernels *k = rfhe_kernels_of((rfhe_isa)isa);
                        memcpy(x, in, n * sizeof *x);
                        memcpy(y, in, n * sizeof *y);
                        for (size_t i = 0; kind == 1 && i < n; i++) { x[i] = y[i] = 4 * m.q - 1; }
                        rfhe_ntt_forward_portable(x, &t);
                        k->ntt_forward(y, &t);
                        if (memcmp(x, y, n * sizeof *x) != 0) {
                            fail_msg("ntt_forward %s: log2_n=%u q=%" PRIu64 " kind %d", rfhe_isa_name((rfhe_isa)isa),
                                     log2_n, m.q, kind);
                        }
                        memcpy(x, in, n * sizeof *x);
                        memcpy(y, in, n * sizeof *y);
                        rfhe_ntt_inverse_portable(x, &t);
                        k->ntt_inverse(y, &t);
                        if (memcmp(x, y, n * sizeof *x) != 0) {
                            fail_msg("ntt_inverse %s: log2_n=%u q=%" PRIu64 " kind %d", rfhe_isa_name((rfhe_isa)isa),
                                     log2_n, m.q, kind);
                        }
                        for (uint32_t g = 1; b == 0 && kind == 0 && g < 64; g += 2) {
                            const uint32_t h = g < 32 ? g : (uint32_t)(rfhe_rng_below(&rng, 2 * n)) | 1;
                            rfhe_automorphism_ntt_portable(y, x, log2_n, h & (uint32_t)(2 * n - 1), rev);
                            k->automorphism_ntt(z, x, log2_n, h & (uint32_t)(2 * n - 1), rev);
                            assert_memory_equal(y, z, n * sizeof *y);
                            rfhe_automorphism_coef_portable(y, x, log2_n, h & (uint32_t)(2 * n - 1), &m);
                            k->automorphism_coef(z, x, log2_n, h & (uint32_t)(2 * n - 1), &m);
                            assert_memory_equal(y, z, n * sizeof *y);
                        }
                    }
                }
            }
        }
        rfhe_free(w);
        free(rev);
    }
}

/* Which bodies run for each RFHE_ISA: exactly those the lists name. */
static void dispatch_follows_the_lists(void **state)
{
    (void)state;
    for (int isa = 0; isa <= (int)rfhe_cpu_best_isa(); isa++) {
        rfhe_cpu_limit_isa((rfhe_isa)isa);
        const rfhe_kernels *k = rfhe_kernels_get();
        assert_ptr_equal(k, rfhe_kernels_of((rfhe_isa)isa));
        assert_int_equal(k->isa, isa);
        rfhe_kernels want = {0};
#define SET(name) want.name = rfhe_##name##_portable;
        RFHE_KERNEL_LIST_portable(SET)
#undef SET
#define SET(name) want.name = rfhe_##name##_avx2;
        if (isa >= RFHE_ISA_AVX2) { RFHE_KERNEL_LIST_avx2(SET) }
#undef SET
#define SET(name) want.name = rfhe_##name##_avx512ifma;
        if (isa >= RFHE_ISA_AVX512IFMA) { RFHE_KERNEL_LIST_avx512ifma(SET) }
#undef SET
#define EQUAL(name) assert_true(k->name == want.name);
        RFHE_KERNEL_LIST(EQUAL)
#undef EQUAL
    }
    rfhe_cpu_limit_isa(rfhe_cpu_best_isa());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointwise_agrees_with_wide_arithmetic),
        cmocka_unit_test(inner_products_agree_with_wide_arithmetic),
        cmocka_unit_test(inner_products_over_runs_agree_with_wide_arithmetic),
        cmocka_unit_test(conversion_agrees_with_wide_arithmetic),
        cmocka_unit_test(numbers_become_residues),
        cmocka_unit_test(samplers_agree_and_reject_alike),
        cmocka_unit_test(samplers_have_the_stated_distributions),
        cmocka_unit_test(transforms_agree),
        cmocka_unit_test(dispatch_follows_the_lists),
    };

    rng = rfhe_rng_seed(test_seed(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
