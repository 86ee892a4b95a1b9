/* See dft.h. A matrix under construction is a table of diagonals indexed by offset / stride, because all offsets of a
 * group of layers are multiples of its smallest stride. */
#include "ckks/dft.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

uint32_t rfhe_dft_reverse(uint32_t j, unsigned log2_slots)
{
    uint32_t r = 0;

    for (unsigned b = 0; b < log2_slots; b++) { r |= ((j >> b) & 1U) << (log2_slots - 1 - b); }
    return r;
}

void rfhe_dft_factor_clear(rfhe_dft_factor *f)
{
    rfhe_free(f->offset);
    rfhe_free(f->re);
    rfhe_free(f->im);
    *f = (rfhe_dft_factor){0};
}

static rfhe_status factor_init(rfhe_dft_factor *f, size_t slots, size_t count)
{
    *f = (rfhe_dft_factor){.slots = slots, .count = count};
    f->offset = rfhe_calloc(count, sizeof *f->offset);
    f->re = rfhe_calloc(count * slots, sizeof *f->re);
    f->im = rfhe_calloc(count * slots, sizeof *f->im);
    if (f->offset == NULL || f->re == NULL || f->im == NULL) {
        rfhe_dft_factor_clear(f);
        return RFHE_E_NOMEM;
    }
    return RFHE_OK;
}

void rfhe_dft_factor_apply(double *y_re, double *y_im, const double *x_re, const double *x_im,
                           const rfhe_dft_factor *f)
{
    const size_t n = f->slots;

    memset(y_re, 0, n * sizeof *y_re);
    memset(y_im, 0, n * sizeof *y_im);
    for (size_t d = 0; d < f->count; d++) {
        const double *re = f->re + d * n, *im = f->im + d * n;
        for (size_t j = 0; j < n; j++) {
            const size_t k = (j + f->offset[d]) & (n - 1);
            y_re[j] += re[j] * x_re[k] - im[j] * x_im[k];
            y_im[j] += re[j] * x_im[k] + im[j] * x_re[k];
        }
    }
}

/* The layer of butterflies of length `len`, or its inverse: diagonals at 0, +half and -half. Row i in the first half
 * of its block is paired with row i + half; omega_t = zeta_(4 len)^(5^t) belongs to position t of the block. */
static rfhe_status layer_new(rfhe_dft_factor *f, size_t n, size_t len, bool inverse)
{
    const size_t half = len / 2;
    const bool merged = len == n; /* +half and -half are the same diagonal */
    const rfhe_status st = factor_init(f, n, merged ? 2 : 3);

    if (st != RFHE_OK) { return st; }
    f->offset[1] = (uint32_t)half;
    if (!merged) { f->offset[2] = (uint32_t)(n - half); }
    double *up_re = f->re + n, *up_im = f->im + n; /* reads i + half */
    double *down_re = f->re + (merged ? 1 : 2) * n, *down_im = f->im + (merged ? 1 : 2) * n;
    uint64_t power = 1; /* 5^t mod 4 len */
    for (size_t t = 0; t < half; t++) {
        const double angle = 2 * 3.14159265358979323846 * (double)power / (double)(4 * len);
        const double c = cos(angle), s = sin(angle);
        power = power * 5 % (4 * len);
        for (size_t i = t; i < n; i += len) {
            if (!inverse) { /* first = a + w b, second = a - w b */
                f->re[i] = 1;
                up_re[i] = c;
                up_im[i] = s;
                down_re[i + half] = 1;
                f->re[i + half] = -c;
                f->im[i + half] = -s;
            } else { /* first = (a + b) / 2, second = (a - b) / 2w */
                f->re[i] = 0.5;
                up_re[i] = 0.5;
                down_re[i + half] = 0.5 * c;
                down_im[i + half] = -0.5 * s;
                f->re[i + half] = -0.5 * c;
                f->im[i + half] = 0.5 * s;
            }
        }
    }
    return RFHE_OK;
}

