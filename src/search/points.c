/* What a budget of training is spent on: the network whose maxima were replaced, then points of the predicted frontier by
 * successive halving. */
#include "search/internal.h"

#include "base/mem.h"
#include "search/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        RFHE_TRY(rfhe_search_speed(s, "pools_images_per_second", g, &speed, err));
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
rfhe_status rfhe_search_train_pools(rfhe_search *s, rfhe_error *err)
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
        RFHE_TRY(rfhe_search_train(s, &t, g, err));
        rfhe_search_say(s, "pools, trial %" PRId64 ": %.2f %% after %" PRIu64 " images (%s)", t.id, 100 * t.top1,
            t.image_passes, t.status);
    }
    if (strcmp(t.status, "done") != 0) {
        rfhe_search_say(s, "training without maxima diverged: forms go into the network without");
        goto done;
    }
    RFHE_TRY(rfhe_search_trial_path(s, t.id, "onnx", path, err));
    RFHE_TRY(rfhe_search_read_network(&s->own_base, path, err));
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
                            int64_t *parent, size_t *n, const rfhe_candidates *c, rfhe_error *err)
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
        RFHE_TRY(rfhe_search_describe(s, &t[i], choice));
        RFHE_TRY(rfhe_search_try_training(s, &t[i], choice, err));
        seconds[i] = t[i].predicted_seconds;
        top1[i] = strcmp(t[i].status, "done") == 0 ? t[i].top1 : NAN;
        old[i] = survivor[i];
        RFHE_TRY(rfhe_search_reload(s, err));
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
static rfhe_status trainable(rfhe_candidates *out, const rfhe_search *s, double limit, rfhe_error *err)
{
    const rfhe_bank *b = &s->bank;
    rfhe_candidates c = {0};
    size_t kept = 0;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_search_predict(&c, s, err));
    rfhe_candidate *more = rfhe_realloc(c.at, c.n + b->forms, sizeof *more);
    if (more == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for candidates");
        goto done;
    }
    c.at = more;
    for (size_t f = 0, n = c.n; f < b->forms; f++) {
        rfhe_candidate u = {.choice = rfhe_alloc(b->layers, 1)};
        if (u.choice == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for candidates");
            goto done;
        }
        memset(u.choice, (int)f, b->layers);
        bool known = !rfhe_bank_exists(b, u.choice);
        for (size_t i = 0; i < n && !known; i++) { known = memcmp(c.at[i].choice, u.choice, b->layers) == 0; }
        u.set = known ? SIZE_MAX : rfhe_prices_best(&s->prices, b, u.choice, &u.seconds);
        if (u.set == SIZE_MAX) {
            rfhe_free(u.choice);
            continue;
        }
        u.harm = rfhe_search_harm(s, s->harm, u.choice);
        c.at[c.n++] = u;
    }
    qsort(c.at, c.n, sizeof *c.at, rfhe_candidates_faster);
    for (size_t i = 0; i < c.n; i++) {
        if (c.at[i].seconds <= limit * (1 + 1e-9)) {
            c.at[kept++] = c.at[i];
        } else {
            rfhe_free(c.at[i].choice);
        }
    }
    c.n = kept;
    *out = c;
    c = (rfhe_candidates){0};

done:
    rfhe_candidates_clear(&c);
    return st;
}

/* On the frontier of predictions: nothing before it, which is faster, harms less. */
static bool leads(const rfhe_candidates *c, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (c->at[k].harm <= c->at[i].harm) { return false; }
    }
    return true;
}

/* Whether no chosen point takes nearly the same time: training costs the same, and the difference is not worth a choice. */
static bool stands_apart(const rfhe_candidates *c, const bool *chosen, size_t i)
{
    for (size_t k = 0; k < c->n; k++) {
        if (chosen[k] && fabs(log(c->at[k].seconds / c->at[i].seconds)) <= 0.01) { return false; }
    }
    return true;
}

/* The least harmful point of the frontier within `seconds` that may still be chosen; SIZE_MAX when there is none. */
static size_t best_within(const rfhe_candidates *c, const bool *chosen, double seconds)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < c->n && c->at[i].seconds <= seconds; i++) {
        if (!chosen[i] && leads(c, i) && stands_apart(c, chosen, i)) { best = i; }
    }
    return best;
}

/* The uniform form that harms least on its parameter set. */
static bool is_best_uniform(const rfhe_search *s, const rfhe_candidates *c, size_t i)
{
    bool best = rfhe_bank_is_uniform(&s->bank, c->at[i].choice);

    for (size_t k = 0; k < c->n && best; k++) {
        const bool rival = k != i && c->at[k].set == c->at[i].set && rfhe_bank_is_uniform(&s->bank, c->at[k].choice);
        best = !rival || c->at[k].harm > c->at[i].harm || (c->at[k].harm == c->at[i].harm && k > i);
    }
    return best;
}

/* Candidates for training, in order of time. First the uniform form that harms least on each parameter set, cheap sets first, up
 * to half of all. Then for each of them its rivals: the least harmful points that are 2 % faster, and another 4 % faster than
 * that. What is left goes over the frontier, down to where predictions harm twice as much as the cheapest uniform form: behind
 * that no training of a search made up for it (docs/results/search.md). */
static size_t choose_candidates(size_t *out, const rfhe_search *s, const rfhe_candidates *c, size_t want)
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
    RFHE_TRY(rfhe_search_speed(s, "images_per_second", g, &speed, err));
    *passes = (uint64_t)(fmax(training_share * o->budget_seconds - before, 0) * speed);
    rfhe_search_say(s, "%.0f s of training are %" PRIu64 " images at %.0f a second", o->budget_seconds, *passes, speed);

done:
    rfhe_free(pools);
    rfhe_free(pools_speed);
    return st;
}

rfhe_status rfhe_search_train_points(rfhe_search *s, rfhe_error *err)
{
    const rfhe_search_options *o = &s->opt;
    const uint64_t most = o->oneshot.train.epochs * s->world.fit->images;
    rfhe_candidates c = {0};
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
        rfhe_search_say(s, "a budget of %" PRIu64 " images is too small for one batch of %u", passes,
            s->world.fit->batch);
        goto done;
    }
    n = h.candidates[0] < n ? choose_candidates(survivor, s, &c, h.candidates[0]) : n;
    for (uint32_t r = 0; r < h.rungs; r++) { s->expected += h.candidates[r]; }
    for (uint32_t r = 0; r < h.rungs && n > 0; r++) {
        RFHE_TRY(run_rung(s, &h, r, survivor, parent, &n, &c, err));
    }

done:
    rfhe_candidates_clear(&c);
    rfhe_free(survivor);
    rfhe_free(parent);
    return st;
}
