/* See fold.h. */
#include "plan/fold.h"

#include "base/mem.h"
#include "paf/node.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WEIGHTS = 1 << 28 }; /* of one stencil: 2 GiB of doubles */

/* An operator as a stencil on one value. */
typedef struct stencil_op {
    uint32_t out_channels, in_channels, height, width; /* of w */
    uint32_t stride_y, stride_x, out_height, out_width;
    int32_t offset_y, offset_x;
    double *w;
    bool flat; /* of the result */
} stencil_op;

typedef struct folder {
    rfhe_folded *f;
    rfhe_graph *g;
    rfhe_affine *value;  /* per value of the graph */
    bool *known;
    uint32_t *uses;
    const rfhe_node *node; /* being folded */
    rfhe_error *err;
} folder;

/* ---- forms ---- */

static void affine_clear(rfhe_affine *a)
{
    for (uint32_t t = 0; t < a->n_terms && a->term != NULL; t++) { rfhe_free(a->term[t].w); }
    rfhe_free(a->term);
    rfhe_free(a->bias);
    *a = (rfhe_affine){0};
}

static size_t pixels(const rfhe_affine *a)
{
    return (size_t)a->height * a->width;
}

static size_t term_weights(const rfhe_affine *a, const rfhe_affine_term *t)
{
    return (size_t)a->channels * t->in_channels * t->height * t->width;
}

static rfhe_status no_memory(folder *s)
{
    return rfhe_fail(s->err, RFHE_E_NOMEM, "no memory to fold node '%s'", s->node != NULL ? s->node->name : "?");
}

static rfhe_status refuse(folder *s, const char *why)
{
    return rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "node '%s' (%s) cannot be planned: %s", s->node->name,
                     rfhe_op_name(s->node->op), why);
}

static rfhe_status affine_copy(folder *s, rfhe_affine *out, const rfhe_affine *a)
{
    rfhe_affine r = *a;

    r.bias = NULL;
    r.term = rfhe_calloc(a->n_terms, sizeof *r.term);
    if (r.term == NULL) { return no_memory(s); }
    r.n_terms = 0;
    for (uint32_t t = 0; t < a->n_terms; t++) {
        r.term[t] = a->term[t];
        r.term[t].w = rfhe_alloc(term_weights(a, &a->term[t]), sizeof(double));
        r.n_terms = t + 1;
        if (r.term[t].w == NULL) {
            affine_clear(&r);
            return no_memory(s);
        }
        memcpy(r.term[t].w, a->term[t].w, term_weights(a, &a->term[t]) * sizeof(double));
    }
    if (a->bias != NULL) {
        r.bias = rfhe_alloc(a->channels * pixels(a), sizeof(double));
        if (r.bias == NULL) {
            affine_clear(&r);
            return no_memory(s);
        }
        memcpy(r.bias, a->bias, a->channels * pixels(a) * sizeof(double));
    }
    *out = r;
    return RFHE_OK;
}

static rfhe_status need_bias(folder *s, rfhe_affine *a)
{
    if (a->bias == NULL) { a->bias = rfhe_calloc(a->channels * pixels(a), sizeof(double)); }
    return a->bias != NULL ? RFHE_OK : no_memory(s);
}

/* The source itself. */
static rfhe_status affine_of_source(folder *s, rfhe_affine *out, uint32_t source, bool exclusive)
{
    const rfhe_fold_source *q = &s->f->source[source];
    rfhe_affine r = {.channels = q->channels, .height = q->height, .width = q->width, .flat = q->flat,
                     .exclusive = exclusive, .n_terms = 1};

    r.term = rfhe_calloc(1, sizeof *r.term);
    if (r.term == NULL) { return no_memory(s); }
    r.term[0] = (rfhe_affine_term){.source = source, .in_channels = q->channels, .height = 1, .width = 1,
                                   .stride_y = 1, .stride_x = 1};
    r.term[0].w = rfhe_calloc((size_t)q->channels * q->channels, sizeof(double));
    if (r.term[0].w == NULL) {
        affine_clear(&r);
        return no_memory(s);
    }
    for (size_t c = 0; c < q->channels; c++) { r.term[0].w[c * q->channels + c] = 1; }
    *out = r;
    return RFHE_OK;
}

void rfhe_affine_bound(double *out, const rfhe_affine *a, const rfhe_folded *f)
{
    for (uint32_t o = 0; o < a->channels; o++) {
        double sum = 0, most = 0;
        for (uint32_t t = 0; t < a->n_terms; t++) {
            const rfhe_affine_term *m = &a->term[t];
            const size_t taps = (size_t)m->height * m->width;
            for (size_t c = 0; c < m->in_channels; c++) {
                const double *w = m->w + ((size_t)o * m->in_channels + c) * taps;
                double size = 0;
                for (size_t k = 0; k < taps; k++) { size += fabs(w[k]); }
                if (size > 0) { sum += size * f->source[m->source].bound[c]; }
            }
        }
        for (size_t k = 0; k < pixels(a) && a->bias != NULL; k++) { most = fmax(most, fabs(a->bias[o * pixels(a) + k])); }
        out[o] = sum + most;
    }
}

/* ---- composition ---- */

/* One dimension: whether every read outside of the intermediate value is one outside of the source too. live: which rows
 * (or columns) of a kernel have any weight. */
typedef struct window {
    int64_t count, stride, offset, kernel;
    const bool *live;
} window;

static bool reads_agree(const window *second, int64_t middle, const window *first, int64_t source)
{
    for (int64_t y = 0; y < second->count; y++) {
        for (int64_t i = 0; i < second->kernel; i++) {
            const int64_t r = y * second->stride + second->offset + i;
            if ((r >= 0 && r < middle) || !second->live[i]) { continue; }
            for (int64_t k = 0; k < first->kernel; k++) {
                const int64_t q = r * first->stride + first->offset + k;
                if (first->live[k] && q >= 0 && q < source) { return false; }
            }
        }
    }
    return true;
}

/* rows[height], columns[width] of a kernel tensor [planes][height][width]. */
static void find_live(bool *rows, bool *columns, const double *w, size_t planes, uint32_t height, uint32_t width)
{
    memset(rows, 0, height * sizeof *rows);
    memset(columns, 0, width * sizeof *columns);
    for (size_t p = 0; p < planes; p++) {
        for (uint32_t i = 0; i < height; i++) {
            for (uint32_t j = 0; j < width; j++) {
                if (w[(p * height + i) * width + j] != 0) { rows[i] = columns[j] = true; }
            }
        }
    }
}

static rfhe_status is_exact(folder *s, bool *exact, const stencil_op *op, const rfhe_affine *in)
{
    bool *live = rfhe_alloc((size_t)op->height + op->width, sizeof *live), *first = NULL;
    rfhe_status st = RFHE_OK;

    *exact = true;
    if (live == NULL) { return no_memory(s); }
    find_live(live, live + op->height, op->w, (size_t)op->out_channels * op->in_channels, op->height, op->width);
    for (uint32_t t = 0; t < in->n_terms && *exact; t++) {
        const rfhe_affine_term *m = &in->term[t];
        rfhe_fold_source *q = &s->f->source[m->source];
        rfhe_free(first);
        first = rfhe_alloc((size_t)m->height + m->width, sizeof *first);
        if (first == NULL) {
            st = no_memory(s);
            goto done;
        }
        find_live(first, first + m->height, m->w, (size_t)in->channels * m->in_channels, m->height, m->width);
        const window y2 = {op->out_height, op->stride_y, op->offset_y, op->height, live};
        const window x2 = {op->out_width, op->stride_x, op->offset_x, op->width, live + op->height};
        const window y1 = {in->height, m->stride_y, m->offset_y, m->height, first};
        const window x1 = {in->width, m->stride_x, m->offset_x, m->width, first + m->height};
        const bool fits_y = reads_agree(&y2, in->height, &y1, q->height);
        const bool fits_x = reads_agree(&x2, in->width, &x1, q->width);
        if (fits_y && fits_x) { continue; }
        *exact = false;
        /* What the intermediate value itself does not read of its source may be cut off. */
        const int64_t rows = ((int64_t)in->height - 1) * m->stride_y + m->offset_y + m->height;
        const int64_t columns = ((int64_t)in->width - 1) * m->stride_x + m->offset_x + m->width;
        if (!in->exclusive || m->source == 0 || rows < 1 || columns < 1) { continue; }
        const int64_t h = rows < q->height ? rows : q->height, w = columns < q->width ? columns : q->width;
        if (reads_agree(&y2, in->height, &y1, h) && reads_agree(&x2, in->width, &x1, w)) {
            q->height = (uint32_t)h;
            q->width = (uint32_t)w;
            *exact = true;
        }
    }

done:
    rfhe_free(live);
    rfhe_free(first);
    return st;
}

