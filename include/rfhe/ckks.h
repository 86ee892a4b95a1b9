/* CKKS: approximate arithmetic on encrypted vectors of complex or real numbers.
 *
 * The words used below
 *   N          ring degree, 2^log2_n; a plaintext is a polynomial of N integer coefficients
 *   slots      N/2 complex numbers carried by a plaintext; sparse packing: n < N/2 of them, n a power of two
 *   level      how many rescalings are left; a ciphertext at level l lives modulo q_0 q_1 .. q_l (l + 1 limbs)
 *   scale      the factor between a number and the integers that carry it; exact, a double that travels along.
 *              Each level has a nominal scale (rfhe_ckks_scale); constants are encoded so that results land on it
 *   key level  the highest level at which an evaluation key can be used
 *
 * Handles own what they made and have one _free, which takes NULL. Parameters are immutable and shared: every object
 * keeps its parameters alive. Secret keys, evaluators and ciphertexts are for one thread at a time; evaluation keys,
 * plaintexts, linear maps and polynomial programs are immutable once made. Calls use the team set for the process
 * (OpenMP) inside and give the same bits for any number of threads.
 *
 * Outputs come first. A call that fails leaves its outputs as they were. Ciphertext outputs may be any of the inputs.
 * An output whose storage is too small is enlarged; one made large enough at first is never reallocated.
 *
 * What is protected, and what is not: docs/wire-format.md and the notes in security.c. A decrypted result must not be
 * given to anyone but the owner of the secret key: approximate decryptions leak the key [LM21]. */
#ifndef RFHE_CKKS_H
#define RFHE_CKKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rfhe_ckks rfhe_ckks;                 /* parameters, primes, tables       */
typedef struct rfhe_secret_key rfhe_secret_key;     /* wiped on free                    */
typedef struct rfhe_public_key rfhe_public_key;     /* encrypts                         */
typedef struct rfhe_eval_keys rfhe_eval_keys;       /* relinearisation, automorphisms   */
typedef struct rfhe_pt rfhe_pt;                     /* an encoded plaintext             */
typedef struct rfhe_ct rfhe_ct;                     /* a ciphertext                     */
typedef struct rfhe_evaluator rfhe_evaluator;       /* workspaces and borrowed keys     */
typedef struct rfhe_linear_map rfhe_linear_map;     /* a matrix, encoded by diagonals   */
typedef struct rfhe_poly_program rfhe_poly_program; /* a schedule for polynomials       */

/* ---- Parameters ---------------------------------------------------------------------------------------------- */

enum { RFHE_CKKS_MAX_LEVELS = 48, RFHE_CKKS_MAX_SPECIAL = 16 };

/* Zero means "choose for me"; a field that is set is honoured or refused, never adjusted. */
typedef struct rfhe_ckks_options {
    uint32_t log2_n;        /* 10 .. 17; 0 = the smallest secure degree                                    */
    uint32_t depth;         /* levels above the bottom one; ignored when `chain_length` is set             */
    uint32_t scale_bits;    /* 20 .. 49; 0 = 40                                                            */
    uint32_t first_bits;    /* width of q_0, at least scale_bits; 0 = min(50, scale_bits + 10)             */
    uint32_t special_count; /* special primes of key switching; 0 = the fastest choice that is secure      */
    uint32_t special_bits;  /* their width, 20 .. 50; 0 = choose                                           */
    uint32_t security_bits; /* 128, 192 or 256; 0 = 128. Above 128 there is no refresh (its sparse secret) */
    bool insecure_test;     /* takes parameters below the security table. For tests; every object says so  */
    /* An explicit chain instead of depth, scale_bits and first_bits: chain[l] is the width of q_l, bottom first.
     * chain_scale[l] is log2 of the nominal scale at level l; 0 = the width of q_l (of q_1 for the bottom). */
    uint32_t chain_length; /* levels + 1, at most RFHE_CKKS_MAX_LEVELS */
    uint8_t chain[RFHE_CKKS_MAX_LEVELS], chain_scale[RFHE_CKKS_MAX_LEVELS];
} rfhe_ckks_options;

