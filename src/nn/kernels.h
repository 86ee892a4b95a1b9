/* The engine's own vector kernels: what oneDNN does not do, or does with more passes over memory than needed.
 *
 * Activations are channels-last, so a tensor is a row of C floats (or bf16 numbers) per pixel. A channel count such as
 * 3 or 16 would make the inner loop shorter than its own overhead; therefore per-channel vectors are repeated until
 * they are `period` long (a multiple of C, see rfhe_period) and every kernel walks the flat array in steps of the
 * period. The body is one file of plain C (kernels_body.h) compiled once per instruction set and element type.
 *
 * Rules for all: n is a multiple of C; any alignment; y == x, dx == dy are allowed, other overlap is not; arithmetic
 * is float, each product and sum rounded on its own; bf16 is rounded to nearest even. Sums run over the periods in
 * order, one accumulator per element of the period. */
#ifndef RFHE_NN_KERNELS_H
#define RFHE_NN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t rfhe_bf16;

/* Smallest multiple of `channels` that is at least 256. */
static inline size_t rfhe_period(size_t channels)
{
    return channels * ((255 + channels) / channels);
}

/* Where the gradient of a batch normalisation with optional residual and ReLU behind it comes from. */
typedef enum rfhe_mask {
    RFHE_MASK_NONE,  /* no ReLU                                    */
    RFHE_MASK_INPUT, /* ReLU without residual: a * x + b > 0       */
    RFHE_MASK_OUTPUT /* ReLU behind a residual: the output y > 0   */
} rfhe_mask;

/* One set per element type. Pointers of type void * are to that type. */
typedef struct rfhe_kernels {
    /* s[j] += x - k[j], q[j] += (x - k[j])^2 */
    void (*bn_stats)(float *s, float *q, const void *x, size_t n, size_t period, const float *k);
    /* y = a * x + b (+ r) (then max 0); r may be NULL */
    void (*bn_apply)(void *y, const void *x, const void *r, size_t n, size_t period, const float *a,
                     const float *b, bool relu);
    /* g = (dy + dy2) masked; s += g, q += g * (x - mean); g is written to `keep` unless that is NULL. keep may be dy.
     * dy2 may be NULL. */
    void (*bn_grad_sums)(float *s, float *q, void *keep, const void *dy, const void *dy2,
                         const void *x, const void *y, size_t n, size_t period, const float *mean,
                         const float *a, const float *b, rfhe_mask mask);
    /* dx = p * g + q * x + r with g = (dy + dy2) masked, the sum over per-channel vectors */
    void (*bn_grad_apply)(void *dx, const void *dy, const void *dy2, const void *x, const void *y,
                          size_t n, size_t period, const float *p, const float *q, const float *r,
                          const float *a, const float *b, rfhe_mask mask);
    void (*relu)(void *y, const void *x, size_t n, float low, float high); /* clamps            */
    /* dx = dy where low < x < high (the rule of PyTorch's clamp is closed: >=, <=; ReLU's is open), else 0; added to dx
     * when `add`. `x` may be the output for ReLU. */
    void (*relu_grad)(void *dx, const void *dy, const void *dy2, const void *x, size_t n, float low,
                      float high, bool closed, bool add);
    void (*add)(void *y, const void *a, const void *b, size_t n);
    void (*mul)(void *y, const void *a, const void *b, size_t n);
    void (*load)(float *y, const void *x, size_t n);  /* to float   */
    void (*store)(void *y, const float *x, size_t n); /* from float */
} rfhe_kernels;

/* The best set this CPU may use; `bf16` chooses the element type. */
const rfhe_kernels *rfhe_nn_kernels_get(bool bf16);

extern const rfhe_kernels rfhe_kernels_f32_portable, rfhe_kernels_bf16_portable;
extern const rfhe_kernels rfhe_kernels_f32_avx2, rfhe_kernels_bf16_avx2;
extern const rfhe_kernels rfhe_kernels_f32_avx512ifma, rfhe_kernels_bf16_avx512ifma;

#endif
