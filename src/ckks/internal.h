/* The objects of ckks/ from the inside. Residue layout: every polynomial is a run of limbs of N words, limb i modulo
 * prime i of the parameters: the chain first (0 .. n_q-1), then the special primes (n_q ..). Ciphertexts, plaintexts
 * and keys are kept in transformed (NTT) form. */
#ifndef RFHE_CKKS_INTERNAL_H
#define RFHE_CKKS_INTERNAL_H

#include <stdatomic.h>
#include <string.h>

#include "arith/kernels.h"
#include "ring/ring.h"
#include "ckks/fft.h"
#include "ckks/random.h"
#include "rfhe/ckks.h"

enum {
    RFHE_CKKS_MAX_PRIMES = RFHE_CKKS_MAX_LEVELS + RFHE_CKKS_MAX_SPECIAL,
    RFHE_CKKS_MAX_DIGITS = RFHE_CKKS_MAX_LEVELS,
    RFHE_BLOCK = 512,          /* coefficients per piece of parallel work that mixes limbs           */
    RFHE_TILE = 1024,         /* coefficients per step of pointwise chains, so that they stay in L1       */
    RFHE_PARALLEL_FROM = 4096 /* smaller rings stay in the calling thread: a fork costs more than it gives */
};

/* Tables of the base conversion from a few primes to any other; the fused passes of keyswitch.c work on blocks of
 * coefficients and therefore use the kernels directly. See rfhe_convert_scale_fn and rfhe_convert_out_fn. */
typedef struct rfhe_convert {
    uint32_t count;
    uint8_t prime[RFHE_CONVERT_MAX]; /* indices of the inputs */
    rfhe_shoup c[RFHE_CONVERT_MAX];
    const rfhe_modulus *m[RFHE_CONVERT_MAX];
    uint64_t *h;   /* h[target * count + j], one row per prime of the parameters */
    uint64_t *neg; /* per target */
} rfhe_convert;

/* The digits of a key that uses the first `special` special primes. Digit d holds the primes [start[d], start[d+1]);
 * at a level inside a digit the digit is cut. */
typedef struct rfhe_gadget {
    uint32_t special, digits;
    uint32_t start[RFHE_CKKS_MAX_DIGITS + 1];
    uint32_t digit_of[RFHE_CKKS_MAX_LEVELS]; /* of each prime of the chain */
    rfhe_convert *cut;      /* cut[l]: the digit that holds prime l, ending with it      */
    rfhe_convert down;      /* from the special primes                                   */
    rfhe_convert *down_top; /* down_top[l]: from prime l and the special primes together */
    /* Per prime i of the chain: 1/P, P mod q_i, and at [l * n_q + i] 1/(P q_l) for i < l. */
    rfhe_shoup *p_inv, *p_mod, *pq_inv;
} rfhe_gadget;

struct rfhe_ckks {
    _Atomic unsigned references;
    uint32_t log2_n, n_q, n_p; /* n_q = top level + 1 */
    size_t n;
    bool is_insecure;
    uint32_t security_bits;   /* reached: 128, 192, 256; 0 when insecure                */
    uint32_t security_wanted; /* by its maker; 128 for a set that was read              */
    rfhe_ring *ring;           /* n_q + n_p primes: the chain, then the special ones */
    const rfhe_modulus *m;     /* the ring's */
    const rfhe_ntt_table *ntt; /* the ring's */
    const uint32_t *rev;       /* the ring's */
    double scale[RFHE_CKKS_MAX_LEVELS];
    uint8_t prime_bits[RFHE_CKKS_MAX_LEVELS]; /* as asked for */
    double log2_q, log2_qp, log2_prime[RFHE_CKKS_MAX_PRIMES];
    uint8_t id[32];
    rfhe_fft fft;
    rfhe_shoup *q_inv;      /* q_inv[l * n_q + i] = 1/q_l mod q_i, i < l */
    rfhe_gadget *gadget;    /* gadget[k-1]: k special primes */
    const rfhe_kernels *k;
};

/* Parameters from explicit primes and scales (a file's), checked like any others. */
RFHE_MUST_USE rfhe_status rfhe_ckks_from_primes(rfhe_ckks **out, uint32_t log2_n, const uint64_t *prime, uint32_t n_q,
                                                uint32_t n_p, const double *scale, bool accept_insecure,
                                                rfhe_error *err);