/* The non-zero weights of an affine term, sorted by output channel: so that products skip zeros. */
typedef struct sparse {
    size_t *start;                  /* per channel, channels + 1 */
    struct entry {
        uint32_t c, i, j;
        double v;
    } *entry;
} sparse;

static rfhe_status sparse_new(folder *s, sparse *out, const rfhe_affine *a, const rfhe_affine_term *t)
{
    const size_t all = term_weights(a, t), per = (size_t)t->in_channels * t->height * t->width;
    size_t n = 0;

    for (size_t k = 0; k < all; k++) { n += t->w[k] != 0; }
    out->start = rfhe_alloc((size_t)a->channels + 1, sizeof *out->start);
    out->entry = rfhe_alloc(n, sizeof *out->entry);
    if (out->start == NULL || out->entry == NULL) { return no_memory(s); }
    n = 0;
    for (size_t o = 0; o < a->channels; o++) {
        out->start[o] = n;
        for (size_t k = 0; k < per; k++) {
            if (t->w[o * per + k] == 0) { continue; }
            const size_t tap = k % ((size_t)t->height * t->width);
            out->entry[n++] = (struct entry){.c = (uint32_t)(k / ((size_t)t->height * t->width)),
                                             .i = (uint32_t)(tap / t->width),
                                             .j = (uint32_t)(tap % t->width),
                                             .v = t->w[o * per + k]};
        }
    }
    out->start[a->channels] = n;
    return RFHE_OK;
}

static void sparse_clear(sparse *s)
{
    rfhe_free(s->start);
    rfhe_free(s->entry);
    *s = (sparse){0};
}

static rfhe_status too_large(folder *s, uint32_t o, uint32_t c, uint32_t h, uint32_t w)
{
    return rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "node '%s' (%s) cannot be planned: its folded kernel would have %" PRIu32
                     " x %" PRIu32 " channels of %" PRIu32 " x %" PRIu32 " weights", s->node->name,
                     rfhe_op_name(s->node->op), o, c, h, w);
}

static bool fits(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return (double)a * (double)b * (double)c * (double)d <= (double)MAX_WEIGHTS;
}

/* The rows of a kernel that ever read inside of the source: [*from, *to), at least one. */
static void trim_window(uint32_t *from, uint32_t *to, uint32_t kernel, uint32_t count, uint32_t stride, int32_t offset,
                        uint32_t source)
{
    const int64_t last = ((int64_t)count - 1) * stride + offset;

    *from = 0;
    *to = kernel;
    while (*to - *from > 1 && last + *from < 0) { (*from)++; }
    while (*to - *from > 1 && (int64_t)offset + *to - 1 >= source) { (*to)--; }
}

static rfhe_status compose_term(folder *s, rfhe_affine_term *out, const stencil_op *op, const rfhe_affine *in,
                                const rfhe_affine_term *m)
{
    rfhe_affine_term r = {.source = m->source,
                          .in_channels = m->in_channels,
                          .height = (op->height - 1) * m->stride_y + m->height,
                          .width = (op->width - 1) * m->stride_x + m->width,
                          .stride_y = op->stride_y * m->stride_y,
                          .stride_x = op->stride_x * m->stride_x,
                          .offset_y = op->offset_y * (int32_t)m->stride_y + m->offset_y,
                          .offset_x = op->offset_x * (int32_t)m->stride_x + m->offset_x};
    const rfhe_fold_source *q = &s->f->source[m->source];
    sparse first = {0};
    rfhe_status st = RFHE_OK;
    uint32_t y0 = 0, y1 = 0, x0 = 0, x1 = 0;

    trim_window(&y0, &y1, r.height, op->out_height, r.stride_y, r.offset_y, q->height);
    trim_window(&x0, &x1, r.width, op->out_width, r.stride_x, r.offset_x, q->width);
    r.height = y1 - y0;
    r.width = x1 - x0;
    r.offset_y += (int32_t)y0;
    r.offset_x += (int32_t)x0;
    const size_t taps = (size_t)r.height * r.width;

    if (!fits(op->out_channels, r.in_channels, r.height, r.width)) {
        return too_large(s, op->out_channels, r.in_channels, r.height, r.width);
    }
    r.w = rfhe_calloc((size_t)op->out_channels * r.in_channels * taps, sizeof(double));
    if (r.w == NULL) { return no_memory(s); }
    RFHE_TRY(sparse_new(s, &first, in, m));
#pragma omp parallel for schedule(static)
    for (uint32_t o = 0; o < op->out_channels; o++) {
        double *const to = r.w + (size_t)o * r.in_channels * taps;
        const double *w = op->w + (size_t)o * op->in_channels * op->height * op->width;
        for (uint32_t c = 0; c < op->in_channels; c++) {
            for (uint32_t i = 0; i < op->height; i++) {
                for (uint32_t j = 0; j < op->width; j++, w++) {
                    if (*w == 0) { continue; }
                    for (size_t e = first.start[c]; e < first.start[c + 1]; e++) {
                        const struct entry *p = &first.entry[e];
                        const uint32_t y = i * m->stride_y + p->i, x = j * m->stride_x + p->j;
                        if (y < y0 || y >= y1 || x < x0 || x >= x1) { continue; }
                        to[p->c * taps + (size_t)(y - y0) * r.width + (x - x0)] += *w * p->v;
                    }
                }
            }
        }
    }
    *out = r;
    r.w = NULL;

done:
    sparse_clear(&first);
    rfhe_free(r.w);
    return st;
}

/* to[o] += op applied to the numbers `from`, zero outside. */
static void apply_to_numbers(double *to, const stencil_op *op, const double *from, uint32_t height, uint32_t width)
{
#pragma omp parallel for schedule(static)
    for (uint32_t o = 0; o < op->out_channels; o++) {
        const double *w = op->w + (size_t)o * op->in_channels * op->height * op->width;
        double *const row = to + (size_t)o * op->out_height * op->out_width;
        for (uint32_t c = 0; c < op->in_channels; c++) {
            for (uint32_t i = 0; i < op->height; i++) {
                for (uint32_t j = 0; j < op->width; j++, w++) {
                    if (*w == 0) { continue; }
                    for (uint32_t y = 0; y < op->out_height; y++) {
                        const int64_t sy = (int64_t)y * op->stride_y + op->offset_y + i;
                        if (sy < 0 || sy >= height) { continue; }
                        for (uint32_t x = 0; x < op->out_width; x++) {
                            const int64_t sx = (int64_t)x * op->stride_x + op->offset_x + j;
                            if (sx < 0 || sx >= width) { continue; }
                            row[(size_t)y * op->out_width + x] += *w * from[((size_t)c * height + (size_t)sy) * width + (size_t)sx];
                        }
                    }
                }
            }
        }
    }
}

/* ---- sources ---- */

