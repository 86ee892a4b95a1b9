/* Reading into the canonical form: each way exporters have of saying the same thing, each refusal with its sentence. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "graphs.h"
#include "onnx_builder.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const int64_t image[] = {-1, 3, 8, 8}, vector[] = {-1, 12};

static rfhe_graph *must_read(onnx_builder *b)
{
    rfhe_graph *g = NULL;
    rfhe_error err = {0};

    if (builder_read(b, &g, NULL, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    builder_end(b);
    return g;
}

static void must_refuse(onnx_builder *b, rfhe_status want, const char *sentence)
{
    rfhe_graph *g = NULL;
    rfhe_error err = {0};
    const rfhe_status st = builder_read(b, &g, NULL, &err);

    if (st != want || strcmp(err.text, sentence) != 0) {
        fail_msg("wanted %d \"%s\", got %d \"%s\"", want, sentence, st, err.text);
    }
    assert_null(g);
    builder_end(b);
}

/* A model of one node, x -> y, x float of the given shape. */
static Onnx__NodeProto *one_node(onnx_builder *b, int64_t opset, const char *op, const char *in,
                                 size_t rank, const int64_t *dims)
{
    builder_begin(b, opset);
    builder_input(b, "x", 1, rank, dims);
    builder_output(b, "y");
    return builder_node(b, op, "n", in, "y");
}

static void constants_behind_identity_become_their_own(void **state)
{
    onnx_builder b;
    const int64_t c[] = {3};

    (void)state;
    Onnx__NodeProto *n = one_node(&b, 13, "Add", "a q", 4, image);
    builder_node(&b, "Add", "a", "x p", "a");
    builder_node(&b, "Identity", "i1", "w", "o");
    builder_node(&b, "Identity", "i2", "o", "p");
    builder_node(&b, "Identity", "i3", "w", "q");
    builder_floats(&b, "w", 1, c, NULL);
    (void)n;
    rfhe_graph *g = must_read(&b);
    assert_int_equal(g->n_nodes, 2);
    const rfhe_tensor *p = rfhe_graph_constant(g, &g->nodes[0], 1),
                      *q = rfhe_graph_constant(g, &g->nodes[1], 1);
    assert_non_null(p);
    assert_non_null(q);
    assert_ptr_not_equal(p, q); /* training must be able to move them apart */
    assert_string_equal(g->values[g->nodes[0].inputs[1]].name, "p");
    assert_string_equal(g->values[g->nodes[1].inputs[1]].name, "q");
    assert_true(q->f32[0] == 1 && q->f32[2] == 3);
    assert_int_equal(rfhe_graph_find(g, "w"), RFHE_NO_VALUE);
    rfhe_graph_free(g);
}

static void an_output_that_is_constant_is_produced_by_identity(void **state)
{
    onnx_builder b;
    const int64_t c[] = {3};

    (void)state;
    (void)one_node(&b, 13, "Add", "x c", 4, image);
    builder_floats(&b, "c", 1, c, NULL);
    builder_output(&b, "c");
    rfhe_graph *g = must_read(&b);
    const rfhe_value *v = &g->values[g->outputs[1]];
    assert_string_equal(v->name, "c");
    assert_int_equal(g->nodes[v->producer].op, RFHE_OP_IDENTITY);
    assert_non_null(rfhe_graph_constant(g, &g->nodes[v->producer], 0));
    rfhe_graph_free(g);
}

static void all_forms_of_constant_are_read(void **state)
{
    onnx_builder b;
    const int64_t starts[] = {1, 2};

    (void)state;
    (void)one_node(&b, 13, "Slice", "x s e a", 4, image);
    builder_ints(&b, builder_node(&b, "Constant", "c1", "", "s"), "value_ints", 2, starts);
    builder_ints(&b, builder_node(&b, "Constant", "c2", "", "e"), "value_ints", 2,
                 (int64_t[]){-1, INT64_MAX});
    Onnx__TensorProto *t = builder_int64s(&b, "unused", 2, (int64_t[]){1, 2});
    Onnx__NodeProto *n = builder_node(&b, "Constant", "c3", "", "a");
    builder_int(&b, n, "value", 0);
    n->attribute[0]->has_i = 0;
    n->attribute[0]->t = t;
    rfhe_graph *g = must_read(&b);
    const rfhe_attr *a = &g->nodes[0].attr;
    assert_int_equal(a->slice.n, 2);
    assert_true(a->slice.start[0] == 1 && a->slice.start[1] == 2 && a->slice.end[0] == -1);
    assert_true(a->slice.axis[0] == 1 && a->slice.axis[1] == 2 && a->slice.step[0] == 1 &&
                a->slice.step[1] == 1);
    assert_int_equal(g->nodes[0].n_inputs, 1);
    rfhe_graph_free(g);

    (void)one_node(&b, 13, "Clip", "x low high", 4, image);
    builder_float(&b, builder_node(&b, "Constant", "c1", "", "low"), "value_float", -2);
    builder_floats(&b, "high", 0, NULL, (float[]){6});
    g = must_read(&b);
    assert_true(g->nodes[0].attr.clip.min == -2 && g->nodes[0].attr.clip.max == 6);
    rfhe_graph_free(g);
}

