/* Training one network of a search: the one-shot recipe on a given number of images, and ranges that hold afterwards. */
#ifndef RFHE_SEARCH_TRAINING_H
#define RFHE_SEARCH_TRAINING_H

#include "method/method.h"

typedef struct rfhe_training { /* all borrowed */
    const rfhe_graph *teacher;
    const rfhe_batch_source *fit, *select, *calibrate;
    const rfhe_oneshot_options *oneshot; /* epochs and rate: of a run in full length, which a search rarely can afford */
    double headroom;                     /* ranges afterwards, over what reaches them; 0: as trained                   */
    const rfhe_progress *progress;
} rfhe_training;

typedef struct rfhe_training_part {
    uint64_t passes; /* images shown; at least a batch                                         */
    uint32_t rung;   /* from 2: the network was trained before, and its activations are PAFs   */
    uint64_t seed;
    const char *checkpoint, *identity; /* as in rfhe_train_options; NULL: none                 */
} rfhe_training_part;

/* The highest rate of a run of `passes` images: that of the full length times the cube root of the share. From the runs behind
 * models/README.md, which were tuned one by one: 0.01, 0.02 and 0.03 for 26, 384 and 768 thousand images. */
double rfhe_training_rate(const rfhe_oneshot_options *o, uint64_t fit_images, uint64_t passes);

/* Trains `g`. *images and *speed (images a second; may be NULL) of this training. RFHE_E_NUMERIC when it diverges,
 * RFHE_E_INTERRUPTED with the checkpoint left. Ranges that calibration images leave are widened (rfhe_method_widen); where
 * an image diverges they stay. */
RFHE_MUST_USE rfhe_status rfhe_training_run(rfhe_graph *g, uint64_t *images, double *speed,
                                            const rfhe_training *w, const rfhe_training_part *part,
                                            rfhe_error *err);

#endif
