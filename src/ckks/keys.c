/* Secret, public and evaluation keys.
 *
 * Every key owner has a private seed from the system; each object drawn from it takes the next counter, so that no
 * stream of noise is ever used twice. A secret key that was read from a file gets a new private seed for the same
 * reason. The uniform halves come from public seeds of their own, which is what makes stored keys half as large.
 *
 * Time and addresses do not depend on secrets here: the samplers and the kernels are branch-free on residues. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/keys.h"
#include "ckks/secret.h"
#include "ckks/security.h"

static rfhe_status no_memory(rfhe_error *err, const char *what)
{
    return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %s", what);
}

void rfhe_small_to_limb(const rfhe_ckks *c, uint64_t *limb, const int64_t *coef, uint32_t prime)
{
    const uint64_t q = c->m[prime].q;

    /* Branch-free: the sign bit, spread over the word, selects q. */
    for (size_t i = 0; i < c->n; i++) { limb[i] = (uint64_t)coef[i] + ((uint64_t)(coef[i] >> 63) & q); }
    c->k->ntt_forward(limb, &c->ntt[prime]);
}

rfhe_status rfhe_secret_key_from_coeffs(rfhe_secret_key **out, const rfhe_ckks *c, const int64_t *coef,
                                        rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    const uint32_t all = c->n_q + c->n_p;
    rfhe_secret_key *sk = rfhe_calloc(1, sizeof *sk);

    if (sk == NULL) { return no_memory(err, "a secret key"); }
    sk->c = rfhe_ckks_share(c);
    sk->s = rfhe_alloc((size_t)all * c->n, sizeof(uint64_t));
    sk->coef = rfhe_alloc(c->n, sizeof *sk->coef);
    if (sk->s == NULL || sk->coef == NULL) {
        st = no_memory(err, "a secret key");
        goto done;
    }
    RFHE_TRY(rfhe_seed_fresh(&sk->seed, err));
    for (size_t i = 0; i < c->n; i++) { sk->coef[i] = (int8_t)coef[i]; }
#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i < all; i++) { rfhe_small_to_limb(c, sk->s + (size_t)i * c->n, coef, i); }
    *out = sk;
    sk = NULL;
done:
    rfhe_secret_key_free(sk);
    return st;
}

rfhe_status rfhe_secret_key_new(rfhe_secret_key **out, const rfhe_ckks *c, const uint64_t *test_seed,
                                rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_seed seed;
    rfhe_stream stream;
    int64_t *coef = NULL;
    rfhe_secret_key *sk = NULL;

    if (test_seed != NULL && !c->is_insecure) {
        return rfhe_fail(err, RFHE_E_ARG, "a secret key from a test seed needs parameters made with insecure_test");
    }
    if (test_seed != NULL) {
        rfhe_seed_from_number(&seed, *test_seed);
    } else {
        RFHE_TRY(rfhe_seed_fresh(&seed, err));
    }
    coef = rfhe_alloc(c->n, sizeof *coef);
    if (coef == NULL) {
        st = no_memory(err, "a secret key");
        goto done;
    }
    rfhe_stream_open(&stream, &seed, RFHE_PURPOSE_SECRET, 0, 0);
    rfhe_stream_ternary(&stream, c->k, coef, c->n);
    rfhe_stream_close(&stream);
    RFHE_TRY(rfhe_secret_key_from_coeffs(&sk, c, coef, err));
    if (test_seed != NULL) {
        rfhe_seed_derive(&sk->seed, &seed, RFHE_PURPOSE_SEED, 0, 0);
        sk->is_test = true;
    }
    *out = sk;
done:
    rfhe_free_secret(coef);
    rfhe_seed_wipe(&seed);
    return st;
}

void rfhe_secret_key_free(rfhe_secret_key *sk)
{
    if (sk == NULL) { return; }
    rfhe_free_secret(sk->s);
    rfhe_free_secret(sk->coef);
    rfhe_ckks_free(sk->c);
    rfhe_free_secret(sk);
}

void rfhe_uniform_limb(const rfhe_ckks *c, uint64_t *limb, const rfhe_seed *seed, uint64_t object, uint32_t prime)
{
    rfhe_stream stream;

    rfhe_stream_open(&stream, seed, RFHE_PURPOSE_UNIFORM, object, prime);
    rfhe_stream_uniform(&stream, c->k, limb, c->n, &c->m[prime]);
    rfhe_stream_close(&stream);
}

