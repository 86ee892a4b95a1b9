/* The engine's kernels for avx2; see nn/kernels.h. */
#define ISA_NAME(x) x##_avx2
#include "nn/kernels_isa.h"
