/* What a program costs: seconds from a calibration of the machine, bytes from counts. */
#ifndef RFHE_PLAN_COST_H
#define RFHE_PLAN_COST_H

#include "plan/program.h"

/* Seconds of the operations a program is made of, with one parameter set and one number of threads. */
typedef struct rfhe_machine {
    char name[64]; /* of the processor, or "built in" */
    char set[16];
    uint32_t log2_n, threads;
    double mod_raise, to_slots, reduce, to_coeffs; /* per ciphertext; reduce per half                          */
    double multiply_high, multiply_low; /* ciphertext by ciphertext, relinearised, at the level after a refresh and at
                                         * the one where the way to coefficients starts                        */
    double scale_high;                  /* by a number per slot, at the level after a refresh                   */
    double product;                     /* by a sparse kernel, at level_linear, kernel made on the way          */
    double merge;                       /* one key switch of a packing at level_linear                          */
    double finish;                      /* rescaling and bias                                                    */
} rfhe_machine;

/* Compiled in: measured with the set B15-3 and two threads on the machine that docs/results names, scaled by counts of
 * transforms to other rings and chains. */
void rfhe_machine_built_in(rfhe_machine *out, const rfhe_program *p, uint32_t threads);

/* Key switches of a packing of `channels` outputs into one ciphertext of `block`. */
uint64_t rfhe_pack_merges(uint32_t channels, uint32_t block);
/* Products of a cut stencil with ciphertexts: pairs of an output channel and a source ciphertext with any weight. */
uint64_t rfhe_linear_products(const rfhe_stencil *s, uint32_t in_block);

#endif
