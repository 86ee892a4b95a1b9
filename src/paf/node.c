/* See node.h. */
#include "paf/node.h"

#include "base/mem.h"
#include "base/text.h"
#include "paf/kernels.h"
#include "paf/layer.h"

#include <jansson.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the shape of a PAF in the words of an attribute ---- */

enum { WORD_KIND, WORD_STAGES, WORD_TERMS };

static void shape_to_words(rfhe_attr *a, const rfhe_paf *p)
{
    a->custom.word[WORD_KIND] = (uint32_t)p->kind;
    a->custom.word[WORD_STAGES] = p->n_stages;
    for (uint32_t s = 0; s < p->n_stages; s++) { a->custom.word[WORD_TERMS + s] = p->n_terms[s]; }
}

/* Zero coefficients. */
static rfhe_paf shape_of(const rfhe_attr *a)
{
    rfhe_paf p = {.kind = (rfhe_paf_kind)a->custom.word[WORD_KIND],
                  .n_stages = a->custom.word[WORD_STAGES]};

    for (uint32_t s = 0; s < p.n_stages && s < RFHE_PAF_MAX_STAGES; s++) {
        p.n_terms[s] = a->custom.word[WORD_TERMS + s];
    }
    return p;
}

bool rfhe_paf_node_is_line(const rfhe_node *n)
{
    if (!rfhe_paf_node_is(n)) { return false; }
    const rfhe_paf p = shape_of(&n->attr);
    return p.kind == RFHE_PAF_GENERAL && p.n_terms[0] == 2;
}

static void coef_from(rfhe_paf *p, const float *coef)
{
    double flat[RFHE_PAF_MAX_COEFS];
    const size_t n = rfhe_paf_coef_count(p);

    for (size_t j = 0; j < n; j++) { flat[j] = (double)coef[j]; }
    rfhe_paf_coef_set(p, flat);
}

/* ---- running ---- */

typedef struct state {
    rfhe_paf_layer *layer;
    rfhe_paf_control *control;
    const rfhe_paf_kernels *kernels;
    float *scale;           /* in force                                                     */
    float *clamp, *inverse; /* clamp times scale; 1 / (range times scale)                   */
    size_t sets, n_coef;
    double images;
    float alpha, weight; /* weight: of the penalty of one image's values in the batch's loss */
    bool training, clamps, was_dynamic;
} state;

static void paf_close(void *v)
{
    state *s = v;

    rfhe_paf_layer_free(s->layer);
    rfhe_free(s->scale);
    rfhe_free(s->clamp);
    rfhe_free(s->inverse);
    rfhe_free(s);
}

static rfhe_status paf_open(void **out, size_t *n_sums, const rfhe_custom_view *v, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    const rfhe_paf shape = shape_of(&v->node->attr);
    const size_t n_coef = rfhe_paf_coef_count(&shape), channels = (size_t)v->x->dim[1];
    rfhe_paf *p = NULL;
    double *scale = NULL;
    state *s = rfhe_calloc(1, sizeof *s);

    if (s == NULL) { return RFHE_E_NOMEM; }
    s->sets = v->node->n_inputs == 3 ? v->counts[1] : 0;
    s->n_coef = n_coef;
    if ((s->sets != 1 && s->sets != channels) || n_coef == 0 || v->counts[0] != s->sets * n_coef) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "node '%s' (PAF): %zu scales do not suit %zu channels",
                       v->node->name, s->sets, channels);
        goto done;
    }
    p = rfhe_calloc(s->sets, sizeof *p);
    scale = rfhe_alloc(s->sets, sizeof *scale);
    s->scale = rfhe_alloc(s->sets, sizeof *s->scale);
    s->clamp = rfhe_alloc(s->sets, sizeof *s->clamp);
    s->inverse = rfhe_alloc(s->sets, sizeof *s->inverse);
    if (p == NULL || scale == NULL || s->scale == NULL || s->clamp == NULL || s->inverse == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for an activation of %zu channels", channels);
        goto done;
    }
    for (size_t i = 0; i < s->sets; i++) {
        p[i] = shape;
        coef_from(&p[i], v->params[0] + i * n_coef);
        scale[i] = (double)v->params[1][i];
    }
    RFHE_TRY(rfhe_paf_layer_new(&s->layer, p, scale, s->sets,
                                (rfhe_paf_layout){.channels = channels, .inner = 1}, RFHE_PAF_FLOAT,
                                err));
    s->control = v->node->attr.custom.control;
    s->kernels = rfhe_paf_kernels_for(rfhe_cpu_isa());
    s->training = v->training;
    s->images = (double)v->x->dim[0];
    *n_sums = (n_coef + 1) * s->sets + 1;
    *out = s;
    s = NULL;

