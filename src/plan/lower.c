/* See lower.h.
 *
 * Numbers. Every source k carries z with value = gain_k[c] * z; every activation takes u = input / range_k[c]. So the
 * weights of a term become w * gain_source[c] / range[o], and the bias bias / range[o].
 *
 * Activations. The PAF of a channel is f(u) with value = scale * f(input / scale); rescaled to a range r that is at
 * least its scale, f becomes a schedule whose value times out_scale is f: gain = r * out_scale. A channel whose leading
 * coefficient is so small that its z would be beyond 2^10 gets a larger range, up to four times. All channels run one
 * list of steps, each with its own numbers.
 *
 * Packing. Every gap between the coefficients in use (program.h) is tried on its own, with all grids of that ring; the
 * fastest is taken, with a budget the fastest that fits it.
 *
 * Parameters. Levels, bottom first: 0; 1 = where linear pieces work; the way to coefficients; the PAF; the refresh. */
#include "plan/lower.h"

#include "base/mem.h"
#include "base/threads.h"
#include "paf/node.h"
#include "plan/layout.h"
#include "plan/poly_steps.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct lowering {
    rfhe_folded *f;
    rfhe_program *p;
    rfhe_place *place;
    rfhe_layout *layout;
    rfhe_activation *activation; /* per source, by channels before the cut; [0] unused */
    const rfhe_plan_options *opt;
    rfhe_machine machine;
    rfhe_error *err;
} lowering;

static rfhe_status no_memory(lowering *s)
{
    return rfhe_fail(s->err, RFHE_E_NOMEM, "no memory to plan a network");
}

/* ---- activations ---- */

/* The schedule of one channel for a range of at least `scale`; way < 0: the cheapest. */
static rfhe_status schedule_channel(rfhe_paf_schedule *out, double *range, const rfhe_paf *paf, double scale, int way,
                                    rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf p;

    *range = scale;
    for (int k = 0; k <= 8; k++) {
        const double r = scale * exp2(k / 4.0);
        p = *paf;
        if (k > 0) { rfhe_paf_rescale(&p, scale, r); }
        st = way < 0 ? rfhe_paf_schedule_relu(out, &p, err) : rfhe_paf_schedule_relu_way(out, &p, (uint32_t)way, err);
        *range = r;
        if (st != RFHE_OK || fabs(out->out_scale) >= 0x1p-10) { break; }
    }
    return st;
}

static bool same_steps(const rfhe_paf_schedule *a, const rfhe_paf_schedule *b)
{
    if (a->n_steps != b->n_steps) { return false; }
    for (uint32_t k = 0; k < a->n_steps; k++) {
        const rfhe_paf_step *x = &a->step[k], *y = &b->step[k];
        if (x->op != y->op || x->a != y->a || x->b != y->b) { return false; }
        if (x->op == RFHE_PAF_OP_INT && x->c != y->c) { return false; }
    }
    return true;
}

/* Sums that a polynomial of high degree makes of numbers outside of its range are cleared before it instead of after. */
static bool needs_mask(const rfhe_paf *p)
{
    return p->kind == RFHE_PAF_SIGN ? p->n_stages > 1 || p->n_terms[0] > 3 : p->n_terms[0] > (p->kind == RFHE_PAF_EVEN ? 6 : 9);
}

/* Coefficients that are exactly zero let a schedule skip steps that other channels need. */
static void make_generic(rfhe_paf *p, double by)
{
    for (uint32_t k = 0; k < p->n_stages; k++) {
        for (uint32_t j = 0; j < p->n_terms[k]; j++) {
            p->coef[k][j] = p->coef[k][j] * (1 + by * (j + 1)) + (p->coef[k][j] == 0 ? by * (j + 1) : 0);
        }
    }
}

/* All channels one way. *other: the first channel whose steps differ from those of channel 0; sets if none does. */
static rfhe_status schedule_one_way(rfhe_paf_schedule *plan, double *range, size_t *other, const rfhe_paf *paf,
                                    const double *scale, size_t sets, int way, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    *other = sets;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < sets; i++) {
        rfhe_error own = {0};
        const rfhe_status mine = schedule_channel(&plan[i], &range[i], &paf[i], scale[i], way, &own);
        if (mine != RFHE_OK) {
#pragma omp critical
            if (st == RFHE_OK) { st = rfhe_fail(err, mine, "%s", own.text); }
        }
    }
    for (size_t i = 0; i < sets && st == RFHE_OK && *other == sets; i++) {
        if (!same_steps(&plan[0], &plan[i])) { *other = i; }
    }
    return st;
}

/* How much an error of 1 in every register, independent of one another, is worth in the value: the largest root of a sum
 * of squares over u in [-1, 1]. About 1 for a good schedule; log2 of it is the number of bits lost. */
