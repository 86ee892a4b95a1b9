/* Polynomial programs: from a straight line of sums and products to gathered steps on ciphertexts.
 *
 * Gathering. A node is  sum_i f_i a_i b_i + sum_j x_j t_j + y  with nodes a, b, t: products and multiples are taken
 * without rescaling, then one relinearisation and one rescaling serve all of it. A register becomes a node only when
 * it is an operand of a product, or a product that is used at a later level; all else is expanded where it is used.
 * Registers that differ by a constant or a whole factor share a node, (f a + c) b being f a b + c b.
 * Expanding a product a second time costs four pointwise passes, a relinearisation fifty times as much.
 *
 * Scales. Node scales depend on the depth k alone: D_0 is the input's, D_(k+1) = D_k^2 / q with q the prime that the
 * rescaling to depth k+1 drops. So every product of two nodes of depth k lands on D_(k+1) by itself; an operand that
 * was finished earlier is first brought to depth k by a product with the constant 1 (or with the constant it carries
 * anyway); and a term's constant x is encoded at D_(k+1) q / D_t, which is exact. The input at a nominal scale gives
 * nominal scales throughout.
 *
 * Errors. Each node adds an error of its own (rounding, key switch), and carries those of its operands on. To first order
 * the error of node i reaches the result multiplied by d result / d node_i, so that errors which meet again (of a and b
 * in a b, of c in 2 c^2 - 1) add up with their signs. These derivatives depend on the number in the slot: they are
 * computed backwards for sample numbers, and the estimate is the root of the mean square over the samples. So it says
 * how large errors are over slots whose numbers are spread like the samples, evenly over [-bound, bound] unless the
 * caller knows better (the refresh does); at the worst number the error may be several times that.
 *
 * Schedules. rfhe_poly_program_new writes p = q B_n + r with B_n = x^n or T_n, n a power of two, recursively; q and r
 * of one degree share their work: r - alpha q is of lower degree, alpha q is one multiple of a node at hand. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/poly.h"

enum { MAX_NODES = RFHE_POLY_MAX_NODES, MAX_CHOICES = 16384, NONE = 0xffff, UNIFORM_SAMPLES = 33, SLOT_SAMPLES = 64 };

typedef rfhe_poly_node node;
typedef struct rfhe_poly_compiler compiler;

struct rfhe_poly_compiler {
    const rfhe_poly_step *step;
    size_t count;
    uint16_t level[RFHE_POLY_MAX_STEPS];
    /* The nodes of a base register hold factor * base + offset. */
    double factor[RFHE_POLY_MAX_STEPS], offset[RFHE_POLY_MAX_STEPS];
    bool is_operand[RFHE_POLY_MAX_STEPS]; /* of a product or a multiple: will be a node in any case */
    uint32_t made;
    struct {
        uint16_t reg, depth, node;
    } known[MAX_NODES];
    node *node;
    rfhe_error *err;
    /* What was decided by looking at a constant, in order; taken from here instead when replaying. */
    bool is_replay;
    size_t choices;
    uint8_t choice[MAX_CHOICES];
    rfhe_poly_step own[RFHE_POLY_MAX_STEPS]; /* steps with the numbers of a replay */
};

/* Every decision that depends on a constant goes through here. */
static bool decide(compiler *c, bool natural)
{
    const size_t at = c->choices < MAX_CHOICES ? c->choices++ : MAX_CHOICES - 1;

    if (!c->is_replay) { c->choice[at] = natural; }
    return c->choice[at];
}

static rfhe_status need(compiler *c, uint16_t *out, double *times, double *rest, uint16_t reg, uint16_t depth);

static rfhe_status too_many(compiler *c)
{
    return rfhe_fail(c->err, RFHE_E_UNSUPPORTED, "a polynomial program needs a sum of more than %u products or terms",
                     (unsigned)RFHE_COMBINE_MAX);
}

static rfhe_status add_term(compiler *c, node *e, uint16_t t, double x)
{
    for (uint16_t j = 0; j < e->terms; j++) {
        if (e->t[j] == t) {
            e->x[j] += x;
            return RFHE_OK;
        }
    }
    if (e->terms == RFHE_COMBINE_MAX) { return too_many(c); }
    e->t[e->terms] = t;
    e->x[e->terms++] = x;
    return RFHE_OK;
}

