/* Arithmetic on ciphertexts. Every operation first checks, then makes room, then computes; nothing fails after the
 * first residue was written, so a failed call leaves its outputs alone. */
#include "ckks/arith.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static double hypotenuse(double a, double b)
{
    return sqrt(a * a + b * b);
}

rfhe_status rfhe_check_ct(const rfhe_evaluator *ev, const rfhe_ct *a, const char *name, rfhe_error *err)
{
    if (!rfhe_ckks_same(a->c, ev->c)) {
        return rfhe_fail(err, RFHE_E_ARG, "%s belongs to other parameters than the evaluator", name);
    }
    return RFHE_OK;
}

rfhe_status rfhe_check_same_scale(double a, double b, rfhe_error *err)
{
    if (fabs(a / b - 1) > 0x1p-40) {
        return rfhe_fail(err, RFHE_E_ARG, "scales differ: 2^%.9f and 2^%.9f; bring both to one scale first", log2(a),
                         log2(b));
    }
    return RFHE_OK;
}

static rfhe_status check_parts(const rfhe_ct *a, const char *name, rfhe_error *err)
{
    if (a->parts != 2) {
        return rfhe_fail(err, RFHE_E_ARG, "%s has three parts; relinearise it first", name);
    }
    return RFHE_OK;
}

static rfhe_status check_level(const rfhe_ct *a, uint32_t least, rfhe_error *err)
{
    if (a->level < least) {
        return rfhe_fail(err, RFHE_E_DEPTH, "the ciphertext is at level %u: no prime is left to rescale by", a->level);
    }
    return RFHE_OK;
}

