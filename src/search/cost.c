/* See cost.h. */
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
    uint32_t *need; /* [layers] levels of each activation */
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
                 .shape = rfhe_calloc(layers, sizeof *q->shape),
                 .need = rfhe_calloc(layers, sizeof *q->need)};
    return q->seconds != NULL && q->shape != NULL && q->need != NULL ? RFHE_OK : RFHE_E_NOMEM;
}

static void quote_clear(quote *q)
{
    rfhe_free(q->seconds);
    rfhe_free(q->shape);
    rfhe_free(q->need);
}

static size_t layer_of(const shop *s, const char *name)
{
    for (size_t l = 0; l < s->bank->layers; l++) {
        if (strncmp(s->profile->layer[l].node, name, 95) == 0) { return l; }
    }
    return SIZE_MAX;
}

/* Seconds of one instruction: the calibration times the counts of its layout. A plan's own bill makes all keys of its
 * parameters, which takes seconds; here are dozens of plans. */
static double count_seconds(const rfhe_program *p, const rfhe_machine *m, const rfhe_instruction *n)
{
    const rfhe_layout *to = &p->tensor[n->out].layout;
    double sum = 0;

    if (n->kind == RFHE_DO_ACTIVATE) {
        return to->ciphertexts * rfhe_cost_activation(m, &p->activation[n->which], rfhe_usable_levels(p), to->both_halves);
    }
    const rfhe_linear *l = &p->linear[n->which];
    for (uint32_t t = 0; t < l->n_terms; t++) {
        sum += m->product * (double)rfhe_linear_products(&l->term[t].stencil,
                                                         p->tensor[l->term[t].tensor].layout.block);
    }
    for (uint32_t c = 0; c < to->channels; c += to->block) {
        const uint32_t left = to->channels - c < to->block ? to->channels - c : to->block;
        sum += m->merge * (double)rfhe_pack_merges(left, to->block);
    }
    return sum + to->ciphertexts * m->finish;
}

/* What a refresh was seen to hold in memory (docs/results/refresh.md); the plan of the network that is chosen counts. */
static double known_memory(const char *set)
{
    return strcmp(set, "B15-3") == 0 ? 0x1p20 * 4864 : strcmp(set, "B15-5") == 0 ? 0x1p20 * 5947 : 0x1p20 * 14108;
}

static void read_bill(quote *q, const shop *s, const rfhe_program *p)
{
    rfhe_machine machine;

    rfhe_machine_built_in(&machine, p, s->threads);
    q->log2_n = p->ckks.log2_n;
    q->memory = known_memory(p->set);
    q->fixed = 0;
    memcpy(q->set, p->set, sizeof q->set);
    for (size_t l = 0; l < s->bank->layers; l++) { q->seconds[l] = 0; }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *n = &p->instruction[i];
        const size_t l = n->kind == RFHE_DO_ACTIVATE ? layer_of(s, n->name) : SIZE_MAX;
        const double seconds = count_seconds(p, &machine, n);
        if (l < s->bank->layers) {
            const rfhe_layout *at = &p->tensor[n->out].layout;
            const rfhe_activation *a = &p->activation[n->which];
            q->need[l] = a->depth + a->mask_level;
            q->seconds[l] += seconds;
            q->shape[l] = 2 * at->ciphertexts + at->both_halves;
        } else {
            q->fixed += seconds;
        }
    }
}

/* RFHE_E_UNSUPPORTED when the set does not carry it, or plan/ cannot lower the network. */
static rfhe_status ask(quote *q, const shop *s, const char *set, const uint8_t *choice,
                       rfhe_error *err)
{
    const rfhe_plan_options o = {.set = set, .threads = s->threads, .no_bill = true};
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_bank_graph(&g, s->bank, s->base, s->profile, choice, err));
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

/* Levels that every choice needs, from one plan per form; UINT32_MAX where it cannot be planned. */
static rfhe_status find_needs(uint32_t *need, const shop *s, quote *q, uint8_t *choice, char *why,
                              const rfhe_progress *progress, rfhe_error *err)
{
    const size_t forms = s->bank->forms, layers = s->bank->layers;

    for (size_t f = 0; f < forms; f++) {
        rfhe_error e = {0};
        rfhe_status st = rfhe_progress_report(progress, "planning", (double)f, 4 * (double)forms,
                                              "plans", s->bank->form[f]);
        if (st != RFHE_OK) { return st; }
        memset(choice, (int)f, layers);
        st = ask(q, s, NULL, choice, &e);
        if (st == RFHE_E_NOMEM) { return rfhe_fail(err, st, "%s", e.text); }
        if (st != RFHE_OK) { (void)snprintf(why, 400, "%s", e.text); }
        for (size_t l = 0; l < layers; l++) {
            need[l * forms + f] = st == RFHE_OK ? q->need[l] : UINT32_MAX;
        }
    }
    return RFHE_OK;
}

typedef struct chain { /* a set, with what it can carry */
    const char *name; /* NULL: whatever the planner makes for this depth */
    uint32_t levels;
} chain;

/* Form f wherever the set carries it, else the shallowest form. False when some activation has none, or none takes f. */
static bool fill_choice(uint8_t *choice, const shop *s, const uint32_t *need, size_t f,
                        uint32_t levels)
{
    const size_t forms = s->bank->forms;
    bool any = false;

    for (size_t l = 0; l < s->bank->layers; l++) {
        size_t least = f;
        for (size_t k = 0; k < forms; k++) {
            if (need[l * forms + k] < need[l * forms + least]) { least = k; }
        }
        const bool mine = need[l * forms + f] <= levels;
        if (!mine && need[l * forms + least] > levels) { return false; }
        choice[l] = (uint8_t)(mine ? f : least);
        any = any || mine;
    }
    return any;
}

