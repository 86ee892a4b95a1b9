/* The training loop: batches in, a better graph out. Everything that decides the result is in the options, the graph
 * and the order of the source; with the same thread count two runs agree bit for bit, also when one of them was killed
 * on the way and run again with the same checkpoint file. */
#ifndef RFHE_NN_TRAIN_H
#define RFHE_NN_TRAIN_H

#include "nn/evaluate.h"
#include "nn/optim.h"

/* One finished epoch. Plain data, kept in checkpoints. */
typedef struct rfhe_train_epoch {
    uint64_t epoch;     /* 1, 2, ...                                                        */
    double rate;        /* of its last step                                                 */
    double loss;        /* mean of what was minimised                                       */
    double train_top1;  /* of the changing weights on the augmented images, as a fraction   */
    double select_top1; /* of what would be stored, on the selection split; NaN when unused */
    double seconds;     /* of the steps; without evaluation                                 */
} rfhe_train_epoch;

typedef struct rfhe_train_options { /* zero state but for epochs and rate: plain SGD */
    uint64_t epochs;
    rfhe_compute compute;
    bool frozen_bn;
    rfhe_optim_options optim;
    double rate; /* peak */
    /* The schedule in epochs; `total` and `warmup` of `schedule` are filled in. Its milestones count epochs here. */
    rfhe_schedule schedule;
    double warmup_epochs;
    bool use_plateau; /* multiplies the schedule; needs `select` */
    rfhe_plateau plateau;
    rfhe_loss_options loss;
    double clip;             /* norm of the gradient; 0 = no limit                                           */
    double ema;              /* decay of an average of the weights, which is what is stored; 0 = none        */
    double swa_from;         /* arithmetic mean of the epochs after this share of them, in (0, 1); 0 = none  */
    uint64_t recalibrate;    /* batches to estimate BN statistics of an average from, each time it is judged */
    bool keep_last;          /* stores the last epoch instead of the best one on `select`                    */
    uint64_t judge_every;    /* epochs between looks at `select`; 0 = 1; the last one is always judged       */
    const rfhe_graph *teacher; /* for loss.distill: sees the same images                                     */
    const char *checkpoint;  /* file to continue from if it is there, and to write to; NULL = none           */
    double checkpoint_every; /* seconds between writes; 0 = 60. Also at the end of an epoch that is judged   */
    const char *identity;    /* lines "key=value" of further settings that a continued run must share        */
    uint64_t stop_after;     /* steps after which this call returns as if interrupted; 0 = none; for tests   */
    uint64_t seed;           /* of dropout */
    const rfhe_progress *progress;
    void (*on_epoch)(void *user, const rfhe_train_epoch *row); /* may be NULL */
    void (*before_step)(void *user, uint64_t step); /* step 0, 1, ... of the whole training; may be NULL */
    void *user;
} rfhe_train_options;

typedef struct rfhe_train_result {  /* rfhe_train_result_clear frees */
    uint64_t epochs, steps, images; /* of the whole training                                     */
    uint64_t first_step;            /* where this call began: above 0 when it continued a run    */
    double seconds;                 /* of this call, all in all                                  */
    double step_seconds;            /* of this call's training steps                             */
    double wait_seconds, forward_seconds, backward_seconds, update_seconds; /* their parts       */
    double images_per_second;       /* of this call's training steps                             */
    double select_top1;             /* of what is stored; NaN without selection split            */
    uint64_t stored_epoch;          /* 1, 2, ...                                                 */
    rfhe_train_epoch *rows;         /* `epochs` rows                                             */
} rfhe_train_result;

/* Trains `g` in place: at the end its weights and running statistics are those of the stored epoch.
 *
 *   fit      batches of fit->batch, whole ones only: fit->images must be a multiple of it; epoch e is its epoch e
 *   select   judged after every epoch to choose what is stored (best, the later one among equals), without ever being
 *            trained on; NULL = the last epoch is stored
 *
 * RFHE_E_INTERRUPTED when `progress` wants to stop: the checkpoint is then complete, `g` as it was.
 * RFHE_E_NUMERIC when the loss is no longer a finite number.
 * RFHE_E_ARG when options do not fit each other, or the checkpoint was made with other settings; the sentence names
 * the first difference. RFHE_E_FORMAT when the checkpoint is damaged. Afterwards the checkpoint is still there. */
RFHE_MUST_USE rfhe_status rfhe_train(rfhe_train_result *out, rfhe_graph *g,
                                     const rfhe_batch_source *fit, const rfhe_batch_source *select,
                                     const rfhe_train_options *opt, rfhe_error *err);
void rfhe_train_result_clear(rfhe_train_result *r);

#endif