done:
    rfhe_free(p);
    rfhe_free(scale);
    if (s != NULL) { paf_close(s); }
    return st;
}

static bool paf_wants_reach(const void *v)
{
    const state *s = v;

    return s->control != NULL && s->control->dynamic;
}

static void paf_begin(void *v, const float *const *params, bool changed, double reach)
{
    state *s = v;
    const rfhe_paf_control *c = s->control;

    s->alpha = s->training && c != NULL ? (float)c->alpha : 0.0F;
    s->clamps = s->training && c != NULL && c->clamp > 0;
    s->weight = s->training && c != NULL ? (float)(c->penalty / s->images) : 0.0F;
    if (c != NULL && c->dynamic) {
        for (size_t i = 0; i < s->sets; i++) { s->scale[i] = reach > 0 ? (float)reach : 1.0F; }
    } else {
        memcpy(s->scale, params[1], s->sets * sizeof *s->scale);
    }
    const bool dynamic = c != NULL && c->dynamic;
    if (changed || dynamic || s->was_dynamic) {
        rfhe_paf_layer_update(s->layer, params[0], s->scale);
    }
    s->was_dynamic = dynamic;
    for (size_t i = 0; i < s->sets; i++) {
        const double range = c != NULL && c->range > 0 ? c->range : 1.0;
        s->clamp[i] = s->clamps ? (float)(c->clamp * (double)s->scale[i]) : INFINITY;
        s->inverse[i] = (float)(1.0 / (range * (double)s->scale[i]));
    }
}

/* A block as the kernels for training see it: rows of n values, whose limits begin at `first`, `step` apart. */
typedef struct rows {
    size_t rows, n, first, step;
} rows;

static rows rows_of(const state *s, const rfhe_custom_block *b)
{
    if (s->sets > 1 && b->inner == 1) { return (rows){b->outer, b->channels, b->first, 1}; }
    return (rows){1, b->outer * b->channels * b->inner, s->sets > 1 ? b->first : 0, 0};
}

static void paf_forward(const void *v, float *x, const rfhe_custom_block *b)
{
    const state *s = v;
    const rows r = rows_of(s, b);
    const size_t n = r.rows * r.n;
    const float *limit = s->clamp + r.first;
    float y[RFHE_CUSTOM_BLOCK];

    if (s->alpha == 0.0F) {
        if (s->clamps) { s->kernels->clamp(x, x, r.rows, r.n, limit, r.step); }
        rfhe_paf_layer_forward_part(s->layer, x, x, b->outer, b->first, b->channels, b->inner);
        return;
    }
    if (s->clamps) {
        s->kernels->clamp(y, x, r.rows, r.n, limit, r.step);
        rfhe_paf_layer_forward_part(s->layer, y, y, b->outer, b->first, b->channels, b->inner);
    } else {
        rfhe_paf_layer_forward_part(s->layer, y, x, b->outer, b->first, b->channels, b->inner);
    }
    s->kernels->blend(y, x, n, s->alpha);
    memcpy(x, y, n * sizeof *y);
}

static void paf_backward(const void *v, float *dx, double *sums, float *x, const float *dy,
                         const rfhe_custom_block *b)
{
    const state *s = v;
    const rows r = rows_of(s, b);
    const size_t n = r.rows * r.n;
    const float share = 1.0F - s->alpha;
    const rfhe_paf_edge edge = {.clamp = s->clamps ? s->clamp + r.first : NULL,
                                .inverse = s->inverse + r.first,
                                .step = r.step,
                                .alpha = s->alpha,
                                .weight = s->weight};
    float g[RFHE_CUSTOM_BLOCK], inside[RFHE_CUSTOM_BLOCK];
    const float *seen = x, *dp = dy;

    if (s->clamps) {
        s->kernels->clamp(inside, x, r.rows, r.n, s->clamp + r.first, r.step);
        seen = inside;
    }
    if (s->alpha != 0.0F) {
        for (size_t i = 0; i < n; i++) { g[i] = share * dy[i]; }
        dp = g;
    }
    rfhe_paf_layer_backward_part(s->layer, dx, sums, seen, dp, b->outer, b->first, b->channels,
                                 b->inner);
    if (s->clamps || s->alpha != 0.0F || s->weight > 0.0F) {
        sums[(s->n_coef + 1) * s->sets] += s->kernels->edge(dx, x, dy, r.rows, r.n, &edge);
    }
}