static uint32_t lower(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- sums ---- */

static rfhe_status add_or_sub(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b, bool subtract, rfhe_evaluator *ev,
                              rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n;

    RFHE_TRY(rfhe_check_ct(ev, a, "the first operand", err));
    RFHE_TRY(rfhe_check_ct(ev, b, "the second operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    RFHE_TRY(rfhe_check_same_scale(a->scale, b->scale, err));
    const uint32_t level = lower(a->level, b->level), parts = a->parts > b->parts ? a->parts : b->parts;
    RFHE_TRY(rfhe_ct_reserve(out, level, parts, err));
#pragma omp parallel for schedule(static) collapse(2) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t p = 0; p < parts; p++) {
        for (uint32_t i = 0; i <= level; i++) {
            uint64_t *const r = rfhe_ct_limb(out, p, i);
            const rfhe_modulus *m = &c->m[i];
            if (p < a->parts && p < b->parts) {
                (subtract ? c->k->sub : c->k->add)(r, rfhe_ct_limb(a, p, i), rfhe_ct_limb(b, p, i), n, m);
            } else if (p < a->parts) {
                memmove(r, rfhe_ct_limb(a, p, i), n * sizeof *r);
            } else if (subtract) {
                c->k->neg(r, rfhe_ct_limb(b, p, i), n, m);
            } else {
                memmove(r, rfhe_ct_limb(b, p, i), n * sizeof *r);
            }
        }
    }
    const double scale = a->scale, error = hypotenuse(a->error, b->error), bound = a->bound + b->bound;
    *out = (rfhe_ct){.c = out->c, .data = out->data, .room = out->room, .room_parts = out->room_parts,
                     .level = level, .parts = parts, .scale = scale, .error = error, .bound = bound};
done:
    return st;
}

rfhe_status rfhe_ct_add(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b, rfhe_evaluator *ev, rfhe_error *err)
{
    return add_or_sub(out, a, b, false, ev, err);
}

rfhe_status rfhe_ct_sub(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b, rfhe_evaluator *ev, rfhe_error *err)
{
    return add_or_sub(out, a, b, true, ev, err);
}

/* Checks one input and the output, makes room for a's shape. */
static rfhe_status begin_unary(rfhe_ct *out, const rfhe_ct *a, rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_status st = rfhe_check_ct(ev, a, "the operand", err);

    if (st == RFHE_OK) { st = rfhe_check_ct(ev, out, "the output", err); }
    if (st == RFHE_OK) { st = rfhe_ct_reserve(out, a->level, a->parts, err); }
    return st;
}

rfhe_status rfhe_ct_neg(rfhe_ct *out, const rfhe_ct *a, rfhe_evaluator *ev, rfhe_error *err)
{
    return rfhe_ct_mul_int(out, a, -1, ev, err);
}

rfhe_status rfhe_ct_mul_int(rfhe_ct *out, const rfhe_ct *a, int64_t k, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = begin_unary(out, a, ev, err);

    if (st != RFHE_OK) { return st; }
#pragma omp parallel for schedule(static) collapse(2) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t p = 0; p < a->parts; p++) {
        for (uint32_t i = 0; i <= a->level; i++) {
            const uint64_t q = c->m[i].q;
            c->k->mul_const(rfhe_ct_limb(out, p, i), rfhe_ct_limb(a, p, i), rfhe_shoup_make(rfhe_mod_from_i64(k, q), q),
                            c->n, &c->m[i]);
        }
    }
    rfhe_ct_take_header(out, a);
    out->error *= fabs((double)k);
    out->bound *= fabs((double)k);
    return RFHE_OK;
}

void rfhe_const_residues(const rfhe_ckks *c, uint64_t *r, double x, uint32_t level)
{
    for (uint32_t i = 0; i <= level; i++) { c->k->from_f64(&r[i], &x, 1, &c->m[i]); }
}

rfhe_status rfhe_ct_add_const(rfhe_ct *out, const rfhe_ct *a, double x, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    uint64_t r[RFHE_CKKS_MAX_LEVELS];
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    if (!(fabs(x * a->scale) < 0x1p103)) {
        st = rfhe_fail(err, RFHE_E_ARG, "the constant %g is too large for scale 2^%.1f", x, log2(a->scale));
        goto done;
    }
    RFHE_TRY(rfhe_ct_copy(out, a, err));
    rfhe_const_residues(c, r, x * a->scale, a->level);
    for (uint32_t i = 0; i <= out->level; i++) {
        uint64_t *const limb = rfhe_ct_limb(out, 0, i);
        c->k->add_const(limb, limb, r[i], c->n, &c->m[i]);
    }
    out->has_seed = false;
    out->bound += fabs(x);
done:
    return st;
}

static rfhe_status check_plain(const rfhe_evaluator *ev, const rfhe_ct *out, const rfhe_ct *a, const rfhe_pt *pt,
                               rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    if (!rfhe_ckks_same(pt->c, ev->c)) {
        return rfhe_fail(err, RFHE_E_ARG, "the plaintext belongs to other parameters than the evaluator");
    }
    if (pt->level < a->level) {
        return rfhe_fail(err, RFHE_E_ARG, "the plaintext is encoded at level %u, below the ciphertext's %u", pt->level,
                         a->level);
    }
done:
    return st;
}

rfhe_status rfhe_ct_add_plain(rfhe_ct *out, const rfhe_ct *a, const rfhe_pt *pt, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_plain(ev, out, a, pt, err));
    RFHE_TRY(rfhe_check_same_scale(a->scale, pt->scale, err));
    RFHE_TRY(rfhe_ct_copy(out, a, err));
#pragma omp parallel for schedule(static) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i <= out->level; i++) {
        uint64_t *const limb = rfhe_ct_limb(out, 0, i);
        c->k->add(limb, limb, pt->data + i * c->n, c->n, &c->m[i]);
    }
    out->has_seed = false;
    out->error = hypotenuse(out->error, pt->error);
    out->bound += pt->bound;
done:
    return st;
}

