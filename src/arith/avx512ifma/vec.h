/* Eight residues in one register: the few operations all AVX-512 kernels are made of.
 *
 * "Mod 2^52" values carry rubbish above bit 51. That is harmless as a factor, because the 52-bit multiply-add reads only
 * the low 52 bits of its factors, and as a summand, because sums are taken mod 2^64. It must be masked away before a
 * comparison (minimum) or a store that leaves the kernel. */
#ifndef RFHE_ARITH_AVX512IFMA_VEC_H
#define RFHE_ARITH_AVX512IFMA_VEC_H

#include "arith/kernels.h"

#include <immintrin.h>

/* Without optimisation some intrinsics are macros of the compiler's header, which convert masks with a change of sign. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__OPTIMIZE__)
#pragma GCC diagnostic ignored "-Wsign-conversion"
#endif

#define RFHE_INLINE static inline __attribute__((always_inline))

/* Loops over registers must be unrolled for the registers to exist. (Under sanitizers speed does not matter, gcc
 * complains about annotations of loops that it has taken apart, and clang takes minutes.) */
#if defined(RFHE_SANITIZED)
#define RFHE_UNROLL
#elif defined(__clang__)
#define RFHE_UNROLL _Pragma("unroll")
#else
#define RFHE_UNROLL _Pragma("GCC unroll 16")
#endif

RFHE_INLINE __m512i vec_set(uint64_t x)
{
    return _mm512_set1_epi64((long long)x);
}

RFHE_INLINE __m512i vec_load(const uint64_t *p)
{
    return _mm512_loadu_si512((const void *)p);
}

RFHE_INLINE void vec_store(uint64_t *p, __m512i x)
{
    _mm512_storeu_si512((void *)p, x);
}

/* acc + low 52 bits of a*b, acc + high 52 bits of a*b (factors taken mod 2^52). */
RFHE_INLINE __m512i vec_lo(__m512i acc, __m512i a, __m512i b)
{
    return _mm512_madd52lo_epu64(acc, a, b);
}

RFHE_INLINE __m512i vec_hi(__m512i acc, __m512i a, __m512i b)
{
    return _mm512_madd52hi_epu64(acc, a, b);
}

RFHE_INLINE __m512i vec_mask52(__m512i x)
{
    return _mm512_and_si512(x, vec_set(RFHE_MASK52));
}

/* x in [0, 2*b) becomes x mod b; in general min(x, x - b) unsigned. */
RFHE_INLINE __m512i vec_once(__m512i x, __m512i b)
{
    return _mm512_min_epu64(x, _mm512_sub_epi64(x, b));
}

/* The lanes of a tail: the first n of eight. */
RFHE_INLINE __mmask8 vec_tail(size_t n)
{
    return (__mmask8)((1U << n) - 1U);
}

/* A modulus spread over the lanes. */
typedef struct vec_modulus {
    __m512i q, neg, two_q; /* q, 2^52 - q, 2q */
    __m512i one_wp;        /* floor(2^52/q)   */
} vec_modulus;

RFHE_INLINE vec_modulus vec_modulus_of(const rfhe_modulus *m)
{
    return (vec_modulus){
        .q = vec_set(m->q),
        .neg = vec_set((UINT64_C(1) << 52) - m->q),
        .two_q = vec_set(2 * m->q),
        .one_wp = vec_set(m->one.wp),
    };
}

/* acc + (a*w mod q, lazily in [0, 2q)), mod 2^52. */
RFHE_INLINE __m512i vec_shoup_lazy(__m512i acc, __m512i a, __m512i w, __m512i wp, const vec_modulus *m)
{
    const __m512i est = vec_hi(_mm512_setzero_si512(), a, wp);

    return vec_lo(vec_lo(acc, a, w), est, m->neg);
}

/* Any x mod 2^52 to [0, 2q), mod 2^52. */
RFHE_INLINE __m512i vec_reduce_lazy(__m512i x, const vec_modulus *m)
{
    return vec_lo(x, vec_hi(_mm512_setzero_si512(), x, m->one_wp), m->neg);
}

/* [0, 2q) mod 2^52 to [0, q), clean. */
RFHE_INLINE __m512i vec_finish(__m512i x, const vec_modulus *m)
{
    return vec_once(vec_mask52(x), m->q);
}

/* a*w mod q in [0, q), clean. */
RFHE_INLINE __m512i vec_shoup(__m512i a, __m512i w, __m512i wp, const vec_modulus *m)
{
    return vec_finish(vec_shoup_lazy(_mm512_setzero_si512(), a, w, wp, m), m);
}

#endif