static rfhe_status add_product(compiler *c, node *e, uint16_t a, uint16_t b, double f)
{
    if (decide(c, f != rint(f) || fabs(f) > 4096)) {
        return rfhe_fail(c->err, RFHE_E_ARG, "a product is multiplied by %g at its own level; use a whole number", f);
    }
    for (uint16_t j = 0; j < e->products; j++) {
        if ((e->a[j] == a && e->b[j] == b) || (e->a[j] == b && e->b[j] == a)) {
            e->f[j] += (int32_t)f;
            return RFHE_OK;
        }
    }
    if (e->products == RFHE_COMBINE_MAX) { return too_many(c); }
    e->a[e->products] = a;
    e->b[e->products] = b;
    e->f[e->products++] = (int32_t)f;
    return RFHE_OK;
}

/* Whether the value contains a product that is rescaled to its own level: then one node at that level serves all. */
static bool has_product(const compiler *c, uint16_t reg, uint16_t level)
{
    const rfhe_poly_step *s = &c->step[reg];

    if (c->level[reg] != level || s->op == RFHE_POLY_INPUT || s->op == RFHE_POLY_SCALE) { return false; }
    if (s->op == RFHE_POLY_MUL) { return true; }
    return has_product(c, s->a, level) || (s->op == RFHE_POLY_ADD && has_product(c, s->b, level));
}

/* reg = *f base + *y, constants and whole factors stripped off. */
static uint16_t strip(const compiler *c, uint16_t reg, double *f, double *y)
{
    *f = 1;
    *y = 0;
    while (c->step[reg].op == RFHE_POLY_CONST || c->step[reg].op == RFHE_POLY_INT) {
        if (c->step[reg].op == RFHE_POLY_CONST) {
            *y += *f * c->step[reg].c;
        } else {
            *f *= c->step[reg].c;
        }
        reg = c->step[reg].a;
    }
    return reg;
}

/* e += f * register, e at its depth. */
static rfhe_status expand(compiler *c, node *e, uint16_t reg, double f)
{
    const rfhe_poly_step *s = &c->step[reg];
    rfhe_status st = RFHE_OK;
    uint16_t x = NONE, y = NONE;

    double times = 1, rest = 0;
    const uint16_t base = strip(c, reg, &times, &rest);
    /* A product that nothing else needs is taken here, at the lower level, and shares this relinearisation. */
    if (c->level[reg] < e->depth && has_product(c, reg, c->level[reg]) && 
        (c->is_operand[base] || decide(c, f != rint(f)))) {
        RFHE_TRY(need(c, &x, &times, &rest, reg, c->level[reg]));
        e->y += f * rest;
        return add_term(c, e, x, f * times);
    }
    switch (s->op) {
    case RFHE_POLY_INPUT:
        return add_term(c, e, 0, f);
    case RFHE_POLY_MUL:
        if (c->level[reg] == e->depth) {
            const double whole = f / c->factor[reg];
            if (c->is_operand[reg] && reg != e->own && decide(c, whole == rint(whole) && fabs(whole) <= 4096) &&
                e->posts < RFHE_COMBINE_MAX) {
                RFHE_TRY(need(c, &x, &times, &rest, reg, e->depth));
                e->y += f * rest;
                e->p[e->posts] = x;
                e->px[e->posts++] = f * times;
                return RFHE_OK;
            }
        }
        double fx = 1, fy = 1, rx = 0, ry = 0; /* (fx x + rx) (fy y + ry) */
        RFHE_TRY(need(c, &x, &fx, &rx, s->a, (uint16_t)(e->depth - 1)));
        RFHE_TRY(need(c, &y, &fy, &ry, s->b, (uint16_t)(e->depth - 1)));
        if (decide(c, ry != 0)) { RFHE_TRY(add_term(c, e, x, f * fx * ry)); }
        if (decide(c, rx != 0)) { RFHE_TRY(add_term(c, e, y, f * fy * rx)); }
        e->y += f * rx * ry;
        return add_product(c, e, x, y, f * fx * fy);
    case RFHE_POLY_SCALE:
    case RFHE_POLY_INT:
        return expand(c, e, s->a, f * s->c);
    case RFHE_POLY_ADD:
        RFHE_TRY(expand(c, e, s->a, f));
        return expand(c, e, s->b, f);
    case RFHE_POLY_CONST:
        e->y += f * s->c;
        return expand(c, e, s->a, f);
    }
done:
    return st;
}