rfhe_status rfhe_ct_mul_monomial(rfhe_ct *out, const rfhe_ct *a, uint32_t k, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;

    if (k >= 2 * c->n) {
        return rfhe_fail(err, RFHE_E_ARG, "X^%" PRIu32 " is not below X^%zu", k, 2 * c->n);
    }
    st = begin_unary(out, a, ev, err);
    if (st != RFHE_OK) { return st; }
    const rfhe_basis basis = rfhe_basis_range(0, a->level + 1);
    rfhe_poly monomial = rfhe_poly_at(c->ring, &basis, true, ev->coef);
    rfhe_poly_set_monomial(c->ring, &monomial, k);
#pragma omp parallel for schedule(static) collapse(2) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t p = 0; p < a->parts; p++) {
        for (uint32_t i = 0; i <= a->level; i++) {
            c->k->mul(rfhe_ct_limb(out, p, i), rfhe_ct_limb(a, p, i), ev->coef + i * c->n, c->n, &c->m[i]);
        }
    }
    rfhe_ct_take_header(out, a);
    return RFHE_OK;
}

rfhe_status rfhe_ct_drop(rfhe_ct *out, const rfhe_ct *a, uint32_t level, rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    if (level > a->level) {
        return rfhe_fail(err, RFHE_E_DEPTH, "cannot go from level %u up to level %u; only a refresh does", a->level,
                         level);
    }
    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    if (out != a) {
        RFHE_TRY(rfhe_ct_reserve(out, level, a->parts, err));
        for (uint32_t p = 0; p < a->parts; p++) {
            memcpy(rfhe_ct_limb(out, p, 0), rfhe_ct_limb(a, p, 0), (size_t)(level + 1) * ev->c->n * sizeof(uint64_t));
        }
        rfhe_ct_take_header(out, a);
        out->has_seed = a->has_seed;
        out->seed = a->seed;
    }
    out->level = level;
done:
    return st;
}

/* ---- rescaling ---- */

void rfhe_rescale_limbs(rfhe_evaluator *ev, uint32_t level, uint32_t halves, const uint64_t *const in[],
                        uint64_t *const out[], rfhe_limb_fn *make, void *user)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const size_t n = c->n;
    const rfhe_modulus *top = &c->m[level];
    const uint64_t half = (top->q - 1) / 2;

    /* x = round to nearest: with t = x + half mod q_l, the centred x is t - half, and both parts reduce easily. */
#pragma omp parallel num_threads(ev->threads)
    {
        if (make != NULL) {
#pragma omp for schedule(dynamic)
            for (uint32_t i = 0; i <= level; i++) { make(user, i); }
        }
#pragma omp for schedule(dynamic)
        for (uint32_t h = 0; h < halves; h++) {
            uint64_t *const t = ev->acc[0] + h * n;
            memcpy(t, in[h] + level * n, n * sizeof *t);
            k->ntt_inverse(t, &c->ntt[level]);
            k->add_const(t, t, half, n, top);
        }
#pragma omp for schedule(dynamic) collapse(2)
        for (uint32_t h = 0; h < halves; h++) {
            for (uint32_t i = 0; i < level; i++) {
                const rfhe_modulus *m = &c->m[i];
                uint64_t *const y = ev->lift[h] + i * n;
                const uint64_t *t = ev->acc[0] + h * n;
                for (size_t o = 0; o < n; o += RFHE_TILE) {
                    k->mul_const(y + o, t + o, rfhe_shoup_make(1, m->q), RFHE_TILE, m);
                    k->add_const(y + o, y + o, rfhe_mod_neg(half % m->q, m->q), RFHE_TILE, m);
                }
                k->ntt_forward(y, &c->ntt[i]);
                k->sub_scale(out[h] + i * n, in[h] + i * n, y, c->q_inv[(size_t)level * c->n_q + i], n, m);
            }
        }
    }
}

rfhe_status rfhe_ct_rescale(rfhe_ct *out, const rfhe_ct *a, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_level(a, 1, err));
    RFHE_TRY(check_parts(a, "the operand", err));
    RFHE_TRY(begin_unary(out, a, ev, err));
    const uint64_t *const in[2] = {rfhe_ct_limb(a, 0, 0), rfhe_ct_limb(a, 1, 0)};
    uint64_t *const to[2] = {rfhe_ct_limb(out, 0, 0), rfhe_ct_limb(out, 1, 0)};
    rfhe_rescale_limbs(ev, a->level, 2, in, to, NULL, NULL);
    rfhe_ct_take_header(out, a);
    out->scale /= (double)c->m[out->level].q;
    out->level--;
    out->error = hypotenuse(out->error, rfhe_noise_slot(c, rfhe_noise_rounding(c), out->scale));
