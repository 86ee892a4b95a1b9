/* Which values reach the activations of a network: histograms by channel, and what leaves the ranges of its PAFs. */
#include "method/method.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool rfhe_method_is_activation(const rfhe_node *n)
{
    return n->op == RFHE_OP_RELU || rfhe_paf_node_is(n) ||
           (n->op == RFHE_OP_CLIP && n->attr.clip.min == 0);
}

void rfhe_profile_clear(rfhe_profile *p)
{
    for (size_t i = 0; i < p->n; i++) {
        rfhe_free(p->layer[i].node);
        rfhe_free(p->layer[i].value);
        rfhe_free(p->layer[i].channel);
    }
    rfhe_free(p->layer);
    *p = (rfhe_profile){0};
}

/* Runs images through `g` and shows every activation's input to `see`. */
typedef struct watch {
    rfhe_exec *e;
    const char **keep;
    uint32_t n_keep;
    size_t *per_image;
    float *buffer;
} watch;

static void watch_close(watch *w)
{
    rfhe_exec_free(w->e);
    rfhe_free(w->keep);
    rfhe_free(w->per_image);
    rfhe_free(w->buffer);
}

/* Names of the inputs of nodes that `wanted` likes, in the order of the network. */
static rfhe_status watch_open(watch *w, const rfhe_graph *g, bool (*wanted)(const rfhe_node *),
                              uint32_t batch, rfhe_compute compute, rfhe_error *err)
{
    rfhe_exec_options opt = {.batch = batch, .compute = compute};
    rfhe_status st = RFHE_OK;
    size_t most = 0;

    w->keep = rfhe_calloc(g->n_nodes + 1, sizeof *w->keep);
    w->per_image = rfhe_calloc(g->n_nodes + 1, sizeof *w->per_image);
    if (w->keep == NULL || w->per_image == NULL) { return RFHE_E_NOMEM; }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const rfhe_node *n = &g->nodes[i];
        if (!wanted(n)) { continue; }
        const rfhe_value *v = &g->values[n->inputs[0]];
        rfhe_shape image = v->shape;
        if (!v->has_shape || image.rank < 2) {
            return rfhe_fail(err, RFHE_E_UNSUPPORTED, "the input of '%s' has no channels", n->name);
        }
        image.dim[0] = 1;
        if (!rfhe_shape_count(&image, &w->per_image[w->n_keep])) {
            return rfhe_fail(err, RFHE_E_UNSUPPORTED, "the input of '%s' has no fixed size",
                             n->name);
        }
        most = w->per_image[w->n_keep] > most ? w->per_image[w->n_keep] : most;
        w->keep[w->n_keep++] = v->name;
    }
    opt.keep = w->keep;
    opt.n_keep = w->n_keep;
    RFHE_TRY(rfhe_exec_new(&w->e, g, &opt, err));
    w->buffer = rfhe_alloc(most * batch, sizeof *w->buffer);
    if (w->buffer == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to look at activations");
    }

done:
    return st;
}

typedef void see_fn(void *user, uint32_t layer, const float *x, uint32_t images);

static rfhe_status watch_run(watch *w, const rfhe_batch_source *src, uint64_t images, see_fn *see,
                             void (*after_batch)(void *user, uint32_t images), void *user,
                             const char *what, const rfhe_progress *progress, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t *labels = rfhe_alloc(src->batch, sizeof *labels), count = 0;
    const uint64_t total = images > 0 && images < src->images ? images : src->images;
    rfhe_shape shape = {0};

    if (labels == NULL) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %u labels", src->batch);
    }
    float *input = rfhe_exec_input(w->e, 0, &shape);
    RFHE_TRY(src->seek(src->user, 0, 0, err));
    for (uint64_t done_images = 0; done_images < total; done_images += count) {
        RFHE_TRY(src->next(src->user, input, labels, &count, err));
        if (count == 0) { break; }
        if (count > total - done_images) { count = (uint32_t)(total - done_images); }
        RFHE_TRY(rfhe_exec_forward(w->e, err));
        for (uint32_t i = 0; i < w->n_keep; i++) {
            RFHE_TRY(
                rfhe_exec_read(w->e, w->keep[i], w->buffer, w->per_image[i] * src->batch, err));
            see(user, i, w->buffer, count);
        }
        if (after_batch != NULL) { after_batch(user, count); }
        RFHE_TRY(rfhe_progress_report(progress, what, (double)(done_images + count), (double)total,
                                      "images", ""));
    }

