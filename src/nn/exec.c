/* Compiles a graph into steps, plans the memory, runs. See exec.h for what it offers and exec_internal.h for the words.
 *
 * Compiling, in order:
 *   1. copy the graph, tidy it, infer shapes with the batch;
 *   2. fuse: BatchNormalization [+ Add] [+ Relu] becomes one step where nobody looks at the values between;
 *   3. emit steps and slots, with a reorder step wherever two operators disagree on order or element type;
 *   4. prepare every step: primitives, what backward needs, scratch;
 *   5. give every slot a storage, with views and in-place operators sharing one;
 *   6. walk backwards and decide for each gradient where it is written: a fresh buffer, on top of the gradient that it
 *      is made from, added to an earlier contribution, or left as a second summand for a step that takes two;
 *   7. overlay storages that never live at the same time in one arena. */
#include "nn/exec_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "nn/nd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, MAX_STEPS = 20000 };

typedef struct compile {
    rfhe_exec *e;
    rfhe_graph *g;
    rfhe_error *err;
    uint32_t *slot_of;  /* graph value -> slot as produced           */
    uint32_t *uses;     /* graph value -> uses by nodes and outputs  */
    uint32_t *consumer; /* graph value -> the last node that uses it */
    uint32_t *fused_at; /* node -> node whose BN is emitted here     */
    bool *is_kept;      /* graph value -> named in options.keep      */
    bool *is_swallowed; /* node is part of a fused step              */
    uint32_t *other;    /* slot -> its reordered twin                */
    uint32_t cap_other;
} compile;

const rfhe_impl *rfhe_impl_of(rfhe_op op)
{
    static const rfhe_impl *const table[RFHE_OP_COUNT] = {
#define ENTRY(op, onnx) &rfhe_impl_##op,
        RFHE_OP_LIST(ENTRY)
#undef ENTRY
    };
    return table[op];
}

rfhe_status rfhe_step_refuse(const rfhe_step *s, rfhe_status code, const char *what, rfhe_error *err)
{
    return rfhe_fail(err, code, "node '%s' (%s): %s", s->name, rfhe_op_name(s->op), what);
}

void rfhe_need_scratch(rfhe_exec *e, size_t bytes)
{
    if (bytes > e->scratch_bytes) { e->scratch_bytes = bytes; }
}

void rfhe_slot_layout(rfhe_slot *s)
{
    const uint32_t r = s->shape.rank;
    int64_t step = 1;

    if (s->last && r >= 3) {
        s->stride[1] = 1;
        step = s->shape.dim[1];
        for (uint32_t i = r; i-- > 2;) {
            s->stride[i] = step;
            step *= s->shape.dim[i];
        }
        s->stride[0] = step;
        step *= s->shape.dim[0];
    } else {
        for (uint32_t i = r; i-- > 0;) {
            s->stride[i] = step;
            step *= s->shape.dim[i];
        }
    }
    s->count = (size_t)step;
}

bool rfhe_orders_coincide(const rfhe_shape *s)
{
    int64_t pixels = 1;

    for (uint32_t i = 2; i < s->rank; i++) { pixels *= s->dim[i]; }
    return s->rank < 3 || pixels == 1 || s->dim[1] == 1;
}

/* Grows an array of the executor by one zeroed element, whose index is *at. */
static rfhe_status append(void *array, uint32_t *n, uint32_t *cap, size_t size, uint32_t *at)
{
    unsigned char *old = NULL;

    memcpy(&old, array, sizeof old);
    if (*n == *cap) {
        const uint32_t wanted = *cap == 0 ? 64 : *cap * 2;
        unsigned char *more = rfhe_realloc(old, wanted, size);
        if (more == NULL) { return RFHE_E_NOMEM; }
        memcpy(array, &more, sizeof more);
        *cap = wanted;
        old = more;
    }
    memset(old + (size_t)*n * size, 0, size);
    *at = (*n)++;
    return RFHE_OK;
}

static rfhe_status new_slot(compile *c, uint32_t *at, const char *name, const rfhe_shape *shape,
                            bool last, bool bf16)
{
    rfhe_exec *e = c->e;
    rfhe_status st = append(&e->slots, &e->n_slots, &e->cap_slots, sizeof *e->slots, at);

    if (st != RFHE_OK) { return st; }
    if (e->n_slots > c->cap_other) {
        uint32_t *more = rfhe_realloc(c->other, e->cap_slots, sizeof *more);
        if (more == NULL) { return RFHE_E_NOMEM; }
        c->other = more;
        c->cap_other = e->cap_slots;
    }
    c->other[*at] = UINT32_MAX;
    rfhe_slot *s = &e->slots[*at];
    s->name = name;
    s->shape = *shape;
    s->last = last && shape->rank >= 3;
    s->bf16 = bf16;
    s->producer = UINT32_MAX;
    s->root = *at;
    s->storage = s->grad_storage = s->grad2_storage = RFHE_NO_STORAGE;
    rfhe_slot_layout(s);
    return RFHE_OK;
}

