/* Polynomials modulo X^n + 1 over products of word-sized primes (residue number system).
 *
 * Words used here:
 *   ring        n = 2^log2_n, a numbered list of primes, their transform tables. Made once, read-only, shared by threads.
 *   basis       a list of distinct prime numbers (indices into the ring's list): a plain value. The Q part, the P part,
 *               a digit, a level are all just bases.
 *   limb        the n residues of a polynomial modulo one prime, contiguous, 64-byte aligned.
 *   polynomial  a basis and a pointer per limb: a *view* that may pick limbs of other polynomials (a key at a lower
 *               level is a view); rfhe_poly_new makes one that also owns its memory.
 *   domain      coefficients (is_ntt = false) or values in the order of the forward transform (is_ntt = true).
 *
 * Every operation works on memory given by the caller and allocates nothing; makers (_new) are the exception. Residues
 * are fully reduced between operations. Preconditions (domains equal, bases included) are the caller's duty and are
 * checked by assertions in debug builds; operations return nothing because nothing can fail at run time.
 *
 * Parallelism: OpenMP over limbs, or over limbs times coefficient blocks. Results are the same bits for any team. Called
 * from inside a parallel region, an operation runs in the calling thread. */
#ifndef RFHE_RING_RING_H
#define RFHE_RING_RING_H

#include "arith/kernels.h"

enum { RFHE_RING_MAX_PRIMES = 80, RFHE_RING_MIN_LOG2_N = 4, RFHE_RING_MAX_LOG2_N = 17 };

typedef struct rfhe_basis {
    uint32_t count;
    uint8_t prime[RFHE_RING_MAX_PRIMES];
} rfhe_basis;

/* first, first + 1, ..., count of them. */
rfhe_basis rfhe_basis_range(uint32_t first, uint32_t count);
/* The primes of a, then those of b (which must not meet). */
rfhe_basis rfhe_basis_join(const rfhe_basis *a, const rfhe_basis *b);
/* The primes of a that are not in b, in the order of a. */
rfhe_basis rfhe_basis_without(const rfhe_basis *a, const rfhe_basis *b);
/* Position of a prime in the basis, or -1. */
int rfhe_basis_find(const rfhe_basis *b, uint32_t prime);
bool rfhe_basis_equal(const rfhe_basis *a, const rfhe_basis *b);
/* Whether every prime of `part` is in `whole`. */
bool rfhe_basis_includes(const rfhe_basis *whole, const rfhe_basis *part);

typedef struct rfhe_ring {
    uint32_t log2_n;
    size_t n;
    uint32_t n_primes;
    rfhe_modulus *mod;   /* n_primes */
    rfhe_ntt_table *ntt; /* n_primes */
    uint32_t *rev;       /* n/8 bit reversals, for automorphisms */
    uint64_t *tables;    /* the words of the transform tables: 16*n bytes per prime */
} rfhe_ring;

/* primes: distinct, each an odd prime below 2^50, 1 mod 2n. log2_n 4 .. 17 (security needs 10 or more; the smaller ones
 * are for tests). RFHE_E_ARG with a sentence otherwise. */
RFHE_MUST_USE rfhe_status rfhe_ring_new(rfhe_ring **out, uint32_t log2_n, const uint64_t *primes, uint32_t n_primes,
                                        rfhe_error *err);
void rfhe_ring_free(rfhe_ring *ring);
/* Bytes held by the ring's tables. */
size_t rfhe_ring_bytes(const rfhe_ring *ring);
/* log2 of the product of a basis. */
double rfhe_ring_log2(const rfhe_ring *ring, const rfhe_basis *b);

typedef struct rfhe_poly {
    rfhe_basis basis;
    bool is_ntt;
    uint64_t *limb[RFHE_RING_MAX_PRIMES]; /* limb[l] is modulo ring->mod[basis.prime[l]] */
    uint64_t *owned;                      /* what rfhe_poly_clear frees; NULL for views  */
} rfhe_poly;

/* A polynomial with memory of its own, contents undefined. *p needs no prior state; on failure it is empty. */
RFHE_MUST_USE rfhe_status rfhe_poly_new(rfhe_poly *p, const rfhe_ring *ring, const rfhe_basis *basis, bool is_ntt);
/* Frees what the polynomial owns (nothing for a view) and empties it. An all-zero polynomial is empty. */
void rfhe_poly_clear(rfhe_poly *p);
/* The same for secrets: wiped first. */
void rfhe_poly_clear_secret(rfhe_poly *p);
/* A view on basis->count * n words of the caller's memory, limb after limb. */
rfhe_poly rfhe_poly_at(const rfhe_ring *ring, const rfhe_basis *basis, bool is_ntt, uint64_t *memory);
/* A view on some limbs of p; `part` must be included in p's basis, its order is kept. */
rfhe_poly rfhe_poly_part(const rfhe_poly *p, const rfhe_basis *part);
/* A view on the first `count` limbs of p. */
rfhe_poly rfhe_poly_head(const rfhe_poly *p, uint32_t count);

/* In all that follows the basis of the result r says which limbs are computed; operands may have more limbs (they are
 * found by prime), and must be in the domain of r unless said otherwise; r may be the same polynomial as an operand. */

void rfhe_poly_zero(const rfhe_ring *ring, rfhe_poly *r);
/* Takes over the domain of a. */
void rfhe_poly_copy(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a);
bool rfhe_poly_equal(const rfhe_ring *ring, const rfhe_poly *a, const rfhe_poly *b);