static double schedule_gain(const rfhe_paf_schedule *plan)
{
    double r[RFHE_PAF_MAX_STEPS], d[RFHE_PAF_MAX_STEPS], most = 0;

    for (int p = -8; p <= 8; p++) {
        double sum = 0;
        for (uint32_t k = 0; k < plan->n_steps; k++) {
            const rfhe_paf_step *t = &plan->step[k];
            d[k] = 0;
            switch (t->op) {
            case RFHE_PAF_OP_INPUT: r[k] = p / 8.0; break;
            case RFHE_PAF_OP_MUL: r[k] = r[t->a] * r[t->b]; break;
            case RFHE_PAF_OP_SCALE:
            case RFHE_PAF_OP_INT: r[k] = r[t->a] * t->c; break;
            case RFHE_PAF_OP_ADD: r[k] = r[t->a] + r[t->b]; break;
            case RFHE_PAF_OP_CONST: r[k] = r[t->a] + t->c; break;
            }
        }
        d[plan->n_steps - 1] = plan->out_scale;
        for (uint32_t k = plan->n_steps; k-- > 0;) {
            const rfhe_paf_step *t = &plan->step[k];
            switch (t->op) {
            case RFHE_PAF_OP_INPUT: break;
            case RFHE_PAF_OP_MUL:
                d[t->a] += d[k] * r[t->b];
                d[t->b] += d[k] * r[t->a];
                break;
            case RFHE_PAF_OP_SCALE:
            case RFHE_PAF_OP_INT: d[t->a] += d[k] * t->c; break;
            case RFHE_PAF_OP_ADD:
                d[t->a] += d[k];
                d[t->b] += d[k];
                break;
            case RFHE_PAF_OP_CONST: d[t->a] += d[k]; break;
            }
            if (t->op == RFHE_PAF_OP_MUL || t->op == RFHE_PAF_OP_SCALE) { sum += d[k] * d[k]; }
        }
        most = fmax(most, sqrt(sum));
    }
    return most;
}

/* In units of a product: a level is worth twenty, a bit of precision beyond the first three four. */
static double schedule_cost(const rfhe_paf_schedule *plan, size_t sets)
{
    double most = 1;

    for (size_t i = 0; i < sets; i++) { most = fmax(most, schedule_gain(&plan[i])); }
    return plan[0].depth * 20.0 + plan[0].products + plan[0].plain_products * 0.2 + 4 * fmax(0, log2(most) - 3);
}

/* One list of steps for all channels: the cheapest if it is the same for all and precise, else the best of the fixed
 * ways. Last, the fixed ways for coefficients moved by parts in 10^6, so that none is special. */
static rfhe_status schedule_channels(lowering *s, const rfhe_node *node, rfhe_paf_schedule *plan, double *range, rfhe_paf *paf,
                                     const double *scale, size_t sets)
{
    enum { NONE = -2 };
    rfhe_status st = RFHE_OK;
    size_t other = 0, first = 0;
    rfhe_error e = {0};

    for (int attempt = 0; attempt < 2; attempt++) {
        double best = INFINITY, without_gain = 0;
        int way = NONE;
        for (size_t i = 0; i < sets && attempt > 0; i++) { make_generic(&paf[i], 1e-6 * (1 + (double)i / (double)sets)); }
        for (int w = -1; w < RFHE_PAF_WAYS; w++) {
            st = schedule_one_way(plan, range, &other, paf, scale, sets, w, w < 0 ? s->err : &e);
            if (w < 0) {
                RFHE_TRY(st);
                first = other;
            }
            if (st != RFHE_OK || other != sets) { continue; }
            const double cost = schedule_cost(plan, sets);
            if (cost < best) {
                best = cost;
                way = w;
            }
            without_gain = plan[0].depth * 20.0 + plan[0].products + plan[0].plain_products * 0.2;
            if (w < 0 && cost < without_gain + 1) { return RFHE_OK; }
        }
        if (way != NONE) { return schedule_one_way(plan, range, &other, paf, scale, sets, way, s->err); }
    }
    st = rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "node '%s' (%s) cannot be planned: the polynomials of channels 0 and %zu need "
                   "different steps", node->name, rfhe_paf_node_form(node), first);

done:
    return st;
}

static rfhe_status make_activation(lowering *s, uint32_t k)
{
    const rfhe_fold_source *q = &s->f->source[k];
    rfhe_activation *a = &s->activation[k];
    const uint32_t channels = q->channels;
    rfhe_status st = RFHE_OK;
    rfhe_paf *paf = NULL;
    double *scale = NULL;
    rfhe_paf_schedule *plan = NULL;
    size_t sets = 0;

    a->range = rfhe_alloc(channels, sizeof(double));
    a->gain = rfhe_alloc(channels, sizeof(double));
    if (a->range == NULL || a->gain == NULL) { return no_memory(s); }
    if (q->node == RFHE_NO_NODE) {
        (void)snprintf(a->form, sizeof a->form, "identity");
        for (uint32_t c = 0; c < channels; c++) { a->range[c] = a->gain[c] = q->range[c]; }
        return RFHE_OK;
    }
    const rfhe_node *node = &s->f->graph->nodes[q->node];
    (void)snprintf(a->form, sizeof a->form, "%s", rfhe_paf_node_form(node));
    RFHE_TRY(rfhe_paf_node_get(s->f->graph, node, NULL, NULL, &sets, s->err));
    paf = rfhe_alloc(sets, sizeof *paf);
    scale = rfhe_alloc(sets, sizeof *scale);
    plan = rfhe_alloc(sets, sizeof *plan);
    if (paf == NULL || scale == NULL || plan == NULL) {
        st = no_memory(s);
        goto done;
    }
    RFHE_TRY(rfhe_paf_node_get(s->f->graph, node, paf, scale, &sets, s->err));
    RFHE_TRY(schedule_channels(s, node, plan, a->range, paf, scale, sets));
    a->n_steps = plan[0].n_steps;
    a->depth = plan[0].depth;
    a->mask_level = needs_mask(&paf[0]);
    a->step = rfhe_alloc(a->n_steps, sizeof *a->step);
    a->c = rfhe_alloc((size_t)a->n_steps * channels, sizeof *a->c);
    if (a->step == NULL || a->c == NULL) {
        st = no_memory(s);
        goto done;
    }
    rfhe_poly_steps(a->step, &plan[0]);
    for (uint32_t n = 0; n < a->n_steps; n++) {
        if (a->step[n].op == RFHE_POLY_SCALE || a->step[n].op == RFHE_POLY_CONST) { a->step[n].c = 0; } /* by channel */
        for (size_t c = 0; c < channels; c++) { a->c[n * channels + c] = plan[sets == 1 ? 0 : c].step[n].c; }
    }
    for (uint32_t c = channels; c-- > 0;) {
        const size_t set = sets == 1 ? 0 : c;
        a->range[c] = a->range[set];
        a->gain[c] = a->range[c] * plan[set].out_scale;
    }

done:
    rfhe_free(paf);
    rfhe_free(scale);
    rfhe_free(plan);
    return st;
}

