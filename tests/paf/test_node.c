/* The PAF as a node of a network: values and gradients through the executor against the formulas in double, in every
 * memory order and with every option of training; export as ordinary operators and finding them again. */
#include "test.h"

#include "base/mem.h"
#include "nn/exec.h"
#include "paf/node.h"
#include "rfhe/onnx.h"

#include <math.h>
#include <stdio.h>

static rfhe_rng rng;

enum { N = 3, C = 5, H = 4, W = 6 };

typedef enum order { ROWS, CHANNELS_LAST, FLAT } order;

static void ok(rfhe_status st, const rfhe_error *err)
{
    if (st != RFHE_OK) { fail_msg("%s: %s", rfhe_status_name(st), err->text); }
}

static rfhe_value_id constant(rfhe_graph *g, const char *name, rfhe_shape shape, float value)
{
    rfhe_tensor *t = NULL;
    rfhe_value_id v = 0;

    assert_int_equal(rfhe_tensor_new(&t, RFHE_F32, &shape), RFHE_OK);
    for (size_t i = 0; i < t->count; i++) { t->f32[i] = value; }
    assert_int_equal(rfhe_graph_add_constant(g, &v, name, t), RFHE_OK);
    return v;
}

/* x [+ offset, so that the gradient of the PAF's input can be seen] [-> convolution that changes nothing, which wants
 * channels-last] -> PAF -> y */
static rfhe_graph *build(order o, const char *form, size_t sets, rfhe_paf *p, double *scale)
{
    rfhe_graph *g = NULL;
    rfhe_value_id x = 0, y = 0;
    rfhe_error err = {0};
    const rfhe_shape shape = o == FLAT ? (rfhe_shape){.rank = 2, .dim = {N, C}}
                                       : (rfhe_shape){.rank = 4, .dim = {N, C, H, W}};

    assert_int_equal(rfhe_graph_new(&g, "test"), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, &x, "x", RFHE_F32, &shape), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, x), RFHE_OK);
    const rfhe_value_id offset = constant(g, "offset", shape, 0.0F);
    assert_int_equal(
        rfhe_graph_add_node(g, &x, RFHE_OP_ADD, "plus", (rfhe_value_id[]){x, offset}, 2, NULL),
        RFHE_OK);
    if (o == CHANNELS_LAST) {
        rfhe_attr a = {
            .window = {
                .spatial = 2, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1}};
        const rfhe_value_id w =
            constant(g, "w", (rfhe_shape){.rank = 4, .dim = {C, C, 1, 1}}, 0.0F);
        for (size_t c = 0; c < C; c++) { g->values[w].constant->f32[c * C + c] = 1.0F; }
        assert_int_equal(
            rfhe_graph_add_node(g, &x, RFHE_OP_CONV, "same", (rfhe_value_id[]){x, w}, 2, &a),
            RFHE_OK);
    }
    assert_int_equal(rfhe_graph_add_node(g, &y, RFHE_OP_RELU, "act", &x, 1, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, y), RFHE_OK);
    ok(rfhe_graph_infer(g, 0, &err), &err);
    for (size_t i = 0; i < sets; i++) {
        double flat[RFHE_PAF_MAX_COEFS];
        ok(rfhe_paf_from_name(&p[i], form, &err), &err);
        rfhe_paf_coef_get(&p[i], flat);
        for (size_t j = 0; j < rfhe_paf_coef_count(&p[i]); j++) {
            flat[j] = (double)(float)(flat[j] * (1 + 0.02 * rfhe_rng_normal(&rng)));
        }
        rfhe_paf_coef_set(&p[i], flat);
        scale[i] = (double)(float)(2.0 + rfhe_rng_uniform(&rng));
    }
    ok(rfhe_paf_node_set(g, g->n_nodes - 1, form, p, scale, sets, &err), &err);
    return g;
}

