/* Base conversion, digit raising and division by dropped primes: the constants are made once, the run works tile by
 * tile so that the scaled inputs of a tile stay in the first-level cache while every target modulus reads them. */
#include "ring/ring.h"

#include "arith/convert.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

/* Coefficients per tile: with up to 10 inputs the scaled tile is 20 KiB. */
enum { TILE = 256 };

struct rfhe_conversion {
    rfhe_basis from, to;
    const rfhe_modulus *m[RFHE_CONVERT_MAX]; /* of from */
    rfhe_shoup c[RFHE_CONVERT_MAX];          /* 1/(A/q_j) mod q_j */
    uint64_t *h;                             /* to.count rows of from.count: (A/q_j) * 2^52 mod p */
    uint64_t neg[RFHE_RING_MAX_PRIMES];      /* -A * 2^52 mod p, per target */
};

rfhe_status rfhe_conversion_new(rfhe_conversion **out, const rfhe_ring *ring, const rfhe_basis *from,
                                const rfhe_basis *to, rfhe_error *err)
{
    rfhe_conversion *c = NULL;

    if (from->count == 0 || from->count > RFHE_CONVERT_MAX) {
        return rfhe_fail(err, RFHE_E_ARG, "no base conversion from %u primes (1 to %d are possible)", from->count,
                         RFHE_CONVERT_MAX);
    }
    for (uint32_t l = 0; l < to->count; l++) {
        if (rfhe_basis_find(from, to->prime[l]) >= 0) {
            return rfhe_fail(err, RFHE_E_ARG, "base conversion to a prime that it starts from");
        }
    }
    c = rfhe_calloc(1, sizeof *c);
    if (c != NULL) { c->h = rfhe_alloc((size_t)from->count * to->count, sizeof *c->h); }
    if (c == NULL || c->h == NULL) {
        rfhe_free(c);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the constants of a base conversion");
    }
    c->from = *from;
    c->to = *to;
    for (uint32_t j = 0; j < from->count; j++) { c->m[j] = &ring->mod[from->prime[j]]; }
    for (uint32_t j = 0; j < from->count; j++) { c->c[j] = rfhe_convert_factor(c->m, from->count, j); }
    for (uint32_t l = 0; l < to->count; l++) {
        uint64_t *row = c->h + (size_t)l * from->count;
        c->neg[l] = rfhe_convert_row(row, c->m, from->count, &ring->mod[to->prime[l]]);
    }
    *out = c;
    return RFHE_OK;
}

void rfhe_conversion_free(rfhe_conversion *c)
{
    if (c == NULL) { return; }
    rfhe_free(c->h);
    rfhe_free(c);
}

const rfhe_basis *rfhe_conversion_from(const rfhe_conversion *c)
{
    return &c->from;
}

const rfhe_basis *rfhe_conversion_to(const rfhe_conversion *c)
{
    return &c->to;
}

/* One tile of n coefficients from `lo`: the limbs of r that are among c->to, from a's limbs of c->from. */
static void convert_tile(const rfhe_conversion *c, const rfhe_kernels *k, const rfhe_ring *ring, rfhe_poly *r,
                         const uint64_t *const *in, size_t lo, size_t n)
{
    uint64_t y[RFHE_CONVERT_MAX * TILE] __attribute__((aligned(64)));
    uint64_t v[TILE] __attribute__((aligned(64)));
    const uint64_t *x[RFHE_CONVERT_MAX];
    const size_t count = c->from.count;

    for (size_t j = 0; j < count; j++) { x[j] = in[j] + lo; }
    k->convert_scale(y, v, x, c->c, c->m, count, n);
    for (size_t l = 0; l < r->basis.count; l++) {
        const int at = rfhe_basis_find(&c->to, r->basis.prime[l]);
        if (at < 0) { continue; }
        k->convert_out(r->limb[l] + lo, y, v, c->h + (size_t)at * count, c->neg[at], count, n,
                       &ring->mod[r->basis.prime[l]]);
    }
}

static void find_inputs(const uint64_t **in, const rfhe_conversion *c, const rfhe_poly *a)
{
    for (uint32_t j = 0; j < c->from.count; j++) {
        const int at = rfhe_basis_find(&a->basis, c->from.prime[j]);
        assert(at >= 0);
        in[j] = a->limb[at];
    }
}

void rfhe_conversion_run(const rfhe_ring *ring, const rfhe_conversion *c, rfhe_poly *r, const rfhe_poly *a)
{
    const rfhe_kernels *k = rfhe_kernels_get();
    const size_t tile = ring->n < TILE ? ring->n : TILE;
    const uint64_t *in[RFHE_CONVERT_MAX];

    assert(!a->is_ntt);
    find_inputs(in, c, a);
#pragma omp parallel for schedule(static)
    for (size_t lo = 0; lo < ring->n; lo += tile) { convert_tile(c, k, ring, r, in, lo, tile); }
}

