/* MaxPool, AveragePool, GlobalAveragePool, ReduceMean, Softmax, on channels-last tensors (pools) or any strides.
 *
 * The pools are loops over output pixels; for each, over the taps of its window that hit the image, each tap a row of
 * C channels. One to three spatial dimensions are one case: missing ones have size 1. Images run in parallel. */
#include "nn/nd.h"

#include "base/mem.h"
#include "base/threads.h"
#include "nn/bf16.h"

#include <math.h>
#include <string.h>

typedef struct pool {
    int64_t images, channels;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], begin[3], padded_end[3];
    int64_t in_pixels, out_pixels;
    bool counts_padding;
} pool;

static void release(rfhe_step *s)
{
    rfhe_free(s->priv);
}

static rfhe_status pool_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const rfhe_window *w = &s->attr.window;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    pool *p = rfhe_calloc(1, sizeof *p);
    const uint32_t shift = 3 - w->spatial;

    if (p == NULL) { return RFHE_E_NOMEM; }
    s->priv = p;
    p->images = x->shape.dim[0];
    p->channels = x->shape.dim[1];
    p->counts_padding = w->count_include_pad;
    p->in_pixels = p->out_pixels = 1;
    for (uint32_t k = 0; k < 3; k++) {
        const bool is_real = k >= shift;
        const uint32_t i = is_real ? k - shift : 0;
        p->in[k] = is_real ? x->shape.dim[2 + i] : 1;
        p->out[k] = is_real ? y->shape.dim[2 + i] : 1;
        p->kernel[k] = is_real ? w->kernel[i] : 1;
        p->stride[k] = is_real ? w->stride[i] : 1;
        p->dilation[k] = is_real ? w->dilation[i] : 1;
        p->begin[k] = is_real ? w->pad_begin[i] : 0;
        p->padded_end[k] = p->in[k] + (is_real ? w->pad_end[i] : 0);
        p->in_pixels *= p->in[k];
        p->out_pixels *= p->out[k];
    }
    if (s->op == RFHE_OP_MAXPOOL) {
        if (rfhe_out(e, s, 1) != NULL) {
            return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "the second output, Indices, is not computed", err);
        }
        if (p->in_pixels > INT32_MAX) {
            return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "the image is too large", err);
        }
        if (e->opt.training) { s->workspace_bytes = y->count * sizeof(int32_t); }
    }
    return RFHE_OK;
}

/* The taps of one output pixel: input pixel numbers in tap[], and how many positions count for an average. */
typedef struct window_at {
    int64_t from[3], to[3]; /* taps [from, to) of each dimension hit the image */
    int64_t start[3];
    int64_t divisor;
} window_at;

static window_at locate(const pool *p, int64_t pixel)
{
    window_at w = {.divisor = 1};
    int64_t at[3];

    at[2] = pixel % p->out[2];
    at[1] = pixel / p->out[2] % p->out[1];
    at[0] = pixel / p->out[2] / p->out[1];
    for (uint32_t k = 0; k < 3; k++) {
        const int64_t start = at[k] * p->stride[k] - p->begin[k], d = p->dilation[k];
        int64_t from = start < 0 ? (-start + d - 1) / d : 0, to = p->kernel[k];
        if (start + (to - 1) * d >= p->in[k]) { to = start >= p->in[k] ? 0 : (p->in[k] - 1 - start) / d + 1; }
        if (from > to) { from = to; }
        w.start[k] = start;
        w.from[k] = from;
        w.to[k] = to;
        if (p->counts_padding) {
            /* Taps inside the padded image; beyond it (ceil_mode) nothing is counted. */
            int64_t taps = p->kernel[k];
            while (taps > 0 && start + (taps - 1) * d >= p->padded_end[k]) { taps--; }
            w.divisor *= taps;
        } else {
            w.divisor *= to - from;
        }
    }
    if (w.divisor < 1) { w.divisor = 1; }
    return w;
}

static int64_t tap_pixel(const pool *p, const window_at *w, int64_t a, int64_t b, int64_t c)
{
    const int64_t z = w->start[0] + a * p->dilation[0], y = w->start[1] + b * p->dilation[1];

    return (z * p->in[1] + y) * p->in[2] + w->start[2] + c * p->dilation[2];
}

