/* ReLU -> PAF: ranges from the profile, coefficients from the catalogue or tuned to the profile (CT). */
#include "method/method.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static rfhe_replace_options choose_ranges(const rfhe_replace_options *o, const rfhe_paf *p)
{
    rfhe_replace_options r = *o;
    uint32_t degree[RFHE_PAF_MAX_STAGES];
    const uint32_t stages = rfhe_paf_degrees(p, degree);

    if (!(r.margin > 0)) { r.margin = o->tuning == RFHE_TUNE_NONE ? 1.1 : 1.3; }
    if (r.sigmas == 0 && o->tuning != RFHE_TUNE_NONE && stages == 1 && p->kind != RFHE_PAF_SIGN &&
        degree[0] <= 4) {
        r.sigmas = 6;
    }
    return r;
}

/* The range of what a histogram saw. A channel that is almost silent gets at least a twentieth of its layer's. */
static double range_of(const rfhe_histogram *h, double floor_range, const rfhe_replace_options *o)
{
    double r = o->margin * (h->n > 0 ? rfhe_histogram_reach(h) : 0);

    if (o->sigmas > 0 && h->n > 0) {
        r = fmin(r, fabs(rfhe_histogram_mean(h)) + o->sigmas * rfhe_histogram_sigma(h));
    }
    r = fmax(r, floor_range);
    return r > 0 ? r : 1.0;
}

