/* The kernel of the twin's linear pieces: sums of shifted rows. clear.c compiles every stencil to a list of taps per
 * four output channels; where a tap reads is an offset into a padded copy of the source, so that there is nothing left
 * to decide in the loop.
 *
 *   out[k * out_stride + p] = sum over taps t of w[4 t + k] * in[offset[t] + p],   k = 0 .. 3, p = 0 .. n - 1
 *
 * n is a multiple of RFHE_STENCIL_RUN; `in` is readable up to the largest offset plus n. Summed in the order of the taps, in
 * float; with fused multiply-add where the instruction set has it, so that instruction sets differ in the last bits. */
#ifndef RFHE_INFER_STENCIL_H
#define RFHE_INFER_STENCIL_H

#include <stddef.h>
#include <stdint.h>

enum { RFHE_STENCIL_RUN = 32, RFHE_STENCIL_CHANNELS = 4 };

typedef void rfhe_stencil_fn(float *out, size_t out_stride, const float *in, const uint32_t *offset, const float *w,
                             size_t taps, size_t n);

rfhe_stencil_fn rfhe_stencil_run_portable, rfhe_stencil_run_avx2, rfhe_stencil_run_avx512ifma;
/* The best one that this CPU may use. */
rfhe_stencil_fn *rfhe_stencil_pick(void);

#endif