static void paf_finish(void *v, float *const *dparams, const double *sums)
{
    state *s = v;

    if (dparams[0] != NULL) {
        for (size_t i = 0; i < s->sets; i++) {
            for (size_t j = 0; j < s->n_coef; j++) {
                dparams[0][i * s->n_coef + j] += (float)sums[j * s->sets + i];
            }
        }
    }
    if (s->control != NULL && s->weight > 0.0F) {
        s->control->penalty_sum += sums[(s->n_coef + 1) * s->sets] / s->images;
        s->control->penalty_runs++;
    }
}

/* ---- nodes ---- */

static rfhe_status add_floats(rfhe_graph *g, rfhe_value_id *out, const char *node, const char *what,
                              const rfhe_shape *shape, const float *data)
{
    rfhe_tensor *t = NULL;
    char name[512];
    rfhe_status st = rfhe_tensor_new(&t, RFHE_F32, shape);

    if (st != RFHE_OK) { return st; }
    memcpy(t->f32, data, t->count * sizeof *data);
    (void)snprintf(name, sizeof name, "%.400s%s", node, what);
    st = rfhe_graph_add_constant(g, out, name, t);
    if (st != RFHE_OK) { rfhe_tensor_free(t); }
    return st;
}

rfhe_status rfhe_paf_node_set(rfhe_graph *g, uint32_t at, const char *form, const rfhe_paf *p,
                              const double *scale, size_t sets, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_attr attr = {.custom = {.op = &rfhe_paf_custom}};
    rfhe_value_id in[3] = {0};
    float *flat = NULL, *s = NULL;
    rfhe_value_id *more = NULL;
    const size_t n = rfhe_paf_coef_count(p);
    double row[RFHE_PAF_MAX_COEFS];
    rfhe_node *node = &g->nodes[at];
    const bool is_paf = rfhe_paf_node_is(node);

    if (!is_paf && node->op != RFHE_OP_RELU && node->op != RFHE_OP_CLIP) {
        return rfhe_fail(err, RFHE_E_ARG, "node '%s' (%s) is no activation", node->name,
                         rfhe_op_name(node->op));
    }
    shape_to_words(&attr, p);
    (void)snprintf(attr.custom.label, sizeof attr.custom.label, "%s", form);
    if (is_paf) { attr.custom.control = node->attr.custom.control; }
    flat = rfhe_alloc(sets * n, sizeof *flat);
    s = rfhe_alloc(sets, sizeof *s);
    more = rfhe_alloc(3, sizeof *more);
    if (flat == NULL || s == NULL || more == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for an activation of %zu sets", sets);
        goto done;
    }
    for (size_t i = 0; i < sets; i++) {
        RFHE_TRY(rfhe_paf_check(&p[i], err));
        if (!(scale[i] > 0 && isfinite(scale[i]))) {
            st = rfhe_fail(err, RFHE_E_ARG, "scale %g of '%s' is not a positive number", scale[i],
                           node->name);
            goto done;
        }
        rfhe_paf_coef_get(&p[i], row);
        for (size_t j = 0; j < n; j++) { flat[i * n + j] = (float)row[j]; }
        s[i] = (float)scale[i];
    }
    const rfhe_shape coef_shape = {.rank = 2, .dim = {(int64_t)sets, (int64_t)n}};
    const rfhe_shape scale_shape = {.rank = 1, .dim = {(int64_t)sets}};
    in[0] = node->inputs[0];
    RFHE_TRY(add_floats(g, &in[1], node->name, ".coef", &coef_shape, flat));
    node = &g->nodes[at];
    RFHE_TRY(add_floats(g, &in[2], node->name, ".scale", &scale_shape, s));
    node = &g->nodes[at];
    memcpy(more, in, sizeof in);
    rfhe_free(node->inputs);
    node->inputs = more;
    more = NULL;
    node->n_inputs = 3;
    node->op = RFHE_OP_CUSTOM;
    node->attr = attr;

done:
    rfhe_free(flat);
    rfhe_free(s);
    rfhe_free(more);
    return st;
}