#define FOR_TAPS(w)                                                                                \
    for (int64_t ta = (w).from[0]; ta < (w).to[0]; ta++)                                           \
        for (int64_t tb = (w).from[1]; tb < (w).to[1]; tb++)                                       \
            for (int64_t tc = (w).from[2]; tc < (w).to[2]; tc++)

/* Channels are handled in blocks that fit the stack. */
enum { BLOCK = RFHE_ND_BLOCK };

static void max_pixel(const pool *p, const rfhe_slot *x, const rfhe_slot *y, int32_t *best,
                      int64_t image, int64_t pixel)
{
    const window_at w = locate(p, pixel);
    const size_t size = rfhe_elem_size(x);
    const char *src = (const char *)x->data + (size_t)(image * p->in_pixels * p->channels) * size;
    const int64_t to = (image * p->out_pixels + pixel) * p->channels;
    float top[BLOCK], v[BLOCK];
    int32_t arg[BLOCK];

    for (int64_t c = 0; c < p->channels; c += BLOCK) {
        const size_t m = p->channels - c < BLOCK ? (size_t)(p->channels - c) : BLOCK;
        for (size_t i = 0; i < m; i++) {
            top[i] = -INFINITY;
            arg[i] = -1;
        }
        FOR_TAPS(w)
        {
            const int64_t from = tap_pixel(p, &w, ta, tb, tc);
            rfhe_row_load(v, src + (size_t)(from * p->channels + c) * size, 1, x->bf16, m);
            for (size_t i = 0; i < m; i++) { /* the first maximum wins; a NaN stays */
                const bool wins = v[i] > top[i] || arg[i] < 0 || v[i] != v[i];
                top[i] = wins ? v[i] : top[i];
                arg[i] = wins ? (int32_t)from : arg[i];
            }
        }
        rfhe_row_store((char *)y->data + (size_t)(to + c) * size, 1, y->bf16, top, m);
        if (best != NULL) { memcpy(best + to + c, arg, m * sizeof *arg); }
    }
}

static void max_forward(rfhe_exec *e, rfhe_step *s)
{
    const pool *p = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const int64_t all = p->images * p->out_pixels;
    const size_t pieces = rfhe_chunks(x->count);

#pragma omp parallel for schedule(static) if (pieces > 1)
    for (size_t c = 0; c < pieces; c++) {
        const int64_t end = (int64_t)rfhe_split((size_t)all, pieces, c + 1);
        for (int64_t i = (int64_t)rfhe_split((size_t)all, pieces, c); i < end; i++) {
            max_pixel(p, x, y, s->workspace, i / p->out_pixels, i % p->out_pixels);
        }
    }
}

static void zero_images(const rfhe_slot *x, void *dx, int64_t image, const pool *p)
{
    const size_t bytes = (size_t)(p->in_pixels * p->channels) * rfhe_elem_size(x);

    memset((char *)dx + (size_t)image * bytes, 0, bytes);
}

static void max_backward(rfhe_exec *e, rfhe_step *s)
{
    const pool *p = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0);
    const int32_t *best = s->workspace;

#pragma omp parallel for schedule(static) if (rfhe_chunks(x->count) > 1)
    for (int64_t image = 0; image < p->images; image++) {
        const int64_t from = image * p->in_pixels * p->channels;
        if (!s->dx_add[0]) { zero_images(x, s->dx[0], image, p); }
        for (int64_t pixel = 0; pixel < p->out_pixels; pixel++) {
            for (int64_t c = 0; c < p->channels; c++) {
                const int64_t i = (image * p->out_pixels + pixel) * p->channels + c;
                if (best[i] < 0) { continue; }
                const int64_t to = from + (int64_t)best[i] * p->channels + c;
                if (x->bf16) {
                    rfhe_bf16 *dx = s->dx[0];
                    const rfhe_bf16 *dy = s->dy;
                    dx[to] = rfhe_to_bf16(rfhe_from_bf16(dx[to]) + rfhe_from_bf16(dy[i]));
                } else {
                    ((float *)s->dx[0])[to] += ((const float *)s->dy)[i];
                }
            }
        }
    }
}

