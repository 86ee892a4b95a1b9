/* Polynomial programs: depth, values, precision; every PAF of the catalogue on ciphertexts. */
#include "ckks_test.h"
#include "rfhe/paf.h"

static world w;

static int make(void **state)
{
    (void)state;
    w = world_new(10, 10, 40, NULL, 0);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    world_free(&w);
    return 0;
}

/* Evaluates on ciphertexts with inputs in [-1, 1] and returns the worst error against `want`; checks the estimate. */
static double run(const rfhe_poly_program *p, double (*want)(void *, double), void *user, const char *name)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 77);
    vec v = vec_new(w.slots), y = vec_new(w.slots);
    const uint32_t depth = rfhe_poly_program_info(p).depth;

    for (size_t i = 0; i < v.n; i++) {
        v.re[i] = 2 * rfhe_rng_uniform(&r) - 1;
        y.re[i] = want(user, v.re[i]);
    }
    rfhe_ct *x = encrypt(&w, &v, depth), *z = NULL;
    MUST(rfhe_ct_new(&z, w.c, 0, err));
    MUST(rfhe_ct_evaluate(z, x, p, w.ev, err));
    assert_int_equal(rfhe_ct_level(z), 0);
    vec got = decrypt(&w, z, v.n);
    const double worst = vec_max(&got, &y), measured = vec_rms(&got, &y);
    /* Bounds of factors, not their values, enter the estimate: it may lose up to two bits at each level, and half a bit
     * is left to chance. */
    if (measured > OPTIMISTIC * rfhe_ct_error(z) || measured < rfhe_ct_error(z) * exp2(-2.0 * depth - 0.5)) {
        fail_msg("%s: measured 2^%.1f, estimate 2^%.1f", name, log2(measured), log2(rfhe_ct_error(z)));
    }
    MUST(rfhe_ct_evaluate(x, x, p, w.ev, err)); /* in place, the same bits */
    assert_memory_equal(x->data, z->data, w.c->n * 8);
    rfhe_ct_free(x);
    rfhe_ct_free(z);
    vec_free(&v);
    vec_free(&y);
    vec_free(&got);
    return worst;
}

typedef struct composite {
    rfhe_poly_stage stage[4];
    size_t count;
    bool times_input;
} composite;

static double clear(void *user, double x)
{
    const composite *c = user;
    double u = x;

    for (size_t i = 0; i < c->count; i++) {
        double sum = 0, t0 = 1, t1 = u;
        for (uint32_t k = 0; k <= c->stage[i].degree; k++) {
            sum += c->stage[i].coef[k] * t0;
            const double t2 = c->stage[i].is_chebyshev ? 2 * u * t1 - t0 : u * t1;
            t0 = t1, t1 = t2;
        }
        u = sum;
    }
    return c->times_input ? x * u : u;
}

static uint32_t ceil_log2(uint32_t n)
{
    uint32_t k = 0;

    while ((1U << k) < n) { k++; }
    return k;
}

static void random_polynomials_reach_least_depth_and_twenty_bits(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 9);
    double coef[64];

    (void)state;
    for (uint32_t d = 1; d <= 40; d += d < 8 ? 1 : 8) {
        for (int kind = 0; kind < 8; kind++) { /* basis, parity, times input */
            composite c = {.stage = {{coef, d, (kind & 1) != 0}}, .count = 1, .times_input = (kind & 4) != 0};
            rfhe_poly_program *p = NULL;
            for (uint32_t k = 0; k <= d; k++) {
                coef[k] = (2 * rfhe_rng_uniform(&r) - 1) * 2 / (k + 1);
                if ((kind & 2) != 0 && (d - k) % 2 == 1) { coef[k] = 0; }
            }
            if (kind == 3) { coef[d] = 1; }
            MUST(rfhe_poly_program_new(&p, c.stage, 1, c.times_input, err));
            const rfhe_poly_info info = rfhe_poly_program_info(p);
            if (info.depth > ceil_log2(d + 1 + c.times_input)) {
                fail_msg("degree %u kind %d: depth %u", d, kind, info.depth);
            }
            for (double x = -1; x <= 1; x += 0.125) {
                assert_true(fabs(rfhe_poly_program_value(p, x) - clear(&c, x)) < 1e-11);
            }
            const double worst = run(p, clear, &c, "polynomial");
            /* A leading T_d alone has slope d^2: the input's own error, not the evaluation, is what shows. */
            if (worst > 0x1p-20 * (kind == 3 ? d : d > 20 ? 2 : 1)) { fail_msg("degree %u kind %d: worst error 2^%.1f", d, kind, log2(worst)); }
            rfhe_poly_program_free(p);
        }
    }
}

