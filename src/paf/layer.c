/* See layer.h. Work is cut into at most PIECES pieces whatever the team; each piece has its own sums, which are added
 * in index order at the end. */
#include "paf/layer.h"

#include "base/mem.h"
#include "base/threads.h"
#include "paf/kernels.h"

#include <math.h>
#include <string.h>

enum { PIECES = 32, RUN = 1024, TILE = 64, SHARE = 8192 };

struct rfhe_paf_layer {
    rfhe_paf shape; /* kind and counts */
    rfhe_paf_layout layout;
    rfhe_paf_type type;
    size_t n_sets, stride;
    const rfhe_paf_kernels *kernels;
    rfhe_paf_kparam k; /* column 0 = set 0 */
    int kernel_type;
    void *table[2]; /* [0] float, [1] double: coef rows, slope rows, scale, inverse */
    double *sums;   /* [PIECES][n_coef + 1][n_sets] */
};

const rfhe_paf_kernels *rfhe_paf_kernels_for(rfhe_isa isa)
{
    switch (isa) {
    case RFHE_ISA_AVX512IFMA:
        return &rfhe_paf_kernels_avx512ifma;
    case RFHE_ISA_AVX2:
        return &rfhe_paf_kernels_avx2;
    case RFHE_ISA_PORTABLE:
    case RFHE_ISA_COUNT:
        break;
    }
    return &rfhe_paf_kernels_portable;
}

static bool same_shape(const rfhe_paf *a, const rfhe_paf *b)
{
    return a->kind == b->kind && a->n_stages == b->n_stages &&
           memcmp(a->n_terms, b->n_terms, a->n_stages * sizeof *a->n_terms) == 0;
}

/* How much larger than the result the terms of a stage become on the range that stage sees: what float loses. */
static double cancellation(const rfhe_paf *p)
{
    double worst = 1, m = 1;

    if (p->kind != RFHE_PAF_SIGN) { return 1; } /* Chebyshev series do not cancel */
    for (uint32_t s = 0; s < p->n_stages; s++) {
        rfhe_paf part = *p;
        double terms = 0, y = m, next = 0;
        for (uint32_t j = 0; j < p->n_terms[s]; j++) {
            terms += fabs(p->coef[s][j]) * y;
            y *= m * m;
        }
        worst = fmax(worst, terms);
        part.n_stages = s + 1;
        for (int i = 0; i <= 512; i++) { next = fmax(next, fabs(rfhe_paf_sign(&part, i / 512.0))); }
        m = next;
    }
    return worst;
}

static void fill(rfhe_paf_layer *l, const rfhe_paf *p, const double *scale)
{
    const uint32_t n = l->k.n_coef;
    double worst = 1;

    for (size_t i = 0; i < l->n_sets; i++) {
        uint32_t row = 0;
        for (uint32_t s = 0; s < p[i].n_stages; s++) {
            for (uint32_t j = 0; j < p[i].n_terms[s]; j++, row++) {
                const double c = p[i].coef[s][j], slope = (2.0 * j + 1) * c;
                ((float *)l->table[0])[row * l->stride + i] = (float)c;
                ((double *)l->table[1])[row * l->stride + i] = c;
                ((float *)l->table[0])[(n + row) * l->stride + i] = (float)slope;
                ((double *)l->table[1])[(n + row) * l->stride + i] = slope;
            }
        }
        ((float *)l->table[0])[2 * n * l->stride + i] = (float)scale[i];
        ((double *)l->table[1])[2 * n * l->stride + i] = scale[i];
        ((float *)l->table[0])[(2 * n + 1) * l->stride + i] = (float)(1 / scale[i]);
        ((double *)l->table[1])[(2 * n + 1) * l->stride + i] = 1 / scale[i];
        worst = fmax(worst, cancellation(&p[i]));
    }
    l->kernel_type = l->type == RFHE_PAF_DOUBLE ? RFHE_PAF_F64
                     : worst > 8192             ? RFHE_PAF_F32W
                                                : RFHE_PAF_F32;
    if (l->kernel_type == RFHE_PAF_F32) {
        const float *t = l->table[0];
        l->k.coef = t;
        l->k.slope = t + n * l->stride;
        l->k.scale = t + 2 * n * l->stride;
        l->k.inverse = t + (2 * n + 1) * l->stride;
    } else {
        const double *t = l->table[1];
        l->k.coef = t;
        l->k.slope = t + n * l->stride;
        l->k.scale = t + 2 * n * l->stride;
        l->k.inverse = t + (2 * n + 1) * l->stride;
    }
}