done:
    return st;
}

/* ---- sums of products ---- */

typedef struct combine_state {
    const rfhe_evaluator *ev;
    const rfhe_combine *c;
    uint64_t x[RFHE_COMBINE_MAX][RFHE_CKKS_MAX_LEVELS], y[RFHE_CKKS_MAX_LEVELS];
} combine_state;

/* The common factor of the products, 0 when they differ. */
static int32_t common_factor(const rfhe_combine *f)
{
    for (uint32_t j = 1; j < f->products; j++) {
        if (f->f[j] != f->f[0]) { return 0; }
    }
    return f->f[0] == 0 ? 1 : f->f[0];
}

/* One tile of one limb of the three (or two) sums, into ev->tensor; `at` is the tile's first coefficient. */
static void combine_tile(const combine_state *s, uint32_t i, size_t at, int32_t common)
{
    const rfhe_combine *f = s->c;
    const rfhe_ckks *c = s->ev->c;
    const rfhe_kernels *k = c->k;
    const rfhe_modulus *m = &c->m[i];
    const size_t n = RFHE_TILE, part = (size_t)c->n_q * c->n;
    uint64_t *const d0 = s->ev->tensor + i * c->n + at, *const d1 = d0 + part, *const d2 = d1 + part;

    if (f->products == 1) {
        const uint64_t *a0 = rfhe_ct_limb(f->a[0], 0, i) + at, *a1 = rfhe_ct_limb(f->a[0], 1, i) + at;
        const uint64_t *b0 = rfhe_ct_limb(f->b[0], 0, i) + at, *b1 = rfhe_ct_limb(f->b[0], 1, i) + at;
        k->mul(d0, a0, b0, n, m);
        k->mul(d2, a1, b1, n, m);
        if (f->a[0] == f->b[0]) {
            k->mul(d1, a0, a1, n, m);
            k->add(d1, d1, d1, n, m);
        } else {
            const uint64_t *x[2] = {a0, a1}, *y[2] = {b1, b0};
            k->inner(d1, NULL, x, y, NULL, 2, n, false, m);
        }
    } else if (f->products > 1) {
        const uint64_t *x[2 * RFHE_COMBINE_MAX], *y[2 * RFHE_COMBINE_MAX];
        const uint32_t count = f->products;
        uint64_t *spare = rfhe_thread_scratch(s->ev) + RFHE_SCRATCH_LIMBS_AT;
        for (uint32_t j = 0; j < count; j++) {
            x[j] = rfhe_ct_limb(f->a[j], 0, i) + at, x[count + j] = rfhe_ct_limb(f->a[j], 1, i) + at;
            y[j] = rfhe_ct_limb(f->b[j], 1, i) + at, y[count + j] = rfhe_ct_limb(f->b[j], 0, i) + at;
            if (common == 0 && f->f[j] != 1 && f->f[j] != 0) {
                const rfhe_shoup w = rfhe_shoup_make(rfhe_mod_from_i64(f->f[j], m->q), m->q);
                k->mul_const(spare, x[j], w, n, m);
                k->mul_const(spare + n, x[count + j], w, n, m);
                x[j] = spare, x[count + j] = spare + n;
                spare += 2 * n;
            }
        }
        k->inner(d0, NULL, x, y + count, NULL, count, n, false, m);
        k->inner(d1, NULL, x, y, NULL, 2 * count, n, false, m);
        k->inner(d2, NULL, x + count, y, NULL, count, n, false, m);
    } else {
        memset(d0, 0, n * sizeof *d0);
        memset(d1, 0, n * sizeof *d1);
    }
    if (f->products > 0 && common == 2) {
        k->add(d0, d0, d0, n, m);
        k->add(d1, d1, d1, n, m);
        k->add(d2, d2, d2, n, m);
    } else if (f->products > 0 && common != 1 && common != 0) {
        const rfhe_shoup w = rfhe_shoup_make(rfhe_mod_from_i64(common, m->q), m->q);
        k->mul_const(d0, d0, w, n, m);
        k->mul_const(d1, d1, w, n, m);
        k->mul_const(d2, d2, w, n, m);
    }
    for (uint32_t j = 0; j < f->terms; j++) {
        if (f->w[j] != NULL) {
            k->mul_add(d0, rfhe_ct_limb(f->t[j], 0, i) + at, f->w[j] + i * c->n + at, n, m);
            k->mul_add(d1, rfhe_ct_limb(f->t[j], 1, i) + at, f->w[j] + i * c->n + at, n, m);
            continue;
        }
        const rfhe_shoup x = rfhe_shoup_make(s->x[j][i], m->q);
        k->mul_add_const(d0, rfhe_ct_limb(f->t[j], 0, i) + at, x, n, m);
        k->mul_add_const(d1, rfhe_ct_limb(f->t[j], 1, i) + at, x, n, m);
    }
    /* A constant polynomial has the same value everywhere. */
    if (f->y != 0) { k->add_const(d0, d0, s->y[i], n, m); }
}

