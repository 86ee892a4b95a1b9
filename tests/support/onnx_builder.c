/* See onnx_builder.h. */
#include "onnx_builder.h"

#include "test.h"

static void *make(onnx_builder *b, size_t count, size_t size)
{
    void *p = rfhe_onnx_arena_alloc(&b->arena, count * size + 1);

    assert_non_null(p);
    return memset(p, 0, count * size + 1);
}

static char *copy_text(onnx_builder *b, const char *s)
{
    const size_t size = strlen(s) + 1;

    return memcpy(make(b, size, 1), s, size);
}

void builder_begin(onnx_builder *b, int64_t opset)
{
    *b = (onnx_builder){.arena = {.limit = SIZE_MAX}};
    onnx__model_proto__init(&b->model);
    onnx__graph_proto__init(&b->graph);
    onnx__operator_set_id_proto__init(&b->opset);
    b->opset.has_version = 1;
    b->opset.version = opset;
    b->opsets[0] = &b->opset;
    b->model.opset_import = b->opsets;
    b->model.n_opset_import = 1;
    b->model.graph = &b->graph;
    b->graph.name = copy_text(b, "test");
    b->graph.node = b->nodes;
    b->graph.initializer = b->constants;
    b->graph.input = b->inputs;
    b->graph.output = b->outputs;
}

void builder_end(onnx_builder *b)
{
    rfhe_onnx_arena_clear(&b->arena);
}

static char **split(onnx_builder *b, const char *names, size_t *count)
{
    char **list = make(b, BUILDER_MAX, sizeof *list);

    *count = 0;
    for (const char *at = names; *at != '\0';) {
        const size_t n = strcspn(at, " ");
        char *name = make(b, n + 1, 1);
        if (n != 1 || at[0] != '-') { memcpy(name, at, n); }
        assert_true(*count < BUILDER_MAX);
        list[(*count)++] = name;
        at += n + (at[n] == ' ');
    }
    return list;
}

Onnx__NodeProto *builder_node(onnx_builder *b, const char *op, const char *name, const char *in,
                              const char *out)
{
    Onnx__NodeProto *n = make(b, 1, sizeof *n);

    onnx__node_proto__init(n);
    n->op_type = copy_text(b, op);
    n->name = copy_text(b, name);
    n->input = split(b, in, &n->n_input);
    n->output = split(b, out, &n->n_output);
    n->attribute = make(b, BUILDER_MAX, sizeof *n->attribute);
    assert_true(b->graph.n_node < BUILDER_MAX);
    b->nodes[b->graph.n_node++] = n;
    return n;
}

static Onnx__AttributeProto *attribute(onnx_builder *b, Onnx__NodeProto *n, const char *name,
                                       Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = make(b, 1, sizeof *a);

    onnx__attribute_proto__init(a);
    a->name = copy_text(b, name);
    a->has_type = 1;
    a->type = type;
    n->attribute[n->n_attribute++] = a;
    return a;
}

void builder_int(onnx_builder *b, Onnx__NodeProto *n, const char *name, int64_t v)
{
    Onnx__AttributeProto *a = attribute(b, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);

    a->has_i = 1;
    a->i = v;
}

void builder_float(onnx_builder *b, Onnx__NodeProto *n, const char *name, float v)
{
    Onnx__AttributeProto *a = attribute(b, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);

    a->has_f = 1;
    a->f = v;
}

void builder_text(onnx_builder *b, Onnx__NodeProto *n, const char *name, const char *v)
{
    Onnx__AttributeProto *a = attribute(b, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);

    a->has_s = 1;
    a->s = (ProtobufCBinaryData){.len = strlen(v), .data = (uint8_t *)copy_text(b, v)};
}

void builder_ints(onnx_builder *b, Onnx__NodeProto *n, const char *name, size_t count,
                  const int64_t *v)
{
    Onnx__AttributeProto *a = attribute(b, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);

    a->ints = memcpy(make(b, count, sizeof *v), v, count * sizeof *v);
    a->n_ints = count;
}

