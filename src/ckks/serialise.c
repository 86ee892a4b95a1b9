/* What stands in the sections of each kind of message; see docs/wire-format.md. Readers check kind, parameters, counts
 * and every residue, and leave their output alone when anything is wrong. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "ckks/encode.h"
#include "ckks/keys.h"
#include "ckks/wire.h"

static rfhe_status bad(rfhe_error *err, const char *what)
{
    return rfhe_fail(err, RFHE_E_FORMAT, "the message holds %s", what);
}

/* ---- parameters: the options that make them, honoured or refused when read ---- */

enum { PARAMETER_FIELDS = 16 + 16 * RFHE_CKKS_MAX_PRIMES };

/* Degree, counts, flag; then per prime its value and (chain) nominal scale. */
static size_t parameter_bytes(uint8_t *b, const rfhe_ckks *c)
{
    const uint32_t all = c->n_q + c->n_p;

    rfhe_store_le32(b, c->log2_n);
    rfhe_store_le32(b + 4, c->n_q);
    rfhe_store_le32(b + 8, c->n_p);
    rfhe_store_le32(b + 12, c->is_insecure ? 1 : 0);
    for (uint32_t i = 0; i < all; i++) {
        rfhe_store_le64(b + 16 + 16 * i, c->m[i].q);
        memset(b + 24 + 16 * i, 0, 8);
        if (i < c->n_q) { memcpy(b + 24 + 16 * i, &c->scale[i], 8); }
    }
    return 16 + 16 * (size_t)all;
}

rfhe_status rfhe_ckks_write(uint8_t **data, size_t *size, const rfhe_ckks *c, rfhe_error *err)
{
    uint8_t fields[PARAMETER_FIELDS];
    const size_t length = parameter_bytes(fields, c);
    const rfhe_wire_size section = {RFHE_TAG_FIELDS, 0, length};
    rfhe_wire_writer w = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_begin(&w, RFHE_WIRE_PARAMETERS, c->id, &section, 1, NULL, err));
    RFHE_TRY(rfhe_wire_section(&w, fields, length, err));
    RFHE_TRY(rfhe_wire_end(&w, err));
    *data = w.memory;
    *size = w.total;
    w.memory = NULL;
done:
    rfhe_wire_drop(&w);
    return st;
}

rfhe_status rfhe_ckks_read(rfhe_ckks **out, const void *data, size_t size, bool accept_insecure, rfhe_error *err)
{
    rfhe_wire_reader r;
    const uint8_t *b = NULL;
    size_t length = 0;
    rfhe_ckks *c = NULL;
    uint64_t prime[RFHE_CKKS_MAX_PRIMES];
    double scale[RFHE_CKKS_MAX_LEVELS];
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_open(&r, data, size, RFHE_WIRE_PARAMETERS, err));
    if (r.count != 1) {
        st = bad(err, "parameters in more than one section");
        goto done;
    }
    RFHE_TRY(rfhe_wire_read(&r, 0, RFHE_TAG_FIELDS, 0, &b, &length, err));
    if (length < 16) {
        st = bad(err, "parameters cut short");
        goto done;
    }
    const uint32_t log2_n = rfhe_load_le32(b), n_q = rfhe_load_le32(b + 4), n_p = rfhe_load_le32(b + 8);
    if (log2_n < 10 || log2_n > 17 || n_q < 1 || n_q > RFHE_CKKS_MAX_LEVELS || n_p < 1 ||
        n_p > RFHE_CKKS_MAX_SPECIAL || length != 16 + 16 * (size_t)(n_q + n_p)) {
        st = bad(err, "parameters out of range");
        goto done;
    }
    for (uint32_t i = 0; i < n_q + n_p; i++) {
        prime[i] = rfhe_load_le64(b + 16 + 16 * i);
        if (i < n_q) { memcpy(&scale[i], b + 24 + 16 * i, 8); }
    }
    RFHE_TRY(rfhe_ckks_from_primes(&c, log2_n, prime, n_q, n_p, scale, accept_insecure, err));
    if (memcmp(c->id, r.id, sizeof r.id) != 0) {
        st = bad(err, "parameters that do not match their own identity");
        goto done;
    }
    *out = c;
    c = NULL;
