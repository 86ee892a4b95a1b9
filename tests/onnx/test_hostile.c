/* Damaged and hostile files: every truncation, random damage, failing allocations, sizes that lie. Reading must refuse or
 * give a graph that can be used; memory must come back. Meant to run under the sanitizers too. */
#include "test.h"

#include "base/mem.h"
#include "graphs.h"
#include "onnx_builder.h"

#include <stdio.h>

static const int64_t image[] = {-1, 2, 6, 6};

/* A small network with most features: window attributes, constant inputs, Identity, folded shapes, metadata. */
static uint8_t *sample(onnx_builder *b, size_t *size)
{
    static Onnx__StringStringEntryProto entry, *entries[] = {&entry};

    builder_begin(b, 13);
    builder_input(b, "x", 1, 4, image);
    builder_output(b, "y");
    Onnx__NodeProto *n = builder_node(b, "Conv", "conv", "x w bias", "a");
    builder_ints(b, n, "pads", 4, (int64_t[]){1, 1, 1, 1});
    builder_ints(b, n, "strides", 2, (int64_t[]){1, 1});
    builder_node(b, "Identity", "same", "bias", "mean");
    builder_node(b, "BatchNormalization", "bn", "a bias bias mean bias", "b");
    builder_node(b, "Clip", "clip", "b low -", "c");
    builder_ints(b, builder_node(b, "MaxPool", "pool", "c", "d"), "kernel_shape", 2,
                 (int64_t[]){2, 2});
    builder_node(b, "Shape", "shape", "d", "e");
    builder_node(b, "Gather", "gather", "e zero", "f");
    builder_node(b, "Unsqueeze", "unsqueeze", "f axes", "g");
    builder_int(b, builder_node(b, "Concat", "concat", "g rest", "h"), "axis", 0);
    builder_node(b, "Reshape", "reshape", "d h", "i");
    builder_node(b, "Slice", "slice", "i axes one axes", "j");
    builder_node(b, "Softmax", "softmax", "i", "y");
    builder_floats(b, "w", 4, (int64_t[]){2, 2, 3, 3}, NULL);
    builder_floats(b, "bias", 1, (int64_t[]){2}, NULL);
    builder_floats(b, "low", 0, NULL, (float[]){0});
    builder_int64s(b, "zero", 0, (int64_t[]){0});
    builder_int64s(b, "axes", 1, (int64_t[]){0});
    builder_int64s(b, "one", 1, (int64_t[]){1});
    builder_int64s(b, "rest", 1, (int64_t[]){-1});
    onnx__string_string_entry_proto__init(&entry);
    entry.key = (char *)(uintptr_t) "rfhe.mean";
    entry.value = (char *)(uintptr_t) "0.5";
    b->model.metadata_props = entries;
    b->model.n_metadata_props = 1;
    return builder_pack(b, size);
}

