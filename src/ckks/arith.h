/* The sum of products and multiples that every multiplicative operation is made of: one relinearisation and one
 * rescaling for all of it. Used by products, constants and the steps of polynomial programs. */
#ifndef RFHE_CKKS_ARITH_H
#define RFHE_CKKS_ARITH_H

#include "ckks/internal.h"

enum { RFHE_COMBINE_MAX = 16 };

/* sum_i f_i a_i b_i + sum_j x_j t_j + y, at `level` (operands at that level or above, two parts each).
 * The integers x_j, y are given as doubles, rounded to the nearest integer: |x_j|, |y| < 2^103. */
typedef struct rfhe_combine {
    uint32_t level, products, terms;
    const rfhe_ct *a[RFHE_COMBINE_MAX], *b[RFHE_COMBINE_MAX];
    int32_t f[RFHE_COMBINE_MAX]; /* 0 stands for 1 */
    const rfhe_ct *t[RFHE_COMBINE_MAX];
    double x[RFHE_COMBINE_MAX], y;
    const uint64_t *w[RFHE_COMBINE_MAX]; /* not NULL: a polynomial instead of x_j, level + 1 transformed limbs */
} rfhe_combine;

/* Two parts, rescaled if asked for, into out's storage, which must have room; out may be an operand. relin: needed when
 * there are products. Sets parts and level of out, nothing else of its header. */
void rfhe_combine_run(rfhe_evaluator *ev, rfhe_ct *out, const rfhe_combine *c, const rfhe_key *relin, bool rescale);

/* round(x) modulo each prime of the chain up to `level`. */
void rfhe_const_residues(const rfhe_ckks *c, uint64_t *r, double x, uint32_t level);

/* Divides two polynomials of level + 1 limbs by q_level: in[h] to out[h] (which may be the same). make, if not NULL, is
 * called for each limb first, in parallel, and fills in[] there. */
void rfhe_rescale_limbs(rfhe_evaluator *ev, uint32_t level, uint32_t halves, const uint64_t *const in[],
                        uint64_t *const out[], rfhe_limb_fn *make, void *user);

/* Numbers that stand for those in the slots, with weights that add up to 1: where errors are estimated. */
enum { RFHE_MAX_SAMPLES = 64 };
typedef struct rfhe_samples {
    uint32_t count;
    double x[RFHE_MAX_SAMPLES], weight[RFHE_MAX_SAMPLES];
} rfhe_samples;
/* rfhe_ct_evaluate whose estimates of error and bound are those of the samples. */
RFHE_MUST_USE rfhe_status rfhe_evaluate_samples(rfhe_ct *out, const rfhe_ct *a, const rfhe_poly_program *p,
                                                const rfhe_samples *samples, rfhe_evaluator *ev, rfhe_error *err);

#endif
