/* The container and the packing of residues. Nothing here trusts a length: every number of a file is compared with what
 * the file's own size and the expected layout imply before it is used. */
#include "ckks/wire.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

static const char magic[8] = {'r', 'f', 'h', 'e', 'w', 'i', 'r', 'e'};
enum { ALIGN = 64 };

static uint64_t align(uint64_t x)
{
    return (x + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

static rfhe_status put(rfhe_wire_writer *w, const void *data, size_t length, rfhe_error *err)
{
    if (w->file != NULL) {
        const rfhe_status st = rfhe_file_writer_put(w->file, data, length, err);
        if (st != RFHE_OK) { return st; }
    } else {
        memcpy(w->memory + w->at, data, length);
    }
    w->at += length;
    return RFHE_OK;
}

rfhe_status rfhe_wire_begin(rfhe_wire_writer *w, rfhe_wire_kind kind, const uint8_t id[32],
                            const rfhe_wire_size *section, uint32_t count, rfhe_file_writer *file, rfhe_error *err)
{
    uint64_t offset = RFHE_WIRE_HEADER;

    *w = (rfhe_wire_writer){.file = file, .count = count};
    w->table = rfhe_calloc(count, RFHE_WIRE_ENTRY);
    if (w->table == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to write %u sections", count); }
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *e = w->table + (size_t)i * RFHE_WIRE_ENTRY;
        rfhe_store_le32(e, section[i].tag);
        rfhe_store_le32(e + 4, section[i].index);
        rfhe_store_le64(e + 8, offset);
        rfhe_store_le64(e + 16, section[i].length);
        offset = align(offset + section[i].length);
    }
    w->total = offset + (size_t)count * RFHE_WIRE_ENTRY + RFHE_WIRE_HASH;
    memcpy(w->header, magic, 8);
    rfhe_store_le16(w->header + 8, RFHE_WIRE_VERSION);
    rfhe_store_le16(w->header + 10, (uint16_t)kind);
    rfhe_store_le32(w->header + 12, count);
    rfhe_store_le64(w->header + 16, w->total);
    rfhe_store_le64(w->header + 24, offset);
    memcpy(w->header + 32, id, 32);
    if (file == NULL) {
        w->memory = rfhe_alloc(w->total, 1);
        if (w->memory == NULL) {
            rfhe_wire_drop(w);
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a message of %zu bytes", w->total);
        }
    }
    return put(w, w->header, sizeof w->header, err);
}

rfhe_status rfhe_wire_section(rfhe_wire_writer *w, const void *data, size_t length, rfhe_error *err)
{
    static const uint8_t zeros[ALIGN] = {0};
    uint8_t *e = w->table + (size_t)w->current++ * RFHE_WIRE_ENTRY;
    rfhe_status st = put(w, data, length, err);

    if (st != RFHE_OK) { return st; }
    (void)crypto_generichash(e + 32, RFHE_WIRE_HASH, data, length, NULL, 0);
    return put(w, zeros, align(w->at) - w->at, err);
}

/* BLAKE2b-256 of header and table. */
static void hash_head(uint8_t out[RFHE_WIRE_HASH], const uint8_t *header, const uint8_t *table, size_t table_bytes)
{
    crypto_generichash_state h;

    (void)crypto_generichash_init(&h, NULL, 0, RFHE_WIRE_HASH);
    (void)crypto_generichash_update(&h, header, RFHE_WIRE_HEADER);
    (void)crypto_generichash_update(&h, table, table_bytes);
    (void)crypto_generichash_final(&h, out, RFHE_WIRE_HASH);
}

rfhe_status rfhe_wire_end(rfhe_wire_writer *w, rfhe_error *err)
{
    uint8_t hash[RFHE_WIRE_HASH];
    const size_t table_bytes = (size_t)w->count * RFHE_WIRE_ENTRY;
    rfhe_status st = RFHE_OK;

    hash_head(hash, w->header, w->table, table_bytes);
    RFHE_TRY(put(w, w->table, table_bytes, err));
    RFHE_TRY(put(w, hash, sizeof hash, err));
done:
    return st;
}

void rfhe_wire_drop(rfhe_wire_writer *w)
{
    rfhe_free(w->table);
    rfhe_free_secret(w->memory);
    w->table = w->memory = NULL;
}

static const char *kind_name(unsigned kind)
{
    static const char *const names[] = {"nothing known", "parameters", "a secret key", "a public key",
                                        "evaluation keys", "a ciphertext", "a request", "a reply",
                                        "a binding of keys"};

    return names[kind < sizeof names / sizeof *names ? kind : 0];
}

rfhe_status rfhe_wire_open(rfhe_wire_reader *r, const void *data, size_t size, rfhe_wire_kind kind, rfhe_error *err)
{
    const uint8_t *h = data;
    uint8_t hash[RFHE_WIRE_HASH];
    uint64_t offset = RFHE_WIRE_HEADER;

    if (size < RFHE_WIRE_HEADER + RFHE_WIRE_HASH || memcmp(h, magic, 8) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "these %zu bytes are not an rfhe message", size);
    }
    if (rfhe_load_le16(h + 8) != RFHE_WIRE_VERSION) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "the message has format version %u, this library reads %u",
                         rfhe_load_le16(h + 8), (unsigned)RFHE_WIRE_VERSION);
    }
    const unsigned found = rfhe_load_le16(h + 10);
    if (found != (unsigned)kind) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the message holds %s, not %s", kind_name(found), kind_name((unsigned)kind));
    }
    const uint32_t count = rfhe_load_le32(h + 12);
    const uint64_t table = rfhe_load_le64(h + 24);
    if (rfhe_load_le64(h + 16) != size) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the message says it has %" PRIu64 " bytes but has %zu: truncated or "
                         "extended", rfhe_load_le64(h + 16), size);
    }
    if (count > RFHE_WIRE_MAX || table > size || table % ALIGN != 0 ||
        size - table != (uint64_t)count * RFHE_WIRE_ENTRY + RFHE_WIRE_HASH) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the message's table of %" PRIu32 " sections does not fit its size", count);
    }
    hash_head(hash, h, h + table, (size_t)count * RFHE_WIRE_ENTRY);
    if (memcmp(hash, h + size - RFHE_WIRE_HASH, sizeof hash) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the message's checksum is wrong: damaged");
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *e = h + table + (size_t)i * RFHE_WIRE_ENTRY;
        const uint64_t length = rfhe_load_le64(e + 16);
        if (rfhe_load_le64(e + 8) != offset || length > table - offset || rfhe_load_le64(e + 24) != 0) {
            return rfhe_fail(err, RFHE_E_FORMAT, "section %" PRIu32 " of the message is not where it must be", i);
        }
        for (uint64_t k = offset + length; k < align(offset + length); k++) {
            if (k >= table || h[k] != 0) {
                return rfhe_fail(err, RFHE_E_FORMAT, "section %" PRIu32 " of the message is followed by stray bytes", i);
            }
        }
        offset = align(offset + length);
    }
    if (offset != table) { return rfhe_fail(err, RFHE_E_FORMAT, "the message has bytes that no section owns"); }
    *r = (rfhe_wire_reader){.data = h, .size = size, .count = count, .kind = kind};
    memcpy(r->id, h + 32, sizeof r->id);
    return RFHE_OK;
}