void rfhe_conversion_raise(const rfhe_ring *ring, const rfhe_conversion *c, rfhe_poly *r, const rfhe_poly *a_ntt,
                           const rfhe_poly *a_coef)
{
    const rfhe_kernels *k = rfhe_kernels_get();
    const size_t tile = ring->n < TILE ? ring->n : TILE;
    const uint64_t *in[RFHE_CONVERT_MAX];

    assert(a_ntt->is_ntt && !a_coef->is_ntt);
    find_inputs(in, c, a_coef);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (size_t lo = 0; lo < ring->n; lo += tile) { convert_tile(c, k, ring, r, in, lo, tile); }
#pragma omp for schedule(dynamic, 1)
        for (size_t l = 0; l < r->basis.count; l++) {
            const uint32_t prime = r->basis.prime[l];
            if (rfhe_basis_find(&c->to, prime) >= 0) {
                k->ntt_forward(r->limb[l], &ring->ntt[prime]);
            } else {
                const int at = rfhe_basis_find(&a_ntt->basis, prime);
                assert(at >= 0 && rfhe_basis_find(&c->from, prime) >= 0);
                if (r->limb[l] != a_ntt->limb[at]) {
                    memcpy(r->limb[l], a_ntt->limb[at], ring->n * sizeof *r->limb[l]);
                }
            }
        }
    }
    r->is_ntt = true;
}

struct rfhe_division {
    rfhe_conversion *c;                      /* from drop to keep */
    rfhe_shoup inverse[RFHE_RING_MAX_PRIMES]; /* 1/D mod p, in the order of keep */
};

rfhe_status rfhe_division_new(rfhe_division **out, const rfhe_ring *ring, const rfhe_basis *keep,
                              const rfhe_basis *drop, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_division *d = rfhe_calloc(1, sizeof *d);

    if (d == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the constants of a division"); }
    RFHE_TRY(rfhe_conversion_new(&d->c, ring, drop, keep, err));
    for (uint32_t l = 0; l < keep->count; l++) {
        const uint64_t q = ring->mod[keep->prime[l]].q;
        d->inverse[l] = rfhe_shoup_make(rfhe_mod_inverse(rfhe_mod_product(d->c->m, drop->count, drop->count, q), q), q);
    }
    *out = d;
    d = NULL;

done:
    rfhe_division_free(d);
    return st;
}

void rfhe_division_free(rfhe_division *d)
{
    if (d == NULL) { return; }
    rfhe_conversion_free(d->c);
    rfhe_free(d);
}

size_t rfhe_division_workspace(const rfhe_ring *ring, const rfhe_division *d)
{
    return ((size_t)d->c->from.count + d->c->to.count) * ring->n;
}

/* The dropped limbs as coefficients (their own copy when they were values), converted to the kept moduli, transformed if
 * a is in values; then r = (a - that) / D. */
void rfhe_division_run(const rfhe_ring *ring, const rfhe_division *d, rfhe_poly *const *r, const rfhe_poly *const *a,
                       size_t count, uint64_t *work)
{
    const rfhe_kernels *k = rfhe_kernels_get();
    const rfhe_basis *drop = &d->c->from, *keep = &d->c->to;
    const size_t n = ring->n, tile = n < TILE ? n : TILE, tiles = n / tile;
    const size_t each = rfhe_division_workspace(ring, d), n_keep = count == 0 ? 0 : r[0]->basis.count;

#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (size_t piece = 0; piece < count * drop->count; piece++) {
            const size_t p = piece / drop->count, j = piece % drop->count;
            const int at = rfhe_basis_find(&a[p]->basis, drop->prime[j]);
            uint64_t *to = work + p * each + j * n;
            assert(at >= 0);
            memcpy(to, a[p]->limb[at], n * sizeof *to);
            if (a[p]->is_ntt) { k->ntt_inverse(to, &ring->ntt[drop->prime[j]]); }
        }
#pragma omp for schedule(static)
        for (size_t piece = 0; piece < count * tiles; piece++) {
            const size_t p = piece / tiles;
            uint64_t *base = work + p * each;
            const uint64_t *in[RFHE_CONVERT_MAX];
            for (size_t j = 0; j < drop->count; j++) { in[j] = base + j * n; }
            rfhe_poly to = rfhe_poly_at(ring, &r[p]->basis, false, base + drop->count * n);
            convert_tile(d->c, k, ring, &to, in, piece % tiles * tile, tile);
        }
#pragma omp for schedule(static)
        for (size_t piece = 0; piece < count * n_keep; piece++) {
            const size_t p = piece / n_keep, l = piece % n_keep;
            const uint32_t prime = r[p]->basis.prime[l];
            const int at = rfhe_basis_find(&a[p]->basis, prime), row = rfhe_basis_find(keep, prime);
            uint64_t *t = work + p * each + (drop->count + l) * n;
            assert(at >= 0 && row >= 0 && r[p]->basis.count == n_keep);
            if (a[p]->is_ntt) { k->ntt_forward(t, &ring->ntt[prime]); }
            k->sub_scale(r[p]->limb[l], a[p]->limb[at], t, d->inverse[row], n, &ring->mod[prime]);
        }
    }
    for (size_t p = 0; p < count; p++) { r[p]->is_ntt = a[p]->is_ntt; }
}