rfhe_status rfhe_paf_node_get(const rfhe_graph *g, const rfhe_node *n, rfhe_paf *p, double *scale,
                              size_t *sets, rfhe_error *err)
{
    const rfhe_tensor *coef = rfhe_graph_constant(g, n, 1), *s = rfhe_graph_constant(g, n, 2);
    rfhe_status st = RFHE_OK;

    if (!rfhe_paf_node_is(n) || coef == NULL || s == NULL) {
        return rfhe_fail(err, RFHE_E_ARG, "node '%s' is no polynomial activation", n->name);
    }
    const rfhe_paf shape = shape_of(&n->attr);
    const size_t n_coef = rfhe_paf_coef_count(&shape);
    if (coef->count != s->count * n_coef) {
        return rfhe_fail(err, RFHE_E_ARG, "node '%s' has %zu coefficients for %zu sets of %zu",
                         n->name, coef->count, s->count, n_coef);
    }
    *sets = s->count;
    for (size_t i = 0; i < s->count && p != NULL; i++) {
        p[i] = shape;
        coef_from(&p[i], coef->f32 + i * n_coef);
        RFHE_TRY(rfhe_paf_check(&p[i], err));
    }
    for (size_t i = 0; i < s->count && scale != NULL; i++) { scale[i] = (double)s->f32[i]; }

done:
    return st;
}

void rfhe_paf_set_control(rfhe_graph *g, rfhe_paf_control *control)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (rfhe_paf_node_is(&g->nodes[i])) { g->nodes[i].attr.custom.control = control; }
    }
}

void rfhe_paf_rescale(rfhe_paf *p, double from, double to)
{
    const double ratio = to / from; /* u_from = u_to * ratio; f_to(u) = f_from(u ratio) / ratio */

    if (p->kind == RFHE_PAF_SIGN) {
        double power = ratio;
        for (uint32_t j = 0; j < p->n_terms[0]; j++) {
            p->coef[0][j] *= power;
            power *= ratio * ratio;
        }
        return;
    }
    const bool is_even = p->kind == RFHE_PAF_EVEN;
    const uint32_t n = is_even ? p->n_terms[0] - 1 : p->n_terms[0];
    rfhe_paf q = *p;
    for (uint32_t k = 0; k < n;
         k++) { /* discrete cosine transform of the values at Chebyshev nodes */
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            const double angle = M_PI * (i + 0.5) / n, t = cos(angle);
            const double u = is_even ? sqrt((1 + t) / 2) : t;
            double value = rfhe_paf_value(p, u * ratio) / ratio;
            if (is_even) { value -= p->coef[0][n] * u; }
            sum += value * cos(k * angle);
        }
        q.coef[0][k] = sum * (k == 0 ? 1.0 : 2.0) / n;
    }
    *p = q;
}

/* ---- export: a chain of ordinary operators ---- */

/* Adds nodes named NODE/paf/I; constants have one value, or one per channel, shaped to broadcast over dimension 1. */
typedef struct chain {
    rfhe_graph *g;
    char node[400];
    rfhe_shape shape; /* of the constants */
    size_t sets;
    unsigned count;
    rfhe_status st;
} chain;

static rfhe_value_id chain_constant(chain *c, const float *values)
{
    rfhe_value_id v = 0;
    char what[32];

    (void)snprintf(what, sizeof what, "/paf/c%u", c->count++);
    if (c->st == RFHE_OK) { c->st = add_floats(c->g, &v, c->node, what, &c->shape, values); }
    return v;
}

static rfhe_value_id chain_number(chain *c, float value)
{
    const rfhe_shape scalar = {.rank = 0};
    rfhe_value_id v = 0;
    char what[32];

    (void)snprintf(what, sizeof what, "/paf/c%u", c->count++);
    if (c->st == RFHE_OK) { c->st = add_floats(c->g, &v, c->node, what, &scalar, &value); }
    return v;
}

static rfhe_value_id chain_op(chain *c, rfhe_op op, rfhe_value_id a, rfhe_value_id b)
{
    rfhe_value_id v = 0;
    char name[480];

    (void)snprintf(name, sizeof name, "%s/paf/%u", c->node, c->count++);
    if (c->st == RFHE_OK) {
        c->st = rfhe_graph_add_node(c->g, &v, op, name, (rfhe_value_id[]){a, b}, 2, NULL);
    }
    return v;
}

/* (last node) writes the value `out`. */
static void chain_end(chain *c, rfhe_op op, rfhe_value_id a, rfhe_value_id b, rfhe_value_id out)
{
    char name[480];

    (void)snprintf(name, sizeof name, "%s/paf/out", c->node);
    if (c->st == RFHE_OK) {
        c->st = rfhe_graph_add_node_to(c->g, op, name, (rfhe_value_id[]){a, b}, 2, &out, 1, NULL);
    }
}

