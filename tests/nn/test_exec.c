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
#include <stdlib.h>

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
    float *first = NULL;
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
        size_t total = 0;
        (void)rfhe_exec_values(e, &total);
        if (round == 1) {
            assert_memory_equal(rfhe_exec_grads(e), first, total * sizeof *first);
            break;
        }
        first = rfhe_alloc(total, sizeof *first);
        memcpy(first, rfhe_exec_grads(e), total * sizeof *first);
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
    rfhe_free(first);
    rfhe_exec_free(e);
    reference_free(&r);
    rfhe_graph_free(g);
}

static const how train_f32 = {.training = true, .tolerance = 2e-5, .gradients = 12};
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
    static const int64_t channels[] = {1, 3, 16, 17, 260};

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
                h.gradients = channels[c] > 100 ? 1 : 4;
                check(g, h);
            }
        }
    }
}


static void elementwise_operators_and_broadcasting(void **state)
{
    static const rfhe_op ops[] = {RFHE_OP_ADD, RFHE_OP_SUB, RFHE_OP_MUL};

    (void)state;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        for (int form = 0; form < 10; form++) {
            rfhe_value_id x = 0, b = 0;
            rfhe_graph *g = start(SHAPE(2, 3, 4, 5), &x);
            const rfhe_attr clip = {.clip = {.min = -0.5F, .max = 0.75F}};
            switch (form) {
            case 0: b = constant(g, "b", SHAPE(2, 3, 4, 5), 0, 1); break;
            case 1: b = constant(g, "b", SHAPE(3, 1, 1), 0, 1); break;
            case 2: b = constant(g, "b", SHAPE(5), 0, 1); break;
            case 3: b = constant(g, "b", (rfhe_shape){.rank = 0}, 0, 1); break;
            case 4: b = constant(g, "b", SHAPE(2, 1, 4, 1), 0, 1); break;
            case 5: b = NODE(g, CLIP, &clip, x); break;
            case 6: b = x; break;
            case 7: b = NODE(g, GLOBALAVGPOOL, NULL, x); break; /* broadcast of a computed value */
            case 8: b = add_batchnorm(g, x, 3); break;          /* other order in memory */
            default: b = constant(g, "b", SHAPE(2, 2, 1, 3, 1, 1), 0, 1); break;
            }
            finish(g, form % 2 == 0 ? node(g, ops[k], NULL, 2, (rfhe_value_id[]){x, b})
                                    : node(g, ops[k], NULL, 2, (rfhe_value_id[]){b, x}));
        }
    }
}

static void a_value_used_many_times_collects_all_its_gradients(void **state)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = start(SHAPE(2, 3, 4, 4), &x);
    const rfhe_value_id relu = NODE(g, RELU, NULL, x), square = NODE(g, MUL, NULL, relu, relu);
    const rfhe_value_id bn = add_batchnorm(g, relu, 3), sum = NODE(g, ADD, NULL, square, relu);
    const rfhe_value_id twice = NODE(g, ADD, NULL, sum, sum), same = NODE(g, IDENTITY, NULL, relu);

    (void)state;
    assert_int_equal(rfhe_graph_add_output(g, relu), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, same), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, NODE(g, SUB, NULL, bn, twice)), RFHE_OK);
    how h = train_f32;
    h.tolerance = 1e-4;
    check(g, h);
}

static void relu_and_clip_match_the_reference(void **state)
{
    const rfhe_attr clip = {.clip = {.min = -0.3F, .max = 0.9F}};
    const rfhe_attr open = {.clip = {.min = -INFINITY, .max = INFINITY}};
    rfhe_value_id x = 0;
    rfhe_graph *g = start(SHAPE(3, 7, 5), &x);

    (void)state;
    finish(g, NODE(g, CLIP, &clip, NODE(g, RELU, NULL, NODE(g, CLIP, &open, x))));
    g = start(SHAPE(1, 100), &x);
    finish(g, NODE(g, RELU, NULL, NODE(g, RELU, NULL, x)));
}

