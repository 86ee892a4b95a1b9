/* Reading a model into the graph's canonical form (nn/graph.h).
 *
 * Every tensor name of the file gets an entry: who produces it, whether it is a constant. From the outputs backwards the
 * needed nodes are put into execution order (a cycle or a missing tensor ends it). Then each node, in that order, is
 *   folded       if it computes integers from known integers: its output becomes a constant      (fold.c)
 *   an alias     if it is Identity of a constant
 *   a constant   if it is Constant
 *   translated   otherwise: its attributes, and constants that are attributes to us, are read    (operators.c)
 * A constant becomes a value of the graph only when a translated node takes it as data. Folding needs shapes now and
 * then (Shape of a computed tensor); they come from running rfhe_graph_infer on the graph built so far.
 *
 * The file is not trusted: names are looked up in a hash table, loops are over what is present, recursion is only in
 * wire.c and bounded there, and the memory made from constants is bounded by a multiple of the file's size. */
#include "onnx/reader.h"

#include "base/file.h"
#include "base/mem.h"
#include "onnx/wire.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NAME = 1000, MAX_METAS = 4096, MAX_INFERENCES = 1000 };

static const char *domain_of(const Onnx__NodeProto *n)
{
    return n->domain != NULL && n->domain[0] != '\0' ? n->domain : "ai.onnx";
}

rfhe_status rfhe_onnx_refuse(const rfhe_onnx_site *s, rfhe_status code, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return rfhe_fail(s->r->err, code, "node '%.100s' (%.60s, domain %.40s, opset %" PRId64 "): %s",
                     s->label, s->n->op_type, domain_of(s->n), s->r->opset, what);
}

static uint32_t hash(const char *s)
{
    uint32_t h = 2166136261u;

    for (; *s != '\0'; s++) { h = (h ^ (unsigned char)*s) * 16777619u; }
    return h ^ h >> 15;
}

uint32_t rfhe_onnx_find(const rfhe_onnx_reader *r, const char *name)
{
    for (uint32_t i = hash(name) & (r->index_size - 1); r->index[i] != 0;
         i = (i + 1) & (r->index_size - 1)) {
        if (strcmp(r->entries[r->index[i] - 1].name, name) == 0) { return r->index[i] - 1; }
    }
    return RFHE_ONNX_NO_ENTRY;
}

uint32_t rfhe_onnx_input(const rfhe_onnx_site *s, size_t i)
{
    if (i >= s->n->n_input || s->n->input[i][0] == '\0') { return RFHE_ONNX_NO_ENTRY; }
    return rfhe_onnx_find(s->r, s->n->input[i]);
}

/* The entry of `name`, new when it does not exist. *is_new tells. */
static rfhe_status enter(rfhe_onnx_reader *r, const char *name, uint32_t *out, bool *is_new)
{
    if (name == NULL || name[0] == '\0') {
        return rfhe_fail(r->err, RFHE_E_FORMAT, "a tensor has no name");
    }
    if (strlen(name) > MAX_NAME) {
        return rfhe_fail(r->err, RFHE_E_UNSUPPORTED,
                         "the tensor name '%.60s...' is longer than %d bytes", name, MAX_NAME);
    }
    *out = rfhe_onnx_find(r, name);
    *is_new = *out == RFHE_ONNX_NO_ENTRY;
    if (!*is_new) { return RFHE_OK; }
    *out = r->n_entries;
    r->entries[r->n_entries++] = (rfhe_onnx_entry){
        .name = name, .producer = RFHE_NO_NODE, .alias = *out, .value = RFHE_NO_VALUE};
    uint32_t i = hash(name) & (r->index_size - 1);
    while (r->index[i] != 0) { i = (i + 1) & (r->index_size - 1); }
    r->index[i] = *out + 1;
    return RFHE_OK;
}

static rfhe_status twice(rfhe_onnx_reader *r, const char *name)
{
    return rfhe_fail(r->err, RFHE_E_FORMAT, "the tensor '%.100s' is defined twice", name);
}