/* What the nodes of each base hold: the factor and constant that its users want, if they agree on the factor; the first
 * user's constant. */
static void agree(compiler *c)
{
    for (size_t i = 0; i < c->count; i++) { c->factor[i] = 0; }
    for (size_t i = 1; i <= c->count; i++) {
        const bool is_last = i == c->count;
        const rfhe_poly_op op = is_last ? RFHE_POLY_SCALE : c->step[i].op;
        const uint16_t operand[2] = {is_last ? (uint16_t)(c->count - 1) : c->step[i].a, is_last ? 0 : c->step[i].b};
        const int count = op == RFHE_POLY_MUL || op == RFHE_POLY_ADD ? 2 : op == RFHE_POLY_SCALE ? 1 : 0;
        for (int k = 0; k < count; k++) {
            double f, y;
            const uint16_t base = strip(c, operand[k], &f, &y);
            if (c->step[base].op == RFHE_POLY_INPUT) { continue; }
            c->is_operand[base] = c->is_operand[base] || (op != RFHE_POLY_ADD && !is_last);
            if (c->factor[base] == 0) {
                c->factor[base] = f;
                c->offset[base] = y;
            } else if (c->factor[base] != f) {
                c->offset[base] /= c->factor[base];
                c->factor[base] = 1;
            }
        }
    }
    c->factor[0] = 1;
}

/* reg = *times * node + *rest, the node made if necessary at `depth`. Registers that differ by a constant or a whole
 * factor share one. */
static rfhe_status need(compiler *c, uint16_t *out, double *times, double *rest, uint16_t reg, uint16_t depth)
{
    rfhe_status st = RFHE_OK;
    node e = {.depth = depth, .slot = NONE, .own = NONE};

    reg = strip(c, reg, times, rest);
    if (c->step[reg].op == RFHE_POLY_INPUT && depth == 0) {
        *out = 0;
        return RFHE_OK;
    }
    *times /= c->factor[reg];
    *rest -= *times * c->offset[reg];
    for (uint32_t i = 1; i < c->made; i++) {
        if (c->known[i].reg == reg && c->known[i].depth == depth) {
            *out = c->known[i].node;
            return RFHE_OK;
        }
    }
    e.own = depth == c->level[reg] ? reg : NONE;
    RFHE_TRY(expand(c, &e, reg, c->factor[reg]));
    e.y += c->offset[reg];
    if (e.products == 0 && e.terms == 0) { /* nothing but nodes of this depth */
        for (; e.posts > 0; e.posts--) { RFHE_TRY(add_term(c, &e, e.p[e.posts - 1], e.px[e.posts - 1])); }
    } else {
        e.rescale = depth > 0;
    }
    if (!e.rescale) {
        for (uint16_t j = 0; j < e.terms; j++) {
            if (decide(c, e.x[j] != rint(e.x[j]))) {
                return rfhe_fail(c->err, RFHE_E_ARG, "a multiple by %g needs a level", e.x[j]);
            }
        }
    }
    if (c->made == MAX_NODES) {
        return rfhe_fail(c->err, RFHE_E_UNSUPPORTED, "a polynomial program of more than %u nodes", (unsigned)MAX_NODES);
    }
    c->node[c->made] = e;
    c->known[c->made].reg = reg;
    c->known[c->made].depth = depth;
    c->known[c->made].node = (uint16_t)c->made;
    *out = (uint16_t)c->made++;
done:
    return st;
}

static rfhe_status check_steps(compiler *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const rfhe_poly_step *s = &c->step[i];
        const bool two = s->op == RFHE_POLY_MUL || s->op == RFHE_POLY_ADD;
        if ((unsigned)s->op > RFHE_POLY_CONST || (i == 0) != (s->op == RFHE_POLY_INPUT)) {
            return rfhe_fail(c->err, RFHE_E_ARG, "step %zu of a polynomial program: the input is step 0 and only that", i);
        }
        if (i > 0 && (s->a >= i || (two && s->b >= i))) {
            return rfhe_fail(c->err, RFHE_E_ARG, "step %zu of a polynomial program uses a register that comes later", i);
        }
        if (!isfinite(s->c) || (s->op == RFHE_POLY_INT && (s->c != rint(s->c) || fabs(s->c) > 64 || s->c == 0))) {
            return rfhe_fail(c->err, RFHE_E_ARG, "step %zu of a polynomial program has the constant %g", i, s->c);
        }
        if (i == 0) { continue; }
        uint16_t l = c->level[s->a];
        if (two && c->level[s->b] > l) { l = c->level[s->b]; }
        if (s->op == RFHE_POLY_MUL || s->op == RFHE_POLY_SCALE) { l++; }
        c->level[i] = l;
    }
    return RFHE_OK;
}

