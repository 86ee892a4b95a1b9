/* See checkpoint.h. */
#include "nn/checkpoint.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"

#include <string.h>
#include <zlib.h>

enum { HEAD = 32, ENTRY = 40, ALIGN = 64 };

static const char magic[8] = {'R', 'F', 'H', 'E', 'C', 'K', 'P', 'T'};

struct rfhe_checkpoint {
    uint8_t *bytes;
    size_t size;
    uint32_t n;
    char *path; /* for messages */
};

static uint32_t crc(const void *data, size_t size)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, size);
}

static size_t aligned(size_t at)
{
    return (at + ALIGN - 1) / ALIGN * ALIGN;
}

rfhe_status rfhe_checkpoint_write(const char *path, const rfhe_checkpoint_section *s, size_t n,
                                  rfhe_error *err)
{
    static const uint8_t zeros[ALIGN];
    rfhe_status st = RFHE_OK;
    rfhe_file_writer w;
    uint8_t head[HEAD + RFHE_CHECKPOINT_SECTIONS * ENTRY] = {0};
    size_t at = HEAD + n * ENTRY;

    if (n > RFHE_CHECKPOINT_SECTIONS) {
        return rfhe_fail(err, RFHE_E_ARG, "a checkpoint holds at most %d sections, not %zu",
                         RFHE_CHECKPOINT_SECTIONS, n);
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t *e = head + HEAD + i * ENTRY;
        at = aligned(at);
        memcpy(e, s[i].name, strnlen(s[i].name, RFHE_CHECKPOINT_NAME - 1));
        rfhe_store_le64(e + 16, at);
        rfhe_store_le64(e + 24, s[i].size);
        rfhe_store_le32(e + 32, crc(s[i].data, s[i].size));
        at += s[i].size;
    }
    memcpy(head, magic, sizeof magic);
    rfhe_store_le32(head + 8, 1);
    rfhe_store_le32(head + 12, (uint32_t)n);
    rfhe_store_le64(head + 16, at);
    rfhe_store_le32(head + 24, crc(head + HEAD, n * ENTRY));

    st = rfhe_file_writer_open(&w, path, 0644, err);
    if (st != RFHE_OK) { return st; }
    RFHE_TRY(rfhe_file_writer_put(&w, head, HEAD + n * ENTRY, err));
    for (size_t i = 0; i < n; i++) {
        RFHE_TRY(rfhe_file_writer_put(&w, zeros, aligned(w.written) - w.written, err));
        RFHE_TRY(rfhe_file_writer_put(&w, s[i].data, s[i].size, err));
    }
    return rfhe_file_writer_commit(&w, err);

done:
    rfhe_file_writer_cancel(&w);
    return st;
}

static rfhe_status damaged(const rfhe_checkpoint *c, const char *what, rfhe_error *err)
{
    return rfhe_fail(err, RFHE_E_FORMAT, "'%s' is not a usable checkpoint: %s", c->path, what);
}

static rfhe_status check(rfhe_checkpoint *c, rfhe_error *err)
{
    const uint8_t *b = c->bytes;

    if (c->size < HEAD || memcmp(b, magic, sizeof magic) != 0) {
        return damaged(c, "it does not begin as one", err);
    }
    if (rfhe_load_le32(b + 8) != 1) { return damaged(c, "its version is unknown", err); }
    c->n = rfhe_load_le32(b + 12);
    if (rfhe_load_le64(b + 16) != c->size) { return damaged(c, "it is cut short", err); }
    if (c->n > RFHE_CHECKPOINT_SECTIONS || c->size < HEAD + (size_t)c->n * ENTRY ||
        rfhe_load_le32(b + 24) != crc(b + HEAD, (size_t)c->n * ENTRY)) {
        return damaged(c, "its table is damaged", err);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const uint8_t *e = b + HEAD + (size_t)i * ENTRY;
        const uint64_t at = rfhe_load_le64(e + 16), size = rfhe_load_le64(e + 24);
        if (e[RFHE_CHECKPOINT_NAME - 1] != 0 || at % ALIGN != 0 || at > c->size ||
            size > c->size - at || rfhe_load_le32(e + 32) != crc(b + at, size)) {
            return damaged(c, "one of its sections is damaged", err);
        }
    }
    return RFHE_OK;
}

rfhe_status rfhe_checkpoint_open(rfhe_checkpoint **out, const char *path, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_checkpoint *c = rfhe_calloc(1, sizeof *c);

    if (c == NULL) { return RFHE_E_NOMEM; }
    c->path = rfhe_strdup(path);
    if (c->path == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    RFHE_TRY(rfhe_file_read(&c->bytes, &c->size, path, SIZE_MAX / 4, err));
    RFHE_TRY(check(c, err));
    *out = c;
    c = NULL;

done:
    rfhe_checkpoint_close(c);
    return st;
}

void rfhe_checkpoint_close(rfhe_checkpoint *c)
{
    if (c == NULL) { return; }
    rfhe_free(c->bytes);
    rfhe_free(c->path);
    rfhe_free(c);
}

const void *rfhe_checkpoint_find(const rfhe_checkpoint *c, const char *name, size_t *size)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const uint8_t *e = c->bytes + HEAD + (size_t)i * ENTRY;
        if (strcmp((const char *)e, name) == 0) {
            *size = (size_t)rfhe_load_le64(e + 24);
            return c->bytes + rfhe_load_le64(e + 16);
        }
    }
    return NULL;
}

rfhe_status rfhe_checkpoint_read(const rfhe_checkpoint *c, const char *name, void *out, size_t size,
                                 rfhe_error *err)
{
    size_t have = 0;
    const void *data = rfhe_checkpoint_find(c, name, &have);

    if (data == NULL || have != size) {
        return rfhe_fail(err, RFHE_E_FORMAT,
                         "'%s' is not a usable checkpoint: section '%s' has %zu bytes instead of "
                         "%zu",
                         c->path, name, have, size);
    }
    if (size > 0) { memcpy(out, data, size); }
    return RFHE_OK;
}
