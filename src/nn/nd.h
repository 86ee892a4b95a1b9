/* Loops over strided tensors: up to three operands that share a shape (broadcast dimensions have stride 0), cut into
 * rows that a small function handles. Neighbouring dimensions that are contiguous in all operands are merged first, so
 * that same-shaped operands become one long row. */
#ifndef RFHE_NN_ND_H
#define RFHE_NN_ND_H

#include "nn/exec_internal.h"

enum { RFHE_ND_MAX = 3, RFHE_ND_BLOCK = 256 };

typedef struct rfhe_operand {
    void *data;
    int64_t stride[RFHE_MAX_RANK]; /* in elements; 0 = broadcast; negative allowed */
    bool bf16;
} rfhe_operand;

typedef struct rfhe_nd {
    uint32_t rank, n_operands;
    int64_t dim[RFHE_MAX_RANK];
    rfhe_operand op[RFHE_ND_MAX];
} rfhe_nd;

/* A slot's elements (data may be its gradient) seen through `shape`, to which the slot's shape broadcasts. */
rfhe_operand rfhe_operand_of(const rfhe_slot *s, void *data, const rfhe_shape *shape);
/* Sorts dimensions by the strides of operand 0 and merges what can be merged. */
void rfhe_nd_make(rfhe_nd *nd, const rfhe_shape *shape, const rfhe_operand *ops, uint32_t n);

/* p[k]: address of operand k's first element; stride[k] in elements; n elements. */
typedef void rfhe_row_fn(void *const *p, const int64_t *stride, const rfhe_nd *nd, size_t n,
                         const void *user);
/* Rows run in parallel; operand 0 must not have broadcast dimensions. */
void rfhe_nd_run(const rfhe_nd *nd, rfhe_row_fn *row, const void *user);
/* One thread, rows in order: for reductions into operand 0, which may be broadcast. */
void rfhe_nd_run_serial(const rfhe_nd *nd, rfhe_row_fn *row, const void *user);

/* Strided elements to floats and back; n <= RFHE_ND_BLOCK. */
void rfhe_row_load(float *out, const void *p, int64_t stride, bool bf16, size_t n);
void rfhe_row_store(void *p, int64_t stride, bool bf16, const float *in, size_t n);

/* y = x or y += x, converting type and order. y = 0 where `y` has no counterpart is the caller's business. */
void rfhe_nd_copy(const rfhe_shape *shape, rfhe_operand y, rfhe_operand x, bool add);

#endif