typedef struct rfhe_ckks_info {
    uint32_t log2_n, top_level, special_count;
    uint32_t top_digits;    /* digits of a key made for the top level                              */
    double log2_q, log2_qp; /* of the chain; with the special primes                               */
    uint32_t security_bits; /* reached: 128, 192 or 256, by log2_qp; 0 when insecure                */
    bool is_insecure;       /* made with insecure_test and beyond the table                        */
    uint8_t id[32];         /* BLAKE2b of degree, primes and scales: two sets with one id are the same */
} rfhe_ckks_info;

/* RFHE_E_INSECURE   the security table refuses (the sentence has the numbers)
 * RFHE_E_ARG        a field out of its range, or fields that contradict each other
 * RFHE_E_UNSUPPORTED  not enough primes of that width, or no degree is large enough */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ckks_new(rfhe_ckks **out, const rfhe_ckks_options *opt,
                                                 rfhe_error *err);
RFHE_API void rfhe_ckks_free(rfhe_ckks *c);
RFHE_API void rfhe_ckks_get_info(const rfhe_ckks *c, rfhe_ckks_info *info);
/* Nominal scale at `level` (0 .. top_level). */
RFHE_API double rfhe_ckks_scale(const rfhe_ckks *c, uint32_t level);
/* Prime i of the chain (0 .. top_level), then the special primes. */
RFHE_API uint64_t rfhe_ckks_prime(const rfhe_ckks *c, uint32_t i);

/* ---- Encoding ------------------------------------------------------------------------------------------------ */

/* Encodes n slots (a power of two up to N/2; values repeat when n < N/2) at `level` and `scale` (0 = nominal).
 *   re, im    n numbers each; im may be NULL (real slots)
 * RFHE_E_ARG when a coefficient would not fit the modulus at that level (or exceeds 2^103), or a value is not finite. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_encode(rfhe_pt **out, const rfhe_ckks *c, const double *re,
                                               const double *im, size_t n, uint32_t level,
                                               double scale, rfhe_error *err);
/* Encodes n <= N numbers as the first n coefficients of the polynomial. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_encode_coeffs(rfhe_pt **out, const rfhe_ckks *c,
                                                      const double *x, size_t n, uint32_t level,
                                                      double scale, rfhe_error *err);
/* The inverse: n slots (a power of two up to N/2; for a sparse plaintext its n or more). `im` may be NULL.
 * Exact (up to double rounding) as long as the numbers are below 2^46. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_decode(double *re, double *im, size_t n, const rfhe_pt *pt,
                                               rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_decode_coeffs(double *x, size_t n, const rfhe_pt *pt,
                                                      rfhe_error *err);
RFHE_API uint32_t rfhe_pt_level(const rfhe_pt *pt);
RFHE_API double rfhe_pt_scale(const rfhe_pt *pt);
RFHE_API void rfhe_pt_free(rfhe_pt *pt);

/* ---- Keys ---------------------------------------------------------------------------------------------------- */

/* A fresh dense ternary secret. `test_seed` is NULL for real keys; a number gives a deterministic key and is refused
 * (RFHE_E_ARG) unless the parameters were made with insecure_test. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_secret_key_new(rfhe_secret_key **out, const rfhe_ckks *c,
                                                       const uint64_t *test_seed, rfhe_error *err);
RFHE_API void rfhe_secret_key_free(rfhe_secret_key *sk);

RFHE_API RFHE_MUST_USE rfhe_status rfhe_public_key_new(rfhe_public_key **out,
                                                       const rfhe_secret_key *sk, rfhe_error *err);
RFHE_API void rfhe_public_key_free(rfhe_public_key *pk);

/* A key that is wanted: a Galois element and the highest level at which it will be used.
 *   element   odd in [3, 2N): rfhe_element_rotate, rfhe_element_conjugate; or one of the RFHE_ELEMENT constants
 *   special   special primes the key uses, fewer primes = smaller key and more digits; 0 = the fastest choice */