static void pooling_matches_the_reference(void **state)
{
    static const rfhe_window windows[] = {
        {.spatial = 2, .kernel = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}},
        {.spatial = 2, .kernel = {3, 3}, .stride = {2, 2}, .dilation = {1, 1}, .pad_begin = {1, 1}, .pad_end = {1, 1}},
        {.spatial = 2, .kernel = {3, 3}, .stride = {2, 2}, .dilation = {1, 1}, .pad_begin = {1, 0}, .pad_end = {0, 2},
         .count_include_pad = true},
        {.spatial = 2, .kernel = {3, 2}, .stride = {2, 3}, .dilation = {1, 1}, .ceil_mode = true},
        {.spatial = 2, .kernel = {3, 3}, .stride = {2, 2}, .dilation = {1, 1}, .pad_begin = {1, 1}, .pad_end = {1, 1},
         .ceil_mode = true, .count_include_pad = true},
        {.spatial = 2, .kernel = {2, 3}, .stride = {1, 1}, .dilation = {3, 2}, .pad_begin = {2, 1}, .pad_end = {1, 2}},
        {.spatial = 1, .kernel = {4}, .stride = {3}, .dilation = {1}, .pad_begin = {1}, .pad_end = {2}},
        {.spatial = 3, .kernel = {2, 3, 2}, .stride = {2, 1, 2}, .dilation = {1, 1, 1}, .pad_begin = {1, 1, 0}},
        {.spatial = 2, .kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .auto_pad = RFHE_PAD_SAME_LOWER},
    };
    static const int64_t channels[] = {1, 5, 300};

    (void)state;
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        for (size_t c = 0; c < (i == 1 ? 3 : 2); c++) {
            for (int average = 0; average < 2; average++) {
                rfhe_shape s = {.rank = 2 + windows[i].spatial, .dim = {2, channels[c], 7, 6, 5}};
                const rfhe_attr attr = {.window = windows[i]};
                rfhe_value_id x = 0;
                rfhe_graph *g = start(s, &x);
                finish(g, average != 0 ? NODE(g, AVGPOOL, &attr, x) : NODE(g, MAXPOOL, &attr, x));
            }
        }
    }
}

static void means_match_the_reference(void **state)
{
    static const struct {
        uint32_t n;
        int64_t axis[3];
    } axes[] = {{0, {0}}, {2, {2, 3}}, {1, {1}}, {1, {-1}}, {3, {0, 2, 3}}, {2, {0, 1}}};

    (void)state;
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        for (int variant = 0; variant < 4; variant++) {
            rfhe_attr attr = {.reduce = {.n = axes[i].n, .keep_dims = (variant & 1) != 0}};
            rfhe_value_id x = 0;
            rfhe_graph *g = start(SHAPE(2, 6, 3, 4), &x);
            memcpy(attr.reduce.axis, axes[i].axis, sizeof axes[i].axis);
            if ((variant & 2) != 0) { x = add_batchnorm(g, x, 6); } /* channels-last input */
            x = NODE(g, REDUCEMEAN, &attr, x);
            finish(g, NODE(g, MUL, NULL, x, x));
        }
    }
    for (int64_t c = 1; c < 400; c += 133) {
        rfhe_value_id x = 0;
        rfhe_graph *g = start(SHAPE(2, c, 3, 2), &x);
        finish(g, NODE(g, FLATTEN, &(rfhe_attr){.flatten = {.axis = 1}}, NODE(g, GLOBALAVGPOOL, NULL, x)));
    }
}

static void reshaping_sees_row_major_elements(void **state)
{
    (void)state;
    for (int64_t axis = 0; axis <= 4; axis++) {
        rfhe_value_id x = 0;
        rfhe_graph *g = start(SHAPE(2, 3, 4, 5), &x);
        x = NODE(g, FLATTEN, &(rfhe_attr){.flatten = {.axis = axis}}, add_batchnorm(g, x, 3));
        finish(g, NODE(g, MUL, NULL, x, x));
    }
    const rfhe_attr attr = {.reshape = {.shape = {.rank = 3, .dim = {0, 10, -1}}}};
    rfhe_value_id x = 0;
    rfhe_graph *g = start(SHAPE(2, 3, 4, 5), &x);
    const rfhe_value_id y = NODE(g, RESHAPE, &attr, x), z = NODE(g, RESHAPE, &attr, x);
    finish(g, NODE(g, ADD, NULL, NODE(g, RELU, NULL, y), z)); /* two views of one value */
}

