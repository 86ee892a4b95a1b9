/* The engine's kernels for avx512ifma; see nn/kernels.h. */
#define ISA_NAME(x) x##_avx512ifma
#include "nn/kernels_isa.h"
