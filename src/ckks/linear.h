/* Linear maps from the inside, for the refresh. */
#ifndef RFHE_CKKS_LINEAR_H
#define RFHE_CKKS_LINEAR_H

#include "ckks/internal.h"

/* A map for the ciphertext that ModRaise leaves: at the top level, under the sparse secret, both parts smaller than q_0
 * as integers. It costs no level, its baby steps take keys of a single digit (RFHE_ELEMENT_RELEASE with the rotation),
 * and the result is under the dense secret. opt: both scales must be given. RFHE_E_UNSUPPORTED with fewer than two
 * special primes. See linear.c, "Raised". */
RFHE_MUST_USE rfhe_status rfhe_linear_map_raised_new(rfhe_linear_map **out, const rfhe_ckks *c, size_t n,
                                                     const rfhe_diagonal *diagonal, size_t count,
                                                     const rfhe_linear_options *opt, rfhe_error *err);

/* Estimated time of a map of `count` neighbouring diagonals on 2^log2_n_slots slots with period 2^log2_period, in units
 * of one transform of a limb, a price for the memory of its keys included. */
double rfhe_linear_estimate(const rfhe_ckks *c, size_t count, uint32_t log2_period, uint32_t level, bool is_raised,
                            bool is_lean);

#endif
