/* The packing tree: many ciphertexts whose coefficients matter only at multiples of B become one whose coefficients all
 * matter.
 *
 * Sparse packings do the same in the sub-ring of polynomials in Y = X^gap: the tree ends at m = gap. An automorphism's
 * element is odd, so it keeps the power of two in an exponent: what lies between the multiples of gap (noise) stays there.
 *
 * One merge. Let `even` and `odd` matter at multiples of 2m. With g = 1 + N/m the automorphism X -> X^g maps X^(m j) to
 * (-1)^j X^(m j) and multiples of m to multiples of m only. So in
 *   (even + X^m odd) + aut_g(even - X^m odd)
 * the coefficients at multiples of 2m of `even` and of X^m odd at 2m i + m come out doubled, and what lay at the other
 * multiples of m cancels: the sum matters at multiples of m. From m = B/2 down to 1.
 *
 * Absent operands are zeros. A merge with one operand still needs its key switch, which clears what must cancel; one
 * without operands is nothing. So constants are packed by the same tree with B = N and all but a few operands absent: as
 * long as operands meet they merge, afterwards the rest of the automorphisms is a trace [CDKS21].
 *
 * Threads. Merges of one m are independent; each takes about a dozen transforms of a few limbs, too few to be shared
 * well. While there are enough of them, every thread has merges of its own, in a workspace of its own (rfhe_evaluator_subs);
 * the last few are shared limb by limb. */
#include <math.h>
#include <omp.h>

#include "base/mem.h"
#include "ckks/internal.h"

static rfhe_status check_count(const rfhe_ckks *c, size_t count, size_t gap, rfhe_error *err)
{
    if (gap < 1 || gap > c->n || (gap & (gap - 1)) != 0 || count < 1 || count > c->n / gap || (count & (count - 1)) != 0) {
        return rfhe_fail(err, RFHE_E_ARG, "packing %zu ciphertexts %zu coefficients apart: both must be powers of two, together "
                         "at most %zu", count, gap, c->n);
    }
    return RFHE_OK;
}

static uint32_t element(const rfhe_ckks *c, size_t m)
{
    return (uint32_t)(1 + c->n / m);
}

rfhe_status rfhe_pack_keys(const rfhe_ckks *c, size_t count, size_t gap, uint32_t level, rfhe_key_list *list, rfhe_error *err)
{
    rfhe_status st = check_count(c, count, gap, err);

    for (size_t m = gap * count / 2; st == RFHE_OK && m >= gap; m /= 2) {
        st = rfhe_key_list_add(list, element(c, m), level, 0, err);
    }
    return st;
}

/* The merge of even and odd (one of them may be NULL) into `to`, which is one of them. x: X^m, transformed. d: two
 * polynomials of room. */
static void merge(rfhe_evaluator *ev, const rfhe_key *key, rfhe_ct *to, const rfhe_ct *even, const rfhe_ct *odd,
                  const uint64_t *x, uint64_t *const d[2])
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const size_t n = c->n;
    const uint32_t level = to->level;

#pragma omp parallel for schedule(static) collapse(2) num_threads(ev->threads)
    for (uint32_t h = 0; h < 2; h++) {
        for (uint32_t i = 0; i <= level; i++) {
            const rfhe_modulus *m = &c->m[i];
            uint64_t *const t = rfhe_thread_scratch(ev) + RFHE_SCRATCH_LIMBS_AT;
            for (size_t o = 0; o < n; o += RFHE_TILE) {
                uint64_t *const y = rfhe_ct_limb(to, h, i) + o, *const z = d[h] + i * n + o;
                const uint64_t *const e = even != NULL ? rfhe_ct_limb(even, h, i) + o : NULL;
                if (odd == NULL) {
                    memcpy(z, e, RFHE_TILE * sizeof *z);
                    continue;
                }
                k->mul(t, rfhe_ct_limb(odd, h, i) + o, x + i * n + o, RFHE_TILE, m);
                if (even == NULL) {
                    k->neg(z, t, RFHE_TILE, m);
                    memcpy(y, t, RFHE_TILE * sizeof *y);
                } else {
                    k->sub(z, e, t, RFHE_TILE, m);
                    k->add(y, e, t, RFHE_TILE, m);
                }
            }
        }
    }
    rfhe_decompose(ev, &c->gadget[key->special - 1], d[1], level, false, NULL, NULL);
    rfhe_inner_product(ev, key, level, false, ev->acc[0], ev->acc[1], NULL, NULL);
    rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = &c->gadget[key->special - 1],
                                            .level = level,
                                            .element = key->element,
                                            .halves = 2,
                                            .acc = {ev->acc[0], ev->acc[1]},
                                            .out = {d[0], d[1]},
                                            .add = {d[0], NULL}});