/* ---- parameters ---- */

static void use_set(rfhe_program *p, const rfhe_refresh_set *set)
{
    (void)snprintf(p->set, sizeof p->set, "%s", set->name);
    p->ckks = set->ckks;
    p->refresh = set->refresh;
    if (p->refresh.to_coeffs_factors == 0) { p->refresh.to_coeffs_factors = 2; }
    p->refresh.to_coeffs_level = p->refresh.to_coeffs_factors + 1;
}

/* A chain of 2^16 with as many levels as wanted: 40 bits for a level, 50 for the reduction. */
static rfhe_status make_chain(rfhe_program *p, uint32_t depth, rfhe_error *err)
{
    rfhe_ckks_options *o = &p->ckks;
    uint32_t n = 0;
    const uint32_t bits = 50 + 40 * (4 + depth) + 500; /* without special primes */

    if (depth > 24 || bits + 2 + 50 > 1747) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "activations of depth %" PRIu32 " are too deep for a ring of 2^16", depth);
    }
    (void)snprintf(p->set, sizeof p->set, "C16-%" PRIu32, depth);
    *o = (rfhe_ckks_options){.log2_n = 16};
    o->chain[n] = 50;
    o->chain_scale[n++] = 40;
    for (uint32_t k = 0; k < 1 + 3 + depth; k++) {
        o->chain[n] = 40;
        o->chain_scale[n++] = 40;
    }
    for (uint32_t k = 0; k < 8 + 2; k++) {
        o->chain[n] = 50;
        o->chain_scale[n++] = 50;
    }
    o->chain_length = n;
    /* Special primes: as many as the table of security has room for, up to seven. */
    o->special_bits = 50;
    o->special_count = (1747 - 2 - bits) / 50 < 7 ? (1747 - 2 - bits) / 50 : 7;
    p->refresh = (rfhe_refresh_options){.to_coeffs_factors = 3, .to_coeffs_level = 4};
    return RFHE_OK;
}

rfhe_status rfhe_plan_set(rfhe_program *p, const char *name, rfhe_error *err)
{
    const rfhe_refresh_set *set = rfhe_refresh_set_find(name);
    char *end = NULL;

    p->level_linear = 1;
    if (set != NULL) {
        use_set(p, set);
        return RFHE_OK;
    }
    if (strncmp(name, "C16-", 4) == 0 && name[4] >= '0' && name[4] <= '9') {
        const unsigned long depth = strtoul(name + 4, &end, 10);
        if (*end == '\0' && depth <= 64) { return make_chain(p, (uint32_t)depth, err); }
    }
    return rfhe_fail(err, RFHE_E_ARG, "there is no parameter set '%s'", name);
}

static rfhe_status choose_parameters(lowering *s)
{
    uint32_t depth = 0, deepest = 0;
    rfhe_status st = RFHE_OK;

    for (uint32_t k = 1; k < s->f->n_sources; k++) {
        const uint32_t d = s->activation[k].depth + s->activation[k].mask_level;
        if (d > depth) {
            depth = d;
            deepest = k;
        }
    }
    if (s->opt->set != NULL) {
        RFHE_TRY(rfhe_plan_set(s->p, s->opt->set, s->err));
        if (rfhe_usable_levels(s->p) < depth) {
            st = rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "node '%s' (%s) needs %" PRIu32 " levels; the set %s has %" PRIu32,
                           s->f->source[deepest].name, s->activation[deepest].form, depth, s->p->set, rfhe_usable_levels(s->p));
        }
        return st;
    }
    static const char *const names[] = {"B15-2", "B15-3", "B15-5"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        RFHE_TRY(rfhe_plan_set(s->p, names[i], s->err));
        if (rfhe_usable_levels(s->p) >= depth) { return RFHE_OK; }
    }
    s->p->level_linear = 1;
    if (make_chain(s->p, depth, NULL) != RFHE_OK) {
        st = rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "node '%s' (%s) is too deep even for a ring of 2^16: %" PRIu32 " levels",
                       s->f->source[deepest].name, s->activation[deepest].form, depth);
    }

done:
    return st;
}

/* ---- choice of the grid ---- */