/* Whether protobuf gave every string that the rest of the reader takes for granted. */
static rfhe_status check_presence(const rfhe_onnx_reader *r)
{
    for (size_t i = 0; i < r->src->n_node; i++) {
        const Onnx__NodeProto *n = r->src->node[i];
        if (n->op_type == NULL || n->op_type[0] == '\0') {
            return rfhe_fail(r->err, RFHE_E_FORMAT, "node %zu has no operator", i);
        }
        for (size_t k = 0; k < n->n_attribute; k++) {
            if (n->attribute[k]->name == NULL) {
                return rfhe_fail(r->err, RFHE_E_FORMAT,
                                 "node %zu (%.60s) has an attribute without name", i, n->op_type);
            }
        }
    }
    return RFHE_OK;
}

static rfhe_status size_table(rfhe_onnx_reader *r)
{
    size_t names = r->src->n_initializer + r->src->n_input + r->src->n_output;

    for (size_t i = 0; i < r->src->n_node; i++) { names += r->src->node[i]->n_output; }
    if (names > RFHE_ONNX_MAX_NAMES || r->src->n_node > RFHE_ONNX_MAX_NAMES) {
        return rfhe_fail(r->err, RFHE_E_UNSUPPORTED,
                         "the model has %zu tensors, at most %d are supported", names,
                         RFHE_ONNX_MAX_NAMES);
    }
    r->index_size = 16;
    while (r->index_size < 2 * names) { r->index_size *= 2; }
    r->entries = rfhe_calloc(names, sizeof *r->entries);
    r->index = rfhe_calloc(r->index_size, sizeof *r->index);
    if (r->entries == NULL || r->index == NULL) {
        return rfhe_fail(r->err, RFHE_E_NOMEM, "no memory for a table of %zu tensors", names);
    }
    return RFHE_OK;
}

static rfhe_status enter_constants(rfhe_onnx_reader *r)
{
    uint32_t e = 0;
    bool is_new = false;

    for (size_t i = 0; i < r->src->n_initializer; i++) {
        const rfhe_status st = enter(r, r->src->initializer[i]->name, &e, &is_new);
        if (st != RFHE_OK) { return st; }
        if (!is_new) { return twice(r, r->entries[e].name); }
        r->entries[e].proto = r->src->initializer[i];
        r->entries[e].is_constant = true;
    }
    return RFHE_OK;
}

static rfhe_status input_shape(const Onnx__ValueInfoProto *v, rfhe_shape *out, rfhe_error *err)
{
    const Onnx__TypeProto *type = v->type;

    if (type == NULL || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "input '%.100s' is not a tensor", v->name);
    }
    const Onnx__TypeProto__Tensor *t = type->tensor_type;
    if (t->elem_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "input '%.100s' has element type %s, only float is supported", v->name,
                         rfhe_onnx_type_name(t->elem_type));
    }
    if (t->shape == NULL) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "input '%.100s' has no shape", v->name);
    }
    if (t->shape->n_dim > RFHE_MAX_RANK) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "input '%.100s' has rank %zu, at most %d is supported", v->name,
                         t->shape->n_dim, RFHE_MAX_RANK);
    }
    out->rank = (uint32_t)t->shape->n_dim;
    for (uint32_t i = 0; i < out->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        const bool is_fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        out->dim[i] = is_fixed ? d->dim_value : -1;
        if (out->dim[i] < -1) {
            return rfhe_fail(err, RFHE_E_FORMAT, "dimension %u of input '%.100s' is %" PRId64, i,
                             v->name, out->dim[i]);
        }
    }
    return RFHE_OK;
}

static const rfhe_tensor *bound_constant(const rfhe_onnx_reader *r, const char *name)
{
    for (uint32_t i = 0; i < r->opt->n_constants; i++) {
        if (strcmp(r->opt->constants[i].name, name) == 0) { return r->opt->constants[i].value; }
    }
    return NULL;
}

static rfhe_status enter_inputs(rfhe_onnx_reader *r)
{
    uint32_t e = 0;
    bool is_new = false;

    for (size_t i = 0; i < r->src->n_input; i++) {
        const Onnx__ValueInfoProto *v = r->src->input[i];
        rfhe_shape shape = {0};
        rfhe_status st = enter(r, v->name, &e, &is_new);
        if (st != RFHE_OK) { return st; }
        rfhe_onnx_entry *entry = &r->entries[e];
        if (entry->is_input) { return twice(r, v->name); }
        entry->is_input = true;
        if (!is_new) {
            continue;
        } /* an initializer that is also listed as input, as IR 3 wanted it */
        entry->tensor = bound_constant(r, v->name);
        entry->is_constant = entry->tensor != NULL;
        entry->input = v;
        /* An input of a kind we do not take is refused by the node that uses it, which says more. */
        if (entry->is_constant || input_shape(v, &shape, NULL) != RFHE_OK) { continue; }
        RFHE_TRY(rfhe_graph_add_value(r->g, &entry->value, v->name, RFHE_F32, &shape));
        RFHE_TRY(rfhe_graph_add_input(r->g, entry->value));
        continue;
    done:
        return rfhe_fail(r->err, st, "no memory for the inputs");
    }
    return RFHE_OK;
}

