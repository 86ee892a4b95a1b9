/* JPEG through libjpeg-turbo's TurboJPEG interface. Before the library sees a byte we walk the markers up to the first
 * scan ourselves: that gives the size before anything is allocated, and messages with an offset. The library's
 * warnings are treated as Pillow treats them: the end of the file inside the picture is an error, everything else is
 * repaired silently (a fact that `damaged` keeps). */
#include "data/image.h"

#include "base/mem.h"

#include <stdbool.h>
#include <string.h>
#include <turbojpeg.h>

typedef struct jpeg_head {
    uint32_t width, height, components;
    size_t scan;   /* offset just behind the first SOS marker          */
    bool has_junk; /* bytes between the segments that belong to none   */
} jpeg_head;

static unsigned be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* SOF0 .. SOF15 without DHT, JPG and DAC. */
static bool is_frame(unsigned marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static rfhe_status read_head(jpeg_head *h, const uint8_t *p, size_t size, const char *name,
                             rfhe_error *err)
{
    size_t at = 2;

    *h = (jpeg_head){0};
    for (;;) {
        while (at + 1 < size && p[at] == 0xff && p[at + 1] == 0xff) { at++; } /* fill bytes */
        while (at + 1 < size && (p[at] != 0xff || p[at + 1] == 0x00 || p[at + 1] == 0xff)) {
            h->has_junk = true; /* every decoder looks for the next marker */
            at++;
        }
        if (at + 4 > size) {
            return rfhe_fail(err, RFHE_E_FORMAT, "'%s' ends at offset %zu, before its picture",
                             name, size);
        }
        const unsigned marker = p[at + 1], length = be16(p + at + 2);
        if (marker == 0xd9) {
            return rfhe_fail(err, RFHE_E_FORMAT,
                             "'%s' ends with a marker at offset %zu, before its picture", name, at);
        }
        if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) { /* no length follows */
            at += 2;
            continue;
        }
        if (length < 2 || length > size - at - 2) {
            return rfhe_fail(
                err, RFHE_E_FORMAT,
                "'%s' has a segment of %u bytes at offset %zu, %zu bytes before its end", name,
                length, at, size - at);
        }
        if (is_frame(marker)) {
            if (length < 8 || h->components != 0) {
                return rfhe_fail(err, RFHE_E_FORMAT, "'%s' has an impossible frame at offset %zu",
                                 name, at);
            }
            h->height = be16(p + at + 5);
            h->width = be16(p + at + 7);
            h->components = p[at + 9];
        }
        at += 2 + (size_t)length;
        if (marker == 0xda) { break; }
    }
    h->scan = at;
    if (h->components != 1 && h->components != 3 && h->components != 4) {
        return rfhe_fail(err, h->components == 0 ? RFHE_E_FORMAT : RFHE_E_UNSUPPORTED,
                         "'%s' has %u colour components; 1, 3 or 4 are understood", name,
                         h->components);
    }
    return RFHE_OK;
}

/* An end-of-image marker behind the first scan; inside entropy-coded data the pair cannot occur. */
static bool has_end(const uint8_t *p, size_t size, size_t from)
{
    for (size_t i = size; i >= from + 2; i--) {
        if (p[i - 2] == 0xff && p[i - 1] == 0xd9) { return true; }
    }
    return false;
}

/* Adobe's inverted CMYK to RGB, Pillow's rounding: (a*b + 128 + that/256)/256 stands for a*b/255. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned k = cmyk[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            const unsigned x = (255u - cmyk[4 * i + c]) * k + 128;
            rgb[3 * i + c] = (uint8_t)(k - (((x >> 8) + x) >> 8)); /* the product is at most k */
        }
    }
}

rfhe_status rfhe_jpeg_decode(rfhe_image *out, const uint8_t *data, size_t size, const char *name,
                             rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    jpeg_head head;
    int width = 0, height = 0, subsampling = 0, color = 0;
    uint8_t *cmyk = NULL;
    tjhandle tj = NULL;

    RFHE_TRY(read_head(&head, data, size, name, err));
    RFHE_TRY(rfhe_image_check_size(head.width, head.height, name, err));
    /* A Huffman-coded block of 64 pixels takes at least one bit, so larger claims are not worth an allocation. */
    if ((uint64_t)head.width * head.height / 512 > size) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' claims %u x %u pixels in %zu bytes", name,
                       head.width, head.height, size);
        goto done;
    }
    if (!has_end(data, size, head.scan)) {
        st = rfhe_fail(err, RFHE_E_FORMAT,
                       "'%s' is cut short: the picture has no end before offset %zu", name, size);
        goto done;
    }
    tj = tjInitDecompress();
    if (tj == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode '%s'", name);
        goto done;
    }
    if (tjDecompressHeader3(tj, data, (unsigned long)size, &width, &height, &subsampling, &color) !=
            0 &&
        tjGetErrorCode(tj) != TJERR_WARNING) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is not a JPEG we can decode: %s", name,
                       tjGetErrorStr2(tj));
        goto done;
    }
    if (width != (int)head.width || height != (int)head.height) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' contradicts itself about its size", name);
        goto done;
    }
    const bool is_cmyk = color == TJCS_CMYK || color == TJCS_YCCK;
    const int format = is_cmyk ? TJPF_CMYK : color == TJCS_GRAY ? TJPF_GRAY : TJPF_RGB;
    if (is_cmyk) {
        cmyk = rfhe_alloc((size_t)head.width * head.height, 4);
        if (cmyk == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode '%s'", name);
            goto done;
        }
    }
    st = rfhe_image_reserve(out, head.width, head.height, format == TJPF_GRAY ? 1 : 3);
    if (st != RFHE_OK) {
        (void)rfhe_fail(err, st, "no memory to decode '%s'", name);
        goto done;
    }
    out->damaged = head.has_junk;
    if (tjDecompress2(tj, data, (unsigned long)size, is_cmyk ? cmyk : out->pixels, width, 0, height,
                      format, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0) {
        const char *why = tjGetErrorStr2(tj);
        if (tjGetErrorCode(tj) != TJERR_WARNING || strstr(why, "Premature end of") != NULL) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is damaged behind offset %zu: %s", name,
                           head.scan, why);
            goto done;
        }
        out->damaged = true;
    }
    if (is_cmyk) { cmyk_to_rgb(out->pixels, cmyk, (size_t)head.width * head.height); }

done:
    if (tj != NULL) { (void)tjDestroy(tj); }
    rfhe_free(cmyk);
    return st;
}
