/* method/merge.c: convolutions around a line become one that computes the same inside; what may not be merged stays. */
#include "test.h"

#include "base/mem.h"
#include "method/method.h"
#include "nn/exec.h"
#include "nn/zoo.h"

#include <math.h>
#include <stdio.h>

static void ok(rfhe_status st, const rfhe_error *err)
{
    if (st != RFHE_OK) { fail_msg("%s: %s", rfhe_status_name(st), err->text); }
}

/* --- Networks --- */

typedef struct maker {
    rfhe_graph *g;
    rfhe_rng rng;
    rfhe_value_id x;
    rfhe_error err;
} maker;

static rfhe_value_id numbers(maker *m, const rfhe_shape *shape, double mean, double spread)
{
    rfhe_tensor *t = NULL;
    rfhe_value_id v = 0;

    ok(rfhe_tensor_new(&t, RFHE_F32, shape), &m->err);
    for (size_t i = 0; i < t->count; i++) {
        t->f32[i] = (float)(mean + spread * (2 * rfhe_rng_uniform(&m->rng) - 1));
    }
    ok(rfhe_graph_add_constant(m->g, &v, NULL, t), &m->err);
    return v;
}

static maker maker_new(uint64_t seed, int64_t channels, int64_t height, int64_t width)
{
    const rfhe_shape shape = {.rank = 4, .dim = {1, channels, height, width}};
    maker m = {.rng = rfhe_rng_seed(seed, 3)};

    ok(rfhe_graph_new(&m.g, "merge"), &m.err);
    ok(rfhe_graph_add_value(m.g, &m.x, "x", RFHE_F32, &shape), &m.err);
    ok(rfhe_graph_add_input(m.g, m.x), &m.err);
    return m;
}

static void maker_finish(maker *m)
{
    ok(rfhe_graph_add_output(m->g, m->x), &m->err);
    ok(rfhe_graph_infer(m->g, 0, &m->err), &m->err);
}

static void add_conv(maker *m, const char *name, int64_t in, int64_t out, const rfhe_window *w,
                     bool has_bias)
{
    const int64_t groups = w->groups;
    const rfhe_shape shape = {.rank = 4, .dim = {out, in / groups, w->kernel[0], w->kernel[1]}};
    const rfhe_shape vector = {.rank = 1, .dim = {out}};
    const rfhe_attr attr = {.window = *w};
    rfhe_value_id op[3] = {m->x, numbers(m, &shape, 0, 0.5), 0};

    if (has_bias) { op[2] = numbers(m, &vector, 0, 1); }
    ok(rfhe_graph_add_node(m->g, &m->x, RFHE_OP_CONV, name, op, has_bias ? 3 : 2, &attr), &m->err);
}

static void add_norm(maker *m, int64_t channels)
{
    const rfhe_shape v = {.rank = 1, .dim = {channels}};
    const rfhe_attr attr = {.batchnorm = {.epsilon = 1e-3F, .momentum = 0.9F}};
    const rfhe_value_id in[5] = {m->x, numbers(m, &v, 1, 0.5), numbers(m, &v, 0, 1),
                                 numbers(m, &v, 0, 1), numbers(m, &v, 2, 1)};

    ok(rfhe_graph_add_node(m->g, &m->x, RFHE_OP_BATCHNORM, NULL, in, 5, &attr), &m->err);
}

/* A PAF of this form, with coefficients of its own for each of `sets` channels. */
static void add_paf(maker *m, const char *name, const char *form, size_t sets)
{
    enum { MOST = 64 };
    rfhe_paf p[MOST];
    double scale[MOST];

    assert_true(sets <= MOST);
    const rfhe_value_id x = m->x;
    ok(rfhe_graph_add_node(m->g, &m->x, RFHE_OP_RELU, name, &x, 1, NULL), &m->err);
    for (size_t i = 0; i < sets; i++) {
        ok(rfhe_paf_from_name(&p[i], form, &m->err), &m->err);
        for (uint32_t k = 0; k < p[i].n_terms[0]; k++) {
            p[i].coef[0][k] += rfhe_rng_uniform(&m->rng) - 0.5;
        }
        scale[i] = 1 + rfhe_rng_uniform(&m->rng);
    }
    ok(rfhe_paf_node_set(m->g, m->g->n_nodes - 1, form, p, scale, sets, &m->err), &m->err);
}

static rfhe_window window_of(int64_t kernel, int64_t stride, int64_t dilation, int64_t pad)
{
    rfhe_window w = {.spatial = 2, .groups = 1};

    for (int k = 0; k < 2; k++) {
        w.kernel[k] = kernel;
        w.stride[k] = stride;
        w.dilation[k] = dilation;
        w.pad_begin[k] = w.pad_end[k] = pad;
    }
    return w;
}

