/* Small ONNX models made in the test, of any opset and with any oddity. Lists of names are separated by blanks, "-" is an
 * omitted one. Everything lives until builder_end. */
#ifndef RFHE_TEST_ONNX_BUILDER_H
#define RFHE_TEST_ONNX_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "nn/graph.h"
#include "onnx.pb-c.h"
#include "onnx/wire.h"
#include "rfhe/onnx.h"

enum { BUILDER_MAX = 64 };

typedef struct onnx_builder {
    rfhe_onnx_arena arena;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset, *opsets[1];
    Onnx__NodeProto *nodes[BUILDER_MAX];
    Onnx__TensorProto *constants[BUILDER_MAX];
    Onnx__ValueInfoProto *inputs[BUILDER_MAX], *outputs[BUILDER_MAX];
} onnx_builder;

void builder_begin(onnx_builder *b, int64_t opset);
void builder_end(onnx_builder *b);
Onnx__NodeProto *builder_node(onnx_builder *b, const char *op, const char *name, const char *in,
                              const char *out);
void builder_int(onnx_builder *b, Onnx__NodeProto *n, const char *name, int64_t v);
void builder_float(onnx_builder *b, Onnx__NodeProto *n, const char *name, float v);
void builder_text(onnx_builder *b, Onnx__NodeProto *n, const char *name, const char *v);
void builder_ints(onnx_builder *b, Onnx__NodeProto *n, const char *name, size_t count,
                  const int64_t *v);
/* A float initializer; values NULL = 1, 2, 3, ... */
Onnx__TensorProto *builder_floats(onnx_builder *b, const char *name, size_t rank,
                                  const int64_t *dims, const float *v);
/* An int64 initializer: a vector, or a scalar when count is 0. */
Onnx__TensorProto *builder_int64s(onnx_builder *b, const char *name, size_t count,
                                  const int64_t *v);
/* -1 = symbolic. `type` is ONNX's number (1 = float). */
void builder_input(onnx_builder *b, const char *name, int type, size_t rank, const int64_t *dims);
void builder_output(onnx_builder *b, const char *name);
/* The model's bytes, in the arena. */
uint8_t *builder_pack(onnx_builder *b, size_t *size);
rfhe_status builder_read(onnx_builder *b, rfhe_graph **g, const rfhe_onnx_options *opt,
                         rfhe_error *err);

#endif
