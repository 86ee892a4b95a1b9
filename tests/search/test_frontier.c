/* search/: frontiers against all assignments there are, rank correlation, targets, successive halving. */
#include "test.h"

#include "base/mem.h"
#include "search/search.h"

#include <math.h>
#include <stdlib.h>

/* --- Frontiers --- */

typedef struct pair {
    double seconds, error;
} pair;

static int by_seconds(const void *va, const void *vb)
{
    const pair *a = va, *b = vb;

    if (a->seconds != b->seconds) { return a->seconds < b->seconds ? -1 : 1; }
    return (a->error > b->error) - (a->error < b->error);
}

/* Every assignment; returns how many are on the frontier, in order of time. */
static size_t all_assignments(pair *out, const double *seconds, const double *error, size_t layers,
                              size_t forms)
{
    size_t total = 1, n = 0, kept = 0;

    for (size_t l = 0; l < layers; l++) { total *= forms; }
    for (size_t k = 0; k < total; k++) {
        pair p = {0, 0};
        size_t rest = k;
        for (size_t l = 0; l < layers; l++, rest /= forms) {
            p.seconds += seconds[l * forms + rest % forms];
            p.error += error[l * forms + rest % forms];
        }
        if (isfinite(p.seconds)) { out[n++] = p; }
    }
    qsort(out, n, sizeof *out, by_seconds);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || out[i].error < out[kept - 1].error) { out[kept++] = out[i]; }
    }
    return kept;
}

static void fill(rfhe_rng *r, double *seconds, double *error, size_t n, bool coarse)
{
    for (size_t i = 0; i < n; i++) {
        /* Few values make many ties. */
        seconds[i] = coarse ? (double)rfhe_rng_below(r, 5) : rfhe_rng_uniform(r);
        error[i] = coarse ? (double)rfhe_rng_below(r, 5) : 0.1 + 0.9 * rfhe_rng_uniform(r);
        if (rfhe_rng_below(r, 6) == 0) { seconds[i] = INFINITY; }
    }
}

static void frontiers_are_those_of_all_assignments(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 1);
    double seconds[36], error[36];
    pair *all = rfhe_alloc(6 * 6 * 6 * 6 * 6 * 6, sizeof *all);

    (void)state;
    assert_non_null(all);
    for (size_t round = 0; round < test_rounds(200); round++) {
        const size_t layers = 1 + rfhe_rng_below(&r, 5), forms = 1 + rfhe_rng_below(&r, 6);
        rfhe_frontier f = {0};
        rfhe_error err = {0};
        fill(&r, seconds, error, layers * forms, round % 2 == 0);
        const size_t n = all_assignments(all, seconds, error, layers, forms);
        assert_int_equal(
            rfhe_frontier_find(&f, seconds, error, layers, forms, 1000000, &err), RFHE_OK);
        assert_true(f.exact);
        assert_int_equal(f.n, n);
        for (size_t i = 0; i < n; i++) {
            double s = 0, e = 0;
            for (size_t l = 0; l < layers; l++) {
                s += seconds[l * forms + f.form[i * layers + l]];
                e += error[l * forms + f.form[i * layers + l]];
            }
            assert_true(f.seconds[i] == s && f.error[i] == e);
            assert_true(fabs(s - all[i].seconds) < 1e-12 && fabs(e - all[i].error) < 1e-12);
        }
        rfhe_frontier_clear(&f);
    }
    rfhe_free(all);
}

