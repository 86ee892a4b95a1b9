/* See train.h.
 *
 * The state of a run is: the flat array of weights and running statistics, the optimizer's arrays, the average, the
 * best weights so far, the finished epochs, and a handful of numbers (struct numbers). Where the source stands follows
 * from the step. All of it is in a checkpoint, so a run that continues from one is in the state that the uninterrupted
 * run had at that step, bit for bit. What happens at the end of an epoch depends only on that state too, and is marked
 * by the number of finished epochs: a run that was killed while it judged an epoch judges it again. */
#include "nn/train.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "nn/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Stored in checkpoints as it is: fixed-size members only, no padding. */
typedef struct numbers {
    uint64_t step, epochs_done, best_epoch, average_taken, average_epoch;
    double best_top1;                 /* negative: none yet */
    double sum_loss, sum_cross, sum_kl, epoch_seconds;
    uint64_t sum_images, sum_top1, sum_top5;
    double plateau_scale, plateau_best;
    uint64_t plateau_waited, plateau_started;
} numbers;

typedef struct trainer {
    const rfhe_train_options *opt;
    const rfhe_batch_source *fit, *select;
    rfhe_exec *net, *judge, *teacher;
    rfhe_optim *optim;
    rfhe_average average; /* values NULL: none */
    rfhe_schedule schedule;
    rfhe_text settings;
    rfhe_train_epoch *rows;
    float *best, *spare; /* spare: the weights while others are being judged */
    uint32_t *labels;
    size_t classes, count;
    uint64_t steps_per_epoch, steps;
    float bn_momentum;
    double last_write;
    numbers n;
    rfhe_train_result r;
} trainer;

/* --- Settings: what a continued run must share --- */

static void add_graph(rfhe_text *t, const rfhe_graph *g)
{
    rfhe_text_printf(t, "network=%s, %" PRIu32 " operators\n", g->name, g->n_nodes);
}

static void write_settings(trainer *t, const rfhe_graph *g)
{
    const rfhe_train_options *o = t->opt;
    rfhe_text *s = &t->settings;

    add_graph(s, g);
    rfhe_text_printf(s, "parameters=%zu\nepochs=%" PRIu64 "\nbatch=%" PRIu32 "\n", t->count, o->epochs,
                     t->fit->batch);
    rfhe_text_printf(s, "training images=%" PRIu64 "\nselection images=%" PRIu64 "\n", t->fit->images,
                     t->select != NULL ? t->select->images : 0);
    rfhe_text_printf(s, "compute=%s\nfrozen BN=%d\n", o->compute == RFHE_COMPUTE_BF16 ? "bf16" : "f32",
                     o->frozen_bn);
    rfhe_text_printf(s, "optimizer=%d\nmomentum=%.17g\ndampening=%.17g\nnesterov=%d\n", (int)o->optim.kind,
                     o->optim.momentum, o->optim.dampening, o->optim.nesterov);
    rfhe_text_printf(s, "beta1=%.17g\nbeta2=%.17g\nepsilon=%.17g\nbias correction=%d\n", o->optim.beta1,
                     o->optim.beta2, o->optim.epsilon, !o->optim.no_bias_correction);
    for (size_t k = 0; k < RFHE_PARAM_KINDS; k++) {
        rfhe_text_printf(s, "rate factor %zu=%.17g\nweight decay %zu=%.17g\n", k,
                         o->optim.group[k].rate_factor, k, o->optim.group[k].decay);
    }
    rfhe_text_printf(s, "rate=%.17g\nschedule=%d\nwarm-up=%.17g\nfloor=%.17g\nrise=%.17g\ngamma=%.17g\n",
                     o->rate, (int)o->schedule.kind, o->warmup_epochs, o->schedule.floor,
                     o->schedule.rise, o->schedule.gamma);
    for (uint32_t i = 0; i < o->schedule.n_milestones; i++) {
        rfhe_text_printf(s, "milestone=%" PRIu64 "\n", o->schedule.milestone[i]);
    }
    if (o->use_plateau) {
        rfhe_text_printf(s, "plateau=%.17g after %" PRIu32 " below %.17g\n", o->plateau.factor,
                         o->plateau.patience, o->plateau.threshold);
    }
    rfhe_text_printf(s, "label smoothing=%.17g\ndistillation=%.17g\ntemperature=%.17g\n",
                     o->loss.smoothing, o->loss.distill, o->loss.temperature);
    rfhe_text_printf(s, "clip=%.17g\nEMA=%.17g\nSWA=%.17g\nrecalibrate=%" PRIu64 "\nkeep last=%d\n",
                     o->clip, o->ema, o->swa_from, o->recalibrate, o->keep_last);
    rfhe_text_printf(s, "judge every=%" PRIu64 "\nseed=%" PRIu64 "\n", o->judge_every, o->seed);
    if (o->identity != NULL) { rfhe_text_add(s, o->identity); }
}

