/* Convolution and the matrix product in plain loops, for builds without oneDNN (the ThreadSanitizer preset): correct,
 * float only with sums in double, not fast. Sums stay in registers: what is written to memory at each step costs most
 * when a sanitizer watches. */
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
            double sum = 0;
            for (int64_t l = 0; l < k; l++) {
                sum += (double)(ta ? a[l * lda + i] : a[i * lda + l]) * (double)(tb ? b[j * ldb + l] : b[l * ldb + j]);
            }
            c[i * ldc + j] = alpha * (float)sum + (beta != 0.0F ? c[i * ldc + j] : 0.0F);
        }
    }
}

/* Up to three spatial dimensions as three, missing ones of size 1. x and y channels-last, w as in ONNX. */
typedef struct conv {
    int64_t images, groups, ci, co; /* channels per group */
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], begin[3];
    int64_t in_pixels, out_pixels, taps;
    int64_t *under; /* the input pixel under each tap of each output pixel; -1 in the padding */
} conv;

static void conv_release(rfhe_step *s)
{
    conv *c = s->priv;

    if (c != NULL) { rfhe_free(c->under); }
    rfhe_free(c);
}

static int64_t find_under(const conv *c, int64_t pixel, int64_t tap)
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
    c->under = rfhe_alloc((size_t)(c->out_pixels * c->taps), sizeof *c->under);
    if (c->under == NULL) { return RFHE_E_NOMEM; } /* conv_release frees c */
    for (int64_t k = 0; k < c->out_pixels * c->taps; k++) { c->under[k] = find_under(c, k / c->taps, k % c->taps); }
    return RFHE_OK;
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
        const int64_t image = row / c->out_pixels, *under = c->under + row % c->out_pixels * c->taps;
        for (int64_t o = 0; o < co; o++) {
            double sum = bias != NULL ? (double)bias[o] : 0;
            for (int64_t t = 0; t < c->taps; t++) {
                if (under[t] < 0) { continue; }
                const float *src = x + (image * c->in_pixels + under[t]) * ci + o / c->co * c->ci;
                for (int64_t i = 0; i < c->ci; i++) {
                    sum += (double)src[i] * (double)w[(o * c->ci + i) * c->taps + t];
                }
            }
            y[row * co + o] = (float)sum;
        }
    }
}

static void conv_backward_input(const conv *c, float *dx, const float *dy, const float *w)
{
    const int64_t ci = c->ci * c->groups, co = c->co * c->groups;

#pragma omp parallel for schedule(static)
    for (int64_t image = 0; image < c->images; image++) {
        memset(dx + image * c->in_pixels * ci, 0, (size_t)(c->in_pixels * ci) * sizeof *dx);
        for (int64_t k = 0; k < c->out_pixels * c->taps; k++) {
            if (c->under[k] < 0) { continue; }
            float *dst = dx + (image * c->in_pixels + c->under[k]) * ci;
            for (int64_t i = 0; i < ci; i++) {
                const int64_t first = i / c->ci * c->co; /* outputs of this channel's group */
                const float *g = dy + (image * c->out_pixels + k / c->taps) * co + first;
                const float *column = w + (first * c->ci + i % c->ci) * c->taps + k % c->taps;
                double sum = 0;
                for (int64_t o = 0; o < c->co; o++) { sum += (double)g[o] * (double)column[o * c->ci * c->taps]; }
                dst[i] += (float)sum;
            }
        }
    }
}

static void conv_backward(rfhe_exec *e, rfhe_step *s)
{
    const conv *c = s->priv;
    const float *x = rfhe_in(e, s, 0)->data, *dy = s->dy;
    float *dw = s->dx[1], *db = s->n_in > 2 ? s->dx[2] : NULL;
    const int64_t ci = c->ci * c->groups, co = c->co * c->groups;

    if (s->dx[0] != NULL) { conv_backward_input(c, s->dx[0], dy, rfhe_in(e, s, 1)->data); }
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < co; o++) {
        double sum = 0;
        for (int64_t row = 0; row < c->images * c->out_pixels && db != NULL; row++) { sum += (double)dy[row * co + o]; }
        if (db != NULL) { db[o] = (float)sum + (s->dx_add[2] ? db[o] : 0); }
        for (int64_t k = 0; k < c->ci * c->taps && dw != NULL; k++) {
            const float *src = x + o / c->co * c->ci + k / c->taps;
            sum = 0;
            for (int64_t image = 0; image < c->images; image++) {
                for (int64_t pixel = 0; pixel < c->out_pixels; pixel++) {
                    const int64_t at = c->under[pixel * c->taps + k % c->taps];
                    if (at < 0) { continue; }
                    sum += (double)dy[(image * c->out_pixels + pixel) * co + o] *
                           (double)src[(image * c->in_pixels + at) * ci];
                }
            }
            float *own = dw + o * c->ci * c->taps + k;
            *own = (float)sum + (s->dx_add[1] ? *own : 0);
        }
    }
}

const rfhe_impl rfhe_impl_CONV = {.prepare = conv_prepare,
                                  .forward = conv_forward,
                                  .backward = conv_backward,
                                  .release = conv_release,
                                  .order = RFHE_ORDER_LAST};

#endif