static rfhe_status enter_nodes(rfhe_onnx_reader *r)
{
    uint32_t e = 0;
    bool is_new = false;

    for (uint32_t i = 0; i < r->src->n_node; i++) {
        const Onnx__NodeProto *n = r->src->node[i];
        for (size_t k = 0; k < n->n_output; k++) {
            if (n->output[k][0] == '\0') { continue; }
            const rfhe_status st = enter(r, n->output[k], &e, &is_new);
            if (st != RFHE_OK) { return st; }
            if (!is_new) { return twice(r, n->output[k]); }
            r->entries[e].producer = i;
        }
    }
    return RFHE_OK;
}

static rfhe_onnx_site site_at(rfhe_onnx_reader *r, uint32_t index)
{
    const Onnx__NodeProto *n = r->src->node[index];
    const char *label = n->name;

    for (size_t k = 0; k < n->n_output && (label == NULL || label[0] == '\0'); k++) {
        label = n->output[k];
    }
    return (rfhe_onnx_site){.r = r, .n = n, .label = label != NULL ? label : "", .index = index};
}

/* The opset of the domain a node's operator is from; 0 when the model does not import it. */
static int64_t opset_of(const rfhe_onnx_reader *r, const char *domain)
{
    for (size_t i = 0; i < r->model->n_opset_import; i++) {
        const char *d = r->model->opset_import[i]->domain;
        if (strcmp(d != NULL && d[0] != '\0' ? d : "ai.onnx", domain) == 0) {
            return r->model->opset_import[i]->version;
        }
    }
    return 0;
}

static rfhe_status check_operator(const rfhe_onnx_site *s)
{
    const char *domain = domain_of(s->n);
    const int64_t opset = opset_of(s->r, domain);
    int64_t since = 0;

    if (strcmp(domain, "ai.onnx") == 0 && rfhe_onnx_is_operator(s->n->op_type, &since)) {
        if (opset >= since && opset <= RFHE_ONNX_MAX_OPSET) { return RFHE_OK; }
        return rfhe_fail(
            s->r->err, RFHE_E_UNSUPPORTED,
            "operator '%.60s' of domain 'ai.onnx' in node '%.100s' is of opset %" PRId64
            ", supported are 9 to %d",
            s->n->op_type, s->label, opset, RFHE_ONNX_MAX_OPSET);
    }
    if (strcmp(domain, "ai.onnx") == 0 && rfhe_onnx_is_shape_operator(s->n->op_type)) {
        return RFHE_OK;
    }
    return rfhe_fail(s->r->err, RFHE_E_UNSUPPORTED,
                     "operator '%.60s' of domain '%.60s' (opset %" PRId64
                     ") in node '%.100s' is not supported",
                     s->n->op_type, domain, opset, s->label);
}

/* order[] receives the nodes that the outputs need, producers first. Depth-first with its own stack; mark: 0 new, 1 open,
 * 2 placed. next[] is the input a node on the stack looks at. */
