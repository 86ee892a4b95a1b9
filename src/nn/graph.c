/* See graph.h: building, searching, tidying. Shapes are in shapes.c. */
#include "nn/graph.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *rfhe_op_name(rfhe_op op)
{
    static const char *const names[RFHE_OP_COUNT] = {
#define NAME(op, onnx) onnx,
        RFHE_OP_LIST(NAME)
#undef NAME
    };
    return op < RFHE_OP_COUNT ? names[op] : "unknown";
}

rfhe_status rfhe_graph_new(rfhe_graph **out, const char *name)
{
    rfhe_graph *g = rfhe_calloc(1, sizeof *g);

    if (g == NULL) { return RFHE_E_NOMEM; }
    g->name = rfhe_strdup(name != NULL ? name : "graph");
    if (g->name == NULL) {
        rfhe_free(g);
        return RFHE_E_NOMEM;
    }
    *out = g;
    return RFHE_OK;
}

static void clear_value(rfhe_value *v)
{
    rfhe_free(v->name);
    rfhe_tensor_free(v->constant);
}

static void clear_node(rfhe_node *n)
{
    rfhe_free(n->name);
    rfhe_free(n->inputs);
    rfhe_free(n->outputs);
}

void rfhe_graph_free(rfhe_graph *g)
{
    if (g == NULL) { return; }
    for (uint32_t i = 0; i < g->n_values; i++) { clear_value(&g->values[i]); }
    for (uint32_t i = 0; i < g->n_nodes; i++) { clear_node(&g->nodes[i]); }
    for (uint32_t i = 0; i < g->n_metas; i++) {
        rfhe_free(g->metas[i].key);
        rfhe_free(g->metas[i].value);
    }
    rfhe_free(g->values);
    rfhe_free(g->nodes);
    rfhe_free(g->inputs);
    rfhe_free(g->outputs);
    rfhe_free(g->metas);
    rfhe_free(g->name);
    rfhe_free(g);
}

static rfhe_status copy_ids(rfhe_value_id **out, const rfhe_value_id *ids, uint32_t n)
{
    rfhe_value_id *copy = rfhe_alloc(n, sizeof *copy);

    if (copy == NULL) { return RFHE_E_NOMEM; }
    if (n > 0) { memcpy(copy, ids, n * sizeof *copy); }
    *out = copy;
    return RFHE_OK;
}

/* Makes room for one more element of `size` bytes; *capacity counts elements. */
static rfhe_status grow(void *array, uint32_t count, uint32_t *capacity, size_t size)
{
    void *old = NULL;

    if (count < *capacity) { return RFHE_OK; }
    memcpy(&old, array, sizeof old);
    const uint32_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *more = rfhe_realloc(old, wanted, size);
    if (more == NULL) { return RFHE_E_NOMEM; }
    memcpy(array, &more, sizeof more);
    *capacity = wanted;
    return RFHE_OK;
}

rfhe_value_id rfhe_graph_find(const rfhe_graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->n_values; i++) {
        if (strcmp(g->values[i].name, name) == 0) { return i; }
    }
    return RFHE_NO_VALUE;
}

/* A name nobody has yet, from a wish that may be NULL or taken. */
static char *free_name(const rfhe_graph *g, const char *wish)
{
    char *name = NULL;

    if (wish != NULL && wish[0] != '\0' && rfhe_graph_find(g, wish) == RFHE_NO_VALUE) {
        return rfhe_strdup(wish);
    }
    if (wish == NULL || wish[0] == '\0') { wish = "value"; }
    const size_t size = strlen(wish) + 16;
    name = rfhe_alloc(size, 1);
    for (unsigned k = 1; name != NULL; k++) {
        (void)snprintf(name, size, "%s_%u", wish, k);
        if (rfhe_graph_find(g, name) == RFHE_NO_VALUE) { break; }
    }
    return name;
}