static const rfhe_param *param_named(const rfhe_exec *e, const char *name)
{
    uint32_t n = 0;
    const rfhe_param *p = rfhe_exec_params(e, &n);

    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(p[i].name, name) == 0) { return &p[i]; }
    }
    fail_msg("no parameter '%s'", name);
    return NULL;
}

static void near(const char *what, size_t i, double got, double want, double unit, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * (unit + fabs(want)))) {
        fail_msg("%s[%zu]: got %.9g, want %.9g", what, i, got, want);
    }
}

/* Values, dL/dx and dL/dcoef for L = sum dy y + penalty. */
static void check(order o, const char *form, size_t sets, const rfhe_paf_control *control,
                  bool bf16)
{
    rfhe_paf p[C];
    double scale[C], dc[RFHE_PAF_MAX_COEFS], want_dc[C * RFHE_PAF_MAX_COEFS] = {0}, penalty = 0,
                                                         reach = 0;
    rfhe_paf_control live = *control;
    rfhe_graph *g = build(o, form, sets, p, scale);
    const double tolerance = bf16 ? 2e-2 : 2e-4;
    const rfhe_exec_options opt = {
        .batch = N, .training = true, .compute = bf16 ? RFHE_COMPUTE_BF16 : RFHE_COMPUTE_F32};
    const size_t inner = o == FLAT ? 1 : (size_t)H * W, count = N * C * inner,
                 n_coef = rfhe_paf_coef_count(&p[0]);
    rfhe_error err = {0};
    rfhe_exec *e = NULL;

    rfhe_paf_set_control(g, &live);
    ok(rfhe_exec_new(&e, g, &opt, &err), &err);
    float *x = rfhe_exec_input(e, 0, NULL), *dy = rfhe_exec_output_grad(e, 0);
    for (size_t i = 0; i < count; i++) {
        /* Multiples of 1/64 below 4 are exact in bf16; some are beyond the range. */
        x[i] = (float)(round(64 * fmax(-3.9, fmin(3.9, 1.4 * rfhe_rng_normal(&rng)))) / 64);
        dy[i] = (float)(round(16 * rfhe_rng_normal(&rng)) / 16);
        reach = fmax(reach, fabs((double)x[i]));
    }
    ok(rfhe_exec_forward(e, &err), &err);
    ok(rfhe_exec_backward(e, &err), &err);
    const float *y = rfhe_exec_output(e, 0, NULL), *grads = rfhe_exec_grads(e);
    const float *dx = grads + param_named(e, "offset")->offset;
    for (size_t i = 0; i < count; i++) {
        const size_t c = i / inner % C, set = sets == 1 ? 0 : c;
        const double s = live.dynamic ? reach : scale[set], v = (double)x[i], a = live.alpha;
        const double edge = live.clamp > 0 ? (double)(float)(live.clamp * s) : INFINITY;
        const double seen = fmax(-edge, fmin(edge, v));
        double slope = 0, value = s * rfhe_paf_value_grad(&p[set], seen / s, &slope, dc);
        double want =
            (1 - a) * (seen == v ? slope : 0) * (double)dy[i] + (v > 0 ? a * (double)dy[i] : 0);
        const double excess = fabs(v) / (s * (live.range > 0 ? live.range : 1)) - 1;
        if (live.penalty > 0 && excess > 0) {
            const double r = s * (live.range > 0 ? live.range : 1);
            want += copysign(live.penalty * 2 * excess / (r * N), v);
            penalty += excess * excess / N;
        }
        near("y", i, (double)y[i], a * fmax(v, 0) + (1 - a) * value, 1.0, tolerance);
        near("dx", i, (double)dx[i], want, 1.0, tolerance);
        for (size_t j = 0; j < n_coef; j++) {
            want_dc[set * n_coef + j] += (1 - a) * (double)dy[i] * s * dc[j];
        }
    }
    const float *got = grads + param_named(e, "act.coef")->offset;
    for (size_t j = 0; j < sets * n_coef; j++) {
        near("dcoef", j, (double)got[j], want_dc[j], 1.0, 10 * tolerance);
    }
    for (size_t i = 0; i < sets; i++) {
        assert_true(grads[param_named(e, "act.scale")->offset + i] == 0.0F);
    }
    if (live.penalty > 0) {
        near("penalty", 0, live.penalty_sum, penalty, 0.01, bf16 ? 0.05 : 1e-5);
        assert_int_equal(live.penalty_runs, 1);
    }
    assert_int_equal(param_named(e, "act.coef")->kind, RFHE_PARAM_PAF);
    assert_int_equal(param_named(e, "act.scale")->kind, RFHE_PARAM_FIXED);
    rfhe_exec_free(e);
    rfhe_graph_free(g);
}