static void slices_pads_and_concatenations_match_the_reference(void **state)
{
    static const rfhe_attr slices[] = {
        {.slice = {.n = 2, .axis = {2, 3}, .start = {0, 0}, .end = {99, 99}, .step = {2, 2}}},
        {.slice = {.n = 1, .axis = {1}, .start = {1}, .end = {-1}, .step = {1}}},
        {.slice = {.n = 2, .axis = {-1, 2}, .start = {-1, 4}, .end = {-99, 0}, .step = {-2, -1}}},
    };
    static const rfhe_attr pads[] = {
        {.pad = {.begin = {0, 2, 0, 0}, .end = {0, 3, 0, 0}}},
        {.pad = {.begin = {0, 0, 1, 2}, .end = {0, 0, 3, 0}, .value = 0.5F}},
        {.pad = {.begin = {0, -1, 1, -2}, .end = {0, 1, -1, 0}}},
        {.pad = {.begin = {0, 0, 2, 1}, .end = {0, 0, 1, 3}, .mode = RFHE_PAD_REFLECT}},
        {.pad = {.begin = {0, 1, 2, 7}, .end = {1, 0, 1, 3}, .mode = RFHE_PAD_EDGE}},
    };

    (void)state;
    for (int last = 0; last < 2; last++) {
        for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
            rfhe_value_id x = 0;
            rfhe_graph *g = start(SHAPE(2, 5, 6, 7), &x);
            if (last != 0) { x = add_batchnorm(g, x, 5); }
            finish(g, NODE(g, SLICE, &slices[i], x));
        }
        for (size_t i = 0; i < sizeof pads / sizeof *pads; i++) {
            rfhe_value_id x = 0;
            rfhe_graph *g = start(SHAPE(2, 5, 4, 5), &x);
            if (last != 0) { x = add_batchnorm(g, x, 5); }
            finish(g, NODE(g, PAD, &pads[i], x));
        }
        for (int64_t axis = 0; axis < 4; axis++) {
            const rfhe_attr attr = {.concat = {.axis = axis}};
            rfhe_value_id x = 0;
            rfhe_graph *g = start(SHAPE(2, 3, 4, 5), &x);
            const rfhe_value_id y = last != 0 ? add_batchnorm(g, x, 3) : NODE(g, RELU, NULL, x);
            finish(g, NODE(g, CONCAT, &attr, x, y, x, constant(g, "k", SHAPE(2, 3, 4, 5), 0, 1)));
        }
    }
    /* The shortcut of the CIFAR ResNets: every second pixel, channels padded on both sides. */
    const rfhe_attr widen = {.pad = {.begin = {0, 2}, .end = {0, 2}}};
    rfhe_value_id x = 0;
    rfhe_graph *g = start(SHAPE(2, 4, 6, 6), &x);
    const rfhe_value_id y = NODE(g, SLICE, &slices[0], add_batchnorm(g, x, 4));
    finish(g, NODE(g, PAD, &widen, y));
}

static void softmax_matches_the_reference(void **state)
{
    (void)state;
    for (int64_t axis = -1; axis < 3; axis++) {
        for (int flattened = 0; flattened < 2; flattened++) {
            const rfhe_attr attr = {.softmax = {.axis = axis, .flattened = flattened != 0}};
            rfhe_value_id x = 0;
            rfhe_graph *g = start(SHAPE(2, 5, 3), &x);
            finish(g, NODE(g, SOFTMAX, &attr, x));
        }
    }
}

