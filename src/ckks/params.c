/* Parameters: from wishes to primes, nominal scales and tables, or to a sentence why not.
 *
 * Scales. Squaring at level l and rescaling by q_l takes scale s to s^2/q_l. The nominal scale of the level below is
 * defined as exactly that, and q_l is chosen as the unused prime nearest to s_l^2 / 2^(scale bits of level l-1): the
 * deviation from a power of two is corrected prime by prime instead of doubling with each level. Where the wish breaks
 * the pattern (2 scale_bits[l] - prime_bits[l] differs from scale_bits[l-1]: the border between parts of a chain of
 * different precision) the nominal scale below is the power of two itself, and only plaintext products land on it. */
#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "arith/convert.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "ckks/internal.h"
#include "ckks/security.h"

typedef struct plan {
    uint32_t log2_n, n_q, n_p, security;
    uint8_t bits[RFHE_CKKS_MAX_LEVELS], scale_bits[RFHE_CKKS_MAX_LEVELS];
    uint64_t prime[RFHE_CKKS_MAX_PRIMES];
    double scale[RFHE_CKKS_MAX_LEVELS];
} plan;

static double log2_of(const uint64_t *prime, uint32_t count)
{
    double sum = 0;

    for (uint32_t i = 0; i < count; i++) { sum += log2((double)prime[i]); }
    return sum;
}

/* Fills widths and nominal scale bits from the options. */
static rfhe_status read_chain(plan *p, const rfhe_ckks_options *o, rfhe_error *err)
{
    if (o->chain_length > RFHE_CKKS_MAX_LEVELS) {
        return rfhe_fail(err, RFHE_E_ARG, "a chain of %u primes is longer than %u", o->chain_length,
                         (unsigned)RFHE_CKKS_MAX_LEVELS);
    }
    if (o->chain_length > 0) {
        p->n_q = o->chain_length;
        for (uint32_t l = 0; l < p->n_q; l++) {
            p->bits[l] = o->chain[l];
            p->scale_bits[l] = o->chain_scale[l] != 0 ? o->chain_scale[l] : o->chain[l];
        }
        if (o->chain_scale[0] == 0 && p->n_q > 1) { p->scale_bits[0] = p->scale_bits[1]; }
    } else {
        const uint32_t scale = o->scale_bits != 0 ? o->scale_bits : 40;
        const uint32_t first = o->first_bits != 0 ? o->first_bits : scale + 10 < 50 ? scale + 10 : 50;
        if (scale < 20 || scale > 49) {
            return rfhe_fail(err, RFHE_E_ARG, "a scale of %u bits is outside 20 .. 49", scale);
        }
        if (first < scale || first > 50) {
            return rfhe_fail(err, RFHE_E_ARG, "a first prime of %u bits does not lie between the scale's %u and 50",
                             first, scale);
        }
        if (o->depth >= RFHE_CKKS_MAX_LEVELS) {
            return rfhe_fail(err, RFHE_E_ARG, "a depth of %u is more than %u", o->depth,
                             (unsigned)RFHE_CKKS_MAX_LEVELS - 1);
        }
        p->n_q = o->depth + 1;
        for (uint32_t l = 0; l < p->n_q; l++) {
            p->bits[l] = (uint8_t)(l == 0 ? first : scale);
            p->scale_bits[l] = (uint8_t)scale;
        }
    }
    for (uint32_t l = 0; l < p->n_q; l++) {
        if (p->bits[l] < 20 || p->bits[l] > 50) {
            return rfhe_fail(err, RFHE_E_ARG, "prime %u of the chain has %u bits, which is outside 20 .. 50", l,
                             p->bits[l]);
        }
        if (p->scale_bits[l] < 10 || p->scale_bits[l] > 60) {
            return rfhe_fail(err, RFHE_E_ARG, "the scale at level %u has %u bits, which is outside 10 .. 60", l,
                             p->scale_bits[l]);
        }
    }
    return RFHE_OK;
}

static bool is_taken(const uint64_t *taken, uint32_t count, uint64_t q)
{
    for (uint32_t i = 0; i < count; i++) {
        if (taken[i] == q) { return true; }
    }
    return false;
}