done:
    rfhe_ckks_free(c);
    return st;
}

/* ---- limbs ---- */

static size_t packed_bytes(const rfhe_ckks *c, uint32_t prime)
{
    return c->n * c->m[prime].bits / 8;
}

/* ---- ciphertexts ---- */

enum { CT_FIELDS = 80 };

rfhe_status rfhe_ct_write(uint8_t **data, size_t *size, const rfhe_ct *ct, rfhe_error *err)
{
    const rfhe_ckks *c = ct->c;
    const uint32_t stored = ct->has_seed ? 1 : ct->parts;
    uint8_t fields[CT_FIELDS] = {0}, *packed = NULL;
    size_t bytes = 0;
    rfhe_wire_writer w = {0};
    rfhe_status st = RFHE_OK;

    for (uint32_t i = 0; i <= ct->level; i++) { bytes += stored * packed_bytes(c, i); }
    packed = rfhe_alloc(bytes, 1);
    if (packed == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to write a ciphertext"); }
    rfhe_store_le32(fields, ct->level);
    rfhe_store_le32(fields + 4, ct->parts);
    rfhe_store_le32(fields + 8, ct->has_seed ? 1 : 0);
    memcpy(fields + 16, &ct->scale, 8);
    memcpy(fields + 24, &ct->bound, 8);
    memcpy(fields + 32, &ct->error, 8);
    if (ct->has_seed) { memcpy(fields + 48, ct->seed.bytes, 32); }
    uint8_t *at = packed;
    for (uint32_t p = 0; p < stored; p++) {
        for (uint32_t i = 0; i <= ct->level; i++) {
            rfhe_pack_residues(at, rfhe_ct_limb(ct, p, i), c->n, c->m[i].bits);
            at += packed_bytes(c, i);
        }
    }
    const rfhe_wire_size section[] = {{RFHE_TAG_FIELDS, 0, CT_FIELDS}, {RFHE_TAG_LIMBS, 0, bytes}};
    RFHE_TRY(rfhe_wire_begin(&w, RFHE_WIRE_CIPHERTEXT, c->id, section, 2, NULL, err));
    RFHE_TRY(rfhe_wire_section(&w, fields, sizeof fields, err));
    RFHE_TRY(rfhe_wire_section(&w, packed, bytes, err));
    RFHE_TRY(rfhe_wire_end(&w, err));
    *data = w.memory;
    *size = w.total;
    w.memory = NULL;
done:
    rfhe_free(packed);
    rfhe_wire_drop(&w);
    return st;
}

static bool is_positive(double x)
{
    return isfinite(x) && x > 0;
}

rfhe_status rfhe_ct_read(rfhe_ct **out, const rfhe_ckks *c, const void *data, size_t size, rfhe_error *err)
{
    rfhe_wire_reader r;
    const uint8_t *f = NULL, *limbs = NULL;
    size_t length = 0, bytes = 0, want = 0;
    rfhe_ct *ct = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_open(&r, data, size, RFHE_WIRE_CIPHERTEXT, err));
    RFHE_TRY(rfhe_wire_belongs(&r, c, err));
    RFHE_TRY(rfhe_wire_read(&r, 0, RFHE_TAG_FIELDS, 0, &f, &length, err));
    RFHE_TRY(rfhe_wire_read(&r, 1, RFHE_TAG_LIMBS, 0, &limbs, &bytes, err));
    if (r.count != 2 || length != CT_FIELDS) {
        st = bad(err, "a ciphertext of another layout");
        goto done;
    }
    const uint32_t level = rfhe_load_le32(f), parts = rfhe_load_le32(f + 4), seeded = rfhe_load_le32(f + 8);
    double scale, bound, error;
    memcpy(&scale, f + 16, 8);
    memcpy(&bound, f + 24, 8);
    memcpy(&error, f + 32, 8);
    if (level >= c->n_q || parts < 2 || parts > 3 || seeded > 1 || (seeded == 1 && parts != 2) || !is_positive(scale) ||
        !isfinite(bound) || bound < 0 || !isfinite(error) || error < 0 || rfhe_load_le32(f + 12) != 0 ||
        rfhe_load_le64(f + 40) != 0) {
        st = bad(err, "a ciphertext with impossible numbers");
        goto done;
    }
    static const uint8_t zero[RFHE_SEED_BYTES] = {0};
    if (seeded == 0 && memcmp(f + 48, zero, sizeof zero) != 0) {
        st = bad(err, "a ciphertext with a seed it does not use");
        goto done;
    }
    const uint32_t stored = seeded == 1 ? 1 : parts;
    for (uint32_t i = 0; i <= level; i++) { want += stored * packed_bytes(c, i); }
    if (bytes != want) {
        st = bad(err, "a ciphertext whose residues do not fit its level");
        goto done;
    }
    RFHE_TRY(rfhe_ct_new(&ct, c, level, err));
    RFHE_TRY(rfhe_ct_reserve(ct, level, parts, err));
    for (uint32_t p = 0; p < stored; p++) {
        for (uint32_t i = 0; i <= level; i++) {
            if (!rfhe_unpack_residues(rfhe_ct_limb(ct, p, i), limbs, c->n, &c->m[i])) {
                st = bad(err, "a ciphertext with residues above their prime");
                goto done;
            }
            limbs += packed_bytes(c, i);
        }
    }
    ct->parts = parts;
    ct->scale = scale;
    ct->bound = bound;
    ct->error = error;
    ct->has_seed = seeded == 1;
    if (ct->has_seed) {
        memcpy(ct->seed.bytes, f + 48, 32);
        rfhe_ct_expand_seed(ct);
    }
    *out = ct;
    ct = NULL;
done:
    rfhe_ct_free(ct);
    return st;
}

