/* Shape inference: what every operator does to shapes, and the checks that make a graph safe to run. One function per
 * operator family; each reads the shapes of its inputs and sets those of its outputs. -1 is a symbolic batch: it is
 * only allowed where it passes through unchanged. Rules: the ONNX operator documents. */
#include "nn/graph.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct scope {
    rfhe_graph *g;
    rfhe_node *n;
    rfhe_error *err;
} scope;

/* "node 'x' (Conv): ..." with the shapes of up to two inputs appended. */
static rfhe_status misfit(const scope *s, const char *what)
{
    char a[96] = "none", b[96] = "none";
    const rfhe_node *n = s->n;

    if (n->n_inputs > 0 && n->inputs[0] != RFHE_NO_VALUE) {
        (void)rfhe_shape_text(a, sizeof a, &s->g->values[n->inputs[0]].shape);
    }
    if (n->n_inputs > 1 && n->inputs[1] != RFHE_NO_VALUE) {
        (void)rfhe_shape_text(b, sizeof b, &s->g->values[n->inputs[1]].shape);
    }
    return rfhe_fail(s->err, RFHE_E_FORMAT, "node '%s' (%s): %s (inputs %s and %s)", n->name,
                     rfhe_op_name(n->op), what, a, b);
}

static const rfhe_shape *in(const scope *s, uint32_t i)
{
    if (i >= s->n->n_inputs || s->n->inputs[i] == RFHE_NO_VALUE) { return NULL; }
    return &s->g->values[s->n->inputs[i]].shape;
}

static void set_out(const scope *s, uint32_t i, const rfhe_shape *shape)
{
    if (i >= s->n->n_outputs || s->n->outputs[i] == RFHE_NO_VALUE) { return; }
    rfhe_value *v = &s->g->values[s->n->outputs[i]];
    v->shape = *shape;
    v->has_shape = true;
}

static bool axis_at(int64_t axis, uint32_t rank, uint32_t *out)
{
    const int64_t a = axis < 0 ? axis + rank : axis;

    *out = (uint32_t)a;
    return a >= 0 && a < rank;
}

/* One spatial dimension of a window; returns false when the kernel does not fit. Resolves SAME pads in place. */
static bool window_size(rfhe_window *w, uint32_t k, int64_t size, int64_t *out)
{
    const int64_t reach = (w->kernel[k] - 1) * w->dilation[k] + 1;

    if (size < 0) { return false; }
    if (w->auto_pad == RFHE_PAD_SAME_UPPER || w->auto_pad == RFHE_PAD_SAME_LOWER) {
        const int64_t target = (size + w->stride[k] - 1) / w->stride[k];
        int64_t pad = (target - 1) * w->stride[k] + reach - size;
        if (pad < 0) { pad = 0; }
        const int64_t small = pad / 2, large = pad - small;
        w->pad_begin[k] = w->auto_pad == RFHE_PAD_SAME_UPPER ? small : large;
        w->pad_end[k] = w->auto_pad == RFHE_PAD_SAME_UPPER ? large : small;
    } else if (w->auto_pad == RFHE_PAD_VALID) {
        w->pad_begin[k] = w->pad_end[k] = 0;
    }
    const int64_t room = size + w->pad_begin[k] + w->pad_end[k] - reach;
    if (room < 0) { return false; }
    *out = room / w->stride[k] + 1;
    if (w->ceil_mode && room % w->stride[k] != 0) {
        /* A window that would start in the padding behind the data is not counted. */
        if (*out * w->stride[k] < size + w->pad_begin[k]) { (*out)++; }
    }
    return true;
}

static bool window_is_sane(const rfhe_window *w)
{
    for (uint32_t k = 0; k < w->spatial; k++) {
        const int64_t limit = 1 << 20;
        if (w->kernel[k] < 1 || w->stride[k] < 1 || w->dilation[k] < 1 || w->kernel[k] > limit ||
            w->stride[k] > limit || w->dilation[k] > limit || w->pad_begin[k] < 0 ||
            w->pad_end[k] < 0 || w->pad_begin[k] > limit || w->pad_end[k] > limit) {
            return false;
        }
    }
    return w->spatial >= 1 && w->spatial <= RFHE_MAX_SPATIAL;
}