static rfhe_status source_new(folder *s, uint32_t *at, const char *name, uint32_t channels, uint32_t height, uint32_t width,
                              bool flat)
{
    rfhe_folded *f = s->f;

    if (f->n_sources == f->capacity) {
        const uint32_t more = f->capacity == 0 ? 16 : 2 * f->capacity;
        rfhe_fold_source *p = rfhe_realloc(f->source, more, sizeof *p);
        if (p == NULL) { return no_memory(s); }
        f->source = p;
        f->capacity = more;
    }
    rfhe_fold_source *q = &f->source[f->n_sources];
    *q = (rfhe_fold_source){.channels = channels, .height = height, .width = width, .flat = flat, .node = RFHE_NO_NODE};
    (void)snprintf(q->name, sizeof q->name, "%s", name);
    *at = f->n_sources++;
    q->bound = rfhe_calloc(channels, sizeof(double));
    return q->bound != NULL ? RFHE_OK : no_memory(s);
}

/* `in` becomes the input of a refresh without a polynomial; *out is its output. Takes `in` on success. `weight`
 * (taken too; may be NULL): what the output is multiplied by, per place. */
static rfhe_status insert_identity(folder *s, rfhe_affine *out, rfhe_affine *in, float *weight)
{
    rfhe_status st = RFHE_OK;
    uint32_t at = 0;
    char name[96];
    double *range = rfhe_alloc(in->channels, sizeof *range);

    if (range == NULL) { return no_memory(s); }
    (void)snprintf(name, sizeof name, "%.80s/refresh", s->node->name);
    rfhe_affine_bound(range, in, s->f);
    RFHE_TRY(source_new(s, &at, name, in->channels, in->height, in->width, in->flat));
    rfhe_fold_source *q = &s->f->source[at];
    for (uint32_t c = 0; c < in->channels; c++) {
        double most = 1;
        for (size_t k = 0; k < pixels(in) && weight != NULL; k++) {
            most = fmax(most, (double)weight[c * pixels(in) + k]);
        }
        if (!(range[c] > 0)) { range[c] = 1; }
        q->bound[c] = range[c] * most;
    }
    RFHE_TRY(affine_of_source(s, out, at, false));
    q->range = range;
    q->weight = weight;
    q->in = *in;
    *in = (rfhe_affine){0};
    range = NULL;

done:
    rfhe_free(range);
    return st;
}

/* ---- operators on forms ---- */

