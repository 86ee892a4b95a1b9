/* The maps between slots and coefficients as products of a few sparse matrices.
 *
 * A polynomial p with real coefficients, read as n complex numbers w_k = p_k + i p_(k+n), has the slots
 *     z_j = p(zeta^(5^j)) = sum_k w_k zeta^(k 5^j),   zeta = exp(2 pi i / 4n),   so z = V w.
 * Like any FFT, V = S_n ... S_8 S_4 S_2 R: R puts w into bit-reversed order, and S_len is the layer of butterflies of
 * length len, a matrix with non-zero diagonals at 0, +len/2 and -len/2 only (two of them for len = n). Leaving R out
 * on both ways costs nothing, because what happens in between treats all slots alike:
 *     SlotsToCoeffs  multiplies the slots by  S_n ... S_4 S_2:           slot j becomes w at place rev(j)
 *     CoeffsToSlots  multiplies by its inverse:                          w at place rev(j) becomes slot j
 * Homomorphically a layer costs a level, so neighbouring layers are merged: k of them make a factor with 2^(k+1) - 1
 * diagonals (2^k when len = n is among them), all at multiples of the smallest stride.
 *
 * Source: Cheon, Han, Hyhan and others, "Bootstrapping for approximate HE" (2018) for V; Chen, Chillotti, Song (2019)
 * for the factoring; Bossuat and others (2021) for the merging. */
#ifndef RFHE_CKKS_DFT_H
#define RFHE_CKKS_DFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

/* One matrix M by its non-zero diagonals: (M a)_j = sum_d value_d[j] * a_((j + offset_d) mod n). */
typedef struct rfhe_dft_factor {
    size_t slots, count;
    uint32_t *offset; /* count, in [0, slots), ascending            */
    double *re, *im;  /* count * slots, diagonal after diagonal     */
} rfhe_dft_factor;

/* The factors of SlotsToCoeffs (inverse = false) or CoeffsToSlots (true) for 2^log2_slots slots, in the order in which
 * they are applied. layers[f] butterfly layers go into factor f; their sum must be log2_slots. Every factor is
 * multiplied by `gain` (the maps are often asked to carry a constant). out[] has n_factors entries, overwritten.
 * RFHE_E_ARG when the layers do not add up, RFHE_E_NOMEM. Cost: count * slots complex products per merged layer. */
RFHE_MUST_USE rfhe_status rfhe_dft_factors_new(rfhe_dft_factor *out, const uint8_t *layers,
                                               size_t n_factors, unsigned log2_slots, bool inverse,
                                               double gain);
/* Factor `which` of these alone. */
RFHE_MUST_USE rfhe_status rfhe_dft_factor_new(rfhe_dft_factor *out, const uint8_t *layers, size_t n_factors,
                                              size_t which, unsigned log2_slots, bool inverse, double gain);
void rfhe_dft_factor_clear(rfhe_dft_factor *f);

/* y = M x on plain numbers; y must not overlap x. The twin of the homomorphic map. */
void rfhe_dft_factor_apply(double *y_re, double *y_im, const double *x_re, const double *x_im,
                           const rfhe_dft_factor *f);

/* rev(j) on log2_slots bits. */
uint32_t rfhe_dft_reverse(uint32_t j, unsigned log2_slots);

#endif