/* Another owner of the same parameters; returns `c`. */
rfhe_ckks *rfhe_ckks_share(const rfhe_ckks *c);
static inline bool rfhe_ckks_same(const rfhe_ckks *a, const rfhe_ckks *b)
{
    return a == b || memcmp(a->id, b->id, sizeof a->id) == 0;
}
/* Index of the prime of row `row` of keys and raised digits at `level`: the chain up to it, then the special primes. */
static inline uint32_t rfhe_row_prime(const rfhe_ckks *c, uint32_t level, uint32_t row)
{
    return row <= level ? row : c->n_q + row - level - 1;
}
/* Digits of a chain [0, n_q) with special primes of `log2_p` bits in all: as many primes per digit as stay below P. They begin
 * at start[0 .. digits], the last being n_q (NULL: not wanted). 0 when there are more than `max`. */
uint32_t rfhe_chain_digits(const double *log2_q, uint32_t n_q, double log2_p, uint32_t *start, uint32_t max);
/* Digits that a key of `special` primes has at `level`. */
static inline uint32_t rfhe_gadget_digits(const rfhe_gadget *g, uint32_t level)
{
    return g->digit_of[level] + 1;
}
/* The number of special primes (1 .. n_p) that makes key switching at `level` cheapest. */
uint32_t rfhe_best_special(const rfhe_ckks *c, uint32_t level);
/* sum of log2 of primes [from, to) */
double rfhe_log2_primes(const rfhe_ckks *c, uint32_t from, uint32_t to);

struct rfhe_pt {
    rfhe_ckks *c;
    uint32_t level;
    uint32_t special; /* special limbs that follow (linear maps), else 0 */
    double scale;
    double bound; /* largest |slot| */
    double error; /* standard deviation of a slot (decrypted plaintexts and rounding) */
    uint64_t *data; /* (level + 1 + special) limbs, NTT form */
};

struct rfhe_ct {
    rfhe_ckks *c;
    uint32_t level, parts; /* 2 or 3 */
    uint32_t room;         /* limbs per part that `data` can hold */
    uint32_t room_parts;
    double scale, bound, error;
    bool has_seed; /* part 1 is the expansion of `seed` at this level */
    rfhe_seed seed;
    uint64_t *data; /* part p, limb l at (p * room + l) * n */
};

static inline uint64_t *rfhe_ct_limb(const rfhe_ct *ct, uint32_t part, uint32_t limb)
{
    return ct->data + ((size_t)part * ct->room + limb) * ct->c->n;
}

/* Room for `parts` x (level + 1) limbs, keeping the contents that fit; then sets level and parts. */
RFHE_MUST_USE rfhe_status rfhe_ct_reserve(rfhe_ct *ct, uint32_t level, uint32_t parts, rfhe_error *err);
/* Header of `from` into `to` (everything but residues and storage). */
void rfhe_ct_take_header(rfhe_ct *to, const rfhe_ct *from);

struct rfhe_secret_key {
    rfhe_ckks *c;
    bool is_test;
    rfhe_seed seed;   /* of this key's further randomness */
    uint64_t counter; /* next object of that randomness   */
    uint64_t *s;      /* all primes, NTT form */
    int8_t *coef;     /* N ternary coefficients */
};

struct rfhe_public_key {
    rfhe_ckks *c;
    rfhe_seed seed; /* of the uniform half, public */
    uint64_t *b, *a; /* n_q limbs each */
};

/* One evaluation key, which turns something under `from` into a pair under `to`: digit d is (b_d, a_d) with
 * b_d = e_d - a_d to + P from on the primes of the digit and b_d = e_d - a_d to elsewhere. Relinearisation goes from s^2
 * to s. A released key (RFHE_ELEMENT_RELEASE) has one digit: b = e - a to + p from modulo every prime, p the first special
 * prime; its input is below q_0 as an integer. The key of a Galois element g goes from s to s(X^(1/g)): the automorphism comes after the switch, on the two
 * results, instead of before it, on all digits. Row r = 0 .. level are primes of the chain, then `special` others. */
typedef struct rfhe_key {
    uint32_t element, level, special, digits;
    rfhe_seed seed; /* of the halves a, public */
    uint64_t *data; /* b of digit d, row r at ((d * rows + r) * 2) * n, then a */
} rfhe_key;

