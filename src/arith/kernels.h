/* The contract of every kernel, and the one list of them that dispatch, tests and benchmarks expand.
 *
 * Rules for all kernels, unless a contract says otherwise:
 *   - residues are uint64_t in [0, q) on entry and on exit; q is that of the modulus given (below 2^50);
 *   - n >= 0 is any length; nothing is read or written past it; pointers need no alignment beyond that of the word
 *     (64 bytes is fastest);
 *   - r == a (and r == b) is allowed, any other overlap is not;
 *   - every implementation gives the same bits. Results are fully reduced, so agreement is natural; where doubles are
 *     used (convert_scale, from_f64) the order of operations is part of the contract;
 *   - no branch and no address depends on residues (the rejection in sample_uniform depends on public bytes).
 *
 * portable/ is the specification. avx2/ and avx512ifma/ hold files of the same names; what an instruction set does not
 * improve is taken from the level below it (see the lists at the end). */
#ifndef RFHE_ARITH_KERNELS_H
#define RFHE_ARITH_KERNELS_H

#include "arith/modulus.h"
#include "base/cpu.h"

/* Tables of one negacyclic transform of length n = 2^log2_n modulo m.q. psi is a primitive 2n-th root of unity:
 *   w[k] = psi^rev(k), k in [1, n), rev = reversal of log2_n bits; wp[k] its Shoup quotient. w[0] is unused (1).
 * The inverse transform uses the same table: 1/w[m+i] = -w[m + (m-1-i)] for m a power of two, 0 <= i < m. */
typedef struct rfhe_ntt_table {
    rfhe_modulus m;
    uint32_t log2_n;
    const uint64_t *w, *wp;   /* n words each, 64-byte aligned */
    rfhe_shoup n_inv;         /* 1/n            */
    rfhe_shoup n_inv_w;       /* -w[1]/n: last level of the inverse */
} rfhe_ntt_table;

/* Forward: x[j], coefficients of a polynomial, become its values at psi^(2*rev(i)+1), i = 0 .. n-1, in place.
 *   in [0, 4q)      out [0, q)      log2_n in 4 .. 17      x 64-byte aligned */
typedef void rfhe_ntt_forward_fn(uint64_t *x, const rfhe_ntt_table *t);
/* Inverse of the above.      in [0, 2q)      out [0, q) */
typedef void rfhe_ntt_inverse_fn(uint64_t *x, const rfhe_ntt_table *t);

/* r = a + b, r = a - b, r = -a (mod q). */
typedef void rfhe_add_fn(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m);
typedef void rfhe_sub_fn(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m);
typedef void rfhe_neg_fn(uint64_t *r, const uint64_t *a, size_t n, const rfhe_modulus *m);
/* r = a * b, r += a * b. */
typedef void rfhe_mul_fn(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m);
typedef void rfhe_mul_add_fn(uint64_t *r, const uint64_t *a, const uint64_t *b, size_t n, const rfhe_modulus *m);
/* r = a * c, r += a * c with one constant.      a in [0, 2^52) */
typedef void rfhe_mul_const_fn(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m);
typedef void rfhe_mul_add_const_fn(uint64_t *r, const uint64_t *a, rfhe_shoup c, size_t n, const rfhe_modulus *m);
/* r = a + c with one constant c in [0, q). */
typedef void rfhe_add_const_fn(uint64_t *r, const uint64_t *a, uint64_t c, size_t n, const rfhe_modulus *m);
/* r = a * w, r += a * w with a constant per coefficient and its Shoup quotients wp.      a in [0, 2^52) */
typedef void rfhe_mul_shoup_fn(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                               const rfhe_modulus *m);
typedef void rfhe_mul_add_shoup_fn(uint64_t *r, const uint64_t *a, const uint64_t *w, const uint64_t *wp, size_t n,
                                   const rfhe_modulus *m);
/* r = (a - b) * c: the last step of a division by a dropped modulus. */
typedef void rfhe_sub_scale_fn(uint64_t *r, const uint64_t *a, const uint64_t *b, rfhe_shoup c, size_t n,
                               const rfhe_modulus *m);

/* r0 (+)= sum_j d[j] * k0[j],  r1 (+)= sum_j d[j] * k1[j]  over j < count: key switching (d digits, k halves of a key)
 * and sums of plaintext products (d plaintexts, k halves of ciphertexts). Each input is read once.
 *   count >= 0, any        accumulate   adds to r0, r1 instead of overwriting        r0, r1 overlap no input
 *   r1 and k1 may both be NULL: only the first sum. */