/* Names the first line in which two settings differ. */
static rfhe_status same_settings(const char *path, const char *was, size_t was_size,
                                 const rfhe_text *now, rfhe_error *err)
{
    size_t at = 0, line = 0;

    if (was_size == now->size && memcmp(was, now->data, now->size) == 0) { return RFHE_OK; }
    while (at < was_size && at < now->size && was[at] == now->data[at]) {
        if (was[at] == '\n') { line = at + 1; }
        at++;
    }
    const size_t left = line < was_size ? was_size - line : 0;
    const int n = (int)(left > 0 ? strcspn(was + line, "\n") : 0);
    const int m = (int)(line < now->size ? strcspn(now->data + line, "\n") : 0);
    return rfhe_fail(err, RFHE_E_ARG,
                     "'%s' was begun with %.*s, not %.*s; continue with the same settings or remove it",
                     path, n < 80 ? n : 80, n > 0 ? was + line : "", m < 80 ? m : 80,
                     m > 0 ? now->data + line : "");
}

/* --- Checkpoints --- */

static rfhe_status save(trainer *t, rfhe_error *err)
{
    rfhe_checkpoint_section s[8];
    const size_t bytes = t->count * sizeof(float);
    size_t n = 0;

    if (t->opt->checkpoint == NULL) { return RFHE_OK; }
    t->n.average_taken = t->average.taken;
    s[n++] = (rfhe_checkpoint_section){"settings", t->settings.data, t->settings.size};
    s[n++] = (rfhe_checkpoint_section){"numbers", &t->n, sizeof t->n};
    s[n++] = (rfhe_checkpoint_section){"weights", rfhe_exec_values(t->net, NULL), bytes};
    s[n++] = (rfhe_checkpoint_section){"first", t->optim->first, bytes};
    if (t->optim->second != NULL) {
        s[n++] = (rfhe_checkpoint_section){"second", t->optim->second, bytes};
    }
    if (t->average.values != NULL) {
        s[n++] = (rfhe_checkpoint_section){"average", t->average.values, bytes};
    }
    if (t->n.best_epoch > 0) { s[n++] = (rfhe_checkpoint_section){"best", t->best, bytes}; }
    s[n++] = (rfhe_checkpoint_section){"epochs", t->rows, t->n.epochs_done * sizeof *t->rows};
    t->last_write = rfhe_now();
    return rfhe_checkpoint_write(t->opt->checkpoint, s, n, err);
}

static rfhe_status load(trainer *t, rfhe_error *err)
{
    const char *path = t->opt->checkpoint;
    const size_t bytes = t->count * sizeof(float);
    rfhe_status st = RFHE_OK;
    rfhe_checkpoint *c = NULL;
    size_t size = 0;

    if (path == NULL || !rfhe_file_exists(path)) { return RFHE_OK; }
    RFHE_TRY(rfhe_checkpoint_open(&c, path, err));
    const char *was = rfhe_checkpoint_find(c, "settings", &size);
    if (was == NULL) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is not the checkpoint of a training", path);
        goto done;
    }
    RFHE_TRY(same_settings(path, was, size, &t->settings, err));
    RFHE_TRY(rfhe_checkpoint_read(c, "numbers", &t->n, sizeof t->n, err));
    if (t->n.step > t->steps || t->n.epochs_done > t->opt->epochs) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is past the end of this training", path);
        goto done;
    }
    RFHE_TRY(rfhe_checkpoint_read(c, "weights", rfhe_exec_values(t->net, NULL), bytes, err));
    RFHE_TRY(rfhe_checkpoint_read(c, "first", t->optim->first, bytes, err));
    if (t->optim->second != NULL) {
        RFHE_TRY(rfhe_checkpoint_read(c, "second", t->optim->second, bytes, err));
    }
    if (t->average.values != NULL) {
        RFHE_TRY(rfhe_checkpoint_read(c, "average", t->average.values, bytes, err));
    }
    if (t->n.best_epoch > 0) { RFHE_TRY(rfhe_checkpoint_read(c, "best", t->best, bytes, err)); }
    RFHE_TRY(rfhe_checkpoint_read(c, "epochs", t->rows, t->n.epochs_done * sizeof *t->rows, err));
    t->optim->step = t->n.step;
    t->average.taken = t->n.average_taken;
    rfhe_exec_weights_changed(t->net);

