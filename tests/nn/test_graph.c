/* graph.c and shapes.c: building, sorting, tidying, metadata, and what every operator does to shapes. */
#include "test.h"

#include "base/mem.h"
#include "nn/graph.h"

#include <stdio.h>

static rfhe_shape shape_of(uint32_t rank, const int64_t *dim)
{
    rfhe_shape s = {.rank = rank};

    memcpy(s.dim, dim, rank * sizeof *dim);
    return s;
}

#define SHAPE(...)                                                                                 \
    shape_of(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static rfhe_graph *new_graph(rfhe_shape shape, rfhe_value_id *x)
{
    rfhe_graph *g = NULL;

    assert_int_equal(rfhe_graph_new(&g, "g"), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, x, "x", RFHE_F32, &shape), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, *x), RFHE_OK);
    return g;
}

static rfhe_value_id constant(rfhe_graph *g, const char *name, rfhe_shape shape)
{
    rfhe_tensor *t = NULL;
    rfhe_value_id v = 0;

    assert_int_equal(rfhe_tensor_new(&t, RFHE_F32, &shape), RFHE_OK);
    assert_int_equal(rfhe_graph_add_constant(g, &v, name, t), RFHE_OK);
    return v;
}

static rfhe_value_id node(rfhe_graph *g, rfhe_op op, const char *name, const rfhe_attr *attr, uint32_t n,
                          const rfhe_value_id *in)
{
    rfhe_value_id y = 0;

    assert_int_equal(rfhe_graph_add_node(g, &y, op, name, in, n, attr), RFHE_OK);
    return y;
}

#define NODE(g, op, attr, ...)                                                                     \
    node(g, RFHE_OP_##op, "y", attr, sizeof((rfhe_value_id[]){__VA_ARGS__}) / sizeof(rfhe_value_id), \
         (rfhe_value_id[]){__VA_ARGS__})

static void names_are_unique_and_found(void **state)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = new_graph(SHAPE(1, 4), &x);
    const rfhe_value_id a = NODE(g, RELU, NULL, x), b = NODE(g, RELU, NULL, a);

    (void)state;
    assert_string_equal(g->values[a].name, "y");
    assert_string_equal(g->values[b].name, "y_1");
    assert_int_equal(rfhe_graph_find(g, "y_1"), b);
    assert_int_equal(rfhe_graph_find(g, "nobody"), RFHE_NO_VALUE);
    assert_string_equal(rfhe_op_name(RFHE_OP_GLOBALAVGPOOL), "GlobalAveragePool");
    assert_string_equal(rfhe_op_name(RFHE_OP_COUNT), "unknown");
    rfhe_graph_free(g);
}

static void metadata_is_set_replaced_and_removed(void **state)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = new_graph(SHAPE(1), &x), *copy = NULL;

    (void)state;
    assert_null(rfhe_graph_meta(g, "k"));
    assert_int_equal(rfhe_graph_set_meta(g, "k", "1"), RFHE_OK);
    assert_int_equal(rfhe_graph_set_meta(g, "l", "2"), RFHE_OK);
    assert_int_equal(rfhe_graph_set_meta(g, "k", "3"), RFHE_OK);
    assert_int_equal(rfhe_graph_clone(&copy, g), RFHE_OK);
    assert_string_equal(rfhe_graph_meta(copy, "k"), "3");
    assert_int_equal(rfhe_graph_set_meta(g, "k", NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_set_meta(g, "never", NULL), RFHE_OK);
    assert_null(rfhe_graph_meta(g, "k"));
    assert_string_equal(rfhe_graph_meta(g, "l"), "2");
    rfhe_graph_free(g);
    rfhe_graph_free(copy);
}

/* Nodes are added in the wrong order, one of them is dead, a constant is unused. */
static void tidying_sorts_and_drops(void **state)
{
    rfhe_value_id x = 0, a = 0, b = 0;
    rfhe_graph *g = new_graph(SHAPE(2, 3), &x);
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_graph_add_value(g, &a, "a", RFHE_F32, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, &b, "b", RFHE_F32, NULL), RFHE_OK);
    (void)constant(g, "unused", SHAPE(7));
    assert_int_equal(rfhe_graph_add_node_to(g, RFHE_OP_RELU, "second", &a, 1, &b, 1, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_node_to(g, RFHE_OP_IDENTITY, "first", &x, 1, &a, 1, NULL), RFHE_OK);
    (void)NODE(g, SOFTMAX, NULL, x);
    assert_int_equal(rfhe_graph_add_output(g, b), RFHE_OK);
    assert_int_equal(rfhe_graph_tidy(g, &err), RFHE_OK);
    assert_int_equal(g->n_nodes, 2);
    assert_string_equal(g->nodes[0].name, "first");
    assert_string_equal(g->nodes[1].name, "second");
    assert_int_equal(g->n_values, 3);
    assert_int_equal(rfhe_graph_find(g, "unused"), RFHE_NO_VALUE);
    for (uint32_t i = 0; i < 2; i++) { assert_int_equal(g->values[g->nodes[i].outputs[0]].producer, i); }
    assert_int_equal(rfhe_graph_infer(g, 0, &err), RFHE_OK);
    rfhe_graph_replace_uses(g, rfhe_graph_find(g, "a"), rfhe_graph_find(g, "x"));
    assert_int_equal(rfhe_graph_tidy(g, &err), RFHE_OK);
    assert_int_equal(g->n_nodes, 1);
    rfhe_graph_free(g);
}

