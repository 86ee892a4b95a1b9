/* Rings, bases and polynomial views: making them and picking parts of them. */
#include "ring/ring.h"

#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

rfhe_basis rfhe_basis_range(uint32_t first, uint32_t count)
{
    rfhe_basis b = {.count = count};

    assert(first + count <= RFHE_RING_MAX_PRIMES);
    for (uint32_t l = 0; l < count; l++) { b.prime[l] = (uint8_t)(first + l); }
    return b;
}

rfhe_basis rfhe_basis_join(const rfhe_basis *a, const rfhe_basis *b)
{
    rfhe_basis r = *a;

    assert(a->count + b->count <= RFHE_RING_MAX_PRIMES);
    for (uint32_t l = 0; l < b->count; l++) { r.prime[r.count++] = b->prime[l]; }
    return r;
}

rfhe_basis rfhe_basis_without(const rfhe_basis *a, const rfhe_basis *b)
{
    rfhe_basis r = {0};

    for (uint32_t l = 0; l < a->count; l++) {
        if (rfhe_basis_find(b, a->prime[l]) < 0) { r.prime[r.count++] = a->prime[l]; }
    }
    return r;
}

int rfhe_basis_find(const rfhe_basis *b, uint32_t prime)
{
    for (uint32_t l = 0; l < b->count; l++) {
        if (b->prime[l] == prime) { return (int)l; }
    }
    return -1;
}

bool rfhe_basis_equal(const rfhe_basis *a, const rfhe_basis *b)
{
    return a->count == b->count && memcmp(a->prime, b->prime, a->count) == 0;
}

bool rfhe_basis_includes(const rfhe_basis *whole, const rfhe_basis *part)
{
    for (uint32_t l = 0; l < part->count; l++) {
        if (rfhe_basis_find(whole, part->prime[l]) < 0) { return false; }
    }
    return true;
}

rfhe_status rfhe_ring_new(rfhe_ring **out, uint32_t log2_n, const uint64_t *primes, uint32_t n_primes, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ring *ring = NULL;

    if (log2_n < RFHE_RING_MIN_LOG2_N || log2_n > RFHE_RING_MAX_LOG2_N || n_primes == 0 ||
        n_primes > RFHE_RING_MAX_PRIMES) {
        st = rfhe_fail(err, RFHE_E_ARG, "no ring of degree 2^%u with %u primes", log2_n, n_primes);
        goto done;
    }
    for (uint32_t i = 0; i < n_primes; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (primes[i] == primes[k]) {
                st = rfhe_fail(err, RFHE_E_ARG, "prime %" PRIu64 " is listed twice", primes[i]);
                goto done;
            }
        }
    }
    ring = rfhe_calloc(1, sizeof *ring);
    if (ring == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    ring->log2_n = log2_n;
    ring->n = (size_t)1 << log2_n;
    ring->n_primes = n_primes;
    ring->mod = rfhe_calloc(n_primes, sizeof *ring->mod);
    ring->ntt = rfhe_calloc(n_primes, sizeof *ring->ntt);
    ring->rev = rfhe_alloc(ring->n / 8, sizeof *ring->rev);
    ring->tables = rfhe_alloc(n_primes, 2 * ring->n * sizeof *ring->tables);
    if (ring->mod == NULL || ring->ntt == NULL || ring->rev == NULL || ring->tables == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    for (uint32_t k = 0; k < ring->n / 8; k++) { ring->rev[k] = rfhe_reverse_bits(k, log2_n - 3); }
    for (uint32_t i = 0; i < n_primes; i++) {
        uint64_t *w = ring->tables + 2 * ring->n * i;
        RFHE_TRY(rfhe_modulus_init(&ring->mod[i], primes[i], err));
        RFHE_TRY(rfhe_ntt_table_init(&ring->ntt[i], w, w + ring->n, log2_n, &ring->mod[i], err));
    }
    *out = ring;
    ring = NULL;

done:
    if (st == RFHE_E_NOMEM) { (void)rfhe_fail(err, st, "no memory for a ring of degree 2^%u", log2_n); }
    rfhe_ring_free(ring);
    return st;
}

void rfhe_ring_free(rfhe_ring *ring)
{
    if (ring == NULL) { return; }
    rfhe_free(ring->mod);
    rfhe_free(ring->ntt);
    rfhe_free(ring->rev);
    rfhe_free(ring->tables);
    rfhe_free(ring);
}

size_t rfhe_ring_bytes(const rfhe_ring *ring)
{
    return sizeof *ring + ring->n_primes * (sizeof *ring->mod + sizeof *ring->ntt + 16 * ring->n) + ring->n / 2;
}

double rfhe_ring_log2(const rfhe_ring *ring, const rfhe_basis *b)
{
    double sum = 0.0;

    for (uint32_t l = 0; l < b->count; l++) { sum += log2((double)ring->mod[b->prime[l]].q); }
    return sum;
}

rfhe_poly rfhe_poly_at(const rfhe_ring *ring, const rfhe_basis *basis, bool is_ntt, uint64_t *memory)
{
    rfhe_poly p = {.basis = *basis, .is_ntt = is_ntt};

    for (uint32_t l = 0; l < basis->count; l++) { p.limb[l] = memory + l * ring->n; }
    return p;
}

rfhe_status rfhe_poly_new(rfhe_poly *p, const rfhe_ring *ring, const rfhe_basis *basis, bool is_ntt)
{
    uint64_t *memory = rfhe_alloc(basis->count, ring->n * sizeof *memory);

    *p = (rfhe_poly){0};
    if (memory == NULL) { return RFHE_E_NOMEM; }
    *p = rfhe_poly_at(ring, basis, is_ntt, memory);
    p->owned = memory;
    return RFHE_OK;
}

void rfhe_poly_clear(rfhe_poly *p)
{
    rfhe_free(p->owned);
    *p = (rfhe_poly){0};
}

void rfhe_poly_clear_secret(rfhe_poly *p)
{
    rfhe_free_secret(p->owned);
    *p = (rfhe_poly){0};
}

rfhe_poly rfhe_poly_part(const rfhe_poly *p, const rfhe_basis *part)
{
    rfhe_poly r = {.basis = *part, .is_ntt = p->is_ntt};

    for (uint32_t l = 0; l < part->count; l++) {
        const int at = rfhe_basis_find(&p->basis, part->prime[l]);
        assert(at >= 0);
        r.limb[l] = p->limb[at];
    }
    return r;
}

rfhe_poly rfhe_poly_head(const rfhe_poly *p, uint32_t count)
{
    rfhe_poly r = *p;

    assert(count <= p->basis.count);
    r.basis.count = count;
    r.owned = NULL;
    return r;
}
