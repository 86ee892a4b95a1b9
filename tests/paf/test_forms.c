/* The catalogue against published coefficients and independently computed errors (forms_reference.txt), the scalar
 * reference against its own derivatives, schedules against direct evaluation, error sentences. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "rfhe/paf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static rfhe_paf form(const char *name)
{
    rfhe_paf p;
    rfhe_error err = {0};

    if (rfhe_paf_from_name(&p, name, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    return p;
}

/* Reads tests/paf/forms_reference.txt line by line. */
static void each_reference(void (*f)(char *line))
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_error err = {0};

    assert_int_equal(rfhe_file_read(&data, &size, RFHE_SOURCE_DIR "/tests/paf/forms_reference.txt",
                                    1 << 20, &err),
                     0);
    for (char *line = (char *)data, *end = NULL; (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        *end = '\0';
        if (line[0] != '#') { f(line); }
    }
    rfhe_free(data);
}

static unsigned seen_stages, seen_errors;

static void check_reference(char *line)
{
    char kind[16], name[32];
    int at = 0;

    assert_int_equal(sscanf(line, "%15s %31s%n", kind, name, &at), 2);
    const rfhe_paf p = form(name);
    char *rest = line + at;
    if (strcmp(kind, "stage") == 0) {
        const unsigned long k = strtoul(rest, &rest, 10);
        /* alpha 4 and 5 are published for arguments up to 2: p(2u) has coefficient c 2^(2j+1), exactly */
        const bool doubled = strcmp(name, "alpha4") == 0 || strcmp(name, "alpha5") == 0;
        assert_true(k < p.n_stages);
        for (uint32_t j = 0; j < p.n_terms[k]; j++) {
            const double c = strtod(rest, &rest);
            assert_true(p.coef[k][j] == (doubled ? ldexp(c, (int)(2 * j + 1)) : c));
        }
        while (*rest == ' ') { rest++; }
        assert_int_equal(*rest, 0);
        seen_stages++;
    } else if (strcmp(kind, "error") == 0) {
        const rfhe_paf_error e = rfhe_paf_measure(&p);
        const double max = strtod(rest, &rest), rms = strtod(rest, &rest),
                     slope = strtod(rest, &rest);
        if (!(fabs(e.max_relu - max) < 2e-5 * max) || !(fabs(e.rms_relu - rms) < 2e-3 * rms) ||
            !(fabs(e.slope0 - slope) < 1e-5 * slope)) {
            fail_msg("%s: max %.9g want %.9g, rms %.9g want %.9g, slope %.9g want %.9g", name,
                     e.max_relu, max, e.rms_relu, rms, e.slope0, slope);
        }
        seen_errors++;
    }
}

static void catalogue_matches_published_tables(void **state)
{
    (void)state;
    each_reference(check_reference);
    assert_int_equal(seen_stages, 2 + 2 + 2 + 4 + 25);
    assert_int_equal(seen_errors, 4 + 11);
}

/* f_n and g_n by their definitions rather than by their tables. */
static void base_polynomials_have_their_defining_properties(void **state)
{
    const rfhe_paf p = form("f2g3");
    double lowest = 2, highest = -2;

    (void)state;
    const double *f = p.coef[1];
    assert_true(fabs(f[0] + f[1] + f[2] - 1) < 1e-15);     /* f2(1) = 1          */
    assert_true(fabs(f[0] + 3 * f[1] + 5 * f[2]) < 1e-14); /* f2'(1) = 0         */
    assert_true(fabs(6 * f[1] + 20 * f[2]) < 1e-14);       /* f2''(1) = 0        */
    rfhe_paf g3 = p;
    g3.n_stages = 1;
    for (double u = 0.1912; u <= 1; u += 1e-4) { /* [CKK20]: g3 maps [0.1912, 1] into [0.747, 1] */
        lowest = fmin(lowest, rfhe_paf_sign(&g3, u));
        highest = fmax(highest, rfhe_paf_sign(&g3, u));
    }
    assert_true(lowest > 0.745 && lowest < 0.75 && highest < 1.0005 && highest > 0.99);
}