/* ---- secret keys: only to files of mode 0600 ---- */

rfhe_status rfhe_secret_key_save(const char *path, const rfhe_secret_key *sk, rfhe_error *err)
{
    const rfhe_ckks *c = sk->c;
    const size_t bytes = c->n / 4;
    uint8_t *packed = rfhe_calloc(bytes, 1);
    rfhe_wire_writer w = {0};
    rfhe_status st = RFHE_OK;

    if (packed == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to write a secret key"); }
    for (size_t i = 0; i < c->n; i++) { packed[i / 4] |= (uint8_t)((sk->coef[i] + 1) << (2 * (i % 4))); }
    const rfhe_wire_size section = {RFHE_TAG_SECRET, 0, bytes};
    RFHE_TRY(rfhe_wire_begin(&w, RFHE_WIRE_SECRET_KEY, c->id, &section, 1, NULL, err));
    RFHE_TRY(rfhe_wire_section(&w, packed, bytes, err));
    RFHE_TRY(rfhe_wire_end(&w, err));
    RFHE_TRY(rfhe_file_write(path, w.memory, w.total, 0600, err));
done:
    rfhe_free_secret(packed);
    rfhe_wire_drop(&w);
    return st;
}

rfhe_status rfhe_secret_key_parse(rfhe_secret_key **out, const rfhe_ckks *c, const void *data, size_t size,
                                  rfhe_error *err)
{
    rfhe_wire_reader r;
    const uint8_t *packed = NULL;
    size_t bytes = 0;
    int64_t *coef = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_open(&r, data, size, RFHE_WIRE_SECRET_KEY, err));
    RFHE_TRY(rfhe_wire_belongs(&r, c, err));
    RFHE_TRY(rfhe_wire_read(&r, 0, RFHE_TAG_SECRET, 0, &packed, &bytes, err));
    if (r.count != 1 || bytes != c->n / 4) {
        st = bad(err, "a secret key of another layout");
        goto done;
    }
    coef = rfhe_alloc(c->n, sizeof *coef);
    if (coef == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a secret key");
        goto done;
    }
    unsigned wrong = 0;
    for (size_t i = 0; i < c->n; i++) {
        const unsigned v = (unsigned)packed[i / 4] >> (2 * (i % 4)) & 3;
        wrong |= v & (v >> 1);
        coef[i] = (int64_t)v - 1;
    }
    if (wrong != 0) {
        st = bad(err, "a secret key with a coefficient that is not ternary");
        goto done;
    }
    RFHE_TRY(rfhe_secret_key_from_coeffs(out, c, coef, err));
done:
    rfhe_free_secret(coef);
    return st;
}

