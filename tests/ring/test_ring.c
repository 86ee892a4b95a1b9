/* ring/: transforms against schoolbook products, automorphisms, conversions and divisions against big integers. */
#include "test.h"

#include "base/mem.h"
#include "base/threads.h"
#include "ring/ring.h"

#include <gmp.h>
#include <math.h>

static rfhe_rng rng;

/* A ring with primes of the given sizes. */
static rfhe_ring *make_ring(uint32_t log2_n, const uint32_t *bits, uint32_t count)
{
    rfhe_ring *ring = NULL;
    uint64_t q[RFHE_RING_MAX_PRIMES];
    rfhe_error err = {0};

    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(rfhe_primes_find(&q[i], 1, bits[i], log2_n, q, i, &err), RFHE_OK);
    }
    assert_int_equal(rfhe_ring_new(&ring, log2_n, q, count, &err), RFHE_OK);
    return ring;
}

static void fill(const rfhe_ring *ring, rfhe_poly *p)
{
    for (uint32_t l = 0; l < p->basis.count; l++) {
        for (size_t i = 0; i < ring->n; i++) {
            p->limb[l][i] = rfhe_rng_below(&rng, ring->mod[p->basis.prime[l]].q);
        }
    }
}

static rfhe_poly make(const rfhe_ring *ring, const rfhe_basis *b, bool is_ntt)
{
    rfhe_poly p;

    assert_int_equal(rfhe_poly_new(&p, ring, b, is_ntt), RFHE_OK);
    fill(ring, &p);
    return p;
}

static void transform_round_trips_and_multiplies(void **state)
{
    static const uint32_t bits[] = {20, 30, 42, 46, 48, 49, 50};

    (void)state;
    for (uint32_t log2_n = 4; log2_n <= 17; log2_n++) {
        rfhe_ring *ring = make_ring(log2_n, bits, 7);
        const rfhe_basis b = rfhe_basis_range(0, 7);
        const size_t n = ring->n;
        rfhe_poly x = make(ring, &b, false), y = make(ring, &b, false), z = make(ring, &b, false);
        rfhe_poly keep = make(ring, &b, false);

        rfhe_poly_copy(ring, &keep, &x);
        rfhe_poly_to_ntt(ring, &x);
        rfhe_poly_to_coef(ring, &x);
        assert_true(rfhe_poly_equal(ring, &x, &keep));
        if (log2_n <= 8) {
            rfhe_poly want = make(ring, &b, false);
            for (uint32_t l = 0; l < b.count; l++) {
                const uint64_t q = ring->mod[l].q;
                for (size_t k = 0; k < n; k++) {
                    uint64_t sum = 0;
                    for (size_t i = 0; i < n; i++) {
                        const uint64_t t = rfhe_mod_mul(x.limb[l][i], y.limb[l][(k + n - i) % n], q);
                        sum = i <= k ? rfhe_mod_add(sum, t, q) : rfhe_mod_sub(sum, t, q);
                    }
                    want.limb[l][k] = sum;
                }
            }
            rfhe_poly_to_ntt(ring, &x);
            rfhe_poly_to_ntt(ring, &y);
            rfhe_poly_mul(ring, &z, &x, &y);
            rfhe_poly_to_coef(ring, &z);
            assert_true(rfhe_poly_equal(ring, &z, &want));
            rfhe_poly_clear(&want);
        } else {
            /* values of X are the odd powers of psi in bit-reversed order */
            rfhe_poly_set_monomial(ring, &z, 1);
            for (uint32_t l = 0; l < b.count; l++) {
                const uint64_t q = ring->mod[l].q, psi = rfhe_root_of_unity(q, log2_n + 1);
                for (uint32_t i = 0; i < n; i += 37) {
                    const uint64_t e = 2 * rfhe_reverse_bits(i, log2_n) + 1;
                    assert_true(z.limb[l][i] == rfhe_mod_pow(psi, e, q));
                }
            }
        }
        rfhe_poly_clear(&x);
        rfhe_poly_clear(&y);
        rfhe_poly_clear(&z);
        rfhe_poly_clear(&keep);
        rfhe_ring_free(ring);
    }
}

