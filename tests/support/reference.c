/* See reference.h. Plain malloc-free code over base/mem; a failed allocation ends the test program. */
#include "reference.h"

#include "test.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

typedef struct tensor {
    const rfhe_shape *shape;
    double *v;
} tensor;

static tensor at(const reference *r, const rfhe_node *n, uint32_t i)
{
    if (i >= n->n_inputs || n->inputs[i] == RFHE_NO_VALUE) { return (tensor){NULL, NULL}; }
    return (tensor){&r->g->values[n->inputs[i]].shape, r->value[n->inputs[i]]};
}

size_t reference_count(const reference *r, rfhe_value_id v)
{
    size_t n = 0;

    assert_true(rfhe_shape_count(&r->g->values[v].shape, &n));
    return n;
}

reference reference_new(const rfhe_graph *g, bool batch_statistics)
{
    reference r = {.g = g, .batch_statistics = batch_statistics};

    r.value = rfhe_calloc(g->n_values, sizeof *r.value);
    assert_non_null(r.value);
    for (uint32_t v = 0; v < g->n_values; v++) {
        const rfhe_tensor *t = g->values[v].constant;
        r.value[v] = rfhe_calloc(reference_count(&r, v), sizeof(double));
        assert_non_null(r.value[v]);
        for (size_t i = 0; t != NULL && t->dtype == RFHE_F32 && i < t->count; i++) {
            r.value[v][i] = (double)t->f32[i];
        }
    }
    return r;
}

void reference_free(reference *r)
{
    for (uint32_t v = 0; v < r->g->n_values; v++) { rfhe_free(r->value[v]); }
    rfhe_free(r->value);
}

double *reference_value(reference *r, rfhe_value_id v)
{
    return r->value[v];
}

static size_t count(const rfhe_shape *s)
{
    size_t n = 1;

    for (uint32_t i = 0; i < s->rank; i++) { n *= (size_t)s->dim[i]; }
    return n;
}

/* Position of element `flat` of shape s, and back. */
static void unflatten(size_t flat, const rfhe_shape *s, int64_t *index)
{
    for (uint32_t i = s->rank; i-- > 0;) {
        index[i] = (int64_t)flat % s->dim[i];
        flat /= (size_t)s->dim[i];
    }
}

static size_t flatten(const int64_t *index, const rfhe_shape *s)
{
    size_t flat = 0;

    for (uint32_t i = 0; i < s->rank; i++) { flat = flat * (size_t)s->dim[i] + (size_t)index[i]; }
    return flat;
}

/* The element of `x` that broadcasts to position `index` of shape `y`. */
static double broadcast(tensor x, const rfhe_shape *y, const int64_t *index)
{
    int64_t own[RFHE_MAX_RANK] = {0};

    for (uint32_t i = 0; i < x.shape->rank; i++) {
        const int64_t k = index[i + y->rank - x.shape->rank];
        own[i] = x.shape->dim[i] == 1 ? 0 : k;
    }
    return x.v[flatten(own, x.shape)];
}

/* Taps of a window over all spatial dimensions: calls back for each tap that may lie inside. */
static bool tap(const rfhe_window *w, size_t t, const int64_t *out, const rfhe_shape *x, int64_t *in,
                bool *in_padded)
{
    bool inside = true;

    *in_padded = true;
    for (uint32_t k = w->spatial; k-- > 0;) {
        const int64_t tk = (int64_t)t % w->kernel[k];
        t /= (size_t)w->kernel[k];
        in[2 + k] = out[2 + k] * w->stride[k] - w->pad_begin[k] + tk * w->dilation[k];
        inside &= in[2 + k] >= 0 && in[2 + k] < x->dim[2 + k];
        *in_padded &= in[2 + k] < x->dim[2 + k] + w->pad_end[k];
    }
    return inside;
}

static size_t taps(const rfhe_window *w)
{
    size_t n = 1;

    for (uint32_t k = 0; k < w->spatial; k++) { n *= (size_t)w->kernel[k]; }
    return n;
}

