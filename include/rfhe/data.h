/* Images and labels: data sets named by a spec, single images, the way from bytes to a network's input, and a loader
 * that prepares batches while the caller computes.
 *
 * A spec is KIND[:DIR]:
 *   fashion-mnist[:DIR]  the four IDX files, plain or .gz (default DIR: where Debian's dataset-fashion-mnist puts them)
 *   mnist:DIR            the same layout
 *   cifar10:DIR          binary version: data_batch_1.bin .. data_batch_5.bin, test_batch.bin
 *   cifar100:DIR         binary version: train.bin, test.bin; the fine labels
 *   folder:DIR           DIR/SPLIT/CLASS/FILE if DIR has such a split folder, else DIR/CLASS/FILE; classes are the
 *                        sorted folder names; FILE is .jpg, .jpeg or .png in any case
 *   imagenet:DIR         as folder, or flat JPEG files with a label list (see rfhe_data_hint)
 *
 * Splits: `train`, `test`, `val` (where a set has only one of test and val, both names mean it; a folder without
 * split folders is one set under each name), and a division of the training images for choosing between models without
 * ever looking at test images: `fit` and `select`, disjoint, together `train`; every class gives `select` its share,
 * chosen by a seed. `fit:N` and `select:N` state the size of `select` in the name. */
#ifndef RFHE_DATA_H
#define RFHE_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- One image -------------------------------------------------------------------------------------------------- */

/* Bytes in height x width x channels order, 1 (grey) or 3 (RGB) channels. Zero state: empty. The block is reused by
 * calls that fill the image; rfhe_image_clear frees it. */
typedef struct rfhe_image {
    uint32_t width, height, channels;
    uint8_t *pixels;
    size_t capacity; /* bytes allocated at `pixels` */
    bool damaged;    /* the decoder repaired something and went on, as Pillow would */
} rfhe_image;

/* Larger images are refused with RFHE_E_UNSUPPORTED before anything is allocated. */
#define RFHE_IMAGE_MAX_SIDE 32768u
#define RFHE_IMAGE_MAX_PIXELS 67108864u

RFHE_API void rfhe_image_clear(rfhe_image *m);

/* Decodes a JPEG or PNG, told apart by their first bytes. Grey files (JPEG of one component, PNG colour types 0 and 4)
 * give 1 channel, all others 3: palettes are looked up, alpha is dropped, 16 bits keep their upper 8, CMYK is taken as
 * Adobe writes it (inverted). EXIF orientation and colour profiles are ignored, as torchvision and Pillow ignore them.
 * RFHE_E_FORMAT with path and offset when the file is damaged or cut short, RFHE_E_UNSUPPORTED when it is too large or
 * something else. On failure `out` holds no image (its block stays usable). */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_image_read(rfhe_image *out, const char *path,
                                                   rfhe_error *err);

/* The same from memory; `name` is what messages call it. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_image_decode(rfhe_image *out, const void *data, size_t size,
                                                     const char *name, rfhe_error *err);

/* Makes grey out of RGB (ITU-R 601 weights in 16 bits, as Pillow) or RGB out of grey, in place. `channels` is 1 or 3. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_image_set_channels(rfhe_image *m, uint32_t channels);

/* --- Data sets --------------------------------------------------------------------------------------------------- */

/* Immutable once opened: any number of threads may read. IDX files are held in memory, CIFAR files are mapped (do not
 * shorten them while in use), folders are listed on opening and decoded on demand. */
typedef struct rfhe_dataset rfhe_dataset;

typedef struct rfhe_dataset_options { /* zero state: everything, default selection */
    uint64_t limit;        /* at most so many images, 0 = all: the first ones of a set in random order, evenly
                            * spaced ones of a set sorted by class (folders)                                       */
    uint64_t select_count; /* size of the split `select`; 0 = a tenth of the training images                       */
    uint64_t select_seed;  /* which images it gets                                                                 */
} rfhe_dataset_options;

/* Opens a split. `options` may be NULL.
 * RFHE_E_ARG     the spec or the split is none of the above
 * RFHE_E_IO      a file or folder is missing or cannot be read; the sentence names it
 * RFHE_E_FORMAT  a file is not what its name says; path and offset in the sentence */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_dataset_open(rfhe_dataset **out, const char *spec,
                                                     const char *split,
                                                     const rfhe_dataset_options *options,
                                                     rfhe_error *err);
RFHE_API void rfhe_dataset_close(rfhe_dataset *d);

