/* The portable twin of the PAF kernels: one value at a time, fused multiply-add through fma(). */
#include "paf/kernels.h"

#include <math.h>
#include <string.h>

#define T float
#define V float
#define W 1
#define S float
#define NAME(f) f##_f32
#define SET1(a) ((float)(a))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define FMA(a, b, c) fmaf((a), (b), (c))
#define LOAD(p) (*(p))
#define LOADN(p, n) ((void)(n), *(p))
#define STORE(p, v) ((void)(*(p) = (v)))
#define GET(p) ((float)(*(p)))
#define GETN(p, n) ((void)(n), (float)(*(p)))
#define PUT(p, v) ((void)(*(p) = (float)(v)))
#define PUTN(p, v, n) ((void)(n), (void)(*(p) = (float)(v)))
#include "paf/kernel_body.h"

#define T double
#define V double
#define W 1
#define S double
#define NAME(f) f##_f64
#define SET1(a) ((double)(a))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define FMA(a, b, c) fma((a), (b), (c))
#define LOAD(p) (*(p))
#define LOADN(p, n) ((void)(n), *(p))
#define STORE(p, v) ((void)(*(p) = (v)))
#define GET(p) ((double)(*(p)))
#define GETN(p, n) ((void)(n), (double)(*(p)))
#define PUT(p, v) ((void)(*(p) = (double)(v)))
#define PUTN(p, v, n) ((void)(n), (void)(*(p) = (double)(v)))
#include "paf/kernel_body.h"

#define T double
#define V double
#define W 1
#define S float
#define NAME(f) f##_f32w
#define SET1(a) ((double)(a))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define FMA(a, b, c) fma((a), (b), (c))
#define LOAD(p) (*(p))
#define LOADN(p, n) ((void)(n), *(p))
#define STORE(p, v) ((void)(*(p) = (v)))
#define GET(p) ((double)(*(p)))
#define GETN(p, n) ((void)(n), (double)(*(p)))
#define PUT(p, v) ((void)(*(p) = (float)(v)))
#define PUTN(p, v, n) ((void)(n), (void)(*(p) = (float)(v)))
#include "paf/kernel_body.h"

#define V float
#define W 1
#define SET1(a) ((float)(a))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define GET(p) (*(p))
#define GETN(p, n) ((void)(n), *(p))
#define PUT(p, v) ((void)(*(p) = (v)))
#define PUTN(p, v, n) ((void)(n), (void)(*(p) = (v)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ABS(a) fabsf(a)
#define IF_LE(a, b, v) ((a) <= (b) ? (v) : 0.0F)
#define IF_LT(a, b, v) ((a) < (b) ? (v) : 0.0F)
#define SIGNED(v, a) copysignf((v), (a))
#include "paf/edge_body.h"

const rfhe_paf_kernels rfhe_paf_kernels_portable = {
    .isa = RFHE_ISA_PORTABLE,
    .row = {row_f32, row_f64, row_f32w},
    .lane = {lane_f32, lane_f64, lane_f32w},
    .row_grad = {row_grad_f32, row_grad_f64, row_grad_f32w},
    .lane_grad = {lane_grad_f32, lane_grad_f64, lane_grad_f32w},
    .clamp = edge_clamp,
    .blend = edge_blend,
    .edge = edge_edge,
};