static rfhe_status new_step(compile *c, uint32_t *at, const rfhe_impl *impl, rfhe_op op,
                            const char *name, uint32_t n_in, uint32_t n_out)
{
    rfhe_exec *e = c->e;
    rfhe_status st = append(&e->steps, &e->n_steps, &e->cap_steps, sizeof *e->steps, at);

    if (st != RFHE_OK) { return st; }
    rfhe_step *s = &e->steps[*at];
    s->impl = impl;
    s->op = op;
    s->name = name;
    s->n_in = n_in;
    s->n_out = n_out;
    s->workspace_storage = RFHE_NO_STORAGE;
    s->in = rfhe_calloc(n_in, sizeof *s->in);
    s->out = rfhe_calloc(n_out, sizeof *s->out);
    s->dx = rfhe_calloc(n_in, sizeof *s->dx);
    s->dx_add = rfhe_calloc(n_in, sizeof *s->dx_add);
    s->dx_post = rfhe_calloc(n_in, sizeof *s->dx_post);
    s->dx_storage = rfhe_calloc(n_in, sizeof *s->dx_storage);
    if (s->in == NULL || s->out == NULL || s->dx == NULL || s->dx_add == NULL ||
        s->dx_post == NULL || s->dx_storage == NULL) {
        return RFHE_E_NOMEM;
    }
    for (uint32_t i = 0; i < n_in; i++) { s->dx_storage[i] = RFHE_NO_STORAGE; }
    if (e->n_steps > MAX_STEPS) {
        return rfhe_fail(c->err, RFHE_E_UNSUPPORTED, "networks of more than %d operators are not run",
                         MAX_STEPS);
    }
    return RFHE_OK;
}

/* The slot of value `slot` in another order or element type, through a reorder step if need be. */
static rfhe_status as_form(compile *c, uint32_t *out, uint32_t slot, bool last, bool bf16)
{
    const rfhe_slot *have = &c->e->slots[slot];
    rfhe_status st = RFHE_OK;
    uint32_t step = 0, twin = 0;

    if (have->bf16 == bf16 && (have->last == last || rfhe_orders_coincide(&have->shape))) {
        *out = slot;
        return RFHE_OK;
    }
    twin = c->other[slot];
    if (twin != UINT32_MAX && c->e->slots[twin].bf16 == bf16 && c->e->slots[twin].last == last) {
        *out = twin;
        return RFHE_OK;
    }
    const char *name = have->name;
    const rfhe_shape shape = have->shape;
    RFHE_TRY(new_slot(c, &twin, name, &shape, last, bf16));
    RFHE_TRY(new_step(c, &step, &rfhe_impl_reorder, RFHE_OP_IDENTITY, name, 1, 1));
    c->e->steps[step].is_reorder = true;
    c->e->steps[step].in[0] = slot;
    c->e->steps[step].out[0] = twin;
    c->e->slots[twin].producer = step;
    c->other[slot] = twin;
    *out = twin;

done:
    return st;
}

static rfhe_param_kind kind_of(rfhe_op op, uint32_t input)
{
    static const rfhe_param_kind bn[5] = {RFHE_PARAM_OTHER, RFHE_PARAM_BN_SCALE,
                                          RFHE_PARAM_BN_SHIFT, RFHE_PARAM_BN_MEAN,
                                          RFHE_PARAM_BN_VARIANCE};

    if (op == RFHE_OP_BATCHNORM && input < 5) { return bn[input]; }
    if (op == RFHE_OP_CONV || op == RFHE_OP_GEMM || op == RFHE_OP_MATMUL) {
        return input == 2 ? RFHE_PARAM_BIAS : RFHE_PARAM_WEIGHT;
    }
    if (op == RFHE_OP_CUSTOM) { return input == 1 ? RFHE_PARAM_PAF : RFHE_PARAM_FIXED; }
    return RFHE_PARAM_OTHER;
}

static bool is_trained(rfhe_param_kind k)
{
    return k != RFHE_PARAM_BN_MEAN && k != RFHE_PARAM_BN_VARIANCE && k != RFHE_PARAM_FIXED;
}

/* The slot of a graph value that node `n` reads as input `i`; constants become parameters on first sight. */
static rfhe_status slot_for(compile *c, uint32_t *out, const rfhe_node *n, uint32_t i)
{
    rfhe_exec *e = c->e;
    const rfhe_value_id v = n->inputs[i];
    const rfhe_value *value = &c->g->values[v];
    rfhe_status st = RFHE_OK;
    uint32_t at = 0;

    if (c->slot_of[v] != UINT32_MAX) {
        *out = c->slot_of[v];
        return RFHE_OK;
    }
    if (value->constant == NULL) {
        return rfhe_fail(c->err, RFHE_E_FORMAT, "node '%s' (%s) reads '%s', which nothing produces",
                         n->name, rfhe_op_name(n->op), value->name);
    }
    if (value->constant->dtype != RFHE_F32) {
        return rfhe_fail(c->err, RFHE_E_UNSUPPORTED,
                         "node '%s' (%s) computes with the integer tensor '%s'", n->name,
                         rfhe_op_name(n->op), value->name);
    }
    RFHE_TRY(append(&e->params, &e->n_params, &e->cap_params, sizeof *e->params, &at));
    e->params[at] = (rfhe_param){.name = value->name,
                                 .value = v,
                                 .kind = kind_of(n->op, i),
                                 .offset = e->n_values,
                                 .count = value->constant->count};
    e->n_values += (value->constant->count + 15) & ~(size_t)15; /* each starts on a cache line */
    RFHE_TRY(new_slot(c, out, value->name, &value->constant->shape, false, false));
    e->slots[*out].is_param = true;
    e->slots[*out].param = at;
    e->slots[*out].needs_grad = e->opt.training && is_trained(e->params[at].kind);
    c->slot_of[v] = *out;

done:
    return st;
}

/* ---- fusing ---- */

static bool is_private(const compile *c, rfhe_value_id v)
{
    return c->uses[v] == 1 && c->consumer[v] != UINT32_MAX && !c->is_kept[v];
}

