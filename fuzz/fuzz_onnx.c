/* Whatever bytes come in: reading refuses them with one sentence or gives a graph; a graph whose shapes fit can be
 * written, read again as the same graph, and written to the same bytes. */
#include "rfhe/onnx.h"

#include "base/mem.h"
#include "base/random.h"
#include "nn/graph.h"
#include "onnx.pb-c.h"
#include "onnx/wire.h"
#include "../tests/support/graphs.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); /* libFuzzer's own */

static void must(bool condition, const char *what, const char *detail)
{
    if (condition) { return; }
    (void)fprintf(stderr, "fuzz_onnx: %s: %s\n", what, detail);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rfhe_graph *g = NULL, *again = NULL;
    rfhe_error err = {0};
    uint8_t *bytes = NULL, *bytes_again = NULL;
    size_t n = 0, n_again = 0;
    const char *what = "";
    const size_t before = rfhe_mem_get_stats().current;
    const rfhe_status st = rfhe_onnx_read_memory(&g, data, size, NULL, &err);

    if (st != RFHE_OK) {
        must(g == NULL && err.code == st && err.text[0] != '\0', "refused without a sentence",
             rfhe_status_name(st));
        must(st == RFHE_E_FORMAT || st == RFHE_E_UNSUPPORTED, "unexpected status", err.text);
        goto done;
    }
    if (rfhe_graph_infer(g, 1, &err) != RFHE_OK) { goto done; }
    if (rfhe_onnx_write_memory(&bytes, &n, g, &err) != RFHE_OK) {
        must(err.code == RFHE_E_UNSUPPORTED, "an inferred graph cannot be written", err.text);
        goto done;
    }
    must(rfhe_onnx_read_memory(&again, bytes, n, NULL, &err) == RFHE_OK,
         "what was written cannot be read", err.text);
    must(!graph_is_writable_as_is(g) || graphs_are_equal(g, again, &what), "the graph changed",
         what);
    must(rfhe_onnx_write_memory(&bytes_again, &n_again, again, &err) == RFHE_OK,
         "cannot be written again", err.text);
    must(n == n_again && memcmp(bytes, bytes_again, n) == 0, "the bytes changed", "");

done:
    rfhe_onnx_free(bytes);
    rfhe_onnx_free(bytes_again);
    rfhe_graph_free(g);
    rfhe_graph_free(again);
    must(rfhe_mem_get_stats().current == before, "memory leaked", "");
    return 0;
}

/* Changes to the parsed model, so that more than the wire format is exercised: byte changes break the length of some
 * message nearly always. */
typedef struct mutation {
    rfhe_rng rng;
    rfhe_onnx_arena arena;
    Onnx__GraphProto *g;
} mutation;

static size_t below(mutation *m, size_t n)
{
    return n == 0 ? 0 : rfhe_rng_below(&m->rng, n);
}

static int64_t some_number(mutation *m)
{
    static const int64_t edges[] = {
        0, 1, -1, 2, 3, 7, 64, -2, INT64_MAX, INT64_MIN, INT32_MAX, (int64_t)1 << 40, 1 << 20};

    return edges[below(m, sizeof edges / sizeof *edges)];
}

static void mutate_ints(mutation *m, int64_t *v, size_t *n)
{
    if (*n == 0) { return; }
    if (below(m, 5) == 0) {
        (*n)--;
    } else {
        v[below(m, *n)] = some_number(m);
    }
}

/* NULL where the file has none. */
static char *name_at(mutation *m)
{
    const Onnx__GraphProto *g = m->g;
    const Onnx__NodeProto *n = g->n_node > 0 ? g->node[below(m, g->n_node)] : NULL;

    switch (below(m, 4)) {
    case 0:
        if (g->n_initializer > 0) { return g->initializer[below(m, g->n_initializer)]->name; }
        return (char *)(uintptr_t) "";
    case 1:
        if (g->n_input > 0) { return g->input[below(m, g->n_input)]->name; }
        return (char *)(uintptr_t) "x";
    case 2:
        if (n != NULL && n->n_output > 0) { return n->output[below(m, n->n_output)]; }
        return (char *)(uintptr_t) "y";
    default: return (char *)(uintptr_t) "";
    }
}

static char *some_name(mutation *m)
{
    char *name = name_at(m);

    return name != NULL ? name : (char *)(uintptr_t) "z";
}

static void mutate_tensor(mutation *m, Onnx__TensorProto *t)
{
    static const int types[] = {1, 6, 7, 9, 10, 11, 16};

    switch (below(m, 4)) {
    case 0: mutate_ints(m, t->dims, &t->n_dims); break;
    case 1: t->data_type = types[below(m, sizeof types / sizeof *types)]; break;
    case 2: mutate_ints(m, t->int64_data, &t->n_int64_data); break;
    default:
        for (size_t i = 0; t->has_raw_data && i + 8 <= t->raw_data.len && i < 64; i += 8) {
            const int64_t v = some_number(m);
            if (below(m, 3) == 0) { memcpy(t->raw_data.data + i, &v, sizeof v); }
        }
        break;
    }
}