/* For every pair (output channel, source channel) before the cut, whether there is any weight. */
typedef struct dependence {
    uint32_t source, out_channels, in_channels;
    uint8_t *any;
    bool dense;
} dependence;

typedef struct piece { /* the linear piece before source k, or before the reply */
    dependence *d;
    uint32_t n;
} piece;

static void pieces_free(piece *p, uint32_t n)
{
    for (uint32_t k = 0; p != NULL && k < n; k++) {
        for (uint32_t t = 0; p[k].d != NULL && t < p[k].n; t++) { rfhe_free(p[k].d[t].any); }
        rfhe_free(p[k].d);
    }
    rfhe_free(p);
}

static rfhe_status piece_make(lowering *s, piece *p, const rfhe_affine *a)
{
    p->d = rfhe_calloc(a->n_terms, sizeof *p->d);
    if (p->d == NULL) { return no_memory(s); }
    p->n = a->n_terms;
    for (uint32_t t = 0; t < a->n_terms; t++) {
        const rfhe_affine_term *m = &a->term[t];
        const size_t taps = (size_t)m->height * m->width;
        dependence *d = &p->d[t];
        *d = (dependence){.source = m->source, .out_channels = a->channels, .in_channels = m->in_channels, .dense = true};
        d->any = rfhe_calloc((size_t)a->channels * m->in_channels, 1);
        if (d->any == NULL) { return no_memory(s); }
        for (size_t k = 0; k < (size_t)a->channels * m->in_channels; k++) {
            for (size_t i = 0; i < taps && d->any[k] == 0; i++) { d->any[k] = m->w[k * taps + i] != 0; }
            d->dense = d->dense && d->any[k] != 0;
        }
    }
    return RFHE_OK;
}

/* Estimated products: output channels after the cut, times source ciphertexts that hold a channel they depend on. */
static double products_of(const dependence *d, uint32_t cut_out, uint32_t cut_in, const rfhe_layout *in)
{
    if (d->dense) { return (double)d->out_channels * cut_out * in->ciphertexts; }
    double n = 0;
    for (size_t o = 0; o < d->out_channels; o++) {
        int64_t last = -1;
        for (size_t c = 0; c < d->in_channels; c++) {
            if (d->any[o * d->in_channels + c] == 0) { continue; }
            const int64_t from = (int64_t)(c * cut_in / in->block), to = (int64_t)(((c + 1) * cut_in - 1) / in->block);
            n += (double)(to - (from > last ? from : last + 1) + 1);
            last = to;
        }
    }
    return n * cut_out;
}

static double activation_seconds(const lowering *s, const rfhe_activation *a, const rfhe_layout *l)
{
    return l->ciphertexts * rfhe_cost_activation(&s->machine, a, rfhe_usable_levels(s->p), l->both_halves);
}

/* What a grid would cost; INFINITY when something does not fit. */
static double grid_seconds(lowering *s, const piece *pieces, const rfhe_grid *grid)
{
    double sum = 0;

    if (!rfhe_layouts_make(s->layout, s->place, s->f, grid)) { return INFINITY; }
    for (uint32_t k = 1; k <= s->f->n_sources; k++) {
        const bool reply = k == s->f->n_sources;
        const uint32_t cut = reply ? 1 : s->place[k].cut_y * s->place[k].cut_x;
        for (uint32_t t = 0; t < pieces[k].n; t++) {
            const dependence *d = &pieces[k].d[t];
            const rfhe_place *from = &s->place[d->source];
            sum += s->machine.product * products_of(d, cut, from->cut_y * from->cut_x, &s->layout[d->source]);
        }
        if (reply) { break; }
        const rfhe_layout *l = &s->layout[k];
        sum += activation_seconds(s, &s->activation[k], l) + l->ciphertexts * s->machine.finish;
        for (uint32_t c = 0; c < l->channels; c += l->block) {
            const uint32_t n = l->channels - c < l->block ? l->channels - c : l->block;
            sum += s->machine.merge * (double)rfhe_pack_merges(n, l->block);
        }
    }
    return sum;
}

/* Whether every linear piece reads zeros outside of its sources, on the layouts at hand. */
static rfhe_status grid_is_sound(lowering *s, uint32_t log2_n)
{
    rfhe_status st = RFHE_OK;
    rfhe_stencil stencil = {0};
    const rfhe_place whole = {.cut_y = 1, .cut_x = 1};

    for (uint32_t k = 0; k < s->f->n_sources; k++) {
        RFHE_TRY(rfhe_layout_check(&s->layout[k], log2_n, s->f->source[k].name, s->err));
    }
    for (uint32_t k = 1; k <= s->f->n_sources; k++) {
        const bool reply = k == s->f->n_sources;
        const rfhe_fold_source *q = reply ? NULL : &s->f->source[k];
        const rfhe_affine *a = reply ? &s->f->out : &q->in;
        for (uint32_t t = 0; t < a->n_terms; t++) {
            /* One channel of each stands for all: rows and columns with any weight are what matters. */
            const rfhe_affine_term *m = &a->term[t];
            const size_t taps = (size_t)m->height * m->width;
            const double one = 1;
            rfhe_affine form = *a;
            rfhe_affine_term all = *m;
            form.channels = all.in_channels = 1;
            form.height = reply ? 1 : q->height;
            form.width = reply ? 1 : q->width;
            all.w = rfhe_calloc(taps, sizeof *all.w);
            if (all.w == NULL) { return no_memory(s); }
            for (size_t i = 0; i < (size_t)a->channels * m->in_channels * taps; i++) {
                if (m->w[i] != 0) { all.w[i % taps] = 1; }
            }
            st = rfhe_stencil_cut(&stencil, &form, &all, &s->place[m->source], reply ? &whole : &s->place[k], &one, &one, s->err);
            rfhe_free(all.w);
            RFHE_TRY(st);
            rfhe_layout to = reply ? rfhe_layout_of_numbers(1, log2_n) : s->layout[k], from = s->layout[m->source];
            to.channels = stencil.out_channels;
            from.channels = stencil.in_channels;
            RFHE_TRY(rfhe_layout_check_term(&to, &from, &stencil, log2_n, reply ? s->f->out_name : q->name, s->err));
            rfhe_free(stencil.w);
            stencil.w = NULL;
        }
    }

done:
    rfhe_free(stencil.w);
    return st;
}

