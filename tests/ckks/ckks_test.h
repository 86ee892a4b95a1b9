/* What the tests of ckks/ share: small insecure parameters, keys, random vectors, measured errors. */
#ifndef RFHE_CKKS_TEST_H
#define RFHE_CKKS_TEST_H

#include "test.h"

#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ckks/internal.h"

/* The status wanted and a word that the sentence must contain. */
#define REFUSED(want, word, call)                                                                  \
    do {                                                                                           \
        rfhe_error err_ = {0};                                                                     \
        rfhe_error *err = &err_;                                                                   \
        const rfhe_status st_ = (call);                                                            \
        if (st_ != (want)) { fail_msg("%s: got %s (%s)", #call, rfhe_status_name(st_), err_.text); } \
        if (strstr(err_.text, word) == NULL) { fail_msg("%s says: %s", #call, err_.text); }        \
    } while (0)

typedef struct world {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_public_key *pk;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    size_t slots;
} world;

/* Parameters with insecure_test and keys: relinearisation, conjugation and the given rotations, all at the top. */
static inline world world_new(uint32_t log2_n, uint32_t depth, uint32_t scale_bits, const int64_t *by, size_t count)
{
    const rfhe_ckks_options o = {.log2_n = log2_n, .depth = depth, .scale_bits = scale_bits, .insecure_test = true};
    const uint64_t seed = test_seed();
    world w = {0};
    rfhe_key_list list = {0};

    MUST(rfhe_ckks_new(&w.c, &o, err));
    MUST(rfhe_secret_key_new(&w.sk, w.c, w.c->is_insecure ? &seed : NULL, err));
    MUST(rfhe_public_key_new(&w.pk, w.sk, err));
    MUST(rfhe_key_list_add(&list, RFHE_ELEMENT_RELIN, depth, 0, err));
    MUST(rfhe_key_list_add(&list, rfhe_element_conjugate(w.c), depth, 0, err));
    for (size_t i = 0; i < count; i++) {
        MUST(rfhe_key_list_add(&list, rfhe_element_rotate(w.c, by[i]), depth, 0, err));
    }
    MUST(rfhe_eval_keys_new(&w.keys, w.sk, list.items, list.count, err));
    MUST(rfhe_evaluator_new(&w.ev, w.c, w.keys, err));
    rfhe_key_list_clear(&list);
    w.slots = w.c->n / 2;
    return w;
}

static inline void world_free(world *w)
{
    rfhe_evaluator_free(w->ev);
    rfhe_eval_keys_free(w->keys);
    rfhe_public_key_free(w->pk);
    rfhe_secret_key_free(w->sk);
    rfhe_ckks_free(w->c);
    *w = (world){0};
}

typedef struct vec { /* complex slots */
    size_t n;
    double *re, *im;
} vec;

static inline vec vec_new(size_t n)
{
    return (vec){.n = n, .re = calloc(n, sizeof(double)), .im = calloc(n, sizeof(double))};
}
static inline void vec_free(vec *v)
{
    free(v->re);
    free(v->im);
}
/* Uniform in the square of half width 1/sqrt(2), so |slot| <= 1. */
static inline vec vec_random(size_t n, rfhe_rng *r)
{
    vec v = vec_new(n);
    for (size_t i = 0; i < n; i++) {
        v.re[i] = (2 * rfhe_rng_uniform(r) - 1) * 0.70710678;
        v.im[i] = (2 * rfhe_rng_uniform(r) - 1) * 0.70710678;
    }
    return v;
}

static inline rfhe_ct *encrypt(const world *w, const vec *v, uint32_t level)
{
    rfhe_pt *pt = NULL;
    rfhe_ct *ct = NULL;

    MUST(rfhe_encode(&pt, w->c, v->re, v->im, v->n, level, 0, err));
    MUST(rfhe_ct_new(&ct, w->c, level, err));
    MUST(rfhe_encrypt(ct, pt, w->pk, err));
    rfhe_pt_free(pt);
    return ct;
}

static inline vec decrypt(const world *w, const rfhe_ct *ct, size_t n)
{
    vec v = vec_new(n);
    rfhe_pt *pt = NULL;

    MUST(rfhe_decrypt(&pt, ct, w->sk, err));
    MUST(rfhe_decode(v.re, v.im, n, pt, err));
    rfhe_pt_free(pt);
    return v;
}

/* Root mean square of |a - b|. */
static inline double vec_rms(const vec *a, const vec *b)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++) { sum += pow(a->re[i] - b->re[i], 2) + pow(a->im[i] - b->im[i], 2); }
    return sqrt(sum / (double)a->n);
}
static inline double vec_max(const vec *a, const vec *b)
{
    double m = 0;
    for (size_t i = 0; i < a->n; i++) { m = fmax(m, hypot(a->re[i] - b->re[i], a->im[i] - b->im[i])); }
    return m;
}

/* An estimate is optimistic when the measured error exceeds it by more than this: chance alone gives a few percent. */
#define OPTIMISTIC 1.3

/* The measured error of ct against `want` must agree with the estimate: not above it, not below 1/`slack` of it. */
static inline void check_error(const world *w, const rfhe_ct *ct, const vec *want, double slack, const char *what)
{
    vec got = decrypt(w, ct, want->n);
    const double measured = vec_rms(&got, want), estimate = rfhe_ct_error(ct);

    if (!(measured <= OPTIMISTIC * estimate) || measured < estimate / slack) {
        fail_msg("%s: measured error 2^%.2f, estimate 2^%.2f", what, log2(measured), log2(estimate));
    }
    vec_free(&got);
}

#endif
