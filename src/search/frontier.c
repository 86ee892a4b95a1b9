/* See frontier.h. */
#include "search/frontier.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct point {
    double seconds, error;
    uint32_t from; /* index into the list of the activation before */
    uint8_t form;
} point;

/* By time, then error, then where it comes from: the same order for any sorting routine. */
static int earlier(const void *va, const void *vb)
{
    const point *a = va, *b = vb;

    if (a->seconds != b->seconds) { return a->seconds < b->seconds ? -1 : 1; }
    if (a->error != b->error) { return a->error < b->error ? -1 : 1; }
    if (a->from != b->from) { return a->from < b->from ? -1 : 1; }
    return (a->form > b->form) - (a->form < b->form);
}

/* Sorts and keeps what nothing beats; returns how many. */
static size_t prune(point *p, size_t n)
{
    size_t kept = 0;

    qsort(p, n, sizeof *p, earlier);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || p[i].error < p[kept - 1].error) { p[kept++] = p[i]; }
    }
    return kept;
}

/* The fastest and the best stay whatever their band: the first of a band is its fastest, and the last point of all is the best. */
static size_t thin(point *p, size_t n, size_t most)
{
    const double worst = p[0].error, best = fmax(p[n - 1].error, worst * 1e-12);
    const double width = log(worst / best) / (double)(most - 1);
    size_t kept = 0;
    double band = NAN;

    for (size_t i = 0; i < n; i++) {
        const double mine = floor(log(fmax(p[i].error, best) / best) / width);
        if (i + 1 == n || !(mine == band)) {
            band = mine;
            p[kept++] = p[i];
        }
    }
    return kept;
}

typedef struct list {
    point *p;
    size_t n;
} list;

static rfhe_status extend(list *next, const list *last, const double *seconds, const double *error,
                          size_t forms, size_t most, bool *exact)
{
    size_t n = 0;

    next->p = rfhe_alloc(last->n * forms + 1, sizeof *next->p);
    if (next->p == NULL) { return RFHE_E_NOMEM; }
    for (size_t i = 0; i < last->n; i++) {
        for (size_t f = 0; f < forms; f++) {
            if (!isfinite(seconds[f])) { continue; }
            next->p[n++] = (point){.seconds = last->p[i].seconds + seconds[f],
                                   .error = last->p[i].error + error[f],
                                   .from = (uint32_t)i,
                                   .form = (uint8_t)f};
        }
    }
    next->n = n > 0 ? prune(next->p, n) : 0;
    if (next->n > most) {
        next->n = thin(next->p, next->n, most);
        *exact = false;
    }
    point *fitting = next->n > 0 ? rfhe_realloc(next->p, next->n, sizeof *next->p) : NULL;
    if (fitting != NULL) { next->p = fitting; }
    return RFHE_OK;
}

static rfhe_status read_back(rfhe_frontier *out, const list *lists, size_t layers, bool exact)
{
    const list *end = &lists[layers];
    rfhe_frontier f = {.n = end->n, .layers = layers, .exact = exact};

    f.seconds = rfhe_alloc(end->n + 1, sizeof *f.seconds);
    f.error = rfhe_alloc(end->n + 1, sizeof *f.error);
    f.form = rfhe_alloc(end->n * layers + 1, sizeof *f.form);
    if (f.seconds == NULL || f.error == NULL || f.form == NULL) {
        rfhe_frontier_clear(&f);
        return RFHE_E_NOMEM;
    }
    for (size_t i = 0; i < end->n; i++) {
        size_t at = i;
        f.seconds[i] = end->p[i].seconds;
        f.error[i] = end->p[i].error;
        for (size_t l = layers; l > 0; l--) {
            f.form[i * layers + l - 1] = lists[l].p[at].form;
            at = lists[l].p[at].from;
        }
    }
    *out = f;
    return RFHE_OK;
}

static bool usable(const double *seconds, const double *error, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (isnan(seconds[i]) || seconds[i] == -INFINITY) { return false; }
        if (isfinite(seconds[i]) && !(isfinite(error[i]) && error[i] >= 0)) { return false; }
    }
    return true;
}

