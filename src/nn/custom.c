/* See custom.h. */
#include "nn/custom.h"

bool rfhe_graph_has_custom(const rfhe_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op == RFHE_OP_CUSTOM) { return true; }
    }
    return false;
}

rfhe_status rfhe_graph_expand(rfhe_graph *g, rfhe_error *err)
{
    rfhe_status st = rfhe_graph_infer(g, 0, err);
    const uint32_t n = g->n_nodes;

    for (uint32_t i = 0; i < n && st == RFHE_OK; i++) {
        if (g->nodes[i].op == RFHE_OP_CUSTOM) {
            st = g->nodes[i].attr.custom.op->expand(g, i, err);
        }
    }
    return st == RFHE_OK ? rfhe_graph_tidy(g, err) : st;
}
