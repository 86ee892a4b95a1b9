/* Shapes and dense tensors in host memory: row-major, float32 or int64, owned. */
#ifndef RFHE_NN_TENSOR_H
#define RFHE_NN_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

enum { RFHE_MAX_RANK = 8 };

/* dim[0] is the batch wherever there is one; -1 = symbolic, bound when a network is made ready to run. */
typedef struct rfhe_shape {
    uint32_t rank;
    int64_t dim[RFHE_MAX_RANK];
} rfhe_shape;

typedef enum rfhe_dtype { RFHE_F32 = 1, RFHE_I64 = 7 } rfhe_dtype; /* ONNX's numbers */

typedef struct rfhe_tensor {
    rfhe_shape shape; /* no symbolic dimension */
    rfhe_dtype dtype;
    size_t count; /* product of the dimensions */
    union {
        void *data;
        float *f32;
        int64_t *i64;
    };
} rfhe_tensor;

/* Zero-filled. RFHE_E_ARG for a negative dimension, RFHE_E_UNSUPPORTED above 2^40 elements. */
RFHE_MUST_USE rfhe_status rfhe_tensor_new(rfhe_tensor **out, rfhe_dtype dtype,
                                          const rfhe_shape *shape);
RFHE_MUST_USE rfhe_status rfhe_tensor_clone(rfhe_tensor **out, const rfhe_tensor *t);
void rfhe_tensor_free(rfhe_tensor *t);

static inline size_t rfhe_dtype_size(rfhe_dtype d)
{
    return d == RFHE_F32 ? sizeof(float) : sizeof(int64_t);
}

/* Number of elements; false when a dimension is negative or a dimension or the product passes 2^40. */
bool rfhe_shape_count(const rfhe_shape *s, size_t *out);
bool rfhe_shape_equal(const rfhe_shape *a, const rfhe_shape *b);
/* NumPy's broadcasting rule, right-aligned; false when the shapes do not fit. -1 stays -1. */
bool rfhe_shape_broadcast(rfhe_shape *out, const rfhe_shape *a, const rfhe_shape *b);
/* "1x3x32x32", "Nx10" for a symbolic batch, "scalar"; for messages. Writes at most `size` bytes. */
const char *rfhe_shape_text(char *out, size_t size, const rfhe_shape *s);

#endif