done:
    rfhe_checkpoint_close(c);
    return st;
}

/* --- One step --- */

static rfhe_status one_step(trainer *t, rfhe_error *err)
{
    const rfhe_train_options *o = t->opt;
    rfhe_loss_sums sums = {.loss = t->n.sum_loss,
                           .cross_entropy = t->n.sum_cross,
                           .divergence = t->n.sum_kl,
                           .images = t->n.sum_images,
                           .top1 = t->n.sum_top1,
                           .top5 = t->n.sum_top5};
    rfhe_status st = RFHE_OK;
    const double start = rfhe_now();
    const float *teacher = NULL;
    uint32_t count = 0;
    rfhe_shape shape = {0};
    size_t floats = 0;

    float *input = rfhe_exec_input(t->net, 0, &shape);
    RFHE_TRY(t->fit->next(t->fit->user, input, t->labels, &count, err));
    if (count != t->fit->batch) {
        return rfhe_fail(err, RFHE_E_ARG, "training wants whole batches of %" PRIu32 ", got %" PRIu32,
                         t->fit->batch, count);
    }
    const double fed = rfhe_now();
    if (o->before_step != NULL) { o->before_step(o->user, t->n.step); }
    if (t->teacher != NULL && rfhe_shape_count(&shape, &floats)) {
        memcpy(rfhe_exec_input(t->teacher, 0, NULL), input, floats * sizeof *input);
        RFHE_TRY(rfhe_exec_forward(t->teacher, err));
        teacher = rfhe_exec_output(t->teacher, 0, NULL);
    }
    RFHE_TRY(rfhe_exec_forward(t->net, err));
    RFHE_TRY(rfhe_loss(&sums, rfhe_exec_output_grad(t->net, 0), rfhe_exec_output(t->net, 0, NULL),
                       teacher, t->labels, count, t->classes, &o->loss, err));
    if (!isfinite(sums.loss)) {
        return rfhe_fail(err, RFHE_E_NUMERIC,
                         "the loss is no longer finite at step %" PRIu64 " (epoch %" PRIu64
                         "): the rate %g is probably too high",
                         t->n.step + 1, t->n.step / t->steps_per_epoch + 1, o->rate);
    }
    const double ahead = rfhe_now();
    RFHE_TRY(rfhe_exec_backward(t->net, err));
    const double back = rfhe_now();
    const float *grads = rfhe_exec_grads(t->net);
    float *values = rfhe_exec_values(t->net, NULL);
    const double scale = o->clip > 0.0 ? rfhe_clip_factor(rfhe_norm(grads, t->count), o->clip) : 1.0;
    double rate = o->rate * rfhe_schedule_factor(&t->schedule, t->n.step);
    if (o->use_plateau && t->n.plateau_scale > 0.0) { rate *= t->n.plateau_scale; }
    rfhe_optim_step(t->optim, values, grads, rate, scale);
    rfhe_exec_weights_changed(t->net);
    if (o->ema > 0.0) { rfhe_average_update(&t->average, values); }
    t->n.step += 1;
    t->n.sum_loss = sums.loss;
    t->n.sum_cross = sums.cross_entropy;
    t->n.sum_kl = sums.divergence;
    t->n.sum_images = sums.images;
    t->n.sum_top1 = sums.top1;
    t->n.sum_top5 = sums.top5;
    const double end = rfhe_now();
    t->n.epoch_seconds += end - start;
    t->r.wait_seconds += fed - start;
    t->r.forward_seconds += ahead - fed;
    t->r.backward_seconds += back - ahead;
    t->r.update_seconds += end - back;
    t->r.step_seconds += end - start;

done:
    return st;
}

