/* Dispatch: one table of pointers per instruction set, each starting as a copy of the one below it. */
#include "arith/kernels.h"

#include <inttypes.h>
#include <pthread.h>

static rfhe_kernels table[RFHE_ISA_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void)
{
#define SET(name) table[RFHE_ISA_PORTABLE].name = rfhe_##name##_portable;
    RFHE_KERNEL_LIST_portable(SET)
#undef SET
    table[RFHE_ISA_AVX2] = table[RFHE_ISA_PORTABLE];
    table[RFHE_ISA_AVX2].isa = RFHE_ISA_AVX2;
#define SET(name) table[RFHE_ISA_AVX2].name = rfhe_##name##_avx2;
    RFHE_KERNEL_LIST_avx2(SET)
#undef SET
    table[RFHE_ISA_AVX512IFMA] = table[RFHE_ISA_AVX2];
    table[RFHE_ISA_AVX512IFMA].isa = RFHE_ISA_AVX512IFMA;
#define SET(name) table[RFHE_ISA_AVX512IFMA].name = rfhe_##name##_avx512ifma;
    RFHE_KERNEL_LIST_avx512ifma(SET)
#undef SET
}

const rfhe_kernels *rfhe_kernels_get(void)
{
    (void)pthread_once(&once, fill);
    return &table[rfhe_cpu_isa()];
}

const rfhe_kernels *rfhe_kernels_of(rfhe_isa isa)
{
    (void)pthread_once(&once, fill);
    return isa <= rfhe_cpu_best_isa() ? &table[isa] : NULL;
}

rfhe_status rfhe_ntt_table_init(rfhe_ntt_table *t, uint64_t *w, uint64_t *wp, uint32_t log2_n,
                                const rfhe_modulus *m, rfhe_error *err)
{
    const uint64_t q = m->q, psi = rfhe_root_of_unity(q, log2_n + 1);
    const uint32_t n = UINT32_C(1) << log2_n;

    if (psi == 0) {
        return rfhe_fail(err, RFHE_E_ARG, "prime %" PRIu64 " has no transform of length 2^%u", q, log2_n);
    }
    const rfhe_shoup step = rfhe_shoup_make(psi, q);
    uint64_t power = 1;
    for (uint32_t i = 0; i < n; i++) {
        const rfhe_shoup c = rfhe_shoup_make(power, q);
        const uint32_t k = rfhe_reverse_bits(i, log2_n);
        w[k] = c.w;
        wp[k] = c.wp;
        power = rfhe_shoup_mul(power, step, q);
    }
    const uint64_t n_inv = rfhe_mod_inverse(n % q, q);
    *t = (rfhe_ntt_table){
        .m = *m,
        .log2_n = log2_n,
        .w = w,
        .wp = wp,
        .n_inv = rfhe_shoup_make(n_inv, q),
        .n_inv_w = rfhe_shoup_make(rfhe_mod_mul(n_inv, rfhe_mod_neg(w[1], q), q), q),
    };
    return RFHE_OK;
}
