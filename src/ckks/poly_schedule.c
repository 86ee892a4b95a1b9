/* Schedules of least depth for polynomials and their composites; see the head of poly.c. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/internal.h"

enum { NONE = 0xffff, MAX_COEF = RFHE_POLY_MAX_DEGREE + 2, MAX_RATIO = 16 };

typedef struct scheduler {
    rfhe_poly_step step[RFHE_POLY_MAX_STEPS];
    uint16_t level[RFHE_POLY_MAX_STEPS];
    uint32_t count;
    bool is_full, is_chebyshev, times_input;
    uint16_t u;         /* this stage's input                                 */
    uint16_t power[10]; /* B_(2^j) of it, or NONE                             */
} scheduler;

static uint16_t emit(scheduler *s, rfhe_poly_op op, uint16_t a, uint16_t b, double c)
{
    uint16_t l = 0;

    if (s->count == RFHE_POLY_MAX_STEPS) {
        s->is_full = true;
        return 0;
    }
    if (op != RFHE_POLY_INPUT) {
        const bool two = op == RFHE_POLY_MUL || op == RFHE_POLY_ADD;
        l = s->level[a];
        if (two && s->level[b] > l) { l = s->level[b]; }
        if (op == RFHE_POLY_MUL || op == RFHE_POLY_SCALE) { l++; }
    }
    s->step[s->count] = (rfhe_poly_step){.op = op, .a = a, .b = b, .c = c};
    s->level[s->count] = l;
    return (uint16_t)s->count++;
}

static uint16_t sum(scheduler *s, uint16_t a, uint16_t b)
{
    return a == NONE ? b : b == NONE ? a : emit(s, RFHE_POLY_ADD, a, b, 0);
}

/* B_(2^j): u^(2^j), or T_(2^j)(u) = 2 T^2 - 1. */
static uint16_t power(scheduler *s, unsigned j)
{
    if (s->power[j] == NONE) {
        const uint16_t half = power(s, j - 1);
        uint16_t r = emit(s, RFHE_POLY_MUL, half, half, 0);
        if (s->is_chebyshev) { r = emit(s, RFHE_POLY_CONST, emit(s, RFHE_POLY_INT, r, 0, 2), 0, -1); }
        s->power[j] = r;
    }
    return s->power[j];
}

static int degree(const double *p, int d)
{
    while (d > 0 && p[d] == 0) { d--; }
    return d;
}

static uint16_t solve(scheduler *s, const double *p, int d, unsigned t, double *constant);

static unsigned products(const scheduler *s)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < s->count; i++) { count += s->step[i].op == RFHE_POLY_MUL; }
    return count;
}

/* p = q B_n + r, n = 2^j. */
static uint16_t split(scheduler *s, const double *p, int d, unsigned t, unsigned j, double *constant)
{
    double q[MAX_COEF] = {0}, r[MAX_COEF] = {0};
    const int n = 1 << j;
    uint16_t result = NONE;

    memcpy(r, p, ((size_t)d + 1) * sizeof *r);
    for (int k = d; k >= n; k--) {
        if (s->is_chebyshev && k > n) { /* T_k = 2 T_n T_(k-n) - T_|2n-k| */
            q[k - n] += 2 * r[k];
            r[k > 2 * n ? k - 2 * n : 2 * n - k] -= r[k];
        } else {
            q[k - n] += r[k];
        }
        r[k] = 0;
    }
    const int dq = degree(q, d - n), dr = degree(r, n - 1);
    if (dq == 0 && !s->times_input) {
        /* A power of two: its multiple, or the power itself. */
        result = q[0] == 1 ? power(s, j) : emit(s, RFHE_POLY_SCALE, power(s, j), 0, q[0]);
    } else {
        double inner = 0;
        uint16_t a = solve(s, q, dq, t - 1, &inner);
        if (inner != 0) { a = emit(s, RFHE_POLY_CONST, a, 0, inner); }
        result = emit(s, RFHE_POLY_MUL, a, power(s, j), 0);
        const double ratio = r[dr] / q[dq];
        if (dq == dr && dr > (s->times_input ? 0 : 1) && fabs(ratio) <= MAX_RATIO) {
            double size = 0;
            for (int k = 0; k <= dr; k++) {
                size = fmax(size, fabs(r[k]));
                r[k] -= ratio * q[k];
            }
            r[dr] = 0;
            for (int k = 0; k <= dr; k++) {
                if (fabs(r[k]) < 0x1p-50 * size) { r[k] = 0; }
            }
            result = emit(s, RFHE_POLY_ADD, result, emit(s, RFHE_POLY_SCALE, a, 0, ratio), 0);
        }
    }
    if (dr > 0 || r[0] != 0) { result = sum(s, result, solve(s, r, n - 1, t, constant)); }
    return result;
}

/* p(u), times the program's input if times_input, within t levels of u (2^t > degree): a register, or NONE for the
 * constant part alone, which goes to *constant (never with times_input). */
