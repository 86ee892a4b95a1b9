/* Minimax polynomials by the exchange algorithm [Rem34], in multi-precision arithmetic.
 *
 * Both problems here are one problem: find c minimising the largest |x^e0 - sum_j c_j x^(e_j)| on [a, b], 0 <= a < b:
 *   sign      e0 = 0, e = 1, 3, 5, ...    a > 0: an odd polynomial near 1 on [a, b] is near -1 on [-b, -a]
 *   |x|       e0 = 1, e = 0, 2, 4, ...    a = 0: an even polynomial near x on [0, 1]
 * so one interval is enough. With n unknown coefficients the error at n + 1 reference points x_0 < ... < x_n is made
 * to alternate, r(x_i) = (-1)^i E, by a linear system. No extremum can then be missed: r changes its sign between
 * neighbouring reference points, which gives n zeros z_i by bisection; between neighbouring zeros r' has a zero; and
 * r' has at most n - 1 zeros in (a, b), because its n powers (one may be absent) form a Chebyshev system on the
 * positive axis (Descartes' rule of signs). So there is exactly one in each (z_i, z_(i+1)), it is found by bisection
 * too, and with the ends a and b these are all extrema. They become the next reference; convergence is quadratic.
 *
 * Composite sign ([LLN22]; the widening was recovered from the published tables): the first stage is fitted on
 * [epsilon, 1], each later one on [1 - tau - 2^-22, 1 + tau + 2^-22], tau being the error of the stage before. */
#include "rfhe/paf.h"

#include "base/mem.h"

#include <math.h>
#include <mpfr.h>
#include <string.h>

enum { BITS = 320, MAX_N = RFHE_PAF_MAX_TERMS };

#define RN MPFR_RNDN

typedef struct exchange {
    unsigned n, e0, e[MAX_N]; /* powers */
    mpfr_t c[MAX_N], x[MAX_N + 1], z[MAX_N], error, a, b;
    mpfr_t m[MAX_N + 1][MAX_N + 2]; /* the linear system */
    mpfr_t s, t, u, v;              /* scratch */
} exchange;

/* Every mpfr_t of the structure, for making and ending it. */
static void each(exchange *w, void (*f)(mpfr_t))
{
    for (int i = 0; i < MAX_N; i++) {
        f(w->c[i]);
        f(w->z[i]);
    }
    for (int i = 0; i <= MAX_N; i++) {
        f(w->x[i]);
        for (int j = 0; j < MAX_N + 2; j++) { f(w->m[i][j]); }
    }
    f(w->error), f(w->a), f(w->b), f(w->s), f(w->t), f(w->u), f(w->v);
}

static void make(mpfr_t v)
{
    mpfr_init2(v, BITS);
}
static void end(mpfr_t v)
{
    mpfr_clear(v);
}

/* out = x^e0 - p(x), or its derivative. Uses scratch s and t; out is none of them. */
static void residual(exchange *w, mpfr_t out, const mpfr_t x, bool derived)
{
    const unsigned n = w->n;

    mpfr_sqr(w->t, x, RN);
    for (unsigned j = n; j-- > 0;) { /* Horner in x^2: the powers go up in steps of 2 */
        mpfr_mul_ui(w->s, w->c[j], derived ? w->e[j] : 1, RN);
        if (j == n - 1) {
            mpfr_set(out, w->s, RN);
        } else {
            mpfr_mul(out, out, w->t, RN);
            mpfr_add(out, out, w->s, RN);
        }
    }
    /* p = out x^(e[0]), p' = out x^(e[0]-1); with e[0] = 0 the derivative's lowest term vanished: one x too few. */
    if (!derived && w->e[0] == 1) { mpfr_mul(out, out, x, RN); }
    if (derived && w->e[0] == 0) { mpfr_div(out, out, x, RN); }
    mpfr_neg(out, out, RN);
    if (w->e0 == 0) {
        if (!derived) { mpfr_add_ui(out, out, 1, RN); }
    } else if (derived) {
        mpfr_add_ui(out, out, 1, RN);
    } else {
        mpfr_add(out, out, x, RN);
    }
}