typedef struct candidate { /* of a packing */
    rfhe_grid grid;
    double seconds;
} candidate;

static int cheaper(const void *a, const void *b)
{
    const candidate *x = a, *y = b;

    if (x->seconds != y->seconds) { return x->seconds < y->seconds ? -1 : 1; }
    return x->grid.pitch < y->grid.pitch ? -1 : x->grid.pitch > y->grid.pitch;
}

enum { MAX_CUT_LOG2 = 6, MAX_EXTRA = 24, MAX_CANDIDATES = 1 << 16 };

/* The cheapest sound grid for the program's packing, of `most` seconds or less. RFHE_E_UNSUPPORTED when there is none. */
static rfhe_status choose_grid(candidate *out, lowering *s, const piece *pieces, double most)
{
    const rfhe_fold_source *image = &s->f->source[0];
    const uint32_t log2_n = rfhe_program_log2_used(s->p);
    rfhe_status st = RFHE_OK;
    candidate *list = rfhe_alloc(MAX_CANDIDATES, sizeof *list);
    rfhe_error *const err = s->err;
    rfhe_error first = {0};
    size_t count = 0;

    if (list == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (uint32_t cy = 0; cy <= MAX_CUT_LOG2; cy++) {
        for (uint32_t cx = 0; cx <= MAX_CUT_LOG2; cx++) {
            if (image->height % (1U << cy) != 0 || image->width % (1U << cx) != 0) { continue; }
            const uint32_t width = image->width >> cx, height = image->height >> cy;
            for (uint32_t u = 0; u < log2_n; u++) {
                for (uint32_t extra = 0; extra <= MAX_EXTRA; extra++) {
                    const rfhe_grid g = {.log2_n = log2_n, .cut_y = 1U << cy, .cut_x = 1U << cx, .unit = 1U << u, .pitch = width + extra};
                    if ((uint64_t)(height - 1) * g.pitch * g.unit > UINT64_C(1) << log2_n) { break; }
                    const double seconds = grid_seconds(s, pieces, &g);
                    if (isfinite(seconds) && seconds <= most && count < MAX_CANDIDATES) { list[count++] = (candidate){g, seconds}; }
                }
            }
        }
    }
    qsort(list, count, sizeof *list, cheaper);
    st = RFHE_E_UNSUPPORTED;
    for (size_t i = 0; i < count && st != RFHE_OK; i++) {
        rfhe_error e = {0};
        s->err = &e;
        (void)rfhe_layouts_make(s->layout, s->place, s->f, &list[i].grid);
        st = grid_is_sound(s, log2_n);
        s->err = err;
        if (i == 0) { first = e; }
        if (st == RFHE_E_NOMEM) { break; }
        *out = list[i];
    }
    if (st != RFHE_OK && count > 0) {
        st = rfhe_fail(err, st, "no layout was found; the best fails because %.160s", first.text);
    } else if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "an image of %" PRIu32 " x %" PRIu32 " does not fit a ring of 2^%" PRIu32 " in any layout",
                       image->height, image->width, log2_n);
    }

done:
    rfhe_free(list);
    return st;
}

/* ---- emission ---- */

