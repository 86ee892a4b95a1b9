/* PAF kernels for AVX-512. */
#include "paf/kernels.h"

#include <immintrin.h>
#include <string.h>

static inline __mmask16 mask16(size_t n) { return (__mmask16)((1U << n) - 1U); }
static inline __mmask8 mask8(size_t n) { return (__mmask8)((1U << n) - 1U); }

#define T float
#define V __m512
#define W 16
#define S float
#define NAME(f) f##_f32
#define SET1(a) _mm512_set1_ps(a)
#define ADD(a, b) _mm512_add_ps((a), (b))
#define SUB(a, b) _mm512_sub_ps((a), (b))
#define MUL(a, b) _mm512_mul_ps((a), (b))
#define FMA(a, b, c) _mm512_fmadd_ps((a), (b), (c))
#define LOAD(p) _mm512_loadu_ps(p)
#define LOADN(p, n) _mm512_maskz_loadu_ps(mask16(n), (p))
#define STORE(p, v) _mm512_storeu_ps((p), (v))
#define GET(p) _mm512_loadu_ps(p)
#define GETN(p, n) _mm512_maskz_loadu_ps(mask16(n), (p))
#define PUT(p, v) _mm512_storeu_ps((p), (v))
#define PUTN(p, v, n) _mm512_mask_storeu_ps((p), mask16(n), (v))
#include "paf/kernel_body.h"

#define T double
#define V __m512d
#define W 8
#define S double
#define NAME(f) f##_f64
#define SET1(a) _mm512_set1_pd(a)
#define ADD(a, b) _mm512_add_pd((a), (b))
#define SUB(a, b) _mm512_sub_pd((a), (b))
#define MUL(a, b) _mm512_mul_pd((a), (b))
#define FMA(a, b, c) _mm512_fmadd_pd((a), (b), (c))
#define LOAD(p) _mm512_loadu_pd(p)
#define LOADN(p, n) _mm512_maskz_loadu_pd(mask8(n), (p))
#define STORE(p, v) _mm512_storeu_pd((p), (v))
#define GET(p) _mm512_loadu_pd(p)
#define GETN(p, n) _mm512_maskz_loadu_pd(mask8(n), (p))
#define PUT(p, v) _mm512_storeu_pd((p), (v))
#define PUTN(p, v, n) _mm512_mask_storeu_pd((p), mask8(n), (v))
#include "paf/kernel_body.h"

#define T double
#define V __m512d
#define W 8
#define S float
#define NAME(f) f##_f32w
#define SET1(a) _mm512_set1_pd(a)
#define ADD(a, b) _mm512_add_pd((a), (b))
#define SUB(a, b) _mm512_sub_pd((a), (b))
#define MUL(a, b) _mm512_mul_pd((a), (b))
#define FMA(a, b, c) _mm512_fmadd_pd((a), (b), (c))
#define LOAD(p) _mm512_loadu_pd(p)
#define LOADN(p, n) _mm512_maskz_loadu_pd(mask8(n), (p))
#define STORE(p, v) _mm512_storeu_pd((p), (v))
#define GET(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#define GETN(p, n) _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask8(n), (p)))
#define PUT(p, v) _mm256_storeu_ps((p), _mm512_cvtpd_ps(v))
#define PUTN(p, v, n) _mm256_mask_storeu_ps((p), mask8(n), _mm512_cvtpd_ps(v))
#include "paf/kernel_body.h"

#define V __m512
#define W 16
#define SET1(a) _mm512_set1_ps(a)
#define ADD(a, b) _mm512_add_ps((a), (b))
#define SUB(a, b) _mm512_sub_ps((a), (b))
#define MUL(a, b) _mm512_mul_ps((a), (b))
#define GET(p) _mm512_loadu_ps(p)
#define GETN(p, n) _mm512_maskz_loadu_ps(mask16(n), (p))
#define PUT(p, v) _mm512_storeu_ps((p), (v))
#define PUTN(p, v, n) _mm512_mask_storeu_ps((p), mask16(n), (v))
#define MIN(a, b) _mm512_min_ps((a), (b))
#define MAX(a, b) _mm512_max_ps((a), (b))
#define ABS(a) _mm512_abs_ps(a)
#define IF_LE(a, b, v) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask((a), (b), _CMP_LE_OQ), (v))
#define IF_LT(a, b, v) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask((a), (b), _CMP_LT_OQ), (v))
#define SIGNED(v, a) _mm512_or_ps((v), _mm512_and_ps(_mm512_set1_ps(-0.0F), (a)))
#include "paf/edge_body.h"

const rfhe_paf_kernels rfhe_paf_kernels_avx512ifma = {
    .isa = RFHE_ISA_AVX512IFMA,
    .row = {row_f32, row_f64, row_f32w},
    .lane = {lane_f32, lane_f64, lane_f32w},
    .row_grad = {row_grad_f32, row_grad_f64, row_grad_f32w},
    .lane_grad = {lane_grad_f32, lane_grad_f64, lane_grad_f32w},
    .clamp = edge_clamp,
    .blend = edge_blend,
    .edge = edge_edge,
};