rfhe_status rfhe_secret_key_load(rfhe_secret_key **out, const rfhe_ckks *c, const char *path, rfhe_error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_status st = rfhe_file_read(&data, &size, path, (size_t)1 << 20, err);

    if (st == RFHE_OK) { st = rfhe_secret_key_parse(out, c, data, size, err); }
    rfhe_free_secret(data);
    return st;
}

/* ---- public keys ---- */

rfhe_status rfhe_public_key_write(uint8_t **data, size_t *size, const rfhe_public_key *pk, rfhe_error *err)
{
    const rfhe_ckks *c = pk->c;
    size_t bytes = RFHE_SEED_BYTES;
    rfhe_wire_writer w = {0};
    rfhe_status st = RFHE_OK;

    for (uint32_t i = 0; i < c->n_q; i++) { bytes += packed_bytes(c, i); }
    uint8_t *packed = rfhe_alloc(bytes, 1), *at = packed;
    if (packed == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to write a public key"); }
    memcpy(at, pk->seed.bytes, RFHE_SEED_BYTES);
    at += RFHE_SEED_BYTES;
    for (uint32_t i = 0; i < c->n_q; i++) {
        rfhe_pack_residues(at, pk->b + i * c->n, c->n, c->m[i].bits);
        at += packed_bytes(c, i);
    }
    const rfhe_wire_size section = {RFHE_TAG_LIMBS, 0, bytes};
    RFHE_TRY(rfhe_wire_begin(&w, RFHE_WIRE_PUBLIC_KEY, c->id, &section, 1, NULL, err));
    RFHE_TRY(rfhe_wire_section(&w, packed, bytes, err));
    RFHE_TRY(rfhe_wire_end(&w, err));
    *data = w.memory;
    *size = w.total;
    w.memory = NULL;
done:
    rfhe_free(packed);
    rfhe_wire_drop(&w);
    return st;
}

rfhe_status rfhe_public_key_read(rfhe_public_key **out, const rfhe_ckks *c, const void *data, size_t size,
                                 rfhe_error *err)
{
    rfhe_wire_reader r;
    const uint8_t *packed = NULL;
    size_t bytes = 0, want = RFHE_SEED_BYTES;
    rfhe_public_key *pk = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_open(&r, data, size, RFHE_WIRE_PUBLIC_KEY, err));
    RFHE_TRY(rfhe_wire_belongs(&r, c, err));
    RFHE_TRY(rfhe_wire_read(&r, 0, RFHE_TAG_LIMBS, 0, &packed, &bytes, err));
    for (uint32_t i = 0; i < c->n_q; i++) { want += packed_bytes(c, i); }
    if (r.count != 1 || bytes != want) {
        st = bad(err, "a public key of another layout");
        goto done;
    }
    pk = rfhe_calloc(1, sizeof *pk);
    if (pk != NULL) {
        pk->c = rfhe_ckks_share(c);
        pk->a = rfhe_alloc((size_t)c->n_q * c->n, sizeof(uint64_t));
        pk->b = rfhe_alloc((size_t)c->n_q * c->n, sizeof(uint64_t));
    }
    if (pk == NULL || pk->a == NULL || pk->b == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a public key");
        goto done;
    }
    memcpy(pk->seed.bytes, packed, RFHE_SEED_BYTES);
    packed += RFHE_SEED_BYTES;
    for (uint32_t i = 0; i < c->n_q; i++) {
        if (!rfhe_unpack_residues(pk->b + i * c->n, packed, c->n, &c->m[i])) {
            st = bad(err, "a public key with residues above their prime");
            goto done;
        }
        rfhe_uniform_limb(c, pk->a + i * c->n, &pk->seed, 0, i);
        packed += packed_bytes(c, i);
    }
    *out = pk;
    pk = NULL;
done:
    rfhe_public_key_free(pk);
    return st;
}

/* ---- evaluation keys: one section each, so that a mapped file is read key by key ---- */

