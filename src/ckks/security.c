/* The security table. Nothing in this library decides security anywhere else.
 *
 * Dense ternary secrets: [HES24], table for uniform ternary secrets, sigma 3.19, 128-bit classical.
 * The lattice estimator gives 128.0 bits for 2^15/868 and 128.2 bits for 2^16/1747. Below 2^12 the table has 26 and 53
 * bits, which hold no useful parameters: such degrees are for tests only and never secure here.
 *
 * Sparse secrets of weight 32 serve one purpose, the dense-to-sparse encapsulation key of the refresh, whose modulus is
 * one base prime and one special prime. 92 bits at 2^15 (92.1 here, as primes lie a little beside powers of two): 152 bits against the hybrid attack with meet in the middle
 * (estimator run recorded in the design notes of this project). 121 bits at 2^16: the modulus that Lattigo 6.1.1 uses
 * for the same key at 128-bit security (its bootstrapping parameters after the fix that moved this key to the bottom
 * modulus). */
#include "ckks/security.h"

#include <stddef.h>

double rfhe_security_max_log2_qp(uint32_t log2_n, uint32_t security_bits)
{
    static const double max_128[] = {106, 214, 430, 868, 1747, 3523}; /* 2^12 .. 2^17 */

    if (security_bits != 128 || log2_n < 12 || log2_n > 17) { return 0.0; }
    return max_128[log2_n - 12];
}

double rfhe_security_max_log2_sparse(uint32_t log2_n, uint32_t weight, uint32_t security_bits)
{
    static const struct {
        uint32_t log2_n, weight;
        double max;
    } rows[] = {{15, 32, 92.1}, {16, 32, 121}, {17, 32, 121}};

    for (size_t i = 0; security_bits == 128 && i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].log2_n == log2_n && rows[i].weight == weight) { return rows[i].max; }
    }
    return 0.0;
}
