/* See message.h. A ciphertext inside a message is a whole container of its own, so that its reader is the one that ckks/
 * has, fuzzed like everything there. */
#include "infer/message.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "ckks/wire.h"

enum { FIELDS = 96, BINDING = 96, MAX_CIPHERTEXTS = 1024 };

static const char *const kind_name[] = {"request", "reply"};
static const rfhe_wire_kind wire_kind[] = {RFHE_WIRE_REQUEST, RFHE_WIRE_REPLY};

rfhe_status rfhe_message_init(rfhe_message *m, uint32_t count, rfhe_error *err)
{
    *m = (rfhe_message){0};
    m->ct = rfhe_calloc(count, sizeof *m->ct);
    if (m->ct == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %u ciphertexts", count); }
    m->count = count;
    return RFHE_OK;
}

void rfhe_message_clear(rfhe_message *m)
{
    for (uint32_t i = 0; i < m->count; i++) { rfhe_ct_free(m->ct[i]); }
    rfhe_free(m->ct);
    *m = (rfhe_message){0};
}

rfhe_status rfhe_message_write(uint8_t **data, size_t *size, const rfhe_message *m, rfhe_message_kind kind,
                               const rfhe_ckks *c, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint8_t fields[FIELDS] = {0}, **part = rfhe_calloc(m->count, sizeof *part);
    rfhe_wire_size *section = rfhe_calloc(m->count + 1, sizeof *section);
    rfhe_wire_writer w = {0};

    if (part == NULL || section == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to write a %s", kind_name[kind]);
        goto done;
    }
    memcpy(fields, m->program, RFHE_ID_BYTES);
    memcpy(fields + 32, m->keys, RFHE_ID_BYTES);
    memcpy(fields + 64, m->tag, RFHE_TAG_BYTES);
    rfhe_store_le32(fields + 80, m->count);
    section[0] = (rfhe_wire_size){RFHE_TAG_FIELDS, 0, FIELDS};
    for (uint32_t i = 0; i < m->count; i++) {
        size_t bytes = 0;
        RFHE_TRY(rfhe_ct_write(&part[i], &bytes, m->ct[i], err));
        section[i + 1] = (rfhe_wire_size){RFHE_TAG_CIPHERTEXT, i, bytes};
    }
    RFHE_TRY(rfhe_wire_begin(&w, wire_kind[kind], c->id, section, m->count + 1, NULL, err));
    RFHE_TRY(rfhe_wire_section(&w, fields, sizeof fields, err));
    for (uint32_t i = 0; i < m->count; i++) { RFHE_TRY(rfhe_wire_section(&w, part[i], section[i + 1].length, err)); }
    RFHE_TRY(rfhe_wire_end(&w, err));
    *data = w.memory;
    *size = w.total;
    w.memory = NULL;

done:
    for (uint32_t i = 0; part != NULL && i < m->count; i++) { rfhe_bytes_free(part[i]); }
    rfhe_free(part);
    rfhe_free(section);
    rfhe_wire_drop(&w);
    return st;
}

static rfhe_status check_owner(const uint8_t *program, const uint8_t *keys, const rfhe_program *p,
                               const uint8_t *want_keys, const char *what, rfhe_error *err)
{
    if (memcmp(program, p->id, RFHE_ID_BYTES) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the %s was made for another program than this one", what);
    }
    if (want_keys != NULL && memcmp(keys, want_keys, RFHE_ID_BYTES) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the %s was made with other keys than those at hand", what);
    }
    return RFHE_OK;
}

/* What the program expects of ciphertext i. */
static rfhe_status check_ciphertext(const rfhe_ct *ct, rfhe_message_kind kind, const rfhe_program *p, const rfhe_ckks *c,
                                    uint32_t i, rfhe_error *err)
{
    const uint32_t level = kind == RFHE_REQUEST ? p->level_linear : 0;

    if (rfhe_ct_parts(ct) != 2 || rfhe_ct_level(ct) != level) {
        return rfhe_fail(err, RFHE_E_FORMAT, "ciphertext %u of the %s has %u parts at level %u, not 2 at level %u", i,
                         kind_name[kind], rfhe_ct_parts(ct), rfhe_ct_level(ct), level);
    }
    if (kind == RFHE_REQUEST && rfhe_ct_scale(ct) != rfhe_ckks_scale(c, 0)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "ciphertext %u of the request has scale 2^%.6f, not 2^%.6f", i,
                         log2(rfhe_ct_scale(ct)), log2(rfhe_ckks_scale(c, 0)));
    }
    /* What remains of the first prime above the largest number: two bits by the kernels of a reply, whose scale is rounded
     * down to a power of two, as that of the packing is. */
    const double room = log2((double)rfhe_ckks_prime(c, 0) / RFHE_REPLY_BOUND) - log2(rfhe_ct_scale(ct));
    if (kind == RFHE_REPLY && !(room > 1.99 && room < 4.01)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the reply has scale 2^%.2f, not between 2^%.2f and 2^%.2f", log2(rfhe_ct_scale(ct)),
                         log2(rfhe_ct_scale(ct)) + room - 4, log2(rfhe_ct_scale(ct)) + room - 2);
    }
    return RFHE_OK;
}