enum { KEY_FIELDS = 48 };

static size_t key_bytes(const rfhe_ckks *c, uint32_t level, uint32_t special, uint32_t digits)
{
    size_t sum = 0;

    for (uint32_t r = 0; r < level + 1 + special; r++) { sum += packed_bytes(c, rfhe_row_prime(c, level, r)); }
    return KEY_FIELDS + digits * sum;
}

/* The section of one key. */
static rfhe_status put_key(rfhe_wire_writer *w, uint8_t *packed, const rfhe_key *key, const rfhe_ckks *c, size_t length,
                           rfhe_error *err)
{
    uint8_t *at = packed + KEY_FIELDS;

    rfhe_store_le32(packed, key->element);
    rfhe_store_le32(packed + 4, key->level);
    rfhe_store_le32(packed + 8, key->special);
    rfhe_store_le32(packed + 12, key->digits);
    memcpy(packed + 16, key->seed.bytes, RFHE_SEED_BYTES);
    for (uint32_t d = 0; d < key->digits; d++) {
        for (uint32_t r = 0; r < rfhe_key_rows(key); r++) {
            const uint32_t prime = rfhe_row_prime(c, key->level, r);
            rfhe_pack_residues(at, rfhe_key_limb(key, d, r, 0, c->n), c->n, c->m[prime].bits);
            at += packed_bytes(c, prime);
        }
    }
    return rfhe_wire_section(w, packed, length, err);
}

/* Writes keys; with a maker, each is made just before and freed after it was written. */
static rfhe_status write_keys(const char *path, rfhe_eval_keys *k, rfhe_key_maker *maker, const rfhe_progress *progress,
                              rfhe_error *err)
{
    const rfhe_ckks *c = k->c;
    rfhe_status st = RFHE_OK;
    rfhe_wire_size *section = NULL;
    uint8_t *packed = NULL;
    size_t most = 0;
    rfhe_wire_writer w = {0};
    rfhe_file_writer file = {.fd = -1};
    bool is_open = false;

    if (k->count > RFHE_WIRE_MAX) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "%zu keys in one file; %u are possible", k->count,
                         (unsigned)RFHE_WIRE_MAX);
    }
    section = rfhe_calloc(k->count, sizeof *section);
    for (size_t i = 0; i < k->count && section != NULL; i++) {
        const rfhe_key *key = &k->key[i];
        section[i] = (rfhe_wire_size){RFHE_TAG_KEY, key->element, key_bytes(c, key->level, key->special, key->digits)};
        most = section[i].length > most ? section[i].length : most;
    }
    packed = rfhe_alloc(most, 1);
    if (section == NULL || packed == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to write evaluation keys");
        goto done;
    }
    RFHE_TRY(rfhe_file_writer_open(&file, path, 0644, err));
    is_open = true;
    RFHE_TRY(rfhe_wire_begin(&w, RFHE_WIRE_EVAL_KEYS, c->id, section, (uint32_t)k->count, &file, err));
    for (size_t i = 0; i < k->count; i++) {
        rfhe_key *key = &k->key[i];
        RFHE_TRY(rfhe_progress_report(progress, "making keys", (double)i, (double)k->count, "keys", ""));
        if (maker != NULL) { RFHE_TRY(rfhe_key_maker_make(maker, key, err)); }
        RFHE_TRY(put_key(&w, packed, key, c, section[i].length, err));
        if (maker != NULL) {
            rfhe_free(key->data);
            key->data = NULL;
        }
    }
    RFHE_TRY(rfhe_wire_end(&w, err));
    is_open = false;
    RFHE_TRY(rfhe_file_writer_commit(&file, err));
done:
    if (is_open) { rfhe_file_writer_cancel(&file); }
    rfhe_free(section);
    rfhe_free(packed);
    rfhe_wire_drop(&w);
    return st;
}

rfhe_status rfhe_eval_keys_save(const char *path, const rfhe_eval_keys *k, rfhe_error *err)
{
    return write_keys(path, (rfhe_eval_keys *)(uintptr_t)k, NULL, NULL, err); /* without a maker nothing is changed */
}

