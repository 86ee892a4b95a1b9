/* Gemm and MatMul on row-major float matrices, through one matrix product (rfhe_sgemm).
 *
 *   Gemm    y = alpha op(a) op(b) + beta c            op(b) is k x n
 *   MatMul  NumPy's rule: leading dimensions are a batch and broadcast; a vector on the left is a row, on the right a
 *           column, and its dimension is gone from the result
 *
 * Gradients: da = dy b^T, db = a^T dy, each in the layout the operand has; a broadcast operand sums over its uses. */
#include "nn/nd.h"

#include "base/mem.h"

#include <string.h>

static void fill_bias(const rfhe_slot *c, const rfhe_slot *y, float beta)
{
    const int64_t rows = y->shape.dim[0], n = y->shape.dim[1];
    const rfhe_operand o = rfhe_operand_of(c, c->data, &y->shape);
    const float *from = c->data;
    float *to = y->data;

    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < n; j++) {
            to[i * n + j] = beta * from[i * o.stride[0] + j * o.stride[1]];
        }
    }
}

static void gemm_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *a = rfhe_in(e, s, 0), *b = rfhe_in(e, s, 1), *c = rfhe_in(e, s, 2);
    const rfhe_slot *y = rfhe_out(e, s, 0);
    const bool ta = s->attr.gemm.trans_a, tb = s->attr.gemm.trans_b;

    if (c != NULL) { fill_bias(c, y, s->attr.gemm.beta); }
    rfhe_sgemm(ta, tb, y->shape.dim[0], y->shape.dim[1], a->shape.dim[ta ? 0 : 1],
               s->attr.gemm.alpha, a->data, a->shape.dim[1], b->data, b->shape.dim[1],
               c != NULL ? 1.0F : 0.0F, y->data, y->shape.dim[1]);
}

static void bias_gradient(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *c = rfhe_in(e, s, 2), *y = rfhe_out(e, s, 0);
    const int64_t rows = y->shape.dim[0], n = y->shape.dim[1];
    float *dc = s->dx[2];
    const float *dy = s->dy;
    const rfhe_operand o = rfhe_operand_of(c, dc, &y->shape);

    if (!s->dx_add[2]) { memset(dc, 0, c->count * sizeof *dc); }
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < n; j++) {
            dc[i * o.stride[0] + j * o.stride[1]] += s->attr.gemm.beta * dy[i * n + j];
        }
    }
}

static void gemm_backward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *a = rfhe_in(e, s, 0), *b = rfhe_in(e, s, 1), *y = rfhe_out(e, s, 0);
    const bool ta = s->attr.gemm.trans_a, tb = s->attr.gemm.trans_b;
    const int64_t m = y->shape.dim[0], n = y->shape.dim[1], k = a->shape.dim[ta ? 0 : 1];
    const int64_t lda = a->shape.dim[1], ldb = b->shape.dim[1];
    const float alpha = s->attr.gemm.alpha;

    if (s->dx[0] != NULL && !ta) {
        rfhe_sgemm(false, !tb, m, k, n, alpha, s->dy, n, b->data, ldb, s->dx_add[0], s->dx[0], lda);
    } else if (s->dx[0] != NULL) {
        rfhe_sgemm(tb, true, k, m, n, alpha, b->data, ldb, s->dy, n, s->dx_add[0], s->dx[0], lda);
    }
    if (s->dx[1] != NULL && !tb) {
        rfhe_sgemm(!ta, false, k, n, m, alpha, a->data, lda, s->dy, n, s->dx_add[1], s->dx[1], ldb);
    } else if (s->dx[1] != NULL) {
        rfhe_sgemm(true, ta, n, k, m, alpha, s->dy, n, a->data, lda, s->dx_add[1], s->dx[1], ldb);
    }
    if (s->n_in > 2 && s->dx[2] != NULL) { bias_gradient(e, s); }
}

static rfhe_status keep_both(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    (void)err;
    if (e->opt.training) { s->keep_in = 3; }
    return RFHE_OK;
}

const rfhe_impl rfhe_impl_GEMM = {.prepare = keep_both,
                                  .forward = gemm_forward,
                                  .backward = gemm_backward,
                                  .order = RFHE_ORDER_ROWS,
                                  .adds = true,
                                  .float_compute = true};

/* ---- MatMul ---- */

typedef struct product {
    int64_t m, n, k;
    int64_t batches, dim[RFHE_MAX_RANK], stride_a[RFHE_MAX_RANK], stride_b[RFHE_MAX_RANK];
    uint32_t rank;
} product;