static void automorphisms_form_a_group_and_commute_with_the_transform(void **state)
{
    static const uint32_t bits[] = {30, 50};

    (void)state;
    for (uint32_t log2_n = 4; log2_n <= 12; log2_n += 2) {
        rfhe_ring *ring = make_ring(log2_n, bits, 2);
        const rfhe_basis b = rfhe_basis_range(0, 2);
        const uint32_t two_n = UINT32_C(2) << log2_n;
        rfhe_poly x = make(ring, &b, false), y = make(ring, &b, false), z = make(ring, &b, false);
        rfhe_poly u = make(ring, &b, false), v = make(ring, &b, false);

        for (int round = 0; round < 20; round++) {
            const uint32_t g = (uint32_t)rfhe_rng_below(&rng, two_n) | 1;
            const uint32_t h = (uint32_t)rfhe_rng_below(&rng, two_n) | 1;
            fill(ring, &x);
            x.is_ntt = false;
            rfhe_poly_automorphism(ring, &y, &x, g); /* coefficients: X -> X^g term by term */
            for (uint32_t l = 0; l < 2; l++) {
                for (uint32_t j = 0; j < ring->n; j++) {
                    const uint32_t to = (uint32_t)((uint64_t)j * g % two_n);
                    const uint64_t q = ring->mod[l].q, c = x.limb[l][j];
                    assert_true(y.limb[l][to % ring->n] == (to >= ring->n ? rfhe_mod_neg(c, q) : c));
                }
            }
            rfhe_poly_copy(ring, &u, &x);
            rfhe_poly_to_ntt(ring, &u);
            rfhe_poly_automorphism(ring, &v, &u, g);
            rfhe_poly_to_ntt(ring, &y);
            assert_true(rfhe_poly_equal(ring, &v, &y));
            rfhe_poly_automorphism(ring, &z, &v, h); /* composition */
            rfhe_poly_automorphism(ring, &y, &u, (uint32_t)((uint64_t)g * h % two_n));
            assert_true(rfhe_poly_equal(ring, &z, &y));
        }
        rfhe_poly_clear(&x);
        rfhe_poly_clear(&y);
        rfhe_poly_clear(&z);
        rfhe_poly_clear(&u);
        rfhe_poly_clear(&v);
        rfhe_ring_free(ring);
    }
}

static void product_of(mpz_t out, const rfhe_ring *ring, const rfhe_basis *b)
{
    mpz_set_ui(out, 1);
    for (uint32_t l = 0; l < b->count; l++) { mpz_mul_ui(out, out, ring->mod[b->prime[l]].q); }
}

/* The centred integer of coefficient i. */
static void lift(mpz_t out, const rfhe_ring *ring, const rfhe_poly *p, size_t i)
{
    mpz_t all, part, t;

    mpz_inits(all, part, t, NULL);
    product_of(all, ring, &p->basis);
    mpz_set_ui(out, 0);
    for (uint32_t l = 0; l < p->basis.count; l++) {
        const uint64_t q = ring->mod[p->basis.prime[l]].q;
        mpz_divexact_ui(part, all, q);
        mpz_set_ui(t, q);
        assert_true(mpz_invert(t, part, t) != 0);
        mpz_mul_ui(t, t, p->limb[l][i]);
        mpz_mod_ui(t, t, q);
        mpz_addmul(out, t, part);
    }
    mpz_mod(out, out, all);
    mpz_mul_2exp(t, out, 1);
    if (mpz_cmp(t, all) > 0) { mpz_sub(out, out, all); }
    mpz_clears(all, part, t, NULL);
}

