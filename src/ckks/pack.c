/* The packing tree: many ciphertexts whose coefficients matter only at multiples of B become one whose coefficients all
 * matter.
 *
 * One merge. Let `even` and `odd` matter at multiples of 2m. With g = 1 + N/m the automorphism X -> X^g maps X^(m j) to
 * (-1)^j X^(m j) and multiples of m to multiples of m only. So in
 *   (even + X^m odd) + aut_g(even - X^m odd)
 * the coefficients at multiples of 2m of `even` and of X^m odd at 2m i + m come out doubled, and what lay at the other
 * multiples of m cancels: the sum matters at multiples of m. From m = B/2 down to 1. */
#include "ckks/internal.h"

static rfhe_status check_count(const rfhe_ckks *c, size_t count, rfhe_error *err)
{
    if (count < 1 || count > c->n || (count & (count - 1)) != 0) {
        return rfhe_fail(err, RFHE_E_ARG, "packing %zu ciphertexts: must be a power of two of at most %zu", count, c->n);
    }
    return RFHE_OK;
}

static uint32_t element(const rfhe_ckks *c, size_t m)
{
    return (uint32_t)(1 + c->n / m);
}

rfhe_status rfhe_pack_keys(const rfhe_ckks *c, size_t count, uint32_t level, rfhe_key_list *list, rfhe_error *err)
{
    rfhe_status st = check_count(c, count, err);

    for (size_t m = count / 2; st == RFHE_OK && m >= 1; m /= 2) {
        st = rfhe_key_list_add(list, element(c, m), level, 0, err);
    }
    return st;
}

/* even = merge(even, odd). x: X^m, transformed. */
static void merge(rfhe_evaluator *ev, const rfhe_key *key, rfhe_ct *even, const rfhe_ct *odd, const uint64_t *x)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const size_t n = c->n;
    const uint32_t level = even->level;
    uint64_t *const d[2] = {ev->tensor, ev->tensor + (size_t)c->n_q * n};

#pragma omp parallel for schedule(static) collapse(2) num_threads(ev->threads)
    for (uint32_t h = 0; h < 2; h++) {
        for (uint32_t i = 0; i <= level; i++) {
            uint64_t *const e = rfhe_ct_limb(even, h, i), *const t = rfhe_thread_scratch(ev) + RFHE_SCRATCH_LIMBS_AT;
            k->mul(t, rfhe_ct_limb(odd, h, i), x + i * n, n, &c->m[i]);
            k->sub(d[h] + i * n, e, t, n, &c->m[i]);
            k->add(e, e, t, n, &c->m[i]);
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
            k->add(rfhe_ct_limb(even, h, i), rfhe_ct_limb(even, h, i), d[h] + i * n, n, &c->m[i]);
        }
    }
}

rfhe_status rfhe_ct_pack(rfhe_ct *const *ct, size_t count, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;
    const rfhe_key *key = NULL;

    RFHE_TRY(check_count(c, count, err));
    for (size_t i = 0; i < count; i++) {
        RFHE_TRY(rfhe_check_ct(ev, ct[i], "a ciphertext to be packed", err));
        if (ct[i]->parts != 2 || ct[i]->level != ct[0]->level) {
            st = rfhe_fail(err, RFHE_E_ARG, "ciphertexts to be packed need two parts and one level: %zu has %u and %u, "
                           "the first %u and %u", i, ct[i]->parts, ct[i]->level, ct[0]->parts, ct[0]->level);
            goto done;
        }
        RFHE_TRY(rfhe_check_same_scale(ct[i]->scale, ct[0]->scale, err));
    }
    const uint32_t level = ct[0]->level;
    for (size_t m = count / 2; m >= 1; m /= 2) { RFHE_TRY(rfhe_key_need(&key, ev, element(c, m), level, 0, err)); }
    uint64_t *const x = ev->tensor + 2 * (size_t)c->n_q * c->n;
    const rfhe_basis basis = rfhe_basis_range(0, level + 1);
    for (size_t m = count / 2; m >= 1; m /= 2) {
        rfhe_poly monomial = rfhe_poly_at(c->ring, &basis, true, x);
        rfhe_poly_set_monomial(c->ring, &monomial, (uint32_t)m);
        key = rfhe_key_find(ev->keys, element(c, m), level, 0);
        const double switched = rfhe_noise_slot(c, rfhe_noise_key_switch(c, key, level), ct[0]->scale);
        for (size_t i = 0; i < m; i++) {
            merge(ev, key, ct[i], ct[i + m], x);
            /* Doubled numbers at a doubled scale. Half of the two errors' energy cancels with the garbage. */
            const double v = ct[i]->error * ct[i]->error + ct[i + m]->error * ct[i + m]->error;
            ct[i]->error = __builtin_sqrt(2 * v + switched * switched) / 2;
            ct[i]->bound = ct[i]->bound > ct[i + m]->bound ? ct[i]->bound : ct[i + m]->bound;
            ct[i]->scale *= 2;
            ct[i]->has_seed = false;
        }
    }
done:
    return st;
}