static void versions_of_an_operator_give_the_same_node(void **state)
{
    static const struct {
        const char *op;
        int64_t old, recent;
    } pairs[] = {{"Clip", 9, 11},
                 {"Slice", 9, 10},
                 {"Pad", 9, 18},
                 {"ReduceMean", 13, 18},
                 {"Dropout", 10, 13}};

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        rfhe_graph *g[2] = {NULL, NULL};
        for (int k = 0; k < 2; k++) {
            onnx_builder b;
            const int64_t opset = k == 0 ? pairs[i].old : pairs[i].recent;
            const char *in = k == 0   ? "x"
                             : i == 0 ? "x - c"
                             : i == 1 ? "x s e"
                             : i == 2 ? "x p c a"
                             : i == 3 ? "x a"
                                      : "x c";
            Onnx__NodeProto *n = one_node(&b, opset, pairs[i].op, in, 4, image);
            if (k == 1) { /* as inputs */
                builder_floats(&b, "c", 0, NULL, (float[]){0.25f});
                builder_int64s(&b, "s", 2, (int64_t[]){0, 1});
                builder_int64s(&b, "e", 2, (int64_t[]){-1, 2});
                builder_int64s(&b, "p", 4, (int64_t[]){1, 2, 3, 4});
                builder_int64s(&b, "a", 2, (int64_t[]){-1, 2});
            } else if (i == 0) {
                builder_float(&b, n, "max", 0.25f);
            } else if (i == 1) {
                builder_ints(&b, n, "starts", 2, (int64_t[]){0, 1});
                builder_ints(&b, n, "ends", 2, (int64_t[]){-1, 2});
            } else if (i == 2) {
                builder_ints(&b, n, "pads", 8, (int64_t[]){0, 0, 2, 1, 0, 0, 4, 3});
                builder_float(&b, n, "value", 0.25f);
            } else if (i == 3) {
                builder_ints(&b, n, "axes", 2, (int64_t[]){-1, 2});
            } else {
                builder_float(&b, n, "ratio", 0.25f);
            }
            g[k] = must_read(&b);
        }
        const char *what = "";
        if (!graphs_are_equal(g[0], g[1], &what)) { fail_msg("%s: %s", pairs[i].op, what); }
        rfhe_graph_free(g[0]);
        rfhe_graph_free(g[1]);
    }
}

static void an_empty_list_of_axes_means_all_or_nothing(void **state)
{
    onnx_builder b;

    (void)state;
    (void)one_node(&b, 18, "ReduceMean", "x", 4, image);
    rfhe_graph *g = must_read(&b);
    assert_true(g->nodes[0].op == RFHE_OP_REDUCEMEAN && g->nodes[0].attr.reduce.n == 0);
    rfhe_graph_free(g);
    builder_int(&b, one_node(&b, 18, "ReduceMean", "x", 4, image), "noop_with_empty_axes", 1);
    g = must_read(&b);
    assert_int_equal(g->nodes[0].op, RFHE_OP_IDENTITY);
    rfhe_graph_free(g);
}