/* The unused prime q = 1 mod 2N nearest to `want`, below 2^50; 0 if none within 3%. */
static uint64_t nearest_prime(double want, uint32_t log2_n, const uint64_t *taken, uint32_t count)
{
    const uint64_t step = UINT64_C(2) << log2_n, base = (uint64_t)(want / (double)step) * step + 1;

    for (uint64_t k = 0; (double)(k * step) < want / 32; k++) {
        const uint64_t up = base + k * step, down = base > k * step ? base - k * step : 0;
        const bool down_first = fabs((double)down - want) <= fabs((double)up - want);
        for (int i = 0; i < 2; i++) {
            const uint64_t q = (i == 0) == down_first ? down : up;
            if (q > step && q < UINT64_C(1) << 50 && !is_taken(taken, count, q) && rfhe_is_prime(q)) { return q; }
        }
    }
    return 0;
}

/* Chooses the primes of the chain for degree p->log2_n and the nominal scales that follow. */
static rfhe_status choose_chain(plan *p, rfhe_error *err)
{
    uint32_t taken = 0;
    uint64_t list[RFHE_CKKS_MAX_PRIMES];

    p->scale[p->n_q - 1] = ldexp(1.0, p->scale_bits[p->n_q - 1]);
    for (uint32_t l = p->n_q; l-- > 0;) {
        const double width = ldexp(1.0, p->bits[l]);
        double want = width;
        const bool squares = l > 0 && 2 * p->scale_bits[l] - p->bits[l] == p->scale_bits[l - 1];
        if (squares) { want = p->scale[l] * p->scale[l] / ldexp(1.0, p->scale_bits[l - 1]); }
        const uint64_t q = nearest_prime(want, p->log2_n, list, taken);
        if (q == 0) {
            return rfhe_fail(err, RFHE_E_UNSUPPORTED, "there are too few %u-bit primes for ring degree 2^%u", p->bits[l],
                             p->log2_n);
        }
        list[taken++] = p->prime[l] = q;
        if (l > 0) {
            p->scale[l - 1] =
                squares ? p->scale[l] * p->scale[l] / (double)q : ldexp(1.0, p->scale_bits[l - 1]);
        }
    }
    return RFHE_OK;
}

uint32_t rfhe_chain_digits(const double *log2_q, uint32_t n_q, double log2_p, uint32_t *start, uint32_t max)
{
    uint32_t digits = 0;
    double sum = 0;

    for (uint32_t i = 0; i < n_q; i++) {
        if (i == 0 || sum + log2_q[i] > log2_p + 0.5) {
            if (digits == max) { return 0; }
            if (start != NULL) { start[digits] = i; }
            digits++;
            sum = 0;
        }
        sum += log2_q[i];
    }
    if (start != NULL) { start[digits] = n_q; }
    return digits;
}

/* Time of one key switch in units of a transform: measured on the machine of docs/results/ckks.md, a limb of base
 * conversion costs about 1/14 of a transform per input and a limb of a key 1/9. */
static double switch_cost(double limbs, double special, double digits)
{
    const double rows = limbs + special;
    const double transforms = limbs + digits * rows - limbs + 2 * special + 2 * limbs;
    const double conversions = limbs * (rows - limbs / digits) + 2 * special * limbs;

    return transforms + conversions / 14 + 2 * digits * rows / 9;
}

