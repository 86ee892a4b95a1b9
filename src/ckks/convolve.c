/* Products with sparse polynomials, summed: convolutions on coefficients.
 *
 * out[o] = sum_j in[j] * K(o, j). The polynomials K come as short lists of numbers and are transformed where they are used:
 * a transform of a limb takes less time than reading the same limb from memory twice, and weights stay as small as they
 * are. One piece of work is one limb of one output: for each group of GROUP inputs, the kernels' limbs are filled and
 * transformed in this thread's scratch (which stays in its second-level cache), then one pass over them and the two parts
 * of the inputs adds all products before they are reduced. Per (o, j) and limb: a clearing, a transform, two pointwise
 * products. */
#include <inttypes.h>
#include <math.h>
#include <omp.h>

#include "base/mem.h"
#include "ckks/internal.h"

enum { GROUP = 4 };

typedef struct job {
    const rfhe_ckks *c;
    const rfhe_ct *const *in;
    size_t n_in;
    rfhe_kernel_fn *fn;
    void *ctx;
    size_t most;
    double scale;
    uint32_t level;
} job;

/* Scratch of a thread. */
typedef struct room {
    uint64_t *kernel;  /* GROUP limbs */
    uint64_t *residue; /* most        */
    double *value;     /* most        */
    uint32_t *index;   /* most        */
} room;

static size_t room_words(size_t n, size_t most)
{
    const size_t numbers = (most + 7) / 8 * 8;

    return GROUP * n + 2 * numbers + numbers / 2;
}

static room room_at(uint64_t *words, size_t n, size_t most)
{
    const size_t numbers = (most + 7) / 8 * 8;
    room r = {.kernel = words, .residue = words + GROUP * n};

    r.value = (double *)(void *)(r.residue + numbers);
    r.index = (uint32_t *)(void *)(r.value + numbers);
    return r;
}

/* What is wrong with a kernel, if anything. */
typedef enum fault { FINE, TOO_LONG, BAD_INDEX, BAD_VALUE } fault;

/* The header of output o: error and bound of the sum. Looks at every kernel before anything is written. */
static fault examine(const job *k, size_t o, const room *r, double *error, double *bound)
{
    double e = 0, b = 0;

    for (size_t j = 0; j < k->n_in; j++) {
        const size_t count = k->fn(k->ctx, o, j, r->index, r->value);
        double square = 0;
        if (count > k->most) { return TOO_LONG; }
        for (size_t i = 0; i < count; i++) {
            if (r->index[i] >= 2 * k->c->n) { return BAD_INDEX; }
            if (!(fabs(r->value[i] * k->scale) < 0x1p103)) { return BAD_VALUE; }
            square += r->value[i] * r->value[i];
        }
        /* On average over the slots |K|^2 is the sum of squares of its coefficients (Parseval); each was rounded. */
        const double rounded = sqrt((double)count / 12) / k->scale;
        e += square * k->in[j]->error * k->in[j]->error + pow(rounded * k->in[j]->bound, 2);
        b += square * k->in[j]->bound * k->in[j]->bound;
    }
    *error = sqrt(e);
    *bound = sqrt(b);
    return FINE;
}

/* One limb of one kernel, transformed; false when it is zero. */
static bool make_kernel(const job *k, size_t o, size_t j, uint32_t limb, uint64_t *x, const room *r)
{
    const rfhe_ckks *c = k->c;
    const rfhe_modulus *m = &c->m[limb];
    const size_t n = c->n, count = k->fn(k->ctx, o, j, r->index, r->value);

    if (count == 0) { return false; }
    for (size_t i = 0; i < count; i++) { r->value[i] *= k->scale; }
    c->k->from_f64(r->residue, r->value, count, m);
    memset(x, 0, n * sizeof *x);
    for (size_t i = 0; i < count; i++) {
        const size_t at = r->index[i] & (n - 1);
        const uint64_t y = r->index[i] < n ? r->residue[i] : rfhe_mod_neg(r->residue[i], m->q);
        x[at] = rfhe_mod_add(x[at], y, m->q);
    }
    c->k->ntt_forward(x, &c->ntt[limb]);
    return true;
}

/* One limb of both parts of output o. */
static void make_output(const job *k, size_t o, uint32_t limb, rfhe_ct *out, const room *r)
{
    const size_t n = k->c->n;
    uint64_t *const out0 = rfhe_ct_limb(out, 0, limb), *const out1 = rfhe_ct_limb(out, 1, limb);
    bool any = false;

    for (size_t j = 0; j < k->n_in;) {
        const uint64_t *d[GROUP], *x0[GROUP], *x1[GROUP];
        size_t count = 0;
        for (; j < k->n_in && count < GROUP; j++) {
            uint64_t *const x = r->kernel + count * n;
            if (!make_kernel(k, o, j, limb, x, r)) { continue; }
            d[count] = x;
            x0[count] = rfhe_ct_limb(k->in[j], 0, limb);
            x1[count++] = rfhe_ct_limb(k->in[j], 1, limb);
        }
        if (count == 0) { continue; }
        k->c->k->inner(out0, out1, d, x0, x1, count, n, any, &k->c->m[limb]);
        any = true;
    }
    if (!any) {
        memset(out0, 0, n * sizeof *out0);
        memset(out1, 0, n * sizeof *out1);
    }
}

