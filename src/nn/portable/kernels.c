/* The engine's kernels for portable; see nn/kernels.h. */
#define ISA_NAME(x) x##_portable
#include "nn/kernels_isa.h"
