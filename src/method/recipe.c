/* The one-shot recipe: all activations are PAFs from the first step on, mixed with the ReLU they stand for; a penalty
 * keeps what reaches them inside their ranges; the ReLU network teaches. */
#include "method/method.h"

#include <math.h>

typedef struct ramp {
    rfhe_paf_control control;
    double epochs; /* of the ramp */
    uint64_t steps_per_epoch;
    const rfhe_train_options *train;
    double penalty; /* of the epoch that ended last */
} ramp;

/* ReLU's share falls in a straight line from 1 before the first step to 0. It depends on the step alone, so a continued
 * run does the same. */
static void before_step(void *user, uint64_t step)
{
    ramp *r = user;
    const double length = r->epochs * (double)r->steps_per_epoch;

    r->control.alpha =
        length > 0 && (double)step < length ? 1.0 - ((double)step + 1) / (length + 1) : 0.0;
    if (step % r->steps_per_epoch == 0) {
        r->control.penalty_sum = 0;
        r->control.penalty_runs = 0;
    }
}

static void on_epoch(void *user, const rfhe_train_epoch *row)
{
    ramp *r = user;

    if (r->control.penalty_runs > 0) {
        r->penalty = r->control.penalty_sum / (double)r->control.penalty_runs;
    }
    if (r->train->on_epoch != NULL) { r->train->on_epoch(r->train->user, row); }
}

rfhe_status rfhe_method_oneshot(rfhe_train_result *out, double *penalty, rfhe_graph *g,
                                const rfhe_graph *teacher, const rfhe_batch_source *fit,
                                const rfhe_batch_source *select, const rfhe_oneshot_options *opt,
                                rfhe_error *err)
{
    rfhe_train_options train = opt->train;
    ramp r = {.control = {.clamp = opt->no_clamp ? 0 : 1, .penalty = opt->penalty, .range = opt->range},
              .epochs = opt->ramp_epochs,
              .steps_per_epoch = fit->batch > 0 ? fit->images / fit->batch : 0,
              .train = &opt->train,
              .penalty = NAN};

    if (r.steps_per_epoch == 0) { r.steps_per_epoch = 1; }
    train.teacher = teacher;
    train.before_step = before_step;
    train.on_epoch = on_epoch;
    train.user = &r;
    rfhe_paf_set_control(g, &r.control);
    const rfhe_status st = rfhe_train(out, g, fit, select, &train, err);
    rfhe_paf_set_control(g, NULL);
    if (penalty != NULL) { *penalty = r.penalty; }
    return st;
}

rfhe_status rfhe_method_recalibrate(rfhe_graph *g, const rfhe_batch_source *src, uint64_t batches,
                                    rfhe_compute compute, const rfhe_progress *progress,
                                    rfhe_error *err)
{
    const rfhe_exec_options opt = {.batch = src->batch, .training = true, .compute = compute};
    rfhe_exec *e = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_exec_new(&e, g, &opt, err));
    RFHE_TRY(rfhe_recalibrate(e, src, batches, 0.1F, progress, err));
    RFHE_TRY(rfhe_exec_store(e, g, err));

done:
    rfhe_exec_free(e);
    return st;
}
