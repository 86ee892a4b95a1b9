/* The best assignments of forms to activations, all of them at once.
 *
 * Every activation l may take every form f; the choice costs seconds[l][f] and harms by error[l][f], and both add up over
 * the network. An assignment is worth looking at when no other one is as fast and as good: those form the frontier. There
 * are forms^activations assignments, yet activation by activation only the partial sums that no other partial sum beats can
 * be part of a best whole [Bel57], so the list stays short, and is thinned where it does not. */
#ifndef RFHE_SEARCH_FRONTIER_H
#define RFHE_SEARCH_FRONTIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

typedef struct rfhe_frontier { /* zero state: empty */
    size_t n, layers;
    double *seconds, *error; /* n sums, seconds growing, error falling      */
    uint8_t *form;           /* form[i * layers + l]                        */
    bool exact;              /* no partial list was longer than `most`      */
} rfhe_frontier;

/* seconds and error are [layers][forms], seconds INFINITY where the choice does not exist, otherwise both finite, and error
 * not negative (seconds may be: what a choice saves elsewhere). 1 <= forms <= 255.
 *   most   partial assignments kept per activation, at least 2; 0 = 8192. When there are more, the errors between the
 *          smallest and the largest are cut into `most` bands of equal ratio, and the fastest of each stays: thinned at
 *          T activations, every best assignment has a neighbour that is no slower and whose error is at most ratio^T times
 *          as large.
 * An activation without any possible form: an empty frontier. RFHE_E_ARG, RFHE_E_NOMEM. Cost: layers * forms * most, sorted. */
RFHE_MUST_USE rfhe_status rfhe_frontier_find(rfhe_frontier *out, const double *seconds,
                                             const double *error, size_t layers, size_t forms,
                                             size_t most, rfhe_error *err);
void rfhe_frontier_clear(rfhe_frontier *f);

/* Marks the points that no other one beats: no other is as fast and at least as good with one of the two strictly. Of equal
 * points the first stays. good[i]: larger is better. NaN in either: not marked. Quadratic. */
void rfhe_frontier_mark(bool *on, const double *seconds, const double *good, size_t n);

/* Spearman's rank correlation of n pairs, equal values sharing their mean rank; NaN when n < 2 or one side is constant. */
RFHE_MUST_USE rfhe_status rfhe_rank_correlation(double *out, const double *x, const double *y,
                                                size_t n);

#endif