RFHE_API size_t rfhe_dataset_count(const rfhe_dataset *d);
RFHE_API uint32_t rfhe_dataset_classes(const rfhe_dataset *d);
/* NULL when c is out of range. Borrowed from `d`. */
RFHE_API const char *rfhe_dataset_class_name(const rfhe_dataset *d, uint32_t c);
/* 0 when images may differ (folders). */
RFHE_API uint32_t rfhe_dataset_width(const rfhe_dataset *d);
RFHE_API uint32_t rfhe_dataset_height(const rfhe_dataset *d);
RFHE_API uint32_t rfhe_dataset_channels(const rfhe_dataset *d);
/* Class of image i, in [0, classes). Decodes nothing. i < count. */
RFHE_API uint32_t rfhe_dataset_label(const rfhe_dataset *d, size_t i);
/* Number of image i in the whole file or folder listing of its split (before fit/select and limit). i < count. */
RFHE_API size_t rfhe_dataset_source_index(const rfhe_dataset *d, size_t i);
/* The spec and split as opened; borrowed. */
RFHE_API const char *rfhe_dataset_spec(const rfhe_dataset *d);
RFHE_API const char *rfhe_dataset_split(const rfhe_dataset *d);
/* Writes "PATH" or "PATH, record N" of image i into `text` (always terminated, cut if it does not fit). */
RFHE_API void rfhe_dataset_where(const rfhe_dataset *d, size_t i, char *text, size_t size);
/* Decodes image i. RFHE_E_ARG when i is out of range; otherwise as rfhe_image_read. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_dataset_image(const rfhe_dataset *d, size_t i,
                                                      rfhe_image *out, rfhe_error *err);

/* What the files of a spec must be called and where people get them; a constant text of one or more sentences. */
RFHE_API const char *rfhe_data_hint(const char *spec);

/* --- From bytes to a network's input ----------------------------------------------------------------------------- */

/* Resize, centre crop, normalise, in this order and with torchvision's and Pillow's arithmetic. */
typedef struct rfhe_transform { /* zero state: byte / 255, size and channels as they come */
    uint32_t channels;          /* 1 or 3; 0 = the data set's, 3 for folders                              */
    uint32_t resize;            /* length of the shorter side, antialiased bilinear; 0 = leave            */
    bool keep_fitting;          /* no resize for an image that has the result's size as it is             */
    uint32_t crop_height, crop_width; /* centre crop, black where the image is smaller; 0 = leave         */
    float mean[3], std[3];      /* per channel: (byte / 255 - mean) / std in float; std 0 stands for 1    */
} rfhe_transform;

/* Random changes of training images, drawn per image from (seed, epoch, image number): the same for any number of
 * threads and after resuming in the middle of an epoch. Applied in the order of the fields. */
typedef struct rfhe_augment { /* zero state: none */
    bool random_resized_crop; /* in place of resize and centre crop: a random box (area and aspect ratio 3/4 .. 4/3),
                               * resized to the crop size                                                          */
    float area_min;           /* smallest share of the area of that box; 0 = 0.08                                  */
    uint32_t pad_crop;        /* so many black pixels on each side, then a random window of the old size           */
    bool flip;                /* left and right, with probability 1/2                                              */
    uint32_t cutout;          /* side of a square of zeros (= mean) at a random centre; 0 = none                   */
} rfhe_augment;

/* Size of the result for a width x height x channels image (0 = unknown, as in folders).
 * RFHE_E_ARG if it cannot be told without a crop, or an option is out of range. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_transform_size(uint32_t *channels, uint32_t *height,
                                                       uint32_t *width, const rfhe_transform *t,
                                                       uint32_t in_channels, uint32_t in_height,
                                                       uint32_t in_width, rfhe_error *err);

/* Applies `t` to one image: out[c][y][x], `n` floats, which must be what rfhe_transform_size says.
 * RFHE_E_ARG if it is not; RFHE_E_NOMEM. Cost: linear in the pixels of the image. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_transform_apply(float *out, size_t n, const rfhe_image *m,
                                                        const rfhe_transform *t, rfhe_error *err);

/* Antialiased bilinear resize of the box (x, y, w, h) inside `in` to width x height: Pillow's
 * Image.crop(box).resize(size, BILINEAR), byte for byte. `out` must not be `in`. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_image_resize(rfhe_image *out, uint32_t width,
                                                     uint32_t height, const rfhe_image *in,
                                                     uint32_t x, uint32_t y, uint32_t w,
                                                     uint32_t h);

/* --- Loader ------------------------------------------------------------------------------------------------------ */