rfhe_status rfhe_frontier_find(rfhe_frontier *out, const double *seconds, const double *error,
                               size_t layers, size_t forms, size_t most, rfhe_error *err)
{
    list *lists = NULL;
    bool exact = true;
    rfhe_status st = RFHE_OK;

    most = most == 0 ? 8192 : most;
    if (layers == 0 || forms == 0 || forms > 255 || most < 2 || most > 1000000) {
        return rfhe_fail(err, RFHE_E_ARG, "no frontier of %zu activations and %zu forms", layers,
                         forms);
    }
    if (!usable(seconds, error, layers * forms)) {
        return rfhe_fail(err, RFHE_E_ARG, "a cost is no number, or an error negative or none");
    }
    lists = rfhe_calloc(layers + 1, sizeof *lists);
    point *start = rfhe_calloc(1, sizeof *start);
    if (lists != NULL) { lists[0] = (list){.p = start, .n = start != NULL}; }
    if (lists == NULL || start == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    for (size_t l = 0; l < layers; l++) {
        RFHE_TRY(extend(&lists[l + 1], &lists[l], seconds + l * forms, error + l * forms, forms,
                        most, &exact));
    }
    RFHE_TRY(read_back(out, lists, layers, exact));

done:
    if (lists == NULL) { rfhe_free(start); }
    for (size_t l = 0; lists != NULL && l <= layers; l++) { rfhe_free(lists[l].p); }
    rfhe_free(lists);
    if (st == RFHE_E_NOMEM) { (void)rfhe_fail(err, st, "no memory for a frontier"); }
    return st;
}

void rfhe_frontier_clear(rfhe_frontier *f)
{
    rfhe_free(f->seconds);
    rfhe_free(f->error);
    rfhe_free(f->form);
    *f = (rfhe_frontier){0};
}

void rfhe_frontier_mark(bool *on, const double *seconds, const double *good, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        on[i] = !isnan(seconds[i]) && !isnan(good[i]);
        for (size_t k = 0; k < n && on[i]; k++) {
            if (k == i || isnan(seconds[k]) || isnan(good[k])) { continue; }
            const bool as_good = seconds[k] <= seconds[i] && good[k] >= good[i];
            const bool equal = seconds[k] == seconds[i] && good[k] == good[i];
            on[i] = !as_good || (equal && i < k);
        }
    }
}

/* ---- ranks ---- */

typedef struct ranked {
    double value;
    size_t at;
} ranked;

static int smaller(const void *va, const void *vb)
{
    const ranked *a = va, *b = vb;

    return (a->value > b->value) - (a->value < b->value);
}

static void ranks(double *rank, ranked *work, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) { work[i] = (ranked){x[i], i}; }
    qsort(work, n, sizeof *work, smaller);
    for (size_t i = 0, end = 0; i < n; i = end) {
        for (end = i + 1; end < n && work[end].value == work[i].value;) { end++; }
        for (size_t k = i; k < end; k++) { rank[work[k].at] = 0.5 * (double)(i + end - 1); }
    }
}

rfhe_status rfhe_rank_correlation(double *out, const double *x, const double *y, size_t n)
{
    double *rx = rfhe_alloc(2 * n + 1, sizeof *rx), sxy = 0, sxx = 0, syy = 0;
    ranked *work = rfhe_alloc(n + 1, sizeof *work);

    if (rx == NULL || work == NULL) {
        rfhe_free(rx);
        rfhe_free(work);
        return RFHE_E_NOMEM;
    }
    double *ry = rx + n;
    ranks(rx, work, x, n);
    ranks(ry, work, y, n);
    const double mean = 0.5 * ((double)n - 1);
    for (size_t i = 0; i < n; i++) {
        sxy += (rx[i] - mean) * (ry[i] - mean);
        sxx += (rx[i] - mean) * (rx[i] - mean);
        syy += (ry[i] - mean) * (ry[i] - mean);
    }
    *out = n >= 2 && sxx > 0 && syy > 0 ? sxy / sqrt(sxx * syy) : NAN;
    rfhe_free(rx);
    rfhe_free(work);
    return RFHE_OK;
}