/* The limb_fn of a sum. */
static void combine_limb(void *user, uint32_t i)
{
    const combine_state *s = user;
    const int32_t common = common_factor(s->c);

    for (size_t at = 0; at < s->ev->c->n; at += RFHE_TILE) { combine_tile(s, i, at, common); }
}

void rfhe_combine_run(rfhe_evaluator *ev, rfhe_ct *out, const rfhe_combine *f, const rfhe_key *relin, bool rescale)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n, part = (size_t)c->n_q * n;
    uint64_t *const d0 = ev->tensor, *const d1 = d0 + part, *const d2 = d1 + part;
    uint64_t *to[2] = {rfhe_ct_limb(out, 0, 0), rfhe_ct_limb(out, 1, 0)};
    combine_state s;

    s.ev = ev;
    s.c = f;
    for (uint32_t j = 0; j < f->terms; j++) {
        if (f->w[j] == NULL) { rfhe_const_residues(c, s.x[j], f->x[j], f->level); }
    }
    rfhe_const_residues(c, s.y, f->y, f->level);
    if (f->products > 0) {
        const rfhe_gadget *g = &c->gadget[relin->special - 1];
        rfhe_decompose(ev, g, d2, f->level, false, combine_limb, &s);
        rfhe_inner_product(ev, relin, f->level, false, ev->acc[0], ev->acc[1], d0, d1);
        rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = g,
                                                .level = f->level,
                                                .rescale = rescale,
                                                .halves = 2,
                                                .acc = {ev->acc[0], ev->acc[1]},
                                                .out = {to[0], to[1]}});
    } else if (rescale) {
        const uint64_t *const in[2] = {d0, d1};
        rfhe_rescale_limbs(ev, f->level, 2, in, to, combine_limb, &s);
    } else {
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
        for (uint32_t i = 0; i <= f->level; i++) {
            combine_limb(&s, i);
            memcpy(to[0] + i * n, d0 + i * n, n * sizeof *d0);
            memcpy(to[1] + i * n, d1 + i * n, n * sizeof *d1);
        }
    }
    out->parts = 2;
    out->level = f->level - (rescale ? 1 : 0);
    out->has_seed = false;
}

/* ---- products with plaintexts ---- */

double rfhe_plain_scale(const rfhe_ct *a, double target)
{
    const rfhe_ckks *c = a->c;

    if (a->level == 0) { return 0; }
    return (target != 0 ? target : c->scale[a->level - 1]) * ((double)c->m[a->level].q / a->scale);
}

typedef struct plain_state {
    const rfhe_ct *a;
    const rfhe_pt *pt;
    uint64_t *d;
    size_t part;
} plain_state;

static void plain_limb(void *user, uint32_t i)
{
    const plain_state *s = user;
    const rfhe_ckks *c = s->a->c;

    for (uint32_t p = 0; p < 2; p++) {
        c->k->mul(s->d + p * s->part + i * c->n, rfhe_ct_limb(s->a, p, i), s->pt->data + i * c->n, c->n, &c->m[i]);
    }
}