rfhe_status rfhe_eval_keys_make_file(const char *path, const rfhe_secret_key *sk, const rfhe_key_want *want, size_t count,
                                     const rfhe_progress *progress, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_eval_keys *k = NULL;
    rfhe_key_maker maker = {0};

    RFHE_TRY(rfhe_eval_keys_plan(&k, sk->c, want, count, err));
    RFHE_TRY(rfhe_key_maker_init(&maker, sk, want, count, err));
    rfhe_eval_keys_sort(k);
    RFHE_TRY(write_keys(path, k, &maker, progress, err));

done:
    rfhe_key_maker_clear(&maker);
    rfhe_eval_keys_free(k);
    return st;
}

static rfhe_status read_key(rfhe_key *key, const rfhe_ckks *c, const uint8_t *b, size_t length, rfhe_error *err)
{
    if (length < KEY_FIELDS) { return bad(err, "an evaluation key cut short"); }
    const rfhe_key_want want = {rfhe_load_le32(b), rfhe_load_le32(b + 4), rfhe_load_le32(b + 8)};
    rfhe_error ignored = {0};
    if (rfhe_check_want(c, &want, &ignored) != RFHE_OK || want.special == 0) {
        return bad(err, "an evaluation key with impossible numbers");
    }
    const uint32_t digits = rfhe_key_digits(c, want.element, want.level, want.special);
    if (rfhe_load_le32(b + 12) != digits || length != key_bytes(c, want.level, want.special, digits)) {
        return bad(err, "an evaluation key whose residues do not fit its level");
    }
    key->element = want.element;
    key->level = want.level;
    key->special = want.special;
    rfhe_status st = rfhe_key_allocate(key, c, err);
    if (st != RFHE_OK) { return st; }
    memcpy(key->seed.bytes, b + 16, RFHE_SEED_BYTES);
    b += KEY_FIELDS;
    for (uint32_t d = 0; d < digits; d++) {
        for (uint32_t r = 0; r < rfhe_key_rows(key); r++) {
            const uint32_t prime = rfhe_row_prime(c, key->level, r);
            if (!rfhe_unpack_residues(rfhe_key_limb(key, d, r, 0, c->n), b, c->n, &c->m[prime])) {
                return bad(err, "an evaluation key with residues above their prime");
            }
            b += packed_bytes(c, prime);
        }
    }
    rfhe_key_expand(key, c);
    return RFHE_OK;
}

rfhe_status rfhe_eval_keys_parse(rfhe_eval_keys **out, const rfhe_ckks *c, const void *data, size_t size,
                                 rfhe_error *err)
{
    rfhe_wire_reader r;
    rfhe_eval_keys *k = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_open(&r, data, size, RFHE_WIRE_EVAL_KEYS, err));
    RFHE_TRY(rfhe_wire_belongs(&r, c, err));
    RFHE_TRY(rfhe_eval_keys_allocate(&k, c, r.count, err));
    for (uint32_t i = 0; i < r.count; i++) {
        const uint8_t *b = NULL;
        size_t length = 0;
        rfhe_wire_size entry;
        rfhe_wire_entry(&r, i, &entry);
        RFHE_TRY(rfhe_wire_read(&r, i, RFHE_TAG_KEY, entry.index, &b, &length, err));
        RFHE_TRY(read_key(&k->key[i], c, b, length, err));
        if (entry.index != k->key[i].element) {
            st = bad(err, "an evaluation key under another's name");
            goto done;
        }
    }
    rfhe_eval_keys_sort(k);
    *out = k;
    k = NULL;
done:
    rfhe_eval_keys_free(k);
    return st;
}

rfhe_status rfhe_eval_keys_load(rfhe_eval_keys **out, const rfhe_ckks *c, const char *path, rfhe_error *err)
{
    rfhe_file_map map = {0};
    rfhe_status st = rfhe_file_map_open(&map, path, err);

    if (st != RFHE_OK) { return st; }
    st = rfhe_eval_keys_parse(out, c, map.data, map.size, err);
    rfhe_file_map_close(&map);
    return st;
}

void rfhe_bytes_free(uint8_t *data)
{
    rfhe_free(data);
}
