/* The body of stencil.h for vectors of LANES floats: VEC, LOAD, STORE, SET1, ZERO, FMA(a, b, c) = a * b + c. Four output
 * channels by RUN / (2 * LANES) or so vectors are held in registers. The includer defines NAME too. */
#include "infer/stencil.h"

void NAME(float *out, size_t out_stride, const float *in, const uint32_t *offset, const float *w, size_t taps, size_t n)
{
    for (size_t p = 0; p < n; p += 2 * LANES) {
        VEC a0 = ZERO, a1 = ZERO, b0 = ZERO, b1 = ZERO, c0 = ZERO, c1 = ZERO, d0 = ZERO, d1 = ZERO;
        for (size_t t = 0; t < taps; t++) {
            const float *const x = in + offset[t] + p, *const k = w + 4 * t;
            const VEC x0 = LOAD(x), x1 = LOAD(x + LANES);
            VEC f = SET1(k[0]);
            a0 = FMA(f, x0, a0);
            a1 = FMA(f, x1, a1);
            f = SET1(k[1]);
            b0 = FMA(f, x0, b0);
            b1 = FMA(f, x1, b1);
            f = SET1(k[2]);
            c0 = FMA(f, x0, c0);
            c1 = FMA(f, x1, c1);
            f = SET1(k[3]);
            d0 = FMA(f, x0, d0);
            d1 = FMA(f, x1, d1);
        }
        float *const o = out + p;
        STORE(o, a0);
        STORE(o + LANES, a1);
        STORE(o + out_stride, b0);
        STORE(o + out_stride + LANES, b1);
        STORE(o + 2 * out_stride, c0);
        STORE(o + 2 * out_stride + LANES, c1);
        STORE(o + 3 * out_stride, d0);
        STORE(o + 3 * out_stride + LANES, d1);
    }
}