static void cycles_are_refused_by_name(void **state)
{
    rfhe_value_id x = 0, v[2] = {0};
    rfhe_graph *g = new_graph(SHAPE(2), &x);
    rfhe_error err = {0};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rfhe_graph_add_value(g, &v[i], "loop", RFHE_F32, NULL), RFHE_OK);
    }
    assert_int_equal(rfhe_graph_add_node_to(g, RFHE_OP_ADD, "p", (rfhe_value_id[]){x, v[1]}, 2, &v[0], 1, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_node_to(g, RFHE_OP_RELU, "q", &v[0], 1, &v[1], 1, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, v[1]), RFHE_OK);
    assert_int_equal(rfhe_graph_tidy(g, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "depends on its own output"));
    rfhe_graph_free(g);
}

/* One operator on x: the shape of the result as text, "" when it is refused. */
static const char *result(rfhe_graph *g, rfhe_value_id y, int64_t batch)
{
    static char text[96];
    rfhe_error err = {0};

    text[0] = '\0';
    if (rfhe_graph_infer(g, batch, &err) == RFHE_OK) {
        (void)rfhe_shape_text(text, sizeof text, &g->values[y].shape);
        /* Inferring again must not change anything. */
        assert_int_equal(rfhe_graph_infer(g, batch, &err), RFHE_OK);
        char again[96];
        assert_string_equal(text, rfhe_shape_text(again, sizeof again, &g->values[y].shape));
    } else {
        assert_non_null(strstr(err.text, g->nodes[g->n_nodes - 1].name));
    }
    rfhe_graph_free(g);
    return text;
}

static const char *unary(rfhe_op op, const rfhe_attr *attr, rfhe_shape s)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = new_graph(s, &x);

    return result(g, node(g, op, "y", attr, 1, &x), 0);
}

static const char *binary(rfhe_op op, const rfhe_attr *attr, rfhe_shape s, rfhe_shape w)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = new_graph(s, &x);

    return result(g, node(g, op, "y", attr, 2, (rfhe_value_id[]){x, constant(g, "w", w)}), 0);
}

static void convolutions_and_pools_have_the_right_size(void **state)
{
    rfhe_attr a = {.window = {.spatial = 2, .kernel = {3, 3}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1,
                              .pad_begin = {1, 1}, .pad_end = {1, 1}}};

    (void)state;
    assert_string_equal(binary(RFHE_OP_CONV, &a, SHAPE(-1, 3, 32, 31), SHAPE(8, 3, 3, 3)), "Nx8x16x16");
    assert_string_equal(binary(RFHE_OP_CONV, &a, SHAPE(-1, 4, 32, 32), SHAPE(8, 3, 3, 3)), "");
    assert_string_equal(binary(RFHE_OP_CONV, &a, SHAPE(1, 3, 32, 32), SHAPE(8, 3, 5, 5)), "");
    a.window.groups = 2;
    assert_string_equal(binary(RFHE_OP_CONV, &a, SHAPE(1, 4, 8, 8), SHAPE(6, 2, 3, 3)), "1x6x4x4");
    assert_string_equal(binary(RFHE_OP_CONV, &a, SHAPE(1, 4, 8, 8), SHAPE(5, 2, 3, 3)), "");
    a.window.auto_pad = RFHE_PAD_SAME_UPPER;
    assert_string_equal(unary(RFHE_OP_MAXPOOL, &a, SHAPE(2, 5, 7, 8)), "2x5x4x4");
    a.window.auto_pad = RFHE_PAD_VALID;
    assert_string_equal(unary(RFHE_OP_AVGPOOL, &a, SHAPE(2, 5, 7, 8)), "2x5x3x3");
    a.window.ceil_mode = true;
    assert_string_equal(unary(RFHE_OP_AVGPOOL, &a, SHAPE(2, 5, 7, 8)), "2x5x3x4");
    assert_string_equal(unary(RFHE_OP_MAXPOOL, &a, SHAPE(2, 5, 2, 8)), "");
    assert_string_equal(unary(RFHE_OP_MAXPOOL, &a, SHAPE(2, 5, 8)), "");
    assert_string_equal(unary(RFHE_OP_GLOBALAVGPOOL, NULL, SHAPE(-1, 5, 8, 9)), "Nx5x1x1");
    assert_string_equal(unary(RFHE_OP_GLOBALAVGPOOL, NULL, SHAPE(5, 8)), "");
}

