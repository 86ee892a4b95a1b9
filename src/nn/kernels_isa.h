/* Makes both sets of kernels for the instruction set this file is compiled for. The includer defines ISA_NAME(x) as
 * x with the instruction set's suffix. */
#include "nn/bf16.h"
#include "nn/kernels.h"

#include <math.h>

/* The iterations of a loop are independent. (Not said to sanitizer builds, which do not vectorise and complain.) */
#if defined(RFHE_SANITIZED)
#define IVDEP
#elif defined(__clang__)
#define IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define IVDEP _Pragma("GCC ivdep")
#endif

static inline float ld_f32(const float *p)
{
    return *p;
}

static inline void st_f32(float *p, float v)
{
    *p = v;
}

static inline float ld_bf16(const rfhe_bf16 *p)
{
    return rfhe_from_bf16(*p);
}

static inline void st_bf16(rfhe_bf16 *p, float v)
{
    *p = rfhe_to_bf16(v);
}

#define T float
#define LD ld_f32
#define ST st_f32
#define NAME(f) f##_f32
#include "nn/kernels_body.h"
#undef T
#undef LD
#undef ST
#undef NAME

#define T rfhe_bf16
#define LD ld_bf16
#define ST st_bf16
#define NAME(f) f##_bf16
#include "nn/kernels_body.h"
#undef T
#undef LD
#undef ST
#undef NAME

#define TABLE(type)                                                                                \
    {                                                                                              \
        .bn_stats = bn_stats_##type, .bn_apply = bn_apply_##type,                                  \
        .bn_grad_sums = bn_grad_sums_##type, .bn_grad_apply = bn_grad_apply_##type,                \
        .relu = relu_##type, .relu_grad = relu_grad_##type, .add = add_##type, .mul = mul_##type,  \
        .load = load_##type, .store = store_##type,                                                \
    }

const rfhe_kernels ISA_NAME(rfhe_kernels_f32) = TABLE(f32);
const rfhe_kernels ISA_NAME(rfhe_kernels_bf16) = TABLE(bf16);