static rfhe_status check(const rfhe_paf *p, const double *scale, size_t n, rfhe_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const rfhe_status st = rfhe_paf_check(&p[i], err);
        if (st != RFHE_OK) { return st; }
        if (!same_shape(&p[i], &p[0])) {
            return rfhe_fail(
                err, RFHE_E_ARG,
                "the polynomial of channel %zu has another shape than that of channel 0", i);
        }
        if (!(scale[i] > 0 && isfinite(scale[i]))) {
            return rfhe_fail(err, RFHE_E_ARG, "scale %g of channel %zu is not a positive number",
                             scale[i], i);
        }
    }
    return RFHE_OK;
}

rfhe_status rfhe_paf_layer_new(rfhe_paf_layer **out, const rfhe_paf *p, const double *scale,
                               size_t n_sets, rfhe_paf_layout layout, rfhe_paf_type type,
                               rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf_layer *l = NULL;

    if (n_sets < 1 || layout.channels < 1 || layout.inner < 1 ||
        (n_sets != 1 && n_sets != layout.channels) ||
        (layout.block > 0 && layout.channels % layout.block != 0)) {
        return rfhe_fail(err, RFHE_E_ARG,
                         "%zu sets of coefficients do not suit %zu channels in blocks of %zu",
                         n_sets, layout.channels, layout.block);
    }
    RFHE_TRY(check(p, scale, n_sets, err));
    l = rfhe_calloc(1, sizeof *l);
    if (l == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for an activation of %zu channels", n_sets);
        goto done;
    }
    l->shape = p[0];
    l->layout = layout;
    l->type = type;
    l->n_sets = n_sets;
    l->stride = (n_sets + 15) / 16 * 16;
    l->kernels = rfhe_paf_kernels_for(rfhe_cpu_isa());
    l->k = (rfhe_paf_kparam){.kind = p[0].kind,
                             .n_stages = p[0].n_stages,
                             .n_coef = (uint32_t)rfhe_paf_coef_count(&p[0]),
                             .stride = l->stride};
    memcpy(l->k.n_terms, p[0].n_terms, sizeof l->k.n_terms);
    if (p[0].kind == RFHE_PAF_EVEN) { l->k.n_terms[0]--; }
    l->table[0] = rfhe_calloc((2 * l->k.n_coef + 2) * l->stride, sizeof(float));
    l->table[1] = rfhe_calloc((2 * l->k.n_coef + 2) * l->stride, sizeof(double));
    l->sums = rfhe_alloc(PIECES * (l->k.n_coef + 1) * n_sets, sizeof *l->sums);
    if (l->table[0] == NULL || l->table[1] == NULL || l->sums == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for an activation of %zu channels", n_sets);
        goto done;
    }
    fill(l, p, scale);
    *out = l;
    l = NULL;
done:
    rfhe_paf_layer_free(l);
    return st;
}

void rfhe_paf_layer_free(rfhe_paf_layer *l)
{
    if (l == NULL) { return; }
    rfhe_free(l->table[0]);
    rfhe_free(l->table[1]);
    rfhe_free(l->sums);
    rfhe_free(l);
}

rfhe_status rfhe_paf_layer_set(rfhe_paf_layer *l, const rfhe_paf *p, const double *scale,
                               rfhe_error *err)
{
    if (!same_shape(p, &l->shape)) {
        return rfhe_fail(err, RFHE_E_ARG,
                         "the new polynomial has another shape than the activation it is for");
    }
    const rfhe_status st = check(p, scale, l->n_sets, err);
    if (st == RFHE_OK) { fill(l, p, scale); }
    return st;
}

/* The parameters of the sets from `column` on. */
static rfhe_paf_kparam columns(const rfhe_paf_layer *l, size_t column)
{
    const size_t bytes = column * (l->kernel_type == RFHE_PAF_F32 ? sizeof(float) : sizeof(double));
    rfhe_paf_kparam k = l->k;

    k.coef = (const char *)k.coef + bytes;
    k.slope = (const char *)k.slope + bytes;
    k.scale = (const char *)k.scale + bytes;
    k.inverse = (const char *)k.inverse + bytes;
    return k;
}

/* Coefficients per channel, each channel's values in runs. */
static bool by_channel(const rfhe_paf_layer *l)
{
    return l->n_sets > 1 && l->layout.block == 0 && l->layout.inner > 1;
}