void rfhe_next_seeds(rfhe_secret_key *sk, rfhe_seed *public_seed, rfhe_seed *noise_seed)
{
    rfhe_seed_derive(public_seed, &sk->seed, RFHE_PURPOSE_SEED, sk->counter, 1);
    rfhe_seed_derive(noise_seed, &sk->seed, RFHE_PURPOSE_SEED, sk->counter, 2);
    RFHE_PUBLIC(public_seed, sizeof *public_seed);
    sk->counter++;
}

rfhe_status rfhe_public_key_new(rfhe_public_key **out, const rfhe_secret_key *sk, rfhe_error *err)
{
    const rfhe_ckks *c = sk->c;
    const size_t n = c->n;
    rfhe_status st = RFHE_OK;
    rfhe_seed noise;
    rfhe_stream stream;
    rfhe_secret_key *owner = (rfhe_secret_key *)(uintptr_t)sk; /* only its counter changes */
    rfhe_public_key *pk = rfhe_calloc(1, sizeof *pk);
    int64_t *e = rfhe_alloc(n, sizeof *e);

    if (pk != NULL) {
        pk->c = rfhe_ckks_share(c);
        pk->b = rfhe_alloc((size_t)c->n_q * n, sizeof(uint64_t));
        pk->a = rfhe_alloc((size_t)c->n_q * n, sizeof(uint64_t));
    }
    if (pk == NULL || e == NULL || pk->a == NULL || pk->b == NULL) {
        st = no_memory(err, "a public key");
        goto done;
    }
    rfhe_next_seeds(owner, &pk->seed, &noise);
    rfhe_stream_open(&stream, &noise, RFHE_PURPOSE_ERROR, 0, 0);
    rfhe_stream_error(&stream, c->k, e, n);
    rfhe_stream_close(&stream);
    rfhe_seed_wipe(&noise);
#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i < c->n_q; i++) {
        uint64_t *const a = pk->a + (size_t)i * n, *const b = pk->b + (size_t)i * n;
        rfhe_uniform_limb(c, a, &pk->seed, 0, i);
        /* b = e - a s */
        rfhe_small_to_limb(c, b, e, i);
        c->k->neg(b, b, n, &c->m[i]);
        c->k->mul_add(b, a, sk->s + (size_t)i * n, n, &c->m[i]);
        c->k->neg(b, b, n, &c->m[i]);
    }
    *out = pk;
    pk = NULL;
done:
    rfhe_free_secret(e);
    rfhe_public_key_free(pk);
    return st;
}

void rfhe_public_key_free(rfhe_public_key *pk)
{
    if (pk == NULL) { return; }
    rfhe_free(pk->a);
    rfhe_free(pk->b);
    rfhe_ckks_free(pk->c);
    rfhe_free(pk);
}

/* ---- evaluation keys ---- */

uint32_t rfhe_key_digits(const rfhe_ckks *c, uint32_t element, uint32_t level, uint32_t special)
{
    return (element & RFHE_ELEMENT_RELEASE) != 0 ? 1 : rfhe_gadget_digits(&c->gadget[special - 1], level);
}

rfhe_status rfhe_key_allocate(rfhe_key *k, const rfhe_ckks *c, rfhe_error *err)
{
    if (k->special == 0) { k->special = rfhe_best_special(c, k->level); }
    k->digits = rfhe_key_digits(c, k->element, k->level, k->special);
    k->data = rfhe_alloc(2 * (size_t)k->digits * rfhe_key_rows(k) * c->n, sizeof(uint64_t));
    return k->data != NULL ? RFHE_OK : no_memory(err, "an evaluation key");
}

void rfhe_key_expand(rfhe_key *k, const rfhe_ckks *c)
{
    const uint32_t rows = rfhe_key_rows(k);

#pragma omp parallel for schedule(dynamic) collapse(2) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t d = 0; d < k->digits; d++) {
        for (uint32_t r = 0; r < rows; r++) {
            rfhe_uniform_limb(c, rfhe_key_limb(k, d, r, 1, c->n), &k->seed, d, rfhe_row_prime(c, k->level, r));
        }
    }
}

