/* CIFAR-10 and CIFAR-100, binary version: records of one (CIFAR-100: two, coarse then fine) label bytes and three
 * planes of 32 x 32 bytes, red, green, blue. Files may hold any whole number of records. */
#include "data/dataset.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 3072, NAMES_MAX = 1 << 16 };

static const char *const ten[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                  "dog",      "frog",       "horse", "ship", "truck"};

rfhe_status rfhe_cifar_parse(uint32_t *labels, size_t *count, const uint8_t *file, size_t size,
                             size_t label_bytes, uint32_t classes, const char *name,
                             rfhe_error *err)
{
    const size_t record = label_bytes + PIXELS;

    *count = 0;
    if (size == 0) { return rfhe_fail(err, RFHE_E_FORMAT, "'%s' is empty", name); }
    if (size % record != 0) {
        return rfhe_fail(
            err, RFHE_E_FORMAT,
            "'%s' is cut short: %zu bytes are left behind offset %zu, a record has %zu", name,
            size % record, size - size % record, record);
    }
    for (size_t r = 0; r < size / record; r++) {
        const size_t at = r * record + label_bytes - 1;
        if (file[at] >= classes) {
            return rfhe_fail(err, RFHE_E_FORMAT,
                             "'%s' has label %u at offset %zu (record %zu); there are %u classes",
                             name, file[at], at, r, classes);
        }
        labels[r] = file[at];
    }
    *count = size / record;
    return RFHE_OK;
}

/* Class names from a file of lines, if it is there and has enough of them. */
static rfhe_status read_names(rfhe_dataset *d, const char *dir, const char *file, uint32_t n,
                              rfhe_error *err)
{
    char path[RFHE_DATA_PATH_MAX];
    const char *names[100] = {0};
    uint32_t have = 0;
    uint8_t *text = NULL;
    size_t size = 0;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_data_path(path, dir, file, err));
    if (rfhe_file_exists(path)) {
        char *rest = NULL;
        RFHE_TRY(rfhe_file_read(&text, &size, path, NAMES_MAX, err));
        for (char *w = strtok_r((char *)text, "\r\n", &rest); w != NULL && have < n;
             w = strtok_r(NULL, "\r\n", &rest)) {
            names[have++] = w;
        }
    }
    if (have == n) {
        st = rfhe_data_set_classes(d, names, n, err);
    } else {
        st = rfhe_data_set_classes(d, n == 10 ? ten : NULL, n, err);
    }

done:
    rfhe_free(text);
    return st;
}

static rfhe_status open_part(rfhe_dataset *d, const char *dir, const char *file, size_t label_bytes,
                             rfhe_error *err)
{
    char path[RFHE_DATA_PATH_MAX];
    rfhe_data_part *p = &d->part[d->n_parts++];
    rfhe_status st = rfhe_data_path(path, dir, file, err);
    uint32_t *labels = NULL;

    if (st != RFHE_OK) { return st; }
    p->path = rfhe_strdup(path);
    if (p->path == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to open '%s'", path); }
    st = rfhe_file_map_open(&p->map, path, err);
    if (st != RFHE_OK) { return st; }
    p->stride = label_bytes + PIXELS;
    p->first = p->map.size > 0 ? p->map.data + label_bytes : NULL;
    labels = rfhe_realloc(d->labels, d->total + p->map.size / p->stride + 1, sizeof *labels);
    if (labels == NULL) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the labels of '%s'", path);
    }
    d->labels = labels;
    st = rfhe_cifar_parse(labels + d->total, &p->count, p->map.data, p->map.size, label_bytes,
                          label_bytes == 2 ? 100 : 10, path, err);
    d->total += p->count;
    return st;
}

rfhe_status rfhe_data_open_cifar(rfhe_dataset *d, const char *dir, bool is_train, bool is_hundred,
                                 rfhe_error *err)
{
    char inner[RFHE_DATA_PATH_MAX], file[32];
    const size_t label_bytes = is_hundred ? 2 : 1;
    rfhe_status st = RFHE_OK;

    /* The official archives unpack into a folder of this name. */
    RFHE_TRY(
        rfhe_data_path(inner, dir, is_hundred ? "cifar-100-binary" : "cifar-10-batches-bin", err));
    if (rfhe_file_exists(inner)) { dir = inner; }
    d->width = d->height = 32;
    d->channels = 3;
    if (is_hundred) {
        RFHE_TRY(open_part(d, dir, is_train ? "train.bin" : "test.bin", label_bytes, err));
    } else if (is_train) {
        for (int i = 1; i <= 5; i++) {
            (void)snprintf(file, sizeof file, "data_batch_%d.bin", i);
            RFHE_TRY(open_part(d, dir, file, label_bytes, err));
        }
    } else {
        RFHE_TRY(open_part(d, dir, "test_batch.bin", label_bytes, err));
    }
    RFHE_TRY(read_names(d, dir, is_hundred ? "fine_label_names.txt" : "batches.meta.txt",
                        is_hundred ? 100 : 10, err));

done:
    return st;
}