static void batch_statistics_are_recognised(void **state)
{
    static const struct {
        int64_t opset, training_mode;
        const char *out;
        bool is_training;
    } cases[] = {{9, -1, "y", false},
                 {9, -1, "y m v sm sv", true},
                 {14, 0, "y", false},
                 {14, 1, "y m v", true},
                 {15, 1, "y", true}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        onnx_builder b;
        const int64_t c[] = {3};
        builder_begin(&b, cases[i].opset);
        builder_input(&b, "x", 1, 4, image);
        builder_output(&b, "y");
        Onnx__NodeProto *n =
            builder_node(&b, "BatchNormalization", "n", "x s b mean var", cases[i].out);
        if (cases[i].training_mode >= 0) {
            builder_int(&b, n, "training_mode", cases[i].training_mode);
        }
        builder_float(&b, n, "epsilon", 0.5f);
        builder_floats(&b, "s", 1, c, NULL);
        builder_floats(&b, "b", 1, c, NULL);
        builder_floats(&b, "mean", 1, c, NULL);
        builder_floats(&b, "var", 1, c, NULL);
        rfhe_graph *g = must_read(&b);
        assert_int_equal(g->nodes[0].attr.batchnorm.training, cases[i].is_training);
        assert_true(g->nodes[0].attr.batchnorm.epsilon == 0.5f &&
                    g->nodes[0].attr.batchnorm.momentum == 0.9f);
        assert_int_equal(g->nodes[0].n_outputs, 1); /* nobody uses the others */
        rfhe_graph_free(g);
    }
}

static void softmax_of_old_opsets_spans_axes(void **state)
{
    onnx_builder b;

    (void)state;
    (void)one_node(&b, 11, "Softmax", "x", 4, image);
    rfhe_graph *g = must_read(&b);
    assert_true(g->nodes[0].attr.softmax.flattened && g->nodes[0].attr.softmax.axis == 1);
    rfhe_graph_free(g);
    (void)one_node(&b, 11, "Softmax", "x", 2, vector);
    g = must_read(&b);
    assert_false(g->nodes[0].attr.softmax.flattened);
    rfhe_graph_free(g);
    (void)one_node(&b, 13, "Softmax", "x", 4, image);
    g = must_read(&b);
    assert_true(!g->nodes[0].attr.softmax.flattened && g->nodes[0].attr.softmax.axis == -1);
    rfhe_graph_free(g);
}

/* x.view(x.size(0), -1) and relatives, as PyTorch writes them. */
static void computed_shapes_are_folded(void **state)
{
    onnx_builder b;
    rfhe_error err = {0};

    (void)state;
    (void)one_node(&b, 13, "Reshape", "r shape", 4, image);
    builder_node(&b, "Relu", "r", "x", "r");
    builder_node(&b, "Shape", "s", "r", "s");
    builder_int(&b, builder_node(&b, "Gather", "g", "s zero", "batch"), "axis", 0);
    builder_node(&b, "Unsqueeze", "u", "batch axes", "u");
    builder_int(&b, builder_node(&b, "Concat", "c", "u rest", "shape"), "axis", 0);
    builder_int64s(&b, "zero", 0, (int64_t[]){0});
    builder_int64s(&b, "axes", 1, (int64_t[]){0});
    builder_int64s(&b, "rest", 1, (int64_t[]){-1});
    rfhe_graph *g = must_read(&b);
    assert_int_equal(g->n_nodes, 2);
    assert_true(g->nodes[1].attr.reshape.shape.rank == 2);
    assert_true(g->nodes[1].attr.reshape.shape.dim[0] == 0 &&
                g->nodes[1].attr.reshape.shape.dim[1] == -1);
    assert_int_equal(rfhe_graph_infer(g, 0, &err), RFHE_OK);
    assert_true(g->values[g->outputs[0]].shape.dim[0] == -1 &&
                g->values[g->outputs[0]].shape.dim[1] == 192);
    rfhe_graph_free(g);

    /* (size(1) * size(2), size(3), -1) would lose the batch; (-1, size(1) * size(2) * size(3)) keeps it. */
    (void)one_node(&b, 11, "Reshape", "x shape", 4, image);
    builder_node(&b, "Shape", "s", "x", "s");
    builder_node(&b, "Gather", "g1", "s one", "c");
    builder_node(&b, "Gather", "g2", "s minus", "w");
    builder_node(&b, "Mul", "m1", "c w", "cw");
    builder_node(&b, "Mul", "m2", "cw w", "cww");
    builder_ints(&b, builder_node(&b, "Unsqueeze", "u", "cww", "u"), "axes", 1, (int64_t[]){0});
    builder_int(&b, builder_node(&b, "Cast", "k", "u", "wide"), "to", 7);
    builder_int(&b, builder_node(&b, "Concat", "k2", "rest wide", "shape"), "axis", 0);
    builder_int64s(&b, "one", 0, (int64_t[]){1});
    builder_int64s(&b, "minus", 0, (int64_t[]){-1});
    builder_int64s(&b, "rest", 1, (int64_t[]){-1});
    g = must_read(&b);
    assert_int_equal(g->n_nodes, 1);
    assert_true(g->nodes[0].attr.reshape.shape.dim[0] == -1 &&
                g->nodes[0].attr.reshape.shape.dim[1] == 192);
    rfhe_graph_free(g);
}

