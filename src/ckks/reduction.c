/* See reduction.h. */
#include "ckks/reduction.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* log E exp(theta X) for X uniform in [-1/2, 1/2]. */
static double log_mgf(double theta)
{
    const double half = theta / 2;

    /* sinh(t)/t without overflow */
    return half < 1e-6 ? half * half / 6 : half - log(2 * half) + log1p(-exp(-2 * half));
}

double rfhe_reduction_log2_failure(uint32_t k, uint32_t h, unsigned log2_n)
{
    /* P(sum > x) <= exp(-theta x) M(theta)^(h+1) for every theta > 0; the exponent is convex in theta, so a ternary
     * search finds the best one. The sum of the h + 1 uniform terms is u + I itself. */
    const double x = (double)k, terms = (double)h + 1;
    double low = 1e-6, high = 400;

    for (int i = 0; i < 200; i++) {
        const double a = low + (high - low) / 3, b = high - (high - low) / 3;
        if (terms * log_mgf(a) - a * x < terms * log_mgf(b) - b * x) {
            high = b;
        } else {
            low = a;
        }
    }
    const double best = terms * log_mgf(low) - low * x;
    return best / log(2) + 1 + log2_n; /* two tails, N coefficients */
}

/* Chebyshev interpolation of cos(2 pi half_width x) of degree d at the d + 1 Chebyshev points. */
static void interpolate(double *coef, uint32_t d, double half_width)
{
    const uint32_t points = d + 1;

    for (uint32_t j = 0; j <= d; j++) {
        double sum = 0;
        for (uint32_t i = 0; i < points && j % 2 == 0; i++) {
            const double t = pi * ((double)i + 0.5) / points;
            sum += cos(2 * pi * half_width * cos(t)) * cos(j * t);
        }
        coef[j] = j % 2 == 0 ? (j == 0 ? 1.0 : 2.0) * sum / points : 0;
    }
}

static double clenshaw(const double *coef, uint32_t d, double x)
{
    double b1 = 0, b2 = 0;

    for (uint32_t j = d; j > 0; j--) {
        const double b = coef[j] + 2 * x * b1 - b2;
        b2 = b1;
        b1 = b;
    }
    return coef[0] + x * b1 - b2;
}

double rfhe_reduction_apply(const rfhe_reduction *r, double u_plus_i)
{
    const double v = (u_plus_i - 0.25) / exp2(r->doublings);
    double c = clenshaw(r->coef, r->degree, v / r->half_width);

    for (uint32_t i = 0; i < r->doublings; i++) { c = 2 * c * c - 1; }
    return c / (2 * pi);
}

/* Largest |result - sin(2 pi (u + I)) / 2 pi| over the interval, on a fine grid that includes the ends. */
static double worst_error(const rfhe_reduction *r)
{
    const uint32_t grid = 64 * (r->k + 1) * 8;
    double worst = 0;

    for (uint32_t i = 0; i <= grid; i++) {
        const double x = -(double)r->k + 2.0 * r->k * i / grid;
        const double e = fabs(rfhe_reduction_apply(r, x) - sin(2 * pi * x) / (2 * pi));
        worst = e > worst ? e : worst;
    }
    return worst;
}

static uint32_t ceil_log2(uint32_t x)
{
    uint32_t b = 0;

    while ((1U << b) < x) { b++; }
    return b;
}

rfhe_status rfhe_reduction_design(rfhe_reduction *out, uint32_t h, unsigned log2_n,
                                  uint32_t doublings, double error, rfhe_error *err)
{
    rfhe_reduction r = {.doublings = doublings, .k = 2};

    if (doublings > 8 || !(error > 0)) {
        return rfhe_fail(err, RFHE_E_ARG, "a modular reduction wants at most 8 doublings and an error above 0, not %u and %g",
                         doublings, error);
    }
    while (rfhe_reduction_log2_failure(r.k, h, log2_n) > -128) { r.k++; }
    r.log2_failure = rfhe_reduction_log2_failure(r.k, h, log2_n);
    r.half_width = ((double)r.k + 0.25) / exp2(doublings);
    for (r.degree = 2; r.degree <= RFHE_REDUCTION_MAX_DEGREE; r.degree += 2) {
        interpolate(r.coef, r.degree, r.half_width);
        r.error = worst_error(&r);
        if (r.error <= error) {
            r.levels = ceil_log2(r.degree + 1) + doublings;
            *out = r;
            return RFHE_OK;
        }
    }
    return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                     "no polynomial of degree up to %d reduces |u| <= %u to an error of 2^%.1f with %u doublings",
                     RFHE_REDUCTION_MAX_DEGREE, r.k, log2(error), doublings);
}
