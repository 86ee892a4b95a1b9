/* A finished or running search, read back from its store, as page, table and document. */
#ifndef RFHE_CLI_SEARCH_PAGE_H
#define RFHE_CLI_SEARCH_PAGE_H

#include "base/text.h"
#include "search/store.h"

typedef struct rfhe_ablation_row { /* of the store of `rfhe ablate` */
    char recipe[32], form[32], scale[16];
    double top1, standard_error;
    int64_t depth, image_passes;
} rfhe_ablation_row;

typedef struct rfhe_search_record { /* zero state: empty */
    rfhe_study_text study;
    char integrity[200], prices[400];
    double gradient, measured, gradient_entropy, measured_entropy; /* rank correlations */
    bool uses_measured;
    rfhe_trial *trial;
    rfhe_judgement *judged; /* [n_trials]; images 0: not judged on test images */
    size_t n_trials;
    size_t *front, n_front; /* indices of trials */
    size_t relu;            /* the trial of the ReLU network; SIZE_MAX while there is none */
    size_t recommended;     /* likewise */
    size_t best_uniform;    /* likewise: the uniform assignment that the recommended one is compared with */
    rfhe_store_layer *layer;
    rfhe_store_choice *choice;
    rfhe_store_cost *cost;
    size_t n_layers, n_choices, n_costs;
    rfhe_ablation_row *ablation;
    size_t n_ablation;
} rfhe_search_record;

/* `ablation`: file of `rfhe ablate`, or NULL. */
RFHE_MUST_USE rfhe_status rfhe_search_record_read(rfhe_search_record *out, rfhe_store *s, const char *ablation,
                                                  rfhe_error *err);
void rfhe_search_record_clear(rfhe_search_record *r);

/* Seconds of activation l in a form on a parameter set; NaN when the store does not say. l = -1: everything else. */
double rfhe_search_record_cost(const rfhe_search_record *r, const char *params, int32_t l, const char *form);
/* Form number l of an assignment, copied. */
void rfhe_assignment_form(char out[32], const char *assignment, size_t l);
/* "even4 x5, even8": equal neighbours joined. */
void rfhe_assignment_runs(rfhe_text *out, const char *assignment);

RFHE_MUST_USE rfhe_status rfhe_search_page(rfhe_text *out, const rfhe_search_record *r);
void rfhe_search_csv(rfhe_text *out, const rfhe_search_record *r);
void rfhe_search_json(rfhe_text *out, const rfhe_search_record *r);

#endif
