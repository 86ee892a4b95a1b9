/* Operators that only move elements: Flatten and Reshape (views of row-major memory), Slice, Pad, Concat (strided
 * copies of boxes, in whatever order the input has). */
#include "nn/nd.h"

#include <string.h>

const rfhe_impl rfhe_impl_FLATTEN = {.order = RFHE_ORDER_ROWS, .is_view = true};
const rfhe_impl rfhe_impl_RESHAPE = {.order = RFHE_ORDER_ROWS, .is_view = true};

/* A box inside a tensor: where element (0, 0, ...) of `shape` is, and the strides. */
static rfhe_operand box(const rfhe_slot *s, void *data, const int64_t *start, const int64_t *step)
{
    rfhe_operand o = {.data = data, .bf16 = s->bf16};
    int64_t offset = 0;

    for (uint32_t i = 0; i < s->shape.rank; i++) {
        offset += start[i] * s->stride[i];
        o.stride[i] = s->stride[i] * step[i];
    }
    o.data = (char *)data + offset * (int64_t)rfhe_elem_size(s);
    return o;
}

static void zero(const rfhe_slot *x, void *data)
{
    memset(data, 0, x->count * rfhe_elem_size(x));
}

/* ---- Slice ---- */

static void slice_box(const rfhe_step *s, int64_t *start, int64_t *step)
{
    for (uint32_t i = 0; i < RFHE_MAX_RANK; i++) {
        start[i] = 0;
        step[i] = 1;
    }
    for (uint32_t i = 0; i < s->attr.slice.n; i++) {
        start[s->attr.slice.axis[i]] = s->attr.slice.start[i];
        step[s->attr.slice.axis[i]] = s->attr.slice.step[i];
    }
}

static void slice_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    int64_t start[RFHE_MAX_RANK], step[RFHE_MAX_RANK];

    if (y->count == 0) { return; }
    slice_box(s, start, step);
    rfhe_nd_copy(&y->shape, rfhe_operand_of(y, y->data, &y->shape), box(x, x->data, start, step),
                 false);
}

static void slice_backward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    int64_t start[RFHE_MAX_RANK], step[RFHE_MAX_RANK];

    if (!s->dx_add[0]) { zero(x, s->dx[0]); }
    if (y->count == 0) { return; }
    slice_box(s, start, step);
    rfhe_nd_copy(&y->shape, box(x, s->dx[0], start, step), rfhe_operand_of(y, s->dy, &y->shape),
                 s->dx_add[0]);
}

const rfhe_impl rfhe_impl_SLICE = {
    .forward = slice_forward, .backward = slice_backward, .adds = true};

/* ---- Pad ---- */

/* The part of x that lands in y: its shape, and where it starts in each. */
static rfhe_shape pad_overlap(const rfhe_slot *x, const rfhe_step *s, int64_t *in_x, int64_t *in_y)
{
    rfhe_shape common = x->shape;

    for (uint32_t i = 0; i < x->shape.rank; i++) {
        const int64_t b = s->attr.pad.begin[i], e = s->attr.pad.end[i];
        in_x[i] = b < 0 ? -b : 0;
        in_y[i] = b < 0 ? 0 : b;
        common.dim[i] -= in_x[i] + (e < 0 ? -e : 0);
        if (common.dim[i] < 0) { common.dim[i] = 0; }
    }
    return common;
}

static const int64_t ones[RFHE_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};

/* Reflect and edge: the element of x that position `at` of y shows, along one axis. */
static int64_t pad_source(int64_t at, int64_t begin, int64_t size, rfhe_pad_mode mode)
{
    int64_t i = at - begin;

    if (mode == RFHE_PAD_EDGE) { return i < 0 ? 0 : i >= size ? size - 1 : i; }
    if (i < 0) { i = -i; }
    return i >= size ? 2 * (size - 1) - i : i;
}

