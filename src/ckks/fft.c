/* Tables of the special Fourier transform and the choice of its loops. See fft.h. */
#include "ckks/fft.h"

#include <math.h>

#include "base/cpu.h"
#include "base/mem.h"

/* exp(2 pi i k / m) for 0 <= k < m, m a multiple of 8, within half a unit in the last place or so: the angle is first
 * brought into the first octant, where long double cosine and sine are accurate. */
static void root_of_unity(double *re, double *im, uint64_t k, uint64_t m)
{
    const uint64_t octant = k * 8 / m, rest = k - octant * (m / 8);
    const uint64_t near = (octant & 1) != 0 ? m / 8 - rest : rest;
    const long double angle = 2.0L * 3.14159265358979323846264338327950288L * (long double)near / (long double)m;
    const double c = (double)cosl(angle), s = (double)sinl(angle);
    const double x = (octant + 1) / 2 % 2 == 0 ? c : s, y = (octant + 1) / 2 % 2 == 0 ? s : c;

    *re = octant >= 2 && octant < 6 ? -x : x;
    *im = octant >= 4 ? -y : y;
}

int rfhe_fft_init(rfhe_fft *f, size_t n_max)
{
    *f = (rfhe_fft){.n_max = n_max};
    while (((size_t)1 << f->log2_n_max) < n_max) { f->log2_n_max++; }
    f->w_re = rfhe_alloc(n_max, sizeof(double));
    f->w_im = rfhe_alloc(n_max, sizeof(double));
    f->reversed = rfhe_alloc(n_max, sizeof(uint32_t));
    if (f->w_re == NULL || f->w_im == NULL || f->reversed == NULL) { return 0; }
    f->w_re[0] = f->w_im[0] = 0.0; /* index 0 is unused */
    for (size_t h = 1; h < n_max; h *= 2) {
        uint64_t power = 1;
        for (size_t j = 0; j < h; j++) {
            root_of_unity(&f->w_re[h + j], &f->w_im[h + j], power, 8 * h);
            power = power * 5 % (8 * h);
        }
    }
    f->reversed[0] = 0;
    for (size_t i = 1; i < n_max; i++) {
        f->reversed[i] = f->reversed[i / 2] / 2 + (uint32_t)((i & 1) != 0 ? n_max / 2 : 0);
    }
    switch (rfhe_cpu_isa()) {
#define CASE(isa, id)                            \
    case id:                                     \
        f->forward = rfhe_fft_forward_##isa;     \
        f->inverse = rfhe_fft_inverse_##isa;     \
        break;
        RFHE_FFT_LIST(CASE)
#undef CASE
    case RFHE_ISA_COUNT:
        break;
    }
    return 1;
}

void rfhe_fft_clear(rfhe_fft *f)
{
    rfhe_free(f->w_re);
    rfhe_free(f->w_im);
    rfhe_free(f->reversed);
    *f = (rfhe_fft){0};
}
