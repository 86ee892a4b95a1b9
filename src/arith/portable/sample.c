/* Random residues and small integers from bytes that a stream cipher made. */
#include "arith/kernels.h"
#include "base/bytes.h"

size_t rfhe_sample_uniform_portable(uint64_t *r, size_t n, const uint8_t *bytes, size_t n_words, size_t *used,
                                    const rfhe_modulus *m)
{
    size_t made = 0, word = 0;

    for (; word < n_words && made < n; word++) {
        const uint64_t a = rfhe_load_le64(bytes + 8 * word);
        if (a > m->limit64) { continue; }
        uint64_t s = rfhe_shoup_mul_lazy(a >> 52, m->r52, m->q) + rfhe_shoup_mul_lazy(a & RFHE_MASK52, m->one, m->q);
        s = s >= 2 * m->q ? s - 2 * m->q : s;
        r[made++] = s >= m->q ? s - m->q : s;
    }
    *used = word;
    return made;
}

void rfhe_sample_ternary_portable(int64_t *r, size_t n, const uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++) {
        r[i] = (int64_t)((rfhe_u128)rfhe_load_le64(bytes + 8 * i) * 3 >> 64) - 1;
    }
}

/* Bits set among the low 32, without a table and without a branch. */
static inline uint64_t count_bits(uint64_t x)
{
    x = x - (x >> 1 & 0x5555555555555555U);
    x = (x & 0x3333333333333333U) + (x >> 2 & 0x3333333333333333U);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fU;
    return x * 0x0101010101010101U >> 56;
}

void rfhe_sample_noise_portable(int64_t *r, size_t n, const uint8_t *bytes)
{
    const uint64_t mask = (UINT64_C(1) << 21) - 1;

    for (size_t i = 0; i < n; i++) {
        const uint64_t a = rfhe_load_le64(bytes + 8 * i);
        r[i] = (int64_t)count_bits(a & mask) - (int64_t)count_bits(a >> 21 & mask);
    }
}
