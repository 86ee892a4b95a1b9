/* Replaces the activations and maxima of a trained network by polynomials and keeps its accuracy.
 *
 *   profile    what values reach every activation, by layer and channel           (profile.c)
 *   pools      MaxPool becomes average pooling, a convolution, or a tree of ReLUs  (pools.c)
 *   replace    every ReLU becomes a PAF, fitted to its profile (CT)                (replace.c)
 *   merge      where that is a line, the convolutions around it become one         (merge.c)
 *   recipes    training around that: one-shot, and the published ones              (recipe.c, progressive.c)
 *
 * Facts and sources: [ReLUFHE], [SmartPAF24]; what differs from them is said where it does. */
#ifndef RFHE_METHOD_METHOD_H
#define RFHE_METHOD_METHOD_H

#include "nn/evaluate.h"
#include "nn/train.h"
#include "paf/node.h"

/* ---- profile ---- */

/* One activation: a Relu, a Clip from 0 or a PAF node. */
typedef struct rfhe_profile_layer {
    char *node;                 /* its name                          */
    char *value;                /* the name of its input             */
    size_t channels, per_image; /* values of one image               */
    rfhe_histogram *channel;    /* `channels` of them                */
    rfhe_histogram whole;
    bool is_difference; /* compares two values of a maximum  */
} rfhe_profile_layer;

typedef struct rfhe_profile { /* zero state: empty; rfhe_profile_clear frees */
    rfhe_profile_layer *layer;
    size_t n;
    uint64_t images;
    double seconds;
} rfhe_profile;

/* Whether node `n` is an activation as above. */
bool rfhe_method_is_activation(const rfhe_node *n);

/* Runs the first `images` images (0 = one epoch) through the network and collects what reaches every activation.
 * Memory: 16 KiB per channel of every activation. */
RFHE_MUST_USE rfhe_status rfhe_profile_collect(rfhe_profile *out, const rfhe_graph *g,
                                               const rfhe_batch_source *src, uint64_t images,
                                               rfhe_compute compute, const rfhe_progress *progress,
                                               rfhe_error *err);
void rfhe_profile_clear(rfhe_profile *p);

/* What left its range: per PAF of the network, over images. */
typedef struct rfhe_overflow {
    char node[128];
    uint64_t images, beyond; /* seen; with at least one value beyond its scale */
    double share;            /* of all values                                  */
    double worst;            /* largest |x| / scale                            */
} rfhe_overflow;

/* *out has *n entries in the order of the network; free with rfhe_free. *images_beyond: images with any overflow. */
RFHE_MUST_USE rfhe_status rfhe_method_overflow(rfhe_overflow **out, size_t *n,
                                               uint64_t *images_beyond, const rfhe_graph *g,
                                               const rfhe_batch_source *src, rfhe_compute compute,
                                               const rfhe_progress *progress, rfhe_error *err);

/* ---- maxima ---- */

typedef enum rfhe_pool_mode {
    RFHE_POOL_AVERAGE =
        0, /* average pooling over the same window                                          */
    RFHE_POOL_CONV, /* a trainable convolution per channel, which begins as that average             */
    RFHE_POOL_TREE, /* exact: max(a, b) = b + relu(a - b), along rows, then columns; ReLUs to replace */
    RFHE_POOL_KEEP
} rfhe_pool_mode;

/* Rewrites every MaxPool of two spatial dimensions; needs shapes. *count (may be NULL): how many. RFHE_E_UNSUPPORTED. */
RFHE_MUST_USE rfhe_status rfhe_method_pools(rfhe_graph *g, rfhe_pool_mode mode, uint32_t *count,
                                            rfhe_error *err);

/* ---- replacement ---- */

typedef enum rfhe_tuning {
    RFHE_TUNE_LM =
        0, /* least squares on the profile; even forms directly, composites by Levenberg-Marquardt */
    RFHE_TUNE_NONE, /* the form's own coefficients                                                         */
    RFHE_TUNE_ADAM /* as published: Adam on sampled values, one set per layer                             */
} rfhe_tuning;

typedef struct
    rfhe_replace_options {    /* zero state but for forms: tuned per channel, range = 1.1 x reach */
    const char *const *forms; /* one for all, or one per activation in the order of the network   */
    uint32_t n_forms;
    rfhe_tuning tuning;
    bool
        per_layer; /* one set of coefficients for a whole tensor                                     */
    bool
        layer_range; /* one range (scale) for the channels of a tensor, though coefficients may differ */
    double
        margin; /* range = margin x largest |x| of the profile; 0 = 1.3, untuned 1.1               */
    double sigmas; /* ... but at most |mean| + sigmas x standard deviation; 0 = 6 for a tuned single
                    * polynomial of degree 4 or less (which bears values beyond its range), else no
                    * limit; negative = no limit */
    double tail;   /* as in rfhe_paf_fit_options */
    uint64_t seed;
} rfhe_replace_options;

typedef struct rfhe_replace_row {
    char node[128], form[32];
    size_t channels, sets;
    uint32_t depth, products;
    double scale_lo, scale_hi; /* over the sets                                             */
    double sigma;              /* of the layer                                              */
    double relative_before, relative_after; /* weighted RMS error of ReLU, mean over channels */
    bool merged; /* gone with the convolution before it, see rfhe_method_merge */
} rfhe_replace_row;

