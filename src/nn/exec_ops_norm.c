/* BatchNormalization, with an optional residual addition and ReLU behind it in the same pass (see fuse_batchnorm).
 *
 *   x: R rows of C channels (R = batch * pixels)      y = relu(gamma * (x - m) / sqrt(v + eps) + beta + residual)
 *
 * m, v are the statistics of the batch in training, the running ones in evaluation and when frozen. Sums run over at
 * most 64 chunks of rows; in each, float accumulators, one per element of the kernel's period; chunks and periods are
 * then added in double, in order. The statistics are taken around k = the first pixel, against cancellation.
 *
 * Backward with g = the gradient behind the ReLU, M = R, xh = (x - m) / s, s = sqrt(v + eps):
 *   dbeta = sum g     dgamma = sum g xh     dresidual = g
 *   dx = gamma / s * (g - dbeta / M - xh * dgamma / M)         (batch statistics)
 *   dx = gamma / s * g                                         (running statistics)
 * Two passes: one makes the sums (and writes g where a residual wants it), one writes dx over g. */
#include "nn/exec_internal.h"

#include "base/mem.h"
#include "base/threads.h"

#include <math.h>
#include <string.h>

typedef struct norm {
    size_t channels, rows, period, chunks;
    float *mean, *inv; /* [channels], of the last forward */
    float *a, *b;      /* [period]: y = a * x + b          */
    float *k, *p, *q;  /* [period]                         */
    double *sum, *square;
    bool is_batch;     /* statistics of the batch */
} norm;

static void release(rfhe_step *s)
{
    rfhe_free(s->priv);
}

static rfhe_status prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const rfhe_slot *x = rfhe_in(e, s, 0);
    norm *n = NULL;

    for (uint32_t i = 1; i < 5; i++) {
        if (!rfhe_in(e, s, i)->is_param) {
            return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED,
                                    "scale, shift, mean and variance must be constants", err);
        }
    }
    const size_t c = (size_t)x->shape.dim[1], period = rfhe_period(c);
    const size_t floats = 2 * c + 5 * period;
    n = rfhe_calloc(1, sizeof *n + floats * sizeof(float) + 2 * c * sizeof(double));
    if (n == NULL) { return RFHE_E_NOMEM; }
    s->priv = n;
    n->channels = c;
    n->rows = c == 0 ? 0 : x->count / c;
    n->period = period;
    n->chunks = rfhe_chunks(x->count);
    n->is_batch = (e->opt.training && !e->opt.frozen_bn) || s->attr.batchnorm.training;
    n->sum = (double *)(void *)(n + 1);
    n->square = n->sum + c;
    float *f = (float *)(void *)(n->square + c);
    n->mean = f;
    n->inv = f + c;
    n->a = f + 2 * c;
    n->b = n->a + period;
    n->k = n->b + period;
    n->p = n->k + period;
    n->q = n->p + period;
    s->keep_in = e->opt.training ? 1 : 0;
    s->keep_out = e->opt.training && s->with_relu && s->with_residual;
    s->scratch_bytes = n->chunks * 2 * period * sizeof(float);
    if (n->rows == 0) { return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "has nothing to normalise", err); }
    return RFHE_OK;
}

static void repeat(float *v, size_t channels, size_t period)
{
    for (size_t at = channels; at < period; at += channels) {
        memcpy(v + at, v, channels * sizeof *v);
    }
}

/* Rows are cut at multiples of the period, so that every chunk starts with channel 0 of a full vector. */
static void chunk_range(const norm *n, size_t chunk, size_t *from, size_t *count)
{
    const size_t periods = (n->rows * n->channels + n->period - 1) / n->period;
    const size_t a = rfhe_split(periods, n->chunks, chunk) * n->period;
    size_t b = rfhe_split(periods, n->chunks, chunk + 1) * n->period;

    if (b > n->rows * n->channels) { b = n->rows * n->channels; }
    *from = a;
    *count = b - a;
}