/* Marks BN [+ Add] [+ Relu]: the step is emitted where the last of them stands, so that the residual is there. */
static void fuse_batchnorm(compile *c, uint32_t at)
{
    const rfhe_node *bn = &c->g->nodes[at];
    rfhe_value_id v = bn->outputs[0];
    uint32_t last = at;

    if (bn->n_outputs > 1 || !is_private(c, v)) { return; }
    const uint32_t add = c->consumer[v];
    const rfhe_node *n = &c->g->nodes[add];
    if (n->op == RFHE_OP_ADD && !c->is_swallowed[add] && c->fused_at[add] == UINT32_MAX &&
        c->g->values[n->inputs[0]].constant == NULL && c->g->values[n->inputs[1]].constant == NULL && /* rows, not last */
        rfhe_shape_equal(&c->g->values[n->inputs[0]].shape, &c->g->values[n->inputs[1]].shape)) {
        last = add;
        v = n->outputs[0];
        if (is_private(c, v) && c->g->nodes[c->consumer[v]].op == RFHE_OP_RELU) {
            last = c->consumer[v];
            c->is_swallowed[add] = true;
        }
    } else if (n->op == RFHE_OP_RELU) {
        last = add;
    }
    if (last != at) {
        c->is_swallowed[at] = true;
        c->fused_at[last] = at;
    }
}

static void find_fusions(compile *c)
{
    const rfhe_graph *g = c->g;

    for (uint32_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t k = 0; k < g->nodes[i].n_inputs; k++) {
            const rfhe_value_id v = g->nodes[i].inputs[k];
            if (v == RFHE_NO_VALUE) { continue; }
            c->uses[v]++;
            c->consumer[v] = i;
        }
    }
    for (uint32_t i = 0; i < g->n_outputs; i++) {
        c->uses[g->outputs[i]]++;
        c->consumer[g->outputs[i]] = UINT32_MAX;
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op == RFHE_OP_BATCHNORM) { fuse_batchnorm(c, i); }
    }
}

/* ---- emitting ---- */

/* One step for node `at`, or for the fused group that ends there. */
static rfhe_status emit(compile *c, uint32_t at)
{
    rfhe_exec *e = c->e;
    const bool is_fused = c->fused_at[at] != UINT32_MAX;
    const rfhe_node *n = &c->g->nodes[is_fused ? c->fused_at[at] : at], *end = &c->g->nodes[at];
    const bool is_idle = n->op == RFHE_OP_DROPOUT && !(e->opt.training && n->attr.dropout.ratio > 0);
    const rfhe_impl *impl = is_idle ? &rfhe_impl_IDENTITY : rfhe_impl_of(n->op);
    const bool bf16 = e->opt.compute == RFHE_COMPUTE_BF16 && !impl->float_compute;
    rfhe_value_id residual = RFHE_NO_VALUE;
    uint32_t in[64], n_in = n->n_inputs, step = 0;
    uint32_t *ids = in;
    bool last = impl->order == RFHE_ORDER_LAST;
    rfhe_status st = RFHE_OK;

    if (is_fused) {
        const rfhe_value_id v = n->outputs[0];
        const rfhe_node *add = &c->g->nodes[c->consumer[v]];
        if (add->op == RFHE_OP_ADD) {
            residual = add->inputs[0] == v ? add->inputs[1] : add->inputs[0];
            n_in = 6;
        }
    }
    if (n_in > 64) {
        return rfhe_fail(c->err, RFHE_E_UNSUPPORTED, "node '%s' (%s) has more than 64 inputs",
                         n->name, rfhe_op_name(n->op));
    }
    for (uint32_t i = 0; i < n_in; i++) {
        const rfhe_node fake = {.op = RFHE_OP_ADD, .name = n->name, .inputs = &residual};
        ids[i] = UINT32_MAX;
        if (i >= n->n_inputs) {
            RFHE_TRY(slot_for(c, &ids[i], &fake, 0));
        } else if (n->inputs[i] != RFHE_NO_VALUE) {
            RFHE_TRY(slot_for(c, &ids[i], n, i));
        }
    }
    if (impl->order == RFHE_ORDER_ANY) { /* follow the first computed input */
        for (uint32_t i = n_in; i-- > 0;) {
            if (ids[i] != UINT32_MAX && !e->slots[ids[i]].is_param &&
                (e->slots[ids[i]].shape.rank >= 3 || !last)) {
                last = e->slots[ids[i]].last;
            }
        }
    }
    for (uint32_t i = 0; i < n_in; i++) {
        if (ids[i] == UINT32_MAX || (e->slots[ids[i]].is_param && i > 0)) { continue; }
        if (e->slots[ids[i]].is_param && impl->order == RFHE_ORDER_ANY && !impl->is_view) { continue; }
        RFHE_TRY(as_form(c, &ids[i], ids[i], last && e->slots[ids[i]].shape.rank >= 3, bf16));
    }
    RFHE_TRY(new_step(c, &step, impl, n->op, n->name, n_in, n->n_outputs));
    e->steps[step].attr = n->attr;
    e->steps[step].with_residual = residual != RFHE_NO_VALUE;
    e->steps[step].with_relu = is_fused && end->op == RFHE_OP_RELU;
    memcpy(e->steps[step].in, ids, n_in * sizeof *ids);
    for (uint32_t i = 0; i < n->n_outputs; i++) {
        const rfhe_value_id v = is_fused ? end->outputs[i] : n->outputs[i];
        uint32_t slot = UINT32_MAX;
        if (v != RFHE_NO_VALUE && (i == 0 || c->uses[v] > 0)) {
            /* Statistics, the further outputs of a normalisation, are always float. */
            RFHE_TRY(new_slot(c, &slot, c->g->values[v].name, &c->g->values[v].shape, last,
                              bf16 && i == 0));
            e->slots[slot].producer = step;
            c->slot_of[v] = slot;
        }
        e->steps[step].out[i] = slot;
    }

done:
    return st;
}

