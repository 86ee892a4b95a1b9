/* See cost.h. */
#include "search/cost.h"

#include "base/mem.h"
#include "base/text.h"
#include "plan/lower.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a plan says about one assignment. */
typedef struct quote {
    char set[16];
    uint32_t log2_n, usable;
    rfhe_machine machine;
    rfhe_layout *layout; /* [layers] of the activations */
    double seconds, fixed, memory; /* fixed: what activations of the bank do not take */
} quote;

/* Parameter sets; up to three of them come twice. */
enum { MAX_CHAINS = RFHE_SEARCH_MAX_SETS - 3 };

typedef struct shop {
    const rfhe_bank *bank;
    const rfhe_graph *base;
    const rfhe_profile *profile;
    const rfhe_server *server;
    rfhe_activation *part; /* [layers][forms]: steps and levels of every choice; levels 0: cannot be planned */
} shop;

static uint32_t levels_of(const shop *s, size_t layer, size_t form)
{
    const rfhe_activation *a = &s->part[layer * s->bank->forms + form];

    return a->depth > 0 ? a->depth + a->mask_level : UINT32_MAX;
}

static size_t layer_of(const shop *s, const char *name)
{
    for (size_t l = 0; l < s->bank->layers; l++) {
        if (strncmp(s->profile->layer[l].node, name, 95) == 0) { return l; }
    }
    return SIZE_MAX;
}

static double activation_seconds(const quote *q, const rfhe_activation *a, const rfhe_layout *at)
{
    return at->ciphertexts * rfhe_cost_activation(&q->machine, a, q->usable, at->both_halves);
}

/* What a refresh was seen to hold in memory (docs/results/refresh.md); the plan of the network that is chosen counts. */
static double known_memory(const char *set)
{
    static const struct {
        const char *set;
        double mib;
    } known[] = {{"B15-2", 1802}, {"B15-3", 1975}, {"B15-5", 2882}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(set, known[i].set) == 0) { return known[i].mib * 0x1p20; }
    }
    return 6418 * 0x1p20; /* A16 */
}

/* A plan's own bill makes all keys of its parameters, which takes seconds; this one does not. `part`: where the steps of the
 * activations go, [layers] with a stride of forms; NULL: nowhere. */
static rfhe_status read_program(quote *q, const shop *s, rfhe_program *p, rfhe_activation *part)
{
    rfhe_machine_choose(&q->machine, p, s->server->threads, s->server->calibration, s->server->n);
    q->log2_n = p->ckks.log2_n;
    q->usable = rfhe_usable_levels(p);
    q->memory = known_memory(p->set);
    q->fixed = q->seconds = rfhe_plan_seconds(p, &q->machine);
    memcpy(q->set, p->set, sizeof q->set);
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *n = &p->instruction[i];
        const size_t l = n->kind == RFHE_DO_ACTIVATE ? layer_of(s, n->name) : SIZE_MAX;
        if (l >= s->bank->layers) { continue; } /* linear, or a refresh that stands alone */
        const rfhe_activation *a = &p->activation[n->which];
        q->layout[l] = p->tensor[n->out].layout;
        q->fixed -= n->seconds;
        if (part == NULL) { continue; }
        rfhe_activation *mine = &part[l * s->bank->forms];
        mine->step = rfhe_alloc(a->n_steps, sizeof *mine->step);
        if (mine->step == NULL) { return RFHE_E_NOMEM; }
        memcpy(mine->step, a->step, a->n_steps * sizeof *mine->step);
        mine->n_steps = a->n_steps;
        mine->depth = a->depth;
        mine->mask_level = a->mask_level;
    }
    return RFHE_OK;
}

/* RFHE_E_UNSUPPORTED when the set does not carry it, or plan/ cannot lower the network. */
static rfhe_status ask(quote *q, const shop *s, const char *set, const uint8_t *choice,
                       rfhe_activation *part, rfhe_error *err)
{
    const rfhe_plan_options o = {.set = set, .threads = s->server->threads, .machine = s->server->calibration,
                                 .n_machines = s->server->n, .no_bill = true};
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_bank_graph(&g, s->bank, s->base, s->profile, choice, err));
    RFHE_TRY(rfhe_plan(&p, g, &o, err));
    RFHE_TRY(read_program(q, s, p, part));

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

