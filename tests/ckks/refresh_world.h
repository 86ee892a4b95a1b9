/* A small insecure ring with a refresh, for tests of what happens between slots and coefficients. */
#ifndef RFHE_REFRESH_WORLD_H
#define RFHE_REFRESH_WORLD_H

#include "ckks_test.h"

/* As in B15-3: q_0, one level for work on coefficients, two for to_coeffs, three for the user, the reduction, two up. */
static const uint8_t refresh_chain[] = {42, 32, 30, 30, 32, 32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48};

typedef struct refresh_world {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_refresh *r;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    size_t n, slots;
    uint32_t log2_n, log2_slots;
} refresh_world;

/* The keys of the refresh, relinearisation at level 6, and those of `more` (cleared). */
static inline refresh_world refresh_world_new(uint32_t log2_n, const rfhe_refresh_options *opt,
                                              rfhe_status (*more)(rfhe_key_list *list, const rfhe_ckks *c, rfhe_error *err))
{
    rfhe_ckks_options o = {.log2_n = log2_n, .insecure_test = true, .chain_length = sizeof refresh_chain,
                           .special_count = 3, .special_bits = 50};
    const uint64_t seed = test_seed();
    refresh_world w = {.log2_n = log2_n, .n = (size_t)1 << log2_n};
    rfhe_key_list list = {0};

    memcpy(o.chain, refresh_chain, sizeof refresh_chain);
    for (uint32_t l = 0; l < o.chain_length; l++) { o.chain_scale[l] = l <= 6 ? 32 : 48; }
    MUST(rfhe_ckks_new(&w.c, &o, err));
    MUST(rfhe_secret_key_new(&w.sk, w.c, &seed, err));
    MUST(rfhe_refresh_new(&w.r, w.c, opt, err));
    MUST(rfhe_refresh_keys(w.r, &list, err));
    MUST(rfhe_key_list_add(&list, RFHE_ELEMENT_RELIN, 6, 0, err));
    if (more != NULL) { MUST(more(&list, w.c, err)); }
    MUST(rfhe_eval_keys_new(&w.keys, w.sk, list.items, list.count, err));
    MUST(rfhe_evaluator_new(&w.ev, w.c, w.keys, err));
    rfhe_key_list_clear(&list);
    w.slots = rfhe_refresh_get_info(w.r).slots;
    w.log2_slots = (uint32_t)__builtin_ctzll(w.slots);
    return w;
}

static inline void refresh_world_free(refresh_world *w)
{
    rfhe_evaluator_free(w->ev);
    rfhe_eval_keys_free(w->keys);
    rfhe_refresh_free(w->r);
    rfhe_secret_key_free(w->sk);
    rfhe_ckks_free(w->c);
    *w = (refresh_world){0};
}

static inline rfhe_ct *refresh_encrypt(const refresh_world *w, const double *re, const double *im, uint32_t level)
{
    rfhe_pt *pt = NULL;
    rfhe_ct *ct = NULL;

    MUST(rfhe_encode(&pt, w->c, re, im, w->slots, level, 0, err));
    MUST(rfhe_ct_new(&ct, w->c, level, err));
    MUST(rfhe_encrypt_secret(ct, pt, w->sk, err));
    rfhe_pt_free(pt);
    return ct;
}

static inline rfhe_ct *refresh_encrypt_coeffs(const refresh_world *w, const double *x, uint32_t level, double scale)
{
    rfhe_pt *pt = NULL;
    rfhe_ct *ct = NULL;

    MUST(rfhe_encode_coeffs(&pt, w->c, x, w->n, level, scale, err));
    MUST(rfhe_ct_new(&ct, w->c, level, err));
    MUST(rfhe_encrypt_secret(ct, pt, w->sk, err));
    rfhe_pt_free(pt);
    return ct;
}

/* All N coefficients. */
static inline double *refresh_decrypt_coeffs(const refresh_world *w, const rfhe_ct *a)
{
    double *x = test_calloc(w->n, sizeof *x);
    rfhe_pt *pt = NULL;

    MUST(rfhe_decrypt(&pt, a, w->sk, err));
    MUST(rfhe_decode_coeffs(x, w->n, pt, err));
    rfhe_pt_free(pt);
    return x;
}

static inline double *random_numbers(size_t n, uint64_t stream)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), stream);
    double *x = test_calloc(n, sizeof *x);

    for (size_t i = 0; i < n; i++) { x[i] = 2 * rfhe_rng_uniform(&rng) - 1; }
    return x;
}

/* Difference of two vectors: its largest entry, *rms its root mean square. */
static inline double distance(const double *x, const double *y, size_t n, double *rms)
{
    double worst = 0, sum = 0;

    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs(x[i] - y[i]));
        sum += (x[i] - y[i]) * (x[i] - y[i]);
    }
    *rms = sqrt(sum / (double)n);
    return worst;
}

/* The measured rms of coefficient errors against the estimate, which is of a slot: sqrt(N) times larger. */
static inline void check_coeff_error(const refresh_world *w, const rfhe_ct *a, double rms, double slack, const char *what)
{
    const double slot = rms * sqrt((double)w->n), estimate = rfhe_ct_error(a);

    print_message("%s: error of a slot 2^%.1f, estimate 2^%.1f\n", what, log2(slot), log2(estimate));
    if (!(slot <= 2 * estimate) || slot < estimate / slack) {
        fail_msg("%s: measured error 2^%.2f, estimate 2^%.2f", what, log2(slot), log2(estimate));
    }
}

#endif
