/* CIFAR records: the first byte chooses between one and two label bytes; accepted labels are in
 * range. */
#include "base/mem.h"
#include "data/dataset.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) { return 0; }
    const size_t label_bytes = 1 + (data[0] & 1u), n = (size - 1) / (label_bytes + 3072);
    const uint32_t classes = label_bytes == 2 ? 100 : 10;
    uint32_t *labels = rfhe_alloc(n, sizeof *labels);
    size_t count = 99;
    rfhe_error err = {0};
    const rfhe_status st =
        rfhe_cifar_parse(labels, &count, data + 1, size - 1, label_bytes, classes, "fuzz", &err);

    if (st == RFHE_OK ? count != n || n == 0 : count != 0 || err.text[0] == '\0') { abort(); }
    for (size_t i = 0; i < count; i++) {
        if (labels[i] >= classes) { abort(); }
    }
    rfhe_free(labels);
    return 0;
}
