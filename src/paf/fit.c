/* Coefficient tuning: weighted least squares of a PAF against ReLU on a histogram.
 *
 * Points are the centres of the filled bins, with the share of the values that fell there, and a uniform grid over
 * [-scale, scale] with a small total weight (`tail`), which keeps the polynomial finite where the data are rare. All is
 * done in u = x / scale. Even and general polynomials are linear in their coefficients: Householder's factorisation of
 * the weighted Chebyshev columns, that is, an orthogonal basis for these very weights, without squaring the condition.
 * Composites: Levenberg-Marquardt with Marquardt's scaling; a few tens of coefficients, so a step costs one pass over
 * some thousand points.
 * Sources: [Mar63]; the published Adam schedule is that of the code released with [SmartPAF24]. */
#include "rfhe/paf.h"

#include "base/mem.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

enum {
    TAIL_POINTS = 512,
    MAX_COEFS = RFHE_PAF_MAX_COEFS,
    MAX_POINTS = RFHE_HISTOGRAM_BINS + TAIL_POINTS + 1
};

typedef struct points {
    size_t n;
    double u[MAX_POINTS], w[MAX_POINTS], target[MAX_POINTS];
    double energy, outside; /* sum of w ReLU(u)^2; share of values beyond the scale */
} points;

static void add_point(points *q, double u, double w)
{
    q->u[q->n] = u;
    q->w[q->n] = w;
    q->target[q->n] = fmax(u, 0);
    q->energy += w * q->target[q->n] * q->target[q->n];
    q->n++;
}

/* `clamps`: values beyond the scale count as its ends. A composite grows there like the product of its degrees and would be bent to
 * a few outliers, with coefficients beyond any float. */
static void collect(points *q, const rfhe_histogram *h, double scale, double tail, bool clamps)
{
    const double width = h->range / (RFHE_HISTOGRAM_BINS / 2);

    q->n = 0;
    q->energy = q->outside = 0;
    for (int i = 0; i < RFHE_HISTOGRAM_BINS; i++) {
        const double share = (double)h->count[i] / (double)h->n;
        double x = (i - RFHE_HISTOGRAM_BINS / 2 + 0.5) * width;
        if (h->count[i] == 0) { continue; }
        x = fmin(fmax(x, h->min), h->max); /* the last bin's centre may lie beyond every value */
        if (fabs(x) > scale) { q->outside += share; }
        add_point(q, clamps ? fmin(fmax(x / scale, -1), 1) : x / scale, share * (1 - tail));
    }
    for (int i = 0; i <= TAIL_POINTS && tail > 0; i++) {
        add_point(q, -1 + 2.0 * i / TAIL_POINTS, tail / (TAIL_POINTS + 1));
    }
}

/* Sum of w (f - ReLU)^2. */
static double squares(const points *q, const rfhe_paf *p)
{
    double s = 0;

    for (size_t i = 0; i < q->n; i++) {
        const double r = rfhe_paf_value(p, q->u[i]) - q->target[i];
        s += q->w[i] * r * r;
    }
    return s;
}

static double chosen_tail(const rfhe_paf_fit_options *opt)
{
    if (opt == NULL || opt->tail == 0) { return 0.001; }
    return opt->tail < 0 ? 0 : opt->tail;
}

/* ---- polynomials that are linear in their coefficients ---- */

/* Householder on the n x m matrix a (by columns, column length n) with right-hand side b; x receives the solution.
 * Columns that depend on those before them get the coefficient 0. Overwrites a and b. */
static void least_squares(double *x, double *a, double *b, size_t n, size_t m)
{
    double diagonal[RFHE_PAF_MAX_TERMS], norm0[RFHE_PAF_MAX_TERMS];
    size_t row[RFHE_PAF_MAX_TERMS], rank = 0; /* column k's pivot row, n = the column is dropped */

    for (size_t k = 0; k < m; k++) {
        norm0[k] = 0;
        for (size_t i = 0; i < n; i++) { norm0[k] += a[k * n + i] * a[k * n + i]; }
    }
    for (size_t k = 0; k < m; k++) {
        double *v = a + k * n, norm = 0, beta = 0;
        for (size_t i = rank; i < n; i++) { norm += v[i] * v[i]; }
        row[k] = n;
        if (norm <= 1e-26 * norm0[k] || norm == 0) { continue; } /* also when rank == n */
        row[k] = rank;
        diagonal[k] = v[rank] > 0 ? -sqrt(norm) : sqrt(norm);
        v[rank] -= diagonal[k];
        for (size_t i = rank; i < n; i++) { beta += v[i] * v[i]; }
        beta = 2 / beta;
        for (size_t j = k + 1; j <= m; j++) { /* column m stands for b */
            double *c = j < m ? a + j * n : b, dot = 0;
            for (size_t i = rank; i < n; i++) { dot += v[i] * c[i]; }
            dot *= beta;
            for (size_t i = rank; i < n; i++) { c[i] -= dot * v[i]; }
        }
        rank++;
    }
    for (size_t k = m; k-- > 0;) {
        x[k] = 0;
        if (row[k] == n) { continue; }
        double s = b[row[k]];
        for (size_t j = k + 1; j < m; j++) { s -= a[j * n + row[k]] * x[j]; }
        x[k] = s / diagonal[k];
    }
}