static void release(rfhe_step *s)
{
    rfhe_free(s->priv);
}

/* The batch dimensions of one operand, broadcast to those of the result; strides in elements, 0 = broadcast. */
static void batch_strides(int64_t *stride, const rfhe_shape *x, const product *p, int64_t matrix)
{
    const uint32_t own = x->rank > 2 ? x->rank - 2 : 0;
    int64_t step = matrix;

    for (uint32_t i = 0; i < own; i++) {
        const uint32_t from = own - 1 - i, to = p->rank - 1 - i;
        stride[to] = x->dim[from] == 1 ? 0 : step;
        step *= x->dim[from];
    }
}

static rfhe_status matmul_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const rfhe_shape *a = &rfhe_in(e, s, 0)->shape, *b = &rfhe_in(e, s, 1)->shape;
    const rfhe_shape *y = &rfhe_out(e, s, 0)->shape;
    product *p = rfhe_calloc(1, sizeof *p);

    if (p == NULL) { return RFHE_E_NOMEM; }
    s->priv = p;
    p->k = a->dim[a->rank - 1];
    p->m = a->rank > 1 ? a->dim[a->rank - 2] : 1;
    p->n = b->rank > 1 ? b->dim[b->rank - 1] : 1;
    p->rank = y->rank - (a->rank > 1) - (b->rank > 1);
    p->batches = 1;
    for (uint32_t i = 0; i < p->rank; i++) {
        p->dim[i] = y->dim[i];
        p->batches *= y->dim[i];
    }
    batch_strides(p->stride_a, a, p, p->m * p->k);
    batch_strides(p->stride_b, b, p, p->k * p->n);
    if (b->rank <= 2) { /* one matrix for all: one tall product */
        p->m *= p->batches;
        p->batches = 1;
        p->rank = 0;
    }
    return keep_both(e, s, err);
}

static void batch_offsets(const product *p, int64_t batch, int64_t *a, int64_t *b)
{
    *a = *b = 0;
    for (uint32_t i = p->rank; i-- > 0;) {
        *a += batch % p->dim[i] * p->stride_a[i];
        *b += batch % p->dim[i] * p->stride_b[i];
        batch /= p->dim[i];
    }
}

static void matmul_forward(rfhe_exec *e, rfhe_step *s)
{
    const product *p = s->priv;
    const float *a = rfhe_in(e, s, 0)->data, *b = rfhe_in(e, s, 1)->data;
    float *y = rfhe_out(e, s, 0)->data;

    for (int64_t i = 0; i < p->batches; i++) {
        int64_t at_a = 0, at_b = 0;
        batch_offsets(p, i, &at_a, &at_b);
        rfhe_sgemm(false, false, p->m, p->n, p->k, 1, a + at_a, p->k, b + at_b, p->n, 0,
                   y + i * p->m * p->n, p->n);
    }
}

static void matmul_backward(rfhe_exec *e, rfhe_step *s)
{
    const product *p = s->priv;
    const rfhe_slot *a = rfhe_in(e, s, 0), *b = rfhe_in(e, s, 1);
    const float *dy = s->dy;

    if (s->dx[0] != NULL && !s->dx_add[0]) { memset(s->dx[0], 0, a->count * sizeof(float)); }
    if (s->dx[1] != NULL && !s->dx_add[1]) { memset(s->dx[1], 0, b->count * sizeof(float)); }
    for (int64_t i = 0; i < p->batches; i++) {
        int64_t at_a = 0, at_b = 0;
        batch_offsets(p, i, &at_a, &at_b);
        if (s->dx[0] != NULL) {
            rfhe_sgemm(false, true, p->m, p->k, p->n, 1, dy + i * p->m * p->n, p->n,
                       (const float *)b->data + at_b, p->n, 1, (float *)s->dx[0] + at_a, p->k);
        }
        if (s->dx[1] != NULL) {
            rfhe_sgemm(true, false, p->k, p->n, p->m, 1, (const float *)a->data + at_a, p->k,
                       dy + i * p->m * p->n, p->n, 1, (float *)s->dx[1] + at_b, p->n);
        }
    }
}

const rfhe_impl rfhe_impl_MATMUL = {.prepare = matmul_prepare,
                                    .forward = matmul_forward,
                                    .backward = matmul_backward,
                                    .release = release,
                                    .order = RFHE_ORDER_ROWS,
                                    .adds = true,
                                    .float_compute = true};