static rfhe_status read_message(rfhe_message *m, rfhe_message_kind kind, const rfhe_program *p, const rfhe_ckks *c,
                                const uint8_t *keys, const void *data, size_t size, rfhe_error *err)
{
    const uint32_t want = kind == RFHE_REQUEST ? p->tensor[0].layout.ciphertexts : 1;
    const uint8_t *f = NULL;
    size_t length = 0;
    rfhe_wire_reader r;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_open(&r, data, size, wire_kind[kind], err));
    RFHE_TRY(rfhe_wire_belongs(&r, c, err));
    RFHE_TRY(rfhe_wire_read(&r, 0, RFHE_TAG_FIELDS, 0, &f, &length, err));
    if (length != FIELDS || rfhe_load_le32(f + 84) != 0 || rfhe_load_le64(f + 88) != 0) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "the %s has a head of another layout", kind_name[kind]);
        goto done;
    }
    RFHE_TRY(check_owner(f, f + 32, p, keys, kind_name[kind], err));
    const uint32_t count = rfhe_load_le32(f + 80);
    if (count != want || want > MAX_CIPHERTEXTS || r.count != count + 1) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "the %s holds %" PRIu32 " ciphertexts in %u sections, not %u", kind_name[kind],
                       count, r.count, want);
        goto done;
    }
    RFHE_TRY(rfhe_message_init(m, count, err));
    memcpy(m->program, f, RFHE_ID_BYTES);
    memcpy(m->keys, f + 32, RFHE_ID_BYTES);
    memcpy(m->tag, f + 64, RFHE_TAG_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *b = NULL;
        RFHE_TRY(rfhe_wire_read(&r, i + 1, RFHE_TAG_CIPHERTEXT, i, &b, &length, err));
        RFHE_TRY(rfhe_ct_read(&m->ct[i], c, b, length, err));
        RFHE_TRY(check_ciphertext(m->ct[i], kind, p, c, i, err));
    }

done:
    return st;
}

rfhe_status rfhe_message_read(rfhe_message *m, rfhe_message_kind kind, const rfhe_program *p, const rfhe_ckks *c,
                              const uint8_t *keys, const void *data, size_t size, rfhe_error *err)
{
    *m = (rfhe_message){0};
    const rfhe_status st = read_message(m, kind, p, c, keys, data, size, err);
    if (st != RFHE_OK) { rfhe_message_clear(m); }
    return st;
}

/* ---- bindings ---- */

rfhe_status rfhe_binding_save(const char *path, const rfhe_binding *b, const rfhe_ckks *c, unsigned mode, rfhe_error *err)
{
    const rfhe_wire_size section = {RFHE_TAG_FIELDS, 0, BINDING};
    uint8_t fields[BINDING];
    rfhe_wire_writer w = {0};
    rfhe_status st = RFHE_OK;

    memcpy(fields, b->program, RFHE_ID_BYTES);
    memcpy(fields + 32, b->keys, RFHE_ID_BYTES);
    memcpy(fields + 64, b->file, RFHE_ID_BYTES);
    RFHE_TRY(rfhe_wire_begin(&w, RFHE_WIRE_BINDING, c->id, &section, 1, NULL, err));
    RFHE_TRY(rfhe_wire_section(&w, fields, sizeof fields, err));
    RFHE_TRY(rfhe_wire_end(&w, err));
    RFHE_TRY(rfhe_file_write(path, w.memory, w.total, mode, err));

done:
    rfhe_wire_drop(&w);
    return st;
}

rfhe_status rfhe_binding_parse(rfhe_binding *b, const rfhe_program *p, const rfhe_ckks *c, const void *data, size_t size,
                               rfhe_error *err)
{
    const uint8_t *f = NULL;
    size_t length = 0;
    rfhe_wire_reader r;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_wire_open(&r, data, size, RFHE_WIRE_BINDING, err));
    RFHE_TRY(rfhe_wire_belongs(&r, c, err));
    RFHE_TRY(rfhe_wire_read(&r, 0, RFHE_TAG_FIELDS, 0, &f, &length, err));
    if (length != BINDING || r.count != 1) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "a binding of keys of another layout");
        goto done;
    }
    RFHE_TRY(check_owner(f, NULL, p, NULL, "set of keys", err));
    memcpy(b->program, f, RFHE_ID_BYTES);
    memcpy(b->keys, f + 32, RFHE_ID_BYTES);
    memcpy(b->file, f + 64, RFHE_ID_BYTES);

done:
    return st;
}

rfhe_status rfhe_file_fingerprint(uint8_t out[RFHE_ID_BYTES], const char *path, rfhe_error *err)
{
    rfhe_file_map map = {0};
    rfhe_status st = rfhe_file_map_open(&map, path, err);

    if (st != RFHE_OK) { return st; }
    if (map.size < RFHE_ID_BYTES) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' has %zu bytes: no file of keys", path, map.size);
    } else {
        memcpy(out, map.data + map.size - RFHE_ID_BYTES, RFHE_ID_BYTES);
    }
    rfhe_file_map_close(&map);
    return st;
}

rfhe_status rfhe_binding_load(rfhe_binding *b, const char *path, const rfhe_program *p, const rfhe_ckks *c,
                              const char *key_file, rfhe_error *err)
{
    uint8_t *data = NULL, end[RFHE_ID_BYTES];
    size_t size = 0;
    rfhe_binding found;
    rfhe_status st = rfhe_file_read(&data, &size, path, 4096, err);

    if (st != RFHE_OK) { return st; }
    RFHE_TRY(rfhe_binding_parse(&found, p, c, data, size, err));
    RFHE_TRY(rfhe_file_fingerprint(end, key_file, err));
    if (memcmp(end, found.file, sizeof end) != 0) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' does not belong to '%s': other keys, or cut short", key_file, path);
        goto done;
    }
    *b = found;

done:
    rfhe_free(data);
    return st;
}
