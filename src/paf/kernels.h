/* Vector kernels for evaluating PAFs and their derivatives: the contract, and the table by instruction set.
 *
 * Contract, the same for every implementation (bit-identical: every lane does the operations of kernel_body.h in the
 * order written there, fused multiply-add where it says FMA and nowhere else; the portable twin calls fma()):
 *
 *   y[i] = scale f(x[i] / scale)                      f as in rfhe/paf.h, no clamping
 *   dx[i] = G[i] f'(u), grad[j] += sum_i G[i] dy[i]/dc_j, grad[n_coef] += sum_i G[i] dy[i]/dscale   (G = argument dy)
 *
 * Two shapes of work:
 *   row   `planes` runs of n contiguous values, `stride` values apart, all with one set of coefficients (column 0 of k).
 *         Sums: element i of a run goes to lane i mod 16; a lane adds its elements in order, run after run, in the
 *         arithmetic type; whenever a run ends after 1,024 or more elements were added (or 1,024 elements of a run are
 *         done) the 16 lanes are added pairwise ((0+8)+(4+12))... in double and join grad[j].
 *   lane  `rows` rows of n contiguous values, `stride` apart; value i of a row has its own coefficients (column i of
 *         k). Sums: per column, 64 rows at a time in order in the arithmetic type, then joined to grad[j * gstride + i].
 *
 * Any n, any alignment; nothing beyond the n values is read or written. y may be x; dx may be dy or x. No other
 * overlap. Types: f32 = float in float arithmetic, f64 = double, f32w = float values, double arithmetic and
 * coefficients (for polynomials whose coefficients cancel more than float can bear). */
#ifndef RFHE_PAF_KERNELS_H
#define RFHE_PAF_KERNELS_H

#include "base/cpu.h"
#include "rfhe/paf.h"

/* Coefficients laid out for the kernels: value j of column i at coef[j * stride + i], in the arithmetic type. */
typedef struct rfhe_paf_kparam {
    rfhe_paf_kind kind;
    uint32_t n_stages, n_coef;             /* n_coef: all, the linear one included                       */
    uint32_t n_terms[RFHE_PAF_MAX_STAGES]; /* even: Chebyshev terms only                                 */
    const void *coef;                      /* n_coef rows                                                */
    const void *slope;                     /* sign: n_coef rows, (2j+1) coef[j], for the derivative      */
    const void *scale, *inverse;           /* one row each                                               */
    size_t stride;
} rfhe_paf_kparam;

typedef void rfhe_paf_forward_fn(void *y, const void *x, size_t n, size_t count, size_t stride,
                                 const rfhe_paf_kparam *k);
typedef void rfhe_paf_backward_fn(void *dx, double *grad, size_t gstride, const void *x, const void *dy,
                                  size_t n, size_t count, size_t stride, const rfhe_paf_kparam *k);

/* What training does beside the polynomial, on `rows` rows of n floats that lie side by side. Value i of a row has its
 * own limits, at i * step of the arrays (step 1), or all share the first (step 0). Every value is rounded after every
 * operation, nothing is fused: bit-identical everywhere, but for NaN.
 *
 *   clamp   y = x, at least -limit, at most limit                                 y may be x
 *   blend   y = alpha max(x, 0) + (1 - alpha) y
 *   edge    dx = 0 where |x| > clamp (NULL: nowhere); then, alpha > 0: += alpha dy where x > 0; then, weight > 0:
 *           += 2 weight e inverse sign(x) with e = max(0, |x| inverse - 1). dx holds the polynomial's gradient, dy may
 *           be NULL when alpha is 0. Returns the sum of e e: lane i mod 16 of each row adds its values in float, row
 *           after row; the 16 lanes are added in order in double. At most RFHE_CUSTOM_BLOCK values a call are expected. */
typedef struct rfhe_paf_edge {
    const float *clamp, *inverse;
    size_t step;
    float alpha, weight;
} rfhe_paf_edge;

typedef void rfhe_paf_clamp_fn(float *y, const float *x, size_t rows, size_t n, const float *limit,
                               size_t step);
typedef void rfhe_paf_blend_fn(float *y, const float *x, size_t n, float alpha);
typedef double rfhe_paf_edge_fn(float *dx, const float *x, const float *dy, size_t rows, size_t n,
                                const rfhe_paf_edge *e);

enum { RFHE_PAF_F32 = 0, RFHE_PAF_F64, RFHE_PAF_F32W, RFHE_PAF_TYPES };

typedef struct rfhe_paf_kernels {
    rfhe_isa isa;
    rfhe_paf_forward_fn *row[RFHE_PAF_TYPES], *lane[RFHE_PAF_TYPES];
    rfhe_paf_backward_fn *row_grad[RFHE_PAF_TYPES], *lane_grad[RFHE_PAF_TYPES];
    rfhe_paf_clamp_fn *clamp;
    rfhe_paf_blend_fn *blend;
    rfhe_paf_edge_fn *edge;
} rfhe_paf_kernels;

extern const rfhe_paf_kernels rfhe_paf_kernels_portable, rfhe_paf_kernels_avx2,
    rfhe_paf_kernels_avx512ifma;

/* The kernels of exactly this instruction set; the caller knows that the CPU has it. */
const rfhe_paf_kernels *rfhe_paf_kernels_for(rfhe_isa isa);

#endif
