/* The special Fourier transform behind slot encoding: the map between the n complex slots of a plaintext and the
 * coefficients of a real polynomial in Y = X^(N/(2n)), Y^(2n) = -1, evaluated at the roots zeta^(5^j),
 * zeta = exp(2 pi i / (4n)).
 *
 * Idea. Fold the 2n real coefficients c_0 .. c_(2n-1) into n complex numbers c_k + i c_(k+n); since the roots in use
 * satisfy root^n = i, slot j is sum_k (c_k + i c_(k+n)) root_j^k. The powers of five make the usual even/odd recursion
 * work in place: the roots of the half-size problem are the squares, again in the order of powers of five. A stage of
 * half length h uses the h factors exp(2 pi i (5^j mod 8h) / (8h)), j < h, which do not depend on n: one table of N/2
 * numbers serves every packing. Source: [CKKS17]; the order of powers of five is that of its library HEAAN.
 *
 * Real and imaginary parts live in separate arrays so that plain loops vectorise. The same body is compiled once per
 * instruction set; no fused multiply-add is used, so all of them give the same bits. */
#ifndef RFHE_CKKS_FFT_H
#define RFHE_CKKS_FFT_H

#include <stddef.h>
#include <stdint.h>

/* Forward (coefficients to slots): input in bit-reversed order, output in natural order.
 * Inverse (slots to coefficients): input natural, output bit-reversed, not divided by n.
 *   re, im          n numbers each, in place          n      a power of two, 1 .. 2^16
 *   w_re, w_im      factor j of half length h at index h + j
 * Relative error (root mean square) below 2e-16 * log2(n). */
typedef void rfhe_fft_fn(double *re, double *im, size_t n, const double *w_re, const double *w_im);

#define RFHE_FFT_DECLARE(isa)                      \
    rfhe_fft_fn rfhe_fft_forward_##isa;            \
    rfhe_fft_fn rfhe_fft_inverse_##isa;

#define RFHE_FFT_LIST(X)                                                                           \
    X(portable, RFHE_ISA_PORTABLE)                                                                 \
    X(avx2, RFHE_ISA_AVX2)                                                                         \
    X(avx512ifma, RFHE_ISA_AVX512IFMA)

RFHE_FFT_DECLARE(portable)
RFHE_FFT_DECLARE(avx2)
RFHE_FFT_DECLARE(avx512ifma)

/* Tables for all packings up to n_max slots; a plain value that owns its arrays. */
typedef struct rfhe_fft {
    size_t n_max;
    unsigned log2_n_max;
    double *w_re, *w_im; /* n_max entries each, see above */
    uint32_t *reversed;  /* bit reversal of 0 .. n_max-1 in log2(n_max) bits; shift right for smaller n */
    rfhe_fft_fn *forward, *inverse;
} rfhe_fft;

/* n_max a power of two. Returns false when memory is short; clear is safe either way. */
int rfhe_fft_init(rfhe_fft *f, size_t n_max);
void rfhe_fft_clear(rfhe_fft *f);

#endif
