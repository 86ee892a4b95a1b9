/* stencil.h for AVX-512. */
#include <immintrin.h>

#define NAME rfhe_stencil_run_avx512ifma
#define LANES 16
#define VEC __m512
#define LOAD _mm512_loadu_ps
#define STORE _mm512_storeu_ps
#define SET1 _mm512_set1_ps
#define ZERO _mm512_setzero_ps()
#define FMA _mm512_fmadd_ps
#include "infer/stencil_body.h"
