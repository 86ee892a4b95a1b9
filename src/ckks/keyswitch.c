/* Hybrid key switching: turning c s' into a pair under s, through digits and special primes.
 *
 * A polynomial c modulo Q = q_0 .. q_l is cut into digits: digit d is c modulo D_d, the product of its primes, as an
 * integer polynomial of size D_d / 2. The key holds, for each d, an encryption of P (Q/D_d) ((Q/D_d)^-1 mod D_d) s'
 * modulo Q P, which in residues is simply P s' on the primes of the digit and 0 elsewhere. The sum of digit times key
 * is an encryption of P c s' with an error of about D_d times the keys' error; division by P, with D_d <= P, leaves an
 * error of the size of a rounding. Source: [HK20]; [BMTH21] (hoisting).
 *
 * Work, for l + 1 limbs, a special primes and b digits: l + 1 inverse transforms; b (l + 1 + a) - (l + 1) forward ones
 * (a digit's own rows are the input itself); base conversions; an inner product that reads 2 b (l + 1 + a) limbs of key
 * once; then per result a inverse and l + 1 forward transforms. Three passes, each one parallel region:
 *   decompose   per limb: (make), copy, inverse transform; per block of coefficients: all conversions
 *   inner       per row: forward transforms of the digits, inner product while they are in cache, + P times addend
 *   mod_down    per dropped limb: inverse transform; per block: conversions; per kept limb: forward transform,
 *               subtraction, scaling, addend, automorphism
 * Rescaling by q_l is merged into mod_down: one division by P q_l.
 *
 * Pieces of work are independent and exact, so a dynamic schedule changes nothing in the results. */
#include <omp.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/internal.h"

uint64_t *rfhe_thread_scratch(const rfhe_evaluator *ev)
{
    return ev->scratch + (size_t)omp_get_thread_num() * ev->scratch_words;
}

void rfhe_decompose(rfhe_evaluator *ev, const rfhe_gadget *g, const uint64_t *x, uint32_t level, bool transform,
                    rfhe_limb_fn *make, void *user)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const size_t n = c->n, block = n < RFHE_BLOCK ? n : RFHE_BLOCK, blocks = n / block;
    const uint32_t rows = level + 1 + g->special, digits = rfhe_gadget_digits(g, level);

    ev->own = x;
#pragma omp parallel num_threads(ev->threads)
    {
#pragma omp for schedule(dynamic)
        for (uint32_t i = 0; i <= level; i++) {
            if (make != NULL) { make(user, i); }
            memcpy(ev->coef + i * n, x + i * n, n * sizeof *x);
            k->ntt_inverse(ev->coef + i * n, &c->ntt[i]);
        }
        uint64_t *const y = rfhe_thread_scratch(ev), *const v = y + RFHE_CONVERT_MAX * block;
#pragma omp for schedule(dynamic) collapse(2)
        for (size_t piece = 0; piece < blocks; piece++) {
            for (uint32_t d = 0; d < digits; d++) {
                const uint32_t from = g->start[d], to = g->start[d + 1] <= level ? g->start[d + 1] : level + 1;
                const rfhe_convert *b = &g->cut[to - 1];
                const uint64_t *in[RFHE_CONVERT_MAX];
                for (uint32_t j = 0; j < b->count; j++) { in[j] = ev->coef + (from + j) * n + piece * block; }
                k->convert_scale(y, v, in, b->c, b->m, b->count, block);
                for (uint32_t r = 0; r < rows; r++) {
                    if (r >= from && r < to) { continue; }
                    const uint32_t p = rfhe_row_prime(c, level, r);
                    k->convert_out(ev->raised + ((size_t)d * rows + r) * n + piece * block, y, v,
                                   b->h + (size_t)p * b->count, b->neg[p], b->count, block, &c->m[p]);
                }
            }
        }
        if (transform) {
#pragma omp for schedule(dynamic) collapse(2)
            for (uint32_t d = 0; d < digits; d++) {
                for (uint32_t r = 0; r < rows; r++) {
                    if (r <= level && g->digit_of[r] == d) { continue; }
                    k->ntt_forward(ev->raised + ((size_t)d * rows + r) * n, &c->ntt[rfhe_row_prime(c, level, r)]);
                }
            }
        }
    }
}

