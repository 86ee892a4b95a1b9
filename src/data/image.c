/* One image in memory: its block, its channels, and which decoder a file wants. */
#include "data/image.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>

enum { FILE_MAX = 1 << 28 }; /* no image file of ours is larger than 256 MiB */

void rfhe_image_clear(rfhe_image *m)
{
    rfhe_free(m->pixels);
    *m = (rfhe_image){0};
}

static void forget(rfhe_image *m)
{
    m->width = m->height = m->channels = 0;
    m->damaged = false;
}

rfhe_status rfhe_image_reserve(rfhe_image *m, uint32_t width, uint32_t height, uint32_t channels)
{
    const size_t need =
        (size_t)width * height * channels; /* both sides are 32 bits at most, channels 4 */

    forget(m);
    if (need > m->capacity) {
        rfhe_free(m->pixels);
        m->capacity = 0;
        m->pixels = rfhe_alloc(need, 1);
        if (m->pixels == NULL) { return RFHE_E_NOMEM; }
        m->capacity = need;
    }
    m->width = width;
    m->height = height;
    m->channels = channels;
    return RFHE_OK;
}

rfhe_status rfhe_image_check_size(uint32_t width, uint32_t height, const char *name,
                                  rfhe_error *err)
{
    if (width == 0 || height == 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s' claims to be %u x %u pixels", name, width,
                         height);
    }
    if (width > RFHE_IMAGE_MAX_SIDE || height > RFHE_IMAGE_MAX_SIDE ||
        (uint64_t)width * height > RFHE_IMAGE_MAX_PIXELS) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "'%s' claims %u x %u pixels; the limit is %u in all and %u per side", name,
                         width, height, RFHE_IMAGE_MAX_PIXELS, RFHE_IMAGE_MAX_SIDE);
    }
    return RFHE_OK;
}

rfhe_status rfhe_image_decode(rfhe_image *out, const void *data, size_t size, const char *name,
                              rfhe_error *err)
{
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const uint8_t *p = data;
    rfhe_status st = RFHE_OK;

    forget(out);
    if (size >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff) {
        st = rfhe_jpeg_decode(out, p, size, name, err);
    } else if (size >= sizeof png && memcmp(p, png, sizeof png) == 0) {
        st = rfhe_png_decode(out, p, size, name, err);
    } else if (size == 0) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is empty", name);
    } else {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED,
                       "'%s' is neither a JPEG nor a PNG file (at offset 0)", name);
    }
    if (st != RFHE_OK) { forget(out); }
    return st;
}

rfhe_status rfhe_image_read(rfhe_image *out, const char *path, rfhe_error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_status st = rfhe_file_read(&data, &size, path, FILE_MAX, err);

    forget(out);
    if (st == RFHE_OK) { st = rfhe_image_decode(out, data, size, path, err); }
    rfhe_free(data);
    return st;
}

rfhe_status rfhe_image_set_channels(rfhe_image *m, uint32_t channels)
{
    const size_t n = (size_t)m->width * m->height;

    if (channels != 1 && channels != 3) { return RFHE_E_ARG; }
    if (m->channels == channels || n == 0) { return RFHE_OK; }
    if (channels == 1) {
        for (size_t i = 0; i < n; i++) {
            const uint8_t *rgb =
                m->pixels + 3 * i; /* the weights sum to 2^16, so the result is a byte */
            m->pixels[i] =
                (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
        }
    } else {
        uint8_t *grown = m->capacity >= 3 * n ? m->pixels : rfhe_alloc(n, 3);
        if (grown == NULL) { return RFHE_E_NOMEM; }
        for (size_t i = n;
             i-- > 0;) { /* backwards: in place, a value is read before it is overwritten */
            const uint8_t v = m->pixels[i];
            grown[3 * i] = grown[3 * i + 1] = grown[3 * i + 2] = v;
        }
        if (grown != m->pixels) {
            rfhe_free(m->pixels);
            m->pixels = grown;
            m->capacity = 3 * n;
        }
    }
    m->channels = channels;
    return RFHE_OK;
}