static rfhe_status order_nodes(rfhe_onnx_reader *r, uint32_t *order, uint32_t *n_order,
                               uint8_t *mark, uint32_t *stack, uint32_t *next)
{
    uint32_t top = 0;

    for (size_t o = 0; o < r->src->n_output; o++) {
        const char *name = r->src->output[o]->name;
        const uint32_t e = name != NULL ? rfhe_onnx_find(r, name) : RFHE_ONNX_NO_ENTRY;
        if (e == RFHE_ONNX_NO_ENTRY) {
            return rfhe_fail(r->err, RFHE_E_FORMAT, "nothing produces the output '%.100s'",
                             name != NULL ? name : "");
        }
        if (r->entries[e].is_output) { return twice(r, name); }
        r->entries[e].is_output = r->entries[e].is_used = true;
        if (r->entries[e].producer == RFHE_NO_NODE || mark[r->entries[e].producer] == 2) {
            continue;
        }
        stack[top++] = r->entries[e].producer;
        while (top > 0) {
            const uint32_t at = stack[top - 1];
            const rfhe_onnx_site s = site_at(r, at);
            if (mark[at] == 0) {
                const rfhe_status st = check_operator(&s);
                if (st != RFHE_OK) { return st; }
                mark[at] = 1;
            }
            if (next[at] == s.n->n_input) {
                mark[at] = 2;
                order[(*n_order)++] = at;
                top--;
                continue;
            }
            const uint32_t k = next[at]++, in = rfhe_onnx_input(&s, k);
            if (s.n->input[k][0] == '\0') { continue; }
            if (in == RFHE_ONNX_NO_ENTRY) {
                return rfhe_onnx_refuse(&s, RFHE_E_FORMAT,
                                        "it reads '%.100s', which nothing produces", s.n->input[k]);
            }
            r->entries[in].is_used = true;
            const uint32_t p = r->entries[in].producer;
            if (p == RFHE_NO_NODE || mark[p] == 2) { continue; }
            if (mark[p] == 1) {
                return rfhe_onnx_refuse(&s, RFHE_E_FORMAT, "it depends on its own output");
            }
            stack[top++] = p;
        }
    }
    return RFHE_OK;
}

bool rfhe_onnx_constant_type(const rfhe_onnx_reader *r, uint32_t entry, rfhe_dtype *out)
{
    if (entry == RFHE_ONNX_NO_ENTRY) { return false; }
    const rfhe_onnx_entry *root = &r->entries[r->entries[entry].alias];
    if (!root->is_constant) { return false; }
    if (root->tensor != NULL) {
        *out = root->tensor->dtype;
        return true;
    }
    return rfhe_onnx_type_map(root->proto->data_type, out);
}

/* Charges `bytes` of constants to the budget that keeps a small file from asking for much memory. */
static rfhe_status charge(rfhe_onnx_reader *r, uint64_t *budget, size_t bytes)
{
    if (bytes > *budget) {
        return rfhe_fail(r->err, RFHE_E_UNSUPPORTED,
                         "the constants of the model are too large for its file");
    }
    *budget -= bytes;
    return RFHE_OK;
}

rfhe_status rfhe_onnx_constant_of(rfhe_onnx_reader *r, uint32_t entry, const rfhe_tensor **out)
{
    rfhe_onnx_entry *e = &r->entries[r->entries[entry].alias];

    if (e->tensor == NULL) {
        const bool is_external =
            e->proto->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
        uint64_t *budget = is_external ? &r->external_budget : &r->budget;
        Onnx__TensorProto named = *e->proto; /* the tensor of a Constant node may lack a name */
        named.name = (char *)(uintptr_t)e->name;
        rfhe_status st = rfhe_onnx_tensor(&e->owned, &named, r->folder, *budget, r->err);
        if (st != RFHE_OK) { return st; }
        e->tensor = e->owned;
        st = charge(r, budget, e->tensor->count * rfhe_dtype_size(e->tensor->dtype));
        if (st != RFHE_OK) { return st; }
    }
    *out = e->tensor;
    return RFHE_OK;
}

/* A name for the constant of an entry: its own, unless the graph's output will need that. */
static void constant_name(const rfhe_onnx_reader *r, const rfhe_onnx_entry *e, char *out,
                          size_t size)
{
    (void)snprintf(out, size, "%s", e->name);
    for (unsigned k = 0; e->is_output && rfhe_onnx_find(r, out) != RFHE_ONNX_NO_ENTRY; k++) {
        (void)snprintf(out, size, "%s_constant%.0u", e->name, k);
    }
}

