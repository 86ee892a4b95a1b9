/* Convolution and the matrix product in plain loops, for builds without oneDNN (the ThreadSanitizer preset): correct,
 * float only, not fast. */
#include "nn/exec_internal.h"

#ifndef RFHE_WITH_ONEDNN

#include "base/mem.h"

#include <string.h>

rfhe_status rfhe_backend_open(rfhe_exec *e, rfhe_error *err)
{
    if (e->opt.compute != RFHE_COMPUTE_F32) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "bf16 needs a build with oneDNN");
    }
    return RFHE_OK;
}

void rfhe_backend_close(rfhe_exec *e)
{
    (void)e;
}

void rfhe_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t l = 0; l < k; l++) {
                sum += (ta ? a[l * lda + i] : a[i * lda + l]) * (tb ? b[j * ldb + l] : b[l * ldb + j]);
            }
            c[i * ldc + j] = alpha * sum + (beta != 0.0F ? c[i * ldc + j] : 0.0F);
        }
    }
}

/* Up to three spatial dimensions as three, missing ones of size 1. x and y channels-last, w as in ONNX. */
typedef struct conv {
    int64_t images, groups, ci, co; /* channels per group */
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], begin[3];
    int64_t in_pixels, out_pixels, taps;
} conv;

static void conv_release(rfhe_step *s)
{
    rfhe_free(s->priv);
}

static rfhe_status conv_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const rfhe_window *w = &s->attr.window;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0), *bias = rfhe_in(e, s, 2);
    const uint32_t shift = 3 - w->spatial;
    conv *c = NULL;

    if (!rfhe_in(e, s, 1)->is_param || (bias != NULL && !bias->is_param)) {
        return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "kernel and bias must be constants", err);
    }
    c = rfhe_calloc(1, sizeof *c);
    if (c == NULL) { return RFHE_E_NOMEM; }
    s->priv = c;
    s->keep_in = e->opt.training ? 1 : 0;
    c->images = x->shape.dim[0];
    c->groups = w->groups;
    c->ci = x->shape.dim[1] / w->groups;
    c->co = y->shape.dim[1] / w->groups;
    c->in_pixels = c->out_pixels = c->taps = 1;
    for (uint32_t k = 0; k < 3; k++) {
        const bool is_real = k >= shift;
        const uint32_t i = is_real ? k - shift : 0;
        c->in[k] = is_real ? x->shape.dim[2 + i] : 1;
        c->out[k] = is_real ? y->shape.dim[2 + i] : 1;
        c->kernel[k] = is_real ? w->kernel[i] : 1;
        c->stride[k] = is_real ? w->stride[i] : 1;
        c->dilation[k] = is_real ? w->dilation[i] : 1;
        c->begin[k] = is_real ? w->pad_begin[i] : 0;
        c->in_pixels *= c->in[k];
        c->out_pixels *= c->out[k];
        c->taps *= c->kernel[k];
    }
    return RFHE_OK;
}

/* The input pixel under tap `tap` of output pixel `pixel`; -1 in the padding. */
static int64_t under(const conv *c, int64_t pixel, int64_t tap)
{
    int64_t at[3] = {pixel / c->out[2] / c->out[1], pixel / c->out[2] % c->out[1], pixel % c->out[2]};
    const int64_t k[3] = {tap / c->kernel[2] / c->kernel[1], tap / c->kernel[2] % c->kernel[1],
                          tap % c->kernel[2]};

    for (uint32_t d = 0; d < 3; d++) {
        at[d] = at[d] * c->stride[d] - c->begin[d] + k[d] * c->dilation[d];
        if (at[d] < 0 || at[d] >= c->in[d]) { return -1; }
    }
    return (at[0] * c->in[1] + at[1]) * c->in[2] + at[2];
}

static void conv_forward(rfhe_exec *e, rfhe_step *s)
{
    const conv *c = s->priv;
    const float *x = rfhe_in(e, s, 0)->data, *w = rfhe_in(e, s, 1)->data;
    const float *bias = rfhe_in(e, s, 2) != NULL ? rfhe_in(e, s, 2)->data : NULL;
    float *y = rfhe_out(e, s, 0)->data;
    const int64_t ci = c->ci * c->groups, co = c->co * c->groups;

#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < c->images * c->out_pixels; row++) {
        const int64_t image = row / c->out_pixels;
        for (int64_t o = 0; o < co; o++) {
            float sum = bias != NULL ? bias[o] : 0;
            for (int64_t t = 0; t < c->taps; t++) {
                const int64_t p = under(c, row % c->out_pixels, t);
                const float *src = x + (image * c->in_pixels + p) * ci + o / c->co * c->ci;
                for (int64_t i = 0; i < c->ci && p >= 0; i++) {
                    sum += src[i] * w[(o * c->ci + i) * c->taps + t];
                }
            }
            y[row * co + o] = sum;
        }
    }
}

static void conv_backward(rfhe_exec *e, rfhe_step *s)
{
    const conv *c = s->priv;
    const float *x = rfhe_in(e, s, 0)->data, *w = rfhe_in(e, s, 1)->data, *dy = s->dy;
    float *dx = s->dx[0], *dw = s->dx[1], *db = s->n_in > 2 ? s->dx[2] : NULL;
    const int64_t ci = c->ci * c->groups, co = c->co * c->groups;

    if (dx != NULL) {
#pragma omp parallel for schedule(static)
        for (int64_t image = 0; image < c->images; image++) {
            memset(dx + image * c->in_pixels * ci, 0, (size_t)(c->in_pixels * ci) * sizeof *dx);
            for (int64_t p = 0; p < c->out_pixels * c->taps; p++) {
                const int64_t to = under(c, p / c->taps, p % c->taps);
                const float *g = dy + (image * c->out_pixels + p / c->taps) * co;
                for (int64_t o = 0; o < co && to >= 0; o++) {
                    float *dst = dx + (image * c->in_pixels + to) * ci + o / c->co * c->ci;
                    for (int64_t i = 0; i < c->ci; i++) {
                        dst[i] += g[o] * w[(o * c->ci + i) * c->taps + p % c->taps];
                    }
                }
            }
        }
    }
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < co; o++) {
        float *own = dw + o * c->ci * c->taps;
        if (dw != NULL && !s->dx_add[1]) { memset(own, 0, (size_t)(c->ci * c->taps) * sizeof *own); }
        if (db != NULL && !s->dx_add[2]) { db[o] = 0; }
        for (int64_t row = 0; row < c->images * c->out_pixels; row++) {
            const float g = dy[row * co + o];
            if (db != NULL) { db[o] += g; }
            for (int64_t t = 0; t < c->taps && dw != NULL; t++) {
                const int64_t p = under(c, row % c->out_pixels, t);
                const float *src = x + (row / c->out_pixels * c->in_pixels + p) * ci + o / c->co * c->ci;
                for (int64_t i = 0; i < c->ci && p >= 0; i++) { own[i * c->taps + t] += g * src[i]; }
            }
        }
    }
}

const rfhe_impl rfhe_impl_CONV = {.prepare = conv_prepare,
                                  .forward = conv_forward,
                                  .backward = conv_backward,
                                  .release = conv_release,
                                  .order = RFHE_ORDER_LAST};

#endif