/* values[i] = factor(i) * coefficient j of set i */
static rfhe_value_id chain_coef(chain *c, const rfhe_paf *p, uint32_t stage, uint32_t j,
                                const double *scale, double factor, float *values)
{
    for (size_t i = 0; i < c->sets; i++) {
        values[i] = (float)(factor * (scale != NULL ? scale[i] : 1.0) * p[i].coef[stage][j]);
    }
    return chain_constant(c, values);
}

/* x (1 + P(u)) / 2: Horner in the square of each stage's input. */
static void chain_sign(chain *c, const rfhe_paf *p, rfhe_value_id x, rfhe_value_id u,
                       rfhe_value_id out, float *values)
{
    rfhe_value_id y = u;

    for (uint32_t s = 0; s < p[0].n_stages; s++) {
        const double half = s + 1 == p[0].n_stages ? 0.5 : 1.0;
        const uint32_t n = p[0].n_terms[s];
        rfhe_value_id h = chain_coef(c, p, s, n - 1, NULL, half, values);
        if (n > 1) {
            const rfhe_value_id t = chain_op(c, RFHE_OP_MUL, y, y);
            for (uint32_t j = n - 1; j-- > 0;) {
                h = chain_op(c, RFHE_OP_MUL, h, t);
                h = chain_op(c, RFHE_OP_ADD, h, chain_coef(c, p, s, j, NULL, half, values));
            }
        }
        y = chain_op(c, RFHE_OP_MUL, y, h);
    }
    y = chain_op(c, RFHE_OP_ADD, y, chain_number(c, 0.5F));
    chain_end(c, RFHE_OP_MUL, x, y, out);
}

/* sum s c_k T_k(t) + s l u, t = 2u^2 - 1 or u, by the three-term recurrence. */
static void chain_chebyshev(chain *c, const rfhe_paf *p, const double *scale, rfhe_value_id u,
                            rfhe_value_id out, float *values)
{
    const bool is_even = p[0].kind == RFHE_PAF_EVEN;
    const uint32_t n = is_even ? p[0].n_terms[0] - 1 : p[0].n_terms[0];
    rfhe_value_id t = u, twice = 0, before = 0, now = 0;

    if (is_even) {
        const rfhe_value_id q = chain_op(c, RFHE_OP_MUL, u, u);
        t = chain_op(c, RFHE_OP_ADD, chain_op(c, RFHE_OP_MUL, q, chain_number(c, 2.0F)),
                     chain_number(c, -1.0F));
    }
    if (n > 2) { twice = chain_op(c, RFHE_OP_ADD, t, t); }
    rfhe_value_id sum = chain_coef(c, p, 0, 0, scale, 1.0, values);
    for (uint32_t k = 1; k < n; k++) {
        if (k == 1) {
            now = t;
        } else {
            const rfhe_value_id product = chain_op(c, RFHE_OP_MUL, twice, now);
            const rfhe_value_id next =
                k == 2 ? chain_op(c, RFHE_OP_ADD, product, chain_number(c, -1.0F))
                       : chain_op(c, RFHE_OP_SUB, product, before);
            before = now;
            now = next;
        }
        const rfhe_value_id term =
            chain_op(c, RFHE_OP_MUL, now, chain_coef(c, p, 0, k, scale, 1.0, values));
        if (k + 1 == n && !is_even) {
            chain_end(c, RFHE_OP_ADD, term, sum, out);
            return;
        }
        sum = chain_op(c, RFHE_OP_ADD, term, sum);
    }
    const rfhe_value_id line =
        chain_op(c, RFHE_OP_MUL, u,
                 chain_coef(c, p, 0, is_even ? n : 0, scale, is_even ? 1.0 : 0.0, values));
    chain_end(c, RFHE_OP_ADD, line, sum, out);
}