/* out = a * b (b is applied first). Offsets of the product are collected modulo n; `stride` divides all of them. */
static rfhe_status multiply(rfhe_dft_factor *out, const rfhe_dft_factor *a, const rfhe_dft_factor *b,
                            size_t stride)
{
    const size_t n = a->slots, places = n / stride;
    rfhe_status st = RFHE_OK;
    size_t count = 0;
    uint32_t *index = rfhe_alloc(places, sizeof *index); /* place -> diagonal, or UINT32_MAX */

    if (index == NULL) { return RFHE_E_NOMEM; }
    memset(index, 0xff, places * sizeof *index);
    for (size_t x = 0; x < a->count; x++) {
        for (size_t y = 0; y < b->count; y++) {
            index[((a->offset[x] + b->offset[y]) & (n - 1)) / stride] = 0;
        }
    }
    for (size_t p = 0; p < places; p++) {
        if (index[p] == 0) { index[p] = (uint32_t)count++; }
    }
    RFHE_TRY(factor_init(out, n, count));
    for (size_t p = 0; p < places; p++) {
        if (index[p] != UINT32_MAX) { out->offset[index[p]] = (uint32_t)(p * stride); }
    }
    for (size_t x = 0; x < a->count; x++) {
        for (size_t y = 0; y < b->count; y++) {
            const size_t off = a->offset[x];
            const size_t d = index[((off + b->offset[y]) & (n - 1)) / stride];
            const double *ar = a->re + x * n, *ai = a->im + x * n;
            const double *br = b->re + y * n, *bi = b->im + y * n;
            double *re = out->re + d * n, *im = out->im + d * n;
            for (size_t j = 0; j < n; j++) {
                const size_t k = (j + off) & (n - 1);
                re[j] += ar[j] * br[k] - ai[j] * bi[k];
                im[j] += ar[j] * bi[k] + ai[j] * br[k];
            }
        }
    }

done:
    rfhe_free(index);
    return st;
}

/* Layers first .. first + count - 1 of the chain as one matrix. Layer l has length 2^(l+1) on the way to coefficients
 * and n / 2^l on the way back. */
static rfhe_status merge(rfhe_dft_factor *out, unsigned first, unsigned count, unsigned log2_slots,
                         bool inverse)
{
    const size_t n = (size_t)1 << log2_slots;
    rfhe_status st = RFHE_OK;
    rfhe_dft_factor sum = {0}, layer = {0}, product = {0};
    size_t stride = n;

    for (unsigned l = first; l < first + count; l++) {
        const size_t len = inverse ? n >> l : (size_t)2 << l;
        stride = len / 2 < stride ? len / 2 : stride;
        if (l == first) {
            RFHE_TRY(layer_new(&sum, n, len, inverse));
            continue;
        }
        RFHE_TRY(layer_new(&layer, n, len, inverse));
        RFHE_TRY(multiply(&product, &layer, &sum, stride));
        rfhe_dft_factor_clear(&layer);
        rfhe_dft_factor_clear(&sum);
        sum = product;
        product = (rfhe_dft_factor){0};
    }
    *out = sum;
    sum = (rfhe_dft_factor){0};

done:
    rfhe_dft_factor_clear(&sum);
    rfhe_dft_factor_clear(&layer);
    rfhe_dft_factor_clear(&product);
    return st;
}

rfhe_status rfhe_dft_factor_new(rfhe_dft_factor *out, const uint8_t *layers, size_t n_factors, size_t which,
                                unsigned log2_slots, bool inverse, double gain)
{
    unsigned total = 0, first = 0;

    for (size_t f = 0; f < n_factors; f++) {
        if (layers[f] == 0) { return RFHE_E_ARG; }
        if (f < which) { first += layers[f]; }
        total += layers[f];
    }
    if (which >= n_factors || total != log2_slots || log2_slots > 16) { return RFHE_E_ARG; }
    const rfhe_status st = merge(out, first, layers[which], log2_slots, inverse);
    if (st != RFHE_OK) { return st; }
    for (size_t i = 0; i < out->count * out->slots; i++) {
        out->re[i] *= gain;
        out->im[i] *= gain;
    }
    return RFHE_OK;
}

rfhe_status rfhe_dft_factors_new(rfhe_dft_factor *out, const uint8_t *layers, size_t n_factors,
                                 unsigned log2_slots, bool inverse, double gain)
{
    rfhe_status st = n_factors == 0 ? RFHE_E_ARG : RFHE_OK;
    size_t made = 0;

    for (; st == RFHE_OK && made < n_factors; made++) {
        st = rfhe_dft_factor_new(&out[made], layers, n_factors, made, log2_slots, inverse, gain);
        if (st != RFHE_OK) { break; }
    }
    for (size_t f = 0; st != RFHE_OK && f < made; f++) { rfhe_dft_factor_clear(&out[f]); }
    return st;
}
