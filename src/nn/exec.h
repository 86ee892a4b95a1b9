/* A graph made ready to run: shapes bound to a batch, operators turned into oneDNN primitives and our own kernels, all
 * memory allocated. Running allocates nothing and cannot fail on shapes.
 *
 *   graph ──rfhe_exec_new──> exec:  fill input ─ forward ─> read outputs
 *                                   fill output gradients ─ backward ─> parameter gradients
 *
 * The executor owns copies of the weights ("master", float32, in ONNX layout) in one flat array, so that an optimizer,
 * an average or a checkpoint is a loop over floats. One thread at a time; the work inside uses the whole team. */
#ifndef RFHE_NN_EXEC_H
#define RFHE_NN_EXEC_H

#include "nn/graph.h"

typedef enum rfhe_compute { RFHE_COMPUTE_F32 = 0, RFHE_COMPUTE_BF16 } rfhe_compute;

typedef struct rfhe_exec_options {
    int64_t batch;        /* images per run; > 0                                                        */
    bool training;        /* keeps what backward needs; BN uses and updates batch statistics            */
    bool frozen_bn;       /* with training: BN normalises by its running statistics, which stay fixed   */
    rfhe_compute compute; /* activations and weights of convolutions and dense layers; master stays f32 */
    uint64_t seed;        /* of dropout masks                                                           */
    /* Values that rfhe_exec_read may ask for: they are neither fused away nor overwritten. Borrowed for the call. */
    const char *const *keep;
    uint32_t n_keep;
} rfhe_exec_options;

typedef struct rfhe_exec rfhe_exec;

/* What a parameter is, so that optimizers can group (no weight decay on BN, own rate for coefficients). */
typedef enum rfhe_param_kind {
    RFHE_PARAM_WEIGHT, /* kernels and matrices              */
    RFHE_PARAM_BIAS,
    RFHE_PARAM_BN_SCALE,
    RFHE_PARAM_BN_SHIFT,
    RFHE_PARAM_BN_MEAN, /* running statistics: not trained   */
    RFHE_PARAM_BN_VARIANCE,
    RFHE_PARAM_PAF,   /* coefficients of a polynomial activation */
    RFHE_PARAM_FIXED, /* a constant of an operator: not trained  */
    RFHE_PARAM_OTHER
} rfhe_param_kind;

typedef struct rfhe_param {
    const char *name; /* of the graph's value */
    rfhe_value_id value;
    rfhe_param_kind kind;
    size_t offset, count; /* into rfhe_exec_values and rfhe_exec_grads, in floats */
} rfhe_param;

/* Compiles `g`, which may be freed afterwards. RFHE_E_FORMAT/UNSUPPORTED with a sentence that names the node when
 * something cannot be run (or trained, if training); RFHE_E_NOMEM names the bytes needed. */
RFHE_MUST_USE rfhe_status rfhe_exec_new(rfhe_exec **out, const rfhe_graph *g,
                                        const rfhe_exec_options *opt, rfhe_error *err);
void rfhe_exec_free(rfhe_exec *e);

/* Buffers the caller fills or reads, float32, row-major in the graph's (NCHW) shape with the bound batch. */
float *rfhe_exec_input(rfhe_exec *e, uint32_t i, rfhe_shape *shape);
const float *rfhe_exec_output(rfhe_exec *e, uint32_t i, rfhe_shape *shape);
float *rfhe_exec_output_grad(rfhe_exec *e, uint32_t i); /* training only */

RFHE_MUST_USE rfhe_status rfhe_exec_forward(rfhe_exec *e, rfhe_error *err);
/* Overwrites all parameter gradients. Call after forward on the same input. */
RFHE_MUST_USE rfhe_status rfhe_exec_backward(rfhe_exec *e, rfhe_error *err);

/* Master weights, all parameters in one array; after changing values call rfhe_exec_weights_changed. Gradients have the
 * same layout (training only, NULL otherwise); entries of running statistics are zero. */
const rfhe_param *rfhe_exec_params(const rfhe_exec *e, uint32_t *n);
float *rfhe_exec_values(rfhe_exec *e, size_t *count);
float *rfhe_exec_grads(rfhe_exec *e);
void rfhe_exec_weights_changed(rfhe_exec *e);
/* Writes the master weights and running statistics back into the constants of `g` (same names and shapes). */
RFHE_MUST_USE rfhe_status rfhe_exec_store(const rfhe_exec *e, rfhe_graph *g, rfhe_error *err);
/* Momentum of the running statistics from now on: running = (1 - m) * running + m * batch (PyTorch's sense).
 * m < 0 = cumulative average since this call, for recalibration. */
void rfhe_exec_bn_momentum(rfhe_exec *e, float m);

/* The values of an intermediate tensor after forward, as float32 NCHW, for profiles and debugging; `name` as in the
 * graph. Only values named in rfhe_exec_options.keep are there for certain; RFHE_E_ARG for another name or size. */
RFHE_MUST_USE rfhe_status rfhe_exec_read(rfhe_exec *e, const char *name, float *out, size_t count,
                                         rfhe_error *err);

/* Bytes the executor holds, by purpose, and seconds spent per operator kind since the last reset, for `bench train`. */
typedef struct rfhe_exec_stats {
    size_t weight_bytes, activation_bytes, gradient_bytes, scratch_bytes;
    double forward_seconds[RFHE_OP_COUNT], backward_seconds[RFHE_OP_COUNT], reorder_seconds;
} rfhe_exec_stats;
rfhe_exec_stats rfhe_exec_get_stats(const rfhe_exec *e);
void rfhe_exec_reset_stats(rfhe_exec *e);

#endif
