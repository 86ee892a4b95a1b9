/* Optimizers, schedules and weight averages over the executor's flat arrays of parameters and gradients. The loops are
 * elementwise and cut into fixed chunks, so the result is the same bits for any number of threads. */
#ifndef RFHE_NN_OPTIM_H
#define RFHE_NN_OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/exec.h"

/* --- Optimizers --------------------------------------------------------------------------------------------------- */

/* g is the gradient, x the parameter, r the rate of this step times the group's factor, d the group's weight decay.
 *
 *   SGD     g += d x;  v = mu v + (1 - damp) g (first step: v = g);  x -= r v, with Nesterov x -= r (g + mu v)
 *   ADAM    g += d x;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
 *           x -= r / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
 *   ADAMW   x -= r d x first, then as ADAM without adding d x to g     [Loshchilov & Hutter, 2019, algorithm 2]
 *
 * SGD and ADAM couple the decay to the gradient (L2), as PyTorch's SGD and Adam do. */
typedef enum rfhe_optim_kind { RFHE_OPTIM_SGD = 0, RFHE_OPTIM_ADAM, RFHE_OPTIM_ADAMW } rfhe_optim_kind;

enum { RFHE_PARAM_KINDS = RFHE_PARAM_OTHER + 1 };

typedef struct rfhe_optim_group { /* zero state: rate factor 1, no decay */
    double rate_factor;           /* 0 = 1; negative = this group does not move */
    double decay;
} rfhe_optim_group;

typedef struct rfhe_optim_options { /* zero state: plain SGD */
    rfhe_optim_kind kind;
    double momentum, dampening; /* SGD */
    bool nesterov;
    double beta1, beta2, epsilon; /* Adam; 0 = 0.9, 0.999, 1e-8 */
    bool no_bias_correction;      /* Adam: the factors 1 - b^t are left out */
    rfhe_optim_group group[RFHE_PARAM_KINDS];
} rfhe_optim_options;

/* A stretch of consecutive floats that share a group. */
typedef struct rfhe_optim_span {
    size_t offset, count;
    rfhe_optim_group group;
} rfhe_optim_span;

/* The members are open so that a checkpoint can store and restore `first`, `second` and `step`. */
typedef struct rfhe_optim {
    rfhe_optim_options opt;
    size_t count;          /* floats of the flat arrays                            */
    float *first, *second; /* momentum or mean; variance (Adam only, else NULL)    */
    uint64_t step;         /* steps taken                                          */
    rfhe_optim_span *spans;
    size_t n_spans;
} rfhe_optim;

/* For arrays of `count` floats described by `params` (running statistics never move). The state starts at zero.
 * RFHE_E_ARG when a number is out of range: momentum, dampening and betas in [0, 1), epsilon > 0, decay >= 0; Nesterov
 * needs momentum and no dampening. */
RFHE_MUST_USE rfhe_status rfhe_optim_new(rfhe_optim **out, const rfhe_optim_options *opt,
                                         const rfhe_param *params, uint32_t n_params, size_t count,
                                         rfhe_error *err);
void rfhe_optim_free(rfhe_optim *o);
/* One step. Every gradient is multiplied by grad_scale first (1, or the factor of clipping). `values` and `grads` must
 * not overlap. Cost: one pass over 3 to 5 arrays. */
void rfhe_optim_step(rfhe_optim *o, float *values, const float *grads, double rate,
                     double grad_scale);

/* Euclidean norm of n floats, summed in double in a fixed order. */
double rfhe_norm(const float *x, size_t n);
/* The factor that brings a gradient of this norm down to `limit`; 1 when limit is 0 or norm is below it. */
double rfhe_clip_factor(double norm, double limit);

/* --- Schedules ---------------------------------------------------------------------------------------------------- */

typedef enum rfhe_schedule_kind {
    RFHE_SCHEDULE_CONSTANT = 0,
    RFHE_SCHEDULE_STEP,     /* times gamma at every milestone                                     */
    RFHE_SCHEDULE_COSINE,   /* half a cosine from 1 to floor                                      */
    RFHE_SCHEDULE_LINEAR,   /* a straight line from 1 to floor                                    */
    RFHE_SCHEDULE_ONECYCLE, /* half cosines: 1/25 up to 1 over `rise` of the steps, down to floor */
} rfhe_schedule_kind;

enum { RFHE_MAX_MILESTONES = 16 };

/* Zero state: constant. All but STEP and CONSTANT need `total`. */
typedef struct rfhe_schedule {
    rfhe_schedule_kind kind;
    uint64_t total;  /* steps of the whole training                                                       */
    uint64_t warmup; /* steps of a linear rise from 1/(warmup+1) at the start; not for ONECYCLE           */
    double floor;    /* last rate as a fraction of the peak                                               */
    double rise;     /* ONECYCLE; 0 = 0.25                                                                */
    double gamma;    /* STEP; 0 = 0.1                                                                     */
    uint64_t milestone[RFHE_MAX_MILESTONES]; /* STEP: ascending steps */
    uint32_t n_milestones;
} rfhe_schedule;

/* The fraction of the peak rate to use at step 0, 1, ...; a pure function. Steps past `total` keep the last rate. */
double rfhe_schedule_factor(const rfhe_schedule *s, uint64_t step);

/* Lowers the rate when a measure (greater is better) stops improving. Plain data: store it in checkpoints. */
typedef struct rfhe_plateau {
    double factor;     /* multiplies on every reduction; 0 = 0.1           */
    uint32_t patience; /* measures without improvement before; 0 = 10      */
    double threshold;  /* least improvement that counts                    */
    double scale;      /* the product so far; 0 = 1 before the first call  */
    double best;
    uint32_t waited;
    bool started;
} rfhe_plateau;

/* Takes a measure and returns the scale to multiply the rate with from now on. */
double rfhe_plateau_update(rfhe_plateau *p, double measure);

/* --- Averages of weights ------------------------------------------------------------------------------------------ */

/* Exponential (EMA) or arithmetic (SWA) average of a flat array. The members are open for checkpoints. */
typedef struct rfhe_average { /* zero state: empty */
    float *values;
    size_t count;
    double decay;   /* EMA: weight of the old average; 0 = arithmetic mean */
    uint64_t taken; /* updates so far                                      */
} rfhe_average;

/* RFHE_E_ARG unless decay is in [0, 1). */
RFHE_MUST_USE rfhe_status rfhe_average_init(rfhe_average *a, size_t count, double decay,
                                            rfhe_error *err);
void rfhe_average_clear(rfhe_average *a);
/* The first update copies. EMA warms up: its decay is at most (1 + t) / (10 + t) at update t = 1, 2, ... */
void rfhe_average_update(rfhe_average *a, const float *values);

#endif
