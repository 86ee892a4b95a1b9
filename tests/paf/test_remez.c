/* The exchange algorithm: published tables regenerated, optimality checked by alternation, the best lists by depth,
 * hard intervals, mistakes. */
#include "test.h"

#include "base/mem.h"
#include "rfhe/paf.h"

#include <math.h>
#include <stdio.h>

/* First intervals of [LLN22]'s tables; alpha 4 and 5 are stated for arguments up to 2. */
static const struct {
    const char *name;
    uint32_t n, degrees[3];
    double epsilon, top, last_error;
} published[] = {
    {"alpha4", 1, {5}, 5.0 / 8, 2, 0.0992752512875},
    {"alpha5", 1, {13}, 5.0 / 16, 2, 0.0619058658406},
    {"alpha6", 2, {3, 7}, 5.0 / 32, 1, 0.0276679537721},
    {"alpha7", 2, {7, 7}, 11.0 / 128, 1, 0.0139910200551},
    {"alpha8", 2, {7, 15}, 3.0 / 64, 1, 0.00694455611869},
    {"alpha9", 2, {15, 15}, 13.0 / 512, 1, 0.00367388927844},
    {"alpha10", 3, {7, 7, 13}, 13.0 / 1024, 1, 0.00158772116078},
    {"alpha11", 3, {7, 7, 27}, 15.0 / 2048, 1, 0.00041733580683},
    {"alpha12", 3, {7, 15, 27}, 15.0 / 4096, 1, 0.00026122302212},
    {"alpha13", 3, {15, 15, 27}, 1.0 / 512, 1, 9.94111330797e-05},
    {"alpha14", 3, {15, 27, 29}, 17.0 / 16384, 1, 7.69987774166e-05},
};

static void published_composites_are_regenerated(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        rfhe_paf p, table;
        rfhe_paf_design d;
        rfhe_error err = {0};
        if (rfhe_paf_design_sign(&p, &d, published[i].degrees, published[i].n, published[i].epsilon,
                                 published[i].top, &err) != RFHE_OK) {
            fail_msg("%s: %s", published[i].name, err.text);
        }
        assert_int_equal(rfhe_paf_from_name(&table, published[i].name, &err), RFHE_OK);
        const double e = d.error[published[i].n - 1];
        if (!(fabs(e - published[i].last_error) < 2e-3 * published[i].last_error)) {
            fail_msg("%s: error %.12g, published %.12g", published[i].name, e,
                     published[i].last_error);
        }
        const bool exact = i >= 2 && i <= 6; /* alpha 6 to 10 */
        for (uint32_t k = 0; k < published[i].n && exact; k++) {
            for (uint32_t j = 0; j < p.n_terms[k]; j++) {
                const double c = table.coef[k][j];
                if (p.coef[k][j] != c) { /* to the last bit */
                    fail_msg("%s stage %u term %u: %.17g, published %.17g", published[i].name, k, j,
                             p.coef[k][j], c);
                }
            }
        }
        const double ours = rfhe_paf_measure(&p).max_relu,
                     theirs = rfhe_paf_measure(&table).max_relu;
        if (published[i].top == 1 && !(fabs(ours - theirs) < 2e-3 * theirs)) {
            fail_msg("%s: ReLU error %.9g, published %.9g", published[i].name, ours, theirs);
        }
    }
}

/* Chebyshev's criterion, checked on a dense grid with a method that knows nothing of the algorithm: the error must
 * reach its maximum with alternating sign at least n + 1 times, and nowhere exceed it. */
static void check_alternation(const rfhe_paf *stage, double lo, double hi, double error,
                              const char *what)
{
    enum { GRID = 40000 };
    unsigned alternations = 0;
    int last = 0;

    for (int i = 0; i <= GRID; i++) {
        const double s = i / (double)GRID,
                     u = lo > 0 ? lo * pow(hi / lo, s) : hi * pow(sin(1.5707963267948966 * s), 2);
        const double r = stage->kind == RFHE_PAF_SIGN ? 1 - rfhe_paf_sign(stage, u)
                                                      : u - rfhe_paf_value(stage, u);
        if (fabs(r) > error * (1 + 1e-6) + 1e-12) {
            fail_msg("%s: error %.12g at %.12g above %.12g", what, r, u, error);
        }
        if (fabs(r) > error * (1 - 1e-4) && (r > 0 ? 1 : -1) != last) {
            last = r > 0 ? 1 : -1;
            alternations++;
        }
    }
    const unsigned unknowns =
        stage->kind == RFHE_PAF_SIGN ? stage->n_terms[0] : stage->n_terms[0] - 1;
    if (alternations < unknowns + 1) {
        fail_msg("%s: %u alternations of %u", what, alternations, unknowns + 1);
    }
}

static void odd_designs_alternate_on_easy_and_hard_intervals(void **state)
{
    static const double epsilons[] = {1e-6, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.999};
    char what[64];

    (void)state;
    for (size_t i = 0; i < sizeof epsilons / sizeof *epsilons; i++) {
        for (uint32_t degree = 1; degree <= 23; degree += degree < 11 ? 2 : 6) {
            rfhe_paf p;
            rfhe_paf_design d;
            rfhe_error err = {0};
            (void)snprintf(what, sizeof what, "degree %u on [%g, 1]", degree, epsilons[i]);
            if (rfhe_paf_design_sign(&p, &d, &degree, 1, epsilons[i], 1, &err) != RFHE_OK) {
                fail_msg("%s: %s", what, err.text);
            }
            if (d.error[0] > 1e-8) { check_alternation(&p, epsilons[i], 1, d.error[0], what); }
        }
    }
}