static void matrix_products_match_the_reference(void **state)
{
    static const int64_t shapes[][2][4] = {{{0, 0, 3, 4}, {0, 0, 4, 5}}, {{0, 2, 3, 4}, {0, 0, 4, 5}},
                                           {{2, 3, 2, 4}, {1, 3, 4, 2}}, {{0, 1, 3, 4}, {2, 3, 4, 2}},
                                           {{0, 0, 0, 4}, {0, 0, 4, 3}}, {{0, 2, 3, 4}, {0, 0, 0, 4}},
                                           {{0, 0, 0, 4}, {0, 0, 0, 4}}, {{0, 0, 0, 4}, {0, 2, 4, 3}}};

    (void)state;
    for (int form = 0; form < 16; form++) {
        const bool ta = (form & 1) != 0, tb = (form & 2) != 0;
        const rfhe_attr attr = {.gemm = {.alpha = 0.5F, .beta = 1.5F, .trans_a = ta, .trans_b = tb}};
        rfhe_value_id x = 0;
        rfhe_graph *g = start(ta ? SHAPE(7, 6) : SHAPE(6, 7), &x);
        const rfhe_value_id w = constant(g, "w", tb ? SHAPE(5, 7) : SHAPE(7, 5), 0, 1);
        if ((form & 4) != 0) {
            const rfhe_value_id c = constant(g, "k", (form & 8) != 0 ? SHAPE(6, 1) : SHAPE(5), 0, 1);
            finish(g, NODE(g, GEMM, &attr, x, w, c));
        } else if ((form & 8) != 0) {
            finish(g, NODE(g, GEMM, &attr, x, NODE(g, RELU, NULL, w))); /* a computed matrix */
        } else {
            finish(g, NODE(g, GEMM, &attr, x, w));
        }
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        rfhe_shape s[2] = {{.rank = 0}, {.rank = 0}};
        rfhe_value_id x = 0;
        for (int k = 0; k < 2; k++) {
            for (int d = 0; d < 4; d++) {
                if (shapes[i][k][d] > 0) { s[k].dim[s[k].rank++] = shapes[i][k][d]; }
            }
        }
        rfhe_graph *g = start(s[0], &x);
        finish(g, NODE(g, MATMUL, NULL, x, constant(g, "w", s[1], 0, 1)));
    }
}

/* ---- a whole network ---- */

static rfhe_value_id conv3(rfhe_graph *g, rfhe_value_id x, int64_t ci, int64_t co, int64_t stride)
{
    const rfhe_attr attr = {.window = {.spatial = 2, .kernel = {3, 3}, .stride = {stride, stride},
                                       .dilation = {1, 1}, .pad_begin = {1, 1}, .pad_end = {1, 1}, .groups = 1}};

    return NODE(g, CONV, &attr, x, constant(g, "w", SHAPE(co, ci, 3, 3), 0, sqrt(2.0 / (double)(9 * ci))));
}

/* A narrow ResNet with both kinds of shortcut: `width` channels, then twice as many. */
static rfhe_graph *small_resnet(int64_t batch, int64_t width, int64_t size)
{
    rfhe_value_id x = 0;
    const rfhe_shape input = SHAPE(batch, 3, size, size);
    const rfhe_attr one = {.window = {.spatial = 2, .kernel = {1, 1}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1}};
    const rfhe_attr half = {.slice = {.n = 2, .axis = {2, 3}, .end = {INT64_MAX, INT64_MAX}, .step = {2, 2}}};
    const rfhe_attr widen = {.pad = {.begin = {0, width / 2}, .end = {0, width - width / 2}}};
    const rfhe_attr gemm = {.gemm = {.alpha = 1, .beta = 1, .trans_b = true}};
    const rfhe_attr flat = {.flatten = {.axis = 1}};
    rfhe_graph *g = new_graph(&input, &x);

    rng = rfhe_rng_seed(test_seed(), 77);
    x = NODE(g, RELU, NULL, add_batchnorm(g, conv3(g, x, 3, width, 1), width));
    for (int block = 0; block < 3; block++) {
        const int64_t ci = block == 0 ? width : width << (block - 1), co = width << block;
        rfhe_value_id shortcut = x;
        rfhe_value_id y = conv3(g, x, ci, co, block == 0 ? 1 : 2);
        y = NODE(g, RELU, NULL, add_batchnorm(g, y, co));
        y = add_batchnorm(g, conv3(g, y, co, co, 1), co);
        if (block == 1) { shortcut = NODE(g, PAD, &widen, NODE(g, SLICE, &half, x)); }
        if (block == 2) {
            shortcut = NODE(g, CONV, &one, x, constant(g, "down", SHAPE(co, ci, 1, 1), 0, 0.5));
            shortcut = add_batchnorm(g, shortcut, co);
        }
        x = NODE(g, RELU, NULL, NODE(g, ADD, NULL, y, shortcut));
    }
    x = NODE(g, FLATTEN, &flat, NODE(g, GLOBALAVGPOOL, NULL, x));
    x = NODE(g, GEMM, &gemm, x, constant(g, "fc", SHAPE(10, 4 * width), 0, 0.5), constant(g, "fcb", SHAPE(10), 0, 1));
    assert_int_equal(rfhe_graph_add_output(g, x), RFHE_OK);
    return g;
}