static Onnx__TensorProto *constant(onnx_builder *b, const char *name, int type, size_t rank,
                                   const int64_t *dims)
{
    Onnx__TensorProto *t = make(b, 1, sizeof *t);

    onnx__tensor_proto__init(t);
    t->name = copy_text(b, name);
    t->has_data_type = 1;
    t->data_type = type;
    t->n_dims = rank;
    t->dims = make(b, rank, sizeof *dims);
    if (rank > 0) { memcpy(t->dims, dims, rank * sizeof *dims); }
    assert_true(b->graph.n_initializer < BUILDER_MAX);
    b->constants[b->graph.n_initializer++] = t;
    return t;
}

Onnx__TensorProto *builder_floats(onnx_builder *b, const char *name, size_t rank,
                                  const int64_t *dims, const float *v)
{
    Onnx__TensorProto *t = constant(b, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, rank, dims);

    t->n_float_data = 1;
    for (size_t i = 0; i < rank; i++) { t->n_float_data *= (size_t)dims[i]; }
    t->float_data = make(b, t->n_float_data, sizeof *v);
    for (size_t i = 0; i < t->n_float_data; i++) {
        t->float_data[i] = v != NULL ? v[i] : (float)(i + 1);
    }
    return t;
}

Onnx__TensorProto *builder_int64s(onnx_builder *b, const char *name, size_t count, const int64_t *v)
{
    const size_t n = count == 0 ? 1 : count;
    Onnx__TensorProto *t = constant(b, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64,
                                    count == 0 ? 0 : 1, &(int64_t){(int64_t)count});

    t->has_raw_data = 1;
    t->raw_data.len = n * sizeof *v;
    t->raw_data.data = memcpy(make(b, n, sizeof *v), v, n * sizeof *v);
    return t;
}

static Onnx__ValueInfoProto *info(onnx_builder *b, const char *name, int type, size_t rank,
                                  const int64_t *dims)
{
    Onnx__ValueInfoProto *v = make(b, 1, sizeof *v);
    Onnx__TypeProto *t = make(b, 1, sizeof *t);
    Onnx__TypeProto__Tensor *tensor = make(b, 1, sizeof *tensor);

    onnx__value_info_proto__init(v);
    onnx__type_proto__init(t);
    onnx__type_proto__tensor__init(tensor);
    v->name = copy_text(b, name);
    v->type = t;
    t->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    t->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = type;
    if (dims == NULL) { return v; }
    tensor->shape = make(b, 1, sizeof *tensor->shape);
    onnx__tensor_shape_proto__init(tensor->shape);
    tensor->shape->n_dim = rank;
    tensor->shape->dim = make(b, rank, sizeof *tensor->shape->dim);
    for (size_t i = 0; i < rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = make(b, 1, sizeof *d);
        onnx__tensor_shape_proto__dimension__init(d);
        d->value_case = dims[i] == -1 ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM
                                      : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        if (dims[i] == -1) {
            d->dim_param = copy_text(b, "batch");
        } else {
            d->dim_value = dims[i];
        }
        tensor->shape->dim[i] = d;
    }
    return v;
}

void builder_input(onnx_builder *b, const char *name, int type, size_t rank, const int64_t *dims)
{
    b->inputs[b->graph.n_input++] = info(b, name, type, rank, dims);
}

void builder_output(onnx_builder *b, const char *name)
{
    b->outputs[b->graph.n_output++] = info(b, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, 0, NULL);
}

uint8_t *builder_pack(onnx_builder *b, size_t *size)
{
    *size = onnx__model_proto__get_packed_size(&b->model);
    uint8_t *bytes = make(b, *size, 1);
    (void)onnx__model_proto__pack(&b->model, bytes);
    return bytes;
}

rfhe_status builder_read(onnx_builder *b, rfhe_graph **g, const rfhe_onnx_options *opt,
                         rfhe_error *err)
{
    size_t size = 0;
    const uint8_t *bytes = builder_pack(b, &size);

    *err = (rfhe_error){0};
    return rfhe_onnx_read_memory(g, bytes, size, opt, err);
}