/* Adds the chunks' accumulators (two vectors of `period` each) into sum[] and square[], in order. */
static void fold(norm *n, const float *parts)
{
    memset(n->sum, 0, n->channels * sizeof *n->sum);
    memset(n->square, 0, n->channels * sizeof *n->square);
    for (size_t k = 0; k < n->chunks; k++) {
        const float *s = parts + k * 2 * n->period, *q = s + n->period;
        for (size_t at = 0; at < n->period; at += n->channels) {
            for (size_t c = 0; c < n->channels; c++) {
                n->sum[c] += (double)s[at + c];
                n->square[c] += (double)q[at + c];
            }
        }
    }
}

static void take_statistics(rfhe_exec *e, rfhe_step *s)
{
    norm *n = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0);
    const rfhe_kernels *kernels = rfhe_slot_kernels(x);
    const size_t size = rfhe_elem_size(x);
    float *parts = (float *)(void *)e->scratch;

    kernels->load(n->k, x->data, n->channels);
    repeat(n->k, n->channels, n->period);
    memset(parts, 0, s->scratch_bytes);
#pragma omp parallel for schedule(static) if (n->chunks > 1)
    for (size_t c = 0; c < n->chunks; c++) {
        size_t from = 0, count = 0;
        float *sum = parts + c * 2 * n->period;
        chunk_range(n, c, &from, &count);
        kernels->bn_stats(sum, sum + n->period, (const char *)x->data + from * size, count,
                          n->period, n->k);
    }
    fold(n, parts);
}

static void update_running(rfhe_exec *e, rfhe_step *s, size_t c, double mean, double variance)
{
    const norm *n = s->priv;
    float *running_mean = rfhe_in(e, s, 3)->data, *running_variance = rfhe_in(e, s, 4)->data;
    const double onnx = (double)s->attr.batchnorm.momentum;
    const rfhe_slot *mean_out = rfhe_out(e, s, 1), *variance_out = rfhe_out(e, s, 2);
    double m = 1 - onnx;

    /* The operator's own outputs follow ONNX: population variance, inputs unchanged. */
    if (mean_out != NULL) {
        ((float *)mean_out->data)[c] = (float)((double)running_mean[c] * onnx + mean * (1 - onnx));
    }
    if (variance_out != NULL) {
        ((float *)variance_out->data)[c] =
            (float)((double)running_variance[c] * onnx + variance * (1 - onnx));
    }
    if (!e->opt.training || e->opt.frozen_bn) { return; }
    /* PyTorch's rule: the running variance follows the unbiased estimate. */
    const double unbiased =
        n->rows > 1 ? variance * (double)n->rows / (double)(n->rows - 1) : variance;
    if (!isnan(e->bn_momentum)) {
        m = e->bn_momentum < 0 ? 1 / (double)e->bn_runs : e->bn_momentum;
    }
    running_mean[c] = (float)((1 - m) * (double)running_mean[c] + m * mean);
    running_variance[c] = (float)((1 - m) * (double)running_variance[c] + m * unbiased);
}

static void forward(rfhe_exec *e, rfhe_step *s)
{
    norm *n = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0), *r = s->with_residual ? rfhe_in(e, s, 5) : NULL;
    const rfhe_slot *y = rfhe_out(e, s, 0);
    const float *scale = rfhe_in(e, s, 1)->data, *shift = rfhe_in(e, s, 2)->data;
    const float *running_mean = rfhe_in(e, s, 3)->data, *running_var = rfhe_in(e, s, 4)->data;
    const rfhe_kernels *kernels = rfhe_slot_kernels(x);
    const size_t size = rfhe_elem_size(x);

    if (n->is_batch) { take_statistics(e, s); }
    for (size_t c = 0; c < n->channels; c++) {
        double mean = (double)running_mean[c], variance = (double)running_var[c];
        if (n->is_batch) {
            const double d = n->sum[c] / (double)n->rows;
            mean = (double)n->k[c] + d;
            variance = n->square[c] / (double)n->rows - d * d;
            if (variance < 0) { variance = 0; }
            update_running(e, s, c, mean, variance);
        }
        const double inv = 1 / sqrt(variance + (double)s->attr.batchnorm.epsilon);
        n->mean[c] = (float)mean;
        n->inv[c] = (float)inv;
        n->a[c] = (float)((double)scale[c] * inv);
        n->b[c] = (float)((double)shift[c] - (double)scale[c] * inv * mean);
    }
    repeat(n->a, n->channels, n->period);
    repeat(n->b, n->channels, n->period);
