/* MaxPool without comparisons: see rfhe_pool_mode. */
#include "method/method.h"

#include <math.h>
#include <stdio.h>

typedef struct tree {
    rfhe_graph *g;
    char name[400];
    unsigned count;
    rfhe_status st;
} tree;

static rfhe_value_id put(tree *t, rfhe_op op, const char *what, const rfhe_value_id *in, uint32_t n,
                         const rfhe_attr *attr)
{
    rfhe_value_id v = 0;
    char name[480];

    (void)snprintf(name, sizeof name, "%s/%s%u", t->name, what, t->count++);
    if (t->st == RFHE_OK) { t->st = rfhe_graph_add_node(t->g, &v, op, name, in, n, attr); }
    return v;
}

static rfhe_value_id greater(tree *t, rfhe_value_id a, rfhe_value_id b)
{
    const rfhe_value_id d = put(t, RFHE_OP_SUB, "difference", (rfhe_value_id[]){a, b}, 2, NULL);
    const rfhe_value_id r = put(t, RFHE_OP_RELU, "greater", &d, 1, NULL);

    return put(t, RFHE_OP_ADD, "max", (rfhe_value_id[]){b, r}, 2, NULL);
}

/* The largest of n values, halves first. */
static rfhe_value_id greatest(tree *t, const rfhe_value_id *v, uint32_t n)
{
    if (n == 1) { return v[0]; }
    return greater(t, greatest(t, v, n / 2), greatest(t, v + n / 2, n - n / 2));
}

/* Maximum along one axis: a slice per tap, then the tree. */
static rfhe_value_id along(tree *t, rfhe_value_id x, int64_t axis, int64_t kernel, int64_t stride,
                           int64_t dilation, int64_t out)
{
    rfhe_value_id tap[16] = {0};

    for (int64_t k = 0; k < kernel; k++) {
        rfhe_attr a = {.slice = {.n = 1}};
        a.slice.axis[0] = axis;
        a.slice.start[0] = k * dilation;
        a.slice.end[0] = k * dilation + (out - 1) * stride + 1;
        a.slice.step[0] = stride;
        tap[k] = put(t, RFHE_OP_SLICE, "tap", &x, 1, &a);
    }
    return greatest(t, tap, (uint32_t)kernel);
}

/* Whether a value cannot be negative, so that zeros around it do not win. */
static bool is_positive(const rfhe_graph *g, rfhe_value_id v)
{
    const uint32_t p = g->values[v].producer;

    return p != RFHE_NO_NODE &&
           (g->nodes[p].op == RFHE_OP_RELU || rfhe_paf_node_is(&g->nodes[p]) ||
            (g->nodes[p].op == RFHE_OP_CLIP && g->nodes[p].attr.clip.min >= 0));
}

static rfhe_status make_tree(rfhe_graph *g, uint32_t at, rfhe_error *err)
{
    const rfhe_window w = g->nodes[at].attr.window;
    const rfhe_value_id x = g->nodes[at].inputs[0], y = g->nodes[at].outputs[0];
    const rfhe_shape in = g->values[x].shape, out = g->values[y].shape;
    tree t = {.g = g};
    rfhe_attr pad = {.pad = {.mode = is_positive(g, x) ? RFHE_PAD_CONSTANT : RFHE_PAD_EDGE}};
    rfhe_value_id v = x, unread = 0;
    bool padded = false;

    (void)snprintf(t.name, sizeof t.name, "%s", g->nodes[at].name);
    for (uint32_t k = 0; k < 2; k++) {
        const int64_t need =
            (out.dim[2 + k] - 1) * w.stride[k] + (w.kernel[k] - 1) * w.dilation[k] + 1;
        const int64_t end = need - in.dim[2 + k] - w.pad_begin[k];
        if (w.kernel[k] > 16) {
            return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                             "node '%s' (MaxPool): a window of more than 16 is not compared",
                             g->nodes[at].name);
        }
        pad.pad.begin[2 + k] = w.pad_begin[k];
        pad.pad.end[2 + k] = end > 0 ? end : 0;
        padded = padded || pad.pad.begin[2 + k] > 0 || pad.pad.end[2 + k] > 0;
    }
    if (padded) { v = put(&t, RFHE_OP_PAD, "pad", &v, 1, &pad); }
    for (int64_t axis = 3; axis >= 2; axis--) {
        const size_t k = (size_t)axis - 2;
        v = along(&t, v, axis, w.kernel[k], w.stride[k], w.dilation[k], out.dim[axis]);
    }
    if (t.st == RFHE_OK) { t.st = rfhe_graph_add_value(g, &unread, NULL, RFHE_F32, &out); }
    if (t.st != RFHE_OK) { return t.st; }
    /* The last node takes over the value's name. */
    const uint32_t last = g->values[v].producer;
    g->nodes[at].outputs[0] = unread;
    g->values[unread].producer = at;
    g->nodes[last].outputs[0] = y;
    g->values[y].producer = last;
    return RFHE_OK;
}

