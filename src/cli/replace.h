/* What `rfhe replace`, `rfhe ablate` and `rfhe search` share: a network, its profile and its images, on which one or many
 * replacements are tried. */
#ifndef RFHE_CLI_REPLACE_H
#define RFHE_CLI_REPLACE_H

#include "cli/network.h"

#include "method/progressive.h"

/* Rows for the tables of the three verbs. */
#define RFHE_OPTIONS_REPLACE \
    {"pool", 0, RFHE_OPT_CHOICE, "KIND", "average|conv|max|keep", \
     "what becomes of MaxPool: an average, a convolution that begins as one, a tree of comparisons (default: average)"}, \
    {"coefficients", 0, RFHE_OPT_CHOICE, "PER", "channel|layer", "one set of coefficients for each (default: channel)"}, \
    {"range", 0, RFHE_OPT_CHOICE, "PER", "channel|layer", "one scale for each (default: channel)"}, \
    {"margin", 0, RFHE_OPT_FLOAT, "F", NULL, "range over the largest value seen (default: ct 1.3, oneshot 1.5, direct 1.1)"}, \
    {"sigmas", 0, RFHE_OPT_FLOAT, "F", NULL, \
     "range at most so many standard deviations, negative = no limit (default: 6 for tuned even4 and even2, else none)"}, \
    {"tail", 0, RFHE_OPT_FLOAT, "F", NULL, "weight of the whole range in the fit (default: 0.001)"}, \
    {"tuner", 0, RFHE_OPT_CHOICE, "NAME", "lm|adam", "least squares, or Adam as published (default: lm)"}, \
    {"calibrate", 0, RFHE_OPT_UINT, "N", NULL, "images for ranges and fits (default: 2000)"}, \
    {"epochs", 'e', RFHE_OPT_UINT, "N", NULL, "oneshot: passes over the training images (default: 20)"}, \
    {"optimizer", 0, RFHE_OPT_CHOICE, "RULE", "sgd|adamw", "update rule (default: sgd)"}, \
    {"lr", 0, RFHE_OPT_FLOAT, "RATE", NULL, "highest rate (default: sgd 0.03, adamw 0.001)"}, \
    {"coefficient-rate", 0, RFHE_OPT_FLOAT, "F", NULL, "times the rate for coefficients, 0 = fixed (default: 0.1)"}, \
    {"weight-decay", 0, RFHE_OPT_FLOAT, "F", NULL, "of kernels and matrices (default: sgd 0.0005, adamw 0.02)"}, \
    {"penalty", 0, RFHE_OPT_FLOAT, "W", NULL, "weight of the range penalty at its strongest (default: 1)"}, \
    {"penalty-growth", 0, RFHE_OPT_FLOAT, "F", NULL, "by which it grows over half the run (default: 10)"}, \
    {"penalty-from", 0, RFHE_OPT_FLOAT, "F", NULL, "share of the range where it begins (default: 0.8)"}, \
    {"release", 0, RFHE_OPT_FLOAT, "F", NULL, \
     "share of the run in which values are clamped to their range, 1 = always (default: 1)"}, \
    {"open", 0, RFHE_OPT_FLOAT, "F", NULL, "then the clamp opens to this multiple of the range (default: 1.5)"}, \
    {"headroom", 0, RFHE_OPT_FLOAT, "F", NULL, \
     "state ranges of at least F times what training images reach, 0 = as trained (default: 1.05)"}, \
    {"distill", 0, RFHE_OPT_FLOAT, "W", NULL, "weight of the ReLU network against the labels (default: 0.9)"}, \
    {"temperature", 0, RFHE_OPT_FLOAT, "T", NULL, "of that comparison (default: 2)"}, \
    {"clip", 0, RFHE_OPT_FLOAT, "NORM", NULL, "limit of the gradient's norm (default: 1)"}, \
    {"ema", 0, RFHE_OPT_FLOAT, "DECAY", NULL, "store an average of the weights (default: none)"}, \
    {"recalibrate", 0, RFHE_OPT_UINT, "N", NULL, "estimate BN statistics of an average from N batches (default: 50)"}, \
    {"test-data", 0, RFHE_OPT_TEXT, "SPEC", NULL, "images to measure on at the end (default: those of --data)"}, \
    RFHE_OPTIONS_TRAINING_IMAGES

