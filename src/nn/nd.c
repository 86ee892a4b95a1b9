/* See nd.h. */
#include "nn/nd.h"

#include "base/threads.h"
#include "nn/bf16.h"

#include <string.h>

rfhe_operand rfhe_operand_of(const rfhe_slot *s, void *data, const rfhe_shape *shape)
{
    rfhe_operand o = {.data = data, .bf16 = s->bf16};
    const uint32_t shift = shape->rank - s->shape.rank;

    for (uint32_t i = 0; i < s->shape.rank; i++) {
        o.stride[i + shift] = s->shape.dim[i] == 1 ? 0 : s->stride[i];
    }
    return o;
}

static int64_t magnitude(int64_t x)
{
    return x < 0 ? -x : x;
}

void rfhe_nd_make(rfhe_nd *nd, const rfhe_shape *shape, const rfhe_operand *ops, uint32_t n)
{
    uint32_t order[RFHE_MAX_RANK], rank = 0;

    *nd = (rfhe_nd){.n_operands = n};
    for (uint32_t k = 0; k < n; k++) {
        nd->op[k].data = ops[k].data;
        nd->op[k].bf16 = ops[k].bf16;
    }
    for (uint32_t i = 0; i < shape->rank; i++) {
        if (shape->dim[i] == 1) { continue; }
        uint32_t at = rank++; /* insertion sort by decreasing stride of operand 0 */
        while (at > 0 && magnitude(ops[0].stride[order[at - 1]]) < magnitude(ops[0].stride[i])) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    for (uint32_t r = 0; r < rank; r++) {
        const uint32_t i = order[r];
        bool merges = nd->rank > 0;
        for (uint32_t k = 0; k < n && merges; k++) {
            merges = nd->op[k].stride[nd->rank - 1] == ops[k].stride[i] * shape->dim[i];
        }
        const uint32_t to = merges ? nd->rank - 1 : nd->rank++;
        nd->dim[to] = merges ? nd->dim[to] * shape->dim[i] : shape->dim[i];
        for (uint32_t k = 0; k < n; k++) { nd->op[k].stride[to] = ops[k].stride[i]; }
    }
    if (nd->rank == 0) {
        nd->rank = 1; /* one element: its stride is never used, but 0 would mean broadcast */
        nd->dim[0] = 1;
        for (uint32_t k = 0; k < n; k++) { nd->op[k].stride[0] = 1; }
    }
}

/* Rows [from, to) of the outer dimensions, or, when there is only one row, elements [from, to) of it. */
static void run_range(const rfhe_nd *nd, rfhe_row_fn *row, const void *user, size_t from, size_t to)
{
    const uint32_t inner = nd->rank - 1;
    int64_t index[RFHE_MAX_RANK] = {0}, stride[RFHE_ND_MAX] = {0};
    unsigned char *base[RFHE_ND_MAX] = {NULL};
    void *p[RFHE_ND_MAX] = {NULL};

    if (from == to) { return; }
    for (uint32_t k = 0; k < nd->n_operands; k++) {
        base[k] = nd->op[k].data;
        stride[k] = nd->op[k].stride[inner];
    }
    if (inner == 0) {
        for (uint32_t k = 0; k < nd->n_operands; k++) {
            p[k] = base[k] + (int64_t)from * stride[k] * (nd->op[k].bf16 ? 2 : 4);
        }
        row(p, stride, nd, to - from, user);
        return;
    }
    size_t rest = from;
    for (uint32_t d = inner; d-- > 0;) {
        index[d] = (int64_t)(rest % (size_t)nd->dim[d]);
        rest /= (size_t)nd->dim[d];
    }
    for (size_t r = from; r < to; r++) {
        for (uint32_t k = 0; k < nd->n_operands; k++) {
            int64_t offset = 0;
            for (uint32_t d = 0; d < inner; d++) { offset += index[d] * nd->op[k].stride[d]; }
            p[k] = base[k] + offset * (nd->op[k].bf16 ? 2 : 4);
        }
        row(p, stride, nd, (size_t)nd->dim[inner], user);
        for (uint32_t d = inner; d-- > 0;) {
            if (++index[d] < nd->dim[d]) { break; }
            index[d] = 0;
        }
    }
}

static size_t count_rows(const rfhe_nd *nd, size_t *elements)
{
    size_t rows = nd->rank == 1 ? (size_t)nd->dim[0] : 1;

    *elements = (size_t)nd->dim[nd->rank - 1];
    for (uint32_t d = 0; d + 1 < nd->rank; d++) {
        rows *= (size_t)nd->dim[d];
        *elements *= (size_t)nd->dim[d];
    }
    return *elements == 0 ? 0 : rows;
}

void rfhe_nd_run(const rfhe_nd *nd, rfhe_row_fn *row, const void *user)
{
    size_t elements = 0;
    const size_t rows = count_rows(nd, &elements), pieces = rfhe_chunks(elements);

    if (pieces == 1) {
        run_range(nd, row, user, 0, rows);
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t c = 0; c < pieces; c++) {
        run_range(nd, row, user, rfhe_split(rows, pieces, c), rfhe_split(rows, pieces, c + 1));
    }
}

void rfhe_nd_run_serial(const rfhe_nd *nd, rfhe_row_fn *row, const void *user)
{
    size_t elements = 0;

    run_range(nd, row, user, 0, count_rows(nd, &elements));
}

void rfhe_row_load(float *out, const void *p, int64_t stride, bool bf16, size_t n)
{
    if (stride == 1) {
        rfhe_nn_kernels_get(bf16)->load(out, p, n);
    } else if (bf16) {
        const rfhe_bf16 *x = p;
        for (size_t i = 0; i < n; i++) { out[i] = rfhe_from_bf16(x[(int64_t)i * stride]); }
    } else {
        const float *x = p;
        for (size_t i = 0; i < n; i++) { out[i] = x[(int64_t)i * stride]; }
    }
}

void rfhe_row_store(void *p, int64_t stride, bool bf16, const float *in, size_t n)
{
    if (stride == 1) {
        rfhe_nn_kernels_get(bf16)->store(p, in, n);
    } else if (bf16) {
        rfhe_bf16 *y = p;
        for (size_t i = 0; i < n; i++) { y[(int64_t)i * stride] = rfhe_to_bf16(in[i]); }
    } else {
        float *y = p;
        for (size_t i = 0; i < n; i++) { y[(int64_t)i * stride] = in[i]; }
    }
}

static void copy_row(void *const *p, const int64_t *stride, const rfhe_nd *nd, size_t n,
                     const void *user)
{
    const bool add = *(const bool *)user, yb = nd->op[0].bf16, xb = nd->op[1].bf16;
    float t[RFHE_ND_BLOCK], old[RFHE_ND_BLOCK];

    if (!add && yb == xb && stride[0] == 1 && stride[1] == 1) {
        memcpy(p[0], p[1], n * (yb ? 2 : 4));
        return;
    }
    for (size_t at = 0; at < n; at += RFHE_ND_BLOCK) {
        const size_t m = n - at < RFHE_ND_BLOCK ? n - at : RFHE_ND_BLOCK;
        unsigned char *y = (unsigned char *)p[0] + (int64_t)at * stride[0] * (yb ? 2 : 4);
        const unsigned char *x = (unsigned char *)p[1] + (int64_t)at * stride[1] * (xb ? 2 : 4);
        rfhe_row_load(t, x, stride[1], xb, m);
        if (add) {
            rfhe_row_load(old, y, stride[0], yb, m);
            for (size_t i = 0; i < m; i++) { t[i] += old[i]; }
        }
        rfhe_row_store(y, stride[0], yb, t, m);
    }
}

void rfhe_nd_copy(const rfhe_shape *shape, rfhe_operand y, rfhe_operand x, bool add)
{
    rfhe_nd nd;

    rfhe_nd_make(&nd, shape, (rfhe_operand[]){y, x}, 2);
    rfhe_nd_run(&nd, copy_row, &add);
}