done:
    rfhe_free(labels);
    return st;
}

/* ---- histograms ---- */

static void see_profile(void *user, uint32_t layer, const float *x, uint32_t images)
{
    rfhe_profile *p = user;
    rfhe_profile_layer *l = &p->layer[layer];

    rfhe_histogram_add_channels(l->channel, x, images, l->channels, l->per_image / l->channels, 0);
}

static void count_images(void *user, uint32_t images)
{
    ((rfhe_profile *)user)->images += images;
}

static bool is_difference(const rfhe_graph *g, rfhe_value_id v)
{
    return g->values[v].producer != RFHE_NO_NODE &&
           g->nodes[g->values[v].producer].op == RFHE_OP_SUB;
}

static rfhe_status list_layers(rfhe_profile *p, const rfhe_graph *g, const watch *w)
{
    p->layer = rfhe_calloc(w->n_keep, sizeof *p->layer);
    if (p->layer == NULL) { return RFHE_E_NOMEM; }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const rfhe_node *n = &g->nodes[i];
        if (!rfhe_method_is_activation(n)) { continue; }
        rfhe_profile_layer *l = &p->layer[p->n++];
        l->node = rfhe_strdup(n->name);
        l->value = rfhe_strdup(g->values[n->inputs[0]].name);
        l->channels = (size_t)g->values[n->inputs[0]].shape.dim[1];
        l->per_image = w->per_image[p->n - 1];
        l->is_difference = is_difference(g, n->inputs[0]);
        l->channel = rfhe_calloc(l->channels, sizeof *l->channel);
        if (l->node == NULL || l->value == NULL || l->channel == NULL) { return RFHE_E_NOMEM; }
    }
    return RFHE_OK;
}

rfhe_status rfhe_profile_collect(rfhe_profile *out, const rfhe_graph *g,
                                 const rfhe_batch_source *src, uint64_t images,
                                 rfhe_compute compute, const rfhe_progress *progress,
                                 rfhe_error *err)
{
    const double start = rfhe_now();
    rfhe_profile p = {0};
    watch w = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(watch_open(&w, g, rfhe_method_is_activation, src->batch, compute, err));
    RFHE_TRY(list_layers(&p, g, &w));
    RFHE_TRY(watch_run(&w, src, images, see_profile, count_images, &p, "profile", progress, err));
    for (size_t i = 0; i < p.n; i++) {
        for (size_t c = 0; c < p.layer[i].channels; c++) {
            rfhe_histogram_merge(&p.layer[i].whole, &p.layer[i].channel[c]);
        }
        if (p.layer[i].whole.bad > 0) {
            st = rfhe_fail(err, RFHE_E_NUMERIC,
                           "%" PRIu64 " values that reach '%s' are no finite numbers",
                           p.layer[i].whole.bad, p.layer[i].node);
            goto done;
        }
    }
    p.seconds = rfhe_now() - start;
    *out = p;
    p = (rfhe_profile){0};

done:
    if (st == RFHE_E_NOMEM) {
        (void)rfhe_fail(err, st, "no memory for the histograms of this network");
    }
    watch_close(&w);
    rfhe_profile_clear(&p);
    return st;
}

/* ---- overflow ---- */

typedef struct beyond {
    rfhe_overflow *row;
    double **scale;
    size_t *sets, *channels, *per_image;
    uint64_t *outside;
    bool *any; /* image of the batch overflowed somewhere */
    uint64_t images_beyond;
} beyond;