/* Chooses special primes within `budget` bits; n_p = 0 when nothing fits. */
static rfhe_status choose_special(plan *p, const rfhe_ckks_options *o, double budget, rfhe_error *err)
{
    double log2_q[RFHE_CKKS_MAX_LEVELS], best = INFINITY, widest = 0;
    uint64_t found[RFHE_CKKS_MAX_SPECIAL];
    const uint32_t from = o->special_count != 0 ? o->special_count : 1;
    const uint32_t to = o->special_count != 0 ? o->special_count : RFHE_CKKS_MAX_SPECIAL;
    const double room = budget - log2_of(p->prime, p->n_q);

    p->n_p = 0;
    for (uint32_t i = 0; i < p->n_q; i++) {
        log2_q[i] = log2((double)p->prime[i]);
        widest = fmax(widest, log2_q[i]);
    }
    for (uint32_t count = from; count <= to && count <= RFHE_CKKS_MAX_SPECIAL; count++) {
        uint32_t bits = o->special_bits != 0 ? o->special_bits : 50;
        /* Without a wish: the widest primes that fit the budget. */
        while (o->special_bits == 0 && bits > 20 && (double)bits * count > room) { bits--; }
        if ((double)bits * count > room + 0.5 && budget < INFINITY) { continue; }
        if (bits + 0.51 < widest && count == 1) { continue; } /* noise: P must not be smaller than a digit */
        if (bits * count + 0.51 < widest) { continue; }
        rfhe_error ignored = {0};
        if (rfhe_primes_find(found, count, bits, p->log2_n, p->prime, p->n_q, &ignored) != RFHE_OK) { continue; }
        const double log2_p = log2_of(found, count);
        if (log2_p > room) { continue; }
        const uint32_t digits = rfhe_chain_digits(log2_q, p->n_q, log2_p, NULL, RFHE_CKKS_MAX_DIGITS);
        const double cost = switch_cost(p->n_q, count, digits);
        if (digits != 0 && cost < best) {
            best = cost;
            p->n_p = count;
            memcpy(p->prime + p->n_q, found, count * sizeof *found);
        }
        if (digits == 1) { break; }
    }
    (void)err;
    return RFHE_OK;
}

static rfhe_status make_plan(plan *p, const rfhe_ckks_options *o, rfhe_error *err)
{
    const uint32_t security = o->security_bits != 0 ? o->security_bits : 128;
    const uint32_t from = o->log2_n != 0 ? o->log2_n : 12, to = o->log2_n != 0 ? o->log2_n : 17;
    rfhe_status st = read_chain(p, o, err);

    if (st != RFHE_OK) { return st; }
    if (o->log2_n != 0 && (o->log2_n < 10 || o->log2_n > 17)) {
        return rfhe_fail(err, RFHE_E_ARG, "ring degree 2^%u is outside 2^10 .. 2^17", o->log2_n);
    }
    if (rfhe_security_max_log2_qp(12, security) <= 0) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "the security table has 128, 192 and 256 bits, not %u", security);
    }
    p->security = security;
    if (o->special_count > RFHE_CKKS_MAX_SPECIAL || o->special_bits > 50 ||
        (o->special_bits != 0 && o->special_bits < 20)) {
        return rfhe_fail(err, RFHE_E_ARG, "%u special primes of %u bits: at most %u, of 20 .. 50 bits",
                         o->special_count, o->special_bits, (unsigned)RFHE_CKKS_MAX_SPECIAL);
    }
    double needed = 0;
    for (uint32_t l = 0; l < p->n_q; l++) { needed += p->bits[l]; }
    for (p->log2_n = from; p->log2_n <= to; p->log2_n++) {
        const double table = rfhe_security_max_log2_qp(p->log2_n, security);
        if (!o->insecure_test && needed > table && p->log2_n < to) { continue; }
        st = choose_chain(p, err);
        if (st != RFHE_OK) { return st; }
        st = choose_special(p, o, o->insecure_test && o->log2_n != 0 ? INFINITY : table, err);
        if (st != RFHE_OK || p->n_p > 0) { return st; }
    }
    const uint32_t at = to;
    return rfhe_fail(err, RFHE_E_INSECURE,
                     "the chain needs %.0f bits and special primes on top of them, ring degree 2^%u carries %.0f at "
                     "%u-bit security", needed, at, rfhe_security_max_log2_qp(at, security), security);
}

double rfhe_log2_primes(const rfhe_ckks *c, uint32_t from, uint32_t to)
{
    double sum = 0;

    for (uint32_t i = from; i < to; i++) { sum += c->log2_prime[i]; }
    return sum;
}

/* Tables for conversions out of the given primes. */
static rfhe_status convert_init(rfhe_convert *b, const rfhe_ckks *c, const uint32_t *prime, uint32_t count)
{
    const uint32_t all = c->n_q + c->n_p;

    b->count = count;
    b->h = rfhe_alloc((size_t)all * count, sizeof(uint64_t));
    b->neg = rfhe_alloc(all, sizeof(uint64_t));
    if (b->h == NULL || b->neg == NULL) { return RFHE_E_NOMEM; }
    for (uint32_t j = 0; j < count; j++) {
        b->prime[j] = (uint8_t)prime[j];
        b->m[j] = &c->m[prime[j]];
    }
    for (uint32_t j = 0; j < count; j++) { b->c[j] = rfhe_convert_factor(b->m, count, j); }
    for (uint32_t t = 0; t < all; t++) { b->neg[t] = rfhe_convert_row(b->h + (size_t)t * count, b->m, count, &c->m[t]); }
    return RFHE_OK;
}