static rfhe_status report(const trainer *t)
{
    char note[96];
    const double n = t->n.sum_images > 0 ? (double)t->n.sum_images : 1.0;

    if (t->opt->progress == NULL) { return RFHE_OK; }
    (void)snprintf(note, sizeof note, "epoch %" PRIu64 "/%" PRIu64 "  loss %.4f  top-1 %.2f %%",
                   (t->n.step - 1) / t->steps_per_epoch + 1, t->opt->epochs, t->n.sum_loss / n,
                   100.0 * (double)t->n.sum_top1 / n);
    return rfhe_progress_report(t->opt->progress, "train", (double)(t->n.step * t->fit->batch),
                                (double)(t->steps * t->fit->batch), "images", note);
}

/* --- The end of an epoch --- */

/* Puts what would be stored now into t->spare: the average if there is one, with fresh statistics if asked for. */
static rfhe_status candidate(trainer *t, rfhe_error *err)
{
    const size_t bytes = t->count * sizeof(float);
    float *values = rfhe_exec_values(t->net, NULL);
    const bool averaged = t->average.values != NULL && t->average.taken > 0;
    rfhe_status st = RFHE_OK;

    memcpy(t->spare, averaged ? t->average.values : values, bytes);
    if (averaged && t->opt->recalibrate > 0) {
        float *weights = rfhe_alloc(t->count, sizeof *weights);
        if (weights == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a copy of the weights");
        }
        memcpy(weights, values, bytes);
        memcpy(values, t->spare, bytes);
        rfhe_exec_weights_changed(t->net);
        st = rfhe_recalibrate(t->net, t->fit, t->opt->recalibrate, t->bn_momentum, t->opt->progress,
                              err);
        memcpy(t->spare, values, bytes);
        memcpy(values, weights, bytes);
        rfhe_exec_weights_changed(t->net);
        rfhe_free(weights);
    }
    return st;
}

static double update_plateau(trainer *t, double top1)
{
    rfhe_plateau p = t->opt->plateau;

    p.scale = t->n.plateau_scale;
    p.best = t->n.plateau_best;
    p.waited = (uint32_t)t->n.plateau_waited;
    p.started = t->n.plateau_started != 0;
    (void)rfhe_plateau_update(&p, top1);
    t->n.plateau_scale = p.scale;
    t->n.plateau_best = p.best;
    t->n.plateau_waited = p.waited;
    t->n.plateau_started = p.started;
    return p.scale;
}

static rfhe_status finish_epoch(trainer *t, rfhe_error *err)
{
    const rfhe_train_options *o = t->opt;
    const uint64_t epoch = t->n.epochs_done + 1;
    const uint64_t every = o->judge_every > 0 ? o->judge_every : 1;
    const bool is_last = epoch == o->epochs, judged = is_last || epoch % every == 0;
    rfhe_status st = RFHE_OK;
    rfhe_train_epoch row = {.epoch = epoch, .select_top1 = NAN, .seconds = t->n.epoch_seconds};
    double scale = o->use_plateau && t->n.plateau_scale > 0.0 ? t->n.plateau_scale : 1.0;

    row.rate = o->rate * scale * rfhe_schedule_factor(&t->schedule, t->n.step - 1);
    row.loss = t->n.sum_loss / (double)t->n.sum_images;
    row.train_top1 = (double)t->n.sum_top1 / (double)t->n.sum_images;
    if (o->swa_from > 0.0 && (double)epoch > o->swa_from * (double)o->epochs &&
        t->n.average_epoch < epoch) { /* not yet, before an interruption */
        rfhe_average_update(&t->average, rfhe_exec_values(t->net, NULL));
        t->n.average_epoch = epoch;
    }
    if (judged) {
        RFHE_TRY(candidate(t, err));
        if (t->select != NULL) {
            rfhe_loss_sums sums = {0};
            RFHE_TRY(rfhe_exec_copy(t->judge, t->net, t->spare, err));
            RFHE_TRY(rfhe_evaluate(&sums, t->judge, t->select, o->progress, err));
            row.select_top1 = (double)sums.top1 / (double)sums.images;
            if (o->use_plateau) { (void)update_plateau(t, row.select_top1); }
        }
        const double top1 = t->select != NULL && !o->keep_last ? row.select_top1 : 1.0;
        if (top1 >= t->n.best_top1) {
            t->n.best_top1 = top1;
            t->n.best_epoch = epoch;
            memcpy(t->best, t->spare, t->count * sizeof(float));
        }
    }
    t->rows[t->n.epochs_done++] = row;
    t->n.sum_loss = t->n.sum_cross = t->n.sum_kl = t->n.epoch_seconds = 0.0;
    t->n.sum_images = t->n.sum_top1 = t->n.sum_top5 = 0;
    if (o->on_epoch != NULL) { o->on_epoch(o->user, &row); }
    if (judged) { RFHE_TRY(save(t, err)); }

done:
    return st;
}

