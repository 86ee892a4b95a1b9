/* Word-sized prime moduli below 2^50, the constants that make reduction cheap, and the search for primes that allow
 * a negacyclic number-theoretic transform.
 *
 * Words. A residue is a uint64_t in [0, q), q < 2^50. The constants are those of radix 2^52, because that is the width
 * of the integer multiply-add of AVX-512 IFMA; two spare bits above the modulus let sums of four residues stay inside
 * one word. Nothing here is secret-dependent in time except where said. */
#ifndef RFHE_ARITH_MODULUS_H
#define RFHE_ARITH_MODULUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

__extension__ typedef unsigned __int128 rfhe_u128;
__extension__ typedef __int128 rfhe_i128;

#define RFHE_MASK52 ((UINT64_C(1) << 52) - 1)
enum { RFHE_MODULUS_MAX_BITS = 50 };

/* A constant factor prepared for multiplication modulo q (Shoup's trick in radix 2^52):
 *   w in [0, q)      wp = floor(w * 2^52 / q)
 * For any a in [0, 2^52): a*w - floor(a*wp / 2^52)*q lies in [0, 2q). */
typedef struct rfhe_shoup {
    uint64_t w, wp;
} rfhe_shoup;

/* An odd prime with everything the kernels need. A plain value; made by rfhe_modulus_init only. */
typedef struct rfhe_modulus {
    uint64_t q;       /* odd prime, 3 <= q < 2^50                              */
    uint32_t bits;    /* 2^(bits-1) < q < 2^bits                               */
    uint64_t mu;      /* floor(2^(bits+51) / q) < 2^52: quotient of products   */
    uint64_t q_inv;   /* 1/q mod 2^52 (Montgomery)                             */
    rfhe_shoup one;   /* 1: reduces any 52-bit word to [0, 2q)                 */
    rfhe_shoup r52;   /* 2^52 mod q                                            */
    uint64_t limit64; /* the largest multiple of q that is at most 2^64, minus 1: words <= limit64 are unbiased mod q */
    double inverse;   /* 1/q, rounded                                          */
} rfhe_modulus;

/* RFHE_E_ARG unless q is an odd prime below 2^50. */
RFHE_MUST_USE rfhe_status rfhe_modulus_init(rfhe_modulus *m, uint64_t q, rfhe_error *err);

/* x - q, or x where that would be negative; x < 2^63. By the sign of the difference: compilers may branch on what is
 * written as a choice, and keys and messages are residues. */
static inline uint64_t rfhe_mod_once(uint64_t x, uint64_t q)
{
    const uint64_t d = x - q;

    return d + (q & (UINT64_C(0) - (d >> 63)));
}

/* Scalars; operands in [0, q), results in [0, q). */
static inline uint64_t rfhe_mod_add(uint64_t a, uint64_t b, uint64_t q)
{
    return rfhe_mod_once(a + b, q);
}

static inline uint64_t rfhe_mod_sub(uint64_t a, uint64_t b, uint64_t q)
{
    return rfhe_mod_once(a + q - b, q);
}

static inline uint64_t rfhe_mod_neg(uint64_t a, uint64_t q)
{
    return rfhe_mod_once(q - a, q);
}

/* Divides, so its time depends on the numbers: for public ones. */
static inline uint64_t rfhe_mod_mul(uint64_t a, uint64_t b, uint64_t q)
{
    return (uint64_t)((rfhe_u128)a * b % q);
}

uint64_t rfhe_mod_pow(uint64_t a, uint64_t e, uint64_t q);
/* a in [1, q), q prime. */
uint64_t rfhe_mod_inverse(uint64_t a, uint64_t q);
/* The residue of a signed integer. */
static inline uint64_t rfhe_mod_from_i64(int64_t a, uint64_t q)
{
    const uint64_t u = a < 0 ? UINT64_C(0) - (uint64_t)a : (uint64_t)a;
    const uint64_t r = u % q;

    return a < 0 ? rfhe_mod_neg(r, q) : r;
}
/* The centred integer of a residue, in [-(q-1)/2, (q-1)/2]. Without a branch: decoding takes it of secrets. */
static inline int64_t rfhe_mod_centre(uint64_t a, uint64_t q)
{
    return (int64_t)(a - (q & (UINT64_C(0) - (uint64_t)(a > q / 2))));
}

/* w in [0, q), q < 2^52. */
static inline rfhe_shoup rfhe_shoup_make(uint64_t w, uint64_t q)
{
    return (rfhe_shoup){.w = w, .wp = (uint64_t)(((rfhe_u128)w << 52) / q)};
}

/* a in [0, 2^52); result congruent to a*w, in [0, 2q). */
static inline uint64_t rfhe_shoup_mul_lazy(uint64_t a, rfhe_shoup c, uint64_t q)
{
    const uint64_t est = (uint64_t)(((rfhe_u128)a * c.wp) >> 52);

    return a * c.w - est * q;
}

/* The same, fully reduced to [0, q). */
static inline uint64_t rfhe_shoup_mul(uint64_t a, rfhe_shoup c, uint64_t q)
{
    return rfhe_mod_once(rfhe_shoup_mul_lazy(a, c, q), q);
}

/* Deterministic for all 64-bit numbers (Miller-Rabin with the first twelve primes as bases). */
bool rfhe_is_prime(uint64_t n);

/* Fills out[0 .. count) with distinct primes q = 1 mod 2^(log2_n + 1), q < 2^50, none of them in taken[0 .. n_taken),
 * going outwards from 2^bits: the nearest first, so that a chain of them has products near powers of two.
 *   bits    12 .. 50; with 50 only primes below 2^50 are taken
 *   log2_n  1 .. 20
 * RFHE_E_UNSUPPORTED when there are fewer within a quarter of 2^bits; `out` is then undefined. */
RFHE_MUST_USE rfhe_status rfhe_primes_find(uint64_t *out, size_t count, uint32_t bits, uint32_t log2_n,
                                           const uint64_t *taken, size_t n_taken, rfhe_error *err);

/* The smallest primitive root of unity of order 2^log2_order modulo the prime q that is a power of the smallest
 * quadratic non-residue; 0 if 2^log2_order does not divide q - 1. The same for every build, so that transforms of
 * files written by one program fit another. */
uint64_t rfhe_root_of_unity(uint64_t q, uint32_t log2_order);

#endif