static void value_has_the_right_derivatives(void **state)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 1);

    (void)state;
    for (size_t i = 0; rfhe_paf_form_at(i) != NULL; i++) {
        const rfhe_paf p = form(rfhe_paf_form_at(i)->name);
        const size_t n = rfhe_paf_coef_count(&p);
        if (rfhe_paf_measure(&p).slope0 > 200) {
            continue;
        } /* differences of alpha11 and beyond are all rounding */
        double dc[RFHE_PAF_MAX_COEFS], flat[RFHE_PAF_MAX_COEFS], slope = 0;
        for (size_t round = 0; round < test_rounds(10); round++) {
            const double u = 2 * rfhe_rng_uniform(&rng) - 1, h = 1e-6;
            const double f = rfhe_paf_value_grad(&p, u, &slope, dc);
            assert_true(fabs(f - rfhe_paf_value(&p, u)) < 1e-6);
            const double s =
                (rfhe_paf_value(&p, u + h * 1e-2) - rfhe_paf_value(&p, u - h * 1e-2)) / (2e-2 * h);
            assert_true(fabs(s - slope) < 2e-3 * (1 + fabs(s)));
            rfhe_paf_coef_get(&p, flat);
            for (size_t j = 0; j < n; j++) {
                rfhe_paf q = p;
                const double keep = flat[j], step = h * fmax(1, fabs(keep)) * 1e-1;
                flat[j] = keep + step;
                rfhe_paf_coef_set(&q, flat);
                const double up = rfhe_paf_value(&q, u);
                flat[j] = keep - step;
                rfhe_paf_coef_set(&q, flat);
                const double numeric = (up - rfhe_paf_value(&q, u)) / (2 * step);
                flat[j] = keep;
                if (!(fabs(numeric - dc[j]) < 1e-3 * (1 + fabs(dc[j])))) {
                    fail_msg("%s u %.17g coefficient %zu: %.9g numeric %.9g",
                             rfhe_paf_form_at(i)->name, u, j, dc[j], numeric);
                }
            }
        }
    }
}

static void max_is_symmetric_and_has_its_derivatives(void **state)
{
    const rfhe_paf p = form("alpha7");
    double da = 0, db = 0, a = 0.7, b = -0.4;
    const double h = 1e-6, m = rfhe_paf_max(&p, a, b, 3, &da, &db);

    (void)state;
    assert_true(fabs(m - a) < 3 * 0.0076);
    assert_true(fabs(m - rfhe_paf_max(&p, b, a, 3, NULL, NULL)) < 1e-12);
    assert_true(fabs((rfhe_paf_max(&p, a + h, b, 3, NULL, NULL) -
                      rfhe_paf_max(&p, a - h, b, 3, NULL, NULL)) /
                         (2 * h) -
                     da) < 1e-6);
    assert_true(fabs((rfhe_paf_max(&p, a, b + h, 3, NULL, NULL) -
                      rfhe_paf_max(&p, a, b - h, 3, NULL, NULL)) /
                         (2 * h) -
                     db) < 1e-6);
}

/* f(u) in long double, the power sums included: what a schedule is compared with. *size: how large the terms of any
 * stage become, which is what rounding is relative to. */
