/* A PAF applied to tensors, forward and backward: coefficients for the whole tensor or per channel, any of the usual
 * memory orders, all instruction sets. What nn/ and method/ use. */
#ifndef RFHE_PAF_LAYER_H
#define RFHE_PAF_LAYER_H

#include "rfhe/paf.h"

/* How the tensor lies in memory, as dimensions from the slowest to the fastest:
 *   block == 0   [outer][channels][inner]             NCHW: (N, C, H*W)      NHWC: (N*H*W, C, 1)
 *   block  > 0   [outer][channels/block][inner][block]  nChw16c: (N, C, H*W, 16); channels a multiple of block */
typedef struct rfhe_paf_layout {
    size_t channels, inner, block;
} rfhe_paf_layout;

typedef enum rfhe_paf_type { RFHE_PAF_FLOAT = 0, RFHE_PAF_DOUBLE } rfhe_paf_type;

/* One thread at a time. */
typedef struct rfhe_paf_layer rfhe_paf_layer;

/* n_sets PAFs of one shape (same kind and term counts): 1 for the whole tensor, or one per channel; scale[n_sets], each
 * > 0 and finite. Float tensors are computed in double where float would lose more than about 2^-11 to cancellation.
 * RFHE_E_ARG for anything else, RFHE_E_NOMEM. All memory is taken here; free with rfhe_paf_layer_free (NULL allowed). */
RFHE_MUST_USE rfhe_status rfhe_paf_layer_new(rfhe_paf_layer **out, const rfhe_paf *p, const double *scale,
                                             size_t n_sets, rfhe_paf_layout layout, rfhe_paf_type type,
                                             rfhe_error *err);
void rfhe_paf_layer_free(rfhe_paf_layer *l);

/* New coefficients and scales of the same shape, as after an optimiser step. On failure the old ones stay. */
RFHE_MUST_USE rfhe_status rfhe_paf_layer_set(rfhe_paf_layer *l, const rfhe_paf *p, const double *scale,
                                             rfhe_error *err);

/* y = scale f(x / scale) over outer * channels * inner values of the layer's type. y may be x. */
void rfhe_paf_layer_forward(rfhe_paf_layer *l, void *y, const void *x, size_t outer);

/* dx = dL/dx (may be dy or x); dcoef[set * n_coef + j] = dL/dc_j, dscale[set] = dL/dscale, both overwritten; either
 * may be NULL. The sums are cut into pieces that do not depend on the team: same bits for any number of threads, and
 * for any instruction set. */
void rfhe_paf_layer_backward(rfhe_paf_layer *l, void *dx, double *dcoef, double *dscale, const void *x,
                             const void *dy, size_t outer);

/* ---- for callers who cut the work themselves ---- */

/* New coefficients coef[n_sets][n_coef] and scales as floats, without checks, keeping the arithmetic chosen before. */
void rfhe_paf_layer_update(rfhe_paf_layer *l, const float *coef, const float *scale);
/* On the calling thread, x[outer][channels][inner] of floats, whose channel c uses set first + c (the only one if there
 * is only one); inner > 1 only with a single set or a single channel. y may be x. */
void rfhe_paf_layer_forward_part(const rfhe_paf_layer *l, float *y, const float *x, size_t outer,
                                 size_t first, size_t channels, size_t inner);
/* sums[j * n_sets + set] += dL/dc_j; row j = n_coef: dL/dscale. dx may be dy or x. */
void rfhe_paf_layer_backward_part(const rfhe_paf_layer *l, float *dx, double *sums, const float *x,
                                  const float *dy, size_t outer, size_t first, size_t channels,
                                  size_t inner);

#endif