static void thinned_frontiers_stay_near_the_exact_one(void **state)
{
    enum { LAYERS = 12, FORMS = 8, MOST = 24 };
    rfhe_rng r = rfhe_rng_seed(test_seed(), 2);
    double seconds[LAYERS * FORMS], error[LAYERS * FORMS];
    size_t thinned = 0;

    (void)state;
    for (size_t round = 0; round < test_rounds(5); round++) {
        rfhe_frontier exact = {0}, thin = {0};
        fill(&r, seconds, error, LAYERS * FORMS, false);
        for (size_t l = 0; l < LAYERS; l++) { seconds[l * FORMS] = 0.5; }
        assert_int_equal(rfhe_frontier_find(&exact, seconds, error, LAYERS, FORMS, 1000000, NULL), RFHE_OK);
        assert_int_equal(rfhe_frontier_find(&thin, seconds, error, LAYERS, FORMS, MOST, NULL), RFHE_OK);
        assert_true(exact.exact && thin.n <= MOST + 1 && thin.n > 4);
        thinned += !thin.exact;
        /* Errors of one activation differ by 10 at most, so those of a partial sum do too. */
        const double factor = pow(10, (double)LAYERS / (MOST - 1));
        for (size_t i = 0; i < exact.n; i++) {
            bool near = false;
            for (size_t k = 0; k < thin.n && !near; k++) {
                near = thin.seconds[k] <= exact.seconds[i] * (1 + 1e-12) &&
                       thin.error[k] <= exact.error[i] * factor * (1 + 1e-12);
            }
            assert_true(near);
        }
        rfhe_frontier_clear(&exact);
        rfhe_frontier_clear(&thin);
    }
    assert_true(thinned > 0);
}

static void impossible_frontiers_are_empty_and_bad_ones_refused(void **state)
{
    const double some[] = {1, 2, INFINITY, INFINITY}, error[] = {1, 2, 3, 4}, bad[] = {1, -1, 1, 1};
    const double saving[] = {5, -1, 3, 1};
    const double nan_error[] = {1, NAN, 1, 1};
    rfhe_frontier f = {0};
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_frontier_find(&f, some, error, 2, 2, 0, &err), RFHE_OK);
    assert_int_equal(f.n, 0);
    rfhe_frontier_clear(&f);
    assert_int_equal(rfhe_frontier_find(&f, saving, error, 2, 2, 0, &err), RFHE_OK); /* time may be saved elsewhere */
    assert_int_equal(f.n, 3);
    assert_true(f.seconds[0] == 0 && f.seconds[2] == 8 && f.error[0] == 6 && f.error[2] == 4);
    rfhe_frontier_clear(&f);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_frontier_find(&f, error, bad, 2, 2, 0, &err), RFHE_E_ARG);
    assert_int_equal(rfhe_frontier_find(&f, error, nan_error, 2, 2, 0, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_frontier_find(&f, error, error, 0, 2, 0, NULL), RFHE_E_ARG);
    for (size_t n = 1; n < 12; n++) { /* every allocation fails once */
        rfhe_mem_fail_at(n);
        const rfhe_status st = rfhe_frontier_find(&f, error, error, 2, 2, 0, NULL);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) {
            rfhe_frontier_clear(&f);
        } else {
            assert_int_equal(st, RFHE_E_NOMEM);
            assert_null(f.form);
        }
    }
}

static void marks_are_on_what_nothing_beats(void **state)
{
    const double seconds[] = {1, 2, 2, 3, NAN, 1, 4}, good[] = {5, 5, 6, 6, 9, 5, 7};
    const bool want[] = {true, false, true, false, false, false, true};
    bool on[7];

    (void)state;
    rfhe_frontier_mark(on, seconds, good, 7);
    assert_memory_equal(on, want, sizeof on);
}

static void rank_correlation_is_spearmans(void **state)
{
    const double x[] = {1, 2, 3, 4, 5}, cubes[] = {1, 8, 27, 64, 125}, down[] = {5, 4, 3, 2, 1};
    /* Two ties: ranks 0.5 0.5 2 3.5 3.5 against 0 .. 4; by hand: 9 / sqrt(10 * 9). */
    const double ties[] = {7, 7, 8, 9, 9}, flat[] = {1, 1, 1, 1, 1};
    double rho = 0;

    (void)state;
    assert_int_equal(rfhe_rank_correlation(&rho, x, cubes, 5), RFHE_OK);
    assert_true(fabs(rho - 1) < 1e-12);
    assert_int_equal(rfhe_rank_correlation(&rho, x, down, 5), RFHE_OK);
    assert_true(fabs(rho + 1) < 1e-12);
    assert_int_equal(rfhe_rank_correlation(&rho, x, ties, 5), RFHE_OK);
    assert_true(fabs(rho - 9 / sqrt(90)) < 1e-12);
    assert_int_equal(rfhe_rank_correlation(&rho, x, flat, 5), RFHE_OK);
    assert_true(isnan(rho));
}

