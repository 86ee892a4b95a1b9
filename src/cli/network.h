/* What the verbs that run a network on images share: opening a model, finding out how images become its input, and
 * feeding a loader's batches to nn/. */
#ifndef RFHE_CLI_NETWORK_H
#define RFHE_CLI_NETWORK_H

#include "cli/cli.h"

#include "nn/evaluate.h"
#include "rfhe/data.h"

/* Rows for the tables of verbs that read images. */
#define RFHE_OPTIONS_PREPROCESSING                                                                 \
    {"mean", 0, RFHE_OPT_TEXT, "R,G,B", NULL,                                                      \
     "subtracted after byte / 255 (default: the model's rfhe.mean, else by data set)"},            \
        {"std", 0, RFHE_OPT_TEXT, "R,G,B", NULL, "divided by afterwards (default as for --mean)"}, \
        {"resize", 0, RFHE_OPT_UINT, "N", NULL,                                                    \
         "bring the shorter side to N pixels first (default: rfhe.resize, else as the model needs)"}, \
        {"crop", 0, RFHE_OPT_UINT, "N", NULL,                                                      \
         "then cut N x N pixels from the centre (default: rfhe.crop, else as the model needs)"}

/* Rows for the tables of verbs that train on images. */
#define RFHE_OPTIONS_TRAINING_IMAGES                                                                \
    {"batch", 'b', RFHE_OPT_UINT, "N", NULL, "images per step (default: 128)"},                     \
        {"augment", 0, RFHE_OPT_TEXT, "LIST", NULL,                                                 \
         "none, or of crop:N, flip, cutout:N, resized-crop[:AREA] (default: by data set)"},         \
        {"val-fraction", 0, RFHE_OPT_FLOAT, "F", NULL,                                              \
         "training images set aside to choose the best epoch by, 0 = none (default: 0.1)"},         \
        {"test-split", 0, RFHE_OPT_TEXT, "NAME", NULL,                                              \
         "split to measure the result on at the very end, or none (default: test)"},                \
        {"limit", 0, RFHE_OPT_UINT, "N", NULL, "train on N images only, test on as many at most"},  \
        {"dtype", 0, RFHE_OPT_CHOICE, "TYPE", "f32|bf16", "arithmetic of training; the weights stay float (default: f32)"}

/* Opens an ONNX file, infers shapes with a symbolic batch and finds its PAFs again (rfhe_paf_fuse). RFHE_E_FORMAT when it is not a classifier of images: one
 * input N x C x H x W. */
RFHE_MUST_USE rfhe_status rfhe_network_open(rfhe_graph **out, const char *path, rfhe_error *err);

/* Channels, height, width of the first input; -1 for what is symbolic. */
void rfhe_network_input(const rfhe_graph *g, int64_t *channels, int64_t *height, int64_t *width);

/* How images of `d` become input of `g`: first the options above, then the metadata rfhe.mean, rfhe.std, rfhe.resize,
 * rfhe.crop, then these defaults:
 *   mean, std   cifar10, cifar100, folder, imagenet: 0.485,0.456,0.406 and 0.229,0.224,0.225 (what the usual pretrained
 *               networks expect); fashion-mnist: 0.2860 and 0.3530; mnist: 0.1307 and 0.3081
 *   size        images of the model's size as they are; others resized so that a centre crop of the model's size takes
 *               7/8 of the shorter side of photos (folders and image files), all of it otherwise
 * RFHE_E_ARG with a sentence about the option that cannot be read; RFHE_E_FORMAT about the metadata. */
RFHE_MUST_USE rfhe_status rfhe_network_transform(rfhe_transform *out, const rfhe_graph *g,
                                                 const rfhe_dataset *d, const rfhe_args *args,
                                                 rfhe_error *err);
/* The same for whoever has no graph: metadata and the size of the input. `d` may be NULL (image files: as photos), `args`
 * too (no options). */
typedef struct rfhe_network_needs {
    const rfhe_meta *metas;
    uint32_t n_metas;
    int64_t channels, height, width;
} rfhe_network_needs;
RFHE_MUST_USE rfhe_status rfhe_network_transform_for(rfhe_transform *out, const rfhe_network_needs *n,
                                                     const rfhe_dataset *d, const rfhe_args *args, rfhe_error *err);
/* Writes the transform into the metadata of `g`, so that the file says how to feed it: what options and metadata said, and
 * for a data set of one size that shorter side as rfhe.resize, which leaves such images as they are and brings others to
 * them. The default for photos is not written down; it stays the default. */
RFHE_MUST_USE rfhe_status rfhe_network_set_metadata(rfhe_graph *g, const rfhe_transform *t,
                                                    const rfhe_dataset *d);

/* Images for a batch of this network: up to 128, fewer for large inputs, at most `images`. */
uint32_t rfhe_network_batch(const rfhe_graph *g, uint64_t images);

/* "none" or some of crop:N, flip, cutout:N, resized-crop[:AREA], separated by commas. RFHE_E_ARG. */
RFHE_MUST_USE rfhe_status rfhe_network_augmentation(rfhe_augment *out, const char *list, rfhe_error *err);
/* What is usual for a data set, as such a list. */
const char *rfhe_network_usual_augmentation(const rfhe_dataset *d);

/* A data set with its loader as a source of batches. Zero state: closed. */
typedef struct rfhe_images {
    rfhe_dataset *set;
    rfhe_loader *loader;
    rfhe_batch_source source; /* its `user` is the loader: valid wherever the struct is copied */
} rfhe_images;

/* Starts a loader on `set`, which rfhe_images_close closes (also when this call fails, if *out was zero). An epoch has
 * all images, or the whole batches if options->drop_last. */
RFHE_MUST_USE rfhe_status rfhe_images_open(rfhe_images *out, rfhe_dataset *set,
                                           const rfhe_transform *t,
                                           const rfhe_loader_options *options, rfhe_error *err);
void rfhe_images_close(rfhe_images *s);

/* The training images of `spec` as sets, without loaders yet: --val-fraction of them set aside for `select` (left closed
 * when that is 0), the others for `fit`; --limit cuts both. *set_aside is the number before that cut: with it as
 * select_count another set of the same split can be opened. RFHE_E_ARG also when `fit` does not fill a batch. */
RFHE_MUST_USE rfhe_status rfhe_images_split(rfhe_images *fit, rfhe_images *select, uint64_t *set_aside,
                                            const char *spec, const rfhe_args *args, uint32_t batch,
                                            rfhe_error *err);
/* Starts the loader of `fit` for training: shuffled whole batches, augmented as `list` says. */
RFHE_MUST_USE rfhe_status rfhe_images_start_training(rfhe_images *fit, const rfhe_transform *t, uint32_t batch,
                                                     uint64_t seed, const char *list, rfhe_error *err);

#endif
