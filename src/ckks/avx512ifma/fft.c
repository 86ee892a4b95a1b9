/* fft_body.h compiled for this instruction set. */
#define ISA avx512ifma
#include "ckks/fft_body.h"