static void use(node *list, uint16_t which, uint32_t at)
{
    if (list[which].last_use < at) { list[which].last_use = (uint16_t)at; }
}

/* Registers by last use; the result goes to the caller's ciphertext. */
static void place(rfhe_poly_program *p)
{
    uint16_t free_list[MAX_NODES], n_free = 0, next = 0;

    for (uint32_t i = 1; i < p->count; i++) {
        const node *e = &p->node[i];
        for (uint16_t j = 0; j < e->products; j++) { use(p->node, e->a[j], i), use(p->node, e->b[j], i); }
        for (uint16_t j = 0; j < e->terms; j++) { use(p->node, e->t[j], i); }
        for (uint16_t j = 0; j < e->posts; j++) { use(p->node, e->p[j], i); }
    }
    for (uint32_t i = 1; i + 1 < p->count; i++) {
        /* Operands may be overwritten by their last user, unless it reads them again after rescaling. */
        const bool early = p->node[i].posts == 0;
        if (!early) { p->node[i].slot = n_free > 0 ? free_list[--n_free] : next++; }
        for (uint32_t k = 1; k < i; k++) {
            if (p->node[k].last_use == i) { free_list[n_free++] = p->node[k].slot; }
        }
        if (early) { p->node[i].slot = n_free > 0 ? free_list[--n_free] : next++; }
    }
    p->info.registers = next;
}

/* The nodes of `count` steps in c->node, c->made of them, the result last. */
static rfhe_status build(compiler *c, const rfhe_poly_step *step, size_t count, bool is_negated, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint16_t last = NONE;
    double times = 1, rest = 0;

    c->step = step;
    c->count = count;
    c->err = err;
    c->made = 1;
    c->choices = 0;
    memset(c->level, 0, sizeof c->level);
    memset(c->is_operand, 0, sizeof c->is_operand);
    memset(c->offset, 0, sizeof c->offset);
    memset(c->node, 0, sizeof *c->node);
    RFHE_TRY(check_steps(c));
    agree(c);
    RFHE_TRY(need(c, &last, &times, &rest, (uint16_t)(count - 1), c->level[count - 1]));
    if (last == 0 || last + 1U != c->made || decide(c, rest != 0 || times != 1)) { /* the identity, or a result that others use too: a copy of its own */
        node e = {.depth = c->node[last].depth, .terms = 1, .t = {last}, .x = {times}, .y = rest, .slot = NONE};
        if (c->made == MAX_NODES) {
            st = too_many(c);
            goto done;
        }
        c->node[c->made++] = e;
    }
    node *result = &c->node[c->made - 1];
    if (is_negated) {
        for (uint16_t j = 0; j < result->products; j++) { result->f[j] = -result->f[j]; }
        for (uint16_t j = 0; j < result->terms; j++) { result->x[j] = -result->x[j]; }
        for (uint16_t j = 0; j < result->posts; j++) { result->px[j] = -result->px[j]; }
        result->y = -result->y;
    }
    if (c->choices == MAX_CHOICES) { st = too_many(c); }
done:
    return st;
}

rfhe_poly_compiler *rfhe_poly_compiler_new(void)
{
    compiler *c = rfhe_calloc(1, sizeof *c);

    if (c != NULL) { c->node = rfhe_calloc(MAX_NODES, sizeof *c->node); }
    if (c != NULL && c->node == NULL) {
        rfhe_free(c);
        return NULL;
    }
    return c;
}

void rfhe_poly_compiler_free(rfhe_poly_compiler *w)
{
    if (w != NULL) { rfhe_free(w->node); }
    rfhe_free(w);
}

rfhe_status rfhe_poly_replay(const rfhe_poly_node **out, const rfhe_poly_program *p, const double *c,
                             rfhe_poly_compiler *w, rfhe_error *err)
{
    if (!w->is_replay) {
        memcpy(w->choice, p->choice, p->choices);
        memcpy(w->own, p->step, p->steps * sizeof *p->step);
        w->is_replay = true;
    }
    for (uint32_t k = 0; k < p->vectors; k++) { w->own[p->vector[k]].c = c[k]; }
    *out = w->node;
    return build(w, w->own, p->steps, p->is_negated, err);
}