rfhe_status rfhe_key_make(rfhe_key *k, const rfhe_ckks *c, const uint64_t *from, const uint64_t *to,
                          rfhe_secret_key *owner, rfhe_error *err)
{
    const size_t n = c->n;
    const uint32_t rows = rfhe_key_rows(k);
    const rfhe_gadget *g = &c->gadget[k->special - 1];
    const bool is_released = (k->element & RFHE_ELEMENT_RELEASE) != 0;
    int64_t *e = rfhe_alloc((size_t)k->digits * n, sizeof *e);
    rfhe_seed noise;

    if (e == NULL) { return no_memory(err, "the errors of an evaluation key"); }
    rfhe_next_seeds(owner, &k->seed, &noise);
    for (uint32_t d = 0; d < k->digits; d++) {
        rfhe_stream stream;
        rfhe_stream_open(&stream, &noise, RFHE_PURPOSE_ERROR, d, 0);
        rfhe_stream_error(&stream, c->k, e + (size_t)d * n, n);
        rfhe_stream_close(&stream);
    }
    rfhe_seed_wipe(&noise);
    rfhe_key_expand(k, c);
#pragma omp parallel for schedule(dynamic) collapse(2) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t d = 0; d < k->digits; d++) {
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t prime = rfhe_row_prime(c, k->level, r);
            const rfhe_modulus *m = &c->m[prime];
            uint64_t *const b = rfhe_key_limb(k, d, r, 0, n), *const a = rfhe_key_limb(k, d, r, 1, n);
            /* b = e - a to (+ P from; + p from everywhere when released) */
            rfhe_small_to_limb(c, b, e + (size_t)d * n, prime);
            c->k->neg(b, b, n, m);
            c->k->mul_add(b, a, to + (size_t)prime * n, n, m);
            c->k->neg(b, b, n, m);
            if (is_released) {
                const rfhe_shoup p = rfhe_shoup_make(c->m[c->n_q].q % m->q, m->q);
                c->k->mul_add_const(b, from + (size_t)prime * n, p, n, m);
            } else if (r <= k->level && g->digit_of[r] == d) {
                c->k->mul_add_const(b, from + (size_t)prime * n, g->p_mod[r], n, m);
            }
        }
    }
    rfhe_free_secret(e);
    return RFHE_OK;
}

uint32_t rfhe_element_rotate(const rfhe_ckks *c, int64_t by)
{
    const int64_t slots = (int64_t)(c->n / 2);
    const uint64_t two_n = 2 * (uint64_t)c->n;
    uint64_t steps = (uint64_t)(((by % slots) + slots) % slots), g = 1, base = 5;

    for (; steps != 0; steps >>= 1) {
        if ((steps & 1) != 0) { g = g * base % two_n; }
        base = base * base % two_n;
    }
    return (uint32_t)g;
}

uint32_t rfhe_element_conjugate(const rfhe_ckks *c)
{
    return (uint32_t)(2 * c->n - 1);
}

/* 1/g modulo 2N (a power of two): Newton's iteration doubles the correct bits. */
static uint32_t invert_element(const rfhe_ckks *c, uint32_t g)
{
    uint32_t x = g;

    for (int i = 0; i < 5; i++) { x *= 2 - g * x; }
    return x & (uint32_t)(2 * c->n - 1);
}

rfhe_status rfhe_key_list_add(rfhe_key_list *list, uint32_t element, uint32_t level, uint32_t special,
                              rfhe_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        rfhe_key_want *w = &list->items[i];
        if (w->element == element && w->special == special) {
            if (level > w->level) { w->level = level; }
            return RFHE_OK;
        }
    }
    if (list->count == list->capacity) {
        const size_t more = list->capacity == 0 ? 16 : 2 * list->capacity;
        rfhe_key_want *items = rfhe_realloc(list->items, more, sizeof *items);
        if (items == NULL) { return no_memory(err, "a list of keys"); }
        list->items = items;
        list->capacity = more;
    }
    list->items[list->count++] = (rfhe_key_want){.element = element, .level = level, .special = special};
    return RFHE_OK;
}

void rfhe_key_list_clear(rfhe_key_list *list)
{
    rfhe_free(list->items);
    *list = (rfhe_key_list){0};
}

