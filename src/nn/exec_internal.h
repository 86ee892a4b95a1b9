/* What the executor's files share: slots (values with memory), steps (operators made ready), and one table entry per
 * operator.
 *
 * A *slot* is a value with an element type and an order in memory: row-major as the graph says it, or channels-last
 * (N, spatial..., C), which convolution, normalisation and pooling want. Both are plain strided arrays, so generic
 * operators need no special cases, only strides. Where two neighbours disagree, the compiler inserts a *reorder* step.
 *
 * A *step* is one operator. Times: step i runs forward at time i and backward at time 2F - 1 - i, F steps in all. Each
 * buffer ("storage") lives from its first to its last touch; the memory plan overlays buffers that never live at the
 * same time. What backward reads, a step declares in prepare (keep_in, keep_out, workspace). */
#ifndef RFHE_NN_EXEC_INTERNAL_H
#define RFHE_NN_EXEC_INTERNAL_H

#include "nn/exec.h"
#include "nn/kernels.h"

enum { RFHE_MAX_CHUNKS = 64 };
#define RFHE_NO_STORAGE UINT32_MAX

typedef struct rfhe_slot {
    const char *name; /* of the graph's value; owned by the executor's copy of the graph */
    rfhe_shape shape;
    int64_t stride[RFHE_MAX_RANK]; /* in elements, in the order of shape */
    size_t count;
    bool last;     /* channels-last                                    */
    bool bf16;     /* element type; float otherwise                    */
    bool is_param; /* lives in the master array; float, row-major      */
    bool needs_grad;
    uint32_t param;    /* index, if is_param                           */
    uint32_t readers;  /* steps that read it                           */
    uint32_t producer; /* step; UINT32_MAX for inputs and parameters   */
    uint32_t root;     /* slot whose memory this one shares; itself    */
    void *data;        /* from here on: after the memory plan          */

    uint32_t storage, grad_storage, grad2_storage;
    uint32_t contributions; /* gradients that arrived so far, while compiling */
} rfhe_slot;

typedef struct rfhe_step rfhe_step;

/* One operator of the table. Functions that are NULL: prepare = nothing to do, backward = no gradient passes. */
typedef struct rfhe_impl {
    /* Checks what the shapes alone do not say, makes primitives and plans, sets keep_in, keep_out, workspace_bytes,
     * scratch_bytes, priv. May refuse with one sentence. */
    rfhe_status (*prepare)(rfhe_exec *e, rfhe_step *s, rfhe_error *err);
    void (*forward)(rfhe_exec *e, rfhe_step *s);
    /* Writes or adds (dx_add) the gradient of every input i with dx[i] != NULL. */
    void (*backward)(rfhe_exec *e, rfhe_step *s);
    void (*release)(rfhe_step *s); /* frees priv */

    enum { RFHE_ORDER_ANY, RFHE_ORDER_ROWS, RFHE_ORDER_LAST } order; /* what inputs and outputs must have */
    bool adds;          /* backward can add to dx; otherwise the executor adds a temporary           */
    bool two_grads;     /* backward takes the output's gradient as the sum of two buffers            */
    bool inplace;       /* forward may write over input 0, backward over the output's gradient       */
    bool is_view;       /* output is input 0 under another shape: no work in either direction        */
    bool float_compute; /* runs in float even in a bf16 executor                                     */
} rfhe_impl;

struct rfhe_step {
    const rfhe_impl *impl;
    rfhe_op op;
    bool is_reorder;
    const char *name; /* of the node */
    rfhe_attr attr;
    uint32_t n_in, n_out;
    uint32_t *in, *out; /* slots, UINT32_MAX when omitted */
    bool with_relu, with_residual; /* BATCHNORM: operators fused behind it; the residual is the last input */

    uint64_t keep_in; /* bit i: backward reads input i */
    bool keep_out;    /* backward reads output 0       */
    size_t workspace_bytes, scratch_bytes;
    void *priv;

