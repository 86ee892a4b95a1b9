/* Four residues in one register, as doubles: AVX2 has no 64-bit product, but a fused multiply-add gives both halves of a
 * 106-bit one. Integers up to 2^53 in size are exact, negative ones included, so ranges here are signed.
 *
 * Product of integers a, b modulo q [Dek71] (the quotient by a multiplication with the rounded 1/q):
 *   h = a*b rounded,  l = a*b - h exactly,  e = round(h * (1/q)),  r = (h - e*q) + l.
 * h - e*q is a multiple of the unit of h, is below 2^53 units of one and therefore exact; r is exact as well. The quotient
 * before rounding is off by at most |a*b/q| * 3 * 2^-53, so |r| <= q * (1/2 + |a*b/q| * 3 * 2^-53). */
#ifndef RFHE_ARITH_AVX2_VEC_H
#define RFHE_ARITH_AVX2_VEC_H

#include "arith/kernels.h"

#include <immintrin.h>

#define RFHE_INLINE static inline __attribute__((always_inline))

typedef struct vec_modulus {
    __m256d q, inverse;
} vec_modulus;

RFHE_INLINE vec_modulus vec_modulus_of(const rfhe_modulus *m)
{
    return (vec_modulus){_mm256_set1_pd((double)m->q), _mm256_set1_pd(m->inverse)};
}

/* Words below 2^52 to doubles: put them into the mantissa of 2^52, then take 2^52 away. */
RFHE_INLINE __m256d vec_to_double(__m256i x)
{
    const __m256d big = _mm256_set1_pd(0x1p52);

    return _mm256_sub_pd(_mm256_or_pd(_mm256_castsi256_pd(x), big), big);
}

/* The reverse, for integers in [0, 2^52). */
RFHE_INLINE __m256i vec_to_word(__m256d x)
{
    const __m256d big = _mm256_set1_pd(0x1p52);

    return _mm256_castpd_si256(_mm256_xor_pd(_mm256_add_pd(x, big), big));
}

RFHE_INLINE __m256d vec_load(const uint64_t *p)
{
    return vec_to_double(_mm256_loadu_si256((const void *)p));
}

RFHE_INLINE void vec_store(uint64_t *p, __m256d x)
{
    _mm256_storeu_si256((void *)p, vec_to_word(x));
}

RFHE_INLINE __m256d vec_round(__m256d x)
{
    return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

RFHE_INLINE __m256d vec_product(__m256d a, __m256d b, const vec_modulus *m)
{
    const __m256d h = _mm256_mul_pd(a, b), l = _mm256_fmsub_pd(a, b, h);
    const __m256d e = vec_round(_mm256_mul_pd(h, m->inverse));

    return _mm256_add_pd(_mm256_fnmadd_pd(e, m->q, h), l);
}

/* |x| < 2^53 to about [-q/2, q/2]: off by at most |x/q| * 2^-52 * q beyond. */
RFHE_INLINE __m256d vec_reduce(__m256d x, const vec_modulus *m)
{
    return _mm256_fnmadd_pd(vec_round(_mm256_mul_pd(x, m->inverse)), m->q, x);
}

/* (-q, q) to [0, q). */
RFHE_INLINE __m256d vec_positive(__m256d x, const vec_modulus *m)
{
    return _mm256_add_pd(x, _mm256_and_pd(_mm256_cmp_pd(x, _mm256_setzero_pd(), _CMP_LT_OQ), m->q));
}

#endif