static void mutate_attribute(mutation *m, Onnx__AttributeProto *a)
{
    static const char *const words[] = {"SAME_UPPER", "SAME_LOWER", "VALID",   "NOTSET",
                                        "edge",       "reflect",    "constant"};

    if (a->n_ints > 0) {
        mutate_ints(m, a->ints, &a->n_ints);
    } else if (a->has_i) {
        a->i = some_number(m);
    } else if (a->has_f) {
        a->f = (float)some_number(m);
    } else if (a->t != NULL) {
        mutate_tensor(m, a->t);
    } else if (a->has_s) {
        const char *word = words[below(m, sizeof words / sizeof *words)];
        a->s = (ProtobufCBinaryData){.len = strlen(word), .data = (uint8_t *)(uintptr_t)word};
    }
}

static void mutate_node(mutation *m, Onnx__NodeProto *n)
{
    static const char *const more[] = {"Shape", "Gather", "Unsqueeze", "Squeeze",
                                       "Cast",  "Div",    "Constant"};
    const size_t n_more = sizeof more / sizeof *more, k = below(m, RFHE_OP_COUNT + n_more);

    switch (below(m, 4)) {
    case 0:
        n->op_type = (char *)(uintptr_t)(k < RFHE_OP_COUNT ? rfhe_op_name((rfhe_op)k)
                                                           : more[k - RFHE_OP_COUNT]);
        break;
    case 1:
        if (n->n_input > 0) { n->input[below(m, n->n_input)] = some_name(m); }
        break;
    case 2:
        if (n->n_attribute > 0 && below(m, 4) == 0) { n->n_attribute--; }
        if (n->n_attribute > 0) { mutate_attribute(m, n->attribute[below(m, n->n_attribute)]); }
        break;
    default:
        if (n->n_attribute > 0) { mutate_attribute(m, n->attribute[below(m, n->n_attribute)]); }
        break;
    }
}

static void mutate_shape(mutation *m, Onnx__ValueInfoProto *v)
{
    Onnx__TypeProto *t = v->type;

    if (t == NULL || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
        t->tensor_type->shape == NULL) {
        return;
    }
    Onnx__TensorShapeProto *s = t->tensor_type->shape;
    if (s->n_dim == 0) { return; }
    Onnx__TensorShapeProto__Dimension *d = s->dim[below(m, s->n_dim)];
    d->value_case = below(m, 3) == 0 ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE__NOT_SET
                                     : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
        d->dim_value = some_number(m);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    mutation m = {.rng = rfhe_rng_seed(seed, 0)};
    ProtobufCMessage *message = NULL;

    if (below(&m, 4) == 0) { return LLVMFuzzerMutate(data, size, max_size); }
    if (rfhe_onnx_parse(&message, &m.arena, &onnx__model_proto__descriptor, data, size, "", NULL) !=
            RFHE_OK ||
        ((Onnx__ModelProto *)(void *)message)->graph == NULL) {
        rfhe_onnx_arena_clear(&m.arena);
        return LLVMFuzzerMutate(data, size, max_size);
    }
    Onnx__ModelProto *model = (Onnx__ModelProto *)(void *)message;
    Onnx__GraphProto *g = m.g = model->graph;
    for (size_t rounds = below(&m, 3) + 1; rounds > 0; rounds--) {
        switch (below(&m, 12)) {
        case 0:
            if (model->n_opset_import > 0) {
                model->opset_import[0]->version = 5 + (int64_t)below(&m, 18);
            }
            break;
        case 1:
            if (g->n_input > 0) { mutate_shape(&m, g->input[below(&m, g->n_input)]); }
            break;
        case 2:
        case 3:
            if (g->n_initializer > 0) {
                mutate_tensor(&m, g->initializer[below(&m, g->n_initializer)]);
            }
            break;
        case 4:
            if (g->n_output > 0) { g->output[below(&m, g->n_output)]->name = some_name(&m); }
            break;
        default:
            if (g->n_node > 0) { mutate_node(&m, g->node[below(&m, g->n_node)]); }
            break;
        }
    }
    const size_t packed = protobuf_c_message_get_packed_size(message);
    if (packed <= max_size) { size = protobuf_c_message_pack(message, data); }
    rfhe_onnx_arena_clear(&m.arena);
    return packed <= max_size ? size : LLVMFuzzerMutate(data, size, max_size);
}
