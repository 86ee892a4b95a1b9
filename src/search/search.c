/* The strategy; see search.h. */
#include "search/search.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "rfhe/onnx.h"
#include "search/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
typedef struct candidate {
    uint8_t *choice;
    double seconds, harm;
    size_t set;
} candidate;

typedef struct candidates {
    candidate *at;
    size_t n;
    bool exact;
} candidates;

static void say(const rfhe_search *s, const char *fmt, ...) RFHE_PRINTF(2, 3);

static void say(const rfhe_search *s, const char *fmt, ...)
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
static int inner_report(void *user, const char *what, double done, double total, const char *unit,
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

/* ---- assignments as text ---- */

static char *assignment_text(const rfhe_bank *b, const uint8_t *choice)
{
    char *text = rfhe_alloc(b->layers, sizeof b->form[0] + 1);
    size_t at = 0;

    if (text == NULL) { return NULL; }
    for (size_t l = 0; l < b->layers; l++) {
        const char *name = b->form[choice[l]];
        const size_t n = strlen(name);
        if (l > 0) { text[at++] = ','; }
        memcpy(text + at, name, n);
        at += n;
    }
    text[at] = '\0';
    return text;
}

static bool assignment_read(uint8_t *choice, const rfhe_bank *b, const char *text)
{
    for (size_t l = 0; l < b->layers; l++) {
        const size_t n = strcspn(text, ",");
        size_t f = 0;
        while (f < b->forms && (strlen(b->form[f]) != n || strncmp(b->form[f], text, n) != 0)) {
            f++;
        }
        if (f == b->forms || !rfhe_bank_has(b, l, f) || (text[n] == '\0') != (l + 1 == b->layers)) { return false; }
        choice[l] = (uint8_t)f;
        text += n + 1;
    }
    return true;
}

static bool exists(const rfhe_bank *b, const uint8_t *choice)
{
    for (size_t l = 0; l < b->layers; l++) {
        if (!rfhe_bank_has(b, l, choice[l])) { return false; }
    }
    return true;
}

static bool is_uniform(const rfhe_bank *b, const uint8_t *choice)
{
    for (size_t l = 1; l < b->layers; l++) {
        if (choice[l] != choice[0]) { return false; }
    }
    return true;
}

static double sum_harm(const rfhe_search *s, const double *harm, const uint8_t *choice)
{
    double sum = 0;

    for (size_t l = 0; l < s->bank.layers; l++) {
        sum += harm[l * s->bank.forms + choice[l]];
    }
    return sum;
}

/* Puts assignment and prices into a trial. */
static rfhe_status describe(const rfhe_search *s, rfhe_trial *t, const uint8_t *choice)
{
    const rfhe_bank *b = &s->bank;
    double seconds = NAN;
    const size_t set = rfhe_prices_best(&s->prices, b, choice, &seconds);

    t->assignment = assignment_text(b, choice);
    if (t->assignment == NULL) { return RFHE_E_NOMEM; }
    t->depth = 0;
    for (size_t l = 0; l < b->layers; l++) {
        const uint32_t depth = b->entry[l * b->forms + choice[l]].depth;
        t->depth = depth > t->depth ? depth : t->depth;
    }
    t->harm = sum_harm(s, s->harm, choice);
    t->predicted_seconds = set < s->prices.n ? seconds : NAN;
    if (set < s->prices.n) {
        t->log2_n = s->prices.set[set].log2_n;
        t->memory_bytes = s->prices.set[set].memory_bytes;
        (void)snprintf(t->params, sizeof t->params, "%s", s->prices.set[set].name);
    }
    return RFHE_OK;
}

/* ---- trials ---- */

static rfhe_status reload(rfhe_search *s, rfhe_error *err)
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

static rfhe_status trial_path(const rfhe_search *s, int64_t id, const char *ending, char out[4096],
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
            RFHE_TRY(describe(s, t, choice));
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

static rfhe_status try_choice(rfhe_search *s, const char *kind, const uint8_t *choice,
                              rfhe_error *err)
{
    rfhe_trial t = {.seed = s->opt.seed};
    rfhe_status st = RFHE_OK;

    (void)snprintf(t.kind, sizeof t.kind, "%s", kind);
    (void)snprintf(t.recipe, sizeof t.recipe, "ct");
    RFHE_TRY(describe(s, &t, choice));
    RFHE_TRY(try_plain(s, &t, choice, NULL, err));

done:
    rfhe_free(t.assignment);
    return st;
}

/* The network as it came, and with other pools: what drops are measured from. */
static rfhe_status try_relu(rfhe_search *s, rfhe_error *err)
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

/* ---- predictions ---- */

static void candidates_clear(candidates *c)
{
    for (size_t i = 0; i < c->n; i++) { rfhe_free(c->at[i].choice); }
    rfhe_free(c->at);
    *c = (candidates){0};
}

/* The frontier of one set joins the others'. */
static rfhe_status add_set(candidates *all, const rfhe_search *s, size_t set)
{
    const size_t layers = s->bank.layers;
    const rfhe_price_set *p = &s->prices.set[set];
    rfhe_frontier f = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_frontier_find(&f, p->seconds, s->harm, layers, s->bank.forms, 0, NULL));
    all->exact = all->exact && f.exact;
    candidate *more = rfhe_realloc(all->at, all->n + f.n + 1, sizeof *more);
    if (more == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    all->at = more;
    for (size_t i = 0; i < f.n; i++) {
        uint8_t *choice = rfhe_alloc(layers, 1);
        if (choice == NULL) {
            st = RFHE_E_NOMEM;
            goto done;
        }
        memcpy(choice, f.form + i * layers, layers);
        all->at[all->n++] = (candidate){.choice = choice,
                                        .seconds = p->fixed_seconds + f.seconds[i],
                                        .harm = f.error[i],
                                        .set = set};
    }

done:
    rfhe_frontier_clear(&f);
    return st;
}

static int faster(const void *va, const void *vb)
{
    const candidate *a = va, *b = vb;

    if (a->seconds != b->seconds) { return a->seconds < b->seconds ? -1 : 1; }
    if (a->harm != b->harm) { return a->harm < b->harm ? -1 : 1; }
    return (a->set > b->set) - (a->set < b->set);
}

/* All sets together, without what another set does better. */
static rfhe_status predict(candidates *out, const rfhe_search *s, rfhe_error *err)
{
    candidates all = {.exact = true};
    size_t kept = 0;
    rfhe_status st = RFHE_OK;

    for (size_t k = 0; k < s->prices.n && st == RFHE_OK; k++) { st = add_set(&all, s, k); }
    if (st != RFHE_OK) {
        candidates_clear(&all);
        return rfhe_fail(err, st, "the frontier of predictions: %s", rfhe_status_name(st));
    }
    if (all.n > 0) { qsort(all.at, all.n, sizeof *all.at, faster); }
    for (size_t i = 0; i < all.n; i++) {
        if (kept == 0 || all.at[i].harm < all.at[kept - 1].harm) {
            const candidate c = all.at[i];
            all.at[i] = all.at[kept];
            all.at[kept++] = c;
        }
    }
    for (size_t i = kept; i < all.n; i++) { rfhe_free(all.at[i].choice); }
    all.n = kept;
    *out = all;
    return RFHE_OK;
}

/* Indices of `want` candidates, spread evenly over the harms as the eye sees them: in the logarithm, beside the time. The
 * first and the last are always among them. */
static size_t spread(size_t *out, const candidates *c, size_t want)
{
    size_t n = 0;

    if (c->n <= want || want < 2) {
        for (size_t i = 0; i < c->n && (i < want || c->n <= want); i++) { out[n++] = i; }
        return n;
    }
    double *way = rfhe_calloc(c->n, sizeof *way);
    if (way == NULL) { return 0; }
    const candidate *a = &c->at[0], *z = &c->at[c->n - 1];
    const double height = log(a->harm / z->harm), width = log(z->seconds / a->seconds);
    for (size_t i = 1; i < c->n; i++) {
        const double dy = log(c->at[i - 1].harm / c->at[i].harm) / fmax(height, 1e-12),
                     dx = log(c->at[i].seconds / c->at[i - 1].seconds) / fmax(width, 1e-12);
        way[i] = way[i - 1] + hypot(dx, dy);
    }
    for (size_t i = 0; i < c->n; i++) {
        if (i + 1 == c->n || way[i] >= way[c->n - 1] * (double)n / (double)(want - 1)) {
            if (n < want) { out[n++] = i; }
        }
    }
    if (n > 0 && out[n - 1] != c->n - 1) { out[n - 1] = c->n - 1; }
    rfhe_free(way);
    return n;
}

static rfhe_status try_spread(rfhe_search *s, const char *kind, size_t want, rfhe_error *err)
{
    candidates c = {0};
    size_t *at = rfhe_alloc(want + 1, sizeof *at);
    rfhe_status st = RFHE_OK;

    if (at == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for candidates"); }
    RFHE_TRY(predict(&c, s, err));
    const size_t n = spread(at, &c, want);
    for (size_t i = 0; i < n; i++) { RFHE_TRY(try_choice(s, kind, c.at[at[i]].choice, err)); }

done:
    candidates_clear(&c);
    rfhe_free(at);
    return st;
}

/* How well summed harms rank what trials without training lost. */
static rfhe_status correlate(const rfhe_search *s, const double *harm, double *accuracy,
                             double *entropy, size_t *used, rfhe_error *err)
{
    double *x = rfhe_alloc(3 * s->n_trials + 1, sizeof *x), *y = x + s->n_trials,
           *z = x + 2 * s->n_trials;
    uint8_t *choice = rfhe_alloc(s->bank.layers, 1);
    size_t n = 0;
    rfhe_status st = RFHE_OK;

    if (x == NULL || choice == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a correlation");
        goto done;
    }
    for (size_t i = 0; i < s->n_trials; i++) {
        const rfhe_trial *t = &s->trial[i];
        if (strcmp(t->recipe, "ct") != 0 || strcmp(t->status, "done") != 0 ||
            !assignment_read(choice, &s->bank, t->assignment)) {
            continue;
        }
        x[n] = sum_harm(s, harm, choice);
        y[n] = s->relu_top1 - t->top1;
        /* An exploded network has no cross entropy; it is worse than all others. */
        z[n] = isfinite(t->cross_entropy) ? t->cross_entropy : 1e300;
        n++;
    }
    *used = n;
    RFHE_TRY(rfhe_rank_correlation(accuracy, x, y, n));
    RFHE_TRY(rfhe_rank_correlation(entropy, x, z, n));

done:
    rfhe_free(x);
    rfhe_free(choice);
    return st;
}

static bool all_known(const rfhe_search *s, const double *harm)
{
    for (size_t i = 0; i < s->bank.layers * s->bank.forms; i++) {
        if (isnan(harm[i])) { return false; }
    }
    return true;
}

static rfhe_status store_choices(const rfhe_search *s, rfhe_error *err)
{
    const rfhe_bank *b = &s->bank;
    rfhe_store_choice *c = rfhe_calloc(b->layers * b->forms, sizeof *c);

    if (c == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for choices"); }
    size_t n = 0;
    for (size_t i = 0; i < b->layers * b->forms; i++) {
        if (!rfhe_bank_has(b, i / b->forms, i % b->forms)) { continue; }
        c[n] = (rfhe_store_choice){.layer = (uint32_t)(i / b->forms),
                                   .depth = b->entry[i].depth,
                                   .products = b->entry[i].products,
                                   .fit = b->entry[i].fit,
                                   .harm_gradient = s->harm_gradient[i],
                                   .harm_measured = s->harm_measured[i]};
        (void)snprintf(c[n].form, sizeof c[n].form, "%s", b->form[i % b->forms]);
        n++;
    }
    const rfhe_status st = rfhe_store_put_choices(s->store, s->study, c, n, err);
    rfhe_free(c);
    return st;
}

static rfhe_status sense(rfhe_search *s, bool by_trying, rfhe_error *err)
{
    double *harm = by_trying ? s->harm_measured : s->harm_gradient;
    const uint64_t images = s->opt.sense_images;
    rfhe_status st = RFHE_OK;

    (void)snprintf(s->doing, sizeof s->doing, "%s", by_trying ? "harm by trying" : "harm by gradient");
    if (!all_known(s, harm)) {
        RFHE_TRY(s->world.calibrate->seek(s->world.calibrate->user, 0, 0, err));
        st = by_trying
                 ? rfhe_bank_harm_measured(harm, &s->bank, s->world.base, s->world.profile,
                                           s->world.calibrate, images / 2, &s->progress, err)
                 : rfhe_bank_harm_gradient(harm, &s->bank, s->world.base, s->world.profile,
                                           s->world.calibrate, images, &s->progress, err);
        if (st != RFHE_OK) { goto done; }
        RFHE_TRY(store_choices(s, err));
    }
    s->harm = harm;

done:
    return st;
}

static rfhe_status try_uniform(rfhe_search *s, rfhe_error *err)
{
    uint8_t *choice = rfhe_alloc(s->bank.layers, 1);
    rfhe_status st = RFHE_OK;

    if (choice == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an assignment"); }
    for (size_t f = 0; f < s->bank.forms && st == RFHE_OK; f++) {
        memset(choice, (int)f, s->bank.layers);
        if (exists(&s->bank, choice)) { st = try_choice(s, "uniform", choice, err); }
    }
    rfhe_free(choice);
    return st;
}

/* Which harms are trusted is decided once for a list of forms, from the trials there are at that point; later trials must not
 * turn the search around when it is run again. */
static rfhe_status decision(const rfhe_search *s, const char *verdict, char **known, rfhe_error *err)
{
    rfhe_text key = {0};
    rfhe_status st = RFHE_OK;

    rfhe_text_printf(&key, "predictor at %.3g for", s->opt.trust);
    for (size_t f = 0; f < s->bank.forms; f++) { rfhe_text_printf(&key, " %s", s->bank.form[f]); }
    RFHE_TRY(rfhe_text_status(&key));
    if (verdict != NULL) {
        RFHE_TRY(rfhe_store_put_note(s->store, s->study, key.data, verdict, err));
    } else {
        RFHE_TRY(rfhe_store_get_note(s->store, s->study, key.data, known, err));
    }

done:
    rfhe_text_clear(&key);
    return st;
}

static rfhe_status check_gradient(rfhe_search *s, bool *bad, rfhe_error *err)
{
    rfhe_search_trust *trust = &s->trust;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(try_uniform(s, err));
    RFHE_TRY(try_spread(s, "probe", s->opt.probes, err));
    RFHE_TRY(reload(s, err));
    RFHE_TRY(correlate(s, s->harm_gradient, &trust->gradient, &trust->gradient_entropy,
                       &trust->trials, err));
    *bad = !(trust->gradient >= s->opt.trust);
    say(s, "harm by gradient ranks %zu trials with Spearman %.2f (by cross entropy %.2f)%s",
        trust->trials, trust->gradient, trust->gradient_entropy,
        *bad ? ": too low, every choice is tried by itself" : "");

done:
    return st;
}

static rfhe_status check_measured(rfhe_search *s, rfhe_error *err)
{
    rfhe_search_trust *trust = &s->trust;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(try_spread(s, "probe", 2 * (size_t)s->opt.probes, err));
    RFHE_TRY(reload(s, err));
    RFHE_TRY(correlate(s, s->harm_gradient, &trust->gradient, &trust->gradient_entropy,
                       &trust->trials, err));
    RFHE_TRY(correlate(s, s->harm_measured, &trust->measured, &trust->measured_entropy,
                       &trust->trials, err));
    trust->uses_measured = !(trust->gradient > trust->measured);
    say(s, "measured harm ranks %zu trials with Spearman %.2f, gradients with %.2f: %s used",
        trust->trials, trust->measured, trust->gradient,
        trust->uses_measured ? "measured harm is" : "gradients are");

done:
    return st;
}

/* Gradients first; where they rank real trials badly, every choice is tried by itself. */
static rfhe_status predict_and_check(rfhe_search *s, rfhe_error *err)
{
    char *verdict = NULL;
    bool bad = false;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(decision(s, NULL, &verdict, err));
    RFHE_TRY(sense(s, false, err));
    if (verdict == NULL) {
        RFHE_TRY(check_gradient(s, &bad, err));
        RFHE_TRY(decision(s, bad ? "gradient in doubt" : "gradient", NULL, err));
    } else {
        RFHE_TRY(try_uniform(s, err));
        bad = strcmp(verdict, "gradient") != 0;
    }
    if (!bad) { goto done; }
    RFHE_TRY(sense(s, true, err));
    if (verdict == NULL || strcmp(verdict, "gradient in doubt") == 0) {
        RFHE_TRY(check_measured(s, err));
        RFHE_TRY(decision(s, s->trust.uses_measured ? "measured" : "gradient after all", NULL, err));
    } else {
        s->trust.uses_measured = strcmp(verdict, "measured") == 0;
    }
    s->harm = s->trust.uses_measured ? s->harm_measured : s->harm_gradient;

done:
    rfhe_free(verdict);
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

static rfhe_status read_network(rfhe_graph **out, const char *path, rfhe_error *err)
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
    RFHE_TRY(trial_path(s, t->parent, "onnx", path, err));
    RFHE_TRY(read_network(out, path, err));

done:
    return st;
}

/* Trains *g (given away), judges, writes the network, and only then calls the trial done. A run that diverges is a failed
 * trial. */
static rfhe_status train_trial(rfhe_search *s, rfhe_trial *t, rfhe_graph *g, rfhe_error *err)
{
    const double start = rfhe_now();
    const rfhe_training w = training(s);
    char checkpoint[4096], network[4096], identity[600];
    rfhe_error diverged = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(trial_path(s, t->id, "checkpoint", checkpoint, err));
    RFHE_TRY(trial_path(s, t->id, "onnx", network, err));
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

static rfhe_status try_training(rfhe_search *s, rfhe_trial *t, const uint8_t *choice,
                                rfhe_error *err)
{
    rfhe_graph *g = NULL;
    bool done = false;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_store_begin(s->store, s->study, t, s->opt.settings, &done, err));
    if (done) { goto done; }
    (void)snprintf(s->doing, sizeof s->doing, "rung %u", t->rung);
    RFHE_TRY(starting_network(&g, s, t, choice, err));
    RFHE_TRY(train_trial(s, t, g, err));
    say(s, "rung %u, trial %" PRId64 ": %.2f %% after %" PRIu64 " images, %.2f s encrypted (%s)",
        t->rung, t->id, 100 * t->top1, t->image_passes, t->predicted_seconds, t->status);

done:
    s->done++;
    return st;
}

/* Images a second of training `g` (given away), measured once and then remembered under `key`: plans of a budget in seconds
 * follow from it. */
static rfhe_status measure_speed(rfhe_search *s, const char *key, rfhe_graph *g, double *speed,
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

/* ---- the network with other maxima ---- */

/* Of the first budget of a folder; seconds that are no training are left aside. */
static const double pools_share = 0.25, training_share = 0.9;

/* How many images the network with other maxima is trained on: decided once, whatever later budgets are. */
static rfhe_status plan_pools(rfhe_search *s, uint64_t *passes, rfhe_error *err)
{
    const rfhe_search_options *o = &s->opt;
    const uint64_t batch = s->world.fit->batch, most = o->oneshot.train.epochs * s->world.fit->images;
    char *known = NULL, text[32];
    rfhe_graph *g = NULL;
    double speed = 0;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_store_get_note(s->store, s->study, "pools_passes", &known, err));
    if (known != NULL) {
        *passes = strtoull(known, NULL, 10);
        goto done;
    }
    double wish = pools_share * (double)o->budget_passes;
    if (o->budget_seconds > 0) {
        RFHE_TRY(rfhe_graph_clone(&g, s->world.base));
        RFHE_TRY(measure_speed(s, "pools_images_per_second", g, &speed, err));
        wish = pools_share * training_share * o->budget_seconds * speed;
    }
    *passes = wish < (double)most ? (uint64_t)wish : most;
    *passes = *passes < batch ? batch : *passes / batch * batch;
    (void)snprintf(text, sizeof text, "%" PRIu64, *passes);
    RFHE_TRY(rfhe_store_put_note(s->store, s->study, "pools_passes", text, err));

done:
    rfhe_free(known);
    return st;
}

/* The network whose maxima were replaced learns to live with that, ReLUs and all, before any form is fitted to it. */
static rfhe_status train_pools(rfhe_search *s, rfhe_error *err)
{
    rfhe_trial t = {.kind = "pools", .recipe = "pools", .rung = 1, .seed = s->opt.seed, .harm = NAN,
                    .predicted_seconds = NAN, .memory_bytes = NAN, .assignment = rfhe_strdup("relu")};
    rfhe_graph *g = NULL;
    char path[4096];
    bool done = false;
    rfhe_status st = t.assignment != NULL ? RFHE_OK : rfhe_fail(err, RFHE_E_NOMEM, "no memory for a trial");

    if (st != RFHE_OK) { goto done; }
    s->expected = 1;
    RFHE_TRY(plan_pools(s, &t.planned, err));
    RFHE_TRY(rfhe_store_begin(s->store, s->study, &t, s->opt.settings, &done, err));
    if (!done) {
        (void)snprintf(s->doing, sizeof s->doing, "pools");
        RFHE_TRY(rfhe_graph_clone(&g, s->world.base));
        RFHE_TRY(train_trial(s, &t, g, err));
        say(s, "pools, trial %" PRId64 ": %.2f %% after %" PRIu64 " images (%s)", t.id, 100 * t.top1,
            t.image_passes, t.status);
    }
    if (strcmp(t.status, "done") != 0) {
        say(s, "training without maxima diverged: forms go into the network without");
        goto done;
    }
    RFHE_TRY(trial_path(s, t.id, "onnx", path, err));
    RFHE_TRY(read_network(&s->own_base, path, err));
    RFHE_TRY(s->world.calibrate->seek(s->world.calibrate->user, 0, 0, err));
    RFHE_TRY(rfhe_profile_collect(&s->own_profile, s->own_base, s->world.calibrate, 0,
                                  RFHE_COMPUTE_F32, s->opt.progress, err));
    s->world.base = s->own_base;
    s->world.profile = &s->own_profile;
    s->base_top1 = t.top1;

done:
    rfhe_free(t.assignment);
    return st;
}

/* ---- successive halving ---- */

/* One rung: every survivor is trained, then ranked; *n falls to those who go on. The best uniform network is among them,
 * and the best of those that are faster: one is compared with the other, after as many images. */
static rfhe_status run_rung(rfhe_search *s, const rfhe_halving *h, uint32_t rung, size_t *survivor,
                            int64_t *parent, size_t *n, const candidates *c, rfhe_error *err)
{
    const rfhe_target wish = {.max_drop = RFHE_SEARCH_DROP};
    const size_t count = *n;
    double *seconds = rfhe_alloc(2 * count + 1, sizeof *seconds), *top1 = seconds + count;
    size_t *order = rfhe_alloc(2 * count + 1, sizeof *order), *old = order + count;
    rfhe_trial *t = rfhe_calloc(count + 1, sizeof *t);
    rfhe_status st = RFHE_OK;

    if (seconds == NULL || order == NULL || t == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a rung");
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *choice = c->at[survivor[i]].choice;
        t[i] = (rfhe_trial){.kind = "tune", .recipe = "oneshot", .rung = rung + 1, .planned = h->passes[rung],
                            .seed = s->opt.seed, .parent = parent[survivor[i]]};
        RFHE_TRY(describe(s, &t[i], choice));
        RFHE_TRY(try_training(s, &t[i], choice, err));
        seconds[i] = t[i].predicted_seconds;
        top1[i] = strcmp(t[i].status, "done") == 0 ? t[i].top1 : NAN;
        old[i] = survivor[i];
        RFHE_TRY(reload(s, err));
    }
    RFHE_TRY(rfhe_halving_rank(order, seconds, top1, count,
                               rfhe_best_uniform(&wish, t, count, s->relu_top1)));
    const size_t next = rung + 1 < h->rungs ? h->candidates[rung + 1] : 0;
    size_t kept = 0;
    for (size_t i = 0; i < count && kept < next; i++) {
        if (isnan(top1[order[i]])) { continue; }
        parent[old[order[i]]] = t[order[i]].id;
        survivor[kept++] = old[order[i]];
    }
    *n = kept;

done:
    for (size_t i = 0; t != NULL && i < count; i++) { rfhe_free(t[i].assignment); }
    rfhe_free(seconds);
    rfhe_free(order);
    rfhe_free(t);
    return st;
}

/* Seconds of the fastest network that is within a point of what got its forms without any training, which wins back about as
 * much: nothing slower is worth an image. INFINITY when there is none. */
static double fastest_untrained(const rfhe_search *s)
{
    double least = INFINITY;

    for (size_t i = 0; i < s->n_trials; i++) {
        const rfhe_trial *t = &s->trial[i];
        if (strcmp(t->status, "done") == 0 && strcmp(t->recipe, "ct") == 0 && t->top1 >= s->base_top1 - 0.01 - 1e-9) {
            least = fmin(least, t->predicted_seconds);
        }
    }
    return least;
}

/* The frontier of predictions and all uniform assignments, by seconds, up to `limit` seconds. */
static rfhe_status trainable(candidates *out, const rfhe_search *s, double limit, rfhe_error *err)
{
    const rfhe_bank *b = &s->bank;
    candidates c = {0};
    size_t kept = 0;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(predict(&c, s, err));
    candidate *more = rfhe_realloc(c.at, c.n + b->forms, sizeof *more);
    if (more == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for candidates");
        goto done;
    }
    c.at = more;
    for (size_t f = 0, n = c.n; f < b->forms; f++) {
        candidate u = {.choice = rfhe_alloc(b->layers, 1)};
        if (u.choice == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for candidates");
            goto done;
        }
        memset(u.choice, (int)f, b->layers);
        bool known = !exists(b, u.choice);
        for (size_t i = 0; i < n && !known; i++) { known = memcmp(c.at[i].choice, u.choice, b->layers) == 0; }
        u.set = known ? SIZE_MAX : rfhe_prices_best(&s->prices, b, u.choice, &u.seconds);
        if (u.set == SIZE_MAX) {
            rfhe_free(u.choice);
            continue;
        }
        u.harm = sum_harm(s, s->harm, u.choice);
        c.at[c.n++] = u;
    }
    qsort(c.at, c.n, sizeof *c.at, faster);
    for (size_t i = 0; i < c.n; i++) {
        if (c.at[i].seconds <= limit * (1 + 1e-9)) {
            c.at[kept++] = c.at[i];
        } else {
            rfhe_free(c.at[i].choice);
        }
    }
    c.n = kept;
    *out = c;
    c = (candidates){0};

done:
    candidates_clear(&c);
    return st;
}

/* On the frontier of predictions: nothing before it, which is faster, harms less. */
static bool leads(const candidates *c, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (c->at[k].harm <= c->at[i].harm) { return false; }
    }
    return true;
}

/* Whether no chosen point takes nearly the same time: training costs the same, and the difference is not worth a choice. */
static bool stands_apart(const candidates *c, const bool *chosen, size_t i)
{
    for (size_t k = 0; k < c->n; k++) {
        if (chosen[k] && fabs(log(c->at[k].seconds / c->at[i].seconds)) <= 0.01) { return false; }
    }
    return true;
}

/* The least harmful point of the frontier within `seconds` that may still be chosen; SIZE_MAX when there is none. */
static size_t best_within(const candidates *c, const bool *chosen, double seconds)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < c->n && c->at[i].seconds <= seconds; i++) {
        if (!chosen[i] && leads(c, i) && stands_apart(c, chosen, i)) { best = i; }
    }
    return best;
}

/* The uniform form that harms least on its parameter set. */
static bool is_best_uniform(const rfhe_search *s, const candidates *c, size_t i)
{
    bool best = is_uniform(&s->bank, c->at[i].choice);

    for (size_t k = 0; k < c->n && best; k++) {
        const bool rival = k != i && c->at[k].set == c->at[i].set && is_uniform(&s->bank, c->at[k].choice);
        best = !rival || c->at[k].harm > c->at[i].harm || (c->at[k].harm == c->at[i].harm && k > i);
    }
    return best;
}

/* Candidates for training, in order of time. First the uniform form that harms least on each parameter set, cheap sets first, up
 * to half of all. Then for each of them its rivals: the least harmful points that are 2 % faster, and another 4 % faster than
 * that. What is left goes over the frontier, down to where predictions harm twice as much as the cheapest uniform form: behind
 * that no training of a search made up for it (docs/results/search.md). */
static size_t choose_candidates(size_t *out, const rfhe_search *s, const candidates *c, size_t want)
{
    bool *chosen = rfhe_calloc(c->n + 1, sizeof *chosen);
    size_t *uniform = rfhe_calloc(want + 1, sizeof *uniform), n = 0, n_uniform = 0, kept = 0;

    if (chosen == NULL || uniform == NULL || c->n == 0) { goto done; }
    for (size_t i = 0; i < c->n && n < (want + 1) / 2; i++) {
        if (!is_best_uniform(s, c, i)) { continue; }
        chosen[i] = true;
        uniform[n_uniform++] = i;
        n++;
    }
    for (size_t k = 0; k < 2 * n_uniform && n < want; k++) {
        const double share = k < n_uniform ? 0.98 : 0.94;
        const size_t rival = best_within(c, chosen, share * c->at[uniform[k % n_uniform]].seconds);
        if (rival != SIZE_MAX) { chosen[rival] = ++n > 0; }
    }
    const double slow = c->at[c->n - 1].seconds, worst = n_uniform > 0 ? 2 * c->at[uniform[0]].harm : INFINITY;
    size_t fast = 0;
    while (fast + 1 < c->n && c->at[fast].harm > worst) { fast++; }
    const double width = log(c->at[fast].seconds / slow);
    for (size_t place = 0, left = want - n; place < left; place++) {
        const double x = left > 1 ? (double)place / (double)(left - 1) : 0;
        const size_t best = best_within(c, chosen, 1.02 * slow * exp(width * pow(x, 1.5)));
        if (best != SIZE_MAX) { chosen[best] = true; }
    }
    for (size_t i = 0; i < c->n; i++) {
        if (chosen[i]) { out[kept++] = i; }
    }

done:
    rfhe_free(chosen);
    rfhe_free(uniform);
    return kept;
}

/* Images that the budget leaves for the points, at the speed of training the slowest of them. */
static rfhe_status passes_for_points(rfhe_search *s, const uint8_t *slowest, uint64_t *passes, rfhe_error *err)
{
    const rfhe_search_options *o = &s->opt;
    rfhe_graph *g = NULL;
    char *pools = NULL, *pools_speed = NULL;
    double speed = 0;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_store_get_note(s->store, s->study, "pools_passes", &pools, err));
    const double spent = pools != NULL ? strtod(pools, NULL) : 0;
    if (o->budget_passes > 0) {
        *passes = (double)o->budget_passes > spent ? o->budget_passes - (uint64_t)spent : 0;
        goto done;
    }
    RFHE_TRY(rfhe_store_get_note(s->store, s->study, "pools_images_per_second", &pools_speed, err));
    const double before = pools_speed != NULL && spent > 0 ? spent / strtod(pools_speed, NULL) : 0;
    RFHE_TRY(rfhe_bank_graph(&g, &s->bank, s->world.base, s->world.profile, slowest, err));
    RFHE_TRY(measure_speed(s, "images_per_second", g, &speed, err));
    *passes = (uint64_t)(fmax(training_share * o->budget_seconds - before, 0) * speed);
    say(s, "%.0f s of training are %" PRIu64 " images at %.0f a second", o->budget_seconds, *passes, speed);

done:
    rfhe_free(pools);
    rfhe_free(pools_speed);
    return st;
}

static rfhe_status train_points(rfhe_search *s, rfhe_error *err)
{
    const rfhe_search_options *o = &s->opt;
    const uint64_t most = o->oneshot.train.epochs * s->world.fit->images;
    candidates c = {0};
    uint64_t passes = 0;
    size_t *survivor = rfhe_alloc(o->candidates + 1, sizeof *survivor);
    int64_t *parent = NULL;
    rfhe_status st = RFHE_OK;

    if (survivor == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for candidates"); }
    const double limit = fmin(fastest_untrained(s), o->max_seconds > 0 ? o->max_seconds : INFINITY);
    RFHE_TRY(trainable(&c, s, limit, err));
    size_t n = choose_candidates(survivor, s, &c, o->candidates);
    parent = rfhe_calloc(c.n + 1, sizeof *parent);
    if (parent == NULL || n == 0) { goto done; }
    RFHE_TRY(passes_for_points(s, c.at[survivor[n - 1]].choice, &passes, err));
    const rfhe_halving h = rfhe_halving_plan(passes, (uint32_t)n, s->world.fit->batch, most);
    if (h.rungs == 0) {
        say(s, "a budget of %" PRIu64 " images is too small for one batch of %u", passes,
            s->world.fit->batch);
        goto done;
    }
    n = h.candidates[0] < n ? choose_candidates(survivor, s, &c, h.candidates[0]) : n;
    for (uint32_t r = 0; r < h.rungs; r++) { s->expected += h.candidates[r]; }
    for (uint32_t r = 0; r < h.rungs && n > 0; r++) {
        RFHE_TRY(run_rung(s, &h, r, survivor, parent, &n, &c, err));
    }

done:
    candidates_clear(&c);
    rfhe_free(survivor);
    rfhe_free(parent);
    return st;
}

/* ---- the whole ---- */

/* Earlier trials are priced by what plan/ says today. */
static rfhe_status price_anew(rfhe_search *s, rfhe_error *err)
{
    uint8_t *choice = rfhe_alloc(s->bank.layers, 1);
    rfhe_status st = RFHE_OK;

    if (choice == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an assignment"); }
    for (size_t i = 0; i < s->n_trials; i++) {
        rfhe_trial *t = &s->trial[i];
        if (!assignment_read(choice, &s->bank, t->assignment)) { continue; }
        rfhe_free(t->assignment);
        t->assignment = NULL;
        RFHE_TRY(describe(s, t, choice));
        RFHE_TRY(rfhe_store_price(s->store, t, err));
    }
    st = reload(s, err);

done:
    rfhe_free(choice);
    return st;
}

rfhe_status rfhe_search_run(rfhe_search *s, rfhe_error *err)
{
    const bool trains = s->opt.budget_passes > 0 || s->opt.budget_seconds > 0;
    char text[256];
    rfhe_status st = RFHE_OK;

    s->done = 0;
    s->expected = 1 + s->world.pools_replaced + s->bank.forms + s->opt.probes + s->opt.points;
    RFHE_TRY(try_relu(s, err));
    RFHE_TRY(predict_and_check(s, err));
    RFHE_TRY(try_spread(s, "frontier", s->opt.points, err));
    RFHE_TRY(reload(s, err));
    if (trains) { RFHE_TRY(train_points(s, err)); }
    RFHE_TRY(reload(s, err));
    RFHE_TRY(price_anew(s, err));
    RFHE_TRY(correlate(s, s->harm_gradient, &s->trust.gradient, &s->trust.gradient_entropy,
                       &s->trust.trials, err));
    if (all_known(s, s->harm_measured)) {
        RFHE_TRY(correlate(s, s->harm_measured, &s->trust.measured, &s->trust.measured_entropy,
                           &s->trust.trials, err));
    }
    (void)snprintf(text, sizeof text, "%.17g %.17g %.17g %.17g %d %zu", s->trust.gradient,
                   s->trust.measured, s->trust.gradient_entropy, s->trust.measured_entropy,
                   (int)s->trust.uses_measured, s->trust.trials);
    RFHE_TRY(rfhe_store_put_note(s->store, s->study, "rank_correlation", text, err));
    RFHE_TRY(rfhe_store_put_note(s->store, s->study, "prices", s->prices.source, err));

done:
    return st;
}

/* ---- making one ---- */

static rfhe_status store_layers(const rfhe_search *s, rfhe_error *err)
{
    const rfhe_profile *p = s->world.profile;
    rfhe_store_layer *list = rfhe_calloc(p->n, sizeof *list);

    if (list == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for layers"); }
    for (size_t i = 0; i < p->n; i++) {
        const rfhe_histogram *h = &p->layer[i].whole;
        rfhe_store_layer *l = &list[i];
        (void)snprintf(l->node, sizeof l->node, "%s", p->layer[i].node);
        l->channels = p->layer[i].channels;
        l->per_image = p->layer[i].per_image;
        if (h->n == 0) { continue; }
        l->mean = rfhe_histogram_mean(h);
        l->sigma = rfhe_histogram_sigma(h);
        l->reach = rfhe_histogram_reach(h);
        l->q999 = rfhe_histogram_abs_quantile(h, 0.999);
        for (size_t b = 0; b < RFHE_HISTOGRAM_BINS && l->reach > 0; b++) {
            const double x = (2.0 * ((double)b + 0.5) / RFHE_HISTOGRAM_BINS - 1) * h->range;
            const double at = (x / l->reach + 1) / 2 * RFHE_STORE_BARS;
            const size_t bar = (size_t)fmin(fmax(at, 0), RFHE_STORE_BARS - 1);
            l->bar[bar] += (double)h->count[b] / (double)h->n;
        }
    }
    const rfhe_status st = rfhe_store_put_layers(s->store, s->study, list, p->n, err);
    rfhe_free(list);
    return st;
}

static rfhe_status store_costs(const rfhe_search *s, rfhe_error *err)
{
    const rfhe_bank *b = &s->bank;
    const size_t each = b->layers * b->forms + 1;
    rfhe_store_cost *list = rfhe_calloc(s->prices.n * each + 1, sizeof *list);
    size_t n = 0;

    if (list == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for costs"); }
    for (size_t k = 0; k < s->prices.n; k++) {
        const rfhe_price_set *p = &s->prices.set[k];
        list[n].layer = -1;
        list[n].seconds = p->fixed_seconds;
        (void)snprintf(list[n++].params, sizeof list->params, "%.14s%s", p->name, p->wide ? "+" : "");
        for (size_t i = 0; i < b->layers * b->forms; i++) {
            if (!isfinite(p->seconds[i])) { continue; }
            list[n].layer = (int32_t)(i / b->forms);
            list[n].seconds = p->seconds[i];
            (void)snprintf(list[n].form, sizeof list[n].form, "%s", b->form[i % b->forms]);
            (void)snprintf(list[n++].params, sizeof list->params, "%.14s%s", p->name, p->wide ? "+" : "");
        }
    }
    const rfhe_status st = rfhe_store_put_costs(s->store, s->study, list, n, err);
    rfhe_free(list);
    return st;
}

/* The forms wanted now, then those of earlier runs. */
static rfhe_status list_forms(rfhe_search *s, const char **forms, size_t *n, rfhe_error *err)
{
    rfhe_store_choice *old = NULL;
    size_t n_old = 0;
    rfhe_status st = RFHE_OK;

    *n = 0;
    RFHE_TRY(rfhe_store_get_choices(s->store, s->study, &old, &n_old, err));
    for (size_t i = 0; i < s->opt.n_forms + n_old; i++) {
        const char *name = i < s->opt.n_forms ? s->opt.forms[i] : old[i - s->opt.n_forms].form;
        size_t k = 0;
        while (k < *n && strcmp(s->names[k], name) != 0) { k++; }
        if (k < *n) { continue; }
        if (*n == RFHE_SEARCH_MAX_FORMS) {
            st = rfhe_fail(err, RFHE_E_ARG, "more than %d forms", RFHE_SEARCH_MAX_FORMS);
            goto done;
        }
        s->names[k] = rfhe_strdup(name);
        if (s->names[k] == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a form");
            goto done;
        }
        forms[(*n)++] = s->names[k];
    }

done:
    rfhe_free(old);
    return st;
}

/* Harms that an earlier run found are taken over, unless a form is new. */
static rfhe_status load_harms(rfhe_search *s, rfhe_error *err)
{
    rfhe_store_choice *old = NULL;
    size_t n = 0;
    const rfhe_status st = rfhe_store_get_choices(s->store, s->study, &old, &n, err);

    for (size_t i = 0; i < s->bank.layers * s->bank.forms; i++) { /* what does not exist has nothing to find out */
        s->harm_gradient[i] = s->harm_measured[i] =
            rfhe_bank_has(&s->bank, i / s->bank.forms, i % s->bank.forms) ? (double)NAN : (double)INFINITY;
    }
    for (size_t i = 0; st == RFHE_OK && i < n; i++) {
        for (size_t f = 0; f < s->bank.forms && old[i].layer < s->bank.layers; f++) {
            if (strcmp(old[i].form, s->bank.form[f]) != 0) { continue; }
            s->harm_gradient[old[i].layer * s->bank.forms + f] = old[i].harm_gradient;
            s->harm_measured[old[i].layer * s->bank.forms + f] = old[i].harm_measured;
        }
    }
    rfhe_free(old);
    return st;
}

/* A line that does not save its refresh costs what a polynomial costs and can do less. */
static void drop_refreshed_lines(rfhe_search *s)
{
    const size_t forms = s->bank.forms;

    for (size_t i = 0; i < s->bank.layers * forms; i++) {
        bool possible = !rfhe_bank_merges(&s->bank, i % forms);
        for (size_t k = 0; k < s->prices.n && !possible; k++) { possible = isfinite(s->prices.set[k].seconds[i]); }
        if (!possible) { rfhe_bank_drop(&s->bank, i / forms, i % forms); }
    }
}

rfhe_status rfhe_search_new(rfhe_search **out, rfhe_store *store, int64_t study,
                            const rfhe_search_world *world, const rfhe_search_options *opt,
                            rfhe_error *err)
{
    rfhe_search *s = rfhe_calloc(1, sizeof *s);
    const char *forms[RFHE_SEARCH_MAX_FORMS];
    size_t n = 0;
    rfhe_status st = RFHE_OK;

    if (s == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a search"); }
    if (world->fit == NULL && (opt->budget_passes > 0 || opt->budget_seconds > 0 || opt->train_pools)) {
        st = rfhe_fail(err, RFHE_E_ARG, "a budget for training needs images to train on");
        goto done;
    }
    s->store = store;
    s->study = study;
    s->world = *world;
    s->untrained = world->base;
    s->opt = *opt;
    s->progress = (rfhe_progress){.report = inner_report, .user = s};
    s->trust.gradient = s->trust.measured = NAN;
    s->trust.gradient_entropy = s->trust.measured_entropy = NAN;
    if (s->opt.probes == 0) { s->opt.probes = 8; }
    if (s->opt.points == 0) { s->opt.points = 24; }
    if (s->opt.candidates == 0) { s->opt.candidates = 8; }
    if (s->opt.sense_images == 0) { s->opt.sense_images = 256; }
    if (s->opt.trust == 0) { s->opt.trust = 0.8; }
    if (world->pools_replaced && opt->train_pools) { RFHE_TRY(train_pools(s, err)); }
    RFHE_TRY(list_forms(s, forms, &n, err));
    RFHE_TRY(rfhe_bank_fill(&s->bank, s->world.base, s->world.profile, forms, n, &opt->replace,
                            opt->progress, err));
    RFHE_TRY(rfhe_prices_find(&s->prices, &s->bank, s->world.base, s->world.profile, &opt->server,
                              opt->progress, err));
    drop_refreshed_lines(s);
    const size_t choices = s->bank.layers * s->bank.forms;
    s->harm_gradient = rfhe_alloc(choices, sizeof *s->harm_gradient);
    s->harm_measured = rfhe_alloc(choices, sizeof *s->harm_measured);
    if (s->harm_gradient == NULL || s->harm_measured == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu choices", choices);
        goto done;
    }
    RFHE_TRY(load_harms(s, err));
    s->harm = s->harm_gradient;
    RFHE_TRY(store_layers(s, err));
    RFHE_TRY(store_costs(s, err));
    *out = s;
    s = NULL;

done:
    rfhe_search_free(s);
    return st;
}

void rfhe_search_free(rfhe_search *s)
{
    if (s == NULL) { return; }
    rfhe_graph_free(s->own_base);
    rfhe_profile_clear(&s->own_profile);
    rfhe_bank_clear(&s->bank);
    rfhe_prices_clear(&s->prices);
    rfhe_free(s->harm_gradient);
    rfhe_free(s->harm_measured);
    for (size_t i = 0; i < RFHE_SEARCH_MAX_FORMS; i++) { rfhe_free(s->names[i]); }
    rfhe_trials_free(s->trial, s->n_trials);
    rfhe_free(s->front);
    rfhe_free(s);
}

const rfhe_trial *rfhe_search_trials(const rfhe_search *s, size_t *n)
{
    *n = s->n_trials;
    return s->trial;
}

const size_t *rfhe_search_frontier(const rfhe_search *s, size_t *n)
{
    *n = s->n_front;
    return s->front;
}

double rfhe_search_relu_top1(const rfhe_search *s)
{
    return s->relu_top1;
}

const rfhe_bank *rfhe_search_bank(const rfhe_search *s)
{
    return &s->bank;
}

const rfhe_prices *rfhe_search_prices(const rfhe_search *s)
{
    return &s->prices;
}

rfhe_search_trust rfhe_search_get_trust(const rfhe_search *s)
{
    return s->trust;
}

rfhe_status rfhe_search_network(rfhe_graph **out, const rfhe_search *s, const rfhe_trial *t,
                                rfhe_error *err)
{
    uint8_t *choice = NULL;
    char path[4096];
    rfhe_status st = RFHE_OK;

    if (strcmp(t->recipe, "relu") == 0) { return rfhe_graph_clone(out, s->world.teacher); }
    if (strcmp(t->recipe, "oneshot") == 0) {
        RFHE_TRY(trial_path(s, t->id, "onnx", path, err));
        RFHE_TRY(read_network(out, path, err));
        goto done;
    }
    choice = rfhe_alloc(s->bank.layers, 1);
    if (choice == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an assignment"); }
    if (!assignment_read(choice, &s->bank, t->assignment)) {
        st = rfhe_fail(err, RFHE_E_ARG, "trial %" PRId64 " has forms that are not at hand", t->id);
        goto done;
    }
    RFHE_TRY(rfhe_bank_graph(out, &s->bank, s->world.base, s->world.profile, choice, err));

done:
    rfhe_free(choice);
    return st;
}