static void a_small_residual_network_has_the_right_gradients(void **state)
{
    (void)state;
    (void)rfhe_threads_set(2);
    for (int frozen = 0; frozen < 2; frozen++) {
        how h = train_f32;
        h.frozen = frozen != 0;
        h.tolerance = 2e-4;
        h.gradients = 4;
        check(small_resnet(4, 4, 8), h);
    }
    check(small_resnet(2, 16, 8), evaluate_f32);
}

static void fill_inputs(rfhe_exec *e, uint64_t stream)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), stream);
    rfhe_shape s;
    float *x = rfhe_exec_input(e, 0, &s);
    size_t n = 0;

    assert_true(rfhe_shape_count(&s, &n));
    for (size_t i = 0; i < n; i++) { x[i] = (float)rfhe_rng_normal(&r); }
}

/* Relative distance of two vectors in the Euclidean norm. */
static double distance(const float *a, const float *b, size_t n)
{
    double d = 0, s = 0;

    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)b[i] * (double)b[i];
    }
    return sqrt(d / (s + 1e-30));
}

static void bf16_stays_close_to_float(void **state)
{
    rfhe_graph *g = small_resnet(8, 16, 16);
    rfhe_exec_options opt = {.batch = 8, .training = true};
    rfhe_exec *f = NULL, *b = NULL;
    rfhe_error err = {0};
    size_t n = 0;

    (void)state;
    assert_int_equal(rfhe_exec_new(&f, g, &opt, &err), RFHE_OK);
    opt.compute = RFHE_COMPUTE_BF16;
    if (rfhe_exec_new(&b, g, &opt, &err) == RFHE_E_UNSUPPORTED) {
        rfhe_exec_free(f);
        rfhe_graph_free(g);
        skip();
    }
    assert_non_null(b);
    rfhe_exec *both[2] = {f, b};
    for (int k = 0; k < 2; k++) {
        fill_inputs(both[k], 5);
        assert_int_equal(rfhe_exec_forward(both[k], &err), RFHE_OK);
        for (int i = 0; i < 80; i++) { rfhe_exec_output_grad(both[k], 0)[i] = i % 10 == 3 ? -1.0F : 0.1F; }
        assert_int_equal(rfhe_exec_backward(both[k], &err), RFHE_OK);
    }
    assert_true(distance(rfhe_exec_output(b, 0, NULL), rfhe_exec_output(f, 0, NULL), 80) < 0.03);
    (void)rfhe_exec_values(f, &n);
    /* Coarse: values next to zero change sign in bf16, and ReLU then passes other gradients. */
    assert_true(distance(rfhe_exec_grads(b), rfhe_exec_grads(f), n) < 0.2);
    rfhe_exec_free(f);
    rfhe_exec_free(b);
    rfhe_graph_free(g);
}

