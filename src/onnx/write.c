/* Writing a graph as ONNX opset 13, IR version 7. The generated structures are filled with pointers into the graph (they
 * live in an arena and are gone after packing), attributes that opset 13 wants as tensors become initializers named after
 * the node's output, and protobuf-c packs it all in field order, so that equal graphs give equal bytes. */
#include "rfhe/onnx.h"

#include "base/file.h"
#include "base/mem.h"
#include "nn/custom.h"
#include "onnx/wire.h"

#include "onnx.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    OPSET = 13,
    IR_VERSION = 7,
    MAX_ATTRIBUTES = 8,
    MAX_EXTRA_INPUTS = 5,
    MAX_NODES_PER_NODE = 3
};

/* Running out of memory is remembered in arena.failed and reported once. */
typedef struct writer {
    const rfhe_graph *g;
    const rfhe_value *shapes; /* values of a copy of g after inference */
    rfhe_onnx_arena arena;
    Onnx__GraphProto *out;
    rfhe_error *err;
} writer;

static void *make(writer *w, size_t count, size_t size)
{
    size_t bytes = 0;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        w->arena.failed = true;
        return NULL;
    }
    return rfhe_onnx_arena_alloc(&w->arena, bytes);
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)s; /* protobuf-c has no const; packing does not write */
}

/* "<value>.<what>", with underscores behind it until nothing in the graph has that name. */
static char *derived_name(writer *w, const char *value, const char *what)
{
    const size_t size = strlen(value) + strlen(what) + 2, room = size + w->g->n_values;
    char *name = make(w, room, 1);

    if (name == NULL) { return text(""); }
    (void)snprintf(name, room, "%s.%s", value, what);
    for (size_t end = size - 1; rfhe_graph_find(w->g, name) != RFHE_NO_VALUE; end++) {
        name[end] = '_';
        name[end + 1] = '\0';
    }
    return name;
}

static Onnx__TensorProto *add_tensor(writer *w, char *name, rfhe_dtype dtype,
                                     const rfhe_shape *shape, const void *data, size_t bytes)
{
    Onnx__TensorProto *t = make(w, 1, sizeof *t);
    int64_t *dims = make(w, shape->rank + 1, sizeof *dims);

    if (t == NULL || dims == NULL) { return NULL; }
    onnx__tensor_proto__init(t);
    memcpy(dims, shape->dim, shape->rank * sizeof *dims);
    t->n_dims = shape->rank;
    t->dims = dims;
    t->has_data_type = 1;
    t->data_type = (int32_t)dtype;
    t->name = name;
    t->has_raw_data = 1;
    t->raw_data = (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)(uintptr_t)data};
    w->out->initializer[w->out->n_initializer++] = t;
    return t;
}

static Onnx__NodeProto *add_node(writer *w, const char *op_type, char *name, size_t n_inputs,
                                 size_t n_outputs)
{
    Onnx__NodeProto *n = make(w, 1, sizeof *n);
    char **inputs = make(w, n_inputs + MAX_EXTRA_INPUTS, sizeof *inputs),
         **outputs = make(w, n_outputs, sizeof *outputs);
    Onnx__AttributeProto **attributes = make(w, MAX_ATTRIBUTES, sizeof *attributes);

    if (n == NULL || inputs == NULL || outputs == NULL || attributes == NULL) { return NULL; }
    onnx__node_proto__init(n);
    n->op_type = text(op_type);
    n->name = name;
    n->input = inputs;
    n->n_input = n_inputs;
    n->output = outputs;
    n->n_output = n_outputs;
    n->attribute = attributes;
    w->out->node[w->out->n_node++] = n;
    return n;
}

/* Appends a constant as the next input of `n`. */
static void constant_input(writer *w, Onnx__NodeProto *n, const char *what, rfhe_dtype dtype,
                           const rfhe_shape *shape, const void *data)
{
    size_t count = 0;

    (void)rfhe_shape_count(shape, &count); /* a few numbers */
    const size_t bytes = count * rfhe_dtype_size(dtype);
    char *name = derived_name(w, n->output[0], what);
    void *copy = make(w, bytes, 1);
    if (copy == NULL) { return; }
    if (bytes > 0) { memcpy(copy, data, bytes); }
    (void)add_tensor(w, name, dtype, shape, copy, bytes);
    n->input[n->n_input++] = name;
}

