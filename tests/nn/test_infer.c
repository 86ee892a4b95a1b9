/* Shape inference at its edges: inferring twice gives the same, sizes cannot overflow, padding nobody reaches is dropped. */
#include "test.h"

#include "nn/graph.h"

/* x -> op -> y. */
static rfhe_graph *one_node(rfhe_op op, const rfhe_attr *attr, const rfhe_shape *x)
{
    rfhe_graph *g = NULL;
    rfhe_value_id in = 0, out = 0;

    assert_int_equal(rfhe_graph_new(&g, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, &in, "x", RFHE_F32, x), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, in), RFHE_OK);
    assert_int_equal(rfhe_graph_add_node(g, &out, op, "y", &in, 1, attr), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, out), RFHE_OK);
    return g;
}

static const rfhe_shape *out_shape(const rfhe_graph *g)
{
    return &g->values[g->outputs[0]].shape;
}

static void a_slice_is_the_same_when_inferred_again(void **state)
{
    static const int64_t cases[][4] = {
        /* start, end, step, size of the result; the axis has 5 */
        {0, 5, 1, 5},          {-3, INT64_MAX, 1, 3},
        {4, INT64_MIN, -1, 5}, {INT64_MAX, INT64_MIN, -2, 3},
        {3, 0, -1, 3},         {-1, -6, -1, 5},
        {2, 2, 1, 0},          {INT64_MIN, 2, 1, 2},
        {1, 4, 2, 2},          {INT64_MIN, INT64_MIN, -1, 0},
        {-6, -7, -1, 0},       {0, -6, -1, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rfhe_attr attr = {.slice = {.n = 1,
                                          .axis = {1},
                                          .start = {cases[i][0]},
                                          .end = {cases[i][1]},
                                          .step = {cases[i][2]}}};
        rfhe_graph *g = one_node(RFHE_OP_SLICE, &attr, &(rfhe_shape){.rank = 2, .dim = {-1, 5}});
        for (int round = 0; round < 3; round++) {
            assert_int_equal(rfhe_graph_infer(g, round == 2 ? 4 : 0, NULL), RFHE_OK);
            if (out_shape(g)->dim[1] != cases[i][3]) {
                fail_msg("case %zu round %d: %" PRId64, i, round, out_shape(g)->dim[1]);
            }
        }
        rfhe_graph_free(g);
    }
}

static void an_axis_is_not_sliced_twice(void **state)
{
    const rfhe_attr attr = {.slice = {.n = 2, .axis = {1, -1}, .end = {3, 2}, .step = {1, 1}}};
    rfhe_graph *g = one_node(RFHE_OP_SLICE, &attr, &(rfhe_shape){.rank = 2, .dim = {-1, 5}});

    (void)state;
    assert_int_equal(rfhe_graph_infer(g, 0, NULL), RFHE_E_FORMAT);
    rfhe_graph_free(g);
}

static void sizes_that_would_overflow_are_refused(void **state)
{
    static const rfhe_shape shapes[] = {
        {.rank = 2, .dim = {-1, INT64_MAX}},
        {.rank = 2,
         .dim = {0, INT64_MAX}}, /* no elements, but sums over one dimension would overflow */
        {.rank = 4, .dim = {-1, (int64_t)1 << 20, (int64_t)1 << 20, 2}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        rfhe_graph *g = one_node(RFHE_OP_RELU, NULL, &shapes[i]);
        assert_int_equal(rfhe_graph_infer(g, 0, NULL), RFHE_E_UNSUPPORTED);
        assert_int_equal(rfhe_graph_infer(g, 1, NULL), RFHE_E_UNSUPPORTED);
        rfhe_graph_free(g);
    }
    /* A computed one: concatenated with itself until it is too large. */
    rfhe_graph *g =
        one_node(RFHE_OP_RELU, NULL, &(rfhe_shape){.rank = 2, .dim = {-1, (int64_t)1 << 38}});
    rfhe_value_id v = g->outputs[0];
    rfhe_status st = RFHE_OK;
    for (int i = 0; i < 40; i++) {
        const rfhe_value_id both[] = {v, v};
        assert_int_equal(rfhe_graph_add_node(g, &v, RFHE_OP_CONCAT, NULL, both, 2,
                                             &(rfhe_attr){.concat = {.axis = 1}}),
                         RFHE_OK);
    }
    st = rfhe_graph_infer(g, 0, NULL);
    assert_int_equal(st, RFHE_E_UNSUPPORTED);
    rfhe_graph_free(g);
}

static void groups_of_a_kernel_cannot_overflow(void **state)
{
    rfhe_graph *g = NULL;
    rfhe_value_id in[2], out = 0;
    const rfhe_shape x = {.rank = 3, .dim = {1, 4, 4}},
                     w = {.rank = 3, .dim = {(int64_t)1 << 40, 1, 1}};
    const rfhe_attr attr = {.window = {.spatial = 1,
                                       .kernel = {1},
                                       .stride = {1},
                                       .dilation = {1},
                                       .groups = (int64_t)1 << 40}};

    (void)state;
    assert_int_equal(rfhe_graph_new(&g, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, &in[0], "x", RFHE_F32, &x), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, &in[1], "w", RFHE_F32, &w), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, in[0]), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, in[1]), RFHE_OK);
    assert_int_equal(rfhe_graph_add_node(g, &out, RFHE_OP_CONV, "y", in, 2, &attr), RFHE_OK);
    assert_int_equal(rfhe_graph_infer(g, 0, NULL), RFHE_E_FORMAT);
    rfhe_graph_free(g);
}

/* PyTorch's exporter writes ceil_mode for opset 9 as more padding behind the data than the window is wide. */
static void pooling_pads_that_no_window_reaches_are_dropped(void **state)
{
    const rfhe_attr attr = {.window = {.spatial = 1,
                                       .kernel = {2},
                                       .stride = {2},
                                       .dilation = {1},
                                       .pad_begin = {1},
                                       .pad_end = {2},
                                       .groups = 1}};
    rfhe_graph *g = one_node(RFHE_OP_AVGPOOL, &attr, &(rfhe_shape){.rank = 3, .dim = {1, 1, 8}});

    (void)state;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(rfhe_graph_infer(g, 0, NULL), RFHE_OK);
        assert_int_equal(out_shape(g)->dim[2], 5);
        assert_int_equal(g->nodes[0].attr.window.pad_end[0], 1);
    }
    rfhe_graph_free(g);
    rfhe_attr wide = attr;
    wide.window.pad_end[0] = 4; /* the last window would see no data */
    g = one_node(RFHE_OP_AVGPOOL, &wide, &(rfhe_shape){.rank = 3, .dim = {1, 1, 8}});
    assert_int_equal(rfhe_graph_infer(g, 0, NULL), RFHE_E_FORMAT);
    rfhe_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_the_same_when_inferred_again),
        cmocka_unit_test(an_axis_is_not_sliced_twice),
        cmocka_unit_test(sizes_that_would_overflow_are_refused),
        cmocka_unit_test(groups_of_a_kernel_cannot_overflow),
        cmocka_unit_test(pooling_pads_that_no_window_reaches_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