static void training_lowers_the_loss_and_repeats_bit_for_bit(void **state)
{
    rfhe_graph *g = small_resnet(8, 8, 8);
    const rfhe_exec_options opt = {.batch = 8, .training = true};
    double first = 0, last = 0;
    float *kept = NULL;
    rfhe_error err = {0};
    size_t n = 0;

    (void)state;
    for (int round = 0; round < 2; round++) {
        rfhe_exec *e = make(g, opt);
        float *w = rfhe_exec_values(e, &n);
        for (int step = 0; step < 30; step++) {
            fill_inputs(e, 9);
            assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
            last = 0;
            for (int i = 0; i < 80; i++) { /* half the squared distance to a one-hot target */
                const float d = rfhe_exec_output(e, 0, NULL)[i] - (i % 10 == i / 10 ? 1.0F : 0.0F);
                rfhe_exec_output_grad(e, 0)[i] = d;
                last += (double)(d * d) / 2;
            }
            if (step == 0) { first = last; }
            assert_int_equal(rfhe_exec_backward(e, &err), RFHE_OK);
            for (size_t i = 0; i < n; i++) { w[i] -= 0.002F * rfhe_exec_grads(e)[i]; }
            rfhe_exec_weights_changed(e);
        }
        assert_true(last < first / 3);
        if (round == 0) {
            kept = rfhe_alloc(n, sizeof *kept);
            memcpy(kept, w, n * sizeof *kept);
        } else {
            assert_memory_equal(kept, w, n * sizeof *kept);
        }
        rfhe_exec_free(e);
    }
    rfhe_free(kept);
    rfhe_graph_free(g);
}

static void running_statistics_follow_pytorchs_rule(void **state)
{
    rfhe_value_id x = 0;
    const rfhe_shape s = SHAPE(4, 2, 3, 3);
    rfhe_graph *g = new_graph(&s, &x);
    const rfhe_exec_options opt = {.batch = 4, .training = true};
    uint32_t n = 0;
    rfhe_error err = {0};
    double mean[2] = {0}, variance[2] = {0};

    (void)state;
    assert_int_equal(rfhe_graph_add_output(g, add_batchnorm(g, x, 2)), RFHE_OK);
    rfhe_exec *e = make(g, opt);
    const rfhe_param *p = rfhe_exec_params(e, &n);
    float *values = rfhe_exec_values(e, NULL), *m = values + p[2].offset, *v = values + p[3].offset;
    const double old_mean = (double)m[0], old_variance = (double)v[0];
    fill_inputs(e, 3);
    const float *in = rfhe_exec_input(e, 0, NULL);
    for (int i = 0; i < 72; i++) { mean[i / 9 % 2] += (double)in[i] / 36; }
    for (int i = 0; i < 72; i++) {
        const double d = (double)in[i] - mean[i / 9 % 2];
        variance[i / 9 % 2] += d * d / 35;
    }
    assert_int_equal(p[2].kind, RFHE_PARAM_BN_MEAN);
    assert_int_equal(p[3].kind, RFHE_PARAM_BN_VARIANCE);
    assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK); /* ONNX momentum 0.9 = PyTorch 0.1 */
    assert_true(fabs((double)m[0] - (0.9 * old_mean + 0.1 * mean[0])) < 1e-6);
    assert_true(fabs((double)v[0] - (0.9 * old_variance + 0.1 * variance[0])) < 1e-6);
    rfhe_exec_bn_momentum(e, -1); /* cumulative: the first run replaces, equal runs do not change it */
    for (int k = 0; k < 3; k++) {
        assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
        assert_true(fabs((double)m[1] - mean[1]) < 1e-6 && fabs((double)v[1] - variance[1]) < 1e-6);
    }
    assert_int_equal(rfhe_exec_store(e, g, &err), RFHE_OK);
    assert_true(g->values[rfhe_graph_find(g, "mean")].constant->f32[1] == m[1]);
    rfhe_exec_free(e);
    rfhe_graph_free(g);
}

