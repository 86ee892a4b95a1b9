/* Batches from wherever images come, and what is done with them without changing weights: counting hits, estimating
 * BN statistics again. */
#ifndef RFHE_NN_EVALUATE_H
#define RFHE_NN_EVALUATE_H

#include "nn/exec.h"
#include "nn/loss.h"

/* A repeatable sequence of labelled images in batches. nn knows no data sets: whoever has images adapts them to this.
 * An epoch has `images` images, in batches of `batch` except perhaps its last. */
typedef struct rfhe_batch_source {
    /* Writes the next images (count x channels x height x width, normalised) and labels, at most `batch`; the epoch
     * after follows the last batch without a call. */
    rfhe_status (*next)(void *user, float *images, uint32_t *labels, uint32_t *count, rfhe_error *err);
    /* The next image is number `position` (a multiple of batch) of `epoch`: the same images follow as if all before
     * had been read. */
    rfhe_status (*seek)(void *user, uint64_t epoch, uint64_t position, rfhe_error *err);
    void *user;
    uint64_t images;
    uint32_t batch;
} rfhe_batch_source;

/* Rows and classes of the first output; RFHE_E_FORMAT when it is not one row of at least two logits per image. */
RFHE_MUST_USE rfhe_status rfhe_exec_classes(rfhe_exec *e, int64_t batch, size_t *classes,
                                            rfhe_error *err);

/* Runs one epoch through `e` (made for src->batch images) and adds up cross entropy and hits in *out (set to zero
 * first). RFHE_E_INTERRUPTED when `progress` wants to stop. */
RFHE_MUST_USE rfhe_status rfhe_evaluate(rfhe_loss_sums *out, rfhe_exec *e,
                                        const rfhe_batch_source *src, const rfhe_progress *progress,
                                        rfhe_error *err);

/* Replaces the running statistics of every BN by their averages over the first `batches` batches of epoch 0, keeping
 * all weights. `e` must be made for training, without frozen_bn; afterwards its BN momentum is `momentum` again. */
RFHE_MUST_USE rfhe_status rfhe_recalibrate(rfhe_exec *e, const rfhe_batch_source *src,
                                           uint64_t batches, float momentum,
                                           const rfhe_progress *progress, rfhe_error *err);

/* Sets the parameters of `dst` to those of `src` with the same names, reading them from `values` (src's layout; NULL =
 * src's own). RFHE_E_ARG when a name is missing or has another size. */
RFHE_MUST_USE rfhe_status rfhe_exec_copy(rfhe_exec *dst, rfhe_exec *src, const float *values,
                                         rfhe_error *err);

#endif