/* The zero of the residual (or of its derivative) in (lo, hi), whose ends have different signs. */
static void bisect(exchange *w, mpfr_t zero, const mpfr_t lo, const mpfr_t hi, bool derived)
{
    mpfr_t a, b, fa, fb, m;
    int side = 0;

    mpfr_inits2(BITS, a, b, fa, fb, m, (mpfr_ptr)0);
    mpfr_set(a, lo, RN);
    mpfr_set(b, hi, RN);
    residual(w, fa, a, derived);
    residual(w, fb, b, derived);
    /* Illinois' regula falsi, with a halving step whenever it stalls: at least bisection's guarantee. */
    for (int i = 0; i < 400; i++) {
        mpfr_sub(m, b, a, RN);
        if (mpfr_zero_p(m) || mpfr_get_exp(m) < mpfr_get_exp(b) - BITS * 2 / 3) { break; }
        if (i % 4 == 3 || mpfr_equal_p(fa, fb)) {
            mpfr_add(m, a, b, RN);
            mpfr_div_2ui(m, m, 1, RN);
        } else {
            mpfr_sub(w->s, fb, fa, RN);
            mpfr_div(w->s, fb, w->s, RN);
            mpfr_mul(w->s, w->s, m, RN);
            mpfr_sub(m, b, w->s, RN);
            if (mpfr_cmp(m, a) <= 0 || mpfr_cmp(m, b) >= 0) {
                mpfr_add(m, a, b, RN);
                mpfr_div_2ui(m, m, 1, RN);
            }
        }
        residual(w, w->v, m, derived);
        if (mpfr_zero_p(w->v)) {
            mpfr_set(a, m, RN);
            mpfr_set(b, m, RN);
            break;
        }
        if ((mpfr_sgn(w->v) > 0) == (mpfr_sgn(fa) > 0)) {
            mpfr_set(a, m, RN);
            mpfr_set(fa, w->v, RN);
            if (side == 1) { mpfr_div_2ui(fb, fb, 1, RN); }
            side = 1;
        } else {
            mpfr_set(b, m, RN);
            mpfr_set(fb, w->v, RN);
            if (side == 2) { mpfr_div_2ui(fa, fa, 1, RN); }
            side = 2;
        }
    }
    mpfr_add(zero, a, b, RN);
    mpfr_div_2ui(zero, zero, 1, RN);
    mpfr_clears(a, b, fa, fb, m, (mpfr_ptr)0);
}

/* Coefficients and levelled error for the reference w->x: Gauss with pivoting. False if singular. */
static bool solve(exchange *w)
{
    const unsigned n = w->n + 1;

    for (unsigned i = 0; i < n; i++) {
        for (unsigned j = 0; j < w->n; j++) { mpfr_pow_ui(w->m[i][j], w->x[i], w->e[j], RN); }
        mpfr_set_si(w->m[i][w->n], i % 2 == 0 ? 1 : -1, RN);
        mpfr_pow_ui(w->m[i][n], w->x[i], w->e0, RN);
    }
    for (unsigned k = 0; k < n; k++) {
        unsigned pivot = k;
        for (unsigned i = k + 1; i < n; i++) {
            if (mpfr_cmpabs(w->m[i][k], w->m[pivot][k]) > 0) { pivot = i; }
        }
        if (mpfr_zero_p(w->m[pivot][k])) { return false; }
        for (unsigned j = k; j <= n && pivot != k; j++) { mpfr_swap(w->m[k][j], w->m[pivot][j]); }
        for (unsigned i = k + 1; i < n; i++) {
            mpfr_div(w->s, w->m[i][k], w->m[k][k], RN);
            for (unsigned j = k; j <= n; j++) {
                mpfr_mul(w->t, w->s, w->m[k][j], RN);
                mpfr_sub(w->m[i][j], w->m[i][j], w->t, RN);
            }
        }
    }
    for (unsigned k = n; k-- > 0;) {
        for (unsigned j = k + 1; j < n; j++) {
            mpfr_mul(w->t, w->m[k][j], j < w->n ? w->c[j] : w->error, RN);
            mpfr_sub(w->m[k][n], w->m[k][n], w->t, RN);
        }
        mpfr_div(k < w->n ? w->c[k] : w->error, w->m[k][n], w->m[k][k], RN);
    }
    return true;
}

