/* See cost.h. Networks for prices have one set of coefficients per activation: a plan of hundreds of channels takes seconds,
 * and costs the same. */
#include "search/cost.h"

#include "base/mem.h"
#include "plan/lower.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a plan says about one assignment. */
typedef struct quote {
    char set[16];
    uint32_t log2_n;
    double *seconds; /* [layers] */
    uint32_t *shape; /* [layers] ciphertexts * 2 + both halves: layers of equal shape cost the same */
    double fixed, memory;
    uint32_t need; /* levels of the deepest activation */
} quote;

typedef struct shop {
    const rfhe_bank *bank;
    const rfhe_graph *base;
    const rfhe_profile *profile;
    uint32_t threads;
} shop;

static rfhe_status quote_new(quote *q, size_t layers)
{
    *q = (quote){.seconds = rfhe_calloc(layers, sizeof *q->seconds),
                 .shape = rfhe_calloc(layers, sizeof *q->shape)};
    return q->seconds != NULL && q->shape != NULL ? RFHE_OK : RFHE_E_NOMEM;
}

static void quote_clear(quote *q)
{
    rfhe_free(q->seconds);
    rfhe_free(q->shape);
}

/* The network with the first channel's polynomial everywhere. */
static rfhe_status simple_network(rfhe_graph **out, const shop *s, const uint8_t *choice,
                                  rfhe_error *err)
{
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_graph_clone(&g, s->base));
    for (size_t l = 0; l < s->bank->layers; l++) {
        const rfhe_bank_entry *e = &s->bank->entry[l * s->bank->forms + choice[l]];
        for (uint32_t i = 0; i < g->n_nodes; i++) {
            if (!rfhe_method_is_activation(&g->nodes[i]) ||
                strcmp(g->nodes[i].name, s->profile->layer[l].node) != 0) {
                continue;
            }
            RFHE_TRY(rfhe_paf_node_set(g, i, s->bank->form[choice[l]], e->p, e->scale, 1, err));
            break;
        }
    }
    RFHE_TRY(rfhe_graph_tidy(g, err));
    RFHE_TRY(rfhe_graph_infer(g, 0, err));
    *out = g;
    g = NULL;

done:
    rfhe_graph_free(g);
    return st;
}

static size_t layer_of(const shop *s, const char *name)
{
    for (size_t l = 0; l < s->bank->layers; l++) {
        if (strncmp(s->profile->layer[l].node, name, 95) == 0) { return l; }
    }
    return SIZE_MAX;
}

static void read_bill(quote *q, const shop *s, const rfhe_program *p)
{
    q->log2_n = p->ckks.log2_n;
    q->memory = p->bill.memory_bytes;
    q->fixed = 0;
    q->need = 0;
    memcpy(q->set, p->set, sizeof q->set);
    for (size_t l = 0; l < s->bank->layers; l++) { q->seconds[l] = 0; }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *n = &p->instruction[i];
        const size_t l = n->kind == RFHE_DO_ACTIVATE ? layer_of(s, n->name) : SIZE_MAX;
        if (n->kind == RFHE_DO_ACTIVATE) {
            const rfhe_activation *a = &p->activation[n->which];
            q->need = a->depth + a->mask_level > q->need ? a->depth + a->mask_level : q->need;
        }
        if (l < s->bank->layers) {
            const rfhe_layout *at = &p->tensor[n->out].layout;
            q->seconds[l] += n->seconds;
            q->shape[l] = 2 * at->ciphertexts + at->both_halves;
        } else {
            q->fixed += n->seconds;
        }
    }
}

/* RFHE_E_UNSUPPORTED when the set does not carry it, or plan/ cannot lower the network. */
static rfhe_status ask(quote *q, const shop *s, const char *set, const uint8_t *choice,
                       rfhe_error *err)
{
    const rfhe_plan_options o = {.set = set, .threads = s->threads};
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(simple_network(&g, s, choice, err));
    RFHE_TRY(rfhe_plan(&p, g, &o, err));
    read_bill(q, s, p);

done:
    rfhe_program_free(p);
    rfhe_graph_free(g);
    return st;
}

/* ---- sets ---- */

static rfhe_price_set *add_set(rfhe_prices *out, const shop *s, const char *name)
{
    const size_t choices = s->bank->layers * s->bank->forms;
    rfhe_price_set *p = &out->set[out->n];

    *p = (rfhe_price_set){.seconds = rfhe_alloc(choices, sizeof *p->seconds)};
    if (p->seconds == NULL) { return NULL; }
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    for (size_t i = 0; i < choices; i++) { p->seconds[i] = INFINITY; }
    out->n++;
    return p;
}

static void take_quote(rfhe_price_set *p, const shop *s, const quote *q, size_t f, size_t skip)
{
    p->log2_n = q->log2_n;
    p->fixed_seconds = fmax(p->fixed_seconds, q->fixed);
    p->memory_bytes = fmax(p->memory_bytes, q->memory);
    for (size_t l = 0; l < s->bank->layers; l++) {
        if (l != skip) { p->seconds[l * s->bank->forms + f] = q->seconds[l]; }
    }
}