typedef void rfhe_inner_fn(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                           const uint64_t *const *k1, size_t count, size_t n, bool accumulate,
                           const rfhe_modulus *m);

/* The same sums, overwriting, where each word of d stands for a run of 2^log2_run neighbours: coefficient i takes
 * d[j][i >> log2_run]. The values of a polynomial in X^(2^g) come in such runs (2^g long).
 *   log2_run >= 3      n a multiple of 8      r1, k1 not NULL */
typedef void rfhe_inner_runs_fn(uint64_t *r0, uint64_t *r1, const uint64_t *const *d, const uint64_t *const *k0,
                                const uint64_t *const *k1, size_t count, size_t n, uint32_t log2_run,
                                const rfhe_modulus *m);

/* Base conversion [BEHZ16, HPS19], first half. For inputs x[j] modulo m[j] (j < count <= RFHE_CONVERT_MAX), A = prod m[j].q:
 *   y[j*n + i] = x[j][i] * c[j] mod m[j].q          (c[j] = 1/(A/q_j) mod q_j)
 *   v[i]       = floor(1/2 + sum_j y_j * (1/q_j)),  in doubles: products rounded, then added in the order of j, then
 *                the half added, then rounded down. 0 <= v <= count.
 * x = sum_j y_j * A/q_j - v*A then is the centred representative in [-A/2, A/2): exact except that a value within
 * about count * 2^-52 * A of the border +-A/2 may come out as the other border's neighbour (off by A). */
typedef void rfhe_convert_scale_fn(uint64_t *y, uint64_t *v, const uint64_t *const *x, const rfhe_shoup *c,
                                   const rfhe_modulus *const *m, size_t count, size_t n);
/* Second half, for one target modulus p = m.q:
 *   r[i] = sum_j y[j*n + i] * h[j] - v[i] * A  mod p, where h[j] = (A/q_j) * 2^52 mod p and neg = (-A) * 2^52 mod p are
 * given in Montgomery form; y words below 2^50, v <= count <= RFHE_CONVERT_MAX. */
typedef void rfhe_convert_out_fn(uint64_t *r, const uint64_t *y, const uint64_t *v, const uint64_t *h, uint64_t neg,
                                 size_t count, size_t n, const rfhe_modulus *m);
enum { RFHE_CONVERT_MAX = 48 };

/* X -> X^g on values in the order of ntt_forward: r[i] = a[source(i)].      r != a, g odd in [1, 2n), log2_n >= 4
 *   rev[k], k < n/8: reversal of log2_n - 3 bits. */
typedef void rfhe_automorphism_ntt_fn(uint64_t *r, const uint64_t *a, uint32_t log2_n, uint32_t g,
                                      const uint32_t *rev);
/* X -> X^g on coefficients: coefficient j moves to j*g mod 2n, negated when that is n or more.      r != a */
typedef void rfhe_automorphism_coef_fn(uint64_t *r, const uint64_t *a, uint32_t log2_n, uint32_t g,
                                       const rfhe_modulus *m);

/* r = x mod q for any signed integer. */
typedef void rfhe_from_i64_fn(uint64_t *r, const int64_t *x, size_t n, const rfhe_modulus *m);
/* r = round(x) mod q, ties to even, exactly.      |x| < 2^103, not NaN */
typedef void rfhe_from_f64_fn(uint64_t *r, const double *x, size_t n, const rfhe_modulus *m);

/* Uniform residues from a stream of little-endian 8-byte words: a word above m.limit64 is skipped (chance below
 * 2^-14), any other gives word mod q, exactly uniform if the words are. Stops when n residues are made or the words
 * run out; returns the residues made; *used receives the words consumed. */
typedef size_t rfhe_sample_uniform_fn(uint64_t *r, size_t n, const uint8_t *bytes, size_t n_words, size_t *used,
                                      const rfhe_modulus *m);
/* -1, 0, 1 with chance 1/3 each, up to 2^-62: floor(3 * word / 2^64) - 1.      8 bytes per value, constant time */
typedef void rfhe_sample_ternary_fn(int64_t *r, size_t n, const uint8_t *bytes);
/* Centred binomial with 21 pairs of bits: variance 10.5, sigma 3.24, |r| <= 21. The low 21 bits of each 8-byte word
 * count up, the next 21 count down.      8 bytes per value, constant time */
typedef void rfhe_sample_noise_fn(int64_t *r, size_t n, const uint8_t *bytes);

