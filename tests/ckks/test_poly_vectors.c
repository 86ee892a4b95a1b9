/* Polynomial programs with a constant per slot: the PAFs of many channels in one evaluation. */
#include "ckks_test.h"
#include "base/threads.h"
#include "rfhe/paf.h"

enum { CHANNELS = 11 }; /* the last one is padding: all constants 0 */

static world w;

static int make(void **state)
{
    (void)state;
    w = world_new(10, 8, 40, NULL, 0);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    world_free(&w);
    return 0;
}

/* The last register for input u. */
static double run_steps(const rfhe_poly_step *step, size_t count, double u)
{
    double r[RFHE_POLY_MAX_STEPS] = {u};

    for (size_t i = 1; i < count; i++) {
        const double a = r[step[i].a], b = r[step[i].b], c = step[i].c;
        r[i] = step[i].op == RFHE_POLY_MUL                                         ? a * b
               : step[i].op == RFHE_POLY_ADD                                       ? a + b
               : step[i].op == RFHE_POLY_SCALE || step[i].op == RFHE_POLY_INT      ? a * c
                                                                                   : a + c;
    }
    return r[count - 1];
}

typedef struct channels {
    size_t steps;
    rfhe_poly_step step[CHANNELS][RFHE_POLY_MAX_STEPS];
    bool is_vector[RFHE_POLY_MAX_STEPS];
    double out_scale[CHANNELS];
    uint32_t depth, relinearisations;
} channels;

/* The form with coefficients of its own for every channel. */
static void make_channels(channels *c, const char *form)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 71);

    memset(c, 0, sizeof *c);
    for (size_t k = 0; k < CHANNELS; k++) {
        static const rfhe_poly_op op[] = {[RFHE_PAF_OP_INPUT] = RFHE_POLY_INPUT, [RFHE_PAF_OP_MUL] = RFHE_POLY_MUL,
                                          [RFHE_PAF_OP_SCALE] = RFHE_POLY_SCALE, [RFHE_PAF_OP_INT] = RFHE_POLY_INT,
                                          [RFHE_PAF_OP_ADD] = RFHE_POLY_ADD,     [RFHE_PAF_OP_CONST] = RFHE_POLY_CONST};
        rfhe_paf f;
        rfhe_paf_schedule s;
        double flat[RFHE_PAF_MAX_STAGES * RFHE_PAF_MAX_TERMS];
        MUST(rfhe_paf_from_name(&f, form, err));
        rfhe_paf_coef_get(&f, flat);
        for (size_t i = 0; i < rfhe_paf_coef_count(&f); i++) { flat[i] *= 1 + 0.05 * (2 * rfhe_rng_uniform(&rng) - 1); }
        rfhe_paf_coef_set(&f, flat);
        MUST(rfhe_paf_schedule_relu(&s, &f, err));
        assert_true(k == 0 || c->steps == s.n_steps);
        c->steps = s.n_steps;
        c->out_scale[k] = s.out_scale; /* a factor per slot, left to the layer that follows */
        c->depth = s.depth;
        c->relinearisations = s.relinearisations;
        for (uint32_t i = 0; i < s.n_steps; i++) {
            const rfhe_poly_step x = {op[s.step[i].op], s.step[i].a, s.step[i].b, s.step[i].c};
            const rfhe_poly_step y = c->step[0][i];
            assert_true(k == 0 || (x.op == y.op && x.a == y.a && x.b == y.b && (x.op != RFHE_POLY_INT || x.c == y.c)));
            c->step[k][i] = x;
            c->is_vector[i] = x.op == RFHE_POLY_SCALE || x.op == RFHE_POLY_CONST;
            if (k + 1 == CHANNELS && c->is_vector[i]) { c->step[k][i].c = 0; }
        }
    }
}

static size_t channel_of(size_t slot)
{
    return slot * 7 / 3 % CHANNELS;
}

