/* What a replacement does to the margins of the network's answers; see bank.h. */
#include "search/bank.h"

#include "base/mem.h"
#include "nn/custom.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELLS = 1024 };

/* ---- an activation that is ReLU and weighs, on the way back, what replacing it would change ---- */

typedef struct probe {
    size_t forms, channels;
    double reach; /* the tables cover [-reach, reach] in CELLS steps */
    float *table; /* [channels][CELLS + 1][forms]: form(x) - activation(x) */
    float upper;  /* of a Clip, else infinite */
    double *d;    /* [forms]: of the image that went back last */
} probe;

static rfhe_status probe_open(void **state, size_t *n_sums, const rfhe_custom_view *v,
                              rfhe_error *err)
{
    probe *p = v->node->attr.custom.control;

    if ((size_t)v->x->dim[1] != p->channels) {
        return rfhe_fail(err, RFHE_E_ARG, "node '%s' has %lld channels, its profile %zu",
                         v->node->name, (long long)v->x->dim[1], p->channels);
    }
    *state = p;
    *n_sums = p->forms;
    return RFHE_OK;
}

static void probe_close(void *state)
{
    (void)state; /* belongs to who made it */
}

static void probe_begin(void *state, const float *const *params, bool changed, double reach)
{
    (void)state, (void)params, (void)changed, (void)reach;
}

static void probe_forward(const void *state, float *x, const rfhe_custom_block *b)
{
    const probe *p = state;
    const size_t n = b->outer * b->channels * b->inner;

    for (size_t i = 0; i < n; i++) { x[i] = fminf(fmaxf(x[i], 0.0F), p->upper); }
}

static void probe_backward(const void *state, float *dx, double *sums, float *x, const float *dy,
                           const rfhe_custom_block *b)
{
    const probe *p = state;
    const size_t n = b->outer * b->channels * b->inner;

    for (size_t i = 0; i < n; i++) {
        dx[i] = x[i] > 0 && x[i] < p->upper ? dy[i] : 0.0F;
        if (dy[i] == 0.0F) { continue; }
        const size_t channel = b->first + i / b->inner % b->channels;
        const double at =
            fmin(fmax(((double)x[i] / p->reach + 1) * (CELLS / 2), 0), CELLS - 1e-6);
        const size_t cell = (size_t)at;
        const double t = at - (double)cell, g = (double)dy[i];
        const float *lo = p->table + (channel * (CELLS + 1) + cell) * p->forms, *hi = lo + p->forms;
        for (size_t f = 0; f < p->forms; f++) {
            sums[f] += g * ((1 - t) * (double)lo[f] + t * (double)hi[f]);
        }
    }
}

static void probe_finish(void *state, float *const *dparams, const double *sums)
{
    const probe *p = state;

    (void)dparams;
    memcpy(p->d, sums, p->forms * sizeof *sums);
}

static rfhe_status probe_expand(rfhe_graph *g, uint32_t at, rfhe_error *err)
{
    return rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' is a probe and cannot be written",
                     g->nodes[at].name);
}

static const rfhe_custom_op probe_op = {.name = "probe",
                                        .open = probe_open,
                                        .close = probe_close,
                                        .begin = probe_begin,
                                        .forward = probe_forward,
                                        .backward = probe_backward,
                                        .finish = probe_finish,
                                        .expand = probe_expand};

