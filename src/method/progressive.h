/* The published recipes: progressive approximation (PA), alternate training (AT), their combinations and the baseline,
 * as the code released with [SmartPAF24] runs them, with its faults only on request.
 *
 * The network is tuned in *groups* of epochs. For each *unit* (one activation, or all at once) groups follow each other
 * as long as they help; what moves in a group is its *mode*: coefficients, the layers since the previous activation
 * ("block"), or both. */
#ifndef RFHE_METHOD_PROGRESSIVE_H
#define RFHE_METHOD_PROGRESSIVE_H

#include "method/method.h"

typedef enum rfhe_pa_mode { RFHE_PA_COEFFICIENTS = 0, RFHE_PA_BLOCK, RFHE_PA_BOTH } rfhe_pa_mode;

/* ---- the decision after a group: a pure function ---- */

typedef struct rfhe_pa_state {
    rfhe_pa_mode mode;
    bool improved; /* since the mode last changed; true at the start of a unit */
    double best;   /* accuracy of the network that is kept                     */
} rfhe_pa_state;

typedef struct rfhe_pa_outcome {
    double best_epoch;      /* highest accuracy after an epoch of the group          */
    uint64_t epoch, epochs; /* its number, 0, 1, ... of `epochs`                     */
    double average;         /* accuracy of the mean of the weights after the epochs  */
} rfhe_pa_outcome;

typedef enum rfhe_pa_keep {
    RFHE_PA_KEEP_OLD = 0,
    RFHE_PA_KEEP_EPOCH,
    RFHE_PA_KEEP_AVERAGE
} rfhe_pa_keep;

typedef struct rfhe_pa_decision {
    rfhe_pa_keep keep;
    bool unit_ends;
} rfhe_pa_decision;

/* What the released code does with `o` (facts of the paper's repository: training loop of PA and AT): keeps the better of
 * epoch and average if it beats s->best; changes the mode when nothing improved, or when the best epoch came in the
 * first half; ends the unit when a change would follow a change without any improvement between, or when there is no
 * block to change to. With RFHE_PA_BOTH (no alternation) the mode stays. */
rfhe_pa_decision rfhe_pa_decide(rfhe_pa_state *s, const rfhe_pa_outcome *o, bool has_block);

/* ---- running ---- */

typedef struct rfhe_pa_row { /* one group */
    uint32_t unit;
    rfhe_pa_mode mode;
    rfhe_pa_keep keep;
    uint64_t epoch;
    double start, best_epoch, average, best;
} rfhe_pa_row;

typedef struct rfhe_pa_options {
    bool
        replace_progressively; /* one activation after the other; else all at once                       */
    bool
        train_progressively; /* only the unit's coefficients and block move; else all                  */
    bool alternate; /* coefficients and layers in turn; else together                         */
    bool dynamic;   /* scale = largest |x| of the batch while training and choosing           */
    bool faults;    /* as released: loss divided by the batch once more, L2 added to the
                                 * gradient, a group that did not help is continued from all the same,
                                 * layers behind the last activation never move                           */
    uint64_t
        epochs_per_group; /* 0 = 20                                                                 */
    uint64_t
        epoch_images; /* an epoch shows so many, whole batches, and the next one goes on behind them;
                         0 = all of `fit`                                                       */
    uint64_t
        max_passes; /* images shown at most, shared equally among units; 0 = no limit         */
    double coef_rate, block_rate, coef_decay,
        block_decay; /* 0 = 1e-4, 1e-5, 0.01, 0.1                   */
    rfhe_compute compute; /* of training and of judging networks by `select`                        */
    const char
        *checkpoint; /* file to continue from and write to after every group; NULL = none      */
    const char
        *identity; /* lines of further settings that a continued run must share              */
    uint64_t
        stop_after; /* groups after which this call returns as if interrupted; 0 = none       */
    const rfhe_progress *progress;
    void (*on_group)(void *user, const rfhe_pa_row *row); /* may be NULL */
    void *user;
} rfhe_pa_options;

typedef struct rfhe_pa_result { /* free rows with rfhe_free */
    rfhe_pa_row *rows;
    uint64_t groups, images; /* image passes of training, also those before an interruption */
    double select_top1;
} rfhe_pa_result;

/* Replaces and trains `g` in place: `profile` and `replace` say how each activation is replaced (with or without CT).
 * `select` chooses. A dynamic scale leaves the static scales of `replace` in the network.
 * RFHE_E_INTERRUPTED, RFHE_E_ARG, RFHE_E_FORMAT as rfhe_train; RFHE_E_NUMERIC never: a group that diverges is dropped. */
RFHE_MUST_USE rfhe_status rfhe_method_progressive(rfhe_pa_result *out, rfhe_graph *g,
                                                  const rfhe_profile *profile,
                                                  const rfhe_replace_options *replace,
                                                  const rfhe_batch_source *fit,
                                                  const rfhe_batch_source *select,
                                                  const rfhe_pa_options *opt, rfhe_error *err);

#endif
