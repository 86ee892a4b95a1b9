/* PNG through libspng. Before the library sees a byte we walk the chunks ourselves: lengths and check sums are known
 * to be right, and messages have an offset. */
#include "data/image.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <spng.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>

static rfhe_status walk_chunks(uint32_t *width, uint32_t *height, const uint8_t *p, size_t size,
                               const char *name, rfhe_error *err)
{
    size_t at = 8;

    *width = *height = 0;
    for (;;) {
        if (size - at < 12) {
            return rfhe_fail(err, RFHE_E_FORMAT, "'%s' is cut short at offset %zu", name, size);
        }
        const uint32_t length = rfhe_load_be32(p + at);
        const uint8_t *type = p + at + 4;
        if (length > size - at - 12) {
            return rfhe_fail(
                err, RFHE_E_FORMAT,
                "'%s' is cut short: the chunk at offset %zu wants %u bytes, %zu are left", name, at,
                length, size - at - 12);
        }
        if (at == 8) {
            if (length != 13 || memcmp(type, "IHDR", 4) != 0) {
                return rfhe_fail(err, RFHE_E_FORMAT, "'%s' has no PNG header at offset 8", name);
            }
            *width = rfhe_load_be32(type + 4);
            *height = rfhe_load_be32(type + 8);
        }
        if (crc32(crc32(0, NULL, 0), type, length + 4) != rfhe_load_be32(type + 4 + length)) {
            return rfhe_fail(err, RFHE_E_FORMAT,
                             "'%s' has a wrong check sum in the chunk at offset %zu", name, at);
        }
        at += 12 + (size_t)length;
        if (memcmp(type, "IEND", 4) == 0) { return RFHE_OK; }
    }
}

/* libspng's and its zlib's memory goes through our accounting. They report a refusal under several names, some shared
 * with damaged data, and their allocator has no user pointer: so remember it here, per thread, for one call. */
static _Thread_local bool refused;

static void *png_alloc(size_t n)
{
    void *p = rfhe_alloc(n, 1);

    refused |= p == NULL;
    return p;
}

static void *png_calloc(size_t count, size_t size)
{
    void *p = rfhe_calloc(count, size);

    refused |= p == NULL;
    return p;
}

static void *png_realloc(void *old, size_t n)
{
    void *p = rfhe_realloc(old, n, 1);

    refused |= p == NULL;
    return p;
}

static rfhe_status decode(rfhe_image *out, spng_ctx *ctx, uint32_t width, uint32_t height,
                          bool is_grey, const char *name, rfhe_error *err)
{
    const size_t n = (size_t)width * height;
    size_t bytes = 0;
    rfhe_status st = rfhe_image_reserve(out, width, height, 3);
    int r = 0;

    if (st != RFHE_OK) { return rfhe_fail(err, st, "no memory to decode '%s'", name); }
    r = spng_decoded_image_size(ctx, SPNG_FMT_RGB8, &bytes);
    if (r == 0 && bytes != 3 * n) { r = SPNG_EINTERNAL; }
    if (r == 0) { r = spng_decode_image(ctx, out->pixels, bytes, SPNG_FMT_RGB8, 0); }
    if (r != 0 && refused) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode '%s'", name);
    }
    if (r != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT,
                         "'%s' is damaged: its picture data does not unpack (%s)", name,
                         spng_strerror(r));
    }
    if (is_grey) {
        for (size_t i = 0; i < n; i++) { out->pixels[i] = out->pixels[3 * i]; }
        out->channels = 1;
    }
    return RFHE_OK;
}

rfhe_status rfhe_png_decode(rfhe_image *out, const uint8_t *data, size_t size, const char *name,
                            rfhe_error *err)
{
    struct spng_alloc alloc = {.malloc_fn = png_alloc,
                               .realloc_fn = png_realloc,
                               .calloc_fn = png_calloc,
                               .free_fn = rfhe_free};
    rfhe_status st = RFHE_OK;
    spng_ctx *ctx = NULL;
    struct spng_ihdr head;
    uint32_t width = 0, height = 0;
    int r = 0;

    RFHE_TRY(walk_chunks(&width, &height, data, size, name, err));
    RFHE_TRY(rfhe_image_check_size(width, height, name, err));
    /* Deflate packs at most 1,032 to 1, and a pixel has at least one bit. */
    if ((uint64_t)width * height / 8 / 1032 > size) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' claims %u x %u pixels in %zu bytes", name, width,
                       height, size);
        goto done;
    }
    refused = false;
    ctx = spng_ctx_new2(&alloc, 0);
    if (ctx == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode '%s'", name);
        goto done;
    }
    r = spng_set_image_limits(ctx, RFHE_IMAGE_MAX_SIDE, RFHE_IMAGE_MAX_SIDE);
    if (r == 0) { r = spng_set_chunk_limits(ctx, 1 << 24, 1 << 26); }
    if (r == 0) { r = spng_set_png_buffer(ctx, data, size); }
    if (r == 0) { r = spng_get_ihdr(ctx, &head); }
    if (r != 0) {
        st = rfhe_fail(err, refused ? RFHE_E_NOMEM : RFHE_E_FORMAT,
                       "'%s' has a PNG header that makes no sense at offset 8 (%s)", name,
                       spng_strerror(r));
        goto done;
    }
    st = decode(out, ctx, width, height,
                head.color_type == SPNG_COLOR_TYPE_GRAYSCALE ||
                    head.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA,
                name, err);

done:
    spng_ctx_free(ctx);
    return st;
}
