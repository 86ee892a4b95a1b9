/* What training minimises and what evaluation counts: cross entropy with label smoothing, distillation, top-k. */
#ifndef RFHE_NN_LOSS_H
#define RFHE_NN_LOSS_H

#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

/* Zero state: plain cross entropy. */
typedef struct rfhe_loss_options {
    double smoothing;   /* e in [0, 1): the target is (1 - e) at the label plus e / classes everywhere      */
    double distill;     /* w in [0, 1]: weight of the divergence from a teacher; needs teacher logits       */
    double temperature; /* T > 0 of the divergence; 0 = 1                                                   */
} rfhe_loss_options;

/* Sums over the images seen so far, so that batches add up. Zero state: none seen. */
typedef struct rfhe_loss_sums {
    double loss;          /* what is minimised, including its weights               */
    double cross_entropy; /* -sum target * log softmax, in nats                     */
    double divergence;    /* KL(teacher || student) at temperature T, not weighted  */
    uint64_t images, top1, top5;
} rfhe_loss_sums;

/* The loss of one batch and its gradient.
 *
 *   loss = (1 - w) CE(target, z) + w T^2 KL(softmax(t / T) || softmax(z / T)), mean over the batch
 *
 *   grad      batch x classes, d loss / d logits of the mean over the batch; NULL = not wanted; may not be `logits`
 *   logits    batch x classes (z above), row-major
 *   teacher   batch x classes (t above); NULL when w is 0
 *   labels    batch classes, each below `classes`
 *   sums      increased by this batch's sums (not means)
 *
 * An image counts for top-k when fewer than k classes beat its label; among equal logits the lower class wins, and a
 * row with a NaN never counts. Rows are summed in double, in order: the same bits for any number of threads.
 * RFHE_E_ARG when an option or a label is out of range, or the teacher is missing; nothing is then changed.
 * Cost: linear, two exponentials per logit. */
RFHE_MUST_USE rfhe_status rfhe_loss(rfhe_loss_sums *sums, float *grad, const float *logits,
                                    const float *teacher, const uint32_t *labels, size_t batch,
                                    size_t classes, const rfhe_loss_options *opt, rfhe_error *err);

#endif
