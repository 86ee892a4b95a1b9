/* Polynomial programs with a constant per slot: one program structure, numbers of their own for every slot.
 *
 * The compiler of poly.c folds constants into one another ((f a + c) b = f a b + c b), so the constants of its nodes are
 * expressions in those of the steps. A program with vectors is compiled once, with stand-ins that no coincidence makes
 * zero or whole; what the compiler decided by looking at them is kept. For every set of numbers that occurs in a slot the
 * compilation is replayed with these numbers and the same decisions, which gives the same nodes with the numbers that
 * this slot needs: zeros and ones too, only not shortened. Slots with the same numbers (those of one channel) share a
 * lane. Node constants that agree in all lanes stay numbers; the others are encoded: a factor of a node at the scale that
 * a number would have, a summand below the rescaling, where it takes a limb less. */
#include <inttypes.h>
#include <math.h>

#include "base/mem.h"
#include "ckks/poly.h"

void rfhe_poly_scales(double *scale, const rfhe_poly_program *p, const rfhe_ckks *c, uint32_t level, double in_scale)
{
    scale[0] = in_scale;
    for (uint32_t k = 0; k < p->info.depth; k++) { scale[k + 1] = scale[k] * scale[k] / (double)c->m[level - k].q; }
}

/* Sorts slots into lanes by their numbers; first[l] is a slot of lane l. */
static rfhe_status find_lanes(rfhe_poly_vectors *v, uint32_t *first, const double *const *value, uint32_t vectors)
{
    size_t size = 2;

    while (size < 2 * v->n) { size *= 2; }
    uint32_t *const table = rfhe_calloc(size, sizeof *table); /* lane + 1 */
    if (table == NULL) { return RFHE_E_NOMEM; }
    for (size_t i = 0; i < v->n; i++) {
        uint64_t h = 0x9e3779b97f4a7c15u;
        for (uint32_t k = 0; k < vectors; k++) {
            uint64_t bits;
            const double x = value[k][i] + 0.0; /* one zero only */
            memcpy(&bits, &x, sizeof bits);
            h = (h ^ bits) * 0xff51afd7ed558ccdu;
            h ^= h >> 32;
        }
        size_t at = h & (size - 1);
        for (; table[at] != 0; at = (at + 1) & (size - 1)) {
            const uint32_t other = first[table[at] - 1];
            uint32_t k = 0;
            while (k < vectors && value[k][i] == value[k][other]) { k++; }
            if (k == vectors) { break; }
        }
        if (table[at] == 0) {
            first[v->lanes] = (uint32_t)i;
            table[at] = (uint32_t)++v->lanes;
        }
        v->lane[i] = table[at] - 1;
    }
    rfhe_free(table);
    return RFHE_OK;
}

/* The numbers of every lane, by a replay each. */
static rfhe_status fill_numbers(rfhe_poly_vectors *v, const rfhe_poly_program *p, const uint32_t *first,
                                const double *const *value, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_poly_compiler *w = rfhe_poly_compiler_new();
    double c[RFHE_POLY_MAX_STEPS];
    const rfhe_poly_node *e = NULL;

    if (w == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to bind vectors"); }
    for (size_t l = 0; l < v->lanes; l++) {
        double *to = v->number + l * v->constants;
        for (uint32_t k = 0; k < p->vectors; k++) { c[k] = value[k][first[l]]; }
        RFHE_TRY(rfhe_poly_replay(&e, p, c, w, err));
        for (uint32_t i = 1; i < p->count; i++) {
            memcpy(to, e[i].x, e[i].terms * sizeof *to);
            to += e[i].terms;
            *to++ = e[i].y;
        }
    }
done:
    rfhe_poly_compiler_free(w);
    return st;
}

/* A copy of the nodes and of what an evaluation needs. */
static rfhe_poly_program *copy_program(const rfhe_poly_program *p)
{
    rfhe_poly_program *q = rfhe_calloc(1, sizeof *q);

    if (q == NULL) { return NULL; }
    q->count = p->count;
    q->out_scale = p->out_scale;
    q->info = p->info;
    q->node = rfhe_alloc(p->count, sizeof *q->node);
    if (q->node == NULL) {
        rfhe_free(q);
        return NULL;
    }
    memcpy(q->node, p->node, p->count * sizeof *q->node);
    return q;
}

/* Where constant k of the numbering goes: into *x of its node, or at a level and scale. */
typedef struct place {
    double *x;
    uint32_t level;
    double scale;
    bool is_vector;
} place;

static void list_places(place *list, const rfhe_poly_vectors *v)
{
    const rfhe_ckks *c = v->c;
    double scale[RFHE_CKKS_MAX_LEVELS + 1];

    rfhe_poly_scales(scale, v->p, c, v->level, v->scale);
    for (uint32_t i = 1; i < v->p->count; i++) {
        rfhe_poly_node *const e = &v->p->node[i];
        const uint32_t below = v->level - e->depth, level = below + (e->rescale ? 1 : 0);
        const double pre = scale[e->depth] * (e->rescale ? (double)c->m[level].q : 1.0);
        for (uint16_t j = 0; j < e->terms; j++) {
            *list++ = (place){.x = &e->x[j], .level = level, .scale = pre / scale[v->p->node[e->t[j]].depth]};
        }
        *list++ = (place){.x = &e->y, .level = below, .scale = scale[e->depth]};
    }
}

static rfhe_status check_arguments(const rfhe_poly_program *p, const rfhe_ckks *c, const double *const *value, size_t n,
                                   uint32_t level, rfhe_error *err)
{
    if (p->step == NULL) {
        return rfhe_fail(err, RFHE_E_ARG, "the program was compiled without vectors");
    }
    if (n < 1 || n > c->n / 2 || (n & (n - 1)) != 0) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu slots: must be a power of two of at most %zu", n, c->n / 2);
    }
    if (level >= c->n_q || level < p->info.depth) {
        return rfhe_fail(err, RFHE_E_DEPTH, "the polynomial needs %u levels, level %u of %u was named", p->info.depth,
                         level, c->n_q - 1);
    }
    for (uint32_t k = 0; k < p->vectors; k++) {
        for (size_t i = 0; i < n; i++) {
            if (!isfinite(value[k][i])) {
                return rfhe_fail(err, RFHE_E_ARG, "vector %u has the value %g in slot %zu", k, value[k][i], i);
            }
        }
    }
    return RFHE_OK;
}