rfhe_status rfhe_ct_mul_plain(rfhe_ct *out, const rfhe_ct *a, const rfhe_pt *pt, bool rescale, rfhe_evaluator *ev,
                              rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_plain(ev, out, a, pt, err));
    if (rescale) {
        RFHE_TRY(check_level(a, 1, err));
        RFHE_TRY(check_parts(a, "the operand", err));
    }
    RFHE_TRY(rfhe_ct_reserve(out, a->level, a->parts, err));
    const double error = hypotenuse(a->error * pt->bound, a->bound * pt->error);
    if (rescale) {
        const size_t part = (size_t)c->n_q * n;
        plain_state s = {.a = a, .pt = pt, .d = ev->tensor, .part = part};
        const uint64_t *const in[2] = {ev->tensor, ev->tensor + part};
        uint64_t *const to[2] = {rfhe_ct_limb(out, 0, 0), rfhe_ct_limb(out, 1, 0)};
        rfhe_rescale_limbs(ev, a->level, 2, in, to, plain_limb, &s);
    } else {
#pragma omp parallel for schedule(static) collapse(2) if (c->n >= RFHE_PARALLEL_FROM)
        for (uint32_t p = 0; p < a->parts; p++) {
            for (uint32_t i = 0; i <= a->level; i++) {
                c->k->mul(rfhe_ct_limb(out, p, i), rfhe_ct_limb(a, p, i), pt->data + i * n, n, &c->m[i]);
            }
        }
    }
    rfhe_ct_take_header(out, a);
    out->bound *= pt->bound;
    out->scale *= pt->scale;
    out->error = error;
    if (rescale) {
        out->scale /= (double)c->m[out->level].q;
        out->level--;
        out->error = hypotenuse(error, rfhe_noise_slot(c, rfhe_noise_rounding(c), out->scale));
    }
done:
    return st;
}

rfhe_status rfhe_ct_mul_const(rfhe_ct *out, const rfhe_ct *a, double x, double target, rfhe_evaluator *ev,
                              rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_level(a, 1, err));
    RFHE_TRY(check_parts(a, "the operand", err));
    if (target == 0) { target = c->scale[a->level - 1]; }
    const double factor = rfhe_plain_scale(a, target), error = a->error, bound = a->bound;
    if (!(fabs(x * factor) < 0x1p103)) {
        st = rfhe_fail(err, RFHE_E_ARG, "the constant %g is too large for scale 2^%.1f", x, log2(factor));
        goto done;
    }
    RFHE_TRY(begin_unary(out, a, ev, err));
    const rfhe_combine f = {.level = a->level, .terms = 1, .t = {a}, .x = {x * factor}};
    rfhe_combine_run(ev, out, &f, NULL, true);
    out->scale = target;
    out->bound = bound * fabs(x);
    out->error = hypotenuse(hypotenuse(error * x, bound / factor / sqrt(12)),
                            rfhe_noise_slot(c, rfhe_noise_rounding(c), target));
done:
    return st;
}

/* ---- products of ciphertexts ---- */

