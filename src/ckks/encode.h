/* Encoding from the inside, for linear maps and the refresh. */
#ifndef RFHE_CKKS_ENCODE_H
#define RFHE_CKKS_ENCODE_H

#include "ckks/internal.h"

/* Limbs that decoding looks at, at most (see encode.c). */
enum { RFHE_DECODE_MAX = 6 };

bool rfhe_is_slot_count(const rfhe_ckks *c, size_t n);

/* coef (N doubles) = coefficients of the polynomial with the given n slots, times `scale`, not rounded. `work` holds
 * 2n doubles. Returns the largest |slot|. */
double rfhe_slots_to_coeffs(const rfhe_ckks *c, double *coef, double *work, const double *re, const double *im,
                            size_t n, double scale);
/* RFHE_E_ARG unless the n numbers are finite, below 2^103 and half the modulus at `level`. */
RFHE_MUST_USE rfhe_status rfhe_check_coeffs(const rfhe_ckks *c, const double *coef, size_t n, uint32_t level,
                                            rfhe_error *err);
/* Rounds N doubles and transforms them: chain limbs 0 .. level, then the first `special` special primes. */
void rfhe_coeffs_to_limbs(const rfhe_ckks *c, uint64_t *data, const double *coef, uint32_t level, uint32_t special);
/* A plaintext with undefined limbs. */
RFHE_MUST_USE rfhe_status rfhe_pt_new(rfhe_pt **out, const rfhe_ckks *c, uint32_t level, uint32_t special,
                                      rfhe_error *err);
/* rfhe_encode with special limbs behind those of the chain. */
RFHE_MUST_USE rfhe_status rfhe_encode_wide(rfhe_pt **out, const rfhe_ckks *c, const double *re, const double *im,
                                           size_t n, uint32_t level, uint32_t special, double scale,
                                           rfhe_error *err);
/* The number of limbs that decoding at this scale looks at. */
uint32_t rfhe_decode_limbs(const rfhe_ckks *c, uint32_t level, double scale);

#endif
