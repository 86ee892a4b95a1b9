/* Activations that became lines: the convolutions around them are one convolution. See method.h. */
#include "method/method.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Nodes of the graph; norm is RFHE_NO_NODE where there is none. */
typedef struct chain {
    uint32_t first, norm, line, second;
} chain;

/* --- Finding --- */

/* The node that reads value v, RFHE_NO_NODE unless it is the only one and reads it once. */
static uint32_t sole_reader(const rfhe_graph *g, rfhe_value_id v)
{
    uint32_t reader = RFHE_NO_NODE;

    for (uint32_t k = 0; k < g->n_outputs; k++) {
        if (g->outputs[k] == v) { return RFHE_NO_NODE; }
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t k = 0; k < g->nodes[i].n_inputs; k++) {
            if (g->nodes[i].inputs[k] != v) { continue; }
            if (reader != RFHE_NO_NODE) { return RFHE_NO_NODE; }
            reader = i;
        }
    }
    return reader;
}

static bool is_plain_conv(const rfhe_graph *g, const rfhe_node *n)
{
    const bool has_bias = n->n_inputs > 2 && n->inputs[2] != RFHE_NO_VALUE;

    return n->op == RFHE_OP_CONV && n->attr.window.spatial == 2 && n->attr.window.groups == 1 &&
           n->attr.window.auto_pad == RFHE_PAD_EXPLICIT && rfhe_graph_constant(g, n, 1) != NULL &&
           (!has_bias || rfhe_graph_constant(g, n, 2) != NULL);
}

static bool is_plain_norm(const rfhe_graph *g, const rfhe_node *n)
{
    if (n->op != RFHE_OP_BATCHNORM || n->attr.batchnorm.training) { return false; }
    for (uint32_t k = 1; k <= 4; k++) {
        if (rfhe_graph_constant(g, n, k) == NULL) { return false; }
    }
    return true;
}

static bool find_chain(chain *out, const rfhe_graph *g, uint32_t activation)
{
    const rfhe_node *act = &g->nodes[activation];
    chain c = {.norm = RFHE_NO_NODE, .line = activation};

    c.first = g->values[act->inputs[0]].producer;
    if (c.first == RFHE_NO_NODE || sole_reader(g, act->inputs[0]) != activation) { return false; }
    if (g->nodes[c.first].op == RFHE_OP_BATCHNORM) {
        const rfhe_node *norm = &g->nodes[c.first];
        c.norm = c.first;
        c.first = g->values[norm->inputs[0]].producer;
        if (c.first == RFHE_NO_NODE || !is_plain_norm(g, norm) ||
            sole_reader(g, norm->inputs[0]) != c.norm) {
            return false;
        }
    }
    c.second = sole_reader(g, act->outputs[0]);
    if (c.second == RFHE_NO_NODE || !is_plain_conv(g, &g->nodes[c.first]) ||
        !is_plain_conv(g, &g->nodes[c.second])) {
        return false;
    }
    *out = c;
    return g->nodes[c.second].inputs[0] == act->outputs[0];
}

bool rfhe_method_can_merge(const rfhe_graph *g, const char *activation)
{
    chain c;

    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (rfhe_method_is_activation(&g->nodes[i]) && strcmp(g->nodes[i].name, activation) == 0) {
            return find_chain(&c, g, i);
        }
    }
    return false;
}

/* --- Merging --- */

/* What happens to channel c of the first convolution's sums on their way to the second: gain[c] x + shift[c], its bias
 * included. */
