/* What the fuzz targets of ckks/ share. A hash guards every message, so that random bytes would never come past it:
 * each input is tried as it is and once more as a list of edits to a genuine message whose hashes are then put right. */
#ifndef FUZZ_CKKS_H
#define FUZZ_CKKS_H

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
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

/* A genuine message of the kind, made once. */
static inline const uint8_t *fuzz_genuine(int kind, size_t *size)
{
    static uint8_t *data;
    static size_t n;
    const rfhe_ckks *c = fuzz_set();
    const uint64_t seed = 1;
    const double x[2] = {1, 2};
    const rfhe_key_want want[] = {{RFHE_ELEMENT_RELIN, 1, 0}, {5, 0, 0}};
    rfhe_secret_key *sk = NULL;
    rfhe_public_key *pk = NULL;
    rfhe_eval_keys *keys = NULL;
    rfhe_pt *pt = NULL;
    rfhe_ct *ct = NULL;
    char path[] = "/tmp/fuzz-ckks-XXXXXX";
    const int fd = data == NULL ? mkstemp(path) : -1;

    if (data == NULL) {
        if (fd < 0 || rfhe_secret_key_new(&sk, c, &seed, NULL) != RFHE_OK ||
            rfhe_public_key_new(&pk, sk, NULL) != RFHE_OK || rfhe_eval_keys_new(&keys, sk, want, 2, NULL) != RFHE_OK ||
            rfhe_encode(&pt, c, x, NULL, 2, 1, 0, NULL) != RFHE_OK || rfhe_ct_new(&ct, c, 1, NULL) != RFHE_OK ||
            rfhe_encrypt(ct, pt, pk, NULL) != RFHE_OK) {
            abort();
        }
        rfhe_status st = RFHE_OK;
        switch (kind) {
        case FUZZ_CT: st = rfhe_ct_write(&data, &n, ct, NULL); break;
        case FUZZ_PUBLIC_KEY: st = rfhe_public_key_write(&data, &n, pk, NULL); break;
        case FUZZ_PARAMETERS: st = rfhe_ckks_write(&data, &n, c, NULL); break;
        case FUZZ_SECRET_KEY: st = rfhe_secret_key_save(path, sk, NULL); break;
        default: st = rfhe_eval_keys_save(path, keys, NULL); break;
        }
        if (st != RFHE_OK || (data == NULL && rfhe_file_read(&data, &n, path, 1 << 24, NULL) != RFHE_OK)) { abort(); }
        (void)close(fd);
        (void)unlink(path);
        rfhe_ct_free(ct);
        rfhe_pt_free(pt);
        rfhe_eval_keys_free(keys);
        rfhe_public_key_free(pk);
        rfhe_secret_key_free(sk);
    }
    *size = n;
    return data;
}

/* Makes all hashes right again, as far as the table can be followed. */
static inline void fuzz_rehash(uint8_t *b, size_t size)
{
    const uint64_t table = rfhe_load_le64(b + 24), count = rfhe_load_le32(b + 12);
    crypto_generichash_state h;

    if (table > size || count > 64 || size - table < count * RFHE_WIRE_ENTRY + RFHE_WIRE_HASH) { return; }
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *e = b + table + i * RFHE_WIRE_ENTRY;
        const uint64_t offset = rfhe_load_le64(e + 8), length = rfhe_load_le64(e + 16);
        if (offset > size || length > size - offset) { continue; }
        (void)crypto_generichash(e + 32, 32, b + offset, length, NULL, 0);
    }
    (void)crypto_generichash_init(&h, NULL, 0, 32);
    (void)crypto_generichash_update(&h, b, RFHE_WIRE_HEADER);
    (void)crypto_generichash_update(&h, b + table, count * RFHE_WIRE_ENTRY);
    (void)crypto_generichash_final(&h, b + size - 32, 32);
}

static inline int fuzz_ckks(const uint8_t *data, size_t size, int kind)
{
    size_t n = 0;
    const uint8_t *genuine = fuzz_genuine(kind, &n);
    const size_t before = rfhe_mem_get_stats().current;

    fuzz_try(data, size, kind);
    /* Edits of (position, byte) on the genuine message: near its ends, where the numbers are, or anywhere. */
    uint8_t *copy = malloc(n);
    if (copy == NULL) { return 0; }
    memcpy(copy, genuine, n);
    for (size_t i = 0; i + 4 <= size; i += 4) {
        const size_t at = rfhe_load_le16(data + i);
        const size_t where = (data[i + 2] & 3) == 0 ? at % n : (data[i + 2] & 3) == 1 ? n - 1 - at % 256 % n : at % 256 % n;
        copy[where] = data[i + 3];
    }
    fuzz_rehash(copy, n);
    fuzz_try(copy, n, kind);
    free(copy);
    if (rfhe_mem_get_stats().current != before) { abort(); }
    return 0;
}

#endif