static void values_and_gradients_match_the_formulas(void **state)
{
    static const char *const forms[] = {"even4", "linear", "even14", "f1g2", "alpha7"};
    static const rfhe_paf_control controls[] = {{0},
                                                {.alpha = 0.375},
                                                {.clamp = 1},
                                                {.penalty = 0.5, .range = 0.75},
                                                {.clamp = 1.25, .penalty = 0.5},
                                                {.alpha = 0.25, .clamp = 1, .penalty = 2.0},
                                                {.dynamic = true}};

    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        for (size_t k = 0; k < sizeof controls / sizeof *controls; k++) {
            for (order o = ROWS; o <= FLAT; o++) {
                /* Far outside its range a composite explodes: only clamped or dynamic runs say something. */
                if (f >= 3 && controls[k].clamp != 1 && !controls[k].dynamic) { continue; }
                check(o, forms[f], C, &controls[k], false);
                check(o, forms[f], 1, &controls[k], false);
            }
        }
    }
}

/* Whether networks can be run in bf16 here: the CPU may lack it, or the build oneDNN. */
static bool bf16_is_available(void)
{
    rfhe_paf p[C];
    double scale[C];
    rfhe_graph *g = build(CHANNELS_LAST, "even4", C, p, scale);
    const rfhe_exec_options opt = {.batch = N, .compute = RFHE_COMPUTE_BF16};
    rfhe_error err = {0};
    rfhe_exec *e = NULL;
    const rfhe_status st = rfhe_exec_new(&e, g, &opt, &err);

    if (st != RFHE_E_UNSUPPORTED) { ok(st, &err); }
    rfhe_exec_free(e);
    rfhe_graph_free(g);
    return st == RFHE_OK;
}

static void bf16_stays_close_to_the_formulas(void **state)
{
    const rfhe_paf_control control = {.alpha = 0.25, .clamp = 1, .penalty = 2.0};

    (void)state;
    if (!bf16_is_available()) { skip(); }
    check(CHANNELS_LAST, "even4", C, &control, true);
}

/* A loss through the executor itself, moved along one coefficient. */
static void coefficients_follow_central_differences(void **state)
{
    rfhe_paf p[C];
    double scale[C];
    rfhe_graph *g = build(CHANNELS_LAST, "even8", C, p, scale);
    const rfhe_exec_options opt = {.batch = N, .training = true};
    const size_t count = (size_t)N * C * H * W;
    rfhe_error err = {0};
    rfhe_exec *e = NULL;

    (void)state;
    ok(rfhe_exec_new(&e, g, &opt, &err), &err);
    float *x = rfhe_exec_input(e, 0, NULL), *dy = rfhe_exec_output_grad(e, 0);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)rfhe_rng_normal(&rng);
        dy[i] = (float)rfhe_rng_normal(&rng);
    }
    const rfhe_param *coef = param_named(e, "act.coef");
    ok(rfhe_exec_forward(e, &err), &err);
    ok(rfhe_exec_backward(e, &err), &err);
    for (size_t j = 0; j < coef->count; j++) {
        const float h = 0.0625F;
        double loss[2] = {0};
        for (int side = 0; side < 2; side++) {
            float *value = rfhe_exec_values(e, NULL) + coef->offset + j, old = *value;
            *value = old + (side == 0 ? h : -h);
            rfhe_exec_weights_changed(e);
            ok(rfhe_exec_forward(e, &err), &err);
            for (size_t i = 0; i < count; i++) {
                loss[side] += (double)dy[i] * (double)rfhe_exec_output(e, 0, NULL)[i];
            }
            *value = old;
        }
        /* y is linear in the coefficients of an even form: the difference is exact. */
        near("difference", j, (double)rfhe_exec_grads(e)[coef->offset + j],
             (loss[0] - loss[1]) / (2 * (double)h), 1.0, 1e-3);
    }
    rfhe_exec_free(e);
    rfhe_graph_free(g);
}