/* To values, to coefficients, in place; nothing happens if already there. */
void rfhe_poly_to_ntt(const rfhe_ring *ring, rfhe_poly *r);
void rfhe_poly_to_coef(const rfhe_ring *ring, rfhe_poly *r);
/* Several polynomials in one parallel region. */
void rfhe_polys_to_ntt(const rfhe_ring *ring, rfhe_poly *const *r, size_t count);
void rfhe_polys_to_coef(const rfhe_ring *ring, rfhe_poly *const *r, size_t count);

void rfhe_poly_add(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b);
void rfhe_poly_sub(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b);
void rfhe_poly_neg(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a);
/* Values only: the product in the ring; r += a*b. */
void rfhe_poly_mul(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b);
void rfhe_poly_mul_add(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const rfhe_poly *b);
/* Values only: r0 (+)= sum_j d[j]*k0[j], r1 (+)= sum_j d[j]*k1[j]; r1 and k1 may be NULL together. r0, r1 must not be
 * operands. Each operand limb is read once. */
void rfhe_poly_inner(const rfhe_ring *ring, rfhe_poly *r0, rfhe_poly *r1, const rfhe_poly *const *d,
                     const rfhe_poly *const *k0, const rfhe_poly *const *k1, size_t count, bool accumulate);
enum { RFHE_RING_INNER_MAX = 256 }; /* largest count of rfhe_poly_inner */

/* One residue per limb of r: c[l] belongs to r->basis.prime[l]. Both domains. */
void rfhe_poly_mul_scalar(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const uint64_t *c);
void rfhe_poly_mul_add_scalar(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const uint64_t *c);
void rfhe_poly_mul_i64(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, int64_t c);
/* r = a + c, the constant polynomial c given by a residue per limb. Both domains. */
void rfhe_poly_add_scalar(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, const uint64_t *c);
/* r = a * X^k, k in [0, 2n). Coefficients: r must not be a. Values: r may be a; k a multiple of n/2 only. */
void rfhe_poly_mul_monomial(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, uint32_t k);
/* The values of the monomial X^k, k in [0, 2n), all limbs of r; r becomes values. */
void rfhe_poly_set_monomial(const rfhe_ring *ring, rfhe_poly *r, uint32_t k);

/* X -> X^g, g odd in [1, 2n); r must not be a. Both domains. */
void rfhe_poly_automorphism(const rfhe_ring *ring, rfhe_poly *r, const rfhe_poly *a, uint32_t g);

/* n signed integers, or n doubles rounded to the nearest integer (|x| < 2^103), become coefficients. */
void rfhe_poly_from_i64(const rfhe_ring *ring, rfhe_poly *r, const int64_t *x);
void rfhe_poly_from_f64(const rfhe_ring *ring, rfhe_poly *r, const double *x);
/* The n centred coefficients times `factor`, as doubles: exact integers rounded once (before the factor). */
void rfhe_poly_to_f64(const rfhe_ring *ring, double *x, const rfhe_poly *a, double factor);

/* Exact base conversion of centred representatives: integers in [-A/2, A/2), A the product of `from`, are given by
 * residues modulo `from` and become residues modulo `to`. See kernels.h (convert_scale) for what "exact" leaves out. */
typedef struct rfhe_conversion rfhe_conversion;
/* from: 1 .. RFHE_CONVERT_MAX primes; `from` and `to` must not meet. */
RFHE_MUST_USE rfhe_status rfhe_conversion_new(rfhe_conversion **out, const rfhe_ring *ring, const rfhe_basis *from,
                                              const rfhe_basis *to, rfhe_error *err);
void rfhe_conversion_free(rfhe_conversion *c);
const rfhe_basis *rfhe_conversion_from(const rfhe_conversion *c);
const rfhe_basis *rfhe_conversion_to(const rfhe_conversion *c);
/* Coefficients to coefficients: the limbs `to` of r from the limbs `from` of a. r's domain is left alone. */
void rfhe_conversion_run(const rfhe_ring *ring, const rfhe_conversion *c, rfhe_poly *r, const rfhe_poly *a);
/* ModUp of one digit: r over any part of from + to, as values. Its `from` limbs are copied from a_ntt (values), the
 * others are converted from a_coef (coefficients of the same polynomial) and transformed. */
void rfhe_conversion_raise(const rfhe_ring *ring, const rfhe_conversion *c, rfhe_poly *r, const rfhe_poly *a_ntt,
                           const rfhe_poly *a_coef);

/* Division by a product D of dropped primes with rounding to the nearest integer: ModDown (D = P), rescale (D = the
 * last prime), or both merged (D = P times the last prime).
 *   r = round(a / D) modulo `keep`, a over keep + drop */
typedef struct rfhe_division rfhe_division;
RFHE_MUST_USE rfhe_status rfhe_division_new(rfhe_division **out, const rfhe_ring *ring, const rfhe_basis *keep,
                                            const rfhe_basis *drop, rfhe_error *err);
void rfhe_division_free(rfhe_division *d);
/* Words of workspace one polynomial needs. */
size_t rfhe_division_workspace(const rfhe_ring *ring, const rfhe_division *d);
/* r over any part of keep, r may be a (its kept limbs), in the domain of a: both domains work, values cost |drop| inverse
 * and |r| forward transforms. `count` polynomials (1 or more) at once; work holds count times the workspace. */
void rfhe_division_run(const rfhe_ring *ring, const rfhe_division *d, rfhe_poly *const *r, const rfhe_poly *const *a,
                       size_t count, uint64_t *work);

#endif