static void conv(const rfhe_node *n, tensor y, tensor x, tensor w, tensor b)
{
    const rfhe_window *win = &n->attr.window;
    const int64_t per_group = y.shape->dim[1] / win->groups, ci = w.shape->dim[1];
    const size_t nt = taps(win);

    for (size_t i = 0; i < count(y.shape); i++) {
        int64_t out[RFHE_MAX_RANK], in[RFHE_MAX_RANK];
        bool padded = false;
        unflatten(i, y.shape, out);
        double sum = b.v != NULL ? b.v[out[1]] : 0;
        for (size_t t = 0; t < nt; t++) {
            if (!tap(win, t, out, x.shape, in, &padded)) { continue; }
            in[0] = out[0];
            for (int64_t c = 0; c < ci; c++) {
                in[1] = out[1] / per_group * ci + c;
                sum += x.v[flatten(in, x.shape)] * w.v[(size_t)(out[1] * ci + c) * nt + t];
            }
        }
        y.v[i] = sum;
    }
}

static void pool(const rfhe_node *n, tensor y, tensor x)
{
    const rfhe_window *win = &n->attr.window;

    for (size_t i = 0; i < count(y.shape); i++) {
        int64_t out[RFHE_MAX_RANK], in[RFHE_MAX_RANK];
        double sum = 0, top = -INFINITY;
        int hits = 0, places = 0;
        unflatten(i, y.shape, out);
        for (size_t t = 0; t < taps(win); t++) {
            bool padded = false;
            const bool inside = tap(win, t, out, x.shape, in, &padded);
            in[0] = out[0];
            in[1] = out[1];
            places += padded;
            if (!inside) { continue; }
            const double v = x.v[flatten(in, x.shape)];
            hits++;
            sum += v;
            top = v > top ? v : top;
        }
        y.v[i] = n->op == RFHE_OP_MAXPOOL ? top : sum / (win->count_include_pad ? places : hits);
    }
}

static void batchnorm(const reference *r, const rfhe_node *n, tensor y, tensor x)
{
    const int64_t images = x.shape->dim[0], channels = x.shape->dim[1];
    int64_t pixels = 1;

    for (uint32_t i = 2; i < x.shape->rank; i++) { pixels *= x.shape->dim[i]; }
    for (int64_t c = 0; c < channels; c++) {
        double mean = at(r, n, 3).v[c], variance = at(r, n, 4).v[c];
        const double rows = (double)(images * pixels);
        if (r->batch_statistics || n->attr.batchnorm.training) {
            mean = variance = 0;
            for (int64_t k = 0; k < images * pixels; k++) {
                mean += x.v[(k / pixels * channels + c) * pixels + k % pixels] / rows;
            }
            for (int64_t k = 0; k < images * pixels; k++) {
                const double d = x.v[(k / pixels * channels + c) * pixels + k % pixels] - mean;
                variance += d * d / rows;
            }
        }
        const double s = sqrt(variance + (double)n->attr.batchnorm.epsilon);
        for (int64_t k = 0; k < images * pixels; k++) {
            const int64_t i = (k / pixels * channels + c) * pixels + k % pixels;
            y.v[i] = at(r, n, 1).v[c] * (x.v[i] - mean) / s + at(r, n, 2).v[c];
        }
    }
}

static void gemm(const rfhe_node *n, tensor y, tensor a, tensor b, tensor c)
{
    const bool ta = n->attr.gemm.trans_a, tb = n->attr.gemm.trans_b;
    const int64_t k = a.shape->dim[ta ? 0 : 1];

    for (int64_t i = 0; i < y.shape->dim[0]; i++) {
        for (int64_t j = 0; j < y.shape->dim[1]; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) {
                sum += a.v[ta ? l * a.shape->dim[1] + i : i * a.shape->dim[1] + l] *
                       b.v[tb ? j * b.shape->dim[1] + l : l * b.shape->dim[1] + j];
            }
            sum *= (double)n->attr.gemm.alpha;
            if (c.v != NULL) {
                sum += (double)n->attr.gemm.beta * broadcast(c, y.shape, (int64_t[]){i, j});
            }
            y.v[i * y.shape->dim[1] + j] = sum;
        }
    }
}

