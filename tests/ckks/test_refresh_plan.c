/* The mathematics of the refresh in the clear: DFT factors and the modular reduction. */
#include "test.h"

#include "ckks/dft.h"
#include "ckks/reduction.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_SLOTS = 256 };

/* z = V w by the definition. */
static void evaluate_at_roots(double *zr, double *zi, const double *wr, const double *wi, size_t n)
{
    uint64_t power = 1;

    for (size_t j = 0; j < n; j++) {
        zr[j] = zi[j] = 0;
        for (size_t k = 0; k < n; k++) {
            const double a = 2 * M_PI * (double)(k * power % (4 * n)) / (double)(4 * n);
            zr[j] += wr[k] * cos(a) - wi[k] * sin(a);
            zi[j] += wr[k] * sin(a) + wi[k] * cos(a);
        }
        power = power * 5 % (4 * n);
    }
}

static void apply_all(double *re, double *im, const rfhe_dft_factor *f, size_t n_factors)
{
    double yr[MAX_SLOTS], yi[MAX_SLOTS];

    for (size_t k = 0; k < n_factors; k++) {
        rfhe_dft_factor_apply(yr, yi, re, im, &f[k]);
        memcpy(re, yr, f[k].slots * sizeof *re);
        memcpy(im, yi, f[k].slots * sizeof *im);
    }
}

static void factors_multiply_to_the_embedding_and_its_inverse(void **state)
{
    static const uint8_t layers[][4] = {{1, 0, 0, 0}, {2, 1, 0, 0}, {1, 3, 1, 0}, {3, 3, 2, 0}, {2, 2, 2, 2}, {8, 0, 0, 0}};
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 11);

    (void)state;
    for (size_t c = 0; c < sizeof layers / sizeof layers[0]; c++) {
        rfhe_dft_factor to_coeffs[4], to_slots[4];
        double wr[MAX_SLOTS], wi[MAX_SLOTS], xr[MAX_SLOTS], xi[MAX_SLOTS], zr[MAX_SLOTS], zi[MAX_SLOTS];
        size_t n_factors = 0;
        unsigned log2_slots = 0;
        while (n_factors < 4 && layers[c][n_factors] != 0) { log2_slots += layers[c][n_factors++]; }
        const size_t n = (size_t)1 << log2_slots;
        assert_int_equal(rfhe_dft_factors_new(to_coeffs, layers[c], n_factors, log2_slots, false, 1), RFHE_OK);
        assert_int_equal(rfhe_dft_factors_new(to_slots, layers[c], n_factors, log2_slots, true, 1), RFHE_OK);
        for (size_t k = 0; k < n; k++) {
            const size_t r = rfhe_dft_reverse((uint32_t)k, log2_slots);
            wr[k] = rfhe_rng_normal(&rng);
            wi[k] = rfhe_rng_normal(&rng);
            xr[r] = wr[k];
            xi[r] = wi[k];
        }
        evaluate_at_roots(zr, zi, wr, wi, n);
        apply_all(xr, xi, to_coeffs, n_factors);
        for (size_t j = 0; j < n; j++) {
            assert_true(fabs(xr[j] - zr[j]) < 1e-11 && fabs(xi[j] - zi[j]) < 1e-11);
        }
        apply_all(xr, xi, to_slots, n_factors);
        for (size_t k = 0; k < n; k++) {
            const size_t r = rfhe_dft_reverse((uint32_t)k, log2_slots);
            assert_true(fabs(xr[r] - wr[k]) < 1e-11 && fabs(xi[r] - wi[k]) < 1e-11);
        }
        for (size_t f = 0; f < n_factors; f++) {
            const size_t full = (size_t)1 << layers[c][f];
            const bool has_longest = f == n_factors - 1; /* of the way to coefficients */
            assert_int_equal(to_coeffs[f].count, has_longest ? full : 2 * full - 1);
            assert_int_equal(to_slots[f].count, f == 0 ? full : 2 * full - 1);
            rfhe_dft_factor_clear(&to_coeffs[f]);
            rfhe_dft_factor_clear(&to_slots[f]);
        }
    }
}

static void layers_that_do_not_add_up_are_refused(void **state)
{
    const uint8_t layers[2] = {2, 2};
    rfhe_dft_factor f[2];

    (void)state;
    assert_int_equal(rfhe_dft_factors_new(f, layers, 2, 5, false, 1), RFHE_E_ARG);
    assert_int_equal(rfhe_dft_factors_new(f, layers, 0, 0, false, 1), RFHE_E_ARG);
}

static void reduction_reaches_its_error_and_failure_bound(void **state)
{
    rfhe_reduction r;
    rfhe_error err = {0};
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 12);

    (void)state;
    assert_int_equal(rfhe_reduction_design(&r, 32, 15, 3, 0x1p-28, &err), RFHE_OK);
    print_message("h=32 N=2^15: k=%u degree=%u levels=%u error 2^%.1f failure 2^%.1f\n", r.k, r.degree, r.levels,
                  log2(r.error), r.log2_failure);
    assert_true(r.k <= 16 && r.log2_failure <= -128 && r.levels <= 8);
    for (size_t i = 0; i < test_rounds(20000); i++) {
        const double u = (rfhe_rng_uniform(&rng) - 0.5) * 0x1p-9;
        const double whole = (double)rfhe_rng_below(&rng, 2 * r.k - 1) - (double)(r.k - 1);
        const double cubic = 4 * M_PI * M_PI / 6 * u * u * fabs(u) * 1.01;
        assert_true(fabs(rfhe_reduction_apply(&r, u + whole) - u) <= r.error + cubic);
    }
    assert_int_equal(rfhe_reduction_design(&r, 20000, 15, 0, 0x1p-26, &err), RFHE_E_UNSUPPORTED);
}

/* The bound must lie above the true tail: compared with a simulation where the simulation can see it. */
static void failure_bound_is_above_the_simulated_tail(void **state)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 13);
    enum { H = 32, ROUNDS = 200000 };
    size_t beyond = 0;

    (void)state;
    for (size_t i = 0; i < ROUNDS; i++) {
        double sum = 0;
        for (int t = 0; t <= H; t++) { sum += rfhe_rng_uniform(&rng) - 0.5; }
        beyond += fabs(sum) > 5;
    }
    const double bound = exp2(rfhe_reduction_log2_failure(5, H, 0));
    assert_true((double)beyond / ROUNDS < bound);
    assert_true(bound < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_multiply_to_the_embedding_and_its_inverse),
        cmocka_unit_test(layers_that_do_not_add_up_are_refused),
        cmocka_unit_test(reduction_reaches_its_error_and_failure_bound),
        cmocka_unit_test(failure_bound_is_above_the_simulated_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