/* More for those of replace and ablate: a search trains by one recipe, and the ramp follows from the length of each run. */
#define RFHE_OPTIONS_RECIPES \
    {"ramp", 0, RFHE_OPT_FLOAT, "EPOCHS", NULL, "from ReLU to the polynomial over so many (default: a tenth)"}, \
    {"group-epochs", 0, RFHE_OPT_UINT, "N", NULL, "published recipes: epochs of a group (default: 20)"}, \
    {"group-images", 0, RFHE_OPT_UINT, "N", NULL, "published recipes: images of an epoch (default: all)"}, \
    {"group-rate", 0, RFHE_OPT_FLOAT, "F", NULL, "published recipes: times their rates (default: 1)"}, \
    {"passes", 0, RFHE_OPT_UINT, "N", NULL, "published recipes: images shown in training at most (default: no limit)"}, \
    {"replacement", 0, RFHE_OPT_CHOICE, "HOW", "direct|progressive", \
     "published recipes: all activations at once, or one after the other (default: by recipe)"}, \
    {"training", 0, RFHE_OPT_CHOICE, "HOW", "direct|progressive", \
     "published recipes: everything, or one activation and its layers (default: by recipe)"}, \
    {"faults", 0, RFHE_OPT_FLAG, NULL, NULL, "published recipes: with the faults of the released code"}

enum { RFHE_REPLACE_MAX_FORMS = 512 };

/* Zero state, then cli, args, model, spec, output, recipe, form, scale, pool. */
typedef struct rfhe_replace_job {
    rfhe_cli *cli;
    const rfhe_args *args;
    const char *model, *spec, *output, *recipe, *form, *scale, *pool;
    const char *augmentation;
    char checkpoint[4096], *forms_text;
    const char *forms[RFHE_REPLACE_MAX_FORMS];
    uint32_t n_forms, batch;
    bool dynamic, trains, wants_training, published; /* published: one of the recipes in method/progressive.h */
    bool searching;        /* test images stay closed, and the ReLU network is not measured */
    uint64_t select_limit; /* images of the selection split at most; 0 = all                */
    rfhe_compute compute;
    rfhe_graph *teacher, *base, *net; /* base: with ReLUs but other pools; net: the replacement */
    rfhe_transform transform;
    rfhe_images calibrate, fit, select, test;
    rfhe_profile profile;
    rfhe_replace_report report;
    rfhe_replace_options replace;
    rfhe_oneshot_options oneshot;
    rfhe_train_result trained;
    rfhe_pa_options pa;
    rfhe_pa_result groups;
    rfhe_text identity;
    rfhe_loss_sums before, tuned, after, fixed; /* fixed: dynamic training, static scale */
    rfhe_overflow *overflow_tuned, *overflow_trained, *overflow_after; /* after: with the stated ranges */
    size_t n_overflow;
    uint64_t beyond_tuned, beyond_trained, beyond_after, image_passes;
    double penalty, seconds, headroom;
    size_t widened; /* ranges that training images left and that were stated anew */
    uint32_t pools, depth, merged; /* merged: activations that became part of a convolution */
} rfhe_replace_job;

/* Opens everything, measures the ReLU network and collects the profile, which all replacements use. `wants_training`:
 * some recipe will train. */
RFHE_MUST_USE rfhe_status rfhe_replace_prepare(rfhe_replace_job *j, bool wants_training, rfhe_error *err);
/* One replacement by j->recipe and j->form; results in tuned, after, fixed, report, image_passes ... `quick`: without
 * counting overflows. */
RFHE_MUST_USE rfhe_status rfhe_replace_once(rfhe_replace_job *j, bool quick, rfhe_error *err);
/* The options given that change a result, besides model, data, form, recipe, scale and seed: what tells studies and cells of a
 * store apart. Of j: args, searching. RFHE_E_NOMEM. */
RFHE_MUST_USE rfhe_status rfhe_replace_settings(rfhe_text *out, const rfhe_replace_job *j);
/* Forgets the last replacement. */
void rfhe_replace_forget(rfhe_replace_job *j);
void rfhe_replace_close(rfhe_replace_job *j);

static inline double rfhe_replace_top1(const rfhe_loss_sums *s)
{
    return s->images > 0 ? (double)s->top1 / (double)s->images : 0;
}
double rfhe_replace_stderr(const rfhe_loss_sums *s);

#endif
