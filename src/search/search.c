/* A search as a whole: making one, running it, and what came out; see search.h. */
#include "search/internal.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
    s->progress = (rfhe_progress){.report = rfhe_search_report, .user = s};
    s->trust.gradient = s->trust.measured = NAN;
    s->trust.gradient_entropy = s->trust.measured_entropy = NAN;
    if (s->opt.probes == 0) { s->opt.probes = 8; }
    if (s->opt.points == 0) { s->opt.points = 24; }
    if (s->opt.candidates == 0) { s->opt.candidates = 8; }
    if (s->opt.sense_images == 0) { s->opt.sense_images = 256; }
    if (s->opt.trust == 0) { s->opt.trust = 0.8; }
    if (world->pools_replaced && opt->train_pools) { RFHE_TRY(rfhe_search_train_pools(s, err)); }
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

/* ---- running it ---- */

/* Earlier trials are priced by what plan/ says today. */
static rfhe_status price_anew(rfhe_search *s, rfhe_error *err)
{
    uint8_t *choice = rfhe_alloc(s->bank.layers, 1);
    rfhe_status st = RFHE_OK;

    if (choice == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an assignment"); }
    for (size_t i = 0; i < s->n_trials; i++) {
        rfhe_trial *t = &s->trial[i];
        if (!rfhe_bank_read(choice, &s->bank, t->assignment)) { continue; }
        rfhe_free(t->assignment);
        t->assignment = NULL;
        RFHE_TRY(rfhe_search_describe(s, t, choice));
        RFHE_TRY(rfhe_store_price(s->store, t, err));
    }
    st = rfhe_search_reload(s, err);

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
    RFHE_TRY(rfhe_search_try_relu(s, err));
    RFHE_TRY(rfhe_search_sense(s, err));
    RFHE_TRY(rfhe_search_try_spread(s, "frontier", s->opt.points, err));
    RFHE_TRY(rfhe_search_reload(s, err));
    if (trains) { RFHE_TRY(rfhe_search_train_points(s, err)); }
    RFHE_TRY(rfhe_search_reload(s, err));
    RFHE_TRY(price_anew(s, err));
    RFHE_TRY(rfhe_search_correlate(s, s->harm_gradient, &s->trust.gradient, &s->trust.gradient_entropy,
                       &s->trust.trials, err));
    if (rfhe_search_all_known(s, s->harm_measured)) {
        RFHE_TRY(rfhe_search_correlate(s, s->harm_measured, &s->trust.measured, &s->trust.measured_entropy,
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

/* ---- what came out ---- */

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
        RFHE_TRY(rfhe_search_trial_path(s, t->id, "onnx", path, err));
        RFHE_TRY(rfhe_search_read_network(out, path, err));
        goto done;
    }
    choice = rfhe_alloc(s->bank.layers, 1);
    if (choice == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an assignment"); }
    if (!rfhe_bank_read(choice, &s->bank, t->assignment)) {
        st = rfhe_fail(err, RFHE_E_ARG, "trial %" PRId64 " has forms that are not at hand", t->id);
        goto done;
    }
    RFHE_TRY(rfhe_bank_graph(out, &s->bank, s->world.base, s->world.profile, choice, err));

done:
    rfhe_free(choice);
    return st;
}
