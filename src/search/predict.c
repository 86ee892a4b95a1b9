/* What a search predicts: the frontier of time and harm, and whether harms are to be believed. */
#include "search/internal.h"

#include "base/mem.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rfhe_candidates_clear(rfhe_candidates *c)
{
    for (size_t i = 0; i < c->n; i++) { rfhe_free(c->at[i].choice); }
    rfhe_free(c->at);
    *c = (rfhe_candidates){0};
}

/* The frontier of one set joins the others'. */
static rfhe_status add_set(rfhe_candidates *all, const rfhe_search *s, size_t set)
{
    const size_t layers = s->bank.layers;
    const rfhe_price_set *p = &s->prices.set[set];
    rfhe_frontier f = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_frontier_find(&f, p->seconds, s->harm, layers, s->bank.forms, 0, NULL));
    all->exact = all->exact && f.exact;
    rfhe_candidate *more = rfhe_realloc(all->at, all->n + f.n + 1, sizeof *more);
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
        all->at[all->n++] = (rfhe_candidate){.choice = choice,
                                        .seconds = p->fixed_seconds + f.seconds[i],
                                        .harm = f.error[i],
                                        .set = set};
    }

done:
    rfhe_frontier_clear(&f);
    return st;
}

int rfhe_candidates_faster(const void *va, const void *vb)
{
    const rfhe_candidate *a = va, *b = vb;

    if (a->seconds != b->seconds) { return a->seconds < b->seconds ? -1 : 1; }
    if (a->harm != b->harm) { return a->harm < b->harm ? -1 : 1; }
    return (a->set > b->set) - (a->set < b->set);
}

/* All sets together, without what another set does better. */
rfhe_status rfhe_search_predict(rfhe_candidates *out, const rfhe_search *s, rfhe_error *err)
{
    rfhe_candidates all = {.exact = true};
    size_t kept = 0;
    rfhe_status st = RFHE_OK;

    for (size_t k = 0; k < s->prices.n && st == RFHE_OK; k++) { st = add_set(&all, s, k); }
    if (st != RFHE_OK) {
        rfhe_candidates_clear(&all);
        return rfhe_fail(err, st, "the frontier of predictions: %s", rfhe_status_name(st));
    }
    if (all.n > 0) { qsort(all.at, all.n, sizeof *all.at, rfhe_candidates_faster); }
    for (size_t i = 0; i < all.n; i++) {
        if (kept == 0 || all.at[i].harm < all.at[kept - 1].harm) {
            const rfhe_candidate c = all.at[i];
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
static size_t spread(size_t *out, const rfhe_candidates *c, size_t want)
{
    size_t n = 0;

    if (c->n <= want || want < 2) {
        for (size_t i = 0; i < c->n && (i < want || c->n <= want); i++) { out[n++] = i; }
        return n;
    }
    double *way = rfhe_calloc(c->n, sizeof *way);
    if (way == NULL) { return 0; }
    const rfhe_candidate *a = &c->at[0], *z = &c->at[c->n - 1];
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

rfhe_status rfhe_search_try_spread(rfhe_search *s, const char *kind, size_t want, rfhe_error *err)
{
    rfhe_candidates c = {0};
    size_t *at = rfhe_alloc(want + 1, sizeof *at);
    rfhe_status st = RFHE_OK;

    if (at == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for candidates"); }
    RFHE_TRY(rfhe_search_predict(&c, s, err));
    const size_t n = spread(at, &c, want);
    for (size_t i = 0; i < n; i++) { RFHE_TRY(rfhe_search_try(s, kind, c.at[at[i]].choice, err)); }

done:
    rfhe_candidates_clear(&c);
    rfhe_free(at);
    return st;
}

/* How well summed harms rank what trials without training lost. */
rfhe_status rfhe_search_correlate(const rfhe_search *s, const double *harm, double *accuracy,
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
            !rfhe_bank_read(choice, &s->bank, t->assignment)) {
            continue;
        }
        x[n] = rfhe_search_harm(s, harm, choice);
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

bool rfhe_search_all_known(const rfhe_search *s, const double *harm)
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
    if (!rfhe_search_all_known(s, harm)) {
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
        if (rfhe_bank_exists(&s->bank, choice)) { st = rfhe_search_try(s, "uniform", choice, err); }
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
    RFHE_TRY(rfhe_search_try_spread(s, "probe", s->opt.probes, err));
    RFHE_TRY(rfhe_search_reload(s, err));
    RFHE_TRY(rfhe_search_correlate(s, s->harm_gradient, &trust->gradient, &trust->gradient_entropy,
                       &trust->trials, err));
    *bad = !(trust->gradient >= s->opt.trust);
    rfhe_search_say(s, "harm by gradient ranks %zu trials with Spearman %.2f (by cross entropy %.2f)%s",
        trust->trials, trust->gradient, trust->gradient_entropy,
        *bad ? ": too low, every choice is tried by itself" : "");

done:
    return st;
}

static rfhe_status check_measured(rfhe_search *s, rfhe_error *err)
{
    rfhe_search_trust *trust = &s->trust;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_search_try_spread(s, "probe", 2 * (size_t)s->opt.probes, err));
    RFHE_TRY(rfhe_search_reload(s, err));
    RFHE_TRY(rfhe_search_correlate(s, s->harm_gradient, &trust->gradient, &trust->gradient_entropy,
                       &trust->trials, err));
    RFHE_TRY(rfhe_search_correlate(s, s->harm_measured, &trust->measured, &trust->measured_entropy,
                       &trust->trials, err));
    trust->uses_measured = !(trust->gradient > trust->measured);
    rfhe_search_say(s, "measured harm ranks %zu trials with Spearman %.2f, gradients with %.2f: %s used",
        trust->trials, trust->measured, trust->gradient,
        trust->uses_measured ? "measured harm is" : "gradients are");

done:
    return st;
}

/* Gradients first; where they rank real trials badly, every choice is tried by itself. */
rfhe_status rfhe_search_sense(rfhe_search *s, rfhe_error *err)
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
