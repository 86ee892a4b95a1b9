/* One image on its way from bytes to the network's input, with or without random changes. */
#ifndef RFHE_DATA_TRANSFORM_H
#define RFHE_DATA_TRANSFORM_H

#include "base/random.h"
#include "data/dataset.h"

/* A transform made ready: the result's size and a table of floats per byte. Immutable, share freely. */
typedef struct rfhe_mapping {
    rfhe_transform t;
    rfhe_augment augment;
    uint32_t channels, height, width;
    float value[3][256]; /* (byte / 255 - mean) / std */
} rfhe_mapping;

/* Scratch of one thread; zero state: empty. */
typedef struct rfhe_mapping_scratch {
    rfhe_image decoded, resized;
} rfhe_mapping_scratch;

/* `in_` sizes as in rfhe_transform_size; `augment` may be NULL. */
RFHE_MUST_USE rfhe_status rfhe_mapping_init(rfhe_mapping *m, const rfhe_transform *t,
                                            const rfhe_augment *augment, uint32_t in_channels,
                                            uint32_t in_height, uint32_t in_width, rfhe_error *err);
void rfhe_mapping_scratch_clear(rfhe_mapping_scratch *s);

/* Image i of `d` into out[channels][height][width]. `rng` draws the augmentation; NULL = none. */
RFHE_MUST_USE rfhe_status rfhe_mapping_apply(float *out, const rfhe_mapping *m,
                                             const rfhe_dataset *d, size_t i, rfhe_rng *rng,
                                             rfhe_mapping_scratch *s, rfhe_error *err);

#endif