rfhe_status rfhe_graph_add_value(rfhe_graph *g, rfhe_value_id *out, const char *name,
                                 rfhe_dtype dtype, const rfhe_shape *shape)
{
    const rfhe_status st = grow(&g->values, g->n_values, &g->cap_values, sizeof *g->values);

    if (st != RFHE_OK) { return st; }
    rfhe_value v = {.dtype = dtype, .producer = RFHE_NO_NODE, .has_shape = shape != NULL};
    if (shape != NULL) { v.shape = *shape; }
    v.name = free_name(g, name);
    if (v.name == NULL) { return RFHE_E_NOMEM; }
    *out = g->n_values;
    g->values[g->n_values++] = v;
    return RFHE_OK;
}

rfhe_status rfhe_graph_add_constant(rfhe_graph *g, rfhe_value_id *out, const char *name,
                                    rfhe_tensor *t)
{
    const rfhe_status st = rfhe_graph_add_value(g, out, name, t->dtype, &t->shape);

    if (st == RFHE_OK) { g->values[*out].constant = t; }
    return st;
}

rfhe_status rfhe_graph_add_node_to(rfhe_graph *g, rfhe_op op, const char *name,
                                   const rfhe_value_id *inputs, uint32_t n_inputs,
                                   const rfhe_value_id *outputs, uint32_t n_outputs,
                                   const rfhe_attr *attr)
{
    rfhe_status st = RFHE_OK;
    rfhe_node n = {.op = op, .n_inputs = n_inputs, .n_outputs = n_outputs};

    RFHE_TRY(grow(&g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes));
    RFHE_TRY(copy_ids(&n.inputs, inputs, n_inputs));
    RFHE_TRY(copy_ids(&n.outputs, outputs, n_outputs));
    n.name = rfhe_strdup(name != NULL && name[0] != '\0' ? name : g->values[outputs[0]].name);
    if (n.name == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    if (attr != NULL) { n.attr = *attr; }
    for (uint32_t i = 0; i < n_outputs; i++) {
        if (outputs[i] != RFHE_NO_VALUE) { g->values[outputs[i]].producer = g->n_nodes; }
    }
    g->nodes[g->n_nodes++] = n;
    n = (rfhe_node){0};

done:
    clear_node(&n);
    return st;
}

rfhe_status rfhe_graph_add_node(rfhe_graph *g, rfhe_value_id *out, rfhe_op op, const char *name,
                                const rfhe_value_id *inputs, uint32_t n_inputs,
                                const rfhe_attr *attr)
{
    const rfhe_status st = rfhe_graph_add_value(g, out, name, RFHE_F32, NULL);

    if (st != RFHE_OK) { return st; }
    return rfhe_graph_add_node_to(g, op, name, inputs, n_inputs, out, 1, attr);
}

static rfhe_status append_id(rfhe_value_id **list, uint32_t *n, rfhe_value_id v)
{
    rfhe_value_id *more = rfhe_realloc(*list, *n + 1, sizeof **list);

    if (more == NULL) { return RFHE_E_NOMEM; }
    more[(*n)++] = v;
    *list = more;
    return RFHE_OK;
}

rfhe_status rfhe_graph_add_input(rfhe_graph *g, rfhe_value_id v)
{
    return append_id(&g->inputs, &g->n_inputs, v);
}

rfhe_status rfhe_graph_add_output(rfhe_graph *g, rfhe_value_id v)
{
    return append_id(&g->outputs, &g->n_outputs, v);
}

const rfhe_tensor *rfhe_graph_constant(const rfhe_graph *g, const rfhe_node *n, uint32_t i)
{
    if (i >= n->n_inputs || n->inputs[i] == RFHE_NO_VALUE) { return NULL; }
    return g->values[n->inputs[i]].constant;
}

const char *rfhe_graph_meta(const rfhe_graph *g, const char *key)
{
    for (uint32_t i = 0; i < g->n_metas; i++) {
        if (strcmp(g->metas[i].key, key) == 0) { return g->metas[i].value; }
    }
    return NULL;
}

rfhe_status rfhe_graph_set_meta(rfhe_graph *g, const char *key, const char *value)
{
    uint32_t at = 0;

    while (at < g->n_metas && strcmp(g->metas[at].key, key) != 0) { at++; }
    if (value == NULL) {
        if (at == g->n_metas) { return RFHE_OK; }
        rfhe_free(g->metas[at].key);
        rfhe_free(g->metas[at].value);
        memmove(&g->metas[at], &g->metas[at + 1], (g->n_metas - at - 1) * sizeof *g->metas);
        g->n_metas--;
        return RFHE_OK;
    }
    char *copy = rfhe_strdup(value);
    if (copy == NULL) { return RFHE_E_NOMEM; }
    if (at < g->n_metas) {
        rfhe_free(g->metas[at].value);
        g->metas[at].value = copy;
        return RFHE_OK;
    }
    rfhe_meta *more = rfhe_realloc(g->metas, g->n_metas + 1, sizeof *more);
    if (more != NULL) { g->metas = more; }
    char *key_copy = more != NULL ? rfhe_strdup(key) : NULL;
    if (key_copy == NULL) {
        rfhe_free(copy);
        return RFHE_E_NOMEM;
    }
    g->metas[g->n_metas++] = (rfhe_meta){.key = key_copy, .value = copy};
    return RFHE_OK;
}

rfhe_status rfhe_graph_clone(rfhe_graph **out, const rfhe_graph *g)
{
    rfhe_graph *c = NULL;
    rfhe_status st = rfhe_graph_new(&c, g->name);

    if (st != RFHE_OK) { return st; }
    for (uint32_t i = 0; i < g->n_values; i++) {
        const rfhe_value *v = &g->values[i];
        rfhe_value_id id = 0;
        RFHE_TRY(rfhe_graph_add_value(c, &id, v->name, v->dtype, v->has_shape ? &v->shape : NULL));
        if (v->constant != NULL) { RFHE_TRY(rfhe_tensor_clone(&c->values[id].constant, v->constant)); }
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const rfhe_node *n = &g->nodes[i];
        RFHE_TRY(rfhe_graph_add_node_to(c, n->op, n->name, n->inputs, n->n_inputs, n->outputs,
                                        n->n_outputs, &n->attr));
    }
    for (uint32_t i = 0; i < g->n_inputs; i++) { RFHE_TRY(rfhe_graph_add_input(c, g->inputs[i])); }
    for (uint32_t i = 0; i < g->n_outputs; i++) { RFHE_TRY(rfhe_graph_add_output(c, g->outputs[i])); }
    for (uint32_t i = 0; i < g->n_metas; i++) {
        RFHE_TRY(rfhe_graph_set_meta(c, g->metas[i].key, g->metas[i].value));
    }
    *out = c;
    c = NULL;

done:
    rfhe_graph_free(c);
    return st;
}

void rfhe_graph_replace_uses(rfhe_graph *g, rfhe_value_id from, rfhe_value_id to)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t k = 0; k < g->nodes[i].n_inputs; k++) {
            if (g->nodes[i].inputs[k] == from) { g->nodes[i].inputs[k] = to; }
        }
    }
    for (uint32_t i = 0; i < g->n_outputs; i++) {
        if (g->outputs[i] == from) { g->outputs[i] = to; }
    }
}

