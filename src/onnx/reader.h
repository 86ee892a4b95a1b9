/* Inside the reader: what read.c, operators.c and fold.c share. See read.c for how the parts work together. */
#ifndef RFHE_ONNX_READER_H
#define RFHE_ONNX_READER_H

#include "nn/graph.h"
#include "onnx/tensors.h"
#include "rfhe/onnx.h"

enum {
    RFHE_ONNX_MAX_OPSET = 21,
    RFHE_ONNX_MAX_NAMES =
        1 << 15,              /* tensors of a model: keeps everything that searches by name quick */
    RFHE_ONNX_MAX_FOLD = 1024 /* elements of a computed shape                                     */
};

/* In a folded shape, "the batch, whatever it will be". */
#define RFHE_ONNX_BATCH (INT64_MIN + 0x5f)

/* All that is known about one tensor name of the file. */
typedef struct rfhe_onnx_entry {
    const char *name;
    uint32_t producer;                 /* index of its node in the file, RFHE_NO_NODE            */
    const Onnx__ValueInfoProto *input; /* when it is fed or bound                             */
    const Onnx__TensorProto *proto;    /* its initializer or Constant, not yet converted         */
    const rfhe_tensor *tensor;         /* its constant value, once converted, bound or folded    */
    rfhe_tensor *owned;                /* the same, when the reader has to free it               */
    uint32_t alias;                    /* entry whose constant this is through Identity; itself  */
    rfhe_value_id value;               /* in the graph, RFHE_NO_VALUE until it is needed there   */
    bool is_constant, is_input, is_output, is_used;
    bool is_batch; /* folded shape that holds RFHE_ONNX_BATCH                                 */
} rfhe_onnx_entry;

#define RFHE_ONNX_NO_ENTRY UINT32_MAX

typedef struct rfhe_onnx_reader {
    const Onnx__ModelProto *model;
    const Onnx__GraphProto *src; /* the model's */
    const rfhe_onnx_options *opt;
    const char *folder;
    int64_t opset;
    rfhe_graph *g;
    rfhe_onnx_entry *entries;
    uint32_t n_entries, *index,
        index_size;                   /* open-addressed hash of entry + 1, size a power of two */
    uint64_t budget, external_budget; /* bytes of constants that may still be made             */
    uint32_t inferences;              /* calls of rfhe_graph_infer                             */
    rfhe_error *err;
} rfhe_onnx_reader;

/* One node of the file being translated. */
typedef struct rfhe_onnx_site {
    rfhe_onnx_reader *r;
    const Onnx__NodeProto *n;
    const char *label; /* node name, or that of its first output */
    uint32_t index;
} rfhe_onnx_site;

/* One sentence: "node 'x' (Conv, domain ai.onnx, opset 13): ...". */
rfhe_status rfhe_onnx_refuse(const rfhe_onnx_site *s, rfhe_status code, const char *fmt, ...)
    RFHE_PRINTF(3, 4);

uint32_t rfhe_onnx_find(const rfhe_onnx_reader *r, const char *name);
/* Entry of node input i; RFHE_ONNX_NO_ENTRY when it is omitted. */
uint32_t rfhe_onnx_input(const rfhe_onnx_site *s, size_t i);
/* Type of a constant entry; false when it is not a constant or of a type that has no place here. */
bool rfhe_onnx_constant_type(const rfhe_onnx_reader *r, uint32_t entry, rfhe_dtype *out);
/* The constant itself, converted on first use. */
rfhe_status rfhe_onnx_constant_of(rfhe_onnx_reader *r, uint32_t entry, const rfhe_tensor **out);
/* The graph's value for an entry, made on first use if it is a constant. */
rfhe_status rfhe_onnx_value_of(const rfhe_onnx_site *s, uint32_t entry, rfhe_value_id *out);
/* Shape of a computed value of the unfinished graph. */
rfhe_status rfhe_onnx_shape_of(const rfhe_onnx_site *s, uint32_t entry, rfhe_shape *out);

/* Attributes. Absent ones give `otherwise`; a wrong type is RFHE_E_FORMAT. */
const Onnx__AttributeProto *rfhe_onnx_attribute(const Onnx__NodeProto *n, const char *name);
rfhe_status rfhe_onnx_attr_int(const rfhe_onnx_site *s, const char *name, int64_t otherwise,
                               int64_t *out);
/* Borrows the list; *n is 0 when it is absent. */
rfhe_status rfhe_onnx_attr_ints(const rfhe_onnx_site *s, const char *name, const int64_t **out,
                                size_t *n);

/* fold.c. Whether the node only computes integers from integers that are known; then fold() makes its first output a
 * constant. */
bool rfhe_onnx_can_fold(const rfhe_onnx_site *s);
rfhe_status rfhe_onnx_fold(const rfhe_onnx_site *s);
/* Operators that fold.c knows, so that they may appear in a model at all. */
bool rfhe_onnx_is_shape_operator(const char *op_type);

/* operators.c. Whether the operator has a place in a graph and from which opset on (`since` may be NULL), and the
 * translation of one node. */
bool rfhe_onnx_is_operator(const char *op_type, int64_t *since);
rfhe_status rfhe_onnx_translate(const rfhe_onnx_site *s);

#endif
