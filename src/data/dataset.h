/* The inside of a data set: labels of all images, which of them the split shows, and where the pixels are. */
#ifndef RFHE_DATA_DATASET_H
#define RFHE_DATA_DATASET_H

#include "base/file.h"
#include "rfhe/data.h"

enum { RFHE_DATA_MAX_PARTS = 8, RFHE_DATA_PATH_MAX = 4096 };

/* Bytes of an image wherever they are: sample (x, y, c) is data[x * pixel + y * row + c * channel]. */
typedef struct rfhe_view {
    const uint8_t *data;
    uint32_t width, height, channels;
    size_t pixel, row, channel;
} rfhe_view;

/* `count` records of `stride` bytes; the pixels of record r begin at first + r * stride. */
typedef struct rfhe_data_part {
    rfhe_file_map map; /* of a mapped file, or             */
    uint8_t *owned;    /* bytes in memory                  */
    char *path;
    const uint8_t *first;
    size_t count, stride;
} rfhe_data_part;

struct rfhe_dataset {
    char *spec;
    char split[32];
    uint32_t classes;
    char **class_names;
    uint32_t width, height, channels; /* 0 = may differ                          */
    bool is_sorted;                   /* by class, so that a prefix is no sample */
    size_t total;                     /* images of the file or listing           */
    uint32_t *labels;                 /* total                                   */
    size_t count;                     /* images the split shows                  */
    uint32_t *index;                  /* count numbers below total; NULL = all   */
    rfhe_data_part part[RFHE_DATA_MAX_PARTS];
    uint32_t n_parts;
    char *names;     /* folders: all paths, each ended by a zero byte          */
    size_t *name_at; /* total offsets into names; NULL = raw records           */
};

/* Fill total, labels, classes, sizes and the place of the pixels of `d`, which is in its zero state but for spec and
 * split. On failure the caller clears `d`. */
RFHE_MUST_USE rfhe_status rfhe_data_open_idx(rfhe_dataset *d, const char *dir, bool is_train,
                                             const char *const class_names[10], rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_data_open_cifar(rfhe_dataset *d, const char *dir, bool is_train,
                                               bool is_hundred, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_data_open_folder(rfhe_dataset *d, const char *dir, const char *split,
                                                bool is_imagenet, rfhe_error *err);

/* One file of CIFAR records as bytes: checks its size and every label and writes the labels (room for size / record).
 * `record` is label_bytes + 3,072; the last label byte counts. */
RFHE_MUST_USE rfhe_status rfhe_cifar_parse(uint32_t *labels, size_t *count, const uint8_t *file,
                                           size_t size, size_t label_bytes, uint32_t classes,
                                           const char *name, rfhe_error *err);

/* "DIR/NAME" into `out` of RFHE_DATA_PATH_MAX bytes; RFHE_E_UNSUPPORTED when it does not fit. */
RFHE_MUST_USE rfhe_status rfhe_data_path(char *out, const char *dir, const char *name,
                                         rfhe_error *err);
/* Class names from an array, or the numbers 0, 1, ... where `names` is NULL. */
RFHE_MUST_USE rfhe_status rfhe_data_set_classes(rfhe_dataset *d, const char *const *names,
                                                uint32_t n, rfhe_error *err);

/* The undecoded bytes of image i (i < count); false for folders. */
bool rfhe_dataset_view(const rfhe_dataset *d, size_t i, rfhe_view *out);

#endif