/* vector: NULL, or which steps have vectors. */
static rfhe_status compile(rfhe_poly_program **out, const rfhe_poly_step *step, size_t count, const bool *vector,
                           double out_scale, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_poly_program *p = NULL;
    compiler *c = NULL;

    if (count < 1 || count > RFHE_POLY_MAX_STEPS) {
        return rfhe_fail(err, RFHE_E_ARG, "a polynomial program of %zu steps; 1 .. %u are possible", count,
                         (unsigned)RFHE_POLY_MAX_STEPS);
    }
    if (out_scale == 0 || !isfinite(out_scale)) {
        return rfhe_fail(err, RFHE_E_ARG, "a polynomial program with the output factor %g", out_scale);
    }
    c = rfhe_poly_compiler_new();
    p = rfhe_calloc(1, sizeof *p);
    if (c == NULL || p == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a polynomial program");
        goto done;
    }
    RFHE_TRY(build(c, step, count, out_scale < 0, err));
    p->count = c->made;
    p->node = rfhe_alloc(p->count, sizeof *p->node);
    if (p->node == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a polynomial program");
        goto done;
    }
    memcpy(p->node, c->node, p->count * sizeof *p->node);
    if (vector != NULL) {
        p->step = rfhe_alloc(count, sizeof *p->step);
        p->vector = rfhe_alloc(count, sizeof *p->vector);
        p->choice = rfhe_alloc(c->choices, sizeof *p->choice);
        if (p->step == NULL || p->vector == NULL || p->choice == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a polynomial program");
            goto done;
        }
        memcpy(p->step, step, count * sizeof *p->step);
        memcpy(p->choice, c->choice, c->choices);
        p->steps = count;
        p->choices = c->choices;
        p->is_negated = out_scale < 0;
        for (size_t i = 0; i < count; i++) {
            if (vector[i]) { p->vector[p->vectors++] = (uint16_t)i; }
        }
    }
    p->out_scale = fabs(out_scale);
    p->info.depth = p->node[p->count - 1].depth;
    for (uint32_t i = 1; i < p->count; i++) {
        const node *e = &p->node[i];
        uint32_t odd = 0;
        p->info.products += e->products;
        if (e->products > 0) {
            p->info.relinearisations++;
        } else if (e->rescale) {
            p->info.rescalings++;
        }
        for (uint16_t j = 0; j < e->products; j++) { odd += e->f[j] != 1; }
        if (odd > RFHE_SCRATCH_LIMBS / 2) {
            for (uint16_t j = 1; j < e->products; j++) {
                if (e->f[j] != e->f[0]) {
                    st = too_many(c);
                    goto done;
                }
            }
        }
    }
    place(p);
    *out = p;
    p = NULL;
done:
    rfhe_poly_compiler_free(c);
    rfhe_poly_program_free(p);
    return st;
}

rfhe_status rfhe_poly_program_from_steps(rfhe_poly_program **out, const rfhe_poly_step *step, size_t count,
                                         double out_scale, rfhe_error *err)
{
    return compile(out, step, count, NULL, out_scale, err);
}

