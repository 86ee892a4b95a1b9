/* Trials of a search: what one is, how it is judged, trained and kept in the store. */
#include "search/internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "rfhe/onnx.h"
#include "search/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rfhe_search_say(const rfhe_search *s, const char *fmt, ...)
{
    char text[400];
    va_list args;

    if (s->opt.tell == NULL) { return; }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->opt.tell(s->opt.user, text);
}

/* What the work inside of a trial reports becomes a part of one bar over all trials. */
int rfhe_search_report(void *user, const char *what, double done, double total, const char *unit,
                        const char *note)
{
    const rfhe_search *s = user;
    char text[160];
    const double part = total > 0 ? fmin(done / total, 0.99) : 0;

    (void)unit, (void)note;
    if (s->opt.progress == NULL || s->opt.progress->report == NULL) { return 1; }
    if (s->best_seconds > 0) {
        (void)snprintf(text, sizeof text, "trial %zu of %zu: %s, %s; best %.2f %% (%.1f s)", s->done + 1,
                       s->expected, s->doing, what, 100 * s->best_top1, s->best_seconds);
    } else {
        (void)snprintf(text, sizeof text, "trial %zu of %zu: %s, %s", s->done + 1, s->expected,
                       s->doing, what);
    }
    return s->opt.progress->report(s->opt.progress->user, "search", (double)s->done + part,
                                   (double)s->expected, "trials", text);
}

double rfhe_search_harm(const rfhe_search *s, const double *harm, const uint8_t *choice)
{
    double sum = 0;

    for (size_t l = 0; l < s->bank.layers; l++) {
        sum += harm[l * s->bank.forms + choice[l]];
    }
    return sum;
}

/* Puts assignment and prices into a trial. */
rfhe_status rfhe_search_describe(const rfhe_search *s, rfhe_trial *t, const uint8_t *choice)
{
    const rfhe_bank *b = &s->bank;
    double seconds = NAN;
    const size_t set = rfhe_prices_best(&s->prices, b, choice, &seconds);

    t->assignment = rfhe_bank_text(b, choice);
    if (t->assignment == NULL) { return RFHE_E_NOMEM; }
    t->depth = 0;
    for (size_t l = 0; l < b->layers; l++) {
        const uint32_t depth = b->entry[l * b->forms + choice[l]].depth;
        t->depth = depth > t->depth ? depth : t->depth;
    }
    t->harm = rfhe_search_harm(s, s->harm, choice);
    t->predicted_seconds = set < s->prices.n ? seconds : NAN;
    if (set < s->prices.n) {
        t->log2_n = s->prices.set[set].log2_n;
        t->memory_bytes = s->prices.set[set].memory_bytes;
        (void)snprintf(t->params, sizeof t->params, "%s", s->prices.set[set].name);
    }
    return RFHE_OK;
}

/* ---- trials ---- */

rfhe_status rfhe_search_reload(rfhe_search *s, rfhe_error *err)
{
    rfhe_trial *list = NULL;
    size_t n = 0, n_front = 0;
    const rfhe_status st = rfhe_store_trials(s->store, s->study, &list, &n, err);

    if (st != RFHE_OK) { return st; }
    double *seconds = rfhe_alloc(2 * n + 1, sizeof *seconds), *top1 = seconds + n;
    bool *on = rfhe_alloc(n + 1, sizeof *on);
    size_t *front = rfhe_alloc(n + 1, sizeof *front);
    if (seconds == NULL || on == NULL || front == NULL) {
        rfhe_free(seconds);
        rfhe_free(on);
        rfhe_free(front);
        rfhe_trials_free(list, n);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu trials", n);
    }
    for (size_t i = 0; i < n; i++) {
        const bool counts = strcmp(list[i].status, "done") == 0 &&
                            (strcmp(list[i].recipe, "ct") == 0 ||
                             strcmp(list[i].recipe, "oneshot") == 0);
        seconds[i] = counts ? list[i].predicted_seconds : NAN;
        top1[i] = counts ? list[i].top1 : NAN;
    }
    rfhe_frontier_mark(on, seconds, top1, n);
    for (size_t i = 0; i < n; i++) {
        size_t at = n_front;
        if (!on[i]) { continue; }
        for (; at > 0 && seconds[front[at - 1]] > seconds[i]; at--) { front[at] = front[at - 1]; }
        front[at] = i;
        n_front++;
    }
    rfhe_trials_free(s->trial, s->n_trials);
    rfhe_free(s->front);
    s->trial = list;
    s->n_trials = n;
    s->front = front;
    s->n_front = n_front;
    if (n_front > 0) {
        s->best_top1 = list[front[n_front - 1]].top1;
        s->best_seconds = list[front[n_front - 1]].predicted_seconds;
    }
    rfhe_free(seconds);
    rfhe_free(on);
    return RFHE_OK;
}

