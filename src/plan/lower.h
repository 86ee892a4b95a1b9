/* From a network to an encrypted program: fold.h, then layouts, parameters, numbers. */
#ifndef RFHE_PLAN_LOWER_H
#define RFHE_PLAN_LOWER_H

#include "plan/cost.h"
#include "plan/program.h"

typedef struct rfhe_plan_options { /* zero = choose for me */
    const char *set;   /* a named parameter set (rfhe_refresh_set_at); NULL: the smallest that is deep enough    */
    double memory;     /* bytes that keys, weights and ciphertexts may take together; 0: no limit                 */
    uint32_t insecure_log2_n; /* the set's chain on another ring, for tests: 0 = its own                           */
    uint32_t threads;  /* of the prediction; 0: those of this process                                             */
    const rfhe_machine *machine; /* calibrations; the one for the chosen set and the threads is used, else the built-in one */
    size_t n_machines;
    bool no_bill; /* leaves the bill empty: many small programs in a loop */
} rfhe_plan_options;

/* Parameters by name into set, ckks, refresh and level_linear: a named set, or "C16-D", a ring of 2^16 with D levels for
 * an activation. RFHE_E_ARG, RFHE_E_UNSUPPORTED. */
RFHE_MUST_USE rfhe_status rfhe_plan_set(rfhe_program *p, const char *name, rfhe_error *err);

/* RFHE_E_UNSUPPORTED with one sentence that names the layer and the reason; RFHE_E_ARG for an unknown set; RFHE_E_NOMEM.
 * `g` as rfhe_network_open gives it: PAFs are nodes. Free with rfhe_program_free. */
RFHE_MUST_USE rfhe_status rfhe_plan(rfhe_program **out, const rfhe_graph *g, const rfhe_plan_options *opt, rfhe_error *err);

#endif