static void convert_clear(rfhe_convert *b)
{
    rfhe_free(b->h);
    rfhe_free(b->neg);
}

static rfhe_status gadget_init(rfhe_gadget *g, const rfhe_ckks *c, uint32_t special)
{
    rfhe_status st = RFHE_OK;
    const uint32_t n_q = c->n_q;
    uint32_t prime[RFHE_CONVERT_MAX];

    g->special = special;
    g->cut = rfhe_calloc(n_q, sizeof *g->cut);
    g->down_top = rfhe_calloc(n_q, sizeof *g->down_top);
    g->p_inv = rfhe_alloc(n_q, sizeof *g->p_inv);
    g->p_mod = rfhe_alloc(n_q, sizeof *g->p_mod);
    g->pq_inv = rfhe_calloc((size_t)n_q * n_q, sizeof *g->pq_inv);
    if (g->cut == NULL || g->down_top == NULL || g->p_inv == NULL || g->p_mod == NULL || g->pq_inv == NULL) {
        return RFHE_E_NOMEM;
    }
    /* A single prime may be wider than P; its digit then holds it alone and the noise grows (see noise.c). */
    g->digits = rfhe_chain_digits(c->log2_prime, n_q, rfhe_log2_primes(c, n_q, n_q + special), g->start, RFHE_CKKS_MAX_DIGITS);
    for (uint32_t d = 0; d < g->digits; d++) {
        for (uint32_t i = g->start[d]; i < g->start[d + 1]; i++) {
            g->digit_of[i] = d;
            for (uint32_t j = g->start[d]; j <= i; j++) { prime[j - g->start[d]] = j; }
            RFHE_TRY(convert_init(&g->cut[i], c, prime, i - g->start[d] + 1));
        }
    }
    for (uint32_t j = 0; j < special; j++) { prime[j] = n_q + j; }
    RFHE_TRY(convert_init(&g->down, c, prime, special));
    for (uint32_t l = 0; l < n_q; l++) {
        prime[special] = l;
        RFHE_TRY(convert_init(&g->down_top[l], c, prime, special + 1));
    }
    for (uint32_t i = 0; i < n_q; i++) {
        const uint64_t q = c->m[i].q;
        uint64_t p = 1;
        for (uint32_t j = 0; j < special; j++) { p = rfhe_mod_mul(p, c->m[n_q + j].q % q, q); }
        g->p_mod[i] = rfhe_shoup_make(p, q);
        g->p_inv[i] = rfhe_shoup_make(rfhe_mod_inverse(p, q), q);
        for (uint32_t l = i + 1; l < n_q; l++) {
            g->pq_inv[(size_t)l * n_q + i] =
                rfhe_shoup_make(rfhe_mod_inverse(rfhe_mod_mul(p, c->m[l].q % q, q), q), q);
        }
    }
done:
    return st;
}

static void gadget_clear(rfhe_gadget *g, uint32_t n_q)
{
    for (uint32_t l = 0; l < n_q && g->cut != NULL; l++) { convert_clear(&g->cut[l]); }
    for (uint32_t l = 0; l < n_q && g->down_top != NULL; l++) { convert_clear(&g->down_top[l]); }
    convert_clear(&g->down);
    rfhe_free(g->cut);
    rfhe_free(g->down_top);
    rfhe_free(g->p_inv);
    rfhe_free(g->p_mod);
    rfhe_free(g->pq_inv);
}

