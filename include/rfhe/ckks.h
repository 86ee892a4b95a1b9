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
 * What is protected, and what is not: docs/security.md; the table of secure parameters: src/ckks/security.c. A decrypted
 * result must not be given to anyone but the owner of the secret key: approximate decryptions leak the key [LM21]. */
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
typedef struct rfhe_poly_vectors rfhe_poly_vectors; /* its constants, a number per slot */

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
 * every set of keys (level 0 and one special prime only). RFHE_ELEMENT_RELEASE, or'ed with a Galois element (1 included),
 * goes from that sparse secret to the dense one and through the automorphism, for what a refresh raised; its `special`
 * must be named. Keys of the last two kinds must come from one list. */
enum { RFHE_ELEMENT_RELIN = 0, RFHE_ELEMENT_ENCAPSULATE = 2, RFHE_ELEMENT_RELEASE = 1 << 30 };

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
/* The bound on |slot| that the estimate assumes; grows with operations, and may be replaced by better knowledge. A fresh
 * ciphertext has its plaintext's, which is measured on the message, and rfhe_ct_write writes it in the clear: before a
 * ciphertext is sent, replace it by one that holds for all messages. */
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
 * room for the registers; later ones allocate nothing. The error estimate is that of slots whose numbers are spread evenly over
 * [-bound, bound] of `a` (root mean square); at the worst number it may be several times that. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_evaluate(rfhe_ct *out, const rfhe_ct *a,
                                                    const rfhe_poly_program *p, rfhe_evaluator *ev,
                                                    rfhe_error *err);

/* A program whose constants may differ from slot to slot: the c of every flagged step (SCALE and CONST only, RFHE_E_ARG
 * otherwise) is ignored here and given later, as a vector. It has the depth, the products and the keys that almost any
 * numbers in these places would have; what is written for special numbers (c = 0, c = 1) gains nothing. Bind vectors
 * with rfhe_poly_vectors_new; rfhe_ct_evaluate refuses such a program unless nothing is flagged. out_scale is one number
 * for all slots; a factor per slot belongs to what follows (rfhe_to_coeffs_new).
 *   is_vector   one flag per step */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_poly_program_with_vectors(rfhe_poly_program **out,
                                                                  const rfhe_poly_step *step,
                                                                  const bool *is_vector,
                                                                  size_t count, double out_scale,
                                                                  rfhe_error *err);
/* Gives a program its vectors, encoded for inputs at `level` (or above) and `scale` (0 = nominal at `level`).
 *   value   one pointer per flagged step, in the order of the steps, to n numbers in the order of slots
 *   n       slots, a power of two up to N/2; the numbers repeat when it is smaller
 * Any finite numbers: slots of zeros (padding) are fine. Constants that come out equal in all slots stay numbers. Cost
 * of an evaluation: two pointwise products per limb for each constant factor that is a vector, a sum for each summand.
 * Memory: (level + 1) * N * 8 bytes per such constant at the level where it is used. Keeps nothing of `p`. Encoding uses
 * the team. RFHE_E_DEPTH, RFHE_E_ARG (numbers too large, n), RFHE_E_NOMEM. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_poly_vectors_new(rfhe_poly_vectors **out,
                                                         const rfhe_poly_program *p,
                                                         const rfhe_ckks *c,
                                                         const double *const *value, size_t n,
                                                         uint32_t level, double scale,
                                                         rfhe_error *err);
RFHE_API void rfhe_poly_vectors_free(rfhe_poly_vectors *v);
/* Bytes of the encoded constants and their tables. */
RFHE_API size_t rfhe_poly_vectors_bytes(const rfhe_poly_vectors *v);
/* The same program on a number, as slot `slot` (modulo n) computes it. */
RFHE_API double rfhe_poly_vectors_value(const rfhe_poly_vectors *v, size_t slot, double x);
/* out = program with these vectors (a), as rfhe_ct_evaluate. a at the level they were bound to or above, at their scale;
 * the result is `depth` levels below the level of the binding. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_evaluate_vectors(rfhe_ct *out, const rfhe_ct *a,
                                                            const rfhe_poly_vectors *v,
                                                            rfhe_evaluator *ev, rfhe_error *err);

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
    bool lean;        /* fewer keys, and diagonals kept as coefficients, for more time */
} rfhe_linear_options;

/* Encodes a matrix by its non-zero diagonals for inputs at `level` (one level is used). Baby-step giant-step with
 * double hoisting: baby rotations share one decomposition and stay modulo Q P, each giant step divides by P once. Giant
 * steps that are neighbours share one key.
 * Memory: diagonals * (level + 1 + special) * N * 8 bytes; diagonals that repeat with a short period p take 2p/N of
 * that, and N * 4 or N * 8 bytes each otherwise when lean. `opt` may be NULL. n a power of two up to N/2.
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

/* ---- Convolution on coefficients ------------------------------------------------------------------------------ */

