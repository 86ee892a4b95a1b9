/* The one-shot recipe: all activations are PAFs from the first step on, mixed with the ReLU they stand for; a penalty
 * that grows keeps what reaches them inside their ranges; the ReLU network teaches.
 *
 * Evaluation, encrypted or not, clamps nothing. Training must: values far beyond a range send a polynomial, and soon the
 * loss and the statistics of the batch, out of bounds. What makes both agree is the penalty: at the end (nearly) no value
 * is beyond its range. Letting the clamp open late in the run is possible, and was found to help nothing at degree 4 and
 * to ruin degree 8. */
#include "method/method.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

typedef struct run {
    rfhe_paf_control control;
    const rfhe_oneshot_options *opt;
    uint64_t steps, steps_per_epoch;
    double penalty; /* of the epoch that ended last */
} run;

rfhe_oneshot_state rfhe_method_oneshot_at(const rfhe_oneshot_options *opt, uint64_t step, uint64_t steps,
                                          uint64_t steps_per_epoch)
{
    const double length = opt->ramp_epochs * (double)steps_per_epoch;
    const double at = steps > 0 ? (double)step / (double)steps : 0;
    const double growth = opt->growth > 0 ? opt->growth : 10;
    const double release = opt->release > 0 ? opt->release : 1;
    const double open = opt->open > 0 ? opt->open : 1.5;
    rfhe_oneshot_state s = {.clamp = 1};

    /* ReLU's share falls in a straight line from 1 before the first step to 0. */
    if (length > 0 && (double)step < length) { s.alpha = 1 - ((double)step + 1) / (length + 1); }
    s.penalty = opt->penalty * pow(growth, fmin(0, 2 * at - 1));
    if (release < 1 && at >= release) { s.clamp = 1 + (open - 1) * fmin(1, (at - release) / 0.3); }
    return s;
}

/* Depends on the step alone, so a continued run does the same. */
static void before_step(void *user, uint64_t step)
{
    run *r = user;
    const rfhe_oneshot_state s = rfhe_method_oneshot_at(r->opt, step, r->steps, r->steps_per_epoch);

    r->control.alpha = s.alpha;
    r->control.clamp = s.clamp;
    r->control.penalty = s.penalty;
    if (step % r->steps_per_epoch == 0) {
        r->control.penalty_sum = 0;
        r->control.penalty_runs = 0;
    }
}

static void on_epoch(void *user, const rfhe_train_epoch *row)
{
    run *r = user;
    const rfhe_train_options *t = &r->opt->train;

    if (r->control.penalty_runs > 0) {
        r->penalty = r->control.penalty_sum / (double)r->control.penalty_runs;
    }
    if (t->on_epoch != NULL) { t->on_epoch(t->user, row); }
}

rfhe_status rfhe_method_oneshot(rfhe_train_result *out, double *penalty, rfhe_graph *g,
                                const rfhe_graph *teacher, const rfhe_batch_source *fit,
                                const rfhe_batch_source *select, const rfhe_oneshot_options *opt,
                                rfhe_error *err)
{
    rfhe_train_options train = opt->train;
    run r = {.control = {.range = opt->range > 0 ? opt->range : 0.9},
             .opt = opt,
             .steps_per_epoch = fit->batch > 0 ? fit->images / fit->batch : 0,
             .penalty = NAN};

    if (r.steps_per_epoch == 0) { r.steps_per_epoch = 1; }
    r.steps = opt->train.epochs * r.steps_per_epoch;
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

/* --- Afterwards --- */

static rfhe_status widen_one(rfhe_graph *g, uint32_t at, const rfhe_profile_layer *l, double margin,
                             size_t *widened, rfhe_error *err)
{
    rfhe_paf *p = NULL;
    double *scale = NULL;
    size_t sets = 0;
    char form[sizeof g->nodes[at].attr.custom.label];
    rfhe_status st = RFHE_OK;

    (void)memcpy(form, rfhe_paf_node_form(&g->nodes[at]), sizeof form);
    RFHE_TRY(rfhe_paf_node_get(g, &g->nodes[at], NULL, NULL, &sets, err));
    p = rfhe_calloc(sets, sizeof *p);
    scale = rfhe_alloc(sets, sizeof *scale);
    if (p == NULL || scale == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu polynomials", sets);
        goto done;
    }
    RFHE_TRY(rfhe_paf_node_get(g, &g->nodes[at], p, scale, &sets, err));
    for (size_t i = 0; i < sets; i++) {
        const rfhe_histogram *h = sets == 1 ? &l->whole : &l->channel[i];
        const double reach = h->n > 0 ? margin * rfhe_histogram_reach(h) : 0;
        const double need = fmin(reach, 2 * scale[i]);
        if (need <= scale[i] * (1 + 1e-6)) { continue; } /* ranges are stored as floats */
        rfhe_paf_rescale(&p[i], scale[i], need);
        scale[i] = need;
        ++*widened;
    }
    RFHE_TRY(rfhe_paf_node_set(g, at, form, p, scale, sets, err));

done:
    rfhe_free(p);
    rfhe_free(scale);
    return st;
}

rfhe_status rfhe_method_widen(rfhe_graph *g, const rfhe_profile *profile, double margin,
                              size_t *widened, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    size_t count = 0;

    for (size_t i = 0; i < profile->n; i++) {
        for (uint32_t at = 0; at < g->n_nodes; at++) {
            if (rfhe_paf_node_is(&g->nodes[at]) && strcmp(g->nodes[at].name, profile->layer[i].node) == 0) {
                RFHE_TRY(widen_one(g, at, &profile->layer[i], margin, &count, err));
            }
        }
    }
    RFHE_TRY(rfhe_graph_tidy(g, err));
    RFHE_TRY(rfhe_graph_infer(g, 0, err));
    if (widened != NULL) { *widened = count; }

done:
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