static void the_batch_cannot_be_computed_with(void **state)
{
    onnx_builder b;

    (void)state;
    (void)one_node(&b, 13, "Reshape", "x shape", 4, image);
    builder_node(&b, "Shape", "s", "x", "s");
    builder_node(&b, "Mul", "double", "s s", "shape");
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'double' (Mul, domain ai.onnx, opset 13): this way of computing a shape is "
                "not supported");
}

static void element_types_are_converted(void **state)
{
    static const struct {
        int type;
        size_t size;
        uint8_t raw[3][8];
    } cases[] = {
        {1, 4, {{0, 0, 0xc0, 0x3f}, {0, 0, 0, 0xc0}, {0, 0, 0x80, 0x33}}}, /* float   */
        {10, 2, {{0, 0x3e}, {0, 0xc0}, {1, 0}}},                           /* float16 */
        {11,
         8,
         {{0, 0, 0, 0, 0, 0, 0xf8, 0x3f},
          {0, 0, 0, 0, 0, 0, 0, 0xc0},
          {0, 0, 0, 0, 0, 0, 0x70, 0x3e}}},
        {16, 2, {{0xc0, 0x3f}, {0, 0xc0}, {0x80, 0x33}}}, /* bfloat16 */
    };
    const int64_t c[] = {3};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        onnx_builder b;
        uint8_t raw[24];
        (void)one_node(&b, 13, "Add", "x c", 4, image);
        Onnx__TensorProto *t = builder_floats(&b, "c", 1, c, NULL);
        for (size_t k = 0; k < 3; k++) {
            memcpy(raw + k * cases[i].size, cases[i].raw[k], cases[i].size);
        }
        t->data_type = cases[i].type;
        t->n_float_data = 0;
        t->has_raw_data = 1;
        t->raw_data = (ProtobufCBinaryData){.len = 3 * cases[i].size, .data = raw};
        rfhe_graph *g = must_read(&b);
        const float *v = rfhe_graph_constant(g, &g->nodes[0], 1)->f32;
        const float tiny = 0x1p-24f;
        if (v[0] != 1.5f || v[1] != -2.0f || v[2] != tiny) {
            fail_msg("type %d: %g %g %g", cases[i].type, (double)v[0], (double)v[1], (double)v[2]);
        }
        rfhe_graph_free(g);
    }
}

static void inputs_can_be_bound_as_constants(void **state)
{
    onnx_builder b;
    rfhe_graph *g = NULL;
    rfhe_error err = {0};
    rfhe_tensor *shape = NULL;
    const rfhe_onnx_constant constant = {"shape", NULL};

    (void)state;
    assert_int_equal(rfhe_tensor_new(&shape, RFHE_I64, &(rfhe_shape){.rank = 1, .dim = {2}}),
                     RFHE_OK);
    shape->i64[0] = 0;
    shape->i64[1] = -1;
    (void)one_node(&b, 13, "Reshape", "x shape", 4, image);
    builder_input(&b, "shape", 7, 1, (int64_t[]){2});
    const rfhe_onnx_constant bound = {constant.name, shape};
    const rfhe_onnx_options opt = {.constants = &bound, .n_constants = 1};
    assert_int_equal(builder_read(&b, &g, &opt, &err), RFHE_OK);
    assert_int_equal(g->n_inputs, 1);
    assert_int_equal(g->nodes[0].attr.reshape.shape.dim[1], -1);
    rfhe_graph_free(g);
    rfhe_tensor_free(shape);
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Reshape, domain ai.onnx, opset 13): its new shape must be constant, but "
                "'shape' is computed "
                "or fed");
}

