/* Runs operators given by a table of functions (custom.h): cuts the tensor into pieces that do not depend on the team,
 * pieces into blocks that stay in the first-level cache, and turns bf16 into float and back on the way. */
#include "nn/custom.h"
#include "nn/exec_internal.h"

#include "base/mem.h"
#include "base/threads.h"

#include <math.h>
#include <string.h>

enum { BLOCK = RFHE_CUSTOM_BLOCK, MAX_INPUTS = 8 };

typedef struct custom {
    const rfhe_custom_op *op;
    void *state;
    size_t n_sums, pieces;
    size_t outer, channels, inner; /* inner is 1 where channels lie side by side */
    uint64_t stamp;
    double reach[RFHE_MAX_CHUNKS];
} custom;

static void custom_release(rfhe_step *s)
{
    custom *c = s->priv;

    if (c->state != NULL) { c->op->close(c->state); }
    rfhe_free(c);
    s->priv = NULL;
}

static void gather_params(const rfhe_exec *e, const rfhe_step *s, const float **params,
                          size_t *counts)
{
    for (uint32_t i = 1; i < s->n_in; i++) {
        const rfhe_slot *p = rfhe_in(e, s, i);
        params[i - 1] = p != NULL ? p->data : NULL;
        counts[i - 1] = p != NULL ? p->count : 0;
    }
}

static rfhe_status custom_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const rfhe_slot *x = rfhe_in(e, s, 0);
    const rfhe_node node = {
        .op = s->op, .name = (char *)(uintptr_t)s->name, .n_inputs = s->n_in, .attr = s->attr};
    const float *params[MAX_INPUTS] = {NULL};
    size_t counts[MAX_INPUTS] = {0};
    rfhe_status st = RFHE_OK;

    if (s->n_in < 1 || s->n_in > MAX_INPUTS || s->n_out != 1 || x->shape.rank < 2) {
        return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED,
                                "wants one tensor with channels and a few constants", err);
    }
    for (uint32_t i = 1; i < s->n_in; i++) {
        if (rfhe_in(e, s, i) == NULL || !rfhe_in(e, s, i)->is_param) {
            return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "its coefficients must be constants",
                                    err);
        }
    }
    custom *c = rfhe_calloc(1, sizeof *c);
    if (c == NULL) { return RFHE_E_NOMEM; }
    s->priv = c;
    c->op = s->attr.custom.op;
    c->channels = (size_t)x->shape.dim[1];
    c->inner = x->last || c->channels == 0 ? 1 : x->count / ((size_t)x->shape.dim[0] * c->channels);
    c->outer = c->channels == 0 ? 0 : x->count / (c->channels * c->inner);
    c->pieces = rfhe_chunks(x->count);
    gather_params(e, s, params, counts);
    const rfhe_custom_view view = {.node = &node,
                                   .x = &x->shape,
                                   .params = params,
                                   .counts = counts,
                                   .training = e->opt.training};
    RFHE_TRY(c->op->open(&c->state, &c->n_sums, &view, err));
    if (e->opt.training) {
        s->keep_in = 1;
        s->scratch_bytes = c->pieces * c->n_sums * sizeof(double);
    }

done:
    return st;
}

/* The next block at position `at` of [from, to), which counts rows (inner == 1), else planes; `offset` counts channels of
 * a row that is longer than a block, or values of a plane that is. Returns its first element, or SIZE_MAX at the end. */
static size_t next_block(const custom *c, rfhe_custom_block *b, size_t *at, size_t *offset,
                         size_t to)
{
    size_t start = SIZE_MAX;

    if (*at >= to) { return start; }
    if (c->inner == 1 && c->channels <= BLOCK) {
        const size_t rows = BLOCK / c->channels, whole = rows > 64 ? rows / 64 * 64 : rows;
        *b = (rfhe_custom_block){
            .outer = to - *at < whole ? to - *at : whole, .channels = c->channels, .inner = 1};
        start = *at * c->channels;
        *at += b->outer;
        return start;
    }
    const size_t length = c->inner == 1 ? c->channels : c->inner;
    const size_t n = length - *offset < BLOCK ? length - *offset : BLOCK;
    if (c->inner == 1) {
        *b = (rfhe_custom_block){.outer = 1, .first = *offset, .channels = n, .inner = 1};
    } else {
        *b = (rfhe_custom_block){.outer = 1, .first = *at % c->channels, .channels = 1, .inner = n};
    }
    start = *at * length + *offset;
    *offset += n;
    if (*offset == length) {
        *offset = 0;
        (*at)++;
    }
    return start;
}

static size_t units(const custom *c)
{
    return c->inner == 1 ? c->outer : c->outer * c->channels;
}