static rfhe_status check_product(const rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b, const rfhe_evaluator *ev,
                                 rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_check_ct(ev, a, "the first operand", err));
    RFHE_TRY(rfhe_check_ct(ev, b, "the second operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    RFHE_TRY(check_parts(a, "the first operand", err));
    RFHE_TRY(check_parts(b, "the second operand", err));
    const uint32_t level = lower(a->level, b->level);
    if (log2(a->scale) + log2(b->scale) > rfhe_log2_primes(ev->c, 0, level + 1)) {
        st = rfhe_fail(err, RFHE_E_DEPTH, "the product's scale 2^%.1f does not fit the %.1f bits of level %u",
                       log2(a->scale) + log2(b->scale), rfhe_log2_primes(ev->c, 0, level + 1), level);
    }
done:
    return st;
}

static double product_error(const rfhe_ct *a, const rfhe_ct *b)
{
    if (a == b) { return 2 * a->bound * a->error + a->error * a->error; }
    return hypotenuse(hypotenuse(a->bound * b->error, b->bound * a->error), a->error * b->error);
}

rfhe_status rfhe_ct_mul(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;
    const rfhe_key *relin = NULL;

    RFHE_TRY(check_level(a, 1, err));
    RFHE_TRY(check_level(b, 1, err));
    RFHE_TRY(check_product(out, a, b, ev, err));
    const uint32_t level = lower(a->level, b->level);
    RFHE_TRY(rfhe_key_need(&relin, ev, RFHE_ELEMENT_RELIN, level, 0, err));
    RFHE_TRY(rfhe_ct_reserve(out, level, 2, err));
    const double scale = a->scale * b->scale, error = product_error(a, b), bound = a->bound * b->bound;
    const rfhe_combine f = {.level = level, .products = 1, .a = {a}, .b = {b}};
    rfhe_combine_run(ev, out, &f, relin, true);
    out->scale = scale / (double)c->m[level].q;
    out->bound = bound;
    /* The switch's error is divided by the prime as well. */
    const double switched = rfhe_noise_slot(c, rfhe_noise_key_switch(c, relin, level), scale);
    out->error = hypotenuse(hypotenuse(error, switched), rfhe_noise_slot(c, rfhe_noise_rounding(c), out->scale));
done:
    return st;
}

rfhe_status rfhe_ct_mul_lazy(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n, part = (size_t)c->n_q * n;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_product(out, a, b, ev, err));
    const uint32_t level = lower(a->level, b->level);
    RFHE_TRY(rfhe_ct_reserve(out, level, 3, err));
    const double scale = a->scale * b->scale, error = product_error(a, b), bound = a->bound * b->bound;
    const rfhe_combine f = {.level = level, .products = 1, .a = {a}, .b = {b}};
    combine_state s;
    s.ev = ev;
    s.c = &f;
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
    for (uint32_t i = 0; i <= level; i++) {
        combine_limb(&s, i);
        for (uint32_t p = 0; p < 3; p++) {
            memcpy(rfhe_ct_limb(out, p, i), ev->tensor + p * part + i * n, n * sizeof(uint64_t));
        }
    }
    *out = (rfhe_ct){.c = out->c, .data = out->data, .room = out->room, .room_parts = out->room_parts,
                     .level = level, .parts = 3, .scale = scale, .error = error, .bound = bound};
done:
    return st;
}

rfhe_status rfhe_ct_relinearise(rfhe_ct *out, const rfhe_ct *a, bool rescale, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;
    const rfhe_key *relin = NULL;

    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    if (a->parts == 2) { return rescale ? rfhe_ct_rescale(out, a, ev, err) : rfhe_ct_copy(out, a, err); }
    if (rescale) { RFHE_TRY(check_level(a, 1, err)); }
    RFHE_TRY(rfhe_key_need(&relin, ev, RFHE_ELEMENT_RELIN, a->level, 0, err));
    RFHE_TRY(rfhe_ct_reserve(out, a->level, 2, err));
    const rfhe_gadget *g = &c->gadget[relin->special - 1];
    const uint32_t level = a->level;
    rfhe_decompose(ev, g, rfhe_ct_limb(a, 2, 0), level, false, NULL, NULL);
    rfhe_inner_product(ev, relin, level, false, ev->acc[0], ev->acc[1], rfhe_ct_limb(a, 0, 0), rfhe_ct_limb(a, 1, 0));
    rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = g,
                                            .level = level,
                                            .rescale = rescale,
                                            .halves = 2,
                                            .acc = {ev->acc[0], ev->acc[1]},
                                            .out = {rfhe_ct_limb(out, 0, 0), rfhe_ct_limb(out, 1, 0)}});
    rfhe_ct_take_header(out, a);
    out->parts = 2;
    out->error = hypotenuse(out->error, rfhe_noise_slot(c, rfhe_noise_key_switch(c, relin, level), out->scale));
    if (rescale) {
        out->scale /= (double)c->m[level].q;
        out->level--;
        out->error = hypotenuse(out->error, rfhe_noise_slot(c, rfhe_noise_rounding(c), out->scale));
    }
