/* What the files of a search share.
 *
 *   search.c    making one, running it, what came out
 *   predict.c   the frontier of predictions, and whether harms are to be believed
 *   trials.c    one trial: judged, trained, kept
 *   points.c    what a budget of training is spent on
 */
#ifndef RFHE_SEARCH_INTERNAL_H
#define RFHE_SEARCH_INTERNAL_H

#include "search/search.h"

struct rfhe_search {
    rfhe_store *store;
    int64_t study;
    rfhe_search_world world;     /* base and profile are the trained ones where its maxima were replaced and trained */
    const rfhe_graph *untrained; /* the base as it was given */
    rfhe_graph *own_base;
    rfhe_profile own_profile;
    rfhe_search_options opt;
    rfhe_bank bank;
    rfhe_prices prices;
    double *harm_gradient, *harm_measured, *harm; /* [layers][forms]; harm is the one in use */
    char *names[RFHE_SEARCH_MAX_FORMS];
    rfhe_trial *trial;
    size_t n_trials, *front, n_front;
    double relu_top1, relu_entropy;
    double base_top1; /* of what gets forms: relu_top1, or that of the network with other maxima */
    rfhe_search_trust trust;
    /* progress: trials as a whole, with what one is doing as a note */
    rfhe_progress progress;
    size_t done, expected;
    double best_top1, best_seconds;
    char doing[48];
};

/* An assignment that was predicted to be on the frontier. */
typedef struct rfhe_candidate {
    uint8_t *choice;
    double seconds, harm;
    size_t set;
} rfhe_candidate;

typedef struct rfhe_candidates {
    rfhe_candidate *at;
    size_t n;
    bool exact;
} rfhe_candidates;

/* ---- trials.c ---- */

/* A remark for people, if they want any. */
void rfhe_search_say(const rfhe_search *s, const char *fmt, ...) RFHE_PRINTF(2, 3);
/* The `report` of an rfhe_progress whose user is the search: a part of one bar over all trials. */
int rfhe_search_report(void *user, const char *what, double done, double total, const char *unit,
                       const char *note);

/* Sum of the harms of an assignment. */
double rfhe_search_harm(const rfhe_search *s, const double *harm, const uint8_t *choice);
/* Puts assignment, depth, harm and prices into a trial. */
RFHE_MUST_USE rfhe_status rfhe_search_describe(const rfhe_search *s, rfhe_trial *t,
                                               const uint8_t *choice);
/* Trials and the frontier of results as the store has them. */
RFHE_MUST_USE rfhe_status rfhe_search_reload(rfhe_search *s, rfhe_error *err);

/* One trial without training: an assignment; the network as it came, and with other maxima. Nothing is done twice. */
RFHE_MUST_USE rfhe_status rfhe_search_try(rfhe_search *s, const char *kind, const uint8_t *choice,
                                          rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_search_try_relu(rfhe_search *s, rfhe_error *err);
/* One trial with training: t->planned images from the fitted forms of `choice` or from the network of t->parent. */
RFHE_MUST_USE rfhe_status rfhe_search_try_training(rfhe_search *s, rfhe_trial *t,
                                                   const uint8_t *choice, rfhe_error *err);
/* Trains *g (given away) as the begun trial `t`, judges, writes the network, and only then calls the trial done. A run that
 * diverges is a failed trial. */
RFHE_MUST_USE rfhe_status rfhe_search_train(rfhe_search *s, rfhe_trial *t, rfhe_graph *g,
                                            rfhe_error *err);
/* Images a second of training `g` (given away), measured once and then remembered under `key`: plans of a budget in seconds
 * follow from it. */
RFHE_MUST_USE rfhe_status rfhe_search_speed(rfhe_search *s, const char *key, rfhe_graph *g,
                                            double *speed, rfhe_error *err);
/* The file of a trial; a network read back from one. */
RFHE_MUST_USE rfhe_status rfhe_search_trial_path(const rfhe_search *s, int64_t id, const char *ending,
                                                 char out[4096], rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_search_read_network(rfhe_graph **out, const char *path,
                                                   rfhe_error *err);

/* ---- predict.c ---- */

void rfhe_candidates_clear(rfhe_candidates *c);
/* For qsort: by seconds, then harm, then set. */
int rfhe_candidates_faster(const void *va, const void *vb);
/* The frontier of predictions over all parameter sets, by seconds. */
RFHE_MUST_USE rfhe_status rfhe_search_predict(rfhe_candidates *out, const rfhe_search *s,
                                              rfhe_error *err);
/* Tries `want` points of it without training. */
RFHE_MUST_USE rfhe_status rfhe_search_try_spread(rfhe_search *s, const char *kind, size_t want,
                                                 rfhe_error *err);
/* How well summed harms rank what trials without training lost: Spearman, by accuracy and by cross entropy. */
RFHE_MUST_USE rfhe_status rfhe_search_correlate(const rfhe_search *s, const double *harm,
                                                double *accuracy, double *entropy, size_t *used,
                                                rfhe_error *err);
bool rfhe_search_all_known(const rfhe_search *s, const double *harm);
/* Harm by gradient; where it ranks real trials badly, every choice is tried by itself. Leaves s->harm. */
RFHE_MUST_USE rfhe_status rfhe_search_sense(rfhe_search *s, rfhe_error *err);

/* ---- points.c ---- */

/* The network whose maxima were replaced learns to live with that, ReLUs and all, before any form is fitted to it. */
RFHE_MUST_USE rfhe_status rfhe_search_train_pools(rfhe_search *s, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_search_train_points(rfhe_search *s, rfhe_error *err);

#endif