static rfhe_status open_port(rfhe_port *p, const rfhe_shape *shape, bool with_grad, uint32_t slot)
{
    size_t count = 0;

    if (!rfhe_shape_count(shape, &count)) { return RFHE_E_UNSUPPORTED; }
    p->shape = *shape;
    p->slot = slot;
    p->data = rfhe_calloc(count, sizeof(float));
    if (with_grad) { p->grad = rfhe_calloc(count, sizeof(float)); }
    return p->data == NULL || (with_grad && p->grad == NULL) ? RFHE_E_NOMEM : RFHE_OK;
}

static rfhe_status emit_all(compile *c)
{
    rfhe_exec *e = c->e;
    const rfhe_graph *g = c->g;
    rfhe_status st = RFHE_OK;

    for (uint32_t i = 0; i < g->n_inputs; i++) {
        const rfhe_value *v = &g->values[g->inputs[i]];
        uint32_t slot = 0;
        if (v->dtype != RFHE_F32) {
            return rfhe_fail(c->err, RFHE_E_UNSUPPORTED, "input '%s' is not of type float", v->name);
        }
        if (v->constant != NULL) { continue; } /* an initializer that the file also lists as input */
        RFHE_TRY(new_slot(c, &slot, v->name, &v->shape, false, false));
        RFHE_TRY(open_port(&e->inputs[i], &v->shape, false, slot));
        e->slots[slot].data = e->inputs[i].data;
        c->slot_of[g->inputs[i]] = slot;
    }
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (!c->is_swallowed[i]) { RFHE_TRY(emit(c, i)); }
    }
    for (uint32_t i = 0; i < g->n_outputs; i++) {
        rfhe_value_id v = g->outputs[i];
        const rfhe_node fake = {.op = RFHE_OP_IDENTITY, .name = g->values[v].name, .inputs = &v};
        uint32_t from = 0, slot = 0, step = 0;
        RFHE_TRY(slot_for(c, &from, &fake, 0));
        RFHE_TRY(new_slot(c, &slot, g->values[v].name, &g->values[v].shape, false, false));
        RFHE_TRY(open_port(&e->outputs[i], &g->values[v].shape, e->opt.training, slot));
        RFHE_TRY(new_step(c, &step, &rfhe_impl_reorder, RFHE_OP_IDENTITY, g->values[v].name, 1, 1));
        e->steps[step].is_reorder = true;
        e->steps[step].in[0] = from;
        e->steps[step].out[0] = slot;
        e->slots[slot].producer = step;
        e->slots[slot].data = e->outputs[i].data;
    }

done:
    return st;
}

/* Copies the constants into the master array and lets go of the graph's. */
static rfhe_status take_values(rfhe_exec *e)
{
    e->values = rfhe_calloc(e->n_values, sizeof(float));
    if (e->opt.training) { e->grads = rfhe_calloc(e->n_values, sizeof(float)); }
    if (e->values == NULL || (e->opt.training && e->grads == NULL)) { return RFHE_E_NOMEM; }
    for (uint32_t i = 0; i < e->n_params; i++) {
        rfhe_value *v = &e->graph->values[e->params[i].value];
        memcpy(e->values + e->params[i].offset, v->constant->f32, e->params[i].count * sizeof(float));
        rfhe_tensor_free(v->constant);
        v->constant = NULL;
    }
    for (uint32_t i = 0; i < e->n_slots; i++) {
        if (e->slots[i].is_param) { e->slots[i].data = e->values + e->params[e->slots[i].param].offset; }
    }
    return RFHE_OK;
}

static rfhe_status prepare_all(compile *c)
{
    rfhe_exec *e = c->e;
    rfhe_status st = RFHE_OK;

    for (uint32_t i = 0; i < e->n_steps; i++) {
        rfhe_step *s = &e->steps[i];
        for (uint32_t k = 0; k < s->n_in; k++) {
            rfhe_slot *x = rfhe_in(e, s, k);
            if (x == NULL) { continue; }
            x->readers++;
            if (x->needs_grad && s->impl->backward == NULL && !s->impl->is_view) {
                return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "cannot be trained through", c->err);
            }
            for (uint32_t o = 0; o < s->n_out && x->needs_grad; o++) {
                if (rfhe_out(e, s, o) != NULL) { rfhe_out(e, s, o)->needs_grad = true; }
            }
        }
        if (s->impl->prepare != NULL) { RFHE_TRY(s->impl->prepare(e, s, c->err)); }
        rfhe_need_scratch(e, s->scratch_bytes);
    }

done:
    return st;
}

/* ---- memory ---- */

static rfhe_status new_storage(rfhe_exec *e, uint32_t *out, size_t bytes, uint8_t purpose)
{
    const rfhe_status st =
        append(&e->storages, &e->n_storages, &e->cap_storages, sizeof *e->storages, out);

    if (st != RFHE_OK) { return st; }
    e->storages[*out] = (rfhe_storage){.bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1),
                                       .first = UINT32_MAX,
                                       .purpose = purpose};
    return RFHE_OK;
}

static void touch(rfhe_exec *e, uint32_t storage, uint32_t time)
{
    if (storage == RFHE_NO_STORAGE) { return; }
    rfhe_storage *s = &e->storages[storage];
    if (time < s->first) { s->first = time; }
    if (time > s->last) { s->last = time; }
}