static void even_designs_alternate_and_reach_known_errors(void **state)
{
    char what[64];
    double before = 1;

    (void)state;
    for (uint32_t degree = 2; degree <= 62; degree += 2) {
        rfhe_paf p;
        rfhe_paf_design d;
        rfhe_error err = {0};
        (void)snprintf(what, sizeof what, "even degree %u", degree);
        if (rfhe_paf_design_even(&p, &d, degree, &err) != RFHE_OK) {
            fail_msg("%s: %s", what, err.text);
        }
        check_alternation(&p, 0, 1, d.error[0], what);
        assert_true(d.error[0] < before);
        before = d.error[0];
        /* [Ber14]: n E_n(|x|) tends to 0.2801694990...; half of it for ReLU */
        if (degree >= 40) { assert_true(fabs(degree * 2 * d.error[0] - 0.28017) < 2e-3); }
        if (degree == 2) { assert_true(fabs(d.error[0] - 0.0625) < 1e-15); } /* u^2 + 1/8 */
        rfhe_paf table;
        static const char *const names[] = {"even2", "even4", "even8", "even14", "even30"};
        static const uint32_t degrees[] = {2, 4, 8, 14, 30};
        for (size_t i = 0; i < 5; i++) {
            if (degrees[i] != degree) { continue; }
            assert_int_equal(rfhe_paf_from_name(&table, names[i], &err), RFHE_OK);
            assert_memory_equal(&table, &p, sizeof p);
        }
    }
}

/* Best ReLU by degree list, with the epsilon chosen by the program. */
static void chosen_epsilon_balances_gap_and_error(void **state)
{
    static const struct {
        uint32_t n, degrees[3];
        double relu_error, epsilon;
    } best[] = {{1, {3}, 0.05727, 0.44626},     {1, {7}, 0.03114, 0.28025},
                {1, {15}, 0.01688, 0.16926},    {2, {3, 3}, 0.02922, 0.26668},
                {2, {3, 7}, 0.01491, 0.15249},  {2, {7, 7}, 0.007497, 0.08428},
                {2, {5, 5}, 0.01323, 0.13763},  {2, {3, 15}, 0.007709, 0.08627},
                {2, {7, 15}, 0.00378, 0.04593}, {3, {7, 3, 7}, 0.003352, 0.04134},
                {2, {3, 5}, 0.01969, 0.19272},  {1, {31}, 0.009129, 0.09994}};

    (void)state;
    for (size_t i = 0; i < sizeof best / sizeof *best; i++) {
        rfhe_paf p;
        rfhe_paf_design d;
        rfhe_error err = {0};
        if (rfhe_paf_design_sign(&p, &d, best[i].degrees, best[i].n, 0, 0, &err) != RFHE_OK) {
            fail_msg("%s", err.text);
        }
        const double e = rfhe_paf_measure(&p).max_relu;
        if (!(fabs(e - best[i].relu_error) < 2e-3 * best[i].relu_error) ||
            !(fabs(d.epsilon - best[i].epsilon) < 1e-4)) {
            fail_msg("list %zu: ReLU error %.6g (want %.6g), epsilon %.6g (want %.6g)", i, e,
                     best[i].relu_error, d.epsilon, best[i].epsilon);
        }
    }
}

static void mistakes_get_sentences_and_leave_no_memory(void **state)
{
    static const uint32_t even[] = {4}, ok[] = {3, 7}, many[] = {3, 3, 3, 3, 3, 3, 3};
    const size_t before = rfhe_mem_get_stats().current;
    rfhe_paf p = {.kind = RFHE_PAF_SIGN};
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_paf_design_sign(&p, NULL, even, 1, 0.1, 1, &err), RFHE_E_ARG);
    assert_string_equal(err.text, "degree 4 of stage 1 is not an odd number up to 63");
    err = (rfhe_error){0};
    assert_int_equal(rfhe_paf_design_sign(&p, NULL, ok, 2, 1.5, 1, &err), RFHE_E_ARG);
    assert_string_equal(err.text, "epsilon 1.5 does not lie between 0 and 1");
    assert_int_equal(rfhe_paf_design_sign(&p, NULL, ok, 2, NAN, 1, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_paf_design_sign(&p, NULL, many, 7, 0.1, 1, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_paf_design_sign(&p, NULL, ok, 0, 0.1, 1, NULL), RFHE_E_ARG);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_paf_design_even(&p, NULL, 7, &err), RFHE_E_ARG);
    assert_string_equal(err.text, "degree 7 is not an even number from 2 to 62");
    rfhe_mem_fail_at(1);
    assert_int_equal(rfhe_paf_design_sign(&p, NULL, ok, 2, 0.1, 1, NULL), RFHE_E_NOMEM);
    rfhe_mem_fail_at(1);
    assert_int_equal(rfhe_paf_design_even(&p, NULL, 8, NULL), RFHE_E_NOMEM);
    rfhe_mem_fail_at(0);
    assert_int_equal(p.n_stages, 0); /* untouched */
    assert_int_equal(rfhe_mem_get_stats().current, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_composites_are_regenerated),
        cmocka_unit_test(odd_designs_alternate_on_easy_and_hard_intervals),
        cmocka_unit_test(even_designs_alternate_and_reach_known_errors),
        cmocka_unit_test(chosen_epsilon_balances_gap_and_error),
        cmocka_unit_test(mistakes_get_sentences_and_leave_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