/* The vectors of `n` slots, one row per flagged step. */
static double *make_values(const channels *c, size_t n, const double **row)
{
    double *x = test_calloc(c->steps * n, sizeof *x);
    size_t k = 0;

    for (size_t i = 0; i < c->steps; i++) {
        if (!c->is_vector[i]) { continue; }
        for (size_t j = 0; j < n; j++) { x[k * n + j] = c->step[channel_of(j)][i].c; }
        row[k] = x + k * n;
        k++;
    }
    return x;
}

static void check_form(const char *form, size_t n)
{
    channels *c = test_calloc(1, sizeof *c);
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 72);
    rfhe_poly_program *plain = NULL, *p = NULL;
    rfhe_poly_vectors *v = NULL;
    const double *row[RFHE_POLY_MAX_STEPS];
    vec x = vec_new(n), want = vec_new(n);
    double sum = 0;
    rfhe_ct *z = NULL, *y = NULL;

    make_channels(c, form);
    double *values = make_values(c, n, row);
    MUST(rfhe_poly_program_from_steps(&plain, c->step[0], c->steps, 1, err));
    MUST(rfhe_poly_program_with_vectors(&p, c->step[0], c->is_vector, c->steps, 1, err));
    const rfhe_poly_info a = rfhe_poly_program_info(plain), b = rfhe_poly_program_info(p);
    assert_int_equal(b.depth, c->depth);
    assert_int_equal(b.depth, a.depth);
    assert_int_equal(b.relinearisations, a.relinearisations);
    assert_int_equal(b.products, a.products);
    MUST(rfhe_poly_vectors_new(&v, p, w.c, row, n, 7, 0, err));
    rfhe_poly_program_free(p); /* nothing of it is kept */
    for (size_t i = 0; i < n; i++) {
        x.re[i] = 2 * rfhe_rng_uniform(&rng) - 1;
        want.re[i] = run_steps(c->step[channel_of(i)], c->steps, x.re[i]);
        assert_true(fabs(rfhe_poly_vectors_value(v, i, x.re[i]) - want.re[i]) < 1e-12);
    }
    rfhe_ct *ct = NULL; /* above the binding's level, at its scale */
    rfhe_pt *pt = NULL;
    MUST(rfhe_encode(&pt, w.c, x.re, NULL, n, 8, rfhe_ckks_scale(w.c, 7), err));
    MUST(rfhe_ct_new(&ct, w.c, 8, err));
    MUST(rfhe_encrypt(ct, pt, w.pk, err));
    rfhe_pt_free(pt);
    MUST(rfhe_ct_new(&z, w.c, 0, err));
    MUST(rfhe_ct_new(&y, w.c, 0, err));
    /* The same with numbers, channel after channel. */
    for (size_t k = 0; k < CHANNELS; k++) {
        rfhe_poly_program *one = NULL;
        MUST(rfhe_poly_program_from_steps(&one, c->step[k], c->steps, 1, err));
        MUST(rfhe_ct_evaluate(y, ct, one, w.ev, err));
        vec part = decrypt(&w, y, n);
        for (size_t i = 0; i < n; i++) {
            if (channel_of(i) == k) { sum += pow(hypot(part.re[i] - want.re[i], part.im[i]) * c->out_scale[k], 2); }
        }
        vec_free(&part);
        rfhe_poly_program_free(one);
    }
    const double with_numbers = sqrt(sum / (double)n);
    MUST(rfhe_ct_evaluate_vectors(z, ct, v, w.ev, err));
    assert_int_equal(rfhe_ct_level(z), 7 - b.depth);
    vec got = decrypt(&w, z, n);
    if (!(vec_rms(&got, &want) < 2 * rfhe_ct_error(z))) {
        fail_msg("%s: measured 2^%.2f, estimate 2^%.2f", form, log2(vec_rms(&got, &want)), log2(rfhe_ct_error(z)));
    }
    for (size_t i = 0; i < n; i++) {
        const double f = c->out_scale[channel_of(i)];
        got.re[i] *= f, got.im[i] *= f, want.re[i] *= f;
    }
    const double with_vectors = vec_rms(&got, &want), worst = vec_max(&got, &want);
    print_message("%-6s %4zu slots: depth %u, error 2^%.1f mean, 2^%.1f worst (numbers: 2^%.1f mean), estimate 2^%.1f, "
                  "%zu KiB\n", form, n, b.depth, log2(with_vectors), log2(worst), log2(with_numbers),
                  log2(rfhe_ct_error(z)), rfhe_poly_vectors_bytes(v) >> 10);
    assert_true(with_vectors < 1.5 * with_numbers && worst < 32 * with_numbers);
    /* In place, and with one thread: the same bits. */
    const unsigned team = rfhe_threads_get();
    rfhe_threads_set(1);
    MUST(rfhe_ct_evaluate_vectors(ct, ct, v, w.ev, err));
    rfhe_threads_set(team);
    assert_memory_equal(rfhe_ct_limb(ct, 0, 0), rfhe_ct_limb(z, 0, 0), w.c->n * 8);
    rfhe_poly_program_free(plain);
    rfhe_poly_vectors_free(v);
    rfhe_ct_free(ct), rfhe_ct_free(y), rfhe_ct_free(z);
    vec_free(&x), vec_free(&want), vec_free(&got);
    test_free(values);
    test_free(c);
}