/* Kernel, stride, dilation and padding of each side by themselves; twice such a window fits the tests' images. */
static rfhe_window random_window(rfhe_rng *rng)
{
    rfhe_window w = {.spatial = 2, .groups = 1};

    for (int k = 0; k < 2; k++) {
        w.kernel[k] = 1 + (int64_t)rfhe_rng_below(rng, 4);
        w.stride[k] = 1 + (int64_t)rfhe_rng_below(rng, 3);
        w.dilation[k] = 1 + (int64_t)rfhe_rng_below(rng, 2);
        w.pad_begin[k] = (int64_t)rfhe_rng_below(rng, 3);
        w.pad_end[k] = (int64_t)rfhe_rng_below(rng, 3);
    }
    return w;
}

/* The output of `g` for the input drawn from `seed`; free it. */
static float *output_of(const rfhe_graph *g, rfhe_shape *shape, uint64_t seed)
{
    const rfhe_exec_options o = {.batch = 1};
    rfhe_rng rng = rfhe_rng_seed(seed, 4);
    rfhe_exec *e = NULL;
    rfhe_error err = {0};
    rfhe_shape in;
    size_t n = 0;

    ok(rfhe_exec_new(&e, g, &o, &err), &err);
    float *x = rfhe_exec_input(e, 0, &in);
    assert_true(rfhe_shape_count(&in, &n));
    for (size_t i = 0; i < n; i++) { x[i] = (float)(2 * rfhe_rng_uniform(&rng) - 1); }
    ok(rfhe_exec_forward(e, &err), &err);
    const float *y = rfhe_exec_output(e, 0, shape);
    assert_true(rfhe_shape_count(shape, &n));
    float *copy = rfhe_alloc(n, sizeof *copy);
    memcpy(copy, y, n * sizeof *copy);
    rfhe_exec_free(e);
    return copy;
}

/* --- Tests --- */

/* Whether window `at` of w reads only inside of `size` values. */
static bool is_inside(const rfhe_window *w, int k, int64_t at, int64_t size)
{
    const int64_t from = at * w->stride[k] - w->pad_begin[k];

    return from >= 0 && from + (w->kernel[k] - 1) * w->dilation[k] < size;
}

static void compare_one(uint64_t seed, size_t *inside, size_t *border)
{
    enum { IN = 2, MIDDLE = 3, OUT = 4, HEIGHT = 31, WIDTH = 28 };
    maker m = maker_new(seed, IN, HEIGHT, WIDTH);
    const rfhe_window a = random_window(&m.rng), b = random_window(&m.rng);
    rfhe_graph *merged = NULL;
    rfhe_shape shape = {0}, other = {0};
    uint32_t count = 0;

    add_conv(&m, "a", IN, MIDDLE, &a, seed % 2 == 0);
    if (seed % 3 == 0) { add_norm(&m, MIDDLE); }
    add_paf(&m, "line", "linear", seed % 5 == 0 ? 1 : MIDDLE);
    const rfhe_value_id line = m.x;
    add_conv(&m, "b", MIDDLE, OUT, &b, seed % 4 < 2);
    if (seed % 7 == 0) { add_norm(&m, OUT); }
    maker_finish(&m);
    const rfhe_shape middle = m.g->values[line].shape;
    ok(rfhe_graph_clone(&merged, m.g), &m.err);
    ok(rfhe_graph_infer(merged, 0, &m.err), &m.err);
    assert_true(rfhe_method_can_merge(merged, "line"));
    ok(rfhe_method_merge(merged, NULL, &count, &m.err), &m.err);
    assert_int_equal(count, 1);
    assert_int_equal(merged->n_nodes, seed % 7 == 0 ? 2 : 1);
    assert_string_equal(merged->nodes[0].name, "b");
    float *want = output_of(m.g, &shape, seed), *got = output_of(merged, &other, seed);
    assert_true(rfhe_shape_equal(&shape, &other));
    size_t at = 0;
    for (int64_t c = 0; c < shape.dim[1]; c++) {
        for (int64_t y = 0; y < shape.dim[2]; y++) {
            for (int64_t x = 0; x < shape.dim[3]; x++, at++) {
                if (!is_inside(&b, 0, y, middle.dim[2]) || !is_inside(&b, 1, x, middle.dim[3])) {
                    ++*border;
                    continue;
                }
                ++*inside;
                if (!(fabsf(want[at] - got[at]) < 1e-4F * (1 + fabsf(want[at])))) {
                    fail_msg("seed %" PRIu64 ", channel %d, place %d, %d: %.7g, merged %.7g", seed, (int)c,
                             (int)y, (int)x, (double)want[at], (double)got[at]);
                }
            }
        }
    }
    rfhe_free(want);
    rfhe_free(got);
    rfhe_graph_free(m.g);
    rfhe_graph_free(merged);
}

static void inside_a_merged_convolution_equals_the_chain(void **state)
{
    const uint64_t seed = test_seed();
    size_t inside = 0, border = 0;

    (void)state;
    for (size_t i = 0; i < test_rounds(210); i++) { compare_one(seed + i, &inside, &border); }
    assert_true(inside > border / 2 && border > 0);
}

