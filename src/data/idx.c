/* See idx.h. The gzip variant is unpacked in two steps: first the header alone, then, when its dimensions are
 * believable for a file of this size, exactly as many bytes as they promise. */
#include "data/idx.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>
#define ZLIB_CONST /* next_in points to const */
#include <zlib.h>

#define MAX_BYTES (UINT64_C(1) << 32)

enum { HEADER_MAX = 4 + 4 * 4 };

/* `have` bytes of the (unpacked) file are at `p`, enough for the header of `rank` dimensions unless the file ends. */
static rfhe_status read_header(rfhe_idx *x, const uint8_t *p, size_t have, const char *name,
                               uint32_t rank, rfhe_error *err)
{
    uint64_t n = 1;

    if (have < 4 + 4 * (size_t)rank) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s' ends at offset %zu, inside its header", name,
                         have);
    }
    if (p[0] != 0 || p[1] != 0 || p[2] != 8 || p[3] != rank) {
        return rfhe_fail(
            err, RFHE_E_FORMAT,
            "'%s' begins with %02x%02x%02x%02x at offset 0, an IDX file of %u-dimensional "
            "bytes with 000008%02x",
            name, p[0], p[1], p[2], p[3], rank, rank);
    }
    x->rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        x->dim[i] = rfhe_load_be32(p + 4 + 4 * i);
        if (x->dim[i] == 0 || __builtin_mul_overflow(n, (uint64_t)x->dim[i], &n) || n > MAX_BYTES) {
            return rfhe_fail(err, RFHE_E_FORMAT, "'%s' has an impossible dimension %u at offset %u",
                             name, x->dim[i], 4 + 4 * i);
        }
    }
    x->size = (size_t)n;
    return RFHE_OK;
}

static rfhe_status parse_plain(rfhe_idx *x, const uint8_t *file, size_t size, const char *name,
                               uint32_t rank, rfhe_error *err)
{
    const size_t header = 4 + 4 * (size_t)rank;
    rfhe_status st = read_header(x, file, size, name, rank, err);

    if (st != RFHE_OK) { return st; }
    if (size - header != x->size) {
        return rfhe_fail(
            err, RFHE_E_FORMAT,
            "'%s' has %zu bytes behind its header at offset %zu, its dimensions want %zu", name,
            size - header, header, x->size);
    }
    x->data = rfhe_alloc(x->size, 1);
    if (x->data == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for '%s'", name); }
    memcpy(x->data, file + header, x->size);
    return RFHE_OK;
}

/* zlib's memory goes through our accounting. */
static voidpf z_alloc(voidpf opaque, uInt n, uInt size)
{
    (void)opaque;
    return rfhe_alloc(n, size);
}

static void z_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    rfhe_free(p);
}

/* Unpacks until `n` bytes are at `out` or the stream ends; *ended tells which. zlib counts in 32 bits: pieces. */
static rfhe_status unpack(z_stream *z, uint8_t *out, size_t n, size_t *got, bool *ended,
                          const uint8_t *file, size_t size, const char *name, rfhe_error *err)
{
    *got = 0;
    *ended = false;
    for (;;) {
        const size_t in_left = size - (size_t)(z->next_in - file), out_left = n - *got;
        z->avail_in = in_left > INT_MAX ? INT_MAX : (uInt)in_left;
        z->avail_out = out_left > INT_MAX ? INT_MAX : (uInt)out_left;
        z->next_out = out + *got;
        const uInt before = z->avail_out;
        const int r = inflate(z, Z_NO_FLUSH);
        *got += before - z->avail_out;
        if (r == Z_STREAM_END) {
            *ended = true;
            return RFHE_OK;
        }
        if (r == Z_MEM_ERROR) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory to unpack '%s'", name);
        }
        const size_t at = (size_t)(z->next_in - file);
        if (r != Z_OK && !(r == Z_BUF_ERROR && *got == n)) {
            if (r == Z_BUF_ERROR) {
                return rfhe_fail(err, RFHE_E_FORMAT, "'%s' is cut short at offset %zu", name, at);
            }
            return rfhe_fail(err, RFHE_E_FORMAT, "'%s' does not unpack at offset %zu: %s", name, at,
                             z->msg != NULL ? z->msg : "not a gzip stream");
        }
        if (*got == n) { return RFHE_OK; }
    }
}

static rfhe_status parse_gzip(rfhe_idx *x, const uint8_t *file, size_t size, const char *name,
                              uint32_t rank, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint8_t header[HEADER_MAX], surplus = 0;
    z_stream z = {.zalloc = z_alloc, .zfree = z_free};
    size_t got = 0;
    bool ended = false;

    z.next_in = file;
    if (inflateInit2(&z, 15 + 16) != Z_OK) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory to unpack '%s'", name);
    }
    RFHE_TRY(unpack(&z, header, 4 + 4 * (size_t)rank, &got, &ended, file, size, name, err));
    RFHE_TRY(read_header(x, header, got, name, rank, err));
    if (x->size / 1032 > size) { /* the most that deflate can do */
        st = rfhe_fail(err, RFHE_E_FORMAT,
                       "'%s' has dimensions at offset 4 that want %zu bytes, more than %zu packed "
                       "bytes can hold",
                       name, x->size, size);
        goto done;
    }
    x->data = rfhe_alloc(x->size, 1);
    if (x->data == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for '%s'", name);
        goto done;
    }
    got = 0;
    if (!ended) { RFHE_TRY(unpack(&z, x->data, x->size, &got, &ended, file, size, name, err)); }
    if (got != x->size) {
        st = rfhe_fail(err, RFHE_E_FORMAT,
                       "'%s' unpacks to %zu bytes of data, its dimensions want %zu", name, got,
                       x->size);
        goto done;
    }
    if (!ended) { /* the trailer of the stream is only read when more output is asked for */
        RFHE_TRY(unpack(&z, &surplus, 1, &got, &ended, file, size, name, err));
        if (got > 0) {
            st = rfhe_fail(err, RFHE_E_FORMAT,
                           "'%s' holds more than the %zu bytes its dimensions want", name, x->size);
        }
    }

done:
    (void)inflateEnd(&z);
    return st;
}

rfhe_status rfhe_idx_parse(rfhe_idx *out, const uint8_t *file, size_t size, const char *name,
                           uint32_t rank, rfhe_error *err)
{
    rfhe_idx x = {0};
    rfhe_status st = RFHE_OK;

    if (rank < 1 || rank > 4) { return RFHE_E_ARG; }
    if (size >= 2 && file[0] == 0x1f && file[1] == 0x8b) {
        st = parse_gzip(&x, file, size, name, rank, err);
    } else {
        st = parse_plain(&x, file, size, name, rank, err);
    }
    if (st != RFHE_OK) {
        rfhe_free(x.data);
        return st;
    }
    *out = x;
    return RFHE_OK;
}

rfhe_status rfhe_idx_read(rfhe_idx *out, const char *path, uint32_t rank, rfhe_error *err)
{
    rfhe_file_map m = {0};
    rfhe_status st = rfhe_file_map_open(&m, path, err);

    if (st != RFHE_OK) { return st; }
    st = m.size > 0 ? rfhe_idx_parse(out, m.data, m.size, path, rank, err)
                    : rfhe_fail(err, RFHE_E_FORMAT, "'%s' is empty", path);
    rfhe_file_map_close(&m);
    return st;
}