/* Digits of a key of `element` at `level` with `special` special primes. */
uint32_t rfhe_key_digits(const rfhe_ckks *c, uint32_t element, uint32_t level, uint32_t special);
static inline uint32_t rfhe_key_rows(const rfhe_key *k)
{
    return k->level + 1 + k->special;
}
static inline uint64_t *rfhe_key_limb(const rfhe_key *k, uint32_t digit, uint32_t row, uint32_t half,
                                      size_t n)
{
    return k->data + (((size_t)digit * rfhe_key_rows(k) + row) * 2 + half) * n;
}

struct rfhe_eval_keys {
    rfhe_ckks *c;
    rfhe_key *key; /* sorted by element, then level */
    size_t count;
};

/* The smallest key of that element usable at `level` (with exactly `special` special primes unless 0); NULL if none. */
const rfhe_key *rfhe_key_find(const rfhe_eval_keys *k, uint32_t element, uint32_t level,
                              uint32_t special);
/* The same with a sentence. */
RFHE_MUST_USE rfhe_status rfhe_key_need(const rfhe_key **out, const rfhe_evaluator *ev,
                                        uint32_t element, uint32_t level, uint32_t special,
                                        rfhe_error *err);
/* Fills an allocated key. from, to: all primes, transformed; randomness from `owner`. */
RFHE_MUST_USE rfhe_status rfhe_key_make(rfhe_key *k, const rfhe_ckks *c, const uint64_t *from, const uint64_t *to,
                                        rfhe_secret_key *owner, rfhe_error *err);
/* Expands the uniform halves of a key from its seed. */
void rfhe_key_expand(rfhe_key *k, const rfhe_ckks *c);
/* Chooses `special` if it is 0, sets digits, allocates data; element and level are set. */
RFHE_MUST_USE rfhe_status rfhe_key_allocate(rfhe_key *k, const rfhe_ckks *c, rfhe_error *err);

enum { RFHE_SPARES = 3 };

struct rfhe_evaluator {
    rfhe_ckks *c;
    const rfhe_eval_keys *keys; /* borrowed; may be NULL */
    uint64_t *coef;     /* n_q limbs: coefficients of the polynomial being switched                    */
    uint64_t *raised;   /* digits x (n_q + n_p) limbs: the digits on all primes                        */
    uint64_t *acc[2];   /* n_q + n_p limbs each: key-switching sums                                    */
    uint64_t *lift[2];  /* n_q limbs each: the dropped part, converted                                 */
    uint64_t *tensor;   /* 3 x n_q limbs                                                               */
    uint64_t *scratch;  /* per thread: conversion blocks and a few limbs                                */
    size_t scratch_words;
    unsigned threads;   /* of the team when the evaluator was made; larger teams are not used          */
    uint32_t digits;    /* room of `raised`                                                            */
    const uint64_t *own; /* the polynomial behind `raised`: rows of a digit's own primes are its limbs */
    rfhe_ct **pool;      /* spare ciphertexts of polynomial programs and maps; grows, never shrinks     */
    uint32_t pool_count;
    uint64_t *wide;      /* of linear maps; grows, never shrinks                                        */
    rfhe_ct *spare[RFHE_SPARES]; /* of the refresh; made when first wanted                              */
    size_t wide_words;
    struct rfhe_evaluator **sub; /* one for each thread: small workspaces of teams of one; see rfhe_evaluator_subs */
    uint32_t sub_count, sub_level, sub_special, sub_digits;
    size_t bytes;
};

/* This thread's part of ev->scratch: conversion blocks, then RFHE_SCRATCH_LIMBS limbs. */
uint64_t *rfhe_thread_scratch(const rfhe_evaluator *ev);
enum { RFHE_SCRATCH_LIMBS_AT = (RFHE_CONVERT_MAX + 1) * RFHE_BLOCK, RFHE_SCRATCH_LIMBS = 8 };
/* At least `count` spare ciphertexts in ev->pool with room for `level`. */
RFHE_MUST_USE rfhe_status rfhe_evaluator_pool(rfhe_evaluator *ev, uint32_t count, uint32_t level, rfhe_error *err);

/* ev->spare[i] exists and has room for `level`. */
RFHE_MUST_USE rfhe_status rfhe_evaluator_spare(rfhe_evaluator *ev, uint32_t i, uint32_t level, rfhe_error *err);
/* At least `words` in ev->wide, contents undefined. */
RFHE_MUST_USE rfhe_status rfhe_evaluator_wide(rfhe_evaluator *ev, size_t words, rfhe_error *err);