static bool same_memory(const rfhe_slot *a, const rfhe_slot *b)
{
    return a->bf16 == b->bf16 && rfhe_shape_equal(&a->shape, &b->shape) &&
           (a->last == b->last || rfhe_orders_coincide(&a->shape));
}

static bool may_overwrite(const compile *c, const rfhe_step *s, const rfhe_slot *x,
                          const rfhe_slot *y)
{
    const rfhe_exec *e = c->e;

    if (!s->impl->inplace || x->is_param || x->producer == UINT32_MAX || x->readers != 1 ||
        (s->keep_in & 1) != 0 || !same_memory(x, y) || x->root != (uint32_t)(x - e->slots)) {
        return false;
    }
    for (uint32_t i = 0; i < e->opt.n_keep; i++) {
        if (strcmp(e->opt.keep[i], x->name) == 0) { return false; }
    }
    return !e->steps[x->producer].keep_out && y->data == NULL && x->data == NULL;
}

static rfhe_status place_forward(compile *c)
{
    rfhe_exec *e = c->e;
    rfhe_status st = RFHE_OK;
    const uint32_t end = 2 * e->n_steps;

    for (uint32_t t = 0; t < e->n_steps; t++) {
        rfhe_step *s = &e->steps[t];
        for (uint32_t k = 0; k < s->n_out; k++) {
            rfhe_slot *y = rfhe_out(e, s, k), *x = rfhe_in(e, s, 0);
            if (y == NULL || y->data != NULL) { continue; }
            if (k == 0 && x != NULL && (s->impl->is_view || may_overwrite(c, s, x, y))) {
                y->root = x->root;
            } else {
                RFHE_TRY(new_storage(e, &y->storage, y->count * rfhe_elem_size(y), 0));
            }
            touch(e, e->slots[y->root].storage, t);
            for (uint32_t i = 0; i < e->opt.n_keep; i++) {
                if (strcmp(e->opt.keep[i], y->name) == 0) {
                    touch(e, e->slots[y->root].storage, end);
                }
            }
        }
        for (uint32_t k = 0; k < s->n_in; k++) {
            if (rfhe_in(e, s, k) != NULL) {
                touch(e, e->slots[rfhe_in(e, s, k)->root].storage, t);
            }
        }
        if (s->workspace_bytes > 0) {
            RFHE_TRY(new_storage(e, &s->workspace_storage, s->workspace_bytes, 2));
            touch(e, s->workspace_storage, t);
        }
    }

done:
    return st;
}

/* Where the gradient of input k of step s goes; `expected` counts what each slot will still receive. */
static rfhe_status place_gradient(compile *c, rfhe_step *s, uint32_t k, uint32_t *expected)
{
    rfhe_exec *e = c->e;
    rfhe_slot *x = rfhe_in(e, s, k), *y = rfhe_out(e, s, 0);
    rfhe_status st = RFHE_OK;
    const bool is_first = x->contributions++ == 0;
    const bool is_last = --expected[x - e->slots] == 0;
    const bool dy_is_free = y->grad_storage != RFHE_NO_STORAGE;

    if (x->is_param) {
        s->dx_add[k] = !is_first;
        return RFHE_OK;
    }
    if (s->impl->is_view) {
        if (is_first && dy_is_free) {
            x->grad_storage = y->grad_storage;
            s->dx_storage[k] = RFHE_NO_STORAGE; /* nothing to do: it is the same memory */
            return RFHE_OK;
        }
        s->dx_post[k] = !is_first;
        if (is_first) { RFHE_TRY(new_storage(e, &x->grad_storage, x->count * rfhe_elem_size(x), 1)); }
        s->dx_storage[k] = is_first ? x->grad_storage : y->grad_storage;
        return RFHE_OK;
    }
    if (is_first) {
        const bool is_residual = s->with_residual && k == s->n_in - 1;
        const bool on_top = s->with_residual ? is_residual : k == 0 && s->impl->inplace;
        if (on_top && dy_is_free && same_memory(x, y)) {
            x->grad_storage = y->grad_storage;
        } else {
            RFHE_TRY(new_storage(e, &x->grad_storage, x->count * rfhe_elem_size(x), 1));
        }
        s->dx_storage[k] = x->grad_storage;
    } else if (s->impl->adds || (s->with_residual && k == s->n_in - 1)) {
        s->dx_storage[k] = x->grad_storage;
        s->dx_add[k] = true;
    } else {
        uint32_t fresh = 0;
        RFHE_TRY(new_storage(e, &fresh, x->count * rfhe_elem_size(x), 1));
        s->dx_storage[k] = fresh;
        if (is_last && x->producer != UINT32_MAX && e->steps[x->producer].impl->two_grads &&
            x->grad2_storage == RFHE_NO_STORAGE) {
            x->grad2_storage = fresh;
        } else {
            s->dx_post[k] = true;
        }
    }

done:
    return st;
}

