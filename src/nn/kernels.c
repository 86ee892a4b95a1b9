/* Chooses among the compiled sets of kernels. */
#include "nn/kernels.h"

#include "base/cpu.h"

const rfhe_kernels *rfhe_nn_kernels_get(bool bf16)
{
    switch (rfhe_cpu_isa()) {
    case RFHE_ISA_AVX512IFMA:
        return bf16 ? &rfhe_kernels_bf16_avx512ifma : &rfhe_kernels_f32_avx512ifma;
    case RFHE_ISA_AVX2: return bf16 ? &rfhe_kernels_bf16_avx2 : &rfhe_kernels_f32_avx2;
    default: return bf16 ? &rfhe_kernels_bf16_portable : &rfhe_kernels_f32_portable;
    }
}