/* ev->sub: an evaluator for each thread, for key switching from one thread at `level` or below with up to `special` special
 * primes and `digits` digits. Each has room for 2 (level + 1) limbs in its `tensor` and for one limb in its scratch, none
 * for spare ciphertexts. Grows, never shrinks. */
RFHE_MUST_USE rfhe_status rfhe_evaluator_subs(rfhe_evaluator *ev, uint32_t level, uint32_t special, uint32_t digits,
                                              rfhe_error *err);

/* Checks that objects belong together; sentences name what differs. */
RFHE_MUST_USE rfhe_status rfhe_check_ct(const rfhe_evaluator *ev, const rfhe_ct *a, const char *name,
                                        rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_check_same_scale(double a, double b, rfhe_error *err);

/* Transforms limbs in parallel: `limb[i]` of prime index `prime[i]`. */
void rfhe_limbs_forward(const rfhe_ckks *c, uint64_t *data, uint32_t from_prime, uint32_t count);
void rfhe_limbs_inverse(const rfhe_ckks *c, uint64_t *data, uint32_t from_prime, uint32_t count);

/* ---- key switching (keyswitch.c) ---- */

/* Called once per chain limb, in parallel, before anything reads that limb: writes it. */
typedef void rfhe_limb_fn(void *user, uint32_t limb);

/* Splits polynomial x (level + 1 transformed limbs) into digits, raises each to all primes of g at this level. x must
 * stay unchanged while the digits are in use. make (may be NULL) fills limb after limb of x and whatever else it likes.
 * transform = false leaves raised rows as coefficients for rfhe_switch's fused pass. */
void rfhe_decompose(rfhe_evaluator *ev, const rfhe_gadget *g, const uint64_t *x, uint32_t level, bool transform,
                    rfhe_limb_fn *make, void *user);
/* acc0, acc1 = sum of digits times key; level + 1 + special limbs each. is_transformed: what rfhe_decompose left.
 * add0, add1 (level + 1 limbs; may be NULL) are added times P. */
void rfhe_inner_product(rfhe_evaluator *ev, const rfhe_key *k, uint32_t level, bool is_transformed, uint64_t *acc0,
                        uint64_t *acc1, const uint64_t *add0, const uint64_t *add1);

typedef struct rfhe_mod_down_args {
    const rfhe_gadget *g;
    uint32_t level;
    bool rescale;         /* divide by P q_level instead of P: level results instead of level + 1           */
    uint32_t element;     /* automorphism of the result; 0 or 1 = none                                      */
    uint32_t halves;      /* 1 or 2 polynomials                                                             */
    uint64_t *acc[2];     /* level + 1 + special limbs; destroyed                                           */
    uint64_t *out[2];     /* limbs n apart; may equal add                                                   */
    const uint64_t *add[2]; /* NULL or limbs added before the automorphism                                  */
} rfhe_mod_down_args;
void rfhe_mod_down(rfhe_evaluator *ev, const rfhe_mod_down_args *a);

/* Encryption with given randomness: for tests, and for rfhe_encrypt. */
RFHE_MUST_USE rfhe_status rfhe_encrypt_with(rfhe_ct *out, const rfhe_pt *pt, const rfhe_public_key *pk,
                                            const rfhe_seed *seed, rfhe_error *err);
/* Fills part 1 from ct->seed at ct->level. */
void rfhe_ct_expand_seed(rfhe_ct *ct);

/* ---- noise (noise.c): variances are of one coefficient, in integers ---- */
double rfhe_noise_fresh_public(const rfhe_ckks *c);
double rfhe_noise_fresh_secret(const rfhe_ckks *c);
double rfhe_noise_rounding(const rfhe_ckks *c);
double rfhe_noise_key_switch(const rfhe_ckks *c, const rfhe_key *k, uint32_t level);
/* A key of RFHE_ELEMENT_RELEASE: one digit in [-q_0/2, q_0/2], divided by the first special prime. */
double rfhe_noise_release(const rfhe_ckks *c);
/* Standard deviation of a slot from the variance of a coefficient at a scale. */
double rfhe_noise_slot(const rfhe_ckks *c, double variance, double scale);

#endif
