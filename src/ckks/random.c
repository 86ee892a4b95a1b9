/* Seeds and streams on libsodium. See random.h. */
#include "ckks/random.h"

#include <sodium.h>
#include <string.h>

#include "base/bytes.h"

rfhe_status rfhe_seed_fresh(rfhe_seed *out, rfhe_error *err)
{
    if (sodium_init() < 0) {
        return rfhe_fail(err, RFHE_E_IO, "libsodium cannot start, so there is no randomness for keys");
    }
    randombytes_buf(out->bytes, sizeof out->bytes);
    return RFHE_OK;
}

void rfhe_seed_from_number(rfhe_seed *out, uint64_t n)
{
    memset(out->bytes, 0, sizeof out->bytes);
    rfhe_store_le64(out->bytes, n);
}

/* The 32-byte key of a domain: BLAKE2b of the domain under the seed. */
static void derive(uint8_t key[32], const rfhe_seed *seed, rfhe_purpose purpose, uint64_t object,
                   uint32_t limb)
{
    uint8_t domain[32] = "rfhe-ckks-1";

    rfhe_store_le32(domain + 16, (uint32_t)purpose);
    rfhe_store_le32(domain + 20, limb);
    rfhe_store_le64(domain + 24, object);
    (void)crypto_generichash(key, 32, domain, sizeof domain, seed->bytes, sizeof seed->bytes);
}

void rfhe_seed_derive(rfhe_seed *out, const rfhe_seed *seed, rfhe_purpose purpose, uint64_t object,
                      uint32_t limb)
{
    derive(out->bytes, seed, purpose, object, limb);
}

void rfhe_seed_wipe(rfhe_seed *s)
{
    sodium_memzero(s, sizeof *s);
}

void rfhe_stream_open(rfhe_stream *s, const rfhe_seed *seed, rfhe_purpose purpose, uint64_t object,
                      uint32_t limb)
{
    derive(s->key, seed, purpose, object, limb);
    s->block = 0;
    s->at = RFHE_STREAM_BUFFER;
}

void rfhe_stream_close(rfhe_stream *s)
{
    sodium_memzero(s, sizeof *s);
}

static void refill(rfhe_stream *s)
{
    static const uint8_t nonce[8] = {0};

    memset(s->buffer, 0, sizeof s->buffer);
    (void)crypto_stream_chacha20_xor_ic(s->buffer, s->buffer, sizeof s->buffer, nonce, s->block, s->key);
    s->block += RFHE_STREAM_BUFFER / 64;
    s->at = 0;
}

void rfhe_stream_bytes(rfhe_stream *s, void *out, size_t n)
{
    uint8_t *p = out;

    while (n > 0) {
        if (s->at == RFHE_STREAM_BUFFER) { refill(s); }
        const size_t left = RFHE_STREAM_BUFFER - s->at, take = n < left ? n : left;
        memcpy(p, s->buffer + s->at, take);
        s->at += take, p += take, n -= take;
    }
}

/* A whole buffer of fresh words; the unread rest of the old one is given up. */
static const uint8_t *next_buffer(rfhe_stream *s)
{
    refill(s);
    s->at = RFHE_STREAM_BUFFER;
    return s->buffer;
}

enum { WORDS = RFHE_STREAM_BUFFER / 8 };

void rfhe_stream_uniform(rfhe_stream *s, const rfhe_kernels *k, uint64_t *r, size_t n, const rfhe_modulus *m)
{
    for (size_t made = 0; made < n;) {
        size_t used = 0;
        made += k->sample_uniform(r + made, n - made, next_buffer(s), WORDS, &used, m);
    }
}

void rfhe_stream_ternary(rfhe_stream *s, const rfhe_kernels *k, int64_t *r, size_t n)
{
    for (size_t i = 0; i < n; i += WORDS) {
        k->sample_ternary(r + i, n - i < WORDS ? n - i : WORDS, next_buffer(s));
    }
}

void rfhe_stream_error(rfhe_stream *s, const rfhe_kernels *k, int64_t *r, size_t n)
{
    for (size_t i = 0; i < n; i += WORDS) {
        k->sample_noise(r + i, n - i < WORDS ? n - i : WORDS, next_buffer(s));
    }
}