/* Published: samples of the layer's values, with the frequencies of the histogram. */
static rfhe_status tune_by_adam(rfhe_paf *p, const rfhe_histogram *h, double scale, uint64_t seed,
                                rfhe_error *err)
{
    enum { SAMPLES = 40000 };
    float *x = rfhe_alloc(SAMPLES, sizeof *x);
    const rfhe_paf_adam_options opt = {.seed = seed};
    rfhe_rng rng = rfhe_rng_seed(seed, 7);
    rfhe_status st = RFHE_OK;

    if (x == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for samples"); }
    for (size_t i = 0; i < SAMPLES && h->n > 0; i++) {
        uint64_t left = rfhe_rng_below(&rng, h->n);
        size_t bin = 0;
        while (bin + 1 < RFHE_HISTOGRAM_BINS && left >= h->count[bin]) { left -= h->count[bin++]; }
        const double width = 2 * h->range / RFHE_HISTOGRAM_BINS;
        x[i] = (float)(-h->range + ((double)bin + rfhe_rng_uniform(&rng)) * width);
    }
    if (h->n > 0) { st = rfhe_paf_fit_adam(p, x, SAMPLES, scale, &opt, err); }
    rfhe_free(x);
    return st;
}

static rfhe_status tune(rfhe_paf *p, rfhe_paf_fit_report *report, const rfhe_histogram *h,
                        const double *scale, size_t sets, const rfhe_replace_options *o,
                        rfhe_error *err)
{
    const rfhe_paf_fit_options fit = {.tail = o->tail};
    rfhe_status st = RFHE_OK;

    for (size_t i = 0; i < sets; i++) { /* where there is nothing to tune to, before equals after */
        double rms = 0, relative = 0;
        if (h[i].n == 0) { continue; }
        RFHE_TRY(rfhe_paf_fit_error(&rms, &relative, &p[i], &h[i], scale[i], &fit, err));
        report[i].relative_before = report[i].relative_after = relative;
    }
    if (o->tuning == RFHE_TUNE_LM) {
        RFHE_TRY(rfhe_paf_fit_channels(p, report, h, scale, sets, &fit, err));
    } else if (o->tuning == RFHE_TUNE_ADAM) {
        for (size_t i = 0; i < sets; i++) {
            double rms = 0;
            RFHE_TRY(tune_by_adam(&p[i], &h[i], scale[i], o->seed + i, err));
            if (h[i].n == 0) { continue; }
            RFHE_TRY(rfhe_paf_fit_error(&rms, &report[i].relative_after, &p[i], &h[i], scale[i],
                                        &fit, err));
        }
    }

done:
    return st;
}

static void describe(rfhe_replace_row *row, const rfhe_profile_layer *l, const char *form,
                     size_t sets, const double *scale, const rfhe_paf_fit_report *report)
{
    *row = (rfhe_replace_row){
        .channels = l->channels, .sets = sets, .scale_lo = scale[0], .scale_hi = scale[0]};
    (void)snprintf(row->node, sizeof row->node, "%s", l->node);
    (void)snprintf(row->form, sizeof row->form, "%s", form);
    row->sigma = l->whole.n > 0 ? rfhe_histogram_sigma(&l->whole) : 0;
    for (size_t i = 0; i < sets; i++) {
        row->scale_lo = fmin(row->scale_lo, scale[i]);
        row->scale_hi = fmax(row->scale_hi, scale[i]);
        row->relative_before += report[i].relative_before / (double)sets;
        row->relative_after += report[i].relative_after / (double)sets;
    }
}

static rfhe_status count_schedule(uint32_t *depth, uint32_t *products, const rfhe_paf *p,
                                  rfhe_error *err)
{
    rfhe_paf_schedule *s = rfhe_alloc(1, sizeof *s);
    rfhe_status st = RFHE_E_NOMEM;

    if (s != NULL) { st = rfhe_paf_schedule_relu(s, p, err); }
    if (st == RFHE_OK) {
        *depth = s->depth;
        *products = s->products;
    }
    rfhe_free(s);
    return st;
}

rfhe_status rfhe_method_replace_one(rfhe_replace_row *row, rfhe_graph *g,
                                    const rfhe_profile_layer *l, const char *form,
                                    const rfhe_replace_options *o, rfhe_error *err)
{
    const bool one = o->per_layer || o->tuning == RFHE_TUNE_NONE || o->tuning == RFHE_TUNE_ADAM;
    const size_t sets = one ? 1 : l->channels;
    const rfhe_histogram *h = one ? &l->whole : l->channel;
    rfhe_paf start, *p = rfhe_calloc(sets, sizeof *p);
    double *scale = rfhe_alloc(sets, sizeof *scale);
    rfhe_paf_fit_report *report = rfhe_calloc(sets, sizeof *report);
    uint32_t at = 0, depth = 0, products = 0;
    rfhe_status st = RFHE_OK;

    if (p == NULL || scale == NULL || report == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to tune %zu sets of coefficients", sets);
        goto done;
    }
    while (at < g->n_nodes &&
           (strcmp(g->nodes[at].name, l->node) != 0 || !rfhe_method_is_activation(&g->nodes[at]))) {
        at++;
    }
    if (at == g->n_nodes) {
        st = rfhe_fail(err, RFHE_E_ARG, "the network has no activation '%s'", l->node);
        goto done;
    }
    RFHE_TRY(rfhe_paf_from_name(&start, form, err));
    const rfhe_replace_options filled = choose_ranges(o, &start);
    const double whole = range_of(&l->whole, 0, &filled);
    for (size_t i = 0; i < sets; i++) {
        p[i] = start;
        scale[i] = one || o->layer_range ? whole : range_of(&h[i], whole / 20, &filled);
    }
    RFHE_TRY(tune(p, report, h, scale, sets, o, err));
    RFHE_TRY(count_schedule(&depth, &products, &p[0], err));
    RFHE_TRY(rfhe_paf_node_set(g, at, form, p, scale, sets, err));
    if (row != NULL) {
        describe(row, l, form, sets, scale, report);
        row->depth = depth;
        row->products = products;
    }

done:
    rfhe_free(p);
    rfhe_free(scale);
    rfhe_free(report);
    return st;
}

rfhe_status rfhe_method_replace(rfhe_replace_report *out, rfhe_graph *g,
                                const rfhe_profile *profile, const rfhe_replace_options *opt,
                                rfhe_error *err)
{
    const double start = rfhe_now();
    rfhe_replace_report r = {.n = profile->n};
    rfhe_status st = RFHE_OK;

    if (profile->n == 0) {
        return rfhe_fail(err, RFHE_E_ARG, "the network has no activation that could be replaced");
    }
    if (opt->n_forms != 1 && opt->n_forms != profile->n) {
        return rfhe_fail(
            err, RFHE_E_ARG,
            "%u forms are given, the network has %zu activations: give one, or one for each",
            opt->n_forms, profile->n);
    }
    r.row = rfhe_calloc(profile->n, sizeof *r.row);
    if (r.row == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a report"); }
    for (size_t i = 0; i < profile->n; i++) {
        const char *form = opt->forms[opt->n_forms == 1 ? 0 : i];
        RFHE_TRY(rfhe_method_replace_one(&r.row[i], g, &profile->layer[i], form, opt, err));
        r.depth_max = r.row[i].depth > r.depth_max ? r.row[i].depth : r.depth_max;
    }
    RFHE_TRY(rfhe_graph_tidy(g, err));
    RFHE_TRY(rfhe_graph_infer(g, 0, err));
    r.fit_seconds = rfhe_now() - start;
    *out = r;
    r.row = NULL;

done:
    rfhe_free(r.row);
    return st;
}

rfhe_status rfhe_method_fix_scales(rfhe_graph *g, const rfhe_profile *profile, double margin,
                                   rfhe_error *err)
{
    for (size_t i = 0; i < profile->n; i++) {
        const rfhe_profile_layer *l = &profile->layer[i];
        const double reach = l->whole.n > 0 ? rfhe_histogram_reach(&l->whole) : 0;
        for (uint32_t at = 0; at < g->n_nodes; at++) {
            const rfhe_node *n = &g->nodes[at];
            if (!rfhe_paf_node_is(n) || strcmp(n->name, l->node) != 0) { continue; }
            const rfhe_tensor *scale = rfhe_graph_constant(g, n, 2);
            if (scale == NULL) { return rfhe_fail(err, RFHE_E_ARG, "'%s' has no scale", n->name); }
            rfhe_tensor *t = g->values[n->inputs[2]].constant;
            for (size_t k = 0; k < t->count; k++) {
                t->f32[k] = (float)(reach > 0 ? margin * reach : 1.0);
            }
        }
    }
    return RFHE_OK;
}

rfhe_status rfhe_method_depth(uint32_t *out, const rfhe_graph *g, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t most = 0;

    for (uint32_t i = 0; i < g->n_nodes && st == RFHE_OK; i++) {
        size_t sets = 0;
        uint32_t depth = 0, products = 0;
        if (!rfhe_paf_node_is(&g->nodes[i])) { continue; }
        st = rfhe_paf_node_get(g, &g->nodes[i], NULL, NULL, &sets, err);
        rfhe_paf *p = rfhe_calloc(sets, sizeof *p);
        if (p == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu polynomials", sets);
        }
        if (st == RFHE_OK) { st = rfhe_paf_node_get(g, &g->nodes[i], p, NULL, &sets, err); }
        if (st == RFHE_OK) { st = count_schedule(&depth, &products, &p[0], err); }
        rfhe_free(p);
        most = depth > most ? depth : most;
    }
    if (st == RFHE_OK) { *out = most; }
    return st;
}