const rfhe_impl rfhe_impl_MAXPOOL = {.prepare = pool_prepare,
                                     .forward = max_forward,
                                     .backward = max_backward,
                                     .release = release,
                                     .order = RFHE_ORDER_LAST,
                                     .adds = true};

static void average_pixel(const pool *p, const rfhe_slot *x, const rfhe_slot *y, int64_t image,
                          int64_t pixel)
{
    const window_at w = locate(p, pixel);
    const size_t size = rfhe_elem_size(x);
    const char *src = (const char *)x->data + (size_t)(image * p->in_pixels * p->channels) * size;
    const int64_t to = (image * p->out_pixels + pixel) * p->channels;
    float sum[BLOCK], v[BLOCK];

    for (int64_t c = 0; c < p->channels; c += BLOCK) {
        const size_t m = p->channels - c < BLOCK ? (size_t)(p->channels - c) : BLOCK;
        memset(sum, 0, m * sizeof *sum);
        FOR_TAPS(w)
        {
            const int64_t from = tap_pixel(p, &w, ta, tb, tc);
            rfhe_row_load(v, src + (size_t)(from * p->channels + c) * size, 1, x->bf16, m);
            for (size_t i = 0; i < m; i++) { sum[i] += v[i]; }
        }
        for (size_t i = 0; i < m; i++) { sum[i] /= (float)w.divisor; }
        rfhe_row_store((char *)y->data + (size_t)(to + c) * size, 1, y->bf16, sum, m);
    }
}

static void average_forward(rfhe_exec *e, rfhe_step *s)
{
    const pool *p = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const int64_t all = p->images * p->out_pixels;
    const size_t pieces = rfhe_chunks(x->count);

#pragma omp parallel for schedule(static) if (pieces > 1)
    for (size_t c = 0; c < pieces; c++) {
        const int64_t end = (int64_t)rfhe_split((size_t)all, pieces, c + 1);
        for (int64_t i = (int64_t)rfhe_split((size_t)all, pieces, c); i < end; i++) {
            average_pixel(p, x, y, i / p->out_pixels, i % p->out_pixels);
        }
    }
}

static void average_backward(rfhe_exec *e, rfhe_step *s)
{
    const pool *p = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0);
    const size_t size = rfhe_elem_size(x);

#pragma omp parallel for schedule(static) if (rfhe_chunks(x->count) > 1)
    for (int64_t image = 0; image < p->images; image++) {
        char *dst = (char *)s->dx[0] + (size_t)(image * p->in_pixels * p->channels) * size;
        if (!s->dx_add[0]) { zero_images(x, s->dx[0], image, p); }
        for (int64_t pixel = 0; pixel < p->out_pixels; pixel++) {
            const window_at w = locate(p, pixel);
            for (int64_t c = 0; c < p->channels; c += BLOCK) {
                const size_t m = p->channels - c < BLOCK ? (size_t)(p->channels - c) : BLOCK;
                const int64_t at = (image * p->out_pixels + pixel) * p->channels + c;
                float g[BLOCK], v[BLOCK];
                rfhe_row_load(g, (const char *)s->dy + (size_t)at * size, 1, x->bf16, m);
                for (size_t i = 0; i < m; i++) { g[i] /= (float)w.divisor; }
                FOR_TAPS(w)
                {
                    char *to = dst + (size_t)(tap_pixel(p, &w, ta, tb, tc) * p->channels + c) * size;
                    rfhe_row_load(v, to, 1, x->bf16, m);
                    for (size_t i = 0; i < m; i++) { v[i] += g[i]; }
                    rfhe_row_store(to, 1, x->bf16, v, m);
                }
            }
        }
    }
}

const rfhe_impl rfhe_impl_AVGPOOL = {.prepare = pool_prepare,
                                     .forward = average_forward,
                                     .backward = average_backward,
                                     .release = release,
                                     .order = RFHE_ORDER_LAST,
                                     .adds = true};