static void run_both(const rfhe_graph *a, const rfhe_graph *b, size_t count, double tolerance)
{
    const rfhe_exec_options opt = {.batch = N};
    rfhe_error err = {0};
    rfhe_exec *ea = NULL, *eb = NULL;

    ok(rfhe_exec_new(&ea, a, &opt, &err), &err);
    ok(rfhe_exec_new(&eb, b, &opt, &err), &err);
    for (size_t i = 0; i < count; i++) {
        rfhe_exec_input(ea, 0, NULL)[i] = rfhe_exec_input(eb, 0, NULL)[i] =
            (float)(fmax(-1, fmin(1, 0.5 * rfhe_rng_normal(&rng))) * 2);
    }
    ok(rfhe_exec_forward(ea, &err), &err);
    ok(rfhe_exec_forward(eb, &err), &err);
    for (size_t i = 0; i < count; i++) {
        near("y", i, (double)rfhe_exec_output(ea, 0, NULL)[i],
             (double)rfhe_exec_output(eb, 0, NULL)[i], 1.0, tolerance);
    }
    rfhe_exec_free(ea);
    rfhe_exec_free(eb);
}

static void exported_chains_compute_the_same_and_are_found_again(void **state)
{
    static const char *const forms[] = {"even2",    "even4",  "even14", "f1g2",
                                        "f1f1g1g1", "alpha7", "square", "linear"};

    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        for (order o = ROWS; o <= FLAT; o++) {
            const size_t sets = f % 2 == 0 ? C : 1,
                         count = o == FLAT ? N * C : (size_t)N * C * H * W;
            rfhe_paf p[C], again[C];
            double scale[C], scale_again[C];
            rfhe_graph *g = build(o, forms[f], sets, p, scale), *file = NULL;
            uint8_t *data = NULL;
            size_t size = 0, n = 0;
            uint32_t fused = 0;
            rfhe_error err = {0};
            ok(rfhe_onnx_write_memory(&data, &size, g, &err), &err);
            ok(rfhe_onnx_read_memory(&file, data, size, NULL, &err), &err);
            assert_false(rfhe_graph_has_custom(file));
            ok(rfhe_graph_infer(file, 0, &err), &err);
            run_both(g, file, count, 1e-4); /* as another runtime would */
            ok(rfhe_paf_fuse(file, &fused, &err), &err);
            assert_int_equal(fused, 1);
            assert_int_equal(file->n_nodes, g->n_nodes);
            assert_int_equal(file->n_metas, 0);
            const rfhe_node *node = &file->nodes[file->n_nodes - 1];
            assert_true(rfhe_paf_node_is(node));
            assert_string_equal(rfhe_paf_node_form(node), forms[f]);
            assert_string_equal(node->name, "act");
            ok(rfhe_paf_node_get(file, node, again, scale_again, &n, &err), &err);
            assert_int_equal(n, sets);
            assert_memory_equal(again, p, sets * sizeof *p);
            assert_memory_equal(scale_again, scale, sets * sizeof *scale);
            run_both(g, file, count, 0);
            rfhe_onnx_free(data);
            rfhe_graph_free(g);
            rfhe_graph_free(file);
        }
    }
}

