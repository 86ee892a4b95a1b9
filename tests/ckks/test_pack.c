/* Packing trees with absent operands and with teams; packing of constants into a reply that tells nothing else. */
#include "ckks_test.h"
#include "base/threads.h"

enum { LOG2_N = 12, N = 1 << LOG2_N, TOP = 2 };

static world w;

/* A ring large enough for teams (RFHE_PARALLEL_FROM), with the keys of all packings. */
static int make(void **state)
{
    const rfhe_ckks_options o = {.log2_n = LOG2_N, .chain_length = 3, .chain = {42, 32, 32}, .chain_scale = {32, 32, 32},
                                 .special_count = 2, .special_bits = 50, .insecure_test = true};
    const uint64_t seed = test_seed();
    rfhe_key_list list = {0};

    (void)state;
    MUST(rfhe_ckks_new(&w.c, &o, err));
    MUST(rfhe_secret_key_new(&w.sk, w.c, &seed, err));
    MUST(rfhe_pack_scalars_keys(w.c, TOP, &list, err));
    assert_int_equal(list.count, LOG2_N);
    MUST(rfhe_eval_keys_new(&w.keys, w.sk, list.items, list.count, err));
    rfhe_threads_set(2);
    MUST(rfhe_evaluator_new(&w.ev, w.c, w.keys, err));
    rfhe_key_list_clear(&list);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    world_free(&w);
    return 0;
}

/* Random coefficients at multiples of gap: all of them matter or are garbage. */
static rfhe_ct *random_coeffs(double *x, size_t gap, uint32_t level, double scale, rfhe_rng *rng)
{
    rfhe_pt *pt = NULL;
    rfhe_ct *ct = NULL;

    for (size_t i = 0; i < N; i += gap) { x[i] = 2 * rfhe_rng_uniform(rng) - 1; }
    MUST(rfhe_encode_coeffs(&pt, w.c, x, N, level, scale, err));
    MUST(rfhe_ct_new(&ct, w.c, level, err));
    MUST(rfhe_encrypt_secret(ct, pt, w.sk, err));
    rfhe_pt_free(pt);
    return ct;
}

/* Root mean square of got - want over all coefficients; *worst the largest. */
static double compare(const rfhe_ct *ct, const double *want, double *worst)
{
    double *got = test_calloc(N, sizeof *got), sum = 0;
    rfhe_pt *pt = NULL;

    MUST(rfhe_decrypt(&pt, ct, w.sk, err));
    MUST(rfhe_decode_coeffs(got, N, pt, err));
    rfhe_pt_free(pt);
    *worst = 0;
    for (size_t i = 0; i < N; i++) {
        *worst = fmax(*worst, fabs(got[i] - want[i]));
        sum += (got[i] - want[i]) * (got[i] - want[i]);
    }
    test_free(got);
    return sqrt(sum / N);
}

/* `count` places, of which those with a bit in `present` are there, in polynomials in X^gap. */
static void check_pack(size_t count, size_t gap, uint64_t present, uint32_t level)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 81);
    double *x = test_calloc(N, sizeof *x), *want = test_calloc(N, sizeof *want), worst = 0;
    rfhe_ct *ct[64] = {NULL}, *same[64] = {NULL};

    for (size_t o = 0; o < count; o++) {
        if ((present >> o & 1) == 0) { continue; }
        ct[o] = random_coeffs(x, gap, level, 0x1p32, &rng);
        MUST(rfhe_ct_new(&same[o], w.c, level, err));
        MUST(rfhe_ct_copy(same[o], ct[o], err));
        for (size_t i = 0; i < N; i += count * gap) { want[i + o * gap] = x[i]; }
    }
    MUST(rfhe_ct_pack(ct, count, gap, w.ev, err));
    const double rms = compare(ct[0], want, &worst), estimate = rfhe_ct_error(ct[0]);
    if (rms * sqrt(N) > 2 * estimate || rms * sqrt(N) < estimate / 2) {
        fail_msg("packing of %zu: measured 2^%.2f, estimate 2^%.2f", count, log2(rms * sqrt(N)), log2(estimate));
    }
    assert_true(worst < 0x1p-17);
    assert_true(fabs(rfhe_ct_scale(ct[0]) - 0x1p32 * (double)count) < 1);
    /* A team of one: the same bits. */
    rfhe_evaluator *alone = NULL;
    rfhe_threads_set(1);
    MUST(rfhe_evaluator_new(&alone, w.c, w.keys, err));
    MUST(rfhe_ct_pack(same, count, gap, alone, err));
    rfhe_evaluator_free(alone);
    rfhe_threads_set(2);
    for (uint32_t h = 0; h < 2; h++) {
        for (uint32_t i = 0; i <= level; i++) {
            assert_memory_equal(rfhe_ct_limb(ct[0], h, i), rfhe_ct_limb(same[0], h, i), N * sizeof(uint64_t));
        }
    }
    for (size_t o = 0; o < count; o++) { rfhe_ct_free(ct[o]), rfhe_ct_free(same[o]); }
    test_free(x), test_free(want);
}

static void absent_operands_are_zeros(void **state)
{
    (void)state;
    check_pack(16, 1, 0xffff, 1);
    check_pack(16, 1, 0x3ff, 1);  /* ten channels in a block of 16 */
    check_pack(16, 1, 0x5757, 2); /* the same number at reversed places */
    check_pack(8, 1, 0x81, 1);
    check_pack(4, 1, 1, 1);
    check_pack(2, 1, 3, 0);
    check_pack(1, 1, 1, 1);
}

