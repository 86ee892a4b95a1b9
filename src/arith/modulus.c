/* See modulus.h: constants, primality, primes for the transform, roots of unity. */
#include "arith/modulus.h"

#include <inttypes.h>

uint64_t rfhe_mod_pow(uint64_t a, uint64_t e, uint64_t q)
{
    uint64_t r = 1 % q;

    for (a %= q; e != 0; e >>= 1) {
        if (e & 1) { r = rfhe_mod_mul(r, a, q); }
        a = rfhe_mod_mul(a, a, q);
    }
    return r;
}

uint64_t rfhe_mod_inverse(uint64_t a, uint64_t q)
{
    return rfhe_mod_pow(a, q - 2, q);
}

/* Does base `a` prove that n = d * 2^s + 1 is composite? */
static bool is_witness(uint64_t a, uint64_t n, uint64_t d, uint32_t s)
{
    uint64_t x = rfhe_mod_pow(a, d, n);

    if (x == 1 || x == n - 1) { return false; }
    for (uint32_t i = 1; i < s; i++) {
        x = rfhe_mod_mul(x, x, n);
        if (x == n - 1) { return false; }
    }
    return true;
}

bool rfhe_is_prime(uint64_t n)
{
    /* These bases decide every n below 3.1 * 10^23 [SW15]. */
    static const uint64_t bases[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
    const size_t count = sizeof bases / sizeof *bases;

    if (n < 2) { return false; }
    for (size_t i = 0; i < count; i++) {
        if (n % bases[i] == 0) { return n == bases[i]; }
    }
    const uint32_t s = (uint32_t)__builtin_ctzll(n - 1);
    for (size_t i = 0; i < count; i++) {
        if (is_witness(bases[i], n, (n - 1) >> s, s)) { return false; }
    }
    return true;
}

rfhe_status rfhe_modulus_init(rfhe_modulus *m, uint64_t q, rfhe_error *err)
{
    if (q < 3 || q >> RFHE_MODULUS_MAX_BITS != 0 || !rfhe_is_prime(q)) {
        return rfhe_fail(err, RFHE_E_ARG, "modulus %" PRIu64 " is not an odd prime below 2^%d", q,
                         RFHE_MODULUS_MAX_BITS);
    }
    uint64_t inv = q; /* q * q = 1 mod 8; each Newton step doubles the number of correct bits */
    for (int i = 0; i < 5; i++) { inv *= 2 - q * inv; }
    const uint32_t bits = 64 - (uint32_t)__builtin_clzll(q);
    const uint64_t rest = (uint64_t)(((rfhe_u128)1 << 64) % q);
    *m = (rfhe_modulus){
        .q = q,
        .bits = bits,
        .mu = (uint64_t)(((rfhe_u128)1 << (bits + 51)) / q),
        .q_inv = inv & RFHE_MASK52,
        .one = rfhe_shoup_make(1, q),
        .r52 = rfhe_shoup_make((UINT64_C(1) << 52) % q, q),
        .limit64 = UINT64_MAX - rest,
        .inverse = 1.0 / (double)q,
    };
    return RFHE_OK;
}

static bool is_in(uint64_t q, const uint64_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == q) { return true; }
    }
    return false;
}

rfhe_status rfhe_primes_find(uint64_t *out, size_t count, uint32_t bits, uint32_t log2_n,
                             const uint64_t *taken, size_t n_taken, rfhe_error *err)
{
    size_t found = 0;

    if (bits < 12 || bits > RFHE_MODULUS_MAX_BITS || log2_n < 1 || log2_n > 20) {
        return rfhe_fail(err, RFHE_E_ARG, "no primes of %u bits for ring degree 2^%u", bits, log2_n);
    }
    const uint64_t centre = UINT64_C(1) << bits, step = UINT64_C(2) << log2_n;
    const uint64_t cap = UINT64_C(1) << RFHE_MODULUS_MAX_BITS;
    /* step divides centre or is larger than it; candidates are 1 mod step on both sides of centre. */
    const uint64_t middle = centre / step * step + 1;
    for (uint64_t k = 0; found < count && k * step <= centre / 4; k++) {
        const uint64_t candidate[2] = {middle + k * step, middle - k * step};
        for (int side = 0; side < (k == 0 ? 1 : 2) && found < count; side++) {
            const uint64_t q = candidate[side];
            if (q > 2 && q < cap && !is_in(q, taken, n_taken) && rfhe_is_prime(q)) {
                out[found++] = q;
            }
        }
    }
    if (found < count) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "there are only %zu of %zu primes near 2^%u for ring degree 2^%u", found, count,
                         bits, log2_n);
    }
    return RFHE_OK;
}

uint64_t rfhe_root_of_unity(uint64_t q, uint32_t log2_order)
{
    if (log2_order >= 64 || (q - 1) % (UINT64_C(1) << log2_order) != 0) { return 0; }
    if (log2_order == 0) { return 1; }
    uint64_t g = 2;
    while (rfhe_mod_pow(g, (q - 1) / 2, q) != q - 1) { g++; }
    return rfhe_mod_pow(g, (q - 1) >> log2_order, q);
}
