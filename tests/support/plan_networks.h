/* Random networks, and a plain executor of programs in coefficient space: polynomials of doubles modulo X^N + 1. */
#ifndef RFHE_PLAN_NETWORKS_H
#define RFHE_PLAN_NETWORKS_H

#include "nn/graph.h"
#include "plan/program.h"

/* A network of random operators whose activations are PAFs; the same for the same seed. Asserts inside. */
rfhe_graph *random_network(uint64_t seed);

/* Runs a program on one image [channels][height][width]; out[p->outputs]. Everything is done as ciphertexts would: full
 * products of polynomials with sparse kernels, packing, bias, the polynomial on every coefficient, the mask. */
void run_in_coefficients(double *out, const rfhe_program *p, const float *image);

/* The network itself; out[count]. */
void run_network(double *out, size_t count, const rfhe_graph *g, const float *image);

#endif