typedef struct rfhe_replace_report { /* zero state; free rows with rfhe_free */
    rfhe_replace_row *row;
    size_t n;
    double fit_seconds;
    uint32_t depth_max;
} rfhe_replace_report;

/* Replaces every activation of `g` of which `profile` knows (PAF nodes are replaced anew). */
RFHE_MUST_USE rfhe_status rfhe_method_replace(rfhe_replace_report *out, rfhe_graph *g,
                                              const rfhe_profile *profile,
                                              const rfhe_replace_options *opt, rfhe_error *err);
/* Only activation number `at` of the profile, with this form. `row` may be NULL. */
RFHE_MUST_USE rfhe_status rfhe_method_replace_one(rfhe_replace_row *row, rfhe_graph *g,
                                                  const rfhe_profile_layer *layer, const char *form,
                                                  const rfhe_replace_options *opt, rfhe_error *err);
/* Gives every PAF the range that `profile` saw reach it, times margin: a static scale after training with dynamic ones. */
RFHE_MUST_USE rfhe_status rfhe_method_fix_scales(rfhe_graph *g, const rfhe_profile *profile,
                                                 double margin, rfhe_error *err);
/* Largest encrypted depth of an activation of the network. */
RFHE_MUST_USE rfhe_status rfhe_method_depth(uint32_t *out, const rfhe_graph *g, rfhe_error *err);

/* ---- activations that are dropped ---- */

/* Whether rfhe_method_merge would merge this activation (a Relu, a Clip from 0 or a PAF; by name) if it were a PAF
 * "linear": it stands between two convolutions of one group and two dimensions, nobody else reads what is in between, and
 * only a BatchNormalization may come before it. Needs shapes. Merging others first does not change the answer. */
bool rfhe_method_can_merge(const rfhe_graph *g, const char *activation);

/* Conv, [BatchNormalization,] line, Conv become one Conv, wherever rfhe_method_can_merge and the PAF is a line; chains of
 * them too. The result has the second one's name, a kernel of (k1 - 1) d1 + (k2 - 1) d2 s1 + 1, stride s1 s2, padding
 * p1 + p2 s1. Every place whose window of the second convolution lies inside of the intermediate image keeps its value,
 * up to rounding. At the border values change: there the second convolution read zeros; the merged one reads what the
 * first one and the line make of the zeros around the input. Needs shapes, and leaves them. Other lines stay.
 *   report   may be NULL; rows of merged activations are marked
 *   count    may be NULL: how many
 * RFHE_E_ARG for a PAF that is not sound, RFHE_E_NOMEM. Cost: the products of all pairs of weights. */
RFHE_MUST_USE rfhe_status rfhe_method_merge(rfhe_graph *g, rfhe_replace_report *report, uint32_t *count,
                                            rfhe_error *err);

/* ---- the one-shot recipe ---- */

typedef struct rfhe_oneshot_options {
    rfhe_train_options train; /* everything but teacher, control, hooks; loss.distill is used as it is */
    double penalty;           /* weight of the range penalty (see rfhe_paf_control) at its strongest   */
    double growth;            /* it begins weaker by this factor and grows over half the run; 0 = 10   */
    double range;             /* the penalty begins at this share of the range; 0 = 0.9                */
    double ramp_epochs;       /* ReLU -> PAF over so many epochs                                       */
    double release;           /* values are clamped to their range in this share of the run; then the
                               * clamp opens over another 0.3 of it; 0 = 1 = it never opens            */
    double open;              /* to this multiple of the range; 0 = 1.5                                */
} rfhe_oneshot_options;

/* What the recipe asks of its activations at step 0, 1, ... of `steps`; a pure function. */
typedef struct rfhe_oneshot_state {
    double alpha, clamp, penalty; /* as in rfhe_paf_control */
} rfhe_oneshot_state;
rfhe_oneshot_state rfhe_method_oneshot_at(const rfhe_oneshot_options *opt, uint64_t step, uint64_t steps,
                                          uint64_t steps_per_epoch);

/* Trains `g`, whose activations are PAFs already, towards `teacher`. On return its nodes listen to no control.
 * *penalty (may be NULL): the mean range penalty of the last steps, without its weight. */
RFHE_MUST_USE rfhe_status rfhe_method_oneshot(rfhe_train_result *out, double *penalty,
                                              rfhe_graph *g, const rfhe_graph *teacher,
                                              const rfhe_batch_source *fit,
                                              const rfhe_batch_source *select,
                                              const rfhe_oneshot_options *opt, rfhe_error *err);
/* Widens every range that is narrower than margin times what `profile` saw reach it, to at most twice what it was (what
 * goes further has diverged, and no range helps). The functions of x stay what they are, up to rounding; only the stated ranges grow, so that what runs the network encrypted can rely on them.
 * *widened (may be NULL): how many. */
RFHE_MUST_USE rfhe_status rfhe_method_widen(rfhe_graph *g, const rfhe_profile *profile, double margin,
                                            size_t *widened, rfhe_error *err);
/* Replaces the running statistics of every BN by averages over `batches` batches of `src`, weights unchanged. */
RFHE_MUST_USE rfhe_status rfhe_method_recalibrate(rfhe_graph *g, const rfhe_batch_source *src,
                                                  uint64_t batches, rfhe_compute compute,
                                                  const rfhe_progress *progress, rfhe_error *err);

#endif