static long double exact_value(const rfhe_paf *p, long double u, long double *size)
{
    *size = 1;
    if (p->kind == RFHE_PAF_SIGN) {
        long double y = u;
        for (uint32_t k = 0; k < p->n_stages; k++) {
            long double v = 0, all = 0;
            for (uint32_t j = p->n_terms[k]; j-- > 0;) {
                v = v * y * y + p->coef[k][j];
                all = all * y * y + fabsl((long double)p->coef[k][j]);
            }
            *size = fmaxl(*size, fabsl(all * y));
            y *= v;
        }
        return (u + u * y) / 2;
    }
    const bool even = p->kind == RFHE_PAF_EVEN;
    const uint32_t n = p->n_terms[0] - (even ? 1 : 0);
    const long double w = even ? 2 * u * u - 1 : u;
    long double t0 = 1, t1 = w, v = even ? p->coef[0][n] * u : 0;
    for (uint32_t k = 0; k < n; k++) {
        const long double t2 = 2 * w * t1 - t0;
        v += p->coef[0][k] * t0;
        t0 = t1, t1 = t2;
    }
    return v;
}

static void check_schedule(const rfhe_paf *p, const char *what, bool strict)
{
    rfhe_paf_schedule s, max;
    rfhe_error err = {0};
    double worst = 0;

    assert_int_equal(rfhe_paf_schedule_relu(&s, p, &err), RFHE_OK);
    assert_int_equal(rfhe_paf_schedule_max(&max, p, &err), RFHE_OK);
    for (int i = -500; i <= 500; i++) {
        long double size = 1;
        const double u = i / 500.0, want = (double)exact_value(p, u, &size);
        const double e = fabs(rfhe_paf_schedule_run(&s, u) - want),
                     e2 = fabs(rfhe_paf_schedule_run(&max, u) + u / 2 - want);
        worst = fmax(worst, fmax(e, e2) / (strict ? 1 : (double)fmaxl(size, 1)));
    }
    if (!(worst < 1e-12)) { fail_msg("%s: the schedule is off by %.3g", what, worst); }
    /* Levels, counts and flags said must be those of the steps. */
    bool three[RFHE_PAF_MAX_STEPS] = {false};
    unsigned mul = 0, plain = 0, relin = 0;
    for (uint32_t i = 1; i < s.n_steps; i++) {
        const rfhe_paf_step *t = &s.step[i];
        const unsigned a = s.step[t->a].level, b = s.step[t->b].level, top = a > b ? a : b;
        assert_true(t->a < i && t->b < i);
        assert_int_equal(t->level, t->op == RFHE_PAF_OP_MUL     ? top + 1
                                   : t->op == RFHE_PAF_OP_ADD   ? top
                                   : t->op == RFHE_PAF_OP_SCALE ? a + 1
                                                                : a);
        if (t->op == RFHE_PAF_OP_INT) { assert_true(t->c == rint(t->c) && fabs(t->c) <= 8); }
        if (t->op == RFHE_PAF_OP_MUL) { assert_true(!three[t->a] && !three[t->b]); }
        three[i] = (t->op == RFHE_PAF_OP_MUL || three[t->a] ||
                    (t->op == RFHE_PAF_OP_ADD && three[t->b])) &&
                   !t->relinearise;
        mul += t->op == RFHE_PAF_OP_MUL;
        plain += t->op == RFHE_PAF_OP_SCALE;
        relin += t->relinearise;
    }
    assert_false(three[s.n_steps - 1]);
    assert_int_equal(s.depth, s.step[s.n_steps - 1].level);
    assert_int_equal(s.products, mul);
    assert_int_equal(s.plain_products, plain);
    assert_int_equal(s.relinearisations, relin);
    assert_true(relin <= mul);
    assert_true(max.depth <= s.depth);
}