#pragma omp parallel for schedule(static) if (n->chunks > 1)
    for (size_t c = 0; c < n->chunks; c++) {
        size_t from = 0, count = 0;
        chunk_range(n, c, &from, &count);
        const char *res = r != NULL ? (const char *)r->data + from * size : NULL;
        kernels->bn_apply((char *)y->data + from * size, (const char *)x->data + from * size, res,
                          count, n->period, n->a, n->b, s->with_relu);
    }
}

static void backward(rfhe_exec *e, rfhe_step *s)
{
    norm *n = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const float *scale = rfhe_in(e, s, 1)->data;
    const rfhe_kernels *kernels = rfhe_slot_kernels(x);
    const size_t size = rfhe_elem_size(x);
    float *parts = (float *)(void *)e->scratch, *r = n->k; /* k is not needed after forward */
    const rfhe_mask mask = !s->with_relu       ? RFHE_MASK_NONE
                           : s->with_residual ? RFHE_MASK_OUTPUT
                                              : RFHE_MASK_INPUT;
    /* g itself is needed by the residual, and worth storing when it is a sum of two buffers. */
    const bool keeps = s->with_residual || s->dy2 != NULL;
    const double rows = (double)n->rows;

    memcpy(n->p, n->mean, n->channels * sizeof *n->p);
    repeat(n->p, n->channels, n->period);
    memset(parts, 0, s->scratch_bytes);
#pragma omp parallel for schedule(static) if (n->chunks > 1)
    for (size_t c = 0; c < n->chunks; c++) {
        size_t from = 0, count = 0;
        float *sum = parts + c * 2 * n->period;
        chunk_range(n, c, &from, &count);
        char *dy = (char *)s->dy + from * size;
        kernels->bn_grad_sums(sum, sum + n->period, keeps ? dy : NULL, dy,
                              s->dy2 != NULL ? (char *)s->dy2 + from * size : NULL,
                              (const char *)x->data + from * size, (const char *)y->data + from * size,
                              count, n->period, n->p, n->a, n->b, mask);
    }
    fold(n, parts);
    for (size_t c = 0; c < n->channels; c++) {
        const double inv = (double)n->inv[c], dbeta = n->sum[c], dgamma = n->square[c] * inv;
        const double lead = (double)scale[c] * inv;
        float *dscale = s->dx[1], *dshift = s->dx[2];
        if (dscale != NULL) { dscale[c] = (s->dx_add[1] ? dscale[c] : 0) + (float)dgamma; }
        if (dshift != NULL) { dshift[c] = (s->dx_add[2] ? dshift[c] : 0) + (float)dbeta; }
        /* dx = p g + q x + r, the bracket of the formula above multiplied out. */
        const double slope = n->is_batch ? -lead * dgamma * inv / rows : 0;
        n->p[c] = (float)lead;
        n->q[c] = (float)slope;
        r[c] = (float)(n->is_batch ? -lead * dbeta / rows - slope * (double)n->mean[c] : 0);
    }
    repeat(n->p, n->channels, n->period);
    repeat(n->q, n->channels, n->period);
    repeat(r, n->channels, n->period);
#pragma omp parallel for schedule(static) if (n->chunks > 1)
    for (size_t c = 0; c < n->chunks; c++) {
        size_t from = 0, count = 0;
        chunk_range(n, c, &from, &count);
        const size_t at = from * size;
        char *dy = (char *)s->dy + at;
        if (s->dx[0] != NULL) {
            kernels->bn_grad_apply((char *)s->dx[0] + at, dy, NULL, (const char *)x->data + at,
                                   (const char *)y->data + at, count, n->period, n->p, n->q, r, n->a,
                                   n->b, keeps ? RFHE_MASK_NONE : mask);
        }
        if (s->with_residual && s->dx[5] != NULL && s->dx[5] != s->dy) {
            char *dr = (char *)s->dx[5] + at;
            if (s->dx_add[5]) {
                kernels->add(dr, dr, dy, count);
            } else {
                memcpy(dr, dy, count * size);
            }
        }
    }
}

const rfhe_impl rfhe_impl_BATCHNORM = {.prepare = prepare,
                                       .forward = forward,
                                       .backward = backward,
                                       .release = release,
                                       .order = RFHE_ORDER_LAST,
                                       .two_grads = true,
                                       .inplace = true};
