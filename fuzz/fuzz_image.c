/* JPEG and PNG: whatever the bytes, a status; what is accepted is resized, cropped and normalised without a fault. */
#include "base/mem.h"
#include "rfhe/data.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float out[3 * 24 * 24];
    const rfhe_transform t = {.channels = 3, .resize = 28, .crop_height = 24, .crop_width = 24};
    rfhe_image m = {0};
    rfhe_error err = {0};
    const rfhe_status st = rfhe_image_decode(&m, data, size, "fuzz", &err);

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