static rfhe_status fill_probe(probe *p, const rfhe_bank *b, size_t l,
                              const rfhe_profile_layer *layer, float upper, double *d)
{
    *p = (probe){.forms = b->forms, .channels = layer->channels, .upper = upper, .d = d};
    p->reach = layer->whole.n > 0 ? 1.001 * rfhe_histogram_reach(&layer->whole) : 1.0;
    if (!(p->reach > 0)) { p->reach = 1.0; }
    p->table = rfhe_alloc(p->channels * (CELLS + 1) * b->forms, sizeof *p->table);
    if (p->table == NULL) { return RFHE_E_NOMEM; }
#pragma omp parallel for schedule(static)
    for (size_t c = 0; c < p->channels; c++) {
        float *row = p->table + c * (CELLS + 1) * b->forms;
        for (size_t cell = 0; cell <= CELLS; cell++) {
            const double x = p->reach * (2.0 * (double)cell / CELLS - 1);
            for (size_t f = 0; f < b->forms; f++) {
                const rfhe_bank_entry *e = &b->entry[l * b->forms + f];
                row[cell * b->forms + f] = 0;
                if (e->sets == 0) { continue; }
                const size_t set = e->sets == 1 ? 0 : c;
                const double y = e->scale[set] * rfhe_paf_value(&e->p[set], x / e->scale[set]);
                const double r = y - fmin(fmax(x, 0), (double)upper);
                row[cell * b->forms + f] = (float)fmin(fmax(r, -1e30), 1e30);
            }
        }
    }
    return RFHE_OK;
}

/* ---- margins ---- */

typedef struct answer {
    size_t top, second;
    double margin;
} answer;

static answer answer_of(const float *z, size_t classes)
{
    answer a = {0, 1, 0};

    for (size_t k = 1; k < classes; k++) {
        if (z[k] > z[a.top]) { a.top = k; }
    }
    a.second = a.top == 0 ? 1 : 0;
    for (size_t k = 0; k < classes; k++) {
        if (k != a.top && z[k] > z[a.second]) { a.second = k; }
    }
    a.margin = (double)z[a.top] - (double)z[a.second];
    return a;
}

static int by_value(const void *va, const void *vb)
{
    const double a = *(const double *)va, b = *(const double *)vb;

    return (a > b) - (a < b);
}

/* weight[i] = 1 / (margin[i]^2 + m0^2); `work` has n places. */
static void weigh(double *weight, const double *margin, size_t n, double *work)
{
    memcpy(work, margin, n * sizeof *work);
    qsort(work, n, sizeof *work, by_value);
    const double m0 = fmax(0.25 * work[n / 2], 1e-6);
    for (size_t i = 0; i < n; i++) { weight[i] = 1 / (margin[i] * margin[i] + m0 * m0); }
}

/* Mean of weight d^2, each term at most 10^6: what is beyond any hope is all alike. */
static double mean_harm(const double *d, size_t stride, const double *weight, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        const double x = d[i * stride], v = weight[i] * x * x;
        sum += v < 1e6 ? v : 1e6; /* also when it is not a number */
    }
    return fmax(sum / (double)n, 1e-12);
}

/* ---- by gradient ---- */

static rfhe_status plant_probes(rfhe_graph *g, probe *probes, double *d, const rfhe_bank *b,
                                const rfhe_profile *profile, rfhe_error *err)
{
    for (size_t l = 0; l < b->layers; l++) {
        rfhe_node *n = NULL;
        for (uint32_t i = 0; i < g->n_nodes; i++) {
            if (strcmp(g->nodes[i].name, profile->layer[l].node) == 0 &&
                (g->nodes[i].op == RFHE_OP_RELU || g->nodes[i].op == RFHE_OP_CLIP)) {
                n = &g->nodes[i];
            }
        }
        if (n == NULL) {
            return rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' is no ReLU: search starts from a network with ReLUs",
                             profile->layer[l].node);
        }
        const float upper = n->op == RFHE_OP_CLIP ? n->attr.clip.max : INFINITY;
        if (fill_probe(&probes[l], b, l, &profile->layer[l], upper, d + l * b->forms) != RFHE_OK) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the sensitivities");
        }
        n->op = RFHE_OP_CUSTOM;
        n->attr = (rfhe_attr){.custom = {.op = &probe_op, .control = &probes[l]}};
    }
    return RFHE_OK;
}

