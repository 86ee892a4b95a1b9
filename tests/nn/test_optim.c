/* nn/optim: optimizers against the ONNX preview-training vectors and against double formulas, schedules, averages. */
#include "test.h"
#include "vectors.h"

#include "base/threads.h"
#include "nn/optim.h"

#include <math.h>
#include <stdio.h>

static rfhe_param one_param(size_t count)
{
    return (rfhe_param){.name = "x", .kind = RFHE_PARAM_WEIGHT, .count = count};
}

static void fill(float *out, const test_vector *v)
{
    for (size_t i = 0; i < v->count; i++) { out[i] = (float)v->value[i]; }
}

static void expect(const char *node, const char *what, const float *got, const test_vector *want)
{
    for (size_t i = 0; i < want->count; i++) {
        if (fabs((double)got[i] - want->value[i]) > 1e-6 * (1 + fabs(want->value[i]))) {
            fail_msg("%s %s[%zu]: got %.9g want %.9g", node, what, i, (double)got[i], want->value[i]);
        }
    }
}

/* The node's inputs are R, T, then X of every tensor, then G of every tensor, then V (and H): one file each. */
static test_vector *input(const char *node, size_t i)
{
    static test_vector v;
    char file[16];

    (void)snprintf(file, sizeof file, "input_%zu", i);
    test_vector_read(&v, node, file);
    return &v;
}

static test_vector *output(const char *node, size_t i)
{
    static test_vector v;
    char file[16];

    (void)snprintf(file, sizeof file, "output_%zu", i);
    test_vector_read(&v, node, file);
    return &v;
}

/* epsilon: for a node that does not state it; test_adam_multiple was computed with 0.01, not with the default. */
static void one_node(const char *node, size_t tensors, bool is_adam, bool nesterov, double epsilon)
{
    const double rate = input(node, 0)->value[0], t = input(node, 1)->value[0];
    const double a = test_vector_attribute(node, "alpha", 0.9);
    const double beta = test_vector_attribute(node, "beta", 0.999);
    rfhe_optim_options opt = {.kind = is_adam ? RFHE_OPTIM_ADAM : RFHE_OPTIM_SGD};
    rfhe_error err = {0};

    opt.group[RFHE_PARAM_WEIGHT].decay = test_vector_attribute(node, "norm_coefficient", 0);
    if (is_adam) {
        assert_true(test_vector_attribute(node, "norm_coefficient_post", 0) == 0);
        opt.beta1 = a;
        opt.beta2 = beta;
        opt.epsilon = test_vector_attribute(node, "epsilon", epsilon);
        opt.no_bias_correction = t == 0; /* the operator corrects only for T > 0 */
    } else {
        opt.momentum = a;
        opt.dampening = nesterov ? 0 : 1 - beta; /* the operator's beta is 1 - dampening, from T = 1 on */
        opt.nesterov = nesterov;
    }
    for (size_t k = 0; k < tensors; k++) {
        float x[64], g[64];
        const test_vector *v = input(node, 2 + k);
        const size_t n = v->count;
        const rfhe_param p = one_param(n);
        rfhe_optim *o = NULL;
        assert_true(n <= 64);
        fill(x, v);
        fill(g, input(node, 2 + tensors + k));
        if (rfhe_optim_new(&o, &opt, &p, 1, n, &err) != RFHE_OK) { fail_msg("%s", err.text); }
        fill(o->first, input(node, 2 + 2 * tensors + k));
        if (is_adam) { fill(o->second, input(node, 2 + 3 * tensors + k)); }
        o->step = (uint64_t)t;
        rfhe_optim_step(o, x, g, rate, 1.0);
        expect(node, "x", x, output(node, k));
        expect(node, "first", o->first, output(node, tensors + k));
        if (is_adam) { expect(node, "second", o->second, output(node, 2 * tensors + k)); }
        rfhe_optim_free(o);
    }
}