/* --- Targets --- */

static void targets_pick_and_name_the_nearest(void **state)
{
    const rfhe_trial t[] = {
        {.top1 = 0.80, .predicted_seconds = 2, .memory_bytes = 4e9},
        {.top1 = 0.90, .predicted_seconds = 5, .memory_bytes = 4e9},
        {.top1 = 0.915, .predicted_seconds = 9, .memory_bytes = 12e9},
    };
    const size_t at[] = {0, 1, 2};
    const rfhe_target drop = {.max_drop = 0.02}, fast = {.max_seconds = 6}, small = {.max_bytes = 5e9},
                      both = {.max_drop = 0.01, .max_seconds = 6}, none = {0},
                      strict = {.max_drop = 0.001, .max_seconds = 8.5};

    (void)state;
    assert_int_equal(rfhe_target_pick(&drop, t, at, 3, 0.92), 1);
    assert_int_equal(rfhe_target_pick(&fast, t, at, 3, 0.92), 1);
    assert_int_equal(rfhe_target_pick(&small, t, at, 3, 0.92), 1);
    assert_int_equal(rfhe_target_pick(&none, t, at, 3, 0.92), 2);
    assert_true(rfhe_target_pick(&both, t, at, 3, 0.92) == SIZE_MAX);
    assert_int_equal(rfhe_target_nearest(&both, t, at, 3, 0.92), 2); /* 1.5 times too slow, not 2 times too bad */
    assert_int_equal(rfhe_target_nearest(&strict, t, at, 3, 0.92), 2);
    assert_true(rfhe_target_nearest(&both, t, at, 0, 0.92) == SIZE_MAX);
}

/* --- Successive halving --- */

static void halving_gives_the_last_rung_half(void **state)
{
    (void)state;
    const rfhe_halving h = rfhe_halving_plan(64000, 8, 50, UINT64_MAX);
    const uint32_t candidates[] = {8, 5, 3};
    const uint64_t passes[] = {2000, 3200, 10650};
    assert_int_equal(h.rungs, 3);
    assert_memory_equal(h.candidates, candidates, sizeof candidates);
    assert_memory_equal(h.passes, passes, sizeof passes);
    const rfhe_halving most = rfhe_halving_plan(64000, 8, 50, 5000), few = rfhe_halving_plan(6400, 3, 50, UINT64_MAX);
    assert_int_equal(most.passes[2], 5000);
    assert_int_equal(few.rungs, 1);
    assert_int_equal(few.passes[0], 2100);
    for (uint64_t budget = 0; budget < 5000; budget += 37) {
        const rfhe_halving g = rfhe_halving_plan(budget, 7, 32, 1000);
        uint64_t sum = 0;
        for (uint32_t r = 0; r < g.rungs; r++) {
            assert_true(g.passes[r] >= 32 && g.passes[r] <= 1000 && g.passes[r] % 32 == 0);
            assert_true(r == 0 || (g.candidates[r] < g.candidates[r - 1] && g.candidates[r] >= 2));
            sum += g.candidates[r] * g.passes[r];
        }
        assert_true(sum <= budget);
        assert_true(g.rungs > 0 ? g.candidates[g.rungs - 1] <= 3 : budget < 32);
    }
}

static void halving_keeps_the_best_the_yardstick_and_what_adds_most(void **state)
{
    /* 0, 1, 2, 3 are a frontier, 1 adds little, 0 is out of the question; 4 and 6 are beaten, 6 is the better one; 5 failed. */
    const double seconds[] = {1, 2, 4, 8, 4, 2, 6}, top1[] = {0.5, 0.881, 0.89, 0.9, 0.871, NAN, 0.875};
    size_t order[7];

    (void)state;
    assert_int_equal(rfhe_halving_rank(order, seconds, top1, 7, SIZE_MAX), RFHE_OK);
    const size_t want[] = {3, 1, 2, 6, 4, 0, 5};
    assert_memory_equal(order, want, sizeof want);
    assert_int_equal(rfhe_halving_rank(order, seconds, top1, 7, 4), RFHE_OK);
    const size_t kept[] = {3, 4, 1, 2, 6, 0, 5};
    assert_memory_equal(order, kept, sizeof kept);
    assert_int_equal(rfhe_halving_rank(order, seconds, top1, 7, 6), RFHE_OK);
    const size_t rivals[] = {3, 6, 2, 1, 4, 0, 5};
    assert_memory_equal(order, rivals, sizeof rivals);
}