/* Reads; what was accepted is inferred, written and read again. */
static rfhe_status digest(const uint8_t *bytes, size_t size)
{
    rfhe_graph *g = NULL, *again = NULL;
    rfhe_error err = {0};
    uint8_t *out = NULL;
    size_t out_size = 0;
    const rfhe_status st = rfhe_onnx_read_memory(&g, bytes, size, NULL, &err);

    if (st != RFHE_OK) {
        assert_null(g);
        assert_int_equal(err.code, st);
        assert_true(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
        return st;
    }
    if (rfhe_graph_infer(g, 1, &err) == RFHE_OK &&
        rfhe_onnx_write_memory(&out, &out_size, g, &err) == RFHE_OK) {
        if (rfhe_onnx_read_memory(&again, out, out_size, NULL, &err) != RFHE_OK) {
            fail_msg("%s", err.text);
        }
    }
    rfhe_onnx_free(out);
    rfhe_graph_free(g);
    rfhe_graph_free(again);
    return st;
}

static void every_truncation_is_survived(void **state)
{
    onnx_builder b;
    size_t size = 0, refused = 0;
    const uint8_t *bytes = sample(&b, &size);
    const size_t before = rfhe_mem_get_stats().current;

    (void)state;
    assert_int_equal(digest(bytes, size), RFHE_OK);
    for (size_t n = 0; n < size; n++) {
        uint8_t *part = rfhe_alloc(n, 1); /* its own block, so that a read past the end is seen */
        assert_non_null(part);
        memcpy(part, bytes, n);
        refused += digest(part, n) != RFHE_OK;
        rfhe_free(part);
    }
    assert_true(refused >= size - 40); /* only the metadata behind the graph may be missing */
    assert_int_equal(rfhe_mem_get_stats().current, before);
    builder_end(&b);
}

static void random_damage_is_survived(void **state)
{
    onnx_builder b;
    size_t size = 0, refused = 0;
    const size_t rounds = test_rounds(20000);
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 1);
    const uint8_t *bytes = sample(&b, &size);
    uint8_t *copy = rfhe_alloc(size, 1);
    const size_t before = rfhe_mem_get_stats().current;

    (void)state;
    assert_non_null(copy);
    for (size_t i = 0; i < rounds; i++) {
        memcpy(copy, bytes, size);
        for (uint64_t k = rfhe_rng_below(&rng, 4) + 1; k > 0; k--) {
            const size_t at = rfhe_rng_below(&rng, size);
            copy[at] =
                (uint8_t)(rfhe_rng_below(&rng, 2) == 0 ? copy[at] ^ (1u << rfhe_rng_below(&rng, 8))
                                                       : rfhe_rng_u64(&rng));
        }
        refused += digest(copy, size) != RFHE_OK;
    }
    print_message("%zu of %zu damaged files refused\n", refused, rounds);
    assert_true(refused > rounds / 2 && refused < rounds);
    assert_int_equal(rfhe_mem_get_stats().current, before);
    rfhe_free(copy);
    builder_end(&b);
}

static void every_failing_allocation_is_reported(void **state)
{
    onnx_builder b;
    size_t size = 0, failed = 0;
    const uint8_t *bytes = sample(&b, &size);
    rfhe_graph *g = NULL;
    rfhe_error err = {0};

    (void)state;
    const size_t before = rfhe_mem_get_stats().current;
    for (size_t n = 1;; n++) {
        err = (rfhe_error){0};
        rfhe_mem_fail_at(n);
        const rfhe_status st = rfhe_onnx_read_memory(&g, bytes, size, NULL, &err);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        if (st != RFHE_E_NOMEM || err.code != RFHE_E_NOMEM) {
            fail_msg("allocation %zu: %d %s", n, st, err.text);
        }
        assert_int_equal(rfhe_mem_get_stats().current, before);
        failed++;
    }
    assert_true(failed > 50);
    const size_t with_graph = rfhe_mem_get_stats().current;
    for (size_t n = 1;; n++) {
        uint8_t *out = NULL;
        err = (rfhe_error){0};
        rfhe_mem_fail_at(n);
        const rfhe_status st = rfhe_onnx_write_memory(&out, &size, g, &err);
        rfhe_mem_fail_at(0);
        rfhe_onnx_free(out);
        assert_int_equal(rfhe_mem_get_stats().current, with_graph);
        if (st == RFHE_OK) { break; }
        if (st != RFHE_E_NOMEM || err.code != RFHE_E_NOMEM) {
            fail_msg("allocation %zu: %d %s", n, st, err.text);
        }
    }
    rfhe_graph_free(g);
    builder_end(&b);
}

static void must_refuse(const uint8_t *bytes, size_t size, rfhe_status want, const char *sentence)
{
    rfhe_graph *g = NULL;
    rfhe_error err = {0};
    const rfhe_status st = rfhe_onnx_read_memory(&g, bytes, size, NULL, &err);

    if (st != want || strstr(err.text, sentence) == NULL) { fail_msg("%d \"%s\"", st, err.text); }
}