/* Makes the constant `entry` a value of the graph. The tensor moves there if nobody else may need it as its own. */
static rfhe_status constant_value(rfhe_onnx_reader *r, uint32_t entry)
{
    rfhe_onnx_entry *e = &r->entries[entry], *root = &r->entries[e->alias];
    const rfhe_tensor *t = NULL;
    rfhe_tensor *mine = NULL;
    char name[MAX_NAME + 32];
    rfhe_status st = rfhe_onnx_constant_of(r, entry, &t);

    if (st != RFHE_OK) { return st; }
    if (e == root && e->owned != NULL) {
        mine = e->owned;
        e->owned = NULL;
    } else {
        RFHE_TRY(charge(r, &r->budget, t->count * rfhe_dtype_size(t->dtype)));
        RFHE_TRY(rfhe_tensor_clone(&mine, t));
    }
    constant_name(r, e, name, sizeof name);
    RFHE_TRY(rfhe_graph_add_constant(r->g, &e->value, name, mine));
    if (e == root) { e->tensor = mine; }
    mine = NULL;

done:
    if (mine != NULL && e == root) { e->tensor = NULL; }
    rfhe_tensor_free(mine);
    return st == RFHE_OK ? st : rfhe_fail(r->err, st, "no memory for tensor '%.100s'", e->name);
}

rfhe_status rfhe_onnx_value_of(const rfhe_onnx_site *s, uint32_t entry, rfhe_value_id *out)
{
    rfhe_onnx_reader *r = s->r;
    rfhe_onnx_entry *e = &r->entries[entry];
    rfhe_dtype type = RFHE_F32;

    if (e->value == RFHE_NO_VALUE) {
        if (e->input != NULL && !e->is_constant) {
            rfhe_shape shape = {0};
            rfhe_error inner = {0};
            const rfhe_status st = input_shape(e->input, &shape, &inner);
            return rfhe_onnx_refuse(s, st, "%s", inner.text);
        }
        if (!r->entries[e->alias].is_constant) {
            return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                    "it reads '%.100s', which is not a tensor of this graph",
                                    e->name);
        }
        if (!rfhe_onnx_constant_type(r, entry, &type)) {
            return rfhe_onnx_refuse(
                s, RFHE_E_UNSUPPORTED, "'%.100s' has element type %s, only float is supported",
                e->name, rfhe_onnx_type_name(r->entries[e->alias].proto->data_type));
        }
        if (type != RFHE_F32) {
            return rfhe_onnx_refuse(
                s, RFHE_E_UNSUPPORTED,
                "the integers '%.100s' are used as data, only float is supported", e->name);
        }
        const rfhe_status st = constant_value(r, entry);
        if (st != RFHE_OK) { return st; }
    }
    *out = e->value;
    return RFHE_OK;
}

rfhe_status rfhe_onnx_shape_of(const rfhe_onnx_site *s, uint32_t entry, rfhe_shape *out)
{
    rfhe_onnx_reader *r = s->r;
    rfhe_dtype type = RFHE_F32;

    if (rfhe_onnx_constant_type(r, entry, &type)) {
        const rfhe_tensor *t = NULL;
        const rfhe_status st = rfhe_onnx_constant_of(r, entry, &t);
        if (st == RFHE_OK) { *out = t->shape; }
        return st;
    }
    rfhe_value_id v = r->entries[entry].value;
    if (v == RFHE_NO_VALUE) {
        return rfhe_onnx_value_of(s, entry, &v);
    } /* which says what is wrong */
    if (!r->g->values[v].has_shape) {
        if (++r->inferences > MAX_INFERENCES) {
            return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                    "the model computes with more than %d shapes", MAX_INFERENCES);
        }
        const rfhe_status st = rfhe_graph_infer(r->g, 0, r->err);
        if (st != RFHE_OK) { return st; }
    }
    *out = r->g->values[v].shape;
    return RFHE_OK;
}

const Onnx__AttributeProto *rfhe_onnx_attribute(const Onnx__NodeProto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        if (strcmp(n->attribute[i]->name, name) == 0) { return n->attribute[i]; }
    }
    return NULL;
}

static rfhe_status wrong_type(const rfhe_onnx_site *s, const char *name)
{
    return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its attribute '%s' has the wrong type", name);
}

rfhe_status rfhe_onnx_attr_int(const rfhe_onnx_site *s, const char *name, int64_t otherwise,
                               int64_t *out)
{
    const Onnx__AttributeProto *a = rfhe_onnx_attribute(s->n, name);

    *out = a == NULL ? otherwise : a->i;
    return a == NULL || a->has_i ? RFHE_OK : wrong_type(s, name);
}

rfhe_status rfhe_onnx_attr_ints(const rfhe_onnx_site *s, const char *name, const int64_t **out,
                                size_t *n)
{
    const Onnx__AttributeProto *a = rfhe_onnx_attribute(s->n, name);

    *out = a == NULL ? NULL : a->ints;
    *n = a == NULL ? 0 : a->n_ints;
    if (a != NULL && a->has_type && a->type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS) {
        return wrong_type(s, name);
    }
    return RFHE_OK;
}