static rfhe_status judge(const rfhe_search *s, rfhe_trial *t, const rfhe_graph *g, rfhe_error *err)
{
    const rfhe_exec_options o = {.batch = s->world.select->batch};
    rfhe_loss_sums sums = {0};
    rfhe_exec *e = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_exec_new(&e, g, &o, err));
    RFHE_TRY(s->world.select->seek(s->world.select->user, 0, 0, err));
    RFHE_TRY(rfhe_evaluate(&sums, e, s->world.select, &s->progress, err));
    t->correct = sums.top1;
    t->images = sums.images;
    t->top1 = sums.images > 0 ? (double)sums.top1 / (double)sums.images : NAN;
    t->cross_entropy = sums.images > 0 ? sums.cross_entropy / (double)sums.images : NAN;

done:
    rfhe_exec_free(e);
    return st;
}

rfhe_status rfhe_search_trial_path(const rfhe_search *s, int64_t id, const char *ending, char out[4096],
                              rfhe_error *err)
{
    const int n = snprintf(out, 4096, "%s/trial-%" PRId64 ".%s", rfhe_store_folder(s->store), id,
                           ending);

    return n > 0 && n < 4096 ? RFHE_OK
                             : rfhe_fail(err, RFHE_E_ARG, "the name of the folder is too long");
}

/* A trial without training; *t is cleared by the caller. `g`: the network to judge, or NULL: the bank's for `choice`. */
static rfhe_status try_plain(rfhe_search *s, rfhe_trial *t, const uint8_t *choice,
                             const rfhe_graph *g, rfhe_error *err)
{
    const double start = rfhe_now();
    rfhe_graph *own = NULL;
    bool done = false;
    rfhe_status st = RFHE_OK;

    (void)snprintf(s->doing, sizeof s->doing, "%s", t->kind);
    RFHE_TRY(rfhe_store_begin(s->store, s->study, t, s->opt.settings, &done, err));
    if (done) {
        if (choice != NULL) { /* it may cost something else by now */
            rfhe_free(t->assignment);
            RFHE_TRY(rfhe_search_describe(s, t, choice));
            RFHE_TRY(rfhe_store_price(s->store, t, err));
        }
        goto done;
    }
    if (g == NULL) {
        RFHE_TRY(rfhe_bank_graph(&own, &s->bank, s->world.base, s->world.profile, choice, err));
    }
    RFHE_TRY(judge(s, t, g != NULL ? g : own, err));
    t->seconds = rfhe_now() - start;
    t->image_passes = 0;
    (void)snprintf(t->status, sizeof t->status, "done");
    RFHE_TRY(rfhe_store_end(s->store, t, err));

done:
    rfhe_graph_free(own);
    s->done++;
    return st;
}

rfhe_status rfhe_search_try(rfhe_search *s, const char *kind, const uint8_t *choice,
                              rfhe_error *err)
{
    rfhe_trial t = {.seed = s->opt.seed};
    rfhe_status st = RFHE_OK;

    (void)snprintf(t.kind, sizeof t.kind, "%s", kind);
    (void)snprintf(t.recipe, sizeof t.recipe, "ct");
    RFHE_TRY(rfhe_search_describe(s, &t, choice));
    RFHE_TRY(try_plain(s, &t, choice, NULL, err));

done:
    rfhe_free(t.assignment);
    return st;
}

/* The network as it came, and with other pools: what drops are measured from. */
rfhe_status rfhe_search_try_relu(rfhe_search *s, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    for (int pools = 0; pools < (s->world.pools_replaced ? 2 : 1) && st == RFHE_OK; pools++) {
        rfhe_trial t = {.kind = "relu", .seed = s->opt.seed, .harm = NAN, .predicted_seconds = NAN,
                        .memory_bytes = NAN, .assignment = rfhe_strdup("relu")};
        (void)snprintf(t.recipe, sizeof t.recipe, "%s", pools ? "pools" : "relu");
        st = t.assignment == NULL
                 ? RFHE_E_NOMEM
                 : try_plain(s, &t, NULL, pools ? s->untrained : s->world.teacher, err);
        if (!pools) {
            s->relu_top1 = t.top1;
            s->relu_entropy = t.cross_entropy;
        }
        if (s->own_base == NULL) { s->base_top1 = t.top1; }
        rfhe_free(t.assignment);
    }
    return st;
}

/* ---- training ---- */

static rfhe_training training(const rfhe_search *s)
{
    return (rfhe_training){.teacher = s->world.teacher,
                           .fit = s->world.fit,
                           .select = s->world.select,
                           .calibrate = s->world.calibrate,
                           .oneshot = &s->opt.oneshot,
                           .headroom = s->opt.headroom,
                           .progress = &s->progress};
}

