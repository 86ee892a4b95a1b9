/* The executor against the double-precision oracle: outputs by comparison, gradients by central differences of the
 * oracle, which is exact enough (double, step 1e-5) to need no backward code of its own. Every network begins with
 * x + c, c a trainable constant of x's shape, so that the gradient of the operator's input is checked too. */
#include "test.h"

#include "reference.h"

#include "base/mem.h"
#include "base/threads.h"
#include "nn/exec.h"

#include <math.h>
#include <stdio.h>

/* ---- building ---- */

static rfhe_rng rng;

static rfhe_graph *new_graph(const rfhe_shape *shape, rfhe_value_id *x)
{
    rfhe_graph *g = NULL;

    assert_int_equal(rfhe_graph_new(&g, "test"), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, x, "x", RFHE_F32, shape), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, *x), RFHE_OK);
    return g;
}

static rfhe_shape shape_of(uint32_t rank, const int64_t *dim)
{
    rfhe_shape s = {.rank = rank};

    memcpy(s.dim, dim, rank * sizeof *dim);
    return s;
}

#define SHAPE(...)                                                                                 \
    shape_of(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static rfhe_value_id constant(rfhe_graph *g, const char *name, rfhe_shape shape, double mean, double spread)
{
    rfhe_tensor *t = NULL;
    rfhe_value_id v = 0;

    assert_int_equal(rfhe_tensor_new(&t, RFHE_F32, &shape), RFHE_OK);
    for (size_t i = 0; i < t->count; i++) { t->f32[i] = (float)(mean + spread * rfhe_rng_normal(&rng)); }
    assert_int_equal(rfhe_graph_add_constant(g, &v, name, t), RFHE_OK);
    return v;
}

static rfhe_value_id node(rfhe_graph *g, rfhe_op op, const rfhe_attr *attr, uint32_t n,
                          const rfhe_value_id *in)
{
    rfhe_value_id y = 0;

    assert_int_equal(rfhe_graph_add_node(g, &y, op, rfhe_op_name(op), in, n, attr), RFHE_OK);
    return y;
}

#define NODE(g, op, attr, ...)                                                                     \
    node(g, RFHE_OP_##op, attr, sizeof((rfhe_value_id[]){__VA_ARGS__}) / sizeof(rfhe_value_id),     \
         (rfhe_value_id[]){__VA_ARGS__})

/* ---- comparing ---- */

static rfhe_exec *make(const rfhe_graph *g, rfhe_exec_options opt)
{
    rfhe_exec *e = NULL;
    rfhe_error err = {0};

    if (rfhe_exec_new(&e, g, &opt, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    return e;
}

static double loss_of(reference *r, double *const *weight)
{
    double sum = 0;

    reference_run(r);
    for (uint32_t o = 0; o < r->g->n_outputs; o++) {
        const rfhe_value_id v = r->g->outputs[o];
        for (size_t i = 0; i < reference_count(r, v); i++) { sum += weight[o][i] * r->value[v][i]; }
    }
    return sum;
}

/* |got - want| <= tolerance * (scale + |want|), scale = root mean square of what is compared, at least 1/100: gradients
 * that are zero in theory (of what a normalisation takes out again) are made of rounding. */
static void compare(const char *what, const float *got, const double *want, size_t n, double tolerance)
{
    double square = 0;

    for (size_t i = 0; i < n; i++) { square += want[i] * want[i]; }
    const double scale = sqrt(square / (double)(n > 0 ? n : 1)) + 1e-2;
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want[i]) <= tolerance * (scale + fabs(want[i])))) {
            fail_msg("%s[%zu of %zu]: got %.9g, want %.9g (tolerance %g)", what, i, n, (double)got[i],
                     want[i], tolerance);
        }
    }
}

typedef struct how {
    bool training, frozen;
    rfhe_compute compute;
    double tolerance;
    size_t gradients; /* at most this many elements per parameter are checked */
} how;

