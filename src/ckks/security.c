/* The security table. Nothing in this library decides security anywhere else.
 *
 * Dense ternary secrets: [HES24], table 5.2 for uniform ternary secrets, sigma 3.19, classical attacks. 192 and 256 bits
 * are the rows of the table as its authors keep it beside their examples; the standard of 2018, which other libraries
 * still use below 2^16, allows a little more (611 instead of 597 bits at 2^15).
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
    static const struct {
        uint32_t bits;
        double max[6]; /* 2^12 .. 2^17 */
    } rows[] = {{128, {106, 214, 430, 868, 1747, 3523}},
                {192, {73, 147, 297, 597, 1199, 2411}},
                {256, {56, 114, 230, 462, 929, 1866}}};

    for (size_t i = 0; log2_n >= 12 && log2_n <= 17 && i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].bits == security_bits) { return rows[i].max[log2_n - 12]; }
    }
    return 0.0;
}

uint32_t rfhe_security_reached(uint32_t log2_n, double log2_qp)
{
    for (uint32_t bits = 256; bits >= 128; bits -= 64) {
        if (log2_qp <= rfhe_security_max_log2_qp(log2_n, bits)) { return bits; }
    }
    return 0;
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
