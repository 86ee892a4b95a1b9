/* Folding: everything linear between two activations becomes one affine map.
 *
 * A value of the network is written as
 *   value[o][y][x] = sum over terms, c, i, j of w[o][c][i][j] * source[c][y * stride + offset + i][...] + bias[o][y][x],
 * where a source is the image or the output of an activation, and what is read outside of a source is zero. Operators
 * are composed on this form in double. The composition of two stencils is exact only if what the second one reads
 * outside of the intermediate value (zero there) is also zero when computed from the source. Where it is not, the
 * source is cropped if nobody else reads it, or the intermediate value is made a source of its own by an activation
 * called "identity", a refresh without a polynomial. */
#ifndef RFHE_PLAN_FOLD_H
#define RFHE_PLAN_FOLD_H

#include "nn/graph.h"

typedef struct rfhe_affine_term {
    uint32_t source, in_channels, height, width; /* of w: [channels][in_channels][height][width] */
    uint32_t stride_y, stride_x;
    int32_t offset_y, offset_x;
    double *w;
} rfhe_affine_term;

typedef struct rfhe_affine { /* zero state: empty */
    uint32_t channels, height, width;
    bool flat;      /* the network sees [1][channels * height * width] */
    bool exclusive; /* one term, whose source nobody else reads        */
    rfhe_affine_term *term;
    uint32_t n_terms;
    double *bias; /* [channels][height][width]; NULL: zero */
} rfhe_affine;

typedef struct rfhe_fold_source {
    char name[96];
    uint32_t channels, height, width; /* after cropping: at most those of `in` */
    bool flat;
    rfhe_affine in;   /* what enters the activation; empty for the image */
    uint32_t node;    /* the PAF's node; RFHE_NO_NODE for the image and an identity */
    double *range;    /* identity: per channel, a bound of what enters it; else NULL */
    double *bound;    /* per channel: |values| of this source are at most this when calibrated inputs stay in range */
    float *weight;    /* [channels][height][width] of an identity whose outputs are weighted by place; else NULL */
} rfhe_fold_source;

typedef struct rfhe_folded {
    rfhe_graph *graph;        /* a copy with shapes for one image; `node` above counts in it */
    rfhe_fold_source *source; /* source 0 is the image */
    uint32_t n_sources, capacity;
    rfhe_affine out; /* the network's output: channels numbers, 1 x 1 */
    char out_name[96];
} rfhe_folded;

/* RFHE_E_UNSUPPORTED with the node's name and the reason; a Relu, Clip or MaxPool left over is named with the advice to
 * run `rfhe replace`. RFHE_E_FORMAT for shapes that do not fit, RFHE_E_NOMEM. Free with rfhe_folded_free. */
RFHE_MUST_USE rfhe_status rfhe_fold(rfhe_folded **out, const rfhe_graph *g, rfhe_error *err);
void rfhe_folded_free(rfhe_folded *f);

/* Largest |value| per channel (bound[channels] of the result) when every source stays within its bound. */
void rfhe_affine_bound(double *out, const rfhe_affine *a, const rfhe_folded *f);

#endif
