/* xoshiro256++ [BV19], seeded through splitmix64. */
#include "base/random.h"

#include <math.h>

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

rfhe_rng rfhe_rng_seed(uint64_t seed, uint64_t stream)
{
    uint64_t x = stream;
    uint64_t y = seed ^ splitmix(&x);
    rfhe_rng r;

    for (unsigned i = 0; i < 4; i++) { r.s[i] = splitmix(&y); }
    return r;
}

uint64_t rfhe_rng_u64(rfhe_rng *r)
{
    uint64_t *s = r->s;
    const uint64_t out = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

uint64_t rfhe_rng_below(rfhe_rng *r, uint64_t n)
{
    const uint64_t reject_below = (0 - n) % n; /* 2^64 mod n */
    uint64_t x = rfhe_rng_u64(r);

    while (x < reject_below) { x = rfhe_rng_u64(r); }
    return x % n;
}

double rfhe_rng_uniform(rfhe_rng *r)
{
    return (double)(rfhe_rng_u64(r) >> 11) * 0x1p-53;
}

double rfhe_rng_normal(rfhe_rng *r)
{
    const double u = 1.0 - rfhe_rng_uniform(r), v = rfhe_rng_uniform(r);

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void rfhe_rng_permutation(rfhe_rng *r, uint32_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const size_t j = (size_t)rfhe_rng_below(r, i + 1);
        out[i] = out[j];
        out[j] = (uint32_t)i;
    }
}
