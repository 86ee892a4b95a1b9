/* Sums of products with sparse polynomials against plain arithmetic. */
#include "ckks_test.h"
#include "base/threads.h"

enum { LOG2_N = 12, N = 1 << LOG2_N, MOST = 40, MAX_IN = 9, MAX_OUT = 7 };

static world w;

static int make(void **state)
{
    (void)state;
    w = world_new(LOG2_N, 2, 40, NULL, 0);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    world_free(&w);
    return 0;
}

/* Kernels by a seed: the same for the same (o, j). Some are absent, output 3 has none at all. */
static size_t kernel(void *ctx, size_t o, size_t j, uint32_t *index, double *value)
{
    rfhe_rng rng = rfhe_rng_seed(*(uint64_t *)ctx, o * 100 + j);
    const size_t count = o == 3 || (o + j) % 4 == 3 ? 0 : 1 + (o * 13 + j * 7) % (MOST - 1);

    for (size_t i = 0; i < count; i++) {
        index[i] = (uint32_t)(rfhe_rng_uniform(&rng) * 2 * N);
        value[i] = 2 * rfhe_rng_uniform(&rng) - 1;
    }
    if (count > 2) { index[1] = index[0]; } /* twice the same */
    return count;
}

static void check(size_t n_out, size_t n_in, uint32_t level)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 91);
    uint64_t seed = test_seed();
    double *x = test_calloc(MAX_IN * N, sizeof *x), *want = test_calloc(N, sizeof *want), *got = test_calloc(N, sizeof *got);
    rfhe_ct *in[MAX_IN] = {NULL}, *out[MAX_OUT] = {NULL}, *same[MAX_OUT] = {NULL};
    const double scale = level == 0 ? 0x1p5 : 0x1p25; /* at level 0 there is hardly any room */

    for (size_t j = 0; j < n_in; j++) {
        rfhe_pt *pt = NULL;
        for (size_t i = 0; i < N; i++) { x[j * N + i] = 2 * rfhe_rng_uniform(&rng) - 1; }
        MUST(rfhe_encode_coeffs(&pt, w.c, x + j * N, N, level, 0, err));
        MUST(rfhe_ct_new(&in[j], w.c, level, err));
        MUST(rfhe_encrypt(in[j], pt, w.pk, err));
        rfhe_pt_free(pt);
    }
    for (size_t o = 0; o < n_out; o++) {
        MUST(rfhe_ct_new(&out[o], w.c, 0, err)); /* enlarged */
        MUST(rfhe_ct_new(&same[o], w.c, level, err));
    }
    rfhe_threads_set(2);
    rfhe_evaluator *team = NULL;
    MUST(rfhe_evaluator_new(&team, w.c, NULL, err));
    MUST(rfhe_ct_convolve(out, n_out, (const rfhe_ct *const *)in, n_in, kernel, &seed, MOST, scale, team, err));
    rfhe_evaluator_free(team);
    rfhe_threads_set(1);
    MUST(rfhe_evaluator_new(&team, w.c, NULL, err));
    MUST(rfhe_ct_convolve(same, n_out, (const rfhe_ct *const *)in, n_in, kernel, &seed, MOST, scale, team, err));
    rfhe_evaluator_free(team);
    rfhe_threads_set(2);
    for (size_t o = 0; o < n_out; o++) {
        uint32_t index[MOST];
        double value[MOST], sum = 0, size = 0;
        memset(want, 0, N * sizeof *want);
        for (size_t j = 0; j < n_in; j++) {
            const size_t count = kernel(&seed, o, j, index, value);
            for (size_t i = 0; i < count; i++) {
                for (size_t t = 0; t < N; t++) {
                    const size_t at = (index[i] + t) % (2 * N);
                    want[at % N] += (at < N ? 1 : -1) * value[i] * x[j * N + t];
                }
            }
        }
        rfhe_pt *pt = NULL;
        MUST(rfhe_decrypt(&pt, out[o], w.sk, err));
        MUST(rfhe_decode_coeffs(got, N, pt, err));
        rfhe_pt_free(pt);
        for (size_t i = 0; i < N; i++) {
            sum += pow(got[i] - want[i], 2);
            size += want[i] * want[i];
        }
        const double measured = sqrt(sum), estimate = rfhe_ct_error(out[o]); /* of a slot: sqrt(N) times a coefficient's */
        if (!(measured <= 2 * estimate) || measured < estimate / 4) {
            fail_msg("output %zu: measured 2^%.2f, estimate 2^%.2f", o, log2(measured), log2(estimate));
        }
        assert_true(sqrt(size) <= 1.5 * rfhe_ct_bound(out[o]));
        assert_int_equal(rfhe_ct_level(out[o]), level);
        assert_true(rfhe_ct_scale(out[o]) == rfhe_ct_scale(in[0]) * scale);
        for (uint32_t h = 0; h < 2; h++) {
            for (uint32_t i = 0; i <= level; i++) {
                assert_memory_equal(rfhe_ct_limb(out[o], h, i), rfhe_ct_limb(same[o], h, i), N * sizeof(uint64_t));
            }
        }
    }
    for (size_t j = 0; j < n_in; j++) { rfhe_ct_free(in[j]); }
    for (size_t o = 0; o < n_out; o++) { rfhe_ct_free(out[o]), rfhe_ct_free(same[o]); }
    test_free(x), test_free(want), test_free(got);
}