/* The identity: everything that decides what residues mean. */
static void identify(rfhe_ckks *c)
{
    crypto_generichash_state h;
    uint8_t word[16] = "rfhe-ckks-set-1";

    (void)crypto_generichash_init(&h, NULL, 0, sizeof c->id);
    (void)crypto_generichash_update(&h, word, sizeof word);
    rfhe_store_le32(word, c->log2_n);
    rfhe_store_le32(word + 4, c->n_q);
    rfhe_store_le32(word + 8, c->n_p);
    rfhe_store_le32(word + 12, c->is_insecure ? 1 : 0);
    (void)crypto_generichash_update(&h, word, sizeof word);
    for (uint32_t i = 0; i < c->n_q + c->n_p; i++) {
        rfhe_store_le64(word, c->m[i].q);
        memset(word + 8, 0, 8);
        if (i < c->n_q) { memcpy(word + 8, &c->scale[i], 8); }
        (void)crypto_generichash_update(&h, word, sizeof word);
    }
    (void)crypto_generichash_final(&h, c->id, sizeof c->id);
}

/* Security, then tables. */
static rfhe_status build(rfhe_ckks **out, const plan *plan_in, bool accept_insecure, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    const plan p = *plan_in;
    rfhe_ckks *c = NULL;
    const uint32_t all = p.n_q + p.n_p;
    const double log2_qp = log2_of(p.prime, all);
    const double table = rfhe_security_max_log2_qp(p.log2_n, p.security);

    if (log2_qp > table && !accept_insecure) {
        return rfhe_fail(err, RFHE_E_INSECURE,
                         "log2(QP) is %.1f, ring degree 2^%u carries at most %.0f at %u-bit security", log2_qp,
                         p.log2_n, table, p.security);
    }
    st = RFHE_E_NOMEM;
    c = rfhe_calloc(1, sizeof *c);
    if (c == NULL) { goto done; }
    atomic_init(&c->references, 1);
    c->log2_n = p.log2_n;
    c->n = (size_t)1 << p.log2_n;
    c->n_q = p.n_q;
    c->n_p = p.n_p;
    c->security_bits = rfhe_security_reached(p.log2_n, log2_qp);
    c->security_wanted = p.security;
    c->is_insecure = c->security_bits == 0;
    c->k = rfhe_kernels_get();
    memcpy(c->scale, p.scale, sizeof c->scale);
    memcpy(c->prime_bits, p.bits, sizeof c->prime_bits);
    c->log2_qp = log2_qp;
    c->log2_q = log2_of(p.prime, p.n_q);
    c->q_inv = rfhe_calloc((size_t)p.n_q * p.n_q, sizeof *c->q_inv);
    c->gadget = rfhe_calloc(p.n_p, sizeof *c->gadget);
    if (c->q_inv == NULL || c->gadget == NULL || !rfhe_fft_init(&c->fft, c->n / 2)) { goto done; }
    RFHE_TRY(rfhe_ring_new(&c->ring, c->log2_n, p.prime, all, err));
    c->m = c->ring->mod;
    c->ntt = c->ring->ntt;
    c->rev = c->ring->rev;
    for (uint32_t i = 0; i < all; i++) { c->log2_prime[i] = log2((double)p.prime[i]); }
    for (uint32_t l = 1; l < p.n_q; l++) {
        for (uint32_t i = 0; i < l; i++) {
            const uint64_t q = c->m[i].q;
            c->q_inv[(size_t)l * p.n_q + i] = rfhe_shoup_make(rfhe_mod_inverse(c->m[l].q % q, q), q);
        }
    }
    for (uint32_t k = 1; k <= p.n_p; k++) { RFHE_TRY(gadget_init(&c->gadget[k - 1], c, k)); }
    identify(c);
    *out = c;
    c = NULL;
    st = RFHE_OK;

done:
    rfhe_ckks_free(c);
    if (st == RFHE_E_NOMEM) {
        return rfhe_fail(err, st, "no memory for the tables of ring degree 2^%u with %u primes", p.log2_n, all);
    }
    return st;
}

rfhe_status rfhe_ckks_new(rfhe_ckks **out, const rfhe_ckks_options *opt, rfhe_error *err)
{
    plan p = {0};
    rfhe_status st = RFHE_OK;

    if (sodium_init() < 0) { return rfhe_fail(err, RFHE_E_IO, "libsodium cannot start"); }
    st = make_plan(&p, opt, err);
    return st == RFHE_OK ? build(out, &p, opt->insecure_test, err) : st;
}

