/* Operations on polynomials: each a loop over limbs (and coefficient blocks where a limb alone is too little work to
 * share evenly), handed to a kernel. */
#include "ring/ring.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Coefficients per piece of work of the pointwise operations: 32 KiB per operand. */
enum { BLOCK = 4096 };

static inline const uint64_t *limb_of(const rfhe_poly *p, uint32_t prime)
{
    const int at = rfhe_basis_find(&p->basis, prime);

    assert(at >= 0);
    return p->limb[at];
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Runs BODY for every limb l of r and block [lo, lo + len) of coefficients; m is the limb's modulus, prime its number. */
#define FOR_BLOCKS(ring, r, BODY)                                                                                     \
    do {                                                                                                              \
        const size_t step = min_size((ring)->n, BLOCK), per_limb = (ring)->n / step;                                  \
        _Pragma("omp parallel for schedule(static)") for (size_t piece = 0; piece < (r)->basis.count * per_limb;     \
                                                          piece++)                                                    \
        {                                                                                                             \
            const size_t l = piece / per_limb, lo = piece % per_limb * step;                                          \
            const uint32_t prime = (r)->basis.prime[l];                                                               \
            const rfhe_modulus *m = &(ring)->mod[prime];                                                              \
            BODY                                                                                                      \
        }                                                                                                             \
    } while (0)

void rfhe_poly_zero(const rfhe_ring *ring, rfhe_poly *r)
{
    for (uint32_t l = 0; l < r->basis.count; l++) { memset(r->limb[l], 0, ring->n * sizeof *r->limb[l]); }
}

void rfhe_poly_copy(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a)
{
    r->is_ntt = a->is_ntt;
    for (uint32_t l = 0; l < r->basis.count; l++) {
        const uint64_t *from = limb_of(a, r->basis.prime[l]);
        if (from != r->limb[l]) { memcpy(r->limb[l], from, ring->n * sizeof *from); }
    }
}

bool rfhe_poly_equal(const rfhe_ring *ring, const rfhe_poly *a, const rfhe_poly *b)
{
    if (a->is_ntt != b->is_ntt || !rfhe_basis_equal(&a->basis, &b->basis)) { return false; }
    for (uint32_t l = 0; l < a->basis.count; l++) {
        if (memcmp(a->limb[l], b->limb[l], ring->n * sizeof *a->limb[l]) != 0) { return false; }
    }
    return true;
}

void rfhe_polys_to_ntt(const rfhe_ring *ring, rfhe_poly *const *r, size_t count)
{
    const rfhe_kernels *k = rfhe_kernels_get();
    size_t total = 0;

    for (size_t p = 0; p < count; p++) { total += r[p]->is_ntt ? 0 : r[p]->basis.count; }
#pragma omp parallel for schedule(static)
    for (size_t piece = 0; piece < total; piece++) {
        size_t p = 0, l = piece;
        while (r[p]->is_ntt || l >= r[p]->basis.count) { l -= r[p]->is_ntt ? 0 : r[p]->basis.count, p++; }
        k->ntt_forward(r[p]->limb[l], &ring->ntt[r[p]->basis.prime[l]]);
    }
    for (size_t p = 0; p < count; p++) { r[p]->is_ntt = true; }
}

void rfhe_polys_to_coef(const rfhe_ring *ring, rfhe_poly *const *r, size_t count)
{
    const rfhe_kernels *k = rfhe_kernels_get();
    size_t total = 0;

    for (size_t p = 0; p < count; p++) { total += r[p]->is_ntt ? r[p]->basis.count : 0; }
#pragma omp parallel for schedule(static)
    for (size_t piece = 0; piece < total; piece++) {
        size_t p = 0, l = piece;
        while (!r[p]->is_ntt || l >= r[p]->basis.count) { l -= r[p]->is_ntt ? r[p]->basis.count : 0, p++; }
        k->ntt_inverse(r[p]->limb[l], &ring->ntt[r[p]->basis.prime[l]]);
    }
    for (size_t p = 0; p < count; p++) { r[p]->is_ntt = false; }
}

void rfhe_poly_to_ntt(const rfhe_ring *ring, rfhe_poly *r)
{
    rfhe_polys_to_ntt(ring, &r, 1);
}

void rfhe_poly_to_coef(const rfhe_ring *ring, rfhe_poly *r)
{
    rfhe_polys_to_coef(ring, &r, 1);
}

void rfhe_poly_add(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    assert(a->is_ntt == b->is_ntt);
    r->is_ntt = a->is_ntt;
    FOR_BLOCKS(ring, r, k->add(r->limb[l] + lo, limb_of(a, prime) + lo, limb_of(b, prime) + lo, step, m););
}

void rfhe_poly_sub(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    assert(a->is_ntt == b->is_ntt);
    r->is_ntt = a->is_ntt;
    FOR_BLOCKS(ring, r, k->sub(r->limb[l] + lo, limb_of(a, prime) + lo, limb_of(b, prime) + lo, step, m););
}

void rfhe_poly_neg(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    r->is_ntt = a->is_ntt;
    FOR_BLOCKS(ring, r, k->neg(r->limb[l] + lo, limb_of(a, prime) + lo, step, m););
}

void rfhe_poly_mul(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    assert(a->is_ntt && b->is_ntt);
    r->is_ntt = true;
    FOR_BLOCKS(ring, r, k->mul(r->limb[l] + lo, limb_of(a, prime) + lo, limb_of(b, prime) + lo, step, m););
}

void rfhe_poly_mul_add(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    assert(a->is_ntt && b->is_ntt && r->is_ntt);
    FOR_BLOCKS(ring, r, k->mul_add(r->limb[l] + lo, limb_of(a, prime) + lo, limb_of(b, prime) + lo, step, m););
}

void rfhe_poly_inner(const rfhe_ring *ring, rfhe_poly *r0, rfhe_poly *r1, const rfhe_poly *const *d,
                     const rfhe_poly *const *k0, const rfhe_poly *const *k1, size_t count, bool accumulate)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    assert(count <= RFHE_RING_INNER_MAX && (r1 == NULL) == (k1 == NULL));
    assert(r1 == NULL || rfhe_basis_equal(&r0->basis, &r1->basis));
    r0->is_ntt = true;
    if (r1 != NULL) { r1->is_ntt = true; }
    FOR_BLOCKS(ring, r0, {
        const uint64_t *pd[RFHE_RING_INNER_MAX];
        const uint64_t *p0[RFHE_RING_INNER_MAX];
        const uint64_t *p1[RFHE_RING_INNER_MAX];
        for (size_t j = 0; j < count; j++) {
            pd[j] = limb_of(d[j], prime) + lo;
            p0[j] = limb_of(k0[j], prime) + lo;
            p1[j] = k1 == NULL ? NULL : limb_of(k1[j], prime) + lo;
        }
        k->inner(r0->limb[l] + lo, r1 == NULL ? NULL : r1->limb[l] + lo, pd, p0, k1 == NULL ? NULL : p1, count, step,
                 accumulate, m);
    });
}

