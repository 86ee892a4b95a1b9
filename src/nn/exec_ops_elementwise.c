/* Relu, Clip, Add, Sub, Mul, Identity, Dropout and the reorder step. Operands of Add, Sub and Mul broadcast by NumPy's
 * rule and may differ in order and element type; operands of the same shape and order become one long row. */
#include "nn/nd.h"

#include "base/random.h"
#include "base/threads.h"

#include <math.h>
#include <string.h>

/* ---- Relu, Clip ---- */

static void limits(const rfhe_step *s, float *low, float *high)
{
    *low = s->op == RFHE_OP_RELU ? 0.0F : s->attr.clip.min;
    *high = s->op == RFHE_OP_RELU ? INFINITY : s->attr.clip.max;
}

static void clip_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const rfhe_kernels *k = rfhe_slot_kernels(x);
    const size_t pieces = rfhe_chunks(x->count), size = rfhe_elem_size(x);
    float low = 0, high = 0;

    limits(s, &low, &high);
#pragma omp parallel for schedule(static) if (pieces > 1)
    for (size_t c = 0; c < pieces; c++) {
        const size_t from = rfhe_split(x->count, pieces, c), to = rfhe_split(x->count, pieces, c + 1);
        k->relu((char *)y->data + from * size, (const char *)x->data + from * size, to - from, low,
                high);
    }
}

static void clip_backward(rfhe_exec *e, rfhe_step *s)
{
    /* ReLU looks at its output, which the next operator keeps anyway; Clip needs its input. */
    const rfhe_slot *x = s->op == RFHE_OP_RELU ? rfhe_out(e, s, 0) : rfhe_in(e, s, 0);
    const rfhe_kernels *k = rfhe_slot_kernels(x);
    const size_t pieces = rfhe_chunks(x->count), size = rfhe_elem_size(x);
    float low = 0, high = 0;

    limits(s, &low, &high);
#pragma omp parallel for schedule(static) if (pieces > 1)
    for (size_t c = 0; c < pieces; c++) {
        const size_t from = rfhe_split(x->count, pieces, c), to = rfhe_split(x->count, pieces, c + 1);
        k->relu_grad((char *)s->dx[0] + from * size, (const char *)s->dy + from * size,
                     s->dy2 != NULL ? (const char *)s->dy2 + from * size : NULL,
                     (const char *)x->data + from * size, to - from, low, high,
                     s->op == RFHE_OP_CLIP, s->dx_add[0]);
    }
}

static rfhe_status relu_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    (void)err;
    s->keep_out = e->opt.training;
    return RFHE_OK;
}

static rfhe_status keep_input(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    (void)err;
    s->keep_in = e->opt.training ? 1 : 0;
    return RFHE_OK;
}

const rfhe_impl rfhe_impl_RELU = {.prepare = relu_prepare,
                                  .forward = clip_forward,
                                  .backward = clip_backward,
                                  .adds = true,
                                  .two_grads = true,
                                  .inplace = true};
const rfhe_impl rfhe_impl_CLIP = {.prepare = keep_input,
                                  .forward = clip_forward,
                                  .backward = clip_backward,
                                  .adds = true,
                                  .two_grads = true,
                                  .inplace = true};

/* ---- Add, Sub, Mul ---- */

static void binary_row(void *const *p, const int64_t *stride, const rfhe_nd *nd, size_t n,
                       const void *user)
{
    const rfhe_op op = *(const rfhe_op *)user;
    float a[RFHE_ND_BLOCK], b[RFHE_ND_BLOCK];

    for (size_t at = 0; at < n; at += RFHE_ND_BLOCK) {
        const size_t m = n - at < RFHE_ND_BLOCK ? n - at : RFHE_ND_BLOCK;
        char *q[RFHE_ND_MAX];
        for (uint32_t k = 0; k < 3; k++) {
            q[k] = (char *)p[k] + (int64_t)at * stride[k] * (nd->op[k].bf16 ? 2 : 4);
        }
        rfhe_row_load(a, q[1], stride[1], nd->op[1].bf16, m);
        rfhe_row_load(b, q[2], stride[2], nd->op[2].bf16, m);
        if (op == RFHE_OP_ADD) {
            for (size_t i = 0; i < m; i++) { a[i] += b[i]; }
        } else if (op == RFHE_OP_SUB) {
            for (size_t i = 0; i < m; i++) { a[i] -= b[i]; }
        } else {
            for (size_t i = 0; i < m; i++) { a[i] *= b[i]; }
        }
        rfhe_row_store(q[0], stride[0], nd->op[0].bf16, a, m);
    }
}