static void matrix_products_have_the_right_shape(void **state)
{
    rfhe_attr a = {.gemm = {.alpha = 1, .beta = 1, .trans_b = true}};

    (void)state;
    assert_string_equal(binary(RFHE_OP_GEMM, &a, SHAPE(-1, 64), SHAPE(10, 64)), "Nx10");
    a.gemm.trans_b = false;
    assert_string_equal(binary(RFHE_OP_GEMM, &a, SHAPE(3, 64), SHAPE(10, 64)), "");
    a.gemm.trans_a = true;
    assert_string_equal(binary(RFHE_OP_GEMM, &a, SHAPE(10, 3), SHAPE(10, 64)), "3x64");
    assert_string_equal(binary(RFHE_OP_MATMUL, NULL, SHAPE(2, 1, 3, 4), SHAPE(5, 4, 6)), "2x5x3x6");
    assert_string_equal(binary(RFHE_OP_MATMUL, NULL, SHAPE(4), SHAPE(4)), "scalar");
    assert_string_equal(binary(RFHE_OP_MATMUL, NULL, SHAPE(3, 4), SHAPE(5, 4)), "");
}

static void elementwise_operators_broadcast(void **state)
{
    (void)state;
    assert_string_equal(binary(RFHE_OP_ADD, NULL, SHAPE(-1, 3, 8, 8), SHAPE(3, 1, 1)), "Nx3x8x8");
    assert_string_equal(binary(RFHE_OP_MUL, NULL, SHAPE(2, 1), SHAPE(1, 5)), "2x5");
    assert_string_equal(binary(RFHE_OP_SUB, NULL, SHAPE(2, 3), SHAPE(2)), "");
    assert_string_equal(unary(RFHE_OP_RELU, NULL, SHAPE(-1, 7)), "Nx7");
}

static void reshaping_keeps_the_batch(void **state)
{
    rfhe_attr a = {.flatten = {.axis = 1}};

    (void)state;
    assert_string_equal(unary(RFHE_OP_FLATTEN, &a, SHAPE(-1, 3, 4)), "Nx12");
    a.flatten.axis = 0;
    assert_string_equal(unary(RFHE_OP_FLATTEN, &a, SHAPE(2, 3, 4)), "1x24");
    assert_string_equal(unary(RFHE_OP_FLATTEN, &a, SHAPE(-1, 3, 4)), "");
    a = (rfhe_attr){.reshape = {.shape = SHAPE(-1, 12)}};
    assert_string_equal(unary(RFHE_OP_RESHAPE, &a, SHAPE(-1, 3, 4)), "Nx12");
    a.reshape.shape = SHAPE(0, 2, -1);
    assert_string_equal(unary(RFHE_OP_RESHAPE, &a, SHAPE(-1, 3, 4)), "Nx2x6");
    a.reshape.shape = SHAPE(1, 12); /* batch 1 written by an exporter */
    assert_string_equal(unary(RFHE_OP_RESHAPE, &a, SHAPE(-1, 3, 4)), "Nx12");
    a.reshape.shape = SHAPE(5, -1);
    assert_string_equal(unary(RFHE_OP_RESHAPE, &a, SHAPE(2, 3, 4)), "");
    a.reshape.shape = SHAPE(-1, -1);
    assert_string_equal(unary(RFHE_OP_RESHAPE, &a, SHAPE(2, 3, 4)), "");
}