/* Three convolutions without padding in between: two lines, one convolution, the same everywhere. */
static void chains_become_one_convolution(void **state)
{
    const rfhe_window first = window_of(3, 2, 1, 1), next = window_of(3, 1, 1, 0);
    maker m = maker_new(test_seed(), 2, 20, 20);
    rfhe_shape shape = {0}, other = {0};
    size_t n = 0;
    uint32_t count = 0;

    (void)state;
    add_conv(&m, "a", 2, 3, &first, false);
    add_norm(&m, 3);
    add_paf(&m, "one", "linear", 3);
    add_conv(&m, "b", 3, 5, &next, true);
    add_norm(&m, 5);
    add_paf(&m, "two", "linear", 1);
    add_conv(&m, "c", 5, 2, &next, false);
    maker_finish(&m);
    float *want = output_of(m.g, &shape, 1);
    rfhe_replace_row rows[3] = {{.node = "one"}, {.node = "three"}, {.node = "two"}};
    rfhe_replace_report report = {.row = rows, .n = 3};
    ok(rfhe_method_merge(m.g, &report, &count, &m.err), &m.err);
    assert_int_equal(count, 2);
    assert_true(rows[0].merged && !rows[1].merged && rows[2].merged);
    assert_int_equal(m.g->n_nodes, 1);
    assert_string_equal(m.g->nodes[0].name, "c");
    const rfhe_window *w = &m.g->nodes[0].attr.window;
    assert_true(w->kernel[0] == 3 + 2 * 2 + 2 * 2 && w->stride[1] == 2 && w->pad_end[0] == 1);
    float *got = output_of(m.g, &other, 1);
    assert_true(rfhe_shape_equal(&shape, &other) && rfhe_shape_count(&shape, &n));
    for (size_t i = 0; i < n; i++) { assert_true(fabsf(want[i] - got[i]) < 1e-4F * (1 + fabsf(want[i]))); }
    rfhe_free(want);
    rfhe_free(got);
    rfhe_graph_free(m.g);
}

/* What stands in the way: 0 nothing, 1 a group, 2 a second reader of the sums, 3 of the line's values, 4 an average
 * behind, 5 the line's value is an output, 6 a polynomial of degree 2. */
static rfhe_graph *obstructed(int what)
{
    maker m = maker_new(7, 4, 8, 8);
    rfhe_window w = window_of(3, 1, 1, 1), pool = window_of(2, 1, 1, 0);
    const rfhe_attr average = {.window = pool};
    rfhe_value_id other = 0;

    w.groups = what == 1 ? 2 : 1;
    add_conv(&m, "a", 4, 4, &w, true);
    const rfhe_value_id sums = m.x;
    add_paf(&m, "line", what == 6 ? "even2" : "linear", 4);
    const rfhe_value_id values = m.x;
    if (what == 4) {
        ok(rfhe_graph_add_node(m.g, &m.x, RFHE_OP_AVGPOOL, NULL, &values, 1, &average), &m.err);
    }
    w.groups = 1;
    add_conv(&m, "b", 4, 4, &w, false);
    if (what == 2 || what == 3) {
        other = what == 2 ? sums : values;
        ok(rfhe_graph_add_node(m.g, &m.x, RFHE_OP_ADD, NULL, (rfhe_value_id[]){m.x, other}, 2, NULL),
           &m.err);
    }
    if (what == 5) { ok(rfhe_graph_add_output(m.g, values), &m.err); }
    maker_finish(&m);
    return m.g;
}

static void only_what_may_be_merged_is(void **state)
{
    rfhe_error err = {0};

    (void)state;
    for (int what = 0; what <= 6; what++) {
        rfhe_graph *g = obstructed(what);
        const uint32_t nodes = g->n_nodes;
        uint32_t count = 7;
        if (rfhe_method_can_merge(g, "line") != (what == 0 || what == 6)) { fail_msg("case %d", what); }
        ok(rfhe_method_merge(g, NULL, &count, &err), &err);
        assert_int_equal(count, what == 0);
        assert_int_equal(g->n_nodes, what == 0 ? 1 : nodes);
        assert_false(rfhe_method_can_merge(g, "a"));
        rfhe_graph_free(g);
    }
}

/* In a residual network: the activation inside of each block. */
static void blocks_have_one_activation_to_drop(void **state)
{
    const rfhe_zoo_options zoo = {.width = 0.125};
    rfhe_graph *g = NULL;
    rfhe_error err = {0};
    size_t n = 0;

    (void)state;
    ok(rfhe_zoo_build(&g, "resnet20", &zoo, &err), &err);
    ok(rfhe_graph_infer(g, 0, &err), &err);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const char *name = g->nodes[i].name;
        if (g->nodes[i].op != RFHE_OP_RELU) { continue; }
        assert_int_equal(rfhe_method_can_merge(g, name), strstr(name, "relu1") != NULL);
        n += rfhe_method_can_merge(g, name);
    }
    assert_int_equal(n, 9);
    rfhe_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inside_a_merged_convolution_equals_the_chain),
        cmocka_unit_test(chains_become_one_convolution),
        cmocka_unit_test(only_what_may_be_merged_is),
        cmocka_unit_test(blocks_have_one_activation_to_drop),
    };

    return cmocka_run_group_tests(tests, NULL, test_nothing_is_left);
}