/* Fills c and error (made positive). The interval is in a and b, the powers in e0 and e. */
static rfhe_status run_exchange(exchange *w, rfhe_error *err)
{
    const unsigned n = w->n;

    for (unsigned i = 0; i <= n; i++) { /* Chebyshev points in x, both ends included */
        mpfr_const_pi(w->s, RN);
        mpfr_mul_ui(w->s, w->s, n - i, RN);
        mpfr_div_ui(w->s, w->s, n, RN);
        mpfr_cos(w->s, w->s, RN);
        mpfr_add_ui(w->s, w->s, 1, RN);
        mpfr_div_2ui(w->s, w->s, 1, RN);
        mpfr_sub(w->t, w->b, w->a, RN);
        mpfr_mul(w->s, w->s, w->t, RN);
        mpfr_add(w->x[i], w->a, w->s, RN);
    }
    for (int round = 0; round < 100; round++) {
        if (!solve(w) || !mpfr_number_p(w->error) || mpfr_zero_p(w->error)) { break; }
        for (unsigned i = 0; i < n; i++) { bisect(w, w->z[i], w->x[i], w->x[i + 1], false); }
        mpfr_set(w->x[0], w->a, RN);
        mpfr_set(w->x[n], w->b, RN);
        for (unsigned i = 1; i < n; i++) { bisect(w, w->x[i], w->z[i - 1], w->z[i], true); }
        mpfr_abs(w->error, w->error, RN);
        mpfr_set_zero(w->u, 1);
        for (unsigned i = 0; i <= n; i++) {
            residual(w, w->v, w->x[i], false);
            if (mpfr_cmpabs(w->v, w->u) > 0) { mpfr_abs(w->u, w->v, RN); }
        }
        /* Largest error minus levelled error: 0 at the optimum. */
        mpfr_sub(w->v, w->u, w->error, RN);
        mpfr_div(w->v, w->v, w->u, RN);
        mpfr_set(w->error, w->u, RN);
        if (mpfr_cmp_d(w->v, 1e-30) < 0) { return RFHE_OK; }
    }
    return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                     "the exchange for %u coefficients on [%g, %g] did not converge", n,
                     mpfr_get_d(w->a, RN), mpfr_get_d(w->b, RN));
}

static rfhe_status fit_composite(exchange *w, rfhe_paf *p, rfhe_paf_design *info,
                                 const uint32_t *degrees, size_t n, double epsilon, double top,
                                 rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    *p = (rfhe_paf){.kind = RFHE_PAF_SIGN, .n_stages = (uint32_t)n};
    *info = (rfhe_paf_design){.epsilon = epsilon};
    mpfr_set_d(w->a, epsilon, RN);
    mpfr_set_d(w->b, top, RN);
    for (size_t k = 0; k < n; k++) {
        w->n = (degrees[k] + 1) / 2;
        w->e0 = 0;
        for (unsigned j = 0; j < w->n; j++) { w->e[j] = 2 * j + 1; }
        info->lo[k] = mpfr_get_d(w->a, RN);
        info->hi[k] = mpfr_get_d(w->b, RN);
        RFHE_TRY(run_exchange(w, err));
        p->n_terms[k] = w->n;
        for (unsigned j = 0; j < w->n; j++) { p->coef[k][j] = mpfr_get_d(w->c[j], RN); }
        info->error[k] = mpfr_get_d(w->error, RN);
        mpfr_set_ui_2exp(w->s, 1, -22, RN);
        mpfr_add(w->s, w->s, w->error, RN);
        mpfr_ui_sub(w->a, 1, w->s, RN);
        mpfr_add_ui(w->b, w->s, 1, RN);
        if (mpfr_sgn(w->a) <= 0 && k + 1 < n) {
            st = rfhe_fail(err, RFHE_E_UNSUPPORTED,
                           "stage %zu leaves an error of %.3g, too much for a next stage", k + 1,
                           info->error[k]);
            goto done;
        }
    }
done:
    return st;
}

/* Largest x (1 - P(x))/2 on [0, epsilon]: the ReLU error inside the gap. */
static double gap_error(const rfhe_paf *p, double epsilon)
{
    double best = 0, at = 0, step = epsilon / 256;

    for (int i = 1; i <= 256; i++) {
        const double u = i * step, v = u * (1 - rfhe_paf_sign(p, u)) / 2;
        if (v > best) { best = v, at = u; }
    }
    double a = at - step, b = fmin(at + step, epsilon);
    for (int i = 0; i < 50; i++) {
        const double m1 = a + (b - a) * 0.381966011250105, m2 = a + (b - a) * 0.618033988749895;
        if (m1 * (1 - rfhe_paf_sign(p, m1)) > m2 * (1 - rfhe_paf_sign(p, m2))) {
            b = m2;
        } else {
            a = m1;
        }
    }
    return fmax(best, a * (1 - rfhe_paf_sign(p, a)) / 2);
}