static rfhe_status between(double *gain, double *shift, const rfhe_graph *g, const chain *c,
                           size_t channels, rfhe_error *err)
{
    const rfhe_tensor *bias = rfhe_graph_constant(g, &g->nodes[c->first], 2);
    const rfhe_node *line = &g->nodes[c->line];
    rfhe_status st = RFHE_OK;
    rfhe_paf *p = NULL;
    double *scale = NULL;
    size_t sets = 0;

    RFHE_TRY(rfhe_paf_node_get(g, line, NULL, NULL, &sets, err));
    p = rfhe_calloc(sets, sizeof *p);
    scale = rfhe_alloc(sets, sizeof *scale);
    if (p == NULL || scale == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu lines", sets);
        goto done;
    }
    RFHE_TRY(rfhe_paf_node_get(g, line, p, scale, &sets, err));
    for (size_t m = 0; m < channels; m++) {
        const size_t set = sets == 1 ? 0 : m;
        gain[m] = 1;
        shift[m] = bias != NULL ? (double)bias->f32[m] : 0;
        if (c->norm != RFHE_NO_NODE) {
            const rfhe_node *norm = &g->nodes[c->norm];
            const float *s[4];
            for (uint32_t k = 0; k < 4; k++) { s[k] = rfhe_graph_constant(g, norm, k + 1)->f32; }
            gain[m] =
                (double)s[0][m] / sqrt((double)s[3][m] + (double)norm->attr.batchnorm.epsilon);
            shift[m] = (shift[m] - (double)s[2][m]) * gain[m] + (double)s[1][m];
        }
        gain[m] *= p[set].coef[0][1];
        shift[m] = shift[m] * p[set].coef[0][1] + scale[set] * p[set].coef[0][0];
    }

done:
    rfhe_free(p);
    rfhe_free(scale);
    return st;
}

static rfhe_window compose_windows(const rfhe_window *a, const rfhe_window *b)
{
    rfhe_window w = *b;

    for (uint32_t k = 0; k < w.spatial; k++) {
        w.kernel[k] = (a->kernel[k] - 1) * a->dilation[k] +
                      (b->kernel[k] - 1) * b->dilation[k] * a->stride[k] + 1;
        w.stride[k] = a->stride[k] * b->stride[k];
        w.dilation[k] = 1;
        w.pad_begin[k] = a->pad_begin[k] + b->pad_begin[k] * a->stride[k];
        w.pad_end[k] = a->pad_end[k] + b->pad_end[k] * a->stride[k];
    }
    return w;
}

/* One output channel: to[in][taps] += sum over m and the taps of both of w2 gain[m] w1. Returns its bias, without that
 * of the second convolution. */
static double compose_channel(double *to, const rfhe_window *w, const rfhe_window *a,
                              const rfhe_tensor *w1, const rfhe_window *b, const float *w2,
                              const double *gain, const double *shift)
{
    const int64_t middle = w1->shape.dim[0], in = w1->shape.dim[1];
    double bias = 0;

    for (int64_t m = 0; m < middle; m++) {
        for (int64_t i2 = 0; i2 < b->kernel[0]; i2++) {
            for (int64_t j2 = 0; j2 < b->kernel[1]; j2++) {
                const double factor = (double)*w2++;
                const int64_t y0 = i2 * b->dilation[0] * a->stride[0];
                const int64_t x0 = j2 * b->dilation[1] * a->stride[1];
                const float *v = w1->f32 + m * in * a->kernel[0] * a->kernel[1];
                bias += factor * shift[m];
                for (int64_t c = 0; c < in; c++) {
                    for (int64_t i = 0; i < a->kernel[0]; i++) {
                        const int64_t y = y0 + i * a->dilation[0];
                        double *row = to + (c * w->kernel[0] + y) * w->kernel[1] + x0;
                        for (int64_t j = 0; j < a->kernel[1]; j++) {
                            row[j * a->dilation[1]] += factor * gain[m] * (double)*v++;
                        }
                    }
                }
            }
        }
    }
    return bias;
}

static rfhe_status add_floats(rfhe_value_id *out, rfhe_graph *g, const char *node, const char *what,
                              const rfhe_shape *shape, const double *values)
{
    char name[512];
    rfhe_tensor *t = NULL;
    rfhe_status st = rfhe_tensor_new(&t, RFHE_F32, shape);

    if (st != RFHE_OK) { return st; }
    for (size_t i = 0; i < t->count; i++) { t->f32[i] = (float)values[i]; }
    (void)snprintf(name, sizeof name, "%.400s.merged.%s", node, what);
    st = rfhe_graph_add_constant(g, out, name, t);
    if (st != RFHE_OK) { rfhe_tensor_free(t); }
    return st;
}

