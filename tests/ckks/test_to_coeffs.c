/* The way to coefficients with a number per slot: real, complex, sparse slots; sums of two halves; what is refused. */
#include "refresh_world.h"

static void check_masked(const rfhe_refresh_options *opt, const char *name)
{
    refresh_world w = refresh_world_new(10, opt, NULL);
    const size_t n = w.slots, half = w.n / 2;
    double *re = random_numbers(n, 41), *im = random_numbers(n, 42), *u = random_numbers(n, 43), *v = random_numbers(n, 44);
    double *want = test_calloc(w.n, sizeof *want), rms = 0;
    const uint32_t level = rfhe_refresh_get_info(w.r).to_coeffs_level;
    rfhe_to_coeffs *m = NULL;

    for (size_t j = 0; j < n; j += 3) { u[j] = v[j] = 0; } /* masked away */
    for (size_t j = 0; j < n; j++) {
        const uint32_t k = rfhe_slot_coefficient(w.log2_n, w.log2_slots, (uint32_t)j);
        const size_t gap = half / n;
        assert_true(k < half && k % gap == 0);
        assert_int_equal(rfhe_slot_coefficient(w.log2_n, w.log2_slots, (uint32_t)(k / gap)), j * gap);
        want[k] = u[j] * re[j] - v[j] * im[j];
        want[k + half] = u[j] * im[j] + v[j] * re[j];
    }
    rfhe_ct *a = refresh_encrypt(&w, re, im, level), *b = NULL;
    MUST(rfhe_ct_new(&b, w.c, level, err));
    rfhe_ct_set_bound(a, 1); /* the estimate is of typical slots */
    MUST(rfhe_to_coeffs_new(&m, w.r, u, v, err));
    /* Whole diagonals: a word per coefficient and limb, at most a diagonal per slot. */
    assert_true(rfhe_to_coeffs_bytes(m) > 0 && rfhe_to_coeffs_bytes(m) <= (w.n / 2) * w.n * 8 * (level + 1 + RFHE_CKKS_MAX_SPECIAL));
    MUST(rfhe_ct_to_coeffs_by(b, a, m, w.ev, err));
    assert_int_equal(rfhe_ct_level(b), rfhe_refresh_get_info(w.r).to_coeffs_out_level);
    assert_true(fabs(rfhe_ct_scale(b) / rfhe_ckks_scale(w.c, 0) - 1) < 0x1p-40);
    double *got = refresh_decrypt_coeffs(&w, b);
    const double worst = distance(got, want, w.n, &rms);
    check_coeff_error(&w, b, rms, 16, name);
    assert_true(worst < 0x1p-14);
    /* In place, the same bits. */
    MUST(rfhe_ct_to_coeffs_by(a, a, m, w.ev, err));
    assert_memory_equal(rfhe_ct_limb(a, 1, 0), rfhe_ct_limb(b, 1, 0), w.n * sizeof(uint64_t));
    rfhe_ct_free(a);
    rfhe_ct_free(b);
    rfhe_to_coeffs_free(m);
    test_free(re), test_free(im), test_free(u), test_free(v), test_free(want), test_free(got);
    refresh_world_free(&w);
}

static void every_slot_gets_its_number(void **state)
{
    (void)state;
    check_masked(&(rfhe_refresh_options){.to_coeffs_level = 3}, "two factors");
    check_masked(&(rfhe_refresh_options){.log2_slots = 6, .to_coeffs_level = 3}, "sparse");
    check_masked(&(rfhe_refresh_options){.to_coeffs_level = 4, .to_coeffs_factors = 3}, "three factors");
    check_masked(&(rfhe_refresh_options){.to_coeffs_level = 2, .to_coeffs_factors = 1}, "one factor");
}