static void schedules_compute_what_they_should_at_the_expected_depth(void **state)
{
    static const struct {
        const char *name;
        unsigned depth, products;
    } expected[] = {
        {"f1g2", 5, 6},      {"f2g2", 6, 7},      {"f2g3", 6, 8},      {"f1f1g1g1", 8, 9},
        {"alpha6", 5, 7},    {"alpha7", 6, 9},    {"alpha10", 10, 16}, {"even2", 1, 1},
        {"even4", 2, 2},     {"even8", 3, 3},     {"even14", 4, 5},    {"even30", 5, 8},
        {"square", 1, 1},    {"delphi", 1, 1},    {"cubic", 2, 2},     {"hermite4", 2, 2},
        {"alpha4", 3, 3},    {"alpha5", 4, 5},    {"alpha8", 7, 12},   {"alpha9", 8, 15},
        {"alpha11", 11, 20}, {"alpha12", 12, 23}, {"alpha13", 13, 26}, {"alpha14", 14, 30}};

    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const rfhe_paf p = form(expected[i].name);
        rfhe_paf_schedule s;
        assert_int_equal(rfhe_paf_schedule_relu(&s, &p, NULL), RFHE_OK);
        if (s.depth != expected[i].depth || s.products > expected[i].products) {
            fail_msg("%s: depth %u, %u products; wanted depth %u, at most %u", expected[i].name,
                     s.depth, s.products, expected[i].depth, expected[i].products);
        }
        check_schedule(&p, expected[i].name, i < 16);
    }
    const rfhe_paf line = form("linear");
    rfhe_paf_schedule sum;
    assert_int_equal(rfhe_paf_schedule_relu(&sum, &line, NULL), RFHE_OK);
    assert_true(sum.depth == 0 && sum.products == 0 && sum.plain_products == 0);
    assert_true(fabs(rfhe_paf_schedule_run(&sum, -0.75) + 0.125) < 1e-15);
    assert_int_equal(rfhe_paf_schedule_max(&sum, &line, NULL), RFHE_E_ARG); /* a constant is left */
    for (unsigned d = 2; d <= 62; d += 2) { /* every even degree at ceil(log2 d) levels */
        char name[16];
        unsigned want = 0;
        (void)snprintf(name, sizeof name, "even%u", d);
        const rfhe_paf p = form(name);
        rfhe_paf_schedule s;
        assert_int_equal(rfhe_paf_schedule_relu(&s, &p, NULL), RFHE_OK);
        while ((1U << want) < d) { want++; }
        assert_int_equal(s.depth, want);
        check_schedule(&p, name, true);
    }
}

/* Tuned coefficients have no structure to rely on: random composites and random polynomials. */
static void schedules_hold_for_random_polynomials(void **state)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 2);

    (void)state;
    for (size_t round = 0; round < test_rounds(150); round++) {
        rfhe_paf p = {.kind = (rfhe_paf_kind)rfhe_rng_below(&rng, 3)};
        char what[64];
        unsigned want = 0;
        p.n_stages = p.kind == RFHE_PAF_SIGN ? 1 + (uint32_t)rfhe_rng_below(&rng, 4) : 1;
        for (uint32_t k = 0; k < p.n_stages; k++) {
            p.n_terms[k] = (p.kind == RFHE_PAF_EVEN ? 3 : 2) +
                           (uint32_t)rfhe_rng_below(&rng, p.kind == RFHE_PAF_SIGN ? 5 : 9);
            double sum = 0;
            for (uint32_t j = 0; j < p.n_terms[k]; j++) {
                p.coef[k][j] = rfhe_rng_normal(&rng);
                sum += fabs(p.coef[k][j]);
            }
            for (uint32_t j = 0; j < p.n_terms[k]; j++) {
                p.coef[k][j] /= sum;
            } /* stays in the unit interval */
            unsigned bits = 0;
            while ((1U << bits) < 2 * p.n_terms[k]) { bits++; }
            want += bits;
        }
        (void)snprintf(what, sizeof what, "round %zu kind %d stages %u", round, (int)p.kind,
                       p.n_stages);
        check_schedule(&p, what, true);
        if (p.kind == RFHE_PAF_SIGN) {
            rfhe_paf_schedule s;
            assert_int_equal(rfhe_paf_schedule_relu(&s, &p, NULL), RFHE_OK);
            if (s.depth > want) { fail_msg("%s: depth %u, wanted %u", what, s.depth, want); }
        }
    }
}