static void matmul(tensor y, tensor a, tensor b)
{
    const uint32_t ra = a.shape->rank, rb = b.shape->rank;
    const int64_t k = a.shape->dim[ra - 1];

    for (size_t i = 0; i < count(y.shape); i++) {
        int64_t out[RFHE_MAX_RANK] = {0}, ia[RFHE_MAX_RANK] = {0}, ib[RFHE_MAX_RANK] = {0};
        double sum = 0;
        unflatten(i, y.shape, out);
        const uint32_t batch = y.shape->rank - (ra > 1) - (rb > 1);
        for (uint32_t d = 0; d + 2 < ra; d++) {
            ia[d] = a.shape->dim[d] == 1 ? 0 : out[batch - (ra - 2) + d];
        }
        for (uint32_t d = 0; d + 2 < rb; d++) {
            ib[d] = b.shape->dim[d] == 1 ? 0 : out[batch - (rb - 2) + d];
        }
        if (ra > 1) { ia[ra - 2] = out[batch]; }
        if (rb > 1) { ib[rb - 1] = out[y.shape->rank - 1]; }
        for (int64_t l = 0; l < k; l++) {
            ia[ra - 1] = l;
            ib[rb > 1 ? rb - 2 : 0] = l;
            sum += a.v[flatten(ia, a.shape)] * b.v[flatten(ib, b.shape)];
        }
        y.v[i] = sum;
    }
}

static void elementwise(const rfhe_node *n, tensor y, tensor a, tensor b)
{
    for (size_t i = 0; i < count(y.shape); i++) {
        int64_t out[RFHE_MAX_RANK];
        unflatten(i, y.shape, out);
        const double p = broadcast(a, y.shape, out), q = broadcast(b, y.shape, out);
        y.v[i] = n->op == RFHE_OP_ADD ? p + q : n->op == RFHE_OP_SUB ? p - q : p * q;
    }
}

static void mean(const rfhe_node *n, tensor y, tensor x)
{
    const double factor = (double)count(y.shape) / (double)count(x.shape);
    const bool is_global = n->op == RFHE_OP_GLOBALAVGPOOL;

    memset(y.v, 0, count(y.shape) * sizeof *y.v);
    for (size_t i = 0; i < count(x.shape); i++) {
        int64_t in[RFHE_MAX_RANK], out[RFHE_MAX_RANK];
        uint32_t rank = 0;
        unflatten(i, x.shape, in);
        for (uint32_t d = 0; d < x.shape->rank; d++) {
            bool gone = is_global ? d >= 2 : n->attr.reduce.n == 0;
            for (uint32_t k = 0; !is_global && k < n->attr.reduce.n; k++) {
                gone |= n->attr.reduce.axis[k] == (int64_t)d;
            }
            if (!gone) {
                out[rank++] = in[d];
            } else if (is_global || n->attr.reduce.keep_dims) {
                out[rank++] = 0;
            }
        }
        y.v[flatten(out, y.shape)] += x.v[i] * factor;
    }
}

static void slice(const rfhe_node *n, tensor y, tensor x)
{
    for (size_t i = 0; i < count(y.shape); i++) {
        int64_t at_x[RFHE_MAX_RANK];
        unflatten(i, y.shape, at_x);
        for (uint32_t k = 0; k < n->attr.slice.n; k++) {
            int64_t *p = &at_x[n->attr.slice.axis[k]];
            *p = n->attr.slice.start[k] + *p * n->attr.slice.step[k];
        }
        y.v[i] = x.v[flatten(at_x, x.shape)];
    }
}

static void pad(const rfhe_node *n, tensor y, tensor x)
{
    for (size_t i = 0; i < count(y.shape); i++) {
        int64_t p[RFHE_MAX_RANK];
        bool inside = true;
        unflatten(i, y.shape, p);
        for (uint32_t d = 0; d < y.shape->rank; d++) {
            const int64_t size = x.shape->dim[d];
            p[d] -= n->attr.pad.begin[d];
            if (n->attr.pad.mode == RFHE_PAD_REFLECT) {
                p[d] = p[d] < 0 ? -p[d] : p[d] >= size ? 2 * size - 2 - p[d] : p[d];
            } else if (n->attr.pad.mode == RFHE_PAD_EDGE) {
                p[d] = p[d] < 0 ? 0 : p[d] >= size ? size - 1 : p[d];
            }
            inside &= p[d] >= 0 && p[d] < size;
        }
        y.v[i] = inside ? x.v[flatten(p, x.shape)] : (double)n->attr.pad.value;
    }
}