/* Depth-first from the outputs: order[] receives the needed nodes so that producers come first. The stack is explicit
 * because a hostile file may be a chain of a million nodes. mark: 0 new, 1 open, 2 placed. */
static rfhe_status sort_nodes(const rfhe_graph *g, uint32_t *order, uint32_t *n_order, uint8_t *mark,
                              uint32_t *stack, rfhe_error *err)
{
    uint32_t top = 0;

    *n_order = 0;
    for (uint32_t o = 0; o < g->n_outputs; o++) {
        const uint32_t root = g->values[g->outputs[o]].producer;
        if (root == RFHE_NO_NODE || mark[root] == 2) { continue; }
        stack[top++] = root;
        while (top > 0) {
            const uint32_t at = stack[top - 1];
            const rfhe_node *n = &g->nodes[at];
            bool ready = true;
            mark[at] = 1;
            for (uint32_t k = 0; k < n->n_inputs && ready; k++) {
                const uint32_t p = n->inputs[k] == RFHE_NO_VALUE ? RFHE_NO_NODE
                                                                 : g->values[n->inputs[k]].producer;
                if (p == RFHE_NO_NODE || mark[p] == 2) { continue; }
                if (mark[p] == 1) {
                    return rfhe_fail(err, RFHE_E_FORMAT, "node '%s' depends on its own output",
                                     n->name);
                }
                stack[top++] = p;
                ready = false;
            }
            if (ready) {
                mark[at] = 2;
                order[(*n_order)++] = at;
                top--;
            }
        }
    }
    return RFHE_OK;
}