rfhe_status rfhe_poly_program_with_vectors(rfhe_poly_program **out, const rfhe_poly_step *step, const bool *is_vector,
                                           size_t count, double out_scale, rfhe_error *err)
{
    rfhe_poly_step *own = NULL;
    rfhe_status st = RFHE_OK;

    if (count < 1 || count > RFHE_POLY_MAX_STEPS) { return compile(out, step, count, is_vector, out_scale, err); }
    own = rfhe_alloc(count, sizeof *own);
    if (own == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a polynomial program"); }
    memcpy(own, step, count * sizeof *own);
    for (size_t i = 0; i < count; i++) {
        if (!is_vector[i]) { continue; }
        if (own[i].op != RFHE_POLY_SCALE && own[i].op != RFHE_POLY_CONST) {
            st = rfhe_fail(err, RFHE_E_ARG, "step %zu of a polynomial program has no constant that could be a vector", i);
            goto done;
        }
        /* Stand-ins without coincidences: no sum or product of them is zero or a whole number. */
        own[i].c = 0.25 + 0.5 * fmod((double)(i + 1) * 0.61803398874989485, 1);
    }
    RFHE_TRY(compile(out, own, count, is_vector, out_scale, err));
done:
    rfhe_free(own);
    return st;
}

void rfhe_poly_program_free(rfhe_poly_program *p)
{
    if (p == NULL) { return; }
    rfhe_free(p->node);
    rfhe_free(p->step);
    rfhe_free(p->vector);
    rfhe_free(p->choice);
    rfhe_free(p);
}

rfhe_poly_info rfhe_poly_program_info(const rfhe_poly_program *p)
{
    return p->info;
}

double rfhe_poly_node_value(const rfhe_poly_node *e, const double *value, const double *constant)
{
    const double *const x = constant != NULL ? constant : e->x;
    double sum = constant != NULL ? constant[e->terms] : e->y;

    for (uint16_t j = 0; j < e->products; j++) { sum += e->f[j] * value[e->a[j]] * value[e->b[j]]; }
    for (uint16_t j = 0; j < e->terms; j++) { sum += x[j] * value[e->t[j]]; }
    for (uint16_t j = 0; j < e->posts; j++) { sum += e->px[j] * value[e->p[j]]; }
    return sum;
}

double rfhe_poly_program_value(const rfhe_poly_program *p, double x)
{
    double value[MAX_NODES] = {x};

    for (uint32_t i = 1; i < p->count; i++) { value[i] = rfhe_poly_node_value(&p->node[i], value, NULL); }
    return value[p->count - 1] * p->out_scale;
}

rfhe_status rfhe_poly_program_keys(const rfhe_poly_program *p, const rfhe_ckks *c, uint32_t level,
                                   rfhe_key_list *list, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t special = 0;

    if (level >= c->n_q || level < p->info.depth) {
        return rfhe_fail(err, RFHE_E_DEPTH, "the polynomial needs %u levels, level %u of %u was named", p->info.depth,
                         level, c->n_q - 1);
    }
    /* One key per shape that is the fastest at some level of the way down. */
    for (uint32_t k = 0; k < p->info.depth; k++) {
        bool is_used = false;
        for (uint32_t i = 1; i < p->count; i++) {
            is_used = is_used || (p->node[i].products > 0 && p->node[i].depth == k + 1);
        }
        const uint32_t best = rfhe_best_special(c, level - k);
        if (is_used && best != special) {
            special = best;
            RFHE_TRY(rfhe_key_list_add(list, RFHE_ELEMENT_RELIN, level - k, special, err));
        }
    }
done:
    return st;
}

/* r += k t, both of two parts and at r's level or above. */
static void add_multiple(const rfhe_ckks *c, rfhe_ct *r, const rfhe_ct *t, int64_t k)
{
#pragma omp parallel for schedule(static) collapse(2) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t h = 0; h < 2; h++) {
        for (uint32_t i = 0; i <= r->level; i++) {
            const uint64_t q = c->m[i].q;
            c->k->mul_add_const(rfhe_ct_limb(r, h, i), rfhe_ct_limb(t, h, i),
                                rfhe_shoup_make(rfhe_mod_from_i64(k, q), q), c->n, &c->m[i]);
        }
    }
}

/* The variance of the result: sum over nodes of variance[i] times the weighted mean square of d result / d node i over
 * the samples, with vectors (v, or NULL) over at most SLOT_SAMPLES slots as well. *bound = largest |result| there. */