/* *out = op(in). May replace *in by its refreshed self. */
static rfhe_status apply(folder *s, rfhe_affine *out, const stencil_op *op, rfhe_affine *in)
{
    rfhe_status st = RFHE_OK;
    bool exact = true;
    rfhe_affine r = {.channels = op->out_channels, .height = op->out_height, .width = op->out_width, .flat = op->flat,
                     .exclusive = in->exclusive};

    RFHE_TRY(is_exact(s, &exact, op, in));
    if (!exact) {
        rfhe_affine fresh = {0};
        RFHE_TRY(insert_identity(s, &fresh, in, NULL));
        *in = fresh;
        r.exclusive = false;
    }
    r.term = rfhe_calloc(in->n_terms, sizeof *r.term);
    if (r.term == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (uint32_t t = 0; t < in->n_terms; t++) {
        RFHE_TRY(compose_term(s, &r.term[t], op, in, &in->term[t]));
        r.n_terms = t + 1;
    }
    if (in->bias != NULL) {
        RFHE_TRY(need_bias(s, &r));
        apply_to_numbers(r.bias, op, in->bias, in->height, in->width);
    }
    *out = r;
    r = (rfhe_affine){0};

done:
    affine_clear(&r);
    return st;
}

static void scale_channels(rfhe_affine *a, const double *by)
{
    for (uint32_t o = 0; o < a->channels; o++) {
        for (uint32_t t = 0; t < a->n_terms; t++) {
            const size_t per = term_weights(a, &a->term[t]) / a->channels;
            for (size_t k = 0; k < per; k++) { a->term[t].w[o * per + k] *= by[o]; }
        }
        for (size_t k = 0; k < pixels(a) && a->bias != NULL; k++) { a->bias[o * pixels(a) + k] *= by[o]; }
    }
}

static rfhe_status add_per_channel(folder *s, rfhe_affine *a, const double *by)
{
    const rfhe_status st = need_bias(s, a);

    for (uint32_t o = 0; st == RFHE_OK && o < a->channels; o++) {
        for (size_t k = 0; k < pixels(a); k++) { a->bias[o * pixels(a) + k] += by[o]; }
    }
    return st;
}

static rfhe_status op_new(folder *s, stencil_op *op)
{
    if (!fits(op->out_channels, op->in_channels, op->height, op->width)) {
        return too_large(s, op->out_channels, op->in_channels, op->height, op->width);
    }
    op->w = rfhe_calloc((size_t)op->out_channels * op->in_channels * op->height * op->width, sizeof(double));
    return op->w != NULL ? RFHE_OK : no_memory(s);
}

static double *op_at(const stencil_op *op, size_t o, size_t c, size_t i, size_t j)
{
    return &op->w[((o * op->in_channels + c) * op->height + i) * op->width + j];
}

/* [C][H][W] to [C * H * W][1][1]; nothing to do when H and W are 1. */
static rfhe_status flatten(folder *s, rfhe_affine *a)
{
    rfhe_status st = RFHE_OK;
    rfhe_affine r = {0};
    stencil_op op = {.in_channels = a->channels, .height = a->height, .width = a->width, .stride_y = 1, .stride_x = 1,
                     .out_height = 1, .out_width = 1, .flat = true};

    if (pixels(a) == 1) {
        a->flat = true;
        return RFHE_OK;
    }
    op.out_channels = (uint32_t)(a->channels * pixels(a));
    RFHE_TRY(op_new(s, &op));
    for (size_t o = 0; o < op.out_channels; o++) {
        *op_at(&op, o, o / pixels(a), o % pixels(a) / a->width, o % a->width) = 1;
    }
    RFHE_TRY(apply(s, &r, &op, a));
    affine_clear(a);
    *a = r;

done:
    rfhe_free(op.w);
    return st;
}

static rfhe_status as_shape(folder *s, uint32_t *out, int64_t value)
{
    if (value < 1 || value > 1 << 24) { return refuse(s, "a dimension of its result is out of range"); }
    *out = (uint32_t)value;
    return RFHE_OK;
}

/* Height and width of the node's result, which has four dimensions. */
static rfhe_status out_pixels(folder *s, uint32_t *height, uint32_t *width)
{
    const rfhe_shape *shape = &s->g->values[s->node->outputs[0]].shape;
    rfhe_status st = RFHE_OK;

    if (shape->rank != 4) { return refuse(s, "only images of two dimensions are planned"); }
    RFHE_TRY(as_shape(s, height, shape->dim[2]));
    RFHE_TRY(as_shape(s, width, shape->dim[3]));
done:
    return st;
}

static rfhe_status fold_conv(folder *s, rfhe_affine *out, rfhe_affine *in)
{
    const rfhe_window *v = &s->node->attr.window;
    const rfhe_tensor *w = rfhe_graph_constant(s->g, s->node, 1), *b = rfhe_graph_constant(s->g, s->node, 2);
    rfhe_status st = RFHE_OK;
    stencil_op op = {0};
    double *bias = NULL;

    if (w == NULL || (s->node->n_inputs > 2 && s->node->inputs[2] != RFHE_NO_VALUE && b == NULL)) {
        return refuse(s, "its weights are not constant");
    }
    if (v->spatial != 2 || in->flat) { return refuse(s, "only images of two dimensions are planned"); }
    RFHE_TRY(out_pixels(s, &op.out_height, &op.out_width));
    op.out_channels = (uint32_t)w->shape.dim[0];
    op.in_channels = in->channels;
    op.height = (uint32_t)((v->kernel[0] - 1) * v->dilation[0] + 1);
    op.width = (uint32_t)((v->kernel[1] - 1) * v->dilation[1] + 1);
    op.stride_y = (uint32_t)v->stride[0];
    op.stride_x = (uint32_t)v->stride[1];
    op.offset_y = (int32_t)-v->pad_begin[0];
    op.offset_x = (int32_t)-v->pad_begin[1];
    RFHE_TRY(op_new(s, &op));
    const size_t per_in = (size_t)w->shape.dim[1], per_out = op.out_channels / (size_t)v->groups;
    const float *from = w->f32;
    for (size_t o = 0; o < op.out_channels; o++) {
        for (size_t c = 0; c < per_in; c++) {
            for (int64_t i = 0; i < v->kernel[0]; i++) {
                for (int64_t j = 0; j < v->kernel[1]; j++) {
                    *op_at(&op, o, o / per_out * per_in + c, (size_t)(i * v->dilation[0]), (size_t)(j * v->dilation[1])) =
                        (double)*from++;
                }
            }
        }
    }
    RFHE_TRY(apply(s, out, &op, in));
    if (b != NULL) {
        bias = rfhe_alloc(op.out_channels, sizeof *bias);
        if (bias == NULL) {
            st = no_memory(s);
            goto done;
        }
        for (size_t o = 0; o < op.out_channels; o++) { bias[o] = (double)b->f32[o]; }
        RFHE_TRY(add_per_channel(s, out, bias));
    }

done:
    rfhe_free(op.w);
    rfhe_free(bias);
    return st;
}

/* One dimension of an average: how many inputs window `y` has. */
static int64_t counted(const rfhe_window *v, uint32_t k, int64_t y, int64_t in)
{
    const int64_t start = y * v->stride[k] - v->pad_begin[k];
    int64_t n = 0;

    for (int64_t i = 0; i < v->kernel[k]; i++) {
        const int64_t at = start + i * v->dilation[k];
        n += v->count_include_pad ? at < in + v->pad_end[k] : at >= 0 && at < in;
    }
    return n > 0 ? n : 1;
}

static rfhe_status fold_average(folder *s, rfhe_affine *out, rfhe_affine *in)
{
    const rfhe_window *v = &s->node->attr.window;
    rfhe_status st = RFHE_OK;
    stencil_op op = {.out_channels = in->channels, .in_channels = in->channels};
    rfhe_affine mean = {0};
    float *weight = NULL;

    if (v->spatial != 2 || in->flat) { return refuse(s, "only images of two dimensions are planned"); }
    RFHE_TRY(out_pixels(s, &op.out_height, &op.out_width));
    op.height = (uint32_t)((v->kernel[0] - 1) * v->dilation[0] + 1);
    op.width = (uint32_t)((v->kernel[1] - 1) * v->dilation[1] + 1);
    op.stride_y = (uint32_t)v->stride[0];
    op.stride_x = (uint32_t)v->stride[1];
    op.offset_y = (int32_t)-v->pad_begin[0];
    op.offset_x = (int32_t)-v->pad_begin[1];
    int64_t most = 0, least = INT64_MAX;
    for (int64_t y = 0; y < op.out_height; y++) {
        for (int64_t x = 0; x < op.out_width; x++) {
            const int64_t n = counted(v, 0, y, in->height) * counted(v, 1, x, in->width);
            most = n > most ? n : most;
            least = n < least ? n : least;
        }
    }
    RFHE_TRY(op_new(s, &op));
    for (size_t c = 0; c < op.out_channels; c++) {
        for (int64_t i = 0; i < v->kernel[0]; i++) {
            for (int64_t j = 0; j < v->kernel[1]; j++) {
                *op_at(&op, c, c, (size_t)(i * v->dilation[0]), (size_t)(j * v->dilation[1])) = 1 / (double)most;
            }
        }
    }
    RFHE_TRY(apply(s, &mean, &op, in));
    if (least != most) { /* the divisor varies: refreshed, and weighted by place on the way back */
        const size_t n = (size_t)op.out_height * op.out_width;
        weight = rfhe_alloc(op.out_channels * n, sizeof *weight);
        if (weight == NULL) {
            st = no_memory(s);
            goto done;
        }
        for (size_t k = 0; k < op.out_channels * n; k++) {
            const int64_t y = (int64_t)(k % n / op.out_width), x = (int64_t)(k % op.out_width);
            weight[k] = (float)((double)most / (double)(counted(v, 0, y, in->height) * counted(v, 1, x, in->width)));
        }
        RFHE_TRY(insert_identity(s, out, &mean, weight));
        weight = NULL;
    } else {
        *out = mean;
        mean = (rfhe_affine){0};
    }

done:
    affine_clear(&mean);
    rfhe_free(op.w);
    rfhe_free(weight);
    return st;
}

/* Mean over rows, columns or both. */
static rfhe_status fold_mean(folder *s, rfhe_affine *out, rfhe_affine *in, bool rows, bool columns, bool flat)
{
    rfhe_status st = RFHE_OK;
    stencil_op op = {.out_channels = in->channels, .in_channels = in->channels, .height = rows ? in->height : 1,
                     .width = columns ? in->width : 1, .stride_y = 1, .stride_x = 1,
                     .out_height = rows ? 1 : in->height, .out_width = columns ? 1 : in->width, .flat = flat};
    const size_t taps = (size_t)op.height * op.width;

    RFHE_TRY(op_new(s, &op));
    for (size_t c = 0; c < op.out_channels; c++) {
        for (size_t k = 0; k < taps; k++) { op_at(&op, c, c, 0, 0)[k] = 1 / (double)taps; }
    }
    RFHE_TRY(apply(s, out, &op, in));

done:
    rfhe_free(op.w);
    return st;
}

static rfhe_status fold_reduce_mean(folder *s, rfhe_affine *out, rfhe_affine *in)
{
    bool axis[4] = {false};
    const rfhe_shape *to = &s->g->values[s->node->outputs[0]].shape;

    if (in->flat) { return refuse(s, "it averages over features"); }
    for (uint32_t i = 0; i < s->node->attr.reduce.n; i++) {
        const int64_t a = s->node->attr.reduce.axis[i];
        if (a < -4 || a > 3) { return refuse(s, "it averages over an axis that is not there"); }
        axis[a < 0 ? a + 4 : a] = true;
    }
    if (s->node->attr.reduce.n == 0 || axis[0] || axis[1]) { return refuse(s, "it averages over other axes than rows and columns"); }
    const bool whole = (axis[2] || in->height == 1) && (axis[3] || in->width == 1);
    if (to->rank != 4 && !(to->rank == 2 && whole)) { return refuse(s, "it drops one of two image axes"); }
    return fold_mean(s, out, in, axis[2], axis[3], to->rank == 2);
}

static rfhe_status fold_dense(folder *s, rfhe_affine *out, rfhe_affine *in)
{
    const bool gemm = s->node->op == RFHE_OP_GEMM;
    const rfhe_tensor *w = rfhe_graph_constant(s->g, s->node, 1), *b = gemm ? rfhe_graph_constant(s->g, s->node, 2) : NULL;
    const bool turned = gemm && s->node->attr.gemm.trans_b;
    const double alpha = gemm ? (double)s->node->attr.gemm.alpha : 1, beta = gemm ? (double)s->node->attr.gemm.beta : 0;
    rfhe_status st = RFHE_OK;
    double *bias = NULL;
    stencil_op op = {.in_channels = in->channels, .height = in->height, .width = in->width, .stride_y = 1, .stride_x = 1,
                     .out_height = 1, .out_width = 1, .flat = true};

    if (w == NULL || w->shape.rank != 2 || (gemm && s->node->n_inputs > 2 && s->node->inputs[2] != RFHE_NO_VALUE && b == NULL)) {
        return refuse(s, "its matrix or bias is not constant");
    }
    if (!in->flat || (gemm && s->node->attr.gemm.trans_a)) { return refuse(s, "its first operand is not a row of features"); }
    const size_t features = in->channels * pixels(in);
    if ((size_t)w->shape.dim[turned ? 1 : 0] != features) { return refuse(s, "its matrix does not fit"); }
    RFHE_TRY(as_shape(s, &op.out_channels, w->shape.dim[turned ? 0 : 1]));
    RFHE_TRY(op_new(s, &op));
    for (size_t o = 0; o < op.out_channels; o++) {
        for (size_t k = 0; k < features; k++) {
            op.w[o * features + k] = alpha * (double)w->f32[turned ? o * features + k : k * op.out_channels + o];
        }
    }
    RFHE_TRY(apply(s, out, &op, in));
    if (b != NULL) {
        bias = rfhe_alloc(op.out_channels, sizeof *bias);
        if (bias == NULL || (b->count != 1 && b->count != op.out_channels)) {
            st = bias == NULL ? no_memory(s) : refuse(s, "its bias does not fit");
            goto done;
        }
        for (size_t o = 0; o < op.out_channels; o++) { bias[o] = beta * (double)b->f32[b->count == 1 ? 0 : o]; }
        RFHE_TRY(add_per_channel(s, out, bias));
    }

done:
    rfhe_free(op.w);
    rfhe_free(bias);
    return st;
}

static rfhe_status fold_batchnorm(folder *s, rfhe_affine *a)
{
    const rfhe_tensor *t[4] = {0};
    rfhe_status st = RFHE_OK;
    double *by = NULL;

    for (uint32_t i = 0; i < 4; i++) {
        t[i] = rfhe_graph_constant(s->g, s->node, i + 1);
        if (t[i] == NULL || t[i]->count != (a->flat ? a->channels * pixels(a) : a->channels)) {
            return refuse(s, "its statistics are not constants that fit");
        }
    }
    if (a->flat) { RFHE_TRY(flatten(s, a)); }
    by = rfhe_alloc(2 * (size_t)a->channels, sizeof *by);
    if (by == NULL) {
        st = no_memory(s);
        goto done;
    }
    double *const shift = by + a->channels;
    for (size_t c = 0; c < a->channels; c++) {
        by[c] = (double)t[0]->f32[c] / sqrt((double)t[3]->f32[c] + (double)s->node->attr.batchnorm.epsilon);
        shift[c] = (double)t[1]->f32[c] - (double)t[2]->f32[c] * by[c];
    }
    scale_channels(a, by);
    RFHE_TRY(add_per_channel(s, a, shift));

done:
    rfhe_free(by);
    return st;
}

/* The element of constant `t` that meets place (c, y, x) of `a` under NumPy's rule; t has no more dimensions than a. */
static double constant_at(const rfhe_tensor *t, const rfhe_affine *a, size_t c, size_t y, size_t x)
{
    size_t at = 0;
    const size_t four[4] = {0, c, y, x}, two[2] = {0, (c * a->height + y) * a->width + x};
    const size_t *index = a->flat ? two : four;
    const uint32_t rank = a->flat ? 2 : 4;

    for (uint32_t k = 0; k < t->shape.rank; k++) {
        const size_t d = (size_t)t->shape.dim[k], i = index[rank - t->shape.rank + k];
        at = at * d + (d == 1 ? 0 : i);
    }
    return (double)t->f32[at];
}

/* The constant must broadcast to the value, not the value to it. */
static rfhe_status check_constant(folder *s, const rfhe_tensor *t, const rfhe_affine *a)
{
    const rfhe_shape shape = {.rank = a->flat ? 2 : 4,
                              .dim = {1, a->flat ? (int64_t)(a->channels * pixels(a)) : a->channels, a->height, a->width}};
    rfhe_shape both;

    if (!rfhe_shape_broadcast(&both, &shape, &t->shape) || !rfhe_shape_equal(&both, &shape) || t->dtype != RFHE_F32) {
        return refuse(s, "its constant does not fit its operand");
    }
    return RFHE_OK;
}

static rfhe_status multiply_constant(folder *s, rfhe_affine *a, const rfhe_tensor *t)
{
    rfhe_status st = RFHE_OK;
    double *by = rfhe_alloc(a->channels, sizeof *by);

    if (by == NULL) { return no_memory(s); }
    RFHE_TRY(check_constant(s, t, a));
    for (size_t c = 0; c < a->channels; c++) {
        by[c] = constant_at(t, a, c, 0, 0);
        for (size_t k = 0; k < pixels(a); k++) {
            if (constant_at(t, a, c, k / a->width, k % a->width) != by[c]) {
                st = refuse(s, "its factor differs from pixel to pixel");
                goto done;
            }
        }
    }
    scale_channels(a, by);

done:
    rfhe_free(by);
    return st;
}

static rfhe_status add_constant(folder *s, rfhe_affine *a, const rfhe_tensor *t, double sign)
{
    rfhe_status st = check_constant(s, t, a);

    if (st == RFHE_OK) { st = need_bias(s, a); }
    for (size_t k = 0; st == RFHE_OK && k < a->channels * pixels(a); k++) {
        a->bias[k] += sign * constant_at(t, a, k / pixels(a), k % pixels(a) / a->width, k % a->width);
    }
    return st;
}

/* a = a + sign b, term by term; terms of one source and stride are united. */
static rfhe_status add_forms(folder *s, rfhe_affine *a, const rfhe_affine *b, double sign)
{
    rfhe_status st = RFHE_OK;

    if (a->channels != b->channels || a->height != b->height || a->width != b->width || a->flat != b->flat) {
        return refuse(s, "its operands have different shapes");
    }
    a->exclusive = false;
    for (uint32_t t = 0; t < b->n_terms; t++) {
        const rfhe_affine_term *m = &b->term[t];
        rfhe_affine_term r = *m, *old = NULL;
        for (uint32_t k = 0; k < a->n_terms && old == NULL; k++) {
            rfhe_affine_term *p = &a->term[k];
            if (p->source == m->source && p->stride_y == m->stride_y && p->stride_x == m->stride_x) { old = p; }
        }
        const rfhe_affine_term *part[2] = {m, old};
        if (old != NULL) { /* the smallest window that holds both */
            r.offset_y = old->offset_y < m->offset_y ? old->offset_y : m->offset_y;
            r.offset_x = old->offset_x < m->offset_x ? old->offset_x : m->offset_x;
            const int64_t y0 = (int64_t)old->offset_y + old->height, y1 = (int64_t)m->offset_y + m->height;
            const int64_t x0 = (int64_t)old->offset_x + old->width, x1 = (int64_t)m->offset_x + m->width;
            r.height = (uint32_t)((y0 > y1 ? y0 : y1) - r.offset_y);
            r.width = (uint32_t)((x0 > x1 ? x0 : x1) - r.offset_x);
        }
        if (!fits(a->channels, r.in_channels, r.height, r.width)) {
            return too_large(s, a->channels, r.in_channels, r.height, r.width);
        }
        r.w = rfhe_calloc(term_weights(a, &r), sizeof(double));
        if (r.w == NULL) { return no_memory(s); }
        for (uint32_t p = 0; p < 2; p++) {
            if (part[p] == NULL) { continue; }
            const double *from = part[p]->w;
            const size_t dy = (size_t)(part[p]->offset_y - r.offset_y), dx = (size_t)(part[p]->offset_x - r.offset_x);
            for (size_t plane = 0; plane < (size_t)a->channels * r.in_channels; plane++) {
                for (size_t i = 0; i < part[p]->height; i++) {
                    for (size_t j = 0; j < part[p]->width; j++) {
                        r.w[(plane * r.height + dy + i) * r.width + dx + j] += (p == 0 ? sign : 1) * *from++;
                    }
                }
            }
        }
        if (old != NULL) {
            rfhe_free(old->w);
            *old = r;
            continue;
        }
        rfhe_affine_term *more = rfhe_realloc(a->term, (size_t)a->n_terms + 1, sizeof *more);
        if (more == NULL) {
            rfhe_free(r.w);
            return no_memory(s);
        }
        a->term = more;
        a->term[a->n_terms++] = r;
    }
    if (b->bias != NULL) {
        RFHE_TRY(need_bias(s, a));
        for (size_t k = 0; k < a->channels * pixels(a); k++) { a->bias[k] += sign * b->bias[k]; }
    }

done:
    return st;
}

/* A stencil of one tap per output channel, `from[o]` (UINT32_MAX: none), with a stride and an offset. */
static rfhe_status pick(folder *s, rfhe_affine *out, rfhe_affine *in, const uint32_t *from, stencil_op op)
{
    rfhe_status st = RFHE_OK;

    op.in_channels = in->channels;
    op.height = op.width = 1;
    op.flat = in->flat;
    op.w = NULL;
    RFHE_TRY(op_new(s, &op));
    for (size_t o = 0; o < op.out_channels; o++) {
        if (from[o] != UINT32_MAX) { *op_at(&op, o, from[o], 0, 0) = 1; }
    }
    RFHE_TRY(apply(s, out, &op, in));

done:
    rfhe_free(op.w);
    return st;
}

static rfhe_status fold_slice(folder *s, rfhe_affine *out, rfhe_affine *in)
{
    int64_t start[4] = {0, 0, 0, 0}, step[4] = {1, 1, 1, 1}, count[4] = {1, 1, 1, 1};
    const rfhe_shape *to = &s->g->values[s->node->outputs[0]].shape;
    rfhe_status st = RFHE_OK;
    uint32_t *from = NULL;
    stencil_op op = {0};

    if (in->flat) { RFHE_TRY(flatten(s, in)); }
    for (uint32_t k = 0; k < to->rank && k < 4; k++) { count[k] = to->dim[k]; }
    for (uint32_t i = 0; i < s->node->attr.slice.n; i++) {
        const int64_t a = s->node->attr.slice.axis[i];
        if (a < 0 || a > (in->flat ? 1 : 3)) {
            st = refuse(s, "it cuts an axis that is not there");
            goto done;
        }
        start[a] = s->node->attr.slice.start[i];
        step[a] = s->node->attr.slice.step[i];
    }
    if (start[0] != 0 || step[2] < 1 || step[3] < 1 || count[0] != 1 || start[2] < 0 || start[3] < 0) {
        st = refuse(s, "it cuts the batch or runs backwards");
        goto done;
    }
    RFHE_TRY(as_shape(s, &op.out_channels, count[1]));
    RFHE_TRY(as_shape(s, &op.out_height, count[2]));
    RFHE_TRY(as_shape(s, &op.out_width, count[3]));
    op.stride_y = (uint32_t)step[2];
    op.stride_x = (uint32_t)step[3];
    op.offset_y = (int32_t)start[2];
    op.offset_x = (int32_t)start[3];
    from = rfhe_alloc(op.out_channels, sizeof *from);
    if (from == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (int64_t o = 0; o < count[1]; o++) {
        const int64_t c = start[1] + o * step[1];
        if (c < 0 || c >= in->channels) {
            st = refuse(s, "it cuts channels that are not there");
            goto done;
        }
        from[o] = (uint32_t)c;
    }
    RFHE_TRY(pick(s, out, in, from, op));

done:
    rfhe_free(from);
    return st;
}

static rfhe_status fold_pad(folder *s, rfhe_affine *out, rfhe_affine *in)
{
    const int64_t *begin = s->node->attr.pad.begin, *end = s->node->attr.pad.end;
    const double value = (double)s->node->attr.pad.value;
    rfhe_status st = RFHE_OK;
    uint32_t *from = NULL;
    stencil_op op = {.stride_y = 1, .stride_x = 1};

    if (s->node->attr.pad.mode != RFHE_PAD_CONSTANT) { return refuse(s, "it repeats pixels; only constants can be padded"); }
    if (in->flat) { RFHE_TRY(flatten(s, in)); }
    const int64_t py = in->flat ? 0 : begin[2], px = in->flat ? 0 : begin[3];
    if (begin[0] != 0 || end[0] != 0) {
        st = refuse(s, "it pads the batch");
        goto done;
    }
    RFHE_TRY(as_shape(s, &op.out_channels, in->channels + begin[1] + end[1]));
    RFHE_TRY(as_shape(s, &op.out_height, in->height + (in->flat ? 0 : begin[2] + end[2])));
    RFHE_TRY(as_shape(s, &op.out_width, in->width + (in->flat ? 0 : begin[3] + end[3])));
    op.offset_y = (int32_t)-py;
    op.offset_x = (int32_t)-px;
    from = rfhe_alloc(op.out_channels, sizeof *from);
    if (from == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (int64_t o = 0; o < op.out_channels; o++) {
        const int64_t c = o - begin[1];
        from[o] = c >= 0 && c < in->channels ? (uint32_t)c : UINT32_MAX;
    }
    const uint32_t channels = in->channels, height = in->height, width = in->width;
    RFHE_TRY(pick(s, out, in, from, op));
    if (value != 0) {
        RFHE_TRY(need_bias(s, out));
        for (size_t k = 0; k < out->channels * pixels(out); k++) {
            const int64_t c = (int64_t)(k / pixels(out)) - begin[1], y = (int64_t)(k % pixels(out) / out->width) - py;
            const int64_t x = (int64_t)(k % out->width) - px;
            const bool inside = c >= 0 && c < channels && y >= 0 && y < height && x >= 0 && x < width;
            if (!inside) { out->bias[k] += value; }
        }
    }

done:
    rfhe_free(from);
    return st;
}

static rfhe_status take_value(folder *s, rfhe_affine *out, rfhe_value_id v);

/* Channels after channels: each operand is spread into the channels of the result, then they are added. */
static rfhe_status fold_concat(folder *s, rfhe_affine *out)
{
    const rfhe_shape *to = &s->g->values[s->node->outputs[0]].shape;
    rfhe_status st = RFHE_OK;
    rfhe_affine in = {0}, spread = {0};
    uint32_t *from = NULL;
    stencil_op op = {.stride_y = 1, .stride_x = 1};
    uint32_t before = 0;

    if (s->node->attr.concat.axis != 1 && s->node->attr.concat.axis != 1 - (int64_t)to->rank) {
        return refuse(s, "only channels can be joined");
    }
    RFHE_TRY(as_shape(s, &op.out_channels, to->dim[1]));
    from = rfhe_alloc(op.out_channels, sizeof *from);
    if (from == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (uint32_t i = 0; i < s->node->n_inputs; i++) {
        if (s->g->values[s->node->inputs[i]].constant != NULL) {
            st = refuse(s, "one of its operands is constant");
            goto done;
        }
        RFHE_TRY(take_value(s, &in, s->node->inputs[i]));
        if (in.flat) { RFHE_TRY(flatten(s, &in)); }
        for (uint32_t o = 0; o < op.out_channels; o++) {
            from[o] = o >= before && o - before < in.channels ? o - before : UINT32_MAX;
        }
        before += in.channels;
        op.out_height = in.height;
        op.out_width = in.width;
        RFHE_TRY(pick(s, &spread, &in, from, op));
        affine_clear(&in);
        if (i == 0) {
            *out = spread;
            spread = (rfhe_affine){0};
        } else {
            RFHE_TRY(add_forms(s, out, &spread, 1));
            affine_clear(&spread);
        }
    }

done:
    affine_clear(&in);
    affine_clear(&spread);
    rfhe_free(from);
    return st;
}

static rfhe_status fold_reshape(folder *s, rfhe_affine *a)
{
    const rfhe_shape *to = &s->g->values[s->node->outputs[0]].shape;
    const int64_t all = (int64_t)(a->channels * pixels(a));

    if (to->rank == 2 && to->dim[0] == 1 && to->dim[1] == all) {
        a->flat = true;
        return RFHE_OK;
    }
    if (to->rank == 4 && to->dim[0] == 1 && to->dim[1] == a->channels && to->dim[2] == a->height && to->dim[3] == a->width) {
        a->flat = false;
        return RFHE_OK;
    }
    if (to->rank == 4 && to->dim[0] == 1 && to->dim[1] == all && to->dim[2] == 1 && to->dim[3] == 1) {
        const rfhe_status st = flatten(s, a);
        a->flat = false;
        return st;
    }
    return refuse(s, "only flattening an image into features can be planned");
}

/* The polynomials and scales of the node: *sets of them, 1 or `channels`. Free both. */
static rfhe_status take_paf(folder *s, rfhe_paf **p, double **scale, size_t *sets, uint32_t channels)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_paf_node_get(s->g, s->node, NULL, NULL, sets, s->err));
    if (*sets != 1 && *sets != channels) { return refuse(s, "it has another number of channels than its input"); }
    *p = rfhe_alloc(*sets, sizeof **p);
    *scale = rfhe_alloc(*sets, sizeof **scale);
    if (*p == NULL || *scale == NULL) { return no_memory(s); }
    RFHE_TRY(rfhe_paf_node_get(s->g, s->node, *p, *scale, sets, s->err));

done:
    return st;
}

/* What a PAF puts out for |u| <= 1. */
static rfhe_status paf_bound(folder *s, double *bound, uint32_t channels)
{
    rfhe_status st = RFHE_OK;
    size_t sets = 0;
    rfhe_paf *p = NULL;
    double *scale = NULL;

    RFHE_TRY(take_paf(s, &p, &scale, &sets, channels));
    for (size_t c = 0; c < channels; c++) {
        const size_t set = sets == 1 ? 0 : c;
        if (sets == 1 && c > 0) {
            bound[c] = bound[0];
            continue;
        }
        for (int k = -64; k <= 64; k++) { bound[c] = fmax(bound[c], fabs(scale[set] * rfhe_paf_value(&p[set], k / 64.0))); }
    }

done:
    rfhe_free(p);
    rfhe_free(scale);
    return st;
}

/* Whether all that read value v read no zeros around it: a line that makes v can join them without a refresh. */
static bool is_read_inside(const rfhe_graph *g, rfhe_value_id v)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const rfhe_node *n = &g->nodes[i];
        bool reads = false;
        for (uint32_t k = 0; k < n->n_inputs; k++) { reads = reads || n->inputs[k] == v; }
        if (!reads) { continue; }
        switch (n->op) {
        case RFHE_OP_GLOBALAVGPOOL:
        case RFHE_OP_REDUCEMEAN:
        case RFHE_OP_GEMM:
        case RFHE_OP_MATMUL:
        case RFHE_OP_SOFTMAX: break;
        case RFHE_OP_BATCHNORM:
        case RFHE_OP_FLATTEN:
        case RFHE_OP_RESHAPE:
        case RFHE_OP_IDENTITY:
        case RFHE_OP_DROPOUT:
            if (!is_read_inside(g, n->outputs[0])) { return false; }
            break;
        default: return false;
        }
    }
    return true;
}