static void concat(const reference *r, const rfhe_node *n, tensor y)
{
    int64_t start = 0;

    for (uint32_t k = 0; k < n->n_inputs; k++) {
        const tensor x = at(r, n, k);
        for (size_t i = 0; i < count(x.shape); i++) {
            int64_t p[RFHE_MAX_RANK];
            unflatten(i, x.shape, p);
            p[n->attr.concat.axis] += start;
            y.v[flatten(p, y.shape)] = x.v[i];
        }
        start += x.shape->dim[n->attr.concat.axis];
    }
}

static void softmax(const rfhe_node *n, tensor y, tensor x)
{
    const uint32_t axis = (uint32_t)n->attr.softmax.axis;

    for (size_t i = 0; i < count(y.shape); i++) {
        int64_t a[RFHE_MAX_RANK], b[RFHE_MAX_RANK];
        double sum = 0;
        unflatten(i, x.shape, a);
        for (size_t j = 0; j < count(x.shape); j++) {
            bool same = true;
            unflatten(j, x.shape, b);
            for (uint32_t d = 0; d < x.shape->rank; d++) {
                const bool free = d == axis || (n->attr.softmax.flattened && d > axis);
                same &= free || a[d] == b[d];
            }
            if (same) { sum += exp(x.v[j] - x.v[i]); }
        }
        y.v[i] = 1 / sum;
    }
}

static void run_node(const reference *r, const rfhe_node *n)
{
    const tensor x = at(r, n, 0), b = at(r, n, 1), c = at(r, n, 2);
    const tensor y = {&r->g->values[n->outputs[0]].shape, r->value[n->outputs[0]]};

    switch (n->op) {
    case RFHE_OP_CONV: conv(n, y, x, b, c); return;
    case RFHE_OP_BATCHNORM: batchnorm(r, n, y, x); return;
    case RFHE_OP_GEMM: gemm(n, y, x, b, c); return;
    case RFHE_OP_MATMUL: matmul(y, x, b); return;
    case RFHE_OP_MAXPOOL:
    case RFHE_OP_AVGPOOL: pool(n, y, x); return;
    case RFHE_OP_GLOBALAVGPOOL:
    case RFHE_OP_REDUCEMEAN: mean(n, y, x); return;
    case RFHE_OP_ADD:
    case RFHE_OP_SUB:
    case RFHE_OP_MUL: elementwise(n, y, x, b); return;
    case RFHE_OP_SLICE: slice(n, y, x); return;
    case RFHE_OP_CONCAT: concat(r, n, y); return;
    case RFHE_OP_PAD: pad(n, y, x); return;
    case RFHE_OP_SOFTMAX: softmax(n, y, x); return;
    case RFHE_OP_RELU:
        for (size_t i = 0; i < count(y.shape); i++) { y.v[i] = x.v[i] > 0 ? x.v[i] : 0; }
        return;
    case RFHE_OP_CLIP:
        for (size_t i = 0; i < count(y.shape); i++) {
            y.v[i] = fmin(fmax(x.v[i], (double)n->attr.clip.min), (double)n->attr.clip.max);
        }
        return;
    case RFHE_OP_FLATTEN:
    case RFHE_OP_RESHAPE:
    case RFHE_OP_IDENTITY:
    case RFHE_OP_DROPOUT: memcpy(y.v, x.v, count(y.shape) * sizeof *y.v); return;
    default: fail_msg("the reference does not know operator %s", rfhe_op_name(n->op));
    }
}

void reference_run(reference *r)
{
    for (uint32_t i = 0; i < r->g->n_nodes; i++) { run_node(r, &r->g->nodes[i]); }
}