static void sums_of_products_are_convolutions(void **state)
{
    (void)state;
    check(7, 1, 1);
    check(5, 9, 1);
    check(1, 4, 0);
    check(4, 5, 2);
}

static size_t bad(void *ctx, size_t o, size_t j, uint32_t *index, double *value)
{
    const int kind = *(int *)ctx;

    (void)o, (void)j;
    index[0] = kind == 0 ? 2 * N : 5;
    value[0] = kind == 1 ? NAN : 1;
    return kind == 2 ? 3 : 1;
}

static void misuse_is_told(void **state)
{
    vec v = vec_new(w.slots);
    rfhe_ct *a = encrypt(&w, &v, 1), *b = encrypt(&w, &v, 2), *out[2] = {encrypt(&w, &v, 2), encrypt(&w, &v, 2)};
    const rfhe_ct *in[2] = {a, b};
    const double before = rfhe_ct_scale(out[0]);
    int kind = 0;
    uint64_t seed = test_seed();

    (void)state;
    REFUSED(RFHE_E_ARG, "one level", rfhe_ct_convolve(out, 2, in, 2, kernel, &seed, MOST, 1, w.ev, err));
    REFUSED(RFHE_E_ARG, "without inputs", rfhe_ct_convolve(out, 2, in, 0, kernel, &seed, MOST, 1, w.ev, err));
    REFUSED(RFHE_E_ARG, "also its input", rfhe_ct_convolve(&a, 1, in, 1, kernel, &seed, MOST, 1, w.ev, err));
    REFUSED(RFHE_E_ARG, "scale", rfhe_ct_convolve(out, 2, in, 1, kernel, &seed, MOST, -1, w.ev, err));
    for (kind = 0; kind < 3; kind++) {
        static const char *const word[] = {"below 2N", "finite", "more than 2"};
        REFUSED(RFHE_E_ARG, word[kind], rfhe_ct_convolve(out, 2, in, 1, bad, &kind, 2, 1, w.ev, err));
    }
    assert_true(rfhe_ct_level(out[0]) == 2 && rfhe_ct_scale(out[0]) == before); /* left as they were */
    MUST(rfhe_ct_convolve(out, 2, in, 1, kernel, &seed, MOST, 0, w.ev, err));
    MUST(rfhe_ct_rescale(out[1], out[1], w.ev, err));
    assert_true(fabs(rfhe_ct_scale(out[1]) / rfhe_ckks_scale(w.c, 0) - 1) < 1e-12);
    rfhe_ct_free(a), rfhe_ct_free(b), rfhe_ct_free(out[0]), rfhe_ct_free(out[1]);
    vec_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_products_are_convolutions),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
