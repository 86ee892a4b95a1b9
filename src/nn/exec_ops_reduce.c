/* GlobalAveragePool, ReduceMean and Softmax. */
#include "nn/nd.h"

#include "base/mem.h"
#include "base/threads.h"

#include <math.h>
#include <string.h>

enum { BLOCK = RFHE_ND_BLOCK };

/* A mean over some axes. y is addressed with x's rank: stride 0 along reduced axes. */
typedef struct mean {
    int64_t stride[RFHE_MAX_RANK];
    float factor;
    bool is_pixel_mean; /* x is channels-last, all axes but batch and channels go: sums of whole rows */
} mean;

static void release(rfhe_step *s)
{
    rfhe_free(s->priv);
}

static rfhe_status mean_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const bool keeps_rank = s->op == RFHE_OP_GLOBALAVGPOOL || s->attr.reduce.keep_dims;
    mean *m = rfhe_calloc(1, sizeof *m);
    uint32_t at = 0;

    (void)err;
    if (m == NULL) { return RFHE_E_NOMEM; }
    s->priv = m;
    m->factor = x->count > 0 ? (float)((double)y->count / (double)x->count) : 0.0F;
    m->is_pixel_mean = x->shape.rank >= 3 && (x->last || rfhe_orders_coincide(&x->shape));
    for (uint32_t i = 0; i < x->shape.rank; i++) {
        bool gone = s->op == RFHE_OP_GLOBALAVGPOOL ? i >= 2 : s->attr.reduce.n == 0;
        for (uint32_t k = 0; s->op == RFHE_OP_REDUCEMEAN && k < s->attr.reduce.n; k++) {
            gone |= s->attr.reduce.axis[k] == (int64_t)i;
        }
        m->stride[i] = gone || x->shape.dim[i] == 1 ? 0 : y->stride[at];
        if (!gone || keeps_rank) { at++; }
        m->is_pixel_mean &= gone == (i >= 2);
    }
    s->scratch_bytes = m->is_pixel_mean ? 0 : y->count * sizeof(double);
    return RFHE_OK;
}

static void pixel_mean(const rfhe_slot *x, const rfhe_slot *y, float factor)
{
    const int64_t images = x->shape.dim[0], channels = x->shape.dim[1];
    const int64_t pixels = images * channels == 0 ? 0 : (int64_t)x->count / images / channels;
    const size_t size = rfhe_elem_size(x);

#pragma omp parallel for schedule(static) if (rfhe_chunks(x->count) > 1)
    for (int64_t i = 0; i < images; i++) {
        for (int64_t c = 0; c < channels; c += BLOCK) {
            const size_t m = channels - c < BLOCK ? (size_t)(channels - c) : BLOCK;
            float sum[BLOCK] = {0}, v[BLOCK];
            for (int64_t p = 0; p < pixels; p++) {
                const int64_t at = (i * pixels + p) * channels + c;
                rfhe_row_load(v, (const char *)x->data + (size_t)at * size, 1, x->bf16, m);
                for (size_t k = 0; k < m; k++) { sum[k] += v[k]; }
            }
            for (size_t k = 0; k < m; k++) { sum[k] *= factor; }
            rfhe_row_store((char *)y->data + (size_t)(i * channels + c) * size, 1, y->bf16, sum, m);
        }
    }
}

/* Any axes: one pass over x in its own order, sums in double at y's positions. Serial; such reductions are rare. */
static void any_mean(const rfhe_slot *x, const rfhe_slot *y, const mean *m, double *sums)
{
    int64_t index[RFHE_MAX_RANK] = {0};
    const uint32_t rank = x->shape.rank;

    memset(sums, 0, y->count * sizeof *sums);
    for (size_t i = 0; i < x->count; i++) {
        int64_t from = 0, to = 0;
        float v = 0;
        for (uint32_t d = 0; d < rank; d++) {
            from += index[d] * x->stride[d];
            to += index[d] * m->stride[d];
        }
        rfhe_row_load(&v, (const char *)x->data + from * (int64_t)rfhe_elem_size(x), 1, x->bf16, 1);
        sums[to] += (double)v;
        for (uint32_t d = rank; d-- > 0;) {
            if (++index[d] < x->shape.dim[d]) { break; }
            index[d] = 0;
        }
    }
    for (size_t i = 0; i < y->count; i++) {
        const float v = (float)(sums[i] * (double)m->factor);
        rfhe_row_store((char *)y->data + i * rfhe_elem_size(y), 1, y->bf16, &v, 1);
    }
}

static void mean_forward(rfhe_exec *e, rfhe_step *s)
{
    const mean *m = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);

    if (m->is_pixel_mean) {
        pixel_mean(x, y, m->factor);
    } else {
        any_mean(x, y, m, (double *)(void *)e->scratch);
    }
}