void rfhe_poly_mul_scalar(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const uint64_t *c)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    r->is_ntt = a->is_ntt;
    FOR_BLOCKS(ring, r,
               k->mul_const(r->limb[l] + lo, limb_of(a, prime) + lo, rfhe_shoup_make(c[l], m->q), step, m););
}

void rfhe_poly_mul_add_scalar(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const uint64_t *c)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    assert(r->is_ntt == a->is_ntt);
    FOR_BLOCKS(ring, r,
               k->mul_add_const(r->limb[l] + lo, limb_of(a, prime) + lo, rfhe_shoup_make(c[l], m->q), step, m););
}

void rfhe_poly_mul_i64(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, int64_t c)
{
    uint64_t residue[RFHE_RING_MAX_PRIMES];

    for (uint32_t l = 0; l < r->basis.count; l++) {
        residue[l] = rfhe_mod_from_i64(c, ring->mod[r->basis.prime[l]].q);
    }
    rfhe_poly_mul_scalar(ring, r, a, residue);
}

void rfhe_poly_add_scalar(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const uint64_t *c)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    if (a->is_ntt) {
        r->is_ntt = true;
        FOR_BLOCKS(ring, r, k->add_const(r->limb[l] + lo, limb_of(a, prime) + lo, c[l], step, m););
        return;
    }
    rfhe_poly_copy(ring, r, a);
    for (uint32_t l = 0; l < r->basis.count; l++) {
        r->limb[l][0] = rfhe_mod_add(r->limb[l][0], c[l], ring->mod[r->basis.prime[l]].q);
    }
}

