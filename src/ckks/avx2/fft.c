/* fft_body.h compiled for this instruction set. */
#define ISA avx2
#include "ckks/fft_body.h"