void rfhe_inner_product(rfhe_evaluator *ev, const rfhe_key *key, uint32_t level, bool is_transformed, uint64_t *acc0,
                        uint64_t *acc1, const uint64_t *add0, const uint64_t *add1)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const rfhe_gadget *g = &c->gadget[key->special - 1];
    const size_t n = c->n;
    const uint32_t rows = level + 1 + g->special, digits = rfhe_gadget_digits(g, level);

#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t p = rfhe_row_prime(c, level, r), key_row = r <= level ? r : key->level + r - level;
        const uint64_t *digit[RFHE_CKKS_MAX_DIGITS], *k0[RFHE_CKKS_MAX_DIGITS], *k1[RFHE_CKKS_MAX_DIGITS];
        for (uint32_t d = 0; d < digits; d++) {
            k0[d] = rfhe_key_limb(key, d, key_row, 0, n);
            k1[d] = rfhe_key_limb(key, d, key_row, 1, n);
            if (r <= level && g->digit_of[r] == d) {
                digit[d] = ev->own + r * n;
            } else {
                uint64_t *const x = ev->raised + ((size_t)d * rows + r) * n;
                if (!is_transformed) { k->ntt_forward(x, &c->ntt[p]); }
                digit[d] = x;
            }
        }
        for (size_t o = 0; o < n; o += RFHE_TILE) {
            uint64_t *const r0 = acc0 + r * n + o, *const r1 = acc1 + r * n + o;
            k->inner(r0, r1, digit, k0, k1, digits, RFHE_TILE, false, &c->m[p]);
            if (r <= level && add0 != NULL) {
                k->mul_add_const(r0, add0 + r * n + o, g->p_mod[r], RFHE_TILE, &c->m[p]);
            }
            if (r <= level && add1 != NULL) {
                k->mul_add_const(r1, add1 + r * n + o, g->p_mod[r], RFHE_TILE, &c->m[p]);
            }
            for (uint32_t d = 0; d < digits; d++) {
                digit[d] += RFHE_TILE;
                k0[d] += RFHE_TILE;
                k1[d] += RFHE_TILE;
            }
        }
    }
}

void rfhe_mod_down(rfhe_evaluator *ev, const rfhe_mod_down_args *a)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const rfhe_gadget *g = a->g;
    const uint32_t level = a->level, special = g->special;
    const size_t n = c->n, block = n < RFHE_BLOCK ? n : RFHE_BLOCK, blocks = n / block;
    const rfhe_convert *b = a->rescale ? &g->down_top[level] : &g->down;
    const uint32_t kept = a->rescale ? level : level + 1, dropped = b->count;

#pragma omp parallel num_threads(ev->threads)
    {
#pragma omp for schedule(dynamic) collapse(2)
        for (uint32_t h = 0; h < a->halves; h++) {
            for (uint32_t j = 0; j < dropped; j++) {
                /* The order of `b`: special primes, then the top of the chain. */
                uint64_t *const x = a->acc[h] + (j < special ? level + 1 + j : level) * n;
                k->ntt_inverse(x, &c->ntt[b->prime[j]]);
            }
        }
        uint64_t *const z = rfhe_thread_scratch(ev), *const v = z + RFHE_CONVERT_MAX * block;
#pragma omp for schedule(dynamic) collapse(2)
        for (uint32_t h = 0; h < a->halves; h++) {
            for (size_t piece = 0; piece < blocks; piece++) {
                const uint64_t *in[RFHE_CONVERT_MAX];
                for (uint32_t j = 0; j < dropped; j++) {
                    in[j] = a->acc[h] + (j < special ? level + 1 + j : level) * n + piece * block;
                }
                k->convert_scale(z, v, in, b->c, b->m, dropped, block);
                for (uint32_t i = 0; i < kept; i++) {
                    k->convert_out(ev->lift[h] + i * n + piece * block, z, v, b->h + (size_t)i * dropped, b->neg[i],
                                   dropped, block, &c->m[i]);
                }
            }
        }
#pragma omp for schedule(dynamic) collapse(2)
        for (uint32_t h = 0; h < a->halves; h++) {
            for (uint32_t i = 0; i < kept; i++) {
                uint64_t *const x = ev->lift[h] + i * n, *const out = a->out[h] + i * n;
                const rfhe_shoup inv = a->rescale ? g->pq_inv[(size_t)level * c->n_q + i] : g->p_inv[i];
                k->ntt_forward(x, &c->ntt[i]);
                const bool moves = a->element > 1, adds = a->add[h] != NULL;
                uint64_t *const y = moves ? x : out;
                for (size_t o = 0; o < n; o += RFHE_TILE) {
                    k->sub_scale(adds ? x + o : y + o, a->acc[h] + i * n + o, x + o, inv, RFHE_TILE, &c->m[i]);
                    if (adds) { k->add(y + o, x + o, a->add[h] + i * n + o, RFHE_TILE, &c->m[i]); }
                }
                if (moves) { k->automorphism_ntt(out, x, c->log2_n, a->element, c->rev); }
            }
        }
    }
}