static void steps_agree_with_the_onnx_vectors(void **state)
{
    (void)state;
    if (!test_vectors_exist()) { skip(); }
    one_node("test_momentum", 1, false, false, 0);
    one_node("test_momentum_multiple", 2, false, false, 0);
    one_node("test_nesterov_momentum", 1, false, true, 0);
    one_node("test_adam", 1, true, false, 0);
    one_node("test_adam_multiple", 2, true, false, 0.01);
}

/* Ten steps of every rule against the formulas of optim.h in double. */
static void steps_agree_with_the_formulas(void **state)
{
    static const rfhe_optim_options cases[] = {
        {.kind = RFHE_OPTIM_SGD},
        {.kind = RFHE_OPTIM_SGD, .momentum = 0.9, .dampening = 0.3},
        {.kind = RFHE_OPTIM_SGD, .momentum = 0.9, .nesterov = true},
        {.kind = RFHE_OPTIM_ADAM, .beta1 = 0.8},
        {.kind = RFHE_OPTIM_ADAMW, .beta2 = 0.99, .epsilon = 1e-6},
    };
    rfhe_rng r = rfhe_rng_seed(test_seed(), 2);

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        rfhe_optim_options opt = cases[k];
        const rfhe_param p = one_param(1);
        rfhe_optim *o = NULL;
        float x = 0.7F;
        double y = (double)x, m = 0, v = 0;
        opt.group[RFHE_PARAM_WEIGHT] = (rfhe_optim_group){.rate_factor = 0.5, .decay = 0.03};
        assert_int_equal(rfhe_optim_new(&o, &opt, &p, 1, 1, NULL), RFHE_OK);
        for (int t = 1; t <= 10; t++) {
            const float g = (float)rfhe_rng_normal(&r);
            const double rate = 0.1 * 0.5, raw = (double)g * 0.25, d = 0.03;
            const double b1 = o->opt.beta1, b2 = o->opt.beta2;
            rfhe_optim_step(o, &x, &g, 0.1, 0.25);
            if (opt.kind == RFHE_OPTIM_SGD) {
                const double l2 = raw + d * y;
                m = t == 1 ? l2 : opt.momentum * m + (1 - opt.dampening) * l2;
                y -= rate * (opt.nesterov ? l2 + opt.momentum * m : m);
            } else {
                const double l2 = opt.kind == RFHE_OPTIM_ADAM ? raw + d * y : raw;
                if (opt.kind == RFHE_OPTIM_ADAMW) { y *= 1 - rate * d; }
                m = b1 * m + (1 - b1) * l2;
                v = b2 * v + (1 - b2) * l2 * l2;
                y -= rate * (m / (1 - pow(b1, t))) / (sqrt(v / (1 - pow(b2, t))) + o->opt.epsilon);
            }
            if (fabs((double)x - y) > 1e-5) { fail_msg("case %zu step %d: %.9g, want %.9g", k, t, (double)x, y); }
        }
        rfhe_optim_free(o);
    }
}

static void groups_and_running_statistics_are_kept_apart(void **state)
{
    const rfhe_param p[] = {
        {.name = "w", .kind = RFHE_PARAM_WEIGHT, .offset = 0, .count = 2},
        {.name = "s", .kind = RFHE_PARAM_BN_SCALE, .offset = 2, .count = 2},
        {.name = "m", .kind = RFHE_PARAM_BN_MEAN, .offset = 4, .count = 2},
        {.name = "f", .kind = RFHE_PARAM_PAF, .offset = 6, .count = 2},
    };
    rfhe_optim_options opt = {0};
    float x[8] = {1, 1, 1, 1, 1, 1, 1, 1}, g[8] = {0};
    rfhe_optim *o = NULL;

    (void)state;
    opt.group[RFHE_PARAM_WEIGHT].decay = 0.5;
    opt.group[RFHE_PARAM_BN_MEAN].decay = 0.5;
    opt.group[RFHE_PARAM_PAF] = (rfhe_optim_group){.rate_factor = -1, .decay = 0.5};
    assert_int_equal(rfhe_optim_new(&o, &opt, p, 4, 8, NULL), RFHE_OK);
    rfhe_optim_step(o, x, g, 1.0, 1.0);
    for (size_t i = 0; i < 8; i++) { assert_true(x[i] == (i < 2 ? 0.5F : 1.0F)); }
    rfhe_optim_free(o);
}