/* A chain that somebody changed stays what it is; metadata that means nothing is refused. */
static void a_changed_chain_is_left_alone(void **state)
{
    rfhe_paf p[C];
    double scale[C];
    rfhe_graph *g = build(ROWS, "even4", C, p, scale);
    rfhe_error err = {0};
    uint32_t fused = 7;

    (void)state;
    ok(rfhe_graph_expand(g, &err), &err);
    assert_int_equal(g->n_metas, 1);
    for (uint32_t v = 0; v < g->n_values; v++) {
        rfhe_tensor *t = g->values[v].constant;
        if (t != NULL && strstr(g->values[v].name, "/paf/") != NULL && t->count == C) {
            t->f32[2] += 0.25F;
            break;
        }
    }
    ok(rfhe_graph_infer(g, 0, &err), &err);
    ok(rfhe_paf_fuse(g, &fused, &err), &err);
    assert_int_equal(fused, 0);
    assert_false(rfhe_graph_has_custom(g));
    assert_int_equal(rfhe_graph_set_meta(g, "rfhe.paf.0", "{\"node\": 3}"), RFHE_OK);
    assert_int_equal(rfhe_paf_fuse(g, &fused, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "rfhe.paf.0"));
    assert_int_equal(rfhe_graph_set_meta(g, "rfhe.paf.0", "no JSON"), RFHE_OK);
    assert_int_equal(rfhe_paf_fuse(g, &fused, NULL), RFHE_E_FORMAT);
    rfhe_graph_free(g);
}

static void rescaling_keeps_the_function(void **state)
{
    static const char *const forms[] = {"even2", "even8", "square", "linear", "f2g3", "alpha6"};
    rfhe_error err = {0};

    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        rfhe_paf p, q;
        ok(rfhe_paf_from_name(&p, forms[f], &err), &err);
        q = p;
        rfhe_paf_rescale(&q, 3.0, 4.5);
        for (double x = -2.9; x < 3; x += 0.23) {
            near(forms[f], 0, 4.5 * rfhe_paf_value(&q, x / 4.5), 3.0 * rfhe_paf_value(&p, x / 3.0),
                 1.0, 1e-11);
        }
    }
}

static void what_is_no_activation_is_refused(void **state)
{
    rfhe_paf p[C], other;
    double scale[C];
    rfhe_graph *g = build(ROWS, "even4", C, p, scale);
    rfhe_error err = {0};
    size_t sets = 0;

    (void)state;
    ok(rfhe_paf_from_name(&other, "even4", &err), &err);
    assert_int_equal(rfhe_paf_node_set(g, 0, "even4", &other, scale, 1, &err), RFHE_E_ARG);
    assert_int_equal(rfhe_paf_node_set(g, 1, "even4", &other, (double[]){-1}, 1, &err), RFHE_E_ARG);
    assert_int_equal(rfhe_paf_node_get(g, &g->nodes[0], NULL, NULL, &sets, &err), RFHE_E_ARG);
    /* Three sets do not suit five channels. */
    ok(rfhe_paf_node_set(g, 1, "even4", p, scale, 3, &err), &err);
    rfhe_exec *e = NULL;
    const rfhe_exec_options opt = {.batch = N};
    err = (rfhe_error){0};
    assert_int_equal(rfhe_exec_new(&e, g, &opt, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "act"));
    rfhe_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_gradients_match_the_formulas),
        cmocka_unit_test(bf16_stays_close_to_the_formulas),
        cmocka_unit_test(coefficients_follow_central_differences),
        cmocka_unit_test(exported_chains_compute_the_same_and_are_found_again),
        cmocka_unit_test(a_changed_chain_is_left_alone),
        cmocka_unit_test(rescaling_keeps_the_function),
        cmocka_unit_test(what_is_no_activation_is_refused),
    };

    rng = rfhe_rng_seed(test_seed(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