/* w * gain / range, cut. `range` NULL: divided by `by` throughout. */
static rfhe_status emit_terms(lowering *s, rfhe_linear *l, const rfhe_affine *a, const rfhe_place *to, const uint32_t height,
                              const uint32_t width, const double *out_factor)
{
    rfhe_status st = RFHE_OK;
    double *ones = NULL;
    rfhe_affine form = *a;

    form.height = height;
    form.width = width;
    l->term = rfhe_calloc(a->n_terms, sizeof *l->term);
    ones = rfhe_alloc(s->f->source[0].channels, sizeof *ones);
    if (l->term == NULL || ones == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (uint32_t c = 0; c < s->f->source[0].channels; c++) { ones[c] = 1; }
    for (uint32_t t = 0; t < a->n_terms; t++) {
        const uint32_t source = a->term[t].source;
        const double *gain = source == 0 ? ones : s->activation[source].gain;
        RFHE_TRY(rfhe_stencil_cut(&l->term[t].stencil, &form, &a->term[t], &s->place[source], to, out_factor, gain, s->err));
        l->term[t].tensor = 2 * source;
        l->n_terms = t + 1;
    }
    if (a->bias != NULL) {
        const uint32_t cut = to->cut_y * to->cut_x, rows = height / to->cut_y, columns = width / to->cut_x;
        const size_t places = (size_t)rows * columns;
        l->bias = rfhe_alloc(a->channels * cut * places, sizeof *l->bias);
        if (l->bias == NULL) {
            st = no_memory(s);
            goto done;
        }
        for (size_t o = 0; o < (size_t)a->channels * cut; o++) {
            const size_t c = o / cut, py = o % cut / to->cut_x, px = o % to->cut_x;
            for (size_t k = 0; k < places; k++) {
                const size_t y = k / columns * to->cut_y + py, x = k % columns * to->cut_x + px;
                l->bias[o * places + k] = (float)(a->bias[(c * a->height + y) * a->width + x] * out_factor[c]);
            }
        }
    }

done:
    rfhe_free(ones);
    return st;
}

/* Numbers per channel to numbers per cut channel. */
static double *spread(const double *from, uint32_t rows, uint32_t channels, uint32_t cut)
{
    double *to = rfhe_alloc((size_t)rows * channels * cut, sizeof *to);

    for (size_t k = 0; to != NULL && k < (size_t)rows * channels * cut; k++) { to[k] = from[k / cut]; }
    return to;
}

static rfhe_status emit_activation(lowering *s, rfhe_activation *to, uint32_t k)
{
    const rfhe_fold_source *q = &s->f->source[k];
    rfhe_activation *a = &s->activation[k];
    const uint32_t cut = s->place[k].cut_y * s->place[k].cut_x;

    *to = *a;
    to->c = to->range = to->gain = NULL;
    to->step = NULL;
    to->weight = NULL;
    if (a->n_steps > 0) {
        to->step = rfhe_alloc(a->n_steps, sizeof *to->step);
        to->c = spread(a->c, a->n_steps, q->channels, cut);
        if (to->step == NULL || to->c == NULL) { return no_memory(s); }
        memcpy(to->step, a->step, a->n_steps * sizeof *to->step);
    }
    to->range = spread(a->range, 1, q->channels, cut);
    to->gain = spread(a->gain, 1, q->channels, cut);
    if (to->range == NULL || to->gain == NULL) { return no_memory(s); }
    if (q->weight != NULL) {
        const uint32_t cy = s->place[k].cut_y, cx = s->place[k].cut_x;
        const size_t rows = q->height / cy, columns = q->width / cx;
        to->weight = rfhe_alloc((size_t)q->channels * q->height * q->width, sizeof *to->weight);
        if (to->weight == NULL) { return no_memory(s); }
        for (size_t i = 0; i < (size_t)q->channels * q->height * q->width; i++) {
            const size_t o = i / (rows * columns), y = i / columns % rows * cy + o % cut / cx, x = i % columns * cx + o % cx;
            to->weight[i] = q->weight[(o / cut * q->in.height + y) * q->in.width + x];
        }
    }
    return RFHE_OK;
}

static void copy_name(char to[96], const char *from)
{
    (void)snprintf(to, 96, "%s", from);
}

static rfhe_status emit_reply(lowering *s)
{
    rfhe_program *p = s->p;
    const rfhe_affine *a = &s->f->out;
    const rfhe_place whole = {.cut_y = 1, .cut_x = 1};
    rfhe_status st = RFHE_OK;
    double *factor = rfhe_alloc(a->channels, sizeof *factor), most = 0;
    rfhe_instruction *i = &p->instruction[p->n_instructions];

    if (factor == NULL) { return no_memory(s); }
    /* A number of the reply must stay below q_0 / (2 scale) = 2^9, with room for the packing. */
    rfhe_affine_bound(factor, a, s->f);
    for (uint32_t o = 0; o < a->channels; o++) { most = fmax(most, factor[o]); }
    p->reply_gain = most > 0 ? most / 32 : 1;
    for (uint32_t o = 0; o < a->channels; o++) { factor[o] = 1 / p->reply_gain; }
    RFHE_TRY(emit_terms(s, &p->linear[p->n_linear], a, &whole, 1, 1, factor));
    *i = (rfhe_instruction){.kind = RFHE_DO_REPLY, .out = p->n_tensors, .which = p->n_linear, .level_in = p->level_linear};
    copy_name(i->name, s->f->out_name);
    p->n_instructions++;
    p->n_linear++;
    p->tensor[p->n_tensors].layout = rfhe_layout_of_numbers(a->channels, rfhe_program_log2_used(p));
    copy_name(p->tensor[p->n_tensors].name, s->f->out_name);
    p->n_tensors++;
    p->outputs = a->channels;

done:
    rfhe_free(factor);
    return st;
}

static rfhe_status copy_meta(lowering *s)
{
    const rfhe_graph *g = s->f->graph;
    rfhe_program *p = s->p;

    p->meta = rfhe_calloc(g->n_metas, sizeof *p->meta);
    if (p->meta == NULL) { return no_memory(s); }
    for (uint32_t k = 0; k < g->n_metas; k++) {
        static const char *const wanted[] = {"rfhe.mean", "rfhe.std", "rfhe.resize", "rfhe.crop", "rfhe.classes", "rfhe.labels", "rfhe.data"};
        bool keep = false;
        for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++) { keep = keep || strcmp(g->metas[k].key, wanted[w]) == 0; }
        if (!keep) { continue; }
        rfhe_meta *m = &p->meta[p->n_meta++];
        m->key = rfhe_strdup(g->metas[k].key);
        m->value = rfhe_strdup(g->metas[k].value);
        if (m->key == NULL || m->value == NULL) { return no_memory(s); }
    }
    return RFHE_OK;
}

