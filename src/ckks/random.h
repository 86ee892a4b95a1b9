/* Randomness for keys and encryption: a 32-byte seed from the system, expanded by ChaCha20 into streams that are
 * separated by purpose, object and limb, so that no two uses ever share a byte. */
#ifndef RFHE_CKKS_RANDOM_H
#define RFHE_CKKS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "arith/kernels.h"
#include "rfhe/status.h"

enum { RFHE_SEED_BYTES = 32 };

typedef struct rfhe_seed {
    uint8_t bytes[RFHE_SEED_BYTES];
} rfhe_seed;

/* What a stream is for; part of the wire format where the seed is public (UNIFORM). */
typedef enum rfhe_purpose {
    RFHE_PURPOSE_SECRET = 1,  /* coefficients of a secret key            */
    RFHE_PURPOSE_ERROR = 2,   /* errors of keys and ciphertexts          */
    RFHE_PURPOSE_UNIFORM = 3, /* the public uniform half, seed is public */
    RFHE_PURPOSE_MASK = 4,    /* the ternary v of public-key encryption  */
    RFHE_PURPOSE_SEED = 5     /* further seeds                           */
} rfhe_purpose;

/* Fresh entropy from the operating system. RFHE_E_IO when libsodium cannot start. */
RFHE_MUST_USE rfhe_status rfhe_seed_fresh(rfhe_seed *out, rfhe_error *err);
/* The seed of a deterministic run; for tests only. */
void rfhe_seed_from_number(rfhe_seed *out, uint64_t n);
/* A seed derived from another one. */
void rfhe_seed_derive(rfhe_seed *out, const rfhe_seed *seed, rfhe_purpose purpose, uint64_t object,
                      uint32_t limb);
void rfhe_seed_wipe(rfhe_seed *s);

enum { RFHE_STREAM_BUFFER = 4096 };

/* ChaCha20 (64-bit nonce zero, counter from zero) under the derived key. */
typedef struct rfhe_stream {
    uint8_t key[32];
    uint64_t block; /* next 64-byte block */
    size_t at;      /* next unread byte of buffer */
    uint8_t buffer[RFHE_STREAM_BUFFER];
} rfhe_stream;

void rfhe_stream_open(rfhe_stream *s, const rfhe_seed *seed, rfhe_purpose purpose, uint64_t object,
                      uint32_t limb);
/* Wipes. */
void rfhe_stream_close(rfhe_stream *s);
void rfhe_stream_bytes(rfhe_stream *s, void *out, size_t n);

/* n residues uniform in [0, m->q): kernel sample_uniform on the words of the stream. For public values (the rejection
 * shows in time). Nothing else may be drawn from the stream afterwards. */
void rfhe_stream_uniform(rfhe_stream *s, const rfhe_kernels *k, uint64_t *r, size_t n,
                         const rfhe_modulus *m);
/* n values of {-1, 0, 1}, one third each within 2^-62. Constant time. */
void rfhe_stream_ternary(rfhe_stream *s, const rfhe_kernels *k, int64_t *r, size_t n);
/* n values of the centred binomial distribution of 2 x 21 bits, sigma 3.24. Constant time. */
void rfhe_stream_error(rfhe_stream *s, const rfhe_kernels *k, int64_t *r, size_t n);

/* Standard deviation of rfhe_stream_error. */
#define RFHE_ERROR_SIGMA 3.2403703492039302

#endif