/* One image at a time, so that the sums of a backward pass are those of one image. */
static rfhe_status pass_images(double *d, double *margin, const double *now, size_t choices,
                               rfhe_exec *e, const rfhe_batch_source *src, uint64_t images,
                               const rfhe_progress *progress, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    size_t classes = 0;
    rfhe_shape shape;
    float *input = rfhe_exec_input(e, 0, &shape), *batch = NULL;
    size_t size = 0;
    uint32_t *labels = rfhe_alloc(src->batch, sizeof *labels), count = 0;

    if (!rfhe_shape_count(&shape, &size)) { size = 0; }
    batch = rfhe_alloc(src->batch * size, sizeof *batch);
    if (labels == NULL || batch == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a batch of images");
        goto done;
    }
    RFHE_TRY(rfhe_exec_classes(e, 1, &classes, err));
    RFHE_TRY(src->seek(src->user, 0, 0, err));
    for (uint64_t i = 0, at = 0; i < images; i++, at++) {
        if (at == count) {
            RFHE_TRY(src->next(src->user, batch, labels, &count, err));
            at = 0;
        }
        memcpy(input, batch + at * size, size * sizeof *batch);
        RFHE_TRY(rfhe_exec_forward(e, err));
        const answer a = answer_of(rfhe_exec_output(e, 0, NULL), classes);
        float *grad = rfhe_exec_output_grad(e, 0);
        memset(grad, 0, classes * sizeof *grad);
        grad[a.top] = 1;
        grad[a.second] = -1;
        RFHE_TRY(rfhe_exec_backward(e, err));
        margin[i] = a.margin;
        memcpy(d + i * choices, now, choices * sizeof *d);
        RFHE_TRY(rfhe_progress_report(progress, "sensitivities", (double)i, (double)images,
                                      "images", NULL));
    }

done:
    rfhe_free(labels);
    rfhe_free(batch);
    return st;
}

rfhe_status rfhe_bank_harm_gradient(double *harm, const rfhe_bank *b, const rfhe_graph *base,
                                    const rfhe_profile *profile, const rfhe_batch_source *src,
                                    uint64_t images, const rfhe_progress *progress, rfhe_error *err)
{
    const rfhe_exec_options opt = {.batch = 1, .training = true, .frozen_bn = true};
    const size_t choices = b->layers * b->forms;
    const uint64_t n = images < src->images ? images : src->images;
    rfhe_status st = RFHE_OK;
    rfhe_graph *g = NULL;
    rfhe_exec *e = NULL;
    probe *probes = rfhe_calloc(b->layers, sizeof *probes);
    double *now = rfhe_calloc(choices, sizeof *now), *d = rfhe_alloc(n * choices + 1, sizeof *d),
           *margin = rfhe_alloc(3 * n + 1, sizeof *margin);

    if (probes == NULL || now == NULL || d == NULL || margin == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the sensitivities");
        goto done;
    }
    if (n == 0) {
        st = rfhe_fail(err, RFHE_E_ARG, "sensitivities need images");
        goto done;
    }
    RFHE_TRY(rfhe_graph_clone(&g, base));
    RFHE_TRY(plant_probes(g, probes, now, b, profile, err));
    RFHE_TRY(rfhe_exec_new(&e, g, &opt, err));
    RFHE_TRY(pass_images(d, margin, now, choices, e, src, n, progress, err));
    double *weight = margin + n;
    weigh(weight, margin, n, weight + n);
    for (size_t i = 0; i < choices; i++) {
        harm[i] = b->entry[i].sets > 0 ? mean_harm(d + i, choices, weight, n) : INFINITY;
    }

done:
    rfhe_exec_free(e);
    rfhe_graph_free(g);
    for (size_t l = 0; probes != NULL && l < b->layers; l++) { rfhe_free(probes[l].table); }
    rfhe_free(probes);
    rfhe_free(now);
    rfhe_free(d);
    rfhe_free(margin);
    return st;
}

/* ---- by trying ---- */