static double carried_variance(double *bound, const rfhe_poly_program *p, const rfhe_poly_vectors *v,
                               const rfhe_samples *samples, const double *variance)
{
    const size_t slots = v == NULL ? 1 : v->n < SLOT_SAMPLES ? v->n : SLOT_SAMPLES;
    double sum = 0;
    uint32_t first[MAX_NODES] = {0}; /* number of a node's first constant */

    for (uint32_t i = 2; i < p->count; i++) { first[i] = first[i - 1] + p->node[i - 1].terms + 1; }
    *bound = 0;
    for (size_t k = 0; k < slots; k++) {
        const double *const number = v == NULL ? NULL : v->number + (size_t)v->lane[k * v->n / slots] * v->constants;
        for (uint32_t s = 0; s < samples->count; s++) {
            double value[MAX_NODES] = {samples->x[s]}, slope[MAX_NODES] = {0}, part = 0;
            for (uint32_t i = 1; i < p->count; i++) {
                value[i] = rfhe_poly_node_value(&p->node[i], value, number != NULL ? number + first[i] : NULL);
            }
            *bound = fmax(*bound, fabs(value[p->count - 1]));
            slope[p->count - 1] = 1;
            for (uint32_t i = p->count - 1; i > 0; i--) {
                const node *e = &p->node[i];
                const double *const x = number != NULL ? number + first[i] : e->x;
                const double d = slope[i];
                part += d * d * variance[i];
                for (uint16_t j = 0; j < e->products; j++) {
                    slope[e->a[j]] += d * e->f[j] * value[e->b[j]];
                    slope[e->b[j]] += d * e->f[j] * value[e->a[j]];
                }
                for (uint16_t j = 0; j < e->terms; j++) {
                    const rfhe_pt *const pt = v == NULL ? NULL : v->pt[first[i] + j];
                    slope[e->t[j]] += d * x[j];
                    if (pt != NULL) { part += pow(d * value[e->t[j]] * pt->error, 2); }
                }
                for (uint16_t j = 0; j < e->posts; j++) { slope[e->p[j]] += d * e->px[j]; }
            }
            sum += samples->weight[s] * (part + slope[0] * slope[0] * variance[0]);
        }
    }
    return sum / (double)slots;
}

/* v: NULL, or the vectors whose program p is. */
static rfhe_status evaluate(rfhe_ct *out, const rfhe_ct *a, const rfhe_poly_program *p, const rfhe_poly_vectors *v,
                            const rfhe_samples *samples, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;
    const rfhe_key *relin[RFHE_CKKS_MAX_LEVELS] = {NULL};
    double scale[RFHE_CKKS_MAX_LEVELS + 1], variance[MAX_NODES], bound = 0;
    const rfhe_ct *at[MAX_NODES];
    const uint32_t top = v != NULL ? v->level : a->level;

    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    if (a->parts != 2) {
        st = rfhe_fail(err, RFHE_E_ARG, "the operand has three parts; relinearise it first");
        goto done;
    }
    if (v == NULL && p->vectors > 0) {
        st = rfhe_fail(err, RFHE_E_ARG, "the program has vectors for constants; bind them first");
        goto done;
    }
    if (p->info.depth > top || a->level < top) {
        st = rfhe_fail(err, RFHE_E_DEPTH, "the polynomial needs %u levels%s, the ciphertext has %u left",
                       a->level < top ? top : p->info.depth, a->level < top ? " with the vectors bound to it" : "", a->level);
        goto done;
    }
    rfhe_poly_scales(scale, p, c, top, a->scale);
    for (uint32_t i = 1; i < p->count; i++) {
        const node *e = &p->node[i];
        const uint32_t level = top - e->depth + (e->rescale ? 1 : 0);
        if (e->products > 0 && relin[level] == NULL) {
            RFHE_TRY(rfhe_key_need(&relin[level], ev, RFHE_ELEMENT_RELIN, level, 0, err));
        }
        const double pre = scale[e->depth] * (e->rescale ? (double)c->m[level].q : 1.0);
        for (uint16_t j = 0; j < e->terms; j++) {
            if (!(fabs(e->x[j] * pre / scale[p->node[e->t[j]].depth]) < 0x1p103)) {
                st = rfhe_fail(err, RFHE_E_ARG, "the coefficient %g is too large for scale 2^%.1f", e->x[j], log2(pre));
                goto done;
            }
        }
    }
    RFHE_TRY(rfhe_evaluator_pool(ev, p->info.registers, top, err));
    RFHE_TRY(rfhe_ct_reserve(out, top - p->info.depth, 2, err));

    at[0] = a;
    variance[0] = a->error * a->error;
    uint32_t first = 0; /* number of this node's first constant */
    for (uint32_t i = 1; i < p->count; i++) {
        const node *e = &p->node[i];
        rfhe_ct *const r = i + 1 == p->count ? out : ev->pool[e->slot];
        const uint32_t level = top - e->depth + (e->rescale ? 1 : 0);
        const double q = e->rescale ? (double)c->m[level].q : 1.0, pre = scale[e->depth] * q;
        const rfhe_pt *const *const pt = v != NULL ? (const rfhe_pt *const *)v->pt + first : NULL;
        /* Constants of 2^100 and more (wide primes), and vectors, are added after rescaling instead. */
        const rfhe_pt *const y = pt != NULL ? pt[e->terms] : NULL;
        const bool late = fabs(e->y * pre) >= 0x1p100;
        rfhe_combine f = {.level = level, .products = e->products, .terms = e->terms, .y = late ? 0 : e->y * pre};
        double own = 0; /* variance that this node adds */
        for (uint16_t j = 0; j < e->products; j++) {
            f.a[j] = at[e->a[j]];
            f.b[j] = at[e->b[j]];
            f.f[j] = e->f[j];
        }
        for (uint16_t j = 0; j < e->terms; j++) {
            f.t[j] = at[e->t[j]];
            if (pt != NULL && pt[j] != NULL) {
                f.w[j] = pt[j]->data;
                continue;
            }
            f.x[j] = e->x[j] * pre / scale[p->node[e->t[j]].depth];
        }
        rfhe_combine_run(ev, r, &f, relin[level], e->rescale);
        if (late) {
            uint64_t residue[RFHE_CKKS_MAX_LEVELS];
            rfhe_const_residues(c, residue, e->y * scale[e->depth], r->level);
            for (uint32_t l = 0; l <= r->level; l++) {
                c->k->add_const(rfhe_ct_limb(r, 0, l), rfhe_ct_limb(r, 0, l), residue[l], c->n, &c->m[l]);
            }
        }
        if (y != NULL) {
#pragma omp parallel for schedule(static) if (c->n >= RFHE_PARALLEL_FROM)
            for (uint32_t l = 0; l <= r->level; l++) {
                c->k->add(rfhe_ct_limb(r, 0, l), rfhe_ct_limb(r, 0, l), y->data + l * c->n, c->n, &c->m[l]);
            }
            own += y->error * y->error;
        }
        for (uint16_t j = 0; j < e->posts; j++) { add_multiple(c, r, at[e->p[j]], (int64_t)e->px[j]); }
        at[i] = r;
        if (e->products > 0) { own += pow(rfhe_noise_slot(c, rfhe_noise_key_switch(c, relin[level], level), pre), 2); }
        if (e->rescale) { own += pow(rfhe_noise_slot(c, rfhe_noise_rounding(c), scale[e->depth]), 2); }
        variance[i] = own;
        if (v != NULL) { first += e->terms + 1U; }
    }
    const double carried = carried_variance(&bound, p, v, samples, variance);
    out->scale = scale[p->info.depth] / p->out_scale;
    out->bound = bound * p->out_scale;
    out->error = sqrt(carried) * p->out_scale;
done:
    return st;
}

