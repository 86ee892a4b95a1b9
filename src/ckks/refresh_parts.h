/* What the way to coefficients with numbers folded in (to_coeffs.c) takes from a refresh. */
#ifndef RFHE_CKKS_REFRESH_PARTS_H
#define RFHE_CKKS_REFRESH_PARTS_H

#include "rfhe/ckks.h"

/* The parameters of a refresh, borrowed. */
const rfhe_ckks *rfhe_refresh_params(const rfhe_refresh *r);
/* The first factor of the way to coefficients, its input slot j multiplied by re[j] + i im[j] (either may be NULL: 0).
 * It needs the rotations, hence the keys, of the refresh's own first factor. RFHE_E_NOMEM, RFHE_E_ARG. */
RFHE_MUST_USE rfhe_status rfhe_refresh_masked_map(rfhe_linear_map **out, const rfhe_refresh *r, const double *re,
                                                  const double *im, rfhe_error *err);
/* The factors after the first, in place. */
RFHE_MUST_USE rfhe_status rfhe_refresh_finish_to_coeffs(rfhe_ct *ct, const rfhe_refresh *r, rfhe_evaluator *ev,
                                                        rfhe_error *err);

#endif