static rfhe_status fit_linear(rfhe_paf *p, const points *q, rfhe_error *err)
{
    const size_t m = p->n_terms[0];
    double *a = rfhe_alloc(q->n * m, sizeof *a), *b = rfhe_alloc(q->n, sizeof *b),
           dc[RFHE_PAF_MAX_TERMS], slope = 0;
    rfhe_status st = RFHE_OK;

    if (a == NULL || b == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to fit a polynomial to %zu points", q->n);
        goto done;
    }
    for (size_t i = 0; i < q->n; i++) {
        const double root = sqrt(q->w[i]);
        (void)rfhe_paf_value_grad(p, q->u[i], &slope, dc);
        for (size_t k = 0; k < m; k++) { a[k * q->n + i] = root * dc[k]; }
        b[i] = root * q->target[i];
    }
    least_squares(p->coef[0], a, b, q->n, m);
done:
    rfhe_free(a);
    rfhe_free(b);
    return st;
}

/* ---- composites ---- */

/* Solves (a + diag) x = b, a symmetric m x m, by Cholesky in place of `l`. False if not positive definite. */
static bool cholesky_solve(double *x, double *l, const double *a, const double *diag,
                           const double *b, size_t m)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j <= i; j++) {
            double s = a[i * m + j] + (i == j ? diag[i] : 0);
            for (size_t k = 0; k < j; k++) { s -= l[i * m + k] * l[j * m + k]; }
            if (i == j && !(s > 0)) { return false; }
            l[i * m + j] = i == j ? sqrt(s) : s / l[j * m + j];
        }
    }
    for (size_t i = 0; i < m; i++) {
        double s = b[i];
        for (size_t k = 0; k < i; k++) { s -= l[i * m + k] * x[k]; }
        x[i] = s / l[i * m + i];
    }
    for (size_t i = m; i-- > 0;) {
        double s = x[i];
        for (size_t k = i + 1; k < m; k++) { s -= l[k * m + i] * x[k]; }
        x[i] = s / l[i * m + i];
    }
    return true;
}

static rfhe_status fit_composite(rfhe_paf *p, uint32_t *steps, const points *q,
                                 const rfhe_paf_fit_options *opt, rfhe_error *err)
{
    const size_t m = rfhe_paf_coef_count(p);
    const uint32_t limit = opt != NULL && opt->max_steps > 0 ? opt->max_steps : 200;
    const double ridge = opt != NULL ? opt->ridge : 0;
    double *a = rfhe_alloc(m * m, sizeof *a), *l = rfhe_alloc(m * m, sizeof *l);
    double c[MAX_COEFS], c0[MAX_COEFS], g[MAX_COEFS], dc[MAX_COEFS], move[MAX_COEFS];
    double d[MAX_COEFS] = {0};
    double diag[MAX_COEFS], pull[MAX_COEFS] = {0}, lambda = 1e-3, slope = 0;
    rfhe_status st = RFHE_OK;
    uint32_t quiet = 0;

    if (a == NULL || l == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to fit %zu coefficients", m);
        goto done;
    }
    rfhe_paf_coef_get(p, c);
    memcpy(c0, c, sizeof c);
    double best = squares(q, p);
    bool fresh = false;
    for (*steps = 0; *steps < limit && quiet < 4 && lambda < 1e16; (*steps)++) {
        if (!fresh) {
            memset(a, 0, m * m * sizeof *a);
            memset(g, 0, sizeof g);
            for (size_t i = 0; i < q->n; i++) {
                const double r = rfhe_paf_value_grad(p, q->u[i], &slope, dc) - q->target[i];
                for (size_t j = 0; j < m; j++) {
                    const double wj = q->w[i] * dc[j];
                    g[j] -= wj * r;
                    for (size_t k = 0; k <= j; k++) { a[j * m + k] += wj * dc[k]; }
                }
            }
            double top = 0;
            for (size_t j = 0; j < m; j++) {
                d[j] = fmax(d[j], a[j * m + j]);
                top = fmax(top, d[j]);
            }
            for (size_t j = 0; j < m; j++) {
                if (*steps == 0) { pull[j] = ridge * top; }
                a[j * m + j] += pull[j];
                g[j] -= pull[j] * (c[j] - c0[j]);
            }
            fresh = true;
        }
        for (size_t j = 0; j < m; j++) { diag[j] = lambda * d[j] + 1e-300; }
        double next = INFINITY, moved[MAX_COEFS], penalty = 0, old_penalty = 0;
        if (cholesky_solve(move, l, a, diag, g, m)) {
            for (size_t j = 0; j < m; j++) {
                moved[j] = c[j] + move[j];
                penalty += pull[j] * (moved[j] - c0[j]) * (moved[j] - c0[j]);
                old_penalty += pull[j] * (c[j] - c0[j]) * (c[j] - c0[j]);
            }
            rfhe_paf_coef_set(p, moved);
            next = squares(q, p);
        }
        if (isfinite(next) && next + penalty < best + old_penalty) {
            quiet = best - next < 1e-9 * best ? quiet + 1 : 0;
            best = next;
            memcpy(c, moved, m * sizeof *c);
            lambda = fmax(lambda / 5, 1e-15);
            fresh = false;
        } else {
            rfhe_paf_coef_set(p, c);
            lambda *= 4;
        }
    }
done:
    rfhe_free(a);
    rfhe_free(l);
    return st;
}