/* The Constant operator: one of several attributes holds the value. */
static rfhe_status read_constant(const rfhe_onnx_site *s, rfhe_onnx_entry *e)
{
    const Onnx__AttributeProto *a = s->n->n_attribute == 1 ? s->n->attribute[0] : NULL;
    rfhe_shape shape = {0};
    rfhe_dtype dtype = RFHE_I64;
    const void *from = NULL;

    if (a == NULL) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "it must have exactly one attribute");
    }
    e->is_constant = true;
    if (strcmp(a->name, "value") == 0 && a->t != NULL) {
        e->proto = a->t;
        return RFHE_OK;
    }
    if (strcmp(a->name, "value_float") == 0 && a->has_f) {
        from = &a->f;
        dtype = RFHE_F32;
    } else if (strcmp(a->name, "value_int") == 0 && a->has_i) {
        from = &a->i;
    } else if (strcmp(a->name, "value_floats") == 0) {
        from = a->floats;
        shape = (rfhe_shape){.rank = 1, .dim = {(int64_t)a->n_floats}};
        dtype = RFHE_F32;
    } else if (strcmp(a->name, "value_ints") == 0) {
        from = a->ints;
        shape = (rfhe_shape){.rank = 1, .dim = {(int64_t)a->n_ints}};
    } else {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED, "its attribute '%.60s' is not supported",
                                a->name);
    }
    const rfhe_status st = rfhe_tensor_new(&e->owned, dtype, &shape);
    if (st != RFHE_OK) { return rfhe_onnx_refuse(s, st, "no memory for its value"); }
    const size_t bytes = e->owned->count * rfhe_dtype_size(dtype);
    if (bytes > 0) { memcpy(e->owned->data, from, bytes); }
    e->tensor = e->owned;
    return RFHE_OK;
}

static rfhe_status read_node(rfhe_onnx_reader *r, uint32_t index)
{
    const rfhe_onnx_site s = site_at(r, index);
    rfhe_dtype type = RFHE_F32;

    if (s.n->n_output == 0 || s.n->output[0][0] == '\0') {
        return rfhe_onnx_refuse(&s, RFHE_E_FORMAT, "its first output is missing");
    }
    for (size_t k = 1; k < s.n->n_output; k++) {
        const uint32_t e = rfhe_onnx_find(r, s.n->output[k]);
        if (e != RFHE_ONNX_NO_ENTRY && r->entries[e].is_used &&
            strcmp(s.n->op_type, "BatchNormalization") != 0) {
            return rfhe_onnx_refuse(&s, RFHE_E_UNSUPPORTED,
                                    "its output '%.100s' is used, only the first is supported",
                                    s.n->output[k]);
        }
    }
    rfhe_onnx_entry *out = &r->entries[rfhe_onnx_find(r, s.n->output[0])];
    if (strcmp(s.n->op_type, "Constant") == 0) { return read_constant(&s, out); }
    if (rfhe_onnx_can_fold(&s)) { return rfhe_onnx_fold(&s); }
    const uint32_t in = rfhe_onnx_input(&s, 0);
    if (strcmp(s.n->op_type, "Identity") == 0 && rfhe_onnx_constant_type(r, in, &type)) {
        out->alias = r->entries[in].alias;
        out->is_batch = r->entries[in].is_batch;
        return RFHE_OK;
    }
    if (!rfhe_onnx_is_operator(s.n->op_type, NULL)) {
        return rfhe_fail(
            r->err, RFHE_E_UNSUPPORTED,
            "operator '%.60s' of domain 'ai.onnx' (opset %" PRId64
            ") in node '%.100s' is not supported, except to compute shapes from shapes",
            s.n->op_type, r->opset, s.label);
    }
    return rfhe_onnx_translate(&s);
}

