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