static void conversion_equals_big_integers(void **state)
{
    static const uint32_t bits[] = {30, 42, 50, 49, 20, 46, 50, 50, 32, 48};
    rfhe_ring *ring = make_ring(9, bits, 10);
    mpz_t x;

    (void)state;
    mpz_init(x);
    for (uint32_t split = 1; split <= 9; split++) {
        const rfhe_basis from = rfhe_basis_range(0, split), to = rfhe_basis_range(split, 10 - split);
        rfhe_poly a = make(ring, &from, false), r = make(ring, &to, false);
        rfhe_conversion *c = NULL;

        assert_int_equal(rfhe_conversion_new(&c, ring, &from, &to, NULL), RFHE_OK);
        rfhe_conversion_run(ring, c, &r, &a);
        for (size_t i = 0; i < ring->n; i++) {
            lift(x, ring, &a, i);
            for (uint32_t l = 0; l < to.count; l++) {
                assert_true(mpz_fdiv_ui(x, ring->mod[to.prime[l]].q) == r.limb[l][i]);
            }
        }
        rfhe_conversion_free(c);
        rfhe_poly_clear(&a);
        rfhe_poly_clear(&r);
    }
    mpz_clear(x);
    rfhe_ring_free(ring);
}

static void division_rounds_to_nearest_in_both_domains(void **state)
{
    static const uint32_t bits[] = {42, 30, 32, 48, 44, 50, 50};
    rfhe_ring *ring = make_ring(8, bits, 7);
    const rfhe_basis all = rfhe_basis_range(0, 7);
    mpz_t x, d, want;

    (void)state;
    mpz_inits(x, d, want, NULL);
    for (uint32_t n_drop = 1; n_drop <= 4; n_drop++) {
        const rfhe_basis keep = rfhe_basis_range(0, 7 - n_drop), drop = rfhe_basis_range(7 - n_drop, n_drop);
        rfhe_poly a = make(ring, &all, false), r = make(ring, &keep, false), s = make(ring, &keep, false);
        rfhe_poly a2 = make(ring, &all, false);
        rfhe_division *plan = NULL;

        assert_int_equal(rfhe_division_new(&plan, ring, &keep, &drop, NULL), RFHE_OK);
        uint64_t *work = rfhe_alloc(2 * rfhe_division_workspace(ring, plan), 8);
        rfhe_poly *rs[2] = {&r, &s};
        const rfhe_poly *as[2] = {&a, &a2};
        rfhe_poly_copy(ring, &a2, &a);
        rfhe_division_run(ring, plan, rs, as, 2, work);
        assert_true(rfhe_poly_equal(ring, &r, &s));
        product_of(d, ring, &drop);
        for (size_t i = 0; i < ring->n; i++) {
            lift(x, ring, &a, i);
            mpz_mul_2exp(want, x, 1);
            mpz_add(want, want, d); /* round(x/d) = floor((2x + d) / 2d), d odd: no ties */
            mpz_mul_2exp(x, d, 1);
            mpz_fdiv_q(want, want, x);
            for (uint32_t l = 0; l < keep.count; l++) {
                assert_true(mpz_fdiv_ui(want, ring->mod[keep.prime[l]].q) == r.limb[l][i]);
            }
        }
        rfhe_poly_to_ntt(ring, &a);
        rs[0] = &s;
        rfhe_division_run(ring, plan, rs, as, 1, work);
        rfhe_poly_to_coef(ring, &s);
        assert_true(rfhe_poly_equal(ring, &r, &s));
        rfhe_free(work);
        rfhe_division_free(plan);
        rfhe_poly_clear(&a);
        rfhe_poly_clear(&a2);
        rfhe_poly_clear(&r);
        rfhe_poly_clear(&s);
    }
    mpz_clears(x, d, want, NULL);
    rfhe_ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transform_round_trips_and_multiplies),
        cmocka_unit_test(automorphisms_form_a_group_and_commute_with_the_transform),
        cmocka_unit_test(conversion_equals_big_integers),
        cmocka_unit_test(division_rounds_to_nearest_in_both_domains),
    };

    rng = rfhe_rng_seed(test_seed(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