/* For benchmarks only: runs `count` instructions of the kind that this set's products (multiply-adds) or sums are made of,
 * on registers, independent enough to reach the machine's rate; each works on as many words as the set's registers hold.
 * Returns the number of words per instruction. *sink receives a value, so that the work is not dropped. */
typedef unsigned rfhe_probe_multiply_fn(uint64_t *sink, size_t count);
typedef unsigned rfhe_probe_add_fn(uint64_t *sink, size_t count);

/* Every kernel, once. */
#define RFHE_KERNEL_LIST(X)                                                                         \
    X(ntt_forward) X(ntt_inverse) X(add) X(sub) X(neg) X(mul) X(mul_add) X(mul_const)               \
    X(mul_add_const) X(add_const) X(mul_shoup) X(mul_add_shoup) X(sub_scale) X(inner) X(inner_runs) \
    X(convert_scale) X(convert_out) X(automorphism_ntt) X(automorphism_coef) X(from_i64)            \
    X(from_f64) X(sample_uniform) X(sample_ternary) X(sample_noise) X(probe_multiply) X(probe_add)

/* Those with a body of their own per instruction set; the rest fall through to the set below. */
#define RFHE_KERNEL_LIST_portable(X) RFHE_KERNEL_LIST(X)
#define RFHE_KERNEL_LIST_avx2(X)                                                                    \
    X(ntt_forward) X(ntt_inverse) X(add) X(sub) X(neg) X(mul) X(mul_add) X(mul_const)               \
    X(mul_add_const) X(add_const) X(mul_shoup) X(mul_add_shoup) X(sub_scale) X(inner) X(inner_runs) \
    X(convert_scale) X(convert_out) X(probe_multiply) X(probe_add)
#define RFHE_KERNEL_LIST_avx512ifma(X)                                                              \
    X(ntt_forward) X(ntt_inverse) X(add) X(sub) X(neg) X(mul) X(mul_add) X(mul_const)               \
    X(mul_add_const) X(add_const) X(mul_shoup) X(mul_add_shoup) X(sub_scale) X(inner) X(inner_runs) \
    X(convert_scale) X(convert_out) X(automorphism_ntt) X(automorphism_coef) X(from_i64)            \
    X(from_f64) X(sample_uniform) X(sample_ternary) X(sample_noise) X(probe_multiply) X(probe_add)

#define RFHE_DECLARE(name) rfhe_##name##_fn rfhe_##name##_portable;
RFHE_KERNEL_LIST_portable(RFHE_DECLARE)
#undef RFHE_DECLARE
#define RFHE_DECLARE(name) rfhe_##name##_fn rfhe_##name##_avx2;
RFHE_KERNEL_LIST_avx2(RFHE_DECLARE)
#undef RFHE_DECLARE
#define RFHE_DECLARE(name) rfhe_##name##_fn rfhe_##name##_avx512ifma;
RFHE_KERNEL_LIST_avx512ifma(RFHE_DECLARE)
#undef RFHE_DECLARE

typedef struct rfhe_kernels {
    rfhe_isa isa;
#define RFHE_FIELD(name) rfhe_##name##_fn *name;
    RFHE_KERNEL_LIST(RFHE_FIELD)
#undef RFHE_FIELD
} rfhe_kernels;

/* The kernels of the instruction set in force (rfhe_cpu_isa(), looked at on each call: a test may lower it). */
const rfhe_kernels *rfhe_kernels_get(void);
/* Those of one set; NULL when the CPU lacks it. */
const rfhe_kernels *rfhe_kernels_of(rfhe_isa isa);

/* Fills t->w and t->wp (n words each) and the constants; q = 1 mod 2n. `m` is copied. */
RFHE_MUST_USE rfhe_status rfhe_ntt_table_init(rfhe_ntt_table *t, uint64_t *w, uint64_t *wp, uint32_t log2_n,
                                              const rfhe_modulus *m, rfhe_error *err);

/* Reversal of the low `bits` bits of x; the others must be zero. bits may be 0. */
static inline uint32_t rfhe_reverse_bits(uint32_t x, uint32_t bits)
{
    x = (x & 0x55555555U) << 1 | (x >> 1 & 0x55555555U);
    x = (x & 0x33333333U) << 2 | (x >> 2 & 0x33333333U);
    x = (x & 0x0f0f0f0fU) << 4 | (x >> 4 & 0x0f0f0f0fU);
    x = __builtin_bswap32(x);
    return bits == 0 ? 0 : x >> (32 - bits);
}

#endif
