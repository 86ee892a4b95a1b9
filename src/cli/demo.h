/* The parts of rfhe demo: what each step finds goes into one record, from which the terminal, the JSON document and the
 * page are written. Steps in their order: network, replacement, program, encrypted images. */
#ifndef RFHE_CLI_DEMO_H
#define RFHE_CLI_DEMO_H

#include "cli/trial.h"
#include "method/method.h"

/* Zero state, then filled from top to bottom. */
typedef struct demo {
    rfhe_cli *cli;
    const rfhe_args *args;
    char model[4096], tuned[4096]; /* tuned: a file with the replaced network, or empty: replaced here */
    const char *spec, *form;
    uint64_t limit, calibration, wanted; /* test images (0 = all), calibration images, images to encrypt */
    bool quick;

    rfhe_graph *net, *replaced;
    rfhe_transform transform;
    uint32_t linear, relus, maxpools, pafs, depth;
    char forms[64]; /* of the replaced network */
    rfhe_graph_cost cost;
    rfhe_loss_sums plain, after;
    double plain_seconds, after_seconds, fit_seconds;
    uint64_t fitted_images;

    rfhe_program *p; /* until the trial takes it over */
    double plan_seconds;
    double key_bytes; /* predicted */

    trial t; /* of `wanted` images; without ciphertexts when why_not says why */
    char why_not[240];
    rfhe_image *picture; /* t.images of them */
    char (*label)[64];   /* what a person calls them */
    double seconds;
} demo;

/* Step 1: reads the network, measures it on the test images. */
RFHE_MUST_USE rfhe_status demo_read(demo *d, rfhe_error *err);
/* Step 2: the network with polynomials, from its file or fitted here, measured again. */
RFHE_MUST_USE rfhe_status demo_replace(demo *d, rfhe_error *err);
/* Step 3: the encrypted program. */
RFHE_MUST_USE rfhe_status demo_plan(demo *d, rfhe_error *err);
/* Step 4: keys, and test images through all sides. */
RFHE_MUST_USE rfhe_status demo_encrypt(demo *d, rfhe_error *err);
void demo_clear(demo *d);

/* The page. */
RFHE_MUST_USE rfhe_status demo_write_page(const demo *d, const char *path, rfhe_error *err);
void demo_write_json(const demo *d, const char *page);

#endif