static void nodes_are_put_into_order_and_dead_ones_dropped(void **state)
{
    onnx_builder b;

    (void)state;
    (void)one_node(&b, 13, "Relu", "b", 4, image);
    builder_node(&b, "Relu", "second", "a", "b");
    builder_node(&b, "LSTM", "dead", "a", "lost");
    builder_node(&b, "Relu", "first", "x", "a");
    rfhe_graph *g = must_read(&b);
    assert_int_equal(g->n_nodes, 3);
    assert_string_equal(g->nodes[0].name, "first");
    assert_string_equal(g->nodes[1].name, "second");
    assert_string_equal(g->nodes[2].name, "n");
    rfhe_graph_free(g);
}

/* Every kind of refusal that a model of one node can meet. */
static void refusals_are_one_sentence(void **state)
{
    onnx_builder b;

    (void)state;
    (void)one_node(&b, 13, "LSTM", "x", 4, image);
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "operator 'LSTM' of domain 'ai.onnx' (opset 13) in node 'n' is not supported");
    Onnx__NodeProto *n = one_node(&b, 13, "Relu", "x", 4, image);
    n->domain = (char[]){"com.example"};
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "operator 'Relu' of domain 'com.example' (opset 0) in node 'n' is not supported");
    (void)one_node(&b, 22, "Relu", "x", 4, image);
    must_refuse(
        &b, RFHE_E_UNSUPPORTED,
        "operator 'Relu' of domain 'ai.onnx' in node 'n' is of opset 22, supported are 9 to 21");
    (void)one_node(&b, 5, "Relu", "x", 4, image);
    must_refuse(
        &b, RFHE_E_UNSUPPORTED,
        "operator 'Relu' of domain 'ai.onnx' in node 'n' is of opset 5, supported are 9 to 21");
    (void)one_node(&b, 13, "Squeeze", "x", 4, image);
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "operator 'Squeeze' of domain 'ai.onnx' (opset 13) in node 'n' is not supported, "
                "except to compute "
                "shapes from shapes");
    n = one_node(&b, 13, "Relu", "x", 4, image);
    builder_float(&b, n, "slope", 0.1f);
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Relu, domain ai.onnx, opset 13): its attribute 'slope' is not known");
    n = one_node(&b, 13, "Flatten", "x", 4, image);
    builder_float(&b, n, "axis", 1);
    must_refuse(
        &b, RFHE_E_FORMAT,
        "node 'n' (Flatten, domain ai.onnx, opset 13): its attribute 'axis' has the wrong type");
    n = one_node(&b, 13, "Flatten", "x", 4, image);
    builder_int(&b, n, "axis", 1);
    builder_int(&b, n, "axis", 2);
    must_refuse(&b, RFHE_E_FORMAT,
                "node 'n' (Flatten, domain ai.onnx, opset 13): its attribute 'axis' appears twice");
    (void)one_node(&b, 13, "Relu", "nobody", 4, image);
    must_refuse(
        &b, RFHE_E_FORMAT,
        "node 'n' (Relu, domain ai.onnx, opset 13): it reads 'nobody', which nothing produces");
    (void)one_node(&b, 13, "Relu", "y", 4, image);
    must_refuse(&b, RFHE_E_FORMAT,
                "node 'n' (Relu, domain ai.onnx, opset 13): it depends on its own output");
    (void)one_node(&b, 13, "Add", "x", 4, image);
    must_refuse(&b, RFHE_E_FORMAT,
                "node 'n' (Add, domain ai.onnx, opset 13): it has 1 inputs instead of 2 to 2");
    (void)one_node(&b, 13, "Relu", "x", 4, image);
    builder_node(&b, "Relu", "other", "x", "y");
    must_refuse(&b, RFHE_E_FORMAT, "the tensor 'y' is defined twice");
    (void)one_node(&b, 13, "Relu", "x", 4, image);
    builder_output(&b, "z");
    must_refuse(&b, RFHE_E_FORMAT, "nothing produces the output 'z'");
    builder_begin(&b, 13);
    builder_input(&b, "x", 11, 4, image);
    builder_output(&b, "y");
    builder_node(&b, "Relu", "n", "x", "y");
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Relu, domain ai.onnx, opset 13): input 'x' has element type double, "
                "only float is supported");
    (void)one_node(&b, 13, "Relu", "x", 9, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1});
    must_refuse(
        &b, RFHE_E_UNSUPPORTED,
        "node 'n' (Relu, domain ai.onnx, opset 13): input 'x' has rank 9, at most 8 is supported");
    (void)one_node(&b, 13, "Relu", "x", 0, NULL);
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Relu, domain ai.onnx, opset 13): input 'x' has no shape");
    (void)one_node(&b, 13, "Dropout", "x r t", 4, image);
    builder_floats(&b, "r", 0, NULL, (float[]){0.5f});
    builder_int64s(&b, "t", 0, (int64_t[]){1});
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Dropout, domain ai.onnx, opset 13): it was exported in training mode "
                "and would drop values at "
                "every use");
    n = one_node(&b, 13, "Pad", "x p", 4, image);
    builder_text(&b, n, "mode", "wrap");
    builder_int64s(&b, "p", 8, (int64_t[]){0, 0, 0, 0, 0, 0, 0, 0});
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Pad, domain ai.onnx, opset 13): its attribute 'mode' is 'wrap', which "
                "is not supported");
    n = one_node(&b, 19, "AveragePool", "x", 4, image);
    builder_ints(&b, n, "kernel_shape", 2, (int64_t[]){2, 2});
    builder_ints(&b, n, "dilations", 2, (int64_t[]){2, 1});
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (AveragePool, domain ai.onnx, opset 19): dilated average pooling is not "
                "supported");
    (void)one_node(&b, 13, "Add", "x w", 4, image);
    builder_int64s(&b, "w", 1, (int64_t[]){1});
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Add, domain ai.onnx, opset 13): the integers 'w' are used as data, only "
                "float is supported");
    (void)one_node(&b, 13, "Add", "x w", 4, image);
    builder_floats(&b, "w", 1, (int64_t[]){4}, NULL)->n_float_data = 3;
    must_refuse(&b, RFHE_E_FORMAT, "tensor 'w' holds 3 values, its shape needs 4");
    (void)one_node(&b, 13, "Add", "x w", 4, image);
    builder_floats(&b, "w", 1, (int64_t[]){4}, NULL)->dims[0] = -4;
    must_refuse(&b, RFHE_E_FORMAT, "tensor 'w' has an impossible shape");
    (void)one_node(&b, 13, "Add", "x w", 4, image);
    builder_floats(&b, "w", 1, (int64_t[]){4}, NULL)->data_type = 8;
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (Add, domain ai.onnx, opset 13): 'w' has element type string, only float "
                "is supported");
    (void)one_node(&b, 13, "MaxPool", "x", 4, image);
    must_refuse(&b, RFHE_E_UNSUPPORTED,
                "node 'n' (MaxPool, domain ai.onnx, opset 13): its kernel has 0 dimensions, 1 to 3 "
                "are supported");
    builder_begin(&b, 13);
    must_refuse(&b, RFHE_E_FORMAT, "the model has no output");
}