static void ints_input(writer *w, Onnx__NodeProto *n, const char *what, const int64_t *v,
                       size_t count)
{
    constant_input(w, n, what, RFHE_I64, &(rfhe_shape){.rank = 1, .dim = {(int64_t)count}}, v);
}

static void float_input(writer *w, Onnx__NodeProto *n, const char *what, float v)
{
    constant_input(w, n, what, RFHE_F32, &(rfhe_shape){.rank = 0}, &v);
}

static Onnx__AttributeProto *add_attribute(writer *w, Onnx__NodeProto *n, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = make(w, 1, sizeof *a);

    if (a == NULL) { return NULL; }
    onnx__attribute_proto__init(a);
    a->name = text(name);
    a->has_type = 1;
    a->type = type;
    n->attribute[n->n_attribute++] = a;
    return a;
}

static void attr_int(writer *w, Onnx__NodeProto *n, const char *name, int64_t v)
{
    Onnx__AttributeProto *a = add_attribute(w, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);

    if (a == NULL) { return; }
    a->has_i = 1;
    a->i = v;
}

static void attr_float(writer *w, Onnx__NodeProto *n, const char *name, float v)
{
    Onnx__AttributeProto *a =
        add_attribute(w, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);

    if (a == NULL) { return; }
    a->has_f = 1;
    a->f = v;
}

static void attr_text(writer *w, Onnx__NodeProto *n, const char *name, const char *v)
{
    Onnx__AttributeProto *a =
        add_attribute(w, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);

    if (a == NULL) { return; }
    a->has_s = 1;
    a->s = (ProtobufCBinaryData){.len = strlen(v), .data = (uint8_t *)text(v)};
}