typedef struct rfhe_key_want {
    uint32_t element, level, special;
} rfhe_key_want;
/* Elements that are no automorphisms: relinearisation; from the dense secret to a sparse one that is drawn anew for
 * every set of keys (level 0 and one special prime only), and back. The last two must come from one list. */
enum { RFHE_ELEMENT_RELIN = 0, RFHE_ELEMENT_ENCAPSULATE = 2, RFHE_ELEMENT_RELEASE = 4 };

/* The element of a rotation of the slots by `by` to the left (slot i receives slot i + by), any sign. */
RFHE_API uint32_t rfhe_element_rotate(const rfhe_ckks *c, int64_t by);
RFHE_API uint32_t rfhe_element_conjugate(const rfhe_ckks *c);

/* A list of wanted keys that merges duplicates to the higher level. Zero state: empty. */
typedef struct rfhe_key_list {
    rfhe_key_want *items;
    size_t count, capacity;
} rfhe_key_list;
RFHE_API RFHE_MUST_USE rfhe_status rfhe_key_list_add(rfhe_key_list *list, uint32_t element,
                                                     uint32_t level, uint32_t special,
                                                     rfhe_error *err);
RFHE_API void rfhe_key_list_clear(rfhe_key_list *list);

RFHE_API RFHE_MUST_USE rfhe_status rfhe_eval_keys_new(rfhe_eval_keys **out,
                                                      const rfhe_secret_key *sk,
                                                      const rfhe_key_want *want, size_t count,
                                                      rfhe_error *err);
RFHE_API void rfhe_eval_keys_free(rfhe_eval_keys *k);
/* Bytes of the residues in memory: per key 2 * digits * (level + 1 + special) * N * 8. */
RFHE_API size_t rfhe_eval_keys_bytes(const rfhe_eval_keys *k);
RFHE_API size_t rfhe_eval_keys_count(const rfhe_eval_keys *k);

/* ---- Encryption ---------------------------------------------------------------------------------------------- */

/* A ciphertext with room for `level`, holding an encryption of zero without noise (all zero residues). */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_new(rfhe_ct **out, const rfhe_ckks *c, uint32_t level,
                                               rfhe_error *err);
RFHE_API void rfhe_ct_free(rfhe_ct *ct);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_copy(rfhe_ct *out, const rfhe_ct *a, rfhe_error *err);
RFHE_API uint32_t rfhe_ct_level(const rfhe_ct *ct);
RFHE_API double rfhe_ct_scale(const rfhe_ct *ct);
/* Declares the scale to be another one: multiplies the carried numbers by old/new without touching residues. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_set_scale(rfhe_ct *ct, double scale, rfhe_error *err);
/* Parts: 2, or 3 after a product that was not relinearised. */
RFHE_API uint32_t rfhe_ct_parts(const rfhe_ct *ct);
/* Estimated error: standard deviation of one (complex) slot, in the unit of the carried numbers. */
RFHE_API double rfhe_ct_error(const rfhe_ct *ct);
/* -log2 of that. */
RFHE_API double rfhe_ct_precision_bits(const rfhe_ct *ct);
/* The bound on |slot| that the estimate assumes; grows with operations, and may be replaced by better knowledge. */
RFHE_API double rfhe_ct_bound(const rfhe_ct *ct);
RFHE_API void rfhe_ct_set_bound(rfhe_ct *ct, double bound);
/* Bytes of residues held now. */
RFHE_API size_t rfhe_ct_bytes(const rfhe_ct *ct);