/* What the layer that carried another form would have cost: as much as one of its shape, else by another plan. */
static rfhe_status fill_skipped(rfhe_price_set *p, const shop *s, quote *q, uint8_t *choice,
                                size_t deep, size_t f, rfhe_error *err)
{
    const size_t layers = s->bank->layers;
    rfhe_status st = RFHE_OK;

    for (size_t l = 1; l < layers; l++) {
        if (q->shape[l] == q->shape[0]) {
            p->seconds[f] = q->seconds[l];
            return RFHE_OK;
        }
    }
    choice[0] = (uint8_t)f;
    choice[layers - 1] = (uint8_t)deep;
    RFHE_TRY(ask(q, s, NULL, choice, err));
    p->seconds[f] = q->seconds[0];

done:
    return st;
}

/* A chain made for forms of `need` levels, whose first is `deep`; shallower ones are priced beside it. */
static rfhe_status price_chain(rfhe_prices *out, const shop *s, quote *q, uint8_t *choice,
                               const uint32_t *need, size_t deep, rfhe_error *err)
{
    const size_t forms = s->bank->forms, layers = s->bank->layers;
    rfhe_status st = RFHE_OK;
    rfhe_price_set *p = NULL;

    for (size_t i = 0; i < forms; i++) {
        const size_t f = (deep + i) % forms; /* the deepest first: it names the set */
        const bool alone = need[f] == need[deep];
        if (need[f] > need[deep] || (!alone && layers < 2)) { continue; }
        memset(choice, (int)f, layers);
        if (!alone) { choice[0] = (uint8_t)deep; }
        rfhe_error e = {0};
        st = ask(q, s, NULL, choice, &e);
        if (st == RFHE_E_UNSUPPORTED) { continue; }
        if (st != RFHE_OK) { return rfhe_fail(err, st, "%s", e.text); }
        if (p == NULL) { p = add_set(out, s, q->set); }
        if (p == NULL) { return RFHE_E_NOMEM; }
        take_quote(p, s, q, f, alone ? SIZE_MAX : 0);
        if (!alone) { RFHE_TRY(fill_skipped(p, s, q, choice, deep, f, err)); }
    }
    st = RFHE_OK;

done:
    return st;
}

static rfhe_status price_named(rfhe_prices *out, const shop *s, quote *q, uint8_t *choice,
                               const char *name, uint32_t *need, char *why, rfhe_error *err)
{
    rfhe_price_set *p = NULL;

    for (size_t f = 0; f < s->bank->forms; f++) {
        rfhe_error e = {0};
        memset(choice, (int)f, s->bank->layers);
        const rfhe_status st = ask(q, s, name, choice, &e);
        if (st == RFHE_E_UNSUPPORTED || st == RFHE_E_ARG) {
            (void)snprintf(why, 400, "%s", e.text);
            continue;
        }
        if (st != RFHE_OK) { return rfhe_fail(err, st, "%s", e.text); }
        if (p == NULL) { p = add_set(out, s, name); }
        if (p == NULL) { return RFHE_E_NOMEM; }
        need[f] = q->need;
        take_quote(p, s, q, f, SIZE_MAX);
    }
    return RFHE_OK;
}

static rfhe_status price_by_plan(rfhe_prices *out, const shop *s, quote *q, uint8_t *choice,
                                 char *why, const rfhe_progress *progress, rfhe_error *err)
{
    static const char *const named[] = {"B15-3", "B15-5"};
    uint32_t need[RFHE_SEARCH_MAX_FORMS] = {0};
    const size_t forms = s->bank->forms;
    rfhe_status st = RFHE_OK;

    for (size_t i = 0; i < 2; i++) {
        RFHE_TRY(rfhe_progress_report(progress, "prices", (double)i, 8, "sets", named[i]));
        RFHE_TRY(price_named(out, s, q, choice, named[i], need, why, err));
    }
    for (size_t f = 0; f < forms; f++) { /* the levels of those that are too deep for both */
        rfhe_error e = {0};
        if (need[f] > 0) { continue; }
        memset(choice, (int)f, s->bank->layers);
        st = ask(q, s, NULL, choice, &e);
        need[f] = st == RFHE_OK ? q->need : UINT32_MAX;
        if (st == RFHE_E_NOMEM) { goto done; }
        if (st != RFHE_OK) { (void)snprintf(why, 400, "%s", e.text); }
    }
    uint32_t last = 5;
    while (out->n < RFHE_SEARCH_MAX_SETS) { /* one chain per depth, shallow ones first */
        size_t deep = SIZE_MAX;
        for (size_t f = 0; f < forms; f++) {
            if (need[f] > last && need[f] < UINT32_MAX && (deep == SIZE_MAX || need[f] < need[deep])) {
                deep = f;
            }
        }
        if (deep == SIZE_MAX) { break; }
        last = need[deep];
        RFHE_TRY(rfhe_progress_report(progress, "prices", (double)out->n, 8, "sets",
                                      s->bank->form[deep]));
        RFHE_TRY(price_chain(out, s, q, choice, need, deep, err));
    }
    st = RFHE_OK;

done:
    return st;
}

