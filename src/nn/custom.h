/* Operators that nn/ runs without knowing them: a node of kind RFHE_OP_CUSTOM points to a table of functions that works
 * on rows of floats. The executor sees to order in memory, element type, threads and sums; the owner of the table sees
 * to the mathematics and says how to write the node as ordinary ONNX operators.
 *
 * Input 0 is the tensor, the output has its shape. Input 1 is a constant that is trained (RFHE_PARAM_PAF), further
 * inputs are constants that are not (RFHE_PARAM_FIXED). Channels are dimension 1. */
#ifndef RFHE_NN_CUSTOM_H
#define RFHE_NN_CUSTOM_H

#include "nn/graph.h"

enum { RFHE_CUSTOM_BLOCK = 2048 /* floats of a block at most */ };

/* A piece of the tensor, x[outer][channels][inner]; its channel c is channel first + c of the tensor. */
typedef struct rfhe_custom_block {
    size_t outer, first, channels, inner;
} rfhe_custom_block;

/* What an operator learns when it is made ready. Pointers hold for the call. */
typedef struct rfhe_custom_view {
    const rfhe_node *node; /* attr.custom, n_inputs; its value ids mean nothing here  */
    const rfhe_shape *x;
    const float *const *params; /* params[i - 1]: values of input i                   */
    const size_t *counts;
    bool training;
} rfhe_custom_view;

/* Functions on blocks run in parallel on one state. */
struct rfhe_custom_op {
    const char *name;
    /* Makes *state; *n_sums: doubles that backward collects. May refuse with one sentence. */
    rfhe_status (*open)(void **state, size_t *n_sums, const rfhe_custom_view *v, rfhe_error *err);
    void (*close)(void *state);
    /* Whether begin wants the largest |x| of the tensor. NULL: no. */
    bool (*wants_reach)(const void *state);
    /* Before every forward run; `changed`: the parameters may have new values. */
    void (*begin)(void *state, const float *const *params, bool changed, double reach);
    /* x becomes y, in place. */
    void (*forward)(const void *state, float *x, const rfhe_custom_block *b);
    /* dx = dL/dx; adds to sums[n_sums]; may overwrite x. dx may not be dy or x. */
    void (*backward)(const void *state, float *dx, double *sums, float *x, const float *dy,
                     const rfhe_custom_block *b);
    /* Adds the gradients of the parameters; dparams[i - 1] is NULL for what is not trained. */
    void (*finish)(void *state, float *const *dparams, const double *sums);
    /* Adds ordinary nodes that compute the output of node `at`, which has its shapes, and lets the last of them write
     * that value; the node itself gets an output that nobody reads. */
    rfhe_status (*expand)(rfhe_graph *g, uint32_t at, rfhe_error *err);
};

bool rfhe_graph_has_custom(const rfhe_graph *g);
/* Turns every custom node into ordinary ones and tidies up. */
RFHE_MUST_USE rfhe_status rfhe_graph_expand(rfhe_graph *g, rfhe_error *err);

#endif
