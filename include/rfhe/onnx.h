/* ONNX, the only model format in and out: opset 9 to 21 in (6 to 8 where nothing is lost), opset 13 out.
 *
 * A model that cannot be read is refused with one sentence that names the operator, its domain, the opset and the node.
 * What reading changes on the way to the graph's canonical form:
 *   - double, float16 and bfloat16 weights become float32;
 *   - an initializer that is reachable only through Identity (exporters merge equal ones) becomes a constant of its own
 *     under the name of the Identity's output;
 *   - shapes, axes, pads, limits and ratios given as constant inputs become attributes, computed ones (Shape, Gather,
 *     Unsqueeze, Concat, ...) are folded, with the batch as a symbol;
 *   - nodes that no output needs are dropped, the others are put into execution order;
 *   - named axes of inputs become -1. */
#ifndef RFHE_ONNX_H
#define RFHE_ONNX_H

#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rfhe_graph rfhe_graph; /* a network; see rfhe_graph_free */
struct rfhe_tensor;

/* A graph input that is to be taken as a constant of this value. */
typedef struct rfhe_onnx_constant {
    const char *name;
    const struct rfhe_tensor *value; /* borrowed during the call */
} rfhe_onnx_constant;

/* Zero state: nothing special. */
typedef struct rfhe_onnx_options {
    const char *
        folder; /* where external data files lie; NULL = the model's own folder, or none for a model in memory */
    const rfhe_onnx_constant *constants;
    uint32_t n_constants;
} rfhe_onnx_options;

/* Reads the model file `path` (at most 2 GiB; weights may lie in external files inside its folder). `opt` may be NULL.
 * RFHE_E_IO           the file or an external one cannot be read
 * RFHE_E_FORMAT       damaged, or against the ONNX rules
 * RFHE_E_UNSUPPORTED  valid, but with something this version does not handle
 * Memory: about three times the file. *out is written on success only; free it with rfhe_graph_free. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_onnx_read(rfhe_graph **out, const char *path,
                                                  const rfhe_onnx_options *opt, rfhe_error *err);
/* The same from memory; `data` is borrowed during the call. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_onnx_read_memory(rfhe_graph **out, const void *data,
                                                         size_t size, const rfhe_onnx_options *opt,
                                                         rfhe_error *err);

/* Writes `g` to `path`, whole or not at all: opset 13, IR version 7, weights inside the file, symbolic batch named "N".
 * The same graph gives the same bytes, and reading the file gives the graph again (a Softmax of the kind before opset 13
 * that spans several axes becomes Flatten, Softmax, Reshape).
 * RFHE_E_FORMAT       the shapes of the graph do not fit (a sentence names the node)
 * RFHE_E_UNSUPPORTED  something opset 13 cannot say, or more than 2 GiB */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_onnx_write(const rfhe_graph *g, const char *path,
                                                   rfhe_error *err);
/* The same into memory; free *data with rfhe_onnx_free. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_onnx_write_memory(uint8_t **data, size_t *size,
                                                          const rfhe_graph *g, rfhe_error *err);
RFHE_API void rfhe_onnx_free(void *data);

/* Frees a graph; NULL is allowed. */
RFHE_API void rfhe_graph_free(rfhe_graph *g);

#ifdef __cplusplus
}
#endif
#endif