/* One piece of work: `count` rows of n values, `stride` apart, from value `at` on, with the sets from `column` on. */
typedef struct work {
    bool lane;
    size_t at, n, count, stride, column;
} work;

/* Pieces whose sums are kept apart: fixed by the tensor, never by the team. Runs per channel want enough values per
 * piece to make up for joining the lanes at its end. */
static size_t pieces(const rfhe_paf_layer *l, size_t outer)
{
    if (!by_channel(l)) { return PIECES; }
    const size_t n = outer * l->layout.inner / (2 * RUN);
    return n < 1 ? 1 : n > PIECES ? PIECES : n;
}

/* Item i of a piece; items of one piece and one channel must run in order. */
static work cut(const rfhe_paf_layer *l, size_t outer, size_t piece, size_t item)
{
    const size_t c = l->layout.channels, inner = l->layout.inner, b = l->layout.block;
    const size_t p = pieces(l, outer);
    work w = {0};

    if (l->n_sets == 1) { /* one long run, cut at multiples of RUN */
        const size_t total = outer * c * inner, runs = (total + RUN - 1) / RUN;
        const size_t lo = rfhe_split(runs, p, piece) * RUN,
                     hi = rfhe_split(runs, p, piece + 1) * RUN;
        if (lo < total) { w = (work){.at = lo, .n = (hi < total ? hi : total) - lo, .count = 1}; }
    } else if (b > 0) { /* item = image in the piece times block of channels */
        const size_t cb = item % (c / b), image = rfhe_split(outer, p, piece) + item / (c / b);
        w = (work){.lane = true,
                   .at = (image * (c / b) + cb) * inner * b,
                   .n = b,
                   .count = inner,
                   .stride = b,
                   .column = cb * b};
    } else if (inner == 1) {
        const size_t tiles = (outer + TILE - 1) / TILE;
        const size_t lo = rfhe_split(tiles, p, piece) * TILE,
                     hi = rfhe_split(tiles, p, piece + 1) * TILE;
        if (lo < outer) {
            w = (work){.lane = true,
                       .at = lo * c,
                       .n = c,
                       .count = (hi < outer ? hi : outer) - lo,
                       .stride = c};
        }
    } else { /* item = channel */
        const size_t lo = rfhe_split(outer, p, piece), hi = rfhe_split(outer, p, piece + 1);
        w = (work){.at = (lo * c + item) * inner,
                   .n = inner,
                   .count = hi - lo,
                   .stride = c * inner,
                   .column = item};
    }
    return w;
}

static size_t items(const rfhe_paf_layer *l, size_t outer, size_t piece)
{
    if (by_channel(l)) { return l->layout.channels; }
    if (l->n_sets == 1 || l->layout.block == 0) { return 1; }
    return (rfhe_split(outer, PIECES, piece + 1) - rfhe_split(outer, PIECES, piece)) *
           (l->layout.channels / l->layout.block);
}

/* Runs all work; dx == NULL: forward, from x to y. Pieces are independent, and so are the channels of a piece when each
 * item is a channel of its own. */
static void run_all(rfhe_paf_layer *l, void *y, const void *x, const void *dy, void *dx,
                    size_t outer)
{
    const size_t size = l->type == RFHE_PAF_DOUBLE ? sizeof(double) : sizeof(float);
    const size_t per_piece = (l->k.n_coef + 1) * l->n_sets, p = pieces(l, outer);
    const size_t groups = by_channel(l) ? l->layout.channels : 1;

    /* Small tensors are done before a team would have gathered; the pieces are the same. */
#pragma omp parallel for schedule(static) if (outer * l->layout.channels * l->layout.inner >= SHARE)
    for (size_t task = 0; task < p * groups; task++) {
        const size_t piece = task / groups, group = task % groups;
        const size_t first = groups > 1 ? group : 0,
                     end = groups > 1 ? group + 1 : items(l, outer, piece);
        for (size_t i = first; i < end; i++) {
            const work w = cut(l, outer, piece, i);
            const rfhe_paf_kparam k = columns(l, w.column);
            if (w.count == 0) { continue; }
            if (dx == NULL) {
                rfhe_paf_forward_fn *f =
                    w.lane ? l->kernels->lane[l->kernel_type] : l->kernels->row[l->kernel_type];
                f((char *)y + w.at * size, (const char *)x + w.at * size, w.n, w.count, w.stride,
                  &k);
            } else {
                rfhe_paf_backward_fn *f = w.lane ? l->kernels->lane_grad[l->kernel_type]
                                                 : l->kernels->row_grad[l->kernel_type];
                f((char *)dx + w.at * size, l->sums + piece * per_piece + w.column, l->n_sets,
                  (const char *)x + w.at * size, (const char *)dy + w.at * size, w.n, w.count,
                  w.stride, &k);
            }
        }
    }
}