/* out takes level, scale and bound of `pt`. RFHE_E_ARG when `pt` or `out` belongs to other parameters than the key. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_encrypt(rfhe_ct *out, const rfhe_pt *pt,
                                                const rfhe_public_key *pk, rfhe_error *err);
/* With the secret key: an error of sigma in each coefficient instead of sigma sqrt(1 + 4 N / 3) (7.7 bits less at
 * N = 2^15), and half as large on the wire (the uniform half is a seed). */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_encrypt_secret(rfhe_ct *out, const rfhe_pt *pt,
                                                       const rfhe_secret_key *sk, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_decrypt(rfhe_pt **out, const rfhe_ct *ct,
                                                const rfhe_secret_key *sk, rfhe_error *err);

/* ---- Arithmetic ---------------------------------------------------------------------------------------------- */

/* `keys` may be NULL for work without key switching; it is borrowed and must outlive the evaluator. All workspaces
 * are made here, large enough for every operation at the top level. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_evaluator_new(rfhe_evaluator **out, const rfhe_ckks *c,
                                                      const rfhe_eval_keys *keys, rfhe_error *err);
RFHE_API void rfhe_evaluator_free(rfhe_evaluator *ev);
/* Bytes of its workspaces. */
RFHE_API size_t rfhe_evaluator_bytes(const rfhe_evaluator *ev);

/* Two ciphertexts at different levels: the result has the lower one. Their scales must agree within 2^-40 (RFHE_E_ARG
 * with both numbers otherwise). Either may have three parts. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_add(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b,
                                               rfhe_evaluator *ev, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_sub(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b,
                                               rfhe_evaluator *ev, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_neg(rfhe_ct *out, const rfhe_ct *a, rfhe_evaluator *ev,
                                               rfhe_error *err);
/* Adds an encoded plaintext (same scale, at a's level or above), or one number to every slot. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_add_plain(rfhe_ct *out, const rfhe_ct *a,
                                                     const rfhe_pt *pt, rfhe_evaluator *ev,
                                                     rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_add_const(rfhe_ct *out, const rfhe_ct *a, double x,
                                                     rfhe_evaluator *ev, rfhe_error *err);
/* Product with an encoded plaintext (at a's level or above): scales multiply; `rescale` also divides by the last prime
 * in the same pass and costs the level. Encode `pt` at rfhe_plain_scale(a, 0) to land on the nominal scale below.
 * With `rescale`: RFHE_E_DEPTH at level 0, RFHE_E_ARG for three parts. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_mul_plain(rfhe_ct *out, const rfhe_ct *a,
                                                     const rfhe_pt *pt, bool rescale,
                                                     rfhe_evaluator *ev, rfhe_error *err);
/* The scale of a plaintext factor with which `a`, multiplied and rescaled, has scale `target` (0 = nominal). 0 at level
 * 0, where nothing can be rescaled. */
RFHE_API double rfhe_plain_scale(const rfhe_ct *a, double target);
/* out = a * x, rescaled: one level. Lands on scale `target` (0 = nominal of the level below). RFHE_E_DEPTH at level 0,
 * RFHE_E_ARG for three parts or a constant beyond 2^103 in integers. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_mul_const(rfhe_ct *out, const rfhe_ct *a, double x,
                                                     double target, rfhe_evaluator *ev,
                                                     rfhe_error *err);
/* out = a * k without a level. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_mul_int(rfhe_ct *out, const rfhe_ct *a, int64_t k,
                                                   rfhe_evaluator *ev, rfhe_error *err);
/* out = a * X^k, 0 <= k < 2N: moves coefficients; k = N/2 multiplies every slot by i. No level, no noise. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_mul_monomial(rfhe_ct *out, const rfhe_ct *a, uint32_t k,
                                                        rfhe_evaluator *ev, rfhe_error *err);
/* out = a * b, relinearised and rescaled in one pass: one level, scale a*b/q. Two-part inputs. b may be a (cheaper).
 * RFHE_E_DEPTH at level 0 or when the product of the scales exceeds the modulus left; RFHE_E_ARG without a
 * relinearisation key for the level. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_mul(rfhe_ct *out, const rfhe_ct *a, const rfhe_ct *b,
                                               rfhe_evaluator *ev, rfhe_error *err);
/* out = a * b with three parts, neither relinearised nor rescaled; sums of such cost one relinearisation. Two-part
 * inputs. RFHE_E_DEPTH when the product of the scales exceeds the modulus left. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_mul_lazy(rfhe_ct *out, const rfhe_ct *a,
                                                    const rfhe_ct *b, rfhe_evaluator *ev,
                                                    rfhe_error *err);
/* Three parts to two; `rescale` also divides by the last prime, in the same pass. Two parts are copied or rescaled. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_relinearise(rfhe_ct *out, const rfhe_ct *a, bool rescale,
                                                       rfhe_evaluator *ev, rfhe_error *err);
/* Divides numbers' scale and residues by the last prime: one level. RFHE_E_DEPTH at level 0, RFHE_E_ARG for three parts. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_rescale(rfhe_ct *out, const rfhe_ct *a,
                                                   rfhe_evaluator *ev, rfhe_error *err);
/* Lowers the level without changing scale or numbers. RFHE_E_DEPTH when `level` is above a's. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_drop(rfhe_ct *out, const rfhe_ct *a, uint32_t level,
                                                rfhe_evaluator *ev, rfhe_error *err);
/* Rotates the slots left by `by`; sparse packings rotate within their n slots. Two parts. RFHE_E_ARG without the key of
 * this rotation for the level; the same for the next two. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_rotate(rfhe_ct *out, const rfhe_ct *a, int64_t by,
                                                  rfhe_evaluator *ev, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_conjugate(rfhe_ct *out, const rfhe_ct *a,
                                                     rfhe_evaluator *ev, rfhe_error *err);
/* X -> X^element on the plaintext polynomial. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_automorphism(rfhe_ct *out, const rfhe_ct *a,
                                                        uint32_t element, rfhe_evaluator *ev,
                                                        rfhe_error *err);
/* out[i] = rotation of a by by[i]; the decomposition of `a` is shared (hoisting). The same bits as single rotations.
 * a may be among the outputs only as the last one. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_rotate_many(rfhe_ct *const *out, const rfhe_ct *a,
                                                       const int64_t *by, size_t count,
                                                       rfhe_evaluator *ev, rfhe_error *err);

/* ---- Polynomials --------------------------------------------------------------------------------------------- */

/* A straight-line program over one input: step i writes register i; a and b are earlier registers. */
typedef enum rfhe_poly_op {
    RFHE_POLY_INPUT, /* the input; step 0 and only there                             level 0          */
    RFHE_POLY_MUL,   /* register a times register b                                  max(a, b) + 1    */
    RFHE_POLY_SCALE, /* register a times the number c                                a + 1            */
    RFHE_POLY_INT,   /* register a times the whole number c, |c| <= 64               a                */
    RFHE_POLY_ADD,   /* register a plus register b                                   max(a, b)        */
    RFHE_POLY_CONST  /* register a plus the number c                                 a                */
} rfhe_poly_op;

typedef struct rfhe_poly_step {
    rfhe_poly_op op;
    uint16_t a, b;
    double c;
} rfhe_poly_step;

enum { RFHE_POLY_MAX_STEPS = 512, RFHE_POLY_MAX_DEGREE = 255, RFHE_POLY_MAX_STAGES = 8 };

/* Compiles a program into steps on ciphertexts: everything between two products is gathered, so that each gathered sum
 * costs one relinearisation and one rescaling. The value is out_scale times the last register; out_scale (not 0) is
 * absorbed by the scale of the result and costs nothing. Depth: the level of the last register.
 * RFHE_E_ARG for registers out of order, RFHE_E_UNSUPPORTED for sums of more than 16 products or terms. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_poly_program_from_steps(rfhe_poly_program **out,
                                                                const rfhe_poly_step *step,
                                                                size_t count, double out_scale,
                                                                rfhe_error *err);

/* One polynomial: coef[k] multiplies x^k, or T_k(x) with is_chebyshev (inputs in [-1, 1]). */
typedef struct rfhe_poly_stage {
    const double *coef;
    uint32_t degree;
    bool is_chebyshev;
} rfhe_poly_stage;

/* p_n(..p_2(p_1(x))), times x in the last stage if times_input, at the least depth: ceil(log2(degree + 1)) levels per
 * stage, none for the product with x unless there is a single stage. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_poly_program_new(rfhe_poly_program **out,
                                                         const rfhe_poly_stage *stage, size_t count,
                                                         bool times_input, rfhe_error *err);
RFHE_API void rfhe_poly_program_free(rfhe_poly_program *p);

typedef struct rfhe_poly_info {
    uint32_t depth;            /* levels used                               */
    uint32_t products;         /* ciphertext by ciphertext                  */
    uint32_t relinearisations; /* key switches                              */
    uint32_t rescalings;       /* sums rescaled without a key switch        */
    uint32_t registers;        /* ciphertexts held besides input and output */
} rfhe_poly_info;
RFHE_API rfhe_poly_info rfhe_poly_program_info(const rfhe_poly_program *p);
/* The same program on a number. */
RFHE_API double rfhe_poly_program_value(const rfhe_poly_program *p, double x);
/* Adds the relinearisation keys with which an evaluation from `level` is fastest: one for each number of special primes
 * that is the best choice at some level of its way. Any one key for `level` would do. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_poly_program_keys(const rfhe_poly_program *p,
                                                          const rfhe_ckks *c, uint32_t level,
                                                          rfhe_key_list *list, rfhe_error *err);
/* out = program(a), `depth` levels lower. RFHE_E_DEPTH when a has too few. The first evaluation with an evaluator makes
 * room for the registers; later ones allocate nothing. The bound of `a` decides the error estimate only. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_evaluate(rfhe_ct *out, const rfhe_ct *a,
                                                    const rfhe_poly_program *p, rfhe_evaluator *ev,
                                                    rfhe_error *err);

/* ---- Linear maps --------------------------------------------------------------------------------------------- */