/* Steps and levels of every choice, from one plan per form. */
static rfhe_status find_parts(const shop *s, quote *q, uint8_t *choice, char *why,
                              const rfhe_progress *progress, rfhe_error *err)
{
    const size_t forms = s->bank->forms;

    for (size_t f = 0; f < forms; f++) {
        rfhe_error e = {0};
        rfhe_status st = rfhe_progress_report(progress, "planning", (double)f,
                                              (double)forms + MAX_CHAINS, "plans",
                                              s->bank->form[f]);
        if (st != RFHE_OK) { return st; }
        if (rfhe_bank_merges(s->bank, f)) { continue; } /* not everywhere */
        memset(choice, (int)f, s->bank->layers);
        st = ask(q, s, NULL, choice, s->part + f, &e);
        if (st == RFHE_E_NOMEM) { return rfhe_fail(err, st, "%s", e.text); }
        if (st != RFHE_OK) { (void)snprintf(why, 400, "%s", e.text); }
    }
    return RFHE_OK;
}

typedef struct chain { /* a set, with what it can carry */
    const char *name;  /* NULL: whatever the planner makes for this depth */
    uint32_t levels;
} chain;

/* The shallowest form everywhere, nothing merged; for a chain that the planner makes as deep as the network needs, somewhere one that needs
 * just that. False when there is no such assignment. */
static bool fill_choice(uint8_t *choice, const shop *s, const chain *c)
{
    const size_t forms = s->bank->forms;
    bool deep = c->name != NULL;

    for (size_t l = 0; l < s->bank->layers; l++) {
        size_t least = forms;
        for (size_t k = 0; k < forms; k++) {
            if (rfhe_bank_merges(s->bank, k)) { continue; }
            if (least == forms || levels_of(s, l, k) < levels_of(s, l, least)) { least = k; }
        }
        if (least == forms || levels_of(s, l, least) > c->levels) { return false; }
        choice[l] = (uint8_t)least;
        for (size_t k = 0; k < forms && !deep; k++) {
            if (levels_of(s, l, k) == c->levels) {
                choice[l] = (uint8_t)k;
                deep = true;
            }
        }
    }
    return deep;
}

/* One plan on the set of *p with activation l in form f instead, as *without. */
static rfhe_status ask_other(quote *without, const shop *s, const rfhe_price_set *p, uint8_t *choice, size_t l, size_t f)
{
    const uint8_t form = choice[l];

    memset(without->layout, 0, s->bank->layers * sizeof *without->layout);
    choice[l] = (uint8_t)f;
    const rfhe_status st = ask(without, s, p->name, choice, NULL, NULL);
    choice[l] = form;
    return st;
}

/* A new set of prices, everything but lines from *q. */
static rfhe_price_set *price_polynomials(rfhe_prices *out, const shop *s, const quote *q, uint32_t levels)
{
    const size_t forms = s->bank->forms;
    rfhe_price_set *p = add_set(out, s, q->set);

    if (p == NULL) { return NULL; }
    memcpy(p->machine, q->machine.name, sizeof p->machine);
    p->log2_n = q->log2_n;
    p->fixed_seconds = q->fixed;
    p->memory_bytes = q->memory;
    for (size_t i = 0; i < s->bank->layers * forms; i++) {
        const bool refreshed = q->layout[i / forms].ciphertexts > 0;
        if (rfhe_bank_merges(s->bank, i % forms) || !refreshed || levels_of(s, i / forms, i % forms) > levels) { continue; }
        p->seconds[i] = activation_seconds(q, &s->part[i], &q->layout[i / forms]);
    }
    return p;
}

/* What it saves to merge line f of activation l, in the network `choice` that was planned as *q on set *p. Stays INFINITY
 * where a refresh is left. *dear: it costs more than a polynomial. */
static rfhe_status price_line(rfhe_price_set *p, const shop *s, const quote *q, quote *other, uint8_t *choice,
                              size_t l, size_t f, bool *dear)
{
    double *price = p->seconds + l * s->bank->forms;
    const rfhe_status st = ask_other(other, s, p, choice, l, f);

    if (st == RFHE_OK && other->layout[l].ciphertexts == 0) {
        price[f] = other->seconds - q->seconds + price[choice[l]];
        *dear = *dear || price[f] > price[choice[l]];
    }
    return st == RFHE_E_NOMEM ? st : RFHE_OK;
}