static uint16_t solve(scheduler *s, const double *p, int d, unsigned t, double *constant)
{
    uint16_t result = NONE;

    d = degree(p, d);
    if (d == 0) {
        if (s->times_input) { return p[0] == 0 ? NONE : emit(s, RFHE_POLY_SCALE, 0, 0, p[0]); }
        *constant += p[0];
        return NONE;
    }
    if (d == 1) {
        if (s->times_input) {
            result = emit(s, RFHE_POLY_MUL, emit(s, RFHE_POLY_SCALE, 0, 0, p[1]), s->u, 0);
            return sum(s, result, p[0] == 0 ? NONE : emit(s, RFHE_POLY_SCALE, 0, 0, p[0]));
        }
        *constant += p[0];
        return emit(s, RFHE_POLY_SCALE, s->u, 0, p[1]);
    }
    unsigned j = 0;
    while (2 << j <= d) { j++; }
    /* The largest power first; the one below it if the quotient still fits its levels and that saves products. */
    if (j > 0 && d <= 24 && d - (1 << (j - 1)) < 1 << (t - 1)) {
        scheduler *other = rfhe_alloc(1, sizeof *other);
        if (other != NULL) {
            double mine = *constant, theirs = *constant;
            memcpy(other, s, sizeof *other);
            const uint16_t x = split(other, p, d, t, j - 1, &theirs);
            scheduler *first = rfhe_alloc(1, sizeof *first);
            if (first != NULL) {
                memcpy(first, s, sizeof *first);
                result = split(first, p, d, t, j, &mine);
                const bool better = !other->is_full && products(other) < products(first);
                memcpy(s, better ? other : first, sizeof *s);
                *constant = better ? theirs : mine;
                rfhe_free(first);
                rfhe_free(other);
                return better ? x : result;
            }
            rfhe_free(other);
        }
    }
    return split(s, p, d, t, j, constant);
}

rfhe_status rfhe_poly_program_new(rfhe_poly_program **out, const rfhe_poly_stage *stage, size_t count,
                                  bool times_input, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    scheduler *s = NULL;

    if (count < 1 || count > RFHE_POLY_MAX_STAGES) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu polynomials in a row; 1 .. %u are possible", count,
                         (unsigned)RFHE_POLY_MAX_STAGES);
    }
    for (size_t i = 0; i < count; i++) {
        if (stage[i].degree < 1 || stage[i].degree > RFHE_POLY_MAX_DEGREE) {
            return rfhe_fail(err, RFHE_E_ARG, "polynomial %zu has degree %u; 1 .. %u are possible", i, stage[i].degree,
                             (unsigned)RFHE_POLY_MAX_DEGREE);
        }
        for (uint32_t k = 0; k <= stage[i].degree; k++) {
            if (!isfinite(stage[i].coef[k])) {
                return rfhe_fail(err, RFHE_E_ARG, "coefficient %u of polynomial %zu is not finite", k, i);
            }
        }
        if (stage[i].coef[stage[i].degree] == 0) {
            return rfhe_fail(err, RFHE_E_ARG, "the leading coefficient of polynomial %zu is zero", i);
        }
    }
    s = rfhe_calloc(1, sizeof *s);
    if (s == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a polynomial program"); }
    s->u = emit(s, RFHE_POLY_INPUT, 0, 0, 0);
    for (size_t i = 0; i < count; i++) {
        double p[MAX_COEF] = {0}, constant = 0;
        int d = (int)stage[i].degree;
        const bool merges = times_input && i + 1 == count;
        memcpy(p, stage[i].coef, ((size_t)d + 1) * sizeof *p);
        s->is_chebyshev = stage[i].is_chebyshev;
        s->times_input = merges && count > 1;
        if (merges && count == 1) { /* x p(x) as a polynomial of its own */
            double q[MAX_COEF] = {0};
            for (int k = 0; k <= d; k++) {
                if (s->is_chebyshev && k > 0) { /* x T_k = (T_(k+1) + T_(k-1)) / 2 */
                    q[k + 1] += p[k] / 2;
                    q[k - 1] += p[k] / 2;
                } else {
                    q[k + 1] += p[k];
                }
            }
            memcpy(p, q, sizeof p);
            d++;
        }
        for (unsigned j = 0; j < sizeof s->power / sizeof *s->power; j++) { s->power[j] = NONE; }
        s->power[0] = s->u;
        unsigned t = 1;
        while (1 << t <= d) { t++; }
        uint16_t r = solve(s, p, d, t, &constant);
        if (constant != 0) { r = emit(s, RFHE_POLY_CONST, r, 0, constant); }
        s->u = r;
    }
    /* The result is the last register: the constant or sum just emitted; a bare power is repeated as a sum of one. */
    if (!s->is_full && s->u + 1U != s->count) { s->u = emit(s, RFHE_POLY_INT, s->u, 0, 1); }
    if (s->is_full) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "a polynomial program of more than %u steps",
                       (unsigned)RFHE_POLY_MAX_STEPS);
        goto done;
    }
    st = rfhe_poly_program_from_steps(out, s->step, s->count, 1, err);
done:
    rfhe_free(s);
    return st;
}