static void binary_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *a = rfhe_in(e, s, 0), *b = rfhe_in(e, s, 1), *y = rfhe_out(e, s, 0);
    rfhe_nd nd;

    rfhe_nd_make(&nd, &y->shape,
                 (rfhe_operand[]){rfhe_operand_of(y, y->data, &y->shape),
                                  rfhe_operand_of(a, a->data, &y->shape),
                                  rfhe_operand_of(b, b->data, &y->shape)},
                 3);
    rfhe_nd_run(&nd, binary_row, &s->op);
}

/* dx (+)= dy * factor * sign, where dx may be a broadcast operand: then its elements collect sums. The target is
 * zeroed before when it is not added to. Operands: dx, dy, factor (dy again when there is none). */
typedef struct product {
    bool add, has_factor, is_sum;
    float sign;
} product;

static void product_row(void *const *p, const int64_t *stride, const rfhe_nd *nd, size_t n,
                        const void *user)
{
    const product *w = user;
    float g[RFHE_ND_BLOCK], f[RFHE_ND_BLOCK], old[RFHE_ND_BLOCK];
    double total = 0;

    for (size_t at = 0; at < n; at += RFHE_ND_BLOCK) {
        const size_t m = n - at < RFHE_ND_BLOCK ? n - at : RFHE_ND_BLOCK;
        char *q[RFHE_ND_MAX];
        for (uint32_t k = 0; k < 3; k++) {
            q[k] = (char *)p[k] + (int64_t)at * stride[k] * (nd->op[k].bf16 ? 2 : 4);
        }
        rfhe_row_load(g, q[1], stride[1], nd->op[1].bf16, m);
        if (w->has_factor) {
            rfhe_row_load(f, q[2], stride[2], nd->op[2].bf16, m);
            for (size_t i = 0; i < m; i++) { g[i] *= f[i]; }
        }
        if (stride[0] == 0) {
            for (size_t i = 0; i < m; i++) { total += (double)g[i]; }
            continue;
        }
        if (w->sign < 0) {
            for (size_t i = 0; i < m; i++) { g[i] = -g[i]; }
        }
        if (w->add) {
            rfhe_row_load(old, q[0], stride[0], nd->op[0].bf16, m);
            for (size_t i = 0; i < m; i++) { g[i] += old[i]; }
        }
        rfhe_row_store(q[0], stride[0], nd->op[0].bf16, g, m);
    }
    if (stride[0] == 0) {
        float sum = 0;
        rfhe_row_load(&sum, p[0], 1, nd->op[0].bf16, 1);
        sum += w->sign * (float)total;
        rfhe_row_store(p[0], 1, nd->op[0].bf16, &sum, 1);
    }
}

static void zero_gradient(const rfhe_slot *x, void *dx)
{
    memset(dx, 0, x->count * rfhe_elem_size(x));
}

static void send_gradient(rfhe_exec *e, rfhe_step *s, uint32_t to, const rfhe_slot *factor,
                          float sign)
{
    const rfhe_slot *x = rfhe_in(e, s, to), *y = rfhe_out(e, s, 0);
    const bool is_sum = x->count != y->count;
    product w = {.add = s->dx_add[to] || is_sum, .has_factor = factor != NULL, .sign = sign};
    const rfhe_operand dy = rfhe_operand_of(y, s->dy, &y->shape);
    rfhe_nd nd;

    if (s->dx[to] == NULL || (s->dx[to] == s->dy && !w.add && sign > 0 && factor == NULL)) { return; }
    if (is_sum && !s->dx_add[to]) { zero_gradient(x, s->dx[to]); }
    const rfhe_operand f = factor != NULL ? rfhe_operand_of(factor, factor->data, &y->shape) : dy;
    const rfhe_operand dx = rfhe_operand_of(x, s->dx[to], &y->shape);
    if (is_sum) {
        /* Order the dimensions by dy, not by dx, whose broadcast strides are zero. */
        rfhe_nd by_dy;
        rfhe_nd_make(&by_dy, &y->shape, (rfhe_operand[]){dy, dx, f}, 3);
        nd = by_dy;
        nd.op[0] = by_dy.op[1];
        nd.op[1] = by_dy.op[0];
        rfhe_nd_run_serial(&nd, product_row, &w);
    } else {
        rfhe_nd_make(&nd, &y->shape, (rfhe_operand[]){dx, dy, f}, 3);
        rfhe_nd_run(&nd, product_row, &w);
    }
}

static void sum_backward(rfhe_exec *e, rfhe_step *s)
{
    /* dx[0] may be dy itself; input 1 therefore goes first unless it is the same value. */
    send_gradient(e, s, 1, NULL, s->op == RFHE_OP_SUB ? -1.0F : 1.0F);
    send_gradient(e, s, 0, NULL, 1.0F);
}

