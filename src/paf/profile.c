/* Histograms of activations: see rfhe/paf.h. The range is a power of two and the bins' edges are its multiples, so
 * doubling the range merges bins in pairs without error and the counts do not depend on the order of the values. */
#include "rfhe/paf.h"

#include "base/threads.h"

#include <math.h>
#include <string.h>

enum { BINS = RFHE_HISTOGRAM_BINS, HALF = BINS / 2, PIECES = 16 };

/* Doubles the range until it exceeds `reach`. */
static void grow(rfhe_histogram *h, double reach)
{
    if (h->range == 0) { h->range = 0x1p-40; }
    while (!(reach < h->range)) {
        uint64_t merged[BINS] = {0};
        for (int i = 0; i < BINS; i += 2) {
            merged[HALF / 2 + i / 2] = h->count[i] + h->count[i + 1];
        }
        memcpy(h->count, merged, sizeof merged);
        h->range *= 2;
    }
}

typedef struct sums {
    double s[4], min, max;
    uint64_t n, bad;
} sums;

/* One piece: counts into `count` for the given range, the rest into *s. */
static void add_piece(uint64_t *count, sums *s, double range, const float *x, size_t n,
                      size_t stride)
{
    const double per_unit = HALF / range;

    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i * stride], v2 = v * v;
        if (!isfinite(v)) {
            s->bad++;
            continue;
        }
        s->n++;
        s->s[0] += v;
        s->s[1] += v2;
        s->s[2] += v2 * v;
        s->s[3] += v2 * v2;
        count[(int)floor(v * per_unit) + HALF]++;
    }
}

/* Smallest and largest finite value. */
static void extremes(sums *s, const float *x, size_t n, size_t stride)
{
    s->min = INFINITY;
    s->max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        const float v = x[i * stride];
        if (isfinite(v)) {
            s->min = fmin(s->min, (double)v);
            s->max = fmax(s->max, (double)v);
        }
    }
}

void rfhe_histogram_add(rfhe_histogram *h, const float *x, size_t n, size_t stride)
{
    sums part[PIECES] = {{.n = 0}};
    double low = INFINITY, high = -INFINITY;
    const int share = n >= 65536; /* small inputs stay on one thread; the pieces are the same */

#pragma omp parallel for schedule(static) if (share)
    for (size_t p = 0; p < PIECES; p++) {
        const size_t a = rfhe_split(n, PIECES, p), b = rfhe_split(n, PIECES, p + 1);
        extremes(&part[p], x + a * stride, b - a, stride);
    }
    for (size_t p = 0; p < PIECES; p++) {
        low = fmin(low, part[p].min);
        high = fmax(high, part[p].max);
    }
    if (low <= high) { grow(h, fmax(fabs(low), fabs(high))); }
    const double range = h->range > 0 ? h->range : 1;
#pragma omp parallel for schedule(static) if (share)
    for (size_t p = 0; p < PIECES; p++) {
        const size_t a = rfhe_split(n, PIECES, p), b = rfhe_split(n, PIECES, p + 1);
        if (share) {
            uint64_t count[BINS] = {0};
            add_piece(count, &part[p], range, x + a * stride, b - a, stride);
            for (int i = 0; i < BINS; i++) { /* whole numbers: any order will do */
#pragma omp atomic
                h->count[i] += count[i];
            }
        } else {
            add_piece(h->count, &part[p], range, x + a * stride, b - a, stride);
        }
    }
    for (size_t p = 0; p < PIECES; p++) {
        h->sum += part[p].s[0];
        h->sum2 += part[p].s[1];
        h->sum3 += part[p].s[2];
        h->sum4 += part[p].s[3];
        h->bad += part[p].bad;
    }
    if (low <= high) {
        h->min = h->n > 0 ? fmin(h->min, low) : low;
        h->max = h->n > 0 ? fmax(h->max, high) : high;
    }
    for (size_t p = 0; p < PIECES; p++) { h->n += part[p].n; }
}

void rfhe_histogram_add_channels(rfhe_histogram *h, const float *x, size_t outer, size_t channels,
                                 size_t inner, size_t block)
{
    const size_t b = block > 0    ? block
                     : inner == 1 ? channels
                                  : 1; /* neighbours of one value in memory */

#pragma omp parallel for schedule(static) if (outer * channels * inner >= 65536)
    for (size_t c = 0; c < channels; c++) {
        if (b == channels && inner == 1) {
            rfhe_histogram_add(&h[c], x + c, outer, channels);
            continue;
        }
        for (size_t n = 0; n < outer; n++) {
            rfhe_histogram_add(&h[c], x + (n * channels + c / b * b) * inner + c % b, inner, b);
        }
    }
}

void rfhe_histogram_merge(rfhe_histogram *into, const rfhe_histogram *from)
{
    rfhe_histogram other = *from;

    if (other.n > 0) {
        if (into->range < other.range) { grow(into, other.range / 2); }
        if (other.range < into->range) { grow(&other, into->range / 2); }
        for (int i = 0; i < BINS; i++) { into->count[i] += other.count[i]; }
        into->min = into->n > 0 ? fmin(into->min, other.min) : other.min;
        into->max = into->n > 0 ? fmax(into->max, other.max) : other.max;
    }
    into->n += other.n;
    into->bad += other.bad;
    into->sum += other.sum;
    into->sum2 += other.sum2;
    into->sum3 += other.sum3;
    into->sum4 += other.sum4;
}

double rfhe_histogram_mean(const rfhe_histogram *h)
{
    return h->n > 0 ? h->sum / (double)h->n : 0;
}

double rfhe_histogram_sigma(const rfhe_histogram *h)
{
    const double m = rfhe_histogram_mean(h);

    return h->n > 0 ? sqrt(fmax(h->sum2 / (double)h->n - m * m, 0)) : 0;
}

double rfhe_histogram_reach(const rfhe_histogram *h)
{
    return h->n > 0 ? fmax(fabs(h->min), fabs(h->max)) : 0;
}

double rfhe_histogram_abs_quantile(const rfhe_histogram *h, double q)
{
    uint64_t seen = 0;

    for (int i = 0; i < HALF && h->n > 0; i++) {
        seen += h->count[HALF + i] + h->count[HALF - 1 - i];
        if ((double)seen >= q * (double)h->n) {
            return fmin((i + 1) * h->range / HALF, rfhe_histogram_reach(h));
        }
    }
    return rfhe_histogram_reach(h);
}