/* Two halves with numbers of their own; with equal numbers the join gives the same. */
static void check_halves(uint32_t log2_slots)
{
    refresh_world w = refresh_world_new(
        10, &(rfhe_refresh_options){.log2_slots = log2_slots, .to_coeffs_level = 3, .complex_slots = true}, NULL);
    const size_t n = w.slots, half = w.n / 2;
    double *x = random_numbers(n, 51), *y = random_numbers(n, 52), *u = random_numbers(n, 53), *v = random_numbers(n, 54);
    double *want = test_calloc(w.n, sizeof *want), rms = 0;
    rfhe_ct *a = refresh_encrypt(&w, x, NULL, 3), *b = refresh_encrypt(&w, y, NULL, 3);
    rfhe_to_coeffs *mu = NULL, *mv = NULL;

    for (size_t j = 0; j < n; j++) {
        const uint32_t k = rfhe_slot_coefficient(w.log2_n, w.log2_slots, (uint32_t)j);
        want[k] = u[j] * x[j];
        want[k + half] = v[j] * y[j];
    }
    MUST(rfhe_to_coeffs_new(&mu, w.r, u, NULL, err));
    MUST(rfhe_to_coeffs_new(&mv, w.r, NULL, v, err));
    rfhe_ct *both = NULL, *joined = NULL;
    MUST(rfhe_ct_new(&both, w.c, 3, err));
    MUST(rfhe_ct_new(&joined, w.c, 3, err));
    MUST(rfhe_ct_to_coeffs_sum(both, (const rfhe_ct *[]){a, b}, (const rfhe_to_coeffs *[]){mu, mv}, 2, w.ev, err));
    double *got = refresh_decrypt_coeffs(&w, both);
    assert_true(distance(got, want, w.n, &rms) < 0x1p-14);
    check_coeff_error(&w, both, rms, 16, "two halves");
    test_free(got);
    for (size_t j = 0; j < n; j++) { want[half + rfhe_slot_coefficient(w.log2_n, w.log2_slots, (uint32_t)j)] = u[j] * y[j]; }
    MUST(rfhe_ct_to_coeffs_halves(joined, a, b, w.r, mu, w.ev, err));
    got = refresh_decrypt_coeffs(&w, joined);
    assert_true(distance(got, want, w.n, &rms) < 0x1p-14);
    /* out may be an operand */
    MUST(rfhe_ct_to_coeffs_sum(b, (const rfhe_ct *[]){a, b}, (const rfhe_to_coeffs *[]){mu, mv}, 2, w.ev, err));
    assert_memory_equal(rfhe_ct_limb(b, 0, 0), rfhe_ct_limb(both, 0, 0), w.n * sizeof(uint64_t));
    rfhe_ct_free(a), rfhe_ct_free(b), rfhe_ct_free(both), rfhe_ct_free(joined);
    rfhe_to_coeffs_free(mu), rfhe_to_coeffs_free(mv);
    test_free(x), test_free(y), test_free(u), test_free(v), test_free(want), test_free(got);
    refresh_world_free(&w);
}

static void halves_have_numbers_of_their_own(void **state)
{
    (void)state;
    check_halves(0);
    check_halves(6);
}

static void misuse_is_told(void **state)
{
    refresh_world w = refresh_world_new(10, &(rfhe_refresh_options){.to_coeffs_level = 3}, NULL);
    rfhe_refresh *other = NULL;
    double *u = random_numbers(w.slots, 61);
    rfhe_ct *a = refresh_encrypt(&w, u, NULL, 2), *b = refresh_encrypt(&w, u, NULL, 3);
    rfhe_to_coeffs *m = NULL, *k = NULL;

    (void)state;
    MUST(rfhe_refresh_new(&other, w.c, &(rfhe_refresh_options){.to_coeffs_level = 3}, err));
    MUST(rfhe_to_coeffs_new(&m, w.r, u, NULL, err));
    MUST(rfhe_to_coeffs_new(&k, other, u, NULL, err));
    REFUSED(RFHE_E_DEPTH, "level 3", rfhe_ct_to_coeffs_by(b, a, m, w.ev, err));
    REFUSED(RFHE_E_ARG, "one refresh",
            rfhe_ct_to_coeffs_sum(b, (const rfhe_ct *[]){b, b}, (const rfhe_to_coeffs *[]){m, k}, 2, w.ev, err));
    REFUSED(RFHE_E_ARG, "operand", rfhe_ct_to_coeffs_sum(b, NULL, NULL, 0, w.ev, err));
    rfhe_to_coeffs_free(k);
    k = NULL;
    u[5] = NAN;
    REFUSED(RFHE_E_ARG, "finite", rfhe_to_coeffs_new(&k, w.r, u, NULL, err));
    u[5] = 0;
    for (size_t i = 1; i < 60; i++) { /* every allocation that fails is told, nothing leaks */
        rfhe_error err = {0};
        rfhe_mem_fail_at(i);
        const rfhe_status st = rfhe_to_coeffs_new(&k, w.r, u, NULL, &err);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_NOMEM);
        assert_null(k);
    }
    rfhe_to_coeffs_free(m), rfhe_to_coeffs_free(k);
    rfhe_refresh_free(other);
    rfhe_ct_free(a), rfhe_ct_free(b);
    test_free(u);
    refresh_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_slot_gets_its_number),
        cmocka_unit_test(halves_have_numbers_of_their_own),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