/* An output that is a constant becomes the output of an Identity node, so that every output is produced. */
static rfhe_status add_outputs(rfhe_onnx_reader *r)
{
    for (size_t i = 0; i < r->src->n_output; i++) {
        rfhe_onnx_entry *e = &r->entries[rfhe_onnx_find(r, r->src->output[i]->name)];
        rfhe_onnx_entry *root = &r->entries[e->alias];
        rfhe_value_id value = e->value;
        rfhe_status st = RFHE_OK;
        if (root->is_constant) {
            Onnx__NodeProto none = {.op_type = (char *)(uintptr_t) "Identity"};
            const rfhe_onnx_site s = e->producer != RFHE_NO_NODE
                                         ? site_at(r, e->producer)
                                         : (rfhe_onnx_site){.r = r, .n = &none, .label = e->name};
            const char *node = e != root ? s.n->name : NULL;
            rfhe_value_id from = RFHE_NO_VALUE;
            st = rfhe_onnx_value_of(&s, e->alias, &from);
            if (st != RFHE_OK) { return st; }
            RFHE_TRY(rfhe_graph_add_value(r->g, &value, e->name, RFHE_F32, NULL));
            RFHE_TRY(
                rfhe_graph_add_node_to(r->g, RFHE_OP_IDENTITY, node, &from, 1, &value, 1, NULL));
        }
        if (value == RFHE_NO_VALUE) {
            return rfhe_fail(r->err, RFHE_E_UNSUPPORTED,
                             "the output '%.100s' is not a tensor of the graph", e->name);
        }
        RFHE_TRY(rfhe_graph_add_output(r->g, value));
        continue;
    done:
        return rfhe_fail(r->err, st, "no memory for the outputs");
    }
    return RFHE_OK;
}

static rfhe_status read_nodes(rfhe_onnx_reader *r)
{
    rfhe_status st = RFHE_OK;
    const size_t n = r->src->n_node;
    uint32_t n_order = 0, *order = rfhe_alloc(n, sizeof *order),
             *stack = rfhe_alloc(n, sizeof *stack);
    uint32_t *next = rfhe_calloc(n, sizeof *next);
    uint8_t *mark = rfhe_calloc(n, 1);

    if (order == NULL || stack == NULL || next == NULL || mark == NULL) {
        st = rfhe_fail(r->err, RFHE_E_NOMEM, "no memory to sort %zu nodes", n);
        goto done;
    }
    RFHE_TRY(order_nodes(r, order, &n_order, mark, stack, next));
    for (uint32_t i = 0; i < n_order; i++) { RFHE_TRY(read_node(r, order[i])); }
    for (uint32_t i = 0; i < r->n_entries; i++) { /* inputs that nobody uses */
        const rfhe_onnx_entry *e = &r->entries[i];
        rfhe_shape shape = {0};
        if (e->input != NULL && !e->is_constant && e->value == RFHE_NO_VALUE) {
            RFHE_TRY(input_shape(e->input, &shape, r->err));
        }
    }
    RFHE_TRY(add_outputs(r));

done:
    rfhe_free(order);
    rfhe_free(stack);
    rfhe_free(next);
    rfhe_free(mark);
    return st;
}

static rfhe_status read_metas(rfhe_onnx_reader *r, const Onnx__ModelProto *m)
{
    if (m->n_metadata_props > MAX_METAS) {
        return rfhe_fail(r->err, RFHE_E_UNSUPPORTED,
                         "the model has %zu metadata entries, at most %d are supported",
                         m->n_metadata_props, MAX_METAS);
    }
    for (size_t i = 0; i < m->n_metadata_props; i++) {
        const char *key = m->metadata_props[i]->key, *value = m->metadata_props[i]->value;
        if (key == NULL || key[0] == '\0') { continue; }
        if (rfhe_graph_meta(r->g, key) != NULL) {
            return rfhe_fail(r->err, RFHE_E_FORMAT, "the metadata key '%.100s' appears twice", key);
        }
        const rfhe_status st = rfhe_graph_set_meta(r->g, key, value != NULL ? value : "");
        if (st != RFHE_OK) { return rfhe_fail(r->err, st, "no memory for the metadata"); }
    }
    return RFHE_OK;
}

static rfhe_status check_imports(const rfhe_onnx_reader *r)
{
    bool found = false;

    for (size_t i = 0; i < r->model->n_opset_import; i++) {
        const char *domain = r->model->opset_import[i]->domain;
        if (domain != NULL && domain[0] != '\0' && strcmp(domain, "ai.onnx") != 0) { continue; }
        if (found) {
            return rfhe_fail(r->err, RFHE_E_FORMAT,
                             "the model imports two opsets of domain ai.onnx");
        }
        found = true;
    }
    return RFHE_OK;
}

