/* What is believed secure: the largest log2(QP) per ring degree. See security.c for the sources. */
#ifndef RFHE_CKKS_SECURITY_H
#define RFHE_CKKS_SECURITY_H

#include <stdint.h>

/* Non-zero coefficients of the sparse secret that the refresh encapsulates. */
enum { RFHE_SPARSE_WEIGHT = 32 };

/* Largest log2 of the product of all primes for a dense ternary secret, errors of sigma >= 3.19 and `security_bits`
 * bits against classical attacks: 128, 192 or 256. 0 = not in the table (then nothing is secure). */
double rfhe_security_max_log2_qp(uint32_t log2_n, uint32_t security_bits);

/* The highest of those levels whose table admits log2(QP); 0 = none. */
uint32_t rfhe_security_reached(uint32_t log2_n, double log2_qp);

/* The same for a key under a sparse ternary secret of Hamming weight `weight` (used by the refresh for its
 * encapsulation key and nowhere else). 0 = not in the table, which has 128 bits only. */
double rfhe_security_max_log2_sparse(uint32_t log2_n, uint32_t weight, uint32_t security_bits);

#endif
