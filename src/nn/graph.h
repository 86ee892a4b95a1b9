/* The network as a graph: values (tensors with a name and a shape), nodes (operators) in execution order, constants
 * (weights), inputs, outputs, metadata. It is what onnx/ reads and writes, what nn/ runs and trains, what method/
 * rewrites and what plan/ lowers to an encrypted program.
 *
 * The graph is close to ONNX but in one canonical form, whatever the exporter did: BatchNormalization stays a node of
 * its own; Constant nodes and initializers behind Identity are plain constants; shapes, axes, pads, limits that ONNX
 * passes as tensors are attributes; an attribute that was left out has its default. The importer does that; nobody
 * else has to know opsets. Names of nodes and values are kept from the file, because messages and metadata use them. */
#ifndef RFHE_NN_GRAPH_H
#define RFHE_NN_GRAPH_H

#include "nn/tensor.h"

/* op, ONNX name. Inputs in ONNX order; optional trailing inputs may be missing. */
#define RFHE_OP_LIST(X)                                                          \
    X(CONV, "Conv")                    /* x, w (Cout, Cin/groups, k...), [bias] */  \
    X(BATCHNORM, "BatchNormalization") /* x, scale, shift, mean, variance       */  \
    X(GEMM, "Gemm")                    /* a, b, [c]                             */  \
    X(MATMUL, "MatMul")                /* a, b, NumPy's rule                    */  \
    X(RELU, "Relu")                                                              \
    X(CLIP, "Clip")                                                              \
    X(MAXPOOL, "MaxPool")                                                        \
    X(AVGPOOL, "AveragePool")                                                    \
    X(GLOBALAVGPOOL, "GlobalAveragePool")                                        \
    X(REDUCEMEAN, "ReduceMean")                                                  \
    X(ADD, "Add")                                                                \
    X(SUB, "Sub")                                                                \
    X(MUL, "Mul")                                                                \
    X(FLATTEN, "Flatten")                                                        \
    X(RESHAPE, "Reshape")                                                        \
    X(SLICE, "Slice")                                                            \
    X(CONCAT, "Concat")                                                          \
    X(PAD, "Pad")                                                                \
    X(SOFTMAX, "Softmax")                                                        \
    X(IDENTITY, "Identity")                                                      \
    X(DROPOUT, "Dropout")                                                        \
    X(CUSTOM, "Custom")                /* x, trained constant, fixed ones: custom.h */

typedef enum rfhe_op {
#define RFHE_OP_ENUM(op, onnx) RFHE_OP_##op,
    RFHE_OP_LIST(RFHE_OP_ENUM)
#undef RFHE_OP_ENUM
    RFHE_OP_COUNT
} rfhe_op;

enum { RFHE_MAX_SPATIAL = 3 };

typedef struct rfhe_custom_op rfhe_custom_op; /* see custom.h */

typedef enum rfhe_auto_pad {
    RFHE_PAD_EXPLICIT = 0,
    RFHE_PAD_SAME_UPPER,
    RFHE_PAD_SAME_LOWER,
    RFHE_PAD_VALID
} rfhe_auto_pad;
typedef enum rfhe_pad_mode { RFHE_PAD_CONSTANT = 0, RFHE_PAD_REFLECT, RFHE_PAD_EDGE } rfhe_pad_mode;

/* Convolution and pooling. Rank of x is spatial + 2. Strides and dilations are at least 1. */
typedef struct rfhe_window {
    uint32_t spatial; /* 1 .. 3 */
    int64_t kernel[RFHE_MAX_SPATIAL], stride[RFHE_MAX_SPATIAL], dilation[RFHE_MAX_SPATIAL];
    int64_t pad_begin[RFHE_MAX_SPATIAL], pad_end[RFHE_MAX_SPATIAL];
    rfhe_auto_pad auto_pad; /* rfhe_graph_infer turns SAME_* into explicit pads */
    int64_t groups;         /* Conv only                                        */
    bool ceil_mode, count_include_pad;
} rfhe_window;

/* One member per operator that has attributes; the others leave it zero. Axes are non-negative once the rank of the
 * input is known to the importer, and may be negative before. */
typedef union rfhe_attr {
    rfhe_window window; /* CONV MAXPOOL AVGPOOL */
    struct {
        float epsilon, momentum; /* running = momentum * running + (1 - momentum) * batch */
        bool training;           /* statistics of the batch, extra outputs: mean, variance */
    } batchnorm;
    struct {
        float alpha, beta;
        bool trans_a, trans_b;
    } gemm;
    struct {
        float min, max; /* -inf and +inf when absent */
    } clip;
    struct {
        uint32_t n; /* 0 = all axes */
        int64_t axis[RFHE_MAX_RANK];
        bool keep_dims;
    } reduce;
    struct {
        int64_t axis;
    } flatten, concat;
    struct {
        int64_t axis;
        bool flattened; /* opset < 13: over all axes from `axis` on */
    } softmax;
    struct {
        rfhe_shape shape; /* -1 = the rest, 0 = copy from the input unless allow_zero */
        bool allow_zero;
    } reshape;
    struct {
        uint32_t n;
        int64_t axis[RFHE_MAX_RANK], start[RFHE_MAX_RANK], end[RFHE_MAX_RANK], step[RFHE_MAX_RANK];
    } slice;
    struct {
        int64_t begin[RFHE_MAX_RANK], end[RFHE_MAX_RANK]; /* per axis; negative crops */
        rfhe_pad_mode mode;
        float value;
    } pad;
    struct {
        float ratio;
    } dropout; /* identity outside training */
    struct {
        const struct rfhe_custom_op *op; /* static: shared by all copies of the node      */
        void *control;                   /* borrowed, may be NULL; what it is, op knows   */
        uint32_t word[16];
        char label[32];
    } custom;
} rfhe_attr;

