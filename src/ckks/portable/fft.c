/* fft_body.h compiled for this instruction set. */
#define ISA portable
#include "ckks/fft_body.h"
