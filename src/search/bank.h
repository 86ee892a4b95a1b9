/* Every form, fitted once to every activation; and what each of these choices does to the network's answers.
 *
 * A network for an assignment is then put together in no time. How much a choice harms is told by the margin m of an
 * image: the logit of the class the ReLU network chooses minus the next best. A replacement changes it by d; when d < -m the
 * answer changes. Harm of a choice: mean over images of d^2 / (m^2 + m0^2), m0 a quarter of the median margin, which keeps
 * single doubtful images from deciding. No labels are needed. Harms of independent changes add up, which is what the search
 * for a frontier wants. d is found in two ways:
 *
 *   gradient   d = sum over the values y of the activation of dm/dy * (form(x) - ReLU(x)), the first order, and d^2 the
 *              Gauss-Newton second order along this very change: one backward pass per image gives all activations and
 *              all forms at once
 *   measured   the network runs once per choice, with that one activation replaced: no approximation but that of adding
 *              up; layers * forms evaluations
 *
 * Sources: [OLA23] for sensitivity times fit error; the margin in place of the loss, and the whole change of an image squared
 * instead of squares summed value by value, are ours: errors of a fit are the same function at every pixel and do not average
 * out. */
#ifndef RFHE_SEARCH_BANK_H
#define RFHE_SEARCH_BANK_H

#include "method/method.h"

#include <string.h>

enum { RFHE_SEARCH_MAX_FORMS = 48 };

typedef struct rfhe_bank_entry {
    rfhe_paf *p; /* sets of them */
    double *scale;
    size_t sets; /* 0: this form cannot stand here */
    uint32_t depth, products;
    double fit; /* weighted RMS error of ReLU over its RMS, mean over channels */
} rfhe_bank_entry;

typedef struct rfhe_bank { /* zero state: empty; rfhe_bank_clear */
    size_t layers, forms;
    char form[RFHE_SEARCH_MAX_FORMS][32];
    rfhe_bank_entry *entry; /* [layers][forms] */
} rfhe_bank;

/* Whether activation l may take form f; whether f is a line, which makes sense only where no refresh is left of the activation:
 * between two convolutions it becomes one with them (rfhe_method_merge), elsewhere the planner folds it away or cannot. */
static inline bool rfhe_bank_has(const rfhe_bank *b, size_t l, size_t f)
{
    return b->entry[l * b->forms + f].sets > 0;
}
static inline bool rfhe_bank_merges(const rfhe_bank *b, size_t f)
{
    return strcmp(b->form[f], "linear") == 0;
}

/* Fits every form to every activation of `base` that `profile` knows. `opt` as for rfhe_method_replace, its forms are not
 * looked at. RFHE_E_ARG for an unknown form or too many. Seconds per form. */
RFHE_MUST_USE rfhe_status rfhe_bank_fill(rfhe_bank *out, const rfhe_graph *base,
                                         const rfhe_profile *profile, const char *const *forms,
                                         size_t n_forms, const rfhe_replace_options *opt,
                                         const rfhe_progress *progress, rfhe_error *err);
void rfhe_bank_clear(rfhe_bank *b);
/* From now on activation l cannot take form f. */
void rfhe_bank_drop(rfhe_bank *b, size_t l, size_t f);

/* A copy of `base` with activation l in form choice[l], lines merged. */
RFHE_MUST_USE rfhe_status rfhe_bank_graph(rfhe_graph **out, const rfhe_bank *b,
                                          const rfhe_graph *base, const rfhe_profile *profile,
                                          const uint8_t *choice, rfhe_error *err);

/* An assignment as text, names of forms with commas between; NULL without memory, free with rfhe_free. And back: false for
 * anything but a name for each activation of a form that it may take. */
char *rfhe_bank_text(const rfhe_bank *b, const uint8_t *choice);
bool rfhe_bank_read(uint8_t *choice, const rfhe_bank *b, const char *text);
/* Whether every activation may take its form; whether all have the same. */
bool rfhe_bank_exists(const rfhe_bank *b, const uint8_t *choice);
bool rfhe_bank_is_uniform(const rfhe_bank *b, const uint8_t *choice);

/* harm[layers][forms], > 0, INFINITY where the form cannot stand, over the first `images` images of `src`. RFHE_E_UNSUPPORTED when an activation is no Relu or Clip. */
RFHE_MUST_USE rfhe_status rfhe_bank_harm_gradient(double *harm, const rfhe_bank *b,
                                                  const rfhe_graph *base,
                                                  const rfhe_profile *profile,
                                                  const rfhe_batch_source *src, uint64_t images,
                                                  const rfhe_progress *progress, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_bank_harm_measured(double *harm, const rfhe_bank *b,
                                                  const rfhe_graph *base,
                                                  const rfhe_profile *profile,
                                                  const rfhe_batch_source *src, uint64_t images,
                                                  const rfhe_progress *progress, rfhe_error *err);

#endif
