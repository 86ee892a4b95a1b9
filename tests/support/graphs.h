/* Comparing graphs, for round trips. */
#ifndef RFHE_TEST_GRAPHS_H
#define RFHE_TEST_GRAPHS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "nn/graph.h"

/* Whether two graphs are the same network: nodes in the same order with the same names, attributes and value names;
 * equal inputs, outputs, constants (bit for bit) and metadata. Numbers of values and shapes of computed values, which
 * inference fills in, do not count. *what, if not NULL, receives the first difference. */
static inline bool graphs_are_equal(const rfhe_graph *a, const rfhe_graph *b, const char **what)
{
#define DIFFERS(condition, name)                                                                   \
    do {                                                                                           \
        if (condition) {                                                                           \
            if (what != NULL) { *what = (name); }                                                  \
            return false;                                                                          \
        }                                                                                          \
    } while (0)
    DIFFERS(strcmp(a->name, b->name) != 0, "graph name");
    DIFFERS(a->n_nodes != b->n_nodes, "number of nodes");
    DIFFERS(a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs,
            "number of inputs or outputs");
    DIFFERS(a->n_metas != b->n_metas, "number of metadata entries");
    DIFFERS(a->n_values != b->n_values, "number of values");
    for (uint32_t i = 0; i < a->n_nodes; i++) {
        const rfhe_node *x = &a->nodes[i], *y = &b->nodes[i];
        DIFFERS(x->op != y->op || strcmp(x->name, y->name) != 0, x->name);
        DIFFERS(x->n_inputs != y->n_inputs || x->n_outputs != y->n_outputs, x->name);
        DIFFERS(memcmp(&x->attr, &y->attr, sizeof x->attr) != 0, x->name);
        for (uint32_t k = 0; k < x->n_inputs + x->n_outputs; k++) {
            const bool is_in = k < x->n_inputs;
            const rfhe_value_id u = is_in ? x->inputs[k] : x->outputs[k - x->n_inputs];
            const rfhe_value_id v = is_in ? y->inputs[k] : y->outputs[k - y->n_inputs];
            DIFFERS((u == RFHE_NO_VALUE) != (v == RFHE_NO_VALUE), x->name);
            DIFFERS(u != RFHE_NO_VALUE && strcmp(a->values[u].name, b->values[v].name) != 0,
                    a->values[u].name);
        }
    }
    for (uint32_t i = 0; i < a->n_inputs; i++) {
        const rfhe_value *x = &a->values[a->inputs[i]], *y = &b->values[b->inputs[i]];
        DIFFERS(strcmp(x->name, y->name) != 0 || !rfhe_shape_equal(&x->shape, &y->shape), x->name);
    }
    for (uint32_t i = 0; i < a->n_outputs; i++) {
        DIFFERS(strcmp(a->values[a->outputs[i]].name, b->values[b->outputs[i]].name) != 0,
                "output");
    }
    for (uint32_t i = 0; i < a->n_values; i++) {
        const rfhe_value *x = &a->values[i];
        const rfhe_value_id id = rfhe_graph_find(b, x->name);
        DIFFERS(id == RFHE_NO_VALUE, x->name);
        const rfhe_tensor *s = x->constant, *t = b->values[id].constant;
        DIFFERS((s == NULL) != (t == NULL), x->name);
        if (s == NULL) { continue; }
        DIFFERS(s->dtype != t->dtype || !rfhe_shape_equal(&s->shape, &t->shape), x->name);
        DIFFERS(s->count > 0 && memcmp(s->data, t->data, s->count * rfhe_dtype_size(s->dtype)) != 0,
                x->name);
    }
    for (uint32_t i = 0; i < a->n_metas; i++) {
        DIFFERS(strcmp(a->metas[i].key, b->metas[i].key) != 0 ||
                    strcmp(a->metas[i].value, b->metas[i].value) != 0,
                a->metas[i].key);
    }
    return true;
#undef DIFFERS
}

/* Whether writing keeps the graph as it is: all but the Softmax of before opset 13, which becomes three nodes. */
static inline bool graph_is_writable_as_is(const rfhe_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op == RFHE_OP_SOFTMAX && g->nodes[i].attr.softmax.flattened) {
            return false;
        }
    }
    return true;
}

#endif