/* --- Mixed against uniform --- */

static void uniform_rivals_are_trained_as_long(void **state)
{
    (void)state;
    const rfhe_target target = {.max_drop = 0.02};
    rfhe_trial t[] = {
        {.recipe = "relu", .assignment = "relu", .status = "done", .top1 = 0.93, .predicted_seconds = NAN},
        {.recipe = "ct", .assignment = "even2,even2,even2", .status = "done", .top1 = 0.80, .predicted_seconds = 2},
        {.recipe = "ct", .assignment = "even2,even2,even20", .status = "done", .top1 = 0.92, .predicted_seconds = 2.5},
        {.recipe = "ct", .assignment = "even8,even8,even8", .status = "done", .top1 = 0.915, .predicted_seconds = 5},
        {.recipe = "ct", .assignment = "alpha7,alpha7,alpha7", .status = "done", .top1 = 0.925, .predicted_seconds = 9},
        {.recipe = "oneshot", .assignment = "even2,even2,even2", .status = "done", .top1 = 0.90, .predicted_seconds = 2, .rung = 2, .planned = 100},
        {.recipe = "oneshot", .assignment = "even8,even8,even8", .status = "done", .top1 = 0.91, .predicted_seconds = 5, .rung = 2, .planned = 100},
        {.recipe = "oneshot", .assignment = "even8,linear,even8", .status = "done", .top1 = 0.91, .predicted_seconds = 4, .rung = 2, .planned = 100},
        {.recipe = "oneshot", .assignment = "linear,linear,even8", .status = "done", .top1 = 0.92, .predicted_seconds = 3, .rung = 2, .planned = 50},
        {.recipe = "oneshot", .assignment = "alpha7,alpha7,alpha7", .status = "failed", .top1 = NAN, .predicted_seconds = 9, .rung = 2, .planned = 100},
    };
    assert_int_equal(rfhe_best_uniform(&target, t, 5, 0.93), 3); /* the fastest within the target */
    const rfhe_target none = {0}, strict = {.max_drop = 0.001};
    assert_int_equal(rfhe_best_uniform(&none, t, 5, 0.93), 4);
    assert_int_equal(rfhe_best_uniform(&strict, t, 5, 0.93), 4); /* none is: the most accurate */
    assert_int_equal(rfhe_best_uniform(&target, t, 10, 0.99), 5); /* drops from the best of its kind */
    assert_int_equal(rfhe_best_uniform(&none, t, 10, 0.93), 6);
    assert_int_equal(rfhe_best_uniform(&strict, t, 10, 0.93), 6);
    assert_int_equal(rfhe_fastest_as_good(t, 10, 6), 7);
    assert_int_equal(rfhe_fastest_as_good(t, 7, 6), 6);
    assert_true(rfhe_best_uniform(&target, t, 1, 0.93) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frontiers_are_those_of_all_assignments),
        cmocka_unit_test(thinned_frontiers_stay_near_the_exact_one),
        cmocka_unit_test(impossible_frontiers_are_empty_and_bad_ones_refused),
        cmocka_unit_test(marks_are_on_what_nothing_beats),
        cmocka_unit_test(rank_correlation_is_spearmans),
        cmocka_unit_test(targets_pick_and_name_the_nearest),
        cmocka_unit_test(halving_gives_the_last_rung_half),
        cmocka_unit_test(halving_keeps_the_best_the_yardstick_and_what_adds_most),
        cmocka_unit_test(uniform_rivals_are_trained_as_long),
    };

    return cmocka_run_group_tests_name("search/frontier", tests, NULL, NULL);
}