void rfhe_poly_mul_monomial(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, uint32_t k)
{
    const rfhe_kernels *kernels = rfhe_kernels_get();
    const size_t n = ring->n, shift = k & (n - 1);

    assert(k < 2 * n);
    r->is_ntt = a->is_ntt;
    if (a->is_ntt) {
        /* X^(n/2) is psi^(n/2) = w[1] at the first half of the values and -w[1] at the second. */
        assert(k % (n / 2) == 0);
#pragma omp parallel for schedule(static)
        for (size_t l = 0; l < r->basis.count; l++) {
            const uint32_t prime = r->basis.prime[l];
            const uint64_t q = ring->mod[prime].q;
            const uint64_t *from = limb_of(a, prime);
            for (size_t half = 0; half < 2; half++) {
                const uint64_t root = half == 0 ? ring->ntt[prime].w[1] : q - ring->ntt[prime].w[1];
                const rfhe_shoup c = rfhe_shoup_make(rfhe_mod_pow(root, k / (n / 2), q), q);
                kernels->mul_const(r->limb[l] + half * n / 2, from + half * n / 2, c, n / 2, &ring->mod[prime]);
            }
        }
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t l = 0; l < r->basis.count; l++) {
        const rfhe_modulus *m = &ring->mod[r->basis.prime[l]];
        const uint64_t *from = limb_of(a, r->basis.prime[l]);
        uint64_t *to = r->limb[l];
        /* The part that stays keeps its sign for k < n, the part that wraps around changes it; for k >= n the reverse. */
        if (k < n) {
            memcpy(to + shift, from, (n - shift) * sizeof *to);
            kernels->neg(to, from + n - shift, shift, m);
        } else {
            kernels->neg(to + shift, from, n - shift, m);
            memcpy(to, from + n - shift, shift * sizeof *to);
        }
    }
}

void rfhe_poly_set_monomial(const rfhe_ring *ring, rfhe_poly *r, uint32_t k)
{
    const size_t n = ring->n;

    assert(k < 2 * n);
    rfhe_poly_zero(ring, r);
    for (uint32_t l = 0; l < r->basis.count; l++) {
        r->limb[l][k & (n - 1)] = k < n ? 1 : ring->mod[r->basis.prime[l]].q - 1;
    }
    r->is_ntt = false;
    rfhe_poly_to_ntt(ring, r);
}

void rfhe_poly_automorphism(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, uint32_t g)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    assert(g % 2 == 1 && g < 2 * ring->n);
    r->is_ntt = a->is_ntt;
#pragma omp parallel for schedule(static)
    for (size_t l = 0; l < r->basis.count; l++) {
        const uint32_t prime = r->basis.prime[l];
        const uint64_t *from = limb_of(a, prime);
        assert(from != r->limb[l]);
        if (a->is_ntt) {
            k->automorphism_ntt(r->limb[l], from, ring->log2_n, g, ring->rev);
        } else {
            k->automorphism_coef(r->limb[l], from, ring->log2_n, g, &ring->mod[prime]);
        }
    }
}

void rfhe_poly_from_i64(const rfhe_ring *ring, rfhe_poly *r, const int64_t *x)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    r->is_ntt = false;
    FOR_BLOCKS(ring, r, k->from_i64(r->limb[l] + lo, x + lo, step, m););
}

void rfhe_poly_from_f64(const rfhe_ring *ring, rfhe_poly *r, const double *x)
{
    const rfhe_kernels *k = rfhe_kernels_get();

    r->is_ntt = false;
    FOR_BLOCKS(ring, r, k->from_f64(r->limb[l] + lo, x + lo, step, m););
}

/* Mixed radix (Garner): x = c_0 + q_0 (c_1 + q_1 (c_2 + ...)) with centred digits c_l in (-q_l/2, q_l/2), so that x is
 * the centred representative. A value much smaller than the modulus has zero digits at the top, and loses nothing. The
 * digits are computed for a tile of coefficients, limb against limb; the sum is taken from the top in doubles. */
void rfhe_poly_to_f64(const rfhe_ring *ring, double *x, const rfhe_poly *a, double factor)
{
    const rfhe_kernels *k = rfhe_kernels_get();
    const size_t count = a->basis.count, tile = min_size(ring->n, 64);

    assert(!a->is_ntt && count >= 1);
#pragma omp parallel for schedule(static)
    for (size_t lo = 0; lo < ring->n; lo += tile) {
        uint64_t rest[64];
        int64_t digit[RFHE_RING_MAX_PRIMES][64];
        for (size_t l = 0; l < count; l++) {
            const rfhe_modulus *m = &ring->mod[a->basis.prime[l]];
            memcpy(rest, a->limb[l] + lo, tile * sizeof *rest);
            for (size_t e = 0; e < l; e++) {
                /* rest = (rest - c_e) / q_e modulo q_l */
                uint64_t residue[64];
                const uint64_t q_e = ring->mod[a->basis.prime[e]].q % m->q;
                k->from_i64(residue, digit[e], tile, m);
                k->sub_scale(rest, rest, residue, rfhe_shoup_make(rfhe_mod_inverse(q_e, m->q), m->q), tile, m);
            }
            for (size_t i = 0; i < tile; i++) { digit[l][i] = rfhe_mod_centre(rest[i], m->q); }
        }
        for (size_t i = 0; i < tile; i++) {
            double sum = 0.0;
            for (size_t l = count; l-- > 0;) {
                sum = sum * (double)ring->mod[a->basis.prime[l]].q + (double)digit[l][i];
            }
            x[lo + i] = sum * factor;
        }
    }
}