static void dropout_drops_in_training_only(void **state)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = start(SHAPE(64, 100), &x);
    const rfhe_attr attr = {.dropout = {.ratio = 0.25F}};
    rfhe_exec_options opt = {.batch = 64};
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_graph_add_output(g, NODE(g, DROPOUT, &attr, x)), RFHE_OK);
    for (int training = 0; training < 2; training++) {
        int zeros = 0;
        opt.training = training != 0;
        rfhe_exec *e = make(g, opt);
        for (size_t i = 0; i < 6400; i++) { rfhe_exec_input(e, 0, NULL)[i] = 100.0F; }
        assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
        for (size_t i = 0; i < 6400; i++) { zeros += rfhe_exec_output(e, 0, NULL)[i] == 0.0F; }
        if (training == 0) {
            assert_int_equal(zeros, 0);
        } else {
            uint32_t n = 0;
            int blocked = 0;
            assert_true(abs(zeros - 1600) < 150);
            for (size_t i = 0; i < 6400; i++) { rfhe_exec_output_grad(e, 0)[i] = 3.0F; }
            assert_int_equal(rfhe_exec_backward(e, &err), RFHE_OK);
            assert_int_equal(rfhe_exec_params(e, &n)[0].count, 6400);
            for (size_t i = 0; i < 6400; i++) {
                const float d = rfhe_exec_grads(e)[i];
                assert_true(d == 0.0F || fabsf(d - 4.0F) < 1e-5F);
                assert_true((d == 0.0F) == (rfhe_exec_output(e, 0, NULL)[i] == 0.0F));
                blocked += d == 0.0F;
            }
            assert_int_equal(blocked, zeros);
        }
        rfhe_exec_free(e);
    }
    rfhe_graph_free(g);
}

static void intermediate_values_can_be_kept_and_read(void **state)
{
    rfhe_value_id x = 0;
    const rfhe_shape s = SHAPE(2, 3, 4, 4);
    rfhe_graph *g = new_graph(&s, &x);
    const char *keep[] = {"BatchNormalization", "Conv"};
    rfhe_exec_options opt = {.batch = 2, .keep = keep, .n_keep = 2};
    rfhe_error err = {0};
    float got[2 * 3 * 16];

    (void)state;
    rng = rfhe_rng_seed(test_seed(), 5);
    const rfhe_value_id conv = conv3(g, x, 3, 3, 1), bn = add_batchnorm(g, conv, 3);
    const rfhe_value_id relu = NODE(g, RELU, NULL, bn);
    assert_int_equal(rfhe_graph_add_output(g, conv3(g, relu, 3, 3, 1)), RFHE_OK);
    rfhe_exec *e = make(g, opt);
    reference r = reference_new(g, false);
    assert_int_equal(rfhe_graph_infer(g, 2, &err), RFHE_OK);
    reference_free(&r);
    r = reference_new(g, false);
    fill_inputs(e, 4);
    for (size_t i = 0; i < 96; i++) { r.value[x][i] = (double)rfhe_exec_input(e, 0, NULL)[i]; }
    reference_run(&r);
    assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
    assert_int_equal(rfhe_exec_read(e, "BatchNormalization", got, 96, &err), RFHE_OK);
    compare("kept", got, r.value[bn], 96, 1e-5);
    assert_int_equal(rfhe_exec_read(e, "Conv", got, 96, &err), RFHE_OK);
    compare("kept", got, r.value[conv], 96, 1e-5);
    assert_int_equal(rfhe_exec_read(e, "Conv", got, 95, &err), RFHE_E_ARG);
    assert_int_equal(rfhe_exec_read(e, "nobody", got, 96, &err), RFHE_E_ARG);
    reference_free(&r);
    rfhe_exec_free(e);
    rfhe_graph_free(g);
}