rfhe_status rfhe_search_read_network(rfhe_graph **out, const char *path, rfhe_error *err)
{
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_onnx_read(&g, path, NULL, err));
    RFHE_TRY(rfhe_graph_infer(g, 0, err));
    RFHE_TRY(rfhe_paf_fuse(g, NULL, err));
    *out = g;
    g = NULL;

done:
    rfhe_graph_free(g);
    return st;
}

/* Where training begins: at the fitted forms, or at the network of the trial before. */
static rfhe_status starting_network(rfhe_graph **out, const rfhe_search *s, const rfhe_trial *t,
                                    const uint8_t *choice, rfhe_error *err)
{
    char path[4096];
    rfhe_status st = RFHE_OK;

    if (t->parent == 0) {
        return rfhe_bank_graph(out, &s->bank, s->world.base, s->world.profile, choice, err);
    }
    RFHE_TRY(rfhe_search_trial_path(s, t->parent, "onnx", path, err));
    RFHE_TRY(rfhe_search_read_network(out, path, err));

done:
    return st;
}

/* Trains *g (given away), judges, writes the network, and only then calls the trial done. A run that diverges is a failed
 * trial. */
rfhe_status rfhe_search_train(rfhe_search *s, rfhe_trial *t, rfhe_graph *g, rfhe_error *err)
{
    const double start = rfhe_now();
    const rfhe_training w = training(s);
    char checkpoint[4096], network[4096], identity[600];
    rfhe_error diverged = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_search_trial_path(s, t->id, "checkpoint", checkpoint, err));
    RFHE_TRY(rfhe_search_trial_path(s, t->id, "onnx", network, err));
    (void)snprintf(identity, sizeof identity,
                   "trial=%" PRId64 "\nrung=%u\nparent=%" PRId64 "\nplanned=%" PRIu64
                   "\nseed=%" PRIu64 "\n", t->id, t->rung, t->parent, t->planned, t->seed);
    const rfhe_training_part part = {.passes = t->planned, .rung = t->rung, .seed = t->seed,
                                     .checkpoint = checkpoint, .identity = identity};
    st = rfhe_training_run(g, &t->image_passes, NULL, &w, &part, &diverged);
    if (st == RFHE_E_NUMERIC) {
        st = RFHE_OK;
        (void)snprintf(t->status, sizeof t->status, "failed");
        t->top1 = t->cross_entropy = NAN;
    } else if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "%s", diverged.text);
        goto done;
    } else {
        RFHE_TRY(judge(s, t, g, err));
        RFHE_TRY(rfhe_onnx_write(g, network, err));
        (void)snprintf(t->status, sizeof t->status, "done");
    }
    t->seconds = rfhe_now() - start;
    RFHE_TRY(rfhe_store_end(s->store, t, err));
    (void)remove(checkpoint);

done:
    rfhe_graph_free(g);
    return st;
}

rfhe_status rfhe_search_try_training(rfhe_search *s, rfhe_trial *t, const uint8_t *choice,
                                rfhe_error *err)
{
    rfhe_graph *g = NULL;
    bool done = false;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_store_begin(s->store, s->study, t, s->opt.settings, &done, err));
    if (done) { goto done; }
    (void)snprintf(s->doing, sizeof s->doing, "rung %u", t->rung);
    RFHE_TRY(starting_network(&g, s, t, choice, err));
    RFHE_TRY(rfhe_search_train(s, t, g, err));
    rfhe_search_say(s, "rung %u, trial %" PRId64 ": %.2f %% after %" PRIu64 " images, %.2f s encrypted (%s)",
        t->rung, t->id, 100 * t->top1, t->image_passes, t->predicted_seconds, t->status);

done:
    s->done++;
    return st;
}

/* Images a second of training `g` (given away), measured once and then remembered under `key`: plans of a budget in seconds
 * follow from it. */
rfhe_status rfhe_search_speed(rfhe_search *s, const char *key, rfhe_graph *g, double *speed,
                                 rfhe_error *err)
{
    const rfhe_batch_source *fit = s->world.fit;
    const uint64_t all = fit->images / fit->batch, batches = all < 24 ? all : 24;
    const rfhe_training_part part = {.passes = batches * fit->batch, .rung = 1, .seed = s->opt.seed};
    rfhe_training w = training(s);
    char *known = NULL, text[64];
    uint64_t images = 0;
    rfhe_status st = RFHE_OK;

    w.headroom = 0;
    RFHE_TRY(rfhe_store_get_note(s->store, s->study, key, &known, err));
    *speed = known != NULL ? strtod(known, NULL) : 0;
    if (*speed > 0) { goto done; }
    (void)snprintf(s->doing, sizeof s->doing, "speed");
    RFHE_TRY(rfhe_training_run(g, &images, speed, &w, &part, err));
    (void)snprintf(text, sizeof text, "%.17g", *speed);
    RFHE_TRY(rfhe_store_put_note(s->store, s->study, key, text, err));

done:
    rfhe_graph_free(g);
    rfhe_free(known);
    return st;
}