static void see_overflow(void *user, uint32_t layer, const float *x, uint32_t images)
{
    beyond *b = user;
    rfhe_overflow *r = &b->row[layer];
    const size_t channels = b->channels[layer], inner = b->per_image[layer] / channels;

    for (uint32_t i = 0; i < images; i++) {
        uint64_t outside = 0;
        for (size_t c = 0; c < channels; c++) {
            const float scale = (float)b->scale[layer][b->sets[layer] == 1 ? 0 : c];
            const float *plane = x + i * b->per_image[layer] + c * inner;
            float most = 0;
            for (size_t k = 0; k < inner; k++) {
                const float a = fabsf(plane[k]);
                outside += !(a <= scale);
                most = a > most ? a : most;
            }
            r->worst = fmax(r->worst, (double)most / (double)scale);
        }
        r->images++;
        r->beyond += outside > 0;
        b->outside[layer] += outside;
        b->any[i] = b->any[i] || outside > 0;
    }
}

static void close_batch(void *user, uint32_t images)
{
    beyond *b = user;

    for (uint32_t i = 0; i < images; i++) {
        b->images_beyond += b->any[i];
        b->any[i] = false;
    }
}

rfhe_status rfhe_method_overflow(rfhe_overflow **out, size_t *n, uint64_t *images_beyond,
                                 const rfhe_graph *g, const rfhe_batch_source *src,
                                 rfhe_compute compute, const rfhe_progress *progress,
                                 rfhe_error *err)
{
    watch w = {0};
    beyond b = {0};
    rfhe_status st = RFHE_OK;
    size_t at = 0;

    RFHE_TRY(watch_open(&w, g, rfhe_paf_node_is, src->batch, compute, err));
    b.row = rfhe_calloc(w.n_keep + 1, sizeof *b.row);
    b.scale = rfhe_calloc(w.n_keep + 1, sizeof *b.scale);
    b.sets = rfhe_calloc(w.n_keep + 1, sizeof *b.sets);
    b.channels = rfhe_calloc(w.n_keep + 1, sizeof *b.channels);
    b.outside = rfhe_calloc(w.n_keep + 1, sizeof *b.outside);
    b.any = rfhe_calloc(src->batch, sizeof *b.any);
    b.per_image = w.per_image;
    if (b.row == NULL || b.scale == NULL || b.sets == NULL || b.channels == NULL ||
        b.outside == NULL || b.any == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to count overflows");
        goto done;
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const rfhe_node *node = &g->nodes[i];
        if (!rfhe_paf_node_is(node)) { continue; }
        RFHE_TRY(rfhe_paf_node_get(g, node, NULL, NULL, &b.sets[at], err));
        b.scale[at] = rfhe_alloc(b.sets[at], sizeof **b.scale);
        if (b.scale[at] == NULL) {
            st = RFHE_E_NOMEM;
            goto done;
        }
        RFHE_TRY(rfhe_paf_node_get(g, node, NULL, b.scale[at], &b.sets[at], err));
        b.channels[at] = (size_t)g->values[node->inputs[0]].shape.dim[1];
        (void)snprintf(b.row[at++].node, sizeof b.row->node, "%s", node->name);
    }
    RFHE_TRY(watch_run(&w, src, 0, see_overflow, close_batch, &b, "overflow", progress, err));
    for (size_t i = 0; i < at; i++) {
        const double values = (double)b.row[i].images * (double)b.per_image[i];
        b.row[i].share = values > 0 ? (double)b.outside[i] / values : 0;
    }
    *out = b.row;
    b.row = NULL;
    *n = at;
    *images_beyond = b.images_beyond;

done:
    for (size_t i = 0; b.scale != NULL && i < w.n_keep; i++) { rfhe_free(b.scale[i]); }
    rfhe_free(b.row);
    rfhe_free(b.scale);
    rfhe_free(b.sets);
    rfhe_free(b.channels);
    rfhe_free(b.outside);
    rfhe_free(b.any);
    watch_close(&w);
    return st;
}