static rfhe_status read_model(rfhe_onnx_reader *r, const Onnx__ModelProto *m)
{
    rfhe_status st = RFHE_OK;
    const char *name = NULL;

    if (m->graph == NULL) {
        st = rfhe_fail(r->err, RFHE_E_FORMAT, "the model holds no graph");
        goto done;
    }
    r->src = m->graph;
    if (m->graph->n_output == 0) {
        st = rfhe_fail(r->err, RFHE_E_FORMAT, "the model has no output");
        goto done;
    }
    name = m->graph->name != NULL && m->graph->name[0] != '\0' ? m->graph->name : NULL;
    st = rfhe_graph_new(&r->g, name);
    if (st != RFHE_OK) {
        st = rfhe_fail(r->err, st, "no memory for the graph");
        goto done;
    }
    r->model = m;
    r->opset = opset_of(r, "ai.onnx");
    RFHE_TRY(check_imports(r));
    RFHE_TRY(check_presence(r));
    RFHE_TRY(size_table(r));
    RFHE_TRY(enter_constants(r));
    for (size_t i = 0; i < m->graph->n_sparse_initializer; i++) {
        const Onnx__TensorProto *values = m->graph->sparse_initializer[i]->values;
        st = rfhe_fail(r->err, RFHE_E_UNSUPPORTED,
                       "the sparse initializer '%.100s' is not supported",
                       values != NULL && values->name != NULL ? values->name : "");
        goto done;
    }
    RFHE_TRY(enter_inputs(r));
    RFHE_TRY(enter_nodes(r));
    RFHE_TRY(read_nodes(r));
    RFHE_TRY(read_metas(r, m));
    RFHE_TRY(rfhe_graph_tidy(r->g, r->err));

done:
    return st;
}

rfhe_status rfhe_onnx_read_memory(rfhe_graph **out, const void *data, size_t size,
                                  const rfhe_onnx_options *opt, rfhe_error *err)
{
    static const rfhe_onnx_options none = {0};
    rfhe_status st = RFHE_OK;
    rfhe_onnx_arena arena = {0};
    ProtobufCMessage *model = NULL;
    rfhe_onnx_reader r = {.opt = opt != NULL ? opt : &none, .err = err};

    r.folder = r.opt->folder;
    r.budget = ((uint64_t)64 << 20) + 16 * (uint64_t)size;
    r.external_budget = (uint64_t)4 << 30;
    RFHE_TRY(rfhe_onnx_parse(&model, &arena, &onnx__model_proto__descriptor, data, size,
                             "the model", err));
    RFHE_TRY(read_model(&r, (const Onnx__ModelProto *)(const void *)model));
    *out = r.g;
    r.g = NULL;

done:
    for (uint32_t i = 0; i < r.n_entries; i++) { rfhe_tensor_free(r.entries[i].owned); }
    rfhe_free(r.entries);
    rfhe_free(r.index);
    rfhe_graph_free(r.g);
    rfhe_onnx_arena_clear(&arena);
    return st;
}

rfhe_status rfhe_onnx_read(rfhe_graph **out, const char *path, const rfhe_onnx_options *opt,
                           rfhe_error *err)
{
    rfhe_onnx_options with_folder = {0};
    rfhe_file_map map = {0};
    char folder[PATH_MAX];
    rfhe_error inner = {0};
    const char *slash = strrchr(path, '/');
    const size_t length =
        slash == NULL ? 1 : (size_t)(slash - path) + 1; /* the slash stays: "/" is a folder too */
    rfhe_status st = rfhe_file_map_open(&map, path, err);

    if (st != RFHE_OK) { return st; }
    if (length >= sizeof folder) {
        st = rfhe_fail(err, RFHE_E_ARG, "the path of the model is longer than %zu bytes",
                       sizeof folder - 1);
        goto done;
    }
    memcpy(folder, slash == NULL ? "." : path, length);
    folder[length] = '\0';
    if (opt != NULL) { with_folder = *opt; }
    if (with_folder.folder == NULL) { with_folder.folder = folder; }
    st = rfhe_onnx_read_memory(out, map.data, map.size, &with_folder, &inner);
    if (st != RFHE_OK) { st = rfhe_fail(err, st, "%.150s: %s", path, inner.text); }

done:
    rfhe_file_map_close(&map);
    return st;
}
