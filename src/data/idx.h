/* IDX, the format of MNIST: a big-endian header (two zero bytes, 8 = unsigned bytes, number of dimensions, then each
 * dimension in 32 bits) and the bytes; plain or packed by gzip. */
#ifndef RFHE_DATA_IDX_H
#define RFHE_DATA_IDX_H

#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

typedef struct rfhe_idx {
    uint32_t rank, dim[4]; /* 1 .. 4 dimensions, each at least 1 */
    uint8_t *data;         /* the product of the dimensions; freed with rfhe_free */
    size_t size;
} rfhe_idx;

/* Reads `path`, which must hold exactly `rank` dimensions of unsigned bytes and nothing behind them. At most 4 GiB.
 * RFHE_E_FORMAT with path and offset, RFHE_E_IO, RFHE_E_NOMEM. */
RFHE_MUST_USE rfhe_status rfhe_idx_read(rfhe_idx *out, const char *path, uint32_t rank,
                                        rfhe_error *err);
/* The same from the bytes of a file, for tests and fuzzing. */
RFHE_MUST_USE rfhe_status rfhe_idx_parse(rfhe_idx *out, const uint8_t *file, size_t size,
                                         const char *name, uint32_t rank, rfhe_error *err);

#endif
