/* MNIST and Fashion-MNIST: one IDX file of images and one of labels per split. */
#include "data/dataset.h"

#include "base/mem.h"
#include "data/idx.h"

#include <stdio.h>

/* The four spellings in use: train-images-idx3-ubyte or train-images.idx3-ubyte, each with or without .gz. Leaves the
 * first that exists in `path`, or the first of all. */
static rfhe_status find_file(char *path, const char *dir, const char *set, const char *what,
                             unsigned rank, rfhe_error *err)
{
    char name[64];
    rfhe_status st = RFHE_OK;

    for (int i = 0; i < 4 && st == RFHE_OK; i++) {
        (void)snprintf(name, sizeof name, "%s-%s%cidx%u-ubyte%s", set, what, i < 2 ? '-' : '.',
                       rank, i % 2 == 0 ? "" : ".gz");
        st = rfhe_data_path(path, dir, name, err);
        if (st == RFHE_OK && rfhe_file_exists(path)) { return st; }
    }
    if (st != RFHE_OK) { return st; }
    return rfhe_fail(err, RFHE_E_IO, "there is no '%s-%s-idx%u-ubyte' (nor .gz) in '%s'", set, what,
                     rank, dir);
}

rfhe_status rfhe_data_open_idx(rfhe_dataset *d, const char *dir, bool is_train,
                               const char *const class_names[10], rfhe_error *err)
{
    const char *set = is_train ? "train" : "t10k";
    char path[RFHE_DATA_PATH_MAX], label_path[RFHE_DATA_PATH_MAX];
    rfhe_idx images = {0}, labels = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(find_file(path, dir, set, "images", 3, err));
    RFHE_TRY(find_file(label_path, dir, set, "labels", 1, err));
    RFHE_TRY(rfhe_idx_read(&labels, label_path, 1, err));
    RFHE_TRY(rfhe_idx_read(&images, path, 3, err));
    if (images.dim[0] != labels.dim[0]) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' has %u images, but '%s' has %u labels", path,
                       images.dim[0], label_path, labels.dim[0]);
        goto done;
    }
    if (images.dim[1] > RFHE_IMAGE_MAX_SIDE || images.dim[2] > RFHE_IMAGE_MAX_SIDE ||
        (uint64_t)images.dim[1] * images.dim[2] > RFHE_IMAGE_MAX_PIXELS) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' claims images of %u x %u pixels at offset 8",
                       path, images.dim[2], images.dim[1]);
        goto done;
    }
    d->labels = rfhe_alloc(labels.size, sizeof *d->labels);
    d->part[0].path = rfhe_strdup(path);
    d->n_parts = 1;
    if (d->labels == NULL || d->part[0].path == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the labels of '%s'", path);
        goto done;
    }
    for (size_t i = 0; i < labels.size; i++) {
        if (labels.data[i] >= 10) {
            st = rfhe_fail(err, RFHE_E_FORMAT,
                           "'%s' has label %u at offset %zu; there are 10 classes", label_path,
                           labels.data[i], i + 8);
            goto done;
        }
        d->labels[i] = labels.data[i];
    }
    RFHE_TRY(rfhe_data_set_classes(d, class_names, 10, err));
    d->total = d->part[0].count = images.dim[0];
    d->height = images.dim[1];
    d->width = images.dim[2];
    d->channels = 1;
    d->part[0].stride = (size_t)images.dim[1] * images.dim[2];
    d->part[0].first = d->part[0].owned = images.data;
    images.data = NULL;

done:
    rfhe_free(images.data);
    rfhe_free(labels.data);
    return st;
}
