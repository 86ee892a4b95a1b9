/* What the fuzz targets of ckks/ share. A hash guards every message, so that random bytes would never come past it:
 * each input is tried as it is and once more with its lengths, identity and hashes put right. */
#ifndef FUZZ_CKKS_H
#define FUZZ_CKKS_H

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "ckks/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_PARAMETERS = 1, FUZZ_SECRET_KEY, FUZZ_PUBLIC_KEY, FUZZ_EVAL_KEYS, FUZZ_CT };

static inline rfhe_ckks *fuzz_set(void)
{
    static rfhe_ckks *c;
    const rfhe_ckks_options o = {.log2_n = 10, .depth = 1, .scale_bits = 30, .insecure_test = true};

    if (c == NULL && rfhe_ckks_new(&c, &o, NULL) != RFHE_OK) { abort(); }
    return c;
}

static inline void fuzz_try(const uint8_t *data, size_t size, int kind)
{
    rfhe_ckks *c = fuzz_set();
    rfhe_error err = {0};
    rfhe_status st = RFHE_OK;
    uint8_t *back = NULL;
    size_t n = 0;

    if (kind == FUZZ_CT) {
        rfhe_ct *x = NULL;
        st = rfhe_ct_read(&x, c, data, size, &err);
        if (st == RFHE_OK && (rfhe_ct_write(&back, &n, x, NULL) != RFHE_OK || n != size || memcmp(back, data, n) != 0)) {
            abort();
        }
        rfhe_ct_free(x);
    } else if (kind == FUZZ_PUBLIC_KEY) {
        rfhe_public_key *x = NULL;
        st = rfhe_public_key_read(&x, c, data, size, &err);
        if (st == RFHE_OK &&
            (rfhe_public_key_write(&back, &n, x, NULL) != RFHE_OK || n != size || memcmp(back, data, n) != 0)) {
            abort();
        }
        rfhe_public_key_free(x);
    } else if (kind == FUZZ_SECRET_KEY) {
        rfhe_secret_key *x = NULL;
        st = rfhe_secret_key_parse(&x, c, data, size, &err);
        rfhe_secret_key_free(x);
    } else if (kind == FUZZ_EVAL_KEYS) {
        rfhe_eval_keys *x = NULL;
        st = rfhe_eval_keys_parse(&x, c, data, size, &err);
        rfhe_eval_keys_free(x);
    } else {
        rfhe_ckks *x = NULL;
        st = rfhe_ckks_read(&x, data, size, true, &err);
        rfhe_ckks_free(x);
    }
    if (st != RFHE_OK && (err.code != st || err.text[0] == '\0')) { abort(); }
    rfhe_bytes_free(back);
}

/* Rewrites header, table and hashes of a copy so that the contents are reached. */
static inline void fuzz_repair(uint8_t *b, size_t size, int kind)
{
    const rfhe_ckks *c = fuzz_set();
    uint8_t hash[32];
    uint64_t offset = RFHE_WIRE_HEADER;
    uint32_t count = rfhe_load_le32(b + 12) % 4 + 1;
    const uint64_t tail = (uint64_t)count * RFHE_WIRE_ENTRY + RFHE_WIRE_HASH;

    if (size < RFHE_WIRE_HEADER + tail) { return; }
    const uint64_t table = (size - tail) / 64 * 64;
    if (table < RFHE_WIRE_HEADER || table + tail != size) { return; }
    memcpy(b, "rfhewire", 8);
    rfhe_store_le16(b + 8, RFHE_WIRE_VERSION);
    rfhe_store_le16(b + 10, (uint16_t)kind);
    rfhe_store_le32(b + 12, count);
    rfhe_store_le64(b + 16, size);
    rfhe_store_le64(b + 24, table);
    memcpy(b + 32, c->id, 32);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *e = b + table + (size_t)i * RFHE_WIRE_ENTRY;
        const uint64_t room = table - offset;
        uint64_t length = i + 1 == count ? room : rfhe_load_le64(e + 16) % (room + 1) / 64 * 64;
        rfhe_store_le64(e + 8, offset);
        rfhe_store_le64(e + 16, length);
        rfhe_store_le64(e + 24, 0);
        (void)crypto_generichash(e + 32, 32, b + offset, length, NULL, 0);
        offset += length;
    }
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, NULL, 0, 32);
    (void)crypto_generichash_update(&h, b, RFHE_WIRE_HEADER);
    (void)crypto_generichash_update(&h, b + table, (size_t)count * RFHE_WIRE_ENTRY);
    (void)crypto_generichash_final(&h, hash, 32);
    memcpy(b + size - 32, hash, 32);
}

static inline int fuzz_ckks(const uint8_t *data, size_t size, int kind)
{
    (void)fuzz_set();
    const size_t before = rfhe_mem_get_stats().current;

    fuzz_try(data, size, kind);
    if (size >= RFHE_WIRE_HEADER) {
        uint8_t *copy = malloc(size);
        if (copy == NULL) { return 0; }
        memcpy(copy, data, size);
        fuzz_repair(copy, size, kind);
        fuzz_try(copy, size, kind);
        free(copy);
    }
    if (rfhe_mem_get_stats().current != before) { abort(); }
    return 0;
}

#endif