void rfhe_wire_entry(const rfhe_wire_reader *r, uint32_t i, rfhe_wire_size *out)
{
    const uint8_t *e = r->data + rfhe_load_le64(r->data + 24) + (size_t)i * RFHE_WIRE_ENTRY;

    *out = (rfhe_wire_size){.tag = rfhe_load_le32(e), .index = rfhe_load_le32(e + 4), .length = rfhe_load_le64(e + 16)};
}

rfhe_status rfhe_wire_read(const rfhe_wire_reader *r, uint32_t i, uint32_t tag, uint32_t index, const uint8_t **data,
                           size_t *length, rfhe_error *err)
{
    uint8_t hash[RFHE_WIRE_HASH];

    if (i >= r->count) { return rfhe_fail(err, RFHE_E_FORMAT, "the message lacks section %" PRIu32, i); }
    const uint8_t *e = r->data + rfhe_load_le64(r->data + 24) + (size_t)i * RFHE_WIRE_ENTRY;
    const uint8_t *bytes = r->data + rfhe_load_le64(e + 8);
    const size_t n = (size_t)rfhe_load_le64(e + 16);
    if (rfhe_load_le32(e) != tag || rfhe_load_le32(e + 4) != index) {
        return rfhe_fail(err, RFHE_E_FORMAT, "section %" PRIu32 " of the message has tag %" PRIu32 " and index %" PRIu32
                         " instead of %" PRIu32 " and %" PRIu32, i, rfhe_load_le32(e), rfhe_load_le32(e + 4), tag, index);
    }
    (void)crypto_generichash(hash, sizeof hash, bytes, n, NULL, 0);
    if (memcmp(hash, e + 32, sizeof hash) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the checksum of section %" PRIu32 " is wrong: damaged", i);
    }
    *data = bytes;
    *length = n;
    return RFHE_OK;
}

rfhe_status rfhe_wire_belongs(const rfhe_wire_reader *r, const rfhe_ckks *c, rfhe_error *err)
{
    if (memcmp(r->id, c->id, sizeof r->id) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "%s in the message was made with other parameters",
                         kind_name((unsigned)r->kind));
    }
    return RFHE_OK;
}

void rfhe_pack_residues(uint8_t *out, const uint64_t *x, size_t n, uint32_t bits)
{
    /* 64 residues of b bits fill b whole words. */
    for (size_t i = 0; i < n; i += 64) {
        uint64_t word = 0;
        uint32_t filled = 0;
        for (size_t j = 0; j < 64; j++) {
            word |= x[i + j] << filled;
            filled += bits;
            if (filled >= 64) {
                rfhe_store_le64(out, word);
                out += 8;
                filled -= 64;
                word = filled == 0 ? 0 : x[i + j] >> (bits - filled);
            }
        }
    }
}

bool rfhe_unpack_residues(uint64_t *x, const uint8_t *in, size_t n, const rfhe_modulus *m)
{
    const uint32_t bits = m->bits;
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t bad = 0;

    for (size_t i = 0; i < n; i += 64) {
        uint64_t word = 0;
        uint32_t left = 0; /* unread bits of `word`, in its low end */
        for (size_t j = 0; j < 64; j++) {
            uint64_t v = word;
            if (left < bits) {
                word = rfhe_load_le64(in);
                in += 8;
                v |= word << left;
                word = bits - left == 64 ? 0 : word >> (bits - left);
                left += 64 - bits;
            } else {
                word >>= bits;
                left -= bits;
            }
            v &= mask;
            bad |= (uint64_t)(v >= m->q);
            x[i + j] = v;
        }
    }
    return bad == 0;
}