static void composites_merge_the_last_product(void **state)
{
    static const double f1[] = {0, 1.5, 0, -0.5}, f1h[] = {0.5, 0.75, 0, -0.25};
    static const double f2h[] = {0.5, 0.9375, 0, -0.625, 0, 0.1875};
    static const double g1[] = {0, 2.076171875, 0, -1.3271484375};
    static const double g2[] = {0, 3.255859375, 0, -5.96435546875, 0, 3.70703125};
    static const double g3[] = {0, 4.4814453125, 0, -16.1884765625, 0, 25.013671875, 0, -12.55859375};
    static const struct {
        const char *name;
        composite c;
        uint32_t depth, most_products;
    } rows[] = {
        {"f1g2", {{{g2, 5, false}, {f1h, 3, false}}, 2, true}, 5, 6},
        {"f2g2", {{{g2, 5, false}, {f2h, 5, false}}, 2, true}, 6, 8},
        {"f2g3", {{{g3, 7, false}, {f2h, 5, false}}, 2, true}, 6, 9},
        {"f1f1g1g1", {{{g1, 3, false}, {g1, 3, false}, {f1, 3, false}, {f1h, 3, false}}, 4, true}, 8, 9},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        composite c = rows[i].c;
        rfhe_poly_program *p = NULL;
        MUST(rfhe_poly_program_new(&p, c.stage, c.count, c.times_input, err));
        const rfhe_poly_info info = rfhe_poly_program_info(p);
        if (info.depth != rows[i].depth || info.products > rows[i].most_products) {
            fail_msg("%s: depth %u, %u products, %u relinearisations", rows[i].name, info.depth, info.products,
                     info.relinearisations);
        }
        const double worst = run(p, clear, &c, rows[i].name);
        if (worst > 0x1p-20) { fail_msg("%s: worst error 2^%.1f", rows[i].name, log2(worst)); }
        rfhe_poly_program_free(p);
    }
}

static double paf(void *user, double x)
{
    return rfhe_paf_value(user, x);
}

static void every_form_of_the_catalogue_runs_at_its_depth(void **state)
{
    const rfhe_paf_form *form;

    (void)state;
    for (size_t i = 0; (form = rfhe_paf_form_at(i)) != NULL; i++) {
        rfhe_paf f;
        rfhe_paf_schedule s;
        rfhe_poly_step step[RFHE_POLY_MAX_STEPS];
        rfhe_poly_program *p = NULL;
        MUST(rfhe_paf_from_name(&f, form->name, err));
        MUST(rfhe_paf_schedule_relu(&s, &f, err));
        for (uint32_t k = 0; k < s.n_steps; k++) {
            static const rfhe_poly_op op[] = {[RFHE_PAF_OP_INPUT] = RFHE_POLY_INPUT, [RFHE_PAF_OP_MUL] = RFHE_POLY_MUL,
                                              [RFHE_PAF_OP_SCALE] = RFHE_POLY_SCALE, [RFHE_PAF_OP_INT] = RFHE_POLY_INT,
                                              [RFHE_PAF_OP_ADD] = RFHE_POLY_ADD,
                                              [RFHE_PAF_OP_CONST] = RFHE_POLY_CONST};
            step[k] = (rfhe_poly_step){op[s.step[k].op], s.step[k].a, s.step[k].b, s.step[k].c};
        }
        MUST(rfhe_poly_program_from_steps(&p, step, s.n_steps, s.out_scale, err));
        const rfhe_poly_info info = rfhe_poly_program_info(p);
        assert_int_equal(info.depth, s.depth);
        if (info.relinearisations > s.relinearisations + (s.depth > 10 ? 2 : 0)) {
            fail_msg("%s: %u relinearisations, the schedule has %u", form->name, info.relinearisations,
                     s.relinearisations);
        }
        if (s.depth <= 10) {
            const double worst = run(p, paf, &f, form->name);
            print_message("%-10s depth %2u products %2u relinearisations %2u (%2u) error 2^%.1f\n", form->name,
                          info.depth, info.products, info.relinearisations, s.relinearisations, log2(worst));
            if (worst > 0x1p-20) { fail_msg("%s: worst error 2^%.1f", form->name, log2(worst)); }
        }
        rfhe_poly_program_free(p);
    }
}

static void misuse_is_told(void **state)
{
    const double cubic[] = {0, 1, 0, 1}, zero[] = {1, 0};
    const rfhe_poly_stage s = {cubic, 3, false}, z = {zero, 1, false};
    const rfhe_poly_step later[] = {{RFHE_POLY_INPUT, 0, 0, 0}, {RFHE_POLY_MUL, 0, 2, 0}};
    const rfhe_poly_step half[] = {{RFHE_POLY_INPUT, 0, 0, 0}, {RFHE_POLY_INT, 0, 0, 0.5}};
    rfhe_poly_program *p = NULL;
    vec v = vec_new(w.slots);
    rfhe_ct *x = encrypt(&w, &v, 1);

    (void)state;
    REFUSED(RFHE_E_ARG, "zero", rfhe_poly_program_new(&p, &z, 1, false, err));
    REFUSED(RFHE_E_ARG, "later", rfhe_poly_program_from_steps(&p, later, 2, 1, err));
    REFUSED(RFHE_E_ARG, "constant", rfhe_poly_program_from_steps(&p, half, 2, 1, err));
    REFUSED(RFHE_E_ARG, "factor", rfhe_poly_program_from_steps(&p, later, 1, 0, err));
    MUST(rfhe_poly_program_new(&p, &s, 1, false, err));
    REFUSED(RFHE_E_DEPTH, "needs 2 levels", rfhe_ct_evaluate(x, x, p, w.ev, err));
    rfhe_poly_program_free(p);
    rfhe_ct_free(x);
    vec_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_polynomials_reach_least_depth_and_twenty_bits),
        cmocka_unit_test(composites_merge_the_last_product),
        cmocka_unit_test(every_form_of_the_catalogue_runs_at_its_depth),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
