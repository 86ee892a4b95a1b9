/* Values, slopes and errors of a PAF in double, one point at a time: the readable reference that kernels, schedules and
 * fits are tested against. */
#include "rfhe/paf.h"

#include <math.h>

/* y * (c0 + c1 y^2 + ...), Horner from the top. */
static double odd_value(const double *c, uint32_t n, double y)
{
    const double t = y * y;
    double v = c[n - 1];

    for (uint32_t j = n - 1; j-- > 0;) { v = v * t + c[j]; }
    return v * y;
}

static double odd_slope(const double *c, uint32_t n, double y)
{
    const double t = y * y;
    double v = (2.0 * n - 1) * c[n - 1];

    for (uint32_t j = n - 1; j-- > 0;) { v = v * t + (2.0 * j + 1) * c[j]; }
    return v;
}

/* sum c_k T_k(w) by Clenshaw's recurrence b_k = c_k + 2 w b_(k+1) - b_(k+2); *slope by the derived recurrence. */
static double cheb_value(const double *c, uint32_t n, double w, double *slope)
{
    double b1 = 0, b2 = 0, d1 = 0, d2 = 0;

    for (uint32_t k = n - 1; k > 0; k--) {
        const double d = 2 * b1 + 2 * w * d1 - d2, b = c[k] + 2 * w * b1 - b2;
        d2 = d1, d1 = d;
        b2 = b1, b1 = b;
    }
    *slope = b1 + w * d1 - d2;
    return c[0] + w * b1 - b2;
}

double rfhe_paf_value(const rfhe_paf *p, double u)
{
    double slope = 0;

    if (p->kind == RFHE_PAF_EVEN) {
        const uint32_t n = p->n_terms[0] - 1;
        return p->coef[0][n] * u + cheb_value(p->coef[0], n, 2 * u * u - 1, &slope);
    }
    if (p->kind == RFHE_PAF_GENERAL) { return cheb_value(p->coef[0], p->n_terms[0], u, &slope); }
    return (u + u * rfhe_paf_sign(p, u)) / 2;
}

double rfhe_paf_sign(const rfhe_paf *p, double u)
{
    if (p->kind != RFHE_PAF_SIGN) { return u == 0 ? 0 : (2 * rfhe_paf_value(p, u) - u) / u; }
    for (uint32_t k = 0; k < p->n_stages; k++) { u = odd_value(p->coef[k], p->n_terms[k], u); }
    return u;
}

double rfhe_paf_value_grad(const rfhe_paf *p, double u, double *slope, double *dc)
{
    if (p->kind != RFHE_PAF_SIGN) {
        const bool even = p->kind == RFHE_PAF_EVEN;
        const uint32_t n = p->n_terms[0] - (even ? 1 : 0);
        const double w = even ? 2 * u * u - 1 : u;
        double dw = 0, t0 = 1, t1 = w, v = cheb_value(p->coef[0], n, w, &dw);

        *slope = even ? 4 * u * dw + p->coef[0][n] : dw;
        if (dc != NULL) {
            for (uint32_t k = 0; k < n; k++) {
                const double t2 = 2 * w * t1 - t0;
                dc[k] = t0;
                t0 = t1, t1 = t2;
            }
            if (even) { dc[n] = u; }
        }
        return even ? v + p->coef[0][n] * u : v;
    }
    double y[RFHE_PAF_MAX_STAGES + 1], g = u / 2; /* g = df/dy_k on the way back */
    y[0] = u;
    for (uint32_t k = 0; k < p->n_stages; k++) {
        y[k + 1] = odd_value(p->coef[k], p->n_terms[k], y[k]);
    }
    if (dc != NULL) { dc += rfhe_paf_coef_count(p); }
    for (uint32_t k = p->n_stages; k-- > 0;) {
        if (dc != NULL) {
            double power = g * y[k];
            dc -= p->n_terms[k];
            for (uint32_t j = 0; j < p->n_terms[k]; j++) {
                dc[j] = power;
                power *= y[k] * y[k];
            }
        }
        g *= odd_slope(p->coef[k], p->n_terms[k], y[k]);
    }
    *slope = (1 + y[p->n_stages]) / 2 + g;
    return (u + u * y[p->n_stages]) / 2;
}

