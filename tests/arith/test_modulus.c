/* arith/modulus: constants, primality, the search for primes, roots of unity. */
#include "test.h"

#include "arith/modulus.h"

static void primality_is_decided_for_all_sizes(void **state)
{
    /* strong pseudoprimes to many small bases, Carmichael numbers, squares of primes */
    static const uint64_t composite[] = {0, 1, 4, 561, 1373653, 25326001, UINT64_C(3215031751), UINT64_C(2152302898747),
                                         UINT64_C(3474749660383), UINT64_C(341550071728321),
                                         UINT64_C(3825123056546413051), UINT64_C(1125899906842597) * 3,
                                         UINT64_C(4294967291) * UINT64_C(4294967291), UINT64_MAX};
    static const uint64_t prime[] = {2, 3, 37, 41, 65537, UINT64_C(4294967291), UINT64_C(1125899906842597),
                                     UINT64_C(18446744073709551557)};
    bool sieve[5000] = {false};

    (void)state;
    for (size_t i = 0; i < sizeof composite / sizeof *composite; i++) { assert_false(rfhe_is_prime(composite[i])); }
    for (size_t i = 0; i < sizeof prime / sizeof *prime; i++) { assert_true(rfhe_is_prime(prime[i])); }
    for (size_t i = 2; i < 5000; i++) {
        assert_int_equal(rfhe_is_prime(i), !sieve[i]);
        for (size_t k = 2 * i; k < 5000; k += i) { sieve[k] = true; }
    }
}

static void primes_go_outwards_are_distinct_and_fit_the_transform(void **state)
{
    rfhe_error err = {0};

    (void)state;
    for (uint32_t log2_n = 10; log2_n <= 17; log2_n++) {
        for (uint32_t bits = 30; bits <= 50; bits += 4) {
            uint64_t q[12];
            const uint64_t centre = UINT64_C(1) << bits;
            uint64_t reach = 0;
            assert_int_equal(rfhe_primes_find(q, 4, bits, log2_n, NULL, 0, &err), RFHE_OK);
            assert_int_equal(rfhe_primes_find(q + 4, 8, bits, log2_n, q, 4, &err), RFHE_OK);
            for (size_t i = 0; i < 12; i++) {
                const uint64_t away = q[i] > centre ? q[i] - centre : centre - q[i];
                assert_true(rfhe_is_prime(q[i]) && q[i] % (UINT64_C(2) << log2_n) == 1 && q[i] >> 50 == 0);
                assert_true(away + 2 >= reach); /* never nearer than the one before (1 mod 2n is off centre by 1) */
                reach = away;
                for (size_t k = 0; k < i; k++) { assert_true(q[i] != q[k]); }
            }
        }
    }
    uint64_t many[64];
    assert_int_equal(rfhe_primes_find(many, 64, 20, 17, NULL, 0, &err), RFHE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "near 2^20"));
    assert_int_equal(rfhe_primes_find(many, 1, 51, 12, NULL, 0, NULL), RFHE_E_ARG);
}

static void constants_are_what_they_claim(void **state)
{
    static const uint64_t moduli[] = {3, 5, 257, 65537, 1073741789, (UINT64_C(1) << 49) - 81, (UINT64_C(1) << 50) - 27};
    rfhe_modulus m;

    (void)state;
    for (size_t i = 0; i < sizeof moduli / sizeof *moduli; i++) {
        const uint64_t q = moduli[i];
        assert_int_equal(rfhe_modulus_init(&m, q, NULL), RFHE_OK);
        assert_true(q >> (m.bits - 1) == 1);
        assert_true(m.mu < UINT64_C(1) << 52 && m.mu == (uint64_t)(((rfhe_u128)1 << (m.bits + 51)) / q));
        assert_true((m.q_inv * q & RFHE_MASK52) == 1);
        assert_true(m.r52.w == (UINT64_C(1) << 52) % q);
        assert_true(((rfhe_u128)m.limit64 + 1) % q == 0 && UINT64_MAX - m.limit64 < q);
        for (uint64_t a = 1; a < q && a < 50; a++) {
            assert_true(rfhe_mod_mul(rfhe_mod_inverse(a, q), a, q) == 1);
            assert_true(rfhe_mod_from_i64(-(int64_t)a, q) == q - a % q || a % q == 0);
            assert_true(rfhe_mod_from_i64(rfhe_mod_centre(a, q), q) == a);
        }
    }
    assert_int_equal(rfhe_modulus_init(&m, 2, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_modulus_init(&m, 15, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_modulus_init(&m, (UINT64_C(1) << 50) + 55, NULL), RFHE_E_ARG);
}

static void roots_have_their_exact_order(void **state)
{
    uint64_t q;

    (void)state;
    for (uint32_t log2_n = 10; log2_n <= 17; log2_n++) {
        assert_int_equal(rfhe_primes_find(&q, 1, 45, log2_n, NULL, 0, NULL), RFHE_OK);
        const uint64_t psi = rfhe_root_of_unity(q, log2_n + 1);
        assert_true(rfhe_mod_pow(psi, UINT64_C(1) << log2_n, q) == q - 1);
    }
    assert_true(rfhe_root_of_unity(65537, 17) == 0);
    assert_true(rfhe_root_of_unity(65537, 0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(primality_is_decided_for_all_sizes),
        cmocka_unit_test(primes_go_outwards_are_distinct_and_fit_the_transform),
        cmocka_unit_test(constants_are_what_they_claim),
        cmocka_unit_test(roots_have_their_exact_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