#pragma omp parallel for schedule(static) collapse(2) num_threads(ev->threads)
    for (uint32_t h = 0; h < 2; h++) {
        for (uint32_t i = 0; i <= level; i++) {
            k->add(rfhe_ct_limb(to, h, i), rfhe_ct_limb(to, h, i), d[h] + i * n, n, &c->m[i]);
        }
    }
}

/* Header of a merge: doubled numbers at a doubled scale; half of the errors' energy cancels with the garbage. */
static void merge_header(const rfhe_ckks *c, const rfhe_key *key, rfhe_ct *to, const rfhe_ct *even, const rfhe_ct *odd)
{
    const double switched = rfhe_noise_slot(c, rfhe_noise_key_switch(c, key, to->level), to->scale);
    double v = 0, bound = 0;

    for (int k = 0; k < 2; k++) {
        const rfhe_ct *const a = k == 0 ? even : odd;
        if (a == NULL) { continue; }
        v += a->error * a->error;
        bound = fmax(bound, a->bound);
    }
    to->error = sqrt(2 * v + switched * switched) / 2;
    to->bound = bound;
    to->scale *= 2;
    to->has_seed = false;
}

/* Divides everything present by 2^times modulo Q, where that is exact. */
static void halve(rfhe_ct *const *at, size_t count, uint32_t level, uint32_t times, const rfhe_evaluator *ev)
{
    const rfhe_ckks *c = ev->c;

#pragma omp parallel for schedule(static) collapse(2) num_threads(ev->threads)
    for (size_t i = 0; i < count; i++) {
        for (uint32_t l = 0; l <= level; l++) {
            const uint64_t q = c->m[l].q;
            if (at[i] == NULL) { continue; }
            uint64_t inverse = 1;
            for (uint32_t k = 0; k < times; k++) { inverse = (inverse & 1) != 0 ? (inverse + q) / 2 : inverse / 2; }
            for (uint32_t h = 0; h < 2; h++) {
                c->k->mul_const(rfhe_ct_limb(at[i], h, l), rfhe_ct_limb(at[i], h, l), rfhe_shoup_make(inverse, q), c->n,
                                &c->m[l]);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (at[i] != NULL) { at[i]->scale = ldexp(at[i]->scale, -(int)times); }
    }
}

/* The tree on at[0 .. count - 1], NULL where absent, each divided by 2^halvings first; the result is at[0] (at least one is
 * present). */
static rfhe_status run_tree(rfhe_ct **at, size_t count, size_t gap, uint32_t level, uint32_t halvings, rfhe_evaluator *ev,
                            rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n, part = (size_t)c->n_q * n;
    const rfhe_basis basis = rfhe_basis_range(0, level + 1);
    uint64_t *const x = ev->tensor + 2 * part;
    rfhe_status st = RFHE_OK;
    const rfhe_key *key = NULL;
    uint32_t *pair = NULL;
    uint32_t digits = 0, special = 0;

    for (size_t m = count / 2; m >= 1; m /= 2) {
        RFHE_TRY(rfhe_key_need(&key, ev, element(c, gap * m), level, 0, err));
        special = key->special > special ? key->special : special;
        const uint32_t b = rfhe_gadget_digits(&c->gadget[key->special - 1], level);
        digits = b > digits ? b : digits;
    }
    pair = rfhe_alloc(count, sizeof *pair);
    if (pair == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to pack %zu ciphertexts", count);
        goto done;
    }
    if (ev->threads > 1 && count > 2) { RFHE_TRY(rfhe_evaluator_subs(ev, level, special, digits, err)); }
    if (halvings > 0) { halve(at, count, level, halvings, ev); } /* from here on nothing fails */
    for (size_t m = count / 2; m >= 1; m /= 2) {
        rfhe_poly monomial = rfhe_poly_at(c->ring, &basis, true, x);
        uint32_t pairs = 0;
        for (size_t i = 0; i < m; i++) {
            if (at[i] != NULL || at[i + m] != NULL) { pair[pairs++] = (uint32_t)i; }
        }
        rfhe_poly_set_monomial(c->ring, &monomial, (uint32_t)(gap * m));
        key = rfhe_key_find(ev->keys, element(c, gap * m), level, 0);
        /* Whole rounds of the team by merges, what remains by limbs. */
        const uint32_t alone = ev->threads > 1 ? pairs - pairs % ev->threads : 0;
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads) if (alone > 0)
        for (uint32_t p = 0; p < alone; p++) {
            rfhe_evaluator *const own = ev->sub[omp_get_thread_num()];
            rfhe_ct *const even = at[pair[p]], *const odd = at[pair[p] + m];
            merge(own, key, even != NULL ? even : odd, even, odd, x,
                  (uint64_t *const[2]){own->tensor, own->tensor + (size_t)(level + 1) * n});
        }
        for (uint32_t p = alone; p < pairs; p++) {
            rfhe_ct *const even = at[pair[p]], *const odd = at[pair[p] + m];
            merge(ev, key, even != NULL ? even : odd, even, odd, x, (uint64_t *const[2]){ev->tensor, ev->tensor + part});
        }
        for (uint32_t p = 0; p < pairs; p++) {
            rfhe_ct *const even = at[pair[p]], *const odd = at[pair[p] + m], *const to = even != NULL ? even : odd;
            merge_header(c, key, to, even, odd);
            at[pair[p]] = to;
        }
    }

done:
    rfhe_free(pair);
    return st;
}

/* All that are present have two parts, one level and one scale, at least the first is present. */
static rfhe_status check_operands(rfhe_ct *const *ct, size_t count, const rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    if (ct[0] == NULL) { return rfhe_fail(err, RFHE_E_ARG, "the first ciphertext to be packed receives the result and is absent"); }
    for (size_t i = 0; i < count; i++) {
        if (ct[i] == NULL) { continue; }
        RFHE_TRY(rfhe_check_ct(ev, ct[i], "a ciphertext to be packed", err));
        if (ct[i]->parts != 2 || ct[i]->level != ct[0]->level) {
            st = rfhe_fail(err, RFHE_E_ARG, "ciphertexts to be packed need two parts and one level: %zu has %u and %u, "
                           "the first %u and %u", i, ct[i]->parts, ct[i]->level, ct[0]->parts, ct[0]->level);
            goto done;
        }
        RFHE_TRY(rfhe_check_same_scale(ct[i]->scale, ct[0]->scale, err));
    }
done:
    return st;
}

rfhe_status rfhe_ct_pack(rfhe_ct *const *ct, size_t count, size_t gap, rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ct **at = NULL;

    RFHE_TRY(check_count(ev->c, count, gap, err));
    RFHE_TRY(check_operands(ct, count, ev, err));
    at = rfhe_alloc(count, sizeof *at);
    if (at == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to pack %zu ciphertexts", count);
        goto done;
    }
    memcpy(at, ct, count * sizeof *at);
    RFHE_TRY(run_tree(at, count, gap, ct[0]->level, 0, ev, err));

done:
    rfhe_free(at);
    return st;
}

rfhe_status rfhe_pack_scalars_keys(const rfhe_ckks *c, uint32_t level, rfhe_key_list *list, rfhe_error *err)
{
    return rfhe_pack_keys(c, c->n, 1, level, list, err);
}

rfhe_status rfhe_ct_pack_scalars(rfhe_ct *const *ct, size_t count, double bound, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n;
    rfhe_status st = RFHE_OK;
    rfhe_ct **at = NULL;
    size_t whole = 1;

    if (count < 1 || count > n) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu constants to be packed: 1 .. %zu are possible", count, n);
    }
    if (!(bound > 0) || !isfinite(bound)) {
        return rfhe_fail(err, RFHE_E_ARG, "a bound of %g on the constants to be packed", bound);
    }
    while (whole < count) { whole *= 2; }
    RFHE_TRY(check_operands(ct, count, ev, err));
    const uint32_t level = ct[0]->level;
    /* The tree multiplies by N. As much of it as there is room for goes into the scale; the rest is divided out first, which
     * modulo Q is exact: what is not a multiple of it cancels in the end. */
    const double room = floor(rfhe_log2_primes(c, 0, level + 1) - 2 - log2(ct[0]->scale * bound));
    if (room < 0) {
        st = rfhe_fail(err, RFHE_E_ARG, "constants up to %g at scale 2^%.1f do not fit level %u", bound,
                       log2(ct[0]->scale), level);
        goto done;
    }
    const uint32_t divided = room < c->log2_n ? c->log2_n - (uint32_t)room : 0;
    at = rfhe_calloc(n, sizeof *at);
    if (at == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to pack %zu ciphertexts", count);
        goto done;
    }
    for (size_t i = 0; i < count; i++) { at[i * (n / whole)] = ct[i]; }
    RFHE_TRY(run_tree(at, n, 1, level, divided, ev, err));
    rfhe_ct_set_bound(ct[0], bound * sqrt((double)count)); /* root mean square of the slots */

done:
    rfhe_free(at);
    return st;
}