/* The set of *narrow once more, around `choice` with all lines that it has prices for. */
static rfhe_status price_wide(rfhe_prices *out, const shop *s, const rfhe_price_set *narrow, quote *other, uint8_t *choice,
                              size_t line, uint32_t levels)
{
    const size_t forms = s->bank->forms, layers = s->bank->layers;
    uint8_t *all = rfhe_alloc(layers, 1);
    quote q = {.layout = rfhe_calloc(layers, sizeof *q.layout)};
    rfhe_status st = all != NULL && q.layout != NULL ? RFHE_OK : RFHE_E_NOMEM;

    if (st != RFHE_OK) { goto done; }
    for (size_t l = 0; l < layers; l++) {
        all[l] = isfinite(narrow->seconds[l * forms + line]) ? (uint8_t)line : choice[l];
    }
    RFHE_TRY(ask(&q, s, narrow->name, all, NULL, NULL));
    rfhe_price_set *p = price_polynomials(out, s, &q, levels);
    if (p == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    p->wide = true;
    for (size_t l = 0; l < layers; l++) {
        if (all[l] != line) { continue; }
        RFHE_TRY(ask_other(other, s, p, all, l, choice[l]));
        const rfhe_layout *at = &other->layout[l];
        p->seconds[l * forms + line] = 0;
        for (size_t f = 0; f < forms; f++) {
            if (f == line || levels_of(s, l, f) > levels) { continue; }
            p->seconds[l * forms + f] = other->seconds - q.seconds + activation_seconds(other, &s->part[l * forms + f], at) -
                                        activation_seconds(other, &s->part[l * forms + choice[l]], at);
        }
    }

done:
    rfhe_free(all);
    rfhe_free(q.layout);
    return st == RFHE_E_UNSUPPORTED ? RFHE_OK : st; /* then without this variant, or without some of its choices */
}

static rfhe_status price_lines(rfhe_prices *out, const shop *s, const quote *q, uint8_t *choice, size_t set, uint32_t levels)
{
    const size_t forms = s->bank->forms;
    quote other = {.layout = rfhe_calloc(s->bank->layers, sizeof *other.layout)};
    rfhe_price_set *const p = &out->set[set];
    rfhe_status st = other.layout != NULL ? RFHE_OK : RFHE_E_NOMEM;

    for (size_t f = 0; f < forms && st == RFHE_OK; f++) {
        bool dear = false;
        if (!rfhe_bank_merges(s->bank, f)) { continue; }
        for (size_t l = 0; l < s->bank->layers && st == RFHE_OK; l++) { /* what needs a refresh needs it on all sets */
            if (set > 0 && !isfinite(out->set[0].seconds[l * forms + f])) { continue; }
            st = price_line(p, s, q, &other, choice, l, f, &dear);
        }
        /* Nobody drops activations and then takes the larger ring. */
        if (st == RFHE_OK && dear && p->log2_n < 16) { st = price_wide(out, s, p, &other, choice, f, levels); }
    }
    rfhe_free(other.layout);
    return st;
}

/* One plan tells layouts and everything that does not depend on the forms. */
static rfhe_status price_set(rfhe_prices *out, const shop *s, quote *q, uint8_t *choice,
                             const chain *c, char *why)
{
    rfhe_error e = {0};

    if (!fill_choice(choice, s, c)) { return RFHE_OK; }
    const rfhe_status st = ask(q, s, c->name, choice, NULL, &e);
    if (st == RFHE_E_NOMEM) { return st; }
    if (st != RFHE_OK) {
        (void)snprintf(why, 400, "%s", e.text);
        return RFHE_OK;
    }
    if (price_polynomials(out, s, q, c->levels) == NULL) { return RFHE_E_NOMEM; }
    return price_lines(out, s, q, choice, out->n - 1, c->levels);
}

/* The named sets, then one chain of 2^16 for every depth beyond them that some choice needs. */
static rfhe_status price_by_plan(rfhe_prices *out, const shop *s, quote *q, uint8_t *choice,
                                 char *why, const rfhe_progress *progress, rfhe_error *err)
{
    const size_t forms = s->bank->forms, choices = s->bank->layers * forms;
    chain c[MAX_CHAINS] = {{"B15-2", 2}, {"B15-3", 3}, {"B15-5", 5}};
    size_t n = 3;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(find_parts(s, q, choice, why, progress, err));
    for (; n < MAX_CHAINS; n++) {
        uint32_t next = UINT32_MAX;
        for (size_t i = 0; i < choices; i++) {
            const uint32_t need = levels_of(s, i / forms, i % forms);
            if (need > c[n - 1].levels && need < next) { next = need; }
        }
        if (next == UINT32_MAX) { break; }
        c[n] = (chain){NULL, next};
    }
    for (size_t i = 0; i < n; i++) {
        RFHE_TRY(rfhe_progress_report(progress, "planning", (double)(forms + i),
                                      (double)forms + MAX_CHAINS, "plans",
                                      c[i].name != NULL ? c[i].name : "2^16"));
        RFHE_TRY(price_set(out, s, q, choice, &c[i], why));
    }

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
    {"B15-2", 15, 2, 0.68, 0.17, 0.012, 1.9e9},
    {"B15-3", 15, 3, 0.79, 0.20, 0.012, 2.1e9},
    {"B15-5", 15, 5, 1.25, 0.30, 0.013, 3.0e9},
    {"A16", 16, 18, 3.40, 0.80, 0.060, 6.7e9},
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
                if (rfhe_bank_merges(b, f) && rfhe_method_can_merge(s->base, s->profile->layer[l].node)) {
                    p->seconds[l * b->forms + f] = 0;
                }
                if (rfhe_bank_merges(b, f) || e->depth > roughs[k].depth) { continue; }
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

/* "planned, 2 threads; times of X for A, B; of Y for C". */
static void tell_source(rfhe_prices *p, uint32_t threads)
{
    rfhe_text t = {0};

    rfhe_text_printf(&t, "planned, %u thread%s; times", threads, threads == 1 ? "" : "s");
    for (size_t k = 0; k < p->n; k++) {
        const bool another = k == 0 || strcmp(p->set[k].machine, p->set[k - 1].machine) != 0;
        if (p->set[k].wide) { continue; }
        if (another) { rfhe_text_printf(&t, "%s %s for", k == 0 ? "" : ",", p->set[k].machine); }
        rfhe_text_printf(&t, "%s %s", another ? "" : ",", p->set[k].name);
    }
    (void)snprintf(p->source, sizeof p->source, "%s", rfhe_text_status(&t) == RFHE_OK ? t.data : "planned");
    rfhe_text_clear(&t);
}

rfhe_status rfhe_prices_find(rfhe_prices *out, const rfhe_bank *b, const rfhe_graph *base,
                             const rfhe_profile *profile, const rfhe_server *server,
                             const rfhe_progress *progress, rfhe_error *err)
{
    shop s = {.bank = b, .base = base, .profile = profile, .server = server,
              .part = rfhe_calloc(b->layers * b->forms, sizeof *s.part)};
    rfhe_prices p = {0};
    quote q = {.layout = rfhe_calloc(b->layers, sizeof *q.layout)};
    char why[400] = "";
    uint8_t *choice = rfhe_alloc(b->layers, 1);
    rfhe_status st = choice != NULL && q.layout != NULL && s.part != NULL ? RFHE_OK : RFHE_E_NOMEM;

    if (st == RFHE_OK) { st = price_by_plan(&p, &s, &q, choice, why, progress, err); }
    if (st != RFHE_OK) { goto done; }
    p.planned = any_complete(&p, b);
    if (p.planned) {
        tell_source(&p, server->threads);
    } else {
        rfhe_prices_clear(&p);
        (void)snprintf(p.source, sizeof p.source, "rough counts, not planned: %.300s",
                       why);
        RFHE_TRY(price_roughly(&p, &s));
    }
    if (!any_complete(&p, b)) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "no parameter set carries any of these forms: %.300s", why);
        goto done;
    }
    *out = p;
    p = (rfhe_prices){0};

done:
    for (size_t i = 0; s.part != NULL && i < b->layers * b->forms; i++) { rfhe_free(s.part[i].step); }
    rfhe_free(s.part);
    rfhe_free(q.layout);
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