static int by_element_then_level(const void *x, const void *y)
{
    const rfhe_key *a = x, *b = y;

    if (a->element != b->element) { return a->element < b->element ? -1 : 1; }
    if (a->level != b->level) { return a->level < b->level ? -1 : 1; }
    return a->special < b->special ? -1 : a->special > b->special;
}

void rfhe_eval_keys_sort(rfhe_eval_keys *k)
{
    qsort(k->key, k->count, sizeof *k->key, by_element_then_level);
}

rfhe_status rfhe_eval_keys_allocate(rfhe_eval_keys **out, const rfhe_ckks *c, size_t count, rfhe_error *err)
{
    rfhe_eval_keys *k = rfhe_calloc(1, sizeof *k);

    if (k != NULL) { k->key = rfhe_calloc(count, sizeof *k->key); }
    if (k == NULL || k->key == NULL) {
        rfhe_free(k);
        return no_memory(err, "evaluation keys");
    }
    k->c = rfhe_ckks_share(c);
    k->count = count;
    *out = k;
    return RFHE_OK;
}

rfhe_status rfhe_check_want(const rfhe_ckks *c, const rfhe_key_want *w, rfhe_error *err)
{
    if (w->element == RFHE_ELEMENT_ENCAPSULATE) {
        /* The only key that says something about the sparse secret under a modulus of its own: one prime of the chain
         * and one special prime, and no more than the table allows. */
        const double bits = c->log2_prime[0] + c->log2_prime[c->n_q];
        const double max = rfhe_security_max_log2_sparse(c->log2_n, RFHE_SPARSE_WEIGHT, c->security_wanted);
        if (w->level != 0 || w->special != 1) {
            return rfhe_fail(err, RFHE_E_INSECURE, "an encapsulation key lives at level 0 with one special prime, not at "
                             "level %u with %u", w->level, w->special);
        }
        if (bits > max && !c->is_insecure) {
            return rfhe_fail(err, RFHE_E_INSECURE, "an encapsulation key of %.1f bits: %.0f are secure for a secret of "
                             "weight %d at ring degree 2^%u and %u-bit security", bits, max, RFHE_SPARSE_WEIGHT,
                             c->log2_n, c->security_wanted);
        }
        return RFHE_OK;
    }
    const bool is_released = (w->element & RFHE_ELEMENT_RELEASE) != 0;
    const uint32_t element = is_released ? w->element & ~(uint32_t)RFHE_ELEMENT_RELEASE : w->element;
    if (w->element != RFHE_ELEMENT_RELIN &&
        (element % 2 == 0 || (element == 1 && !is_released) || element >= 2 * c->n)) {
        return rfhe_fail(err, RFHE_E_ARG, "%" PRIu32 " is not a Galois element of ring degree 2^%u", element, c->log2_n);
    }
    if (is_released && w->special == 0) {
        return rfhe_fail(err, RFHE_E_ARG, "a key that releases names its special primes");
    }
    if (w->level >= c->n_q) {
        return rfhe_fail(err, RFHE_E_ARG, "a key for level %u: the top level is %u", w->level, c->n_q - 1);
    }
    if (w->special > c->n_p) {
        return rfhe_fail(err, RFHE_E_ARG, "a key with %u special primes: the parameters have %u", w->special, c->n_p);
    }
    return RFHE_OK;
}

/* Weight RFHE_SPARSE_WEIGHT, signs and places uniform. Places are tried until they are free. Each try reads and writes all
 * coefficients, so the only thing that shows, in the number of tries, is which of them collided. That says nothing about
 * the secret: whatever places are taken, k of them, a try collides with probability k / N, and one that does not is uniform
 * over the others; so given any sequence of collisions the set of places is still uniform, and signs are bits of their own. */
static void sample_sparse(int64_t *coef, size_t n, const rfhe_seed *seed)
{
    rfhe_stream stream;

    memset(coef, 0, n * sizeof *coef);
    rfhe_stream_open(&stream, seed, RFHE_PURPOSE_SECRET, 0, 0);
    for (int placed = 0; placed < RFHE_SPARSE_WEIGHT;) {
        uint64_t word = 0;
        int64_t taken = 0;
        rfhe_stream_bytes(&stream, &word, sizeof word);
        const uint64_t place = word & (n - 1);
        const int64_t sign = (int64_t)(word >> 63) * 2 - 1;
        for (size_t i = 0; i < n; i++) { /* x is place ^ i: zero exactly at the place */
            const uint64_t x = place ^ i;
            const int64_t here = (int64_t)((x - 1) >> 63);
            taken |= here & (coef[i] & 1);
        }
        RFHE_PUBLIC(&taken, sizeof taken); /* see above */
        for (size_t i = 0; i < n; i++) {
            const uint64_t x = place ^ i;
            const int64_t here = (int64_t)((x - 1) >> 63);
            coef[i] += (here & (1 - taken)) * sign;
        }
        placed += 1 - (int)taken;
    }
    rfhe_stream_close(&stream);
}