rfhe_status rfhe_ckks_from_primes(rfhe_ckks **out, uint32_t log2_n, const uint64_t *prime, uint32_t n_q, uint32_t n_p,
                                  const double *scale, bool accept_insecure, rfhe_error *err)
{
    plan p = {.log2_n = log2_n, .n_q = n_q, .n_p = n_p, .security = 128};

    if (sodium_init() < 0) { return rfhe_fail(err, RFHE_E_IO, "libsodium cannot start"); }
    for (uint32_t i = 0; i < n_q + n_p; i++) {
        if (prime[i] >> 19 == 0 || prime[i] >> 50 != 0 || (prime[i] - 1) % (UINT64_C(2) << log2_n) != 0 ||
            !rfhe_is_prime(prime[i]) || is_taken(prime, i, prime[i])) {
            return rfhe_fail(err, RFHE_E_FORMAT, "%" PRIu64 " cannot be prime %u of a set of ring degree 2^%u", prime[i],
                             i, log2_n);
        }
        p.prime[i] = prime[i];
    }
    for (uint32_t l = 0; l < n_q; l++) {
        if (!(scale[l] >= 1 && scale[l] <= 0x1p62)) {
            return rfhe_fail(err, RFHE_E_FORMAT, "%g cannot be the scale of level %u", scale[l], l);
        }
        p.scale[l] = scale[l];
        p.bits[l] = (uint8_t)(log2((double)prime[l]) + 0.5);
    }
    /* Without a special prime as wide as the widest of the chain no key would be of use. */
    double log2_p = log2_of(prime + n_q, n_p);
    for (uint32_t l = 0; l < n_q; l++) {
        if (log2((double)prime[l]) > log2_p + 0.51) {
            return rfhe_fail(err, RFHE_E_FORMAT, "the special primes are narrower than prime %u of the chain", l);
        }
    }
    return build(out, &p, accept_insecure, err);
}

rfhe_ckks *rfhe_ckks_share(const rfhe_ckks *c)
{
    rfhe_ckks *mine = (rfhe_ckks *)(uintptr_t)c; /* only the counter changes */

    atomic_fetch_add(&mine->references, 1);
    return mine;
}

void rfhe_ckks_free(rfhe_ckks *c)
{
    if (c == NULL || atomic_fetch_sub(&c->references, 1) != 1) { return; }
    for (uint32_t k = 0; k < c->n_p && c->gadget != NULL; k++) { gadget_clear(&c->gadget[k], c->n_q); }
    rfhe_fft_clear(&c->fft);
    rfhe_free(c->gadget);
    rfhe_free(c->q_inv);
    rfhe_ring_free(c->ring);
    rfhe_free(c);
}

void rfhe_ckks_get_info(const rfhe_ckks *c, rfhe_ckks_info *info)
{
    *info = (rfhe_ckks_info){
        .log2_n = c->log2_n,
        .top_level = c->n_q - 1,
        .special_count = c->n_p,
        .top_digits = rfhe_gadget_digits(&c->gadget[rfhe_best_special(c, c->n_q - 1) - 1], c->n_q - 1),
        .log2_q = c->log2_q,
        .log2_qp = c->log2_qp,
        .security_bits = c->security_bits,
        .is_insecure = c->is_insecure,
    };
    memcpy(info->id, c->id, sizeof info->id);
}

double rfhe_ckks_scale(const rfhe_ckks *c, uint32_t level)
{
    return c->scale[level < c->n_q ? level : c->n_q - 1];
}

uint64_t rfhe_ckks_prime(const rfhe_ckks *c, uint32_t i)
{
    return i < c->n_q + c->n_p ? c->m[i].q : 0;
}

uint32_t rfhe_best_special(const rfhe_ckks *c, uint32_t level)
{
    uint32_t best = c->n_p;
    double cost = INFINITY;

    for (uint32_t k = 1; k <= c->n_p; k++) {
        const rfhe_gadget *g = &c->gadget[k - 1];
        const double log2_p = rfhe_log2_primes(c, c->n_q, c->n_q + k);
        bool fits = true;
        for (uint32_t i = 0; i <= level; i++) { fits = fits && c->log2_prime[i] <= log2_p + 0.5; }
        const double x = switch_cost(level + 1, k, rfhe_gadget_digits(g, level));
        if (fits && x < cost * 0.999) { cost = x, best = k; }
    }
    return best;
}