/* The garbage at multiples of the gap goes, and the result lies at multiples of the gap only. */
static void sparse_packings_stay_sparse(void **state)
{
    (void)state;
    check_pack(16, 2, 0x3ff, 1);
    check_pack(16, 8, 0xffff, 1);
    check_pack(4, 64, 0xd, 1);
    check_pack(16, N / 16, 0x8fff, 1); /* nothing but one number of each */
    check_pack(1, 4, 1, 1);
}

static void check_scalars(size_t count, uint64_t absent, uint32_t level, double scale, double most)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 82);
    double *x = test_calloc(N, sizeof *x), *want = test_calloc(N, sizeof *want), worst = 0;
    rfhe_ct *ct[128] = {NULL};
    size_t whole = 1;

    while (whole < count) { whole *= 2; }
    for (size_t k = 0; k < count; k++) {
        if (k < 64 && (absent >> k & 1) != 0) { continue; }
        ct[k] = random_coeffs(x, 1, level, scale, &rng);
        want[k * (N / whole)] = x[0];
    }
    MUST(rfhe_ct_pack_scalars(ct, count, 1, w.ev, err));
    const double rms = compare(ct[0], want, &worst), estimate = rfhe_ct_error(ct[0]) / sqrt(N);
    print_message("%3zu constants at level %u, scale 2^%.0f: rest and errors 2^%.1f mean, 2^%.1f worst, estimate 2^%.1f\n",
                  count, level, log2(scale), log2(rms), log2(worst), log2(estimate));
    if (rms > 2 * estimate || rms < estimate / 2) { fail_msg("measured 2^%.2f, estimate 2^%.2f", log2(rms), log2(estimate)); }
    assert_true(worst < most); /* everywhere: the garbage is gone */
    for (size_t k = 0; k < count; k++) { rfhe_ct_free(ct[k]); }
    test_free(x), test_free(want);
}

static void constants_are_packed_and_nothing_else_is_left(void **state)
{
    (void)state;
    check_scalars(1, 0, 1, 0x1p32, 0x1p-20);
    check_scalars(2, 0, 1, 0x1p32, 0x1p-20);
    check_scalars(10, 0, 1, 0x1p32, 0x1p-20);
    check_scalars(10, 0, 1, 0x1p64, 0x1p-30); /* before rescaling: most of the factor N is divided out */
    check_scalars(100, 0x0f0f0f0f0f0f0f0e, 2, 0x1p32, 0x1p-20);
    check_scalars(10, 0, 0, 0x1p32, 0x1p-14); /* no room: bits are lost */
}

static void misuse_is_told(void **state)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 83);
    double *x = test_calloc(N, sizeof *x);
    rfhe_ct *ct[4] = {random_coeffs(x, 1, 1, 0x1p32, &rng), random_coeffs(x, 1, 0, 0x1p32, &rng), NULL, NULL};
    rfhe_ct *none[2] = {NULL, ct[0]};

    (void)state;
    REFUSED(RFHE_E_ARG, "one level", rfhe_ct_pack(ct, 2, 1, w.ev, err));
    REFUSED(RFHE_E_ARG, "absent", rfhe_ct_pack(none, 2, 1, w.ev, err));
    REFUSED(RFHE_E_ARG, "powers of two", rfhe_ct_pack(ct, 3, 1, w.ev, err));
    REFUSED(RFHE_E_ARG, "powers of two", rfhe_ct_pack(ct, 2, 3, w.ev, err));
    REFUSED(RFHE_E_ARG, "at most", rfhe_ct_pack(ct, 2, N, w.ev, err));
    REFUSED(RFHE_E_ARG, "constants", rfhe_ct_pack_scalars(ct, 0, 1, w.ev, err));
    REFUSED(RFHE_E_ARG, "bound", rfhe_ct_pack_scalars(ct, 1, 0, w.ev, err));
    REFUSED(RFHE_E_ARG, "fit", rfhe_ct_pack_scalars(ct, 1, 0x1p45, w.ev, err));
    rfhe_evaluator *bare = NULL;
    MUST(rfhe_evaluator_new(&bare, w.c, NULL, err));
    REFUSED(RFHE_E_ARG, "key", rfhe_ct_pack_scalars(ct, 1, 1, bare, err));
    rfhe_evaluator_free(bare);
    rfhe_ct *three[4] = {ct[0], NULL, random_coeffs(x, 1, 1, 0x1p32, &rng), random_coeffs(x, 1, 1, 0x1p32, &rng)};
    MUST(rfhe_evaluator_new(&bare, w.c, w.keys, err));
    for (size_t i = 1; i < 60; i++) { /* every allocation that fails is told, nothing leaks */
        rfhe_error err = {0};
        rfhe_mem_fail_at(i);
        const rfhe_status st = rfhe_ct_pack(three, 4, 1, bare, &err);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_NOMEM);
    }
    rfhe_evaluator_free(bare);
    rfhe_ct_free(ct[0]), rfhe_ct_free(ct[1]), rfhe_ct_free(three[2]), rfhe_ct_free(three[3]);
    test_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_operands_are_zeros),
        cmocka_unit_test(sparse_packings_stay_sparse),
        cmocka_unit_test(constants_are_packed_and_nothing_else_is_left),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