/* Delivers batches in a fixed order that depends on the seed alone. Background threads prepare the next ones while the
 * caller computes. One thread at a time may call it. The data set must outlive it. To cancel, free it: that waits for
 * the images in work only. Memory: (prefetch + 1) batches, with no_thread one. */
typedef struct rfhe_loader rfhe_loader;

typedef struct rfhe_loader_options { /* zero state but for `batch`: every image once per epoch, in file order, for ever */
    uint32_t batch;       /* images per batch, at least 1                                                     */
    bool shuffle;         /* a new order every epoch                                                          */
    bool drop_last;       /* leave out the images of an incomplete last batch                                 */
    bool no_thread;       /* prepare each batch inside rfhe_loader_next                                       */
    uint32_t workers;     /* background threads; 0 = 1, for folders half the team (at least 1)                */
    uint32_t prefetch;    /* batches prepared ahead; 0 = 2                                                    */
    uint64_t epochs;      /* deliver so many and then end; 0 = no end                                         */
    uint64_t seed;        /* of order and augmentation                                                        */
    rfhe_augment augment;
} rfhe_loader_options;

/* Where the loader stands: the next image to be delivered is number `position` of the order of `epoch`. Two numbers
 * that belong into a checkpoint; with the same data, options and seed they continue the same sequence. */
typedef struct rfhe_loader_state {
    uint64_t epoch, position;
} rfhe_loader_state;

/* One batch, borrowed until the next call on the loader. */
typedef struct rfhe_batch {
    const float *images;     /* count x channels x height x width                       */
    const uint32_t *labels;  /* count classes                                           */
    const uint32_t *indices; /* count image numbers in the data set                     */
    uint32_t count;          /* 0 only after the last epoch; less than batch at its end */
    uint64_t epoch;
    bool ends_epoch;         /* no more of this epoch                                   */
} rfhe_batch;

/* RFHE_E_ARG: an option out of range, an empty set, or a size that cannot be told (see rfhe_transform_size). */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_loader_new(rfhe_loader **out, const rfhe_dataset *d,
                                                   const rfhe_transform *t,
                                                   const rfhe_loader_options *options,
                                                   rfhe_error *err);
RFHE_API void rfhe_loader_free(rfhe_loader *l);
RFHE_API void rfhe_loader_size(const rfhe_loader *l, uint32_t *channels, uint32_t *height,
                               uint32_t *width);
/* Batches of one epoch. */
RFHE_API uint64_t rfhe_loader_batches(const rfhe_loader *l);
/* Waits for the next batch. A bad image fails the call that would deliver it, naming the file; the loader stays where
 * it was, so calling again fails again. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_loader_next(rfhe_loader *l, rfhe_batch *out,
                                                    rfhe_error *err);
/* The same into the caller's blocks: `images` has room for batch x channels x height x width floats, `labels` for batch
 * values; count 0 after the last epoch. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_loader_read(rfhe_loader *l, float *images, uint32_t *labels,
                                                    uint32_t *count, rfhe_error *err);
RFHE_API rfhe_loader_state rfhe_loader_get_state(const rfhe_loader *l);
/* RFHE_E_ARG when `position` is not one that rfhe_loader_get_state can give. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_loader_set_state(rfhe_loader *l, rfhe_loader_state s,
                                                         rfhe_error *err);

/* --- Checking ---------------------------------------------------------------------------------------------------- */

typedef struct rfhe_data_report { /* zero state: empty; rfhe_data_report_clear frees */
    size_t images;                /* of the split                                             */
    size_t bad, damaged;          /* cannot be decoded; decoded after repairs                 */
    uint32_t classes, empty_classes;
    uint32_t *per_class;          /* `classes` counts                                         */
    uint32_t min_width, max_width, min_height, max_height; /* of the images that decode       */
    size_t grey, color;
    rfhe_error first_problem;     /* of the first bad image; code RFHE_OK when there is none  */
} rfhe_data_report;

/* Decodes every image of an open set, using all threads. RFHE_OK also when images are bad (see the report). */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_data_check(rfhe_data_report *out, const rfhe_dataset *d,
                                                   const rfhe_progress *progress, rfhe_error *err);
RFHE_API void rfhe_data_report_clear(rfhe_data_report *r);

#ifdef __cplusplus
}
#endif
#endif