/* --- The loop --- */

static rfhe_status loop(trainer *t, rfhe_error *err)
{
    const double every = t->opt->checkpoint_every > 0.0 ? t->opt->checkpoint_every : 60.0;
    rfhe_status st = RFHE_OK;
    bool in_place = false; /* the source stands where the next step wants it */

    for (;;) {
        const uint64_t epoch = t->n.step / t->steps_per_epoch;
        const uint64_t within = t->n.step % t->steps_per_epoch;
        if (within == 0 && epoch > t->n.epochs_done) {
            st = finish_epoch(t, err);
            if (st != RFHE_OK) { break; }
            in_place = in_place && t->opt->recalibrate == 0;
        }
        if (t->n.step == t->steps) { return RFHE_OK; }
        if (!in_place) {
            st = t->fit->seek(t->fit->user, epoch, within * t->fit->batch, err);
            if (st != RFHE_OK) { return st; }
            in_place = true;
        }
        st = one_step(t, err);
        if (st != RFHE_OK) { return st; }
        st = report(t);
        if (t->opt->stop_after > 0 && t->n.step - t->r.first_step >= t->opt->stop_after &&
            t->n.step < t->steps) {
            st = RFHE_E_INTERRUPTED;
        }
        if (st != RFHE_OK) { break; }
        if (t->opt->checkpoint != NULL && rfhe_now() - t->last_write > every) {
            st = save(t, err);
            if (st != RFHE_OK) { return st; }
        }
    }
    if (st == RFHE_E_INTERRUPTED) {
        const rfhe_status saved = save(t, err);
        if (saved != RFHE_OK) { return saved; }
        return rfhe_fail(err, RFHE_E_INTERRUPTED, "interrupted at step %" PRIu64 " of %" PRIu64 "%s",
                         t->n.step, t->steps,
                         t->opt->checkpoint != NULL ? "; run again to continue" : "");
    }
    return st;
}

static rfhe_status check(const rfhe_batch_source *fit, const rfhe_batch_source *select,
                         const rfhe_train_options *o, rfhe_error *err)
{
    if (o->epochs == 0 || !(o->rate > 0.0)) {
        return rfhe_fail(err, RFHE_E_ARG, "training needs at least one epoch and a positive rate");
    }
    if (fit->batch == 0 || fit->images == 0 || fit->images % fit->batch != 0) {
        return rfhe_fail(err, RFHE_E_ARG,
                         "%" PRIu64 " training images are not whole batches of %" PRIu32, fit->images,
                         fit->batch);
    }
    if (o->use_plateau && select == NULL) {
        return rfhe_fail(err, RFHE_E_ARG, "a plateau schedule needs a selection split to look at");
    }
    if (!(o->ema >= 0.0 && o->ema < 1.0) || !(o->swa_from >= 0.0 && o->swa_from < 1.0) ||
        (o->ema > 0.0 && o->swa_from > 0.0)) {
        return rfhe_fail(err, RFHE_E_ARG,
                         "one of EMA and SWA, each in (0, 1), or neither, not %g and %g", o->ema,
                         o->swa_from);
    }
    if (o->loss.distill > 0.0 && o->teacher == NULL) {
        return rfhe_fail(err, RFHE_E_ARG, "distillation needs a teacher");
    }
    return RFHE_OK;
}

/* PyTorch's momentum of the first BN, to return to after a recalibration. */
static float momentum_of(const rfhe_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op == RFHE_OP_BATCHNORM) { return 1.0F - g->nodes[i].attr.batchnorm.momentum; }
    }
    return 0.1F;
}