/* ---- without a plan ---- */

/* Refreshes of one ciphertext (one thread, docs/results/refresh.md) and products, per set. */
static const struct rough {
    const char *name;
    uint32_t log2_n, depth;
    double refresh, reduce, product, memory;
} roughs[] = {
    {"B15-3", 15, 3, 0.79, 0.20, 0.012, 4.8e9},
    {"B15-5", 15, 5, 1.25, 0.30, 0.013, 6.2e9},
    {"A16", 16, 18, 3.40, 0.80, 0.060, 14.8e9},
};

static rfhe_status price_roughly(rfhe_prices *out, const shop *s)
{
    const rfhe_bank *b = s->bank;

    for (size_t k = 0; k < sizeof roughs / sizeof *roughs; k++) {
        rfhe_price_set *p = add_set(out, s, roughs[k].name);
        if (p == NULL) { return RFHE_E_NOMEM; }
        p->log2_n = roughs[k].log2_n;
        p->memory_bytes = roughs[k].memory;
        for (size_t l = 0; l < b->layers; l++) {
            const double half = (double)(UINT64_C(1) << (roughs[k].log2_n - 1));
            const double halves = ceil((double)s->profile->layer[l].per_image / half);
            p->fixed_seconds += 0.02 * halves;
            for (size_t f = 0; f < b->forms; f++) {
                const rfhe_bank_entry *e = &b->entry[l * b->forms + f];
                if (e->depth > roughs[k].depth) { continue; }
                p->seconds[l * b->forms + f] =
                    ceil(halves / 2) * roughs[k].refresh +
                    halves * (roughs[k].reduce + roughs[k].product * e->products);
            }
        }
    }
    return RFHE_OK;
}

/* ---- all of it ---- */

static bool any_complete(const rfhe_prices *p, const rfhe_bank *b)
{
    for (size_t k = 0; k < p->n; k++) {
        bool complete = true;
        for (size_t l = 0; l < b->layers && complete; l++) {
            bool some = false;
            for (size_t f = 0; f < b->forms; f++) {
                some = some || isfinite(p->set[k].seconds[l * b->forms + f]);
            }
            complete = some;
        }
        if (complete) { return true; }
    }
    return false;
}

static bool has_bill(const rfhe_prices *p)
{
    for (size_t k = 0; k < p->n; k++) {
        if (p->set[k].fixed_seconds > 0) { return true; }
    }
    return false;
}

rfhe_status rfhe_prices_find(rfhe_prices *out, const rfhe_bank *b, const rfhe_graph *base,
                             const rfhe_profile *profile, uint32_t threads,
                             const rfhe_progress *progress, rfhe_error *err)
{
    const shop s = {.bank = b, .base = base, .profile = profile, .threads = threads};
    rfhe_prices p = {0};
    quote q = {0};
    char why[400] = "";
    uint8_t *choice = rfhe_alloc(b->layers, 1);
    rfhe_status st = choice != NULL ? quote_new(&q, b->layers) : RFHE_E_NOMEM;

    if (st == RFHE_OK) { st = price_by_plan(&p, &s, &q, choice, why, progress, err); }
    if (st != RFHE_OK) { goto done; }
    p.planned = has_bill(&p) && any_complete(&p, b);
    if (p.planned) {
        (void)snprintf(p.source, sizeof p.source, "planned, %u threads", threads);
    } else {
        rfhe_prices_clear(&p);
        (void)snprintf(p.source, sizeof p.source, "rough counts, not planned: %.300s",
                       why[0] != '\0' ? why : "the plan has no bill");
        RFHE_TRY(price_roughly(&p, &s));
    }
    if (!any_complete(&p, b)) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "no parameter set carries any of these forms: %.300s", why);
        goto done;
    }
    *out = p;
    p = (rfhe_prices){0};

done:
    quote_clear(&q);
    rfhe_prices_clear(&p);
    rfhe_free(choice);
    if (st == RFHE_E_NOMEM) { (void)rfhe_fail(err, st, "no memory for prices"); }
    return st;
}

void rfhe_prices_clear(rfhe_prices *p)
{
    for (size_t k = 0; k < p->n; k++) { rfhe_free(p->set[k].seconds); }
    *p = (rfhe_prices){0};
}

size_t rfhe_prices_best(const rfhe_prices *p, const rfhe_bank *b, const uint8_t *choice,
                        double *seconds)
{
    size_t best = SIZE_MAX;

    for (size_t k = 0; k < p->n; k++) {
        double sum = p->set[k].fixed_seconds;
        for (size_t l = 0; l < b->layers; l++) {
            sum += p->set[k].seconds[l * b->forms + choice[l]];
        }
        if (isfinite(sum) && (best == SIZE_MAX || sum < *seconds)) {
            best = k;
            *seconds = sum;
        }
    }
    return best;
}
