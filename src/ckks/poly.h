/* Polynomial programs from the inside: what poly.c compiles and poly_vectors.c binds numbers to. */
#ifndef RFHE_CKKS_POLY_H
#define RFHE_CKKS_POLY_H

#include "ckks/arith.h"

enum { RFHE_POLY_MAX_NODES = 256 };

/* sum_i f_i a_i b_i + sum_j x_j t_j + y, rescaled, + sum_k px_k p_k; a, b, t, p are earlier nodes. */
typedef struct rfhe_poly_node {
    uint16_t depth, products, terms, posts;
    bool rescale;
    uint16_t own; /* the register it is made for */
    uint16_t a[RFHE_COMBINE_MAX], b[RFHE_COMBINE_MAX], t[RFHE_COMBINE_MAX];
    int32_t f[RFHE_COMBINE_MAX];
    double x[RFHE_COMBINE_MAX], y;
    uint16_t p[RFHE_COMBINE_MAX]; /* nodes of the same depth, added after rescaling, px times */
    double px[RFHE_COMBINE_MAX];
    uint16_t slot; /* register; NONE for input and output */
    uint16_t last_use;
} rfhe_poly_node;

struct rfhe_poly_program {
    uint32_t count; /* node 0 is the input, the last one the result */
    rfhe_poly_node *node;
    double out_scale;
    rfhe_poly_info info;
    /* Only with vectors: the steps, which of them have a vector for c, and what the compiler decided when it looked at
     * numbers. Replayed with other numbers it makes the same nodes with other x and y. */
    rfhe_poly_step *step;
    size_t steps;
    uint16_t *vector; /* steps */
    uint32_t vectors;
    uint8_t *choice;
    size_t choices;
    bool is_negated; /* out_scale was negative */
};

/* Workspace of rfhe_poly_replay. */
typedef struct rfhe_poly_compiler rfhe_poly_compiler;
rfhe_poly_compiler *rfhe_poly_compiler_new(void);
void rfhe_poly_compiler_free(rfhe_poly_compiler *w);
/* The p->count nodes of a program with vectors, compiled with the numbers c[k] in the k-th of its vector steps: of the
 * shape of p->node, with x and y of their own. Belongs to `w`, until the next call. */
RFHE_MUST_USE rfhe_status rfhe_poly_replay(const rfhe_poly_node **out, const rfhe_poly_program *p, const double *c,
                                           rfhe_poly_compiler *w, rfhe_error *err);

/* A program with its vectors. Constants are numbered: node after node, x_0 .. x_(terms-1), then y. */
struct rfhe_poly_vectors {
    rfhe_ckks *c;
    rfhe_poly_program *p; /* its own; numbers where all slots agree */
    uint32_t level, constants;
    double scale; /* of the input */
    size_t n, lanes;
    uint32_t *lane;  /* of each slot: slots with the same numbers share one */
    double *number;  /* constant k of lane l at l * constants + k           */
    rfhe_pt **pt;    /* of each constant; NULL where it is a number         */
    size_t bytes;
};

/* The value of a node from those of earlier ones. constant: its numbers (x, then y) instead of its own; may be NULL. */
double rfhe_poly_node_value(const rfhe_poly_node *e, const double *value, const double *constant);
/* The scale of every depth 0 .. p's depth, from that of the input at `level`. */
void rfhe_poly_scales(double *scale, const rfhe_poly_program *p, const rfhe_ckks *c, uint32_t level, double in_scale);

#endif
