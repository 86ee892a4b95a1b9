/* The bank itself: fitting, and putting networks together. */
#include "search/bank.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

void rfhe_bank_drop(rfhe_bank *b, size_t l, size_t f)
{
    rfhe_bank_entry *e = &b->entry[l * b->forms + f];

    rfhe_free(e->p);
    rfhe_free(e->scale);
    *e = (rfhe_bank_entry){0};
}

void rfhe_bank_clear(rfhe_bank *b)
{
    for (size_t i = 0; b->entry != NULL && i < b->layers * b->forms; i++) {
        rfhe_bank_drop(b, i / b->forms, i % b->forms);
    }
    rfhe_free(b->entry);
    *b = (rfhe_bank){0};
}

static uint32_t find_node(const rfhe_graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (rfhe_method_is_activation(&g->nodes[i]) && strcmp(g->nodes[i].name, name) == 0) {
            return i;
        }
    }
    return RFHE_NO_NODE;
}

/* Copies the fitted activations out of `g`, which has form f everywhere. */
static rfhe_status take_over(rfhe_bank *b, size_t f, const rfhe_graph *g,
                             const rfhe_profile *profile, const rfhe_replace_report *report,
                             rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    for (size_t l = 0; l < b->layers; l++) {
        rfhe_bank_entry *e = &b->entry[l * b->forms + f];
        const uint32_t at = find_node(g, profile->layer[l].node);
        if (at == RFHE_NO_NODE) {
            return rfhe_fail(err, RFHE_E_ARG, "activation '%s' was lost", profile->layer[l].node);
        }
        RFHE_TRY(rfhe_paf_node_get(g, &g->nodes[at], NULL, NULL, &e->sets, err));
        e->p = rfhe_alloc(e->sets, sizeof *e->p);
        e->scale = rfhe_alloc(e->sets, sizeof *e->scale);
        if (e->p == NULL || e->scale == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for fitted forms");
        }
        RFHE_TRY(rfhe_paf_node_get(g, &g->nodes[at], e->p, e->scale, &e->sets, err));
        e->depth = report->row[l].depth;
        e->products = report->row[l].products;
        e->fit = report->row[l].relative_after;
    }

done:
    return st;
}

rfhe_status rfhe_bank_fill(rfhe_bank *out, const rfhe_graph *base, const rfhe_profile *profile,
                           const char *const *forms, size_t n_forms,
                           const rfhe_replace_options *opt, const rfhe_progress *progress,
                           rfhe_error *err)
{
    rfhe_bank b = {.layers = profile->n, .forms = n_forms};
    rfhe_replace_report report = {0};
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;

    if (n_forms == 0 || n_forms > RFHE_SEARCH_MAX_FORMS || profile->n == 0) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu forms for %zu activations: at most %d, and some of both",
                         n_forms, profile->n, RFHE_SEARCH_MAX_FORMS);
    }
    b.entry = rfhe_calloc(b.layers * b.forms, sizeof *b.entry);
    if (b.entry == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for fitted forms"); }
    for (size_t f = 0; f < n_forms; f++) {
        rfhe_replace_options o = *opt;
        o.forms = &forms[f];
        o.n_forms = 1;
        (void)snprintf(b.form[f], sizeof b.form[f], "%s", forms[f]);
        RFHE_TRY(rfhe_progress_report(progress, "fitting", (double)f, (double)n_forms, "forms",
                                      forms[f]));
        RFHE_TRY(rfhe_graph_clone(&g, base));
        RFHE_TRY(rfhe_method_replace(&report, g, profile, &o, err));
        RFHE_TRY(take_over(&b, f, g, profile, &report, err));
        rfhe_free(report.row);
        report = (rfhe_replace_report){0};
        rfhe_graph_free(g);
        g = NULL;
    }
    *out = b;
    b.entry = NULL;

done:
    rfhe_graph_free(g);
    rfhe_free(report.row);
    rfhe_bank_clear(&b);
    return st;
}

rfhe_status rfhe_bank_graph(rfhe_graph **out, const rfhe_bank *b, const rfhe_graph *base,
                            const rfhe_profile *profile, const uint8_t *choice, rfhe_error *err)
{
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_graph_clone(&g, base));
    for (size_t l = 0; l < b->layers; l++) {
        const rfhe_bank_entry *e = &b->entry[l * b->forms + choice[l]];
        const uint32_t at = find_node(g, profile->layer[l].node);
        if (at == RFHE_NO_NODE) {
            st = rfhe_fail(err, RFHE_E_ARG, "the network has no activation '%s'",
                           profile->layer[l].node);
            goto done;
        }
        RFHE_TRY(rfhe_paf_node_set(g, at, b->form[choice[l]], e->p, e->scale, e->sets, err));
    }
    RFHE_TRY(rfhe_graph_tidy(g, err));
    RFHE_TRY(rfhe_graph_infer(g, 0, err));
    RFHE_TRY(rfhe_method_merge(g, NULL, NULL, err));
    *out = g;
    g = NULL;

done:
    rfhe_graph_free(g);
    return st;
}

/* ---- assignments ---- */

char *rfhe_bank_text(const rfhe_bank *b, const uint8_t *choice)
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

bool rfhe_bank_read(uint8_t *choice, const rfhe_bank *b, const char *text)
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

bool rfhe_bank_exists(const rfhe_bank *b, const uint8_t *choice)
{
    for (size_t l = 0; l < b->layers; l++) {
        if (!rfhe_bank_has(b, l, choice[l])) { return false; }
    }
    return true;
}

bool rfhe_bank_is_uniform(const rfhe_bank *b, const uint8_t *choice)
{
    for (size_t l = 1; l < b->layers; l++) {
        if (choice[l] != choice[0]) { return false; }
    }
    return true;
}