rfhe_status rfhe_graph_tidy(rfhe_graph *g, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t n_order = 0, n_values = 0;
    uint32_t *order = rfhe_alloc(g->n_nodes, sizeof *order);
    uint32_t *stack = rfhe_alloc(g->n_nodes, sizeof *stack);
    uint8_t *mark = rfhe_calloc(g->n_nodes, 1);
    rfhe_value_id *moved = rfhe_calloc(g->n_values, sizeof *moved); /* 1 = used, then new id + 1 */
    rfhe_node *nodes = rfhe_alloc(g->n_nodes, sizeof *nodes);

    if (order == NULL || stack == NULL || mark == NULL || moved == NULL || nodes == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to sort %u nodes", g->n_nodes);
        goto done;
    }
    RFHE_TRY(sort_nodes(g, order, &n_order, mark, stack, err));
    for (uint32_t i = 0; i < n_order; i++) { nodes[i] = g->nodes[order[i]]; }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (mark[i] != 2) { clear_node(&g->nodes[i]); }
    }
    if (n_order > 0) { memcpy(g->nodes, nodes, n_order * sizeof *nodes); }
    g->n_nodes = n_order;
    for (uint32_t i = 0; i < g->n_inputs; i++) { moved[g->inputs[i]] = 1; }
    for (uint32_t i = 0; i < g->n_outputs; i++) { moved[g->outputs[i]] = 1; }
    for (uint32_t i = 0; i < n_order; i++) {
        const rfhe_node *n = &g->nodes[i];
        for (uint32_t k = 0; k < n->n_inputs; k++) {
            if (n->inputs[k] != RFHE_NO_VALUE) { moved[n->inputs[k]] = 1; }
        }
        for (uint32_t k = 0; k < n->n_outputs; k++) {
            if (n->outputs[k] != RFHE_NO_VALUE) { moved[n->outputs[k]] = 1; }
        }
    }
    for (uint32_t v = 0; v < g->n_values; v++) {
        if (moved[v] == 0) {
            clear_value(&g->values[v]);
            continue;
        }
        moved[v] = n_values + 1;
        g->values[n_values] = g->values[v];
        g->values[n_values++].producer = RFHE_NO_NODE;
    }
    g->n_values = n_values;
    for (uint32_t i = 0; i < g->n_inputs; i++) { g->inputs[i] = moved[g->inputs[i]] - 1; }
    for (uint32_t i = 0; i < g->n_outputs; i++) { g->outputs[i] = moved[g->outputs[i]] - 1; }
    for (uint32_t i = 0; i < n_order; i++) {
        rfhe_node *n = &g->nodes[i];
        for (uint32_t k = 0; k < n->n_inputs; k++) {
            if (n->inputs[k] != RFHE_NO_VALUE) { n->inputs[k] = moved[n->inputs[k]] - 1; }
        }
        for (uint32_t k = 0; k < n->n_outputs; k++) {
            if (n->outputs[k] == RFHE_NO_VALUE) { continue; }
            n->outputs[k] = moved[n->outputs[k]] - 1;
            g->values[n->outputs[k]].producer = i;
        }
    }

done:
    rfhe_free(order);
    rfhe_free(stack);
    rfhe_free(mark);
    rfhe_free(moved);
    rfhe_free(nodes);
    return st;
}