static void mul_backward(rfhe_exec *e, rfhe_step *s)
{
    send_gradient(e, s, 0, rfhe_in(e, s, 1), 1.0F);
    send_gradient(e, s, 1, rfhe_in(e, s, 0), 1.0F);
}

static rfhe_status mul_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    (void)err;
    if (e->opt.training) { s->keep_in = 3; }
    return RFHE_OK;
}

const rfhe_impl rfhe_impl_ADD = {
    .forward = binary_forward, .backward = sum_backward, .adds = true, .inplace = true};
const rfhe_impl rfhe_impl_SUB = {
    .forward = binary_forward, .backward = sum_backward, .adds = true, .inplace = true};
const rfhe_impl rfhe_impl_MUL = {
    .prepare = mul_prepare, .forward = binary_forward, .backward = mul_backward, .adds = true};

/* ---- Identity, Dropout, reorder ---- */

static void copy_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);

    rfhe_nd_copy(&y->shape, rfhe_operand_of(y, y->data, &y->shape),
                 rfhe_operand_of(x, x->data, &y->shape), false);
}

static void copy_backward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);

    rfhe_nd_copy(&y->shape, rfhe_operand_of(x, s->dx[0], &y->shape),
                 rfhe_operand_of(y, s->dy, &y->shape), s->dx_add[0]);
}

const rfhe_impl rfhe_impl_reorder = {.forward = copy_forward, .backward = copy_backward, .adds = true};

static rfhe_status one_output(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    if (rfhe_out(e, s, 1) != NULL) {
        return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "the second output is not computed", err);
    }
    return RFHE_OK;
}

const rfhe_impl rfhe_impl_IDENTITY = {.prepare = one_output, .is_view = true};

/* The mask is a byte per element: kept or not. It depends on the seed, the run and the piece, not on the team. */
static rfhe_status dropout_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    s->workspace_bytes = rfhe_in(e, s, 0)->count;
    return one_output(e, s, err);
}

static void dropout_apply(const rfhe_slot *x, void *to, const void *from, const uint8_t *mask,
                          float ratio, bool add)
{
    const size_t pieces = rfhe_chunks(x->count), size = rfhe_elem_size(x);
    const float factor = 1.0F / (1.0F - ratio);

#pragma omp parallel for schedule(static) if (pieces > 1)
    for (size_t c = 0; c < pieces; c++) {
        const size_t end = rfhe_split(x->count, pieces, c + 1);
        for (size_t at = rfhe_split(x->count, pieces, c); at < end; at += RFHE_ND_BLOCK) {
            const size_t m = end - at < RFHE_ND_BLOCK ? end - at : RFHE_ND_BLOCK;
            float v[RFHE_ND_BLOCK], old[RFHE_ND_BLOCK] = {0};
            rfhe_row_load(v, (const char *)from + at * size, 1, x->bf16, m);
            if (add) { rfhe_row_load(old, (char *)to + at * size, 1, x->bf16, m); }
            for (size_t i = 0; i < m; i++) {
                v[i] = (add ? old[i] : 0.0F) + (mask[at + i] != 0 ? v[i] * factor : 0.0F);
            }
            rfhe_row_store((char *)to + at * size, 1, x->bf16, v, m);
        }
    }
}

static void dropout_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const size_t pieces = rfhe_chunks(x->count);
    const double ratio = (double)s->attr.dropout.ratio;
    uint8_t *mask = s->workspace;

#pragma omp parallel for schedule(static) if (pieces > 1)
    for (size_t c = 0; c < pieces; c++) {
        const uint64_t stream = (e->run << 24) + ((uint64_t)(s - e->steps) << 8) + c;
        const size_t end = rfhe_split(x->count, pieces, c + 1);
        rfhe_rng rng = rfhe_rng_seed(e->opt.seed, stream);
        for (size_t i = rfhe_split(x->count, pieces, c); i < end; i++) {
            mask[i] = rfhe_rng_uniform(&rng) >= ratio;
        }
    }
    dropout_apply(x, y->data, x->data, mask, s->attr.dropout.ratio, false);
}

static void dropout_backward(rfhe_exec *e, rfhe_step *s)
{
    dropout_apply(rfhe_in(e, s, 0), s->dx[0], s->dy, s->workspace, s->attr.dropout.ratio,
                  s->dx_add[0]);
}

const rfhe_impl rfhe_impl_DROPOUT = {.prepare = dropout_prepare,
                                     .forward = dropout_forward,
                                     .backward = dropout_backward,
                                     .adds = true,
                                     .inplace = true};