/* Diagonal k of a matrix on n slots: out[i] = sum over diagonals of re/im[i] * in[(i + index) mod n]. */
typedef struct rfhe_diagonal {
    int64_t index;
    const double *re, *im; /* n numbers each; im may be NULL */
} rfhe_diagonal;

typedef struct rfhe_linear_options { /* zero = choose for me */
    double in_scale;  /* scale of the input; 0 = nominal at `level`             */
    double out_scale; /* scale of the result; 0 = nominal at `level` - 1        */
    uint32_t baby;    /* baby steps, a power of two; 0 = the fastest choice      */
    uint32_t special; /* special primes of its keys; 0 = the fastest choice     */
} rfhe_linear_options;

/* Encodes a matrix by its non-zero diagonals for inputs at `level` (one level is used). Baby-step giant-step with
 * double hoisting: baby rotations share one decomposition and stay modulo Q P, each giant step divides by P once.
 * Memory: diagonals * (level + 1 + special) * N * 8 bytes. `opt` may be NULL. n a power of two up to N/2.
 * RFHE_E_ARG: no diagonals, an index twice, a matrix that does not fit the scale. RFHE_E_DEPTH: level 0. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_linear_map_new(rfhe_linear_map **out, const rfhe_ckks *c,
                                                       size_t n, const rfhe_diagonal *diagonal,
                                                       size_t count, uint32_t level,
                                                       const rfhe_linear_options *opt,
                                                       rfhe_error *err);
RFHE_API void rfhe_linear_map_free(rfhe_linear_map *m);
/* Bytes of the encoded diagonals. */
RFHE_API size_t rfhe_linear_map_bytes(const rfhe_linear_map *m);
/* Rotations: with a shared decomposition, and with one of their own. */
RFHE_API void rfhe_linear_map_rotations(const rfhe_linear_map *m, uint32_t *baby, uint32_t *giant);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_linear_map_keys(const rfhe_linear_map *m,
                                                        rfhe_key_list *list, rfhe_error *err);