static void channels_have_polynomials_of_their_own(void **state)
{
    static const char *const form[] = {"even2", "even4", "even8", "even14", "f1g2"};

    (void)state;
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        check_form(form[i], w.slots);
        check_form(form[i], w.slots / 8);
    }
}

/* A different number in every slot, and in every place where one may be. */
static void every_slot_may_differ(void **state)
{
    static const rfhe_poly_step step[] = {{RFHE_POLY_INPUT, 0, 0, 0}, {RFHE_POLY_CONST, 0, 0, 0}, {RFHE_POLY_SCALE, 0, 0, 0},
                                          {RFHE_POLY_MUL, 1, 0, 0},   {RFHE_POLY_ADD, 3, 2, 0},   {RFHE_POLY_CONST, 4, 0, 0},
                                          {RFHE_POLY_INT, 5, 0, 3},   {RFHE_POLY_MUL, 6, 4, 0},   {RFHE_POLY_SCALE, 3, 0, 0},
                                          {RFHE_POLY_ADD, 7, 8, 0},   {RFHE_POLY_CONST, 9, 0, 0}};
    enum { COUNT = sizeof step / sizeof *step, VECTORS = 5 };
    const bool is_vector[COUNT] = {0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 1};
    const double *row[VECTORS];
    const size_t n = w.slots;
    double *values = test_calloc(VECTORS * n, sizeof *values);
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 73);
    rfhe_poly_program *p = NULL;
    rfhe_poly_vectors *v = NULL;
    vec x = vec_new(n), want = vec_new(n);

    (void)state;
    for (size_t k = 0; k < VECTORS; k++) { row[k] = values + k * n; }
    for (size_t i = 0; i < n; i++) {
        rfhe_poly_step own[COUNT];
        memcpy(own, step, sizeof own);
        for (size_t k = 0, s = 0; s < COUNT; s++) {
            if (!is_vector[s]) { continue; }
            const double u = 2 * rfhe_rng_uniform(&rng) - 1;
            values[k * n + i] = own[s].c = i % 5 == 0 ? 0 : i % 5 == 1 ? 1 : i % 5 == 2 ? -1 : u;
            k++;
        }
        x.re[i] = 2 * rfhe_rng_uniform(&rng) - 1;
        want.re[i] = -0.5 * run_steps(own, COUNT, x.re[i]);
    }
    MUST(rfhe_poly_program_with_vectors(&p, step, is_vector, COUNT, -0.5, err));
    MUST(rfhe_poly_vectors_new(&v, p, w.c, row, n, 4, 0, err));
    rfhe_ct *ct = encrypt(&w, &x, 4);
    REFUSED(RFHE_E_ARG, "bind", rfhe_ct_evaluate(ct, ct, p, w.ev, err));
    MUST(rfhe_ct_evaluate_vectors(ct, ct, v, w.ev, err));
    vec got = decrypt(&w, ct, n);
    assert_true(vec_max(&got, &want) < 0x1p-20);
    vec_free(&got);
    /* Vectors that are constant cost nothing: no polynomial is encoded. */
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < VECTORS; k++) { values[k * n + i] = 0.3 + 0.1 * (double)k; }
    }
    rfhe_poly_vectors *u = NULL;
    MUST(rfhe_poly_vectors_new(&u, p, w.c, row, n, 4, 0, err));
    assert_true(rfhe_poly_vectors_bytes(u) < w.c->n * 8);
    assert_true(rfhe_poly_vectors_bytes(v) > w.c->n * 8);
    rfhe_poly_vectors_free(u);
    rfhe_poly_vectors_free(v);
    rfhe_poly_program_free(p);
    rfhe_ct_free(ct);
    vec_free(&x), vec_free(&want);
    test_free(values);
}

