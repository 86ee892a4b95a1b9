/* stencil.h for AVX2 with FMA. */
#include <immintrin.h>

#define NAME rfhe_stencil_run_avx2
#define LANES 8
#define VEC __m256
#define LOAD _mm256_loadu_ps
#define STORE _mm256_storeu_ps
#define SET1 _mm256_set1_ps
#define ZERO _mm256_setzero_ps()
#define FMA _mm256_fmadd_ps
#include "infer/stencil_body.h"