rfhe_status rfhe_evaluator_new(rfhe_evaluator **out, const rfhe_ckks *c, const rfhe_eval_keys *keys, rfhe_error *err)
{
    rfhe_evaluator *ev = NULL;
    const size_t n = c->n, n_q = c->n_q, all = n_q + c->n_p;
    size_t raised = 0;

    if (keys != NULL && !rfhe_ckks_same(keys->c, c)) {
        return rfhe_fail(err, RFHE_E_ARG, "these evaluation keys belong to other parameters");
    }
    ev = rfhe_calloc(1, sizeof *ev);
    if (ev == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an evaluator"); }
    /* Room for the digits of every key at hand. */
    for (size_t i = 0; keys != NULL && i < keys->count; i++) {
        const size_t words = (size_t)keys->key[i].digits * rfhe_key_rows(&keys->key[i]) * n;
        raised = words > raised ? words : raised;
    }
    ev->c = rfhe_ckks_share(c);
    ev->keys = keys;
    ev->threads = n >= RFHE_PARALLEL_FROM ? (unsigned)omp_get_max_threads() : 1;
    ev->scratch_words = RFHE_SCRATCH_LIMBS_AT + RFHE_SCRATCH_LIMBS * n;
    const size_t sizes[] = {n_q * n, raised, all * n, all * n, n_q * n, n_q * n, 3 * n_q * n,
                            ev->threads * ev->scratch_words};
    uint64_t **const places[] = {&ev->coef,    &ev->raised,  &ev->acc[0], &ev->acc[1],
                                 &ev->lift[0], &ev->lift[1], &ev->tensor, &ev->scratch};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *places[i] = rfhe_alloc(sizes[i], sizeof(uint64_t));
        if (*places[i] == NULL) {
            rfhe_evaluator_free(ev);
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an evaluator's workspace of %zu MiB",
                             sizes[i] * 8 >> 20);
        }
        ev->bytes += sizes[i] * sizeof(uint64_t);
    }
    *out = ev;
    return RFHE_OK;
}

static void drop_subs(rfhe_evaluator *ev)
{
    for (uint32_t t = 0; t < ev->sub_count; t++) {
        ev->bytes -= ev->sub[t]->bytes;
        rfhe_evaluator_free(ev->sub[t]);
    }
    rfhe_free(ev->sub);
    ev->sub = NULL;
    ev->sub_count = 0;
}

rfhe_status rfhe_evaluator_subs(rfhe_evaluator *ev, uint32_t level, uint32_t special, uint32_t digits, rfhe_error *err)
{
    const size_t n = ev->c->n, limbs = level + 1, rows = limbs + special;

    if (ev->sub_count == ev->threads && level <= ev->sub_level && special <= ev->sub_special && digits <= ev->sub_digits) {
        return RFHE_OK;
    }
    drop_subs(ev);
    ev->sub = rfhe_calloc(ev->threads, sizeof(rfhe_evaluator *));
    if (ev->sub == NULL) { goto no_memory; }
    for (uint32_t t = 0; t < ev->threads; t++) {
        rfhe_evaluator *const s = rfhe_calloc(1, sizeof *s);
        if (s == NULL) { goto no_memory; }
        ev->sub[ev->sub_count++] = s;
        s->c = rfhe_ckks_share(ev->c);
        s->keys = ev->keys;
        s->threads = 1;
        s->scratch_words = RFHE_SCRATCH_LIMBS_AT + n;
        const size_t sizes[] = {limbs * n, digits * rows * n, rows * n, rows * n, limbs * n, limbs * n, 2 * limbs * n,
                                s->scratch_words};
        uint64_t **const places[] = {&s->coef,    &s->raised,  &s->acc[0], &s->acc[1],
                                     &s->lift[0], &s->lift[1], &s->tensor, &s->scratch};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            *places[i] = rfhe_alloc(sizes[i], sizeof(uint64_t));
            if (*places[i] == NULL) { goto no_memory; }
            s->bytes += sizes[i] * sizeof(uint64_t);
            ev->bytes += sizes[i] * sizeof(uint64_t);
        }
    }
    ev->sub_level = level;
    ev->sub_special = special;
    ev->sub_digits = digits;
    return RFHE_OK;