static void misuse_is_told(void **state)
{
    static const rfhe_poly_step step[] = {{RFHE_POLY_INPUT, 0, 0, 0}, {RFHE_POLY_SCALE, 0, 0, 2}, {RFHE_POLY_MUL, 0, 1, 0}};
    const bool good[] = {false, true, false}, bad[] = {false, false, true};
    double *x = test_calloc(w.slots, sizeof *x);
    const double *row[] = {x};
    rfhe_poly_program *p = NULL, *plain = NULL;
    rfhe_poly_vectors *v = NULL;
    vec zero = vec_new(w.slots);
    rfhe_ct *ct = encrypt(&w, &zero, 2);

    (void)state;
    REFUSED(RFHE_E_ARG, "vector", rfhe_poly_program_with_vectors(&p, step, bad, 3, 1, err));
    MUST(rfhe_poly_program_with_vectors(&p, step, good, 3, 1, err));
    MUST(rfhe_poly_program_from_steps(&plain, step, 3, 1, err));
    REFUSED(RFHE_E_ARG, "without vectors", rfhe_poly_vectors_new(&v, plain, w.c, row, w.slots, 3, 0, err));
    REFUSED(RFHE_E_ARG, "slots", rfhe_poly_vectors_new(&v, p, w.c, row, 3, 3, 0, err));
    REFUSED(RFHE_E_DEPTH, "levels", rfhe_poly_vectors_new(&v, p, w.c, row, w.slots, 1, 0, err));
    x[3] = NAN;
    REFUSED(RFHE_E_ARG, "slot 3", rfhe_poly_vectors_new(&v, p, w.c, row, w.slots, 3, 0, err));
    x[3] = 0x1p90;
    REFUSED(RFHE_E_ARG, "fit", rfhe_poly_vectors_new(&v, p, w.c, row, w.slots, 3, 0, err));
    x[3] = 0.5;
    for (size_t i = 1; i < 60; i++) { /* every allocation that fails is told, nothing leaks */
        rfhe_error err = {0};
        rfhe_mem_fail_at(i);
        const rfhe_status st = rfhe_poly_vectors_new(&v, p, w.c, row, w.slots, 3, 0, &err);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_NOMEM);
        assert_null(v);
    }
    assert_non_null(v);
    MUST(rfhe_ct_set_scale(ct, rfhe_ckks_scale(w.c, 3), err));
    REFUSED(RFHE_E_DEPTH, "bound", rfhe_ct_evaluate_vectors(ct, ct, v, w.ev, err));
    MUST(rfhe_ct_set_scale(ct, 0x1p30, err));
    REFUSED(RFHE_E_ARG, "scale", rfhe_ct_evaluate_vectors(ct, ct, v, w.ev, err));
    rfhe_poly_vectors_free(v);
    rfhe_poly_program_free(p), rfhe_poly_program_free(plain);
    rfhe_ct_free(ct);
    vec_free(&zero);
    test_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_have_polynomials_of_their_own),
        cmocka_unit_test(every_slot_may_differ),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
