/* The twin: an encrypted program executed on numbers. The same instructions, weights, polynomials (not clamped to their
 * range) and the sine of the modular reduction; what encryption adds is simulated by seeded normal noise behind every
 * refresh, polynomial and linear piece. Fast enough for a whole test set; what the server computes on ciphertexts is
 * compared with it. */
#ifndef RFHE_INFER_CLEAR_H
#define RFHE_INFER_CLEAR_H

#include "plan/program.h"

/* Standard deviations of one number, in its own unit (activations: |u| <= 1). */
typedef struct rfhe_twin_noise {
    double linear;     /* of a number after a linear piece: the rounding of its rescaling               */
    double refresh;    /* of u after the modular reduction, the sine's own error left out                */
    double polynomial; /* of z, per level of the polynomial: rescalings at the scale of slots            */
} rfhe_twin_noise;

/* What a program's parameters make to be expected. `refresh` follows from the scale of the modular reduction, calibrated
 * with the measurements in docs/results/refresh.md; the others are the rounding of rescalings. */
rfhe_twin_noise rfhe_twin_expect(const rfhe_program *p);

typedef struct rfhe_twin_options { /* zero state: noise as expected, seed 0 */
    bool is_exact;                 /* neither noise nor sine: what the network computes with its polynomials */
    rfhe_twin_noise noise;         /* fields that are zero: as expected */
    uint64_t seed;
} rfhe_twin_options;

/* What one activation saw. */
typedef struct rfhe_twin_range {
    uint64_t values, outside; /* |u| > 1: beyond the range the polynomial was fitted for */
    double largest;           /* |u| */
} rfhe_twin_range;

/* Immutable once made; borrows `p`, which must have its weights. */
typedef struct rfhe_twin rfhe_twin;

/* RFHE_E_ARG when the program has no weights (a client's) or its shapes contradict each other; RFHE_E_NOMEM. */
RFHE_MUST_USE rfhe_status rfhe_twin_new(rfhe_twin **out, const rfhe_program *p, const rfhe_twin_options *opt,
                                        rfhe_error *err);
void rfhe_twin_free(rfhe_twin *t);

/* count images, each [image_channels][image_height][image_width] as the network takes them, to logits
 * [count][outputs]. Noise depends on the seed and the number of the image (first, first + 1, ...) only: the same bits
 * for any number of threads. `range` (may be NULL): p->n_activations entries, added to. Images in parallel. */
RFHE_MUST_USE rfhe_status rfhe_twin_run(const rfhe_twin *t, float *logits, const float *images, size_t count,
                                        uint64_t first, rfhe_twin_range *range, rfhe_error *err);
/* One image, every tensor kept: tensor[k] receives a block [channels][height][width] of tensor k, which the caller
 * frees with rfhe_free. On failure all are NULL. */
RFHE_MUST_USE rfhe_status rfhe_twin_trace(const rfhe_twin *t, float **tensor, const float *image, uint64_t number,
                                          rfhe_error *err);

/* The image as tensor 0: phase * phase sub-images as channels. Pixels beyond the image are zero. */
void rfhe_program_take_image(float *tensor, const rfhe_program *p, const float *image);
/* Numbers of a tensor: channels * height * width. */
static inline size_t rfhe_layout_numbers(const rfhe_layout *l)
{
    return (size_t)l->channels * l->height * l->width;
}

#endif