/* ---- the public calls ---- */

static rfhe_status prepare(points **out, const rfhe_paf *p, const rfhe_histogram *h, double scale,
                           double tail, rfhe_error *err)
{
    const rfhe_status st = rfhe_paf_check(p, err);

    if (st != RFHE_OK) { return st; }
    if (!(scale > 0 && isfinite(scale))) {
        return rfhe_fail(err, RFHE_E_ARG, "scale %g is not a positive number", scale);
    }
    if (!(tail < 1)) {
        return rfhe_fail(err, RFHE_E_ARG, "a tail weight of %g leaves nothing to the data", tail);
    }
    *out = rfhe_alloc(1, sizeof **out);
    if (*out == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the points of a fit"); }
    collect(*out, h, scale, tail, p->kind == RFHE_PAF_SIGN);
    return RFHE_OK;
}

rfhe_status rfhe_paf_fit_error(double *rms, double *relative, const rfhe_paf *p,
                               const rfhe_histogram *h, double scale,
                               const rfhe_paf_fit_options *opt, rfhe_error *err)
{
    points *q = NULL;

    if (h->n == 0) { return rfhe_fail(err, RFHE_E_ARG, "the histogram is empty"); }
    const rfhe_status st = prepare(&q, p, h, scale, chosen_tail(opt), err);
    if (st == RFHE_OK) {
        const double s = sqrt(squares(q, p));
        if (rms != NULL) { *rms = s * scale; }
        if (relative != NULL) { *relative = q->energy > 0 ? s / sqrt(q->energy) : 0; }
    }
    rfhe_free(q);
    return st;
}

rfhe_status rfhe_paf_fit(rfhe_paf *p, rfhe_paf_fit_report *report, const rfhe_histogram *h,
                         double scale, const rfhe_paf_fit_options *opt, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf_fit_report r = {.steps = 0};
    rfhe_paf fitted = *p;
    points *q = NULL;

    if (h->n == 0) {
        if (report != NULL) { *report = r; }
        return rfhe_paf_check(p, err);
    }
    RFHE_TRY(prepare(&q, p, h, scale, chosen_tail(opt), err));
    const double before = squares(q, p), unit = q->energy > 0 ? 1 / sqrt(q->energy) : 0;
    if (p->kind == RFHE_PAF_SIGN) {
        RFHE_TRY(fit_composite(&fitted, &r.steps, q, opt, err));
    } else {
        RFHE_TRY(fit_linear(&fitted, q, err));
    }
    const double after = squares(q, &fitted);
    r.rms_before = scale * sqrt(before);
    r.rms_after = scale * sqrt(after);
    r.relative_before = sqrt(before) * unit;
    r.relative_after = sqrt(after) * unit;
    r.outside = q->outside;
    *p = fitted;
    if (report != NULL) { *report = r; }
done:
    rfhe_free(q);
    return st;
}

rfhe_status rfhe_paf_fit_channels(rfhe_paf *p, rfhe_paf_fit_report *report, const rfhe_histogram *h,
                                  const double *scale, size_t n, const rfhe_paf_fit_options *opt,
                                  rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_error *failure = rfhe_calloc(n, sizeof *failure);

    if (failure == NULL) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory to fit %zu channels", n);
    }
    /* Every channel is independent: the order does not matter. */
#pragma omp parallel for schedule(dynamic)
    for (size_t c = 0; c < n; c++) {
        failure[c].code = rfhe_paf_fit(&p[c], report != NULL ? &report[c] : NULL, &h[c], scale[c],
                                       opt, &failure[c]);
    }
    for (size_t c = 0; c < n && st == RFHE_OK; c++) {
        if (failure[c].code != RFHE_OK) {
            st = rfhe_fail(err, failure[c].code, "channel %zu: %.300s", c, failure[c].text);
        }
    }
    rfhe_free(failure);
    return st;
}

