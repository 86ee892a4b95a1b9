/* Uniform residues and small noise, eight at a time. */
#include "arith/avx512ifma/vec.h"

/* Rejection is rare (chance below 2^-14 per word), so a group with a rejected word goes through the portable body. */
size_t rfhe_sample_uniform_avx512ifma(uint64_t *r, size_t n, const uint8_t *bytes, size_t n_words, size_t *used,
                                      const rfhe_modulus *m)
{
    const vec_modulus k = vec_modulus_of(m);
    const __m512i r52 = vec_set(m->r52.w), r52p = vec_set(m->r52.wp), limit = vec_set(m->limit64);
    size_t made = 0, word = 0, part = 0;

    while (made + 8 <= n && word + 8 <= n_words) {
        const __m512i a = _mm512_loadu_si512((const void *)(bytes + 8 * word));
        if (_mm512_cmpgt_epu64_mask(a, limit) != 0) {
            made += rfhe_sample_uniform_portable(r + made, 8, bytes + 8 * word, 8, &part, m);
            word += 8;
            continue;
        }
        const __m512i s = vec_mask52(
            vec_shoup_lazy(vec_reduce_lazy(a, &k), _mm512_srli_epi64(a, 52), r52, r52p, &k));
        vec_store(r + made, vec_once(vec_once(s, k.two_q), k.q));
        made += 8;
        word += 8;
    }
    made += rfhe_sample_uniform_portable(r + made, n - made, bytes + 8 * word, n_words - word, &part, m);
    *used = word + part;
    return made;
}

/* floor(3w / 2^64) counts the thirds that w has passed. */
void rfhe_sample_ternary_avx512ifma(int64_t *r, size_t n, const uint8_t *bytes)
{
    const __m512i third = vec_set(UINT64_C(0x5555555555555556)), two_thirds = vec_set(UINT64_C(0xaaaaaaaaaaaaaaab));
    const __m512i one = vec_set(1);

    for (size_t i = 0; i < n; i += 8) {
        const __mmask8 lanes = n - i >= 8 ? 0xff : vec_tail(n - i);
        const __m512i w = _mm512_maskz_loadu_epi64(lanes, bytes + 8 * i);
        __m512i x = _mm512_set1_epi64(-1);
        x = _mm512_mask_add_epi64(x, _mm512_cmpge_epu64_mask(w, third), x, one);
        x = _mm512_mask_add_epi64(x, _mm512_cmpge_epu64_mask(w, two_thirds), x, one);
        _mm512_mask_storeu_epi64(r + i, lanes, x);
    }
}

/* Bits counted nibble by nibble through a table in a register, bytes added by the sum of absolute differences. */
RFHE_INLINE __m512i count_bits(__m512i x)
{
    const __m512i nibble = _mm512_set1_epi8(0x0f);
    const __m512i bits = _mm512_set4_epi32(0x04030302, 0x03020201, 0x03020201, 0x02010100);
    const __m512i low = _mm512_shuffle_epi8(bits, _mm512_and_si512(x, nibble));
    const __m512i high = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi64(x, 4), nibble));

    return _mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512());
}

void rfhe_sample_noise_avx512ifma(int64_t *r, size_t n, const uint8_t *bytes)
{
    const __m512i mask = vec_set((UINT64_C(1) << 21) - 1);

    for (size_t i = 0; i < n; i += 8) {
        const __mmask8 lanes = n - i >= 8 ? 0xff : vec_tail(n - i);
        const __m512i w = _mm512_maskz_loadu_epi64(lanes, bytes + 8 * i);
        const __m512i up = count_bits(_mm512_and_si512(w, mask));
        const __m512i down = count_bits(_mm512_and_si512(_mm512_srli_epi64(w, 21), mask));
        _mm512_mask_storeu_epi64(r + i, lanes, _mm512_sub_epi64(up, down));
    }
}