static rfhe_status prepare(trainer *t, const rfhe_graph *g, rfhe_error *err)
{
    const rfhe_train_options *o = t->opt;
    const rfhe_exec_options training = {.batch = t->fit->batch,
                                        .training = true,
                                        .frozen_bn = o->frozen_bn,
                                        .compute = o->compute,
                                        .seed = o->seed};
    rfhe_status st = RFHE_OK;
    uint32_t n_params = 0;

    t->steps_per_epoch = t->fit->images / t->fit->batch;
    if (__builtin_mul_overflow(o->epochs, t->steps_per_epoch, &t->steps)) { return RFHE_E_ARG; }
    t->schedule = o->schedule;
    t->schedule.total = t->steps;
    t->schedule.warmup = (uint64_t)llround(o->warmup_epochs * (double)t->steps_per_epoch);
    for (uint32_t i = 0; i < t->schedule.n_milestones; i++) {
        t->schedule.milestone[i] *= t->steps_per_epoch;
    }
    t->bn_momentum = momentum_of(g);
    RFHE_TRY(rfhe_exec_new(&t->net, g, &training, err));
    RFHE_TRY(rfhe_exec_classes(t->net, t->fit->batch, &t->classes, err));
    (void)rfhe_exec_values(t->net, &t->count);
    const rfhe_param *params = rfhe_exec_params(t->net, &n_params);
    RFHE_TRY(rfhe_optim_new(&t->optim, &o->optim, params, n_params, t->count, err));
    if (t->select != NULL) {
        const rfhe_exec_options judging = {.batch = t->select->batch};
        RFHE_TRY(rfhe_exec_new(&t->judge, g, &judging, err));
    }
    if (o->loss.distill > 0.0) {
        const rfhe_exec_options teaching = {.batch = t->fit->batch, .compute = o->compute};
        size_t classes = 0;
        RFHE_TRY(rfhe_exec_new(&t->teacher, o->teacher, &teaching, err));
        RFHE_TRY(rfhe_exec_classes(t->teacher, t->fit->batch, &classes, err));
        if (classes != t->classes) {
            st = rfhe_fail(err, RFHE_E_ARG, "the teacher knows %zu classes, the student %zu", classes,
                           t->classes);
            goto done;
        }
    }
    if (o->ema > 0.0 || o->swa_from > 0.0) {
        RFHE_TRY(rfhe_average_init(&t->average, t->count, o->ema, err));
    }
    t->best = rfhe_calloc(t->count, sizeof *t->best);
    t->spare = rfhe_calloc(t->count, sizeof *t->spare);
    t->labels = rfhe_alloc(t->fit->batch, sizeof *t->labels);
    t->rows = rfhe_calloc(o->epochs, sizeof *t->rows);
    write_settings(t, g);
    if (t->best == NULL || t->spare == NULL || t->labels == NULL || t->rows == NULL ||
        rfhe_text_status(&t->settings) != RFHE_OK) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the state of a training of %zu values",
                       t->count);
    }

done:
    return st;
}

rfhe_status rfhe_train(rfhe_train_result *out, rfhe_graph *g, const rfhe_batch_source *fit,
                       const rfhe_batch_source *select, const rfhe_train_options *opt,
                       rfhe_error *err)
{
    const double start = rfhe_now();
    trainer t = {.opt = opt, .fit = fit, .select = select, .n = {.best_top1 = -1.0}};
    rfhe_status st = check(fit, select, opt, err);

    if (st != RFHE_OK) { return st; }
    RFHE_TRY(prepare(&t, g, err));
    RFHE_TRY(load(&t, err));
    t.r.first_step = t.n.step;
    t.last_write = rfhe_now();
    RFHE_TRY(loop(&t, err));
    memcpy(rfhe_exec_values(t.net, NULL), t.best, t.count * sizeof *t.best);
    RFHE_TRY(rfhe_exec_store(t.net, g, err));
    t.r.epochs = opt->epochs;
    t.r.steps = t.steps;
    t.r.images = t.steps * fit->batch;
    t.r.seconds = rfhe_now() - start;
    if (t.r.step_seconds > 0.0) {
        t.r.images_per_second =
            (double)((t.n.step - t.r.first_step) * fit->batch) / t.r.step_seconds;
    }
    t.r.stored_epoch = t.n.best_epoch;
    t.r.select_top1 = t.rows[t.n.best_epoch - 1].select_top1;
    t.r.rows = t.rows;
    t.rows = NULL;
    *out = t.r;

done:
    rfhe_exec_free(t.net);
    rfhe_exec_free(t.judge);
    rfhe_exec_free(t.teacher);
    rfhe_optim_free(t.optim);
    rfhe_average_clear(&t.average);
    rfhe_text_clear(&t.settings);
    rfhe_free(t.rows);
    rfhe_free(t.best);
    rfhe_free(t.spare);
    rfhe_free(t.labels);
    return st;
}

void rfhe_train_result_clear(rfhe_train_result *r)
{
    rfhe_free(r->rows);
    *r = (rfhe_train_result){0};
}