static rfhe_status place_backward(compile *c)
{
    rfhe_exec *e = c->e;
    rfhe_status st = RFHE_OK;
    uint32_t *expected = rfhe_calloc(e->n_slots, sizeof *expected);

    if (expected == NULL) { return RFHE_E_NOMEM; }
    for (uint32_t t = e->n_steps; t-- > 0;) {
        rfhe_step *s = &e->steps[t];
        const rfhe_slot *y = rfhe_out(e, s, 0);
        s->has_backward = y != NULL && y->needs_grad &&
                          (y->data != NULL || expected[y - e->slots] > 0);
        for (uint32_t k = 0; k < s->n_in && s->has_backward; k++) {
            const rfhe_slot *x = rfhe_in(e, s, k);
            if (x != NULL && x->needs_grad) { expected[x - e->slots]++; }
        }
    }
    for (uint32_t t = e->n_steps; t-- > 0;) {
        rfhe_step *s = &e->steps[t];
        const uint32_t time = 2 * e->n_steps - 1 - t;
        if (!s->has_backward) { continue; }
        touch(e, rfhe_out(e, s, 0)->grad_storage, time);
        touch(e, rfhe_out(e, s, 0)->grad2_storage, time);
        touch(e, s->workspace_storage, time);
        if (s->keep_out) { touch(e, e->slots[rfhe_out(e, s, 0)->root].storage, time); }
        for (uint32_t k = 0; k < s->n_in; k++) {
            const rfhe_slot *x = rfhe_in(e, s, k);
            if (x == NULL) { continue; }
            if ((s->keep_in >> k & 1) != 0) { touch(e, e->slots[x->root].storage, time); }
            if (!x->needs_grad) { continue; }
            RFHE_TRY(place_gradient(c, s, k, expected));
            touch(e, x->grad_storage, time);
            touch(e, s->dx_storage[k], time);
        }
    }

done:
    rfhe_free(expected);
    return st;
}


typedef struct placing {
    size_t bytes;
    uint32_t index;
} placing;