static void failed_allocations_are_reported_and_leak_nothing(void **state)
{
    rfhe_graph *g = small_resnet(2, 4, 8);
    const rfhe_exec_options opt = {.batch = 2, .training = true};
    rfhe_exec *e = NULL;

    (void)state;
    const size_t before = rfhe_mem_get_stats().current;
    const size_t start_count = rfhe_mem_get_stats().allocations;
    e = make(g, opt);
    const size_t total = rfhe_mem_get_stats().allocations - start_count;
    rfhe_exec_free(e);
    assert_int_equal(rfhe_mem_get_stats().current, before);
    for (size_t n = 1; n <= total; n += 1 + total / test_rounds(60)) {
        rfhe_error err = {0};
        e = NULL;
        rfhe_mem_fail_at(n);
        assert_int_equal(rfhe_exec_new(&e, g, &opt, &err), RFHE_E_NOMEM);
        rfhe_mem_fail_at(0);
        assert_null(e);
        assert_non_null(strstr(err.text, "mem"));
        assert_int_equal(rfhe_mem_get_stats().current, before);
    }
    rfhe_graph_free(g);
}

static void what_cannot_be_run_is_refused_in_a_sentence(void **state)
{
    rfhe_value_id x = 0;
    const rfhe_shape s = SHAPE(1, 2, 4, 4);
    rfhe_graph *g = new_graph(&s, &x);
    const rfhe_attr pool = {.window = {.spatial = 2, .kernel = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1}};
    rfhe_exec_options opt = {.batch = 1};
    rfhe_exec *e = NULL;
    rfhe_error err = {0};
    rfhe_value_id out[2] = {0};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rfhe_graph_add_value(g, &out[i], NULL, RFHE_F32, NULL), RFHE_OK);
    }
    assert_int_equal(rfhe_graph_add_node_to(g, RFHE_OP_MAXPOOL, "pool", &x, 1, out, 2, &pool), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, out[1]), RFHE_OK);
    assert_int_not_equal(rfhe_exec_new(&e, g, &opt, &err), RFHE_OK);
    assert_non_null(strstr(err.text, "pool"));
    rfhe_graph_free(g);

    g = new_graph(&s, &x);
    const rfhe_value_id w = NODE(g, MUL, NULL, constant(g, "w", SHAPE(1, 2, 2, 2), 0, 1), constant(g, "two", SHAPE(1), 2, 0));
    assert_int_equal(rfhe_graph_add_output(g, NODE(g, CONV, &pool, x, w)), RFHE_OK);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_exec_new(&e, g, &opt, &err), RFHE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "must be constants"));
    opt.batch = 0;
    assert_int_equal(rfhe_exec_new(&e, g, &opt, NULL), RFHE_E_ARG);
    opt = (rfhe_exec_options){.batch = 1, .n_keep = 1, .keep = (const char *[]){"ghost"}};
    err = (rfhe_error){0};
    assert_int_equal(rfhe_exec_new(&e, g, &opt, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "ghost"));
    rfhe_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_matches_the_reference),
        cmocka_unit_test(batch_normalisation_in_all_modes_and_fusions),
        cmocka_unit_test(elementwise_operators_and_broadcasting),
        cmocka_unit_test(a_value_used_many_times_collects_all_its_gradients),
        cmocka_unit_test(relu_and_clip_match_the_reference),
        cmocka_unit_test(pooling_matches_the_reference),
        cmocka_unit_test(means_match_the_reference),
        cmocka_unit_test(reshaping_sees_row_major_elements),
        cmocka_unit_test(slices_pads_and_concatenations_match_the_reference),
        cmocka_unit_test(softmax_matches_the_reference),
        cmocka_unit_test(matrix_products_match_the_reference),
        cmocka_unit_test(a_small_residual_network_has_the_right_gradients),
        cmocka_unit_test(bf16_stays_close_to_float),
        cmocka_unit_test(training_lowers_the_loss_and_repeats_bit_for_bit),
        cmocka_unit_test(running_statistics_follow_pytorchs_rule),
        cmocka_unit_test(dropout_drops_in_training_only),
        cmocka_unit_test(intermediate_values_can_be_kept_and_read),
        cmocka_unit_test(failed_allocations_are_reported_and_leak_nothing),
        cmocka_unit_test(what_cannot_be_run_is_refused_in_a_sentence),
    };

    rng = rfhe_rng_seed(test_seed(), 0);
    (void)rfhe_threads_set(1); /* the network tests below use two */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