static void nesting_is_limited(void **state)
{
    /* graph { node { attribute { g { node ... } } } }, 5 bytes per message on the way down. */
    static const uint8_t fields[] = {7, 1, 5, 6};
    enum { LEVELS = 20000, ROOM = LEVELS * 5 };
    uint8_t *bytes = rfhe_alloc(ROOM, 1);
    size_t at = ROOM;

    (void)state;
    assert_non_null(bytes);
    for (size_t level = LEVELS; level-- > 0;) {
        const size_t length = ROOM - at;
        const uint8_t field = level == 0 ? fields[0] : fields[1 + (level - 1) % 3];
        uint8_t head[5] = {(uint8_t)(field << 3 | 2), (uint8_t)(length | 128),
                           (uint8_t)(length >> 7 | 128), (uint8_t)(length >> 14 | 128),
                           (uint8_t)(length >> 21)};
        at -= sizeof head;
        memcpy(bytes + at, head, sizeof head);
    }
    must_refuse(bytes, ROOM, RFHE_E_FORMAT, "is nested too deeply");
    rfhe_free(bytes);
}

static void many_empty_messages_stay_cheap(void **state)
{
    /* A graph of 8 million empty nodes in 16 MiB; as structures they would be more than a GiB. */
    enum { NODES = 8 << 20 };
    const size_t body = 2 * (size_t)NODES, size = body + 5;
    uint8_t *bytes = rfhe_alloc(size, 1);

    (void)state;
    assert_non_null(bytes);
    bytes[0] = 7 << 3 | 2;
    for (size_t i = 0; i < 4; i++) { bytes[1 + i] = (uint8_t)(body >> 7 * i | (i < 3 ? 128 : 0)); }
    for (size_t i = 0; i < body; i += 2) {
        bytes[5 + i] = 1 << 3 | 2;
        bytes[6 + i] = 0;
    }
    rfhe_mem_reset_peak();
    const size_t before = rfhe_mem_get_stats().current;
    must_refuse(bytes, size, RFHE_E_UNSUPPORTED, "describes too many objects for its size");
    assert_true(rfhe_mem_get_stats().peak - before < 200 << 20);
    rfhe_free(bytes);
}

static void one_tensor_cannot_be_multiplied(void **state)
{
    /* Each Identity of a constant becomes a copy; 60 copies of 2 MiB are more than the file may ask for. */
    onnx_builder b;
    char in[16], out[16], sum[16], last[16] = "x";

    (void)state;
    builder_begin(&b, 13);
    builder_input(&b, "x", 1, 1, (int64_t[]){1 << 19});
    builder_floats(&b, "w", 1, (int64_t[]){1 << 19}, NULL);
    for (int i = 0; i < 30; i++) {
        (void)snprintf(in, sizeof in, "%s", "w");
        (void)snprintf(out, sizeof out, "w%d", i);
        (void)snprintf(sum, sizeof sum, "s%d", i);
        char both[40];
        (void)snprintf(both, sizeof both, "%s %s", last, out);
        builder_node(&b, "Identity", "i", in, out);
        builder_node(&b, "Add", "a", both, sum);
        (void)snprintf(last, sizeof last, "%s", sum);
    }
    builder_output(&b, last);
    rfhe_graph *g = NULL;
    rfhe_error err = {0};
    assert_int_equal(builder_read(&b, &g, NULL, &err),
                     RFHE_OK); /* 60 MiB are within the allowance of any file */
    rfhe_graph_free(g);
    g = NULL;
    b.constants[0]->n_float_data = 1 << 23;
    b.constants[0]->dims[0] = 1 << 23;
    float *big = rfhe_calloc(1 << 23, sizeof *big);
    assert_non_null(big);
    b.constants[0]->float_data = big;
    assert_int_equal(builder_read(&b, &g, NULL, &err), RFHE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "too large for its file"));
    rfhe_free(big);
    builder_end(&b);
}