/* The record of one node; RFHE_E_NOMEM is left to the text. */
static void write_record(rfhe_text *out, const rfhe_graph *g, const rfhe_node *n, const rfhe_paf *p,
                         const double *scale, size_t sets, rfhe_value_id output)
{
    static const char *const kinds[] = {"sign", "even", "general"};
    const size_t n_coef = rfhe_paf_coef_count(p);
    double flat[RFHE_PAF_MAX_COEFS];
    rfhe_json j = {.out = out};

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "node", n->name);
    rfhe_json_string(&j, "input", g->values[n->inputs[0]].name);
    rfhe_json_string(&j, "output", g->values[output].name);
    rfhe_json_string(&j, "form", rfhe_paf_node_form(n));
    rfhe_json_string(&j, "kind", kinds[p->kind]);
    rfhe_json_array(&j, "terms");
    for (uint32_t s = 0; s < p->n_stages; s++) {
        rfhe_json_integer(&j, NULL, (int64_t)p->n_terms[s]);
    }
    rfhe_json_end_array(&j);
    rfhe_json_array(&j, "scale");
    for (size_t i = 0; i < sets; i++) { rfhe_json_number(&j, NULL, scale[i]); }
    rfhe_json_end_array(&j);
    rfhe_json_array(&j, "coef");
    for (size_t i = 0; i < sets; i++) {
        rfhe_paf_coef_get(&p[i], flat);
        rfhe_json_array(&j, NULL);
        for (size_t k = 0; k < n_coef; k++) { rfhe_json_number(&j, NULL, flat[k]); }
        rfhe_json_end_array(&j);
    }
    rfhe_json_end_array(&j);
    rfhe_json_end_object(&j);
}

static rfhe_status store_record(rfhe_graph *g, const rfhe_node *n, const rfhe_paf *p,
                                const double *scale, size_t sets, rfhe_value_id output)
{
    rfhe_text text = {0};
    char key[32];
    unsigned index = 0;

    do {
        (void)snprintf(key, sizeof key, "rfhe.paf.%u", index++);
    } while (rfhe_graph_meta(g, key) != NULL);
    write_record(&text, g, n, p, scale, sets, output);
    rfhe_status st = rfhe_text_status(&text);
    if (st == RFHE_OK) { st = rfhe_graph_set_meta(g, key, text.data); }
    rfhe_text_clear(&text);
    return st;
}

static rfhe_status paf_expand(rfhe_graph *g, uint32_t at, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf *p = NULL;
    double *scale = NULL;
    float *values = NULL;
    size_t sets = 0;
    chain c = {.g = g};
    rfhe_value_id unread = 0;

    RFHE_TRY(rfhe_paf_node_get(g, &g->nodes[at], NULL, NULL, &sets, err));
    p = rfhe_calloc(sets, sizeof *p);
    scale = rfhe_alloc(sets, sizeof *scale);
    values = rfhe_alloc(sets, sizeof *values);
    if (p == NULL || scale == NULL || values == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to write an activation of %zu sets", sets);
        goto done;
    }
    RFHE_TRY(rfhe_paf_node_get(g, &g->nodes[at], p, scale, &sets, err));
    const rfhe_value_id x = g->nodes[at].inputs[0], out = g->nodes[at].outputs[0];
    (void)snprintf(c.node, sizeof c.node, "%s", g->nodes[at].name);
    c.sets = sets;
    if (sets > 1) {
        c.shape.rank = g->values[x].shape.rank - 1;
        for (uint32_t i = 0; i < c.shape.rank; i++) { c.shape.dim[i] = i == 0 ? (int64_t)sets : 1; }
    }
    RFHE_TRY(store_record(g, &g->nodes[at], p, scale, sets, out));
    RFHE_TRY(rfhe_graph_add_value(g, &unread, NULL, RFHE_F32, &g->values[out].shape));
    g->nodes[at].outputs[0] = unread;
    g->values[unread].producer = at;
    for (size_t i = 0; i < sets; i++) { values[i] = (float)(1 / scale[i]); }
    const rfhe_value_id u = chain_op(&c, RFHE_OP_MUL, x, chain_constant(&c, values));
    if (p[0].kind == RFHE_PAF_SIGN) {
        chain_sign(&c, p, x, u, out, values);
    } else {
        chain_chebyshev(&c, p, scale, u, out, values);
    }
    st = c.st;

done:
    rfhe_free(p);
    rfhe_free(scale);
    rfhe_free(values);
    return st;
}

/* ---- import: finding the chains again ---- */

typedef struct record {
    const char *node, *input, *output, *form;
    rfhe_paf *p;
    double *scale;
    size_t sets;
} record;

static void record_clear(record *r)
{
    rfhe_free(r->p);
    rfhe_free(r->scale);
}