rfhe_status rfhe_poly_vectors_new(rfhe_poly_vectors **out, const rfhe_poly_program *p, const rfhe_ckks *c,
                                  const double *const *value, size_t n, uint32_t level, double scale, rfhe_error *err)
{
    rfhe_status st = check_arguments(p, c, value, n, level, err);
    rfhe_poly_vectors *v = NULL;
    uint32_t *first = NULL;
    place *list = NULL;
    double *slots = NULL;

    if (st != RFHE_OK) { return st; }
    v = rfhe_calloc(1, sizeof *v);
    first = rfhe_alloc(n, sizeof *first);
    if (v == NULL || first == NULL) { goto no_memory; }
    v->c = rfhe_ckks_share(c);
    v->level = level;
    v->scale = scale != 0 ? scale : c->scale[level];
    v->n = n;
    for (uint32_t i = 1; i < p->count; i++) { v->constants += p->node[i].terms + 1U; }
    v->p = copy_program(p);
    v->lane = rfhe_alloc(n, sizeof *v->lane);
    v->pt = rfhe_calloc(v->constants, sizeof *v->pt);
    list = rfhe_calloc(v->constants, sizeof *list);
    if (v->p == NULL || v->lane == NULL || v->pt == NULL || list == NULL) { goto no_memory; }
    if (find_lanes(v, first, value, p->vectors) != RFHE_OK) { goto no_memory; }
    v->number = rfhe_alloc(v->lanes * v->constants, sizeof *v->number);
    if (v->number == NULL) { goto no_memory; }
    RFHE_TRY(fill_numbers(v, p, first, value, err));
    list_places(list, v);
    uint32_t made = 0; /* vectors to encode */
    for (uint32_t k = 0; k < v->constants; k++) {
        for (size_t l = 1; l < v->lanes && !list[k].is_vector; l++) {
            list[k].is_vector = v->number[l * v->constants + k] != v->number[k];
        }
        *list[k].x = list[k].is_vector ? 0 : v->number[k];
        made += list[k].is_vector;
    }
    slots = rfhe_alloc((size_t)(made > 0 ? made : 1) * n, sizeof *slots);
    if (slots == NULL) { goto no_memory; }
    uint32_t at = 0, work[RFHE_POLY_MAX_NODES * 2] = {0};
    rfhe_status status[RFHE_POLY_MAX_NODES * 2] = {RFHE_OK};
    for (uint32_t k = 0; k < v->constants; k++) {
        if (!list[k].is_vector) { continue; }
        if (at == sizeof work / sizeof *work) {
            st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "a program with more than %zu constants per slot",
                           sizeof work / sizeof *work);
            goto done;
        }
        for (size_t i = 0; i < n; i++) { slots[at * n + i] = v->number[(size_t)v->lane[i] * v->constants + k]; }
        work[at++] = k;
    }
    rfhe_error *const error = rfhe_calloc(at + 1, sizeof *error);
    if (error == NULL) { goto no_memory; }
#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i < at; i++) {
        const place *to = &list[work[i]];
        status[i] = rfhe_encode(&v->pt[work[i]], c, slots + (size_t)i * n, NULL, n, to->level, to->scale, &error[i]);
    }
    for (uint32_t i = 0; i < at && st == RFHE_OK; i++) {
        if (status[i] != RFHE_OK) { st = rfhe_fail(err, status[i], "%s", error[i].text); }
    }
    rfhe_free(error);
    if (st != RFHE_OK) { goto done; }
    v->bytes = v->lanes * v->constants * sizeof *v->number + n * sizeof *v->lane;
    for (uint32_t i = 0; i < at; i++) { v->bytes += (size_t)(list[work[i]].level + 1) * c->n * sizeof(uint64_t); }
    *out = v;
    v = NULL;
    goto done;

no_memory:
    st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to bind vectors of %zu slots", n);
done:
    rfhe_free(slots);
    rfhe_free(list);
    rfhe_free(first);
    rfhe_poly_vectors_free(v);
    return st;
}

void rfhe_poly_vectors_free(rfhe_poly_vectors *v)
{
    if (v == NULL) { return; }
    for (uint32_t k = 0; k < v->constants && v->pt != NULL; k++) { rfhe_pt_free(v->pt[k]); }
    rfhe_free(v->pt);
    rfhe_free(v->number);
    rfhe_free(v->lane);
    rfhe_poly_program_free(v->p);
    rfhe_ckks_free(v->c);
    rfhe_free(v);
}

size_t rfhe_poly_vectors_bytes(const rfhe_poly_vectors *v)
{
    return v->bytes;
}

double rfhe_poly_vectors_value(const rfhe_poly_vectors *v, size_t slot, double x)
{
    const double *at = v->number + (size_t)v->lane[slot % v->n] * v->constants;
    double value[RFHE_POLY_MAX_NODES] = {x};

    for (uint32_t i = 1; i < v->p->count; i++) {
        value[i] = rfhe_poly_node_value(&v->p->node[i], value, at);
        at += v->p->node[i].terms + 1;
    }
    return value[v->p->count - 1] * v->p->out_scale;
}