typedef uint32_t rfhe_value_id;
#define RFHE_NO_VALUE UINT32_MAX
#define RFHE_NO_NODE UINT32_MAX

typedef struct rfhe_value {
    char *name; /* unique and not empty */
    rfhe_dtype dtype;
    rfhe_shape shape;      /* as far as known; exact after rfhe_graph_infer */
    bool has_shape;
    rfhe_tensor *constant; /* owned; NULL for what is computed or fed        */
    uint32_t producer;     /* node index, RFHE_NO_NODE for inputs, constants */
} rfhe_value;

typedef struct rfhe_node {
    rfhe_op op;
    char *name; /* from the file, or made from the output's name */
    uint32_t n_inputs, n_outputs;
    rfhe_value_id *inputs, *outputs; /* RFHE_NO_VALUE for an omitted optional one */
    rfhe_attr attr;
} rfhe_node;

typedef struct rfhe_meta { /* one metadata_props entry */
    char *key, *value;
} rfhe_meta;

typedef struct rfhe_graph {
    char *name;
    rfhe_value *values;
    rfhe_node *nodes; /* every value is produced before it is used */
    rfhe_value_id *inputs, *outputs;
    rfhe_meta *metas;
    uint32_t n_values, n_nodes, n_inputs, n_outputs, n_metas;
    uint32_t cap_values, cap_nodes;
} rfhe_graph;

const char *rfhe_op_name(rfhe_op op);

RFHE_MUST_USE rfhe_status rfhe_graph_new(rfhe_graph **out, const char *name);
RFHE_API void rfhe_graph_free(rfhe_graph *g); /* public too: rfhe/onnx.h */
RFHE_MUST_USE rfhe_status rfhe_graph_clone(rfhe_graph **out, const rfhe_graph *g);

/* Adds a value without producer. A name that is taken gets a suffix "_1", "_2", ...; NULL makes one up. Pointers into
 * g->values and g->nodes are valid until the next addition. */
RFHE_MUST_USE rfhe_status rfhe_graph_add_value(rfhe_graph *g, rfhe_value_id *out, const char *name,
                                               rfhe_dtype dtype, const rfhe_shape *shape);
/* Takes ownership of `t` when it succeeds. */
RFHE_MUST_USE rfhe_status rfhe_graph_add_constant(rfhe_graph *g, rfhe_value_id *out,
                                                  const char *name, rfhe_tensor *t);
/* Appends a node with one fresh output value (id in *out), named `name` (NULL: made up). */
RFHE_MUST_USE rfhe_status rfhe_graph_add_node(rfhe_graph *g, rfhe_value_id *out, rfhe_op op,
                                              const char *name, const rfhe_value_id *inputs,
                                              uint32_t n_inputs, const rfhe_attr *attr);
/* The general form: existing values as outputs. */
RFHE_MUST_USE rfhe_status rfhe_graph_add_node_to(rfhe_graph *g, rfhe_op op, const char *name,
                                                 const rfhe_value_id *inputs, uint32_t n_inputs,
                                                 const rfhe_value_id *outputs, uint32_t n_outputs,
                                                 const rfhe_attr *attr);
RFHE_MUST_USE rfhe_status rfhe_graph_add_input(rfhe_graph *g, rfhe_value_id v);
RFHE_MUST_USE rfhe_status rfhe_graph_add_output(rfhe_graph *g, rfhe_value_id v);

/* RFHE_NO_VALUE when there is none of that name. Linear in the number of values. */
rfhe_value_id rfhe_graph_find(const rfhe_graph *g, const char *name);
/* The constant behind node input `i`, NULL when it is missing or not constant. */
const rfhe_tensor *rfhe_graph_constant(const rfhe_graph *g, const rfhe_node *n, uint32_t i);

const char *rfhe_graph_meta(const rfhe_graph *g, const char *key); /* NULL when absent */
/* Adds or replaces; value NULL removes. */
RFHE_MUST_USE rfhe_status rfhe_graph_set_meta(rfhe_graph *g, const char *key, const char *value);

/* Replaces every use of value `from` (node inputs and graph outputs) by `to`. */
void rfhe_graph_replace_uses(rfhe_graph *g, rfhe_value_id from, rfhe_value_id to);
/* Drops nodes whose outputs nobody needs and values that nobody mentions; sorts nodes into execution order. Value ids
 * change. RFHE_E_FORMAT when the nodes form a cycle. */
RFHE_MUST_USE rfhe_status rfhe_graph_tidy(rfhe_graph *g, rfhe_error *err);

/* Computes the shape of every value from those of the inputs, after binding each symbolic batch (-1) to `batch`
 * (0 = leave symbolic dimensions as they are). Checks every operator's inputs against each other on the way: after
 * success a node can be run without further checks. RFHE_E_FORMAT with one sentence naming node, operator and the
 * shapes when something does not fit. */
RFHE_MUST_USE rfhe_status rfhe_graph_infer(rfhe_graph *g, int64_t batch, rfhe_error *err);

/* Multiply-accumulates of Conv, Gemm, MatMul and number of weights, for reports; needs rfhe_graph_infer. */
typedef struct rfhe_graph_cost {
    uint64_t macs, parameters;
} rfhe_graph_cost;
rfhe_graph_cost rfhe_graph_count(const rfhe_graph *g);
uint64_t rfhe_node_macs(const rfhe_graph *g, const rfhe_node *n);

#endif