/* The coefficients other than zero of the polynomial between input j and output o: writes at most `most` pairs (as given to
 * rfhe_ct_convolve) and returns their number; 0 = no product. Index i < N is X^i, N <= i < 2N is -X^(i-N) = X^i. An index
 * may come twice (added). Called from several threads at once and several times for one (o, j), in any order: must
 * give the same each time and change nothing. */
typedef size_t rfhe_kernel_fn(void *ctx, size_t o, size_t j, uint32_t *index, double *value);

/* out[o] = sum over j of in[j] * K(o, j), o < n_out, j < n_in: convolutions of polynomials whose coefficients are the data.
 * K is encoded at `scale` (0 = rfhe_plain_scale(in[0], 0)), rounded to integers; the scales multiply, nothing is rescaled.
 *   in      one level, one scale, two parts; none of them among the outputs (RFHE_E_ARG)
 *   fn      gives K(o, j), which is transformed on the fly: nothing of it stays in memory
 * To reach the nominal scale of the level below after a packing of `count` and one rescaling, use the scale
 * rfhe_plain_scale(in[0], 0) / count.
 * Error and bound are carried in the mean over slots: a product with K multiplies both by its 2-norm.
 * Cost per (o, j) and limb: one transform, two pointwise products; parallel over outputs and limbs. The first use with
 * an evaluator makes room: 4 limbs and 20 * most bytes per thread. RFHE_E_ARG also for an index from 2N, a number
 * that is not finite, more than `most` of them. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_convolve(rfhe_ct *const *out, size_t n_out,
                                                    const rfhe_ct *const *in, size_t n_in,
                                                    rfhe_kernel_fn *fn, void *ctx, size_t most,
                                                    double scale, rfhe_evaluator *ev,
                                                    rfhe_error *err);

/* ---- Packing of coefficients --------------------------------------------------------------------------------- */

/* Merges `count` = 2^b ciphertexts, of whose coefficients only those at multiples of count*gap matter, into ct[0]:
 * coefficient gap*(count*i + o) of the result is coefficient gap*count*i of ct[o], everything else at multiples of gap
 * cancels. gap is 1 for all coefficients, a power of two for sparse packings, whose numbers lie at its multiples; what
 * is between those stays there, noise and no more if the inputs are polynomials in X^gap. count - 1 key switches with b keys. The numbers are kept (the factor `count` goes into the scale). All inputs: one level, one
 * scale, two parts; ct[1..] are overwritten. Source: [CDKS21]; [KG23].
 * Entries other than ct[0] may be NULL: zeros. A merge needs its key switch unless both of its operands are absent, and
 * the tree merges o and o + count/2 first, then distances count/4 .. 1: absent entries save most where they are
 * neighbours in bit-reversed order (10 channels in a block of 16 take 15 key switches as 0 .. 9, and 11 at the places
 * o = reversal of 0 .. 9). Merges are spread over the team; the same bits for any number of threads. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_pack(rfhe_ct *const *ct, size_t count, size_t gap,
                                                rfhe_evaluator *ev, rfhe_error *err);
/* The keys of a packing of `count` at `level`. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_pack_keys(const rfhe_ckks *c, size_t count, size_t gap,
                                                  uint32_t level, rfhe_key_list *list, rfhe_error *err);

/* Merges the constant coefficients of `count` ciphertexts (any number, 1 .. N) into ct[0]: with count2 = count rounded up
 * to a power of two, coefficient k * (N / count2) of the result is coefficient 0 of ct[k]; every other coefficient
 * cancels to zero, up to the noise of key switching, whatever the other coefficients of the inputs were. So the result
 * tells the constants and nothing else. count2 - 1 + log2(N / count2) key switches with log2 N keys: the packing tree,
 * then a trace [CDKS21].
 *   bound   largest |number| among the constants: the factor N of the tree goes into the scale as far as the modulus has
 *           room above scale * bound, the rest is divided out beforehand, which costs as many bits of precision as
 *           it has. Pack at level 1 before rescaling rather than at level 0: there are bits to spare.
 * Inputs as for rfhe_ct_pack (ct[1..] may be NULL, and are overwritten). RFHE_E_ARG: the constants do not fit. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_pack_scalars(rfhe_ct *const *ct, size_t count, double bound,
                                                        rfhe_evaluator *ev, rfhe_error *err);
/* Its keys, the same for any count. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_pack_scalars_keys(const rfhe_ckks *c, uint32_t level,
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
 * the user's levels; the levels of the modular reduction; g - 1 primes of CoeffsToSlots (its first factor spends none).
 * Two special primes or more, the first one at least as wide as q_0. The message of a ciphertext at level 0 must stay within |x| <= 1 (times `bound`); the relative error of the idea is (2 pi bound scale_0/q_0)^2 / 6.
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
    bool lean;                   /* fewer keys and shorter diagonals, for more time                                */
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
/* The coefficient that slot `slot` of 2^log2_slots becomes on the way to coefficients, and that becomes this slot on the
 * way back: gap * rev(slot), gap = N / 2 / slots, below N/2. An imaginary part lies N/2 higher. Being made of a reversal
 * of bits, the map is its own inverse: coefficient k, a multiple of gap below N/2, is slot
 * rfhe_slot_coefficient(log2_n, log2_slots, k / gap) / gap. log2_slots < log2_n, slot < 2^log2_slots. */
