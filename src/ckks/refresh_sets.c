/* The named parameter sets of the refresh. Widths bottom first; tests check that each is secure, refreshes, and has the
 * levels and the modulus that its line promises.
 *
 * The message ratio q_0 / scale_0 = 2^10 makes the sine's own error (2 pi 2^-10)^2 / 6 = 2^-17.3 at the edge of the
 * range. The reduction and the way to slots need a scale that survives three doublings (each multiplies errors by up to
 * four) and the ratio; 44 to 50 bits. */
#include "ckks/internal.h"

#define STC(bits) bits, bits
#define TWO(bits) bits, bits
#define THREE(bits) bits, bits, bits
#define EIGHT(bits) bits, bits, bits, bits, bits, bits, bits, bits

static const rfhe_refresh_set sets[] = {
    {.name = "B15-2",
     .summary = "N=2^15, one level for work on coefficients, two to compute with",
     .ckks = {.log2_n = 15,
              .chain_length = 16,
              .chain = {42, 32, STC(30), TWO(32), EIGHT(47), TWO(47)},
              .chain_scale = {THREE(32), 32, TWO(32), EIGHT(47), TWO(47)},
              .special_count = 4,
              .special_bits = 48},
     .refresh = {.to_coeffs_level = 3}},
    {.name = "B15-3",
     .summary = "N=2^15, one level for work on coefficients, three to compute with",
     .ckks = {.log2_n = 15,
              .chain_length = 17,
              .chain = {42, 32, STC(30), THREE(32), EIGHT(48), TWO(48)},
              .chain_scale = {THREE(32), 32, THREE(32), EIGHT(48), TWO(48)},
              .special_count = 3,
              .special_bits = 50},
     .refresh = {.to_coeffs_level = 3}},
    {.name = "B15-3w",
     .summary = "as B15-3 with a third special prime: smaller keys, faster, fewer bits",
     .ckks = {.log2_n = 15,
              .chain_length = 17,
              .chain = {42, 32, STC(30), THREE(32), EIGHT(45), TWO(45)},
              .chain_scale = {THREE(32), 32, THREE(32), EIGHT(45), TWO(45)},
              .special_count = 4,
              .special_bits = 45},
     .refresh = {.to_coeffs_level = 3}},
    {.name = "B15-5",
     .summary = "N=2^15, one level for work on coefficients, five to compute with",
     .ckks = {.log2_n = 15,
              .chain_length = 19,
              .chain = {42, 32, STC(30), THREE(32), 32, 32, EIGHT(47), TWO(47)},
              .chain_scale = {THREE(32), 32, THREE(32), 32, 32, EIGHT(47), TWO(47)},
              .special_count = 2,
              .special_bits = 49},
     .refresh = {.to_coeffs_level = 3}},
    {.name = "A16",
     .summary = "N=2^16, eighteen levels to compute with",
     .ckks = {.log2_n = 16,
              .chain_length = 32,
              .chain = {50, THREE(40), EIGHT(40), EIGHT(40), 40, 40, EIGHT(50), TWO(50)},
              .chain_scale = {40, THREE(40), EIGHT(40), EIGHT(40), 40, 40, EIGHT(50), TWO(50)},
              .special_count = 7,
              .special_bits = 50},
     .refresh = {.to_coeffs_level = 3, .to_coeffs_factors = 3}},
};

const rfhe_refresh_set *rfhe_refresh_set_at(size_t i)
{
    return i < sizeof sets / sizeof *sets ? &sets[i] : NULL;
}

const rfhe_refresh_set *rfhe_refresh_set_find(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (strcmp(sets[i].name, name) == 0) { return &sets[i]; }
    }
    return NULL;
}
