/* Which instruction sets this CPU has and which of them we may use: never more than the CPU can run. The CPU and the
 * environment are asked once; everything here may be called from any thread, rfhe_cpu_limit_isa while nobody else works. */
#ifndef RFHE_BASE_CPU_H
#define RFHE_BASE_CPU_H

#include <stdbool.h>

/* Best last. Each includes those before it. */
typedef enum rfhe_isa {
    RFHE_ISA_PORTABLE = 0,
    RFHE_ISA_AVX2,       /* AVX2 and FMA                                    */
    RFHE_ISA_AVX512IFMA, /* AVX-512 F, DQ, VL, BW and IFMA (52-bit multiply-add) */
    RFHE_ISA_COUNT
} rfhe_isa;

/* What this CPU can run at most. */
rfhe_isa rfhe_cpu_best_isa(void);
/* What kernels should use: the best, lowered by RFHE_ISA in the environment (an unknown name there is ignored; the
 * command refuses it) or by the last rfhe_cpu_limit_isa. Objects that chose their kernels earlier keep them. */
rfhe_isa rfhe_cpu_isa(void);
void rfhe_cpu_limit_isa(rfhe_isa at_most);
/* "portable", "avx2", "avx512ifma". */
const char *rfhe_isa_name(rfhe_isa isa);
/* The inverse; false when the name is unknown. */
bool rfhe_isa_parse(const char *name, rfhe_isa *out);
/* Whether bf16 dot products are native (AVX-512 BF16; every CPU with AMX has it). */
bool rfhe_cpu_has_bf16(void);
/* The CPU's marketing name from the operating system, "unknown" if it does not say; a static buffer. */
const char *rfhe_cpu_name(void);

#endif