static void slices_follow_numpy(void **state)
{
    rfhe_attr a = {.slice = {.n = 1, .axis = {-1}, .start = {-3}, .end = {INT64_MAX}, .step = {1}}};

    (void)state;
    assert_string_equal(unary(RFHE_OP_SLICE, &a, SHAPE(-1, 10)), "Nx3");
    a.slice.start[0] = -1;
    a.slice.end[0] = INT64_MIN;
    a.slice.step[0] = -3;
    assert_string_equal(unary(RFHE_OP_SLICE, &a, SHAPE(-1, 10)), "Nx4");
    a.slice.axis[0] = 0;
    assert_string_equal(unary(RFHE_OP_SLICE, &a, SHAPE(-1, 10)), "");
    a = (rfhe_attr){.slice = {.n = 1, .axis = {0}, .start = {7}, .end = {3}, .step = {1}}};
    assert_string_equal(unary(RFHE_OP_SLICE, &a, SHAPE(10, 2)), "0x2");
    a.slice.step[0] = 0;
    assert_string_equal(unary(RFHE_OP_SLICE, &a, SHAPE(10, 2)), "");
    a = (rfhe_attr){.pad = {.begin = {0, 2}, .end = {0, -1}}};
    assert_string_equal(unary(RFHE_OP_PAD, &a, SHAPE(-1, 4, 3)), "Nx5x3");
    a.pad.begin[0] = 1;
    assert_string_equal(unary(RFHE_OP_PAD, &a, SHAPE(-1, 4)), "");
    a = (rfhe_attr){.concat = {.axis = 1}};
    assert_string_equal(binary(RFHE_OP_CONCAT, &a, SHAPE(2, 3, 4), SHAPE(2, 5, 4)), "2x8x4");
    assert_string_equal(binary(RFHE_OP_CONCAT, &a, SHAPE(2, 3, 4), SHAPE(2, 5, 5)), "");
    a = (rfhe_attr){.reduce = {.n = 2, .axis = {-1, -2}}};
    assert_string_equal(unary(RFHE_OP_REDUCEMEAN, &a, SHAPE(-1, 3, 4, 5)), "Nx3");
    a.reduce.keep_dims = true;
    assert_string_equal(unary(RFHE_OP_REDUCEMEAN, &a, SHAPE(-1, 3, 4, 5)), "Nx3x1x1");
    a = (rfhe_attr){.softmax = {.axis = 3}};
    assert_string_equal(unary(RFHE_OP_SOFTMAX, &a, SHAPE(2, 3)), "");
}

static void the_batch_is_bound_and_counted(void **state)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = new_graph(SHAPE(-1, 3, 8, 8), &x);
    const rfhe_attr a = {.window = {.spatial = 2, .kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1}};
    const rfhe_value_id y = NODE(g, CONV, &a, x, constant(g, "w", SHAPE(4, 3, 3, 3)));
    rfhe_error err = {0};
    char text[64];

    (void)state;
    assert_int_equal(rfhe_graph_add_output(g, y), RFHE_OK);
    assert_int_equal(rfhe_graph_infer(g, 5, &err), RFHE_OK);
    assert_string_equal(rfhe_shape_text(text, sizeof text, &g->values[y].shape), "5x4x6x6");
    assert_true(rfhe_graph_count(g).macs == 4 * 36 * 27);
    assert_true(rfhe_graph_count(g).parameters == 108);
    rfhe_graph_free(g);
    g = new_graph(SHAPE(1, 3, -1, 8), &x);
    assert_int_equal(rfhe_graph_infer(g, 5, &err), RFHE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "only the batch may be"));
    rfhe_graph_free(g);
}

static void failed_allocations_leave_no_trace(void **state)
{
    rfhe_value_id x = 0;
    rfhe_graph *g = new_graph(SHAPE(1, 4), &x), *copy = NULL;

    (void)state;
    assert_int_equal(rfhe_graph_add_output(g, NODE(g, ADD, NULL, x, constant(g, "w", SHAPE(4)))), RFHE_OK);
    assert_int_equal(rfhe_graph_set_meta(g, "k", "v"), RFHE_OK);
    const size_t before = rfhe_mem_get_stats().current;
    for (size_t n = 1;; n++) {
        rfhe_mem_fail_at(n);
        const rfhe_status st = rfhe_graph_clone(&copy, g);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_NOMEM);
        assert_int_equal(rfhe_mem_get_stats().current, before);
    }
    rfhe_graph_free(copy);
    rfhe_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_unique_and_found),
        cmocka_unit_test(metadata_is_set_replaced_and_removed),
        cmocka_unit_test(tidying_sorts_and_drops),
        cmocka_unit_test(cycles_are_refused_by_name),
        cmocka_unit_test(convolutions_and_pools_have_the_right_size),
        cmocka_unit_test(matrix_products_have_the_right_shape),
        cmocka_unit_test(elementwise_operators_broadcast),
        cmocka_unit_test(reshaping_keeps_the_batch),
        cmocka_unit_test(slices_follow_numpy),
        cmocka_unit_test(the_batch_is_bound_and_counted),
        cmocka_unit_test(failed_allocations_leave_no_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
