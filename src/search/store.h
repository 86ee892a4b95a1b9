/* The memory of searches: an SQLite database in the folder of a search, `search.db`. Described for readers with SQL in
 * docs/search-store.md.
 *
 * Every trial is one row, written when it begins and completed in one transaction when it ends. A process may be killed at
 * any moment: whoever opens the store next finds every finished trial, and the unfinished one as `running`, which it takes
 * over. One process writes at a time (a lock on the folder); any number may read. */
#ifndef RFHE_SEARCH_STORE_H
#define RFHE_SEARCH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

enum { RFHE_STORE_VERSION = 2 };

typedef struct rfhe_store rfhe_store; /* one thread at a time */

/* `write`: makes the folder if need be, takes the lock, creates or migrates the tables. Else: reads what is there.
 * RFHE_E_IO, also when another process searches here; RFHE_E_FORMAT (no search, or one of a newer version). */
RFHE_MUST_USE rfhe_status rfhe_store_open(rfhe_store **out, const char *folder, bool write,
                                          rfhe_error *err);
void rfhe_store_close(rfhe_store *s);
const char *rfhe_store_folder(const rfhe_store *s);

/* ---- studies: what all trials have in common ---- */

/* Everything that decides results besides assignment, recipe, rung and passes. The first five fields are its identity. */
typedef struct rfhe_study {
    const char *model_hash; /* of the file's bytes, hexadecimal */
    const char *data, *settings, *pool;
    uint64_t seed;
    const char *model, *version, *machine, *isa; /* remembered from the first run */
    uint32_t threads;
} rfhe_study;

RFHE_MUST_USE rfhe_status rfhe_store_study(rfhe_store *s, int64_t *id, const rfhe_study *study,
                                           rfhe_error *err);
/* Whether there is such a study with any trial. */
RFHE_MUST_USE rfhe_status rfhe_store_has_trials(rfhe_store *s, bool *out, const rfhe_study *study,
                                                rfhe_error *err);
/* The study that was worked on last. RFHE_E_FORMAT when there is none. */
RFHE_MUST_USE rfhe_status rfhe_store_last_study(rfhe_store *s, int64_t *id, rfhe_error *err);

typedef struct rfhe_study_text { /* a study as the store has it */
    char model[1024], model_hash[80], data[512], settings[1024], pool[32], version[32], machine[128], isa[32], made[32];
    uint64_t seed;
    uint32_t threads;
} rfhe_study_text;

RFHE_MUST_USE rfhe_status rfhe_store_describe(rfhe_store *s, int64_t study, rfhe_study_text *out,
                                              rfhe_error *err);
/* What SQLite says about the file: "ok", or its first complaint. */
RFHE_MUST_USE rfhe_status rfhe_store_check(rfhe_store *s, char *verdict, size_t size,
                                           rfhe_error *err);

/* ---- trials ---- */

typedef struct rfhe_trial {
    int64_t id, parent; /* parent: the trial whose network was trained on; 0 = none */
    char kind[12];      /* relu, pools, uniform, probe, frontier, tune: why it was made */
    char recipe[12];    /* relu, pools, ct, oneshot */
    char *assignment;   /* forms in the order of the activations, separated by commas; owned */
    uint32_t rung;      /* of successive halving, from 1; 0 = not trained */
    uint64_t planned;   /* image passes of training */
    uint64_t seed;
    char status[12]; /* running, done, failed */
    char params[16]; /* parameter set */
    uint32_t log2_n, depth, attempts;
    double harm, predicted_seconds, memory_bytes;
    double top1, cross_entropy, seconds; /* on the selection split; top1 a fraction */
    uint64_t correct, images, image_passes;
} rfhe_trial;

/* Looks the trial up by study, recipe, assignment, rung, planned, seed. *done: it is finished (or has failed), and everything
 * in *t is from the store. Else it is marked as running with what *t says, id and attempts set. `options` (text for people,
 * may be NULL): whatever else a repetition needs. */
RFHE_MUST_USE rfhe_status rfhe_store_begin(rfhe_store *s, int64_t study, rfhe_trial *t,
                                           const char *options, bool *done, rfhe_error *err);
/* Completes a running trial with the results in *t and its status, in one transaction. */
RFHE_MUST_USE rfhe_status rfhe_store_end(rfhe_store *s, const rfhe_trial *t, rfhe_error *err);
/* New prices, as when the machine was calibrated anew. */
RFHE_MUST_USE rfhe_status rfhe_store_price(rfhe_store *s, const rfhe_trial *t, rfhe_error *err);
/* All trials of a study by id. Free with rfhe_trials_free. */
RFHE_MUST_USE rfhe_status rfhe_store_trials(rfhe_store *s, int64_t study, rfhe_trial **out,
                                            size_t *n, rfhe_error *err);
void rfhe_trials_free(rfhe_trial *t, size_t n);

/* ---- test images, looked at once ---- */

typedef struct rfhe_judgement {
    int64_t trial;
    double top1;
    uint64_t correct, images;
} rfhe_judgement;

/* *found false: not judged on these images yet. */
RFHE_MUST_USE rfhe_status rfhe_store_judged(rfhe_store *s, rfhe_judgement *j, const char *images,
                                            bool *found, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_store_judge(rfhe_store *s, const rfhe_judgement *j,
                                           const char *images, rfhe_error *err);

/* ---- what the choice was made from ---- */

enum { RFHE_STORE_BARS = 96 };

typedef struct rfhe_store_layer {
    char node[128];
    uint64_t channels, per_image;
    double mean, sigma, reach, q999; /* of what reaches the activation; q999 covers 99.9 % of |x| */
    double bar[RFHE_STORE_BARS];     /* shares of the values in equal steps over [-reach, reach]  */
} rfhe_store_layer;

typedef struct rfhe_store_choice {
    uint32_t layer;
    char form[32];
    uint32_t depth, products;
    double fit, harm_gradient, harm_measured; /* NaN: not known */
} rfhe_store_choice;

typedef struct rfhe_store_cost {
    char params[16];
    int32_t layer; /* -1: everything but activations, form "" */
    char form[32];
    double seconds;
} rfhe_store_cost;

/* Replace what was there about these layers, choices, costs. */
RFHE_MUST_USE rfhe_status rfhe_store_put_layers(rfhe_store *s, int64_t study,
                                                const rfhe_store_layer *l, size_t n,
                                                rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_store_put_choices(rfhe_store *s, int64_t study,
                                                 const rfhe_store_choice *c, size_t n,
                                                 rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_store_put_costs(rfhe_store *s, int64_t study,
                                               const rfhe_store_cost *c, size_t n, rfhe_error *err);
/* In the order of layers, then of writing. Free with rfhe_free. */
RFHE_MUST_USE rfhe_status rfhe_store_get_layers(rfhe_store *s, int64_t study,
                                                rfhe_store_layer **out, size_t *n, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_store_get_choices(rfhe_store *s, int64_t study,
                                                 rfhe_store_choice **out, size_t *n,
                                                 rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_store_get_costs(rfhe_store *s, int64_t study, rfhe_store_cost **out,
                                               size_t *n, rfhe_error *err);

/* Short texts under a key: what was decided on the way. *value is NULL when there is none; free with rfhe_free. */
RFHE_MUST_USE rfhe_status rfhe_store_put_note(rfhe_store *s, int64_t study, const char *key,
                                              const char *value, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_store_get_note(rfhe_store *s, int64_t study, const char *key,
                                              char **value, rfhe_error *err);

#endif