static bool read_set(rfhe_paf *p, const rfhe_paf *shape, const json_t *row)
{
    double flat[RFHE_PAF_MAX_COEFS];
    const size_t n = rfhe_paf_coef_count(shape);

    if (json_array_size(row) != n) { return false; }
    for (size_t k = 0; k < n; k++) {
        if (!json_is_number(json_array_get(row, k))) { return false; }
        flat[k] = json_number_value(json_array_get(row, k));
    }
    *p = *shape;
    rfhe_paf_coef_set(p, flat);
    return rfhe_paf_check(p, NULL) == RFHE_OK;
}

static bool read_shape(rfhe_paf *p, const json_t *root)
{
    const char *kind = json_string_value(json_object_get(root, "kind"));
    const json_t *terms = json_object_get(root, "terms");
    const size_t n = json_array_size(terms);

    *p = (rfhe_paf){0};
    if (kind == NULL || n < 1 || n > RFHE_PAF_MAX_STAGES) { return false; }
    if (strcmp(kind, "sign") == 0) {
        p->kind = RFHE_PAF_SIGN;
    } else if (strcmp(kind, "even") == 0) {
        p->kind = RFHE_PAF_EVEN;
    } else if (strcmp(kind, "general") == 0) {
        p->kind = RFHE_PAF_GENERAL;
    } else {
        return false;
    }
    p->n_stages = (uint32_t)n;
    for (size_t s = 0; s < n; s++) {
        const json_int_t t = json_integer_value(json_array_get(terms, s));
        if (t < 1 || t > RFHE_PAF_MAX_TERMS) { return false; }
        p->n_terms[s] = (uint32_t)t;
    }
    return true;
}

/* Strings stay owned by `root`. */
static rfhe_status read_record(record *r, const json_t *root, const char *key, rfhe_error *err)
{
    const json_t *scale = json_object_get(root, "scale"), *coef = json_object_get(root, "coef");
    rfhe_paf shape;
    bool ok = read_shape(&shape, root);

    r->node = json_string_value(json_object_get(root, "node"));
    r->input = json_string_value(json_object_get(root, "input"));
    r->output = json_string_value(json_object_get(root, "output"));
    r->form = json_string_value(json_object_get(root, "form"));
    r->sets = json_array_size(scale);
    ok = ok && r->node != NULL && r->input != NULL && r->output != NULL && r->form != NULL &&
         r->sets >= 1 && json_array_size(coef) == r->sets;
    if (ok) {
        r->p = rfhe_calloc(r->sets, sizeof *r->p);
        r->scale = rfhe_calloc(r->sets, sizeof *r->scale);
        if (r->p == NULL || r->scale == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory to read '%s'", key);
        }
    }
    for (size_t i = 0; ok && i < r->sets; i++) {
        r->scale[i] = json_number_value(json_array_get(scale, i));
        ok = r->scale[i] > 0 && isfinite(r->scale[i]) &&
             read_set(&r->p[i], &shape, json_array_get(coef, i));
    }
    return ok ? RFHE_OK
              : rfhe_fail(err, RFHE_E_FORMAT, "the metadata '%s' does not describe a PAF", key);
}

static const rfhe_node *node_named(const rfhe_graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (strcmp(g->nodes[i].name, name) == 0) { return &g->nodes[i]; }
    }
    return NULL;
}

static bool same_value(const rfhe_graph *a, rfhe_value_id i, const rfhe_graph *b, rfhe_value_id k)
{
    const rfhe_value *x = &a->values[i], *y = &b->values[k];

    if (strcmp(x->name, y->name) != 0 || (x->constant == NULL) != (y->constant == NULL)) {
        return false;
    }
    return x->constant == NULL ||
           (x->constant->dtype == RFHE_F32 && y->constant->dtype == RFHE_F32 &&
            rfhe_shape_equal(&x->constant->shape, &y->constant->shape) &&
            memcmp(x->constant->f32, y->constant->f32, x->constant->count * sizeof(float)) == 0);
}

/* Whether `g` holds every node of `fresh` with the same operator, operands and constants. */
static bool contains(const rfhe_graph *g, const rfhe_graph *fresh)
{
    for (uint32_t i = 0; i < fresh->n_nodes; i++) {
        const rfhe_node *want = &fresh->nodes[i], *have = node_named(g, want->name);
        if (have == NULL || have->op != want->op || have->n_inputs != want->n_inputs ||
            have->n_outputs != 1 || !same_value(g, have->outputs[0], fresh, want->outputs[0])) {
            return false;
        }
        for (uint32_t k = 0; k < want->n_inputs; k++) {
            if (have->inputs[k] == RFHE_NO_VALUE ||
                !same_value(g, have->inputs[k], fresh, want->inputs[k])) {
                return false;
            }
        }
    }
    return true;
}

