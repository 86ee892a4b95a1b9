/* ring/: transforms against schoolbook products, automorphisms, conversions and divisions against big integers. */
#include "test.h"

#include "base/mem.h"
#include "base/threads.h"
#include "ring/ring.h"

#include <gmp.h>
#include <math.h>
#include <stdlib.h>

static rfhe_rng rng;

/* A ring with primes of the given sizes. */
static rfhe_ring *make_ring(uint32_t log2_n, const uint32_t *bits, uint32_t count)
{
    rfhe_ring *ring = NULL;
    uint64_t q[RFHE_RING_MAX_PRIMES] = {0};
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

/* Linearity of the transform, and every pointwise operation of polynomials against scalars, on a view that picks limbs of
 * larger operands out of order. */
static void operations_pick_limbs_by_prime(void **state)
{
    static const uint32_t bits[] = {30, 42, 50, 48, 46};
    rfhe_ring *ring = make_ring(10, bits, 5);
    const rfhe_basis all = rfhe_basis_range(0, 5), part = {.count = 3, .prime = {4, 1, 2}};
    rfhe_poly a = make(ring, &all, true), b = make(ring, &all, true), c = make(ring, &all, true);
    rfhe_poly r = make(ring, &part, true), s = make(ring, &part, true), t = make(ring, &part, true);
    uint64_t scalar[3];

    (void)state;
    for (uint32_t l = 0; l < 3; l++) { scalar[l] = rfhe_rng_below(&rng, ring->mod[part.prime[l]].q); }
#define CHECK(CALL, EXPRESSION)                                                                                       \
    do {                                                                                                              \
        fill(ring, &r);                                                                                               \
        rfhe_poly_copy(ring, &s, &r);                                                                                 \
        CALL;                                                                                                         \
        for (uint32_t l = 0; l < 3; l++) {                                                                            \
            const uint32_t prime = part.prime[l];                                                                     \
            const uint64_t q = ring->mod[prime].q;                                                                    \
            for (size_t i = 0; i < ring->n; i++) {                                                                    \
                const rfhe_u128 x = a.limb[prime][i], y = b.limb[prime][i], z = c.limb[prime][i], old = s.limb[l][i]; \
                (void)x, (void)y, (void)z, (void)old;                                                                 \
                assert_true(r.limb[l][i] == (uint64_t)((EXPRESSION) % q));                                            \
            }                                                                                                         \
        }                                                                                                             \
    } while (0)
    CHECK(rfhe_poly_add(ring, &r, &a, &b), x + y);
    CHECK(rfhe_poly_sub(ring, &r, &a, &b), x + q - y);
    CHECK(rfhe_poly_neg(ring, &r, &a), q - x);
    CHECK(rfhe_poly_mul(ring, &r, &a, &b), x * y);
    CHECK(rfhe_poly_mul_add(ring, &r, &a, &b), x * y + old);
    CHECK(rfhe_poly_mul_scalar(ring, &r, &a, scalar), x * scalar[l]);
    CHECK(rfhe_poly_mul_add_scalar(ring, &r, &a, scalar), x * scalar[l] + old);
    CHECK(rfhe_poly_add_scalar(ring, &r, &a, scalar), x + scalar[l]);
    CHECK(rfhe_poly_mul_i64(ring, &r, &a, -5), (q - 5) * x);
    {
        const rfhe_poly *d[2] = {&a, &b}, *k0[2] = {&b, &c}, *k1[2] = {&c, &a};
        rfhe_poly other = make(ring, &part, true);
        CHECK(rfhe_poly_inner(ring, &r, &other, d, k0, k1, 2, false), x * y + y * z);
        CHECK(rfhe_poly_inner(ring, &other, &r, d, k0, k1, 2, true), x * z + y * x + old);
        CHECK(rfhe_poly_inner(ring, &r, NULL, d, k0, NULL, 2, true), x * y + y * z + old);
        rfhe_poly_clear(&other);
    }
#undef CHECK
    /* NTT(a + b) = NTT(a) + NTT(b) */
    rfhe_poly u = rfhe_poly_part(&a, &part), v = rfhe_poly_part(&b, &part);
    u.is_ntt = v.is_ntt = false;
    rfhe_poly_add(ring, &r, &u, &v);
    rfhe_poly_to_ntt(ring, &r);
    rfhe_poly_to_ntt(ring, &u);
    rfhe_poly_to_ntt(ring, &v);
    rfhe_poly_add(ring, &s, &u, &v);
    assert_true(rfhe_poly_equal(ring, &r, &s));
    rfhe_poly *const both[2] = {&u, &v};
    rfhe_poly_copy(ring, &t, &v);
    rfhe_polys_to_coef(ring, both, 2);
    rfhe_poly_to_coef(ring, &t);
    assert_true(rfhe_poly_equal(ring, &t, &v));
    rfhe_poly_clear(&a);
    rfhe_poly_clear(&b);
    rfhe_poly_clear(&c);
    rfhe_poly_clear(&r);
    rfhe_poly_clear(&s);
    rfhe_poly_clear(&t);
    rfhe_ring_free(ring);
}

static void monomials_shift_and_negate(void **state)
{
    static const uint32_t bits[] = {30, 50};
    rfhe_ring *ring = make_ring(8, bits, 2);
    const rfhe_basis b = rfhe_basis_range(0, 2);
    const uint32_t n = (uint32_t)ring->n;
    rfhe_poly x = make(ring, &b, false), y = make(ring, &b, false), m = make(ring, &b, true), z = make(ring, &b, false);

    (void)state;
    for (uint32_t k = 0; k < 2 * n; k += 1 + k % 7) {
        rfhe_poly_mul_monomial(ring, &y, &x, k);
        for (uint32_t l = 0; l < 2; l++) {
            const uint64_t q = ring->mod[l].q;
            for (uint32_t i = 0; i < n; i++) {
                const uint32_t to = (i + k) % (2 * n);
                assert_true(y.limb[l][to % n] == (to >= n ? rfhe_mod_neg(x.limb[l][i], q) : x.limb[l][i]));
            }
        }
        rfhe_poly_set_monomial(ring, &m, k);
        rfhe_poly_copy(ring, &z, &x);
        rfhe_poly_to_ntt(ring, &z);
        rfhe_poly_mul(ring, &z, &z, &m);
        rfhe_poly_to_coef(ring, &z);
        assert_true(rfhe_poly_equal(ring, &z, &y));
    }
    for (uint32_t k = 0; k < 2 * n; k += n / 2) {
        rfhe_poly_copy(ring, &z, &x);
        rfhe_poly_to_ntt(ring, &z);
        rfhe_poly_mul_monomial(ring, &z, &z, k);
        rfhe_poly_to_coef(ring, &z);
        rfhe_poly_mul_monomial(ring, &y, &x, k);
        assert_true(rfhe_poly_equal(ring, &z, &y));
    }
    rfhe_poly_clear(&x);
    rfhe_poly_clear(&y);
    rfhe_poly_clear(&m);
    rfhe_poly_clear(&z);
    rfhe_ring_free(ring);
}

/* Integers in and out: exact for what a double holds, one rounding above; the digits of Garner's method lose nothing of a
 * small value under a large modulus. */
static void numbers_survive_the_way_there_and_back(void **state)
{
    static const uint32_t bits[] = {50, 30, 49, 32, 48, 46, 50};
    rfhe_ring *ring = make_ring(8, bits, 7);
    const size_t n = ring->n;
    double *x = rfhe_alloc(2 * n, sizeof *x), *y = x + n;
    int64_t *k = rfhe_alloc(n, sizeof *k);
    mpz_t z;

    (void)state;
    assert_true(x != NULL && k != NULL);
    mpz_init(z);
    for (uint32_t count = 1; count <= 7; count++) {
        const rfhe_basis b = rfhe_basis_range(0, count);
        const double room = rfhe_ring_log2(ring, &b) - 1.5;
        rfhe_poly p = make(ring, &b, false);

        rfhe_poly_to_f64(ring, y, &p, 1.0); /* any residues: the nearest double, or its neighbour */
        for (size_t i = 0; i < n; i++) {
            lift(z, ring, &p, i);
            assert_true(fabs(mpz_get_d(z) - y[i]) <= fabs(y[i]) * 0x1p-51);
        }
        for (size_t i = 0; i < n; i++) {
            x[i] = rint(ldexp(rfhe_rng_uniform(&rng) - 0.5, (int)(room < 100.0 ? room : 100.0)));
            k[i] = (int64_t)rfhe_rng_u64(&rng) >> (count == 1 ? 16 : 1 + rfhe_rng_below(&rng, 60));
        }
        rfhe_poly_from_f64(ring, &p, x);
        rfhe_poly_to_f64(ring, y, &p, 1.0);
        for (size_t i = 0; i < n; i++) {
            /* several roundings only when several digits overlap: within one unit, and exact below 2^53 */
            assert_true(fabs(x[i]) < 0x1p53 ? x[i] == y[i] : fabs(x[i] - y[i]) <= fabs(x[i]) * 0x1p-52);
        }
        rfhe_poly_from_i64(ring, &p, k);
        rfhe_poly_to_f64(ring, y, &p, 0.5);
        for (size_t i = 0; i < n; i++) {
            if (llabs(k[i]) < (INT64_C(1) << 53)) { assert_true(y[i] == 0.5 * (double)k[i]); }
        }
        rfhe_poly_clear(&p);
    }
    mpz_clear(z);
    rfhe_free(x);
    rfhe_free(k);
    rfhe_ring_free(ring);
}

/* Everything parallel, under teams of 1, 2 and 3 threads and every instruction set: the same bits. */
static void results_do_not_depend_on_threads_or_instructions(void **state)
{
    static const uint32_t bits[] = {42, 30, 48, 50, 46, 49, 50, 50};
    static const unsigned teams[] = {1, 2, 3};
    rfhe_ring *ring = make_ring(12, bits, 8);
    const rfhe_basis all = rfhe_basis_range(0, 8), digit = rfhe_basis_range(2, 3), keep = rfhe_basis_range(0, 6);
    const rfhe_basis rest = rfhe_basis_without(&all, &digit), drop = rfhe_basis_range(6, 2);
    rfhe_poly a = make(ring, &all, true), b = make(ring, &all, true), c = make(ring, &all, false);
    rfhe_poly r = make(ring, &all, true), s = make(ring, &all, true), lower = make(ring, &keep, true);
    rfhe_poly want[4];
    rfhe_conversion *conversion = NULL;
    rfhe_division *division = NULL;
    uint64_t *work = NULL;
    const unsigned before = rfhe_threads_get();
    bool is_first = true;

    (void)state;
    assert_int_equal(rfhe_conversion_new(&conversion, ring, &digit, &rest, NULL), RFHE_OK);
    assert_int_equal(rfhe_division_new(&division, ring, &keep, &drop, NULL), RFHE_OK);
    work = rfhe_alloc(rfhe_division_workspace(ring, division), 8);
    for (int isa = 0; isa <= (int)rfhe_cpu_best_isa(); isa++) {
        rfhe_cpu_limit_isa((rfhe_isa)isa);
        for (size_t t = 0; t < sizeof teams / sizeof *teams; t++) {
            const rfhe_poly *d[3] = {&a, &b, &a}, *k0[3] = {&b, &b, &a}, *k1[3] = {&a, &b, &b}, *from[1] = {&s};
            rfhe_poly *to[1] = {&lower};
            (void)rfhe_threads_set(teams[t]);
            rfhe_conversion_raise(ring, conversion, &r, &a, &c);
            if (is_first) {
                want[0] = make(ring, &all, true);
                rfhe_poly_copy(ring, &want[0], &r);
            }
            assert_true(rfhe_poly_equal(ring, &r, &want[0]));
            rfhe_poly_inner(ring, &r, &s, d, k0, k1, 3, false);
            if (is_first) {
                want[1] = make(ring, &all, true);
                rfhe_poly_copy(ring, &want[1], &r);
            }
            assert_true(rfhe_poly_equal(ring, &r, &want[1]));
            rfhe_division_run(ring, division, to, from, 1, work);
            if (is_first) {
                want[2] = make(ring, &keep, true);
                rfhe_poly_copy(ring, &want[2], &lower);
            }
            assert_true(rfhe_poly_equal(ring, &lower, &want[2]));
            rfhe_poly_to_coef(ring, &lower);
            rfhe_poly_automorphism(ring, &r, &s, 5);
            if (is_first) {
                want[3] = make(ring, &all, true);
                rfhe_poly_copy(ring, &want[3], &r);
            }
            assert_true(rfhe_poly_equal(ring, &r, &want[3]));
            is_first = false;
        }
    }
    rfhe_cpu_limit_isa(rfhe_cpu_best_isa());
    (void)rfhe_threads_set(before);
    rfhe_conversion_free(conversion);
    rfhe_division_free(division);
    rfhe_free(work);
    rfhe_poly_clear(&a);
    rfhe_poly_clear(&b);
    rfhe_poly_clear(&c);
    rfhe_poly_clear(&r);
    rfhe_poly_clear(&s);
    rfhe_poly_clear(&lower);
    for (int i = 0; i < 4; i++) { rfhe_poly_clear(&want[i]); }
    rfhe_ring_free(ring);
}

/* A digit raised to the whole basis stays the same integer: its limbs are those of the centred digit. */
static void raising_keeps_the_centred_digit(void **state)
{
    static const uint32_t bits[] = {42, 48, 48, 48, 50, 50};
    rfhe_ring *ring = make_ring(9, bits, 6);
    const rfhe_basis all = rfhe_basis_range(0, 6), digit = rfhe_basis_range(1, 2);
    const rfhe_basis rest = rfhe_basis_without(&all, &digit), part = {.count = 4, .prime = {5, 1, 2, 0}};
    rfhe_poly coef = make(ring, &all, false), values = make(ring, &all, false), r = make(ring, &part, true);
    rfhe_conversion *c = NULL;
    mpz_t z;

    (void)state;
    mpz_init(z);
    rfhe_poly_copy(ring, &values, &coef);
    rfhe_poly_to_ntt(ring, &values);
    assert_int_equal(rfhe_conversion_new(&c, ring, &digit, &rest, NULL), RFHE_OK);
    rfhe_conversion_raise(ring, c, &r, &values, &coef);
    rfhe_poly_to_coef(ring, &r);
    const rfhe_poly d = rfhe_poly_part(&coef, &digit);
    for (size_t i = 0; i < ring->n; i++) {
        lift(z, ring, &d, i);
        for (uint32_t l = 0; l < part.count; l++) {
            assert_true(mpz_fdiv_ui(z, ring->mod[part.prime[l]].q) == r.limb[l][i]);
        }
    }
    mpz_clear(z);
    rfhe_conversion_free(c);
    rfhe_poly_clear(&coef);
    rfhe_poly_clear(&values);
    rfhe_poly_clear(&r);
    rfhe_ring_free(ring);
}

static void wrong_requests_get_a_sentence_and_failed_allocations_leak_nothing(void **state)
{
    rfhe_ring *ring = NULL;
    rfhe_error err = {0};
    uint64_t q[3];
    const size_t before = rfhe_mem_get_stats().current;

    (void)state;
    assert_int_equal(rfhe_primes_find(q, 3, 40, 10, NULL, 0, &err), RFHE_OK);
    const uint64_t twice[2] = {q[0], q[0]}, composite[1] = {(UINT64_C(1) << 40) + 1}, foreign[1] = {(UINT64_C(1) << 31) - 1};
    assert_int_equal(rfhe_ring_new(&ring, 3, q, 3, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "degree 2^3"));
    assert_int_equal(rfhe_ring_new(&ring, 18, q, 3, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_ring_new(&ring, 10, twice, 2, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_ring_new(&ring, 10, composite, 1, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_ring_new(&ring, 10, foreign, 1, NULL), RFHE_E_ARG);
    for (size_t i = 1; i < 20; i++) {
        rfhe_mem_fail_at(i);
        const rfhe_status st = rfhe_ring_new(&ring, 10, q, 3, NULL);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_NOMEM);
        assert_int_equal(rfhe_mem_get_stats().current, before);
    }
    const rfhe_basis a = rfhe_basis_range(0, 2), b = rfhe_basis_range(1, 2), c = rfhe_basis_range(2, 1), none = {0};
    rfhe_conversion *conversion = NULL;
    rfhe_division *division = NULL;
    const size_t with_ring = rfhe_mem_get_stats().current;
    assert_int_equal(rfhe_conversion_new(&conversion, ring, &a, &b, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_conversion_new(&conversion, ring, &none, &b, NULL), RFHE_E_ARG);
    for (size_t i = 1; i < 20; i++) {
        rfhe_mem_fail_at(i);
        const rfhe_status st = rfhe_division_new(&division, ring, &a, &c, NULL);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_NOMEM);
        assert_int_equal(rfhe_mem_get_stats().current, with_ring);
    }
    rfhe_division_free(division);
    rfhe_ring_free(ring);
    assert_int_equal(rfhe_mem_get_stats().current, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transform_round_trips_and_multiplies),
        cmocka_unit_test(automorphisms_form_a_group_and_commute_with_the_transform),
        cmocka_unit_test(conversion_equals_big_integers),
        cmocka_unit_test(division_rounds_to_nearest_in_both_domains),
        cmocka_unit_test(operations_pick_limbs_by_prime),
        cmocka_unit_test(monomials_shift_and_negate),
        cmocka_unit_test(numbers_survive_the_way_there_and_back),
        cmocka_unit_test(results_do_not_depend_on_threads_or_instructions),
        cmocka_unit_test(raising_keeps_the_centred_digit),
        cmocka_unit_test(wrong_requests_get_a_sentence_and_failed_allocations_leak_nothing),
    };

    rng = rfhe_rng_seed(test_seed(), 0);
    (void)rfhe_threads_set(1); /* one test sets teams of its own; small rings gain nothing from one */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