/* out = m(a), rescaled; a at the map's level or above. The first use with an evaluator makes room. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_linear(rfhe_ct *out, const rfhe_ct *a,
                                                  const rfhe_linear_map *m, rfhe_evaluator *ev,
                                                  rfhe_error *err);

/* ---- Packing of coefficients --------------------------------------------------------------------------------- */

/* Merges `count` = 2^b ciphertexts, of whose coefficients only those at multiples of `count` matter, into ct[0]:
 * coefficient count*i + o of the result is coefficient count*i of ct[o], everything else cancels. count - 1 key
 * switches with b keys. The numbers are kept (the factor `count` goes into the scale). All inputs: one level, one
 * scale, two parts; ct[1..] are overwritten. Source: [CDKS21]; [KG23]. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_pack(rfhe_ct *const *ct, size_t count, rfhe_evaluator *ev,
                                                rfhe_error *err);
/* The keys of a packing of `count` at `level`. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_pack_keys(const rfhe_ckks *c, size_t count, uint32_t level,
                                                  rfhe_key_list *list, rfhe_error *err);

/* ---- Refresh (bootstrapping) --------------------------------------------------------------------------------- */

/* Gives levels back to an exhausted ciphertext, SlotsToCoeffs first:
 *
 *   slots, level s  --to_coeffs-->  coefficients, level s - f  --(work on coefficients)-->  coefficients, level 0
 *   coefficients, level 0  --raise-->  slots, level r
 *
 * to_coeffs moves slot j to coefficient gap * rev(j) (gap = N / 2 / slots, rev reverses log2 slots bits; an imaginary
 * part goes N/2 further); raise brings coefficient gap * rev(j) to slot j, so that the two together are the identity.
 * In between, the polynomial may be worked on as such: convolutions, packings (rfhe_ct_pack).
 *
 * Chain of the parameters, bottom first: q_0; whatever is wanted for the work on coefficients; f primes for to_coeffs;
 * the user's levels; the levels of the modular reduction; g primes of CoeffsToSlots. The message of a ciphertext at
 * level 0 must stay within |x| <= 1 (times `bound`); the relative error of the idea is (2 pi bound scale_0/q_0)^2 / 6.
 * No secret is needed: all keys come from rfhe_refresh_keys. Immutable once made. */
