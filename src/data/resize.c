/* Antialiased bilinear resizing with the arithmetic of Pillow's 8-bit path, so that a network sees the very bytes it
 * was trained on.
 *
 * Output sample i looks at the input around c = (i + 1/2) s, s = in / out, through a triangle of half width
 * h = max(s, 1): weights w(j) = max(0, 1 - |j + 1/2 - c| / h) for the integers j of [c - h + 1/2, c + h + 1/2) that lie
 * inside, divided by their sum in double, then rounded to 22 fractional bits. A sample is the sum of byte times weight
 * plus one half, shifted down and clamped. Rows first, result rounded to bytes, then columns; a direction whose length
 * does not change is left out. Three pixels shrunk to one, for example, have weights 2/7, 3/7, 2/7.
 *
 * The sums fit 32 bits: weights are at least 0 and add up to 2^22 within one half per tap, bytes are below 2^8. */
#include "data/image.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { FRACTION_BITS = 22 };

/* For each output sample its first input, the number of taps, and the weights at weight[i * taps]. */
typedef struct filter {
    uint32_t *first, *count;
    int32_t *weight;
    uint32_t taps;
} filter;

static void filter_clear(filter *f)
{
    rfhe_free(f->first);
    rfhe_free(f->count);
    rfhe_free(f->weight);
    *f = (filter){0};
}

static rfhe_status filter_make(filter *f, uint32_t in, uint32_t out)
{
    const double scale = (double)in / out, half = scale < 1.0 ? 1.0 : scale;
    double *w = NULL;

    f->taps = (uint32_t)ceil(half) * 2 + 1;
    f->first = rfhe_alloc(out, sizeof *f->first);
    f->count = rfhe_alloc(out, sizeof *f->count);
    f->weight = rfhe_calloc((size_t)out * f->taps, sizeof *f->weight);
    w = rfhe_alloc(f->taps, sizeof *w);
    if (f->first == NULL || f->count == NULL || f->weight == NULL || w == NULL) {
        rfhe_free(w);
        filter_clear(f);
        return RFHE_E_NOMEM;
    }
    for (uint32_t i = 0; i < out; i++) {
        const double center = (i + 0.5) * scale, inverse = 1.0 / half;
        const double low = center - half + 0.5, high = center + half + 0.5;
        const uint32_t from = low < 0 ? 0 : (uint32_t)low;
        const uint32_t to = high > in ? in : (uint32_t)high;
        double sum = 0;
        f->first[i] = from;
        f->count[i] = to - from;
        for (uint32_t j = from; j < to; j++) {
            const double t = fabs((j - center + 0.5) * inverse);
            w[j - from] = t < 1.0 ? 1.0 - t : 0.0;
            sum += w[j - from];
        }
        for (uint32_t j = 0; j < to - from; j++) {
            const double share = sum != 0 ? w[j] / sum : w[j];
            f->weight[(size_t)i * f->taps + j] = (int32_t)(0.5 + share * (1 << FRACTION_BITS));
        }
    }
    rfhe_free(w);
    return RFHE_OK;
}

static uint8_t to_byte(int32_t sum)
{
    const int32_t v = sum >> FRACTION_BITS;

    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One row of `out` pixels from one row of input; `c` channels. */
static void row_filter(uint8_t *to, const uint8_t *from, uint32_t out, uint32_t c, const filter *f)
{
    const int32_t half = 1 << (FRACTION_BITS - 1);

    for (uint32_t i = 0; i < out; i++) {
        const int32_t *w = f->weight + (size_t)i * f->taps;
        const uint8_t *p = from + (size_t)f->first[i] * c;
        if (c == 3) {
            int32_t r = half, g = half, b = half;
            for (uint32_t j = 0; j < f->count[i]; j++) {
                r += p[3 * j] * w[j];
                g += p[3 * j + 1] * w[j];
                b += p[3 * j + 2] * w[j];
            }
            to[3 * i] = to_byte(r);
            to[3 * i + 1] = to_byte(g);
            to[3 * i + 2] = to_byte(b);
        } else {
            int32_t sum = half;
            for (uint32_t j = 0; j < f->count[i]; j++) { sum += p[j] * w[j]; }
            to[i] = to_byte(sum);
        }
    }
}

/* Output row from `count` input rows of `n` bytes, `stride` apart; sum[] is scratch of n. */
static void column_filter(uint8_t *restrict to, int32_t *restrict sum, const uint8_t *from,
                          size_t stride, size_t n, const int32_t *w, uint32_t count)
{
    for (size_t x = 0; x < n; x++) { sum[x] = 1 << (FRACTION_BITS - 1); }
    for (uint32_t j = 0; j < count; j++) {
        const uint8_t *restrict row = from + j * stride;
        const int32_t wj = w[j];
        for (size_t x = 0; x < n; x++) { sum[x] += row[x] * wj; }
    }
    for (size_t x = 0; x < n; x++) { to[x] = to_byte(sum[x]); }
}

rfhe_status rfhe_image_resize(rfhe_image *out, uint32_t width, uint32_t height,
                              const rfhe_image *in, uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
    rfhe_status st = RFHE_OK;
    const uint32_t c = in->channels;
    filter across = {0}, down = {0};
    uint8_t *middle = NULL;
    int32_t *sum = NULL;

    if (out == in || w == 0 || h == 0 || x > in->width || y > in->height || w > in->width - x ||
        h > in->height - y || rfhe_image_check_size(width, height, "", NULL) != RFHE_OK) {
        return RFHE_E_ARG;
    }
    const size_t in_stride = (size_t)in->width * c, out_stride = (size_t)width * c;
    const uint8_t *from = in->pixels + y * in_stride + (size_t)x * c;
    size_t from_stride = in_stride;

    RFHE_TRY(rfhe_image_reserve(out, width, height, c));
    out->damaged = in->damaged;
    if (width != w) {
        RFHE_TRY(filter_make(&across, w, width));
        if (height != h) {
            middle = rfhe_alloc(h, out_stride);
            if (middle == NULL) {
                st = RFHE_E_NOMEM;
                goto done;
            }
        }
        uint8_t *to = middle != NULL ? middle : out->pixels;
        for (uint32_t k = 0; k < h; k++) {
            row_filter(to + k * out_stride, from + k * from_stride, width, c, &across);
        }
        from = to;
        from_stride = out_stride;
    }
    if (height != h) {
        sum = rfhe_alloc(out_stride, sizeof *sum);
        if (sum == NULL) {
            st = RFHE_E_NOMEM;
            goto done;
        }
        RFHE_TRY(filter_make(&down, h, height));
        for (uint32_t k = 0; k < height; k++) {
            column_filter(out->pixels + k * out_stride, sum, from + down.first[k] * from_stride,
                          from_stride, out_stride, down.weight + (size_t)k * down.taps,
                          down.count[k]);
        }
    } else if (width == w) {
        for (uint32_t k = 0; k < h; k++) {
            memcpy(out->pixels + k * out_stride, from + k * from_stride, out_stride);
        }
    }

done:
    if (st != RFHE_OK) { out->width = out->height = out->channels = 0; }
    rfhe_free(middle);
    rfhe_free(sum);
    filter_clear(&across);
    filter_clear(&down);
    return st;
}