static rfhe_status check_arguments(rfhe_ct *const *out, size_t n_out, const rfhe_ct *const *in, size_t n_in,
                                   double scale, const rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    if (n_in == 0) { return rfhe_fail(err, RFHE_E_ARG, "a convolution without inputs"); }
    for (size_t j = 0; j < n_in; j++) {
        RFHE_TRY(rfhe_check_ct(ev, in[j], "an input of the convolution", err));
        if (in[j]->parts != 2 || in[j]->level != in[0]->level) {
            st = rfhe_fail(err, RFHE_E_ARG, "inputs of a convolution need two parts and one level: %zu has %u and %u, the "
                           "first %u and %u", j, in[j]->parts, in[j]->level, in[0]->parts, in[0]->level);
            goto done;
        }
        RFHE_TRY(rfhe_check_same_scale(in[j]->scale, in[0]->scale, err));
        for (size_t o = 0; o < n_out; o++) {
            if (out[o] == in[j]) {
                st = rfhe_fail(err, RFHE_E_ARG, "output %zu of a convolution is also its input %zu", o, j);
                goto done;
            }
        }
    }
    for (size_t o = 0; o < n_out; o++) { RFHE_TRY(rfhe_check_ct(ev, out[o], "an output of the convolution", err)); }
    if (!(scale > 0) || !isfinite(scale)) {
        st = rfhe_fail(err, RFHE_E_ARG, "a scale of %g for the kernels of a convolution", scale);
    }
done:
    return st;
}

static rfhe_status tell(fault f, size_t o, size_t most, rfhe_error *err)
{
    switch (f) {
    case TOO_LONG:
        return rfhe_fail(err, RFHE_E_ARG, "a kernel of output %zu has more than %zu coefficients", o, most);
    case BAD_INDEX:
        return rfhe_fail(err, RFHE_E_ARG, "a kernel of output %zu has an index that is not below 2N", o);
    case BAD_VALUE:
        return rfhe_fail(err, RFHE_E_ARG, "a kernel of output %zu has a coefficient that is not finite or too large", o);
    case FINE: break;
    }
    return RFHE_OK;
}

rfhe_status rfhe_ct_convolve(rfhe_ct *const *out, size_t n_out, const rfhe_ct *const *in, size_t n_in, rfhe_kernel_fn *fn,
                             void *ctx, size_t most, double scale, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    rfhe_status st = RFHE_OK;
    double *header = NULL;
    uint8_t *faults = NULL;

    if (n_in > 0 && scale == 0) { scale = rfhe_plain_scale(in[0], 0); }
    RFHE_TRY(check_arguments(out, n_out, in, n_in, scale, ev, err));
    const uint32_t level = in[0]->level;
    const job k = {.c = c, .in = in, .n_in = n_in, .fn = fn, .ctx = ctx, .most = most, .scale = scale, .level = level};
    const size_t words = (room_words(c->n, most) + 7) / 8 * 8;
    RFHE_TRY(rfhe_evaluator_wide(ev, ev->threads * words, err));
    header = rfhe_alloc(2 * n_out, sizeof *header);
    faults = rfhe_alloc(n_out, sizeof *faults);
    if (header == NULL || faults == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a convolution with %zu outputs", n_out);
        goto done;
    }
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
    for (size_t o = 0; o < n_out; o++) {
        const room r = room_at(ev->wide + (size_t)omp_get_thread_num() * words, c->n, most);
        faults[o] = (uint8_t)examine(&k, o, &r, &header[2 * o], &header[2 * o + 1]);
    }
    for (size_t o = 0; o < n_out; o++) { RFHE_TRY(tell((fault)faults[o], o, most, err)); }
    for (size_t o = 0; o < n_out; o++) { RFHE_TRY(rfhe_ct_reserve(out[o], level, 2, err)); }
#pragma omp parallel for schedule(dynamic) collapse(2) num_threads(ev->threads)
    for (size_t o = 0; o < n_out; o++) {
        for (uint32_t i = 0; i <= level; i++) {
            const room r = room_at(ev->wide + (size_t)omp_get_thread_num() * words, c->n, most);
            make_output(&k, o, i, out[o], &r);
        }
    }
    for (size_t o = 0; o < n_out; o++) {
        out[o]->parts = 2;
        out[o]->level = level;
        out[o]->has_seed = false;
        out[o]->scale = in[0]->scale * scale;
        out[o]->error = header[2 * o];
        out[o]->bound = header[2 * o + 1];
    }

done:
    rfhe_free(header);
    rfhe_free(faults);
    return st;
}
