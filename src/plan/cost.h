/* What a program costs: seconds from a calibration of the machine, bytes and key switches from counts, keys from the list
 * that key generation uses too. */
#ifndef RFHE_PLAN_COST_H
#define RFHE_PLAN_COST_H

#include "plan/program.h"

/* Seconds of the operations a program is made of, with one parameter set and one number of threads. `rfhe bench
 * calibrate` measures them. */
#define RFHE_LEAN "-lean" /* behind the set's name: times of a refresh with fewer keys */
typedef struct rfhe_machine {
    char name[64]; /* of the processor, or "built in" */
    char set[16];
    uint32_t log2_n, threads;
    double mod_raise, to_slots, reduce; /* per ciphertext; to_slots for both halves; reduce for one              */
    double to_coeffs, to_coeffs_both;   /* masked; of one half, of two with different masks                      */
    double multiply_high, multiply_low; /* ciphertext by ciphertext, relinearised, at the level after a refresh and at
                                         * the one above where the way to coefficients starts                   */
    double scale_high, scale_low;       /* by a number per slot, at the same levels                              */
    double product;                     /* by a sparse kernel, at level_linear, kernel made on the way           */
    double merge;                       /* one key switch of a packing at level_linear                           */
    double finish;                      /* rescaling and bias of one result                                      */
} rfhe_machine;

/* Compiled in: measured with the set B15-3 on the machine that docs/results names, scaled by counts of transforms to
 * other rings, chains and teams, and to the program's slots; a lean refresh is guessed to take 1.3 times as long. */
void rfhe_machine_built_in(rfhe_machine *out, const rfhe_program *p, uint32_t threads);
/* Times taken with all slots in use to those of the program's sparse packing: shorter ways to slots and to coefficients,
 * by a fit (docs/results/inference.md); nothing else in a program depends on the number of slots. */
void rfhe_machine_for_slots(rfhe_machine *m, const rfhe_program *p);
/* The calibration among the n of `list` for p's set, ring and this team, else the built-in times: what the bill of p uses. */
void rfhe_machine_choose(rfhe_machine *out, const rfhe_program *p, uint32_t threads, const rfhe_machine *list, size_t n);
/* JSON, schema rfhe.calibration/1. */
RFHE_MUST_USE rfhe_status rfhe_machine_write(rfhe_text *out, const rfhe_machine *m);
/* RFHE_E_FORMAT for anything else, or times that are not positive. */
RFHE_MUST_USE rfhe_status rfhe_machine_read(rfhe_machine *out, const void *data, size_t size, rfhe_error *err);

/* What a server keeps of ways to coefficients unless it is told otherwise; beyond that it makes them when they are needed. */
enum { RFHE_KEPT_MASK_BYTES = 1 << 30 };

/* Every evaluation key that the program uses. `r` is the program's refresh; *list is added to. */
RFHE_MUST_USE rfhe_status rfhe_program_keys(rfhe_key_list *list, const rfhe_program *p, const rfhe_ckks *c,
                                            const rfhe_refresh *r, rfhe_error *err);

/* Seconds of the polynomial of an activation on one half of one ciphertext. */
double rfhe_cost_polynomial(const rfhe_machine *m, const rfhe_activation *a, uint32_t usable_levels);
/* Seconds of an activation of one ciphertext. */
double rfhe_cost_activation(const rfhe_machine *m, const rfhe_activation *a, uint32_t usable_levels, bool both_halves);
/* Key switches of a packing of `channels` outputs into one ciphertext of `block`. */
uint64_t rfhe_pack_merges(uint32_t channels, uint32_t block);
/* Products of a cut stencil with ciphertexts: pairs of an output channel and a source ciphertext with any weight. */
uint64_t rfhe_linear_products(const rfhe_stencil *s, uint32_t in_block);

/* Levels for an activation: between the refresh and the way to coefficients. */
uint32_t rfhe_usable_levels(const rfhe_program *p);

/* Products, key switches and seconds of every instruction (p must have its weights), without the key switches of refreshes;
 * returns the sum of the seconds. Needs no parameters: under a millisecond. */
double rfhe_plan_seconds(rfhe_program *p, const rfhe_machine *m);
/* Fills the bill of every instruction and of the whole (p must have its weights). Makes the parameters and the refresh
 * for a moment: a second or two and their memory. */
RFHE_MUST_USE rfhe_status rfhe_plan_cost(rfhe_program *p, const rfhe_machine *m, rfhe_error *err);

#endif