/* Logits of the first n images; *out [n][*classes]. */
static rfhe_status run_images(float **out, size_t *classes, const rfhe_graph *g,
                              const rfhe_batch_source *src, uint64_t n, rfhe_error *err)
{
    const rfhe_exec_options opt = {.batch = src->batch};
    rfhe_status st = RFHE_OK;
    rfhe_exec *e = NULL;
    uint32_t *labels = rfhe_alloc(src->batch, sizeof *labels);
    float *z = NULL;

    if (labels == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for labels"); }
    RFHE_TRY(rfhe_exec_new(&e, g, &opt, err));
    RFHE_TRY(rfhe_exec_classes(e, src->batch, classes, err));
    z = rfhe_alloc((size_t)n * *classes, sizeof *z);
    if (z == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for logits");
        goto done;
    }
    RFHE_TRY(src->seek(src->user, 0, 0, err));
    for (uint64_t done = 0; done < n;) {
        uint32_t count = 0;
        RFHE_TRY(src->next(src->user, rfhe_exec_input(e, 0, NULL), labels, &count, err));
        RFHE_TRY(rfhe_exec_forward(e, err));
        const uint64_t take = count < n - done ? count : n - done;
        memcpy(z + done * *classes, rfhe_exec_output(e, 0, NULL),
               (size_t)take * *classes * sizeof *z);
        done += take;
    }
    *out = z;
    z = NULL;

done:
    rfhe_exec_free(e);
    rfhe_free(labels);
    rfhe_free(z);
    return st;
}

/* `base` with activation l as the bank has it for form f. */
static rfhe_status replace_one(rfhe_graph **out, const rfhe_bank *b, const rfhe_graph *base,
                               const rfhe_profile *profile, size_t l, size_t f, rfhe_error *err)
{
    const rfhe_bank_entry *e = &b->entry[l * b->forms + f];
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_graph_clone(&g, base));
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (rfhe_method_is_activation(&g->nodes[i]) &&
            strcmp(g->nodes[i].name, profile->layer[l].node) == 0) {
            RFHE_TRY(rfhe_paf_node_set(g, i, b->form[f], e->p, e->scale, e->sets, err));
            break;
        }
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

rfhe_status rfhe_bank_harm_measured(double *harm, const rfhe_bank *b, const rfhe_graph *base,
                                    const rfhe_profile *profile, const rfhe_batch_source *src,
                                    uint64_t images, const rfhe_progress *progress, rfhe_error *err)
{
    const uint64_t n = images < src->images ? images : src->images;
    const size_t choices = b->layers * b->forms;
    rfhe_status st = RFHE_OK;
    rfhe_graph *g = NULL;
    float *before = NULL, *after = NULL;
    size_t classes = 0;
    double *d = rfhe_alloc(4 * n + 1, sizeof *d);

    if (n == 0) { st = rfhe_fail(err, RFHE_E_ARG, "sensitivities need images"); }
    if (d == NULL) { st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the sensitivities"); }
    if (st != RFHE_OK) { goto done; }
    double *margin = d + n, *weight = margin + n;
    RFHE_TRY(run_images(&before, &classes, base, src, n, err));
    for (size_t i = 0; i < n; i++) {
        margin[i] = answer_of(before + i * classes, classes).margin;
    }
    weigh(weight, margin, n, weight + n);
    for (size_t c = 0; c < choices; c++) {
        RFHE_TRY(rfhe_progress_report(progress, "sensitivities by trying", (double)c,
                                      (double)choices, "choices", NULL));
        harm[c] = INFINITY;
        if (b->entry[c].sets == 0) { continue; }
        RFHE_TRY(replace_one(&g, b, base, profile, c / b->forms, c % b->forms, err));
        RFHE_TRY(run_images(&after, &classes, g, src, n, err));
        for (size_t i = 0; i < n; i++) {
            const size_t top = answer_of(before + i * classes, classes).top;
            const float *z = after + i * classes;
            double other = -DBL_MAX;
            for (size_t k = 0; k < classes; k++) {
                if (k != top) { other = fmax(other, (double)z[k]); }
            }
            d[i] = (double)z[top] - other - margin[i];
        }
        harm[c] = mean_harm(d, 1, weight, n);
        rfhe_graph_free(g);
        g = NULL;
        rfhe_free(after);
        after = NULL;
    }

done:
    rfhe_graph_free(g);
    rfhe_free(before);
    rfhe_free(after);
    rfhe_free(d);
    return st;
}