static double find_reach(custom *c, const rfhe_slot *x)
{
    const rfhe_kernels *k = rfhe_slot_kernels(x);
    const size_t size = rfhe_elem_size(x);
    double reach = 0;

#pragma omp parallel for schedule(static) if (c->pieces > 1)
    for (size_t p = 0; p < c->pieces; p++) {
        const size_t end = rfhe_split(x->count, c->pieces, p + 1);
        float v[BLOCK], most = 0;
        for (size_t at = rfhe_split(x->count, c->pieces, p); at < end; at += BLOCK) {
            const size_t n = end - at < BLOCK ? end - at : BLOCK;
            k->load(v, (const char *)x->data + at * size, n);
            for (size_t i = 0; i < n; i++) { most = fabsf(v[i]) > most ? fabsf(v[i]) : most; }
        }
        c->reach[p] = (double)most;
    }
    for (size_t p = 0; p < c->pieces; p++) { reach = c->reach[p] > reach ? c->reach[p] : reach; }
    return reach;
}

static void custom_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const rfhe_kernels *k = rfhe_slot_kernels(x);
    const size_t size = rfhe_elem_size(x);
    custom *c = s->priv;
    const float *params[MAX_INPUTS] = {NULL};
    size_t counts[MAX_INPUTS] = {0};

    gather_params(e, s, params, counts);
    const double reach =
        c->op->wants_reach != NULL && c->op->wants_reach(c->state) ? find_reach(c, x) : 0;
    c->op->begin(c->state, params, c->stamp != e->stamp, reach);
    c->stamp = e->stamp;
#pragma omp parallel for schedule(static) if (c->pieces > 1)
    for (size_t p = 0; p < c->pieces; p++) {
        const size_t to = rfhe_split(units(c), c->pieces, p + 1);
        size_t at = rfhe_split(units(c), c->pieces, p), offset = 0, start = 0;
        float v[BLOCK];
        rfhe_custom_block b;
        while ((start = next_block(c, &b, &at, &offset, to)) != SIZE_MAX) {
            const size_t n = b.outer * b.channels * b.inner;
            k->load(v, (const char *)x->data + start * size, n);
            c->op->forward(c->state, v, &b);
            k->store((char *)y->data + start * size, v, n);
        }
    }
}

static void custom_backward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0);
    const rfhe_kernels *k = rfhe_slot_kernels(x);
    const size_t size = rfhe_elem_size(x);
    custom *c = s->priv;
    double *sums = (double *)(void *)e->scratch;
    float *dparams[MAX_INPUTS] = {NULL};

    memset(sums, 0, c->pieces * c->n_sums * sizeof *sums);
#pragma omp parallel for schedule(static) if (c->pieces > 1)
    for (size_t p = 0; p < c->pieces; p++) {
        const size_t to = rfhe_split(units(c), c->pieces, p + 1);
        size_t at = rfhe_split(units(c), c->pieces, p), offset = 0, start = 0;
        float v[BLOCK], g[BLOCK], d[BLOCK];
        rfhe_custom_block b;
        while ((start = next_block(c, &b, &at, &offset, to)) != SIZE_MAX) {
            const size_t n = b.outer * b.channels * b.inner, byte = start * size;
            k->load(g, (const char *)s->dy + byte, n);
            if (s->dy2 != NULL) {
                k->load(v, (const char *)s->dy2 + byte, n);
                for (size_t i = 0; i < n; i++) { g[i] += v[i]; }
            }
            k->load(v, (const char *)x->data + byte, n);
            c->op->backward(c->state, d, sums + p * c->n_sums, v, g, &b);
            if (s->dx[0] == NULL) { continue; }
            if (s->dx_add[0]) {
                k->load(v, (const char *)s->dx[0] + byte, n);
                for (size_t i = 0; i < n; i++) { d[i] += v[i]; }
            }
            k->store((char *)s->dx[0] + byte, d, n);
        }
    }
    for (size_t p = 1; p < c->pieces; p++) {
        for (size_t i = 0; i < c->n_sums; i++) { sums[i] += sums[p * c->n_sums + i]; }
    }
    for (uint32_t i = 1; i < s->n_in; i++) {
        dparams[i - 1] = s->dx[i];
        if (s->dx[i] != NULL && !s->dx_add[i]) {
            memset(s->dx[i], 0, rfhe_in(e, s, i)->count * sizeof(float));
        }
    }
    c->op->finish(c->state, dparams, sums);
}

const rfhe_impl rfhe_impl_CUSTOM = {.prepare = custom_prepare,
                                    .forward = custom_forward,
                                    .backward = custom_backward,
                                    .release = custom_release,
                                    .adds = true,
                                    .two_grads = true,
                                    .inplace = true};
