/* Where tensors lie in ciphertexts, and whether a linear piece may read them there. N = 2^log2_n here is the degree of the
 * ring in use, which a sparse packing makes smaller than that of the parameters (program.h).
 *
 * All layouts of a program come from one grid. Coefficient steps of one row and one column of the image grow with the
 * strides on the way: a tensor behind a stride of s has steps s times as long. Two things keep the ring full in spite
 * of that. Its freed low index takes more channels (the block grows with the column step). And a tensor may be cut into
 * phases: rows y with y mod p = b become channels of their own, p times as many of H / p rows. If tensors behind a
 * stride are cut less, the steps stay as they are:
 *   step_y(t) = step_y(image) * stride_y(t) * cut_y(t) / cut_y(image), whole and never falling along the way.
 * One grid is therefore: the cuts G_y, G_x of a tensor of stride 1 (a tensor of stride s gets G / s, at least 1), the
 * coefficients of one column step and the columns of one row step ("pitch", more than the width: the rest is padding
 * shared by neighbouring rows).
 *
 * Soundness. The kernel of a term moves every source number by a fixed distance. A tap that falls outside of the image
 * moves some other coefficient there, modulo X^N + 1; it must be one that is zero, that is no number of the source. The
 * check goes through every output place and every tap. */
#ifndef RFHE_PLAN_LAYOUT_H
#define RFHE_PLAN_LAYOUT_H

#include "plan/fold.h"
#include "plan/program.h"

/* Strides on the way from the image to a source, and the phases it is cut into. */
typedef struct rfhe_place {
    uint32_t stride_y, stride_x; /* 0: it has one row (column), so any step is right */
    uint32_t cut_y, cut_x;
} rfhe_place;

typedef struct rfhe_grid {
    uint32_t log2_n;
    uint32_t cut_y, cut_x; /* of a tensor of stride 1           */
    uint32_t unit;         /* coefficients of one column step   */
    uint32_t pitch;        /* column steps of one row step      */
} rfhe_grid;

/* Strides of every source; RFHE_E_UNSUPPORTED, naming the layer, when two branches meet with different ones. */
RFHE_MUST_USE rfhe_status rfhe_places_find(rfhe_place *place, const rfhe_folded *f, rfhe_error *err);

/* Layouts of all sources on a grid; fills the cuts of `place`. False when a tensor does not fit it. */
bool rfhe_layouts_make(rfhe_layout *layout, rfhe_place *place, const rfhe_folded *f, const rfhe_grid *grid);

/* The layout of one row of numbers that lie in constant coefficients only: 1 x 1, any block. */
rfhe_layout rfhe_layout_of_numbers(uint32_t channels, uint32_t log2_n);

/* The term of a form between cut tensors: out must have the cut shape. w[o][c] *= out_factor[o] * in_factor[c], by the
 * channels before the cut. */
RFHE_MUST_USE rfhe_status rfhe_stencil_cut(rfhe_stencil *out, const rfhe_affine *form, const rfhe_affine_term *term,
                                           const rfhe_place *in, const rfhe_place *to, const double *out_factor,
                                           const double *in_factor, rfhe_error *err);

/* What the way to coefficients multiplies the slots of ciphertext t by, weight[half][slot], slots = n/2 of each half: `gain`
 * where the tensor has a number, times its entry of `number` ([channels][height][width]; NULL: 1), and 0 elsewhere. Returns
 * how many halves have any number. */
uint32_t rfhe_layout_weights(double *weight, const rfhe_layout *l, uint32_t t, uint32_t log2_n, const float *number, double gain);

/* Whether `layout` holds together: block a power of two, places apart from one another and below N. */
RFHE_MUST_USE rfhe_status rfhe_layout_check(const rfhe_layout *layout, uint32_t log2_n, const char *name, rfhe_error *err);
/* Whether `stencil` may read `in` and write `out` (both sound). RFHE_E_UNSUPPORTED with the place that goes wrong. A
 * stencil without weights (a client's) is checked for its shape and steps only. */
RFHE_MUST_USE rfhe_status rfhe_layout_check_term(const rfhe_layout *out, const rfhe_layout *in,
                                                 const rfhe_stencil *stencil, uint32_t log2_n, const char *name,
                                                 rfhe_error *err);

#endif