void rfhe_paf_layer_forward(rfhe_paf_layer *l, void *y, const void *x, size_t outer)
{
    run_all(l, y, x, NULL, NULL, outer);
}

void rfhe_paf_layer_backward(rfhe_paf_layer *l, void *dx, double *dcoef, double *dscale,
                             const void *x, const void *dy, size_t outer)
{
    const size_t n = l->k.n_coef, per_piece = (n + 1) * l->n_sets, p = pieces(l, outer);

    memset(l->sums, 0, p * per_piece * sizeof *l->sums);
    run_all(l, NULL, x, dy, dx, outer);
    for (size_t piece = 1; piece < p; piece++) {
        for (size_t i = 0; i < per_piece; i++) { l->sums[i] += l->sums[piece * per_piece + i]; }
    }
    for (size_t set = 0; set < l->n_sets; set++) {
        for (size_t j = 0; j < n && dcoef != NULL; j++) {
            dcoef[set * n + j] = l->sums[j * l->n_sets + set];
        }
        if (dscale != NULL) { dscale[set] = l->sums[n * l->n_sets + set]; }
    }
}

/* ---- parts ---- */

void rfhe_paf_layer_update(rfhe_paf_layer *l, const float *coef, const float *scale)
{
    const uint32_t n = l->k.n_coef;
    const bool narrow = l->kernel_type == RFHE_PAF_F32;
    float *f = l->table[0];
    double *d = l->table[1];

    for (uint32_t s = 0, row = 0; s < l->shape.n_stages; s++) {
        for (uint32_t j = 0; j < l->shape.n_terms[s]; j++, row++) {
            for (size_t i = 0; i < l->n_sets; i++) {
                const double c = (double)coef[i * n + row], slope = (2.0 * j + 1) * c;
                const size_t at = row * l->stride + i, at_slope = (n + row) * l->stride + i;
                if (narrow) {
                    f[at] = (float)c;
                    f[at_slope] = (float)slope;
                } else {
                    d[at] = c;
                    d[at_slope] = slope;
                }
            }
        }
    }
    for (size_t i = 0; i < l->n_sets; i++) {
        const size_t at = 2 * n * l->stride + i, at_inverse = at + l->stride;
        f[at] = scale[i];
        f[at_inverse] = (float)(1 / (double)scale[i]);
        d[at] = (double)scale[i];
        d[at_inverse] = 1 / (double)scale[i];
    }
}

/* How the kernels see a part: rows with a set per value, or runs with one set. */
static work part(const rfhe_paf_layer *l, size_t outer, size_t first, size_t channels, size_t inner)
{
    if (l->n_sets == 1) { return (work){.n = outer * channels * inner, .count = 1}; }
    if (inner == 1) {
        return (work){.lane = true, .n = channels, .count = outer, .stride = channels, .column = first};
    }
    return (work){.n = inner, .count = outer, .stride = inner, .column = first};
}

void rfhe_paf_layer_forward_part(const rfhe_paf_layer *l, float *y, const float *x, size_t outer,
                                 size_t first, size_t channels, size_t inner)
{
    const work w = part(l, outer, first, channels, inner);
    const rfhe_paf_kparam k = columns(l, w.column);
    rfhe_paf_forward_fn *f =
        w.lane ? l->kernels->lane[l->kernel_type] : l->kernels->row[l->kernel_type];

    f(y, x, w.n, w.count, w.stride, &k);
}

void rfhe_paf_layer_backward_part(const rfhe_paf_layer *l, float *dx, double *sums, const float *x,
                                  const float *dy, size_t outer, size_t first, size_t channels,
                                  size_t inner)
{
    const work w = part(l, outer, first, channels, inner);
    const rfhe_paf_kparam k = columns(l, w.column);
    rfhe_paf_backward_fn *f =
        w.lane ? l->kernels->lane_grad[l->kernel_type] : l->kernels->row_grad[l->kernel_type];

    f(dx, sums + w.column, l->n_sets, x, dy, w.n, w.count, w.stride, &k);
}