/* The sparse secret of one set of keys, all primes, transformed; NULL in *out when `want` does not ask for it. */
static rfhe_status sparse_secret(uint64_t **out, const rfhe_ckks *c, const rfhe_key_want *want, size_t count,
                                 rfhe_secret_key *owner, rfhe_error *err)
{
    const uint32_t all = c->n_q + c->n_p;
    rfhe_seed ignored, seed;
    bool wanted = false;

    for (size_t i = 0; i < count; i++) {
        wanted |= want[i].element == RFHE_ELEMENT_ENCAPSULATE || (want[i].element & RFHE_ELEMENT_RELEASE) != 0;
    }
    *out = NULL;
    if (!wanted) { return RFHE_OK; }
    int64_t *coef = rfhe_alloc(c->n, sizeof *coef);
    uint64_t *limbs = rfhe_alloc((size_t)all * c->n, sizeof *limbs);
    if (coef == NULL || limbs == NULL) {
        rfhe_free(coef);
        rfhe_free(limbs);
        return no_memory(err, "the sparse secret of a refresh");
    }
    rfhe_next_seeds(owner, &ignored, &seed);
    sample_sparse(coef, c->n, &seed);
    rfhe_seed_wipe(&seed);
#pragma omp parallel for schedule(static) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t p = 0; p < all; p++) { rfhe_small_to_limb(c, limbs + (size_t)p * c->n, coef, p); }
    rfhe_free_secret(coef);
    *out = limbs;
    return RFHE_OK;
}

rfhe_status rfhe_key_maker_init(rfhe_key_maker *m, const rfhe_secret_key *sk, const rfhe_key_want *want, size_t count,
                                rfhe_error *err)
{
    const rfhe_ckks *c = sk->c;
    rfhe_status st = RFHE_OK;

    *m = (rfhe_key_maker){.sk = sk, .owner = (rfhe_secret_key *)(uintptr_t)sk}; /* only its counter changes */
    for (size_t i = 0; i < count; i++) { RFHE_TRY(rfhe_check_want(c, &want[i], err)); }
    RFHE_TRY(sparse_secret(&m->sparse, c, want, count, m->owner, err));
    m->other = rfhe_alloc((size_t)(c->n_q + c->n_p) * c->n, sizeof *m->other);
    if (m->other == NULL) { st = no_memory(err, "evaluation keys"); }

done:
    if (st != RFHE_OK) { rfhe_key_maker_clear(m); }
    return st;
}

void rfhe_key_maker_clear(rfhe_key_maker *m)
{
    rfhe_free_secret(m->other);
    rfhe_free_secret(m->sparse);
    *m = (rfhe_key_maker){0};
}

rfhe_status rfhe_key_maker_make(rfhe_key_maker *m, rfhe_key *key, rfhe_error *err)
{
    const rfhe_secret_key *sk = m->sk;
    const rfhe_ckks *c = sk->c;
    const uint32_t all = c->n_q + c->n_p;
    const size_t n = c->n;
    rfhe_status st = rfhe_key_allocate(key, c, err);

    if (st != RFHE_OK) { return st; }
    if (key->element == RFHE_ELEMENT_ENCAPSULATE) { return rfhe_key_make(key, c, sk->s, m->sparse, m->owner, err); }
    const bool is_relin = key->element == RFHE_ELEMENT_RELIN;
    const bool is_released = (key->element & RFHE_ELEMENT_RELEASE) != 0;
    const uint32_t inverse = is_relin ? 0 : invert_element(c, key->element & ~(uint32_t)RFHE_ELEMENT_RELEASE);
#pragma omp parallel for schedule(static) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t p = 0; p < all; p++) {
        uint64_t *const limb = m->other + (size_t)p * n;
        const uint64_t *const s = sk->s + (size_t)p * n;
        if (is_relin) {
            c->k->mul(limb, s, s, n, &c->m[p]);
        } else {
            c->k->automorphism_ntt(limb, s, c->log2_n, inverse, c->rev);
        }
    }
    return is_relin ? rfhe_key_make(key, c, m->other, sk->s, m->owner, err)
                    : rfhe_key_make(key, c, is_released ? m->sparse : sk->s, m->other, m->owner, err);
}

