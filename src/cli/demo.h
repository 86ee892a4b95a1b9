/* The parts of rfhe demo: what each step finds goes into one record, from which the terminal, the JSON document and the
 * page are written. Steps in their order: network, replacement, ciphertext, refresh. */
#ifndef RFHE_CLI_DEMO_H
#define RFHE_CLI_DEMO_H

#include <limits.h>

#include "cli/network.h"
#include "method/method.h"
#include "rfhe/ckks.h"

/* One activation evaluated on a ciphertext. */
typedef struct demo_encrypted {
    const char *form;
    bool is_tuned;
    uint32_t log2_n, security_bits, levels, products;
    double log2_qp, key_mib, encrypt_ms;
    double ms;                 /* the shortest of `runs` */
    unsigned runs;
    double worst, error_bits;  /* against the same polynomial in the clear, in the unit of x / scale */
    double relu_rms;           /* of the polynomial from ReLU over these values, same unit           */
} demo_encrypted;

typedef struct demo_refresh {
    bool done;
    char why_not[240];
    uint32_t level_before, level_after, levels_regained, keys;
    double key_seconds, seconds, worst, error_bits, rms_bits, key_mib;
} demo_refresh;

/* Zero state, then filled from top to bottom. */
typedef struct demo {
    rfhe_cli *cli;
    const rfhe_args *args;
    char model[PATH_MAX];
    const char *spec, *form;
    uint64_t limit, calibration, image; /* test images (0 = all), calibration images, the image that is shown */

    rfhe_graph *net, *replaced;
    rfhe_transform transform;
    uint32_t linear, relus, maxpools, classes;
    rfhe_graph_cost cost;
    rfhe_loss_sums plain, after;
    double plain_seconds, after_seconds;

    rfhe_profile profile;
    rfhe_replace_report report;
    rfhe_paf paf;  /* of the first activation */
    double scale;

    rfhe_image picture;
    char label[64];
    float *x;                     /* the first activation's input for that image */
    size_t all_values, values;    /* of it; those that are encrypted: whole channels */
    size_t channels, all_channels;

    demo_encrypted tuned, published;
    demo_refresh refresh;
    double seconds;
} demo;

/* Step 1: reads the network, measures it on the test images. */
RFHE_MUST_USE rfhe_status demo_read(demo *d, rfhe_error *err);
/* Step 2: replaces its activations and measures again; looks at the values of the first activation for one image. */
RFHE_MUST_USE rfhe_status demo_replace(demo *d, rfhe_error *err);
/* Steps 3 and 4: encrypts these values, evaluates the tuned polynomial, refreshes the result unless `quick`; evaluates
 * the published form under parameters of its own. */
RFHE_MUST_USE rfhe_status demo_encrypt(demo *d, bool quick, rfhe_error *err);
void demo_clear(demo *d);

/* The page. */
RFHE_MUST_USE rfhe_status demo_write_page(const demo *d, const char *path, rfhe_error *err);
void demo_write_json(const demo *d, const char *page);
/* What stands on the terminal after each step. */
void demo_tell_network(const demo *d);
void demo_tell_replacement(const demo *d);
void demo_tell_ciphertext(const demo *d);
void demo_tell_end(const demo *d, const char *page);

#endif