RFHE_API uint32_t rfhe_slot_coefficient(uint32_t log2_n, uint32_t log2_slots, uint32_t slot);

/* The way to coefficients of a refresh with a number per slot folded in: slot j is multiplied by w_j = re[j] + i im[j]
 * first. Same levels, same keys; masks away what is not wanted (w = 0), gives channels factors of their own.
 *   re, im   one number per slot of the refresh, in the order of slots; either may be NULL (zeros)
 * Coefficient k = rfhe_slot_coefficient(j) of the result is Re(w_j z_j), coefficient k + N/2 is Im(w_j z_j): for real
 * slots a mask with im alone puts them into the upper half.
 * Memory: the first factor's diagonals (rfhe_to_coeffs_bytes; masked ones have no short form, so (levels + specials) * N * 8
 * bytes each, N * 4 in a lean refresh, which transforms them when used); the rest is the refresh's, which is borrowed and
 * must outlive the map. Factors are encoded at the scale of the first factor's prime (2^30 in B15-3), so w far below 1 loses
 * bits: put a common factor elsewhere. Immutable once made. RFHE_E_ARG: not finite or too large. RFHE_E_NOMEM. */
typedef struct rfhe_to_coeffs rfhe_to_coeffs;
RFHE_API RFHE_MUST_USE rfhe_status rfhe_to_coeffs_new(rfhe_to_coeffs **out, const rfhe_refresh *r,
                                                      const double *re, const double *im,
                                                      rfhe_error *err);
RFHE_API void rfhe_to_coeffs_free(rfhe_to_coeffs *m);
/* Bytes of the encoded diagonals. */
RFHE_API size_t rfhe_to_coeffs_bytes(const rfhe_to_coeffs *m);
/* out = coefficients of map(a): rfhe_ct_to_coeffs with the numbers of `map`. The result's bound is the root mean square
 * of its slots, sqrt(slots) * rms(w) * bound of a, as for rfhe_encode_coeffs. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_to_coeffs_by(rfhe_ct *out, const rfhe_ct *a,
                                                        const rfhe_to_coeffs *map, rfhe_evaluator *ev,
                                                        rfhe_error *err);
/* out = coefficients of sum_i map[i](a[i]), count >= 1: one first factor per operand, the other factors once. For the
 * two halves of the coefficients (rfhe_refresh_to_slots), with real slots each:
 *   one set of numbers w for both halves   rfhe_ct_to_coeffs_halves with a map of re = w: no more time than one half
 *   different numbers u and v              this, with maps (re = u) and (im = v)
 * All maps from one refresh (RFHE_E_ARG). */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_to_coeffs_sum(rfhe_ct *out, const rfhe_ct *const *a,
                                                         const rfhe_to_coeffs *const *map, size_t count,
                                                         rfhe_evaluator *ev, rfhe_error *err);

/* Both halves of the coefficients as two ciphertexts of real numbers: low receives coefficient gap * rev(j) in slot j,
 * high the one N/2 further. Any refresh can, with the keys it has; a second modular reduction is all it costs. high NULL:
 * rfhe_ct_raise. For callers that fill all N coefficients and apply real functions to them. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_raise_halves(rfhe_ct *low, rfhe_ct *high, const rfhe_ct *a,
                                                        const rfhe_refresh *r, rfhe_evaluator *ev, rfhe_error *err);
/* The way back: real slots of `low` to the lower half of the coefficients, those of `high` to the upper half, at the cost
 * of one rfhe_ct_to_coeffs. Both at the same scale. out may be low or high. `map`: one set of real numbers for both halves
 * (re = w, made from `r`); NULL: none. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_ct_to_coeffs_halves(rfhe_ct *out, const rfhe_ct *low, const rfhe_ct *high,
                                                            const rfhe_refresh *r, const rfhe_to_coeffs *map,
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
 *   mod_raise   coefficients at level 0 to the top level, carrying (message + q_0 I) / q_0, under the sparse secret: of
 *               no use to anything but to_slots
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
/* rfhe_eval_keys_new and rfhe_eval_keys_save in one: key by key, so that only one of them is in memory. `progress` (may
 * be NULL) counts keys; RFHE_E_INTERRUPTED when it says so leaves no file. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_eval_keys_make_file(const char *path, const rfhe_secret_key *sk,
                                                            const rfhe_key_want *want, size_t count,
                                                            const rfhe_progress *progress,
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