static rfhe_status fold_line(folder *s, rfhe_affine *a)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf *p = NULL;
    double *scale = NULL, *by = NULL;
    size_t sets = 0;

    RFHE_TRY(rfhe_paf_node_get(s->g, s->node, NULL, NULL, &sets, s->err));
    if (a->flat && sets != 1) { RFHE_TRY(flatten(s, a)); }
    RFHE_TRY(take_paf(s, &p, &scale, &sets, a->channels));
    by = rfhe_alloc(2 * (size_t)a->channels, sizeof *by);
    if (by == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (size_t c = 0; c < a->channels; c++) {
        const size_t set = sets == 1 ? 0 : c;
        by[c] = p[set].coef[0][1];
        by[a->channels + c] = scale[set] * p[set].coef[0][0];
    }
    scale_channels(a, by);
    RFHE_TRY(add_per_channel(s, a, by + a->channels));

done:
    rfhe_free(p);
    rfhe_free(scale);
    rfhe_free(by);
    return st;
}

static rfhe_status fold_activation(folder *s, rfhe_affine *out, rfhe_affine *in)
{
    rfhe_status st = RFHE_OK;
    uint32_t at = 0;
    size_t sets = 0;

    RFHE_TRY(rfhe_paf_node_get(s->g, s->node, NULL, NULL, &sets, s->err));
    if (in->flat && sets != 1) { RFHE_TRY(flatten(s, in)); }
    RFHE_TRY(source_new(s, &at, s->node->name, in->channels, in->height, in->width, in->flat));
    s->f->source[at].node = (uint32_t)(s->node - s->g->nodes);
    RFHE_TRY(paf_bound(s, s->f->source[at].bound, in->channels));
    RFHE_TRY(affine_of_source(s, out, at, true));
    s->f->source[at].in = *in;
    *in = (rfhe_affine){0};

done:
    return st;
}

