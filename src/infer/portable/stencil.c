/* stencil.h in plain C. */
#include "infer/stencil.h"

void rfhe_stencil_run_portable(float *out, size_t out_stride, const float *in, const uint32_t *offset, const float *w,
                               size_t taps, size_t n)
{
    enum { RUN = 16 };

    for (size_t p = 0; p < n; p += RUN) {
        float a[RFHE_STENCIL_CHANNELS][RUN] = {{0}};
        for (size_t t = 0; t < taps; t++) {
            const float *const x = in + offset[t] + p;
            for (size_t k = 0; k < RFHE_STENCIL_CHANNELS; k++) {
                const float f = w[RFHE_STENCIL_CHANNELS * t + k];
                for (size_t i = 0; i < RUN; i++) { a[k][i] += f * x[i]; }
            }
        }
        for (size_t k = 0; k < RFHE_STENCIL_CHANNELS; k++) {
            for (size_t i = 0; i < RUN; i++) { out[k * out_stride + p + i] = a[k][i]; }
        }
    }
}
