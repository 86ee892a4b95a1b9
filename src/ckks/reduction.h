/* The polynomial that removes multiples of q_0 after ModRaise (EvalMod), designed from its parameters.
 *
 * After raising, a coefficient is q_0 (u + I) with |u| small (the message over q_0) and I an integer. What is wanted is
 * u; what a polynomial can give is sin(2 pi (u + I)) / 2 pi = u - (2 pi)^2 u^3 / 6 + ..., so the message ratio decides
 * the error of the idea and the rest is approximation. With v = (u + I - 1/4) / 2^r, cos(2 pi v) is smooth on the
 * shortened interval; r double angles c -> 2 c^2 - 1 give cos(2 pi (u + I) - pi/2) = sin(2 pi (u + I)). In v the
 * function is even, so only even Chebyshev terms appear: half the products, and T_2k(x) = T_k(2 x^2 - 1).
 *
 * How large I can be: u + I is the constant part plus the h products of the mask with the secret's +-1, each uniform in
 * [-1/2, 1/2] in units of q_0. rfhe_reduction_log2_failure bounds the tail (Chernoff, union over N coefficients).
 * Source: Cheon and others 2018; Han, Ki 2020 (double angle); Bossuat and others 2022 (encapsulated sparse secret). */
#ifndef RFHE_CKKS_REDUCTION_H
#define RFHE_CKKS_REDUCTION_H

#include <stdint.h>

#include "rfhe/status.h"

enum { RFHE_REDUCTION_MAX_DEGREE = 126 };

typedef struct rfhe_reduction {
    uint32_t k;       /* |u + I| <= k with all but the failure probability     */
    uint32_t doublings;
    uint32_t degree;  /* even */
    uint32_t levels;  /* ceil(log2(degree + 1)) + doublings                    */
    double half_width; /* x in [-1, 1] stands for v in [-half_width, half_width]: (k + 1/4) / 2^r */
    double error;      /* largest |result - sin(2 pi u)| / 2 pi over the interval, in exact arithmetic */
    double log2_failure; /* per refresh, over all N coefficients */
    double coef[RFHE_REDUCTION_MAX_DEGREE + 1]; /* of T_0 ... T_degree in x; odd ones are zero */
} rfhe_reduction;

/* log2 of a bound on P(some |I + u| > k) for N coefficients under a secret with h non-zero +-1. */
double rfhe_reduction_log2_failure(uint32_t k, uint32_t h, unsigned log2_n);

/* Designs for a secret of weight h: the smallest k with failure at most 2^-128, and the smallest even degree whose
 * error is at most `error` (in units of u). RFHE_E_UNSUPPORTED when no degree up to the maximum does it. */
RFHE_MUST_USE rfhe_status rfhe_reduction_design(rfhe_reduction *out, uint32_t h, unsigned log2_n,
                                                uint32_t doublings, double error, rfhe_error *err);

/* The whole map on one number: u + I in, about u out (in exact arithmetic; the twin of the homomorphic evaluation). */
double rfhe_reduction_apply(const rfhe_reduction *r, double u_plus_i);

#endif