/* Found by fuzz_onnx: axis + 1 of the largest axis. */
static void extreme_axes_are_survived(void **state)
{
    static const int64_t axes[] = {INT64_MAX, INT64_MIN, -1, 1};
    static const char *const ops[] = {"Softmax", "Flatten", "Concat", "Add"};

    (void)state;
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
            onnx_builder b;
            size_t size = 0;
            builder_begin(&b, 6);
            builder_input(&b, "x", 1, 2, (int64_t[]){-1, 4});
            builder_output(&b, "y");
            builder_int(&b, builder_node(&b, ops[k], "n", k < 2 ? "x" : "x x", "y"), "axis",
                        axes[i]);
            const uint8_t *bytes = builder_pack(&b, &size);
            const rfhe_status st = digest(bytes, size);
            assert_true(st == RFHE_OK || st == RFHE_E_UNSUPPORTED || st == RFHE_E_FORMAT);
            builder_end(&b);
        }
    }
}

/* Found by fuzz_onnx: an omitted input among the parts of a computed shape. */
static void omitted_inputs_of_computed_shapes_are_refused(void **state)
{
    static const char *const ops[] = {"Concat",          "Gather",    "Slice", "Unsqueeze",
                                      "Reshape",         "Transpose", "Mul",   "Cast",
                                      "ConstantOfShape", "Squeeze",   "Shape"};
    static const char *const ins[] = {"i - i", "- i", "i - - i", "i", "i - i i i i i", "-", ""};

    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        for (size_t k = 0; k < sizeof ins / sizeof *ins; k++) {
            onnx_builder b;
            rfhe_graph *g = NULL;
            rfhe_error err = {0};
            builder_begin(&b, 13);
            builder_input(&b, "x", 1, 2, (int64_t[]){-1, 4});
            builder_output(&b, "y");
            builder_int64s(&b, "i", 1, (int64_t[]){0});
            builder_node(&b, ops[i], "n", ins[k], "s");
            builder_node(&b, "Reshape", "r", "x s", "y");
            const rfhe_status st = builder_read(&b, &g, NULL, &err);
            if (k == 0 || k == 1 || k > 3) {
                assert_true(st == RFHE_E_UNSUPPORTED || st == RFHE_E_FORMAT);
            }
            rfhe_graph_free(g);
            builder_end(&b);
        }
    }
}

/* Found by fuzz_onnx: a 0 in the shape that an old Softmax is brought back to would mean "copy". */
static void an_empty_softmax_of_old_opsets_is_not_written(void **state)
{
    onnx_builder b;
    rfhe_graph *g = NULL;
    rfhe_error err = {0};
    uint8_t *out = NULL;
    size_t size = 0;

    (void)state;
    builder_begin(&b, 6);
    builder_input(&b, "x", 1, 2, (int64_t[]){0, 128});
    builder_output(&b, "y");
    builder_int(&b, builder_node(&b, "Softmax", "n", "x", "y"), "axis", 0);
    assert_int_equal(builder_read(&b, &g, NULL, &err), RFHE_OK);
    assert_int_equal(rfhe_onnx_write_memory(&out, &size, g, &err), RFHE_E_UNSUPPORTED);
    assert_string_equal(err.text, "node 'n' (Softmax): opset 13 has no Reshape to an empty tensor");
    rfhe_graph_free(g);
    builder_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_truncation_is_survived),
        cmocka_unit_test(random_damage_is_survived),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(many_empty_messages_stay_cheap),
        cmocka_unit_test(one_tensor_cannot_be_multiplied),
        cmocka_unit_test(extreme_axes_are_survived),
        cmocka_unit_test(omitted_inputs_of_computed_shapes_are_refused),
        cmocka_unit_test(an_empty_softmax_of_old_opsets_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