static void attr_ints(writer *w, Onnx__NodeProto *n, const char *name, const int64_t *v,
                      size_t count)
{
    Onnx__AttributeProto *a =
        add_attribute(w, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *copy = make(w, count, sizeof *copy);

    if (a == NULL || copy == NULL) { return; }
    if (count > 0) { memcpy(copy, v, count * sizeof *copy); }
    a->ints = copy;
    a->n_ints = count;
}

static rfhe_status cannot_say(const writer *w, const rfhe_node *n, const char *what)
{
    return rfhe_fail(w->err, RFHE_E_UNSUPPORTED, "node '%.100s' (%s): opset %d has no %s", n->name,
                     rfhe_op_name(n->op), OPSET, what);
}

static rfhe_status put_window(writer *w, Onnx__NodeProto *to, const rfhe_node *n)
{
    static const char *const modes[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    const rfhe_window *v = &n->attr.window;
    int64_t pads[2 * RFHE_MAX_SPATIAL];

    attr_ints(w, to, "kernel_shape", v->kernel, v->spatial);
    attr_ints(w, to, "strides", v->stride, v->spatial);
    if (n->op != RFHE_OP_AVGPOOL) { attr_ints(w, to, "dilations", v->dilation, v->spatial); }
    for (uint32_t i = 0; i < v->spatial; i++) {
        pads[i] = v->pad_begin[i];
        pads[v->spatial + i] = v->pad_end[i];
        if (n->op == RFHE_OP_AVGPOOL && v->dilation[i] != 1) {
            return cannot_say(w, n, "dilated average pooling");
        }
    }
    if (v->auto_pad == RFHE_PAD_EXPLICIT) {
        attr_ints(w, to, "pads", pads, 2 * (size_t)v->spatial);
    } else {
        attr_text(w, to, "auto_pad", modes[v->auto_pad]);
    }
    if (n->op == RFHE_OP_CONV) { attr_int(w, to, "group", v->groups); }
    if (n->op != RFHE_OP_CONV) { attr_int(w, to, "ceil_mode", v->ceil_mode); }
    if (n->op == RFHE_OP_AVGPOOL) { attr_int(w, to, "count_include_pad", v->count_include_pad); }
    return RFHE_OK;
}

/* Opset 13 means batch statistics when there is more than one output; those that nobody wanted get names. */
static void put_batchnorm(writer *w, Onnx__NodeProto *to, const rfhe_node *n)
{
    static const char *const extra[] = {"", "mean", "variance", "saved_mean", "saved_variance"};

    attr_float(w, to, "epsilon", n->attr.batchnorm.epsilon);
    attr_float(w, to, "momentum", n->attr.batchnorm.momentum);
    if (!n->attr.batchnorm.training) { return; }
    char **outputs = make(w, 5, sizeof *outputs);
    if (outputs == NULL) { return; }
    for (size_t i = 0; i < 5; i++) {
        const bool is_there = i < to->n_output && to->output[i][0] != '\0';
        outputs[i] = is_there ? to->output[i] : derived_name(w, to->output[0], extra[i]);
    }
    to->output = outputs;
    to->n_output = 5;
}

static rfhe_status put_reshape(writer *w, Onnx__NodeProto *to, const rfhe_node *n)
{
    const rfhe_shape *s = &n->attr.reshape.shape;

    for (uint32_t i = 0; i < s->rank && n->attr.reshape.allow_zero; i++) {
        if (s->dim[i] == 0) { return cannot_say(w, n, "Reshape to an empty tensor"); }
    }
    ints_input(w, to, "shape", s->dim, s->rank);
    return RFHE_OK;
}

static void put_slice(writer *w, Onnx__NodeProto *to, const rfhe_node *n)
{
    const size_t count = n->attr.slice.n;

    ints_input(w, to, "starts", n->attr.slice.start, count);
    ints_input(w, to, "ends", n->attr.slice.end, count);
    ints_input(w, to, "axes", n->attr.slice.axis, count);
    ints_input(w, to, "steps", n->attr.slice.step, count);
}

static void put_pad(writer *w, Onnx__NodeProto *to, const rfhe_node *n)
{
    static const char *const modes[] = {"constant", "reflect", "edge"};
    const uint32_t rank = w->shapes[n->inputs[0]].shape.rank;
    int64_t pads[2 * RFHE_MAX_RANK];

    memcpy(pads, n->attr.pad.begin, rank * sizeof *pads);
    memcpy(pads + rank, n->attr.pad.end, rank * sizeof *pads);
    attr_text(w, to, "mode", modes[n->attr.pad.mode]);
    ints_input(w, to, "pads", pads, 2 * (size_t)rank);
    float_input(w, to, "value", n->attr.pad.value);
}

static void put_clip(writer *w, Onnx__NodeProto *to, const rfhe_node *n)
{
    const float low = n->attr.clip.min, high = n->attr.clip.max;
    const bool has_low = !(low < 0 && isinf(low)), has_high = !(high > 0 && isinf(high));

    if (has_low) {
        float_input(w, to, "min", low);
    } else if (has_high) {
        to->input[to->n_input++] = text("");
    }
    if (has_high) { float_input(w, to, "max", high); }
}

/* The kind before opset 13, over several axes: as a matrix, then back. `to` is rewritten as the Flatten. */
static void put_flattened_softmax(writer *w, Onnx__NodeProto *to, const rfhe_node *n, int64_t axis)
{
    rfhe_shape x = w->shapes[n->inputs[0]].shape;
    char *y = to->output[0];

    to->op_type = text("Flatten");
    to->name = derived_name(w, to->name, "flatten");
    to->output[0] = derived_name(w, y, "matrix");
    attr_int(w, to, "axis", axis);
    Onnx__NodeProto *soft = add_node(w, "Softmax", text(n->name), 1, 1);
    Onnx__NodeProto *back = add_node(w, "Reshape", derived_name(w, n->name, "reshape"), 1, 1);
    if (soft == NULL || back == NULL) { return; }
    attr_int(w, soft, "axis", 1);
    soft->input[0] = to->output[0];
    soft->output[0] = back->input[0] = derived_name(w, y, "probabilities");
    back->output[0] = y;
    ints_input(w, back, "shape", x.dim, x.rank);
}

static rfhe_status put_softmax(writer *w, Onnx__NodeProto *to, const rfhe_node *n)
{
    const rfhe_shape *x = &w->shapes[n->inputs[0]].shape;
    const uint32_t rank = x->rank;
    const int64_t axis = n->attr.softmax.axis;

    if (n->attr.softmax.flattened && axis != -1 && axis != (int64_t)rank - 1) {
        for (uint32_t i = 0; i < rank; i++) {
            if (x->dim[i] == 0) { return cannot_say(w, n, "Reshape to an empty tensor"); }
        }
        put_flattened_softmax(w, to, n, axis);
    } else {
        attr_int(w, to, "axis", axis);
    }
    return RFHE_OK;
}

static rfhe_status put_node(writer *w, const rfhe_node *n)
{
    Onnx__NodeProto *to =
        add_node(w, rfhe_op_name(n->op), text(n->name), n->n_inputs, n->n_outputs);

    if (to == NULL) { return RFHE_OK; } /* arena.failed tells */
    for (uint32_t i = 0; i < n->n_inputs; i++) {
        to->input[i] = text(n->inputs[i] == RFHE_NO_VALUE ? "" : w->g->values[n->inputs[i]].name);
    }
    for (uint32_t i = 0; i < n->n_outputs; i++) {
        to->output[i] =
            text(n->outputs[i] == RFHE_NO_VALUE ? "" : w->g->values[n->outputs[i]].name);
    }
    switch (n->op) {
    case RFHE_OP_CONV:
    case RFHE_OP_MAXPOOL:
    case RFHE_OP_AVGPOOL: return put_window(w, to, n);
    case RFHE_OP_BATCHNORM: put_batchnorm(w, to, n); break;
    case RFHE_OP_GEMM:
        attr_float(w, to, "alpha", n->attr.gemm.alpha);
        attr_float(w, to, "beta", n->attr.gemm.beta);
        attr_int(w, to, "transA", n->attr.gemm.trans_a);
        attr_int(w, to, "transB", n->attr.gemm.trans_b);
        break;
    case RFHE_OP_CLIP: put_clip(w, to, n); break;
    case RFHE_OP_REDUCEMEAN:
        if (n->attr.reduce.n > 0) {
            attr_ints(w, to, "axes", n->attr.reduce.axis, n->attr.reduce.n);
        }
        attr_int(w, to, "keepdims", n->attr.reduce.keep_dims);
        break;
    case RFHE_OP_FLATTEN: attr_int(w, to, "axis", n->attr.flatten.axis); break;
    case RFHE_OP_CONCAT: attr_int(w, to, "axis", n->attr.concat.axis); break;
    case RFHE_OP_RESHAPE: return put_reshape(w, to, n);
    case RFHE_OP_SLICE: put_slice(w, to, n); break;
    case RFHE_OP_PAD: put_pad(w, to, n); break;
    case RFHE_OP_SOFTMAX: return put_softmax(w, to, n);
    case RFHE_OP_DROPOUT: float_input(w, to, "ratio", n->attr.dropout.ratio); break;
    case RFHE_OP_MATMUL:
    case RFHE_OP_RELU:
    case RFHE_OP_GLOBALAVGPOOL:
    case RFHE_OP_ADD:
    case RFHE_OP_SUB:
    case RFHE_OP_MUL:
    case RFHE_OP_IDENTITY: break;
    case RFHE_OP_CUSTOM:
    case RFHE_OP_COUNT: return cannot_say(w, n, "such operator");
    }
    return RFHE_OK;
}

/* An input or output: name, type, shape with "N" for what is symbolic. */
static void put_info(writer *w, Onnx__ValueInfoProto **list, size_t *count, rfhe_value_id id)
{
    const rfhe_value *v = &w->shapes[id];
    Onnx__ValueInfoProto *info = make(w, 1, sizeof *info);
    Onnx__TypeProto *type = make(w, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = make(w, 1, sizeof *tensor);
    Onnx__TensorShapeProto *shape = make(w, 1, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **dims = make(w, v->shape.rank + 1, sizeof *dims);

    if (info == NULL || type == NULL || tensor == NULL || shape == NULL || dims == NULL) { return; }
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    for (uint32_t i = 0; i < v->shape.rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = make(w, 1, sizeof *d);
        if (d == NULL) { return; }
        onnx__tensor_shape_proto__dimension__init(d);
        if (v->shape.dim[i] < 0) {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = text("N");
        } else {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = v->shape.dim[i];
        }
        dims[i] = d;
    }
    shape->dim = dims;
    shape->n_dim = v->shape.rank;
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)v->dtype;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    info->name = v->name;
    info->type = type;
    list[(*count)++] = info;
}

static void put_metas(writer *w, Onnx__ModelProto *m)
{
    const rfhe_graph *g = w->g;

    m->metadata_props = make(w, g->n_metas, sizeof *m->metadata_props);
    for (uint32_t i = 0; i < g->n_metas && m->metadata_props != NULL; i++) {
        Onnx__StringStringEntryProto *e = make(w, 1, sizeof *e);
        if (e == NULL) { return; }
        onnx__string_string_entry_proto__init(e);
        e->key = g->metas[i].key;
        e->value = g->metas[i].value;
        m->metadata_props[m->n_metadata_props++] = e;
    }
}

static rfhe_status put_graph(writer *w, Onnx__GraphProto *out)
{
    const rfhe_graph *g = w->g;
    rfhe_status st = RFHE_OK;

    w->out = out;
    out->name = text(g->name[0] != '\0' ? g->name : "graph");
    out->node = make(w, (size_t)MAX_NODES_PER_NODE * g->n_nodes, sizeof *out->node);
    out->initializer =
        make(w, g->n_values + (size_t)MAX_EXTRA_INPUTS * g->n_nodes, sizeof *out->initializer);
    out->input = make(w, g->n_inputs, sizeof *out->input);
    out->output = make(w, g->n_outputs, sizeof *out->output);
    if (out->node == NULL || out->initializer == NULL || out->input == NULL ||
        out->output == NULL) {
        goto done;
    }
    for (uint32_t i = 0; i < g->n_values; i++) {
        const rfhe_tensor *t = g->values[i].constant;
        if (t == NULL) { continue; }
        (void)add_tensor(w, g->values[i].name, t->dtype, &t->shape, t->data,
                         t->count * rfhe_dtype_size(t->dtype));
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) { RFHE_TRY(put_node(w, &g->nodes[i])); }
    for (uint32_t i = 0; i < g->n_inputs; i++) {
        put_info(w, out->input, &out->n_input, g->inputs[i]);
    }
    for (uint32_t i = 0; i < g->n_outputs; i++) {
        put_info(w, out->output, &out->n_output, g->outputs[i]);
    }

done:
    return st;
}

/* Runs inference on copies of the arrays it writes to (attributes and shapes are plain members), so that g stays as it
 * is. *values receives the copy of the values. */
static rfhe_status infer_copy(rfhe_value **values, const rfhe_graph *g, rfhe_error *err)
{
    rfhe_graph copy = *g;
    rfhe_status st = RFHE_OK;

    copy.values = rfhe_alloc(g->n_values, sizeof *copy.values);
    copy.nodes = rfhe_alloc(g->n_nodes, sizeof *copy.nodes);
    if (copy.values == NULL || copy.nodes == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to write a graph of %u nodes", g->n_nodes);
        goto done;
    }
    if (g->n_values > 0) { memcpy(copy.values, g->values, g->n_values * sizeof *copy.values); }
    if (g->n_nodes > 0) { memcpy(copy.nodes, g->nodes, g->n_nodes * sizeof *copy.nodes); }
    RFHE_TRY(rfhe_graph_infer(&copy, 0, err));
    *values = copy.values;
    copy.values = NULL;

done:
    rfhe_free(copy.values);
    rfhe_free(copy.nodes);
    return st;
}

rfhe_status rfhe_onnx_write_memory(uint8_t **data, size_t *size, const rfhe_graph *g,
                                   rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_value *values = NULL;
    uint8_t *bytes = NULL;
    rfhe_graph *plain = NULL;
    writer w = {.g = g, .err = err, .arena = {.limit = SIZE_MAX}};
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};

    if (rfhe_graph_has_custom(g)) {
        RFHE_TRY(rfhe_graph_clone(&plain, g));
        RFHE_TRY(rfhe_graph_expand(plain, err));
        w.g = g = plain;
    }
    RFHE_TRY(infer_copy(&values, g, err));
    w.shapes = values;
    opset.domain = text("");
    opset.has_version = 1;
    opset.version = OPSET;
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    model.producer_name = text("relu-fhe");
    model.producer_version = text(RFHE_VERSION);
    model.graph = &graph;
    put_metas(&w, &model);
    RFHE_TRY(put_graph(&w, &graph));
    if (!w.arena.failed) {
        *size = onnx__model_proto__get_packed_size(&model);
        if (*size >= (size_t)1 << 31) {
            st = rfhe_fail(err, RFHE_E_UNSUPPORTED,
                           "the model would be larger than 2 GiB (%zu bytes)", *size);
            goto done;
        }
        bytes = rfhe_alloc(*size, 1);
    }
    if (bytes == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to write a graph of %u nodes", g->n_nodes);
        goto done;
    }
    (void)onnx__model_proto__pack(&model, bytes);
    *data = bytes;

done:
    rfhe_free(values);
    rfhe_graph_free(plain);
    rfhe_onnx_arena_clear(&w.arena);
    return st;
}

rfhe_status rfhe_onnx_write(const rfhe_graph *g, const char *path, rfhe_error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_status st = rfhe_onnx_write_memory(&data, &size, g, err);

    if (st != RFHE_OK) { return st; }
    st = rfhe_file_write(path, data, size, 0644, err);
    rfhe_free(data);
    return st;
}

void rfhe_onnx_free(void *data)
{
    rfhe_free(data);
}
