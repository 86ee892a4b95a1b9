/* What the verbs of encrypted inference share: a program's folder, images as its input, names of classes and files. */
#ifndef RFHE_CLI_SIDES_H
#define RFHE_CLI_SIDES_H

#include "cli/network.h"

#include "infer/client.h"
#include "infer/run.h"

/* How images of `d` (NULL: image files) become the program's input. */
RFHE_MUST_USE rfhe_status sides_transform(rfhe_transform *out, const rfhe_program *p, const rfhe_dataset *d,
                                          const rfhe_args *args, rfhe_error *err);
/* Numbers of one image. */
static inline size_t sides_pixels(const rfhe_program *p)
{
    return (size_t)p->image_channels * p->image_height * p->image_width;
}
/* Class `label` by the program's metadata (rfhe.classes), or its number. */
void sides_class(char *out, size_t size, const rfhe_program *p, uint32_t label);
/* The largest of n numbers; the first of several. */
uint32_t sides_label(const float *logits, uint32_t n);
/* FOLDER/STEM.EXTENSION, where STEM is `name` without folders and its last extension. */
RFHE_MUST_USE rfhe_status sides_file(char *out, size_t size, const char *folder, const char *name, const char *extension,
                                     rfhe_error *err);
/* RFHE_E_ARG when two arguments behind the program have one STEM, so that what is made of one would overwrite the other. */
RFHE_MUST_USE rfhe_status sides_distinct(const rfhe_args *args, rfhe_error *err);
/* The folder of --output, which is made if it is not there; without the option the working folder. */
RFHE_MUST_USE rfhe_status sides_output(const char **out, const rfhe_args *args, rfhe_error *err);
/* Says on standard error that the parameters are insecure, if they are; --quiet does not silence it. */
void sides_warn(const rfhe_cli *cli, const rfhe_ckks *c);
/* For verbs that trust a program with something: whether it may be insecure is the client's decision, not the program's.
 * RFHE_E_INSECURE unless the parameters are secure or --insecure-test is given, which is warned about. */
#define RFHE_OPTION_INSECURE \
    {"insecure-test", 0, RFHE_OPT_FLAG, NULL, NULL, "accept a program whose parameters protect nothing: for tests only"}
RFHE_MUST_USE rfhe_status sides_accept(const rfhe_cli *cli, const rfhe_args *args, const rfhe_ckks *c, rfhe_error *err);

/* rfhe_image_clear for an image that is somebody's: its pixels are wiped. */
void sides_image_clear(rfhe_image *m);

/* Images of a data set, transformed: [count][pixels] and labels. Wiped when cleared. */
typedef struct sides_images {
    float *x;
    uint32_t *label;
    size_t count;
} sides_images;
RFHE_MUST_USE rfhe_status sides_load(sides_images *out, const rfhe_program *p, const char *spec, const char *split,
                                     uint64_t limit, const rfhe_args *args, const rfhe_progress *progress, rfhe_error *err);
void sides_images_clear(sides_images *s);

#endif