/* ---- the walk ---- */

/* A copy of the form of value v, or the form itself at its last use. */
static rfhe_status take_value(folder *s, rfhe_affine *out, rfhe_value_id v)
{
    if (v == RFHE_NO_VALUE || !s->known[v]) { return refuse(s, "an operand is missing or constant"); }
    if (--s->uses[v] > 0) { return affine_copy(s, out, &s->value[v]); }
    *out = s->value[v];
    s->value[v] = (rfhe_affine){0};
    s->known[v] = false;
    return RFHE_OK;
}

static rfhe_status fold_sum(folder *s, rfhe_affine *out)
{
    const rfhe_tensor *c[2] = {rfhe_graph_constant(s->g, s->node, 0), rfhe_graph_constant(s->g, s->node, 1)};
    const bool minus = s->node->op == RFHE_OP_SUB, product = s->node->op == RFHE_OP_MUL;
    rfhe_status st = RFHE_OK;
    rfhe_affine b = {0};

    if (c[0] == NULL && c[1] == NULL) {
        if (product) { return refuse(s, "it multiplies two computed values"); }
        RFHE_TRY(take_value(s, out, s->node->inputs[0]));
        RFHE_TRY(take_value(s, &b, s->node->inputs[1]));
        RFHE_TRY(add_forms(s, out, &b, minus ? -1 : 1));
        goto done;
    }
    const uint32_t x = c[0] == NULL ? 0 : 1;
    RFHE_TRY(take_value(s, out, s->node->inputs[x]));
    if (product) {
        RFHE_TRY(multiply_constant(s, out, c[1 - x]));
        goto done;
    }
    if (minus && x == 1) {
        double *by = rfhe_alloc(out->channels, sizeof *by);
        if (by == NULL) {
            st = no_memory(s);
            goto done;
        }
        for (uint32_t k = 0; k < out->channels; k++) { by[k] = -1; }
        scale_channels(out, by);
        rfhe_free(by);
    }
    RFHE_TRY(add_constant(s, out, c[1 - x], minus && x == 0 ? -1 : 1));

done:
    affine_clear(&b);
    return st;
}