/* max(a, b) = b + s f((a-b)/s) with f near ReLU, written symmetrically. */
double rfhe_paf_max(const rfhe_paf *p, double a, double b, double scale, double *da, double *db)
{
    double slope = 0;
    const double d = a - b, f = rfhe_paf_value_grad(p, d / scale, &slope, NULL);

    if (da != NULL) { *da = slope; }
    if (db != NULL) { *db = 1 - slope; }
    return b + scale * f;
}

/* Walks a grid and polishes the largest value of g(u) by golden section in its neighbourhood. */
static double largest(const rfhe_paf *p, double (*g)(const rfhe_paf *p, double u), double lo,
                      double hi, double *at)
{
    enum { GRID = 8192 };
    const double golden = 0.6180339887498949;
    double best = -1, where = lo;

    for (int i = 0; i <= GRID;
         i++) { /* half of the points near 0, where steep forms have their error */
        const double s = (double)i / GRID, u = lo + (hi - lo) * s * s * (s < 0 ? -1 : 1),
                     v = g(p, u);
        if (v > best) { best = v, where = u; }
    }
    const double s = sqrt((where - lo) / (hi - lo));
    double a = lo + (hi - lo) * pow(fmax(s - 1.0 / GRID, 0), 2),
           b = lo + (hi - lo) * pow(fmin(s + 1.0 / GRID, 1), 2);
    for (int i = 0; i < 60; i++) {
        const double m1 = b - golden * (b - a), m2 = a + golden * (b - a);
        if (g(p, m1) > g(p, m2)) {
            b = m2;
        } else {
            a = m1;
        }
    }
    if (g(p, (a + b) / 2) > best) { best = g(p, (a + b) / 2), where = (a + b) / 2; }
    *at = where;
    return best;
}

static double relu_error(const rfhe_paf *p, double u)
{
    return fabs(rfhe_paf_value(p, u) - fmax(u, 0));
}
static double sign_error(const rfhe_paf *p, double u)
{
    return fabs(rfhe_paf_sign(p, u) - 1);
}

rfhe_paf_error rfhe_paf_measure(const rfhe_paf *p)
{
    static const double limits[4] = {0.1, 0.5, 2, 10};
    enum { GRID = 20000 };
    rfhe_paf_error e = {0};
    double at = 0, sum = 0, slope = 0;
    const double right = largest(p, relu_error, 0, 1, &e.at),
                 left = largest(p, relu_error, 0, -1, &at);

    e.max_relu = right;
    if (left > right) { e.max_relu = left, e.at = at; }
    for (int i = 0; i < GRID; i++) {
        const double u = -1 + (2 * i + 1.0) / GRID, r = relu_error(p, u);
        sum += r * r;
    }
    e.rms_relu = sqrt(sum / GRID);
    if (p->kind != RFHE_PAF_SIGN) {
        (void)rfhe_paf_value_grad(p, 0, &slope, NULL);
        e.slope0 = 2 * slope - 1;
        return e;
    }
    e.slope0 = 1;
    for (uint32_t k = 0; k < p->n_stages; k++) { e.slope0 *= p->coef[k][0]; }
    for (int i = 0; i < 7; i++) {
        e.max_sign[i] = largest(p, sign_error, ldexp(1, -1 - i), 1, &at);
    }
    for (int i = 0; i < 4; i++) {
        double u = 1;
        while (u < 16 && sign_error(p, u) <= limits[i]) { u += 1e-4; }
        e.overflow[i] = u < 16 ? u : INFINITY;
    }
    return e;
}
