/* Making keys from the inside, for encryption, the wire format and the refresh. */
#ifndef RFHE_CKKS_KEYS_H
#define RFHE_CKKS_KEYS_H

#include "ckks/internal.h"

/* N signed integers, smaller in magnitude than the prime, as one transformed limb. Constant time. */
void rfhe_small_to_limb(const rfhe_ckks *c, uint64_t *limb, const int64_t *coef, uint32_t prime);
/* The public uniform limb of (seed, object, prime), taken as transformed values. */
void rfhe_uniform_limb(const rfhe_ckks *c, uint64_t *limb, const rfhe_seed *seed, uint64_t object, uint32_t prime);
/* Two fresh seeds of the key owner; advances its counter. */
void rfhe_next_seeds(rfhe_secret_key *sk, rfhe_seed *public_seed, rfhe_seed *noise_seed);
/* A secret key from N coefficients of {-1, 0, 1}, with a new private seed. */
RFHE_MUST_USE rfhe_status rfhe_secret_key_from_coeffs(rfhe_secret_key **out, const rfhe_ckks *c, const int64_t *coef,
                                                      rfhe_error *err);
/* Makes keys one after the other, for whoever does not want all of them in memory at once. All wishes of a set of keys are
 * named at the beginning: those with the sparse secret of a refresh share one. */
typedef struct rfhe_key_maker { /* zero state: nothing held */
    const rfhe_secret_key *sk;
    rfhe_secret_key *owner;
    uint64_t *other, *sparse; /* secrets: a rotated or squared one, the refresh's */
} rfhe_key_maker;
RFHE_MUST_USE rfhe_status rfhe_key_maker_init(rfhe_key_maker *m, const rfhe_secret_key *sk, const rfhe_key_want *want,
                                              size_t count, rfhe_error *err);
/* Allocates and fills a key of rfhe_eval_keys_plan. */
RFHE_MUST_USE rfhe_status rfhe_key_maker_make(rfhe_key_maker *m, rfhe_key *key, rfhe_error *err);
void rfhe_key_maker_clear(rfhe_key_maker *m);
/* Keys in the order of the wishes that have everything but their data. */
RFHE_MUST_USE rfhe_status rfhe_eval_keys_plan(rfhe_eval_keys **out, const rfhe_ckks *c, const rfhe_key_want *want,
                                              size_t count, rfhe_error *err);
/* Storage for `count` keys, all empty. */
RFHE_MUST_USE rfhe_status rfhe_eval_keys_allocate(rfhe_eval_keys **out, const rfhe_ckks *c, size_t count,
                                                  rfhe_error *err);
void rfhe_eval_keys_sort(rfhe_eval_keys *k);
RFHE_MUST_USE rfhe_status rfhe_check_want(const rfhe_ckks *c, const rfhe_key_want *w, rfhe_error *err);

#endif