static rfhe_status fold_node(folder *s, rfhe_affine *out)
{
    const rfhe_node *n = s->node;
    rfhe_status st = RFHE_OK;
    rfhe_affine in = {0};

    if (n->op == RFHE_OP_RELU || n->op == RFHE_OP_CLIP || n->op == RFHE_OP_MAXPOOL) {
        return rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "node '%s' (%s) is not a polynomial; run `rfhe replace` first", n->name,
                         rfhe_op_name(n->op));
    }
    if (n->op == RFHE_OP_ADD || n->op == RFHE_OP_SUB || n->op == RFHE_OP_MUL) { return fold_sum(s, out); }
    if (n->op == RFHE_OP_CONCAT) { return fold_concat(s, out); }
    RFHE_TRY(take_value(s, &in, n->inputs[0]));
    switch (n->op) {
    case RFHE_OP_CONV: RFHE_TRY(fold_conv(s, out, &in)); break;
    case RFHE_OP_AVGPOOL: RFHE_TRY(fold_average(s, out, &in)); break;
    case RFHE_OP_GLOBALAVGPOOL: RFHE_TRY(fold_mean(s, out, &in, true, true, false)); break;
    case RFHE_OP_REDUCEMEAN: RFHE_TRY(fold_reduce_mean(s, out, &in)); break;
    case RFHE_OP_GEMM:
    case RFHE_OP_MATMUL: RFHE_TRY(fold_dense(s, out, &in)); break;
    case RFHE_OP_SLICE: RFHE_TRY(fold_slice(s, out, &in)); break;
    case RFHE_OP_PAD: RFHE_TRY(fold_pad(s, out, &in)); break;
    case RFHE_OP_CUSTOM:
        if (!rfhe_paf_node_is(n)) {
            st = refuse(s, "the operator is not known");
            goto done;
        }
        if (rfhe_paf_node_is_line(n) && is_read_inside(s->g, n->outputs[0])) {
            RFHE_TRY(fold_line(s, &in));
            goto same;
        }
        RFHE_TRY(fold_activation(s, out, &in));
        break;
    case RFHE_OP_BATCHNORM: RFHE_TRY(fold_batchnorm(s, &in)); goto same;
    case RFHE_OP_FLATTEN:
    case RFHE_OP_RESHAPE: RFHE_TRY(fold_reshape(s, &in)); goto same;
    case RFHE_OP_SOFTMAX:
        if (s->g->outputs[0] != n->outputs[0]) {
            st = refuse(s, "it is not the last step, which would be left to the client");
            goto done;
        }
        goto same;
    case RFHE_OP_IDENTITY:
    case RFHE_OP_DROPOUT: goto same;
    case RFHE_OP_RELU:
    case RFHE_OP_CLIP:
    case RFHE_OP_MAXPOOL:
    case RFHE_OP_ADD:
    case RFHE_OP_SUB:
    case RFHE_OP_MUL:
    case RFHE_OP_CONCAT:
    case RFHE_OP_COUNT: st = refuse(s, "the operator is not known"); goto done;
    }
    goto done;