typedef struct rfhe_refresh rfhe_refresh;

enum { RFHE_REFRESH_MAX_FACTORS = 8 };

typedef struct rfhe_refresh_options { /* zero = choose for me */
    uint32_t log2_slots;         /* slots in use; 0 = all, N/2                                                     */
    bool complex_slots;          /* both halves of the coefficients: two modular reductions                        */
    uint32_t to_coeffs_level;    /* level s of the input of to_coeffs; 0 = the level that raise returns            */
    uint32_t to_coeffs_factors;  /* f, 1 .. 8; 0 = 2                                                               */
    uint32_t to_slots_factors;   /* g, 1 .. 8; 0 = 3                                                               */
    uint32_t doublings;          /* of the angle; 0 = 3                                                            */
    double reduction_error;      /* largest error of the polynomial, relative to q_0; 0 = 2^-28                    */
    double bound;                /* largest |number| in a coefficient; 0 = 1                                       */
} rfhe_refresh_options;

typedef struct rfhe_refresh_info {
    uint32_t slots, to_coeffs_level, to_coeffs_out_level, raise_level; /* raise_level = r: levels to work with */
    uint32_t degree, doublings, reduction_levels, k; /* of the modular reduction: |integer| <= k         */
    double log2_failure;      /* of one refresh, all coefficients together: at most -128                 */
    double log2_encapsulation; /* modulus of the encapsulation key, for the security table               */
    uint32_t rotations, products; /* key switches of raise + to_coeffs: rotations and conjugations; relinearisations */
    size_t plain_bytes;       /* encoded diagonals in memory */
} rfhe_refresh_info;

