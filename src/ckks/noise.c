/* What the error of a ciphertext is expected to be.
 *
 * The unit of account is the standard deviation of one complex slot, in the unit of the carried numbers. If the
 * coefficients of the error polynomial are independent with variance V (in integers), a slot, being the sum of N of
 * them times roots of unity, has variance N V, and N V / scale^2 in the unit of the numbers.
 *
 * Independence and the central limit make these estimates good on average (tests compare them with measurement within
 * a factor of two); single products use the declared bound of the other factor for every slot, so estimates of long
 * computations lie on the safe side when numbers are smaller than their bound; polynomial programs average over sample
 * numbers instead (poly.c). */
#include <math.h>

#include "ckks/internal.h"

/* Variance of a product coefficient with a dense ternary secret: N terms of variance 2/3. */
static double through_secret(const rfhe_ckks *c, double variance)
{
    return variance * (double)c->n * (2.0 / 3.0);
}

double rfhe_noise_fresh_secret(const rfhe_ckks *c)
{
    (void)c;
    return RFHE_ERROR_SIGMA * RFHE_ERROR_SIGMA;
}

/* v e + e0 + e1 s, v and s ternary. */
double rfhe_noise_fresh_public(const rfhe_ckks *c)
{
    const double v = RFHE_ERROR_SIGMA * RFHE_ERROR_SIGMA;

    return v + 2 * through_secret(c, v);
}

/* Rounding both parts to integers: uniform errors of variance 1/12, one of them times s. */
double rfhe_noise_rounding(const rfhe_ckks *c)
{
    return 1.0 / 12 + through_secret(c, 1.0 / 12);
}

/* sum over digits of d_i e_i / P, digits uniform in [-D/2, D/2], and the rounding of the division by P. */
double rfhe_noise_key_switch(const rfhe_ckks *c, const rfhe_key *k, uint32_t level)
{
    const rfhe_gadget *g = &c->gadget[k->special - 1];
    const double log2_p = rfhe_log2_primes(c, c->n_q, c->n_q + k->special);
    double v = 0;

    for (uint32_t d = 0; d < rfhe_gadget_digits(g, level); d++) {
        const uint32_t end = g->start[d + 1] < level + 1 ? g->start[d + 1] : level + 1;
        v += exp2(2 * (rfhe_log2_primes(c, g->start[d], end) - log2_p)) / 12;
    }
    return v * (double)c->n * RFHE_ERROR_SIGMA * RFHE_ERROR_SIGMA + rfhe_noise_rounding(c);
}

double rfhe_noise_release(const rfhe_ckks *c)
{
    const double log2_ratio = c->log2_prime[0] - c->log2_prime[c->n_q];

    return exp2(2 * log2_ratio) / 12 * (double)c->n * RFHE_ERROR_SIGMA * RFHE_ERROR_SIGMA + rfhe_noise_rounding(c);
}

double rfhe_noise_slot(const rfhe_ckks *c, double variance, double scale)
{
    return sqrt((double)c->n * variance) / scale;
}