/* ---- the published schedule ---- */

typedef struct adam {
    double m[MAX_COEFS], v[MAX_COEFS];
    uint64_t step;
} adam;

/* Mean squared error over x[index[0 .. n-1]] and, if g is not NULL, its gradient. scale 0 = largest |x| of these. */
static double batch_loss(double *g, const rfhe_paf *p, const float *x, const uint32_t *index,
                         size_t n, double scale)
{
    const size_t m = rfhe_paf_coef_count(p);
    double dc[MAX_COEFS], slope = 0, loss = 0;

    if (scale == 0) {
        for (size_t i = 0; i < n; i++) { scale = fmax(scale, fabs((double)x[index[i]])); }
        scale = scale > 0 ? scale : 1;
    }
    for (size_t j = 0; j < m && g != NULL; j++) { g[j] = 0; }
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[index[i]], u = v / scale;
        const double f = g != NULL ? rfhe_paf_value_grad(p, u, &slope, dc) : rfhe_paf_value(p, u);
        const double r = scale * f - fmax(v, 0);
        loss += r * r;
        for (size_t j = 0; j < m && g != NULL; j++) { g[j] += 2 * r * scale * dc[j] / (double)n; }
    }
    return loss / (double)n;
}

static void adam_step(adam *a, double *c, const double *g, size_t m, double rate)
{
    a->step++;
    const double b1 = 1 - pow(0.9, (double)a->step), b2 = 1 - pow(0.999, (double)a->step);
    for (size_t j = 0; j < m; j++) {
        a->m[j] = 0.9 * a->m[j] + 0.1 * g[j];
        a->v[j] = 0.999 * a->v[j] + 0.001 * g[j] * g[j];
        c[j] -= rate * (a->m[j] / b1) / (sqrt(a->v[j] / b2) + 1e-8);
    }
}

rfhe_status rfhe_paf_fit_adam(rfhe_paf *p, const float *x, size_t n, double scale,
                              const rfhe_paf_adam_options *opt, rfhe_error *err)
{
    const rfhe_paf_adam_options o = opt != NULL ? *opt : (rfhe_paf_adam_options){.rate = 0};
    const uint32_t epochs = o.epochs > 0 ? o.epochs : 40,
                   steps = o.steps_per_epoch > 0 ? o.steps_per_epoch : 22;
    const uint32_t patience = o.patience > 0 ? o.patience : 2;
    const double floor_rate = o.min_rate > 0 ? o.min_rate : 1e-4;
    double rate = o.rate > 0 ? o.rate : 0.01, best = INFINITY;
    const size_t train = n - n / 10, m = rfhe_paf_coef_count(p);
    rfhe_status st = RFHE_OK;
    rfhe_paf work = *p, kept = *p;
    adam a = {.step = 0};
    uint32_t bad = 0;
    uint32_t *index = NULL, *order = NULL;
    rfhe_rng rng = rfhe_rng_seed(o.seed, 0);

    RFHE_TRY(rfhe_paf_check(p, err));
    if (!(scale >= 0 && isfinite(scale)) || n < 10 * (size_t)steps || n > UINT32_MAX) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu samples at scale %g cannot be tuned in %u batches",
                         n, scale, steps);
    }
    index = rfhe_alloc(n, sizeof *index);
    order = rfhe_alloc(n, sizeof *order);
    if (index == NULL || order == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the order of %zu samples", n);
        goto done;
    }
    rfhe_rng_permutation(&rng, index, n); /* the last tenth is held out */
    for (uint32_t e = 0; e < epochs; e++) {
        double c[MAX_COEFS], g[MAX_COEFS];
        rfhe_rng_permutation(&rng, order, train);
        for (size_t i = 0; i < train; i++) { order[i] = index[order[i]]; }
        for (uint32_t s = 0; s < steps; s++) {
            const size_t lo = train * s / steps, hi = train * (s + 1) / steps;
            (void)batch_loss(g, &work, x, order + lo, hi - lo, scale);
            rfhe_paf_coef_get(&work, c);
            adam_step(&a, c, g, m, rate);
            rfhe_paf_coef_set(&work, c);
        }
        const double held_out = batch_loss(NULL, &work, x, index + train, n - train, scale);
        if (held_out < best * (1 - 1e-8)) {
            best = held_out;
            kept = work;
            bad = 0;
        } else if (++bad > patience) {
            rate = fmax(0.1 * rate, floor_rate);
            bad = 0;
        }
    }
    work = o.keep_best ? kept : work;
    RFHE_TRY(rfhe_paf_check(&work, err)); /* a diverged run leaves p as it was */
    *p = work;
done:
    rfhe_free(index);
    rfhe_free(order);
    return st;
}