/* Runs `g` (whose graph it takes) both ways. */
static void check(rfhe_graph *g, how h)
{
    rfhe_exec_options opt = {.batch = 1, .training = h.training, .frozen_bn = h.frozen, .compute = h.compute};
    rfhe_error err = {0};
    double *weight[4] = {NULL};
    uint32_t n = 0;

    if (rfhe_graph_infer(g, 1, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    reference r = reference_new(g, h.training && !h.frozen);
    rfhe_exec *e = make(g, opt);
    const rfhe_param *params = rfhe_exec_params(e, &n);
    for (uint32_t i = 0; i < g->n_inputs; i++) {
        float *x = rfhe_exec_input(e, i, NULL);
        for (size_t k = 0; k < reference_count(&r, g->inputs[i]); k++) {
            x[k] = (float)rfhe_rng_normal(&rng);
            r.value[g->inputs[i]][k] = (double)x[k];
        }
    }
    reference_run(&r);
    for (int round = 0; round < 2; round++) { /* twice: no buffer may be overwritten while alive */
        assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
        for (uint32_t o = 0; o < g->n_outputs; o++) {
            compare(g->values[g->outputs[o]].name, rfhe_exec_output(e, o, NULL), r.value[g->outputs[o]],
                    reference_count(&r, g->outputs[o]), h.tolerance);
        }
        if (!h.training) { continue; }
        for (uint32_t o = 0; o < g->n_outputs; o++) {
            const size_t count = reference_count(&r, g->outputs[o]);
            float *dy = rfhe_exec_output_grad(e, o);
            if (weight[o] == NULL) { weight[o] = rfhe_calloc(count, sizeof(double)); }
            for (size_t i = 0; i < count; i++) {
                if (round == 0) { dy[i] = (float)rfhe_rng_normal(&rng); }
                weight[o][i] = (double)dy[i];
            }
        }
        assert_int_equal(rfhe_exec_backward(e, &err), RFHE_OK);
        for (uint32_t p = 0; p < n; p++) {
            const float *got = rfhe_exec_grads(e) + params[p].offset;
            const rfhe_value_id v = rfhe_graph_find(g, params[p].name);
            const size_t step = params[p].count / (h.gradients + 1) + 1;
            double want[512];
            float have[512];
            size_t m = 0;
            if (params[p].kind == RFHE_PARAM_BN_MEAN || params[p].kind == RFHE_PARAM_BN_VARIANCE) {
                assert_true(got[0] == 0.0F);
                continue;
            }
            for (size_t i = 0; i < params[p].count && m < 512; i += step) {
                double *x = &reference_value(&r, v)[i];
                const double old = *x, d = 1e-5;
                *x = old + d;
                const double up = loss_of(&r, weight);
                *x = old - d;
                const double down = loss_of(&r, weight);
                *x = old;
                have[m] = got[i];
                want[m++] = (up - down) / (2 * d);
            }
            compare(params[p].name, have, want, m, h.tolerance * 10);
        }
        reference_run(&r);
    }
    for (int o = 0; o < 4; o++) { rfhe_free(weight[o]); }
    rfhe_exec_free(e);
    reference_free(&r);
    rfhe_graph_free(g);
}

static const how train_f32 = {.training = true, .tolerance = 2e-5, .gradients = 40};
static const how evaluate_f32 = {.tolerance = 2e-5};

/* x + c, then what `op` makes of it. */
static rfhe_graph *start(rfhe_shape shape, rfhe_value_id *x)
{
    rfhe_graph *g = new_graph(&shape, x);

    rng = rfhe_rng_seed(test_seed(), (uint64_t)shape.dim[shape.rank - 1]);
    *x = NODE(g, ADD, NULL, *x, constant(g, "c", shape, 0, 1));
    return g;
}

static void finish(rfhe_graph *g, rfhe_value_id y)
{
    rfhe_graph *copy = NULL;

    assert_int_equal(rfhe_graph_add_output(g, y), RFHE_OK);
    assert_int_equal(rfhe_graph_clone(&copy, g), RFHE_OK);
    check(copy, evaluate_f32);
    check(g, train_f32);
}

/* ---- operators ---- */

typedef struct conv_case {
    uint32_t spatial;
    int64_t batch, ci, co, groups, size[3], kernel[3], stride[3], dilation[3], begin[3], end[3];
    bool has_bias;
} conv_case;

static void convolution_matches_the_reference(void **state)
{
    static const conv_case cases[] = {
        {2, 2, 3, 16, 1, {9, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, false},
        {2, 3, 17, 5, 1, {7, 7}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, true},
        {2, 1, 16, 32, 1, {8, 8}, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, false},
        {2, 2, 8, 8, 8, {6, 6}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, true},
        {2, 2, 6, 4, 2, {7, 5}, {3, 2}, {1, 2}, {2, 1}, {2, 0}, {1, 1}, true},
        {2, 1, 1, 1, 1, {5, 5}, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, true},
        {2, 2, 16, 16, 1, {12, 12}, {7, 7}, {2, 2}, {1, 1}, {3, 3}, {3, 3}, false},
        {1, 2, 4, 6, 1, {11}, {3}, {2}, {2}, {2}, {1}, true},
        {3, 1, 3, 4, 1, {5, 4, 6}, {3, 2, 3}, {1, 2, 1}, {1, 1, 1}, {1, 0, 1}, {1, 1, 1}, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const conv_case *k = &cases[i];
        rfhe_shape xs = {.rank = k->spatial + 2, .dim = {k->batch, k->ci}};
        rfhe_shape ws = {.rank = k->spatial + 2, .dim = {k->co, k->ci / k->groups}};
        rfhe_attr attr = {.window = {.spatial = k->spatial, .groups = k->groups}};
        rfhe_value_id x = 0;
        for (uint32_t d = 0; d < k->spatial; d++) {
            xs.dim[2 + d] = k->size[d];
            ws.dim[2 + d] = attr.window.kernel[d] = k->kernel[d];
            attr.window.stride[d] = k->stride[d];
            attr.window.dilation[d] = k->dilation[d];
            attr.window.pad_begin[d] = k->begin[d];
            attr.window.pad_end[d] = k->end[d];
        }
        rfhe_graph *g = start(xs, &x);
        const rfhe_value_id w = constant(g, "w", ws, 0, 1);
        const rfhe_value_id in[3] = {x, w, k->has_bias ? constant(g, "b", SHAPE(k->co), 0, 1) : 0};
        finish(g, node(g, RFHE_OP_CONV, &attr, k->has_bias ? 3 : 2, in));
    }
}

static rfhe_value_id add_batchnorm(rfhe_graph *g, rfhe_value_id x, int64_t channels)
{
    const rfhe_attr attr = {.batchnorm = {.epsilon = 1e-5F, .momentum = 0.9F}};
    const rfhe_value_id v = constant(g, "variance", SHAPE(channels), 0, 1);

    for (size_t i = 0; i < g->values[v].constant->count; i++) {
        float *f = &g->values[v].constant->f32[i];
        *f = 0.5F + *f * *f;
    }
    return NODE(g, BATCHNORM, &attr, x, constant(g, "scale", SHAPE(channels), 1, 0.3),
                constant(g, "shift", SHAPE(channels), 0, 0.5), constant(g, "mean", SHAPE(channels), 0, 1), v);
}

/* [BN] [+ Add] [+ Relu] in all forms that are fused and some that are not. */
static void batch_normalisation_in_all_modes_and_fusions(void **state)
{
    static const int64_t channels[] = {1, 3, 16, 17, 300};

    (void)state;
    for (size_t c = 0; c < sizeof channels / sizeof *channels; c++) {
        for (unsigned form = 0; form < 8; form++) {
            for (int frozen = 0; frozen < 2; frozen++) {
                rfhe_value_id x = 0, y = 0;
                rfhe_graph *g = start(SHAPE(3, channels[c], 4, 2), &x);
                y = add_batchnorm(g, x, channels[c]);
                if ((form & 1) != 0) { y = NODE(g, ADD, NULL, x, y); }
                if ((form & 2) != 0) { y = NODE(g, RELU, NULL, y); }
                if ((form & 4) != 0) { y = add_batchnorm(g, y, channels[c]); }
                assert_int_equal(rfhe_graph_add_output(g, y), RFHE_OK);
                how h = train_f32;
                h.frozen = frozen != 0;
                h.tolerance = 1e-4;
                h.gradients = 10;
                check(g, h);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_matches_the_reference),
        cmocka_unit_test(batch_normalisation_in_all_modes_and_fusions),
    };

    rng = rfhe_rng_seed(test_seed(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