static void names_and_mistakes(void **state)
{
    rfhe_paf p, q;
    rfhe_error err = {0};
    uint32_t d[RFHE_PAF_MAX_STAGES];

    (void)state;
    assert_int_equal(rfhe_paf_from_name(&p, "f3g9", &err), RFHE_E_ARG);
    assert_string_equal(err.text, "there is no form called 'f3g9'; `rfhe paf list` shows them");
    err = (rfhe_error){0};
    assert_int_equal(rfhe_paf_from_name(&p, "even8:reversed", &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "no other order"));
    assert_int_equal(rfhe_paf_from_name(&p, "even7", NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_paf_from_name(&p, "even64", NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_paf_from_name(&p, "", NULL), RFHE_E_ARG);
    p = form("f1g2:reversed");
    q = form("f1g2");
    assert_int_equal(rfhe_paf_degrees(&p, d), 2);
    assert_true(d[0] == 3 && d[1] == 5);
    rfhe_paf_reverse(&p);
    assert_memory_equal(p.coef[0], q.coef[0], sizeof p.coef[0]);
    /* Facts of the reversed order: the sign error on [1/2, 1] is 0.251 instead of 0.086 */
    rfhe_paf_reverse(&p);
    assert_true(fabs(rfhe_paf_measure(&p).max_sign[0] - 0.25085) < 1e-4);
    assert_true(fabs(rfhe_paf_measure(&q).max_sign[0] - 0.0864961) < 1e-5);
    assert_true(fabs(rfhe_paf_measure(&q).overflow[0] - 1.0506) < 3e-4);
    q.coef[1][0] = NAN;
    err = (rfhe_error){0};
    assert_int_equal(rfhe_paf_check(&q, &err), RFHE_E_ARG);
    assert_string_equal(err.text, "coefficient 0 of stage 1 is not a finite number");
    q.n_stages = 0;
    assert_int_equal(rfhe_paf_check(&q, NULL), RFHE_E_ARG);
    rfhe_paf_schedule s;
    assert_int_equal(rfhe_paf_schedule_relu(&s, &q, NULL), RFHE_E_ARG);
    q = (rfhe_paf){.kind = RFHE_PAF_GENERAL, .n_stages = 1, .n_terms = {3}, .coef = {{1, 0, 0}}};
    err = (rfhe_error){0};
    assert_int_equal(rfhe_paf_schedule_relu(&s, &q, &err), RFHE_E_ARG);
    assert_string_equal(err.text, "the polynomial is a constant or zero");
}

static void planning_survives_every_failing_allocation(void **state)
{
    const rfhe_paf p = form("alpha7");
    const size_t before = rfhe_mem_get_stats().current;
    rfhe_paf_schedule good, s;
    size_t failures = 0;

    (void)state;
    assert_int_equal(rfhe_paf_schedule_relu(&good, &p, NULL), RFHE_OK);
    for (size_t n = 1; n < 400; n++) {
        rfhe_mem_fail_at(n);
        const rfhe_status st = rfhe_paf_schedule_relu(&s, &p, NULL);
        rfhe_mem_fail_at(0);
        assert_int_equal(rfhe_mem_get_stats().current, before);
        if (st == RFHE_OK) {
            assert_int_equal(s.depth, good.depth);
        } else {
            failures++;
        }
        if (st != RFHE_OK) { assert_int_equal(st, RFHE_E_NOMEM); }
    }
    assert_true(failures > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(catalogue_matches_published_tables),
        cmocka_unit_test(base_polynomials_have_their_defining_properties),
        cmocka_unit_test(value_has_the_right_derivatives),
        cmocka_unit_test(max_is_symmetric_and_has_its_derivatives),
        cmocka_unit_test(schedules_compute_what_they_should_at_the_expected_depth),
        cmocka_unit_test(schedules_hold_for_random_polynomials),
        cmocka_unit_test(names_and_mistakes),
        cmocka_unit_test(planning_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