/* One activation of its own: input, Relu under the node's name, output, turned into the PAF of the record. */
static rfhe_status lone_activation(rfhe_graph **out, const record *r, const rfhe_shape *shape,
                                   rfhe_error *err)
{
    rfhe_graph *g = NULL;
    rfhe_value_id x = 0, y = 0;
    rfhe_status st = rfhe_graph_new(&g, "paf");

    if (st != RFHE_OK) { return st; }
    RFHE_TRY(rfhe_graph_add_value(g, &x, r->input, RFHE_F32, shape));
    RFHE_TRY(rfhe_graph_add_value(g, &y, r->output, RFHE_F32, shape));
    RFHE_TRY(rfhe_graph_add_input(g, x));
    RFHE_TRY(rfhe_graph_add_output(g, y));
    RFHE_TRY(rfhe_graph_add_node_to(g, RFHE_OP_RELU, r->node, &x, 1, &y, 1, NULL));
    RFHE_TRY(rfhe_paf_node_set(g, 0, r->form, r->p, r->scale, r->sets, err));
    RFHE_TRY(rfhe_graph_expand(g, err));
    *out = g;
    g = NULL;

done:
    rfhe_graph_free(g);
    return st;
}

/* *done: the chain was there and is a PAF node now (the old nodes wait for tidying). */
static rfhe_status fuse_one(rfhe_graph *g, const record *r, bool *done_it, rfhe_error *err)
{
    const rfhe_value_id x = rfhe_graph_find(g, r->input), y = rfhe_graph_find(g, r->output);
    rfhe_graph *fresh = NULL;
    rfhe_value_id unread = 0;
    rfhe_status st = RFHE_OK;

    *done_it = false;
    if (x == RFHE_NO_VALUE || y == RFHE_NO_VALUE || g->values[y].producer == RFHE_NO_NODE ||
        !g->values[x].has_shape || g->values[x].shape.rank < 2 ||
        (r->sets != 1 && g->values[x].shape.dim[1] != (int64_t)r->sets)) {
        return RFHE_OK;
    }
    const rfhe_shape shape = g->values[x].shape;
    RFHE_TRY(lone_activation(&fresh, r, &shape, err));
    if (!contains(g, fresh)) { goto done; }
    RFHE_TRY(rfhe_graph_add_value(g, &unread, NULL, RFHE_F32, &shape));
    const uint32_t last = g->values[y].producer;
    g->nodes[last].outputs[0] = unread;
    g->values[unread].producer = last;
    const uint32_t at = g->n_nodes;
    RFHE_TRY(rfhe_graph_add_node_to(g, RFHE_OP_RELU, r->node, &x, 1, &y, 1, NULL));
    RFHE_TRY(rfhe_paf_node_set(g, at, r->form, r->p, r->scale, r->sets, err));
    *done_it = true;

done:
    rfhe_graph_free(fresh);
    return st;
}

rfhe_status rfhe_paf_fuse(rfhe_graph *g, uint32_t *fused, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t count = 0;

    for (uint32_t i = 0; i < g->n_metas && st == RFHE_OK;) {
        record r = {0};
        bool done_it = false;
        char key[64];
        if (strncmp(g->metas[i].key, "rfhe.paf.", 9) != 0) {
            i++;
            continue;
        }
        (void)snprintf(key, sizeof key, "%s", g->metas[i].key);
        json_t *root = json_loads(g->metas[i].value, 0, NULL);
        st = read_record(&r, root, key, err);
        if (st == RFHE_OK) { st = fuse_one(g, &r, &done_it, err); }
        if (st == RFHE_OK && done_it) {
            count++;
            st = rfhe_graph_set_meta(g, key, NULL);
        } else {
            i++;
        }
        record_clear(&r);
        json_decref(root);
    }
    if (st == RFHE_OK && count > 0) {
        st = rfhe_graph_tidy(g, err);
        if (st == RFHE_OK) { st = rfhe_graph_infer(g, 0, err); }
    }
    if (st == RFHE_OK && fused != NULL) { *fused = count; }
    return st;
}

const rfhe_custom_op rfhe_paf_custom = {.name = "paf",
                                        .open = paf_open,
                                        .close = paf_close,
                                        .wants_reach = paf_wants_reach,
                                        .begin = paf_begin,
                                        .forward = paf_forward,
                                        .backward = paf_backward,
                                        .finish = paf_finish,
                                        .expand = paf_expand};