static void external_data_stays_inside_the_folder(void **state)
{
    static const struct {
        const char *location, *offset, *length, *sentence;
    } cases[] = {
        {"w.bin", "4", "12", NULL},
        {"w.bin", "4", NULL, NULL},
        {"./w.bin", "0", "12", NULL},
        {"../w.bin", "0", "12",
         "tensor 'w' lies in '../w.bin', which is not a path inside the model's folder"},
        {"a/../../w.bin", "0", "12",
         "tensor 'w' lies in 'a/../../w.bin', which is not a path inside the model's folder"},
        {"/etc/passwd", "0", "12",
         "tensor 'w' lies in '/etc/passwd', which is not a path inside the model's folder"},
        {"w.bin", "8", "12", "tensor 'w' wants bytes 8 to 20 of 'w.bin', which has 16"},
        {"w.bin", "18446744073709551615", "12",
         "tensor 'w' wants bytes 18446744073709551615 to 11 of 'w.bin', which has 16"},
        {"w.bin", "0", "8", "tensor 'w' states 8 external bytes, its shape needs 12"},
        {"w.bin", "-4", "12", "tensor 'w' has a bad external_data entry 'offset'"},
        {"w.bin", "x", "12", "tensor 'w' has a bad external_data entry 'offset'"},
        {NULL, "0", "12", "tensor 'w' is external but names no file"},
        {"link.bin", "0", "12",
         "the external file 'link.bin' of tensor 'w' is a link out of the model's folder"},
    };
    char folder[128], path[160];
    const float data[] = {7, 1, 2, 3};
    const rfhe_onnx_options opt = {.folder = folder};

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s", test_folder());
    (void)snprintf(path, sizeof path, "%s/w.bin", folder);
    assert_int_equal(rfhe_file_write(path, data, sizeof data, 0644, NULL), RFHE_OK);
    (void)snprintf(path, sizeof path, "%s/link.bin", folder);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        onnx_builder b;
        rfhe_graph *g = NULL;
        rfhe_error err = {0};
        const char *const keys[] = {"location", "offset", "length"};
        const char *const values[] = {cases[i].location, cases[i].offset, cases[i].length};
        Onnx__StringStringEntryProto entry[3], *entries[3];
        (void)one_node(&b, 13, "Add", "x w", 4, (int64_t[]){-1, 1, 1, 3});
        Onnx__TensorProto *t = builder_floats(&b, "w", 1, (int64_t[]){3}, NULL);
        t->n_float_data = 0;
        t->has_data_location = 1;
        t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
        t->external_data = entries;
        for (size_t k = 0; k < 3; k++) {
            if (values[k] == NULL) { continue; }
            onnx__string_string_entry_proto__init(&entry[k]);
            entry[k].key = (char *)(uintptr_t)keys[k];
            entry[k].value = (char *)(uintptr_t)values[k];
            entries[t->n_external_data++] = &entry[k];
        }
        const rfhe_status st = builder_read(&b, &g, &opt, &err);
        if (cases[i].sentence == NULL) {
            assert_int_equal(st, RFHE_OK);
            assert_true(rfhe_graph_constant(g, &g->nodes[0], 1)->f32[2] ==
                        (cases[i].offset[0] == '4' ? 3.0f : 2.0f));
        } else {
            assert_int_equal(st, RFHE_E_FORMAT);
            assert_string_equal(err.text, cases[i].sentence);
        }
        rfhe_graph_free(g);
        if (i == 0) {
            must_refuse(&b, RFHE_E_UNSUPPORTED,
                        "tensor 'w' lies in an external file, which a model in memory cannot have");
        } else {
            builder_end(&b);
        }
    }
}