/* Numbers spread evenly over [-bound, bound]. */
static rfhe_samples spread_evenly(double bound)
{
    rfhe_samples even = {.count = UNIFORM_SAMPLES};

    for (uint32_t s = 0; s < even.count; s++) {
        even.x[s] = bound * (2.0 * s / (even.count - 1) - 1);
        even.weight[s] = 1.0 / even.count;
    }
    return even;
}

rfhe_status rfhe_ct_evaluate(rfhe_ct *out, const rfhe_ct *a, const rfhe_poly_program *p, rfhe_evaluator *ev,
                             rfhe_error *err)
{
    const rfhe_samples even = spread_evenly(a->bound);

    return evaluate(out, a, p, NULL, &even, ev, err);
}

rfhe_status rfhe_evaluate_samples(rfhe_ct *out, const rfhe_ct *a, const rfhe_poly_program *p,
                                  const rfhe_samples *samples, rfhe_evaluator *ev, rfhe_error *err)
{
    return evaluate(out, a, p, NULL, samples, ev, err);
}

rfhe_status rfhe_ct_evaluate_vectors(rfhe_ct *out, const rfhe_ct *a, const rfhe_poly_vectors *v, rfhe_evaluator *ev,
                                     rfhe_error *err)
{
    const rfhe_samples even = spread_evenly(a->bound);
    rfhe_status st = RFHE_OK;

    if (!rfhe_ckks_same(v->c, ev->c)) {
        return rfhe_fail(err, RFHE_E_ARG, "the vectors belong to other parameters than the evaluator");
    }
    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_same_scale(a->scale, v->scale, err));
    RFHE_TRY(evaluate(out, a, v->p, v, &even, ev, err));
done:
    return st;
}