static rfhe_status window_out(const scope *s, int64_t channels)
{
    rfhe_window *w = &s->n->attr.window;
    const rfhe_shape *x = in(s, 0);
    rfhe_shape y = {.rank = x->rank, .dim = {x->dim[0], channels}};

    for (uint32_t k = 0; k < w->spatial; k++) {
        if (!window_size(w, k, x->dim[2 + k], &y.dim[2 + k])) {
            return misfit(s, "the window is larger than the padded input");
        }
    }
    w->auto_pad = RFHE_PAD_EXPLICIT;
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_conv(const scope *s)
{
    const rfhe_window *w = &s->n->attr.window;
    const rfhe_shape *x = in(s, 0), *k = in(s, 1), *bias = in(s, 2);

    if (x == NULL || k == NULL || !window_is_sane(w) || x->rank != w->spatial + 2 ||
        k->rank != x->rank) {
        return misfit(s, "input and kernel must have the same rank, 3 to 5");
    }
    for (uint32_t i = 0; i < w->spatial; i++) {
        if (k->dim[2 + i] != w->kernel[i]) { return misfit(s, "kernel_shape differs from the kernel"); }
    }
    int64_t channels = 0;
    if (w->groups < 1 || k->dim[0] < 1 || k->dim[0] % w->groups != 0 ||
        __builtin_mul_overflow(k->dim[1], w->groups, &channels) || channels != x->dim[1]) {
        return misfit(s, "channels, groups and kernel do not fit");
    }
    if (bias != NULL && (bias->rank != 1 || bias->dim[0] != k->dim[0])) {
        return misfit(s, "the bias does not have one value per output channel");
    }
    return window_out(s, k->dim[0]);
}

/* Padding behind the data that no window reaches is dropped: exporters emulate ceil_mode with more than is needed. */
static void trim_padding(rfhe_window *w, uint32_t k, int64_t size)
{
    const int64_t reach = (w->kernel[k] - 1) * w->dilation[k] + 1;
    const int64_t room = size + w->pad_begin[k] + w->pad_end[k] - reach;

    if (w->auto_pad != RFHE_PAD_EXPLICIT || w->ceil_mode || size < 0 || room < 0 || w->pad_end[k] < reach) { return; }
    const int64_t spare = room % w->stride[k];
    w->pad_end[k] = spare < w->pad_end[k] ? w->pad_end[k] - spare : 0;
}

static rfhe_status infer_pool(const scope *s)
{
    rfhe_window *w = &s->n->attr.window;
    const rfhe_shape *x = in(s, 0);

    if (x == NULL || !window_is_sane(w) || x->rank != w->spatial + 2) {
        return misfit(s, "the input's rank does not fit the window");
    }
    for (uint32_t k = 0; k < w->spatial; k++) {
        trim_padding(w, k, x->dim[2 + k]);
        if (w->auto_pad == RFHE_PAD_EXPLICIT &&
            (w->pad_begin[k] >= w->kernel[k] * w->dilation[k] || w->pad_end[k] >= w->kernel[k] * w->dilation[k])) {
            return misfit(s, "padding as wide as the window leaves windows without data");
        }
    }
    return window_out(s, x->dim[1]);
}

static rfhe_status infer_batchnorm(const scope *s)
{
    const rfhe_shape *x = in(s, 0);

    if (x == NULL || x->rank < 2 || s->n->n_inputs != 5) {
        return misfit(s, "wants an input of rank 2 or more and four statistics");
    }
    for (uint32_t i = 1; i < 5; i++) {
        const rfhe_shape *p = in(s, i);
        if (p == NULL || p->rank != 1 || p->dim[0] != x->dim[1]) {
            return misfit(s, "scale, bias, mean and variance need one value per channel");
        }
        set_out(s, i, p);
    }
    set_out(s, 0, x);
    return RFHE_OK;
}

static rfhe_status infer_gemm(const scope *s)
{
    const rfhe_shape *a = in(s, 0), *b = in(s, 1), *c = in(s, 2);

    if (a == NULL || b == NULL || a->rank != 2 || b->rank != 2) {
        return misfit(s, "wants two matrices");
    }
    const bool ta = s->n->attr.gemm.trans_a, tb = s->n->attr.gemm.trans_b;
    const rfhe_shape y = {.rank = 2, .dim = {a->dim[ta ? 1 : 0], b->dim[tb ? 0 : 1]}};
    rfhe_shape sum = {0};
    if (a->dim[ta ? 0 : 1] != b->dim[tb ? 1 : 0]) { return misfit(s, "the inner dimensions differ"); }
    if (c != NULL && (!rfhe_shape_broadcast(&sum, &y, c) || !rfhe_shape_equal(&sum, &y))) {
        return misfit(s, "the third input does not broadcast to the product");
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_matmul(const scope *s)
{
    const rfhe_shape *a = in(s, 0), *b = in(s, 1);
    rfhe_shape left = {0}, right = {0}, y = {0};

    if (a == NULL || b == NULL || a->rank < 1 || b->rank < 1) { return misfit(s, "wants two tensors"); }
    const int64_t inner_a = a->dim[a->rank - 1], inner_b = b->dim[b->rank == 1 ? 0 : b->rank - 2];
    if (inner_a != inner_b) { return misfit(s, "the inner dimensions differ"); }
    left.rank = a->rank > 2 ? a->rank - 2 : 0;
    right.rank = b->rank > 2 ? b->rank - 2 : 0;
    memcpy(left.dim, a->dim, left.rank * sizeof left.dim[0]);
    memcpy(right.dim, b->dim, right.rank * sizeof right.dim[0]);
    if (!rfhe_shape_broadcast(&y, &left, &right)) { return misfit(s, "the batch dimensions differ"); }
    if (a->rank > 1) { y.dim[y.rank++] = a->dim[a->rank - 2]; }
    if (b->rank > 1) { y.dim[y.rank++] = b->dim[b->rank - 1]; }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_same(const scope *s)
{
    const rfhe_shape *x = in(s, 0);

    if (x == NULL) { return misfit(s, "has no input"); }
    for (uint32_t i = 0; i < s->n->n_outputs; i++) { set_out(s, i, x); }
    return RFHE_OK;
}

static rfhe_status infer_softmax(const scope *s)
{
    uint32_t axis = 0;
    const rfhe_shape *x = in(s, 0);

    if (x == NULL || (x->rank > 0 && !axis_at(s->n->attr.softmax.axis, x->rank, &axis))) {
        return misfit(s, "the axis is outside the input's rank");
    }
    s->n->attr.softmax.axis = axis;
    return infer_same(s);
}

static rfhe_status infer_elementwise(const scope *s)
{
    rfhe_shape y = {0};

    if (in(s, 0) == NULL || in(s, 1) == NULL || !rfhe_shape_broadcast(&y, in(s, 0), in(s, 1))) {
        return misfit(s, "the shapes do not broadcast");
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_global_pool(const scope *s)
{
    const rfhe_shape *x = in(s, 0);

    if (x == NULL || x->rank < 3) { return misfit(s, "wants an input of rank 3 or more"); }
    rfhe_shape y = *x;
    for (uint32_t i = 2; i < y.rank; i++) { y.dim[i] = 1; }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_reduce(const scope *s)
{
    const rfhe_shape *x = in(s, 0);
    bool gone[RFHE_MAX_RANK] = {false};
    rfhe_shape y = {0};

    if (x == NULL) { return misfit(s, "has no input"); }
    for (uint32_t i = 0; i < s->n->attr.reduce.n; i++) {
        uint32_t a = 0;
        if (!axis_at(s->n->attr.reduce.axis[i], x->rank, &a)) { return misfit(s, "an axis is outside the rank"); }
        s->n->attr.reduce.axis[i] = a;
        gone[a] = true;
    }
    for (uint32_t i = 0; i < x->rank; i++) {
        const bool reduced = gone[i] || s->n->attr.reduce.n == 0;
        if (!reduced) {
            y.dim[y.rank++] = x->dim[i];
        } else if (s->n->attr.reduce.keep_dims) {
            y.dim[y.rank++] = 1;
        }
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_flatten(const scope *s)
{
    const rfhe_shape *x = in(s, 0);
    rfhe_shape y = {.rank = 2, .dim = {1, 1}};

    if (x == NULL) { return misfit(s, "has no input"); }
    int64_t axis = s->n->attr.flatten.axis;
    if (axis < 0) { axis += x->rank; }
    if (axis < 0 || axis > x->rank) { return misfit(s, "the axis is outside the input's rank"); }
    s->n->attr.flatten.axis = axis;
    for (uint32_t i = 0; i < x->rank; i++) {
        int64_t *side = &y.dim[i < axis ? 0 : 1];
        if (x->dim[i] < 0 && (i != 0 || axis != 1)) { return misfit(s, "cannot flatten a symbolic dimension"); }
        if (__builtin_mul_overflow(*side, x->dim[i], side)) { return misfit(s, "the size overflows"); }
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_reshape(const scope *s)
{
    const rfhe_shape *x = in(s, 0);
    rfhe_shape y = s->n->attr.reshape.shape;
    uint32_t rest = RFHE_MAX_RANK, symbolic_in = 0, symbolic_out = 0;
    int64_t have = 1, want = 1;

    if (x == NULL) { return misfit(s, "has no input"); }
    for (uint32_t i = 0; i < x->rank; i++) {
        if (x->dim[i] < 0) {
            symbolic_in++;
        } else if (__builtin_mul_overflow(have, x->dim[i], &have)) {
            return misfit(s, "the size overflows");
        }
    }
    for (uint32_t i = 0; i < y.rank; i++) {
        if (y.dim[i] == 0 && !s->n->attr.reshape.allow_zero) {
            if (i >= x->rank) { return misfit(s, "a 0 in the new shape has no counterpart"); }
            y.dim[i] = x->dim[i];
            symbolic_out += y.dim[i] < 0;
        } else if (y.dim[i] == -1) {
            if (rest != RFHE_MAX_RANK) { return misfit(s, "the new shape has more than one -1"); }
            rest = i;
            continue;
        }
        if (y.dim[i] >= 0 && __builtin_mul_overflow(want, y.dim[i], &want)) {
            return misfit(s, "the size overflows");
        }
    }
    if (symbolic_in > symbolic_out && rest != RFHE_MAX_RANK && symbolic_in == 1) {
        /* The batch itself is the rest, as in (-1, 512): the other dimensions must agree. */
        if (have != want) { return misfit(s, "the new shape does not keep the batch"); }
        y.dim[rest] = -1;
    } else if (symbolic_in == 1 && symbolic_out == 0 && rest == RFHE_MAX_RANK && y.rank > 0 && y.dim[0] == 1) {
        /* Exporters that traced with batch 1 wrote it into the shape; with a symbolic batch that means "the batch". */
        if (have != want) { return misfit(s, "the new shape does not keep the batch"); }
        y.dim[0] = -1;
    } else if (symbolic_in != symbolic_out) {
        return misfit(s, "the new shape does not keep the batch");
    } else if (rest != RFHE_MAX_RANK) {
        if (want == 0 || have % want != 0) { return misfit(s, "the sizes do not divide"); }
        y.dim[rest] = have / want;
    } else if (have != want) {
        return misfit(s, "the new shape has another number of elements");
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_slice(const scope *s)
{
    const rfhe_shape *x = in(s, 0);

    if (x == NULL) { return misfit(s, "has no input"); }
    rfhe_shape y = *x;
    for (uint32_t i = 0; i < s->n->attr.slice.n; i++) {
        uint32_t a = 0;
        int64_t start = s->n->attr.slice.start[i], end = s->n->attr.slice.end[i];
        const int64_t step = s->n->attr.slice.step[i];
        if (!axis_at(s->n->attr.slice.axis[i], x->rank, &a) || step == 0 || step == INT64_MIN) {
            return misfit(s, "an axis or step is impossible");
        }
        const int64_t size = x->dim[a];
        if (size < 0) { return misfit(s, "cannot slice a symbolic dimension"); }
        /* NumPy's clamping: for negative steps the range is [-1, size - 1]. */
        const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
        if (start < 0) { start = start < -size ? low : start + size; }
        if (end < 0) { end = end < -size ? low : end + size; }
        start = start < low ? low : start > high ? high : start;
        end = end < low ? low : end > high ? high : end;
        const int64_t span = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
        y.dim[a] = span <= 0 ? 0 : (span - 1) / stride + 1;
        for (uint32_t k = 0; k < i; k++) {
            if (s->n->attr.slice.axis[k] == a) { return misfit(s, "an axis is sliced twice"); }
        }
        s->n->attr.slice.axis[i] = a;
        /* "Before the first" is written so that inferring again reads it as that and not as the last. */
        s->n->attr.slice.start[i] = start == -1 ? -size - 1 : start;
        s->n->attr.slice.end[i] = end == -1 ? -size - 1 : end;
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_concat(const scope *s)
{
    uint32_t axis = 0;

    if (in(s, 0) == NULL || !axis_at(s->n->attr.concat.axis, in(s, 0)->rank, &axis)) {
        return misfit(s, "the axis is outside the input's rank");
    }
    s->n->attr.concat.axis = axis;
    rfhe_shape y = *in(s, 0);
    for (uint32_t i = 1; i < s->n->n_inputs; i++) {
        const rfhe_shape *x = in(s, i);
        if (x == NULL || x->rank != y.rank) { return misfit(s, "the inputs differ in rank"); }
        for (uint32_t k = 0; k < y.rank; k++) {
            if (k != axis && x->dim[k] != y.dim[k]) { return misfit(s, "the inputs differ off the axis"); }
        }
        if (x->dim[axis] < 0 || y.dim[axis] < 0) { return misfit(s, "cannot concatenate symbolic sizes"); }
        y.dim[axis] += x->dim[axis];
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_pad(const scope *s)
{
    const rfhe_shape *x = in(s, 0);

    if (x == NULL) { return misfit(s, "has no input"); }
    rfhe_shape y = *x;
    for (uint32_t i = 0; i < y.rank; i++) {
        const int64_t b = s->n->attr.pad.begin[i], e = s->n->attr.pad.end[i], limit = 1 << 20;
        if (b == 0 && e == 0) { continue; }
        if (b < -limit || e < -limit || b > limit || e > limit || x->dim[i] < 0) {
            return misfit(s, "the padding is impossible");
        }
        if (s->n->attr.pad.mode == RFHE_PAD_REFLECT && (b >= x->dim[i] || e >= x->dim[i])) {
            return misfit(s, "reflection wants less padding than data");
        }
        y.dim[i] += b + e;
        if (y.dim[i] < 0 || (s->n->attr.pad.mode == RFHE_PAD_EDGE && x->dim[i] == 0)) {
            return misfit(s, "the padding removes more than there is");
        }
    }
    set_out(s, 0, &y);
    return RFHE_OK;
}

static rfhe_status infer_node(const scope *s)
{
    for (uint32_t i = 0; i < s->n->n_inputs; i++) {
        if (in(s, i) != NULL && !s->g->values[s->n->inputs[i]].has_shape) {
            return rfhe_fail(s->err, RFHE_E_FORMAT, "node '%s' (%s) reads '%s', whose shape is not known",
                             s->n->name, rfhe_op_name(s->n->op), s->g->values[s->n->inputs[i]].name);
        }
    }
    switch (s->n->op) {
    case RFHE_OP_CONV: return infer_conv(s);
    case RFHE_OP_BATCHNORM: return infer_batchnorm(s);
    case RFHE_OP_GEMM: return infer_gemm(s);
    case RFHE_OP_MATMUL: return infer_matmul(s);
    case RFHE_OP_MAXPOOL:
    case RFHE_OP_AVGPOOL: return infer_pool(s);
    case RFHE_OP_GLOBALAVGPOOL: return infer_global_pool(s);
    case RFHE_OP_REDUCEMEAN: return infer_reduce(s);
    case RFHE_OP_ADD:
    case RFHE_OP_SUB:
    case RFHE_OP_MUL: return infer_elementwise(s);
    case RFHE_OP_FLATTEN: return infer_flatten(s);
    case RFHE_OP_RESHAPE: return infer_reshape(s);
    case RFHE_OP_SLICE: return infer_slice(s);
    case RFHE_OP_CONCAT: return infer_concat(s);
    case RFHE_OP_PAD: return infer_pad(s);
    case RFHE_OP_SOFTMAX: return infer_softmax(s);
    case RFHE_OP_RELU:
    case RFHE_OP_CLIP:
    case RFHE_OP_IDENTITY:
    case RFHE_OP_DROPOUT:
    case RFHE_OP_CUSTOM: return infer_same(s);
    case RFHE_OP_COUNT: break;
    }
    return misfit(s, "is not an operator of this version");
}

/* Whether one image of this shape is of a size that sums and products below cannot overflow with. */
static bool is_countable(const rfhe_shape *s)
{
    rfhe_shape image = *s;
    size_t count = 0;

    for (uint32_t i = 0; i < image.rank; i++) {
        if (image.dim[i] < 0) { image.dim[i] = 1; }
    }
    return rfhe_shape_count(&image, &count);
}

rfhe_status rfhe_graph_infer(rfhe_graph *g, int64_t batch, rfhe_error *err)
{
    for (uint32_t i = 0; i < g->n_inputs; i++) {
        rfhe_value *v = &g->values[g->inputs[i]];
        if (!v->has_shape) {
            return rfhe_fail(err, RFHE_E_FORMAT, "the shape of input '%s' is not known", v->name);
        }
        for (uint32_t k = 0; k < v->shape.rank; k++) {
            if (v->shape.dim[k] >= 0) { continue; }
            if (k > 0) {
                return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                                 "dimension %u of input '%s' is symbolic; only the batch may be", k, v->name);
            }
            if (batch > 0) { v->shape.dim[k] = batch; }
        }
        if (!is_countable(&v->shape)) {
            return rfhe_fail(err, RFHE_E_UNSUPPORTED, "input '%s' is too large", v->name);
        }
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const rfhe_status st = infer_node(&(scope){.g = g, .n = &g->nodes[i], .err = err});
        if (st != RFHE_OK) { return st; }
        for (uint32_t k = 0; k < g->nodes[i].n_outputs; k++) {
            const rfhe_value_id id = g->nodes[i].outputs[k];
            if (id != RFHE_NO_VALUE && !is_countable(&g->values[id].shape)) {
                return rfhe_fail(err, RFHE_E_UNSUPPORTED, "node '%s' (%s) makes a tensor that is too large",
                                 g->nodes[i].name, rfhe_op_name(g->nodes[i].op));
            }
        }
    }
    return RFHE_OK;
}

/* Elements of a shape with the batch counted as one image. */
static uint64_t per_image(const rfhe_shape *s, uint32_t from)
{
    uint64_t n = 1;

    for (uint32_t i = from; i < s->rank; i++) { n *= (uint64_t)s->dim[i]; }
    return n;
}

uint64_t rfhe_node_macs(const rfhe_graph *g, const rfhe_node *n)
{
    if (n->op != RFHE_OP_CONV && n->op != RFHE_OP_GEMM && n->op != RFHE_OP_MATMUL) { return 0; }
    const rfhe_shape *y = &g->values[n->outputs[0]].shape, *w = &g->values[n->inputs[1]].shape;
    if (n->op == RFHE_OP_CONV) { return per_image(y, 1) * per_image(w, 1); }
    const bool transposed = n->op == RFHE_OP_GEMM && n->attr.gemm.trans_b;
    return per_image(y, 1) * (uint64_t)w->dim[transposed || w->rank == 1 ? w->rank - 1 : w->rank - 2];
}

rfhe_graph_cost rfhe_graph_count(const rfhe_graph *g)
{
    rfhe_graph_cost c = {0};

    for (uint32_t i = 0; i < g->n_nodes; i++) { c.macs += rfhe_node_macs(g, &g->nodes[i]); }
    for (uint32_t i = 0; i < g->n_values; i++) {
        const rfhe_tensor *t = g->values[i].constant;
        if (t != NULL && t->dtype == RFHE_F32) { c.parameters += t->count; }
    }
    return c;
}