static rfhe_status make_conv(rfhe_graph *g, uint32_t at)
{
    rfhe_node *n = &g->nodes[at];
    const rfhe_shape in = g->values[n->inputs[0]].shape;
    const rfhe_shape shape = {
        .rank = 4, .dim = {in.dim[1], 1, n->attr.window.kernel[0], n->attr.window.kernel[1]}};
    const float share = 1.0F / (float)(shape.dim[2] * shape.dim[3]);
    rfhe_tensor *w = NULL;
    rfhe_value_id v = 0, y = n->outputs[0], unread = 0;
    rfhe_attr attr = n->attr;
    char name[512];
    rfhe_status st = rfhe_tensor_new(&w, RFHE_F32, &shape);

    if (st != RFHE_OK) { return st; }
    for (size_t i = 0; i < w->count; i++) { w->f32[i] = share; }
    (void)snprintf(name, sizeof name, "%.480s.weight", n->name);
    st = rfhe_graph_add_constant(g, &v, name, w);
    if (st != RFHE_OK) {
        rfhe_tensor_free(w);
        return st;
    }
    RFHE_TRY(rfhe_graph_add_value(g, &unread, NULL, RFHE_F32, NULL));
    n = &g->nodes[at];
    n->outputs[0] = unread;
    g->values[unread].producer = at;
    attr.window.groups = in.dim[1];
    attr.window.ceil_mode = false;
    const rfhe_value_id ins[2] = {n->inputs[0], v};
    (void)snprintf(name, sizeof name, "%.480s", n->name);
    RFHE_TRY(rfhe_graph_add_node_to(g, RFHE_OP_CONV, name, ins, 2, &y, 1, &attr));

done:
    return st;
}

rfhe_status rfhe_method_pools(rfhe_graph *g, rfhe_pool_mode mode, uint32_t *count, rfhe_error *err)
{
    const uint32_t n = g->n_nodes;
    rfhe_status st = RFHE_OK;
    uint32_t found = 0;

    for (uint32_t i = 0; i < n && mode != RFHE_POOL_KEEP; i++) {
        rfhe_node *node = &g->nodes[i];
        if (node->op != RFHE_OP_MAXPOOL) { continue; }
        const rfhe_shape *x = &g->values[node->inputs[0]].shape;
        const bool indices = node->n_outputs > 1 && node->outputs[1] != RFHE_NO_VALUE;
        if (x->rank != 4 || indices || x->dim[1] < 1 || x->dim[2] < 1 || x->dim[3] < 1 ||
            (mode == RFHE_POOL_CONV && node->attr.window.ceil_mode)) {
            st = rfhe_fail(err, RFHE_E_UNSUPPORTED,
                           "node '%s' (MaxPool) is not of a kind that can be replaced", node->name);
            goto done;
        }
        found++;
        if (mode == RFHE_POOL_AVERAGE) {
            node->op = RFHE_OP_AVGPOOL;
            node->attr.window.count_include_pad = false;
        } else if (mode == RFHE_POOL_CONV) {
            RFHE_TRY(make_conv(g, i));
        } else {
            RFHE_TRY(make_tree(g, i, err));
        }
    }
    if (count != NULL) { *count = found; }
    if (found > 0) {
        RFHE_TRY(rfhe_graph_tidy(g, err));
        RFHE_TRY(rfhe_graph_infer(g, 0, err));
    }

done:
    return st;
}