static void find_last_uses(rfhe_program *p)
{
    for (uint32_t t = 0; t < p->n_tensors; t++) { p->tensor[t].last_use = 0; }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *n = &p->instruction[i];
        p->tensor[n->out].last_use = i;
        if (n->kind == RFHE_DO_ACTIVATE) {
            p->tensor[n->in].last_use = i;
            continue;
        }
        for (uint32_t t = 0; t < p->linear[n->which].n_terms; t++) { p->tensor[p->linear[n->which].term[t].tensor].last_use = i; }
    }
}

static rfhe_status emit(lowering *s)
{
    rfhe_program *p = s->p;
    const rfhe_folded *f = s->f;
    const uint32_t n = f->n_sources;
    rfhe_status st = RFHE_OK;
    double *factor = NULL;

    p->linear = rfhe_calloc(n, sizeof *p->linear);
    p->activation = rfhe_calloc(n, sizeof *p->activation);
    p->instruction = rfhe_calloc(2 * (size_t)n, sizeof *p->instruction);
    p->tensor = rfhe_calloc(2 * (size_t)n, sizeof *p->tensor);
    if (p->linear == NULL || p->activation == NULL || p->instruction == NULL || p->tensor == NULL) { return no_memory(s); }
    (void)snprintf(p->model, sizeof p->model, "%s", f->graph->name != NULL ? f->graph->name : "");
    p->image_channels = f->source[0].channels;
    p->image_height = f->source[0].height;
    p->image_width = f->source[0].width;
    p->phase_y = s->place[0].cut_y;
    p->phase_x = s->place[0].cut_x;
    p->tensor[0].layout = s->layout[0];
    copy_name(p->tensor[0].name, f->source[0].name);
    p->n_tensors = 1;
    /* Tensor 2k - 1 enters activation k, tensor 2k leaves it. */
    for (uint32_t k = 1; k < n; k++) {
        const rfhe_fold_source *q = &f->source[k];
        rfhe_free(factor);
        factor = rfhe_alloc(q->channels, sizeof *factor);
        if (factor == NULL) {
            st = no_memory(s);
            goto done;
        }
        for (uint32_t c = 0; c < q->channels; c++) { factor[c] = 1 / s->activation[k].range[c]; }
        p->n_linear = k;
        RFHE_TRY(emit_terms(s, &p->linear[k - 1], &q->in, &s->place[k], q->height, q->width, factor));
        p->n_activations = k;
        RFHE_TRY(emit_activation(s, &p->activation[k - 1], k));
        rfhe_instruction *const i = &p->instruction[2 * k - 2];
        i[0] = (rfhe_instruction){.kind = RFHE_DO_LINEAR, .out = 2 * k - 1, .which = k - 1, .level_in = p->level_linear};
        i[1] = (rfhe_instruction){.kind = RFHE_DO_ACTIVATE, .out = 2 * k, .in = 2 * k - 1, .which = k - 1, .level_out = p->level_linear};
        copy_name(i[0].name, q->name);
        copy_name(i[1].name, q->name);
        p->n_instructions = 2 * k;
        for (uint32_t t = 2 * k - 1; t <= 2 * k; t++) {
            p->tensor[t].layout = s->layout[k];
            copy_name(p->tensor[t].name, q->name);
        }
        p->n_tensors = 2 * k + 1;
        if (s->layout[k].both_halves) { p->refresh.complex_slots = true; }
    }
    RFHE_TRY(emit_reply(s));
    find_last_uses(p);
    RFHE_TRY(copy_meta(s));

done:
    rfhe_free(factor);
    return st;
}

/* The calibration for the set in use, or built-in times. */
static void choose_machine(lowering *s)
{
    const uint32_t threads = s->opt->threads != 0 ? s->opt->threads : rfhe_threads_get();

    rfhe_machine_choose(&s->machine, s->p, threads, s->opt->machine, s->opt->n_machines);
}

/* ---- the packing ---- */

typedef struct packing {
    uint32_t log2_gap;
    candidate best;
} packing;

enum { MAX_PACKINGS = 32 };

static int faster(const void *a, const void *b)
{
    const packing *x = a, *y = b;

    return x->best.seconds < y->best.seconds ? -1 : x->best.seconds > y->best.seconds;
}

static void use_packing(lowering *s, uint32_t log2_gap, bool is_lean)
{
    s->p->refresh.log2_slots = log2_gap > 0 ? s->p->ckks.log2_n - 1 - log2_gap : 0;
    s->p->refresh.lean = is_lean;
    choose_machine(s);
}

/* Every packing worth a look, the fastest first: from all slots on to ever wider gaps, as long as the network fits and
 * does not take twice as long as the fastest because it needs more ciphertexts. */