done:
    return st;
}

/* ---- automorphisms ---- */

/* The part after the decomposition of a's second half. */
static void apply_key(rfhe_evaluator *ev, rfhe_ct *out, const rfhe_ct *a, const rfhe_key *key, bool is_transformed)
{
    const rfhe_ckks *c = ev->c;
    const uint32_t level = a->level;

    rfhe_inner_product(ev, key, level, is_transformed, ev->acc[0], ev->acc[1], NULL, NULL);
    rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = &c->gadget[key->special - 1],
                                            .level = level,
                                            .element = key->element,
                                            .halves = 2,
                                            .acc = {ev->acc[0], ev->acc[1]},
                                            .out = {rfhe_ct_limb(out, 0, 0), rfhe_ct_limb(out, 1, 0)},
                                            .add = {rfhe_ct_limb(a, 0, 0), NULL}});
    rfhe_ct_take_header(out, a);
    out->error = hypotenuse(out->error, rfhe_noise_slot(c, rfhe_noise_key_switch(c, key, level), out->scale));
}

rfhe_status rfhe_ct_automorphism(rfhe_ct *out, const rfhe_ct *a, uint32_t element, rfhe_evaluator *ev,
                                 rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;
    const rfhe_key *key = NULL;

    RFHE_TRY(check_parts(a, "the operand", err));
    RFHE_TRY(begin_unary(out, a, ev, err));
    if (element == 1) {
        st = rfhe_ct_copy(out, a, err);
        goto done;
    }
    if (element % 2 == 0 || element >= 2 * c->n) {
        st = rfhe_fail(err, RFHE_E_ARG, "%" PRIu32 " is not a Galois element of ring degree 2^%u", element, c->log2_n);
        goto done;
    }
    RFHE_TRY(rfhe_key_need(&key, ev, element, a->level, 0, err));
    rfhe_decompose(ev, &c->gadget[key->special - 1], rfhe_ct_limb(a, 1, 0), a->level, false, NULL, NULL);
    apply_key(ev, out, a, key, false);
done:
    return st;
}

rfhe_status rfhe_ct_rotate(rfhe_ct *out, const rfhe_ct *a, int64_t by, rfhe_evaluator *ev, rfhe_error *err)
{
    return rfhe_ct_automorphism(out, a, rfhe_element_rotate(ev->c, by), ev, err);
}

rfhe_status rfhe_ct_conjugate(rfhe_ct *out, const rfhe_ct *a, rfhe_evaluator *ev, rfhe_error *err)
{
    return rfhe_ct_automorphism(out, a, rfhe_element_conjugate(ev->c), ev, err);
}

rfhe_status rfhe_ct_rotate_many(rfhe_ct *const *out, const rfhe_ct *a, const int64_t *by, size_t count,
                                rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;
    const rfhe_key *key = NULL;
    uint32_t special = 0;

    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(check_parts(a, "the operand", err));
    for (size_t i = 0; i < count; i++) {
        const uint32_t element = rfhe_element_rotate(c, by[i]);
        if (out[i] == a && i + 1 != count) {
            st = rfhe_fail(err, RFHE_E_ARG, "only the last output of a group of rotations may be the operand itself");
            goto done;
        }
        if (element != 1) { RFHE_TRY(rfhe_key_need(&key, ev, element, a->level, 0, err)); }
    }
    for (size_t i = 0; i < count; i++) { RFHE_TRY(begin_unary(out[i], a, ev, err)); }
    for (size_t i = 0; i < count; i++) {
        const uint32_t element = rfhe_element_rotate(c, by[i]);
        if (element == 1) {
            RFHE_TRY(rfhe_ct_copy(out[i], a, err));
            continue;
        }
        key = rfhe_key_find(ev->keys, element, a->level, 0);
        if (key->special != special) { /* once, unless keys of different shapes were asked for */
            special = key->special;
            rfhe_decompose(ev, &c->gadget[special - 1], rfhe_ct_limb(a, 1, 0), a->level, true, NULL, NULL);
        }
        apply_key(ev, out[i], a, key, true);
    }
done:
    return st;
}