rfhe_status rfhe_eval_keys_new(rfhe_eval_keys **out, const rfhe_secret_key *sk, const rfhe_key_want *want,
                               size_t count, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_eval_keys *k = NULL;
    rfhe_key_maker maker = {0};

    RFHE_TRY(rfhe_eval_keys_plan(&k, sk->c, want, count, err));
    RFHE_TRY(rfhe_key_maker_init(&maker, sk, want, count, err));
    for (size_t i = 0; i < count; i++) { RFHE_TRY(rfhe_key_maker_make(&maker, &k->key[i], err)); }
    rfhe_eval_keys_sort(k);
    *out = k;
    k = NULL;
done:
    rfhe_key_maker_clear(&maker);
    rfhe_eval_keys_free(k);
    return st;
}

rfhe_status rfhe_eval_keys_plan(rfhe_eval_keys **out, const rfhe_ckks *c, const rfhe_key_want *want, size_t count,
                                rfhe_error *err)
{
    rfhe_eval_keys *k = NULL;
    rfhe_status st = RFHE_OK;

    for (size_t i = 0; i < count; i++) { RFHE_TRY(rfhe_check_want(c, &want[i], err)); }
    RFHE_TRY(rfhe_eval_keys_allocate(&k, c, count, err));
    for (size_t i = 0; i < count; i++) {
        rfhe_key *key = &k->key[i];
        key->element = want[i].element;
        key->level = want[i].level;
        key->special = want[i].special != 0 ? want[i].special : rfhe_best_special(c, want[i].level);
        key->digits = rfhe_key_digits(c, key->element, key->level, key->special);
    }
    *out = k;

done:
    return st;
}

void rfhe_eval_keys_free(rfhe_eval_keys *k)
{
    if (k == NULL) { return; }
    for (size_t i = 0; i < k->count; i++) { rfhe_free(k->key[i].data); }
    rfhe_free(k->key);
    rfhe_ckks_free(k->c);
    rfhe_free(k);
}

size_t rfhe_eval_keys_bytes(const rfhe_eval_keys *k)
{
    size_t sum = 0;

    for (size_t i = 0; i < k->count; i++) {
        sum += 2 * (size_t)k->key[i].digits * rfhe_key_rows(&k->key[i]) * k->c->n * sizeof(uint64_t);
    }
    return sum;
}

size_t rfhe_eval_keys_count(const rfhe_eval_keys *k)
{
    return k->count;
}

const rfhe_key *rfhe_key_find(const rfhe_eval_keys *k, uint32_t element, uint32_t level, uint32_t special)
{
    size_t lo = 0, hi = k->count;

    while (lo < hi) { /* first key with (element, level) not below */
        const size_t mid = lo + (hi - lo) / 2;
        const rfhe_key *key = &k->key[mid];
        if (key->element < element || (key->element == element && key->level < level)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    for (; lo < k->count && k->key[lo].element == element; lo++) {
        if (special == 0 || k->key[lo].special == special) { return &k->key[lo]; }
    }
    return NULL;
}

rfhe_status rfhe_key_need(const rfhe_key **out, const rfhe_evaluator *ev, uint32_t element, uint32_t level,
                          uint32_t special, rfhe_error *err)
{
    if (ev->keys == NULL) {
        return rfhe_fail(err, RFHE_E_ARG, "this evaluator was made without evaluation keys");
    }
    *out = rfhe_key_find(ev->keys, element, level, special);
    if (*out != NULL) { return RFHE_OK; }
    if (element == RFHE_ELEMENT_RELIN) {
        return rfhe_fail(err, RFHE_E_ARG, "there is no relinearisation key for level %u", level);
    }
    return rfhe_fail(err, RFHE_E_ARG, "there is no evaluation key for Galois element %u at level %u%s", element, level,
                     special != 0 ? " with the special primes that this map uses" : "");
}