no_memory:
    drop_subs(ev);
    return rfhe_fail(err, RFHE_E_NOMEM, "no memory for workspaces of %u threads", ev->threads);
}

void rfhe_evaluator_free(rfhe_evaluator *ev)
{
    if (ev == NULL) { return; }
    rfhe_free(ev->coef);
    rfhe_free(ev->raised);
    rfhe_free(ev->tensor);
    rfhe_free(ev->scratch);
    for (uint32_t i = 0; i < ev->pool_count; i++) { rfhe_ct_free(ev->pool[i]); }
    rfhe_free(ev->pool);
    for (uint32_t i = 0; i < RFHE_SPARES; i++) { rfhe_ct_free(ev->spare[i]); }
    rfhe_free(ev->wide);
    drop_subs(ev);
    for (int h = 0; h < 2; h++) {
        rfhe_free(ev->acc[h]);
        rfhe_free(ev->lift[h]);
    }
    rfhe_ckks_free(ev->c);
    rfhe_free(ev);
}

size_t rfhe_evaluator_bytes(const rfhe_evaluator *ev)
{
    return ev->bytes;
}

rfhe_status rfhe_evaluator_pool(rfhe_evaluator *ev, uint32_t count, uint32_t level, rfhe_error *err)
{
    if (ev->pool_count < count) {
        rfhe_ct **pool = rfhe_realloc(ev->pool, count, sizeof *pool);
        if (pool == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %u registers", count); }
        ev->pool = pool;
        while (ev->pool_count < count) {
            const rfhe_status st = rfhe_ct_new(&ev->pool[ev->pool_count], ev->c, level, err);
            if (st != RFHE_OK) { return st; }
            ev->bytes += rfhe_ct_bytes(ev->pool[ev->pool_count]);
            ev->pool_count++;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t room = ev->pool[i]->room;
        const rfhe_status st = rfhe_ct_reserve(ev->pool[i], level, 2, err);
        if (st != RFHE_OK) { return st; }
        ev->bytes += 2 * (size_t)(ev->pool[i]->room - room) * ev->c->n * sizeof(uint64_t);
    }
    return RFHE_OK;
}

rfhe_status rfhe_evaluator_spare(rfhe_evaluator *ev, uint32_t i, uint32_t level, rfhe_error *err)
{
    if (ev->spare[i] == NULL) {
        const rfhe_status st = rfhe_ct_new(&ev->spare[i], ev->c, level, err);
        if (st != RFHE_OK) { return st; }
        ev->bytes += 2 * (size_t)(level + 1) * ev->c->n * sizeof(uint64_t);
    }
    const uint32_t room = ev->spare[i]->room;
    const rfhe_status st = rfhe_ct_reserve(ev->spare[i], level, 2, err);
    ev->bytes += 2 * (size_t)(ev->spare[i]->room - room) * ev->c->n * sizeof(uint64_t);
    return st;
}

rfhe_status rfhe_evaluator_wide(rfhe_evaluator *ev, size_t words, rfhe_error *err)
{
    if (words <= ev->wide_words) { return RFHE_OK; }
    uint64_t *more = rfhe_alloc(words, sizeof *more);
    if (more == NULL) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a linear map's workspace of %zu MiB", words * 8 >> 20);
    }
    rfhe_free(ev->wide);
    ev->bytes += (words - ev->wide_words) * sizeof *more;
    ev->wide = more;
    ev->wide_words = words;
    return RFHE_OK;
}