static rfhe_status find_packings(packing *list, size_t *count, lowering *s)
{
    const uint32_t n = s->f->n_sources, log2_n = s->p->ckks.log2_n;
    rfhe_error *const err = s->err;
    rfhe_status st = RFHE_OK;
    piece *pieces = rfhe_calloc((size_t)n + 1, sizeof *pieces);
    double least = INFINITY;

    *count = 0;
    if (pieces == NULL) { return no_memory(s); }
    for (uint32_t k = 1; k <= n; k++) { RFHE_TRY(piece_make(s, &pieces[k], k < n ? &s->f->source[k].in : &s->f->out)); }
    for (uint32_t gap = 0; gap == 0 || log2_n - 1 - gap >= RFHE_MIN_LOG2_SLOTS; gap++) {
        packing *const k = &list[*count];
        rfhe_error none = {0};
        if (gap > 0 && s->f->out.channels > UINT32_C(1) << (log2_n - 1 - gap)) { break; } /* the reply is one ciphertext */
        k->log2_gap = gap;
        use_packing(s, gap, false);
        s->err = gap > 0 ? &none : err;
        st = choose_grid(&k->best, s, pieces, 2 * least);
        s->err = err;
        if (st == RFHE_E_UNSUPPORTED && gap > 0) {
            st = RFHE_OK;
            break;
        }
        RFHE_TRY(st);
        least = fmin(least, k->best.seconds);
        if (++*count == MAX_PACKINGS) { break; }
    }
    qsort(list, *count, sizeof *list, faster);

done:
    pieces_free(pieces, n + 1);
    return st;
}

/* The program of a packing, with its bill if one is wanted, instead of the one at hand. */
static rfhe_status make_program(lowering *s, const packing *k, bool is_lean)
{
    rfhe_status st = RFHE_OK;
    rfhe_program *p = rfhe_calloc(1, sizeof *p);

    if (p == NULL) { return no_memory(s); }
    p->ckks = s->p->ckks;
    p->refresh = s->p->refresh;
    p->refresh.complex_slots = false;
    p->level_linear = s->p->level_linear;
    memcpy(p->set, s->p->set, sizeof p->set);
    rfhe_program_free(s->p);
    s->p = p;
    use_packing(s, k->log2_gap, is_lean);
    (void)rfhe_layouts_make(s->layout, s->place, s->f, &k->best.grid);
    RFHE_TRY(emit(s));
    RFHE_TRY(rfhe_program_check(s->p, s->err));
    if (!s->opt->no_bill) { RFHE_TRY(rfhe_plan_cost(s->p, &s->machine, s->err)); }

done:
    return st;
}

/* The fastest packing within the budget; if there is none, the fastest with fewer keys. */
static rfhe_status choose_program(lowering *s)
{
    packing list[MAX_PACKINGS];
    size_t count = 0;
    double memory = INFINITY, keys = 0;
    rfhe_status st = find_packings(list, &count, s);

    if (st != RFHE_OK) { return st; }
    for (size_t k = 0; k < 2 * count; k++) {
        st = make_program(s, &list[k % count], k >= count);
        if (st != RFHE_OK || s->opt->no_bill || s->opt->memory <= 0 || s->p->bill.memory_bytes <= s->opt->memory) { return st; }
        if (s->p->bill.memory_bytes < memory) {
            memory = s->p->bill.memory_bytes;
            keys = s->p->bill.key_bytes;
        }
    }
    return rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "this network needs at least %.1f GiB at the server (keys %.1f GiB), more than "
                     "the %.1f GiB allowed", memory / 0x1p30, keys / 0x1p30, s->opt->memory / 0x1p30);
}

rfhe_status rfhe_plan(rfhe_program **out, const rfhe_graph *g, const rfhe_plan_options *opt, rfhe_error *err)
{
    const rfhe_plan_options none = {0};
    rfhe_status st = RFHE_OK;
    lowering s = {.opt = opt != NULL ? opt : &none, .err = err};

    RFHE_TRY(rfhe_fold(&s.f, g, err));
    s.p = rfhe_calloc(1, sizeof *s.p);
    s.place = rfhe_calloc(s.f->n_sources, sizeof *s.place);
    s.layout = rfhe_calloc(s.f->n_sources, sizeof *s.layout);
    s.activation = rfhe_calloc(s.f->n_sources, sizeof *s.activation);
    if (s.p == NULL || s.place == NULL || s.layout == NULL || s.activation == NULL) {
        st = no_memory(&s);
        goto done;
    }
    RFHE_TRY(rfhe_places_find(s.place, s.f, err));
    for (uint32_t k = 1; k < s.f->n_sources; k++) { RFHE_TRY(make_activation(&s, k)); }
    RFHE_TRY(choose_parameters(&s));
    if (s.opt->insecure_log2_n != 0) {
        s.p->ckks.log2_n = s.opt->insecure_log2_n;
        s.p->ckks.insecure_test = true;
    }
    RFHE_TRY(choose_program(&s));
    RFHE_TRY(rfhe_program_seal(s.p, err));
    *out = s.p;
    s.p = NULL;

done:
    if (s.activation != NULL) {
        for (uint32_t k = 0; k < s.f->n_sources; k++) {
            rfhe_free(s.activation[k].step);
            rfhe_free(s.activation[k].c);
            rfhe_free(s.activation[k].range);
            rfhe_free(s.activation[k].gain);
        }
    }
    rfhe_free(s.activation);
    rfhe_free(s.place);
    rfhe_free(s.layout);
    rfhe_program_free(s.p);
    rfhe_folded_free(s.f);
    return st;
}