static void files_are_named_in_errors(void **state)
{
    char path[160], want[400];
    rfhe_graph *g = NULL;
    rfhe_error err = {0};

    (void)state;
    (void)snprintf(path, sizeof path, "%s/not.onnx", test_folder());
    assert_int_equal(rfhe_file_write(path, "hello", 5, 0644, NULL), RFHE_OK);
    assert_int_equal(rfhe_onnx_read(&g, path, NULL, &err), RFHE_E_FORMAT);
    (void)snprintf(want, sizeof want, "%s: the model is damaged or cut short at byte 2 of 5", path);
    assert_string_equal(err.text, want);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_file_write(path, "", 0, 0644, NULL), RFHE_OK);
    assert_int_equal(rfhe_onnx_read(&g, path, NULL, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "the model is empty"));
    err = (rfhe_error){0};
    assert_int_equal(rfhe_onnx_read(&g, "no/such.onnx", NULL, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "no/such.onnx"));
    assert_int_equal(rfhe_onnx_read(&g, "no/such.onnx", NULL, NULL), RFHE_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_behind_identity_become_their_own),
        cmocka_unit_test(an_output_that_is_constant_is_produced_by_identity),
        cmocka_unit_test(all_forms_of_constant_are_read),
        cmocka_unit_test(versions_of_an_operator_give_the_same_node),
        cmocka_unit_test(an_empty_list_of_axes_means_all_or_nothing),
        cmocka_unit_test(batch_statistics_are_recognised),
        cmocka_unit_test(softmax_of_old_opsets_spans_axes),
        cmocka_unit_test(computed_shapes_are_folded),
        cmocka_unit_test(the_batch_cannot_be_computed_with),
        cmocka_unit_test(element_types_are_converted),
        cmocka_unit_test(inputs_can_be_bound_as_constants),
        cmocka_unit_test(nodes_are_put_into_order_and_dead_ones_dropped),
        cmocka_unit_test(refusals_are_one_sentence),
        cmocka_unit_test(external_data_stays_inside_the_folder),
        cmocka_unit_test(files_are_named_in_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
