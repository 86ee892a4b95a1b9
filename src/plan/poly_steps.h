/* Where the two sides that know nothing of one another meet: a polynomial of paf/ as a program of ckks/. */
#ifndef RFHE_PLAN_POLY_STEPS_H
#define RFHE_PLAN_POLY_STEPS_H

#include "rfhe/ckks.h"
#include "rfhe/paf.h"

/* The steps of a schedule, step[s->n_steps]: the same operations under other names. The factor s->out_scale is left to the
 * caller. */
void rfhe_poly_steps(rfhe_poly_step *step, const rfhe_paf_schedule *s);

#endif