static void the_team_size_does_not_change_a_bit(void **state)
{
    enum { N = 100003 };
    static float x1[N], x2[N], g[N], a1[N];
    const rfhe_param p = one_param(N);
    const rfhe_optim_options opt = {.kind = RFHE_OPTIM_ADAMW};
    rfhe_rng r = rfhe_rng_seed(test_seed(), 3);
    double norm[2];
    const unsigned before = rfhe_threads_get();

    (void)state;
    for (size_t i = 0; i < N; i++) {
        g[i] = (float)rfhe_rng_normal(&r);
        x1[i] = x2[i] = (float)rfhe_rng_normal(&r);
    }
    for (unsigned team = 1; team <= 2; team++) {
        rfhe_optim *o = NULL;
        rfhe_average avg = {0};
        float *x = team == 1 ? x1 : x2;
        (void)rfhe_threads_set(team == 1 ? 1 : 3);
        assert_int_equal(rfhe_optim_new(&o, &opt, &p, 1, N, NULL), RFHE_OK);
        assert_int_equal(rfhe_average_init(&avg, N, 0.9, NULL), RFHE_OK);
        for (int t = 0; t < 3; t++) {
            rfhe_optim_step(o, x, g, 0.01, 1.0);
            rfhe_average_update(&avg, x);
        }
        norm[team - 1] = rfhe_norm(x, N);
        if (team == 1) { memcpy(a1, avg.values, sizeof a1); }
        assert_memory_equal(a1, avg.values, sizeof a1);
        rfhe_average_clear(&avg);
        rfhe_optim_free(o);
    }
    (void)rfhe_threads_set(before);
    assert_memory_equal(x1, x2, sizeof x1);
    assert_true(norm[0] == norm[1]);
}

static void clipping_limits_the_norm(void **state)
{
    const float g[] = {3, 4};

    (void)state;
    assert_true(rfhe_norm(g, 2) == 5.0);
    assert_true(rfhe_norm(g, 0) == 0.0);
    assert_true(rfhe_clip_factor(5, 0) == 1 && rfhe_clip_factor(5, 6) == 1);
    assert_true(fabs(5 * rfhe_clip_factor(5, 2) - 2) < 1e-12);
}

static double factor(const rfhe_schedule *s, uint64_t step)
{
    const double f = rfhe_schedule_factor(s, step);

    assert_true(f >= 0.0 && f <= 1.0 + 1e-12);
    return f;
}

static void schedules_have_their_known_values(void **state)
{
    const rfhe_schedule constant = {0}, warm = {.warmup = 4};
    const rfhe_schedule step = {.kind = RFHE_SCHEDULE_STEP, .milestone = {10, 20}, .n_milestones = 2};
    const rfhe_schedule cosine = {.kind = RFHE_SCHEDULE_COSINE, .total = 110, .warmup = 10, .floor = 0.2};
    const rfhe_schedule line = {.kind = RFHE_SCHEDULE_LINEAR, .total = 100};
    const rfhe_schedule one = {.kind = RFHE_SCHEDULE_ONECYCLE, .total = 101, .rise = 0.3};

    (void)state;
    assert_true(factor(&constant, 0) == 1 && factor(&constant, 1u << 30) == 1);
    assert_true(fabs(factor(&warm, 0) - 0.2) < 1e-15 && fabs(factor(&warm, 3) - 0.8) < 1e-15);
    assert_true(factor(&warm, 4) == 1);
    assert_true(factor(&step, 9) == 1 && fabs(factor(&step, 10) - 0.1) < 1e-15);
    assert_true(fabs(factor(&step, 20) - 0.01) < 1e-15);
    assert_true(factor(&cosine, 10) == 1 && fabs(factor(&cosine, 60) - 0.6) < 1e-12);
    assert_true(factor(&cosine, 109) < 0.201 && factor(&cosine, 500) == factor(&cosine, 109));
    assert_true(fabs(factor(&line, 50) - 0.5) < 1e-12);
    assert_true(fabs(factor(&one, 0) - 0.04) < 1e-12 && fabs(factor(&one, 30) - 1) < 1e-12);
    assert_true(factor(&one, 100) < 1e-12 && fabs(factor(&one, 65) - 0.5) < 1e-12);
}