/* The planner makes a chain as deep as the network needs: some activation must need just that. Starting at layer `from`,
 * gives one the form that does; returns its layer, `layers` when the assignment needs it anyway or nothing can. */
static size_t place_carrier(uint8_t *choice, const shop *s, const uint32_t *need, uint32_t levels,
                            size_t from)
{
    const size_t forms = s->bank->forms, layers = s->bank->layers;

    for (size_t l = 0; l < layers; l++) {
        if (need[l * forms + choice[l]] == levels) { return layers; }
    }
    for (size_t i = 0; i < layers; i++) {
        const size_t l = (from + i) % layers;
        for (size_t k = 0; k < forms; k++) {
            if (need[l * forms + k] == levels) {
                choice[l] = (uint8_t)k;
                return l;
            }
        }
    }
    return layers;
}

/* Takes over what the quote says about form f, but not where another form stands. */
static void take_quote(rfhe_price_set *p, const shop *s, const quote *q, const uint8_t *choice,
                       size_t f)
{
    p->log2_n = q->log2_n;
    p->fixed_seconds = fmax(p->fixed_seconds, q->fixed);
    p->memory_bytes = fmax(p->memory_bytes, q->memory);
    for (size_t l = 0; l < s->bank->layers; l++) {
        if (choice[l] == f) { p->seconds[l * s->bank->forms + f] = q->seconds[l]; }
    }
}

/* Where the carrier stood: as much as at another layer of its shape, else by a plan with the carrier elsewhere. */
static rfhe_status fill_carried(rfhe_price_set *p, const shop *s, quote *q, uint8_t *choice,
                                const uint32_t *need, size_t f, const chain *c, size_t carrier)
{
    const size_t forms = s->bank->forms, layers = s->bank->layers;
    double *mine = &p->seconds[carrier * forms + f];

    for (size_t l = 0; l < layers; l++) {
        if (choice[l] == f && l != carrier && q->shape[l] == q->shape[carrier]) {
            *mine = q->seconds[l];
            return RFHE_OK;
        }
    }
    if (need[carrier * forms + f] > c->levels || !fill_choice(choice, s, need, f, c->levels)) {
        return RFHE_OK;
    }
    const size_t other = place_carrier(choice, s, need, c->levels, carrier + 1);
    if (other == layers || other == carrier) { return RFHE_OK; }
    rfhe_error e = {0};
    const rfhe_status st = ask(q, s, c->name, choice, &e);
    if (st == RFHE_OK) { *mine = q->seconds[carrier]; }
    return st == RFHE_E_NOMEM ? st : RFHE_OK;
}

static rfhe_status price_set(rfhe_prices *out, const shop *s, quote *q, uint8_t *choice,
                             const uint32_t *need, const chain *c, char *why)
{
    const size_t forms = s->bank->forms, layers = s->bank->layers;
    rfhe_price_set *p = NULL;

    for (size_t f = 0; f < forms; f++) {
        rfhe_error e = {0};
        size_t carrier = layers;
        if (!fill_choice(choice, s, need, f, c->levels)) { continue; }
        if (c->name == NULL) { carrier = place_carrier(choice, s, need, c->levels, 0); }
        rfhe_status st = ask(q, s, c->name, choice, &e);
        if (st == RFHE_E_NOMEM) { return st; }
        if (st != RFHE_OK) { (void)snprintf(why, 400, "%s", e.text); }
        if (st != RFHE_OK) { continue; }
        if (p == NULL) { p = add_set(out, s, q->set); }
        if (p == NULL) { return RFHE_E_NOMEM; }
        if (strcmp(p->name, q->set) != 0) { continue; } /* the planner found another set */
        take_quote(p, s, q, choice, f);
        if (carrier < layers) {
            st = fill_carried(p, s, q, choice, need, f, c, carrier);
            if (st != RFHE_OK) { return st; }
        }
    }
    return RFHE_OK;
}

/* The two named sets, then one chain of 2^16 for every depth beyond them that some choice needs. */
static rfhe_status price_by_plan(rfhe_prices *out, const shop *s, quote *q, uint8_t *choice,
                                 char *why, const rfhe_progress *progress, rfhe_error *err)
{
    const size_t choices = s->bank->layers * s->bank->forms;
    chain c[RFHE_SEARCH_MAX_SETS] = {{"B15-3", 3}, {"B15-5", 5}};
    size_t n = 2;
    uint32_t *need = rfhe_alloc(choices, sizeof *need);
    rfhe_status st = RFHE_OK;

    if (need == NULL) { return RFHE_E_NOMEM; }
    RFHE_TRY(find_needs(need, s, q, choice, why, progress, err));
    for (; n < RFHE_SEARCH_MAX_SETS; n++) {
        uint32_t next = UINT32_MAX;
        for (size_t i = 0; i < choices; i++) {
            if (need[i] > c[n - 1].levels && need[i] < next) { next = need[i]; }
        }
        if (next == UINT32_MAX) { break; }
        c[n] = (chain){NULL, next};
    }
    for (size_t i = 0; i < n; i++) {
        RFHE_TRY(rfhe_progress_report(progress, "planning", (double)(i + 1), (double)(n + 1), "sets",
                                      c[i].name != NULL ? c[i].name : "2^16"));
        RFHE_TRY(price_set(out, s, q, choice, need, &c[i], why));
    }

done:
    rfhe_free(need);
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