/* RFHE_E_ARG, RFHE_E_DEPTH (the chain is too short), RFHE_E_INSECURE (encapsulation), RFHE_E_NOMEM. `opt` may be NULL. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_refresh_new(rfhe_refresh **out, const rfhe_ckks *c,
                                                    const rfhe_refresh_options *opt, rfhe_error *err);
RFHE_API void rfhe_refresh_free(rfhe_refresh *r);
RFHE_API rfhe_refresh_info rfhe_refresh_get_info(const rfhe_refresh *r);
/* Adds every key that to_coeffs and raise need. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_refresh_keys(const rfhe_refresh *r, rfhe_key_list *list,
                                                     rfhe_error *err);
/* Slots at to_coeffs_level (or above; nominal scale of that level) to coefficients, to_coeffs_factors levels lower, at the
 * nominal scale of level 0, which raise expects: work in between should keep it. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_to_coeffs(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r,
                                                     rfhe_evaluator *ev, rfhe_error *err);
/* Coefficients at the nominal scale of level 0 (levels above it are dropped) to slots at raise_level, nominal scale. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_raise(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r,
                                                 rfhe_evaluator *ev, rfhe_error *err);
/* Parameters made for one another, by name: "B15-3", "B15-5" ... */
typedef struct rfhe_refresh_set {
    const char *name, *summary;
    rfhe_ckks_options ckks;
    rfhe_refresh_options refresh;
} rfhe_refresh_set;
/* NULL beyond the last; NULL for an unknown name. */
RFHE_API const rfhe_refresh_set *rfhe_refresh_set_at(size_t i);
RFHE_API const rfhe_refresh_set *rfhe_refresh_set_find(const char *name);

/* The stages of rfhe_ct_raise one by one, for benchmarks and profiles: what one returns, the next takes.
 *   mod_raise   coefficients at level 0 to the top level, carrying (message + q_0 I) / q_0
 *   to_slots    those coefficients to slots; imag receives the upper half of the coefficients (complex_slots) or is
 *               NULL
 *   reduce      removes the integers; nominal scale at raise_level
 * rfhe_ct_raise also joins the halves: real + i imag. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_refresh_mod_raise(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r,
                                                          rfhe_evaluator *ev, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_refresh_to_slots(rfhe_ct *real, rfhe_ct *imag, const rfhe_ct *a,
                                                         const rfhe_refresh *r, rfhe_evaluator *ev, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_refresh_reduce(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r,
                                                       rfhe_evaluator *ev, rfhe_error *err);

/* ---- Bytes and files (docs/wire-format.md) ------------------------------------------------------------------- */

/* Writers return bytes that the caller frees with rfhe_bytes_free. Readers take any bytes: RFHE_E_FORMAT with one
 * sentence for what is damaged, cut short, of another kind or made with other parameters; RFHE_E_UNSUPPORTED for a
 * later version of the format. */
RFHE_API void rfhe_bytes_free(uint8_t *data);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ckks_write(uint8_t **data, size_t *size, const rfhe_ckks *c,
                                                   rfhe_error *err);
/* RFHE_E_INSECURE for a set beyond the security table unless accept_insecure. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ckks_read(rfhe_ckks **out, const void *data, size_t size,
                                                  bool accept_insecure, rfhe_error *err);
/* Seeded ciphertexts take half. Parameters must be those it was made with. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_write(uint8_t **data, size_t *size, const rfhe_ct *ct,
                                                 rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_read(rfhe_ct **out, const rfhe_ckks *c, const void *data,
                                                size_t size, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_public_key_write(uint8_t **data, size_t *size,
                                                         const rfhe_public_key *pk, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_public_key_read(rfhe_public_key **out, const rfhe_ckks *c,
                                                        const void *data, size_t size,
                                                        rfhe_error *err);
/* Secret keys go to files of mode 0600 only; a loaded key draws new randomness of its own. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_secret_key_save(const char *path, const rfhe_secret_key *sk,
                                                        rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_secret_key_load(rfhe_secret_key **out, const rfhe_ckks *c,
                                                        const char *path, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_secret_key_parse(rfhe_secret_key **out, const rfhe_ckks *c,
                                                         const void *data, size_t size,
                                                         rfhe_error *err);
/* Streamed to a file (half the size of memory: uniform halves are seeds), read through a mapping. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_eval_keys_save(const char *path, const rfhe_eval_keys *k,
                                                       rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_eval_keys_load(rfhe_eval_keys **out, const rfhe_ckks *c,
                                                       const char *path, rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_eval_keys_parse(rfhe_eval_keys **out, const rfhe_ckks *c,
                                                        const void *data, size_t size,
                                                        rfhe_error *err);

#ifdef __cplusplus
}
#endif
#endif
