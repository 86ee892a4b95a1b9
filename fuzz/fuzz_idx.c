/* IDX files, plain and gzip: whatever the bytes, a status; what is accepted has the size its
 * dimensions say. */
#include "base/mem.h"
#include "data/idx.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (uint32_t rank = 1; rank <= 4; rank++) {
        rfhe_idx x = {0};
        rfhe_error err = {0};
        const rfhe_status st = rfhe_idx_parse(&x, data, size, "fuzz", rank, &err);
        if (st == RFHE_OK) {
            size_t n = 1;
            for (uint32_t i = 0; i < rank; i++) { n *= x.dim[i]; }
            if (n != x.size || x.data == NULL) { abort(); }
        } else if (err.code != st || err.text[0] == '\0') {
            abort();
        }
        rfhe_free(x.data);
    }
    if (rfhe_mem_get_stats().current != 0) { abort(); }
    return 0;
}