same:
    *out = in;
    in = (rfhe_affine){0};
done:
    affine_clear(&in);
    return st;
}

/* Largest |pixel| after the normalisation that the metadata describes; 4 without. */
static void image_bound(const rfhe_graph *g, double *bound, uint32_t channels)
{
    const char *mean = rfhe_graph_meta(g, "rfhe.mean"), *std = rfhe_graph_meta(g, "rfhe.std");

    for (uint32_t c = 0; c < channels; c++) {
        char *next = NULL;
        bound[c] = 4;
        if (mean == NULL || std == NULL) { continue; }
        const double m = strtod(mean, &next);
        mean = *next == ',' ? next + 1 : mean;
        const double d = strtod(std, &next);
        std = *next == ',' ? next + 1 : std;
        if (d > 0 && isfinite(m) && isfinite(d)) { bound[c] = fmax(fabs(m), fabs(1 - m)) / d; }
    }
}

static rfhe_status start(folder *s, const rfhe_graph *g)
{
    rfhe_status st = RFHE_OK;
    uint32_t at = 0, dim[3] = {0};

    if (g->n_inputs != 1 || g->n_outputs != 1) {
        return rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "a network with %" PRIu32 " inputs and %" PRIu32
                         " outputs cannot be planned: one of each is", g->n_inputs, g->n_outputs);
    }
    RFHE_TRY(rfhe_graph_clone(&s->f->graph, g));
    s->g = s->f->graph;
    RFHE_TRY(rfhe_graph_infer(s->g, 1, s->err));
    const rfhe_value *in = &s->g->values[s->g->inputs[0]];
    if (in->shape.rank != 4 || in->shape.dim[0] != 1) {
        char text[64];
        st = rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "input '%s' of shape %s is not one image", in->name,
                       rfhe_shape_text(text, sizeof text, &in->shape));
        goto done;
    }
    s->value = rfhe_calloc(s->g->n_values, sizeof *s->value);
    s->known = rfhe_calloc(s->g->n_values, sizeof *s->known);
    s->uses = rfhe_calloc(s->g->n_values, sizeof *s->uses);
    if (s->value == NULL || s->known == NULL || s->uses == NULL) {
        st = no_memory(s);
        goto done;
    }
    for (uint32_t i = 0; i < s->g->n_nodes; i++) {
        for (uint32_t k = 0; k < s->g->nodes[i].n_inputs; k++) {
            if (s->g->nodes[i].inputs[k] != RFHE_NO_VALUE) { s->uses[s->g->nodes[i].inputs[k]]++; }
        }
    }
    s->uses[s->g->outputs[0]]++;
    for (uint32_t k = 0; k < 3; k++) {
        if (in->shape.dim[k + 1] < 1 || in->shape.dim[k + 1] > 1 << 16) {
            st = rfhe_fail(s->err, RFHE_E_UNSUPPORTED, "input '%s' has no size that can be planned", in->name);
            goto done;
        }
        dim[k] = (uint32_t)in->shape.dim[k + 1];
    }
    RFHE_TRY(source_new(s, &at, in->name, dim[0], dim[1], dim[2], false));
    image_bound(s->g, s->f->source[0].bound, dim[0]);
    RFHE_TRY(affine_of_source(s, &s->value[s->g->inputs[0]], 0, false));
    s->known[s->g->inputs[0]] = true;

done:
    return st;
}

rfhe_status rfhe_fold(rfhe_folded **out, const rfhe_graph *g, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    folder s = {.err = err};

    s.f = rfhe_calloc(1, sizeof *s.f);
    if (s.f == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to fold a network"); }
    RFHE_TRY(start(&s, g));
    for (uint32_t i = 0; i < s.g->n_nodes; i++) {
        const rfhe_node *n = s.node = &s.g->nodes[i];
        rfhe_affine r = {0};
        if (n->n_outputs < 1 || s.uses[n->outputs[0]] == 0) { continue; }
        st = fold_node(&s, &r);
        if (st != RFHE_OK) {
            affine_clear(&r);
            goto done;
        }
        if (s.uses[n->outputs[0]] != 1) { r.exclusive = false; }
        s.value[n->outputs[0]] = r;
        s.known[n->outputs[0]] = true;
    }
    const rfhe_value_id last = s.g->outputs[0];
    if (!s.known[last]) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "output '%s' is not computed from the image", s.g->values[last].name);
        goto done;
    }
    (void)snprintf(s.f->out_name, sizeof s.f->out_name, "%s", s.g->values[last].name);
    RFHE_TRY(take_value(&s, &s.f->out, last));
    RFHE_TRY(flatten(&s, &s.f->out));
    *out = s.f;
    s.f = NULL;

done:
    for (uint32_t v = 0; s.value != NULL && v < s.g->n_values; v++) { affine_clear(&s.value[v]); }
    rfhe_free(s.value);
    rfhe_free(s.known);
    rfhe_free(s.uses);
    rfhe_folded_free(s.f);
    return st;
}

void rfhe_folded_free(rfhe_folded *f)
{
    if (f == NULL) { return; }
    for (uint32_t i = 0; i < f->n_sources; i++) {
        affine_clear(&f->source[i].in);
        rfhe_free(f->source[i].range);
        rfhe_free(f->source[i].bound);
        rfhe_free(f->source[i].weight);
    }
    rfhe_free(f->source);
    affine_clear(&f->out);
    rfhe_graph_free(f->graph);
    rfhe_free(f);
}
