/* JPEG and PNG: whatever the bytes, a status; what is accepted is resized, cropped and normalised
 * without a fault. The check sums of PNG chunks are made right first, or nothing would ever get
 * past them. */
#include "base/bytes.h"
#include "base/mem.h"
#include "rfhe/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void seal_chunks(uint8_t *p, size_t size)
{
    for (size_t at = 8; size >= 20 && at <= size - 12;) {
        const uint32_t length = rfhe_load_be32(p + at);
        if (length > size - at - 12) { return; }
        const uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), p + at + 4, length + 4);
        rfhe_store_le32(p + at + 8 + length, __builtin_bswap32(crc));
        at += 12 + (size_t)length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float out[3 * 24 * 24];
    const rfhe_transform t = {.channels = 3, .resize = 28, .crop_height = 24, .crop_width = 24};
    rfhe_image m = {0};
    rfhe_error err = {0};
    uint8_t *copy = rfhe_alloc(size, 1);

    if (size > 0) { memcpy(copy, data, size); }
    if (size > 0 && copy[0] == 0x89) { seal_chunks(copy, size); }
    const rfhe_status st = rfhe_image_decode(&m, copy, size, "fuzz", &err);
    rfhe_free(copy);

    if (st != RFHE_OK) {
        if (err.code != st || err.text[0] == '\0' || m.width != 0) { abort(); }
    } else {
        if ((size_t)m.width * m.height * m.channels > m.capacity || m.width == 0) { abort(); }
        const rfhe_status map = rfhe_transform_apply(out, 3 * 24 * 24, &m, &t, &err);
        if (map != RFHE_OK && map != RFHE_E_UNSUPPORTED) { abort(); }
        for (size_t i = 0; map == RFHE_OK && i < 3 * 24 * 24; i++) {
            if (!(out[i] >= 0.0f && out[i] <= 1.0f)) { abort(); }
        }
    }
    rfhe_image_clear(&m);
    if (rfhe_mem_get_stats().current != 0) { abort(); }
    return 0;
}