rfhe_status rfhe_paf_design_sign(rfhe_paf *out, rfhe_paf_design *info, const uint32_t *degrees,
                                 size_t n, double epsilon, double top, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf p;
    rfhe_paf_design d;
    exchange *w = NULL;

    if (top == 0) { top = 1; }
    if (n < 1 || n > RFHE_PAF_MAX_STAGES) {
        return rfhe_fail(err, RFHE_E_ARG, "a composite has 1 to %d stages, not %zu",
                         (int)RFHE_PAF_MAX_STAGES, n);
    }
    for (size_t k = 0; k < n; k++) {
        if (degrees[k] % 2 == 0 || degrees[k] < 1 || degrees[k] > 63) {
            return rfhe_fail(err, RFHE_E_ARG,
                             "degree %u of stage %zu is not an odd number up to 63", degrees[k],
                             k + 1);
        }
    }
    if (!(epsilon >= 0 && epsilon < top && top <= 1e6 && (epsilon == 0 || epsilon > 1e-12))) {
        return rfhe_fail(err, RFHE_E_ARG, "epsilon %g does not lie between 0 and %g", epsilon, top);
    }
    w = rfhe_alloc(1, sizeof *w);
    if (w == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the exchange algorithm"); }
    each(w, make);
    if (epsilon > 0) {
        RFHE_TRY(fit_composite(w, &p, &d, degrees, n, epsilon, top, err));
    } else {
        /* The error inside the gap grows with epsilon, the error outside falls: bisection on log(epsilon). */
        double lo = log(1e-7), hi = log(0.9 * top);
        for (int i = 0; i < 44 && hi - lo > 1e-10; i++) {
            const double e = exp((lo + hi) / 2);
            RFHE_TRY(fit_composite(w, &p, &d, degrees, n, e, top, err));
            if (gap_error(&p, e) < d.error[n - 1] / 2 * top) {
                lo = log(e);
            } else {
                hi = log(e);
            }
        }
    }
    *out = p;
    if (info != NULL) { *info = d; }
done:
    each(w, end);
    mpfr_free_cache();
    rfhe_free(w);
    return st;
}

rfhe_status rfhe_paf_design_even(rfhe_paf *out, rfhe_paf_design *info, uint32_t degree,
                                 rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    exchange *w = NULL;
    const unsigned m = degree / 2;

    if (degree % 2 != 0 || degree < 2 || degree > 62) {
        return rfhe_fail(err, RFHE_E_ARG, "degree %u is not an even number from 2 to 62", degree);
    }
    w = rfhe_alloc(1, sizeof *w);
    if (w == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the exchange algorithm"); }
    each(w, make);
    w->n = m + 1;
    w->e0 = 1;
    for (unsigned j = 0; j <= m; j++) { w->e[j] = 2 * j; }
    mpfr_set_ui(w->a, 0, RN);
    mpfr_set_ui(w->b, 1, RN);
    RFHE_TRY(run_exchange(w, err));
    /* Into T_k(2t - 1), t = u^2, by Horner: multiply by t = (1 + T_1)/2, add the next coefficient. */
    mpfr_t *h = w->z, *g = w->x;
    for (unsigned k = 0; k <= m; k++) { mpfr_set_zero(h[k], 1); }
    for (unsigned j = m + 1; j-- > 0;) {
        for (unsigned k = 0; k <= m; k++) { mpfr_div_2ui(g[k], h[k], 1, RN); }
        for (unsigned k = 0; k <= m; k++) { /* T_1 T_k = (T_(k+1) + T_|k-1|)/2 */
            mpfr_div_2ui(w->s, h[k], 2, RN);
            if (k < m) { mpfr_add(g[k + 1], g[k + 1], w->s, RN); }
            mpfr_add(g[k > 0 ? k - 1 : 1], g[k > 0 ? k - 1 : 1], w->s, RN);
        }
        for (unsigned k = 0; k <= m; k++) { mpfr_set(h[k], g[k], RN); }
        mpfr_add(h[0], h[0], w->c[j], RN);
    }
    *out = (rfhe_paf){.kind = RFHE_PAF_EVEN, .n_stages = 1, .n_terms = {m + 2}};
    for (unsigned k = 0; k <= m; k++) { out->coef[0][k] = mpfr_get_d(h[k], RN) / 2; }
    out->coef[0][m + 1] = 0.5;
    if (info != NULL) {
        *info = (rfhe_paf_design){.error = {mpfr_get_d(w->error, RN) / 2}, .hi = {1}};
    }
done:
    each(w, end);
    mpfr_free_cache();
    rfhe_free(w);
    return st;
}