    bool has_backward;
    void **dx;       /* per input; NULL where no gradient is wanted                     */
    bool *dx_add;    /* add to what is there                                            */
    bool *dx_post;   /* dx is a temporary which the executor adds to the slot's gradient */
    uint32_t *dx_storage;
    void *dy, *dy2;
    uint32_t workspace_storage;
    void *workspace;
};

typedef struct rfhe_storage {
    size_t bytes, offset;
    uint32_t first, last; /* times */
    uint8_t purpose;      /* 0 activation, 1 gradient, 2 scratch (workspace) */
} rfhe_storage;

typedef struct rfhe_port { /* a graph input or output */
    float *data, *grad;
    uint32_t slot;
    rfhe_shape shape;
} rfhe_port;

struct rfhe_exec {
    rfhe_exec_options opt;
    rfhe_graph *graph; /* names, kinds; constants are released after compiling */
    rfhe_slot *slots;
    rfhe_step *steps;
    rfhe_storage *storages;
    rfhe_param *params;
    uint32_t n_slots, n_steps, n_storages, n_params, cap_slots, cap_steps, cap_storages, cap_params;
    float *values, *grads;
    size_t n_values;
    uint64_t stamp; /* of the master weights; steps with packed copies compare */
    rfhe_port *inputs, *outputs;
    unsigned char *arena, *scratch;
    size_t scratch_bytes;
    double bn_momentum; /* NAN: as the node says; negative: cumulative */
    uint64_t bn_runs;   /* forward runs since cumulative averaging began */
    uint64_t run;       /* forward runs so far, seeds dropout            */
    bool did_forward;
    void *backend;      /* oneDNN's engine and stream */
    rfhe_exec_stats stats;
};

static inline rfhe_slot *rfhe_in(const rfhe_exec *e, const rfhe_step *s, uint32_t i)
{
    return i < s->n_in && s->in[i] != UINT32_MAX ? &e->slots[s->in[i]] : NULL;
}

static inline rfhe_slot *rfhe_out(const rfhe_exec *e, const rfhe_step *s, uint32_t i)
{
    return i < s->n_out && s->out[i] != UINT32_MAX ? &e->slots[s->out[i]] : NULL;
}

static inline size_t rfhe_elem_size(const rfhe_slot *s)
{
    return s->bf16 ? sizeof(rfhe_bf16) : sizeof(float);
}

static inline const rfhe_kernels *rfhe_slot_kernels(const rfhe_slot *s)
{
    return rfhe_nn_kernels_get(s->bf16);
}

/* Sets count and strides from shape and order. */
void rfhe_slot_layout(rfhe_slot *s);
/* Whether both orders put every element at the same place. */
bool rfhe_orders_coincide(const rfhe_shape *s);

/* Into how many pieces a loop over n elements is cut: from the shape alone, so that sums have the same bits for any
 * team. */
static inline size_t rfhe_chunks(size_t n)
{
    const size_t c = n / 16384 + 1;

    return c < RFHE_MAX_CHUNKS ? c : RFHE_MAX_CHUNKS;
}

/* "node 'x' (Conv): what" as a refusal. */
rfhe_status rfhe_step_refuse(const rfhe_step *s, rfhe_status code, const char *what, rfhe_error *err);
void rfhe_need_scratch(rfhe_exec *e, size_t bytes);

extern const rfhe_impl rfhe_impl_reorder;
const rfhe_impl *rfhe_impl_of(rfhe_op op);
#define RFHE_IMPL_DECLARE(op, onnx) extern const rfhe_impl rfhe_impl_##op;
RFHE_OP_LIST(RFHE_IMPL_DECLARE)
#undef RFHE_IMPL_DECLARE

/* ---- backend (exec_onednn.c, or exec_plain.c without oneDNN) ---- */
rfhe_status rfhe_backend_open(rfhe_exec *e, rfhe_error *err);
void rfhe_backend_close(rfhe_exec *e);
/* c (m x n) = alpha * op(a) op(b) + beta * c, row-major float with row lengths lda, ldb, ldc; op transposes when asked.
 * beta is 0 or 1. */
void rfhe_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
