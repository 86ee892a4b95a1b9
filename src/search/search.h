/* The search: which form for which activation, for every speed one may want.
 *
 *   other maxima? the network learns to live with them
 *   forms fitted (bank) ── harm by gradient ──┐
 *   plan/ prices every form and set (cost) ───┴─> frontier of predictions ──> trials on the selection split
 *                                                        ▲                          │
 *                       harm measured, if the predictions rank the trials badly <───┘
 *   points of the frontier ── successive halving with the one-shot recipe, within a budget ──> frontier of results
 *
 * Every decision is a function of the options and of what the store holds, and every result is in the store before the next
 * decision: whoever is interrupted and runs again takes the same way. */
#ifndef RFHE_SEARCH_SEARCH_H
#define RFHE_SEARCH_SEARCH_H

#include "search/cost.h"
#include "search/frontier.h"
#include "search/store.h"

typedef struct rfhe_search_world { /* all borrowed for as long as the search lives */
    const rfhe_graph *teacher;     /* as it came                                          */
    const rfhe_graph *base;        /* the same with its maxima replaced: what gets forms  */
    bool pools_replaced;           /* base differs from teacher                           */
    const rfhe_profile *profile;   /* of base                                             */
    const rfhe_batch_source *calibrate, *fit, *select; /* fit may be NULL without a budget */
} rfhe_search_world;

typedef struct rfhe_search_options { /* zero = choose for me, but forms and oneshot */
    const char *const *forms;        /* forms the store knows already are added              */
    size_t n_forms;
    rfhe_replace_options replace;
    rfhe_oneshot_options oneshot; /* epochs: the most a trial gets                           */
    const char *settings;         /* for the rows of trials: what a repetition needs         */
    uint64_t seed;
    rfhe_server server;
    uint32_t probes;      /* mixed assignments tried to check the predictions; 8              */
    uint32_t points;      /* of the predicted frontier that are tried; 24                     */
    uint32_t candidates;  /* for training; 8                                                  */
    uint64_t sense_images; /* 256                                                             */
    double trust;          /* rank correlation below which harms are measured; 0.8            */
    double headroom;        /* as in rfhe_training                                            */
    double budget_seconds;  /* of training, all runs in this folder together                  */
    uint64_t budget_passes; /* the same in images; both 0: no training                        */
    double max_seconds;     /* encrypted: what is slower is not trained; 0: no limit           */
    /* Where the base has other maxima: a quarter of the first budget of the folder trains it before any form is fitted.
     * Set with a budget, and for a study that was begun so. */
    bool train_pools;
    const rfhe_progress *progress;
    void (*tell)(void *user, const char *sentence); /* remarks for people; may be NULL */
    void *user;
} rfhe_search_options;

typedef struct rfhe_search rfhe_search; /* one thread at a time */

/* Trains the base if its maxima were replaced and options say so; fits the forms, prices them. Stores layers, choices, costs.
 * RFHE_E_INTERRUPTED when progress wants to stop; what is finished stays. */
RFHE_MUST_USE rfhe_status rfhe_search_new(rfhe_search **out, rfhe_store *store, int64_t study,
                                          const rfhe_search_world *world,
                                          const rfhe_search_options *opt, rfhe_error *err);
void rfhe_search_free(rfhe_search *s);

/* RFHE_E_INTERRUPTED when progress wants to stop; what is finished stays. */
RFHE_MUST_USE rfhe_status rfhe_search_run(rfhe_search *s, rfhe_error *err);

/* All trials, borrowed until the next run; and which of them are the frontier of results, by seconds. */
const rfhe_trial *rfhe_search_trials(const rfhe_search *s, size_t *n);
const size_t *rfhe_search_frontier(const rfhe_search *s, size_t *n);
double rfhe_search_relu_top1(const rfhe_search *s);
const rfhe_bank *rfhe_search_bank(const rfhe_search *s);
const rfhe_prices *rfhe_search_prices(const rfhe_search *s);

typedef struct rfhe_search_trust {
    double gradient, measured; /* Spearman's correlation of predicted harm and lost accuracy; NaN: not known */
    double gradient_entropy, measured_entropy; /* the same with the growth of the cross entropy               */
    bool uses_measured;
    size_t trials;
} rfhe_search_trust;
rfhe_search_trust rfhe_search_get_trust(const rfhe_search *s);

/* The network of a finished trial. */
RFHE_MUST_USE rfhe_status rfhe_search_network(rfhe_graph **out, const rfhe_search *s,
                                              const rfhe_trial *t, rfhe_error *err);

/* ---- targets ---- */

/* What may be lost, as a fraction, where nobody says otherwise. */
#define RFHE_SEARCH_DROP 0.003

typedef struct rfhe_target { /* 0 = no limit */
    double max_drop;         /* of top1, as a fraction */
    double max_seconds, max_bytes;
} rfhe_target;

/* Among n frontier trials t[at[i]]: the best one within the target, as an index into `at`; SIZE_MAX when none is. With a limit
 * on the drop the fastest, without one the most accurate (of equals the faster). */
size_t rfhe_target_pick(const rfhe_target *target, const rfhe_trial *t, const size_t *at, size_t n,
                        double relu_top1);
/* The one that misses by least: the largest ratio by which a limit is exceeded (drops below 0.01 points count as that). */
size_t rfhe_target_nearest(const rfhe_target *target, const rfhe_trial *t, const size_t *at,
                           size_t n, double relu_top1);

/* The uniform assignment that mixed ones are to be compared with, among n trials; SIZE_MAX when there is none: what `target` picks
 * among uniform ones, drops measured from ReLU, else the most accurate. After training those of the last rung count, whose
 * rivals were shown as many images, and drops are measured from the most accurate of them. */
size_t rfhe_best_uniform(const rfhe_target *target, const rfhe_trial *t, size_t n,
                         double relu_top1);
/* The fastest trial of the same rung and length that is at least as accurate as t[than]: that one itself if need be. */
size_t rfhe_fastest_as_good(const rfhe_trial *t, size_t n, size_t than);

/* ---- successive halving, as arithmetic [JT16] ---- */

typedef struct rfhe_halving {
    uint32_t rungs, candidates[8]; /* of each rung */
    uint64_t passes[8];            /* images for each candidate of the rung */
} rfhe_halving;

/* Every rung has 3/5 of the candidates of the one before, down to three or fewer, which the last one ranks: at most 8 rungs. The
 * last gets as many images as all others together, those the same each; whole batches of `batch`, at most `most` a trial.
 * rungs 0: not enough for one batch each. */
rfhe_halving rfhe_halving_plan(uint64_t passes, uint32_t candidates, uint32_t batch, uint64_t most);
/* Order of n results, best first: the most accurate, `keep` (SIZE_MAX: none), the most accurate of those faster than `keep`, then
 * by layers of the frontier (seconds, top1).
 * On the frontier itself by the area (in log seconds times top1) that would be lost without the point, that of the fastest
 * counted from 3 points below the most accurate, under which nothing is wanted; within what is beaten the most accurate first. */
RFHE_MUST_USE rfhe_status rfhe_halving_rank(size_t *order, const double *seconds,
                                            const double *top1, size_t n, size_t keep);

#endif
