/* What the decoders share: room for pixels, and the two formats. */
#ifndef RFHE_DATA_IMAGE_H
#define RFHE_DATA_IMAGE_H

#include "rfhe/data.h"

/* Gives `m` room for width x height x channels bytes and sets its size; the pixels are undefined. The block only
 * grows. RFHE_E_NOMEM leaves an image of size 0. */
RFHE_MUST_USE rfhe_status rfhe_image_reserve(rfhe_image *m, uint32_t width, uint32_t height,
                                             uint32_t channels);
/* Refuses a size that is zero or above the limits of data.h. */
RFHE_MUST_USE rfhe_status rfhe_image_check_size(uint32_t width, uint32_t height, const char *name,
                                                rfhe_error *err);
/* `data` begins with the format's signature. Both follow rfhe_image_decode. */
RFHE_MUST_USE rfhe_status rfhe_jpeg_decode(rfhe_image *out, const uint8_t *data, size_t size,
                                           const char *name, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_png_decode(rfhe_image *out, const uint8_t *data, size_t size,
                                          const char *name, rfhe_error *err);

#endif