/* Larger first; ties by index, so that the plan is the same everywhere. */
static int by_size(const void *a, const void *b)
{
    const placing *x = a, *y = b;

    if (x->bytes != y->bytes) { return x->bytes > y->bytes ? -1 : 1; }
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Offsets for all storages: the largest first, each at the lowest place where nothing that lives at the same time is.
 * placed[] holds the indices of those already placed, by increasing offset. */
static rfhe_status plan_memory(rfhe_exec *e, size_t *total)
{
    const uint32_t n = e->n_storages;
    placing *order = rfhe_alloc(n, sizeof *order);
    uint32_t *placed = rfhe_alloc(n, sizeof *placed);
    rfhe_status st = RFHE_OK;

    *total = 0;
    if (order == NULL || placed == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    for (uint32_t i = 0; i < n; i++) { order[i] = (placing){e->storages[i].bytes, i}; }
    qsort(order, n, sizeof *order, by_size);
    for (uint32_t i = 0; i < n; i++) {
        rfhe_storage *s = &e->storages[order[i].index];
        size_t at = 0;
        for (uint32_t k = 0; k < i; k++) {
            const rfhe_storage *o = &e->storages[placed[k]];
            if (o->last < s->first || s->last < o->first) { continue; }
            if (at + s->bytes <= o->offset) { break; }
            if (o->offset + o->bytes > at) { at = o->offset + o->bytes; }
        }
        s->offset = at;
        uint32_t to = i;
        while (to > 0 && e->storages[placed[to - 1]].offset > at) {
            placed[to] = placed[to - 1];
            to--;
        }
        placed[to] = order[i].index;
        if (at + s->bytes > *total) { *total = at + s->bytes; }
    }

done:
    rfhe_free(order);
    rfhe_free(placed);
    return st;
}

static void *at_storage(const rfhe_exec *e, uint32_t storage)
{
    return storage == RFHE_NO_STORAGE ? NULL : e->arena + e->storages[storage].offset;
}

static const rfhe_port *output_port(const rfhe_exec *e, const rfhe_slot *y)
{
    for (uint32_t i = 0; i < e->graph->n_outputs; i++) {
        if (&e->slots[e->outputs[i].slot] == y) { return &e->outputs[i]; }
    }
    return NULL;
}

/* Turns storages into pointers. */
static void resolve(rfhe_exec *e)
{
    for (uint32_t i = 0; i < e->n_slots; i++) {
        rfhe_slot *s = &e->slots[i];
        if (s->data == NULL && s->root == i) { s->data = at_storage(e, s->storage); }
    }
    for (uint32_t i = 0; i < e->n_slots; i++) {
        rfhe_slot *s = &e->slots[i];
        uint32_t root = i;
        while (e->slots[root].root != root) { root = e->slots[root].root; }
        if (s->data == NULL) { s->data = e->slots[root].data; }
    }
    for (uint32_t t = 0; t < e->n_steps; t++) {
        rfhe_step *s = &e->steps[t];
        const rfhe_slot *y = rfhe_out(e, s, 0);
        s->workspace = at_storage(e, s->workspace_storage);
        if (!s->has_backward) { continue; }
        s->dy = at_storage(e, y->grad_storage);
        s->dy2 = at_storage(e, y->grad2_storage);
        if (s->dy == NULL) { s->dy = output_port(e, y)->grad; }
        for (uint32_t k = 0; k < s->n_in; k++) {
            const rfhe_slot *x = rfhe_in(e, s, k);
            if (x == NULL || !x->needs_grad) { continue; }
            s->dx[k] = x->is_param ? e->grads + e->params[x->param].offset
                                   : at_storage(e, s->dx_storage[k]);
        }
    }
}

static rfhe_status allocate(compile *c)
{
    rfhe_exec *e = c->e;
    size_t total = 0;
    const rfhe_status st = plan_memory(e, &total);

    if (st != RFHE_OK) { return st; }
    /* Zeroed: the pages are there before the first run, and a stray read is at least repeatable. */
    e->arena = rfhe_calloc(total + ALIGN, 1);
    e->scratch = rfhe_calloc(e->scratch_bytes + ALIGN, 1);
    if (e->arena == NULL || e->scratch == NULL) {
        return rfhe_fail(c->err, RFHE_E_NOMEM,
                         "no memory: running '%s' with batch %lld needs %.1f MiB", e->graph->name,
                         (long long)e->opt.batch, (double)(total + e->scratch_bytes) / 0x1p20);
    }
    e->stats.activation_bytes = total;
    e->stats.scratch_bytes = e->scratch_bytes;
    e->stats.weight_bytes += e->n_values * sizeof(float);
    e->stats.gradient_bytes = e->grads != NULL ? e->n_values * sizeof(float) : 0;
    for (uint32_t i = 0; i < e->graph->n_inputs; i++) {
        size_t n = 0;
        if (rfhe_shape_count(&e->inputs[i].shape, &n)) { e->stats.activation_bytes += n * sizeof(float); }
    }
    return RFHE_OK;
}

rfhe_status rfhe_exec_new(rfhe_exec **out, const rfhe_graph *g, const rfhe_exec_options *opt,
                          rfhe_error *err)
{
    rfhe_exec *e = NULL;
    compile c = {.err = err};
    rfhe_status st = RFHE_OK;

    if (opt->batch < 1) { return rfhe_fail(err, RFHE_E_ARG, "the batch must be at least 1"); }
    e = rfhe_calloc(1, sizeof *e);
    if (e == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    e->opt = *opt;
    e->bn_momentum = NAN;
    e->stamp = 1;
    RFHE_TRY(rfhe_graph_clone(&e->graph, g));
    RFHE_TRY(rfhe_graph_tidy(e->graph, err));
    RFHE_TRY(rfhe_graph_infer(e->graph, opt->batch, err));
    c.e = e;
    c.g = e->graph;
    c.slot_of = rfhe_alloc(c.g->n_values, sizeof *c.slot_of);
    c.uses = rfhe_calloc(c.g->n_values, sizeof *c.uses);
    c.consumer = rfhe_alloc(c.g->n_values, sizeof *c.consumer);
    c.fused_at = rfhe_alloc(c.g->n_nodes, sizeof *c.fused_at);
    c.is_kept = rfhe_calloc(c.g->n_values, sizeof *c.is_kept);
    c.is_swallowed = rfhe_calloc(c.g->n_nodes, sizeof *c.is_swallowed);
    e->inputs = rfhe_calloc(c.g->n_inputs, sizeof *e->inputs);
    e->outputs = rfhe_calloc(c.g->n_outputs, sizeof *e->outputs);
    if (c.slot_of == NULL || c.uses == NULL || c.consumer == NULL || c.fused_at == NULL ||
        c.is_kept == NULL || c.is_swallowed == NULL || e->inputs == NULL || e->outputs == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    memset(c.slot_of, 0xff, c.g->n_values * sizeof *c.slot_of);
    memset(c.consumer, 0xff, c.g->n_values * sizeof *c.consumer);
    memset(c.fused_at, 0xff, c.g->n_nodes * sizeof *c.fused_at);
    for (uint32_t i = 0; i < opt->n_keep; i++) {
        const rfhe_value_id v = rfhe_graph_find(c.g, opt->keep[i]);
        if (v == RFHE_NO_VALUE) {
            st = rfhe_fail(err, RFHE_E_ARG, "the network has no value '%s' to keep", opt->keep[i]);
            goto done;
        }
        c.is_kept[v] = true;
    }
    RFHE_TRY(rfhe_backend_open(e, err));
    find_fusions(&c);
    RFHE_TRY(emit_all(&c));
    RFHE_TRY(take_values(e));
    RFHE_TRY(prepare_all(&c));
    RFHE_TRY(place_forward(&c));
    if (opt->training) { RFHE_TRY(place_backward(&c)); }
    RFHE_TRY(allocate(&c));
    resolve(e);
    e->opt.keep = NULL;
    e->opt.n_keep = 0;
    *out = e;
    e = NULL;

done:
    if (st == RFHE_E_NOMEM) { (void)rfhe_fail(err, st, "no memory to make the network ready to run"); }
    rfhe_free(c.slot_of);
    rfhe_free(c.uses);
    rfhe_free(c.consumer);
    rfhe_free(c.fused_at);
    rfhe_free(c.is_kept);
    rfhe_free(c.is_swallowed);
    rfhe_free(c.other);
    rfhe_exec_free(e);
    return st;
}

void rfhe_exec_free(rfhe_exec *e)
{
    if (e == NULL) { return; }
    for (uint32_t i = 0; i < e->n_steps; i++) {
        rfhe_step *s = &e->steps[i];
        if (s->priv != NULL && s->impl->release != NULL) { s->impl->release(s); }
        rfhe_free(s->in);
        rfhe_free(s->out);
        rfhe_free(s->dx);
        rfhe_free(s->dx_add);
        rfhe_free(s->dx_post);
        rfhe_free(s->dx_storage);
    }
    for (uint32_t i = 0; e->inputs != NULL && i < e->graph->n_inputs; i++) {
        rfhe_free(e->inputs[i].data);
    }
    for (uint32_t i = 0; e->outputs != NULL && i < e->graph->n_outputs; i++) {
        rfhe_free(e->outputs[i].data);
        rfhe_free(e->outputs[i].grad);
    }
    rfhe_backend_close(e);
    rfhe_graph_free(e->graph);
    rfhe_free(e->inputs);
    rfhe_free(e->outputs);
    rfhe_free(e->slots);
    rfhe_free(e->steps);
    rfhe_free(e->storages);
    rfhe_free(e->params);
    rfhe_free(e->values);
    rfhe_free(e->grads);
    rfhe_free(e->arena);
    rfhe_free(e->scratch);
    rfhe_free(e);
}

/* ---- running ---- */

rfhe_status rfhe_exec_forward(rfhe_exec *e, rfhe_error *err)
{
    (void)err;
    e->run++;
    e->bn_runs++;
    for (uint32_t t = 0; t < e->n_steps; t++) {
        rfhe_step *s = &e->steps[t];
        if (s->impl->is_view) { continue; }
        const double start = rfhe_now();
        s->impl->forward(e, s);
        const double spent = rfhe_now() - start;
        if (s->is_reorder) {
            e->stats.reorder_seconds += spent;
        } else {
            e->stats.forward_seconds[s->op] += spent;
        }
    }
    e->did_forward = true;
    return RFHE_OK;
}

/* Adds temporaries to the gradients they belong to. */
static void add_posts(const rfhe_exec *e, const rfhe_step *s)
{
    for (uint32_t k = 0; k < s->n_in; k++) {
        if (!s->dx_post[k]) { continue; }
        const rfhe_slot *x = rfhe_in(e, s, k);
        rfhe_slot flat = *x; /* same memory order on both sides, so one long row */
        void *sum = at_storage(e, x->grad_storage);
        flat.shape = (rfhe_shape){.rank = 1, .dim = {(int64_t)x->count}};
        rfhe_slot_layout(&flat);
        rfhe_nd_copy(&flat.shape, rfhe_operand_of(&flat, sum, &flat.shape),
                     rfhe_operand_of(&flat, s->dx[k], &flat.shape), true);
    }
}

rfhe_status rfhe_exec_backward(rfhe_exec *e, rfhe_error *err)
{
    if (!e->opt.training || !e->did_forward) {
        return rfhe_fail(err, RFHE_E_ARG, "backward needs a training executor and a forward run");
    }
    for (uint32_t t = e->n_steps; t-- > 0;) {
        rfhe_step *s = &e->steps[t];
        if (!s->has_backward) { continue; }
        const double start = rfhe_now();
        if (!s->impl->is_view) { s->impl->backward(e, s); }
        add_posts(e, s);
        const double spent = rfhe_now() - start;
        if (s->is_reorder) {
            e->stats.reorder_seconds += spent;
        } else {
            e->stats.backward_seconds[s->op] += spent;
        }
    }
    return RFHE_OK;
}

float *rfhe_exec_input(rfhe_exec *e, uint32_t i, rfhe_shape *shape)
{
    if (i >= e->graph->n_inputs) { return NULL; }
    if (shape != NULL) { *shape = e->inputs[i].shape; }
    return e->inputs[i].data;
}

const float *rfhe_exec_output(rfhe_exec *e, uint32_t i, rfhe_shape *shape)
{
    if (i >= e->graph->n_outputs) { return NULL; }
    if (shape != NULL) { *shape = e->outputs[i].shape; }
    return e->outputs[i].data;
}

float *rfhe_exec_output_grad(rfhe_exec *e, uint32_t i)
{
    return i < e->graph->n_outputs ? e->outputs[i].grad : NULL;
}

const rfhe_param *rfhe_exec_params(const rfhe_exec *e, uint32_t *n)
{
    *n = e->n_params;
    return e->params;
}

float *rfhe_exec_values(rfhe_exec *e, size_t *count)
{
    if (count != NULL) { *count = e->n_values; }
    return e->values;
}

float *rfhe_exec_grads(rfhe_exec *e)
{
    return e->grads;
}

void rfhe_exec_weights_changed(rfhe_exec *e)
{
    e->stamp++;
}

rfhe_status rfhe_exec_store(const rfhe_exec *e, rfhe_graph *g, rfhe_error *err)
{
    for (uint32_t i = 0; i < e->n_params; i++) {
        const rfhe_param *p = &e->params[i];
        const rfhe_value_id v = rfhe_graph_find(g, p->name);
        rfhe_tensor *t = v != RFHE_NO_VALUE ? g->values[v].constant : NULL;
        if (t == NULL || t->dtype != RFHE_F32 || t->count != p->count) {
            return rfhe_fail(err, RFHE_E_ARG, "the network has no weight '%s' of %zu numbers", p->name,
                             p->count);
        }
        memcpy(t->f32, e->values + p->offset, p->count * sizeof(float));
    }
    return RFHE_OK;
}

void rfhe_exec_bn_momentum(rfhe_exec *e, float m)
{
    e->bn_momentum = (double)m;
    e->bn_runs = 0;
}

rfhe_status rfhe_exec_read(rfhe_exec *e, const char *name, float *out, size_t count,
                           rfhe_error *err)
{
    for (uint32_t i = 0; i < e->n_slots; i++) {
        const rfhe_slot *s = &e->slots[i];
        rfhe_slot plain = *s;
        if (strcmp(s->name, name) != 0) { continue; }
        if (s->count != count) {
            return rfhe_fail(err, RFHE_E_ARG, "value '%s' has %zu elements, not %zu", name, s->count,
                             count);
        }
        plain.last = plain.bf16 = false;
        rfhe_slot_layout(&plain);
        rfhe_nd_copy(&s->shape, rfhe_operand_of(&plain, out, &s->shape),
                     rfhe_operand_of(s, s->data, &s->shape), false);
        return RFHE_OK;
    }
    return rfhe_fail(err, RFHE_E_ARG, "the running network has no value '%s'", name);
}

rfhe_exec_stats rfhe_exec_get_stats(const rfhe_exec *e)
{
    return e->stats;
}

void rfhe_exec_reset_stats(rfhe_exec *e)
{
    memset(e->stats.forward_seconds, 0, sizeof e->stats.forward_seconds);
    memset(e->stats.backward_seconds, 0, sizeof e->stats.backward_seconds);
    e->stats.reorder_seconds = 0;
}