static void a_plateau_lowers_the_rate_once_patience_is_over(void **state)
{
    rfhe_plateau p = {.factor = 0.5, .patience = 2, .threshold = 0.01};

    (void)state;
    assert_true(rfhe_plateau_update(&p, 0.5) == 1);
    assert_true(rfhe_plateau_update(&p, 0.505) == 1); /* below the threshold: waited 1 */
    assert_true(rfhe_plateau_update(&p, 0.6) == 1);   /* better: waited 0              */
    assert_true(rfhe_plateau_update(&p, 0.6) == 1);
    assert_true(rfhe_plateau_update(&p, 0.1) == 0.5);
    assert_true(rfhe_plateau_update(&p, 0.1) == 0.5);
    assert_true(rfhe_plateau_update(&p, 0.1) == 0.25);
}

static void averages_follow_their_formulas(void **state)
{
    rfhe_average swa = {0}, ema = {0};
    double want = 0;

    (void)state;
    assert_int_equal(rfhe_average_init(&swa, 1, 0, NULL), RFHE_OK);
    assert_int_equal(rfhe_average_init(&ema, 1, 0.5, NULL), RFHE_OK);
    for (int t = 0; t < 20; t++) {
        const float x = (float)(t * t);
        const double keep = t == 0 ? 0 : fmin(0.5, (1.0 + t) / (10.0 + t));
        rfhe_average_update(&swa, &x);
        rfhe_average_update(&ema, &x);
        want = keep * want + (1 - keep) * (double)x;
        assert_true(fabs((double)ema.values[0] - want) < 1e-4 * (1 + want));
    }
    assert_true(fabs((double)swa.values[0] - 19.0 * 39.0 / 6.0) < 1e-4); /* mean of squares 0 .. 19 */
    rfhe_average_clear(&swa);
    rfhe_average_clear(&ema);
    assert_int_equal(rfhe_average_init(&ema, 1, 1.0, NULL), RFHE_E_ARG);
}

static void impossible_options_are_refused(void **state)
{
    const rfhe_param p = one_param(4);
    rfhe_optim *o = NULL;
    rfhe_optim_options decay = {0};

    (void)state;
    decay.group[0].decay = -1;
    assert_int_equal(rfhe_optim_new(&o, &(rfhe_optim_options){.momentum = 1}, &p, 1, 4, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_optim_new(&o, &(rfhe_optim_options){.nesterov = true}, &p, 1, 4, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_optim_new(&o, &(rfhe_optim_options){.beta2 = -0.1}, &p, 1, 4, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_optim_new(&o, &decay, &p, 1, 4, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_optim_new(&o, &(rfhe_optim_options){0}, &p, 1, 3, NULL), RFHE_E_ARG);
    assert_null(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_agree_with_the_onnx_vectors),
        cmocka_unit_test(steps_agree_with_the_formulas),
        cmocka_unit_test(groups_and_running_statistics_are_kept_apart),
        cmocka_unit_test(the_team_size_does_not_change_a_bit),
        cmocka_unit_test(clipping_limits_the_norm),
        cmocka_unit_test(schedules_have_their_known_values),
        cmocka_unit_test(a_plateau_lowers_the_rate_once_patience_is_over),
        cmocka_unit_test(averages_follow_their_formulas),
        cmocka_unit_test(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