static void spread_row(void *const *p, const int64_t *stride, const rfhe_nd *nd, size_t n,
                       const void *user)
{
    const mean *m = user;
    float g[BLOCK], old[BLOCK];
    const bool add = nd->n_operands == 3; /* operand 2 is dx once more */

    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t k = n - at < BLOCK ? n - at : BLOCK;
        char *dx = (char *)p[0] + (int64_t)at * stride[0] * (nd->op[0].bf16 ? 2 : 4);
        const char *dy = (const char *)p[1] + (int64_t)at * stride[1] * (nd->op[1].bf16 ? 2 : 4);
        rfhe_row_load(g, dy, stride[1], nd->op[1].bf16, k);
        if (add) { rfhe_row_load(old, dx, stride[0], nd->op[0].bf16, k); }
        for (size_t i = 0; i < k; i++) { g[i] = g[i] * m->factor + (add ? old[i] : 0.0F); }
        rfhe_row_store(dx, stride[0], nd->op[0].bf16, g, k);
    }
}

static void mean_backward(rfhe_exec *e, rfhe_step *s)
{
    const mean *m = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const rfhe_operand dx = rfhe_operand_of(x, s->dx[0], &x->shape);
    rfhe_operand dy = {.data = s->dy, .bf16 = y->bf16};
    rfhe_nd nd;

    memcpy(dy.stride, m->stride, sizeof dy.stride);
    rfhe_nd_make(&nd, &x->shape, (rfhe_operand[]){dx, dy, dx}, s->dx_add[0] ? 3 : 2);
    rfhe_nd_run(&nd, spread_row, m);
}

const rfhe_impl rfhe_impl_GLOBALAVGPOOL = {.prepare = mean_prepare,
                                           .forward = mean_forward,
                                           .backward = mean_backward,
                                           .release = release,
                                           .adds = true};
const rfhe_impl rfhe_impl_REDUCEMEAN = {.prepare = mean_prepare,
                                        .forward = mean_forward,
                                        .backward = mean_backward,
                                        .release = release,
                                        .adds = true};

/* ---- Softmax: along one axis, or over all from that axis on (row-major, so they are contiguous) ---- */

typedef struct lines {
    int64_t outer, size, inner; /* element j of line (o, i): (o * size + j) * inner + i */
} lines;

static lines lines_of(const rfhe_slot *x, const rfhe_step *s)
{
    lines l = {1, 1, 1};

    for (uint32_t d = 0; d < x->shape.rank; d++) {
        if ((int64_t)d < s->attr.softmax.axis) {
            l.outer *= x->shape.dim[d];
        } else if ((int64_t)d == s->attr.softmax.axis || s->attr.softmax.flattened) {
            l.size *= x->shape.dim[d];
        } else {
            l.inner *= x->shape.dim[d];
        }
    }
    return l;
}

static void softmax_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *in = rfhe_in(e, s, 0);
    const float *x = in->data;
    float *y = rfhe_out(e, s, 0)->data;
    const lines l = lines_of(in, s);

#pragma omp parallel for schedule(static) if (rfhe_chunks(in->count) > 1)
    for (int64_t k = 0; k < l.outer * l.inner; k++) {
        const int64_t at = k / l.inner * l.size * l.inner + k % l.inner;
        float top = -INFINITY;
        double sum = 0;
        for (int64_t j = 0; j < l.size; j++) { top = fmaxf(top, x[at + j * l.inner]); }
        for (int64_t j = 0; j < l.size; j++) {
            const float v = expf(x[at + j * l.inner] - top);
            y[at + j * l.inner] = v;
            sum += (double)v;
        }
        for (int64_t j = 0; j < l.size; j++) { y[at + j * l.inner] /= (float)sum; }
    }
}

/* dx = y (dy - sum y dy) */
static void softmax_backward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *out = rfhe_out(e, s, 0);
    const float *y = out->data, *dy = s->dy;
    float *dx = s->dx[0];
    const lines l = lines_of(out, s);

#pragma omp parallel for schedule(static) if (rfhe_chunks(out->count) > 1)
    for (int64_t k = 0; k < l.outer * l.inner; k++) {
        const int64_t at = k / l.inner * l.size * l.inner + k % l.inner;
        double dot = 0;
        for (int64_t j = 0; j < l.size; j++) {
            dot += (double)y[at + j * l.inner] * (double)dy[at + j * l.inner];
        }
        for (int64_t j = 0; j < l.size; j++) {
            const int64_t i = at + j * l.inner;
            dx[i] = (s->dx_add[0] ? dx[i] : 0.0F) + y[i] * (dy[i] - (float)dot);
        }
    }
}

static rfhe_status softmax_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    (void)err;
    s->keep_out = e->opt.training;
    return RFHE_OK;
}

const rfhe_impl rfhe_impl_SOFTMAX = {.prepare = softmax_prepare,
                                     .forward = softmax_forward,
                                     .backward = softmax_backward,
                                     .order = RFHE_ORDER_ROWS,
                                     .adds = true,
                                     .inplace = true,
                                     .float_compute = true};
