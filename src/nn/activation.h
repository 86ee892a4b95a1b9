/* An elementwise function with trainable parameters that somebody above nn/ brings along (polynomial activations from
 * paf/): the node names a table of functions, its inputs 1, 2, ... are the parameters. nn/ knows no more of it. */
#ifndef RFHE_NN_ACTIVATION_H
#define RFHE_NN_ACTIVATION_H

#include <stddef.h>

#include "rfhe/status.h"

enum { RFHE_ACTIVATION_PARAMS = 8 };

/* Tensors are rows of `channels` floats (channels-last). A state belongs to one executor; its calls come from one
 * thread at a time and may use the whole team. Sums must not depend on the size of the team. */
typedef struct rfhe_activation {
    const char *name;
    /* Makes the state, memory for later calls included. `count` has the elements of each of `n` parameters. */
    rfhe_status (*open)(void **state, const void *user, size_t channels, const size_t *count,
                        size_t n, rfhe_error *err);
    void (*close)(void *state); /* NULL is allowed */
    /* The parameters' values from now on: before the first run and whenever the master weights changed. */
    void (*set)(void *state, const float *const *params);
    /* y = f(x); y may be x. */
    void (*forward)(void *state, float *y, const float *x, size_t rows);
    /* dx = dL/dx (may be dy), dparams[k][i] = dL/d params[k][i], all overwritten; either may be NULL, and so may single
     * entries of dparams. NULL function: cannot be trained. */
    void (*backward)(void *state, float *dx, double *const *dparams, const float *x, const float *dy,
                     size_t rows);
} rfhe_activation;

#endif