/* y[at] = x[source(at)], or dx[source(at)] += dy[at]: element by element, these modes are rare. */
static void pad_mirror(const rfhe_step *s, const rfhe_slot *x, const rfhe_slot *y, void *xdata,
                       void *ydata, bool is_backward)
{
    int64_t index[RFHE_MAX_RANK] = {0};

    for (size_t i = 0; i < y->count; i++) {
        int64_t from = 0, to = 0;
        float v = 0, old = 0;
        for (uint32_t d = 0; d < y->shape.rank; d++) {
            to += index[d] * y->stride[d];
            from += x->stride[d] * pad_source(index[d], s->attr.pad.begin[d], x->shape.dim[d],
                                              s->attr.pad.mode);
        }
        char *px = (char *)xdata + from * (int64_t)rfhe_elem_size(x);
        char *py = (char *)ydata + to * (int64_t)rfhe_elem_size(y);
        if (is_backward) {
            rfhe_row_load(&v, py, 1, y->bf16, 1);
            rfhe_row_load(&old, px, 1, x->bf16, 1);
            v += old;
            rfhe_row_store(px, 1, x->bf16, &v, 1);
        } else {
            rfhe_row_load(&v, px, 1, x->bf16, 1);
            rfhe_row_store(py, 1, y->bf16, &v, 1);
        }
        for (uint32_t d = y->shape.rank; d-- > 0;) {
            if (++index[d] < y->shape.dim[d]) { break; }
            index[d] = 0;
        }
    }
}

static void pad_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    int64_t in_x[RFHE_MAX_RANK], in_y[RFHE_MAX_RANK];

    if (s->attr.pad.mode != RFHE_PAD_CONSTANT) {
        pad_mirror(s, x, y, x->data, y->data, false);
        return;
    }
    const rfhe_shape common = pad_overlap(x, s, in_x, in_y);
    const rfhe_slot one = {.data = &s->attr.pad.value};
    const rfhe_operand value = rfhe_operand_of(&one, &s->attr.pad.value, &y->shape);
    rfhe_nd_copy(&y->shape, rfhe_operand_of(y, y->data, &y->shape), value, false);
    rfhe_nd_copy(&common, box(y, y->data, in_y, ones), box(x, x->data, in_x, ones), false);
}

static void pad_backward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    int64_t in_x[RFHE_MAX_RANK], in_y[RFHE_MAX_RANK];
    bool crops = false;

    for (uint32_t i = 0; i < x->shape.rank; i++) {
        crops |= s->attr.pad.begin[i] < 0 || s->attr.pad.end[i] < 0;
    }
    if (s->attr.pad.mode != RFHE_PAD_CONSTANT) {
        if (!s->dx_add[0]) { zero(x, s->dx[0]); }
        pad_mirror(s, x, y, s->dx[0], s->dy, true);
        return;
    }
    const rfhe_shape common = pad_overlap(x, s, in_x, in_y);
    if (!s->dx_add[0] && crops) { zero(x, s->dx[0]); }
    rfhe_nd_copy(&common, box(x, s->dx[0], in_x, ones), box(y, s->dy, in_y, ones), s->dx_add[0]);
}

const rfhe_impl rfhe_impl_PAD = {.forward = pad_forward, .backward = pad_backward, .adds = true};

/* ---- Concat ---- */

static void concat_forward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *y = rfhe_out(e, s, 0);
    int64_t start[RFHE_MAX_RANK] = {0};

    for (uint32_t i = 0; i < s->n_in; i++) {
        const rfhe_slot *x = rfhe_in(e, s, i);
        rfhe_nd_copy(&x->shape, box(y, y->data, start, ones),
                     rfhe_operand_of(x, x->data, &x->shape), false);
        start[s->attr.concat.axis] += x->shape.dim[s->attr.concat.axis];
    }
}

static void concat_backward(rfhe_exec *e, rfhe_step *s)
{
    const rfhe_slot *y = rfhe_out(e, s, 0);
    int64_t start[RFHE_MAX_RANK] = {0};

    for (uint32_t i = 0; i < s->n_in; i++) {
        const rfhe_slot *x = rfhe_in(e, s, i);
        if (s->dx[i] != NULL) {
            rfhe_nd_copy(&x->shape, rfhe_operand_of(x, s->dx[i], &x->shape),
                         box(y, s->dy, start, ones), s->dx_add[i]);
        }
        start[s->attr.concat.axis] += x->shape.dim[s->attr.concat.axis];
    }
}

const rfhe_impl rfhe_impl_CONCAT = {
    .forward = concat_forward, .backward = concat_backward, .adds = true};
