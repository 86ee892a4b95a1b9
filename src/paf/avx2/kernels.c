/* PAF kernels for AVX2 and FMA. */
#include "paf/kernels.h"

#include <immintrin.h>
#include <string.h>

/* The first n of 8 (or 4) lanes. */
static inline __m256i mask8(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __m256i mask4(size_t n)
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), _mm256_setr_epi64x(0, 1, 2, 3));
}

static inline __m128i half_mask4(size_t n)
{
    return _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3));
}

#define T float
#define V __m256
#define W 8
#define S float
#define NAME(f) f##_f32
#define SET1(a) _mm256_set1_ps(a)
#define ADD(a, b) _mm256_add_ps((a), (b))
#define SUB(a, b) _mm256_sub_ps((a), (b))
#define MUL(a, b) _mm256_mul_ps((a), (b))
#define FMA(a, b, c) _mm256_fmadd_ps((a), (b), (c))
#define LOAD(p) _mm256_loadu_ps(p)
#define LOADN(p, n) _mm256_maskload_ps((p), mask8(n))
#define STORE(p, v) _mm256_storeu_ps((p), (v))
#define GET(p) _mm256_loadu_ps(p)
#define GETN(p, n) _mm256_maskload_ps((p), mask8(n))
#define PUT(p, v) _mm256_storeu_ps((p), (v))
#define PUTN(p, v, n) _mm256_maskstore_ps((p), mask8(n), (v))
#include "paf/kernel_body.h"

#define T double
#define V __m256d
#define W 4
#define S double
#define NAME(f) f##_f64
#define SET1(a) _mm256_set1_pd(a)
#define ADD(a, b) _mm256_add_pd((a), (b))
#define SUB(a, b) _mm256_sub_pd((a), (b))
#define MUL(a, b) _mm256_mul_pd((a), (b))
#define FMA(a, b, c) _mm256_fmadd_pd((a), (b), (c))
#define LOAD(p) _mm256_loadu_pd(p)
#define LOADN(p, n) _mm256_maskload_pd((p), mask4(n))
#define STORE(p, v) _mm256_storeu_pd((p), (v))
#define GET(p) _mm256_loadu_pd(p)
#define GETN(p, n) _mm256_maskload_pd((p), mask4(n))
#define PUT(p, v) _mm256_storeu_pd((p), (v))
#define PUTN(p, v, n) _mm256_maskstore_pd((p), mask4(n), (v))
#include "paf/kernel_body.h"

#define T double
#define V __m256d
#define W 4
#define S float
#define NAME(f) f##_f32w
#define SET1(a) _mm256_set1_pd(a)
#define ADD(a, b) _mm256_add_pd((a), (b))
#define SUB(a, b) _mm256_sub_pd((a), (b))
#define MUL(a, b) _mm256_mul_pd((a), (b))
#define FMA(a, b, c) _mm256_fmadd_pd((a), (b), (c))
#define LOAD(p) _mm256_loadu_pd(p)
#define LOADN(p, n) _mm256_maskload_pd((p), mask4(n))
#define STORE(p, v) _mm256_storeu_pd((p), (v))
#define GET(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define GETN(p, n) _mm256_cvtps_pd(_mm_maskload_ps((p), half_mask4(n)))
#define PUT(p, v) _mm_storeu_ps((p), _mm256_cvtpd_ps(v))
#define PUTN(p, v, n) _mm_maskstore_ps((p), half_mask4(n), _mm256_cvtpd_ps(v))
#include "paf/kernel_body.h"

#define V __m256
#define W 8
#define SET1(a) _mm256_set1_ps(a)
#define ADD(a, b) _mm256_add_ps((a), (b))
#define SUB(a, b) _mm256_sub_ps((a), (b))
#define MUL(a, b) _mm256_mul_ps((a), (b))
#define GET(p) _mm256_loadu_ps(p)
#define GETN(p, n) _mm256_maskload_ps((p), mask8(n))
#define PUT(p, v) _mm256_storeu_ps((p), (v))
#define PUTN(p, v, n) _mm256_maskstore_ps((p), mask8(n), (v))
#define MIN(a, b) _mm256_min_ps((a), (b))
#define MAX(a, b) _mm256_max_ps((a), (b))
#define ABS(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0F), (a))
#define IF_LE(a, b, v) _mm256_and_ps(_mm256_cmp_ps((a), (b), _CMP_LE_OQ), (v))
#define IF_LT(a, b, v) _mm256_and_ps(_mm256_cmp_ps((a), (b), _CMP_LT_OQ), (v))
#define SIGNED(v, a) _mm256_or_ps((v), _mm256_and_ps(_mm256_set1_ps(-0.0F), (a)))
#include "paf/edge_body.h"

const rfhe_paf_kernels rfhe_paf_kernels_avx2 = {
    .isa = RFHE_ISA_AVX2,
    .row = {row_f32, row_f64, row_f32w},
    .lane = {lane_f32, lane_f64, lane_f32w},
    .row_grad = {row_grad_f32, row_grad_f64, row_grad_f32w},
    .lane_grad = {lane_grad_f32, lane_grad_f64, lane_grad_f32w},
    .clamp = edge_clamp,
    .blend = edge_blend,
    .edge = edge_edge,
};