static rfhe_status merge_one(rfhe_graph *g, const chain *c, rfhe_error *err)
{
    rfhe_node *first = &g->nodes[c->first], *second = &g->nodes[c->second];
    const rfhe_window a = first->attr.window, b = second->attr.window;
    const rfhe_window w = compose_windows(&a, &b);
    const rfhe_tensor *w1 = rfhe_graph_constant(g, first, 1), *w2 = rfhe_graph_constant(g, second, 1);
    const rfhe_tensor *b2 = rfhe_graph_constant(g, second, 2);
    const size_t out = (size_t)w2->shape.dim[0], middle = (size_t)w1->shape.dim[0];
    const size_t per_out2 = middle * (size_t)(b.kernel[0] * b.kernel[1]);
    const size_t per_out = (size_t)w1->shape.dim[1] * (size_t)(w.kernel[0] * w.kernel[1]);
    const rfhe_shape shape = {.rank = 4,
                              .dim = {(int64_t)out, w1->shape.dim[1], w.kernel[0], w.kernel[1]}};
    const rfhe_shape bias_shape = {.rank = 1, .dim = {(int64_t)out}};
    rfhe_value_id in[3] = {first->inputs[0]}, *inputs = rfhe_alloc(3, sizeof *inputs);
    double *between_them = rfhe_alloc(2 * middle, sizeof *between_them);
    double *weights = rfhe_calloc(out * per_out, sizeof *weights);
    double *bias = rfhe_alloc(out, sizeof *bias);
    char name[512];
    rfhe_status st = RFHE_OK;

    if (inputs == NULL || between_them == NULL || weights == NULL || bias == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to merge '%s' and '%s'", first->name,
                       second->name);
        goto done;
    }
    RFHE_TRY(between(between_them, between_them + middle, g, c, middle, err));
#pragma omp parallel for schedule(static)
    for (size_t o = 0; o < out; o++) {
        bias[o] = compose_channel(weights + o * per_out, &w, &a, w1, &b, w2->f32 + o * per_out2,
                                  between_them, between_them + middle);
        bias[o] += b2 != NULL ? (double)b2->f32[o] : 0;
    }
    (void)snprintf(name, sizeof name, "%s", second->name);
    RFHE_TRY(add_floats(&in[1], g, name, "weight", &shape, weights));
    RFHE_TRY(add_floats(&in[2], g, name, "bias", &bias_shape, bias));
    memcpy(inputs, in, sizeof in);
    second = &g->nodes[c->second];
    rfhe_free(second->inputs);
    second->inputs = inputs;
    second->n_inputs = 3;
    second->attr.window = w;
    inputs = NULL;

done:
    rfhe_free(inputs);
    rfhe_free(between_them);
    rfhe_free(weights);
    rfhe_free(bias);
    return st;
}

rfhe_status rfhe_method_merge(rfhe_graph *g, rfhe_replace_report *report, uint32_t *count,
                              rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t n = 0;

    /* In the order of the network: what is left over of a merged chain reads only values from before it. */
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        chain c;
        if (!rfhe_paf_node_is_line(&g->nodes[i]) || !find_chain(&c, g, i)) { continue; }
        RFHE_TRY(merge_one(g, &c, err));
        n++;
        for (size_t k = 0; report != NULL && k < report->n; k++) {
            if (strcmp(report->row[k].node, g->nodes[i].name) == 0) { report->row[k].merged = true; }
        }
    }
    if (n > 0) {
        RFHE_TRY(rfhe_graph_tidy(g, err));
        RFHE_TRY(rfhe_graph_infer(g, 0, err));
    }
    if (count != NULL) { *count = n; }

done:
    return st;
}
